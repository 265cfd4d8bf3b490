//! The files of the policy: where each layer's text comes from, and the one that must not silently go away.
//!
//! A repository's file (`.cofferdam.toml` at the workspace's root) only narrows, so whoever removes it widens. It is
//! read once, when a session starts, by the server itself from the host: beneath the workspace's own descriptor, through
//! no link, at most 64 KiB of a regular file. That a workspace had one is remembered in the state folder; where it is
//! gone, no call is taken until a person says that it may be gone (`cofferdam policy accept`). Nothing that happens in a
//! sandbox changes what was read, and the gate holds a changed or deleted file for a person.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use cofferdam_policy::{Layer, LayerName, LoadError, Place, Policy, ToolShape};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use sha2::{Digest, Sha256};

use crate::{
    audit::record::hex,
    config::{self, PolicyFile},
    server::{Setup, Unusable},
};

/// The repository's file, at the workspace's root.
pub const REPOSITORY_FILE: &str = ".cofferdam.toml";

/// A longer repository's file is refused, bytes.
const MAX_REPOSITORY_BYTES: u64 = 64 * 1024;

/// What errors call the server's own command line.
pub(crate) const COMMAND_LINE: &str = "command line";

/// The texts of all layers after the builtin one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFiles {
    /// The machine's owner's file.
    pub operator: Option<PolicyFile>,
    /// The workspace's file.
    pub repository: Option<String>,
    /// What the flags of this server say; empty when there are none.
    pub command_line: String,
}

/// Why a workspace's own policy file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryPolicyError {
    /// It cannot be read.
    #[error("read {REPOSITORY_FILE} of the workspace; a person makes it a readable file or removes it")]
    Read(#[source] io::Error),
    /// It is none that is read.
    #[error("use {REPOSITORY_FILE} of the workspace: it is {what}; a person makes it a plain file of at most 64 KiB")]
    NotPlain {
        /// What it is.
        what: &'static str,
    },
    /// It was there before.
    #[error(
        "find {REPOSITORY_FILE} in {workspace}: it was there and is gone, and without it more is allowed; put it back, \
         or accept that with `cofferdam policy accept`"
    )]
    Gone {
        /// The workspace.
        workspace: PathBuf,
    },
    /// That it is there cannot be remembered, or whether it was.
    #[error("remember whether the workspace has a {REPOSITORY_FILE}")]
    Remember(#[source] io::Error),
}

impl PolicyFiles {
    /// Reads the layers of a workspace.
    ///
    /// # Errors
    /// [`Unusable::Config`] or [`Unusable::Repository`] when a file is there and cannot be used.
    pub fn read(setup: &Setup, workspace: &Path) -> Result<Self, Unusable> {
        Ok(Self {
            operator: config::read_policy(&setup.policy, &setup.folders, workspace)?,
            repository: read_repository(workspace)?,
            command_line: setup.command_line.clone(),
        })
    }

    /// The policy of all layers together.
    ///
    /// # Errors
    /// [`LoadError`] with file and line.
    pub fn load(&self) -> Result<Policy, LoadError> {
        let shown = self.operator.as_ref().map(|file| file.path.display().to_string()).unwrap_or_default();
        let operator =
            self.operator.as_ref().map(|file| Layer { name: LayerName::Operator, file: &shown, text: &file.text });
        let repository =
            self.repository.as_ref().map(|text| Layer { name: LayerName::Repository, file: REPOSITORY_FILE, text });
        let line = Some(&self.command_line).filter(|text| !text.is_empty());
        let line = line.map(|text| Layer { name: LayerName::CommandLine, file: COMMAND_LINE, text });
        let layers = [operator, repository, line].into_iter().flatten();
        load(layers).map_err(|error| error.placed(|place| self.flag(place)))
    }

    /// The flag that a place of the command line's layer came from.
    fn flag(&self, place: &Place) -> Option<Place> {
        if place.file != COMMAND_LINE {
            return None;
        }
        let before = place.line.checked_sub(1)?;
        let line = self.command_line.lines().nth(before)?;
        let is_of_rule = self.command_line.lines().take(place.line).any(|line| line == "[[rule]]");
        let file = match line.split_once(" = ") {
            _ if is_of_rule => "--deny".to_owned(),
            Some(("require", _)) => "--require".to_owned(),
            Some(("paths", _)) => "--protect".to_owned(),
            Some((key, _)) => format!("--limit {key}"),
            None => return None,
        };
        Some(Place { file, line: 0 })
    }
}

/// Loads layers over the builtin one, for the tools that there are.
///
/// # Errors
/// [`LoadError`] with file and line.
pub fn load<'a>(layers: impl Iterator<Item = Layer<'a>>) -> Result<Policy, LoadError> {
    let builtin = Layer { name: LayerName::Builtin, file: "builtin", text: cofferdam_policy::BUILTIN };
    Policy::load(&std::iter::once(builtin).chain(layers).collect::<Vec<_>>(), &tool_shapes())
}

/// The tools and their arguments, so that a rule that names another is an error.
fn tool_shapes() -> Vec<ToolShape> {
    cofferdam_tools::builtin()
        .iter()
        .map(|tool| ToolShape {
            name: tool.name().to_owned(),
            arguments: tool.arguments(),
            required: tool.required_arguments(),
        })
        .collect()
}

/// Reads the workspace's own file; `None` when there is none.
///
/// # Errors
/// [`RepositoryPolicyError`] when something of that name is there and is no plain file of a bearable size.
pub fn read_repository(workspace: &Path) -> Result<Option<String>, RepositoryPolicyError> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(workspace, folder, Mode::empty()) {
        Ok(folder) => folder,
        // What is no folder is no workspace either, which is said elsewhere.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(RepositoryPolicyError::Read(error.into())),
    };
    // Not to wait at a named pipe for somebody who writes.
    let plain = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let beneath =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let file = match openat2(&folder, REPOSITORY_FILE, plain, Mode::empty(), beneath) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => return Err(RepositoryPolicyError::NotPlain { what: "a link" }),
        Err(rustix::io::Errno::XDEV) => return Err(RepositoryPolicyError::NotPlain { what: "another mount" }),
        Err(error) => return Err(RepositoryPolicyError::Read(error.into())),
    };
    let metadata = file.metadata().map_err(RepositoryPolicyError::Read)?;
    if !metadata.is_file() {
        return Err(RepositoryPolicyError::NotPlain { what: "no plain file" });
    }
    let mut text = Vec::new();
    file.take(MAX_REPOSITORY_BYTES + 1).read_to_end(&mut text).map_err(RepositoryPolicyError::Read)?;
    if text.len() as u64 > MAX_REPOSITORY_BYTES {
        return Err(RepositoryPolicyError::NotPlain { what: "longer than 64 KiB" });
    }
    let text = String::from_utf8(text).map_err(|_| RepositoryPolicyError::NotPlain { what: "not UTF-8" })?;
    Ok(Some(text))
}

/// Remembers that a workspace has its own file, and refuses one that had it and has it no longer.
///
/// # Errors
/// [`RepositoryPolicyError::Gone`], or [`RepositoryPolicyError::Remember`] when the state folder cannot be read or written.
pub fn remember_repository(state: &Path, workspace: &Path, found: Option<&str>) -> Result<(), RepositoryPolicyError> {
    let note = note(state, workspace);
    let remembered = match fs::read_to_string(&note) {
        Ok(digest) => Some(digest),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(RepositoryPolicyError::Remember(error)),
    };
    match (found, remembered) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(RepositoryPolicyError::Gone { workspace: workspace.to_owned() }),
        (Some(text), remembered) => {
            let digest = hex(&Sha256::digest(text));
            if remembered.as_ref() == Some(&digest) {
                return Ok(());
            }
            let write = || {
                fs::create_dir_all(note.parent().unwrap_or(state))?;
                let whole = tempfile::NamedTempFile::new_in(note.parent().unwrap_or(state))?;
                fs::write(whole.path(), &digest)?;
                whole.persist(&note).map_err(|error| error.error)
            };
            write().map(drop).map_err(RepositoryPolicyError::Remember)
        }
    }
}

/// Refuses a workspace that had its own file and has it no longer. Nothing is remembered by this.
///
/// # Errors
/// [`RepositoryPolicyError::Gone`].
pub fn miss_repository(state: &Path, workspace: &Path, found: Option<&str>) -> Result<(), RepositoryPolicyError> {
    let workspace = workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned());
    match found {
        None if remembers_repository(state, &workspace) => Err(RepositoryPolicyError::Gone { workspace }),
        None | Some(_) => Ok(()),
    }
}

/// Whether it is remembered that a workspace had its own file.
#[must_use]
pub fn remembers_repository(state: &Path, workspace: &Path) -> bool {
    note(state, workspace).symlink_metadata().is_ok()
}

/// Forgets that a workspace had its own file. Gives whether it was remembered.
///
/// # Errors
/// [`RepositoryPolicyError::Remember`] when the state folder cannot be written.
pub fn forget_repository(state: &Path, workspace: &Path) -> Result<bool, RepositoryPolicyError> {
    match fs::remove_file(note(state, workspace)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(RepositoryPolicyError::Remember(error)),
    }
}

/// Where it is remembered that the workspace at this path has its own file.
fn note(state: &Path, workspace: &Path) -> PathBuf {
    state.join("repository-policies").join(hex(&Sha256::digest(workspace.as_os_str().as_encoded_bytes())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn only_a_plain_file_of_the_workspace_itself_is_read() {
        let workspace = folder();
        let file = workspace.path().join(REPOSITORY_FILE);
        assert_eq!(read_repository(workspace.path()).unwrap(), None);
        fs::write(&file, "version = 1\n").unwrap();
        assert_eq!(read_repository(workspace.path()).unwrap().as_deref(), Some("version = 1\n"));
        fs::rename(&file, workspace.path().join("other")).unwrap();
        for target in ["other", "/etc/passwd", "missing"] {
            symlink(target, &file).unwrap();
            let found = read_repository(workspace.path());
            assert!(matches!(found, Err(RepositoryPolicyError::NotPlain { what: "a link" })), "{target}: {found:?}");
            fs::remove_file(&file).unwrap();
        }
        fs::create_dir(&file).unwrap();
        assert!(matches!(read_repository(workspace.path()), Err(RepositoryPolicyError::NotPlain { .. })));
        fs::remove_dir(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(matches!(read_repository(workspace.path()), Err(RepositoryPolicyError::NotPlain { .. })));
        fs::remove_file(&file).unwrap();
        for (bytes, expected) in
            [(vec![b'#'; 64 * 1024], true), (vec![b'#'; 64 * 1024 + 1], false), (vec![0xff], false)]
        {
            fs::write(&file, bytes).unwrap();
            assert_eq!(read_repository(workspace.path()).is_ok(), expected);
        }
    }

    #[test]
    fn one_that_was_there_is_missed_until_a_person_accepts() {
        let (state, workspace, other) = (folder(), Path::new("/work/a"), Path::new("/work/b"));
        let remember = |workspace, found| remember_repository(state.path(), workspace, found);
        remember(workspace, None).unwrap();
        remember(workspace, Some("x")).unwrap();
        remember(workspace, Some("y")).unwrap();
        remember(other, None).unwrap();
        for _ in 0..2 {
            assert!(matches!(remember(workspace, None), Err(RepositoryPolicyError::Gone { .. })));
            let missed = miss_repository(state.path(), workspace, None);
            assert!(matches!(missed, Err(RepositoryPolicyError::Gone { .. })));
        }
        miss_repository(state.path(), workspace, Some("x")).unwrap();
        miss_repository(state.path(), other, None).unwrap();
        assert!(forget_repository(state.path(), workspace).unwrap());
        assert!(!forget_repository(state.path(), workspace).unwrap());
        remember(workspace, None).unwrap();
    }

    #[test]
    fn a_memory_that_cannot_be_read_is_no_absence() {
        let state = folder();
        fs::create_dir_all(note(state.path(), Path::new("/w"))).unwrap();
        assert!(matches!(
            remember_repository(state.path(), Path::new("/w"), None),
            Err(RepositoryPolicyError::Remember(_))
        ));
    }
}
