//! Scratch volumes: folders that keep what builds and tests write between calls, and never come back on their own.
//!
//! A volume is an overlay's upper folder in our state, one set per workspace. If the host has the folder it is the
//! volume's read-only lower layer (*seeded*), so what the user installed works at once. A seeded volume is emptied when
//! its seed changes: its files were made on top of what is no longer there.
//!
//! An upper folder may be in use by one overlay at a time (kernel documentation, `overlayfs.rst`), so executing calls on
//! one workspace take turns, across servers too.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cofferdam_contract::Ended;
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use crate::{
    cancel::Cancel,
    namespace::{Scratch, Seed},
    root::HostRoot,
    workspace::{Copied, CopyBounds, CopyError, TreePath},
};

/// Folders of a workspace that are scratch: (name, the file beside it that makes it one even before it exists).
const FOLDERS: [(&str, Option<&str>); 6] = [
    ("target", Some("Cargo.toml")),
    ("node_modules", None),
    (".venv", None),
    ("venv", None),
    (".tox", None),
    (".nox", None),
];

/// Files whose change makes what was built from them stale.
const LOCK_FILES: [&str; 8] = [
    "Cargo.lock",
    "package-lock.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "poetry.lock",
    "uv.lock",
    "requirements.txt",
    "pyproject.toml",
];

/// How often a waiting call tries again.
const RETRY: Duration = Duration::from_millis(50);

/// How many entries of a seed are looked at to tell whether it changed.
const SEED_ENTRIES: usize = 256;

/// A workspace's volumes, lent to one call. Dropping it lets the next call have them.
#[derive(Debug)]
pub(crate) struct Volumes {
    scratch: Vec<Scratch>,
    _turn: File,
}

/// How a seed gets into its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seeding {
    /// As the layer below it.
    Layer,
    /// By being copied.
    Copy,
}

/// Why volumes were not lent.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// The call ended while it waited for another run's end.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// A folder of ours could not be made or read.
    #[error("failed to prepare the scratch folder {path}")]
    Prepare {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Volumes {
    /// Lends the volumes of the workspace at `workspace`, whose state folder is `state`, waiting for its turn until
    /// `deadline`. `waiting` is told once if it must wait.
    ///
    /// # Errors
    /// [`ScratchError`].
    pub(crate) fn take(
        workspace: &Path,
        state: &Path,
        root: &HostRoot,
        deadline: Instant,
        cancel: &Cancel,
        waiting: &mut dyn FnMut(),
        seeding: Seeding,
    ) -> Result<Self, ScratchError> {
        let folder = state.join("scratch");
        let prepare = |path: &Path| {
            let path = path.to_path_buf();
            move |source| ScratchError::Prepare { path, source }
        };
        fs::create_dir_all(&folder).map_err(prepare(&folder))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(prepare(&folder))?;
        let turn = wait_for_turn(&folder.join("turn"), deadline, cancel, waiting)?;
        let mut scratch = Vec::new();
        let locks = lock_files(workspace);
        for (name, marker) in FOLDERS {
            let at = workspace.join(name);
            let there = fs::symlink_metadata(&at).map(|metadata| metadata.is_dir());
            let wanted = match there {
                Ok(is_folder) => is_folder,
                Err(_) => marker.is_some_and(|marker| workspace.join(marker).is_file()),
            };
            if wanted {
                let seed = match seeding {
                    // What a build tool makes is made again sooner than copied.
                    Seeding::Copy if name == "target" => Seed::Empty,
                    Seeding::Layer | Seeding::Copy if there.is_ok() => Seed::Folder(at.clone()),
                    Seeding::Layer | Seeding::Copy => Seed::Empty,
                };
                let volume = folder.join(name.trim_start_matches('.'));
                scratch.push(volume_of(at, volume.clone(), seed, &locks, seeding).map_err(prepare(&volume))?);
            }
        }
        for store in &root.stores {
            let volume = folder.join(format!("store-{}", store.name));
            let seed = Seed::Folder(store.path.clone());
            scratch.push(volume_of(store.path.clone(), volume.clone(), seed, b"", seeding).map_err(prepare(&volume))?);
        }
        Ok(Self { scratch, _turn: turn })
    }

    /// Copies the seeds of volumes in the workspace that are new, for a machine without overlays. A seed that was copied
    /// halfway is copied again.
    pub(crate) fn copy_seeds(
        &self,
        workspace: &Path,
        bounds: CopyBounds,
        ended: &dyn Fn() -> Option<Ended>,
    ) -> Result<(), CopyError> {
        for Scratch { at, volume, seed } in &self.scratch {
            let (Seed::Folder(folder), true) = (seed, at.starts_with(workspace)) else { continue };
            let (upper, done) = (volume.join("upper"), volume.join("copied"));
            if done.exists() {
                continue;
            }
            let path = TreePath::new(at.strip_prefix(workspace).unwrap_or(at)).unwrap_or_else(TreePath::root);
            let failed = |source| CopyError::Kernel { path: path.clone(), source };
            remove_all(&upper).and_then(|()| fs::create_dir(&upper)).map_err(failed)?;
            let source = File::open(folder).map_err(failed)?;
            Copied::make(&[source.as_fd()], &upper, bounds, &[], ended)?;
            fs::write(&done, "").map_err(failed)?;
        }
        Ok(())
    }

    /// The volumes.
    pub(crate) fn scratch(&self) -> &[Scratch] {
        &self.scratch
    }
}

/// Makes a volume ready: `upper` and `work` exist, and are empty if what they were made on is gone.
fn volume_of(at: PathBuf, volume: PathBuf, seed: Seed, locks: &[u8], seeding: Seeding) -> io::Result<Scratch> {
    let identity = match &seed {
        Seed::Empty => String::from("empty"),
        Seed::Folder(folder) => seed_identity(folder, locks),
    };
    // An upper layer is no folder by itself, nor the other way round.
    let identity = match seeding {
        Seeding::Layer => identity,
        Seeding::Copy => format!("{identity} copied"),
    };
    let noted = volume.join("seed");
    if fs::read_to_string(&noted).is_ok_and(|old| old != identity) {
        remove_all(&volume)?;
    }
    for folder in ["upper", "work"] {
        fs::create_dir_all(volume.join(folder))?;
    }
    fs::write(&noted, identity)?;
    Ok(Scratch { at, volume, seed })
}

/// What tells one state of a seed from another: identity and change times of the folder and of the entries two levels
/// below it (package managers and build tools touch one of those), and the workspace's lock files.
fn seed_identity(folder: &Path, locks: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(locks);
    let mut looked = 0;
    let mut folders = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(metadata) = fs::symlink_metadata(&folder) else { continue };
        for number in
            [metadata.dev(), metadata.ino(), metadata.ctime().cast_unsigned(), metadata.ctime_nsec().cast_unsigned()]
        {
            hash.update(number.to_le_bytes());
        }
        looked += 1;
        if depth < 2 && metadata.is_dir() && looked < SEED_ENTRIES {
            let mut names: Vec<PathBuf> =
                fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            names.sort();
            folders.extend(names.into_iter().take(SEED_ENTRIES).map(|path| (path, depth + 1)));
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sizes and change times of the workspace's lock files: their content is read by what builds from them, not here.
fn lock_files(workspace: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for name in LOCK_FILES {
        if let Ok(metadata) = fs::symlink_metadata(workspace.join(name)) {
            for number in [metadata.len(), metadata.mtime().cast_unsigned(), metadata.mtime_nsec().cast_unsigned()] {
                all.extend(number.to_le_bytes());
            }
        }
    }
    all
}

fn wait_for_turn(
    path: &Path,
    deadline: Instant,
    cancel: &Cancel,
    waiting: &mut dyn FnMut(),
) -> Result<File, ScratchError> {
    let open = || File::options().create(true).truncate(false).write(true).open(path);
    let file = open().map_err(|source| ScratchError::Prepare { path: path.to_path_buf(), source })?;
    let mut told = false;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(errno) => {
                return Err(ScratchError::Prepare { path: path.to_path_buf(), source: errno.into() });
            }
        }
        if let Some(why) = cancel.why() {
            return Err(why.into());
        }
        if Instant::now() >= deadline {
            return Err(Ended::Deadline.into());
        }
        if !told {
            waiting();
            told = true;
        }
        std::thread::sleep(RETRY);
    }
}

/// Removes a folder of ours. An overlay leaves a folder without permissions in `work`, which its owner must open first.
fn remove_all(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if fs::symlink_metadata(&folder)?.permissions().mode() & 0o700 != 0o700 {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty_root() -> HostRoot {
        HostRoot {
            shown: Vec::new(),
            links: Vec::new(),
            etc: Vec::new(),
            written: Vec::new(),
            stores: Vec::new(),
            path: Vec::new(),
            environment: std::collections::BTreeMap::new(),
            toolchains: Vec::new(),
            missing: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn take(workspace: &Path, state: &Path) -> Result<Volumes, ScratchError> {
        let deadline = Instant::now() + Duration::from_millis(200);
        Volumes::take(workspace, state, &empty_root(), deadline, &Cancel::new(), &mut || {}, Seeding::Layer)
    }

    #[test]
    fn a_seeded_volume_is_emptied_when_its_seed_changes_and_only_then() {
        let (workspace, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(workspace.path().join("node_modules")).unwrap();
        let volumes = take(workspace.path(), state.path()).unwrap();
        let [scratch] = volumes.scratch() else { panic!("one volume: {volumes:?}") };
        let kept = scratch.volume.join("upper/kept");
        fs::write(&kept, "x").unwrap();
        drop(volumes);
        drop(take(workspace.path(), state.path()).unwrap());
        assert!(kept.exists());
        fs::create_dir(workspace.path().join("node_modules/new")).unwrap();
        drop(take(workspace.path(), state.path()).unwrap());
        assert!(!kept.exists());
    }

    #[test]
    fn target_is_scratch_before_it_exists_and_a_link_never_is() {
        let (workspace, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(workspace.path().join("Cargo.toml"), "").unwrap();
        std::os::unix::fs::symlink("/etc", workspace.path().join("node_modules")).unwrap();
        let volumes = take(workspace.path(), state.path()).unwrap();
        let places: Vec<_> = volumes.scratch().iter().map(|scratch| scratch.at.clone()).collect();
        assert_eq!(places, [workspace.path().join("target")]);
    }

    #[test]
    fn calls_take_turns_and_a_waiting_one_ends_at_its_deadline() {
        let (workspace, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = take(workspace.path(), state.path()).unwrap();
        assert!(matches!(take(workspace.path(), state.path()), Err(ScratchError::Ended(Ended::Deadline))));
        drop(first);
        take(workspace.path(), state.path()).unwrap();
    }
}
