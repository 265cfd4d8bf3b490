//! Where a piece of text stands in a file: exactly, and if nowhere, with the differences that models and editors make.
//!
//! The steps go from strict to lenient, and the first that finds anything decides, so that a lenient step never adds
//! a place to an exact one: exact → CRLF and byte order mark aside → spaces at line ends aside → one common
//! indentation aside. Text is compared with `\n` line ends; [`Normalised`] leads back to the bytes that are there.

use std::ops::Range;

/// Lines that are compared at most in a lenient step, about a second's work. A piece of many equal lines in a file of many
/// more would take hours; it is then not found.
const COMPARED_LINES: usize = 20_000_000;

/// Text with `\n` line ends, and where the others were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Normalised {
    pub(crate) text: String,
    /// Positions in `text` of the `\n` that had a `\r` before it, rising.
    returns: Vec<usize>,
}

/// How well the places found agree with what was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closeness {
    /// Character for character.
    Exact,
    /// But for `\r` at line ends or a byte order mark.
    LineEnds,
    /// But for spaces and tabs at line ends.
    TrailingSpace,
    /// But for one indentation that is the same on all lines.
    Indentation,
}

/// The places where a piece of text stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) closeness: Closeness,
    /// Ranges in [`Normalised::text`], rising, none overlapping.
    pub(crate) places: Vec<Range<usize>>,
    /// What the file's lines have more, or less, than the piece's.
    pub(crate) indentation: Indentation,
}

/// The difference of indentation between a file and what was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Indentation {
    /// None.
    Same,
    /// The file's lines begin with this, and then go on as the piece's.
    Deeper(String),
    /// The piece's lines begin with this, and then go on as the file's.
    Shallower(String),
}

impl Normalised {
    pub(crate) fn new(raw: &str) -> Self {
        let mut text = String::with_capacity(raw.len());
        let mut returns = Vec::new();
        let mut rest = raw;
        while let Some(at) = rest.find("\r\n") {
            text.push_str(&rest[..at]);
            returns.push(text.len());
            text.push('\n');
            rest = &rest[at + 2..];
        }
        text.push_str(rest);
        Self { text, returns }
    }

    /// The position in the raw text of a position in the normalised one. A `\r\n` counts as one character.
    pub(crate) fn raw(&self, position: usize) -> usize {
        position + self.returns.partition_point(|at| *at < position)
    }

    /// The number of the line, from 1, that a position is on. Reads the text up to there.
    pub(crate) fn line(&self, position: usize) -> usize {
        1 + self.text[..position].matches('\n').count()
    }

    /// Copies the text with `new` at each of `places`, which rise and do not overlap. `raw` is what this was made from.
    pub(crate) fn with(&self, raw: &str, places: &[Range<usize>], new: &str) -> String {
        let mut text = String::with_capacity(raw.len() + places.len() * new.len());
        let mut kept_from = 0;
        for place in places {
            text.push_str(&raw[kept_from..self.raw(place.start)]);
            text.push_str(new);
            kept_from = self.raw(place.end);
        }
        text.push_str(&raw[kept_from..]);
        text
    }
}

/// Finds `piece` in `file`.
pub(crate) fn find(file: &Normalised, piece: &str) -> Option<Found> {
    let plain = Normalised::new(piece.strip_prefix('\u{feff}').unwrap_or(piece)).text;
    let exact: Vec<Range<usize>> = file.text.match_indices(&plain).map(|(at, found)| at..at + found.len()).collect();
    if !exact.is_empty() && !plain.is_empty() {
        // Whether the raw characters agree as well is only told, it changes nothing.
        let closeness = if plain == piece && file.returns.is_empty() { Closeness::Exact } else { Closeness::LineEnds };
        return Some(Found { closeness, places: exact, indentation: Indentation::Same });
    }
    let piece_lines = Lines::of(&plain);
    let trailing = by_lines(file, &piece_lines, |file, piece| file.trim_end() == piece.trim_end());
    if !trailing.is_empty() {
        return Some(Found { closeness: Closeness::TrailingSpace, places: trailing, indentation: Indentation::Same });
    }
    by_indentation(file, &piece_lines)
}

/// The lines of a piece, and whether the last one is complete.
struct Lines<'a> {
    lines: Vec<&'a str>,
    ends_with_newline: bool,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let ends_with_newline = text.ends_with('\n');
        Self { lines: text.strip_suffix('\n').unwrap_or(text).split('\n').collect(), ends_with_newline }
    }

    fn is_blank(&self) -> bool {
        self.lines.iter().all(|line| line.trim().is_empty())
    }
}

/// The file's lines with their positions.
fn positions(text: &str) -> Vec<(usize, &str)> {
    let mut start = 0;
    text.split('\n')
        .map(|line| {
            let position = start;
            start += line.len() + 1;
            (position, line)
        })
        .collect()
}

/// The range of some lines; with the last one's newline when the piece has one too.
fn range(window: &[(usize, &str)], with_newline: bool, length: usize) -> Range<usize> {
    let (first, last) = (window[0].0, window[window.len() - 1]);
    let end = last.0 + last.1.len();
    first..if with_newline { (end + 1).min(length) } else { end }
}

/// Places where whole lines agree by `same`.
fn by_lines(file: &Normalised, piece: &Lines<'_>, same: impl Fn(&str, &str) -> bool) -> Vec<Range<usize>> {
    if piece.is_blank() {
        return Vec::new();
    }
    let lines = positions(&file.text);
    let mut places: Vec<Range<usize>> = Vec::new();
    let mut left = COMPARED_LINES;
    for window in lines.windows(piece.lines.len()) {
        let agreeing = window.iter().zip(&piece.lines).take_while(|((_, file), piece)| same(file, piece)).count();
        let agree = agreeing == piece.lines.len();
        let Some(rest) = left.checked_sub(agreeing + 1) else { return Vec::new() };
        left = rest;
        let place = range(window, piece.ends_with_newline, file.text.len());
        if agree && places.last().is_none_or(|last| last.end <= place.start) {
            places.push(place);
        }
    }
    places
}

/// Places where lines agree but for one indentation; the first place's is told.
fn by_indentation(file: &Normalised, piece: &Lines<'_>) -> Option<Found> {
    let anchor = piece.lines.iter().position(|line| !line.trim().is_empty())?;
    let lines = positions(&file.text);
    let mut found: Option<Found> = None;
    let mut left = COMPARED_LINES / 10; // Each makes texts.
    for window in lines.windows(piece.lines.len()) {
        let Some(indentation) = difference(window[anchor].1, piece.lines[anchor]) else { continue };
        let same = |file: &str, piece: &str| {
            (file.trim().is_empty() && piece.trim().is_empty())
                || difference(file, piece).is_some_and(|other| other == indentation)
        };
        let agreeing = window.iter().zip(&piece.lines).take_while(|((_, file), piece)| same(file, piece)).count();
        left = left.checked_sub(agreeing + 1)?;
        if agreeing < piece.lines.len() {
            continue;
        }
        let place = range(window, piece.ends_with_newline, file.text.len());
        match &mut found {
            None => {
                found = Some(Found { closeness: Closeness::Indentation, places: vec![place], indentation });
            }
            Some(found) if found.places.last().is_some_and(|last| last.end <= place.start) => found.places.push(place),
            Some(_) => {}
        }
    }
    found
}

/// How a line of the file differs from a line of the piece, if only in indentation.
fn difference(file: &str, piece: &str) -> Option<Indentation> {
    let (file_text, piece_text) = (file.trim(), piece.trim());
    if file_text != piece_text || file_text.is_empty() {
        return None;
    }
    let indent = |line: &str| line[..line.len() - line.trim_start().len()].to_owned();
    let (file, piece) = (indent(file), indent(piece));
    if let Some(more) = file.strip_suffix(piece.as_str()) {
        let same = more.is_empty();
        return Some(if same { Indentation::Same } else { Indentation::Deeper(more.to_owned()) });
    }
    piece.strip_suffix(file.as_str()).map(|more| Indentation::Shallower(more.to_owned()))
}

impl Indentation {
    /// `text`, written for the piece's indentation, with the file's; `None` when a line cannot be moved so far left.
    pub(crate) fn apply(&self, text: &str) -> Option<String> {
        let line = |line: &str| match self {
            _ if line.trim().is_empty() => Some(line.to_owned()),
            Self::Same => Some(line.to_owned()),
            Self::Deeper(more) => Some(format!("{more}{line}")),
            Self::Shallower(less) => line.strip_prefix(less.as_str()).map(str::to_owned),
        };
        text.split('\n').map(line).collect::<Option<Vec<_>>>().map(|lines| lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(file: &str, piece: &str) -> Option<(Closeness, Vec<String>)> {
        let file = Normalised::new(file);
        find(&file, piece).map(|found| {
            let texts = found.places.iter().map(|place| file.text[place.clone()].to_owned()).collect();
            (found.closeness, texts)
        })
    }

    #[test]
    fn the_strictest_step_that_finds_anything_decides() {
        assert_eq!(found("a b\n", "a"), Some((Closeness::Exact, vec!["a".into()])));
        assert_eq!(found("a\r\nb\r\n", "a\nb"), Some((Closeness::LineEnds, vec!["a\nb".into()])));
        assert_eq!(found("x\na  \nb\n", "a\nb\n"), Some((Closeness::TrailingSpace, vec!["a  \nb\n".into()])));
        assert_eq!(
            found("  if x:\n    y\n", "if x:\n  y"),
            Some((Closeness::Indentation, vec!["  if x:\n    y".into()]))
        );
        // An exact place hides a lenient one.
        assert_eq!(found("a \na\nb\n", "a\nb"), Some((Closeness::Exact, vec!["a\nb".into()])));
        assert_eq!(found("a\n", "b"), None);
    }

    #[test]
    fn an_indentation_must_be_the_same_on_all_lines() {
        assert_eq!(found("    a\n  b\n", "a\nb"), None);
        assert_eq!(found("\t\ta\n\n\t\t\tb\n", "a\n\n\tb").map(|found| found.0), Some(Closeness::Indentation));
    }

    #[test]
    fn a_replacement_takes_the_files_indentation() {
        let deeper = Indentation::Deeper("  ".into());
        assert_eq!(deeper.apply("a\n\n  b"), Some("  a\n\n    b".into()));
        let shallower = Indentation::Shallower("  ".into());
        assert_eq!(shallower.apply("  a\n    b"), Some("a\n  b".into()));
        assert_eq!(shallower.apply("a"), None);
    }

    #[test]
    fn positions_lead_back_over_carriage_returns() {
        let file = Normalised::new("a\r\nbc\r\nd");
        assert_eq!(file.text, "a\nbc\nd");
        assert_eq!([0, 1, 2, 4, 5].map(|at| file.raw(at)), [0, 1, 3, 5, 7]);
        assert_eq!(file.line(5), 3);
    }

    proptest! {
        #[test]
        fn every_place_is_in_the_file_and_none_overlap(file in "[ab \t\r\n]{0,30}", piece in "[ab \t\n]{1,8}") {
            let file = Normalised::new(&file);
            if let Some(found) = find(&file, &piece) {
                for pair in found.places.windows(2) {
                    prop_assert!(pair[0].end <= pair[1].start);
                }
                for place in found.places {
                    prop_assert!(file.text.get(place).is_some());
                }
            }
        }

        #[test]
        fn raw_positions_cut_the_raw_text_at_the_same_characters(raw in "[ab\r\n]{0,20}") {
            let file = Normalised::new(&raw);
            for at in 0..=file.text.len() {
                prop_assert_eq!(Normalised::new(&raw[..file.raw(at)]).text, &file.text[..at]);
            }
        }
    }
}
