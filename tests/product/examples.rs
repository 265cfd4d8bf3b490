//! Every example is run or read by a test: samples, policies, client entries.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::harness::{Era, Person, Place, Server, repository};

fn folder(name: &str) -> PathBuf {
    repository::folder().join("examples").join(name)
}

fn files(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Runs a call under one of the example policies.
fn call_under(policy: &str, place: &Place, tool: &str, arguments: &Value) -> Value {
    let mut command = place.cofferdam();
    command.args(["call", tool, &arguments.to_string(), "--json", "--policy"]).arg(folder("policies").join(policy));
    let output = command.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn the_rust_sample_passes_through_the_readmes_command() {
    for person in Person::everyone() {
        let place = Place::of(person).copying(&folder("sample"));
        let output = place.run(&["call", "run_tests", "--workspace", "."]);
        let (text, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}\n{notes}");
        // The result, and how it came to be: rule, isolation, time.
        assert!(text.contains("9 passed"), "{text}");
        for part in ["rule everyday", "namespace sandbox, no network", " ms"] {
            assert!(notes.contains(part), "{part:?} is missing: {notes}");
        }
    }
}

#[test]
fn the_python_sample_passes() {
    for person in Person::everyone() {
        let place = Place::of(person).copying(&folder("sample-python"));
        let (status, value) = place.call("run_tests", &json!({}));
        assert_eq!(status, 0, "{value}");
        assert_eq!(
            (&value["structured"]["counts"]["passed"], &value["structured"]["counts"]["skipped"]),
            (&json!(4), &json!(1)),
            "{value}"
        );
    }
}

#[test]
fn every_policy_loads_and_its_own_examples_hold() {
    let place = Place::new();
    for file in files("policies") {
        let output = place.run(&["policy", "check", "--policy", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_policy_in_the_readme_loads() {
    let place = Place::new();
    let readme = fs::read_to_string(repository::folder().join("README.md")).unwrap();
    let policies: Vec<&str> = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(policies.len() >= 3 && policies.iter().any(|policy| policy.contains("[[task]]")), "{policies:?}");
    for policy in policies {
        place.policy(policy);
        let output = place.run(&["policy", "check"]);
        assert!(output.status.success(), "{policy}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_careful_teams_policy_keeps_agents_in_their_folders() {
    let place = Place::with(&[("src/lib.rs", "\n"), ("tests/parser.rs", "\n"), ("migrations/1.sql", "\n")]);
    let call = |tool, arguments| call_under("careful-team.toml", &place, tool, &arguments);
    assert_eq!(call("write_file", json!({ "path": "src/new.rs", "content": "\n" }))["ok"], true);
    assert_eq!(call("write_file", json!({ "path": "Cargo.toml", "content": "\n" }))["code"], "denied");
    let refused = call("delete_file", json!({ "path": "tests/parser.rs" }));
    assert!(refused["text"].as_str().unwrap().contains("no-deleting-tests"), "{refused}");
    assert!(place.workspace().join("tests/parser.rs").exists());
}

#[test]
fn the_look_only_policy_changes_nothing() {
    let place = Place::with(&[("notes.txt", "one\n")]);
    let before = place.tree();
    let call = |tool, arguments| call_under("look-only.toml", &place, tool, &arguments);
    assert_eq!(call("format", json!({}))["code"], "denied");
    assert_eq!(call("lint", json!({ "mode": "fix" }))["code"], "denied");
    assert_eq!(call("build", json!({ "export": ["dist/**"] }))["code"], "denied");
    assert_eq!(call("lint", json!({}))["code"], "no_tool", "looking is allowed");
    assert_eq!(call("read_file", json!({ "path": "notes.txt" }))["ok"], true);
    assert_eq!(
        call("edit_file", json!({ "path": "notes.txt", "old_string": "one", "new_string": "1" }))["code"],
        "denied"
    );
    assert_eq!(place.tree(), before);
}

#[test]
fn strict_budgets_are_enforced_or_refused_and_never_less() {
    let place = Place::with(&[("notes.txt", "one\n")]);
    let answer = call_under("strict-budgets.toml", &place, "read_file", &json!({ "path": "notes.txt" }));
    if answer["ok"] == true {
        let memory = &answer["facts"]["sandbox"]["guarantees"]["memory"];
        assert_eq!(memory["strength"], "enforced", "{answer}");
    } else {
        assert_eq!(answer["code"], "sandbox_unavailable", "{answer}");
        assert!(answer["text"].as_str().unwrap().contains("emory"), "{answer}");
    }
}

#[test]
fn client_entries_start_this_server_on_a_named_workspace() {
    let place = Place::with(&[("notes.txt", "one\n")]);
    for file in files("clients") {
        let text = fs::read_to_string(&file).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let servers = value.get("mcpServers").or_else(|| value.get("servers")).unwrap();
        let entry = &servers["cofferdam"];
        assert!(entry["command"].as_str().unwrap().ends_with("cofferdam"), "{}", file.display());
        // As the client does it: placeholders filled, then started.
        place.policy("version = 1\n");
        let mut command: Command = place.cofferdam();
        for argument in entry["args"].as_array().unwrap() {
            let argument = argument
                .as_str()
                .unwrap()
                .replace("/absolute/path/to/your/project", place.workspace().to_str().unwrap())
                .replace("${workspaceFolder}", place.workspace().to_str().unwrap())
                .replace("${CLAUDE_PROJECT_DIR:-.}", place.workspace().to_str().unwrap())
                .replace("${HOME}/.config", place.all().join("config").to_str().unwrap());
            assert!(!argument.contains("${"), "{}: {argument}", file.display());
            command.arg(argument);
        }
        let mut server = Server::from(command, Era::Handshake);
        server.open();
        assert!(!server.call("read_file", json!({ "path": "notes.txt" })).is_error, "{}", file.display());
        server.end();
    }
}
