//! Standard input and output as protocol streams that nothing else can reach.
//!
//! At start the two descriptors are moved away. File descriptor 0 becomes `/dev/null` and 1 becomes standard error:
//! a stray `print` in any library lands in the log instead of between two messages, and a child inherits neither.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, OpenOptionsExt},
            net::UnixStream,
        },
    },
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::unix::pipe,
};

/// The client's messages.
pub type Input = Box<dyn AsyncRead + Send + Unpin>;

/// Our messages.
pub type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// The two descriptors, moved away and closed on exec.
#[derive(Debug)]
pub struct Streams {
    input: OwnedFd,
    output: OwnedFd,
}

impl Streams {
    /// Takes standard input and output away from the rest of the process.
    ///
    /// # Errors
    /// When a descriptor cannot be duplicated or `/dev/null` cannot be opened.
    pub fn claim() -> io::Result<Self> {
        const FIRST_FREE: i32 = 3; // above the standard ones
        let input = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), FIRST_FREE)?;
        let output = rustix::io::fcntl_dupfd_cloexec(io::stdout().as_fd(), FIRST_FREE)?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        rustix::stdio::dup2_stdout(io::stderr())?;
        Ok(Self { input, output })
    }

    /// Makes streams of the descriptors. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses to make a descriptor non-blocking.
    pub fn open(self) -> io::Result<(Input, Output)> {
        Ok((open_input(self.input)?, open_output(self.output)?))
    }
}

/// What a descriptor is, as far as it can be waited for.
enum Kind {
    Pipe,
    Socket,
    /// A terminal or a file: read and written by a thread.
    Blocking,
}

fn kind(descriptor: &OwnedFd) -> io::Result<Kind> {
    let file_type = File::from(descriptor.try_clone()?).metadata()?.file_type();
    Ok(if file_type.is_fifo() {
        Kind::Pipe
    } else if file_type.is_socket() {
        Kind::Socket
    } else {
        Kind::Blocking
    })
}

fn open_input(descriptor: OwnedFd) -> io::Result<Input> {
    Ok(match kind(&descriptor)? {
        Kind::Pipe => Box::new(pipe::Receiver::from_owned_fd(own(descriptor, OpenOptions::new().read(true)))?),
        Kind::Socket => Box::new(socket(descriptor)?),
        Kind::Blocking => Box::new(tokio::fs::File::from_std(File::from(descriptor))),
    })
}

fn open_output(descriptor: OwnedFd) -> io::Result<Output> {
    Ok(match kind(&descriptor)? {
        Kind::Pipe => Box::new(pipe::Sender::from_owned_fd(own(descriptor, OpenOptions::new().write(true)))?),
        Kind::Socket => Box::new(socket(descriptor)?),
        Kind::Blocking => Box::new(tokio::fs::File::from_std(File::from(descriptor))),
    })
}

/// The same pipe under an open file description of our own: whether it blocks is a property of the description, and
/// the one we got is shared with whoever started us. Where it cannot be reopened (a pipe of another user), it is
/// used as it is.
fn own(descriptor: OwnedFd, options: &mut OpenOptions) -> OwnedFd {
    let reopened = options.custom_flags(libc::O_NONBLOCK).open(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
    reopened.map_or(descriptor, OwnedFd::from)
}

fn socket(descriptor: OwnedFd) -> io::Result<tokio::net::UnixStream> {
    let stream = UnixStream::from(descriptor);
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn carries(input: OwnedFd, output: OwnedFd) {
        let (mut input, mut output) = Streams { input, output }.open().unwrap();
        output.write_all(b"{}\n").await.unwrap();
        output.flush().await.unwrap();
        drop(output);
        let mut read = Vec::new();
        input.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"{}\n");
    }

    #[tokio::test]
    async fn pipes_and_sockets_carry_bytes_and_end() {
        let (reader, writer) = io::pipe().unwrap();
        carries(reader.into(), writer.into()).await;
        let (left, right) = UnixStream::pair().unwrap();
        carries(left.into(), right.into()).await;
    }

    #[tokio::test]
    async fn a_files_end_is_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"x").unwrap();
        let mut input = open_input(File::open(file.path()).unwrap().into()).unwrap();
        let mut read = Vec::new();
        input.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"x");
    }
}
