//! A sandbox whose guest has said hello and been asked nothing: what the pool keeps, and what a call takes.

use std::{
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam_contract::Enforced;
use cofferdam_guest::wire::{Decoder, FromGuest};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::{
    conversation::{Conversation, Event},
    namespace::{Guard, Started},
    view::Stage,
    workspace::{Layers, Masks},
};

/// Bytes read from the pipe at once.
const READ_BYTES: usize = 64 << 10;

/// How long a guest may take for its hello. It takes a millisecond; a machine under full load may take a second.
const HELLO: Duration = Duration::from_secs(20);

/// A ready sandbox. Dropping it destroys it: the processes first, then what they used.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) line: Line,
    pub(crate) guard: Guard,
    pub(crate) temporary: OwnedFd,
    pub(crate) upper: Option<OwnedFd>,
    pub(crate) enforced: Enforced,
    /// Kept so that the held layers stay while they are mounted.
    pub(crate) layers: Layers,
    /// What it has in place of files with credentials. Kept for the same reason.
    pub(crate) masks: Arc<Masks>,
    /// What the view needs on the host.
    pub(crate) stage: Stage,
}

/// The line to a guest: its pipe, and what may be said on it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) conversation: Conversation,
    decoder: Decoder,
    pipe: UnixStream,
    /// What was just read. Its pages are not there before bytes are.
    bytes: Box<[u8]>,
}

/// Why nothing was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The time is over; the guest may yet speak.
    Waiting,
    /// The guest has gone.
    Gone,
    /// The guest said what it must not say.
    Violation,
}

impl Ready {
    /// Hears the guest's hello.
    ///
    /// # Errors
    /// [`Silence`] when it says something else or nothing; the sandbox is destroyed.
    pub(crate) fn new(started: Started, layers: Layers, masks: Arc<Masks>, stage: Stage) -> Result<Self, Silence> {
        let Started { pipe, temporary, upper, enforced, guard } = started;
        pipe.set_nonblocking(true).map_err(|_| Silence::Gone)?;
        let line = Line {
            conversation: Conversation::new(),
            decoder: Decoder::new(),
            pipe,
            bytes: vec![0; READ_BYTES].into(),
        };
        let mut ready = Self { line, guard, temporary, upper, enforced, layers, masks, stage };
        match ready.line.hear(Instant::now() + HELLO)? {
            Event::Ready => Ok(ready),
            Event::File(_) | Event::Output(..) | Event::Exited { .. } | Event::NotStarted(_) | Event::Program(_) => {
                Err(Silence::Violation)
            }
        }
    }

    /// Whether the guest still lives.
    pub(crate) fn lives(&self) -> bool {
        let pidfd = self.guard.pidfd();
        // A pidfd becomes readable when its process ends (pidfd_open(2)).
        let mut descriptors = [PollFd::new(&*pidfd, PollFlags::IN)];
        matches!(poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }
}

impl Line {
    /// Sends as much of `bytes` as the pipe takes until `until`; gives back how many.
    ///
    /// # Errors
    /// [`Silence::Gone`] when nobody listens any more.
    pub(crate) fn send(&mut self, bytes: &[u8], until: Instant) -> Result<usize, Silence> {
        loop {
            match self.pipe.write(bytes) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.wait(PollFlags::OUT, until)?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Silence::Gone),
            }
        }
    }

    /// The next thing that the guest says, if it may say it, before `until`.
    ///
    /// # Errors
    /// [`Silence`]. After [`Silence::Waiting`] it can be asked again.
    pub(crate) fn hear(&mut self, until: Instant) -> Result<Event, Silence> {
        loop {
            self.decoder.set_bound(self.conversation.frame_bound());
            match self.decoder.take::<FromGuest>() {
                Ok(Some(said)) => {
                    return self.conversation.accept(said).map_err(|violation| {
                        tracing::warn!(%violation, "a guest broke the protocol");
                        Silence::Violation
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a guest sent what is no frame");
                    return Err(Silence::Violation);
                }
            }
            match self.pipe.read(&mut self.bytes) {
                Ok(0) => return Err(Silence::Gone),
                Ok(count) => self.decoder.push(self.bytes.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.wait(PollFlags::IN, until)?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Silence::Gone),
            }
        }
    }

    fn wait(&self, flags: PollFlags, until: Instant) -> Result<(), Silence> {
        let left = until.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        let mut descriptors = [PollFd::new(&self.pipe, flags)];
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(0) => Err(Silence::Waiting),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(_) => Err(Silence::Gone),
        }
    }
}
