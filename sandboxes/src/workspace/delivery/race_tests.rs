//! A host that changes the workspace while changes are handed back.

use std::{
    fs,
    os::fd::AsFd,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cofferdam_contract::HandBack;
use rustix::fs::{CWD, RenameFlags};

use super::operation::{EntryState, Expected, Operation};
use crate::workspace::{
    beneath::{self, Found},
    change::{Change, Reason, What},
    kept::shelf::Slot,
    playground::{Playground, list, path},
    stamp::Stamp,
    tree_path::TreePath,
};

const NOTHING_KEPT: Slot<'_> = Slot { shelf: None, number: 0 };

/// How long each race is run.
const RACE: Duration = Duration::from_secs(2);

/// Runs hand-backs into `dir` while `swap` is called over and over; nothing may arrive outside.
fn nothing_escapes(swap: impl Fn(&Playground) + Send + 'static) {
    let ground = Arc::new(Playground::new());
    ground.write("dir/kept", "x");
    let outside = ground.folder.path().join("outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("kept"), "outside").unwrap();
    symlink(&outside, ground.folder.path().join("trap")).unwrap();
    let before = list(&outside);
    let over = Arc::new(AtomicBool::new(false));
    let racer = std::thread::spawn({
        let (ground, over) = (Arc::clone(&ground), Arc::clone(&over));
        move || {
            while !over.load(Ordering::Relaxed) {
                swap(&ground);
            }
        }
    });
    let session = ground.session();
    let until = Instant::now() + RACE;
    let (mut rounds, mut applied) = (0, 0);
    while Instant::now() < until {
        let upper = ground.upper();
        upper.write("dir/kept", &format!("call {rounds}")).write("dir/new/file", "call").write("dir/sub/file", "call");
        upper.delete("dir/gone").mode("dir", 0o755);
        // A stamp of the future would be needed for no conflict at all; of now, some come through.
        let stamp = Stamp::take(&ground.workspace).unwrap();
        let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
        applied += back.applied.len();
        rounds += 1;
        let held: Vec<_> = session.held().unwrap().into_iter().map(|held| held.change.path).collect();
        session.discard(&held, &crate::workspace::playground::patient(&|| false)).unwrap();
        assert_eq!(list(&outside), before, "round {rounds}");
    }
    over.store(true, Ordering::Relaxed);
    racer.join().unwrap();
    assert_eq!(list(&outside), before);
    ground.workspace.recover(&crate::workspace::playground::patient(&|| false)).unwrap();
    let left: Vec<_> = list(ground.folder.path()).into_iter().filter(|line| line.contains(".cofferdam-")).collect();
    assert_eq!(left, Vec::<String>::new(), "temporary files");
    assert!(rounds > 10, "{rounds} rounds, {applied} applied");
}

#[test]
fn a_folder_swapped_for_a_link_in_a_loop_lets_nothing_escape() {
    nothing_escapes(|ground| {
        let (dir, aside, trap) =
            (ground.host("dir"), ground.folder.path().join("aside"), ground.folder.path().join("trap"));
        let _ = fs::rename(&dir, &aside);
        let _ = fs::rename(&trap, &dir);
        let _ = fs::rename(&dir, &trap);
        let _ = fs::rename(&aside, &dir);
        std::thread::sleep(Duration::from_micros(200));
    });
}

#[test]
fn a_folder_exchanged_with_a_link_in_a_loop_lets_nothing_escape() {
    nothing_escapes(|ground| {
        let (dir, trap) = (ground.host("dir"), ground.folder.path().join("trap"));
        // Twice, so that the folder is back in its place after each call.
        for _ in 0..2 {
            let _ = rustix::fs::renameat_with(CWD, &dir, CWD, &trap, RenameFlags::EXCHANGE);
        }
        std::thread::sleep(Duration::from_micros(100));
    });
}

fn identity(ground: &Playground, name: &str) -> Expected {
    Expected::Entry(EntryState::of(&ground.entry(name)))
}

/// An operation that has staged `text` for `name`.
fn staged(ground: &Playground, name: &str, text: &str, expected: Expected) -> Operation {
    let upper = ground.upper();
    upper.write("content", text);
    let change = Change { path: path(name), what: What::File { size: text.len() as u64, mode: 0o644 } };
    let mut operation = Operation::new(change, expected, &TreePath::root()).unwrap();
    operation
        .stage(&ground.workspace, (upper.fd().as_fd(), &path("content")), &mut super::flush::Flush::default())
        .unwrap();
    operation
}

#[test]
fn an_edit_between_the_look_and_the_rename_is_put_back() {
    let ground = Playground::new();
    for in_place in [true, false] {
        ground.write("a", "old");
        let expected = identity(&ground, "a");
        let operation = staged(&ground, "a", "call", expected);
        ground.settle();
        if in_place {
            ground.write("a", "host");
        } else {
            ground.write("b", "host");
            fs::rename(ground.host("b"), ground.host("a")).unwrap();
        }
        assert_eq!(operation.begin(&ground.workspace), Err(Reason::Conflict), "seen by the look");
        // As if the edit had come after the look.
        let away = ground.host(&operation.temporary.to_string());
        rustix::fs::renameat_with(CWD, ground.host("a"), CWD, &away, RenameFlags::EXCHANGE).unwrap();
        assert_eq!(operation.complete(&ground.workspace, &|_, _| false, NOTHING_KEPT), Err(Reason::Conflict));
        assert_eq!(ground.read("a").as_deref(), Some("host"));
        assert_eq!(fs::read_to_string(away).unwrap(), "call", "what was staged still is");
        operation.discard(&ground.workspace).unwrap();
        assert_eq!(ground.tree(), ["a = host"]);
    }
}

#[test]
fn a_file_that_appears_between_the_look_and_the_rename_is_not_replaced() {
    let ground = Playground::new();
    let operation = staged(&ground, "a", "call", Expected::Absent);
    ground.write("a", "host");
    assert_eq!(operation.begin(&ground.workspace), Err(Reason::Conflict));
    assert_eq!(ground.read("a").as_deref(), Some("host"));
}

#[test]
fn an_edit_below_a_folder_that_is_being_deleted_brings_it_back() {
    let ground = Playground::new();
    ground.write("tree/sub/a", "old");
    let expected = identity(&ground, "tree");
    let stamp = ground.stamp();
    let change = Change { path: path("tree"), what: What::Deleted };
    let operation = Operation::new(change, expected, &TreePath::root()).unwrap();
    ground.write("tree/sub/a", "host");
    operation.begin(&ground.workspace).unwrap();
    assert_eq!(ground.read("tree/sub/a"), None);
    let changed =
        |path: &TreePath, entry: &beneath::Entry| ground.workspace.recent().changed_since(&stamp, path, entry);
    assert_eq!(operation.complete(&ground.workspace, &changed, NOTHING_KEPT), Err(Reason::Conflict));
    assert_eq!(ground.read("tree/sub/a").as_deref(), Some("host"));
}

#[test]
fn lookups_walk_through_no_link_and_name_what_is_in_the_way() {
    let ground = Playground::new();
    ground.write("dir/x", "x");
    symlink("dir", ground.host("link")).unwrap();
    symlink("/proc/self/root", ground.host("magic")).unwrap();
    let find = |name: &str| beneath::find(ground.workspace.fd(), &path(name)).unwrap();
    assert_eq!(find("link/x"), Found::Blocked(beneath::Blocked::Link));
    assert_eq!(find("magic/etc/passwd"), Found::Blocked(beneath::Blocked::Link));
    assert_eq!(find("dir/x/y"), Found::Blocked(beneath::Blocked::NotFolder));
    assert!(matches!(find("link"), Found::Entry(entry) if entry.kind == beneath::Kind::Link));
    assert!(matches!(find("no/where"), Found::Absent { folder, .. } if folder == TreePath::root()));
    assert!(matches!(find("dir/no"), Found::Absent { folder, .. } if folder == path("dir")));
}

/// Set in the copy of the test program that runs inside a mount namespace of its own.
const INSIDE: &str = "COFFERDAM_TEST_INSIDE_NAMESPACE";

#[test]
fn another_file_system_below_the_workspace_is_never_reached_into() {
    if std::env::var_os(INSIDE).is_none() {
        let run = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "workspace::delivery::race_tests::another_file_system_below_the_workspace_is_never_reached_into",
            ])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
        return;
    }
    let ground = Playground::new();
    for name in ["mounted", "above/mounted"] {
        fs::create_dir_all(ground.host(name)).unwrap();
        let mount = std::process::Command::new("mount").args(["-t", "tmpfs", "none"]).arg(ground.host(name)).status();
        assert!(mount.unwrap().success());
        ground.write(&format!("{name}/x"), "x");
    }
    let session = ground.session();
    let stamp = ground.stamp();
    let before = ground.tree();
    let upper = ground.upper();
    upper.write("mounted/x", "evil").write("mounted/new", "evil").delete("above").write("fine", "f");
    upper.mode("mounted", 0o1777);
    let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    let held: Vec<_> = back.held.iter().map(|held| (held.change.path.to_string(), held.reason.clone())).collect();
    let mounted = |name: &str| (name.to_owned(), Reason::OtherMount);
    assert_eq!(held, [mounted("above"), mounted("mounted/new"), mounted("mounted/x")]);
    let after: Vec<_> = ground.tree().into_iter().filter(|line| line != "fine = f").collect();
    assert_eq!(after, before);
    for name in ["mounted", "above/mounted"] {
        assert!(std::process::Command::new("umount").arg(ground.host(name)).status().unwrap().success());
    }
}
