//! What a project's folder holds: the names in it and the texts of small files, for telling which tools it uses.

use cofferdam_contract::{EntryKind, Ignoring, ListFiles, Sandbox, Window, WorkspacePath};

use crate::{Failure, list_files, project_signs::ENVIRONMENTS, read_file};

/// Names in a folder, relative to it, without ignored files when it is looked at in depth.
pub(crate) fn names(
    sandbox: &mut dyn Sandbox,
    directory: &WorkspacePath,
    glob: Option<&str>,
    depth: u32,
) -> Result<Vec<String>, Failure> {
    let request = ListFiles {
        path: directory.clone(),
        glob: glob.map(str::to_owned),
        depth,
        offset: 0,
        max_entries: 5_000,
        ignoring: if depth > 1 { Ignoring::Everywhere } else { Ignoring::Nowhere },
    };
    let listing = list_files::list(sandbox, request)?;
    let prefix = if directory.is_workspace() { String::new() } else { format!("{}/", directory.as_str()) };
    let files = listing.entries.into_iter().filter(|entry| {
        entry.kind != EntryKind::Folder
            || (depth == 1 && entry.path.rsplit('/').next().is_some_and(|name| ENVIRONMENTS.contains(&name)))
    });
    let below = files.filter_map(|entry| entry.path.strip_prefix(&prefix).map(str::to_owned));
    Ok(below.filter(|path| !path.split('/').any(|name| name == "node_modules" || name == "site-packages")).collect())
}

/// The text of a small file.
pub(crate) fn text(sandbox: &mut dyn Sandbox, path: &WorkspacePath) -> Result<String, Failure> {
    let content = read_file::read(sandbox, path, Window::Bytes, 1024 * 1024)?;
    Ok(String::from_utf8_lossy(&content.bytes).into_owned())
}
