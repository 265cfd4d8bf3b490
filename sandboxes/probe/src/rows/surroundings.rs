//! What a sandbox can see of the host: files, environment, sockets, processes, kernel files.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::{fs::FileTypeExt as _, net::UnixStream},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    kernel::{Errno, c_path, call, owned, readable, said, said_io},
    record::{Record, announce},
};

/// P01, P84: opens each path that is named, and reads a byte or an entry. Contents are never printed.
pub(super) fn open_paths(record: &mut Record, paths: &[String]) {
    for path in paths {
        let result = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => fs::read_dir(path).map(drop),
            Ok(_) => fs::File::open(path).map(drop),
            Err(error) => Err(error),
        };
        record.note(path, said_io(result));
    }
}

/// P01: the names in each folder that is named.
pub(super) fn list_folders(record: &mut Record, folders: &[String]) {
    for folder in folders {
        record.note(folder, names_in(Path::new(folder)));
    }
}

fn names_in(folder: &Path) -> String {
    match fs::read_dir(folder) {
        Ok(entries) => {
            let mut names: Vec<String> =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names.join(" ")
        }
        Err(error) => said_io::<()>(Err(error)),
    }
}

/// P02: every variable of this process and of the first one.
pub(super) fn environment(record: &mut Record, _: &[String]) {
    for (name, value) in env::vars_os() {
        record.note(name.to_string_lossy(), value.to_string_lossy());
    }
    let first = fs::read("/proc/1/environ").unwrap_or_default();
    for variable in first.split(|byte| *byte == 0).filter(|variable| !variable.is_empty()) {
        let variable = String::from_utf8_lossy(variable);
        let (name, value) = variable.split_once('=').unwrap_or((&variable, ""));
        record.note(format!("first process: {name}"), value);
    }
}

/// Folders where sockets of services lie.
const SOCKET_FOLDERS: [&str; 8] = ["/run", "/var", "/tmp", "/home", "/root", "/dev", "/srv", "/mnt"];

/// Sockets and folders by which a program could command the host.
const COMMANDING: [&str; 12] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/podman/podman.sock",
    "/run/user",
    "/run/dbus/system_bus_socket",
    "/run/systemd/private",
    "/tmp/.X11-unix",
    "/sys/fs/bpf",
    "/sys/fs/cgroup",
    "/sys/kernel",
];

/// P03: looks for sockets, and connects to the harness's: `tcp:ADDRESS`, `abstract:NAME`, `path:PATH`.
pub(super) fn sockets(record: &mut Record, targets: &[String]) {
    for path in COMMANDING {
        record.note(path, said_io(fs::symlink_metadata(path)));
    }
    let mut found = Vec::new();
    for folder in SOCKET_FOLDERS {
        find_sockets(Path::new(folder), 6, &mut found);
    }
    record.note("sockets in the file system", found.join(" "));
    for target in targets {
        let result = match target.split_once(':') {
            Some(("tcp", address)) => connect_tcp(address),
            Some(("abstract", name)) => std::os::unix::net::SocketAddr::from_abstract_name(name)
                .and_then(|address| UnixStream::connect_addr(&address))
                .map(drop),
            Some(("path", path)) => UnixStream::connect(path).map(drop),
            _ => Err(io::Error::other("no such kind of target")),
        };
        record.note(format!("connect {target}"), said_io(result));
    }
}

fn connect_tcp(address: &str) -> io::Result<()> {
    let address: SocketAddr =
        address.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("an address is missing"))?;
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).map(drop)
}

fn find_sockets(folder: &Path, depth: u32, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_socket() => found.push(entry.path().display().to_string()),
            Ok(kind) if kind.is_dir() && depth > 0 => find_sockets(&entry.path(), depth - 1, found),
            Ok(_) | Err(_) => {}
        }
    }
}

/// P11: the descriptors that this process was started with, and those of the first process.
pub(super) fn descriptors(record: &mut Record, _: &[String]) {
    for (name, process) in [("own", "/proc/self/fd"), ("first process", "/proc/1/fd")] {
        let numbers: Vec<PathBuf> = match fs::read_dir(process) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(error) => {
                record.note(name, said_io::<()>(Err(error)));
                continue;
            }
        };
        for number in numbers {
            // The descriptor of the listing itself is closed by now.
            if let Ok(target) = fs::read_link(&number) {
                let number = number.file_name().unwrap_or_default().to_string_lossy().into_owned();
                record.note(format!("{name} {number}"), target.display());
            }
        }
    }
}

/// P56: opens kernel settings for writing. Nothing is written but where the open succeeds inside.
pub(super) fn kernel_settings(record: &mut Record, _: &[String]) {
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv4/ping_group_range",
        "/proc/sys/user/max_user_namespaces",
        "/proc/sys/fs/suid_dumpable",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/bus/pci",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
        "/sys/fs/cgroup/release_agent",
    ] {
        record.note(path, said_io(fs::OpenOptions::new().write(true).open(path)));
    }
    record.attempt("/proc/self/oom_score_adj below 0", || said_io(fs::write("/proc/self/oom_score_adj", "-500")));
    record.attempt("/proc/1/oom_score_adj below 0", || said_io(fs::write("/proc/1/oom_score_adj", "-500")));
    record.attempt("/proc/self/uid_map", || said_io(fs::write("/proc/self/uid_map", "0 0 1")));
    record.attempt("/proc/self/attr/current", || said_io(fs::write("/proc/self/attr/current", "unconfined")));
    record
        .attempt("/proc/self/timens_offsets", || said_io(fs::write("/proc/self/timens_offsets", "monotonic 86400 0")));
}

/// P58: kernel files that tell of the host: how many bytes they give.
pub(super) fn kernel_files(record: &mut Record, _: &[String]) {
    for path in [
        "/proc/kcore",
        "/proc/kallsyms",
        "/proc/kmsg",
        "/proc/timer_list",
        "/proc/keys",
        "/proc/key-users",
        "/proc/sched_debug",
        "/proc/kpagecount",
        "/proc/kpageflags",
        "/proc/kpagecgroup",
        "/proc/vmallocinfo",
        "/proc/slabinfo",
        "/proc/1/mem",
        "/proc/scsi/scsi",
        "/proc/acpi",
        "/sys/firmware",
        "/sys/kernel/debug",
        "/sys/kernel/security",
        "/sys/class",
        "/dev/mem",
        "/dev/kmem",
        "/dev/port",
        "/dev/kmsg",
    ] {
        record.note(path, gives(Path::new(path)));
    }
    // Addresses in it are zero for an unprivileged reader; the file is covered all the same.
    record.attempt("syslog(READ_ALL)", || {
        let mut room = [0_u8; 64];
        said(call!(libc::SYS_syslog, 3, room.as_mut_slice(), 64))
    });
}

/// `empty`, `gives`, or the error.
fn gives(path: &Path) -> String {
    if path.is_dir() {
        return if names_in(path).is_empty() { "empty" } else { "gives" }.to_owned();
    }
    let read = fs::File::open(path).and_then(|mut file| io::Read::read(&mut file, &mut [0_u8; 64]));
    match read {
        Ok(0) => "empty".to_owned(),
        Ok(_) => "gives".to_owned(),
        Err(error) => said_io::<()>(Err(error)),
    }
}

/// P59: places where a masked path or a device could be swapped for something else.
pub(super) fn masked_paths(record: &mut Record, _: &[String]) {
    for path in ["/dev/null", "/proc/kcore", "/proc/kallsyms", "/proc/timer_list", "/dev/zero"] {
        record.attempt(format!("unlink {path}"), || said_io(fs::remove_file(path)));
        record.attempt(format!("rename {path}"), || said_io(fs::rename(path, format!("{path}.old"))));
        record.attempt(format!("chmod {path}"), || {
            use std::os::unix::fs::PermissionsExt as _;
            said_io(fs::set_permissions(path, fs::Permissions::from_mode(0o600)))
        });
    }
    record.attempt("symlink below /dev", || said_io(std::os::unix::fs::symlink("/proc/sys", "/dev/planted")));
    record.attempt("rename /dev", || said_io(fs::rename("/dev", "/dev.old")));
    record.attempt("rename /proc", || said_io(fs::rename("/proc", "/proc.old")));
    record.note("/dev/pts", names_in(Path::new("/dev/pts")));
    record.note("/dev", names_in(Path::new("/dev")));
}

/// P61: cgroup files.
pub(super) fn control_groups(record: &mut Record, _: &[String]) {
    record.note("/sys/fs/cgroup", said_io(fs::metadata("/sys/fs/cgroup")));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let paths: std::collections::BTreeSet<&str> = own.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    record.note("own paths", paths.into_iter().collect::<Vec<_>>().join(" "));
    for kind in [c"cgroup", c"cgroup2"] {
        record.attempt(format!("mount {}", kind.to_string_lossy()), || {
            said(call!(libc::SYS_mount, kind, c"/tmp", kind, 0, 0))
        });
    }
}

/// P62: devices, found and made.
pub(super) fn devices(record: &mut Record, _: &[String]) {
    for path in [
        "/dev/kvm",
        "/dev/fuse",
        "/dev/cuse",
        "/dev/vhost-vsock",
        "/dev/vhost-net",
        "/dev/net/tun",
        "/dev/loop0",
        "/dev/loop-control",
        "/dev/disk",
        "/dev/mapper",
        "/dev/nvidia0",
        "/dev/dri",
        "/dev/snd",
        "/dev/input",
        "/dev/vda",
        "/dev/sda",
        "/dev/rtc0",
        "/dev/uinput",
        "/dev/hugepages",
    ] {
        record.note(path, said_io(fs::symlink_metadata(path)));
    }
    for folder in [".", "/tmp", "/dev/shm"] {
        for (kind, bits, device) in
            [("character", libc::S_IFCHR, libc::makedev(1, 3)), ("block", libc::S_IFBLK, libc::makedev(254, 0))]
        {
            record.attempt(format!("mknod {kind} device in {folder}"), || {
                let path = c_path(Path::new(folder).join("planted-device"));
                let made = call!(libc::SYS_mknodat, libc::AT_FDCWD, &path, bits | 0o666, device);
                if made.is_ok() {
                    // Outside this may succeed: then it must not stay.
                    let _ = fs::remove_file(Path::new(folder).join("planted-device"));
                }
                said(made)
            });
        }
    }
}

/// P69: what `/proc` and the mount table tell: every process, every mount, sockets.
pub(super) fn processes_and_mounts(record: &mut Record, _: &[String]) {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.parse::<u32>().is_ok() {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            record.note(format!("process {name}"), String::from_utf8_lossy(&command).replace('\0', " ").trim());
        }
    }
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        // proc_pid_mountinfo(5): 4 is the root, 5 the mount point; after " - " type, source, options.
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        let rest = line.split_once(" - ").map_or("", |(_, rest)| rest);
        record.note(format!("mount {point}"), format!("{root} {rest}"));
    }
    for file in ["tcp", "tcp6", "udp", "unix", "route", "arp", "dev"] {
        let text = fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        record.note(format!("net {file}"), words.join(" "));
    }
    record.note("host name", fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim());
}

/// P85: reads every small file that a sandbox can read outside of the system's own folders, and every environment and
/// command line, for a text that is given backwards (so that it is not in our own command line).
pub(super) fn search_for(record: &mut Record, arguments: &[String]) {
    let Some((backwards, skipped)) = arguments.split_first() else { return };
    let wanted: Vec<u8> = backwards.bytes().rev().collect();
    let mut found = Vec::new();
    let mut looked = 0_u64;
    let mut folders = vec![PathBuf::from("/")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() && !skipped.iter().any(|skip| Path::new(skip) == path) {
                folders.push(path);
            } else if metadata.is_file() && metadata.len() < 4 << 20 {
                looked += 1;
                if holds(&fs::read(&path).unwrap_or_default(), &wanted) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        for file in ["environ", "cmdline", "comm", "mountinfo"] {
            if holds(&fs::read(entry.path().join(file)).unwrap_or_default(), &wanted) {
                found.push(entry.path().join(file).display().to_string());
            }
        }
    }
    record.note("files looked into", if looked > 0 { "some" } else { "none" });
    record.note("found in", found.join(" "));
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// P87: programs of the product on PATH or in the usual places, and sockets of it.
pub(super) fn product(record: &mut Record, paths: &[String]) {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found = Vec::new();
    for folder in env::split_paths(&path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("cofferdam") {
                found.push(entry.path().display().to_string());
            }
        }
    }
    record.note("cofferdam programs on PATH", found.join(" "));
    for path in paths {
        record.note(path, said_io(fs::symlink_metadata(path)));
    }
}

/// P18: counts inotify events in the folders that are named while the harness writes there; says when it watches.
pub(super) fn watch_folders(record: &mut Record, folders: &[String]) {
    let watches: Vec<(&String, Result<OwnedFd, Errno>)> =
        folders.iter().map(|folder| (folder, watch(Path::new(folder)))).collect();
    announce("watching");
    thread::sleep(Duration::from_millis(1200));
    for (folder, watch) in watches {
        let result = match watch {
            Ok(watch) if readable(&watch) => "some".to_owned(),
            Ok(_) => "none".to_owned(),
            Err(errno) => errno.to_string(),
        };
        record.note(format!("events in {folder}"), result);
    }
}

fn watch(folder: &Path) -> Result<OwnedFd, Errno> {
    let watch = owned(call!(libc::SYS_inotify_init1, libc::IN_NONBLOCK)?);
    let events = libc::IN_CREATE | libc::IN_MODIFY | libc::IN_DELETE | libc::IN_ATTRIB;
    call!(libc::SYS_inotify_add_watch, watch.as_raw_fd(), &c_path(folder), events)?;
    Ok(watch)
}
