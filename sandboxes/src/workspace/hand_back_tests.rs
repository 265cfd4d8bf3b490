//! What becomes of changes, on real files.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    sync::{Arc, Barrier},
};

use cofferdam_contract::HandBack;
use rustix::fs::FileType;

use super::{
    change::{Change, DropReason, Dropped, HandedBack, Note, Reason, Special, What},
    hand_back::Order,
    playground::{Playground, only, origin, path, patient},
    session::Session,
    stamp::Stamp,
};

fn applied(back: &HandedBack) -> Vec<String> {
    back.applied.iter().map(|change| change.path.to_string()).collect()
}

fn held(back: &HandedBack) -> Vec<(String, Reason)> {
    back.held.iter().map(|held| (held.change.path.to_string(), held.reason.clone())).collect()
}

fn left(back: &HandedBack) -> Vec<String> {
    back.left.iter().map(|change| change.path.to_string()).collect()
}

fn protected(pattern: &str) -> Reason {
    Reason::Protected { pattern: pattern.into() }
}

/// Nothing of ours is left in the workspace.
fn assert_clean(ground: &Playground) {
    let left: Vec<_> = ground.tree().into_iter().filter(|line| line.contains(".cofferdam-")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!ground.workspace.state().join("journal.json").exists());
}

#[test]
fn edits_new_files_links_folders_and_deletions_come_back() {
    let ground = Playground::new();
    ground.write("edited", "old");
    ground.write("deleted", "old");
    ground.write("folder/gone/x", "old");
    ground.write("kept/y", "y");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("edited", "new").write("made/deep/file", "f").link("made/link", "deep/file");
    upper.delete("deleted").delete("folder/gone").folder("kept").mode("made/deep", 0o700).mode("made/deep/file", 0o755);
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(held(&back), []);
    assert_eq!(
        applied(&back),
        ["deleted", "edited", "folder/gone", "made", "made/deep", "made/deep/file", "made/link"]
    );
    let tree = [
        "edited = new",
        "folder/",
        "kept/",
        "kept/y = y",
        "made/",
        "made/deep/",
        "made/deep/file = f",
        "made/link -> deep/file",
    ];
    assert_eq!(ground.tree(), tree);
    assert_eq!(ground.entry("made/deep").permissions(), 0o700);
    assert_eq!(ground.entry("made/deep/file").permissions(), 0o755);
    assert_eq!(session.layers().unwrap().paths().count(), 0);
    assert_clean(&ground);
}

#[test]
fn only_what_was_asked_for_comes_back_and_the_rest_can_be_fetched_later() {
    let ground = Playground::new();
    ground.write("a", "1");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("a", "2").write("new/deep/b", "b").write("new/deep/c", "c").write("other/d", "d");
    let back = ground.hand_back(&session, &upper, &HandBack::Nothing, &stamp);
    assert_eq!(left(&back), ["a", "new", "new/deep", "new/deep/b", "new/deep/c", "other", "other/d"]);
    assert_eq!(ground.tree(), ["a = 1"]);
    let back = ground.hand_back(&session, &upper, &only(&["new/deep/b"]), &stamp);
    assert_eq!(applied(&back), ["new", "new/deep", "new/deep/b"], "folders on the way come with it");
    assert_eq!(left(&back), ["a", "new/deep/c", "other", "other/d"]);
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), ["a", "new/deep/c", "other", "other/d"]);
}

#[test]
fn mere_copies_are_no_changes() {
    let ground = Playground::new();
    ground.write("dir/same", "text");
    fs::set_permissions(ground.host("dir"), fs::Permissions::from_mode(0o2750)).unwrap();
    symlink("same", ground.host("dir/link")).unwrap();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("dir/same", "text").link("dir/link", "same").mode("dir", 0o2750).delete("never/was");
    upper.mode("never", 0o755);
    let back = ground.hand_back(&session, &upper, &only(&["dir"]), &stamp);
    assert_eq!((applied(&back), left(&back), back.dropped), (vec![], vec!["never".to_owned()], vec![]));
}

#[test]
fn a_mode_alone_is_a_change() {
    let ground = Playground::new();
    ground.write("dir/script", "#!/bin/sh\n");
    fs::set_permissions(ground.host("dir"), fs::Permissions::from_mode(0o2755)).unwrap();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("dir/script", "#!/bin/sh\n").mode("dir/script", 0o755).mode("dir", 0o2700);
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), ["dir", "dir/script"]);
    assert_eq!(ground.entry("dir/script").mode, 0o755);
    assert_eq!(ground.entry("dir").mode, 0o2700, "the host's own set-group-id bit stays");
}

#[test]
fn protected_paths_are_held_at_any_depth_and_the_host_never_sees_them() {
    let ground = Playground::new();
    ground.write(".git/config", "[core]\n");
    ground.write("pkg/x", "x");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write(".git/config", "[core]\nfsmonitor=evil\n").write(".git/hooks/pre-commit", "evil");
    upper.write("pkg/.vscode/tasks.json", "evil").write("pkg/.GIT", "gitdir: ../evil").write("pkg/code", "fine");
    upper.write("new/.envrc", "evil").link("new/.github", "../pkg").link(".cargo", "pkg");
    let before = ground.tree();
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(
        held(&back),
        [
            (".cargo".into(), protected(".cargo/config")),
            (".git/config".into(), protected(".git")),
            (".git/hooks".into(), protected(".git")),
            (".git/hooks/pre-commit".into(), protected(".git")),
            ("new/.envrc".into(), protected(".envrc")),
            ("new/.github".into(), protected(".github/workflows")),
            ("pkg/.GIT".into(), protected(".git")),
            ("pkg/.vscode".into(), protected(".vscode")),
            ("pkg/.vscode/tasks.json".into(), protected(".vscode")),
        ]
    );
    assert_eq!(applied(&back), ["new", "pkg/code"]);
    let after: Vec<_> =
        ground.tree().into_iter().filter(|line| *line != "new/" && *line != "pkg/code = fine").collect();
    assert_eq!(after, before);
}

#[test]
fn renaming_the_parent_of_a_protected_path_gains_nothing() {
    let ground = Playground::new();
    ground.write(".git/config", "[core]\n");
    ground.write(".git/HEAD", "ref: x\n");
    fs::create_dir(ground.host(".git/objects")).unwrap();
    fs::create_dir(ground.host(".git/refs")).unwrap();
    let session = ground.session();
    let stamp = ground.stamp();
    let before = ground.tree();
    // mv .git .old; mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit
    let upper = ground.upper();
    upper.opaque(".git").write(".git/hooks/pre-commit", "evil");
    upper.write(".old/config", "[core]\n").write(".old/HEAD", "ref: x\n").folder(".old/objects").folder(".old/refs");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), [".old"], "an empty folder is all");
    assert_eq!(back.held.len(), 10, "{:?}", held(&back));
    let after: Vec<_> = ground.tree().into_iter().filter(|line| line != ".old/").collect();
    assert_eq!(after, before);
}

#[test]
fn a_folder_that_would_take_a_protected_path_with_it_is_held_as_a_whole() {
    let ground = Playground::new();
    for folder in ["gone", "file", "again", "plain"] {
        ground.write(&format!("{folder}/code"), "x");
    }
    for folder in ["gone", "file", "again"] {
        ground.write(&format!("{folder}/sub/.vscode/settings.json"), "{}");
    }
    let session = ground.session();
    let stamp = ground.stamp();
    let before = ground.tree();
    let upper = ground.upper();
    upper.delete("gone").write("file", "now a file").opaque("again").write("again/other", "y");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), Vec::<String>::new());
    assert_eq!(ground.tree(), before);
    let reason =
        |folder: &str| Reason::ContainsProtected { path: format!("{folder}/sub/.vscode"), pattern: ".vscode".into() };
    assert_eq!(
        held(&back),
        [
            ("again/code".into(), reason("again")),
            ("again/other".into(), reason("again")),
            ("again/sub".into(), reason("again")),
            ("file".into(), reason("file")),
            ("gone".into(), reason("gone")),
        ]
    );
}

#[test]
fn a_replaced_folder_loses_what_was_not_made_again() {
    let ground = Playground::new();
    ground.write("build/old/a", "a");
    ground.write("build/same", "s");
    ground.write("build/sub/x", "x");
    ground.write("build/sub/y", "y");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.opaque("build").write("build/same", "s").write("build/sub/y", "y2").write("build/new", "n");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), ["build/new", "build/old", "build/sub/x", "build/sub/y"]);
    assert_eq!(ground.tree(), ["build/", "build/new = n", "build/same = s", "build/sub/", "build/sub/y = y2"]);
}

#[test]
fn kinds_replace_each_other() {
    let ground = Playground::new();
    ground.write("file-to-folder", "x");
    ground.write("folder-to-file/a/b", "x");
    ground.write("folder-to-link/a", "x");
    symlink("nowhere", ground.host("link-to-folder")).unwrap();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.opaque("file-to-folder").write("file-to-folder/in/side", "1");
    upper.write("folder-to-file", "2").link("folder-to-link", "folder-to-file");
    upper.opaque("link-to-folder").write("link-to-folder/inside", "3");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(held(&back), []);
    let tree = [
        "file-to-folder/",
        "file-to-folder/in/",
        "file-to-folder/in/side = 1",
        "folder-to-file = 2",
        "folder-to-link -> folder-to-file",
        "link-to-folder/",
        "link-to-folder/inside = 3",
    ];
    assert_eq!(ground.tree(), tree);
    assert_clean(&ground);
}

#[test]
fn what_the_host_changed_meanwhile_is_a_conflict_and_stays() {
    let ground = Playground::new();
    for name in ["edited", "deleted-here", "deleted-there", "folder/x", "link"] {
        ground.write(name, "old");
    }
    let session = ground.session();
    let stamp = ground.stamp();
    ground.write("edited", "host");
    ground.write("deleted-here", "host");
    ground.write("folder/y", "host");
    ground.write("new", "host");
    fs::remove_file(ground.host("deleted-there")).unwrap();
    let upper = ground.upper();
    upper.write("edited", "call").delete("deleted-here").write("deleted-there", "call").delete("folder");
    upper.write("new", "call").link("link", "edited");
    let before = ground.tree();
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    let conflict = |name: &str| (name.to_owned(), Reason::Conflict);
    let names = ["deleted-here", "deleted-there", "edited", "folder", "new"];
    assert_eq!(held(&back), names.map(conflict));
    assert_eq!(applied(&back), ["link"]);
    let expected: Vec<_> =
        before.into_iter().map(|line| if line == "link = old" { "link -> edited".into() } else { line }).collect();
    assert_eq!(ground.tree(), expected);
}

#[test]
fn a_change_of_metadata_on_the_host_is_a_conflict_too() {
    let ground = Playground::new();
    ground.write("a", "old");
    let session = ground.session();
    let stamp = ground.stamp();
    fs::set_permissions(ground.host("a"), fs::Permissions::from_mode(0o600)).unwrap();
    let upper = ground.upper();
    upper.write("a", "new");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(held(&back), [("a".into(), Reason::Conflict)]);
}

#[test]
fn an_edit_by_the_host_right_before_the_call_is_no_conflict() {
    let ground = Playground::new();
    let session = ground.session();
    for round in 0..20 {
        ground.write("a", &format!("host {round}"));
        let stamp = ground.stamp();
        let upper = ground.upper();
        upper.write("a", &format!("call {round}")).write(&format!("new {round}"), "");
        let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
        assert_eq!(held(&back), [], "round {round}");
    }
}

#[test]
fn one_call_after_another_never_conflicts_with_itself() {
    let ground = Playground::new();
    let session = ground.session();
    for round in 0..50 {
        // No pause: the next call comes within the same clock tick.
        let stamp = Stamp::take(&ground.workspace).unwrap();
        let upper = ground.upper();
        upper.write("a", &format!("{round}")).write(&format!("dir/{round}"), "x");
        let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
        assert_eq!(held(&back), [], "round {round}");
    }
}

#[test]
fn parallel_calls_that_make_files_in_one_folder_do_not_conflict_but_on_one_file_they_do() {
    let ground = Playground::new();
    ground.write("dir/shared", "old");
    let session = ground.session();
    let stamps = [ground.stamp(), ground.stamp(), ground.stamp()];
    for (number, stamp) in stamps.iter().enumerate() {
        let upper = ground.upper();
        upper.write(&format!("dir/{number}"), "x").write("dir/shared", &number.to_string());
        upper.write(&format!("made/{number}"), "y");
        let back = ground.hand_back(&session, &upper, &HandBack::Tree, stamp);
        let expected = if number == 0 { vec![] } else { vec![("dir/shared".to_owned(), Reason::Conflict)] };
        let built = back.held.iter().filter(|held| held.reason != Reason::BuildsOnHeld);
        let held: Vec<_> = built.map(|held| (held.change.path.to_string(), held.reason.clone())).collect();
        if number == 2 {
            assert_eq!(held, [], "it builds on what is held already");
        } else {
            assert_eq!(held, expected, "call {number}");
        }
        assert!(applied(&back).contains(&format!("dir/{number}")), "call {number}");
        assert!(applied(&back).contains(&format!("made/{number}")), "call {number}");
    }
    assert_eq!(ground.read("dir/shared").as_deref(), Some("0"));
}

#[test]
fn concurrent_hand_backs_follow_one_another() {
    let ground = Arc::new(Playground::new());
    // Nobody has seen what another wrote.
    let stamped = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let (ground, stamped) = (Arc::clone(&ground), Arc::clone(&stamped));
            std::thread::spawn(move || {
                let workspace = if number % 2 == 0 { Arc::clone(&ground.workspace) } else { ground.reopened() };
                let session = Session::open(Arc::clone(&workspace), "default").unwrap();
                let stamp = Stamp::take(&workspace).unwrap();
                stamped.wait();
                let upper = ground.upper();
                for file in 0..20 {
                    upper.write(&format!("t{number}/f{file}"), &number.to_string());
                }
                upper.write("shared/all", &number.to_string()).write(".envrc", &number.to_string());
                let changeset = upper.changeset();
                let order = Order {
                    changeset: &changeset,
                    admission: ground.admission(&HandBack::Tree),
                    masks: &ground.masks(),
                    on_top: crate::workspace::OnTop::Held,
                    masked_then: None,
                    masks_then: None,
                    stamp: &stamp,
                    seen: None,
                    origin: &origin("c"),
                };
                session.hand_back(&order, &patient(&|| false)).unwrap()
            })
        })
        .collect();
    let backs: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let shared: Vec<_> = backs.iter().filter(|back| applied(back).contains(&"shared/all".to_owned())).collect();
    assert_eq!(shared.len(), 1, "exactly one wins");
    for (number, back) in backs.iter().enumerate() {
        // Another process's new files in the same folder may make a conflict; never a mixture, never a loss.
        for file in 0..20 {
            let name = format!("t{number}/f{file}");
            let held = back.held.iter().any(|held| held.change.path == path(&name));
            assert!(held || ground.read(&name) == Some(number.to_string()), "{name}");
        }
    }
    assert_eq!(ground.session().held().unwrap().iter().filter(|held| held.change.path == path(".envrc")).count(), 1);
    assert_clean(&ground);
}

#[test]
fn special_files_mode_bits_and_forged_marks_are_dropped() {
    let ground = Playground::new();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.node("fifo", FileType::Fifo).node("socket", FileType::Socket).write("suid", "x").mode("suid", 0o6755);
    upper.write("redirected/x", "x").attribute("redirected", "user.overlay.redirect", b"/etc");
    upper.write("meta", "").attribute("meta", "user.overlay.metacopy", b"");
    upper.write("white", "").attribute("white", "user.overlay.whiteout", b"y");
    upper.write("tagged", "t").attribute("tagged", "user.mine", b"1").attribute("tagged", "user.overlay.origin", b"x");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), ["suid", "tagged"]);
    assert_eq!(ground.tree(), ["suid = x", "tagged = t"]);
    assert_eq!(ground.entry("suid").mode, 0o755);
    let dropped = |name: &str, reason| Dropped { path: path(name), reason };
    let forged = |mark: &str| DropReason::ForgedMark { mark: mark.into() };
    assert_eq!(
        back.dropped,
        [
            dropped("fifo", DropReason::Special { special: Special::Fifo }),
            dropped("meta", forged("user.overlay.metacopy")),
            dropped("redirected", forged("user.overlay.redirect")),
            dropped("socket", DropReason::Special { special: Special::Socket }),
            dropped("suid", DropReason::ModeBits { bits: 0o6000 }),
            dropped("tagged", DropReason::Attributes { names: vec!["user.mine".into()] }),
            dropped("white", forged("user.overlay.whiteout")),
        ]
    );
}

#[test]
fn an_attribute_whiteout_counts_only_where_the_folder_announces_it() {
    let ground = Playground::new();
    ground.write("a/gone", "x");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("a/gone", "").attribute("a/gone", "user.overlay.whiteout", b"").attribute(
        "a",
        "user.overlay.opaque",
        b"x",
    );
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), ["a/gone"]);
    assert_eq!(ground.tree(), ["a/"]);
}

#[test]
fn links_out_of_the_workspace_are_held() {
    let ground = Playground::new();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper
        .folder("a")
        .link("a/up", "../../x")
        .link("abs", "/etc/passwd")
        .link("a/fine", "../a")
        .link("tricky", "a/../..");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), ["a", "a/fine"]);
    let out = |name: &str, target: &str| (name.to_owned(), Reason::LeadsOut { target: target.into() });
    assert_eq!(held(&back), [out("a/up", "../../x"), out("abs", "/etc/passwd"), out("tricky", "a/../..")]);
}

#[test]
fn links_to_protected_paths_are_held() {
    let ground = Playground::new();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.folder("a").link("a/hooks", "../.git/hooks").link("ci", "./.github").link("settings", "VSCODE~1/tasks.json");
    upper.link("a/fine", "../.gitignore").link("here", ".");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), ["a", "a/fine", "here"]);
    let to = |name: &str, path: &str, pattern: &str| {
        (name.to_owned(), Reason::LeadsToProtected { path: path.into(), pattern: pattern.into() })
    };
    assert_eq!(
        held(&back),
        [
            to("a/hooks", ".git/hooks", ".git"),
            to("ci", ".github", ".github/workflows"),
            to("settings", "VSCODE~1/tasks.json", "NAME~1"),
        ]
    );
}

#[test]
fn shapes_of_nested_repositories_are_held_even_when_they_come_in_pieces() {
    let ground = Playground::new();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("lib/HEAD", "ref: refs/heads/x").folder("lib/objects").write("lib/notes", "n").write("other/HEAD", "h");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(held(&back), [], "not a repository yet");
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.folder("lib/refs").write("lib/config", "[core]\nfsmonitor=evil\n").write("lib/sub/x", "x").write("free", "f");
    upper.write("work/HEAD", "x").write("work/commondir", "../lib");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), ["free", "work"]);
    let reason = |folder: &str| Reason::Repository { folder: folder.into() };
    assert_eq!(
        held(&back),
        [
            ("lib/config".into(), reason("lib")),
            ("lib/refs".into(), reason("lib")),
            ("lib/sub".into(), reason("lib")),
            ("lib/sub/x".into(), reason("lib")),
            ("work/HEAD".into(), reason("work")),
            ("work/commondir".into(), reason("work")),
        ]
    );
}

#[test]
fn links_and_odd_files_of_the_host_are_not_walked_through_or_replaced() {
    let ground = Playground::new();
    let outside = ground.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    ground.write("dir/x", "x");
    rustix::fs::mknodat(rustix::fs::CWD, ground.host("pipe"), FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("dir/x", "evil").write("dir/new/y", "evil").write("pipe", "text");
    fs::rename(ground.host("dir"), ground.host("moved")).unwrap();
    symlink(&outside, ground.host("dir")).unwrap();
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), Vec::<String>::new());
    assert_eq!(
        held(&back),
        [
            ("dir".into(), Reason::Conflict),
            ("dir/new".into(), Reason::FolderHeld { folder: "dir".into() }),
            ("dir/new/y".into(), Reason::FolderHeld { folder: "dir/new".into() }),
            ("dir/x".into(), Reason::FolderHeld { folder: "dir".into() }),
            ("pipe".into(), Reason::HostSpecial),
        ]
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_root_server_keeps_the_owner_of_the_file_or_gives_the_folders() {
    let ground = Playground::new();
    ground.write("dir/theirs", "x");
    ground.write("mine", "x");
    let me = rustix::process::geteuid();
    let (user, group) = if me.is_root() { (1234, 2345) } else { (me.as_raw(), rustix::process::getegid().as_raw()) };
    for name in ["dir", "dir/theirs"] {
        std::os::unix::fs::chown(ground.host(name), Some(user), Some(group)).unwrap();
    }
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("dir/theirs", "y").write("dir/new/file", "n").link("dir/link", "new").write("mine", "y");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(held(&back), []);
    for name in ["dir/theirs", "dir/new", "dir/new/file", "dir/link"] {
        let found = fs::symlink_metadata(ground.host(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (user, group), "{name}");
    }
    assert_eq!(fs::metadata(ground.host("mine")).unwrap().uid(), me.as_raw());
}

#[test]
fn a_move_to_a_held_place_takes_nothing_away() {
    let ground = Playground::new();
    ground.write("notes.md", "mine");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.delete("notes.md").write(".vscode/notes.md", "mine");
    let back = ground.hand_back(&session, &upper, &only(&["notes.md", ".vscode/notes.md"]), &stamp);
    assert_eq!(applied(&back), Vec::<String>::new());
    let together = Reason::Together { with: ".vscode/notes.md".into() };
    let waiting = held(&back);
    assert!(waiting.contains(&("notes.md".into(), together.clone())), "{waiting:?}");
    assert_eq!(ground.tree(), ["notes.md = mine"]);
    session.discard(&[crate::TreePath::root()], &super::playground::patient(&|| false)).unwrap();
    assert_eq!(ground.tree(), ["notes.md = mine"], "nothing is lost by saying no");
}

#[test]
fn the_halves_of_a_held_move_are_applied_and_discarded_together() {
    let patient = || super::playground::patient(&|| false);
    // Whichever half is named; and where each half is held for a reason of its own.
    for (from, to) in [("notes.md", ".vscode/notes.md"), (".idea/notes.md", ".vscode/notes.md")] {
        for named in [from, to] {
            let ground = Playground::new();
            ground.write(from, "mine");
            let session = ground.session();
            let (stamp, upper) = (ground.stamp(), ground.upper());
            upper.delete(from).write(to, "mine");
            ground.hand_back(&session, &upper, &only(&[from, to]), &stamp);
            let before = ground.tree();
            assert_eq!(session.discard(&[path(named)], &patient()).unwrap().len(), 2, "{named}");
            assert_eq!((session.held().unwrap(), ground.tree()), (vec![], before));
            let stamp = ground.stamp();
            ground.hand_back(&session, &upper, &only(&[from, to]), &stamp);
            session.apply(&[path(named)], &super::playground::listed(), &patient()).unwrap();
            assert_eq!((ground.read(from), ground.read(to).as_deref()), (None, Some("mine")), "{named}");
        }
    }
}

#[test]
fn a_run_may_keep_one_file_while_another_is_held() {
    let ground = Playground::new();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("a.snap", "1").write(".npmrc", "x");
    let back = ground.hand_back(&session, &upper, &HandBack::Matching(vec!["*".into()]), &stamp);
    assert_eq!(applied(&back), ["a.snap"]);
}

#[test]
fn a_moved_folder_is_recognised() {
    let ground = Playground::new();
    ground.write("old/a", "1");
    ground.write("old/sub/b", "2");
    ground.write("unmoved/c", "3");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.delete("old").write("new/a", "1").write("new/sub/b", "2").delete("unmoved").write("different/c", "4");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(back.notes, [Note::Moved { from: path("old"), to: path("new") }]);
    assert_eq!(ground.tree(), ["different/", "different/c = 4", "new/", "new/a = 1", "new/sub/", "new/sub/b = 2"]);
}

#[test]
fn files_that_run_on_the_host_and_odd_names_are_pointed_out() {
    let ground = Playground::new();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("pkg/setup.py", "x").write("-rf", "x").write("plain", "x").write("sub/`x`", "");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(
        back.notes,
        [
            Note::OddName { file: path("-rf"), oddity: "starts with a dash, as an option does".into() },
            Note::RunsOnYourMachine { file: path("pkg/setup.py") },
            Note::OddName { file: path("sub/`x`"), oddity: "holds a character that a shell acts on".into() },
        ]
    );
}

#[test]
fn a_new_name_that_another_file_system_would_fold_into_another_is_pointed_out() {
    let ground = Playground::new();
    ground.write("README", "mine");
    ground.write("src/a", "1");
    ground.write("renamed", "2");
    let session = ground.session();
    let upper = ground.upper();
    upper.write("readme", "x").write("SRC/b", "y").delete("renamed").write("Renamed", "2").write("README", "edited");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &ground.stamp());
    assert_eq!(
        back.notes,
        [
            Note::Twin { file: path("SRC"), other: path("src") },
            Note::Twin { file: path("readme"), other: path("README") },
        ]
    );
    assert_eq!(applied(&back), ["README", "Renamed", "SRC", "SRC/b", "readme", "renamed"]);
}

#[test]
fn a_new_name_is_compared_with_what_is_held() {
    let ground = Playground::new();
    let session = ground.session();
    ground.hand_back(&session, ground.upper().write(".npmrc", "x"), &HandBack::Tree, &ground.stamp());
    let upper = ground.upper();
    upper.write(".NPMRC", "x");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &ground.stamp());
    assert_eq!(back.notes, [Note::Twin { file: path(".NPMRC"), other: path(".npmrc") }]);
}

#[test]
fn names_come_back_byte_for_byte() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};
    let ground = Playground::new();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    let names: Vec<&OsStr> = [
        &b"not\xffutf8"[..],
        b"new\nline",
        "n\u{e9}".as_bytes(),
        "ne\u{301}".as_bytes(),
        b"trailing ",
        b"trailing.",
        b"CON",
        b"con",
        b"\xe2\x80\xaereversed",
    ]
    .iter()
    .map(|name| OsStr::from_bytes(name))
    .collect();
    for name in &names {
        fs::write(upper.folder.path().join(name), name.as_bytes()).unwrap();
    }
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(back.applied.len(), names.len());
    for name in names {
        assert_eq!(fs::read(ground.workspace.root().join(Path::new(name))).unwrap(), name.as_bytes());
    }
}

#[test]
fn a_swapped_workspace_is_refused() {
    let ground = Playground::new();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("a", "x");
    fs::rename(ground.host(""), ground.folder.path().join("old")).unwrap();
    fs::create_dir(ground.folder.path().join("work")).unwrap();
    let error =
        ground.try_hand_back(&session, &upper, &HandBack::Tree, &stamp, &super::delivery::Uninterrupted).unwrap_err();
    assert!(matches!(error, super::SessionError::Workspace(_)), "{error:?}");
    assert_eq!(super::playground::list(ground.folder.path().join("work").as_path()), Vec::<String>::new());
}

#[test]
fn nobody_is_locked_out_by_a_mode() {
    let ground = Playground::new();
    ground.write("there/file", "x");
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("closed/file", "x").mode("closed/file", 0o000).mode("closed", 0o211);
    upper.write("there/file", "x").mode("there/file", 0o003).mode("there", 0o000);
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(applied(&back), ["closed", "closed/file", "there", "there/file"]);
    for (name, mode) in [("closed", 0o711), ("closed/file", 0o400), ("there", 0o500), ("there/file", 0o403)] {
        assert_eq!(ground.entry(name).permissions(), mode, "{name}");
    }
    session.undo("call-1", &[], &super::playground::listed(), &patient(&|| false)).unwrap();
    assert_eq!((ground.entry("there/file").permissions(), ground.read("closed/file")), (0o644, None));
}

#[test]
fn too_large_a_hand_back_changes_nothing() {
    let ground = Playground::new();
    let session = ground.session();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("a", "x").write("sparse", "");
    fs::File::options().write(true).open(upper.path("sparse")).unwrap().set_len(1 << 40).unwrap();
    let error =
        ground.try_hand_back(&session, &upper, &HandBack::Tree, &stamp, &super::delivery::Uninterrupted).unwrap_err();
    assert!(matches!(error, super::SessionError::TooLarge { .. }), "{error:?}");
    assert_eq!(ground.tree(), Vec::<String>::new());
    let back = ground.hand_back(&session, &upper, &only(&["a"]), &stamp);
    assert_eq!(back.left, [Change { path: path("sparse"), what: What::File { size: 1 << 40, mode: 0o644 } }]);
}

#[test]
fn a_folder_of_the_host_without_permission_holds_only_what_is_in_it() {
    let ground = Playground::new();
    ground.write("closed/x", "x");
    let session = ground.session();
    fs::set_permissions(ground.host("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let stamp = ground.stamp();
    let upper = ground.upper();
    upper.write("closed/x", "y").mode("closed", 0o000).write("open", "o");
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    fs::set_permissions(ground.host("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        assert_eq!(applied(&back), ["closed/x", "open"]);
    } else {
        assert_eq!(
            (applied(&back), held(&back)),
            (vec!["open".to_owned()], vec![("closed/x".into(), Reason::NotPermitted)])
        );
    }
}
