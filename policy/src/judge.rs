//! The judgement: from a plan and rules to a verdict. A function of values, with one way to say yes.
//!
//! Of the rules that match, the strictest decision wins; all rules of that decision hold together, so a call gets what
//! every one of them grants and no more. Where no rule matches, the answer is no. Then the plan must fit: under the
//! granted terms, and under `[limits]`. The order of rules is never looked at.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use cofferdam_contract::{Argument, HandBack, Network, Plan, Work};

use crate::{
    case::{self, Case},
    ceilings::{Ceilings, network_word},
    condition::written,
    mode::Mode,
    permit::{Permit, Standing},
    rule::{Grant, Role, Rule, Severity, Terms},
    verdict::{Question, Refusal, Verdict},
};

/// What the rules say of a call, before its needs are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding<'a> {
    /// Granted under these terms; the rule is the strictest of those that decided.
    Granted(Grant, &'a Rule),
    /// Denied by this rule.
    Denied(&'a Rule),
    /// At least one case is matched by no rule.
    Unmatched,
}

/// Judges a plan.
pub(crate) fn judge(plan: Plan, rules: &[Rule], ceilings: &Ceilings, standing: &Arc<Standing>) -> Verdict {
    let rules: Vec<&Rule> = rules.iter().filter(|rule| rule.tools.contains(&plan.tool)).collect();
    if rules.is_empty() {
        let why = format!("no rule allows `{}`, and what no rule allows is refused", plan.tool);
        return Verdict::Deny(Refusal::by_default(why, None));
    }
    let Ok(cases) = case::of_call(&plan.arguments, &case::mentioned(&rules)) else {
        let why = "the lists among the call's arguments are too long to be judged element by element";
        return Verdict::Deny(Refusal::by_default(
            why,
            Some("the same in several calls with shorter lists".to_owned()),
        ));
    };
    let none = BTreeSet::new();
    let needed = standing.needed_arguments.get(&plan.tool).unwrap_or(&none);
    let (grant, rule) = match find(&rules, &plan.tool, &cases) {
        Finding::Granted(grant, rule) => (grant, rule),
        Finding::Denied(rule) => {
            let nearest = nearest(&rules, &plan.tool, &cases, needed);
            return Verdict::Deny(Refusal::by_rule(&rule.id, &rule.why, nearest));
        }
        Finding::Unmatched => {
            let why = format!("no rule allows this call of `{}`, and what no rule allows is refused", plan.tool);
            return Verdict::Deny(Refusal::by_default(why, nearest(&rules, &plan.tool, &cases, needed)));
        }
    };
    match grant {
        Grant::Allow(terms) => match misfit(&plan, &terms, rule, ceilings) {
            Some(refusal) => Verdict::Deny(refusal),
            None => {
                let isolation = plan.isolation.max(terms.isolation).max(ceilings.isolation);
                let limits = plan.limits.min(ceilings.limits);
                Verdict::Allow(Permit::new(plan, rule.id.clone(), isolation, limits, Arc::clone(standing)))
            }
        },
        Grant::Approve(terms, approval) => match misfit(&plan, &terms, rule, ceilings) {
            Some(refusal) => Verdict::Deny(refusal),
            None if approval.from.is_empty() => {
                let why = "several rules ask for approval and no one may approve for all of them";
                Verdict::Deny(Refusal::by_rule(&rule.id, why, None))
            }
            None => {
                let sha256 = standing.policy_sha256;
                Verdict::Ask(Question::new(plan, rule.id.clone(), rule.why.clone(), approval, sha256))
            }
        },
        // `find` answers a denial with `Denied`.
        Grant::Deny => Verdict::Deny(Refusal::by_rule(&rule.id, &rule.why, None)),
    }
}

/// The rules that decide a case: those of the strictest decision that matches, and with them all that narrow it. Where
/// no rule grants by itself there is nothing to narrow.
pub(crate) fn deciding<'a>(rules: &[&'a Rule], tool: &str, case: &Case) -> Vec<&'a Rule> {
    let (narrowing, matching): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().copied().filter(|rule| rule.matches(tool, case)).partition(|rule| rule.role == Role::Narrows);
    let strictest = matching.iter().map(|rule| rule.severity()).max();
    let deciding = matching.into_iter().filter(|rule| Some(rule.severity()) == strictest);
    match strictest {
        None => Vec::new(),
        Some(Severity::Deny) => deciding.collect(),
        Some(Severity::Allow | Severity::Approve) => deciding.chain(narrowing).collect(),
    }
}

/// What rules together grant; `None` without rules.
pub(crate) fn together(rules: &[&Rule]) -> Option<Grant> {
    rules.iter().map(|rule| rule.grant.clone()).reduce(|left, right| left.meet(&right))
}

/// What rules say of all cases of a call together.
pub(crate) fn find<'a>(rules: &[&'a Rule], tool: &str, cases: &[Case]) -> Finding<'a> {
    let by_case: Vec<Vec<&Rule>> = cases.iter().map(|case| deciding(rules, tool, case)).collect();
    let all: Vec<&Rule> = by_case.iter().flatten().copied().collect();
    let strictest = all.iter().copied().min_by_key(|rule| strictness(rule));
    match (together(&all), strictest) {
        (Some(Grant::Deny), Some(rule)) => Finding::Denied(rule),
        (Some(grant), Some(rule)) if by_case.iter().all(|deciding| !deciding.is_empty()) => {
            Finding::Granted(grant, rule)
        }
        (Some(_) | None, _) => Finding::Unmatched,
    }
}

/// Orders rules from the strictest; the id settles a tie, so that a verdict never depends on the order in a file.
fn strictness(rule: &Rule) -> impl Ord + use<'_> {
    let terms = match &rule.grant {
        Grant::Allow(terms) | Grant::Approve(terms, _) => {
            Some((terms.network, Reverse(terms.isolation), terms.lane, terms.credentials.len()))
        }
        Grant::Deny => None,
    };
    (Reverse(rule.severity()), terms, &rule.id)
}

/// What of the plan does not fit under the terms and the limits, if anything.
pub(crate) fn misfit(plan: &Plan, terms: &Terms, rule: &Rule, ceilings: &Ceilings) -> Option<Refusal> {
    let id = rule.id.as_str();
    let need = network_word(plan.network);
    if plan.network > terms.network {
        let most = network_word(terms.network);
        let why = format!("the call needs network = \"{need}\", and the rule grants at most \"{most}\"");
        return Some(Refusal::by_rule(id, why, Some(format!("the same with network = \"{most}\""))));
    }
    if plan.network > ceilings.network {
        let most = network_word(ceilings.network);
        let why = format!("the call needs network = \"{need}\", and [limits] network allows at most \"{most}\"");
        return Some(Refusal::by_default(why, Some(format!("the same with network = \"{most}\""))));
    }
    let (reachable, key) = match plan.network {
        Network::Off => (true, ""),
        Network::Registry => (ceilings.registries.reaches_something(), "registries"),
        Network::Allowlist => (ceilings.allow_hosts.reaches_something(), "allow_hosts"),
    };
    if !reachable {
        let why = format!("the call needs network = \"{need}\", and [limits] {key} names nothing to reach");
        return Some(Refusal::by_default(why, Some("the same with network = \"off\"".to_owned())));
    }
    if plan.lane > terms.lane {
        let why = "the call belongs to the sensitive lane, and the rule grants the routine lane only";
        return Some(Refusal::by_rule(id, why, None));
    }
    if let Some(credential) = plan.credentials.difference(&terms.credentials).next() {
        let why = format!("the call needs the credential `{credential}`, which the rule does not grant");
        return Some(Refusal::by_rule(id, why, None));
    }
    if ceilings.mode == Mode::ReadOnly && changes_something(plan) {
        let why = "the call would change the workspace, and [limits] mode = \"read_only\" lets nothing come back";
        return Some(Refusal::by_default(why, None));
    }
    if let Some(outside) = ceilings.write.outside(&plan.hand_back) {
        let why = format!("the call would change {outside}, and [limits] write allows only {}", ceilings.write);
        return Some(Refusal::by_default(why, Some(format!("changes inside {}", ceilings.write))));
    }
    None
}

/// Whether anything of the call is to come back.
pub(crate) fn changes_something(plan: &Plan) -> bool {
    plan.hand_back != HandBack::Nothing || plan.work == Work::Commit
}

/// Most pairs of values that are tried for two arguments together: a denial must stay cheap.
const MAX_PAIRS: usize = 256;

/// The smallest change that would turn the answer, in the policy's language: the values of one argument, else of two
/// together. Values that the rules mention are named if there are any, else any other value, or none where the argument is
/// not `needed`.
fn nearest(rules: &[&Rule], tool: &str, cases: &[Case], needed: &BTreeSet<String>) -> Option<String> {
    let with = |changes: &[(&str, &Option<Argument>)]| -> Option<Severity> {
        let mut changed: Vec<Case> = cases.to_vec();
        for case in &mut changed {
            for (argument, value) in changes {
                match value {
                    Some(value) => case.insert((*argument).to_owned(), value.clone()),
                    None => case.remove(*argument),
                };
            }
        }
        match find(rules, tool, &changed) {
            // Nobody could approve it, so it would be refused as well.
            Finding::Granted(Grant::Approve(_, approval), _) if approval.from.is_empty() => None,
            Finding::Granted(grant, _) => Some(grant.severity()),
            Finding::Denied(_) | Finding::Unmatched => None,
        }
    };
    let mut samples: Vec<(&str, Vec<Option<Argument>>)> =
        case::mentioned(rules).into_iter().map(|argument| (argument, case::samples(rules, argument))).collect();
    for (argument, values) in &mut samples {
        values.retain(|value| value.is_some() || !needed.contains(*argument));
    }
    let one = |wanted| {
        samples.iter().find_map(|(argument, values)| {
            let turning: Vec<&Option<Argument>> =
                values.iter().filter(|value| with(&[(argument, value)]) == Some(wanted)).collect();
            Some(format!("the same {}", describe(rules, argument, &turning)?))
        })
    };
    let pairs = || {
        samples.iter().enumerate().flat_map(|(index, (first, of_first))| {
            samples.iter().skip(index + 1).flat_map(move |(second, of_second)| {
                of_first.iter().flat_map(move |one| of_second.iter().map(move |two| ((*first, one), (*second, two))))
            })
        })
    };
    let two = |wanted| {
        pairs().take(MAX_PAIRS).filter(|(first, second)| with(&[*first, *second]) == Some(wanted)).find_map(
            |((first, one), (second, two))| {
                Some(format!("the same {}, and {}", describe(rules, first, &[one])?, describe(rules, second, &[two])?))
            },
        )
    };
    let wanted = [Severity::Allow, Severity::Approve];
    wanted.into_iter().find_map(one).or_else(|| wanted.into_iter().find_map(two))
}

/// Says which values of an argument would do.
fn describe(rules: &[&Rule], argument: &str, values: &[&Option<Argument>]) -> Option<String> {
    let conditions = || rules.iter().filter_map(|rule| rule.when.get(argument));
    // A sample below a folder stands for the folder: the condition that it satisfies says it better.
    let mut mentioned: Vec<String> = Vec::new();
    for value in values.iter().filter_map(|value| value.as_ref()) {
        let member = conditions().any(|condition| condition.has_member(value));
        let folder = conditions().filter(|condition| condition.is_folder_of(value)).max_by_key(|c| c.to_string().len());
        let text = match folder {
            _ if member => Some(written(value)),
            Some(folder) => Some(folder.to_string()),
            None => None,
        };
        mentioned.extend(text.filter(|text| !mentioned.contains(text)));
    }
    let absent = values.iter().any(|value| value.is_none());
    let other = values.iter().any(|value| value.is_some());
    match (mentioned.is_empty(), other, absent) {
        (false, _, _) => Some(format!("with `{argument} = {}`", mentioned.join("` or `"))),
        (true, true, true) => Some(format!("with another `{argument}`, or without it")),
        (true, true, false) => Some(format!("with another `{argument}`")),
        (true, false, true) => Some(format!("without `{argument}`")),
        (true, false, false) => None,
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
pub(crate) mod tests;
