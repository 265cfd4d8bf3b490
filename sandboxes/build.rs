//! Builds the program that runs inside every sandbox, so that it can be embedded.
//!
//! It is another program for another place: static, small, with features that the server must not have. So it is built
//! by a Cargo of its own in a target folder of its own, below `OUT_DIR`, where the lock of the outer build is not held.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Configuration of Cargo that concerns how packages are fetched. Everything else of the outer build stays outside:
/// its flags, its wrappers (clippy's among them) and its target folder are not meant for this program.
const KEPT: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_MAKEFLAGS",
    "CARGO_TERM_",
];

fn main() {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace = here.parent().expect("this package is a folder of the workspace").to_owned();
    for input in [
        here.join("build.rs"),
        here.join("guest/src"),
        here.join("guest/Cargo.toml"),
        workspace.join("tools/contract/src"),
        workspace.join("tools/contract/Cargo.toml"),
        workspace.join("Cargo.toml"),
        workspace.join("Cargo.lock"),
    ] {
        println!("cargo::rerun-if-changed={}", input.display());
    }
    let program = build(&here.join("guest/Cargo.toml"), &PathBuf::from(variable("OUT_DIR")).join("guest"));
    println!("cargo::rustc-env=COFFERDAM_GUEST_PROGRAM={}", program.display());
}

/// Runs Cargo and says where the program is.
fn build(manifest: &Path, target_folder: &Path) -> PathBuf {
    let target = static_target();
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .arg("build")
        .arg("--manifest-path")
        .arg(manifest)
        .args(["--package", "cofferdam-guest", "--bin", "cofferdam-guest", "--features", "program"])
        .args(["--profile", "guest", "--locked", "--target", &target])
        .arg("--target-dir")
        .arg(target_folder);
    for (name, _) in env::vars_os() {
        let is_cargo = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO") && name != "CARGO" && !KEPT.iter().any(|kept| name.starts_with(kept))
        });
        let is_wrapper = ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "RUSTC", "RUSTDOC"];
        if is_cargo || is_wrapper.iter().any(|wrapper| name == *wrapper) {
            cargo.env_remove(&name);
        }
    }
    // No interpreter and no relocation: nothing of the root that it starts in is needed. With `--target` the flags do
    // not reach build scripts and procedural macros, which must stay dynamic.
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
    let status = cargo.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "the program that runs inside every sandbox could not be built ({status:?}); what Cargo said is above.\n\
         It is linked statically: for {target} that needs the C library's static archive \
         (Debian: libc6-dev; Fedora: glibc-static)."
    );
    target_folder.join(&target).join("guest/cofferdam-guest")
}

/// The server's own target, with musl's C library where that is installed: smaller, and nothing else is needed then.
fn static_target() -> String {
    let target = variable("TARGET");
    let musl = target.replace("-gnu", "-musl");
    let sysroot = Command::new(variable("RUSTC")).args(["--print", "sysroot"]).output();
    let has_musl = sysroot.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Path::new(&sysroot).join("lib/rustlib").join(&musl).join("lib").is_dir()
    });
    if has_musl { musl } else { target }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("Cargo sets {name} for build scripts"))
}
