//! What the guest may say next: the host's side of the protocol as a state machine, without I/O.
//!
//! The guest is not trusted. Whatever it says is either the answer to what was asked, within the bounds of what was
//! asked, or a [`Violation`] that ends its sandbox. What passes is safe to handle carelessly: no count overflows when
//! two are added, no path or message holds a control character, no reply is longer than the request allows. What passes
//! may still be a lie about the view; the gate looks at the view itself.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod reply;

use cofferdam_contract::{Command, Exit, FileRefusal, FileReply, FileRequest, Stream};
use cofferdam_guest::wire::{
    EncodeError, FromGuest, MAX_CONTENT_BYTES, MAX_LISTING_BYTES, MAX_MESSAGE_BYTES, MAX_OUTPUT_BYTES, ToGuest,
    VERSION, encode,
};

use self::reply::Question;

/// The longest program path, in bytes: `PATH_MAX` of `limits.h` without its NUL.
const MAX_PROGRAM_BYTES: usize = 4095;

/// What a frame takes besides the texts and bytes in it: tags, numbers and lengths.
const WRAPPING_BYTES: usize = 512;

/// A conversation with one guest.
#[derive(Debug)]
pub struct Conversation {
    state: State,
    next_id: u32,
}

#[derive(Debug)]
enum State {
    /// Nothing was heard yet.
    Starting,
    /// Nothing is asked.
    Idle,
    /// A file operation is asked.
    File { id: u32, question: Question },
    /// A command was sent or is being executed.
    Executing { id: u32, sent: u64, limit: u64 },
    /// A program is looked up.
    Finding { id: u32 },
    /// The guest broke the rules. Nothing it says counts any more.
    Broken,
}

/// What the guest said, once it was allowed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The guest is ready to be asked.
    Ready,
    /// The answer to a file operation.
    File(Result<FileReply, FileRefusal>),
    /// A piece of the command's output.
    Output(Stream, Vec<u8>),
    /// The command has ended.
    Exited {
        /// How.
        exit: Exit,
        /// Bytes of output that were not sent.
        omitted: u64,
    },
    /// The command could not be started.
    NotStarted(FileRefusal),
    /// Where a program is.
    Program(Option<String>),
}

/// Why nothing can be asked now.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The guest has not said hello.
    #[error("the guest has not started")]
    Starting,
    /// The last request is not answered.
    #[error("the guest is busy with another request")]
    Busy,
    /// There is no command to end.
    #[error("no command is being executed")]
    NoCommand,
    /// The guest broke the rules before.
    #[error("the guest broke the protocol")]
    Broken,
    /// The request is too long. The guest has heard nothing of it, and another can be asked.
    #[error("the request cannot be sent")]
    Encode {
        /// Why.
        #[source]
        source: EncodeError,
    },
}

/// What the guest said and should not have said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the guest broke the protocol: {what}")]
pub struct Violation {
    what: &'static str,
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}

impl Conversation {
    /// Begins. The first thing heard must be the guest's hello.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Starting, next_id: 1 }
    }

    /// Asks for a file operation; gives back the frame to send.
    ///
    /// # Errors
    /// [`NotReady`], and nothing has changed.
    pub fn file(&mut self, request: FileRequest) -> Result<Vec<u8>, NotReady> {
        let question = Question::of(&request);
        self.ask(|id| (ToGuest::File { id, request }, State::File { id, question }))
    }

    /// Asks to execute a command with at most `output_limit` bytes of output; gives back the frame to send.
    ///
    /// # Errors
    /// [`NotReady`], and nothing has changed.
    pub fn execute(&mut self, command: Command, output_limit: u64) -> Result<Vec<u8>, NotReady> {
        self.ask(|id| {
            let state = State::Executing { id, sent: 0, limit: output_limit };
            (ToGuest::Execute { id, command, output_limit }, state)
        })
    }

    /// Asks where a program is; gives back the frame to send.
    ///
    /// # Errors
    /// [`NotReady`], and nothing has changed.
    pub fn find_program(&mut self, name: String) -> Result<Vec<u8>, NotReady> {
        self.ask(|id| (ToGuest::FindProgram { id, name }, State::Finding { id }))
    }

    /// Orders the end of the command that is being executed; gives back the frame to send. Its end is still heard.
    ///
    /// # Errors
    /// [`NotReady`] when there is none.
    pub fn kill(&self) -> Result<Vec<u8>, NotReady> {
        match self.state {
            State::Executing { id, .. } => encode(&ToGuest::Kill { id }).map_err(|source| NotReady::Encode { source }),
            State::Starting => Err(NotReady::Starting),
            State::Idle | State::File { .. } | State::Finding { .. } => Err(NotReady::NoCommand),
            State::Broken => Err(NotReady::Broken),
        }
    }

    /// How long the guest's next frame may be, in bytes; for [`cofferdam_guest::wire::Decoder::set_bound`] before each
    /// frame. A list takes many times its frame when it is decoded, so a hostile guest must not choose its length.
    #[must_use]
    pub fn frame_bound(&self) -> usize {
        let content = match &self.state {
            State::Starting | State::Idle | State::Broken => 0,
            State::File { question, .. } => match question {
                Question::Read { max_bytes, .. } => usize::try_from(*max_bytes)
                    .unwrap_or(usize::MAX)
                    .clamp(MAX_MESSAGE_BYTES, MAX_CONTENT_BYTES)
                    .saturating_add(reply::HEAD_BYTES),
                Question::List { .. } | Question::Search { .. } => MAX_LISTING_BYTES,
                Question::Write | Question::Status | Question::Move | Question::Delete => MAX_MESSAGE_BYTES,
            },
            State::Executing { .. } => MAX_OUTPUT_BYTES,
            State::Finding { .. } => MAX_PROGRAM_BYTES,
        };
        content.saturating_add(WRAPPING_BYTES)
    }

    /// Takes what the guest said.
    ///
    /// # Errors
    /// A [`Violation`] when it was not its turn or not within bounds. From then on everything is one.
    pub fn accept(&mut self, said: FromGuest) -> Result<Event, Violation> {
        let state = std::mem::replace(&mut self.state, State::Broken);
        let (next, event) = step(state, said)?;
        self.state = next;
        Ok(event)
    }

    fn ask(&mut self, make: impl FnOnce(u32) -> (ToGuest, State)) -> Result<Vec<u8>, NotReady> {
        match self.state {
            State::Idle => {}
            State::Starting => return Err(NotReady::Starting),
            State::File { .. } | State::Executing { .. } | State::Finding { .. } => return Err(NotReady::Busy),
            State::Broken => return Err(NotReady::Broken),
        }
        let (message, state) = make(self.next_id);
        let frame = encode(&message).map_err(|source| NotReady::Encode { source })?;
        self.next_id = self.next_id.wrapping_add(1);
        self.state = state;
        Ok(frame)
    }
}

/// One word of the guest, from one state to the next.
fn step(state: State, said: FromGuest) -> Result<(State, Event), Violation> {
    match (state, said) {
        (State::Starting, FromGuest::Hello { version }) => {
            check(version == VERSION, "it speaks another version")?;
            Ok((State::Idle, Event::Ready))
        }
        (State::File { id, question }, FromGuest::FileReply { id: named, result }) => {
            must_match(id, named)?;
            match &result {
                Ok(reply) => question.check(reply)?,
                Err(refusal) => reply::check_refusal(refusal)?,
            }
            Ok((State::Idle, Event::File(result)))
        }
        (State::Executing { id, sent, limit }, FromGuest::Output { id: named, stream, bytes }) => {
            must_match(id, named)?;
            // An empty piece would cost nothing and so could be said for ever.
            check(!bytes.is_empty() && bytes.len() <= MAX_OUTPUT_BYTES, "a piece of output has a wrong length")?;
            let sent = u64::try_from(bytes.len()).ok().and_then(|length| sent.checked_add(length));
            let sent = sent.filter(|sent| *sent <= limit).ok_or(Violation { what: "output goes beyond its limit" })?;
            Ok((State::Executing { id, sent, limit }, Event::Output(stream, bytes)))
        }
        (State::Executing { id, sent, limit }, FromGuest::Exited { id: named, exit, omitted }) => {
            must_match(id, named)?;
            let is_possible = match exit {
                Exit::Code(code) => (0..=255).contains(&code),
                Exit::Signal(signal) => (1..=64).contains(&signal),
            };
            check(is_possible, "a command ended in an impossible way")?;
            check(omitted == 0 || sent == limit, "output is missing that was within its limit")?;
            check(omitted <= reply::MAX_COUNT, "a count is too large")?;
            Ok((State::Idle, Event::Exited { exit, omitted }))
        }
        (State::Executing { id, sent, limit: _ }, FromGuest::NotStarted { id: named, refusal }) => {
            must_match(id, named)?;
            check(sent == 0, "a command was not started and wrote something")?;
            reply::check_refusal(&refusal)?;
            Ok((State::Idle, Event::NotStarted(refusal)))
        }
        (State::Finding { id }, FromGuest::Program { id: named, path }) => {
            must_match(id, named)?;
            if let Some(path) = &path {
                let is_plain = path.starts_with('/') && reply::is_plain(path);
                check(is_plain && path.len() <= MAX_PROGRAM_BYTES, "a program's path is none")?;
            }
            Ok((State::Idle, Event::Program(path)))
        }
        (
            State::Starting
            | State::Idle
            | State::File { .. }
            | State::Executing { .. }
            | State::Finding { .. }
            | State::Broken,
            FromGuest::Hello { .. }
            | FromGuest::FileReply { .. }
            | FromGuest::Output { .. }
            | FromGuest::Exited { .. }
            | FromGuest::NotStarted { .. }
            | FromGuest::Program { .. },
        ) => Err(Violation { what: "it was not its turn to say that" }),
    }
}

fn must_match(asked: u32, named: u32) -> Result<(), Violation> {
    check(asked == named, "it answers another request")
}

fn check(holds: bool, what: &'static str) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { what }) }
}

#[cfg(test)]
mod tests;
