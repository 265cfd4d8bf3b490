//! A held change beside what the workspace has, as text for a person.

use std::{
    fmt::Write as _,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
};

use cofferdam_policy::Secrets;
use similar::{ChangeTag, TextDiff};

use super::{
    beneath::{self, Found, Kind},
    change::{Reason, What},
    notice::visible,
    stack::HeldChange,
    tree_path::TreePath,
    version::digest,
};

/// Files over this size, in bytes, are summarised.
const MAX_BYTES: u64 = 1024 * 1024;

/// One side of a comparison.
enum Side {
    Absent,
    Text { text: String, mode: u32 },
    Summary(String),
}

/// The comparison of one held change: host first, held second.
pub(super) fn of(held: &HeldChange, host: BorrowedFd<'_>, layer: BorrowedFd<'_>) -> io::Result<String> {
    let path = &held.change.path;
    let before = masked(path, &held.reason, side(host, path)?);
    let after = match &held.change.what {
        What::Deleted => Side::Absent,
        What::File { .. } | What::Folder { .. } | What::Link { .. } | What::Special { .. } => side(layer, path)?,
    };
    let mut text = format!("held {path}: {}\n", held.reason);
    if let (Side::Text { mode: old, .. }, Side::Text { mode: new, .. }) = (&before, &after)
        && old != new
    {
        let _ = writeln!(text, "mode {old:o} becomes {new:o}");
    }
    match (before, after) {
        (Side::Summary(before), after) => {
            let _ = writeln!(text, "workspace: {before}\nheld: {}", after.summary());
        }
        (before, Side::Summary(after)) => {
            let _ = writeln!(text, "workspace: {}\nheld: {after}", before.summary());
        }
        (before, after) => text += &unified(path, before, after),
    }
    Ok(text)
}

impl Side {
    fn summary(&self) -> String {
        match self {
            Self::Absent => "nothing".to_owned(),
            Self::Text { text, mode } => format!("a text of {} bytes, mode {mode:o}", text.len()),
            Self::Summary(summary) => summary.clone(),
        }
    }
}

fn unified(path: &TreePath, before: Side, after: Side) -> String {
    let name = |side: &Side, prefix: &str| match side {
        Side::Absent => "/dev/null".to_owned(),
        Side::Text { .. } | Side::Summary(_) => format!("{prefix}/{path}"),
    };
    let mut text = format!("--- {}\n+++ {}\n", name(&before, "workspace"), name(&after, "held"));
    let content = |side: Side| match side {
        Side::Text { text, .. } => text,
        Side::Absent | Side::Summary(_) => String::new(),
    };
    let (before, after) = (content(before), content(after));
    let diff = TextDiff::from_lines(before.as_str(), after.as_str());
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        let _ = writeln!(text, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            let line = change.value();
            let _ = writeln!(text, "{sign}{}", visible(line.strip_suffix('\n').unwrap_or(line)));
            if !line.ends_with('\n') {
                text += "\\ no newline at the end of the file\n";
            }
        }
    }
    text
}

fn side(root: BorrowedFd<'_>, path: &TreePath) -> io::Result<Side> {
    let entry = match beneath::find(root, path)? {
        Found::Absent { .. } => return Ok(Side::Absent),
        Found::Blocked(_) => return Ok(Side::Summary("something behind a link or a mount".to_owned())),
        Found::Entry(entry) => entry,
    };
    Ok(match entry.kind {
        Kind::File => {
            let mut file = beneath::file(root, path.as_path())?;
            let size = entry.size;
            if size > MAX_BYTES {
                return Ok(Side::Summary(format!("a file of {size} bytes, sha256 {}", digest(file)?)));
            }
            let mut bytes = Vec::new();
            file.by_ref().take(MAX_BYTES).read_to_end(&mut bytes)?;
            match String::from_utf8(bytes) {
                Ok(text) if !text.contains('\0') => Side::Text { text, mode: entry.permissions() },
                Ok(text) => Side::Summary(binary(text.as_bytes())?),
                Err(error) => Side::Summary(binary(error.as_bytes())?),
            }
        }
        Kind::Folder => Side::Summary(format!("a folder, mode {:o}", entry.permissions())),
        Kind::Link => {
            let folder = beneath::folder_of(root, path)?;
            let target = beneath::link_target(folder.as_fd(), path.name())?;
            Side::Summary(format!("a link to {}", visible(&target.to_string_lossy())))
        }
        Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket => {
            Side::Summary("a device, named pipe or socket".to_owned())
        }
    })
}

/// The host's side without the values of a file with credentials. A person who wants to see more opens the file.
fn masked(path: &TreePath, reason: &Reason, side: Side) -> Side {
    let Side::Text { text, mode } = side else { return side };
    let secrets = Secrets::default();
    let mask = secrets.candidate(path.as_path()).and_then(|found| found.mask(path.as_path(), text.as_bytes()));
    match mask {
        Some(mask) => Side::Text { text: String::from_utf8_lossy(&mask.shown).into_owned(), mode },
        // It is on a list of the policy's own.
        None if reason.is_about_secrets() => {
            Side::Summary(format!("a file of {} bytes that holds credentials, not shown", text.len()))
        }
        None => Side::Text { text, mode },
    }
}

fn binary(bytes: &[u8]) -> io::Result<String> {
    Ok(format!("a binary file of {} bytes, sha256 {}", bytes.len(), digest(bytes)?))
}
