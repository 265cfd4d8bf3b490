//! User and group ids: who the sandbox is outside, and that it looks the same inside in all cases.
//!
//! A root server never lends its own id: mapped to host uid 0 a sandbox could write sysctls and `/etc/shadow`, and
//! RLIMIT_NPROC would not bind it (measured). It takes an id from a reserved range instead. An ordinary user's server can
//! map only that user's own id (`user_namespaces(7)`).

use std::{fs, io};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::{Gid, Pid, Uid},
};

/// The id inside, of user and group alike.
const AGENT_ID: u32 = crate::root::USER_ID;

/// The first host id of the reserved range. It lies in a part that systemd's table of ids leaves unassigned
/// (systemd.io, "Users, Groups, UIDs and GIDs": 1879048192 to 2147352575).
const RESERVED_FIRST: u32 = 2_000_000_000;

/// How many ids the reserved range holds.
const RESERVED_COUNT: u32 = 65_536;

/// Who the sandbox's processes are on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostUser {
    /// The server is root: an id of the reserved range.
    Reserved(u32),
    /// The server is an ordinary user: that user.
    Own {
        /// The user's id.
        uid: u32,
        /// The user's group.
        gid: u32,
    },
}

impl HostUser {
    /// Who sandboxes of the workspace `workspace_id` (a hash in hexadecimal) are.
    pub(super) fn of_workspace(workspace_id: &str) -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if uid.is_root() {
            // Stable for a workspace, so that what its scratch volumes hold stays its own.
            let hash =
                workspace_id.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
            Self::Reserved(RESERVED_FIRST + hash % RESERVED_COUNT)
        } else {
            Self::Own { uid: uid.as_raw(), gid: gid.as_raw() }
        }
    }

    /// The host's user and group id.
    pub(super) fn host(self) -> (u32, u32) {
        match self {
            Self::Reserved(id) => (id, id),
            Self::Own { uid, gid } => (uid, gid),
        }
    }
}

/// Who owns what sandboxes of the workspace `workspace_id` write: the host's user and group id.
pub(crate) fn agent_of(workspace_id: &str) -> (u32, u32) {
    HostUser::of_workspace(workspace_id).host()
}

/// Maps the agent's id in the child's user namespace to its host id.
///
/// # Errors
/// Those of writing below `/proc/PID`; EPERM where the kernel's configuration forbids it.
pub(super) fn write_maps(pid: Pid, user: HostUser) -> io::Result<()> {
    let (uid, gid) = user.host();
    write_id_maps(pid, AGENT_ID, uid, gid, user)
}

/// Writes maps of one id each: `inside` to `uid` and `gid`.
fn write_id_maps(pid: Pid, inside: u32, uid: u32, gid: u32, user: HostUser) -> io::Result<()> {
    let file = |name: &str| format!("/proc/{}/{name}", pid.as_raw_nonzero());
    match user {
        // Root keeps setgroups so that the child can drop root's own groups.
        HostUser::Reserved(_) => {}
        HostUser::Own { .. } => fs::write(file("setgroups"), "deny")?,
    }
    fs::write(file("gid_map"), format!("{inside} {gid} 1"))?;
    fs::write(file("uid_map"), format!("{inside} {uid} 1"))
}

/// Becomes the agent in the new user namespace, keeping the capabilities over that namespace until they are dropped.
pub(super) fn become_agent(user: &HostUser) -> Result<(), Errno> {
    match user {
        HostUser::Reserved(_) => rustix::thread::set_thread_groups(&[])?,
        // An ordinary user cannot drop supplementary groups; nothing that they open is shown inside.
        HostUser::Own { .. } => {}
    }
    let (uid, gid) = (Uid::from_raw(AGENT_ID), Gid::from_raw(AGENT_ID));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Sets the number of user namespaces that may exist below ours to zero (`user/max_user_namespaces`, `namespaces(7)`).
pub(super) fn forbid_nested_user_namespaces() -> Result<(), Errno> {
    let file =
        rustix::fs::open(c"/proc/sys/user/max_user_namespaces", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, b"0").map(drop)
}
