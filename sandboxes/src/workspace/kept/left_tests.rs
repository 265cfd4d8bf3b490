//! What a run left is brought back through the gate, as long as the workspace is as it was.

use std::fs;

use cofferdam_contract::HandBack;

use super::left::LEFT;
use crate::workspace::{
    Keep, KeepError, Kept, Note, Reason, Session,
    playground::{Playground, Upper, origin, path, patient},
};

/// A workspace in which a run wrote `out/a`, `edited`, `.envrc` and a link out, deleted `gone`, and kept nothing.
fn after_a_run() -> (Playground, Session, Upper) {
    let ground = Playground::new();
    for name in ["edited", "gone", "other"] {
        ground.write(name, "old");
    }
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write("out/a", "new").write("edited", "new").write(".envrc", "new").delete("gone").link("link", "/etc");
    let back = ground.hand_back(&session, &upper, &HandBack::Nothing, &stamp);
    assert_eq!((back.applied.len(), back.left.len()), (0, 6));
    (ground, session, upper)
}

fn keep(ground: &Playground, session: &Session, globs: &[&str]) -> Result<Kept, KeepError> {
    keep_of("call-1", ground, session, globs)
}

fn keep_of(call: &str, ground: &Playground, session: &Session, globs: &[&str]) -> Result<Kept, KeepError> {
    let allowed = HandBack::Matching(globs.iter().map(|glob| (*glob).to_owned()).collect());
    let keep = Keep {
        call,
        admission: ground.admission(&allowed),
        secrets: &crate::workspace::playground::listed(),
        origin: &origin("keeping"),
    };
    session.keep(&keep, &patient(&|| false))
}

#[test]
fn what_cannot_be_put_by_is_told() {
    let ground = Playground::new();
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    fs::write(session.ledger().folder().join(LEFT), "no folder").unwrap();
    upper.write("a", "new");
    let back = ground.hand_back(&session, &upper, &HandBack::Nothing, &stamp);
    assert!(matches!(back.notes[..], [Note::LeftIsGone { .. }]), "{:?}", back.notes);
    assert!(matches!(keep(&ground, &session, &["a"]), Err(KeepError::Unknown { .. } | KeepError::Read { .. })));
}

#[test]
fn what_is_asked_for_comes_and_the_rest_can_come_later() {
    let (ground, session, upper) = after_a_run();
    // The run's own folder is long gone.
    drop(upper);
    keep(&ground, &session, &["out/**"]).unwrap();
    assert_eq!(ground.tree(), ["edited = old", "gone = old", "other = old", "out/", "out/a = new"]);
    let kept = keep(&ground, &session, &["edited", "gone", ".envrc", "link"]).unwrap();
    let held: Vec<_> = kept.handed_back.held.iter().map(|held| held.change.path.to_string()).collect();
    assert_eq!((held, kept.omitted), (vec![".envrc".to_owned(), "link".to_owned()], 0));
    assert_eq!(ground.tree(), ["edited = new", "other = old", "out/", "out/a = new"]);
    // It is undone like any hand-back.
    session.undo("keeping", &[], &crate::workspace::playground::listed(), &patient(&|| false)).unwrap();
    assert_eq!(ground.read("gone").as_deref(), Some("old"));
}

#[test]
fn a_workspace_that_changed_since_is_a_conflict_and_its_neighbours_are_none() {
    let (ground, session, _upper) = after_a_run();
    ground.write("edited", "mine");
    ground.write("out/mine", "x");
    let kept = keep(&ground, &session, &["**"]).unwrap().handed_back;
    let reasons: Vec<_> = kept.held.iter().map(|held| (held.change.path.to_string(), held.reason.clone())).collect();
    assert!(reasons.contains(&("edited".to_owned(), Reason::Conflict)), "{reasons:?}");
    assert_eq!((ground.read("edited").as_deref(), ground.read("out/a").as_deref()), (Some("mine"), Some("new")));
}

#[test]
fn a_file_that_the_host_made_since_or_changed_during_the_run_is_not_overwritten() {
    let (ground, session, _upper) = after_a_run();
    ground.write("out/a", "mine");
    let kept = keep(&ground, &session, &["out/a"]).unwrap().handed_back;
    assert_eq!((kept.held[0].reason.clone(), ground.read("out/a").as_deref()), (Reason::Conflict, Some("mine")));
    let ground = Playground::new();
    ground.write("edited", "old");
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    ground.write("edited", "meanwhile");
    upper.write("edited", "new");
    ground.hand_back(&session, &upper, &HandBack::Nothing, &stamp);
    ground.settle();
    let kept = keep(&ground, &session, &["edited"]).unwrap().handed_back;
    assert_eq!((kept.held[0].reason.clone(), ground.read("edited").as_deref()), (Reason::Conflict, Some("meanwhile")));
}

#[test]
fn calls_that_left_nothing_are_unknown_and_what_is_too_much_is_counted() {
    let (ground, session, _upper) = after_a_run();
    assert!(matches!(keep_of("call-2", &ground, &session, &["**"]), Err(KeepError::Unknown { .. })));
    let (stamp, upper) = (ground.stamp(), ground.upper());
    for number in 0..5_100 {
        upper.write(&format!("many/{number}"), "x");
    }
    ground.hand_back(&session, &upper, &HandBack::Nothing, &stamp);
    let kept = keep_of("call-2", &ground, &session, &["many/*"]).unwrap();
    // The folder is one of them.
    assert_eq!((kept.omitted, kept.handed_back.applied.len()), (101, 5_000));
    assert!(
        ground.host("many").is_dir() && session.held().unwrap().iter().all(|held| held.change.path != path("many"))
    );
}
