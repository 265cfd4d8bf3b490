//! Confines: backends, the workspace's view, and the gate that hands changes back.
//!
//! [`Yard::open`] is the only way to a sandbox, and it takes a [`Permit`](cofferdam_policy::Permit). A backend starts a
//! boundary and returns a byte pipe, what it really enforces, and a guard whose drop destroys it; everything else (files,
//! programs, output) is one wire protocol with one guest, whatever the backend.
//!
//! This is the only room that makes system calls on its own, opens paths of the workspace, or knows a kernel.

mod budget;
mod call_folder;
mod cancel;
pub mod conversation;
pub mod guest_program;
mod hand_back;
mod kernel;
mod namespace;
mod open;
mod pool;
mod ready;
mod reap;
pub mod root;
mod scratch;
mod submount;
mod view;
mod worker;
pub mod workspace;
mod yard;

pub use cancel::Cancel;
pub use kernel::{Kernel, KernelSays, KernelWarning};
pub use namespace::StartError;
pub use open::{Appeared, Closed, OpenSandbox};
pub use scratch::{
    BeganEmpty, ExportError, Exported, Intention, PersonError, PersonWaiting, ScratchError, ScratchHolder, ScratchNote,
    ScratchSize, ScratchVolume, ScratchVolumes, SkipReason, Skipped,
};
pub use view::{StageError, ViewMechanism};
pub use workspace::{
    git::{CommitError, Committed, Conversions, HostGit, ObjectId, RepositoryError, TakeError, Taken, Taking, Untold},
    *,
};
pub use yard::{OpenError, Report, Yard, YardError, YardOptions};
