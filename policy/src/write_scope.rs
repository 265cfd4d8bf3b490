//! Where changes may be handed back: the `write` globs of every layer together.

use std::{collections::BTreeSet, fmt};

use cofferdam_contract::{HandBack, WorkspacePath};

use crate::glob::{Glob, names};

/// The globs of one layer; a path is inside when one of them matches.
pub(crate) type Globs = BTreeSet<Glob>;

/// Paths of the workspace that may be written back. A path must be inside every layer's globs.
///
/// The protected paths are another matter: they are held even when they are inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteScope {
    layers: BTreeSet<Globs>,
}

impl WriteScope {
    /// The whole workspace.
    pub const EVERYTHING: Self = Self { layers: BTreeSet::new() };

    /// What one layer says.
    pub(crate) fn of(globs: Globs) -> Self {
        Self { layers: BTreeSet::from([globs]) }
    }

    /// What is inside both.
    pub(crate) fn meet(&self, other: &Self) -> Self {
        Self { layers: self.layers.union(&other.layers).cloned().collect() }
    }

    /// Whether a change at `path` may be handed back.
    #[must_use]
    pub fn allows(&self, path: &WorkspacePath) -> bool {
        let names = names(path.as_str());
        self.layers.iter().all(|globs| globs.iter().any(|glob| glob.matches(&names)))
    }

    /// Whether `globs` lie provably inside.
    pub(crate) fn allows_globs(&self, globs: &Globs) -> bool {
        self.layers.iter().all(|layer| globs.iter().all(|inner| layer.iter().any(|outer| outer.contains(inner))))
    }

    /// The part of a hand-back that is not provably inside, in words; `None` when all of it is.
    ///
    /// For [`HandBack::Paths`] the paths themselves are judged; what lies below them is for the gate to ask with
    /// [`WriteScope::allows`], since a plan does not know what exists.
    pub(crate) fn outside(&self, hand_back: &HandBack) -> Option<String> {
        match hand_back {
            HandBack::Nothing => None,
            HandBack::Paths(paths) => paths.iter().find(|path| !self.allows(path)).map(|path| format!("`{path}`")),
            HandBack::Matching(globs) => globs
                .iter()
                .find(|text| match Glob::parse(text) {
                    Ok(glob) => !self.allows_globs(&BTreeSet::from([glob])),
                    // A glob of another dialect: inside only where everything is.
                    Err(_) => !self.is_everything(),
                })
                .map(|text| format!("what matches `{text}`")),
            HandBack::Tree => (!self.is_everything()).then(|| "the whole tree".to_owned()),
        }
    }

    /// The globs to print: those that lie inside all others. Loading makes sure that they exist, since each layer must
    /// lie inside the layers before it.
    pub(crate) fn narrowest(&self) -> Globs {
        let everything = || std::iter::once("**").filter_map(|text| Glob::parse(text).ok()).collect();
        if self.layers.is_empty() {
            return everything();
        }
        self.layers.iter().find(|globs| self.allows_globs(globs)).cloned().unwrap_or_default()
    }

    /// Whether the whole workspace is inside.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.layers.iter().all(|globs| globs.iter().any(|glob| glob.as_str() == "**"))
    }
}

impl fmt::Display for WriteScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let globs: Vec<String> = self.narrowest().iter().map(|glob| format!("`{glob}`")).collect();
        if globs.is_empty() { formatter.write_str("nothing") } else { formatter.write_str(&globs.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(globs: &[&str]) -> WriteScope {
        WriteScope::of(globs.iter().map(|text| Glob::parse(text).unwrap()).collect())
    }

    fn path(text: &str) -> WorkspacePath {
        WorkspacePath::parse(text, "/work").unwrap()
    }

    #[test]
    fn a_path_must_be_inside_every_layer() {
        let both = scope(&["src/**", "docs/**"]).meet(&scope(&["*.rs"]));
        assert!(both.allows(&path("src/lib.rs")));
        assert!(!both.allows(&path("src/lib.md")));
        assert!(!both.allows(&path("lib.rs")));
        assert!(WriteScope::EVERYTHING.allows(&path("x")));
        assert!(!scope(&[]).allows(&path("x")));
    }

    #[test]
    fn each_kind_of_hand_back_is_judged() {
        let source = scope(&["src/**"]);
        let all = scope(&["**"]);
        let matching = |text: &str| HandBack::Matching(vec![text.to_owned()]);
        assert_eq!(source.outside(&HandBack::Nothing), None);
        assert_eq!(source.outside(&HandBack::Paths(vec![path("src/a"), path("b")])), Some("`b`".into()));
        assert_eq!(source.outside(&matching("src/*.snap")), None);
        assert_eq!(source.outside(&matching("*.snap")), Some("what matches `*.snap`".into()));
        assert_eq!(source.outside(&matching("src/{a,b}")), Some("what matches `src/{a,b}`".into()));
        assert_eq!(source.outside(&HandBack::Tree), Some("the whole tree".into()));
        for hand_back in [HandBack::Tree, matching("{a,b}"), HandBack::Paths(vec![path("x")])] {
            assert_eq!(all.outside(&hand_back), None, "{hand_back:?}");
            assert_eq!(WriteScope::EVERYTHING.outside(&hand_back), None, "{hand_back:?}");
        }
    }

    #[test]
    fn it_reads_as_its_narrowest_layer() {
        assert_eq!(scope(&["**"]).meet(&scope(&["src/**"])).to_string(), "`src/**`");
        assert_eq!(WriteScope::EVERYTHING.to_string(), "`**`");
        assert_eq!(scope(&[]).to_string(), "nothing");
    }
}
