//! `run_tests` on small projects, with the output that real runners printed for them.
//!
//! `COFFERDAM_RECORD=1 cargo test -p cofferdam-tools recorded_output` runs the runners again and writes what they print;
//! cargo's error about a missing package names the registry: write "the registry's" in its place, as no file names one.
//! pytest and unittest need a `python3` that has pytest and pytest-xdist, and node is the one on the PATH.

use cofferdam_contract::Ended;
use serde_json::{Value, json};

use crate::folder_sandbox::{FolderSandbox, call, call_failing};

/// What a report says, without what changes from run to run.
fn told(sandbox: &FolderSandbox, arguments: Value) -> (String, Value) {
    let output = call(sandbox, "run_tests", arguments);
    (output.text, Value::Object(output.structured))
}

fn counts(structured: &Value) -> Vec<(String, u64)> {
    let counts = structured["counts"].as_object().unwrap();
    let counts = counts.iter().map(|(name, number)| (name.clone(), number.as_u64().unwrap()));
    let mut counts: Vec<(String, u64)> = counts.filter(|(_, number)| *number > 0).collect();
    counts.sort();
    counts
}

fn expected(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

fn failure<'a>(structured: &'a Value, name: &str) -> &'a Value {
    let failures = structured["failures"].as_array().unwrap();
    failures.iter().find(|failure| failure["name"] == name).unwrap_or_else(|| panic!("{name}: {failures:#?}"))
}

fn places(structured: &Value) -> Vec<String> {
    let failures = structured["failures"].as_array().unwrap().iter();
    failures.map(|failure| format!("{} {}:{}", failure["name"], failure["file"], failure["line"])).collect()
}

fn names(structured: &Value, outcome: &str) -> Vec<String> {
    let tests = structured["tests"].as_array().unwrap().iter().filter(|test| test["outcome"] == outcome);
    let mut names: Vec<String> = tests.map(|test| test["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn has_note(structured: &Value, part: &str) -> bool {
    structured["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().contains(part))
}

mod cargo {
    use super::*;

    #[test]
    fn every_kind_of_test_is_counted_and_every_failure_has_its_place() {
        let sandbox = FolderSandbox::recorded("cargo", "cargo");
        let (text, report) = told(&sandbox, json!({}));
        assert_eq!(report["verdict"], "failed");
        assert_eq!(report["exit_code"], 101);
        assert_eq!(counts(&report), expected(&[("failed", 5), ("passed", 8), ("skipped", 2)]));
        assert_eq!(
            places(&report),
            [
                "\"tests::connects\" \"src/lib.rs\":59",
                "\"tests::does_not_panic\" \"src/lib.rs\":50",
                "\"tests::prints_and_fails\" \"src/lib.rs\":35",
                "\"tests::returns_an_error\" null:null",
                "\"src/lib.rs - add (line 9)\" \"src/lib.rs\":9",
            ]
        );
        let printed = failure(&report, "tests::prints_and_fails");
        assert_eq!(printed["message"], "assertion `left == right` failed: one and one\n  left: 2\n right: 3");
        assert!(printed["output"].as_str().unwrap().starts_with("about to fail\non standard error\n"));
        assert_eq!(printed["suite"], "src/lib.rs (sample)");
        assert!(has_note(&report, "1 failing tests could not connect"), "{text}");
        assert!(
            has_note(&report, "tests/own_harness.rs has a harness of its own; it ended with exit status: 3"),
            "{text}"
        );
        assert!(has_note(&report, "tests/aborts.rs ended with signal: 6"), "{text}");
        assert_eq!(report["complete"], false);
        assert!(text.starts_with("FAILED: 5 failed, 8 passed, 2 skipped\ncargo ended with status 101"), "{text}");
    }

    #[test]
    fn a_filter_and_a_test_file_select() {
        let sandbox = FolderSandbox::recorded("cargo", "cargo_filter");
        let (_, report) = told(&sandbox, json!({"filter": "integration", "path": "tests/outside.rs"}));
        assert_eq!(report["equivalent_command"], "cargo test --offline --no-fail-fast --test outside -- integration");
        assert_eq!(counts(&report), expected(&[("passed", 1)]));
        assert_eq!((&report["verdict"], &report["complete"]), (&json!("passed"), &json!(true)));
        assert!(has_note(&report, "1 tests do not match the filter"));
    }

    #[test]
    fn compile_errors_are_a_result() {
        let sandbox = FolderSandbox::recorded("cargo_broken", "cargo_broken");
        let (text, report) = told(&sandbox, json!({}));
        assert_eq!(report["verdict"], "build_failed");
        let error = &report["compile_errors"][0];
        assert_eq!((&error["file"], &error["line"]), (&json!("src/lib.rs"), &json!(4)));
        assert_eq!(error["message"], "mismatched types");
        assert!(text.contains("src/lib.rs:4: error[E0308]: mismatched types"), "{text}");
    }

    #[test]
    fn a_dependency_that_is_not_there_is_told() {
        let sandbox = FolderSandbox::recorded("cargo_missing", "cargo_missing");
        let (text, report) = told(&sandbox, json!({}));
        assert_eq!(report["verdict"], "build_failed");
        assert!(text.contains("no matching package named `not-to-be-found-anywhere`"), "{text}");
        assert!(has_note(&report, "install it on the host"), "{text}");
    }
}

mod pytest {
    use super::*;

    #[test]
    fn every_category_is_counted_as_pytest_counts_it() {
        let sandbox = FolderSandbox::recorded("pytest", "pytest");
        let (text, report) = told(&sandbox, json!({"path": "tests/test_a.py"}));
        assert_eq!(report["runner"], "pytest");
        assert_eq!(report["equivalent_command"], "python3 -m pytest tests/test_a.py");
        let expected_counts = [
            ("errors", 2),
            ("expected_failures", 1),
            ("failed", 7),
            ("passed", 6),
            ("skipped", 1),
            ("unexpected_passes", 1),
        ];
        assert_eq!(counts(&report), expected(&expected_counts));
        assert!(report["output"].is_null(), "failures explain the verdict");
        assert_eq!(
            names(&report, "passed"),
            [
                "tests/test_a.py::TestClass::test_method",
                "tests/test_a.py::TestSubs::test_sub",
                "tests/test_a.py::test_ok",
                "tests/test_a.py::test_param[::]",
                "tests/test_a.py::test_param[a b]",
                "tests/test_a.py::test_teardown",
            ]
        );
        let bad = failure(&report, "tests/test_a.py::test_bad");
        assert_eq!((&bad["file"], &bad["line"]), (&json!("tests/test_a.py"), &json!(15)));
        let output = bad["output"].as_str().unwrap();
        assert!(output.contains("printed here") && output.contains("on standard error"), "{output}");
        assert!(failure(&report, "tests/test_a.py::test_setup")["message"].as_str().unwrap().starts_with("in setup: "));
        assert!(has_note(&report, "could not connect"), "{text}");
        assert_eq!((&report["exit_code"], &report["complete"]), (&json!(1), &json!(true)));
    }

    #[test]
    fn the_same_under_xdist() {
        let alone = told(&FolderSandbox::recorded("pytest", "pytest"), json!({"path": "tests/test_a.py"})).1;
        let sandbox = FolderSandbox::recorded("pytest_xdist", "pytest_xdist");
        let (_, spread) = told(&sandbox, json!({"path": "tests/test_a.py"}));
        assert_eq!(counts(&alone), counts(&spread));
        for outcome in ["passed", "skipped", "error"] {
            assert_eq!(names(&alone, outcome), names(&spread, outcome));
        }
    }

    #[test]
    fn files_that_cannot_be_loaded_are_errors() {
        let sandbox = FolderSandbox::recorded("pytest", "pytest_collection");
        let (text, report) = told(&sandbox, json!({}));
        assert_eq!(counts(&report), expected(&[("errors", 1), ("skipped", 1)]));
        assert_eq!(places(&report), ["\"tests/test_broken.py\" \"tests/test_broken.py\":null"]);
        assert!(has_note(&report, "something that is imported is not there"), "{text}");
        assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("failed"), &json!(2)));
    }

    #[test]
    fn a_test_id_and_an_expression_select() {
        let sandbox = FolderSandbox::recorded("pytest", "pytest_id");
        let (_, report) = told(&sandbox, json!({"filter": "tests/test_a.py::test_param[a b]"}));
        assert_eq!(names(&report, "passed"), ["tests/test_a.py::test_param[a b]"]);
        assert_eq!(report["verdict"], "passed");
        let sandbox = FolderSandbox::recorded("pytest", "pytest_expression");
        let (_, report) = told(&sandbox, json!({"filter": "ok or method", "path": "tests/test_a.py"}));
        assert_eq!(counts(&report), expected(&[("passed", 2)]));
    }

    #[test]
    fn no_test_is_no_success() {
        let sandbox = FolderSandbox::recorded("pytest", "pytest_none");
        let (_, report) = told(&sandbox, json!({"filter": "nothing_is_called_so", "path": "tests/test_a.py"}));
        assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("no_tests"), &json!(5)));
    }

    #[test]
    fn an_expression_that_cannot_be_read_is_no_failing_test() {
        let sandbox = FolderSandbox::recorded("pytest", "pytest_wrong_expression");
        let failure = call_failing(&sandbox, "run_tests", json!({"filter": "a and (", "runner": "pytest"}));
        assert_eq!(failure.code, "invalid_arguments");
        assert!(failure.text.starts_with("argument `filter`: `a and (` is no expression"), "{}", failure.text);
        assert!(failure.text.contains("at column 8: expected"), "{}", failure.text);
    }

    #[test]
    fn what_was_asked_for_and_is_not_there_is_no_failure() {
        for (recording, filter, line) in [
            ("pytest_unknown_test", "tests/test_a.py::test_nope", "not found: tests/test_a.py::test_nope"),
            ("pytest_unknown_file", "tests/test_nope.py::t", "file or directory not found: tests/test_nope.py::t"),
        ] {
            let sandbox = FolderSandbox::recorded("pytest", recording);
            let (text, report) = told(&sandbox, json!({"filter": filter, "runner": "pytest"}));
            assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("no_tests"), &json!(4)));
            assert!(text.starts_with("NO TESTS RAN: 0 failed, 0 passed\n"), "{text}");
            assert!(has_note(&report, &format!("pytest says: {line}")), "{text}");
        }
    }

    #[test]
    fn a_run_that_was_ended_tells_how_far_it_came() {
        let sandbox = FolderSandbox::recorded("pytest", "pytest").keeps(4000).ends_with(Ended::Deadline);
        let (text, report) = told(&sandbox, json!({"path": "tests/test_a.py"}));
        assert_eq!((&report["verdict"], &report["complete"]), (&json!("timed_out"), &json!(false)));
        assert!(report["exit_code"].is_null());
        assert!(counts(&report).iter().any(|(name, _)| name == "passed"), "{text}");
        assert!(has_note(&report, "time limit passed"), "{text}");
        assert!(has_note(&report, "begun and not finished: `tests/test_a.py::"), "{text}");
        let sandbox = FolderSandbox::recorded("pytest", "pytest").ends_with(Ended::Cancelled);
        assert_eq!(call_failing(&sandbox, "run_tests", json!({"path": "tests/test_a.py"})).code, "cancelled");
    }
}

mod nextest {
    use super::*;

    #[test]
    fn every_test_is_counted_with_its_program() {
        let (text, report) = told(&FolderSandbox::recorded("nextest", "nextest"), json!({}));
        assert_eq!(
            (&report["runner"], &report["verdict"], &report["exit_code"]),
            (&json!("nextest"), &json!("failed"), &json!(100))
        );
        assert_eq!(counts(&report), expected(&[("failed", 2), ("passed", 2), ("skipped", 1)]));
        let fails = failure(&report, "tests::fails");
        assert_eq!(
            (&fails["suite"], &fails["file"], &fails["line"]),
            (&json!("sample::sample"), &json!("src/lib.rs"), &json!(9))
        );
        assert_eq!(fails["message"], "assertion `left == right` failed: one and one\n  left: 2\n right: 3");
        assert_eq!(failure(&report, "aborts")["message"], "its program ended before the test did");
        assert_eq!(report["complete"], true);
        assert!(text.contains("nextest runs no documentation tests"), "{text}");
    }

    #[test]
    fn a_filter_that_chooses_nothing_runs_no_tests() {
        let sandbox = FolderSandbox::recorded("nextest", "nextest_none");
        let (_, report) = told(&sandbox, json!({"filter": "nothing_is_called_so"}));
        assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("no_tests"), &json!(4)));
    }
}

mod javascript {
    use super::*;

    #[test]
    fn jest_s_report_tells_every_test() {
        let (text, report) = told(&FolderSandbox::recorded("jest", "jest"), json!({}));
        assert_eq!((&report["runner"], &report["verdict"]), (&json!("jest"), &json!("failed")));
        assert_eq!(report["equivalent_command"], "NODE_ENV=test jest --ci");
        assert_eq!(
            counts(&report),
            expected(&[("errors", 1), ("failed", 1), ("passed", 1), ("skipped", 1), ("todo", 1)])
        );
        let fails = failure(&report, "sum > fails");
        assert_eq!((&fails["file"], &fails["line"]), (&json!("test/sum.test.js"), &json!(7)));
        assert!(fails["message"].as_str().unwrap().starts_with("Error: expect(received).toBe(expected)"), "{fails}");
        let broken = failure(&report, "test/broken.test.js");
        assert!(broken["message"].as_str().unwrap().contains("load error"), "{broken}");
        assert_eq!(report["complete"], true, "{text}");
    }

    #[test]
    fn vitest_s_report_tells_every_test() {
        let (text, report) = told(&FolderSandbox::recorded("vitest", "vitest"), json!({}));
        assert_eq!((&report["runner"], &report["verdict"]), (&json!("vitest"), &json!("failed")));
        assert_eq!(report["equivalent_command"], "vitest run");
        assert_eq!(
            counts(&report),
            expected(&[("errors", 1), ("failed", 1), ("passed", 1), ("skipped", 1), ("todo", 1)])
        );
        let fails = failure(&report, "sum > fails");
        assert_eq!((&fails["file"], &fails["line"]), (&json!("test/sum.test.js"), &json!(7)));
        assert_eq!(fails["message"], "AssertionError: expected 2 to be 3 // Object.is equality");
        assert_eq!(report["complete"], true, "{text}");
    }

    #[test]
    fn mocha_s_report_tells_every_test_and_hooks_that_failed() {
        let (_, report) = told(&FolderSandbox::recorded("mocha", "mocha"), json!({}));
        assert_eq!((&report["runner"], &report["verdict"]), (&json!("mocha"), &json!("failed")));
        assert_eq!(report["equivalent_command"], "mocha --exit 'test/*.js'");
        assert_eq!(counts(&report), expected(&[("errors", 1), ("failed", 1), ("passed", 1), ("skipped", 1)]));
        assert_eq!(failure(&report, "sum fails")["line"], 7);
        assert_eq!(
            failure(&report, "sum with a hook \"before each\" hook for \"never runs\"")["message"],
            "Error: in the hook"
        );
    }

    #[test]
    fn a_filter_and_a_file_select() {
        for (project, recording, filter, path) in [
            ("jest", "jest_filter", "sum adds", "test/sum.test.js"),
            ("vitest", "vitest_filter", "sum adds", "test/sum.test.js"),
            ("mocha", "mocha_filter", "sum adds", "test/sum.js"),
        ] {
            let sandbox = FolderSandbox::recorded(project, recording);
            let (text, report) = told(&sandbox, json!({"filter": filter, "path": path}));
            assert_eq!((&report["verdict"], &report["counts"]["passed"]), (&json!("passed"), &json!(1)), "{text}");
        }
    }

    #[test]
    fn a_run_that_was_ended_has_no_report() {
        // `jest_cut` is `jest` without the command that reads the report: a sandbox that is gone executes nothing.
        let sandbox = FolderSandbox::recorded("jest", "jest_cut").ends_with(Ended::Deadline);
        let (_, report) = told(&sandbox, json!({}));
        assert_eq!((&report["verdict"], &report["complete"]), (&json!("timed_out"), &json!(false)));
    }
}

mod go {
    use super::*;

    #[test]
    fn every_test_and_subtest_is_counted() {
        let (text, report) = told(&FolderSandbox::recorded("go", "go"), json!({}));
        assert_eq!(
            (&report["runner"], &report["verdict"], &report["exit_code"]),
            (&json!("go"), &json!("failed"), &json!(1))
        );
        assert_eq!(counts(&report), expected(&[("failed", 2), ("passed", 1), ("skipped", 1)]), "{text}");
        assert_eq!(names(&report, "skipped"), ["TestFails/inner_case"]);
        let fails = failure(&report, "TestFails");
        assert_eq!((&fails["file"], &fails["line"]), (&json!("sub/sub_test.go"), &json!(13)));
        assert_eq!(fails["message"], "sub_test.go:12: said before\nsub_test.go:13: got 2");
        let panics = failure(&report, "TestPanics");
        assert_eq!((&panics["file"], &panics["line"]), (&json!("panics/panics_test.go"), &json!(5)));
        assert!(panics["message"].as_str().unwrap().starts_with("panic: oh"), "{panics}");
    }

    #[test]
    fn a_filter_and_a_folder_select() {
        let sandbox = FolderSandbox::recorded("go", "go_filter");
        let (_, report) = told(&sandbox, json!({"filter": "Add", "path": "sub"}));
        assert_eq!((&report["verdict"], counts(&report)), (&json!("passed"), expected(&[("passed", 1)])));
        assert_eq!(report["equivalent_command"], "go test -json -run=Add ./sub/...");
    }

    #[test]
    fn what_does_not_compile_is_a_failed_build() {
        let (_, report) = told(&FolderSandbox::recorded("go_broken", "go_broken"), json!({}));
        assert_eq!(report["verdict"], "build_failed");
        let error = &report["compile_errors"][0];
        assert_eq!((&error["file"], &error["line"]), (&json!("bad.go"), &json!(3)));
    }
}

mod make {
    use super::*;

    #[test]
    fn only_the_status_of_make_is_known() {
        let (text, report) = told(&FolderSandbox::recorded("make_tests", "make_tests"), json!({}));
        assert_eq!(
            (&report["runner"], &report["verdict"], counts(&report)),
            (&json!("make"), &json!("passed"), expected(&[]))
        );
        assert!(text.ends_with("2 tests ran") && text.contains("nothing about single tests"), "{text}");
        let failure =
            call_failing(&FolderSandbox::recorded("make_tests", "make_filter"), "run_tests", json!({"filter": "x"}));
        assert_eq!(failure.code, "invalid_arguments");
    }
}

mod unittest {
    use super::*;

    #[test]
    fn every_category_is_counted_as_unittest_counts_it() {
        let sandbox = FolderSandbox::recorded("unittest", "unittest");
        let (text, report) = told(&sandbox, json!({}));
        assert_eq!(report["runner"], "unittest");
        assert_eq!(report["equivalent_command"], "python3 -m unittest");
        let expected_counts = [
            ("errors", 3),
            ("expected_failures", 1),
            ("failed", 2),
            ("passed", 1),
            ("skipped", 1),
            ("unexpected_passes", 1),
        ];
        assert_eq!(counts(&report), expected(&expected_counts), "{text}");
        let bad = failure(&report, "tests.test_u.TestA.test_bad");
        assert_eq!((&bad["file"], &bad["line"]), (&json!("tests/test_u.py"), &json!(10)));
        assert_eq!(bad["message"], "AssertionError: 1 != 2 : one is not two");
        assert!(bad["output"].as_str().unwrap().ends_with("printed:\nsaid before\n"), "{bad}");
        assert_eq!(failure(&report, "tests.test_u.TestA.test_sub (i=1)")["line"], 29);
        failure(&report, "setUpClass (tests.test_u.TestB)");
        failure(&report, "tests.test_u.TestA.test_unexpected");
        assert_eq!((&report["exit_code"], &report["complete"]), (&json!(1), &json!(true)));
    }

    #[test]
    fn a_filter_selects() {
        let sandbox = FolderSandbox::recorded("unittest", "unittest_filter");
        let (_, report) = told(&sandbox, json!({"filter": "test_ok", "path": "tests/test_u.py"}));
        assert_eq!(names(&report, "passed"), ["tests.test_u.TestA.test_ok"]);
        assert_eq!(report["verdict"], "passed");
    }
}

mod node {
    use super::*;

    fn check(recording: &str) {
        let sandbox = FolderSandbox::recorded("node", recording);
        let (text, report) = told(&sandbox, json!({}));
        assert_eq!(report["runner"], "node");
        assert_eq!(report["equivalent_command"], "node --test");
        assert_eq!(counts(&report), expected(&[("failed", 7), ("passed", 4), ("skipped", 1), ("todo", 1)]), "{text}");
        assert_eq!(names(&report, "passed"), ["adds", "parent > child passes", "suite > inner", "test/c.test.js"]);
        let mut places = places(&report);
        places.sort();
        assert_eq!(
            places,
            [
                "\"deep\" \"test/a.test.js\":12",
                "\"fails\" \"test/a.test.js\":9",
                "\"parent > child fails\" \"test/a.test.js\":17",
                "\"suite > nested > connects\" \"test/a.test.js\":30",
                "\"suite > nested > deep inner\" \"test/a.test.js\":28",
                "\"test/b.test.js\" \"test/b.test.js\":1",
            ]
        );
        let loading = failure(&report, "test/b.test.js");
        assert!(loading["message"].as_str().unwrap().contains("Error: load error"), "{loading}");
        assert!(has_note(&report, "1 failing tests could not connect"), "{text}");
        assert_eq!((&report["exit_code"], &report["complete"]), (&json!(1), &json!(true)));
    }

    #[test]
    fn node_18_reports_every_test() {
        check("node_18");
    }

    #[test]
    fn node_20_reports_every_test() {
        check("node_20");
    }

    #[test]
    fn node_22_reports_every_test() {
        check("node_22");
    }

    #[test]
    fn node_24_reports_every_test() {
        check("node_24");
    }

    fn check_filter(recording: &str, skipped: u64) {
        let sandbox = FolderSandbox::recorded("node", recording);
        let (text, report) = told(&sandbox, json!({"filter": "nothing is called so", "path": "test/a.test.js"}));
        assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("no_tests"), &json!(0)), "{text}");
        assert_eq!(report["counts"]["skipped"], skipped);
        assert_eq!(names(&report, "passed"), [] as [&str; 0]);
    }

    fn check_running(recording: &str) {
        assert_eq!(told(&FolderSandbox::recorded("node_slow", recording), json!({})).1["verdict"], "passed");
        let cut = FolderSandbox::recorded("node_slow", recording).until("\"name\":\"group > slow\"");
        let (text, report) = told(&cut.ends_with(Ended::Deadline), json!({}));
        assert_eq!(names(&report, "passed"), ["quick"]);
        assert!(has_note(&report, "begun and not finished: `group`, `group > slow`"), "{text}");
    }

    #[test]
    fn node_18_with_a_filter_that_chooses_nothing_is_no_success() {
        check_filter("node_18_none", 9);
    }

    #[test]
    fn node_18_names_the_test_that_was_running_at_the_end() {
        check_running("node_18_slow");
    }

    #[test]
    fn node_20_with_a_filter_that_chooses_nothing_is_no_success() {
        check_filter("node_20_none", 9);
    }

    #[test]
    fn node_20_names_the_test_that_was_running_at_the_end() {
        check_running("node_20_slow");
    }

    #[test]
    fn node_22_with_a_filter_that_chooses_nothing_is_no_success() {
        check_filter("node_22_none", 0);
    }

    #[test]
    fn node_22_names_the_test_that_was_running_at_the_end() {
        check_running("node_22_slow");
    }

    #[test]
    fn node_24_with_a_filter_that_chooses_nothing_is_no_success() {
        check_filter("node_24_none", 0);
    }

    #[test]
    fn node_24_names_the_test_that_was_running_at_the_end() {
        check_running("node_24_slow");
    }

    #[test]
    fn the_packages_own_script_is_run() {
        let sandbox = FolderSandbox::recorded("node_script", "node_script");
        let (text, report) = told(&sandbox, json!({"filter": "adds (1+1)"}));
        assert_eq!(
            report["equivalent_command"],
            "node --no-warnings --test '--test-name-pattern=adds \\(1\\+1\\)' unit/one.js unit/two.js"
        );
        assert!(names(&report, "passed").contains(&"adds (1+1)".to_owned()), "{text}");
        assert!(has_note(&report, "scripts.test also runs `eslint .`"), "{text}");
    }
}
