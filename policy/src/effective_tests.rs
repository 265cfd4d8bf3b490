//! The effective text held to what it says: it loads again, gives the same policy, and reads as it is meant to.

use super::*;
use crate::{
    layer::{Layer, LayerName},
    policy::{
        Policy,
        tests::{BASE, load, rule, shapes},
    },
    problem::Place,
};

/// The effective text, loaded as the operator's, gives the same policy and the same text.
pub(crate) fn reload(policy: &Policy) -> Policy {
    reload_over(BASE, policy)
}

fn reload_over(base: Layer<'_>, policy: &Policy) -> Policy {
    let text = policy.effective();
    let again = Policy::load(&[base, Layer { name: LayerName::Operator, file: "effective", text: &text }], &shapes())
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(again.effective(), text);
    assert_eq!(again.sha256(), policy.sha256());
    assert_eq!(again.required(), policy.required());
    assert_eq!(again.environment(), policy.environment());
    assert_eq!(again.protect(), policy.protect());
    assert_eq!(again.limits(), policy.limits());
    again
}

#[test]
fn the_effective_text_of_the_builtin_policy_reads_as_this() {
    let policy = Policy::load(&[BASE], &shapes()).unwrap();
    reload(&policy);
    let text = policy.effective();
    let rules = text.split_once("\n[[rule]]").unwrap().1;
    assert_eq!(
        rules,
        r#"
id = "everyday"
tools = [
    "build",
    "check_types",
    "delete_file",
    "edit_file",
    "format",
    "git_commit",
    "git_diff",
    "git_log",
    "git_show",
    "git_status",
    "keep_changes",
    "lint",
    "list_files",
    "move_file",
    "read_file",
    "run_tests",
    "search_files",
    "write_file",
]
decision = "allow"
network = "off"
why = "Everyday work on the project, in a throwaway sandbox without a network."
match = [{ tool = "read_file", args = { path = "src/lib.rs" } }, { tool = "run_tests" }]
not_match = [{ tool = "list_changes" }]

[[rule]]
id = "session"
tools = ["cancel_run", "get_run", "list_changes"]
decision = "allow"
network = "off"
why = "Looking at held changes and at one's own runs touches nothing."
match = [{ tool = "list_changes" }, { tool = "cancel_run" }]
"#
    );
}

#[test]
fn the_effective_text_leaves_out_what_no_longer_decides() {
    let policy = load(&format!(
        "{}{}",
        rule("own-tests", "isolation = \"container\""),
        rule("none", "tools = [\"list_changes\", \"get_run\", \"cancel_run\"]\ndecision = \"deny\"\nmatch = [{ tool = \"get_run\" }]")
    ))
    .unwrap();
    let again = reload(&policy);
    let ids: Vec<&str> = again.rules().iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["everyday", "none", "own-tests"]);
    assert!(!again.rules()[0].tools.contains("run_tests"));
}

#[test]
fn the_effective_text_shows_what_limits_leave_of_a_grant() {
    let grants = format!("version = 1\n{}", rule("fetch", "network = \"registry\""));
    let base = Layer { text: &grants, ..BASE };
    let off = "version = 1\n[limits]\nnetwork = \"off\"\nisolation = \"container\"";
    let policy =
        Policy::load(&[base, Layer { name: LayerName::Operator, file: "policy.toml", text: off }], &shapes()).unwrap();
    assert!(policy.effective().contains("decision = \"allow\"\nnetwork = \"off\"\nwhy"), "{}", policy.effective());
    reload_over(base, &policy);
}

#[test]
fn a_rich_policy_survives_its_effective_text() {
    let policy = load(&format!(
        "require = [\"cpu\", \"memory\", \"kernel\"]\n[limits]\nnetwork = \"allowlist\"\nallow_hosts = [\"b.example\", \"a.example:8443\"]\n\
         registries = [\"npm\"]\nisolation = \"container\"\nwrite = [\"src/**\", \"*.md\"]\npids = 64\n\
         [protect]\npaths = [\"Migrations/**\"]\n[secrets]\nfiles = \"absent\"\npaths = [\"*.cfg\"]\n\
         allow = [\"tests/.env\"]\n[env]\nQ = \"a\\\"b\\\\c\\nd\"\n{}{}{}",
        rule(
            "tests",
            "when = { runner = [\"cargo\", \"pytest\"], path = { prefix = \"src\" }, timeout_seconds = [1, 2] }\nisolation = \"microvm\"\n\
             match = [{ tool = \"run_tests\", args = { runner = \"cargo\", path = \"src/é\\\"\", timeout_seconds = 1, keep = [\"a\", \"b\"] } }]\n\
             not_match = [{ tool = \"run_tests\" }]"
        ),
        rule(
            "ship",
            "tools = [\"deploy\"]\ndecision = \"approve\"\nlane = \"sensitive\"\nnetwork = \"allowlist\"\ncredentials = [\"deploy-staging\"]\n\
             approvers = { min = 2, from = [\"group:release\", \"user:ana\"], not_requester = true }\nexpires = \"2h\"\nmatch = [{ tool = \"deploy\" }]"
        ),
        rule("no", "tools = [\"write_file\"]\ndecision = \"deny\"\nwhen = { path = { prefix = \"docs\" } }\nmatch = [{ tool = \"write_file\", args = { path = \"docs/a\" } }]"),
    ))
    .unwrap();
    let again = reload(&policy);
    assert_eq!(again.ceilings(), policy.ceilings());
    let bare = |policy: &Policy| -> Vec<Rule> {
        let place = Place { file: String::new(), line: 0 };
        let bare = |rule: &Rule| Rule {
            place: place.clone(),
            layer: LayerName::Operator,
            matching: vec![],
            not_match: vec![],
            ..rule.clone()
        };
        policy.rules().iter().map(bare).collect()
    };
    assert_eq!(bare(&again), bare(&policy));
}

#[test]
fn policies_that_mean_the_same_have_one_digest() {
    let one = load(&format!("[limits]\npids = 64\nmemory_mb = 64\n{}", rule("a", "network = \"off\""))).unwrap();
    let other =
        load(&format!("# words\n[limits]\nmemory_mb = 64\npids = 64\n{}", rule("a", "decision = \"allow\""))).unwrap();
    let third = load(&format!("[limits]\npids = 65\nmemory_mb = 64\n{}", rule("a", ""))).unwrap();
    assert_eq!(one.sha256(), other.sha256());
    assert_ne!(one.sha256(), third.sha256());
}
