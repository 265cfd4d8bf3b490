//! `cofferdam doctor`: what is enforced on this machine, what was found, what is missing and the command that mends it.

use std::{path::Path, sync::Arc};

use clap::Args;
use cofferdam_contract::{Enforced, Guarantee, Kind, Strength};
use cofferdam_policy::{Permit, Verdict};
use cofferdam_sandboxes::{Report, Session, WorkspaceError};
use serde_json::{Map, json};

use super::{
    call::unusable,
    exit::Exit,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::{
    audit,
    config::{self, ConfigError},
    plain,
    reply::word,
    server::{Setup, Unusable, load_policy, open_session, open_yard, policy_of_calls},
};

/// How to report.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit status is 0 when every call can have its sandbox, 4 when none can be
opened that is strong enough, and 2 when the workspace or the configuration is
wrong. A workspace that cannot be used is named; the rest of the report is then
of an empty folder.")]
pub(super) struct Doctor {
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

/// Looks at the machine and reports.
#[must_use]
pub(super) fn run(doctor: &Doctor, setup: &Setup, colour: Colour) -> Exit {
    let (report, refused) = match look(setup) {
        Ok(looked) => looked,
        Err(error) => {
            note(format_args!("cofferdam: failed to {}", causes(&error)));
            return unusable(&error);
        }
    };
    if doctor.json {
        print(plain::json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "workspace": setup.workspace,
            "workspace_refused": refused.as_ref().map(|why| causes(why)),
            "state": setup.folders.state,
            "enforced": report.enforced.as_ref().ok(),
            "cannot_open": report.enforced.as_ref().err(),
            "cgroups": report.cgroups,
            "toolchains": report
                .toolchains
                .iter()
                .map(|(name, version, program, found_by)| {
                    json!({ "name": name, "version": version, "program": program, "found_by": found_by })
                })
                .collect::<Vec<_>>(),
            "missing": report
                .missing
                .iter()
                .map(|(what, mend)| json!({ "what": what, "mend": mend }))
                .collect::<Vec<_>>(),
            "kernel": report.kernel,
            "shown": report.shown,
            "notes": report.notes,
        })));
    } else {
        show(&report, setup, refused.as_ref(), colour);
    }
    let judging = policy_of_calls(setup).map(drop);
    if let Err(error) = &judging {
        note(format_args!("cofferdam: every call is refused: failed to {}", plain::lines(&causes(error))));
    }
    match (report.enforced, refused, judging) {
        (Err(_), _, _) => Exit::NoSandbox,
        (Ok(_), Some(_), _) => Exit::Usage,
        (Ok(_), None, Err(error)) => unusable(&error),
        (Ok(_), None, Ok(())) => Exit::Success,
    }
}

/// Tries a sandbox in the workspace, or, if that cannot be used, in an empty folder that stands in for it: what the
/// machine offers is worth knowing all the same. So it is with a policy file in the workspace that is wrong. Says why the
/// workspace was refused.
fn look(setup: &Setup) -> Result<(Report, Option<WorkspaceError>), Unusable> {
    let state = config::prepare_state(&setup.folders.state)?;
    // Not being able to record is a reason for every call to be refused; better known now.
    drop(audit::Log::open(&state, audit::time::system()).map_err(Unusable::Audit)?);
    let refused = match open_session(setup, &state) {
        Ok(session) => match try_sandbox(setup, &state, &session) {
            // The repository's file may be what is wrong, and it is told anyhow; the machine is as it is.
            Err(Unusable::Policy(_)) => None,
            tried => return Ok((tried?, None)),
        },
        Err(Unusable::Workspace(refused)) => Some(refused),
        Err(error) => return Err(error),
    };
    let refuse = |source| Unusable::Config(ConfigError::MakeState { path: std::env::temp_dir(), source });
    let stand_in = tempfile::tempdir().map_err(refuse)?;
    let [workspace, own_state] = ["workspace", "state"].map(|name| stand_in.path().join(name));
    std::fs::create_dir(&workspace).map_err(refuse)?;
    let own_state = config::prepare_state(&own_state)?;
    let setup = Setup { workspace, ..setup.clone() };
    let session = open_session(&setup, &own_state)?;
    Ok((try_sandbox(&setup, &own_state, &session)?, refused))
}

/// Opens a sandbox as `run_tests` would get it, and closes it again.
fn try_sandbox(setup: &Setup, state: &Path, session: &Arc<Session>) -> Result<Report, Unusable> {
    let permit = permit_to_run(setup, session)?;
    Ok(open_yard(setup, state)?.doctor(permit, session))
}

/// The permit of `run_tests` without arguments.
pub(super) fn permit_to_run(setup: &Setup, session: &Session) -> Result<Permit, Unusable> {
    let policy = load_policy(setup, &setup.workspace)?;
    let project = cofferdam_tools::Project { workspace: session.workspace().root().to_string_lossy().into_owned() };
    let toolbox = cofferdam_tools::Toolbox::default();
    let plan = toolbox.find("run_tests").map(|tool| tool.plan(&Map::new(), &project));
    match plan {
        Some(Ok(plan)) => match policy.judge(plan) {
            Verdict::Allow(permit) => Ok(permit),
            Verdict::Ask(_) | Verdict::Deny(_) => Err(Unusable::NothingToTry),
        },
        Some(Err(_)) | None => Err(Unusable::NothingToTry),
    }
}

fn show(report: &Report, setup: &Setup, refused: Option<&WorkspaceError>, colour: Colour) {
    heading("Sandbox", colour);
    match &report.enforced {
        Ok(enforced) => show_enforced(enforced, colour),
        Err(why) => print(format_args!("  {} {}", colour.paint(Mark::Bad, "cannot be opened:"), plain::lines(why))),
    }
    print(format_args!("  cgroups: {}", report.cgroups));
    heading("Toolchains", colour);
    for (name, version, program, found_by) in &report.toolchains {
        let version = version.as_deref().unwrap_or("");
        print(format_args!("  {name} {version}  {}", colour.paint(Mark::Dim, where_from(program, found_by))));
    }
    if !report.missing.is_empty() {
        heading("Missing", colour);
        for (what, mend) in &report.missing {
            print(format_args!("  {} {what}\n    {mend}", colour.paint(Mark::Warn, "-")));
        }
    }
    if !report.kernel.is_empty() {
        heading("Kernel, which every sandbox shares (`require = [\"kernel\"]` refuses calls here)", colour);
        for warning in &report.kernel {
            print(format_args!(
                "  {} {}\n    {}",
                colour.paint(Mark::Warn, "-"),
                plain::lines(&warning.what),
                warning.mend
            ));
        }
    }
    if !report.notes.is_empty() {
        heading("Not shown inside", colour);
        report.notes.iter().for_each(|note| print(format_args!("  {note}")));
    }
    heading("Places", colour);
    print(format_args!("  workspace: {}", setup.workspace.display()));
    if let Some(refused) = refused {
        let why = format!("it cannot be used: {}. Name another with --workspace", causes(refused));
        print(format_args!("             {}", colour.paint(Mark::Bad, plain::lines(&why))));
    }
    print(format_args!("  state:     {}", setup.folders.state.display()));
    print(format_args!("  policy:    {} (if it is there)", setup.folders.policy().display()));
    print("             and .cofferdam.toml of the workspace (if it is there), which only takes away");
}

fn heading(text: &str, colour: Colour) {
    print(colour.paint(Mark::Bold, text));
}

fn where_from(program: &Path, found_by: &str) -> String {
    format!("{} ({found_by})", plain::name(&program.to_string_lossy()))
}

fn show_enforced(enforced: &Enforced, colour: Colour) {
    for guarantee in Guarantee::ALL {
        let strength = enforced.strength(guarantee);
        let mark = match (strength, guarantee.kind()) {
            (Strength::Enforced, _) => Mark::Good,
            (Strength::Watched, _) | (Strength::Absent, Kind::Budget | Kind::Fence) => Mark::Warn,
            (Strength::Absent, Kind::Boundary) => Mark::Bad,
        };
        let by = enforced.guarantees.get(&guarantee).map_or("", |mechanism| &mechanism.by);
        let shown = colour.paint(mark, format_args!("{:<9}", word(strength)));
        print(format_args!("  {shown} {:<25} {}", word(guarantee), colour.paint(Mark::Dim, by)));
    }
}
