//! Loading held to its promises, on policy files as people write them.

use cofferdam_contract::{HandBack, Isolation, Lane, Work, WorkspacePath};
use proptest::prelude::*;

use super::*;
use crate::{effective::tests::reload, judge::tests::plan};

pub(crate) fn shapes() -> Vec<ToolShape> {
    [
        ("read_file", &["path"][..]),
        ("list_files", &["path", "glob", "depth"]),
        ("search_files", &["pattern", "path"]),
        ("write_file", &["path", "content"]),
        ("edit_file", &["path", "old_string", "new_string", "replace_all"]),
        ("move_file", &["source", "destination"]),
        ("delete_file", &["path"]),
        ("run_tests", &["filter", "path", "runner", "keep", "timeout_seconds"]),
        ("lint", &["path", "tool", "mode"]),
        ("format", &["path", "tool", "mode"]),
        ("check_types", &["path", "tool"]),
        ("build", &["path", "tool", "export"]),
        ("list_changes", &[]),
        ("get_run", &["run_id", "wait_seconds"]),
        ("cancel_run", &["run_id"]),
        ("keep_changes", &["call", "paths"]),
        ("git_status", &[]),
        ("git_diff", &["path", "staged", "revision"]),
        ("git_log", &["path", "limit"]),
        ("git_show", &["revision", "path"]),
        ("git_commit", &["message", "paths"]),
        ("deploy", &["env"]),
    ]
    .into_iter()
    .map(|(name, arguments)| ToolShape {
        name: name.to_owned(),
        arguments: arguments.iter().map(|name| (*name).to_owned()).collect(),
        required: BTreeSet::new(),
    })
    .collect()
}

pub(crate) const BASE: Layer<'static> = Layer { name: LayerName::Builtin, file: "builtin", text: BUILTIN };

pub(crate) fn load(operator: &str) -> Result<Policy, LoadError> {
    let text = format!("version = 1\n{operator}");
    Policy::load(&[BASE, Layer { name: LayerName::Operator, file: "policy.toml", text: &text }], &shapes())
}

/// Every problem of an operator's file whose first line is `version = 1`.
fn problems(operator: &str) -> String {
    load(operator).map(|policy| policy.effective()).expect_err("the file should be refused").to_string()
}

/// A rule as text: `id` and everything else that is not in `rest`.
pub(crate) fn rule(id: &str, rest: &str) -> String {
    let mut text = format!("[[rule]]\nid = \"{id}\"\n{rest}\n");
    for (key, default) in [
        ("tools", "[\"run_tests\"]"),
        ("decision", "\"allow\""),
        ("why", "\"x\""),
        ("match", "[{ tool = \"run_tests\" }]"),
    ] {
        if !rest.lines().any(|line| line.starts_with(&format!("{key} "))) {
            text.push_str(&format!("{key} = {default}\n"));
        }
    }
    text
}

fn allows(policy: &Policy, plan: Plan) -> bool {
    matches!(policy.judge(plan), Verdict::Allow(_))
}

fn refusal(policy: &Policy, plan: Plan) -> String {
    match policy.judge(plan) {
        Verdict::Deny(refusal) => refusal.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_builtin_policy_allows_everyday_tools_and_nothing_else() {
    let policy = Policy::load(&[BASE], &shapes()).unwrap();
    for tool in shapes() {
        let mut call = plan(&tool.name);
        assert_eq!(allows(&policy, call.clone()), tool.name != "deploy", "{}", tool.name);
        call.network = Network::Registry;
        assert!(!allows(&policy, call.clone()), "{}", tool.name);
        call.network = Network::Off;
        call.lane = Lane::Sensitive;
        assert!(!allows(&policy, call), "{}", tool.name);
    }
    assert_eq!(policy.warnings().len(), 1);
    assert_eq!(policy.warnings()[0].to_string(), "builtin:1: every call of `deploy` is refused: no rule allows it");
}

#[test]
fn the_builtin_policy_is_short_enough_to_read() {
    assert!(BUILTIN.lines().count() <= 45);
}

#[test]
fn the_builtin_ceilings_cut_nothing_that_tools_ask_for() {
    let policy = Policy::load(&[BASE], &shapes()).unwrap();
    for limits in [Limits::FILES, Limits::TESTS] {
        assert_eq!(limits.min(policy.limits()), limits);
    }
}

#[test]
fn a_permit_carries_all_that_policy_says() {
    let policy = load(
        "require = [\"disk\"]\n[limits]\nmemory_mb = 100\nisolation = \"container\"\n[env]\nA = \"1\"\n[protect]\npaths = [\"x/**\"]",
    )
    .unwrap();
    let call = plan("run_tests");
    let Verdict::Allow(permit) = policy.judge(call.clone()) else { panic!("refused") };
    assert_eq!(permit.plan(), &call);
    assert_eq!(permit.rule(), "everyday");
    assert_eq!(permit.policy_sha256(), policy.sha256());
    assert_eq!(permit.limits(), Limits { memory_mb: 100, ..Limits::FILES });
    assert_eq!(permit.isolation(), Isolation::Container);
    assert_eq!(permit.environment(), &BTreeMap::from([("A".to_owned(), "1".to_owned())]));
    assert_eq!(permit.protect().added(), ["x/**"]);
    assert!(permit.write().allows(&WorkspacePath::workspace()));
    assert!(permit.required().contains(&Guarantee::Disk));
    assert!(!permit.required().contains(&Guarantee::Memory));
    for guarantee in Guarantee::ALL {
        assert!(guarantee.kind() != Kind::Boundary || permit.required().contains(&guarantee), "{guarantee:?}");
    }
}

#[test]
fn session_work_is_judged_like_any_other() {
    let policy =
        load(&rule("no", "tools = [\"cancel_run\"]\ndecision = \"deny\"\nmatch = [{ tool = \"cancel_run\" }]"))
            .unwrap();
    let request = cofferdam_contract::SessionRequest::CancelRun { run_id: "r".into() };
    let call = Plan { work: Work::Session(request), ..plan("cancel_run") };
    assert_eq!(refusal(&policy, call), "refused by the policy's rule `no`: x.");
}

#[test]
fn an_operators_allow_says_all_that_is_allowed_of_its_tools_and_of_no_others() {
    let policy = load(&rule(
        "cargo",
        "when = { runner = \"cargo\" }\nmatch = [{ tool = \"run_tests\", args = { runner = \"cargo\" } }]",
    ))
    .unwrap();
    let mut call = plan("run_tests");
    assert!(!allows(&policy, call.clone()));
    call.arguments.insert("runner".into(), "cargo".into());
    assert!(allows(&policy, call));
    assert!(allows(&policy, plan("read_file")));
}

#[test]
fn an_operators_deny_and_approve_stand_beside_the_builtin_rules() {
    let approvers = "approvers = { min = 1, from = [\"user:ana\"], not_requester = false }";
    let policy = load(&format!(
        "{}{}",
        rule("no-node", "decision = \"deny\"\nwhen = { runner = \"node\" }\nmatch = [{ tool = \"run_tests\", args = { runner = \"node\" } }]"),
        rule("ask", &format!("tools = [\"delete_file\"]\ndecision = \"approve\"\n{approvers}\nmatch = [{{ tool = \"delete_file\" }}]")),
    ))
    .unwrap();
    let mut call = plan("run_tests");
    assert!(allows(&policy, call.clone()));
    call.arguments.insert("runner".into(), "node".into());
    assert!(!allows(&policy, call));
    assert!(matches!(policy.judge(plan("delete_file")), Verdict::Ask(_)));
}

#[test]
fn hand_back_stays_inside_the_write_globs() {
    let policy = load("[limits]\nwrite = [\"src/**\"]").unwrap();
    let path = |text: &str| WorkspacePath::parse(text, "/work").unwrap();
    let with = |hand_back| Plan { hand_back, ..plan("write_file") };
    assert!(allows(&policy, with(HandBack::Paths(vec![path("src/a")]))));
    assert_eq!(
        refusal(&policy, with(HandBack::Paths(vec![path("Cargo.toml")]))),
        "refused by the policy: the call would change `Cargo.toml`, and [limits] write allows only `src/**`. \
         Allowed instead: changes inside `src/**`."
    );
}

#[test]
fn unknown_and_misspelt_things_are_errors_with_their_line() {
    for (text, expected) in [
        ("[limits]\nnetwrk = \"off\"", "policy.toml:3: unknown field `netwrk`"),
        (
            "[limits]\nnetwork = \"on\"",
            "policy.toml:3: unknown variant, expected one of `off`, `registry`, `allowlist`",
        ),
        ("extends = \"org\"", "policy.toml:2: unknown field `extends`"),
        ("[protect]\npath = []", "policy.toml:3: unknown field `path`"),
        ("[[rule]]\nid = \"a\"\nlog_only = true", "policy.toml:4: unknown field `log_only`"),
        ("[limits]\npids = \"many\"", "policy.toml:3: invalid type: string, expected i64"),
        ("[limits]\npids = 1\npids = 2", "policy.toml:4: duplicate key"),
        ("= 1", "policy.toml:2: "),
        ("[env]\nA = 1", "policy.toml:3: invalid type: integer, expected a string"),
        (&rule("a", "when = { runner = 1.5 }"), "policy.toml:4: invalid type: floating point, expected"),
        (&rule("a", "when = { runner = { regex = \"x\" } }"), "policy.toml:4: the only table in `when` is { prefix"),
        (&rule("a", "when = { runner = [[\"x\"]] }"), "policy.toml:4: a list in `when` holds texts"),
        (
            &rule("a", "approvers = { min = 1, from = [], any = 1, not_requester = true }"),
            "policy.toml:4: unknown field `any`",
        ),
        (&rule("a", "match = [{ tool = \"run_tests\", arg = {} }]"), "policy.toml:4: unknown field `arg`"),
    ] {
        let found = problems(text);
        assert!(found.starts_with(expected), "{text}\n{found}");
    }
    let version = Policy::load(&[Layer { text: "\nversion = 2", ..BASE }], &shapes()).unwrap_err().to_string();
    assert_eq!(version, "builtin:2: version 2 is not known; write `version = 1`");
    let missing = Policy::load(&[Layer { text: "# nothing", ..BASE }], &shapes()).unwrap_err().to_string();
    assert_eq!(missing, "builtin:1: missing field `version`");
}

#[test]
fn wrong_values_are_errors_with_their_line_and_what_to_write() {
    let long = "x".repeat(1001);
    for (text, expected) in [
        ("[limits]\npids = 0", "policy.toml:3: [limits] pids is a whole number from 4 to 4194304"),
        ("[limits]\nmemory_mb = -1", "policy.toml:3: [limits] memory_mb is a whole number from 16 to 16777216"),
        (
            "[limits]\nregistries = [\"npn\"]",
            "policy.toml:3: there is no registry \"npn\"; the known ones are crates, debian, go, maven, npm, nuget, pypi, rubygems; did you mean `npm`?",
        ),
        (
            "[limits]\nallow_hosts = [\n  \"a.example\",\n  \"*.example\",\n]",
            "policy.toml:5: \"*.example\" holds a wildcard; hosts are exact names, one by one",
        ),
        ("[limits]\nwrite = [\"../x\"]", "policy.toml:3: the glob \"../x\" holds `.` or `..`"),
        ("[secrets]\nfiles = \"shown\"", "policy.toml:3: unknown variant, expected `masked` or `absent` (key `files`)"),
        ("[secrets]\nmask = []", "policy.toml:3: unknown field `mask`, expected one of `files`, `paths`, `allow`"),
        (
            "[secrets]\npaths = [\"/etc\"]",
            "policy.toml:3: the glob \"/etc\" starts with `/`; globs are relative to the workspace",
        ),
        ("[secrets]\nallow = [\"*.env\"]", "policy.toml:3: the glob \"*.env\" holds a wildcard; name one path"),
        ("[protect]\npaths = [\"!.git\"]", "policy.toml:3: the glob \"!.git\" starts with `!`; there is no negation"),
        (
            "require = [\"pids\"]",
            "policy.toml:2: `require` names what must not be absent: \"memory\", \"cpu\", \"disk\", \"kernel\"",
        ),
        (
            "[env]\nA = \"1\"\nld_preload = \"x\"",
            "policy.toml:4: [env] ld_preload loads code into programs or redirects tools, so no policy may set it; remove it",
        ),
        (
            "[env]\nGH_TOKEN = \"x\"",
            "policy.toml:3: [env] GH_TOKEN looks like a credential, and credentials never enter a sandbox; remove it",
        ),
        (&rule("A b", ""), "policy.toml:3: an `id` is 1 to 64 of a-z, 0-9 and `-`"),
        (&rule("a", "why = \" \""), "policy.toml:4: a `why` says something"),
        (&rule("a", &format!("why = \"{long}\"")), "policy.toml:4: a `why` is one line of at most 1000 bytes"),
        (&rule("a", "tools = []"), "policy.toml:4: `tools` names at least one tool"),
        (&rule("a", "tools = [\"run_tests\", \"run_tests\"]"), "policy.toml:4: `run_tests` is named twice"),
        (&rule("a", "when = { runner = [] }"), "policy.toml:4: an empty list holds for nothing; name the values"),
        (&rule("a", "when = { runner = [\"a\", \"a\"] }"), "policy.toml:4: a list in `when` names each value once"),
        (
            &rule("a", "when = { path = { prefix = \"/src\" } }"),
            "policy.toml:4: a prefix is relative to the workspace; remove the leading `/`",
        ),
        (
            &rule("a", "when = { path = { prefix = \"../src\" } }"),
            "policy.toml:4: \"../src\" is not a folder below the workspace",
        ),
        (
            &rule("a", "when = { path = { prefix = \"\" } }"),
            "policy.toml:4: a prefix names a folder; \".\" is the workspace itself",
        ),
        (
            &rule("a", "when = { suite = \"unit\" }"),
            "policy.toml:4: `run_tests` has no argument `suite`; it has filter, keep, path, runner, timeout_seconds",
        ),
        (&rule("a", "match = []"), "policy.toml:4: `match` shows at least one call"),
        (&rule("a", "match = [{ tool = \"bash\" }]"), "policy.toml:4: there is no tool `bash`"),
        (
            &rule("a", "match = [{ tool = \"run_tests\", args = { x = 1 } }]"),
            "policy.toml:4: `run_tests` has no argument `x`; it has filter, keep, path, runner, timeout_seconds",
        ),
        (
            &rule("a", "lane = \"sensitive\""),
            "policy.toml:4: a sensitive call is never simply allowed; write decision = \"approve\"",
        ),
        (&rule("a", "expires = \"1m\""), "policy.toml:4: `expires` belongs to \"approve\""),
        (
            &rule("a", "decision = \"deny\"\nnetwork = \"off\""),
            "policy.toml:5: a rule that denies grants nothing; remove this line",
        ),
        (&rule("a", "credentials = [\"A\"]"), "policy.toml:4: the name of a credential is 1 to 64 of a-z, 0-9 and `-`"),
        (
            &rule("a", "decision = \"approve\""),
            "policy.toml:2: the rule needs `approvers = { min = 1, from = [\"group:…\"], not_requester = true }`",
        ),
    ] {
        assert_eq!(problems(text), expected, "{text}");
    }
    let approve = |approvers: &str, rest: &str| {
        problems(&rule(
            "a",
            &format!("decision = \"approve\"\napprovers = {{ {approvers}, not_requester = true }}\n{rest}"),
        ))
    };
    assert_eq!(approve("min = 0, from = [\"user:a\"]", ""), "policy.toml:5: `min` is 1 to 16 people");
    assert_eq!(approve("min = 1, from = []", ""), "policy.toml:5: `from` names somebody who may approve");
    assert_eq!(
        approve("min = 1, from = [\"ana\"]", ""),
        "policy.toml:5: an approver is \"user:NAME\" or \"group:NAME\""
    );
    for expires in ["1d", "30s", "25h", "-5m", "m", ""] {
        assert_eq!(
            approve("min = 1, from = [\"user:a\"]", &format!("expires = \"{expires}\"")),
            "policy.toml:6: `expires` is from \"1m\" to \"24h\", such as \"15m\"",
            "{expires}"
        );
    }
}

#[test]
fn a_rule_without_its_parts_is_told_all_of_them_at_once() {
    let found = problems("[[rule]]\nnetwork = \"off\"");
    let parts = ["an `id`", "`tools`", "a `why`", "a `decision`", "`match`"];
    assert_eq!(found.lines().count(), parts.len(), "{found}");
    for part in parts {
        assert!(found.contains(&format!("policy.toml:2: the rule needs {part}")), "{part}\n{found}");
    }
}

#[test]
fn hosts_are_exact_names() {
    let with = |host: &str| load(&format!("[limits]\nallow_hosts = [\"{host}\"]"));
    for host in ["mirror.example", "intranet", "a-b.example:8443", "xn--bcher-kva.example"] {
        assert!(with(host).is_ok(), "{host}");
    }
    for host in [
        "*",
        "*.example",
        "a.*",
        "A.example",
        "a.example.",
        "https://a.example",
        "a.example/x",
        "u@a.example",
        "a.example:0",
        "a.example:99999",
        "a.example:",
        "a.example:0443",
        "127.0.0.1",
        "0x7f.1",
        "[::1]",
        "",
        "bücher.example",
        "-a.example",
    ] {
        assert!(with(host).is_err(), "{host}");
    }
}

#[test]
fn examples_are_tried_when_the_file_is_loaded() {
    let when = "when = { runner = \"cargo\" }";
    assert_eq!(problems(&rule("a", when)), "policy.toml:8: this example of `match` is not matched by its rule `a`");
    let wrong =
        rule("a", "not_match = [\n  { tool = \"deploy\" },\n  { tool = \"run_tests\", args = { runner = \"x\" } },\n]");
    assert_eq!(problems(&wrong), "policy.toml:6: this example of `not_match` is matched by its rule `a`");
}

#[test]
fn ids_are_taken_once() {
    let twice = format!("{}{}", rule("a", "tools = [\"run_tests\"]"), rule("a", "decision = \"deny\""));
    assert!(problems(&twice).contains("policy.toml:8: the id `a` is taken by policy.toml:2; choose another"));
    assert_eq!(
        problems(&rule(
            "everyday",
            "decision = \"deny\"\nwhen = { runner = \"x\" }\nmatch = [{ tool = \"run_tests\", args = { runner = \"x\" } }]"
        )),
        "policy.toml:2: the id `everyday` is taken by builtin:22; choose another"
    );
}

#[test]
fn a_rule_that_can_never_decide_is_an_error() {
    let cargo = "when = { runner = \"cargo\" }\nmatch = [{ tool = \"run_tests\", args = { runner = \"cargo\" } }]";
    let dead = |first: &str, second: &str| load(&format!("{}{}", rule("a", first), rule("b", second)));
    let message = "policy.toml:8: the rule `b` never decides: wherever it matches, `a` decides the same or stricter; remove it or change it";
    // Broader and stricter.
    assert_eq!(dead("decision = \"deny\"", cargo).unwrap_err().to_string(), message);
    // Broader and the same.
    assert_eq!(dead("decision = \"allow\"", cargo).unwrap_err().to_string(), message);
    assert_eq!(dead("decision = \"deny\"", &format!("decision = \"deny\"\n{cargo}")).unwrap_err().to_string(), message);
    // Narrower grants, or elsewhere.
    assert!(dead("isolation = \"container\"", cargo).is_err());
    assert!(dead("", &format!("isolation = \"container\"\n{cargo}")).is_ok());
    assert!(dead("", &format!("decision = \"deny\"\n{cargo}")).is_ok());
}

#[test]
fn a_rule_covered_only_by_several_others_together_is_dead_too() {
    let with = |id: &str, values: &str, first: &str, decision: &str| {
        rule(
            id,
            &format!(
                "decision = \"{decision}\"\nwhen = {{ runner = {values} }}\nmatch = [{{ tool = \"run_tests\", args = {{ runner = \"{first}\" }} }}]"
            ),
        )
    };
    let covered = format!(
        "{}{}{}",
        with("a", "\"x\"", "x", "deny"),
        with("b", "\"y\"", "y", "deny"),
        with("c", "[\"x\", \"y\"]", "x", "allow")
    );
    assert_eq!(
        problems(&covered),
        "policy.toml:16: the rule `c` never decides: wherever it matches, `a`, `b` decides the same or stricter; remove it or change it"
    );
    let open = covered.replace("[\"x\", \"y\"]", "[\"x\", \"y\", \"z\"]");
    assert!(load(&open).is_ok());
}

#[test]
fn a_deny_that_nothing_allows_still_gives_its_reason() {
    let policy = load(&rule("prod", "tools = [\"deploy\"]\ndecision = \"deny\"\nwhen = { env = \"prod\" }\nmatch = [{ tool = \"deploy\", args = { env = \"prod\" } }]")).unwrap();
    let mut call = plan("deploy");
    call.arguments.insert("env".into(), "prod".into());
    assert_eq!(refusal(&policy, call), "refused by the policy's rule `prod`: x.");
}

#[test]
fn a_limit_that_asks_for_more_than_the_builtin_names_both_lines() {
    assert_eq!(
        problems("[limits]\npids = 99999\nwall_seconds = 90"),
        "policy.toml:3: [limits] pids = 99999 asks for more than builtin:17 allows: at most 16384"
    );
    let narrow = Layer { text: "version = 1\n[limits]\nnetwork = \"off\"\nwrite = [\"src/**\"]", ..BASE };
    let operator = Layer {
        name: LayerName::Operator,
        file: "policy.toml",
        text: "version = 1\n[limits]\nwrite = [\"src/a\", \"docs/**\"]\nnetwork = \"registry\"",
    };
    assert_eq!(
        Policy::load(&[narrow, operator], &shapes()).unwrap_err().to_string(),
        "policy.toml:3: [limits] write = [\"docs/**\", \"src/a\"] asks for more than builtin:4 allows: only what lies in [\"src/**\"]\n\
         policy.toml:4: [limits] network = \"registry\" asks for more than builtin:3 allows: at most \"off\""
    );
}

#[test]
fn a_rule_that_grants_more_than_the_limits_names_both_lines() {
    let text =
        format!("[limits]\nnetwork = \"registry\"\nisolation = \"gvisor\"\n{}", rule("a", "network = \"allowlist\""));
    assert_eq!(problems(&text), "policy.toml:7: the rule grants more than policy.toml:3 allows: at most \"registry\"");
    let text = text.replace("network = \"allowlist\"", "isolation = \"container\"");
    assert_eq!(problems(&text), "policy.toml:7: the rule accepts less than policy.toml:4 allows: at least \"gvisor\"");
}

#[test]
fn network_without_anything_to_reach_is_a_warning_and_refused() {
    let policy = load(&rule("a", "network = \"registry\"")).unwrap();
    assert!(policy.warnings().iter().any(|warning| warning.to_string()
        == "policy.toml:2: the rule `a` grants network = \"registry\", and [limits] registries names nothing to reach"));
    let call = Plan { network: Network::Registry, ..plan("run_tests") };
    assert!(!allows(&policy, call.clone()));
    let policy =
        load(&format!("[limits]\nregistries = [\"crates\"]\n{}", rule("a", "network = \"registry\""))).unwrap();
    assert!(allows(&policy, call));
}

#[test]
fn variables_of_two_layers_add_up_and_never_replace() {
    let base = Layer { text: "version = 1\n[env]\nA = \"1\"", ..BASE };
    let with = |text| Policy::load(&[base, Layer { name: LayerName::Operator, file: "policy.toml", text }], &shapes());
    assert_eq!(with("version = 1\n[env]\nB = \"2\"").unwrap().environment().len(), 2);
    assert_eq!(with("version = 1\n[env]\nA = \"1\"").unwrap().environment().len(), 1);
    assert_eq!(
        with("version = 1\n[env]\nA = \"2\"").unwrap_err().to_string(),
        "policy.toml:3: [env] A is already set by builtin:3"
    );
}

fn load_three(operator: &str, repository: &str) -> Result<Policy, LoadError> {
    let (operator, repository) = (format!("version = 1\n{operator}"), format!("version = 1\n{repository}"));
    let layers = [
        BASE,
        Layer { name: LayerName::Operator, file: "policy.toml", text: &operator },
        Layer { name: LayerName::Repository, file: ".cofferdam.toml", text: &repository },
    ];
    Policy::load(&layers, &shapes())
}

#[test]
fn a_layer_that_narrows_may_not_allow_set_variables_or_ask_for_more() {
    let ask = "tools = [\"deploy\"]\ndecision = \"approve\"\napprovers = { min = 1, from = [\"user:ana\"], not_requester = true }\n\
               match = [{ tool = \"deploy\" }]";
    let ship = rule("ship", &format!("{ask}\nnetwork = \"registry\"\ncredentials = [\"a\"]"));
    let operator = format!("[limits]\npids = 64\nregistries = [\"npm\"]\n{ship}");
    for (repository, expected) in [
        (
            rule("a", ""),
            ".cofferdam.toml:6: a rule that allows belongs into the operator's policy; this layer only narrows, with \"deny\" or \"approve\"",
        ),
        (
            "[env]\nA = \"1\"".to_owned(),
            ".cofferdam.toml:3: [env] A adds a variable, and this layer only narrows; set it in the operator's policy",
        ),
        (
            "[git]\nauthor = \"person\"".to_owned(),
            ".cofferdam.toml:3: this layer only takes away, and whom commits are by is the operator's choice; remove it",
        ),
        (
            "[limits]\npids = 65".to_owned(),
            ".cofferdam.toml:3: [limits] pids = 65 asks for more than policy.toml:3 allows: at most 64",
        ),
        (
            "[limits]\nallow_hosts = [\"a.example\"]".to_owned(),
            ".cofferdam.toml:3: [limits] allow_hosts = [\"a.example\"] asks for more than policy.toml:1 allows: none",
        ),
        (
            rule("b", &format!("{ask}\nnetwork = \"allowlist\"")),
            ".cofferdam.toml:2: the rule `b` asks for network = \"allowlist\" of `deploy`, and policy.toml:5 grants at most \"registry\"",
        ),
        (
            rule("b", &format!("{ask}\ncredentials = [\"b\"]")),
            ".cofferdam.toml:2: the rule `b` asks for the credential `b` of `deploy`, which policy.toml:5 does not grant",
        ),
        (
            rule("b", &format!("{ask}\nlane = \"sensitive\"")),
            ".cofferdam.toml:2: the rule `b` asks for the sensitive lane of `deploy`, and policy.toml:5 grants the routine lane only",
        ),
        (
            rule("b", &format!("{ask}\nnarrows = false")),
            ".cofferdam.toml:8: every rule of this layer narrows; remove this line",
        ),
    ] {
        let found = load_three(&operator, &repository).map(|policy| policy.effective()).expect_err(&repository);
        assert_eq!(found.to_string(), expected, "{repository}");
    }
}

#[test]
fn an_approval_of_a_layer_that_narrows_grants_nothing_of_its_own() {
    let ask = |when: &str| {
        rule(
            "ask",
            &format!(
                "tools = [\"delete_file\", \"deploy\"]\ndecision = \"approve\"\n{when}\n\
                 approvers = {{ min = 1, from = [\"user:ana\"], not_requester = true }}\nmatch = [{{ tool = \"delete_file\" }}]"
            ),
        )
    };
    let policy = load_three("", &ask("")).unwrap();
    assert!(matches!(policy.judge(plan("delete_file")), Verdict::Ask(_)));
    assert!(matches!(policy.judge(plan("deploy")), Verdict::Deny(_)), "nothing allows it, so nobody is asked");
    // The same rule of the operator's is a grant.
    assert!(matches!(load(&ask("")).unwrap().judge(plan("deploy")), Verdict::Ask(_)));
}

#[test]
fn a_narrowing_rule_that_is_dead_under_somebodys_own_policy_is_a_warning() {
    let deny = |id: &str, when: &str, example: &str| {
        rule(
            id,
            &format!(
                "tools = [\"delete_file\"]\ndecision = \"deny\"\n{when}\nmatch = [{{ tool = \"delete_file\", args = {{ {example} }} }}]"
            ),
        )
    };
    let tests = ("when = { path = { prefix = \"tests\" } }", "path = \"tests/a\"");
    let policy = load_three(&deny("all", "", ""), &deny("mine", tests.0, tests.1)).unwrap();
    let warnings: Vec<String> = policy.warnings().iter().map(ToString::to_string).collect();
    assert!(
        warnings.iter().any(|warning| warning.starts_with(
            ".cofferdam.toml:2: the rule `mine` never decides under this machine's policy: wherever it matches"
        )),
        "{warnings:?}"
    );
    // In its own file it is an error as ever.
    let both = format!("{}{}", deny("one", "", ""), deny("two", tests.0, tests.1));
    let found = load_three("", &both).unwrap_err().to_string();
    assert!(found.contains("the rule `two` never decides: wherever it matches, `one` decides"), "{found}");
}

#[test]
fn a_tool_that_is_denied_on_purpose_is_no_cause_for_a_warning() {
    let deny = "tools = [\"delete_file\"]\ndecision = \"deny\"\nmatch = [{ tool = \"delete_file\" }]";
    let warned = |policy: &Policy| policy.warnings().iter().any(|warning| warning.message.contains("delete_file"));
    assert!(!warned(&load(&rule("no", deny)).unwrap()));
}

#[test]
fn layers_come_in_their_order() {
    let operator = Layer { name: LayerName::Operator, ..BASE };
    for layers in [&[][..], &[operator], &[operator, BASE], &[BASE, BASE], &[BASE, operator, operator]] {
        let error = Policy::load(layers, &shapes()).unwrap_err().to_string();
        assert!(
            error.ends_with("a policy starts with the builtin layer, and each layer comes once, in order"),
            "{error}"
        );
    }
}

#[test]
fn conditions_beyond_what_can_be_tried_are_an_error() {
    let values: Vec<String> = (0..250).map(|n| format!("\"v{n}\"")).collect();
    let list = format!("[{}]", values.join(", "));
    let text = rule(
        "a",
        &format!(
            "when = {{ runner = {list}, filter = {list}, path = \"x\" }}\nmatch = [{{ tool = \"run_tests\", args = {{ runner = \"v0\", filter = \"v0\", path = \"x\" }} }}]"
        ),
    );
    assert!(problems(&text).contains("tell apart too many cases"));
}

/// A random operator's file, which may or may not load.
fn any_operator() -> impl Strategy<Value = String> {
    let limit = prop_oneof![
        "network = \"(off|registry|allowlist)\"",
        "isolation = \"(namespace|container)\"",
        "write = \\[(\"src/\\*\\*\")?\\]",
        "write = \\[\"\\*\\*\"\\]",
        "pids = (8|64|99999)",
        "memory_mb = (16|4096)",
        "registries = \\[(\"crates\")?\\]",
    ];
    let rule = (
        "(run_tests|write_file|delete_file)",
        prop_oneof![3 => Just("deny"), 1 => Just("allow")],
        proptest::option::of(prop_oneof!["\"(src|docs)/a\"", "\\{ prefix = \"(src|docs|\\.)\" \\}"]),
    );
    let rules = proptest::collection::vec(rule, 0..4);
    (proptest::collection::btree_map("[a-c]", limit, 0..3), rules).prop_map(|(limits, rules)| {
        let mut text = String::from("version = 1\n[limits]\n");
        let mut keys = BTreeSet::new();
        for limit in limits.values() {
            if keys.insert(limit.split(' ').next().unwrap().to_owned()) {
                text.push_str(&format!("{limit}\n"));
            }
        }
        for (index, (tool, decision, path)) in rules.iter().enumerate() {
            let when = path.as_ref().map(|path| format!("when = {{ path = {path} }}\n")).unwrap_or_default();
            let example = match path {
                Some(path) if path.contains("docs") => ", args = { path = \"docs/a\" }",
                Some(_) => ", args = { path = \"src/a\" }",
                None => "",
            };
            text.push_str(&format!(
                "[[rule]]\nid = \"r{index}\"\ntools = [\"{tool}\"]\ndecision = \"{decision}\"\n{when}why = \"x\"\nmatch = [{{ tool = \"{tool}\"{example} }}]\n"
            ));
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_operator_never_gets_more_than_the_builtin_ceilings_and_only_his_allows_replace(
        text in any_operator(),
        tool in "(run_tests|write_file|delete_file|read_file)",
        path in proptest::option::of("(src|docs)/[ab]"),
        pids in prop_oneof![Just(4u64), Just(32), Just(100_000)],
    ) {
        let layers = [BASE, Layer { name: LayerName::Operator, file: "policy.toml", text: &text }];
        if let Ok(policy) = Policy::load(&layers, &shapes()) {
            reload(&policy);
            let base = Policy::load(&[BASE], &shapes()).unwrap();
            let mut call = plan(&tool);
            call.limits.pids = pids;
            if let Some(path) = path {
                call.hand_back = HandBack::Paths(vec![WorkspacePath::parse(&path, "/w").unwrap()]);
                call.arguments.insert("path".into(), path.into());
            }
            if let Verdict::Allow(permit) = policy.judge(call.clone()) {
                prop_assert_eq!(permit.limits().min(base.limits()), permit.limits());
                prop_assert!(allows(&base, call));
            }
        }
    }

    #[test]
    fn what_is_no_policy_is_an_error_and_never_a_panic(text in "\\PC{0,80}|([\\[\\]a-z=\"{}\n ]{0,60})") {
        let layers = [BASE, Layer { name: LayerName::Operator, file: "policy.toml", text: &text }];
        let error = Policy::load(&layers, &shapes()).unwrap_err();
        prop_assert!(error.to_string().starts_with("policy.toml:"));
    }
}

#[path = "task_tests.rs"]
mod tasks;
