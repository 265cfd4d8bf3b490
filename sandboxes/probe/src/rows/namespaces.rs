//! Namespaces, mounts and privileges: what could undo the sandbox from within.

use std::{
    ffi::CStr,
    fs,
    io::Read as _,
    os::fd::AsRawFd as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    kernel::{call, ended, exit_now, owned, said, said_io, wait_for},
    record::Record,
};

/// Every namespace, its flag (`namespaces(7)`) and its name below `/proc/PID/ns`.
const NAMESPACES: [(&str, i32, &str); 8] = [
    ("NEWUSER", libc::CLONE_NEWUSER, "user"),
    ("NEWNS", libc::CLONE_NEWNS, "mnt"),
    ("NEWPID", libc::CLONE_NEWPID, "pid"),
    ("NEWNET", libc::CLONE_NEWNET, "net"),
    ("NEWIPC", libc::CLONE_NEWIPC, "ipc"),
    ("NEWUTS", libc::CLONE_NEWUTS, "uts"),
    ("NEWCGROUP", libc::CLONE_NEWCGROUP, "cgroup"),
    ("NEWTIME", 0x80, "time"),
];

/// `struct clone_args` of `clone3(2)`, first version: 64 bytes. The flags come first, the exit signal is the fifth word.
fn clone_arguments(flags: u64) -> [u8; 64] {
    let mut arguments = [0_u8; 64];
    arguments[..8].copy_from_slice(&flags.to_ne_bytes());
    arguments[32..40].copy_from_slice(&(libc::SIGCHLD as u64).to_ne_bytes());
    arguments
}

/// What a raw `clone` or `clone3` said. The child, if there is one, ends at once.
fn born(result: Result<usize, crate::kernel::Errno>) -> String {
    match result {
        Ok(0) => exit_now(0),
        Ok(child) => {
            wait_for(i32::try_from(child).unwrap_or(-1));
            "ok".to_owned()
        }
        Err(errno) => errno.to_string(),
    }
}

/// P46: new namespaces by every way.
pub(super) fn new_namespaces(record: &mut Record, _: &[String]) {
    for (name, flag, _) in NAMESPACES {
        record.attempt(format!("unshare({name})"), || said(call!(libc::SYS_unshare, flag)));
        // Together with a user namespace an ordinary user may make the others.
        if flag != libc::CLONE_NEWUSER {
            record.attempt(format!("unshare(NEWUSER|{name})"), || {
                said(call!(libc::SYS_unshare, flag | libc::CLONE_NEWUSER))
            });
        }
        // In clone, CLONE_NEWTIME's bit belongs to the exit signal.
        if flag != 0x80 {
            record.attempt(format!("clone({name})"), || {
                born(call!(libc::SYS_clone, flag | libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0))
            });
        }
        record.attempt(format!("clone3({name})"), || {
            let arguments = clone_arguments((flag | libc::CLONE_NEWUSER).cast_unsigned().into());
            born(call!(libc::SYS_clone3, arguments.as_slice(), arguments.len()))
        });
    }
    record.attempt("clone3 without flags", || {
        let arguments = clone_arguments(0);
        born(call!(libc::SYS_clone3, arguments.as_slice(), arguments.len()))
    });
    record.attempt("clone3 into a cgroup", || {
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        let arguments = clone_arguments(CLONE_INTO_CGROUP);
        born(call!(libc::SYS_clone3, arguments.as_slice(), arguments.len()))
    });
    // The upper half of the word is not looked at by the kernel; a filter that compares all of it would be fooled.
    record.attempt("unshare(NEWUSER) with high bits set", || {
        said(call!(libc::SYS_unshare, u64::from(libc::CLONE_NEWUSER.cast_unsigned()) | (1 << 40)))
    });
    record.note(
        "max_user_namespaces",
        fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default().trim(),
    );
}

/// P47: every way to change what is mounted. With the argument `apart` each attempt is made in a mount namespace of its
/// own, which is how a control outside shows that the attempts are real and keeps the machine whole.
pub(super) fn mounts(record: &mut Record, arguments: &[String]) {
    const OPEN_TREE_CLONE: u32 = 1;
    let apart = arguments.first().is_some_and(|argument| argument == "apart");
    if !apart && !super::is_inside() {
        return record.note("outside", "refused without `apart`");
    }
    let mut attempt = |what: &str, attempt: &dyn Fn() -> String| {
        record.attempt(what, || {
            if apart {
                let alone = call!(libc::SYS_unshare, libc::CLONE_NEWUSER | libc::CLONE_NEWNS)
                    .and_then(|_| call!(libc::SYS_mount, 0, c"/", 0, libc::MS_PRIVATE | libc::MS_REC, 0));
                if let Err(errno) = alone {
                    return format!("no namespace: {errno}");
                }
            }
            attempt()
        });
    };
    attempt("mount tmpfs", &|| said(call!(libc::SYS_mount, c"none", c"/tmp", c"tmpfs", 0, 0)));
    attempt("mount proc", &|| said(call!(libc::SYS_mount, c"none", c"/tmp", c"proc", 0, 0)));
    attempt("mount bind", &|| said(call!(libc::SYS_mount, c"/", c"/tmp", 0, libc::MS_BIND, 0)));
    attempt("mount overlay", &|| said(call!(libc::SYS_mount, c"none", c"/tmp", c"overlay", 0, c"lowerdir=/usr:/etc")));
    attempt("remount /", &|| said(call!(libc::SYS_mount, 0, c"/", 0, libc::MS_REMOUNT | libc::MS_BIND, 0)));
    attempt("make / shared", &|| said(call!(libc::SYS_mount, 0, c"/", 0, libc::MS_SHARED, 0)));
    attempt("umount2 /proc", &|| said(call!(libc::SYS_umount2, c"/proc", libc::MNT_DETACH)));
    attempt("umount2 /proc/kcore", &|| said(call!(libc::SYS_umount2, c"/proc/kcore", libc::MNT_DETACH)));
    attempt("umount2 the workspace", &|| said(call!(libc::SYS_umount2, c".", libc::MNT_DETACH)));
    attempt("pivot_root", &|| said(call!(libc::SYS_pivot_root, c".", c".")));
    attempt("chroot", &|| said(call!(libc::SYS_chroot, c"/tmp")));
    attempt("open_tree", &|| said(call!(libc::SYS_open_tree, libc::AT_FDCWD, c"/", OPEN_TREE_CLONE)));
    attempt("move_mount", &|| said(call!(libc::SYS_move_mount, libc::AT_FDCWD, c"/proc", libc::AT_FDCWD, c"/tmp", 0)));
    attempt("fsopen tmpfs", &|| said(call!(libc::SYS_fsopen, c"tmpfs", 0)));
    attempt("fspick /", &|| said(call!(libc::SYS_fspick, libc::AT_FDCWD, c"/", 0)));
    attempt("fsmount", &|| said(call!(libc::SYS_fsmount, -1, 0, 0)));
    attempt("fsconfig", &|| said(call!(libc::SYS_fsconfig, -1, 0, 0, 0, 0)));
    attempt("mount_setattr", &|| {
        let attributes = [0_u8; 32];
        said(call!(libc::SYS_mount_setattr, libc::AT_FDCWD, c"/", 0, attributes.as_slice(), attributes.len()))
    });
    for (name, number) in [("statmount", 457), ("listmount", 458), ("open_tree_attr", 467)] {
        attempt(name, &|| said(call!(number, 0, 0, 0, 0, 0)));
    }
}

/// P52: entering namespaces. Prints their identities, which the harness compares with the host's.
pub(super) fn enter_namespaces(record: &mut Record, _: &[String]) {
    for (_, flag, name) in NAMESPACES {
        let path = format!("/proc/self/ns/{name}");
        record.note(format!("identity {name}"), fs::read_link(&path).unwrap_or_default().display());
        record.attempt(format!("setns {name}"), || match fs::File::open(&path) {
            Ok(file) => said(call!(libc::SYS_setns, file.as_raw_fd(), flag)),
            Err(error) => said_io::<()>(Err(error)),
        });
    }
    record.attempt("setns to the first process's mount namespace", || match fs::File::open("/proc/1/ns/mnt") {
        Ok(file) => said(call!(libc::SYS_setns, file.as_raw_fd(), libc::CLONE_NEWNS)),
        Err(error) => said_io::<()>(Err(error)),
    });
    record.attempt("ptrace the first process", || said(call!(libc::SYS_ptrace, libc::PTRACE_SEIZE, 1, 0, 0)));
    record.attempt("memory of the first process", || {
        said_io(fs::OpenOptions::new().read(true).write(true).open("/proc/1/mem"))
    });
    record.attempt("setns by pidfd", || match call!(libc::SYS_pidfd_open, 1, 0) {
        Ok(descriptor) => said(call!(libc::SYS_setns, descriptor, libc::CLONE_NEWNS | libc::CLONE_NEWPID)),
        Err(errno) => errno.to_string(),
    });
    record.attempt("pidfd_getfd of the first process", || match call!(libc::SYS_pidfd_open, 1, 0) {
        Ok(descriptor) => said(call!(libc::SYS_pidfd_getfd, descriptor, 3, 0)),
        Err(errno) => errno.to_string(),
    });
    record.attempt("reopen the first process's pipe", || {
        said_io(fs::OpenOptions::new().read(true).write(true).open("/proc/1/fd/3"))
    });
    record.note("/proc/1/root is our root", same_folder("/proc/1/root", "/"));
    for (name, request) in [("NS_GET_PARENT", 0xb702_u64), ("NS_GET_USERNS", 0xb701)] {
        record.attempt(format!("{name} of the user namespace"), || match fs::File::open("/proc/self/ns/user") {
            Ok(file) => said(call!(libc::SYS_ioctl, file.as_raw_fd(), request)),
            Err(error) => said_io::<()>(Err(error)),
        });
    }
}

fn same_folder(one: &str, other: &str) -> String {
    use std::os::unix::fs::MetadataExt as _;
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => ((one.dev(), one.ino()) == (other.dev(), other.ino())).to_string(),
        (Err(error), _) | (_, Err(error)) => said_io::<()>(Err(error)),
    }
}

/// P63: starts set-user-id programs of the host's and looks at the ids they run with.
pub(super) fn set_user_id_programs(record: &mut Record, _: &[String]) {
    record.note("found", if fs::metadata("/usr/bin/su").is_ok() { "su" } else { "none" });
    // su asks for a password on its standard input and waits; until then its ids can be read.
    let child = Command::new("/usr/bin/su").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return record.note("su's user ids", said_io::<()>(Err(error))),
    };
    let status = format!("/proc/{}/status", child.id());
    let mut ids = String::new();
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(10));
        let text = fs::read_to_string(&status).unwrap_or_default();
        if text.starts_with("Name:\tsu\n") {
            let line = text.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or("");
            ids = line.split_whitespace().nth(1).unwrap_or("").to_owned();
            break;
        }
    }
    record.note("su's effective user id", ids);
    let _ = child.kill();
    let _ = child.wait();
    // As root outside these would do what they are asked.
    if !super::is_inside() {
        return;
    }
    for (program, arguments) in [
        ("mount", ["-t", "tmpfs", "none", "/tmp"].as_slice()),
        ("newuidmap", &["1", "0", "0", "1"]),
        ("fusermount", &["/tmp"]),
    ] {
        let outcome = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).status();
        record.note(
            program,
            match outcome {
                Ok(status) if status.success() => "succeeds".to_owned(),
                Ok(_) => "fails".to_owned(),
                Err(error) => said_io::<()>(Err(error)),
            },
        );
    }
}

/// P64: capabilities in every set, and the ways to get one.
pub(super) fn capabilities(record: &mut Record, _: &[String]) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"] {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("absent");
        record.note(name, value.trim());
    }
    record.attempt("capset(all)", || {
        // struct __user_cap_header_struct, version 3, and two __user_cap_data_struct: effective, permitted, inheritable.
        let header = [0x2008_0522_u32.to_ne_bytes(), [0; 4]].concat();
        let sets = [0xff_u8; 24];
        said(call!(libc::SYS_capset, header.as_slice(), sets.as_slice()))
    });
    record.attempt("raise an ambient capability", || {
        said(call!(libc::SYS_prctl, libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, 21, 0, 0))
    });
    record.attempt("clear the securebits", || said(call!(libc::SYS_prctl, libc::PR_SET_SECUREBITS, 0, 0, 0, 0)));
    record.attempt("clear no_new_privs", || said(call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)));
}

/// P55: a terminal's ioctls on the standard streams, and every terminal that could be opened.
pub(super) fn terminals(record: &mut Record, _: &[String]) {
    for (name, request) in
        [("TIOCSTI", libc::TIOCSTI), ("TIOCLINUX", 0x541C), ("TIOCSCTTY", libc::TIOCSCTTY), ("TCGETS", libc::TCGETS)]
    {
        for stream in 0..=2 {
            record.attempt(format!("{name} on {stream}"), || {
                let mut room = [0_u8; 64];
                said(call!(libc::SYS_ioctl, stream, request, room.as_mut_slice()))
            });
        }
    }
    // A filter must look at the same 32 bits of the request as the kernel does (CVE-2023-28100, CVE-2019-10063).
    record.attempt("TIOCSTI with high bits set", || said(call!(libc::SYS_ioctl, 0, libc::TIOCSTI | (1 << 40), c"x")));
    for path in ["/dev/tty", "/dev/tty0", "/dev/console", "/dev/ptmx", "/dev/pts/0", "/dev/ttyS0"] {
        record.attempt(path, || said_io(fs::File::open(path)));
    }
    for stream in 0..=2 {
        let target = fs::read_link(format!("/proc/self/fd/{stream}")).unwrap_or_default();
        let target = target.to_string_lossy().into_owned();
        let kind = target.split(':').next().unwrap_or("").to_owned();
        record.note(format!("stream {stream}"), kind);
    }
}

/// P44: reads standard input.
pub(super) fn standard_input(record: &mut Record, _: &[String]) {
    let mut byte = [0_u8; 1];
    record.note(
        "read of standard input",
        match std::io::stdin().lock().read(&mut byte) {
            Ok(0) => "end".to_owned(),
            Ok(_) => "a byte".to_owned(),
            Err(error) => said_io::<()>(Err(error)),
        },
    );
}

/// A child that this process may look at, for calls that need one.
pub(super) fn sleeping_child() -> Option<i32> {
    crate::kernel::fork(|| {
        thread::sleep(Duration::from_secs(30));
        0
    })
    .ok()
}

/// Ends a child of ours.
pub(super) fn end_child(child: i32) -> String {
    let _ = call!(libc::SYS_kill, child, libc::SIGKILL);
    ended(wait_for(child))
}

/// Opens a socket of a family, type and protocol, and closes it.
pub(super) fn open_socket(family: i32, kind: i32, protocol: i32) -> String {
    said(call!(libc::SYS_socket, family, kind, protocol).map(owned))
}

/// A name that `memfd_create` gets.
pub(super) const MEMORY_NAME: &CStr = c"memory";
