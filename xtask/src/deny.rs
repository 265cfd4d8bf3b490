//! `cargo xtask deny`: licences, sources and forbidden edges, by cargo-deny.

use crate::step::{Error, answers, cargo, error, execute};

/// Runs cargo-deny's checks that need no network.
///
/// # Errors
/// When a check fails, or cargo-deny is not installed: a check that did not run is not a check that passed.
pub(crate) fn run() -> Result<(), Error> {
    if !answers("cargo-deny", "--version") {
        return Err(error("find cargo-deny; install it with: cargo install --locked cargo-deny"));
    }
    // The advisory database lies on a host that not every machine reaches; see deny.toml.
    execute(cargo().args(["deny", "--workspace", "check", "licenses", "bans", "sources"]))
}
