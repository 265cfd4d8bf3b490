//! Reads and writes durations as people do: `1h 30m`, `45s`, `2d`.
//!
//! A small real project for Cofferdam's examples: no dependencies, a few tests of each kind.
//!
//! ```
//! let seconds = stopwatch_text::parse("1h 30m").unwrap();
//! assert_eq!(seconds, 5400);
//! assert_eq!(stopwatch_text::format(seconds), "1h 30m");
//! ```

use std::fmt;

/// Units from the longest, with their length in seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseError {
    /// There is nothing in it.
    Empty,
    /// A part is not a number followed by a unit.
    Part(String),
    /// It is longer than can be counted in seconds.
    TooLong,
}

impl fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("the duration is empty"),
            Self::Part(part) => write!(formatter, "`{part}` is not a number with one of the units d, h, m, s"),
            Self::TooLong => formatter.write_str("the duration is too long"),
        }
    }
}

impl std::error::Error for ParseError {}

/// Reads a duration in seconds.
///
/// # Errors
/// [`ParseError`] names the part that could not be read.
pub fn parse(text: &str) -> Result<u64, ParseError> {
    let mut total = 0u64;
    let mut parts = 0;
    for part in text.split_whitespace() {
        let seconds = parse_part(part)?;
        total = total.checked_add(seconds).ok_or(ParseError::TooLong)?;
        parts += 1;
    }
    if parts == 0 {
        return Err(ParseError::Empty);
    }
    Ok(total)
}

fn parse_part(part: &str) -> Result<u64, ParseError> {
    let wrong = || ParseError::Part(part.to_owned());
    let unit = part.chars().last().ok_or_else(wrong)?;
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: u64 = part[..part.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    number.checked_mul(*length).ok_or(ParseError::TooLong)
}

/// Writes a number of seconds with the fewest units.
pub fn format(seconds: u64) -> String {
    if seconds == 0 {
        return "0s".to_owned();
    }
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, length) in UNITS {
        if rest >= length {
            parts.push(format!("{}{name}", rest / length));
            rest %= length;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_has_its_length() {
        assert_eq!(parse("1d"), Ok(86_400));
        assert_eq!(parse("1h"), Ok(3_600));
        assert_eq!(parse("1m"), Ok(60));
        assert_eq!(parse("1s"), Ok(1));
    }

    #[test]
    fn parts_add_up_in_any_order() {
        assert_eq!(parse("30m 1h"), parse("1h 30m"));
    }

    #[test]
    fn nothing_is_no_duration() {
        assert_eq!(parse("  "), Err(ParseError::Empty));
    }

    #[test]
    fn the_wrong_part_is_named() {
        assert_eq!(parse("1h 3x"), Err(ParseError::Part("3x".to_owned())));
        assert_eq!(parse("h"), Err(ParseError::Part("h".to_owned())));
        assert_eq!(parse("-1s"), Err(ParseError::Part("-1s".to_owned())));
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        assert_eq!(parse("99999999999999999999s"), Err(ParseError::Part("99999999999999999999s".to_owned())));
        assert_eq!(parse("18446744073709551615d"), Err(ParseError::TooLong));
    }

    #[test]
    fn zero_is_written_with_a_unit() {
        assert_eq!(format(0), "0s");
    }
}
