//! The test runners that are known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A test runner. The order is the order of preference where several fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// `cargo test`.
    Cargo,
    /// `python -m pytest`.
    Pytest,
    /// `python -m unittest`.
    Unittest,
    /// `node --test`.
    Node,
}

impl Runner {
    /// Its name in arguments and results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Pytest => "pytest",
            Self::Unittest => "unittest",
            Self::Node => "node",
        }
    }
}
