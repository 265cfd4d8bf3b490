//! A rule: which calls it speaks of, what it decides, and what a call that it grants may have.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cofferdam_contract::{Arguments, Isolation, Lane, Network};

use crate::{
    case::{self, Case, TooMany},
    condition::{Condition, Purpose},
    layer::LayerName,
    problem::Place,
};

/// A rule, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) id: String,
    /// The `[[rule]]` line.
    pub(crate) place: Place,
    /// The layer whose file it stands in.
    pub(crate) layer: LayerName,
    pub(crate) role: Role,
    pub(crate) tools: BTreeSet<String>,
    pub(crate) when: BTreeMap<String, Condition>,
    pub(crate) grant: Grant,
    pub(crate) why: String,
    pub(crate) matching: Vec<Example>,
    pub(crate) not_match: Vec<Example>,
}

/// Whether a rule's grant stands by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The grant is the rule's own, as far as a rule as strict does not say less.
    Decides,
    /// The rule grants nothing: a call gets what the other rules grant, and of that no more than this one names. Every
    /// `approve` rule of a layer that may only narrow is one. A denial needs no such role; it narrows by itself.
    Narrows,
}

/// What a rule decides. Only what a decision can mean can be said with it: a denial carries no network, and a call
/// that is simply allowed has no approvers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    /// The call runs.
    Allow(Terms),
    /// A person is asked first.
    Approve(Terms, Approval),
    /// The call does not run.
    Deny,
}

/// How strict a decision is; the strictest matching rule wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Allow,
    Approve,
    Deny,
}

/// What a granted call may have at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Terms {
    /// At most this much network.
    pub(crate) network: Network,
    /// At least this boundary.
    pub(crate) isolation: Isolation,
    /// At most this lane.
    pub(crate) lane: Lane,
    /// Only these credentials.
    pub(crate) credentials: BTreeSet<String>,
}

/// Who must agree before a call runs, and for how long that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// How many people, at least 1.
    pub min: u32,
    /// Who counts: `user:NAME` or `group:NAME`.
    pub from: BTreeSet<String>,
    /// Whether the one who asks may be among them.
    pub requester: Requester,
    /// How long a grant holds.
    pub expires: Duration,
}

/// Whether the one who asks for a call may approve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requester {
    /// The requester counts like anybody else.
    Counts,
    /// Somebody else must agree.
    DoesNotCount,
}

/// A call that a rule names to show what it means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Example {
    pub(crate) tool: String,
    pub(crate) arguments: Arguments,
    pub(crate) place: Place,
}

impl Rule {
    /// Whether the rule speaks of `tool` in this case.
    pub(crate) fn matches(&self, tool: &str, case: &Case) -> bool {
        self.tools.contains(tool) && self.failing(case).next().is_none()
    }

    /// The conditions that the case does not meet.
    pub(crate) fn failing<'a>(&'a self, case: &'a Case) -> impl Iterator<Item = (&'a str, &'a Condition)> {
        let purpose = self.grant.purpose();
        self.when
            .iter()
            .filter(move |(argument, condition)| !condition.holds(case.get(argument.as_str()), purpose))
            .map(|(argument, condition)| (argument.as_str(), condition))
    }

    /// Every example that the rule does not keep to, with the line and what is wrong.
    pub(crate) fn wrong_examples(&self) -> Vec<(Place, String)> {
        let matches = |example: &Example| {
            let mentioned = self.when.keys().map(String::as_str).collect();
            case::of_call(&example.arguments, &mentioned)
                .map(|cases| cases.iter().any(|case| self.matches(&example.tool, case)))
        };
        let expected = self.matching.iter().map(|example| (example, true));
        let unexpected = self.not_match.iter().map(|example| (example, false));
        expected
            .chain(unexpected)
            .filter_map(|(example, expected)| match (matches(example), expected) {
                (Ok(true), true) | (Ok(false), false) => None,
                (Ok(false), true) => Some((example, "this example of `match` is not matched by its rule")),
                (Ok(true), false) => Some((example, "this example of `not_match` is matched by its rule")),
                (Err(TooMany), _) => Some((example, "the lists of this example are too long to try the rule")),
            })
            .map(|(example, message)| (example.place.clone(), format!("{message} `{}`", self.id)))
            .collect()
    }

    pub(crate) fn severity(&self) -> Severity {
        self.grant.severity()
    }
}

impl Grant {
    pub(crate) fn severity(&self) -> Severity {
        match self {
            Self::Allow(_) => Severity::Allow,
            Self::Approve(..) => Severity::Approve,
            Self::Deny => Severity::Deny,
        }
    }

    /// What a call that it grants may have; `None` for a denial.
    pub(crate) fn terms(&self) -> Option<&Terms> {
        match self {
            Self::Allow(terms) | Self::Approve(terms, _) => Some(terms),
            Self::Deny => None,
        }
    }

    /// What both grant, under the stricter decision.
    pub(crate) fn meet(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Deny, _) | (_, Self::Deny) => Self::Deny,
            (Self::Allow(left), Self::Allow(right)) => Self::Allow(left.meet(right)),
            (Self::Approve(left, who), Self::Approve(right, too)) => Self::Approve(left.meet(right), who.meet(too)),
            (Self::Approve(left, who), Self::Allow(right)) | (Self::Allow(left), Self::Approve(right, who)) => {
                Self::Approve(left.meet(right), who.clone())
            }
        }
    }

    /// How the conditions of a rule with this decision are read.
    pub(crate) fn purpose(&self) -> Purpose {
        match self {
            Self::Allow(_) => Purpose::Grants,
            Self::Approve(..) | Self::Deny => Purpose::Restricts,
        }
    }
}

impl Terms {
    /// What both grant.
    fn meet(&self, other: &Self) -> Self {
        Self {
            network: self.network.min(other.network),
            isolation: self.isolation.max(other.isolation),
            lane: self.lane.min(other.lane),
            credentials: &self.credentials & &other.credentials,
        }
    }
}

impl Approval {
    /// What satisfies both. When `from` comes out empty, nobody can.
    fn meet(&self, other: &Self) -> Self {
        Self {
            min: self.min.max(other.min),
            from: &self.from & &other.from,
            requester: self.requester.max(other.requester),
            expires: self.expires.min(other.expires),
        }
    }
}
