//! Held changes: what the session sees, and what a person does with them.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
};

use cofferdam_contract::HandBack;

use super::stack::Since;
use crate::workspace::{
    change::{Reason, What},
    playground::{Playground, held_list, list, only, path, patient},
    session::{Session, SessionError},
    tree_path::TreePath,
};

fn held(session: &Session) -> Vec<String> {
    session.held().unwrap().iter().map(|held| held.change.path.to_string()).collect()
}

/// The differences at `path`, as a person reads them.
fn shown(session: &Session, layers: &crate::workspace::Layers, path: &crate::workspace::TreePath) -> String {
    session.differences(layers, path).unwrap().iter().map(ToString::to_string).collect()
}

fn layer(session: &Session) -> Vec<String> {
    held_list(session)
}

fn apply(session: &Session, paths: &[&str]) -> Vec<String> {
    let paths: Vec<_> = paths.iter().map(|name| path(name)).collect();
    let released = session.apply(&paths, &crate::workspace::playground::listed(), &patient(&|| false)).unwrap();
    released.applied.iter().map(|change| change.path.to_string()).collect()
}

fn discard(session: &Session, paths: &[&str]) -> usize {
    let paths: Vec<_> = paths.iter().map(|name| path(name)).collect();
    session.discard(&paths, &patient(&|| false)).unwrap().len()
}

/// A session in which each file of `files` is held, being protected.
fn holding(ground: &Playground, files: &[&str]) -> Session {
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    for file in files {
        upper.write(file, file);
    }
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    session
}

/// A session in which the file at `name` is held, the only thing that its call was to keep, as for `write_file`.
fn holding_only(ground: &Playground, name: &str) -> Session {
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write(name, "x");
    let back = ground.hand_back(&session, &upper, &only(&[name]), &stamp);
    assert_eq!((back.applied, back.held.last().unwrap().change.path.clone()), (vec![], path(name)));
    session
}

#[test]
fn a_layer_is_an_overlay_layer() {
    let ground = Playground::new();
    ground.write(".git/config", "old");
    ground.write(".vscode/gone", "x");
    fs::create_dir(ground.host("sub")).unwrap();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write(".git/config", "new").mode(".git/config", 0o600).delete(".vscode").link("abs", "/etc");
    upper.write("sub/.npmrc", "registry=x");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    let layers = session.layers().unwrap();
    let folder = layers.paths().next().unwrap();
    assert_eq!(
        list(folder),
        [".git/", ".git/config = new", ".vscode ∅", "abs -> /etc", "sub/", "sub/.npmrc = registry=x"]
    );
    let whiteout = fs::symlink_metadata(folder.join(".vscode")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    assert_eq!(fs::metadata(folder.join(".git/config")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o755);
    assert_eq!(fs::metadata(session.ledger().folder()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn held_changes_outlive_the_process_and_keep_their_story() {
    let ground = Playground::new();
    holding(&ground, &[".envrc"]);
    let again = Session::open(ground.reopened(), "default").unwrap();
    let held = again.held().unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(
        (held[0].origin.call.as_str(), held[0].origin.at_ms),
        ("call-1", crate::workspace::playground::origin("call-1").at_ms)
    );
    assert_eq!(held[0].reason, Reason::Protected { pattern: ".envrc".into() });
    assert_eq!(held[0].host, crate::workspace::HostVersion::Absent);
    let other = Session::open(ground.reopened(), "somebody@example.org").unwrap();
    assert!(other.held().unwrap().is_empty(), "another name is another session");
    let odd = Session::open(ground.reopened(), "a/b").unwrap();
    assert_eq!(odd.ledger().folder().parent(), again.ledger().folder().parent());
}

#[test]
fn a_later_change_of_a_held_path_is_held_too_and_the_newest_wins() {
    let ground = Playground::new();
    ground.write("a", "old");
    let session = ground.session();
    let stamp = ground.stamp();
    ground.write("a", "host");
    let upper = ground.upper();
    upper.write("a", "first");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    // The next call sees `first`, edits it, and knows nothing of `host`.
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("a", "second");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(back.held[0].reason, Reason::BuildsOnHeld);
    assert_eq!(ground.read("a").as_deref(), Some("host"));
    assert_eq!(layer(&session), ["a = second"]);
    assert_eq!(held(&session), ["a"]);
}

#[test]
fn looking_at_a_held_file_without_changing_it_is_no_change() {
    let ground = Playground::new();
    let session = holding(&ground, &[".envrc", "sub/.npmrc"]);
    let generation = session.layers().unwrap().generation();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write(".envrc", ".envrc").folder("sub");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!((back.held.len(), back.applied.len()), (0, 0));
    assert_eq!(session.layers().unwrap().generation(), generation);
}

#[test]
fn a_held_change_that_the_agent_takes_back_is_held_no_longer() {
    let ground = Playground::new();
    ground.write(".git/config", "old");
    ground.write(".idea/x", "x");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write(".git/config", "new").write(".envrc", "e").write(".vscode/a", "a").write(".vscode/b", "b");
    upper.delete(".idea");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(held(&session), [".envrc", ".git/config", ".idea", ".vscode", ".vscode/a", ".vscode/b"]);
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write(".git/config", "old").delete(".envrc").delete(".vscode").opaque(".idea").write(".idea/x", "x");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(back.held, [], "nothing differs from the workspace any more");
    assert_eq!(held(&session), Vec::<String>::new());
    assert_eq!(session.layers().unwrap().paths().count(), 0);
    assert_eq!(ground.tree(), [".git/", ".git/config = old", ".idea/", ".idea/x = x"]);
}

#[test]
fn a_person_applies_some_and_discards_others() {
    let ground = Playground::new();
    let session = holding(&ground, &[".vscode/a", ".vscode/b", ".envrc", "sub/.npmrc"]);
    assert_eq!(apply(&session, &[".vscode/a"]), [".vscode", ".vscode/a"], "its folder comes with it");
    assert_eq!(held(&session), [".envrc", ".vscode/b", "sub/.npmrc"]);
    assert_eq!(discard(&session, &[".envrc"]), 1);
    assert_eq!(layer(&session), [".vscode/", ".vscode/b = .vscode/b", "sub/", "sub/.npmrc = sub/.npmrc"]);
    assert_eq!(apply(&session, &[""]), [".vscode/b", "sub/.npmrc"]);
    assert_eq!(session.layers().unwrap().paths().count(), 0);
    assert_eq!(
        ground.tree(),
        [".vscode/", ".vscode/a = .vscode/a", ".vscode/b = .vscode/b", "sub/", "sub/.npmrc = sub/.npmrc"]
    );
}

#[test]
fn applying_held_deletions_and_replaced_kinds_works() {
    let ground = Playground::new();
    ground.write(".vscode/settings.json", "{}");
    ground.write(".idea", "a file");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.delete(".vscode").opaque(".idea").write(".idea/in/x", "x").link(".husky", "elsewhere");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(held(&session), [".husky", ".idea", ".idea/in", ".idea/in/x", ".vscode"]);
    assert_eq!(apply(&session, &[""]), [".husky", ".idea", ".idea/in", ".idea/in/x", ".vscode"]);
    assert_eq!(ground.tree(), [".husky -> elsewhere", ".idea/", ".idea/in/", ".idea/in/x = x"]);
}

#[test]
fn applying_over_a_workspace_that_changed_since_is_told_first_and_done_second() {
    let ground = Playground::new();
    ground.write(".envrc", "old");
    ground.write(".vscode/x", "old");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write(".envrc", "held").delete(".vscode");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    ground.write(".envrc", "host");
    ground.write(".vscode/y", "host");
    let paths = [path(".envrc"), path(".vscode")];
    let released = session.apply(&paths, &crate::workspace::playground::listed(), &patient(&|| false)).unwrap();
    assert_eq!(released.applied, []);
    assert_eq!(released.held.iter().map(|held| &held.reason).collect::<Vec<_>>(), [&Reason::Conflict; 2]);
    assert_eq!(ground.read(".envrc").as_deref(), Some("host"));
    let reason = &session.held().unwrap()[0].reason;
    assert_eq!(*reason, Reason::Protected { pattern: ".envrc".into() }, "why it is held does not change");
    ground.settle();
    let released = session.apply(&paths, &crate::workspace::playground::listed(), &patient(&|| false)).unwrap();
    assert_eq!(released.held, []);
    assert_eq!(ground.tree(), [".envrc = held"]);
}

#[test]
fn a_conflict_that_a_person_was_told_of_is_one_until_it_is_resolved() {
    let ground = Playground::new();
    ground.write(".envrc", "old");
    let session = ground.session();
    let edit = |text: &str| {
        let (stamp, upper) = (ground.stamp(), ground.upper());
        upper.write(".envrc", text);
        ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    };
    let since = || session.since(&session.held().unwrap()[0]).unwrap();
    let tell =
        || session.apply(&[path(".envrc")], &crate::workspace::playground::listed(), &patient(&|| false)).unwrap();
    edit("held");
    assert_eq!(since(), Since::Same);
    ground.write(".envrc", "host");
    ground.settle();
    assert_eq!(since(), Since::Changed);
    assert_eq!(tell().held.len(), 1);
    assert_eq!(since(), Since::Told, "still a conflict");
    let differences = session.differences(&session.layers().unwrap(), &path(".envrc")).unwrap();
    assert!(differences[0].to_string().contains("both sides changed"), "{}", differences[0]);
    edit("held again");
    assert_eq!(since(), Since::Told, "the agent does not resolve it by going on");
    ground.write(".envrc", "another");
    ground.settle();
    assert_eq!(since(), Since::Changed, "this one was not told");
    assert_eq!(tell().held.len(), 1);
    ground.write(".envrc", "old");
    ground.settle();
    assert_eq!(since(), Since::Same, "the person took the own edit back");
    assert_eq!(tell().applied.len(), 1);
    assert_eq!(ground.read(".envrc").as_deref(), Some("held again"));
}

#[test]
fn a_snapshot_keeps_its_layer_and_nothing_else_does() {
    let ground = Playground::new();
    let session = holding(&ground, &[".envrc"]);
    let layers = || fs::read_dir(session.ledger().folder().join("layers")).unwrap().count();
    let snapshot = session.layers().unwrap();
    let folder = snapshot.paths().next().unwrap().to_owned();
    assert_eq!(discard(&session, &[".envrc"]), 1);
    assert_eq!(fs::read_to_string(folder.join(".envrc")).unwrap(), ".envrc", "immutable while it is used");
    assert_eq!(layers(), 1);
    drop(snapshot);
    holding(&ground, &[".npmrc"]);
    assert_eq!(layers(), 1, "the old one is gone, the new one is there");
    assert!(!folder.exists());
}

#[test]
fn every_change_of_what_is_held_has_its_own_generation_and_shares_files() {
    let ground = Playground::new();
    let session = holding(&ground, &[".envrc"]);
    let first = session.layers().unwrap();
    holding(&ground, &[".npmrc"]);
    let second = session.layers().unwrap();
    assert!(second.generation() > first.generation());
    let inode =
        |layers: &crate::workspace::Layers| fs::metadata(layers.paths().next().unwrap().join(".envrc")).unwrap().ino();
    assert_eq!(inode(&first), inode(&second), "not copied again");
}

#[test]
fn what_changed_after_a_person_saw_it_is_neither_applied_nor_discarded() {
    let ground = Playground::new();
    let session = holding(&ground, &[".envrc"]);
    let seen = session.layers().unwrap();
    assert!(shown(&session, &seen, &path(".envrc")).contains("+.envrc"));
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write(".envrc", "evil");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    let (generation, paths, cancelled) = (seen.generation(), [path(".envrc")], || false);
    let found = session.layers().unwrap().generation();
    let refused = session
        .apply_as_of(generation, &paths, &crate::workspace::playground::listed(), &patient(&cancelled))
        .unwrap_err();
    assert!(matches!(refused, SessionError::Changed { seen, found: now } if (seen, now) == (generation, found)));
    let refused = session.discard_as_of(generation, &paths, &patient(&cancelled)).unwrap_err();
    assert!(matches!(refused, SessionError::Changed { .. }), "{refused:?}");
    assert_eq!((ground.read(".envrc"), held(&session)), (None, vec![".envrc".to_owned()]));
    assert!(shown(&session, &seen, &path(".envrc")).contains("+.envrc"), "a snapshot goes on showing the same");
    assert_eq!(
        session
            .apply_as_of(found, &paths, &crate::workspace::playground::listed(), &patient(&cancelled))
            .unwrap()
            .applied
            .len(),
        1
    );
    assert_eq!(ground.read(".envrc").as_deref(), Some("evil"));
}

#[test]
fn a_session_holds_no_more_than_its_bound_and_a_hand_back_beyond_it_changes_nothing() {
    let ground = Playground::new();
    let session = ground.session().holding_at_most(10);
    let hand_back = |files: &[(&str, &str)]| {
        let (stamp, upper) = (ground.stamp(), ground.upper());
        files.iter().for_each(|(name, text)| _ = upper.write(name, text));
        ground.try_hand_back(&session, &upper, &HandBack::Tree, &stamp, &crate::workspace::delivery::Uninterrupted)
    };
    hand_back(&[(".envrc", "six666")]).unwrap();
    let generation = session.layers().unwrap().generation();
    let refused = hand_back(&[(".npmrc", "five5"), ("plain", "x")]).unwrap_err();
    assert!(matches!(refused, SessionError::TooMuchHeld { bytes: 11, limit: 10, .. }), "{refused:?}");
    assert_eq!((ground.tree(), held(&session)), (vec![], vec![".envrc".to_owned()]));
    assert_eq!(session.layers().unwrap().generation(), generation);
    hand_back(&[("plain", "more than ten bytes, and not held")]).unwrap();
    hand_back(&[(".envrc", "ten1010101")]).unwrap();
    assert_eq!(discard(&session, &[".envrc"]), 1);
    hand_back(&[(".npmrc", "five5")]).unwrap();
}

#[test]
fn a_diff_of_a_file_with_credentials_says_that_lines_are_added_and_its_mode_stays() {
    let ground = Playground::new();
    ground.write(".env", "API_TOKEN=abcdefgh12345678\n");
    fs::set_permissions(ground.host(".env"), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write(".env", "API_TOKEN=[masked]\nPORT=1\n").mode(".env", 0o666);
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    ground.write(".env", "API_TOKEN=abcdefgh12345679\n");
    ground.settle();
    let text = shown(&session, &session.layers().unwrap(), &path(".env"));
    assert!(text.contains("\nmode 640 becomes 666, and stays where lines are added to the real file\n"), "{text}");
    assert!(text.contains("; applying adds the agent's lines to the real file, or replaces it where no"), "{text}");
}

#[test]
fn a_diff_shows_both_sides() {
    let ground = Playground::new();
    ground.write(".envrc", "one\ntwo\nthree\n");
    ground.write(".npmrc", "gone\n");
    ground.write(".git/config", "text");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write(".envrc", "one\n2\u{1b}[2J\nthree").mode(".envrc", 0o755).delete(".npmrc").write(".git/config", "a\0b");
    upper.write(".vscode/new", "n\n").link("out", "/etc");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    fs::set_permissions(ground.host(".envrc"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let layers = session.layers().unwrap();
    assert_eq!(
        shown(&session, &layers, &TreePath::root()),
        "held .envrc: programs of your machine may act on it unasked (protected by .envrc, which is built in)\n\
         mode 644 becomes 755\n\
         --- workspace/.envrc\n+++ held/.envrc\n@@ -1,3 +1,3 @@\n one\n-two\n-three\n+2\\u{1b}[2J\n+three\n\
         \\ no newline at the end of the file\n\
         held .git/config: programs of your machine may act on it unasked (protected by .git, which is built in)\n\
         workspace: a text of 4 bytes, mode 644\n\
         held: a binary file of 3 bytes, sha256 c9f9b2a0fcc3b7b2b9a3d1c2ef0d9c0e\n"
            .split("held .git/config")
            .next()
            .unwrap()
            .to_owned()
            + &shown(&session, &layers, &path(".git"))
            + "held .npmrc: programs of your machine may act on it unasked (protected by .npmrc, which is built in)\n\
               --- workspace/.npmrc\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\n\
               held .vscode: programs of your machine may act on it unasked (protected by .vscode, which is built in)\n\
               workspace: nothing\nheld: a folder, mode 755\n\
               held .vscode/new: programs of your machine may act on it unasked (protected by .vscode, which is built in)\n\
               --- /dev/null\n+++ held/.vscode/new\n@@ -0,0 +1 @@\n+n\n\
               held out: the link to /etc leads, or could lead, out of the workspace\n\
               workspace: nothing\nheld: a link to /etc\n"
    );
    let binary = shown(&session, &layers, &path(".git/config"));
    assert!(
        binary.contains("workspace: a text of 4 bytes, mode 644\nheld: a binary file of 3 bytes, sha256 "),
        "{binary}"
    );
}

#[test]
fn a_conflict_shows_both_sides_and_says_which_is_which() {
    let ground = Playground::new();
    ground.write("f", "old\n");
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    ground.write("f", "mine\n");
    upper.write("f", "agent's\n");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    let shown = shown(&session, &session.layers().unwrap(), &path("f"));
    assert!(shown.contains("`-` is the workspace's, `+` the agent's"), "{shown}");
    assert!(shown.contains("-mine\n+agent's"), "{shown}");
}

#[test]
fn what_is_below_a_held_folder_is_applied_with_it_or_not_at_all() {
    let ground = Playground::new();
    ground.write("thing", "a file");
    let session = ground.session();
    let stamp = ground.stamp();
    ground.write("thing", "the host's");
    let upper = ground.upper();
    upper.opaque("thing").write("thing/inside", "x");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    let reasons: Vec<_> = back.held.iter().map(|held| held.reason.clone()).collect();
    assert_eq!(reasons, [Reason::Conflict, Reason::FolderHeld { folder: "thing".into() }]);
    assert_eq!(apply(&session, &["thing/inside"]), ["thing", "thing/inside"]);
    assert_eq!(ground.tree(), ["thing/", "thing/inside = x"]);
}

#[test]
fn the_held_record_of_a_folder_in_the_way_does_not_hold_what_is_elsewhere() {
    let ground = Playground::new();
    fs::create_dir(ground.host("src")).unwrap();
    let session = holding(&ground, &["src/.npmrc"]);
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("src/main.rs", "fn main() {}");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(back.held, []);
    assert!(matches!(back.applied[0].what, What::File { .. }));
}

#[test]
fn a_protected_file_below_new_folders_is_applied_with_its_folders() {
    let ground = Playground::new();
    let session = holding_only(&ground, ".github/workflows/ci.yml");
    assert_eq!(ground.tree(), Vec::<String>::new());
    assert_eq!(layer(&session), [".github/", ".github/workflows/", ".github/workflows/ci.yml = x"]);
    let applied = apply(&session, &[".github/workflows/ci.yml"]);
    assert_eq!(ground.tree(), [".github/", ".github/workflows/", ".github/workflows/ci.yml = x"], "{applied:?}");
    assert_eq!(held(&session), Vec::<String>::new());
}

#[test]
fn a_discarded_file_below_new_folders_leaves_no_trace_of_them() {
    for discarded in ["", ".github", ".github/workflows", ".github/workflows/ci.yml"] {
        let ground = Playground::new();
        let session = holding_only(&ground, ".github/workflows/ci.yml");
        discard(&session, &[discarded]);
        assert_eq!(held(&session), Vec::<String>::new(), "{discarded}");
        assert_eq!(layer(&session), Vec::<String>::new(), "{discarded}");
        assert_eq!(ground.tree(), Vec::<String>::new(), "{discarded}");
    }
}

#[test]
fn in_draft_mode_everything_waits_is_seen_and_lands_together() {
    let ground = Playground::in_mode(cofferdam_policy::Mode::Draft);
    for name in ["edited", "deleted", "tree/a"] {
        ground.write(name, "old");
    }
    let before = ground.tree();
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write("edited", "new").delete("deleted").delete("tree").write("made/deep/new", "new");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!((back.applied, ground.tree()), (vec![], before));
    let drafts = |reason: &crate::workspace::Reason| {
        matches!(reason, crate::workspace::Reason::Draft | crate::workspace::Reason::FolderHeld { .. })
    };
    assert!(back.held.iter().all(|held| drafts(&held.reason)), "{:?}", back.held);
    // Another server sees it too; the next call builds on it.
    let session = Session::open(ground.reopened(), "default").unwrap();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write("made/deep/new", "newer");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    apply(&session, &[""]);
    assert_eq!(ground.tree(), ["edited = new", "made/", "made/deep/", "made/deep/new = newer"]);
    assert_eq!(held(&session), Vec::<String>::new());
}

#[test]
fn in_read_only_mode_nothing_comes_back_and_nothing_is_held() {
    let ground = Playground::in_mode(cofferdam_policy::Mode::ReadOnly);
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write("a", "new").write(".envrc", "new");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!((back.left.len(), ground.tree(), held(&session)), (2, vec![], vec![]));
}

#[test]
fn one_of_two_held_files_below_a_new_folder_is_applied_alone() {
    let ground = Playground::new();
    holding_only(&ground, ".github/workflows/ci.yml");
    let session = holding_only(&ground, ".github/workflows/other.yml");
    apply(&session, &[".github/workflows/ci.yml"]);
    assert_eq!(ground.tree(), [".github/", ".github/workflows/", ".github/workflows/ci.yml = x"]);
    assert_eq!(held(&session), [".github/workflows/other.yml"]);
    apply(&session, &[""]);
    assert_eq!(held(&session), Vec::<String>::new());
    assert!(ground.tree().contains(&".github/workflows/other.yml = x".to_owned()));
}

#[test]
fn one_of_two_held_files_below_a_new_folder_is_discarded_alone() {
    let ground = Playground::new();
    holding_only(&ground, ".github/workflows/ci.yml");
    let session = holding_only(&ground, ".github/workflows/other.yml");
    discard(&session, &[".github/workflows/ci.yml"]);
    assert_eq!(layer(&session), [".github/", ".github/workflows/", ".github/workflows/other.yml = x"]);
    assert_eq!(apply(&session, &[".github/workflows/other.yml"]).last().unwrap(), ".github/workflows/other.yml");
    assert_eq!(ground.tree(), [".github/", ".github/workflows/", ".github/workflows/other.yml = x"]);
    assert_eq!(held(&session), Vec::<String>::new());
}

#[test]
fn discarding_a_held_folder_discards_what_cannot_be_without_it_and_nothing_else() {
    let ground = Playground::new();
    let session = holding(&ground, &[".vscode/a", ".vscode/b", ".envrc"]);
    assert_eq!(discard(&session, &[".vscode"]), 3);
    assert_eq!(layer(&session), [".envrc = .envrc"]);
}

#[test]
fn snapshots_stay_whole_while_layers_are_merged() {
    let ground = Playground::new();
    let session = holding(&ground, &[".envrc"]);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                let snapshot = session.layers().unwrap();
                let shown: usize = snapshot.paths().map(|layer| list(layer).len()).sum();
                let again: usize = snapshot.paths().map(|layer| list(layer).len()).sum();
                assert!(shown > 0 && shown == again);
                looks += 1;
            }
            looks
        });
        for number in 0..40 {
            holding(&ground, &[&format!(".vscode/f{number}")]);
        }
        done.store(true, std::sync::atomic::Ordering::Release);
        assert!(looks.join().unwrap() > 0);
    });
    assert_eq!(layer(&session).len(), 42);
}
