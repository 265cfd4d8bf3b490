//! `git_commit`: makes a commit in the session's own history, which a person takes.

use cofferdam_contract::{Author, Identity, Limits, Plan, Repository, Sandbox, Work, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form, Parsed},
    git::{self, Access, ChangedFile, Totals},
    git_show, schema,
};

/// Makes a commit.
pub(crate) struct GitCommitTool;

/// The trailer that names the agent's session.
const TRAILER: &str = "Agent-Session";

/// Whom commits are by where the operator wants them to be the agent's. `.invalid` is nobody's domain (RFC 2606).
const AGENT: (&str, &str) = ("Cofferdam agent", "agent@cofferdam.invalid");

/// Files whose attributes are asked for at once: an argument list holds 2 MiB (execve(2)), and a path 4 KiB.
const ASKED: usize = 400;

/// Paths that are told as not committed; the rest is counted.
const TOLD: usize = 20;

/// New files at the top that set up agents on this machine. A person who never added them to the repository hardly wants them
/// there; an agent that wrote them, or is asked for them, commits them as any other.
const OF_THE_MACHINE: [&str; 2] = [".mcp.json", ".cofferdam.toml"];

/// What the copy that `cofferdam install` keeps of a client's file begins with; it is such a file too.
const BEFORE_INSTALL: &str = ".mcp.json.before-cofferdam-";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GitCommitForm {
    /// The commit's message: a short first line, and where it needs more an empty line and the rest.
    #[schemars(length(min = 1, max = 20_000))]
    message: String,
    /// Only these files and folders. Default: everything that git_status lists, without a new .mcp.json or .cofferdam.toml
    /// that this session did not write.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<schema::PathText>>", length(min = 1, max = 500))]
    paths: Option<Vec<WorkspacePath>>,
}

impl Form for GitCommitForm {
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("msg", "message"), ("files", "paths"), ("path", "paths")];
}

#[derive(Serialize, JsonSchema)]
struct GitCommitOutput {
    /// The new commit's name.
    commit: String,
    /// The ref of the person's repository that names it.
    #[serde(rename = "ref")]
    reference: String,
    /// The session's branch that it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// Whom it is by.
    author: String,
    /// The files in it.
    files: Vec<ChangedFile>,
    /// How many there are.
    total: u64,
    /// Lines that were added.
    insertions: u64,
    /// Lines that were deleted.
    deletions: u64,
    /// What git_status still lists, the first of it.
    not_committed: Vec<String>,
    /// How much that is.
    not_committed_total: u64,
    /// Commits are never signed: no key is in the sandbox.
    signed: bool,
}

impl Tool for GitCommitTool {
    fn name(&self) -> &'static str {
        "git_commit"
    }

    fn title(&self) -> &'static str {
        "Git commit"
    }

    fn description(&self) -> &'static str {
        "Commits everything that git_status lists, new files too, or only `paths`. New files that this session did not write \
         are named, and .mcp.json and .cofferdam.toml left out then. Staging is not needed. The repository's hooks run in the sandbox; when one refuses, its output says why and nothing is committed. The commit is in this \
         session's own history: git_log shows it, later commits stand on it, and it is copied into the person's repository \
         under a ref of its own. The person's branch does not move until they take it with `cofferdam changes commit-take`. \
         Author and committer are the person, with a trailer that names the session. Commits are not signed."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: false, destructive: false, idempotent: false, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<GitCommitForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<GitCommitOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = parse(arguments, project)?.form;
        let plan = arguments::routine(self.name(), &form, Work::Commit, Limits::COMMIT);
        Ok(Plan { reads: form.paths.unwrap_or_default(), ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        parse(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form: GitCommitForm = arguments::recall(plan)?;
        let repository = git::repository(sandbox)?;
        let author = author(&repository)?;
        let is_whole = form.paths.as_ref().is_none_or(Vec::is_empty);
        let mut paths: Vec<String> = form.paths.iter().flatten().map(git::pathspec).collect();
        if is_whole {
            paths.push(git::pathspec(&WorkspacePath::workspace()));
        }
        let strangers = if is_whole { Strangers::find(sandbox, &repository)? } else { Strangers::default() };
        paths.extend(git::without_masked(&repository));
        paths.extend(strangers.left_out.iter().map(|path| format!(":(exclude,top,literal){path}")));
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        stage(sandbox, &paths, &strangers)?;
        sandbox.progress("committing");
        let message = with_trailer(&form.message, &repository.session);
        let mut arguments = vec!["commit", "--quiet", "--no-gpg-sign", "--cleanup=whitespace", "--message", &message];
        if !is_whole {
            arguments.extend(["--only", "--"].iter().chain(&paths));
        }
        let who = [
            ("GIT_AUTHOR_NAME", author.name.as_str()),
            ("GIT_AUTHOR_EMAIL", author.email.as_str()),
            ("GIT_COMMITTER_NAME", author.name.as_str()),
            ("GIT_COMMITTER_EMAIL", author.email.as_str()),
        ];
        let before = git::commit_of(sandbox, "HEAD")?;
        let made = git::run(sandbox, Access::Write, &arguments, &who)?;
        if !made.succeeded() {
            let words = made.words();
            let words = if words.is_empty() { "nothing was said".to_owned() } else { words };
            let text = format!("nothing was committed: a hook of the repository or git itself refused:\n{words}");
            return Err(Failure::new("commit_refused", text));
        }
        let commit = git::commit_of(sandbox, "HEAD")?.filter(|commit| Some(commit) != before.as_ref());
        let commit =
            commit.ok_or_else(|| Failure::new("commit_refused", "git said yes, and there is no new commit"))?;
        let mut output = told(sandbox, &repository, commit, &author, &made)?;
        output.add_notes(strangers.notes());
        Ok(output)
    }
}

/// New files that this session did not write: the person's, or another session's.
#[derive(Default)]
struct Strangers {
    /// They go along, as with `git add --all`, and are named.
    taken: Vec<String>,
    /// They do not.
    left_out: Vec<String>,
}

impl Strangers {
    fn find(sandbox: &mut dyn Sandbox, repository: &Repository) -> Result<Self, Failure> {
        let status = ["status", "--porcelain=v2", "-z", "--untracked-files=all"];
        let mut status = git::read_status(&git::succeed(sandbox, Access::Read, &status)?.stdout);
        git::leave_out_masked(&mut status.entries, repository);
        let is_own = |path: &str| repository.changed.iter().any(|changed| changed.as_str() == path);
        let new = status.entries.into_iter().filter(|entry| entry.worktree.as_deref() == Some("untracked"));
        let strange = new.map(|entry| entry.path).filter(|path| !is_own(path));
        let (left_out, taken) =
            strange.partition(|path| OF_THE_MACHINE.contains(&path.as_str()) || path.starts_with(BEFORE_INSTALL));
        Ok(Self { taken, left_out })
    }

    fn left_out_note(&self) -> Option<String> {
        let named = self.left_out.join("` and `");
        (!named.is_empty())
            .then(|| format!("Left out: `{named}`, which this session did not write; `paths` can name it."))
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.left_out_note().into_iter().collect();
        if !self.taken.is_empty() {
            let named: Vec<String> =
                self.taken.iter().take(TOLD).map(|path| format!("`{}`", crate::plain_text::one_line(path))).collect();
            let more = match self.taken.len().saturating_sub(TOLD) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            notes.push(format!(
                "New files that this session did not write are in the commit too: {}{more}. With `paths` they stay out.",
                named.join(", ")
            ));
        }
        notes
    }
}

/// Tells what was committed.
fn told(
    sandbox: &mut dyn Sandbox,
    repository: &Repository,
    commit: String,
    author: &Identity,
    made: &git::Printed,
) -> Result<Output, Failure> {
    let numbers = git_show::show(sandbox, &commit, &["--numstat", "-z"])?;
    let status = ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal"];
    let mut status = git::read_status(&git::succeed(sandbox, Access::Read, &status)?.stdout);
    let masked = git::leave_out_masked(&mut status.entries, repository);
    let files = git::changed_files(&numbers.stdout);
    let totals = Totals::of(&files);
    let (list, files, _) = git::listed(files);
    let reference = repository.reference.clone();
    let branch = status.branch.as_deref().map_or(String::new(), |branch| format!(" on {branch}"));
    let mut text = format!(
        "Committed {}{branch}, not signed: {totals}\n{list}For the person it is in {reference}; their branch has not moved.",
        git::short(&commit)
    );
    let rest: Vec<&git::Entry> = status.entries.iter().collect();
    if !rest.is_empty() {
        text.push_str(&format!("\nNot committed: {}", rest.len()));
        for entry in rest.iter().take(TOLD) {
            text.push_str(&format!("\n  {} {}", entry.code, entry.path));
        }
    }
    let structured = GitCommitOutput {
        commit,
        reference,
        branch: status.branch.clone(),
        author: format!("{} <{}>", author.name, author.email),
        files,
        total: totals.files,
        insertions: totals.insertions,
        deletions: totals.deletions,
        not_committed: rest.iter().take(TOLD).map(|entry| entry.path.clone()).collect(),
        not_committed_total: rest.len() as u64,
        signed: false,
    };
    let mut output = Output::new(text, &structured);
    output.add_notes(masked);
    let words = made.words();
    if !words.is_empty() {
        output.add_notes(vec![format!("while it was committed, this was said:\n{words}")]);
    }
    Ok(output)
}

fn parse(arguments: &Map<String, Value>, project: &Project) -> Result<Parsed<GitCommitForm>, ArgumentError> {
    let parsed = arguments::parse::<GitCommitForm>(arguments, project)?;
    let message = &parsed.form.message;
    let wrong = if message.trim().is_empty() {
        "is blank"
    } else if message.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\t' | '\r')) {
        "holds a control character"
    } else if message.split(['\n', '\r']).any(names_a_session) {
        "has a line that begins with `Agent-Session`, which only the server writes"
    } else {
        return Ok(parsed);
    };
    Err(ArgumentError::Combination(format!("argument `message` {wrong}; write what the commit does and why")))
}

/// Puts what is to be committed into the index. Nothing there is no commit.
fn stage(sandbox: &mut dyn Sandbox, paths: &[&str], strangers: &Strangers) -> Result<(), Failure> {
    let arguments: Vec<&str> = ["add", "--all", "--"].iter().chain(paths).copied().collect();
    let added = git::run(sandbox, Access::Write, &arguments, &[])?;
    if !added.succeeded() {
        return Err(Failure::new(
            "git_failed",
            format!("nothing was committed: git could not add the files: {}", added.words()),
        ));
    }
    let arguments: Vec<&str> =
        ["diff", "--cached", "--quiet", "--no-ext-diff", "--"].iter().chain(paths).copied().collect();
    let compared = git::run(sandbox, Access::Read, &arguments, &[])?;
    if compared.succeeded() {
        let text = "there is nothing to commit: the files are as the last commit has them, or git ignores them; look with \
                    git_status";
        let text = strangers.left_out_note().map_or(text.to_owned(), |note| format!("{text}. {note}"));
        return Err(Failure::new("nothing_to_commit", text));
    }
    if !compared.said_no() {
        return Err(git::failed(&compared));
    }
    refuse_missing_filters(sandbox, paths)
}

/// Refuses files whose content passes through a filter that is not set up inside, as git-lfs is in a person's own settings:
/// git would then take what lies in the working tree as it is.
fn refuse_missing_filters(sandbox: &mut dyn Sandbox, paths: &[&str]) -> Result<(), Failure> {
    let arguments: Vec<&str> = ["diff", "--cached", "--name-only", "--no-renames", "--diff-filter=d", "-z", "--"]
        .iter()
        .chain(paths)
        .copied()
        .collect();
    let staged = git::succeed(sandbox, Access::Read, &arguments)?.stdout;
    let staged = String::from_utf8_lossy(&staged).into_owned();
    let staged: Vec<&str> = staged.split('\0').filter(|path| !path.is_empty()).collect();
    let mut present: std::collections::BTreeMap<String, bool> = std::collections::BTreeMap::new();
    for some in staged.chunks(ASKED) {
        let arguments: Vec<&str> = ["check-attr", "-z", "filter", "--"].iter().chain(some).copied().collect();
        let told = git::succeed(sandbox, Access::Read, &arguments)?.stdout;
        for (path, filter) in filtered(&String::from_utf8_lossy(&told)) {
            let is_there = match present.get(&filter) {
                Some(is_there) => *is_there,
                None => {
                    let mut is_there = false;
                    for key in ["clean", "process"] {
                        let key = format!("filter.{filter}.{key}");
                        is_there |= git::run(sandbox, Access::Read, &["config", "--get", &key], &[])?.succeeded();
                    }
                    present.insert(filter.clone(), is_there);
                    is_there
                }
            };
            if !is_there {
                let text = format!(
                    "nothing was committed: `{}` passes through the filter `{}`, which is not set up in the repository's own \
                     settings (git-lfs is in a person's), so it would be committed as it must not be; leave such files out with \
                     `paths`, or ask the person",
                    crate::plain_text::one_line(&path),
                    crate::plain_text::one_line(&filter)
                );
                return Err(Failure::new("filter_missing", text));
            }
        }
    }
    Ok(())
}

/// The files that have a filter, and which: `path NUL filter NUL value NUL` each (git-check-attr(1), `-z`).
fn filtered(told: &str) -> Vec<(String, String)> {
    let fields: Vec<&str> = told.split('\0').collect();
    let triples = fields.chunks_exact(3).map(|triple| (triple[0], triple[2]));
    let named = triples.filter(|(_, filter)| !["unspecified", "unset", "set", ""].contains(filter));
    named.map(|(path, filter)| (path.to_owned(), filter.to_owned())).collect()
}

/// Whom the commit is by. What settings inside say does not count: the agent may have written them.
fn author(repository: &Repository) -> Result<Identity, Failure> {
    match &repository.author {
        Author::Agent => Ok(Identity { name: AGENT.0.to_owned(), email: AGENT.1.to_owned() }),
        Author::Person(person) => Ok(person.clone()),
        Author::Unnamed => Err(Failure::new(
            "no_identity",
            "nothing was committed: git does not know whose commits these are. The person sets that once with \
             `git config --global user.name \"Their Name\"` and `git config --global user.email their@address`",
        )),
    }
}

/// Whether a line of a message would be read as the trailer that names the session: git ignores case, takes blanks before
/// the colon (git-interpret-trailers(1)), and a reader may take those before the key.
fn names_a_session(line: &str) -> bool {
    line.split_once(':').is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case(TRAILER))
}

/// The message with the trailer that names the session, after the trailers that it has.
fn with_trailer(message: &str, session: &str) -> String {
    let message = message.replace("\r\n", "\n");
    let message = message.trim();
    let session: String =
        session.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let last = message.rsplit("\n\n").next().unwrap_or_default();
    let is_trailer = |line: &str| {
        line.split_once(": ").is_some_and(|(key, value)| {
            !key.is_empty()
                && !value.is_empty()
                && key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
        })
    };
    let has_trailers = message.contains("\n\n") && last.lines().all(is_trailer);
    let separator = if has_trailers { "\n" } else { "\n\n" };
    format!("{message}{separator}{TRAILER}: {session}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_session_stands_among_the_trailers() {
        assert_eq!(with_trailer("Fix it\n", "default"), "Fix it\n\nAgent-Session: default");
        assert_eq!(with_trailer("Fix: it", "a\nb"), "Fix: it\n\nAgent-Session: a b");
        assert_eq!(
            with_trailer("Fix\r\n\r\nWhy.\r\n\r\nFixes: #1\r\nCo-authored-by: X <x@y>", "s"),
            "Fix\n\nWhy.\n\nFixes: #1\nCo-authored-by: X <x@y>\nAgent-Session: s"
        );
        assert_eq!(with_trailer("Fix\n\nSee: this\nand that", "s"), "Fix\n\nSee: this\nand that\n\nAgent-Session: s");
    }

    #[test]
    fn files_with_filters_are_found() {
        let told = "a\0filter\0unspecified\0b c\0filter\0lfs\0d\0filter\0unset\0";
        assert_eq!(filtered(told), [("b c".to_owned(), "lfs".to_owned())]);
    }

    #[test]
    fn a_message_says_something_and_moves_no_terminal() {
        let project = Project { workspace: "/w".into() };
        let plan = |message: &str| {
            let Value::Object(arguments) = json!({ "message": message, "paths": ["a", "/w/b/"] }) else {
                unreachable!()
            };
            GitCommitTool.plan(&arguments, &project)
        };
        let forged = ["a\n\nAgent-Session: evil", "a\n\nagent-session : evil", "a\rAgent-Session:", "Agent-Session: x"];
        for message in [" \n ", "a\u{1b}[2Jb", "a\0b"].into_iter().chain(forged) {
            assert!(plan(message).is_err(), "{message:?}");
        }
        let plan = plan("Fix").unwrap();
        assert_eq!(plan.work, Work::Commit);
        assert_eq!(plan.reads.iter().map(WorkspacePath::as_str).collect::<Vec<_>>(), ["a", "b"]);
    }
}
