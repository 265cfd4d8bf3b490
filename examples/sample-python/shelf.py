"""A shelf of books: what is on it, and who borrowed what. A small Python project for Cofferdam's examples."""


class NotThere(Exception):
    """The book is not on the shelf."""


class Shelf:
    """Books by title, each lent to at most one person."""

    def __init__(self, titles):
        self._titles = set(titles)
        self._lent = {}

    def lend(self, title, person):
        """Lends a book that is there."""
        if title not in self._titles or title in self._lent:
            raise NotThere(title)
        self._lent[title] = person

    def take_back(self, title):
        """Takes a lent book back and says who had it."""
        if title not in self._lent:
            raise NotThere(title)
        return self._lent.pop(title)

    def present(self):
        """Titles that are there, in order."""
        return sorted(self._titles - self._lent.keys())
