//! Starting one program.
//!
//! By hand, not with `std::process::Command`: its `execvp` hands a file that is no program to `/bin/sh`, and it enters
//! the working directory by path, where this enters the folder that was resolved.

use std::{
    ffi::CString,
    io::Read,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
    pipe::PipeFlags,
    process::Pid,
};

/// What is started.
pub(crate) struct Start<'a> {
    /// The file to execute.
    pub(crate) file: CString,
    /// The arguments, with the program's name first.
    pub(crate) arguments: Vec<CString>,
    /// The variables, as `NAME=value`.
    pub(crate) environment: Vec<CString>,
    /// The working directory.
    pub(crate) directory: BorrowedFd<'a>,
}

/// What was started.
#[derive(Debug)]
pub(crate) struct Started {
    /// The process, which leads a session and a process group of its own.
    pub(crate) process: Pid,
    /// The reading end of its standard output; does not wait.
    pub(crate) stdout: OwnedFd,
    /// The reading end of its standard error; does not wait.
    pub(crate) stderr: OwnedFd,
}

/// Starts a program with standard input closed, output and error piped, and nothing else open. Signals are as the
/// kernel sets them for a new program.
///
/// # Errors
/// What the kernel said to the step that failed, `execve(2)` among them.
pub(crate) fn spawn(start: &Start<'_>) -> Result<Started, Errno> {
    let (stdout, stdout_child) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_child) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // Says which step failed: a successful execve closes it unwritten.
    let (report, report_child) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let stdin = empty_input()?;
    rustix::io::ioctl_fionbio(&stdout, true)?;
    rustix::io::ioctl_fionbio(&stderr, true)?;

    let arguments = pointers(&start.arguments);
    let environment = pointers(&start.environment);
    let child = Child {
        stdin: stdin.as_raw_fd(),
        stdout: stdout_child.as_raw_fd(),
        stderr: stderr_child.as_raw_fd(),
        report: report_child.as_raw_fd(),
        directory: start.directory.as_raw_fd(),
        file: start.file.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
    };
    // SAFETY: `fork` requires that the child of a program with several threads calls async-signal-safe functions only.
    // This program has one thread, and `Child::run` calls nothing else all the same.
    let process = match unsafe { libc::fork() } {
        -1 => return Err(last_error()),
        // SAFETY: this is the child, as `run` requires; each descriptor is held open by a variable above, and each
        // pointer points into `start`, `arguments` or `environment`, which the child has a copy of.
        0 => unsafe { child.run() },
        process => Pid::from_raw(process).ok_or(Errno::CHILD)?,
    };
    drop((stdout_child, stderr_child, report_child, stdin));

    let mut error = [0; 4];
    match std::fs::File::from(report).read(&mut error) {
        Ok(4) => Err(Errno::from_raw_os_error(i32::from_ne_bytes(error))),
        // A child that dies before it says anything is seen by its exit status.
        Ok(_) | Err(_) => Ok(Started { process, stdout, stderr }),
    }
}

/// An input that is at its end at once: `/dev/null`, or a pipe that nobody writes to where there is no `/dev`.
fn empty_input() -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .or_else(|_| rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map(|(reading, _)| reading))
}

/// The closing null pointer that `execve(2)` wants.
fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// All that the child needs between fork and exec: plain numbers and pointers, so that it allocates nothing.
struct Child {
    stdin: RawFd,
    stdout: RawFd,
    stderr: RawFd,
    report: RawFd,
    directory: RawFd,
    file: *const libc::c_char,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
}

impl Child {
    /// Becomes the program, or reports the error and exits.
    ///
    /// # Safety
    /// Only in a freshly forked child. The descriptors must be open and above 2; `file` must point to a NUL-terminated
    /// text, `arguments` and `environment` to null-terminated lists of such.
    unsafe fn run(&self) -> ! {
        // SAFETY: as for this function.
        unsafe { self.become_program() };
        let error = last_raw_error().to_ne_bytes();
        // SAFETY: `write` requires a readable buffer of the given length, which `error` is; `_exit` requires nothing.
        unsafe {
            libc::write(self.report, error.as_ptr().cast(), error.len());
            libc::_exit(127)
        }
    }

    /// Returns only when a step failed; its error is in `errno`.
    ///
    /// # Safety
    /// As for [`Child::run`].
    unsafe fn become_program(&self) {
        // SAFETY: these take plain numbers. The descriptors are open and above 2, as `run` requires, so no `dup2`
        // overwrites one that is still needed, and each copy is without the close-on-exec flag.
        unsafe {
            if libc::setsid() == -1
                || libc::dup2(self.stdin, 0) == -1
                || libc::dup2(self.stdout, 1) == -1
                || libc::dup2(self.stderr, 2) == -1
                || libc::fchdir(self.directory) == -1
            {
                return;
            }
            // Also what the launcher may have left open. Marked, not closed: `report` is among them.
            let all_above = (libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            if libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, all_above.0, all_above.1) == -1 {
                return;
            }
        }
        // Rust ignores SIGPIPE, this program SIGXFSZ, the launcher who knows what: an ignored signal stays ignored over
        // execve. Asked of the kernel, as the C library refuses the two signals that it keeps for itself. KILL and STOP
        // answer EINVAL.
        for signal in 1..=64 {
            // SAFETY: `rt_sigaction(2)` requires a readable `struct sigaction` of the kernel's, which is four words at
            // most on 64-bit machines; all zeroes is SIG_DFL with no flags. A wrong number is an error, no more.
            unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, [0_u64; 4].as_ptr(), ptr::null::<u64>(), 8_usize) };
        }
        // SAFETY: `sigemptyset` requires a set to write to and `sigprocmask` a set to read, which `none` is. All zeroes
        // is a valid `sigset_t`, a plain array of bits. `execve` requires what `run` requires of its pointers.
        unsafe {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) == -1 {
                return;
            }
            libc::execve(self.file, self.arguments, self.environment);
        }
    }
}

fn last_raw_error() -> i32 {
    // SAFETY: `__errno_location` returns a pointer to this thread's `errno`, always valid to read.
    unsafe { *libc::__errno_location() }
}

/// Watches for children that end: a descriptor that becomes readable.
pub(crate) fn child_signals() -> Result<OwnedFd, Errno> {
    // SAFETY: `sigemptyset`, `sigaddset` and `sigprocmask` require a set to write to or read, which `set` is; all
    // zeroes is a valid `sigset_t`. `signalfd` with -1 makes a new descriptor, which nothing else owns, so that
    // `from_raw_fd` may own it; -1 is handled before.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) == -1 {
            return Err(last_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd == -1 { Err(last_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Makes a write beyond the file size limit an error instead of the end of this program.
pub(crate) fn ignore_file_size_signal() {
    // SAFETY: `signal` requires a valid signal and handler, which SIGXFSZ and SIG_IGN are.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Ends every process of the pid namespace but this one. Only as its first process: elsewhere it would reach the host's.
pub(crate) fn end_all_others() {
    if rustix::process::getpid().is_init() {
        // SAFETY: `kill` takes plain numbers.
        unsafe { libc::kill(-1, libc::SIGKILL) };
    }
}

/// Forgets the signals that were waiting in `signals`.
pub(crate) fn drain(signals: &OwnedFd) {
    let mut buffer = [0; 1024];
    while rustix::io::read(signals.as_fd(), &mut buffer).is_ok_and(|count| count > 0) {}
}
