//! Limits that each process of a sandbox has (`setrlimit(2)`), from a call's budgets.

use cofferdam_contract::Limits;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use std::ffi::CStr;

use super::process::last_errno;

/// Open files of one process, at most and at least. Many tools raise their soft limit to the hard one.
const OPEN_FILES: (u64, u64) = (16_384, 1024);

/// The part of the machine's table of open files that a sandbox may take: all its processes at their limits.
const FILE_TABLE_PART: u64 = 2;

/// Locked memory of one process, in bytes: enough for a crypto library's keys, too little to hurt.
const LOCKED_MEMORY: u64 = 64 << 20;

/// Queued signals and POSIX timers of a sandbox. They count towards the host user's own share too (`ucounts`), which a
/// sandbox must not use up (measured: with the inherited limit the host's `timer_create` answered EAGAIN).
const PENDING_SIGNALS: u64 = 4096;

/// Bytes in POSIX message queues, half of the kernel's default for a user, for the same reason.
const QUEUE_BYTES: u64 = 409_600;

/// Inotify instances and watches of a sandbox, for the same reason: the kernel's default is 128 instances for a user, and
/// a host whose editor finds none left is a host that notices.
const INOTIFY: [(&CStr, &[u8]); 2] =
    [(c"/proc/sys/user/max_inotify_instances", b"32"), (c"/proc/sys/user/max_inotify_watches", b"16384")];

/// The limits that `limits` and this house's own bounds come to, as (resource, value).
///
/// `file_table` is how many files the machine may have open (`/proc/sys/fs/file-max`, proc_sys_fs(5)).
pub(super) fn of(limits: &Limits, own_open_files: u64, file_table: u64) -> Vec<(libc::c_int, u64)> {
    let (most, least) = OPEN_FILES;
    let open_files = (file_table / FILE_TABLE_PART / limits.pids.max(1)).clamp(least, most);
    let mebibytes = |number: u64| number.saturating_mul(1 << 20);
    [
        // Counted inside the user namespace, so this sandbox alone (measured; user_namespaces(7) since Linux 5.14).
        (libc::RLIMIT_NPROC, limits.pids),
        (libc::RLIMIT_CPU, limits.cpu_seconds),
        (libc::RLIMIT_FSIZE, mebibytes(limits.disk_mb)),
        (libc::RLIMIT_NOFILE, own_open_files.min(open_files)),
        (libc::RLIMIT_MEMLOCK, LOCKED_MEMORY),
        // 1, not 0: a core pattern that is a pipe ignores 0 and would run its handler on the host; 1 stops it
        // (core(5), fs/coredump.c).
        (libc::RLIMIT_CORE, 1),
        (libc::RLIMIT_RTPRIO, 0),
        (libc::RLIMIT_NICE, 0),
        (libc::RLIMIT_SIGPENDING, PENDING_SIGNALS),
        (libc::RLIMIT_MSGQUEUE, QUEUE_BYTES),
    ]
    .map(|(resource, value)| (resource as libc::c_int, value))
    .to_vec()
}

/// How many files the machine may have open; where it does not say, as many as there can be.
pub(super) fn file_table() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/file-max").unwrap_or_default();
    text.trim().parse().unwrap_or(u64::MAX)
}

/// Sets the limits, soft and hard; one that is lower already stays.
pub(super) fn set(limits: &[(libc::c_int, u64)]) -> Result<(), Errno> {
    for (resource, value) in limits {
        let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        prlimit(*resource, std::ptr::null(), &raw mut now)?;
        // Raising a hard limit needs CAP_SYS_RESOURCE on the host.
        let value = (*value).min(now.rlim_max);
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        prlimit(*resource, &raw const limit, std::ptr::null_mut())?;
    }
    Ok(())
}

/// Bounds what the user namespace may take of the host user's share of kernel objects. Needs a writable `/proc/sys`.
pub(super) fn share_kernel_objects() -> Result<(), Errno> {
    for (path, value) in INOTIFY {
        match rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => rustix::io::write(&file, value).map(drop)?,
            // A kernel without inotify has none to share.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn prlimit(resource: libc::c_int, new: *const libc::rlimit, old: *mut libc::rlimit) -> Result<(), Errno> {
    // SAFETY: both callers pass null or a pointer to a live rlimit on their stack, and pid 0 is the calling process.
    if unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, old) } < 0 { Err(last_errno()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_processes_of_a_sandbox_leave_others_room_in_the_table_of_files() {
        let open_files = |file_table| {
            let limits = Limits { pids: 2048, ..Limits::TESTS };
            let all = of(&limits, 1 << 20, file_table);
            all.iter().find(|(resource, _)| *resource == libc::RLIMIT_NOFILE as libc::c_int).map(|(_, value)| *value)
        };
        assert_eq!(open_files(u64::MAX), Some(16_384));
        assert_eq!(open_files(8192 * 2048), Some(4096));
        assert_eq!(open_files(2_466_186), Some(1024), "programs need some, on a small machine too");
    }
}
