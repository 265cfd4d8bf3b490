//! A person's order meets files with credentials as they are when it is carried out.

use std::{fs, os::unix::fs::PermissionsExt};

use cofferdam_contract::HandBack;

use crate::workspace::{
    Bond, Held, OnTop, Order, Reason, Released, Session, Undone, Unmerged,
    delivery::{Step, Steps, Stopped, crash_tests::StopAt},
    playground::{Playground, Upper, held_list, list, listed, only, path, patient},
};

const REAL: &str = "TOKEN=s3cr3t-1234567890\n";
const MASKED: &str = "TOKEN=masked\n";

fn apply(session: &Session, paths: &[&str]) -> Released {
    let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
    session.apply(&paths, &listed(), &patient(&|| false)).unwrap()
}

fn undo(session: &Session, call: &str, paths: &[&str]) -> Undone {
    let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
    session.undo(call, &paths, &listed(), &patient(&|| false)).unwrap()
}

fn reasons(held: &[Held]) -> Vec<(String, Reason)> {
    held.iter().map(|held| (held.change.path.to_string(), held.reason.clone())).collect()
}

fn applied(released: &Released) -> Vec<String> {
    released.applied.iter().map(|change| change.path.to_string()).collect()
}

/// Hands back all of an upper layer.
fn hand_back(
    ground: &Playground,
    session: &Session,
    allowed: &HandBack,
    fill: impl Fn(&Upper),
) -> Vec<(String, Reason)> {
    let (stamp, upper) = (ground.stamp(), ground.upper());
    fill(&upper);
    reasons(&ground.hand_back(session, &upper, allowed, &stamp).held)
}

fn copy_of(of: &str) -> Reason {
    Reason::MaskedCopy { of: Some(of.to_owned()) }
}

fn contains(of: &str) -> Reason {
    Reason::ContainsSecret { path: of.to_owned() }
}

#[test]
fn a_file_that_came_after_a_deletion_was_held_goes_only_by_its_name() {
    for replaced in [false, true] {
        let ground = Playground::in_mode(cofferdam_policy::Mode::Draft);
        ground.write("d/a", "x");
        let session = ground.session();
        hand_back(&ground, &session, &HandBack::Tree, |upper| {
            if replaced {
                upper.write("d", "a file");
            } else {
                upper.delete("d");
            }
        });
        ground.write("d/deep/.env", REAL);
        // The first order finds a conflict and tells it; later ones find what is at stake.
        for order in [".", ".", "d", "d"] {
            let order = if order == "." { "" } else { order };
            let released = apply(&session, &[order]);
            assert_eq!(
                (applied(&released), reasons(&released.held)),
                (vec![], vec![("d".into(), contains("d/deep/.env"))])
            );
            assert_eq!(ground.read("d/deep/.env").as_deref(), Some(REAL));
        }
        let conflict = apply(&session, &["d", "d/deep/.env"]);
        assert_eq!(reasons(&conflict.held), [("d".into(), Reason::Conflict)]);
        assert_eq!(applied(&apply(&session, &["d", "d/deep/.env"])), ["d"]);
        assert_eq!(ground.read("d/deep/.env"), None);
    }
}

#[test]
fn a_folder_that_stays_costs_no_file_with_credentials_in_it() {
    let ground = Playground::in_mode(cofferdam_policy::Mode::Draft);
    ground.write("d/.env", REAL);
    let session = ground.session();
    hand_back(&ground, &session, &HandBack::Tree, |upper| _ = upper.folder("d").mode("d", 0o750));
    let released = apply(&session, &["d"]);
    assert_eq!((applied(&released), reasons(&released.held)), (vec!["d".to_owned()], vec![]));
    assert_eq!(ground.read("d/.env").as_deref(), Some(REAL));
}

#[test]
fn a_file_that_came_where_an_edit_is_held_is_replaced_only_by_its_name() {
    let ground = Playground::in_mode(cofferdam_policy::Mode::Draft);
    ground.write("a/b", "x");
    let session = ground.session();
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write("a/.env", "MINE=1\n");
    });
    assert_eq!(held, [("a/.env".into(), Reason::Draft)]);
    ground.write("a/.env", REAL);
    for _ in 0..3 {
        let held = reasons(&apply(&session, &["a"]).held);
        assert!(matches!(held.last(), Some((path, Reason::Secret { .. })) if path == "a/.env"), "{held:?}");
    }
    assert_eq!(ground.read("a/.env").as_deref(), Some(REAL));
    apply(&session, &["a/.env"]);
    assert_eq!(applied(&apply(&session, &["a/.env"])).last().unwrap(), "a/.env");
    assert_eq!(ground.read("a/.env").as_deref(), Some("MINE=1\n"));
}

#[test]
fn a_moved_folder_takes_the_real_content_along_where_it_is_masked_again() {
    let ground = Playground::new();
    ground.write("old/.env", REAL);
    ground.write("old/main.rs", "fn main() {}");
    let session = ground.session();
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.delete("old").write("new/.env", MASKED).write("new/main.rs", "fn main() {}");
    });
    assert_eq!(held, [("new/.env".into(), copy_of("old/.env")), ("old".into(), contains("old/.env"))]);
    assert_eq!(ground.read("new/.env"), None);
    for order in [vec![""], vec!["new"], vec!["old", "new"]] {
        let released = apply(&session, &order);
        assert_eq!(applied(&released), [""; 0]);
        assert_eq!((ground.read("old/.env").as_deref(), ground.read("new/.env")), (Some(REAL), None));
    }
    // What the session itself sees stays masked, whatever order is given.
    let released = apply(&session, &["old", "old/.env", "new/.env"]);
    assert_eq!((applied(&released), released.held.len()), (vec!["new/.env".into(), "old".into()], 0));
    assert_eq!((ground.read("new/.env").as_deref(), ground.read("old/.env")), (Some(REAL), None));
    // And back, by names again.
    let refused = undo(&session, &released.order, &[]);
    assert!(refused.applied.is_empty() && matches!(refused.refused[..], [Held { reason: Reason::Secret { .. }, .. }]));
    undo(&session, &released.order, &["new/.env", "old"]);
    assert_eq!((ground.read("new/.env"), ground.read("old/.env").as_deref()), (None, Some(REAL)));
}

#[test]
fn a_move_to_a_name_that_is_not_masked_is_refused_as_a_whole() {
    let ground = Playground::new();
    ground.write(".env", REAL);
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.delete(".env").write("notes", MASKED);
    let back = ground.hand_back(&session, &upper, &only(&[".env", "notes"]), &stamp);
    let held = reasons(&back.held);
    assert_eq!((held.len(), &held[1]), (2, &("notes".into(), copy_of(".env"))));
    assert!(session.held().unwrap().iter().all(|held| held.origin.bond == Bond::OneAct));
    for order in [vec![".env"], vec!["notes"], vec![".env", "notes"], vec![""]] {
        let released = apply(&session, &order);
        assert_eq!((applied(&released), released.held.len()), (vec![], 2), "{order:?}");
        assert_eq!((ground.read(".env").as_deref(), ground.read("notes")), (Some(REAL), None));
    }
}

#[test]
fn masked_text_never_takes_the_place_of_what_a_file_holds() {
    let ground = Playground::new();
    ground.write(".env", REAL);
    ground.write("b/.env.local", "OTHER=an0ther-1234567890\n");
    fs::set_permissions(ground.host(".env"), fs::Permissions::from_mode(0o644)).unwrap();
    let session = ground.session();
    // A mode alone, a line more, a copy over another one, a copy under a listed name, and two that could be meant.
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write(".env", MASKED).mode(".env", 0o600);
        upper.write("b/.env.local", MASKED).write("c/.env", "OTHER=masked\nMORE=1\n");
    });
    assert_eq!(
        held,
        [
            (".env".into(), copy_of(".env")),
            ("b/.env.local".into(), copy_of(".env")),
            ("c/.env".into(), Reason::MaskedLines),
        ]
    );
    let released = apply(&session, &["c/.env"]);
    assert_eq!(reasons(&released.held), [("c/.env".into(), Reason::MaskedLines)]);
    apply(&session, &[".env", "b/.env.local"]);
    let mode = fs::metadata(ground.host(".env")).unwrap().permissions().mode() & 0o777;
    assert_eq!((ground.read(".env").as_deref(), mode), (Some(REAL), 0o600));
    assert_eq!((ground.read("b/.env.local").as_deref(), ground.read("c/.env")), (Some(REAL), None));
    // As an example of what names there are it is welcome.
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write(".env.example", MASKED);
    });
    assert_eq!((held, ground.read(".env.example").as_deref()), (vec![], Some(MASKED)));
}

#[test]
fn lines_that_a_session_added_to_a_masked_file_go_into_the_real_one_by_its_name() {
    let ground = Playground::new();
    let real = format!("# of staging\n{REAL}OTHER='x'\n");
    ground.write(".env", &real);
    fs::set_permissions(ground.host(".env"), fs::Permissions::from_mode(0o640)).unwrap();
    let session = ground.session();
    let seen = format!("{MASKED}NEW_FLAG=1\nOTHER=masked\n");
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write(".env", &seen).mode(".env", 0o666);
    });
    assert_eq!(held, [(".env".into(), Reason::MaskedLines)]);
    let shown = session.differences(&session.layers().unwrap(), &path("")).unwrap()[0].to_string();
    assert!(shown.contains("+NEW_FLAG=1") && !shown.contains("s3cr3t"), "{shown}");
    // Not by a folder above it, and not where a person wrote a line meanwhile, which the session's version lacks.
    assert_eq!(applied(&apply(&session, &[""])), [""; 0]);
    let later = format!("{real}LATER=2\n");
    ground.settle();
    ground.write(".env", &later);
    let released = apply(&session, &[".env"]);
    assert_eq!(reasons(&released.held), [(".env".into(), Reason::NotMerged { why: Unmerged::SeenOtherwise })]);
    assert_eq!(ground.read(".env"), Some(later));
    // A value alone is another one: told once, then it is about what is there.
    let real = real.replace("s3cr3t", "an0ther");
    ground.settle();
    ground.write(".env", &real);
    assert_eq!(reasons(&apply(&session, &[".env"]).held), [(".env".into(), Reason::Conflict)]);
    let released = apply(&session, &[".env"]);
    assert_eq!((applied(&released), reasons(&released.held)), (vec![".env".to_owned()], vec![]));
    assert_eq!(ground.read(".env"), Some(real.replace("OTHER", "NEW_FLAG=1\nOTHER")));
    assert_eq!(fs::metadata(ground.host(".env")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(session.held().unwrap(), []);
    let undone = undo(&session, &released.order, &[".env"]);
    assert_eq!((undone.applied.len(), ground.read(".env")), (1, Some(real)));
}

#[test]
fn rights_that_a_person_took_from_a_file_meanwhile_stay_away() {
    let ground = Playground::new();
    ground.write(".env", REAL);
    let mode = |mode| fs::set_permissions(ground.host(".env"), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let session = ground.session();
    hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write(".env", &format!("{MASKED}NEW=1\n"));
    });
    mode(0o600);
    assert_eq!(reasons(&apply(&session, &[".env"]).held), [(".env".into(), Reason::Conflict)]);
    assert_eq!(applied(&apply(&session, &[".env"])), [".env"]);
    assert_eq!(ground.read(".env"), Some(format!("{REAL}NEW=1\n")));
    assert_eq!(fs::metadata(ground.host(".env")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_line_that_a_person_wrote_during_a_run_is_not_taken_for_one_that_the_run_removed() {
    let ground = Playground::new();
    let real = "//r.example/:_authToken=abcdef1234567890\n";
    ground.write(".npmrc", real);
    let session = ground.session();
    let (stamp, upper, masks) = (ground.stamp(), ground.upper(), ground.masks());
    upper.write(".npmrc", "//r.example/:_authToken=masked\nfund=false\n");
    let theirs = format!("{real}save-exact=true\n");
    ground.write(".npmrc", &theirs);
    let (changeset, allowed) = (upper.changeset(), HandBack::Tree);
    let order = Order {
        changeset: &changeset,
        admission: ground.admission(&allowed),
        masks: &masks,
        on_top: OnTop::Held,
        stamp: &stamp,
        seen: None,
        masked_then: None,
        masks_then: None,
        origin: &crate::workspace::playground::origin("run"),
    };
    let held = reasons(&session.hand_back(&order, &patient(&|| false)).unwrap().held);
    assert_eq!(held, [(".npmrc".into(), Reason::MaskedLines)]);
    for _ in 0..2 {
        let released = apply(&session, &[".npmrc"]);
        let why = Unmerged::SeenOtherwise;
        assert_eq!(reasons(&released.held), [(".npmrc".into(), Reason::NotMerged { why })]);
        assert_eq!(ground.read(".npmrc").as_ref(), Some(&theirs));
    }
    // A later call of the session, which sees what is held, changes nothing of that.
    hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write(".npmrc", "//r.example/:_authToken=masked\nfund=false\naudit=false\n");
    });
    assert_eq!(applied(&apply(&session, &[".npmrc"])), [""; 0]);
    assert_eq!(ground.read(".npmrc"), Some(theirs));
    // Begun anew, it goes into what is there.
    session.discard(&[path(".npmrc")], &patient(&|| false)).unwrap();
    hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write(".npmrc", "//r.example/:_authToken=masked\nsave-exact=true\nfund=false\n");
    });
    assert_eq!(applied(&apply(&session, &[".npmrc"])), [".npmrc"]);
    assert_eq!(ground.read(".npmrc"), Some(format!("{real}save-exact=true\nfund=false\n")));
}

#[test]
fn what_a_session_does_to_a_masked_line_is_refused_and_costs_nothing() {
    let ground = Playground::new();
    let real = format!("{REAL}OTHER=an0ther-1234567890\n");
    ground.write(".env", &real);
    let session = ground.session();
    for (text, why) in [
        ("TOKEN=mine\nOTHER=masked\n", Unmerged::MaskedLine { line: 1 }),
        ("TOKEN=masked\n", Unmerged::MaskedLine { line: 2 }),
        ("TOKEN=masked\nOTHER=masked\nTOKEN=mine\n", Unmerged::SetAgain { line: 3 }),
        ("A='\nTOKEN=masked\nOTHER=masked\n", Unmerged::ReadOtherwise),
    ] {
        let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
            upper.write(".env", text);
        });
        assert_eq!(held, [(".env".into(), Reason::MaskedLines)], "{text}");
        let released = apply(&session, &[".env"]);
        assert_eq!(reasons(&released.held), [(".env".into(), Reason::NotMerged { why })], "{text}");
        assert_eq!(ground.read(".env").as_ref(), Some(&real));
    }
    // Where nothing of it is masked text it is the session's own, over the real one.
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write(".env", "TOKEN=mine\nA=masked\n");
    });
    assert_eq!(held, [(".env".into(), Reason::Secret { pattern: ".env".into() })]);
}

#[test]
fn a_copy_of_two_that_look_the_same_is_nobodys() {
    let ground = Playground::new();
    ground.write("a/.env", REAL);
    ground.write("b/.env", "TOKEN=an0ther-1234567890\n");
    let session = ground.session();
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write("c/.env", MASKED);
    });
    assert_eq!(held, [("c/.env".into(), Reason::MaskedCopy { of: None })]);
    assert_eq!(applied(&apply(&session, &["c/.env"])), [""; 0]);
}

#[test]
fn what_a_call_made_and_is_masked_now_is_undone_only_by_its_name() {
    let ground = Playground::new();
    let session = ground.session();
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write("made/.env", "MINE=abcdef12345\n");
    });
    assert_eq!(held, []);
    let refused = undo(&session, "call-1", &[]);
    let told = vec![("made".into(), contains("made/.env"))];
    assert_eq!((refused.applied.len(), reasons(&refused.refused)), (0, told));
    assert!(ground.read("made/.env").is_some());
    let undone = undo(&session, "call-1", &["made", "made/.env"]);
    assert_eq!((undone.refused.len(), ground.tree()), (0, vec![]));
}

#[test]
fn an_undo_tells_all_that_its_order_must_name() {
    let ground = Playground::new();
    let session = ground.session();
    hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write("d/.env", "MINE=abcdef12345\n").write("d/x.env", "MINE=abcdef12345\n");
    });
    let refused = undo(&session, "call-1", &[]);
    let both = vec![("d".into(), contains("d/.env")), ("d".into(), contains("d/x.env"))];
    assert_eq!((refused.applied.len(), reasons(&refused.refused), refused.unnamed), (0, both, 0));
    assert_eq!(undo(&session, "call-1", &["", "d/.env", "d/x.env"]).refused, []);
    assert_eq!(ground.tree(), [""; 0]);
    hand_back(&ground, &session, &HandBack::Tree, |upper| {
        (0..22).for_each(|number| _ = upper.write(&format!("e/{number:02}.env"), "MINE=abcdef12345\n"));
    });
    let refused = undo(&session, &session.undoable().unwrap()[0].call, &[]);
    assert_eq!((refused.refused.len(), refused.unnamed), (20, 2));
    let last = ("e".to_owned(), contains("e/19.env"));
    assert_eq!(reasons(&refused.refused).last(), Some(&last));
}

#[test]
fn what_a_run_left_is_known_as_masked_when_it_is_kept_later() {
    let ground = Playground::new();
    ground.write("old/.env", REAL);
    let session = ground.session();
    hand_back(&ground, &session, &HandBack::Nothing, |upper| {
        upper.write("new/.env", MASKED);
    });
    // By now other text would be masked.
    ground.write("old/.env", "CHANGED=s3cr3t-1234567890\n");
    let keep = crate::workspace::Keep {
        call: "call-1",
        admission: ground.admission(&HandBack::Tree),
        secrets: &listed(),
        origin: &crate::workspace::playground::origin("keeping"),
    };
    let kept = session.keep(&keep, &patient(&|| false)).unwrap();
    assert_eq!(reasons(&kept.handed_back.held), [("new/.env".into(), copy_of("old/.env"))]);
}

#[test]
fn lines_that_a_run_left_go_into_the_masked_file_that_it_saw_when_they_are_kept_later() {
    let ground = Playground::new();
    ground.write(".env", REAL);
    let session = ground.session();
    let keep = || {
        hand_back(&ground, &session, &HandBack::Nothing, |upper| {
            upper.write(".env", &format!("{MASKED}NEW=1\n"));
        });
    };
    let kept = |call: &str| {
        let origin = crate::workspace::playground::origin("keeping");
        let admission = ground.admission(&HandBack::Tree);
        let keep = crate::workspace::Keep { call, admission, secrets: &listed(), origin: &origin };
        reasons(&session.keep(&keep, &patient(&|| false)).unwrap().handed_back.held)
    };
    keep();
    assert_eq!(kept("call-1"), [(".env".into(), Reason::MaskedLines)]);
    assert_eq!(applied(&apply(&session, &[".env"])), [".env"]);
    assert_eq!(ground.read(".env"), Some(format!("{REAL}NEW=1\n")));
    // A line that a person wrote after the run is none that the run removed.
    ground.write(".env", REAL);
    keep();
    let theirs = format!("{REAL}THEIRS=2\n");
    ground.settle();
    ground.write(".env", &theirs);
    assert_eq!(kept("call-2"), [(".env".into(), Reason::MaskedLines)]);
    let why = Unmerged::SeenOtherwise;
    for _ in 0..2 {
        assert_eq!(reasons(&apply(&session, &[".env"]).held), [(".env".into(), Reason::NotMerged { why })]);
    }
    assert_eq!(ground.read(".env"), Some(theirs));
}

#[test]
fn an_agent_adds_a_thousand_listed_names_and_no_more() {
    let ground = Playground::new();
    ground.write("there.env", REAL);
    let session = ground.session();
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        for number in 0..1_002 {
            upper.write(&format!("f{number:04}.env"), "A=1\n");
        }
        upper.write("plain", "x").write("there.env", "MINE=1\n");
    });
    let many = |name: &str| (name.to_owned(), Reason::ManyListed { pattern: "*.env".into() });
    let secret = ("there.env".to_owned(), Reason::Secret { pattern: "*.env".into() });
    assert_eq!(held, [many("f0999.env"), many("f1000.env"), many("f1001.env"), secret]);
    assert!(ground.read("plain").is_some());
    // Another call finds them counted.
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write("g.env", "A=1\n").write("f0001.env", "B=1\n");
    });
    assert_eq!(held[1], many("g.env"));
    // A person may.
    assert_eq!(applied(&apply(&session, &["g.env"])), ["g.env"]);
}

#[test]
fn a_link_that_would_mask_an_ordinary_file_is_held() {
    let ground = Playground::new();
    ground.write("src/main.rs", "fn main() {}");
    ground.write("src/credentials", "ordinary");
    let session = ground.session();
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.link("x.env", "src/main.rs").link(".aws", "src").link("plain", "src/main.rs").link("id_x", "absent");
    });
    let would = |path: &str, pattern: &str| (path.to_owned(), Reason::WouldMask { pattern: pattern.to_owned() });
    assert_eq!(held, [would(".aws", "credentials"), would("id_x", "id_*"), would("x.env", "*.env")]);
    assert_eq!(ground.masks().paths().count(), 0);
}

#[test]
fn the_real_content_goes_to_no_place_where_it_would_be_seen() {
    let ground = Playground::new();
    ground.write("old/.env", REAL);
    let session = ground.session();
    // Not looked at by the finder, or not on the list.
    let places = ["sub/node_modules/package/.env", "sub/.git/.env", "new/.env.example"];
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.delete("old");
        places.iter().for_each(|place| _ = upper.write(place, MASKED));
    });
    let order: Vec<&str> = held.iter().map(|(path, _)| path.as_str()).chain(["old/.env"]).collect();
    apply(&session, &order.into_iter().filter(|path| *path != "old").collect::<Vec<_>>());
    for place in places {
        assert_ne!(ground.read(place).as_deref(), Some(REAL), "{place}");
    }
    assert_eq!(ground.read("old/.env").as_deref(), Some(REAL));
}

#[test]
fn a_thousand_listed_names_in_deep_folders_cost_no_call_its_time() {
    let ground = Playground::new();
    let deep = vec!["d"; 900].join("/");
    for number in 0..300 {
        ground.write(&format!("{deep}/{number}.env"), "A=1\n");
    }
    ground.masks();
    let begun = std::time::Instant::now();
    ground.masks();
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn whatever_moment_an_order_is_stopped_at_views_show_no_value() {
    for at in 0.. {
        let ground = Playground::new();
        ground.write("old/.env", REAL);
        ground.write(".env.local", REAL);
        ground.write(".env.test", REAL);
        let session = ground.session();
        hand_back(&ground, &session, &HandBack::Tree, |upper| {
            upper.delete("old").write("new/.env", MASKED).write(".env.local", "MINE=1\n");
            upper.write(".env.test", &format!("{MASKED}MORE=1\n"));
        });
        let order = [path(""), path("old/.env"), path("new/.env"), path(".env.local"), path(".env.test")];
        let stop = StopAt::new(at);
        let stopped = session.apply_in_steps(&order, &patient(&|| false), &stop);
        // What a view has now of each file: the mask, if there is one.
        let masks = ground.masks();
        for line in list(ground.workspace.root()).iter().filter(|line| line.contains("s3cr3t")) {
            let (name, _) = line.split_once(" = ").unwrap();
            assert!(masks.pattern(&path(name)).is_some(), "{name} shows a value after step {at}");
        }
        if stopped.is_ok() {
            assert!(at > 5, "{at}");
            assert_eq!(ground.read(".env.test"), Some(format!("{REAL}MORE=1\n")));
            return;
        }
        // The next start finishes it or takes it back, and loses nothing.
        session.workspace().recover(&patient(&|| false)).unwrap();
        let all: String = list(ground.workspace.root()).concat();
        assert!(all.contains("s3cr3t"), "after step {at}: {all}");
        assert!(ground.read(".env.test").unwrap().starts_with(REAL), "after step {at}");
        assert_eq!(list(ground.workspace.root()).iter().filter(|line| line.contains(".cofferdam-")).count(), 0);
        assert!(!held_list(&session).concat().contains("s3cr3t"), "after step {at}");
    }
}

/// Does something to the host when an order was journalled, before anything of it is staged.
struct Meanwhile<F>(F);

impl<F: Fn()> Steps for Meanwhile<F> {
    fn reached(&self, step: Step) -> Result<(), Stopped> {
        if step == Step::Journalled {
            (self.0)();
        }
        Ok(())
    }
}

#[test]
fn what_is_moved_is_what_was_looked_at() {
    let ground = Playground::new();
    ground.write("old/.env", REAL);
    let session = ground.session();
    hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.delete("old").write("new/.env", MASKED);
    });
    let order = [path("old"), path("old/.env"), path("new/.env")];
    // Would not be masked at its new name.
    let meanwhile = Meanwhile(|| ground.write("old/.env", "NOTHING OF VALUE\n"));
    let released = session.apply_in_steps(&order, &patient(&|| false), &meanwhile).unwrap();
    let held = reasons(&released.held);
    assert!(held.contains(&("new/.env".into(), Reason::Conflict)), "{held:?}");
    assert_eq!(ground.read("new/.env"), None);
    assert_eq!(ground.read("old/.env").as_deref(), Some("NOTHING OF VALUE\n"));
    assert!(held_list(&session).concat().contains("new/.env"), "{:?}", held_list(&session));
    assert!(list(ground.workspace.root()).iter().all(|line| !line.contains(".cofferdam-")));
}

#[test]
fn a_call_is_compared_with_what_lay_on_top_for_it() {
    for on_top in [OnTop::Held, OnTop::Masks] {
        let ground = Playground::new();
        ground.write(".env", REAL);
        let session = ground.session();
        let mine = |upper: &Upper| _ = upper.write(".env", "MINE=1\n");
        assert!(matches!(hand_back(&ground, &session, &HandBack::Tree, mine)[..], [(_, Reason::Secret { .. })]));
        // The call writes the masked copy: where that is what it saw, it changed nothing.
        let (stamp, upper) = (ground.stamp(), ground.upper());
        upper.write(".env", MASKED);
        let (changeset, masks, allowed) = (upper.changeset(), ground.masks(), HandBack::Tree);
        let order = Order {
            changeset: &changeset,
            admission: ground.admission(&allowed),
            masks: &masks,
            on_top,
            stamp: &stamp,
            seen: None,
            masked_then: None,
            masks_then: None,
            origin: &crate::workspace::playground::origin("c"),
        };
        let held = reasons(&session.hand_back(&order, &patient(&|| false)).unwrap().held);
        match on_top {
            OnTop::Held => assert_eq!(held, [(".env".into(), copy_of(".env"))]),
            OnTop::Masks => assert_eq!(held, []),
        }
    }
}

/// The held paths that only an order by name applies.
fn to_be_named(held: &[(String, Reason)]) -> Vec<&str> {
    held.iter().filter(|(_, reason)| reason.must_be_named()).map(|(path, _)| path.as_str()).collect()
}

#[test]
fn a_repository_goes_with_the_folder_above_it_only_by_its_name() {
    let fills: [fn(&Upper); 3] = [
        |upper| _ = upper.delete("sub"),
        |upper| _ = upper.write("sub", "a file"),
        |upper| _ = upper.link("sub", "elsewhere"),
    ];
    for fill in fills {
        let ground = Playground::new();
        ground.write("sub/deep/.git/HEAD", "ref: refs/heads/main\n");
        ground.write("sub/other/.git/HEAD", "ref: refs/heads/main\n");
        let session = ground.session();
        let held = hand_back(&ground, &session, &HandBack::Tree, fill);
        assert_eq!(to_be_named(&held), ["sub"], "{held:?}");
        assert!(held[0].1.to_string().contains("/.git too applies it"), "{held:?}");
        for order in [vec![""], vec!["sub"], vec!["sub", "sub/deep/.git"], vec!["sub", "sub/other/.git"]] {
            let released = apply(&session, &order);
            assert_eq!((applied(&released), to_be_named(&reasons(&released.held))), (vec![], vec!["sub"]), "{order:?}");
        }
        let released = apply(&session, &["sub", "sub/deep/.git", "sub/other/.git"]);
        assert_eq!((applied(&released), ground.read("sub/deep/.git/HEAD")), (vec!["sub".into()], None));
    }
}

#[test]
fn what_holds_a_repositorys_commits_and_branches_goes_only_by_its_name() {
    let ground = Playground::new();
    let parts = [".git/HEAD", ".git/config", ".git/objects", ".git/packed-refs", ".git/refs"];
    for file in [".git/HEAD", ".git/config", ".git/hooks/x", ".git/objects/ab/c", ".git/packed-refs", ".git/refs/a"] {
        ground.write(file, "[core]\n");
    }
    let session = ground.session();
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        parts.iter().for_each(|part| _ = upper.delete(part));
        upper.delete(".git/hooks/x");
    });
    assert_eq!(to_be_named(&held), parts, "{held:?}");
    assert!(!held[0].1.to_string().contains("the repository itself"), "{held:?}");
    assert_eq!(applied(&apply(&session, &[""])), [".git/hooks/x"]);
    assert_eq!(applied(&apply(&session, &[".git"])), [""; 0]);
    assert_eq!(applied(&apply(&session, &parts)), parts);
    // Of the objects alone, one by one; and put away for a file of the name.
    ground.write(".git/objects/ab/c", "x");
    ground.write(".git/refs/a", "x");
    let held = hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.delete(".git/objects/ab").write(".git/refs", "x");
    });
    assert_eq!(to_be_named(&held), [".git/objects/ab", ".git/refs"], "{held:?}");
    assert_eq!(applied(&apply(&session, &[""])), [""; 0]);
}

#[test]
fn an_edit_of_a_repositorys_settings_is_no_removal_and_nor_is_taking_it_back() {
    let ground = Playground::new();
    ground.write(".git/config", "[core]\n");
    let session = ground.session();
    hand_back(&ground, &session, &HandBack::Tree, |upper| _ = upper.write(".git/config", "[user]\n"));
    let released = apply(&session, &[""]);
    assert_eq!(applied(&released), [".git/config"]);
    assert_eq!(undo(&session, &released.order, &[]).refused, []);
    assert_eq!(ground.read(".git/config").as_deref(), Some("[core]\n"));
}

#[test]
fn a_git_file_that_leads_to_a_repository_is_none() {
    for replaced in [false, true] {
        let ground = Playground::new();
        ground.write("sub/.git", "gitdir: ../elsewhere\n");
        let session = ground.session();
        let held = hand_back(&ground, &session, &HandBack::Tree, |upper| match replaced {
            true => _ = upper.write("sub/.git", "gitdir: ../other\n"),
            false => _ = upper.delete("sub/.git"),
        });
        assert!(matches!(&held[..], [(path, Reason::Protected { .. })] if path == "sub/.git"), "{held:?}");
        assert_eq!(applied(&apply(&session, &[""])), ["sub/.git"]);
    }
}

#[test]
fn a_repository_that_a_call_made_is_taken_back_by_its_name_alone() {
    let ground = Playground::new();
    let session = ground.session();
    hand_back(&ground, &session, &HandBack::Tree, |upper| {
        upper.write("made/.git/HEAD", "x").write("made/.git/objects/ab/c", "x").write("made/a", "x");
    });
    let released = apply(&session, &[""]);
    let order = released.order;
    let refused = undo(&session, &order, &["made"]);
    let all = reasons(&refused.refused);
    assert!(refused.applied.is_empty() && !all.is_empty(), "{all:?}");
    assert_eq!(undo(&session, &order, &["", "made/.git"]).refused, []);
}
