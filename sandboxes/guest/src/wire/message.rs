//! What the two sides say.

use cofferdam_contract::{Command, Exit, FileRefusal, FileReply, FileRequest, Stream};
use serde::{Deserialize, Serialize};

use super::MAX_FRAME_BYTES;

/// What the host says. `id` names the request in every answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGuest {
    /// Do a file operation. Answered by [`FromGuest::FileReply`].
    File {
        /// The request.
        id: u32,
        /// What to do.
        request: FileRequest,
    },
    /// Execute a program. Answered by [`FromGuest::NotStarted`], or by any number of [`FromGuest::Output`] and then
    /// [`FromGuest::Exited`].
    Execute {
        /// The request.
        id: u32,
        /// What to execute.
        command: Command,
        /// Bytes of output that are sent, both streams together.
        output_limit: u64,
    },
    /// Look a program up on the PATH. Answered by [`FromGuest::Program`].
    FindProgram {
        /// The request.
        id: u32,
        /// The program's name, without a slash.
        name: String,
    },
    /// End the command `id` and whatever it started. Harmless when it has ended. Answered by the command's own
    /// [`FromGuest::Exited`].
    Kill {
        /// The command's request.
        id: u32,
    },
}

/// What the guest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromGuest {
    /// The guest is ready. Said once, first.
    Hello {
        /// The protocol's version, [`super::VERSION`].
        version: u32,
    },
    /// The answer to [`ToGuest::File`].
    FileReply {
        /// The request.
        id: u32,
        /// What came of it.
        result: Result<FileReply, FileRefusal>,
    },
    /// A piece of a command's output, at most [`super::MAX_OUTPUT_BYTES`].
    Output {
        /// The command's request.
        id: u32,
        /// Which output.
        stream: Stream,
        /// The bytes, as the program wrote them.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The command has ended; no output follows.
    Exited {
        /// The command's request.
        id: u32,
        /// How it ended.
        exit: Exit,
        /// Bytes of output that were not sent.
        omitted: u64,
    },
    /// The command could not be started.
    NotStarted {
        /// The command's request.
        id: u32,
        /// Why.
        refusal: FileRefusal,
    },
    /// The answer to [`ToGuest::FindProgram`].
    Program {
        /// The request.
        id: u32,
        /// The program's absolute path, if it was found.
        path: Option<String>,
    },
}

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It is longer than [`MAX_FRAME_BYTES`].
    #[error("a message of {bytes} bytes is longer than a frame may be ({MAX_FRAME_BYTES} bytes)")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Postcard refused it.
    #[error("a message could not be written down")]
    Write {
        /// What postcard said.
        #[source]
        source: postcard::Error,
    },
}

/// Makes the frame of a message.
///
/// # Errors
/// [`EncodeError::TooLong`] when it would be longer than [`MAX_FRAME_BYTES`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, EncodeError> {
    // The length is written over these four bytes once it is known: one buffer, no second copy of a large file.
    let frame = postcard::to_extend(message, vec![0; 4]).map_err(|source| EncodeError::Write { source })?;
    let bytes = frame.len().saturating_sub(4);
    let length =
        u32::try_from(bytes).ok().filter(|_| bytes <= MAX_FRAME_BYTES).ok_or(EncodeError::TooLong { bytes })?;
    let mut frame = frame;
    for (place, byte) in frame.iter_mut().zip(length.to_le_bytes()) {
        *place = byte;
    }
    Ok(frame)
}
