//! What a running call is doing: its last lines, for those who wait.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cofferdam_policy::{Redactor, Within};

use crate::{audit::preview::shorten, plain};

/// Lines that are kept.
const LINES: usize = 40;

/// A longer line is cut, bytes.
const LINE_BYTES: usize = 400;

/// The last lines of a call. Written by the call's thread, read by whoever waits.
#[derive(Debug, Default)]
pub struct Progress {
    tail: Mutex<Tail>,
}

#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    /// The line that has no end yet, as it came; at most a few line lengths.
    open: Vec<u8>,
    /// Takes secrets out of each line.
    redactor: Redactor,
    /// Where the last line ended.
    end: Within,
    /// Counts lines, so that a reader sees whether there is something new.
    written: u64,
}

impl Progress {
    /// Takes what `redactor` knows out of the lines that come.
    pub fn redact_with(&self, redactor: Redactor) {
        self.lock().redactor = redactor;
    }

    /// Adds what a program wrote.
    pub fn output(&self, bytes: &[u8]) {
        let mut tail = self.lock();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            // What is beyond would be cut anyway; a carriage return starts the line again.
            let room = (4 * LINE_BYTES).saturating_sub(tail.open.len());
            if room == 0 && part.contains(&b'\r') {
                tail.open.clear();
            }
            let kept = part.strip_suffix(b"\n").unwrap_or(part);
            let from = kept.iter().rposition(|byte| *byte == b'\r').filter(|at| at + 1 < kept.len()).unwrap_or(0);
            tail.open.extend(kept[from..].iter().take(4 * LINE_BYTES));
            tail.open.truncate(8 * LINE_BYTES);
            if part.ends_with(b"\n") {
                let open = std::mem::take(&mut tail.open);
                tail.push(&words(&open));
            }
        }
    }

    /// Adds one line.
    pub fn line(&self, line: &str) {
        self.lock().push(&plain::line(line.as_bytes()));
    }

    /// The last line that is not blank, and how many lines there were so far.
    #[must_use]
    pub fn last_line(&self) -> (String, u64) {
        let tail = self.lock();
        let open = tail.open_line();
        let last = if is_for_people(&open) { open } else { tail.lines.back().cloned().unwrap_or_default() };
        (last, tail.written + u64::from(!tail.open.is_empty()))
    }

    /// The last lines, oldest first, the unfinished one included.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        let tail = self.lock();
        let open = tail.open_line();
        tail.lines.iter().cloned().chain(is_for_people(&open).then_some(open)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Tail> {
        // A reader that panicked cannot have left half a line.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    fn open_line(&self) -> String {
        shorten(&self.redactor.redact_after(&words(&self.open), self.end).text, LINE_BYTES)
    }

    fn push(&mut self, line: &str) {
        if !is_for_people(line) {
            return;
        }
        let redacted = self.redactor.redact_after(line, self.end);
        self.end = redacted.end;
        self.written += 1;
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(shorten(&redacted.text, LINE_BYTES));
    }
}

/// A line of a program in words: records that our test recorders write are told, escapes are taken out.
fn words(line: &[u8]) -> String {
    // Lists that end their entries with NUL, as `git status -z` does, are for programs.
    if line.contains(&0) {
        return String::new();
    }
    let said = cofferdam_tools::run_tests::progress_line(&String::from_utf8_lossy(line));
    said.map_or_else(String::new, |said| plain::line(said.as_bytes()))
}

/// Whether a line says something to a person: it is not blank, and not one of the JSON objects that test runners and
/// build tools write for other programs.
fn is_for_people(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("{\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_together_from_pieces() {
        let progress = Progress::default();
        progress.output(b"one\ntw");
        progress.output(b"o\n\nthr");
        assert_eq!(progress.tail(), ["one", "two", "thr"]);
        assert_eq!(progress.last_line(), ("thr".to_owned(), 3));
        progress.line("\x1b[32mdone\x1b[0m");
        assert_eq!(progress.tail(), ["one", "two", "done", "thr"]);
    }

    #[test]
    fn what_is_written_for_programs_is_not_shown() {
        let progress = Progress::default();
        progress.output(b"{\"reason\":\"compiler-artifact\"}\n   Compiling a\n{\"reason\"");
        assert_eq!(progress.tail(), ["   Compiling a"]);
        assert_eq!(progress.last_line().0, "   Compiling a");
    }

    #[test]
    fn lists_with_nul_are_not_shown() {
        let progress = Progress::default();
        progress.output(b"committing\n1 A. a.txt\0? b\nc\0\nnext\n# branch.oid 1\0");
        assert_eq!(progress.tail(), ["committing", "next"]);
    }

    #[test]
    fn a_recorders_record_is_told_in_words() {
        let progress = Progress::default();
        progress.output(b".\x1e{\"r\":\"test\",\"name\":\"t::a\",\"outcome\":\"passed\"}\n\x1e{\"r\":\"te");
        assert_eq!(progress.tail(), ["t::a: passed"]);
    }

    #[test]
    fn memory_is_bounded_whatever_is_written() {
        let progress = Progress::default();
        for _ in 0..100 {
            progress.output(&[b'x'; 100_000]);
        }
        progress.output(b"\n");
        for _ in 0..100 {
            progress.output(&[b"y".repeat(1000), b"\n".to_vec()].concat());
        }
        let tail = progress.tail();
        assert_eq!(tail.len(), LINES);
        assert!(tail.iter().all(|line| line.len() <= LINE_BYTES));
        assert!(progress.lock().open.capacity() <= 64 * LINE_BYTES);
    }

    #[test]
    fn a_redrawn_line_shows_its_last_state() {
        let progress = Progress::default();
        for percent in 0..1000 {
            progress.output(format!("\rBuilding {percent} of 1000").as_bytes());
        }
        assert_eq!(progress.last_line().0, "Building 999 of 1000");
    }
}
