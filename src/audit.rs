//! The audit log: what was asked, what was decided, what came of it.
//!
//! One JSON line per event in `audit/log.jsonl` of the state folder (0600). An *intent* is in the file
//! before a call is given a sandbox, and on the disk before a call that can change anything is. Before the
//! caller sees the result the intent is on the disk and the *outcome* too, or, for a call that could only read, in the file
//! then and on the disk within 50 ms. What cannot be written is refused.
//!
//! Each line ends with the SHA-256 of everything before it in that line (`sha256`), and names the previous line's
//! (`prev`). So a changed, removed, added or reordered line shows, and so does every single changed byte.
//! What a chain cannot show: lines cut off at the end, and a file rewritten as a whole by somebody who may write it.
//! Copy the last line's `sha256` elsewhere to notice those.
//!
//! A server that is killed leaves intents without an outcome; the next one records them as *lost*, see [`attendance`].
//!
//! Output of tools and contents of files never enter the log; see [`preview`].

pub mod attendance;
mod commit_taken;
pub mod lines;
pub mod log;
pub mod preview;
pub mod record;
pub mod time;
pub mod verify;

pub use attendance::Attendance;
pub use commit_taken::CommitMove;
pub use lines::{Line, Lines};
pub(crate) use log::LOCK_PATIENCE;
pub use log::{AppendError, Log, OpenError, Underway};
pub use record::{
    Action, Call, ChangeCounts, ChangesDecided, ChangesOrdered, Client, Decision, End, Enforcement, Event, Intent,
    Lost, Outcome, OutputSummary, PolicyAccepted, Record, Recovered, ScratchCleared, ScratchOrdered,
};
pub use verify::{Broken, Verified, open_between_batches, verify};

/// Where the log lies below the state folder.
#[must_use]
pub fn path(state: &std::path::Path) -> std::path::PathBuf {
    state.join("audit").join("log.jsonl")
}
