//! What a path that a call names is, and the folder in which a project around it is looked for.

use cofferdam_contract::{EntryKind, Sandbox, Status, WorkspacePath};

use crate::{Failure, change, folders};

/// A part of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A file.
    File(WorkspacePath),
    /// A folder.
    Folder(WorkspacePath),
}

impl Part {
    /// What is at `path`.
    ///
    /// # Errors
    /// `not_found` when nothing is.
    pub(crate) fn at(sandbox: &mut dyn Sandbox, path: &WorkspacePath) -> Result<Self, Failure> {
        match change::status(sandbox, path)? {
            None => Err(Failure::new("not_found", format!("`{path}` does not exist; look with list_files"))),
            Some(Status { kind: EntryKind::Folder, .. }) => Ok(Self::Folder(path.clone())),
            Some(Status { kind: EntryKind::File | EntryKind::Link(_) | EntryKind::Other, .. }) => {
                Ok(Self::File(path.clone()))
            }
        }
    }

    pub(crate) fn path(&self) -> &WorkspacePath {
        match self {
            Self::File(path) | Self::Folder(path) => path,
        }
    }

    /// The folder itself, or the one that the file is in, and all above it.
    pub(crate) fn folders(&self) -> Vec<WorkspacePath> {
        let ancestors = folders::ancestors(self.path());
        match self {
            Self::File(_) if ancestors.len() > 1 => ancestors.into_iter().skip(1).collect(),
            Self::File(_) | Self::Folder(_) => ancestors,
        }
    }

    /// Whether it is this folder.
    pub(crate) fn is_folder(&self, directory: &WorkspacePath) -> bool {
        matches!(self, Self::Folder(folder) if folder == directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder_sandbox::FolderSandbox;

    #[test]
    fn a_project_is_looked_for_from_the_folder_upwards() {
        let sandbox = FolderSandbox::new(&[("a/b/file", ""), ("top", "")]);
        let folders = |path: &str| {
            let path = WorkspacePath::try_from(path.to_owned()).unwrap();
            Part::at(&mut &sandbox, &path)
                .map(|part| part.folders().iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(folders("a/b/file").unwrap(), ["a/b", "a", "."]);
        assert_eq!(folders("a/b").unwrap(), ["a/b", "a", "."]);
        assert_eq!(folders("top").unwrap(), ["."]);
        assert_eq!(folders("a/none").unwrap_err().code, "not_found");
    }
}
