//! Hands a thousand changed files back, as often as asked, beside a plain program that writes the same files to the same file
//! system and waits until they are on the disk: what `cargo xtask bench` prints as the cost of a hand-back.
//!
//! Prints one line a measurement: `new` or `edited`, then nanoseconds of the plain program with its `syncfs(2)`, and of our
//! open, execute, close and hand-back.
//!
//! Usage: hand_back ROUNDS FOLDER, with FOLDER empty and the caller's own.

mod measured;

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

use cofferdam_contract::{Exit, HandBack, Sandbox};
use cofferdam_sandboxes::Cancel;

use measured::{Measured, command};

/// Files that one call changes.
const FILES: usize = 1_000;

/// Folders that they lie in.
const FOLDERS: usize = 20;

/// Writes each file anew: some 1.5 KiB, the size of a small source file.
const WRITE: &str = "line='pub fn item(value: u64) -> u64 { value + 1 } // a line of some length, as programs have it'
text=\"$line\n$line\n$line\n$line\n$line\n$line\n$line\n$line\n$line\n$line\n$line\n$line\n$line\n$line\n$line\n$line\"
number=0
while [ $number -lt $1 ]; do
    folder=$2/part$((number % $3))
    [ $number -ge $3 ] || mkdir -p $folder
    echo \"$text // $number\" > $folder/file$number.rs
    number=$((number + 1))
done";

/// Adds a line to each file, as a formatter rewrites some of each.
const EDIT: &str = "number=0
while [ $number -lt $1 ]; do
    echo '// one line more' >> $2/part$((number % $3))/file$number.rs
    number=$((number + 1))
done";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let rounds: usize = arguments.next().ok_or("name the rounds")?.parse()?;
    let folder = PathBuf::from(arguments.next().ok_or("name a folder")?).canonicalize()?;
    let measured = Measured::begin(&folder)?;
    let session = &measured.session;
    let plain_folder = folder.join("plain");
    fs::create_dir(&plain_folder)?;
    let mut output = std::io::stdout().lock();
    for round in 0..rounds {
        let name = format!("round{round}");
        for (kind, script) in [("new", WRITE), ("edited", EDIT)] {
            let plain = plain(script, &plain_folder, &name)?;
            let permit = measured.permit(HandBack::Tree)?;
            let begun = Instant::now();
            let mut sandbox = measured.yard.open(permit, session, &Cancel::new())?;
            let opened = Instant::now();
            let exit = sandbox.execute(&command("sh", &script_arguments(script, &name)), &mut |_, _| {})?;
            let executed = Instant::now();
            let closed = sandbox.close()?;
            let done = Instant::now();
            let handed = session.hand_back_closed(&closed, &format!("{kind}{round}"), &Cancel::new())?;
            let returned = done.elapsed();
            let files = handed.applied.iter().filter(|change| change.path.as_path().extension().is_some()).count();
            if exit != Exit::Code(0) || files != FILES {
                return Err(
                    format!("the call ended with {exit:?} and {files} files came back: {:?}", handed.held).into()
                );
            }
            let parts = [plain, opened - begun, executed - opened, done - executed, returned];
            let parts = parts.map(|part| part.as_nanos().to_string()).join(" ");
            writeln!(output, "{kind} {parts}")?;
        }
    }
    Ok(())
}

/// Lets a plain program change the files below `folder`, and waits until they are on the disk.
fn plain(script: &str, folder: &Path, name: &str) -> Result<Duration, Box<dyn Error>> {
    let root = File::open(folder)?;
    // What others wrote is none of its cost.
    rustix::fs::syncfs(&root)?;
    let begun = Instant::now();
    let status = process::Command::new("sh").args(script_arguments(script, name)).current_dir(folder).status()?;
    rustix::fs::syncfs(&root)?;
    let took = begun.elapsed();
    if status.success() { Ok(took) } else { Err(format!("the plain program ended with {status}").into()) }
}

fn script_arguments(script: &str, name: &str) -> [String; 6] {
    ["-ec", script, "sh", &FILES.to_string(), name, &FOLDERS.to_string()].map(str::to_owned)
}
