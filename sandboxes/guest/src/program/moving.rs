//! Moving a file, a link or a folder.
//!
//! One rename where the file system can do it. Overlayfs answers EXDEV for a folder that it would have to merge
//! (`redirect_dir` is off, see the kernel's `Documentation/filesystems/overlayfs.rst`, "Renaming directories"), and so
//! does every move between the view and a scratch volume: then the tree is copied and the old one deleted.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read, Seek, SeekFrom as Position},
    os::fd::{AsFd, BorrowedFd},
};

use cofferdam_contract::{FileRefusal, RefusalKind, WorkspacePath};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, SeekFrom, Stat, Timespec, Timestamps},
    io::Errno,
};

use super::{
    channel::Lifeline,
    folder::{self, MAX_DEPTH},
    refusal::{from_errno, refusal},
    remove::remove,
    workspace::{LastLink, Missing, ONE_NAME, Workspace, open_file},
};

/// Moves what is at `source` to `destination`, where nothing may be, and counts the entries moved.
pub(crate) fn rename(
    workspace: &Workspace,
    lifeline: &Lifeline<'_>,
    source: &WorkspacePath,
    destination: &WorkspacePath,
) -> Result<u64, FileRefusal> {
    if source.is_workspace() || destination.is_workspace() {
        return Err(refusal(RefusalKind::Invalid, "the workspace itself cannot be moved or replaced"));
    }
    let from = workspace.resolve(source, LastLink::Kept, Missing::NotFound)?;
    let kind = from.kind().ok_or_else(|| from_errno(Errno::NOENT, "move", source))?;
    let into_itself = || refusal(RefusalKind::Invalid, format!("`{source}` cannot be moved into itself"));
    // Before any folder of the destination is made, and again below for a way in through a link.
    if destination.is_within(source) && destination != source {
        return Err(into_itself());
    }
    let to = workspace.resolve(destination, LastLink::Kept, Missing::Made)?;
    if to.found.is_some() {
        return Err(from_errno(Errno::EXIST, "move to", destination));
    }
    if to.real.starts_with(&from.real) {
        return Err(into_itself());
    }
    let (from_folder, to_folder) = (from.folder.as_fd(), to.folder.as_fd());
    let failed = |error| {
        let here = workspace.refused(&from, error, "move", source);
        let there = workspace.refused(&to, error, "move to", destination);
        if there.kind == RefusalKind::OtherOwner && here.kind != RefusalKind::OtherOwner { there } else { here }
    };
    let mut survey = Survey::default();
    survey.add(from_folder, &from.name, kind, lifeline, 0);

    match rustix::fs::renameat_with(from_folder, &from.name, to_folder, &to.name, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(survey.entries),
        Err(Errno::EXIST) => return Err(from_errno(Errno::EXIST, "move to", destination)),
        // Across file systems, or on one that cannot promise not to replace (rename(2)).
        Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL) => {}
        Err(error) => return Err(failed(error)),
    }
    if survey.has_special {
        let message = format!("`{source}` holds a pipe, socket or device, which cannot be moved from where it is");
        return Err(refusal(RefusalKind::WrongKind, message));
    }
    if let Err(error) = copy(from_folder, &from.name, to_folder, &to.name, lifeline, 0) {
        // What was copied so far is no use to anybody; the source is whole.
        let _ = remove(to_folder, &to.name, kind, lifeline, 0, &mut 0);
        return Err(failed(error));
    }
    // A refused call hands nothing back, so that the workspace has the source whole and no copy.
    remove(from_folder, &from.name, kind, lifeline, 0, &mut 0).map_err(|error| {
        let refused = failed(error);
        let message = format!("{}; it could not be deleted from where it is, so nothing was moved", refused.message);
        refusal(refused.kind, message)
    })?;
    Ok(survey.entries)
}

/// What is to be moved.
#[derive(Debug, Default)]
struct Survey {
    entries: u64,
    /// Whether there is anything that cannot be copied.
    has_special: bool,
}

impl Survey {
    fn add(&mut self, parent: BorrowedFd<'_>, name: &OsStr, kind: FileType, lifeline: &Lifeline<'_>, depth: u32) {
        lifeline.check();
        self.entries += 1;
        match kind {
            FileType::Directory if depth < MAX_DEPTH => {
                // One that cannot be read can still be renamed; what is in it is not counted.
                let opened = folder::open(parent, name);
                let items = opened.as_ref().map_err(|error| *error).and_then(folder::items);
                if let (Ok(opened), Ok(items)) = (&opened, items) {
                    for item in items {
                        self.add(opened.as_fd(), &item.name, item.kind, lifeline, depth + 1);
                    }
                }
            }
            FileType::Directory | FileType::RegularFile | FileType::Symlink => {}
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => self.has_special = true,
        }
    }
}

/// Copies `name` and what is below it, with modes and times. Links are copied as links.
fn copy(
    from: BorrowedFd<'_>,
    name: &OsStr,
    to: BorrowedFd<'_>,
    new_name: &OsStr,
    lifeline: &Lifeline<'_>,
    depth: u32,
) -> Result<(), Errno> {
    lifeline.check();
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if depth >= MAX_DEPTH => Err(Errno::MFILE),
        FileType::Directory => {
            let opened = folder::open(from, name)?;
            // Writable while it is filled.
            rustix::fs::mkdirat(to, new_name, Mode::from_raw_mode(0o700))?;
            let made = folder::open(to, new_name)?;
            for item in folder::items(&opened)? {
                copy(opened.as_fd(), &item.name, made.as_fd(), &item.name, lifeline, depth + 1)?;
            }
            rustix::fs::fchmod(&made, Mode::from_raw_mode(stat.st_mode & 0o777))?;
            rustix::fs::futimens(&made, &times(&stat))
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, to, new_name)
        }
        FileType::RegularFile => {
            let source = open_file(from, name)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made: File = rustix::fs::openat2(to, new_name, flags, Mode::from_raw_mode(0o600), ONE_NAME)?.into();
            copy_content(source, &made, lifeline)?;
            rustix::fs::fchmod(&made, Mode::from_raw_mode(stat.st_mode & 0o777))?;
            rustix::fs::futimens(&made, &times(&stat))
        }
        _ => Err(Errno::OPNOTSUPP),
    }
}

/// Copies the parts that hold data and leaves the holes: a sparse file stays one.
fn copy_content(mut from: File, mut to: &File, lifeline: &Lifeline<'_>) -> Result<(), Errno> {
    /// Between two looks at the lifeline, in bytes.
    const STEP: u64 = 16 << 20;
    let in_errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let size = from.metadata().map_err(in_errno)?.len();
    let mut place = 0;
    while place < size {
        let start = match rustix::fs::seek(&from, SeekFrom::Data(place)) {
            Ok(start) => start,
            // lseek(2): no more data, or not supported, where all counts as data.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => place,
            Err(error) => return Err(error),
        };
        let end = rustix::fs::seek(&from, SeekFrom::Hole(start)).unwrap_or(size).min(start.saturating_add(STEP));
        from.seek(Position::Start(start)).map_err(in_errno)?;
        to.seek(Position::Start(start)).map_err(in_errno)?;
        let copied = std::io::copy(&mut (&from).take(end - start), &mut to).map_err(in_errno)?;
        if copied == 0 {
            // It became shorter while it was copied.
            break;
        }
        place = start + copied;
        lifeline.check();
    }
    to.set_len(size).map_err(in_errno)
}

fn times(stat: &Stat) -> Timestamps {
    let nanoseconds = |value| i64::try_from(value).unwrap_or(0);
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanoseconds(stat.st_atime_nsec) },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanoseconds(stat.st_mtime_nsec) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixStream,
    };

    /// What is at each path below `root`: kind and mode, time, blocks, and content or target.
    fn describe(root: &std::path::Path) -> Vec<String> {
        let mut described: Vec<String> = ignore::WalkBuilder::new(root)
            .standard_filters(false)
            .build()
            .map(|entry| {
                let entry = entry.unwrap();
                let (path, meta) = (entry.path(), entry.path().symlink_metadata().unwrap());
                let name = path.strip_prefix(root).unwrap().display();
                let time = if meta.is_symlink() { 0 } else { meta.mtime() };
                let content = match (meta.is_file(), meta.is_symlink()) {
                    (true, _) => format!("{} {}", meta.size(), meta.blocks() < 1000),
                    (_, true) => std::fs::read_link(path).unwrap().display().to_string(),
                    (false, false) => String::new(),
                };
                format!("{name} {:o} {time} {content}", meta.mode())
            })
            .collect();
        described.sort();
        described
    }

    #[test]
    fn a_copied_tree_has_the_same_modes_times_links_and_holes() {
        let outer = tempfile::tempdir().unwrap();
        let tree = outer.path().join("tree");
        std::fs::create_dir_all(tree.join("sub/empty")).unwrap();
        std::fs::write(tree.join("sub/run"), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(tree.join("sub/run"), PermissionsExt::from_mode(0o751)).unwrap();
        symlink("../../outside", tree.join("sub/link")).unwrap();
        let sparse = File::create(tree.join("sparse")).unwrap();
        sparse.set_len(1 << 32).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 1 << 31).unwrap();
        drop(sparse);
        std::fs::set_permissions(tree.join("sub"), PermissionsExt::from_mode(0o555)).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        for path in ["sub/run", "sparse", "sub/empty", "sub", ""] {
            File::open(tree.join(path)).unwrap().set_modified(old).unwrap();
        }

        let (socket, _other) = UnixStream::pair().unwrap();
        let lifeline = Lifeline::of(socket.as_fd());
        let folder = File::open(outer.path()).unwrap();
        copy(folder.as_fd(), OsStr::new("tree"), folder.as_fd(), OsStr::new("copy"), &lifeline, 0).unwrap();

        let copied = outer.path().join("copy");
        assert_eq!(describe(&copied), describe(&tree));
        assert_eq!(std::fs::read(copied.join("sub/run")).unwrap(), b"#!/bin/sh\n");
        let mut middle = [0; 6];
        let sparse = File::open(copied.join("sparse")).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&sparse, &mut middle, 1 << 31).unwrap();
        assert_eq!(&middle, b"middle");
        std::fs::set_permissions(tree.join("sub"), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(copied.join("sub"), PermissionsExt::from_mode(0o755)).unwrap();
    }
}
