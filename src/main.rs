//! The program: reads its command line and does as it says.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cofferdam::cli::run(cofferdam::cli::CommandLine::parse()).into()
}
