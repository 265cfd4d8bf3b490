//! The comparison held to the judgement: what it reports is so, and what it does not report is answered alike.

use std::path::Path;

use cofferdam_contract::{HandBack, Isolation, Lane, Limits, Network, Plan, WorkspacePath};
use proptest::{collection, option, prelude::*};

use super::*;
use crate::{
    git::Authorship,
    judge::tests::plan,
    layer::{Layer, LayerName},
    mode::Mode,
    policy::{BUILTIN, tests::shapes},
    verdict::Verdict,
};

fn load(layers: &[(LayerName, &str)]) -> Result<Policy, crate::problem::LoadError> {
    let builtin = Layer { name: LayerName::Builtin, file: "builtin", text: BUILTIN };
    let files = ["", "operator", "repository", "line"];
    let rest = layers.iter().map(|(name, text)| Layer { name: *name, file: files[*name as usize], text });
    Policy::load(&std::iter::once(builtin).chain(rest).collect::<Vec<_>>(), &shapes())
}

fn operator(text: &str) -> Policy {
    load(&[(LayerName::Operator, &format!("version = 1\n{text}"))]).unwrap()
}

fn rule(id: &str, tool: &str, decision: &str, when: &str, example: &str) -> String {
    format!(
        "[[rule]]\nid = \"{id}\"\ntools = [\"{tool}\"]\ndecision = \"{decision}\"\n{when}\nwhy = \"x\"\n\
         match = [{{ tool = \"{tool}\", args = {{ {example} }} }}]\n"
    )
}

fn told(before: &str, after: &str) -> Vec<String> {
    let difference = operator(before).difference(&operator(after)).unwrap();
    let line = |change: &Change| {
        let Change { what, before, after, direction } = change;
        format!("{what}: {before} -> {after} ({direction})")
    };
    difference.changes.iter().map(line).collect()
}

#[test]
fn every_setting_that_differs_is_named_with_its_direction() {
    let before = "require = [\"memory\"]\n[limits]\nmemory_mb = 100\nwrite = [\"src/**\"]\nnetwork = \"off\"\n\
                  [protect]\npaths = [\"a\"]\n[env]\nA = \"1\"";
    let after = "require = [\"cpu\"]\n[limits]\nmemory_mb = 200\nwrite = [\"src/a/**\"]\nisolation = \"container\"\n\
                 registries = [\"npm\"]\n[protect]\npaths = [\"b\"]\n[env]\nA = \"2\"";
    let found = told(before, after);
    let settings: Vec<&String> = found.iter().filter(|line| line.contains('[') || line.contains("require")).collect();
    assert_eq!(
        settings,
        [
            "[limits] network: off -> allowlist (widened)",
            "[limits] isolation: namespace -> container (narrowed)",
            "[limits] write: `src/**` -> `src/a/**` (narrowed)",
            "[limits] memory_mb: 100 -> 200 (widened)",
            "[limits] registries: npm: not there -> added (widened)",
            "require: memory: there -> gone (widened)",
            "require: cpu: not there -> added (narrowed)",
            "[protect] paths: a: there -> gone (widened)",
            "[protect] paths: b: not there -> added (narrowed)",
            "[env]: A = \"1\": there -> gone (narrowed)",
            "[env]: A = \"2\": not there -> added (widened)",
        ]
    );
}

#[test]
fn modes_secrets_authors_and_tasks_count_as_settings() {
    let task = |argv: &str| format!("[[task]]\nname = \"t\"\ndescription = \"Does it.\"\nargv = [\"{argv}\"]\n");
    let before =
        format!("[limits]\nmode = \"draft\"\n[secrets]\nfiles = \"absent\"\npaths = [\"*.cfg\"]\n{}", task("./old"));
    let after = format!("[secrets]\nallow = [\"a/.env\"]\n[git]\nauthor = \"agent\"\n{}", task("./new"));
    assert_eq!(
        told(&before, &after),
        [
            "[limits] mode: draft -> apply (widened)",
            "[secrets] files: absent -> masked (widened)",
            "[secrets] paths: *.cfg: there -> gone (widened)",
            "[secrets] allow: a/.env: not there -> added (widened)",
            "[git] author: person -> agent (widened)",
            "[[task]] t: one command -> another (widened)",
        ]
    );
    let back: Vec<String> =
        told(&before, "").into_iter().filter(|line| line.contains("t:") || line.contains(" t")).collect();
    assert!(back.iter().any(|line| line.starts_with("[[task]] t: there -> gone (narrowed)")), "{back:?}");
}

#[test]
fn calls_that_are_answered_otherwise_are_named_once_and_in_words() {
    let deny = rule("no", "delete_file", "deny", "when = { path = { prefix = \"tests\" } }", "path = \"tests/a\"");
    assert_eq!(
        told("", &deny),
        [
            "delete_file with path = \".\": allow, network off, isolation namespace -> deny (narrowed)",
            "delete_file with path below \"tests/\": allow, network off, isolation namespace -> deny (narrowed)",
        ]
    );
    let all = rule("no", "delete_file", "deny", "", "");
    assert_eq!(told(&all, ""), ["delete_file, every call: deny -> allow, network off, isolation namespace (widened)"]);
    let two = rule(
        "no",
        "run_tests",
        "deny",
        "when = { runner = \"node\", path = \"a\" }",
        "runner = \"node\", path = \"a\"",
    );
    assert_eq!(
        told(
            &two,
            &two.replace("\"node\", path", "[\"node\", \"cargo\"], path")
                .replace("runner = [\"node\", \"cargo\"], path = \"a\" } }]", "runner = \"node\", path = \"a\" } }]")
        ),
        [
            "run_tests with path = \"a\", with runner = \"cargo\": allow, network off, isolation namespace -> deny (narrowed)"
        ]
    );
}

#[test]
fn a_longer_approval_widens_and_one_more_approver_narrows() {
    let approve = |min: u32, expires: &str| {
        let rest = format!(
            "approvers = {{ min = {min}, from = [\"user:ana\", \"user:bo\"], not_requester = true }}\nexpires = \"{expires}\""
        );
        rule("ask", "delete_file", "approve", &rest, "")
    };
    let direction = |before: &str, after: &str| operator(before).difference(&operator(after)).unwrap().widens();
    assert!(direction(&approve(1, "5m"), &approve(1, "10m")));
    assert!(!direction(&approve(1, "5m"), &approve(2, "5m")));
    assert!(direction(&approve(1, "5m"), &approve(2, "10m")), "more of one and less of the other is no narrowing");
    assert!(direction(&approve(1, "5m"), ""));
    assert!(!direction("", &approve(1, "5m")));
}

/// A random file of this layer, which may or may not load.
fn any_file(narrow: bool) -> impl Strategy<Value = String> {
    let limit = prop_oneof![
        "network = \"(off|registry|allowlist)\"",
        "isolation = \"(namespace|container)\"",
        "write = \\[(\"src/\\*\\*\")?\\]",
        "pids = (8|64)",
        "mode = \"(apply|draft|read_only)\"",
        "registries = \\[(\"crates\")?\\]",
    ];
    let decision = if narrow { "(deny|deny|approve)" } else { "(deny|allow|approve)" };
    let rule = (
        "(run_tests|delete_file|deploy)",
        decision,
        option::of("(a|src/a|\\.)"),
        option::of("(cargo|node)"),
        "(off|registry)",
        "(ana|bo)",
    );
    let protect = option::of("[ab]");
    // What the operator alone may say makes most layers beside it not load, so they rarely say it.
    let own = if narrow { 0.05 } else { 0.4 };
    let secrets = (
        option::weighted(0.4, "(masked|absent)"),
        collection::vec("(deploy/\\*|deploy/a|\\*\\.cfg)", 0..3),
        option::weighted(own, "(\\.env|src/\\.env|deploy/a)"),
        option::weighted(own, "(person|agent)"),
    );
    (collection::vec(limit, 0..3), collection::vec(rule, 0..4), protect, any::<bool>(), secrets).prop_map(
        move |(limits, rules, protect, memory, (files, paths, allow, author))| {
            let mut text = String::from("version = 1\n");
            if memory {
                text.push_str("require = [\"memory\"]\n");
            }
            text.push_str("[limits]\n");
            let mut keys = BTreeSet::new();
            for limit in &limits {
                if keys.insert(limit.split(' ').next().unwrap().to_owned()) {
                    text.push_str(&format!("{limit}\n"));
                }
            }
            text.push_str("[secrets]\n");
            if let Some(files) = files {
                text.push_str(&format!("files = \"{files}\"\n"));
            }
            text.push_str(&format!("paths = {paths:?}\n"));
            if let Some(allow) = allow {
                text.push_str(&format!("allow = [\"{allow}\"]\n"));
            }
            if let Some(author) = author {
                text.push_str(&format!("[git]\nauthor = \"{author}\"\n"));
            }
            if let Some(path) = protect {
                text.push_str(&format!("[protect]\npaths = [\"{path}\"]\n"));
            }
            let layer = if narrow { "n" } else { "o" };
            for (index, (tool, decision, path, runner, network, who)) in rules.iter().enumerate() {
                let (mut when, mut example) = (Vec::new(), Vec::new());
                if let (Some(path), true) = (path, tool != "deploy") {
                    when.push(format!("path = {{ prefix = \"{path}\" }}"));
                    example.push(format!("path = \"{path}\""));
                }
                if let (Some(runner), true) = (runner, tool == "run_tests") {
                    when.push(format!("runner = \"{runner}\""));
                    example.push(format!("runner = \"{runner}\""));
                }
                let mut rest = String::new();
                if decision != "deny" {
                    rest.push_str(&format!("network = \"{network}\"\n"));
                }
                if decision == "approve" {
                    rest.push_str(&format!(
                        "approvers = {{ min = 1, from = [\"user:{who}\"], not_requester = false }}\n"
                    ));
                }
                rest.push_str(&format!("when = {{ {} }}", when.join(", ")));
                text.push_str(&self::rule(&format!("{layer}{index}"), tool, decision, &rest, &example.join(", ")));
            }
            text
        },
    )
}

fn any_call() -> impl Strategy<Value = Plan> {
    let path = option::of("(\\.|a|a/b|src|src/a|src/a/b|docs)");
    ("(run_tests|delete_file|deploy|read_file)", path, option::of("(cargo|node|make)"), any::<bool>(), any::<bool>())
        .prop_map(|(tool, path, runner, network, changes)| {
            let mut call = Plan { limits: Limits { pids: 32, ..Limits::FILES }, ..plan(&tool) };
            if network {
                call.network = Network::Registry;
            }
            if let Some(path) = path {
                if changes {
                    call.hand_back = HandBack::Paths(vec![WorkspacePath::try_from(path.clone()).unwrap()]);
                }
                call.arguments.insert("path".into(), path.into());
            }
            if let Some(runner) = runner {
                call.arguments.insert("runner".into(), runner.into());
            }
            call
        })
}

/// What can be compared of an answer: how strict, and what it gives.
fn judged(policy: &Policy, call: &Plan) -> (u8, Isolation, u64, Option<crate::rule::Approval>) {
    match policy.judge(call.clone()) {
        Verdict::Allow(permit) => (2, permit.isolation(), permit.limits().pids, None),
        Verdict::Ask(question) => (1, Isolation::Namespace, 0, Some(question.approval().clone())),
        Verdict::Deny(_) => (0, Isolation::Namespace, 0, None),
    }
}

/// Paths that the random globs tell apart, and some that none names.
const PATHS: [&str; 8] = [".env", "src/.env", "deploy/a", "deploy/b", "x/deploy/a", "a.cfg", "x/b.cfg", "read.txt"];

/// Which of the paths are seen as they are, how others are, how changes come back, and whom commits are by.
fn seen(policy: &Policy) -> (Vec<&'static str>, SecretFiles, Mode, Authorship) {
    let secrets = policy.secrets();
    let paths = PATHS.into_iter().filter(|path| secrets.candidate(Path::new(path)).is_none()).collect();
    (paths, secrets.files(), policy.ceilings().mode, policy.authorship())
}

/// Whether the second policy shows a path that the first does not, or lets more come back, or in more names.
fn shows_more(before: &Policy, after: &Policy) -> bool {
    let ((old_paths, old_files, old_mode, old_author), (paths, files, mode, author)) = (seen(before), seen(after));
    paths.iter().any(|path| !old_paths.contains(path))
        || (old_files, files) == (SecretFiles::Absent, SecretFiles::Masked)
        || mode < old_mode
        || (old_author, author) == (Authorship::Person, Authorship::Agent)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// `diff` against the judgement: no difference, no call that is answered otherwise; nothing widened, no call that is
    /// answered more generously.
    #[test]
    fn what_is_not_reported_is_answered_alike(
        one in any_file(false), other in any_file(false), calls in collection::vec(any_call(), 8),
    ) {
        let (Ok(one), Ok(other)) = (load(&[(LayerName::Operator, &one)]), load(&[(LayerName::Operator, &other)])) else {
            return Ok(());
        };
        let difference = one.difference(&other).unwrap();
        prop_assert!(one.difference(&one).unwrap().changes.is_empty());
        if difference.changes.is_empty() {
            prop_assert_eq!(seen(&one), seen(&other));
        }
        if !difference.widens() {
            prop_assert!(!shows_more(&one, &other), "{:#?}", difference);
        }
        for call in calls {
            let (before, after) = (judged(&one, &call), judged(&other, &call));
            if difference.changes.is_empty() {
                prop_assert_eq!(&before, &after);
            }
            if !difference.widens() {
                prop_assert!(after.0 <= before.0, "{:?}", call);
                if (before.0, after.0) == (2, 2) {
                    prop_assert!(after.1 >= before.1 && after.2 <= before.2, "{:?}", call);
                }
            }
        }
    }

    /// Every reported call is really answered otherwise, by the judgement itself.
    #[test]
    fn what_is_reported_is_so(one in any_file(false), other in any_file(false)) {
        let (Ok(one), Ok(other)) = (load(&[(LayerName::Operator, &one)]), load(&[(LayerName::Operator, &other)])) else {
            return Ok(());
        };
        for change in one.difference(&other).unwrap().changes.iter().filter(|change| !change.what.contains('[')) {
            if change.what.starts_with("require") {
                continue;
            }
            let (tool, rest) = change.what.split_once([' ', ',']).unwrap();
            let mut call = plan(tool);
            for part in rest.split(", ").map(|part| part.trim_start_matches("with ")) {
                if let Some((name, value)) = part.split_once(" = ") {
                    call.arguments.insert(name.into(), value.trim_matches('"').into());
                } else if let Some((name, folder)) = part.split_once(" below ") {
                    call.arguments.insert(name.into(), format!("{}unheard-of", folder.trim_matches('"')).into());
                } else if let Some(name) = part.strip_prefix("any other ") {
                    call.arguments.insert(name.into(), "unheard-of".into());
                }
            }
            let answer = |policy: &Policy| {
                let explained = policy.explain(&call);
                (explained.decided, explained.grants)
            };
            let (before, after) = (answer(&one), answer(&other));
            let question = |policy: &Policy| judged(policy, &call).3;
            prop_assert!(before != after || question(&one) != question(&other), "{:?}", change);
        }
    }

    /// The promise of the layers: one more never allows more, whatever it says.
    #[test]
    fn a_layer_that_narrows_never_widens(
        own in any_file(false), repository in any_file(true), line in any_file(true), calls in collection::vec(any_call(), 8),
    ) {
        let layers = [(LayerName::Operator, own.as_str()), (LayerName::Repository, &repository), (LayerName::CommandLine, &line)];
        let mut before = match load(&layers[..1]) {
            Ok(policy) => policy,
            Err(_) => return Ok(()),
        };
        for count in 2..=3 {
            // Ids of one layer may be taken by the other.
            let text = layers[count - 1].1.replace("id = \"n", &format!("id = \"n{count}"));
            let mut stack = layers[..count - 1].to_vec();
            stack.push((layers[count - 1].0, &text));
            let Ok(after) = load(&stack) else { return Ok(()) };
            let difference = before.difference(&after).unwrap();
            prop_assert!(!difference.widens(), "{:#?}", difference);
            prop_assert!(!shows_more(&before, &after), "{:?} {:?}", seen(&before), seen(&after));
            for call in &calls {
                let (old, new) = (judged(&before, call), judged(&after, call));
                prop_assert!(new.0 <= old.0, "{:?}\n{:?}\n{:?}", call, old, new);
                if (old.0, new.0) == (2, 2) {
                    prop_assert!(new.1 >= old.1 && new.2 <= old.2);
                }
            }
            before = after;
        }
    }

    /// The text in force is the policy in force, with narrowing layers too.
    #[test]
    fn the_effective_text_of_narrowed_layers_is_the_same_policy_or_has_a_dead_rule(own in any_file(false), repository in any_file(true)) {
        let layers = [(LayerName::Operator, own.as_str()), (LayerName::Repository, &repository)];
        if let Ok(policy) = load(&layers) {
            let text = policy.effective();
            match load(&[(LayerName::Operator, &text)]) {
                Ok(again) => {
                    prop_assert_eq!(again.effective(), text);
                    prop_assert_eq!(seen(&policy), seen(&again));
                    prop_assert!(policy.difference(&again).unwrap().changes.is_empty());
                }
                Err(error) => {
                    let dead = error.problems().iter().all(|problem| problem.message.contains("never decides"));
                    prop_assert!(dead, "{}\n{}", error, text);
                }
            }
        }
    }
}

#[test]
fn lanes_and_credentials_are_told() {
    let terms = Terms {
        network: Network::Off,
        isolation: Isolation::Namespace,
        lane: Lane::Sensitive,
        credentials: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
    };
    assert_eq!(told_terms(&terms), ", network off, isolation namespace, sensitive lane, credentials a, b");
}
