//! A commit that a sandbox made comes out: its objects are copied, read and checked by the host's git, and put into the
//! host's repository as a pack with a ref of the session's own.
//!
//! What the sandbox wrote is only ever *data* here. Loose objects are copied into a repository of our own under names that
//! are hexadecimal digits; `pack-objects` reads them there and writes those that the commit needs and the host lacks into a
//! pipe; `index-pack --strict` computes each object's name from its content, checks it as `git fsck` does and that all it
//! links to is there. So a lie in a name, a link to nothing, a `.gitmodules` that would run a command, and a path like
//! `.git/config` in a tree end the commit. That is what a fetch with `fsckObjects` does, without a protocol and a remote.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs::{DirBuilder, File},
    io::{self, Read},
    os::{fd::AsFd, unix::fs::DirBuilderExt},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam_contract::Ended;

use super::{
    GitError, HostGit, ObjectId, RepositoryError,
    host::{Head, HostRepository, in_git, name, packed_below},
    place,
    placing::{Decided, End, Placing},
    program::pipe,
    standing::{History, Place, compare, reference},
    store::Store,
};
use crate::{
    cancel::Cancel,
    open::Closed,
    workspace::{
        Change, Changeset, Origin, Patience, Reason, Session, SessionError, TreePath, What, beneath,
        delivery::piece,
        held::{
            layer::{Ground, copy_file},
            stack::{Content, Piece, Stack},
        },
    },
};

/// How long a commit waits for others that hand back to the same workspace.
const PATIENCE: Duration = Duration::from_secs(30);

/// A commit that is in the host's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its name.
    pub commit: ObjectId,
    /// The ref that names it.
    pub reference: String,
}

/// Why a commit did not come out of its sandbox. Nothing of it is kept then.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The repository is not as it must be for that.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A hook left another state than a commit does.
    #[error("the repository's hooks or settings left {0}; nothing of the commit is kept")]
    Odd(&'static str),
    /// The host's git failed, or found something wrong with the objects.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Somebody committed in the same session meanwhile, or a hook rewrote what was there.
    #[error(
        "the new commit does not continue the session's history, at {current} now: another call has committed meanwhile, or \
         a hook has rewritten history; nothing of it is kept. Look with git_log, then commit again"
    )]
    Rewritten {
        /// The newest commit, shortened.
        current: String,
    },
    /// A hook took masked copies for changes.
    #[error(
        "the commit would change files that hold credentials and are masked inside, so it would hold a masked copy; nothing \
         of it is kept. The person commits those"
    )]
    Masked,
    /// Another git works in the host's repository.
    #[error("another git is at work in the repository ({file} exists); try again when it is done")]
    Locked {
        /// The lock.
        file: String,
    },
    /// A ref is in the way.
    #[error("refs below {reference} are in the way; a person can remove them with `git update-ref -d`")]
    InTheWay {
        /// The session's ref.
        reference: String,
    },
    /// The kernel refused something.
    #[error("failed to {doing}")]
    Kernel {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// What the session holds could not be read or changed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Session {
    /// Takes the commit that a closed sandbox made into the host's repository, under the session's own ref, and keeps
    /// git's bookkeeping of it for later calls. `None` when it made none.
    ///
    /// # Errors
    /// [`CommitError`]; then nothing names what may have been written to the host's objects.
    pub fn take_commit(
        &self,
        closed: &Closed,
        call: &str,
        git: &HostGit,
        cancel: &Cancel,
    ) -> Result<Option<Committed>, CommitError> {
        let Some(changeset) = &closed.changeset else { return Ok(None) };
        let cancelled = || cancel.why() == Some(Ended::Cancelled);
        let patience = Patience { until: Instant::now() + PATIENCE, cancelled: &cancelled };
        self.take_from((changeset, &closed.masks), call, git, &patience)
    }

    /// The same from what a sandbox wrote.
    pub(super) fn take_from(
        &self,
        (changeset, masks): (&Changeset, &crate::workspace::Masks),
        call: &str,
        git: &HostGit,
        patience: &Patience<'_>,
    ) -> Result<Option<Committed>, CommitError> {
        let _turn = self.turn(patience)?;
        self.workspace().still_there().map_err(SessionError::from)?;
        let host = HostRepository::look(self.workspace())?;
        host.takes_commits(self.workspace())?;
        let Some(commit) = made(changeset, &host.head)? else { return Ok(None) };
        let stack = self.ledger().load().map_err(kernel("read what is held"))?;
        let history = stack.history();
        let current = history.map(|history| &history.head).or(host.head.commit());
        if current == Some(&commit) {
            return Ok(None);
        }
        let base = match history.map(|history| compare(git, self.workspace(), &host, history)).transpose()? {
            None | Some(Place::Same | Place::Behind) => host.head.commit().cloned(),
            Some(Place::Taken | Place::Apart) => {
                let text = "the workspace's branch moved while the commit was made; nothing of it is kept";
                return Err(RepositoryError::Moved(text.to_owned()).into());
            }
        };
        let store = Store::make(git, self.workspace(), &host).map_err(kernel("make a repository for the objects"))?;
        bring_in(&store, changeset, &commit, &[current, base.as_ref()])?;
        if let Some(current) = current
            && !store.is_ancestor(current, &commit)?
        {
            return Err(CommitError::Rewritten { current: current.short().to_owned() });
        }
        let masked: Vec<&Path> = masks.paths().map(TreePath::as_path).collect();
        if !masked.is_empty() && !store.agree_at(current, &commit, &masked)? {
            return Err(CommitError::Masked);
        }
        let path = reference(self.name());
        if packed_below(self.workspace(), &path)? {
            return Err(CommitError::InTheWay { reference: path.to_string() });
        }
        let packs = place::new_packs(self.workspace(), store.trusted());
        let packs = packs.map_err(kernel("look at the repository's packs"))?;
        let mut placing =
            Placing::begin(self, vec![path.clone()], packs).map_err(|(_, source)| self.reference_error(source))?;
        placing.packs(store.trusted()).map_err(kernel("put the objects into the repository"))?;
        placing.write(0, format!("{commit}\n").as_bytes()).map_err(|source| self.reference_error(source))?;
        let next = History {
            branch: host.head.branch().map(|branch| branch.as_path().to_string_lossy().into_owned()),
            base,
            head: commit.clone(),
        };
        let stack = self.with_history(changeset, &stack, &host.head, next, call)?;
        let decided = Decided {
            commit: commit.clone(),
            logs: Vec::new(),
            line: String::new(),
            stack: Some(stack),
            ordered: None,
        };
        match placing.decide(decided).map_err(kernel("finish keeping the commit; the next call goes on with it"))? {
            End::Done { .. } => Ok(Some(Committed { commit, reference: path.to_string() })),
            End::GivenBack => Err(CommitError::Locked { file: format!(".git/{path}.lock") }),
            End::Failed(source) => Err(self.reference_error(source)),
        }
    }

    fn reference_error(&self, source: io::Error) -> CommitError {
        let path = reference(self.name());
        match source.kind() {
            io::ErrorKind::AlreadyExists => CommitError::Locked { file: format!(".git/{path}.lock") },
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
                CommitError::InTheWay { reference: path.to_string() }
            }
            _ => CommitError::Kernel { doing: "write the session's ref", source },
        }
    }

    /// What the session holds with the branch, its log and the index as the sandbox left them, for its view alone.
    fn with_history(
        &self,
        changeset: &Changeset,
        stack: &Arc<Stack>,
        head: &Head,
        history: History,
        call: &str,
    ) -> Result<Stack, CommitError> {
        let failed = kernel("keep the session's own history");
        let origin = Origin::of_call(call);
        let kept = bookkeeping(head);
        let written = changeset.changes().iter().filter(|change| kept.contains(&change.path));
        let pieces: Vec<Piece<'_>> = written
            .filter(|change| matches!(change.what, What::File { .. }))
            .map(|change| {
                let content = Content::Copy { root: changeset.upper(), path: change.path.clone() };
                piece(self.workspace(), change.clone(), Reason::RepositoryState, &origin, content)
            })
            .collect::<io::Result<_>>()
            .map_err(failed)?;
        self.is_within_bounds(stack, &BTreeSet::new(), &pieces)?;
        let ground = Ground::as_it_is(self.workspace().fd());
        let next = stack.next(self.ledger().folder(), ground, &BTreeSet::new(), &pieces);
        let mut next = next.map_err(kernel("keep the session's own history"))?;
        next.history = Some(history);
        Ok(next)
    }
}

fn kernel(doing: &'static str) -> impl FnOnce(io::Error) -> CommitError {
    move |source| CommitError::Kernel { doing, source }
}

/// The files, below the workspace, that a commit changes besides objects.
pub(super) fn bookkeeping(head: &Head) -> BTreeSet<TreePath> {
    let mut paths = BTreeSet::from(["index", "logs/HEAD"].map(|path| in_git(&name(path))));
    paths.insert(in_git(&head.file()));
    if let Some(branch) = head.branch() {
        paths.insert(in_git(&name("logs").join_all(branch)));
    }
    paths
}

/// The commit that the sandbox's branch is at, if that was written.
fn made(changeset: &Changeset, head: &Head) -> Result<Option<ObjectId>, CommitError> {
    let read = |path: &TreePath| -> Result<Option<String>, CommitError> {
        let written = |change: &Change| change.path == *path && matches!(change.what, What::File { .. });
        if !changeset.changes().iter().any(written) {
            return Ok(None);
        }
        let mut text = Vec::new();
        let file = beneath::file(changeset.upper(), path.as_path()).map_err(kernel("read the new commit's name"))?;
        file.take(4200).read_to_end(&mut text).map_err(kernel("read the new commit's name"))?;
        Ok(Some(String::from_utf8_lossy(&text).trim_end().to_owned()))
    };
    if let (Some(text), Some(branch)) = (read(&in_git(&name("HEAD")))?, head.branch())
        && text.strip_prefix("ref: ").map(Path::new) != Some(branch.as_path())
    {
        return Err(CommitError::Odd("another branch checked out"));
    }
    let text = read(&in_git(&head.file()))?;
    text.map(|text| ObjectId::new(&text).ok_or(CommitError::Odd("a branch that names no commit"))).transpose()
}

/// Copies the loose objects, and has git check and pack those that the commit needs and the host lacks.
fn bring_in(
    store: &Store,
    changeset: &Changeset,
    commit: &ObjectId,
    known: &[Option<&ObjectId>],
) -> Result<(), CommitError> {
    copy_objects(store, changeset).map_err(kernel("copy the commit's objects"))?;
    let mut wanted = format!("{commit}\n--not\n");
    for known in known.iter().copied().flatten().filter(|known| store.has_commit(known)) {
        wanted.push_str(&format!("{known}\n"));
    }
    let mut pack = store.in_incoming();
    pack.args(["pack-objects", "--revs", "--local", "--stdout", "-q"]);
    let mut index = store.in_trusted();
    index.args(["index-pack", "--strict", "--stdin"]);
    Ok(pipe(pack, index, "check the commit's objects", wanted.as_bytes())?)
}

/// Copies the loose objects, each as a file of ours under the same name.
fn copy_objects(store: &Store, changeset: &Changeset) -> io::Result<()> {
    let incoming = store.incoming().join("objects");
    let mut folders: BTreeMap<&str, File> = BTreeMap::new();
    for change in changeset.changes() {
        let (Some((folder, name)), What::File { .. }) = (loose(&change.path), &change.what) else { continue };
        let into = match folders.entry(folder) {
            Entry::Occupied(opened) => opened.into_mut(),
            Entry::Vacant(place) => {
                let path = incoming.join(folder);
                DirBuilder::new().mode(0o700).create(&path)?;
                place.insert(File::open(path)?)
            }
        };
        copy_file(changeset.upper(), &change.path, into.as_fd(), name.as_ref(), 0o400)?;
    }
    Ok(())
}

/// The folder and the name of a loose object: `.git/objects/ab/cdef…`.
fn loose(path: &TreePath) -> Option<(&str, &str)> {
    let path = path.as_path().to_str()?.strip_prefix(".git/objects/")?;
    let (folder, file) = path.split_once('/')?;
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (folder.len() == 2 && matches!(file.len(), 38 | 62) && hexadecimal(folder) && hexadecimal(file))
        .then_some((folder, file))
}

#[cfg(test)]
mod name_tests {
    use super::*;

    #[test]
    fn only_names_of_loose_objects_are_copied() {
        let object = format!(".git/objects/ab/{}", "0".repeat(38));
        assert!(loose(&name(&object)).is_some());
        for other in [
            ".git/objects/info/alternates",
            ".git/objects/pack/pack-1.pack",
            ".git/objects/ab/tmp_obj_1",
            "sub/.git/objects/ab/00000000000000000000000000000000000000",
            ".git/objects/AB/00000000000000000000000000000000000000",
        ] {
            assert_eq!(loose(&name(other)), None, "{other}");
        }
    }
}
