//! Other file systems that are mounted inside a workspace.
//!
//! An overlay does not show them, so a call would work on a folder that looks empty; and an ordinary user cannot mount an
//! overlay over them at all. Both are worse than a refusal that names the place.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Bound,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// This machine's mounts, read again only when they have changed.
#[derive(Debug)]
pub(crate) struct Mounts {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    file: File,
    /// Whether `points` is what a read to the end found. The kernel tells of a change once.
    is_read: bool,
    /// Where something is mounted.
    points: BTreeSet<PathBuf>,
}

impl Mounts {
    /// Reads the table.
    ///
    /// # Errors
    /// When `/proc/self/mountinfo` cannot be read.
    pub(crate) fn read() -> io::Result<Self> {
        let mut table = Table { file: File::open("/proc/self/mountinfo")?, is_read: false, points: BTreeSet::new() };
        table.read()?;
        Ok(Self { table: Mutex::new(table) })
    }

    /// The first mount point that lies below `workspace`, if there is one.
    ///
    /// # Errors
    /// When the table has changed and cannot be read again.
    pub(crate) fn below(&self, workspace: &Path) -> io::Result<Option<PathBuf>> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.has_changed()? || !table.is_read {
            table.read()?;
        }
        Ok(first_below(&table.points, workspace).map(Path::to_path_buf))
    }
}

impl Table {
    /// Whether anything was mounted or unmounted since this was last asked (`proc_pid_mountinfo(5)`: such a change is an
    /// exceptional condition and an error condition of the open file).
    fn has_changed(&self) -> io::Result<bool> {
        let mut descriptors = [PollFd::new(&self.file, PollFlags::PRI)];
        poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(descriptors[0].revents().intersects(PollFlags::PRI | PollFlags::ERR))
    }

    fn read(&mut self) -> io::Result<()> {
        let mut text = Vec::with_capacity(64 << 10);
        self.is_read = false;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut text)?;
        self.points = points(&text);
        self.is_read = true;
        Ok(())
    }
}

/// Field 5 of a line is the mount point (`proc_pid_mountinfo(5)`).
fn points(mountinfo: &[u8]) -> BTreeSet<PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescape).collect()
}

/// The first of `points` below `folder`. Paths are ordered by their components, so what is below follows its folder.
fn first_below<'a>(points: &'a BTreeSet<PathBuf>, folder: &Path) -> Option<&'a Path> {
    let after = points.range::<Path, _>((Bound::Excluded(folder), Bound::Unbounded)).next()?;
    after.starts_with(folder).then_some(after.as_path())
}

/// Space, tab, line end and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let number = escaped.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, number) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_below_is_found_and_the_workspace_itself_or_a_neighbour_is_not() {
        let mounts = b"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:1 / /work rw - ext4 /dev/a rw\n\
            3 1 8:1 / /workx/y rw - ext4 /dev/a rw\n4 1 8:1 / /work/with\\040space rw - ext4 /dev/a rw\n";
        let points = points(mounts);
        assert_eq!(first_below(&points, Path::new("/work")), Some(Path::new("/work/with space")));
        assert_eq!(first_below(&points, Path::new("/workx")), Some(Path::new("/workx/y")));
        assert_eq!(first_below(&points, Path::new("/")), Some(Path::new("/work")));
        for alone in ["/workx/y", "/wor", "/work/with", "/x"] {
            assert_eq!(first_below(&points, Path::new(alone)), None, "{alone}");
        }
    }

    #[test]
    fn a_new_mount_is_seen_and_one_that_went_is_not() {
        // In a mount namespace of this thread's own; only root may, and the table's owner is the thread that opened it.
        if !rustix::process::geteuid().is_root() {
            assert_eq!(Mounts::read().unwrap().below(Path::new("/proc/self")).unwrap(), None);
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path().to_path_buf();
        let seen = std::thread::spawn(move || {
            // SAFETY: a new mount namespace and a file system context of this thread's own; nothing else shares it.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
            let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).unwrap();
            let table = Table {
                file: File::open("/proc/thread-self/mountinfo").unwrap(),
                is_read: false,
                points: BTreeSet::new(),
            };
            let mounts = Mounts { table: Mutex::new(table) };
            mounts.table.lock().unwrap().read().unwrap();
            let inner = workspace.join("inner");
            std::fs::create_dir(&inner).unwrap();
            let mut seen = vec![mounts.below(&workspace).unwrap()];
            rustix::mount::mount_bind(&workspace, &inner).unwrap();
            seen.push(mounts.below(&workspace).unwrap());
            rustix::mount::unmount(&inner, rustix::mount::UnmountFlags::DETACH).unwrap();
            seen.push(mounts.below(&workspace).unwrap());
            seen
        });
        assert_eq!(seen.join().unwrap(), [None, Some(folder.path().join("inner")), None]);
    }
}
