//! Answers to questions about the session itself. No sandbox is opened for them.

use std::{collections::BTreeSet, time::Duration};

use cofferdam_contract::{Ended, SessionRequest};
use cofferdam_policy::Permit;
use cofferdam_sandboxes::{HandedBack, KeepError, Kept, MaskError, Since};
use cofferdam_tools::{Failure, Output};
use serde_json::{Map, Value, json};

use crate::{
    call::failure,
    entry::Entry,
    handed_back::{self, kind},
    orders::{NO_WORDS, Orders},
    reply,
    run::Run,
    server::Server,
};

/// The longest that `get_run` waits: less than the time within which every call answers.
const LONGEST_WAIT: Duration = Duration::from_secs(44);

/// Held changes that are listed; the rest is counted.
const LISTED: usize = 100;

impl Server {
    /// Answers a question to the session. The caller's thread may block.
    pub(crate) async fn answer(
        &self,
        question: SessionRequest,
        permit: &Permit,
        run: &Run,
        entry: &mut Entry,
    ) -> Result<Output, Failure> {
        match question {
            SessionRequest::ListChanges => self.list_changes(permit, entry),
            SessionRequest::KeepChanges { call } => self.keep_changes(&call, permit, run, entry),
            SessionRequest::GetRun { run_id, wait_seconds } => {
                self.get_run(&run_id, Duration::from_secs(wait_seconds).min(LONGEST_WAIT)).await
            }
            SessionRequest::CancelRun { run_id } => self.cancel_run(&run_id).await,
        }
    }

    fn list_changes(&self, permit: &Permit, entry: &mut Entry) -> Result<Output, Failure> {
        let unreadable =
            |error: &dyn std::error::Error| failure("session_unreadable", crate::cli::terminal::causes(error));
        self.know_secrets(permit, entry).map_err(|error| unreadable(&error))?;
        let held = self.session.held().map_err(|error| unreadable(&error))?;
        let orders = Orders::in_session(self.session.name());
        let look = orders.changes("list", &NO_WORDS);
        let mut text = match held.len() {
            0 => "No change is held: everything that was kept is in the workspace.".to_owned(),
            1 => format!("One change is held for a person, who decides with `{look}`:"),
            count => format!("{count} changes are held for a person, who decides with `{look}`:"),
        };
        let mut changes = Vec::new();
        for held in held.iter().take(LISTED) {
            let (path, kind) = (held.change.path.to_string(), kind(&held.change.what));
            let since = match self.session.since(held).map_err(|error| unreadable(&error))? {
                Since::Same => "",
                Since::Changed | Since::Told => "; the workspace changed it since",
            };
            let reason = format!("{}{since}", held.reason);
            text.push_str(&format!("\n  {path} ({kind}): {reason}"));
            changes.push(json!({ "path": path, "change": kind, "reason": reason }));
        }
        if let Ok(Some(commits)) = self.session.own_commits(&orders.changes("commit-take", &NO_WORDS)) {
            text.push_str(&format!("\n{commits}"));
        }
        if held.len() > LISTED {
            text.push_str(&format!("\n  and {} more", held.len() - LISTED));
        }
        let mut structured = Map::new();
        structured.insert("changes".into(), Value::Array(changes));
        structured.insert("total".into(), json!(held.len()));
        Ok(Output { text, structured, ..Output::default() })
    }

    /// Finds out what must not be said: the answer is about names and texts that come from the workspace.
    fn know_secrets(&self, permit: &Permit, entry: &mut Entry) -> Result<(), MaskError> {
        let masks = self.session.workspace().masks(permit.secrets())?;
        entry.redact_with(masks.redactor().clone());
        Ok(())
    }

    /// Brings back what a call left, through the gate.
    fn keep_changes(&self, call: &str, permit: &Permit, run: &Run, entry: &mut Entry) -> Result<Output, Failure> {
        self.know_secrets(permit, entry)
            .map_err(|error| failure("hand_back_failed", crate::cli::terminal::causes(&error)))?;
        let kept = self.session.keep_left(call, permit, &run.call().0, run.cancel()).map_err(|error| {
            let code = match error {
                KeepError::Unknown { .. } => "unknown_call",
                KeepError::Read { .. } | KeepError::Masks(_) | KeepError::Changeset(_) | KeepError::Session(_) => {
                    "hand_back_failed"
                }
            };
            failure(code, crate::cli::terminal::causes(&error))
        })?;
        let Kept { handed_back, already, omitted } = kept;
        entry.changed(handed_back::count(&handed_back));
        let mut structured = Map::new();
        structured.insert("call".into(), json!(call));
        let mut output = Output { structured, ..Output::default() };
        // What is still left is in the first result; the rest is what this call is about.
        let handed_back = HandedBack { left: Vec::new(), ..handed_back };
        let mut wrote = handed_back::written_by_the_agent(permit.plan());
        let there: Vec<String> = wrote
            .iter()
            .flat_map(|glob| handed_back::chosen(glob, already.iter()))
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        wrote.retain(|glob| handed_back::chosen(glob, already.iter()).is_empty());
        let orders = Orders::in_session(self.session.name());
        handed_back::tell(&mut output, &handed_back, (&permit.plan().hand_back, &wrote), call, &orders);
        if !there.is_empty() {
            handed_back::tell_already(&mut output, &there);
        }
        if omitted > 0 {
            let text = format!("{omitted} changes of that call were more than is kept, and are gone.");
            output.add_notes(vec![text]);
        }
        Ok(output)
    }

    async fn get_run(&self, id: &str, wait: Duration) -> Result<Output, Failure> {
        let run = self.runs.find(id).ok_or_else(unknown_run)?;
        match tokio::time::timeout(wait, run.reply()).await {
            Ok(reply) => {
                let mut output = reply.result.clone()?;
                output.structured.insert("status".into(), json!("finished"));
                output.structured.insert("run_id".into(), json!(id));
                Ok(output)
            }
            Err(_elapsed) => Ok(reply::running(&run)),
        }
    }

    async fn cancel_run(&self, id: &str) -> Result<Output, Failure> {
        let run = self.runs.find(id).ok_or_else(unknown_run)?;
        let was_over = run.finished().is_some();
        run.stop(Ended::Cancelled);
        // The sandbox dies at once; what is waited for is the record of it.
        let reply = tokio::time::timeout(Duration::from_secs(5), run.reply()).await;
        let (status, text) = match (was_over, reply) {
            (true, _) => ("finished", "The run was over already; get_run has its result."),
            (false, Ok(reply)) if reply.result.as_ref().is_err_and(|failure| failure.code == "cancelled") => {
                ("cancelled", "The run was ended and its sandbox destroyed. Nothing of it was kept.")
            }
            (false, Ok(_)) => {
                ("finished", "The run came to its end before it could be stopped; get_run has its result.")
            }
            (false, Err(_elapsed)) => ("cancelling", "The run was told to end; get_run says when it has."),
        };
        let mut structured = Map::new();
        structured.insert("status".into(), json!(status));
        structured.insert("run_id".into(), json!(id));
        Ok(Output { text: text.to_owned(), structured, ..Output::default() })
    }
}

/// The same for an id that never was, is long over, or belongs to another session.
fn unknown_run() -> Failure {
    failure(
        "unknown_run",
        "there is no such run: results are kept for an hour, and end with the server. Start the call again".to_owned(),
    )
}
