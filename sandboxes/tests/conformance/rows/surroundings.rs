//! What of the host can be seen from inside.

use std::{fs, net::TcpListener, path::Path};

use super::{Row, ensure, row};
use crate::{
    stage::{Ask, Site, Stage, User, close, run},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P01", "homes and secrets of the host are not there at all", secrets_are_absent),
    row("P02", "nothing of the server's environment is inside", environment_is_ours),
    row("P03", "no socket of the host can be found or reached", sockets_are_out_of_reach),
    row("P11", "a program starts with three descriptors and no folder of the host", descriptors_are_three),
    row("P56", "kernel settings cannot be opened for writing", settings_are_read_only),
    row("P58", "kernel files that tell of the host are empty or refused", kernel_files_are_silent),
    row("P59", "devices and masked paths cannot be swapped", masked_paths_stay),
    row("P61", "cgroups are neither seen nor mountable", cgroups_are_absent),
    row("P62", "devices are neither there nor to be made", devices_are_absent),
    row("P69", "processes, mounts and sockets seen are the sandbox's own", only_own_processes_and_mounts),
    row("P84", "what exists and what does not answer alike", absence_is_uniform),
    row("P85", "the canary token is in no file, environment or command line", token_is_nowhere),
    row("P87", "no program, socket or state of the product is inside", product_is_absent),
];

fn secrets_are_absent(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P01");
    let mut paths: Vec<String> = stage.canaries.secrets.iter().map(|path| path.display().to_string()).collect();
    // Outside, this user reads them all.
    let arguments: Vec<&str> = [&["open"], paths.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat();
    stage.outside(&arguments).expect(&[("*", "ok")])?;
    for home in ["/root", "/home/user"] {
        paths.extend(
            [".ssh", ".aws", ".netrc", ".docker/config.json", ".bash_history"].map(|name| format!("{home}/{name}")),
        );
    }
    paths.extend(["/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh", "/etc/machine-secret"].map(String::from));
    paths.push(stage.home.display().to_string());
    paths.push(stage.base.join("outside").display().to_string());
    let arguments: Vec<&str> = [&["open"], paths.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat();
    site.probe(&arguments).expect(&[("*", "ENOENT")])?;
    site.probe(&["list", "/home", "/home/agent"]).expect(&[("/home", "agent"), ("/home/agent", "")])?;
    Ok(Cell::Holds)
}

/// Variables that a sandbox may have. Tool homes depend on the toolchains that were found.
const VARIABLES: [&str; 34] = [
    "PATH",
    "PWD",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "LANG",
    "TERM",
    "CI",
    "TZ",
    "DEBIAN_FRONTEND",
    "GIT_TERMINAL_PROMPT",
    "CARGO_NET_OFFLINE",
    "GOPROXY",
    "GOTOOLCHAIN",
    "GOTELEMETRY",
    "npm_config_offline",
    "npm_config_audit",
    "npm_config_fund",
    "npm_config_update_notifier",
    "PIP_DISABLE_PIP_VERSION_CHECK",
    "PIP_NO_INPUT",
    "UV_OFFLINE",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "RUSTUP_AUTO_INSTALL",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "NVM_DIR",
    "GOROOT",
    "GOPATH",
    "GOMODCACHE",
    "JAVA_HOME",
];

fn environment_is_ours(stage: &Stage) -> Result<Cell, String> {
    let held = |name: &str| std::env::var(name).is_ok_and(|value| value.contains("canary"));
    ensure(held("AWS_SECRET_ACCESS_KEY") && held("SSH_AUTH_SOCK"), || {
        "the control is missing in the server's own environment".into()
    })?;
    let report = stage.site("P02").probe(&["P02"]);
    ensure(report.attempts.len() > 10, || report.seen())?;
    for (name, value) in &report.attempts {
        let plain = name.strip_prefix("first process: ").unwrap_or(name);
        ensure(VARIABLES.contains(&plain), || format!("{name}={value} is inside"))?;
        let foreign = value.contains("canary") || value.contains(&stage.base.join("home").display().to_string());
        ensure(!foreign, || format!("{name}={value} tells of the host"))?;
    }
    ensure(report.result("HOME") == Some("/home/agent"), || report.seen())?;
    Ok(Cell::Holds)
}

fn sockets_are_out_of_reach(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P03");
    // A path socket crosses network namespaces when the path can be named: this one lies in the workspace.
    let own = site.workspace.join("listening.sock");
    let listener = std::os::unix::net::UnixListener::bind(&own).map_err(|error| error.to_string())?;
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let spare = TcpListener::bind("0.0.0.0:0").map_err(|error| error.to_string())?;
    spare.set_nonblocking(true).map_err(|error| error.to_string())?;
    let port = spare.local_addr().map_err(|error| error.to_string())?.port();
    let targets = [format!("tcp:127.0.0.1:{port}"), format!("path:{}", own.display())];
    let control = stage.outside(&["P03", &targets[0], &targets[1]]);
    control.expect_among(&[("connect tcp:*", "ok"), ("connect path:*", "ok")])?;
    let _ = (spare.accept(), listener.accept());
    let mut arguments = vec!["P03".to_owned()];
    arguments.extend(targets);
    arguments
        .extend(stage.canaries.tcp.iter().filter_map(|listener| Some(format!("tcp:{}", listener.local_addr().ok()?))));
    arguments.push(format!("abstract:{}", stage.canaries.abstract_name));
    arguments.push(format!("path:{}", stage.canaries.socket.display()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // A socket file of the workspace's is seen in the view; nobody listens at the view's inode.
    site.probe(&arguments).expect(&[
        ("connect tcp:*", "ECONNREFUSED"),
        ("connect abstract:*", "ECONNREFUSED"),
        ("connect path:*", "ECONNREFUSED|ENOENT"),
        ("sockets in the file system", &format!("|{}", own.display())),
        ("*", "ENOENT"),
    ])?;
    ensure(listener.accept().is_err() && spare.accept().is_err(), || "a listener of the host's was reached".into())?;
    Ok(Cell::Holds)
}

fn descriptors_are_three(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P11");
    // The harness holds folders and files open, some of them without close-on-exec.
    let folder = fs::File::open(&stage.base).map_err(|error| error.to_string())?;
    let inherited = rustix::io::dup(&folder).map_err(|error| error.to_string())?;
    let report = site.probe(&["P11"]);
    drop(inherited);
    report.expect(&[
        ("own 0", "/dev/null"),
        ("own 1", "pipe:*"),
        ("own 2", "pipe:*"),
        // Closed to a look from inside; what it holds is seen from outside.
        ("first process", "EACCES"),
    ])?;
    if stage.user == User::Root {
        descriptors_of_the_first_process(&site)?;
    }
    Ok(Cell::Holds)
}

/// What the guest holds open, seen from the host: its pipe, its own makings, and the view.
fn descriptors_of_the_first_process(site: &Site<'_>) -> Result<(), String> {
    let open = site.open(&Ask::execute());
    let children = children_of_this_process();
    let guest = children.iter().find(|(_, command)| command.starts_with("cofferdam-guest"));
    let (pid, _) = guest.ok_or_else(|| format!("no guest among {children:?}"))?;
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).map_err(|error| error.to_string())?;
    let targets: Vec<String> = entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    drop(open);
    let workspace = site.workspace.display().to_string();
    let own = |target: &&String| {
        ["socket:", "pipe:", "anon_inode:", "/dev/null"].iter().any(|kind| target.starts_with(kind))
            || **target == workspace
    };
    ensure(targets.len() >= 4 && targets.iter().all(|target| own(&target)), || format!("it holds {targets:?}"))
}

/// Children of this process with their command lines.
fn children_of_this_process() -> Vec<(u32, String)> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let pids = tasks.flat_map(|task| {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()).collect::<Vec<_>>()
    });
    pids.map(|pid| (pid, fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default())).collect()
}

fn settings_are_read_only(stage: &Stage) -> Result<Cell, String> {
    stage.site("P56").probe(&["P56"]).expect(&[
        ("/proc/self/oom_score_adj below 0", "EACCES|EPERM"),
        ("/proc/1/oom_score_adj below 0", "EACCES|EPERM"),
        ("*", "EROFS|EPERM|EACCES|ENOENT|EISDIR|EINVAL"),
    ])?;
    Ok(Cell::Holds)
}

fn kernel_files_are_silent(stage: &Stage) -> Result<Cell, String> {
    ensure(Path::new("/proc/kcore").exists() || Path::new("/proc/kallsyms").exists(), || {
        "the host has none of them".into()
    })?;
    stage.site("P58").probe(&["P58"]).expect(&[
        ("syslog(READ_ALL)", "EPERM"),
        // Its own memory, at an address where nothing is mapped.
        ("/proc/1/mem", "EIO|EACCES|EPERM"),
        ("*", "empty|ENOENT|EACCES|EPERM"),
    ])?;
    Ok(Cell::Holds)
}

fn masked_paths_stay(stage: &Stage) -> Result<Cell, String> {
    stage.site("P59").probe(&["P59"]).expect(&[
        ("/dev/pts", "ENOENT"),
        ("/dev", "fd full mqueue null random shm stderr stdin stdout urandom zero"),
        // ENOENT: this kernel does not have the file, or /proc has no place for the new name.
        ("*/proc/kcore", "EROFS|EBUSY|EPERM|EACCES|EXDEV|ENOENT"),
        ("rename /proc/*", "EROFS|EBUSY|EPERM|EACCES|EXDEV|ENOENT"),
        ("*", "EROFS|EBUSY|EPERM|EACCES|EXDEV"),
    ])?;
    Ok(Cell::Holds)
}

fn cgroups_are_absent(stage: &Stage) -> Result<Cell, String> {
    stage.site("P61").probe(&["P61"]).expect(&[
        ("/sys/fs/cgroup", "ENOENT"),
        ("own paths", "/"),
        ("mount *", "EPERM"),
    ])?;
    Ok(Cell::Holds)
}

fn devices_are_absent(stage: &Stage) -> Result<Cell, String> {
    if stage.user == User::Root {
        stage
            .outside(&["P62"])
            .expect_among(&[("mknod character device in .", "ok"), ("mknod block device in .", "ok")])?;
    }
    stage.site("P62").probe(&["P62"]).expect(&[("mknod *", "EPERM|EACCES"), ("*", "ENOENT")])?;
    Ok(Cell::Holds)
}

fn only_own_processes_and_mounts(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P69");
    let control = stage.outside(&["P69"]);
    let process = format!("process {}", stage.canaries.process());
    let canary = format!("*canary-process-{}", std::process::id());
    control.expect_among(&[(&process, &canary)])?;
    ensure(control.result("net unix").is_some_and(|text| text.contains(&stage.canaries.abstract_name)), || {
        "no control for sockets".into()
    })?;
    let report = site.probe(&["P69"]);
    let shown: Vec<String> = shown_places(stage);
    let workspace = site.workspace.display().to_string();
    let base = stage.base.display().to_string();
    let mut processes = 0;
    for (what, result) in &report.attempts {
        if let Some(process) = what.strip_prefix("process ") {
            processes += 1;
            let own =
                result.starts_with("./probe") || result.ends_with("probe P69") || result.starts_with("cofferdam-guest");
            ensure(own, || format!("process {process} is seen: {result}"))?;
        } else if let Some(point) = what.strip_prefix("mount ") {
            let (root, rest) = result.split_once(' ').unwrap_or((result, ""));
            // The root of a mount is a path on the host's file system: the same place, or its tail below a mount there.
            let own = root == "/" || point.ends_with(root) || (point.starts_with("/proc/") && root == "/null");
            ensure(own, || format!("the mount at {point} tells of {root}"))?;
            let foreign = rest.contains(&base) || rest.contains(&stage.home.display().to_string());
            ensure(!foreign, || format!("the mount at {point} tells of the host: {rest}"))?;
            let below_base = point.starts_with(&base) && !point.starts_with(&workspace);
            let known = !below_base || shown.iter().any(|place| place == point);
            ensure(known, || format!("{point} is mounted"))?;
        } else if what.starts_with("net ") {
            let foreign = result.contains(&stage.canaries.abstract_name) || result.contains(&base);
            ensure(!foreign, || format!("{what} tells of the host: {result}"))?;
        }
    }
    ensure(processes == 2, || format!("{processes} processes are seen: {}", report.seen()))?;
    ensure(report.result("host name") == Some("cofferdam"), || report.seen())?;
    let interfaces = report.result("net dev").unwrap_or_default().matches(": ").count();
    ensure(interfaces == 1, || report.seen())?;
    Ok(Cell::Holds)
}

/// What `doctor` says is shown of the host.
pub(super) fn shown_places(stage: &Stage) -> Vec<String> {
    let site = stage.site("P69-doctor");
    let report = stage.yard().doctor(stage.permit(&Ask::execute()), &site.session);
    report.shown.iter().map(|path| path.display().to_string()).collect()
}

fn absence_is_uniform(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P84");
    let home = stage.home.display().to_string();
    let paths = [
        "/etc/shadow".to_owned(),
        "/etc/no-such-file".to_owned(),
        format!("{home}/.ssh/id_ed25519"),
        format!("{home}/.ssh/no-such-file"),
        format!("{home}/no-such-folder/x"),
        stage.base.join("sites/neighbour.txt").display().to_string(),
        stage.base.join("sites/no-such-file").display().to_string(),
    ];
    let arguments: Vec<&str> = [&["open"], paths.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat();
    site.probe(&arguments).expect(&[("*", "ENOENT")])?;
    Ok(Cell::Holds)
}

fn token_is_nowhere(stage: &Stage) -> Result<Cell, String> {
    let backwards: String = stage.canaries.token.chars().rev().collect();
    let site = stage.site("P85");
    // The system and the toolchains are large, and the same for everybody.
    let mut skipped = shown_places(stage);
    skipped.extend(["/proc", "/sys", "/dev"].map(String::from));
    let outside = stage.base.join("outside");
    fs::copy(outside.join("secret.txt"), stage.base.join("outside/again.txt")).map_err(|error| error.to_string())?;
    // The control looks from the folder that the secrets are in.
    let mut control: Vec<String> = vec!["P85".into(), backwards.clone()];
    control.extend(siblings_of(&stage.base));
    let control: Vec<&str> = control.iter().map(String::as_str).collect();
    let control = stage.outside(&control);
    ensure(control.result("found in").is_some_and(|found| found.contains("secret.txt")), || {
        format!("no control: {}", control.seen())
    })?;
    let mut open = site.open(&Ask::execute().keeping_all());
    let skipped: Vec<&str> = skipped.iter().map(String::as_str).collect();
    let arguments: Vec<&str> = [["P85", &backwards].as_slice(), &skipped].concat();
    let report = run(&mut open, "./probe", &arguments, |_, _| {});
    report.expect(&[("files looked into", "some"), ("found in", "")])?;
    drop(close(open));
    Ok(Cell::Holds)
}

/// Every folder beside the ones above `folder`, so that a search outside comes to it soon.
fn siblings_of(folder: &Path) -> Vec<String> {
    let mut siblings = Vec::new();
    for above in folder.ancestors() {
        let Some(parent) = above.parent() else { continue };
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.path() != above {
                siblings.push(entry.path().display().to_string());
            }
        }
    }
    siblings
}

fn product_is_absent(stage: &Stage) -> Result<Cell, String> {
    let state = stage.state.display().to_string();
    ensure(stage.state.is_dir(), || "there is no state to look for".into())?;
    stage
        .site("P87")
        .probe(&["P87", &state, "/run/cofferdam", "/var/lib/cofferdam", "/etc/cofferdam"])
        .expect(&[("cofferdam programs on PATH", ""), ("*", "ENOENT")])?;
    Ok(Cell::Holds)
}
