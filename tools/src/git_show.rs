//! `git_show`: one commit with its patch, or a file as it was in one.

use cofferdam_contract::{Repository, Sandbox, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ArgumentError, Failure, Output,
    arguments::Form,
    excerpt,
    git::{self, Access, ChangedFile, Reading, Revision, Totals},
    git_log::{self, LogEntry},
    schema,
};

/// Shows a commit.
pub(crate) struct GitShowTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitShowForm {
    /// A commit: `HEAD`, `HEAD~2`, a branch, a tag, or a commit's name as git_log gives it.
    #[schemars(with = "Revision")]
    revision: Revision,
    /// A file or folder: shows it as it was in that commit, instead of the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PathText>")]
    path: Option<WorkspacePath>,
}

impl Form for GitShowForm {
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("commit", "revision"), ("ref", "revision"), ("rev", "revision"), ("file_path", "path"), ("file", "path")];
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct GitShowOutput {
    /// The commit.
    commit: Option<LogEntry>,
    /// The files that it changed, compared with its first parent.
    files: Vec<ChangedFile>,
    /// How many there are.
    total: u64,
    /// Its patch, cut where it is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    /// The file as it was, or the names in the folder, when `path` was given; cut where it is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// Bytes that were left out of `diff` or `content`.
    omitted_bytes: u64,
}

impl Reading for GitShowTool {
    type Form = GitShowForm;
    type Answer = GitShowOutput;

    const NAME: &'static str = "git_show";
    const TITLE: &'static str = "Git show";
    const DESCRIPTION: &'static str = "\
         Shows one commit: author, date, message, changed files and the patch (of a merge, against its first parent). With \
         `path`, shows that file as it was in the commit instead, or the names in that folder. For the changes of one path \
         only, ask git_diff with a revision such as `HEAD~1..HEAD` and the path. What is long is cut, and says by how much.";

    fn paths(form: &GitShowForm) -> Option<&WorkspacePath> {
        form.path.as_ref()
    }

    fn check(form: &GitShowForm) -> Result<(), ArgumentError> {
        form.revision.refuse_range()
    }

    fn answer(form: GitShowForm, _: &Repository, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let revision = form.revision.as_str();
        let commit = git::commit_of(sandbox, revision)?.ok_or_else(|| git::unknown_revision(revision))?;
        match form.path {
            None => whole(sandbox, &commit),
            Some(path) => as_it_was(sandbox, &commit, &path),
        }
    }
}

/// One commit's entry.
fn entry(sandbox: &mut dyn Sandbox, commit: &str) -> Result<Option<LogEntry>, Failure> {
    let arguments =
        ["log", "-z", git_log::FORMAT, "--max-count=1", "--no-show-signature", "--end-of-options", commit, "--"];
    let printed = git::succeed(sandbox, Access::Read, &arguments)?;
    Ok(git_log::read(&printed.stdout).into_iter().next())
}

fn whole(sandbox: &mut dyn Sandbox, commit: &str) -> Result<Output, Failure> {
    let entry = entry(sandbox, commit)?;
    let (numbers, patch) = (show(sandbox, commit, &["--numstat", "-z"])?, show(sandbox, commit, &["--patch"])?);
    let files = git::changed_files(&numbers.stdout);
    let totals = Totals::of(&files);
    let whole = git::shown(&patch.stdout);
    let whole = whole.trim_start_matches('\n');
    let diff = excerpt::head(whole, excerpt::TEXT_BYTES);
    let omitted_bytes = (whole.len() as u64 + patch.omitted).saturating_sub(diff.len() as u64);
    let (list, files, _) = git::listed(files);
    let told = entry.as_ref().map(LogEntry::told).unwrap_or_default();
    let text = format!("{told}{totals}\n{list}\n{diff}");
    let structured =
        GitShowOutput { commit: entry, files, total: totals.files, diff: Some(diff), content: None, omitted_bytes };
    Ok(Output::new(text, &structured))
}

/// What a commit changed, in one form.
pub(crate) fn show(sandbox: &mut dyn Sandbox, commit: &str, form: &[&str]) -> Result<git::Printed, Failure> {
    let fixed = ["show", "--format=", "--no-ext-diff", "--no-textconv", "--submodule=short", "--find-renames"];
    let against = ["-m", "--first-parent", "--src-prefix=a/", "--dst-prefix=b/", "--end-of-options", commit, "--"];
    let arguments: Vec<&str> = fixed.iter().chain(form).chain(&against).copied().collect();
    git::succeed(sandbox, Access::Read, &arguments)
}

fn as_it_was(sandbox: &mut dyn Sandbox, commit: &str, path: &WorkspacePath) -> Result<Output, Failure> {
    // After the colon, a path is letter by letter and from the root.
    let object = format!("{commit}:{}", path.as_str());
    let kind = git::run(sandbox, Access::Read, &["cat-file", "-t", &object], &[])?;
    if !kind.succeeded() {
        let text = format!("`{path}` does not exist in {}; list its folder with git_show", git::short(commit));
        return Err(Failure::new("not_found", text));
    }
    let printed = match kind.line().as_str() {
        "blob" => git::succeed(sandbox, Access::Read, &["cat-file", "blob", &object])?,
        "tree" => git::succeed(sandbox, Access::Read, &["ls-tree", "--name-only", "-z", &object])?,
        "commit" => {
            return Err(Failure::new("wrong_kind", format!("`{path}` is a submodule in {}", git::short(commit))));
        }
        _ => return Err(git::failed(&kind)),
    };
    let is_folder = kind.line() == "tree";
    let bytes = if is_folder {
        printed.stdout.iter().map(|byte| if *byte == 0 { b'\n' } else { *byte }).collect()
    } else {
        printed.stdout
    };
    if bytes.contains(&0) {
        let text = format!("`{path}` is a binary file of {} bytes in {}", bytes.len(), git::short(commit));
        return Err(Failure::new("wrong_kind", text));
    }
    let whole = git::shown(&bytes);
    let content = excerpt::head(&whole, excerpt::TEXT_BYTES);
    let omitted_bytes = (whole.len() as u64 + printed.omitted).saturating_sub(content.len() as u64);
    let text = format!("{path} in {}:\n{content}", git::short(commit));
    let structured = GitShowOutput {
        commit: entry(sandbox, commit)?,
        files: Vec::new(),
        total: 0,
        diff: None,
        content: Some(content),
        omitted_bytes,
    };
    Ok(Output::new(text, &structured))
}
