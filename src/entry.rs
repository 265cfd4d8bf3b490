//! What the audit log will say about one call, collected while the call is made.

use cofferdam_contract::{Ended, Enforced, Plan, Work};
use cofferdam_policy::Redactor;
use cofferdam_tools::{Failure, Output};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    audit::{
        ChangeCounts, Decision, End, Event, Intent, Outcome, OutputSummary, Underway,
        preview::{arguments_sha256, preview, shorten},
        record::hex,
    },
    policy_in_force::Judging,
    reply::{Facts, enforcement, milliseconds},
    run::Run,
    server::{Request, Server},
};

/// A longer name from outside is shortened, bytes.
const NAME_BYTES: usize = 128;

/// One call's entry.
pub(crate) struct Entry {
    intent: Intent,
    announced: Announced,
    /// The intent, when it is in the log and not known to be on the disk.
    underway: Option<Underway>,
    /// Whether a plan was made, and what it does.
    work: Option<Work>,
    facts: Facts,
    ended: Option<Ended>,
    redactor: Option<Redactor>,
}

/// Whether the intent is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    Yes,
    No,
}

impl Entry {
    /// An entry about which nothing is decided: what is refused before policy is asked, is refused for its arguments.
    pub(crate) fn new(server: &Server, request: &Request, run: &Run, judging: &Judging) -> Self {
        // While the policy is invalid there is none to name.
        let policy_sha256 = judging.as_ref().map(|in_force| hex(&in_force.policy.sha256())).unwrap_or_default();
        let nothing = Map::new();
        let arguments = request.arguments.as_ref().unwrap_or(&nothing);
        let mut client = request.client.clone();
        client.name = shorten(&client.name, NAME_BYTES);
        client.version = shorten(&client.version, NAME_BYTES);
        Self {
            intent: Intent {
                call: run.call().clone(),
                server: server.attendance.server().to_owned(),
                session: server.session_name.clone(),
                client,
                workspace: server.project.workspace.clone(),
                tool: shorten(&request.tool, NAME_BYTES),
                plan_sha256: None,
                arguments_sha256: arguments_sha256(arguments),
                standard_sha256: None,
                arguments: preview(arguments),
                decision: Decision::InvalidArguments,
                rule: None,
                policy_sha256: policy_sha256.clone(),
            },
            announced: Announced::No,
            underway: None,
            work: None,
            facts: Facts { call: run.call().0.clone(), policy_sha256, ..Facts::default() },
            ended: None,
            redactor: None,
        }
    }

    /// Notes what was planned of these arguments. Those that came under another name than the tool's own are recorded under
    /// the tool's: the log shows some by their names, and rules are about them.
    pub(crate) fn planned(&mut self, plan: &Plan, given: &Map<String, Value>) {
        if given.keys().any(|name| !plan.arguments.contains_key(name)) {
            let standard: Map<String, Value> =
                plan.arguments.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            self.intent.standard_sha256 = Some(arguments_sha256(&standard));
            self.intent.arguments = preview(&standard);
        }
        self.intent.plan_sha256 = Some(hex(&cofferdam_policy::digest(plan)));
        self.work = Some(plan.work.clone());
    }

    /// Whether nothing can come of the call but its answer.
    pub(crate) fn only_reads(&self) -> bool {
        matches!(self.work, Some(Work::ReadFiles | Work::ReadRepository))
    }

    /// Notes that the intent is on its way to the disk.
    pub(crate) fn await_intent(&mut self, intent: Underway) {
        self.underway = Some(intent);
    }

    /// The intent, if it has to be waited for. Once.
    pub(crate) fn intent_underway(&mut self) -> Option<Underway> {
        self.underway.take()
    }

    /// Notes what was decided.
    pub(crate) fn decided(&mut self, decision: Decision, rule: Option<&str>) {
        self.intent.decision = decision;
        self.intent.rule = rule.map(str::to_owned);
    }

    /// Notes what a sandbox enforced.
    pub(crate) fn confined(&mut self, enforced: Enforced) {
        self.facts.enforced = Some(enforced);
    }

    /// Notes what became of the changes.
    pub(crate) fn changed(&mut self, changes: ChangeCounts) {
        self.facts.changes = Some(changes);
    }

    /// Notes how the last program ended.
    pub(crate) fn exited(&mut self, exit: Option<i32>) {
        self.facts.exit = exit;
    }

    /// Notes what must not be said of what the sandbox saw.
    pub(crate) fn redact_with(&mut self, redactor: Redactor) {
        self.redactor = Some(redactor);
    }

    /// Takes out of the answer what must not be said; `None` when there was no sandbox.
    pub(crate) fn redactor(&mut self) -> Option<Redactor> {
        self.redactor.take()
    }

    /// Notes that the sandbox was ended.
    pub(crate) fn ended(&mut self, why: Option<Ended>) {
        self.ended = why;
    }

    /// The intent, unless it is in the log.
    pub(crate) fn intent(&self) -> Vec<Event> {
        match self.announced {
            Announced::No => vec![Event::Intent(Box::new(self.intent.clone()))],
            Announced::Yes => Vec::new(),
        }
    }

    /// Notes that the intent is in the log.
    pub(crate) fn announced(&mut self) {
        self.announced = Announced::Yes;
    }

    /// The outcome, after the intent if that is not in the log yet.
    pub(crate) fn conclude(&mut self, result: &Result<Output, Failure>, run: &Run) -> Vec<Event> {
        self.facts.took = run.started().elapsed();
        let (code, text) = match result {
            Ok(output) => (None, &output.text),
            Err(failure) => (Some(failure.code.to_owned()), &failure.text),
        };
        let outcome = Outcome {
            call: self.intent.call.clone(),
            tool: self.intent.tool.clone(),
            end: self.end(result),
            code,
            sandbox: self.facts.enforced.as_ref().map(enforcement),
            changes: self.facts.changes,
            exit: self.facts.exit,
            duration_ms: milliseconds(self.facts.took),
            output: OutputSummary { bytes: text.len() as u64, sha256: hex(&Sha256::digest(text)) },
        };
        let mut events = self.intent();
        events.push(Event::Outcome(Box::new(outcome)));
        events
    }

    /// The facts for the reply.
    pub(crate) fn into_facts(self) -> Facts {
        Facts { decision: Some(self.intent.decision), rule: self.intent.rule, ..self.facts }
    }

    fn end(&self, result: &Result<Output, Failure>) -> End {
        match (self.ended, result) {
            (Some(Ended::Cancelled), _) => End::Cancelled,
            (Some(Ended::Deadline), _) => End::TimedOut,
            (Some(Ended::OutOfMemory | Ended::CpuTime | Ended::DiskFull), _) => End::LimitReached,
            (Some(Ended::Broken) | None, Ok(_)) => End::Succeeded,
            (Some(Ended::Broken), Err(_)) => End::Failed,
            (None, Err(failure)) => match (self.intent.decision, failure.code) {
                (Decision::Allowed, "busy" | "sandbox_unavailable" | "audit_unavailable") => End::Refused,
                (Decision::Allowed, _) => End::Failed,
                (
                    Decision::ApprovalRequired | Decision::Denied | Decision::InvalidArguments | Decision::UnknownTool,
                    _,
                ) => End::Refused,
            },
        }
    }
}
