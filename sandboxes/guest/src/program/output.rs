//! Which of a command's output is sent, and which is dropped: the beginning at once, the ending at the end.
//!
//! The rule is written in [`cofferdam_guest::wire`]. This is only the bookkeeping, without I/O.

use std::collections::VecDeque;

use cofferdam_contract::Stream;
use cofferdam_guest::wire::{MAX_OUTPUT_BYTES, head_bytes};

/// The output of one command.
#[derive(Debug)]
pub(crate) struct Output {
    /// Bytes that may still be sent at once.
    head_left: u64,
    /// Bytes that are kept for the end.
    tail_limit: usize,
    tail: VecDeque<u8>,
    /// Whose the bytes of `tail` are, in order: a program may write one byte here and one there, so a chunk of its own
    /// for each would cost many times the bytes.
    runs: VecDeque<(Stream, usize)>,
    omitted: u64,
}

impl Output {
    /// Begins, with the bytes that may be sent in all.
    pub(crate) fn new(limit: u64) -> Self {
        let head_left = head_bytes(limit);
        let tail_limit = usize::try_from(limit - head_left).unwrap_or(usize::MAX);
        Self { head_left, tail_limit, tail: VecDeque::new(), runs: VecDeque::new(), omitted: 0 }
    }

    /// Takes what was read, and gives back the part that is sent at once.
    pub(crate) fn take<'a>(&mut self, stream: Stream, bytes: &'a [u8]) -> &'a [u8] {
        let now = usize::try_from(self.head_left).unwrap_or(usize::MAX).min(bytes.len());
        let (head, rest) = bytes.split_at(now);
        self.head_left -= head.len() as u64;
        self.keep(stream, rest);
        head
    }

    /// Ends: the kept ending, in pieces that fit into a frame, and the number of dropped bytes.
    pub(crate) fn finish(mut self) -> (Vec<(Stream, Vec<u8>)>, u64) {
        let mut pieces = Vec::new();
        for (stream, mut length) in std::mem::take(&mut self.runs) {
            while length > 0 {
                let piece = length.min(MAX_OUTPUT_BYTES);
                pieces.push((stream, self.tail.drain(..piece).collect()));
                length -= piece;
            }
        }
        (pieces, self.omitted)
    }

    fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        let skipped = bytes.len().saturating_sub(self.tail_limit);
        let (skipped, kept) = bytes.split_at(skipped);
        self.drop_oldest((self.tail.len() + kept.len()).saturating_sub(self.tail_limit));
        self.omitted += skipped.len() as u64;
        if kept.is_empty() {
            return;
        }
        self.tail.extend(kept);
        match self.runs.back_mut() {
            Some((last, length)) if *last == stream => *length += kept.len(),
            Some(_) | None => self.runs.push_back((stream, kept.len())),
        }
    }

    fn drop_oldest(&mut self, count: usize) {
        self.tail.drain(..count);
        self.omitted += count as u64;
        let mut left = count;
        while let Some((_, length)) = self.runs.front_mut().filter(|_| left > 0) {
            let part = left.min(*length);
            *length -= part;
            left -= part;
            if *length == 0 {
                self.runs.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_beginning_and_the_ending_arrive_and_the_rest_is_counted(
            chunks in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..30)), 0..30),
            limit in 0u64..200,
        ) {
            let mut output = Output::new(limit);
            let mut written = Vec::new();
            let mut sent = Vec::new();
            for (error, bytes) in &chunks {
                let stream = if *error { Stream::Stderr } else { Stream::Stdout };
                written.extend(bytes.iter().map(|byte| (stream, *byte)));
                sent.extend(output.take(stream, bytes).iter().map(|byte| (stream, *byte)));
                prop_assert!(output.tail.len() <= output.tail_limit);
            }
            let (pieces, omitted) = output.finish();
            let head = sent.len();
            sent.extend(pieces.iter().flat_map(|(stream, bytes)| bytes.iter().map(|byte| (*stream, *byte))));
            prop_assert_eq!(sent.len() as u64, (written.len() as u64).min(limit));
            prop_assert_eq!(omitted, (written.len() - sent.len()) as u64);
            prop_assert_eq!(&sent[..head], &written[..head]);
            prop_assert_eq!(&sent[head..], &written[written.len() - (sent.len() - head)..]);
            prop_assert!(omitted == 0 || head as u64 == head_bytes(limit));
        }
    }

    #[test]
    fn a_long_ending_is_cut_into_pieces_that_fit_a_frame() {
        let mut output = Output::new(1 << 20);
        let head = output.take(Stream::Stdout, &vec![0; 1 << 20]).len();
        let (pieces, omitted) = output.finish();
        assert_eq!((head, omitted), (1 << 19, 0));
        assert!(pieces.iter().all(|(_, bytes)| bytes.len() == MAX_OUTPUT_BYTES));
    }
}
