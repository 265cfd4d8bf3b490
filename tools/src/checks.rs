//! What `lint`, `format`, `check_types` and `build` share: each finds the project's own tool, runs it, and reads what it
//! says into one form.
//!
//! As with tests, nothing of a project decides what is executed but which of a few known tools it uses: there is no shell
//! of ours, arguments are handed over one by one. Scripts of `package.json` and targets of a makefile are the project's
//! own commands, run by `npm` and `make`.

pub(crate) mod changed;
pub(crate) mod choice;
pub(crate) mod diagnostic;
pub(crate) mod others;
pub(crate) mod read;
pub(crate) mod report;

use cofferdam_contract::{Command, HandBack, Limits, WorkspacePath};

use self::choice::{Chosen, Kind};
use crate::part::Part;

/// Seconds that a run may take when the call does not say.
pub(crate) const DEFAULT_SECONDS: u64 = 600;

/// Output that is kept of a run, in KiB: machine formats say much about each thing.
const OUTPUT_KB: u64 = 16 * 1024;

/// The limits of a run that may take so long.
pub(crate) fn limits(timeout_seconds: Option<u64>) -> Limits {
    let seconds = timeout_seconds.unwrap_or(DEFAULT_SECONDS);
    Limits {
        wall_seconds: seconds,
        cpu_seconds: Limits::TESTS.cpu_seconds.max(seconds.saturating_mul(3)),
        output_kb: OUTPUT_KB,
        ..Limits::TESTS
    }
}

/// What a tool that mends or formats files of these endings may bring back: below a path that was named, or everywhere.
pub(crate) fn mended(path: Option<&WorkspacePath>, extensions: &[&str]) -> HandBack {
    match path.filter(|path| !path.is_workspace()) {
        Some(path) => HandBack::Paths(vec![path.clone()]),
        // Manifests say which tool a project is for, and none of these tools changes them.
        None => {
            let changed = extensions.iter().filter(|extension| !matches!(**extension, "toml" | "mod"));
            HandBack::Matching(changed.map(|extension| format!("**/*.{extension}")).collect())
        }
    }
}

/// Lists of endings, one after the other, `N` in all.
pub(crate) const fn joined<const N: usize>(lists: &[&[&'static str]]) -> [&'static str; N] {
    let mut all = [""; N];
    let (mut list, mut filled) = (0, 0);
    while list < lists.len() {
        let mut at = 0;
        while at < lists[list].len() {
            all[filled] = lists[list][at];
            (at, filled) = (at + 1, filled + 1);
        }
        list += 1;
    }
    assert!(filled == N, "as many endings as are said");
    all
}

/// The endings of JavaScript's and TypeScript's files.
pub(crate) const SCRIPTS: &[&str] = &["js", "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx", "vue", "svelte"];

/// The endings of Python's files.
pub(crate) const PYTHON: &[&str] = &["py", "pyi", "ipynb"];

/// A command of the chosen tool, in the project's folder.
pub(crate) fn command<T: Kind>(chosen: &Chosen<T>, arguments: &[&str]) -> Command {
    Command {
        program: chosen.program.clone(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        directory: chosen.directory.clone(),
        environment: crate::run_tests::cargo::quiet(),
    }
}

/// A command of cargo, which also starts its own subcommands.
pub(crate) fn cargo_command<T: Kind>(chosen: &Chosen<T>, arguments: &[&str]) -> Command {
    Command { program: "cargo".to_owned(), ..command(chosen, arguments) }
}

/// `./...`, or the packages of a part.
pub(crate) fn go_packages<T: Kind>(chosen: &Chosen<T>) -> String {
    match &chosen.part {
        None => "./...".to_owned(),
        Some(Part::Folder(folder)) => {
            format!("./{}/...", crate::folders::relative(folder, &chosen.directory).trim_start_matches("./"))
        }
        Some(Part::File(file)) => {
            let relative = crate::folders::relative(file, &chosen.directory);
            let folder = relative.trim_start_matches("./").rsplit_once('/').map_or("", |(folder, _)| folder);
            if folder.is_empty() { ".".to_owned() } else { format!("./{folder}") }
        }
    }
}

/// The note about other tools that fit, when the call names none.
pub(crate) fn others_note<T: Kind>(chosen: &Chosen<T>, wanted: Option<T>) -> Option<String> {
    if wanted.is_some() || chosen.others.is_empty() {
        return None;
    }
    let others: Vec<&str> = chosen.others.iter().map(|other| other.name()).collect();
    Some(format!("the project also fits {}; choose with the argument tool", others.join(", ")))
}

#[cfg(test)]
mod recorded_output_tests;
