//! Who writes intents at this moment, so that the calls of a server that was killed are recorded as lost.
//!
//! Each server that takes calls keeps a file below `audit/servers/`, named by its id, and holds its lock (flock(2)) for
//! as long as it lives: the kernel releases a lock however the process ends. The file says how long the log was when
//! the server began. A server that ends in order removes its file. So whoever begins next knows the dead by files that
//! nobody has locked, reads only the part of the log that can hold their intents, and records those without an outcome.
//!
//! What a live server announced is never declared lost, whatever else happens in the same state folder.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    lines::Lines,
    log::{Log, OpenError},
    record::{Event, Lost, Record, hex},
};

/// A server's presence. Dropping it releases the lock and leaves the file, which is how a dead server looks: only
/// [`Attendance::leave`] says that all is well.
#[derive(Debug)]
pub struct Attendance {
    server: String,
    path: PathBuf,
    _locked: File,
}

impl Attendance {
    /// Records what dead servers lost, each call once, and begins this server's own presence.
    ///
    /// Not for a thread of an async runtime: it may wait for the log.
    ///
    /// # Errors
    /// [`OpenError`] when the files cannot be read or made, or the log cannot be written; nothing may run then.
    pub fn begin(state: &Path, log: &Log) -> Result<Self, OpenError> {
        let log_path = super::path(state);
        let folder = log_path.with_file_name("servers");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Attendance { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed(&folder))?;
        for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
            let path = entry.map_err(failed(&folder))?.path();
            if let Some(dead) = Dead::found(&path).map_err(failed(&path))? {
                let lost = dead.lost(&log_path).map_err(failed(&log_path))?;
                if !lost.is_empty() {
                    tracing::warn!(calls = lost.len(), "a server was killed while it did these calls");
                    log.append(lost.into_iter().map(Event::Lost).collect())
                        .map_err(|source| OpenError::Tail { path: log_path.clone(), source })?;
                }
                fs::remove_file(&path).map_err(failed(&path))?;
            }
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("getrandom(2) without flags does not fail, it waits");
        let server = hex(&id);
        let path = folder.join(&server);
        let locked = present(&path, &log_path).map_err(failed(&path))?;
        Ok(Self { server, path, _locked: locked })
    }

    /// This server's id, which its intents carry.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Ends the presence of a server whose calls all have their outcome.
    pub fn leave(&self) {
        // The next server looks at a file that stays, finds nothing lost, and removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes a server's file and locks it.
fn present(path: &Path, log: &Path) -> io::Result<File> {
    loop {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.lock()?;
        // Between making and locking, another server may have taken it for a dead one's and removed it.
        if is_named(&file, path)? {
            write!(file, "{}", fs::metadata(log)?.len())?;
            return Ok(file);
        }
    }
}

fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let here = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((here.dev(), here.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A server that is gone and did not say so. Holds its file's lock, so that nobody else settles it as well.
struct Dead {
    server: String,
    /// How long the log was when it began, bytes; `None` when it died before it could take a call.
    from: Option<u64>,
    _locked: File,
}

impl Dead {
    /// The dead server that left the file at `path`, if it is one's.
    fn found(path: &Path) -> io::Result<Option<Self>> {
        let mut file = match OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if !is_named(&file, path)? {
            return Ok(None);
        }
        let mut text = String::new();
        (&mut file).take(32).read_to_string(&mut text)?;
        // A number that cannot be read is no reason to overlook a call: the whole log is read then.
        let from = (!text.is_empty()).then(|| text.parse().unwrap_or(0));
        let server = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Some(Self { server, from, _locked: file }))
    }

    /// Its calls that have no outcome.
    fn lost(&self, log: &Path) -> io::Result<Vec<Lost>> {
        let Some(from) = self.from else { return Ok(Vec::new()) };
        let mut file = File::open(log)?;
        // A log that is shorter now is another one.
        let from = if from > file.metadata()?.len() { 0 } else { from };
        file.seek(SeekFrom::Start(from))?;
        let mut lines = Lines::new(BufReader::with_capacity(1 << 16, file));
        let mut open: Vec<Lost> = Vec::new();
        while let Some(line) = lines.read()? {
            // Lines that are no records are for `cofferdam audit verify` to find.
            let Some(Record { time, event, .. }) = line.record() else { continue };
            match event {
                Event::Intent(intent) if intent.server == self.server => {
                    open.push(Lost { call: intent.call, tool: intent.tool, since: time });
                }
                Event::Outcome(outcome) => open.retain(|lost| lost.call != outcome.call),
                Event::Lost(known) => open.retain(|lost| lost.call != known.call),
                Event::Intent(_)
                | Event::ChangesOrdered(_)
                | Event::Changes(_)
                | Event::CommitOrdered(_)
                | Event::CommitTaken(_)
                | Event::ScratchOrdered(_)
                | Event::ScratchCleared(_)
                | Event::PolicyAccepted(_)
                | Event::Recovered(_) => {}
            }
        }
        Ok(open)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::UNIX_EPOCH};

    use super::super::{
        path,
        verify::{
            samples::{intent, outcome},
            verify,
        },
    };
    use super::*;

    fn log(state: &Path) -> Log {
        Log::open(state, Arc::new(|| UNIX_EPOCH)).unwrap()
    }

    /// Announces these calls as this server.
    fn announce(log: &Log, server: &Attendance, calls: &[u64]) {
        let events = calls.iter().map(|call| match intent(*call) {
            Event::Intent(mut intent) => {
                server.server().clone_into(&mut intent.server);
                Event::Intent(intent)
            }
            other => other,
        });
        log.append(events.collect()).unwrap();
    }

    fn counts(state: &Path) -> (u64, u64) {
        let found = verify(&path(state), None).unwrap();
        (found.lost, found.intents_without_outcome)
    }

    fn files(state: &Path) -> usize {
        fs::read_dir(state.join("audit/servers")).unwrap().count()
    }

    #[test]
    fn calls_of_a_dead_server_are_lost_once_and_those_of_a_live_one_never() {
        let state = tempfile::tempdir().unwrap();
        let log = log(state.path());
        let live = Attendance::begin(state.path(), &log).unwrap();
        let dead = Attendance::begin(state.path(), &log).unwrap();
        announce(&log, &live, &[1]);
        announce(&log, &dead, &[2, 3]);
        log.append(vec![outcome(3)]).unwrap();
        drop(dead);
        for _ in 0..3 {
            Attendance::begin(state.path(), &log).unwrap().leave();
            assert_eq!(counts(state.path()), (1, 1), "call 2 is lost, call 1 still runs");
        }
        let text = fs::read_to_string(path(state.path())).unwrap();
        assert!(text.contains(r#"{"lost":{"call":"call-2","tool":"read_file","since":"1970-01-01T00:00:00.000Z"}}"#));
        drop(live);
        let next = Attendance::begin(state.path(), &log).unwrap();
        assert_eq!(counts(state.path()), (2, 0));
        next.leave();
        assert_eq!(files(state.path()), 0);
    }

    #[test]
    fn a_server_that_left_in_order_is_not_looked_for() {
        let state = tempfile::tempdir().unwrap();
        let log = log(state.path());
        let server = Attendance::begin(state.path(), &log).unwrap();
        announce(&log, &server, &[1]);
        log.append(vec![outcome(1)]).unwrap();
        server.leave();
        drop(server);
        Attendance::begin(state.path(), &log).unwrap().leave();
        assert_eq!(counts(state.path()), (0, 0));
    }

    #[test]
    fn only_what_was_written_since_the_dead_server_began_is_read() {
        let state = tempfile::tempdir().unwrap();
        let log = log(state.path());
        let first = Attendance::begin(state.path(), &log).unwrap();
        announce(&log, &first, &[1]);
        let second = Attendance::begin(state.path(), &log).unwrap();
        let dead = Dead { server: first.server.clone(), from: Some(0), _locked: File::open(&second.path).unwrap() };
        assert_eq!(dead.lost(&path(state.path())).unwrap().len(), 1);
        let from = fs::read_to_string(&second.path).unwrap().parse().unwrap();
        let dead = Dead { from: Some(from), ..dead };
        assert_eq!(dead.lost(&path(state.path())).unwrap(), []);
        let beyond = Dead { from: Some(1 << 40), ..dead };
        assert_eq!(beyond.lost(&path(state.path())).unwrap().len(), 1, "a shorter log is read from its beginning");
    }

    #[test]
    fn many_servers_that_begin_together_settle_a_dead_one_once() {
        let state = tempfile::tempdir().unwrap();
        let log = log(state.path());
        let dead = Attendance::begin(state.path(), &log).unwrap();
        announce(&log, &dead, &[1]);
        drop(dead);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| Attendance::begin(state.path(), &log).unwrap().leave());
            }
        });
        assert_eq!(counts(state.path()), (1, 0));
        assert_eq!(files(state.path()), 0);
    }
}
