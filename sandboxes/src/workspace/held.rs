//! What a session holds for a person: the layers with its content, and the record that says why.
//!
//! [`stack`] is the noun; [`layer`] and [`ledger`] are its two halves on the disk. A person reads it by [`diff`] and lets it
//! go by [`release`].

pub(super) mod diff;
pub(super) mod layer;
pub(super) mod ledger;
pub(super) mod release;
pub(super) mod stack;

#[cfg(test)]
mod held_tests;
#[cfg(test)]
mod stack_tests;
