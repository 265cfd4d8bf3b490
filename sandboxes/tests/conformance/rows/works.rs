//! Ordinary things that must work, by the probe: what programs, allocators, debuggers and servers do every day.

use std::{fs, path::PathBuf};

use super::{Row, ensure, row};
use crate::{
    leftovers::Removed,
    stage::{Ask, Site, Stage, User, close, run},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("W01", "threads", threads),
    row("W02", "processes, groups, sessions, pidfds", processes),
    row("W03", "a debugger of its own children", debugger),
    row("W04", "memory as allocators and just-in-time compilers use it", memory),
    row("W05", "shared memory, semaphores and queues", shared_memory),
    row("W06", "servers on loopback, IPv4 and IPv6, and names", loopback),
    row("W07", "unix sockets, with descriptors sent over them", unix_sockets),
    row("W08", "timers, signals and events", timers),
    row("W09", "files in the workspace, /tmp, /dev/shm and the home", files),
    row("W10", "files that the workspace has", workspace_files),
    row("W11", "who and where a program is", identity),
    row("W12", "a gigabyte of addresses, a large file and many of them", sizes),
    row("W14", "a workspace in every place where people have one, and with any name", any_workspace),
    row("W13", "what one command leaves, the next one finds", commands_share_a_sandbox),
];

fn threads(stage: &Stage) -> Result<Cell, String> {
    stage.site("W01").probe(&["threads"]).expect(&[
        ("threads joined", "16"),
        ("sum", "120"),
        ("channel", "7"),
        ("cores", "known"),
        ("*", "ok"),
    ])?;
    Ok(Cell::Holds)
}

fn processes(stage: &Stage) -> Result<Cell, String> {
    stage.site("W02").probe(&["subprocesses"]).expect(&[
        ("a shell", "out err 3"),
        ("a pipeline", "1000"),
        ("50 programs", "50"),
        ("kill a child", "ok, SIGTERM"),
        ("a group of one's own, killed whole", "ok, SIGKILL"),
        ("*", "ok"),
    ])?;
    Ok(Cell::Holds)
}

fn debugger(stage: &Stage) -> Result<Cell, String> {
    stage.site("W03").probe(&["debugger"]).expect(&[
        ("PTRACE_TRACEME", "stopped true, registers ok, options ok, continue ok, exit 7"),
        ("PTRACE_SEIZE", "seize ok, interrupt ok, stopped true, memory ok"),
    ])?;
    Ok(Cell::Holds)
}

fn memory(stage: &Stage) -> Result<Cell, String> {
    // A kernel without large pages of its own accord answers EINVAL to advice about them.
    stage.site("W04").probe(&["memory"]).expect(&[
        ("madvise HUGEPAGE", "ok|EINVAL"),
        ("madvise NOHUGEPAGE", "ok|EINVAL"),
        ("memfd, shared and sealed", "ok ok"),
        ("*", "ok"),
    ])?;
    Ok(Cell::Holds)
}

fn shared_memory(stage: &Stage) -> Result<Cell, String> {
    stage.site("W05").probe(&["shared-memory"]).expect(&[("*", "ok")])?;
    Ok(Cell::Holds)
}

fn loopback(stage: &Stage) -> Result<Cell, String> {
    stage.site("W06").probe(&["loopback"]).expect(&[
        ("localhost", "127.0.0.1|127.0.0.1 ::1"),
        ("a name that is not there", "fails at once"),
        ("an address outside", "ENETUNREACH"),
        ("interfaces", "lo"),
        ("*", "ok"),
    ])?;
    Ok(Cell::Holds)
}

fn unix_sockets(stage: &Stage) -> Result<Cell, String> {
    stage.site("W07").probe(&["unix-sockets"]).expect(&[("*", "ok")])?;
    Ok(Cell::Holds)
}

fn timers(stage: &Stage) -> Result<Cell, String> {
    stage.site("W08").probe(&["timers"]).expect(&[("alarm", "SIGALRM"), ("*", "ok")])?;
    Ok(Cell::Holds)
}

fn files(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W09");
    let workspace = site.workspace.display().to_string();
    site.probe(&["files", &workspace, "/tmp", "/dev/shm", "/home/agent"]).expect(&[("*", "ok")])?;
    Ok(Cell::Holds)
}

fn workspace_files(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W10");
    let (report, handed) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["workspace-files"]);
    report.expect(&[
        // Moving a folder of the lower layer answers EXDEV, by design: tools copy and delete.
        ("rename a folder", "EXDEV"),
        ("execute a script", "scripted"),
        ("one file seen the same by two descriptors", "same|older"),
        ("*", "ok"),
    ])?;
    let moved = site.host_text("moved/one").as_deref() == Some("again") && site.host_text("moved/renamed").is_some();
    ensure(moved && site.host_text("folder/one").is_none(), || format!("the folder did not move: {handed:?}"))?;
    ensure(site.host_text("README").as_deref() == Some("readme\nmore\nmore\n"), || {
        "the change did not come back".into()
    })?;
    Ok(Cell::Holds)
}

fn identity(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W11");
    site.probe(&["identity"]).expect(&[
        ("id -un", "agent"),
        ("id -u", "1000"),
        ("id -gn", "agent"),
        ("whoami", "agent"),
        ("hostname", "cofferdam"),
        ("pwd", &site.workspace.display().to_string()),
        ("HOME", "/home/agent"),
        ("USER", "agent"),
        ("LANG", "C.UTF-8"),
        ("TMPDIR", "/tmp"),
        ("/dev/full", "ENOSPC"),
        ("time zone", "ok|ENOENT"),
        ("*", "ok"),
    ])?;
    Ok(Cell::Holds)
}

fn sizes(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W12");
    let mut open = site.open(&Ask::execute().with(|limits| (limits.disk_mb, limits.memory_mb) = (1024, 1024)));
    let large = "head -c 200000000 /dev/zero > large && wc -c < large && rm large";
    run(&mut open, "sh", &["-c", large], |_, _| {}).printed("200000000")?;
    let many = "mkdir many && cd many && seq 20000 | xargs touch && ls | wc -l && cd .. && rm -r many";
    run(&mut open, "sh", &["-c", many], |_, _| {}).printed("20000")?;
    Ok(Cell::Holds)
}

fn commands_share_a_sandbox(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W13");
    let mut open = site.open(&Ask::execute());
    run(&mut open, "sh", &["-c", "echo kept > /tmp/kept; echo kept > kept; (sleep 20 &)"], |_, _| {}).printed("")?;
    run(&mut open, "sh", &["-c", "cat /tmp/kept kept; pgrep -c sleep || true"], |_, _| {}).printed("kept\nkept\n1")?;
    drop(close(open));
    ensure(site.host_text("kept").is_none(), || "what was not asked for came back".into())?;
    Ok(Cell::Holds)
}

/// Where people have projects. Some lie in folders that are shown whole, or that a sandbox has of its own.
const PLACES: [&str; 10] =
    ["/var/tmp", "/dev/shm", "/srv", "/opt", "/home", "/root", "/usr/local/src", "/usr/src", "/mnt", "/var/lib"];

fn any_workspace(stage: &Stage) -> Result<Cell, String> {
    let number = std::process::id();
    let mut places: Vec<PathBuf> = Vec::new();
    for place in PLACES {
        let base = PathBuf::from(place).join(format!("cofferdam-planted-{number}"));
        if fs::create_dir(&base).is_ok() {
            places.push(base);
        }
    }
    let removed: Vec<Removed> = places.iter().cloned().map(Removed).collect();
    // An ordinary user may make folders in two of them.
    let least = match stage.user {
        User::Root => 8,
        User::Ordinary => 1,
    };
    ensure(places.len() >= least, || format!("no place to try but {places:?}"))?;
    let odd = stage.base.join("sites");
    let names = [
        "a b",
        "comma,colon:equals=",
        "back\\slash",
        "quote'\"",
        "\u{fc}n\u{ef}",
        "new\nline",
        "-dash",
        "#hash",
        "lowerdir=x",
    ];
    places.extend(names.map(|name| odd.join(name)));
    let mut problems = Vec::new();
    for place in &places {
        let workspace = place.join("work");
        if let Err(problem) = plays_everywhere(stage, &workspace) {
            problems.push(format!("{}: {problem}", workspace.display()));
        }
    }
    drop(removed);
    if problems.is_empty() { Ok(Cell::Holds) } else { Err(problems.join("; ")) }
}

/// Reads, executes and hands back in one workspace.
fn plays_everywhere(stage: &Stage, workspace: &std::path::Path) -> Result<(), String> {
    fs::create_dir_all(workspace).map_err(|error| error.to_string())?;
    fs::write(workspace.join("README"), "readme\n").map_err(|error| error.to_string())?;
    let site = Site { stage, workspace: workspace.to_path_buf(), session: stage.session(workspace)? };
    let mut open = site.try_open(&Ask::read())?;
    let read = crate::stage::read_file(&mut open, "README").map_err(|error| error.to_string())?;
    ensure(read == b"readme\n", || "another file was read".into())?;
    drop(open);
    let mut open = site.try_open(&Ask::execute().keeping_all())?;
    run(&mut open, "sh", &["-c", "cat README; pwd; echo made > made"], |_, _| {})
        .printed(&format!("readme\n{}", workspace.display()))?;
    site.hand_back(close(open))?;
    ensure(site.host_text("made").as_deref() == Some("made\n"), || "the change did not come back".into())
}
