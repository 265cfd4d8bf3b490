//! A thousand changed files handed back, beside a plain program that makes the same changes.
//!
//! The goal is less than a second beyond the cost of writing them: the difference of the medians says whether it is met.
//! The plain program waits until its files are on the disk, as a hand-back does.

use std::{fs, path::Path, time::Duration};

use super::table::Row;
use crate::step::{Error, error, output, program, target};

/// The example that is measured.
pub(super) const EXAMPLE: &str = "hand_back";

/// Measurements of each kind. Each writes a thousand files four times.
const ROUNDS: usize = 10;

/// The rows of new files and of edited ones: the plain program first, and the whole call second.
pub(super) fn measure(folder: &Path) -> Result<Vec<(String, Vec<Row>)>, Error> {
    let folder = folder.join("hand_back");
    fs::create_dir(&folder).map_err(|source| error(format!("make {}: {source}", folder.display())))?;
    let mut example = program(target().join("release/examples").join(EXAMPLE));
    let text = output(example.arg(ROUNDS.to_string()).arg(&folder))?;
    Ok(["new", "edited"].map(|kind| (format!("1,000 {kind} files handed back"), rows(&text, kind))).into())
}

fn rows(text: &str, kind: &str) -> Vec<Row> {
    let names =
        ["plain program, then syncfs", "cofferdam, whole call", "  open", "  execute", "  close", "  hand back"];
    let mut rows = names.map(Row::new);
    for line in text.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ')) {
        let times: Vec<Duration> =
            line.split(' ').filter_map(|number| number.parse().ok()).map(Duration::from_nanos).collect();
        let [plain, parts @ ..] = times.as_slice() else { continue };
        let whole = parts.iter().sum();
        for (row, time) in rows.iter_mut().zip([*plain, whole].iter().chain(parts)) {
            row.times.push(*time);
        }
    }
    rows.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_example_become_rows_of_their_kind() {
        let rows = rows("new 9 1 2 3 4\nedited 90 10 20 30 40\nnew 9 1 2 3 5\n", "new");
        let times: Vec<Vec<u64>> = rows
            .iter()
            .map(|row| row.times.iter().map(|time| u64::try_from(time.as_nanos()).unwrap()).collect())
            .collect();
        assert_eq!(times, [[9, 9], [10, 11], [1, 1], [2, 2], [3, 3], [4, 5]]);
    }
}
