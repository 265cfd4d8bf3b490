//! What is left on the host: mounts, loop devices, processes, cgroups, users and files that carry one of our names.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Host processes whose command line holds `text`, this one excepted.
pub(crate) fn processes_with(text: &str) -> Vec<u32> {
    let own = std::process::id();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<u32> = numbers
        .filter(|pid| {
            *pid != own && !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
        })
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(text.len().max(1)).any(|window| window == text.as_bytes())
        })
        .collect();
    found.sort_unstable();
    found
}

/// Everything that is there of a run whose files lay below `base`, whose servers had the ids `servers` and whose ordinary
/// user was `user`.
pub(crate) fn of_run(base: &Path, servers: &[u32], user: &str) -> Vec<String> {
    let mut left = Vec::new();
    if fs::symlink_metadata(base).is_ok() {
        left.push(format!("folder {}", base.display()));
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    left.extend(users.lines().filter(|line| line.split(':').next() == Some(user)).map(|line| format!("user {line}")));
    let base_text = base.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(mounts.lines().filter(|line| line.contains(&base_text)).map(|line| format!("mount: {line}")));
    left.extend(loop_devices_with(&base_text).iter().map(|device| format!("loop device {device}")));
    left.extend(processes_with(&base_text).iter().map(|pid| format!("process {pid}")));
    left.extend(guests_of(servers).iter().map(|pid| format!("guest {pid}")));
    let mut folders = Vec::new();
    find_cgroups(Path::new("/sys/fs/cgroup"), 6, servers, &mut folders);
    left.extend(folders.iter().map(|folder| format!("cgroup {}", folder.display())));
    for folder in ["/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue"] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = servers.iter().any(|server| {
                name.contains(&format!("cofferdam-event-{server}")) || name.contains(&format!("canary-{server}"))
            });
            if ours || name.starts_with("planted") {
                left.push(format!("{folder}/{name}"));
            }
        }
    }
    left
}

/// Loop devices whose file's path holds `text`.
pub(crate) fn loop_devices_with(text: &str) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let ours = devices.filter(|device| {
        fs::read_to_string(device.path().join("loop/backing_file")).is_ok_and(|file| file.contains(text))
    });
    ours.map(|device| device.file_name().to_string_lossy().into_owned()).collect()
}

/// Guests whose server was one of ours: their parent is gone, so they are found by name.
fn guests_of(servers: &[u32]) -> Vec<u32> {
    let guests = processes_with("cofferdam-guest");
    let of_server = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parent.is_some_and(|parent| servers.contains(&parent))
    };
    guests.into_iter().filter(of_server).collect()
}

/// How many cgroups the sandboxes of a server have.
pub(crate) fn cgroups_of_server(server: u32) -> usize {
    let mut own = Vec::new();
    find_cgroups(Path::new("/sys/fs/cgroup"), 6, &[server], &mut own);
    let below = own.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).count()
}

fn find_cgroups(folder: &Path, depth: u32, servers: &[u32], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if servers.iter().any(|server| name.starts_with(&format!("{server}-"))) {
            found.push(entry.path());
        } else if depth > 0 {
            find_cgroups(&entry.path(), depth - 1, servers, found);
        }
    }
}

/// A folder that is removed with all that is in it when this is dropped, whatever its permissions say.
#[derive(Debug)]
pub(crate) struct Removed(pub(crate) PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            // An overlay's work folder has no permissions; a folder with them is left as it is.
            let closed =
                fs::symlink_metadata(&folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o700 != 0o700);
            if closed {
                let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
            }
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            folders.extend(
                entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
            );
        }
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("failed to remove {}: {error}", self.0.display());
        }
    }
}
