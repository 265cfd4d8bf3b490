//! Frames between the server (the host) and the guest.
//!
//! A frame is a length (`u32`, little endian, of what follows) and that many bytes of postcard. The host sends
//! [`ToGuest`], the guest sends [`FromGuest`]; both travel over one stream socket. Nothing here reads or writes: bytes
//! go into a [`Decoder`], messages come out, and [`encode`] makes the bytes to send.
//!
//! # Who says what, and when
//!
//! The guest opens with [`FromGuest::Hello`]. Then the host asks one thing at a time and the guest answers it. While a
//! command is executed the host may say [`ToGuest::Kill`] and nothing else. A guest that reads anything it did not
//! expect ends itself; a host that does ends the sandbox.
//!
//! # Output beyond the limit
//!
//! The ending of a log matters more than its middle. The first [`head_bytes`] of a command's output (both streams
//! together) are sent as they come. What follows is kept back, at most `output_limit - head_bytes` of it, the oldest
//! being dropped first, and is sent when the command has ended, just before [`FromGuest::Exited`]. The number of
//! dropped bytes is `omitted`. So when `omitted` is not zero, exactly [`head_bytes`] bytes came before the gap.
//!
//! # Never
//!
//! No input makes this code panic, and a frame's length alone allocates nothing: buffers grow as bytes arrive.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod decoder;
mod message;

pub use decoder::{Decoder, FrameError};
pub use message::{EncodeError, FromGuest, ToGuest, encode};

/// The protocol's version, in [`FromGuest::Hello`]. Host and guest are built together, so any other number is a defect.
pub const VERSION: u32 = 1;

/// The longest frame, in bytes after the length. Room for a file of 24 MiB ([`MAX_CONTENT_BYTES`]) and its wrapping.
pub const MAX_FRAME_BYTES: usize = 32 << 20;

/// The longest reply to anything but a read, in bytes. A list of small entries takes up to twenty times its frame when
/// decoded, so a hostile list must be short; a listing that would be longer is cut and the rest is counted.
pub const MAX_LISTING_BYTES: usize = 4 << 20;

/// The most content of one file that a request or a reply carries, in bytes.
pub const MAX_CONTENT_BYTES: usize = 24 << 20;

/// The longest sentence of a refusal, in bytes. It may quote what the agent wrote, a long expression too.
pub const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// The most output that one [`FromGuest::Output`] carries, in bytes. The size of a Linux pipe (`pipe(7)`).
pub const MAX_OUTPUT_BYTES: usize = 64 << 10;

/// Where the channel is when the guest starts.
pub const CHANNEL_FD: i32 = 3;

/// How many bytes of output are sent as they come, before the middle is cut: half of the limit, rounded up.
#[must_use]
pub fn head_bytes(output_limit: u64) -> u64 {
    output_limit.div_ceil(2)
}
