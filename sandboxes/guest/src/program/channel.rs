//! The channel to the server: one stream socket, frames in both directions.
//!
//! Its end means that nobody waits for an answer any more, so every function here reports it and the program ends.
//! Long file operations hold a [`Lifeline`] and look at it now and then, since they do not come by here.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
};

use cofferdam_guest::wire::{CHANNEL_FD, Decoder, EncodeError, FrameError, FromGuest, ToGuest, encode};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendFlags},
};

/// The channel, what was read of it and not yet taken, and what is still to be written.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    decoder: Decoder,
    pending: Vec<u8>,
    /// How much of `pending` is written.
    written: usize,
}

/// Why the channel is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The server closed it.
    #[error("the server closed it")]
    Closed,
    /// The server said something that is no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message of ours could not be written down.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The kernel refused to read or write.
    #[error("{0}")]
    Socket(#[from] Errno),
}

impl Channel {
    /// Takes the inherited socket at [`CHANNEL_FD`].
    pub(crate) fn inherited() -> io::Result<Self> {
        // SAFETY: `fcntl` takes plain numbers; a descriptor that is not open is an error, no more.
        if unsafe { libc::fcntl(CHANNEL_FD, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `from_raw_fd` requires an open descriptor that nothing else owns. It is open, as `fcntl` above says;
        // this is called once, before anything is opened by this program, so what is there was inherited.
        let socket = unsafe { OwnedFd::from_raw_fd(CHANNEL_FD) };
        rustix::net::sockopt::socket_type(&socket)?;
        Ok(Self { socket, decoder: Decoder::new(), pending: Vec::new(), written: 0 })
    }

    /// The socket, for polling.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the server says nothing for `time`.
    pub(crate) fn is_silent_for(&self, time: Timespec) -> Result<bool, Ended> {
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&time)) {
            Ok(ready) => Ok(ready == 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What long operations look at.
    pub(crate) fn lifeline(&self) -> Lifeline<'_> {
        Lifeline::of(self.socket())
    }

    /// Whether everything was written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.pending.is_empty()
    }

    /// Writes a message, waiting as long as the server needs to read it.
    pub(crate) fn send(&mut self, message: &FromGuest) -> Result<(), Ended> {
        self.queue(message)?;
        loop {
            self.flush()?;
            if self.is_flushed() {
                return Ok(());
            }
            match poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Puts a message behind what is pending.
    pub(crate) fn queue(&mut self, message: &FromGuest) -> Result<(), Ended> {
        let frame = encode(message)?;
        if self.pending.is_empty() {
            self.pending = frame;
        } else {
            self.pending.extend_from_slice(&frame);
        }
        Ok(())
    }

    /// Writes what the socket takes now.
    pub(crate) fn flush(&mut self) -> Result<(), Ended> {
        while let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
            match rustix::net::send(&self.socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => self.written += sent,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Ended::Closed),
                Err(error) => return Err(error.into()),
            }
        }
        self.pending = Vec::new();
        self.written = 0;
        Ok(())
    }

    /// Reads what has arrived and takes one request, if a whole one is there.
    pub(crate) fn receive(&mut self) -> Result<Option<ToGuest>, Ended> {
        let mut buffer = [0; 64 << 10];
        loop {
            if let Some(request) = self.decoder.take()? {
                return Ok(Some(request));
            }
            match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Ended::Closed),
                Ok((count, _)) => self.decoder.push(buffer.get(..count).unwrap_or_default()),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(Ended::Closed),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Tells whether the server is still there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifeline<'a> {
    socket: BorrowedFd<'a>,
}

impl<'a> Lifeline<'a> {
    /// The lifeline of a socket.
    pub(crate) fn of(socket: BorrowedFd<'a>) -> Self {
        Self { socket }
    }

    /// Ends the program when the server has closed the channel. To be called in every loop over files or blocks.
    pub(crate) fn check(&self) {
        let mut polled = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        if poll(&mut polled, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok()
            && polled.iter().any(|polled| polled.revents().intersects(gone))
        {
            // Nobody is left to tell, and a half-written temporary file goes with the sandbox.
            std::process::exit(0);
        }
    }
}
