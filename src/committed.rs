//! A commit that a call made: it comes out of its sandbox after the tool is done, or the whole call has failed.

use std::collections::BTreeSet;

use cofferdam_sandboxes::{Closed, HandedBack, RepositoryError, Session, TreePath, Yard};
use cofferdam_tools::{Failure, Output};
use serde_json::Value;

use crate::{call::failure, cli::terminal::causes, run::Run};

/// Files that git writes when it commits, below `.git`. Objects come out as a pack, the rest is the session's own.
const WRITTEN: [&str; 7] = ["objects", "index", "logs", "refs", "HEAD", "COMMIT_EDITMSG", "ORIG_HEAD"];

/// Held paths that a note names.
const NAMED: usize = 10;

/// Takes the commit into the person's repository, and tells what a reader of `output` would not know.
pub(crate) fn take(
    output: &mut Output,
    closed: &Closed,
    session: &Session,
    yard: &Yard,
    run: &Run,
) -> Result<(), Failure> {
    let failed = |text: String| failure("commit_failed", format!("git made the commit in the sandbox, but {text}"));
    let git = yard.host_git(session).map_err(|error| failed(causes(&error)))?;
    let taken = session.take_commit(closed, &run.call().0, &git, run.cancel());
    let taken = taken.map_err(|error| failed(causes(&error)))?;
    let told = output.structured.get("commit").and_then(Value::as_str);
    match taken {
        Some(committed) if told == Some(committed.commit.as_str()) => {}
        // What a tool tells comes from inside, and the branch is what counts.
        Some(_) | None => return Err(failed("its branch names another one; nothing is kept".to_owned())),
    }
    output.add_notes(held(output, session));
    Ok(())
}

/// A note about files of the commit that wait for a person.
fn held(output: &Output, session: &Session) -> Vec<String> {
    let files = output.structured.get("files").and_then(Value::as_array);
    let files: BTreeSet<&str> = files.into_iter().flatten().filter_map(|file| file.get("path")?.as_str()).collect();
    let held = session.held().unwrap_or_default();
    let paths: Vec<String> = held.iter().map(|held| held.change.path.to_string()).collect();
    let waiting: Vec<&String> = paths.iter().filter(|path| files.contains(path.as_str())).collect();
    if waiting.is_empty() {
        return Vec::new();
    }
    let named: Vec<&str> = waiting.iter().take(NAMED).map(|path| path.as_str()).collect();
    let more = waiting.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    vec![format!(
        "the commit holds changes that wait for a person, who applies them before they can take it: {}{more}.",
        named.join(", ")
    )]
}

/// Leaves out of `handed` what git writes for every commit.
pub(crate) fn leave_out_bookkeeping(handed: &mut HandedBack) {
    let is_written = |path: &TreePath| {
        let mut names = path.as_path().iter().map(|name| name.to_string_lossy());
        names.next().is_some_and(|name| name == ".git") && names.next().is_none_or(|name| WRITTEN.contains(&&*name))
    };
    handed.left.retain(|change| !is_written(&change.path));
}

/// Why git cannot be used, as a result.
pub(crate) fn unusable(error: &RepositoryError) -> Failure {
    let code = match error {
        RepositoryError::Missing | RepositoryError::Below { .. } | RepositoryError::Bare => "no_repository",
        RepositoryError::Moved(_) => "moved",
        RepositoryError::Worktree { .. }
        | RepositoryError::Submodule { .. }
        | RepositoryError::Elsewhere { .. }
        | RepositoryError::NotFolder
        | RepositoryError::Borrows
        | RepositoryError::Storage(_)
        | RepositoryError::Odd { .. }
        | RepositoryError::Read { .. }
        | RepositoryError::UnderWay(_)
        | RepositoryError::OtherOwner { .. }
        | RepositoryError::NoGit
        | RepositoryError::Git(_)
        | RepositoryError::Session(_) => "repository",
    };
    failure(code, causes(error))
}
