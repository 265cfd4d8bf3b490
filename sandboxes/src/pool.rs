//! Sandboxes prepared ahead, so that a file tool does not wait for namespaces.
//!
//! What is kept is started and never used; a call takes one, uses it once, and it is destroyed. A prepared sandbox has
//! looked up nothing below its view's root, so later edits of the host are seen by it; the folders of the workspace that
//! its view shows as they are, and those above them, are compared when it is taken. It is kept for one key, which holds
//! everything else that its making depended on; when any of it changes, the sandbox is never taken again.
//! Sandboxes that execute programs are not kept: their scratch volumes belong to one call at a time, and a test run takes
//! longer than a start.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use cofferdam_contract::Limits;

use crate::{ready::Ready, workspace::Workspace};

/// Prepared sandboxes that a server keeps at most, of all keys together. One holds about 1 MiB.
const MOST: usize = 16;

/// Everything that a prepared sandbox depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) workspace: String,
    pub(crate) session: String,
    /// The generation of the session's held layers.
    pub(crate) generation: u64,
    /// The number of what hides the workspace's credentials.
    pub(crate) masks: u64,
    pub(crate) access: Access,
    pub(crate) limits: Limits,
}

/// What a prepared sandbox may do to the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read it.
    Read,
    /// Write to a private layer over it.
    Write,
}

/// The prepared sandboxes, oldest first.
#[derive(Debug)]
pub(crate) struct Pool {
    size: usize,
    closed: AtomicBool,
    shelf: Mutex<Vec<(Key, Ready)>>,
}

impl Pool {
    /// A pool that keeps at most `size` sandboxes of one key. With 0 it keeps none.
    pub(crate) fn new(size: usize) -> Self {
        Self { size, closed: AtomicBool::new(false), shelf: Mutex::default() }
    }

    /// Takes a prepared sandbox out whose view shows the workspace as it is now.
    pub(crate) fn take(&self, key: &Key, workspace: &Workspace) -> Option<Ready> {
        loop {
            let taken = {
                let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
                let position = shelf.iter().position(|(kept, _)| kept == key)?;
                shelf.remove(position).1
            };
            if taken.lives() && taken.stage.plain().stands(workspace) {
                return Some(taken);
            }
        }
    }

    /// Whether one more of `key` is wanted.
    pub(crate) fn wants(&self, key: &Key) -> bool {
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        !self.closed.load(Ordering::Acquire) && shelf.iter().filter(|(kept, _)| kept == key).count() < self.size
    }

    /// Wants nothing more, and destroys all that is kept.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let kept = std::mem::take(&mut *self.shelf.lock().unwrap_or_else(PoisonError::into_inner));
        drop(kept);
    }

    /// Puts a prepared sandbox in. What it replaces is destroyed: those of an older state of the same session, and the
    /// oldest when there are too many.
    pub(crate) fn put(&self, key: Key, ready: Ready) {
        let mut outdated = Vec::new();
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let same_place = |kept: &Key| kept.workspace == key.workspace && kept.session == key.session;
        let mut index = 0;
        while let Some((kept, _)) = shelf.get(index) {
            if same_place(kept) && (kept.generation, kept.masks) != (key.generation, key.masks) {
                outdated.push(shelf.remove(index));
            } else {
                index += 1;
            }
        }
        shelf.push((key, ready));
        if shelf.len() > MOST {
            outdated.push(shelf.remove(0));
        }
        drop(shelf);
        // Their processes are waited for here, with the shelf free.
        drop(outdated);
    }
}
