//! A program to execute inside a sandbox.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::WorkspacePath;

/// A program and its arguments. There is no shell: each argument reaches the program as one argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program's name, looked up in the sandbox's own PATH (never in the workspace), or a path that starts with
    /// `./` below the workspace (a virtual environment's interpreter).
    pub program: String,
    /// The arguments after the program's name.
    pub arguments: Vec<String>,
    /// The working directory.
    pub directory: WorkspacePath,
    /// Variables besides the sandbox's fixed ones.
    pub environment: BTreeMap<String, String>,
}

/// Which of a command's outputs a chunk belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It ended by itself with this status (0 to 255).
    Code(i32),
    /// A signal ended it (`signal(7)` numbers).
    Signal(i32),
}
