//! A program of the host that reads what a sandbox wrote: a child of the server with less than the server has.
//!
//! It is no sandbox: it has the host's root, and no namespaces. It ends with the server, gains no privilege, starts no other
//! process, and is bounded in memory, time and files. Where the kernel has Landlock, it reaches the folders that it is for, the
//! system's programs to read, and no TCP; a failure to raise that fence ends it. A root server's child is an unprivileged id of
//! the host, with the one capability to read what others own; where its root lacks that one and there is no Landlock, with none.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::Command,
    sync::Arc,
};

use rustix::{
    fs::{Gid, Mode, OFlags, Uid},
    io::Errno,
    process::Signal,
    thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets},
};

use super::{landlock, limits};

/// Memory that it may write, in bytes: more than the largest object that git takes at once, and the delta that it stands on.
const MEMORY_BYTES: u64 = 3 << 30;

/// The largest file that it may write, in bytes.
const FILE_BYTES: u64 = 8 << 30;

/// Files that it may have open: git keeps each pack that it looks into open.
const OPEN_FILES: u64 = 1024;

/// Where programs and their libraries lie, and what names temporary files; read and executed, never written.
const SYSTEM: [&str; 12] = [
    "/dev/urandom",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/etc/ld-musl-x86_64.path",
];

/// What a child is restricted to. One is made for many.
#[derive(Debug, Clone)]
pub(crate) struct Restriction {
    fence: Option<Arc<OwnedFd>>,
    /// Who it becomes: host ids, and the capability to read what others own.
    identity: Option<(u32, u32, CapabilitySet)>,
    limits: Arc<[(libc::c_int, u64)]>,
    /// Who must be its parent.
    server: u32,
}

impl Restriction {
    /// One that bounds what a child uses and lets it reach what the server reaches. `seconds` are of processor time.
    pub(crate) fn of_use(seconds: u64) -> Self {
        let limits = [
            (libc::RLIMIT_CPU, seconds),
            (libc::RLIMIT_DATA, MEMORY_BYTES),
            (libc::RLIMIT_FSIZE, FILE_BYTES),
            (libc::RLIMIT_NOFILE, OPEN_FILES),
            // 1, not 0: a core pattern that is a pipe ignores 0 (core(5)).
            (libc::RLIMIT_CORE, 1),
        ];
        let limits = limits.map(|(resource, value)| (resource as libc::c_int, value)).to_vec();
        Self { fence: None, identity: None, limits: limits.into(), server: std::process::id() }
    }

    /// The same for a child that reads `readable`, writes below `writable`, and runs programs of the system and `programs`. A
    /// root server's becomes `identity`, a user and group id.
    ///
    /// # Errors
    /// The kernel's, where Landlock is there and did not take a rule.
    pub(crate) fn to(
        self,
        (readable, writable): (&[BorrowedFd<'_>], &[BorrowedFd<'_>]),
        programs: &[&Path],
        identity: (u32, u32),
    ) -> io::Result<Self> {
        let version = landlock::version();
        let identity = if rustix::process::geteuid().is_root() {
            let ours = rustix::thread::capabilities(None)?.permitted;
            Some((identity.0, identity.1, reading(ours, version)))
        } else {
            None
        };
        // Counted for a whole user, so a root server's child must be another one first.
        let processes = (libc::RLIMIT_NPROC as libc::c_int, 0);
        let limits = self.limits.iter().copied().chain([processes]).collect();
        let fence = if version == 0 {
            None
        } else {
            let fence = landlock::Ruleset::new(version)?;
            for path in SYSTEM.iter().map(Path::new).chain(programs.iter().copied()) {
                match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                    Ok(found) => fence.allow_reading(found.as_fd())?,
                    Err(Errno::NOENT | Errno::ACCESS) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let null = rustix::fs::open("/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            readable.iter().try_for_each(|folder| fence.allow_reading(*folder))?;
            writable.iter().copied().chain([null.as_fd()]).try_for_each(|folder| fence.allow_writing(folder))?;
            Some(Arc::new(fence.into_descriptor()))
        };
        Ok(Self { fence, identity, limits, server: self.server })
    }

    /// Restricts the child that `command` starts. It lives no longer than the thread that starts it.
    pub(crate) fn apply(&self, command: &mut Command) {
        let restriction = self.clone();
        // SAFETY: between fork and exec the closure only makes system calls and reads memory that was prepared before: it takes
        // no lock, allocates nothing, and drops nothing that another thread could hold (std's list for `pre_exec`).
        unsafe {
            command.pre_exec(move || restriction.enter().map_err(io::Error::from));
        }
    }

    fn enter(&self) -> Result<(), Errno> {
        if let Some((user, group, reading)) = self.identity {
            become_reader(Uid::from_raw(user), Gid::from_raw(group), reading)?;
        }
        // After the change of ids, which disarms it (prctl(2), PR_SET_PDEATHSIG).
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // A server that ended before that line sends no signal.
        if rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get().cast_unsigned()) != Some(self.server) {
            return Err(Errno::SRCH);
        }
        rustix::thread::set_no_new_privs(true)?;
        if let Some(fence) = &self.fence {
            landlock::enter(fence.as_fd())?;
        }
        limits::set(&self.limits)
    }
}

/// The capability to read what others own, out of what a root server has. A root of a container may lack the one that only reads;
/// the other one writes too, so it is for a child that Landlock keeps from that.
fn reading(ours: CapabilitySet, landlock: i32) -> CapabilitySet {
    if ours.contains(CapabilitySet::DAC_READ_SEARCH) {
        CapabilitySet::DAC_READ_SEARCH
    } else if landlock > 0 {
        ours & CapabilitySet::DAC_OVERRIDE
    } else {
        CapabilitySet::empty()
    }
}

/// Becomes somebody who owns nothing and may read what others own, and keeps that over `execve(2)` (capabilities(7),
/// "Ambient").
fn become_reader(user: Uid, group: Gid, reading: CapabilitySet) -> Result<(), Errno> {
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    // Else the change of ids would take the capability, and `access(2)` would answer as if it were not there.
    rustix::thread::set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    let only = CapabilitySets { effective: reading, permitted: reading, inheritable: reading };
    rustix::thread::set_capabilities(None, only)?;
    if reading.is_empty() { Ok(()) } else { rustix::thread::configure_capability_in_ambient_set(reading, true) }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Output};

    use super::*;

    /// What a shell that may write `folder` and read `/usr` comes to with `line`.
    fn restricted(folder: &Path, line: &str) -> Output {
        let opened = fs::File::open(folder).unwrap();
        let restriction = Restriction::of_use(2).to((&[], &[opened.as_fd()]), &[], (60_001, 60_001)).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).current_dir(folder);
        restriction.apply(&mut command);
        command.output().unwrap()
    }

    fn said(output: &Output) -> String {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            rustix::fs::chown(folder.path(), Some(Uid::from_raw(60_001)), None).unwrap();
        }
        folder
    }

    #[test]
    fn it_reaches_its_own_folder_and_no_other() {
        assert!(landlock::version() > 0, "these tests need a kernel with Landlock");
        let (own, other) = (folder(), folder());
        let secret = other.path().join("secret");
        fs::write(&secret, "secret\n").unwrap();
        let output = restricted(own.path(), "echo x > here; read -r line < here; echo $line");
        assert_eq!(said(&output), "x\n");
        for line in [
            format!("read -r line < {}; echo $line", secret.display()),
            format!("echo x > {}", secret.display()),
            "read -r line < /etc/hostname; echo got".to_owned(),
            "read -r line < /proc/self/environ; echo got".to_owned(),
        ] {
            let output = restricted(own.path(), &line);
            assert!(said(&output).contains("ermission denied"), "{line}: {}", said(&output));
        }
        assert_eq!(fs::read_to_string(secret).unwrap(), "secret\n");
    }

    #[test]
    fn it_starts_nothing_and_has_no_time() {
        let own = folder();
        let output = restricted(own.path(), "/bin/ls & wait");
        assert!(!output.status.success() && said(&output).contains("fork"), "{}", said(&output));
        let output = restricted(own.path(), "while :; do :; done");
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert!(matches!(signal, Some(libc::SIGKILL | libc::SIGXCPU)), "{output:?}");
    }

    #[test]
    fn it_ends_with_the_thread_that_started_it() {
        let own = folder();
        let opened = fs::File::open(own.path()).unwrap();
        let restriction = Restriction::of_use(60).to((&[], &[opened.as_fd()]), &[], (60_001, 60_001)).unwrap();
        let mut command = Command::new("/bin/sleep");
        command.arg("60").current_dir(own.path());
        restriction.apply(&mut command);
        let mut child = std::thread::spawn(move || command.spawn().unwrap()).join().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap());
        assert_eq!(signal, Some(libc::SIGKILL));
    }

    #[test]
    fn nothing_may_write_what_others_own_without_a_fence() {
        let (reading_only, both) = (CapabilitySet::DAC_READ_SEARCH, CapabilitySet::DAC_OVERRIDE);
        for (ours, landlock, given) in [
            (CapabilitySet::all(), 0, reading_only),
            (CapabilitySet::all(), 1, reading_only),
            (both | CapabilitySet::CHOWN, 1, both),
            (both | CapabilitySet::CHOWN, 0, CapabilitySet::empty()),
            (CapabilitySet::CHOWN, 1, CapabilitySet::empty()),
        ] {
            assert_eq!(reading(ours, landlock), given, "{ours:?} with Landlock {landlock}");
        }
    }

    #[test]
    fn a_root_servers_is_somebody_else_with_one_capability_and_a_users_has_none() {
        let own = folder();
        let mut command = Command::new("/bin/cat");
        command.arg("/proc/self/status");
        let opened = fs::File::open(own.path()).unwrap();
        let status = fs::File::open("/proc").unwrap();
        Restriction::of_use(2)
            .to((&[status.as_fd()], &[opened.as_fd()]), &[], (60_001, 60_002))
            .unwrap()
            .apply(&mut command);
        let text = said(&command.output().unwrap());
        let line = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
            found.unwrap_or_default().to_owned()
        };
        let me = rustix::process::geteuid();
        // CAP_DAC_READ_SEARCH is 2.
        let (user, group, capabilities) = if me.is_root() {
            assert_eq!(line("Groups").trim(), "");
            (60_001, 60_002, "0000000000000004")
        } else {
            (me.as_raw(), rustix::process::getegid().as_raw(), "0000000000000000")
        };
        for (name, id) in [("Uid", user), ("Gid", group)] {
            assert_eq!(line(name), [id.to_string().as_str(); 4].join("\t"), "{text}");
        }
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(line(set), capabilities, "{set}");
        }
        assert_eq!(line("NoNewPrivs"), "1");
    }
}
