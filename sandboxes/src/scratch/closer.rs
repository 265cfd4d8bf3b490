//! Unmounting images behind a call's back: an answer does not wait until what a build wrote is on the disk.
//!
//! An image is kept mounted for a moment after a call, since mounting it is most of what the start of an executing call
//! costs, and calls come one after another. Whoever else wants it, another server, waits for its lock that much longer.

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::image::Image;

/// How long an image stays mounted for the server's own next call. An agent that calls again without thinking does so
/// within it, and a person at another server hardly notices it.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// The thread that unmounts. Dropping it unmounts all at once, and waits for that.
#[derive(Debug)]
pub(crate) struct Closer {
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    thread: Option<thread::JoinHandle<()>>,
    linger: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is mounted and not in use, and until when. One a workspace at most: its lock sees to that.
    lingering: Vec<(Instant, Image)>,
    is_over: bool,
}

impl Closer {
    /// Starts the thread. Images linger for `linger`.
    ///
    /// # Errors
    /// When there can be no thread more.
    pub(crate) fn start(linger: Duration) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("closer".into()).spawn(move || own.close_all())?;
        Ok(Self { shared, thread: Some(thread), linger })
    }

    /// Unmounts an image when nobody has taken it back for a while.
    pub(super) fn close(&self, image: Image) {
        self.shared.lock().lingering.push((Instant::now() + self.linger, image));
        self.shared.changed.notify_all();
    }

    /// The image at `path`, if it is still mounted and waits to be closed.
    pub(super) fn take_back(&self, path: &Path) -> Option<Image> {
        let mut state = self.shared.lock();
        let found = state.lingering.iter().position(|(_, image)| image.path() == path)?;
        Some(state.lingering.swap_remove(found).1)
    }
}

impl Shared {
    fn close_all(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(due) = state.lingering.iter().position(|(until, _)| state.is_over || *until <= now) {
                let (_, image) = state.lingering.swap_remove(due);
                drop(state);
                image.close();
                state = self.lock();
                continue;
            }
            if state.is_over {
                return;
            }
            let next = state.lingering.iter().map(|(until, _)| until.saturating_duration_since(now)).min();
            state = match next {
                Some(next) => self.changed.wait_timeout(state, next).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it had put an image in, or taken one out, or neither.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
