//! The server: composes tools, policy and sandboxes, and speaks with clients and persons.
//!
//! `call.rs` is the line that every call takes. Everything else brings calls to it (`mcp`, `cli`) or is a part of it.

pub mod audit;
mod call;
pub mod cli;
mod committed;
pub mod config;
mod confine;
mod entry;
mod handed_back;
pub mod mcp;
pub mod opening;
mod orders;
pub mod plain;
#[cfg(test)]
mod playground;
pub mod policy_files;
mod policy_in_force;
pub mod progress;
mod redaction;
pub mod reply;
pub mod run;
pub mod runs;
pub mod server;
mod session_answers;
pub mod slots;
mod watched;
