//! The part of a call that happens around its sandbox: open, run, close, hand back.

use std::{any::Any, sync::Arc};

use cofferdam_contract::{Ended, Enforced, Plan, Work};
use cofferdam_policy::{Permit, Redactor, SecretFiles};
use cofferdam_sandboxes::{Appeared, Closed, OpenError, Session, Yard};
use cofferdam_tools::{Failure, Output, Tool, Written};
use serde_json::json;

use crate::{
    audit::ChangeCounts,
    call::{ended, failure},
    cli::terminal::causes,
    committed, handed_back,
    orders::Orders,
    reply::{add, enforced_line, enforcement},
    run::Run,
    watched::{Watched, status},
};

/// What came of it.
pub(crate) struct Confined {
    pub(crate) result: Result<Output, Failure>,
    pub(crate) enforced: Option<Enforced>,
    pub(crate) changes: Option<ChangeCounts>,
    pub(crate) exit: Option<i32>,
    pub(crate) ended: Option<Ended>,
    /// Knows what of the view must not be said.
    pub(crate) redactor: Option<Redactor>,
}

/// Opens a sandbox for `permit`, lets `tool` work in it, destroys it, and hands back what the plan says.
///
/// Only a tool that came to its own end and succeeded changes the workspace: what a failed, cancelled or cut-off call
/// wrote is thrown away whole.
pub(crate) fn run(tool: &dyn Tool, permit: Permit, yard: &Yard, session: &Arc<Session>, run: &Run) -> Confined {
    let plan = permit.plan().clone();
    tracing::debug!(target: "cofferdam::step", "open");
    let sandbox = match yard.open_and_tell(permit, session, run.cancel(), &mut |line| run.progress().line(line)) {
        Ok(sandbox) => sandbox,
        Err(error) => return Confined::not_opened(&error, run.cancel().why()),
    };
    tracing::debug!(target: "cofferdam::step", "run");
    let redactor = sandbox.masks().redactor().clone();
    run.progress().redact_with(redactor.clone());
    let mut watched = Watched::new(sandbox, run.progress());
    let result = tool.run(&plan, &mut watched);
    // Where a tool says which of its programs the answer is about, others were only executed to look at what came of it.
    let about = result.as_ref().ok().and_then(|output| output.exit);
    let (exit, why) = (about.map(status).or(watched.exit()), watched.ended());
    tracing::debug!(target: "cofferdam::step", "close");
    let closed = watched.into_inner().close();
    // Thrown at any time before here, the switch wins over whatever the tool made of it.
    let why = run.cancel().why().or(why);
    let confined = Confined { result, enforced: None, changes: None, exit, ended: why, redactor: Some(redactor) };
    match closed {
        Ok(closed) => confined.hand_back(closed, &plan, session, yard, run),
        Err(error) => Confined {
            result: Err(failure("sandbox_ended", format!("the sandbox could not be closed in order: {error}"))),
            ..confined
        },
    }
}

impl Confined {
    fn not_opened(error: &OpenError, cancelled: Option<Ended>) -> Self {
        let (why, failed) = match (cancelled, error) {
            (Some(why), _) => (Some(why), ended(why)),
            (None, OpenError::Ended(why)) => (Some(*why), ended(*why)),
            (None, OpenError::Repository(error)) => (None, committed::unusable(error)),
            (None, OpenError::Busy(_)) => (None, failure("busy", causes(error))),
            (
                None,
                OpenError::Isolation { .. }
                | OpenError::Network(_)
                | OpenError::Floor { .. }
                | OpenError::Submount(_)
                | OpenError::Workspace(_)
                | OpenError::Layers(_)
                | OpenError::Session(_)
                | OpenError::Mounts(_)
                | OpenError::Masks(_)
                | OpenError::Stamp(_)
                | OpenError::Scratch(_)
                | OpenError::Stage(_)
                | OpenError::Start(_),
            ) => (None, failure("sandbox_unavailable", causes(error))),
        };
        Self { result: Err(failed), enforced: None, changes: None, exit: None, ended: why, redactor: None }
    }

    /// It panicked.
    pub(crate) fn crashed(panic: &(dyn Any + Send)) -> Self {
        let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        tracing::error!(panic = words.unwrap_or("no words"), "a call ended unexpectedly");
        let text = "the server failed inside; nothing was handed back. Its log says more".to_owned();
        Self {
            result: Err(failure("internal", text)),
            enforced: None,
            changes: None,
            exit: None,
            ended: None,
            redactor: None,
        }
    }

    fn hand_back(self, closed: Closed, plan: &Plan, session: &Session, yard: &Yard, run: &Run) -> Self {
        tracing::debug!(target: "cofferdam::step", "hand back");
        let enforced = closed.enforced.clone();
        let changed_meanwhile = closed.changed_during_call;
        let Self { result, exit, ended: why, .. } = self;
        let result = result.and_then(|output| unseen(output, &closed, plan));
        let (result, changes) = match (why, result) {
            (Some(Ended::Cancelled), _) => (Err(ended(Ended::Cancelled)), None),
            (_, Err(failure)) => (Err(failure), None),
            (Some(why), Ok(mut output)) => {
                // What a run says up to the moment it was ended is worth reading; what it wrote is half done.
                output.add_notes(vec![format!("{why}; so nothing that the run wrote is kept.")]);
                (Ok(output), None)
            }
            (None, Ok(mut output)) if output.written == Written::ThrownAway => {
                output.add_notes(vec!["it did not succeed, so nothing that it wrote is kept.".to_owned()]);
                (Ok(output), None)
            }
            (None, Ok(output)) => match back(output, &closed, plan, session, yard, run) {
                Ok((output, changes)) => (Ok(output), changes),
                Err(failure) => (Err(failure), None),
            },
        };
        let result = result.map(|mut output| {
            if changed_meanwhile {
                let text = "The workspace changed during the call.";
                add(&mut output, "workspace_changed_during_call", json!(true), text);
            }
            if !closed.scratch.is_empty() {
                let notes: Vec<String> = closed.scratch.iter().map(ToString::to_string).collect();
                let text = notes.iter().map(|note| format!("Note: {note}.")).collect::<Vec<_>>().join("\n");
                add(&mut output, "scratch_volumes", json!(notes), &text);
            }
            if plan.work == Work::Execute {
                tell_masked(&mut output, &closed);
                let text = format!("Ran in: {}", enforced_line(&enforced));
                add(&mut output, "sandbox", json!(enforcement(&enforced)), &text);
            }
            output
        });
        Self { result, enforced: Some(enforced), changes, exit, ended: why, redactor: Some(closed.redactor) }
    }
}

/// Refuses what a file tool found when it may have seen credentials that came while it looked: reading again costs little.
fn unseen(output: Output, closed: &Closed, plan: &Plan) -> Result<Output, Failure> {
    let why = match (&plan.work, &closed.appeared) {
        (Work::Session(_), _) => return Ok(output),
        (_, Ok(appeared)) if appeared.is_nothing() => return Ok(output),
        // What a run was given is not asked for again lightly; its output is searched for what the new files hold.
        (Work::Execute, Ok(_)) => return Ok(output),
        (Work::ReadFiles | Work::WriteFiles | Work::ReadRepository | Work::Commit, Ok(Appeared::Stirred)) => {
            "a file with credentials, or a folder above one or of a large workspace, was moved or changed while it ran"
                .to_owned()
        }
        (Work::ReadFiles | Work::WriteFiles | Work::ReadRepository | Work::Commit, Ok(Appeared::Files(appeared))) => {
            let paths: Vec<String> = appeared.iter().take(MASKED).map(|path| format!("`{path}`")).collect();
            format!("files that hold credentials came while it ran ({})", paths.join(", "))
        }
        (Work::Execute | Work::ReadFiles | Work::WriteFiles | Work::ReadRepository | Work::Commit, Err(error)) => {
            causes(error)
        }
    };
    Err(failure("workspace_changed", format!("{why}; nothing was changed, and nothing is shown. Call again")))
}

/// Files with credentials that a result names; the rest is counted.
const MASKED: usize = 10;

/// Says which files a run did not see as they are: a test that needs one fails, and its author must learn why.
fn tell_masked(output: &mut Output, closed: &Closed) {
    let closed_folders: Vec<String> = closed.masks.sealed().take(MASKED).map(|path| format!("`{path}`")).collect();
    if !closed_folders.is_empty() {
        let text = format!("Folders that the server may not look into were absent: {}.", closed_folders.join(", "));
        add(output, "absent_folders", json!(closed.masks.sealed().take(MASKED).collect::<Vec<_>>()), &text);
    }
    let paths: Vec<String> = closed.masks.paths().map(ToString::to_string).collect();
    if paths.is_empty() {
        return;
    }
    let how = match closed.masks.files() {
        SecretFiles::Masked => "masked",
        SecretFiles::Absent => "absent",
    };
    let shown = paths.iter().take(MASKED).map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
    let more = paths.len().saturating_sub(MASKED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = format!(
        "Files that hold credentials were {how} in the run: {shown}{more}. The operator can let exact paths through \
         (`[secrets] allow`)."
    );
    add(output, "masked_files", json!(paths.iter().take(MASKED).collect::<Vec<_>>()), &text);
    // Those of the files, and of all that the call saw and that is there now.
    let left_out = closed.masks.left_out() + closed.redactor.left_out();
    if left_out > 0 {
        let text = format!("They hold very many values: {left_out}, the longest, are not looked for in answers.");
        add(output, "values_not_looked_for", json!(left_out), &text);
    }
}

/// Hands back what a call that succeeded wrote: its commit first, then its changes.
fn back(
    mut output: Output,
    closed: &Closed,
    plan: &Plan,
    session: &Session,
    yard: &Yard,
    run: &Run,
) -> Result<(Output, Option<ChangeCounts>), Failure> {
    let commits = plan.work == Work::Commit;
    if commits {
        committed::take(&mut output, closed, session, yard, run)?;
    }
    let mut handed = session
        .hand_back_closed(closed, &run.call().0, run.cancel())
        .map_err(|error| failure("hand_back_failed", format!("the tool succeeded, but {}", causes(&error))))?;
    if commits {
        committed::leave_out_bookkeeping(&mut handed);
    }
    let wrote = handed_back::written_by_the_agent(plan);
    let orders = Orders::in_session(session.name());
    handed_back::tell(&mut output, &handed, (&plan.hand_back, &wrote), &run.call().0, &orders);
    let could_change = closed.changeset.is_some();
    Ok((output, could_change.then(|| handed_back::count(&handed))))
}
