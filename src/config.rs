//! Where things are: configuration, state, the policy file.
//!
//! The only place besides `main.rs` that reads the environment. Everything else is told.

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// What this process was started with, read once.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Every variable.
    pub variables: Vec<(OsString, OsString)>,
    /// The current folder.
    pub current_folder: PathBuf,
    /// This program's own file.
    pub program: PathBuf,
}

/// The person's folders, as the XDG base directory specification (0.8) places them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The home folder.
    pub home: PathBuf,
    /// Where configuration of all programs lies: `$XDG_CONFIG_HOME`, else `~/.config`.
    pub config: PathBuf,
    /// Where cofferdam keeps its state: `$XDG_STATE_HOME/cofferdam`, else `~/.local/state/cofferdam`.
    pub state: PathBuf,
}

/// A policy file's text, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Its path, as errors show it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// Why the configuration cannot be used. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The process's own surroundings cannot be read.
    #[error("find {what}")]
    Surroundings {
        /// What was looked for.
        what: &'static str,
        /// Why it was not found.
        #[source]
        source: io::Error,
    },
    /// No home folder.
    #[error("find the home folder: HOME is not set to an absolute path; set it")]
    NoHome,
    /// The state folder cannot be made.
    #[error("make the state folder {path}; set XDG_STATE_HOME or --state to a folder that you may write")]
    MakeState {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The state folder is a link or a file.
    #[error("use the state folder {path}: it is not a folder itself; set --state to a real folder")]
    NotAFolder {
        /// Which.
        path: PathBuf,
    },
    /// The state folder belongs to somebody else.
    #[error(
        "use the state folder {path}: it belongs to user {owner} and you are {user}; \
         set XDG_STATE_HOME or --state to a folder of your own"
    )]
    ForeignState {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Others may look into the state folder, and it is not empty.
    #[error(
        "use the state folder {path}: others may look into it; close it with `chmod 700`, or name a folder of its own \
         with --state"
    )]
    OpenState {
        /// Which.
        path: PathBuf,
    },
    /// The policy file cannot be read.
    #[error("read the policy file {path}; correct it, or leave out --policy to use your own file or none")]
    ReadPolicy {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The policy file is where an agent could change it.
    #[error(
        "use the policy file {path}: it lies in the workspace, where an agent could change it; \
         move it out of {workspace}"
    )]
    PolicyInWorkspace {
        /// Which.
        path: PathBuf,
        /// The workspace.
        workspace: PathBuf,
    },
}

/// Which policy file is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyChoice {
    /// This one, which must be there.
    File(PathBuf),
    /// The person's own, if it is there.
    Personal,
}

impl Environment {
    /// Reads the process's surroundings.
    ///
    /// # Errors
    /// [`ConfigError::Surroundings`] when the current folder or the program's file is not known.
    pub fn read() -> Result<Self, ConfigError> {
        Ok(Self {
            variables: env::vars_os().collect(),
            current_folder: env::current_dir()
                .map_err(|source| ConfigError::Surroundings { what: "the current folder", source })?,
            program: env::current_exe()
                .map_err(|source| ConfigError::Surroundings { what: "this program's file", source })?,
        })
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&OsString> {
        self.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// A variable that holds an absolute path. The specification says to ignore a relative one.
    fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// The person's folders. Nothing is made.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`].
    pub fn folders(&self) -> Result<Folders, ConfigError> {
        let home = self.absolute("HOME").ok_or(ConfigError::NoHome)?;
        let config = self.absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let state = self.absolute("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state")).join("cofferdam");
        Ok(Folders { home, config, state })
    }

    /// `path` made absolute against the current folder; nothing is resolved.
    #[must_use]
    pub fn absolute_path(&self, path: &Path) -> PathBuf {
        let joined = self.current_folder.join(path);
        // Drops `.` and doubled slashes, so that `--workspace .` names the folder itself.
        joined.components().collect()
    }
}

impl Folders {
    /// Where the person's own policy file is looked for.
    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.config.join("cofferdam").join("policy.toml")
    }
}

/// The home folder of this process's user as passwd(5) has it, whatever `HOME` says; `None` where the file has none.
#[must_use]
pub fn account_home() -> Option<PathBuf> {
    let text = fs::read("/etc/passwd").ok()?;
    home_in(&String::from_utf8_lossy(&text), rustix::process::geteuid().as_raw())
}

fn home_in(passwd: &str, user: u32) -> Option<PathBuf> {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let line = passwd.lines().map(fields).find(|fields| fields.get(2).is_some_and(|id| *id == user.to_string()))?;
    // `/` and `/nonexistent` are what accounts of services have: the first is refused for all, the second harms nobody.
    line.get(5).map(PathBuf::from).filter(|home| home.is_absolute() && *home != Path::new("/"))
}

/// Makes the state folder if it is not there, and makes sure that nobody else may look into it.
///
/// # Errors
/// [`ConfigError`] when it cannot be made, is not a folder, or belongs to somebody else.
pub fn prepare_state(path: &Path) -> Result<PathBuf, ConfigError> {
    let failed = |source| ConfigError::MakeState { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_dir() {
        return Err(ConfigError::NotAFolder { path: path.to_owned() });
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(ConfigError::ForeignState { path: path.to_owned(), owner: metadata.uid(), user });
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        // One with something in it may be somebody's shared folder, which closing would break.
        if fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(ConfigError::OpenState { path: path.to_owned() });
        }
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
    }
    path.canonicalize().map_err(failed)
}

/// Reads the policy file that is chosen; `None` when the person has no own one.
///
/// # Errors
/// [`ConfigError::ReadPolicy`] when a file is there, or must be there, and cannot be read;
/// [`ConfigError::PolicyInWorkspace`] when an agent could change it.
pub fn read_policy(
    choice: &PolicyChoice,
    folders: &Folders,
    workspace: &Path,
) -> Result<Option<PolicyFile>, ConfigError> {
    let path = match choice {
        PolicyChoice::File(path) => path.clone(),
        PolicyChoice::Personal => folders.policy(),
    };
    let text = match (fs::read_to_string(&path), choice) {
        (Ok(text), PolicyChoice::File(_) | PolicyChoice::Personal) => text,
        (Err(error), PolicyChoice::Personal) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        (Err(source), PolicyChoice::File(_) | PolicyChoice::Personal) => {
            return Err(ConfigError::ReadPolicy { path, source });
        }
    };
    let real = path.canonicalize().map_err(|source| ConfigError::ReadPolicy { path: path.clone(), source })?;
    let workspace = workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned());
    if real.starts_with(&workspace) && workspace != Path::new("/") {
        return Err(ConfigError::PolicyInWorkspace { path, workspace });
    }
    Ok(Some(PolicyFile { path, text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment {
            variables: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            current_folder: "/here".into(),
            program: "/bin/cofferdam".into(),
        }
    }

    #[test]
    fn folders_follow_xdg_and_ignore_relative_values() {
        let folders = environment(&[("HOME", "/h"), ("XDG_STATE_HOME", "relative"), ("XDG_CONFIG_HOME", "")]);
        assert_eq!(
            folders.folders().unwrap(),
            Folders { home: "/h".into(), config: "/h/.config".into(), state: "/h/.local/state/cofferdam".into() }
        );
        let folders = environment(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s"), ("XDG_CONFIG_HOME", "/c")]);
        let folders = folders.folders().unwrap();
        assert_eq!(folders.state, Path::new("/s/cofferdam"));
        assert_eq!(folders.policy(), Path::new("/c/cofferdam/policy.toml"));
        assert!(matches!(environment(&[]).folders(), Err(ConfigError::NoHome)));
    }

    #[test]
    fn the_account_has_a_home_whatever_the_environment_says() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nshort:x\nme:x:7:7::/home/me:/bin/sh\nd:x:2:2::/:/bin/false\n";
        assert_eq!(home_in(passwd, 7).as_deref(), Some(Path::new("/home/me")));
        assert_eq!(home_in(passwd, 0).as_deref(), Some(Path::new("/root")));
        assert_eq!((home_in(passwd, 2), home_in(passwd, 3)), (None, None));
    }

    #[test]
    fn paths_are_taken_from_the_current_folder() {
        let environment = environment(&[]);
        assert_eq!(environment.absolute_path(Path::new(".")), Path::new("/here"));
        assert_eq!(environment.absolute_path(Path::new("./a//b/")), Path::new("/here/a/b"));
        assert_eq!(environment.absolute_path(Path::new("/x")), Path::new("/x"));
    }

    #[test]
    fn the_state_folder_is_closed_to_others() {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("a/b");
        fs::create_dir_all(&state).unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
        prepare_state(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_that_others_use_is_no_state_folder_and_stays_open() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(root.path().join("theirs"), "").unwrap();
        assert!(matches!(prepare_state(root.path()), Err(ConfigError::OpenState { .. })));
        assert_eq!(fs::metadata(root.path()).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_link_is_no_state_folder() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        assert!(matches!(prepare_state(&link), Err(ConfigError::NotAFolder { .. })));
    }

    #[test]
    fn a_policy_file_that_an_agent_could_change_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let workspace = root.path().join("work");
        fs::create_dir(&workspace).unwrap();
        let inside = workspace.join("policy.toml");
        fs::write(&inside, "").unwrap();
        let folders =
            Folders { home: root.path().into(), config: root.path().join("config"), state: root.path().join("state") };
        let chosen = read_policy(&PolicyChoice::File(inside.clone()), &folders, &workspace);
        assert!(matches!(chosen, Err(ConfigError::PolicyInWorkspace { .. })), "{chosen:?}");
        let outside = root.path().join("link.toml");
        std::os::unix::fs::symlink(&inside, &outside).unwrap();
        let chosen = read_policy(&PolicyChoice::File(outside), &folders, &workspace);
        assert!(matches!(chosen, Err(ConfigError::PolicyInWorkspace { .. })), "{chosen:?}");
    }

    #[test]
    fn a_named_policy_file_must_be_there_and_a_personal_one_need_not() {
        let root = tempfile::tempdir().unwrap();
        let folders =
            Folders { home: root.path().into(), config: root.path().join("config"), state: root.path().join("state") };
        let read = |choice| read_policy(&choice, &folders, Path::new("/nowhere"));
        assert!(matches!(
            read(PolicyChoice::File(root.path().join("policy.toml"))),
            Err(ConfigError::ReadPolicy { .. })
        ));
        assert_eq!(read(PolicyChoice::Personal).unwrap(), None);
        fs::create_dir_all(folders.policy().parent().unwrap()).unwrap();
        fs::write(folders.policy(), "x").unwrap();
        assert_eq!(
            read(PolicyChoice::Personal).unwrap(),
            Some(PolicyFile { path: folders.policy(), text: "x".into() })
        );
    }
}
