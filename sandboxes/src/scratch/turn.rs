//! Waiting for a lock that another call has, across servers.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{fs::FlockOperation, io::Errno};

use super::ScratchError;
use crate::cancel::Cancel;

/// How often a waiting call tries again.
const RETRY: Duration = Duration::from_millis(10);

/// How long a call waits without a word. Unmounting takes some milliseconds, and nobody needs to hear of that.
const SILENT: Duration = Duration::from_millis(200);

/// How long a call waits for its turn at most: as long as a run takes that does not ask for more (`run_tests`, "Default
/// 600"). Whoever is in front for longer may be there for an hour, and a person should decide which of the two is wanted.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How long a call waits, and who is told for what if it must. Waiting is no part of the call's own time.
pub(crate) struct Waiting<'a> {
    pub(crate) longest: Duration,
    pub(crate) cancel: &'a Cancel,
    pub(crate) tell: &'a mut dyn FnMut(&str),
}

impl Waiting<'_> {
    /// Locks `file`, which is at `path`, for as long as it is open (`flock(2)`). If it must wait it tells so once, with
    /// `words`.
    ///
    /// # Errors
    /// [`ScratchError`] when the call ends first or has waited too long, or the file system has no locks.
    pub(super) fn lock(&mut self, file: &File, path: &Path, words: &str) -> Result<(), ScratchError> {
        let begun = Instant::now();
        let mut is_told = false;
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
            if begun.elapsed() >= self.longest {
                return Err(ScratchError::Busy { waited_seconds: self.longest.as_secs() });
            }
            if begun.elapsed() >= SILENT && !is_told {
                (self.tell)(words);
                is_told = true;
            }
            std::thread::sleep(RETRY);
        }
    }
}
