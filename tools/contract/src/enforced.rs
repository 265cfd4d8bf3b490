//! What a backend really enforced, in the words that results, `doctor` and floors share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Isolation;

/// One thing that a sandbox may guarantee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// Own user namespace; never host uid 0.
    UserNamespace,
    /// Own mount namespace, with nothing of the host but what is shown.
    MountNamespace,
    /// Own process ids; the end of the first process ends all.
    PidNamespace,
    /// Own network stack with nothing but loopback.
    NetworkNamespace,
    /// Own System V and POSIX queues.
    IpcNamespace,
    /// Own host name.
    UtsNamespace,
    /// Own cgroup root.
    CgroupNamespace,
    /// No capability in any set, and none to be had.
    NoCapabilities,
    /// `no_new_privs`: setuid programs gain nothing.
    NoNewPrivileges,
    /// No user namespace inside.
    NoNestedUserNamespaces,
    /// System calls are filtered.
    Seccomp,
    /// Everything but the view, scratch volumes and `/tmp` is read-only.
    ReadOnlyRoot,
    /// The workspace is a private view; changes come back through the gate.
    WorkspaceView,
    /// A second fence around the file system.
    Landlock,
    /// The kernel is of a line that is mended, and no setting of it helps attacks on it.
    Kernel,
    /// Wall-clock deadline.
    WallClock,
    /// Cap on kept output.
    Output,
    /// Number of processes and threads.
    Processes,
    /// Memory of all processes together.
    Memory,
    /// CPU time.
    Cpu,
    /// Bytes written.
    Disk,
}

/// Whether a guarantee belongs to the boundary or is a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Always required; a sandbox without it is not opened.
    Boundary,
    /// A second fence, or firm ground: used where the machine has it, and required only where policy says so.
    Fence,
    /// Required only where policy says so.
    Budget,
}

/// How well a guarantee holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// Not at all.
    Absent,
    /// A watcher looks from time to time and ends the sandbox when it is exceeded.
    Watched,
    /// The kernel holds it.
    Enforced,
}

/// How well a guarantee holds, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mechanism {
    /// How well.
    pub strength: Strength,
    /// By what, in a few words: "cgroup v1", "RLIMIT_NPROC in the user namespace".
    pub by: String,
}

/// What was enforced for one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// The backend's name: "namespace".
    pub backend: String,
    /// The boundary's level.
    pub isolation: Isolation,
    /// Every guarantee the backend speaks of. One that is not listed is absent.
    pub guarantees: BTreeMap<Guarantee, Mechanism>,
}

impl Guarantee {
    /// Every guarantee.
    pub const ALL: [Self; 21] = [
        Self::UserNamespace,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::NoCapabilities,
        Self::NoNewPrivileges,
        Self::NoNestedUserNamespaces,
        Self::Seccomp,
        Self::ReadOnlyRoot,
        Self::WorkspaceView,
        Self::Landlock,
        Self::Kernel,
        Self::WallClock,
        Self::Output,
        Self::Processes,
        Self::Memory,
        Self::Cpu,
        Self::Disk,
    ];

    /// Its kind.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::UserNamespace
            | Self::MountNamespace
            | Self::PidNamespace
            | Self::NetworkNamespace
            | Self::IpcNamespace
            | Self::UtsNamespace
            | Self::CgroupNamespace
            | Self::NoCapabilities
            | Self::NoNewPrivileges
            | Self::NoNestedUserNamespaces
            | Self::Seccomp
            | Self::ReadOnlyRoot
            | Self::WorkspaceView
            | Self::WallClock
            | Self::Output
            | Self::Processes => Kind::Boundary,
            Self::Landlock | Self::Kernel => Kind::Fence,
            Self::Memory | Self::Cpu | Self::Disk => Kind::Budget,
        }
    }
}

impl Enforced {
    /// How well `guarantee` holds.
    #[must_use]
    pub fn strength(&self, guarantee: Guarantee) -> Strength {
        self.guarantees.get(&guarantee).map_or(Strength::Absent, |mechanism| mechanism.strength)
    }
}
