//! What the log holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::commit_taken::CommitMove;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One line of the log, without its closing `sha256`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Position in the log, from 1 without a gap.
    pub seq: u64,
    /// When it was written: RFC 3339, UTC.
    pub time: String,
    /// The `sha256` of the line before; 64 zeros in the first line.
    pub prev: String,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A call was judged and, if it is allowed, is about to run.
    Intent(Box<Intent>),
    /// A call ended.
    Outcome(Box<Outcome>),
    /// A call's server was killed before the call ended.
    Lost(Lost),
    /// A person decided about held changes, and it is about to be done.
    ChangesOrdered(ChangesOrdered),
    /// What a person decided about held changes was done.
    Changes(ChangesDecided),
    /// A person ordered that their branch moves to an agent's commit.
    CommitOrdered(CommitMove),
    /// It moved.
    CommitTaken(CommitMove),
    /// A person wants scratch volumes removed, and it is about to be done.
    ScratchOrdered(ScratchOrdered),
    /// Scratch volumes were removed by a person's order.
    ScratchCleared(ScratchCleared),
    /// A person accepted that a workspace's policy file is gone, and it is about to be forgotten.
    PolicyAccepted(PolicyAccepted),
    /// A line that was being written when its writer died was removed.
    Recovered(Recovered),
}

/// One call's identity in the log: random, the same in its intent and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Call(pub String);

/// The program that called, as it named itself. Not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What was asked and what was decided, before anything happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Which call.
    pub call: Call,
    /// The server that announced it: random, another at each start. Empty in a log of a version that did not write it.
    #[serde(default)]
    pub server: String,
    /// The session's name.
    pub session: String,
    /// Who called.
    pub client: Client,
    /// The workspace's absolute path.
    pub workspace: String,
    /// The tool's name as it was called.
    pub tool: String,
    /// Digest of the plan; absent when the arguments gave no plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_sha256: Option<String>,
    /// Digest of the arguments as they came, keys sorted.
    pub arguments_sha256: String,
    /// Digest of the arguments under their standard names, when some came under others; `arguments` are those then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_sha256: Option<String>,
    /// The arguments, shortened and without contents.
    pub arguments: BTreeMap<String, Value>,
    /// What was decided.
    pub decision: Decision,
    /// The rule that decided, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Digest of the policy that judged; empty while the policy was invalid, which refuses every call.
    pub policy_sha256: String,
}

/// What was decided about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Policy allows it.
    Allowed,
    /// Policy wants a person's consent first.
    ApprovalRequired,
    /// Policy forbids it.
    Denied,
    /// The arguments are not valid; policy was not asked.
    InvalidArguments,
    /// There is no such tool.
    UnknownTool,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which call.
    pub call: Call,
    /// The tool's name as it was called.
    pub tool: String,
    /// How it ended.
    pub end: End,
    /// The failure's code, when it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What the sandbox enforced, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Enforcement>,
    /// What became of the changes, when there could be any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangeCounts>,
    /// How the last program ended: its status, or the negative number of the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// From the request's arrival to this record, in milliseconds.
    pub duration_ms: u64,
    /// The text that was answered.
    pub output: OutputSummary,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The tool did what it was asked.
    Succeeded,
    /// The tool could not do it.
    Failed,
    /// It was not run: see the intent's decision, or the code.
    Refused,
    /// It was cancelled.
    Cancelled,
    /// Its time limit passed.
    TimedOut,
    /// Another of its limits was reached.
    LimitReached,
}

/// What a sandbox enforced, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// The backend's name.
    pub backend: String,
    /// The boundary's level.
    pub isolation: String,
    /// Guarantees that a watcher holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<String>,
    /// Guarantees that nothing holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
}

/// How many paths went which way at the gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeCounts {
    /// Written to the workspace.
    pub applied: u64,
    /// Waiting for a person.
    pub held: u64,
    /// Never kept: devices, sockets, setuid bits.
    pub dropped: u64,
    /// Written in the sandbox and not asked to be kept.
    pub left: u64,
}

/// The answer's size and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSummary {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its digest.
    pub sha256: String,
}

/// A call that was announced and never ended, since its server was killed. What it had written in its sandbox is gone;
/// a hand-back that had begun was finished or undone by the next server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Which call.
    pub call: Call,
    /// The tool's name as it was called.
    pub tool: String,
    /// When it was announced: RFC 3339, UTC.
    pub since: String,
}

/// What a person wants done with held changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Put them into the workspace.
    Apply,
    /// Forget them.
    Discard,
    /// Take back what a call had changed in the workspace.
    Undo,
}

/// A person's order about held changes, before it is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesOrdered {
    /// The session's name.
    pub session: String,
    /// The workspace's absolute path.
    pub workspace: String,
    /// What is to be done.
    pub action: Action,
    /// How many files or folders were named.
    pub named: u64,
    /// The first of them, at most 20; `.` for everything.
    pub paths: Vec<String>,
    /// The call that is to be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

/// What was done with held changes by a person's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesDecided {
    /// The session's name.
    pub session: String,
    /// The workspace's absolute path.
    pub workspace: String,
    /// What was done.
    pub action: Action,
    /// How many paths it was done to.
    pub done: u64,
    /// The first of those paths, at most 20.
    pub paths: Vec<String>,
    /// The order's own identifier, with which it can be taken back itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Call>,
}

/// A person's order to remove scratch volumes, before it is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScratchOrdered {
    /// The workspace's absolute path.
    pub workspace: String,
    /// How many places were named; 0 for all volumes.
    pub named: u64,
    /// The first of them, at most 20.
    pub places: Vec<String>,
}

/// What came of a person's order to remove scratch volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScratchCleared {
    /// The workspace's absolute path.
    pub workspace: String,
    /// How many were removed.
    pub done: u64,
    /// The places of the first of them, at most 20.
    pub places: Vec<String>,
    /// What they held, bytes.
    pub bytes: u64,
}

/// A person's order to go on without a workspace's policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAccepted {
    /// The workspace's absolute path.
    pub workspace: String,
    /// The session's name.
    pub session: String,
}

/// A torn line that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// How many bytes were removed from the end of the file.
    pub bytes: u64,
    /// Their digest.
    pub sha256: String,
}

/// What a line's `prev` is when there is no line before.
pub const NO_PREVIOUS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What stands between a record and its own digest.
const SEAL: &[u8] = b",\"sha256\":\"";

/// Bytes from [`SEAL`] to the closing brace.
const SEAL_BYTES: usize = SEAL.len() + 64 + 2;

/// A longer line is not one of ours, bytes. Previews are bounded far below.
pub const MAX_LINE_BYTES: usize = 1 << 20;

impl Record {
    /// The record as a line with its closing `sha256` and line end; and that digest.
    #[must_use]
    pub fn seal(&self) -> (Vec<u8>, String) {
        let mut line = serde_json::to_vec(self).expect("a record has text keys and no failing serializer");
        line.pop(); // the closing brace, which comes back after the digest
        let digest = hex(&Sha256::digest(&line));
        line.extend_from_slice(SEAL);
        line.extend_from_slice(digest.as_bytes());
        line.extend_from_slice(b"\"}\n");
        (line, digest)
    }

    /// Reads a line (without its line end) and checks its digest.
    ///
    /// # Errors
    /// What is wrong with the line, as a clause.
    pub fn unseal(line: &[u8]) -> Result<(Self, String), String> {
        let (body, seal) = line
            .split_at_checked(line.len().saturating_sub(SEAL_BYTES))
            .filter(|(_, seal)| seal.len() == SEAL_BYTES && seal.starts_with(SEAL) && seal.ends_with(b"\"}"))
            .ok_or("it does not end with its sha256")?;
        let digest = hex(&Sha256::digest(body));
        if seal[SEAL.len()..SEAL.len() + 64] != *digest.as_bytes() {
            return Err("its sha256 does not match its content".to_owned());
        }
        let record = serde_json::from_slice(line).map_err(|error| format!("it is not a record: {error}"))?;
        Ok((record, digest))
    }
}

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_line_is_plain_json_and_unseals_to_itself() {
        let record = Record {
            seq: 1,
            time: "2026-11-23T19:28:04.007Z".into(),
            prev: NO_PREVIOUS.into(),
            event: Event::Recovered(Recovered { bytes: 3, sha256: hex(&Sha256::digest(b"abc")) }),
        };
        let (line, digest) = record.seal();
        let text = std::str::from_utf8(&line).unwrap().strip_suffix('\n').unwrap();
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(value["sha256"], digest);
        assert_eq!(Record::unseal(text.as_bytes()), Ok((record, digest)));
    }

    #[test]
    fn hexadecimal_has_two_digits_a_byte() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
