//! bench placeholder
use clap::Args;
#[derive(Debug, Args)]
pub(crate) struct Bench {}
pub(crate) fn run(_b: &Bench) -> Result<(), crate::step::Error> {
    Ok(())
}
