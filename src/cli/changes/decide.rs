//! `cofferdam changes apply|discard`.

use cofferdam_sandboxes::{Reason, Released, TreePath};

use super::{
    super::{
        exit::Exit,
        terminal::{Mark, note, print},
    },
    Desk, Order, not_done, patience,
    show::nothing_there,
};
use crate::{audit::Action, handed_back};

impl Desk {
    pub(super) fn apply(&self, Order { chosen, generation }: &Order) -> Result<Exit, Exit> {
        let paths = self.chosen(chosen)?;
        let secrets = self.secrets()?;
        self.announce(Action::Apply, &paths, None)?;
        let released = match generation {
            None => self.session.apply(&paths, &secrets, &patience()),
            Some(generation) => self.session.apply_as_of(*generation, &paths, &secrets, &patience()),
        };
        let Released { order, applied, held, notes } = released.map_err(|error| not_done(&error))?;
        for change in &applied {
            print(format_args!("{} {}", self.colour.paint(Mark::Good, "applied"), change.path));
        }
        for held in &held {
            let still = self.colour.paint(Mark::Warn, "still held");
            let why = match &held.reason {
                Reason::Conflict => {
                    "you changed it since: `cofferdam changes diff` shows both sides, and ordering it again \
                                     puts the agent's version in the place of yours"
                        .to_owned()
                }
                reason => reason.to_string(),
            };
            print(format_args!("{still} {}: {why}", held.change.path));
        }
        for note in &notes {
            print(format_args!("note: {}", handed_back::note(note)));
        }
        let exit = match (applied.is_empty(), held.is_empty()) {
            (true, true) => nothing_there(&paths),
            (false, true) => Exit::Success,
            (true | false, false) => Exit::Person,
        };
        let undo = (!applied.is_empty()).then_some(order);
        if let Some(order) = &undo {
            let text = format_args!("`cofferdam changes undo {order}` takes it back");
            print(self.colour.paint(Mark::Dim, text));
        }
        self.record(Action::Apply, &applied, undo)?;
        Ok(exit)
    }

    pub(super) fn discard(&self, Order { chosen, generation }: &Order) -> Result<Exit, Exit> {
        let paths = self.chosen(chosen)?;
        self.announce(Action::Discard, &paths, None)?;
        let discarded = match generation {
            None => self.session.discard(&paths, &patience()),
            Some(generation) => self.session.discard_as_of(*generation, &paths, &patience()),
        };
        let discarded = discarded.map_err(|error| not_done(&error))?;
        for change in &discarded {
            print(format_args!("{} {}", self.colour.paint(Mark::Warn, "discarded"), change.path));
        }
        let is_named = |path: &TreePath| paths.iter().any(|named| path.is_within(named));
        if discarded.iter().any(|change| !is_named(&change.path)) {
            note("cofferdam: what belongs to the same move was discarded with it");
        }
        let exit = if discarded.is_empty() { nothing_there(&paths) } else { Exit::Success };
        self.record(Action::Discard, &discarded, None)?;
        Ok(exit)
    }
}
