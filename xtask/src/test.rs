//! `cargo xtask test`: every check and test, in the order in which they are cheap. CI runs exactly this.

use clap::Args;

use crate::{
    fuzz, setup,
    step::{Error, cargo, execute},
};

/// The guest with its own program.
const GUEST: [&str; 4] = ["--package", "cofferdam-guest", "--features", "program"];

/// How to test.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Seconds that each fuzz target runs
    #[arg(long, default_value_t = 60)]
    fuzz_seconds: u32,
}

/// Runs everything. The first failing step ends it, but the test runner itself goes through all tests.
///
/// # Errors
/// The step that failed.
pub(crate) fn run(test: &Test) -> Result<(), Error> {
    execute(cargo().args(["fmt", "--all", "--check"]))?;
    setup::run()?;
    execute(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    // The guest's own program is built for sandboxes by a build script; for its lints and unit tests it is built here. By
    // itself, since with the feature on everything above the guest would be built twice.
    execute(cargo().args(["clippy", "--all-targets", "--locked"]).args(GUEST).args(["--", "-D", "warnings"]))?;
    execute(cargo().args(["nextest", "run", "--locked", "--profile", "ci"]).args(GUEST))?;
    // nextest does not run documentation's examples.
    execute(cargo().args(["test", "--workspace", "--locked", "--doc"]))?;
    fuzz::run(&fuzz::Fuzz { seconds: test.fuzz_seconds })?;
    // Last, so that its summary closes the output.
    execute(cargo().args(["nextest", "run", "--workspace", "--locked", "--profile", "ci"]))
}
