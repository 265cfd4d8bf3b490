//! `cofferdam policy check|show`: is the policy right, and what does it say in the end.

use std::path::Path;

use clap::Subcommand;

use super::{
    call::unusable,
    exit::Exit,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::{
    audit::record::hex,
    config::ConfigError,
    server::{Setup, Unusable, load_policy},
};

/// Checks or shows the policy.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Loads the policy and runs the examples in its rules
    Check,
    /// Shows the policy that is in force: builtin and yours together
    Show,
}

/// Runs the command.
#[must_use]
pub(super) fn run(command: &PolicyCommand, setup: &Setup, colour: Colour) -> Exit {
    let loaded = match (command, load_policy(setup, &setup.workspace)) {
        // What it says can be judged anywhere. Said of `/`, which can be no workspace and holds no file for that check.
        (PolicyCommand::Check, Err(Unusable::Config(place @ ConfigError::PolicyInWorkspace { .. }))) => {
            note(format_args!("{} a server will refuse to {place}", colour.paint(Mark::Warn, "warning:")));
            load_policy(setup, Path::new("/"))
        }
        (PolicyCommand::Check | PolicyCommand::Show, loaded) => loaded,
    };
    let policy = match loaded {
        Ok(policy) => policy,
        Err(error) => {
            note(format_args!("cofferdam: failed to {}", causes(&error)));
            return unusable(&error);
        }
    };
    match command {
        PolicyCommand::Check => {
            for warning in policy.warnings() {
                print(format_args!("{} {warning}", colour.paint(Mark::Warn, "warning:")));
            }
            print(format_args!("{} sha256 {}", colour.paint(Mark::Good, "right"), hex(&policy.sha256())));
        }
        PolicyCommand::Show => print(policy.effective().trim_end()),
    }
    Exit::Success
}
