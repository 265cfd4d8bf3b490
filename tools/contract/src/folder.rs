//! Folders of a project that no person writes.

/// Folders that are scratch volumes of a workspace, at its root and in the folder that a call names: what builds and
/// package managers make. `.git` is none: it is the workspace's own.
pub const SCRATCH_FOLDERS: [&str; 6] = ["target", "node_modules", ".venv", "venv", ".tox", ".nox"];

/// Folders that interpreters, linters and test runners keep for themselves and make again: nobody misses one.
pub const CACHE_FOLDERS: [&str; 7] =
    ["__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".cache", ".hypothesis", ".nyc_output"];
