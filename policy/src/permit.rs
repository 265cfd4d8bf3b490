//! The proof that a call was judged: a sandbox is opened from nothing else.
//!
//! A permit carries the plan itself, so what was judged is what runs. Its fields are private and only `judge` makes
//! one; it cannot be cloned, defaulted or read from bytes; `open` takes it by value, so one judgement gives one
//! sandbox. `tests/fail` holds a program for each of these that must not compile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cofferdam_contract::{Guarantee, Isolation, Limits, Plan};

use crate::{git::Authorship, mode::Mode, protect::Protect, secrets::Secrets, write_scope::WriteScope};

/// Proof that policy allows a plan, with all that policy says about how it runs.
#[derive(Debug)]
#[must_use = "a permit that is not used opens no sandbox"]
pub struct Permit {
    plan: Plan,
    rule: String,
    isolation: Isolation,
    limits: Limits,
    terms: Arc<Standing>,
}

/// What is the same for every permit of one policy.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) policy_sha256: [u8; 32],
    pub(crate) required: BTreeSet<Guarantee>,
    /// By tool, the arguments that no call can be without.
    pub(crate) needed_arguments: BTreeMap<String, BTreeSet<String>>,
    pub(crate) protect: Arc<Protect>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) mode: Mode,
    pub(crate) write: WriteScope,
    pub(crate) authorship: Authorship,
}

impl Permit {
    /// The only mint; `judge` is its only caller.
    pub(crate) fn new(plan: Plan, rule: String, isolation: Isolation, limits: Limits, terms: Arc<Standing>) -> Self {
        Self { plan, rule, isolation, limits, terms }
    }

    /// What was judged, and so what runs.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The id of the rule that decided. When several allow the call, the one that grants least.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The digest of the policy that decided.
    #[must_use]
    pub fn policy_sha256(&self) -> [u8; 32] {
        self.terms.policy_sha256
    }

    /// The weakest boundary that will do: the strongest of what the plan, the rule and `[limits]` ask for. Not
    /// weaker than `plan().isolation`, and possibly stronger.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Budgets: the smaller of the plan's and the policy's, one by one.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What must not be absent: every guarantee of the boundary, and the budgets that policy requires.
    #[must_use]
    pub fn required(&self) -> &BTreeSet<Guarantee> {
        &self.terms.required
    }

    /// The paths that are held for a person.
    #[must_use]
    pub fn protect(&self) -> &Arc<Protect> {
        &self.terms.protect
    }

    /// Which files hold credentials, and what a sandbox sees of them.
    #[must_use]
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.terms.secrets
    }

    /// Variables that the policy sets inside.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.terms.environment
    }

    /// How changes come back.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.terms.mode
    }

    /// Whom a commit is by.
    #[must_use]
    pub fn authorship(&self) -> Authorship {
        self.terms.authorship
    }

    /// Where changes may be handed back. The plan's own `hand_back` was judged against it, path by path; what lies
    /// below a named folder is for the gate to ask.
    #[must_use]
    pub fn write(&self) -> &WriteScope {
        &self.terms.write
    }
}
