//! Credentials in the workspace, as an agent meets them: in every tool's answer, and in what a person sees of its changes.

use std::fs;

use serde_json::{Value, json};

use crate::{
    git::{ask, commit, git, repository, write},
    harness::{Person, Place},
};

/// A value that a masked file holds. Put together, so that no scanner of repositories finds one here.
fn value() -> String {
    ["s3cr3t", "0123456789", "value"].join("-")
}

fn token() -> String {
    format!("ghp_{}", "a1B2".repeat(9))
}

const TESTS: &str = "import os, unittest\n\n\nclass One(unittest.TestCase):\n    def test_one(self):\n        \
                     text = open('.env').read()\n        print('seen', text, open('leak.txt').read())\n        \
                     self.assertIn('API_KEY=', text)\n        self.fail('shown')\n";

/// A workspace with credentials in a listed file, and the same value and a token where nobody would look for them.
fn places() -> impl Iterator<Item = Place> {
    Person::everyone().into_iter().map(|person| {
        Place::of(person).and(&[
            (".env", &format!("API_KEY={}\nDEBUG=1\n", value())),
            ("leak.txt", &format!("copied: {}\ntoken: {}\n", value(), token())),
            ("tests/__init__.py", ""),
            ("tests/test_one.py", TESTS),
        ])
    })
}

fn clean(what: &str, answer: &Value) {
    let text = answer.to_string();
    assert!(!text.contains(&value()) && !text.contains(&token()), "{what}: {text}");
}

#[test]
fn no_tool_answers_with_a_credential() {
    for place in places() {
        let (_, env) = place.call("read_file", &json!({ "path": ".env" }));
        assert!(env.to_string().contains("API_KEY=masked"), "{env}");
        clean("read_file .env", &env);
        let (_, leak) = place.call("read_file", &json!({ "path": "leak.txt" }));
        clean("read_file leak.txt", &leak);
        assert_eq!(leak["structured"]["redacted"], 2, "{leak}");
        assert!(leak["text"].as_str().unwrap().contains("2 secrets were redacted."), "{leak}");
        for include in [false, true] {
            let search =
                json!({ "pattern": "copied|API_KEY|token", "output_mode": "content", "include_ignored": include });
            clean("search_files", &place.call("search_files", &search).1);
        }
        let (status, run) = place.call("run_tests", &json!({ "runner": "unittest" }));
        clean("run_tests", &run);
        assert_eq!(status, 6, "{run}");
        assert_eq!(run["structured"]["masked_files"], json!([".env"]), "{run}");
        assert!(run.to_string().contains("API_KEY=masked"), "the test saw the masked file: {run}");
        let log = fs::read_to_string(place.state().join("audit.jsonl"))
            .or_else(|_| fs::read_to_string(place.state().join("audit/log.jsonl")));
        assert!(!log.unwrap_or_default().contains(&token()));
        // A search for a token is recorded without it.
        place.call("search_files", &json!({ "pattern": token() }));
        let shown = place.run(&["audit", "show"]);
        assert!(!String::from_utf8_lossy(&shown.stdout).contains(&token()));
    }
}

#[test]
fn a_masked_file_is_written_to_the_session_and_no_value_of_the_real_one_is_lost() {
    for place in places() {
        let real = place.read(".env");
        let edit = json!({ "path": ".env", "old_string": "DEBUG=masked", "new_string": "DEBUG=masked\nNEW=1" });
        let (status, edited) = place.call("edit_file", &edit);
        assert_eq!(status, 3, "{edited}");
        assert!(edited.to_string().contains("without the values"), "{edited}");
        let (_, seen) = place.call("read_file", &json!({ "path": ".env" }));
        assert!(seen.to_string().contains("NEW=1"), "{seen}");
        let run = |arguments: &[&str]| {
            let output = place.run(arguments);
            let text = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8_lossy(&text).into_owned())
        };
        let (_, diff) = run(&["changes", "diff"]);
        assert!(diff.contains("+NEW=1") && diff.contains("API_KEY=masked") && !diff.contains(&value()), "{diff}");
        let (status, told) = run(&["changes", "apply", "--all"]);
        assert_eq!((status, place.read(".env")), (Some(3), real.clone()), "{told}");
        // By its name: the new line goes into the real file, and each line of that stays.
        let (status, told) = run(&["changes", "apply", ".env"]);
        assert!(status == Some(0) && !told.contains(&value()), "{told}");
        let merged = place.read(".env");
        let without: String = merged.split_inclusive('\n').filter(|line| line.trim_end() != "NEW=1").collect();
        assert!(merged.contains("NEW=1\n") && without == real, "{merged}");
        let real = merged;
        let (status, delete) = place.call("delete_file", &json!({ "path": ".env" }));
        assert_eq!((status, place.read(".env")), (3, real.clone()), "{delete}");
        run(&["changes", "discard", "--all"]);
        assert_eq!(place.read(".env"), real);
    }
}

#[test]
fn a_mark_cannot_be_written_over_the_secret_that_it_stands_for() {
    let place = places().next().unwrap();
    let (_, leak) = place.call("read_file", &json!({ "path": "leak.txt" }));
    let shown = leak["text"].as_str().unwrap();
    let mark = &shown[shown.find("[cofferdam").unwrap()..];
    let mark = &mark[..=mark.find(']').unwrap()];
    let (status, refused) = place.call("write_file", &json!({ "path": "leak.txt", "content": format!("x {mark}") }));
    assert!(status != 0 && refused.to_string().contains("stands for a secret"), "{refused}");
    assert!(place.read("leak.txt").contains(&token()));
}

#[test]
fn the_operator_chooses_what_is_seen() {
    let place = places().next().unwrap();
    let reads = || place.call("read_file", &json!({ "path": ".env" }));
    place.policy("version = 1\n[secrets]\nfiles = \"absent\"\n");
    let (status, absent) = reads();
    assert!(status == 1 && absent.to_string().contains("does not exist"), "{absent}");
    place.policy("version = 1\n[secrets]\nallow = [\".env\"]\n");
    let (status, allowed) = reads();
    assert!(status == 0 && allowed.to_string().contains(&value()), "{allowed}");
    place.policy("version = 1\n[secrets]\npaths = [\"leak.*\"]\n");
    let (_, added) = place.call("read_file", &json!({ "path": "leak.txt" }));
    assert!(added.to_string().contains("masked by cofferdam"), "{added}");
    place.policy("version = 1\n[secrets]\nallow = [\"*.env\"]\n");
    assert_eq!(place.run(&["policy", "check"]).status.code(), Some(2));
}

#[test]
fn answers_about_the_session_and_refusals_pass_the_redactor_too() {
    for place in places() {
        let path = format!(".github/workflows/{}-{}.yml", value(), token());
        let (status, written) = place.call("write_file", &json!({ "path": path, "content": "on: push\n" }));
        assert_eq!(status, 3, "{written}");
        clean("write_file", &written);
        let (_, listed) = place.call("list_changes", &json!({}));
        clean("list_changes", &listed);
        assert_eq!(listed["structured"]["total"], 1, "{listed}");
        assert!(listed["text"].as_str().unwrap().contains("[cofferdam: redacted"), "{listed}");
        for (tool, arguments) in [
            (token(), json!({})),
            ("read_file".to_owned(), json!({ "path": token() })),
            ("read_file".to_owned(), json!({ "path": format!("/{}", token()) })),
            ("get_run".to_owned(), json!({ "run_id": token() })),
            ("keep_changes".to_owned(), json!({ "call": token() })),
        ] {
            clean(&tool, &place.call(&tool, &arguments).1);
        }
    }
}

#[test]
fn masked_files_that_git_ignores_or_keeps_elsewhere_hinder_no_commit() {
    for person in Person::everyone() {
        let place = repository(person);
        // Ignored by itself, in an ignored folder, in one that git takes although it is ignored, and not at all.
        place.write(".gitignore", ".env\n.npmrc\nlocal/\n");
        let real = format!("API_KEY={}\n", value());
        for path in [".env", "local/deep/.env", "local/taken/.env", "plain/.env.local", "[a]*?/.env.local"] {
            place.write(path, &real);
        }
        place.write(".npmrc", &format!("//registry.example/:_authToken={}\n", value()));
        place.write("plain/other.txt", "other\n");
        git(&place, &["add", "--force", ".gitignore", "local/taken/.env"]);
        // A repository in the repository has its own files.
        place.write("nested/.env", &real);
        git(&place, &["-C", "nested", "init", "--quiet"]);
        git(&place, &["-C", "nested", "add", "--all"]);
        git(&place, &["-C", "nested", "commit", "--quiet", "--message=Nested"]);
        git(&place, &["-c", "advice.addEmbeddedRepo=false", "add", "nested"]);
        git(&place, &["commit", "--quiet", "--message=Ignore"]);
        let first = git(&place, &["rev-parse", "HEAD"]);
        for arguments in [
            json!({ "message": "One", "paths": ["b.txt"] }),
            json!({ "message": "Two", "paths": ["."] }),
            json!({ "message": "Three", "paths": ["plain", "b.txt"] }),
        ] {
            write(&place, "b.txt", &arguments.to_string());
            let made = ask(&place, "git_commit", arguments.clone());
            assert!(made["files"].to_string().contains("b.txt"), "{arguments}: {made:#}");
        }
        write(&place, "b.txt", "last\n");
        let made = commit(&place, "Four");
        let changed = git(&place, &["diff", "--name-only", &first, &made]);
        assert_eq!(changed, "b.txt\nplain/other.txt");
    }
}

#[test]
fn a_change_of_a_tracked_masked_file_is_not_told_as_the_mask_alone() {
    let place = repository(Person::ordinary());
    place.write(".env", &format!("API_KEY={}\n", value()));
    git(&place, &["add", "--force", ".env"]);
    git(&place, &["commit", "--quiet", "--message=Env"]);
    let edit = json!({ "path": ".env", "old_string": "API_KEY=masked", "new_string": "API_KEY=masked\nNEW=1" });
    assert_eq!(place.call("edit_file", &edit).0, 3);
    write(&place, "a.txt", "two\n");
    for (tool, arguments) in [
        ("git_status", json!({})),
        ("git_diff", json!({})),
        ("git_diff", json!({ "path": ".env" })),
        ("git_commit", json!({ "message": "Two" })),
    ] {
        let answer = ask(&place, tool, arguments).to_string();
        assert!(answer.contains("masked here, and no commit takes"), "{tool}: {answer}");
        assert!(!answer.contains("only differs") && !answer.contains("NEW=1"), "{tool}: {answer}");
    }
    assert!(!ask(&place, "git_diff", json!({ "path": "src" })).to_string().contains("masked here"));
}
