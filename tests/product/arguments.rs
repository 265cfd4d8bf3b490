//! Arguments from hell: what an agent, or somebody who speaks through it, can put into a call.
//!
//! Row numbers are those of the project's list of attempts. Whatever comes: a clear tool error or a right answer, a
//! server that still serves, and a workspace that is as it was.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use crate::harness::{Called, Dice, Era, Place, Server};

/// Cases for each tool.
const CASES: usize = 2000;

/// Requests that are on their way at a time; fewer than wait in the server's line.
const AT_A_TIME: usize = 8;

/// Files of the workspace that calls are thrown at.
const FILES: [&str; 3] = ["notes.txt", "src/main.py", "docs/guide.md"];

/// Tools and the argument that is a path, with what else each needs.
fn tools_with_paths() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("read_file", "path", json!({})),
        ("write_file", "path", json!({ "content": "written\n" })),
        ("edit_file", "path", json!({ "old_string": "one", "new_string": "1" })),
        ("list_files", "path", json!({})),
        ("search_files", "path", json!({ "pattern": "one" })),
        ("move_file", "source", json!({ "destination": "moved.txt" })),
        ("move_file", "destination", json!({ "source": "notes.txt" })),
        ("delete_file", "path", json!({})),
        ("run_tests", "path", json!({})),
    ]
}

fn place() -> Place {
    Place::with(&[
        ("notes.txt", "one\ntwo\nthree\n"),
        ("src/main.py", "print('hello')\n"),
        ("docs/guide.md", "# Guide\n\none more line\n"),
        ("empty", ""),
        ("checks/__init__.py", ""),
        (
            "checks/test_one.py",
            "import unittest\nclass One(unittest.TestCase):\n    def test_one(self):\n        pass\n",
        ),
    ])
}

fn with(rest: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut arguments = rest.clone();
    arguments[name] = value.into();
    arguments
}

/// A refusal that a model can act on: it is an error and says something.
fn assert_clear(called: &Called, case: &str) {
    assert!(called.is_error, "{case}: {}", called.whole);
    assert!(called.text.trim().len() > 10, "{case}: {}", called.whole);
}

/// The log's records of the last `count` calls.
fn recorded(place: &Place, count: usize) -> Vec<Value> {
    let output = place.run(&["audit", "show", "--json", "--last", &count.to_string()]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn p04_paths_that_lead_out_are_refused_alike_whether_they_exist_or_not() {
    let place = place();
    let before = (place.tree(), place.outside());
    let outside = place.all().join("outside");
    let mut server = Server::start(&place, Era::Stateless);
    for (tool, argument, rest) in tools_with_paths() {
        let mut refused = |path: &str| {
            let called = server.call(tool, with(&rest, argument, path));
            assert_clear(&called, &format!("{tool} {argument}={path:?}"));
            called.text.replace(path, "PATH")
        };
        // There, and not there: the answer is the same.
        let there = refused(outside.join("canary").to_str().unwrap());
        let missing = refused(outside.join("missing").to_str().unwrap());
        assert_eq!(there.replace("canary", "NAME"), missing.replace("missing", "NAME"), "{tool}");
        for path in [
            "../outside/canary",
            "../outside/missing",
            "../../etc/passwd",
            "/etc/passwd",
            "/",
            "src/../../outside/canary",
            "%2e%2e/outside/canary",
            "..%2foutside%2fcanary/%2e%2e",
            "~",
            "~/.ssh/id_rsa",
            "file:///etc/passwd",
            "\\\\?\\C:\\Windows",
            "..\\outside\\canary",
            "C:\\Windows",
        ] {
            refused(path);
        }
        let sibling = format!("{}-evil/canary", place.workspace().display());
        refused(&sibling);
    }
    server.end();
    assert_eq!((place.tree(), place.outside()), before);
}

#[test]
fn p05_strange_names_are_refused_or_round_trip_exactly() {
    let place = place();
    let mut server = Server::start(&place, Era::Stateless);
    let deep = vec!["d"; 255].join("/");
    for path in ["a\0b", "a\nb", "a\u{1b}[2Jb", &"x".repeat(4096), &"y".repeat(256)] {
        for (tool, argument, rest) in tools_with_paths() {
            let called = server.call(tool, with(&rest, argument, path));
            assert_clear(&called, &format!("{tool} {argument}={path:?}"));
        }
    }
    // Twins: each is its own file, and never another.
    let twins = [
        "caf\u{e9}.txt",
        "cafe\u{301}.txt",
        "Case.txt",
        "case.txt",
        "trailing.",
        "trailing",
        "space ",
        "space",
        "con",
        "NUL.txt",
        "aux.c",
        "\u{202e}txt.exe",
        "zero\u{200b}width",
        "-rf",
        "%2e%2e%2fetc",
        &format!("{deep}/leaf"),
    ];
    for name in twins {
        let content = format!("content of {}\n", name.escape_unicode());
        let called = server.call("write_file", json!({ "path": name, "content": content }));
        let on_disk = fs::read_to_string(place.workspace().join(name)).ok();
        if called.is_error {
            assert_clear(&called, name);
            assert_eq!(on_disk, None, "{name:?} was refused and written");
        } else {
            assert_eq!(on_disk.as_deref(), Some(content.as_str()), "{name:?}");
            let read = server.call("read_file", json!({ "path": name }));
            assert!(!read.is_error && read.text.contains(content.trim()), "{name:?}: {}", read.whole);
        }
    }
    // Each twin kept its own content.
    for name in twins {
        let path = place.workspace().join(name);
        if let Ok(text) = fs::read_to_string(&path) {
            assert_eq!(text, format!("content of {}\n", name.escape_unicode()));
        }
    }
    server.end();
}

#[test]
fn p05_bytes_that_are_no_text_do_not_reach_a_tool() {
    let place = place();
    let before = place.tree();
    let mut server = Server::start(&place, Era::Handshake);
    for (id, path) in [(500, &b"\xff\xfe"[..]), (501, b"\\ud800"), (502, b"\xc0\xaf")] {
        let head = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\
             \"params\":{{\"name\":\"write_file\",\"arguments\":{{\"path\":\""
        );
        server.send_line(&[head.as_bytes(), path, b"\",\"content\":\"x\"}}}"].concat());
    }
    assert!(!server.call("read_file", json!({ "path": "notes.txt" })).is_error, "it still serves");
    server.end();
    assert_eq!(place.tree().differences(&before), Vec::<std::path::PathBuf>::new());
}

#[test]
fn p10_and_p12_paths_through_proc_are_refused() {
    let place = place();
    let mut server = Server::start(&place, Era::Stateless);
    for (tool, argument, rest) in tools_with_paths() {
        for path in ["/proc/self/root/etc/passwd", "/proc/self/cwd/notes.txt", "/proc/1/root", "/proc/self/fd/3"] {
            let called = server.call(tool, with(&rest, argument, path));
            assert_clear(&called, &format!("{tool} {argument}={path}"));
        }
    }
    server.end();
}

#[test]
fn p77_malformed_arguments_open_no_sandbox() {
    let place = place();
    let before = place.tree();
    let mut server = Server::start(&place, Era::Stateless);
    let huge = "x".repeat(10 << 20);
    let mut deep = json!("leaf");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let cases = [
        ("read_file", json!({})),
        ("read_file", json!({ "path": "notes.txt", "surprise": true })),
        ("read_file", json!({ "path": true })),
        ("read_file", json!({ "path": ["notes.txt"] })),
        ("read_file", json!({ "path": null })),
        ("read_file", json!({ "path": { "notes": "txt" } })),
        ("read_file", json!({ "path": "notes.txt", "limit": -1 })),
        ("read_file", json!({ "path": "notes.txt", "limit": 1.5 })),
        ("read_file", json!({ "path": "notes.txt", "limit": 18_446_744_073_709_551_615_u64 })),
        ("read_file", json!({ "path": "notes.txt", "limit": "many" })),
        ("read_file", json!({ "path": huge })),
        ("read_file", json!({ "path": deep })),
        ("search_files", json!({ "pattern": "one", "output_mode": "everything" })),
        ("run_tests", json!({ "runner": { "command": "sh" } })),
        ("run_tests", json!({ "timeout_seconds": "for ever" })),
    ];
    for (tool, arguments) in &cases {
        let shown: String = arguments.to_string().chars().take(80).collect();
        assert_clear(&server.call(tool, arguments.clone()), &format!("{tool} {shown}"));
    }
    server.end();
    for record in recorded(&place, cases.len()) {
        if let Some(outcome) = record["event"].get("outcome") {
            assert!(outcome.get("sandbox").is_none(), "a sandbox was opened: {record}");
            assert_eq!(outcome["end"], "refused", "{record}");
        }
    }
    assert_eq!(place.tree(), before);
}

#[test]
fn p77_json_that_no_library_would_write_is_answered_or_dropped() {
    let place = place();
    let before = place.tree();
    let mut server = Server::start(&place, Era::Handshake);
    let call = |id: i64, arguments: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\
             \"params\":{{\"name\":\"read_file\",\"arguments\":{arguments}}}}}"
        )
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (index, arguments) in [
        "{\"path\":\"notes.txt\",\"path\":\"../outside/canary\"}",
        "{\"path\":\"notes.txt\",\"limit\":NaN}",
        "{\"path\":\"notes.txt\",\"limit\":1e400}",
        "{\"path\":\"notes.txt\",\"limit\":99999999999999999999999999}",
        "\"a string\"",
        "[]",
        "7",
        &format!("{{\"path\":{deep}}}"),
        "{\"path\":\"notes.txt\"",
    ]
    .into_iter()
    .enumerate()
    {
        server.send_line(call(600 + index as i64, arguments).as_bytes());
    }
    let called = server.call("read_file", json!({ "path": "notes.txt" }));
    assert!(!called.is_error, "it still serves: {}", called.whole);
    // Of two values under one name none may be the one that leads out.
    if let Some(answer) = server.answer_within(600, std::time::Duration::from_secs(5)) {
        assert!(!answer.to_string().contains("untouched"), "{answer}");
    }
    server.end();
    assert_eq!(place.tree(), before);
}

#[test]
fn p78_values_that_look_like_options_are_refused() {
    let place = Place::with(&[
        ("test_one.py", "import unittest\nclass One(unittest.TestCase):\n    def test_one(self):\n        pass\n"),
        ("args.txt", "--help\n"),
    ]);
    let mut server = Server::start(&place, Era::Stateless);
    for filter in [
        "--upload-pack=touch pwned",
        "-oProxyCommand=touch pwned",
        "--config=evil.ini",
        "-p evil",
        "--",
        "@args.txt",
        "one\n--help",
    ] {
        let called = server.call("run_tests", json!({ "runner": "unittest", "filter": filter }));
        assert_clear(&called, filter);
    }
    for path in ["--help", "-c", "@args.txt"] {
        let called = server.call("run_tests", json!({ "runner": "unittest", "path": path }));
        assert_clear(&called, path);
    }
    server.end();
    assert_not_anywhere(&place, "pwned");
}

#[test]
fn p79_no_value_meets_a_shell() {
    let place = place();
    let mut server = Server::start(&place, Era::Stateless);
    for value in ["; touch pwned", "$(touch pwned)", "`touch pwned`", "| touch pwned", "&& touch pwned", "> pwned"] {
        for (tool, argument, rest) in tools_with_paths() {
            if argument != "destination" && tool != "write_file" {
                assert_clear(&server.call(tool, with(&rest, argument, value)), &format!("{tool} {value}"));
            }
        }
        server.call("search_files", json!({ "pattern": value, "glob": value }));
        server.call("run_tests", json!({ "filter": value }));
    }
    server.end();
    assert_not_anywhere(&place, "pwned");
}

fn assert_not_anywhere(place: &Place, name: &str) {
    let found: Vec<_> = place.tree().paths().filter(|path| path.ends_with(name)).map(Path::to_owned).collect();
    assert!(found.is_empty(), "{found:?}");
}

/// A tool as the server lists it.
struct Listed {
    name: String,
    schema: Map<String, Value>,
    required: Vec<Value>,
    writes: bool,
}

fn listed(server: &mut Server) -> Vec<Listed> {
    let list = server.ask("tools/list", json!({}));
    let tools = list["tools"].as_array().unwrap().iter();
    tools
        .map(|tool| Listed {
            name: tool["name"].as_str().unwrap().to_owned(),
            schema: tool["inputSchema"]["properties"].as_object().cloned().unwrap_or_default(),
            required: tool["inputSchema"]["required"].as_array().cloned().unwrap_or_default(),
            writes: ["write_file", "edit_file", "move_file", "delete_file"].contains(&tool["name"].as_str().unwrap()),
        })
        .collect()
}

/// Throws arguments for a tool: mostly of the right shape, so that they come far, and often with one thing wrong.
fn throw(dice: &mut Dice, tool: &Listed) -> Value {
    let mut arguments = Map::new();
    for (name, property) in &tool.schema {
        let left_out = if tool.required.contains(&json!(name)) { dice.once_in(25) } else { dice.once_in(2) };
        if !left_out {
            // Half of the paths are files that are there, else a call that needs two right arguments is hardly ever made.
            let there = ["path", "source"].contains(&name.as_str()) && dice.once_in(2);
            let value = if there { json!(dice.pick(&FILES)) } else { value(dice, property, 0) };
            arguments.insert(name.clone(), value);
        }
    }
    if dice.once_in(20) {
        arguments.insert(text(dice), json!(dice.bits()));
    }
    Value::Object(arguments)
}

fn value(dice: &mut Dice, property: &Value, depth: usize) -> Value {
    if dice.once_in(20) || depth > 3 {
        return wrong(dice);
    }
    if let Some(choices) = property["enum"].as_array() {
        return dice.pick(choices).clone();
    }
    match property["type"].as_str() {
        Some("integer" | "number") => {
            let low = property["minimum"].as_i64().unwrap_or(0);
            let high = property["maximum"].as_i64().unwrap_or(1000);
            match dice.below(12) {
                0 => json!(low),
                1 => json!(high),
                2 => json!(low.wrapping_sub(1)),
                3 => json!(high.wrapping_add(1)),
                4 => json!((low + dice.below(20) as i64).to_string()),
                _ => json!(low + dice.below(20) as i64),
            }
        }
        Some("boolean") => dice.pick(&[json!(true), json!(false), json!("true"), json!(1)]).clone(),
        Some("array") => (0..dice.below(4)).map(|_| value(dice, &property["items"], depth + 1)).collect(),
        Some("object") => {
            let properties = property["properties"].as_object().cloned().unwrap_or_default();
            properties.iter().map(|(name, inner)| (name.clone(), value(dice, inner, depth + 1))).collect()
        }
        Some(_) | None => json!(text(dice)),
    }
}

/// A value of some other shape.
fn wrong(dice: &mut Dice) -> Value {
    match dice.below(9) {
        0 => Value::Null,
        1 => json!([]),
        2 => json!({}),
        3 => json!([[[[["deep"]]]]]),
        4 => json!(-1),
        5 => json!(u64::MAX),
        6 => json!(0.5),
        7 => json!("x".repeat(dice.below(70_000))),
        _ => json!(text(dice)),
    }
}

/// A text: names that are there, names that lead out, patterns that are none, and noise.
fn text(dice: &mut Dice) -> String {
    const TAME: [&str; 13] = [
        "notes.txt",
        "notes.txt",
        "src/main.py",
        "src",
        "docs",
        "docs/guide.md",
        "checks",
        "checks/test_one.py",
        ".",
        "one",
        "two",
        "hello",
        "new/file.txt",
    ];
    const WILD: [&str; 37] = [
        "",
        " ",
        "empty",
        "a.b",
        "three\n",
        "*.md",
        "**/*",
        "{a,b",
        "[",
        "(",
        "(?P<x",
        "a{1000000}",
        "(a*)*b",
        "..",
        "../outside/canary",
        "/etc/passwd",
        "/proc/self/environ",
        "~/.ssh/id_rsa",
        "file:///etc/passwd",
        "C:\\x",
        "--help",
        "-rf",
        "@file",
        "$(touch pwned)",
        "`touch pwned`",
        "; touch pwned",
        "a\0b",
        "a\nb",
        "\u{1b}]52;c;YQ==\u{7}",
        "\u{202e}evil",
        "caf\u{e9}",
        "cafe\u{301}",
        "py",
        "rust",
        "content",
        ".git/hooks/pre-commit",
        "checks/../../outside/canary",
    ];
    match dice.below(16) {
        0 => (0..dice.below(30)).filter_map(|_| char::from_u32(dice.below(0x11_0000) as u32)).collect(),
        1 => format!("{}/{}", dice.pick(&TAME), dice.pick(&WILD)),
        2..=5 => (*dice.pick(&WILD)).to_owned(),
        _ => (*dice.pick(&TAME)).to_owned(),
    }
}

/// Tools that find nothing to work on in this place: no project of their kind, no repository, no run that left something.
const WITHOUT_WORK: [&str; 10] = [
    "build",
    "check_types",
    "format",
    "git_commit",
    "git_diff",
    "git_log",
    "git_show",
    "git_status",
    "keep_changes",
    "lint",
];

#[test]
fn thrown_arguments_never_harm_a_tool_that_reads() {
    let place = place();
    let mut server = Server::start(&place, Era::Stateless);
    let outside = place.outside();
    for tool in listed(&mut server).into_iter().filter(|tool| !tool.writes) {
        // What `run_tests` was asked to keep stays for the tools after it.
        let before = place.tree();
        let mut dice = Dice::new(0xC0FF);
        let mut right = 0;
        for _ in 0..CASES / AT_A_TIME {
            let cases: Vec<(i64, Value)> = (0..AT_A_TIME)
                .map(|_| {
                    let arguments = throw(&mut dice, &tool);
                    (server.begin(&tool.name, arguments.clone()), arguments)
                })
                .collect();
            for (id, arguments) in cases {
                let called = server.called(id);
                right += usize::from(!called.is_error);
                assert!(!called.text.trim().is_empty(), "{} {arguments}: {}", tool.name, called.whole);
                assert!(!called.whole.to_string().contains("untouched"), "{} {arguments}: leaked", tool.name);
            }
        }
        println!("{:<14} {CASES} cases, {right} of them right", tool.name);
        // Otherwise the cases do not come far enough to be worth throwing. No run is known here to ask about.
        let asks_about_runs = ["get_run", "cancel_run"].contains(&tool.name.as_str());
        let has_no_work = WITHOUT_WORK.contains(&tool.name.as_str());
        assert!(right > CASES / 50 || asks_about_runs || has_no_work, "{}: only {right}", tool.name);
        let changed = place.tree().differences(&before);
        assert!(changed.is_empty(), "{} changed {changed:?}", tool.name);
        assert_eq!(place.outside(), outside, "{}", tool.name);
    }
    assert!(!server.call("read_file", json!({ "path": "notes.txt" })).is_error);
    server.end();
}

#[test]
fn thrown_arguments_never_make_a_writing_tool_write_elsewhere() {
    let place = place();
    let outside = place.outside();
    let mut server = Server::start(&place, Era::Stateless);
    for tool in listed(&mut server).into_iter().filter(|tool| tool.writes) {
        let mut dice = Dice::new(0xBEEF);
        let mut before = place.tree();
        let mut right = 0;
        for case in 0..CASES {
            // Something to work on, again and again: these tools move and delete it.
            if case % 20 == 0 {
                // What was held hides what is written anew: a move out of the way takes its source along, for the session.
                assert!(place.run(&["changes", "discard", "--all"]).status.success());
                place.empty();
                for file in FILES {
                    place.write(file, "one\ntwo\nhello\n");
                }
                before = place.tree();
            }
            let arguments = throw(&mut dice, &tool);
            let called = server.call(&tool.name, arguments.clone());
            assert!(!called.text.trim().is_empty(), "{} {arguments}: {}", tool.name, called.whole);
            let after = place.tree();
            if called.is_error {
                let changed = after.differences(&before);
                assert!(changed.is_empty(), "{} {arguments} failed and changed {changed:?}", tool.name);
            }
            right += usize::from(!called.is_error);
            before = after;
        }
        println!("{:<14} {CASES} cases, {right} of them right", tool.name);
        let has_no_work = WITHOUT_WORK.contains(&tool.name.as_str());
        assert!(right > CASES / 100 || has_no_work, "{}: only {right}", tool.name);
        assert_eq!(place.outside(), outside, "{}", tool.name);
        assert!(!place.workspace().join(".git/hooks/pre-commit").exists(), "{}: protected", tool.name);
    }
    assert_not_anywhere(&place, "pwned");
    server.end();
}
