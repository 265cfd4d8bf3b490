//! Where a program is.
//!
//! Only absolute folders of the PATH count, and none in the workspace: a repository must not be able to put a program
//! of its own in the place of a tool's by its name. This is against accidents and planted files, it confines nothing.

use std::{
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{Access, FileType};

/// Finds a program by its name on the PATH of the guest's own environment.
pub(crate) fn on_path(name: &str, workspace: &Path) -> Option<PathBuf> {
    on(&std::env::var_os("PATH")?, name, workspace)
}

fn on(path: &OsStr, name: &str, workspace: &Path) -> Option<PathBuf> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return None;
    }
    std::env::split_paths(path)
        .filter(|folder| {
            let climbs = folder.components().any(|component| component == Component::ParentDir);
            folder.is_absolute() && !climbs && !folder.starts_with(workspace)
        })
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

/// Whether it is a regular file that may be executed; links are followed.
fn is_program(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
        && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn relative_and_workspace_folders_of_the_path_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path().join("work");
        for bin in ["work/bin", "bin"] {
            let bin = folder.path().join(bin);
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join("tool"), "").unwrap();
            std::fs::set_permissions(bin.join("tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::write(bin.join("text"), "").unwrap();
        }
        let found = |path: &str, name| on(OsStr::new(path), name, &workspace);
        let (inside, outside) = (workspace.join("bin"), folder.path().join("bin"));
        let (inside, outside) = (inside.display(), outside.display());
        assert_eq!(found(&format!("{inside}:.:bin::{outside}"), "tool"), Some(folder.path().join("bin/tool")));
        assert_eq!(found(&format!("{outside}/../work/bin:{inside}"), "tool"), None);
        for name in ["text", "missing", "", ".", "..", "../bin/tool", "bin/tool"] {
            assert_eq!(found(&outside.to_string(), name), None, "{name}");
        }
    }
}
