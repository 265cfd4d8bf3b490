//! What a new process does to become a sandbox, one line a step, in the order that the steps need.
//!
//! This runs in a child that has namespaces, descriptors and a stack of its own, and until `execveat(2)` the server's memory
//! (`vfork(2)`). So it may only make system calls: a lock that it took, or something that it gave back to the allocator,
//! would be the server's. Everything that needs memory (paths, filters, argument vectors) was prepared before. It
//! changes three things of that memory: the sources' numbers of descriptors, which nobody else reads, the resting thread's
//! errno, and, where the server is root, whether it can be dumped (`commit_creds`, kernel/cred.c): not any more after the
//! first start. A step that fails ends the child, and the server learns which one and why; there is no way on without it.

use std::{
    convert::Infallible,
    ffi::CString,
    os::fd::{OwnedFd, RawFd},
    sync::Arc,
};

use rustix::io::Errno;

use super::{
    capabilities, cgroup::Entry, ids, ids::HostUser, landlock, landlock::Fence, limits, mount, mount::Tree, network,
    process, seccomp,
};

/// Everything that a child needs, made before the clone.
pub(super) struct Containment {
    /// Our end of the talk with the server while the sandbox is being built. Closed by `execveat`.
    pub(super) setup: OwnedFd,
    /// A pidfd of the server: readable when it is gone.
    pub(super) server: OwnedFd,
    /// The pipe that the guest speaks on.
    pub(super) channel: OwnedFd,
    /// The guest program.
    pub(super) guest: RawFd,
    /// `/dev/null`, for the standard streams.
    pub(super) null: OwnedFd,
    /// The way into the sandbox's cgroups.
    pub(super) cgroup: Entry,
    /// Who the sandbox runs as.
    pub(super) user: HostUser,
    /// The file system.
    pub(super) tree: Tree,
    /// Resource limits of each process.
    pub(super) rlimits: Vec<(libc::c_int, u64)>,
    /// Landlock's rules.
    pub(super) fence: Fence,
    /// Compiled seccomp filters, installed in this order.
    pub(super) filters: Arc<Vec<Vec<libc::sock_filter>>>,
    /// The guest's arguments.
    pub(super) arguments: Vec<CString>,
    /// The guest's environment, and so that of all programs inside.
    pub(super) environment: Vec<CString>,
}

/// The steps that can fail, as the server names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Facility {
    /// The clone itself; said by the server's own thread.
    Birth = 1,
    Start,
    User,
    CgroupNamespace,
    HostName,
    Loopback,
    Mounts,
    NestedUserNamespaces,
    Limits,
    Capabilities,
    NoNewPrivileges,
    Landlock,
    Descriptors,
    Seccomp,
    Execute,
}

impl Facility {
    /// Every facility, for reading one back from its number.
    pub(super) const ALL: [Self; 15] = [
        Self::Birth,
        Self::Start,
        Self::User,
        Self::CgroupNamespace,
        Self::HostName,
        Self::Loopback,
        Self::Mounts,
        Self::NestedUserNamespaces,
        Self::Limits,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Landlock,
        Self::Descriptors,
        Self::Seccomp,
        Self::Execute,
    ];
}

/// Which step failed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) facility: Facility,
    /// Which part of the step: the index of a mount step, else 0.
    pub(super) part: u32,
    pub(super) errno: i32,
}

/// Confines the calling process and becomes the guest. Returns only what failed.
fn contain(place: &Containment) -> Result<Infallible, Failure> {
    use Facility as F;
    step(F::Start, process::say_born(&place.setup))?;
    // The server writes the id maps before it answers; all else needs them.
    step(F::Start, process::wait_for_go(&place.setup, &place.server))?;
    // First, so that all that follows counts; and before the cgroup namespace, whose root is the cgroup of that moment.
    step(F::CgroupNamespace, process::enter_cgroups(&place.cgroup.doors))?;
    // Sources are opened while we are still who the host knows; the new root can only be built as the new user.
    step(F::Mounts, mount::leave_propagation())?;
    part(F::Mounts, place.tree.open_sources())?;
    step(F::User, ids::become_agent(&place.user))?;
    // After the change of user, which clears it (prctl(2), PR_SET_PDEATHSIG).
    step(F::Start, process::die_with_parent(&place.server))?;
    step(F::Start, process::new_session())?;
    step(F::CgroupNamespace, process::new_cgroup_namespace())?;
    step(F::HostName, process::set_host_name())?;
    step(F::Loopback, network::raise_loopback())?;
    part(F::Mounts, place.tree.build(&place.setup))?;
    step(F::Mounts, mount::enter_new_root())?;
    // Both need a writable /proc/sys, which the step after them takes away.
    step(F::NestedUserNamespaces, ids::forbid_nested_user_namespaces())?;
    step(F::Limits, limits::share_kernel_objects())?;
    part(F::Mounts, place.tree.finish())?;
    step(F::Limits, limits::set(&place.rlimits))?;
    step(F::Capabilities, capabilities::drop_all())?;
    step(F::NoNewPrivileges, process::no_new_privileges())?;
    step(F::Landlock, landlock::restrict(&place.fence))?;
    // The filters forbid nothing that is needed after this line but what `execveat` does.
    step(F::Descriptors, process::keep_only(&place.channel, place.guest, &place.setup, &place.null))?;
    step(F::Seccomp, seccomp::install(&place.filters))?;
    step(F::Execute, process::execute_guest(&place.arguments, &place.environment))
}

fn step<T>(facility: Facility, result: Result<T, Errno>) -> Result<T, Failure> {
    result.map_err(|errno| Failure { facility, part: 0, errno: errno.raw_os_error() })
}

fn part<T>(facility: Facility, result: Result<T, (u32, Errno)>) -> Result<T, Failure> {
    result.map_err(|(part, errno)| Failure { facility, part, errno: errno.raw_os_error() })
}

/// The child's whole life: contain, or say what failed and end.
pub(super) fn live(place: &Containment) -> ! {
    let Err(failure) = contain(place);
    process::report(&place.setup, failure);

    process::end()
}
