//! What is written can be read again.

use stopwatch_text::{format, parse};

#[test]
fn every_second_of_two_days_survives() {
    for seconds in 0..2 * 86_400 {
        assert_eq!(parse(&format(seconds)), Ok(seconds));
    }
}

#[test]
fn the_shortest_form_is_written() {
    assert_eq!(format(86_400 + 60), "1d 1m");
    assert_eq!(format(59), "59s");
}
