//! Hears of new names in the folders of a workspace.
//!
//! fsnotify(7) events of one file system and one kernel are queued before the call that makes them returns. So somebody who
//! first makes a file and then a call has the event there when the call looks. What other machines do on a file system that
//! they share is not told; nothing is watched there.

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsStr,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};

use super::super::tree_path::TreePath;

/// File systems whose files other machines, or a program, change unseen (statfs(2)): NFS, SMB in three generations, FUSE, 9P, AFS, Ceph.
const SHARED: [i64; 8] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x5346_414f, 0x00c3_6400];

/// What is told of a folder: new names. That a listed file changed or went is seen by looking at it.
const NEW_NAMES: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO).union(WatchFlags::ONLYDIR);

/// Folders that are remembered as new at most. A person moves a few, a build makes many; when more are new within one call, its answer
/// counts as one that may be wrong.
const REMEMBERED: usize = 1_024;

/// Folders that were new so far, in all workspaces of this process.
static ARRIVED: AtomicU64 = AtomicU64::new(1);

/// The watched folders.
#[derive(Debug)]
pub(super) struct Watch {
    queue: OwnedFd,
    folders: HashMap<i32, TreePath>,
}

/// A new name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct New {
    pub(super) path: TreePath,
    pub(super) is_folder: bool,
}

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// These names are new.
    Names(Vec<New>),
    /// Something was missed.
    Missed,
}

/// The folders that were new lately: made, or moved to where they are.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// With their numbers, the oldest first.
    latest: VecDeque<(u64, TreePath)>,
    /// All that arrived after this number are among them.
    complete_after: u64,
}

impl Arrivals {
    /// None yet, and nothing is known of what was before.
    pub(super) fn new() -> Self {
        Self { latest: VecDeque::new(), complete_after: ARRIVED.fetch_add(1, Ordering::Relaxed) }
    }

    /// Remembers one.
    pub(super) fn add(&mut self, path: TreePath) {
        self.latest.push_back((ARRIVED.fetch_add(1, Ordering::Relaxed), path));
        if self.latest.len() > REMEMBERED
            && let Some((number, _)) = self.latest.pop_front()
        {
            self.complete_after = number;
        }
    }

    /// A moment, to ask what arrived after it.
    pub(super) fn now() -> u64 {
        ARRIVED.fetch_add(1, Ordering::Relaxed)
    }

    /// What arrived after a moment; `None` where that is not known.
    pub(super) fn after(&self, moment: u64) -> Option<impl Iterator<Item = &TreePath>> {
        let new = self.latest.iter().filter(move |(number, _)| *number > moment).map(|(_, path)| path);
        (moment >= self.complete_after).then_some(new)
    }
}

impl Watch {
    /// Starts to watch; nothing yet. `None` where that says nothing, or the system gives no queue.
    pub(super) fn new(root: BorrowedFd<'_>) -> Option<Self> {
        let kind = rustix::fs::fstatfs(root).ok()?.f_type;
        let is_shared = SHARED.contains(&(kind & 0xffff_ffff));
        if is_shared {
            return None;
        }
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        Some(Self { queue, folders: HashMap::new() })
    }

    /// Watches a folder that is open. What is new in it from now on is told.
    pub(super) fn add(&mut self, folder: BorrowedFd<'_>, path: &TreePath) -> io::Result<()> {
        // By its descriptor: the name may lead elsewhere by now.
        let by_descriptor = format!("/proc/self/fd/{}", folder.as_raw_fd());
        let number = inotify::add_watch(&self.queue, by_descriptor, NEW_NAMES)?;
        // One that was watched under an older name has the new one from here on.
        self.folders.insert(number, path.clone());
        Ok(())
    }

    /// What is new since the last time.
    pub(super) fn news(&mut self) -> News {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(&self.queue, &mut buffer);
        let mut names = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return News::Names(names),
                Err(_) => return News::Missed,
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                return News::Missed;
            }
            if event.events().contains(ReadFlags::IGNORED) {
                // The folder is gone.
                self.folders.remove(&event.wd());
                continue;
            }
            if let (Some(folder), Some(name)) = (self.folders.get(&event.wd()), event.file_name()) {
                let path = folder.join(OsStr::from_bytes(name.to_bytes()));
                names.push(New { path, is_folder: event.events().contains(ReadFlags::ISDIR) });
            }
        }
    }
}
