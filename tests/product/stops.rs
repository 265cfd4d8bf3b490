//! A person's order that is killed at every system call that changes something: the next start finishes it or takes it
//! back, and nothing is half there.
//!
//! `strace` kills the process as it enters the n-th call of a kind, for every n and each kind that a hand-back makes.
//! [`super::kill`] kills servers at moments instead.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;

use crate::harness::{Person, Place};

/// What changes files, by their names in `strace(1)`.
const CALLS: [&str; 9] =
    ["renameat2", "rename", "renameat", "unlinkat", "unlink", "mkdirat", "mkdir", "fsync", "syncfs"];

const DRAFT: &str = "version = 1\n[limits]\nmode = \"draft\"\n";

/// A folder that will be moved, and a file that will be edited.
const FILES: [(&str, &str); 4] =
    [("old/a", "a\n"), ("old/deep/b", "b\n"), ("edited", "before\n"), ("bystander", "x\n")];

/// A place in which the move and the edit wait for a person.
fn waiting(person: &Arc<Person>) -> Place {
    let place = Place::of(Arc::clone(person)).and(&FILES);
    place.policy(DRAFT);
    place.call("move_file", &json!({ "source": "old", "destination": "new" }));
    place.call("write_file", &json!({ "path": "edited", "content": "after\n" }));
    place
}

/// Every file with its content.
fn files(place: &Place) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![place.workspace()];
    while let Some(folder) = pending.pop() {
        for item in std::fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let name = path.strip_prefix(place.workspace()).unwrap().display().to_string();
                found.insert(format!("{name}={}", std::fs::read_to_string(&path).unwrap().trim_end()));
            }
        }
    }
    found
}

fn set(lines: [&str; 4]) -> BTreeSet<String> {
    lines.map(str::to_owned).into()
}

/// Runs the product with `order`, killed at the `number`-th `call`; `false` when there are not so many.
pub(crate) fn is_killed(place: &Place, order: &[&str], call: &str, number: usize) -> bool {
    let inject = format!("inject={call}:signal=KILL:when={number}");
    let mut strace = place.program("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
    strace.arg(place.binary()).args(order);
    let output = strace.output().expect("strace is installed by `cargo xtask test`");
    !output.status.success()
}

fn stop_everywhere(person: &Arc<Person>, every: usize) -> usize {
    let before = set(["old/a=a", "old/deep/b=b", "edited=before", "bystander=x"]);
    let after = set(["new/a=a", "new/deep/b=b", "edited=after", "bystander=x"]);
    let mut kills = 0;
    for call in CALLS {
        for number in (1..).step_by(every) {
            let place = waiting(person);
            assert_eq!(files(&place), before);
            if !is_killed(&place, &["changes", "apply", "--all"], call, number) {
                assert_eq!(files(&place), after, "{call} {number}: it was not killed");
                break;
            }
            kills += 1;
            // The next server finishes what this one began, before its first answer.
            let (status, read) = place.call("read_file", &json!({ "path": "new/deep/b" }));
            let at = format!("{call} {number}");
            assert_eq!(status, 0, "{at}: the agent goes on seeing its work: {read}");
            let now = files(&place);
            let known = now.iter().all(|line| before.contains(line) || after.contains(line));
            assert!(known && now.contains("bystander=x"), "{at}: {now:?}");
            // What the first order did not do, the second does; a conflict that it finds is told once and then done.
            place.run(&["changes", "apply", "--all"]);
            place.run(&["changes", "apply", "--all"]);
            assert_eq!(files(&place), after, "{at}");
            let held: serde_json::Value =
                serde_json::from_slice(&place.run(&["changes", "list", "--json"]).stdout).unwrap();
            assert_eq!(held, json!([]), "{at}");
        }
    }
    kills
}

#[test]
fn an_order_that_is_killed_at_any_system_call_is_finished_or_taken_back() {
    let kills = stop_everywhere(&Person::invoker(), 1);
    assert!(kills > 20, "{kills}");
}

#[test]
fn so_is_an_ordinary_user_s() {
    let kills = stop_everywhere(&Person::ordinary(), 5);
    assert!(kills > 5, "{kills}");
}
