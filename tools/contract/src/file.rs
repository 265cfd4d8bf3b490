//! File operations on the view: asked by tools, done by the guest.

use serde::{Deserialize, Serialize};

use crate::WorkspacePath;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// One file operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileRequest {
    /// Reads a regular file.
    Read(ReadFile),
    /// Replaces or creates a regular file in one step (temporary file and rename).
    Write(WriteFile),
    /// Lists a folder.
    List(ListFiles),
    /// Searches file contents.
    Search(SearchFiles),
    /// Looks at one path without following a link at its end.
    Status(WorkspacePath),
    /// Moves a file, link or folder. Parents of the destination are made. Nothing is overwritten.
    Move {
        /// What is moved.
        source: WorkspacePath,
        /// Where it goes; must not exist.
        destination: WorkspacePath,
    },
    /// Deletes a file, a link, or a folder with all that is in it.
    Delete(WorkspacePath),
}

/// The answer to a [`FileRequest`], variant by variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileReply {
    /// To [`FileRequest::Read`].
    Read(FileContent),
    /// To [`FileRequest::Write`].
    Written(Written),
    /// To [`FileRequest::List`].
    Listing(Listing),
    /// To [`FileRequest::Search`].
    Search(SearchReply),
    /// To [`FileRequest::Status`].
    Status(Status),
    /// To [`FileRequest::Move`]: how many files, links and folders were moved.
    Moved(u64),
    /// To [`FileRequest::Delete`]: how many files, links and folders were deleted.
    Deleted(u64),
}

/// Reads a regular file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFile {
    /// Which file. A link is followed when it stays below the workspace.
    pub path: WorkspacePath,
    /// Which part.
    pub window: Window,
    /// At most this many bytes of content are returned.
    pub max_bytes: u64,
}

/// Which part of a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Window {
    /// From the first byte.
    Bytes,
    /// `count` lines from line `first` (counted from 1). A line ends with `\n`; bytes are returned as they are.
    Lines {
        /// The first line, from 1.
        first: u64,
        /// How many lines.
        count: u64,
    },
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileContent {
    /// The bytes of the window, cut at `max_bytes`.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// The first bytes of the file (at most 1024), for telling text from other kinds when the window lies elsewhere.
    #[serde(with = "serde_bytes")]
    pub head: Vec<u8>,
    /// The file's size in bytes.
    pub size: u64,
    /// Lines in the whole file; `None` when it was too large to count (over 256 MiB).
    pub total_lines: Option<u64>,
    /// Whether the window was cut at `max_bytes`.
    pub cut: bool,
    /// The whole file's digest; `None` when it is over 256 MiB.
    pub digest: Option<Digest>,
    /// Permission bits (`0o777` part).
    pub mode: u32,
}

/// Replaces or creates a regular file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteFile {
    /// Which file. Parents are made. A link is followed when it stays below the workspace.
    pub path: WorkspacePath,
    /// The new content.
    #[serde(with = "serde_bytes")]
    pub content: Vec<u8>,
    /// What must be there now.
    pub expected: Expected,
}

/// What must be at a path for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// Anything or nothing.
    Anything,
    /// A regular file with this digest.
    Content(Digest),
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Whether the file is new.
    pub created: bool,
    /// The file's real path in the workspace, when a link was followed.
    pub real_path: WorkspacePath,
    /// Size before, in bytes; 0 when it is new.
    pub previous_size: u64,
}

/// Lists a folder, depth first, names in byte order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListFiles {
    /// Which folder.
    pub path: WorkspacePath,
    /// Only entries whose path below `path` matches (`**` crosses folders; a glob without `/` matches the name anywhere).
    pub glob: Option<String>,
    /// Folder levels to descend; 1 is the folder's own entries.
    pub depth: u32,
    /// Entries to skip first.
    pub offset: u64,
    /// At most this many entries are returned; all are counted.
    pub max_entries: u64,
    /// What is left out.
    pub ignoring: Ignoring,
}

/// Where `.gitignore`, `.ignore`, `.git/info/exclude` and hidden names filter, as in ripgrep. `.git` is never entered unless
/// it is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ignoring {
    /// Nowhere: everything is shown.
    Nowhere,
    /// Below the folder's own entries, which are shown in full.
    BelowTheTop,
    /// Everywhere.
    Everywhere,
}

/// What was passed over, by why. A folder that was not entered counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Files and folders that ignore files name.
    pub ignored: u64,
    /// Files and folders whose names start with a dot.
    pub hidden: u64,
    /// Files that hold a NUL byte and are no UTF-16.
    pub binary: u64,
    /// Files and folders that could not be read.
    pub unreadable: u64,
    /// Files that need more memory than a search has: a line, or with multiline a file, of over 64 MiB.
    pub too_large: u64,
}

/// The entries of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The entries, at most as many as asked for.
    pub entries: Vec<Entry>,
    /// How many more there were after them.
    pub omitted: u64,
    /// What was passed over.
    pub left_out: LeftOut,
    /// The folder's own folders that were not entered because they are hidden or ignored, at most [`MAX_CLOSED`].
    pub closed: Vec<String>,
}

/// Folders that a listing names as not entered.
pub const MAX_CLOSED: usize = 10;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path relative to the workspace; bytes that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// Whether `path` is exact; if not, the name cannot be written in a call.
    pub exact: bool,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes, of files.
    pub size: u64,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link and where it points.
    Link(String),
    /// A device, socket or pipe.
    Other,
}

/// Searches file contents with a regular expression (ripgrep's syntax).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchFiles {
    /// The expression.
    pub pattern: String,
    /// Where to search: a folder or one file.
    pub path: WorkspacePath,
    /// Only files whose path matches.
    pub glob: Option<String>,
    /// Only files of this ripgrep type ("rust", "py").
    pub file_type: Option<String>,
    /// What is wanted.
    pub mode: OutputMode,
    /// Lines of context before and after a match.
    pub context: u32,
    /// Whether letter case is ignored.
    pub case_insensitive: bool,
    /// Whether `.` matches line ends and a match may span lines.
    pub multiline: bool,
    /// Results (lines, files or counts, as `mode` says) to skip first.
    pub offset: u64,
    /// At most this many results are returned; all are counted.
    pub head_limit: u64,
    /// A returned line is cut at this many bytes.
    pub max_line_bytes: u32,
    /// What is left out.
    pub ignoring: Ignoring,
}

/// What a search returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputMode {
    /// Matching lines with their context.
    Content,
    /// The files that match.
    FilesWithMatches,
    /// Each matching file with its number of matching lines.
    Count,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchReply {
    /// Files in byte order of their paths.
    pub hits: Vec<SearchHit>,
    /// Results beyond `offset + head_limit`.
    pub omitted: u64,
    /// Matching lines in all.
    pub total_matches: u64,
    /// Files that match in all.
    pub total_files: u64,
    /// What was passed over.
    pub left_out: LeftOut,
    /// Matching files that are neither UTF-8 nor UTF-16, and were read as Windows-1252 (up to 8 MiB) or byte by byte.
    pub guessed: u64,
}

/// One matching file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchHit {
    /// Path relative to the workspace.
    pub path: String,
    /// Matching lines in this file.
    pub matches: u64,
    /// The lines, in mode [`OutputMode::Content`].
    pub lines: Vec<MatchLine>,
}

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchLine {
    /// Line number, from 1.
    pub number: u64,
    /// Its text without the line end; bytes that are no text are shown as U+FFFD.
    pub text: String,
    /// Whether it matched; else it is context.
    pub matched: bool,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits (`0o777` part).
    pub mode: u32,
}

/// A file operation that was refused or impossible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct FileRefusal {
    /// Which kind.
    pub kind: RefusalKind,
    /// One sentence for the agent, lower case, without a full stop; names the path as the agent wrote it.
    pub message: String,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// Nothing is there.
    NotFound,
    /// Something is there already.
    Exists,
    /// It is a folder, and a file was needed, or the reverse.
    WrongKind,
    /// A link leads out of the workspace, or through a magic link.
    LeadsOut,
    /// The file's permissions forbid it.
    Permission,
    /// It is larger than the operation's bound.
    TooLarge,
    /// The file is not what the caller last read.
    Changed,
    /// The request itself is wrong: a bad expression, glob or type.
    Invalid,
    /// The disk limit was reached.
    NoSpace,
    /// Anything else the kernel said.
    Failed,
    /// It belongs to another user or group than the workspace folder, and may not be changed for that.
    OtherOwner,
}
