//! Hands a thousand changed files back, as often as asked, beside a plain program that writes the same files to the same file
//! system and waits until they are on the disk: what `cargo xtask bench` prints as the cost of a hand-back.
//!
//! Prints one line a measurement: `new` or `edited`, then nanoseconds of the plain program with its `syncfs(2)`, and of our
//! open, execute, close and hand-back.
//!
//! Usage: hand_back ROUNDS FOLDER, with FOLDER empty and the caller's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam_contract::{
    Arguments, Command, Exit, HandBack, Isolation, Lane, Limits, Network, Plan, Sandbox, Work, WorkspacePath,
};
use cofferdam_policy::{BUILTIN, Layer, LayerName, Policy, ToolShape, Verdict};
use cofferdam_sandboxes::{Cancel, Session, Workspace, Yard, YardOptions, root::Host};

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
    let place = |name: &str| folder.join(name);
    for name in ["work", "plain", "state", "home"] {
        fs::create_dir(place(name))?;
    }
    let workspace = Workspace::open(&place("work"), &place("state"), &place("home"))?;
    let session = Arc::new(Session::open(Arc::new(workspace), "default")?);
    let host = Host { home: place("home"), state: place("state"), environment: env::vars_os().collect() };
    let yard = Yard::new(YardOptions { host, pool_size: 0 })?;
    let policy = Policy::load(&[Layer { name: LayerName::Builtin, file: "builtin", text: BUILTIN }], &shapes())?;
    let mut output = std::io::stdout().lock();
    for round in 0..rounds {
        let name = format!("round{round}");
        for (kind, script) in [("new", WRITE), ("edited", EDIT)] {
            let plain = plain(script, &place("plain"), &name)?;
            let Verdict::Allow(permit) = policy.judge(plan()) else { return Err("the builtin policy refuses".into()) };
            let begun = Instant::now();
            let mut sandbox = yard.open(permit, &session, &Cancel::new())?;
            let opened = Instant::now();
            let exit = sandbox.execute(&command(script, &name), &mut |_, _| {})?;
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

fn command(script: &str, name: &str) -> Command {
    Command {
        program: "sh".to_owned(),
        arguments: script_arguments(script, name).to_vec(),
        directory: WorkspacePath::workspace(),
        environment: BTreeMap::new(),
    }
}

fn script_arguments(script: &str, name: &str) -> [String; 6] {
    ["-ec", script, "sh", &FILES.to_string(), name, &FOLDERS.to_string()].map(str::to_owned)
}

fn plan() -> Plan {
    Plan {
        tool: "run_tests".to_owned(),
        arguments: Arguments::new(),
        work: Work::Execute,
        reads: Vec::new(),
        hand_back: HandBack::Tree,
        network: Network::Off,
        isolation: Isolation::Namespace,
        lane: Lane::Routine,
        limits: Limits::TESTS,
        credentials: BTreeSet::new(),
    }
}

/// The tools and arguments that the builtin policy speaks of.
fn shapes() -> Vec<ToolShape> {
    let names = ["read_file", "write_file", "edit_file", "list_files", "search_files", "move_file", "delete_file"];
    let names = names.into_iter().chain(["run_tests", "list_changes", "get_run", "cancel_run"]);
    let arguments = ["path", "content", "old_string", "new_string", "pattern", "source", "destination", "run_id"];
    names
        .map(|name| ToolShape { name: name.to_owned(), arguments: arguments.into_iter().map(str::to_owned).collect() })
        .collect()
}
