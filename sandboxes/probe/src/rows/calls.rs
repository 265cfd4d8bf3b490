//! The kernel's surface: calls that a filter must keep from programs, with arguments that harm nothing where they are
//! let through.

use std::{fs, thread, time::Duration};

use super::namespaces::{MEMORY_NAME, end_child, open_socket, sleeping_child};
use crate::{
    kernel::{call, exit_now, owned, said},
    record::Record,
};

/// P48: io_uring.
pub(super) fn rings(record: &mut Record, _: &[String]) {
    record.attempt("io_uring_setup", || {
        let mut parameters = [0_u8; 120];
        said(call!(libc::SYS_io_uring_setup, 4, parameters.as_mut_slice()))
    });
    record.attempt("io_uring_enter", || said(call!(libc::SYS_io_uring_enter, -1, 0, 0, 0, 0, 0)));
    record.attempt("io_uring_register", || said(call!(libc::SYS_io_uring_register, -1, 0, 0, 0)));
}

/// P49: other processes' memory and the kernel's insides. Arguments: host process ids.
pub(super) fn other_processes(record: &mut Record, processes: &[String]) {
    record.attempt("bpf", || {
        let mut attributes = [0_u8; 48];
        // BPF_MAP_CREATE of an array with one element of four bytes.
        for (place, value) in [(0, 2_u8), (4, 4), (8, 4), (12, 1)] {
            attributes[place] = value;
        }
        said(call!(libc::SYS_bpf, 0, attributes.as_slice(), attributes.len()))
    });
    record.attempt("perf_event_open", || {
        let mut attributes = [0_u8; 112];
        // PERF_TYPE_SOFTWARE, its size, PERF_COUNT_SW_CPU_CLOCK; exclude_kernel and exclude_hv.
        attributes[0] = 1;
        attributes[4] = 112;
        attributes[40] = 0x60;
        said(call!(libc::SYS_perf_event_open, attributes.as_slice(), 0, -1, -1, 0))
    });
    record.attempt("userfaultfd", || said(call!(libc::SYS_userfaultfd, 1)));
    record.attempt("kcmp", || said(call!(libc::SYS_kcmp, std::process::id(), std::process::id(), 0, 0, 1)));
    for name in ["process_vm_readv", "process_vm_writev"] {
        let number = if name == "process_vm_readv" { libc::SYS_process_vm_readv } else { libc::SYS_process_vm_writev };
        record.attempt(format!("{name} of a child"), || {
            let Some(child) = sleeping_child() else { return "no child".to_owned() };
            let said = said(call!(number, child, 0, 0, 0, 0, 0));
            end_child(child);
            said
        });
    }
    record.attempt("process_madvise", || said(call!(libc::SYS_process_madvise, -1, 0, 0, 0, 0)));
    record.attempt("migrate_pages", || said(call!(libc::SYS_migrate_pages, 0, 0, 0, 0)));
    record.attempt("move_pages", || said(call!(libc::SYS_move_pages, 0, 0, 0, 0, 0, 0)));
    for process in processes {
        let pid: i32 = process.parse().unwrap_or(-1);
        record.attempt("ptrace a host process", || said(call!(libc::SYS_ptrace, libc::PTRACE_SEIZE, pid, 0, 0)));
        record.attempt("/proc/PID/mem of a host process", || {
            crate::kernel::said_io(fs::File::open(format!("/proc/{pid}/mem")))
        });
    }
    for (name, family) in [
        ("AF_PACKET", libc::AF_PACKET),
        ("AF_VSOCK", libc::AF_VSOCK),
        ("AF_ALG", libc::AF_ALG),
        ("AF_KEY", libc::AF_KEY),
        ("AF_BLUETOOTH", libc::AF_BLUETOOTH),
        ("AF_CAN", libc::AF_CAN),
        ("AF_TIPC", libc::AF_TIPC),
        ("AF_XDP", libc::AF_XDP),
        ("AF_RDS", libc::AF_RDS),
    ] {
        record.attempt(format!("socket {name}"), || open_socket(family, libc::SOCK_DGRAM, 0));
    }
    record.attempt("socket raw IPv4", || open_socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP));
    for (name, protocol) in [("netfilter", 12), ("kobject_uevent", 15), ("generic", 16), ("audit", 9), ("xfrm", 6)] {
        record.attempt(format!("socket netlink {name}"), || open_socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol));
    }
}

/// P50: keyrings, which no namespace divides.
pub(super) fn keyrings(record: &mut Record, _: &[String]) {
    const GET_KEYRING_ID: i32 = 0;
    const SESSION_KEYRING: i32 = -3;
    record.attempt("add_key", || said(call!(libc::SYS_add_key, c"user", c"cofferdam-probe", b"x".as_slice(), 1, -1)));
    record.attempt("request_key", || said(call!(libc::SYS_request_key, c"user", c"cofferdam-probe", 0, 0)));
    record
        .attempt("keyctl session keyring", || said(call!(libc::SYS_keyctl, GET_KEYRING_ID, SESSION_KEYRING, 0, 0, 0)));
}

/// P51: calls that govern the whole machine. Each would change nothing where it succeeds.
pub(super) fn machine(record: &mut Record, _: &[String]) {
    record.attempt("init_module", || said(call!(libc::SYS_init_module, b"x".as_slice(), 1, c"")));
    record.attempt("finit_module", || said(call!(libc::SYS_finit_module, -1, c"", 0)));
    record.attempt("delete_module", || said(call!(libc::SYS_delete_module, c"no-such-module", 0)));
    record.attempt("kexec_load", || said(call!(libc::SYS_kexec_load, 0, 0, 0, 1_u64 << 40)));
    record.attempt("kexec_file_load", || said(call!(libc::SYS_kexec_file_load, -1, -1, 0, 0, 1 << 20)));
    // The magic numbers are wrong: a kernel that lets the call in answers EINVAL.
    record.attempt("reboot", || said(call!(libc::SYS_reboot, 0, 0, 0, 0)));
    record.attempt("swapon", || said(call!(libc::SYS_swapon, c"/no-such-file", 0)));
    record.attempt("swapoff", || said(call!(libc::SYS_swapoff, c"/no-such-file")));
    record.attempt("acct", || said(call!(libc::SYS_acct, c"/no-such-file")));
    record.attempt("quotactl", || said(call!(libc::SYS_quotactl, 0x0080_0001, 0, 0, 0)));
    record.attempt("lookup_dcookie", || said(call!(libc::SYS_lookup_dcookie, 0, 0, 0)));
    record.attempt("settimeofday", || said(call!(libc::SYS_settimeofday, 0, 0)));
    record.attempt("clock_settime", || said(call!(libc::SYS_clock_settime, libc::CLOCK_REALTIME, 0)));
    record.attempt("adjtimex", || {
        let mut timex = [0_u8; 208];
        said(call!(libc::SYS_adjtimex, timex.as_mut_slice()))
    });
    record.attempt("clock_adjtime", || {
        let mut timex = [0_u8; 208];
        said(call!(libc::SYS_clock_adjtime, libc::CLOCK_REALTIME, timex.as_mut_slice()))
    });
    let own_name = fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    let own_name = own_name.trim_ascii_end();
    record.attempt("sethostname", || said(call!(libc::SYS_sethostname, own_name, own_name.len())));
    let own_domain = fs::read("/proc/sys/kernel/domainname").unwrap_or_default();
    let own_domain = own_domain.trim_ascii_end();
    record.attempt("setdomainname", || said(call!(libc::SYS_setdomainname, own_domain, own_domain.len())));
    record.attempt("vhangup", || {
        // Without a terminal there is nothing to hang up.
        let _ = call!(libc::SYS_setsid);
        said(call!(libc::SYS_vhangup))
    });
    #[cfg(target_arch = "x86_64")]
    {
        record.attempt("iopl", || said(call!(libc::SYS_iopl, 3)));
        record.attempt("ioperm", || said(call!(libc::SYS_ioperm, 0x80, 1, 1)));
        record.attempt("modify_ldt", || {
            let mut room = [0_u8; 16];
            said(call!(libc::SYS_modify_ldt, 0, room.as_mut_slice(), 16))
        });
    }
}

/// P53: other tables of calls, and readable memory that is executable by itself.
pub(super) fn other_tables(record: &mut Record, _: &[String]) {
    const READ_IMPLIES_EXEC: u32 = 0x0040_0000;
    record.attempt("personality(READ_IMPLIES_EXEC)", || said(call!(libc::SYS_personality, READ_IMPLIES_EXEC)));
    record.attempt("personality(0xffffffff)", || said(call!(libc::SYS_personality, u32::MAX)));
    #[cfg(target_arch = "x86_64")]
    {
        const X32: libc::c_long = 0x4000_0000;
        record.attempt("x32 getpid", || said(call!(X32 + libc::SYS_getpid)));
        record.attempt("x32 unshare(NEWUSER)", || said(call!(X32 + libc::SYS_unshare, libc::CLONE_NEWUSER)));
        // x32 has numbers of its own from 512 on.
        record.attempt("x32 ptrace", || said(call!(X32 + 521, 0, 0, 0, 0)));
        record.attempt("int 0x80 getpid", || {
            let result: i32;
            // SAFETY: int 0x80 with number 20 is getpid of the 32-bit table: it reads and writes no memory. The kernel
            // clobbers r8 to r11 on this way in.
            unsafe {
                std::arch::asm!("int 0x80", inlateout("eax") 20_i32 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
            }
            if result > 0 { "ok".to_owned() } else { crate::kernel::Errno(-result).to_string() }
        });
    }
    // A sweep: numbers that this program's authors know nothing of.
    record.attempt("numbers beyond the table", || {
        let answered: Vec<String> = (480..600)
            .filter_map(|number| {
                let said = said(call!(number, -1, -1, -1, -1, -1, -1));
                (said != "ENOSYS").then(|| format!("{number}:{said}"))
            })
            .collect();
        if answered.is_empty() { "ENOSYS".to_owned() } else { answered.join(" ") }
    });
}

/// P54: filters of one's own, and very many of them.
pub(super) fn own_filters(record: &mut Record, _: &[String]) {
    const SET_MODE_FILTER: i32 = 1;
    const NEW_LISTENER: i32 = 8;
    record.attempt("a listener of one's own", || {
        let _ = call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let (_filter, program) = Program::returning(0x7fff_0000);
        said(call!(libc::SYS_seccomp, SET_MODE_FILTER, NEW_LISTENER, program.as_slice()))
    });
    record.attempt("very many filters", || {
        let _ = call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let (_filter, program) = Program::returning(0x7fff_0000);
        for _ in 0..20_000 {
            if let Err(errno) = call!(libc::SYS_seccomp, SET_MODE_FILTER, 0, program.as_slice()) {
                return errno.to_string();
            }
        }
        "20000".to_owned()
    });
    record.attempt("a filter that allows what ours refuses", || {
        let _ = call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let (_filter, program) = Program::returning(0x7fff_0000);
        let _ = call!(libc::SYS_seccomp, SET_MODE_FILTER, 0, program.as_slice());
        said(call!(libc::SYS_unshare, libc::CLONE_NEWUSER))
    });
}

/// A filter of one instruction.
struct Program;

impl Program {
    /// The instruction (which must outlive the call) and the `struct sock_fprog` that points at it.
    fn returning(action: u32) -> (Box<[u8; 8]>, [u8; 16]) {
        let mut filter = Box::new([0_u8; 8]);
        // BPF_RET | BPF_K (linux/filter.h).
        filter[..2].copy_from_slice(&0x06_u16.to_ne_bytes());
        filter[4..].copy_from_slice(&action.to_ne_bytes());
        let mut program = [0_u8; 16];
        program[..2].copy_from_slice(&1_u16.to_ne_bytes());
        program[8..].copy_from_slice(&(filter.as_ptr() as usize).to_ne_bytes());
        (filter, program)
    }
}

/// P70: the clock.
pub(super) fn clock(record: &mut Record, _: &[String]) {
    record.attempt("clock_settime to 1970", || {
        let past = [0_u8; 16];
        said(call!(libc::SYS_clock_settime, libc::CLOCK_REALTIME, past.as_slice()))
    });
    record.attempt("a time namespace", || said(call!(libc::SYS_unshare, 0x80)));
    let before = std::time::Instant::now();
    thread::sleep(Duration::from_millis(50));
    record.note("the clock runs", before.elapsed() >= Duration::from_millis(50));
}

/// Calls of memory files, used as a check that this program can make a call that is allowed.
pub(super) fn allowed(record: &mut Record, _: &[String]) {
    record.attempt("memfd_create", || said(call!(libc::SYS_memfd_create, MEMORY_NAME, 0).map(owned)));
    record.attempt("exit", || exit_now(0));
}
