//! Ordinary things with files that must work, in the workspace, in `/tmp` and in the home.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    },
    path::Path,
};

use crate::{
    kernel::{c_path, call, last_errno, owned, said, said_io, wait_readable},
    record::Record,
};

/// Everything that is done to files, in each folder that is named.
pub(super) fn files(record: &mut Record, folders: &[String]) {
    for folder in folders {
        let base = Path::new(folder).join("ordinary");
        record.note(format!("{folder}: folders"), said_io(fs::create_dir_all(base.join("a/b/c"))));
        let mut note = |what: &str, result: String| record.note(format!("{folder}: {what}"), result);
        note(
            "write and read",
            said_io(fs::write(base.join("file"), "text").and_then(|()| fs::read_to_string(base.join("file")))),
        );
        note(
            "append",
            said_io(
                fs::OpenOptions::new()
                    .append(true)
                    .open(base.join("file"))
                    .and_then(|mut file| file.write_all(b"more")),
            ),
        );
        note(
            "rename over",
            said_io(fs::write(base.join("new"), "x").and_then(|()| fs::rename(base.join("new"), base.join("file")))),
        );
        note("rename a folder", said_io(fs::rename(base.join("a/b"), base.join("a/d"))));
        note(
            "symbolic link",
            said_io(symlink("file", base.join("link")).and_then(|()| fs::read_link(base.join("link")))),
        );
        note("hard link", said_io(fs::hard_link(base.join("file"), base.join("hard"))));
        note(
            "fifo",
            said(call!(libc::SYS_mknodat, libc::AT_FDCWD, &c_path(base.join("fifo")), libc::S_IFIFO | 0o600, 0)),
        );
        note("chmod", said_io(fs::set_permissions(base.join("file"), fs::Permissions::from_mode(0o755))));
        note(
            "lock",
            said_io(fs::File::open(base.join("file")).and_then(|file| file.try_lock().map_err(std::io::Error::from))),
        );
        note("record lock", record_lock(&base.join("file")));
        note("sparse file", said_io(sparse(&base.join("sparse"))));
        note(
            "file without a name",
            said(call!(libc::SYS_openat, libc::AT_FDCWD, &c_path(&base), libc::O_TMPFILE | libc::O_RDWR, 0o600)),
        );
        note(
            "allocate",
            said_io(fs::File::create(base.join("allocated"))).replace("ok", &allocated(&base.join("allocated"))),
        );
        note("copy in the kernel", said_io(fs::copy(base.join("file"), base.join("copy"))));
        note("map, shared", shared_map(&base.join("mapped")));
        note("sync", said_io(fs::File::open(base.join("file")).and_then(|file| file.sync_all())));
        note("touch", said(call!(libc::SYS_utimensat, libc::AT_FDCWD, &c_path(base.join("file")), 0, 0)));
        note("open by openat2", {
            // struct open_how: read-only, no mode, RESOLVE_NO_SYMLINKS.
            let mut how = [0_u8; 24];
            how[16] = 4;
            said(call!(libc::SYS_openat2, libc::AT_FDCWD, &c_path(base.join("file")), how.as_slice(), how.len()))
        });
        note("inotify", notified(&base));
        note("delete all", said_io(fs::remove_dir_all(&base)));
    }
}

fn record_lock(path: &Path) -> String {
    let file = match fs::OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) => return said_io::<()>(Err(error)),
    };
    let mut lock = [0_u8; 32];
    lock[..2].copy_from_slice(&(libc::F_WRLCK as i16).to_ne_bytes());
    said(call!(libc::SYS_fcntl, file.as_raw_fd(), libc::F_SETLK, lock.as_slice()))
}

/// A file with a hole, and a byte after it: 32 MiB of size, one block of space.
fn sparse(path: &Path) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    file.write_all_at(b"x", 32 << 20)?;
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut [0_u8; 16])
}

fn allocated(path: &Path) -> String {
    let file = match fs::OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) => return said_io::<()>(Err(error)),
    };
    // SAFETY: takes a descriptor and numbers. The C library's form falls back where a file system has no fallocate.
    let result = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, 1 << 20) };
    if result == 0 { "ok".to_owned() } else { crate::kernel::Errno(result).to_string() }
}

fn shared_map(path: &Path) -> String {
    let file = match fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path) {
        Ok(file) => file,
        Err(error) => return said_io::<()>(Err(error)),
    };
    if file.set_len(4096).is_err() {
        return last_errno().to_string();
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    match call!(libc::SYS_mmap, 0, 4096, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) {
        Ok(address) => {
            // SAFETY: the file has 4096 bytes, all of them mapped writable until this process ends.
            unsafe { (address as *mut u8).write_volatile(7) };
            let mut byte = [0_u8; 1];
            match file.read_at(&mut byte, 0) {
                Ok(1) if byte == [7] => "ok".to_owned(),
                _ => "not seen in the file".to_owned(),
            }
        }
        Err(errno) => errno.to_string(),
    }
}

fn notified(folder: &Path) -> String {
    let watch = match call!(libc::SYS_inotify_init1, 0) {
        Ok(watch) => owned(watch),
        Err(errno) => return errno.to_string(),
    };
    if let Err(errno) = call!(libc::SYS_inotify_add_watch, watch.as_raw_fd(), &c_path(folder), libc::IN_CREATE) {
        return errno.to_string();
    }
    let made = fs::write(folder.join("noticed"), "x");
    if wait_readable(&watch, 2000) { said_io(made) } else { "not noticed".to_owned() }
}

/// Changes to files that the host's workspace has: its folders are the lower layer here.
pub(super) fn workspace_files(record: &mut Record, _: &[String]) {
    record.note("read", said_io(fs::read_to_string("README")));
    record.note(
        "change",
        said_io(fs::OpenOptions::new().append(true).open("README").and_then(|mut file| file.write_all(b"more\n"))),
    );
    record.note("delete", said_io(fs::remove_file("folder/one")));
    record.note("make again", said_io(fs::write("folder/one", "again")));
    record.note("rename a file", said_io(fs::rename("folder/two", "folder/renamed")));
    record.note("rename a folder", said_io(fs::rename("folder", "moved")));
    let moved = std::process::Command::new("mv").args(["folder", "moved"]).status();
    record.note(
        "mv a folder",
        moved.map_or_else(|error| error.to_string(), |status| if status.success() { "ok" } else { "fails" }.to_owned()),
    );
    record.note("execute a script", {
        let status = std::process::Command::new("./script").output();
        status.map_or_else(
            |error| said_io::<()>(Err(error)),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    });
    record.note("inotify on a file of the host's", {
        let watch = call!(libc::SYS_inotify_init1, 0).map(owned);
        match watch {
            Ok(watch) => {
                let added = call!(
                    libc::SYS_inotify_add_watch,
                    watch.as_raw_fd(),
                    c"README",
                    libc::IN_MODIFY | libc::IN_CLOSE_WRITE
                );
                let _ =
                    fs::OpenOptions::new().append(true).open("README").and_then(|mut file| file.write_all(b"more\n"));
                if wait_readable(&watch, 2000) { "ok".to_owned() } else { said(added).replace("ok", "not noticed") }
            }
            Err(errno) => errno.to_string(),
        }
    });
    record.note("one file seen the same by two descriptors", {
        let before = fs::File::open("other");
        let _ = fs::OpenOptions::new().append(true).open("other").and_then(|mut file| file.write_all(b"more"));
        before.map_or_else(
            |error| said_io::<()>(Err(error)),
            |mut file| {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                if text.ends_with("more") { "same".to_owned() } else { "older".to_owned() }
            },
        )
    });
}

/// Who and where a program is, as programs ask.
pub(super) fn identity(record: &mut Record, _: &[String]) {
    for (program, arguments) in [
        ("id", ["-un"].as_slice()),
        ("id", &["-u"]),
        ("id", &["-gn"]),
        ("whoami", &[]),
        ("hostname", &[]),
        ("pwd", &[]),
    ] {
        let output = std::process::Command::new(program).args(arguments).output();
        let what = [&[program], arguments].concat().join(" ");
        record.note(
            what,
            output.map_or_else(
                |error| said_io::<()>(Err(error)),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            ),
        );
    }
    for name in ["HOME", "USER", "LANG", "TMPDIR"] {
        record.note(name, std::env::var(name).unwrap_or_else(|_| "absent".to_owned()));
    }
    record.note("random bytes", {
        let mut bytes = [0_u8; 16];
        said(call!(libc::SYS_getrandom, bytes.as_mut_slice(), 16, 0))
    });
    record.note(
        "/dev/urandom",
        said_io(fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut [0_u8; 16]))),
    );
    record.note("/dev/null", said_io(fs::write("/dev/null", "x")));
    record.note("/dev/full", said_io(fs::write("/dev/full", "x")));
    record.note("/dev/fd", said_io(fs::metadata("/dev/fd/1")));
    record.note("time zone", said_io(fs::metadata("/etc/localtime")));
}
