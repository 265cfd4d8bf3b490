//! The rows. Each is a function that plays one row of the table and says whether it holds.

mod budgets;
mod changes;
mod files;
mod kernel;
mod lifecycle;
mod named;
mod planted;
mod programs;
mod races;
mod repository;
mod secrets;
mod sharing;
mod surroundings;
mod works;

use crate::{stage::Stage, table::Cell};

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Its name: that of `security.md`, or `W` and a number for an ordinary thing that must work.
    pub(crate) id: &'static str,
    /// What it claims.
    pub(crate) claim: &'static str,
    /// Plays it.
    pub(crate) play: fn(&Stage) -> Result<Cell, String>,
}

/// Every row, in the order of the table: by letter and number.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = [
        surroundings::ROWS,
        files::ROWS,
        races::ROWS,
        changes::ROWS,
        secrets::ROWS,
        lifecycle::ROWS,
        budgets::ROWS,
        kernel::ROWS,
        planted::ROWS,
        named::ROWS,
        repository::ROWS,
        sharing::ROWS,
        works::ROWS,
        programs::ROWS,
    ]
    .concat();
    // Letters sort as they should, and every number has two digits.
    rows.sort_by_key(|row| row.id);
    rows
}

/// A short way to write a row down.
pub(crate) const fn row(id: &'static str, claim: &'static str, play: fn(&Stage) -> Result<Cell, String>) -> Row {
    Row { id, claim, play }
}

/// Fails a row unless something is so.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
