//! Budgets over all processes of a sandbox together, where the machine lends us cgroups.
//!
//! Version 1 is used by a root server where its controllers are mounted; version 2 needs a delegated subtree, which the
//! service manager is asked for if nobody gave one. Without either, memory and CPU are watched instead, and results say
//! so.

mod scope;
mod version2;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use cofferdam_contract::Limits;

/// The folder below our own cgroup that holds all sandboxes of this machine's servers.
const OURS: &str = "cofferdam";

/// The length of the CPU quota's period, in microseconds (the kernel's default, `sched-bwc.rst`).
const PERIOD_MICROSECONDS: u64 = 100_000;

/// The part of the memory budget that buffers of sockets may take beside it, where they are counted apart.
const SOCKET_PART: u64 = 8;

/// The CPU quota of a period: a tenth of each core is left to the host under full load. Asked for once: the answer takes
/// some twelve system calls.
static QUOTA_MICROSECONDS: LazyLock<u64> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    PERIOD_MICROSECONDS * 9 / 10 * cores as u64
});

/// Where sandboxes' cgroups can be made.
#[derive(Debug, Clone)]
pub(crate) enum Cgroups {
    /// Version 1, one hierarchy a controller.
    Version1 {
        /// Below the memory controller.
        memory: PathBuf,
        /// Below the CPU controller.
        cpu: PathBuf,
        /// Below the pids controller.
        pids: PathBuf,
    },
    /// A delegated subtree of version 2.
    Version2(version2::Lent),
    /// None to be had, and why.
    Absent(String),
}

/// One sandbox's cgroups. Dropping it removes them; all processes must be gone.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folders: Vec<PathBuf>,
    /// The file by which a process enters. In version 1 that is `tasks`: a single thread that moves itself needs no lock
    /// over all processes of the machine, which costs several milliseconds (`cgroup_procs_write_start`).
    door: &'static str,
    /// Where the kernel counts out-of-memory kills, in the line `oom_kill`.
    memory_events: PathBuf,
    /// Whether it holds the CPU budget.
    holds_cpu: bool,
}

/// How a sandbox's first process gets into its cgroups.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The folder to be born into (`clone3(2)`, CLONE_INTO_CGROUP, Linux 5.7): version 2 only. Moving a process there
    /// takes a lock over all processes of the machine, which costs several milliseconds.
    pub(super) birthplace: Option<OwnedFd>,
    /// Files that it writes `0` to, if it was born elsewhere.
    pub(super) doors: Vec<OwnedFd>,
}

impl Cgroups {
    /// Finds out what this server may use. `owner` names our folder; `environment` names the user's bus. May move this
    /// process into another cgroup v2, and then takes up to three seconds.
    pub(crate) fn find(owner: &str, environment: &BTreeMap<OsString, OsString>) -> Self {
        match Self::find_version1(owner).or_else(|why| {
            version2::find(owner, environment).map(Self::Version2).map_err(|other| format!("{why}; {other}"))
        }) {
            Ok(found) => found,
            Err(why) => Self::Absent(why),
        }
    }

    /// The kind in a few words, for reports.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Version1 { .. } => "cgroup v1",
            Self::Version2(_) => "cgroup v2",
            Self::Absent(_) => "no cgroup",
        }
    }

    /// What is used and from whom, or why nothing, for `doctor`.
    pub(crate) fn described(&self) -> String {
        match self {
            Self::Version1 { .. } => self.name().to_owned(),
            Self::Version2(lent) if lent.has_cpu => format!("{}, delegated: {}", self.name(), lent.from.display()),
            Self::Version2(lent) => {
                format!("{} without the CPU controller, delegated: {}", self.name(), lent.from.display())
            }
            Self::Absent(why) => format!("none: {why}"),
        }
    }

    fn find_version1(owner: &str) -> Result<Self, String> {
        let own =
            fs::read_to_string("/proc/self/cgroup").map_err(|error| format!("own cgroup is unreadable: {error}"))?;
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").map_err(|error| format!("mounts are unreadable: {error}"))?;
        let controller = |name: &str| -> Result<PathBuf, String> {
            let mount = version1_mount(&mounts, name).ok_or_else(|| format!("no cgroup v1 controller {name}"))?;
            let path = version1_path(&own, name).ok_or_else(|| format!("no own cgroup of {name}"))?;
            let folder = mount.join(path.trim_start_matches('/')).join(OURS).join(owner);
            make_and_try(&folder).map_err(|error| format!("cgroup v1 {name} is not writable: {error}"))?;
            Ok(folder)
        };
        Ok(Self::Version1 { memory: controller("memory")?, cpu: controller("cpu")?, pids: controller("pids")? })
    }

    /// Makes a cgroup with the budgets. The sandbox's first process enters it by itself, through [`Cgroup::entry`].
    ///
    /// # Errors
    /// Those of writing the controllers' files. `Ok(None)` where there are no cgroups.
    pub(crate) fn make(&self, name: &str, limits: &Limits) -> io::Result<Option<Cgroup>> {
        let memory = (limits.memory_mb << 20).to_string();
        let quota = *QUOTA_MICROSECONDS;
        match self {
            Self::Version1 { memory: memory_controller, cpu, pids } => {
                let [memory_folder, cpu, pids] = [memory_controller, cpu, pids].map(|controller| controller.join(name));
                let cgroup = Cgroup {
                    folders: vec![memory_folder.clone(), cpu.clone(), pids.clone()],
                    door: "tasks",
                    memory_events: memory_folder.join("memory.oom_control"),
                    holds_cpu: true,
                };
                for folder in &cgroup.folders {
                    fs::create_dir(folder)?;
                }
                fs::write(memory_folder.join("memory.limit_in_bytes"), &memory)?;
                // Where swap is accounted, it is part of the budget.
                match File::options().write(true).open(memory_folder.join("memory.memsw.limit_in_bytes")) {
                    Ok(mut limit) => limit.write_all(memory.as_bytes())?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                // Buffers of sockets count only where they have a limit of their own (kernel documentation,
                // `cgroup-v1/memory.rst`, "Kernel memory"); version 2 counts them with the rest.
                match File::options().write(true).open(memory_folder.join("memory.kmem.tcp.limit_in_bytes")) {
                    Ok(mut limit) => {
                        limit.write_all((limits.memory_mb << 20).div_ceil(SOCKET_PART).to_string().as_bytes())?
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                fs::write(cpu.join("cpu.cfs_period_us"), PERIOD_MICROSECONDS.to_string())?;
                fs::write(cpu.join("cpu.cfs_quota_us"), quota.to_string())?;
                fs::write(pids.join("pids.max"), limits.pids.to_string())?;
                Ok(Some(cgroup))
            }
            Self::Version2(lent) => {
                let folder = lent.folder.join(name);
                let cgroup = Cgroup {
                    memory_events: folder.join("memory.events"),
                    door: "cgroup.procs",
                    folders: vec![folder.clone()],
                    holds_cpu: lent.has_cpu,
                };
                fs::create_dir(&folder)?;
                fs::write(folder.join("memory.max"), &memory)?;
                match fs::write(folder.join("memory.swap.max"), "0") {
                    // Only there where the kernel has swap.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    result => result?,
                }
                // One killed process would leave a sandbox that works on without it.
                fs::write(folder.join("memory.oom.group"), "1")?;
                if lent.has_cpu {
                    fs::write(folder.join("cpu.max"), format!("{quota} {PERIOD_MICROSECONDS}"))?;
                }
                fs::write(folder.join("pids.max"), limits.pids.to_string())?;
                Ok(Some(cgroup))
            }
            Self::Absent(_) => Ok(None),
        }
    }

    /// This server's own folders.
    pub(crate) fn folders(&self) -> Vec<&Path> {
        match self {
            Self::Version1 { memory, cpu, pids } => vec![memory, cpu, pids],
            Self::Version2(lent) => vec![&lent.folder],
            Self::Absent(_) => Vec::new(),
        }
    }
}

impl Cgroup {
    /// How a process gets in.
    ///
    /// # Errors
    /// Those of opening the folders and files.
    pub(super) fn entry(&self) -> io::Result<Entry> {
        let open = |folder: &PathBuf| Ok(File::options().write(true).open(folder.join(self.door))?.into());
        let doors = self.folders.iter().map(open).collect::<io::Result<_>>()?;
        let birthplace = match self.door {
            "cgroup.procs" => self.folders.first().map(File::open).transpose()?.map(OwnedFd::from),
            _ => None,
        };
        Ok(Entry { birthplace, doors })
    }

    /// Whether it holds the CPU budget as well as the memory budget.
    pub(super) fn holds_cpu(&self) -> bool {
        self.holds_cpu
    }

    /// How many processes the kernel killed because the memory budget was used up.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        let text = fs::read_to_string(&self.memory_events).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|number| number.trim().parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            remove(folder);
        }
    }
}

/// Makes a folder for cgroups and tries to make one in it: the folder may be there from a server of another user.
fn make_and_try(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::create_dir(folder.join("try"))?;
    fs::remove_dir(folder.join("try"))
}

/// Removes a cgroup. The kernel needs a moment after the last process was reaped (EBUSY).
pub(crate) fn remove(folder: &Path) {
    for _ in 0..50 {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            Ok(()) | Err(_) => return,
        }
    }
}

/// The mount point of a version 1 controller. Fields: `proc_pid_mountinfo(5)`.
fn version1_mount(mountinfo: &str, controller: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let is_version1 = kind.next() == Some("cgroup");
        let has_controller = kind.nth(1)?.split(',').any(|option| option == controller);
        (is_version1 && has_controller).then(|| place.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// Our own cgroup in a version 1 controller's hierarchy. Lines: `cgroups(7)`, `/proc/PID/cgroup`.
fn version1_path<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let controllers = fields.nth(1)?;
        controllers.split(',').any(|name| name == controller).then(|| fields.next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version1_controllers_are_found_by_their_options() {
        let mountinfo = "40 30 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                         41 30 0:34 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(version1_mount(mountinfo, "cpu"), Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(version1_mount(mountinfo, "memory"), None);
        assert_eq!(version1_path("4:cpu,cpuacct:/user\n0::/x", "cpu"), Some("/user"));
        assert_eq!(version1_path("4:cpu,cpuacct:/user\n0::/x", "memory"), None);
    }
}
