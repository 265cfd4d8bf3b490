//! `run_tests` on real published projects equals the runner itself, outside, in counts and names.
//!
//! `cargo xtask projects` fetches and prepares them. Each is run as it was published, and with two planted failures.

mod day;

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::Path,
    process::{Command, Output},
    sync::Arc,
    time::Instant,
};

use serde_json::{Value, json};

use crate::harness::{Person, Place, repository};

/// Tests that a project must have to count as one.
const ENOUGH: usize = 50;

/// What a test run showed, by whomever it was run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Seen {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// How often each name had each result. Runners do not keep names apart: two test programs may have the same.
    tests: BTreeMap<(String, &'static str), u64>,
}

impl Seen {
    /// Adds one test; its result in the words of our report.
    fn add(&mut self, name: &str, outcome: &'static str) {
        *self.tests.entry((name.to_owned(), outcome)).or_default() += 1;
    }

    /// Takes the sums from the tests.
    fn summed(mut self) -> Self {
        self.passed = self.with("passed");
        self.failed = self.with("failed");
        self.skipped = self.with("skipped");
        self
    }

    /// How many tests had this result.
    fn with(&self, outcome: &str) -> u64 {
        self.tests.iter().filter(|((_, found), _)| *found == outcome).map(|(_, times)| times).sum()
    }

    /// The tests that `other` has not, or not as often.
    fn beyond<'a>(&'a self, other: &'a Self) -> Vec<&'a (String, &'static str)> {
        let more = |(test, times): &(&(String, &'static str), &u64)| other.tests.get(*test).unwrap_or(&0) < *times;
        self.tests.iter().filter(more).map(|(test, _)| test).collect()
    }
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
    compare_as(&Person::invoker(), name, runner);
}

/// The same as somebody, who also runs the runner outside.
fn compare_as(person: &Arc<Person>, name: &str, runner: &str) {
    let project = project(name);
    let folder = Path::new(project["folder"].as_str().unwrap());
    let language = project["language"].as_str().unwrap();
    let mut table = String::new();
    for planted in [false, true] {
        let inside = Place::of(Arc::clone(person)).copying(folder);
        let outside = Place::of(Arc::clone(person)).copying(folder);
        for place in [&inside, &outside] {
            configure(place, runner);
            if planted {
                plant(place, language, runner);
            }
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
        let differences = (by_us.beyond(&by_runner), by_runner.beyond(&by_us));
        assert!(by_us == by_runner, "{title}: only by us, only by the runner: {differences:#?}");
        assert!(by_us.tests.len() >= ENOUGH, "{title}: {} names", by_us.tests.len());
        assert_eq!(by_us.failed, if planted { 2 } else { 0 }, "{title}");
        assert_eq!(by_us.tests.keys().filter(|(name, _)| name.contains("planted")).count(), by_us.failed as usize);
    }
}

/// Makes a project of another runner's one of this one's, as a person would.
fn configure(place: &Place, runner: &str) {
    match runner {
        "jest" => place.write("jest.config.js", "module.exports = {}\n"),
        "vitest" => {
            place.write("vitest.config.mjs", "export default { test: { globals: true, include: ['test.js'] } }\n")
        }
        _ => {}
    }
}

/// Adds two tests that fail, as a person would write them.
fn plant(place: &Place, language: &str, runner: &str) {
    match language {
        "node" if runner != "node" => {
            let tests = "\ndescribe('planted', function () {\n  it('planted equality', function () {\n    \
                         expect(1 + 1).to.equal(3)\n  })\n  it('planted error', function () {\n    \
                         throw new Error('planted')\n  })\n})\n";
            place.write("test.js", &(place.read("test.js") + tests));
        }
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

/// The results that a test may have, as our report writes them.
const OUTCOMES: [&str; 7] = ["passed", "failed", "error", "skipped", "expected_failure", "unexpected_pass", "todo"];

fn run_inside(place: &Place, runner: &str) -> Seen {
    let (_, value) = place.call("run_tests", &json!({ "runner": runner, "timeout_seconds": 600 }));
    let report = &value["structured"];
    let number = |name: &str| report["counts"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {report}"));
    let mut seen = Seen {
        passed: number("passed"),
        // A runner's own summary counts errors apart; none may be.
        failed: number("failed") + number("errors"),
        skipped: number("skipped"),
        tests: BTreeMap::new(),
    };
    let whole = &value["whole"];
    assert_eq!(whole["omitted"], 0, "{report}");
    for test in whole["tests"].as_array().unwrap() {
        let outcome = OUTCOMES.into_iter().find(|outcome| test["outcome"] == *outcome);
        seen.add(test["name"].as_str().unwrap(), outcome.unwrap_or_else(|| panic!("no outcome: {test}")));
    }
    // What failed is also told in full, whatever else is shortened.
    let failures = report["failures"].as_array().unwrap().iter();
    let mut told: Vec<&str> = failures.map(|failure| failure["name"].as_str().unwrap()).collect();
    told.sort_unstable();
    let failed: Vec<&str> =
        seen.tests.keys().filter(|(_, outcome)| *outcome == "failed").map(|(name, _)| name.as_str()).collect();
    assert_eq!(told, failed);
    seen
}

fn run_outside(place: &Place, runner: &str) -> Seen {
    let run = |program: &Path, arguments: &[&str]| -> Output {
        let mut command: Command = place.program(program);
        command.args(arguments).env("CI", "1").output().unwrap()
    };
    let environment = place.workspace().join(".venv/bin/python");
    let own = |name: &str| place.workspace().join("node_modules/.bin").join(name);
    let python = if environment.exists() { environment } else { "python3".into() };
    match runner {
        "cargo" => read_cargo(&run(Path::new("cargo"), &["test", "--offline", "--no-fail-fast"])),
        "pytest" => read_pytest(&run(&python, &["-m", "pytest", "-v", "--tb=no", "--color=no"])),
        "unittest" => read_unittest(&run(&python, &["-m", "unittest", "-v"])),
        "node" => read_node(&run(Path::new("node"), &["--test", "--test-reporter=tap"]), &place.workspace()),
        "mocha" => read_mocha(&run(&own("mocha"), &["--reporter", "json-stream", "test.js"])),
        "jest" => read_jest(&run(&own("jest"), &["--verbose"])),
        "vitest" => read_vitest(&run(&own("vitest"), &["run", "--reporter=tap-flat"])),
        other => panic!("{other} is no runner"),
    }
}

/// A line of JSON for each test: `["pass",{"fullTitle":"title name",…}]`. It tells nothing of what is skipped.
fn read_mocha(output: &Output) -> Seen {
    let mut seen = Seen::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let outcome = match event[0].as_str() {
            Some("pass") => "passed",
            Some("fail") => "failed",
            Some(_) | None => continue,
        };
        seen.add(event[1]["fullTitle"].as_str().unwrap(), outcome);
    }
    seen.summed()
}

/// `--verbose`: titles indented by their depth, `✓ name (3 ms)`, `✕ name`, `○ skipped name`.
fn read_jest(output: &Output) -> Seen {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut seen = Seen::default();
    let mut titles: Vec<&str> = Vec::new();
    // What failed is told again after the list.
    for line in text.lines().take_while(|line| !line.trim_start().starts_with('●')) {
        let inner = line.trim_start();
        let depth = (line.len() - inner.len()) / 2;
        if depth == 0 || inner.is_empty() {
            continue;
        }
        titles.truncate(depth - 1);
        let results = [("✓ ", "passed"), ("✕ ", "failed"), ("○ skipped ", "skipped"), ("✎ todo ", "todo")];
        let Some((name, outcome)) =
            results.iter().find_map(|(mark, outcome)| Some((inner.strip_prefix(mark)?, *outcome)))
        else {
            titles.push(inner);
            continue;
        };
        // How long it took, where that is worth telling.
        let timed = name.rsplit_once(" (").filter(|(_, time)| time.ends_with(" ms)") || time.ends_with(" s)"));
        let name = timed.map_or(name, |(name, _)| name);
        let path: Vec<&str> = titles.iter().copied().chain([name]).collect();
        seen.add(&path.join(" > "), outcome);
    }
    seen.summed()
}

/// TAP of vitest's, flat: `ok 3 - test.js > title > name # time=1.50ms`.
fn read_vitest(output: &Output) -> Seen {
    let mut seen = Seen::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (rest, good) = match line.strip_prefix("not ok ") {
            Some(rest) => (rest, "failed"),
            None => (line.strip_prefix("ok ").unwrap_or_default(), "passed"),
        };
        let Some((_, name)) = rest.split_once(" - ") else { continue };
        let (name, directive) = name.rsplit_once(" # ").unwrap_or((name, ""));
        let name = name.split_once(" > ").map_or(name, |(_, name)| name);
        let outcome = if directive.starts_with("SKIP") { "skipped" } else { good };
        seen.add(&name.replace("\\#", "#"), outcome);
    }
    seen.summed()
}

/// `test NAME ... ok` and the like; documentation's tests are written the same way.
fn read_cargo(output: &Output) -> Seen {
    let mut seen = Seen::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) else {
            continue;
        };
        // libtest shows how a test is run behind its name; `--list` and filters know the name alone.
        let modes = [" - should panic", " - compile fail", " - compile"];
        let name = modes.into_iter().find_map(|mode| name.strip_suffix(mode)).unwrap_or(name);
        match result.split([',', ' ']).next() {
            Some("ok") => seen.add(name, "passed"),
            Some("ignored") => seen.add(name, "skipped"),
            Some("FAILED") => seen.add(name, "failed"),
            Some(_) | None => panic!("{line:?} is no result"),
        }
    }
    seen.summed()
}

/// `-v`: `NODE PASSED  [ 12%]`, `NODE SKIPPED (why)  [ 12%]`; and the sums of the last line.
fn read_pytest(output: &Output) -> Seen {
    const WORDS: [(&str, &str); 6] = [
        (" PASSED", "passed"),
        (" FAILED", "failed"),
        (" SKIPPED", "skipped"),
        (" XFAIL", "expected_failure"),
        (" XPASS", "unexpected_pass"),
        (" ERROR", "error"),
    ];
    let text = String::from_utf8_lossy(&output.stdout);
    let mut seen = Seen::default();
    for line in text.lines().filter(|line| line.ends_with("%]")) {
        // The last of such words is the result; a parameter may hold another.
        let found = WORDS.iter().filter_map(|(word, outcome)| Some((line.rfind(word)?, *outcome))).max();
        let (at, outcome) = found.unwrap_or_else(|| panic!("{line:?} is no result"));
        seen.add(&line[..at], outcome);
    }
    let last = text.lines().last().unwrap_or_default();
    let number = |name: &str| -> u64 {
        let before = last.split([',', '=']).find_map(|part| part.trim().split(" in ").next()?.strip_suffix(name));
        before.map_or(0, |number| number.trim().parse().unwrap())
    };
    let seen = seen.summed();
    let sums = (number(" passed"), number(" failed"), number(" skipped"));
    assert_eq!((seen.passed, seen.failed, seen.skipped), sums, "{last}");
    seen
}

/// `-v`: `test_x (tests.test_y.Z.test_x) ... ok`, or the result behind the first line of the test's description, on the
/// next line; and the sums of the last lines.
fn read_unittest(output: &Output) -> Seen {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut seen = Seen::default();
    let mut open = None;
    // Tracebacks follow after a line of equals signs, the sums after one of dashes.
    for line in text.lines().take_while(|line| !line.starts_with("=====") && !line.starts_with("-----")) {
        let name = line.split_once(" (").and_then(|(short, rest)| {
            let (name, _) = rest.split_once(')')?;
            (name.rsplit('.').next() == Some(short)).then_some(name)
        });
        open = name.or(open);
        let Some((_, result)) = line.rsplit_once(" ... ") else { continue };
        let outcome = match result {
            "ok" => "passed",
            "FAIL" => "failed",
            "ERROR" => "error",
            "expected failure" => "expected_failure",
            "unexpected success" => "unexpected_pass",
            skipped if skipped.starts_with("skipped ") => "skipped",
            other => panic!("{other:?} is no result"),
        };
        seen.add(open.take().unwrap_or_else(|| panic!("whose result is {line:?}?")), outcome);
    }
    let ran: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no summary: {text}"));
    let result = text.lines().rev().find(|line| line.starts_with("OK") || line.starts_with("FAILED")).unwrap();
    let number = |name: &str| -> u64 {
        let found = result.split(['(', ',', ')']).find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        found.map_or(0, |number| number.parse().unwrap())
    };
    let (failed, skipped) = (number("failures"), number("skipped"));
    assert_eq!(number("errors"), 0, "{result}");
    let seen = seen.summed();
    assert_eq!((seen.passed, seen.failed, seen.skipped), (ran - failed - skipped, failed, skipped), "{result}");
    seen
}

/// TAP: `# Subtest: name` begins a test, what is nested is indented, `ok 3 - name` ends it, a block says whether it is a
/// suite; the totals are at the end. A file without tests is one test, named by its absolute path; here it is named
/// relative to the workspace, since each run has a workspace of its own.
fn read_node(output: &Output, workspace: &Path) -> Seen {
    let text = String::from_utf8_lossy(&output.stdout).replace(&format!("{}/", workspace.display()), "");
    let mut seen = Seen::default();
    let mut names: Vec<&str> = Vec::new();
    let mut ended: Option<(String, &'static str)> = None;
    for line in text.lines() {
        let inner = line.trim_start();
        let depth = (line.len() - inner.len()) / 4;
        if let Some(name) = inner.strip_prefix("# Subtest: ") {
            names.truncate(depth);
            names.push(name);
        } else if let Some((verdict, rest)) = inner.split_once(" - ").filter(|(start, _)| is_result(start)) {
            let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
            names.truncate(depth);
            let path: Vec<&str> = names.iter().copied().chain([name]).collect();
            let outcome = match (directive.split(' ').next(), verdict.starts_with("not ")) {
                (Some("SKIP"), _) => "skipped",
                (Some("TODO"), _) => "todo",
                (_, true) => "failed",
                (_, false) => "passed",
            };
            ended = Some((path.join(" > ").replace("\\#", "#").replace("\\\\", "\\"), outcome));
        } else if inner == "type: 'suite'" {
            ended = None;
        } else if inner == "..." {
            ended.take().into_iter().for_each(|(name, outcome)| seen.add(&name, outcome));
        }
    }
    let number = |name: &str| -> u64 {
        let found =
            text.lines().rev().find_map(|line| line.strip_prefix("# ")?.strip_prefix(name)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {name}: {text}"))
    };
    let seen = seen.summed();
    assert_eq!((seen.passed, seen.failed, seen.skipped), (number("pass"), number("fail"), number("skipped")));
    seen
}

/// Whether this begins a result of TAP: `ok 3` or `not ok 3`.
fn is_result(start: &str) -> bool {
    let number = start.strip_prefix("not ").unwrap_or(start).strip_prefix("ok ");
    number.is_some_and(|number| number.parse::<u64>().is_ok())
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
fn object_path_by_mocha() {
    compare("object-path", "mocha");
}

#[test]
fn object_path_by_jest() {
    compare("object-path", "jest");
}

#[test]
fn object_path_by_vitest() {
    compare("object-path", "vitest");
}

#[test]
fn strsim_by_an_ordinary_users_cargo() {
    compare_as(&Person::ordinary(), "strsim", "cargo");
}

#[test]
fn pycparser_by_an_ordinary_users_unittest() {
    compare_as(&Person::ordinary(), "pycparser", "unittest");
}

#[test]
fn merge_json_schemas_by_an_ordinary_users_node() {
    compare_as(&Person::ordinary(), "@fastify/merge-json-schemas", "node");
}

#[test]
fn the_readers_of_runners_outputs_can_tell_names_and_results() {
    let output = |stdout: &str, stderr: &str| Output {
        status: std::process::ExitStatus::default(),
        stdout: stdout.into(),
        stderr: stderr.into(),
    };
    let seen = |tests: &[(&str, &'static str)]| {
        let mut seen = Seen::default();
        tests.iter().for_each(|(name, outcome)| seen.add(name, outcome));
        seen.summed()
    };
    let cargo = "test a ... ok\ntest a ... ok\ntest b::c - should panic ... FAILED\ntest d - compile ... ignored, slow\n\
                 test result: FAILED. 1 passed\n";
    let expected = [("a", "passed"), ("a", "passed"), ("b::c", "failed"), ("d", "skipped")];
    assert_eq!(read_cargo(&output(cargo, "")), seen(&expected));

    let pytest = "collected 4 items\n\nt.py::a PASSED   [ 25%]\nt.py::b[x PASSED y] FAILED   [ 50%]\n\
                  t.py::c SKIPPED (why not)   [ 75%]\nt.py::d XFAIL (so)   [100%]\n\n\
                  === 1 failed, 1 passed, 1 skipped, 1 xfailed in 0.1s ===\n";
    let expected = [
        ("t.py::a", "passed"),
        ("t.py::b[x PASSED y]", "failed"),
        ("t.py::c", "skipped"),
        ("t.py::d", "expected_failure"),
    ];
    assert_eq!(read_pytest(&output(pytest, "")), seen(&expected));

    let unittest = "a (t.T.a) ... ok\nb (t.T.b)\nWhat it does (in words) ... FAIL\nc (t.T.c) ... skipped 'why'\n\n\
                    ======\nFAIL: b (t.T.b)\n------\nRan 3 tests in 0.1s\n\nFAILED (failures=1, skipped=1)\n";
    let expected = [("t.T.a", "passed"), ("t.T.b", "failed"), ("t.T.c", "skipped")];
    assert_eq!(read_unittest(&output("", unittest)), seen(&expected));

    let node = "TAP version 13\n# Subtest: all\n    # Subtest: one - \\#1\n    ok 1 - one - \\#1\n      ---\n      ...\n\
                \x20   1..1\nok 1 - all\n  ---\n  type: 'suite'\n  ...\n# Subtest: b\nnot ok 2 - b\n  ---\n  ...\n\
                # Subtest: /work/c.js\nok 3 - /work/c.js # SKIP why\n  ---\n  ...\n\
                # tests 3\n# pass 1\n# fail 1\n# cancelled 0\n# skipped 1\n";
    let expected = [("all > one - #1", "passed"), ("b", "failed"), ("c.js", "skipped")];
    assert_eq!(read_node(&output(node, ""), Path::new("/work")), seen(&expected));
    let other = seen(&[("b", "failed"), ("c.js", "passed")]);
    assert_eq!(other.beyond(&seen(&expected)), [&("c.js".to_owned(), "passed")]);
}
