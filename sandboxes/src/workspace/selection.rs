//! Which changes a plan asked to be kept.

use cofferdam_contract::HandBack;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::tree_path::TreePath;

/// What may come back, ready to be asked.
#[derive(Debug)]
pub(super) enum Selection {
    Nothing,
    Paths(Vec<TreePath>),
    Matching(GlobSet),
    Tree,
}

impl Selection {
    /// Parses a plan's hand-back.
    pub(super) fn of(hand_back: &HandBack) -> Result<Self, globset::Error> {
        Ok(match hand_back {
            HandBack::Nothing => Self::Nothing,
            HandBack::Paths(paths) => {
                Self::Paths(paths.iter().filter_map(|path| TreePath::new(path.as_str())).collect())
            }
            HandBack::Matching(globs) => {
                let mut set = GlobSetBuilder::new();
                for glob in globs {
                    set.add(GlobBuilder::new(glob).literal_separator(true).build()?);
                }
                Self::Matching(set.build()?)
            }
            HandBack::Tree => Self::Tree,
        })
    }

    /// Whether a change at `path` may come back.
    pub(super) fn wants(&self, path: &TreePath) -> bool {
        match self {
            Self::Nothing => false,
            Self::Paths(paths) => paths.iter().any(|wanted| path.is_within(wanted)),
            Self::Matching(globs) => globs.is_match(path),
            Self::Tree => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_contract::WorkspacePath;

    use super::*;

    fn wants(hand_back: &HandBack, path: &str) -> bool {
        Selection::of(hand_back).unwrap().wants(&TreePath::new(path).unwrap())
    }

    #[test]
    fn only_what_was_asked_for_is_wanted() {
        let paths = HandBack::Paths(vec![WorkspacePath::parse("a/b", "/work").unwrap()]);
        let globs = HandBack::Matching(vec!["*.snap".into(), "out/**".into()]);
        for (hand_back, path, expected) in [
            (&HandBack::Nothing, "a", false),
            (&HandBack::Tree, "a", true),
            (&paths, "a/b", true),
            (&paths, "a/b/c", true),
            (&paths, "a", false),
            (&paths, "a/bc", false),
            (&globs, "x.snap", true),
            (&globs, "a/x.snap", false),
            (&globs, "out/x/y", true),
        ] {
            assert_eq!(wants(hand_back, path), expected, "{hand_back:?} {path}");
        }
        assert!(wants(&HandBack::Paths(vec![WorkspacePath::workspace()]), "a"));
        assert!(Selection::of(&HandBack::Matching(vec!["[".into()])).is_err());
    }
}
