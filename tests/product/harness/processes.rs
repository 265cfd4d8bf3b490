//! The machine's processes, as `/proc` shows them (`proc_pid_stat(5)`).

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// One process. Its number alone is not enough: numbers are used again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) id: u32,
    /// Ticks from the machine's start to the process's.
    started: u64,
    parent: u32,
    name: String,
    zombie: bool,
}

impl Process {
    /// Every process that can be seen.
    pub(crate) fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        entries.filter_map(|entry| Self::read(&entry.path())).collect()
    }

    /// Every process below `id`, children first.
    pub(crate) fn below(id: u32) -> Vec<Self> {
        let all = Self::all();
        let mut found: Vec<Self> = Vec::new();
        let mut parents = vec![id];
        while let Some(parent) = parents.pop() {
            for process in all.iter().filter(|process| process.parent == parent) {
                parents.push(process.id);
                found.push(process.clone());
            }
        }
        found
    }

    /// Whether it still runs. One that is dead and waits for its parent does not.
    pub(crate) fn is_alive(&self) -> bool {
        Self::read(Path::new(&format!("/proc/{}", self.id)))
            .is_some_and(|process| process.started == self.started && !process.zombie)
    }

    fn read(folder: &Path) -> Option<Self> {
        let id = folder.file_name()?.to_str()?.parse().ok()?;
        let text = fs::read_to_string(folder.join("stat")).ok()?;
        // The name is in parentheses and may hold anything, parentheses too.
        let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            id,
            started: fields.get(19)?.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            name: name.to_owned(),
            zombie: matches!(*fields.first()?, "Z" | "X"),
        })
    }
}

/// Those of `processes` that still run after at most `patience`.
pub(crate) fn survivors(processes: &[Process], patience: Duration) -> Vec<Process> {
    let begun = Instant::now();
    loop {
        let alive: Vec<Process> = processes.iter().filter(|process| process.is_alive()).cloned().collect();
        if alive.is_empty() || begun.elapsed() > patience {
            return alive;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for `found` to give something, for at most `patience`.
pub(crate) fn wait_for<T>(patience: Duration, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = found() {
            return Some(value);
        }
        if begun.elapsed() > patience {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
