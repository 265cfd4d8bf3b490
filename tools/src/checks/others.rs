//! Formatting beside files that the formatter may not write: another user's, or read-only ones.
//!
//! One of them makes a formatter fail, and some then write nothing else. Inside a sandbox such a file can neither be
//! written nor replaced (the kernel refuses to remove what belongs to a user whom it does not know there). So the project's
//! files are copied to a folder in the sandbox's view, the formatter runs there, and what it changed is copied back where
//! that is allowed. The folder is gone before anything is handed back. All is done by ordinary programs with the sandbox's
//! own rights.

use std::collections::{BTreeMap, BTreeSet};

use cofferdam_contract::{Sandbox, Stream, WorkspacePath};

use crate::{Failure, change, folders, plain_text, transcript::Transcript};

use super::changed::{Mark, command, find};

/// The folder of the copies.
const COPIES: &str = ".cofferdam-format";

/// Files larger than this are not copied: `find`'s word for 1 MiB. Nobody formats them.
const LARGEST: &str = "-1025k";

/// Paths that one program is given at most, so that they fit into its arguments: 200 of 4,096 bytes (`PATH_MAX`) are 800 KiB,
/// and Linux takes 2 MiB at the usual stack limit (execve(2), a quarter of it).
const AT_ONCE: usize = 200;

/// Files that are named in a note at most.
const NAMED: usize = 10;

/// Copies of the workspace's files, with those that may not be written.
pub(crate) struct Copies {
    folder: WorkspacePath,
    /// Why each may not be.
    unwritable: BTreeMap<String, &'static str>,
    mark: Mark,
}

/// Files that may not be written, at least one, and why each may not be.
pub(crate) struct Unwritable(BTreeMap<String, &'static str>);

impl Unwritable {
    /// Finds those with one of these endings (with none, any file); `None` where every one may be written, or the sandbox
    /// lacks the programs to work beside them.
    pub(crate) fn find(sandbox: &mut dyn Sandbox, extensions: &[&str]) -> Result<Option<Self>, Failure> {
        for program in ["find", "id", "cp", "rm", "chmod", "mkdir", "ln"] {
            if sandbox.find_program(program)?.is_none() {
                return Ok(None);
            }
        }
        let found = unwritable(sandbox, extensions)?;
        Ok((!found.is_empty()).then_some(Self(found)))
    }
}

impl Copies {
    /// Makes them; `None` where they cannot be.
    pub(crate) fn make(sandbox: &mut dyn Sandbox, Unwritable(unwritable): Unwritable) -> Result<Option<Self>, Failure> {
        let folder = folders::join(&WorkspacePath::workspace(), COPIES);
        if change::status(sandbox, &folder)?.is_some() {
            return Ok(None);
        }
        execute(sandbox, "mkdir", &[COPIES])?;
        let copy =
            ["-type", "f", "-size", LARGEST, "-readable", "-exec", "cp", "--parents", "-t", COPIES, "--", "{}", "+"];
        let copied = find(sandbox, &[".git", COPIES], &copy)?.succeeded()
            && execute(sandbox, "chmod", &["-R", "u+rwX", COPIES])?.succeeded();
        // Settings and plug-ins of formatters lie there.
        let packages = folders::join(&WorkspacePath::workspace(), "node_modules");
        if change::status(sandbox, &packages)?.is_some() {
            execute(sandbox, "ln", &["-s", "../node_modules", &format!("{COPIES}/node_modules")])?;
        }
        match Mark::set(sandbox)? {
            Some(mark) if copied => Ok(Some(Self { folder, unwritable, mark })),
            Some(_) | None => {
                remove(sandbox)?;
                Ok(None)
            }
        }
    }

    /// The copy of a folder.
    pub(crate) fn of(&self, directory: &WorkspacePath) -> WorkspacePath {
        if directory.is_workspace() { self.folder.clone() } else { folders::join(&self.folder, directory.as_str()) }
    }

    /// What a program said in the copies, as if it had been said in the workspace.
    pub(crate) fn without(text: &str) -> String {
        text.replace(&format!("{COPIES}/"), "")
    }

    /// Copies back what changed, if that is wanted, and removes the copies. Gives the files that changed, or would, and what
    /// is to be said of those that may not be written.
    pub(crate) fn bring_back(
        self,
        sandbox: &mut dyn Sandbox,
        extensions: &[&str],
        writing: Writing,
    ) -> Result<(Vec<String>, Vec<String>), Failure> {
        let changed = self.mark.changed_of(sandbox, extensions)?;
        let Some(changed) = changed else {
            return Err(Failure::new("failed", "what was formatted cannot be told; nothing comes back. Try again"));
        };
        let changed: BTreeSet<String> =
            changed.iter().filter_map(|path| path.strip_prefix(&format!("{COPIES}/"))).map(str::to_owned).collect();
        let (left, rest): (Vec<&String>, Vec<&String>) =
            changed.iter().partition(|path| self.unwritable.contains_key(*path));
        match writing {
            Writing::Done => {
                for some in rest.chunks(AT_ONCE) {
                    let paths = some.iter().map(|path| path.as_str());
                    let arguments: Vec<&str> = ["--parents", "-t", "..", "--"].into_iter().chain(paths).collect();
                    let copied = Transcript::execute(sandbox, &command("cp", &arguments, &self.folder))?;
                    if !copied.succeeded() {
                        let said = copied.shown();
                        let text =
                            format!("what was formatted could not be written: {}; nothing comes back", said.trim());
                        return Err(Failure::new("failed", text));
                    }
                }
            }
            Writing::Told => {}
        }
        remove(sandbox)?;
        let mut by_reason: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for path in left.iter().copied() {
            by_reason.entry(self.unwritable.get(path).copied().unwrap_or_default()).or_default().push(path);
        }
        let told = by_reason.into_iter().map(|(why, paths)| {
            let more = match paths.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named: Vec<String> =
                paths.iter().take(NAMED).map(|path| format!("`{}`", plain_text::content(path).0)).collect();
            let named = named.join(", ");
            format!("may not be written and stays as it is, beside the rest: {named}{more}. {why}")
        });
        let told = told.collect();
        let listed = match writing {
            Writing::Done => rest.into_iter().cloned().collect(),
            Writing::Told => changed.iter().cloned().collect(),
        };
        Ok((listed, told))
    }
}

/// Whether files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// They are.
    Done,
    /// It is only told which would be.
    Told,
}

fn remove(sandbox: &mut dyn Sandbox) -> Result<(), Failure> {
    if execute(sandbox, "rm", &["-rf", "--", COPIES])?.succeeded() {
        return Ok(());
    }
    Err(Failure::new("failed", "the copies that were formatted could not be removed; nothing comes back"))
}

/// The files with one of these endings that may not be written, and why.
fn unwritable(sandbox: &mut dyn Sandbox, extensions: &[&str]) -> Result<BTreeMap<String, &'static str>, Failure> {
    let own = execute(sandbox, "id", &["-u"])?.stream(Stream::Stdout);
    let own = String::from_utf8_lossy(&own).trim().to_owned();
    let listed = find(sandbox, &[".git"], &["-type", "f", "!", "-writable", "-printf", "%U %P\\0"])?;
    if !listed.succeeded() || listed.omitted > 0 {
        return Ok(BTreeMap::new());
    }
    let bytes = listed.stream(Stream::Stdout);
    let lines = bytes.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok()?.split_once(' '));
    let files = lines.filter(|(_, path)| {
        let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
        extensions.is_empty() || extensions.contains(&extension)
    });
    let files = files.map(|(owner, path)| {
        // As for other tools' refusals: GNU chown changes links themselves when it is recursive (chown(1), `-R`, `-P`).
        let why = if owner == own {
            "The permissions forbid writing; a person can change them"
        } else {
            "It belongs to another user or group; a person can mend that with `chown -R --reference=. .` in the workspace folder"
        };
        (path.to_owned(), why)
    });
    Ok(files.collect())
}

fn execute(sandbox: &mut dyn Sandbox, program: &str, arguments: &[&str]) -> Result<Transcript, Failure> {
    Transcript::execute(sandbox, &command(program, arguments, &WorkspacePath::workspace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_in_the_copies_is_said_of_the_workspace() {
        assert_eq!(Copies::without("/w/.cofferdam-format/src/a.rs:1"), "/w/src/a.rs:1");
    }
}
