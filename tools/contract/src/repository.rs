//! What a tool may know of the workspace's git repository that is not inside the sandbox.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::WorkspacePath;

/// The repository, as the server sees it from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// The session's name, for a commit's trailer.
    pub session: String,
    /// The ref of the host's repository under which a commit of the session's is found: `refs/agents/default`.
    pub reference: String,
    /// The person's own commit that the session's history stands on, in hexadecimal; `None` where they have none yet.
    pub base: Option<String>,
    /// Whom a commit is by.
    pub author: Author,
    /// Files that hold credentials, of which the view shows something else: no commit may take that for a change.
    pub masked: Vec<WorkspacePath>,
    /// What the session changed, as far back as its undo records go. Only known for a commit.
    pub changed: BTreeSet<WorkspacePath>,
    /// What is to be known about the session's history beside the person's, one sentence each.
    pub warnings: Vec<String>,
}

/// Whom a commit is by, as the operator's policy has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// The person, as the host repository's settings or their own have them.
    Person(Identity),
    /// The person, and those settings name nobody.
    Unnamed,
    /// The agent itself.
    Agent,
}

/// A name and an address, as git puts them into a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
}
