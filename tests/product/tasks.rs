//! Tasks of the owner's policy file, from the file to the agent and back: listed, run, bounded, refused.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Era, Person, Place, Server};

/// A task that writes where it may and where it may not, and one that is sensitive.
const POLICY: &str = r#"
version = 1

[[task]]
name = "stamp"
description = "Writes a stamp into the release notes."
argv = ["./scripts/stamp", "--label={label}", "{count}", "{loud}", "--file={file}"]
write = ["notes/**"]
timeout_seconds = 60
parameters.label = { type = "text", max_length = 20, description = "The stamp." }
parameters.count = { type = "integer", minimum = 1, maximum = 3, description = "How often." }
parameters.loud = { type = "flag", word = "--loud", description = "In capitals." }
parameters.file = { type = "path", optional = true, description = "Another file." }

[[task]]
name = "deploy"
description = "Deploys."
argv = ["./scripts/stamp", "--label={where}"]
lane = "sensitive"
approvers = { min = 1, from = ["group:ops"], not_requester = true }
parameters.where = { type = "enum", values = ["staging", "prod"], description = "Where to." }
"#;

/// Prints its words one by one, writes two files, and ends with the status that its label names.
const SCRIPT: &str = "#!/bin/sh\nfor word in \"$@\"; do echo \"word: $word\"; done\nmkdir -p notes\necho stamped > \
                      notes/stamp.txt\necho other > other.txt\ncase \"$1\" in *fail*) exit 7;; esac\n";

fn place(person: &std::sync::Arc<Person>) -> Place {
    let place = Place::of(std::sync::Arc::clone(person)).and(&[("scripts/stamp", SCRIPT)]);
    let made = place.program("chmod").args(["755", "scripts/stamp"]).status().unwrap();
    assert!(made.success());
    place.policy(POLICY);
    place
}

#[test]
fn a_task_runs_with_the_chosen_words_and_hands_back_what_it_may_write() {
    for person in Person::everyone() {
        let place = place(&person);
        let arguments = json!({"label": "v1.2", "count": 2, "loud": true, "file": "../c"});
        let (status, _) = place.call("stamp", &arguments);
        assert_eq!(status, 2, "a path that climbs is no argument");
        let (status, value) = place.call("stamp", &json!({"label": "v1.2", "count": 2, "loud": true, "file": "a b"}));
        assert_eq!(status, 0, "{value}");
        let report = &value["structured"];
        let words = format!(
            "word: --label=v1.2\nword: 2\nword: --loud\nword: --file={}/a b",
            place.workspace().canonicalize().unwrap().display()
        );
        assert_eq!((&report["verdict"], &report["output"]), (&json!("passed"), &json!(words)));
        assert_eq!(value["facts"]["rule"], "task-stamp");
        assert_eq!(place.read("notes/stamp.txt"), "stamped\n");
        assert!(!place.workspace().join("other.txt").exists(), "only what `write` names comes back");
    }
}

#[test]
fn a_task_that_fails_changes_nothing_and_says_so_by_its_status() {
    let place = place(&Person::invoker());
    let (status, value) = place.call("stamp", &json!({"label": "fail", "count": 1}));
    assert_eq!(
        (status, &value["structured"]["verdict"], &value["structured"]["exit_code"]),
        (6, &json!("failed"), &json!(7))
    );
    assert!(!place.workspace().join("notes").exists());
    let told = value["text"].as_str().unwrap();
    assert!(
        told.starts_with("FAILED: ended with status 7") && told.contains("nothing that it wrote is kept"),
        "{told}"
    );
}

#[test]
fn no_argument_becomes_an_option_or_a_free_word() {
    let place = place(&Person::invoker());
    for arguments in [
        json!({"label": "--help", "count": 1}),
        json!({"label": "a b", "count": 1}),
        json!({"label": "a;id", "count": 1}),
        json!({"label": "a", "count": 0}),
        json!({"label": "a", "count": 1, "argv": ["sh"]}),
        json!({"label": "a"}),
    ] {
        let (status, value) = place.call("stamp", &arguments);
        assert_eq!((status, &value["code"]), (2, &json!("invalid_arguments")), "{arguments}: {value}");
    }
}

#[test]
fn a_sensitive_task_waits_for_a_person() {
    let place = place(&Person::invoker());
    let (status, value) = place.call("deploy", &json!({"where": "prod"}));
    assert_eq!((status, &value["code"]), (3, &json!("approval_required")), "{value}");
    let shown = place.run(&["policy", "show"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for part in ["[[task]]\nname = \"deploy\"", "id = \"task-deploy\"", "decision = \"approve\"", "id = \"task-stamp\""]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_client_sees_tasks_as_tools_with_their_own_schemas() {
    for era in [Era::Stateless, Era::Handshake] {
        let place = place(&Person::invoker());
        let mut server = Server::start(&place, era);
        let list = server.ask("tools/list", json!({}));
        let tools = list["tools"].as_array().unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert!(names.is_sorted() && names.contains(&"stamp") && names.contains(&"deploy"), "{names:?}");
        let stamp = tools.iter().find(|tool| tool["name"] == "stamp").unwrap();
        let schema = &stamp["inputSchema"];
        assert_eq!(schema["required"], json!(["count", "label"]));
        assert_eq!(
            schema["properties"]["count"],
            json!({"type": "integer", "minimum": 1, "maximum": 3, "description": "How often."})
        );
        assert_eq!(list, server.ask("tools/list", json!({})), "the list is always the same");
        let called = server.call("stamp", json!({"label": "x", "count": 1}));
        assert!(!called.is_error, "{called:?}");
    }
}

#[test]
fn a_policy_that_names_a_shell_is_refused_with_its_line() {
    let place = Place::new();
    place.policy("version = 1\n[[task]]\nname = \"x\"\ndescription = \"x\"\nargv = [\"bash\", \"-c\", \"{line}\"]\nparameters.line = { type = \"text\", description = \"x\" }\n");
    let checked = place.run(&["policy", "check"]);
    assert_eq!(checked.status.code(), Some(2));
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(told.contains("policy.toml:5") && told.contains("never a shell"), "{told}");
}

/// What a client is told of changed tools until then.
fn told_of_tools(server: &mut Server, patience: Duration) -> Option<Value> {
    let is_it = |message: &Value| message["method"] == "notifications/tools/list_changed";
    let begun = Instant::now();
    loop {
        if let Some(at) = server.told.iter().position(is_it) {
            return Some(server.told.remove(at));
        }
        server.listen(patience.checked_sub(begun.elapsed())?);
    }
}

fn lists(server: &mut Server, tool: &str) -> bool {
    let list = server.ask("tools/list", json!({}));
    list["tools"].as_array().unwrap().iter().any(|listed| listed["name"] == tool)
}

#[test]
fn a_client_is_told_of_changed_tasks_without_calling_and_of_nothing_else() {
    for era in [Era::Handshake, Era::Stateless] {
        let place = Place::with(&[("notes.txt", "one\n")]);
        place.policy("version = 1\n");
        let mut server = Server::spawn(&place, era, &[]);
        let opened = server.open();
        assert_eq!(opened["capabilities"]["tools"]["listChanged"], true, "{opened}");
        assert!(!lists(&mut server, "stamp"));
        let subscription = (era == Era::Stateless).then(|| {
            let wanted = json!({ "notifications": { "toolsListChanged": true, "promptsListChanged": true } });
            server.request("subscriptions/listen", wanted)
        });
        // Nothing that a list shows.
        place.policy("version = 1\n[limits]\npids = 500\n");
        assert_eq!(told_of_tools(&mut server, Duration::from_secs(5)), None);
        if let Some(id) = subscription {
            let acknowledged = &server.told[0];
            assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged", "{acknowledged}");
            assert_eq!(
                acknowledged["params"]["notifications"],
                json!({ "toolsListChanged": true }),
                "{acknowledged} {id}"
            );
        }
        place.policy(POLICY);
        let told = told_of_tools(&mut server, Duration::from_secs(30)).expect("it is told within a few seconds");
        if let Some(id) = subscription {
            assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], id, "{told}");
        }
        assert!(lists(&mut server, "stamp"));
        assert_eq!(told_of_tools(&mut server, Duration::from_secs(3)), None, "once");
        // A subscription that goes on keeps no server from ending with its client.
        server.close_input();
        let (status, took) = server.wait(Duration::from_secs(20)).unwrap();
        assert!(status.success() && took < Duration::from_secs(3), "{status}, {took:?}");
    }
}

#[test]
fn a_client_of_the_new_era_that_does_not_listen_is_told_nothing() {
    let place = Place::with(&[("notes.txt", "one\n")]);
    place.policy("version = 1\n");
    let mut server = Server::start(&place, Era::Stateless);
    place.policy(POLICY);
    assert!(lists(&mut server, "stamp"), "the next list has it");
    assert_eq!(told_of_tools(&mut server, Duration::from_secs(4)), None);
    server.end();
}
