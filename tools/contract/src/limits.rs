//! How much a call may use.

use serde::{Deserialize, Serialize};

/// Budgets of one call. A plan asks for them; policy's ceilings bound them; a backend enforces them as well as the
/// machine can and says how well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall-clock time from open to close, in seconds.
    pub wall_seconds: u64,
    /// CPU time of all processes together, in seconds.
    pub cpu_seconds: u64,
    /// Memory of all processes together, in MiB.
    pub memory_mb: u64,
    /// Bytes written to the view and to the scratch volumes, in MiB.
    pub disk_mb: u64,
    /// Processes and threads at one time.
    pub pids: u64,
    /// Output kept of one command's stdout and stderr together, in KiB.
    pub output_kb: u64,
}

impl Limits {
    /// Budgets that a file tool asks for.
    pub const FILES: Self =
        Self { wall_seconds: 40, cpu_seconds: 40, memory_mb: 1024, disk_mb: 512, pids: 32, output_kb: 1024 };

    /// Budgets that a test run asks for, when the call names no time of its own.
    pub const TESTS: Self =
        Self { wall_seconds: 600, cpu_seconds: 1800, memory_mb: 8192, disk_mb: 8192, pids: 2048, output_kb: 4096 };

    /// Budgets that a look at the repository asks for. Git reads each file that may have changed, and packs through `mmap`.
    pub const REPOSITORY: Self =
        Self { wall_seconds: 120, cpu_seconds: 240, memory_mb: 4096, disk_mb: 512, pids: 128, output_kb: 4096 };

    /// Budgets that a commit asks for: its hooks may check, format and test.
    pub const COMMIT: Self =
        Self { wall_seconds: 600, cpu_seconds: 1800, memory_mb: 8192, disk_mb: 2048, pids: 1024, output_kb: 4096 };

    /// The smaller of the two, budget by budget.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            wall_seconds: self.wall_seconds.min(other.wall_seconds),
            cpu_seconds: self.cpu_seconds.min(other.cpu_seconds),
            memory_mb: self.memory_mb.min(other.memory_mb),
            disk_mb: self.disk_mb.min(other.disk_mb),
            pids: self.pids.min(other.pids),
            output_kb: self.output_kb.min(other.output_kb),
        }
    }
}
