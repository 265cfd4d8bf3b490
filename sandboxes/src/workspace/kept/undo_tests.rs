//! What a call did is taken back: wholly, not at all, or as far as it is asked; and undone again.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use cofferdam_contract::HandBack;
use rustix::fs::{FileType, Mode};

use super::shelf::RETENTION;
use crate::workspace::{
    Reason, Retention, Session, UndoError, Undone,
    delivery::crash_tests::StopAt,
    playground::{Playground, list, only, path, patient},
    view_tests::{LIST, SCRIPTS, TREE, View, call, hand_back, sh},
};

fn undo(session: &Session, call: &str, paths: &[&str]) -> Undone {
    let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
    session.undo(call, &paths, &crate::workspace::playground::listed(), &patient(&|| false)).unwrap()
}

fn newest(session: &Session) -> String {
    session.undoable().unwrap()[0].call.clone()
}

/// Names below `folder`, for what must leave no trace.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn whatever_a_call_did_is_taken_back_and_done_again() {
    for script in SCRIPTS {
        let ground = Playground::new();
        sh(TREE, ground.workspace.root());
        let before = sh(LIST, ground.workspace.root());
        // The playground's calls are of 2023.
        let session = ground.session().retaining(Retention { age: Duration::MAX, ..RETENTION });
        let stamp = ground.stamp();
        let (left, shown) = call(&ground, View::Overlay, script);
        hand_back(&ground, &session, &left, &HandBack::Tree, &stamp);
        let undone = undo(&session, "call-1", &[]);
        assert_eq!((undone.refused.len(), sh(LIST, ground.workspace.root())), (0, before), "{script}");
        // The undoing is undone by its own name.
        let again = undo(&session, &undone.order, &[]);
        assert_eq!((again.refused.len(), sh(LIST, ground.workspace.root())), (0, shown), "{script}");
        assert_eq!(session.undoable().unwrap().len(), 3, "{script}");
    }
}

/// A workspace in which a call edited `edited`, deleted `tree` and made `made/new`.
fn after_a_call() -> (Playground, Session) {
    let ground = Playground::new();
    for name in ["edited", "tree/a", "tree/b/c"] {
        ground.write(name, "old");
    }
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("edited", "new").delete("tree").write("made/new", "new");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    (ground, session)
}

#[test]
fn what_changed_since_is_named_and_then_nothing_is_done() {
    let (ground, session) = after_a_call();
    ground.write("edited", "mine");
    let before = ground.tree();
    let undone = undo(&session, "call-1", &[]);
    let refused: Vec<_> = undone.refused.iter().map(|held| (held.change.path.to_string(), &held.reason)).collect();
    assert_eq!(refused, [("edited".to_owned(), &Reason::Conflict)]);
    assert_eq!((undone.applied.len(), ground.tree()), (0, before));
    // The rest, when it is asked for.
    assert_eq!(undo(&session, "call-1", &["tree", "made"]).refused, []);
    assert_eq!(ground.tree(), ["edited = mine", "tree/", "tree/a = old", "tree/b/", "tree/b/c = old"]);
}

#[test]
fn what_is_gone_already_and_a_folder_that_is_gone_are_said_to_be() {
    let (ground, session) = after_a_call();
    fs::remove_dir_all(ground.workspace.root().join("made")).unwrap();
    let undone = undo(&session, "call-1", &["made"]);
    assert_eq!((undone.applied.len(), undone.refused, undone.gone), (0, vec![], vec![path("made"), path("made/new")]));

    let ground = Playground::new();
    ground.write("docs/a", "old");
    ground.write("docs/b", "old");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.delete("docs/a");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    fs::remove_dir_all(ground.workspace.root().join("docs")).unwrap();
    let undone = undo(&session, "call-1", &[]);
    assert_eq!(undone.refused.iter().map(|held| &held.reason).collect::<Vec<_>>(), [&Reason::FolderGone]);
}

#[test]
fn what_an_undo_cannot_bring_back_is_named_and_bits_that_forbid_reading_are_kept() {
    let ground = Playground::new();
    ground.write("tree/set", "x");
    ground.write("tree/shut/in", "x");
    let root = ground.workspace.root().to_owned();
    sh("chmod 4755 tree/set; chmod 000 tree/shut/in; chmod 300 tree/shut", &root);
    let socket = rustix::fs::mknodat(rustix::fs::CWD, root.join("tree/door"), FileType::Socket, Mode::RUSR, 0);
    socket.unwrap();
    // The playground's calls are of 2023.
    let session = ground.session().retaining(Retention { age: Duration::MAX, ..RETENTION });
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.delete("tree");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    for _ in 0..2 {
        let undone = undo(&session, "call-1", &[]);
        let mut notes: Vec<_> = undone.notes.iter().map(|note| format!("{note:?}")).collect();
        notes.sort();
        let [door, set] = &notes[..] else { panic!("{notes:?}") };
        assert!(door.contains("tree/door") && door.contains("a socket"), "{notes:?}");
        assert!(set.contains("tree/set") && set.contains("4000"), "{notes:?}");
        let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("tree/set"), mode("tree/shut/in"), mode("tree/shut")), (0o755, 0o000, 0o300));
        // The shelf has the bits that it had: the second time is as the first.
        undo(&session, &undone.order, &[]);
    }
}

#[test]
fn what_a_copy_lacks_is_named_as_well() {
    let ground = Playground::on_two_file_systems();
    ground.write("tree/set", "x");
    ground.write("lone", "x");
    let root = ground.workspace.root().to_owned();
    sh("chmod 4755 tree/set; chmod 2750 lone", &root);
    let socket = rustix::fs::mknodat(rustix::fs::CWD, root.join("tree/door"), FileType::Socket, Mode::RUSR, 0);
    socket.unwrap();
    let session = ground.session().retaining(Retention { age: Duration::MAX, ..RETENTION });
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.delete("tree").write("lone", "y");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    for _ in 0..2 {
        let undone = undo(&session, "call-1", &[]);
        let mut notes: Vec<_> = undone.notes.iter().map(|note| format!("{note:?}")).collect();
        notes.sort();
        let [lone, door, set] = &notes[..] else { panic!("{notes:?}") };
        assert!(lone.contains("\"lone\"") && lone.contains("2000"), "{notes:?}");
        assert!(door.contains("\"tree/door\"") && door.contains("a socket"), "{notes:?}");
        assert!(set.contains("\"tree/set\"") && set.contains("4000"), "{notes:?}");
        undo(&session, &undone.order, &[]);
    }
}

#[test]
fn a_list_of_what_a_copy_lacks_that_a_crash_cut_off_keeps_nothing_from_coming_back() {
    let ground = Playground::on_two_file_systems();
    ground.write("lone", "x");
    sh("chmod 2750 lone", ground.workspace.root());
    let session = ground.session().retaining(Retention { age: Duration::MAX, ..RETENTION });
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write("lone", "y");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    let undo_folder = session.undo_archive().path(&session.undo_archive().names().unwrap()[0]);
    let list = names(&undo_folder).into_iter().find(|name| name.ends_with("-lacks.json")).unwrap();
    fs::write(undo_folder.join(list), "[{\"pa").unwrap();
    let undone = undo(&session, "call-1", &[]);
    let notes = format!("{:?}", undone.notes);
    assert!(notes.contains("\"lone\"") && notes.contains("cannot be read"), "{notes}");
    assert_eq!((undone.refused.len(), ground.read("lone").as_deref()), (0, Some("x")));
}

#[test]
fn pipes_and_the_bits_of_folders_that_the_workspace_had_come_back_as_often_as_wanted() {
    for ground in [Playground::new(), Playground::on_two_file_systems()] {
        ground.write("tree/shared/x", "x");
        let root = ground.workspace.root().to_owned();
        sh("mkfifo -m 640 tree/pipe lone; chmod 3771 tree/shared", &root);
        let list = || sh("find . -mindepth 1 -printf '%p %y %m\n' | sort", &root);
        let before = list();
        let session = ground.session().retaining(Retention { age: Duration::MAX, ..RETENTION });
        let (stamp, upper) = (ground.stamp(), ground.upper());
        upper.delete("tree").write("lone", "a file");
        let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
        assert_eq!(back.held.len(), 1, "a person says whether a file takes the place of a pipe: {:?}", back.held);
        session.apply(&[path("lone")], &crate::workspace::playground::listed(), &patient(&|| false)).unwrap();
        let (call, order) = ("call-1".to_owned(), newest(&session));
        let after = list();
        let (mut tree, mut lone) = (call, order);
        for _ in 0..2 {
            for order in [&mut tree, &mut lone] {
                let undone = undo(&session, order, &[]);
                assert_eq!(undone.refused, []);
                *order = undone.order;
            }
            assert_eq!(list(), before);
            for order in [&mut tree, &mut lone] {
                let again = undo(&session, order, &[]);
                assert_eq!(again.refused, []);
                *order = again.order;
            }
            assert_eq!(list(), after);
        }
    }
}

#[test]
fn a_folder_that_the_call_made_stays_with_what_others_put_there() {
    let (ground, session) = after_a_call();
    ground.write("made/mine", "x");
    let undone = undo(&session, "call-1", &[]);
    assert_eq!((undone.refused.len(), undone.stay), (0, vec![path("made")]));
    assert_eq!(
        ground.tree(),
        ["edited = old", "made/", "made/mine = x", "tree/", "tree/a = old", "tree/b/", "tree/b/c = old"]
    );
}

#[test]
fn what_is_held_over_it_is_decided_first() {
    let (ground, session) = after_a_call();
    let stamp = ground.stamp();
    ground.write("edited", "new");
    let upper = ground.upper();
    upper.write("edited", "newer");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    let undone = undo(&session, "call-1", &["edited"]);
    assert_eq!((&undone.refused[0].reason, undone.applied.len()), (&Reason::BuildsOnHeld, 0));
    session.discard(&[path("edited")], &patient(&|| false)).unwrap();
    assert_eq!(undo(&session, "call-1", &["edited"]).refused, []);
    assert_eq!(ground.read("edited").as_deref(), Some("old"));
}

#[test]
fn a_person_s_order_to_apply_is_undone_too() {
    let ground = Playground::new();
    ground.write(".envrc", "old");
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write(".envrc", "new");
    ground.hand_back(&session, &upper, &only(&[".envrc"]), &stamp);
    assert_eq!(session.undoable().unwrap(), []);
    session.apply(&[path(".envrc")], &crate::workspace::playground::listed(), &patient(&|| false)).unwrap();
    let order = newest(&session);
    assert!(order.starts_with("apply-"), "{order}");
    assert_eq!(undo(&session, &order, &[]).refused, []);
    assert_eq!(ground.read(".envrc").as_deref(), Some("old"));
}

#[test]
fn identifiers_may_be_shortened_as_long_as_they_fit_one() {
    let (ground, session) = after_a_call();
    undo(&session, "call", &["edited"]);
    undo(&session, &newest(&session), &[]);
    let refused =
        |call: &str| session.undo(call, &[], &crate::workspace::playground::listed(), &patient(&|| false)).unwrap_err();
    assert!(matches!(refused("undo-"), UndoError::Ambiguous { count: 2, .. }));
    assert!(matches!(refused("call-2"), UndoError::Unknown { .. }));
    assert!(matches!(refused(""), UndoError::Unknown { .. }));
    assert_eq!(ground.read("edited").as_deref(), Some("new"));
}

#[test]
fn what_is_larger_than_is_kept_is_said_to_be_gone() {
    let ground = Playground::new();
    ground.write("large", &"x".repeat(1000));
    ground.write("small", "x");
    let session = ground.session().retaining(Retention { bytes: 2000, ..RETENTION });
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.delete("large").delete("small");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(back.notes, [crate::workspace::Note::NotKept { file: path("large") }], "said when it happens");
    let undone = undo(&session, "call-1", &[]);
    assert_eq!((&undone.refused[0].reason, undone.refused.len()), (&Reason::NotKept, 1));
    assert_eq!(undo(&session, "call-1", &["small"]).refused, []);
    assert_eq!(ground.tree(), ["small = x"]);
}

#[test]
fn old_records_go_by_number_size_and_age() {
    let edited = |retention: Retention| {
        let ground = Playground::new();
        let session = ground.session().retaining(retention);
        for content in ["1", "2", "3", "4", "5"] {
            ground.write("file", &content.repeat(100));
            let (stamp, upper) = (ground.stamp(), ground.upper());
            upper.write("file", "call");
            ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
        }
        let kept = session.undoable().unwrap().len();
        assert_eq!(names(&session.ledger().folder().join("undo")).len(), kept);
        kept
    };
    let all = RETENTION;
    assert_eq!(edited(all), 5);
    assert_eq!(edited(Retention { number: 2, ..all }), 2);
    assert_eq!(edited(Retention { bytes: 400, ..all }), 4);
    // Calls of one moment do not outlive one another; today's order outlives one of 2023.
    assert_eq!(edited(Retention { age: Duration::from_secs(3600), ..all }), 5);
    let (_ground, session) = after_a_call();
    undo(&session, "call-1", &[]);
    let left = session.undoable().unwrap();
    assert!(left.len() == 1 && left[0].call.starts_with("undo-"), "{left:?}");
}

#[test]
fn a_second_name_of_a_replaced_file_cannot_change_what_is_kept() {
    let ground = Playground::new();
    ground.write("file", "old");
    fs::hard_link(ground.host("file"), ground.host("other")).unwrap();
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write("file", "new");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    fs::write(ground.host("other"), "changed").unwrap();
    undo(&session, "call-1", &[]);
    assert_eq!(ground.read("file").as_deref(), Some("old"));
}

#[test]
fn a_state_folder_on_another_file_system_keeps_copies() {
    let ground = Playground::on_two_file_systems();
    for name in ["tree/a", "tree/b/c", "file"] {
        ground.write(name, "old");
    }
    fs::set_permissions(ground.host("file"), fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("a", ground.host("tree/link")).unwrap();
    let before = sh(LIST, ground.workspace.root());
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.delete("tree").write("file", "new").write("other", "new");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(undo(&session, "call-1", &[]).refused, []);
    assert_eq!(sh(LIST, ground.workspace.root()), before);
}

#[test]
fn a_call_that_was_stopped_and_finished_can_be_undone_wholly_or_says_what_cannot() {
    let mut wholly = 0;
    for at in 0.. {
        let ground = Playground::new();
        for name in ["edited", "deleted", "tree/a", "tree/b/c", "to-folder"] {
            ground.write(name, "old");
        }
        let before = ground.tree();
        let session = ground.session();
        let (stamp, upper) = (ground.stamp(), ground.upper());
        upper.write("edited", "new").delete("deleted").delete("tree").write("made/new", "new");
        upper.opaque("to-folder").write("to-folder/x", "new");
        let stopped = ground.try_hand_back(&session, &upper, &HandBack::Tree, &stamp, &StopAt::new(at));
        let again = ground.reopened();
        again.recover(&patient(&|| false)).unwrap();
        let session = Session::open(again, "default").unwrap();
        session.discard(&[crate::workspace::TreePath::root()], &patient(&|| false)).unwrap();
        match session.undo("call-1", &[], &crate::workspace::playground::listed(), &patient(&|| false)) {
            // Taken back by the recovery, or nothing of it was carried out.
            Err(UndoError::Unknown { .. }) => assert_eq!(ground.tree(), before, "step {at}"),
            Err(error) => panic!("step {at}: {error}"),
            Ok(undone) => {
                let gone = undone.refused.iter().all(|held| held.reason == Reason::NotKept);
                assert!(gone, "step {at}: {undone:?}");
                if undone.refused.is_empty() {
                    wholly += 1;
                    assert_eq!(ground.tree(), before, "step {at}");
                }
            }
        }
        assert!(!session.ledger().folder().join("undo/unfinished").exists(), "step {at}");
        if stopped.is_ok() {
            break;
        }
    }
    assert!(wholly > 10, "{wholly}");
}

#[test]
fn an_undo_that_is_stopped_is_finished_or_taken_back() {
    let (mut finished, mut taken_back) = (0, 0);
    for at in 0.. {
        let (ground, session) = after_a_call();
        let after = ground.tree();
        let stopped = session.undo_in_steps(
            "call-1",
            (&[], &crate::workspace::playground::listed()),
            &patient(&|| false),
            &StopAt::new(at),
        );
        let again = ground.reopened();
        again.recover(&patient(&|| false)).unwrap();
        let session = Session::open(again, "default").unwrap();
        let left = list(ground.folder.path());
        assert!(!left.iter().any(|line| line.contains(".cofferdam-")), "step {at}: {left:?}");
        if ground.tree() == after {
            taken_back += 1;
        } else {
            // What was not in place is held, so that nothing of it is lost, and a person puts it there.
            finished += 1;
            session
                .apply(
                    &[crate::workspace::TreePath::root()],
                    &crate::workspace::playground::listed(),
                    &patient(&|| false),
                )
                .unwrap();
            assert_eq!(ground.tree(), ["edited = old", "tree/", "tree/a = old", "tree/b/", "tree/b/c = old"], "{at}");
        }
        if stopped.is_ok() {
            break;
        }
    }
    assert!(finished > 5 && taken_back > 5, "{finished} {taken_back}");
}
