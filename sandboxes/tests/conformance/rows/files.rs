//! Paths: what a sandbox can read and write by them, and what it cannot.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use cofferdam_contract::{Command, RefusalKind, Sandbox as _, SandboxError, WorkspacePath};
use cofferdam_sandboxes::Workspace;

use super::{Row, ensure, row};
use crate::{
    stage::{Ask, Site, Stage, User, close, read_file, run, workspace_path, write_file},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P06", "a link out of the workspace is neither read nor written through", links_out_are_refused),
    row("P10", "magic links of /proc are not followed", magic_links_are_refused),
    row("P12", "a link out of the workspace is no working directory", directory_must_be_below),
    row("P13", "a workspace that is a link or was replaced is refused", replaced_workspace_is_refused),
    row("P14", "pipes, sockets, devices and giant files do not hang a read", special_files_do_not_hang),
    row("P18", "no event of the host is seen, and no file by handle", host_events_are_not_seen),
    row("P19", "what is shown read-only stays so", shown_places_are_read_only),
    row("P21", "a planted program is not taken for a tool", planted_programs_are_not_found),
];

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
