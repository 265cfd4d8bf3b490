//! The probe: a program that runs inside a sandbox and tries what one row of the conformance table names.
//!
//! `cofferdam-probe ROW [ARGUMENTS]` makes the row's attempts and prints one line of JSON:
//! `{"row":"P46","attempts":[{"what":"unshare(NEWUSER)","result":"EPERM"}]}`. It never says whether a result is good.
//!
//! Run outside of a sandbox it is the positive control: there the same attempts succeed, which shows that they are
//! real. Rows that would do harm there refuse to run outside.

#![expect(
    clippy::disallowed_methods,
    reason = "the bans keep a server whole; a probe is one process that does what it can"
)]

mod kernel;
mod record;
mod rows;

use std::process::ExitCode;

use record::Record;
use rows::Where;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let Some((name, rest)) = arguments.get(1..).and_then(<[String]>::split_first) else {
        eprintln!("usage: cofferdam-probe ROW [ARGUMENTS]");
        return ExitCode::from(2);
    };
    let Some((_, place, row)) = rows::ROWS.iter().find(|(row, _, _)| row == name) else {
        eprintln!("cofferdam-probe: no row {name}");
        return ExitCode::from(2);
    };
    match place {
        Where::Inside if !rows::is_inside() => {
            eprintln!("cofferdam-probe: {name} could do harm here; it runs inside a sandbox only");
            return ExitCode::from(3);
        }
        Where::Inside | Where::Anywhere => {}
    }
    let mut record = Record::new(name);
    row(&mut record, rest);
    match record.print() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
