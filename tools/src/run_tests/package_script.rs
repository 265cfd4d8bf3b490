//! The test script of a `package.json`, run as it is by the package's own manager: for packages whose script comes to no
//! runner that is known here. Like a makefile's target it is the project's own command, and only its end tells anything.

use cofferdam_contract::{Command, Sandbox, WorkspacePath};
use serde_json::Value;

use crate::{Failure, project_signs::Signs};

/// What runs a package's scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Manager {
    #[default]
    Npm,
    Pnpm,
    Yarn,
    Bun,
}

impl Manager {
    /// The one that a package names, else the one whose lock file lies beside it.
    pub(super) fn of(signs: &Signs) -> Self {
        let named = signs.package().and_then(|package| package.get("packageManager")).and_then(Value::as_str);
        let named = named.and_then(|named| named.split('@').next()).unwrap_or_default();
        let by_name =
            [Self::Npm, Self::Pnpm, Self::Yarn, Self::Bun].into_iter().find(|manager| manager.program() == named);
        let locks = [
            ("pnpm-lock.yaml", Self::Pnpm),
            ("yarn.lock", Self::Yarn),
            ("bun.lock", Self::Bun),
            ("bun.lockb", Self::Bun),
        ];
        let by_lock = || locks.into_iter().find(|(lock, _)| signs.has(lock)).map(|(_, manager)| manager);
        by_name.or_else(by_lock).unwrap_or_default()
    }

    fn program(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
            Self::Bun => "bun",
        }
    }

    /// Its words for the script `test`. `bun test` would be a runner of its own.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Npm | Self::Pnpm | Self::Yarn => &["test"],
            Self::Bun => &["run", "test"],
        }
    }
}

/// The command that runs the script `test` in `directory`, and a note where another manager than the package's does it:
/// each can run any package's scripts.
pub(super) fn command(
    sandbox: &mut dyn Sandbox,
    manager: Manager,
    directory: &WorkspacePath,
) -> Result<(Command, Option<String>), Failure> {
    let mut note = None;
    let used = if sandbox.find_program(manager.program())?.is_some() {
        manager
    } else if manager != Manager::Npm && sandbox.find_program("npm")?.is_some() {
        let program = manager.program();
        note = Some(format!("the package is {program}'s, which the sandbox does not have; npm ran its script"));
        Manager::Npm
    } else {
        let text = format!(
            "the tests are the script `test` of the package.json in `{directory}`, and the sandbox has no `{}` on its PATH \
             to run it; ask the person to install it (`cofferdam doctor` tells what the sandbox finds)",
            manager.program()
        );
        return Err(Failure::new("no_runner", text));
    };
    let command = Command {
        program: used.program().to_owned(),
        arguments: used.words().iter().map(|word| (*word).to_owned()).collect(),
        directory: directory.clone(),
        environment: super::cargo::quiet(),
    };
    Ok((command, note))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder_sandbox::FolderSandbox;

    #[test]
    fn a_package_s_manager_is_the_one_that_it_names_or_whose_lock_file_it_has() {
        let manager = |files: &[(&str, &str)]| {
            let sandbox = FolderSandbox::new(files);
            Manager::of(&Signs::read(&mut &sandbox, &WorkspacePath::workspace()).unwrap())
        };
        assert_eq!(manager(&[("package.json", "{}")]), Manager::Npm);
        assert_eq!(manager(&[("package.json", "{}"), ("pnpm-lock.yaml", "")]), Manager::Pnpm);
        assert_eq!(manager(&[("package.json", "{}"), ("yarn.lock", "")]), Manager::Yarn);
        assert_eq!(manager(&[("package.json", "{}"), ("bun.lock", "")]), Manager::Bun);
        let named = [("package.json", r#"{"packageManager": "pnpm@9.1.0+sha512.x"}"#), ("yarn.lock", "")];
        assert_eq!(manager(&named), Manager::Pnpm);
        assert_eq!(manager(&[("package.json", r#"{"packageManager": "--x@1"}"#)]), Manager::Npm);
    }
}
