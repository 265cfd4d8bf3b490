//! The policy's layers and commands, on the built binary: who may say what, and what a person is told.

use std::{fs, os::unix::fs::symlink, process::Output};

use serde_json::{Value, json};

use crate::harness::{Era, Place, Server, repository};

const FILES: [(&str, &str); 3] = [("notes.txt", "one\n"), ("src/lib.rs", "pub fn one() {}\n"), ("tests/a.rs", "\n")];

/// A rule of a repository's file.
const NO_TESTS: &str = "version = 1\n[[rule]]\nid = \"keep-tests\"\ntools = [\"delete_file\"]\ndecision = \"deny\"\n\
    when = { path = { prefix = \"tests\" } }\nwhy = \"Tests are mended.\"\n\
    match = [{ tool = \"delete_file\", args = { path = \"tests/a.rs\" } }]\n";

fn place() -> Place {
    Place::with(&FILES)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs the product and gives its status and all that it says.
fn run(place: &Place, arguments: &[&str]) -> (Option<i32>, String) {
    let output = place.run(arguments);
    (output.status.code(), text(&output))
}

/// Writes a file beside the workspace and gives its path.
fn beside(place: &Place, name: &str, text: &str) -> String {
    let path = place.all().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_repositorys_file_narrows_and_whatever_asks_for_more_names_both_lines() {
    let place = place();
    place.policy("version = 1\n[limits]\nmemory_mb = 2000\nnetwork = \"off\"\n");
    place.write(".cofferdam.toml", NO_TESTS);
    let (status, refused) = place.call("delete_file", &json!({ "path": "tests/a.rs" }));
    assert_eq!((status, &refused["code"]), (1, &json!("denied")), "{refused}");
    assert!(
        refused["text"].as_str().unwrap().contains("keep-tests") && !refused.to_string().contains("/project/."),
        "{refused}"
    );
    assert_eq!(place.call("read_file", &json!({ "path": "notes.txt" })).0, 0);
    for (more, line) in [
        ("[limits]\nmemory_mb = 2001\n", ":3: [limits] memory_mb = 2001 asks for more than"),
        ("[limits]\nnetwork = \"registry\"\n", ":3: [limits] network"),
        ("[limits]\nregistries = [\"npm\"]\n", ":3: [limits] registries"),
        ("[env]\nA = \"1\"\n", ":3: [env] A adds a variable"),
        (
            "[[rule]]\nid = \"a\"\ntools = [\"run_tests\"]\ndecision = \"allow\"\nwhy = \"x\"\nmatch = [{ tool = \"run_tests\" }]\n",
            ":5: a rule that allows belongs into the operator's policy",
        ),
    ] {
        place.write(".cofferdam.toml", &format!("version = 1\n{more}"));
        for command in [&["policy", "check"][..], &["call", "list_files"]] {
            let (status, told) = run(&place, command);
            assert_eq!(status, Some(2), "{told}");
            assert!(told.contains(&format!(".cofferdam.toml{line}")), "{told}");
        }
    }
    place.write(".cofferdam.toml", "version = 1\n[limits]\nmemory_mb = 2001\n");
    let (_, told) = run(&place, &["policy", "check"]);
    assert!(told.contains("config/cofferdam/policy.toml:3 allows: at most 2000"), "{told}");
}

#[test]
fn a_repositorys_file_that_is_gone_refuses_every_call_until_a_person_accepts() {
    let place = place();
    place.write(".cofferdam.toml", NO_TESTS);
    assert_eq!(run(&place, &["call", "list_files"]).0, Some(0));
    fs::remove_file(place.workspace().join(".cofferdam.toml")).unwrap();
    for _ in 0..2 {
        let (status, told) = run(&place, &["call", "list_files"]);
        assert!(status == Some(2) && told.contains("cofferdam policy accept"), "{told}");
    }
    let mut server = Server::start(&place, Era::Stateless);
    let called = server.call("list_files", json!({}));
    assert!(called.is_error && called.text.contains("was there and is gone"), "{}", called.whole);
    server.end();
    assert_eq!(run(&place, &["policy", "accept"]).0, Some(0));
    let log = run(&place, &["audit", "show"]).1;
    assert!(log.contains("accepted") && log.contains("you: accept"), "{log}");
    assert_eq!(run(&place, &["call", "list_files"]).0, Some(0));
}

#[test]
fn a_repositorys_file_that_is_a_link_is_not_read() {
    let place = place();
    let outside = beside(&place, "policy-elsewhere.toml", "version = 1\n");
    symlink(outside, place.workspace().join(".cofferdam.toml")).unwrap();
    let (status, told) = run(&place, &["call", "list_files"]);
    assert!(status == Some(2) && told.contains("it is a link"), "{told}");
}

#[test]
fn an_agent_that_changes_or_deletes_the_policy_changes_nothing() {
    // P30
    let place = place();
    place.write(".cofferdam.toml", NO_TESTS);
    let mut server = Server::start(&place, Era::Stateless);
    let refused = |server: &mut Server| {
        let called = server.call("delete_file", json!({ "path": "tests/a.rs" }));
        assert!(called.is_error && called.text.contains("keep-tests"), "{}", called.whole);
    };
    refused(&mut server);
    let written = server.call("write_file", json!({ "path": ".cofferdam.toml", "content": "version = 1\n" }));
    assert!(written.text.contains("Held for a person"), "{}", written.whole);
    refused(&mut server);
    let deleted = server.call("delete_file", json!({ "path": ".cofferdam.toml" }));
    assert!(deleted.text.contains("Held for a person") || deleted.is_error, "{}", deleted.whole);
    let moved = server.call("move_file", json!({ "source": ".cofferdam.toml", "destination": "x.toml" }));
    assert!(moved.text.contains("eld for a person") || moved.is_error, "{}", moved.whole);
    refused(&mut server);
    server.end();
    assert_eq!(place.read(".cofferdam.toml"), NO_TESTS);
    // Nor for the next session, whose view holds the agent's version.
    let mut server = Server::start(&place, Era::Stateless);
    refused(&mut server);
    server.end();
}

#[test]
fn a_running_server_takes_a_changed_policy_and_refuses_with_the_line_of_an_invalid_one() {
    let place = place();
    place.policy("version = 1\n");
    let mut server = Server::start(&place, Era::Stateless);
    let mut read = |expected: Option<&str>| {
        let called = server.call("read_file", json!({ "path": "notes.txt" }));
        assert_eq!(called.is_error, expected.is_some(), "{}", called.whole);
        if let Some(part) = expected {
            assert!(
                called.text.contains(part) && !called.text.contains(place.all().to_str().unwrap()),
                "{}",
                called.whole
            );
        }
        called.whole["_meta"]["cofferdam/call"]["policy_sha256"].as_str().unwrap().to_owned()
    };
    let first = read(None);
    let deny = "version = 1\n[[rule]]\nid = \"no-reading\"\ntools = [\"read_file\"]\ndecision = \"deny\"\nwhy = \"x\"\n\
                match = [{ tool = \"read_file\" }]\n";
    place.policy(deny);
    let second = read(Some("no-reading"));
    assert_ne!(first, second);
    place.policy("version = 1\nnonsense = 1\n");
    assert_eq!(read(Some("policy.toml:2: unknown field `nonsense`")), "");
    place.policy("version = 1\n");
    assert_eq!(read(None), first);
    server.end();
    assert!(place.run(&["audit", "verify"]).status.success());
}

#[test]
fn flags_only_take_away() {
    let place = place();
    let read = "{\"path\":\"notes.txt\"}";
    let with = |flags: &[&str]| run(&place, &[&["call", "read_file", read][..], flags].concat());
    assert_eq!(with(&["--limit", "memory_mb=512", "--protect", "docs/**"]).0, Some(0));
    let (status, told) = with(&["--deny", "read_file"]);
    assert!(status == Some(1) && told.contains("command-line"), "{told}");
    let (status, told) = with(&["--limit", "memory_mb=9999999"]);
    assert!(status == Some(2) && told.contains("asks for more than builtin:"), "{told}");
    let (status, told) = with(&["--limit", "memory=1"]);
    assert!(status == Some(2) && told.contains("memory_mb"), "{told}");
    let write = json!({ "path": "notes.txt", "content": "two\n" }).to_string();
    let (status, told) = run(&place, &["call", "write_file", &write, "--limit", "write="]);
    assert!(status == Some(1) && told.contains("[limits] write allows only nothing"), "{told}");
    assert_eq!(place.read("notes.txt"), "one\n");
    // What is more than the operator's file allows is known when that is read.
    place.policy("version = 1\n[limits]\nmemory_mb = 1000\n");
    let (status, told) = with(&["--protect", "a/**", "--limit", "pids=64", "--limit", "memory_mb=2000"]);
    assert!(status == Some(2) && told.contains("--limit memory_mb: [limits] memory_mb = 2000 asks for more"), "{told}");
}

#[test]
fn a_held_change_says_which_list_holds_it() {
    let place = place();
    place.policy("version = 1\n[protect]\npaths = [\"docs/**\"]\n");
    let told = |path: &str| {
        let (status, written) = place.call("write_file", &json!({ "path": path, "content": "x\n" }));
        assert_eq!(status, 3, "{written}");
        written["text"].as_str().unwrap().to_owned()
    };
    assert!(told(".envrc").contains("protected by .envrc, which is built in"), "{}", told(".envrc"));
    assert!(told("docs/a.md").contains("docs/** of [protect]"), "{}", told("docs/a.md"));
}

#[test]
fn the_policy_is_shown_as_people_wrote_it_until_there_is_one_of_theirs() {
    let place = place();
    let builtin = run(&place, &["policy", "show"]).1;
    assert_eq!(builtin, fs::read_to_string(repository::folder().join("policy/src/builtin.toml")).unwrap());
    assert!(builtin.lines().count() <= 45);
    place.policy("version = 1\n[limits]\npids = 77\n");
    assert!(run(&place, &["policy", "show"]).1.contains("pids         = 77"));
    assert_eq!(run(&place, &["policy", "show", "--builtin"]).1, builtin);
}

#[test]
fn an_explanation_names_layer_line_conditions_grants_and_the_nearest_call_that_is_allowed() {
    let place = place();
    place.policy("version = 1\n[limits]\nwrite = [\"src/**\", \"tests/**\"]\n");
    place.write(".cofferdam.toml", NO_TESTS);
    let explain = |call: Value| run(&place, &["policy", "explain", &call.to_string()]);
    let (status, told) = explain(json!({ "tool": "delete_file", "args": { "path": "tests/a.rs" } }));
    assert_eq!(status, Some(1), "{told}");
    for part in [
        "refused by the rule `keep-tests`: Tests are mended.",
        "allowed instead: the same with another `path`",
        "decides deny `keep-tests`  repository .cofferdam.toml:2",
        "true: path = { prefix = \"tests\" }, and the call has \"tests/a.rs\"",
        "does not decide allow `everyday`  builtin builtin:",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (status, told) = explain(json!({ "tool": "delete_file", "args": { "path": "src/lib.rs" } }));
    assert!(
        status == Some(0) && told.contains("allowed by the rule `everyday`") && told.contains("grants: no network"),
        "{told}"
    );
    assert!(told.contains("false: path"), "{told}");
    let (status, told) = explain(json!({ "tool": "delete_file", "args": { "path": "notes.txt" } }));
    assert!(
        status == Some(1) && told.contains("by no rule") && told.contains("allowed instead: changes inside"),
        "{told}"
    );
    assert!(told.contains("config/cofferdam/policy.toml:3"), "the limit's line: {told}");
    for call in [json!({ "tool": "nothing" }), json!({ "tool": "delete_file", "args": { "paht": 1 } }), json!([])] {
        assert_eq!(explain(call.clone()).0, Some(2), "{call}");
    }
}

#[test]
fn golden_calls_must_hold_and_hit_every_rule() {
    let place = place();
    place.policy(NO_TESTS);
    let test = |text: &str| run(&place, &["policy", "test", &beside(&place, "golden.toml", text)]);
    let hit = "[[call]]\ntool = \"delete_file\"\nargs = { path = \"tests/a.rs\" }\ndecision = \"deny\"\nrule = \"keep-tests\"\n";
    let (status, told) = test(hit);
    assert!(status == Some(0) && told.contains("1 of 1 calls as wanted; 1 of 1 rules hit"), "{told}");
    let (status, told) = test(&hit.replace("\"deny\"", "\"allow\""));
    assert!(status == Some(1) && told.contains("decision is deny, wanted allow"), "{told}");
    let (status, told) = test(
        "[[call]]\ntool = \"run_tests\"\ndecision = \"allow\"\nrule = \"everyday\"\nnetwork = \"off\"\nlane = \"routine\"\n",
    );
    assert!(status == Some(1) && told.contains("no call hits the rule `keep-tests`"), "{told}");
    let (status, told) = test(&format!("{hit}network = \"registry\"\n"));
    assert!(status == Some(1) && told.contains("network is at most off, wanted registry"), "{told}");
    for broken in
        ["", "[[call]]\ntool = \"nothing\"\ndecision = \"deny\"\n", "[[call]]\ntool = \"run_tests\"\n", "x = 1\n"]
    {
        assert_eq!(test(broken).0, Some(2), "{broken}");
    }
}

#[test]
fn a_difference_lists_what_is_answered_otherwise_and_fails_where_it_widens() {
    let place = place();
    let none = beside(&place, "none.toml", "version = 1\n");
    let rule = beside(&place, "rule.toml", NO_TESTS);
    let (status, told) = run(&place, &["policy", "diff", &none, &rule]);
    assert!(status == Some(0) && told.contains("narrowed delete_file with path below \"tests/\""), "{told}");
    let (status, told) = run(&place, &["policy", "diff", &rule, &none]);
    assert!(status == Some(3) && told.contains("widened delete_file"), "{told}");
    assert_eq!(run(&place, &["policy", "diff", &rule, &rule]), (Some(0), "every call is answered alike\n".to_owned()));
    for (setting, status) in [
        ("[limits]\npids = 100", 0),
        ("[protect]\npaths = [\"a\"]", 0),
        ("require = [\"memory\"]", 0),
        ("[env]\nA = \"1\"", 3),
        ("[limits]\nregistries = [\"npm\"]", 3),
    ] {
        let one = beside(&place, "one.toml", &format!("version = 1\n{setting}\n"));
        assert_eq!(run(&place, &["policy", "diff", &none, &one]).0, Some(status), "{setting}");
        assert_eq!(run(&place, &["policy", "diff", &one, &none]).0, Some(3 - status), "{setting}");
    }
    // A repository's file is judged as one.
    let allow = beside(
        &place,
        "allow.toml",
        "version = 1\n[[rule]]\nid = \"a\"\ntools = [\"run_tests\"]\ndecision = \"allow\"\nwhy = \"x\"\nmatch = [{ tool = \"run_tests\" }]\n",
    );
    assert_eq!(run(&place, &["policy", "diff", &none, &allow]).0, Some(0));
    assert_eq!(run(&place, &["policy", "diff", "--as", "repository", &none, &allow]).0, Some(2));
    assert_eq!(run(&place, &["policy", "diff", "--as", "repository", &rule, &none]).0, Some(3));
}

#[test]
fn a_replay_judges_the_recorded_calls_anew() {
    let place = place();
    let state = place.state();
    place.call("delete_file", &json!({ "path": "tests/a.rs" }));
    place.call("write_file", &json!({ "path": "src/b.rs", "content": "secret words\n" }));
    place.call("read_file", &json!({ "path": "../x" }));
    let replay = |candidate: &str, log: Option<&str>| {
        let candidate = beside(&place, "candidate.toml", candidate);
        run(&place, &[&["policy", "replay", "--candidate", &candidate][..], log.as_slice()].concat())
    };
    let (status, told) = replay(NO_TESTS, None);
    assert!(status == Some(0) && told.contains("allow → deny, rule keep-tests"), "{told}");
    assert!(told.contains("3 calls: 1 answered alike, 0 widened, 1 narrowed, 0 unknown, 1 never judged"), "{told}");
    // A task that the candidate lacks.
    place.policy("version = 1\n[[task]]\nname = \"look\"\ndescription = \"Looks.\"\nargv = [\"true\"]\n");
    place.call("look", &json!({}));
    let (status, told) = replay("version = 1\n", None);
    assert!(status == Some(0) && told.contains("allow → deny, since there is no such tool"), "{told}");
    place.policy("version = 1\n");
    let content = "version = 1\n[[rule]]\nid = \"c\"\ntools = [\"write_file\"]\ndecision = \"deny\"\nwhen = { content = { prefix = \"a\" } }\n\
        why = \"x\"\nmatch = [{ tool = \"write_file\", args = { content = \"a/b\" } }]\n";
    let (status, told) = replay(content, state.to_str());
    assert!(status == Some(0) && told.contains("it depends on content, which the log does not hold"), "{told}");
    place.policy(NO_TESTS);
    fs::write(place.workspace().join("tests/a.rs"), "\n").unwrap();
    place.call("delete_file", &json!({ "path": "tests/a.rs" }));
    let (status, told) = replay("version = 1\n", state.join("audit/log.jsonl").to_str());
    assert!(status == Some(3) && told.contains("deny → allow, rule everyday"), "{told}");
}

#[test]
fn init_writes_a_policy_that_is_right_and_overwrites_nothing() {
    let place = place();
    place.write("Cargo.toml", "[package]\nname = \"a\"\n");
    place.write("migrations/1.sql", "\n");
    let (status, told) = run(&place, &["init", "--dry-run"]);
    assert!(status == Some(0) && !place.workspace().join(".cofferdam.toml").exists(), "{told}");
    let (status, told) = run(&place, &["init"]);
    assert!(status == Some(0) && told.contains("Rust (cargo)") && told.contains("cofferdam policy check"), "{told}");
    let written = place.read(".cofferdam.toml");
    assert!(written.contains("migrations/**") && written.contains("no-deleting-tests"), "{written}");
    let (status, told) = run(&place, &["policy", "check"]);
    assert!(status == Some(0) && told.contains("right sha256") && !told.contains("warning"), "{told}");
    assert_eq!(run(&place, &["init"]).0, Some(1));
    assert_eq!(place.read(".cofferdam.toml"), written);
    let (status, told) = run(&place, &["init", "--operator"]);
    let own = place.all().join("config/cofferdam/policy.toml");
    assert!(status == Some(0) && fs::read_to_string(&own).unwrap().contains("RUST_BACKTRACE"), "{told}");
    // Both together.
    let (status, told) = run(&place, &["policy", "check"]);
    assert!(status == Some(0) && !told.contains("warning"), "{told}");
    assert_eq!(run(&place, &["call", "list_files"]).0, Some(0));
}

#[test]
fn the_example_policies_give_no_warning_and_the_careful_teams_golden_calls_hold() {
    let place = place();
    let examples = repository::folder().join("examples");
    for name in ["careful-team", "look-only", "strict-budgets"] {
        let file = examples.join(format!("policies/{name}.toml"));
        let (status, told) = run(&place, &["policy", "check", "--policy", file.to_str().unwrap()]);
        assert!(status == Some(0) && !told.contains("warning"), "{told}");
    }
    let (golden, policy) =
        (examples.join("policy-tests/careful-team.toml"), examples.join("policies/careful-team.toml"));
    let (status, told) =
        run(&place, &["policy", "test", golden.to_str().unwrap(), "--policy", policy.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{told}");
}
