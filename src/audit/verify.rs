//! Checks a log from its first line to its last, holding one line at a time.
//!
//! Servers go on writing meanwhile. A batch is written under the file's lock, so how long the log was at a moment when
//! nobody held it is where it is whole: that much is read, and what comes later is the next check's. The lock is not kept
//! while reading, or a long log would stop every call.

use std::{
    collections::HashSet,
    fs::{File, TryLockError},
    io::{self, BufRead, BufReader, Read, Take},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    LOCK_PATIENCE,
    lines::{Line, Lines},
    record::{Call, Event, MAX_LINE_BYTES, NO_PREVIOUS, Record},
};

/// A log whose chain holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Lines in the log.
    pub records: u64,
    /// Calls that were announced.
    pub intents: u64,
    /// Announced calls that have no outcome and are not known to be lost: running now, or their server was killed and
    /// none has begun since.
    pub intents_without_outcome: u64,
    /// Calls whose server was killed before they ended.
    pub lost: u64,
    /// Times that a torn line was removed.
    pub recovered: u64,
    /// The last line's `sha256`; compare it with a copy to notice lines cut off at the end.
    pub head: String,
}

/// Why a log cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The file could not be read.
    #[error("read the audit log")]
    Read(#[source] io::Error),
    /// The line that was last at an earlier check is not there.
    #[error("no line has the sha256 {head}: the log was cut off or written anew")]
    Shortened {
        /// The digest that was kept.
        head: String,
    },
    /// A line does not fit.
    #[error("line {line}: {why}")]
    Line {
        /// Which line, from 1.
        line: u64,
        /// What is wrong, as a clause.
        why: String,
    },
}

/// Checks the log at `path`.
///
/// Finds every changed, added, removed or reordered line but those cut off at the end; with a head that was kept from an
/// earlier check, those as well.
///
/// # Errors
/// [`Broken`] with the first line that does not fit, or when no line has the digest `kept`.
pub fn verify(path: &Path, kept: Option<&str>) -> Result<Verified, Broken> {
    let log = open_between_batches(path).map_err(Broken::Read)?;
    check(BufReader::with_capacity(1 << 16, log), kept)
}

/// Opens the log at `path` up to where it is now, between two batches. A torn line that a killed server left is there.
///
/// # Errors
/// Those of opening, and `TimedOut` when a writer holds the lock for 10 s.
pub fn open_between_batches(path: &Path) -> io::Result<Take<File>> {
    let file = File::open(path)?;
    let start = Instant::now();
    loop {
        match file.try_lock_shared() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    let length = file.metadata()?.len();
    file.unlock()?;
    Ok(file.take(length))
}

fn check(log: impl BufRead, kept: Option<&str>) -> Result<Verified, Broken> {
    let mut missing = kept.filter(|kept| *kept != NO_PREVIOUS);
    let mut found = Verified {
        records: 0,
        intents: 0,
        intents_without_outcome: 0,
        lost: 0,
        recovered: 0,
        head: NO_PREVIOUS.to_owned(),
    };
    let mut open: HashSet<Call> = HashSet::new();
    let mut lines = Lines::new(log);
    while let Some(line) = lines.read().map_err(Broken::Read)? {
        let number = found.records + 1;
        let broken = |why: String| Broken::Line { line: number, why };
        let body = match line {
            Line::Whole(body) => body,
            Line::Torn(_) => return Err(broken("it has no end".to_owned())),
            Line::TooLong => return Err(broken(format!("it is longer than {MAX_LINE_BYTES} bytes"))),
        };
        let (record, digest) = Record::unseal(body).map_err(broken)?;
        if record.seq != number {
            return Err(broken(format!("it says that it is line {}", record.seq)));
        }
        if record.prev != found.head {
            return Err(broken("it does not follow the line before".to_owned()));
        }
        match record.event {
            Event::Intent(intent) => {
                found.intents += 1;
                open.insert(intent.call);
            }
            Event::Outcome(outcome) => {
                open.remove(&outcome.call);
            }
            Event::Lost(lost) => {
                found.lost += 1;
                open.remove(&lost.call);
            }
            Event::ChangesOrdered(_)
            | Event::Changes(_)
            | Event::CommitOrdered(_)
            | Event::CommitTaken(_)
            | Event::ScratchOrdered(_)
            | Event::ScratchCleared(_)
            | Event::PolicyAccepted(_) => {}
            Event::Recovered(_) => found.recovered += 1,
        }
        missing = missing.filter(|head| *head != digest);
        found.head = digest;
        found.records = number;
    }
    found.intents_without_outcome = open.len() as u64;
    match missing {
        Some(head) => Err(Broken::Shortened { head: head.to_owned() }),
        None => Ok(found),
    }
}

/// Events for tests.
#[cfg(test)]
pub(super) mod samples {
    use serde_json::json;

    use super::super::record::{Call, Client, Decision, End, Event, Intent, Outcome, OutputSummary};

    pub(in crate::audit) fn intent(call: u64) -> Event {
        Event::Intent(Box::new(Intent {
            call: Call(format!("call-{call}")),
            server: String::new(),
            session: "default".into(),
            client: Client { name: "test".into(), version: "1".into() },
            workspace: "/w".into(),
            tool: "read_file".into(),
            plan_sha256: None,
            arguments_sha256: "00".into(),
            standard_sha256: None,
            arguments: [("path".to_owned(), json!("a"))].into(),
            decision: Decision::Allowed,
            rule: Some("builtin".into()),
            policy_sha256: "11".into(),
        }))
    }

    pub(in crate::audit) fn outcome(call: u64) -> Event {
        Event::Outcome(Box::new(Outcome {
            call: Call(format!("call-{call}")),
            tool: "read_file".into(),
            end: End::Succeeded,
            code: None,
            sandbox: None,
            changes: None,
            exit: None,
            duration_ms: 3,
            output: OutputSummary { bytes: 1, sha256: "22".into() },
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::samples::{intent, outcome};
    use super::*;
    use crate::audit::Lost;

    fn lines(events: impl IntoIterator<Item = Event>) -> Vec<Vec<u8>> {
        let mut prev = NO_PREVIOUS.to_owned();
        let mut seq = 0;
        let mut seal = |event| {
            seq += 1;
            let (line, digest) =
                Record { seq, time: "2026-11-23T19:28:04.007Z".into(), prev: prev.clone(), event }.seal();
            prev = digest;
            line
        };
        events.into_iter().map(&mut seal).collect()
    }

    fn small_log() -> Vec<Vec<u8>> {
        lines([intent(1), outcome(1), intent(2), intent(3), outcome(3)])
    }

    #[test]
    fn an_unchanged_log_is_verified_and_counted() {
        let found = check(small_log().concat().as_slice(), None).unwrap();
        assert_eq!((found.records, found.intents, found.intents_without_outcome), (5, 3, 1));
        assert_eq!(check(&b""[..], None).unwrap().records, 0);
    }

    #[test]
    fn a_lost_call_is_not_open_any_more() {
        let lost = Event::Lost(Lost { call: Call("call-1".into()), tool: "read_file".into(), since: "then".into() });
        let found = check(lines([intent(1), intent(2), lost]).concat().as_slice(), None).unwrap();
        assert_eq!((found.intents_without_outcome, found.lost), (1, 1));
    }

    #[test]
    fn removed_added_and_reordered_lines_are_found() {
        let log = small_log();
        for index in 0..log.len() - 1 {
            let mut removed = log.clone();
            removed.remove(index);
            assert!(check(removed.concat().as_slice(), None).is_err(), "removed {index}");
            let mut swapped = log.clone();
            swapped.swap(index, index + 1);
            assert!(check(swapped.concat().as_slice(), None).is_err(), "swapped {index}");
            let mut doubled = log.clone();
            doubled.insert(index, log[index].clone());
            assert!(check(doubled.concat().as_slice(), None).is_err(), "doubled {index}");
        }
    }

    #[test]
    fn a_log_cut_at_a_line_still_verifies_as_the_module_says() {
        let log = small_log();
        assert_eq!(check(log[..3].concat().as_slice(), None).unwrap().records, 3);
    }

    #[test]
    fn a_log_cut_within_a_line_does_not_verify() {
        let bytes = small_log().concat();
        let torn = check(&bytes[..bytes.len() - 1], None);
        assert!(matches!(torn, Err(Broken::Line { line: 5, .. })), "{torn:?}");
    }

    #[test]
    fn a_line_that_is_being_written_is_no_alarm_and_one_that_stays_torn_is() {
        use std::io::Write;
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("log.jsonl");
        let log = small_log();
        std::fs::write(&path, log[..3].concat()).unwrap();
        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.lock().unwrap();
        let (half, rest) = log[3].split_at(20);
        writer.write_all(half).unwrap();
        let found = thread::scope(|scope| {
            let checking = scope.spawn(|| verify(&path, None));
            thread::sleep(Duration::from_millis(50));
            writer.write_all(rest).unwrap();
            writer.unlock().unwrap();
            checking.join().unwrap().unwrap()
        });
        assert_eq!(found.records, 4);
        // What is appended after it was opened is left to the next check.
        let opened = open_between_batches(&path).unwrap();
        writer.write_all(&log[4][..20]).unwrap();
        assert_eq!(check(BufReader::new(opened), None).unwrap().records, 4);
        assert!(matches!(verify(&path, None), Err(Broken::Line { line: 5, .. })), "torn, and nobody is writing");
    }

    #[test]
    fn an_endless_line_is_refused_without_being_held() {
        let endless = io::repeat(b'x');
        assert!(matches!(check(BufReader::new(endless), None), Err(Broken::Line { line: 1, .. })));
    }

    proptest! {
        #[test]
        fn every_changed_byte_is_found(index in any::<prop::sample::Index>(), mask in 1..=255u8) {
            let mut bytes = small_log().concat();
            let at = index.index(bytes.len());
            bytes[at] ^= mask;
            prop_assert!(check(bytes.as_slice(), None).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_kept_head_shows_that_the_end_was_cut_off() {
        let lines = small_log();
        let (all, cut) = (lines.concat(), lines[..lines.len() - 1].concat());
        let head = check(all.as_slice(), None).unwrap().head;
        let earlier = check(cut.as_slice(), None).unwrap().head;
        assert!(check(all.as_slice(), Some(&earlier)).is_ok(), "what came after it is no harm");
        assert!(check(all.as_slice(), Some(&head)).is_ok());
        assert!(matches!(check(cut.as_slice(), Some(&head)), Err(Broken::Shortened { .. })));
    }
}
