//! The house: who may know whom. An arrow that ARCHITECTURE.md does not draw fails here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::harness::repository;

/// Every room and the rooms it may import, in dependencies of every kind: tests too.
const ARROWS: [(&str, &[&str]); 8] = [
    ("cofferdam", &["cofferdam-contract", "cofferdam-policy", "cofferdam-sandboxes", "cofferdam-tools"]),
    ("cofferdam-contract", &[]),
    ("cofferdam-policy", &["cofferdam-contract"]),
    ("cofferdam-tools", &["cofferdam-contract"]),
    ("cofferdam-sandboxes", &["cofferdam-contract", "cofferdam-guest", "cofferdam-policy"]),
    ("cofferdam-guest", &["cofferdam-contract"]),
    // What tests run inside a sandbox to try to get out; no part of the product.
    ("cofferdam-probe", &[]),
    ("xtask", &[]),
];

/// Crates that carry a power, and the rooms that may hold it.
const POWERS: [(&str, &[&str]); 10] = [
    ("rmcp", &["cofferdam"]),
    ("tokio", &["cofferdam"]),
    ("rustix", &["cofferdam", "cofferdam-guest", "cofferdam-sandboxes"]),
    ("libc", &["cofferdam", "cofferdam-guest", "cofferdam-probe", "cofferdam-sandboxes"]),
    ("seccompiler", &["cofferdam-sandboxes"]),
    ("landlock", &["cofferdam-sandboxes"]),
    ("bollard", &["cofferdam-sandboxes"]),
    ("wasmtime", &["cofferdam-sandboxes"]),
    ("nix", &[]),
    ("reqwest", &[]),
];

/// Rooms that decide or plan: no files, no network, no clock, no environment, no processes.
const PURE: [&str; 3] = ["policy/src", "tools/src", "tools/contract/src"];

/// What a pure room does not name.
const IMPURE: [&str; 8] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::os",
    "std::time::Instant",
    "std::time::SystemTime",
    "unsafe ",
];

/// The workspace's packages and what each depends on, as cargo sees it.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output =
        repository::cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| (text(package), package["dependencies"].as_array().unwrap().iter().map(text).collect()))
        .collect()
}

/// Rust files below `folder`, but for those that are only compiled for tests.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![repository::folder().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let only_tests: BTreeSet<String> = files.iter().flat_map(|path| test_modules(path)).collect();
    files.retain(|path| !only_tests.contains(path.file_stem().unwrap().to_str().unwrap()));
    assert!(!files.is_empty(), "{folder} holds no source");
    files
}

/// Modules that a file declares for tests only.
fn test_modules(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let after_mark = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").map(|pair| pair[1]);
    after_mark.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).map(str::to_owned).collect()
}

/// A file without its comments and without the tests at its end, followed by each path that it imports, in full.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code = text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
    let imports: Vec<String> =
        format!("\n{code}").split("\nuse ").skip(1).flat_map(|rest| paths(rest.split(';').next().unwrap())).collect();
    format!("{code}\n{}", imports.join("\n"))
}

/// The paths of an import: `std::{fs, io::{self, Read}}` is `std::fs`, `std::io::self` and `std::io::Read`.
fn paths(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let members = rest.rsplit_once('}').map_or(rest, |(members, _)| members);
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (place, letter) in members.char_indices().chain([(members.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&members[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    let members = found.into_iter().filter(|member| !member.trim().is_empty());
    members.flat_map(paths).map(|path| format!("{}{path}", prefix.trim())).collect()
}

#[test]
fn rooms_know_only_the_rooms_that_the_picture_shows() {
    let found = dependencies();
    let rooms: BTreeSet<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    let packages: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(packages, rooms, "a package came or went: draw it in ARCHITECTURE.md and here");
    for (room, allowed) in ARROWS {
        let known: Vec<&String> = found[room].iter().filter(|name| rooms.contains(name.as_str())).collect();
        let drawn: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(known.iter().all(|name| drawn.contains(name.as_str())), "{room} knows {known:?}");
    }
}

#[test]
fn powers_are_held_only_where_they_belong() {
    let found = dependencies();
    for (power, holders) in POWERS {
        for (room, known) in &found {
            assert!(!known.contains(power) || holders.contains(&room.as_str()), "{room} holds {power}");
        }
    }
}

#[test]
fn the_protocol_library_is_named_in_at_most_two_files() {
    let named: Vec<PathBuf> = sources("src").into_iter().filter(|path| code(path).contains("rmcp::")).collect();
    assert!((1..=2).contains(&named.len()), "{named:?}");
}

#[test]
fn rooms_that_decide_touch_nothing() {
    for folder in PURE {
        for path in sources(folder) {
            let code = code(&path);
            for word in IMPURE {
                assert!(!code.contains(word), "{} names {word}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_code_is_written_only_beside_the_kernel() {
    // In `sandboxes` it lies with the kernel's facilities and the sealed program; the guest and the probe are beside the
    // kernel as a whole.
    let beside = |path: &Path| {
        let path = path.strip_prefix(repository::folder()).unwrap();
        ["sandboxes/src/namespace", "sandboxes/src/guest_program", "sandboxes/src/guest_program.rs"]
            .iter()
            .any(|place| path.starts_with(place))
    };
    for folder in ["src", "xtask/src", "sandboxes/src"] {
        for path in sources(folder).into_iter().filter(|path| !beside(path)) {
            let code = code(&path);
            assert!(!code.contains("unsafe {") && !code.contains("unsafe fn"), "{}", path.display());
        }
    }
}

#[test]
fn the_search_for_names_finds_them() {
    // The checks above pass when a name is not found; this one fails when they cannot find any.
    let all = sources("sandboxes/src");
    assert!(all.iter().any(|path| code(path).contains("unsafe {")));
    assert!(all.iter().any(|path| code(path).contains("std::fs")));
    assert_eq!(paths("std::{fs, io::{self, Read},}"), ["std::fs", "std::io::self", "std::io::Read"]);
    assert!(!sources("tools/src").iter().any(|path| path.ends_with("folder_sandbox.rs")), "a test's file is no source");
}
