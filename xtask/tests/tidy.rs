//! The tree is tidy: what must not be in a commit, and what every file has.

#![expect(clippy::print_stdout, reason = "which files are long is worth seeing")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A longer file is a question; these have an answer.
const LONG: [(&str, &str); 0] = [];

/// Lines after which a file is long, tests and all.
const LONG_LINES: usize = 800;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What a program prints, or nothing when it is not there.
fn ask(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(repository()).stdin(Stdio::null()).stderr(Stdio::null());
    command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// Every file that is or may be committed, as paths from the repository's folder.
fn files() -> Vec<String> {
    let list = ask("git", &["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let files: BTreeSet<String> = list.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let files: Vec<String> = files.into_iter().filter(|name| repository().join(name).is_file()).collect();
    assert!(files.len() > 50, "git lists only {} files", files.len());
    files
}

fn read(name: &str) -> String {
    String::from_utf8_lossy(&fs::read(repository().join(name)).unwrap()).into_owned()
}

/// Our own source files. Fixture projects are read by test runners, not by us.
fn sources() -> Vec<String> {
    files().into_iter().filter(|name| name.ends_with(".rs") && !name.starts_with("tools/tests/projects/")).collect()
}

/// Hosts of the package registries, asked of the package managers themselves: no list of ours names them.
fn registry_hosts() -> BTreeSet<String> {
    let mut found: Vec<String> = Vec::new();
    found.extend(ask("npm", &["config", "get", "registry"]).lines().map(host_of));
    let pip = "from pip._internal.models.index import PyPI as index\n\
               print(index.netloc)\nprint(index.file_storage_domain)";
    found.extend(ask("python3", &["-c", pip]).lines().map(str::to_owned));
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let indexes = cargo_home.map(|home| home.join("registry/index")).and_then(|folder| fs::read_dir(folder).ok());
    for entry in indexes.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // `index.host-0123456789abcdef`
        found.extend(name.rsplit_once('-').map(|(host, _)| host.to_owned()));
    }
    for entry in fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.strip_prefix("URIs:")).map(|line| host_of(line.trim())));
    }
    found.into_iter().filter(|host| host.matches('.').count() >= 1 && !host.contains("github")).collect()
}

fn host_of(url: &str) -> String {
    url.split("://").nth(1).unwrap_or_default().split('/').next().unwrap_or_default().to_owned()
}

fn is_lock_file(name: &str) -> bool {
    name.ends_with(".lock") || name.ends_with("package-lock.json")
}

#[test]
fn no_file_names_a_package_registrys_host() {
    let hosts = registry_hosts();
    assert!(!hosts.is_empty(), "no package manager told its host, so nothing was checked");
    for name in files().iter().filter(|name| !is_lock_file(name)) {
        let text = read(name);
        for host in &hosts {
            assert!(!text.contains(host.as_str()), "{name} names a package registry's host ({host})");
        }
    }
}

#[test]
fn no_file_holds_a_path_of_this_machine() {
    let repository = repository();
    let home = env::var("HOME").unwrap_or_default();
    let mut paths = vec![format!("{}/", repository.display())];
    if home.len() > 1 {
        // A toolchain's or a tool's own folder; a bare home may be anybody's.
        paths.extend([".cargo", ".rustup", ".pyenv", ".nvm", ".local"].map(|name| format!("{home}/{name}/")));
    }
    for name in files() {
        let text = read(&name);
        for path in &paths {
            assert!(!text.contains(path.as_str()), "{name} holds {path}");
        }
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for name in &sources() {
        assert!(read(name).starts_with("//!"), "{name} has no header");
    }
}

#[test]
fn long_files_have_an_answer() {
    let mut long = Vec::new();
    for name in &sources() {
        let lines = read(name).lines().count();
        if lines > LONG_LINES {
            println!("{name}: {lines} lines");
            long.push(name.clone());
        }
    }
    let answered: Vec<String> = LONG.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(long, answered, "split it by noun, or say here why it is long");
}

#[test]
fn nothing_is_left_for_later_or_skipped() {
    for name in &sources() {
        let text = read(name);
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for (left, right) in [("#[", "ignore"), ("#[", "allow("), ("to", "do!("), ("unimplemen", "ted!(")] {
            let word = format!("{left}{right}");
            let found = code.iter().find(|line| line.trim_start().starts_with(&word));
            assert!(found.is_none(), "{name}: {found:?}");
        }
    }
}

#[test]
fn documents_name_files_that_exist() {
    for document in ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md"] {
        let text = read(document);
        let quoted = text.split('`').skip(1).step_by(2);
        let ours = ["src/", "policy/", "tools/", "sandboxes/", "tests/", "xtask/", "examples/", ".ci/", ".config/"];
        for name in quoted.filter(|name| ours.iter().any(|folder| name.starts_with(folder))) {
            // Examples of a user's own tree stand in blocks or have globs.
            let path = name.trim_end_matches('/');
            if path.contains(['*', ' ', '{']) {
                continue;
            }
            assert!(repository().join(path).exists(), "{document} names {name}, which is not there");
        }
    }
}
