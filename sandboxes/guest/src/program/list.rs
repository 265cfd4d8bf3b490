//! Listing a folder.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use cofferdam_contract::{
    Entry, EntryKind, FileRefusal, LeftOut, ListFiles, Listing, MAX_CLOSED, RefusalKind, WorkspacePath,
};
use cofferdam_guest::wire::MAX_LISTING_BYTES;
use rustix::fs::{AtFlags, FileType};

use super::{
    channel::Lifeline,
    ignored::Verdict,
    refusal::{self, refusal},
    status::size,
    walk::{Filter, Glob, Order, Visited, Walk},
    workspace::Workspace,
};

/// What an entry takes in a reply besides its texts, in bytes, at the most: two lengths, a size and two tags.
pub(crate) const ENTRY_BYTES: usize = 32;

/// Lists a folder.
pub(crate) fn list(
    workspace: &Workspace,
    lifeline: &Lifeline<'_>,
    request: &ListFiles,
) -> Result<Listing, FileRefusal> {
    let path = &request.path;
    let glob = request.glob.as_deref().map(Glob::parse).transpose()?;
    let (place, kind) = workspace.existing(path)?;
    if kind != FileType::Directory {
        return Err(refusal(RefusalKind::WrongKind, format!("`{path}` is not a folder")));
    }
    let filter = Filter::of(request.ignoring, glob.as_ref());
    let walk = Walk { lifeline: *lifeline, filter, order: Order::Names, depth: request.depth };

    let mut listing = Listing { entries: Vec::new(), omitted: 0, left_out: LeftOut::default(), closed: Vec::new() };
    let mut room = MAX_LISTING_BYTES - 2 * ENTRY_BYTES;
    let mut seen = 0;
    let left_out = walk.run(workspace, path, &place, |visited| {
        if glob.as_ref().is_some_and(|glob| !glob.matches(visited.below)) {
            return;
        }
        if visited.verdict != Verdict::Shown
            && visited.kind == FileType::Directory
            && request.depth > 1
            && listing.closed.len() < MAX_CLOSED
        {
            let closed = shown(Path::new(path.as_str()).join(visited.below).as_os_str());
            room = room.saturating_sub(closed.len() + ENTRY_BYTES);
            listing.closed.push(closed);
        }
        seen += 1;
        if seen <= request.offset {
            return;
        }
        if listing.omitted > 0 || listing.entries.len() as u64 >= request.max_entries {
            listing.omitted += 1;
            return;
        }
        let entry = describe(path, &visited);
        let target = match &entry.kind {
            EntryKind::Link(target) => target.len(),
            EntryKind::File | EntryKind::Folder | EntryKind::Other => 0,
        };
        match room.checked_sub(entry.path.len() + target + ENTRY_BYTES) {
            Some(left) => {
                room = left;
                listing.entries.push(entry);
            }
            None => listing.omitted += 1,
        }
    })?;
    listing.left_out = left_out;
    Ok(listing)
}

fn describe(start: &WorkspacePath, visited: &Visited<'_>) -> Entry {
    let kind = match visited.kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Folder,
        FileType::Symlink => {
            // One that vanished in between points nowhere.
            let target = rustix::fs::readlinkat(&**visited.folder, visited.name, Vec::new()).unwrap_or_default();
            EntryKind::Link(shown(OsStr::from_bytes(target.as_bytes())))
        }
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            EntryKind::Other
        }
    };
    let size = match kind {
        EntryKind::File => {
            rustix::fs::statat(&**visited.folder, visited.name, AtFlags::SYMLINK_NOFOLLOW).map_or(0, |stat| size(&stat))
        }
        EntryKind::Folder | EntryKind::Link(_) | EntryKind::Other => 0,
    };
    let path = Path::new(start.as_str()).join(visited.below);
    let text = shown(path.as_os_str());
    // Whether the text, given as a path in a call, names this very entry.
    let exact = text.as_bytes() == path.as_os_str().as_bytes()
        && WorkspacePath::try_from(text.clone()).is_ok_and(|parsed| parsed.as_str() == text);
    Entry { path: text, exact, kind, size }
}

/// A name as text. What is no text, or would break a line or move a cursor, becomes U+FFFD.
pub(crate) fn shown(name: &OsStr) -> String {
    refusal::shown(&String::from_utf8_lossy(name.as_bytes()))
}
