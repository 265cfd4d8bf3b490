//! What is kept beside the workspace for a while: what hand-backs replaced ([`shelf`], for [`undo`]), and what runs wrote
//! and nobody asked for ([`left`], for `keep_changes`). [`archive`] is the folder of either, and what its age and size may be.

pub(super) mod archive;
pub(super) mod left;
pub(super) mod shelf;
pub(super) mod undo;

#[cfg(test)]
mod left_tests;
#[cfg(test)]
mod undo_tests;
