//! Who uses the product in a test. A server of root's and one of an ordinary user's confine by different means, so the
//! tests that matter most are done as both.
//!
//! Where the tests run as root, an ordinary user is made for them, and removed at their end. Root's home is closed to
//! that user, and the toolchain and the product's binary lie in it; so each program of theirs is started in a mount
//! namespace of its own, where both are bound to places they can read. Nothing is copied, and those mounts end with
//! the program, however that ends.

use std::{
    env, fmt,
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, lchown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::repository;

/// Variables of the person's own environment that programs need. What cargo and nextest add to a test's is left out.
const KEPT: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "SSL_CERT_FILE", "CARGO_HOME", "RUSTUP_HOME"];

/// Those of them that say nothing about whose they are.
const ANYBODYS: [&str; 3] = ["LANG", "TZ", "SSL_CERT_FILE"];

/// Where the system's own programs are.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Binds binary and toolchain, becomes the user and then the program: each step replaces the one before, so the process
/// that a test started is the program.
const BECOME: &str = "mount --bind \"$3\" \"$4\"\nmount --bind \"$5\" \"$6\"\nuid=$1 gid=$2\nshift 6\n\
                      exec setpriv --reuid \"$uid\" --regid \"$gid\" --clear-groups --inh-caps=-all -- \"$@\"\n";

/// What the names of users that tests make begin with. The number of the test's process follows.
const NAMES: &str = "cofferdam-test-";

/// How long the last processes of a user may take to end, and another test to change the list of users.
const PATIENCE: Duration = Duration::from_secs(30);

/// A user of the product.
#[derive(Debug)]
pub(crate) enum Person {
    /// Whoever runs the tests.
    Invoker,
    /// A user who was made for the test.
    Ordinary(Account),
}

/// A user who was made. Dropping it removes the user.
#[derive(Debug)]
pub(crate) struct Account {
    name: String,
    uid: u32,
    gid: u32,
    /// The toolchain that runs the tests.
    sysroot: PathBuf,
}

impl Person {
    /// Everybody whom a test is done as: the invoker, and an ordinary user where that is root.
    pub(crate) fn everyone() -> Vec<Arc<Self>> {
        let mut everyone = vec![Arc::new(Self::Invoker)];
        if rustix::process::geteuid().is_root() {
            everyone.push(Self::ordinary());
        }
        everyone
    }

    /// An ordinary user: the invoker, or where that is root, one who is made.
    pub(crate) fn ordinary() -> Arc<Self> {
        let root = rustix::process::geteuid().is_root();
        Arc::new(if root { Self::Ordinary(Account::make()) } else { Self::Invoker })
    }

    /// The invoker.
    pub(crate) fn invoker() -> Arc<Self> {
        Arc::new(Self::Invoker)
    }

    /// Makes `folder`, which holds everything of a test, this person's.
    pub(crate) fn move_in(&self, folder: &Path) {
        match self {
            Self::Invoker => {}
            Self::Ordinary(account) => {
                fs::create_dir_all(account.toolchain_in(folder)).unwrap();
                fs::create_dir(folder.join("bin")).unwrap();
                fs::write(binary_in(folder), "").unwrap();
                self.own_all(folder);
            }
        }
    }

    /// Makes everything in `folder` this person's.
    pub(crate) fn own_all(&self, folder: &Path) {
        match self {
            Self::Invoker => {}
            Self::Ordinary(account) => {
                let owner = format!("{}:{}", account.uid, account.gid);
                let status = Command::new("chown").args(["-R", "-h", &owner]).arg(folder).status().unwrap();
                assert!(status.success(), "chown -R {} ended with {status}", folder.display());
            }
        }
    }

    /// Makes `path` and the folders above it, up to `top`, this person's.
    pub(crate) fn own(&self, path: &Path, top: &Path) {
        match self {
            Self::Invoker => {}
            Self::Ordinary(account) => {
                for path in path.ancestors().take_while(|path| *path != top) {
                    lchown(path, Some(account.uid), Some(account.gid)).unwrap();
                }
            }
        }
    }

    /// `program` as this person starts it, with `folder` holding everything of the test.
    pub(crate) fn program(&self, program: &Path, folder: &Path) -> Command {
        match self {
            Self::Invoker => {
                let mut command = Command::new(program);
                command.env_clear();
                command.envs(KEPT.into_iter().filter_map(|name| env::var_os(name).map(|value| (name, value))));
                command
            }
            Self::Ordinary(account) => {
                let (home, toolchain) = (folder.join("home"), account.toolchain_in(folder));
                let mut command = Command::new("unshare");
                command.args(["--mount", "--", "sh", "-ec", BECOME, "become"]);
                command.args([account.uid.to_string(), account.gid.to_string()]);
                command.args([repository::cofferdam(), &binary_in(folder), &account.sysroot, &toolchain, program]);
                command.env_clear();
                command.envs(ANYBODYS.into_iter().filter_map(|name| env::var_os(name).map(|value| (name, value))));
                command.env("PATH", format!("{}:{SYSTEM_PATH}", toolchain.join("bin").display()));
                command.env("HOME", home).env("USER", &account.name).env("LOGNAME", &account.name);
                command
            }
        }
    }

    /// The product's binary as this person sees it.
    pub(crate) fn cofferdam(&self, folder: &Path) -> PathBuf {
        match self {
            Self::Invoker => repository::cofferdam().to_path_buf(),
            Self::Ordinary(_) => binary_in(folder),
        }
    }

    /// This person's home.
    pub(crate) fn home(&self, folder: &Path) -> PathBuf {
        match self {
            Self::Invoker => env::var_os("HOME").expect("who runs tests has a home").into(),
            Self::Ordinary(_) => folder.join("home"),
        }
    }
}

impl fmt::Display for Person {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invoker => formatter.write_str("the invoker"),
            Self::Ordinary(account) => write!(formatter, "an ordinary user ({})", account.name),
        }
    }
}

fn binary_in(folder: &Path) -> PathBuf {
    folder.join("bin/cofferdam")
}

impl Account {
    fn make() -> Self {
        // Several in one process where tests are threads.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let output = Command::new("rustc").args(["--print", "sysroot"]).current_dir(repository::folder()).output();
        let sysroot = PathBuf::from(String::from_utf8(output.unwrap().stdout).unwrap().trim());
        let name = format!("{NAMES}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let _turn = turn();
        remove_forgotten();
        let mut add = Command::new("useradd");
        add.args(["--no-create-home", "--no-log-init", "--shell", "/bin/sh", &name]);
        assert!(repeated(&mut add), "useradd makes no user");
        let (uid, gid) = numbers(&name).unwrap_or_else(|| panic!("{name} is not in the list of users"));
        Self { name, uid, gid, sysroot }
    }

    /// Where this user's toolchain appears: where rustup would have put it.
    fn toolchain_in(&self, folder: &Path) -> PathBuf {
        folder.join("home/.rustup/toolchains").join(self.sysroot.file_name().expect("a toolchain has a name"))
    }

    fn is_at_work(&self) -> bool {
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let mut owners = entries.filter_map(|entry| entry.metadata().ok().map(|metadata| metadata.uid()));
        owners.any(|owner| owner == self.uid)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // userdel refuses while a process of the user is there. What a test killed takes a moment.
        let begun = Instant::now();
        while self.is_at_work() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
        let _turn = turn();
        let removed = repeated(Command::new("userdel").arg(&self.name));
        assert!(removed || thread::panicking(), "the user {} is not removed", self.name);
    }
}

/// Number and group of a user (passwd(5)).
fn numbers(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut fields = line.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Removes users of tests that were killed before they could.
fn remove_forgotten() {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    for name in users.lines().filter_map(|line| line.split(':').next()).filter(|name| name.starts_with(NAMES)) {
        let process = name[NAMES.len()..].split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            repeated(Command::new("userdel").arg(name));
        }
    }
}

/// One test at a time changes the list of users.
fn turn() -> File {
    let lock = File::create(repository::cache().join("users.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

/// Runs `command` until it succeeds: somebody else on the machine may hold the list of users.
fn repeated(command: &mut Command) -> bool {
    let begun = Instant::now();
    loop {
        if command.stdin(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return true;
        }
        if begun.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(Duration::from_millis(200));
    }
}
