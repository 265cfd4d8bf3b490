//! The record of what a session holds: `stack.json` in its folder.
//!
//! Replacing that file is what makes a new generation count. A layer that it does not name is removed when nobody has it
//! locked: the ones that were replaced, and what a server left that stopped while it was building.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::stack::{Layers, Stack};
use crate::workspace::beneath;

const NAME: &str = "stack.json";

/// A session's record.
#[derive(Debug)]
pub(in crate::workspace) struct Ledger {
    folder: PathBuf,
    /// What was read or written last. A written file is never changed, only replaced, and its inode is not given to
    /// another one while it is open here: so the same inode means the same text.
    last: Mutex<Option<(File, Arc<Stack>)>>,
}

impl Ledger {
    /// The record of the session in `folder`.
    pub(in crate::workspace) fn new(folder: PathBuf) -> Self {
        Self { folder, last: Mutex::default() }
    }

    /// The session's folder.
    pub(in crate::workspace) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads what the session holds; nothing when there is no record.
    pub(in crate::workspace) fn load(&self) -> io::Result<Arc<Stack>> {
        let mut file = match File::open(self.folder.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) => return Err(error),
        };
        let found = file.metadata()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kept, stack)) = &*last {
            let kept = kept.metadata()?;
            if (kept.dev(), kept.ino()) == (found.dev(), found.ino()) {
                return Ok(Arc::clone(stack));
            }
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let stack: Arc<Stack> = Arc::new(serde_json::from_slice(&text)?);
        *last = Some((file, Arc::clone(&stack)));
        Ok(stack)
    }

    /// Makes `stack` what the session holds.
    pub(in crate::workspace) fn save(&self, stack: &Arc<Stack>) -> io::Result<()> {
        let file = write_atomically(&self.folder, NAME, &serde_json::to_vec(&**stack)?)?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((file, Arc::clone(stack)));
        Ok(())
    }

    /// Takes a snapshot of the layers.
    pub(in crate::workspace) fn lock(&self) -> io::Result<Layers> {
        loop {
            let stack = self.load()?;
            let layers = match stack.open(&self.folder) {
                Ok(layers) => layers,
                // Replaced and removed since we read their names.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.load()? != stack => continue,
                Err(error) => return Err(error),
            };
            for folder in layers.folders() {
                rustix::fs::flock(folder, FlockOperation::LockShared)?;
            }
            // Whoever removes a layer first names others. Still named now, so our lock came first.
            if self.load()?.generation == stack.generation {
                return Ok(layers);
            }
        }
    }

    /// Removes the layers that are neither `stack`'s nor in use.
    pub(in crate::workspace) fn sweep(&self, stack: &Stack) -> io::Result<()> {
        let path = self.folder.join("layers");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let layers = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(layers) => layers,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for name in beneath::names(layers.as_fd())? {
            if stack.names().any(|named| name == named) {
                continue;
            }
            let layer = rustix::fs::openat(&layers, &name, flags | OFlags::NOFOLLOW, Mode::empty())?;
            match rustix::fs::flock(&layer, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => beneath::remove_all(layers.as_fd(), &name)?,
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Replaces a small file of ours in one step. Gives the file that is there now.
pub(in crate::workspace) fn write_atomically(folder: &Path, name: &str, text: &[u8]) -> io::Result<File> {
    let temporary = folder.join(format!("{name}.new"));
    // A file of its own each time: whoever has the old one open keeps the old text.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    rustix::fs::fsync(File::open(folder)?)?;
    Ok(file)
}
