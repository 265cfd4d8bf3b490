//! Bare repositories of our own making, for one act: what host git works in.
//!
//! Their settings are a few lines of ours. They borrow the host repository's objects, which are data and name no program,
//! and know nothing else of it: no settings, hooks, attributes, refs or remotes.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, chown},
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{Mode, OFlags};

use super::{
    HostGit,
    host::HostRepository,
    object::{Format, ObjectId},
    place,
    program::{self, GitError},
};
use crate::{
    call_folder::CallFolder,
    namespace::{Restriction, agent_of},
    workspace::{Workspace, beneath},
};

/// Two repositories that go away together: one for what a sandbox wrote, one for what the host's git made of it.
#[derive(Debug)]
pub(super) struct Store {
    folder: CallFolder,
    git: HostGit,
    format: Format,
    /// The trusted one. A git that what it read has taken over could leave links in there, so it is entered by this alone.
    trusted: OwnedFd,
    /// What git may reach in each.
    restrictions: [Restriction; 2],
}

impl Store {
    /// Makes them in the workspace's state.
    pub(super) fn make(git: &HostGit, workspace: &Workspace, host: &HostRepository) -> io::Result<Self> {
        let folder = CallFolder::make(workspace.state(), &["incoming", "trusted"])?;
        let paths = ["incoming", "trusted"].map(|name| folder.join(name));
        for repository in &paths {
            prepare(repository, workspace, host)?;
        }
        let [incoming, trusted] = &paths;
        if rustix::process::geteuid().is_root() {
            let (user, group) = agent_of(workspace.id());
            for part in ["", "objects", "objects/info", "objects/pack", "refs"] {
                chown(trusted.join(part), Some(user), Some(group))?;
            }
        }
        let open =
            |path: &Path| rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let (incoming, trusted) = (open(incoming)?, open(trusted)?);
        // The host's objects as they are beneath the pinned workspace. Without any there is nothing to borrow.
        let objects = match beneath::folder(workspace.fd(), Path::new(".git/objects")) {
            Ok(objects) => Some(objects),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let reading: Vec<BorrowedFd<'_>> = objects.iter().map(AsFd::as_fd).collect();
        let both: Vec<BorrowedFd<'_>> = reading.iter().copied().chain([incoming.as_fd()]).collect();
        let restrictions =
            [git.restriction(workspace, (&both, &[]))?, git.restriction(workspace, (&reading, &[trusted.as_fd()]))?];
        Ok(Self { folder, git: git.clone(), format: host.format, trusted, restrictions })
    }

    /// Puts a file into the trusted one.
    pub(super) fn put(&self, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
        beneath::remove_all(self.trusted.as_fd(), name)?;
        place::create(self.trusted.as_fd(), name, 0o600)?.write_all(bytes)
    }

    /// Reads a file of the trusted one, which must not be larger than `limit` bytes.
    pub(super) fn get(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        beneath::file(self.trusted.as_fd(), Path::new(name))?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("it is larger than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Where what a sandbox wrote is copied to. Nothing is believed of it but that names are names.
    pub(super) fn incoming(&self) -> PathBuf {
        self.folder.join("incoming")
    }

    /// Where only what git has checked and written anew lies.
    pub(super) fn trusted(&self) -> BorrowedFd<'_> {
        self.trusted.as_fd()
    }

    /// A git for the untrusted one.
    pub(super) fn in_incoming(&self) -> Command {
        self.git.command(&self.incoming(), &self.restrictions[0])
    }

    /// A git for the trusted one.
    pub(super) fn in_trusted(&self) -> Command {
        self.git.command(&self.folder.join("trusted"), &self.restrictions[1])
    }

    /// Whether `older` is `newer` or one of its ancestors.
    pub(super) fn is_ancestor(&self, older: &ObjectId, newer: &ObjectId) -> Result<bool, GitError> {
        let mut command = self.in_trusted();
        command.args(["merge-base", "--is-ancestor", older.as_str(), newer.as_str()]);
        program::ask(command, "compare two commits")
    }

    /// Whether a commit has at these paths what `older` has there, or nothing where there is no older one.
    pub(super) fn agree_at(
        &self,
        older: Option<&ObjectId>,
        newer: &ObjectId,
        paths: &[&Path],
    ) -> Result<bool, GitError> {
        let nothing = self.format.empty_tree();
        let mut command = self.in_trusted();
        command.env("GIT_LITERAL_PATHSPECS", "1").args(["diff-tree", "-r", "--quiet", "--no-renames"]);
        command.args([older.map_or(nothing.as_str(), ObjectId::as_str), newer.as_str(), "--"]).args(paths);
        program::ask(command, "compare what a commit has of masked files")
    }

    /// Whether there is such a commit.
    pub(super) fn has_commit(&self, commit: &ObjectId) -> bool {
        let mut command = self.in_trusted();
        command.args(["cat-file", "-e", &format!("{commit}^{{commit}}")]);
        program::succeed(command, "look for a commit", &[]).is_ok()
    }
}

fn prepare(repository: &Path, workspace: &Workspace, host: &HostRepository) -> io::Result<()> {
    for folder in ["objects/info", "objects/pack", "refs"] {
        DirBuilder::new().recursive(true).mode(0o700).create(repository.join(folder))?;
    }
    let (version, extension) = match host.format {
        Format::Sha1 => (0, ""),
        Format::Sha256 => (1, "[extensions]\n\tobjectFormat = sha256\n"),
    };
    // `alternateRefsCommand`: else git would look for refs of the repository that the objects are borrowed from, with that
    // one's settings. `bigFileThreshold` and `window` bound what a large object costs.
    let config = format!(
        "[core]\n\trepositoryFormatVersion = {version}\n\tbare = true\n\talternateRefsCommand = true\n\
         \tbigFileThreshold = 16m\n\tsplitIndex = false\n\thooksPath = /dev/null\n{extension}\
         [pack]\n\tthreads = 1\n\twindow = 0\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
    );
    fs::write(repository.join("config"), config)?;
    fs::write(repository.join("HEAD"), "ref: refs/heads/none\n")?;
    let objects = workspace.root().join(".git/objects");
    fs::write(repository.join("objects/info/alternates"), quoted(&objects))?;
    if let Some(shallow) = &host.shallow {
        fs::write(repository.join("shallow"), shallow)?;
    }
    Ok(())
}

/// A path as git reads it from a list whatever is in it (`unquote_c_style`, quote.c).
fn quoted(path: &Path) -> Vec<u8> {
    let mut line = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b' '..=b'~' if !matches!(byte, b'"' | b'\\') => line.push(*byte),
            byte => line.extend(format!("\\{byte:03o}").into_bytes()),
        }
    }
    line.extend(b"\"\n");
    line
}

#[cfg(test)]
mod quoted_tests {
    use super::*;

    #[test]
    fn any_path_is_one_line() {
        assert_eq!(quoted(Path::new("/a b\"\\\né")), b"\"/a b\\042\\134\\012\\303\\251\"\n");
    }
}
