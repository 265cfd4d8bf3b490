//! The pipeline with its real parts.

use std::{fs, sync::Arc};

use serde_json::json;

use super::*;
use crate::{
    audit::{Decision, End, Event, Intent, Outcome},
    playground::{Playground, request},
};

/// A policy whose only addition is `rule`.
fn policy(rule: &str) -> String {
    format!("version = 1\n[[rule]]\n{rule}\nwhy = \"A test says so.\"\n")
}

fn only_call(playground: &Playground) -> (Intent, Outcome) {
    match playground.events().as_slice() {
        [Event::Intent(intent), Event::Outcome(outcome)] => (intent.as_ref().clone(), outcome.as_ref().clone()),
        events => panic!("{events:?}"),
    }
}

fn code(reply: &Reply) -> &'static str {
    reply.result.as_ref().expect_err("a failure").code
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_call_is_announced_done_and_recorded() {
    let playground = Playground::new();
    let server = playground.server();
    let reply = playground.call(&server, "write_file", json!({ "path": "b.txt", "content": "secret words" })).await;
    assert!(reply.result.is_ok(), "{reply:?}");
    assert_eq!(fs::read_to_string(playground.path("workspace/b.txt")).unwrap(), "secret words");
    let (intent, outcome) = only_call(&playground);
    assert_eq!((intent.decision, intent.rule.as_deref()), (Decision::Allowed, reply.facts.rule.as_deref()));
    assert_eq!((intent.call, intent.client.name.as_str()), (outcome.call.clone(), "test"));
    assert_eq!((outcome.end, outcome.changes.map(|changes| changes.applied)), (End::Succeeded, Some(1)));
    assert_eq!(outcome.sandbox.unwrap().backend, "namespace");
    let log = fs::read_to_string(crate::audit::path(&playground.path("state"))).unwrap();
    assert!(!log.contains("secret words"), "contents never enter the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_call_is_recorded_and_nothing_is_opened() {
    let rule = "id = \"no-deleting\"\ntools = [\"delete_file\"]\ndecision = \"deny\"\n\
                match = [{ tool = \"delete_file\", args = { path = \"a.txt\" } }]";
    let playground = Playground::with_policy(&policy(rule));
    let server = playground.server();
    let reply = playground.call(&server, "delete_file", json!({ "path": "a.txt" })).await;
    assert_eq!(code(&reply), "denied");
    assert!(playground.path("workspace/a.txt").exists());
    let (intent, outcome) = only_call(&playground);
    assert_eq!((intent.decision, intent.rule.as_deref()), (Decision::Denied, Some("no-deleting")));
    assert_eq!((outcome.end, outcome.sandbox), (End::Refused, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_person_is_refused_while_there_is_no_approver() {
    let rule = "id = \"ask\"\ntools = [\"delete_file\"]\ndecision = \"approve\"\n\
                approvers = { min = 1, from = [\"user:ann\"], not_requester = true }\n\
                match = [{ tool = \"delete_file\", args = { path = \"a.txt\" } }]";
    let playground = Playground::with_policy(&policy(rule));
    let server = playground.server();
    let reply = playground.call(&server, "delete_file", json!({ "path": "a.txt" })).await;
    assert_eq!(code(&reply), "approval_required");
    assert!(reply.result.as_ref().unwrap_err().text.contains("no approver is configured"), "{reply:?}");
    assert_eq!(only_call(&playground).0.decision, Decision::ApprovalRequired);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_not_done() {
    let playground = Playground::new();
    let server = playground.server();
    fs::remove_file(crate::audit::path(&playground.path("state"))).unwrap();
    let reply = playground.call(&server, "write_file", json!({ "path": "b.txt", "content": "x" })).await;
    assert_eq!(code(&reply), "audit_unavailable");
    assert!(reply.result.as_ref().unwrap_err().text.starts_with("nothing was done"));
    assert!(!playground.path("workspace/b.txt").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_file_is_shown_before_the_intent_is_on_the_disk() {
    let playground = Playground::new();
    let server = playground.server();
    let run = server.log.while_nothing_reaches_the_disk(|| {
        let run = server.start(request("read_file", json!({ "path": "a.txt" })));
        let begun = std::time::Instant::now();
        // Both lines are written, and a moment more.
        while playground.events().len() < 2 {
            assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", playground.events());
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(run.finished().is_none(), "it was answered");
        run
    });
    assert!(run.reply().await.result.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_want_of_the_log_is_recorded_whole_when_the_log_is_there_again() {
    for tool in ["read_file", "delete_file"] {
        let playground = Playground::new();
        let server = playground.server();
        let log = fs::File::open(crate::audit::path(&playground.path("state"))).unwrap();
        log.lock().unwrap();
        let released = std::thread::spawn(move || {
            std::thread::sleep(crate::audit::LOCK_PATIENCE + std::time::Duration::from_secs(1));
            drop(log);
        });
        let reply = playground.call(&server, tool, json!({ "path": "a.txt" })).await;
        released.join().unwrap();
        assert_eq!(code(&reply), "audit_unavailable");
        assert!(playground.path("workspace/a.txt").exists());
        let (intent, outcome) = only_call(&playground);
        assert_eq!((intent.tool.as_str(), outcome.end, intent.call), (tool, End::Refused, outcome.call));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_changes_nothing() {
    let playground = Playground::new();
    let server = playground.server();
    let arguments = json!({ "path": "a.txt", "old_string": "not there", "new_string": "x" });
    let reply = playground.call(&server, "edit_file", arguments).await;
    assert!(reply.result.is_err(), "{reply:?}");
    assert_eq!(fs::read_to_string(playground.path("workspace/a.txt")).unwrap(), "alpha\n");
    let (_, outcome) = only_call(&playground);
    assert_eq!((outcome.end, outcome.changes), (End::Failed, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_at_once_is_never_run() {
    let playground = Playground::new();
    let server = playground.server();
    let run = server.start(request("write_file", json!({ "path": "b.txt", "content": "x" })));
    run.stop(Ended::Cancelled);
    let reply = run.reply().await;
    assert_eq!(code(&reply), "cancelled");
    assert!(!playground.path("workspace/b.txt").exists());
    assert_eq!(only_call(&playground).1.end, End::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_change_is_told_in_both_forms_and_listed() {
    let playground = Playground::new();
    let server = playground.server();
    let arguments = json!({ "path": ".vscode/tasks.json", "content": "{}" });
    let reply = playground.call(&server, "write_file", arguments).await;
    let output = reply.result.as_ref().unwrap();
    assert!(output.text.contains("Held for a person"), "{}", output.text);
    let held = &output.structured["workspace_changes"]["held"];
    assert!(held.to_string().contains(".vscode/tasks.json"), "{held}");
    assert!(!playground.path("workspace/.vscode/tasks.json").exists());
    let listed = playground.call(&server, "list_changes", json!({})).await;
    let listed = listed.result.as_ref().unwrap();
    assert!(listed.text.contains(".vscode/tasks.json"), "{}", listed.text);
    assert!(listed.structured["changes"].to_string().contains(".vscode/tasks.json"), "{:?}", listed.structured);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_are_all_recorded() {
    let playground = Playground::new();
    let server = playground.server();
    let runs: Vec<_> = (0..24).map(|_| server.start(request("read_file", json!({ "path": "a.txt" })))).collect();
    for run in runs {
        let reply = run.reply().await;
        assert!(reply.result.is_ok(), "{reply:?}");
    }
    let found = playground.verified();
    assert_eq!((found.intents, found.intents_without_outcome), (24, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_handed_out_is_waited_for_and_gives_its_own_result() {
    let playground = Playground::new();
    let server = playground.server();
    let run = Run::new("run_tests");
    server.runs.add(&run);
    let id = run.call().0.clone();
    let unknown = playground.call(&server, "get_run", json!({ "run_id": id, "wait_seconds": 0 })).await;
    assert_eq!(code(&unknown), "unknown_run", "nobody was told its id");
    run.share();
    let running = playground.call(&server, "get_run", json!({ "run_id": id, "wait_seconds": 0 })).await;
    assert_eq!(running.result.as_ref().unwrap().structured["status"], "running");
    let text = "3 passed".to_owned();
    let output = Output {
        text: text.clone(),
        structured: json!({ "passed": 3 }).as_object().unwrap().clone(),
        ..Output::default()
    };
    run.finish(Reply { result: Ok(output), facts: crate::reply::Facts::default() });
    let finished = playground.call(&server, "get_run", json!({ "run_id": id })).await;
    let finished = finished.result.as_ref().unwrap();
    assert_eq!((&finished.text, &finished.structured["passed"]), (&text, &json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_run_throws_its_switch() {
    let playground = Playground::new();
    let server = playground.server();
    let run = Run::new("run_tests");
    server.runs.add(&run);
    run.share();
    let ending = {
        let run = Arc::clone(&run);
        tokio::spawn(async move {
            run.stopped().await;
            run.finish(Reply::failed("cancelled", "it was cancelled"));
        })
    };
    let reply = playground.call(&server, "cancel_run", json!({ "run_id": run.call().0 })).await;
    assert_eq!(reply.result.as_ref().unwrap().structured["status"], "cancelled");
    assert_eq!(run.cancel().why(), Some(Ended::Cancelled));
    ending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cut_off_keeps_nothing_and_says_so() {
    let playground = Playground::new();
    fs::create_dir(playground.path("workspace/tests")).unwrap();
    let test = "import time, unittest\nopen('half.txt', 'w').write('x')\nclass Slow(unittest.TestCase):\n    \
                def test_slow(self):\n        time.sleep(60)\n";
    fs::write(playground.path("workspace/tests/test_slow.py"), test).unwrap();
    fs::write(playground.path("workspace/tests/__init__.py"), "").unwrap();
    let server = playground.server();
    let arguments = json!({ "runner": "unittest", "timeout_seconds": 3, "keep": ["**"] });
    let reply = playground.call(&server, "run_tests", arguments).await;
    let output = reply.result.as_ref().expect("what it said is told");
    assert!(output.text.contains("nothing that the run wrote is kept"), "{}", output.text);
    assert!(!playground.path("workspace/half.txt").exists());
    let (_, outcome) = only_call(&playground);
    assert_eq!((outcome.end, outcome.changes), (End::TimedOut, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_list_changes_answers_is_what_its_schema_says() {
    let playground = Playground::new();
    let server = playground.server();
    playground.call(&server, "write_file", json!({ "path": ".git/hooks/x", "content": "x" })).await;
    let reply = playground.call(&server, "list_changes", json!({})).await;
    let answer = &reply.result.as_ref().unwrap().structured;
    let schema =
        serde_json::Value::Object(cofferdam_tools::Toolbox::default().find("list_changes").unwrap().output_schema());
    let change = answer["changes"][0].as_object().unwrap();
    let named =
        |schema: &serde_json::Value| schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(answer.keys().all(|key| named(&schema).contains(key)), "{schema}");
    assert!(change.keys().all(|key| schema.to_string().contains(&format!("\"{key}\""))), "{schema}");
}
