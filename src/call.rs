//! The line that every call takes, whoever calls:
//!
//! find tool ─▶ parse ─▶ plan ─▶ judge ─▶ announce ─▶ open ─▶ run ─▶ close ─▶ hand back ─▶ record ─▶ reply
//!
//! There is no second way to run anything. Each step takes what the step before made: a [`Plan`] is only made from
//! parsed arguments, a [`Permit`] only from a judged plan, a sandbox only from a permit, and the permit is used up.
//! Nothing is opened before the intent is in the log, on the disk where the call can change anything; and nothing is
//! answered before the intent is on the disk, with the outcome where the call could change anything.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cofferdam_contract::{Ended, Plan, Work};
use cofferdam_policy::{Permit, Verdict};
use cofferdam_tools::{Failure, Output, Tool};
use tokio::runtime::Handle;

use crate::{
    audit::Decision,
    cli::terminal::causes,
    confine::{self, Confined},
    entry::Entry,
    policy_in_force::{self, Judging},
    redaction,
    reply::Reply,
    run::Run,
    server::{Request, Server},
    slots::{Slot, Use},
};

impl Server {
    /// Does one call from its request to its recorded outcome. Blocks, all on one thread: each hand-over to another
    /// costs as much as reading a file does. `runtime` is for what waits for others.
    pub(crate) fn call(&self, request: &Request, run: &Run, runtime: &Handle) -> Reply {
        tracing::debug!(target: "cofferdam::step", "plan");
        let judging = self.policy.now();
        let mut entry = Entry::new(self, request, run, &judging);
        let result = self.pass(request, run, runtime, &judging, &mut entry);
        self.record(result, run, entry)
    }

    fn pass(
        &self,
        request: &Request,
        run: &Run,
        runtime: &Handle,
        judging: &Judging,
        entry: &mut Entry,
    ) -> Result<Output, Failure> {
        let tool = find(judging, &request.tool, entry)?;
        let plan = self.plan(tool, request, entry)?;
        let permit = judge(judging, plan, entry)?;
        self.announce(entry)?;
        let mut output = match permit.plan().work.clone() {
            Work::Session(question) => runtime.block_on(self.answer(question, &permit, run, entry))?,
            Work::ReadFiles | Work::WriteFiles | Work::ReadRepository => {
                self.confine(tool, permit, self.slot(Use::Files, run, runtime, entry)?, run, entry)?
            }
            Work::Execute | Work::Commit => {
                self.confine(tool, permit, self.slot(Use::Execution, run, runtime, entry)?, run, entry)?
            }
        };
        output.add_notes(request.arguments.as_ref().map_or(Vec::new(), |given| tool.notes(given, &self.project)));
        Ok(output)
    }

    fn plan(&self, tool: &dyn Tool, request: &Request, entry: &mut Entry) -> Result<Plan, Failure> {
        let invalid = |text: String| failure("invalid_arguments", text);
        let arguments = request.arguments.as_ref().map_err(|error| invalid(error.to_string()))?;
        let plan = tool.plan(arguments, &self.project).map_err(|error| invalid(error.to_string()))?;
        if plan.work == Work::WriteFiles
            && let Some(text) = redaction::refuse_marks(arguments)
        {
            return Err(invalid(text));
        }
        entry.planned(&plan, arguments);
        Ok(plan)
    }

    /// Puts the intent into the log: onto the disk, or, where the call can only read, on the way to it. All that can come of
    /// such a call is its answer, which waits for the disk.
    fn announce(&self, entry: &mut Entry) -> Result<(), Failure> {
        tracing::debug!(target: "cofferdam::step", "announce");
        let events = entry.intent();
        let written = if entry.only_reads() {
            self.log.append_meanwhile(events).map(|underway| entry.await_intent(underway))
        } else {
            self.log.append(events)
        };
        match written {
            Ok(()) => {
                entry.announced();
                Ok(())
            }
            Err(error) => {
                let text = format!("nothing was done: the call cannot be recorded ({})", causes(&error));
                Err(failure("audit_unavailable", text))
            }
        }
    }

    /// Waits for a place, unless the call is cancelled before there is one.
    fn slot(&self, place: Use, run: &Run, runtime: &Handle, entry: &mut Entry) -> Result<Slot, Failure> {
        let slot = runtime.block_on(async {
            tokio::select! {
                slot = self.slots.take(place) => Some(slot),
                () = run.stopped() => None,
            }
        });
        match slot {
            Some(slot) => slot.map_err(|busy| failure("busy", busy.to_string())),
            None => {
                entry.ended(run.cancel().why());
                Err(failure("cancelled", "the call was cancelled before it ran".to_owned()))
            }
        }
    }

    /// Opens, runs, closes and hands back. `slot` is free again when the sandbox is at its end.
    fn confine(
        &self,
        tool: &dyn Tool,
        permit: Permit,
        slot: Slot,
        run: &Run,
        entry: &mut Entry,
    ) -> Result<Output, Failure> {
        // A panic is a broken invariant of ours: the sandbox is destroyed while it unwinds, and the call still recorded.
        let confined = catch_unwind(AssertUnwindSafe(|| confine::run(tool, permit, &self.yard, &self.session, run)));
        drop(slot);
        let Confined { result, enforced, changes, exit, ended, redactor } =
            confined.unwrap_or_else(|panic| Confined::crashed(panic.as_ref()));
        if let Some(enforced) = enforced {
            entry.confined(enforced);
        }
        if let Some(changes) = changes {
            entry.changed(changes);
        }
        if let Some(redactor) = redactor {
            entry.redact_with(redactor);
        }
        entry.exited(exit);
        entry.ended(ended);
        result
    }

    /// Puts the outcome into the log, and only then gives it out: onto the disk, or, where the call could only read, on the way
    /// to it when the intent has come there. Whatever was said in the call, by whom, passes the redactor here, and only here.
    fn record(&self, result: Result<Output, Failure>, run: &Run, mut entry: Entry) -> Reply {
        tracing::debug!(target: "cofferdam::step", "record");
        // Without a sandbox of its own, what the last look at the workspace found.
        let redactor = entry.redactor().unwrap_or_else(|| self.session.workspace().redactor());
        let result = redaction::redact(result, &redactor);
        let unrecorded = |text: String| redaction::redact(Err(failure("audit_unavailable", text)), &redactor);
        let only_reads = entry.only_reads();
        let events = entry.conclude(&result, run);
        let written = match entry.intent_underway() {
            Some(intent) => self.log.append_soon(events).and_then(|()| intent.arrive()),
            None => self.log.append(events),
        };
        let result = match (written, result) {
            (Ok(()), result) => result,
            // It did not run for the same reason.
            (Err(_), Err(first)) if first.code == "audit_unavailable" => Err(first),
            (Err(error), _) if only_reads => unrecorded(format!(
                "the call cannot be recorded ({}), so nothing of what it read is shown",
                causes(&error)
            )),
            (Err(error), _) => unrecorded(format!(
                "the call ended, but its outcome cannot be recorded ({}); look at the workspace",
                causes(&error)
            )),
        };
        tracing::debug!(target: "cofferdam::step", "reply");
        Reply { result, facts: entry.into_facts() }
    }
}

/// Finds a tool of this call's policy. Where that does not load there are the builtin ones, all of which it refuses.
fn find<'a>(judging: &'a Judging, name: &str, entry: &mut Entry) -> Result<&'a dyn Tool, Failure> {
    let toolbox = policy_in_force::toolbox(judging);
    toolbox.find(name).ok_or_else(|| {
        entry.decided(Decision::UnknownTool, None);
        let names: Vec<&str> = toolbox.all().map(Tool::name).collect();
        let text = format!("there is no tool `{}`; there are {}", crate::plain::name(name), names.join(", "));
        failure("unknown_tool", text)
    })
}

/// Judges a plan by the policy of this call; without one, the answer is no.
fn judge(judging: &Judging, plan: Plan, entry: &mut Entry) -> Result<Permit, Failure> {
    let policy = match judging {
        Ok(in_force) => &in_force.policy,
        Err(why) => {
            entry.decided(Decision::Denied, None);
            return Err(failure("policy_invalid", why.to_string()));
        }
    };
    match policy.judge(plan) {
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
