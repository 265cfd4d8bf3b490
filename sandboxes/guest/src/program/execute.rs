//! Executing one command: its output goes out as it comes, its end is reported once.
//!
//! One loop waits for all there is to wait for: the channel, the command's two pipes and the end of any child. As the
//! first process of its namespace the program inherits every orphan, so it reaps whatever ends.

use std::{
    collections::BTreeMap,
    ffi::{CString, OsString},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use cofferdam_contract::{Command, Exit, FileRefusal, RefusalKind, Stream, WorkspacePath};
use cofferdam_guest::wire::{FromGuest, MAX_OUTPUT_BYTES, ToGuest};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::FileType,
    io::Errno,
    process::{Pid, Signal, WaitOptions},
};

use super::{
    Stop,
    channel::Channel,
    find,
    output::Output,
    refusal::{from_errno, in_words, refusal},
    spawn::{self, Start, Started},
    workspace::{LastLink, Missing, Workspace},
};

/// How long a pipe is still read after the command has ended, when some process it left behind holds it open.
const QUIET_AFTER_EXIT: Duration = Duration::from_millis(200);

/// Watches over all children of the program.
#[derive(Debug)]
pub(crate) struct Children {
    /// Readable when a child has ended.
    ended: OwnedFd,
}

impl Children {
    /// Begins to watch. Before any child is started.
    pub(crate) fn new() -> std::io::Result<Self> {
        spawn::ignore_file_size_signal();
        Ok(Self { ended: spawn::child_signals()? })
    }

    /// Waits for the next request and reaps orphans meanwhile.
    pub(crate) fn reap_until(&self, channel: &mut Channel) -> Result<ToGuest, Stop> {
        loop {
            if let Some(request) = channel.receive()? {
                return Ok(request);
            }
            let mut polled =
                [PollFd::new(&self.ended, PollFlags::IN), PollFd::from_borrowed_fd(channel.socket(), PollFlags::IN)];
            wait(&mut polled, None)?;
            self.reap(None);
        }
    }

    /// Executes `command` and tells the server all about it.
    pub(crate) fn execute(
        &self,
        workspace: &Workspace,
        channel: &mut Channel,
        id: u32,
        command: &Command,
        output_limit: u64,
    ) -> Result<(), Stop> {
        match start(workspace, command) {
            Err(refusal) => channel.send(&FromGuest::NotStarted { id, refusal })?,
            Ok(started) => {
                let (exit, output) = self.follow(channel, id, started, Output::new(output_limit))?;
                let (ending, omitted) = output.finish();
                for (stream, bytes) in ending {
                    channel.send(&FromGuest::Output { id, stream, bytes })?;
                }
                channel.send(&FromGuest::Exited { id, exit, omitted })?;
            }
        }
        Ok(())
    }

    /// Stays with a command until it has ended and its output is read.
    fn follow(
        &self,
        channel: &mut Channel,
        id: u32,
        started: Started,
        mut output: Output,
    ) -> Result<(Exit, Output), Stop> {
        let Started { process, stdout, stderr } = started;
        let mut pipes = [Pipe::new(Stream::Stdout, stdout), Pipe::new(Stream::Stderr, stderr)];
        let mut ended: Option<(Exit, Instant)> = None;
        let mut buffer = vec![0; MAX_OUTPUT_BYTES];
        loop {
            // Before waiting: a request that came together with the command is not announced again.
            while let Some(request) = channel.receive()? {
                match request {
                    ToGuest::Kill { id: named } if named == id => end_command(process, ended.is_some()),
                    // An earlier command, which has ended.
                    ToGuest::Kill { id: _ } => {}
                    ToGuest::File { .. } | ToGuest::Execute { .. } | ToGuest::FindProgram { .. } => {
                        return Err(Stop::Unexpected);
                    }
                }
            }
            if let Some(exit) = self.reap(Some(process)) {
                pipes.iter_mut().for_each(Pipe::note_owed);
                ended = Some((exit, Instant::now() + QUIET_AFTER_EXIT));
            }
            let mut patience = None;
            if let Some((exit, deadline)) = ended {
                let left = deadline.saturating_duration_since(Instant::now());
                if channel.is_flushed() && pipes.iter().all(|pipe| pipe.is_read(left)) {
                    return Ok((exit, output));
                }
                // With output pending the loop waits for the server, however long it takes.
                patience = channel.is_flushed().then_some(left);
            }

            let mut polled = Vec::with_capacity(4);
            let writing = if channel.is_flushed() { PollFlags::empty() } else { PollFlags::OUT };
            polled.push(PollFd::from_borrowed_fd(channel.socket(), PollFlags::IN | writing));
            polled.push(PollFd::new(&self.ended, PollFlags::IN));
            // A server that does not read stops the command's writes, not the guest's memory.
            if channel.is_flushed() {
                polled.extend(
                    pipes.iter().filter_map(|pipe| pipe.end.as_ref()).map(|end| PollFd::new(end, PollFlags::IN)),
                );
            }
            wait(&mut polled, patience)?;
            drop(polled);

            channel.flush()?;
            for pipe in &mut pipes {
                if !channel.is_flushed() {
                    break;
                }
                let read = pipe.read(&mut buffer);
                let head = output.take(pipe.stream, read);
                if !head.is_empty() {
                    channel.queue(&FromGuest::Output { id, stream: pipe.stream, bytes: head.to_vec() })?;
                    channel.flush()?;
                }
            }
        }
    }

    /// Reaps every child that has ended. Says how `process` ended, if it is among them.
    fn reap(&self, process: Option<Pid>) -> Option<Exit> {
        spawn::drain(&self.ended);
        let mut exit = None;
        while let Ok(Some((reaped, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if Some(reaped) == process {
                exit = status.exit_status().map(Exit::Code).or(status.terminating_signal().map(Exit::Signal));
            }
        }
        exit
    }
}

/// One of a command's outputs.
#[derive(Debug)]
struct Pipe {
    stream: Stream,
    /// `None` when everybody who could write to it has closed it.
    end: Option<OwnedFd>,
    /// Bytes that were in the pipe when the command ended: its own last words, read however late.
    owed: u64,
}

impl Pipe {
    fn new(stream: Stream, end: OwnedFd) -> Self {
        Self { stream, end: Some(end), owed: 0 }
    }

    fn note_owed(&mut self) {
        self.owed = self.end.as_ref().and_then(|end| rustix::io::ioctl_fionread(end).ok()).unwrap_or(0);
    }

    /// Whether nothing more is read, with `left` to go until the deadline.
    fn is_read(&self, left: Duration) -> bool {
        self.end.is_none() || (left.is_zero() && self.owed == 0)
    }

    /// Reads what is there. Notes the end.
    fn read<'a>(&mut self, buffer: &'a mut [u8]) -> &'a [u8] {
        let Some(end) = &self.end else {
            return &[];
        };
        match rustix::io::read(end.as_fd(), &mut *buffer) {
            Ok(count @ 1..) => {
                self.owed = self.owed.saturating_sub(count as u64);
                buffer.get(..count).unwrap_or_default()
            }
            Err(Errno::AGAIN | Errno::INTR) => &[],
            Ok(0) | Err(_) => {
                self.end = None;
                &[]
            }
        }
    }
}

fn wait(polled: &mut [PollFd<'_>], patience: Option<Duration>) -> Result<(), Stop> {
    let patience = patience.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    match poll(polled, patience.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(super::channel::Ended::from(error).into()),
    }
}

/// Ends the command's process group, and whatever left it.
fn end_command(process: Pid, is_reaped: bool) {
    // Once it is reaped the number may belong to another process.
    if !is_reaped {
        // The group is gone when the error is ESRCH; there is no other.
        let _ = rustix::process::kill_process_group(process, Signal::KILL);
    }
    spawn::end_all_others();
}

fn start(workspace: &Workspace, command: &Command) -> Result<Started, FileRefusal> {
    let directory = workspace.folder(&command.directory)?;
    let file = program(workspace, &command.program)?;
    let text = |what: &'static str, text: Vec<u8>| {
        CString::new(text).map_err(|_| refusal(RefusalKind::Invalid, format!("{what} holds a NUL byte")))
    };
    let mut arguments = vec![text("the program's name", argument_zero(workspace, &command.program).into_vec())?];
    for argument in &command.arguments {
        arguments.push(text("an argument", argument.clone().into_bytes())?);
    }
    let mut environment = Vec::new();
    for (name, value) in variables(workspace, command)? {
        environment.push(text("a variable", [name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    let start = Start {
        file: text("the program's path", file.into_os_string().into_vec())?,
        arguments,
        environment,
        directory: directory.as_fd(),
    };
    spawn::spawn(&start).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => refusal(
            RefusalKind::NotFound,
            format!("`{}` could not be started: the interpreter that it names does not exist", command.program),
        ),
        Errno::ACCESS | Errno::PERM => {
            refusal(RefusalKind::Permission, format!("`{}` may not be executed", command.program))
        }
        Errno::TOOBIG => refusal(RefusalKind::TooLarge, "the arguments and variables are too long"),
        // A foreign enumeration: whatever else the kernel says is passed on in its words.
        _ => refusal(RefusalKind::Failed, format!("`{}` could not be started: {}", command.program, in_words(error))),
    })
}

/// The file of a program: by its name on the PATH, or `./…` below the workspace.
fn program(workspace: &Workspace, program: &str) -> Result<PathBuf, FileRefusal> {
    let Some(below) = program.strip_prefix("./") else {
        return find::on_path(program, workspace.path()).ok_or_else(|| {
            if program.contains('/') {
                let rule = "a program is a name on the PATH, or a path that starts with `./` below the workspace";
                refusal(RefusalKind::Invalid, format!("`{program}` is neither: {rule}"))
            } else {
                refusal(RefusalKind::NotFound, format!("the program `{program}` is not on the sandbox's PATH"))
            }
        });
    };
    let path = WorkspacePath::parse(below, "\0").map_err(|error| refusal(RefusalKind::Invalid, error.to_string()))?;
    // A link at the end may lead anywhere: the interpreter of a virtual environment is a link to the system's.
    let place = workspace.resolve(&path, LastLink::Kept, Missing::NotFound)?;
    match place.kind() {
        None => Err(from_errno(Errno::NOENT, "execute", &path)),
        Some(FileType::RegularFile | FileType::Symlink) => Ok(workspace.path().join(path.as_str())),
        Some(_) => Err(refusal(RefusalKind::WrongKind, format!("`{path}` is not a program"))),
    }
}

/// What the program sees as its own name. A virtual environment's interpreter finds its environment by it.
fn argument_zero(workspace: &Workspace, program: &str) -> OsString {
    match program.strip_prefix("./") {
        Some(below) => workspace.path().join(below).into_os_string(),
        None => program.into(),
    }
}

/// The guest's own variables, then the command's.
fn variables(workspace: &Workspace, command: &Command) -> Result<BTreeMap<OsString, OsString>, FileRefusal> {
    let mut variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    // As a shell would say it. The guest's own would be wrong below another folder.
    // Joining an empty path would add a slash, and programs compare PWD with what the kernel says.
    let directory: PathBuf = workspace.path().join(command.directory.as_str()).components().collect();
    variables.insert("PWD".into(), directory.into());
    for (name, value) in &command.environment {
        if name.is_empty() || name.contains('=') {
            return Err(refusal(RefusalKind::Invalid, format!("`{name}` is no variable's name")));
        }
        variables.insert(name.into(), value.into());
    }
    Ok(variables)
}
