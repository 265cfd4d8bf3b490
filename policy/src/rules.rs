//! All rules together: how those of two layers combine, and whether each can ever decide.
//!
//! The combination in one sentence: **whoever writes an `allow` rule for a tool says all that is allowed of it.** So an
//! operator's `allow` replaces the builtin rules for the tools that it names, and only for those; his `approve` and
//! `deny` rules stand beside the builtin ones and can only make them stricter, since the strictest match wins.

use std::collections::{BTreeMap, BTreeSet};

use cofferdam_contract::{Isolation, Lane, Network};

use crate::{
    case::{self, Case, TooMany},
    ceilings::network_word,
    judge::{deciding, together},
    layer::{LayerName, Power},
    problem::{Place, Problem, Problems},
    rule::{Example, Grant, Role, Rule, Severity, Terms},
};

/// Puts the rules of a later layer over those of the layers before it, sorted by id.
///
/// A rule of a layer that may only narrow is refused when it is dead in its own file. Where another layer leaves it
/// nothing to decide that is a warning: a repository's file serves people whose own policies differ.
pub(crate) fn combine(
    earlier: Vec<Rule>,
    later: Vec<Rule>,
    power: Power,
    problems: &mut Problems,
    warnings: &mut Vec<Problem>,
) -> Vec<Rule> {
    refuse_twins(&later, problems);
    if power == Power::Narrows {
        refuse_more_than_granted(&earlier, &later, problems);
    }
    let restated: BTreeSet<String> = later
        .iter()
        .filter(|rule| rule.severity() == Severity::Allow)
        .flat_map(|rule| rule.tools.iter().cloned())
        .collect();
    let kept: Vec<Rule> = earlier.into_iter().filter_map(|rule| without_tools(rule, &restated)).collect();
    let kept = match power {
        Power::Grants => prune(kept, &later),
        // What a layer leaves without effect stays: it is what the layer takes away from.
        Power::Narrows => kept,
    };
    for rule in &later {
        if let Some(twin) = kept.iter().find(|twin| twin.id == rule.id) {
            let message = format!("the id `{}` is taken by {}; choose another", rule.id, twin.place);
            problems.add(&rule.place, message);
        }
    }
    let mut all: Vec<Rule> = kept.into_iter().chain(later.iter().cloned()).collect();
    all.sort_by(|left, right| left.id.cmp(&right.id));
    match power {
        Power::Grants => later.iter().for_each(|rule| refuse_if_dead(rule, &all, problems)),
        Power::Narrows => {
            let own: Vec<Rule> = later.iter().cloned().chain([everything(&later)]).collect();
            later.iter().for_each(|rule| refuse_if_dead(rule, &own, problems));
            let (dead, live): (Vec<Rule>, Vec<Rule>) =
                all.iter().cloned().partition(|rule| later.contains(rule) && is_dead(rule, &all));
            warnings.extend(dead.iter().map(|rule| Problem {
                place: rule.place.clone(),
                message: format!(
                    "the rule `{}` never decides under this machine's policy: wherever it matches, other rules decide \
                     the same or stricter, or none allows the call",
                    rule.id
                ),
            }));
            all = live;
        }
    }
    all
}

/// A rule that allows all that these rules speak of: what their file must make a difference to.
fn everything(rules: &[Rule]) -> Rule {
    let credentials = rules.iter().flat_map(|rule| rule.grant.terms()).flat_map(|terms| terms.credentials.clone());
    let terms = Terms {
        network: Network::Allowlist,
        isolation: Isolation::Namespace,
        lane: Lane::Sensitive,
        credentials: credentials.collect(),
    };
    Rule {
        // No rule of a file can have this id.
        id: String::new(),
        place: Place { file: String::new(), line: 1 },
        layer: LayerName::Builtin,
        role: Role::Decides,
        tools: rules.iter().flat_map(|rule| rule.tools.iter().cloned()).collect(),
        when: BTreeMap::new(),
        grant: Grant::Allow(terms),
        why: String::new(),
        matching: Vec::new(),
        not_match: Vec::new(),
    }
}

/// Whether the rule can decide about none of its tools. One that cannot be checked is not dead.
fn is_dead(rule: &Rule, all: &[Rule]) -> bool {
    rule.tools.iter().all(|tool| matches!(life(rule, tool, all), Ok(Life::Dead(_))))
}

/// Refuses rules that name more than any earlier rule about one of their tools grants, with both lines.
fn refuse_more_than_granted(earlier: &[Rule], later: &[Rule], problems: &mut Problems) {
    for rule in later {
        let Some(asked) = rule.grant.terms() else { continue };
        for tool in &rule.tools {
            let granting = || {
                let about = earlier.iter().filter(|earlier| earlier.tools.contains(tool));
                about.filter_map(|earlier| Some((earlier, earlier.grant.terms()?)))
            };
            if let Some((most, terms)) = granting().max_by_key(|(_, terms)| terms.network)
                && asked.network > terms.network
            {
                let (asks, allows) = (network_word(asked.network), network_word(terms.network));
                let message = format!(
                    "the rule `{}` asks for network = \"{asks}\" of `{tool}`, and {} grants at most \"{allows}\"",
                    rule.id, most.place
                );
                problems.add(&rule.place, message);
            }
            if let Some((most, terms)) = granting().max_by_key(|(_, terms)| terms.lane)
                && asked.lane > terms.lane
            {
                let message = format!(
                    "the rule `{}` asks for the sensitive lane of `{tool}`, and {} grants the routine lane only",
                    rule.id, most.place
                );
                problems.add(&rule.place, message);
            }
            if let Some((most, _)) = granting().max_by_key(|(_, terms)| terms.credentials.len()) {
                let granted: BTreeSet<&String> = granting().flat_map(|(_, terms)| &terms.credentials).collect();
                for name in asked.credentials.iter().filter(|name| !granted.contains(name)) {
                    let message = format!(
                        "the rule `{}` asks for the credential `{name}` of `{tool}`, which {} does not grant",
                        rule.id, most.place
                    );
                    problems.add(&rule.place, message);
                }
            }
        }
    }
}

/// Whether a rule can decide about a tool, or which rules keep it from ever doing so.
enum Life<'a> {
    Live,
    /// In every case that the rule matches, these decide as strictly without it.
    Dead(BTreeSet<&'a str>),
}

/// Tries every case that the rules about `tool` can tell apart.
fn life<'a>(rule: &Rule, tool: &str, all: &'a [Rule]) -> Result<Life<'a>, TooMany> {
    let about: Vec<&Rule> = all.iter().filter(|other| other.tools.contains(tool)).collect();
    let mut covering = BTreeSet::new();
    for case in case::of_rules(&about)? {
        if !rule.matches(tool, &case) {
            continue;
        }
        if changes(rule, tool, &case, &about) {
            return Ok(Life::Live);
        }
        let others = deciding(&about, tool, &case).into_iter().filter(|other| other.id != rule.id);
        covering.extend(others.map(|other| other.id.as_str()));
    }
    Ok(Life::Dead(covering))
}

/// Whether the answer to a case would be another one without the rule.
fn changes(rule: &Rule, tool: &str, case: &Case, about: &[&Rule]) -> bool {
    let deciding = deciding(about, tool, case);
    let others: Vec<&Rule> = deciding.iter().copied().filter(|other| other.id != rule.id).collect();
    // Where the rule decides alone it counts even if it denies, and no rule would have meant no as well: its reason is
    // what people read.
    // What narrows decides nothing alone.
    let narrowing_only = others.iter().all(|other| other.role == Role::Narrows);
    narrowing_only || together(&others) != together(&deciding)
}

fn refuse_if_dead(rule: &Rule, all: &[Rule], problems: &mut Problems) {
    let mut covering = BTreeSet::new();
    for tool in &rule.tools {
        match life(rule, tool, all) {
            Ok(Life::Live) => return,
            Ok(Life::Dead(others)) => covering.extend(others),
            Err(TooMany) => {
                let message =
                    format!("the rules about `{tool}` tell apart too many cases to be checked; use fewer conditions");
                problems.add(&rule.place, message);
                return;
            }
        }
    }
    // The one of `everything` is no rule of a file.
    let named = covering.iter().filter(|id| !id.is_empty());
    let covering: Vec<String> = named.map(|id| format!("`{id}`")).collect();
    let message = format!(
        "the rule `{}` never decides: wherever it matches, {} decides the same or stricter; remove it or change it",
        rule.id,
        covering.join(", ")
    );
    problems.add(&rule.place, message);
}

/// Takes the tools from rules of earlier layers about which they no longer decide anything.
fn prune(kept: Vec<Rule>, later: &[Rule]) -> Vec<Rule> {
    let all: Vec<Rule> = kept.iter().chain(later).cloned().collect();
    kept.into_iter()
        .filter_map(|rule| {
            let dead = rule
                .tools
                .iter()
                // A rule that cannot be checked stays; the later rules about the tool are refused for the same reason.
                .filter(|tool| later.iter().any(|rule| rule.tools.contains(*tool)))
                .filter(|tool| matches!(life(&rule, tool, &all), Ok(Life::Dead(_))))
                .cloned()
                .collect();
            without_tools(rule, &dead)
        })
        .collect()
}

/// The rule without some of its tools and their examples; `None` when no tool is left.
fn without_tools(mut rule: Rule, tools: &BTreeSet<String>) -> Option<Rule> {
    rule.tools = rule.tools.difference(tools).cloned().collect();
    let first = rule.tools.first()?.clone();
    rule.matching.retain(|example| !tools.contains(&example.tool));
    if rule.matching.is_empty() {
        // A rule always shows a call that it is for.
        let arguments = rule
            .when
            .iter()
            .filter_map(|(name, condition)| {
                Some((name.clone(), condition.samples("example", rule.grant.purpose()).first()?.clone()))
            })
            .collect();
        rule.matching.push(Example { tool: first, arguments, place: rule.place.clone() });
    }
    Some(rule)
}

fn refuse_twins(rules: &[Rule], problems: &mut Problems) {
    for (index, rule) in rules.iter().enumerate() {
        if let Some(twin) = rules.iter().take(index).find(|twin| twin.id == rule.id) {
            problems.add(&rule.place, format!("the id `{}` is taken by {}; choose another", rule.id, twin.place));
        }
    }
}
