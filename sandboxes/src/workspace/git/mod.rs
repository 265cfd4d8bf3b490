//! The workspace's git repository: what the session keeps of it, and how a commit comes out of a sandbox.
//!
//! Git runs inside, on the view, where hooks and filters of the repository may run. What a sandbox wrote below `.git` is
//! never put into the host's `.git`. Of it, the session keeps git's own bookkeeping (the branch, its log, the index) in its
//! held layers, so that later calls see the agent's history; and new objects become a pack that the host's git has read,
//! checked and written anew (`import`).
//!
//! The rules it never breaks:
//! - The host's git runs with repositories of our own making and an environment of our own, and never with the host's or
//!   the sandbox's `.git` as its repository: settings there name programs that git executes (`program`, `store`).
//! - Whatever is read of the host's `.git` is read by us: a few bytes of text, beneath the pinned workspace (`host`).
//! - Whatever is written to the host's `.git` is new: a pack, a ref below `refs/agents/`, and, when a person takes a commit,
//!   the branch and the index in git's own order of locks (`placing`, `take`).

mod host;
mod import;
mod object;
mod place;
mod placing;
mod program;
mod standing;
mod store;
mod take;
mod working_tree;

#[cfg(test)]
mod tests;

pub use host::RepositoryError;
pub use import::{CommitError, Committed};
pub use object::ObjectId;
pub use placing::Untold;
pub(super) use placing::{recover, untold};
pub use program::{GitError, HostGit};
pub(super) use standing::History;
pub use standing::{Purpose, Standing};
pub use take::{TakeError, Taken, Taking};
pub use working_tree::Conversions;
