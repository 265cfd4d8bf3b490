//! `cofferdam policy accept`: a person says that a workspace's policy file may be gone.

use super::{
    super::{
        exit::Exit,
        terminal::{Colour, Mark, causes, note, print},
    },
    REPOSITORY_FILE, failed, wrong,
};
use crate::{
    audit::{self, Event, Log, PolicyAccepted},
    config::prepare_state,
    policy_files::{forget_repository, read_repository, remembers_repository},
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
    if !remembers_repository(&state, workspace) {
        print(format_args!("no {REPOSITORY_FILE} was known here; there is nothing to accept"));
        return Exit::Success;
    }
    let recorded = Log::open(&state, audit::time::system()).map_err(|error| causes(&error)).and_then(|log| {
        let accepted =
            PolicyAccepted { workspace: workspace.to_string_lossy().into_owned(), session: setup.session.clone() };
        log.append(vec![Event::PolicyAccepted(accepted)]).map_err(|error| causes(&error))
    });
    if let Err(why) = recorded {
        note(format_args!("cofferdam: nothing was done: the order failed to be recorded: {why}"));
        return Exit::NoAudit;
    }
    match forget_repository(&state, workspace) {
        // Another order was quicker where it is not there any more.
        Ok(true | false) => {
            let text = format!("{} goes on without a {REPOSITORY_FILE}; start the client again", workspace.display());
            print(format_args!("{} {text}", colour.paint(Mark::Good, "accepted")));
            Exit::Success
        }
        Err(error) => wrong(format_args!("failed to {}", causes(&error))),
    }
}
