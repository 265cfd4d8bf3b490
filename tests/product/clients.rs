//! Real clients drive the server: the official SDKs, in both eras, over stdio.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Place, clients, repository};

fn place() -> Place {
    Place::with(&[
        ("greet.py", "def greet(name):\n    return f\"Hello, {name}!\"\n"),
        ("tests/__init__.py", ""),
        (
            "tests/test_greet.py",
            "import unittest\nfrom greet import greet\n\nclass Greet(unittest.TestCase):\n    \
             def test_greets(self):\n        self.assertEqual(greet('Ada'), 'Hello, Ada!')\n    \
             def test_is_polite(self):\n        self.assertTrue(greet('Ada').endswith('!'))\n",
        ),
        ("slow/__init__.py", ""),
        (
            "slow/test_slow.py",
            "import time, unittest\n\nclass Slow(unittest.TestCase):\n    def test_slow(self):\n        \
             for second in range(200):\n            print('second', second, flush=True)\n            \
             time.sleep(0.2)\n",
        ),
    ])
}

/// Runs a client's script to its end and checks what all of them must have seen.
fn drive(place: &Place, command: &mut Command) -> Value {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap();
    println!("{seen}");
    assert_eq!(seen["tools"].as_array().map(Vec::len), Some(21));
    assert_eq!((&seen["passed"], &seen["failed"]), (&Value::from(2), &Value::from(1)));
    assert!(seen["progress"].as_u64() >= Some(1));
    // It serves on long before the cancelled run would have ended. How soon a sandbox ends is tested in stdio.rs.
    assert!(seen["after_cancel_seconds"].as_f64().is_some_and(|seconds| seconds < 10.0), "{seen}");
    assert!(place.workspace().join("new/note.txt").is_file());
    assert!(place.read("greet.py").contains("Hello"));
    seen
}

fn python(mode: &str, version: &str) {
    let place = place();
    let mut command = place.program(clients::python());
    command.arg(repository::folder().join("tests/product/clients/drive.py"));
    command.args([mode, version, env!("CARGO_BIN_EXE_cofferdam")]).arg(place.workspace());
    let seen = drive(&place, &mut command);
    assert!(seen["instructions"].as_u64().is_some_and(|bytes| (1..2048).contains(&bytes)), "{seen}");
}

fn typescript(package: &str, mode: &str, version: &str) {
    let place = place();
    let (folder, node) = clients::node();
    let mut command = place.program(node);
    command.current_dir(folder).arg(repository::folder().join("tests/product/clients/drive.mjs"));
    command.args([package, mode, version, env!("CARGO_BIN_EXE_cofferdam")]).arg(place.workspace());
    let seen = drive(&place, &mut command);
    assert_eq!(seen["complaints"], Value::Array(Vec::new()), "the SDK complains about our schemas");
}

#[test]
fn the_python_sdk_drives_it_without_a_handshake() {
    python("auto", "2026-07-28");
}

#[test]
fn the_python_sdk_drives_it_with_a_handshake() {
    python("legacy", "2025-11-25");
}

#[test]
fn the_typescript_client_drives_it_without_a_handshake() {
    typescript("client", "auto", "2026-07-28");
}

#[test]
fn the_typescript_client_drives_it_with_a_handshake() {
    typescript("client", "legacy", "2025-11-25");
}

#[test]
fn the_first_typescript_sdk_drives_it() {
    typescript("sdk", "legacy", "2025-11-25");
}
