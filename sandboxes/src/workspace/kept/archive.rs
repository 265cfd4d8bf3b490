//! Folders of a session that are kept for a while: numbered in the order in which they came, and removed by age, number
//! and size, the oldest first.
//!
//! A folder is filled under the name `unfinished` and counts from when it gets its number. Whoever files has the
//! workspace's turn, so that no number is given twice.

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, DirBuilder},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{Mode, OFlags};

use crate::workspace::beneath;

/// The folder that is being filled, of which there is one at a time.
pub(super) const UNFINISHED: &str = "unfinished";

/// How much is kept, for one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many; the oldest go first.
    pub number: usize,
    /// Bytes in all of them together.
    pub bytes: u64,
    /// How long. What is older goes when the next one comes.
    pub age: Duration,
}

/// The folders of one kind.
#[derive(Debug, Clone)]
pub(in crate::workspace) struct Archive {
    folder: PathBuf,
    retention: Retention,
}

/// A filed folder's name: which, when and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    number: u64,
    at_ms: u64,
    pub(super) bytes: u64,
}

impl Archive {
    /// The one in `folder`, which need not be there.
    pub(in crate::workspace) fn new(folder: PathBuf, retention: Retention) -> Self {
        Self { folder, retention }
    }

    pub(super) fn retention(&self) -> Retention {
        self.retention
    }

    /// Where a folder of this name lies.
    pub(super) fn path(&self, name: &impl fmt::Display) -> PathBuf {
        self.folder.join(name.to_string())
    }

    /// What is filed, newest first.
    pub(super) fn names(&self) -> io::Result<Vec<Name>> {
        let items = match fs::read_dir(&self.folder) {
            Ok(items) => items,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for item in items {
            names.extend(item?.file_name().to_str().and_then(Name::parse));
        }
        names.sort();
        names.reverse();
        Ok(names)
    }

    /// Makes the unfinished folder, in place of what an earlier one may have left.
    pub(super) fn begin(&self) -> io::Result<PathBuf> {
        self.remove(&UNFINISHED)?;
        let folder = self.path(&UNFINISHED);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(folder)
    }

    /// Gives the unfinished folder a number, and removes what is over the retention as of `at_ms` (since 1970).
    pub(super) fn file(&self, at_ms: u64, bytes: u64) -> io::Result<()> {
        let filed = self.names()?;
        let number = filed.first().map_or(1, |newest| newest.number + 1);
        let name = Name { number, at_ms, bytes };
        fs::rename(self.path(&UNFINISHED), self.path(&name))?;
        let Retention { number, bytes, age } = self.retention;
        let oldest = at_ms.saturating_sub(age.as_millis().try_into().unwrap_or(u64::MAX));
        let mut kept_bytes = 0_u64;
        for (count, name) in std::iter::once(name).chain(filed).enumerate() {
            kept_bytes = kept_bytes.saturating_add(name.bytes);
            if count >= number || kept_bytes > bytes || name.at_ms < oldest {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Removes a folder. Its not being there is fine.
    pub(super) fn remove(&self, name: &impl fmt::Display) -> io::Result<()> {
        match open(&self.folder) {
            Ok(folder) => beneath::remove_all(folder.as_fd(), OsStr::new(&name.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}-{}", self.number, self.at_ms, self.bytes)
    }
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').map(|part| part.parse().ok());
        let name = Self { number: parts.next()??, at_ms: parts.next()??, bytes: parts.next()?? };
        parts.next().is_none().then_some(name)
    }
}

/// Opens a folder of the state.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
