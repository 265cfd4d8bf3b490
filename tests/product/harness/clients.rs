//! Other people's clients, installed into a cache below the target folder by their own package managers.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::repository;

/// The Python SDK.
const PYTHON: [&str; 1] = ["mcp==2.3.0"];

/// The TypeScript SDK: the v2 client and the v1 package.
const NODE: [&str; 2] = ["@modelcontextprotocol/client@2.4.0", "@modelcontextprotocol/sdk@1.32.2"];

/// A Node for the v2 client where the machine's own is older than 20, as Debian 12's is. It ships as a package.
const NEWER_NODE: &str = "node@22";

/// An interpreter that has the Python SDK.
pub(crate) fn python() -> PathBuf {
    let folder = installed("python", &PYTHON.join(" "), |folder| {
        execute(Command::new("python3").args(["-m", "venv"]).arg(folder));
        let mut install = Command::new(folder.join("bin/python"));
        execute(install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PYTHON));
    });
    folder.join("bin/python")
}

/// The folder that has the TypeScript SDK, and a Node that can run it.
pub(crate) fn node() -> (PathBuf, PathBuf) {
    let old = machine_node_is_old();
    let mut packages = NODE.to_vec();
    packages.extend(old.then_some(NEWER_NODE));
    let folder = installed("node", &packages.join(" "), |folder| {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("package.json"), "{\"private\": true}\n").unwrap();
        let mut install = Command::new("npm");
        // Scripts run here for one package only, and only where it is asked for: `node` puts its binary in place by one.
        install.args(["install", "--no-audit", "--no-fund", "--loglevel=error"]).args(&packages).current_dir(folder);
        if !old {
            install.arg("--ignore-scripts");
        }
        execute(&mut install);
    });
    let node = if old { folder.join("node_modules/node/bin/node") } else { PathBuf::from("node") };
    (folder, node)
}

fn machine_node_is_old() -> bool {
    let output = Command::new("node").arg("--version").output().expect("node is installed; see `cargo xtask setup`");
    let version = String::from_utf8(output.stdout).unwrap();
    let major = version.trim().trim_start_matches('v').split('.').next().unwrap();
    major.parse::<u32>().unwrap_or_else(|_| panic!("node's version is {version:?}")) < 20
}

/// The folder `name` of the cache, filled by `install` unless it was filled so before.
fn installed(name: &str, recipe: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let cache = repository::cache().join("test-clients");
    fs::create_dir_all(&cache).unwrap();
    // Tests run side by side, in processes of their own.
    let lock = File::create(cache.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let folder = cache.join(name);
    let ready = cache.join(format!("{name}.ready"));
    if fs::read_to_string(&ready).is_ok_and(|text| text == recipe) {
        return folder;
    }
    let _ = fs::remove_file(&ready);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    install(&folder);
    fs::write(ready, recipe).unwrap();
    folder
}

fn execute(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} ended with {status}");
}
