//! `cofferdam changes apply|discard`.

use cofferdam_sandboxes::{Reason, Released, TreePath, What};

use super::{
    super::{
        exit::Exit,
        terminal::{Mark, note, print},
    },
    Desk, Order, failed, not_done, patience, to_be_named,
};
use crate::{audit::Action, handed_back, orders::NO_WORDS};

impl Desk {
    pub(super) fn apply(&self, Order { chosen, generation }: &Order) -> Result<Exit, Exit> {
        let generation = generation.as_ref().map(|seen| self.confirm(seen)).transpose()?;
        let paths = self.chosen(chosen)?;
        let secrets = self.secrets()?;
        self.announce(Action::Apply, &paths, None)?;
        let released = match generation {
            None => self.session.apply(&paths, &secrets, &patience()),
            Some(generation) => self.session.apply_as_of(generation, &paths, &secrets, &patience()),
        };
        let Released { order, applied, held, notes } = released.map_err(|error| not_done(&error, &self.orders))?;
        for change in &applied {
            print(format_args!("{} {}", self.colour.paint(Mark::Good, "applied"), change.path));
        }
        for held in &held {
            let still = self.colour.paint(Mark::Warn, "still held");
            let why = match &held.reason {
                Reason::Conflict => {
                    let look = self.orders.changes("diff", &NO_WORDS);
                    format!(
                        "you changed it since: `{look}` shows both sides, and ordering it again puts the agent's version in \
                         the place of yours"
                    )
                }
                reason => reason.to_string(),
            };
            print(format_args!("{still} {}: {why}", held.change.path));
        }
        for note in &notes {
            print(format_args!("note: {}", handed_back::note(note)));
        }
        let exit = match (applied.is_empty(), held.is_empty()) {
            (true, true) => self.nothing_there(&paths),
            (false, true) => Exit::Success,
            (true | false, false) => Exit::Person,
        };
        let undo = (!applied.is_empty()).then_some(order);
        if let Some(order) = &undo {
            let undo = self.undo_order(order, &applied, &to_be_named(&applied, &secrets));
            print(self.colour.paint(Mark::Dim, format_args!("`{undo}` takes it back")));
        }
        self.record(Action::Apply, &applied, undo)?;
        Ok(exit)
    }

    pub(super) fn discard(&self, Order { chosen, generation }: &Order) -> Result<Exit, Exit> {
        let generation = generation.as_ref().map(|seen| self.confirm(seen)).transpose()?;
        let paths = self.chosen(chosen)?;
        self.announce(Action::Discard, &paths, None)?;
        // What git keeps of them is listed as one change of `.git`, which is not the repository.
        let commits = self.session.own_reference().map_err(|error| failed(&error))?;
        let discarded = match generation {
            None => self.session.discard(&paths, &patience()),
            Some(generation) => self.session.discard_as_of(generation, &paths, &patience()),
        };
        let discarded = discarded.map_err(|error| not_done(&error, &self.orders))?;
        for change in &discarded {
            let mark = self.colour.paint(Mark::Warn, "discarded");
            match (&change.what, &commits) {
                (What::Folder { .. }, Some(reference)) if change.path.as_path() == ".git" => {
                    print(format_args!("{mark} the session's commits; `{reference}` still has them"));
                }
                _ => print(format_args!("{mark} {}", change.path)),
            }
        }
        let is_named = |path: &TreePath| paths.iter().any(|named| path.is_within(named));
        if discarded.iter().any(|change| !is_named(&change.path)) {
            note("cofferdam: what belongs to the same move was discarded with it");
        }
        let exit = if discarded.is_empty() { self.nothing_there(&paths) } else { Exit::Success };
        self.record(Action::Discard, &discarded, None)?;
        Ok(exit)
    }
}
