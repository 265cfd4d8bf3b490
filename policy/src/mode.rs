//! How changes come back to the workspace: the operator's choice, for all calls alike.

use serde::Deserialize;

/// How changes come back, from most to least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Ordinary changes at the end of each call; protected paths and conflicts wait for a person.
    Apply,
    /// Every change waits for a person. The agent goes on seeing its own version.
    Draft,
    /// None: a call that wants one to come back is refused.
    ReadOnly,
}

impl Mode {
    /// The word of the policy language.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Draft => "draft",
            Self::ReadOnly => "read_only",
        }
    }
}
