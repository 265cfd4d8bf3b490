//! The test runners that are known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A test runner. The order is the order of preference where several fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// `cargo test`.
    Cargo,
    /// `cargo nextest run`.
    Nextest,
    /// `python -m pytest`.
    Pytest,
    /// `python -m unittest`.
    Unittest,
    /// `vitest run`.
    Vitest,
    /// `jest`.
    Jest,
    /// `mocha`.
    Mocha,
    /// `node --test`.
    Node,
    /// `go test`.
    Go,
    /// `make test` or `make check`.
    Make,
    /// The script `test` of `package.json`.
    Npm,
}

impl Runner {
    /// Its name in arguments and results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Nextest => "nextest",
            Self::Pytest => "pytest",
            Self::Unittest => "unittest",
            Self::Vitest => "vitest",
            Self::Jest => "jest",
            Self::Mocha => "mocha",
            Self::Node => "node",
            Self::Go => "go",
            Self::Make => "make",
            Self::Npm => "npm",
        }
    }

    /// The signs of it, for the error of a runner that was asked for and does not fit.
    pub(super) fn looked_for(self) -> &'static str {
        match self {
            Self::Cargo => "Cargo.toml",
            Self::Nextest => "Cargo.toml and an installed cargo-nextest",
            Self::Pytest => "pytest.ini, [tool.pytest], conftest.py, or test_*.py or *_test.py in a Python project",
            Self::Unittest => "test_*.py or *_test.py in a Python project",
            Self::Vitest => "a package.json whose scripts run vitest, or that needs it, or vitest.config.*",
            Self::Jest => "a package.json whose scripts run jest, or that needs it, or jest.config.*",
            Self::Mocha => "a package.json whose scripts run mocha, or that needs it, or .mocharc.*",
            Self::Node => "a package.json whose scripts.test runs `node --test`, or *.test.js, test-*.js, test/*.js",
            Self::Go => "go.mod and *_test.go",
            Self::Make => "a makefile with the target test or check",
            Self::Npm => "a package.json with a script `test`",
        }
    }
}
