//! `lint`, `format`, `check_types` and `build` on small projects, with what real tools printed for them.
//!
//! `COFFERDAM_RECORD=1 cargo test -p cofferdam-tools checks::recorded` runs the tools again and writes what they print. They
//! must be on the PATH: ruff, black, mypy and pyright; eslint, prettier and tsc; go; make; and cargo with clippy and rustfmt.

use serde_json::{Value, json};

use crate::{
    Output, Written,
    folder_sandbox::{FolderSandbox, call, call_failing},
};

fn run(project: &str, recording: &str, tool: &str, arguments: Value) -> (Output, Value) {
    let sandbox = FolderSandbox::recorded(project, recording);
    let output = call(&sandbox, tool, arguments);
    let structured = Value::Object(output.structured.clone());
    (output, structured)
}

/// The diagnostics, a line each.
fn lines(report: &Value) -> Vec<String> {
    let told = |diagnostic: &Value| {
        let text = |name: &str| diagnostic[name].as_str().unwrap_or("-").to_owned();
        let number = |name: &str| diagnostic[name].as_u64().map_or("-".to_owned(), |number| number.to_string());
        format!(
            "{}:{}:{}-{}:{} {} {} {}",
            text("file"),
            number("line"),
            number("column"),
            number("end_line"),
            number("end_column"),
            text("severity"),
            text("code"),
            text("message").lines().next().unwrap_or_default(),
        )
    };
    report["diagnostics"].as_array().unwrap().iter().map(told).collect()
}

fn changed(report: &Value) -> Vec<&str> {
    report["changed_files"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect()
}

mod lint {
    use super::*;

    #[test]
    fn clippy_s_lints_have_place_and_name() {
        let (output, report) = run("checks_cargo", "lint_clippy", "lint", json!({}));
        assert_eq!(
            (&report["verdict"], &report["tool"], &report["exit_code"]),
            (&json!("passed"), &json!("clippy"), &json!(0))
        );
        assert_eq!(report["counts"], json!({"errors": 0, "warnings": 2, "notes": 0}));
        assert_eq!(
            lines(&report),
            [
                "src/main.rs:5:9-5:15 warning unused_variables unused variable: `unused`",
                "src/main.rs:3:13-3:22 warning clippy::clone_on_copy using `clone` on type `i32` which implements the `Copy` trait",
            ]
        );
        assert!(
            output.text.starts_with(
                "PASSED: 0 errors, 2 warnings\nclippy ended with status 0. Same as, in `.`: cargo clippy --offline"
            ),
            "{}",
            output.text
        );
    }

    #[test]
    fn ruff_s_rules_have_place_and_name() {
        let (_, report) = run("checks_python", "lint_ruff", "lint", json!({}));
        assert_eq!((&report["verdict"], &report["tool"]), (&json!("found"), &json!("ruff")));
        let expected = [
            "src/a.py:1:8-1:10 error F401 `os` imported but unused",
            "src/a.py:7:12-7:13 error F821 Undefined name `y`",
        ];
        assert_eq!(lines(&report), expected);
        assert_eq!(report["equivalent_command"], "ruff check --no-cache --output-format=json --no-fix .");
    }

    #[test]
    fn ruff_mends_what_it_can_and_tells_the_rest() {
        let (output, report) = run("checks_python", "lint_ruff_fix", "lint", json!({"mode": "fix", "path": "src"}));
        assert_eq!(lines(&report), ["src/a.py:6:12-6:13 error F821 Undefined name `y`"]);
        assert_eq!(changed(&report), ["src/a.py"]);
        assert_eq!(output.written, Written::HandedBack);
    }

    #[test]
    fn a_part_of_a_project_is_linted_alone() {
        let (_, report) = run("checks_python", "lint_ruff_file", "lint", json!({"path": "src/good.py"}));
        assert_eq!((&report["verdict"], lines(&report).len()), (&json!("passed"), 0));
    }

    #[test]
    fn eslint_runs_as_the_project_s_own_script_says() {
        let (output, report) = run("checks_js", "lint_eslint", "lint", json!({}));
        assert_eq!((&report["verdict"], &report["tool"]), (&json!("found"), &json!("eslint")));
        let expected = [
            "src/a.js:1:7-1:13 error no-unused-vars 'unused' is assigned a value but never used.",
            "src/a.js:2:7-2:9 warning eqeqeq Expected '===' and instead saw '=='.",
        ];
        assert_eq!(lines(&report), expected);
        assert_eq!(report["equivalent_command"], "eslint --format json --max-warnings 0 src");
        assert!(output.text.contains("the project also fits npm"), "{}", output.text);
    }

    #[test]
    fn vet_s_analyzers_have_place_and_name() {
        let (_, report) = run("checks_go", "lint_go", "lint", json!({}));
        let expected = ["main.go:6:3-:- error printf fmt.Printf format %d has arg \"x\" of wrong type string"];
        assert_eq!(lines(&report), expected.map(|line| line.replace("-:-", "--:-")));
    }

    #[test]
    fn lines_behind_make_are_diagnostics() {
        let (output, report) = run("checks_make", "lint_make", "lint", json!({}));
        assert_eq!(
            (&report["verdict"], &report["tool"], &report["exit_code"]),
            (&json!("found"), &json!("make"), &json!(2))
        );
        let expected = ["src/x.c:9:---:- error - no return", "src/x.c:3:7--:- warning - unused variable"];
        assert_eq!(lines(&report), expected);
        assert!(output.text.contains("src/x.c:9: error: no return\nsrc/x.c:3:7: warning: unused variable\n"));
        let sandbox = FolderSandbox::recorded("checks_make", "lint_make_fix");
        assert_eq!(call_failing(&sandbox, "lint", json!({"mode": "fix"})).code, "no_fixes");
    }

    #[test]
    fn a_tool_that_does_not_fit_is_named_with_what_does() {
        let sandbox = FolderSandbox::recorded("checks_python", "lint_other");
        let failure = call_failing(&sandbox, "lint", json!({"tool": "eslint"}));
        assert_eq!(failure.code, "no_tool");
        for part in
            ["`eslint` does not fit `.`", "eslint.config.*", "What fits: ruff (in `.`)", "`.` has pyproject.toml"]
        {
            assert!(failure.text.contains(part), "{part}: {}", failure.text);
        }
    }

    #[test]
    fn a_place_without_a_project_says_what_was_looked_for_and_what_is_there() {
        let package = r#"{"scripts": {"start": "x"}}"#;
        let sandbox = FolderSandbox::new(&[("package.json", package), ("sub/readme.txt", "")]);
        let failure = call_failing(&sandbox, "lint", json!({"path": "sub"}));
        assert_eq!(failure.code, "no_tool");
        for part in ["nothing that can lint", "Cargo.toml (clippy)", "`.` has package.json with the scripts start"] {
            assert!(failure.text.contains(part), "{part}: {}", failure.text);
        }
        let failure = call_failing(&FolderSandbox::new(&[]), "build", json!({}));
        assert!(failure.text.contains("There is no sign of a project"), "{}", failure.text);
    }

    #[test]
    fn a_project_s_own_tool_that_is_not_installed_is_not_replaced_by_another() {
        let sandbox = FolderSandbox::new(&[("eslint.config.js", ""), ("package.json", "{}")]);
        let failure = call_failing(&sandbox, "lint", json!({}));
        assert_eq!(failure.code, "no_program");
        assert!(
            failure.text.contains("set up for eslint") && failure.text.contains("node_modules/.bin"),
            "{}",
            failure.text
        );
    }
}

mod format {
    use super::*;

    #[test]
    fn each_formatter_s_changes_are_told_by_the_files() {
        for (project, recording, arguments, tool, files) in [
            ("checks_cargo", "format_rustfmt", json!({}), "rustfmt", &["src/main.rs"][..]),
            ("checks_python", "format_black", json!({}), "black", &["src/a.py"]),
            ("checks_python", "format_ruff", json!({"tool": "ruff"}), "ruff", &["src/a.py"]),
            ("checks_js", "format_prettier", json!({"path": "src"}), "prettier", &["src/a.js"]),
            ("checks_go", "format_gofmt", json!({}), "gofmt", &["main.go"]),
        ] {
            let (output, report) = run(project, recording, "format", arguments);
            assert_eq!((&report["verdict"], &report["tool"]), (&json!("passed"), &json!(tool)), "{}", output.text);
            assert_eq!(changed(&report), files, "{recording}");
            assert_eq!(output.written, Written::HandedBack);
        }
    }

    #[test]
    fn a_check_finds_what_would_change() {
        let (output, report) = run("checks_python", "format_check", "format", json!({"mode": "check"}));
        assert_eq!((&report["verdict"], changed(&report)), (&json!("found"), vec!["src/a.py"]));
        assert!(output.text.starts_with("FOUND: 0 errors, 1 files changed"), "{}", output.text);
        assert!(output.text.contains("nothing was changed"), "{}", output.text);
        let (_, report) =
            run("checks_python", "format_check_good", "format", json!({"mode": "check", "path": "src/good.py"}));
        assert_eq!(report["verdict"], "passed");
    }

    #[test]
    fn python_in_markdown_counts_as_ruff_formats_it() {
        let (output, report) = run("checks_markdown", "format_check_markdown", "format", json!({"mode": "check"}));
        assert_eq!(
            (&report["verdict"], &report["tool"], changed(&report)),
            (&json!("found"), &json!("ruff"), vec!["README.md"]),
            "{}",
            output.text
        );
    }

    #[test]
    fn what_a_formatter_wrote_before_it_failed_does_not_come_back() {
        let (output, report) = run("checks_python_broken", "format_broken", "format", json!({}));
        assert_eq!((&report["verdict"], output.written), (&json!("failed"), Written::ThrownAway));
        assert!(output.text.contains("broken.py:1:5"), "{}", output.text);
    }
}

mod check_types {
    use super::*;

    #[test]
    fn cargo_s_errors_come_with_their_explanation() {
        let (output, report) = run("cargo_broken", "types_cargo", "check_types", json!({}));
        assert_eq!((&report["verdict"], &report["tool"]), (&json!("found"), &json!("cargo")));
        assert_eq!(lines(&report), ["src/lib.rs:4:5-4:16 error E0308 mismatched types"]);
        assert!(output.text.contains("   | error[E0308]: mismatched types"), "{}", output.text);
    }

    #[test]
    fn what_cargo_itself_cannot_do_is_an_error_without_a_place() {
        let (output, report) = run("cargo_missing", "types_missing", "check_types", json!({}));
        assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("found"), &json!(101)));
        assert!(output.text.contains("no matching package named `not-to-be-found-anywhere`"), "{}", output.text);
    }

    #[test]
    fn mypy_pyright_and_tsc_tell_place_and_code() {
        let (_, report) = run("checks_python", "types_mypy", "check_types", json!({}));
        assert_eq!(report["tool"], "mypy");
        let message = "Incompatible types in assignment (expression has type \"str\", variable has type \"int\")";
        assert_eq!(lines(&report)[0], format!("src/a.py:3:10-3:12 error assignment {message}"));
        let (_, report) = run("checks_python", "types_pyright", "check_types", json!({"tool": "pyright"}));
        assert_eq!(
            lines(&report)[0],
            "src/a.py:3:10-3:13 error reportAssignmentType Type \"Literal['a']\" is not assignable to declared type \"int\""
        );
        let (_, report) = run("checks_js", "types_tsc", "check_types", json!({}));
        assert_eq!(report["tool"], "tsc");
        assert_eq!(
            lines(&report)[0],
            "src/b.ts:1:7--:- error TS2322 Type 'string' is not assignable to type 'number'."
        );
        assert_eq!(report["counts"]["errors"], 3);
    }
}

mod build {
    use super::*;

    #[test]
    fn what_was_built_is_listed_and_exported() {
        let (output, report) = run("checks_cargo", "build_cargo", "build", json!({"export": ["target/debug/sample"]}));
        assert_eq!(report["verdict"], "passed", "{}", output.text);
        let built =
            json!([{"path": "target/debug/sample", "kind": "bin", "exported_as": "exported/target/debug/sample"}]);
        assert_eq!(report["artifacts"], built);
        let (_, report) = run("checks_js", "build_npm", "build", json!({"export": ["dist/**"]}));
        assert_eq!(report["artifacts"], json!([{"path": "dist/out.js", "kind": "file", "exported_as": "dist/out.js"}]));
        let (_, report) = run("checks_make", "build_make", "build", json!({}));
        assert_eq!(report["artifacts"], json!([{"path": "out/app", "kind": "file"}]));
        let (_, report) = run("checks_go", "build_go", "build", json!({}));
        assert_eq!(report["artifacts"], json!([{"path": "bin/sample", "kind": "file"}]));
    }

    #[test]
    fn what_cannot_be_built_fails_with_its_errors_and_hands_nothing_back() {
        let (output, report) = run("cargo_broken", "build_broken", "build", json!({"export": ["target/**"]}));
        assert_eq!((&report["verdict"], output.written), (&json!("failed"), Written::ThrownAway));
        assert_eq!(lines(&report), ["src/lib.rs:4:5-4:16 error E0308 mismatched types"]);
    }
}
