//! Processes that try to stay, to multiply, or to reach others.

use std::{
    fs, hint,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    kernel::{call, ended, fork, said, wait_for},
    record::{Record, announce},
};

fn ignore(signal: i32) {
    // SAFETY: sets a signal's disposition to SIG_IGN; no handler of ours is involved.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Sleeps for far longer than any call may live.
fn sleep_forever() -> i32 {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// P32: starts daemons in every way that needs no service: they leave session, group, parent and streams.
/// The argument is a text that the harness finds them by in the host's process list.
pub(super) fn daemons(record: &mut Record, arguments: &[String]) {
    let marker = arguments.first().map_or("", String::as_str);
    let double = fork(|| {
        let _ = call!(libc::SYS_setsid);
        let second = fork(|| {
            for signal in [libc::SIGHUP, libc::SIGTERM, libc::SIGINT] {
                ignore(signal);
            }
            for stream in 0..=2 {
                let _ = call!(libc::SYS_close, stream);
            }
            let _ = std::env::set_current_dir("/");
            sleep_forever()
        });
        i32::from(second.is_err())
    });
    record.note("double fork", double.map_or_else(|errno| errno.to_string(), |child| ended(wait_for(child))));
    // Not waited for, on purpose.
    let own = std::env::current_exe().unwrap_or_default();
    let mut quiet = Command::new(own);
    quiet.args(["sleep", marker]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let started = quiet.spawn();
    record.note("own process group", crate::kernel::said_io(started));
    let noisy = Command::new(std::env::current_exe().unwrap_or_default()).args(["sleep", marker]).spawn();
    record.note("keeps the streams open", crate::kernel::said_io(noisy));
    for program in ["at", "batch", "systemd-run", "crontab", "screen", "tmux"] {
        let outcome = Command::new(program)
            .args(if program == "systemd-run" { ["--user", "true"].as_slice() } else { &[] })
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        record.note(
            program,
            match outcome {
                Ok(status) if status.success() && program != "at" && program != "crontab" => "starts",
                Ok(_) => "fails",
                Err(_) => "absent",
            },
        );
    }
}

/// Sleeps; the arguments only mark the process.
pub(super) fn sleep(_: &mut Record, _: &[String]) {
    announce("sleeping");
    sleep_forever();
}

/// P33: processes that do not want to end: deaf to signals, stopped, a tree of zombies. Never returns.
pub(super) fn stubborn(_: &mut Record, _: &[String]) {
    for signal in 1..32 {
        ignore(signal);
    }
    let _ = fork(|| {
        let _ = call!(libc::SYS_kill, std::process::id(), libc::SIGSTOP);
        sleep_forever()
    });
    let _ = fork(|| {
        for _ in 0..20 {
            let _ = fork(|| 0);
        }
        sleep_forever()
    });
    announce("stubborn");
    sleep_forever();
}

/// P34: signals to everything, to the first process, and to process ids of the host (the arguments).
pub(super) fn signals(record: &mut Record, processes: &[String]) {
    let child = fork(sleep_forever);
    record.note("kill -9 -1", said(call!(libc::SYS_kill, -1, libc::SIGKILL)));
    if let Ok(child) = child {
        record.note("a child of ours after it", ended(wait_for(child)));
    }
    record.note("kill -9 1", said(call!(libc::SYS_kill, 1, libc::SIGKILL)));
    record.note("kill -STOP 1", said(call!(libc::SYS_kill, 1, libc::SIGSTOP)));
    let parent = call!(libc::SYS_getppid).unwrap_or(0);
    record.note("parent", parent);
    for process in processes {
        let pid: i32 = process.parse().unwrap_or(-1);
        record.note("kill a host process", said(call!(libc::SYS_kill, pid, libc::SIGKILL)));
        record.note("tgkill a host process", said(call!(libc::SYS_tgkill, pid, pid, libc::SIGKILL)));
        record.note("queue a signal to a host process", {
            let information = [0_u8; 128];
            said(call!(libc::SYS_rt_sigqueueinfo, pid, libc::SIGTERM, information.as_slice()))
        });
        record.note("pidfd_open of a host process", said(call!(libc::SYS_pidfd_open, pid, 0)));
        record.note("prlimit of a host process", said(call!(libc::SYS_prlimit64, pid, libc::RLIMIT_CPU, 0, 0)));
        record.note("priority of a host process", said(call!(libc::SYS_setpriority, libc::PRIO_PROCESS, pid, 19)));
        record.note("affinity of a host process", {
            let mask = [1_u8, 0, 0, 0, 0, 0, 0, 0];
            said(call!(libc::SYS_sched_setaffinity, pid, mask.len(), mask.as_slice()))
        });
    }
}

/// Signals that a control outside sends: none, to see whether a process could be reached.
pub(super) fn reach(record: &mut Record, processes: &[String]) {
    for process in processes {
        let pid: i32 = process.parse().unwrap_or(-1);
        record.note("signal 0", said(call!(libc::SYS_kill, pid, 0)));
    }
}

/// More processes than any sandbox of the harness may have.
const MANY: usize = 2000;

/// P35: forks until the kernel says no, then as fast as it can for two seconds.
pub(super) fn fork_bomb(record: &mut Record, _: &[String]) {
    let mut children = Vec::new();
    let refused = loop {
        match fork(sleep_forever) {
            Ok(child) => children.push(child),
            Err(errno) => break errno.to_string(),
        }
        if children.len() >= MANY {
            break "not refused".to_owned();
        }
    };
    record.note("fork until refused", refused);
    record.note("processes", children.len());
    for child in children {
        let _ = call!(libc::SYS_kill, child, libc::SIGKILL);
        wait_for(child);
    }
    let until = Instant::now() + Duration::from_secs(2);
    let bomb = fork(|| {
        while Instant::now() < until {
            // Every child goes on with the same loop: the number doubles until the limit.
            let _ = fork(|| {
                while Instant::now() < until {
                    let _ = fork(|| {
                        thread::sleep(until.saturating_duration_since(Instant::now()));
                        0
                    });
                }
                0
            });
        }
        0
    });
    announce("bombing");
    record.note("bomb", bomb.map_or_else(|errno| errno.to_string(), |child| ended(wait_for(child))));
}

/// P36: threads until the kernel says no, then storms of `vfork` and `execve`.
pub(super) fn thread_bomb(record: &mut Record, _: &[String]) {
    static DONE: AtomicBool = AtomicBool::new(false);
    let mut threads = Vec::new();
    let refused = loop {
        let started = thread::Builder::new().stack_size(32 << 10).spawn(|| {
            while !DONE.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
            }
        });
        match started {
            Ok(thread) => threads.push(thread),
            Err(error) => break crate::kernel::said_io::<()>(Err(error)),
        }
        if threads.len() >= MANY {
            break "not refused".to_owned();
        }
    };
    record.note("threads until refused", refused);
    record.note("threads", threads.len());
    DONE.store(true, Ordering::Relaxed);
    for thread in threads {
        let _ = thread.join();
    }
    let until = Instant::now() + Duration::from_secs(1);
    let mut executed = 0_u32;
    while Instant::now() < until {
        // The standard library starts programs with posix_spawn, which is a vfork.
        executed += u32::from(Command::new("/bin/true").status().is_ok_and(|status| status.success()));
    }
    record.note("storm of programs", if executed > 10 { "many" } else { "few" });
}

/// P43: spins on as many threads as asked for, until the sandbox is ended. Arguments: threads.
pub(super) fn spin(record: &mut Record, arguments: &[String]) {
    let mut parameter = [0_u8; 4];
    parameter[0] = 10;
    record.attempt("sched_setscheduler(FIFO)", || {
        said(call!(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO, parameter.as_slice()))
    });
    record.attempt("sched_setscheduler(RR)", || {
        said(call!(libc::SYS_sched_setscheduler, 0, libc::SCHED_RR, parameter.as_slice()))
    });
    record.attempt("sched_setattr(DEADLINE)", || {
        // struct sched_attr: size, policy 6, flags, nice, priority, runtime, deadline, period.
        let mut attributes = [0_u8; 48];
        attributes[0] = 48;
        attributes[4] = 6;
        for (place, value) in [(24, 10_000_000_u64), (32, 30_000_000), (40, 30_000_000)] {
            attributes[place..place + 8].copy_from_slice(&value.to_ne_bytes());
        }
        said(call!(libc::SYS_sched_setattr, 0, attributes.as_slice(), 0))
    });
    record.attempt("nice -10", || said(call!(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, -10)));
    record.attempt("nice 10", || said(call!(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, 10)));
    let real_time = 1 << 13;
    record.attempt("real-time input and output", || said(call!(libc::SYS_ioprio_set, 1, 0, real_time)));
    let processes: usize = arguments.first().and_then(|number| number.parse().ok()).unwrap_or(0);
    if processes == 0 {
        return;
    }
    // A process each: RLIMIT_CPU is counted per process, and the sum must be bounded too.
    for _ in 0..processes {
        let _ = fork(|| {
            loop {
                hint::spin_loop();
            }
        });
    }
    announce("spinning");
    sleep_forever();
}

/// P57: raises the limit for core files, then crashes.
pub(super) fn crash(record: &mut Record, _: &[String]) {
    let mut limits = [0_u8; 16];
    let _ = call!(libc::SYS_prlimit64, 0, libc::RLIMIT_CORE, 0, limits.as_mut_slice());
    let hard = u64::from_ne_bytes(limits[8..].try_into().unwrap_or_default());
    record.note("hard limit", if hard == u64::MAX { "unlimited".to_owned() } else { hard.to_string() });
    record.attempt("raise the limit", || {
        let all = [0xff_u8; 16];
        said(call!(libc::SYS_prlimit64, 0, libc::RLIMIT_CORE, all.as_slice(), 0))
    });
    let crashed = fork(|| {
        let all = [0xff_u8; 16];
        let _ = call!(libc::SYS_prlimit64, 0, libc::RLIMIT_CORE, all.as_slice(), 0);
        let _ = call!(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        std::process::abort()
    });
    match crashed {
        Ok(child) => {
            let status = wait_for(child);
            record.note("crash", ended(status));
            record.note("core dumped", libc::WCOREDUMP(status));
        }
        Err(errno) => record.note("crash", errno),
    }
    let cores = fs::read_dir(".").into_iter().flatten().flatten();
    let cores = cores.filter(|entry| entry.file_name().to_string_lossy().contains("core")).count();
    record.note("core files here", cores);
}

/// P86: ends as the arguments say: `exit N` or `signal N`.
pub(super) fn end(_: &mut Record, arguments: &[String]) {
    match arguments {
        [kind, number] if kind == "exit" => std::process::exit(number.parse().unwrap_or(2)),
        [kind, number] if kind == "signal" => {
            let number: i32 = number.parse().unwrap_or(9);
            // The standard library handles some signals itself.
            // SAFETY: sets a signal's disposition to the default; no handler is involved.
            unsafe { libc::signal(number, libc::SIG_DFL) };
            let _ = call!(libc::SYS_kill, std::process::id(), number);
            sleep_forever();
        }
        _ => std::process::exit(2),
    }
}
