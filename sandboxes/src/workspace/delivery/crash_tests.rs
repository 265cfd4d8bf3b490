//! A server that stops at any step of a hand-back, and of the recovery after it.

use std::{cell::Cell, collections::BTreeMap, fs, os::unix::fs::symlink};

use cofferdam_contract::HandBack;

use super::{DeliveryError, Step, Steps, Stopped};
use crate::workspace::{
    delivery,
    playground::{Playground, Upper, held_list, path, patient},
    session::{Session, SessionError},
    stamp::Stamp,
};

/// Stops before step number `at`, counted from 0.
pub(in crate::workspace) struct StopAt {
    at: usize,
    seen: Cell<usize>,
}

impl StopAt {
    pub(in crate::workspace) fn new(at: usize) -> Self {
        Self { at, seen: Cell::new(0) }
    }
}

impl Steps for StopAt {
    fn reached(&self, _: Step) -> Result<(), Stopped> {
        let seen = self.seen.replace(self.seen.get() + 1);
        if seen == self.at { Err(Stopped) } else { Ok(()) }
    }
}

fn prepare() -> (Playground, Session, Stamp, Upper) {
    let ground = Playground::new();
    for name in ["edited", "deleted", "tree/a", "tree/b/c", "folder-to-file/x", "file-to-folder", "conflict", ".envrc"]
    {
        ground.write(name, "old");
    }
    symlink("old", ground.host("link")).unwrap();
    let session = ground.session();
    let stamp = ground.stamp();
    ground.write("conflict", "host");
    let upper = ground.upper();
    upper.write("edited", "new").delete("deleted").delete("tree").write("folder-to-file", "new");
    upper.opaque("file-to-folder").write("file-to-folder/in/side", "new").link("link", "new").write("conflict", "call");
    upper.write(".envrc", "evil").write("made/deep/file", "new").folder("made/empty");
    (ground, session, stamp, upper)
}

/// Every path with its content.
fn state(lines: Vec<String>) -> BTreeMap<String, String> {
    let split = |line: String| {
        for sign in [" = ", " -> ", " ∅", "/"] {
            if let Some((name, rest)) = line.split_once(sign).filter(|(_, rest)| sign != "/" || rest.is_empty()) {
                return (name.to_owned(), format!("{sign}{rest}"));
            }
        }
        (line, String::new())
    };
    lines.into_iter().map(split).collect()
}

/// What a call of the session would see: the workspace with what is held over it.
fn view(ground: &Playground, session: &Session) -> BTreeMap<String, String> {
    let mut view = state(ground.tree());
    for (name, content) in state(held_list(session)) {
        if content != "/" || view.get(&name).is_none_or(|below| below != "/") {
            view.retain(|other, _| !other.starts_with(&format!("{name}/")));
        }
        if content == " ∅" {
            view.remove(&name);
        } else {
            view.insert(name, content);
        }
    }
    view
}

/// What the call left: what its view showed at the end.
fn wanted() -> BTreeMap<String, String> {
    state(
        [
            ".envrc = evil",
            "conflict = call",
            "edited = new",
            "file-to-folder/",
            "file-to-folder/in/",
            "file-to-folder/in/side = new",
            "folder-to-file = new",
            "link -> new",
            "made/",
            "made/deep/",
            "made/deep/file = new",
            "made/empty/",
        ]
        .map(str::to_owned)
        .to_vec(),
    )
}

fn assert_nothing_left(ground: &Playground, at: &str) {
    let left: Vec<_> = ground.tree().into_iter().filter(|line| line.contains(".cofferdam-")).collect();
    assert!(left.is_empty(), "{at}: {left:?}");
    assert!(!ground.workspace.state().join("journal.json").exists(), "{at}");
}

#[test]
fn a_stop_at_any_step_loses_nothing_and_leaves_nothing() {
    let (mut rolled_back, mut finished) = (0, 0);
    for at in 0.. {
        let (ground, session, stamp, upper) = prepare();
        let before = state(ground.tree());
        let stopped = ground.try_hand_back(&session, &upper, &HandBack::Tree, &stamp, &StopAt::new(at));
        drop(upper);
        if stopped.is_ok() {
            assert_eq!(view(&ground, &session), wanted());
            break;
        }
        assert!(matches!(stopped, Err(SessionError::Stopped(_))), "step {at}: {stopped:?}");
        let again = ground.reopened();
        let recovered = again.recover(&patient(&|| false)).unwrap();
        let session = Session::open(again, "default").unwrap();
        let at = format!("step {at}, {recovered:?}");
        assert_nothing_left(&ground, &at);
        assert_eq!(ground.read("conflict").as_deref(), Some("host"), "{at}");
        assert_eq!(ground.read(".envrc").as_deref(), Some("old"), "{at}");
        assert_eq!(recovered.lost, [], "{at}");
        if recovered.rolled_back {
            rolled_back += 1;
            assert_eq!(state(ground.tree()), before, "{at}");
            assert_eq!(session.held().unwrap(), [], "{at}");
        } else {
            finished += 1;
            assert_eq!(view(&ground, &session), wanted(), "{at}");
        }
        let layers = fs::read_dir(session.ledger().folder().join("layers")).map(Iterator::count).unwrap_or(0);
        assert_eq!(layers, session.layers().unwrap().paths().count(), "{at}");
    }
    assert!(rolled_back > 10 && finished > 20, "{rolled_back} {finished}");
}

#[test]
fn a_stop_during_recovery_loses_nothing_either() {
    let mut stops = 0;
    for at in 0.. {
        let (ground, session, stamp, upper) = prepare();
        let stopped = ground.try_hand_back(&session, &upper, &HandBack::Tree, &stamp, &StopAt::new(at));
        if stopped.is_ok() {
            break;
        }
        for second in 0..4 {
            let again = ground.reopened();
            match delivery::recover(&again, &StopAt::new(second)) {
                Ok(_) => break,
                Err(DeliveryError::Stopped(_)) => stops += 1,
                Err(DeliveryError::Kernel(error)) => panic!("step {at}, {second}: {error}"),
            }
        }
        let again = ground.reopened();
        again.recover(&patient(&|| false)).unwrap();
        let session = Session::open(again, "default").unwrap();
        assert_nothing_left(&ground, &format!("step {at}"));
        let view = view(&ground, &session);
        assert!(view == wanted() || session.held().unwrap().is_empty(), "step {at}: {view:?}");
    }
    assert!(stops > 20, "{stops}");
}

#[test]
fn an_order_to_apply_that_is_stopped_loses_nothing() {
    for at in 0.. {
        let (ground, session, stamp, upper) = prepare();
        ground.hand_back(&session, &upper, &HandBack::Nothing, &stamp);
        let all: Vec<String> = [".envrc", "conflict"].map(str::to_owned).to_vec();
        let back = ground.hand_back(
            &session,
            &upper,
            &crate::workspace::playground::only(&all.iter().map(String::as_str).collect::<Vec<_>>()),
            &stamp,
        );
        assert_eq!(back.held.len(), 2);
        let paths = [path(".envrc"), path("conflict")];
        let applied = session.apply_in_steps(&paths, &patient(&|| false), &StopAt::new(at));
        if let Ok(released) = applied {
            assert_eq!(released.applied.len(), 2);
            break;
        }
        let again = ground.reopened();
        again.recover(&patient(&|| false)).unwrap();
        let session = Session::open(again, "default").unwrap();
        assert_nothing_left(&ground, &format!("step {at}"));
        let view = view(&ground, &session);
        assert_eq!((view[".envrc"].as_str(), view["conflict"].as_str()), (" = evil", " = call"), "step {at}");
        for held in session.held().unwrap() {
            assert_ne!(held.reason, crate::workspace::Reason::Interrupted, "step {at}: it keeps its own reason");
        }
    }
}

#[test]
fn a_folder_half_emptied_at_the_stop_is_emptied_and_not_put_back() {
    let (ground, session, stamp, upper) = prepare();
    // Stops when the deletion of `tree` is in place, and then acts as a server killed while it emptied the folder.
    let step = (0..)
        .find(|at| {
            let (ground, session, stamp, upper) = prepare();
            let _ = ground.try_hand_back(&session, &upper, &HandBack::Tree, &stamp, &StopAt::new(*at));
            ground.read("tree/a").is_none()
        })
        .unwrap();
    ground.try_hand_back(&session, &upper, &HandBack::Tree, &stamp, &StopAt::new(step)).unwrap_err();
    let away = ground.tree().into_iter().find(|line| line.starts_with(".cofferdam-") && line.ends_with("/b/")).unwrap();
    let away = away.split('/').next().unwrap();
    fs::rename(ground.host(away), ground.host(&format!("{away}-gone"))).unwrap();
    fs::remove_file(ground.host(&format!("{away}-gone/a"))).unwrap();
    ground.reopened().recover(&patient(&|| false)).unwrap();
    assert_nothing_left(&ground, "half emptied");
    assert_eq!(view(&ground, &ground.session()), wanted());
}

#[test]
fn a_journal_that_was_not_noted_to_its_end_is_removed() {
    let (ground, ..) = prepare();
    let again = ground.reopened();
    let noted = again.state().join("journal.json.noted");
    fs::write(&noted, "{\"half").unwrap();
    assert_eq!(again.recover(&patient(&|| false)).unwrap(), crate::workspace::Recovered::default());
    assert!(!noted.exists());
}

#[test]
fn a_journal_of_another_folder_is_put_aside() {
    let (ground, session, stamp, upper) = prepare();
    ground.try_hand_back(&session, &upper, &HandBack::Tree, &stamp, &StopAt::new(5)).unwrap_err();
    fs::rename(ground.host(""), ground.folder.path().join("old")).unwrap();
    fs::create_dir(ground.folder.path().join("work")).unwrap();
    ground.write("mine", "x");
    let again = ground.reopened();
    again.recover(&patient(&|| false)).unwrap();
    assert_eq!(ground.tree(), ["mine = x"]);
    assert!(again.state().join("journal.orphaned.json").exists());
    assert_eq!(again.recover(&patient(&|| false)).unwrap(), crate::workspace::Recovered::default());
}

#[test]
fn a_stop_while_layers_are_merged_loses_nothing_and_leaves_no_layer() {
    let files = [".envrc", ".npmrc", "a.code-workspace", ".yarnrc"];
    for at in 0.. {
        let ground = Playground::new();
        let session = ground.session();
        let hold = |session: &Session, file: &str, steps: &dyn Steps| {
            let (stamp, upper) = (ground.stamp(), ground.upper());
            upper.write(file, file);
            ground.try_hand_back(session, &upper, &HandBack::Tree, &stamp, steps)
        };
        // Sizes: 1, then 2, then 1 over 2.
        for file in &files[..3] {
            hold(&session, file, &delivery::Uninterrupted).unwrap();
        }
        assert_eq!(session.layers().unwrap().paths().count(), 2, "the next one merges them all");
        // What a server leaves that is killed while it builds a layer.
        fs::create_dir_all(session.ledger().folder().join("layers/4-00000000/half")).unwrap();
        let stopped = hold(&session, files[3], &StopAt::new(at));
        let again = ground.reopened();
        again.recover(&patient(&|| false)).unwrap();
        let session = Session::open(again, "default").unwrap();
        let held = session.held().unwrap();
        assert!(held.len() >= 3, "step {at}: {held:?}");
        for file in files.iter().filter(|file| held.iter().any(|held| held.change.path == path(file))) {
            assert!(held_list(&session).contains(&format!("{file} = {file}")), "step {at}: {file}");
        }
        hold(&session, "sub/.npmrc", &delivery::Uninterrupted).unwrap();
        let named = session.layers().unwrap().paths().count();
        let there = fs::read_dir(session.ledger().folder().join("layers")).unwrap().count();
        assert_eq!((named, there), (there, named), "step {at}");
        if stopped.is_ok() {
            assert_eq!(held.len(), files.len());
            break;
        }
    }
}
