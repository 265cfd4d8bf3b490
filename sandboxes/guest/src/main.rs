//! The program that runs inside every sandbox, as its first process.
//!
//! It is not the boundary: whatever it says is hostile input to the server. It is small, static and single-threaded so
//! that it starts quickly and can be read whole. It holds no secret and has no power that the sandbox does not have.
//!
//! How it is started: the channel is a stream socket at descriptor 3, the first argument is the workspace's absolute
//! path, and its environment is what its children get.

mod program;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::run()
}
