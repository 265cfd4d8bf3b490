//! The system's own folders: shown on every host, whatever the workspace is.

use std::path::{Path, PathBuf};

use super::{Host, places::Places, read, survey::Survey};

/// What programs live in. On most hosts `/bin`, `/sbin` and `/lib*` are links into `/usr`, and become links inside.
/// `/usr/local` is named because on image-based systems it links to `/var`.
const FOLDERS: [&str; 8] =
    ["/usr", "/bin", "/sbin", "/opt", "/usr/local", "/nix/store", "/gnu/store", "/home/linuxbrew/.linuxbrew"];

/// PATH's end, in the order of Debian's default for root; every user has them, because `sbin` holds what tests of
/// system tools look for.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Where system-wide programs are that no distribution has on PATH: Go's own installer, Homebrew, Nix.
const BESIDE: [&str; 5] = [
    "/usr/local/go/bin",
    "/home/linuxbrew/.linuxbrew/bin",
    "/home/linuxbrew/.linuxbrew/sbin",
    "/nix/var/nix/profiles/default/bin",
    "/run/current-system/sw/bin",
];

pub(super) fn discover(survey: &mut Survey<'_>) {
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
    // `/lib`, `/lib64`, `/lib32`, `/libx32`: which of them there are depends on the processor.
    let libraries = read::names(Path::new("/")).into_iter().filter(|name| is_library_folder(name));
    folders.extend(libraries.map(|name| Path::new("/").join(name)));
    for folder in folders {
        if let Err(hidden) = survey.places.show_system(&folder) {
            survey.note_hidden(&folder, &hidden);
        }
    }
    for folder in survey.host.path_folders().into_iter().filter(|folder| !is_nameable(folder)) {
        survey.note(format!("{} of the server's PATH cannot be on the PATH inside", folder.display()));
    }
}

/// The system's part of PATH: those of the server's own folders that lie in a system place and are not among the
/// usual, then Homebrew and the like, then the usual.
pub(super) fn path(host: &Host, places: &Places) -> Vec<PathBuf> {
    let own = host.path_folders().into_iter().filter(|folder| !PATH.iter().any(|usual| folder == Path::new(usual)));
    let beside = BESIDE.iter().map(PathBuf::from).chain([host.home.join(".nix-profile/bin")]);
    let mut path: Vec<PathBuf> = Vec::new();
    for folder in own.chain(beside) {
        // The real path: a profile's own links (`/run/current-system`, `/nix/var`) do not exist inside.
        let Ok(real) = folder.canonicalize() else { continue };
        let usable = real.is_dir() && is_system(&real) && places.is_shown(&real);
        if usable && is_nameable(&real) && !path.contains(&real) {
            path.push(real);
        }
    }
    path.retain(|folder| !PATH.iter().any(|usual| folder == Path::new(usual)));
    path.extend(PATH.iter().map(PathBuf::from));
    path
}

/// Whether a real path lies in a folder that this step shows.
pub(super) fn is_system(real: &Path) -> bool {
    FOLDERS.iter().any(|folder| real.starts_with(folder))
}

/// Whether PATH can name a folder: text without colons and control characters.
pub(super) fn is_nameable(folder: &Path) -> bool {
    folder.to_str().is_some_and(|text| !text.contains(':') && !text.chars().any(char::is_control))
}

fn is_library_folder(name: &str) -> bool {
    let bits = |rest: &str| rest.chars().all(|letter| letter.is_ascii_alphanumeric());
    name.len() <= 8 && name.strip_prefix("lib").is_some_and(bits)
}
