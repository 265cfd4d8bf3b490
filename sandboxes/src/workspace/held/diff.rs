//! A held change beside what the workspace has, as text for a person.

use std::{
    fmt::{self, Write as _},
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
};

use cofferdam_policy::Secrets;
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::stack::{HeldChange, Since};
use crate::workspace::{
    beneath::{self, Found, Kind},
    change::{Reason, What},
    notice::{visible, visible_line},
    tree_path::TreePath,
    version::{HostVersion, digest},
};

/// Files over this size, in bytes, are summarised.
const MAX_BYTES: u64 = 1024 * 1024;

/// One side of a comparison.
enum Side {
    Absent,
    Text { text: String, mode: u32 },
    Summary(String),
}

/// A held change and both sides of it, for a person to read: control characters are made visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The change.
    #[serde(flatten)]
    pub held: HeldChange,
    /// What became of the workspace's side since it was held.
    pub since: Since,
    /// What the workspace has there now, in a few words.
    pub workspace: String,
    /// What the session holds, in a few words.
    pub session: String,
    /// The lines that differ, as a unified diff: the workspace's side first. Absent where one side is no text of at most
    /// 1 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// The permission bits of both sides, workspace first, where both are texts and differ in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modes: Option<(u32, u32)>,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "held {}: {}", self.held.change.path, self.held.reason)?;
        // What an order does with masked lines: `gate/spared.rs`, `held/release.rs`.
        let is_secret = self.held.reason.is_about_secrets();
        if self.since != Since::Same || self.held.reason == Reason::Conflict {
            let applying = match is_secret {
                true => "applying adds the agent's lines to the real file, or replaces it where no line is masked",
                false => "applying puts the agent's in its place",
            };
            writeln!(formatter, "both sides changed: `-` is the workspace's, `+` the agent's; {applying}")?;
        }
        if let Some((old, new)) = self.modes {
            let stays = if is_secret { ", and stays where lines are added to the real file" } else { "" };
            writeln!(formatter, "mode {old:o} becomes {new:o}{stays}")?;
        }
        match &self.diff {
            Some(diff) => formatter.write_str(diff),
            None => writeln!(formatter, "workspace: {}\nheld: {}", self.workspace, self.session),
        }
    }
}

/// The comparison of one held change: host first, held second.
pub(in crate::workspace) fn of(
    held: &HeldChange,
    host: BorrowedFd<'_>,
    layer: BorrowedFd<'_>,
) -> io::Result<Difference> {
    let path = &held.change.path;
    let before = masked(path, &held.reason, side(host, path)?);
    let after = match &held.change.what {
        What::Deleted => Side::Absent,
        What::File { .. } | What::Folder { .. } | What::Link { .. } | What::Special { .. } => side(layer, path)?,
    };
    let (workspace, session) = (before.summary(), after.summary());
    let modes = match (&before, &after) {
        (Side::Text { mode: old, .. }, Side::Text { mode: new, .. }) if old != new => Some((*old, *new)),
        (Side::Absent | Side::Text { .. } | Side::Summary(_), _) => None,
    };
    let diff = match (before, after) {
        (Side::Summary(_), _) | (_, Side::Summary(_)) => None,
        (before, after) => Some(unified(path, before, after)),
    };
    let since = since(held, host)?;
    Ok(Difference { held: held.clone(), since, workspace, session, diff, modes })
}

/// What became of the host's side since the change was held.
pub(in crate::workspace) fn since(held: &HeldChange, host: BorrowedFd<'_>) -> io::Result<Since> {
    Ok(held.since(&HostVersion::of(host, &held.change.path, &held.change.what)?))
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
            let _ = writeln!(text, "{sign}{}", visible_line(line.strip_suffix('\n').unwrap_or(line)));
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
