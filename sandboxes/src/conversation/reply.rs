//! Whether a reply fits the file operation that was asked.

use cofferdam_contract::{
    Entry, EntryKind, FileContent, FileRefusal, FileReply, FileRequest, LeftOut, Listing, MAX_CLOSED, OutputMode,
    SearchFiles, SearchReply, Status, WorkspacePath, Written,
};
use cofferdam_guest::wire::MAX_MESSAGE_BYTES;

use super::{Violation, check};

/// The most content that is returned of a file's beginning, in bytes ([`FileContent::head`]).
pub(super) const HEAD_BYTES: usize = 1024;

/// The largest count that is believed. JSON's readers keep whole numbers up to here (RFC 8259, section 6), and sums of
/// a few of them do not overflow.
pub(super) const MAX_COUNT: u64 = (1 << 53) - 1;

/// The largest file there is, in bytes: `off_t`.
const MAX_SIZE: u64 = i64::MAX.cast_unsigned();

/// The longest path or link target, in bytes: `PATH_MAX`, each byte shown as a three-byte U+FFFD at worst.
const MAX_SHOWN_BYTES: usize = 3 * 4096;

/// What was asked, as far as the answer depends on it.
#[derive(Debug)]
pub(super) enum Question {
    Read { max_bytes: u64 },
    Write,
    List { below: WorkspacePath, max_entries: u64 },
    Search { below: WorkspacePath, mode: OutputMode, head_limit: u64, max_line_bytes: u32 },
    Status,
    Move,
    Delete,
}

impl Question {
    pub(super) fn of(request: &FileRequest) -> Self {
        match request {
            FileRequest::Read(request) => Self::Read { max_bytes: request.max_bytes },
            FileRequest::Write(_) => Self::Write,
            FileRequest::List(request) => Self::List { below: request.path.clone(), max_entries: request.max_entries },
            FileRequest::Search(SearchFiles { path, mode, head_limit, max_line_bytes, .. }) => Self::Search {
                below: path.clone(),
                mode: *mode,
                head_limit: *head_limit,
                max_line_bytes: *max_line_bytes,
            },
            FileRequest::Status(_) => Self::Status,
            FileRequest::Move { .. } => Self::Move,
            FileRequest::Delete(_) => Self::Delete,
        }
    }

    pub(super) fn check(&self, reply: &FileReply) -> Result<(), Violation> {
        match (self, reply) {
            (Self::Read { max_bytes }, FileReply::Read(content)) => check_content(content, *max_bytes),
            (Self::Write, FileReply::Written(written)) => check_written(written),
            (Self::List { below, max_entries }, FileReply::Listing(listing)) => {
                check_listing(listing, below, *max_entries)
            }
            (Self::Search { below, mode, head_limit, max_line_bytes }, FileReply::Search(reply)) => {
                check_hits(reply, below, *mode, *head_limit)?;
                let mut lines = reply.hits.iter().flat_map(|hit| &hit.lines);
                let max = usize::try_from(*max_line_bytes).unwrap_or(usize::MAX);
                let fits = lines.all(|line| {
                    line.text.len() <= max && !line.text.contains('\n') && (1..=MAX_COUNT).contains(&line.number)
                });
                check(fits, "a line is too long, holds another, or has no number")
            }
            (Self::Status, FileReply::Status(status)) => check_status(status),
            (Self::Move, FileReply::Moved(count)) | (Self::Delete, FileReply::Deleted(count)) => {
                check((1..=MAX_COUNT).contains(count), "a count is impossible")
            }
            (
                Self::Read { .. }
                | Self::Write
                | Self::List { .. }
                | Self::Search { .. }
                | Self::Status
                | Self::Move
                | Self::Delete,
                FileReply::Read(_)
                | FileReply::Written(_)
                | FileReply::Listing(_)
                | FileReply::Search(_)
                | FileReply::Status(_)
                | FileReply::Moved(_)
                | FileReply::Deleted(_),
            ) => Err(Violation { what: "it answers another question" }),
        }
    }
}

pub(super) fn check_refusal(refusal: &FileRefusal) -> Result<(), Violation> {
    let message = &refusal.message;
    check(message.len() <= MAX_MESSAGE_BYTES && is_plain(message), "a refusal is too long or holds control characters")
}

/// Whether a text can be shown as it is: no line end, no escape sequence.
pub(super) fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn check_content(content: &FileContent, max_bytes: u64) -> Result<(), Violation> {
    let FileContent { bytes, head, size, total_lines, cut: _, digest: _, mode } = content;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    check(length <= max_bytes && head.len() <= HEAD_BYTES, "more content than was asked for")?;
    check(total_lines.is_none_or(|lines| lines <= MAX_COUNT), "a count is too large")?;
    check(*size <= MAX_SIZE && *mode <= 0o777, "a size or mode is impossible")
}

fn check_written(written: &Written) -> Result<(), Violation> {
    let Written { created, real_path, previous_size } = written;
    let is_possible = !real_path.is_workspace() && *previous_size <= MAX_SIZE && !(*created && *previous_size > 0);
    check(is_possible, "what was written is impossible")
}

fn check_status(status: &Status) -> Result<(), Violation> {
    let Status { kind, size, mode } = status;
    check_kind(kind)?;
    check(*size <= MAX_SIZE && *mode <= 0o777, "a size or mode is impossible")
}

fn check_listing(listing: &Listing, below: &WorkspacePath, max_entries: u64) -> Result<(), Violation> {
    let Listing { entries, omitted, left_out, closed } = listing;
    let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    check(count <= max_entries, "more entries than were asked for")?;
    check(*omitted <= MAX_COUNT, "a count is too large")?;
    check_left_out(left_out)?;
    check(closed.len() <= MAX_CLOSED, "more closed folders than are named")?;
    closed.iter().try_for_each(|path| check_path(path, below))?;
    for Entry { path, exact, kind, size } in entries {
        check_path(path, below)?;
        check_kind(kind)?;
        let is_exact = WorkspacePath::try_from(path.clone()).is_ok_and(|parsed| parsed.as_str() == path);
        check(is_exact || !exact, "a path that cannot be written is called exact")?;
        check(*size <= MAX_SIZE, "a size is impossible")?;
    }
    Ok(())
}

fn check_hits(reply: &SearchReply, below: &WorkspacePath, mode: OutputMode, head_limit: u64) -> Result<(), Violation> {
    let SearchReply { hits, omitted, total_matches, total_files, left_out, guessed } = reply;
    let counts = [omitted, total_matches, total_files, guessed];
    check(counts.iter().all(|count| **count <= MAX_COUNT), "a count is too large")?;
    check_left_out(left_out)?;
    let mut results = 0_u64;
    let mut matches = 0_u64;
    for hit in hits {
        check(hit.path == below.as_str() || check_path(&hit.path, below).is_ok(), "a path lies elsewhere")?;
        let lines = u64::try_from(hit.lines.len()).unwrap_or(u64::MAX);
        let is_possible = match mode {
            OutputMode::Content => lines > 0,
            OutputMode::FilesWithMatches | OutputMode::Count => lines == 0,
        };
        check(is_possible && hit.matches > 0, "a matching file has the wrong lines")?;
        results = results.saturating_add(lines.max(1));
        matches = matches.saturating_add(hit.matches);
    }
    check(results <= head_limit, "more results than were asked for")?;
    let files = u64::try_from(hits.len()).unwrap_or(u64::MAX);
    check(files <= *total_files && matches <= *total_matches, "the totals are less than their parts")
}

fn check_left_out(left_out: &LeftOut) -> Result<(), Violation> {
    let LeftOut { ignored, hidden, binary, unreadable, too_large } = left_out;
    let counts = [ignored, hidden, binary, unreadable, too_large];
    check(counts.iter().all(|count| **count <= MAX_COUNT), "a count is too large")
}

fn check_kind(kind: &EntryKind) -> Result<(), Violation> {
    match kind {
        EntryKind::Link(target) => {
            check(target.len() <= MAX_SHOWN_BYTES && is_plain(target), "a link's target is too long or no plain text")
        }
        EntryKind::File | EntryKind::Folder | EntryKind::Other => Ok(()),
    }
}

/// A shown path must lie below what was asked about. It may hold U+FFFD, and so may be none that a call could write.
fn check_path(path: &str, below: &WorkspacePath) -> Result<(), Violation> {
    let rest = match below.as_str() {
        "" => Some(path),
        below => path.strip_prefix(below).and_then(|rest| rest.strip_prefix('/')),
    };
    let is_below = rest.is_some_and(|rest| !rest.split('/').any(|name| name.is_empty() || name == "." || name == ".."));
    check(is_below && is_plain(path) && path.len() <= MAX_SHOWN_BYTES, "a path lies elsewhere or is no plain text")
}
