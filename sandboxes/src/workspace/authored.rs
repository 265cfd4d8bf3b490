//! Files of listed names that agents wrote with file tools, as they wrote them.
//!
//! A file of such a name is masked whoever made it. But its values are no secret to who wrote them, and an agent could choose them
//! so that lines of other files are taken out of every answer. So no values are learnt from what a call was given as its text,
//! until somebody else has changed it. From all else they are: a file that a call moves, or that a program unpacks, may be a
//! person's. What is remembered is a path with a digest, never a digest alone: a copy of a real
//! file elsewhere says nothing of the real one. Where this cannot be remembered or read, values are looked for.

use std::{collections::BTreeMap, fs, io};

use super::{
    beneath::{self, Found},
    gate::listed::MOST_BY_AGENTS,
    held::ledger::write_atomically,
    tree_path::TreePath,
    version::digest,
    workspace::Workspace,
};

/// The file in a workspace's state.
const NAME: &str = "authored.json";

/// Files that are remembered: twice as many as agents may make, since some of them are gone.
const MOST: usize = 2 * MOST_BY_AGENTS;

/// The files, each with the SHA-256 of what a call wrote, in hexadecimal.
#[derive(Debug, Default)]
pub(super) struct Authored {
    files: BTreeMap<TreePath, String>,
}

impl Authored {
    /// What is remembered of a workspace.
    pub(super) fn load(workspace: &Workspace) -> Self {
        let read = || -> io::Result<Vec<(TreePath, String)>> {
            Ok(serde_json::from_slice(&fs::read(workspace.state().join(NAME))?)?)
        };
        match read() {
            Ok(files) => Self { files: files.into_iter().collect() },
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, "which files agents made is not known; their values are looked for too");
                }
                Self::default()
            }
        }
    }

    /// Whether an agent wrote the file at `path`.
    pub(super) fn has(&self, path: &TreePath) -> bool {
        self.files.contains_key(path)
    }

    /// Whether the file at `path` is what an agent wrote.
    pub(super) fn wrote(&self, path: &TreePath, content: &[u8]) -> bool {
        self.files.get(path).is_some_and(|known| digest(content).is_ok_and(|digest| digest == *known))
    }

    /// Remembers files, with the digests of what a call wrote.
    pub(super) fn remember(mut self, workspace: &Workspace, files: Vec<(TreePath, String)>) -> io::Result<()> {
        let newest: Vec<TreePath> = files.iter().map(|(path, _)| path.clone()).collect();
        self.files.extend(files);
        if self.files.len() > MOST {
            let is_there = |path: &TreePath| matches!(beneath::find(workspace.fd(), path), Ok(Found::Entry(_)));
            self.files.retain(|path, _| newest.contains(path) || is_there(path));
        }
        while self.files.len() > MOST {
            self.files.pop_first();
        }
        let files: Vec<(TreePath, String)> = self.files.into_iter().collect();
        write_atomically(workspace.state(), NAME, &serde_json::to_vec(&files)?).map(drop)
    }

    /// Forgets files.
    pub(super) fn forget(mut self, workspace: &Workspace, paths: &[TreePath]) -> io::Result<()> {
        paths.iter().for_each(|path| drop(self.files.remove(path)));
        self.remember(workspace, Vec::new())
    }
}
