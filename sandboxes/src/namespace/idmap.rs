//! Id-mapped mounts (`mount_setattr(2)`, MOUNT_ATTR_IDMAP): how a root server shows its own files to the unprivileged id
//! of a sandbox as that id's own, without changing them.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::Mutex,
};

use rustix::mount::OpenTreeFlags;

use super::{
    mount::{ID_MAP, MountAttributes, mount_setattr},
    process::kill_and_reap,
};

/// From which ids on disk, to which id in the sandbox: (user, group, sandbox).
type Mapping = (u32, u32, u32);

/// User namespaces that stand for a mapping, made once each.
#[derive(Debug, Default)]
pub(super) struct IdMaps {
    known: Mutex<BTreeMap<Mapping, OwnedFd>>,
}

impl IdMaps {
    /// Clones the mount of `folder` from there on, so that files of `owner` (user and group) appear as those of host id `agent`.
    ///
    /// Files of other owners appear as nobody's.
    ///
    /// # Errors
    /// EINVAL where the file system cannot map ids; EPERM without CAP_SYS_ADMIN.
    pub(super) fn clone_mapped(
        &self,
        folder: BorrowedFd<'_>,
        owner: (u32, u32),
        agent: u32,
        attributes: u64,
    ) -> io::Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let mount = rustix::mount::open_tree(folder, c"", flags)?;
        let mut known = self.known.lock().expect("no thread panics while it makes a namespace");
        let namespace = match known.entry((owner.0, owner.1, agent)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let mapping = *entry.key();
                entry.insert(namespace(mapping)?)
            }
        };
        let attributes = MountAttributes {
            set: attributes | ID_MAP,
            user_namespace: u64::try_from(namespace.as_raw_fd()).expect("a descriptor is not negative"),
            ..MountAttributes::default()
        };
        mount_setattr(&mount.as_fd(), c"", libc::AT_EMPTY_PATH, &attributes)?;
        Ok(mount)
    }
}

/// Makes a user namespace with the mapping. It lives as long as the descriptor.
fn namespace((user, group, agent): Mapping) -> io::Result<OwnedFd> {
    let mut pidfd: libc::c_int = -1;
    let parent = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: no memory is shared (no CLONE_VM), the third argument points at a live c_int, and the child makes system
    // calls only, so it needs no lock of another thread.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(libc::CLONE_NEWUSER | libc::CLONE_PIDFD | libc::SIGCHLD),
            std::ptr::null::<libc::c_void>(),
            std::ptr::from_mut(&mut pidfd),
            std::ptr::null::<libc::c_void>(),
            std::ptr::null::<libc::c_void>(),
        )
    };
    match pid {
        -1 => return Err(io::Error::last_os_error()),
        0 => loop {
            // So that nothing is left when the server is killed in this very moment.
            // SAFETY: PR_SET_PDEATHSIG and _exit(2) take a number; getppid(2) and pause(2) take nothing. The parent kills us.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // One that was gone before that line sends no signal.
                if libc::getppid() != parent {
                    libc::_exit(1);
                }
                libc::pause();
            }
        },
        _ => {}
    }
    // SAFETY: the kernel just made this descriptor for us.
    let pidfd = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(pidfd) };
    let made = (|| {
        std::fs::write(format!("/proc/{pid}/gid_map"), format!("{group} {agent} 1"))?;
        std::fs::write(format!("/proc/{pid}/uid_map"), format!("{user} {agent} 1"))?;
        File::open(format!("/proc/{pid}/ns/user")).map(OwnedFd::from)
    })();
    kill_and_reap(pidfd.as_fd());
    made
}
