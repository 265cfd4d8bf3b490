//! The host's side of the view and of the hand-back gate.
//!
//! A call works on an overlay: the workspace below, what the session holds in between, the call's own layer on top.
//! Afterwards [`Changeset::walk`] reads the top layer and [`Session::hand_back`] decides about each change: applied,
//! held for a person, dropped, or left because nobody asked for it.
//!
//! This is the only code of the server that opens paths of a workspace. The rules it never breaks:
//! - A path is resolved beneath its pinned root, through no link and no mount ([`beneath`]).
//! - Nothing of the host's is overwritten: it is exchanged, looked at, and put back when it is not what was expected
//!   ([`delivery::operation`]).
//! - Whatever moment the server is stopped at, each change is in the workspace, or held, or the whole hand-back has not
//!   happened ([`delivery`]).
//! - What the layer says is data: a forged mark, a device or a mode bit is never acted on ([`changeset`]).

mod authored;
pub(crate) mod beneath;
mod change;
mod changeset;
mod copy;
mod delivery;
mod gate;
pub mod git;
mod hand_back;
mod held;
mod kept;
mod live;
mod masking;
mod named;
mod notice;
mod plain;
#[cfg(test)]
mod playground;
mod session;
mod stamp;
mod tree_path;
mod version;
#[expect(clippy::module_inception, reason = "a file is named after its noun, and the room after its main noun")]
mod workspace;

#[cfg(test)]
mod changeset_tests;
#[cfg(test)]
mod hand_back_tests;
#[cfg(test)]
mod masking_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod view_tests;

pub use change::{Change, DropReason, Dropped, HandedBack, Held, Namer, Note, Reason, Special, What};
pub use changeset::{Bounds, Changeset, ChangesetError, Marks, TEMPORARY_PREFIX};
pub use copy::CopyError;
pub(crate) use copy::{Copied, CopyBounds};
pub use delivery::{RecoverError, Recovered, Stopped};
pub use gate::merge::Unmerged;
pub use hand_back::{Admission, Order};
pub use held::diff::Difference;
pub use held::release::Released;
pub use held::stack::{Bond, HeldChange, Layers, Origin, Since};
pub use kept::archive::Retention;
pub use kept::left::{Keep, KeepError, Kept};
pub use kept::undo::{UndoError, Undoable, Undone};
pub use masking::{Look, MaskError, Masks, OnTop};
pub(crate) use plain::{Identity, Plain};
pub use session::{LayersError, Session, SessionError};
pub use stamp::Stamp;
pub use tree_path::TreePath;
pub use version::HostVersion;
pub use workspace::{Patience, TurnError, Workspace, WorkspaceError};
