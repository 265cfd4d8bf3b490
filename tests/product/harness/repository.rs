//! This repository's own files.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The repository's folder.
pub(crate) fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The product's binary.
pub(crate) fn cofferdam() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_cofferdam"))
}

/// The cargo that runs these tests, started in the repository.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder());
    command
}

/// Where fetched things are kept between runs: the target folder.
pub(crate) fn cache() -> PathBuf {
    // <target>/tmp, which cargo makes for integration tests.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}
