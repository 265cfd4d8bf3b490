//! An open sandbox, as a tool sees it: all the power that a tool has.

use std::fmt;

use crate::{Command, Exit, FileRefusal, FileReply, FileRequest, Repository, Stream};

/// An open sandbox. Made from a permit, used for one call, destroyed.
pub trait Sandbox: Send {
    /// The workspace's absolute path, the same inside and outside.
    fn workspace(&self) -> &str;

    /// Does one file operation on the view.
    ///
    /// # Errors
    /// [`SandboxError::File`] when the operation is refused or impossible; the sandbox is still usable.
    /// [`SandboxError::Ended`] when the sandbox is gone.
    fn file(&mut self, request: FileRequest) -> Result<FileReply, SandboxError>;

    /// Executes a program and hands each chunk of its output to `output` as it comes.
    ///
    /// Output beyond the permit's limit is not handed on; the caller sees where it stopped by
    /// [`Sandbox::omitted_output_bytes`]. Standard input is closed.
    ///
    /// # Errors
    /// [`SandboxError::File`] when the program or the directory is not there; [`SandboxError::Ended`] when the
    /// sandbox ended first.
    fn execute(&mut self, command: &Command, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, SandboxError>;

    /// Bytes of output of the last command that were beyond the limit.
    fn omitted_output_bytes(&self) -> u64;

    /// Where a program is found on the sandbox's PATH, as an absolute path; `None` when it is not.
    ///
    /// # Errors
    /// [`SandboxError::Ended`] when the sandbox is gone.
    fn find_program(&mut self, name: &str) -> Result<Option<String>, SandboxError>;

    /// What is known of the workspace's repository; `None` when the plan's work is not about it.
    fn repository(&self) -> Option<&Repository>;

    /// Tells the person who waits what is being done, in one line.
    fn progress(&mut self, line: &str);
}

/// Why a sandbox did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// The file operation was refused or impossible.
    #[error(transparent)]
    File(#[from] FileRefusal),
    /// The sandbox is gone.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The request is not part of the plan's work: a tool's defect, not the agent's.
    #[error("the plan does not include {what}")]
    NotPlanned {
        /// What was asked.
        what: &'static str,
    },
}

/// Why a sandbox ended before its call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The wall-clock deadline passed.
    Deadline,
    /// The call was cancelled.
    Cancelled,
    /// Memory ran out.
    OutOfMemory,
    /// CPU time ran out.
    CpuTime,
    /// More was written than allowed.
    DiskFull,
    /// The program inside ended, or said something that it should not have said.
    Broken,
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Deadline => "the call's time limit passed and its sandbox was ended",
            Self::Cancelled => "the call was cancelled and its sandbox was ended",
            Self::OutOfMemory => "the call's memory limit was reached and its sandbox was ended",
            Self::CpuTime => "the call's CPU time limit was reached and its sandbox was ended",
            Self::DiskFull => "the call's disk limit was reached and its sandbox was ended",
            Self::Broken => "the sandbox ended unexpectedly",
        })
    }
}
