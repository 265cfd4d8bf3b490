//! A person's order to take an agent's commit, and that it was done.

use serde::{Deserialize, Serialize};

/// A branch that moves to a commit of an agent's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitMove {
    /// The session's name.
    pub session: String,
    /// The workspace's absolute path.
    pub workspace: String,
    /// The branch; absent when none is checked out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The commit that it is at; absent for a branch without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The commit that it goes to.
    pub new: String,
    /// How many files differ between the two.
    pub files: u64,
}
