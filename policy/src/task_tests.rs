//! Tasks held to their promises, on policy files as owners write them.

use super::*;

const MIGRATE: &str = r#"
[[task]]
name = "migrate"
description = "Moves the database to another version."
argv = ["./scripts/migrate", "run", "{direction}", "--steps={steps}", "{verbose}", "--file={file}", "{label}"]
write = ["db/**"]
timeout_seconds = 60
memory_mb = 512
parameters.direction = { type = "enum", values = ["up", "down"], description = "Which way." }
parameters.steps = { type = "integer", minimum = -1, maximum = 9, optional = true, description = "How many." }
parameters.verbose = { type = "flag", word = "--verbose", description = "Whether it says more." }
parameters.file = { type = "path", optional = true, description = "Which file." }
parameters.label = { type = "text", max_length = 20, optional = true, description = "A label." }
"#;

/// A call of `migrate` as its tool would plan it.
fn call(lane: Lane) -> Plan {
    let mut call = plan("migrate");
    call.arguments.insert("direction".into(), "up".into());
    call.work = Work::Execute;
    call.hand_back = HandBack::Matching(vec!["db/**".into()]);
    call.lane = lane;
    call
}

fn allows_call(policy: &Policy) -> bool {
    allows(policy, call(Lane::Routine))
}

#[test]
fn naming_a_task_allows_it_by_a_rule_that_is_shown() {
    let policy = load(MIGRATE).unwrap();
    let task = policy.tasks().next().unwrap();
    assert_eq!((task.name.as_str(), task.program.as_str(), task.words.len()), ("migrate", "./scripts/migrate", 6));
    assert_eq!((task.limits.wall_seconds, task.limits.memory_mb), (60, 512));
    let Verdict::Allow(permit) = policy.judge(call(Lane::Routine)) else { panic!() };
    assert_eq!(permit.rule(), "task-migrate");
    let shown = policy.effective();
    for part in [
        "[[task]]\nname = \"migrate\"",
        "\"--steps={steps}\"",
        "id = \"task-migrate\"\ntools = [\"migrate\"]\ndecision = \"allow\"",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // What is shown loads again and means the same.
    let again = load(shown.trim_start_matches(|letter| letter != '\n').replace("version = 1\n", "").as_str()).unwrap();
    assert_eq!((again.effective(), again.sha256()), (shown, policy.sha256()));
}

#[test]
fn a_task_is_judged_as_any_other_tool() {
    let denied = format!(
        "{MIGRATE}{}",
        rule(
            "no-up",
            "tools = [\"migrate\"]\ndecision = \"deny\"\nwhen = { direction = \"up\" }\nmatch = [{ tool = \"migrate\", args = { direction = \"up\" } }]"
        )
    );
    assert!(!allows_call(&load(&denied).unwrap()));
    let restated = format!(
        "{MIGRATE}{}",
        rule(
            "down-only",
            "tools = [\"migrate\"]\nwhen = { direction = \"down\" }\nmatch = [{ tool = \"migrate\", args = { direction = \"down\" } }]"
        )
    );
    let policy = load(&restated).unwrap();
    assert!(!allows_call(&policy) && !policy.effective().contains("task-migrate"));
    let limited = format!("[limits]\nwrite = [\"src/**\"]\n{MIGRATE}");
    assert!(problems(&limited).contains("`write` asks for more than policy.toml:3 allows"), "{}", problems(&limited));
    assert!(
        problems(&format!(
            "{MIGRATE}{}",
            rule("x", "tools = [\"migrate\"]\nwhen = { way = \"up\" }\nmatch = [{ tool = \"migrate\" }]")
        ))
        .contains("has no argument `way`")
    );
}

#[test]
fn a_sensitive_task_asks_its_approvers() {
    let text = format!("{MIGRATE}lane = \"sensitive\"\n");
    assert!(problems(&text).contains("a sensitive task needs `approvers"));
    let text = format!("{text}approvers = {{ min = 1, from = [\"group:ops\"], not_requester = true }}\n");
    let policy = load(&text).unwrap();
    assert!(matches!(policy.judge(call(Lane::Sensitive)), Verdict::Ask(_)));
    let shown = policy.effective();
    let again = load(shown.trim_start_matches(|letter| letter != '\n').replace("version = 1\n", "").as_str()).unwrap();
    assert_eq!(again.effective(), shown);
    // An allow of one's own does not lift a task out of its lane.
    let allowed = format!("{text}{}", rule("all", "tools = [\"migrate\"]\nmatch = [{ tool = \"migrate\" }]"));
    assert!(matches!(load(&allowed).unwrap().judge(call(Lane::Sensitive)), Verdict::Deny(_)));
}

#[test]
fn no_other_layer_names_commands() {
    let text = format!("{BUILTIN}\n{MIGRATE}");
    let base = Layer { text: &text, ..BASE };
    let error = Policy::load(&[base], &shapes()).unwrap_err().to_string();
    assert!(error.contains("belongs to the operator's file"), "{error}");
}

#[test]
fn an_option_goes_with_its_value_where_the_file_says_so_and_is_never_left_alone_by_a_guess() {
    let task = |argv: &str, optional: &str| {
        format!(
            "[[task]]\nname = \"t\"\ndescription = \"x\"\nargv = {argv}\nparameters.a = {{ type = \"text\", description = \"x\"{optional} }}\n"
        )
    };
    let (optional, required) = (", optional = true", "");
    for argv in [
        r#"["tool", ["--level", "{a}"], "x"]"#,
        r#"["tool", "--level={a}"]"#,
        r#"["tool", "--quiet", "--", "{a}"]"#,
        r#"["tool", "{a}", "--quiet"]"#,
    ] {
        let policy = load(&task(argv, optional)).unwrap();
        assert!(policy.effective().contains(&format!("argv = {argv}")), "{}", policy.effective());
    }
    load(&task(r#"["tool", "--level", "{a}"]"#, required)).unwrap();
    let found = problems(&task(r#"["tool", "--dry-run", "{a}"]"#, optional));
    let told = r#"`--dry-run` stays when `a` is left out, and may then take the next word for its value. If it goes with it, write "--dry-run={a}", or ["--dry-run", "{a}"] as one entry"#;
    assert!(found.contains(told), "{found}");
    for argv in [
        r#"["tool", ["--level"], "{a}"]"#,
        r#"["tool", ["level", "{a}"]]"#,
        r#"["tool", ["--level", "{a}", "x"]]"#,
        r#"["tool", ["--level", "x"], "{a}"]"#,
        r#"["tool", ["--level={a}", "{a}"]]"#,
        r#"["tool", ["--", "{a}"]]"#,
    ] {
        let found = problems(&task(argv, optional));
        assert!(found.contains("a list in `argv` is an option and its value"), "{argv}: {found}");
    }
    assert!(problems(&task(r#"[["tool", "{a}"]]"#, optional)).contains("is a program, and no list"));
    assert!(problems(&task(r#"["tool", 5]"#, optional)).contains("a word, or a list of an option and its value"));
}

#[test]
fn what_would_be_a_free_command_line_is_refused() {
    let task = |argv: &str| {
        format!(
            "[[task]]\nname = \"t\"\ndescription = \"x\"\nargv = {argv}\nparameters.a = {{ type = \"text\", description = \"x\" }}\nparameters.n = {{ type = \"integer\", minimum = -5, maximum = 5, description = \"x\" }}\n"
        )
    };
    load(&task(r#"["tool", "{a}", "--n={n}", "plain"]"#)).unwrap();
    for (argv, message) in [
        (r#"["sh", "-c", "{a} {n}"]"#, "never a shell (`sh`)"),
        (r#"["./bin/bash", "{a}", "--n={n}"]"#, "never a shell (`bash`)"),
        (r#"["env", "{a}", "--n={n}"]"#, "never a shell (`env`)"),
        (r#"["{a}", "--n={n}"]"#, "the first word of `argv` is a program"),
        (r#"["./{a}", "--n={n}"]"#, "the first word of `argv` is a program"),
        (r#"["/usr/bin/tool", "{a}", "--n={n}"]"#, "the first word of `argv` is a program"),
        (r#"["../tool", "{a}", "--n={n}"]"#, "the first word of `argv` is a program"),
        (r#"["./../tool", "{a}", "--n={n}"]"#, "the first word of `argv` is a program"),
        (r#"["-tool", "{a}", "--n={n}"]"#, "the first word of `argv` is a program"),
        (r#"["tool", "x{a}", "--n={n}"]"#, "a placeholder is a whole word"),
        (r#"["tool", "{a}x", "--n={n}"]"#, "a placeholder is a whole word"),
        (r#"["tool", "{a}{n}"]"#, "a placeholder is a whole word"),
        (r#"["tool", "{a}", "a}", "--n={n}"]"#, "a placeholder is a whole word"),
        (r#"["tool", "{b}", "{a}", "--n={n}"]"#, "there is no parameter `b`"),
        (r#"["tool", "{a}", "{n}"]"#, "read a dash as the beginning of an option"),
        (r#"["tool", "{a}"]"#, "the parameter `n` is in no word"),
        (r#"[]"#, "`argv` is a program and its words"),
        ("[\"tool\", \"a\\nb\", \"{a}\", \"--n={n}\"]", "on one line"),
    ] {
        let found = problems(&task(argv));
        assert!(found.contains(message), "{argv}: {found}");
    }
}

#[test]
fn what_a_task_lacks_is_told_with_its_line() {
    let task = |rest: &str| format!("[[task]]\ndescription = \"x\"\nargv = [\"tool\"]\n{rest}\n");
    for (rest, message) in [
        ("name = \"run_tests\"", "policy.toml:5: `run_tests` is a tool already"),
        ("name = \"Deploy it\"", "policy.toml:5: a task's `name` is 1 to 30 of"),
        ("name = \"t\"\nshell = true", "unknown field `shell`"),
        ("name = \"t\"\ntimeout_seconds = 0", "a task's `timeout_seconds` is a whole number from 1 to 7200"),
        ("name = \"t\"\ndirectory = \"../x\"", "a `directory` is relative to the workspace"),
        ("name = \"t\"\nwrite = [\"[\"]", "policy.toml:6"),
        ("name = \"t\"\nexpires = \"5m\"", "`expires` belongs to a task of the sensitive lane"),
        ("name = \"t\"\nparameters.a = { type = \"enum\", description = \"x\" }", "an enum needs `values`"),
        (
            "name = \"t\"\nparameters.a = { type = \"path\", minimum = 1, description = \"x\" }",
            "`minimum` does not belong",
        ),
        ("name = \"t\"\nparameters.a = { type = \"flag\", description = \"x\" }", "a flag needs a `word`"),
        ("name = \"t\"\nparameters.a = { type = \"regex\", description = \"x\" }", "unknown variant, expected one of"),
    ] {
        let found = problems(&task(rest));
        assert!(found.contains(message), "{rest}: {found}");
    }
    let twice = format!("{}{}", task("name = \"t\""), task("name = \"t\""));
    assert!(problems(&twice).contains("the task `t` is already named at policy.toml:2"), "{}", problems(&twice));
}
