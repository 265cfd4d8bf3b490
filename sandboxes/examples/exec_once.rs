//! Opens a fresh sandbox, executes an empty program in it and destroys it, as often as asked: what `cargo xtask bench`
//! sets beside bubblewrap. Prints one line a round: nanoseconds to open, to execute, to close.
//!
//! Usage: exec_once ROUNDS FOLDER, with FOLDER empty and the caller's own.

mod measured;

use std::{env, io::Write, path::PathBuf, time::Instant};

use cofferdam_contract::{Exit, HandBack, Sandbox};
use cofferdam_sandboxes::Cancel;

use measured::{Measured, command};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let rounds: usize = arguments.next().ok_or("name the rounds")?.parse()?;
    let folder = PathBuf::from(arguments.next().ok_or("name a folder")?).canonicalize()?;
    let measured = Measured::begin(&folder)?;
    let command = command("true", &[]);
    let mut output = std::io::stdout().lock();
    for _ in 0..rounds {
        let permit = measured.permit(HandBack::Nothing)?;
        let begun = Instant::now();
        let mut sandbox = measured.yard.open(permit, &measured.session, &Cancel::new())?;
        let opened = Instant::now();
        let exit = sandbox.execute(&command, &mut |_, _| {})?;
        let executed = Instant::now();
        sandbox.close()?;
        if exit != Exit::Code(0) {
            return Err(format!("true ended with {exit:?}").into());
        }
        let (open, run, close) = (opened - begun, executed - opened, executed.elapsed());
        writeln!(output, "{} {} {}", open.as_nanos(), run.as_nanos(), close.as_nanos())?;
    }
    Ok(())
}
