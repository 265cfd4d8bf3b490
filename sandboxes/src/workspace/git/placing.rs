//! One act on the host's `.git`, all of it or nothing: files are locked, written and replaced, and a server that is killed in
//! the middle leaves a record of what it had begun.
//!
//! A lock is git's: a new file beside the one that it will replace (`lockfile.h`). So that one of ours is known from another
//! git's, ours is a hard link of a file whose name holds a number of this act's own and that stays until the end: a lock is
//! ours if it is that inode. Nothing else is ever removed, whatever its name. A new file comes into its place as one more link,
//! and each lock stays until all are in place: until then no git changes one of them, a stop or not.
//!
//! The record is written twice. First with every name that will be used: a stop after it takes the act back. Then, when all is
//! on the disk, with what is to become of it: from there on it is carried out, by whoever comes next. What a person removed or
//! moved meanwhile is left as it is, and so is what comes after it.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    ObjectId, RepositoryError,
    host::{in_git, name, read_ref},
    place,
};
use crate::workspace::{
    Session, TreePath, Workspace,
    beneath::{self, Kind},
    held::{
        ledger::{Ledger, write_atomically},
        stack::Stack,
    },
    tree_path::hexadecimal,
};

/// The record's name in the workspace's state.
const RECORD: &str = "git.json";

/// Where one is put that is about another folder at the workspace's path, or cannot be read.
const ASIDE: &str = "git.orphaned.json";

/// How the file is named that says of an order that it was carried out, around the act's number.
const TAKEN: (&str, &str) = ("git.taken.", ".json");

/// An order of a person's to take a commit that was carried out and may not be in the audit log yet.
///
/// It is in the workspace's state until [`Workspace::told`]: whoever carried it out may have been stopped before it could say
/// so, and a hand-back that finishes another's order keeps no log of orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untold {
    /// The act's own number, in the name of the file.
    token: String,
    /// The session's name.
    pub session: String,
    /// The branch; `None` where none is checked out.
    pub branch: Option<String>,
    /// Where it was; `None` for a branch without commits.
    pub old: Option<ObjectId>,
    /// Where it is.
    pub new: ObjectId,
    /// How many files differ between the two.
    pub files: u64,
}

/// What was begun.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The session's folder name.
    session: String,
    /// The workspace folder's inode: another folder at the same path is not touched.
    root: u64,
    /// This act's own number, in the name of each of its temporary files.
    token: String,
    /// What is replaced, below `.git` and in this order. The last names the commit.
    targets: Vec<TreePath>,
    /// Packs and their indexes that come, by their names.
    packs: Vec<String>,
    /// What is to become of it; `None` while it may only be taken back.
    decided: Option<Decided>,
}

/// What is to be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Decided {
    /// What the last target will name.
    pub(super) commit: ObjectId,
    /// Git's logs that get a line.
    pub(super) logs: Vec<TreePath>,
    /// The line.
    pub(super) line: String,
    /// What the session holds then; `None` where that does not change.
    pub(super) stack: Option<Stack>,
    /// The person's order; `None` for a call's commit, whose outcome its server tells.
    #[serde(default)]
    pub(super) ordered: Option<Ordered>,
}

/// A person's order to take a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ordered {
    /// The session's name.
    pub(super) session: String,
    /// The branch's short name.
    pub(super) branch: Option<String>,
    /// Where it was.
    pub(super) old: Option<ObjectId>,
    /// How many files differ.
    pub(super) files: u64,
}

/// An act that has begun. Dropping it takes it back.
#[derive(Debug)]
pub(super) struct Placing<'a> {
    workspace: &'a Workspace,
    record: Record,
    files: Vec<File>,
}

/// How an act ended.
#[derive(Debug)]
pub(super) enum End {
    /// All of it is done, but for lines of logs that could not be written: what was said of them. And what of it is to be told.
    Done { unlogged: Vec<String>, untold: Option<Untold> },
    /// Somebody moved or removed something of it: what was not in place then was given back.
    GivenBack,
    /// The kernel refused, and nothing was in its place: all of it was given back.
    Failed(io::Error),
}

impl<'a> Placing<'a> {
    /// Locks `targets`, files below `.git`, and writes down that these and `packs` are to come. The caller has the turn.
    ///
    /// # Errors
    /// The target that could not be locked, and why; nothing is left then.
    pub(super) fn begin(
        session: &'a Session,
        targets: Vec<TreePath>,
        packs: Vec<String>,
    ) -> Result<Self, (TreePath, io::Error)> {
        let at_first = |source| (targets.first().cloned().unwrap_or_else(TreePath::root), source);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| at_first(io::Error::other(error.to_string())))?;
        let folder = session.ledger().folder().file_name().unwrap_or_default();
        let record = Record {
            session: folder.to_string_lossy().into_owned(),
            root: session.workspace().inode(),
            token: hexadecimal(&random),
            targets: targets.clone(),
            packs,
            decided: None,
        };
        record.save(session.workspace()).map_err(at_first)?;
        let mut placing = Self { workspace: session.workspace(), record, files: Vec::new() };
        for (number, target) in targets.into_iter().enumerate() {
            let file = placing.lock(number, &target).map_err(|source| (target, source))?;
            placing.files.push(file);
        }
        Ok(placing)
    }

    fn lock(&self, number: usize, target: &TreePath) -> io::Result<File> {
        let path = in_git(target);
        let folder = place::make_folder(self.workspace, &path.parent().unwrap_or_else(TreePath::root))?;
        let git = beneath::folder(self.workspace.fd(), Path::new(".git"))?;
        let found = beneath::entry(folder.as_fd(), path.name())?;
        if found.as_ref().is_some_and(|found| found.kind == Kind::Folder) {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let own = self.record.own_name(number);
        let file = place::create(git.as_fd(), &own, 0o644)?;
        place::own(file.as_fd(), folder.as_fd())?;
        // A file that only its owner may read stays one.
        if let Some(found) = found.filter(|found| found.kind == Kind::File) {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(found.permissions()))?;
        }
        match rustix::fs::linkat(&git, &own, &folder, lock_name(target), AtFlags::empty()) {
            Ok(()) => Ok(file),
            // link(2), EPERM: the owner is ours, so it is the file system.
            Err(Errno::PERM | Errno::OPNOTSUPP) => Err(io::Error::other("the file system of .git has no hard links")),
            Err(error) => Err(error.into()),
        }
    }

    /// What a locked file holds now; `None` when there is none.
    pub(super) fn current(&self, number: usize, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let path = in_git(self.record.targets.get(number).ok_or(io::ErrorKind::NotFound)?);
        let file = match beneath::file(self.workspace.fd(), path.as_path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes what a locked file will hold.
    pub(super) fn write(&mut self, number: usize, bytes: &[u8]) -> io::Result<()> {
        let file = self.files.get_mut(number).ok_or(io::ErrorKind::NotFound)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Puts the packs of a trusted repository beside the host's. The index comes last: a pack without one is not used.
    pub(super) fn packs(&self, trusted: BorrowedFd<'_>) -> io::Result<()> {
        if self.record.packs.is_empty() {
            return Ok(());
        }
        let from = beneath::folder(trusted, Path::new("objects/pack"))?;
        let into = place::make_folder(self.workspace, &in_git(&name("objects/pack")))?;
        for name in &self.record.packs {
            let temporary = self.record.pack_name(name);
            let mut copy = place::create(into.as_fd(), &temporary, 0o444)?;
            io::copy(&mut beneath::file(from.as_fd(), Path::new(name))?, &mut copy)?;
            copy.sync_all()?;
            rustix::fs::renameat(&into, &temporary, &into, name.as_str())?;
        }
        beneath::sync_folder(into.as_fd(), Path::new(""))
    }

    /// Carries it out. All that was written is on the disk.
    ///
    /// # Errors
    /// When only a part could be done, or what the session holds could not be written down. The next turn in the workspace goes
    /// on with it.
    pub(super) fn decide(mut self, decided: Decided) -> io::Result<End> {
        self.record.decided = Some(decided);
        if let Err(error) = self.record.save(self.workspace) {
            self.record.decided = None;
            return Ok(End::Failed(error));
        }
        self.record.carry_out(self.workspace)
    }
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        // What was decided has been carried out, or is by the next start.
        if self.record.decided.is_none()
            && let Err(error) = self.record.take_back(self.workspace)
        {
            tracing::warn!(%error, "what was begun in .git could not be taken back; the next start tries again");
        }
    }
}

impl Untold {
    fn file(&self) -> String {
        format!("{}{}{}", TAKEN.0, self.token, TAKEN.1)
    }
}

impl Workspace {
    /// Forgets an order that was carried out: the audit log has it.
    ///
    /// # Errors
    /// When the file that says so cannot be removed; it is told again then.
    pub fn told(&self, untold: &Untold) -> io::Result<()> {
        match fs::remove_file(self.state().join(untold.file())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// The orders that were carried out and that nobody has told yet.
pub(in crate::workspace) fn untold(workspace: &Workspace) -> io::Result<Vec<Untold>> {
    let mut untold = Vec::new();
    for entry in fs::read_dir(workspace.state())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(name.starts_with(TAKEN.0) && name.ends_with(TAKEN.1)) {
            continue;
        }
        let text = match fs::read(&path) {
            // Another process has told it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        match serde_json::from_slice::<Untold>(&text) {
            Ok(one) if one.file() == name => untold.push(one),
            Ok(_) => tracing::warn!(name, "what was done of an order is under another's name"),
            Err(error) => tracing::warn!(%error, name, "what was done of an order cannot be read"),
        }
    }
    Ok(untold)
}

/// Finishes or takes back what a server that was killed had begun in the host's `.git`. The caller has the turn.
pub(in crate::workspace) fn recover(workspace: &Workspace) -> io::Result<()> {
    let path = workspace.state().join(RECORD);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let record = match serde_json::from_slice::<Record>(&text) {
        Ok(record) if record.root == workspace.inode() => record,
        Ok(_) => return fs::rename(path, workspace.state().join(ASIDE)),
        Err(error) => {
            tracing::warn!(%error, moved_to = ASIDE, "a record of what was begun in .git cannot be read");
            return fs::rename(path, workspace.state().join(ASIDE));
        }
    };
    if record.decided.is_none() {
        tracing::warn!("took back what was begun in .git");
        return record.take_back(workspace);
    }
    match record.carry_out(workspace)? {
        End::Done { .. } => tracing::warn!("finished what was begun in .git"),
        End::GivenBack => tracing::warn!("what was begun in .git was moved or removed meanwhile, and is given back"),
        End::Failed(error) => tracing::warn!(%error, "what was begun in .git failed, and is given back"),
    }
    Ok(())
}

/// Where a target's new file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In its place, whether or not the lock is still there.
    Placed,
    /// It is the lock alone.
    Waiting,
    /// Neither: somebody removed the lock, or replaced the file after the locks were given back.
    Gone,
}

/// A target: its folder and `.git`, opened, and where its new file is.
struct Target {
    git: OwnedFd,
    folder: OwnedFd,
    at: At,
    /// Whether the lock is there and is ours.
    lock: Lock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    Ours,
    /// There is none, or it is another's.
    NotOurs,
}

impl Record {
    fn save(&self, workspace: &Workspace) -> io::Result<()> {
        write_atomically(workspace.state(), RECORD, &serde_json::to_vec(self)?).map(drop)
    }

    /// The other name of a lock, in `.git`. Git takes it for nothing.
    fn own_name(&self, number: usize) -> OsString {
        format!("cofferdam-{}-{number}.lock", self.token).into()
    }

    /// The link that becomes the target. `.lock` at the end: git takes it for nothing either.
    fn next_name(&self, number: usize) -> OsString {
        format!("cofferdam-{}-{number}.next.lock", self.token).into()
    }

    /// A pack that is being copied. Git passes over it, and `git gc` removes it in time (`remove_temporary_files`, prune.c).
    fn pack_name(&self, pack: &str) -> OsString {
        format!("tmp_cofferdam_{}_{pack}", self.token).into()
    }

    fn carry_out(&self, workspace: &Workspace) -> io::Result<End> {
        let Some(decided) = &self.decided else { return Ok(End::GivenBack) };
        let last = self.targets.last().cloned().unwrap_or_else(TreePath::root);
        if let Err(error) = self.place_all(workspace) {
            if self.is_begun(workspace)? {
                return Err(error);
            }
            self.take_back(workspace)?;
            return Ok(End::Failed(error));
        }
        let named = match read_ref(workspace, &last) {
            Ok(named) => named,
            Err(RepositoryError::Read { source, .. }) => return Err(source),
            // A person wrote something else there.
            Err(_) => None,
        };
        if named.as_ref() != Some(&decided.commit) {
            self.take_back(workspace)?;
            return Ok(End::GivenBack);
        }
        let mut unlogged = Vec::new();
        for log in &decided.logs {
            if let Err(error) = place::log(workspace, log, &decided.line) {
                unlogged.push(error.to_string());
            }
        }
        if let Some(stack) = &decided.stack {
            let ledger = Ledger::new(workspace.state().join("sessions").join(&self.session));
            if ledger.load()?.generation < stack.generation {
                ledger.save(&Arc::new(stack.clone()))?;
            }
            ledger.sweep(&*ledger.load()?)?;
        }
        let untold = decided.ordered.clone().map(|ordered| {
            let Ordered { session, branch, old, files } = ordered;
            Untold { token: self.token.clone(), session, branch, old, new: decided.commit.clone(), files }
        });
        if let Some(untold) = &untold {
            write_atomically(workspace.state(), &untold.file(), &serde_json::to_vec(untold)?)?;
        }
        self.clear(workspace)?;
        Ok(End::Done { unlogged, untold })
    }

    /// Puts what waits into its place, if everything before it is there. Nothing is begun where a lock is missing.
    fn place_all(&self, workspace: &Workspace) -> io::Result<()> {
        let mut ats = Vec::new();
        for number in 0..self.targets.len() {
            ats.push(self.target(workspace, number)?.at);
        }
        if ats.contains(&At::Gone) && !ats.contains(&At::Placed) {
            return Ok(());
        }
        for number in 0..self.targets.len() {
            match self.place(workspace, number)? {
                At::Placed | At::Waiting => {}
                // What a person took away is not gone on with. Whether all was in place before is told by the last target.
                At::Gone => return Ok(()),
            }
        }
        Ok(())
    }

    /// Puts one into its place, if it waits. Gives where it was.
    fn place(&self, workspace: &Workspace, number: usize) -> io::Result<At> {
        let Target { git, folder, at, .. } = self.target(workspace, number)?;
        if at == At::Waiting {
            let next = self.next_name(number);
            match rustix::fs::linkat(&git, self.own_name(number), &git, &next, AtFlags::empty()) {
                // One that was stopped before has made it: the name holds this act's number.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let target = self.targets.get(number).ok_or(io::ErrorKind::NotFound)?;
            rustix::fs::renameat(&git, &next, &folder, target.name())?;
            beneath::sync_folder(folder.as_fd(), Path::new(""))?;
        }
        Ok(at)
    }

    /// Whether something is in its place.
    fn is_begun(&self, workspace: &Workspace) -> io::Result<bool> {
        for number in 0..self.targets.len() {
            match self.target(workspace, number) {
                Ok(target) if target.at == At::Placed => return Ok(true),
                Ok(_) => {}
                // The folder is not there, so the file is not.
                Err(error) if beneath::is_moved(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn target(&self, workspace: &Workspace, number: usize) -> io::Result<Target> {
        let target = self.targets.get(number).ok_or(io::ErrorKind::NotFound)?;
        let git = beneath::folder(workspace.fd(), Path::new(".git"))?;
        let folder = beneath::folder(workspace.fd(), in_git(target).parent().unwrap_or_else(TreePath::root).as_path())?;
        let inode = |found: Option<beneath::Entry>| found.map(|found| (found.device, found.inode));
        let own = inode(beneath::entry(git.as_fd(), &self.own_name(number))?);
        let is_own = |name: &OsStr| -> io::Result<bool> {
            Ok(own.is_some() && inode(beneath::entry(folder.as_fd(), name)?) == own)
        };
        let lock = if is_own(&lock_name(target))? { Lock::Ours } else { Lock::NotOurs };
        let at = match lock {
            _ if is_own(target.name())? => At::Placed,
            Lock::Ours => At::Waiting,
            Lock::NotOurs => At::Gone,
        };
        Ok(Target { git, folder, at, lock })
    }

    /// Gives back the locks that are still ours.
    fn unlock(&self, workspace: &Workspace) -> io::Result<()> {
        for (number, path) in self.targets.iter().enumerate() {
            match self.target(workspace, number) {
                Ok(Target { folder, lock: Lock::Ours, .. }) => remove(&folder, &lock_name(path))?,
                Ok(Target { lock: Lock::NotOurs, .. }) => {}
                // The folder is not there, so the lock is not.
                Err(error) if beneath::is_moved(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives back the locks, and removes what nothing uses yet.
    fn take_back(&self, workspace: &Workspace) -> io::Result<()> {
        // A pack of ours whose index did not come. Another's would have one.
        if let Ok(folder) = beneath::folder(workspace.fd(), in_git(&name("objects/pack")).as_path()) {
            for pack in self.packs.iter().filter(|pack| pack.ends_with(".pack")) {
                if beneath::entry(folder.as_fd(), Path::new(pack).with_extension("idx").as_os_str())?.is_none() {
                    remove(&folder, pack.as_ref())?;
                }
            }
        }
        let ledger = Ledger::new(workspace.state().join("sessions").join(&self.session));
        ledger.sweep(&*ledger.load()?)?;
        self.clear(workspace)
    }

    /// Removes the locks, then what tells them from another's, and the record last.
    fn clear(&self, workspace: &Workspace) -> io::Result<()> {
        self.unlock(workspace)?;
        match beneath::folder(workspace.fd(), Path::new(".git")) {
            Ok(git) => (0..self.targets.len()).try_for_each(|number| {
                remove(&git, &self.next_name(number))?;
                remove(&git, &self.own_name(number))
            })?,
            Err(error) if beneath::is_moved(&error) => {}
            Err(error) => return Err(error),
        }
        if let Ok(folder) = beneath::folder(workspace.fd(), in_git(&name("objects/pack")).as_path()) {
            self.packs.iter().try_for_each(|pack| remove(&folder, &self.pack_name(pack)))?;
        }
        match fs::remove_file(workspace.state().join(RECORD)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

fn lock_name(target: &TreePath) -> OsString {
    let mut lock = target.name().to_owned();
    lock.push(".lock");
    lock
}

fn remove(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
#[path = "placing_tests.rs"]
mod tests;
