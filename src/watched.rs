//! A sandbox whose output and end are seen by those who wait.

use cofferdam_contract::{Command, Ended, Exit, FileReply, FileRequest, Repository, Sandbox, SandboxError, Stream};

use crate::progress::Progress;

/// A sandbox as a tool gets it. Everything is passed on; lines go to `progress`, ends are noted.
pub(crate) struct Watched<'a, S> {
    sandbox: S,
    progress: &'a Progress,
    exit: Option<Exit>,
    ended: Option<Ended>,
}

/// How a program ended, as one number: its status, or the negative number of the signal.
pub(crate) fn status(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => -signal,
    }
}

impl<'a, S: Sandbox> Watched<'a, S> {
    /// Watches `sandbox`.
    pub(crate) fn new(sandbox: S, progress: &'a Progress) -> Self {
        Self { sandbox, progress, exit: None, ended: None }
    }

    /// The sandbox again.
    pub(crate) fn into_inner(self) -> S {
        self.sandbox
    }

    /// How the last program ended: its status, or the negative number of the signal.
    pub(crate) fn exit(&self) -> Option<i32> {
        self.exit.map(status)
    }

    /// Why the sandbox ended, if it did.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended
    }

    fn note<T>(&mut self, result: Result<T, SandboxError>) -> Result<T, SandboxError> {
        if let Err(SandboxError::Ended(why)) = result {
            self.ended.get_or_insert(why);
        }
        result
    }
}

impl<S: Sandbox> Sandbox for Watched<'_, S> {
    fn workspace(&self) -> &str {
        self.sandbox.workspace()
    }

    fn file(&mut self, request: FileRequest) -> Result<FileReply, SandboxError> {
        let reply = self.sandbox.file(request);
        self.note(reply)
    }

    fn execute(&mut self, command: &Command, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, SandboxError> {
        let progress = self.progress;
        let exit = self.sandbox.execute(command, &mut |stream, bytes| {
            progress.output(bytes);
            output(stream, bytes);
        });
        let exit = self.note(exit)?;
        self.exit = Some(exit);
        Ok(exit)
    }

    fn omitted_output_bytes(&self) -> u64 {
        self.sandbox.omitted_output_bytes()
    }

    fn find_program(&mut self, name: &str) -> Result<Option<String>, SandboxError> {
        let found = self.sandbox.find_program(name);
        self.note(found)
    }

    fn repository(&self) -> Option<&Repository> {
        self.sandbox.repository()
    }

    fn progress(&mut self, line: &str) {
        self.progress.line(line);
        self.sandbox.progress(line);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cofferdam_contract::{FileRefusal, RefusalKind, WorkspacePath};

    use super::*;

    /// Plays back what a sandbox would say.
    struct Recorded(Vec<Result<Exit, SandboxError>>);

    impl Sandbox for Recorded {
        fn workspace(&self) -> &str {
            "/w"
        }
        fn file(&mut self, _request: FileRequest) -> Result<FileReply, SandboxError> {
            Err(FileRefusal { kind: RefusalKind::NotFound, message: "no".into() }.into())
        }
        fn execute(&mut self, _command: &Command, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, SandboxError> {
            output(Stream::Stdout, b"working\n");
            self.0.remove(0)
        }
        fn omitted_output_bytes(&self) -> u64 {
            7
        }
        fn find_program(&mut self, _name: &str) -> Result<Option<String>, SandboxError> {
            Ok(None)
        }
        fn repository(&self) -> Option<&Repository> {
            None
        }
        fn progress(&mut self, _line: &str) {}
    }

    #[test]
    fn output_and_ends_are_seen() {
        let progress = Progress::default();
        let recorded = Recorded(vec![Ok(Exit::Code(3)), Ok(Exit::Signal(9)), Err(Ended::Deadline.into())]);
        let mut watched = Watched::new(recorded, &progress);
        let command = Command {
            program: "true".into(),
            arguments: Vec::new(),
            directory: WorkspacePath::workspace(),
            environment: BTreeMap::new(),
        };
        let mut heard = Vec::new();
        assert_eq!(watched.execute(&command, &mut |_, bytes| heard.extend_from_slice(bytes)), Ok(Exit::Code(3)));
        assert_eq!((heard.as_slice(), watched.exit()), (&b"working\n"[..], Some(3)));
        assert_eq!(watched.execute(&command, &mut |_, _| {}), Ok(Exit::Signal(9)));
        assert_eq!((watched.exit(), watched.ended()), (Some(-9), None));
        assert!(watched.execute(&command, &mut |_, _| {}).is_err());
        assert_eq!(watched.ended(), Some(Ended::Deadline));
        watched.progress("done");
        assert_eq!(progress.tail().last().map(String::as_str), Some("done"));
    }
}
