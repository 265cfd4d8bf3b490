//! What policy answers: allow, ask, or deny. There is no fourth answer.

use std::fmt;

use cofferdam_contract::Plan;

use crate::{
    permit::Permit,
    rule::{Approval, Requester},
};

/// The answer to a plan.
#[derive(Debug)]
#[must_use = "a verdict is to be acted on"]
pub enum Verdict {
    /// It may run.
    Allow(Permit),
    /// People must agree first.
    Ask(Question),
    /// It may not.
    Deny(Refusal),
}

/// A plan that waits for people. It is no permit and holds none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    plan: Plan,
    rule: String,
    why: String,
    approval: Approval,
    policy_sha256: [u8; 32],
}

/// Why a plan may not run. Not an error: a decision, with the rule and what would be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    rule: Option<String>,
    why: String,
    nearest: Option<String>,
}

impl Question {
    pub(crate) fn new(plan: Plan, rule: String, why: String, approval: Approval, policy_sha256: [u8; 32]) -> Self {
        Self { plan, rule, why, approval, policy_sha256 }
    }

    /// What would run.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The id of the rule that asks.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Why it asks, in the policy's words.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Who must agree, and for how long that holds.
    #[must_use]
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// The digest of the policy that asks. A grant under another policy is void.
    #[must_use]
    pub fn policy_sha256(&self) -> [u8; 32] {
        self.policy_sha256
    }
}

impl Refusal {
    /// A refusal by a rule.
    pub(crate) fn by_rule(rule: &str, why: impl Into<String>, nearest: Option<String>) -> Self {
        Self { rule: Some(rule.to_owned()), why: why.into(), nearest }
    }

    /// A refusal because no rule allows it, or by `[limits]`.
    pub(crate) fn by_default(why: impl Into<String>, nearest: Option<String>) -> Self {
        Self { rule: None, why: why.into(), nearest }
    }

    /// The id of the rule that refuses; `None` when no rule allows the call, or when `[limits]` refuses it.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// Why, in the policy's words or ours.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The smallest change of the call that would be allowed, when one change is enough.
    #[must_use]
    pub fn nearest(&self) -> Option<&str> {
        self.nearest.as_deref()
    }
}

impl fmt::Display for Question {
    /// Writes one sentence without its full stop, so that the caller can go on.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan: _, rule, why, approval, policy_sha256: _ } = self;
        let from: Vec<&str> = approval.from.iter().map(String::as_str).collect();
        let requester = match approval.requester {
            Requester::Counts => "",
            Requester::DoesNotCount => " other than the requester",
        };
        write!(
            formatter,
            "the policy's rule `{rule}` asks for the approval of {} of {}{requester}: {}",
            approval.min,
            from.join(", "),
            without_stop(why)
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(rule) => write!(formatter, "refused by the policy's rule `{rule}`: {}.", without_stop(&self.why))?,
            None => write!(formatter, "refused by the policy: {}.", without_stop(&self.why))?,
        }
        match &self.nearest {
            Some(nearest) => write!(formatter, " Allowed instead: {}.", without_stop(nearest)),
            None => Ok(()),
        }
    }
}

fn without_stop(text: &str) -> &str {
    text.trim_end().trim_end_matches('.')
}
