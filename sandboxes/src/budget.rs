//! Budgets that no kernel mechanism holds here: looked at from time to time while a call runs.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cofferdam_contract::{Ended, Limits};
use rustix::process::Pid;

/// How often budgets are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// How long a scratch volume may go without being measured. A walk that takes long is repeated less often: it may take a
/// twentieth of the time.
const UNMEASURED: Duration = Duration::from_secs(1);

/// Bytes of a block of `stat(2)`.
const BLOCK_BYTES: u64 = 512;

/// Files and folders that a scratch volume may gain for each MiB of disk budget: an inode weighs 4 KiB here.
const INODES_PER_MIB: u64 = 256;

/// What is watched of one sandbox.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    memory: Memory,
    scratch: Vec<Volume>,
}

/// Who holds the memory budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// A cgroup.
    Cgroup,
    /// This watcher.
    Watched,
}

/// A scratch volume on disk.
#[derive(Debug)]
struct Volume {
    upper: PathBuf,
    at_start: Usage,
    /// Free blocks of its file system when its use was last measured.
    free: u64,
    /// When it was last measured, and how long that took.
    measured: Instant,
    cost: Duration,
}

/// What a folder takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Usage {
    bytes: u64,
    inodes: u64,
}

impl Budget {
    /// Watches a sandbox with these budgets and scratch volumes.
    pub(crate) fn new(limits: Limits, memory: Memory, uppers: impl Iterator<Item = PathBuf>) -> Self {
        let scratch = uppers
            .map(|upper| Volume {
                at_start: usage(&upper),
                free: free_bytes(&upper),
                upper,
                measured: Instant::now(),
                cost: Duration::ZERO,
            })
            .collect();
        Self { limits, memory, scratch }
    }

    /// Looks at the sandbox whose first process is `pid`, and says which budget is used up.
    pub(crate) fn exceeded(&mut self, pid: Pid) -> Option<Ended> {
        let processes = descendants(pid);
        let seconds: u64 = processes.iter().map(|pid| cpu_ticks(*pid)).sum::<u64>() / ticks_per_second();
        if seconds > self.limits.cpu_seconds {
            return Some(Ended::CpuTime);
        }
        if self.memory == Memory::Watched {
            let resident: u64 = processes.iter().map(|pid| resident_bytes(*pid)).sum();
            if resident > self.limits.memory_mb << 20 {
                return Some(Ended::OutOfMemory);
            }
        }
        let budget = Usage { bytes: self.limits.disk_mb << 20, inodes: self.limits.disk_mb * INODES_PER_MIB };
        self.scratch.iter_mut().any(|volume| volume.has_grown_beyond(budget)).then_some(Ended::DiskFull)
    }
}

impl Volume {
    /// Measures by walking when the file system's free space says that something large may have been written, or when
    /// the last time was long ago.
    fn has_grown_beyond(&mut self, budget: Usage) -> bool {
        let free = free_bytes(&self.upper);
        let step = budget.bytes / 8;
        let plenty = free > budget.bytes.saturating_mul(4);
        let needed = if plenty { step } else { step.min(64 << 20) };
        // What others delete meanwhile hides what is written here, so it is measured from time to time all the same.
        let due = self.measured.elapsed() >= UNMEASURED.max(self.cost * 20);
        if self.free.saturating_sub(free) < needed && !due {
            return false;
        }
        self.free = free;
        let before = Instant::now();
        let now = usage(&self.upper);
        (self.measured, self.cost) = (Instant::now(), before.elapsed());
        now.bytes.saturating_sub(self.at_start.bytes) > budget.bytes
            || now.inodes.saturating_sub(self.at_start.inodes) > budget.inodes
    }
}

/// Free bytes of a file system, with each free inode that is missing counted as a block of 4 KiB.
fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path)
        .map_or(u64::MAX, |status| (status.f_bavail * status.f_frsize).saturating_add(status.f_favail * 4096))
}

/// What lies below a folder of ours. Links are not followed; what cannot be read counts nothing.
fn usage(folder: &Path) -> Usage {
    let mut sum = Usage::default();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
            sum.bytes += metadata.blocks() * BLOCK_BYTES;
            sum.inodes += 1;
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    sum
}

/// A process and all that it started and that still live. Orphans are children of the sandbox's first process.
fn descendants(first: Pid) -> Vec<i32> {
    let mut all = vec![first.as_raw_nonzero().get()];
    let mut next = 0;
    // A fork bomb is bounded by the number of processes; this bound is for our own time.
    while let Some(pid) = all.get(next).copied().filter(|_| all.len() < 65_536) {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            all.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    all
}

/// CPU time of a process and of its children that it has waited for, in ticks (`proc_pid_stat(5)`, fields 14 to 17).
fn cpu_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; fields are counted after its end. Field 3 is the first there.
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0 };
    fields.split_ascii_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Resident memory that a process does not share with files, in bytes (`proc_pid_statm(5)`: resident less shared, plus
/// shared memory that is counted by its tmpfs's size elsewhere).
fn resident_bytes(pid: i32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut fields = statm.split_ascii_whitespace().skip(1).filter_map(|field| field.parse::<u64>().ok());
    let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_its_own_descendants_and_uses_memory() {
        let own = rustix::process::getpid();
        let all = descendants(own);
        assert_eq!(all.first(), Some(&own.as_raw_nonzero().get()));
        assert!(resident_bytes(own.as_raw_nonzero().get()) > 0);
    }

    #[test]
    fn a_folder_is_measured_with_all_below_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), vec![1_u8; 100_000]).unwrap();
        let usage = usage(folder.path());
        assert_eq!(usage.inodes, 2);
        assert!(usage.bytes >= 100_000, "{usage:?}");
    }
}
