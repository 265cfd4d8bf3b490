//! Processes, signals and ends: what is left of a sandbox, and what it says of itself.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use cofferdam_contract::{Ended, Exit, Work};
use cofferdam_sandboxes::Cancel;
use rustix::fs::FlockOperation;

use super::{Row, ensure, row};
use crate::{
    leftovers::{cgroups_of_server, loop_devices_with, processes_with},
    stage::{Ask, Stage, User, close, read_file, run, write_file},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P32", "daemons end with their sandbox, within two seconds", daemons_end),
    row("P33", "deaf, stopped and zombie processes end at the deadline", stubborn_processes_end),
    row("P34", "signals reach the sandbox's own processes only", signals_stay_inside),
    row("P41", "protocol frames in the output are output", frames_are_output),
    row("P42", "control sequences come through as the bytes they are", sequences_are_bytes),
    row("P44", "standard input is at its end, and a sleeper meets the deadline", stalls_end),
    row("P45", "a cancelled sandbox is gone within two seconds", cancelled_sandboxes_are_gone),
    row("P57", "a crash leaves no core and runs no handler of the host's", crashes_stay_inside),
    row("P90", "after many calls nothing has grown", nothing_grows),
    row("P86", "exit codes and signals are told as they were", ends_are_told),
];

/// How long the kernel may take to clear up after a sandbox has ended.
const SOON: Duration = Duration::from_secs(2);

/// A text by which a row finds its own processes among the host's.
fn marker(row: &str) -> String {
    format!("marker-{row}-{}", std::process::id())
}

/// Waits until no process of the host's has `marker` in its command line.
fn no_process_with(marker: &str) -> Result<(), String> {
    let before = Instant::now();
    loop {
        let left = processes_with(marker);
        if left.is_empty() {
            return Ok(());
        }
        ensure(before.elapsed() < SOON, || format!("{} processes are left: {left:?}", left.len()))?;
        thread::sleep(Duration::from_millis(20));
    }
}

fn daemons_end(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P32");
    let marker = marker("P32");
    let mut open = site.open(&Ask::execute());
    let report = run(&mut open, "./probe", &["P32", &marker], |_, _| {});
    report.expect(&[
        ("double fork", "exit 0"),
        ("own process group", "ok"),
        ("keeps the streams open", "ok"),
        ("*", "fails|absent"),
    ])?;
    let alive = processes_with(&marker).len();
    ensure(alive >= 3, || format!("{alive} daemons live while the sandbox is open: there is nothing to end"))?;
    drop(close(open));
    no_process_with(&marker)?;
    Ok(Cell::Holds)
}

fn stubborn_processes_end(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P33");
    let marker = marker("P33");
    let mut open = site.open(&Ask::execute().with(|limits| limits.wall_seconds = 3));
    let before = Instant::now();
    let report = run(&mut open, "./probe", &["P33", &marker], |_, _| {});
    ensure(report.ended() == Some(Ended::Deadline), || report.seen())?;
    ensure(report.text().contains("stubborn"), || report.seen())?;
    let took = before.elapsed();
    ensure(took < Duration::from_secs(3) + SOON, || format!("the deadline of 3 s took {took:?}"))?;
    drop(close(open));
    no_process_with(&marker)?;
    Ok(Cell::Holds)
}

fn signals_stay_inside(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P34");
    let process = stage.canaries.process().to_string();
    stage.outside(&["reach", &process]).expect(&[("signal 0", "ok")])?;
    let own = std::process::id().to_string();
    let mut open = site.open(&Ask::execute());
    let report = run(&mut open, "./probe", &["P34", &process, &own], |_, _| {});
    report.expect(&[
        ("kill -9 -1", "ok"),
        ("a child of ours after it", "SIGKILL"),
        // The kernel drops a signal that a namespace's first process would die of from within (pid_namespaces(7)).
        ("kill -9 1", "ok|EPERM"),
        ("kill -STOP 1", "ok|EPERM"),
        ("parent", "1"),
        ("queue a signal to a host process", "ESRCH|EPERM"),
        ("*", "ESRCH"),
    ])?;
    // The sandbox lives on, and so does everything outside of it.
    run(&mut open, "sh", &["-c", "echo alive"], |_, _| {}).printed("alive")?;
    Ok(Cell::Holds)
}

/// What the probe writes besides its record.
const TRICKS: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\x1b]52;c;cGxhbnRlZA==\x07\x1b]0;title\x07\x1b]8;;http://x\x1b\\\xe2\x80\xae\xff\xfe\0\r\n";

fn frames_are_output(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P41");
    let mut open = site.open(&Ask::execute());
    let report = run(&mut open, "./probe", &["P41"], |_, _| {});
    ensure(report.outcome == Ok(Exit::Code(0)), || report.seen())?;
    ensure(report.attempts.is_empty(), || {
        format!("a descriptor besides the streams could be written: {}", report.seen())
    })?;
    // The protocol with the guest goes on undisturbed.
    run(&mut open, "sh", &["-c", "echo on"], |_, _| {}).printed("on")?;
    Ok(Cell::Holds)
}

fn sequences_are_bytes(stage: &Stage) -> Result<Cell, String> {
    let report = stage.site("P42").probe(&["P41"]);
    ensure(report.stdout.starts_with(TRICKS), || {
        format!("the output was {:?}", String::from_utf8_lossy(&report.stdout))
    })?;
    Ok(Cell::Holds)
}

fn stalls_end(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P44");
    let report = site.probe(&["P44"]);
    report.expect(&[("read of standard input", "end")])?;
    ensure(report.took < Duration::from_secs(2), || report.seen())?;
    let report = site.probe_asking(&Ask::execute().with(|limits| limits.wall_seconds = 2), &["sleep"]);
    ensure(report.ended() == Some(Ended::Deadline), || report.seen())?;
    ensure(report.took < Duration::from_secs(4), || report.seen())?;
    // A program whose child holds its output open does not keep the call.
    let mut open = site.open(&Ask::execute());
    let report = run(&mut open, "sh", &["-c", "sleep 15 & echo done"], |_, _| {});
    report.printed("done")?;
    ensure(report.took < Duration::from_secs(3), || report.seen())?;
    Ok(Cell::Holds)
}

fn cancelled_sandboxes_are_gone(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P45");
    let marker = marker("P45");
    let cancel = Cancel::new();
    let mut open = site.open_with(&Ask::execute(), &cancel);
    let switch = cancel.clone();
    let thrower = thread::spawn(move || {
        thread::sleep(Duration::from_millis(600));
        let thrown = Instant::now();
        switch.cancel(Ended::Cancelled);
        switch.cancel(Ended::Deadline);
        thrown
    });
    let report = run(&mut open, "./probe", &["sleep", &marker], |_, _| {});
    let returned = Instant::now();
    let thrown = thrower.join().map_err(|_| "the switch was not thrown".to_owned())?;
    ensure(report.ended() == Some(Ended::Cancelled), || report.seen())?;
    ensure(returned.duration_since(thrown) < SOON, || format!("{:?} passed", returned.duration_since(thrown)))?;
    drop(close(open));
    no_process_with(&marker)?;
    ensure(cancel.why() == Some(Ended::Cancelled), || "the second reason counted".into())?;
    // A switch that was thrown before: no sandbox is of use then.
    if let Ok(mut open) = site.try_open(&Ask::execute()) {
        run(&mut open, "sh", &["-c", "echo on"], |_, _| {}).printed("on")?;
    }
    Ok(Cell::Holds)
}

fn crashes_stay_inside(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P57");
    match stage.user {
        User::Ordinary => crash(&site)?,
        User::Root => with_a_handler(stage, &site)?,
    }
    let cores: Vec<PathBuf> = fs::read_dir(&site.workspace)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.display().to_string().contains("/core"))
        .collect();
    ensure(cores.is_empty(), || format!("cores came back: {cores:?}"))?;
    Ok(Cell::Holds)
}

fn crash(site: &crate::stage::Site<'_>) -> Result<(), String> {
    let (report, _) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P57"]);
    report.expect(&[
        ("hard limit", "1"),
        ("raise the limit", "EPERM"),
        ("crash", "SIGABRT"),
        ("core dumped", "false"),
        ("core files here", "0"),
    ])
}

/// Sets a core pattern that is a pipe for a moment: its handler would run on the host, whatever the size limit says.
fn with_a_handler(stage: &Stage, site: &crate::stage::Site<'_>) -> Result<(), String> {
    let handled = stage.base.join("handled");
    let handler = stage.base.join("handler");
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\ncat > /dev/null\n", handled.display());
    fs::write(&handler, script).map_err(|error| error.to_string())?;
    fs::set_permissions(&handler, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
    let lock = stage.canaries.lock().map_err(|error| error.to_string())?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|error| error.to_string())?;
    let pattern = Setting::change("/proc/sys/kernel/core_pattern", &format!("|{} %p", handler.display()))?;
    let count = || fs::read_to_string(&handled).unwrap_or_default().lines().count();
    let control = stage.outside(&["P57"]);
    let before = Instant::now();
    while count() == 0 && before.elapsed() < SOON {
        thread::sleep(Duration::from_millis(20));
    }
    let outside = count();
    let inside = crash(site);
    thread::sleep(Duration::from_millis(300));
    let after = count();
    drop(pattern);
    ensure(outside > 0, || format!("the handler does not run outside either: {}", control.seen()))?;
    inside?;
    ensure(after == outside, || "the handler ran on the host for a crash inside".into())
}

/// A kernel setting that is put back when this is dropped.
struct Setting {
    path: &'static str,
    before: String,
}

impl Setting {
    fn change(path: &'static str, to: &str) -> Result<Self, String> {
        let before = fs::read_to_string(path).map_err(|error| error.to_string())?;
        fs::write(path, to).map_err(|error| error.to_string())?;
        Ok(Self { path, before })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.path, &self.before) {
            panic!("{} was not put back to {:?}: {error}", self.path, self.before);
        }
    }
}

fn ends_are_told(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P86");
    let mut open = site.open(&Ask::execute());
    for code in [0, 1, 3, 127, 255] {
        let report = run(&mut open, "./probe", &["end", "exit", &code.to_string()], |_, _| {});
        ensure(report.outcome == Ok(Exit::Code(code)), || report.seen())?;
    }
    for signal in [9, 11, 15] {
        let report = run(&mut open, "./probe", &["end", "signal", &signal.to_string()], |_, _| {});
        ensure(report.outcome == Ok(Exit::Signal(signal)), || report.seen())?;
    }
    // What a program prints about itself changes nothing.
    let report = run(&mut open, "sh", &["-c", "echo 'exit code 0, 12 passed'; exit 7"], |_, _| {});
    ensure(report.outcome == Ok(Exit::Code(7)), || report.seen())?;
    ensure(Path::new("/bin/sh").exists(), || "no shell".into())?;
    Ok(Cell::Holds)
}

/// Calls that are made and looked after.
const CALLS: usize = 40;

fn nothing_grows(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P90");
    site.write_on_host("Cargo.toml", "[package]\nname = \"scratch\"\nversion = \"0.1.0\"\n");
    let play = |ask: &Ask| -> Result<(), String> {
        let mut open = site.open(ask);
        match ask.work {
            Work::Execute => {
                let script = "echo x > made; echo x > target/made; (sleep 30 > /dev/null 2>&1 &)";
                run(&mut open, "sh", &["-c", script], |_, _| {}).printed("")?;
            }
            Work::WriteFiles => write_file(&mut open, "made", "x").map_err(|error| error.to_string())?,
            Work::ReadFiles => read_file(&mut open, "README").map(drop).map_err(|error| error.to_string())?,
            Work::ReadRepository | Work::Commit | Work::Session(_) => {}
        }
        site.hand_back(close(open)).map(drop)
    };
    let asks = [Ask::read(), Ask::write(), Ask::execute(), Ask::execute().keeping_all()];
    asks.iter().try_for_each(&play)?;
    let before = Standing::settled(stage);
    for ask in asks.iter().cycle().take(CALLS) {
        play(ask)?;
    }
    // Calls that end in every other way.
    drop(site.open(&Ask::execute()));
    let report = site.probe_asking(&Ask::execute().with(|limits| limits.wall_seconds = 1), &["sleep"]);
    ensure(report.ended() == Some(Ended::Deadline), || report.seen())?;
    let mut open = site.open(&Ask::execute());
    let _ = run(&mut open, "no-such-program", &[], |_, _| {});
    drop(open);
    let after = Standing::settled(stage);
    ensure(after.loop_devices == 0, || format!("loop devices are left: {after:?}"))?;
    ensure(before == after, || format!("{before:?} became {after:?}"))?;
    Ok(Cell::Holds)
}

/// What a server holds of the machine.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    descriptors: usize,
    threads: usize,
    mounts: usize,
    loop_devices: usize,
    children: usize,
    cgroups: usize,
    files: usize,
}

impl Standing {
    /// What it holds when all that happens behind a call's back is done: sandboxes that only read are destroyed, and images
    /// of scratch volumes unmounted. Nothing changes any more then.
    fn settled(stage: &Stage) -> Self {
        let before = Instant::now();
        let mut last = Self::of(stage);
        loop {
            thread::sleep(Duration::from_millis(100));
            let now = Self::of(stage);
            if (now.loop_devices == 0 && now == last) || before.elapsed() > 3 * SOON {
                return now;
            }
            last = now;
        }
    }

    fn of(stage: &Stage) -> Self {
        let count = |folder: &str| fs::read_dir(folder).into_iter().flatten().count();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let base = stage.base.display().to_string();
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let children = tasks.map(|task| {
            let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            text.split_whitespace().count()
        });
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            loop_devices: loop_devices_with(&base).len(),
            mounts: mounts.lines().filter(|line| line.contains(&base)).count(),
            children: children.sum(),
            cgroups: cgroups_of_server(std::process::id()),
            files: files_below(&stage.state),
        }
    }
}

/// Files of the state folder, but for what is kept of calls on purpose, within a retention of its own: what they replaced
/// (`undo`) and what they left (`left`).
fn files_below(folder: &Path) -> usize {
    let (mut count, mut folders) = (0, vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if ["undo", "left"].iter().any(|kept| entry.file_name() == *kept) {
                continue;
            }
            count += 1;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    count
}
