//! Budgets of processes and of a view on disk that no kernel mechanism holds here: looked at from time to time while a call runs.

use std::{fs, path::PathBuf, time::Duration};

use cofferdam_contract::{Ended, Limits};
use rustix::process::Pid;

use crate::scratch::Watch;

/// How often budgets are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(200);

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
}
