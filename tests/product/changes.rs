//! What comes back and what waits: a person looks, decides and takes back; the agent sees its own work meanwhile.

use std::{fs, process::Output};

use serde_json::{Value, json};

use crate::harness::{Person, Place};

const FILES: [(&str, &str); 2] = [("notes.txt", "one\ntwo\n"), ("src/lib.rs", "pub fn one() {}\n")];

/// The same place of each person whom a test is done as.
fn places() -> impl Iterator<Item = Place> {
    Person::everyone().into_iter().map(|person| Place::of(person).and(&FILES))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json_of(place: &Place, arguments: &[&str]) -> Value {
    let output = place.run(arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
}

#[test]
fn a_held_change_is_seen_by_the_agent_and_decided_by_a_person() {
    for place in places() {
        let hook = ".git/hooks/pre-commit";
        let (status, written) = place.call("write_file", &json!({ "path": hook, "content": "#!/bin/sh\nexit 1\n" }));
        assert_eq!(status, 3, "{written}");
        assert!(written["text"].as_str().unwrap().contains("Held for a person"), "{written}");
        assert!(!place.workspace().join(hook).exists(), "held means not in the workspace");
        // The agent's own session still sees its work.
        let (_, read) = place.call("read_file", &json!({ "path": hook }));
        assert!(read["text"].as_str().unwrap().contains("exit 1"), "{read}");
        let (_, listed) = place.call("list_changes", &json!({}));
        assert!(listed["text"].as_str().unwrap().contains(hook), "{listed}");

        let list = place.run(&["changes", "list"]);
        assert!(text(&list).contains(hook), "{}", text(&list));
        let diff = place.run(&["changes", "diff", hook]);
        assert!(text(&diff).contains("exit 1"), "{}", text(&diff));
        let apply = place.run(&["changes", "apply", hook]);
        assert!(apply.status.success(), "{}", text(&apply));
        assert_eq!(place.read(hook), "#!/bin/sh\nexit 1\n");
        assert!(!text(&place.run(&["changes", "list"])).contains(hook));
    }
}

#[test]
fn what_the_agent_changed_after_a_person_looked_is_not_applied() {
    for place in places() {
        let path = ".envrc";
        let write = |content: &str| place.call("write_file", &json!({ "path": path, "content": content }));
        write("export X=good\n");
        let generation = |arguments: &[&str]| {
            let shown = text(&place.run(arguments));
            let closing = shown.lines().last().unwrap().to_owned();
            let (_, after) = closing.split_once("as of generation ").unwrap_or_else(|| panic!("{shown}"));
            after.split(';').next().unwrap().to_owned()
        };
        let seen = generation(&["changes", "diff", path]);
        assert_eq!(generation(&["changes", "list"]), seen);
        let listed: Value = serde_json::from_slice(&place.run(&["changes", "list", "--json"]).stdout).unwrap();
        assert_eq!(
            (listed[0]["path"].as_str(), listed[0]["generation"].as_str().unwrap_or_default().to_owned()),
            (Some(path), seen.clone())
        );
        write("export X=evil\n");
        for order in ["apply", "discard"] {
            let refused = place.run(&["changes", order, "--generation", &seen, path]);
            assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
            assert!(text(&refused).contains("Look again"), "{}", text(&refused));
        }
        assert!(!place.workspace().join(path).exists());
        let apply = place.run(&["changes", "apply", "--generation", &generation(&["changes", "diff"]), "--all"]);
        assert!(apply.status.success(), "{}", text(&apply));
        assert_eq!(place.read(path), "export X=evil\n");
    }
}

#[test]
fn a_conflict_stays_marked_after_an_order_told_of_it() {
    for place in places() {
        place.write(".envrc", "export X=old\n");
        place.call("write_file", &json!({ "path": ".envrc", "content": "export X=agent\n" }));
        place.write(".envrc", "export X=mine\n");
        let list = || text(&place.run(&["changes", "list"]));
        assert!(list().contains("conflict: you changed it since;") && list().contains("but for"), "{}", list());
        let told = place.run(&["changes", "apply", ".envrc"]);
        assert_eq!(told.status.code(), Some(3), "{}", text(&told));
        assert!(list().contains("conflict: you changed it since, as you were told;"), "{}", list());
        assert!(!list().contains("but for"), "the next order applies it: {}", list());
        let diff = text(&place.run(&["changes", "diff", ".envrc"]));
        assert!(diff.contains("both sides changed") && diff.contains("-export X=mine\n+export X=agent"), "{diff}");
        assert_eq!(json_of(&place, &["changes", "list", "--json"])[0]["since"], json!("told"));
        let (_, listed) = place.call("list_changes", &json!({}));
        assert!(listed["text"].as_str().unwrap().contains("the workspace changed it since"), "{listed}");
        let apply = place.run(&["changes", "apply", ".envrc"]);
        assert!(apply.status.success(), "{}", text(&apply));
        assert_eq!(place.read(".envrc"), "export X=agent\n");
    }
}

#[test]
fn a_discarded_change_is_gone_for_the_agent_too() {
    for place in places() {
        let path = ".envrc";
        place.call("write_file", &json!({ "path": path, "content": "export X=1\n" }));
        let discard = place.run(&["changes", "discard", path]);
        assert!(discard.status.success(), "{}", text(&discard));
        let (status, read) = place.call("read_file", &json!({ "path": path }));
        assert_eq!((status, &read["ok"]), (1, &json!(false)), "{read}");
        assert!(!place.workspace().join(path).exists());
    }
}

#[test]
fn what_a_call_changed_is_taken_back_and_done_again() {
    for place in places() {
        place.call("write_file", &json!({ "path": "notes.txt", "content": "new\n" }));
        place.call("delete_file", &json!({ "path": "src" }));
        let history = json_of(&place, &["changes", "history", "--json"]);
        let call = |number: usize| history[number]["call"].as_str().unwrap().to_owned();
        assert_eq!(history[0]["changes"][0]["path"], json!("src"), "the newest comes first: {history}");
        // The beginning of its name is enough.
        let undo = place.run(&["changes", "undo", &call(0)[..12]]);
        assert!(undo.status.success() && text(&undo).contains("undone src/lib.rs"), "{}", text(&undo));
        assert_eq!(place.read("src/lib.rs"), FILES[1].1);
        // A person's own edit since is never overwritten.
        place.write("notes.txt", "mine\n");
        let refused = place.run(&["changes", "undo", &call(1)]);
        assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
        assert!(text(&refused).contains("not undone notes.txt"), "{}", text(&refused));
        assert_eq!(place.read("notes.txt"), "mine\n");
        // The undoing is in the history, and is undone.
        let newest = json_of(&place, &["changes", "history", "--json"])[0]["call"].as_str().unwrap().to_owned();
        assert!(newest.starts_with("undo-"), "{newest}");
        assert!(place.run(&["changes", "undo", &newest]).status.success());
        assert!(!place.workspace().join("src").exists());
        assert_eq!(place.run(&["changes", "undo", "no-such-call"]).status.code(), Some(1));
        let log = text(&place.run(&["audit", "show", "--json", "--last", "20"]));
        assert!(log.contains(r#""action":"undo""#) && log.contains(&newest), "{log}");
    }
}

/// A project whose test writes two files.
const WRITES: &str = "import pathlib, unittest
class One(unittest.TestCase):
    def test_one(self):
        pathlib.Path('snap').mkdir(exist_ok=True)
        pathlib.Path('snap/a.txt').write_text('made')
        pathlib.Path('.envrc').write_text('evil')
";

#[test]
fn what_a_run_left_is_brought_back_through_the_gate() {
    for place in places() {
        place.write("tests/__init__.py", "");
        place.write("tests/test_one.py", WRITES);
        let (status, ran) = place.call("run_tests", &json!({ "runner": "unittest" }));
        assert_eq!(status, 0, "{ran}");
        let call = ran["structured"]["workspace_changes"]["not_kept"]["call"].as_str().unwrap().to_owned();
        assert!(ran["text"].as_str().unwrap().contains(&call), "the text names it too: {ran}");
        assert!(!place.workspace().join("snap").exists());
        let (status, kept) = place.call("keep_changes", &json!({ "call": call, "paths": ["snap/**", ".envrc"] }));
        assert_eq!((status, place.read("snap/a.txt").as_str()), (3, "made"), "{kept}");
        assert!(!place.workspace().join(".envrc").exists(), "protected paths wait all the same: {kept}");
        let again = json!({ "call": call, "paths": ["snap/**", ".envrc", "nothing/*"] });
        let (status, kept) = place.call("keep_changes", &again);
        assert_eq!((status, &kept["structured"]["already_there"]), (0, &json!([".envrc", "snap/a.txt"])), "{kept}");
        let told = kept["text"].as_str().unwrap();
        assert!(
            told.contains(
                "There already as the run wrote it, in the workspace or held (list_changes):\n  .envrc\n  snap/a.txt"
            ),
            "{told}"
        );
        assert!(told.contains("Nothing that the run changed matches `nothing/*`."), "{told}");
        let (status, unknown) = place.call("keep_changes", &json!({ "call": "other", "paths": ["*"] }));
        assert_eq!(status, 1, "{unknown}");
    }
}

#[test]
fn a_draft_waits_outlives_its_server_and_lands_when_a_person_says_so() {
    for place in places() {
        let policy = place.all().join("draft.toml");
        fs::write(&policy, "version = 1\n[limits]\nmode = \"draft\"\n").unwrap();
        let policy = ["--policy", policy.to_str().unwrap()];
        let call = |tool: &str, arguments: Value| {
            let output = place.run(&[&["call", tool, &arguments.to_string()][..], &policy].concat());
            (output.status.code(), text(&output))
        };
        let (status, written) = call("write_file", json!({ "path": "notes.txt", "content": "draft\n" }));
        assert!(status == Some(3) && written.contains("draft"), "{written}");
        assert_eq!(place.read("notes.txt"), FILES[0].1);
        // Each call is a server of its own.
        assert!(call("read_file", json!({ "path": "notes.txt" })).1.contains("draft"));
        let (status, edited) =
            call("edit_file", json!({ "path": "notes.txt", "old_string": "draft", "new_string": "second draft" }));
        assert_eq!(status, Some(3), "{edited}");
        let shown = json_of(&place, &["changes", "diff", "--json"]);
        assert!(shown[0]["diff"].as_str().unwrap().contains("-two\n+second draft"), "{shown}");
        let apply = place.run(&["changes", "apply", "--all"]);
        assert!(apply.status.success(), "{}", text(&apply));
        assert_eq!(place.read("notes.txt"), "second draft\n");
    }
}

#[test]
fn a_read_only_workspace_refuses_what_would_change_it_and_nothing_else() {
    for place in places() {
        let policy = place.all().join("read-only.toml");
        fs::write(&policy, "version = 1\n[limits]\nmode = \"read_only\"\n").unwrap();
        let call = |tool: &str, arguments: Value| {
            let output = place.run(&["call", tool, &arguments.to_string(), "--policy", policy.to_str().unwrap()]);
            (output.status.code(), text(&output))
        };
        let (status, refused) = call("write_file", json!({ "path": "notes.txt", "content": "x" }));
        assert!(status == Some(1) && refused.contains("read_only"), "{refused}");
        assert_eq!(call("read_file", json!({ "path": "notes.txt" })).0, Some(0));
        place.write("tests/__init__.py", "");
        place.write("tests/test_one.py", WRITES);
        let (status, ran) = call("run_tests", json!({ "runner": "unittest" }));
        assert_eq!(status, Some(0), "{ran}");
        assert_eq!(call("run_tests", json!({ "runner": "unittest", "keep": ["snap/**"] })).0, Some(1));
        assert!(!place.workspace().join("snap").exists());
    }
}

#[test]
fn an_order_that_is_printed_is_about_what_was_shown() {
    for place in places() {
        let write = |path: &str, session: &str| {
            let arguments = json!({ "path": path, "content": "registry=https://example.invalid\n" }).to_string();
            place.run(&["call", "write_file", &arguments, "--session", session])
        };
        write(".envrc", "default");
        write(".npmrc", "two");
        let list = text(&place.run(&["changes", "list", "--session", "two"]));
        let order = "`cofferdam changes apply --session two --generation two:1 --all` applies exactly this";
        assert!(list.contains(".npmrc") && list.contains(order), "{list}");
        // Without the session it is about what nobody looked at, though the number is the same.
        for wrong in [&["--generation", "two:1"][..], &["--generation", "1", "--session", "two"]] {
            for deed in ["apply", "discard"] {
                let refused = place.run(&[&["changes", deed, "--all"][..], wrong].concat());
                assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
                assert!(text(&refused).contains("nothing was done"), "{}", text(&refused));
            }
        }
        assert!(!place.workspace().join(".envrc").exists() && !place.workspace().join(".npmrc").exists());
        // From elsewhere, the order says which workspace.
        let workspace = place.workspace().to_string_lossy().into_owned();
        let elsewhere = |arguments: &[&str]| {
            place.cofferdam().current_dir("/").args(["--workspace", &workspace]).args(arguments).output().unwrap()
        };
        let list = text(&elsewhere(&["changes", "list"]));
        let order = format!("`cofferdam changes apply --workspace {workspace} --generation 1 --all`");
        assert!(list.contains(&order), "{list}");
        // And which policy says what must be named.
        let policy = place.home().join("other policy.toml");
        std::fs::write(&policy, "version = 1\n").unwrap();
        let list = text(&place.run(&["changes", "list", "--policy", policy.to_str().unwrap()]));
        let order = format!("`cofferdam changes apply --policy '{}' --generation 1 --all`", policy.display());
        assert!(list.contains(&order), "{list}");
        let applied = place.run(&["changes", "apply", "--session", "two", "--generation", "two:1", "--all"]);
        assert!(applied.status.success(), "{}", text(&applied));
        let undo = text(&applied);
        assert!(undo.contains("`cofferdam changes undo --session two apply-"), "{undo}");
        assert!(place.workspace().join(".npmrc").exists() && !place.workspace().join(".envrc").exists());
    }
}

#[test]
fn an_undo_of_a_file_with_credentials_is_printed_with_its_name() {
    for place in places() {
        place.write(".env", "TOKEN=a8f5f167f44f4964e6c998dee827110c\n");
        let edit = json!({ "path": ".env", "old_string": "TOKEN=", "new_string": "LEVEL=2\nTOKEN=" });
        place.call("edit_file", &edit);
        let applied = text(&place.run(&["changes", "apply", ".env"]));
        let order = applied.split('`').nth(1).unwrap_or_else(|| panic!("{applied}"));
        let words: Vec<&str> = order.split(' ').skip(1).collect();
        assert_eq!(words.last(), Some(&".env"), "{applied}");
        let unnamed = place.run(&words[..words.len() - 1]);
        assert_eq!(unnamed.status.code(), Some(3), "{}", text(&unnamed));
        assert!(text(&unnamed).contains(order) && !text(&unnamed).contains("other"), "{}", text(&unnamed));
        let undone = place.run(&words);
        assert!(undone.status.success() && place.read(".env").starts_with("TOKEN="), "{}", text(&undone));
    }
}

#[test]
fn a_repository_is_only_removed_by_an_order_that_names_it() {
    for place in places() {
        let git = |arguments: &[&str]| assert!(place.program("git").args(arguments).status().unwrap().success());
        git(&["init", "--quiet"]);
        place.call("delete_file", &json!({ "path": ".git" }));
        let list = text(&place.run(&["changes", "list"]));
        assert!(list.contains("deletes the repository itself") && list.contains("by its very name"), "{list}");
        let all = place.run(&["changes", "apply", "--all"]);
        assert_eq!(all.status.code(), Some(3), "{}", text(&all));
        assert!(place.workspace().join(".git/HEAD").exists(), "{}", text(&all));
        let named = place.run(&["changes", "apply", ".git"]);
        assert!(named.status.success() && !place.workspace().join(".git").exists(), "{}", text(&named));
    }
}

#[test]
fn a_repository_in_a_folder_is_only_removed_by_an_order_that_names_it() {
    for place in places() {
        let git = |arguments: &[&str]| assert!(place.program("git").args(arguments).status().unwrap().success());
        git(&["init", "--quiet", "sub"]);
        place.call("delete_file", &json!({ "path": "sub" }));
        let list = text(&place.run(&["changes", "list"]));
        assert!(list.contains("names sub/.git too") && list.contains("by its very name"), "{list}");
        let all = place.run(&["changes", "apply", "--all"]);
        assert!(all.status.code() == Some(3) && place.workspace().join("sub/.git/HEAD").exists(), "{}", text(&all));
        let named = place.run(&["changes", "apply", "sub", "sub/.git"]);
        assert!(named.status.success() && !place.workspace().join("sub").exists(), "{}", text(&named));
    }
}
