//! Which folders are scratch, and what tells one state of what they begin with from another.
//!
//! Folders of the workspace's root are looked for in each call, and those of the folder that the call names, with each
//! folder between: a project in a subfolder has its `target` there, or at the root of the Cargo workspace above it. The
//! name of that folder comes from the agent, so it is resolved beneath the workspace and through no link.

use std::{
    fs,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

use cofferdam_contract::SCRATCH_FOLDERS;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use sha2::{Digest, Sha256};

use super::{Request, Seeding};
use crate::namespace::Seed;

/// The file beside a scratch folder that makes it scratch even before it exists.
fn marker(name: &str) -> Option<&'static str> {
    (name == "target").then_some("Cargo.toml")
}

/// What the volume of a scratch folder is called: as the folder, without its dot.
fn volume(name: &str) -> &str {
    match name.strip_prefix('.') {
        Some(plain) => plain,
        None if name == "venv" => "plain-venv",
        None => name,
    }
}

/// How many folders below the root are looked at, the nearest to the root first: each may have some volumes, and each
/// volume is a mount. Projects lie less deep.
const DEEPEST: usize = 16;

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

/// How many entries of a seed are looked at to tell whether it changed.
const SEED_ENTRIES: usize = 256;

/// A volume that the workspace or the host asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) at: PathBuf,
    pub(super) name: String,
    pub(super) seed: Seed,
    /// What tells one state of the seed from another.
    pub(super) identity: String,
}

/// The volumes of the workspace's folders and of the host's package stores.
pub(super) fn wanted(request: &Request<'_>) -> Vec<Wanted> {
    let mut all = Vec::new();
    project(request, Path::new(""), request.workspace, &mut all);
    match request.seeding {
        Seeding::Layer => below_the_root(request, &mut all),
        // Their mount points would have to be made in a copy whose folders are not there yet.
        Seeding::Copy => {}
    }
    for store in &request.root.stores {
        let seed = Seed::Folder(store.path.clone());
        let identity = identity_of(&seed, &store.path, b"", request.seeding);
        all.push(Wanted { at: store.path.clone(), name: format!("store-{}", store.name), seed, identity });
    }
    all
}

/// Those of the folder that the call names, and of each folder above it.
fn below_the_root(request: &Request<'_>, all: &mut Vec<Wanted>) {
    let Ok(workspace) = open_folder(rustix::fs::CWD, request.workspace, ResolveFlags::empty()) else { return };
    let depth = request.folder.components().count().min(DEEPEST);
    let mut folders: Vec<&Path> = request.folder.ancestors().filter(|folder| !folder.as_os_str().is_empty()).collect();
    folders.reverse();
    for folder in folders.into_iter().take(depth) {
        let is_in_a_volume = all.iter().any(|wanted| request.workspace.join(folder).starts_with(&wanted.at));
        let beneath =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        match open_folder(&workspace, folder, beneath) {
            Ok(opened) if !is_in_a_volume => {
                // What is looked at is what was opened, whatever becomes of its name meanwhile.
                project(request, folder, Path::new(&format!("/proc/self/fd/{}", opened.as_raw_fd())), all);
            }
            // A file, or not there, or behind a link: then there is nothing deeper either.
            Ok(_) | Err(_) => return,
        }
    }
}

fn open_folder(from: impl std::os::fd::AsFd, path: &Path, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(from, path, flags, Mode::empty(), resolve)
}

/// Those of one folder: `folder` relative to the workspace, which this process reaches at `reached`.
fn project(request: &Request<'_>, folder: &Path, reached: &Path, all: &mut Vec<Wanted>) {
    let locks = lock_files(request.workspace).into_iter();
    let locks: Vec<u8> =
        if folder.as_os_str().is_empty() { locks.collect() } else { locks.chain(lock_files(reached)).collect() };
    for name in SCRATCH_FOLDERS {
        let there = fs::symlink_metadata(reached.join(name)).map(|metadata| metadata.is_dir());
        let wanted = match there {
            Ok(is_folder) => is_folder,
            Err(_) => marker(name).is_some_and(|marker| reached.join(marker).is_file()),
        };
        if wanted {
            let at: PathBuf = request.workspace.join(folder).join(name);
            let seed = match request.seeding {
                // What a build tool makes is made again sooner than copied.
                Seeding::Copy if name == "target" => Seed::Empty,
                Seeding::Layer | Seeding::Copy if there.is_ok() => Seed::Folder(at.clone()),
                Seeding::Layer | Seeding::Copy => Seed::Empty,
            };
            let identity = identity_of(&seed, &reached.join(name), &locks, request.seeding);
            all.push(Wanted { at, name: volume_name(folder, volume(name)), seed, identity });
        }
    }
}

/// The name of the volume of a folder in `folder`, relative to the workspace. Names below the root are the agent's, and may
/// hold what ends a name in the options of an overlay; so they are told from one another by a digest, of 128 bits.
fn volume_name(folder: &Path, volume: &str) -> String {
    if folder.as_os_str().is_empty() {
        return volume.to_owned();
    }
    let digest = hexadecimal(Sha256::digest(folder.as_os_str().as_bytes()).iter().take(16));
    format!("below-{digest}-{volume}")
}

/// What tells one state of a seed, and one way to have it, from another.
fn identity_of(seed: &Seed, reached: &Path, locks: &[u8], seeding: Seeding) -> String {
    let identity = match seed {
        Seed::Empty => "empty".to_owned(),
        Seed::Folder(_) => seed_identity(reached, locks),
    };
    // An upper layer is no folder by itself, nor the other way round.
    match seeding {
        Seeding::Layer => identity,
        Seeding::Copy => format!("{identity} copied"),
    }
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
    hexadecimal(hash.finalize().iter())
}

fn hexadecimal<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Sizes and change times of a project's lock files: their content is read by what builds from them, not here.
fn lock_files(project: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for name in LOCK_FILES {
        if let Ok(metadata) = fs::symlink_metadata(project.join(name)) {
            for number in [metadata.len(), metadata.mtime().cast_unsigned(), metadata.mtime_nsec().cast_unsigned()] {
                all.extend(number.to_le_bytes());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scratch_folder_has_a_volume_of_its_own() {
        let volumes = SCRATCH_FOLDERS.map(volume);
        assert_eq!(volumes, ["target", "node_modules", "venv", "plain-venv", "tox", "nox"]);
    }
}
