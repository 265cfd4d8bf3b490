//! A person takes the agent's commits: their branch moves forward to one of them, and no file is touched.
//!
//! The branch is moved in git's own way: index and ref are locked, the ref is compared with what it was, and each is
//! replaced in one step, the index first. A stop between the two is finished by the next start ([`super::placing`]); until
//! then the agent's changes are staged and both are locked, which loses nothing. Whether the working tree already is what the commit has is
//! looked at before ([`super::working_tree`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use cofferdam_contract::Identity;

use super::{
    GitError, HostGit, ObjectId, RepositoryError,
    host::{Head, HostRepository, in_git, is_checked_out_elsewhere, name, read_ref, small, under_way},
    placing::{Decided, End, Ordered, Placing, Untold},
    program::{self, succeed},
    standing::{History, merging, reference},
    store::Store,
    working_tree::{self, Brings, Conversions},
};
use crate::workspace::{Patience, Session, SessionError, TreePath, Workspace, beneath, held::stack::Stack};

/// The largest index that is rewritten, in bytes: some million files.
const INDEX_BYTES: u64 = 256 << 20;

/// What is locked, in the order in which it is replaced.
const INDEX: usize = 0;
const BRANCH: usize = 1;

/// What taking a commit would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taking {
    /// The branch's short name; `None` where none is checked out.
    pub branch: Option<String>,
    /// Where it is; `None` for a branch without commits.
    pub old: Option<ObjectId>,
    /// Where it goes.
    pub new: ObjectId,
    /// The files that differ between the two.
    pub changed: Vec<TreePath>,
    /// The files that commits on the way change, and that do not differ between the two.
    pub passed: Vec<TreePath>,
    /// The branch that the session's commits began on, by its short name, if it is another: that one stays where it is.
    pub began: Option<String>,
    /// What the old commit's files are compared with: for a branch without commits the tree that holds nothing.
    base: ObjectId,
}

/// A commit that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Something that is not as it should be, although the commit was taken.
    pub warnings: Vec<String>,
    /// What the audit log is to be told, and [`Workspace::told`] afterwards.
    pub untold: Option<Untold>,
}

/// Why a commit was not taken. Nothing was changed, but where it says that it failed to finish.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The repository is not as it must be for that.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The session has no commits of its own.
    #[error("the session has no commits to take: there is no {reference}")]
    Nothing {
        /// The ref that would name them.
        reference: String,
    },
    /// The words do not name one of them.
    #[error("{text} does not name one commit among those of {reference}")]
    Unknown {
        /// What was asked for.
        text: String,
        /// The ref that names the agent's newest.
        reference: String,
    },
    /// The branch has it.
    #[error("{place} has {commit} already; nothing was done")]
    Already {
        /// The branch, or "the checked-out commit".
        place: String,
        /// The commit, shortened.
        commit: String,
    },
    /// The branch went elsewhere.
    #[error(
        "{place} is at {old}, which is not among the ancestors of {new}, so it cannot simply move forward; merge the \
         commits: {}",
        merging(.reference)
    )]
    Diverged {
        /// The branch, or "the checked-out commit".
        place: String,
        /// Where it is, shortened.
        old: String,
        /// The agent's commit, shortened.
        new: String,
        /// The ref.
        reference: String,
    },
    /// Two worktrees.
    #[error(
        "the branch {0} is checked out in another worktree too, whose files would be left behind; take the commit there"
    )]
    Elsewhere(String),
    /// Files differ.
    #[error("the working tree is not yet what the commit has")]
    Differs {
        /// The commit.
        commit: ObjectId,
        /// Which.
        paths: Vec<TreePath>,
        /// Those of them that the commit deletes, and that are there.
        deleted: Vec<TreePath>,
    },
    /// It cannot be told whether files differ.
    #[error(
        "whether these files are as the commit has them is for your own git to say, which knows their filters and \
         encodings; nothing was done. Look at `git diff {commit}`; then `git reset {commit}` moves branch and index and \
         touches no file"
    )]
    Converted {
        /// The commit.
        commit: ObjectId,
        /// Which, and why.
        paths: Vec<(TreePath, String)>,
    },
    /// The person has staged something.
    #[error("you have staged changes of your own; commit them or unstage them (`git restore --staged`) first")]
    Staged {
        /// Which.
        paths: Vec<TreePath>,
    },
    /// It changed under our hands.
    #[error("{0} was changed meanwhile; nothing was done. Try again")]
    Changed(&'static str),
    /// Another git works in the repository.
    #[error("another git is at work in the repository ({file} exists); try again when it is done")]
    Locked {
        /// The lock.
        file: String,
    },
    /// The host's git failed.
    #[error(transparent)]
    Git(#[from] GitError),
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

fn kernel(doing: &'static str) -> impl FnOnce(io::Error) -> TakeError {
    move |source| TakeError::Kernel { doing, source }
}

impl Taking {
    /// Names the branch, or what stands in for one.
    #[must_use]
    pub fn place(&self) -> String {
        place(self.branch.as_deref())
    }
}

fn place(branch: Option<&str>) -> String {
    branch.map_or_else(|| "the checked-out commit".to_owned(), |branch| format!("the branch {branch}"))
}

fn short_name(head: &Head) -> Option<String> {
    let name = head.branch()?.to_string();
    Some(name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned())
}

impl Session {
    /// Finds out what taking a commit would do: the session's newest, or the one that `asked` names, a beginning of its
    /// name or the session's ref. The working tree must already be what it brings.
    ///
    /// # Errors
    /// [`TakeError`].
    pub fn plan_taking(
        &self,
        git: &HostGit,
        asked: Option<&str>,
        conversions: Conversions,
    ) -> Result<Taking, TakeError> {
        let host = HostRepository::look(self.workspace())?;
        host.takes_commits(self.workspace())?;
        let path = reference(self.name());
        let named = path.to_string();
        let newest = read_ref(self.workspace(), &path)?;
        let newest = newest.ok_or_else(|| TakeError::Nothing { reference: named.clone() })?;
        let store =
            Store::make(git, self.workspace(), &host).map_err(kernel("make a repository for the comparison"))?;
        let new = match asked {
            None => newest,
            Some(text) if text == named => newest,
            Some(text) => {
                let unknown =
                    || TakeError::Unknown { text: crate::workspace::notice::visible(text), reference: named.clone() };
                let digits = text.len() >= 4 && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                if !digits {
                    return Err(unknown());
                }
                let mut command = store.in_trusted();
                command.args(["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{text}^{{commit}}")]);
                let found = succeed(command, "find the commit", &[]).map_err(|_| unknown())?;
                let found = ObjectId::new(String::from_utf8_lossy(&found).trim()).ok_or_else(unknown)?;
                if !store.is_ancestor(&found, &newest)? {
                    return Err(unknown());
                }
                found
            }
        };
        let branch = short_name(&host.head);
        let old = host.head.commit().cloned();
        if let Some(old) = &old {
            if store.is_ancestor(&new, old)? {
                return Err(TakeError::Already { place: place(branch.as_deref()), commit: new.short().to_owned() });
            }
            if !store.is_ancestor(old, &new)? {
                return Err(TakeError::Diverged {
                    place: place(branch.as_deref()),
                    old: old.short().to_owned(),
                    new: new.short().to_owned(),
                    reference: named,
                });
            }
        }
        if let (Some(path), Some(branch)) = (host.head.branch(), &branch)
            && is_checked_out_elsewhere(self.workspace(), path).map_err(kernel("look at other worktrees"))?
        {
            return Err(TakeError::Elsewhere(branch.clone()));
        }
        let base = old.clone().unwrap_or_else(|| host.format.empty_tree());
        let changes = changes(&store, &base, &new)?;
        let passed = on_the_way(&store, old.as_ref(), &new)?.into_iter().filter(|path| !changes.contains_key(path));
        let (changed, passed) = (changes.keys().cloned().collect(), passed.collect());
        let failed = |source| self.kernel("read what is held", source);
        let stack = self.ledger().load().map_err(failed)?;
        let began = stack.history().and_then(|history| history.branch.as_deref());
        let began = began.map(|began| began.strip_prefix("refs/heads/").unwrap_or(began).to_owned());
        let began = began.filter(|began| Some(began) != branch.as_ref());
        let taking = Taking { branch, old, new, changed, passed, began, base };
        // Told now, and done again when nobody else can change the index.
        let index = small(self.workspace(), &in_git(&name("index")), INDEX_BYTES).map_err(kernel("read the index"))?;
        next_index((self.workspace(), &store), &taking, index)?;
        working_tree::compare((self.workspace(), &store), &taking.new, &changes, conversions)?;
        Ok(taking)
    }

    /// Moves the person's branch, if everything is still as it was when `taking` was planned. `person` is for the branch's
    /// log.
    ///
    /// # Errors
    /// [`TakeError`], and nothing was changed, but where it says that it failed to finish.
    pub fn take(
        &self,
        taking: &Taking,
        git: &HostGit,
        person: Option<&Identity>,
        patience: &Patience<'_>,
    ) -> Result<Taken, TakeError> {
        let _turn = self.turn(patience)?;
        self.workspace().still_there().map_err(SessionError::from)?;
        let host = HostRepository::look(self.workspace())?;
        under_way(self.workspace())?;
        if short_name(&host.head) != taking.branch || host.head.commit() != taking.old.as_ref() {
            return Err(TakeError::Changed("what is checked out"));
        }
        let store = Store::make(git, self.workspace(), &host).map_err(kernel("make a repository for the index"))?;
        let locked = |file: String| {
            move |source: io::Error| match source.kind() {
                io::ErrorKind::AlreadyExists => TakeError::Locked { file },
                _ => TakeError::Kernel { doing: "lock the index and the branch", source },
            }
        };
        let path = host.head.file();
        let mut placing = Placing::begin(self, vec![name("index"), path.clone()], Vec::new())
            .map_err(|(target, source)| locked(format!(".git/{target}.lock"))(source))?;
        // Read again in the lock's protection: until here anybody could move it.
        if HostRepository::look(self.workspace())?.head != host.head {
            return Err(TakeError::Changed("what is checked out"));
        }
        let current = placing.current(INDEX, INDEX_BYTES + 1).map_err(kernel("read the index"))?;
        let next = next_index((self.workspace(), &store), taking, current)?;
        placing.write(INDEX, &next).map_err(kernel("write the index"))?;
        placing.write(BRANCH, format!("{}\n", taking.new).as_bytes()).map_err(kernel("write the branch"))?;
        let decided = Decided {
            commit: taking.new.clone(),
            logs: [Some(name("HEAD")), host.head.branch().cloned()].into_iter().flatten().collect(),
            line: log_line(taking, host.format.digits(), person),
            stack: self.after(taking)?,
            ordered: Some(Ordered {
                session: self.name().to_owned(),
                branch: taking.branch.clone(),
                old: taking.old.clone(),
                files: taking.changed.len() as u64,
            }),
        };
        match placing
            .decide(decided)
            .map_err(kernel("finish taking the commits; the next call or order goes on with it"))?
        {
            End::Done { unlogged, untold } => {
                let warning = |error| format!("the branch moved, and its log was not written: {error}");
                Ok(Taken { warnings: unlogged.into_iter().map(warning).collect(), untold })
            }
            End::GivenBack => Err(TakeError::Changed("a lock of the index or the branch")),
            End::Failed(source) => {
                Err(kernel("put the index and the branch into their places; nothing was done")(source))
            }
        }
    }

    /// What the session holds once a commit is taken: nothing of its own history, or that stands on what was taken of it.
    fn after(&self, taking: &Taking) -> Result<Option<Stack>, SessionError> {
        let failed = |source| self.kernel("record that the commits were taken", source);
        let stack = self.ledger().load().map_err(failed)?;
        let Some(history) = stack.history() else { return Ok(None) };
        if history.head == taking.new {
            return self.without_history(&stack).map(Some);
        }
        let mut next = (*stack).clone();
        next.generation += 1;
        next.history = Some(History { base: Some(taking.new.clone()), ..history.clone() });
        Ok(Some(next))
    }
}

/// What a commit brings, seen from `base`.
fn changes(store: &Store, base: &ObjectId, new: &ObjectId) -> Result<BTreeMap<TreePath, Brings>, TakeError> {
    let odd = || TakeError::Changed("the commit");
    let mut command = store.in_trusted();
    command.args(["diff-tree", "-r", "-z", "--no-renames", "--raw", "--no-abbrev", base.as_str(), new.as_str(), "--"]);
    let listed = succeed(command, "compare the commits", &[])?;
    let mut fields = listed.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    let mut changes = BTreeMap::new();
    // `:100644 100755 OLD NEW M`, then the path (git-diff-index(1), "Raw output format").
    while let (Some(change), Some(path)) = (fields.next(), fields.next()) {
        let change = std::str::from_utf8(change).map_err(|_| odd())?;
        let words: Vec<&str> = change.split(' ').collect();
        let [_, mode, _, object, _] = words[..] else { return Err(odd()) };
        let path = TreePath::new(OsStr::from_bytes(path)).ok_or_else(odd)?;
        let brings = ObjectId::new(object).and_then(|object| Brings::of(mode, object)).ok_or_else(odd)?;
        changes.insert(path, brings);
    }
    Ok(changes)
}

/// The files that the commits change which come with `new`, each seen from the one before it.
fn on_the_way(store: &Store, old: Option<&ObjectId>, new: &ObjectId) -> Result<BTreeSet<TreePath>, TakeError> {
    let mut command = store.in_trusted();
    command.args(["rev-list", new.as_str()]);
    if let Some(old) = old {
        command.args(["--not", old.as_str()]);
    }
    let commits = succeed(command, "list the commits", &[])?;
    let mut command = store.in_trusted();
    command.args(["diff-tree", "--stdin", "--root", "-r", "-c", "-z", "--no-renames", "--no-commit-id", "--name-only"]);
    let listed = succeed(command, "look at each of the commits", &commits)?;
    let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    Ok(paths.filter_map(|path| TreePath::new(OsStr::from_bytes(path))).collect())
}

/// The index as it will be: the person's own, moved from the old commit to the new one as `git merge --ff-only` would.
fn next_index(
    (workspace, store): (&Workspace, &Store),
    taking: &Taking,
    current: Option<Vec<u8>>,
) -> Result<Vec<u8>, TakeError> {
    if let Some(current) = current {
        if current.len() as u64 > INDEX_BYTES {
            return Err(kernel("read the index")(io::Error::other("it is larger than 256 MiB")));
        }
        store.put("index".as_ref(), &current).map_err(kernel("copy the index"))?;
        shared_indexes(workspace, store).map_err(kernel("copy what the index shares"))?;
    }
    let staged = |commit: &ObjectId| -> Result<Vec<TreePath>, TakeError> {
        let mut command = store.in_trusted();
        command.args(["diff-index", "--cached", "--name-only", "--no-renames", "-z", commit.as_str(), "--"]);
        let listed = succeed(command, "compare the index with the commits", &[])?;
        let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.filter_map(|path| TreePath::new(OsStr::from_bytes(path))).collect())
    };
    // What is staged as the new commit has it is part of what is taken.
    let besides = staged(&taking.new)?;
    let own: Vec<TreePath> = staged(&taking.base)?.into_iter().filter(|path| besides.contains(path)).collect();
    if !own.is_empty() {
        return Err(TakeError::Staged { paths: own });
    }
    let mut command = store.in_trusted();
    command.args(["read-tree", "-i", "-m", taking.base.as_str(), taking.new.as_str()]);
    program::succeed(command, "move the index forward", &[])?;
    store.get("index", INDEX_BYTES).map_err(kernel("read the new index"))
}

/// Copies what a split index stands on (`core.splitIndex`, git-update-index(1)). What is written then stands alone.
fn shared_indexes(workspace: &Workspace, store: &Store) -> io::Result<()> {
    let git = beneath::folder(workspace.fd(), Path::new(".git"))?;
    for shared in beneath::names(git.as_fd())? {
        let named = shared.to_str().and_then(|shared| shared.strip_prefix("sharedindex."));
        if named.and_then(ObjectId::new).is_none() {
            continue;
        }
        if let Some(bytes) = small(workspace, &in_git(&TreePath::root().join(&shared)), INDEX_BYTES)? {
            store.put(&shared, &bytes)?;
        }
    }
    Ok(())
}

/// A line of a branch's log, as git writes it (`files_log_ref_write`, refs/files-backend.c).
fn log_line(taking: &Taking, digits: usize, person: Option<&Identity>) -> String {
    let none = "0".repeat(digits);
    let old = taking.old.as_ref().map_or(none.as_str(), ObjectId::as_str);
    let plain = |text: &str| text.replace(|letter: char| letter.is_control() || matches!(letter, '<' | '>'), " ");
    let who = person.map_or_else(
        || "cofferdam <>".to_owned(),
        |person| format!("{} <{}>", plain(&person.name), plain(&person.email)),
    );
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{old} {} {who} {seconds} +0000\tcofferdam: commit-take\n", taking.new)
}
