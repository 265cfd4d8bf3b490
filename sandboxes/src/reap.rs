//! What a server that was killed may leave behind, and its removal at the next start.
//!
//! A sandbox dies with its server: the pid namespace's first process gets a death signal, and its pipe ends. Its mounts
//! and its tmpfs die with it. What stays is empty cgroups; their folder's name tells whose they were. Folders of calls
//! that had to lie on disk are in [`crate::call_folder`].

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::namespace::{Cgroups, cgroup::remove};

/// Who a yard is: its process id, when that started, so that a recycled id is not mistaken for it, and a number, since
/// a process may have several yards.
pub(crate) fn owner() -> String {
    static YARDS: AtomicU64 = AtomicU64::new(0);
    let (pid, yard) = (std::process::id(), YARDS.fetch_add(1, Ordering::Relaxed));
    format!("{pid}-{}-{yard}", start_time(pid).unwrap_or(0))
}

/// Removes the cgroups of servers that are gone. Returns how many servers' folders were removed.
pub(crate) fn reap(cgroups: &Cgroups) -> usize {
    let mut removed = 0;
    for ours in cgroups.folders() {
        let Some(all) = ours.parent() else { continue };
        for entry in fs::read_dir(all).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let gone = name.to_str().and_then(parse_owner).is_some_and(|(pid, start)| start_time(pid) != Some(start));
            if gone {
                remove_tree(&entry.path());
                removed += 1;
            }
        }
    }
    removed
}

/// Removes a server's cgroups, after killing what is still in them.
pub(crate) fn remove_tree(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill_members(&entry.path());
            remove(&entry.path());
        }
    }
    remove(folder);
}

/// Kills the processes of a cgroup. There are none unless a death signal was lost.
fn kill_members(folder: &Path) {
    // Version 2, Linux 5.14: all at once, also those that are just being born.
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn parse_owner(name: &str) -> Option<(u32, u64)> {
    let (pid, start_and_yard) = name.split_once('-')?;
    let (start, yard) = start_and_yard.split_once('-')?;
    yard.parse::<u64>().ok()?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

/// When a process started, in clock ticks since boot (`proc_pid_stat(5)`, field 22).
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_names_this_process_and_its_start() {
        let owner = owner();
        let (pid, start) = parse_owner(&owner).unwrap();
        assert_eq!(pid, std::process::id());
        assert_eq!(start_time(pid), Some(start));
        assert!(start > 0);
    }

    #[test]
    fn other_names_are_nobodys() {
        for name in ["server", "1", "a-1", "1-", "", "1-2", "1-2-x"] {
            assert_eq!(parse_owner(name), None, "{name}");
        }
    }
}
