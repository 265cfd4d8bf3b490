//! One open sandbox: a ready one, with the deadline, the budgets and the switch that can end it.
//!
//! Every byte from the guest is hostile: it goes through the decoder and the conversation before anything looks at it,
//! and a byte too many ends the sandbox.

use std::{os::fd::AsFd, sync::Arc, time::Instant};

use cofferdam_contract::{
    Command, Ended, Enforced, Exit, FileRefusal, FileReply, FileRequest, RefusalKind, Repository, Sandbox,
    SandboxError, Stream, Work,
};
use cofferdam_policy::{Permit, Redactor};
use rustix::process::Signal;

use crate::{
    budget::{Budget, TICK},
    cancel::Cancel,
    conversation::{Event, NotReady},
    ready::{Ready, Silence},
    scratch::{ScratchNote, Volumes},
    view,
    worker::{Refill, Worker},
    workspace::{Bounds, Changeset, ChangesetError, Look, Marks, MaskError, Masks, OnTop, Stamp, TreePath, Workspace},
};

/// Entries of a workspace that are looked at after a run, for changes that somebody else made meanwhile. Some 0.1 s.
const LOOKED_AT_AFTER_A_RUN: usize = 20_000;

/// A sandbox that is open for one call. Dropping it destroys it.
#[derive(Debug)]
pub struct OpenSandbox {
    permit: Permit,
    workspace: Arc<Workspace>,
    root: String,
    ready: Ready,
    stamp: Stamp,
    /// What was found of files with credentials when it was opened.
    look: Look,
    /// After `ready`: another call may have the volumes when the processes are gone.
    volumes: Option<Volumes>,
    budget: Budget,
    deadline: Instant,
    next_tick: Instant,
    cancel: Cancel,
    ended: Option<Ended>,
    omitted: u64,
    worker: Arc<Worker>,
    _refill: Option<Refill>,
    /// What is known of the repository, for work on it.
    repository: Option<Repository>,
}

/// What an open sandbox is made of.
pub(crate) struct Parts {
    pub(crate) permit: Permit,
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) ready: Ready,
    pub(crate) stamp: Stamp,
    pub(crate) look: Look,
    pub(crate) volumes: Option<Volumes>,
    pub(crate) budget: Budget,
    pub(crate) deadline: Instant,
    pub(crate) cancel: Cancel,
    pub(crate) worker: Arc<Worker>,
    pub(crate) refill: Option<Refill>,
    pub(crate) repository: Option<Repository>,
}

/// What is left of a sandbox after its end.
#[derive(Debug)]
pub struct Closed {
    /// What it was opened for.
    pub permit: Permit,
    /// What was enforced.
    pub enforced: Enforced,
    /// What it wrote to the view; `None` for a read-only view.
    pub changeset: Option<Changeset>,
    /// What it saw in place of files with credentials.
    pub masks: Arc<Masks>,
    /// What lay on top in its view: that, or what was held.
    pub on_top: OnTop,
    /// What became of files with credentials while it was open: it may have seen some.
    pub appeared: Result<Appeared, MaskError>,
    /// Takes out of text what masked files held when it was opened, and hold now.
    pub redactor: Redactor,
    /// When it was taken, on the workspace's own clock.
    pub stamp: Stamp,
    /// What is to be known about its scratch volumes.
    pub scratch: Vec<ScratchNote>,
    /// Whether somebody changed what it looked at: its result may mix two states.
    pub changed_during_call: bool,
}

/// What became of files with credentials while a sandbox was open.
#[derive(Debug, PartialEq, Eq)]
pub enum Appeared {
    /// These came, or came to light; mostly none.
    Files(Vec<TreePath>),
    /// Something happened to the name of one, or to a folder above one: it may have lain elsewhere for a moment. Or a folder
    /// that the view shows as it is was moved: it may have shown what is nowhere in the workspace.
    Stirred,
}

impl Appeared {
    /// Whether nothing happened.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Files(files) => files.is_empty(),
            Self::Stirred => false,
        }
    }
}

impl OpenSandbox {
    /// Opens a ready sandbox for a call.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            permit,
            workspace,
            ready,
            stamp,
            look,
            volumes,
            budget,
            deadline,
            cancel,
            worker,
            refill,
            repository,
        } = parts;
        cancel.watch(ready.guard.pidfd());
        let next_tick = Instant::now() + TICK;
        let root = workspace.root().to_string_lossy().into_owned();
        Self {
            permit,
            workspace,
            root,
            ready,
            stamp,
            look,
            volumes,
            budget,
            deadline,
            next_tick,
            cancel,
            ended: None,
            omitted: 0,
            worker,
            _refill: refill,
            repository,
        }
    }

    /// What is enforced.
    #[must_use]
    pub fn enforced(&self) -> &Enforced {
        &self.ready.enforced
    }

    /// The host's process id of its first process.
    #[cfg(test)]
    pub(crate) fn pid(&self) -> u32 {
        self.ready.guard.pid().as_raw_nonzero().get().unsigned_abs()
    }

    /// What it has in place of files with credentials.
    #[must_use]
    pub fn masks(&self) -> &Arc<Masks> {
        &self.ready.masks
    }

    /// What it was opened for.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Destroys the sandbox and looks at what it wrote.
    ///
    /// # Errors
    /// [`ChangesetError`] when what it wrote cannot be read or is beyond the gate's bounds; nothing can come back then.
    pub fn close(self) -> Result<Closed, ChangesetError> {
        self.cancel.forget();
        let Self { permit, workspace, mut ready, stamp, look, mut volumes, worker, _refill, .. } = self;
        let (upper, enforced) = (ready.upper.take(), ready.enforced.clone());
        let stage = std::mem::take(&mut ready.stage);
        let masks = Arc::clone(&ready.masks);
        let on_top = masks.on_top(&ready.layers);
        // After the last answer, and before the look for secrets below.
        let plain = stage.plain().clone();
        let stands = plain.stands(&workspace);
        match permit.plan().work {
            // What is walked below stands still, and volumes can be lent again, when every process is gone.
            Work::Execute | Work::WriteFiles | Work::Commit => ready.guard.end(),
            Work::ReadFiles | Work::ReadRepository | Work::Session(_) => {}
        }
        worker.destroy(ready);
        let scratch = volumes.as_mut().map_or(Vec::new(), Volumes::notes);
        let places = volumes.iter().flat_map(Volumes::scratch).map(|scratch| scratch.at.as_path());
        let hidden = view::points(workspace.root(), places);
        let bounds = Bounds::of_bytes(permit.limits().disk_mb << 20);
        let upper = upper.as_ref().map(AsFd::as_fd).or(stage.upper());
        let changeset = match (upper, stage.copied()) {
            (Some(upper), _) => Some(Changeset::walk(upper, Marks::User, bounds, &hidden)?),
            (None, Some(copied)) => Some(Changeset::compare(copied, bounds, &hidden)?),
            (None, None) => None,
        };
        let changeset = changeset.map(|changeset| changeset.keeping(stage.into_folder()));
        let changed_during_call = match permit.plan().work {
            Work::Execute => workspace.changed_since(&stamp, &[TreePath::root()], &hidden, LOOKED_AT_AFTER_A_RUN),
            Work::ReadFiles | Work::WriteFiles | Work::ReadRepository | Work::Commit | Work::Session(_) => {
                let read = permit.plan().reads.iter().filter_map(|path| TreePath::new(path.as_str()));
                let read: Vec<TreePath> = read.collect();
                workspace.changed_since(&stamp, &read, &hidden, read.len())
            }
        };
        let (appeared, redactor) = match workspace.look_for_secrets(permit.secrets()) {
            Ok(now) => {
                let beyond = now.masks.beyond(&masks);
                let moved = !stands || plain.may_have_come_back(&workspace, &look);
                let stirred = (now.quiet != look.quiet || moved) && beyond.is_empty();
                let appeared = if stirred { Appeared::Stirred } else { Appeared::Files(beyond) };
                (Ok(appeared), masks.redactor().and(now.masks.redactor()))
            }
            Err(error) => (Err(error), masks.redactor().clone()),
        };
        Ok(Closed {
            permit,
            enforced,
            masks,
            on_top,
            appeared,
            redactor,
            changeset,
            stamp,
            scratch,
            changed_during_call,
        })
    }

    /// Sends a frame and waits for the event that answers it.
    fn ask(&mut self, frame: Result<Vec<u8>, NotReady>) -> Result<Event, SandboxError> {
        self.still_open()?;
        let frame = match frame {
            Ok(frame) => frame,
            Err(error @ NotReady::Encode { .. }) => {
                let message = format!("{error}: it is too long");
                return Err(FileRefusal { kind: RefusalKind::TooLarge, message }.into());
            }
            Err(error) => {
                tracing::error!(%error, "a request was made at the wrong time");
                return Err(self.end(Ended::Broken).into());
            }
        };
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            self.look()?;
            match self.ready.line.send(rest, self.until()) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Silence::Waiting) => {}
                Err(Silence::Gone | Silence::Violation) => return Err(self.gone().into()),
            }
        }
        Ok(self.hear()?)
    }

    fn hear(&mut self) -> Result<Event, Ended> {
        loop {
            // A guest that never stops talking does not keep us from looking at the clock.
            self.look()?;
            match self.ready.line.hear(self.until()) {
                Ok(event) => return Ok(event),
                Err(Silence::Waiting) => {}
                Err(Silence::Gone) => return Err(self.gone()),
                Err(Silence::Violation) => return Err(self.end(Ended::Broken)),
            }
        }
    }

    /// When to look at the clock and the budgets again.
    fn until(&self) -> Instant {
        self.deadline.min(self.next_tick)
    }

    /// Ends the sandbox if its time or a watched budget is used up.
    fn look(&mut self) -> Result<(), Ended> {
        self.still_open()?;
        let now = Instant::now();
        if now >= self.deadline {
            return Err(self.end(Ended::Deadline));
        }
        if now >= self.next_tick {
            let scratch = self.volumes.as_mut().and_then(Volumes::exceeded);
            if let Some(why) = self.budget.exceeded(self.ready.guard.pid(), &self.ready.temporary).or(scratch) {
                return Err(self.end(why));
            }
            self.next_tick = Instant::now() + TICK;
        }
        Ok(())
    }

    fn still_open(&self) -> Result<(), Ended> {
        self.ended.map_or(Ok(()), Err)
    }

    /// Kills the sandbox for a reason of ours.
    fn end(&mut self, why: Ended) -> Ended {
        // ESRCH: it ended by itself.
        let _ = rustix::process::pidfd_send_signal(self.ready.guard.pidfd(), Signal::KILL);
        *self.ended.get_or_insert(why)
    }

    /// The pipe ended: finds out why.
    fn gone(&mut self) -> Ended {
        let why = match self.cancel.why() {
            Some(why) => why,
            None if self.ready.guard.out_of_memory_kills() > 0 => Ended::OutOfMemory,
            None => Ended::Broken,
        };
        self.end(why)
    }

    /// An answer to another question than the one asked: the conversation lets none pass.
    fn unasked(&mut self) -> SandboxError {
        self.end(Ended::Broken).into()
    }
}

impl Sandbox for OpenSandbox {
    fn workspace(&self) -> &str {
        &self.root
    }

    fn file(&mut self, request: FileRequest) -> Result<FileReply, SandboxError> {
        let writes = match &request {
            FileRequest::Read(_) | FileRequest::List(_) | FileRequest::Search(_) | FileRequest::Status(_) => false,
            FileRequest::Write(_) | FileRequest::Move { .. } | FileRequest::Delete(_) => true,
        };
        match &self.permit.plan().work {
            Work::ReadFiles | Work::ReadRepository if writes => {
                return Err(SandboxError::NotPlanned { what: "writing files" });
            }
            Work::ReadFiles | Work::WriteFiles | Work::ReadRepository | Work::Commit | Work::Execute => {}
            Work::Session(_) => return Err(SandboxError::NotPlanned { what: "files" }),
        }
        let frame = self.ready.line.conversation.file(request);
        match self.ask(frame)? {
            Event::File(result) => Ok(result?),
            Event::Ready | Event::Output(..) | Event::Exited { .. } | Event::NotStarted(_) | Event::Program(_) => {
                Err(self.unasked())
            }
        }
    }

    fn execute(&mut self, command: &Command, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, SandboxError> {
        match &self.permit.plan().work {
            Work::Execute | Work::ReadRepository | Work::Commit => {}
            Work::ReadFiles | Work::WriteFiles | Work::Session(_) => {
                return Err(SandboxError::NotPlanned { what: "executing programs" });
            }
        }
        self.omitted = 0;
        let limit = self.permit.limits().output_kb << 10;
        let frame = self.ready.line.conversation.execute(command.clone(), limit);
        let mut event = self.ask(frame)?;
        loop {
            match event {
                Event::Output(stream, bytes) => output(stream, &bytes),
                Event::Exited { exit, omitted } => {
                    self.omitted = omitted;
                    if self.ready.guard.out_of_memory_kills() > 0 {
                        return Err(self.end(Ended::OutOfMemory).into());
                    }
                    return Ok(exit);
                }
                Event::NotStarted(refusal) => return Err(refusal.into()),
                Event::Ready | Event::File(_) | Event::Program(_) => return Err(self.unasked()),
            }
            event = self.hear()?;
        }
    }

    fn omitted_output_bytes(&self) -> u64 {
        self.omitted
    }

    fn find_program(&mut self, name: &str) -> Result<Option<String>, SandboxError> {
        let frame = self.ready.line.conversation.find_program(name.to_owned());
        match self.ask(frame)? {
            Event::Program(path) => Ok(path),
            Event::Ready | Event::Output(..) | Event::Exited { .. } | Event::NotStarted(_) | Event::File(_) => {
                Err(self.unasked())
            }
        }
    }

    fn repository(&self) -> Option<&Repository> {
        self.repository.as_ref()
    }

    /// Nobody waits at this end of the call; the pipeline wraps a sandbox to show progress.
    fn progress(&mut self, _line: &str) {}
}
