//! Which changes may come back: what the plan asked to be kept, where the policy lets anything come back.

use cofferdam_contract::{HandBack, WorkspacePath};
use cofferdam_policy::WriteScope;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::workspace::{held::stack::Bond, tree_path::TreePath};

/// What may come back, ready to be asked.
#[derive(Debug)]
pub(in crate::workspace) struct Selection<'a> {
    asked: Asked,
    bond: Bond,
    write: &'a WriteScope,
    /// Compiled sources are asked for by their name.
    names_compiled: bool,
}

/// Where Python keeps compiled sources. It writes them in any run, and nobody who asks for a whole folder means them.
const COMPILED: &str = "__pycache__";

#[derive(Debug)]
enum Asked {
    Nothing,
    Paths(Vec<TreePath>),
    Matching(GlobSet),
    Tree,
}

impl<'a> Selection<'a> {
    /// Parses the hand-back of a plan whose named paths, if it names any, belong together by this bond.
    pub(in crate::workspace) fn of(
        hand_back: &HandBack,
        bond: Bond,
        write: &'a WriteScope,
    ) -> Result<Self, globset::Error> {
        let names_compiled = match hand_back {
            HandBack::Paths(paths) => paths.iter().any(|path| path.as_str().contains(COMPILED)),
            HandBack::Matching(globs) => globs.iter().any(|glob| glob.contains(COMPILED) || glob.ends_with(".pyc")),
            HandBack::Nothing | HandBack::Tree => false,
        };
        let asked = match hand_back {
            HandBack::Nothing => Asked::Nothing,
            HandBack::Paths(paths) => {
                Asked::Paths(paths.iter().filter_map(|path| TreePath::new(path.as_str())).collect())
            }
            HandBack::Matching(globs) => {
                let mut set = GlobSetBuilder::new();
                for glob in globs {
                    set.add(GlobBuilder::new(glob).literal_separator(true).build()?);
                }
                Asked::Matching(set.build()?)
            }
            HandBack::Tree => Asked::Tree,
        };
        Ok(Self { asked, bond, write, names_compiled })
    }

    /// Whether a change at `path` may come back.
    pub(super) fn wants(&self, path: &TreePath) -> bool {
        let asked = match &self.asked {
            Asked::Nothing => false,
            Asked::Paths(paths) => paths.iter().any(|wanted| path.is_within(wanted)),
            Asked::Matching(globs) => globs.is_match(path),
            Asked::Tree => true,
        };
        let is_meant = self.names_compiled || path.as_path().iter().all(|name| name != COMPILED);
        asked && is_meant && self.may_be_written(path)
    }

    /// Whether what is asked for is one act, whose changes make sense only together: a file tool's paths. A formatter
    /// may name a folder too, and each file of it stands alone.
    pub(in crate::workspace) fn is_one_act(&self) -> bool {
        match (&self.asked, self.bond) {
            (Asked::Paths(_), Bond::OneAct) => true,
            (Asked::Paths(_), Bond::None) | (Asked::Nothing | Asked::Matching(_) | Asked::Tree, _) => false,
        }
    }

    /// A name that is not UTF-8, or that a policy cannot spell, is only inside a scope without bounds.
    fn may_be_written(&self, path: &TreePath) -> bool {
        let spelled = path.as_path().to_str().and_then(|text| WorkspacePath::try_from(text.to_owned()).ok());
        match spelled {
            Some(path) => self.write.allows(&path),
            None => self.write.is_everything(),
        }
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_contract::WorkspacePath;

    use super::*;

    fn wants(hand_back: &HandBack, path: &str) -> bool {
        Selection::of(hand_back, Bond::None, &WriteScope::EVERYTHING).unwrap().wants(&TreePath::new(path).unwrap())
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
        let pyc = "out/__pycache__/x.pyc";
        let named = |glob: &str| HandBack::Matching(vec![glob.into()]);
        for (hand_back, expected) in [
            (HandBack::Tree, false),
            (named("**"), false),
            (named("out/__pycache__/*"), true),
            (named("**/*.pyc"), true),
            (HandBack::Paths(vec![WorkspacePath::parse("out", "/work").unwrap()]), false),
            (HandBack::Paths(vec![WorkspacePath::parse(pyc, "/work").unwrap()]), true),
        ] {
            assert_eq!(wants(&hand_back, pyc), expected, "{hand_back:?}");
        }
        assert!(Selection::of(&HandBack::Matching(vec!["[".into()]), Bond::None, &WriteScope::EVERYTHING).is_err());
    }
}
