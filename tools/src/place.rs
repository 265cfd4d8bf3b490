//! Paths as a project's own programs write them, turned into paths of the workspace.

use cofferdam_contract::WorkspacePath;

use crate::plain_text;

/// Where a program ran.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The workspace's absolute path.
    pub(crate) workspace: &'a str,
    /// The working directory.
    pub(crate) directory: &'a WorkspacePath,
}

impl Place<'_> {
    /// A path that a runner wrote, relative to the workspace; `None` when it is not in it.
    pub(crate) fn relative(&self, path: &str) -> Option<String> {
        let path = path.strip_prefix("file://").unwrap_or(path);
        let absolute = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{}/{path}", self.workspace, self.directory.as_str())
        };
        let path = WorkspacePath::parse(&absolute, self.workspace).ok().filter(|path| !path.is_workspace())?;
        Some(path.to_string())
    }

    /// A test's name without the workspace's path: node names a test file by its absolute path.
    pub(crate) fn name(&self, name: &str) -> String {
        let prefix = match self.directory.as_str() {
            "" => format!("{}/", self.workspace),
            directory => format!("{}/{directory}/", self.workspace),
        };
        let name = name.strip_prefix(&prefix).unwrap_or(name);
        plain_text::content(name).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_runners_become_paths_of_the_workspace() {
        let directory = WorkspacePath::parse("sub", "/work").unwrap();
        let place = Place { workspace: "/work", directory: &directory };
        assert_eq!(place.relative("/work/sub/a.py").as_deref(), Some("sub/a.py"));
        assert_eq!(place.relative("file:///work/a.mjs").as_deref(), Some("a.mjs"));
        assert_eq!(place.relative("test/b.js").as_deref(), Some("sub/test/b.js"));
        assert_eq!(place.relative("/usr/lib/python3/x.py"), None);
        assert_eq!(place.relative("../../x"), None);
    }
}
