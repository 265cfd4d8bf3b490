//! What folders take of the disk, measured by walking: where no kernel mechanism holds a bound, this is the bound.
//!
//! What is measured belongs to a sandbox that may be at work meanwhile, so nothing in it is trusted: no link is followed,
//! no path is long, and what cannot be measured is said to be so.

use std::{
    ffi::{CStr, CString},
    os::fd::OwnedFd,
    path::Path,
    rc::Rc,
};

use cofferdam_contract::Limits;
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Bytes of a block of `stat(2)`.
const BLOCK_BYTES: u64 = 512;

/// Files and folders for each MiB of disk budget: an inode weighs 4 KiB here.
const INODES_PER_MIB: u64 = 256;

/// Bytes of a path that is opened at once; the kernel takes 4096.
const LONGEST_PATH: usize = 3500;

/// Paths of that length that a tree may be deep. No build tool makes one of two.
const DEEPEST: usize = 32;

/// Folders that are known and not yet looked into. A full `node_modules` has some thousands at a time.
const MOST_PENDING: usize = 1 << 18;

/// No bound.
pub(super) const ENDLESS: Usage = Usage { bytes: u64::MAX, inodes: u64::MAX };

/// Bytes, and files and folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// All of it.
    Whole(Usage),
    /// At least this: there are folders that their owner may not read.
    AtLeast(Usage),
    /// More than the bound, or too deep or wide to be measured.
    Beyond,
}

impl Usage {
    /// What the disk budget of `limits` allows.
    pub(crate) fn allowed(limits: &Limits) -> Self {
        let mebibytes = limits.disk_mb;
        Self { bytes: mebibytes.saturating_mul(1 << 20), inodes: mebibytes.saturating_mul(INODES_PER_MIB) }
    }

    /// Whether either number is above that of `bound`.
    pub(crate) fn exceeds(self, bound: Self) -> bool {
        self.bytes > bound.bytes || self.inodes > bound.inodes
    }

    /// Both numbers without an eighth.
    pub(crate) fn less_an_eighth(self) -> Self {
        Self { bytes: self.bytes - self.bytes / 8, inodes: self.inodes - self.inodes / 8 }
    }
}

/// A folder to look into: an open one, how many paths deep that is, and the way from it.
struct Pending {
    from: Rc<OwnedFd>,
    depth: usize,
    parent: Rc<CStr>,
    name: CString,
}

/// Measures what lies below `folders`, up to `bound`. A folder that is not there takes nothing.
pub(crate) fn measure<'a>(folders: impl IntoIterator<Item = &'a Path>, bound: Usage) -> Measure {
    let mut sum = Usage::default();
    let mut hidden = false;
    let mut pending = Vec::new();
    let here: Rc<CStr> = Rc::from(c".");
    for folder in folders {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(from) = rustix::fs::open(folder, flags, Mode::empty()) else { continue };
        pending.push(Pending { from: Rc::new(from), depth: 0, parent: Rc::clone(&here), name: c".".to_owned() });
    }
    while let Some(next) = pending.pop() {
        let path = below(&next.parent, &next.name);
        match look_into(&next, &path, &mut sum, &mut pending) {
            Ok(()) => {}
            // Gone, or no folder any more.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(_) => hidden = true,
        }
        if sum.exceeds(bound) || pending.len() > MOST_PENDING || next.depth > DEEPEST {
            return Measure::Beyond;
        }
    }
    if hidden { Measure::AtLeast(sum) } else { Measure::Whole(sum) }
}

fn look_into(next: &Pending, path: &CString, sum: &mut Usage, pending: &mut Vec<Pending>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let folder = rustix::fs::openat2(&next.from, path, flags, Mode::empty(), resolve)?;
    let entries = Dir::read_from(&folder)?;
    let folder = Rc::new(folder);
    let (from, depth, parent) = if path.as_bytes().len() > LONGEST_PATH - 256 {
        (Rc::clone(&folder), next.depth + 1, Rc::from(c"."))
    } else {
        (Rc::clone(&next.from), next.depth, Rc::from(path.as_c_str()))
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Ok(status) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        sum.bytes = sum.bytes.saturating_add(u64::try_from(status.st_blocks).unwrap_or(0) * BLOCK_BYTES);
        sum.inodes += 1;
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            let (from, parent) = (Rc::clone(&from), Rc::clone(&parent));
            pending.push(Pending { from, depth, parent, name: name.to_owned() });
        }
    }
    Ok(())
}

fn below(parent: &CStr, name: &CStr) -> CString {
    let mut path = parent.to_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(name.to_bytes());
    CString::new(path).expect("neither part holds a zero byte")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    const MUCH: Usage = Usage { bytes: 1 << 30, inodes: 100_000 };

    #[test]
    fn a_folder_is_measured_with_all_below_it_and_without_what_it_links_to() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), vec![1_u8; 100_000]).unwrap();
        std::os::unix::fs::symlink("/usr", folder.path().join("link")).unwrap();
        let Measure::Whole(usage) = measure([folder.path()], MUCH) else { panic!("all of it can be read") };
        assert_eq!(usage.inodes, 3);
        assert!((100_000..200_000).contains(&usage.bytes), "{usage:?}");
        assert_eq!(measure([folder.path()], Usage { inodes: 2, ..MUCH }), Measure::Beyond);
        assert_eq!(measure([folder.path().join("absent").as_path()], MUCH), Measure::Whole(Usage::default()));
    }

    #[test]
    fn what_lies_deeper_than_a_path_is_measured_and_what_is_endless_is_beyond_measure() {
        let top = tempfile::tempdir().unwrap();
        let mut folder = rustix::fs::open(top.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        let name = "d".repeat(200);
        let deeper = |folder: &mut OwnedFd, times: usize| {
            for _ in 0..times {
                rustix::fs::mkdirat(&*folder, &name, Mode::RWXU).unwrap();
                *folder = rustix::fs::openat(&*folder, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
            }
        };
        deeper(&mut folder, 60);
        let file = rustix::fs::openat(&folder, "file", OFlags::CREATE | OFlags::RDWR, Mode::RWXU).unwrap();
        rustix::io::write(&file, &[1; 50_000]).unwrap();
        rustix::fs::fsync(&file).unwrap();
        let Measure::Whole(usage) = measure([top.path()], MUCH) else { panic!("all of it can be read") };
        assert_eq!(usage.inodes, 61);
        assert!(usage.bytes >= 50_000, "{usage:?}");
        deeper(&mut folder, 700);
        assert_eq!(measure([top.path()], MUCH), Measure::Beyond);
        super::super::removal::remove_all(top.path()).unwrap();
    }

    #[test]
    fn a_folder_that_its_owner_may_not_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let closed = folder.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o300)).unwrap();
        let measured = measure([folder.path()], MUCH);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        match measured {
            // Root reads everything.
            Measure::Whole(usage) => assert!(rustix::process::geteuid().is_root() && usage.inodes == 1),
            Measure::AtLeast(usage) => assert!(!rustix::process::geteuid().is_root() && usage.inodes == 1),
            Measure::Beyond => panic!("there is next to nothing"),
        }
    }
}
