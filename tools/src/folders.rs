//! Folders above a path, and paths as seen from a folder: text only, nothing is looked up.

use cofferdam_contract::WorkspacePath;

/// A folder and all above it, up to the workspace.
pub(crate) fn ancestors(folder: &WorkspacePath) -> Vec<WorkspacePath> {
    let mut found = vec![folder.clone()];
    let mut rest = folder.as_str();
    while !rest.is_empty() {
        rest = rest.rfind('/').map_or("", |at| &rest[..at]);
        found.push(WorkspacePath::try_from(rest.to_owned()).expect("the beginning of a path at a slash is a path"));
    }
    found
}

/// A name below a folder.
pub(crate) fn join(folder: &WorkspacePath, name: &str) -> WorkspacePath {
    let path = if folder.is_workspace() { name.to_owned() } else { format!("{}/{name}", folder.as_str()) };
    WorkspacePath::try_from(path).unwrap_or_else(|_| folder.clone())
}

/// `path` as seen from `folder`, which is above it. Never begins with a dash or an at sign, which runners would take
/// for an option or a file of options.
pub(crate) fn relative(path: &WorkspacePath, folder: &WorkspacePath) -> String {
    let rest = if folder.is_workspace() {
        path.as_str()
    } else {
        path.as_str().strip_prefix(folder.as_str()).map_or(path.as_str(), |rest| rest.trim_start_matches('/'))
    };
    if rest.is_empty() {
        ".".to_owned()
    } else if rest.starts_with(['-', '@']) {
        format!("./{rest}")
    } else {
        rest.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> WorkspacePath {
        WorkspacePath::parse(text, "/work").unwrap()
    }

    #[test]
    fn ancestors_end_at_the_workspace() {
        let found: Vec<String> = ancestors(&path("a/b")).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["a/b", "a", "."]);
    }

    #[test]
    fn a_path_is_never_taken_for_an_option() {
        assert_eq!(relative(&path("a/b/c.py"), &path("a")), "b/c.py");
        assert_eq!(relative(&path("a"), &path("a")), ".");
        assert_eq!(relative(&path("-x/@y.py"), &path(".")), "./-x/@y.py");
        assert_eq!(relative(&path("a/@y.py"), &path("a")), "./@y.py");
    }
}
