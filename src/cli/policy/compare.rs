//! `cofferdam policy diff`: what a changed file changes, call by call.

use std::path::PathBuf;

use clap::Args;
use cofferdam_policy::Direction;

use super::{
    super::{
        exit::Exit,
        terminal::{Colour, Mark, print},
    },
    ReadAs, load_as, wrong,
};
use crate::{plain, server::Setup};

/// Shows every call that two policy files answer otherwise
///
/// Both are tried on every kind of call that their rules tell apart, and their limits, protected paths, required
/// budgets and variables are compared. Ends with 3 if the second allows anything more, so that CI can stop there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cofferdam policy diff policy.toml candidate.toml
  git show main:.cofferdam.toml > /tmp/before.toml
  cofferdam policy diff --as repository /tmp/before.toml .cofferdam.toml")]
pub(in super::super) struct Diff {
    /// The file as it is
    before: PathBuf,
    /// The file as it would be
    after: PathBuf,
    /// Which layer both are read as
    #[arg(long = "as", value_enum, default_value = "operator")]
    layer: ReadAs,
}

/// Compares them.
pub(super) fn run(diff: &Diff, setup: &Setup, colour: Colour) -> Exit {
    let load = |file| load_as(file, diff.layer, setup);
    let (before, after) = match (load(&diff.before), load(&diff.after)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(why), _) | (_, Err(why)) => return wrong(why),
    };
    let difference = match before.difference(&after) {
        Ok(difference) => difference,
        Err(error) => return wrong(format_args!("failed to {error}")),
    };
    for change in &difference.changes {
        let mark = match change.direction {
            Direction::Narrowed => Mark::Good,
            Direction::Widened => Mark::Bad,
        };
        let text = format!("{}: {} → {}", change.what, change.before, change.after);
        print(format_args!("{} {}", colour.paint(mark, change.direction), plain::lines(&text)));
    }
    let widened = difference.changes.iter().filter(|change| change.direction == Direction::Widened).count();
    match difference.changes.len() {
        0 => print("every call is answered alike"),
        all => print(format_args!("{widened} widened, {} narrowed", all - widened)),
    }
    if difference.widens() { Exit::Person } else { Exit::Success }
}
