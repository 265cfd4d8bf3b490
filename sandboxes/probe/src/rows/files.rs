//! What a sandbox can do to files: those shown to it read-only, those of the view, and what comes back from the view.

use std::{
    ffi::{CStr, OsStr},
    fs,
    io::Write as _,
    os::{
        fd::AsRawFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
            net::UnixListener,
        },
    },
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    kernel::{c_path, call, ended, exit_now, fork, in_child, said, said_io, wait_for},
    record::{Record, announce},
};

/// P05: makes files with names that are something else elsewhere.
pub(super) fn odd_names(record: &mut Record, _: &[String]) {
    let names: [(&str, &[u8]); 12] = [
        ("new line", b"odd/new\nline"),
        ("not UTF-8", b"odd/\xff\xfe"),
        ("composed", "odd/\u{e9}".as_bytes()),
        ("decomposed", "odd/e\u{301}".as_bytes()),
        ("right to left", "odd/\u{202e}txt.exe".as_bytes()),
        ("closing dot", b"odd/name."),
        ("closing space", b"odd/name "),
        ("device name", b"odd/CON"),
        ("upper case", b"odd/TWIN"),
        ("lower case", b"odd/twin"),
        ("option", b"odd/-rf"),
        ("255 bytes", &[b'x'; 259]),
    ];
    let _ = fs::create_dir("odd");
    for (what, name) in names {
        let longest = [b"odd/".as_slice(), [b'x'; 255].as_slice()].concat();
        let name = if name.len() > 255 { longest.as_slice() } else { name };
        record.note(what, said_io(fs::write(OsStr::from_bytes(name), what)));
    }
}

/// P07, P08: swaps a folder for a link (`link`) or exchanges it with another (`exchange`), until the time is over or
/// `/tmp/swapped-enough` is there.
/// Arguments: how, folder, other, seconds, microseconds of pause at most between two bursts.
pub(super) fn swap(record: &mut Record, arguments: &[String]) {
    let [how, folder, other, seconds, pause] = arguments else { return };
    let until = Instant::now() + Duration::from_secs(seconds.parse().unwrap_or(10));
    let (folder, other) = (Path::new(folder), Path::new(other));
    let aside = folder.with_extension("aside");
    announce("swapping");
    let mut swaps = 0_u64;
    let pause = pause.parse::<u64>().unwrap_or(0);
    let mut rest = 0_u64;
    while Instant::now() < until && !Path::new("/tmp/swapped-enough").exists() {
        if pause > 0 {
            rest = rest.wrapping_mul(1_103_515_245).wrapping_add(12_345) % pause;
            std::thread::sleep(Duration::from_micros(rest));
        }
        for _ in 0..16 {
            let swapped = if how == "exchange" {
                exchange(folder, other)
            } else {
                // A folder cannot be replaced by a link in one step: between the two there is nothing.
                fs::rename(folder, &aside).is_ok()
                    && symlink(other, folder).is_ok()
                    && fs::remove_file(folder).is_ok()
                    && fs::rename(&aside, folder).is_ok()
            };
            swaps += u64::from(swapped);
            if !swapped && aside.is_dir() {
                // The other side made the folder in a moment when there was none: only the first of the two can stay.
                let _ = fs::remove_file(folder).or_else(|_| fs::remove_dir_all(folder));
                let _ = fs::rename(&aside, folder);
            }
        }
    }
    record.note("swapped", if swaps > 500 { "many times".to_owned() } else { format!("{swaps} times") });
}

fn exchange(one: &Path, other: &Path) -> bool {
    const RENAME_EXCHANGE: u32 = 2;
    call!(libc::SYS_renameat2, libc::AT_FDCWD, &c_path(one), libc::AT_FDCWD, &c_path(other), RENAME_EXCHANGE).is_ok()
}

/// P09: hard links to files that are read-only here, and to a protected file of the workspace, then a write.
pub(super) fn hard_links(record: &mut Record, targets: &[String]) {
    for target in targets {
        record.attempt(format!("link {target}"), || said_io(fs::hard_link(target, "borrowed")));
        let _ = fs::remove_file("borrowed");
    }
    record.note("link .git/config", said_io(fs::hard_link(".git/config", "borrowed-config")));
    record.note("write through the link", said_io(fs::write("borrowed-config", "[core]\n\tfsmonitor = planted\n")));
    record.note("/proc/sys/fs/protected_hardlinks", said_io(fs::write("/proc/sys/fs/protected_hardlinks", "0")));
}

/// P14: makes what is not a regular file, and files that are larger than they look.
pub(super) fn special_files(record: &mut Record, _: &[String]) {
    record.note("fifo", said(call!(libc::SYS_mknodat, libc::AT_FDCWD, c"made-fifo", libc::S_IFIFO | 0o666, 0)));
    record.note("socket", said_io(UnixListener::bind("made-socket").map(drop)));
    let sparse = fs::File::create("made-sparse").and_then(|file| file.set_len(48 << 20));
    record.note("sparse file", said_io(sparse));
    record.note("link to a device", said_io(symlink("/dev/zero", "made-device-link")));
    record.note("link to /proc/kcore", said_io(symlink("/proc/kcore", "made-proc-link")));
}

/// P15: a copy of this program with set-id bits, and a file capability; executes the copy.
pub(super) fn set_id_program(record: &mut Record, _: &[String]) {
    let copied = fs::copy("/proc/self/exe", "planted-set-id").map(drop);
    record.note("copy", said_io(copied));
    record.note("chmod 6755", said_io(fs::set_permissions("planted-set-id", fs::Permissions::from_mode(0o6755))));
    let bits = fs::metadata("planted-set-id").map_or(0, |metadata| metadata.mode() & 0o7777);
    record.note("bits inside", format!("{bits:o}"));
    // struct vfs_cap_data of linux/capability.h, version 2: all capabilities permitted.
    let all: [u8; 20] = [1, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0];
    record.note("setxattr security.capability", said(set_attribute(c"planted-set-id", c"security.capability", &all)));
    record.note(
        "a folder with set-group-id",
        said_io(
            fs::create_dir("planted-folder")
                .and_then(|()| fs::set_permissions("planted-folder", fs::Permissions::from_mode(0o2777))),
        ),
    );
    record.note(
        "a world-writable file",
        said_io(
            fs::write("planted-open", "x")
                .and_then(|()| fs::set_permissions("planted-open", fs::Permissions::from_mode(0o666))),
        ),
    );
    for place in ["./planted-set-id", "/tmp/planted-set-id", "/dev/shm/planted-set-id"] {
        if !place.starts_with("./") {
            let planted = fs::copy("planted-set-id", place)
                .and_then(|_| fs::set_permissions(place, fs::Permissions::from_mode(0o6755)));
            if planted.is_err() {
                record.note(format!("ids of {place}"), said_io(planted));
                continue;
            }
        }
        let output = std::process::Command::new(place).arg("ids").output();
        record.note(
            format!("ids of {place}"),
            output.map_or_else(
                |error| said_io::<()>(Err(error)),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            ),
        );
    }
}

/// Prints the ids of this process: real, effective, saved.
pub(super) fn ids(record: &mut Record, _: &[String]) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for name in ["Uid:", "Gid:", "CapEff:", "NoNewPrivs:"] {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
        record.note(name.trim_end_matches(':'), line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}

fn set_attribute(path: &CStr, name: &CStr, value: &[u8]) -> Result<usize, crate::kernel::Errno> {
    call!(libc::SYS_setxattr, path, name, value, value.len(), 0)
}

/// `FS_IOC_SETFLAGS` and `FS_IOC_FSSETXATTR` (`ioctl_iflags(2)`, `linux/fs.h`).
const SET_FLAGS: u64 = 0x4008_6602;
const SET_PROJECT: u64 = 0x401c_5820;

/// P17: extended attributes, access lists, flags and project ids on a file of the view and on a new one.
pub(super) fn attributes(record: &mut Record, _: &[String]) {
    record.note("a new file", said_io(fs::write("attributed", "content")));
    // struct posix_acl_xattr_header and entries (linux/posix_acl_xattr.h): user::rwx user:1:rwx group::- mask::rwx other::-
    let access: [u8; 44] = [
        2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 1, 0, 0, 0, 4, 0, 0, 0, 255, 255, 255, 255, 16, 0, 7,
        0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ];
    for (file, path) in [("a new file", c"attributed"), ("a file of the workspace", c"README")] {
        for (name, value) in [
            (c"user.note", b"planted".as_slice()),
            (c"trusted.note", b"planted"),
            (c"security.note", b"planted"),
            (c"security.selinux", b"planted"),
            (c"system.posix_acl_access", &access),
        ] {
            let what = format!("{} on {file}", name.to_string_lossy());
            record.note(what, said(set_attribute(path, name, value)));
        }
    }
    let Ok(file) = fs::File::open("attributed") else { return };
    const IMMUTABLE: i32 = 0x10;
    record.attempt("the immutable flag", || {
        said(call!(libc::SYS_ioctl, file.as_raw_fd(), SET_FLAGS, IMMUTABLE.to_ne_bytes().as_slice()))
    });
    record.attempt("a project id", || {
        let mut attribute = [0_u8; 28];
        // struct fsxattr: the fourth word is the project id.
        attribute[12] = 7;
        said(call!(libc::SYS_ioctl, file.as_raw_fd(), SET_PROJECT, attribute.as_slice()))
    });
}

/// P18: files by handle, and the notification of whole mounts.
pub(super) fn handles(record: &mut Record, _: &[String]) {
    record.attempt("fanotify_init", || said(call!(libc::SYS_fanotify_init, 0, 0)));
    record.attempt("fanotify_init for file ids", || said(call!(libc::SYS_fanotify_init, 0x200, 0)));
    record.attempt("name_to_handle_at", || {
        let mut handle = [0_u8; 136];
        handle[0] = 128;
        let mut mount = [0_u8; 4];
        said(call!(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            c"/usr",
            handle.as_mut_slice(),
            mount.as_mut_slice(),
            0
        ))
    });
    record.attempt("open_by_handle_at", || {
        // An ext4 handle of the root folder: inode 2, generation 0 (the attack of "shocker").
        let handle = [8_u8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        said(call!(libc::SYS_open_by_handle_at, libc::AT_FDCWD, handle.as_slice(), libc::O_RDONLY))
    });
}

/// P19: writes to what is shown read-only. Arguments: folders that are read-only here.
pub(super) fn read_only_places(record: &mut Record, folders: &[String]) {
    for folder in folders {
        let folder = Path::new(folder);
        let name = folder.display();
        record.attempt(format!("create in {name}"), || {
            let planted = folder.join("planted");
            let made = fs::write(&planted, "x");
            if made.is_ok() {
                let _ = fs::remove_file(planted);
            }
            said_io(made)
        });
        record.attempt(format!("mkdir in {name}"), || {
            let planted = folder.join("planted-folder");
            let made = fs::create_dir(&planted);
            if made.is_ok() {
                let _ = fs::remove_dir(planted);
            }
            said_io(made)
        });
        record.attempt(format!("chmod {name}"), || {
            let mode = fs::metadata(folder).map(|metadata| metadata.permissions());
            said_io(mode.and_then(|mode| fs::set_permissions(folder, mode)))
        });
        record.attempt(format!("touch {name}"), || {
            said(call!(libc::SYS_utimensat, libc::AT_FDCWD, &c_path(folder), 0, 0))
        });
        record.attempt(format!("remount {name}"), || {
            let remount = libc::MS_REMOUNT | libc::MS_BIND;
            said(call!(libc::SYS_mount, 0, &c_path(folder), 0, remount, 0))
        });
    }
    // What the kernel says of each mount; a refusal above may be the file's owner's doing alone.
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        let mut fields = line.split(' ').skip(4);
        let (point, options) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        record.note(format!("mount {point}"), options);
    }
    for file in ["/usr/bin/env", "/etc/passwd", "/bin/sh"] {
        record.attempt(format!("open {file} for writing"), || said_io(fs::OpenOptions::new().append(true).open(file)));
    }
}

/// P22: forged marks of an overlay's upper layer.
pub(super) fn forged_marks(record: &mut Record, arguments: &[String]) {
    let folder = c_path(arguments.first().map_or("folder", String::as_str));
    record.attempt("whiteout device in the view", || {
        said(call!(libc::SYS_mknodat, libc::AT_FDCWD, c"planted-whiteout", libc::S_IFCHR, 0))
    });
    record.attempt("whiteout device in /tmp", || {
        said(call!(libc::SYS_mknodat, libc::AT_FDCWD, c"/tmp/whiteout", libc::S_IFCHR, 0))
    });
    record.note("rename it into the view", said_io(fs::rename("/tmp/whiteout", "folder/whiteout")));
    for (path, name, value) in [
        (folder.as_c_str(), c"user.overlay.opaque", b"y".as_slice()),
        (folder.as_c_str(), c"user.overlay.redirect", b"/etc"),
        (folder.as_c_str(), c"user.overlay.origin", b"forged"),
        (folder.as_c_str(), c"trusted.overlay.opaque", b"y"),
        (c"README", c"user.overlay.metacopy", b""),
        (c"README", c"user.overlay.redirect", b"/../outside/secret.txt"),
        (c"README", c"user.overlay.whiteout", b"y"),
    ] {
        let what = format!("{} on {}", name.to_string_lossy(), path.to_string_lossy());
        record.note(what, said(set_attribute(path, name, value)));
    }
    // What an overlay itself calls a deleted file must still work as one.
    record.note("delete a file of the workspace", said_io(fs::remove_file("deleted")));
    record.note(
        "replace a folder by an empty one",
        said_io(fs::remove_dir_all("replaced").and_then(|()| fs::create_dir("replaced"))),
    );
}

/// P24: renames the parents of a protected path and plants another in its place.
pub(super) fn rename_parents(record: &mut Record, _: &[String]) {
    record.note("rename .git", said_io(fs::rename(".git", ".old")));
    record.note("make .git", said_io(fs::create_dir_all(".git/hooks")));
    record.note("plant a hook", said_io(fs::write(".git/hooks/pre-commit", "#!/bin/sh\necho planted\n")));
}

/// P60: the program of the first process, and of this one.
pub(super) fn running_programs(record: &mut Record, _: &[String]) {
    for program in ["/proc/self/exe", "/proc/1/exe"] {
        record.attempt(format!("open {program} for writing"), || {
            said_io(fs::OpenOptions::new().write(true).open(program))
        });
        record.attempt(format!("truncate {program}"), || said(call!(libc::SYS_truncate, &c_path(program), 0)));
    }
    record.attempt("chmod /proc/1/exe", || {
        said_io(fs::File::open("/proc/1/exe").and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o000))))
    });
    record.attempt("chmod /proc/1/exe by path", || {
        said_io(fs::set_permissions("/proc/1/exe", fs::Permissions::from_mode(0o000)))
    });
    record.attempt("truncate an open /proc/1/exe", || {
        said_io(fs::File::open("/proc/1/exe").and_then(|file| file.set_len(0)))
    });
    record.attempt("lift the seals of /proc/1/exe", || {
        let Ok(file) = fs::File::open("/proc/1/exe") else { return "not opened".to_owned() };
        said(call!(libc::SYS_fcntl, file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_WRITE))
    });
    record.attempt("map /proc/1/exe for writing", || {
        use std::os::fd::AsRawFd as _;
        let Ok(file) = fs::File::open("/proc/1/exe") else { return "not opened".to_owned() };
        // MAP_SHARED with PROT_WRITE of a descriptor that is read-only.
        said(call!(libc::SYS_mmap, 0, 4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0))
    });
    record.attempt("execute a script of /proc/1/exe", || {
        let made = fs::write("/tmp/entry", "#!/proc/1/exe\n")
            .and_then(|()| fs::set_permissions("/tmp/entry", fs::Permissions::from_mode(0o755)));
        if made.is_err() {
            return said_io(made);
        }
        let output = std::process::Command::new("/tmp/entry").output();
        // The guest program, started by hand, has no pipe and ends.
        output.map_or_else(
            |error| said_io::<()>(Err(error)),
            |output| if output.status.success() { "exit 0" } else { "ended" }.to_owned(),
        )
    });
}

/// P65: whose files these are.
pub(super) fn ownership(record: &mut Record, _: &[String]) {
    record.note("uid_map", words(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default()));
    record.note("gid_map", words(&fs::read_to_string("/proc/self/gid_map").unwrap_or_default()));
    record.note("write a file", said_io(fs::write("owned", "x")));
    let owner = fs::metadata("owned").map(|metadata| format!("{}:{}", metadata.uid(), metadata.gid()));
    record.note("its owner inside", owner.unwrap_or_default());
    record.attempt("chown to 0", || said_io(std::os::unix::fs::chown("owned", Some(0), Some(0))));
    record.attempt("setuid 0", || said(call!(libc::SYS_setuid, 0)));
    record.attempt("setgroups", || said(call!(libc::SYS_setgroups, 1, 0_i32.to_ne_bytes().as_slice())));
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// P71: programs that come from memory or from places for data. All of this is allowed.
pub(super) fn unusual_programs(record: &mut Record, _: &[String]) {
    let program = fs::read("/bin/true").unwrap_or_default();
    record.note(
        "memfd",
        in_child(|| {
            let Ok(descriptor) = call!(libc::SYS_memfd_create, c"program", 0) else { return "no memfd".to_owned() };
            let mut file = fs::File::from(crate::kernel::owned(descriptor));
            if file.write_all(&program).is_err() {
                return "not written".to_owned();
            }
            let child = fork(|| {
                let arguments = [c"true".as_ptr() as usize, 0];
                let bytes: Vec<u8> = arguments.iter().flat_map(|word| word.to_ne_bytes()).collect();
                let result = call!(libc::SYS_execveat, descriptor, c"", bytes.as_slice(), 0, libc::AT_EMPTY_PATH);
                exit_now(result.map_or_else(|errno| errno.0, |_| 0))
            });
            child.map_or_else(|errno| errno.to_string(), |child| ended(wait_for(child)))
        }),
    );
    for place in ["/dev/shm/true", "/tmp/true", "./true"] {
        let made =
            fs::write(place, &program).and_then(|()| fs::set_permissions(place, fs::Permissions::from_mode(0o755)));
        record.note(place, if made.is_ok() { execute(place, &[]) } else { said_io(made) });
        let _ = fs::remove_file(place);
    }
    let loader =
        ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"].into_iter().find(|path| Path::new(path).exists());
    record.note("the loader", loader.map_or_else(|| "absent".to_owned(), |loader| execute(loader, &["/bin/true"])));
}

fn execute(program: &str, arguments: &[&str]) -> String {
    match std::process::Command::new(program).args(arguments).status() {
        Ok(status) => status.code().map_or_else(|| status.to_string(), |code| format!("exit {code}")),
        Err(error) => said_io::<()>(Err(error)),
    }
}

/// Whether a path is what `kind` says; used by rows that leave things for the host to judge.
pub(super) fn kinds(record: &mut Record, paths: &[String]) {
    for path in paths {
        let kind = fs::symlink_metadata(path).map(|metadata| metadata.file_type());
        record.note(
            path,
            match kind {
                Ok(kind) if kind.is_file() => "file".to_owned(),
                Ok(kind) if kind.is_dir() => "folder".to_owned(),
                Ok(kind) if kind.is_symlink() => "link".to_owned(),
                Ok(kind) if kind.is_fifo() => "fifo".to_owned(),
                Ok(_) => "other".to_owned(),
                Err(error) => said_io::<()>(Err(error)),
            },
        );
    }
}
