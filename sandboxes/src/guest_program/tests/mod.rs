//! The embedded program, run from its sealed file as it is in a sandbox, in a folder of its own.
//!
//! It runs as an ordinary process here, without any boundary: these tests are about what it answers. Both sides of the
//! protocol are the real ones.

mod commands;
mod editing;
mod listing;
mod reading;
mod searching;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::{
        fd::AsRawFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use cofferdam_contract::{Command, Exit, FileRefusal, FileReply, FileRequest, RefusalKind, Stream, WorkspacePath};
use cofferdam_guest::wire::{Decoder, FromGuest, ToGuest, encode};

use super::*;
use crate::conversation::{Conversation, Event};

/// A running guest and the host's side of its channel.
struct Guest {
    process: Child,
    socket: UnixStream,
    decoder: Decoder,
    conversation: Conversation,
    /// Holds the workspace and, beside it, what a path must not lead to.
    outer: tempfile::TempDir,
}

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    exit: Exit,
    stdout: String,
    stderr: String,
    omitted: u64,
}

impl Guest {
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts the program, with variables besides the PATH.
    fn start_with(variables: &[(&str, &str)]) -> Self {
        let outer = tempfile::tempdir().unwrap();
        let workspace = outer.path().join("work");
        std::fs::create_dir(&workspace).unwrap();
        std::fs::write(outer.path().join("secret"), "secret\n").unwrap();
        let (socket, theirs) = UnixStream::pair().unwrap();
        let program = GuestProgram::load().unwrap();
        let path = format!("{}:relative:/usr/local/bin:/usr/bin:/bin", workspace.join("bin").display());
        let mut command = std::process::Command::new(format!("/proc/self/fd/{}", program.fd().as_raw_fd()));
        command.arg(&workspace).env_clear().env("PATH", path).envs(variables.iter().copied());
        command.current_dir(&workspace).stdin(Stdio::null());
        let theirs_fd = theirs.as_raw_fd();
        // SAFETY: `pre_exec` requires that the closure calls async-signal-safe functions only; `dup2` is one. Both
        // descriptors are plain numbers and `theirs` is open until the child is started.
        unsafe {
            command
                .pre_exec(move || if libc::dup2(theirs_fd, 3) == 3 { Ok(()) } else { Err(io::Error::last_os_error()) })
        };
        let process = command.spawn().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (decoder, conversation) = (Decoder::new(), Conversation::new());
        let mut guest = Self { process, socket, decoder, conversation, outer };
        assert_eq!(guest.hear(), Some(Event::Ready));
        guest
    }

    fn workspace(&self) -> PathBuf {
        self.outer.path().join("work")
    }

    /// Makes a file in the workspace, and its folders.
    fn make(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.workspace().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn make_link(&self, path: &str, target: impl AsRef<Path>) {
        std::os::unix::fs::symlink(target, self.workspace().join(path)).unwrap();
    }

    fn content(&self, path: &str) -> String {
        std::fs::read_to_string(self.workspace().join(path)).unwrap()
    }

    /// What the guest says next; `None` when it has closed the channel.
    fn hear(&mut self) -> Option<Event> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            self.decoder.set_bound(self.conversation.frame_bound());
            if let Some(said) = self.decoder.take::<FromGuest>().unwrap() {
                return Some(self.conversation.accept(said).unwrap());
            }
            match self.socket.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.decoder.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing heard: {error}"),
            }
        }
    }

    fn file(&mut self, request: FileRequest) -> Result<FileReply, FileRefusal> {
        let frame = self.conversation.file(request).unwrap();
        self.socket.write_all(&frame).unwrap();
        match self.hear() {
            Some(Event::File(result)) => result,
            other => panic!("{other:?}"),
        }
    }

    /// Which kind of refusal a request gets.
    fn refused(&mut self, request: FileRequest) -> RefusalKind {
        self.file(request).unwrap_err().kind
    }

    fn begin(&mut self, command: Command, limit: u64) {
        let frame = self.conversation.execute(command, limit).unwrap();
        self.socket.write_all(&frame).unwrap();
    }

    fn run(&mut self, command: Command, limit: u64) -> Result<Ran, FileRefusal> {
        self.begin(command, limit);
        self.finish()
    }

    /// Hears a command to its end.
    fn finish(&mut self) -> Result<Ran, FileRefusal> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.hear() {
                Some(Event::Output(Stream::Stdout, bytes)) => stdout.extend(bytes),
                Some(Event::Output(Stream::Stderr, bytes)) => stderr.extend(bytes),
                Some(Event::Exited { exit, omitted }) => {
                    let text = |bytes| String::from_utf8(bytes).unwrap();
                    return Ok(Ran { exit, stdout: text(stdout), stderr: text(stderr), omitted });
                }
                Some(Event::NotStarted(refusal)) => return Err(refusal),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Runs a script with `sh`, as a short way to have many kinds of programs.
    fn sh(&mut self, script: &str) -> Ran {
        self.run(command("sh", &["-c", script]), 1 << 20).unwrap()
    }

    /// Whether the program ends by itself, and its exit status.
    fn end(mut self) -> i32 {
        for _ in 0..500 {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the program is still there");
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn path(text: &str) -> WorkspacePath {
    WorkspacePath::parse(text, "/nowhere").unwrap()
}

fn command(program: &str, arguments: &[&str]) -> Command {
    Command {
        program: program.into(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        directory: WorkspacePath::workspace(),
        environment: BTreeMap::new(),
    }
}

#[test]
fn the_program_is_under_four_mebibytes() {
    let bytes = GuestProgram::load().unwrap().bytes().len();
    assert!(bytes < 4 << 20, "{bytes}");
}

#[test]
fn the_seals_hold_against_their_maker() {
    let program = GuestProgram::load().unwrap();
    let mut file = File::from(program.fd().try_clone_to_owned().unwrap());
    assert_eq!(file.write_all(b"x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(file.set_len(0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(file.set_len(1 << 30).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(rustix::fs::fcntl_get_seals(&file).unwrap(), SEALS);
    assert_eq!(rustix::fs::fcntl_add_seals(&file, SealFlags::FUTURE_WRITE), Err(Errno::PERM));
}

#[test]
fn the_sealed_file_is_the_program_of_the_digest() {
    let program = GuestProgram::load().unwrap();
    let mut file = File::open(format!("/proc/self/fd/{}", program.fd().as_raw_fd())).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(<[u8; 32]>::from(Sha256::digest(&bytes)), program.sha256());
    assert_eq!(rustix::io::fcntl_getfd(program.fd()).unwrap(), rustix::io::FdFlags::CLOEXEC);
}

#[test]
fn the_program_ends_with_its_channel() {
    let guest = Guest::start();
    guest.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(guest.end(), 2);
}

#[test]
fn the_program_ends_with_its_channel_while_a_command_runs() {
    let mut guest = Guest::start();
    guest.begin(command("sleep", &["60"]), 0);
    guest.socket.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(guest.end(), 2);
}

#[test]
fn the_program_ends_with_its_channel_while_it_searches() {
    let mut guest = Guest::start();
    // Text without an end, so that the search would take long.
    let file = File::create(guest.workspace().join("long")).unwrap();
    for _ in 0..64 {
        (&file).write_all("a long line of text\n".repeat(50_000).as_bytes()).unwrap();
    }
    for copy in 0..20 {
        std::fs::hard_link(guest.workspace().join("long"), guest.workspace().join(format!("long{copy}"))).unwrap();
    }
    let request = searching::search(r"(\w+\s?)+x$");
    let frame = guest.conversation.file(FileRequest::Search(request)).unwrap();
    guest.socket.write_all(&frame).unwrap();
    guest.socket.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(guest.end(), 0);
}

#[test]
fn bytes_that_are_no_request_end_the_program() {
    for garbage in [&[0xff; 8][..], &[1, 0, 0, 0, 0xff], &[0, 0, 0, 0]] {
        let mut guest = Guest::start();
        guest.socket.write_all(garbage).unwrap();
        assert_eq!(guest.hear(), None);
        assert_eq!(guest.end(), 2);
    }
}

#[test]
fn a_second_request_while_a_command_runs_ends_the_program() {
    for second in [
        ToGuest::File { id: 9, request: FileRequest::Status(path(".")) },
        ToGuest::FindProgram { id: 9, name: "sh".into() },
        ToGuest::Execute { id: 9, command: command("true", &[]), output_limit: 0 },
    ] {
        let mut guest = Guest::start();
        guest.begin(command("sleep", &["60"]), 0);
        guest.socket.write_all(&encode(&second).unwrap()).unwrap();
        assert_eq!(guest.hear(), None);
        assert_eq!(guest.end(), 2);
    }
}

#[test]
fn requests_that_arrive_in_one_piece_are_answered_in_turn() {
    let mut guest = Guest::start();
    guest.make("a", "a");
    let requests: Vec<u8> = (1..=3)
        .flat_map(|id| encode(&ToGuest::File { id, request: FileRequest::Status(path("a")) }).unwrap())
        .collect();
    guest.socket.write_all(&requests).unwrap();
    for _ in 0..3 {
        guest.conversation.file(FileRequest::Status(path("a"))).unwrap();
        assert!(matches!(guest.hear(), Some(Event::File(Ok(FileReply::Status(_))))));
    }
}
