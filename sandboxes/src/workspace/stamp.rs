//! When a call took its sandbox, by the workspace's own file system clock.
//!
//! A host file whose ctime is not older than the stamp changed during the call. So a stamp must not lie after the ctime
//! of any later change (an overwritten edit), and should lie after that of every earlier one (a false conflict).
//! The system clock gives neither: most file systems stamp with a coarse clock that is up to one tick (1–10 ms) late,
//! some with whole seconds, network ones with the server's clock.
//!
//! So the stamp is a ctime: of an unnamed file (`O_TMPFILE`) on the workspace's own file system. It has no name and
//! leaves no trace, not even in the folder's ctime. On Linux 6.13 and later a ctime that has been looked at is followed
//! by a later one, and no later ctime of any file is before that (kernel: Documentation/filesystems/multigrain-ts.rst); hence
//! look, change, look. Twice, since the first change may get the very time that another file was given last (measured on
//! 6.18), and only the one after it a time of its own. On older kernels the value is the coarse clock's: an edit in the same tick *before* the
//! stamp is then taken for a conflict, never one after it missed.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{Mode, OFlags};

use super::{
    beneath::{self, Time},
    workspace::Workspace,
};

/// How far back a stamp is set when the workspace's file system has no unnamed files to ask: FAT's 2 s granularity
/// (`fs/fat/misc.c`), the coarsest in use. A network file system's clock that runs further behind defeats it.
const BLIND_MARGIN: Duration = Duration::from_secs(2);

/// Steps of the system clock smaller than this are noise between two readings.
const CLOCK_NOISE: Duration = Duration::from_millis(1);

/// The moment a call took its sandbox.
#[derive(Debug, Clone)]
pub struct Stamp {
    time: Time,
    /// Hand-backs of this process that were complete by then.
    pub(super) hand_backs: u64,
    wall: SystemTime,
    steady: Instant,
}

impl Stamp {
    /// Takes a stamp. Call it before the view is first looked at.
    ///
    /// # Errors
    /// When the workspace's file system cannot be asked.
    pub fn take(workspace: &Workspace) -> io::Result<Self> {
        // First, so that a hand-back that ends in between counts as later.
        let hand_backs = workspace.recent().hand_backs();
        let (wall, steady) = (SystemTime::now(), Instant::now());
        let time = match workspace.clock().ask(workspace.fd()) {
            Ok(time) => time,
            // EOPNOTSUPP, EISDIR, ENOENT, EINVAL: no O_TMPFILE there; EACCES, EROFS: not for us.
            Err(_) => match workspace.state_clock().ask(workspace.state_fd()) {
                Ok(time) if same_file_system(workspace)? => time,
                Ok(_) | Err(_) => of_clock(wall - BLIND_MARGIN),
            },
        };
        Ok(Self { time, hand_backs, wall, steady })
    }

    /// The ctime itself.
    pub(super) fn time(&self) -> Time {
        self.now_readable()
    }

    /// Whether a ctime is not older than the stamp.
    pub(super) fn is_not_after(&self, changed: Time) -> bool {
        changed >= self.now_readable()
    }

    /// The stamp in today's clock: when the system clock was set back since, later ctimes can lie before the stamp, so it
    /// moves back by as much.
    fn now_readable(&self) -> Time {
        let steady = self.steady.elapsed();
        let wall_end = self.wall + steady;
        match wall_end.duration_since(SystemTime::now()) {
            Ok(behind) if behind > CLOCK_NOISE => earlier(self.time, behind + CLOCK_NOISE),
            Ok(_) | Err(_) => self.time,
        }
    }

    #[cfg(test)]
    pub(super) fn shifted_back(&self, by: Duration) -> Self {
        Self { time: earlier(self.time, by), ..self.clone() }
    }
}

/// The clock of a file system: an unnamed file on it, whose ctime is asked for. It is made once and kept, since making
/// one is a transaction of the file system's journal.
#[derive(Debug, Default)]
pub(super) struct Clock {
    unnamed: OnceLock<OwnedFd>,
}

impl Clock {
    /// The ctime that a change on `folder`'s file system gets now.
    pub(super) fn ask(&self, folder: BorrowedFd<'_>) -> io::Result<Time> {
        let unnamed = match self.unnamed.get() {
            Some(unnamed) => unnamed,
            None => {
                let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
                let made = rustix::fs::openat(folder, ".", flags, Mode::RUSR | Mode::WUSR)?;
                self.unnamed.get_or_init(|| made)
            }
        };
        for _ in 0..2 {
            beneath::entry_of(unnamed)?;
            rustix::fs::fchmod(unnamed, Mode::RUSR | Mode::WUSR)?;
        }
        // Another thread may have changed it once more: that time has passed as well.
        Ok(beneath::entry_of(unnamed)?.changed)
    }
}

fn same_file_system(workspace: &Workspace) -> io::Result<bool> {
    Ok(beneath::entry_of(workspace.fd())?.device == beneath::entry_of(workspace.state_fd())?.device)
}

fn of_clock(time: SystemTime) -> Time {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanoseconds: i64::from(since.subsec_nanos()) }
}

fn earlier(time: Time, by: Duration) -> Time {
    let seconds = time.seconds.saturating_sub(i64::try_from(by.as_secs()).unwrap_or(i64::MAX));
    let nanoseconds = time.nanoseconds - i64::from(by.subsec_nanos());
    if nanoseconds < 0 {
        Time { seconds: seconds - 1, nanoseconds: nanoseconds + 1_000_000_000 }
    } else {
        Time { seconds, nanoseconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::playground::Playground;

    #[test]
    fn a_change_after_the_stamp_is_never_older_than_it() {
        let ground = Playground::new();
        for round in 0..200 {
            let name = format!("f{}", round % 3);
            let stamp = Stamp::take(&ground.workspace).unwrap();
            ground.write(&name, &round.to_string());
            assert!(stamp.is_not_after(ground.entry(&name).changed), "round {round}");
        }
    }

    #[test]
    fn a_change_a_tick_before_the_stamp_is_older_than_it() {
        let ground = Playground::new();
        for round in 0..20 {
            ground.write("f", &round.to_string());
            // One tick of the slowest common kernel clock (CONFIG_HZ=100); Linux 6.13 needs none.
            std::thread::sleep(Duration::from_millis(11));
            let stamp = Stamp::take(&ground.workspace).unwrap();
            assert!(!stamp.is_not_after(ground.entry("f").changed), "round {round}");
        }
    }

    #[test]
    fn a_change_right_before_the_stamp_is_older_than_it_where_times_are_fine() {
        let ground = Playground::new();
        // Changes in a row have times of their own, or the clock is coarse.
        let times: Vec<Time> = (0..20).map(|_| Stamp::take(&ground.workspace).unwrap().time).collect();
        let fine = times.windows(2).all(|pair| pair[0] < pair[1]);
        let mut older = 0;
        for round in 0..50 {
            ground.write("f", &round.to_string());
            // Somebody who looked makes the next change's time a fine one.
            ground.entry("f");
            ground.write("f", "again");
            let stamp = Stamp::take(&ground.workspace).unwrap();
            older += usize::from(!stamp.is_not_after(ground.entry("f").changed));
        }
        assert_eq!(older == 50, fine, "{older} of 50");
    }

    #[test]
    fn taking_a_stamp_leaves_no_trace() {
        let ground = Playground::new();
        let before = ground.entry("");
        Stamp::take(&ground.workspace).unwrap();
        assert_eq!(ground.entry(""), before);
        assert!(beneath::names(ground.workspace.fd()).unwrap().is_empty());
    }

    #[test]
    fn a_clock_set_back_moves_the_stamp_back() {
        let ground = Playground::new();
        let mut stamp = Stamp::take(&ground.workspace).unwrap();
        let time = stamp.time;
        assert_eq!(stamp.now_readable(), time);
        stamp.wall += Duration::from_secs(60);
        assert!(stamp.now_readable() < earlier(time, Duration::from_secs(59)));
    }

    #[test]
    fn subtracting_borrows_a_second() {
        let time = Time { seconds: 5, nanoseconds: 1 };
        assert_eq!(earlier(time, Duration::new(1, 2)), Time { seconds: 3, nanoseconds: 999_999_999 });
    }
}
