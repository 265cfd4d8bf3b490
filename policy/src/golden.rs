//! Golden calls: a file of calls with the answers that a team wants, tried against the policy.
//!
//! A rule's own examples say what it matches; a golden call says what comes of it in the end, with every rule of every
//! layer in force.
//!
//! ```toml
//! [[call]]
//! tool = "delete_file"
//! args = { path = "tests/a.rs" }
//! decision = "deny"
//! rule = "no-deleting-tests" # optional, as are `network` and `lane`
//! ```

use std::ops::Range;

use cofferdam_contract::{Arguments, Lane, Network};
use serde::Deserialize;
use toml::Spanned;

use crate::{
    ceilings::network_word,
    document::DecisionText,
    explanation::{Decided, Explanation},
    problem::{LoadError, Place},
};

/// A file of golden calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Golden {
    /// The calls in the file's order, at least one.
    pub calls: Vec<Expected>,
}

/// A call and the answer that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The `[[call]]` line.
    pub place: Place,
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Arguments,
    decided: Decided,
    rule: Option<String>,
    network: Option<Network>,
    lane: Option<Lane>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    call: Vec<Spanned<CallText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallText {
    tool: String,
    #[serde(default)]
    args: Arguments,
    decision: DecisionText,
    rule: Option<String>,
    network: Option<Network>,
    lane: Option<Lane>,
}

impl Golden {
    /// Reads a file of golden calls.
    ///
    /// # Errors
    /// [`LoadError`] with the line of what is wrong.
    pub fn read(file: &str, text: &str) -> Result<Self, LoadError> {
        let place = |span: &Range<usize>| Place::of(file, text, span);
        let document: Document = toml::from_str(text).map_err(|error| {
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            LoadError::at(place(&error.span().unwrap_or(0..0)), message)
        })?;
        if document.call.is_empty() {
            return Err(LoadError::at(place(&(0..0)), "there is no [[call]] in it".to_owned()));
        }
        let calls = document.call.into_iter().map(|call| {
            let place = place(&call.span());
            let CallText { tool, args, decision, rule, network, lane } = call.into_inner();
            let decided = match decision {
                DecisionText::Allow => Decided::Allow,
                DecisionText::Approve => Decided::Approve,
                DecisionText::Deny => Decided::Deny,
            };
            Expected { place, tool, arguments: args, decided, rule, network, lane }
        });
        Ok(Self { calls: calls.collect() })
    }
}

impl Expected {
    /// What of the answer is not as wanted, a sentence each; none when all is.
    #[must_use]
    pub fn compare(&self, found: &Explanation) -> Vec<String> {
        let mut wrong = Vec::new();
        if found.decided != self.decided {
            wrong.push(format!("decision is {}, wanted {}: {}", found.decided, self.decided, found.why));
        }
        if let Some(rule) = &self.rule
            && !found.deciding().any(|deciding| deciding == rule)
        {
            let deciding: Vec<&str> = found.deciding().collect();
            let deciding = if deciding.is_empty() { "no rule".to_owned() } else { deciding.join(", ") };
            wrong.push(format!("{deciding} decides, wanted {rule}"));
        }
        let granted = found.grants.as_ref();
        if let Some(network) = self.network {
            let found = granted.map_or(Network::Off, |grants| grants.network);
            if found != network {
                let (found, wanted) = (network_word(found), network_word(network));
                wrong.push(format!("network is at most {found}, wanted {wanted}"));
            }
        }
        if let Some(lane) = self.lane {
            let found = granted.map_or(Lane::Routine, |grants| grants.lane);
            if found != lane {
                wrong.push(format!("lane is {}, wanted {}", lane_word(found), lane_word(lane)));
            }
        }
        wrong
    }
}

fn lane_word(lane: Lane) -> &'static str {
    match lane {
        Lane::Routine => "routine",
        Lane::Sensitive => "sensitive",
    }
}
