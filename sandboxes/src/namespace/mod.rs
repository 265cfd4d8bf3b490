//! The namespace backend: a sandbox of Linux namespaces on the host's own kernel, with no engine and no privilege needed.
//!
//! One file per kernel facility; the function of [`contain`] lists what a sandbox is made of. The server prepares
//! everything, clones, writes the id maps, and hears from the child what failed, or nothing: then the guest runs.
//!
//! What it must never do: run with less than [`Enforced`] says, or as host uid 0.

mod capabilities;
pub(crate) mod cgroup;
mod contain;
mod idmap;
mod ids;
mod landlock;
mod layout;
mod limits;
mod loop_mount;
mod mount;
mod network;
mod process;
mod restriction;
mod seccomp;

use std::{
    collections::BTreeMap,
    ffi::CString,
    io,
    ops::Range,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{fs::MetadataExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use cofferdam_contract::{Enforced, Guarantee, Isolation, Limits, Mechanism, Strength};
use rustix::{
    fs::{Access, CWD, Mode, OFlags, ResolveFlags},
    net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt::Timeout},
    process::{Pid, PidfdFlags, Resource},
};

pub(crate) use cgroup::Cgroups;
pub(crate) use ids::agent_of;
pub(crate) use layout::{Root, Seed};
pub(crate) use loop_mount::{LoopMount, LoopMountError, mount_file, mount_file_to_read};
pub(crate) use restriction::Restriction;

use crate::{guest_program::GuestProgram, view::ViewMechanism, workspace::Plain};
use cgroup::Cgroup;
use contain::{Containment, Facility, Failure};
use idmap::IdMaps;
use ids::HostUser;
use landlock::Fence;
use layout::Sources;
use mount::{Source, Step, Tree};
use process::{Birth, Stack, Word};

/// How long a start may be silent: in the queue, until the child's first word, and from each word to the next. It takes some
/// milliseconds; on a machine under full load, seconds.
const LONGEST_START: Duration = Duration::from_secs(20);

/// Threads that clone. Each is with its child until the guest runs, some 2 ms: so as many sandboxes can start at once.
const LAUNCHERS: usize = 4;

/// How a folder of the sandbox's is opened.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// What a sandbox is to be.
#[derive(Debug, Clone)]
pub(crate) struct Place<'a> {
    /// The workspace's absolute path, outside and inside.
    pub(crate) workspace: &'a Path,
    /// The workspace's identifier; the agent's host id follows from it when the server is root.
    pub(crate) workspace_id: &'a str,
    /// What is seen of the workspace.
    pub(crate) view: View<'a>,
    /// What is seen of the host.
    pub(crate) root: Root<'a>,
    /// Scratch volumes.
    pub(crate) scratch: &'a [Scratch],
    /// What holds the scratch volumes on the host.
    pub(crate) holding: Holding<'a>,
    /// Budgets.
    pub(crate) limits: Limits,
    /// The environment of all programs inside.
    pub(crate) environment: &'a BTreeMap<String, String>,
}

/// What is seen of the workspace.
#[derive(Debug, Clone)]
pub(crate) enum View<'a> {
    /// The workspace below the held layers, read-only.
    ReadOnly {
        /// Held layers, the newest first.
        held: &'a [PathBuf],
        /// Folders of the workspace that are shown as they are, over those layers.
        plain: &'a Plain,
    },
    /// The same below a private layer that takes all writes.
    Private {
        /// Held layers, the newest first.
        held: &'a [PathBuf],
        /// Where that layer lies.
        upper: Upper,
    },
    /// A copy of both.
    Copied {
        /// The copy: a folder of ours.
        copy: PathBuf,
        /// What becomes of writes.
        writes: Writes,
    },
}

/// Where the layer for writes lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Upper {
    /// On a tmpfs inside.
    Temporary,
    /// In a folder of ours, with `upper` and `work` in it.
    Folder(PathBuf),
}

/// What becomes of writes to a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// There are none.
    Refused,
    /// They stay in the copy.
    Kept,
}

/// What holds scratch volumes on the host.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holding<'a> {
    /// There are none.
    Nothing,
    /// Folders of the host's own file system.
    Folders {
        /// Why it is not an image.
        why: &'a str,
    },
    /// A mount of a file system of the budget's size, which no namespace has yet.
    Image(BorrowedFd<'a>),
}

/// A folder inside that keeps what is written to it between calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scratch {
    /// Its absolute path inside.
    pub(crate) at: PathBuf,
    /// The volume, a folder of ours with `upper` and `work` in it: its absolute path, or its name in the image.
    pub(crate) volume: PathBuf,
    /// What it starts with.
    pub(crate) seed: Seed,
    /// A layer over that, if something of it is masked.
    pub(crate) masks: Option<PathBuf>,
}

/// The backend.
#[derive(Debug)]
pub(crate) struct Namespaces {
    guest: Arc<GuestProgram>,
    launcher: mpsc::Sender<Launch>,
    id_maps: IdMaps,
    cgroups: Cgroups,
    filters: Arc<Vec<Vec<libc::sock_filter>>>,
    landlock: i32,
    null: OwnedFd,
    /// How many files the machine may have open.
    file_table: u64,
    /// A pidfd of this process, by which a child sees that it is gone.
    server: OwnedFd,
}

/// A started sandbox, before its guest has said a word.
#[derive(Debug)]
pub(crate) struct Started {
    /// The guest's pipe.
    pub(crate) pipe: UnixStream,
    /// The temporary file system: all that it can write to memory as files.
    pub(crate) temporary: OwnedFd,
    /// The folder in it that takes the view's writes; `None` where nothing in it does.
    pub(crate) upper: Option<OwnedFd>,
    /// What is enforced.
    pub(crate) enforced: Enforced,
    /// Ends the sandbox when dropped.
    pub(crate) guard: Guard,
}

/// Ends a sandbox when dropped: every process in it is gone when the drop returns.
#[derive(Debug)]
pub(crate) struct Guard {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
    cgroup: Option<Cgroup>,
}

/// Why a sandbox was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The machine does not offer a part of the boundary.
    #[error("this machine does not give the sandbox {missing}: {remedy}")]
    Floor {
        /// What is missing, as a noun.
        missing: &'static str,
        /// How to get it.
        remedy: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A folder could not be shown inside.
    #[error("failed to show {what} in the sandbox")]
    Show {
        /// The step or path.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The workspace's view could not be made in the way that was tried.
    #[error("failed to make the view of the workspace, at {what}")]
    View {
        /// The step.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something else failed.
    #[error("failed to {operation}")]
    Prepare {
        /// What we were doing.
        operation: &'static str,
        /// The cause.
        source: io::Error,
    },
}

struct Launch {
    containment: Containment,
    birth: Arc<Birth>,
}

impl Namespaces {
    /// Prepares the backend; starts its launching threads, which live as long as the backend.
    ///
    /// # Errors
    /// [`StartError::Prepare`] when the filters do not compile for this machine, or no thread can be started.
    pub(crate) fn new(guest: Arc<GuestProgram>, cgroups: Cgroups) -> Result<Self, StartError> {
        let prepare = |operation| move |source| StartError::Prepare { operation, source };
        let filters =
            seccomp::compile().map_err(io::Error::other).map_err(prepare("compile the system call filters"))?;
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
            .map_err(prepare("open /dev/null"))?;
        let server = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(io::Error::from)
            .map_err(prepare("open this process"))?;
        // Not bounded: who sends waits for the end of it, and calls are bounded.
        let (launcher, launches) = mpsc::channel();
        let launches = Arc::new(Mutex::new(launches));
        for _ in 0..LAUNCHERS {
            let stack = Stack::map().map_err(prepare("map a stack"))?;
            let launches = Arc::clone(&launches);
            thread::Builder::new()
                .name("launcher".into())
                .spawn(move || launch_all(&launches, &stack))
                .map_err(prepare("start a launching thread"))?;
        }
        Ok(Self {
            guest,
            launcher,
            id_maps: IdMaps::default(),
            cgroups,
            filters: Arc::new(filters),
            landlock: landlock::version(),
            null,
            file_table: limits::file_table(),
            server,
        })
    }

    /// The cgroups in use.
    pub(crate) fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// Starts a sandbox. `name` is its unique name among this server's.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind.
    pub(crate) fn start(&self, name: &str, place: &Place<'_>) -> Result<Started, StartError> {
        let prepare = |operation| move |source| StartError::Prepare { operation, source };
        let user = HostUser::of_workspace(place.workspace_id);
        let sources = HostSources { id_maps: &self.id_maps, user };
        let (tree, writable) = layout::lay_out(place, &sources).map_err(prepare("lay out the sandbox's files"))?;
        let described = describe(&tree);
        let view_steps = tree.view_steps.clone();
        let (setup, setup_inside) = pair(SocketType::SEQPACKET).map_err(prepare("make a socket pair"))?;
        let (pipe, pipe_inside) = pair(SocketType::STREAM).map_err(prepare("make a socket pair"))?;
        let open_files = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let cgroup = self.cgroups.make(name, &place.limits).map_err(prepare("make a cgroup"))?;
        let cgroup_entry = cgroup.as_ref().map(Cgroup::entry).transpose().map_err(prepare("open a cgroup"))?;
        let containment = Containment {
            setup: setup_inside,
            server: self.server.try_clone().map_err(prepare("duplicate a descriptor"))?,
            cgroup: cgroup_entry.unwrap_or_default(),
            channel: pipe_inside,
            guest: self.guest.fd().as_raw_fd(),
            null: self.null.try_clone().map_err(prepare("duplicate a descriptor"))?,
            user,
            tree,
            rlimits: limits::of(&place.limits, open_files, self.file_table),
            fence: Fence::new(self.landlock, writable),
            filters: Arc::clone(&self.filters),
            arguments: strings(["cofferdam-guest".to_owned(), place.workspace.display().to_string()])
                .map_err(prepare("write down the guest's arguments"))?,
            environment: strings(place.environment.iter().map(|(name, value)| format!("{name}={value}")))
                .map_err(prepare("write down the environment"))?,
        };
        rustix::net::sockopt::set_socket_timeout(&setup, Timeout::Recv, Some(LONGEST_START))
            .map_err(io::Error::from)
            .map_err(prepare("bound the time of a start"))?;
        let birth = Arc::new(Birth::ahead());
        self.launcher
            .send(Launch { containment, birth: Arc::clone(&birth) })
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
            .map_err(prepare("reach a launching thread"))?;
        let pidfd = hear_of_birth(&setup, &birth)?;
        let pid = process::pid_of(pidfd.as_fd()).map_err(|source| {
            process::kill_and_reap(pidfd.as_fd());
            StartError::Prepare { operation: "look at the sandbox's first process", source }
        })?;
        let guard = Guard { pid, pidfd: Arc::new(pidfd), cgroup };
        ids::write_maps(guard.pid, user).map_err(|source| floor(Facility::User, source))?;
        // So that the kernel takes a sandbox before it takes the server (proc_pid_oom_score_adj(5)). Nothing is changed for
        // the server by it, whose memory the child still has: the kernel leaves it out (`vfork_done`, fs/proc/base.c).
        std::fs::write(format!("/proc/{}/oom_score_adj", guard.pid.as_raw_nonzero()), "1000")
            .map_err(prepare("set the sandbox's out-of-memory score"))?;
        rustix::net::send(&setup, &[1], SendFlags::NOSIGNAL)
            .map_err(io::Error::from)
            .map_err(prepare("start the sandbox"))?;
        let temporary = hear_until_started(&setup, &described, &view_steps)?;
        let upper = match place.view {
            View::Private { upper: Upper::Temporary, .. } => Some(
                rustix::fs::openat(&temporary, layout::UPPER, FOLDER, Mode::empty())
                    .map_err(io::Error::from)
                    .map_err(prepare("open the layer for writes"))?,
            ),
            View::Private { upper: Upper::Folder(_), .. } | View::ReadOnly { .. } | View::Copied { .. } => None,
        };
        Ok(Started { pipe: UnixStream::from(pipe), temporary, upper, enforced: self.enforced(&guard, place), guard })
    }

    /// What a sandbox that was started has. Every step of `contain` succeeded, or there would be none.
    fn enforced(&self, guard: &Guard, place: &Place<'_>) -> Enforced {
        let mut guarantees = BTreeMap::from([
            (Guarantee::UserNamespace, held("user namespace")),
            (Guarantee::MountNamespace, held("mount namespace, pivot_root")),
            (Guarantee::PidNamespace, held("pid namespace")),
            (Guarantee::NetworkNamespace, held("network namespace, loopback only")),
            (Guarantee::IpcNamespace, held("ipc namespace")),
            (Guarantee::UtsNamespace, held("uts namespace")),
            (Guarantee::CgroupNamespace, held("cgroup namespace")),
            (Guarantee::NoCapabilities, held("all sets empty and locked")),
            (Guarantee::NoNewPrivileges, held("no_new_privs")),
            (Guarantee::NoNestedUserNamespaces, held("max_user_namespaces = 0, seccomp")),
            (Guarantee::Seccomp, held("two filters")),
            (Guarantee::ReadOnlyRoot, held("read-only mounts")),
            (
                Guarantee::WorkspaceView,
                held(match &place.view {
                    View::ReadOnly { .. } => "read-only mount",
                    View::Private { upper: Upper::Temporary, .. } => ViewMechanism::Overlay.name(),
                    View::Private { upper: Upper::Folder(_), .. } => ViewMechanism::OverlayOnFolder.name(),
                    View::Copied { .. } => ViewMechanism::Copy.name(),
                }),
            ),
            (Guarantee::WallClock, held("the server kills the sandbox")),
            (Guarantee::Output, held("the guest cuts, the server counts")),
            (Guarantee::Processes, held("RLIMIT_NPROC in the user namespace")),
        ]);
        if self.landlock > 0 {
            guarantees.insert(Guarantee::Landlock, held(&format!("Landlock version {}", self.landlock)));
        }
        let watched = |by: &str| Mechanism { strength: Strength::Watched, by: by.to_owned() };
        let memory = match &guard.cgroup {
            Some(_) => held(self.cgroups.name()),
            None => watched("memory of processes and files, summed by the server"),
        };
        let cpu = match &guard.cgroup {
            Some(cgroup) if cgroup.holds_cpu() => held(self.cgroups.name()),
            Some(_) | None => watched("RLIMIT_CPU and the server's sum"),
        };
        guarantees.insert(Guarantee::Memory, memory);
        guarantees.insert(Guarantee::Cpu, cpu);
        guarantees.insert(Guarantee::Disk, disk(place));
        Enforced { backend: "namespace".into(), isolation: Isolation::Namespace, guarantees }
    }
}

impl Guard {
    /// The host's process id of the sandbox's first process.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// A handle to kill the sandbox from elsewhere.
    pub(crate) fn pidfd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.pidfd)
    }

    /// How many processes the kernel killed for want of memory; 0 without a cgroup.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        self.cgroup.as_ref().map_or(0, Cgroup::out_of_memory_kills)
    }
}

impl Guard {
    /// Kills every process of the sandbox, and waits until they are gone.
    pub(crate) fn end(&self) {
        process::kill_and_reap(self.pidfd.as_fd());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sources as the server's own user sees them.
struct HostSources<'a> {
    id_maps: &'a IdMaps,
    user: HostUser,
}

impl Sources for HostSources<'_> {
    fn system(&self, path: &Path, attributes: u64) -> io::Result<Source> {
        let path = layout::c_path(path)?;
        match self.user {
            // The child is about to give up the right to walk root's folders, so root clones for it.
            HostUser::Reserved(_) => Ok(Source::Ready(mount::clone_mount(&path, attributes)?)),
            HostUser::Own { .. } => Ok(Source::path(path, attributes)),
        }
    }

    fn owned(&self, path: &Path, attributes: u64) -> io::Result<Source> {
        match self.user {
            HostUser::Reserved(agent) => {
                let folder = open_unlinked(path)?;
                let status = rustix::fs::fstat(&folder)?;
                Ok(Source::Ready(self.id_maps.clone_mapped(
                    folder.as_fd(),
                    (status.st_uid, status.st_gid),
                    agent,
                    attributes,
                )?))
            }
            HostUser::Own { .. } => Ok(Source::path(layout::c_path(path)?, attributes)),
        }
    }

    fn searches(&self, path: &Path) -> bool {
        match self.user {
            // Nobody's group, and no owner of anything.
            HostUser::Reserved(_) => std::fs::metadata(path).is_ok_and(|folder| folder.mode() & 0o001 != 0),
            HostUser::Own { .. } => rustix::fs::access(path, Access::EXEC_OK).is_ok(),
        }
    }
}

/// Opens a folder that is to be shown as its owner's. All such paths are real ones, found long before; a root server may
/// show what its owner may not read, so a link that somebody put on the way since leads nowhere.
fn open_unlinked(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?)
}

/// What the kernel holds.
fn held(by: &str) -> Mechanism {
    Mechanism { strength: Strength::Enforced, by: by.to_owned() }
}

/// What the server looks at.
fn watched(by: &str) -> Mechanism {
    Mechanism { strength: Strength::Watched, by: by.to_owned() }
}

/// What bounds the disk that a call takes: for all that it can write to, a size that the kernel holds or the server's eye.
fn disk(place: &Place<'_>) -> Mechanism {
    let is_view_on_disk = match &place.view {
        View::Private { upper: Upper::Folder(_), .. } | View::Copied { writes: Writes::Kept, .. } => true,
        View::ReadOnly { .. }
        | View::Private { upper: Upper::Temporary, .. }
        | View::Copied { writes: Writes::Refused, .. } => false,
    };
    match (place.holding, is_view_on_disk) {
        (Holding::Nothing, false) => held("size of a tmpfs"),
        (Holding::Image(_), false) => held("size of a tmpfs and of the scratch volumes' image"),
        (Holding::Folders { why }, false) => {
            watched(&format!("size of a tmpfs; scratch volumes are measured by the server: {why}"))
        }
        (Holding::Nothing, true) => watched("size of a tmpfs; the view is measured by the server"),
        (Holding::Image(_), true) => {
            watched("size of a tmpfs and of the scratch volumes' image; the view is measured by the server")
        }
        (Holding::Folders { why }, true) => watched(&format!(
            "size of a tmpfs; the view and scratch volumes are measured by the server, the volumes since {why}"
        )),
    }
}

/// Clones for the backend's whole life: the death signal of a sandbox is tied to this thread.
fn launch_all(launches: &Mutex<mpsc::Receiver<Launch>>, stack: &Stack) {
    block_all_signals();
    loop {
        let next = launches.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Launch { mut containment, birth }) = next else { return };
        if let Err(errno) = process::clone_into_namespaces(&mut containment, stack, &birth) {
            let failure = Failure { facility: Facility::Birth, part: 0, errno: errno.raw_os_error() };
            process::report(&containment.setup, failure);
        }
        // Who listens learns from the end of the setup socket that the guest runs, or that the child is gone.
        drop(containment);
        if let Some(pidfd) = birth.take() {
            // Nobody took it, so it was never told to go on, and it has ended: reaped here.
            process::kill_and_reap(pidfd.as_fd());
        }
    }
}

/// Keeps the server's signal handlers from running in a child between clone and exec.
fn block_all_signals() {
    // SAFETY: both calls get a live sigset_t of our own; sigfillset initialises it before it is read.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}

/// Waits for the child's first word, and takes its handle.
fn hear_of_birth(setup: &OwnedFd, birth: &Birth) -> Result<OwnedFd, StartError> {
    let hear = |source| StartError::Prepare { operation: "hear from the sandbox", source };
    loop {
        match process::hear(setup).map_err(hear)? {
            Word::Born => {
                // Without a handle it has ended already, and its next word says why.
                if let Some(pidfd) = birth.take() {
                    return Ok(pidfd);
                }
            }
            Word::Failed(Failure { facility, errno, .. }) => {
                return Err(floor(facility, io::Error::from_raw_os_error(errno)));
            }
            Word::Temporary(_) | Word::Closed => return Err(hear(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// Listens to the child until the guest runs or something failed.
fn hear_until_started(setup: &OwnedFd, described: &[String], view_steps: &Range<usize>) -> Result<OwnedFd, StartError> {
    let mut temporary = None;
    loop {
        let word = process::hear(setup)
            .map_err(|source| StartError::Prepare { operation: "hear from the sandbox", source })?;
        match word {
            Word::Temporary(folder) => temporary = Some(folder),
            Word::Born => {
                let source = io::ErrorKind::InvalidData.into();
                return Err(StartError::Prepare { operation: "hear from the sandbox", source });
            }
            Word::Failed(failure) => return Err(explain(failure, described, view_steps)),
            Word::Closed => {
                return temporary.ok_or(StartError::Prepare {
                    operation: "hear from the sandbox",
                    source: io::ErrorKind::UnexpectedEof.into(),
                });
            }
        }
    }
}

/// The mount steps, and after them the sources, in words, for errors.
fn describe(tree: &Tree) -> Vec<String> {
    let steps = tree.steps.iter().chain(&tree.last_steps).map(Step::words);
    steps.chain(tree.sources.iter().map(Source::words)).collect()
}

fn explain(Failure { facility, part, errno }: Failure, described: &[String], view_steps: &Range<usize>) -> StartError {
    let source = io::Error::from_raw_os_error(errno);
    match (facility, described.get(part as usize)) {
        (Facility::Mounts, Some(what)) if view_steps.contains(&(part as usize)) => {
            StartError::View { what: what.clone(), source }
        }
        (Facility::Mounts, Some(what)) => StartError::Show { what: what.clone(), source },
        (facility, _) => floor(facility, source),
    }
}

fn floor(facility: Facility, source: io::Error) -> StartError {
    let (missing, remedy) = match facility {
        Facility::Birth => (
            "namespaces of its own",
            "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
             user.max_user_namespaces > 0; on Ubuntu an AppArmor profile for this program, or \
             kernel.apparmor_restrict_unprivileged_userns=0)",
        ),
        Facility::Start => ("a start", "this is a defect if the machine is not out of memory; please report it"),
        Facility::User => (
            "a user of its own",
            "the kernel must let this user map its own id (user_namespaces(7)); security modules can forbid it",
        ),
        Facility::CgroupNamespace => ("a cgroup namespace", "use a kernel with CONFIG_CGROUPS (4.6 or newer)"),
        Facility::HostName => ("a host name of its own", "use a kernel with CONFIG_UTS_NS"),
        Facility::Loopback => ("a loopback interface of its own", "use a kernel with CONFIG_NET_NS"),
        Facility::Mounts => (
            "a file system of its own",
            "use Linux 5.12 or newer; inside a container, /proc must not be masked \
             (docker: --security-opt systempaths=unconfined)",
        ),
        Facility::NestedUserNamespaces => ("a ban on nested user namespaces", "use a kernel with CONFIG_SYSCTL"),
        Facility::Limits => ("resource limits", "a hard limit of this server is lower than a sandbox needs"),
        Facility::Capabilities => ("an empty capability set", "use Linux 4.3 or newer"),
        Facility::NoNewPrivileges => ("no_new_privs", "use Linux 3.5 or newer"),
        Facility::Landlock => ("its Landlock fence", "this is a defect; please report it"),
        Facility::Descriptors => ("clean descriptors", "use Linux 5.9 or newer (close_range)"),
        Facility::Seccomp => ("its system call filter", "use a kernel with CONFIG_SECCOMP_FILTER"),
        Facility::Execute => ("its guest program", "a security module may forbid programs in memory (memfd)"),
    };
    StartError::Floor { missing, remedy, source }
}

fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

fn strings(texts: impl IntoIterator<Item = String>) -> io::Result<Vec<CString>> {
    texts.into_iter().map(|text| Ok(CString::new(text)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_as_its_owners_is_reached_through_no_link() {
        let place = tempfile::tempdir().unwrap();
        let real = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(real.join("seed/below")).unwrap();
        std::os::unix::fs::symlink("seed", real.join("link")).unwrap();
        assert!(open_unlinked(&real.join("seed/below")).is_ok());
        for swapped in ["link", "link/below"] {
            assert!(open_unlinked(&real.join(swapped)).is_err(), "{swapped}");
        }
    }
}
