//! The words that tools, policy and sandboxes share.
//!
//! A tool turns arguments into a [`Plan`]; policy judges it; a backend opens a [`Sandbox`] for it; the tool works
//! through that sandbox and nothing else. The requests a sandbox answers are defined here once, so that the program
//! inside (the guest) and the tool outside speak of the same thing.
//!
//! Nothing here does I/O, reads a clock or knows a backend.

mod argument;
mod command;
mod enforced;
mod file;
mod folder;
mod limits;
mod path;
mod plan;
mod repository;
mod sandbox;
mod task;

pub use argument::{Argument, Arguments};
pub use command::{Command, Exit, Stream};
pub use enforced::{Enforced, Guarantee, Kind, Mechanism, Strength};
pub use file::{
    Digest, Entry, EntryKind, Expected, FileContent, FileRefusal, FileReply, FileRequest, Ignoring, LeftOut, ListFiles,
    Listing, MAX_CLOSED, MatchLine, OutputMode, ReadFile, RefusalKind, SearchFiles, SearchHit, SearchReply, Status,
    Window, WriteFile, Written,
};
pub use folder::{CACHE_FOLDERS, SCRATCH_FOLDERS};
pub use limits::Limits;
pub use path::{MAX_PATH_BYTES, PathError, WorkspacePath};
pub use plan::{HandBack, Isolation, Lane, Network, Plan, SessionRequest, Work};
pub use repository::{Author, Identity, Repository};
pub use sandbox::{Ended, Sandbox, SandboxError};
pub use task::{Need, Parameter, ParameterKind, Task, Word};
