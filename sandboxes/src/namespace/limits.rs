//! Limits that each process of a sandbox has (`setrlimit(2)`), from a call's budgets.

use cofferdam_contract::Limits;
use rustix::io::Errno;

use super::process::last_errno;

/// Open files of one process. Many tools raise their soft limit to the hard one.
const OPEN_FILES: u64 = 16_384;

/// Locked memory of one process, in bytes: enough for a crypto library's keys, too little to hurt.
const LOCKED_MEMORY: u64 = 64 << 20;

/// The limits that `limits` and this house's own bounds come to, as (resource, value).
pub(super) fn of(limits: &Limits, own_open_files: u64) -> Vec<(libc::c_int, u64)> {
    let mebibytes = |number: u64| number.saturating_mul(1 << 20);
    [
        // Counted inside the user namespace, so this sandbox alone (measured; user_namespaces(7) since Linux 5.14).
        (libc::RLIMIT_NPROC, limits.pids),
        (libc::RLIMIT_CPU, limits.cpu_seconds),
        (libc::RLIMIT_FSIZE, mebibytes(limits.disk_mb)),
        (libc::RLIMIT_NOFILE, own_open_files.min(OPEN_FILES)),
        (libc::RLIMIT_MEMLOCK, LOCKED_MEMORY),
        // 1, not 0: a core pattern that is a pipe ignores 0 and would run its handler on the host; 1 stops it
        // (core(5), fs/coredump.c).
        (libc::RLIMIT_CORE, 1),
        (libc::RLIMIT_RTPRIO, 0),
        (libc::RLIMIT_NICE, 0),
        (libc::RLIMIT_MSGQUEUE, 819_200),
    ]
    .map(|(resource, value)| (resource as libc::c_int, value))
    .to_vec()
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

fn prlimit(resource: libc::c_int, new: *const libc::rlimit, old: *mut libc::rlimit) -> Result<(), Errno> {
    // SAFETY: both callers pass null or a pointer to a live rlimit on their stack, and pid 0 is the calling process.
    if unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, old) } < 0 { Err(last_errno()) } else { Ok(()) }
}
