//! Which system calls reach the kernel (`seccomp(2)`).
//!
//! Two filters. The first goes by number: a list of what ordinary tools need (threads, JITs, sanitizers, debuggers of
//! their own children, sockets on `lo`) is allowed; what is dangerous or meaningless inside answers EPERM, since a clear
//! refusal reads better than a kernel that seems too old; every other number, and every one that these lists do not
//! know, answers ENOSYS, so that programs take their older way. `clone3` is left out on purpose: its flags lie in memory
//! where a filter cannot look, and EPERM instead of ENOSYS breaks every thread (measured). The second filter refuses
//! some arguments of allowed calls.
//!
//! The first is a search tree over ranges of numbers, by [`tree`]: the kernel checks, converts and compiles a filter
//! anew for each sandbox, and a list of one comparison a number took a tenth of the time to a start.
//!
//! Calls of another architecture's table end the process: the second filter starts with that check, and of all filters'
//! answers the most severe counts (`seccomp(2)`). The x32 table has
//! the same architecture and other numbers, which the list does not hold.

use std::collections::BTreeMap;

use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::process::last_errno;

/// The offset of the call's number in `struct seccomp_data` (`seccomp(2)`).
const NUMBER_OFFSET: u32 = 0;

/// Compiles both filters.
///
/// # Errors
/// The compiler's, for a machine whose architecture it does not know.
pub(super) fn compile() -> Result<Vec<Vec<libc::sock_filter>>, seccompiler::BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut answers = BTreeMap::new();
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    for (calls, answer) in
        [([NEEDED, NEEDED_HERE, NEEDED_NEW], libc::SECCOMP_RET_ALLOW), ([REFUSED, REFUSED_HERE, REFUSED_NEW], refused)]
    {
        let numbers = calls.into_iter().flatten().filter_map(|call| u32::try_from(*call).ok());
        answers.extend(numbers.map(|number| (number, answer)));
    }
    let by_argument = SeccompFilter::new(
        refused_by_argument()?,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        architecture,
    )?;
    let unknown = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    Ok(vec![by_number(&answers, unknown), kernel_form(by_argument.try_into()?)])
}

/// A filter that gives each number its answer, and all others `other`.
fn by_number(answers: &BTreeMap<u32, u32>, other: u32) -> Vec<libc::sock_filter> {
    // Where an answer begins; it holds until the next one does.
    let mut ranges: Vec<(u32, u32)> = vec![(0, other)];
    let mut begin = |number: u32, answer: u32| {
        if ranges.last().is_some_and(|(first, _)| *first == number) {
            ranges.pop();
        }
        if ranges.last().is_none_or(|(_, before)| *before != answer) {
            ranges.push((number, answer));
        }
    };
    for (number, answer) in answers {
        begin(*number, *answer);
        begin(number + 1, other);
    }
    let mut program = vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER_OFFSET)];
    program.extend(tree(&ranges));
    program
}

/// A search tree over ranges: each one's first number and answer, ascending.
fn tree(ranges: &[(u32, u32)]) -> Vec<libc::sock_filter> {
    let (below, from) = ranges.split_at(ranges.len() / 2);
    let (false, Some((middle, _))) = (below.is_empty(), from.first()) else {
        return ranges.iter().map(|(_, answer)| instruction(libc::BPF_RET | libc::BPF_K, *answer)).collect();
    };
    let below = tree(below);
    let mut program = Vec::new();
    // A conditional jump reaches 255 instructions, an unconditional one any number.
    program.push(libc::sock_filter { jf: 1, ..instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, *middle) });
    program.push(instruction(libc::BPF_JMP | libc::BPF_JA, u32::try_from(below.len()).unwrap_or(u32::MAX)));
    program.extend(below);
    program.extend(tree(from));
    program
}

fn instruction(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt: 0, jf: 0, k }
}

/// Installs the filters on the calling process.
pub(super) fn install(filters: &[Vec<libc::sock_filter>]) -> Result<(), Errno> {
    for filter in filters {
        let program = libc::sock_fprog {
            len: u16::try_from(filter.len()).map_err(|_| Errno::TOOBIG)?,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: SECCOMP_SET_MODE_FILTER reads `len` instructions from `filter`, which is a live vector of that length;
        // the kernel does not write to it.
        let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if result < 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

fn kernel_form(program: BpfProgram) -> Vec<libc::sock_filter> {
    program
        .into_iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.jt,
            jf: instruction.jf,
            k: instruction.k,
        })
        .collect()
}

/// `CLONE_NEW*` flags that share `clone`'s word (`clone(2)`).
const NEW_NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// `CLONE_NEWTIME`: in `clone` this bit is part of the exit signal.
const NEW_TIME: i32 = 0x80;

/// `READ_IMPLIES_EXEC` of `personality(2)`.
const READ_IMPLIES_EXEC: u64 = 0x0040_0000;

/// `personality(0xffffffff)` only asks.
const ASK_PERSONALITY: u64 = 0xffff_ffff;

/// `TIOCSTI` and `TIOCLINUX`, which put words into a terminal's mouth (`ioctl_tty(2)`).
const TERMINAL_INJECTION: [u64; 2] = [0x5412, 0x541C];

/// Calls that are refused for some arguments only.
fn refused_by_argument() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let is = |argument, compare, value| SeccompCondition::new(argument, Length::Dword, compare, value);
    let has_bit = |bit: i32| {
        let bit = u64::from(bit.cast_unsigned());
        SeccompRule::new(vec![is(0, Compare::MaskedEq(bit), bit)?])
    };
    let [unix, inet, inet6, netlink] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK]
        .map(|family| u64::from(family.cast_unsigned()));
    Ok(BTreeMap::from([
        (libc::SYS_clone, NEW_NAMESPACES.into_iter().map(has_bit).collect::<Result<_, _>>()?),
        (libc::SYS_unshare, NEW_NAMESPACES.into_iter().chain([NEW_TIME]).map(has_bit).collect::<Result<_, _>>()?),
        (
            libc::SYS_socket,
            vec![
                SeccompRule::new(vec![
                    is(0, Compare::Ne, unix)?,
                    is(0, Compare::Ne, inet)?,
                    is(0, Compare::Ne, inet6)?,
                    is(0, Compare::Ne, netlink)?,
                ])?,
                // NETLINK_ROUTE is 0: getifaddrs(3) needs it.
                SeccompRule::new(vec![is(0, Compare::Eq, netlink)?, is(2, Compare::Ne, 0)?])?,
            ],
        ),
        (
            libc::SYS_ioctl,
            TERMINAL_INJECTION
                .into_iter()
                .map(|request| SeccompRule::new(vec![is(1, Compare::Eq, request)?]))
                .collect::<Result<_, _>>()?,
        ),
        (
            libc::SYS_personality,
            vec![SeccompRule::new(vec![
                is(0, Compare::MaskedEq(READ_IMPLIES_EXEC), READ_IMPLIES_EXEC)?,
                is(0, Compare::Ne, ASK_PERSONALITY)?,
            ])?],
        ),
    ]))
}

/// Refused with EPERM whatever the arguments.
const REFUSED: &[i64] = &[
    // Asynchronous rings pass operations by a filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Keyrings are not namespaced.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Other processes' memory and descriptors, and the kernel's insides.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kcmp,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    // Files by handle pass by the mount namespace.
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    // Memory placement of others.
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
];

/// The same, where only this architecture has the call.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
/// The same, where only this architecture has the call.
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// What ordinary tools need.
///
/// The older asynchronous rings (`io_setup` and its kin) are left out: their number is one for the whole machine
/// (`fs.aio-max-nr`), and a sandbox could take all of it (measured). Databases fall back on ENOSYS.
const NEEDED: &[i64] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_brk,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_chdir,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_connect,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_flock,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_get_mempolicy,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getitimer,
    libc::SYS_getpeername,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_getxattr,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_ioctl,
    libc::SYS_ioprio_get,
    libc::SYS_ioprio_set,
    libc::SYS_kill,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_lgetxattr,
    libc::SYS_linkat,
    libc::SYS_listen,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_lremovexattr,
    libc::SYS_lseek,
    libc::SYS_lsetxattr,
    libc::SYS_madvise,
    libc::SYS_mbind,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mincore,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mq_getsetattr,
    libc::SYS_mq_notify,
    libc::SYS_mq_open,
    libc::SYS_mq_timedreceive,
    libc::SYS_mq_timedsend,
    libc::SYS_mq_unlink,
    libc::SYS_mremap,
    libc::SYS_msgctl,
    libc::SYS_msgget,
    libc::SYS_msgrcv,
    libc::SYS_msgsnd,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munlockall,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_personality,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pipe2,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_pkey_mprotect,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_prlimit64,
    libc::SYS_pselect6,
    libc::SYS_ptrace,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readahead,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_remap_file_pages,
    libc::SYS_removexattr,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_yield,
    libc::SYS_seccomp,
    libc::SYS_semctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_sendfile,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_mempolicy,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_setitimer,
    libc::SYS_setpgid,
    libc::SYS_setpriority,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_setrlimit,
    libc::SYS_setsid,
    libc::SYS_setsockopt,
    libc::SYS_setuid,
    libc::SYS_setxattr,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmdt,
    libc::SYS_shmget,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_sync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_sysinfo,
    libc::SYS_tee,
    libc::SYS_tgkill,
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_gettime,
    libc::SYS_timer_settime,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_times,
    libc::SYS_tkill,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_unshare,
    libc::SYS_utimensat,
    libc::SYS_vmsplice,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_write,
    libc::SYS_writev,
];

/// What they need on this architecture besides.
#[cfg(target_arch = "x86_64")]
const NEEDED_HERE: &[i64] = &[
    libc::SYS_access,
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_creat,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_fork,
    libc::SYS_futimesat,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_inotify_init,
    libc::SYS_lchown,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_open,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_signalfd,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_vfork,
];
/// What they need on this architecture besides.
#[cfg(not(target_arch = "x86_64"))]
const NEEDED_HERE: &[i64] = &[];

/// Numbers that the C library has no name for yet (`linux/unistd.h`; from 424 on the same on every architecture):
/// cachestat, fchmodat2, map_shadow_stack, futex_wake, futex_wait, futex_requeue, mseal.
const NEEDED_NEW: &[i64] = &[451, 452, 453, 454, 455, 456, 462];

/// The same for refused ones: quotactl_fd, statmount, listmount, open_tree_attr.
const REFUSED_NEW: &[i64] = &[443, 457, 458, 467];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_needed_and_refused() {
        let refused: Vec<&i64> = REFUSED.iter().chain(REFUSED_HERE).chain(REFUSED_NEW).collect();
        let both: Vec<&i64> =
            NEEDED.iter().chain(NEEDED_HERE).chain(NEEDED_NEW).filter(|call| refused.contains(call)).collect();
        assert_eq!(both, Vec::<&i64>::new());
        assert!(!NEEDED.contains(&libc::SYS_clone3));
    }

    /// What a filter by number answers (the few instructions that it is made of, as `bpf(4)` of BSD describes them).
    fn answer(program: &[libc::sock_filter], number: u32) -> u32 {
        let mut at = 1;
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                code if code == libc::BPF_RET | libc::BPF_K => return k,
                code if code == libc::BPF_JMP | libc::BPF_JA => at += k as usize,
                code if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K => {
                    at += usize::from(if number >= k { jt } else { jf });
                }
                code => panic!("instruction {code}"),
            }
        }
    }

    #[test]
    fn the_tree_gives_each_number_its_answer() {
        let answers = BTreeMap::from([(0, 7), (1, 7), (2, 8), (5, 7), (300, 8), (301, 7), (u32::MAX - 1, 7)]);
        let program = by_number(&answers, 1);
        for number in (0..400).chain([u32::MAX - 2, u32::MAX - 1, u32::MAX]) {
            assert_eq!(answer(&program, number), answers.get(&number).copied().unwrap_or(1), "{number}");
        }
    }

    #[test]
    fn needed_calls_are_allowed_dangerous_ones_refused_and_unknown_ones_not_there() {
        let program = compile().unwrap().remove(0);
        let of = |number: i64| answer(&program, u32::try_from(number).unwrap());
        let (refused, unknown) = (libc::SECCOMP_RET_ERRNO | 1, libc::SECCOMP_RET_ERRNO | 38);
        assert_eq!(of(libc::SYS_read), libc::SECCOMP_RET_ALLOW);
        assert!(NEEDED.iter().chain(NEEDED_HERE).chain(NEEDED_NEW).all(|call| of(*call) == libc::SECCOMP_RET_ALLOW));
        assert!(REFUSED.iter().chain(REFUSED_HERE).chain(REFUSED_NEW).all(|call| of(*call) == refused));
        // The x32 table has the same architecture and a bit of its own (`seccomp(2)`, "Caveats").
        for number in [libc::SYS_clone3, 9999, 0x4000_0000 + libc::SYS_read, i64::from(u32::MAX)] {
            assert_eq!(of(number), unknown, "{number}");
        }
    }

    #[test]
    fn the_filters_compile_within_the_kernels_bound() {
        // BPF_MAXINSNS, linux/bpf_common.h.
        let filters = compile().unwrap();
        assert_eq!(filters.len(), 2);
        assert!(filters.iter().all(|filter| filter.len() <= 4096));
    }
}
