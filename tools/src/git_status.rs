//! `git_status`: the branch, and what is not as its commit has it.

use cofferdam_contract::{Repository, Sandbox, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Failure, Output,
    arguments::Form,
    git::{self, Access, Entry, Reading},
};

/// Shows the repository's state.
pub(crate) struct GitStatusTool;

/// Entries that are told; the rest is counted.
const TOLD: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitStatusForm {}

impl Form for GitStatusForm {
    const ALIASES: &'static [(&'static str, &'static str)] = &[];
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct GitStatusOutput {
    /// The branch; absent when a commit is checked out without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// The checked-out commit; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    /// The person's own commit that this session's commits stand on.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    /// Commits of this session that the person's branch does not have yet.
    ahead_of_base: u64,
    /// The branch's upstream, as of the last fetch.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    /// Commits that the upstream does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<u64>,
    /// Commits of the upstream that the branch does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<u64>,
    /// Whether nothing is changed, staged or untracked.
    clean: bool,
    /// What is not as the commit has it.
    entries: Vec<Entry>,
    /// How many there are.
    total: u64,
    /// How many of them are not in `entries`.
    omitted: u64,
}

impl Reading for GitStatusTool {
    type Form = GitStatusForm;
    type Answer = GitStatusOutput;

    const NAME: &'static str = "git_status";
    const TITLE: &'static str = "Git status";
    const DESCRIPTION: &'static str = "\
         Shows the branch, the checked-out commit, and every file that differs from it: staged, changed or untracked, as \
         `git status --short` marks them. Ignored files are left out, and a new folder is one entry. Commits that \
         git_commit made in this session are counted as ahead of the person's own commit, the base.";

    fn paths(_: &GitStatusForm) -> Option<&WorkspacePath> {
        None
    }

    fn answer(_: GitStatusForm, repository: &Repository, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let arguments = ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal"];
        let printed = git::succeed(sandbox, Access::Read, &arguments)?;
        let mut status = git::read_status(&printed.stdout);
        let masked = git::leave_out_masked(&mut status.entries, repository);
        let ahead_of_base = match (&repository.base, &status.commit) {
            (Some(base), Some(commit)) if base != commit => {
                let range = format!("{base}..HEAD");
                let counted =
                    git::run(sandbox, Access::Read, &["rev-list", "--count", "--end-of-options", &range], &[])?;
                counted.line().parse().unwrap_or(0)
            }
            (None, Some(_)) => {
                git::succeed(sandbox, Access::Read, &["rev-list", "--count", "HEAD"])?.line().parse().unwrap_or(0)
            }
            (_, _) => 0,
        };
        let total = status.entries.len();
        let mut text = match (&status.branch, &status.commit) {
            (Some(branch), Some(commit)) => format!("On branch {branch} at {}", git::short(commit)),
            (Some(branch), None) => format!("On branch {branch}, without commits yet"),
            (None, Some(commit)) => format!("On no branch, at {}", git::short(commit)),
            (None, None) => "On no branch".to_owned(),
        };
        if ahead_of_base > 0 {
            let base = repository.base.as_deref().map_or("nothing", git::short);
            let commits = if ahead_of_base == 1 { "commit" } else { "commits" };
            let reference = &repository.reference;
            text.push_str(&format!(
                ": {ahead_of_base} {commits} of this session on {base}, for the person in {reference}"
            ));
        }
        if let (Some(upstream), Some((ahead, behind))) = (&status.upstream, status.ahead_behind) {
            text.push_str(&format!("\n{ahead} ahead of {upstream}, {behind} behind"));
        }
        text.push_str(if total == 0 { "\nNothing to commit, nothing untracked.\n" } else { "\n" });
        for entry in status.entries.iter().take(TOLD) {
            let from = entry.from.as_ref().map_or(String::new(), |from| format!("{from} -> "));
            text.push_str(&format!("{} {from}{}\n", entry.code, entry.path));
        }
        let omitted = total.saturating_sub(TOLD) as u64;
        if omitted > 0 {
            text.push_str(&format!("and {omitted} more\n"));
        }
        let mut output = Output::new(
            text,
            &GitStatusOutput {
                branch: status.branch,
                commit: status.commit,
                base: repository.base.clone(),
                ahead_of_base,
                upstream: status.upstream,
                ahead: status.ahead_behind.map(|(ahead, _)| ahead),
                behind: status.ahead_behind.map(|(_, behind)| behind),
                clean: total == 0,
                entries: status.entries.into_iter().take(TOLD).collect(),
                total: total as u64,
                omitted,
            },
        );
        output.add_notes(masked);
        if printed.omitted > 0 {
            output.add_notes(vec!["git listed more than is read; the list is not whole.".to_owned()]);
        }
        Ok(output)
    }
}
