//! What one policy would answer otherwise than another, found by trying, not by comparing texts.
//!
//! Both policies' rules about a tool tell apart finitely many cases ([`crate::case`]). Each is asked of both, and each
//! that is answered otherwise is reported; so two policies without a difference answer every call alike. What no rule
//! decides (`[limits]`, `[protect]`, `require`, `[env]`) is compared setting by setting.
//!
//! A change *widens* unless it provably takes away: an added variable, a removed protected path, a glob that is not
//! provably inside the old ones. It is for a gate in CI, where a false alarm costs a look.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use cofferdam_contract::{Argument, Guarantee, Lane};

use crate::{
    case::{self, Case, TooMany},
    ceilings::{Ceilings, isolation_word, network_word},
    condition::written,
    effective,
    judge::{Finding, find},
    layer::required_words,
    policy::Policy,
    rule::{Approval, Grant, Requester, Rule, Terms},
    secrets::{SecretFiles, Secrets},
};

/// Everything that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Each change: settings first, then calls by tool.
    pub changes: Vec<Change>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The setting, or the calls.
    pub what: String,
    /// What the first policy says.
    pub before: String,
    /// What the second says.
    pub after: String,
    /// Whether that is more or less.
    pub direction: Direction,
}

/// Whether a change allows more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// It takes away and adds nothing.
    Narrowed,
    /// It allows something that was not allowed, or may.
    Widened,
}

/// The rules of both policies tell apart more cases of a tool than are tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("compare the rules about `{tool}`: together they tell apart too many cases; compare in smaller steps")]
pub struct TooManyCases {
    /// The tool.
    pub tool: String,
}

impl Difference {
    /// Whether anything widened.
    #[must_use]
    pub fn widens(&self) -> bool {
        self.changes.iter().any(|change| change.direction == Direction::Widened)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Narrowed => "narrowed",
            Self::Widened => "widened",
        })
    }
}

/// Compares two policies.
pub(crate) fn between(before: &Policy, after: &Policy) -> Result<Difference, TooManyCases> {
    let mut changes = settings(before, after);
    let tools: BTreeSet<&String> = before.rules().iter().chain(after.rules()).flat_map(|rule| &rule.tools).collect();
    for tool in tools {
        let calls = calls(tool, before, after).map_err(|TooMany| TooManyCases { tool: tool.clone() })?;
        changes.extend(calls);
    }
    Ok(Difference { changes })
}

/// What is compared setting by setting. A new table of the language gets its lines here.
fn settings(before: &Policy, after: &Policy) -> Vec<Change> {
    let mut changes = limits(before.ceilings(), after.ceilings());
    changes.extend(sets(
        "require",
        &budget_words(before.required_budgets()),
        &budget_words(after.required_budgets()),
        Direction::Narrowed,
    ));
    let globs = |policy: &Policy| policy.protect().added().iter().cloned().collect();
    changes.extend(sets("[protect] paths", &globs(before), &globs(after), Direction::Narrowed));
    let variables = |policy: &Policy| {
        policy.environment().iter().map(|(name, value)| format!("{name} = {value:?}")).collect::<BTreeSet<String>>()
    };
    changes.extend(sets("[env]", &variables(before), &variables(after), Direction::Widened));
    changes.extend(secrets(before.secrets(), after.secrets()));
    changes.extend(choice("[git] author", before.authorship().word(), after.authorship().word(), Direction::Widened));
    changes.extend(tasks(before, after));
    changes
}

fn choice(what: &str, before: &str, after: &str, direction: Direction) -> Option<Change> {
    let (before, after) = (before.to_owned(), after.to_owned());
    (before != after).then(|| Change { what: what.to_owned(), before, after, direction })
}

fn secrets(before: &Secrets, after: &Secrets) -> Vec<Change> {
    let word = |secrets: &Secrets| match secrets.files() {
        SecretFiles::Masked => "masked",
        SecretFiles::Absent => "absent",
    };
    let direction = match after.files() {
        SecretFiles::Masked => Direction::Widened,
        SecretFiles::Absent => Direction::Narrowed,
    };
    let globs = |globs: &[String]| globs.iter().cloned().collect::<BTreeSet<String>>();
    let mut changes: Vec<Change> =
        choice("[secrets] files", word(before), word(after), direction).into_iter().collect();
    let (old, new) = (globs(before.added()), globs(after.added()));
    changes.extend(sets("[secrets] paths", &old, &new, Direction::Narrowed));
    let (old, new) = (globs(before.allowed()), globs(after.allowed()));
    changes.extend(sets("[secrets] allow", &old, &new, Direction::Widened));
    changes
}

/// A task that is another one under the same name runs another command: that is more, whatever the command is.
fn tasks(before: &Policy, after: &Policy) -> Vec<Change> {
    let written = |policy: &Policy| -> BTreeMap<String, String> {
        policy.named_tasks().iter().map(|named| (named.task.name.clone(), effective::task(named))).collect()
    };
    let (old, new) = (written(before), written(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| {
        let (before, after, direction) = match (old.get(name), new.get(name)) {
            (Some(before), Some(after)) if before == after => return None,
            (Some(_), Some(_)) => ("one command", "another", Direction::Widened),
            (Some(_), None) => ("there", "gone", Direction::Narrowed),
            (None, _) => ("not there", "added", Direction::Widened),
        };
        choice(&format!("[[task]] {name}"), before, after, direction)
    };
    names.into_iter().filter_map(change).collect()
}

fn budget_words(required: &BTreeSet<Guarantee>) -> BTreeSet<String> {
    required_words(required).map(str::to_owned).collect()
}

/// Each member that one of two sets lacks; `adding` is what a member more means.
fn sets(what: &str, before: &BTreeSet<String>, after: &BTreeSet<String>, adding: Direction) -> Vec<Change> {
    let removing = match adding {
        Direction::Narrowed => Direction::Widened,
        Direction::Widened => Direction::Narrowed,
    };
    let change = |member: &String, before: &str, after: &str, direction| Change {
        what: format!("{what}: {member}"),
        before: before.to_owned(),
        after: after.to_owned(),
        direction,
    };
    let removed = before.difference(after).map(|member| change(member, "there", "gone", removing));
    let added = after.difference(before).map(|member| change(member, "not there", "added", adding));
    removed.chain(added).collect()
}

fn limits(before: &Ceilings, after: &Ceilings) -> Vec<Change> {
    let Ceilings { network, registries, allow_hosts, isolation, mode, write, limits } = before;
    let mut changes = Vec::new();
    let mut differ = |key: &str, before: String, after: String, less: bool| {
        let direction = if less { Direction::Narrowed } else { Direction::Widened };
        changes.push(Change { what: format!("[limits] {key}"), before, after, direction });
    };
    if *network != after.network {
        let word = |network| network_word(network).to_owned();
        differ("network", word(*network), word(after.network), after.network < *network);
    }
    if *isolation != after.isolation {
        let word = |isolation| isolation_word(isolation).to_owned();
        differ("isolation", word(*isolation), word(after.isolation), after.isolation > *isolation);
    }
    if *mode != after.mode {
        differ("mode", mode.word().to_owned(), after.mode.word().to_owned(), after.mode > *mode);
    }
    let inside = write.allows_globs(&after.write.narrowest());
    if !inside || !after.write.allows_globs(&write.narrowest()) {
        differ("write", write.to_string(), after.write.to_string(), inside);
    }
    for (key, before, after) in [
        ("wall_seconds", limits.wall_seconds, after.limits.wall_seconds),
        ("cpu_seconds", limits.cpu_seconds, after.limits.cpu_seconds),
        ("memory_mb", limits.memory_mb, after.limits.memory_mb),
        ("disk_mb", limits.disk_mb, after.limits.disk_mb),
        ("pids", limits.pids, after.limits.pids),
        ("output_kb", limits.output_kb, after.limits.output_kb),
    ] {
        if before != after {
            differ(key, before.to_string(), after.to_string(), after < before);
        }
    }
    let names = |key, before: &crate::ceilings::NameSet, after: &crate::ceilings::NameSet| {
        sets(key, &before.names(), &after.names(), Direction::Widened)
    };
    changes.extend(names("[limits] registries", registries, &after.registries));
    changes.extend(names("[limits] allow_hosts", allow_hosts, &after.allow_hosts));
    changes
}

/// One value of an argument, as both policies' rules tell it apart from others; `None` is absence.
type Values = BTreeMap<String, Option<Argument>>;

/// What both policies say of some calls.
type Answers = (Option<Grant>, Option<Grant>);

fn calls(tool: &str, before: &Policy, after: &Policy) -> Result<Vec<Change>, TooMany> {
    let about = |policy: &'_ Policy| -> Vec<Rule> {
        policy.rules().iter().filter(|rule| rule.tools.contains(tool)).cloned().collect()
    };
    let (old, new) = (about(before), about(after));
    let (old, new): (Vec<&Rule>, Vec<&Rule>) = (old.iter().collect(), new.iter().collect());
    let both: Vec<&Rule> = old.iter().chain(&new).copied().collect();
    let mut differing: Vec<(Values, Answers)> = Vec::new();
    for case in case::of_rules(&both)? {
        let answers = (answer(&old, tool, &case, before.ceilings()), answer(&new, tool, &case, after.ceilings()));
        if answers.0 != answers.1 {
            let values = case::mentioned(&both).into_iter().map(|name| (name.to_owned(), case.get(name).cloned()));
            differing.push((values.collect(), answers));
        }
    }
    for argument in case::mentioned(&both) {
        differing = without_argument(differing, argument, case::samples(&both, argument).len());
    }
    Ok(differing
        .into_iter()
        .map(|(values, (old, new))| Change {
            what: described(tool, &values, &both),
            before: told(old.as_ref()),
            after: told(new.as_ref()),
            direction: if is_within(new.as_ref(), old.as_ref()) { Direction::Narrowed } else { Direction::Widened },
        })
        .collect())
}

/// What a policy grants in a case, under its ceilings; `None` when it refuses.
pub(crate) fn answer(rules: &[&Rule], tool: &str, case: &Case, ceilings: &Ceilings) -> Option<Grant> {
    let under = |terms: Terms| Terms {
        network: terms.network.min(ceilings.network),
        isolation: terms.isolation.max(ceilings.isolation),
        ..terms
    };
    match find(rules, tool, std::slice::from_ref(case)) {
        Finding::Granted(Grant::Allow(terms), _) => Some(Grant::Allow(under(terms))),
        Finding::Granted(Grant::Approve(terms, approval), _) => {
            (!approval.from.is_empty()).then(|| Grant::Approve(under(terms), approval))
        }
        Finding::Granted(Grant::Deny, _) | Finding::Denied(_) | Finding::Unmatched => None,
    }
}

/// Whether `inner` grants nothing that `outer` does not.
fn is_within(inner: Option<&Grant>, outer: Option<&Grant>) -> bool {
    match (inner, outer) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(inner), Some(outer)) => inner.meet(outer) == *inner,
    }
}

/// Leaves an argument out of the calls that are answered alike whatever it is.
fn without_argument(calls: Vec<(Values, Answers)>, argument: &str, kinds: usize) -> Vec<(Values, Answers)> {
    let rest = |values: &Values| -> Values {
        values.iter().filter(|(name, _)| *name != argument).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let mut done: BTreeSet<Values> = BTreeSet::new();
    let mut kept = Vec::new();
    for (values, answers) in &calls {
        let others = rest(values);
        let alike = calls.iter().filter(|(other, theirs)| theirs == answers && rest(other) == others).count();
        if alike < kinds {
            kept.push((values.clone(), answers.clone()));
        } else if done.insert(others.clone()) {
            kept.push((others, answers.clone()));
        }
    }
    kept
}

/// The calls in words: an argument that is not named may be anything.
fn described(tool: &str, values: &Values, rules: &[&Rule]) -> String {
    let parts: Vec<String> = values
        .iter()
        .map(|(name, value)| match value {
            None => format!("without {name}"),
            Some(value) => {
                let last = case::samples(rules, name).pop().flatten();
                match (&last, value) {
                    (Some(other), value) if other == value => format!("with any other {name}"),
                    (Some(Argument::Text(fresh)), Argument::Text(text)) if text.ends_with(&format!("/{fresh}")) => {
                        let folder = text.strip_suffix(fresh.as_str()).unwrap_or(text);
                        format!("with {name} below {}", written(&Argument::Text(folder.to_owned())))
                    }
                    (Some(_) | None, value) => format!("with {name} = {}", written(value)),
                }
            }
        })
        .collect();
    match parts.is_empty() {
        true => format!("{tool}, every call"),
        false => format!("{tool} {}", parts.join(", ")),
    }
}

fn told(grant: Option<&Grant>) -> String {
    match grant {
        None | Some(Grant::Deny) => "deny".to_owned(),
        Some(Grant::Allow(terms)) => format!("allow{}", told_terms(terms)),
        Some(Grant::Approve(terms, Approval { min, from, requester, expires })) => {
            let from: Vec<&str> = from.iter().map(String::as_str).collect();
            let requester = match requester {
                Requester::Counts => "",
                Requester::DoesNotCount => " other than the requester",
            };
            let (from, seconds) = (from.join(", "), expires.as_secs());
            format!("approve by {min} of {from}{requester} for {seconds} s{}", told_terms(terms))
        }
    }
}

fn told_terms(terms: &Terms) -> String {
    let Terms { network, isolation, lane, credentials } = terms;
    let mut text = format!(", network {}, isolation {}", network_word(*network), isolation_word(*isolation));
    match lane {
        Lane::Routine => {}
        Lane::Sensitive => text.push_str(", sensitive lane"),
    }
    if !credentials.is_empty() {
        let names: Vec<&str> = credentials.iter().map(String::as_str).collect();
        text.push_str(&format!(", credentials {}", names.join(", ")));
    }
    text
}

#[cfg(test)]
#[path = "difference_tests.rs"]
mod tests;
