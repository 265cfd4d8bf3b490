//! The program that runs inside every sandbox, embedded in this one and given out as a sealed file in memory.
//!
//! It is never read from the host's file system, so nothing that runs as the same user can put another in its place,
//! and a sandbox can look at it but not change it for the next: the seals hold against everybody, its maker included.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{MemfdFlags, SealFlags},
    io::Errno,
};
use sha2::{Digest, Sha256};

/// The program, as `build.rs` built it.
const BYTES: &[u8] = include_bytes!(env!("COFFERDAM_GUEST_PROGRAM"));

/// Every seal there is for content. `fcntl(2)`, "File sealing".
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// The guest program in a sealed file that has no name. Made once per server.
#[derive(Debug)]
pub struct GuestProgram {
    file: OwnedFd,
}

impl GuestProgram {
    /// Puts the program into memory and seals it.
    ///
    /// # Errors
    /// What the kernel said: memory is full, or it is older than 3.17 (`memfd_create(2)`).
    pub fn load() -> io::Result<Self> {
        let file = memory_file()?;
        let mut file = File::from(file);
        file.write_all(BYTES)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Ok(Self { file: file.into() })
    }

    /// The file, to be executed with `execveat(2)` and `AT_EMPTY_PATH`. It is closed on exec.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The program itself.
    #[must_use]
    pub fn bytes(&self) -> &'static [u8] {
        BYTES
    }

    /// The program's digest.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(BYTES).into()
    }
}

fn memory_file() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // A kernel before 6.3 does not know MFD_EXEC and answers EINVAL; there every such file is executable.
    match rustix::fs::memfd_create(c"cofferdam-guest", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"cofferdam-guest", flags),
        result => result,
    }
}

#[cfg(test)]
mod tests;
