//! Appends to the log.
//!
//! Who has something to record writes it, on the thread of the call: there is nobody to wake and to wait for. What has
//! come from others while one is syncing goes into one batch with one sync, written by the first of them, so many calls
//! at once pay for few. Several servers may share one log: a batch is written under the file's lock, and the chain goes
//! on from whatever line is last by then.
//!
//! A call that can only read does not wait for the disk before it runs, since nothing comes of it before its answer: its
//! intent is written at once and synced by a thread of the log's own while it runs, and its answer waits for that. Its
//! outcome is written at once too, and synced soon after, together with what else came: a machine that loses power in
//! between has the call's intent, and the next server records the call as lost. A sync that fails stops the log if anything
//! was promised; else it refuses the batch that it was for.
//!
//! A writer that dies in the middle of a line leaves a torn one. The next batch, of whatever server, removes it and
//! records that it did. Nothing else ever shortens the log.

use std::{
    fmt,
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    record::{Event, MAX_LINE_BYTES, NO_PREVIOUS, Record, Recovered, hex},
    time::{Clock, rfc3339},
};
use sha2::{Digest, Sha256};

/// Another server holds the lock for one batch. One that holds it this long is stopped or stuck.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How long what is to be synced soon waits for company. Longer than a call takes, so that a run of calls pays for it with
/// the syncs of its intents.
const SOON: Duration = Duration::from_millis(50);

/// The open log.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What waits for the writer, in the order in which it came.
    waiting: Mutex<Vec<Request>>,
    writer: Mutex<Writer>,
    syncs: Arc<Syncs>,
    /// Last, so that nothing is promised any more when it ends.
    syncer: Syncer,
}

/// How far batches that were promised to come to the disk have come there.
#[derive(Debug, Default)]
struct Syncs {
    /// One at a time: the kernel tells a failure to one of several who sync one open file (`fsync(2)`, "ERRORS").
    syncing: Mutex<()>,
    reached: Mutex<Reached>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Reached {
    /// Batches that are written and promised.
    promised: u64,
    /// How many of them are on the disk.
    synced: u64,
    /// Why the rest will never be known to be there.
    failed: Option<AppendError>,
}

impl Syncs {
    /// Promises a batch that was just written. Returns its number.
    fn promise(&self) -> u64 {
        let mut reached = locked(&self.reached);
        reached.promised += 1;
        reached.promised
    }

    /// Brings all that is written to the disk. When that fails and something was promised, the log is not whole any more.
    fn sync(&self, file: &File) -> io::Result<()> {
        let _turn = locked(&self.syncing);
        // Before the sync begins: what is written while it is under way does not count.
        let promised = locked(&self.reached).promised;
        let synced = file.sync_data();
        let mut reached = locked(&self.reached);
        match (&synced, &reached.failed) {
            (Ok(()), None) => reached.synced = reached.synced.max(promised),
            // What was promised meanwhile too: the kernel tells of a failure once, and the next sync would know nothing of it.
            (Err(error), None) if reached.promised > reached.synced => {
                reached.failed = Some(io::Error::new(error.kind(), error.to_string()).into());
            }
            // What was lost stays lost, whatever comes to the disk afterwards.
            (Ok(()), Some(_)) | (Err(_), None | Some(_)) => {}
        }
        self.changed.notify_all();
        synced
    }

    fn is_behind(&self) -> bool {
        let reached = locked(&self.reached);
        reached.promised > reached.synced && reached.failed.is_none()
    }

    fn wait_for(&self, batch: u64) -> Result<(), AppendError> {
        let unknown = |reached: &mut Reached| reached.synced < batch && reached.failed.is_none();
        let reached = self.changed.wait_while(locked(&self.reached), unknown).unwrap_or_else(PoisonError::into_inner);
        if reached.synced >= batch { Ok(()) } else { Err(reached.failed.clone().unwrap_or(AppendError::Ended)) }
    }
}

/// A batch that is on its way to the disk.
#[derive(Debug)]
#[must_use = "it is not known to be on the disk before it was waited for"]
pub struct Underway {
    syncs: Arc<Syncs>,
    batch: u64,
}

impl Underway {
    /// Waits until it is there.
    ///
    /// # Errors
    /// [`AppendError`] when it is not known to be.
    pub fn arrive(self) -> Result<(), AppendError> {
        self.syncs.wait_for(self.batch)
    }
}

#[derive(Debug)]
struct Request {
    events: Vec<Event>,
    written: mpsc::SyncSender<Result<(), AppendError>>,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder could not be made.
    #[error("make the audit folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file could not be opened.
    #[error("open the audit log {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file's last line could not be read or mended.
    #[error("continue the audit log {path}")]
    Tail {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: AppendError,
    },
    /// What says which servers use the log could not be read or made.
    #[error("read or write {path}, which says who uses the audit log")]
    Attendance {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why an event was not recorded. The call it belongs to is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The file could not be read, written or synced.
    #[error("write the audit log")]
    Write(#[source] Arc<io::Error>),
    /// Another process holds the log's lock.
    #[error("lock the audit log: another process has held it for {} s", LOCK_PATIENCE.as_secs())]
    Locked,
    /// The file is not at its path any more.
    #[error("the audit log was moved or removed while in use; start the server again to begin a new one")]
    Moved,
    /// The last line is complete and wrong: somebody changed the file.
    #[error(
        "the audit log's last line was changed ({why}); look at it with `cofferdam audit verify`, and move the file aside \
         to begin a new one"
    )]
    Damaged {
        /// What is wrong with it.
        why: String,
    },
    /// The thread that wrote for this one panicked.
    #[error("the audit log's writer ended unexpectedly")]
    Ended,
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        Self::Write(Arc::new(error))
    }
}

impl Log {
    /// Opens the log below the state folder, makes it if it is not there, and removes a torn last line.
    ///
    /// # Errors
    /// [`OpenError`] when the log cannot be continued; nothing may run then.
    pub fn open(state: &Path, clock: Clock) -> Result<Self, OpenError> {
        let path = super::path(state);
        let mut writer = Writer::open(&path, clock)?;
        writer.append(Vec::new(), Durability::Now).map_err(|source| OpenError::Tail { path: path.clone(), source })?;
        let syncs = Arc::clone(&writer.syncs);
        let syncer = writer.file.try_clone().and_then(|file| Syncer::start(file, Arc::clone(&syncs)));
        let syncer = syncer.map_err(|source| OpenError::File { path, source })?;
        let writer = Mutex::new(writer);
        Ok(Self { shared: Arc::new(Shared { waiting: Mutex::default(), writer, syncs, syncer }) })
    }

    /// Appends `events` in this order, without another event between them. They are in the file when this returns, and on
    /// their way to the disk.
    ///
    /// # Errors
    /// [`AppendError`] when any of them is not in the file, or something before them could not be brought to the disk.
    pub fn append_meanwhile(&self, events: Vec<Event>) -> Result<Underway, AppendError> {
        self.append_by(events, Instant::now())
    }

    /// Appends `events` as [`Log::append_meanwhile`] does; they are on the disk within [`SOON`], or when the log is dropped.
    ///
    /// # Errors
    /// As [`Log::append_meanwhile`].
    pub fn append_soon(&self, events: Vec<Event>) -> Result<(), AppendError> {
        self.append_by(events, Instant::now() + SOON).map(drop)
    }

    fn append_by(&self, events: Vec<Event>, latest: Instant) -> Result<Underway, AppendError> {
        self.still_whole()?;
        let batch = {
            let mut writer = locked(&self.shared.writer);
            writer.append(events, Durability::Promised)?;
            self.shared.syncs.promise()
        };
        self.shared.syncer.ask(latest)?;
        Ok(Underway { syncs: Arc::clone(&self.shared.syncs), batch })
    }

    /// Does something while no sync can begin.
    #[cfg(test)]
    pub(crate) fn while_nothing_reaches_the_disk<T>(&self, act: impl FnOnce() -> T) -> T {
        let _turn = locked(&self.shared.syncs.syncing);
        act()
    }

    fn still_whole(&self) -> Result<(), AppendError> {
        locked(&self.shared.syncs.reached).failed.clone().map_or(Ok(()), Err)
    }

    /// Appends `events` in this order, without another event between them, and returns when they are on the disk. Blocks
    /// for a sync of the disk, some 0.2 ms to 10 ms: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`AppendError`] when any of them is not.
    pub fn append(&self, events: Vec<Event>) -> Result<(), AppendError> {
        self.still_whole()?;
        let (written, answer) = mpsc::sync_channel(1);
        locked(&self.shared.waiting).push(Request { events, written });
        let mut writer = locked(&self.shared.writer);
        // Who had the writer until now may have taken ours along.
        match answer.try_recv() {
            Ok(result) => return result,
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return Err(AppendError::Ended),
        }
        writer.write_all(std::mem::take(&mut *locked(&self.shared.waiting)));
        answer.try_recv().unwrap_or(Err(AppendError::Ended))
    }
}

/// A panic of another holder leaves nothing half done: the queue holds whole requests, and the writer forgets where the
/// file ended before it writes.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that syncs for others. Dropping it brings all that was promised to the disk, and ends it.
#[derive(Debug)]
struct Syncer {
    asked: Option<mpsc::Sender<Instant>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    fn start(file: File, syncs: Arc<Syncs>) -> io::Result<Self> {
        // Not bounded: a call sends two at most, and each sync is for all that came before.
        let (asked, moments) = mpsc::channel();
        let sync = move || sync_in_time(&file, &moments, syncs);
        let thread = thread::Builder::new().name("audit".into()).spawn(sync)?;
        Ok(Self { asked: Some(asked), thread: Some(thread) })
    }

    /// Asks for a sync at this moment at the latest.
    fn ask(&self, latest: Instant) -> Result<(), AppendError> {
        let asked = self.asked.as_ref().ok_or(AppendError::Ended)?;
        asked.send(latest).map_err(|_| AppendError::Ended)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.asked = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Syncs by each moment that is sent, until nobody can send any more.
fn sync_in_time(file: &File, moments: &mpsc::Receiver<Instant>, syncs: Arc<Syncs>) {
    let ending = Ending(syncs);
    while let Ok(mut latest) = moments.recv() {
        // Others may be in more of a hurry; those who are not may have company until then.
        while let Some(left) = latest.checked_duration_since(Instant::now()) {
            match moments.recv_timeout(left) {
                Ok(other) => latest = latest.min(other),
                Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        if ending.0.is_behind()
            && let Err(error) = ending.0.sync(file)
        {
            tracing::error!(%error, "the audit log did not reach the disk");
        }
    }
}

/// Tells those who wait, when the thread that they wait for is at its end.
struct Ending(Arc<Syncs>);

impl Drop for Ending {
    fn drop(&mut self) {
        locked(&self.0.reached).failed.get_or_insert(AppendError::Ended);
        self.0.changed.notify_all();
    }
}

/// When a batch is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// Before it is called written.
    Now,
    /// Later; the log's own thread sees to it.
    Promised,
}

struct Writer {
    path: PathBuf,
    syncs: Arc<Syncs>,
    file: File,
    clock: Clock,
    /// Where the file ended after our last batch; `None` when that is not known.
    tail: Option<Tail>,
    /// A torn line that was removed and is not recorded yet.
    recovered: Option<Recovered>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tail {
    size: u64,
    seq: u64,
    head: String,
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Writer").field("path", &self.path).field("tail", &self.tail).finish_non_exhaustive()
    }
}

impl Writer {
    fn open(path: &Path, clock: Clock) -> Result<Self, OpenError> {
        let folder = path.parent().unwrap_or(path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
        let open = || {
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(path)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            // A new file's name is not on the disk before its folder is.
            File::open(folder)?.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(|source| OpenError::File { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), syncs: Arc::default(), file, clock, tail: None, recovered: None })
    }

    /// Writes what waits, as one batch, and tells everybody who waits.
    fn write_all(&mut self, batch: Vec<Request>) {
        let mut events = Vec::new();
        let mut waiting = Vec::new();
        for request in batch {
            events.extend(request.events);
            waiting.push(request.written);
        }
        let result = self.append(events, Durability::Now);
        if let Err(error) = &result {
            tracing::error!(error = error as &dyn std::error::Error, "the audit log cannot be written");
        }
        for written in waiting {
            // Nobody stops waiting; if one did, it would be no reason not to record.
            let _ = written.send(result.clone());
        }
    }

    /// Writes one batch under the file's lock.
    fn append(&mut self, events: Vec<Event>, durability: Durability) -> Result<(), AppendError> {
        self.lock()?;
        let result = self.append_locked(events, durability);
        if result.is_err() {
            self.tail = None;
        }
        self.file.unlock()?;
        result
    }

    fn append_locked(&mut self, events: Vec<Event>, durability: Durability) -> Result<(), AppendError> {
        let start = self.find_tail()?;
        let mut tail = start.clone();
        let mut bytes = Vec::new();
        for event in self.recovered.clone().map(Event::Recovered).into_iter().chain(events) {
            tail.seq += 1;
            let record = Record { seq: tail.seq, time: rfc3339((self.clock)()), prev: tail.head, event };
            let (line, digest) = record.seal();
            bytes.extend_from_slice(&line);
            tail.head = digest;
        }
        tail.size += bytes.len() as u64;
        if !bytes.is_empty() {
            let written = self.file.write_all(&bytes).and_then(|()| match durability {
                Durability::Now => self.syncs.sync(&self.file),
                Durability::Promised => Ok(()),
            });
            if let Err(error) = written {
                // The disk is full, as a rule. What was half written must not stay as a torn line;
                // if this fails as well, the next batch mends it.
                let _ = self.file.set_len(start.size);
                return Err(error.into());
            }
        }
        self.tail = Some(tail);
        self.recovered = None;
        Ok(())
    }

    fn lock(&self) -> Result<(), AppendError> {
        let start = Instant::now();
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(TryLockError::WouldBlock) => return Err(AppendError::Locked),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }

    /// Finds where the chain goes on, and removes a torn last line.
    fn find_tail(&mut self) -> Result<Tail, AppendError> {
        let here = self.file.metadata()?;
        let named = std::fs::symlink_metadata(&self.path).map_err(|_| AppendError::Moved)?;
        if (here.dev(), here.ino()) != (named.dev(), named.ino()) {
            return Err(AppendError::Moved);
        }
        if let Some(tail) = self.tail.take_if(|tail| tail.size == here.size()) {
            return Ok(tail);
        }
        let end = self.read_end(here.size())?;
        let complete = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let torn = &end[complete..];
        let size = here.size() - torn.len() as u64;
        if !torn.is_empty() {
            self.file.set_len(size)?;
            self.recovered = Some(Recovered { bytes: torn.len() as u64, sha256: hex(&Sha256::digest(torn)) });
        }
        if complete == 0 {
            return if size == 0 {
                Ok(Tail { size, seq: 0, head: NO_PREVIOUS.to_owned() })
            } else {
                Err(AppendError::Damaged { why: format!("it is longer than {MAX_LINE_BYTES} bytes") })
            };
        }
        let line = end[..complete - 1].rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let (record, head) = Record::unseal(line).map_err(|why| AppendError::Damaged { why })?;
        Ok(Tail { size, seq: record.seq, head })
    }

    /// The last bytes of the file: enough for a whole line and a torn one.
    fn read_end(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let from = size.saturating_sub(2 * MAX_LINE_BYTES as u64);
        self.file.seek(SeekFrom::Start(from))?;
        let mut end = Vec::new();
        (&mut self.file).take(size - from).read_to_end(&mut end)?;
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::OwnedFd, time::UNIX_EPOCH};

    use super::super::{Action, ChangesDecided, Verified, path, verify};
    use super::*;

    fn clock() -> Clock {
        Arc::new(|| UNIX_EPOCH)
    }

    fn event(text: &str) -> Event {
        Event::Changes(ChangesDecided {
            session: text.into(),
            workspace: "/w".into(),
            action: Action::Apply,
            done: 0,
            paths: Vec::new(),
            order: None,
        })
    }

    fn checked(state: &Path) -> Verified {
        verify(&path(state), None).unwrap()
    }

    #[test]
    fn what_is_appended_is_there_and_chained_across_openings() {
        let state = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let log = Log::open(state.path(), clock()).unwrap();
            log.append(vec![event("a"), event("b")]).unwrap();
        }
        assert_eq!(checked(state.path()).records, 4);
        let mode = fs::metadata(path(state.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_appended_soon_is_chained_with_the_rest_and_synced_by_itself() {
        let state = tempfile::tempdir().unwrap();
        let log = Log::open(state.path(), clock()).unwrap();
        log.append(vec![event("a")]).unwrap();
        log.append_soon(vec![event("b")]).unwrap();
        assert_eq!(checked(state.path()).records, 2, "it is in the file at once");
        let begun = Instant::now();
        while log.shared.syncs.is_behind() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it was never synced");
            thread::sleep(Duration::from_millis(5));
        }
        log.append(vec![event("c")]).unwrap();
        assert_eq!(checked(state.path()).records, 3);
    }

    #[test]
    fn what_is_under_way_arrives_and_is_not_there_before() {
        let state = tempfile::tempdir().unwrap();
        let log = Log::open(state.path(), clock()).unwrap();
        log.append_meanwhile(vec![event("a")]).unwrap().arrive().unwrap();
        let syncs = Arc::new(Syncs::default());
        let underway = Underway { syncs: Arc::clone(&syncs), batch: syncs.promise() };
        let waiting = thread::spawn(move || underway.arrive());
        thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        syncs.sync(&tempfile::tempfile().unwrap()).unwrap();
        waiting.join().unwrap().unwrap();
        assert!(!syncs.is_behind());
    }

    #[test]
    fn a_sync_that_failed_stops_the_log_and_whoever_waits() {
        let state = tempfile::tempdir().unwrap();
        let log = Log::open(state.path(), clock()).unwrap();
        // A pipe cannot be synced: it stands for a disk that is gone.
        let gone = File::from(OwnedFd::from(io::pipe().unwrap().0));
        assert!(log.shared.syncs.sync(&gone).is_err());
        log.append(vec![event("a")]).unwrap();
        let batch = log.shared.syncs.promise();
        assert!(log.shared.syncs.sync(&gone).is_err());
        assert!(Underway { syncs: Arc::clone(&log.shared.syncs), batch }.arrive().is_err());
        assert!(log.append(vec![event("a")]).is_err() && log.append_soon(vec![event("a")]).is_err());
    }

    #[test]
    fn what_was_promised_is_brought_to_the_disk_when_the_log_is_dropped() {
        let state = tempfile::tempdir().unwrap();
        let log = Log::open(state.path(), clock()).unwrap();
        log.append_soon(vec![event("a")]).unwrap();
        let syncs = Arc::clone(&log.shared.syncs);
        let begun = Instant::now();
        drop(log);
        let reached = locked(&syncs.reached);
        assert_eq!((reached.promised, reached.synced), (1, 1));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_torn_line_is_removed_and_recorded() {
        let state = tempfile::tempdir().unwrap();
        let log = Log::open(state.path(), clock()).unwrap();
        log.append(vec![event("a"), event("b")]).unwrap();
        drop(log);
        let file = path(state.path());
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
        let log = Log::open(state.path(), clock()).unwrap();
        log.append(vec![event("c")]).unwrap();
        let found = checked(state.path());
        assert_eq!((found.records, found.recovered), (3, 1));
    }

    #[test]
    fn a_file_of_one_torn_line_starts_again_with_the_note() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("audit")).unwrap();
        fs::write(path(state.path()), "{\"seq\":1").unwrap();
        Log::open(state.path(), clock()).unwrap();
        let found = checked(state.path());
        assert_eq!((found.records, found.recovered), (1, 1));
    }

    #[test]
    fn two_servers_and_many_threads_share_one_chain() {
        let state = tempfile::tempdir().unwrap();
        let logs = [Log::open(state.path(), clock()).unwrap(), Log::open(state.path(), clock()).unwrap()];
        thread::scope(|scope| {
            for index in 0..20 {
                let log = logs[index % 2].clone();
                scope.spawn(move || (0..5).for_each(|_| log.append(vec![event("x"), event("y")]).unwrap()));
            }
        });
        assert_eq!(checked(state.path()).records, 200);
    }

    #[test]
    fn a_changed_last_line_stops_the_log() {
        let state = tempfile::tempdir().unwrap();
        let log = Log::open(state.path(), clock()).unwrap();
        log.append(vec![event("aaaa")]).unwrap();
        drop(log);
        let file = path(state.path());
        fs::write(&file, fs::read_to_string(&file).unwrap().replace("aaaa", "bbbb")).unwrap();
        let error = Log::open(state.path(), clock()).unwrap_err();
        assert!(matches!(error, OpenError::Tail { source: AppendError::Damaged { .. }, .. }), "{error:?}");
    }

    #[test]
    fn a_removed_log_refuses() {
        let state = tempfile::tempdir().unwrap();
        let log = Log::open(state.path(), clock()).unwrap();
        fs::remove_file(path(state.path())).unwrap();
        assert!(matches!(log.append(vec![event("a")]), Err(AppendError::Moved)));
    }

    #[test]
    fn a_link_in_the_logs_place_is_not_followed() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("audit")).unwrap();
        std::os::unix::fs::symlink(state.path().join("elsewhere"), path(state.path())).unwrap();
        assert!(matches!(Log::open(state.path(), clock()), Err(OpenError::File { .. })));
    }

    #[test]
    fn a_failed_write_leaves_the_chain_whole() {
        let state = tempfile::tempdir().unwrap();
        let log_path = path(state.path());
        let mut writer = Writer::open(&log_path, clock()).unwrap();
        writer.append(vec![event("a")], Durability::Now).unwrap();
        // A descriptor that cannot be written stands for a full disk.
        writer.file = File::open(&log_path).unwrap();
        assert!(matches!(writer.append(vec![event("b")], Durability::Now), Err(AppendError::Write(_))));
        let mut writer = Writer::open(&log_path, clock()).unwrap();
        writer.append(vec![event("c")], Durability::Now).unwrap();
        assert_eq!(checked(state.path()).records, 2);
    }
}
