//! A file system in a file: attached to a loop device (`loop(4)`) and mounted where nobody sees it.
//!
//! Nothing of it outlives its users, however they end. The device clears itself when its last user closes it, and the
//! mount is detached: it is in no mount table until a sandbox attaches it in its own namespace, and it goes with the
//! last descriptor and namespace that has it.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags},
};

/// `LOOP_CTL_GET_FREE` and `LOOP_CONFIGURE` (linux/loop.h).
const GET_FREE: libc::Ioctl = 0x4C82;
const CONFIGURE: libc::Ioctl = 0x4C0A;

/// `LO_FLAGS_READ_ONLY` and `LO_FLAGS_AUTOCLEAR` (linux/loop.h).
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;

/// How often a device is looked for: between being found free and being configured it may have become another's.
const TRIES: u32 = 64;

/// `struct loop_info64` (linux/loop.h).
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    real_device: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` (linux/loop.h).
#[repr(C)]
struct LoopConfig {
    descriptor: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// A file that is mounted: this mount, which nobody else gets, keeps the device and the file system.
#[derive(Debug)]
pub(crate) struct LoopMount {
    mount: OwnedFd,
    device: PathBuf,
    access: Access,
}

/// What may be done in a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    Read,
}

/// Why a file was not mounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoopMountError {
    /// There is no loop device to be had.
    #[error("failed to get a loop device from {control}")]
    Attach {
        /// The device that hands them out.
        control: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// What is in the file cannot be mounted.
    #[error("failed to mount the file system")]
    Mount(#[source] io::Error),
}

/// Mounts the ext4 file system in `file`, with devices and set-id bits of no effect. `control` is `/dev/loop-control`,
/// with the loop devices beside it.
///
/// The device keeps the open file, and with it a `flock(2)` that is held on it, until it is cleared.
///
/// # Errors
/// [`LoopMountError`]; the device is clear again.
pub(crate) fn mount_file(file: &File, control: &Path) -> Result<LoopMount, LoopMountError> {
    mount_with(file, control, Access::Write)
}

/// As [`mount_file`], to look at it: nothing in the file changes, whatever state its file system is in.
///
/// # Errors
/// [`LoopMountError`]; the device is clear again.
pub(crate) fn mount_file_to_read(file: &File, control: &Path) -> Result<LoopMount, LoopMountError> {
    mount_with(file, control, Access::Read)
}

fn mount_with(file: &File, control: &Path, access: Access) -> Result<LoopMount, LoopMountError> {
    let attach = |source| LoopMountError::Attach { control: control.to_path_buf(), source };
    let (opened, device) = attach_device(file, control, access).map_err(attach)?;
    let mount = mount_device(&device, access).map_err(LoopMountError::Mount);
    // From here on the mount, if there is one, is the device's only user.
    drop(opened);
    Ok(LoopMount { mount: mount?, device, access })
}

impl LoopMount {
    /// Opens the root of the file system for reading.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(crate) fn open_root(&self) -> io::Result<OwnedFd> {
        open_root(&self.mount)
    }

    /// Another mount of the same file system, to be given away: a mount that was attached once and went with its
    /// namespace cannot be attached again, and before Linux 6.15 a detached one cannot be cloned. The kernel finds the file
    /// system that it has on the device, so nothing is read from it.
    ///
    /// # Errors
    /// The kernel's answer; EBUSY when it has made the file system read-only.
    pub(crate) fn again(&self) -> io::Result<OwnedFd> {
        let mount = mount_device(&self.device, self.access)?;
        let devices = [&self.mount, &mount].map(|mount| rustix::fs::fstat(open_root(mount)?).map_err(io::Error::from));
        let [one, other] = devices;
        // A name in /dev is no proof of what is behind it.
        if one?.st_dev == other?.st_dev { Ok(mount) } else { Err(io::ErrorKind::StaleNetworkFileHandle.into()) }
    }
}

fn open_root(mount: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(mount, c".", flags, Mode::empty())?)
}

fn attach_device(file: &File, control: &Path, access: Access) -> io::Result<(File, PathBuf)> {
    let devices = control.parent().ok_or(io::ErrorKind::NotFound)?;
    let opened = File::options().read(true).write(true).open(control)?;
    let mut tried = 0;
    loop {
        // SAFETY: the descriptor is open, and LOOP_CTL_GET_FREE takes no argument.
        let number = unsafe { libc::ioctl(opened.as_raw_fd(), GET_FREE) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = devices.join(format!("loop{number}"));
        let device = File::options().read(true).write(true).open(&path)?;
        match configure(&device, file, access) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tried < TRIES => tried += 1,
            configured => return configured.map(|()| (device, path)),
        }
    }
}

fn configure(device: &File, file: &File, access: Access) -> io::Result<()> {
    let read_only = match access {
        Access::Write => 0,
        Access::Read => READ_ONLY,
    };
    let config = LoopConfig {
        descriptor: u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?,
        block_size: 0,
        info: LoopInfo {
            device: 0,
            inode: 0,
            real_device: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: AUTOCLEAR | read_only,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: the descriptor is open, and `config` is a live loop_config (repr(C), fields as in linux/loop.h) that the
    // kernel only reads.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, std::ptr::from_ref(&config)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn mount_device(path: &Path, access: Access) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(c"ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, c"source", path)?;
    rustix::mount::fsconfig_set_string(&context, c"errors", c"remount-ro")?;
    // What is deleted inside is given back to the host: the loop device punches a hole into the file.
    rustix::mount::fsconfig_set_flag(&context, c"discard")?;
    // It holds a cache, which a machine that loses power begins anew. Waiting for the disk would buy nothing.
    rustix::mount::fsconfig_set_flag(&context, c"nobarrier")?;
    // Otherwise a kernel thread fills the sparse file with zeroed inode tables.
    rustix::mount::fsconfig_set_flag(&context, c"noinit_itable")?;
    let mut attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOATIME;
    match access {
        Access::Write => {}
        Access::Read => {
            rustix::mount::fsconfig_set_flag(&context, c"ro")?;
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_reads_has_the_kernels_size() {
        // The sizes that linux/loop.h gives on 64-bit machines.
        assert_eq!((size_of::<LoopInfo>(), size_of::<LoopConfig>()), (232, 304));
    }

    #[test]
    fn a_machine_without_loop_devices_is_told_from_a_file_that_holds_no_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let file = tempfile::tempfile_in(folder.path()).unwrap();
        file.set_len(1 << 20).unwrap();
        let absent = mount_file(&file, &folder.path().join("loop-control"));
        assert!(matches!(absent, Err(LoopMountError::Attach { .. })), "{absent:?}");
        let empty = mount_file(&file, Path::new("/dev/loop-control"));
        match empty {
            Err(LoopMountError::Mount(_)) => assert!(rustix::process::geteuid().is_root()),
            Err(LoopMountError::Attach { .. }) => assert!(!rustix::process::geteuid().is_root(), "{empty:?}"),
            Ok(_) => panic!("nothing was mounted as a file system"),
        }
    }
}
