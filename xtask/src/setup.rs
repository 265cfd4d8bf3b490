//! Installs what the tests need beside Rust, gcc and libc6-dev: nothing when it is all there.
//!
//! System packages come from the machine's own package manager, which it asks by name; cargo-nextest comes from cargo.
//! Where this may not install, it says what is missing and how to get it, and ends.

use std::path::Path;

use crate::step::{Error, answers, cargo, error, execute, program};

/// The release of cargo-nextest that CI installs: one that builds with the pinned toolchain.
const NEXTEST: &str = "0.9.143";

/// How to see that a Debian package's content is there.
pub(crate) enum Sign {
    /// A program answers this argument.
    Program(&'static str, &'static str),
    /// One of these files exists.
    File(&'static [&'static str]),
}

/// What is needed, the Debian package that has it, and what for.
const NEEDED: [(Sign, &str, &str); 14] = [
    (Sign::Program("git", "--version"), "git", "the tidy checks list the repository's files"),
    (Sign::Program("python3", "--version"), "python3", "Python projects and clients"),
    // Debian's python3 has the module and misses what it needs until this package is there.
    (Sign::Program("python3", "-mensurepip"), "python3-venv", "virtual environments"),
    (Sign::Program("node", "--version"), "nodejs", "Node projects and clients"),
    (Sign::Program("npm", "--version"), "npm", "Node projects and clients"),
    (Sign::Program("go", "version"), "golang-go", "Go projects"),
    (Sign::Program("make", "--version"), "make", "projects with a makefile"),
    (Sign::Program("bwrap", "--version"), "bubblewrap", "the benchmark's other sandbox"),
    (Sign::Program("rg", "--version"), "ripgrep", "the search that the benchmark compares ours with"),
    (Sign::Program("unshare", "--version"), "util-linux", "tests as an ordinary user"),
    (Sign::Program("g++", "--version"), "g++", "the fuzz targets' driver, and the address sanitizer"),
    (Sign::Program("strace", "--version"), "strace", "kills an order at each of its system calls"),
    (Sign::Program("gdb", "--version"), "gdb", "a debugger on own children must work inside"),
    (
        Sign::File(&[
            "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
            "/usr/lib/aarch64-linux-gnu/libjemalloc.so.2",
            "/usr/lib/libjemalloc.so.2",
        ]),
        "libjemalloc2",
        "another allocator must work inside",
    ),
];

/// Installs what is missing.
///
/// # Errors
/// When something is missing and cannot be installed; the text names it and the command that mends it.
pub(crate) fn run() -> Result<(), Error> {
    packages(&NEEDED)?;
    nextest()
}

/// Installs the packages whose signs are missing.
///
/// # Errors
/// When one is missing and cannot be installed; the text names it and the command that mends it.
pub(crate) fn packages(needed: &[(Sign, &str, &str)]) -> Result<(), Error> {
    let missing: Vec<_> = needed.iter().filter(|(sign, _, _)| !is_there(sign)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (_, package, purpose) in &missing {
        eprintln!("missing: {package} ({purpose})");
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    let by_hand = || error(format!("install what is missing; as root: apt-get install {}", packages.join(" ")));
    if !answers("apt-get", "--version") {
        return Err(by_hand());
    }
    let mut prefix: Vec<&str> = Vec::new();
    if !is_root() {
        // Without a question: there is nobody to answer it.
        if !answers("sudo", "-nv") {
            return Err(by_hand());
        }
        prefix.extend(["sudo", "-n"]);
    }
    prefix.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    let apt = |arguments: &[&str]| {
        let mut command = program(prefix[0]);
        command.args(&prefix[1..]).args(arguments);
        execute(&mut command)
    };
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())?;
    match needed.iter().find(|(sign, _, _)| !is_there(sign)) {
        None => Ok(()),
        Some((_, package, _)) => Err(error(format!("find what {package} should have brought"))),
    }
}

fn is_there(sign: &Sign) -> bool {
    match sign {
        // `python3 -m ensurepip --version` changes nothing; the module alone would install.
        Sign::Program("python3", "-mensurepip") => {
            let mut command = program("python3");
            command.args(["-m", "ensurepip", "--version"]);
            command.output().is_ok_and(|output| output.status.success())
        }
        Sign::Program(name, argument) => answers(name, argument),
        Sign::File(paths) => paths.iter().any(|path| Path::new(path).exists()),
    }
}

fn is_root() -> bool {
    crate::step::output(program("id").arg("-u")).is_ok_and(|text| text.trim() == "0")
}

fn nextest() -> Result<(), Error> {
    if answers("cargo-nextest", "--version") {
        return Ok(());
    }
    // Unoptimised: it only starts our tests, and building it so takes half the time.
    execute(cargo().args(["install", "--locked", "--debug", "cargo-nextest", "--version", NEXTEST]))
}
