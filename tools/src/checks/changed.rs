//! Which files a program changed, told by the view itself: files that are newer than a mark made before it ran.
//!
//! Tools that change files tell of it each in their own words, in words that change from version to version, or not at
//! all. The times of files do not depend on any of that. What is told so is for reading: what comes back to the workspace
//! is found by the server, from the view.

use std::collections::BTreeMap;

use cofferdam_contract::{CACHE_FOLDERS, Command, SCRATCH_FOLDERS, Sandbox, Stream, WorkspacePath};

use crate::{Failure, plain_text, transcript::Transcript};

/// The mark, in the sandbox's own temporary folder.
const MARK: &str = "/tmp/cofferdam-before";

/// What lies in no such folder and is none of the project's own files either: git's, and what tsc builds on.
const PASSED_OVER: [&str; 2] = [".git", ".tsbuildinfo"];

/// A moment before a program ran.
pub(crate) struct Mark(());

impl Mark {
    /// Makes the mark; `None` where the sandbox lacks the programs to do so.
    pub(crate) fn set(sandbox: &mut dyn Sandbox) -> Result<Option<Self>, Failure> {
        if sandbox.find_program("touch")?.is_none() || sandbox.find_program("find")?.is_none() {
            return Ok(None);
        }
        let made = Transcript::execute(sandbox, &command("touch", &[MARK], &WorkspacePath::workspace()))?;
        Ok(made.succeeded().then_some(Self(())))
    }

    /// The files with one of these endings that were written since; with none, all of them.
    pub(crate) fn changed_of(
        &self,
        sandbox: &mut dyn Sandbox,
        extensions: &[&str],
    ) -> Result<Option<Vec<String>>, Failure> {
        let is_of = |path: &String| {
            let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
            extensions.is_empty() || extensions.contains(&extension)
        };
        Ok(self.changed(sandbox)?.map(|changed| changed.into_iter().filter(is_of).collect()))
    }

    /// The files that were written since, relative to the workspace, in order; `None` when that cannot be told.
    pub(crate) fn changed(&self, sandbox: &mut dyn Sandbox) -> Result<Option<Vec<String>>, Failure> {
        let newer = ["-newer", MARK, "-type", "f", "-print0"];
        let listed = find(sandbox, &PASSED_OVER, &newer)?;
        if !listed.succeeded() || listed.omitted > 0 {
            return Ok(None);
        }
        let bytes = listed.stream(Stream::Stdout);
        let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let names = names.map(|name| String::from_utf8_lossy(name).into_owned());
        let mut names: Vec<String> = names.map(|name| plain_text::content(name.trim_start_matches("./")).0).collect();
        names.sort();
        Ok(Some(names))
    }
}

/// Searches the workspace by `find`, and passes over what holds no files of the project's own, and over `names`.
pub(super) fn find(sandbox: &mut dyn Sandbox, names: &[&str], wanted: &[&str]) -> Result<Transcript, Failure> {
    let mut arguments = vec![".", "("];
    for (at, name) in SCRATCH_FOLDERS.iter().chain(&CACHE_FOLDERS).chain(names).enumerate() {
        arguments.extend((at > 0).then_some("-o"));
        arguments.extend(["-name", name]);
    }
    arguments.extend([")", "-prune", "-o"]);
    arguments.extend(wanted);
    Transcript::execute(sandbox, &command("find", &arguments, &WorkspacePath::workspace()))
}

pub(super) fn command(program: &str, arguments: &[&str], directory: &WorkspacePath) -> Command {
    Command {
        program: program.to_owned(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        directory: directory.clone(),
        environment: BTreeMap::new(),
    }
}
