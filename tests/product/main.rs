//! Whole-product tests: the built binary, real clients, real projects. One program, so that it is linked once.
//!
//! What can be tested beside its code is tested there; these are the promises that only the whole can keep or break.

#![expect(clippy::print_stdout, reason = "counts and tables are part of what these tests show")]

mod arguments;
mod changes;
mod clients;
mod command_line;
mod commit_take;
mod examples;
mod git;
mod git_stops;
mod harness;
mod house;
mod kill;
mod mcp_json;
mod policy;
mod projects;
mod secrets;
mod stdio;
mod stops;
mod tasks;
mod upkeep;
