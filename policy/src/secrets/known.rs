//! Known values, found in a text all at once.
//!
//! A workspace may hold very many values, and each answer and each line of progress is looked through. So one automaton finds
//! all of them, and its time grows with the text, not with their number. What no agent should see is not all ours: no value
//! costs more than [`PIECE`], and all of them together no more than [`MOST_BYTES`].

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

/// Bytes of all values that are looked for. The automaton takes some fifty times as many.
pub const MOST_BYTES: usize = 2 << 20;

/// A longer value is looked for in pieces of so many bytes, each of which overlaps with the next.
const PIECE: usize = 256;

/// Values, ready to be found.
#[derive(Debug)]
pub(super) struct Known {
    automaton: AhoCorasick,
    /// The value, by its place, that each pattern is a piece of.
    owners: Vec<usize>,
}

/// A place of a text that has values in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) bytes: Range<usize>,
    /// The place of the value that begins it.
    pub(super) value: usize,
}

impl Known {
    /// Values to look for; empty ones are none. [`None`] when there is nothing to look for.
    ///
    /// Beyond [`MOST_BYTES`] the longest are left out: so the most of them are looked for.
    pub(super) fn new<'a>(values: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut values: Vec<(usize, &str)> = values.enumerate().filter(|(_, value)| !value.is_empty()).collect();
        values.sort_by_key(|(_, value)| value.len());
        let mut left = MOST_BYTES;
        let (mut patterns, mut owners) = (Vec::new(), Vec::new());
        for (place, value) in values {
            match left.checked_sub(value.len()) {
                Some(rest) => left = rest,
                None => break,
            }
            for piece in pieces_of(value) {
                patterns.push(piece);
                owners.push(place);
            }
        }
        if patterns.is_empty() {
            return None;
        }
        // Its only error is more than 2^31 states, of which there are no more than bytes.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(patterns)
            .ok()?;
        Some(Self { automaton, owners })
    }

    /// How many of the values are left out, as [`Known::new`] leaves them out.
    pub(super) fn left_out<'a>(values: impl Iterator<Item = &'a str>) -> u64 {
        let mut lengths: Vec<usize> = values.map(str::len).collect();
        lengths.sort_unstable();
        let mut left = MOST_BYTES;
        let is_taken = |length: &&usize| left.checked_sub(**length).map(|rest| left = rest).is_some();
        let taken = lengths.iter().take_while(is_taken).count();
        (lengths.len() - taken) as u64
    }

    /// Whether a text holds one of the values.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.automaton.is_match(text)
    }

    /// The places of a text that hold values, in order. Values that lie over each other are one place.
    pub(super) fn find(&self, text: &str) -> Vec<Found> {
        let mut all: Vec<Found> = Vec::new();
        let mut from = 0;
        while let Some(found) = self.automaton.find(Input::new(text).range(from..)) {
            let value = self.owners.get(found.pattern().as_usize()).copied().unwrap_or_default();
            match all.last_mut().filter(|last| found.start() < last.bytes.end) {
                Some(last) => last.bytes.end = last.bytes.end.max(found.end()),
                None => all.push(Found { bytes: found.range(), value }),
            }
            // Another may begin within this one, and go on behind it.
            from = found.start() + 1;
        }
        all
    }
}

/// A value's pieces, each overlapping with the next.
fn pieces_of(value: &str) -> impl Iterator<Item = &str> {
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let from = start?;
        let end = value.floor_char_boundary(from + PIECE);
        let is_last = end == value.len();
        // The last is as long as the others: a short end is in many a text.
        let from = if is_last { value.floor_char_boundary(value.len().saturating_sub(PIECE)) } else { from };
        start = (!is_last).then(|| value.floor_char_boundary(end - 1));
        value.get(from..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(values: &[&str], text: &str) -> Vec<(String, usize)> {
        let found = Known::new(values.iter().copied()).unwrap().find(text);
        found.into_iter().map(|found| (text.get(found.bytes).unwrap().to_owned(), found.value)).collect()
    }

    #[test]
    fn values_that_lie_over_each_other_are_one_place() {
        let found = places(&["abcdef", "defghi", "abc", "", "hij"], "x abcdefghijk abc, abcabc");
        let expected = [("abcdefghij", 0), ("abc", 2), ("abc", 2), ("abc", 2)];
        assert_eq!(found, expected.map(|(text, value)| (text.to_owned(), value)));
        assert!(Known::new(["", ""].into_iter()).is_none());
    }

    #[test]
    fn a_long_value_is_found_whole_in_pieces_of_the_same_length() {
        for length in [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE - 1, 2 * PIECE, 10 * PIECE + 7] {
            let value: String = (0_u32..).map(|at| format!("{at}é-")).take(length).collect();
            let value = value.get(..value.floor_char_boundary(length)).unwrap();
            assert_eq!(places(&[value], &format!("a{value}b")), [(value.to_owned(), 0)], "{length}");
            assert!(pieces_of(value).all(|piece| piece.len() + 4 >= length.min(PIECE)), "{length}");
        }
    }

    #[test]
    fn beyond_the_bound_the_most_values_are_looked_for() {
        let long = "l".repeat(MOST_BYTES);
        let known = Known::new([long.as_str(), "short-value-1"].into_iter()).unwrap();
        assert!(known.is_in("a short-value-1") && !known.is_in(&long));
        assert_eq!(Known::left_out([long.as_str(), "short-value-1"].into_iter()), 1);
        assert_eq!(Known::left_out(["", "short-value-1"].into_iter()), 0);
    }
}
