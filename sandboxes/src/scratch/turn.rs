//! Waiting for a lock that another call has, across servers.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use cofferdam_contract::Ended;
use rustix::{fs::FlockOperation, io::Errno};

use super::ScratchError;
use crate::cancel::Cancel;

/// How often a waiting call tries again.
const RETRY: Duration = Duration::from_millis(10);

/// How long a call waits without a word. Unmounting takes some milliseconds, and nobody needs to hear of that.
const SILENT: Duration = Duration::from_millis(200);

/// How long a call waits, and who is told once if it must.
pub(crate) struct Waiting<'a> {
    pub(crate) deadline: Instant,
    pub(crate) cancel: &'a Cancel,
    pub(crate) tell: Option<&'a mut dyn FnMut()>,
}

impl Waiting<'_> {
    /// Locks `file`, which is at `path`, for as long as it is open (`flock(2)`).
    ///
    /// # Errors
    /// [`ScratchError`] when the call ends first, or the file system has no locks.
    pub(super) fn lock(&mut self, file: &File, path: &Path) -> Result<(), ScratchError> {
        let begun = Instant::now();
        loop {
            match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::WOULDBLOCK) => {}
                Err(errno) => {
                    return Err(ScratchError::Prepare { path: path.to_path_buf(), source: errno.into() });
                }
            }
            if let Some(why) = self.cancel.why() {
                return Err(why.into());
            }
            if Instant::now() >= self.deadline {
                return Err(Ended::Deadline.into());
            }
            if begun.elapsed() >= SILENT
                && let Some(tell) = self.tell.take()
            {
                tell();
            }
            std::thread::sleep(RETRY);
        }
    }
}
