//! What a call wants, before anything happens.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Arguments, Limits, WorkspacePath};

/// What a call wants. Pure data: the same arguments give the same plan on every machine.
///
/// Policy judges the plan, the permit carries it, and the sandbox is opened from that very value, so nothing can be
/// checked and another thing run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The tool's name.
    pub tool: String,
    /// The parsed arguments under their standard names (aliases resolved, paths normalised).
    pub arguments: Arguments,
    /// What the call does, and so what its sandbox offers.
    pub work: Work,
    /// Paths the call says it reads; empty means "the workspace".
    pub reads: Vec<WorkspacePath>,
    /// What may come back to the workspace afterwards.
    pub hand_back: HandBack,
    /// The network it needs.
    pub network: Network,
    /// The weakest boundary it accepts.
    pub isolation: Isolation,
    /// Routine, or sensitive: only with a person's grant.
    pub lane: Lane,
    /// Budgets it asks for.
    pub limits: Limits,
    /// Names of credentials it needs. They never enter a sandbox.
    pub credentials: BTreeSet<String>,
}

/// What a call does. The sandbox refuses whatever its plan's work does not include.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Reads files of the workspace. The view is read-only and nothing is executed.
    ReadFiles,
    /// Writes files of the workspace's view. Nothing is executed.
    WriteFiles,
    /// Executes programs on the view, with toolchains and scratch volumes.
    Execute,
    /// Asks about the session itself; no sandbox is opened.
    Session(SessionRequest),
}

/// A question to, or an order for, the session's own state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionRequest {
    /// What is held, and why.
    ListChanges,
    /// Brings back what a call wrote and did not keep, as the plan's hand-back says.
    KeepChanges {
        /// The call's identifier.
        call: String,
    },
    /// The state of a run, after waiting for it for at most `wait_seconds`.
    GetRun {
        /// The run's identifier.
        run_id: String,
        /// Seconds to wait for its end; 0 answers at once.
        wait_seconds: u64,
    },
    /// Ends a run and destroys its sandbox.
    CancelRun {
        /// The run's identifier.
        run_id: String,
    },
}

/// What may come back from the view to the workspace. All else is listed and not applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandBack {
    /// Nothing.
    Nothing,
    /// These paths and what lies below them.
    Paths(Vec<WorkspacePath>),
    /// Paths that match one of these globs (`**` crosses folders).
    Matching(Vec<String>),
    /// The whole tree.
    Tree,
}

/// How much network a call has, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The sandbox's own loopback only.
    Off,
    /// Typed routes to package registries.
    Registry,
    /// Exact hosts.
    Allowlist,
}

/// How strong a boundary is, from weakest to strongest. There is nothing below `Namespace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Linux namespaces, seccomp and no capabilities, on the host's kernel.
    Namespace,
    /// A container engine's sandbox.
    Container,
    /// A user-space kernel.
    Gvisor,
    /// A virtual machine.
    Microvm,
}

/// Which lane a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Runs as soon as policy allows.
    Routine,
    /// Waits for a person's signed grant and runs in the separate executor.
    Sensitive,
}
