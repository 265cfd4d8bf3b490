//! Exit statuses, for scripts.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked.
    Success,
    /// The tool failed or was refused; a check found something wrong.
    Failed,
    /// The command line or the configuration is wrong. clap ends with the same status.
    Usage,
    /// It waits for a person: changes are held, the call needs an approval, or a candidate policy allows more.
    Person,
    /// This machine cannot give a sandbox, or not one that is strong enough.
    NoSandbox,
    /// The audit log cannot be written.
    NoAudit,
    /// The tool did its work, and the result is not good: tests failed, something is to be mended, a build failed.
    NotPassed,
    /// It was interrupted.
    Interrupted,
}

impl Exit {
    /// The status.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Person => 3,
            Self::NoSandbox => 4,
            Self::NoAudit => 5,
            Self::NotPassed => 6,
            Self::Interrupted => 130,
        }
    }

    /// The status for a failed call with this code.
    #[must_use]
    pub fn for_failure(code: &str) -> Self {
        match code {
            "invalid_arguments" | "unknown_tool" | "unusable" | "policy_invalid" => Self::Usage,
            "approval_required" => Self::Person,
            "sandbox_unavailable" => Self::NoSandbox,
            "audit_unavailable" => Self::NoAudit,
            "cancelled" => Self::Interrupted,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}

/// What `--help` says about exit statuses.
pub const TABLE: &str = "\
Exit status:
  0    it was done
  1    the tool failed or was refused; a check found something wrong
  2    the command line, the workspace or the configuration is wrong
  3    it waits for a person: changes are held, an approval is needed, or a
       candidate policy allows more
  4    this machine cannot give a sandbox that is strong enough (see
       `cofferdam doctor`)
  5    the audit log cannot be written
  6    the tool did its work and the result is not good: tests did not pass
       (some failed, could not be built, or none ran), lint or check_types found
       something to mend, files are not formatted, a build or a task failed
  130  it was interrupted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_status() {
        for exit in [
            Exit::Success,
            Exit::Failed,
            Exit::Usage,
            Exit::Person,
            Exit::NoSandbox,
            Exit::NoAudit,
            Exit::NotPassed,
            Exit::Interrupted,
        ] {
            assert!(TABLE.contains(&format!("\n  {:<5}", exit.status())), "{exit:?}");
        }
    }
}
