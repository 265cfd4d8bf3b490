//! `git_diff`: what is changed, as a patch.

use cofferdam_contract::{Repository, Sandbox, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ArgumentError, Failure, Output,
    arguments::Form,
    excerpt,
    git::{self, Access, ChangedFile, Reading, Revision, Totals},
    schema,
};

/// Shows a diff.
pub(crate) struct GitDiffTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitDiffForm {
    /// Only this file or folder. Default: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PathText>")]
    path: Option<WorkspacePath>,
    /// What is staged, against the commit, instead of what is not staged.
    #[serde(skip_serializing_if = "Option::is_none")]
    staged: Option<bool>,
    /// A commit to compare with, such as `HEAD~1`, or two: `main..HEAD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Revision>")]
    revision: Option<Revision>,
}

impl Form for GitDiffForm {
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("file_path", "path"),
        ("cached", "staged"),
        ("target", "revision"),
        ("commit", "revision"),
        ("ref", "revision"),
    ];
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct GitDiffOutput {
    /// The changed files.
    files: Vec<ChangedFile>,
    /// How many there are.
    total: u64,
    /// Lines that were added.
    insertions: u64,
    /// Lines that were deleted.
    deletions: u64,
    /// The patch, cut where it is long.
    diff: String,
    /// Bytes of the patch that were left out.
    omitted_bytes: u64,
}

impl Reading for GitDiffTool {
    type Form = GitDiffForm;
    type Answer = GitDiffOutput;

    const NAME: &'static str = "git_diff";
    const TITLE: &'static str = "Git diff";
    const DESCRIPTION: &'static str = "\
         Shows what is changed and not staged, as a patch with a list of files. `staged` compares what is staged with the \
         commit; `revision` compares the working tree with a commit (`HEAD` shows all that git_commit would take of tracked \
         files), or two commits (`main..HEAD`). Untracked files are in no diff: git_status lists them. A long patch is cut, \
         and says by how much: name a path.";

    fn paths(form: &GitDiffForm) -> Option<&WorkspacePath> {
        form.path.as_ref()
    }

    fn check(form: &GitDiffForm) -> Result<(), ArgumentError> {
        if form.staged == Some(true) && form.revision.as_ref().is_some_and(Revision::is_range) {
            let text =
                "`staged` compares what is staged with one commit; leave it out, or name one commit as `revision`";
            return Err(ArgumentError::Combination(text.to_owned()));
        }
        Ok(())
    }

    fn answer(form: GitDiffForm, repository: &Repository, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let path = form.path.unwrap_or_else(WorkspacePath::workspace);
        let masked: Vec<String> =
            repository.masked.iter().filter(|masked| is_below(masked, &path)).map(git::pathspec).collect();
        let path = git::pathspec(&path);
        let diff = |form: &[&str]| -> Vec<String> {
            let fixed = ["diff", "--no-ext-diff", "--no-textconv", "--submodule=short", "--find-renames"];
            fixed.iter().chain(form).map(|argument| (*argument).to_owned()).collect()
        };
        let mut which: Vec<String> = Vec::new();
        if form.staged == Some(true) {
            which.push("--cached".to_owned());
        }
        which.push("--end-of-options".to_owned());
        if let Some(revision) = &form.revision {
            which.push(revision.as_str().to_owned());
        }
        which.push("--".to_owned());
        let mut print = |form: &[&str], paths: &[String]| {
            let arguments = [&diff(form), &which[..], paths].concat();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            git::succeed(sandbox, Access::Read, &arguments)
        };
        let paths = [vec![path], git::without_masked(repository)].concat();
        let numbers = print(&["--numstat", "-z"], &paths)?;
        let patch = print(&["--patch", "--src-prefix=a/", "--dst-prefix=b/"], &paths)?;
        let left_out = match masked.is_empty() {
            true => 0,
            false => git::changed_files(&print(&["--numstat", "-z"], &masked)?.stdout).len(),
        };
        let files = git::changed_files(&numbers.stdout);
        let totals = Totals::of(&files);
        let whole = git::shown(&patch.stdout);
        let diff = excerpt::head(&whole, excerpt::TEXT_BYTES);
        let omitted = (whole.len() as u64 + patch.omitted).saturating_sub(diff.len() as u64);
        let (list, files, _) = git::listed(files);
        let text = if totals.files == 0 { "No difference.\n".to_owned() } else { format!("{totals}\n{list}\n{diff}") };
        let structured = GitDiffOutput {
            files,
            total: totals.files,
            insertions: totals.insertions,
            deletions: totals.deletions,
            diff,
            omitted_bytes: omitted,
        };
        let mut output = Output::new(text, &structured);
        output.add_notes(git::masked_are_left_out(left_out));
        if patch.omitted > 0 {
            output.add_notes(vec![format!("{} bytes more were not read; name a path.", patch.omitted)]);
        }
        Ok(output)
    }
}

/// Whether a path is `folder` or lies below it.
fn is_below(path: &WorkspacePath, folder: &WorkspacePath) -> bool {
    folder.is_workspace()
        || path.as_str().strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
