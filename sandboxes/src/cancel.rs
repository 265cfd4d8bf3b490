//! Ending a sandbox from elsewhere: a client that cancels, a server that stops.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};

use cofferdam_contract::Ended;
use rustix::process::Signal;

/// A switch that ends the sandbox of one call. Clones are the same switch.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    why: Option<Ended>,
    sandbox: Option<Arc<OwnedFd>>,
}

impl Cancel {
    /// A switch that nobody has thrown.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the call's sandbox at once, or as soon as it is opened. Only the first reason counts.
    pub fn cancel(&self, why: Ended) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.why.get_or_insert(why);
        if let Some(sandbox) = &state.sandbox {
            // ESRCH: it ended by itself.
            let _ = rustix::process::pidfd_send_signal(sandbox, Signal::KILL);
        }
    }

    /// Why the switch was thrown, if it was.
    #[must_use]
    pub fn why(&self) -> Option<Ended> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).why
    }

    /// Ties the switch to a sandbox's first process. A switch that was thrown before kills it now.
    pub(crate) fn watch(&self, sandbox: Arc<OwnedFd>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.why.is_some() {
            let _ = rustix::process::pidfd_send_signal(&sandbox, Signal::KILL);
        }
        state.sandbox = Some(sandbox);
    }

    /// Unties it: the sandbox has been destroyed.
    pub(crate) fn forget(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).sandbox = None;
    }
}
