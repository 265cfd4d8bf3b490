//! The policy in force as a policy file: what `policy show` prints and what the policy's digest is taken of.
//!
//! The text loads again, as an operator's file over the same builtin policy, and gives the same policy. It is canonical:
//! two sets of files that mean the same give the same text. One exception: a rule that a repository's file or the command
//! line leaves nothing to decide stands in the text all the same, since it says what they take away from; such a text is
//! refused as a file for its dead rule.

use cofferdam_contract::{Isolation, Lane, Limits, Need, Parameter, ParameterKind, Task, Word};

use crate::{
    ceilings::{Ceilings, isolation_word, network_word},
    condition::{quoted, written},
    git,
    layer::required_words,
    policy::Policy,
    protect::Protect,
    rule::{Approval, Example, Grant, Requester, Role, Rule, Terms},
    secrets::{SecretFiles, Secrets},
    task::Named,
};

/// Width that lists of words are broken at.
const WIDTH: usize = 100;

/// Writes the policy.
pub(crate) fn write(policy: &Policy) -> String {
    let mut text =
        String::from("# The policy in force: every layer together, with what they leave out.\n\nversion = 1\n");
    text.push_str(&format!("require = {}\n", list(required_words(policy.required_budgets()).map(quoted))));
    write_limits(&mut text, policy.ceilings());
    write_protect(&mut text, policy.protect());
    write_secrets(&mut text, policy.secrets());
    if !policy.environment().is_empty() {
        text.push_str("\n[env]\n");
        for (name, value) in policy.environment() {
            text.push_str(&format!("{name} = {}\n", quoted(value)));
        }
    }
    git::write(&mut text, policy.authorship());
    for named in policy.named_tasks() {
        write_task(&mut text, named);
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

fn write_secrets(text: &mut String, secrets: &Secrets) {
    text.push_str("\n[secrets]\n# Files that hold credentials: compiled in, in any folder:\n");
    text.push_str(&format!("{}\n", commented(Secrets::compiled_in())));
    let files = match secrets.files() {
        SecretFiles::Masked => "masked",
        SecretFiles::Absent => "absent",
    };
    text.push_str(&format!("files = \"{files}\"\n"));
    text.push_str(&format!("paths = {}\n", list(secrets.added().iter().map(|path| quoted(path)))));
    text.push_str(&format!("allow = {}\n", list(secrets.allowed().iter().map(|path| quoted(path)))));
}

/// Words in comment lines.
fn commented(words: impl Iterator<Item = &'static str>) -> String {
    let mut text = String::new();
    let mut line = String::from("#  ");
    for word in words {
        if line.len() + word.len() >= WIDTH {
            text.push_str(&format!("{line}\n"));
            line = String::from("#  ");
        }
        line.push_str(&format!(" {word}"));
    }
    text + &line
}

fn write_protect(text: &mut String, protect: &Protect) {
    text.push_str("\n[protect]\n# Compiled in, in any folder, with all below:\n");
    let line = commented(Protect::compiled_in());
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
            write_approval(text, approval);
            match rule.role {
                Role::Decides => {}
                Role::Narrows => text.push_str("narrows = true # grants nothing that no other rule does\n"),
            }
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

/// Writes who must agree, of a rule or a task.
fn write_approval(text: &mut String, approval: &Approval) {
    let Approval { min, from, requester, expires } = approval;
    let not_requester = *requester == Requester::DoesNotCount;
    let from = list(from.iter().map(|name| quoted(name)));
    text.push_str(&format!("approvers = {{ min = {min}, from = {from}, not_requester = {not_requester} }}\n"));
    text.push_str(&format!("expires = \"{}s\"\n", expires.as_secs()));
}

/// Writes a task. The rule that comes with it is written with the others.
/// A task as a policy file states it.
pub(crate) fn task(named: &Named) -> String {
    let mut text = String::new();
    write_task(&mut text, named);
    text
}

fn write_task(text: &mut String, named: &Named) {
    let Named { task, approval, place: _ } = named;
    let Task { name, description, program, words, directory, parameters, write, lane, limits } = task;
    text.push_str(&format!("\n[[task]]\nname = {}\ndescription = {}\n", quoted(name), quoted(description)));
    let words = words.iter().map(|word| match word {
        Word::Fixed(word) => quoted(word),
        Word::Filled { prefix, parameter } => quoted(&format!("{prefix}{{{parameter}}}")),
        Word::Pair { option, parameter } => list([quoted(option), quoted(&format!("{{{parameter}}}"))].into_iter()),
    });
    text.push_str(&format!("argv = {}\n", list(std::iter::once(quoted(program)).chain(words))));
    if !directory.is_workspace() {
        text.push_str(&format!("directory = {}\n", quoted(directory.as_str())));
    }
    for (name, parameter) in parameters {
        let Parameter { description, kind, need } = parameter;
        let mut fields = match kind {
            ParameterKind::Choice(values) => {
                let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                format!("type = \"enum\", values = [{}]", values.join(", "))
            }
            ParameterKind::Integer { minimum, maximum } => {
                format!("type = \"integer\", minimum = {minimum}, maximum = {maximum}")
            }
            ParameterKind::Flag { word } => format!("type = \"flag\", word = {}", quoted(word)),
            ParameterKind::Path => "type = \"path\"".to_owned(),
            ParameterKind::Text { max_length } => format!("type = \"text\", max_length = {max_length}"),
        };
        match (need, kind) {
            (Need::Optional, ParameterKind::Flag { .. }) | (Need::Required, _) => {}
            (Need::Optional, _) => fields.push_str(", optional = true"),
        }
        text.push_str(&format!("parameters.{name} = {{ {fields}, description = {} }}\n", quoted(description)));
    }
    if !write.is_empty() {
        text.push_str(&format!("write = {}\n", list(write.iter().map(|glob| quoted(glob)))));
    }
    match (lane, approval) {
        (Lane::Routine, _) => {}
        (Lane::Sensitive, approval) => {
            text.push_str("lane = \"sensitive\"\n");
            if let Some(approval) = approval {
                write_approval(text, approval);
            }
        }
    }
    let Limits { wall_seconds, cpu_seconds: _, memory_mb, disk_mb, pids, output_kb } = limits;
    for (key, value) in [
        ("timeout_seconds", wall_seconds),
        ("memory_mb", memory_mb),
        ("disk_mb", disk_mb),
        ("pids", pids),
        ("output_kb", output_kb),
    ] {
        text.push_str(&format!("{key} = {value}\n"));
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

#[cfg(test)]
#[path = "effective_tests.rs"]
pub(crate) mod tests;
