//! The line that every call takes, whoever calls:
//!
//! find tool ─▶ parse ─▶ plan ─▶ judge ─▶ announce ─▶ open ─▶ run ─▶ close ─▶ hand back ─▶ record ─▶ reply
//!
//! There is no second way to run anything. Each step takes what the step before made: a [`Plan`] is only made from
//! parsed arguments, a [`Permit`] only from a judged plan, a sandbox only from a permit, and the permit is used up.
//! Nothing is opened before the intent is on the disk, and nothing is answered before the outcome is.

use std::sync::Arc;

use cofferdam_contract::{Ended, Plan, Work};
use cofferdam_policy::{Permit, Verdict};
use cofferdam_sandboxes::{Session, Yard};
use cofferdam_tools::{Failure, Output, Tool};

use crate::{
    audit::Decision,
    confine::{self, Confined},
    entry::Entry,
    reply::Reply,
    run::Run,
    server::{Request, Server},
    slots::Use,
};

impl Server {
    /// Does one call from its request to its recorded outcome.
    pub(crate) async fn call(&self, request: &Request, run: &Arc<Run>) -> Reply {
        tracing::debug!(target: "cofferdam::step", "plan");
        let mut entry = Entry::new(self, request, run);
        let result = self.pass(request, run, &mut entry).await;
        self.record(result, run, entry).await
    }

    async fn pass(&self, request: &Request, run: &Arc<Run>, entry: &mut Entry) -> Result<Output, Failure> {
        let tool = find(&request.tool, entry)?;
        let plan = self.plan(tool, request, entry)?;
        let permit = self.judge(plan, entry)?;
        self.announce(entry).await?;
        let mut output = match permit.plan().work.clone() {
            Work::Session(question) => self.answer(question).await?,
            Work::ReadFiles | Work::WriteFiles => self.confine(tool, permit, Use::Files, run, entry).await?,
            Work::Execute => self.confine(tool, permit, Use::Execution, run, entry).await?,
        };
        output.add_notes(request.arguments.as_ref().map_or(Vec::new(), |given| tool.notes(given, &self.project)));
        Ok(output)
    }

    fn plan(&self, tool: &dyn Tool, request: &Request, entry: &mut Entry) -> Result<Plan, Failure> {
        let invalid = |text: String| failure("invalid_arguments", text);
        let arguments = request.arguments.as_ref().map_err(|error| invalid(error.to_string()))?;
        let plan = tool.plan(arguments, &self.project).map_err(|error| invalid(error.to_string()))?;
        entry.planned(&plan);
        Ok(plan)
    }

    fn judge(&self, plan: Plan, entry: &mut Entry) -> Result<Permit, Failure> {
        match self.policy.judge(plan) {
            Verdict::Allow(permit) => {
                entry.decided(Decision::Allowed, Some(permit.rule()));
                Ok(permit)
            }
            Verdict::Ask(question) => {
                entry.decided(Decision::ApprovalRequired, Some(question.rule()));
                Err(failure("approval_required", format!("{question}; no approver is configured, so it is refused")))
            }
            Verdict::Deny(refusal) => {
                entry.decided(Decision::Denied, refusal.rule());
                Err(failure("denied", refusal.to_string()))
            }
        }
    }

    /// Puts the intent on the disk.
    async fn announce(&self, entry: &mut Entry) -> Result<(), Failure> {
        tracing::debug!(target: "cofferdam::step", "announce");
        let events = entry.announce();
        self.log.append(events).await.map_err(|error| {
            failure("audit_unavailable", format!("nothing was done: the call cannot be recorded ({error})"))
        })
    }

    /// Opens, runs, closes and hands back, on a thread of its own.
    async fn confine(
        &self,
        tool: &'static dyn Tool,
        permit: Permit,
        place: Use,
        run: &Arc<Run>,
        entry: &mut Entry,
    ) -> Result<Output, Failure> {
        let slot = tokio::select! {
            slot = self.slots.take(place) => slot.map_err(|busy| failure("busy", busy.to_string()))?,
            () = run.stopped() => {
                entry.ended(run.cancel().why());
                return Err(failure("cancelled", "the call was cancelled before it ran".to_owned()));
            }
        };
        let (yard, session, thread_run): (Arc<Yard>, Arc<Session>, _) =
            (Arc::clone(&self.yard), Arc::clone(&self.session), Arc::clone(run));
        let confined = tokio::task::spawn_blocking(move || {
            // The place is free when the sandbox is gone, not when somebody stops waiting.
            let _slot = slot;
            confine::run(tool, permit, &yard, &session, &thread_run)
        });
        let Confined { result, enforced, changes, exit, ended } =
            confined.await.unwrap_or_else(|error| Confined::crashed(&error));
        if let Some(enforced) = enforced {
            entry.confined(enforced);
        }
        if let Some(changes) = changes {
            entry.changed(changes);
        }
        entry.exited(exit);
        entry.ended(ended);
        result
    }

    /// Puts the outcome on the disk, and only then gives it out.
    async fn record(&self, result: Result<Output, Failure>, run: &Run, mut entry: Entry) -> Reply {
        tracing::debug!(target: "cofferdam::step", "record");
        let events = entry.conclude(&result, run);
        let result = match self.log.append(events).await {
            Ok(()) => result,
            Err(error) => Err(failure(
                "audit_unavailable",
                format!("the call ended, but its outcome cannot be recorded ({error}); look at the workspace"),
            )),
        };
        tracing::debug!(target: "cofferdam::step", "reply");
        Reply { result, facts: entry.into_facts() }
    }
}

fn find(name: &str, entry: &mut Entry) -> Result<&'static dyn Tool, Failure> {
    cofferdam_tools::find(name).ok_or_else(|| {
        entry.decided(Decision::UnknownTool, None);
        failure("unknown_tool", format!("there is no tool `{}`", crate::plain::name(name)))
    })
}

/// A failure whose text is for the agent.
pub(crate) fn failure(code: &'static str, text: String) -> Failure {
    Failure { code, text }
}

/// The failure of a call whose sandbox was ended.
pub(crate) fn ended(why: Ended) -> Failure {
    let code = match why {
        Ended::Deadline => "timed_out",
        Ended::Cancelled => "cancelled",
        Ended::OutOfMemory | Ended::CpuTime | Ended::DiskFull => "limit_reached",
        Ended::Broken => "sandbox_ended",
    };
    failure(code, why.to_string())
}

#[cfg(test)]
mod tests;
