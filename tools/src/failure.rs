//! Why a tool did not do what it was asked: told to the agent, with what to do instead.

use cofferdam_contract::{Ended, FileRefusal, RefusalKind, SandboxError};

use crate::plain_text;

/// A call that did not succeed. The text is for the agent, the code for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which kind, in snake case.
    pub code: &'static str,
    /// What happened and what to do instead.
    pub text: String,
}

impl Failure {
    /// A failure that a tool found by itself.
    pub(crate) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// A reply of another variant than the request's: a defect of the other side.
    pub(crate) fn other_reply() -> Self {
        Self::new("sandbox_ended", "the sandbox answered another question than was asked; try again")
    }

    /// A tool of the session that was run in a sandbox.
    pub(crate) fn answered_by_the_server(tool: &str) -> Self {
        Self::new("not_planned", format!("`{tool}` is answered by the server itself and needs no sandbox"))
    }

    /// A refusal, with the advice that its kind calls for.
    fn refused(refusal: &FileRefusal) -> Self {
        let (code, advice) = match refusal.kind {
            RefusalKind::NotFound => ("not_found", "look with list_files or search_files"),
            RefusalKind::Exists => ("exists", "choose another name, or remove it first"),
            RefusalKind::WrongKind => ("wrong_kind", "list_files shows what is there"),
            RefusalKind::LeadsOut => ("leads_out", "only what lies in the workspace can be reached"),
            RefusalKind::Permission => ("permission", "only a person can change that"),
            RefusalKind::TooLarge => ("too_large", "work on a part of it"),
            RefusalKind::Changed => ("changed", "read it again, then repeat the change"),
            RefusalKind::Invalid => ("invalid", "correct the argument"),
            RefusalKind::NoSpace => ("limit_reached", "the call's disk limit was reached"),
            RefusalKind::Failed => ("failed", "it may work when tried again"),
            // GNU chown changes links themselves, not what they lead to, when it is recursive (chown(1), `-R` and `-P`).
            RefusalKind::OtherOwner => {
                ("permission", "a person can mend that with `chown -R --reference=. .` in the workspace folder")
            }
        };
        Self::new(code, format!("{}; {advice}", plain_text::one_line(&refusal.message)))
    }

    fn ended(ended: Ended) -> Self {
        let code = match ended {
            Ended::Deadline => "timed_out",
            Ended::Cancelled => "cancelled",
            Ended::OutOfMemory | Ended::CpuTime | Ended::DiskFull => "limit_reached",
            Ended::Broken => "sandbox_ended",
        };
        Self::new(code, ended.to_string())
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::File(refusal) => Self::refused(&refusal),
            SandboxError::Ended(ended) => Self::ended(ended),
            SandboxError::NotPlanned { .. } => Self::new("not_planned", error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_message_and_says_what_to_do() {
        let refusal = FileRefusal { kind: RefusalKind::NotFound, message: "`a\u{1b}[2J` does not exist".into() };
        let failure = Failure::from(SandboxError::File(refusal));
        assert_eq!(failure.code, "not_found");
        assert_eq!(failure.text, "`a` does not exist; look with list_files or search_files");
    }

    #[test]
    fn no_refusal_repeats_itself() {
        let told =
            |kind, message: &str| Failure::from(SandboxError::File(FileRefusal { kind, message: message.into() }));
        assert_eq!(
            told(RefusalKind::Permission, "could not write `a`: its permissions forbid it").text,
            "could not write `a`: its permissions forbid it; only a person can change that"
        );
        let other = told(RefusalKind::OtherOwner, "could not delete `a`: it belongs to another user or group");
        assert_eq!(other.code, "permission");
        assert_eq!(
            other.text,
            "could not delete `a`: it belongs to another user or group; a person can mend that with \
             `chown -R --reference=. .` in the workspace folder"
        );
    }
}
