//! An act on the host's `.git` that is stopped, or that a person or the kernel is in the way of.

use std::fs;

use super::super::tests::Bench;
use super::*;
use crate::workspace::playground::patient;

fn targets() -> Vec<TreePath> {
    vec![name("index"), name("refs/heads/main")]
}

/// A commit that changes `a.txt`, is in the host's objects, and is what the working tree has; and its index.
fn second(bench: &Bench) -> (ObjectId, Vec<u8>) {
    bench.ground.write("a.txt", "two\n");
    bench.host(&["commit", "--quiet", "--all", "--message=Second"]);
    let commit = ObjectId::new(&bench.host(&["rev-parse", "HEAD"])).unwrap();
    let index = fs::read(bench.ground.host(".git/index")).unwrap();
    bench.host(&["reset", "--quiet", "--mixed", &bench.first]);
    (commit, index)
}

/// Begins to move index and branch to the second commit, with all of it written and nothing in its place.
fn begun<'a>(session: &'a Session, (commit, index): &(ObjectId, Vec<u8>)) -> (Placing<'a>, Decided) {
    let mut placing = Placing::begin(session, targets(), Vec::new()).unwrap();
    placing.write(0, index).unwrap();
    placing.write(1, format!("{commit}\n").as_bytes()).unwrap();
    let decided = Decided { commit: commit.clone(), logs: Vec::new(), line: String::new(), stack: None, ordered: None };
    (placing, decided)
}

/// As if the server was killed once it had decided and put the first `placed` files into their places.
#[expect(clippy::disallowed_methods, reason = "a killed server drops nothing either")]
fn killed((mut placing, decided): (Placing<'_>, Decided), placed: usize) {
    placing.record.decided = Some(decided);
    placing.record.save(placing.workspace).unwrap();
    for number in 0..placed {
        assert_eq!(placing.record.place(placing.workspace, number).unwrap(), At::Waiting);
    }
    std::mem::forget(placing);
}

fn nothing_is_left(bench: &Bench) {
    for folder in [".git", ".git/refs/heads"] {
        for entry in fs::read_dir(bench.ground.host(folder)).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            assert!(!name.starts_with("cofferdam") && !name.ends_with(".lock"), "{folder}/{name} is left");
        }
    }
    assert!(!bench.ground.workspace.state().join(RECORD).exists());
}

/// Index and branch are at the same commit: the second one, or the first.
fn is_at(bench: &Bench, commit: &str, what: &str) {
    assert_eq!(bench.host(&["rev-parse", "HEAD"]), commit, "{what}");
    assert_eq!(bench.host(&["diff", "--cached", "--name-only"]), "", "{what}: the index is not the branch's");
    nothing_is_left(bench);
}

#[test]
fn what_a_git_does_between_a_stop_and_the_next_start_parts_nothing() {
    for placed in 0..=2 {
        let bench = Bench::new();
        let second = second(&bench);
        let session = bench.session();
        killed(begun(&session, &second), placed);
        // A `git status` that would write the index anew, with what it has just seen of the files.
        let earlier = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(bench.ground.host("a.txt")).unwrap().set_modified(earlier).unwrap();
        bench.host(&["status"]);
        bench.ground.reopened().recover(&patient(&|| false)).unwrap();
        is_at(&bench, second.0.as_str(), &format!("stopped after {placed}"));
        assert_eq!(bench.host(&["status", "--porcelain"]), "");
    }
}

#[test]
fn a_lock_that_a_person_removed_parts_nothing_either() {
    for target in targets() {
        let bench = Bench::new();
        let second = second(&bench);
        let session = bench.session();
        killed(begun(&session, &second), 0);
        fs::remove_file(bench.ground.host(&format!(".git/{target}.lock"))).unwrap();
        bench.ground.reopened().recover(&patient(&|| false)).unwrap();
        is_at(&bench, &bench.first, &target.to_string());
    }
}

#[test]
fn what_the_kernel_refuses_is_told_and_nothing_is_done() {
    let bench = Bench::new();
    let second = second(&bench);
    let session = bench.session();
    let (placing, decided) = begun(&session, &second);
    let index = bench.ground.host(".git/index");
    let kept = fs::read(&index).unwrap();
    // rename(2): a file does not replace a folder.
    fs::remove_file(&index).unwrap();
    fs::create_dir(&index).unwrap();
    match placing.decide(decided).unwrap() {
        End::Failed(error) => assert_eq!(error.kind(), io::ErrorKind::IsADirectory),
        other => panic!("{other:?}"),
    }
    fs::remove_dir(&index).unwrap();
    fs::write(&index, kept).unwrap();
    is_at(&bench, &bench.first, "taken back");
}

#[test]
fn what_is_half_done_when_the_kernel_refuses_is_gone_on_with() {
    let bench = Bench::new();
    let second = second(&bench);
    let session = bench.session();
    let (placing, decided) = begun(&session, &second);
    let branch = bench.ground.host(".git/refs/heads/main");
    fs::remove_file(&branch).unwrap();
    fs::create_dir(&branch).unwrap();
    let error = placing.decide(decided).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    assert!(bench.ground.host(".git/index.lock").exists(), "nobody else changes the index until then");
    fs::remove_dir(&branch).unwrap();
    bench.ground.workspace.recover(&patient(&|| false)).unwrap();
    is_at(&bench, second.0.as_str(), "gone on with");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a killed server drops nothing either")]
fn a_lock_is_only_ours_while_it_is_the_inode_that_we_made() {
    let bench = Bench::new();
    let session = bench.session();
    let targets = || vec![name("index"), name("refs/heads/main")];
    let locks = [".git/index.lock", ".git/refs/heads/main.lock"];
    // As if the server was killed: the record stays, and nothing is dropped.
    std::mem::forget(Placing::begin(&session, targets(), Vec::new()).unwrap());
    assert!(locks.iter().all(|lock| bench.ground.read(lock).is_some()));
    // A person removes one of them, and their git makes another of the same name.
    fs::remove_file(bench.ground.host(locks[0])).unwrap();
    bench.ground.write(locks[0], "another's");
    let again = bench.ground.reopened();
    again.recover(&patient(&|| false)).unwrap();
    assert_eq!(bench.ground.read(locks[0]).as_deref(), Some("another's"));
    assert_eq!(bench.ground.read(locks[1]), None);
    let left = |name: &str| name.starts_with("cofferdam");
    let names = fs::read_dir(bench.ground.host(".git")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| left(&name.to_string_lossy())));
    assert!(!bench.ground.workspace.state().join("git.json").exists());
}
