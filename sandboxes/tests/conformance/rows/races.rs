//! Races: what is below a path changes while it is being written, outside as an editor or an attacker on the host would
//! do it, and inside by a process of the sandbox's own.

use std::{
    fs,
    time::{Duration, Instant},
};

use cofferdam_contract::{FileRequest, Sandbox as _, SandboxError};

use super::{Row, ensure, row};
use crate::{
    stage::{Ask, Stage, read_file, run, workspace_path, write_file},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P07", "a folder swapped for a link in a loop lets nothing out", swapped_links_let_nothing_out),
    row("P08", "folders exchanged in a loop let nothing out", exchanged_folders_let_nothing_out),
];

/// A race against the gate lasts half this many seconds; `COFFERDAM_RACE_SECONDS` says another number.
fn race_seconds() -> u64 {
    std::env::var("COFFERDAM_RACE_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(10)
}

/// Attempts of a row, for each user: paths that are resolved through a folder while it is swapped.
const ATTEMPTS: u32 = 100_000;

/// The longest that one sandbox of a race inside lives; the harness's policy gives it a minute.
const LONGEST: Duration = Duration::from_secs(25);

/// Sandboxes that a race inside has for its attempts, at most. Two cores of its own need one.
const SANDBOXES: u32 = 8;

/// Files that one call writes against the gate.
const FILES_OF_A_CALL: usize = 24;

/// How a race swaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swap {
    Link,
    Exchange,
}

fn swapped_links_let_nothing_out(stage: &Stage) -> Result<Cell, String> {
    race(stage, "P07", Swap::Link)
}

fn exchanged_folders_let_nothing_out(stage: &Stage) -> Result<Cell, String> {
    race(stage, "P08", Swap::Exchange)
}

fn race(stage: &Stage, id: &str, swap: Swap) -> Result<Cell, String> {
    let time = Duration::from_secs(race_seconds()) / 2;
    let gate = race_against_the_gate(stage, id, swap, time)?;
    let mut inside = 0;
    for sandbox in 0..SANDBOXES {
        if gate + inside < ATTEMPTS {
            inside += race_inside(stage, &format!("{id}-inside-{sandbox}"), swap, ATTEMPTS - gate - inside)?;
        }
    }
    // The table has no place for numbers.
    eprintln!("{id} as {:?}: {} attempts, {gate} of them against the gate", stage.user, gate + inside);
    ensure(gate + inside >= ATTEMPTS, || format!("{gate} + {inside} attempts are too few"))?;
    Ok(Cell::Holds)
}

/// The host's folder is swapped, as an editor or an attacker on the host would, while calls write below it and the gate
/// puts their changes into place. Returns how many changes the gate decided about.
fn race_against_the_gate(stage: &Stage, id: &str, swap: Swap, time: Duration) -> Result<u32, String> {
    let site = stage.site(id);
    let outside = stage.base.join(format!("outside-{id}"));
    fs::create_dir_all(&outside).map_err(|error| error.to_string())?;
    fs::write(outside.join("target"), "untouched").map_err(|error| error.to_string())?;
    site.write_on_host("view/target", "old");
    if swap == Swap::Exchange {
        // What is exchanged with the folder is a link out of the workspace.
        site.link_on_host("other-view", &outside);
    }
    let (how, other) = match swap {
        Swap::Link => ("link", outside.clone()),
        Swap::Exchange => ("exchange", site.workspace.join("other-view")),
    };
    let seconds = time.as_secs().to_string();
    let view = site.workspace.join("view").display().to_string();
    let mut swapper = std::process::Command::new(&stage.probe)
        // Pauses of up to 200 ms, in which a call gets along as far as it can.
        .args(["swap", how, &view, &other.display().to_string(), &seconds, "200000"])
        .current_dir(&stage.base)
        .stdout(std::process::Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let until = Instant::now() + time;
    let (mut applied, mut calls, mut attempts) = (0, 0, 0_u32);
    while Instant::now() < until {
        calls += 1;
        let Ok(mut open) = site.try_open(&Ask::write()) else { continue };
        // A change of a file that is there can be applied between two swaps; a new name meets a folder that changed.
        let names = [format!("view/new-{calls}"), "view/target".to_owned(), "view/deep/er".to_owned()];
        let more = (0..FILES_OF_A_CALL).map(|number| format!("view/file-{number}"));
        for name in names.iter().take(1 + calls % 3).cloned().chain(more.take(calls % 2 * FILES_OF_A_CALL)) {
            let _ = write_file(&mut open, &name, &format!("planted {calls}"));
        }
        if let Ok(closed) = open.close()
            && let Ok(handed) = site.hand_back(closed)
        {
            applied += handed.applied.len();
            attempts += (handed.applied.len() + handed.held.len()) as u32;
        }
        // What is held once would hold all that is written over it.
        site.discard_held()?;
    }
    let _ = swapper.wait();
    let names: Vec<_> = fs::read_dir(&outside).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    ensure(names.len() == 1, || format!("escaped to the host: {names:?} after {calls} calls"))?;
    let target = fs::read_to_string(outside.join("target")).unwrap_or_default();
    ensure(target == "untouched", || format!("a file outside holds {target:?}"))?;
    ensure(calls > 5 && applied > 0, || format!("{calls} calls applied {applied} changes: no race took place"))?;
    Ok(attempts)
}

/// A process of the sandbox swaps while the server asks the guest for this many file operations, or as many as it has time
/// for. Returns how many.
fn race_inside(stage: &Stage, site: &str, swap: Swap, wanted: u32) -> Result<u32, String> {
    let site = stage.site(site);
    let mut open = site.open(&Ask::execute().with(|limits| {
        limits.wall_seconds = LONGEST.as_secs() + 20;
        limits.cpu_seconds = 2 * LONGEST.as_secs();
    }));
    let prepare = "mkdir -p view /tmp/outside && echo untouched > /tmp/outside/target";
    let prepare = match swap {
        Swap::Link => prepare.to_owned(),
        Swap::Exchange => format!("{prepare} && ln -s /tmp/outside other-view"),
    };
    run(&mut open, "sh", &["-c", &prepare], |_, _| {}).printed("")?;
    let command = match swap {
        Swap::Link => format!("./probe swap link view /tmp/outside {} 200 > /tmp/swaps 2>&1 &", LONGEST.as_secs()),
        Swap::Exchange => {
            format!("./probe swap exchange view other-view {} 200 > /tmp/swaps 2>&1 &", LONGEST.as_secs())
        }
    };
    run(&mut open, "sh", &["-c", &command], |_, _| {}).printed("")?;
    let until = Instant::now() + LONGEST;
    let (mut written, mut refused, mut attempts, mut leaked) = (0_u32, 0_u32, 0_u32, None);
    while attempts < wanted && Instant::now() < until {
        attempts += 4;
        match write_file(&mut open, "view/target", "planted") {
            Ok(()) => written += 1,
            Err(SandboxError::File(_)) => refused += 1,
            Err(error) => return Err(format!("the sandbox ended: {error}")),
        }
        match read_file(&mut open, "view/target") {
            Ok(bytes) if bytes.starts_with(b"untouched") => leaked = Some("a file beyond a link was read"),
            Ok(_) | Err(SandboxError::File(_)) => {}
            Err(error) => return Err(format!("the sandbox ended: {error}")),
        }
        let moved =
            FileRequest::Move { source: workspace_path("view/target"), destination: workspace_path("view/moved") };
        let _ = open.file(moved);
        let _ = open.file(FileRequest::Delete(workspace_path("view/moved")));
    }
    ensure(leaked.is_none(), || leaked.unwrap_or_default().into())?;
    run(&mut open, "sh", &["-c", "ls /tmp/outside && cat /tmp/outside/target"], |_, _| {})
        .printed("target\nuntouched")?;
    let swaps = run(
        &mut open,
        "sh",
        &["-c", "touch /tmp/swapped-enough; for i in 1 2 3 4 5 6; do grep swapped /tmp/swaps && exit; sleep 0.5; done"],
        |_, _| {},
    );
    ensure(swaps.text().contains("many times"), || format!("no race took place: {}", swaps.seen()))?;
    // Both must have happened often, or the swaps and the operations did not meet.
    let met = written > attempts / 1000 && refused > attempts / 1000;
    ensure(met, || format!("{written} written, {refused} refused: too few for a race"))?;
    Ok(attempts)
}
