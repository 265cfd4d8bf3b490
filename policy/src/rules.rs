//! All rules together: how those of two layers combine, and whether each can ever decide.
//!
//! The combination in one sentence: **whoever writes an `allow` rule for a tool says all that is allowed of it.** So an
//! operator's `allow` replaces the builtin rules for the tools that it names, and only for those; his `approve` and
//! `deny` rules stand beside the builtin ones and can only make them stricter, since the strictest match wins.

use std::collections::BTreeSet;

use crate::{
    case::{self, Case, TooMany},
    judge::{deciding, together},
    problem::Problems,
    rule::{Example, Rule, Severity},
};

/// Puts the rules of a later layer over those of the layers before it, sorted by id.
pub(crate) fn combine(earlier: Vec<Rule>, later: Vec<Rule>, problems: &mut Problems) -> Vec<Rule> {
    refuse_twins(&later, problems);
    let restated: BTreeSet<String> = later
        .iter()
        .filter(|rule| rule.severity() == Severity::Allow)
        .flat_map(|rule| rule.tools.iter().cloned())
        .collect();
    let kept: Vec<Rule> = earlier.into_iter().filter_map(|rule| without_tools(rule, &restated)).collect();
    let kept = prune(kept, &later);
    for rule in &later {
        if let Some(twin) = kept.iter().find(|twin| twin.id == rule.id) {
            let message = format!("the id `{}` is taken by {}; choose another", rule.id, twin.place);
            problems.add(&rule.place, message);
        }
    }
    let mut all: Vec<Rule> = kept.into_iter().chain(later.iter().cloned()).collect();
    all.sort_by(|left, right| left.id.cmp(&right.id));
    for rule in &later {
        refuse_if_dead(rule, &all, problems);
    }
    all
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
    together(&others) != together(&deciding)
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
    let covering: Vec<String> = covering.iter().map(|id| format!("`{id}`")).collect();
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
