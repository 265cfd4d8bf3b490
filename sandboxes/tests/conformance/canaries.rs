//! Things of the host that must stay as they are, whatever a row tries: files, a process, listeners, kernel settings,
//! the clock. They are real: the user can read the files, signal the process and reach the listeners from outside.

use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::FlockOperation;

/// Kernel settings that a sandbox might reach for.
const SETTINGS: [&str; 9] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/fs/protected_hardlinks",
];

/// A file that an administrator may change at any time, and a sandbox never: what it adds would say so.
const ACCOUNTS: &str = "/etc/passwd";

/// Devices that programs of the host need, which a sandbox shares.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Host programs whose change would be an escape. The probe tries to write them.
const PROGRAMS: [&str; 2] = ["/usr/bin/env", "/bin/sh"];

/// Secrets below the home.
const SECRETS: [&str; 7] = [
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".config/gcloud/credentials.db",
    ".kube/config",
    ".docker/config.json",
    ".netrc",
    ".cargo/credentials.toml",
];

/// How far the wall clock may move against the monotonic one while rows run.
const CLOCK_DRIFT: Duration = Duration::from_secs(5);

/// Everything that is watched.
#[derive(Debug)]
pub(crate) struct Canaries {
    /// The text that all secrets hold, and that is nowhere inside.
    pub(crate) token: String,
    /// Secret files, below the home and beside the workspaces.
    pub(crate) secrets: Vec<PathBuf>,
    process: Child,
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) abstract_name: String,
    abstract_listener: UnixListener,
    pub(crate) socket: PathBuf,
    socket_listener: UnixListener,
    /// Held shared while settings are read, and exclusively by the one row that must change one for a moment.
    lock: PathBuf,
    before: Seen,
    clock: (SystemTime, Instant),
}

/// What was seen of everything that does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    files: Vec<(PathBuf, Option<String>)>,
    settings: Vec<(&'static str, Option<String>)>,
}

impl Canaries {
    /// Makes the secrets, starts the process and the listeners, and looks at everything once.
    pub(crate) fn set_out(base: &Path, home: &Path, probe: &Path) -> Self {
        let token = format!("canary-{}-{:x}", std::process::id(), number());
        let mut secrets: Vec<PathBuf> = SECRETS.iter().map(|name| home.join(name)).collect();
        secrets.push(base.join("outside/secret.txt"));
        secrets.push(base.join("state/secret.txt"));
        secrets.push(base.join("sites/neighbour.txt"));
        for secret in &secrets {
            fs::create_dir_all(secret.parent().unwrap()).unwrap();
            fs::write(secret, format!("{token}\n")).unwrap();
            fs::set_permissions(secret, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let process = Command::new(probe)
            .args(["sleep", &format!("canary-process-{}", std::process::id())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let tcp = ["127.0.0.1:0", "[::1]:0"].map(|address| TcpListener::bind(address).unwrap()).into();
        let abstract_name = format!("cofferdam-canary-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let socket = base.join("outside/canary.sock");
        let mut canaries = Self {
            token,
            secrets: secrets.clone(),
            process,
            tcp,
            abstract_name,
            abstract_listener: UnixListener::bind_addr(&address).unwrap(),
            socket_listener: UnixListener::bind(&socket).unwrap(),
            socket,
            lock: base.parent().unwrap().join("settings.lock"),
            before: Seen { files: Vec::new(), settings: Vec::new() },
            clock: (SystemTime::now(), Instant::now()),
        };
        for listener in &canaries.tcp {
            listener.set_nonblocking(true).unwrap();
        }
        canaries.abstract_listener.set_nonblocking(true).unwrap();
        canaries.socket_listener.set_nonblocking(true).unwrap();
        canaries.before = canaries.look();
        canaries
    }

    /// The canary process's id.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// The lock over kernel settings.
    pub(crate) fn lock(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).read(true).write(true).open(&self.lock)
    }

    /// Whether everything is as it was.
    ///
    /// # Errors
    /// What is different.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        let now = self.look();
        if now != self.before {
            let changed = |one: String, other: String| (one != other).then(|| format!("{one} became {other}"));
            let files = self.before.files.iter().zip(&now.files);
            let files = files.filter_map(|(one, other)| changed(format!("{one:?}"), format!("{other:?}")));
            let settings = self.before.settings.iter().zip(&now.settings);
            let settings = settings.filter_map(|(one, other)| changed(format!("{one:?}"), format!("{other:?}")));
            return Err(format!("the host changed: {}", files.chain(settings).collect::<Vec<_>>().join("; ")));
        }
        if let Some(status) = self.process.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("the canary process ended: {status}"));
        }
        let (wall, monotonic) = (self.clock.0.elapsed().unwrap_or_default(), self.clock.1.elapsed());
        if wall.abs_diff(monotonic) > CLOCK_DRIFT {
            return Err(format!("the clock was set: {wall:?} of wall clock in {monotonic:?}"));
        }
        if fs::read_to_string(ACCOUNTS).is_ok_and(|text| text.contains("planted")) {
            return Err(format!("{ACCOUNTS} was written"));
        }
        let reached = self.tcp.iter().any(|listener| listener.accept().is_ok())
            || self.abstract_listener.accept().is_ok()
            || self.socket_listener.accept().is_ok();
        if reached { Err("a listener of the host's was reached".into()) } else { Ok(()) }
    }

    fn look(&self) -> Seen {
        let devices = DEVICES.iter().chain(&PROGRAMS).map(PathBuf::from);
        let files = self.secrets.iter().cloned().chain(devices).map(|path| {
            let seen = fs::metadata(&path).ok().map(|metadata| {
                // A device's times change with every use.
                let changed = if metadata.is_file() { (metadata.ctime(), metadata.ctime_nsec()) } else { (0, 0) };
                format!("{:o} {}:{} {} {changed:?}", metadata.mode(), metadata.uid(), metadata.gid(), metadata.len())
            });
            (path, seen)
        });
        let files = files.collect();
        let lock = self.lock();
        let _shared = lock.as_ref().map(|lock| rustix::fs::flock(lock, FlockOperation::LockShared));
        Seen { files, settings: SETTINGS.iter().map(|path| (*path, fs::read_to_string(path).ok())).collect() }
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A number that nobody guesses by chance.
pub(crate) fn number() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(40)
}
