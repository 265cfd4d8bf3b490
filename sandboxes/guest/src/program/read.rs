//! Reading a file: a window of it, and what is worth knowing about the rest.
//!
//! A file is read once, from its beginning, in blocks. Up to [`COUNTED_BYTES`] the whole of it is read, for its digest
//! and its number of lines; of a larger one only as much as the window needs.

use std::{fs::File, io::Read};

use cofferdam_contract::{Digest, FileContent, FileRefusal, ReadFile, RefusalKind, Window, WorkspacePath};
use cofferdam_guest::wire::MAX_CONTENT_BYTES;
use rustix::{fs::FileType, io::Errno};
use sha2::{Digest as _, Sha256};

use super::{channel::Lifeline, refusal::refusal, workspace::Workspace};

/// Files up to this size, in bytes, are read whole. About a second of hashing on a slow machine.
pub(crate) const COUNTED_BYTES: u64 = 256 << 20;

/// How much of a file's beginning is returned with every window, in bytes.
const HEAD_BYTES: usize = 1024;

/// Reads a file.
pub(crate) fn read(
    workspace: &Workspace,
    lifeline: &Lifeline<'_>,
    request: &ReadFile,
) -> Result<FileContent, FileRefusal> {
    let path = &request.path;
    let (place, kind) = workspace.existing(path)?;
    must_be_file(kind, path)?;
    let failed = |error| workspace.refused(&place, error, "read", path);
    let file = place.open_file().map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let max = usize::try_from(request.max_bytes).unwrap_or(usize::MAX).min(MAX_CONTENT_BYTES);
    let mut view = View::new(request.window, max);
    if view.first_line == 0 {
        return Err(refusal(RefusalKind::Invalid, "lines are counted from 1"));
    }

    let is_counted = size <= COUNTED_BYTES;
    let mut digest = Sha256::new();
    let mut done = 0;
    for_each_block(file, lifeline, |block| {
        if is_counted {
            digest.update(block);
        }
        view.take(block);
        done += block.len() as u64;
        // A file that grows while it is read must not keep the reader for ever.
        done <= COUNTED_BYTES && (is_counted || !view.is_complete())
    })
    .map_err(failed)?;

    if !is_counted && !view.is_begun() {
        let message = format!("line {} of `{path}` lies beyond its first 256 MiB", view.first_line);
        return Err(refusal(RefusalKind::TooLarge, message));
    }
    Ok(FileContent {
        cut: view.cut || (!is_counted && !view.is_complete()),
        total_lines: is_counted.then(|| view.lines()),
        digest: is_counted.then(|| digest.finalize().into()),
        bytes: view.bytes,
        head: view.head,
        size,
        mode: stat.st_mode & 0o777,
    })
}

/// The digest of a whole file of at most [`COUNTED_BYTES`].
pub(crate) fn digest(file: File, lifeline: &Lifeline<'_>) -> Result<Digest, Errno> {
    let mut digest = Sha256::new();
    for_each_block(file, lifeline, |block| {
        digest.update(block);
        true
    })?;
    Ok(digest.finalize().into())
}

/// Refuses what is not a regular file.
pub(crate) fn must_be_file(kind: FileType, path: &WorkspacePath) -> Result<(), FileRefusal> {
    let other = match kind {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a folder",
        FileType::Symlink => "a link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    };
    Err(refusal(RefusalKind::WrongKind, format!("`{path}` is {other}, not a file")))
}

/// Reads block by block until the end, or until `each` says that it is enough.
fn for_each_block(mut file: File, lifeline: &Lifeline<'_>, mut each: impl FnMut(&[u8]) -> bool) -> Result<(), Errno> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        lifeline.check();
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                if !each(buffer.get(..count).unwrap_or_default()) {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
}

/// What is kept of a file that passes by.
#[derive(Debug)]
struct View {
    first_line: u64,
    /// The first line after the window.
    after: u64,
    max: usize,
    bytes: Vec<u8>,
    head: Vec<u8>,
    /// Lines that ended so far.
    ended_lines: u64,
    /// Whether the last byte seen did not end a line.
    is_inside_line: bool,
    cut: bool,
}

impl View {
    fn new(window: Window, max: usize) -> Self {
        let (first_line, after) = match window {
            Window::Bytes => (1, u64::MAX),
            Window::Lines { first, count } => (first, first.saturating_add(count)),
        };
        let (bytes, head) = (Vec::new(), Vec::new());
        Self { first_line, after, max, bytes, head, ended_lines: 0, is_inside_line: false, cut: false }
    }

    fn take(&mut self, block: &[u8]) {
        let missing = HEAD_BYTES.saturating_sub(self.head.len()).min(block.len());
        self.head.extend_from_slice(block.get(..missing).unwrap_or_default());

        let mut rest = block;
        while !rest.is_empty() {
            let line = self.ended_lines + 1;
            if line >= self.first_line && line < self.after && self.after == u64::MAX {
                // To the end of the file: the whole rest belongs to the window.
                self.keep(rest);
                self.ended_lines += newlines(rest);
                break;
            }
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |place| place + 1);
            let (piece, after) = rest.split_at(end);
            if line >= self.first_line && line < self.after {
                self.keep(piece);
            } else if line >= self.after {
                self.ended_lines += newlines(rest);
                break;
            }
            self.ended_lines += u64::from(piece.ends_with(b"\n"));
            rest = after;
        }
        self.is_inside_line = block.last().is_some_and(|byte| *byte != b'\n');
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = self.max - self.bytes.len();
        self.cut |= piece.len() > room;
        self.bytes.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
    }

    fn lines(&self) -> u64 {
        self.ended_lines + u64::from(self.is_inside_line)
    }

    /// Whether the window's first line was reached.
    fn is_begun(&self) -> bool {
        self.ended_lines + 1 >= self.first_line
    }

    /// Whether the window is whole, so that the rest of the file adds nothing to it.
    fn is_complete(&self) -> bool {
        self.cut || self.ended_lines + 1 >= self.after
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_window_is_what_splitting_the_whole_text_gives(
            text in "[ab\n]{0,60}", first in 1u64..12, count in 0u64..12, max in 0usize..40, block in 1usize..20,
        ) {
            let mut view = View::new(Window::Lines { first, count }, max);
            text.as_bytes().chunks(block).for_each(|block| view.take(block));
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            let window: String = lines.iter().skip(first as usize - 1).take(count as usize).copied().collect();
            prop_assert_eq!(view.lines(), lines.len() as u64);
            prop_assert_eq!(view.cut, window.len() > max);
            prop_assert_eq!(&view.bytes, &window.as_bytes()[..window.len().min(max)]);
            prop_assert_eq!(&view.head, text.as_bytes());
        }
    }
}
