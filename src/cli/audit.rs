//! `cofferdam audit show|verify`: looks at the audit log.

mod show;

use std::path::Path;

use clap::{Args, Subcommand};

use super::{
    exit::Exit,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::audit;

/// Looks at the audit log.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Shows the last calls and your own orders: when, what, by which rule, with what result
    Show(show::Show),
    /// Checks that no line was changed, removed, added or reordered
    ///
    /// A chain of digests cannot show lines that were cut off at the end, nor a file that was rewritten as a whole.
    /// Keep a copy of the printed head elsewhere, and give it with --head the next time, to notice those.
    Verify(Verify),
}

/// What to compare with.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The head that an earlier check printed: a line with this digest must still be there
    #[arg(long, value_name = "SHA256")]
    head: Option<String>,
}

/// Runs the command on the log below `state`.
#[must_use]
pub(super) fn run(command: &Audit, state: &Path, colour: Colour) -> Exit {
    let path = audit::path(state);
    match command {
        Audit::Show(show) => show::run(show, &path, colour),
        Audit::Verify(Verify { head }) => verify(&path, head.as_deref(), colour),
    }
}

fn verify(path: &Path, kept: Option<&str>, colour: Colour) -> Exit {
    match audit::verify(path, kept) {
        Ok(found) => {
            print(format_args!("{} {}", colour.paint(Mark::Good, "whole"), path.display()));
            print(format_args!("records: {}, calls: {}", found.records, found.intents));
            print(format_args!("calls without an outcome: {}", found.intents_without_outcome));
            print(format_args!("calls lost with a killed server: {}", found.lost));
            print(format_args!("torn lines removed: {}", found.recovered));
            print(format_args!("head: {}", found.head));
            Exit::Success
        }
        Err(error @ audit::Broken::Read(_)) => {
            note(format_args!("cofferdam: failed to {}", causes(&error)));
            Exit::Usage
        }
        Err(error) => {
            print(format_args!("{} {}", colour.paint(Mark::Bad, "broken"), path.display()));
            print(error);
            Exit::Failed
        }
    }
}
