//! `kill -9` of the server at any moment: no process survives, nothing is half written, the next start cleans the rest.
//!
//! The server says on standard error which step it enters; what it said last when it died is where it was. A hundred
//! moments are spread over preparing, opening, running, closing and handing back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{Dice, Era, Person, Place, Process, Server};

/// Kills of the invoker's server.
const MOMENTS: usize = 100;

/// Kills of an ordinary user's server. It starts and ends its sandboxes by the same code.
const MOMENTS_OF_AN_ORDINARY_USER: usize = 30;

/// Kills in each step, at least.
const EACH: usize = 5;

/// Tries at most: a step that lasts a millisecond is often missed.
const TRIES: usize = 400;

/// How long anything may survive.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Files that the run writes and keeps: enough that walking and handing them back takes a while.
const FILES: usize = 150;

/// Where a server was when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Prepare,
    Open,
    Run,
    Close,
    HandBack,
    /// Before a sandbox was asked for, or after its changes were handed back.
    Other,
}

impl Step {
    /// The steps that are aimed at.
    const AIMED: [Self; 5] = [Self::Prepare, Self::Open, Self::Run, Self::Close, Self::HandBack];

    /// What the log says when it begins.
    fn word(self) -> &'static str {
        match self {
            Self::Prepare => "step: prepare\n",
            Self::Open => "step: open\n",
            Self::Run => "step: run\n",
            Self::Close => "step: close\n",
            Self::HandBack => "step: hand back\n",
            Self::Other => "step: plan\n",
        }
    }

    /// How long it may last, in microseconds: where in it the kill falls is left to chance.
    fn span(self) -> usize {
        match self {
            Self::Prepare => 15_000,
            Self::Open => 12_000,
            Self::Run => 300_000,
            Self::Close => 6_000,
            Self::HandBack => 60_000,
            Self::Other => 1_000,
        }
    }

    /// The step that a log ends in.
    fn last(log: &str) -> Self {
        let steps: Vec<&str> = log.lines().filter_map(|line| line.split("step: ").nth(1)).collect();
        let preparing = |word: &&&str| word.starts_with("prepare");
        match steps.iter().rfind(|word| !preparing(word)).copied() {
            Some("open") => Self::Open,
            Some("run") => Self::Run,
            Some("close") => Self::Close,
            Some("hand back") => Self::HandBack,
            // No call is in the middle; perhaps a sandbox is being prepared.
            Some(_) | None if steps.iter().rfind(preparing) == Some(&"prepare") => Self::Prepare,
            Some(_) | None => Self::Other,
        }
    }
}

/// A suite that takes a moment and writes many files.
fn suite() -> String {
    format!(
        "import os, time, unittest\n\n\nclass Many(unittest.TestCase):\n    def test_many(self):\n        \
         os.makedirs('out', exist_ok=True)\n        stamp = str(time.time_ns())\n        \
         for number in range({FILES}):\n            with open(f'out/{{number}}.txt', 'w') as file:\n                \
         file.write('begin ' + stamp * 50 + ' end\\n')\n        time.sleep(0.2)\n"
    )
}

fn start(place: &Place, pool: &str) -> Server {
    let mut command = place.cofferdam();
    command.args(["serve", "--pool", pool, "--workspace"]).arg(place.workspace());
    command.env("COFFERDAM_LOG", "cofferdam::step=debug");
    let mut server = Server::from(command, Era::Stateless);
    server.open();
    server
}

/// Kills a server that was aimed at `step`, and returns the step in which it died and everything it had running.
fn kill_in(place: &Place, step: Step, dice: &mut Dice) -> (Step, u32, Vec<Process>) {
    let patience = Duration::from_secs(20);
    let server = match step {
        Step::Prepare => {
            let mut server = start(place, "8");
            server.begin("read_file", json!({ "path": "notes.txt" }));
            assert!(server.logs("step: reply\n", 1, patience), "{}", server.log());
            // One of the several that are prepared from now on.
            let begun = server.log().matches(step.word()).count();
            server.logs(step.word(), begun + 1 + dice.below(3), Duration::from_millis(500));
            server
        }
        Step::Open | Step::Run | Step::Close | Step::HandBack | Step::Other => {
            let mut server = start(place, "0");
            server.begin("run_tests", json!({ "runner": "unittest", "keep": ["out/**"] }));
            assert!(server.logs(step.word(), 1, patience), "{}", server.log());
            server
        }
    };
    thread::sleep(Duration::from_micros(dice.below(step.span()) as u64));
    let id = server.id();
    let running = server.processes();
    let log = server.kill();
    (Step::last(&log), id, running)
}

/// Everything that still runs and has to do with the place: what was seen running, and whatever sees the workspace.
fn left(place: &Place, running: &[Process]) -> Vec<Process> {
    let ours = place.all().to_str().unwrap();
    let sees = |process: &Process| {
        fs::read_to_string(format!("/proc/{}/mountinfo", process.id)).is_ok_and(|text| text.contains(ours))
    };
    let mut left: Vec<Process> = running.iter().filter(|process| process.is_alive()).cloned().collect();
    left.extend(Process::all().into_iter().filter(|process| sees(process) && process.is_alive()));
    left
}

/// Waits until neither a process nor a device of a killed server is left, and looks for mounts then.
fn assert_nothing_stays(place: &Place, running: &[Process]) {
    let begun = Instant::now();
    loop {
        let (left, devices) = (left(place, running), loop_devices(place));
        if left.is_empty() && devices.is_empty() {
            break;
        }
        assert!(begun.elapsed() < GONE_WITHIN, "these survive: {left:?} {devices:?}");
        thread::sleep(Duration::from_millis(5));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(place.all().to_str().unwrap()), "{mounts}");
}

/// Loop devices with a file of the place: they hold a root server's scratch volumes.
fn loop_devices(place: &Place) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok);
    let files = devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    files.filter(|file| file.contains(place.all().to_str().unwrap())).collect()
}

/// Cgroups that carry the dead server's name.
fn cgroups_of(id: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(&format!("{id}-")) {
                    found.push(entry.path());
                }
                folders.push(entry.path());
            }
        }
    }
    found
}

/// What lies in the state folder, by name, without what runs leave in scratch volumes on purpose.
fn state(place: &Place) -> BTreeSet<PathBuf> {
    let (mut names, mut folders) = (BTreeSet::new(), vec![place.state()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != "scratch") {
            // What hand-backs that came to their end replaced is kept on purpose; an unfinished one is not.
            let is_kept =
                entry.path().parent().is_some_and(|folder| folder.ends_with("undo") || folder.ends_with("left"))
                    && entry.file_name() != "unfinished";
            // What is left of changes that were held and are not any more.
            let is_empty = || fs::read_dir(entry.path()).unwrap().next().is_none();
            let was_held = (entry.file_name() == "stack.json" && holds_nothing(&entry.path()))
                || (entry.file_name() == "layers" && is_empty());
            if is_kept || was_held {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            names.insert(entry.path());
        }
    }
    names
}

/// Whether a session's record says that nothing is held and no layer is left.
fn holds_nothing(stack: &Path) -> bool {
    let stack: Value = serde_json::from_slice(&fs::read(stack).unwrap()).unwrap();
    ["held", "layers"].iter().all(|list| stack[list].as_array().is_some_and(Vec::is_empty))
}

/// The workspace holds what it held, and files of a run that are whole.
fn assert_workspace_is_whole(place: &Place, after: Step) {
    for path in place.tree().paths() {
        let name = path.to_str().unwrap();
        let known =
            matches!(name, "Cargo.toml" | "notes.txt" | "tests" | "tests/__init__.py" | "tests/test_many.py" | "out");
        let number = name.strip_prefix("out/").and_then(|name| name.strip_suffix(".txt"));
        assert!(known || number.is_some_and(|number| number.parse::<usize>().is_ok()), "{name} after {after:?}");
        if number.is_some() {
            let text = place.read(name);
            assert!(text.starts_with("begin ") && text.ends_with(" end\n"), "{name} is torn after {after:?}");
        }
    }
    assert_eq!(place.read("notes.txt"), "one\n");
}

#[test]
fn nothing_survives_a_killed_server_and_the_next_start_cleans_the_rest() {
    kill_and_look(Place::new(), MOMENTS);
}

#[test]
fn nothing_survives_an_ordinary_users_killed_server_either() {
    kill_and_look(Place::of(Person::ordinary()), MOMENTS_OF_AN_ORDINARY_USER);
}

fn kill_and_look(place: Place, moments: usize) {
    let suite = suite();
    let place = place.and(&[
        // Which gives the runs a scratch volume.
        ("Cargo.toml", ""),
        ("notes.txt", "one\n"),
        ("tests/__init__.py", ""),
        ("tests/test_many.py", &suite),
    ]);
    let keep = json!({ "runner": "unittest", "keep": ["out/**"] });
    let (status, value) = place.call("run_tests", &keep);
    assert_eq!(status, 0, "{value}");
    let clean = state(&place);
    let mut dice = Dice::new(9);
    let mut counts: BTreeMap<Step, usize> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    for attempt in 0..TRIES {
        // What is still missing, else one after the other.
        let missing = Step::AIMED.into_iter().find(|step| counts.get(step).copied().unwrap_or(0) < EACH);
        let killed: usize = counts.values().sum();
        let aimed = match missing {
            Some(step) if killed + EACH * Step::AIMED.len() >= moments => step,
            Some(_) | None if killed >= moments => break,
            Some(_) | None => Step::AIMED[attempt % Step::AIMED.len()],
        };
        let tried = Instant::now();
        let (step, id, running) = kill_in(&place, aimed, &mut dice);
        *counts.entry(step).or_default() += 1;

        let begun = Instant::now();
        while !left(&place, &running).is_empty() || !loop_devices(&place).is_empty() {
            let (left, devices) = (left(&place, &running), loop_devices(&place));
            assert!(begun.elapsed() < GONE_WITHIN, "killed in {step:?}, and these survive: {left:?} {devices:?}");
            thread::sleep(Duration::from_millis(5));
        }
        slowest = slowest.max(begun.elapsed());

        // The next start.
        let (status, value) = place.call("read_file", &json!({ "path": "notes.txt" }));
        assert_eq!(status, 0, "after {step:?}: {value}");
        assert_eq!(cgroups_of(id), Vec::<PathBuf>::new(), "after {step:?}");
        // A hand-back that was committed and not yet carried out is finished by holding the rest.
        let discarded = place.run(&["changes", "discard", "--all"]);
        assert!(discarded.status.success(), "after {step:?}: {discarded:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(place.all().to_str().unwrap()), "after {step:?}: {mounts}");
        let remains: Vec<PathBuf> = state(&place).difference(&clean).cloned().collect();
        assert_eq!(remains, Vec::<PathBuf>::new(), "in the state folder, after {step:?}");
        assert_workspace_is_whole(&place, step);
        println!("{attempt:>3}: aimed at {aimed:?}, killed in {step:?}, took {:.1} s", tried.elapsed().as_secs_f64());
    }
    println!("killed in: {counts:?}; the last process was gone after at most {} ms", slowest.as_millis());
    for step in Step::AIMED {
        assert!(counts.get(&step).copied().unwrap_or(0) >= EACH, "{step:?}: {counts:?}");
    }
    assert!(counts.values().sum::<usize>() >= moments, "{counts:?}");
    let verified = place.run(&["audit", "verify"]);
    let told = String::from_utf8_lossy(&verified.stdout);
    println!("{told}");
    assert!(verified.status.success(), "{told}");
    // Every start recorded what the server before it lost.
    assert!(told.contains("calls without an outcome: 0\n"), "{told}");
    assert!(!told.contains("calls lost with a killed server: 0\n"), "{told}");
    let shown = String::from_utf8(place.run(&["audit", "show", "--last", "1000"]).stdout).unwrap();
    assert!(shown.contains("lost") && !shown.contains("no end"), "{shown}");
    assert_eq!(place.call("run_tests", &keep).0, 0, "it works as before");
}

/// A suite that writes to a scratch volume until it is killed, and the next time finds what it wrote.
const WRITER: &str = "import os, time, unittest


class Writer(unittest.TestCase):
    def test_writer(self):
        again = os.path.exists('target/0')
        for number in range(0 if again else 600):
            with open(f'target/{number}', 'wb') as file:
                file.write(b'x' * (1 << 20))
            time.sleep(0.05)
        self.assertTrue(again)
";

#[test]
fn a_server_that_is_killed_while_a_run_writes_to_a_scratch_volume_leaves_no_device_and_the_next_run_has_the_volume() {
    let place = Place::with(&[("Cargo.toml", ""), ("tests/__init__.py", ""), ("tests/test_writer.py", WRITER)]);
    let mut server = start(&place, "0");
    server.begin("run_tests", json!({ "runner": "unittest" }));
    assert!(server.logs("step: run\n", 1, Duration::from_secs(20)), "{}", server.log());
    thread::sleep(Duration::from_secs(3));
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(!loop_devices(&place).is_empty(), is_root, "an ordinary user's volumes are folders");
    let running = server.processes();
    assert!(running.len() > 1, "the suite runs: {running:?}");
    server.kill();
    assert_nothing_stays(&place, &running);
    let (status, value) = place.call("run_tests", &json!({ "runner": "unittest" }));
    assert_eq!(status, 0, "the volume is there, with what was written: {value}");
}

#[test]
fn a_server_that_is_killed_between_two_runs_leaves_no_device_either() {
    let quick = "import unittest\n\n\nclass Quick(unittest.TestCase):\n    def test_quick(self):\n        pass\n";
    let place = Place::with(&[("Cargo.toml", ""), ("tests/__init__.py", ""), ("tests/test_quick.py", quick)]);
    let mut server = start(&place, "2");
    let answer = server.call("run_tests", json!({ "runner": "unittest" }));
    assert!(!answer.is_error, "{}", answer.text);
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(!loop_devices(&place).is_empty(), is_root, "the volumes are kept at hand for a moment");
    let running = server.processes();
    server.kill();
    assert_nothing_stays(&place, &running);
}
