//! One step of a chore: a program that is shown, executed and checked.

use std::{
    ffi::OsStr,
    fmt, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Instant,
};

/// Why a chore stopped. The text fits "failed to …".
#[derive(Debug)]
pub(crate) enum Error {
    /// A program could not be started.
    Start {
        /// Its command line.
        line: String,
        /// Why not.
        source: io::Error,
    },
    /// A program ended with a failure.
    Ended {
        /// Its command line.
        line: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// Something else is not as it must be.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { line, source } => write!(formatter, "start `{line}`: {source}"),
            Self::Ended { line, status } => write!(formatter, "get through `{line}`: it ended with {status}"),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

/// An error in words.
pub(crate) fn error(text: impl Into<String>) -> Error {
    Error::Other(text.into())
}

/// The repository's folder.
pub(crate) fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("this package lies in the repository").to_owned()
}

/// Where builds and everything fetched lie.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => repository().join(folder),
        None => repository().join("target"),
    }
}

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A program, started in the repository and without input.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(repository()).stdin(Stdio::null());
    command
}

/// Shows the command line, executes it, and says how long it took.
///
/// # Errors
/// When it cannot be started or ends with a failure.
pub(crate) fn execute(command: &mut Command) -> Result<(), Error> {
    let line = line(command);
    eprintln!("\n==> {line}");
    let begun = Instant::now();
    let status = command.status().map_err(|source| Error::Start { line: line.clone(), source })?;
    eprintln!("<== {:.0} s: {line}", begun.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { Err(Error::Ended { line, status }) }
}

/// Executes it silently and returns what it wrote to standard output.
///
/// # Errors
/// When it cannot be started or ends with a failure; then what it wrote to standard error is shown.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let line = line(command);
    let output = command.output().map_err(|source| Error::Start { line: line.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Err(Error::Ended { line, status: output.status })
}

/// Whether `name` can be started and answers `argument` with success.
pub(crate) fn answers(name: &str, argument: &str) -> bool {
    let mut command = program(name);
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}
