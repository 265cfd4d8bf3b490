//! Looks at paths of the host, link by link, and remembers everything that it saw.
//!
//! Settings name paths anywhere on the host, so these looks begin at `/` and follow the host's links as its programs do;
//! nothing is opened but files of settings, and no sandbox can change what is looked at. What was seen can be compared with
//! the host later: if all of it is the same, so is what was concluded.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{OFlags, major, minor};

use super::{
    super::{beneath::MAX_LINKS, tree_path::TreePath},
    Unread,
};

/// The longest file that is read, in bytes. Git has no bound; the largest configurations in use are a hundredth of this.
const FILE_BYTES: u64 = 1 << 20;

/// Bytes of all files that are read for one repository. To take one MiB of the worst text apart takes half a second.
const MOST_BYTES: usize = 4 << 20;

/// Files and folders that are read for one repository.
const MOST_READ: usize = 2000;

/// Names of one folder of hooks, or of a repository's own folder.
const MOST_NAMES: usize = 4000;

/// Paths that are looked at for one repository. A look takes about a microsecond.
const MOST_LOOKS: usize = 40_000;

/// How long after a change a file may change again and keep its times: the coarsest clock in use is FAT's (`fs/fat/misc.c`).
const RESTLESS: u64 = 2;

/// What is at a path, not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// Nothing that we can reach.
    Nothing,
    Folder {
        device: u64,
        inode: u64,
    },
    Link(OsString),
    Other,
}

/// What tells one state of a file or folder from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    /// The links of the workspace on the way.
    pub(super) links: Vec<TreePath>,
    /// The end, if that lies in the workspace; it need not be there.
    pub(super) end: Option<TreePath>,
    /// The end.
    pub(super) real: PathBuf,
    pub(super) kind: End,
}

/// What is at the end of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Nothing,
    Folder,
    File,
    /// Links that lead nowhere.
    Loop,
}

/// Looks, and what they saw.
#[derive(Debug)]
pub(super) struct Looks {
    root: (u64, u64),
    seen: BTreeMap<PathBuf, Seen>,
    read: BTreeMap<PathBuf, Version>,
    /// The names of folders that were read.
    listed: HashMap<PathBuf, Arc<[OsString]>>,
    /// How much was read.
    bytes: usize,
    /// When they began.
    now: SystemTime,
    /// Something that was read is so new that it may change and look the same.
    restless: bool,
    /// The first path of which it could not be told what is there.
    failed: Option<Unread>,
}

impl Looks {
    /// Looks at a host on which the workspace is the folder of this device and inode. `now` is not after the first look.
    pub(super) fn new(device: u64, inode: u64, now: SystemTime) -> Self {
        let (seen, read, listed) = (BTreeMap::new(), BTreeMap::new(), HashMap::new());
        Self { root: (device, inode), seen, read, listed, bytes: 0, now, restless: false, failed: None }
    }

    /// Whether the host is still as it was seen.
    pub(super) fn are_true(&self) -> bool {
        let same = |(path, seen): (&PathBuf, &Seen)| look(path).is_ok_and(|found| found == *seen);
        let unread = |(path, version): (&PathBuf, &Version)| {
            fs::metadata(path).is_ok_and(|found| Version::of(&found) == *version)
        };
        !self.restless && self.seen.iter().all(same) && self.read.iter().all(unread)
    }

    /// How many paths were looked at.
    pub(super) fn count(&self) -> usize {
        self.seen.len()
    }

    /// Whether all that was looked at was seen, and no more was to be looked at than is.
    ///
    /// # Errors
    /// What was not seen, or that there is more to be looked at for the folder `top`.
    pub(super) fn check(&self, top: &Path) -> Result<(), Unread> {
        match &self.failed {
            Some(failed) => Err(failed.clone()),
            None if self.seen.len() > MOST_LOOKS => {
                Err(Unread::unknown(top.display().to_string(), "more paths are named than are looked at".to_owned()))
            }
            None => Ok(()),
        }
    }

    /// Follows an absolute path.
    pub(super) fn way(&mut self, path: &Path) -> Way {
        let mut names: Vec<OsString> = reversed(path);
        let mut way = Way { links: Vec::new(), end: None, real: PathBuf::from("/"), kind: End::Folder };
        let mut hops = 0;
        while let Some(name) = names.pop() {
            if name == ".." {
                way.real.pop();
                way.end = way.end.and_then(|at| at.parent());
                way.kind = if way.kind == End::File { End::Nothing } else { way.kind };
                continue;
            }
            let next = way.real.join(&name);
            // Below what is not there nothing is: the rest is followed by its text.
            let seen = if way.kind == End::Folder { self.look(&next) } else { Seen::Nothing };
            let inside = way.end.as_ref().map(|at| at.join(&name));
            match seen {
                Seen::Link(target) => {
                    way.links.extend(inside);
                    hops += 1;
                    if hops > MAX_LINKS {
                        return Way { end: None, kind: End::Loop, ..way };
                    }
                    if Path::new(&target).is_absolute() {
                        (way.real, way.end) = (PathBuf::from("/"), None);
                    }
                    names.extend(reversed(Path::new(&target)));
                    continue;
                }
                Seen::Folder { device, inode } if (device, inode) == self.root => {
                    (way.end, way.kind) = (Some(TreePath::root()), End::Folder);
                }
                Seen::Folder { .. } => (way.end, way.kind) = (inside, End::Folder),
                Seen::Other => (way.end, way.kind) = (inside, End::File),
                Seen::Nothing => (way.end, way.kind) = (inside, End::Nothing),
            }
            way.real = next;
        }
        way
    }

    /// Whether a link is at a path whose folders are none.
    pub(super) fn is_link(&mut self, path: &Path) -> bool {
        matches!(self.look(path), Seen::Link(_))
    }

    fn look(&mut self, path: &Path) -> Seen {
        if let Some(seen) = self.seen.get(path) {
            return seen.clone();
        }
        let seen = look(path).unwrap_or_else(|error| {
            let failed = || Unread::unknown(path.display().to_string(), error.to_string());
            self.failed.get_or_insert_with(failed);
            Seen::Nothing
        });
        self.seen.insert(path.to_owned(), seen.clone());
        seen
    }

    /// The text of a file of settings; `None` when there is none.
    ///
    /// # Errors
    /// What must be known of it and cannot be.
    pub(super) fn text(&mut self, path: &Path) -> Result<Option<Vec<u8>>, Unread> {
        let unread = |why: String| Unread::unknown(path.display().to_string(), why);
        let failed = |error: io::Error| unread(error.to_string());
        let status = match fs::metadata(path) {
            Ok(status) => status,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let kind = status.file_type();
        if kind.is_char_device() && (major(status.rdev()), minor(status.rdev())) == (1, 3) {
            // What people write to say "no file" (Documentation/admin-guide/devices.txt: /dev/null).
            return Ok(None);
        }
        if !kind.is_file() {
            return Err(unread("it is not a regular file".to_owned()));
        }
        // It may be another file by now: nothing that is opened here waits or acts.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path).map_err(failed)?;
        let status = file.metadata().map_err(failed)?;
        self.note(path, &status).map_err(unread)?;
        let mut text = Vec::new();
        file.take(FILE_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_BYTES {
            return Err(unread(format!("it is larger than {FILE_BYTES} bytes")));
        }
        self.bytes += text.len();
        if self.bytes > MOST_BYTES {
            return Err(unread(format!("with it more than {MOST_BYTES} bytes are to be read")));
        }
        Ok(Some(text))
    }

    /// Whether a file cannot be read for want of permission. That may change without a trace in what was seen.
    pub(super) fn is_forbidden(&mut self, path: &Path) -> bool {
        let forbidden = File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        self.restless |= forbidden;
        forbidden
    }

    /// Whether a file begins as a text that names its interpreter, however large it is.
    pub(super) fn is_script(&self, path: &Path) -> bool {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        let mut begin = [0; 2];
        file.is_ok_and(|mut file| {
            file.metadata().is_ok_and(|status| status.is_file()) && file.read_exact(&mut begin).is_ok()
        }) && begin == *b"#!"
    }

    /// The names in a folder, sorted; none when there is no folder.
    ///
    /// # Errors
    /// When they cannot be read, or are too many.
    pub(super) fn names(&mut self, folder: &Path) -> Result<Arc<[OsString]>, Unread> {
        if let Some(names) = self.listed.get(folder) {
            return Ok(Arc::clone(names));
        }
        let unread = |why: String| Unread::unknown(folder.display().to_string(), why);
        let failed = |error: io::Error| unread(error.to_string());
        let status = match fs::metadata(folder) {
            Ok(status) if status.is_dir() => status,
            Ok(_) => return Ok(Arc::default()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Arc::default());
            }
            Err(error) => return Err(failed(error)),
        };
        self.note(folder, &status).map_err(unread)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
            if names.len() > MOST_NAMES {
                return Err(unread(format!("it holds more than {MOST_NAMES} names")));
            }
        }
        names.sort();
        let names: Arc<[OsString]> = names.into();
        self.listed.insert(folder.to_owned(), Arc::clone(&names));
        Ok(names)
    }

    /// Remembers the state of what is read.
    fn note(&mut self, path: &Path, status: &Metadata) -> Result<(), String> {
        let version = Version::of(status);
        self.restless |= !version.is_settled(self.now);
        self.read.insert(path.to_owned(), version);
        match self.read.len() {
            0..=MOST_READ => Ok(()),
            _ => Err(format!("it is one of more than {MOST_READ} files and folders")),
        }
    }
}

impl Version {
    pub(super) fn of(status: &Metadata) -> Self {
        Self {
            device: status.dev(),
            inode: status.ino(),
            size: status.size(),
            modified: (status.mtime(), status.mtime_nsec()),
            changed: (status.ctime(), status.ctime_nsec()),
        }
    }

    /// Whether it is so old at this time that the next change has another one.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.changed.0.saturating_add_unsigned(RESTLESS) < now.try_into().unwrap_or(i64::MAX)
    }
}

/// Whether an error says that nothing is at a path: nothing that a program of the same user reaches.
pub(super) fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound, PermissionDenied};
    // A word of a setting may be longer than any name, or hold a NUL.
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied | InvalidFilename | InvalidInput)
}

fn look(path: &Path) -> io::Result<Seen> {
    let seen = fs::symlink_metadata(path).and_then(|status| {
        Ok(if status.is_symlink() {
            Seen::Link(fs::read_link(path)?.into_os_string())
        } else if status.is_dir() {
            Seen::Folder { device: status.dev(), inode: status.ino() }
        } else {
            Seen::Other
        })
    });
    match seen {
        Err(error) if is_nothing(&error) => Ok(Seen::Nothing),
        seen => seen,
    }
}

/// The names of a path, last first; `..` is one.
fn reversed(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Ground {
        folder: tempfile::TempDir,
    }

    impl Ground {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("work/a/b")).unwrap();
            Self { folder }
        }

        fn path(&self, name: &str) -> PathBuf {
            fs::canonicalize(self.folder.path()).unwrap().join(name)
        }

        fn looks(&self) -> Looks {
            let root = fs::metadata(self.path("work")).unwrap();
            Looks::new(root.dev(), root.ino(), SystemTime::now())
        }

        fn way(&self, path: &str) -> (Vec<String>, Option<String>, End) {
            let way = self.looks().way(&self.path(path));
            (way.links.iter().map(ToString::to_string).collect(), way.end.map(|end| end.to_string()), way.kind)
        }
    }

    #[test]
    fn every_hop_in_the_workspace_is_told_wherever_the_path_begins() {
        let ground = Ground::new();
        fs::write(ground.path("work/a/file"), "").unwrap();
        symlink("a", ground.path("work/one")).unwrap();
        symlink("../one/file", ground.path("work/a/two")).unwrap();
        symlink(ground.path("work"), ground.path("elsewhere")).unwrap();
        symlink("/", ground.path("work/out")).unwrap();
        symlink("loop", ground.path("work/loop")).unwrap();
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (path, links, end, kind) in [
            ("work/a/file", &[][..], Some("a/file"), End::File),
            ("work/a/two", &["a/two", "one"], Some("a/file"), End::File),
            ("elsewhere/a/two", &["a/two", "one"], Some("a/file"), End::File),
            ("elsewhere", &[], Some("."), End::Folder),
            ("work/../work/a/../new/x", &[], Some("new/x"), End::Nothing),
            ("work/out/etc", &["out"], None, End::Folder),
            ("work/..", &[], None, End::Folder),
            ("other", &[], None, End::Nothing),
        ] {
            assert_eq!(ground.way(path), (strings(links), end.map(str::to_owned), kind), "{path}");
        }
        assert_eq!(ground.way("work/loop/x").2, End::Loop);
    }

    #[test]
    fn what_was_seen_is_compared_with_the_host() {
        let ground = Ground::new();
        fs::write(ground.path("work/file"), "one").unwrap();
        symlink("a", ground.path("work/one")).unwrap();
        let old = SystemTime::now() - std::time::Duration::from_secs(60);
        let read = |path: &str| {
            let mut looks = ground.looks();
            looks.way(&ground.path("work/one/b"));
            looks.way(&ground.path("work/absent"));
            looks.text(&ground.path(path)).unwrap();
            looks
        };
        assert!(!read("work/file").are_true(), "a file that has just been written is read again");
        // Its time of change cannot be set back.
        let mut looks = read("work/file");
        looks.restless = false;
        assert!(looks.are_true());
        fs::write(ground.path("work/a/other"), "").unwrap();
        assert!(looks.are_true(), "what was not looked at is of no concern");
        File::options().write(true).open(ground.path("work/file")).unwrap().set_modified(old).unwrap();
        assert!(!looks.are_true());
        let mut looks = read("work/file");
        looks.restless = false;
        fs::write(ground.path("work/absent"), "").unwrap();
        assert!(!looks.are_true());
        let mut looks = read("work/file");
        looks.restless = false;
        fs::remove_file(ground.path("work/one")).unwrap();
        symlink(".", ground.path("work/one")).unwrap();
        assert!(!looks.are_true());
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let ground = Ground::new();
        let mut looks = ground.looks();
        let fifo = ground.path("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        for path in [fifo, ground.path("work"), "/dev/zero".into()] {
            assert!(looks.text(&path).unwrap_err().why.contains("regular"), "{path:?}");
        }
        assert_eq!(looks.text(Path::new("/dev/null")), Ok(None));
        assert_eq!(looks.text(&ground.path("absent")), Ok(None));
        fs::write(ground.path("large"), vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(looks.text(&ground.path("large")).unwrap_err().why.contains("larger"));
        fs::write(ground.path("large"), vec![b' '; 1 << 20]).unwrap();
        assert!(looks.text(&ground.path("large")).is_ok());
    }
}
