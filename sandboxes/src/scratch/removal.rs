//! Removing what a sandbox left, whatever it is: folders without permissions, and trees deeper than a path may be long.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Removes `folder`, which nobody else changes meanwhile, with all that is in it. No link is followed.
///
/// Folders are moved up to the top before they are emptied, so no path becomes longer than two names below `folder`, and
/// no depth needs more than one open folder.
///
/// # Errors
/// The first that is met; what is left can be removed by another try.
pub(super) fn remove_all(folder: &Path) -> io::Result<()> {
    open_up(folder)?;
    let mut number = 0;
    loop {
        let mut was_empty = true;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            was_empty = false;
            if entry.file_type()?.is_dir() {
                empty(&entry.path(), folder, &mut number)?;
                absent_is_fine(fs::remove_dir(entry.path()))?;
            } else {
                absent_is_fine(fs::remove_file(entry.path()))?;
            }
        }
        if was_empty {
            return fs::remove_dir(folder);
        }
    }
}

/// Removes the files of a folder, and moves its folders to `top`.
fn empty(folder: &Path, top: &Path, number: &mut u64) -> io::Result<()> {
    open_up(folder)?;
    loop {
        let mut was_empty = true;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            was_empty = false;
            if entry.file_type()?.is_dir() {
                // Whoever moves a folder to another must be allowed to write in it.
                open_up(&entry.path())?;
                move_to(&entry.path(), top, number)?;
            } else {
                absent_is_fine(fs::remove_file(entry.path()))?;
            }
        }
        if was_empty {
            return Ok(());
        }
    }
}

fn move_to(folder: &Path, top: &Path, number: &mut u64) -> io::Result<()> {
    loop {
        *number += 1;
        let to: PathBuf = top.join(format!("removed-{number}"));
        match fs::rename(folder, &to) {
            // What was kept may have this very name.
            Err(error)
                if [io::ErrorKind::AlreadyExists, io::ErrorKind::DirectoryNotEmpty, io::ErrorKind::NotADirectory]
                    .contains(&error.kind()) => {}
            moved => return moved,
        }
    }
}

/// Lets the owner read and change a folder. An overlay leaves one without permissions in `work`, and programs may too.
fn open_up(folder: &Path) -> io::Result<()> {
    let mode = fs::symlink_metadata(folder)?.permissions().mode();
    if mode & 0o700 == 0o700 { Ok(()) } else { fs::set_permissions(folder, fs::Permissions::from_mode(0o700)) }
}

/// A folder that is read while it is changed may name what is gone already.
fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags};

    use super::*;

    #[test]
    fn a_tree_that_is_too_deep_for_a_path_and_folders_without_permissions_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        fs::create_dir_all(top.join("removed-1/full")).unwrap();
        fs::write(top.join("removed-2"), "").unwrap();
        std::os::unix::fs::symlink("/etc", top.join("link")).unwrap();
        let mut folder = rustix::fs::open(&top, OFlags::DIRECTORY, Mode::empty()).unwrap();
        let name = "d".repeat(200);
        for _ in 0..60 {
            rustix::fs::mkdirat(&folder, &name, Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&folder, "beside", Mode::RWXU).unwrap();
            folder = rustix::fs::openat(&folder, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        rustix::fs::fchmod(&folder, Mode::empty()).unwrap();
        fs::create_dir(top.join("closed")).unwrap();
        fs::write(top.join("closed/file"), "x").unwrap();
        fs::set_permissions(top.join("closed"), fs::Permissions::from_mode(0o0)).unwrap();
        remove_all(&top).unwrap();
        assert!(!top.exists());
        assert!(Path::new("/etc/passwd").exists());
    }
}
