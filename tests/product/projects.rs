//! `run_tests` on real published projects equals the runner itself, outside, in counts and names.
//!
//! `cargo xtask projects` fetches and prepares them. Each is run as it was published, and with two planted failures.

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::Path,
    process::{Command, Output},
    time::Instant,
};

use serde_json::{Value, json};

use crate::harness::{Place, repository};

/// Tests that a project must have to count as one.
const ENOUGH: u64 = 50;

/// What a test run showed, by whomever it was run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Seen {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Names of what failed.
    failures: BTreeSet<String>,
}

fn project(name: &str) -> Value {
    let output = repository::cargo().args(["run", "--quiet", "--package", "xtask", "--", "projects"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = list.as_array().unwrap().iter().find(|project| project["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("{name} is not among {list}"))
}

/// Compares one project both ways and prints its rows.
fn compare(name: &str, runner: &str) {
    let project = project(name);
    let folder = Path::new(project["folder"].as_str().unwrap());
    let language = project["language"].as_str().unwrap();
    let mut table = String::new();
    for planted in [false, true] {
        let inside = Place::copy_of(folder);
        let outside = Place::copy_of(folder);
        if planted {
            plant(&inside, language);
            plant(&outside, language);
        }
        let begun = Instant::now();
        let by_us = run_inside(&inside, runner);
        let middle = Instant::now();
        let by_runner = run_outside(&outside, runner);
        let title =
            format!("{name} {}{}", project["version"].as_str().unwrap(), if planted { " + 2 failures" } else { "" });
        writeln!(
            table,
            "{title:<48} {runner:<9} {:>5} {:>5} {:>5}   {:>5} {:>5} {:>5}   {:>5.1} s {:>5.1} s",
            by_us.passed,
            by_us.failed,
            by_us.skipped,
            by_runner.passed,
            by_runner.failed,
            by_runner.skipped,
            (middle - begun).as_secs_f64(),
            middle.elapsed().as_secs_f64(),
        )
        .unwrap();
        println!("{table}");
        assert_eq!(by_us, by_runner, "{title}");
        assert!(by_us.passed >= ENOUGH, "{title}");
        assert_eq!(by_us.failures.len(), if planted { 2 } else { 0 }, "{title}: {:?}", by_us.failures);
    }
}

/// Adds two tests that fail, as a person would write them.
fn plant(place: &Place, language: &str) {
    match language {
        "rust" => {
            let text = place.read("src/lib.rs");
            let tests = "\n#[cfg(test)]\nmod planted {\n    #[test]\n    fn planted_equality() {\n        \
                         assert_eq!(1 + 1, 3, \"planted\");\n    }\n\n    #[test]\n    fn planted_panic() {\n        \
                         panic!(\"planted\");\n    }\n}\n";
            place.write("src/lib.rs", &(text + tests));
        }
        "python" => place.write(
            "tests/test_planted.py",
            "import unittest\n\n\nclass Planted(unittest.TestCase):\n    def test_planted_equality(self):\n        \
             self.assertEqual(1 + 1, 3, 'planted')\n\n    def test_planted_failure(self):\n        \
             self.fail('planted')\n",
        ),
        "node" => place.write(
            "test/planted.test.js",
            "'use strict'\nconst assert = require('node:assert')\nconst { test } = require('node:test')\n\n\
             test('planted equality', () => {\n  assert.strictEqual(1 + 1, 3)\n})\n\n\
             test('planted error', () => {\n  throw new Error('planted')\n})\n",
        ),
        other => panic!("{other} is no language of ours"),
    }
}

fn run_inside(place: &Place, runner: &str) -> Seen {
    let (_, value) = place.call("run_tests", &json!({ "runner": runner, "timeout_seconds": 600 }));
    let report = &value["structured"];
    let number = |name: &str| report["counts"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {value}"));
    let failures = report["failures"].as_array().unwrap_or_else(|| panic!("no failures: {value}"));
    Seen {
        passed: number("passed"),
        // A runner's own summary counts errors apart; none may be.
        failed: number("failed") + number("errors"),
        skipped: number("skipped"),
        failures: failures.iter().map(|failure| failure["name"].as_str().unwrap().to_owned()).collect(),
    }
}

fn run_outside(place: &Place, runner: &str) -> Seen {
    let run = |program: &Path, arguments: &[&str]| -> Output {
        let mut command: Command = place.program(program);
        command.args(arguments).env("CI", "1").output().unwrap()
    };
    let environment = place.workspace().join(".venv/bin/python");
    let python = if environment.exists() { environment } else { "python3".into() };
    match runner {
        "cargo" => read_cargo(&run(Path::new("cargo"), &["test", "--offline", "--no-fail-fast"])),
        "pytest" => read_pytest(&run(&python, &["-m", "pytest", "-q", "-rA", "--tb=no", "--color=no"])),
        "unittest" => read_unittest(&run(&python, &["-m", "unittest"])),
        "node" => read_node(&run(Path::new("node"), &["--test", "--test-reporter=tap"])),
        other => panic!("{other} is no runner"),
    }
}

/// `test NAME ... ok` and the like; documentation's tests are written the same way.
fn read_cargo(output: &Output) -> Seen {
    let mut seen = Seen::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) else {
            continue;
        };
        match result.split([',', ' ']).next() {
            Some("ok") => seen.passed += 1,
            Some("ignored") => seen.skipped += 1,
            Some("FAILED") => {
                seen.failed += 1;
                // A test that must panic is shown with that.
                seen.failures.insert(name.trim_end_matches(" - should panic").to_owned());
            }
            Some(_) | None => panic!("{line:?} is no result"),
        }
    }
    seen
}

/// The short summary of `-rA`: `PASSED name`, `FAILED name - why`, `SKIPPED [count] place`.
fn read_pytest(output: &Output) -> Seen {
    let mut seen = Seen::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if line.starts_with("PASSED ") {
            seen.passed += 1;
        } else if let Some(rest) = line.strip_prefix("FAILED ") {
            seen.failed += 1;
            seen.failures.insert(rest.split(" - ").next().unwrap().to_owned());
        } else if let Some(rest) = line.strip_prefix("SKIPPED [") {
            seen.skipped += rest.split(']').next().unwrap().parse::<u64>().unwrap();
        }
    }
    seen
}

/// `Ran 451 tests`, `FAILED (failures=2, skipped=1)`, and `FAIL: test_x (tests.test_y.Z.test_x)` for each failure.
fn read_unittest(output: &Output) -> Seen {
    let text = String::from_utf8_lossy(&output.stderr);
    let ran: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no summary: {text}"));
    let result = text.lines().rev().find(|line| line.starts_with("OK") || line.starts_with("FAILED")).unwrap();
    let number = |name: &str| -> u64 {
        let found = result.split(['(', ',', ')']).find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        found.map_or(0, |number| number.parse().unwrap())
    };
    let name = |line: &str| line.strip_prefix("FAIL: ")?.split_once('(')?.1.strip_suffix(')').map(str::to_owned);
    let (failed, skipped) = (number("failures"), number("skipped"));
    assert_eq!(number("errors"), 0, "{result}");
    Seen { passed: ran - failed - skipped, failed, skipped, failures: text.lines().filter_map(name).collect() }
}

/// TAP: the totals at the end, and `not ok 3 - name` for each failure.
fn read_node(output: &Output) -> Seen {
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |name: &str| -> u64 {
        let found =
            text.lines().rev().find_map(|line| line.strip_prefix("# ")?.strip_prefix(name)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {name}: {text}"))
    };
    let name =
        |line: &str| line.trim_start().strip_prefix("not ok ")?.split_once(" - ").map(|(_, name)| name.to_owned());
    Seen {
        passed: number("pass"),
        failed: number("fail"),
        skipped: number("skipped"),
        failures: text.lines().filter_map(name).collect(),
    }
}

#[test]
fn strsim_by_cargo() {
    compare("strsim", "cargo");
}

#[test]
fn smallvec_by_cargo() {
    compare("smallvec", "cargo");
}

#[test]
fn pycparser_by_unittest() {
    compare("pycparser", "unittest");
}

#[test]
fn humanize_by_pytest_with_packages_in_its_environment() {
    compare("humanize", "pytest");
}

#[test]
fn merge_json_schemas_by_node_with_packages_in_its_folder() {
    compare("@fastify/merge-json-schemas", "node");
}

#[test]
fn find_my_way_by_node_with_packages_in_its_folder() {
    compare("find-my-way", "node");
}

#[test]
fn the_readers_of_runners_outputs_can_tell_a_failure() {
    let output = |stdout: &str, stderr: &str| Output {
        status: std::process::ExitStatus::default(),
        stdout: stdout.into(),
        stderr: stderr.into(),
    };
    let failed = |name: &str| Seen { passed: 1, failed: 1, skipped: 1, failures: BTreeSet::from([name.to_owned()]) };
    let cargo = "test a ... ok\ntest b::c ... FAILED\ntest d ... ignored, slow\ntest result: FAILED. 1 passed\n";
    assert_eq!(read_cargo(&output(cargo, "")), failed("b::c"));
    let pytest = "PASSED t.py::a\nFAILED t.py::b - assert 1\nSKIPPED [1] t.py:3: why\n";
    assert_eq!(read_pytest(&output(pytest, "")), failed("t.py::b"));
    let unittest = "FAIL: b (t.T.b)\n---\nRan 3 tests in 0.1s\n\nFAILED (failures=1, skipped=1)\n";
    assert_eq!(read_unittest(&output("", unittest)), failed("t.T.b"));
    let node = "ok 1 - a\nnot ok 2 - b\n# tests 3\n# pass 1\n# fail 1\n# cancelled 0\n# skipped 1\n";
    assert_eq!(read_node(&output(node, "")), failed("b"));
}
