//! What a program printed, and how it ended.

use std::collections::VecDeque;

use cofferdam_contract::{Command, Ended, Exit, Sandbox, SandboxError, Stream};

use crate::{Failure, cargo_messages, plain_text, run_tests::records};

/// Lines of one stream that wait for the end of a line of the other.
const WAITING: usize = 10_000;

/// The output of one program in order of arrival. Its size is bounded by the permit's output limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transcript {
    chunks: Vec<(Stream, Vec<u8>)>,
    /// How it ended; `None` while it is being written.
    pub(crate) end: Option<End>,
    /// Bytes of output beyond the limit.
    pub(crate) omitted: u64,
}

/// How a program's execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The program ended.
    Exited(Exit),
    /// The sandbox was ended before the program did.
    Cut(Ended),
}

impl Transcript {
    /// Executes `command` and writes down what it prints. A sandbox that reaches a limit is a result here: what was
    /// printed before tells how far the tests came.
    pub(crate) fn execute(sandbox: &mut dyn Sandbox, command: &Command) -> Result<Self, Failure> {
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
    pub(crate) fn stream(&self, wanted: Stream) -> Vec<u8> {
        self.chunks.iter().filter(|(stream, _)| *stream == wanted).flat_map(|(_, bytes)| bytes).copied().collect()
    }

    /// Hands out the lines of both streams, each stream cut into lines by itself, in the order in which the lines began.
    ///
    /// One at a time, since a program may print millions of empty ones. A line that does not end while [`WAITING`] others
    /// of the other stream wait behind it is handed out as far as it goes.
    pub(crate) fn for_each_line(&self, mut each: impl FnMut(Stream, &str)) {
        let mut hand_out = |stream: Stream, bytes: &[u8]| {
            each(stream, String::from_utf8_lossy(bytes).trim_end_matches(['\r', '\n']));
        };
        // The lines that wait behind an open one, which is the first; and which of them are open, counted from the start.
        let mut waiting: VecDeque<(Stream, Vec<u8>)> = VecDeque::new();
        let (mut gone, mut open) = (0, [None, None]);
        for (stream, bytes) in &self.chunks {
            let slot = usize::from(*stream == Stream::Stderr);
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                let ends = part.ends_with(b"\n");
                if waiting.is_empty() && ends {
                    hand_out(*stream, part);
                    continue;
                }
                let number = *open[slot].get_or_insert(gone + waiting.len());
                match waiting.get_mut(number - gone) {
                    Some((_, line)) => line.extend_from_slice(part),
                    None => waiting.push_back((*stream, part.to_vec())),
                }
                if ends {
                    open[slot] = None;
                }
                let is_stuck = waiting.len() > WAITING;
                while let Some((stream, line)) = waiting.pop_front_if(|(_, line)| is_stuck || line.ends_with(b"\n")) {
                    hand_out(stream, &line);
                    gone += 1;
                }
                if is_stuck {
                    open = [None, None];
                }
            }
        }
        waiting.iter().for_each(|(stream, line)| hand_out(*stream, line));
    }

    /// What a person would have seen: both streams without records and messages for machines, safe to show.
    pub(crate) fn shown(&self) -> String {
        let mut text = String::new();
        self.for_each_line(|stream, line| {
            match stream {
                Stream::Stdout => match cargo_messages::told(line) {
                    Some(told) if told.is_empty() => return,
                    Some(told) => text.push_str(told.trim_end()),
                    None => text.push_str(&records::without(line)),
                },
                Stream::Stderr => text.push_str(line),
            }
            text.push('\n');
        });
        plain_text::output(&text)
    }

    /// The exit status; `None` when the sandbox was ended first.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.end {
            Some(End::Exited(exit)) => Some(exit),
            Some(End::Cut(_)) | None => None,
        }
    }

    /// Whether the program ended by itself with status 0.
    pub(crate) fn succeeded(&self) -> bool {
        self.exit() == Some(Exit::Code(0))
    }
}

#[cfg(test)]
impl Transcript {
    pub(crate) fn of(chunks: &[(Stream, &str)]) -> Self {
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
        let mut lines = Vec::new();
        transcript.for_each_line(|stream, line| lines.push((stream, line.to_owned())));
        let expected = [(Stdout, "one more"), (Stderr, "err"), (Stdout, "two"), (Stderr, "x")];
        assert_eq!(lines, expected.map(|(stream, text)| (stream, text.to_owned())));
    }

    #[test]
    fn a_line_that_does_not_end_does_not_gather_others_for_ever() {
        use Stream::{Stderr, Stdout};
        let mut chunks = vec![(Stdout, "open".to_owned())];
        chunks.push((Stderr, "x\n".repeat(WAITING + 5)));
        chunks.push((Stdout, " end\n".to_owned()));
        let chunks: Vec<(Stream, &str)> = chunks.iter().map(|(stream, text)| (*stream, text.as_str())).collect();
        let mut lines = Vec::new();
        Transcript::of(&chunks).for_each_line(|stream, line| lines.push((stream, line.to_owned())));
        assert_eq!(lines[0], (Stdout, "open".to_owned()));
        assert_eq!(lines.len(), WAITING + 7);
        assert_eq!(lines.last(), Some(&(Stdout, " end".to_owned())));
    }
}
