//! The threads of a search: one walks, the others search what it finds, and the results come back in the order of the walk.
//!
//! They have the same memory and the same view; what one finds depends on nothing but the file. A small tree is searched by the walking thread
//! alone: starting another takes as long as searching some files.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread::{self, Scope},
};

use cofferdam_contract::{FileRefusal, LeftOut, SearchFiles};
use grep_regex::RegexMatcher;

use super::{
    channel::Lifeline,
    file_search::{FileSearch, Searched, Wanted},
    search::Room,
    workspace::open_file,
};

/// Threads at most. With more, the walk cannot keep up, and a sandbox for files has 32 processes and threads.
const MOST_THREADS: usize = 8;

/// Files that are handed over together.
const FILES: usize = 64;

/// Folders that are handed over together, and held open for it. With those that wait, and those that the walk is in, it
/// stays below the 1024 descriptors that a program is given (`RLIMIT_NOFILE`) as a rule.
const FOLDERS: usize = 8;

/// Batches that wait for a thread.
const WAITING: usize = 16;

/// Batches that may be handed over before an earlier one is done. They hold folders open, as those that wait do.
const AHEAD: u64 = 48;

/// Bytes of results that a thread keeps of one file; a file with more is searched again when they are shown.
const KEPT_BYTES: usize = 64 << 10;

/// A file to search.
#[derive(Debug)]
pub(super) struct FoundFile {
    /// The folder that it is in.
    pub(super) folder: Arc<OwnedFd>,
    /// Its name there.
    pub(super) name: OsString,
    /// Its path below the start.
    pub(super) below: PathBuf,
}

impl FoundFile {
    fn search(&self, search: &mut FileSearch<'_>, wanted: Wanted) -> Searched {
        search.search(open_file(self.folder.as_fd(), &self.name), wanted)
    }
}

/// Searches all files that `walk` finds, and hands each with what came of it to `take`, in the order in which they were found.
pub(super) fn search(
    (request, matcher, lifeline): (&SearchFiles, &RegexMatcher, Lifeline<'_>),
    walk: impl FnOnce(&mut dyn FnMut(FoundFile)) -> Result<LeftOut, FileRefusal>,
    take: impl FnMut(&FoundFile, Searched) -> Room,
) -> Result<LeftOut, FileRefusal> {
    let work = Work {
        request,
        matcher,
        lifeline,
        most: request.offset.saturating_add(request.head_limit),
        only_count: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let mut order = Order { work: &work, take, next: 0, early: BTreeMap::new() };
        let mut crew: Option<Crew> = None;
        let mut batch = Batch::default();
        let mut number = 0;
        let left_out = walk(&mut |file| {
            if batch.takes_no_more(&file) {
                let full = std::mem::take(&mut batch);
                let crew = crew.get_or_insert_with(|| Crew::start(scope, &work));
                crew.hand_over(number, full, &mut order);
                number += 1;
            }
            batch.add(file);
        })?;
        // The last batch is searched here, while the others are being finished.
        let searched = work.search(&mut work.file_search(), batch);
        order.put(number, searched);
        if let Some(crew) = crew {
            crew.finish(&mut order);
        }
        Ok(left_out)
    })
}

/// What all threads share.
struct Work<'a> {
    request: &'a SearchFiles,
    matcher: &'a RegexMatcher,
    lifeline: Lifeline<'a>,
    /// No result of any file beyond this is shown.
    most: u64,
    /// Set when no more results are shown.
    only_count: AtomicBool,
}

impl Work<'_> {
    fn file_search(&self) -> FileSearch<'_> {
        FileSearch::new(self.request, self.matcher, self.lifeline)
    }

    fn search(&self, search: &mut FileSearch<'_>, batch: Batch) -> Vec<(FoundFile, Searched)> {
        self.lifeline.check();
        let most = if self.only_count.load(Ordering::Relaxed) { 0 } else { self.most };
        let files = batch.files.into_iter();
        files
            .map(|file| {
                let searched = file.search(search, Wanted { results: 0..most, room: KEPT_BYTES });
                (file, searched)
            })
            .collect()
    }
}

/// Files that are handed over together.
#[derive(Default)]
struct Batch {
    files: Vec<FoundFile>,
    /// How many folders they are in, those that the walk came back to counted again.
    folders: usize,
}

impl Batch {
    fn is_elsewhere(&self, file: &FoundFile) -> bool {
        self.files.last().is_none_or(|last| !Arc::ptr_eq(&last.folder, &file.folder))
    }

    fn takes_no_more(&self, file: &FoundFile) -> bool {
        self.files.len() >= FILES || (self.folders >= FOLDERS && self.is_elsewhere(file))
    }

    fn add(&mut self, file: FoundFile) {
        self.folders += usize::from(self.is_elsewhere(&file));
        self.files.push(file);
    }
}

/// A batch's number and what came of its files.
type Done = (u64, Vec<(FoundFile, Searched)>);

/// The threads that search.
struct Crew {
    orders: SyncSender<(u64, Batch)>,
    done: Receiver<Done>,
    threads: usize,
}

impl Crew {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, work: &'scope Work<'_>) -> Self {
        let (orders, taken) = mpsc::sync_channel(WAITING);
        // Unbounded: a thread must never wait for the walk, which waits for the threads. What lies in it is bounded by what is
        // kept of a file, and by what waits.
        let (finished, done) = mpsc::channel();
        let taken = Arc::new(Mutex::new(taken));
        let wanted = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let mut threads = 0;
        for _ in 0..wanted {
            let (taken, finished) = (Arc::clone(&taken), finished.clone());
            let run = move || search_batches(work, &taken, &finished);
            // One that the limit on processes refuses is done without.
            threads += usize::from(thread::Builder::new().spawn_scoped(scope, run).is_ok());
        }
        Self { orders, done, threads }
    }

    fn hand_over<T: FnMut(&FoundFile, Searched) -> Room>(&self, number: u64, batch: Batch, order: &mut Order<'_, T>) {
        if self.threads == 0 {
            let searched = order.work.search(&mut order.work.file_search(), batch);
            order.put(number, searched);
            return;
        }
        // The threads go when the channel is closed and not before, so somebody takes it.
        let _ = self.orders.send((number, batch));
        while let Ok((number, searched)) = self.done.try_recv() {
            order.put(number, searched);
        }
        while order.next + AHEAD < number {
            let Ok((number, searched)) = self.done.recv() else { return };
            order.put(number, searched);
        }
    }

    fn finish<T: FnMut(&FoundFile, Searched) -> Room>(self, order: &mut Order<'_, T>) {
        let Self { orders, done, .. } = self;
        drop(orders);
        for (number, searched) in done {
            order.put(number, searched);
        }
    }
}

fn search_batches(work: &Work<'_>, taken: &Mutex<Receiver<(u64, Batch)>>, finished: &Sender<Done>) {
    let mut search = work.file_search();
    loop {
        let order = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, batch)) = order else { return };
        if finished.send((number, work.search(&mut search, batch))).is_err() {
            return;
        }
    }
}

/// Puts what came of batches into the order of the walk.
struct Order<'a, T> {
    work: &'a Work<'a>,
    take: T,
    /// The number of the batch that is next.
    next: u64,
    /// Batches that were done before their turn, without the files that do not matter.
    early: BTreeMap<u64, Vec<(FoundFile, Searched)>>,
}

impl<T: FnMut(&FoundFile, Searched) -> Room> Order<'_, T> {
    fn put(&mut self, number: u64, mut searched: Vec<(FoundFile, Searched)>) {
        searched.retain(|(_, searched)| !matches!(searched, Searched::Nothing));
        self.early.insert(number, searched);
        while let Some(searched) = self.early.remove(&self.next) {
            self.next += 1;
            for (file, searched) in searched {
                if (self.take)(&file, searched) == Room::Used {
                    self.work.only_count.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}
