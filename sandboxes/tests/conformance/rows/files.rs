//! Paths, links and marks: what a sandbox can do to files, and what comes back of what it did.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use cofferdam_contract::{Command, FileRequest, RefusalKind, Sandbox as _, SandboxError, WorkspacePath};
use cofferdam_sandboxes::Workspace;

use super::{Row, ensure, row};
use crate::{
    stage::{Ask, Site, Stage, User, close, read_file, run, workspace_path, write_file},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P05", "odd names come back exactly or not at all", odd_names_are_exact),
    row("P06", "a link out of the workspace is neither read nor written through", links_out_are_refused),
    row("P07", "a folder swapped for a link in a loop lets nothing out", swapped_links_let_nothing_out),
    row("P08", "folders exchanged in a loop let nothing out", exchanged_folders_let_nothing_out),
    row("P09", "a hard link to a read-only or protected file changes neither", hard_links_change_nothing),
    row("P10", "magic links of /proc are not followed", magic_links_are_refused),
    row("P12", "a link out of the workspace is no working directory", directory_must_be_below),
    row("P13", "a workspace that is a link or was replaced is refused", replaced_workspace_is_refused),
    row("P14", "pipes, sockets, devices and giant files do not hang a read", special_files_do_not_hang),
    row("P15", "set-id bits and file capabilities do nothing inside and stay there", set_id_bits_stay_inside),
    row("P17", "attributes, access lists and flags stay off the host", attributes_stay_inside),
    row("P18", "no event of the host is seen, and no file by handle", host_events_are_not_seen),
    row("P19", "what is shown read-only stays so", shown_places_are_read_only),
    row("P21", "a planted program is not taken for a tool", planted_programs_are_not_found),
    row("P22", "forged overlay marks are data", forged_marks_are_data),
    row("P24", "renaming the parents of a protected path plants nothing", renamed_parents_plant_nothing),
];

/// A race lasts this many seconds; `COFFERDAM_RACE_SECONDS` says another number.
fn race_seconds() -> u64 {
    std::env::var("COFFERDAM_RACE_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(10)
}

fn odd_names_are_exact(stage: &Stage) -> Result<Cell, String> {
    use std::os::unix::ffi::OsStrExt as _;
    let site = stage.site("P05");
    let (report, handed) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P05"]);
    report.expect(&[("*", "ok")])?;
    let right: [&[u8]; 12] = [
        b"new\nline",
        b"\xff\xfe",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{202e}txt.exe".as_bytes(),
        b"name.",
        b"name ",
        b"CON",
        b"TWIN",
        b"twin",
        b"-rf",
        &[b'x'; 255],
    ];
    let mut came = 0;
    for entry in fs::read_dir(site.workspace.join("odd")).map_err(|error| error.to_string())?.flatten() {
        came += 1;
        let name = entry.file_name();
        ensure(right.contains(&name.as_bytes()), || format!("{name:?} came back, which nobody made"))?;
        let content = fs::read_to_string(entry.path()).unwrap_or_default();
        let its_own = name.as_bytes() != b"TWIN" || content == "upper case";
        ensure(its_own, || format!("{name:?} holds {content:?}"))?;
    }
    let accounted = came + handed.held.len() + handed.dropped.len();
    ensure(accounted >= right.len(), || format!("{came} came back; {handed:?}"))?;
    too_deep_is_refused(stage)?;
    Ok(Cell::Holds)
}

/// Folders deeper than any path can name: refused whole, or back as far as they are; never an endless walk.
fn too_deep_is_refused(stage: &Stage) -> Result<(), String> {
    let site = stage.site("P05-deep");
    let mut open = site.open(&Ask::execute().keeping_all());
    run(&mut open, "./probe", &["P38", "depth", ".", "400"], |_, _| {})
        .expect(&[("result", "not refused"), ("taken", "400")])?;
    run(&mut open, "sh", &["-c", "echo kept > kept"], |_, _| {}).printed("")?;
    let before = Instant::now();
    let back = open.close().map_err(|error| error.to_string()).and_then(|closed| site.hand_back(closed));
    ensure(before.elapsed() < Duration::from_secs(5), || format!("closing took {:?}", before.elapsed()))?;
    let kept = site.host_text("kept").is_some();
    ensure(back.is_err() != kept, || format!("neither refused nor handed back: {back:?}"))
}

fn refused(result: Result<Vec<u8>, SandboxError>, kinds: &[RefusalKind]) -> Result<(), String> {
    match result {
        Err(SandboxError::File(refusal)) if kinds.contains(&refusal.kind) => Ok(()),
        other => Err(format!("{other:?} instead of one of {kinds:?}")),
    }
}

fn links_out_are_refused(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P06");
    let secret = stage.base.join("outside/secret.txt");
    site.link_on_host("to-secret", &secret);
    site.link_on_host("to-folder", stage.base.join("outside"));
    site.link_on_host("climbing", "../../outside/secret.txt");
    site.link_on_host("to-passwd", "/etc/passwd");
    let names = ["to-secret", "to-folder/secret.txt", "climbing", "to-passwd"];
    for name in names {
        ensure(fs::read(site.workspace.join(name)).is_ok(), || format!("{name} leads nowhere on the host"))?;
    }
    // The third and fourth are prepared ahead.
    let prepared = stage.prepared_yard();
    drop((site.open_in(&prepared, &Ask::read()), site.open_in(&prepared, &Ask::write())));
    thread::sleep(Duration::from_millis(300));
    let opened = [
        site.open(&Ask::read()),
        site.open(&Ask::write()),
        site.open_in(&prepared, &Ask::read()),
        site.open_in(&prepared, &Ask::write()),
        site.open(&Ask::execute().keeping_all()),
    ];
    for mut open in opened {
        for name in names {
            refused(read_file(&mut open, name), &[RefusalKind::LeadsOut, RefusalKind::NotFound])
                .map_err(|error| format!("reading {name}: {error}"))?;
        }
    }
    for name in names {
        let mut open = site.open(&Ask::write());
        let written = write_file(&mut open, name, "planted");
        let handed = site.hand_back(close(open));
        ensure(written.is_err() || handed.is_ok(), || format!("{name}: {handed:?}"))?;
    }
    ensure(fs::read_to_string(&secret).is_ok_and(|text| !text.contains("planted")), || {
        "the target was written".into()
    })?;
    ensure(!fs::read_to_string("/etc/passwd").is_ok_and(|text| text.contains("planted")), || "/etc/passwd".into())?;
    Ok(Cell::Holds)
}

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
    race_against_the_gate(stage, id, swap, time)?;
    race_inside(stage, id, swap, time)?;
    Ok(Cell::Holds)
}

/// The host's folder is swapped, as an editor or an attacker on the host would, while calls write below it and the gate
/// puts their changes into place.
fn race_against_the_gate(stage: &Stage, id: &str, swap: Swap, time: Duration) -> Result<(), String> {
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
    let (mut applied, mut calls) = (0, 0);
    while Instant::now() < until {
        calls += 1;
        let Ok(mut open) = site.try_open(&Ask::write()) else { continue };
        // A change of a file that is there can be applied between two swaps; a new name meets a folder that changed.
        let names = [format!("view/new-{calls}"), "view/target".to_owned(), "view/deep/er".to_owned()];
        for name in names.iter().take(1 + calls % 3) {
            let _ = write_file(&mut open, name, &format!("planted {calls}"));
        }
        if let Ok(closed) = open.close()
            && let Ok(handed) = site.hand_back(closed)
        {
            applied += handed.applied.len();
        }
    }
    let _ = swapper.wait();
    let names: Vec<_> = fs::read_dir(&outside).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    ensure(names.len() == 1, || format!("escaped to the host: {names:?} after {calls} calls"))?;
    let target = fs::read_to_string(outside.join("target")).unwrap_or_default();
    ensure(target == "untouched", || format!("a file outside holds {target:?}"))?;
    ensure(calls > 5 && applied > 0, || format!("{calls} calls applied {applied} changes: no race took place"))
}

/// A process of the sandbox swaps while the server asks the guest for file operations.
fn race_inside(stage: &Stage, id: &str, swap: Swap, time: Duration) -> Result<(), String> {
    let site = stage.site(&format!("{id}-inside"));
    let mut open = site.open(&Ask::execute().with(|limits| limits.wall_seconds = time.as_secs() + 20));
    let prepare = "mkdir -p view /tmp/outside && echo untouched > /tmp/outside/target";
    let prepare = match swap {
        Swap::Link => prepare.to_owned(),
        Swap::Exchange => format!("{prepare} && ln -s /tmp/outside other-view"),
    };
    run(&mut open, "sh", &["-c", &prepare], |_, _| {}).printed("")?;
    let command = match swap {
        Swap::Link => format!("./probe swap link view /tmp/outside {} 0 > /tmp/swaps 2>&1 &", time.as_secs()),
        Swap::Exchange => format!("./probe swap exchange view other-view {} 0 > /tmp/swaps 2>&1 &", time.as_secs()),
    };
    run(&mut open, "sh", &["-c", &command], |_, _| {}).printed("")?;
    let until = Instant::now() + time;
    let (mut written, mut refused, mut leaked) = (0_u32, 0_u32, None);
    while Instant::now() < until {
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
    // It ends by itself soon after.
    let swaps = run(
        &mut open,
        "sh",
        &["-c", "for i in 1 2 3 4 5 6; do grep swapped /tmp/swaps && exit; sleep 0.5; done"],
        |_, _| {},
    );
    ensure(swaps.text().contains("many times"), || format!("no race took place: {}", swaps.seen()))?;
    ensure(written + refused > 50, || format!("{written} written, {refused} refused: too few for a race"))
}

fn hard_links_change_nothing(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P09");
    site.write_on_host(".git/config", "[core]\n");
    let before = fs::metadata(site.workspace.join(".git/config")).map_err(|error| error.to_string())?;
    let ask = Ask::execute().keeping_all();
    let (report, handed) = site.probe_and_hand_back(&ask, &["P09", "/usr/bin/env", "/etc/passwd", "/proc/self/exe"]);
    report.expect(&[
        ("link /*", "EXDEV|EPERM|EACCES"),
        ("link .git/config", "ok|EXDEV|EPERM"),
        ("write through the link", "ok"),
        ("/proc/sys/fs/protected_hardlinks", "EROFS|EACCES|EPERM"),
    ])?;
    ensure(site.host_text(".git/config").as_deref() == Some("[core]\n"), || {
        format!("the protected file changed: {handed:?}")
    })?;
    let after = fs::metadata(site.workspace.join(".git/config")).map_err(|error| error.to_string())?;
    ensure((before.ino(), after.nlink()) == (after.ino(), 1), || "the protected file has a second name".into())?;
    Ok(Cell::Holds)
}

fn magic_links_are_refused(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P10");
    let links = [
        ("own-root", "/proc/self/root/etc/passwd"),
        ("own-cwd", "/proc/self/cwd/README"),
        ("first-root", "/proc/1/root/etc/passwd"),
        ("descriptor", "/proc/self/fd/3"),
        ("program", "/proc/self/exe"),
        ("thread-root", "/proc/thread-self/root"),
    ];
    for (name, target) in links {
        site.link_on_host(name, target);
    }
    site.link_on_host("root", "/proc/self/root");
    for ask in [Ask::read(), Ask::execute()] {
        let mut open = site.open(&ask);
        for name in links.map(|(name, _)| name.to_owned()).into_iter().chain(["root/etc/passwd".to_owned()]) {
            refused(read_file(&mut open, &name), &[RefusalKind::LeadsOut, RefusalKind::NotFound])
                .map_err(|error| format!("reading {name}: {error}"))?;
        }
    }
    Ok(Cell::Holds)
}

fn directory_must_be_below(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P12");
    site.link_on_host("out", "/etc");
    site.link_on_host("descriptor", "/proc/self/fd/3");
    site.link_on_host("root", "/proc/self/root");
    let mut open = site.open(&Ask::execute());
    for directory in ["out", "descriptor", "root", "root/etc", "README", "absent"] {
        let command = Command {
            program: "pwd".into(),
            arguments: Vec::new(),
            directory: workspace_path(directory),
            environment: std::collections::BTreeMap::new(),
        };
        let outcome = open.execute(&command, &mut |_, _| {});
        let right = matches!(outcome, Err(SandboxError::File(_)));
        ensure(right, || format!("{directory} became the working directory: {outcome:?}"))?;
    }
    run(&mut open, "pwd", &[], |_, _| {}).printed(&site.workspace.display().to_string())?;
    Ok(Cell::Holds)
}

fn replaced_workspace_is_refused(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P13");
    let link = stage.base.join("sites/P13-link");
    std::os::unix::fs::symlink(&site.workspace, &link).map_err(|error| error.to_string())?;
    for path in
        [link, stage.home.clone(), stage.base.clone(), "/".into(), stage.state.clone(), site.workspace.join("README")]
    {
        let opened = Workspace::open(&path, &stage.state, &stage.home);
        ensure(opened.is_err(), || format!("{} became a workspace", path.display()))?;
    }
    replaced_before_the_call(stage, &site)?;
    replaced_during_the_call(stage)?;
    if stage.user == User::Root {
        covered_by_a_mount(stage)?;
    }
    Ok(Cell::Holds)
}

fn replaced_before_the_call(stage: &Stage, site: &Site<'_>) -> Result<(), String> {
    let aside = stage.base.join("sites/P13-aside");
    fs::rename(&site.workspace, &aside).map_err(|error| error.to_string())?;
    for replacement in ["folder", "link", "nothing"] {
        match replacement {
            "folder" => fs::create_dir(&site.workspace).map_err(|error| error.to_string())?,
            "link" => std::os::unix::fs::symlink(&aside, &site.workspace).map_err(|error| error.to_string())?,
            _ => {}
        }
        for ask in [Ask::read(), Ask::write(), Ask::execute()] {
            let opened = site.try_open(&ask);
            ensure(opened.is_err(), || format!("a workspace replaced by a {replacement} was opened"))?;
        }
        let _ = fs::remove_file(&site.workspace).or_else(|_| fs::remove_dir(&site.workspace));
    }
    fs::rename(&aside, &site.workspace).map_err(|error| error.to_string())?;
    let mut open = site.open(&Ask::read());
    read_file(&mut open, "README").map(drop).map_err(|error| error.to_string())
}

fn replaced_during_the_call(stage: &Stage) -> Result<(), String> {
    let site = stage.site("P13-during");
    let outside = stage.base.join("outside-P13");
    fs::create_dir_all(&outside).map_err(|error| error.to_string())?;
    fs::write(outside.join("README"), "untouched").map_err(|error| error.to_string())?;
    let mut open = site.open(&Ask::write());
    write_file(&mut open, "README", "planted").map_err(|error| error.to_string())?;
    write_file(&mut open, "new", "planted").map_err(|error| error.to_string())?;
    let aside = stage.base.join("sites/P13-during-aside");
    fs::rename(&site.workspace, &aside).map_err(|error| error.to_string())?;
    std::os::unix::fs::symlink(&outside, &site.workspace).map_err(|error| error.to_string())?;
    // It may be refused, or reach the folder that was opened; never what the path names now.
    let _ = open.close().map(|closed| site.hand_back(closed));
    let names = fs::read_dir(&outside).into_iter().flatten().count();
    let text = fs::read_to_string(outside.join("README")).unwrap_or_default();
    ensure(names == 1 && text == "untouched", || "the folder that replaced the workspace was written".into())
}

/// Another file system mounted over the workspace's path after it was opened.
fn covered_by_a_mount(stage: &Stage) -> Result<(), String> {
    let site = stage.site("P13-mount");
    let mounted = Mounted::tmpfs(&site.workspace)?;
    let opened = site.try_open(&Ask::read());
    drop(mounted);
    ensure(opened.is_err(), || "a workspace below another mount was opened".into())
}

/// A mount that is gone when this is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(at: &'a Path) -> Result<Self, String> {
        let mount = rustix::mount::mount(c"none", at, c"tmpfs", rustix::mount::MountFlags::empty(), c"size=64k");
        mount.map(|()| Self(at)).map_err(|error| error.to_string())
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

fn special_files_do_not_hang(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P14");
    let make = |name: &str, kind: rustix::fs::FileType, device: u64| {
        let path = site.workspace.join(name);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, rustix::fs::Mode::from_raw_mode(0o666), device)
    };
    make("fifo", rustix::fs::FileType::Fifo, 0).map_err(|error| error.to_string())?;
    let _listener = std::os::unix::net::UnixListener::bind(site.workspace.join("socket"));
    if stage.user == User::Root {
        make("device", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5))
            .map_err(|error| error.to_string())?;
    }
    for (name, size) in [("sparse", 1_u64 << 40), ("large", 10 << 30)] {
        let file = fs::File::create(site.workspace.join(name)).map_err(|error| error.to_string())?;
        file.set_len(size).map_err(|error| error.to_string())?;
    }
    site.link_on_host("zeroes", "/dev/zero");
    let mut open = site.open(&Ask::execute());
    run(&mut open, "./probe", &["P14"], |_, _| {}).expect(&[("*", "ok")])?;
    let no_files = ["fifo", "socket", "zeroes", "made-fifo", "made-socket", "made-device-link", "made-proc-link"];
    let device = (stage.user == User::Root).then_some("device");
    for name in no_files.into_iter().chain(device) {
        let before = Instant::now();
        let kinds = [RefusalKind::WrongKind, RefusalKind::LeadsOut, RefusalKind::Permission];
        refused(read_file(&mut open, name), &kinds).map_err(|error| format!("reading {name}: {error}"))?;
        ensure(before.elapsed() < Duration::from_secs(2), || format!("reading {name} took {:?}", before.elapsed()))?;
    }
    for name in ["sparse", "large", "made-sparse"] {
        let before = Instant::now();
        let read = read_file(&mut open, name);
        let bounded = match &read {
            Ok(bytes) => bytes.len() <= 64 << 10,
            Err(SandboxError::File(_)) => true,
            Err(SandboxError::Ended(_) | SandboxError::NotPlanned { .. }) => false,
        };
        ensure(bounded && before.elapsed() < Duration::from_secs(5), || {
            format!("reading {name} took {:?}: {:?}", before.elapsed(), read.map(|bytes| bytes.len()))
        })?;
    }
    // The same by a call that only reads, on the workspace itself.
    let mut open = site.open(&Ask::read());
    for name in ["fifo", "socket", "zeroes"].into_iter().chain(device) {
        refused(read_file(&mut open, name), &[RefusalKind::WrongKind, RefusalKind::LeadsOut, RefusalKind::Permission])
            .map_err(|error| format!("reading {name}: {error}"))?;
    }
    Ok(Cell::Holds)
}

fn set_id_bits_stay_inside(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P15");
    let (report, handed) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P15"]);
    report.expect(&[
        ("copy", "ok"),
        ("chmod 6755", "ok|EPERM"),
        ("bits inside", "6755|755"),
        ("setxattr security.capability", "EPERM|EOPNOTSUPP|EACCES"),
        ("a folder with set-group-id", "ok"),
        ("a world-writable file", "ok"),
        ("ids of *", "{\"row\":\"ids\",\"attempts\":[{\"what\":\"Uid\",\"result\":\"1000 1000 1000 1000\"},{\"what\":\"Gid\",\"result\":\"1000 1000 1000 1000\"},{\"what\":\"CapEff\",\"result\":\"0000000000000000\"},{\"what\":\"NoNewPrivs\",\"result\":\"1\"}]}"),
    ])?;
    let mut seen = 0;
    for name in ["planted-set-id", "planted-folder", "planted-open"] {
        let Ok(metadata) = fs::symlink_metadata(site.workspace.join(name)) else { continue };
        seen += 1;
        ensure(metadata.mode() & 0o7000 == 0, || format!("{name} came back with mode {:o}", metadata.mode()))?;
        let attributes = attributes_of(&site.workspace.join(name));
        ensure(attributes.is_empty(), || format!("{name} came back with {attributes:?}"))?;
    }
    ensure(seen == 3, || format!("{seen} came back: {handed:?}"))?;
    Ok(Cell::Holds)
}

/// Names of a host file's extended attributes.
fn attributes_of(path: &Path) -> Vec<String> {
    let mut names = vec![0_u8; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    names.filter(|name| !name.is_empty()).map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn attributes_stay_inside(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P17");
    stage.outside(&["P17"]).expect_among(&[("user.note on a new file", "ok|EOPNOTSUPP")])?;
    let (report, _) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P17"]);
    report.expect(&[
        ("a new file", "ok"),
        ("user.note on *", "ok|EOPNOTSUPP|EPERM"),
        ("system.posix_acl_access on *", "ok|EOPNOTSUPP|EPERM|EINVAL"),
        ("trusted.note on *", "EPERM|EOPNOTSUPP"),
        // A kernel that has SELinux and no policy for it stores the label; it stays in the view.
        ("security.selinux on *", "ok|EPERM|EOPNOTSUPP"),
        ("security.*", "EPERM|EOPNOTSUPP"),
        ("the immutable flag", "EPERM|ENOTTY|EOPNOTSUPP|EACCES|EINVAL"),
        ("a project id", "EPERM|ENOTTY|EOPNOTSUPP|EACCES|EINVAL"),
    ])?;
    for name in ["attributed", "README"] {
        let attributes = attributes_of(&site.workspace.join(name));
        ensure(attributes.is_empty(), || format!("{name} came back with {attributes:?}"))?;
    }
    ensure(site.host_text("attributed").is_some(), || "the file itself did not come back".into())?;
    Ok(Cell::Holds)
}

fn host_events_are_not_seen(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P18");
    site.probe(&["P18"]).expect(&[("*", "EPERM")])?;
    let folders = ["/tmp", "/dev/shm"];
    let done = AtomicBool::new(false);
    let planted = |folder: &str| Path::new(folder).join(format!("cofferdam-event-{}", std::process::id()));
    let (outside, inside) = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for folder in folders {
                    let _ = fs::write(planted(folder), "x").and_then(|()| fs::remove_file(planted(folder)));
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let outside = stage.outside(&["watch", "/tmp", "/dev/shm"]);
        let inside = site.probe(&["watch", "/tmp", "/dev/shm", "/home", "/"]);
        done.store(true, Ordering::Relaxed);
        (outside, inside)
    });
    outside.expect(&[("*", "some")])?;
    inside.expect(&[("*", "none")])?;
    Ok(Cell::Holds)
}

fn shown_places_are_read_only(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P19");
    let workspace = site.workspace.display().to_string();
    // A toolchain of the person's own: for an ordinary user's server nothing but the mount keeps its files.
    let toolchain = stage.base.join("tools/.rustup/toolchains/stable-x86_64-unknown-linux-gnu");
    fs::create_dir_all(toolchain.join("bin")).map_err(|error| error.to_string())?;
    fs::write(toolchain.join("bin/rustc"), "#!/bin/sh\n").map_err(|error| error.to_string())?;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(toolchain.join("bin/rustc"), mode).map_err(|error| error.to_string())?;
    let yard = stage.yard_with(&stage.base.join("tools"), &[]);
    let mut open = site.open_in(&yard, &Ask::execute());
    let own = toolchain.display().to_string();
    let places = ["P19", "/", "/usr", "/usr/bin", "/etc", "/proc", "/proc/sys", "/dev", "/home", "/run", &own];
    let report = run(&mut open, "./probe", &places, |_, _| {});
    drop(open);
    report.expect(&[
        ("remount *", "EPERM"),
        ("mount *", "*"),
        (&format!("create in {own}"), "EROFS"),
        (&format!("mkdir in {own}"), "EROFS"),
        (&format!("chmod {own}"), "EROFS"),
        ("*", "EROFS|EACCES|EPERM|ENOENT"),
    ])?;
    let writable = ["/tmp", "/var/tmp", "/home/agent", "/dev/shm", "/dev/mqueue", "/proc", &workspace];
    let devices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
    for (what, options) in &report.attempts {
        let Some(point) = what.strip_prefix("mount ") else { continue };
        let has = |option: &str| options.split(',').any(|word| word == option);
        // A file of /proc that is covered is covered with /dev/null.
        let is_device = devices.contains(&point) || (point.starts_with("/proc/") && has("noexec"));
        ensure(has("nosuid"), || format!("{point} is mounted {options}"))?;
        ensure(has("nodev") || is_device, || format!("{point} is mounted {options}"))?;
        let free = writable.contains(&point) || devices.contains(&point);
        ensure(has("ro") || free, || format!("{point} is mounted {options}"))?;
    }
    // The control: the same program may write where it should.
    site.probe(&["files", &workspace]).expect(&[("*", "ok")])?;
    Ok(Cell::Holds)
}

fn planted_programs_are_not_found(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P21");
    let names = ["sh", "git", "cargo", "python3", "planted-tool"];
    for folder in ["", "bin", "node_modules/.bin", ".venv/bin", "target/debug"] {
        for name in names {
            let path = Path::new(folder).join(name);
            site.write_on_host(&path.display().to_string(), "#!/bin/sh\necho PLANTED\n");
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(site.workspace.join(path), mode).map_err(|error| error.to_string())?;
        }
    }
    let workspace = site.workspace.display().to_string();
    let path = format!(
        "{workspace}:{workspace}/bin:.:{workspace}/node_modules/.bin:{}",
        std::env::var("PATH").unwrap_or_default()
    );
    let yard = stage.yard_with(&stage.home, &[("PATH", &path)]);
    let mut open = site.open_in(&yard, &Ask::execute());
    for name in names {
        let found = open.find_program(name).map_err(|error| error.to_string())?;
        let below = found.as_ref().is_some_and(|found| found.starts_with(&workspace));
        ensure(!below, || format!("{name} is taken from {found:?}"))?;
    }
    ensure(open.find_program("planted-tool") == Ok(None), || "a planted program is found by its name".into())?;
    run(&mut open, "sh", &["-c", "echo real"], |_, _| {}).printed("real")?;
    let report = run(&mut open, "sh", &["-c", "echo \"$PATH\""], |_, _| {});
    let on_path = report.text();
    let has_workspace =
        on_path.trim().split(':').any(|folder| !folder.starts_with('/') || folder.starts_with(&workspace));
    ensure(!has_workspace, || format!("PATH inside is {on_path}"))?;
    // A call's own PATH decides what its children find, never which program the server starts.
    let command = Command {
        program: "sh".into(),
        arguments: vec!["-c".into(), "echo real".into()],
        directory: WorkspacePath::workspace(),
        environment: [("PATH".to_owned(), workspace)].into(),
    };
    let mut printed = Vec::new();
    let outcome = open.execute(&command, &mut |_, bytes| printed.extend_from_slice(bytes));
    ensure(outcome.is_ok() && printed == b"real\n", || format!("{outcome:?} {}", String::from_utf8_lossy(&printed)))?;
    Ok(Cell::Holds)
}

fn forged_marks_are_data(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P22");
    for (name, content) in [("kept/file", "kept"), ("deleted", "x"), ("replaced/old", "x")] {
        site.write_on_host(name, content);
    }
    let (report, handed) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P22", "folder"]);
    report.expect(&[
        ("whiteout device in *", "EPERM|EACCES"),
        ("rename it into the view", "ENOENT|EXDEV"),
        ("delete a file of the workspace", "ok"),
        ("replace a folder by an empty one", "ok"),
        // Stored as data under another name by newer kernels, refused by older ones.
        ("user.overlay.*", "ok|EPERM|EOPNOTSUPP|EACCES|EINVAL|EIO"),
        ("trusted.overlay.*", "EPERM|EOPNOTSUPP"),
    ])?;
    for (name, content) in [("folder/one", "1\n"), ("folder/two", "2\n"), ("kept/file", "kept"), ("README", "readme\n")]
    {
        let text = site.host_text(name);
        ensure(text.as_deref() == Some(content), || format!("{name} holds {text:?}; {handed:?}"))?;
    }
    ensure(site.host_text("deleted").is_none(), || "a real deletion did not come back".into())?;
    ensure(site.host_text("replaced/old").is_none(), || "a real replacement did not come back".into())?;
    for name in ["folder", "README"] {
        let attributes = attributes_of(&site.workspace.join(name));
        ensure(attributes.is_empty(), || format!("{name} came back with {attributes:?}"))?;
    }
    forged_marks_in_held_layers(stage)
}

/// Marks on what is held: the layer they lie in is a lower layer of the next call's view.
fn forged_marks_in_held_layers(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P22-held");
    site.write_on_host(".git/config", "[core]\n");
    site.write_on_host("kept/file", "kept");
    let mut open = site.open(&Ask::execute().keeping_all());
    let plant = "mkdir -p .git/hooks && echo planted > .git/hooks/pre-commit && touch deleted && mkdir replaced";
    run(&mut open, "sh", &["-c", plant], |_, _| {}).printed("")?;
    run(&mut open, "./probe", &["P22", ".git"], |_, _| {});
    let handed = site.hand_back(close(open))?;
    ensure(!handed.held.is_empty(), || format!("nothing is held: {handed:?}"))?;
    ensure(site.host_text(".git/hooks/pre-commit").is_none(), || "a hook was planted".into())?;
    let mut open = site.open(&Ask::execute());
    let report = run(&mut open, "sh", &["-c", "cat .git/config README kept/file; ls .git"], |_, _| {});
    report.printed("[core]\nreadme\nkeptconfig\nhooks")?;
    Ok(Cell::Holds)
}

fn renamed_parents_plant_nothing(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P24");
    site.write_on_host(".git/config", "[core]\n");
    let (report, handed) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P24"]);
    // EXDEV: a folder of the lower layer is not renamed. A program that copies and deletes instead is the same to the gate.
    report.expect(&[("rename .git", "ok|EXDEV"), ("*", "ok")])?;
    ensure(site.host_text(".git/hooks/pre-commit").is_none(), || "a hook was planted".into())?;
    ensure(site.host_text(".git/config").is_some(), || "the repository's settings are gone".into())?;
    ensure(!handed.held.is_empty(), || format!("nothing is held: {handed:?}"))?;
    Ok(Cell::Holds)
}
