//! A second fence around the file system (`landlock(7)`), for the case that the first has a hole.
//!
//! Raw system calls, because this runs after a clone where nothing may be allocated. Where the kernel has no Landlock the
//! fence is absent and said to be so; where it has one, a failure to raise it ends the sandbox.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use rustix::{
    fs::{FileType, Mode, OFlags},
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

/// Rights over a file that is no folder.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE;
/// Binding and connecting.
const TCP: u64 = 0b11;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct Attributes {
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
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Attributes>(), 0, 1) };
    i32::try_from(version).unwrap_or(0).max(0)
}

/// Raises the fence around the calling process and all that it will start.
pub(super) fn restrict(fence: &Fence) -> Result<(), Errno> {
    if fence.version == 0 {
        return Ok(());
    }
    let ruleset = Ruleset::of(fence.version, 0)?;
    let all = ruleset.all;
    ruleset.allow_path(c"/", all & READ)?;
    for folder in &fence.writable {
        ruleset.allow_path(folder, all & !(MAKE_CHARACTER | MAKE_BLOCK))?;
    }
    // Device nodes exist beforehand; they may be written, not made.
    ruleset.allow_path(c"/dev", all & (READ | WRITE_FILE | TRUNCATE | IOCTL_DEVICE))?;
    ruleset.allow_path(c"/proc", all & (READ | WRITE_FILE | TRUNCATE))?;
    enter(ruleset.descriptor.as_fd())
}

/// Restricts the calling thread, which has `no_new_privs` or CAP_SYS_ADMIN, to what `ruleset` allows.
pub(super) fn enter(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes a descriptor and flags.
    if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) } < 0 {
        return Err(last_errno());
    }
    Ok(())
}

/// Rules that are being collected. What is not allowed by one is refused.
#[derive(Debug)]
pub(super) struct Ruleset {
    descriptor: OwnedFd,
    /// Every file right that the kernel knows.
    all: u64,
}

impl Ruleset {
    /// One that allows nothing, TCP neither where the kernel can refuse it.
    pub(super) fn new(version: i32) -> Result<Self, Errno> {
        Self::of(version, if version >= 4 { TCP } else { 0 })
    }

    fn of(version: i32, network_rights: u64) -> Result<Self, Errno> {
        let all = all_rights(version);
        let attributes = Attributes { file_rights: all, network_rights, scopes: if version >= 6 { SCOPES } else { 0 } };
        // An older kernel knows a shorter structure (8 bytes before version 4, 16 before 6) and refuses unknown bytes only if
        // set.
        let size = match version {
            ..=3 => 8,
            4..=5 => 16,
            6.. => size_of::<Attributes>(),
        };
        // SAFETY: the pointer is to live Attributes of at least `size` bytes.
        let made = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size, 0) };
        let made = i32::try_from(made).map_err(|_| Errno::BADF)?;
        if made < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel just made this descriptor for us. It is closed on exec (landlock_create_ruleset(2)).
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(made) }, all })
    }

    /// Lets what is at and below `place` be read and executed.
    pub(super) fn allow_reading(&self, place: BorrowedFd<'_>) -> Result<(), Errno> {
        self.allow(place, READ)
    }

    /// Lets it be written and files be made there.
    pub(super) fn allow_writing(&self, place: BorrowedFd<'_>) -> Result<(), Errno> {
        self.allow(place, self.all & !(EXECUTE | MAKE_CHARACTER | MAKE_BLOCK | IOCTL_DEVICE))
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.descriptor
    }

    fn allow_path(&self, path: &CStr, rights: u64) -> Result<(), Errno> {
        match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(place) => self.allow(place.as_fd(), rights),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn allow(&self, place: BorrowedFd<'_>, rights: u64) -> Result<(), Errno> {
        let is_folder = FileType::from_raw_mode(rustix::fs::fstat(place)?.st_mode) == FileType::Directory;
        // Rights over folders are refused for anything else (landlock_add_rule(2), EINVAL).
        let rights = if is_folder { rights } else { rights & OF_FILES };
        let rule = PathRule { rights, folder: place.as_raw_fd() };
        let ruleset = self.descriptor.as_raw_fd();
        // SAFETY: LANDLOCK_RULE_PATH_BENEATH (1) takes a landlock_path_beneath_attr; `rule` is one, and its descriptor is open.
        let result = unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset, 1, &raw const rule, 0) };
        if result < 0 { Err(last_errno()) } else { Ok(()) }
    }
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
