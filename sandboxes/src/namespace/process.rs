//! Starting the sandbox's first process, and its own small steps on the way to the guest.

use std::{
    convert::Infallible,
    ffi::{CStr, CString},
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
    sync::atomic::{AtomicI32, Ordering},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap},
    net::{RecvFlags, SendFlags},
    process::{Pid, Signal},
};

use super::{
    LONGEST_START,
    contain::{Containment, Facility, Failure, live},
};

/// Where the guest finds its pipe.
const CHANNEL_FD: RawFd = 3;
/// Where `execveat` finds the guest. Closed by it.
const GUEST_FD: RawFd = 4;
/// Where the last words go if `execveat` fails. Closed by it.
const SETUP_FD: RawFd = 5;

/// The namespaces that the first process is born into. The cgroup namespace comes later: its root is the cgroup at the
/// moment of its making, which the process enters after its birth.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// The child has our memory and we rest (`vfork(2)`); we get a handle of it.
const VFORK: libc::c_int = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;

/// `clone3(2)`: the child is born in the cgroup of version 2 that the arguments name. Linux 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Bytes of a child's stack: far more than the few arrays and calls of `contain.rs` need, in an unoptimised build too.
const STACK_BYTES: usize = 256 << 10;

/// Bytes below it that nothing may touch: 64 KiB, the largest page that Linux uses (arm64).
const GUARD_BYTES: usize = 64 << 10;

/// The stack that a child has until it becomes the guest, used by one after the other.
#[derive(Debug)]
pub(super) struct Stack {
    lowest: *mut libc::c_void,
}

/// The handle of a child that is on its way, for the first who takes it.
#[derive(Debug)]
pub(super) struct Birth {
    /// Its pidfd as the kernel wrote it, or [`NOBODY`].
    pidfd: AtomicI32,
}

/// No descriptor.
const NOBODY: i32 = -1;

// SAFETY: the mapping belongs to this value alone, and any thread may use and unmap it.
unsafe impl Send for Stack {}

impl Stack {
    /// Maps a stack with its guard.
    ///
    /// # Errors
    /// `mmap(2)`'s.
    pub(super) fn map() -> io::Result<Self> {
        let length = GUARD_BYTES + STACK_BYTES;
        // SAFETY: a new private mapping at an address that the kernel chooses touches nothing that exists, and the guard is
        // the first part of that very mapping.
        unsafe {
            let all = ProtFlags::READ | ProtFlags::WRITE;
            let stack = Self { lowest: mmap_anonymous(ptr::null_mut(), length, all, MapFlags::PRIVATE)? };
            mprotect(stack.lowest, GUARD_BYTES, MprotectFlags::empty())?;
            Ok(stack)
        }
    }

    /// Its highest address, where it begins. A multiple of the page, as the ABI's 16 bytes ask.
    fn top(&self) -> *mut libc::c_void {
        self.lowest.wrapping_byte_add(GUARD_BYTES + STACK_BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, and no child uses it: the thread that owns it waits for each child's end of use.
        let _ = unsafe { munmap(self.lowest, GUARD_BYTES + STACK_BYTES) };
    }
}

impl Birth {
    /// Of a child that is not there yet.
    pub(super) fn ahead() -> Self {
        Self { pidfd: AtomicI32::new(NOBODY) }
    }

    /// Takes the child's handle: for the first who asks after it was born.
    pub(super) fn take(&self) -> Option<OwnedFd> {
        match self.pidfd.swap(NOBODY, Ordering::AcqRel) {
            NOBODY => None,
            // SAFETY: the number is that of a descriptor that the kernel made for us (CLONE_PIDFD) and left open: that of a clone
            // that failed is forgotten before anybody asks. The swap gives it to one caller alone.
            pidfd => Some(unsafe { OwnedFd::from_raw_fd(pidfd) }),
        }
    }
}

/// The process that a pidfd stands for: the field `Pid` of its fdinfo, -1 when it was reaped (`pidfd_show_fdinfo`, fs/pidfs.c).
///
/// # Errors
/// When the file cannot be read, or the process is gone.
pub(super) fn pid_of(pidfd: BorrowedFd<'_>) -> io::Result<Pid> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<i32>().ok());
    let pid = pid.filter(|pid| *pid > 0).and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Clones the calling process into new namespaces; the child lives by `place` and never returns. `birth` is its handle,
/// which the child's first word tells others to take.
///
/// Returns when the child is the guest or gone. Until then it has the server's memory and a stack of its own, and the
/// calling thread rests (`vfork(2)`). With a copy of the memory instead, the server would pay for each page that it
/// touches after each start: that was a tenth of the time of reading a file, and more of a start's.
///
/// The calling thread must outlive the child: the child's death signal fires when that *thread* ends, not when the
/// process does (`prctl(2)`, PR_SET_PDEATHSIG). It must block all signals, so that no handler of the server runs in the child.
///
/// # Errors
/// `clone(2)`'s: EPERM or ENOSPC where user namespaces are off or used up.
pub(super) fn clone_into_namespaces(place: &mut Containment, stack: &Stack, birth: &Birth) -> Result<(), Errno> {
    let cloned = clone_where_it_belongs(place, stack, birth);
    if cloned.is_err() {
        // The kernel stores the number before its last checks (pids.max, a cgroup that was removed), and takes the descriptor
        // back when one of them fails (copy_process, kernel/fork.c).
        birth.pidfd.store(NOBODY, Ordering::Release);
    }
    cloned
}

fn clone_where_it_belongs(place: &mut Containment, stack: &Stack, birth: &Birth) -> Result<(), Errno> {
    let Some(birthplace) = place.cgroup.birthplace.take() else { return clone_here(place, stack, birth) };
    // Born there, the child has no door to go through.
    let doors = std::mem::take(&mut place.cgroup.doors);
    match clone_into_cgroup(&birthplace, place, stack, birth) {
        // The kernel is older than 5.3, or a container's filter cannot look into the call's arguments.
        Err(Errno::NOSYS) => {
            place.cgroup.doors = doors;
            clone_here(place, stack, birth)
        }
        result => result,
    }
}

/// A child's first function, on its own stack.
extern "C" fn begin(place: *mut libc::c_void) -> libc::c_int {
    // SAFETY: both ways of cloning pass a live Containment, which the waiting thread borrows for that long and nobody
    // changes.
    live(unsafe { &*place.cast::<Containment>() })
}

/// Clones into the server's own cgroups.
fn clone_here(place: &Containment, stack: &Stack, birth: &Birth) -> Result<(), Errno> {
    // SAFETY: `begin` gets the pointer that it expects. The stack's pointer is the highest address of a mapping that is this
    // thread's to give, and free: the clone before has returned, so the child before has no more use for it. The argument
    // after `begin`'s points at a live c_int, where the kernel stores the pidfd (CLONE_PIDFD). With CLONE_VFORK this thread
    // rests while the child has its memory, thread-local variables among it; what the child does in it `contain.rs` says.
    let pid = unsafe {
        libc::clone(
            begin,
            stack.top(),
            NAMESPACES | VFORK | libc::SIGCHLD,
            ptr::from_ref(place).cast_mut().cast(),
            birth.pidfd.as_ptr(),
        )
    };
    if pid < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Clones into a cgroup of version 2.
#[cfg(target_arch = "x86_64")]
fn clone_into_cgroup(folder: &OwnedFd, place: &Containment, stack: &Stack, birth: &Birth) -> Result<(), Errno> {
    // SAFETY: clone_args is made of integers alone, for which zero is a value: "not used" for each of them (clone3(2)).
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from((NAMESPACES | VFORK).cast_unsigned()) | CLONE_INTO_CGROUP;
    arguments.pidfd = birth.pidfd.as_ptr() as u64;
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    arguments.cgroup = u64::from(folder.as_raw_fd().cast_unsigned());
    arguments.stack = stack.top() as u64 - STACK_BYTES as u64;
    arguments.stack_size = STACK_BYTES as u64;
    let result: libc::c_long;
    // SAFETY: as in `clone_here`, of which this is the same call; the arguments live until it returns, and the size is that
    // of the structure. The C library has no function for it: the child comes out of the system call on its own stack, which
    // the kernel set to its aligned top, and goes to `begin` from there without touching this frame. `begin` never returns.
    // In this thread the call is an ordinary one, which changes rax, rcx, r11, the flags (preserves_flags is not given) and
    // memory; rdi, rsi, r12 and r13 are only read.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") ptr::from_ref(&arguments),
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") ptr::from_ref(place),
            in("r13") begin as extern "C" fn(*mut libc::c_void) -> libc::c_int,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    match i32::try_from(result) {
        Ok(error @ ..0) => Err(Errno::from_raw_os_error(-error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The same where there is no such code: the child goes through the door.
#[cfg(not(target_arch = "x86_64"))]
fn clone_into_cgroup(_: &OwnedFd, _: &Containment, _: &Stack, _: &Birth) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Tells the server that there is a child.
pub(super) fn say_born(setup: &OwnedFd) -> Result<(), Errno> {
    rustix::net::send(setup, &[0], SendFlags::NOSIGNAL).map(drop)
}

/// Waits until the server has written our id maps. `server` is a pidfd of the server.
///
/// The end of the setup socket does not tell that the server is gone: until `close_range` this child, and every other
/// that is being started, holds a copy of the server's end. Killed at this moment, a server left such children for good.
pub(super) fn wait_for_go(setup: &OwnedFd, server: &OwnedFd) -> Result<(), Errno> {
    let mut descriptors = [PollFd::new(setup, PollFlags::IN), PollFd::new(server, PollFlags::IN)];
    // Who gave up does not show either, for the same reason.
    let longest = Timespec { tv_sec: LONGEST_START.as_secs().cast_signed(), tv_nsec: 0 };
    loop {
        match rustix::event::poll(&mut descriptors, Some(&longest)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    if descriptors[0].revents().is_empty() {
        return Err(Errno::PIPE);
    }
    let mut byte = [0_u8; 1];
    match rustix::net::recv(setup, &mut byte, RecvFlags::empty())? {
        (1, _) => Ok(()),
        _ => Err(Errno::PIPE),
    }
}

/// Asks the kernel to kill us when the server's launching thread ends. `server` is a pidfd of the server.
pub(super) fn die_with_parent(server: &OwnedFd) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // A server that ended before that line sends no signal.
    let mut descriptors = [PollFd::new(server, PollFlags::IN)];
    match rustix::event::poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? {
        0 => Ok(()),
        _ => Err(Errno::PIPE),
    }
}

/// Leaves the server's session: no controlling terminal.
pub(super) fn new_session() -> Result<(), Errno> {
    rustix::process::setsid().map(drop)
}

/// Enters the sandbox's cgroups. They were opened by the server, whose right to move processes counts (`cgroups(7)`).
pub(super) fn enter_cgroups(doors: &[OwnedFd]) -> Result<(), Errno> {
    doors.iter().try_for_each(|door| rustix::io::write(door, b"0").map(drop))
}

/// Takes our cgroup as the root of all that is seen of cgroups.
pub(super) fn new_cgroup_namespace() -> Result<(), Errno> {
    // SAFETY: a new cgroup namespace changes only what this process and its children see of cgroups; unshare_unsafe is
    // unsafe because of CLONE_FILES, which is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }
}

/// Gives the sandbox a name of its own.
pub(super) fn set_host_name() -> Result<(), Errno> {
    rustix::system::sethostname(crate::root::HOST_NAME.as_bytes())
}

/// Sets `no_new_privs` (`prctl(2)`).
pub(super) fn no_new_privileges() -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)
}

/// Sends the view's upper folder to the server.
pub(super) fn hand_over(setup: &OwnedFd, folder: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let folders = [folder];
    if !control.push(rustix::net::SendAncillaryMessage::ScmRights(&folders)) {
        return Err(Errno::NOBUFS);
    }
    rustix::net::sendmsg(setup, &[io::IoSlice::new(&[0_u8; 12])], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Sends the server what failed.
pub(super) fn report(setup: &OwnedFd, failure: Failure) {
    let mut message = [0_u8; 12];
    message[..4].copy_from_slice(&(failure.facility as u32).to_ne_bytes());
    message[4..8].copy_from_slice(&failure.part.to_ne_bytes());
    message[8..].copy_from_slice(&failure.errno.to_ne_bytes());
    // Nobody listens any more if this fails, and the exit status says the rest.
    let _ = rustix::net::send(setup, &message, SendFlags::NOSIGNAL);
}

/// What a child said while it was being contained.
#[derive(Debug)]
pub(super) enum Word {
    /// It was born.
    Born,
    /// Here is the temporary file system.
    Temporary(OwnedFd),
    /// This failed.
    Failed(Failure),
    /// The guest was started, or the child is gone.
    Closed,
}

/// Receives what the child says next.
///
/// # Errors
/// `recvmsg(2)`'s, or `InvalidData` for a message that a child never sends.
pub(super) fn hear(setup: &OwnedFd) -> io::Result<Word> {
    let mut message = [0_u8; 12];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    // A signal of the server's own interrupts a wait with a timeout, whatever SA_RESTART says (signal(7)).
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(setup, &mut [io::IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let folder = control.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let number = |range: std::ops::Range<usize>| {
        let mut bytes = [0_u8; 4];
        bytes.copy_from_slice(&message[range]);
        u32::from_ne_bytes(bytes)
    };
    match (received.bytes, folder) {
        (0, _) => Ok(Word::Closed),
        (1, None) => Ok(Word::Born),
        (12, Some(folder)) => Ok(Word::Temporary(folder)),
        (12, None) => {
            let facility = Facility::ALL.into_iter().find(|facility| *facility as u32 == number(0..4));
            let facility = facility.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            Ok(Word::Failed(Failure { facility, part: number(4..8), errno: number(8..12).cast_signed() }))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Keeps `/dev/null` at 0, 1 and 2, the pipe at 3, and the guest and the setup socket at 4 and 5 until `execveat`.
/// Everything else is closed, so nothing of the server can leak (CVE-2024-21626 was such a leak).
pub(super) fn keep_only(channel: &OwnedFd, guest: RawFd, setup: &OwnedFd, null: &OwnedFd) -> Result<(), Errno> {
    // First out of the way of the final numbers, then down to them.
    let high = |fd: RawFd| -> Result<RawFd, Errno> {
        // SAFETY: F_DUPFD_CLOEXEC takes a number and makes a new descriptor; no memory is involved.
        let duplicate = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 64) };
        if duplicate < 0 { Err(last_errno()) } else { Ok(duplicate) }
    };
    let (channel, guest, setup) = (high(channel.as_raw_fd())?, high(guest)?, high(setup.as_raw_fd())?);
    let null = high(null.as_raw_fd())?;
    let place = |fd: RawFd, at: RawFd, flags: libc::c_int| -> Result<(), Errno> {
        // SAFETY: dup3 replaces the descriptor `at` of this process, which after the clone belongs to nobody else here.
        if unsafe { libc::dup3(fd, at, flags) } < 0 { Err(last_errno()) } else { Ok(()) }
    };
    for stream in 0..=2 {
        place(null, stream, 0)?;
    }
    place(channel, CHANNEL_FD, 0)?;
    place(guest, GUEST_FD, libc::O_CLOEXEC)?;
    place(setup, SETUP_FD, libc::O_CLOEXEC)?;
    // SAFETY: closes descriptors by number; none above SETUP_FD is used after this line.
    if unsafe {
        libc::syscall(libc::SYS_close_range, libc::c_long::from(SETUP_FD + 1), libc::c_long::from(u32::MAX), 0)
    } < 0
    {
        return Err(last_errno());
    }
    Ok(())
}

/// Becomes the guest.
pub(super) fn execute_guest(arguments: &[CString], environment: &[CString]) -> Result<Infallible, Errno> {
    const MOST: usize = 128;
    let mut argument_pointers = [ptr::null::<libc::c_char>(); MOST];
    let mut environment_pointers = [ptr::null::<libc::c_char>(); MOST];
    point_at(&mut argument_pointers, arguments)?;
    point_at(&mut environment_pointers, environment)?;
    let nothing: &CStr = c"";
    // SAFETY: the path is an empty C string with AT_EMPTY_PATH, so the descriptor names the program; both arrays are
    // NUL-terminated (point_at leaves at least one null at the end) and point at CStrings that outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            libc::c_long::from(GUEST_FD),
            nothing.as_ptr(),
            argument_pointers.as_ptr(),
            environment_pointers.as_ptr(),
            libc::c_long::from(libc::AT_EMPTY_PATH),
        );
    }
    Err(last_errno())
}

fn point_at(pointers: &mut [*const libc::c_char], strings: &[CString]) -> Result<(), Errno> {
    if strings.len() >= pointers.len() {
        return Err(Errno::TOOBIG);
    }
    for (pointer, string) in pointers.iter_mut().zip(strings) {
        *pointer = string.as_ptr();
    }
    Ok(())
}

/// Ends the child without running anything of the server's.
pub(super) fn end() -> ! {
    // SAFETY: _exit(2) takes a number and does not return.
    unsafe { libc::_exit(1) }
}

/// The last system call's error.
pub(super) fn last_errno() -> Errno {
    // SAFETY: __errno_location returns the address of this thread's errno, which is always readable.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Kills a first process, and with it all of its namespace, and waits until it is gone.
pub(super) fn kill_and_reap(pidfd: BorrowedFd<'_>) {
    kill(pidfd);
    let _ =
        rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), rustix::process::WaitIdOptions::EXITED);
}

/// Kills a first process, and with it all of its namespace.
pub(super) fn kill(pidfd: BorrowedFd<'_>) {
    // ESRCH: it ended by itself.
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn a_pidfd_tells_its_process_until_that_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        assert_eq!(pid_of(pidfd.as_fd()).unwrap(), pid);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(pid_of(pidfd.as_fd()).is_err());
    }

    #[test]
    fn a_handle_is_taken_once() {
        let birth = Birth::ahead();
        assert!(birth.take().is_none());
        let descriptor = rustix::io::dup(std::io::stderr()).unwrap();
        birth.pidfd.store(descriptor.into_raw_fd(), Ordering::Release);
        assert!(birth.take().is_some() && birth.take().is_none());
    }
}
