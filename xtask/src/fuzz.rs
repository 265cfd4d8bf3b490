//! `cargo xtask fuzz`: builds the guest's fuzz targets with coverage and runs each for a while.
//!
//! The flags are those that cargo-fuzz passes, so that no further tool is needed: coverage counters and the address
//! sanitizer exist on a nightly compiler only.

use std::{fs, path::Path};

use clap::Args;

use crate::step::{Error, error, execute, output, program, repository, target};

/// How long to fuzz.
#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// Seconds that each target runs
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
}

/// What makes LLVM count the edges that an input takes (LLVM's SanitizerCoverage), and the sanitizer itself.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1 -Zsanitizer=address";

/// An input longer than this is not tried, bytes. Frames may be larger; their decoder does not care.
const MAX_INPUT: u32 = 1 << 16;

/// Builds and runs every target.
///
/// # Errors
/// When a target finds something or does not build. Where there is no nightly compiler it says so and ends well.
pub(crate) fn run(fuzz: &Fuzz) -> Result<(), Error> {
    let Some(toolchain) = nightly() else {
        eprintln!(
            "\n==> fuzz: NOT RUN. Coverage needs a nightly compiler and none is installed; \
             get one with: rustup toolchain install nightly"
        );
        return Ok(());
    };
    let folder = repository().join("sandboxes/guest/fuzz");
    let host = host(&toolchain)?;
    let built = target().join("fuzz");
    let mut build = program("rustup");
    build.args(["run", &toolchain, "cargo", "build", "--release", "--target", &host, "--manifest-path"]);
    build.arg(folder.join("Cargo.toml")).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &built);
    // The pinned toolchain's own variables would bring its compiler back.
    build.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").env_remove("CARGO");
    execute(&mut build)?;
    let names = names(&folder)?;
    for name in &names {
        run_target(&built.join(&host).join("release").join(name), name, fuzz.seconds)?;
    }
    eprintln!("fuzz: {} targets, {} s each, nothing found", names.len(), fuzz.seconds);
    Ok(())
}

fn run_target(binary: &Path, name: &str, seconds: u32) -> Result<(), Error> {
    let kept = target().join("fuzz-kept").join(name);
    let corpus = kept.join("corpus");
    let make = |folder: &Path| {
        fs::create_dir_all(folder).map_err(|source| error(format!("make {}: {source}", folder.display())))
    };
    make(&corpus)?;
    let mut command = program(binary);
    command
        .arg(&corpus)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_INPUT}"))
        .arg(format!("-artifact_prefix={}/", kept.display()))
        // An input that makes the decoder hold this much is a finding, MiB.
        .args(["-rss_limit_mb=1024", "-timeout=10", "-print_final_stats=1", "-verbosity=0"]);
    execute(&mut command)
}

/// The targets: the programs of the fuzz package.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let mut metadata = program("cargo");
    metadata.args(["metadata", "--format-version=1", "--no-deps", "--manifest-path"]).arg(folder.join("Cargo.toml"));
    let text = output(&mut metadata)?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|source| error(format!("read cargo's metadata: {source}")))?;
    let targets = value["packages"][0]["targets"].as_array().cloned().unwrap_or_default();
    let names: Vec<String> = targets
        .iter()
        .filter(|target| target["kind"][0] == "bin")
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect();
    if names.is_empty() { Err(error("find a fuzz target")) } else { Ok(names) }
}

/// The newest-named nightly toolchain that is installed.
fn nightly() -> Option<String> {
    let list = output(program("rustup").args(["toolchain", "list"])).ok()?;
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|name| name.starts_with("nightly"))
        .map(str::to_owned)
}

fn host(toolchain: &str) -> Result<String, Error> {
    let text = output(program("rustup").args(["run", toolchain, "rustc", "-vV"]))?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| error("read the compiler's own target"))
}
