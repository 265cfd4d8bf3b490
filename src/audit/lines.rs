//! The log's lines, one at a time and none longer than a record can be: who may write the file may write an endless line.

use std::io::{self, BufRead, Read};

use super::record::{MAX_LINE_BYTES, Record};

/// Reads lines of a log.
#[derive(Debug)]
pub struct Lines<R> {
    log: R,
    line: Vec<u8>,
    /// Whether what comes next is the rest of a line that was too long.
    within: bool,
}

/// One line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A whole one, without its end.
    Whole(&'a [u8]),
    /// The last one, which has no end: a writer died, or is writing.
    Torn(&'a [u8]),
    /// One of more than [`MAX_LINE_BYTES`] bytes, which no writer of ours makes. It is not held.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    /// Begins with the next byte of `log`, which begins a line.
    pub fn new(log: R) -> Self {
        Self { log, line: Vec::new(), within: false }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(&mut self) -> io::Result<Option<Line<'_>>> {
        if std::mem::take(&mut self.within) {
            self.log.skip_until(b'\n')?;
        }
        self.line.clear();
        // The line's end is one byte more.
        let most = MAX_LINE_BYTES as u64 + 1;
        if (&mut self.log).take(most).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        Ok(Some(match self.line.strip_suffix(b"\n") {
            Some(line) => Line::Whole(line),
            None if self.line.len() > MAX_LINE_BYTES => {
                self.within = true;
                Line::TooLong
            }
            None => Line::Torn(&self.line),
        }))
    }
}

impl Line<'_> {
    /// The record that the line holds, if it holds one. Its digest is not looked at: that is `cofferdam audit verify`'s.
    #[must_use]
    pub fn record(self) -> Option<Record> {
        match self {
            Self::Whole(line) => serde_json::from_slice(line).ok(),
            Self::Torn(_) | Self::TooLong => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_not_held() {
        let long = vec![b'x'; 5 * MAX_LINE_BYTES];
        let log = [b"one\n", &long[..], b"\n\ntwo\nthr"].concat();
        let mut lines = Lines::new(&log[..]);
        assert_eq!(lines.read().unwrap(), Some(Line::Whole(b"one")));
        assert_eq!(lines.read().unwrap(), Some(Line::TooLong));
        assert!(lines.line.capacity() < 3 * MAX_LINE_BYTES);
        for line in [Line::Whole(b""), Line::Whole(b"two"), Line::Torn(b"thr")] {
            assert_eq!(lines.read().unwrap(), Some(line));
        }
        assert_eq!(lines.read().unwrap(), None);
    }

    #[test]
    fn the_longest_line_is_whole_and_an_endless_one_is_told_of_at_once() {
        let log = [&vec![b'x'; MAX_LINE_BYTES][..], b"\n"].concat();
        assert_eq!(Lines::new(&log[..]).read().unwrap(), Some(Line::Whole(&log[..MAX_LINE_BYTES])));
        let endless = io::BufReader::new(io::repeat(b'x'));
        assert_eq!(Lines::new(endless).read().unwrap(), Some(Line::TooLong));
    }
}
