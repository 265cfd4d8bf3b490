//! From bytes to messages, without I/O.

use serde::de::DeserializeOwned;

use super::MAX_FRAME_BYTES;

/// Bytes of a frame's length.
const HEADER_BYTES: usize = 4;

/// Takes bytes in pieces of any size and gives back whole messages.
///
/// It holds at most one unfinished frame and what was pushed after it. After an error it stays in error: the place
/// where the next frame would start is not known any more.
#[derive(Debug)]
pub struct Decoder {
    /// What was pushed; the first `taken` bytes belong to frames already given back.
    buffer: Vec<u8>,
    taken: usize,
    bound: usize,
    failed: Option<FrameError>,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is over the bound.
    #[error("a frame of {bytes} bytes is longer than the {bound} bytes that are allowed now")]
    TooLong {
        /// What the frame says of itself.
        bytes: usize,
        /// What is allowed.
        bound: usize,
    },
    /// The frame is no message.
    #[error("a frame holds no message of this protocol")]
    Malformed {
        /// What postcard said.
        #[source]
        source: postcard::Error,
    },
    /// The frame goes on after its message.
    #[error("a frame holds {bytes} bytes after its message")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The bytes end inside a frame.
    #[error("the channel ended inside a frame")]
    Truncated,
    /// More was pushed than any frame needs, and nothing was taken.
    #[error("more than {MAX_FRAME_BYTES} bytes wait to be taken")]
    Backlog,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Makes an empty decoder whose frames may be as long as [`MAX_FRAME_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        Self { buffer: Vec::new(), taken: 0, bound: MAX_FRAME_BYTES, failed: None }
    }

    /// Sets how long the next frames may be, in bytes; never more than [`MAX_FRAME_BYTES`].
    pub fn set_bound(&mut self, bytes: usize) {
        self.bound = bytes.min(MAX_FRAME_BYTES);
    }

    /// Adds bytes that arrived. Take the frames after each push: twice [`MAX_FRAME_BYTES`] of untaken bytes are an error.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        // Moved only when at least half is spent, so that each byte is moved at most once on average.
        if self.taken > self.buffer.len() / 2 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        let waiting = self.buffer.len().saturating_sub(self.taken).saturating_add(bytes.len());
        if waiting > MAX_FRAME_BYTES.saturating_mul(2) {
            self.fail(FrameError::Backlog);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Takes the next message, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// A [`FrameError`], from then on every time.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let waiting = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((header, rest)) = waiting.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        // A length that does not fit is beyond every bound.
        let length = usize::try_from(u32::from_le_bytes(*header)).unwrap_or(usize::MAX);
        if length > self.bound {
            let bound = self.bound;
            return Err(self.fail(FrameError::TooLong { bytes: length, bound }));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let result = match postcard::take_from_bytes::<T>(body) {
            Ok((message, [])) => Ok(Some(message)),
            Ok((_, trailing)) => Err(FrameError::Trailing { bytes: trailing.len() }),
            Err(source) => Err(FrameError::Malformed { source }),
        };
        match result {
            Ok(message) => {
                self.taken = self.taken.saturating_add(HEADER_BYTES).saturating_add(length);
                if self.taken == self.buffer.len() {
                    self.buffer.clear();
                    self.taken = 0;
                }
                Ok(message)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Says whether the bytes end where a frame ends; to be asked when the channel has ended.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] when they end inside a frame, or the error from before.
    pub fn finish(&self) -> Result<(), FrameError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.taken == self.buffer.len() => Ok(()),
            None => Err(FrameError::Truncated),
        }
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.buffer = Vec::new();
        self.taken = 0;
        self.failed = Some(error.clone());
        error
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
