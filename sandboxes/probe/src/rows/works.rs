//! Ordinary things that must work: threads, processes, memory, sockets on loopback, timers, debuggers.

use std::{
    ffi::CString,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket},
    os::{
        fd::AsRawFd as _,
        linux::net::SocketAddrExt as _,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    process::Command,
    sync::{Arc, Barrier, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::{
    kernel::{Errno, call, ended, fork, in_child, last_errno, owned, said, said_io, wait_for, wait_readable},
    record::Record,
};

/// Threads that meet, wait for each other and give results.
pub(super) fn threads(record: &mut Record, _: &[String]) {
    let barrier = Arc::new(Barrier::new(16));
    let sum = Arc::new(Mutex::new(0_u64));
    let threads: Vec<_> = (0..16_u64)
        .map(|number| {
            let (barrier, sum) = (Arc::clone(&barrier), Arc::clone(&sum));
            thread::spawn(move || {
                barrier.wait();
                *sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += number;
            })
        })
        .collect();
    let joined = threads.into_iter().filter_map(|thread| thread.join().ok()).count();
    record.note("threads joined", joined);
    record.note("sum", sum.lock().map_or(0, |sum| *sum));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(7));
    record.note("channel", receiver.recv_timeout(Duration::from_secs(5)).unwrap_or(0));
    record.note("cores", if thread::available_parallelism().is_ok() { "known" } else { "unknown" });
    record.attempt("rseq and membarrier", || said(call!(libc::SYS_membarrier, 0, 0, 0)));
    record.attempt("setpriority 5", || said(call!(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, 5)));
    record.attempt("sched_setaffinity", || {
        let mut mask = [0_u8; 128];
        match call!(libc::SYS_sched_getaffinity, 0, mask.len(), mask.as_mut_slice()) {
            Ok(_) => said(call!(libc::SYS_sched_setaffinity, 0, mask.len(), mask.as_slice())),
            Err(errno) => errno.to_string(),
        }
    });
    record.attempt("sched_setscheduler(BATCH)", || {
        said(call!(libc::SYS_sched_setscheduler, 0, libc::SCHED_BATCH, [0_u8; 4].as_slice()))
    });
}

/// Processes: started, piped, signalled, waited for.
pub(super) fn subprocesses(record: &mut Record, _: &[String]) {
    let output = Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).output();
    record.note(
        "a shell",
        match output {
            Ok(output) => format!(
                "{} {} {}",
                String::from_utf8_lossy(&output.stdout).trim(),
                String::from_utf8_lossy(&output.stderr).trim(),
                output.status.code().unwrap_or(-1)
            ),
            Err(error) => said_io::<()>(Err(error)),
        },
    );
    let piped = Command::new("sh").args(["-c", "seq 1000 | sort -rn | head -1 | tr -d '\\n'"]).output();
    record.note(
        "a pipeline",
        piped.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).into_owned()),
    );
    let many = (0..50).filter(|_| Command::new("/bin/true").status().is_ok_and(|status| status.success())).count();
    record.note("50 programs", many);
    let stopped = fork(|| {
        thread::sleep(Duration::from_secs(30));
        0
    });
    record.note(
        "kill a child",
        stopped.map_or_else(
            |errno| errno.to_string(),
            |child| {
                let killed = said(call!(libc::SYS_kill, child, libc::SIGTERM));
                format!("{killed}, {}", ended(wait_for(child)))
            },
        ),
    );
    record.attempt("a group of one's own, killed whole", || {
        let Ok(child) = fork(|| {
            let _ = call!(libc::SYS_setpgid, 0, 0);
            thread::sleep(Duration::from_secs(30));
            0
        }) else {
            return "no child".to_owned();
        };
        let _ = call!(libc::SYS_setpgid, child, child);
        let killed = said(call!(libc::SYS_kill, -i64::from(child), libc::SIGKILL));
        format!("{killed}, {}", ended(wait_for(child)))
    });
    record.attempt("a session of one's own", || said(call!(libc::SYS_setsid)));
    record.attempt("pidfd", || {
        let Ok(child) = fork(|| 0) else { return "no child".to_owned() };
        let result = call!(libc::SYS_pidfd_open, child, 0).map(owned);
        let ended = match &result {
            Ok(descriptor) => wait_readable(descriptor, 5000),
            Err(_) => false,
        };
        wait_for(child);
        if ended { "ok".to_owned() } else { said(result) }
    });
    record.attempt("a subreaper", || said(call!(libc::SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)));
}

/// A debugger of its own children, by the older way and by the newer.
pub(super) fn debugger(record: &mut Record, _: &[String]) {
    record.attempt("PTRACE_TRACEME", || {
        let child = fork(|| {
            let _ = call!(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0);
            let _ = call!(libc::SYS_kill, std::process::id(), libc::SIGSTOP);
            7
        });
        let Ok(child) = child else { return "no child".to_owned() };
        let stopped = libc::WIFSTOPPED(wait_for(child));
        let mut registers = [0_u8; 512];
        let vector = vector_of(&mut registers);
        // NT_PRSTATUS: the general registers.
        let read = said(call!(libc::SYS_ptrace, libc::PTRACE_GETREGSET, child, 1, vector.as_slice()));
        let options = said(call!(libc::SYS_ptrace, libc::PTRACE_SETOPTIONS, child, 0, libc::PTRACE_O_EXITKILL));
        let continued = said(call!(libc::SYS_ptrace, libc::PTRACE_CONT, child, 0, 0));
        format!(
            "stopped {stopped}, registers {read}, options {options}, continue {continued}, {}",
            ended(wait_for(child))
        )
    });
    record.attempt("PTRACE_SEIZE", || {
        let Ok(child) = fork(|| {
            thread::sleep(Duration::from_secs(20));
            0
        }) else {
            return "no child".to_owned();
        };
        let seized = said(call!(libc::SYS_ptrace, libc::PTRACE_SEIZE, child, 0, 0));
        let interrupted = said(call!(libc::SYS_ptrace, libc::PTRACE_INTERRUPT, child, 0, 0));
        let stopped = libc::WIFSTOPPED(wait_for(child));
        let memory = said_io(std::fs::File::open(format!("/proc/{child}/mem")));
        let _ = call!(libc::SYS_kill, child, libc::SIGKILL);
        format!("seize {seized}, interrupt {interrupted}, stopped {stopped}, memory {memory}")
    });
}

/// `struct iovec` of a buffer, as bytes.
fn vector_of(buffer: &mut [u8]) -> [u8; 16] {
    let mut vector = [0_u8; 16];
    vector[..8].copy_from_slice(&(buffer.as_mut_ptr() as usize).to_ne_bytes());
    vector[8..].copy_from_slice(&buffer.len().to_ne_bytes());
    vector
}

fn map(bytes: usize, protection: i32, flags: i32) -> Result<usize, Errno> {
    call!(libc::SYS_mmap, 0, bytes, protection, flags, -1, 0)
}

/// What allocators, garbage collectors and just-in-time compilers do with memory.
pub(super) fn memory(record: &mut Record, _: &[String]) {
    const SIZE: usize = 4 << 20;
    let (read_write, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    for (name, advice) in [
        ("DONTNEED", libc::MADV_DONTNEED),
        ("FREE", libc::MADV_FREE),
        ("HUGEPAGE", libc::MADV_HUGEPAGE),
        ("NOHUGEPAGE", libc::MADV_NOHUGEPAGE),
        ("DONTDUMP", libc::MADV_DONTDUMP),
        ("DONTFORK", libc::MADV_DONTFORK),
        ("POPULATE_WRITE", 23),
        ("COLD", 20),
    ] {
        record.attempt(format!("madvise {name}"), || {
            said(map(SIZE, read_write, private).and_then(|address| call!(libc::SYS_madvise, address, SIZE, advice)))
        });
    }
    record.attempt("reserve 64 GiB", || said(map(64 << 30, libc::PROT_NONE, private | libc::MAP_NORESERVE)));
    // What address sanitizer does: its shadow is 16 TiB of addresses.
    record.attempt("reserve 16 TiB", || said(map(16 << 40, libc::PROT_NONE, private | libc::MAP_NORESERVE)));
    record.attempt("mremap", || {
        said(
            map(SIZE, read_write, private)
                .and_then(|address| call!(libc::SYS_mremap, address, SIZE, SIZE * 2, libc::MREMAP_MAYMOVE)),
        )
    });
    record.attempt("write, then execute", || {
        said(
            map(4096, read_write, private)
                .and_then(|address| call!(libc::SYS_mprotect, address, 4096, libc::PROT_READ | libc::PROT_EXEC)),
        )
    });
    record.attempt("writable and executable at once", || said(map(4096, read_write | libc::PROT_EXEC, private)));
    record.attempt("mlock a page", || {
        said(map(4096, read_write, private).and_then(|address| call!(libc::SYS_mlock, address, 4096)))
    });
    record.attempt("mincore", || {
        let mut pages = [0_u8; 1];
        said(
            map(4096, read_write, private)
                .and_then(|address| call!(libc::SYS_mincore, address, 4096, pages.as_mut_slice())),
        )
    });
    record.attempt("memory policy", || {
        let mut mode = [0_u8; 4];
        said(call!(libc::SYS_get_mempolicy, mode.as_mut_slice(), 0, 0, 0, 0))
    });
    record.attempt("memfd, shared and sealed", || {
        const ALLOW_SEALING: u32 = 2;
        let Ok(descriptor) = call!(libc::SYS_memfd_create, c"shared", ALLOW_SEALING) else {
            return "no memfd".to_owned();
        };
        let _ = call!(libc::SYS_ftruncate, descriptor, 4096);
        let mapped = call!(libc::SYS_mmap, 0, 4096, read_write, libc::MAP_SHARED, descriptor, 0);
        format!("{} {}", said(mapped), said(call!(libc::SYS_fcntl, descriptor, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK)))
    });
}

/// Shared memory and semaphores between processes: POSIX, System V, message queues.
pub(super) fn shared_memory(record: &mut Record, _: &[String]) {
    record.note("shm_open, shared with a child", posix_memory());
    record.note("a named semaphore", named_semaphore());
    record.note(
        "a process-shared semaphore",
        in_child(|| {
            let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let Ok(address) = map(4096, libc::PROT_READ | libc::PROT_WRITE, shared) else {
                return "not mapped".to_owned();
            };
            let semaphore = address as *mut libc::sem_t;
            // SAFETY: the mapping is zeroed, writable, aligned to a page and large enough for a sem_t; it lives until exit.
            unsafe {
                if libc::sem_init(semaphore, 1, 0) < 0 {
                    return last_errno().to_string();
                }
                let Ok(child) = fork(|| libc::sem_post(semaphore)) else { return "no child".to_owned() };
                let waited = libc::sem_wait(semaphore);
                wait_for(child);
                if waited == 0 { "ok".to_owned() } else { last_errno().to_string() }
            }
        }),
    );
    record.attempt("System V memory", || {
        let segment = call!(libc::SYS_shmget, libc::IPC_PRIVATE, 65_536, libc::IPC_CREAT | 0o600);
        said(segment.and_then(|segment| {
            let address = call!(libc::SYS_shmat, segment, 0, 0)?;
            call!(libc::SYS_shmctl, segment, libc::IPC_RMID, 0)?;
            call!(libc::SYS_shmdt, address)
        }))
    });
    record.attempt("System V semaphore", || {
        let set = call!(libc::SYS_semget, libc::IPC_PRIVATE, 1, libc::IPC_CREAT | 0o600);
        // struct sembuf: number 0, operation 1, no flags.
        let operation = [0_u8, 0, 1, 0, 0, 0];
        said(set.and_then(|set| {
            call!(libc::SYS_semop, set, operation.as_slice(), 1)?;
            call!(libc::SYS_semctl, set, 0, libc::IPC_RMID, 0)
        }))
    });
    record.attempt("System V message queue", || {
        let queue = call!(libc::SYS_msgget, libc::IPC_PRIVATE, libc::IPC_CREAT | 0o600);
        let message = [1_u8, 0, 0, 0, 0, 0, 0, 0, b'x'];
        said(queue.and_then(|queue| {
            call!(libc::SYS_msgsnd, queue, message.as_slice(), 1, 0)?;
            call!(libc::SYS_msgctl, queue, libc::IPC_RMID, 0)
        }))
    });
    record.attempt("POSIX message queue", || {
        said(call!(libc::SYS_mq_open, c"ordinary", libc::O_CREAT | libc::O_RDWR, 0o600, 0).and_then(|queue| {
            call!(libc::SYS_mq_timedsend, queue, b"x".as_slice(), 1, 0, 0)?;
            call!(libc::SYS_mq_unlink, c"ordinary")
        }))
    });
}

fn posix_memory() -> String {
    let name = CString::new("/cofferdam-probe").unwrap_or_default();
    // SAFETY: a live C string, and numbers.
    let descriptor = unsafe { libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600) };
    if descriptor < 0 {
        return last_errno().to_string();
    }
    // SAFETY: as above.
    unsafe { libc::shm_unlink(name.as_ptr()) };
    if let Err(errno) = call!(libc::SYS_ftruncate, descriptor, 4096) {
        return errno.to_string();
    }
    let mapped = call!(libc::SYS_mmap, 0, 4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, descriptor, 0);
    let address = match mapped {
        Ok(address) => address as *mut u8,
        Err(errno) => return errno.to_string(),
    };
    let child = fork(|| {
        // SAFETY: the mapping is 4096 writable bytes, and the parent waits before it reads.
        unsafe { address.write_volatile(42) };
        0
    });
    let Ok(child) = child else { return "no child".to_owned() };
    wait_for(child);
    // SAFETY: as above; the child has ended.
    if unsafe { address.read_volatile() } == 42 { "ok".to_owned() } else { "not shared".to_owned() }
}

fn named_semaphore() -> String {
    let name = CString::new("/cofferdam-probe").unwrap_or_default();
    // SAFETY: a live C string; the mode and value are passed as sem_open(3) asks with O_CREAT.
    let semaphore = unsafe { libc::sem_open(name.as_ptr(), libc::O_CREAT, 0o600_u32, 1_u32) };
    if semaphore == libc::SEM_FAILED {
        return last_errno().to_string();
    }
    // SAFETY: sem_open gave the semaphore; the name is a live C string.
    let result = unsafe {
        let result = libc::sem_wait(semaphore) | libc::sem_post(semaphore) | libc::sem_close(semaphore);
        libc::sem_unlink(name.as_ptr());
        result
    };
    if result == 0 { "ok".to_owned() } else { last_errno().to_string() }
}

/// Servers and clients on loopback, and names.
pub(super) fn loopback(record: &mut Record, _: &[String]) {
    record.note("TCP over IPv4", said_io(tcp(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))));
    record.note("TCP over IPv6", said_io(tcp(TcpListener::bind((Ipv6Addr::LOCALHOST, 0)))));
    record.note("TCP on every address", said_io(tcp(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))));
    record.note("TCP by name", said_io(tcp(TcpListener::bind(("localhost", 0)))));
    let datagram = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|one| {
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        one.send_to(b"x", other.local_addr()?)?;
        other.set_read_timeout(Some(Duration::from_secs(5)))?;
        other.recv(&mut [0_u8; 1])
    });
    record.note("UDP", said_io(datagram));
    let mut names: Vec<String> = ("localhost", 80)
        .to_socket_addrs()
        .map(|addresses| addresses.map(|address| address.ip().to_string()).collect())
        .unwrap_or_default();
    names.sort();
    names.dedup();
    record.note("localhost", names.join(" "));
    let before = Instant::now();
    let unknown = ("name.invalid", 80).to_socket_addrs().is_err();
    record.note(
        "a name that is not there",
        if unknown && before.elapsed() < Duration::from_secs(2) { "fails at once" } else { "hangs" },
    );
    let before = Instant::now();
    // TEST-NET-1 (RFC 5737): nobody is there, and no packet can leave.
    let outside = TcpStream::connect_timeout(&([192, 0, 2, 1], 80).into(), Duration::from_secs(3));
    let quick = before.elapsed() < Duration::from_secs(1);
    record.note("an address outside", if quick { said_io(outside) } else { "hangs".to_owned() });
    record.note("interfaces", interfaces());
}

fn tcp(listener: std::io::Result<TcpListener>) -> std::io::Result<()> {
    let listener = listener?;
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let server = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"hello")
    });
    let mut text = String::new();
    TcpStream::connect(address)?.read_to_string(&mut text)?;
    server.join().map_err(|_| std::io::Error::other("the server panicked"))??;
    if text == "hello" { Ok(()) } else { Err(std::io::Error::other("wrong answer")) }
}

/// Names of interfaces, by the netlink socket that `getifaddrs(3)` opens.
fn interfaces() -> String {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: stores a pointer to a list in a live variable.
    if unsafe { libc::getifaddrs(&raw mut list) } < 0 {
        return last_errno().to_string();
    }
    let mut names = std::collections::BTreeSet::new();
    let mut next = list;
    // SAFETY: the list is well-formed and lives until freeifaddrs; each name is a C string in it.
    unsafe {
        while let Some(entry) = next.as_ref() {
            names.insert(std::ffi::CStr::from_ptr(entry.ifa_name).to_string_lossy().into_owned());
            next = entry.ifa_next;
        }
        libc::freeifaddrs(list);
    }
    names.into_iter().collect::<Vec<_>>().join(" ")
}

/// Unix sockets by path, by abstract name, and descriptors sent over them.
pub(super) fn unix_sockets(record: &mut Record, _: &[String]) {
    for path in ["./ordinary.sock", "/tmp/ordinary.sock"] {
        record.note(
            format!("at {path}"),
            said_io(UnixListener::bind(path).and_then(|listener| {
                let mut client = UnixStream::connect(path)?;
                let (mut server, _) = listener.accept()?;
                client.write_all(b"x")?;
                server.read_exact(&mut [0_u8; 1])
            })),
        );
    }
    let address = std::os::unix::net::SocketAddr::from_abstract_name("ordinary");
    record.note(
        "abstract",
        said_io(address.and_then(|address| {
            let listener = UnixListener::bind_addr(&address)?;
            UnixStream::connect_addr(&address)?;
            listener.accept().map(drop)
        })),
    );
    record.note(
        "datagrams",
        said_io(UnixDatagram::pair().and_then(|(one, other)| {
            one.send(b"x")?;
            other.recv(&mut [0_u8; 1])
        })),
    );
    record.note(
        "a descriptor sent",
        said_io(UnixStream::pair().and_then(|(one, other)| {
            send_descriptor(&one, one.as_raw_fd())?;
            receive_descriptor(&other)
        })),
    );
}

const CONTROL_BYTES: usize = 64;

fn send_descriptor(socket: &UnixStream, descriptor: i32) -> std::io::Result<()> {
    let mut byte = [0_u8; 1];
    let mut vector = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = [0_u64; CONTROL_BYTES / 8];
    // SAFETY: an all-zero msghdr is valid; its pointers are set to live buffers with their lengths. CMSG_FIRSTHDR points
    // into `control`, which is aligned and large enough for one descriptor.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(descriptor);
        libc::sendmsg(socket.as_raw_fd(), &raw const message, 0)
    };
    if sent < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

fn receive_descriptor(socket: &UnixStream) -> std::io::Result<()> {
    let mut byte = [0_u8; 1];
    let mut vector = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = [0_u64; CONTROL_BYTES / 8];
    // SAFETY: as in `send_descriptor`; recvmsg writes within the lengths given.
    let (received, control_bytes) = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES;
        (libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC), message.msg_controllen)
    };
    if received < 0 {
        return Err(std::io::Error::last_os_error());
    }
    if control_bytes > 0 { Ok(()) } else { Err(std::io::Error::other("no descriptor came")) }
}

/// Timers, events and the descriptors of them.
pub(super) fn timers(record: &mut Record, _: &[String]) {
    record.attempt("timerfd", || {
        let timer = match call!(libc::SYS_timerfd_create, libc::CLOCK_MONOTONIC, 0) {
            Ok(timer) => owned(timer),
            Err(errno) => return errno.to_string(),
        };
        // struct itimerspec: no interval, 20 ms from now.
        let mut time = [0_u8; 32];
        time[24..].copy_from_slice(&20_000_000_u64.to_ne_bytes());
        let set = call!(libc::SYS_timerfd_settime, timer.as_raw_fd(), 0, time.as_slice(), 0);
        if wait_readable(&timer, 5000) { "ok".to_owned() } else { said(set) }
    });
    record.attempt("timer_create and a signal", || {
        let mut timer = [0_u8; 8];
        said(call!(libc::SYS_timer_create, libc::CLOCK_MONOTONIC, 0, timer.as_mut_slice()))
    });
    record.attempt("alarm", || {
        // SAFETY: takes a number; the signal's default ends this child.
        unsafe { libc::alarm(1) };
        thread::sleep(Duration::from_secs(5));
        "no signal".to_owned()
    });
    record.attempt("signalfd", || {
        let mask = (1_u64 << (libc::SIGUSR1 - 1)).to_ne_bytes();
        let _ = call!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, mask.as_slice(), 0, 8);
        let signals = match call!(libc::SYS_signalfd4, -1, mask.as_slice(), 8, 0) {
            Ok(signals) => owned(signals),
            Err(errno) => return errno.to_string(),
        };
        let _ = call!(libc::SYS_kill, std::process::id(), libc::SIGUSR1);
        if wait_readable(&signals, 5000) { "ok".to_owned() } else { "no signal".to_owned() }
    });
    record.attempt("epoll and eventfd", || {
        said(call!(libc::SYS_epoll_create1, 0).and_then(|epoll| {
            let event = call!(libc::SYS_eventfd2, 1, 0)?;
            // struct epoll_event: EPOLLIN, data.
            let wanted = [1_u8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
            call!(libc::SYS_epoll_ctl, epoll, libc::EPOLL_CTL_ADD, event, wanted.as_slice())?;
            let mut got = [0_u8; 12];
            let number = call!(libc::SYS_epoll_pwait, epoll, got.as_mut_slice(), 1, 5000, 0, 8)?;
            if number == 1 { Ok(number) } else { Err(Errno(libc::ETIMEDOUT)) }
        }))
    });
    let before = Instant::now();
    thread::sleep(Duration::from_millis(30));
    record.note("sleep", if before.elapsed() < Duration::from_secs(2) { "ok" } else { "too long" });
}
