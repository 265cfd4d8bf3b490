//! The network namespace's only interface.

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
};
use std::os::fd::AsRawFd;

use super::process::last_errno;

/// Brings `lo` up, so that servers and clients inside can talk to each other. There is no other interface.
pub(super) fn raise_loopback() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: an all-zero ifreq is a valid value: it holds an array of characters and a union of plain numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq (netdevice(7)); the pointer is to a live one.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) } < 0 {
        return Err(last_errno());
    }
    Ok(())
}
