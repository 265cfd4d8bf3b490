//! How the session's own history stands to the host's: on it, taken by it, or left behind.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use std::sync::Arc;

use super::{
    HostGit, ObjectId, RepositoryError,
    host::{Head, HostRepository, in_git, name, small},
    store::Store,
};
use crate::workspace::{
    Reason, Session, SessionError, TreePath, Workspace,
    held::{layer::Ground, stack::Stack},
    tree_path::hexadecimal,
    workspace::Patience,
};

/// The longest session name that is told in a ref, in bytes. A file's name may have 255, each byte may take three, and git
/// adds `.lock`.
const MAX_NAME_BYTES: usize = 80;

/// The session's own history, as the record of what it holds has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::workspace) struct History {
    /// The branch that the session works on, by its full name; `None` without one.
    pub(super) branch: Option<String>,
    /// The host's commit below the session's; `None` where the branch had none.
    pub(super) base: Option<ObjectId>,
    /// The session's newest commit.
    pub(super) head: ObjectId,
}

/// What the repository is looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To read it.
    Read,
    /// To make a commit.
    Commit,
}

/// How the session stands to the host's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The ref that the session's commits are found under.
    pub reference: String,
    /// The host's commit that its history stands on.
    pub base: Option<ObjectId>,
    /// The session's newest commit, if it has one of its own.
    pub head: Option<ObjectId>,
    /// What is to be known about it, one sentence each.
    pub warnings: Vec<String>,
}

/// The session's ref, below `.git`. Two names never have the same: what is no letter, digit, `-` or `_` is written as `%`
/// and two capital hexadecimal digits, and a name that is too long as `%-` and its digest.
pub(super) fn reference(session: &str) -> TreePath {
    let mut name = String::new();
    for byte in session.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            byte => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if session.is_empty() || session.len() > MAX_NAME_BYTES {
        name = format!("%-{}", hexadecimal(&Sha256::digest(session)[..16]));
    }
    super::host::name(&format!("refs/agents/{name}"))
}

impl Session {
    /// Looks at the workspace's repository and at what the session has of its own. A history that the host's branch has
    /// by now is forgotten: then the host's repository is what the session sees.
    ///
    /// # Errors
    /// [`RepositoryError`], also for a commit that would not stand on what the host has.
    pub fn repository(
        &self,
        git: &HostGit,
        purpose: Purpose,
        patience: &Patience<'_>,
    ) -> Result<Standing, RepositoryError> {
        let session_error = |error| RepositoryError::Session(Box::new(error));
        let host = HostRepository::look(self.workspace())?;
        if purpose == Purpose::Commit {
            host.takes_commits(self.workspace())?;
        }
        let load = || self.ledger().load().map_err(|source| self.kernel("read what is held", source));
        let stack = load().map_err(session_error)?;
        let reference = reference(self.name()).to_string();
        let standing = |base: Option<&ObjectId>, head: Option<&History>, warnings| Standing {
            reference: reference.clone(),
            base: base.cloned(),
            head: head.map(|history| history.head.clone()),
            warnings,
        };
        let Some(history) = stack.history() else {
            return Ok(standing(host.head.commit(), None, Vec::new()));
        };
        match compare(git, self.workspace(), &host, history)? {
            Place::Same => Ok(standing(history.base.as_ref(), Some(history), Vec::new())),
            Place::Behind => Ok(standing(host.head.commit(), Some(history), Vec::new())),
            Place::Taken => {
                let _turn = self.turn(patience).map_err(session_error)?;
                // Somebody may have committed meanwhile.
                let now = load().map_err(session_error)?;
                if now.history() == Some(history) {
                    self.forget_history(&now).map_err(session_error)?;
                }
                Ok(standing(host.head.commit(), None, Vec::new()))
            }
            Place::Apart => {
                let text = apart(&host.head, history, &reference, self.name());
                match purpose {
                    Purpose::Read => Ok(standing(history.base.as_ref(), Some(history), vec![text])),
                    Purpose::Commit => Err(RepositoryError::Moved(format!("no commit was made: {text}"))),
                }
            }
        }
    }

    /// Takes what the session keeps of the repository out of what it holds. The caller has the turn.
    fn forget_history(&self, stack: &Arc<Stack>) -> Result<(), SessionError> {
        let failed = |source| self.kernel("forget the session's own history", source);
        let next = Arc::new(self.without_history(stack)?);
        self.ledger().save(&next).map_err(failed)?;
        self.ledger().sweep(&next).map_err(failed)
    }

    /// What the session holds without what it keeps of the repository.
    pub(super) fn without_history(&self, stack: &Arc<Stack>) -> Result<Stack, SessionError> {
        let ground = Ground::as_it_is(self.workspace().fd());
        let next = stack.next(self.ledger().folder(), ground, &stack.repository_state(), &[]);
        let mut next = next.map_err(|source| self.kernel("forget the session's own history", source))?;
        next.history = None;
        Ok(next)
    }

    /// The text of the host repository's settings; empty where there are none. A session's own version of them, which an agent
    /// may have written, is not what says whom a commit is by.
    pub(super) fn repository_settings(&self) -> Result<Vec<u8>, RepositoryError> {
        let found = small(self.workspace(), &in_git(&name("config")), 1 << 20);
        let failed = |source| RepositoryError::Read { what: ".git/config".to_owned(), source };
        Ok(found.map_err(failed)?.unwrap_or_default())
    }

    /// The reference that has the session's own commits; `None` where there are none.
    ///
    /// # Errors
    /// [`LayersError`](crate::workspace::LayersError).
    pub fn own_reference(&self) -> Result<Option<TreePath>, crate::workspace::LayersError> {
        let layers = self.layers()?;
        Ok(layers.history().map(|_| reference(self.name())))
    }

    /// The session's own commits, in a sentence for a person, which says that `order` takes them; `None` where there are none.
    ///
    /// # Errors
    /// [`LayersError`](crate::workspace::LayersError).
    pub fn own_commits(&self, order: &str) -> Result<Option<String>, crate::workspace::LayersError> {
        let layers = self.layers()?;
        Ok(layers.history().map(|history| {
            let base = history.base.as_ref().map_or("nothing", ObjectId::short);
            let branch = history.branch.as_deref().map_or("no branch", |name| name.trim_start_matches("refs/heads/"));
            // Only git knows whether a branch that moved can still move forward to them.
            let is_where_it_was = HostRepository::look(self.workspace()).map(|host| {
                let now = host.head.branch().map(|branch| branch.as_path().to_string_lossy().into_owned());
                now == history.branch && host.head.commit() == history.base.as_ref()
            });
            let takes = match is_where_it_was {
                Ok(true) => "takes them",
                Ok(false) => "tries to take them: what is checked out has moved",
                Err(_) => "tries to take them: the repository could not be looked at",
            };
            format!(
                "the agent's commits: {} at {}, on {base} of {branch}; `{order}` {takes}",
                reference(self.name()),
                history.head.short(),
            )
        }))
    }
}

/// Where the host's checked-out commit is, seen from a session's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Where it was.
    Same,
    /// On the way from the base to the session's newest commit.
    Behind,
    /// At the session's newest commit, or further.
    Taken,
    /// Elsewhere.
    Apart,
}

pub(super) fn compare(
    git: &HostGit,
    workspace: &Workspace,
    host: &HostRepository,
    history: &History,
) -> Result<Place, RepositoryError> {
    let branch = host.head.branch().map(|branch| branch.as_path().to_string_lossy().into_owned());
    let same_branch = branch == history.branch;
    if same_branch && host.head.commit() == history.base.as_ref() {
        return Ok(Place::Same);
    }
    let Some(found) = host.head.commit() else { return Ok(Place::Apart) };
    let store = Store::make(git, workspace, host)
        .map_err(|source| RepositoryError::Read { what: "the objects".to_owned(), source })?;
    if !store.has_commit(&history.head) {
        return Ok(Place::Apart);
    }
    if store.is_ancestor(&history.head, found)? {
        return Ok(Place::Taken);
    }
    Ok(if same_branch && store.is_ancestor(found, &history.head)? { Place::Behind } else { Place::Apart })
}

fn apart(head: &Head, history: &History, reference: &str, session: &str) -> String {
    let place = |branch: Option<&str>, commit: Option<&ObjectId>| {
        let branch = branch.map_or("no branch", |branch| branch.trim_start_matches("refs/heads/"));
        format!("{branch} at {}", commit.map_or("no commit", ObjectId::short))
    };
    let now = head.branch().map(ToString::to_string);
    let option = if session == "default" { String::new() } else { format!(" --session {session}") };
    format!(
        "the session's own commits ({} in {reference}) stand on {}, and the workspace is on {} now; a person can merge \
         them: {}. `cofferdam changes discard{option} .git` then lets the session see the workspace's own history again",
        history.head.short(),
        place(history.branch.as_deref(), history.base.as_ref()),
        place(now.as_deref(), head.commit()),
        merging(reference),
    )
}

/// How a person merges a session's commits, whose files lie in their working tree too: git merges over none that is not
/// committed, but with `--autostash` (git 2.27), and over none that it does not know in any case.
pub(super) fn merging(reference: &str) -> String {
    format!(
        "`git add -A && git merge --autostash {reference}` (git merges over no file that is not committed, and the agent's lie in \
         the working tree)"
    )
}

impl Stack {
    /// The session's own history, if it has one.
    pub(in crate::workspace) fn history(&self) -> Option<&History> {
        self.history.as_ref().filter(|_| self.held.values().any(|held| held.reason == Reason::RepositoryState))
    }

    /// The paths that are git's bookkeeping of that history.
    pub(in crate::workspace) fn repository_state(&self) -> std::collections::BTreeSet<TreePath> {
        let state = self.held.values().filter(|held| held.reason == Reason::RepositoryState);
        state.map(|held| held.change.path.clone()).collect()
    }
}

#[cfg(test)]
mod reference_tests {
    use proptest::prelude::*;

    use super::reference;

    #[test]
    fn refs_are_readable_and_valid() {
        assert_eq!(reference("default").to_string(), "refs/agents/default");
        assert_eq!(reference("v1.lock").to_string(), "refs/agents/v1%2Elock");
        assert_eq!(reference("a b/..").to_string(), "refs/agents/a%20b%2F%2E%2E");
        assert!(reference(&"x".repeat(81)).to_string().starts_with("refs/agents/%-"));
    }

    proptest! {
        #[test]
        fn two_sessions_never_share_a_ref(one in "\\PC{0,90}|[%a-f0-9-]{0,8}", other in "\\PC{0,90}|[%a-f0-9-]{0,8}") {
            prop_assert_eq!(one == other, reference(&one) == reference(&other));
            let name = reference(&one).to_string();
            prop_assert!(name.len() < 255 && name.split('/').count() == 3 && !name.contains(['~', '^', ':', '?', '*', '[', '\\', ' ', '.', '@']), "{}", name);
        }
    }
}
