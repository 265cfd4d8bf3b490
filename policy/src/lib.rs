//! Decides: a plan in, a verdict out, and the only mint of a [`Permit`].
//!
//! [`Policy::load`] reads the layers, [`Policy::judge`] answers [`Verdict::Allow`], [`Verdict::Ask`] or
//! [`Verdict::Deny`]. Everything here is a function of values: no file, no clock, no network, no `unsafe`, no panic. The
//! language of the files is described in [`language`].
//!
//! # Layers
//!
//! The *builtin* policy ([`BUILTIN`]) makes the product useful and safe with no file at all. The *operator's* file
//! belongs to the owner of the machine. The *repository's* file (`.cofferdam.toml`) comes with the code, and the *command
//! line* with one server. The last two only narrow: whatever they say, no call is answered more generously than without
//! them. They combine so:
//!
//! - `[limits]`, `[protect]`, `require`: what both allow. Numbers, the network and the mode take the smaller, the isolation
//!   floor the stronger, sets what they share; protected paths and required budgets add up. A limit that asks for more than
//!   the layer before it is an error that names both lines, never silently cut. The builtin limits are wide (network up
//!   to an allowlist), so that they bound an operator by what is sensible and not by what is usual; no builtin rule
//!   *grants* any network. `registries` and `allow_hosts` that nobody states are empty.
//!   In a layer that only narrows, `registries` and `allow_hosts` that no layer before it states count as empty.
//! - `[env]`: adds up. Setting a name again to another value is an error. A layer that only narrows sets none: a variable
//!   is something more in a sandbox, and no list of names that are safe to take from a stranger could be complete.
//! - Rules: **whoever writes an `allow` rule for a tool says all that is allowed of it.** An operator's `allow` replaces
//!   the builtin rules for the tools that it names, and for no others; his `approve` and `deny` rules stand beside the
//!   builtin ones, and as the strictest match wins they can only restrict. So the builtin rules are the default for
//!   tools of which the operator allows nothing himself.
//!
//! Replacing is for the owner of the machine alone. The layers that only narrow bring `deny` and `approve` rules. A `deny`
//! narrows by itself. An `approve` of theirs grants nothing (`narrows = true` in the policy in force): a call gets what
//! the other rules grant it, met with this one's terms, after people agreed; where they grant nothing it changes nothing.
//! That their rules, with those of the layers before, are dead here is a warning and no error, since a repository's file
//! serves people whose own policies differ. A rule that is dead in its own file is an error as ever.
//!
//! [`Policy::difference`] compares two policies call by call, and the tests hold the layers to it.
//!
//! # What must stay true
//!
//! - The strictest matching rule wins, the order of rules never matters, and no match is no.
//! - Adding a `deny` rule, a lower limit, or a layer that only narrows never allows more.
//! - A [`Permit`] carries the plan that was judged and cannot be made, copied or read from bytes elsewhere.
//! - A policy that cannot be loaded is no policy: there is no reading that skips what is wrong.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unreachable)
)]

mod case;
mod ceilings;
mod condition;
mod difference;
mod digest;
mod document;
mod effective;
mod environment;
mod explanation;
mod git;
mod glob;
mod golden;
mod in_part;
mod judge;
pub mod language;
mod layer;
mod mode;
mod permit;
mod policy;
mod problem;
mod protect;
mod read_rule;
mod rule;
mod rules;
mod secrets;
mod task;
mod verdict;
mod wording;
mod write_scope;

pub use difference::{Change, Difference, Direction, TooManyCases};
pub use digest::digest;
pub use explanation::{Ceiling, ConditionView, Decided, Explanation, Grants, RuleView, Satisfied};
pub use git::Authorship;
pub use glob::GlobError;
pub use golden::{Expected, Golden};
pub use in_part::{InPart, Unknown};
pub use layer::{Layer, LayerName, ToolShape};
pub use mode::Mode;
pub use permit::Permit;
pub use policy::{BUILTIN, Policy};
pub use problem::{LoadError, Place, Problem};
pub use protect::{Protect, fold_name};
pub use rule::{Approval, Requester};
pub use secrets::{Candidate, MARK, MOST_VALUE_BYTES, Mask, Redacted, Redactor, Secret, SecretFiles, Secrets, Within};
pub use verdict::{Question, Refusal, Verdict};
pub use write_scope::WriteScope;
