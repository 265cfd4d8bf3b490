//! What changing a file needs besides the change.

use cofferdam_contract::{
    EntryKind, FileRefusal, FileReply, FileRequest, Ignoring, ListFiles, RefusalKind, Sandbox, SandboxError, Status,
    WorkspacePath,
};

use crate::Failure;

/// What is at `path`; `None` when nothing is.
pub(crate) fn status(sandbox: &mut dyn Sandbox, path: &WorkspacePath) -> Result<Option<Status>, Failure> {
    match sandbox.file(FileRequest::Status(path.clone())) {
        Ok(FileReply::Status(status)) => Ok(Some(status)),
        Ok(_) => Err(Failure::other_reply()),
        Err(SandboxError::File(FileRefusal { kind: RefusalKind::NotFound, .. })) => Ok(None),
        // `a/b` where `a` is a file: there is no `a/b`, and what is wrong is told by the operation itself.
        Err(SandboxError::File(FileRefusal { kind: RefusalKind::WrongKind, .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a path with a link among the folders on its way.
///
/// A plan hands back the path that it names. A change behind a link is a change of another path, which would be left
/// out; so the agent is told to name the real one, and nothing is changed.
pub(crate) fn refuse_links_on_the_way(sandbox: &mut dyn Sandbox, path: &WorkspacePath) -> Result<(), Failure> {
    for (end, _) in path.as_str().match_indices('/') {
        let folder = WorkspacePath::try_from(path.as_str()[..end].to_owned())
            .expect("the beginning of a path, cut at a slash, is a path");
        match status(sandbox, &folder)? {
            Some(Status { kind: EntryKind::Link(target), .. }) => return Err(link(sandbox, &folder, &target)),
            Some(_) => {}
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Refuses a path that is a link or has one on its way.
pub(crate) fn refuse_links(sandbox: &mut dyn Sandbox, path: &WorkspacePath) -> Result<(), Failure> {
    refuse_links_on_the_way(sandbox, path)?;
    match status(sandbox, path)? {
        Some(Status { kind: EntryKind::Link(target), .. }) => Err(link(sandbox, path, &target)),
        Some(_) | None => Ok(()),
    }
}

fn link(sandbox: &mut dyn Sandbox, path: &WorkspacePath, target: &str) -> Failure {
    let target = crate::plain_text::one_line(target);
    // Where links lead is the guest's to tell; looking at what is in there is the operation that follows them.
    let behind = FileRequest::List(ListFiles {
        path: path.clone(),
        glob: None,
        depth: 1,
        offset: 0,
        max_entries: 0,
        ignoring: Ignoring::Nowhere,
    });
    match sandbox.file(behind) {
        Err(SandboxError::File(FileRefusal { kind: RefusalKind::LeadsOut, .. })) => Failure::new(
            "link",
            format!("`{path}` is a link to `{target}`, which leads out of the workspace; nothing can be changed there"),
        ),
        Err(SandboxError::Ended(ended)) => SandboxError::Ended(ended).into(),
        Ok(_) | Err(SandboxError::File(_) | SandboxError::NotPlanned { .. }) => Failure::new(
            "link",
            format!("`{path}` is a link to `{target}`; nothing was changed. Name the real path instead"),
        ),
    }
}

/// Refuses the workspace itself.
pub(crate) fn refuse_workspace(path: &WorkspacePath, name: &str) -> Result<(), crate::ArgumentError> {
    if path.is_workspace() {
        let text = format!("argument `{name}` is the workspace itself; name something in it");
        return Err(crate::ArgumentError::Combination(text));
    }
    Ok(())
}
