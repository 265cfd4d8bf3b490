//! How a call is judged, told in full: for the person who writes a policy and wonders what it does.
//!
//! The answer is taken from `judge` itself and the rest from the functions that it uses, so an explanation cannot say
//! something else than what would happen. It names files and lines and is for people: an agent is told the rule, its
//! reason and the nearest change ([`crate::Refusal`]), never a place on the host.

use std::{collections::BTreeSet, fmt};

use cofferdam_contract::{Isolation, Lane, Limits, Network, Plan};

use crate::{
    case::{self, Case},
    ceilings::{Ceilings, Located, Stated, isolation_word, network_word},
    condition::written,
    judge::{Finding, deciding, find},
    layer::LayerName,
    policy::Policy,
    problem::Place,
    rule::{Grant, Rule, Terms},
    verdict::Verdict,
};

/// What was decided, without the power that comes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decided {
    /// It would run.
    Allow,
    /// People would be asked.
    Approve,
    /// It would be refused.
    Deny,
}

/// How a call is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The answer.
    pub decided: Decided,
    /// The id of the rule that decides; `None` when none allows the call, or when `[limits]` refuses it.
    pub rule: Option<String>,
    /// Why: the rule's reason, or what stands against the call.
    pub why: String,
    /// The smallest change of the call that would be allowed, when one or two arguments are enough.
    pub nearest: Option<String>,
    /// What the rules grant it, as far as they grant anything; it may be refused all the same for needing more.
    pub grants: Option<Grants>,
    /// Every rule about the tool, by id.
    pub rules: Vec<RuleView>,
    /// `[limits]` as they are in force, each with the line that states it.
    pub ceilings: Vec<Ceiling>,
}

/// What a call may have at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// At most this much network.
    pub network: Network,
    /// At least this boundary.
    pub isolation: Isolation,
    /// At most this lane.
    pub lane: Lane,
    /// Only these credentials.
    pub credentials: BTreeSet<String>,
    /// The call's own budgets, cut to `[limits]`.
    pub limits: Limits,
}

/// One rule, as it sees the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// Its id.
    pub id: String,
    /// The layer that it stands in.
    pub layer: LayerName,
    /// Its `[[rule]]` line.
    pub place: Place,
    /// What it decides.
    pub decision: Decided,
    /// Its reason.
    pub why: String,
    /// Whether it is among the rules that decide the call.
    pub decides: bool,
    /// Its conditions, by argument. Without any it matches every call of its tools.
    pub conditions: Vec<ConditionView>,
}

/// One line of a rule's `when`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionView {
    /// The argument.
    pub argument: String,
    /// What it must be, as the policy writes it.
    pub wanted: String,
    /// What the call gives, as the policy would write it; `None` when it leaves the argument out.
    pub given: Option<String>,
    /// Whether the line is satisfied.
    pub satisfied: Satisfied,
}

/// Whether a condition is satisfied by a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Satisfied {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// For some elements of a list and not for others.
    ForSome,
}

/// One line of `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    /// Its key.
    pub key: &'static str,
    /// Its value, as the policy writes it.
    pub value: String,
    /// The line that states it, if one does.
    pub place: Option<Place>,
}

impl fmt::Display for Decided {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Allow => "allow",
            Self::Approve => "approve",
            Self::Deny => "deny",
        })
    }
}

impl Explanation {
    /// The ids of the rules that decide the call.
    pub fn deciding(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter(|rule| rule.decides).map(|rule| rule.id.as_str())
    }
}

/// Explains a plan.
pub(crate) fn explain(policy: &Policy, plan: &Plan) -> Explanation {
    let (decided, rule, why, nearest) = answer(policy, plan);
    let about: Vec<&Rule> = policy.rules().iter().filter(|rule| rule.tools.contains(&plan.tool)).collect();
    // Lists that are too long are refused, and no rule is asked.
    let cases = case::of_call(&plan.arguments, &case::mentioned(&about)).unwrap_or_default();
    let finding = find(&about, &plan.tool, &cases);
    let deciding: BTreeSet<&str> = cases
        .iter()
        .flat_map(|case| deciding(&about, &plan.tool, case))
        .filter(|rule| match finding {
            // Beside a denial, what the other elements of a list are granted does not count.
            Finding::Denied(_) => rule.grant == Grant::Deny,
            Finding::Granted(..) | Finding::Unmatched => true,
        })
        .map(|rule| rule.id.as_str())
        .collect();
    let grants = match &finding {
        Finding::Granted(grant, _) => grant.terms().map(|terms| grants(terms, plan, policy.ceilings())),
        Finding::Denied(_) | Finding::Unmatched => None,
    };
    let rules = about.iter().map(|rule| view(rule, plan, &cases, deciding.contains(rule.id.as_str()))).collect();
    Explanation { decided, rule, why, nearest, grants, rules, ceilings: ceilings(policy) }
}

fn answer(policy: &Policy, plan: &Plan) -> (Decided, Option<String>, String, Option<String>) {
    match policy.judge(plan.clone()) {
        Verdict::Allow(permit) => {
            let rule = permit.rule().to_owned();
            let why = policy.rules().iter().find(|other| other.id == rule).map(|rule| rule.why.clone());
            (Decided::Allow, Some(rule), why.unwrap_or_default(), None)
        }
        Verdict::Ask(question) => (Decided::Approve, Some(question.rule().to_owned()), question.why().to_owned(), None),
        Verdict::Deny(refusal) => (
            Decided::Deny,
            refusal.rule().map(str::to_owned),
            refusal.why().to_owned(),
            refusal.nearest().map(str::to_owned),
        ),
    }
}

fn grants(terms: &Terms, plan: &Plan, ceilings: &Ceilings) -> Grants {
    Grants {
        network: terms.network.min(ceilings.network),
        isolation: plan.isolation.max(terms.isolation).max(ceilings.isolation),
        lane: terms.lane,
        credentials: terms.credentials.clone(),
        limits: plan.limits.min(ceilings.limits),
    }
}

fn view(rule: &Rule, plan: &Plan, cases: &[Case], decides: bool) -> RuleView {
    let purpose = rule.grant.purpose();
    let conditions = rule.when.iter().map(|(argument, condition)| {
        let holding = cases.iter().filter(|case| condition.holds(case.get(argument), purpose)).count();
        ConditionView {
            argument: argument.clone(),
            wanted: condition.to_string(),
            given: plan.arguments.get(argument).map(written),
            satisfied: match holding {
                0 => Satisfied::No,
                some if some == cases.len() => Satisfied::Yes,
                _ => Satisfied::ForSome,
            },
        }
    });
    RuleView {
        id: rule.id.clone(),
        layer: rule.layer,
        place: rule.place.clone(),
        decision: decided(&rule.grant),
        why: rule.why.clone(),
        decides,
        conditions: conditions.collect(),
    }
}

fn decided(grant: &Grant) -> Decided {
    match grant {
        Grant::Allow(_) => Decided::Allow,
        Grant::Approve(..) => Decided::Approve,
        Grant::Deny => Decided::Deny,
    }
}

fn ceilings(policy: &Policy) -> Vec<Ceiling> {
    fn place<T>(stated: &Option<Located<T>>) -> Option<Place> {
        stated.as_ref().map(|located| located.place.clone())
    }
    let (in_force, stated) = (policy.ceilings(), policy.stated());
    let Stated { wall_seconds, cpu_seconds, memory_mb, disk_mb, pids, output_kb, .. } = stated;
    let numbers = [
        ("wall_seconds", in_force.limits.wall_seconds, wall_seconds),
        ("cpu_seconds", in_force.limits.cpu_seconds, cpu_seconds),
        ("memory_mb", in_force.limits.memory_mb, memory_mb),
        ("disk_mb", in_force.limits.disk_mb, disk_mb),
        ("pids", in_force.limits.pids, pids),
        ("output_kb", in_force.limits.output_kb, output_kb),
    ];
    let words = [
        ("network", network_word(in_force.network).to_owned(), place(&stated.network)),
        ("isolation", isolation_word(in_force.isolation).to_owned(), place(&stated.isolation)),
        ("write", in_force.write.to_string(), place(&stated.write)),
    ];
    let numbers = numbers.into_iter().map(|(key, value, located)| (key, value.to_string(), place(located)));
    words.into_iter().chain(numbers).map(|(key, value, place)| Ceiling { key, value, place }).collect()
}
