//! The bound of folders on the host's disk that a call writes to: they are measured while it runs, and it is ended when they
//! are beyond it.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cofferdam_contract::Limits;

use super::measure::{ENDLESS, Measure, Usage, measure};

/// How long volumes may go without being measured. A walk that takes long is repeated less often: it may take a
/// twentieth of the time.
const UNMEASURED: Duration = Duration::from_secs(1);

/// What is watched.
#[derive(Debug)]
pub(crate) struct Watch {
    uppers: Vec<PathBuf>,
    bound: Usage,
    /// Free bytes of the file system when the call began.
    free_at_start: u64,
    /// What was left of the bound then, in bytes.
    room_at_start: u64,
    /// Free blocks when the volumes were last measured, with each free inode as a block of 4 KiB.
    free: u64,
    /// When they were last measured, and how long that took.
    measured: Instant,
    cost: Duration,
}

impl Watch {
    /// Watches `uppers`, which together may hold `bound`, and hold `now`.
    pub(super) fn new(uppers: Vec<PathBuf>, bound: Usage, now: Usage, cost: Duration) -> Self {
        let free = uppers.first().map_or(Usage::default(), |upper| free(upper));
        Self {
            uppers,
            bound,
            free_at_start: free.bytes,
            room_at_start: bound.bytes.saturating_sub(now.bytes),
            free: weight(free),
            measured: Instant::now(),
            cost,
        }
    }

    /// Watches `folder`, which may grow by the disk budget of `limits`.
    pub(crate) fn of_growth(folder: PathBuf, limits: &Limits) -> Self {
        let before = Instant::now();
        let (now, allowed) = (known(measure([folder.as_path()], ENDLESS)), Usage::allowed(limits));
        let bound =
            Usage { bytes: now.bytes.saturating_add(allowed.bytes), inodes: now.inodes.saturating_add(allowed.inodes) };
        Self::new(vec![folder], bound, now, before.elapsed())
    }

    /// Begins anew with what the folders hold now.
    pub(super) fn begin_again(&mut self) {
        let before = Instant::now();
        let now = known(measure(self.uppers.iter().map(PathBuf::as_path), ENDLESS));
        *self = Self::new(std::mem::take(&mut self.uppers), self.bound, now, before.elapsed());
    }

    /// Whether the folders hold more than they may. Measures by walking when the file system's free space says that
    /// something large may have been written, or when the last time was long ago.
    pub(crate) fn is_beyond(&mut self) -> bool {
        let Some(first) = self.uppers.first() else { return false };
        let now_free = free(first);
        let step = self.bound.bytes / 8;
        let plenty = weight(now_free) > self.bound.bytes.saturating_mul(4);
        let needed = if plenty { step } else { step.min(64 << 20) };
        // What others delete meanwhile hides what is written here, so it is measured from time to time all the same.
        let due = self.measured.elapsed() >= UNMEASURED.max(self.cost * 20);
        if self.free.saturating_sub(weight(now_free)) < needed && !due {
            return false;
        }
        self.free = weight(now_free);
        let before = Instant::now();
        let measured = measure(self.uppers.iter().map(PathBuf::as_path), self.bound);
        (self.measured, self.cost) = (Instant::now(), before.elapsed());
        match measured {
            Measure::Whole(_) => false,
            // Then what is missing of the disk's free space counts, whoever took it: a folder that may not be read is no
            // way around the bound.
            Measure::AtLeast(_) => self.free_at_start.saturating_sub(now_free.bytes) > self.room_at_start,
            Measure::Beyond => true,
        }
    }
}

/// What was found of what must be bounded by what it was.
fn known(measure: Measure) -> Usage {
    match measure {
        Measure::Whole(usage) | Measure::AtLeast(usage) => usage,
        Measure::Beyond => Usage::default(),
    }
}

fn weight(free: Usage) -> u64 {
    free.bytes.saturating_add(free.inodes.saturating_mul(4096))
}

/// What is free of the file system that `path` is on.
fn free(path: &Path) -> Usage {
    let unknown = Usage { bytes: u64::MAX, inodes: 0 };
    rustix::fs::statvfs(path).map_or(unknown, |status| Usage {
        bytes: status.f_bavail.saturating_mul(status.f_frsize),
        inodes: status.f_favail,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_a_folder_held_before_does_not_count_where_its_growth_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            fs::write(folder.path().join(name), vec![1; 1 << 20]).unwrap();
            fs::File::open(folder.path().join(name)).unwrap().sync_all().unwrap();
        };
        ["one", "two"].iter().for_each(|name| write(name));
        let mut watch = Watch::of_growth(folder.path().to_path_buf(), &Limits { disk_mb: 1, ..Limits::FILES });
        let mut is_beyond = || {
            watch.measured -= Duration::from_secs(60);
            watch.is_beyond()
        };
        assert!(!is_beyond());
        write("three");
        write("four");
        assert!(is_beyond());
    }

    #[test]
    fn volumes_are_beyond_their_bound_together_and_what_was_there_counts() {
        let folder = tempfile::tempdir().unwrap();
        let uppers: Vec<PathBuf> = ["one", "two"].map(|name| folder.path().join(name)).to_vec();
        for upper in &uppers {
            fs::create_dir(upper).unwrap();
            fs::write(upper.join("file"), vec![1; 600 << 10]).unwrap();
            fs::File::open(upper.join("file")).unwrap().sync_all().unwrap();
        }
        let mebibyte = |number: u64| Usage { bytes: number << 20, inodes: 100 };
        let now = Usage { bytes: 1200 << 10, inodes: 2 };
        let beyond = |bound: Usage| {
            let mut watch = Watch::new(uppers.clone(), bound, now, Duration::ZERO);
            watch.measured -= UNMEASURED;
            watch.is_beyond()
        };
        assert!(beyond(mebibyte(1)));
        assert!(!beyond(mebibyte(2)));
        assert!(beyond(Usage { inodes: 1, ..mebibyte(2) }));
    }
}
