//! `git_diff`: what is changed, as a patch.

use cofferdam_contract::{Limits, Plan, Sandbox, Work, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form, Parsed},
    excerpt,
    git::{self, Access, ChangedFile, Revision, Totals},
    schema,
};

/// Shows a diff.
pub(crate) struct GitDiffTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GitDiffForm {
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
struct GitDiffOutput {
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

impl Tool for GitDiffTool {
    fn name(&self) -> &'static str {
        "git_diff"
    }

    fn title(&self) -> &'static str {
        "Git diff"
    }

    fn description(&self) -> &'static str {
        "Shows what is changed and not staged, as a patch with a list of files. `staged` compares what is staged with the \
         commit; `revision` compares the working tree with a commit (`HEAD` shows all that git_commit would take of tracked \
         files), or two commits (`main..HEAD`). Untracked files are in no diff: git_status lists them. A long patch is cut, \
         and says by how much: name a path."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: true, destructive: false, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<GitDiffForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<GitDiffOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = parse(arguments, project)?.form;
        let plan = arguments::routine(self.name(), &form, Work::ReadRepository, Limits::REPOSITORY);
        Ok(Plan { reads: form.path.into_iter().collect(), ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        parse(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form: GitDiffForm = arguments::recall(plan)?;
        let repository = git::repository(sandbox)?;
        let path = git::pathspec(&form.path.unwrap_or_else(WorkspacePath::workspace));
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
        which.extend(["--".to_owned(), path]);
        which.extend(git::without_masked(&repository));
        let mut print = |form: &[&str]| {
            let arguments = [diff(form), which.clone()].concat();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            git::succeed(sandbox, Access::Read, &arguments)
        };
        let numbers = print(&["--numstat", "-z"])?;
        let patch = print(&["--patch", "--src-prefix=a/", "--dst-prefix=b/"])?;
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
        if patch.omitted > 0 {
            output.add_notes(vec![format!("{} bytes more were not read; name a path.", patch.omitted)]);
        }
        output.add_notes(repository.warnings);
        Ok(output)
    }
}

fn parse(arguments: &Map<String, Value>, project: &Project) -> Result<Parsed<GitDiffForm>, ArgumentError> {
    let parsed = arguments::parse::<GitDiffForm>(arguments, project)?;
    if parsed.form.staged == Some(true) && parsed.form.revision.as_ref().is_some_and(Revision::is_range) {
        let text = "`staged` compares what is staged with one commit; leave it out, or name one commit as `revision`";
        return Err(ArgumentError::Combination(text.to_owned()));
    }
    Ok(parsed)
}
