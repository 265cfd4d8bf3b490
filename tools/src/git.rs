//! Git, inside: what the git tools share.
//!
//! Each tool runs a fixed list of arguments. What an agent writes gets in at three places only, each of a type of its own:
//! a revision ([`Revision`]), which stands after `--end-of-options`; a path ([`pathspec`]), which is literal and stands
//! after `--`; and a commit's message, which is one argument of its own. Hooks and filters of the repository run, since this
//! is a sandbox; a pager, an editor, a prompt and a signature do not, since nobody is there for them.

mod numbers;
mod reading;
mod revision;
mod status;

use std::collections::BTreeMap;

use cofferdam_contract::{Command, Exit, Repository, Sandbox, Stream, WorkspacePath};

use crate::{Failure, excerpt, plain_text};

pub(crate) use numbers::{ChangedFile, Totals, changed_files, listed};
pub(crate) use reading::Reading;
pub(crate) use revision::Revision;
pub(crate) use status::{Entry, read_status};

/// Settings that come before the repository's own.
const SETTINGS: [&str; 16] = [
    // The view is an overlay: inode numbers and change times are not those that the index has written down, and without
    // these two every file would be read (git-config(1)).
    "core.checkStat=minimal",
    "core.trustctime=false",
    // The repository belongs to another user where the server is root, and this is all that is here.
    "safe.directory=*",
    // Neither a daemon nor a cache that could be older than the view.
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    // No key is inside.
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "log.showSignature=false",
    // Nothing in the background, and no packs that nobody asked for.
    "gc.auto=0",
    "maintenance.auto=false",
    // Names as they are: results are cut at NULs, not at quotes.
    "core.quotePath=false",
    "color.ui=false",
    "advice.addEmbeddedRepo=false",
    "core.pager=cat",
    // What is asked for is what is told, whatever the person likes to see.
    "status.relativePaths=false",
    "diff.noprefix=false",
];

/// What a command may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing, not even the index's own notes.
    Read,
    /// What it is for.
    Write,
}

/// What git printed.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) stdout: Vec<u8>,
    stderr: Vec<u8>,
    exit: Exit,
    /// Bytes beyond the call's limit.
    pub(crate) omitted: u64,
}

impl Printed {
    pub(crate) fn succeeded(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// The answer of a command that says no with status 1.
    pub(crate) fn said_no(&self) -> bool {
        self.exit == Exit::Code(1)
    }

    /// Standard output as text, without the line end.
    pub(crate) fn line(&self) -> String {
        plain_text::one_line(String::from_utf8_lossy(&self.stdout).trim_end())
    }

    /// Both streams, as far as a failure tells them.
    pub(crate) fn words(&self) -> String {
        let text = [&self.stderr[..], &self.stdout[..]].map(String::from_utf8_lossy).join("\n");
        excerpt::head_and_tail(plain_text::output(&text).trim(), 6_000)
    }
}

/// Runs git in the workspace with `arguments`, the subcommand first, and whatever it says.
pub(crate) fn run(
    sandbox: &mut dyn Sandbox,
    access: Access,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<Printed, Failure> {
    let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
    let arguments = ["--no-pager"].into_iter().chain(settings).chain(arguments.iter().copied());
    let above = sandbox.workspace().rsplit_once('/').map_or("/", |(above, _)| above).to_owned();
    let mut environment: BTreeMap<String, String> = [
        // No other repository than the workspace's own, whatever lies above.
        ("GIT_CEILING_DIRECTORIES", above.as_str()),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_EDITOR", "false"),
        ("GIT_SEQUENCE_EDITOR", "false"),
        ("GIT_PAGER", "cat"),
        // Messages that can be compared.
        ("LC_ALL", "C.UTF-8"),
        ("LANGUAGE", "C"),
    ]
    .into_iter()
    .chain(variables.iter().copied())
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    if access == Access::Read {
        environment.insert("GIT_OPTIONAL_LOCKS".to_owned(), "0".to_owned());
    }
    let command = Command {
        program: "git".to_owned(),
        arguments: arguments.map(str::to_owned).collect(),
        directory: WorkspacePath::workspace(),
        environment,
    };
    let mut printed = Printed { stdout: Vec::new(), stderr: Vec::new(), exit: Exit::Code(0), omitted: 0 };
    let (stdout, stderr) = (&mut printed.stdout, &mut printed.stderr);
    printed.exit = sandbox.execute(&command, &mut |stream, bytes| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
    })?;
    printed.omitted = sandbox.omitted_output_bytes();
    Ok(printed)
}

/// Runs git, which must succeed.
pub(crate) fn succeed(sandbox: &mut dyn Sandbox, access: Access, arguments: &[&str]) -> Result<Printed, Failure> {
    let printed = run(sandbox, access, arguments, &[])?;
    if printed.succeeded() { Ok(printed) } else { Err(failed(&printed)) }
}

/// Git's own refusal.
pub(crate) fn failed(printed: &Printed) -> Failure {
    let words = printed.words();
    let words = if words.is_empty() { "it said nothing".to_owned() } else { words };
    Failure::new("git_failed", format!("git refused: {words}"))
}

/// The name of the commit that a revision means; `None` when it means none.
pub(crate) fn commit_of(sandbox: &mut dyn Sandbox, revision: &str) -> Result<Option<String>, Failure> {
    let revision = format!("{revision}^{{commit}}");
    let printed =
        run(sandbox, Access::Read, &["rev-parse", "--verify", "--quiet", "--end-of-options", &revision], &[])?;
    let line = printed.line();
    let is_name = matches!(line.len(), 40 | 64) && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok((printed.succeeded() && is_name).then_some(line))
}

/// No such revision.
pub(crate) fn unknown_revision(revision: &str) -> Failure {
    Failure::new(
        "not_found",
        format!("the repository knows no commit `{}`; git_log lists commits", plain_text::one_line(revision)),
    )
}

/// A path as git takes it, from the workspace and letter by letter.
pub(crate) fn pathspec(path: &WorkspacePath) -> String {
    if path.is_workspace() { ":(top)".to_owned() } else { format!(":(top,literal){}", path.as_str()) }
}

/// What leaves the masked files of a repository out, after other paths. Each is a pattern that fits it alone and begins with an
/// escape: of a literal one, `git add` takes what it ignores for named, and refuses (`exclude_matches_pathspec`, dir.c), and so
/// it does with one in a submodule (`die_path_inside_submodule`, pathspec.c).
pub(crate) fn without_masked(repository: &Repository) -> Vec<String> {
    let escaped = |path: &WorkspacePath| -> String {
        let letters = path.as_str().chars().enumerate();
        letters
            .flat_map(|(place, letter)| {
                let escape = (place == 0 || matches!(letter, '*' | '?' | '[' | '\\')).then_some('\\');
                escape.into_iter().chain([letter])
            })
            .collect()
    };
    repository.masked.iter().map(|path| format!(":(exclude,top,glob){}", escaped(path))).collect()
}

/// Takes the masked files out of a status. Gives a sentence about it, if there were any.
pub(crate) fn leave_out_masked(entries: &mut Vec<Entry>, repository: &Repository) -> Vec<String> {
    let before = entries.len();
    entries.retain(|entry| !repository.masked.iter().any(|path| path.as_str() == entry.path));
    masked_are_left_out(before - entries.len())
}

/// A sentence about masked files that are not as the commit has them. Whether that is the mask alone or a change of the
/// session's that waits for a person, git inside cannot tell.
pub(crate) fn masked_are_left_out(count: usize) -> Vec<String> {
    let which = match count {
        0 => return Vec::new(),
        1 => "A file that holds credentials is left out: it is".to_owned(),
        count => format!("{count} files that hold credentials are left out: they are"),
    };
    vec![format!(
        "{which} masked here, and no commit takes what the view has there; list_changes shows what you changed."
    )]
}

/// What the server knows of the repository.
pub(crate) fn repository(sandbox: &dyn Sandbox) -> Result<Repository, Failure> {
    sandbox.repository().cloned().ok_or_else(|| Failure::new("not_planned", "the sandbox is not for git"))
}

/// Enough of a commit's name for a reader.
pub(crate) fn short(commit: &str) -> &str {
    excerpt::prefix(commit, 12)
}

/// Bytes as text for a reader: what is not text is replaced, what cannot be seen is escaped.
pub(crate) fn shown(bytes: &[u8]) -> String {
    plain_text::content(&String::from_utf8_lossy(bytes)).0
}
