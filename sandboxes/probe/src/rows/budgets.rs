//! Bombs: memory, disk, kernel objects, output. Each stops by itself far below what would harm a machine whose
//! sandbox does not stop it.

use std::{
    fs,
    io::{self, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    kernel::{Errno, call, fork, owned, said, said_io},
    record::{Record, announce},
};

const MEBIBYTE: usize = 1 << 20;

/// P37: takes memory of one kind. Arguments: kind, MiB at most.
pub(super) fn memory(record: &mut Record, arguments: &[String]) {
    let [kind, most] = arguments else { return };
    let most: usize = most.parse().unwrap_or(64);
    outlive_large_files();
    let (taken, result) = match kind.as_str() {
        "heap" => heap(most),
        "children" => children(most),
        "mlock" => locked(most),
        "huge" => huge(most),
        "memfd" => memory_files(most),
        "sysv" => system_v(most),
        "shm" => fill_in_parts(Path::new("/dev/shm"), most),
        "tmp" => fill_in_parts(Path::new("/tmp"), most),
        "pipes" => pipes(most),
        "sockets" => sockets(most),
        _ => (0, "no such kind".to_owned()),
    };
    announce("taken");
    // Long enough for a watcher to look, short enough for a test.
    thread::sleep(Duration::from_millis(900));
    record.note("result", result);
    record.note("MiB taken", taken);
}

/// Makes a write beyond the file size limit an error instead of the end.
fn outlive_large_files() {
    // SAFETY: sets a signal's disposition to SIG_IGN; no handler of ours is involved.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

fn heap(most: usize) -> (usize, String) {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for taken in 0..most {
        let mut some = Vec::new();
        if some.try_reserve_exact(MEBIBYTE).is_err() {
            return (taken, "ENOMEM".to_owned());
        }
        some.resize(MEBIBYTE, 1_u8);
        all.push(some);
    }
    announce("taken");
    thread::sleep(Duration::from_millis(900));
    (all.len(), "not refused".to_owned())
}

/// The sum over processes, none of which is large.
fn children(most: usize) -> (usize, String) {
    const EACH: usize = 32;
    let mut started = 0;
    for _ in 0..most / EACH {
        let child = fork(|| {
            let memory = vec![1_u8; EACH * MEBIBYTE];
            thread::sleep(Duration::from_secs(20));
            i32::from(memory[0])
        });
        match child {
            Ok(_) => started += EACH,
            Err(errno) => return (started, errno.to_string()),
        }
    }
    thread::sleep(Duration::from_millis(900));
    (started, "not refused".to_owned())
}

fn map(bytes: usize, flags: i32) -> Result<usize, Errno> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    call!(libc::SYS_mmap, 0, bytes, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags, -1, 0)
}

fn locked(most: usize) -> (usize, String) {
    for taken in 0..most {
        let result = map(MEBIBYTE, 0).and_then(|address| call!(libc::SYS_mlock, address, MEBIBYTE));
        if let Err(errno) = result {
            return (taken, errno.to_string());
        }
    }
    (most, "not refused".to_owned())
}

fn huge(most: usize) -> (usize, String) {
    for taken in 0..most / 2 {
        if let Err(errno) = map(2 * MEBIBYTE, libc::MAP_HUGETLB | libc::MAP_POPULATE) {
            return (taken * 2, errno.to_string());
        }
    }
    (most, "not refused".to_owned())
}

/// Files in memory that no process maps: nothing of them shows in any process's resident size.
fn memory_files(most: usize) -> (usize, String) {
    const EACH: usize = 16;
    let block = vec![1_u8; MEBIBYTE];
    let mut files = Vec::new();
    for taken in (0..most).step_by(EACH) {
        let mut file = match call!(libc::SYS_memfd_create, c"memory", 0) {
            Ok(descriptor) => fs::File::from(owned(descriptor)),
            Err(errno) => return (taken, errno.to_string()),
        };
        for _ in 0..EACH {
            if let Err(error) = file.write_all(&block) {
                return (taken, said_io::<()>(Err(error)));
            }
        }
        files.push(file);
    }
    announce("taken");
    thread::sleep(Duration::from_millis(900));
    (files.len() * EACH, "not refused".to_owned())
}

/// System V segments: filled, then let go of, but not deleted.
fn system_v(most: usize) -> (usize, String) {
    const EACH: usize = 32 * MEBIBYTE;
    let mut taken = 0;
    while taken < most {
        let segment = match call!(libc::SYS_shmget, libc::IPC_PRIVATE, EACH, libc::IPC_CREAT | 0o600) {
            Ok(segment) => segment,
            Err(errno) => return (taken, errno.to_string()),
        };
        let Ok(address) = call!(libc::SYS_shmat, segment, 0, 0) else { return (taken, "not attached".to_owned()) };
        // SAFETY: shmat has just attached EACH bytes there, writable, and nothing else refers to them.
        unsafe { std::ptr::write_bytes(address as *mut u8, 1, EACH) };
        let _ = call!(libc::SYS_shmdt, address);
        taken += EACH / MEBIBYTE;
    }
    announce("taken");
    thread::sleep(Duration::from_millis(900));
    (taken, "not refused".to_owned())
}

/// Fills one file. The file stays.
fn fill(path: &Path, most: usize) -> (usize, String) {
    let block = vec![1_u8; MEBIBYTE];
    let mut file = match fs::File::create(path) {
        Ok(file) => file,
        Err(error) => return (0, said_io::<()>(Err(error))),
    };
    for taken in 0..most {
        if let Err(error) = file.write_all(&block) {
            return (taken, said_io::<()>(Err(error)));
        }
    }
    (most, "not refused".to_owned())
}

/// Pipes with all that they can hold: kernel memory.
fn pipes(most: usize) -> (usize, String) {
    let mut kept: Vec<(io::PipeReader, io::PipeWriter)> = Vec::new();
    let mut bytes = 0;
    while bytes < most * MEBIBYTE {
        let (reader, mut writer) = match io::pipe() {
            Ok(ends) => ends,
            Err(error) => return (bytes / MEBIBYTE, said_io::<()>(Err(error))),
        };
        let _ = call!(libc::SYS_fcntl, writer.as_raw_fd(), libc::F_SETPIPE_SZ, MEBIBYTE);
        let _ = call!(libc::SYS_fcntl, writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
        while let Ok(written) = writer.write(&[1_u8; 4096]) {
            bytes += written;
        }
        kept.push((reader, writer));
    }
    (bytes / MEBIBYTE, "not refused".to_owned())
}

/// Sockets with full buffers: kernel memory.
fn sockets(most: usize) -> (usize, String) {
    use std::os::unix::net::UnixStream;
    let mut kept: Vec<(UnixStream, UnixStream)> = Vec::new();
    let mut bytes = 0;
    while bytes < most * MEBIBYTE {
        let (mut one, other) = match UnixStream::pair() {
            Ok(ends) => ends,
            Err(error) => return (bytes / MEBIBYTE, said_io::<()>(Err(error))),
        };
        let _ = one.set_nonblocking(true);
        while let Ok(written) = one.write(&[1_u8; 65_536]) {
            bytes += written;
        }
        kept.push((one, other));
    }
    (bytes / MEBIBYTE, "not refused".to_owned())
}

/// P38: fills a folder's disk. Arguments: kind, folder, most (MiB, files or levels).
pub(super) fn disk(record: &mut Record, arguments: &[String]) {
    let [kind, folder, most] = arguments else { return };
    let most: usize = most.parse().unwrap_or(64);
    let folder = Path::new(folder);
    outlive_large_files();
    let (taken, result) = match kind.as_str() {
        "bytes" => fill_in_parts(folder, most),
        "inodes" => empty_files(folder, most),
        "depth" => nest(folder, most),
        "allocate" => allocate(folder, most),
        _ => (0, "no such kind".to_owned()),
    };
    announce("filled");
    thread::sleep(Duration::from_millis(600));
    record.note("result", result);
    record.note("taken", taken);
}

/// Files of 8 MiB, so that a bound on one file's size is not what holds.
fn fill_in_parts(folder: &Path, most: usize) -> (usize, String) {
    const EACH: usize = 8;
    let mut sum = 0;
    while sum < most {
        let (taken, result) = fill(&folder.join(format!("fill-{sum}")), EACH);
        sum += taken;
        if result != "not refused" {
            return (sum, result);
        }
    }
    (sum, "not refused".to_owned())
}

fn empty_files(folder: &Path, most: usize) -> (usize, String) {
    let folder = folder.join("many");
    if let Err(error) = fs::create_dir(&folder) {
        return (0, said_io::<()>(Err(error)));
    }
    for number in 0..most {
        if let Err(error) = fs::File::create(folder.join(number.to_string())) {
            return (number, said_io::<()>(Err(error)));
        }
    }
    (most, "not refused".to_owned())
}

fn nest(folder: &Path, most: usize) -> (usize, String) {
    if let Err(error) = std::env::set_current_dir(folder) {
        return (0, said_io::<()>(Err(error)));
    }
    for level in 0..most {
        if let Err(error) = fs::create_dir("n").and_then(|()| std::env::set_current_dir("n")) {
            return (level, said_io::<()>(Err(error)));
        }
    }
    (most, "not refused".to_owned())
}

fn allocate(folder: &Path, most: usize) -> (usize, String) {
    let file = match fs::File::create(folder.join("allocated")) {
        Ok(file) => file,
        Err(error) => return (0, said_io::<()>(Err(error))),
    };
    let result = call!(libc::SYS_fallocate, file.as_raw_fd(), 0, 0, most * MEBIBYTE);
    (if result.is_ok() { most } else { 0 }, said(result))
}

/// P39: takes one kind of kernel object until refused, then holds all for as long as the harness needs to look.
pub(super) fn kernel_objects(record: &mut Record, kinds: &[String]) {
    for kind in kinds {
        // In a child each, so that the descriptors of one do not stand in another's way.
        let child = fork(|| {
            let (held, result) = match kind.as_str() {
                "descriptors" => hold(|| call!(libc::SYS_openat, libc::AT_FDCWD, c"/dev/null", libc::O_RDONLY)),
                "inotify" => hold(|| call!(libc::SYS_inotify_init1, 0)),
                "epoll" => hold(|| call!(libc::SYS_epoll_create1, 0)),
                "eventfd" => hold(|| call!(libc::SYS_eventfd2, 0, 0)),
                "timers" => hold_numbers(4096, |_| {
                    let mut timer = [0_u8; 8];
                    call!(libc::SYS_timer_create, libc::CLOCK_MONOTONIC, 0, timer.as_mut_slice())
                }),
                "signals" => {
                    let _ = block_all_signals();
                    hold_numbers(200_000, |_| {
                        let mut information = [0_u8; 128];
                        information[0] = 34;
                        information[8..12].copy_from_slice(&(-1_i32).to_ne_bytes());
                        call!(libc::SYS_rt_sigqueueinfo, std::process::id(), 34, information.as_slice())
                    })
                }
                "aio" => hold_numbers(4096, |_| {
                    let mut context = [0_u8; 8];
                    call!(libc::SYS_io_setup, 4096, context.as_mut_slice())
                }),
                "queues" => hold_numbers(4096, |number| {
                    let name = std::ffi::CString::new(format!("q{number}")).unwrap_or_default();
                    call!(libc::SYS_mq_open, &name, libc::O_CREAT | libc::O_RDWR, 0o600, 0)
                }),
                "pipes" => {
                    let (bytes, result) = pipes(512);
                    (bytes, result)
                }
                "locks" => locks(),
                _ => (0, "no such kind".to_owned()),
            };
            announce(&format!("{kind} {result} {}", if held > 0 { "some" } else { "none" }));
            thread::sleep(Duration::from_secs(30));
            0
        });
        if let Err(errno) = child {
            announce(&format!("{kind} fork {errno}"));
        }
    }
    // The harness ends the sandbox, or this comes to an end by itself.
    thread::sleep(Duration::from_secs(30));
    record.note("held", "to the end");
}

/// Makes descriptors until refused, and keeps them.
fn hold(make: impl Fn() -> Result<usize, Errno>) -> (usize, String) {
    let mut held: Vec<OwnedFd> = Vec::new();
    for _ in 0..100_000 {
        match make() {
            Ok(descriptor) => held.push(owned(descriptor)),
            Err(errno) => {
                let number = held.len();
                // Kept open until this child ends.
                std::mem::forget(held);
                return (number, errno.to_string());
            }
        }
    }
    (held.len(), "not refused".to_owned())
}

/// Makes objects that are no descriptors until refused.
fn hold_numbers(most: usize, make: impl Fn(usize) -> Result<usize, Errno>) -> (usize, String) {
    for number in 0..most {
        if let Err(errno) = make(number) {
            return (number, errno.to_string());
        }
    }
    (most, "not refused".to_owned())
}

fn block_all_signals() -> Result<usize, Errno> {
    let all = [0xff_u8; 8];
    call!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, all.as_slice(), 0, all.len())
}

/// Byte-range locks, each of which is an object of the kernel.
fn locks() -> (usize, String) {
    let Ok(file) = fs::File::create("/tmp/locked") else { return (0, "no file".to_owned()) };
    let result = hold_numbers(100_000, |number| {
        // struct flock: type, whence, (pad), start, length, pid.
        let mut lock = [0_u8; 32];
        lock[..2].copy_from_slice(&(libc::F_WRLCK as i16).to_ne_bytes());
        lock[8..16].copy_from_slice(&(number as u64 * 2).to_ne_bytes());
        lock[16..24].copy_from_slice(&1_u64.to_ne_bytes());
        call!(libc::SYS_fcntl, file.as_raw_fd(), libc::F_SETLK, lock.as_slice())
    });
    std::mem::forget(file);
    result
}

/// P40 to P42: writes to its outputs. Arguments: what, MiB.
pub(super) fn output(_: &mut Record, arguments: &[String]) {
    let [what, amount] = arguments else { return };
    let amount: usize = amount.parse().unwrap_or(1);
    let block = match what.as_str() {
        "flood" => vec![b'x'; MEBIBYTE],
        "lines" => b"0123456789abcde\n".repeat(MEBIBYTE / 16),
        "binary" => (0..=255_u8).cycle().take(MEBIBYTE).collect(),
        _ => Vec::new(),
    };
    let (mut out, mut errors) = (io::stdout().lock(), io::stderr().lock());
    for _ in 0..amount {
        if out.write_all(&block).is_err() || errors.write_all(&block).is_err() {
            return;
        }
    }
    let _ = out.flush();
}

/// Bytes that a terminal, a log or a protocol would take for its own.
pub(super) const TRICKS: &[u8] =
    b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\x1b]52;c;cGxhbnRlZA==\x07\x1b]0;title\x07\x1b]8;;http://x\x1b\\\xe2\x80\xae\xff\xfe\0\r\n";

/// P41, P42: writes protocol frames and control sequences to every descriptor there is.
pub(super) fn tricks(record: &mut Record, _: &[String]) {
    for descriptor in 3..32 {
        let result = call!(libc::SYS_write, descriptor, TRICKS, TRICKS.len());
        if result != Err(Errno(libc::EBADF)) {
            record.note(format!("descriptor {descriptor}"), said(result));
        }
    }
    let mut out = io::stdout().lock();
    let _ = out.write_all(TRICKS).and_then(|()| out.flush());
}

/// Whether a file can be made and how large it is: for rows that look from a second program of the same sandbox.
pub(super) fn sizes(record: &mut Record, paths: &[String]) {
    for path in paths.iter().map(PathBuf::from) {
        record.note(
            path.display().to_string(),
            fs::metadata(&path).map_or_else(|error| said_io::<()>(Err(error)), |m| m.len().to_string()),
        );
    }
}
