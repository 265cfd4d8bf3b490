//! New names that another machine would take for a name that is there already.
//!
//! The workspace's own file system tells `README` and `readme` apart, and both come back. A checkout of them on macOS or
//! Windows has one file, and which of the two is chance: `.GIT` became `.git` so (CVE-2014-9390). What is protected is
//! held by any such name (`policy/src/protect.rs`); all other twins are only pointed out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cofferdam_policy::fold_name;
use unicode_normalization::UnicodeNormalization as _;

use crate::workspace::{change::Note, tree_path::TreePath};

/// The notes about `made`, the new names of a call. `there` lists the names of a folder of the workspace as they will be
/// without the call's new ones; each folder is asked for once at most.
pub(super) fn notes(made: &BTreeSet<TreePath>, there: impl Fn(&TreePath) -> Vec<TreePath>) -> Vec<Note> {
    let mut folders: BTreeMap<TreePath, Vec<&TreePath>> = BTreeMap::new();
    for path in made {
        folders.entry(path.parent().unwrap_or_else(TreePath::root)).or_default().push(path);
    }
    let mut notes = Vec::new();
    for (folder, made) in folders {
        let mut seen: HashMap<String, TreePath> =
            there(&folder).into_iter().map(|path| (folded(&path), path)).collect();
        for path in made {
            match seen.get(&folded(path)) {
                Some(other) if other != path => notes.push(Note::Twin { file: path.clone(), other: other.clone() }),
                Some(_) => {}
                None => _ = seen.insert(folded(path), path.clone()),
            }
        }
    }
    notes
}

/// A path's last name as the most forgiving file system compares it: folded, and in the one spelling of its accents that
/// HFS+ stores (Apple TN1150).
fn folded(path: &TreePath) -> String {
    let name = path.name();
    match name.to_str() {
        Some(text) if text.is_ascii() => fold_name(text),
        Some(text) => fold_name(&text.nfd().collect::<String>()).nfd().collect(),
        // Names that are not text are compared as they are: no two become one by a lossy reading.
        None => format!("{name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<TreePath> {
        names.iter().map(|name| TreePath::new(*name).unwrap()).collect()
    }

    fn twins(made: &[&str], there: &[&str]) -> Vec<(String, String)> {
        let there = paths(there);
        let in_folder = |folder: &TreePath| {
            there.iter().filter(|path| path.parent().as_ref() == Some(folder)).cloned().collect::<Vec<_>>()
        };
        let notes = notes(&paths(made).into_iter().collect(), in_folder);
        let written = |path: &TreePath| path.as_path().to_str().unwrap().to_owned();
        let text = |note| match note {
            Note::Twin { file, other } => (written(&file), written(&other)),
            other => panic!("{other:?}"),
        };
        notes.into_iter().map(text).collect()
    }

    #[test]
    fn names_that_another_file_system_folds_together_are_twins() {
        for (made, there) in [
            ("README", "readme"),
            ("src/Stra\u{df}e", "src/STRASSE"),
            ("\u{e9}", "e\u{301}"),
            ("\u{c9}", "e\u{301}"),
            ("a\u{200d}b", "ab"),
            ("name.", "name"),
            ("\u{17f}et", "set"),
        ] {
            assert_eq!(twins(&[made], &[there]), [(made.to_owned(), there.to_owned())]);
        }
    }

    #[test]
    fn names_of_one_call_are_compared_with_each_other() {
        assert_eq!(twins(&["x/A", "x/a", "y/a"], &[]), [("x/a".to_owned(), "x/A".to_owned())]);
    }

    #[test]
    fn other_names_are_no_twins() {
        for (made, there) in [("a", "b"), ("x/a", "A"), ("e", "\u{e9}"), ("a", "a"), ("a-b", "a_b")] {
            assert_eq!(twins(&[made], &[there]), [], "{made} {there}");
        }
    }

    #[test]
    fn names_that_are_not_text_are_twins_of_nothing() {
        use std::os::unix::ffi::OsStringExt as _;
        let name = |bytes: &[u8]| TreePath::new(std::ffi::OsString::from_vec(bytes.to_vec())).unwrap();
        let made = BTreeSet::from([name(b"\xff"), name(b"\xfe")]);
        assert_eq!(notes(&made, |_| Vec::new()), []);
    }
}
