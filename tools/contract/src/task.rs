//! A command that the machine's owner named: what an agent may ask for beside the builtin tools.
//!
//! It is written down in the owner's policy file, checked when that is loaded, and becomes a tool with a schema of its own.
//! There is no shell and no free word: an agent chooses values of declared parameters, and each fills one whole word of
//! the command, or what follows a fixed `prefix=`.

use std::collections::BTreeMap;

use crate::{Lane, Limits, WorkspacePath};

/// A named command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The tool's name: 1 to 30 of `a-z`, `0-9` and `_`, beginning with a letter, and no builtin tool's.
    pub name: String,
    /// What it does, for agents: at most 1000 bytes.
    pub description: String,
    /// The program: a name on the sandbox's PATH, or a path below the workspace that begins with `./`.
    pub program: String,
    /// The words after the program.
    pub words: Vec<Word>,
    /// The working directory.
    pub directory: WorkspacePath,
    /// What an agent may choose, by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// Globs of files that it may change in the workspace; without any, nothing that it writes comes back.
    pub write: Vec<String>,
    /// Routine, or sensitive: only with a person's grant.
    pub lane: Lane,
    /// Budgets, of which `wall_seconds` is its time limit.
    pub limits: Limits,
}

/// One word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// As it is.
    Fixed(String),
    /// A parameter's value after `prefix`, which is empty or ends with `=`. Left out with its parameter.
    Filled {
        /// What stands before the value.
        prefix: String,
        /// The parameter's name.
        parameter: String,
    },
    /// Two words: an option, and a parameter's value. Both are left out with the parameter.
    Pair {
        /// The first word, as it is.
        option: String,
        /// The parameter's name.
        parameter: String,
    },
}

/// Something that an agent may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// What it is for, for agents: at most 300 bytes.
    pub description: String,
    /// Which values it takes.
    pub kind: ParameterKind,
    /// Whether it may be left out.
    pub need: Need,
}

/// Which values a parameter takes. None of them can be read as an option, unless the owner wrote it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterKind {
    /// One of these, 1 to 100.
    Choice(Vec<String>),
    /// A whole number between these, both included. Not negative where it fills a word alone.
    Integer {
        /// The least.
        minimum: i64,
        /// The greatest.
        maximum: i64,
    },
    /// True, and the word becomes this one; or false, and it is left out.
    Flag {
        /// The word, such as `--verbose`.
        word: String,
    },
    /// A path in the workspace, which reaches the program as an absolute path.
    Path,
    /// A plain name: letters, digits, `_`, `.`, `:` and `-`, beginning with a letter, a digit or `_`.
    Text {
        /// The longest, in characters, 1 to 256.
        max_length: u64,
    },
}

/// Whether a parameter must be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Required,
    /// Without it, its words are left out.
    Optional,
}
