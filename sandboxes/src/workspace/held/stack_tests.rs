//! Many layers show what one would, and there are few of them.

use std::{
    collections::BTreeSet,
    fs,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    sync::Arc,
};

use proptest::prelude::*;

use super::{
    layer::Ground,
    ledger::Ledger,
    stack::{Content, Piece, Stack},
};
use crate::workspace::{
    HeldChange, HostVersion,
    change::{Change, Reason, What},
    playground::{list, origin, path},
    tree_path::TreePath,
};

/// A change of what is held.
#[derive(Debug, Clone)]
enum Turn {
    Hold(Vec<(TreePath, What)>),
    Release(TreePath),
}

/// A record in a folder of its own, beside a workspace and a folder that has the content of every file.
struct Place {
    folder: tempfile::TempDir,
    ledger: Ledger,
    stack: Arc<Stack>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["work", "session", "content"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let ledger = Ledger::new(folder.path().join("session"));
        Self { folder, ledger, stack: Arc::default() }
    }

    fn next(&mut self, removed: &BTreeSet<TreePath>, added: &[(TreePath, What)]) {
        let open = |name: &str| fs::File::open(self.folder.path().join(name)).unwrap();
        let (work, contents) = (open("work"), open("content"));
        let piece = |(path, what): &(TreePath, What)| {
            let name = path.to_string().replace('/', "+");
            let content = match what {
                What::File { .. } => {
                    fs::write(self.folder.path().join("content").join(&name), format!("{path} {what:?}")).unwrap();
                    Content::Copy { root: contents.as_fd(), path: TreePath::new(name).unwrap() }
                }
                What::Folder { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => Content::None,
            };
            let change = Change { path: path.clone(), what: what.clone() };
            let (reason, host) = (Reason::Conflict, HostVersion::Absent);
            Piece { held: HeldChange { change, reason, origin: origin("call"), host, told: None, mask: None }, content }
        };
        let pieces: Vec<_> = added.iter().map(piece).collect();
        let next = self.stack.next(self.ledger.folder(), Ground::as_it_is(work.as_fd()), removed, &pieces).unwrap();
        self.stack = Arc::new(next);
        self.ledger.save(&self.stack).unwrap();
        self.ledger.sweep(&self.stack).unwrap();
    }

    fn turn(&mut self, turn: &Turn) {
        match turn {
            Turn::Hold(changes) => self.next(&BTreeSet::new(), changes),
            Turn::Release(path) => {
                let gone = self.stack.held.keys().filter(|held| held.is_within(path)).cloned().collect();
                self.next(&gone, &[]);
            }
        }
    }

    /// What the layers show together: kind, permission bits and content of each path. Panics when a layer shows a folder
    /// over something else, which would hide the workspace's folder of that name.
    fn shown(&self) -> Vec<String> {
        let layers = self.ledger.lock().unwrap();
        let mut shown: Vec<(String, String)> = Vec::new();
        for layer in layers.paths() {
            let mut new = Vec::new();
            for line in list(layer) {
                let (name, _) = line.split_once([' ', '/']).map_or((line.as_str(), ""), |_| split(&line));
                let hidden = shown.iter().any(|(above, line)| {
                    let is_folder = line.ends_with('/');
                    assert!(!(above == name && is_folder) || is_a_folder(layer, name), "{name} over something else");
                    above == name || (!is_folder && Path::new(name).starts_with(above))
                });
                if !hidden {
                    let mode = fs::symlink_metadata(layer.join(name)).unwrap().mode();
                    new.push((name.to_owned(), format!("{mode:o} {line}")));
                }
            }
            shown.extend(new);
        }
        let mut lines: Vec<String> = shown.into_iter().map(|(_, line)| line).collect();
        lines.sort();
        lines
    }

    /// The same from one layer.
    fn flat(&self) -> Vec<String> {
        let mut flat = Self::new();
        let changes: Vec<_> = self.stack.held.values().map(|held| held.change.clone()).collect();
        flat.next(&BTreeSet::new(), &changes.into_iter().map(|change| (change.path, change.what)).collect::<Vec<_>>());
        flat.shown()
    }

    fn count(&self) -> usize {
        self.ledger.lock().unwrap().paths().count()
    }
}

fn split(line: &str) -> (&str, &str) {
    [" = ", " -> ", " ∅", "/"].iter().find_map(|sign| line.rsplit_once(sign)).unwrap()
}

fn is_a_folder(layer: &Path, name: &str) -> bool {
    fs::symlink_metadata(layer.join(name)).unwrap().is_dir()
}

fn any_path() -> impl Strategy<Value = TreePath> {
    proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 1..4)
        .prop_map(|names| path(&names.join("/")))
}

fn any_what() -> impl Strategy<Value = What> {
    prop_oneof![
        (0..4_u64).prop_map(|size| What::File { size, mode: 0o640 }),
        Just(What::Folder { mode: 0o750, opaque: false }),
        Just(What::Deleted),
        Just(What::Link { target: "x".into() }),
    ]
}

fn any_turn() -> impl Strategy<Value = Turn> {
    let changes = proptest::collection::btree_map(any_path(), any_what(), 1..4);
    prop_oneof![
        3 => changes.prop_map(|changes| Turn::Hold(changes.into_iter().collect())),
        1 => any_path().prop_map(Turn::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn layers_show_what_one_layer_would(turns in proptest::collection::vec(any_turn(), 1..14)) {
        let mut place = Place::new();
        for turn in &turns {
            place.turn(turn);
            prop_assert_eq!(place.shown(), place.flat());
            let held = place.stack.held.len();
            prop_assert!(held == 0 || place.count() > 0);
        }
        let read = Ledger::new(place.ledger.folder().to_owned()).load().unwrap();
        prop_assert_eq!(read, place.stack);
    }
}

#[test]
fn hundreds_of_held_changes_lie_in_few_layers_and_are_moved_seldom() {
    let mut place = Place::new();
    let mut made = 0;
    for number in 0..400 {
        let what = What::File { size: 0, mode: 0o644 };
        place.next(&BTreeSet::new(), &[(path(&format!("d{}/f{number}", number % 7)), what)]);
        let layers = place.ledger.lock().unwrap();
        assert!(layers.paths().count() <= 9, "{number}");
        let top = layers.paths().next().unwrap();
        made += list(top).iter().filter(|line| line.contains(" = ")).count();
    }
    assert!(made <= 3_600, "{made} names for 400 changes");
    assert_eq!(place.stack.held.len(), 400);
    assert_eq!(place.shown().iter().filter(|line| line.contains(" = ")).count(), 400);
    let folders = fs::read_dir(place.ledger.folder().join("layers")).unwrap().count();
    assert_eq!(folders, place.count());
    place.turn(&Turn::Release(TreePath::root()));
    assert_eq!((place.count(), place.stack.held.len()), (0, 0));
}

#[test]
fn a_folder_that_a_person_was_told_of_need_not_be_there_any_more() {
    let mut stack = Stack::default();
    let folder = TreePath::new("made").unwrap();
    let (mode, origin) = (0o755, origin("call"));
    let change = Change { path: folder.clone(), what: What::Folder { mode, opaque: false } };
    let (host, told) = (HostVersion::Absent, Some(HostVersion::Folder { mode }));
    stack.held.insert(folder.clone(), HeldChange { change, reason: Reason::Conflict, origin, host, told, mask: None });
    assert!(stack.is_related(&folder.join("x".as_ref()), &What::Deleted));
}
