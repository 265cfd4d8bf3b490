//! stub
use clap::Subcommand;
/// x
#[derive(Debug, Subcommand)]
pub(super) enum Changes {
    /// x
    List,
}
pub(super) fn run(_c: &Changes, _s: &crate::server::Setup, _x: super::terminal::Colour) -> super::exit::Exit {
    super::exit::Exit::Success
}
