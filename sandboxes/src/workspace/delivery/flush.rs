//! Getting new files to the disk.

use std::{fs::File, io, os::fd::BorrowedFd, path::Path};

use rustix::fs::OFlags;

use crate::workspace::beneath;

/// Up to this many files and folders are flushed one by one. Each costs a commit of the file system's journal (6 ms on the machine
/// where it was measured), so for more one flush of the whole file system is cheaper, whatever else it holds.
const ONE_BY_ONE: usize = 32;

/// Files that were written and are not yet known to be on the disk.
#[derive(Debug, Default)]
pub(in crate::workspace) struct Flush {
    waiting: Vec<File>,
    count: usize,
}

impl Flush {
    /// Takes a file that was written.
    pub(in crate::workspace) fn add(&mut self, file: File) {
        self.count += 1;
        if self.count <= ONE_BY_ONE {
            self.waiting.push(file);
        } else {
            self.waiting.clear();
        }
    }

    /// Waits until all are on the disk, and the names in `folders` too. All lie below `root`.
    pub(in crate::workspace) fn flush<'a>(
        self,
        root: BorrowedFd<'_>,
        folders: impl Iterator<Item = &'a Path>,
    ) -> io::Result<()> {
        let folders: Vec<_> = folders.collect();
        if self.count + folders.len() > ONE_BY_ONE {
            let root = beneath::open(root, Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY)?;
            return Ok(rustix::fs::syncfs(root)?);
        }
        for file in &self.waiting {
            rustix::fs::fsync(file)?;
        }
        for folder in folders {
            match beneath::sync_folder(root, folder) {
                // The host moved it away: whoever uses it next will find that out.
                Err(error) if beneath::is_moved(&error) => {}
                result => result?,
            }
        }
        Ok(())
    }
}
