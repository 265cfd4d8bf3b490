//! Which of vitest, jest and mocha a package's test script runs, and with which options.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    node_script::{Quoting, parts, script_name, words},
    runner::Runner,
};

/// What a script gives its runner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ScriptRunner {
    /// Options, but for those that choose what is printed or watch for changes.
    pub(super) options: Vec<String>,
    /// Files, folders and globs.
    pub(super) files: Vec<String>,
    /// Variables that the script sets for it.
    pub(super) environment: BTreeMap<String, String>,
}

/// Scripts that are followed from one to another at most.
const DEPTH: usize = 4;

/// Options that are not the script's to choose here, with whether they take the next word.
const OURS: [(&str, bool); 22] = [
    ("--watch", false),
    ("--watchAll", false),
    ("-w", false),
    ("--reporter", true),
    ("--reporters", true),
    ("-R", true),
    ("--reporter-option", true),
    ("--reporter-options", true),
    ("-O", true),
    ("--json", false),
    ("--outputFile", true),
    ("--verbose", false),
    ("--silent", false),
    ("--coverage", false),
    ("--collectCoverage", false),
    ("--coverageReporters", true),
    ("--colors", false),
    ("--color", false),
    ("--no-color", false),
    ("--ui", false),
    ("--open", false),
    ("--notify", false),
];

/// Options that take the next word as their value.
const WITH_VALUE: [&str; 18] = [
    "-c",
    "--config",
    "-r",
    "--require",
    "--import",
    "--loader",
    "-t",
    "--timeout",
    "--spec",
    "--ignore",
    "--extension",
    "--file",
    "--project",
    "--root",
    "--dir",
    "--env",
    "--environment",
    "--maxWorkers",
];

/// The runner of a `package.json`'s test script, of the three that are known here.
pub(super) fn of_package(package: &Value) -> Option<(Runner, ScriptRunner)> {
    let scripts = package.get("scripts")?;
    follow(scripts.get("test")?.as_str()?, scripts, DEPTH)
}

fn follow(script: &str, scripts: &Value, depth: usize) -> Option<(Runner, ScriptRunner)> {
    parts(script).find_map(|part| {
        let words = words(part)?;
        let mut found = ScriptRunner::default();
        let mut rest = words.as_slice();
        while let Some(((word, _), after)) = rest.split_first() {
            if let Some((name, value)) = variable(word) {
                found.environment.insert(name.to_owned(), value.to_owned());
                rest = after;
            } else if let Some(runner) = runner(word) {
                read(runner, after, &mut found);
                return Some((runner, found));
            } else if word == "node" {
                // `node --experimental-vm-modules node_modules/jest/bin/jest.js`: the options are node's own.
                let at = after.iter().position(|(word, _)| runner_file(word).is_some())?;
                let runner = runner_file(&after[at].0)?;
                let options: Vec<&str> = after[..at].iter().map(|(word, _)| word.as_str()).collect();
                if !options.is_empty() {
                    found.environment.insert("NODE_OPTIONS".to_owned(), options.join(" "));
                }
                read(runner, &after[at + 1..], &mut found);
                return Some((runner, found));
            } else if matches!(word.as_str(), "c8" | "nyc" | "cross-env" | "env" | "npx") {
                let begins = |word: &str| runner(word).is_some() || variable(word).is_some() || word == "node";
                let at = after.iter().position(|(word, _)| begins(word))?;
                rest = &after[at..];
            } else {
                let next = scripts.get(script_name(rest)?)?.as_str().filter(|_| depth > 0)?;
                return follow(next, scripts, depth - 1);
            }
        }
        None
    })
}

/// `NAME=value` before a command.
fn variable(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = !name.is_empty()
        && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_' || letter.is_ascii_digit());
    is_name.then_some((name, value))
}

fn runner(word: &str) -> Option<Runner> {
    match word.strip_prefix("./node_modules/.bin/").or(word.strip_prefix("node_modules/.bin/")).unwrap_or(word) {
        "vitest" => Some(Runner::Vitest),
        "jest" => Some(Runner::Jest),
        "mocha" | "_mocha" => Some(Runner::Mocha),
        _ => None,
    }
}

/// A runner's own file, as node is given it.
fn runner_file(word: &str) -> Option<Runner> {
    let is_in_packages = word.contains("node_modules/");
    let name = word.rsplit('/').next().unwrap_or_default();
    let name = name.strip_suffix(".js").or(name.strip_suffix(".mjs")).unwrap_or(name);
    runner(name).filter(|_| is_in_packages)
}

fn read(runner: Runner, words: &[(String, Quoting)], found: &mut ScriptRunner) {
    let mut words = words.iter();
    while let Some((word, _)) = words.next() {
        let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        // `--coverage.enabled` and the like.
        let name = name.split_once('.').map_or(name, |(name, _)| name);
        if let Some((_, takes_value)) = OURS.iter().find(|(ours, _)| *ours == name) {
            if *takes_value && !word.contains('=') {
                words.next();
            }
        } else if word.starts_with('-') {
            found.options.push(word.clone());
            if WITH_VALUE.contains(&word.as_str()) {
                found.options.extend(words.next().map(|(value, _)| value.clone()));
            }
        } else if runner == Runner::Vitest && matches!(word.as_str(), "run" | "watch" | "dev" | "--run") {
            // Which of these is ours to say: a run that ends.
        } else {
            // All three expand globs themselves.
            found.files.push(word.clone());
        }
    }
    found.options.retain(|option| option != "--run");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn found(test: &str) -> Option<(Runner, String)> {
        let package = json!({"scripts": {"test": test, "unit": "vitest run --coverage src"}});
        let (runner, ScriptRunner { options, files, environment }) = of_package(&package)?;
        let environment: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Some((runner, format!("{}|{}|{}", environment.join(" "), options.join(" "), files.join(" "))))
    }

    #[test]
    fn a_script_s_runner_keeps_its_options_and_variables() {
        let cases = [
            ("jest --ci --coverage --reporters default", Runner::Jest, "|--ci|"),
            ("NODE_ENV=test jest -c jest.ci.js", Runner::Jest, "NODE_ENV=test|-c jest.ci.js|"),
            ("npm run unit", Runner::Vitest, "||src"),
            ("vitest --run --reporter verbose", Runner::Vitest, "||"),
            ("c8 -r lcov mocha -R dot --exit 'test/**/*.js'", Runner::Mocha, "|--exit|test/**/*.js"),
            ("cross-env TZ=UTC mocha", Runner::Mocha, "TZ=UTC||"),
            ("eslint . && jest", Runner::Jest, "||"),
            (
                "node --experimental-vm-modules node_modules/jest/bin/jest.js --ci",
                Runner::Jest,
                "NODE_OPTIONS=--experimental-vm-modules|--ci|",
            ),
        ];
        for (script, runner, rest) in cases {
            assert_eq!(found(script), Some((runner, rest.to_owned())), "{script}");
        }
        for script in ["node --test", "ava", "npm run test", "jest $(x)", "node jest.js"] {
            assert_eq!(found(script), None, "{script}");
        }
    }

    proptest! {
        #[test]
        fn any_script_can_be_read(text: String) {
            found(&text);
        }
    }
}
