//! For a person who takes a commit: which files of the working tree are not what the commit has. Filters of the repository
//! run for that, so it is asked inside.

use std::collections::BTreeMap;

use cofferdam_contract::{Command, Exit, Sandbox, SandboxError, WorkspacePath};

use super::{Access, failed, run};
use crate::Failure;

/// Where the index for the comparison lies: the view is read-only, and `/tmp` is the sandbox's own.
const INDEX: &str = "/tmp/cofferdam-index";

/// The files of the working tree that differ from the commit `new`, as git finds them, when its index is moved there from
/// `old`, byte for byte. Files that git does not track are not among them.
///
/// # Errors
/// A [`Failure`] that says why git could not tell.
pub fn differing_files(sandbox: &mut dyn Sandbox, old: &str, new: &str) -> Result<Vec<Vec<u8>>, Failure> {
    // With its times: git takes a file that is younger than the index for changed (racy-git(5) in git's documentation).
    let copy = Command {
        program: "cp".to_owned(),
        arguments: ["-p", "--", ".git/index", INDEX].map(str::to_owned).to_vec(),
        directory: WorkspacePath::workspace(),
        environment: BTreeMap::new(),
    };
    match sandbox.execute(&copy, &mut |_, _| {}) {
        // Without an index, as before the first commit, every file is compared.
        Ok(Exit::Code(_) | Exit::Signal(_)) | Err(SandboxError::File(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let index = [("GIT_INDEX_FILE", INDEX)];
    let moved = run(sandbox, Access::Write, &["read-tree", "-i", "-m", old, new], &index)?;
    if !moved.succeeded() {
        return Err(failed(&moved));
    }
    let arguments = ["diff", "--name-only", "-z", "--no-ext-diff", "--no-renames", "--ignore-submodules=dirty"];
    let printed = run(sandbox, Access::Read, &arguments, &index)?;
    if !printed.succeeded() || printed.omitted > 0 {
        return Err(failed(&printed));
    }
    Ok(printed.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect())
}
