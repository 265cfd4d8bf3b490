//! What was tried and what came of it, as one line of JSON.
//!
//! The probe never decides whether a result is right: it may be the very thing under attack, and expectations belong
//! to the harness outside.

use std::{
    fmt::{Display, Write as _},
    io::{self, Write as _},
};

use crate::kernel;

/// The attempts of one row, in order.
#[derive(Debug)]
pub(crate) struct Record {
    row: String,
    attempts: Vec<(String, String)>,
}

impl Record {
    /// An empty record of `row`.
    pub(crate) fn new(row: &str) -> Self {
        Self { row: row.to_owned(), attempts: Vec::new() }
    }

    /// Notes a result.
    pub(crate) fn note(&mut self, what: impl Into<String>, result: impl Display) {
        self.attempts.push((what.into(), result.to_string()));
    }

    /// Tries something in a child, so that what it changes (namespaces, limits, its own death) ends with it.
    pub(crate) fn attempt(&mut self, what: impl Into<String>, attempt: impl FnOnce() -> String) {
        let result = kernel::in_child(attempt);
        self.note(what, result);
    }

    /// Prints the record as one line.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut line = format!("{{\"row\":{},\"attempts\":[", quoted(&self.row));
        for (number, (what, result)) in self.attempts.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let _ = write!(line, "{comma}{{\"what\":{},\"result\":{}}}", quoted(what), quoted(result));
        }
        line.push_str("]}\n");
        let mut stdout = io::stdout().lock();
        stdout.write_all(line.as_bytes())?;
        stdout.flush()
    }
}

/// Prints a line at once, for a harness that waits for it.
pub(crate) fn announce(line: &str) {
    let mut stdout = io::stdout().lock();
    // Nobody reads any more: then nobody waits either.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// A JSON string (RFC 8259, section 7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
