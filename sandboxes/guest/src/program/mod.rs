//! The loop: read a request, do it, answer it.
//!
//! Anything unexpected on the channel ends the program at once, and with it, as the first process of its pid
//! namespace, everything else in the sandbox.

mod channel;
mod execute;
mod file_search;
mod find;
mod folder;
mod ignored;
mod list;
mod moving;
mod output;
mod read;
mod refusal;
mod remove;
mod search;
mod search_threads;
mod spawn;
mod status;
mod walk;
mod workspace;
mod write;

use std::{path::PathBuf, process::ExitCode};

use cofferdam_contract::{FileRefusal, FileReply, FileRequest};
use cofferdam_guest::wire::{FromGuest, ToGuest, VERSION};
use rustix::{event::Timespec, mm::Advice, process::DumpableBehavior};

use self::{channel::Channel, workspace::Workspace};

/// A request that comes within this time was waiting for the program.
const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// Serves requests until the channel ends.
pub(crate) fn run() -> ExitCode {
    match serve() {
        Ok(never) => match never {},
        // Nobody reads this in a sandbox. It is for the one who starts the program by hand.
        Err(stop) => {
            eprintln!("cofferdam-guest: {stop}");
            ExitCode::from(2)
        }
    }
}

/// Why the program cannot start or go on.
#[derive(Debug, thiserror::Error)]
enum Stop {
    /// It was started without its argument.
    #[error("the first argument must be the workspace's absolute path")]
    Usage,
    /// A step of the start failed.
    #[error("failed to {doing}: {source}")]
    Start {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// The channel is of no more use.
    #[error("the channel ended: {0}")]
    Channel(#[from] channel::Ended),
    /// A request came that does not belong here.
    #[error("unexpected request while executing")]
    Unexpected,
}

enum Never {}

fn serve() -> Result<Never, Stop> {
    let start = |doing| move |source: std::io::Error| Stop::Start { doing, source };
    // A command runs as the same user. Without this it could trace the program and speak in its name.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| start("forbid tracing")(error.into()))?;
    let path = std::env::args_os().nth(1).map(PathBuf::from).filter(|path| path.is_absolute()).ok_or(Stop::Usage)?;
    let mut channel = Channel::inherited().map_err(start("use the channel"))?;
    let workspace = Workspace::open(path).map_err(start("open the workspace"))?;
    let children = execute::Children::new().map_err(start("watch for children"))?;

    channel.send(&FromGuest::Hello { version: VERSION })?;
    // A program that was prepared ahead waits long; one that is not is asked at once, and has better things to do.
    if channel.is_silent_for(SOON)? {
        map_ahead();
    }
    loop {
        let request = children.reap_until(&mut channel)?;
        match request {
            ToGuest::File { id, request } => {
                let result = file(&workspace, &channel, request);
                channel.send(&FromGuest::FileReply { id, result })?;
            }
            ToGuest::Execute { id, command, output_limit } => {
                children.execute(&workspace, &mut channel, id, &command, output_limit)?;
            }
            ToGuest::FindProgram { id, name } => {
                let path = find::on_path(&name, workspace.path());
                channel.send(&FromGuest::Program {
                    id,
                    path: path.and_then(|path| path.into_os_string().into_string().ok()),
                })?;
            }
            // The command it names has ended in the meantime.
            ToGuest::Kill { id: _ } => {}
        }
    }
}

fn file(workspace: &Workspace, channel: &Channel, request: FileRequest) -> Result<FileReply, FileRefusal> {
    let lifeline = channel.lifeline();
    match request {
        FileRequest::Read(request) => read::read(workspace, &lifeline, &request).map(FileReply::Read),
        FileRequest::Write(request) => write::write(workspace, &lifeline, &request).map(FileReply::Written),
        FileRequest::List(request) => list::list(workspace, &lifeline, &request).map(FileReply::Listing),
        FileRequest::Search(request) => search::search(workspace, &lifeline, &request).map(FileReply::Search),
        FileRequest::Status(path) => status::status(workspace, &path).map(FileReply::Status),
        FileRequest::Move { source, destination } => {
            moving::rename(workspace, &lifeline, &source, &destination).map(FileReply::Moved)
        }
        FileRequest::Delete(path) => remove::delete(workspace, &lifeline, &path).map(FileReply::Deleted),
    }
}

/// Maps this program's code before it is needed. A program that was prepared ahead then answers its one request some 0.04 ms
/// sooner, a tenth of the time that it takes.
fn map_ahead() {
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    // Down to a page of 4 KiB, the least there is.
    let start = (&raw const __executable_start).map_addr(|address| address & !0xfff);
    let length = (&raw const etext).addr() - start.addr();
    // SAFETY: MADV_POPULATE_READ reads and changes nothing (madvise(2)); where the range has a gap, on a page larger than the
    // alignment, and before Linux 5.14 it is refused, which costs only the time. The linker defines both symbols (ld(1)), as
    // the program's first byte and the first after its code; only their addresses are taken.
    let _ = unsafe { rustix::mm::madvise(start.cast_mut().cast(), length, Advice::LinuxPopulateRead) };
}
