//! System calls by number, the names of their errors, and children to make them in.
//!
//! The C library would refuse or rewrite some of what is tried here, so calls go straight to the kernel.

use std::{
    ffi::{CStr, CString},
    fmt,
    io::{self, Read as _, Write as _},
    os::fd::{FromRawFd, OwnedFd},
    path::Path,
};

/// Seconds after which a child that is stuck is ended and its attempt reported as `SIGALRM`.
const PATIENCE_SECONDS: u32 = 10;

/// One argument of a system call.
#[derive(Debug)]
pub(crate) enum Argument<'a> {
    /// A number, flag or descriptor, or a null pointer.
    Number(usize),
    /// A path or name.
    Text(&'a CStr),
    /// Memory that the kernel reads.
    Input(&'a [u8]),
    /// Memory that the kernel writes.
    Room(&'a mut [u8]),
}

/// An error number of the kernel. Shown as its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

/// Makes a system call: `call!(libc::SYS_unshare, libc::CLONE_NEWUSER)`.
macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        $crate::kernel::system_call($number, &mut [$($crate::kernel::Argument::from($argument)),*])
    };
}
pub(crate) use call;

/// Makes a system call.
///
/// Safe for every call but those that take memory away from this process by number (`munmap`, `mremap`, `brk`), which
/// nobody passes here: each pointer is to memory that lives for as long as the call, as long as its slice is.
pub(crate) fn system_call(number: libc::c_long, arguments: &mut [Argument<'_>]) -> Result<usize, Errno> {
    let mut words = [0_usize; 6];
    for (word, argument) in words.iter_mut().zip(arguments) {
        *word = match argument {
            Argument::Number(number) => *number,
            Argument::Text(text) => text.as_ptr() as usize,
            Argument::Input(bytes) => bytes.as_ptr() as usize,
            Argument::Room(bytes) => bytes.as_mut_ptr() as usize,
        };
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: pointers among the words come from live slices, which the caller made as long as the call's contract says;
    // the calls of this program map no memory away (see above).
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(last_errno()) } else { Ok(result.cast_unsigned() as usize) }
}

/// The error of the last call of the C library.
pub(crate) fn last_errno() -> Errno {
    Errno(io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// `ok`, or the error's name.
pub(crate) fn said<T>(result: Result<T, Errno>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(errno) => errno.to_string(),
    }
}

/// `ok`, or the error's name, of an operation of the standard library.
pub(crate) fn said_io<T>(result: io::Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno(number).to_string()),
    }
}

/// A path as C text. Paths of this program hold no NUL.
pub(crate) fn c_path(path: impl AsRef<Path>) -> CString {
    use std::os::unix::ffi::OsStrExt as _;
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap_or_default()
}

/// Runs `attempt` in a child and returns what it said; else the name of the signal that ended it, or `exit N`.
pub(crate) fn in_child(attempt: impl FnOnce() -> String) -> String {
    let (mut reader, mut writer) = match io::pipe() {
        Ok(ends) => ends,
        Err(error) => return format!("no pipe: {error}"),
    };
    // SAFETY: this program is single-threaded wherever it forks, so the child may do what the parent may; it ends in
    // _exit and never returns into the parent's stack.
    let child = unsafe { libc::fork() };
    match child {
        -1 => format!("fork: {}", last_errno()),
        0 => {
            drop(reader);
            // SAFETY: takes a number.
            unsafe { libc::alarm(PATIENCE_SECONDS) };
            // The parent sees an empty answer if this fails.
            let _ = writer.write_all(attempt().as_bytes());
            exit_now(0)
        }
        child => {
            drop(writer);
            let status = wait_for(child);
            // After the child's end, so that what its own children hold open does not keep us: an answer fits the pipe.
            let mut answer = vec![0_u8; 65_536];
            let length = if readable(&reader) { reader.read(&mut answer).unwrap_or(0) } else { 0 };
            answer.truncate(length);
            if answer.is_empty() { ended(status) } else { String::from_utf8_lossy(&answer).into_owned() }
        }
    }
}

/// Whether a read would not wait.
pub(crate) fn readable(descriptor: &impl std::os::fd::AsRawFd) -> bool {
    wait_readable(descriptor, 0)
}

/// Waits at most `milliseconds` until a read would not wait.
pub(crate) fn wait_readable(descriptor: &impl std::os::fd::AsRawFd, milliseconds: i32) -> bool {
    let mut waited = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd, and a count of one.
    unsafe { libc::poll(&raw mut waited, 1, milliseconds) > 0 }
}

/// Ends the process at once: no destructors, no buffered output.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// Forks; `child` runs in the child, which then ends with the code it returns. Gives the child's id.
pub(crate) fn fork(child: impl FnOnce() -> i32) -> Result<i32, Errno> {
    // SAFETY: as in `in_child`.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => exit_now(child()),
        pid => Ok(pid),
    }
}

/// Waits for a child to end, and returns its wait status.
pub(crate) fn wait_for(child: i32) -> i32 {
    let mut status = 0;
    loop {
        // SAFETY: the status is a live c_int.
        let result = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if result >= 0 || last_errno().0 != libc::EINTR {
            return status;
        }
    }
}

/// A wait status in words.
pub(crate) fn ended(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        signal_name(libc::WTERMSIG(status))
    } else {
        format!("exit {}", libc::WEXITSTATUS(status))
    }
}

/// Takes a descriptor that a call just returned.
pub(crate) fn owned(descriptor: usize) -> OwnedFd {
    // SAFETY: called with the number of a descriptor that the kernel has just made for us.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(descriptor).unwrap_or(-1)) }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGALRM => "SIGALRM",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            libc::E2BIG => "E2BIG",
            libc::EACCES => "EACCES",
            libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
            libc::EAFNOSUPPORT => "EAFNOSUPPORT",
            libc::EAGAIN => "EAGAIN",
            libc::EBADF => "EBADF",
            libc::EBUSY => "EBUSY",
            libc::ECHILD => "ECHILD",
            libc::ECONNREFUSED => "ECONNREFUSED",
            libc::EDQUOT => "EDQUOT",
            libc::EEXIST => "EEXIST",
            libc::EFAULT => "EFAULT",
            libc::EFBIG => "EFBIG",
            libc::EHOSTUNREACH => "EHOSTUNREACH",
            libc::EINTR => "EINTR",
            libc::EINVAL => "EINVAL",
            libc::EIO => "EIO",
            libc::EISDIR => "EISDIR",
            libc::ELOOP => "ELOOP",
            libc::EMFILE => "EMFILE",
            libc::EMLINK => "EMLINK",
            libc::ENAMETOOLONG => "ENAMETOOLONG",
            libc::ENETUNREACH => "ENETUNREACH",
            libc::ENFILE => "ENFILE",
            libc::ENODEV => "ENODEV",
            libc::ENOENT => "ENOENT",
            libc::ENOEXEC => "ENOEXEC",
            libc::ENOKEY => "ENOKEY",
            libc::ENOMEM => "ENOMEM",
            libc::ENOSPC => "ENOSPC",
            libc::ENOSYS => "ENOSYS",
            libc::ENOTCONN => "ENOTCONN",
            libc::ENOTDIR => "ENOTDIR",
            libc::ENOTEMPTY => "ENOTEMPTY",
            libc::ENOTTY => "ENOTTY",
            libc::ENXIO => "ENXIO",
            libc::EOPNOTSUPP => "EOPNOTSUPP",
            libc::EOVERFLOW => "EOVERFLOW",
            libc::EPERM => "EPERM",
            libc::EPIPE => "EPIPE",
            libc::EPROTONOSUPPORT => "EPROTONOSUPPORT",
            libc::EROFS => "EROFS",
            libc::ESPIPE => "ESPIPE",
            libc::ESRCH => "ESRCH",
            libc::ESTALE => "ESTALE",
            libc::ETIMEDOUT => "ETIMEDOUT",
            libc::ETXTBSY => "ETXTBSY",
            libc::EUSERS => "EUSERS",
            libc::EXDEV => "EXDEV",
            other => return write!(formatter, "error {other}"),
        };
        formatter.write_str(name)
    }
}

impl<'a> From<&'a CStr> for Argument<'a> {
    fn from(text: &'a CStr) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a CString> for Argument<'a> {
    fn from(text: &'a CString) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Argument<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Input(bytes)
    }
}

impl<'a> From<&'a mut [u8]> for Argument<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self::Room(bytes)
    }
}

/// Numbers are passed as the kernel's own word: negative ones sign-extended.
macro_rules! number_arguments {
    ($($kind:ty),*) => {
        $(impl From<$kind> for Argument<'_> {
            fn from(number: $kind) -> Self {
                Self::Number(number as usize)
            }
        })*
    };
}
number_arguments!(i32, u32, i64, u64, usize);
