//! Globs over workspace paths: the one kind of pattern that a policy may write.
//!
//! `*` and `?` stay inside one name, `**` stands for any number of names, and a glob without `/` means that name in any
//! folder. There are no classes, braces or negations: what is left can be compared exactly enough to prove that one
//! glob lies inside another, which is what "a layer only narrows" needs. That, and not size, is why no glob library is
//! used here.
//!
//! Matching runs all alternatives side by side, so its time grows with path length times glob length and never more.

use std::fmt;

/// Longest glob accepted, in bytes.
const MAX_BYTES: usize = 1024;
/// Most names in a glob; the states of a match are the bits of one `u64`.
const MAX_SEGMENTS: usize = 60;

/// A parsed glob.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Glob {
    /// As written. First, so that globs sort as text.
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    /// `**`: any number of names, none included.
    AnyDepth,
    /// A name without wildcards.
    Literal(String),
    /// A name with `*` or `?`.
    Wild(Vec<char>),
}

/// Why a glob is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the glob {text:?} {problem}")]
pub struct GlobError {
    text: String,
    problem: &'static str,
}

/// How a path stands to a glob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The path matches.
    Matches,
    /// Something below the path could match, and the path's own last name is written out in the glob: `.cargo` for
    /// `.cargo/config.toml`.
    NamedAncestor,
    /// Something below the path could match, and the glob names at least one of the path's names or wildcards.
    Ancestor,
    /// Neither. A leading `**` alone makes nobody an ancestor, or every folder would be.
    Apart,
}

/// How far the names so far lead.
#[derive(Debug, Clone, Copy)]
struct Reached {
    /// Bit i: the names so far may be followed by what segments[i..] match.
    states: u64,
    /// Whether the last name is written out in the glob.
    by_literal: bool,
}

impl Glob {
    /// Parses `text`.
    ///
    /// # Errors
    /// [`GlobError`] for an empty, absolute or climbing glob, for syntax that is not ours, and beyond the bounds.
    pub(crate) fn parse(text: &str) -> Result<Self, GlobError> {
        let refuse = |problem| Err(GlobError { text: text.to_owned(), problem });
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.len() > MAX_BYTES {
            return refuse("is longer than 1024 bytes");
        }
        if text.starts_with('/') {
            return refuse("starts with `/`; globs are relative to the workspace");
        }
        if text.ends_with('/') {
            return refuse("ends with `/`; write `folder/**` for a folder and all below it");
        }
        if text.starts_with('!') {
            return refuse("starts with `!`; there is no negation");
        }
        if text.contains(['[', ']', '{', '}', '\\']) || text.chars().any(char::is_control) {
            return refuse("holds a character other than plain names, `*`, `?` and `**`; write `?` for a bracket");
        }
        let mut segments = Vec::new();
        if !text.contains('/') && text != "**" {
            segments.push(Segment::AnyDepth);
        }
        for name in text.split('/') {
            let segment = match name {
                "" => return refuse("holds an empty name"),
                "." | ".." => return refuse("holds `.` or `..`"),
                "**" => Segment::AnyDepth,
                name if name.contains("**") => return refuse("holds `**` beside other characters of a name"),
                name if name.contains(['*', '?']) => Segment::Wild(name.chars().collect()),
                name => Segment::Literal(name.to_owned()),
            };
            if segment == Segment::AnyDepth && segments.last() == Some(&Segment::AnyDepth) {
                return refuse("holds `**` twice in a row");
            }
            segments.push(segment);
        }
        if segments.len() > MAX_SEGMENTS {
            return refuse("has more than 60 names");
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// `**`: any path.
    pub(crate) fn any() -> Self {
        Self { text: "**".to_owned(), segments: vec![Segment::AnyDepth] }
    }

    /// Checks that `text` is one path, relative to the workspace, without wildcards.
    ///
    /// # Errors
    /// [`GlobError`] when it is none.
    pub(crate) fn parse_plain(text: &str) -> Result<(), GlobError> {
        let glob = Self::parse(text)?;
        let is_plain = !text.contains(['*', '?']);
        if is_plain { Ok(()) } else { Err(GlobError { text: glob.text, problem: "holds a wildcard; name one path" }) }
    }

    /// The glob as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path with these names matches. No names is the workspace itself.
    pub(crate) fn matches(&self, names: &[&str]) -> bool {
        self.standing(names) == Standing::Matches
    }

    /// How the path with these names stands to the glob.
    pub(crate) fn standing(&self, names: &[&str]) -> Standing {
        let mut reached = self.start();
        for name in names {
            reached = self.step(reached, name);
            if reached.states == 0 {
                return Standing::Apart;
            }
        }
        self.stand(reached)
    }

    /// As [`Glob::standing`], where the glob also stands for all that is below what it matches: a path of which a folder
    /// above matches, matches.
    pub(crate) fn standing_with_below(&self, names: &[&str]) -> Standing {
        let mut reached = self.start();
        for name in names {
            reached = self.step(reached, name);
            if reached.states == 0 {
                return Standing::Apart;
            }
            if self.is_end(reached) {
                return Standing::Matches;
            }
        }
        self.stand(reached)
    }

    fn start(&self) -> Reached {
        Reached { states: self.close(1), by_literal: false }
    }

    fn step(&self, from: Reached, name: &str) -> Reached {
        let mut next = Reached { states: 0, by_literal: false };
        for (index, segment) in self.segments.iter().enumerate() {
            if from.states & (1 << index) == 0 {
                continue;
            }
            match segment {
                Segment::AnyDepth => next.states |= 1 << index,
                Segment::Literal(literal) if literal == name => {
                    next.states |= 1 << (index + 1);
                    next.by_literal = true;
                }
                Segment::Wild(pattern) if name_matches(pattern, name) => next.states |= 1 << (index + 1),
                Segment::Literal(_) | Segment::Wild(_) => {}
            }
        }
        Reached { states: self.close(next.states), ..next }
    }

    fn is_end(&self, reached: Reached) -> bool {
        reached.states & (1 << self.segments.len()) != 0
    }

    fn stand(&self, reached: Reached) -> Standing {
        // States up to and including the first named segment say only "somewhere below the start".
        let first_named = self.segments.iter().position(|segment| *segment != Segment::AnyDepth);
        let started = first_named.map_or(0, |index| u64::MAX << (index + 1));
        if self.is_end(reached) {
            Standing::Matches
        } else if reached.by_literal {
            Standing::NamedAncestor
        } else if reached.states & started != 0 {
            Standing::Ancestor
        } else {
            Standing::Apart
        }
    }

    /// Whether every path that `inner` matches is *provably* matched by `self`. `false` may mean "cannot tell".
    pub(crate) fn contains(&self, inner: &Self) -> bool {
        if self.segments == inner.segments {
            return true;
        }
        // `P/**` holds whatever starts with the same `P`, wildcards and all.
        if let Some((Segment::AnyDepth, prefix)) = self.segments.split_last()
            && inner.segments.starts_with(prefix)
        {
            return true;
        }
        // A glob without wildcards is one path, and that can be asked.
        let path: Option<Vec<&str>> = inner
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(name) => Some(name.as_str()),
                Segment::AnyDepth | Segment::Wild(_) => None,
            })
            .collect();
        path.is_some_and(|names| self.matches(&names))
    }

    /// Adds the states that an empty `**` reaches.
    fn close(&self, mut states: u64) -> u64 {
        for (index, segment) in self.segments.iter().enumerate() {
            if *segment == Segment::AnyDepth && states & (1 << index) != 0 {
                states |= 1 << (index + 1);
            }
        }
        states
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Splits a path into the names that [`Glob::matches`] takes. Empty names and `.` say nothing and are left out.
pub(crate) fn names(path: &str) -> Vec<&str> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").collect()
}

/// Whether `name` matches a pattern of characters, `*` and `?`.
///
/// A hand-back asks this of each changed path and some two hundred patterns, so it takes no memory: only the last `*` is
/// ever tried again with one character more. What was before it matched as early as it could, and more room is all that
/// another try of an earlier one would give.
fn name_matches(pattern: &[char], name: &str) -> bool {
    let (mut symbol, mut rest) = (0, name.chars());
    let mut again = None;
    loop {
        let mut after = rest.clone();
        match (pattern.get(symbol), after.next()) {
            (Some('*'), _) => {
                symbol += 1;
                again = Some((symbol, rest.clone()));
            }
            (Some(wanted), Some(character)) if *wanted == '?' || *wanted == character => {
                symbol += 1;
                rest = after;
            }
            (None, None) => return true,
            (Some(_) | None, _) => {
                let Some((from, left)) = &mut again else { return false };
                if left.next().is_none() {
                    return false;
                }
                (symbol, rest) = (*from, left.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text).unwrap()
    }

    fn matches(text: &str, path: &str) -> bool {
        glob(text).matches(&names(path))
    }

    #[test]
    fn wildcards_stay_inside_a_name_and_double_stars_cross_folders() {
        for (text, path, expected) in [
            ("**", "", true),
            ("**", "a/b", true),
            ("src/*.rs", "src/lib.rs", true),
            ("src/*.rs", "src/a/lib.rs", false),
            ("src/**", "src", true),
            ("src/**", "src/a/b", true),
            ("src/**", "srcx/a", false),
            ("src/**/mod.rs", "src/mod.rs", true),
            ("src/**/mod.rs", "src/a/b/mod.rs", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/a/b.md", true),
            ("*.md", "docs/a/b.md/x", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbX", false),
            ("**/x/**", "a/x/b", true),
            ("docs/a", "x/docs/a", false),
        ] {
            assert_eq!(matches(text, path), expected, "{text} on {path}");
        }
    }

    #[test]
    fn a_glob_that_cannot_mean_what_it_says_is_refused() {
        for text in ["", "/etc", "src/", "a//b", "../x", "a/./b", "!x", "[ab]", "{a,b}", "a\\b", "a**", "**/**", "a\nb"]
        {
            assert!(Glob::parse(text).is_err(), "{text:?}");
        }
        assert!(Glob::parse(&"a/".repeat(600)).is_err());
        assert!(Glob::parse(&vec!["a"; 61].join("/")).is_err());
        assert!(Glob::parse(&vec!["a"; 60].join("/")).is_ok());
        assert_eq!(
            Glob::parse("src/").unwrap_err().to_string(),
            "the glob \"src/\" ends with `/`; write `folder/**` for a folder and all below it"
        );
    }

    #[test]
    fn an_ancestor_is_a_folder_that_the_glob_names() {
        let standing = |text: &str, path: &str| glob(text).standing(&names(path));
        assert_eq!(standing("**/.cargo/config.toml", ".cargo"), Standing::NamedAncestor);
        assert_eq!(standing("**/.cargo/config.toml", "a/b/.cargo"), Standing::NamedAncestor);
        assert_eq!(standing("**/.cargo/config.toml", "a/b"), Standing::Apart);
        assert_eq!(standing("**/.cargo/config.toml", ".cargo/bin"), Standing::Apart);
        assert_eq!(standing("apps/*/prod.env", "apps"), Standing::NamedAncestor);
        assert_eq!(standing("apps/*/prod.env", "apps/x"), Standing::Ancestor);
        assert_eq!(standing("apps/**/prod.env", "apps/x/y"), Standing::Ancestor);
        assert_eq!(standing("apps/*/prod.env", "apps/x/prod.env"), Standing::Matches);
        assert_eq!(standing("prod.env", "apps"), Standing::Apart);
    }

    #[test]
    fn containment_is_proven_or_denied() {
        for (outer, inner) in [
            ("**", "src/*.rs"),
            ("src/**", "src/a"),
            ("src/**", "src/**/x?"),
            ("*/x/**", "*/x/y"),
            ("*.md", "*.md"),
            ("docs/*.md", "docs/a.md"),
        ] {
            assert!(glob(outer).contains(&glob(inner)), "{outer} holds {inner}");
        }
        for (outer, inner) in [("src/*", "src/**"), ("*.md", "**"), ("src/**", "sr*/a"), ("docs/**", "*.md")] {
            assert!(!glob(outer).contains(&glob(inner)), "{outer} does not hold {inner}");
        }
    }

    #[test]
    fn matching_stays_fast_on_hostile_names() {
        let many = "a".repeat(255);
        let pattern = format!("{}b", "a*".repeat(100));
        assert!(!matches(&pattern, &many));
        let path = "a/".repeat(2000);
        assert!(!matches(&format!("{}b", "**/a/".repeat(29)), &path));
    }

    /// The definition, with all alternatives tried.
    fn name_matches_by_definition(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', others)), taken) => {
                name_matches_by_definition(others, name)
                    || taken.is_some_and(|(_, left)| name_matches_by_definition(pattern, left))
            }
            (Some((symbol, others)), Some((character, left))) => {
                (*symbol == '?' || symbol == character) && name_matches_by_definition(others, left)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn any_glob() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof!["\\*\\*", "[ab*?]{1,3}", "[ab]"], 1..4)
            .prop_map(|names| names.join("/"))
            .prop_filter("a glob", |text| Glob::parse(text).is_ok())
    }

    proptest! {
        #[test]
        fn a_name_matches_as_the_definition_says(pattern in "[aé*?]{0,8}", name in "[aéb]{0,8}") {
            let pattern: Vec<char> = pattern.chars().collect();
            let expected = name_matches_by_definition(&pattern, &name.chars().collect::<Vec<_>>());
            prop_assert_eq!(name_matches(&pattern, &name), expected);
        }

        #[test]
        fn below_what_a_glob_matches_everything_matches(
            text in any_glob(),
            path in "([ab]{1,3}/){0,3}[ab]{1,2}",
        ) {
            let (text, path) = (glob(&text), names(&path));
            let above = (1..path.len()).any(|end| text.matches(&path[..end]));
            let expected = if above { Standing::Matches } else { text.standing(&path) };
            prop_assert_eq!(text.standing_with_below(&path), expected);
        }

        #[test]
        fn what_a_contained_glob_matches_its_container_matches(
            outer in any_glob(),
            inner in any_glob(),
            paths in proptest::collection::vec("([ab]{1,3}/){0,3}[ab]{1,2}", 1..20),
        ) {
            let (outer, inner) = (glob(&outer), glob(&inner));
            if outer.contains(&inner) {
                for path in paths {
                    prop_assert!(!inner.matches(&names(&path)) || outer.matches(&names(&path)), "{}", path);
                }
            }
        }

        #[test]
        fn whatever_matches_has_only_ancestors_that_the_glob_names_or_leaves_open(
            text in any_glob(),
            path in "([ab]{1,3}/){1,3}[ab]{1,2}",
        ) {
            let (text, path) = (glob(&text), names(&path));
            let literal_start = matches!(text.segments.first(), Some(Segment::Literal(_)));
            if text.matches(&path) && literal_start {
                prop_assert_ne!(text.standing(&path[..1]), Standing::Apart);
            }
        }
    }
}
