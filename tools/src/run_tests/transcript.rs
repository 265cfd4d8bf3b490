//! What a program printed, and how it ended.

use cofferdam_contract::{Command, Ended, Exit, Sandbox, SandboxError, Stream};

use crate::{Failure, plain_text};

use super::records;

/// The output of one program in order of arrival. Its size is bounded by the permit's output limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Transcript {
    chunks: Vec<(Stream, Vec<u8>)>,
    /// How it ended; `None` while it is being written.
    pub(super) end: Option<End>,
    /// Bytes of output beyond the limit.
    pub(super) omitted: u64,
}

/// How a program's execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The program ended.
    Exited(Exit),
    /// The sandbox was ended before the program did.
    Cut(Ended),
}

impl Transcript {
    /// Executes `command` and writes down what it prints. A sandbox that reaches a limit is a result here: what was
    /// printed before tells how far the tests came.
    pub(super) fn execute(sandbox: &mut dyn Sandbox, command: &Command) -> Result<Self, Failure> {
        let mut transcript = Self::default();
        let end = sandbox.execute(command, &mut |stream, bytes| transcript.add(stream, bytes));
        transcript.end = Some(match end {
            Ok(exit) => End::Exited(exit),
            Err(SandboxError::Ended(ended)) => match ended {
                Ended::Deadline | Ended::OutOfMemory | Ended::CpuTime | Ended::DiskFull => End::Cut(ended),
                Ended::Cancelled | Ended::Broken => return Err(SandboxError::Ended(ended).into()),
            },
            Err(error) => return Err(error.into()),
        });
        transcript.omitted = sandbox.omitted_output_bytes();
        Ok(transcript)
    }

    fn add(&mut self, stream: Stream, bytes: &[u8]) {
        match self.chunks.last_mut() {
            Some((last, chunk)) if *last == stream => chunk.extend_from_slice(bytes),
            Some(_) | None => self.chunks.push((stream, bytes.to_vec())),
        }
    }

    /// Everything that was printed to one stream.
    pub(super) fn stream(&self, wanted: Stream) -> Vec<u8> {
        self.chunks.iter().filter(|(stream, _)| *stream == wanted).flat_map(|(_, bytes)| bytes).copied().collect()
    }

    /// The lines of both streams, each stream cut into lines by itself, in the order in which the lines began.
    pub(super) fn lines(&self) -> Vec<(Stream, String)> {
        let mut lines: Vec<(Stream, Vec<u8>)> = Vec::new();
        let mut open: [Option<usize>; 2] = [None, None];
        for (stream, bytes) in &self.chunks {
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                let slot = &mut open[usize::from(*stream == Stream::Stderr)];
                let index = *slot.get_or_insert_with(|| {
                    lines.push((*stream, Vec::new()));
                    lines.len() - 1
                });
                lines[index].1.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    *slot = None;
                }
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
        lines.into_iter().map(|(stream, bytes)| (stream, text(bytes))).collect()
    }

    /// What a person would have seen: both streams without records, safe to show.
    pub(super) fn shown(&self) -> String {
        let mut shown = Vec::new();
        for (stream, bytes) in self.lines() {
            let text = match stream {
                Stream::Stdout => records::without(&bytes),
                Stream::Stderr => bytes,
            };
            shown.push(text);
        }
        let mut text = shown.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        plain_text::output(&text)
    }

    /// The exit status; `None` when the sandbox was ended first.
    pub(super) fn exit(&self) -> Option<Exit> {
        match self.end {
            Some(End::Exited(exit)) => Some(exit),
            Some(End::Cut(_)) | None => None,
        }
    }

    /// Whether the program ended by itself with status 0.
    pub(super) fn succeeded(&self) -> bool {
        self.exit() == Some(Exit::Code(0))
    }
}

#[cfg(test)]
impl Transcript {
    pub(super) fn of(chunks: &[(Stream, &str)]) -> Self {
        let mut transcript = Self { end: Some(End::Exited(Exit::Code(0))), ..Self::default() };
        for (stream, text) in chunks {
            transcript.add(*stream, text.as_bytes());
        }
        transcript
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_two_streams_are_not_mixed_within() {
        use Stream::{Stderr, Stdout};
        let transcript = Transcript::of(&[(Stdout, "one "), (Stderr, "err\n"), (Stdout, "more\ntwo"), (Stderr, "x")]);
        let lines: Vec<(Stream, String)> = transcript.lines();
        let expected = [(Stdout, "one more"), (Stderr, "err"), (Stdout, "two"), (Stderr, "x")];
        assert_eq!(lines, expected.map(|(stream, text)| (stream, text.to_owned())));
    }
}
