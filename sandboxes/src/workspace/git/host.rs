//! The host's repository, read with our own eyes: is there one that git inside can use, and what is checked out.
//!
//! Git's own files for this are a line of text each (gitrepository-layout(5)). They are read beneath the pinned workspace,
//! through no link, and nothing that they name is followed but refs of the same repository.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::object::{Format, ObjectId};
use crate::workspace::{
    TreePath, Workspace,
    beneath::{self, Found, Kind},
};

/// The longest single ref or pointer that is read, in bytes: `PATH_MAX` (limits.h) and a few words.
const LINE_BYTES: u64 = 4200;

/// The longest `packed-refs` that is read, in bytes: some 700,000 refs.
const PACKED_BYTES: u64 = 64 << 20;

/// Why git cannot be used here. The text tells the agent, and through it the person, what to do.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is none.
    #[error("the workspace is not a git repository; a person can make it one with `git init`")]
    Missing,
    /// It begins above.
    #[error(
        "the workspace lies below the root of its git repository, {}, and git needs all of it: a person can name that \
         folder as workspace", .root.display()
    )]
    Below {
        /// The repository's root.
        root: PathBuf,
    },
    /// It has no files.
    #[error("the workspace is a bare git repository, which has no files to work on: a person can name a clone of it")]
    Bare,
    /// It is a linked worktree.
    #[error(
        "the workspace is a linked worktree of the repository {repository}, which lies outside of what sandboxes see; a \
         person can name the main worktree as workspace, or a clone"
    )]
    Worktree {
        /// The repository, as written in `.git`.
        repository: String,
    },
    /// It is a submodule.
    #[error(
        "the workspace is a submodule, whose repository {repository} lies outside of what sandboxes see; a person can name \
         the root of the repository around it as workspace, or a clone of the submodule"
    )]
    Submodule {
        /// The submodule's repository, as written in `.git`.
        repository: String,
    },
    /// It lies elsewhere.
    #[error(
        "the workspace's .git is a file that points to {target}, outside of what sandboxes see; a person can move that folder \
         to the place of the file, or name a clone as workspace"
    )]
    Elsewhere {
        /// Where, as written.
        target: String,
    },
    /// It is reached through a link.
    #[error("the workspace's .git is not a folder but a link or something else; git is used only where it is a folder")]
    NotFolder,
    /// Its objects lie elsewhere.
    #[error(
        "the repository borrows objects from another one (.git/objects/info/alternates), which sandboxes do not see; \
         a person can copy them with `git repack -a -d` and then remove that file"
    )]
    Borrows,
    /// Refs are kept in another way.
    #[error(
        "the repository keeps its refs as {0}, which cofferdam does not read yet; a person can change that with \
         `git refs migrate --ref-format=files` (git 2.48), or name a clone made with `git clone --ref-format=files`"
    )]
    Storage(String),
    /// Something in it is not as git writes it.
    #[error("{what} of the repository is not as git writes it; `git fsck` and `git status` may say more")]
    Odd {
        /// What.
        what: String,
    },
    /// It cannot be read.
    #[error("failed to read {what} of the repository")]
    Read {
        /// What.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No commit can be made just now.
    #[error("{0} is under way in the repository; a person finishes or aborts it first")]
    UnderWay(&'static str),
    /// It belongs to somebody else.
    #[error(
        "the repository's .git belongs to user {owner}, and this server runs as another one, so no commit can be kept \
         there; a person can mend that with `chown`"
    )]
    OtherOwner {
        /// The owner's numeric id.
        owner: u32,
    },
    /// The person went on meanwhile.
    #[error("{0}")]
    Moved(String),
    /// There is no git on the host.
    #[error("git is not installed on this machine, or only in the workspace itself; a person can install it")]
    NoGit,
    /// The host's git failed.
    #[error(transparent)]
    Git(#[from] super::GitError),
    /// What the session holds cannot be read or changed.
    #[error("failed to read or change what the session keeps of the repository")]
    Session(#[source] Box<crate::workspace::SessionError>),
}

/// What is checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Head {
    /// A branch, with its full name, and its commit if it has one yet.
    Branch { name: TreePath, commit: Option<ObjectId> },
    /// A commit and no branch.
    Detached(ObjectId),
}

/// The host's repository.
#[derive(Debug, Clone)]
pub(super) struct HostRepository {
    pub(super) head: Head,
    pub(super) format: Format,
    /// The text of `.git/shallow`, if the clone is one.
    pub(super) shallow: Option<Vec<u8>>,
    /// Who owns `.git`.
    pub(super) owner: u32,
}

impl Head {
    pub(super) fn commit(&self) -> Option<&ObjectId> {
        match self {
            Self::Branch { commit, .. } => commit.as_ref(),
            Self::Detached(commit) => Some(commit),
        }
    }

    /// The branch's full name; `None` where there is none.
    pub(super) fn branch(&self) -> Option<&TreePath> {
        match self {
            Self::Branch { name, .. } => Some(name),
            Self::Detached(_) => None,
        }
    }

    /// The file below `.git` that a commit changes.
    pub(super) fn file(&self) -> TreePath {
        match self {
            Self::Branch { name, .. } => name.clone(),
            Self::Detached(_) => name("HEAD"),
        }
    }
}

/// A path of our own words.
pub(super) fn name(text: &str) -> TreePath {
    TreePath::new(text).expect("names written in this room are plain")
}

/// `path` of `.git`, below the workspace.
pub(super) fn in_git(path: &TreePath) -> TreePath {
    TreePath::new(Path::new(".git").join(path.as_path())).expect("plain names below a plain name")
}

impl HostRepository {
    /// Looks at the workspace's repository.
    pub(super) fn look(workspace: &Workspace) -> Result<Self, RepositoryError> {
        let read = |what: &str| {
            let what = what.to_owned();
            |source| RepositoryError::Read { what, source }
        };
        let git = match beneath::find(workspace.fd(), &name(".git")).map_err(read(".git"))? {
            Found::Entry(entry) => entry,
            Found::Absent { .. } | Found::Blocked(_) => return Err(without_git(workspace)),
        };
        match git.kind {
            Kind::Folder => {}
            Kind::File => {
                let text = small(workspace, &name(".git"), LINE_BYTES).map_err(read(".git"))?.unwrap_or_default();
                return Err(elsewhere(&String::from_utf8_lossy(&text)));
            }
            Kind::Link | Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket => {
                return Err(RepositoryError::NotFolder);
            }
        }
        let git_file = |path: &str, limit| small(workspace, &in_git(&name(path)), limit).map_err(read(path));
        let alternates = git_file("objects/info/alternates", LINE_BYTES)?.unwrap_or_default();
        if alternates.iter().any(|byte| !byte.is_ascii_whitespace()) {
            return Err(RepositoryError::Borrows);
        }
        let config = git_file("config", 1 << 20)?.unwrap_or_default();
        let config = String::from_utf8_lossy(&config).into_owned();
        if let Some(storage) = setting(&config, "refstorage").filter(|storage| storage != "files") {
            return Err(RepositoryError::Storage(storage));
        }
        let format = match setting(&config, "objectformat").as_deref() {
            None | Some("sha1") => Format::Sha1,
            Some("sha256") => Format::Sha256,
            Some(_) => return Err(RepositoryError::Odd { what: "the object format".to_owned() }),
        };
        let head = match git_file("HEAD", LINE_BYTES)? {
            Some(text) => read_head(workspace, &text)?,
            None => return Err(RepositoryError::Odd { what: "HEAD".to_owned() }),
        };
        if head.commit().is_some_and(|commit| commit.as_str().len() != format.digits()) {
            return Err(RepositoryError::Odd { what: "the checked-out commit's name".to_owned() });
        }
        let shallow = git_file("shallow", PACKED_BYTES)?.filter(|text| !text.is_empty());
        Ok(Self { head, format, shallow, owner: git.owner })
    }

    /// Refuses where no commit can be kept, or none should be made.
    pub(super) fn takes_commits(&self, workspace: &Workspace) -> Result<(), RepositoryError> {
        let me = rustix::process::geteuid();
        if !me.is_root() && self.owner != me.as_raw() {
            return Err(RepositoryError::OtherOwner { owner: self.owner });
        }
        under_way(workspace)
    }
}

/// Refuses in the middle of what takes several steps (`wt_status_get_state` in git's `wt-status.c`).
pub(super) fn under_way(workspace: &Workspace) -> Result<(), RepositoryError> {
    let marks = [
        ("MERGE_HEAD", "a merge"),
        ("CHERRY_PICK_HEAD", "a cherry-pick"),
        ("REVERT_HEAD", "a revert"),
        ("rebase-merge", "a rebase"),
        ("rebase-apply", "a rebase"),
    ];
    for (mark, what) in marks {
        let found = beneath::find(workspace.fd(), &in_git(&name(mark)));
        match found.map_err(|source| RepositoryError::Read { what: mark.to_owned(), source })? {
            Found::Entry(_) => return Err(RepositoryError::UnderWay(what)),
            Found::Absent { .. } | Found::Blocked(_) => {}
        }
    }
    Ok(())
}

/// What a `.git` file says of its repository (gitrepository-layout(5), "worktrees" and "modules").
fn elsewhere(text: &str) -> RepositoryError {
    let target = text.trim().strip_prefix("gitdir:").unwrap_or("somewhere else").trim();
    let shown = crate::workspace::notice::visible(target);
    if let Some((repository, _)) = shown.rsplit_once("/worktrees/") {
        return RepositoryError::Worktree { repository: repository.to_owned() };
    }
    if shown.contains("/.git/modules/") {
        return RepositoryError::Submodule { repository: shown };
    }
    RepositoryError::Elsewhere { target: shown }
}

/// What a workspace without `.git` is.
fn without_git(workspace: &Workspace) -> RepositoryError {
    let has = |path: &str| matches!(beneath::find(workspace.fd(), &name(path)), Ok(Found::Entry(_)));
    if has("HEAD") && has("objects") && has("refs") {
        return RepositoryError::Bare;
    }
    // Only told: nothing there is opened.
    let root = workspace.root().ancestors().skip(1).find(|above| above.join(".git").symlink_metadata().is_ok());
    root.map_or(RepositoryError::Missing, |root| RepositoryError::Below { root: root.to_owned() })
}

fn read_head(workspace: &Workspace, text: &[u8]) -> Result<Head, RepositoryError> {
    let odd = || RepositoryError::Odd { what: "HEAD".to_owned() };
    let text = std::str::from_utf8(text).map_err(|_| odd())?.trim_end();
    let Some(branch) = text.strip_prefix("ref:") else {
        return ObjectId::new(text).map(Head::Detached).ok_or_else(odd);
    };
    let branch = branch.trim_start();
    let name = TreePath::new(branch).filter(|_| branch.starts_with("refs/heads/")).ok_or_else(odd)?;
    let commit = read_ref(workspace, &name)?;
    Ok(Head::Branch { name, commit })
}

/// The object that a ref names; `None` when there is no such ref.
pub(super) fn read_ref(workspace: &Workspace, path: &TreePath) -> Result<Option<ObjectId>, RepositoryError> {
    let failed = |source| RepositoryError::Read { what: path.to_string(), source };
    let odd = || RepositoryError::Odd { what: path.to_string() };
    if let Some(text) = small(workspace, &in_git(path), LINE_BYTES).map_err(failed)? {
        let text = std::str::from_utf8(&text).map_err(|_| odd())?;
        return ObjectId::new(text.trim_end()).map(Some).ok_or_else(odd);
    }
    let packed = small(workspace, &in_git(&name("packed-refs")), PACKED_BYTES).map_err(failed)?.unwrap_or_default();
    let wanted = path.as_path().as_os_str().as_encoded_bytes();
    let line = packed.split(|byte| *byte == b'\n').find_map(|line| {
        let (id, name) = line.split_at_checked(line.iter().position(|byte| *byte == b' ')?)?;
        (name.get(1..) == Some(wanted)).then_some(id)
    });
    line.map(|id| std::str::from_utf8(id).ok().and_then(ObjectId::new).ok_or_else(odd)).transpose()
}

/// Whether a packed ref lies below `path`, so that `path` cannot be a ref (git-check-ref-format(1): a name cannot be both).
pub(super) fn packed_below(workspace: &Workspace, path: &TreePath) -> Result<bool, RepositoryError> {
    let failed = |source| RepositoryError::Read { what: "packed-refs".to_owned(), source };
    let packed = small(workspace, &in_git(&name("packed-refs")), PACKED_BYTES).map_err(failed)?.unwrap_or_default();
    let below = [b" ", path.as_path().as_os_str().as_encoded_bytes(), b"/"].concat();
    Ok(packed.split(|byte| *byte == b'\n').any(|line| line.windows(below.len()).any(|part| part == below)))
}

/// The text of a small file; `None` when there is none.
pub(super) fn small(workspace: &Workspace, path: &TreePath, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match beneath::file(workspace.fd(), path.as_path()) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        // A folder of that name: `refs/heads/a` beside `refs/heads/a/b`.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(limit + 1).read_to_end(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(Some(text))
}

/// The value of a setting whose name is in one section only, as git writes it: a line `name = value`.
fn setting(config: &str, name: &str) -> Option<String> {
    config.lines().filter_map(|line| line.split_once('=')).rev().find_map(|(key, value)| {
        let key = key.rsplit(']').next().unwrap_or(key).trim();
        key.eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    })
}

/// Branches that other worktrees have checked out, by the text of their `HEAD`.
pub(super) fn is_checked_out_elsewhere(workspace: &Workspace, branch: &TreePath) -> io::Result<bool> {
    let worktrees = in_git(&name("worktrees"));
    let folder = match beneath::open(workspace.fd(), worktrees.as_path(), OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for worktree in beneath::names(folder.as_fd())? {
        let text = small(workspace, &worktrees.join(&worktree).join("HEAD".as_ref()), LINE_BYTES)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let named = text.strip_prefix("ref:").map(str::trim);
        if named.is_some_and(|named| Path::new(named) == branch.as_path()) {
            return Ok(true);
        }
    }
    Ok(false)
}
