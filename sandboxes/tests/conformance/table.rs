//! The table: what came of each row for each user, printed, and compared with the committed file.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use crate::rows::Row;

/// What a row came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    /// It holds by the kernel.
    Holds,
    /// It is held by a watcher that looks from time to time, and results say so.
    Watched,
    /// It does not hold, and how.
    Fails(String),
    /// Something of the host's was changed or seen, and what. No second try excuses it.
    Breached(String),
}

/// The results of one user, by row.
pub(crate) type Column = BTreeMap<String, Cell>;

/// What stands in the committed file in the place of a cell.
const COMMITTED: &str = include_str!("expected.txt");

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Holds => "holds",
            Self::Watched => "watched",
            Self::Fails(_) => "FAILS",
            Self::Breached(_) => "BREACHED",
        })
    }
}

impl Cell {
    /// One line for the file that a child reports in.
    pub(crate) fn written(&self) -> String {
        match self {
            Self::Holds | Self::Watched => self.to_string(),
            Self::Fails(how) | Self::Breached(how) => format!("{self} {}", how.replace(['\n', '\t'], " ")),
        }
    }

    /// Reads [`Cell::written`].
    pub(crate) fn read(text: &str) -> Self {
        match text {
            "holds" => Self::Holds,
            "watched" => Self::Watched,
            other => match other.strip_prefix("BREACHED ") {
                Some(what) => Self::Breached(what.to_owned()),
                None => Self::Fails(other.strip_prefix("FAILS ").unwrap_or(other).to_owned()),
            },
        }
    }
}

/// The table as it is printed and committed.
pub(crate) fn print(rows: &[Row], root: &Column, ordinary: &Column) -> String {
    let mut text = String::from("row   root     ordinary claim\n");
    for row in rows {
        let cell = |column: &Column| column.get(row.id).map_or_else(|| "-".to_owned(), ToString::to_string);
        let _ = writeln!(text, "{:<5} {:<8} {:<8} {}", row.id, cell(root), cell(ordinary), row.claim);
    }
    text
}

/// What differs between the table and the committed file, in words. Cells of a user who did not play (`-`) and rows that
/// were left out are not compared. Where the file says `watched`, a machine that lends a cgroup may show `holds`.
pub(crate) fn differences(rows: &[Row], root: &Column, ordinary: &Column) -> Vec<String> {
    let committed: BTreeMap<&str, (&str, &str)> = COMMITTED
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, (words.next()?, words.next()?)))
        })
        .collect();
    let mut differences = Vec::new();
    for row in rows {
        let absent = ("absent", "absent");
        let (root_cell, ordinary_cell) = committed.get(row.id).unwrap_or(&absent);
        for (user, column, expected) in [("root", root, root_cell), ("an ordinary user", ordinary, ordinary_cell)] {
            let Some(cell) = column.get(row.id) else { continue };
            let right = match cell {
                Cell::Holds => ["holds", "watched"].contains(expected),
                Cell::Watched => *expected == "watched",
                Cell::Fails(_) | Cell::Breached(_) => false,
            };
            if let Cell::Fails(how) | Cell::Breached(how) = cell {
                differences.push(format!("{} ({}) {cell} for {user}: {how}", row.id, row.claim));
            } else if !right {
                differences.push(format!("{} is {cell} for {user}, and {expected} in the committed table", row.id));
            }
        }
    }
    differences
}

/// Rows of the committed file that no longer exist.
pub(crate) fn forgotten(rows: &[Row]) -> Vec<&'static str> {
    let ids = COMMITTED.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    ids.filter(|id| rows.iter().all(|row| row.id != *id)).collect()
}
