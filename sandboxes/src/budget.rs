//! Budgets of processes and of a view on disk that no kernel mechanism holds here: looked at from time to time while a call runs.

use std::{
    collections::BTreeMap,
    fs,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::PathBuf,
    time::Duration,
};

use cofferdam_contract::{Ended, Limits};
use rustix::process::Pid;

use crate::scratch::Watch;

/// How often budgets are looked at: the memory in front of a disk takes some four GiB in a second.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// What is watched of one sandbox.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    memory: Memory,
    view: Option<Watch>,
}

/// Who holds the memory budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// A cgroup.
    Cgroup,
    /// This watcher.
    Watched,
}

impl Budget {
    /// Watches a sandbox with these budgets, whose writes to the view go to the folder `view` on disk if there is one.
    pub(crate) fn new(limits: Limits, memory: Memory, view: Option<PathBuf>) -> Self {
        Self { limits, memory, view: view.map(|view| Watch::of_growth(view, &limits)) }
    }

    /// Looks at the sandbox whose first process is `pid` and whose files in memory lie in `temporary`, and says which
    /// budget is used up.
    pub(crate) fn exceeded(&mut self, pid: Pid, temporary: impl AsFd) -> Option<Ended> {
        let processes = descendants(pid);
        let seconds: u64 = processes.iter().map(|pid| cpu_ticks(*pid)).sum::<u64>() / ticks_per_second();
        if seconds > self.limits.cpu_seconds {
            return Some(Ended::CpuTime);
        }
        if self.memory == Memory::Watched {
            // A tmpfs's statistics (statfs(2)); a kernel without them for it there is none.
            let files = rustix::fs::fstatvfs(temporary).map_or(0, |all| (all.f_blocks - all.f_bfree) * all.f_frsize);
            if memory_bytes(&processes, files) > self.limits.memory_mb << 20 {
                return Some(Ended::OutOfMemory);
            }
        }
        self.view.as_mut().is_some_and(Watch::is_beyond).then_some(Ended::DiskFull)
    }
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

/// What processes hold, with `files` bytes on their tmpfs.
///
/// What is mapped of shared memory may be a file of that tmpfs or an open memory file, or neither: the larger sum counts,
/// so nothing counts twice, and what is mapped and not open is seen at least where it is most of all. Not seen are
/// System V segments that nobody has attached, and the kernel's own buffers of pipes and sockets.
fn memory_bytes(processes: &[i32], files: u64) -> u64 {
    let mut memory_files = BTreeMap::new();
    let (mut own, mut mapped) = (0, 0);
    for pid in processes {
        let Memories { anonymous, shared } = Memories::of(*pid);
        own += anonymous;
        mapped += shared;
        memory_files.extend(open_memory_files(*pid));
    }
    own + mapped.max(files + memory_files.values().sum::<u64>())
}

/// Bytes that a process has mapped, each page's share of it where several have it.
struct Memories {
    anonymous: u64,
    shared: u64,
}

impl Memories {
    /// By `/proc/pid/smaps_rollup` (`proc_pid_smaps_rollup(5)`), and where the kernel has none by what is resident and
    /// not shared (`proc_pid_statm(5)`).
    fn of(pid: i32) -> Self {
        match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
            Ok(text) => Self { anonymous: kibibytes(&text, "Pss_Anon:"), shared: kibibytes(&text, "Pss_Shmem:") },
            Err(_) => {
                let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
                let mut fields = statm.split_ascii_whitespace().skip(1).filter_map(|field| field.parse::<u64>().ok());
                let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
                Self { anonymous: resident.saturating_sub(shared) * rustix::param::page_size() as u64, shared: 0 }
            }
        }
    }
}

/// The bytes that a line `name … kB` says.
fn kibibytes(text: &str, name: &str) -> u64 {
    let number = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    number.unwrap_or(0) << 10
}

/// Memory files (`memfd_create(2)`) that a process has open: their bytes by their inode.
fn open_memory_files(pid: i32) -> Vec<(u64, u64)> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let is_memory = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"))
    };
    let paths = descriptors.flatten().map(|entry| entry.path()).filter(is_memory);
    paths.filter_map(|path| fs::metadata(path).ok()).map(|file| (file.ino(), file.blocks() * 512)).collect()
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
        assert!(memory_bytes(&all[..1], 0) > 0);
    }

    #[test]
    fn memory_files_count_open_or_mapped_and_once() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let before = open_memory_files(own).len();
        let file = rustix::fs::memfd_create(c"test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut twice = fs::File::from(file.try_clone().unwrap());
        std::io::Write::write_all(&mut twice, &vec![1; 8 << 20]).unwrap();
        let files = open_memory_files(own);
        assert_eq!(files.len(), before + 2, "each descriptor is named");
        let files: BTreeMap<u64, u64> = files.into_iter().collect();
        assert!(files.values().any(|bytes| *bytes == 8 << 20), "{files:?}");
        // What this process has besides changes by some pages meanwhile.
        let bytes = memory_bytes(&[own, own], 0) - 2 * Memories::of(own).anonymous;
        assert!((7 << 20..9 << 20).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_line_of_the_sums_is_read() {
        assert_eq!(kibibytes("Pss:   9 kB\nPss_Anon:             12 kB\n", "Pss_Anon:"), 12 << 10);
        assert_eq!(kibibytes("", "Pss_Anon:"), 0);
    }
}
