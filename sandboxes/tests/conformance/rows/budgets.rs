//! Budgets: processes, memory, CPU, disk, kernel objects and output. Where the kernel holds none here, a watcher does,
//! and the row says `watched`.

use std::{
    fs,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use cofferdam_contract::{Ended, Exit, Guarantee, Sandbox as _, Strength};
use cofferdam_sandboxes::ScratchNote;

use super::{Row, ensure, row};
use crate::{
    report::Report,
    stage::{Ask, SMALL, Stage, close, enforced, run},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P35", "a fork bomb meets the process limit, and other sandboxes work on", fork_bombs_are_bounded),
    row("P36", "thread bombs and storms of programs meet the process limit", thread_bombs_are_bounded),
    row("P37", "memory of every kind is bounded, and its end is told", memory_is_bounded),
    row("P38", "disk and files are bounded, and the host has its space back", disk_is_bounded),
    row("P38s", "scratch volumes are bounded", scratch_is_bounded),
    row("P39", "what is used up of kernel objects is the sandbox's own share", kernel_objects_are_bounded),
    row("P40", "a flood of output is cut, and the server stays small", output_is_bounded),
    row("P43", "processors are bounded, and priorities cannot be raised", processors_are_bounded),
];

/// The cell for a budget: the kernel's, or a watcher's.
fn strength(stage_says: Strength) -> Result<Cell, String> {
    match stage_says {
        Strength::Enforced => Ok(Cell::Holds),
        Strength::Watched => Ok(Cell::Watched),
        Strength::Absent => Err("the budget is said to be absent".into()),
    }
}

fn number(report: &Report, what: &str) -> Result<u64, String> {
    report.result(what).and_then(|text| text.parse().ok()).ok_or_else(|| report.seen())
}

fn fork_bombs_are_bounded(stage: &Stage) -> Result<Cell, String> {
    let (site, neighbour) = (stage.site("P35"), stage.site("P35-neighbour"));
    let mut open = site.open(&Ask::execute());
    let slowest = Mutex::new(Ok(Duration::ZERO));
    let report = thread::scope(|scope| {
        let mut started = false;
        run(&mut open, "./probe", &["P35"], |_, bytes| {
            if !started && bytes.windows(7).any(|window| window == b"bombing") {
                started = true;
                scope.spawn(|| {
                    for _ in 0..5 {
                        let before = Instant::now();
                        let mut open = neighbour.open(&Ask::execute());
                        let result = run(&mut open, "sh", &["-c", "echo on"], |_, _| {}).printed("on");
                        drop(open);
                        let took = before.elapsed();
                        if let Ok(mut slowest) = slowest.lock() {
                            *slowest = match (result, &*slowest) {
                                (Err(problem), _) => Err(problem),
                                (Ok(()), Ok(so_far)) => Ok(took.max(*so_far)),
                                (Ok(()), Err(problem)) => Err(problem.clone()),
                            };
                        }
                    }
                });
            }
        })
    });
    report.expect(&[("fork until refused", "EAGAIN"), ("processes", "*"), ("bomb", "exit 0")])?;
    let processes = number(&report, "processes")?;
    ensure((8..=SMALL.pids).contains(&processes), || format!("{processes} processes with a limit of {}", SMALL.pids))?;
    let slowest = slowest.into_inner().map_err(|_| "a thread of the harness failed".to_owned())??;
    ensure(slowest > Duration::ZERO && slowest < Duration::from_secs(5), || format!("a neighbour took {slowest:?}"))?;
    Ok(Cell::Holds)
}

fn thread_bombs_are_bounded(stage: &Stage) -> Result<Cell, String> {
    let report = stage.site("P36").probe(&["P36"]);
    report.expect(&[("threads until refused", "EAGAIN"), ("threads", "*"), ("storm of programs", "many")])?;
    let threads = number(&report, "threads")?;
    ensure((8..=SMALL.pids).contains(&threads), || format!("{threads} threads with a limit of {}", SMALL.pids))?;
    Ok(Cell::Holds)
}

/// Kinds of memory, and what each takes at most if nothing stops it, in MiB.
const MEMORY: [(&str, &str); 10] = [
    ("heap", "1024"),
    ("children", "1024"),
    ("mlock", "512"),
    ("huge", "512"),
    ("memfd", "512"),
    ("sysv", "512"),
    ("shm", "512"),
    ("tmp", "512"),
    ("pipes", "512"),
    ("sockets", "512"),
];

/// Kinds that a watcher does not see, because no process has them: System V segments that are not attached, buffers of
/// the kernel. Only a cgroup counts these; the result of a call says by what its memory was held.
const UNSEEN: [&str; 3] = ["sysv", "pipes", "sockets"];

fn memory_is_bounded(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P37");
    let mut problems = Vec::new();
    let mut held = Strength::Enforced;
    for (kind, most) in MEMORY {
        let mut open = site.open(&Ask::execute());
        held = enforced(&open).strength(Guarantee::Memory);
        let by = enforced(&open).guarantees.get(&Guarantee::Memory).map_or(String::new(), |memory| memory.by.clone());
        let report = run(&mut open, "./probe", &["P37", kind, most], |_, _| {});
        drop(open);
        let taken = number(&report, "MiB taken").unwrap_or(u64::MAX);
        let ended = report.ended() == Some(Ended::OutOfMemory);
        let refused = report.outcome == Ok(Exit::Code(0))
            && report.result("result").is_some_and(|result| result != "not refused")
            && taken <= SMALL.memory_mb + 64;
        let unseen = held == Strength::Watched && UNSEEN.contains(&kind);
        let told = match kind {
            _ if unseen => by.contains("summed by the server"),
            // Nothing but the budget stops these, and the call must be told so.
            "heap" | "children" => ended,
            _ => ended || refused,
        };
        // A watcher may see too much only after it was taken; the kernel never gives it.
        let given = held == Strength::Enforced && kind == "heap" && report.text().contains("taken");
        if !told || given {
            problems.push(format!("{kind}: {}", report.seen()));
        }
    }
    if problems.is_empty() { strength(held) } else { Err(problems.join("; ")) }
}

/// Files that a disk budget may hold, for each MiB of it: an inode weighs some 4 KiB of kernel memory or of disk.
const FILES_PER_MB: u64 = 1024;

fn disk_is_bounded(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P38");
    let workspace = site.workspace.display().to_string();
    let before = used_mb(&stage.base);
    let mut problems = Vec::new();
    let most_files = (SMALL.disk_mb * FILES_PER_MB).to_string();
    for folder in [workspace.as_str(), "/tmp", "/home/agent"] {
        for (kind, most) in [("bytes", "512"), ("allocate", "512"), ("inodes", &most_files), ("depth", "2000")] {
            let report = site.probe(&["P38", kind, folder, most]);
            let taken = number(&report, "taken").unwrap_or(u64::MAX);
            let result = report.result("result").unwrap_or_default();
            let right = match kind {
                "bytes" => result == "ENOSPC" && taken <= SMALL.disk_mb + 8,
                "allocate" => ["ENOSPC", "EFBIG", "EOPNOTSUPP"].contains(&result) && taken == 0,
                "inodes" => ["ENOSPC", "EDQUOT"].contains(&result) || report.ended() == Some(Ended::DiskFull),
                // Any depth is fine; it must end, and the folder must be removable.
                _ => report.outcome == Ok(Exit::Code(0)),
            };
            if !right {
                problems.push(format!("{kind} in {folder}: {}", report.seen()));
            }
        }
    }
    let kept = used_mb(&stage.base).saturating_sub(before);
    if kept > 16 {
        problems.push(format!("{kept} MiB stayed on the host's disk"));
    }
    if problems.is_empty() { Ok(Cell::Holds) } else { Err(problems.join("; ")) }
}

/// What the files below a folder take of the disk. The free space of the whole disk would tell of other programs too.
fn used_mb(folder: &Path) -> u64 {
    let (mut blocks, mut folders) = (0, vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
            blocks += metadata.blocks();
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    // Blocks of stat(2) have 512 bytes.
    blocks >> 11
}

/// What a scratch volume with a budget of 64 MiB may take before a watcher stops it, in MiB: a disk takes one GiB in a
/// second, and a watcher looks ten times in it.
const MOST_SCRATCH_MB: u64 = 640;

/// What the host's files may take more than what they hold, in MiB.
const OVERHEAD_MB: u64 = 8;

fn scratch_is_bounded(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P38s");
    site.write_on_host("Cargo.toml", "[package]\nname = \"scratch\"\nversion = \"0.1.0\"\n");
    let target = site.workspace.join("target").display().to_string();
    let mut held = Strength::Enforced;
    let mut problems = Vec::new();
    let before = used_mb(&stage.state);
    for (kind, most) in [("bytes", "1024"), ("inodes", "100000")] {
        let mut open = site.open(&Ask::execute());
        held = held.min(enforced(&open).strength(Guarantee::Disk));
        let report = run(&mut open, "./probe", &["P38", kind, &target, most], |_, _| {});
        let refused = report.result("result").is_some_and(|result| ["ENOSPC", "EDQUOT"].contains(&result));
        // A kernel's bound refuses, and the call goes on; a watcher ends the call, and what it wrote is thrown away.
        let (stopped, most, note) = match held {
            Strength::Enforced => (refused, SMALL.disk_mb + OVERHEAD_MB, ScratchNote::Full),
            Strength::Watched | Strength::Absent => {
                (refused || report.ended() == Some(Ended::DiskFull), MOST_SCRATCH_MB, ScratchNote::ThrownAway)
            }
        };
        let taken = used_mb(&stage.state).saturating_sub(before);
        let told = close(open).scratch;
        if !stopped || !told.contains(&note) {
            problems.push(format!("{kind}: {}, and it was told {told:?}", report.seen()));
        }
        if taken > most {
            problems.push(format!("{kind} took {taken} MiB of the host's disk"));
        }
        let kept = used_mb(&stage.state).saturating_sub(before);
        if held < Strength::Enforced && kept > OVERHEAD_MB {
            problems.push(format!("{kind}: {kept} MiB stayed on the host's disk"));
        }
    }
    if problems.is_empty() { strength(held) } else { Err(problems.join("; ")) }
}

/// Kinds of kernel objects that the probe takes until it is refused, all at once.
const OBJECTS: [&str; 9] =
    ["descriptors", "inotify", "epoll", "eventfd", "timers", "signals", "aio", "queues", "pipes"];

fn kernel_objects_are_bounded(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P39");
    let neighbour = stage.site("P39-neighbour");
    let cancel = cofferdam_sandboxes::Cancel::new();
    let mut open = site.open_with(&Ask::execute().with(|limits| limits.memory_mb = 1024), &cancel);
    let found = Mutex::new(Vec::new());
    let heard = Mutex::new(Vec::new());
    let report = thread::scope(|scope| {
        let mut lines = 0;
        let arguments: Vec<&str> = [["P39"].as_slice(), &OBJECTS].concat();
        run(&mut open, "./probe", &arguments, |_, bytes| {
            let before = lines;
            lines += bytes.iter().filter(|byte| **byte == b'\n').count();
            if let Ok(mut heard) = heard.lock() {
                heard.extend_from_slice(bytes);
            }
            if before < OBJECTS.len() && lines >= OBJECTS.len() {
                scope.spawn(|| {
                    let problems = host_works(&neighbour);
                    if let Ok(mut found) = found.lock() {
                        *found = problems;
                        found.push(String::from("looked"));
                    }
                    cancel.cancel(Ended::Cancelled);
                });
            }
        })
    });
    let heard = String::from_utf8_lossy(&heard.into_inner().unwrap_or_default()).into_owned();
    let mut found = found.into_inner().unwrap_or_default();
    ensure(found.pop().as_deref() == Some("looked"), || report.seen())?;
    ensure(found.is_empty(), || format!("while a sandbox held {}: {}", heard.replace('\n', ", "), found.join("; ")))?;
    Ok(Cell::Holds)
}

/// What this user, on the host, can no longer do.
fn host_works(neighbour: &crate::stage::Site<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut need = |what: &str, result: std::io::Result<()>| {
        if let Err(error) = result {
            problems.push(format!("the host has no {what} left: {error}"));
        }
    };
    need(
        "inotify instance",
        rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).map(drop).map_err(Into::into),
    );
    need(
        "epoll instance",
        rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).map(drop).map_err(Into::into),
    );
    need("eventfd", rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).map(drop).map_err(Into::into));
    need("file", fs::File::open("/dev/null").map(drop));
    need("pipe of 64 KiB", {
        std::io::pipe().and_then(|(_, writer)| {
            let size = rustix::pipe::fcntl_getpipe_size(writer.as_fd())?;
            if size >= 65_536 { Ok(()) } else { Err(std::io::Error::other(format!("a pipe holds {size} bytes"))) }
        })
    });
    need("timer and queued signal", timer_and_signal());
    need("asynchronous ring", asynchronous_ring());
    need("message queue", message_queue());
    need("process", std::process::Command::new("/bin/true").status().map(drop));
    let mut open = neighbour.open(&Ask::execute());
    if let Err(problem) = run(&mut open, "sh", &["-c", "echo on"], |_, _| {}).printed("on") {
        problems.push(format!("another sandbox fails: {problem}"));
    }
    problems
}

fn timer_and_signal() -> std::io::Result<()> {
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: a null sigevent asks for the default; the timer's id goes to a live variable, and is deleted by it.
    unsafe {
        if libc::timer_create(libc::CLOCK_MONOTONIC, std::ptr::null_mut(), &raw mut timer) < 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::timer_delete(timer);
    }
    Ok(())
}

fn asynchronous_ring() -> std::io::Result<()> {
    let mut context: libc::c_ulong = 0;
    // SAFETY: io_setup stores a context in a live word that was zero; io_destroy takes it by value.
    unsafe {
        if libc::syscall(libc::SYS_io_setup, 8, &raw mut context) < 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::syscall(libc::SYS_io_destroy, context);
    }
    Ok(())
}

fn message_queue() -> std::io::Result<()> {
    let name = std::ffi::CString::new(format!("/cofferdam-canary-{}", std::process::id())).unwrap_or_default();
    // SAFETY: a live C string; mode and attributes are passed as mq_open(3) asks with O_CREAT.
    unsafe {
        let queue =
            libc::mq_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600, std::ptr::null_mut::<libc::mq_attr>());
        if queue < 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::mq_close(queue);
        libc::mq_unlink(name.as_ptr());
    }
    Ok(())
}

/// How much the server may grow while a sandbox floods it, in KiB.
const GROWTH_KB: u64 = 32 << 10;

/// What the probe prints when it has nothing to tell.
const RECORD: &str = "{\"row\":\"P40\",\"attempts\":[]}\n";

fn output_is_bounded(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P40");
    for (kind, mebibytes) in [("flood", 64_u64), ("lines", 32), ("binary", 16)] {
        let mut open = site.open(&Ask::execute().with(|limits| limits.output_kb = 256));
        let _ = fs::write("/proc/self/clear_refs", "5");
        let before = resident_kb("VmRSS:");
        let mut received = 0_u64;
        let report = run(&mut open, "./probe", &["P40", kind, &mebibytes.to_string()], |_, bytes| {
            received += bytes.len() as u64
        });
        let grown = resident_kb("VmHWM:").saturating_sub(before);
        let omitted = open.omitted_output_bytes();
        ensure(report.outcome == Ok(Exit::Code(0)), || report.seen())?;
        ensure(received <= 256 << 10, || format!("{received} bytes of {kind} came through a limit of 256 KiB"))?;
        // The probe's record follows its flood.
        let all = (mebibytes << 21) + RECORD.len() as u64;
        ensure(received + omitted == all, || format!("{received} received and {omitted} omitted are not {all}"))?;
        ensure(grown < GROWTH_KB, || format!("the server grew by {grown} KiB"))?;
    }
    Ok(Cell::Holds)
}

fn resident_kb(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap_or("0");
    value.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn processors_are_bounded(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P43");
    site.probe(&["P43", "0"]).expect(&[
        ("sched_setscheduler*", "EPERM"),
        ("sched_setattr(DEADLINE)", "EPERM|EINVAL"),
        ("nice -10", "EACCES|EPERM"),
        ("nice 10", "ok"),
        ("real-time input and output", "EPERM"),
    ])?;
    let mut open = site.open(&Ask::execute().with(|limits| limits.cpu_seconds = 3));
    let held = enforced(&open).strength(Guarantee::Cpu);
    let report = run(&mut open, "./probe", &["P43", "6"], |_, _| {});
    ensure(report.ended() == Some(Ended::CpuTime), || report.seen())?;
    // Two cores use up three seconds in one and a half; a loaded machine takes longer.
    ensure(report.took < Duration::from_secs(18), || report.seen())?;
    drop(close(open));
    strength(held)
}
