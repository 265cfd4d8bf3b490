//! What a call changed, and what became of each change.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use cofferdam_policy::Protect;
use serde::{Deserialize, Serialize};

use super::{beneath::Kind, gate::merge::Unmerged, tree_path::TreePath};

/// The folder of a repository in its working tree.
pub(in crate::workspace) const GIT: &str = ".git";

/// One thing that is different from what was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where.
    #[serde(flatten)]
    pub path: TreePath,
    /// What is there now.
    #[serde(flatten)]
    pub what: What,
}

/// What is at a changed path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
        /// Permission bits (`0o777` part).
        mode: u32,
    },
    /// A folder.
    Folder {
        /// Permission bits (`0o777` part).
        mode: u32,
        /// Whether it replaces what was there, instead of adding to it.
        opaque: bool,
    },
    /// A symbolic link.
    Link {
        /// Where it points to, as written.
        #[serde(with = "link_text")]
        target: OsString,
    },
    /// Nothing: what was there is deleted.
    Deleted,
    /// Something that never comes back.
    Special {
        /// What it is.
        special: Special,
    },
}

/// Kinds of files that never come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Special {
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Something that was kept off the workspace, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Where.
    #[serde(flatten)]
    pub path: TreePath,
    /// What was dropped.
    pub reason: DropReason,
}

/// Why something is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum DropReason {
    /// Devices, named pipes and sockets do not come back.
    Special {
        /// What it is.
        special: Special,
    },
    /// The file comes back without its set-user-id, set-group-id or sticky bit.
    ModeBits {
        /// The bits (`0o7000` part).
        bits: u32,
    },
    /// The entry carries a mark that only overlayfs may set; what it claims is not believed.
    ForgedMark {
        /// The mark's name.
        mark: String,
    },
    /// The file comes back without these extended attributes.
    Attributes {
        /// Their names.
        names: Vec<String>,
    },
    /// The path is longer than the kernel takes.
    PathTooLong,
}

/// A change that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// Why it waits.
    pub reason: Reason,
}

/// Why a change waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Reason {
    /// The path is read or run by programs of the host later.
    Protected {
        /// The pattern that matches it.
        pattern: String,
    },
    /// Deleting or replacing the folder would take a protected path with it.
    ContainsProtected {
        /// The protected path.
        path: String,
        /// The pattern that matches it.
        pattern: String,
    },
    /// The policy's mode is `draft`: every change waits.
    Draft,
    /// The file holds credentials that the call did not see: its version would replace them.
    Secret {
        /// The line of the list that it is on.
        pattern: String,
    },
    /// Deleting or replacing the folder would take a file with credentials with it.
    ContainsSecret {
        /// The file.
        path: String,
    },
    /// The file is what was seen of a file with credentials: its values are not in it.
    MaskedCopy {
        /// That file; `None` where it could be one of several.
        of: Option<String>,
    },
    /// Lines of the file are what was seen of its credentials: its values are not in it.
    MaskedLines,
    /// What a session made of such lines cannot be brought into the real file.
    NotMerged {
        /// Why.
        why: Unmerged,
    },
    /// The link has a name on the list of files with credentials: what it leads to would be masked for everyone.
    WouldMask {
        /// The line of the list that it is on.
        pattern: String,
    },
    /// The workspace has very many names on the list of files with credentials already.
    ManyListed {
        /// The line of the list that it is on.
        pattern: String,
    },
    /// The host changed the same path while the call ran.
    Conflict,
    /// The link leads out of the workspace, or may.
    LeadsOut {
        /// Where it points to.
        target: String,
    },
    /// The link leads to a protected path, by its text: what is written through it would land there.
    LeadsToProtected {
        /// Where it leads to.
        path: String,
        /// The pattern that matches that.
        pattern: String,
    },
    /// Programs of the host act on the path, since something of the host leads there.
    Named {
        /// What leads there.
        by: Namer,
    },
    /// Deleting or replacing the folder would take such a path with it.
    ContainsNamed {
        /// That path.
        path: String,
        /// What leads there.
        by: Namer,
    },
    /// The link leads to such a path, or to a folder above one.
    LeadsToNamed {
        /// Where it leads to.
        path: String,
        /// What leads there too.
        by: Namer,
    },
    /// Settings of the host's git could not be read, so that any path may be one that git runs.
    SettingsUnread {
        /// Which file.
        file: String,
        /// Why not, as a clause.
        why: String,
    },
    /// The change removes or replaces a repository's `.git`, or what in it holds its commits, branches or settings.
    RemovesRepository {
        /// What is removed.
        path: String,
    },
    /// Deleting or replacing the folder would take a repository with it.
    ContainsRepository {
        /// The repository's `.git`.
        path: String,
    },
    /// The folder looks like a git repository of its own, whose settings git would obey.
    Repository {
        /// The folder.
        folder: String,
    },
    /// A folder above it is held.
    FolderHeld {
        /// That folder.
        folder: String,
    },
    /// It is one act with another change that is held: half of a move would lose a file.
    Together {
        /// The path of that change.
        with: String,
    },
    /// An earlier change of the same path is held, and this one builds on it.
    BuildsOnHeld,
    /// A link on the host is in the way.
    ThroughLink,
    /// Something that is not a folder is in the way on the host.
    NotInFolder,
    /// The folder that it was in is not there any more.
    FolderGone,
    /// Another file system is mounted there.
    OtherMount,
    /// The host has a device, named pipe or socket there.
    HostSpecial,
    /// Permission to change the host's folder is missing.
    NotPermitted,
    /// The file belongs to another user, and that could not be kept.
    OtherOwner {
        /// The owner's numeric id.
        owner: u32,
    },
    /// The folder to be deleted or replaced is not looked through to its end, so that a repository may be in it.
    TooMany,
    /// What was there before was larger than is kept, or could not be kept: it cannot be brought back.
    NotKept,
    /// It is git's bookkeeping of the session's own commits. It is never put into the workspace: a commit is taken as a
    /// commit.
    RepositoryState,
    /// The server stopped while it was handing the change back.
    Interrupted,
    /// The kernel refused to put it into place.
    Failed {
        /// What it said.
        error: String,
    },
}

/// What of the host leads its programs to a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "named_by", rename_all = "snake_case")]
pub enum Namer {
    /// A setting of git's, or of a manager of its hooks.
    Setting {
        /// Its name, as it is written: `core.hooksPath`.
        setting: String,
        /// The file that it is in: relative to the workspace if it lies there.
        file: String,
    },
    /// A link at a protected path.
    Link {
        /// The link.
        link: String,
    },
    /// A hook of git's, which calls the file by a path.
    Hook {
        /// The hook: relative to the workspace if it lies there.
        hook: String,
    },
}

/// Something worth knowing about changes that came back or are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// A folder was deleted at one place and an identical one made at another.
    Moved {
        /// Where it was.
        from: TreePath,
        /// Where it is now.
        to: TreePath,
    },
    /// The file is executed by ordinary work on the host: a build, a test run, an installation.
    RunsOnYourMachine {
        /// Which file.
        file: TreePath,
    },
    /// The name means something to a shell or to an option parser, or shows as something else than it is.
    OddName {
        /// The name.
        file: TreePath,
        /// What is odd, as a clause: "starts with a dash".
        oddity: String,
    },
    /// What was deleted or replaced there is not kept, since it was too large or could not be: no undo brings it back.
    NotKept {
        /// Where.
        file: TreePath,
    },
    /// What the call left could not be put by: `keep_changes` cannot bring it back.
    LeftIsGone {
        /// Why.
        error: String,
    },
    /// The file steers programs or people without being a program: agents follow it, git chooses programs by it.
    Steers {
        /// Which file.
        file: TreePath,
        /// What reads it, as a clause: "is read as instructions by agents".
        how: String,
    },
    /// A new name that file systems which fold names (macOS, Windows) take for another name in the same folder.
    Twin {
        /// The new name.
        file: TreePath,
        /// The other name, which the workspace has, the same call made, or is held.
        other: TreePath,
    },
    /// It was deleted or replaced, and the undo does not bring it back.
    NotRestored {
        /// Where.
        file: TreePath,
        /// What it is, as a noun: "a named pipe".
        what: String,
    },
    /// What was deleted or replaced could not be removed wholly; the rest lies at this temporary name.
    Leftover {
        /// Where.
        file: TreePath,
        /// What the kernel said.
        error: String,
    },
}

/// What became of a call's changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HandedBack {
    /// In the workspace now.
    pub applied: Vec<Change>,
    /// Waiting for a person; visible in the session.
    pub held: Vec<Held>,
    /// Never coming back.
    pub dropped: Vec<Dropped>,
    /// Written by the call, not asked to be kept.
    pub left: Vec<Change>,
    /// Worth knowing.
    pub notes: Vec<Note>,
}

impl Change {
    /// Whether it removes a repository's folder `.git`, or what in it holds commits, branches or settings, when something of
    /// the kind `there` is at its path. An edit is none, and a file `.git` only leads to a repository.
    pub(in crate::workspace) fn removes_repository(&self, there: Kind) -> bool {
        const PARTS: [&str; 5] = ["HEAD", "objects", "refs", "packed-refs", "config"];
        let goes = match self.what {
            What::Folder { opaque, .. } => opaque || there != Kind::Folder,
            What::File { .. } => there != Kind::File,
            What::Link { .. } => there != Kind::Link,
            What::Deleted | What::Special { .. } => true,
        };
        let names: Vec<&OsStr> = self.path.as_path().iter().collect();
        let is_git = |name: &OsStr| name.eq_ignore_ascii_case(GIT);
        let is_part = match names[..] {
            [.., folder, part] if is_git(folder) => PARTS.iter().any(|known| part.eq_ignore_ascii_case(known)),
            _ => false,
        };
        let is_object = names.windows(2).any(|pair| is_git(pair[0]) && pair[1].eq_ignore_ascii_case("objects"));
        let is_repository = there == Kind::Folder && names.last().is_some_and(|name| is_git(name));
        goes && (is_repository || is_part || is_object)
    }
}

impl Reason {
    /// Whether only an order that names the very path applies the change: credentials or a repository are at stake.
    #[must_use]
    pub fn must_be_named(&self) -> bool {
        let is_repository =
            matches!(self, Self::RemovesRepository { .. } | Self::ContainsRepository { .. } | Self::TooMany);
        self.is_about_secrets() || is_repository
    }

    /// Whether applying the change would cost credentials, so that an order must name it and no folder above it.
    #[must_use]
    pub fn is_about_secrets(&self) -> bool {
        match self {
            Self::Secret { .. }
            | Self::ContainsSecret { .. }
            | Self::MaskedCopy { .. }
            | Self::MaskedLines
            | Self::NotMerged { .. } => true,
            Self::RemovesRepository { .. }
            | Self::ContainsRepository { .. }
            | Self::Protected { .. }
            | Self::ContainsProtected { .. }
            | Self::Draft
            | Self::WouldMask { .. }
            | Self::ManyListed { .. }
            | Self::Conflict
            | Self::LeadsOut { .. }
            | Self::LeadsToProtected { .. }
            | Self::Named { .. }
            | Self::ContainsNamed { .. }
            | Self::LeadsToNamed { .. }
            | Self::SettingsUnread { .. }
            | Self::Repository { .. }
            | Self::FolderHeld { .. }
            | Self::Together { .. }
            | Self::BuildsOnHeld
            | Self::ThroughLink
            | Self::NotInFolder
            | Self::FolderGone
            | Self::OtherMount
            | Self::HostSpecial
            | Self::NotPermitted
            | Self::OtherOwner { .. }
            | Self::TooMany
            | Self::NotKept
            | Self::RepositoryState
            | Self::Interrupted
            | Self::Failed { .. } => false,
        }
    }
}

impl fmt::Display for Special {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::CharacterDevice => "a character device",
            Self::BlockDevice => "a block device",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
        })
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special { special } => write!(formatter, "{special} does not come back"),
            Self::ModeBits { bits } => write!(formatter, "the mode bits {bits:o} do not come back"),
            Self::ForgedMark { mark } => write!(formatter, "it carries the mark {mark}, which only the kernel may set"),
            Self::Attributes { names } => {
                write!(formatter, "the extended attributes {} do not come back", names.join(", "))
            }
            Self::PathTooLong => formatter.write_str("the path is longer than 4095 bytes"),
        }
    }
}

impl fmt::Display for Namer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { setting, file } => write!(formatter, "protected by {setting} of {file}"),
            Self::Link { link } => write!(formatter, "protected since {link} leads there"),
            Self::Hook { hook } => write!(formatter, "protected since the hook {hook} calls it"),
        }
    }
}

/// Which list protects a path, and by which pattern.
fn protected_by(pattern: &str) -> String {
    match Protect::is_compiled_in(pattern) {
        true => format!("protected by {pattern}, which is built in"),
        false => format!("protected by {pattern} of [protect] in a policy file"),
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected { pattern } => {
                let why = match Protect::is_compiled_in(pattern) {
                    true => "programs of your machine may act on it unasked",
                    false => "a policy file names it",
                };
                write!(formatter, "{why} ({})", protected_by(pattern))
            }
            Self::ContainsProtected { path, pattern } => {
                write!(formatter, "it would take {path} with it ({})", protected_by(pattern))
            }
            Self::Draft => formatter.write_str("it is a draft: all changes wait for a person here"),
            Self::Secret { pattern } => write!(
                formatter,
                "it holds credentials that the call did not see ({pattern}), and this version would replace them; only an \
                 order that names this very file applies it"
            ),
            Self::ContainsSecret { path } => write!(
                formatter,
                "it would take {path} with it, which holds credentials; only an order that names {path} too applies it"
            ),
            Self::MaskedCopy { of: Some(of) } => write!(
                formatter,
                "it is what was seen of {of}, without the values; only an order that names this very file applies it, with \
                 what {of} really holds, and only where the list masks the new name as well: else move the file yourself \
                 and discard this"
            ),
            Self::MaskedCopy { of: None } => formatter.write_str(
                "it is what was seen of several files with credentials, without the values: move the right one yourself \
                 and discard this",
            ),
            Self::MaskedLines => formatter.write_str(
                "lines of it are what was seen of credentials, without the values: an order that names this very file brings \
                 the lines that are new into the real one, if it is there and no masked line was changed",
            ),
            Self::NotMerged { why } => write!(
                formatter,
                "its new lines cannot be brought into the real file ({why}): write them there yourself and discard this"
            ),
            Self::WouldMask { pattern } => write!(
                formatter,
                "what a link of this name leads to would be masked for everyone ({pattern} is on the list of files with \
                 credentials)"
            ),
            Self::ManyListed { pattern } => write!(
                formatter,
                "the workspace has very many files with names like this ({pattern} is on the list of files with \
                 credentials), each of which costs time in each call; other names are applied"
            ),
            Self::Conflict => formatter.write_str("the workspace changed at the same place while the call ran"),
            Self::LeadsOut { target } => {
                write!(formatter, "the link to {target} leads, or could lead, out of the workspace")
            }
            Self::LeadsToProtected { path, pattern } => {
                write!(formatter, "the link leads to {path} ({})", protected_by(pattern))
            }
            Self::Named { by } => write!(formatter, "programs of your machine may act on it unasked ({by})"),
            Self::ContainsNamed { path, by } => {
                write!(formatter, "it would take {path} with it, which programs of your machine may act on ({by})")
            }
            Self::LeadsToNamed { path, by } => {
                write!(formatter, "the link leads to {path}, which programs of your machine may act on ({by})")
            }
            Self::SettingsUnread { file, why } => write!(
                formatter,
                "what your git runs of the workspace could not be found out, so each change waits: {file}: {why}"
            ),
            Self::RemovesRepository { path } => {
                let what = match path.rsplit('/').next().is_some_and(|name| name.eq_ignore_ascii_case(GIT)) {
                    true => "the repository itself",
                    false => "what holds commits, branches or settings of the repository",
                };
                write!(formatter, "it deletes {what}, {path}; only an order that names {path} applies it")
            }
            Self::ContainsRepository { path } => write!(
                formatter,
                "it would take the repository {path} with it; only an order that names {path} too applies it"
            ),
            Self::Repository { folder } => write!(formatter, "{folder} looks like a git repository of its own"),
            Self::FolderHeld { folder } => write!(formatter, "its folder {folder} is held"),
            Self::Together { with } => write!(formatter, "it belongs to the change of {with}, which is held"),
            Self::BuildsOnHeld => formatter.write_str("it builds on a change of the same path that is held"),
            Self::ThroughLink => formatter.write_str("a link is in the way in the workspace"),
            Self::FolderGone => formatter.write_str("the folder that it was in is not there any more; make that first"),
            Self::NotInFolder => formatter.write_str("something that is not a folder is in the way in the workspace"),
            Self::OtherMount => formatter.write_str("another file system is mounted there"),
            Self::HostSpecial => formatter.write_str("the workspace has a device, named pipe or socket there"),
            Self::NotPermitted => formatter.write_str("permission to change it is missing"),
            Self::OtherOwner { owner } => {
                write!(formatter, "it belongs to user {owner}, and replacing it would change that")
            }
            Self::TooMany => formatter.write_str(
                "the folder cannot be looked through to its end before it is deleted, and may hold a repository; only an \
                 order that names the folder applies it",
            ),
            Self::NotKept => {
                formatter.write_str("what was there before is not kept: it was too large, or could not be")
            }
            Self::RepositoryState => formatter.write_str("it belongs to the session's own commits"),
            Self::Interrupted => formatter.write_str("the server stopped while it was handing the change back"),
            Self::Failed { error } => write!(formatter, "the kernel refused it: {error}"),
        }
    }
}

/// A link's target: text where it is text, else its bytes.
mod link_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{OsStr, OsStrExt, OsString, OsStringExt};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(target: &OsStr, serializer: S) -> Result<S::Ok, S::Error> {
        match target.to_str() {
            Some(text) => Written::Text(text.to_owned()),
            None => Written::Bytes(target.as_bytes().to_vec()),
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OsString, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Text(text) => text.into(),
            Written::Bytes(bytes) => OsString::from_vec(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_back_as_they_were_written() {
        let path = |bytes: &[u8]| TreePath::new(OsString::from_vec(bytes.to_vec())).unwrap();
        for what in [
            What::File { size: 3, mode: 0o644 },
            What::Folder { mode: 0o755, opaque: true },
            What::Link { target: OsString::from_vec(b"a\xff".to_vec()) },
            What::Link { target: "../x".into() },
            What::Deleted,
            What::Special { special: Special::Fifo },
        ] {
            let change = Change { path: path(b"a/\xffb"), what };
            let held = Held { change, reason: Reason::Protected { pattern: "**/.git".into() } };
            let text = serde_json::to_string(&held).unwrap();
            assert_eq!(serde_json::from_str::<Held>(&text).unwrap(), held, "{text}");
        }
    }

    #[test]
    fn a_held_change_prints_flat() {
        let change = Change { path: TreePath::new("a").unwrap(), what: What::File { size: 3, mode: 0o600 } };
        let held = Held { change, reason: Reason::Conflict };
        assert_eq!(
            serde_json::to_string(&held).unwrap(),
            r#"{"path":"a","exact":true,"kind":"file","size":3,"mode":384,"reason":{"because":"conflict"}}"#
        );
    }
}
