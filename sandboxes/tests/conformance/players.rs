//! Who plays the rows: this test's own program again, once as root (if it is root) and once as an ordinary user who is
//! made for the purpose and removed with everything of theirs.

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{PermissionsExt as _, chown},
            net::{SocketAddr, UnixListener},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::mount::UnmountFlags;

use crate::{
    canaries,
    leftovers::Removed,
    rows::Row,
    stage::{Stage, User},
    table::{Cell, Column},
};

/// Tells a copy of this program to play, and where: `user:base`.
const ORDER: &str = "COFFERDAM_CONFORMANCE_ORDER";

/// How long a run waits for another: a run takes two minutes on two cores.
const PATIENCE: Duration = Duration::from_secs(600);

/// The setting that one row changes for a moment.
const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

/// Only these rows, with commas between: for working on one.
pub(crate) const ONLY: &str = "COFFERDAM_CONFORMANCE_ROWS";

/// The home whose toolchains the row about cargo uses.
pub(crate) const TOOLCHAIN_HOME: &str = "COFFERDAM_CONFORMANCE_TOOLCHAIN";

/// Waits until no other run of this test is at work on the machine: one row changes a setting of the whole of it.
///
/// An abstract socket is the lock: it leaves no file, and ends with its holder.
pub(crate) fn turn() -> UnixListener {
    let address = SocketAddr::from_abstract_name("cofferdam-conformance-run").expect("the name is short");
    let before = Instant::now();
    loop {
        match UnixListener::bind_addr(&address) {
            Ok(turn) => return turn,
            Err(error) => assert!(before.elapsed() < PATIENCE, "another run does not end: {error}"),
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// What this process was ordered to play, if it was.
pub(crate) fn order() -> Option<(User, PathBuf)> {
    let order = std::env::var(ORDER).ok()?;
    let (user, base) = order.split_once(':')?;
    let user = match user {
        "root" => User::Root,
        "ordinary" => User::Ordinary,
        other => panic!("no user {other}"),
    };
    Some((user, PathBuf::from(base)))
}

/// Plays rows as this process's user, and writes what came of each to `base/results`.
pub(crate) fn play(user: User, base: &Path, rows: &[Row]) {
    let mut stage = Stage::build(user, base, &base.join("../bin/probe"));
    let results = base.join("results");
    let mut text = String::new();
    for row in rows {
        let before = std::time::Instant::now();
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (row.play)(&stage)));
        let cell = match played {
            Ok(Ok(cell)) => cell,
            Ok(Err(how)) => Cell::Fails(how),
            Err(panic) => Cell::Fails(format!("the row panicked: {}", words(panic.as_ref()))),
        };
        // Whatever the row tried: the host must be as it was.
        let cell = match (stage.canaries.check(), cell) {
            (Ok(()), cell) => cell,
            (Err(changed), Cell::Fails(how) | Cell::Breached(how)) => Cell::Breached(format!("{changed}; {how}")),
            (Err(changed), Cell::Holds | Cell::Watched) => Cell::Breached(changed),
        };
        text.push_str(&format!("{}\t{}\t{:.1}\n", row.id, cell.written(), before.elapsed().as_secs_f32()));
        fs::write(&results, &text).unwrap();
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// A player at work.
#[derive(Debug)]
pub(crate) struct Player {
    child: Child,
    results: PathBuf,
}

impl Player {
    /// Starts a copy of this program as `user`, in a folder of its own below `base`, to play the rows of these ids.
    pub(crate) fn start(user: User, ground: &Ground, account: &Account, ids: &[&str]) -> Self {
        let name = match user {
            User::Root => "root",
            User::Ordinary => "ordinary",
        };
        let base = &ground.base;
        let own = (1..).map(|time| base.join(format!("{name}-{time}"))).find(|own| !own.exists()).unwrap();
        fs::create_dir(&own).unwrap();
        chown(&own, Some(account.uid), Some(account.gid)).unwrap();
        let token = format!("canary-variable-{}", canaries::number());
        let mut command = Command::new(base.join("bin/conformance"));
        command
            .args(["--exact", "the_committed_table_holds", "--nocapture"])
            .env(ORDER, format!("{name}:{}", own.display()))
            .env(ONLY, ids.join(","))
            .env(TOOLCHAIN_HOME, &ground.toolchain_home)
            .env("HOME", own.join("home"))
            .env("AWS_SECRET_ACCESS_KEY", &token)
            .env("GITHUB_TOKEN", &token)
            .env("SSH_AUTH_SOCK", format!("/tmp/{token}"))
            .env("LD_LIBRARY_PATH_CANARY", &token)
            .current_dir(&own)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if account.uid != rustix::process::geteuid().as_raw() {
            // Root's supplementary groups are dropped with it (std::process::Command, `uid`).
            command.uid(account.uid).gid(account.gid);
        }
        Self { child: command.spawn().unwrap(), results: own.join("results") }
    }

    /// The player's process id: it is the server of its sandboxes.
    pub(crate) fn server(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; the results by row, and how long each took.
    pub(crate) fn finish(mut self) -> (Column, Vec<(String, f32)>) {
        let status = self.child.wait().unwrap();
        let text = fs::read_to_string(&self.results).unwrap_or_default();
        let mut column = Column::new();
        let mut times = Vec::new();
        for line in text.lines() {
            let mut fields = line.split('\t');
            let (id, cell, took) = (fields.next(), fields.next(), fields.next());
            let (Some(id), Some(cell)) = (id, cell) else { continue };
            column.insert(id.to_owned(), Cell::read(cell));
            times.push((id.to_owned(), took.and_then(|took| took.parse().ok()).unwrap_or(0.0)));
        }
        assert!(status.success() || !column.is_empty(), "a player ended with {status} and played nothing");
        (column, times)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Ended already, unless this test is failing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who a player is on the host.
#[derive(Debug)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
    made: Option<String>,
}

impl Account {
    /// This process's own user.
    pub(crate) fn own() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw(), made: None }
    }

    /// The name of the user that was made.
    pub(crate) fn name(&self) -> Option<&str> {
        self.made.as_deref()
    }

    /// A new ordinary user, who is removed when this is dropped.
    pub(crate) fn make() -> Self {
        let name = format!("cofferdam-{}", std::process::id());
        let added = Command::new("useradd").args(["--no-create-home", "--shell", "/bin/sh", &name]).status().unwrap();
        assert!(added.success(), "useradd made no user: {added}");
        let number = |option: &str| {
            let output = Command::new("id").args([option, &name]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().unwrap()
        };
        Self { uid: number("-u"), gid: number("-g"), made: Some(name.clone()) }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(name) = &self.made {
            let _ = Command::new("userdel").arg(name).stderr(Stdio::null()).status();
        }
    }
}

/// A folder below which everything of a run lies: readable by everybody, and no home.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) base: PathBuf,
    toolchain_home: PathBuf,
    /// What the kernel does with cores, should a player be killed while it tries another way.
    core_pattern: String,
    _removed: Removed,
}

impl Ground {
    /// Makes it, with this program and the probe in it.
    pub(crate) fn prepare() -> Self {
        let base = PathBuf::from(format!("/tmp/cofferdam-conformance-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        let removed = Removed(base.clone());
        fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
        let bin = base.join("bin");
        fs::create_dir(&bin).unwrap();
        fs::copy(std::env::current_exe().unwrap(), bin.join("conformance")).unwrap();
        fs::copy(build_probe(), bin.join("probe")).unwrap();
        fs::write(base.join("settings.lock"), "").unwrap();
        fs::set_permissions(base.join("settings.lock"), fs::Permissions::from_mode(0o666)).unwrap();
        let core_pattern = fs::read_to_string(CORE_PATTERN).unwrap_or_default();
        let toolchain_home = toolchain_home(&base);
        Self { base, toolchain_home, core_pattern, _removed: removed }
    }
}

/// A home with this machine's Rust toolchain in it. As root it is a mount, since root's own home is closed to others.
fn toolchain_home(base: &Path) -> PathBuf {
    if !rustix::process::geteuid().is_root() {
        return PathBuf::from(std::env::var_os("HOME").expect("a user has a home"));
    }
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let home = base.join("toolchain-home");
    let at = home.join(".rustup/toolchains").join(sysroot.file_name().unwrap());
    fs::create_dir_all(&at).unwrap();
    rustix::mount::mount_bind(&sysroot, &at).unwrap();
    home
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Before the folder is removed: what is mounted there is not ours. A player that was killed may have left more.
        let base = self.base.display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for point in mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.starts_with(&base)) {
            if let Err(error) = rustix::mount::unmount(point, UnmountFlags::DETACH) {
                eprintln!("failed to unmount {point}: {error}");
            }
        }
        let pattern = fs::read_to_string(CORE_PATTERN).unwrap_or_default();
        if pattern.contains(&base) {
            let _ = fs::write(CORE_PATTERN, &self.core_pattern);
        }
    }
}

/// Builds the probe with a target folder of the tests' own, so that no lock of an outer build is waited for.
fn build_probe() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("probe/Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--config",
            "profile.dev.strip=true",
            "--config",
            "profile.dev.opt-level=1",
            "--manifest-path",
        ])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .unwrap();
    assert!(status.success(), "the probe was not built: {status}");
    target.join("debug/cofferdam-probe")
}
