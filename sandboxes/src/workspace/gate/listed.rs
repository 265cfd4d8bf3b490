//! What a call's changes bring of masked text, and what they do with names on the list of files with credentials.

use std::{collections::BTreeMap, io};

use super::assessment::Assessment;
use crate::workspace::{
    beneath::{self, Found},
    change::{Reason, What},
    tree_path::TreePath,
    version::digest,
};

/// Names on the list of files with credentials that a workspace may have for an agent to add one more. Each costs some system
/// calls in each call, and is read (up to 1 MiB) and masked again by the call after one of them changed; far below what refuses
/// all calls ([`crate::workspace::MaskError::TooMany`]), so that no agent gets there.
pub(in crate::workspace) const MOST_BY_AGENTS: usize = 1_000;

impl Assessment<'_> {
    /// What changes bring of masked text, and what they do with names on the list.
    pub(super) fn listed(&self, changes: &BTreeMap<TreePath, What>) -> io::Result<BTreeMap<TreePath, Reason>> {
        let mut reasons = BTreeMap::new();
        let mut names = self.listed_names;
        for (path, what) in changes {
            let then = self.masked_then.and_then(|then| then.get(path));
            let reason = match then {
                Some(reason) => Some(reason.clone()),
                None => self.listed_one(path, what, changes, &mut names)?,
            };
            if let Some(reason) = reason {
                reasons.insert(path.clone(), reason);
            }
        }
        Ok(reasons)
    }

    fn listed_one(
        &self,
        path: &TreePath,
        what: &What,
        changes: &BTreeMap<TreePath, What>,
        names: &mut usize,
    ) -> io::Result<Option<Reason>> {
        let secrets = self.masks.secrets();
        let candidate = secrets.candidate(path.as_path());
        let pattern = candidate.as_ref().map(|candidate| candidate.pattern().to_owned());
        match what {
            What::File { size, .. } => {
                let file = || beneath::file(self.changeset.upper(), path.as_path());
                if let Some(of) = self.masks.copied(path, *size, || digest(file()?), |of| goes(of, changes))? {
                    return Ok(Some(Reason::MaskedCopy { of }));
                }
                let Some(pattern) = pattern else { return Ok(None) };
                let is_for_use = candidate.is_some_and(|candidate| candidate.is_for_use());
                if is_for_use && self.masks.holds_masked_lines(file()?)? {
                    return Ok(Some(Reason::MaskedLines));
                }
                Ok(self.is_one_name_more(path, names)?.then_some(Reason::ManyListed { pattern }))
            }
            What::Link { .. } => {
                let below = path.name().to_str().and_then(|name| secrets.below_named(name).next());
                Ok(pattern.or(below.map(str::to_owned)).map(|pattern| Reason::WouldMask { pattern }))
            }
            What::Folder { .. } | What::Deleted | What::Special { .. } => Ok(None),
        }
    }

    /// Counts a listed name that is new; says whether it is one more than an agent may add.
    fn is_one_name_more(&self, path: &TreePath, names: &mut usize) -> io::Result<bool> {
        match beneath::find(self.workspace.fd(), path)? {
            Found::Entry(_) => Ok(false),
            Found::Absent { .. } | Found::Blocked(_) => {
                *names += 1;
                Ok(*names > MOST_BY_AGENTS)
            }
        }
    }
}

/// Whether what is at `path` goes by the changes of a call.
fn goes(path: &TreePath, changes: &BTreeMap<TreePath, What>) -> bool {
    let gone = |path: &TreePath| match changes.get(path) {
        Some(What::Deleted) => true,
        Some(What::File { .. } | What::Link { .. } | What::Folder { .. } | What::Special { .. }) | None => false,
    };
    let replaced = |above: &TreePath| match changes.get(above) {
        Some(What::Deleted | What::File { .. } | What::Link { .. }) => true,
        Some(What::Folder { .. } | What::Special { .. }) | None => false,
    };
    gone(path) || path.folders_above().any(|above| replaced(&above))
}
