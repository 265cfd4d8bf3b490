//! The host root: what of the host is shown inside a sandbox, read-only, and with which PATH and environment.
//!
//! A sandbox starts with nothing. This room lists what is put in, and the list is of what is shown, not of what is
//! hidden: the system's own folders, each toolchain that was found, a few files of `/etc`, and the package stores that
//! scratch volumes lie over. It looks in known places only, because desktop hosts start servers with a bare PATH, and
//! it executes nothing that it finds. In the workspace it reads version files and the settings of virtual environments,
//! which choose among the known places and can name no other (see `places.rs`).
//!
//! Discovery cannot fail: what cannot be read is not shown, and `notes` and `missing` say so. It makes no mounts.
//!
//! It must never show a home, a credential, the state folder or the workspace itself, and never read the process's own
//! environment: what it may know of the host comes in a [`Host`].

mod cargo_settings;
mod environment;
mod etc;
mod go;
mod identity;
mod java;
mod manager;
mod node;
mod pins;
mod places;
mod programs;
mod python;
mod read;
mod runtimes;
mod rust;
mod stores;
mod survey;
mod system;
mod version;
mod virtual_environments;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

pub use etc::EtcEntry;
pub use identity::{GROUP_ID, HOME, HOST_NAME, USER, USER_ID};
pub use stores::Store;

use survey::Survey;

/// What discovery may know of the host: the power that is passed to it.
#[derive(Debug, Clone)]
pub struct Host {
    /// The home folder of the user whose toolchains are shown.
    pub home: PathBuf,
    /// The server's state folder, which is never shown.
    pub state: PathBuf,
    /// The server's environment when it started. Read are PATH, TZ and the names of tool homes (`CARGO_HOME`, …).
    pub environment: BTreeMap<OsString, OsString>,
}

/// What is shown of the host, and how programs find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoot {
    /// Host places that appear read-only under the same path; parents first, none inside another.
    pub shown: Vec<Shown>,
    /// Symbolic links to make in the new root, as (place, target), exactly as the host has them: `/bin` → `usr/bin`.
    /// None of them lies in a place of `shown`.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Everything in the new root's `/etc`.
    pub etc: Vec<EtcEntry>,
    /// Files of ours outside of `/etc`: settings that tools need, without the credentials beside them on the host.
    /// None of them lies in a place of `shown` or in a store.
    pub written: Vec<Written>,
    /// Package stores: the read-only lower layers of scratch volumes at the same path. None lies in a place of `shown`.
    pub stores: Vec<Store>,
    /// PATH inside, in order: chosen toolchains, then the system's folders.
    pub path: Vec<PathBuf>,
    /// The environment inside.
    pub environment: BTreeMap<String, String>,
    /// What was found, for `doctor`.
    pub toolchains: Vec<Toolchain>,
    /// What was looked for and is not there, for `doctor`.
    pub missing: Vec<Missing>,
    /// What was found and is not shown, and why, one sentence each.
    pub notes: Vec<String>,
}

/// A place of the host that is shown read-only under the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its real path: no component is a symbolic link.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What a shown place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder, shown with all that is in it.
    Folder,
    /// A regular file.
    File,
}

/// A file of the new root that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where it is inside.
    pub path: PathBuf,
    /// What is in it.
    pub contents: String,
}

/// A toolchain that programs inside find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The language or tool: `rust`, `python`, `node`, `gcc`.
    pub name: String,
    /// Its version as a file or a folder's name tells it; nothing is executed to ask. `None` when nothing tells.
    pub version: Option<String>,
    /// The program by which it is used, below a folder of PATH or below the workspace.
    pub program: PathBuf,
    /// What led to it: `rustup`, `pyenv`, `system`.
    pub found_by: String,
    /// Why this one: the file or setting that chose it, or "the system's own".
    pub chosen_by: String,
}

/// Something that was looked for and is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What: `python 3.13, which .python-version names`.
    pub what: String,
    /// Where it was looked for.
    pub looked_in: Vec<PathBuf>,
    /// What mends it: a command line, or a sentence where no command does.
    pub mend: String,
}

/// Lists what of the host is shown to sandboxes of one workspace.
///
/// `workspace` is the workspace's absolute path. The result holds until the user installs something; it costs a few
/// milliseconds of looking at folders.
#[must_use]
pub fn discover(host: &Host, workspace: &Path) -> HostRoot {
    let mut survey = Survey::new(host, workspace);
    // The system first: what the user's toolchains link to may lie there and needs no showing.
    system::discover(&mut survey);
    // The order of the languages is the order on PATH. No two of them have programs of the same name.
    rust::discover(&mut survey);
    python::discover(&mut survey);
    node::discover(&mut survey);
    go::discover(&mut survey);
    java::discover(&mut survey);
    runtimes::discover(&mut survey);
    // After the languages: environments refer to interpreters in their places.
    virtual_environments::discover(&mut survey);
    stores::discover(&mut survey);
    cargo_settings::discover(&mut survey);
    // After everything that adds to PATH: what is still not on it is the system's or missing.
    programs::discover(&mut survey);
    survey.finish()
}

impl Host {
    /// A variable of the server's environment; an empty one counts as absent.
    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A tool's home: what the environment names, if that is absolute, else the folder below the home.
    fn tool_home(&self, variable: &str, below_home: &str) -> PathBuf {
        self.named_home(variable).unwrap_or_else(|| self.home.join(below_home))
    }

    /// A tool's home as the environment names it.
    fn named_home(&self, variable: &str) -> Option<PathBuf> {
        self.variable(variable).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// The absolute folders on the server's PATH, at most 128.
    pub(crate) fn path_folders(&self) -> Vec<PathBuf> {
        let Some(path) = self.variable("PATH") else { return Vec::new() };
        std::env::split_paths(path).filter(|folder| folder.is_absolute()).take(128).collect()
    }
}
