//! The host's git, run with nothing of the host's but its program: our environment, our repositories, no settings of
//! anybody's.
//!
//! Git executes what settings and hooks of its repository name, on commands that look harmless (`reference`: measured for
//! `status`, `diff` and `add`). So it is only ever given repositories that [`super::store`] made.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    os::fd::AsFd,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cofferdam_contract::Identity;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Resource, Rlimit, pidfd_open, prlimit},
};

use crate::root::Host;

/// How long one run may take: reading and checking a commit of the largest size takes seconds.
const LONGEST: Duration = Duration::from_secs(120);

/// Output that is read of one run, in bytes: names of 200,000 changed files.
const OUTPUT_BYTES: u64 = 64 << 20;

/// What git may allocate at once. A tree or commit of a sandbox's making may claim any size; git honours this since 1.7
/// (`memory_limit_check`, wrapper.c).
const ALLOCATION: &str = "1g";

/// The git of this machine.
#[derive(Debug, Clone)]
pub struct HostGit {
    program: PathBuf,
}

/// Why a run of the host's git did not give what it should.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It could not be run.
    #[error("failed to run git to {doing}")]
    Run {
        /// What for.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// It took too long and was ended.
    #[error("git took more than {} s to {doing}, and was ended", LONGEST.as_secs())]
    TooLong {
        /// What for.
        doing: &'static str,
    },
    /// It refused.
    #[error("git refused to {doing}: {message}")]
    Refused {
        /// What for.
        doing: &'static str,
        /// Its last words.
        message: String,
    },
}

/// How a run ended by itself.
pub(super) struct Ran {
    pub(super) status: Option<i32>,
    pub(super) output: Vec<u8>,
    pub(super) message: String,
}

impl HostGit {
    /// Finds git on the server's PATH and in the system's folders, but never in the workspace (P21).
    #[must_use]
    pub fn find(host: &Host, workspace: &Path) -> Option<Self> {
        let system = ["/usr/bin", "/usr/local/bin", "/bin"].map(PathBuf::from);
        let folders = host.path_folders().into_iter().chain(system);
        folders.map(|folder| folder.join("git")).find_map(|program| {
            let program = fs::canonicalize(program).ok()?;
            let status = fs::metadata(&program).ok()?;
            let runs = status.is_file() && status.permissions().mode() & 0o111 != 0;
            (runs && !program.starts_with(workspace)).then_some(Self { program })
        })
    }

    /// The person's name and address: as `settings`, the text of the host repository's own, have them, else by their own
    /// settings, read with no repository in sight; `None` where one is missing. What either includes for a folder
    /// (`includeIf "gitdir:…"`) does not count here.
    #[must_use]
    pub fn identity(&self, host: &Host, settings: &[u8]) -> Option<Identity> {
        let mut values = [None, None];
        for (source, input) in [(None, &[][..]), (Some("--file=-"), settings)] {
            let mut command = Command::new(&self.program);
            command
                .env_clear()
                .env("HOME", &host.home)
                .env("GIT_NO_LAZY_FETCH", "1")
                .env("LC_ALL", "C")
                .current_dir("/");
            if let Some(config) = host.environment.get(OsStr::new("XDG_CONFIG_HOME")) {
                command.env("XDG_CONFIG_HOME", config);
            }
            command.arg("config").args(source).args(["--null", "--get-regexp", r"^user\.(name|email)$"]);
            let Ok(ran) = run(command, "read your name and address", input) else { continue };
            // `key LF value NUL`; the last of a key counts (git-config(1)).
            for entry in ran.output.split(|byte| *byte == 0) {
                let entry = String::from_utf8_lossy(entry);
                let Some((key, value)) = entry.split_once('\n') else { continue };
                let slot = &mut values[usize::from(key == "user.email")];
                *slot = Some(value.trim().to_owned()).filter(|value| !value.is_empty()).or(slot.take());
            }
        }
        let [Some(name), Some(email)] = values else { return None };
        Some(Identity { name, email })
    }

    /// A git that works in `repository`, which is one of our own.
    pub(super) fn command(&self, repository: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().current_dir(repository).env("GIT_DIR", repository);
        for (name, value) in [
            // Git looks for its own parts by itself; a shell, if any, is the system's.
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/nonexistent"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            // A partial clone's missing objects are not fetched (git 2.45; before, no remote is known here).
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_ALLOC_LIMIT", ALLOCATION),
        ] {
            command.env(name, value);
        }
        command.args(["--no-pager", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
        command
    }
}

/// Runs a command that must succeed, with `input`, and gives what it prints.
pub(super) fn succeed(command: Command, doing: &'static str, input: &[u8]) -> Result<Vec<u8>, GitError> {
    let ran = run(command, doing, input)?;
    if ran.status == Some(0) { Ok(ran.output) } else { Err(GitError::Refused { doing, message: ran.message }) }
}

/// Runs a command that answers with its status: 0 is yes, 1 is no.
pub(super) fn ask(command: Command, doing: &'static str) -> Result<bool, GitError> {
    let ran = run(command, doing, &[])?;
    match ran.status {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        Some(_) | None => Err(GitError::Refused { doing, message: ran.message }),
    }
}

/// Runs `first`, whose output is `second`'s input. Both must succeed.
pub(super) fn pipe(mut first: Command, mut second: Command, doing: &'static str, input: &[u8]) -> Result<(), GitError> {
    let failed = |source| GitError::Run { doing, source };
    first.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut first = Running::start(&mut first).map_err(failed)?;
    let between = first.0.stdout.take().ok_or_else(|| failed(io::Error::other("there is no pipe")))?;
    second.stdin(between).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut second = Running::start(&mut second).map_err(failed)?;
    let until = Instant::now() + LONGEST;
    write_all(&mut first.0, input).map_err(failed)?;
    let (said, also) = (listen(first.0.stderr.take(), 1 << 16), listen(second.0.stderr.take(), 1 << 16));
    let statuses = [first.wait(until, doing)?, second.wait(until, doing)?];
    let (said, also) = (heard(said), heard(also));
    if statuses == [Some(0), Some(0)] {
        return Ok(());
    }
    // What the second one says is about the content; the first one often only finds nobody listening.
    let words = if statuses[1] == Some(0) { said } else { also };
    Err(GitError::Refused { doing, message: last_words(&words) })
}

fn run(mut command: Command, doing: &'static str, input: &[u8]) -> Result<Ran, GitError> {
    let failed = |source| GitError::Run { doing, source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(&mut command).map_err(failed)?;
    let until = Instant::now() + LONGEST;
    let (output, errors) = (listen(running.0.stdout.take(), OUTPUT_BYTES), listen(running.0.stderr.take(), 1 << 16));
    write_all(&mut running.0, input).map_err(failed)?;
    let status = running.wait(until, doing)?;
    Ok(Ran { status, output: heard(output), message: last_words(&heard(errors)) })
}

/// Gives a child its input and closes that. One that has ended before says why by its status.
fn write_all(child: &mut Child, input: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    match stdin.write_all(input) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads up to `limit` bytes on a thread of its own, and the rest away. It ends when the child has closed its side.
fn listen(stream: Option<impl Read + Send + 'static>, limit: u64) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is what there is.
            let _ = stream.by_ref().take(limit).read_to_end(&mut bytes);
            let _ = io::copy(&mut stream, &mut io::sink());
        }
        bytes
    })
}

fn heard(listener: thread::JoinHandle<Vec<u8>>) -> Vec<u8> {
    listener.join().unwrap_or_default()
}

/// The end of what a program said, on one line, safe to show.
fn last_words(bytes: &[u8]) -> String {
    const WORDS: usize = 600;
    let text = String::from_utf8_lossy(bytes);
    let text: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = text.join("; ");
    let from = text.ceil_char_boundary(text.len().saturating_sub(WORDS));
    crate::workspace::notice::visible(text.get(from..).unwrap_or_default())
}

/// A child that ends with its owner.
struct Running(Child);

impl Running {
    /// Starts it. Its processor time is bounded by the kernel, so that what a sandbox made of its objects cannot keep it busy
    /// when this server is gone: its pipes end then, but a computation would not.
    fn start(command: &mut Command) -> io::Result<Self> {
        let running = Self(command.spawn()?);
        let seconds = Some(LONGEST.as_secs());
        let limit = Rlimit { current: seconds, maximum: seconds };
        match prlimit(Some(Pid::from_child(&running.0)), Resource::Cpu, limit) {
            // It has ended already.
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(running),
            Err(error) => Err(error.into()),
        }
    }

    fn wait(&mut self, until: Instant, doing: &'static str) -> Result<Option<i32>, GitError> {
        let failed = |source| GitError::Run { doing, source };
        let pidfd = pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(GitError::TooLong { doing });
            }
            let timeout =
                Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)], Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(self.0.wait().map_err(failed)?.code()),
                Err(error) => return Err(failed(error.into())),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail harmlessly for one that was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
