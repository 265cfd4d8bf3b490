//! The sandbox's file system: a list of sources and steps made before the clone, carried out after it.
//!
//! The new root is a tmpfs of ours. Everything of the host in it is a private clone of a mount, attached by descriptor,
//! so no host path is looked up once building has begun. Layers of an overlay are attached below a folder that is
//! detached again at the end: the overlay keeps them, and mountinfo shows only our short names for them.

use std::{
    ffi::{CStr, CString},
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd},
    sync::atomic::{AtomicI32, Ordering},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, XattrFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
        UnmountFlags,
    },
};

use super::process::{hand_over, last_errno};

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Default)]
pub(super) struct MountAttributes {
    pub(super) set: u64,
    pub(super) clear: u64,
    pub(super) propagation: u64,
    pub(super) user_namespace: u64,
}

/// `MOUNT_ATTR_*` of `mount_setattr(2)`.
pub(super) const READ_ONLY: u64 = 0x1;
pub(super) const NO_SETUID: u64 = 0x2;
pub(super) const NO_DEVICES: u64 = 0x4;
pub(super) const NO_EXECUTE: u64 = 0x8;
pub(super) const ID_MAP: u64 = 0x0010_0000;

/// What is attached: a mount that the server has cloned and mapped already, or a path that the child clones itself.
#[derive(Debug)]
pub(super) enum Source {
    /// A detached mount.
    Ready(OwnedFd),
    /// A path on the host that the child clones itself.
    Path {
        /// Where.
        path: CString,
        /// The `MOUNT_ATTR_*` that its clone gets.
        attributes: u64,
        /// The child's descriptor of the clone, or -1.
        opened: AtomicI32,
    },
}

/// One step of building. Places are relative to the new root.
#[derive(Debug)]
pub(super) enum Step {
    /// Makes a folder; one that is there is left.
    Folder(CString, u32),
    /// Makes a symbolic link `.1` that points to `.0`.
    Link(CString, CString),
    /// Writes a file.
    File(CString, Vec<u8>),
    /// Attaches source number `.0`.
    Attach(usize, CString),
    /// Mounts a tmpfs of at most `bytes` and `inodes`.
    Temporary { at: CString, bytes: CString, inodes: CString },
    /// Makes the folder `name` with these permissions, and shows it at `at` too.
    Part { name: CString, at: CString, mode: u32 },
    /// Shows the folder `below` of the mount at `mount`, made before, at `at` too. Its name was looked up long before: a link
    /// that the host has put there since is not followed, and fails the step.
    Again { mount: CString, below: CString, at: CString },
    /// Shows the folder `below` of the mount at `mount` as it is, over the same folder of the mount at `over`. The host may have
    /// moved it since it was found: where it is another one than `device` and `inode` say, or either place is none any more, it
    /// is left out, and `over` shows what it has.
    Plain { mount: CString, below: CString, over: CString, device: u64, inode: u64 },
    /// Mounts the new process namespace's proc.
    Processes(CString),
    /// Mounts the new ipc namespace's POSIX message queues.
    Queues(CString),
    /// Mounts an overlay; `data` names layers relative to the new root.
    Overlay { at: CString, data: CString, flags: u64 },
    /// Moves the volume that is mounted at `made` to `name` in `folder`, which is made if it is missing. The folder is part
    /// of the view, and so of what an agent wrote: no link is followed, and where the view has no such folder the volume
    /// is left out, with nothing put in its place.
    Settle { made: CString, folder: CString, name: CString },
    /// Sees whether a folder takes the attributes that overlayfs marks things with. Without them the kernel mounts an
    /// overlay all the same, in which replacing a folder fails.
    Attribute(CString),
    /// Sends the folder to the server.
    HandOver(CString),
    /// Takes a mount out of sight, and removes the folder it was on.
    Detach(CString),
    /// Puts a mount over itself that is read-only.
    Freeze(CString),
    /// Covers a file, if it is there, with the new root's `/dev/null`.
    Cover(CString),
}

impl Source {
    /// A path on the host, real and absolute.
    pub(super) fn path(path: CString, attributes: u64) -> Self {
        Self::Path { path, attributes, opened: AtomicI32::new(-1) }
    }

    /// What is attached, in words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Ready(_) => "a prepared mount".to_owned(),
            Self::Path { path, .. } => format!("the host's {}", path.to_string_lossy()),
        }
    }
}

impl Step {
    /// What the step shows, in words.
    pub(super) fn words(&self) -> String {
        let (what, at) = match self {
            Self::Folder(at, _) => ("the folder", at),
            Self::Link(_, at) => ("the link", at),
            Self::File(at, _) => ("the file", at),
            Self::Attach(_, at) => ("what is mounted at", at),
            Self::Temporary { at, .. } => ("the temporary file system", at),
            Self::Part { at, .. } => ("the temporary folder", at),
            Self::Again { at, .. } => ("the folder", at),
            Self::Plain { below, .. } => ("the workspace's own folder", below),
            Self::Processes(at) => ("the process list", at),
            Self::Queues(at) => ("the message queues", at),
            Self::Overlay { at, .. } => ("the overlay", at),
            Self::Settle { folder, .. } => ("the scratch volume in", folder),
            Self::Attribute(at) => ("the marks of the layer for writes", at),
            Self::HandOver(at) => ("what is handed over of", at),
            Self::Detach(at) => ("what is below", at),
            Self::Freeze(at) => ("the read-only", at),
            Self::Cover(at) => ("the cover of", at),
        };
        format!("{what} /{}", at.to_string_lossy())
    }
}

/// The whole file system.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) sources: Vec<Source>,
    /// Done before the new root is entered.
    pub(super) steps: Vec<Step>,
    /// Done inside the new root, after the last write to `/proc/sys`.
    pub(super) last_steps: Vec<Step>,
    /// The steps that make the workspace's view; another way may be tried when one of them is refused.
    pub(super) view_steps: Range<usize>,
}

/// Keeps mounts made here from appearing anywhere else.
pub(super) fn leave_propagation() -> Result<(), Errno> {
    rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

impl Tree {
    /// Clones the sources that are paths. Fails with the index of the source, counted after the steps.
    pub(super) fn open_sources(&self) -> Result<(), (u32, Errno)> {
        let steps = self.steps.len() + self.last_steps.len();
        for (index, source) in self.sources.iter().enumerate() {
            if let Source::Path { path, attributes, opened } = source {
                let number = |errno| (u32::try_from(steps + index).unwrap_or(u32::MAX), errno);
                let mount = clone_mount(path, *attributes).map_err(number)?;
                // The table of descriptors is this child's own, and is closed before it becomes the guest.
                opened.store(mount.into_raw_fd(), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Builds the new root and makes it the working directory.
    pub(super) fn build(&self, setup: &OwnedFd) -> Result<(), (u32, Errno)> {
        let root = temporary(c"16m", c"65536").map_err(|errno| (u32::MAX, errno))?;
        // On top of the present root: no path of the host is needed for it, and the sources are open already.
        attach(&root, c"/").map_err(|errno| (u32::MAX, errno))?;
        rustix::process::fchdir(&root).map_err(|errno| (u32::MAX, errno))?;
        self.perform(&self.steps, 0, setup)
    }

    /// The steps inside the new root, and its own change to read-only.
    pub(super) fn finish(&self) -> Result<(), (u32, Errno)> {
        for (index, step) in self.last_steps.iter().enumerate() {
            let number = u32::try_from(self.steps.len() + index).unwrap_or(u32::MAX);
            self.perform_one(step, None).map_err(|errno| (number, errno))?;
        }
        set_attributes(&CWD, c"/", 0, READ_ONLY | NO_SETUID | NO_DEVICES).map_err(|errno| (u32::MAX, errno))
    }

    fn perform(&self, steps: &[Step], first: usize, setup: &OwnedFd) -> Result<(), (u32, Errno)> {
        for (index, step) in steps.iter().enumerate() {
            let number = u32::try_from(first + index).unwrap_or(u32::MAX);
            self.perform_one(step, Some(setup)).map_err(|errno| (number, errno))?;
        }
        Ok(())
    }

    fn perform_one(&self, step: &Step, setup: Option<&OwnedFd>) -> Result<(), Errno> {
        match step {
            Step::Folder(at, mode) => match rustix::fs::mkdirat(CWD, at.as_c_str(), Mode::from_raw_mode(*mode)) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(errno) => Err(errno),
            },
            Step::Link(target, at) => rustix::fs::symlinkat(target.as_c_str(), CWD, at.as_c_str()),
            Step::File(at, contents) => write_file(at, contents),
            Step::Attach(source, at) => attach(self.source(*source)?, at),
            Step::Temporary { at, bytes, inodes } => attach(&temporary(bytes, inodes)?, at),
            Step::Part { name, at, mode } => {
                rustix::fs::mkdirat(CWD, name.as_c_str(), Mode::RWXU)?;
                // The umask took its part of a mode given to mkdir.
                rustix::fs::chmod(name.as_c_str(), Mode::from_raw_mode(*mode))?;
                rustix::mount::mount_bind(name.as_c_str(), at.as_c_str())
            }
            Step::Again { mount, below, at } => show_again(mount, below, at),
            Step::Plain { mount, below, over, device, inode } => show_plainly(mount, over, below, (*device, *inode)),
            Step::Processes(at) => kernel_files(c"proc", at),
            // Without it POSIX message queues still work by themselves, but Landlock refuses them: its rules need a place.
            Step::Queues(at) => kernel_files(c"mqueue", at),
            Step::Overlay { at, data, flags } => rustix::mount::mount(
                c"overlay",
                at.as_c_str(),
                c"overlay",
                MountFlags::from_bits_retain(u32::try_from(*flags).map_err(|_| Errno::INVAL)?),
                data.as_c_str(),
            ),
            Step::Settle { made, folder, name } => settle(made, folder, name),
            Step::Attribute(at) => {
                rustix::fs::setxattr(at.as_c_str(), c"user.overlay.opaque", b"n", XattrFlags::empty())?;
                rustix::fs::removexattr(at.as_c_str(), c"user.overlay.opaque")
            }
            Step::HandOver(at) => {
                let setup = setup.ok_or(Errno::INVAL)?;
                let folder = rustix::fs::open(
                    at.as_c_str(),
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                    Mode::empty(),
                )?;
                hand_over(setup, folder.as_fd())
            }
            Step::Detach(at) => {
                rustix::mount::unmount(at.as_c_str(), UnmountFlags::DETACH)?;
                rustix::fs::unlinkat(CWD, at.as_c_str(), AtFlags::REMOVEDIR)
            }
            Step::Freeze(at) => match clone_mount(at, READ_ONLY | NO_SETUID | NO_DEVICES | NO_EXECUTE) {
                Ok(clone) => attach(&clone, at),
                // This kernel does not have the folder.
                Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(errno),
            },
            // One call where a clone, its attributes and its attaching are three: there are many of these.
            Step::Cover(at) => match rustix::mount::mount_bind(c"dev/null", at.as_c_str()) {
                // This kernel does not have the file.
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(errno),
            },
        }
    }

    fn source(&self, index: usize) -> Result<BorrowedFd<'_>, Errno> {
        match self.sources.get(index) {
            Some(Source::Ready(mount)) => Ok(mount.as_fd()),
            Some(Source::Path { opened, .. }) => match opened.load(Ordering::Relaxed) {
                -1 => Err(Errno::BADF),
                // SAFETY: not -1, so a descriptor that `open_sources` opened in this child; nothing closes it before the steps
                // are done.
                descriptor => Ok(unsafe { BorrowedFd::borrow_raw(descriptor) }),
            },
            None => Err(Errno::BADF),
        }
    }
}

/// Enters the tree that `build` made, and lets go of the host's.
pub(super) fn enter_new_root() -> Result<(), Errno> {
    // pivot_root(2), "Notes": with both paths `.` the old root ends up stacked on the new one, and the unmount takes it away.
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Clones the mount at `path` with all that is mounted below it, as `open_tree(2)` does, and sets `attributes` on it.
///
/// The path is a real one, found before: a link that the host has put on the way since is not followed (ELOOP).
///
/// Recursive always: a less privileged mount namespace may not uncover what a mount of the host hides, and so may not
/// clone a tree without its submounts (EINVAL).
pub(super) fn clone_mount(path: &CStr, attributes: u64) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let mount = rustix::mount::open_tree(
        &place,
        c"",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH,
    )?;
    set_attributes(&mount, c"", libc::AT_EMPTY_PATH | libc::AT_RECURSIVE, attributes)?;
    Ok(mount)
}

/// Sets attributes of a mount (`mount_setattr(2)`).
pub(super) fn set_attributes<D: AsFd>(
    folder: &D,
    path: &CStr,
    flags: libc::c_int,
    attributes: u64,
) -> Result<(), Errno> {
    let attributes = MountAttributes { set: attributes, ..MountAttributes::default() };
    mount_setattr(folder, path, flags, &attributes)
}

/// `mount_setattr(2)`.
pub(super) fn mount_setattr<D: AsFd>(
    folder: &D,
    path: &CStr,
    flags: libc::c_int,
    attributes: &MountAttributes,
) -> Result<(), Errno> {
    // SAFETY: `path` is a C string, `attributes` is a live mount_attr (repr(C), four u64 as in linux/mount.h), and its
    // size is passed with it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            folder.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

fn attach<D: AsFd>(mount: D, at: &CStr) -> Result<(), Errno> {
    rustix::mount::move_mount(mount, c"", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn show_again(mount: &CStr, below: &CStr, at: &CStr) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mount = rustix::fs::open(mount, flags, Mode::empty())?;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let folder = rustix::fs::openat2(&mount, below, flags, Mode::empty(), resolve)?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    // With the attributes of the mount, which NO_XDEV did not let us leave.
    attach(rustix::mount::open_tree(&folder, c"", clone)?, at)
}

fn show_plainly(mount: &CStr, over: &CStr, below: &CStr, identity: (u64, u64)) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let open = |at: &CStr| {
        let top = rustix::fs::open(at, flags, Mode::empty())?;
        match rustix::fs::openat2(&top, below, flags, Mode::empty(), resolve) {
            Ok(folder) => Ok(Some(folder)),
            // AGAIN: something was moved meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::ACCESS | Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno),
        }
    };
    let Some(folder) = open(mount)? else { return Ok(()) };
    let status = rustix::fs::fstat(&folder)?;
    if (status.st_dev as u64, status.st_ino as u64) != identity {
        return Ok(());
    }
    let Some(place) = open(over)? else { return Ok(()) };
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    // With the attributes of the mount, which NO_XDEV did not let us leave.
    let clone = match rustix::mount::open_tree(&folder, c"", clone) {
        // Something is mounted below it, which may not be uncovered.
        Err(Errno::INVAL) => return Ok(()),
        clone => clone?,
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    match rustix::mount::move_mount(&clone, c"", &place, c"", flags) {
        // It was deleted meanwhile.
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn settle(made: &CStr, folder: &CStr, name: &CStr) -> Result<(), Errno> {
    let open = |from: BorrowedFd<'_>, path: &CStr| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat2(from, path, flags, Mode::empty(), resolve) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    };
    let Some(folder) = open(CWD, folder)? else { return Ok(()) };
    match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let Some(point) = open(folder.as_fd(), name)? else { return Ok(()) };
    rustix::mount::move_mount(CWD, made, &point, c"", MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH)
}

fn temporary(bytes: &CStr, inodes: &CStr) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, c"size", bytes)?;
    rustix::mount::fsconfig_set_string(&context, c"nr_inodes", inodes)?;
    rustix::mount::fsconfig_set_string(&context, c"mode", c"0755")?;
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )
}

/// Mounts one of the kernel's own file systems.
fn kernel_files(kind: &CStr, at: &CStr) -> Result<(), Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let mount = rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    attach(&mount, at)
}

fn write_file(at: &CStr, contents: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::open(
        at,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
    )?;
    let mut rest = contents;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}
