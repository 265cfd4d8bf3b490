//! `cofferdam changes undo`.

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use cofferdam_sandboxes::{Change, Held, Reason, TreePath, UndoError, Undone};

use super::{
    super::{
        exit::Exit,
        terminal::{Mark, note, print},
    },
    Desk, failed, not_done, patience, to_be_named,
};
use crate::{audit::Action, handed_back};

/// Takes back what a call changed.
#[derive(Debug, Args)]
pub(in crate::cli) struct Undo {
    /// The call, as `history`, `audit show` or the agent's result names it; its beginning is enough
    call: String,
    /// Files or folders, with all that is below; without any, all that the call changed
    paths: Vec<PathBuf>,
}

impl Desk {
    pub(super) fn undo(&self, Undo { call, paths }: &Undo) -> Result<Exit, Exit> {
        let paths = self.paths(paths)?;
        let secrets = self.secrets()?;
        let all = [TreePath::root()];
        self.announce(Action::Undo, if paths.is_empty() { &all } else { &paths }, Some(call))?;
        let undone = self.session.undo(call, &paths, &secrets, &patience()).map_err(|error| match error {
            UndoError::Session(error) => not_done(&error, &self.orders),
            error @ (UndoError::Unknown { .. } | UndoError::Ambiguous { .. }) => failed(&error),
        })?;
        let Undone { order, applied, refused, unnamed, stay, gone, notes } = undone;
        for change in &applied {
            let done = self.colour.paint(Mark::Good, "undone");
            print(format_args!("{done} {} ({})", change.path, handed_back::kind(&change.what)));
        }
        for held in &refused {
            let not = self.colour.paint(Mark::Warn, if applied.is_empty() { "not undone" } else { "held instead" });
            print(format_args!("{not} {}: {}", held.change.path, why(held)));
        }
        for folder in &stay {
            print(format_args!("{folder} stays: other files are in it"));
        }
        for path in &gone {
            print(format_args!("{path} is gone already"));
        }
        for note in &notes {
            print(format_args!("note: {}", handed_back::note(note)));
        }
        let exit = match (applied.is_empty(), refused.is_empty()) {
            (false, true) => Exit::Success,
            (true, false) => {
                let instead = self.what_would_do(call, &paths, (&refused, unnamed))?;
                note(format_args!("cofferdam: nothing was done{instead}"));
                Exit::Person
            }
            (false, false) => Exit::Person,
            (true, true) if !gone.is_empty() => Exit::Success,
            (true, true) => {
                note("cofferdam: the call changed nothing there");
                Exit::Failed
            }
        };
        let order = (!applied.is_empty()).then_some(order);
        if let Some(order) = &order {
            let again = self.undo_order(order, &applied, &to_be_named(&applied, &secrets));
            print(self.colour.paint(Mark::Dim, format_args!("`{again}` does it again")));
        }
        self.record(Action::Undo, &applied, order)?;
        Ok(exit)
    }

    /// What to order instead of an undo of which all was refused, as far as told (`unnamed` paths are not).
    fn what_would_do(
        &self,
        call: &str,
        paths: &[TreePath],
        (refused, unnamed): (&[Held], usize),
    ) -> Result<String, Exit> {
        if unnamed > 0 {
            return Ok(format!(
                "; {unnamed} more files with credentials or repositories would go, each to be named as well: undo smaller \
                 parts of it"
            ));
        }
        let calls = self.session.undoable().map_err(|error| failed(&error))?;
        let mut changes: Vec<Change> =
            calls.into_iter().find(|known| known.call.starts_with(call)).map(|known| known.changes).unwrap_or_default();
        changes.retain(|change| paths.is_empty() || paths.iter().any(|path| change.path.is_within(path)));
        if refused.iter().all(|held| held.reason.must_be_named()) {
            let named = |held: &Held| match &held.reason {
                Reason::ContainsSecret { path } | Reason::ContainsRepository { path } => {
                    TreePath::new(path).unwrap_or_else(|| held.change.path.clone())
                }
                _ => held.change.path.clone(),
            };
            let named: Vec<TreePath> = refused.iter().map(named).collect::<BTreeSet<_>>().into_iter().collect();
            let these = if named.len() == 1 { "it" } else { "them" };
            return Ok(format!("; an order that names {these} does it: `{}`", self.undo_order(call, &changes, &named)));
        }
        let is_refused = |change: &Change| refused.iter().any(|held| held.change.path == change.path);
        Ok(match changes.iter().all(is_refused) {
            true => String::new(),
            false => "; name the other paths to undo those alone".to_owned(),
        })
    }
}

fn why(held: &Held) -> String {
    match &held.reason {
        Reason::Conflict => "it is not any more as the call left it".to_owned(),
        Reason::BuildsOnHeld => "a change of it is held: apply or discard that first".to_owned(),
        reason => reason.to_string(),
    }
}
