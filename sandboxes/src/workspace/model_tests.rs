//! Random sequences of file operations in a real view, beside a model of the files: what is shown, what comes back and
//! what is held are what the model says; nothing is lost, nothing is extra; and taking the call back gives what was there.
//! In all modes, kept at once or brought back later, and with a file whose value no view holds and no call changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::Arc,
};

use cofferdam_contract::HandBack;
use cofferdam_policy::{Mode, SecretFiles, Secrets};
use proptest::prelude::*;

use super::{
    HandedBack, Held, Keep, Reason, Session, Stamp, TreePath,
    playground::{Playground, origin, patient},
    view_tests::{Left, View, call, hand_back},
};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File { text: String, mode: u32 },
    Folder { mode: u32 },
    Link { target: String },
}

/// Files by their paths, without the root.
type Model = BTreeMap<String, Node>;

/// One thing that a program does. Paths are chosen by number from those that make sense at that moment, so that most
/// steps do something.
#[derive(Debug, Clone)]
enum Step {
    Write { place: usize, text: u8 },
    MakeFolder { place: usize },
    Remove { what: usize },
    Move { what: usize, place: usize },
    Link { place: usize, target: usize },
    HardLink { what: usize, place: usize },
    Mode { what: usize, mode: usize },
}

/// How what a call wrote comes back.
#[derive(Debug, Clone, Copy)]
struct Terms {
    mode: Mode,
    asked: Asked,
}

/// When it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    AtOnce,
    Later,
}

/// A file with credentials: where it lies in the workspace, and what views have in its place.
struct Credentials {
    path: String,
    files: SecretFiles,
}

/// What the file holds, the value in it, and what its masked copy holds.
const REAL: &str = "KEY=s3cr3t-1234567890\n";
const VALUE: &str = "s3cr3t-1234567890";
const MASKED: &str = "KEY=masked\n";

const NAMES: [&str; 7] = ["a", "b", "C", "c", ".envrc", ".git", "Makefile"];
const TARGETS: [&str; 5] = ["a", "../b", "/etc/passwd", ".git/config", "missing"];
const FILE_MODES: [u32; 3] = [0o644, 0o600, 0o755];
const FOLDER_MODES: [u32; 3] = [0o755, 0o700, 0o750];

fn any_step() -> impl Strategy<Value = Step> {
    let number = || 0usize..1000;
    prop_oneof![
        4 => (number(), any::<u8>()).prop_map(|(place, text)| Step::Write { place, text }),
        2 => number().prop_map(|place| Step::MakeFolder { place }),
        2 => number().prop_map(|what| Step::Remove { what }),
        3 => (number(), number()).prop_map(|(what, place)| Step::Move { what, place }),
        1 => (number(), number()).prop_map(|(place, target)| Step::Link { place, target }),
        1 => (number(), number()).prop_map(|(what, place)| Step::HardLink { what, place }),
        1 => (number(), number()).prop_map(|(what, mode)| Step::Mode { what, mode }),
    ]
}

fn any_terms() -> impl Strategy<Value = Terms> {
    let mode = prop_oneof![3 => Just(Mode::Apply), 2 => Just(Mode::Draft), 1 => Just(Mode::ReadOnly)];
    let asked = prop_oneof![3 => Just(Asked::AtOnce), 1 => Just(Asked::Later)];
    (mode, asked).prop_map(|(mode, asked)| Terms { mode, asked })
}

fn is_within(path: &str, folder: &str) -> bool {
    path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Every path at most three names deep whose folder is there.
fn places(model: &Model) -> Vec<String> {
    let folders = model.iter().filter(|(_, node)| matches!(node, Node::Folder { .. })).map(|(path, _)| path.as_str());
    let folders = std::iter::once("").chain(folders).filter(|folder| folder.matches('/').count() < 2);
    folders
        .flat_map(|folder| NAMES.map(|name| if folder.is_empty() { name.into() } else { format!("{folder}/{name}") }))
        .collect()
}

fn choose<T: Clone>(list: &[T], number: usize) -> Option<T> {
    (!list.is_empty()).then(|| list[number % list.len()].clone())
}

/// Does a step to the model; gives the shell command that does the same, or `None` when the step makes no sense now.
fn act(model: &mut Model, step: &Step) -> Option<String> {
    let there: Vec<String> = model.keys().cloned().collect();
    let free: Vec<String> = places(model).into_iter().filter(|place| !model.contains_key(place)).collect();
    match step {
        Step::Write { place, text } => {
            let path = choose(&places(model), *place)?;
            let mode = match model.get(&path) {
                None => 0o644,
                Some(Node::File { mode, .. }) => *mode,
                Some(Node::Folder { .. } | Node::Link { .. }) => return None,
            };
            let text = format!("text {text}");
            let command = format!("printf '%s' '{text}' > '{path}'");
            model.insert(path, Node::File { text, mode });
            Some(command)
        }
        Step::MakeFolder { place } => {
            let path = choose(&free, *place)?;
            let command = format!("mkdir '{path}'");
            model.insert(path, Node::Folder { mode: 0o755 });
            Some(command)
        }
        Step::Remove { what } => {
            let path = choose(&there, *what)?;
            model.retain(|other, _| !is_within(other, &path));
            Some(format!("rm -rf '{path}'"))
        }
        Step::Move { what, place } => {
            let (path, to) = (choose(&there, *what)?, choose(&free, *place)?);
            if is_within(&to, &path) || path.matches('/').count() < to.matches('/').count() {
                return None;
            }
            let moved: Vec<(String, Node)> = model
                .iter()
                .filter(|(other, _)| is_within(other, &path))
                .map(|(p, n)| (p.clone(), n.clone()))
                .collect();
            for (old, node) in moved {
                model.remove(&old);
                model.insert(format!("{to}{}", &old[path.len()..]), node);
            }
            Some(format!("mv -T '{path}' '{to}'"))
        }
        Step::Link { place, target } => {
            let path = choose(&free, *place)?;
            let target = TARGETS[target % TARGETS.len()].to_owned();
            let command = format!("ln -s '{target}' '{path}'");
            model.insert(path, Node::Link { target });
            Some(command)
        }
        Step::HardLink { what, place } => {
            let files: Vec<String> =
                model.iter().filter(|(_, n)| matches!(n, Node::File { .. })).map(|(p, _)| p.clone()).collect();
            let (path, to) = (choose(&files, *what)?, choose(&free, *place)?);
            // Two files again before the next step, since the model knows no file with two names.
            let node = model[&path].clone();
            model.insert(to.clone(), node);
            Some(format!("ln '{path}' '{to}' && cp -p '{to}' '{to}.copy' && mv -f '{to}.copy' '{to}'"))
        }
        Step::Mode { what, mode } => {
            let path = choose(&there, *what)?;
            let bits = match model.get_mut(&path)? {
                Node::File { mode: bits, .. } => {
                    *bits = FILE_MODES[mode % FILE_MODES.len()];
                    *bits
                }
                Node::Folder { mode: bits } => {
                    *bits = FOLDER_MODES[mode % FOLDER_MODES.len()];
                    *bits
                }
                Node::Link { .. } => return None,
            };
            Some(format!("chmod {bits:o} '{path}'"))
        }
    }
}

/// What is below a folder.
fn read(root: &Path) -> Model {
    let mut model = Model::new();
    let mut pending = vec![root.to_owned()];
    while let Some(folder) = pending.pop() {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let found = fs::symlink_metadata(&path).unwrap();
            let mode = found.mode() & 0o777;
            let node = if found.is_dir() {
                pending.push(path);
                Node::Folder { mode }
            } else if found.is_symlink() {
                Node::Link { target: fs::read_link(&path).unwrap().to_str().unwrap().to_owned() }
            } else {
                Node::File { text: fs::read_to_string(&path).unwrap(), mode }
            };
            model.insert(name, node);
        }
    }
    model
}

fn write(root: &Path, model: &Model) {
    for (name, node) in model {
        let path = root.join(name);
        match node {
            Node::File { text, mode } => {
                fs::write(&path, text).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
            Node::Folder { mode } => {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
            Node::Link { target } => symlink(target, &path).unwrap(),
        }
    }
}

/// What a view shows now, as `path kind mode [target]` and digests; compared as text.
fn shown(ground: &Playground) -> String {
    call(ground, View::Overlay, "true").1
}

fn names(changes: impl Iterator<Item = TreePath>) -> BTreeSet<String> {
    changes.map(|path| path.as_path().to_str().unwrap().to_owned()).collect()
}

/// Whether a path is protected by its name: none of those may be other than it was.
fn is_protected(path: &str) -> bool {
    path.split('/').any(|name| name == ".envrc" || name == ".git")
}

/// Whether one of two paths is the other or lies in it.
fn touches(one: &str, other: &str) -> bool {
    is_within(one, other) || is_within(other, one)
}

impl Credentials {
    /// What a view of a workspace with these files shows.
    fn seen(&self, host: &Model) -> Model {
        let mut seen = host.clone();
        match (self.files, seen.get_mut(&self.path)) {
            (SecretFiles::Masked, Some(Node::File { text, .. })) => MASKED.clone_into(text),
            (SecretFiles::Absent, _) => drop(seen.remove(&self.path)),
            (SecretFiles::Masked, other) => panic!("{other:?} at {}", self.path),
        }
        seen
    }

    /// The file is as it was, and its value is nowhere in the server's own folder.
    fn assert_kept(&self, ground: &Playground, before: &Model) -> Result<(), TestCaseError> {
        let now = read(ground.workspace.root());
        prop_assert_eq!(now.get(&self.path), before.get(&self.path));
        let mut pending = vec![ground.workspace.state().to_owned()];
        while let Some(folder) = pending.pop() {
            for item in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let kind = item.file_type().unwrap();
                if kind.is_dir() {
                    pending.push(item.path());
                } else if kind.is_file() {
                    let content = fs::read(item.path()).unwrap();
                    let holds = content.windows(VALUE.len()).any(|part| part == VALUE.as_bytes());
                    prop_assert!(!holds, "{:?}", item.path());
                }
            }
        }
        Ok(())
    }
}

/// Hands back on these terms. What is left the first time is brought back then, in a mode in which something comes back.
fn back(
    ground: &mut Playground,
    session: &Session,
    left: &Left,
    stamp: &Stamp,
    terms: Terms,
) -> Result<HandedBack, TestCaseError> {
    let before = read(ground.workspace.root());
    let (allowed, later) = match terms {
        Terms { mode: Mode::Apply | Mode::Draft, asked: Asked::AtOnce } => (HandBack::Tree, None),
        Terms { mode: Mode::ReadOnly, asked: Asked::AtOnce } => (HandBack::Tree, Some(Mode::Apply)),
        Terms { mode: Mode::ReadOnly, asked: Asked::Later } => (HandBack::Nothing, Some(Mode::Draft)),
        Terms { mode: mode @ (Mode::Apply | Mode::Draft), asked: Asked::Later } => (HandBack::Nothing, Some(mode)),
    };
    ground.mode = terms.mode;
    let at_once = hand_back(ground, session, left, &allowed, stamp);
    let Some(mode) = later else { return Ok(at_once) };
    prop_assert!(at_once.applied.is_empty() && at_once.held.is_empty(), "{:?}", at_once);
    prop_assert_eq!(read(ground.workspace.root()), before);
    if at_once.left.is_empty() {
        return Ok(at_once);
    }
    ground.mode = mode;
    let keep = Keep {
        call: "call-1",
        admission: ground.admission(&HandBack::Tree),
        secrets: &ground.secrets,
        origin: &origin("keeping"),
    };
    let kept = session.keep(&keep, &patient(&|| false)).unwrap();
    prop_assert_eq!(kept.omitted, 0);
    Ok(kept.handed_back)
}

/// Takes these orders back, the last one first; gives the orders that did so, in their order.
fn undo(ground: &Playground, session: &Session, orders: &[String]) -> Result<Vec<String>, TestCaseError> {
    let mut undoing = Vec::new();
    for order in orders.iter().rev() {
        let undo = |paths: &[TreePath]| session.undo(order, paths, &ground.secrets, &patient(&|| false)).unwrap();
        let mut undone = undo(&[]);
        // A repository goes only by its name.
        let repository = |held: &Held| match &held.reason {
            Reason::RemovesRepository { path } | Reason::ContainsRepository { path } => TreePath::new(path),
            _ => None,
        };
        let named: Vec<TreePath> = undone.refused.iter().filter_map(repository).collect();
        if !named.is_empty() {
            undone = undo(&[vec![TreePath::root()], named].concat());
        }
        prop_assert_eq!(&undone.refused, &[], "{}", order);
        undoing.push(undone.order);
    }
    Ok(undoing)
}

/// One call with these steps.
fn turn(
    ground: &mut Playground,
    session: &Session,
    credentials: &Credentials,
    terms: Terms,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let before = read(ground.workspace.root());
    let mut model = credentials.seen(&before);
    let commands: Vec<String> = steps.iter().filter_map(|step| act(&mut model, step)).collect();
    let stamp = ground.stamp();
    let unread = format!("if grep -rqs '{VALUE}' .; then echo '{VALUE} is shown' >&2; exit 9; fi");
    let script = format!("umask 022\n{unread}\n{}\n{unread}", commands.join("\n"));
    let (left, seen) = call(ground, View::Overlay, &script);
    let HandedBack { applied, held, dropped, left: not_asked, .. } = back(ground, session, &left, &stamp, terms)?;
    let after = read(ground.workspace.root());
    let to_be_named =
        names(held.iter().filter(|held| held.reason.must_be_named()).map(|held| held.change.path.clone()));
    let beside = names(
        held.iter()
            .filter(|held| matches!(held.reason, Reason::ContainsSecret { .. }))
            .map(|held| held.change.path.clone())
            .filter(|path| !touches(&path.to_string(), &credentials.path)),
    );
    // Only the file itself, what holds it, what is replaced together with it, and what its masked copy was put under.
    let holding: Vec<TreePath> = TreePath::new(&credentials.path).unwrap().folders_above().collect();
    for one in held.iter().filter(|held| held.reason.is_about_secrets()) {
        let may_stand = match one.reason {
            Reason::MaskedCopy { .. } | Reason::MaskedLines => true,
            Reason::ContainsSecret { ref path } => {
                let is_beside = |folder: &TreePath| *folder != TreePath::root() && one.change.path.is_within(folder);
                *path == credentials.path && holding.iter().any(is_beside)
            }
            _ => false,
        };
        let path = one.change.path.to_string();
        prop_assert!(may_stand || touches(&path, &credentials.path), "{:?}; {:?}", one, &commands);
    }
    let (applied, held) =
        (names(applied.into_iter().map(|one| one.path)), names(held.into_iter().map(|one| one.change.path)));
    prop_assert!(dropped.is_empty() && not_asked.is_empty(), "{dropped:?} {not_asked:?}");
    prop_assert!(ground.mode == Mode::Apply || applied.is_empty(), "{:?} {:?}", terms, &applied);
    // What the next call sees is what this one left: nothing is lost, applied or held.
    prop_assert_eq!(shown(ground), seen, "{:?} {:?}", terms, &commands);
    credentials.assert_kept(ground, &before)?;
    // Nothing comes that was not told, and nothing protected comes at all.
    let touched: BTreeSet<&String> =
        before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect();
    for path in &touched {
        let told = applied.iter().any(|applied| is_within(path, applied));
        prop_assert!(told && !is_protected(path), "{} changed; {:?} {:?} {:?}", path, &applied, &held, &commands);
    }
    // Where nothing is held, the host has what the model has; the file with credentials is only where a change of it waits.
    let there = credentials.seen(&after);
    for path in model.keys().chain(there.keys()) {
        let waits = held.iter().any(|held| touches(path, held));
        prop_assert!(waits || model.get(path) == there.get(path), "{} differs; {:?} {:?}", path, &held, &commands);
    }
    // Taken back, it is as it was; done again by undoing that, it is as it became.
    if !applied.is_empty() {
        let newest = session.undoable().unwrap()[0].call.clone();
        let undoing = undo(ground, session, &[newest])?;
        prop_assert_eq!(&read(ground.workspace.root()), &before, "{:?}", &commands);
        undo(ground, session, &undoing)?;
        prop_assert_eq!(&read(ground.workspace.root()), &after, "{:?}", &commands);
    }
    // Applied by a person, what was held is there as well; but for what would change the file with credentials or remove a
    // repository, which no order about everything does.
    let mut orders = Vec::new();
    for _ in 0..2 {
        let released = session.apply(&[TreePath::root()], &ground.secrets, &patient(&|| false)).unwrap();
        orders.extend((!released.applied.is_empty()).then_some(released.order));
    }
    let waiting = names(session.held().unwrap().into_iter().map(|held| held.change.path));
    for path in &waiting {
        prop_assert!(to_be_named.iter().any(|held| touches(path, held)), "{} waits; {:?}", path, &commands);
    }
    // What was only replaced together with the file can go without it.
    for path in to_be_named.iter().filter(|path| !beside.contains(*path)) {
        prop_assert!(waiting.contains(path), "{} is gone; {:?}", path, &commands);
    }
    let decided = read(ground.workspace.root());
    let there = credentials.seen(&decided);
    for path in model.keys().chain(there.keys()) {
        let waits = to_be_named.iter().any(|held| touches(path, held));
        prop_assert!(waits || model.get(path) == there.get(path), "{} differs; {:?} {:?}", path, &held, &commands);
    }
    session.discard(&[TreePath::root()], &patient(&|| false)).unwrap();
    prop_assert_eq!(session.held().unwrap(), vec![], "{:?}", &commands);
    credentials.assert_kept(ground, &before)?;
    // A person's orders are taken back and done again likewise.
    let undoing = undo(ground, session, &orders)?;
    prop_assert_eq!(&read(ground.workspace.root()), &after, "{:?}", &commands);
    undo(ground, session, &undoing)?;
    prop_assert_eq!(&read(ground.workspace.root()), &decided, "{:?}", &commands);
    credentials.assert_kept(ground, &before)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn files_come_back_as_the_model_says(
        start in proptest::collection::vec(any_step(), 0..12),
        (folder, files) in (0_usize..1000, prop_oneof![Just(SecretFiles::Masked), Just(SecretFiles::Absent)]),
        turns in proptest::collection::vec((any_terms(), proptest::collection::vec(any_step(), 1..10)), 1..4),
    ) {
        let mut ground = Playground::new();
        let mut model = Model::new();
        for step in &start {
            act(&mut model, step);
        }
        // Git's own folder is not looked through for such files.
        let folders =
            model.iter().filter(|(path, node)| matches!(node, Node::Folder { .. }) && !path.split('/').any(|n| n == ".git"));
        let places: Vec<String> =
            std::iter::once(String::new()).chain(folders.map(|(path, _)| format!("{path}/"))).collect();
        let path = format!("{}.env", places[folder % places.len()]);
        model.insert(path.clone(), Node::File { text: REAL.to_owned(), mode: 0o600 });
        write(ground.workspace.root(), &model);
        ground.secrets = Arc::new(Secrets::new(files, &[], &[]).unwrap());
        let credentials = Credentials { path, files };
        let session = ground.session();
        for (terms, steps) in &turns {
            turn(&mut ground, &session, &credentials, *terms, steps)?;
        }
    }
}
