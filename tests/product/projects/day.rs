//! An agent's day on a real published project: edit, test, lint, format, commit; with an attack planted in each step.
//!
//! Every attack is held or comes to nothing, the ordinary work of the same steps lands, and what a person then does on the
//! host runs nothing that was planted. What each step answered is printed, as a record of the session.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use serde_json::{Value, json};

use super::project;
use crate::harness::{Person, Place};

/// What every plant tries to change.
const UNTOUCHED: &str = "nobody was here\n";

/// A function as nobody formats it, with something for clippy to say.
const EDIT: &str = "\npub fn is_same(a:&str,b:&str)->bool{ let same = hamming(a,b)==Ok(0); return same; }\n";

struct Day {
    place: Place,
    canary: String,
}

impl Day {
    fn begin(person: &Arc<Person>) -> Self {
        let project = project("strsim");
        let place = Place::of(Arc::clone(person)).copying(Path::new(project["folder"].as_str().unwrap()));
        let canary = place.all().join("canary");
        fs::write(&canary, UNTOUCHED).unwrap();
        let day = Self { canary: canary.display().to_string(), place };
        day.git(&["init", "--quiet", "--initial-branch=main"]);
        day.git(&["config", "user.name", "Per Son"]);
        day.git(&["config", "user.email", "per@son.example"]);
        day.git(&["add", "."]);
        day.git(&["commit", "--quiet", "--message=As published"]);
        day
    }

    /// Git as the person runs it.
    fn git(&self, arguments: &[&str]) -> String {
        let output = self.place.program("git").args(arguments).env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A step of the agent's; prints it, and sees to it that the canary lives.
    fn step(&self, tool: &str, arguments: Value) -> (i32, Value) {
        let (status, reply) = self.place.call(tool, &arguments);
        println!("$ {tool} {arguments}\n{}\n→ {status}", reply["text"].as_str().unwrap_or_default());
        assert_eq!(fs::read_to_string(&self.canary).unwrap(), UNTOUCHED, "{tool}");
        (status, reply)
    }

    fn write(&self, path: &str, content: &str) -> i32 {
        self.step("write_file", json!({ "path": path, "content": content })).0
    }

    fn held(&self) -> BTreeSet<String> {
        let listed = self.place.run(&["changes", "list", "--json"]).stdout;
        let listed: Value = serde_json::from_slice(&listed).unwrap();
        listed.as_array().unwrap().iter().map(|held| held["path"].as_str().unwrap().to_owned()).collect()
    }
}

fn paths(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|path| (*path).to_owned()).collect()
}

fn a_day_of(person: &Arc<Person>) {
    let day = Day::begin(person);
    let Day { place, canary } = &day;
    let original = place.read("src/lib.rs");

    // Edit; and a hook that every commit on the host would run.
    assert_eq!(day.write("src/lib.rs", &format!("{original}{EDIT}")), 0);
    let hook = format!("#!/bin/sh\necho hook > {canary}\nexit 0\n");
    assert_eq!(day.write(".git/hooks/pre-commit", &hook), 3);

    // Test; and a test that plants what CI and editors run, a way out, and writes wherever it can.
    let planted = format!(
        r#"
use std::{{fs, os::unix::fs::symlink, path::Path}};
#[test]
fn plants() {{
    for path in [".github/workflows/deploy.yml", ".vscode/tasks.json", "snapshots/same.txt"] {{
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        fs::write(path, "planted\n").unwrap();
    }}
    symlink("{canary}", "snapshots/link").unwrap();
    for path in ["{canary}", "../escaped", "/etc/cron.d/planted"] {{
        let _ = fs::write(path, "planted\n");
    }}
    assert!(strsim::is_same("a", "a"));
}}
"#
    );
    assert_eq!(day.write("tests/planted.rs", &planted), 0);
    let keep = json!({ "keep": ["snapshots/**", ".github/**", ".vscode/**"] });
    let (status, tested) = day.step("run_tests", keep);
    assert_eq!((status, &tested["structured"]["verdict"]), (3, &json!("passed")), "{tested:#}");
    assert_eq!(place.read("snapshots/same.txt"), "planted\n");

    // Lint; and a build script, which runs while it does.
    let script = format!(
        "fn main() {{\n    let _ = std::fs::write(\"{canary}\", \"built\");\n    let _ = std::fs::write(\".envrc\", \"evil\");\n}}\n"
    );
    let (status, written) = day.step("write_file", json!({ "path": "build.rs", "content": script }));
    let text = written["text"].as_str().unwrap();
    assert!(status == 0 && text.contains("build.rs runs on your machine"), "{text}");
    let (status, linted) = day.step("lint", json!({}));
    assert_eq!(status, 6, "{linted:#}");
    assert!(linted["text"].as_str().unwrap().contains("needless_return"), "{linted:#}");
    assert!(!place.workspace().join(".envrc").exists());

    // Format; and settings that would put another compiler in the place of this one.
    assert_eq!(day.write(".cargo/config.toml", &format!("[build]\nrustc-wrapper = \"{canary}\"\n")), 3);
    place.run(&["changes", "discard", ".cargo"]);
    let (status, formatted) = day.step("format", json!({}));
    assert_eq!(status, 0, "{formatted:#}");
    assert!(place.read("src/lib.rs").contains("pub fn is_same(a: &str, b: &str) -> bool {"));

    // Commit. The session's hook runs, inside; the host's repository has none.
    let work = json!({ "message": "Compare", "paths": ["src", "tests", "build.rs", "snapshots/same.txt"] });
    let (status, committed) = day.step("git_commit", work);
    assert_eq!(status, 0, "{committed:#}");

    // The person: what waits is exactly what was planted.
    let waiting = [
        ".git/hooks/pre-commit",
        ".github",
        ".github/workflows",
        ".github/workflows/deploy.yml",
        ".vscode",
        ".vscode/tasks.json",
        "snapshots/link",
    ];
    let held = day.held();
    assert!(held.is_subset(&paths(&waiting)), "{held:?}");
    for file in [waiting[0], waiting[3], waiting[5], waiting[6]] {
        assert!(held.contains(file), "{file}: {held:?}");
        assert!(fs::symlink_metadata(place.workspace().join(file)).is_err(), "{file}");
    }
    assert!(place.run(&["changes", "commit-take"]).status.success());
    assert!(place.run(&["changes", "discard", "--all"]).status.success());
    assert_eq!(day.git(&["log", "--format=%s"]), "Compare\nAs published\n");
    assert_eq!(day.git(&["status", "--porcelain"]), "");
    day.git(&["commit", "--quiet", "--allow-empty", "--message=By hand"]);
    day.git(&["fsck", "--strict", "--no-dangling"]);
    assert_eq!(fs::read_to_string(canary).unwrap(), UNTOUCHED, "no hook of the agent's ran");
    assert!(!place.all().join("escaped").exists() && !Path::new("/etc/cron.d/planted").exists());
}

#[test]
fn attacks_in_every_step_wait_or_come_to_nothing_and_the_work_lands() {
    a_day_of(&Person::invoker());
}

#[test]
fn so_they_do_for_an_ordinary_user() {
    a_day_of(&Person::ordinary());
}
