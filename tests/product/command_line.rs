//! The command line as a person or a script uses it: statuses, held changes, the log, the doctor.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Output};

use serde_json::{Value, json};

use crate::harness::{Person, Place, Tree};

const FILES: [(&str, &str); 2] = [("notes.txt", "one\ntwo\n"), ("src/lib.rs", "pub fn one() {}\n")];

fn place() -> Place {
    Place::with(&FILES)
}

/// The same place of each person whom a test is done as.
fn places() -> impl Iterator<Item = Place> {
    Person::everyone().into_iter().map(|person| Place::of(person).and(&FILES))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn statuses_are_as_documented() {
    for place in places() {
        let status = |arguments: &[&str]| place.run(arguments).status.code();
        assert_eq!(status(&["call", "read_file", "{\"path\":\"notes.txt\"}"]), Some(0));
        assert_eq!(status(&["call", "read_file", "{\"path\":\"missing\"}"]), Some(1));
        assert_eq!(status(&["call", "read_file", "{\"path\":\"../x\"}"]), Some(2));
        assert_eq!(status(&["call", "read_file", "no json"]), Some(2));
        assert_eq!(status(&["call", "no_such_tool"]), Some(2));
        assert_eq!(status(&["no_such_command"]), Some(2));
        assert_eq!(status(&["call", "list_files", "--workspace", "/"]), Some(2));
        // Written in the session, and waiting for a person.
        let held = json!({ "path": ".github/workflows/ci.yml", "content": "on: push\n" }).to_string();
        assert_eq!(status(&["call", "write_file", &held]), Some(3));
        // No tests are no success, and neither are failing ones.
        place.write("tests/__init__.py", "");
        let suite = |body: &str| {
            let text =
                format!("import unittest\nclass One(unittest.TestCase):\n    def test_one(self):\n        {body}\n");
            place.write("tests/test_one.py", &text);
            status(&["call", "run_tests", "{\"runner\":\"unittest\"}"])
        };
        assert_eq!(suite("pass"), Some(0));
        assert_eq!(suite("self.fail('no')"), Some(6));
    }
}

#[test]
fn a_file_that_may_not_be_changed_is_refused_with_the_reason() {
    let refused = |place: &Place, tool: &str, arguments: Value, reason: &str| {
        let output = place.run(&["call", tool, &arguments.to_string()]);
        let told = text(&output);
        assert!(output.status.code() == Some(1) && told.contains(reason), "{tool} {arguments}: {told}");
    };
    let place = place();
    place.write("own.txt", "one\n");
    fs::set_permissions(place.workspace().join("own.txt"), fs::Permissions::from_mode(0o444)).unwrap();
    let reason = "`own.txt`: its permissions forbid it; only a person can change that";
    refused(&place, "write_file", json!({ "path": "own.txt", "content": "two\n" }), reason);
    // Only root can give a file away.
    if rustix::process::geteuid().is_root() {
        place.write("lib/a.txt", "one\n");
        std::os::unix::fs::chown(place.workspace().join("lib/a.txt"), Some(12345), Some(12345)).unwrap();
        let reason =
            "`lib/a.txt`: it belongs to another user or group than the workspace folder; a person can mend that";
        refused(&place, "write_file", json!({ "path": "lib/a.txt", "content": "two\n" }), reason);
        let edit = json!({ "path": "lib/a.txt", "old_string": "one", "new_string": "two" });
        refused(&place, "edit_file", edit, reason);
        refused(&place, "delete_file", json!({ "path": "lib/a.txt" }), reason);
        refused(&place, "move_file", json!({ "source": "lib/a.txt", "destination": "b.txt" }), reason);
        assert_eq!(place.read("lib/a.txt"), "one\n");
    }
}

#[test]
fn the_command_line_tells_rule_isolation_and_time() {
    let place = place();
    let output = place.run(&["call", "read_file", "{\"path\":\"notes.txt\"}"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("two"));
    let notes = String::from_utf8_lossy(&output.stderr);
    for part in ["rule everyday", "namespace sandbox, no network", " ms"] {
        assert!(notes.contains(part), "{part:?} is missing: {notes}");
    }
}

#[test]
fn home_and_what_holds_the_state_are_no_workspaces() {
    let place = place();
    let home = place.home();
    for workspace in
        [home.to_str().unwrap(), place.all().to_str().unwrap(), place.all().join("state").to_str().unwrap()]
    {
        let output = place.run(&["call", "list_files", "--workspace", workspace]);
        assert_eq!(output.status.code(), Some(2), "{workspace}: {}", text(&output));
    }
}

#[test]
fn a_link_is_no_workspace() {
    // P13
    let place = place();
    let link = place.all().join("link");
    std::os::unix::fs::symlink(place.workspace(), &link).unwrap();
    let output = place.run(&["call", "list_files", "--workspace", link.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn every_call_is_in_the_log_and_the_log_shows_tampering() {
    let place = place();
    place.call("read_file", &json!({ "path": "notes.txt" }));
    place.call("read_file", &json!({ "path": "../x" }));
    place.call("no_such_tool", &json!({}));
    let output = place.run(&["audit", "show", "--json", "--last", "10"]);
    let lines: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["event"].get(kind).is_some()).count();
    assert_eq!((of("intent"), of("outcome")), (3, 3), "{lines:#?}");
    assert!(place.run(&["audit", "verify"]).status.success());

    let log = find_log(&place);
    let original = fs::read_to_string(&log).unwrap();
    let changed = original.replacen("notes.txt", "other.txt", 1);
    assert_ne!(changed, original);
    fs::write(&log, changed).unwrap();
    assert_eq!(place.run(&["audit", "verify"]).status.code(), Some(1), "a changed line");
    let mut lines: Vec<&str> = original.lines().collect();
    lines.remove(1);
    fs::write(&log, lines.join("\n") + "\n").unwrap();
    assert_eq!(place.run(&["audit", "verify"]).status.code(), Some(1), "a removed line");
}

fn find_log(place: &Place) -> std::path::PathBuf {
    let state = Tree::of(&place.state());
    let logs: Vec<_> = state.paths().filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    place.state().join(logs[0])
}

#[test]
fn a_log_that_cannot_be_written_refuses_the_call() {
    let place = place();
    place.call("read_file", &json!({ "path": "notes.txt" }));
    let log = find_log(&place);
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let before = place.tree();
    let output = place.run(&["call", "write_file", "{\"path\":\"notes.txt\",\"content\":\"changed\"}"]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert_eq!(place.tree(), before);
}

#[test]
fn a_policy_that_does_not_load_refuses_everything() {
    let place = place();
    place.policy("version = 1\n[limits]\nnetwrk = \"off\"\n");
    let check = place.run(&["policy", "check"]);
    assert_eq!(check.status.code(), Some(2));
    assert!(text(&check).contains("policy.toml:3"), "{}", text(&check));
    assert_eq!(place.run(&["call", "list_files"]).status.code(), Some(2));
}

#[test]
fn a_policy_in_the_workspace_is_refused() {
    let place = place();
    place.write("policy.toml", "version = 1\n");
    let output = place.run(&["call", "list_files", "--policy", "policy.toml"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn a_policy_in_the_workspace_can_be_checked() {
    let place = place();
    let check = |policy: &str| {
        place.write("policy.toml", policy);
        let file = place.workspace().join("policy.toml");
        let output = place.run(&["policy", "check", "--policy", file.to_str().unwrap()]);
        (output.status.code(), text(&output))
    };
    let (status, told) = check("version = 1\n");
    assert!(status == Some(0) && told.contains("a server will refuse") && told.contains("right sha256"), "{told}");
    let (status, told) = check("version = 1\nnonsense = 2\n");
    assert!(status == Some(2) && told.contains("nonsense"), "{told}");
}

#[test]
fn nothing_to_show_of_a_named_path_is_a_failure() {
    let place = place();
    let diff = |paths: &[&str]| place.run(&[&["changes", "diff"], paths].concat()).status.code();
    assert_eq!((diff(&["notes.txt"]), diff(&[])), (Some(1), Some(0)));
}

#[test]
fn the_doctor_says_what_is_enforced() {
    for place in places() {
        let output = place.run(&["doctor", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        assert!(report.to_string().contains("user_namespace"), "{report}");
        assert!(output.status.success(), "{}", text(&output));
        // What the kernel is warned of is also what it lacks as a guarantee.
        let warned = report["kernel"].as_array().unwrap_or_else(|| panic!("{report}"));
        let strength = &report["enforced"]["guarantees"]["kernel"]["strength"];
        assert_eq!(strength, if warned.is_empty() { "enforced" } else { "absent" }, "{report}");
        let person = place.run(&["doctor"]);
        assert!(text(&person).contains("rust"), "{}", text(&person));
        for warning in warned {
            assert!(text(&person).contains(warning["mend"].as_str().unwrap()), "{}", text(&person));
        }
    }
}

#[test]
fn the_doctor_speaks_of_the_machine_where_the_workspace_is_refused() {
    for place in places() {
        let output = place.run(&["doctor", "--workspace", "/"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        for told in ["it cannot be used", "--workspace", "user_namespace", "rust"] {
            assert!(text(&output).contains(told), "{told}: {}", text(&output));
        }
    }
}

#[test]
fn nothing_is_coloured_outside_a_terminal() {
    let place = place();
    for arguments in [&["doctor"][..], &["call", "list_files"], &["audit", "show"], &["policy", "show"]] {
        assert!(!text(&place.run(arguments)).contains('\u{1b}'), "{arguments:?}");
    }
}

#[test]
fn install_writes_an_entry_with_an_absolute_workspace_and_dry_run_writes_nothing() {
    let place = place();
    let before = Tree::of(&place.all().join("config"));
    let dry = place.run(&["install", "claude-desktop", "--dry-run"]);
    assert!(dry.status.success() && text(&dry).contains(place.workspace().to_str().unwrap()), "{}", text(&dry));
    assert_eq!(Tree::of(&place.all().join("config")), before);
    let dry = place.run(&["install", "claude-code", "--dry-run"]);
    assert!(dry.status.success() && !place.workspace().join(".mcp.json").exists(), "{}", text(&dry));
    assert!(!place.state().exists(), "nothing at all is written");
    assert_eq!(place.run(&["install", "claude-desktop", "--dry-run", "--workspace", "/"]).status.code(), Some(2));
    assert!(!place.state().exists());
    assert!(place.run(&["install", "claude-code"]).status.success());
    let entry: Value = serde_json::from_str(&place.read(".mcp.json")).unwrap();
    assert!(entry["mcpServers"]["cofferdam"]["args"].to_string().contains(place.workspace().to_str().unwrap()));
    let again = place.run(&["install", "claude-code"]);
    assert!(again.status.success() && text(&again).contains("there already: cofferdam"), "{}", text(&again));
}

#[test]
fn a_second_workspace_has_an_entry_of_its_own_in_a_clients_file() {
    let place = place();
    place.write("one/a", "");
    place.write("two/a", "");
    let install = |arguments: &[&str]| place.run(&[&["install", "claude-desktop"][..], arguments].concat());
    let root = place.workspace().canonicalize().unwrap();
    let (one, two) = (root.join("one"), root.join("two"));
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    for workspace in [one, two, one] {
        assert!(install(&["--workspace", workspace]).status.success());
    }
    let file = place.all().join("config/Claude/claude_desktop_config.json");
    let before: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let servers = before["mcpServers"].as_object().unwrap();
    assert_eq!(servers.keys().collect::<Vec<_>>(), ["cofferdam-one", "cofferdam-two"]);
    assert!(servers["cofferdam-one"]["args"].to_string().contains(one));
    let refused = install(&["--workspace", two, "--name", "cofferdam-one"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = text(&refused);
    assert!(told.contains("starts something else") && told.contains("--replace") && told.contains(one), "{told}");
    let after: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(after, before);
    assert!(install(&["--workspace", two, "--name", "cofferdam-one", "--replace"]).status.success());
}

#[test]
fn the_log_shows_calls_by_name_tool_and_time_and_a_persons_orders() {
    let place = place();
    let (_, read) = place.call("read_file", &json!({ "file_path": "notes.txt" }));
    place.call("write_file", &json!({ "path": ".github/workflows/ci.yml", "content": "on: push\n" }));
    assert!(place.run(&["changes", "apply", ".github"]).status.success());
    let show = |arguments: &[&str]| {
        let shown = place.run(&[&["audit", "show"][..], arguments].concat());
        (shown.status.code(), text(&shown))
    };
    let call = read["facts"]["call"].as_str().unwrap();
    let (status, all) = show(&[]);
    assert_eq!((status, all.lines().count()), (Some(0), 3), "{all}");
    let workspace = place.workspace().canonicalize().unwrap();
    let folder = workspace.file_name().unwrap().to_str().unwrap().to_owned();
    for (line, parts) in all.lines().zip([
        ["done", "read_file", "notes.txt", &call[..8]],
        ["done", "write_file", "ci.yml", "everyday"],
        ["done", "you: apply", ".github", "apply-"],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)) && line.contains(&folder), "{parts:?}: {line}");
    }
    let (status, one) = show(&["--call", &call[..8]]);
    assert!(status == Some(0) && one.contains(call) && one.contains("path = notes.txt"), "{one}");
    assert!(one.contains("allowed by rule everyday") && one.contains(workspace.to_str().unwrap()), "{one}");
    let order = all.lines().last().unwrap().split("  ").find(|word| word.starts_with("apply-")).unwrap();
    let (_, shown) = show(&["--call", order, "--json"]);
    let lines: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["event"]["changes_ordered"].is_object() && lines[1]["event"]["changes"].is_object(), "{shown}");
    assert_eq!(lines.len(), 2);
    let (_, shown) = show(&["--tool", "read_file", "--json"]);
    let record: Value = serde_json::from_str(shown.lines().next().unwrap()).unwrap();
    assert_eq!(record["event"]["intent"]["arguments"], json!({ "path": "notes.txt" }), "under its standard name");
    assert_eq!(shown.lines().count(), 2, "intent and outcome: {shown}");
    assert_eq!(show(&["--since", "1h", "--last", "2"]).1.lines().count(), 2);
    assert_eq!(show(&["--since", "2999-01-01"]).1, "");
    assert_eq!(show(&["--call", "nothing"]).0, Some(1));
    assert_eq!(show(&["--since", "yesterday"]).0, Some(2));
}

#[test]
fn the_command_line_can_hold_or_refuse_every_change_and_never_loosens_that() {
    let place = place();
    let write = |mode: &str| {
        let arguments = json!({ "path": "new.txt", "content": "x\n" }).to_string();
        let called = place.run(&["call", "write_file", &arguments, "--limit", &format!("mode={mode}")]);
        (called.status.code(), text(&called))
    };
    let (status, told) = write("read_only");
    assert!(status == Some(1) && told.contains("mode = \"read_only\""), "{told}");
    let (status, told) = write("draft");
    assert!(status == Some(3) && !place.workspace().join("new.txt").exists(), "{told}");
    place.policy("version = 1\n[limits]\nmode = \"draft\"\n");
    let (status, told) = write("apply");
    assert!(status == Some(2) && told.contains("at most"), "{told}");
    let explain = |call: &str| text(&place.run(&["policy", "explain", call]));
    let writing = r#"{"tool": "write_file", "args": {"path": "a", "content": ""}}"#;
    let told = explain(writing);
    assert!(told.contains("each waits for a person") && told.contains("mode         draft"), "{told}");
    place.policy("version = 1\n[limits]\nmode = \"read_only\"\n");
    let told = explain(writing);
    assert!(
        told.starts_with("refused by no rule") && told.contains("changes: a call that brings some back is"),
        "{told}"
    );
    let told = explain(r#"{"tool": "read_file", "args": {"path": "a"}}"#);
    assert!(told.starts_with("allowed") && told.contains("changes: the call brings none back"), "{told}");
}

/// A program with a test that needs it built.
const PROGRAM: [(&str, &str); 3] = [
    ("Cargo.toml", "[package]\nname = \"greet\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
    ("src/main.rs", "fn main() {\n    println!(\"hello\");\n}\n"),
    ("tests/greets.rs", "#[test]\nfn is_built() {\n    assert!(!env!(\"CARGO_BIN_EXE_greet\").is_empty());\n}\n"),
];

#[test]
fn what_is_built_comes_to_where_the_call_says() {
    let place = Place::with(&PROGRAM);
    let build = |arguments: Value| {
        let (status, built) = place.call("build", &arguments);
        (status, built["structured"]["artifacts"][0]["exported_as"].as_str().map(str::to_owned), built.to_string())
    };
    let glob = "target/debug/greet";
    let (status, exported, told) = build(json!({ "export": [glob] }));
    assert_eq!((status, exported.as_deref()), (0, Some("exported/target/debug/greet")), "{told}");
    assert!(place.workspace().join("exported/target/debug/greet").is_file());
    let (status, exported, told) = build(json!({ "export": [glob], "export_to": "bin" }));
    assert_eq!((status, exported.as_deref()), (0, Some("bin/greet")), "{told}");
    assert!(place.program(place.workspace().join("bin/greet")).status().unwrap().success());
    assert_eq!(place.call("build", &json!({ "export_to": "bin" })).0, 2, "nothing says what");
    // A person's own way to the same.
    let absent = place.run(&["scratch", "export", glob, "--to", "new/"]);
    assert!(absent.status.code() == Some(2) && text(&absent).contains("there is no folder"), "{}", text(&absent));
    assert!(!place.workspace().join("new").exists());
}

#[test]
fn names_that_turn_the_reading_direction_show_in_every_form() {
    let place = place();
    let path = ".github/workflows/a\u{202e}b.yml";
    place.call("write_file", &json!({ "path": path, "content": "# \u{202e}\n" }));
    let policy = "version = 1\n[protect]\npaths = [\"a\u{202e}b/**\"]\n[[rule]]\nid = \"no\"\ntools = [\"delete_file\"]\ndecision = \"deny\"\n\
                  when = { path = \"x\u{202e}y\" }\nwhy = \"Kept\u{202e}.\"\nmatch = [{ tool = \"delete_file\", args = { path = \"x\u{202e}y\" } }]\n";
    place.policy(policy);
    let call = "{\"tool\": \"delete_file\", \"args\": {\"path\": \"x\u{202e}y\"}}";
    for arguments in [
        &["changes", "list"][..],
        &["changes", "diff"],
        &["changes", "list", "--json"],
        &["changes", "diff", "--json"],
        &["policy", "show"],
        &["policy", "explain", call],
        &["audit", "show"],
    ] {
        let shown = text(&place.run(arguments));
        assert!(!shown.contains('\u{202e}') && shown.to_lowercase().contains("202e"), "{arguments:?}: {shown}");
        if arguments.contains(&"--json") {
            let value: Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(value[0]["path"], path, "a program reads the name as it is: {shown}");
        }
    }
    // What is shown is a policy, and the same one.
    let shown = text(&place.run(&["policy", "show"]));
    let digest = |place: &Place| text(&place.run(&["policy", "check"]));
    let before = digest(&place);
    place.policy(&shown);
    assert_eq!(digest(&place), before);
}

#[test]
fn what_a_run_built_is_listed_taken_out_and_cleared() {
    for place in Person::everyone().into_iter().map(|person| Place::of(person).and(&PROGRAM)) {
        let (status, ran) = place.call("run_tests", &json!({}));
        assert_eq!(status, 0, "{ran}");
        let list = || -> Value {
            let output = place.run(&["scratch", "list", "--json"]);
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
        };
        let listed = list();
        let volumes = listed["volumes"].as_array().unwrap();
        let target = volumes.iter().find(|volume| volume["place"] == "target").unwrap_or_else(|| panic!("{listed}"));
        assert!(target["own"]["bytes"].as_u64() > Some(10_000) && target["seeded"] == false, "{listed}");
        assert!(listed["limit"]["bytes"].as_u64() > listed["total"]["bytes"].as_u64(), "{listed}");
        assert!(text(&place.run(&["scratch", "list"])).contains("target"));
        let where_it_is = place.run(&["scratch", "path", "target"]);
        let shown = String::from_utf8_lossy(&where_it_is.stdout).trim().to_owned();
        assert!(std::path::Path::new(&shown).starts_with(place.state()), "{}", text(&where_it_is));

        let export = || place.run(&["scratch", "export", "target/debug/greet"]);
        let exported = export();
        assert!(exported.status.success(), "{}", text(&exported));
        let program = place.workspace().join("greet");
        let output = place.program(&program).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
        let owner = |path: &std::path::Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
        assert_eq!(owner(&program), owner(&place.workspace()));
        let again = export();
        assert!(again.status.code() == Some(1) && text(&again).contains("nothing is overwritten"), "{}", text(&again));
        let absent = place.run(&["scratch", "export", "target/debug/absent"]);
        assert_eq!(absent.status.code(), Some(1), "{}", text(&absent));
        assert!(!place.workspace().join("target").exists());

        let unknown = place.run(&["scratch", "clear", "src"]);
        assert!(unknown.status.code() == Some(1) && text(&unknown).contains("target"), "{}", text(&unknown));
        let cleared = place.run(&["scratch", "clear", "target"]);
        assert!(cleared.status.success() && text(&cleared).contains("cleared target"), "{}", text(&cleared));
        assert!(!list()["volumes"].to_string().contains("\"target\""));
        assert!(place.run(&["scratch", "clear"]).status.success());
        assert_eq!(list()["volumes"], json!([]));
        let log = text(&place.run(&["audit", "show", "--json"]));
        assert!(log.contains("scratch_ordered") && log.contains("scratch_cleared"), "{log}");
        assert!(place.run(&["audit", "verify"]).status.success());
    }
}

#[test]
fn doctor_reports_on_the_machine_beside_a_wrong_policy_file_of_the_repository() {
    let place = Place::with(&[(".cofferdam.toml", "version = 1\n[limts]\npids = 64\n")]);
    let output = place.run(&["doctor"]);
    let [report, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(!output.status.success() && errors.contains("limts"), "{errors}");
    assert!(report.contains("memory"), "{report}{errors}");
}

#[test]
fn an_entry_says_where_a_variable_moved_the_state() {
    let place = Place::new();
    let state = place.all().join("moved");
    let mut install = place.cofferdam();
    let output = install.args(["install", "claude-code", "--dry-run"]).env("XDG_STATE_HOME", &state).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("--state") && shown.contains(&*state.join("cofferdam").to_string_lossy()), "{shown}");
}
