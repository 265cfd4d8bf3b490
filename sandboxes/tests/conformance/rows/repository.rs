//! The server's own git, beside a repository that names programs wherever git knows a place for them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use cofferdam_contract::{Exit, Work};
use cofferdam_sandboxes::{Cancel, Patience};

use super::{
    Row, ensure,
    planted::{begin, git, settings},
    row,
};
use crate::{
    stage::{Ask, Site, Stage, chain, close, run},
    table::Cell,
};

pub(super) const ROWS: &[Row] =
    &[row("P29", "git of the server's own runs nothing that a repository names", repository_starts_nothing)];

/// Hooks of reading, committing, fetching and moving a branch.
const HOOKS: [&str; 8] = [
    "pre-commit",
    "commit-msg",
    "post-commit",
    "post-index-change",
    "reference-transaction",
    "pre-auto-gc",
    "post-merge",
    "update",
];

/// Settings of git inside that a commit needs.
const INSIDE: [&str; 6] = ["-c", "safe.directory=*", "-c", "user.name=N", "-c", "user.email=n@example.org"];

/// Names `program` in every place there is, as if a person had applied all that was planted.
fn arm(folder: &Path, program: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let hook = format!("#!/bin/sh\ntouch {program}\ntrue\n");
    fs::create_dir_all(folder.join("evil-hooks")).map_err(failed)?;
    for place in [".git/hooks", "evil-hooks"] {
        for name in HOOKS {
            let path = folder.join(place).join(name);
            fs::write(&path, &hook).map_err(failed)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        }
    }
    fs::write(folder.join("evil.config"), format!("[core]\n\tfsmonitor = \"touch {program} #\"\n")).map_err(failed)?;
    fs::write(folder.join(".git/config"), settings(program)).map_err(failed)?;
    // Not for what the commit changes: the server does not compare a file that a filter stands before.
    for place in [".git/info/attributes", ".gitattributes"] {
        fs::write(folder.join(place), "* diff=evil\nREADME filter=evil\n").map_err(failed)?;
    }
    Ok(())
}

/// Runs git inside, and hands the sandbox over for closing.
fn inside(site: &Site<'_>, work: Work, arguments: &[&str]) -> Result<cofferdam_sandboxes::Closed, String> {
    let mut open = site.open(&Ask { work, ..Ask::execute() });
    let report = run(&mut open, "git", &[&INSIDE[..], arguments].concat(), |_, _| {});
    ensure(report.outcome == Ok(Exit::Code(0)), || format!("git {arguments:?} inside: {}", report.seen()))?;
    Ok(close(open))
}

fn repository_starts_nothing(stage: &Stage) -> Result<Cell, String> {
    let canary = stage.base.join("ran-by-the-server");
    let program = canary.display().to_string();
    let site = stage.site("P29");
    begin(&site.workspace)?;
    arm(&site.workspace, &program)?;
    // Once more by the agent: held, and in the session's views from here on.
    let mut open = site.open(&Ask::execute().keeping_all());
    let script = format!("printf '[core]\\n\\tpager = touch {program}\\n' >> .git/config; echo edited > other");
    run(&mut open, "sh", &["-c", &script], |_, _| {}).printed("")?;
    let handed = site.hand_back(close(open))?;
    ensure(!handed.held.is_empty(), || format!("nothing is held: {handed:?}"))?;

    for arguments in [&["status", "--short"][..], &["diff"], &["log", "--patch", "--max-count=1"]] {
        inside(&site, Work::ReadRepository, arguments)?;
    }
    let closed = inside(&site, Work::Commit, &["commit", "--quiet", "--all", "--message=The agent's"])?;
    let git_of_ours = stage.yard().host_git(&site.session).map_err(|error| chain(&error))?;
    let committed = site.session.take_commit(&closed, "call-P29", &git_of_ours, &Cancel::new());
    let committed = committed.map_err(|error| chain(&error))?.ok_or("no commit came out")?;
    let conversions = stage.yard().conversions(&git_of_ours, &site.session).map_err(|error| chain(&error))?;
    let taking = site.session.plan_taking(&git_of_ours, None, conversions).map_err(|error| chain(&error))?;
    let patience = Patience { until: Instant::now() + Duration::from_secs(10), cancelled: &|| false };
    site.session.take(&taking, &git_of_ours, None, &patience).map_err(|error| chain(&error))?;
    ensure(!canary.exists(), || "something that the repository names ran on the host".into())?;

    // The control: a person's git, which knows the repository, runs it.
    let head = git(&site.workspace, &["rev-parse", "HEAD"])?;
    ensure(head.trim() == committed.commit.as_str(), || format!("the branch is at {head}"))?;
    let _ = git(&site.workspace, &["status"]);
    ensure(canary.exists(), || "the settings run nothing even where git obeys them".into())?;
    Ok(Cell::Holds)
}
