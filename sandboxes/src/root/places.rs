//! The places of the host that are shown, and the one check that every one of them passes.
//!
//! A place is asked for by the path under which programs know it. The path is walked component by component, as the
//! kernel would: each symbolic link on the way becomes a link of the new root, with the host's own target, and only the
//! real folder at the end is shown, at its real path. So both names work inside, as they do outside.
//!
//! Version files in a workspace and links in a home decide *which* of the known places is taken, therefore the check is
//! here, on the real path, and not where a path is built: nothing is shown that equals or contains a home, the
//! workspace, the state folder or a system folder with secrets, that lies in one of ours, or that goes by the name of a
//! credential. What cannot be checked is not shown.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fmt,
    path::{Component, Path, PathBuf},
};

use super::{Kind, Shown, read};

/// Symbolic links followed for one path, the kernel's own limit (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Places shown, at most. Each is a mount; a machine with every known tool has a few dozen.
const MAX_PLACES: usize = 512;

/// Names of files and folders that hold credentials, or settings among which credentials are usual. A place with such
/// a component, or a user's folder with such an entry, is not shown.
const CREDENTIALS: [&str; 41] = [
    ".aws",
    ".azure",
    ".boto",
    ".bundle",
    ".claude",
    ".claude.json",
    ".codex",
    ".condarc",
    ".config",
    ".databrickscfg",
    ".docker",
    ".dockercfg",
    ".gem",
    ".git-credentials",
    ".gitconfig",
    ".gnupg",
    ".kaggle",
    ".kube",
    ".m2",
    ".mozilla",
    ".my.cnf",
    ".netrc",
    ".npmrc",
    ".oci",
    ".password-store",
    ".pgpass",
    ".pip",
    ".pki",
    ".pypirc",
    ".s3cfg",
    ".ssh",
    ".subversion",
    ".terraform.d",
    ".terraformrc",
    ".thunderbird",
    ".vault-token",
    ".yarnrc.yml",
    "credentials",
    "credentials.toml",
    "keyrings",
    "private",
];

/// Folders that are never shown as a whole, whoever asks.
const NEVER_WHOLE: [&str; 13] =
    ["/", "/boot", "/dev", "/etc", "/home", "/media", "/mnt", "/proc", "/root", "/run", "/sys", "/tmp", "/var"];

/// Kernel file systems: nothing in them is shown, and no link through them is followed.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Folders with credentials in them, of which only parts are ever shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Homes<'a> {
    /// The user's home.
    pub(super) user: &'a Path,
    /// cargo's home: in some images it lies in `/usr/local`.
    pub(super) cargo: &'a Path,
}

/// What is shown so far.
pub(super) struct Places {
    /// Real and literal paths that no shown place may equal, contain or lie in: the workspace and the state folder.
    ours: Vec<PathBuf>,
    /// Real and literal paths that no shown place may equal or contain.
    whole: Vec<PathBuf>,
    /// Real paths below which a user's toolchain may really lie.
    toolchains: Vec<PathBuf>,
    shown: BTreeMap<PathBuf, Kind>,
    links: BTreeMap<PathBuf, PathBuf>,
}

/// Why a place is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hidden {
    /// There is nothing there, or it cannot be looked at.
    Absent,
    /// It is not what was expected: a folder, or a file.
    OtherKind,
    /// The path is relative, climbs, has a control character or is not UTF-8.
    Unusable,
    /// Links lead around, or through a place that may not be looked into.
    Links,
    /// It is, contains or lies in a place that is never shown.
    Never(PathBuf),
    /// Its name, or a name in it, is that of a credential.
    Credential(String),
    /// It really lies outside of every place for toolchains.
    Elsewhere(PathBuf),
    /// There are too many places already.
    TooMany,
}

impl fmt::Display for Hidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => formatter.write_str("there is nothing there that can be read"),
            Self::OtherKind => formatter.write_str("it is not the kind of file that was expected"),
            Self::Unusable => formatter.write_str("its path is not plain and absolute"),
            Self::Links => formatter.write_str("its links lead around or through a place that is not looked into"),
            Self::Never(place) => write!(formatter, "it touches {}, which is never shown", place.display()),
            Self::Credential(name) => write!(formatter, "{name} is a place for credentials"),
            Self::Elsewhere(real) => write!(formatter, "it really lies at {}, no place for toolchains", real.display()),
            Self::TooMany => write!(formatter, "more than {MAX_PLACES} places are shown already"),
        }
    }
}

/// What is done about a credential's name directly inside a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// The folder is not shown.
    Refused,
    /// It does not matter: the folder is not shown as a whole.
    Ignored,
}

/// A path without links, and the links that were on the way to it.
struct Resolved {
    real: PathBuf,
    links: Vec<(PathBuf, PathBuf)>,
}

impl Places {
    /// Nothing is shown yet. `homes` are the user's home and the homes of tools that keep credentials in them; a system
    /// folder that holds one is shown around it. `ours` are the workspace and the state folder, `toolchains` the
    /// folders besides the home below which a user's toolchain may really lie, as the operator's environment names them.
    pub(super) fn new(homes: Homes<'_>, ours: &[&Path], toolchains: &[PathBuf]) -> Self {
        let home = homes.user;
        let both = |path: &Path| [path.to_path_buf(), real(path)];
        let mut whole: Vec<PathBuf> = NEVER_WHOLE.iter().map(PathBuf::from).collect();
        whole.extend(both(home));
        whole.extend(both(homes.cargo));
        let mut below: Vec<PathBuf> = toolchains.iter().map(|path| real(path)).collect();
        below.extend(["/opt", "/usr", "/nix/store", "/gnu/store", "/home/linuxbrew/.linuxbrew"].map(PathBuf::from));
        below.push(real(home));
        // A home or a tool home of `/` says nothing about where toolchains are.
        below.retain(|path| !NEVER_WHOLE.iter().any(|never| path == Path::new(never)) || *path == real(home));
        below.retain(|path| path != Path::new("/"));
        Self {
            ours: ours.iter().flat_map(|path| both(path)).collect(),
            whole,
            toolchains: below,
            shown: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    /// Shows a folder of the system, where the host has one. If one of our own folders lies in it, its other entries
    /// are shown one by one.
    pub(super) fn show_system(&mut self, path: &Path) -> Result<(), Hidden> {
        let Resolved { real, links } = self.resolve(path)?;
        if !real.is_dir() {
            return Err(Hidden::OtherKind);
        }
        // A system folder may hold the workspace or the home (`/opt/project`), and is then shown around it.
        let holds = |place: &PathBuf| place.starts_with(&real) && *place != real;
        if self.ours.iter().chain(&self.whole).any(holds) && !NEVER_WHOLE.iter().any(|never| real == Path::new(never)) {
            self.links.extend(links);
            for name in read::names(&real) {
                let entry = real.join(name);
                // One that may not be shown, or that vanished, is simply not there.
                let _ = match std::fs::metadata(&entry) {
                    Ok(metadata) if metadata.is_dir() => self.show_system(&entry),
                    Ok(metadata) if metadata.is_file() => {
                        self.resolve(&entry).and_then(|file| self.add(file, Kind::File))
                    }
                    Ok(_) => Err(Hidden::OtherKind),
                    Err(_) => Err(Hidden::Absent),
                };
            }
            return Ok(());
        }
        self.add(Resolved { real, links }, Kind::Folder)
    }

    /// Shows a folder of the user's, where a toolchain is; returns its real path.
    pub(super) fn show_folder(&mut self, path: &Path) -> Result<PathBuf, Hidden> {
        let resolved = self.resolve_users(path, Inside::Refused)?;
        if !resolved.real.is_dir() {
            return Err(Hidden::OtherKind);
        }
        let real = resolved.real.clone();
        self.add(resolved, Kind::Folder)?;
        Ok(real)
    }

    /// Shows those of `parts` that a folder of the user's has, and not the folder: beside them package managers keep
    /// settings with tokens (`etc/npmrc`, `pip.conf`, `.condarc`). Returns the folder's real path.
    pub(super) fn show_parts(&mut self, path: &Path, parts: &[&str]) -> Result<PathBuf, Hidden> {
        let resolved = self.resolve_users(path, Inside::Ignored)?;
        if !resolved.real.is_dir() {
            return Err(Hidden::OtherKind);
        }
        let real = resolved.real;
        self.links.extend(resolved.links);
        for part in parts {
            let part = real.join(part);
            let kind = match std::fs::metadata(&part) {
                Ok(metadata) if metadata.is_dir() => Kind::Folder,
                Ok(metadata) if metadata.is_file() => Kind::File,
                Ok(_) | Err(_) => continue,
            };
            match self.resolve_users(&part, Inside::Refused) {
                Ok(resolved) => self.add(resolved, kind)?,
                Err(Hidden::Absent) => {}
                Err(hidden) => return Err(hidden),
            }
        }
        Ok(real)
    }

    /// Makes the links on the way to a store, which is mounted as a volume and not shown; returns its real path.
    pub(super) fn lead_to_store(&mut self, path: &Path) -> Result<PathBuf, Hidden> {
        let resolved = self.resolve_users(path, Inside::Refused)?;
        if !resolved.real.is_dir() {
            return Err(Hidden::OtherKind);
        }
        self.check_whole(&resolved.real)?;
        self.links.extend(resolved.links);
        Ok(resolved.real)
    }

    /// Makes the links on the way to something that is shown already: a link to an interpreter, say.
    pub(super) fn lead_to_shown(&mut self, path: &Path) -> Result<PathBuf, Hidden> {
        let resolved = self.resolve(path)?;
        if !self.is_shown(&resolved.real) {
            return Err(Hidden::Elsewhere(resolved.real));
        }
        self.links.extend(resolved.links);
        Ok(resolved.real)
    }

    /// Whether a real path is shown, by itself or by a folder that it lies in.
    pub(super) fn is_shown(&self, real: &Path) -> bool {
        real.ancestors().any(|ancestor| match self.shown.get(ancestor) {
            Some(Kind::Folder) => true,
            Some(Kind::File) => ancestor == real,
            None => false,
        })
    }

    /// What is shown, parents first and none inside another, and the links beside.
    pub(super) fn finish(self) -> (Vec<Shown>, Vec<(PathBuf, PathBuf)>) {
        let mut shown: Vec<Shown> = Vec::new();
        for (path, kind) in &self.shown {
            let inner = path.parent().is_some_and(|parent| self.is_shown(parent));
            if !inner {
                shown.push(Shown { path: path.clone(), kind: *kind });
            }
        }
        // A link that lies in a shown folder is there already, and the new root's `/etc` is made of its own list.
        let own = |place: &Path| self.is_shown(place) || place.starts_with("/etc");
        let links = self.links.iter().filter(|(place, _)| !own(place));
        let links = links.map(|(place, target)| (place.clone(), target.clone())).collect();
        (shown, links)
    }

    fn resolve_users(&self, path: &Path, inside: Inside) -> Result<Resolved, Hidden> {
        let resolved = self.resolve(path)?;
        let below = |root: &PathBuf| resolved.real.starts_with(root);
        if !self.toolchains.iter().any(below) {
            return Err(Hidden::Elsewhere(resolved.real));
        }
        for place in path.components().chain(resolved.real.components()) {
            let Some(name) = place.as_os_str().to_str() else { return Err(Hidden::Unusable) };
            if CREDENTIALS.contains(&name) {
                return Err(Hidden::Credential(name.to_owned()));
            }
        }
        // The name is that of a place that users link anywhere (`rustup toolchain link`): one look at what is in it.
        for name in CREDENTIALS {
            if inside == Inside::Refused && name.starts_with('.') && resolved.real.join(name).symlink_metadata().is_ok()
            {
                return Err(Hidden::Credential(name.to_owned()));
            }
        }
        Ok(resolved)
    }

    fn add(&mut self, resolved: Resolved, kind: Kind) -> Result<(), Hidden> {
        self.check_whole(&resolved.real)?;
        if self.shown.len() >= MAX_PLACES {
            return Err(Hidden::TooMany);
        }
        self.shown.insert(resolved.real, kind);
        self.links.extend(resolved.links);
        Ok(())
    }

    fn check_whole(&self, real: &Path) -> Result<(), Hidden> {
        let held = self.whole.iter().chain(&self.ours).find(|place| place.starts_with(real));
        held.map_or(Ok(()), |place| Err(Hidden::Never(place.clone())))
    }

    /// Walks a path as the kernel does (`path_resolution(7)`) and keeps the links. Nothing of ours, of the kernel's
    /// file systems or of a control character is walked through.
    fn resolve(&self, path: &Path) -> Result<Resolved, Hidden> {
        let plain = |component: Component<'_>| matches!(component, Component::RootDir | Component::Normal(_));
        if !path.is_absolute() || !path.components().all(plain) {
            return Err(Hidden::Unusable);
        }
        let mut links = Vec::new();
        let mut real = PathBuf::from("/");
        let mut pending: VecDeque<OsString> = path.components().map(|part| part.as_os_str().to_owned()).collect();
        while let Some(part) = pending.pop_front() {
            if part == ".." {
                real.pop();
                continue;
            }
            if part == "." {
                continue;
            }
            let Some(text) = part.to_str() else { return Err(Hidden::Unusable) };
            if text.chars().any(char::is_control) {
                return Err(Hidden::Unusable);
            }
            // Pushing the root's own part starts over at the root.
            let here = real.join(&part);
            let metadata = here.symlink_metadata().map_err(|_| Hidden::Absent)?;
            if let Some(ours) = self.ours.iter().find(|ours| here.starts_with(ours)) {
                return Err(Hidden::Never(ours.clone()));
            }
            if KERNEL.iter().any(|kernel| here.starts_with(kernel)) {
                return Err(Hidden::Links);
            }
            if !metadata.is_symlink() {
                real = here;
                continue;
            }
            let target = std::fs::read_link(&here).map_err(|_| Hidden::Absent)?;
            for inner in target.components().rev() {
                pending.push_front(inner.as_os_str().to_owned());
            }
            links.push((here, target));
            if links.len() > MAX_LINKS {
                return Err(Hidden::Links);
            }
        }
        Ok(Resolved { real, links })
    }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}
