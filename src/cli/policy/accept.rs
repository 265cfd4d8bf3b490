//! `cofferdam policy accept`: a person says that a workspace's policy file may be gone.

use super::{
    super::{
        exit::Exit,
        terminal::{Colour, Mark, causes, print},
    },
    REPOSITORY_FILE, failed, wrong,
};
use crate::{
    config::prepare_state,
    policy_files::{forget_repository, read_repository},
    server::{Setup, Unusable, open_session},
};

/// Forgets that the workspace had a file, if it has none now.
pub(super) fn run(setup: &Setup, colour: Colour) -> Exit {
    let opened = prepare_state(&setup.folders.state)
        .map_err(Unusable::Config)
        .and_then(|state| Ok((open_session(setup, &state)?, state)));
    let (session, state) = match opened {
        Ok(opened) => opened,
        Err(error) => return failed(&error),
    };
    let workspace = session.workspace().root();
    match read_repository(workspace) {
        Ok(None) => {}
        Ok(Some(_)) => {
            print(format_args!("{REPOSITORY_FILE} is there and in force; there is nothing to accept"));
            return Exit::Success;
        }
        Err(error) => return failed(&Unusable::Repository(error)),
    }
    match forget_repository(&state, workspace) {
        Ok(true) => {
            let text = format!("{} goes on without a {REPOSITORY_FILE}; start the client again", workspace.display());
            print(format_args!("{} {text}", colour.paint(Mark::Good, "accepted")));
            Exit::Success
        }
        Ok(false) => {
            print(format_args!("no {REPOSITORY_FILE} was known here; there is nothing to accept"));
            Exit::Success
        }
        Err(error) => wrong(format_args!("failed to {}", causes(&error))),
    }
}
