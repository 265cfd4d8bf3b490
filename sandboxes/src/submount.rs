//! Other file systems that are mounted inside a workspace.
//!
//! An overlay does not show them, so a call would work on a folder that looks empty; and an ordinary user cannot mount an
//! overlay over them at all. Both are worse than a refusal that names the place.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// The first mount point that lies below `workspace`, if there is one.
///
/// # Errors
/// When `/proc/self/mountinfo` cannot be read.
pub(crate) fn below(workspace: &Path) -> io::Result<Option<PathBuf>> {
    Ok(find(&fs::read("/proc/self/mountinfo")?, workspace))
}

/// Field 5 of a line is the mount point (`proc_pid_mountinfo(5)`).
fn find(mountinfo: &[u8], workspace: &Path) -> Option<PathBuf> {
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .find(|mount| mount != workspace && mount.starts_with(workspace))
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
        assert_eq!(find(mounts, Path::new("/work")), Some(PathBuf::from("/work/with space")));
        assert_eq!(find(mounts, Path::new("/workx/y")), None);
        assert_eq!(find(mounts, Path::new("/wor")), None);
    }
}
