//! `git_log`: the commits, newest first.

use cofferdam_contract::{Repository, Sandbox, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Failure, Output,
    arguments::Form,
    excerpt,
    git::{self, Access, Reading},
    schema,
};

/// Shows the history.
pub(crate) struct GitLogTool;

/// Commits that are shown when the call does not say.
const DEFAULT_LIMIT: u64 = 20;

/// A longer message's body is cut, bytes.
const BODY_BYTES: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitLogForm {
    /// Only commits that changed this file or folder. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PathText>")]
    path: Option<WorkspacePath>,
    /// How many commits at most. Default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u64>,
}

impl Form for GitLogForm {
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("file_path", "path"), ("max_count", "limit"), ("count", "limit"), ("n", "limit")];
}

/// One commit.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct LogEntry {
    /// The commit's name.
    pub(crate) id: String,
    /// Who wrote it: name and address.
    pub(crate) author: String,
    /// When, with the author's time zone (ISO 8601).
    pub(crate) date: String,
    /// The first line of its message.
    pub(crate) subject: String,
    /// The rest of it, cut where it is long; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    /// Branches and tags that are at it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) refs: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct GitLogOutput {
    /// The commits, newest first.
    commits: Vec<LogEntry>,
    /// Whether there are older ones.
    more: bool,
}

/// What git prints of a commit: fields with a unit separator (ASCII 31) between, which git takes out of names and
/// messages of one line; the body comes last.
pub(crate) const FORMAT: &str = "--format=tformat:%H%x1f%an <%ae>%x1f%aI%x1f%D%x1f%s%x1f%b";

impl Reading for GitLogTool {
    type Form = GitLogForm;
    type Answer = GitLogOutput;

    const NAME: &'static str = "git_log";
    const TITLE: &'static str = "Git log";
    const DESCRIPTION: &'static str = "\
         Lists commits of the checked-out branch, newest first, those that git_commit made in this session among them. \
         `path` leaves those that changed a file or folder, `limit` says how many (20 by default). git_show shows one of \
         them whole.";

    fn paths(form: &GitLogForm) -> Option<&WorkspacePath> {
        form.path.as_ref()
    }

    fn answer(form: GitLogForm, _: &Repository, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let limit = form.limit.unwrap_or(DEFAULT_LIMIT);
        let mut commits = Vec::new();
        if git::commit_of(sandbox, "HEAD")?.is_some() {
            let count = format!("--max-count={}", limit + 1);
            let path = form.path.map_or(String::new(), |path| git::pathspec(&path));
            let mut arguments =
                vec!["log", "-z", FORMAT, &count, "--no-show-signature", "--end-of-options", "HEAD", "--"];
            if !path.is_empty() {
                arguments.push(&path);
            }
            let printed = git::succeed(sandbox, Access::Read, &arguments)?;
            commits = read(&printed.stdout);
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = commits.len() > limit;
        commits.truncate(limit);
        let mut text = String::new();
        for commit in &commits {
            text.push_str(&commit.told());
        }
        if commits.is_empty() {
            text.push_str("No commits.\n");
        }
        let mut output = Output::new(excerpt::head(&text, excerpt::TEXT_BYTES), &GitLogOutput { commits, more });
        if more {
            output.add_notes(vec!["there are older commits: ask with a larger limit.".to_owned()]);
        }
        Ok(output)
    }
}

impl LogEntry {
    /// For readers of text.
    pub(crate) fn told(&self) -> String {
        let refs = if self.refs.is_empty() { String::new() } else { format!(" ({})", self.refs.join(", ")) };
        let mut text = format!("{}{refs}\n  {}, {}\n  {}\n", self.id, self.author, self.date, self.subject);
        for line in self.body.iter().flat_map(|body| body.lines()) {
            text.push_str(&format!("    {line}\n"));
        }
        text
    }
}

/// Reads what git prints with [`FORMAT`] and `-z`.
pub(crate) fn read(bytes: &[u8]) -> Vec<LogEntry> {
    let records = bytes.split(|byte| *byte == 0).filter(|record| !record.is_empty());
    records
        .filter_map(|record| {
            // The separator is a control character, which would be shown escaped.
            let mut fields = record.splitn(6, |byte| *byte == 0x1f).map(git::shown);
            let (id, author, date) = (fields.next()?, fields.next()?, fields.next()?);
            let (refs, subject, body) = (fields.next()?, fields.next()?, fields.next()?);
            let body = body.trim();
            Some(LogEntry {
                id,
                author,
                date,
                subject,
                body: (!body.is_empty()).then(|| excerpt::head(body, BODY_BYTES)),
                refs: refs.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_read_field_by_field() {
        let printed = b"aa\x1fAnn <a@x>\x1f2026-01-02T03:04:05+01:00\x1fHEAD -> main, tag: v1\x1fOne\x1fbody\nmore\n\0bb\x1fB <b@x>\x1fd\x1f\x1fTwo\x1f\0odd\0";
        let commits = read(printed);
        assert_eq!(commits.len(), 2);
        assert_eq!(commits[0].refs, ["HEAD -> main", "tag: v1"]);
        assert_eq!(commits[0].body.as_deref(), Some("body\nmore"));
        assert_eq!((commits[1].subject.as_str(), &commits[1].body), ("Two", &None));
        assert_eq!(
            commits[0].told(),
            "aa (HEAD -> main, tag: v1)\n  Ann <a@x>, 2026-01-02T03:04:05+01:00\n  One\n    body\n    more\n"
        );
    }
}
