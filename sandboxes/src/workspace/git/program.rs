//! The host's git, run with nothing of the host's but its program: our environment, our repositories, no settings of
//! anybody's.
//!
//! Git executes what settings and hooks of its repository name, on commands that look harmless (`reference`: measured for
//! `status`, `diff` and `add`). So it is only ever given repositories that [`super::store`] made, or none: for the person's own
//! settings.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cofferdam_contract::Identity;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{
    Conversions, ObjectId, RepositoryError,
    working_tree::{LineEnds, Links, Modes},
};
use crate::{
    namespace::{Restriction, agent_of},
    root::Host,
    workspace::{Session, Workspace},
};

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

    /// The person's name and address: as the host repository's own settings have them, else by the person's, read with no
    /// repository in sight; `None` where one is missing. What the repository's settings include, and what the person's do for a
    /// folder (`includeIf "gitdir:…"`), does not count here.
    ///
    /// # Errors
    /// The settings could not be read, or git refuses them.
    pub fn identity(&self, host: &Host, session: &Session) -> Result<Option<Identity>, RepositoryError> {
        let mut values = self.settings(host, session, r"^user\.(name|email)$")?;
        let mut value = |name: &str| values.remove(name).filter(|value| !value.is_empty());
        let (Some(name), Some(email)) = (value("user.name"), value("user.email")) else { return Ok(None) };
        Ok(Some(Identity { name, email }))
    }

    /// What settings say about files and objects; read as [`identity`](Self::identity) is.
    ///
    /// # Errors
    /// The settings could not be read, or git refuses them.
    pub fn conversions(&self, host: &Host, session: &Session) -> Result<Conversions, RepositoryError> {
        let values = self.settings(host, session, r"^core\.(autocrlf|filemode|symlinks)$")?;
        // A name without a value is true (git-config(1)).
        let is = |name: &str, words: &[&str]| values.get(name).is_some_and(|value| words.contains(&value.as_str()));
        let no = ["false", "no", "off", "0"];
        let yes = ["", "true", "yes", "on", "1", "input"];
        Ok(Conversions {
            line_ends: if is("core.autocrlf", &yes) { LineEnds::ConvertedInText } else { LineEnds::Kept },
            modes: if is("core.filemode", &no) { Modes::Ignored } else { Modes::Compared },
            links: if is("core.symlinks", &no) { Links::Files } else { Links::Links },
        })
    }

    /// The settings whose names match `pattern`: the person's own, and over them those of the host's repository, as a text. The
    /// last of a name counts, but an empty one does not hide another.
    ///
    /// Git is told that there is no repository. It reads whatever files the person's own settings include, so its fence lets it
    /// read everything and write nothing.
    fn settings(
        &self,
        host: &Host,
        session: &Session,
        pattern: &str,
    ) -> Result<BTreeMap<String, String>, RepositoryError> {
        let doing = "read your git settings";
        let failed = |source| GitError::Run { doing, source };
        let repository = session.repository_settings()?;
        let everything = File::open("/").map_err(failed)?;
        let restriction = self.restriction(session.workspace(), (&[everything.as_fd()], &[])).map_err(failed)?;
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        // Where the repository's text lies is not told, so what it includes cannot be found.
        for (source, input) in [(&[][..], &[][..]), (&["--file=-", "--no-includes"], &repository)] {
            let mut command = Command::new(&self.program);
            command
                .env_clear()
                .env("HOME", &host.home)
                .env("GIT_DIR", "/nonexistent")
                .env("GIT_NO_LAZY_FETCH", "1")
                .env("LC_ALL", "C")
                .current_dir("/");
            if let Some(config) = host.environment.get(OsStr::new("XDG_CONFIG_HOME")) {
                command.env("XDG_CONFIG_HOME", config);
            }
            command.arg("config").args(source).args(["--null", "--get-regexp", pattern]);
            restriction.apply(&mut command);
            let ran = run(command, doing, input)?;
            // 1: nothing matches (git-config(1)).
            if !matches!(ran.status, Some(0 | 1)) {
                return Err(GitError::Refused { doing, message: ran.message }.into());
            }
            // `key LF value NUL`, or `key NUL` without a value.
            for entry in ran.output.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
                let entry = String::from_utf8_lossy(entry);
                let (key, value) = entry.split_once('\n').unwrap_or((&entry, ""));
                let value = value.trim().to_owned();
                if !value.is_empty() || !values.contains_key(key) {
                    values.insert(key.to_owned(), value);
                }
            }
        }
        Ok(values)
    }

    /// What a git may reach: `readable` and `writable`, and itself.
    pub(super) fn restriction(
        &self,
        workspace: &Workspace,
        reach: (&[BorrowedFd<'_>], &[BorrowedFd<'_>]),
    ) -> io::Result<Restriction> {
        // Its parts and libraries, where it lies outside of the system's folders.
        let prefix = self.program.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
        let parts = ["lib", "lib64", "libexec"].map(|part| prefix.join(part));
        let programs: Vec<&Path> = parts.iter().map(PathBuf::as_path).chain([self.program.as_path()]).collect();
        Restriction::of_use(LONGEST.as_secs()).to(reach, &programs, agent_of(workspace.id()))
    }

    /// A git that works in `repository`, which is one of our own, and reaches no more than it is restricted to.
    pub(super) fn command(&self, repository: &Path, restriction: &Restriction) -> Command {
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
        restriction.apply(&mut command);
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

/// Gives the content of blobs, one after the other and in this order, to `each`, with its place in `ids`. What `each` does not
/// read is skipped.
pub(super) fn read_blobs(
    mut command: Command,
    ids: &[&ObjectId],
    each: &mut dyn FnMut(usize, &mut dyn Read) -> io::Result<()>,
) -> Result<(), GitError> {
    let doing = "read the commit's files";
    let failed = |source| GitError::Run { doing, source };
    if ids.is_empty() {
        return Ok(());
    }
    command.args(["cat-file", "--batch"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(&mut command).map_err(failed)?;
    let until = Instant::now() + LONGEST;
    let errors = listen(running.0.stderr.take(), 1 << 16);
    let asked: String = ids.iter().map(|id| format!("{id}\n")).collect();
    let asking = say(running.0.stdin.take(), asked.into_bytes());
    let limited = running.limited(until).map_err(failed)?;
    let output = running.0.stdout.take().ok_or_else(|| failed(io::Error::other("there is no pipe")))?;
    let mut output = BufReader::new(output);
    let mut read = || -> io::Result<()> {
        for (number, id) in ids.iter().enumerate() {
            // `NAME blob SIZE`, the content, and a line end (git-cat-file(1)).
            let mut line = String::new();
            (&mut output).take(200).read_line(&mut line)?;
            let size = line.trim_end().strip_prefix(&format!("{id} blob ")).and_then(|size| size.parse::<u64>().ok());
            let size = size.ok_or_else(|| io::Error::other(format!("{id} is no blob that is there")))?;
            let mut content = (&mut output).take(size);
            each(number, &mut content)?;
            io::copy(&mut content, &mut io::sink())?;
            if content.limit() > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            output.read_exact(&mut [0])?;
        }
        Ok(())
    };
    let read = read();
    drop(output);
    let status = running.wait(until, doing);
    limited.join().map_err(|_| failed(io::Error::other("the watch over git ended")))?;
    asking.join().map_err(|_| failed(io::Error::other("nobody asked git")))?;
    let words = last_words(&heard(errors));
    read.map_err(failed)?;
    if status? == Some(0) { Ok(()) } else { Err(GitError::Refused { doing, message: words }) }
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
    let asking = say(first.0.stdin.take(), input.to_vec());
    let (said, also) = (listen(first.0.stderr.take(), 1 << 16), listen(second.0.stderr.take(), 1 << 16));
    let statuses = [first.wait(until, doing)?, second.wait(until, doing)?];
    let (said, also) = (heard(said), heard(also));
    asking.join().map_err(|_| failed(io::Error::other("nobody asked git")))?;
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
    let asking = say(running.0.stdin.take(), input.to_vec());
    let status = running.wait(until, doing)?;
    asking.join().map_err(|_| failed(io::Error::other("nobody asked git")))?;
    let (output, message) = (heard(output), last_words(&heard(errors)));
    // A list that is cut would read as a shorter one.
    if output.len() as u64 >= OUTPUT_BYTES {
        return Err(GitError::Refused { doing, message: format!("it printed more than {OUTPUT_BYTES} bytes") });
    }
    Ok(Ran { status, output, message })
}

/// Gives a child its input on a thread of its own, and closes that. One that has ended before says why by its status.
fn say(stdin: Option<impl Write + Send + 'static>, input: Vec<u8>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(&input);
        }
    })
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

/// A child that ends with its owner; if that is killed, by its own [`Restriction`].
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// Ends it at `until`, for one whose output is read to its end.
    fn limited(&self, until: Instant) -> io::Result<thread::JoinHandle<()>> {
        let pidfd = pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty())?;
        Ok(thread::spawn(move || {
            if !ends_before(&pidfd, until).unwrap_or(false) {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            }
        }))
    }

    fn wait(&mut self, until: Instant, doing: &'static str) -> Result<Option<i32>, GitError> {
        let failed = |source| GitError::Run { doing, source };
        let pidfd = pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
        if !ends_before(&pidfd, until).map_err(failed)? {
            return Err(GitError::TooLong { doing });
        }
        Ok(self.0.wait().map_err(failed)?.code())
    }
}

/// Waits for a process; `false` when it still runs at `until`.
fn ends_before(pidfd: &OwnedFd, until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout =
            Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
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
