//! Where everything lies in a sandbox's file system: from a [`Place`] to the sources and steps that build it.
//!
//! All that a call writes to memory lies in one temporary file system of its disk limit, parts of which are shown in
//! several places: with one each, every place would have the whole limit.
//!
//! Order matters in four places: a temporary file system comes before what is shown below it, parents come before
//! children, layers come before the overlay that uses them and are taken out of sight at the end, and links come last:
//! until the new root is entered an absolute link would lead to the host's file of that name.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Component, Path, PathBuf},
};

use super::{
    Holding, Place, Scratch, Upper, View, Writes,
    mount::{NO_DEVICES, NO_EXECUTE, NO_SETUID, READ_ONLY, Source, Step, Tree},
};
use crate::{
    root::{EtcEntry, HOME, HostRoot, Kind, Written},
    submount::Mounts,
    workspace::Identity,
};

/// Where the temporary file system lies while the sandbox is built, with the layers attached below.
const LAYERS: &str = ".layers";

/// The view's layer for writes, in the temporary file system.
pub(super) const UPPER: &CStr = c"u";

/// The empty folder below the layers: an overlay without a layer for writes needs two others.
const NOTHING: &str = "o";

/// Bytes of the largest file that is copied.
const LARGEST_COPY: u64 = 256 << 10;

/// Where the image of scratch volumes is attached, below the layers.
const IMAGE: &str = "i";

/// Files and folders of the temporary file system. A full `node_modules` has some 100,000.
const MOST_INODES: u64 = 1_000_000;

/// Files and folders for each MiB of it: an inode weighs some 4 KiB, which no size counts.
const INODES_PER_MEBIBYTE: u64 = 256;

/// Files and folders of the smallest one.
const LEAST_INODES: u64 = 16_384;

/// Files of `/proc` that tell of the host, or let it be told things.
const COVERED: [&str; 15] = [
    "proc/cmdline",
    "proc/diskstats",
    "proc/interrupts",
    "proc/partitions",
    "proc/kcore",
    "proc/kallsyms",
    "proc/kmsg",
    "proc/keys",
    "proc/key-users",
    "proc/timer_list",
    "proc/sched_debug",
    "proc/sysrq-trigger",
    "proc/latency_stats",
    "proc/kpagecount",
    "proc/kpageflags",
];

/// Parts of `/proc` that can be read but not written.
///
/// A trigger that is written to a file of `proc/pressure` is kernel memory that no budget counts (measured).
const FROZEN: [&str; 5] = ["proc/sys", "proc/irq", "proc/bus", "proc/fs", "proc/pressure"];

/// Device nodes that programs expect. None of them holds anything.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// How a path of the host becomes a source.
pub(super) trait Sources {
    /// Something of the host's system: its owners stay what they are.
    fn system(&self, path: &Path, attributes: u64) -> io::Result<Source>;
    /// Something of the person's, or of our own state: the agent appears as its owner.
    fn owned(&self, path: &Path, attributes: u64) -> io::Result<Source>;
    /// Whether a sandbox may look up names in a folder of the host's system.
    fn searches(&self, path: &Path) -> bool;
}

/// The tree for a place, and the folders in it that may be written.
pub(super) fn lay_out(place: &Place<'_>, sources: &dyn Sources) -> io::Result<(Tree, Vec<CString>)> {
    let mut layout = Layout { tree: Tree::default(), links: Vec::new(), overlays: BTreeMap::new(), sources };
    layout.skeleton(place)?;
    match place.root {
        Root::Bare => {}
        Root::Host { root, mounts } => layout.host(root, Showing::of(&place.view, mounts))?,
    }
    layout.devices()?;
    layout.processes()?;
    let mut writable = vec![
        "/tmp".to_owned(),
        "/var/tmp".to_owned(),
        HOME.to_owned(),
        "/dev/shm".to_owned(),
        "/dev/mqueue".to_owned(),
    ];
    layout.view(place, &mut writable)?;
    layout.tree.steps.push(Step::HandOver(c_text(LAYERS)?));
    layout.tree.steps.push(Step::Detach(c_text(LAYERS)?));
    layout.tree.steps.append(&mut layout.links);
    let writable = writable.into_iter().map(CString::new).collect::<Result<_, _>>()?;
    Ok((layout.tree, writable))
}

/// What of the host's system is inside.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Root<'a> {
    /// Nothing but devices and `/proc`: for calls that execute nothing.
    Bare,
    /// The host's own programs and toolchains.
    Host {
        /// What they are.
        root: &'a HostRoot,
        /// What the host has mounted.
        mounts: &'a Mounts,
    },
}

/// How folders of the host are shown.
#[derive(Debug, Clone, Copy)]
enum Showing<'a> {
    /// As the lower layer of an overlay, which has inodes of its own: a socket or pipe in the folder leads to nobody, no
    /// lock is shared, and nothing tells when the host uses a file. An overlay leaves out what is mounted below its
    /// layers, so a folder with such a mount is shown as it is.
    Overlays(&'a Mounts),
    /// As they are, where the kernel has no overlays for us.
    Clones,
}

impl<'a> Showing<'a> {
    fn of(view: &View<'_>, mounts: &'a Mounts) -> Self {
        match view {
            View::ReadOnly { .. } | View::Private { .. } => Self::Overlays(mounts),
            View::Copied { .. } => Self::Clones,
        }
    }
}

struct Layout<'a> {
    tree: Tree,
    links: Vec<Step>,
    /// Overlays of folders of the host whose own folders are shown one by one, and where they are below the layers.
    overlays: BTreeMap<PathBuf, String>,
    sources: &'a dyn Sources,
}

impl Layout<'_> {
    fn skeleton(&mut self, place: &Place<'_>) -> io::Result<()> {
        for folder in ["dev", "proc", "tmp", "run", "var", "var/tmp", "home", "home/agent"] {
            self.folder(folder)?;
        }
        self.folder(LAYERS)?;
        self.temporary(LAYERS, place.limits.disk_mb)?;
        for folder in ["var", "home", "dev"] {
            self.folder(&format!("{LAYERS}/{folder}"))?;
        }
        self.part("tmp", 0o1777)?;
        self.part("var/tmp", 0o1777)?;
        self.part("home/agent", 0o755)
    }

    fn host(&mut self, root: &HostRoot, showing: Showing<'_>) -> io::Result<()> {
        for (link, target) in &root.links {
            self.host_link(link, target)?;
        }
        if let Showing::Overlays(mounts) = showing {
            for parent in shared_parents(root) {
                if self.sources.searches(parent) && mounts.below(parent)?.is_none() {
                    let at = format!("{LAYERS}/p{}", self.overlays.len());
                    self.folder(&at)?;
                    self.overlay_of(parent, c_text(&at)?)?;
                    self.overlays.insert(parent.to_owned(), at);
                }
            }
        }
        for shown in &root.shown {
            self.show(&shown.path, shown.kind, showing)?;
        }
        for entry in &root.etc {
            match entry {
                EtcEntry::Shown { path, kind } => self.show(path, *kind, showing)?,
                EtcEntry::Linked { path, target } => self.host_link(path, target)?,
                EtcEntry::Written(written) => self.write(written)?,
            }
        }
        root.written.iter().try_for_each(|written| self.write(written))
    }

    fn host_link(&mut self, at: &Path, target: &Path) -> io::Result<()> {
        self.parents(at)?;
        self.links.push(Step::Link(c_path(target)?, relative(at)?));
        Ok(())
    }

    fn write(&mut self, written: &Written) -> io::Result<()> {
        self.parents(&written.path)?;
        self.tree.steps.push(Step::File(relative(&written.path)?, written.contents.clone().into_bytes()));
        Ok(())
    }

    fn devices(&mut self) -> io::Result<()> {
        for name in DEVICES {
            // A device can be written all the same; what covers files of /proc is one of these mounts again.
            let source = self.sources.system(&Path::new("/dev").join(name), READ_ONLY | NO_SETUID | NO_EXECUTE)?;
            let at = format!("dev/{name}");
            self.file(&at)?;
            self.attach(source, &at)?;
        }
        for (target, link) in [
            ("/proc/self/fd", "dev/fd"),
            ("/proc/self/fd/0", "dev/stdin"),
            ("/proc/self/fd/1", "dev/stdout"),
            ("/proc/self/fd/2", "dev/stderr"),
        ] {
            self.link(target, link)?;
        }
        self.folder("dev/shm")?;
        self.part("dev/shm", 0o1777)?;
        self.folder("dev/mqueue")?;
        self.tree.steps.push(Step::Queues(c_text("dev/mqueue")?));
        Ok(())
    }

    fn processes(&mut self) -> io::Result<()> {
        self.tree.steps.push(Step::Processes(c_text("proc")?));
        for path in COVERED {
            self.tree.last_steps.push(Step::Cover(c_text(path)?));
        }
        for path in FROZEN {
            self.tree.last_steps.push(Step::Freeze(c_text(path)?));
        }
        Ok(())
    }

    /// The workspace, at its own path.
    fn view(&mut self, place: &Place<'_>, writable: &mut Vec<String>) -> io::Result<()> {
        self.parents(place.workspace)?;
        let at = relative(place.workspace)?;
        self.tree.steps.push(Step::Folder(at.clone(), 0o755));
        let (held, upper) = match &place.view {
            View::ReadOnly { held, .. } => (*held, None),
            View::Private { held, upper } => (*held, Some(upper)),
            View::Copied { copy, writes } => return self.copied(place, copy, *writes, writable),
        };
        if upper.is_none() && held.is_empty() {
            // The workspace itself, live.
            return self.bind(place.workspace, at, READ_ONLY | NO_SETUID | NO_DEVICES);
        }
        let mut lowers = Vec::new();
        for (number, layer) in held.iter().enumerate() {
            lowers.push(self.layer(layer, &format!("h{number}"), READ_ONLY | NO_SETUID | NO_DEVICES)?);
        }
        let workspace = self.layer(place.workspace, "w", READ_ONLY | NO_SETUID | NO_DEVICES)?;
        lowers.push(workspace.clone());
        // Mount points of scratch volumes, below everything: they show only where the workspace has nothing of the name.
        let points = format!("{LAYERS}/n");
        self.folder(&points)?;
        for scratch in place.scratch {
            if let Ok(below) = scratch.at.strip_prefix(place.workspace) {
                let point = Path::new("/").join(&points).join(below);
                self.parents(&point)?;
                self.tree.steps.push(Step::Folder(relative(&point)?, 0o755));
            }
        }
        lowers.push(points);
        let lowers = lowers.join(":");
        let first = self.tree.steps.len();
        match upper {
            Some(Upper::Temporary) => {
                let (upper, work) = (format!("{LAYERS}/{}", UPPER.to_string_lossy()), format!("{LAYERS}/k"));
                self.folder(&upper)?;
                self.folder(&work)?;
                self.tree.steps.push(Step::Attribute(c_text(&upper)?));
                self.overlay(at, &format!("lowerdir={lowers},upperdir={upper},workdir={work},userxattr"), 0)?;
                writable.push(path_text(place.workspace)?);
            }
            Some(Upper::Folder(folder)) => {
                let folder = self.layer(folder, "c", NO_SETUID | NO_DEVICES)?;
                let (upper, work) = (format!("{folder}/upper"), format!("{folder}/work"));
                self.tree.steps.push(Step::Attribute(c_text(&upper)?));
                let layers = format!("lowerdir={lowers},upperdir={upper},workdir={work}");
                // Volatile: what is lost when the power fails was never handed back.
                self.overlay(at, &format!("{layers},userxattr,volatile"), 0)?;
                writable.push(path_text(place.workspace)?);
            }
            None => self.overlay(at, &format!("lowerdir={lowers},userxattr"), u64::from(libc::MS_RDONLY as u32))?,
        }
        self.tree.view_steps = first..self.tree.steps.len();
        if let View::ReadOnly { plain, .. } = &place.view {
            for (folder, Identity { device, inode }) in plain.folders() {
                self.tree.steps.push(Step::Plain {
                    mount: c_text(&workspace)?,
                    below: c_path(folder.as_path())?,
                    over: relative(place.workspace)?,
                    device,
                    inode,
                });
            }
        }
        match place.holding {
            Holding::Nothing | Holding::Folders { .. } => {}
            Holding::Image(mount) => {
                let at = format!("{LAYERS}/{IMAGE}");
                self.folder(&at)?;
                self.attach(Source::Ready(mount.try_clone_to_owned()?), &at)?;
            }
        }
        for (number, scratch) in place.scratch.iter().enumerate() {
            if !scratch.at.starts_with(place.workspace) {
                self.parents(&scratch.at)?;
                writable.push(path_text(&scratch.at)?);
            }
            self.scratch(scratch, number, place.holding)?;
        }
        Ok(())
    }

    /// The workspace as a copy, with scratch volumes as they lie in our state, never in an image: for a machine without
    /// overlays. Here mountinfo names folders of our state.
    fn copied(&mut self, place: &Place<'_>, copy: &Path, writes: Writes, writable: &mut Vec<String>) -> io::Result<()> {
        let at = relative(place.workspace)?;
        match writes {
            Writes::Refused => return self.bind(copy, at, READ_ONLY | NO_SETUID | NO_DEVICES),
            Writes::Kept => self.bind(copy, at, NO_SETUID | NO_DEVICES)?,
        }
        writable.push(path_text(place.workspace)?);
        for scratch in place.scratch {
            self.parents(&scratch.at)?;
            let at = relative(&scratch.at)?;
            self.tree.steps.push(Step::Folder(at.clone(), 0o755));
            match &scratch.seed {
                // A package store is too large to be copied, and is read more than written.
                Seed::Folder(store) if !scratch.at.starts_with(place.workspace) => {
                    self.bind(store, at, READ_ONLY | NO_SETUID | NO_DEVICES)?;
                }
                Seed::Folder(_) | Seed::Empty => {
                    self.bind(&scratch.volume.join("upper"), at, NO_SETUID | NO_DEVICES)?;
                    writable.push(path_text(&scratch.at)?);
                }
            }
        }
        Ok(())
    }

    /// Attaches a folder of the person's, or of our own state.
    fn bind(&mut self, path: &Path, at: CString, attributes: u64) -> io::Result<()> {
        let source = self.sources.owned(path, attributes)?;
        let number = self.source(source);
        self.tree.steps.push(Step::Attach(number, at));
        Ok(())
    }

    /// A scratch volume: an overlay always, since a bind would print its source in mountinfo.
    fn scratch(&mut self, scratch: &Scratch, number: usize, holding: Holding<'_>) -> io::Result<()> {
        let volume = match holding {
            Holding::Nothing | Holding::Folders { .. } => {
                self.layer(&scratch.volume, &format!("s{number}"), NO_SETUID | NO_DEVICES)?
            }
            Holding::Image(_) => format!("{LAYERS}/{IMAGE}/{}", path_text(&scratch.volume)?),
        };
        let lower = match &scratch.seed {
            Seed::Empty => {
                let empty = format!("{LAYERS}/e{number}");
                self.folder(&empty)?;
                empty
            }
            Seed::Folder(folder) => {
                let attributes = READ_ONLY | NO_SETUID | NO_DEVICES;
                let seed = self.layer(folder, &format!("l{number}"), attributes)?;
                match &scratch.masks {
                    Some(masks) => format!("{}:{seed}", self.layer(masks, &format!("m{number}"), attributes)?),
                    None => seed,
                }
            }
        };
        let made = format!("{LAYERS}/v{number}");
        self.folder(&made)?;
        let data = format!("lowerdir={lower},upperdir={volume}/upper,workdir={volume}/work,userxattr");
        self.overlay(c_text(&made)?, &data, 0)?;
        let folder = scratch.at.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let name = scratch.at.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        self.tree.steps.push(Step::Settle {
            made: c_text(&made)?,
            folder: relative(folder)?,
            name: c_path(Path::new(name))?,
        });
        Ok(())
    }

    fn overlay(&mut self, at: CString, data: &str, flags: u64) -> io::Result<()> {
        let flags = flags | u64::from((libc::MS_NOSUID | libc::MS_NODEV) as u32);
        self.tree.steps.push(Step::Overlay { at, data: c_text(data)?, flags });
        Ok(())
    }

    /// Attaches a folder of the person's below the layers, and returns its place.
    fn layer(&mut self, path: &Path, name: &str, attributes: u64) -> io::Result<String> {
        let at = format!("{LAYERS}/{name}");
        self.folder(&at)?;
        let source = self.sources.owned(path, attributes)?;
        self.attach(source, &at)?;
        Ok(at)
    }

    /// Shows a file or folder of the host at its own path, read-only.
    fn show(&mut self, path: &Path, kind: Kind, showing: Showing<'_>) -> io::Result<()> {
        self.parents(path)?;
        match (kind, showing) {
            (Kind::File, Showing::Overlays(_) | Showing::Clones) => {
                if let Some(contents) = copied(path) {
                    self.tree.steps.push(Step::File(relative(path)?, contents));
                    return Ok(());
                }
            }
            (Kind::Folder, Showing::Overlays(mounts)) if mounts.below(path)?.is_none() => {
                let at = relative(path)?;
                self.tree.steps.push(Step::Folder(at.clone(), 0o755));
                let Some((overlay, below)) = self.within_overlay(path) else { return self.overlay_of(path, at) };
                let (mount, below) = (c_text(overlay)?, c_path(below)?);
                self.tree.steps.push(Step::Again { mount, below, at });
                return Ok(());
            }
            (Kind::Folder, Showing::Overlays(_) | Showing::Clones) => {}
        }
        let source = self.sources.system(path, READ_ONLY | NO_SETUID | NO_DEVICES)?;
        let at = relative(path)?;
        self.tree.steps.push(match kind {
            Kind::Folder => Step::Folder(at.clone(), 0o755),
            Kind::File => Step::File(at.clone(), Vec::new()),
        });
        let number = self.source(source);
        self.tree.steps.push(Step::Attach(number, at));
        Ok(())
    }

    /// Mounts an overlay of a folder of the host: read-only, with inodes of its own.
    fn overlay_of(&mut self, path: &Path, at: CString) -> io::Result<()> {
        let (name, nothing) = (format!("{LAYERS}/r{}", self.tree.sources.len()), format!("{LAYERS}/{NOTHING}"));
        self.folder(&name)?;
        self.folder(&nothing)?;
        let source = self.sources.system(path, READ_ONLY | NO_SETUID | NO_DEVICES)?;
        self.attach(source, &name)?;
        self.overlay(at, &format!("lowerdir={name}:{nothing},userxattr"), u64::from(libc::MS_RDONLY as u32))
    }

    /// The overlay that a folder of the host is seen in already, and its path there, if it can be reached in there.
    fn within_overlay<'a>(&self, path: &'a Path) -> Option<(&str, &'a Path)> {
        let above = path.ancestors().skip(1).take_while(|folder| self.sources.searches(folder));
        let (folder, overlay) = above.filter_map(|folder| Some((folder, self.overlays.get(folder)?))).next()?;
        Some((overlay, path.strip_prefix(folder).ok()?))
    }

    /// Makes the folders above an absolute path.
    fn parents(&mut self, path: &Path) -> io::Result<()> {
        let mut so_far = PathBuf::new();
        let mut names: Vec<_> = path
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name),
                _ => None,
            })
            .collect();
        names.pop();
        for name in names {
            so_far.push(name);
            let made =
                |step: &Step| matches!(step, Step::Folder(at, _) if at.as_bytes() == so_far.as_os_str().as_bytes());
            if !self.tree.steps.iter().any(made) {
                self.tree.steps.push(Step::Folder(c_path(&so_far)?, 0o755));
            }
        }
        Ok(())
    }

    fn folder(&mut self, at: &str) -> io::Result<()> {
        self.tree.steps.push(Step::Folder(c_text(at)?, 0o755));
        Ok(())
    }

    fn file(&mut self, at: &str) -> io::Result<()> {
        self.tree.steps.push(Step::File(c_text(at)?, Vec::new()));
        Ok(())
    }

    fn link(&mut self, target: &str, at: &str) -> io::Result<()> {
        self.links.push(Step::Link(c_text(target)?, c_text(at)?));
        Ok(())
    }

    /// Shows a part of the temporary file system at the place that it has there too: mountinfo names both.
    fn part(&mut self, at: &str, mode: u32) -> io::Result<()> {
        self.tree.steps.push(Step::Part { name: c_text(&format!("{LAYERS}/{at}"))?, at: c_text(at)?, mode });
        Ok(())
    }

    fn temporary(&mut self, at: &str, size_mb: u64) -> io::Result<()> {
        let inodes = size_mb.saturating_mul(INODES_PER_MEBIBYTE).clamp(LEAST_INODES, MOST_INODES);
        self.tree.steps.push(Step::Temporary {
            at: c_text(at)?,
            bytes: c_text(&mebibytes(size_mb))?,
            inodes: c_text(&inodes.to_string())?,
        });
        Ok(())
    }

    fn attach(&mut self, source: Source, at: &str) -> io::Result<()> {
        let number = self.source(source);
        self.tree.steps.push(Step::Attach(number, c_text(at)?));
        Ok(())
    }

    fn source(&mut self, source: Source) -> usize {
        self.tree.sources.push(source);
        self.tree.sources.len() - 1
    }
}

/// Folders of the host of which two folders or more are shown, and never the whole: `/etc`, `~/.rustup/toolchains`. Each
/// overlay costs some 0.1 ms, so one of the parent is cheaper than one of each. What else is in the parent, a credential or
/// the workspace, is in that overlay too, and reached only by the path below the layers: that is out of sight before anything
/// foreign runs.
fn shared_parents(root: &HostRoot) -> Vec<&Path> {
    let etc = root.etc.iter().filter_map(|entry| match entry {
        EtcEntry::Shown { path, kind: Kind::Folder } => path.parent(),
        EtcEntry::Shown { kind: Kind::File, .. } | EtcEntry::Linked { .. } | EtcEntry::Written(_) => None,
    });
    let shown = root.shown.iter().filter(|shown| shown.kind == Kind::Folder).filter_map(|shown| shown.path.parent());
    let mut parents: BTreeMap<&Path, usize> = BTreeMap::new();
    shown.chain(etc).for_each(|parent| *parents.entry(parent).or_default() += 1);
    parents.into_iter().filter(|(_, folders)| *folders > 1).map(|(parent, _)| parent).collect()
}

/// What is in a file of the host that everybody may read and nobody executes, if it is small: a copy shares nothing with
/// the host, and costs less than a mount. A larger one is shown as it is.
fn copied(path: &Path) -> Option<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let mode = metadata.permissions().mode();
    if !metadata.is_file() || mode & 0o004 == 0 || mode & 0o111 != 0 || metadata.len() > LARGEST_COPY {
        return None;
    }
    let mut contents = Vec::new();
    file.take(LARGEST_COPY).read_to_end(&mut contents).ok()?;
    Some(contents)
}

/// What a scratch volume starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seed {
    /// Nothing.
    Empty,
    /// The host's own folder, read-only.
    Folder(PathBuf),
}

fn mebibytes(number: u64) -> String {
    format!("{number}m")
}

fn relative(path: &Path) -> io::Result<CString> {
    c_path(path.strip_prefix("/").map_err(io::Error::other)?)
}

/// A path as C text.
pub(super) fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn c_text(text: &str) -> io::Result<CString> {
    Ok(CString::new(text)?)
}

fn path_text(path: &Path) -> io::Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| io::Error::other("a path is not UTF-8"))
}
