//! How discovery looks at files: few bytes, few names, regular files only, nothing that can block or run.
//!
//! Discovery reads version files and tool settings that anyone may have written. A file that is too large, is not a
//! regular file (a pipe would block) or is not UTF-8 counts as absent. Files of the workspace are opened below the
//! workspace's folder, so a link in it cannot make the server read another place.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::Read,
    os::{
        fd::AsFd,
        unix::{ffi::OsStringExt, fs::OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2, readlinkat};

/// Bytes of one file that are read at most. The largest kind read is a Node header of about 5 KiB; a file of tool
/// settings with many per-folder overrides stays far below.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Names of one folder that are looked at, at most. The largest known is a C library's folder with some hundreds.
const MAX_NAMES: usize = 4096;

/// Reads a small text file of the host; `None` when there is no readable, regular UTF-8 file of at most 256 KiB.
pub(super) fn text(path: &Path) -> Option<String> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    small_text(OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?)
}

/// Reads a small text file of the workspace by its relative path; `None` as for [`text`], and when a link on the way
/// leads out of the workspace.
pub(super) fn workspace_text(workspace: &Path, relative: &str) -> Option<String> {
    let folder = File::open(workspace).ok()?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(folder.as_fd(), relative, flags, Mode::empty(), beneath).ok()?;
    small_text(File::from(file))
}

/// What a link of the workspace says, not followed; `None` when it is no link or its folder lies outside.
pub(super) fn workspace_link(workspace: &Path, relative: &str) -> Option<PathBuf> {
    let folder = File::open(workspace).ok()?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let link = openat2(folder.as_fd(), relative, flags, Mode::empty(), beneath).ok()?;
    let target = readlinkat(&link, "", Vec::new()).ok()?;
    Some(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

/// The names in a folder, in byte order; empty when it cannot be read. Names that are not UTF-8 or have control
/// characters are left out: they can be in neither PATH nor a mount.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .take(MAX_NAMES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.chars().any(char::is_control))
        .collect();
    names.sort();
    names
}

/// Whether a path is a regular file that someone may execute. Links are followed.
pub(super) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn small_text(file: File) -> Option<String> {
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    // The size may have grown since: the bound is on what is read.
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return None;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_workspace_file_is_not_read_through_a_link_that_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "3.11").unwrap();
        let workspace = tempfile::tempdir().unwrap();
        symlink(outside.path().join("secret"), workspace.path().join("absolute")).unwrap();
        symlink("../../../../../../etc/passwd", workspace.path().join("climbing")).unwrap();
        std::fs::write(workspace.path().join("real"), "3.12").unwrap();
        symlink("real", workspace.path().join("inner")).unwrap();
        assert_eq!(workspace_text(workspace.path(), "absolute"), None);
        assert_eq!(workspace_text(workspace.path(), "climbing"), None);
        assert_eq!(workspace_link(workspace.path(), "inner"), Some(PathBuf::from("real")));
        symlink(outside.path(), workspace.path().join("folder")).unwrap();
        symlink("x", outside.path().join("link")).unwrap();
        assert_eq!(workspace_link(workspace.path(), "folder/link"), None);
        assert_eq!(workspace_text(workspace.path(), "inner").as_deref(), Some("3.12"));
    }

    #[test]
    fn pipes_folders_large_files_and_other_encodings_count_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let large = folder.path().join("large");
        std::fs::write(&large, vec![b'a'; MAX_FILE_BYTES as usize + 1]).unwrap();
        let latin = folder.path().join("latin");
        std::fs::write(&latin, b"caf\xe9").unwrap();
        for path in [pipe.as_path(), folder.path(), &large, &latin, &folder.path().join("none")] {
            assert_eq!(text(path), None, "{}", path.display());
        }
    }
}
