//! What a caller gets: the tool's answer, and the facts about how it came to be.
//!
//! Facts that a model must know (a change is held, the workspace changed meanwhile, a run goes on) stand both in the
//! text and in the structured content: clients show one or the other, never surely both.

use std::time::Duration;

use cofferdam_contract::{Enforced, Guarantee, Kind, Strength};
use cofferdam_tools::{Failure, Output};
use serde_json::{Map, Value, json};

use crate::{
    audit::{ChangeCounts, Decision, Enforcement},
    run::Run,
};

/// A call's end.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The tool's output, or why there is none.
    pub result: Result<Output, Failure>,
    /// How it came to be.
    pub facts: Facts,
}

/// How a reply came to be.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The call's id in the audit log.
    pub call: String,
    /// What was decided.
    pub decision: Option<Decision>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Digest of the policy that judged.
    pub policy_sha256: String,
    /// What the sandbox enforced, when there was one.
    pub enforced: Option<Enforced>,
    /// What became of the changes, when there could be any.
    pub changes: Option<ChangeCounts>,
    /// How the last program ended, as in [`crate::audit::Outcome::exit`].
    pub exit: Option<i32>,
    /// From the request's arrival.
    pub took: Duration,
}

impl Reply {
    /// A failure about which nothing else is known.
    #[must_use]
    pub fn failed(code: &'static str, text: impl Into<String>) -> Self {
        Self { result: Err(Failure { code, text: text.into() }), facts: Facts::default() }
    }
}

impl Facts {
    /// The facts as a program may read them, with every guarantee of the sandbox and what holds it.
    #[must_use]
    pub fn whole(&self) -> Map<String, Value> {
        self.with_sandbox(|enforced| json!(enforced))
    }

    /// The facts as they go beside each result: of the sandbox its kind, and what it only watched or did not have. Every other
    /// guarantee was enforced.
    #[must_use]
    pub fn brief(&self) -> Map<String, Value> {
        self.with_sandbox(|enforced| json!(enforcement(enforced)))
    }

    fn with_sandbox(&self, sandbox: impl Fn(&Enforced) -> Value) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("call".into(), json!(self.call));
        map.insert("decision".into(), json!(self.decision));
        map.insert("rule".into(), json!(self.rule));
        map.insert("policy_sha256".into(), json!(self.policy_sha256));
        map.insert("duration_ms".into(), json!(milliseconds(self.took)));
        if let Some(enforced) = &self.enforced {
            map.insert("sandbox".into(), sandbox(enforced));
        }
        if let Some(changes) = &self.changes {
            map.insert("changes".into(), json!(changes));
        }
        map
    }
}

/// Whole milliseconds.
#[must_use]
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a sandbox enforced, in the log's words.
#[must_use]
pub fn enforcement(enforced: &Enforced) -> Enforcement {
    let names = |wanted: Strength| {
        Guarantee::ALL
            .into_iter()
            .filter(|guarantee| enforced.strength(*guarantee) == wanted)
            .map(word)
            .collect::<Vec<_>>()
    };
    Enforcement {
        backend: enforced.backend.clone(),
        isolation: word(enforced.isolation),
        watched: names(Strength::Watched),
        absent: names(Strength::Absent),
    }
}

/// What a sandbox enforced, in one line: the boundary in a word, the budgets one by one.
#[must_use]
pub fn enforced_line(enforced: &Enforced) -> String {
    let budgets: Vec<String> = Guarantee::ALL
        .into_iter()
        .filter(|guarantee| guarantee.kind() == Kind::Budget)
        .map(|guarantee| format!("{} {}", word(guarantee), word(enforced.strength(guarantee))))
        .collect();
    format!("{} sandbox, no network; {}", word(enforced.isolation), budgets.join(", "))
}

/// A value's own name in records and results.
pub(crate) fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

/// What is answered for a run that goes on.
#[must_use]
pub fn running(run: &Run) -> Output {
    let seconds = run.started().elapsed().as_secs();
    let (id, tool) = (&run.call().0, run.tool());
    let tail = run.progress().tail();
    let mut text = format!(
        "{tool} is still running after {seconds} s. Nothing is lost: call get_run with run_id \"{id}\" to wait for its \
         result, or cancel_run to end it.\n"
    );
    if tail.is_empty() {
        text.push_str("There is no output yet.");
    } else {
        text.push_str("Last output:\n");
        text.push_str(&tail.join("\n"));
    }
    let mut structured = Map::new();
    structured.insert("status".into(), json!("running"));
    structured.insert("run_id".into(), json!(id));
    structured.insert("tool".into(), json!(tool));
    structured.insert("elapsed_seconds".into(), json!(seconds));
    structured.insert("tail".into(), json!(tail));
    Output { text, structured, ..Output::default() }
}

/// Adds a fact to an answer, for readers of the text and for readers of the structure.
pub fn add(output: &mut Output, name: &str, value: Value, text: &str) {
    output.structured.insert(name.to_owned(), value);
    if !output.text.is_empty() && !output.text.ends_with('\n') {
        output.text.push('\n');
    }
    output.text.push_str(text);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cofferdam_contract::{Isolation, Mechanism};

    use super::*;

    fn enforced() -> Enforced {
        let mechanism = |strength| Mechanism { strength, by: "test".into() };
        Enforced {
            backend: "namespace".into(),
            isolation: Isolation::Namespace,
            guarantees: BTreeMap::from_iter(
                Guarantee::ALL
                    .into_iter()
                    .filter(|guarantee| *guarantee != Guarantee::Disk)
                    .map(|guarantee| (guarantee, mechanism(Strength::Enforced)))
                    .chain([(Guarantee::Cpu, mechanism(Strength::Watched))]),
            ),
        }
    }

    #[test]
    fn weaker_budgets_are_named() {
        assert_eq!(
            enforced_line(&enforced()),
            "namespace sandbox, no network; memory enforced, cpu watched, disk absent"
        );
        assert_eq!(
            enforcement(&enforced()),
            Enforcement {
                backend: "namespace".into(),
                isolation: "namespace".into(),
                watched: vec!["cpu".into()],
                absent: vec!["disk".into()],
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_answer_says_how_to_go_on_in_both_forms() {
        let run = Run::new("run_tests");
        run.progress().output(b"test a ... ok\n");
        tokio::time::advance(Duration::from_secs(45)).await;
        let output = running(&run);
        assert!(output.text.contains(&run.call().0) && output.text.contains("test a ... ok"), "{}", output.text);
        assert_eq!(output.structured["run_id"], json!(run.call().0));
        assert_eq!(output.structured["elapsed_seconds"], 45);
    }
}
