//! A second fence around the file system (`landlock(7)`), for the case that the first has a hole.
//!
//! Raw system calls, because this runs after a clone where nothing may be allocated. Where the kernel has no Landlock the
//! fence is absent and said to be so; where it has one, a failure to raise it ends the sandbox.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::process::last_errno;

/// Rights of `linux/landlock.h` that only read.
const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEVICE: u64 = 1 << 15;
/// Making devices: never allowed anywhere.
const MAKE_CHARACTER: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
/// Scopes: abstract sockets and signals end at the fence.
const SCOPES: u64 = 0b11;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct Ruleset {
    file_rights: u64,
    network_rights: u64,
    scopes: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathRule {
    rights: u64,
    folder: i32,
}

/// What the fence allows.
#[derive(Debug)]
pub(super) struct Fence {
    /// The kernel's Landlock version; 0 where there is none.
    version: i32,
    /// Folders where files may be written and made. All else is read-only.
    writable: Vec<CString>,
}

impl Fence {
    /// A fence that lets `writable` be written, and everything be read and executed.
    pub(super) fn new(version: i32, writable: Vec<CString>) -> Self {
        Self { version, writable }
    }
}

/// The kernel's Landlock version; 0 where there is none.
pub(super) fn version() -> i32 {
    // SAFETY: with LANDLOCK_CREATE_RULESET_VERSION (1) the call takes a null pointer and size 0 (landlock_create_ruleset(2)).
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0, 1) };
    i32::try_from(version).unwrap_or(0).max(0)
}

/// Raises the fence around the calling process and all that it will start.
pub(super) fn restrict(fence: &Fence) -> Result<(), Errno> {
    if fence.version == 0 {
        return Ok(());
    }
    let all = all_rights(fence.version);
    let ruleset = Ruleset { file_rights: all, network_rights: 0, scopes: if fence.version >= 6 { SCOPES } else { 0 } };
    // An older kernel knows a shorter structure (8 bytes before version 4, 16 before 6) and refuses unknown bytes only if set.
    let size = match fence.version {
        ..=3 => 8,
        4..=5 => 16,
        6.. => size_of::<Ruleset>(),
    };
    // SAFETY: the pointer is to a live Ruleset of at least `size` bytes.
    let ruleset = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size, 0) };
    let ruleset = i32::try_from(ruleset).map_err(|_| Errno::BADF)?;
    if ruleset < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel just made this descriptor for us.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset) };
    allow(&ruleset, c"/", all & READ)?;
    for folder in &fence.writable {
        allow(&ruleset, folder, all & !(MAKE_CHARACTER | MAKE_BLOCK))?;
    }
    // Device nodes exist beforehand; they may be written, not made.
    allow(&ruleset, c"/dev", all & (READ | WRITE_FILE | TRUNCATE | IOCTL_DEVICE))?;
    allow(&ruleset, c"/proc", all & (READ | WRITE_FILE | TRUNCATE))?;
    // SAFETY: takes a descriptor and flags.
    if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) } < 0 {
        return Err(last_errno());
    }
    Ok(())
}

/// Every file right that Landlock `version` knows (`landlock(7)`, "Landlock features").
fn all_rights(version: i32) -> u64 {
    let count = match version {
        ..=1 => 13,
        2 => 14,
        3..=4 => 15,
        5.. => 16,
    };
    (1 << count) - 1
}

fn allow(ruleset: &OwnedFd, folder: &CStr, rights: u64) -> Result<(), Errno> {
    let folder = match rustix::fs::open(folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let rule = PathRule { rights, folder: folder.as_raw_fd() };
    // SAFETY: LANDLOCK_RULE_PATH_BENEATH (1) takes a landlock_path_beneath_attr; `rule` is one, and its descriptor is open.
    let result = unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), 1, &raw const rule, 0) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}
