//! `lint`, `format`, `check_types` and `build` on a small real project, with the real cargo and make: what they find, what
//! comes back and what does not.

use serde_json::{Value, json};

use crate::harness::{Person, Place};

const MANIFEST: &str = "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n";

const CODE: &str = "fn main() {\n    let x = 5;\n    let y = x.clone();\n    println!(\"{}\",   y);\n}\n";

const FORMATTED: &str = "fn main() {\n    let x = 5;\n    let y = x.clone();\n    println!(\"{}\", y);\n}\n";

fn project(person: &std::sync::Arc<Person>) -> Place {
    Place::of(std::sync::Arc::clone(person)).and(&[
        ("Cargo.toml", MANIFEST),
        ("src/main.rs", CODE),
        ("notes.md", "x\n"),
    ])
}

fn codes(report: &Value) -> Vec<&str> {
    report["diagnostics"].as_array().unwrap().iter().filter_map(|diagnostic| diagnostic["code"].as_str()).collect()
}

#[test]
fn a_linter_s_findings_are_listed_and_fixed_only_when_asked() {
    for person in Person::everyone() {
        let place = project(&person);
        let (status, value) = place.call("lint", &json!({}));
        assert_eq!((status, codes(&value["structured"])), (0, vec!["clippy::clone_on_copy"]), "{value}");
        assert_eq!(value["whole"]["diagnostics"][0]["line"], 3);
        assert_eq!(place.read("src/main.rs"), CODE);
        let (status, value) = place.call("lint", &json!({"mode": "fix"}));
        assert_eq!((status, &value["structured"]["changed_files"]), (0, &json!(["src/main.rs"])), "{value}");
        let idle = &value["structured"]["workspace_changes"]["keep_matched_nothing"];
        assert!(idle.is_null(), "nobody asked for these globs: {idle}");
        assert!(place.read("src/main.rs").contains("let y = x;"), "{}", place.read("src/main.rs"));
    }
}

#[test]
fn formatting_comes_back_and_a_check_of_it_does_not() {
    for person in Person::everyone() {
        let place = project(&person);
        let (status, value) = place.call("format", &json!({"mode": "check"}));
        assert_eq!((status, &value["structured"]["verdict"]), (6, &json!("found")), "{value}");
        assert_eq!(value["structured"]["equivalent_command"], "cargo fmt --all --check", "{value}");
        assert_eq!(place.read("src/main.rs"), CODE);
        let (status, value) = place.call("format", &json!({}));
        assert_eq!((status, &value["structured"]["verdict"]), (0, &json!("passed")), "{value}");
        assert_eq!(place.read("src/main.rs"), FORMATTED);
        let (status, value) = place.call("format", &json!({"mode": "check"}));
        assert_eq!((status, &value["structured"]["changed_files"]), (0, &json!([])), "{value}");
    }
}

#[test]
fn a_file_of_another_user_is_named_and_does_not_keep_the_rest_from_being_formatted() {
    // Only root can give files away; a file that is read-only is met the same way.
    let is_root = rustix::process::geteuid().is_root();
    for person in Person::everyone() {
        let place = project(&person);
        let (uneven, even) = ("pub   fn f( ) { }\n", "pub fn f() {}\n");
        // A formatter writes files in the order of their names, and stops at one of these.
        for (path, text) in [
            ("src/main.rs", "mod a;\nmod b;\nmod c;\nfn   main() { }\n"),
            ("src/a.rs", uneven),
            ("src/b.rs", uneven),
            ("src/c.rs", even),
        ] {
            place.write(path, text);
        }
        for path in ["src/b.rs", "src/c.rs"] {
            let path = place.workspace().join(path);
            if is_root {
                std::os::unix::fs::chown(path, Some(65_533), Some(65_533)).unwrap();
            } else {
                std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
            }
        }
        let (status, value) = place.call("format", &json!({"mode": "check"}));
        let report = &value["structured"];
        assert_eq!((status, &report["changed_files"]), (6, &json!(["src/a.rs", "src/b.rs", "src/main.rs"])), "{value}");
        assert_eq!(place.read("src/a.rs"), uneven);
        let (status, value) = place.call("format", &json!({}));
        let report = &value["structured"];
        assert_eq!((status, &report["verdict"]), (6, &json!("found")), "{value}");
        assert_eq!(report["changed_files"], json!(["src/a.rs", "src/main.rs"]), "{value}");
        let told = value["text"].as_str().unwrap();
        let why = if is_root { "It belongs to another user or group" } else { "The permissions forbid writing" };
        assert!(told.contains(&format!("stays as it is, beside the rest: `src/b.rs`. {why}")), "{told}");
        assert_eq!((place.read("src/a.rs").as_str(), place.read("src/b.rs").as_str()), (even, uneven));
        assert!(!place.workspace().join(".cofferdam-format").exists());
    }
}

#[test]
fn a_formatter_that_says_nothing_of_a_file_it_may_not_write_formats_the_rest_as_well() {
    let place = Place::of(Person::invoker());
    // It stops at the first file that it cannot write, and says so in words that nobody knows.
    let recipe = "format:\n\t@for f in a.txt b.txt c.txt; do { echo even > $$f; } 2>/dev/null || \
                  { echo 'no luck'; exit 1; }; done\n";
    for (path, text) in [("Makefile", recipe), ("a.txt", "uneven\n"), ("b.txt", "uneven\n"), ("c.txt", "uneven\n")] {
        place.write(path, text);
    }
    let shut = place.workspace().join("b.txt");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(shut, Some(65_533), Some(65_533)).unwrap();
    } else {
        std::fs::set_permissions(shut, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    }
    let (status, value) = place.call("format", &json!({"tool": "make"}));
    assert_eq!((status, &value["structured"]["changed_files"]), (6, &json!(["a.txt", "c.txt"])), "{value}");
    assert!(value["text"].as_str().unwrap().contains("beside the rest: `b.txt`."), "{value}");
    assert_eq!((place.read("b.txt").as_str(), place.read("c.txt").as_str()), ("uneven\n", "even\n"));
}

#[test]
fn formatting_stays_within_the_policy_s_globs() {
    let place = project(&Person::invoker());
    place.policy("version = 1\n[limits]\nwrite = [\"docs/**\"]\n");
    let (status, value) = place.call("format", &json!({}));
    assert_eq!((status, &value["code"]), (1, &json!("denied")), "{value}");
    place.policy("version = 1\n[limits]\nwrite = [\"src/**\"]\n");
    let (status, value) = place.call("format", &json!({"path": "src"}));
    assert_eq!(status, 0, "{value}");
    assert_eq!(place.read("src/main.rs"), FORMATTED);
}

#[test]
fn what_does_not_compile_is_found_and_not_built() {
    let place = project(&Person::invoker());
    place.write("src/main.rs", "fn main() {\n    let x: u8 = \"a\";\n}\n");
    for (tool, verdict) in [("check_types", "found"), ("build", "failed")] {
        let (status, value) = place.call(tool, &json!({}));
        let report = &value["structured"];
        assert_eq!(
            (status, &report["verdict"], &report["counts"]["errors"]),
            (6, &json!(verdict), &json!(1)),
            "{value}"
        );
        let error = &report["diagnostics"][0];
        assert_eq!(
            (&error["file"], &error["line"], &error["code"]),
            (&json!("src/main.rs"), &json!(2), &json!("E0308"))
        );
    }
}

#[test]
fn what_was_built_comes_back_when_it_is_exported() {
    for person in Person::everyone() {
        let place = project(&person);
        let (status, value) = place.call("build", &json!({}));
        assert_eq!(
            (status, &value["structured"]["artifacts"][0]["path"]),
            (0, &json!("target/debug/sample")),
            "{value}"
        );
        assert!(!place.workspace().join("exported").exists() && !place.workspace().join("target/debug").exists());
        let (status, value) = place.call("build", &json!({"export": ["target/debug/sample"]}));
        assert_eq!(status, 0, "{value}");
        let built = place.workspace().join("exported/target/debug/sample");
        let ran = place.program(built).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "5\n");
    }
}

#[test]
fn an_export_passes_the_same_gate_as_any_change() {
    let makefile = "build:\n\tmkdir -p dist .github/workflows\n\techo built > dist/app\n\techo evil > \
                    .github/workflows/ci.yml\n";
    let place = Place::with(&[("Makefile", makefile)]);
    let (status, value) = place.call("build", &json!({"export": ["dist/**", ".github/**"]}));
    assert_eq!(status, 3, "{value}");
    assert_eq!(place.read("dist/app"), "built\n");
    assert!(!place.workspace().join(".github/workflows/ci.yml").exists());
    let held = value["structured"]["workspace_changes"]["held"].to_string();
    assert!(held.contains(".github/workflows"), "{held}");
}

#[test]
fn a_build_that_fails_exports_nothing() {
    let place = Place::with(&[("Makefile", "build:\n\tmkdir -p dist\n\techo half > dist/app\n\tfalse\n")]);
    let (status, value) = place.call("build", &json!({"export": ["dist/**"]}));
    assert_eq!((status, &value["structured"]["verdict"]), (6, &json!("failed")), "{value}");
    assert!(!place.workspace().join("dist").exists());
}

#[test]
fn a_place_where_nothing_fits_says_so() {
    let place = Place::with(&[("readme.txt", "x")]);
    for tool in ["lint", "format", "check_types", "build"] {
        let (status, value) = place.call(tool, &json!({}));
        assert_eq!((status, &value["code"]), (1, &json!("no_tool")), "{value}");
    }
}
