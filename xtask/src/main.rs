//! The project's own chores, one file a chore: `cargo xtask CHORE`.
//!
//! These are conveniences for people and CI. Nothing of the product depends on them, and they never run inside it.

mod bench;
mod deny;
mod fuzz;
mod machine;
mod projects;
mod setup;
mod step;
mod test;

use std::process::ExitCode;

use clap::Parser;

/// The project's own chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Installs what the tests need, then runs every check and test there is
    Test(test::Test),
    /// Installs what the tests need: system packages, cargo-nextest
    Setup,
    /// Builds and runs the fuzz targets
    Fuzz(fuzz::Fuzz),
    /// Fetches the real projects that `run_tests` is compared on, and prints their folders
    Projects,
    /// Measures calls against bubblewrap and an unsandboxed server
    Bench(bench::Bench),
    /// Plays what budgets by cgroup v2 promise, in an emulated machine with systemd
    Machine(machine::Machine),
    /// Checks licences, sources and forbidden edges with cargo-deny, if it is installed
    Deny,
}

fn main() -> ExitCode {
    let done = match Chore::parse() {
        Chore::Test(test) => test::run(&test),
        Chore::Setup => setup::run(),
        Chore::Fuzz(fuzz) => fuzz::run(&fuzz),
        Chore::Projects => projects::run(),
        Chore::Bench(bench) => bench::run(&bench),
        Chore::Machine(machine) => machine::run(&machine),
        Chore::Deny => deny::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: failed to {error}");
            ExitCode::FAILURE
        }
    }
}
