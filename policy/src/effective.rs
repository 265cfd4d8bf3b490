//! The policy in force as a policy file: what `policy show` prints and what the policy's digest is taken of.
//!
//! The text loads again, as an operator's file over the same builtin policy, and gives the same policy. It is canonical:
//! two sets of files that mean the same give the same text.

use cofferdam_contract::{Guarantee, Isolation, Lane};

use crate::{
    ceilings::{Ceilings, isolation_word, network_word},
    condition::{quoted, written},
    policy::Policy,
    protect::Protect,
    rule::{Approval, Example, Grant, Requester, Rule, Terms},
};

/// Width that lists of words are broken at.
const WIDTH: usize = 100;

/// Writes the policy.
pub(crate) fn write(policy: &Policy) -> String {
    let mut text =
        String::from("# The policy in force: every layer together, with what they leave out.\n\nversion = 1\n");
    let required = policy.required_budgets().iter().map(|guarantee| match guarantee {
        Guarantee::Memory => "memory",
        Guarantee::Cpu => "cpu",
        Guarantee::Kernel => "kernel",
        _ => "disk",
    });
    text.push_str(&format!("require = {}\n", list(required.map(quoted))));
    write_limits(&mut text, policy.ceilings());
    write_protect(&mut text, policy.protect());
    if !policy.environment().is_empty() {
        text.push_str("\n[env]\n");
        for (name, value) in policy.environment() {
            text.push_str(&format!("{name} = {}\n", quoted(value)));
        }
    }
    for rule in policy.rules() {
        write_rule(&mut text, rule, policy.ceilings());
    }
    text
}

fn write_limits(text: &mut String, ceilings: &Ceilings) {
    let Ceilings { network, registries, allow_hosts, isolation, mode, write, limits } = ceilings;
    text.push_str("\n[limits]\n");
    text.push_str(&format!("network      = \"{}\"\n", network_word(*network)));
    text.push_str(&format!("registries   = {}\n", list(registries.names().iter().map(|name| quoted(name)))));
    text.push_str(&format!("allow_hosts  = {}\n", list(allow_hosts.names().iter().map(|name| quoted(name)))));
    text.push_str(&format!("isolation    = \"{}\"\n", isolation_word(*isolation)));
    text.push_str(&format!("mode         = \"{}\"\n", mode.word()));
    text.push_str(&format!("write        = {}\n", list(write.narrowest().iter().map(|glob| quoted(glob.as_str())))));
    for (key, value) in [
        ("wall_seconds", limits.wall_seconds),
        ("cpu_seconds", limits.cpu_seconds),
        ("memory_mb", limits.memory_mb),
        ("disk_mb", limits.disk_mb),
        ("pids", limits.pids),
        ("output_kb", limits.output_kb),
    ] {
        // The largest number is how "no layer says anything" is held.
        if value < u64::MAX {
            text.push_str(&format!("{key:<12} = {value}\n"));
        }
    }
}

fn write_protect(text: &mut String, protect: &Protect) {
    text.push_str("\n[protect]\n# Compiled in, in any folder, with all below:\n");
    let mut line = String::from("#  ");
    for pattern in Protect::compiled_in() {
        if line.len() + pattern.len() >= WIDTH {
            text.push_str(&format!("{line}\n"));
            line = String::from("#  ");
        }
        line.push_str(&format!(" {pattern}"));
    }
    text.push_str(&format!("{line}\npaths = {}\n", list(protect.added().iter().map(|path| quoted(path)))));
}

fn write_rule(text: &mut String, rule: &Rule, ceilings: &Ceilings) {
    text.push_str(&format!("\n[[rule]]\nid = {}\n", quoted(&rule.id)));
    text.push_str(&format!("tools = {}\n", list(rule.tools.iter().map(|tool| quoted(tool)))));
    match &rule.grant {
        Grant::Allow(terms) => {
            text.push_str("decision = \"allow\"\n");
            write_terms(text, terms, ceilings);
        }
        Grant::Approve(terms, approval) => {
            text.push_str("decision = \"approve\"\n");
            write_terms(text, terms, ceilings);
            let Approval { min, from, requester, expires } = approval;
            let not_requester = *requester == Requester::DoesNotCount;
            let from = list(from.iter().map(|name| quoted(name)));
            text.push_str(&format!("approvers = {{ min = {min}, from = {from}, not_requester = {not_requester} }}\n"));
            text.push_str(&format!("expires = \"{}s\"\n", expires.as_secs()));
        }
        Grant::Deny => text.push_str("decision = \"deny\"\n"),
    }
    if !rule.when.is_empty() {
        let conditions: Vec<String> =
            rule.when.iter().map(|(name, condition)| format!("{} = {condition}", quoted_key(name))).collect();
        text.push_str(&format!("when = {{ {} }}\n", conditions.join(", ")));
    }
    text.push_str(&format!("why = {}\n", quoted(&rule.why)));
    text.push_str(&format!("match = {}\n", list(rule.matching.iter().map(example))));
    if !rule.not_match.is_empty() {
        text.push_str(&format!("not_match = {}\n", list(rule.not_match.iter().map(example))));
    }
}

/// Writes what a rule grants after `[limits]`, and leaves out what is the default.
fn write_terms(text: &mut String, terms: &Terms, ceilings: &Ceilings) {
    let Terms { network, isolation, lane, credentials } = terms;
    text.push_str(&format!("network = \"{}\"\n", network_word((*network).min(ceilings.network))));
    if *isolation > ceilings.isolation.max(Isolation::Namespace) {
        text.push_str(&format!("isolation = \"{}\"\n", isolation_word(*isolation)));
    }
    match lane {
        Lane::Routine => {}
        Lane::Sensitive => text.push_str("lane = \"sensitive\"\n"),
    }
    if !credentials.is_empty() {
        text.push_str(&format!("credentials = {}\n", list(credentials.iter().map(|name| quoted(name)))));
    }
}

fn example(example: &Example) -> String {
    let tool = quoted(&example.tool);
    if example.arguments.is_empty() {
        return format!("{{ tool = {tool} }}");
    }
    let arguments: Vec<String> =
        example.arguments.iter().map(|(name, value)| format!("{} = {}", quoted_key(name), written(value))).collect();
    format!("{{ tool = {tool}, args = {{ {} }} }}", arguments.join(", "))
}

/// Writes a list on one line, or an item a line where that is too wide.
fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    let line = items.join(", ");
    if line.len() <= WIDTH { format!("[{line}]") } else { format!("[\n    {},\n]", items.join(",\n    ")) }
}

/// Writes a key bare where TOML lets it be.
fn quoted_key(name: &str) -> String {
    let bare = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}
