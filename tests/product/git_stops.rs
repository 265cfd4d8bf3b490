//! A commit's hand-back, and a person's taking of it, killed at every system call that changes something: the next start
//! finishes it or takes it back, and the host's repository is whole.
//!
//! `strace` kills as in [`super::stops`]. Here it also follows what runs in the sandbox, so that some kills end only that.

use std::{fs, path::Path, process::Command, sync::Arc};

use serde_json::{Value, json};

use crate::{
    harness::{Person, Place, Tree},
    stops,
};

/// A call that changes files, by its name in `strace(1)`, and which ones of it a kill is tried at: each `n`-th. Those that the
/// removal of temporary folders makes by the dozen are tried at some only.
const CALLS: [(&str, usize); 8] = [
    ("fsync", 1),
    ("linkat", 1),
    ("rename", 1),
    ("unlink", 1),
    ("renameat", 2),
    ("unlinkat", 6),
    ("mkdirat", 9),
    ("mkdir", 6),
];

/// What is done, killed, and done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Commit,
    Take,
}

impl Order {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Commit => &["call", "git_commit", "{\"message\":\"Second\"}"],
            Self::Take => &["changes", "commit-take"],
        }
    }
}

/// A place at one moment, which can be gone back to.
struct Moment {
    place: Place,
    first: String,
}

fn git(place: &Place, arguments: &[&str]) -> String {
    let output = place.program("git").args(arguments).env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {text}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The name that `reference` stands for, if there is one.
fn named(place: &Place, reference: &str) -> Option<String> {
    let listed = git(place, &["for-each-ref", "--format=%(objectname)", reference]);
    (!listed.is_empty()).then_some(listed)
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

impl Moment {
    /// Before `order`: a repository, and work that is not committed, or is by the agent and not by the person.
    fn before(order: Order, person: &Arc<Person>) -> Self {
        let place = Place::of(Arc::clone(person)).and(&[("a.txt", "one\n"), ("gone.txt", "gone\n")]);
        let folder = place.all().join("config/git");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config"), "[user]\n\tname = Per Son\n\temail = per@son.example\n").unwrap();
        git(&place, &["init", "--quiet", "--initial-branch=main"]);
        git(&place, &["add", "."]);
        git(&place, &["commit", "--quiet", "--message=First"]);
        let first = git(&place, &["rev-parse", "HEAD"]);
        place.write("a.txt", "two\n");
        place.write("new/file.txt", "new\n");
        fs::remove_file(place.workspace().join("gone.txt")).unwrap();
        // A server has been here, so that its folders are made.
        assert_eq!(place.call("git_status", &json!({})).0, 0);
        if order == Order::Take {
            assert_eq!(place.call("git_commit", &json!({ "message": "Second" })).0, 0);
        }
        for part in ["project", "state"] {
            copy(&place.all().join(part), &place.all().join(format!("{part}.then")));
        }
        Self { place, first }
    }

    fn again(&self) {
        for part in ["project", "state"] {
            let path = self.place.all().join(part);
            fs::remove_dir_all(&path).unwrap();
            copy(&self.place.all().join(format!("{part}.then")), &path);
        }
    }

    /// The tree that git makes of the working tree, in an index of its own.
    fn working_tree(&self) -> String {
        let run = |arguments: &[&str]| {
            let mut command = self.place.program("git");
            let output =
                command.env("GIT_INDEX_FILE", self.place.all().join("index")).args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
        };
        run(&["add", "--all"]);
        run(&["write-tree"])
    }

    /// The repository is whole, and nothing of a stopped order is left; the branch and the index agree.
    fn is_whole(&self, at: &str) {
        let place = &self.place;
        for path in Tree::of(&place.workspace().join(".git")).paths() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let left = name.ends_with(".lock") || name.starts_with("tmp_") || name.starts_with("cofferdam");
            assert!(!left, "{at}: {} is left", path.display());
            if name.ends_with(".pack") {
                let index = place.workspace().join(".git").join(path).with_extension("idx");
                assert!(index.exists(), "{at}: {name} has no index");
            }
        }
        for path in Tree::of(&place.state()).paths() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let left =
                ["git.json", "journal.json", "git.orphaned.json"].contains(&&*name) || name.starts_with("git.taken");
            assert!(!left, "{at}: {} is left", path.display());
            assert!(path.parent().is_none_or(|folder| !folder.ends_with("calls")), "{at}: {} is left", path.display());
        }
        git(place, &["fsck", "--strict", "--no-dangling"]);
        let head = git(place, &["rev-parse", "HEAD"]);
        let agents = named(place, "refs/agents/default");
        assert!(head == self.first || Some(&head) == agents.as_ref(), "{at}: {head}");
        assert_eq!(git(place, &["diff", "--cached", "--name-only"]), "", "{at}: the index is not the branch's");
        if let Some(agents) = &agents {
            let tree = git(place, &["rev-parse", &format!("{agents}^{{tree}}")]);
            assert_eq!(tree, self.working_tree(), "{at}: a commit of something else");
            assert_eq!(git(place, &["rev-parse", &format!("{agents}^")]), self.first, "{at}");
        }
        // What the session sees is what the ref says.
        let (status, log) = place.call("git_log", &json!({ "limit": 1 }));
        assert_eq!(status, 0, "{at}: {log:#}");
        let newest = log["structured"]["commits"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(newest, agents.clone().unwrap_or(head), "{at}: the session's history");
        let (status, now) = place.call("git_status", &json!({}));
        let clean = &now["structured"]["clean"];
        assert_eq!((status, clean), (0, &Value::Bool(agents.is_some())), "{at}: {now:#}");
    }
}

/// Kills `order` everywhere. Gives how many kills there were, and how many of them had the order done all the same.
fn stop_everywhere(order: Order, person: &Arc<Person>, every: usize) -> (usize, usize) {
    let moment = Moment::before(order, person);
    let place = &moment.place;
    let (mut kills, mut finished) = (0, 0);
    for (call, step) in CALLS {
        for number in (1..).step_by(step * every) {
            moment.again();
            if !stops::is_killed(place, order.words(), call, number) {
                break;
            }
            kills += 1;
            let at = format!("{order:?} killed at {call} {number}");
            assert_eq!(place.call("git_status", &json!({})).0, 0, "{at}");
            moment.is_whole(&at);
            let done = match order {
                Order::Commit => named(place, "refs/agents/default").is_some(),
                Order::Take => git(place, &["rev-parse", "HEAD"]) != moment.first,
            };
            finished += usize::from(done);
            let told = fs::read_to_string(place.state().join("audit/log.jsonl")).unwrap().contains("\"commit_taken\"");
            assert_eq!(told, done && order == Order::Take, "{at}: what the log says");
            // What is not done is done now, and what is done has nothing left to do.
            let output = place.run(order.words());
            assert!(output.status.success() || (done && order == Order::Commit), "{at}: {output:?}");
            moment.is_whole(&at);
            assert!(named(place, "refs/agents/default").is_some(), "{at}");
            if order == Order::Take {
                assert_eq!(git(place, &["status", "--porcelain"]), "", "{at}");
            }
        }
    }
    (kills, finished)
}

#[test]
fn a_commit_that_is_killed_anywhere_is_kept_or_taken_back() {
    let (kills, finished) = stop_everywhere(Order::Commit, &Person::invoker(), 1);
    assert!(kills > 40 && finished > 5 && finished < kills, "{kills} {finished}");
}

#[test]
fn so_is_the_taking_of_one() {
    let (kills, finished) = stop_everywhere(Order::Take, &Person::invoker(), 1);
    assert!(kills > 20 && finished > 5 && finished < kills, "{kills} {finished}");
}

#[test]
fn and_both_of_an_ordinary_user() {
    let person = Person::ordinary();
    for order in [Order::Commit, Order::Take] {
        let (kills, _) = stop_everywhere(order, &person, 5);
        assert!(kills > 5, "{kills}");
    }
}
