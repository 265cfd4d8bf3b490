//! Opens a fresh sandbox, executes an empty program in it and destroys it, as often as asked: what `cargo xtask bench`
//! sets beside bubblewrap. Prints one line a round: nanoseconds to open, to execute, to close.
//!
//! Usage: exec_once ROUNDS FOLDER, with FOLDER empty and the caller's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Write,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use cofferdam_contract::{
    Arguments, Command, Exit, HandBack, Isolation, Lane, Limits, Network, Plan, Sandbox, Work, WorkspacePath,
};
use cofferdam_policy::{BUILTIN, Layer, LayerName, Policy, ToolShape, Verdict};
use cofferdam_sandboxes::{Cancel, Kernel, KernelSays, Session, Workspace, Yard, YardOptions, root::Host};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let rounds: usize = arguments.next().ok_or("name the rounds")?.parse()?;
    let folder = PathBuf::from(arguments.next().ok_or("name a folder")?).canonicalize()?;
    let place = |name: &str| folder.join(name);
    for name in ["work", "state", "home"] {
        fs::create_dir(place(name))?;
    }
    let workspace = Workspace::open(&place("work"), &place("state"), &place("home"))?;
    let session = Arc::new(Session::open(Arc::new(workspace), "default")?);
    let host = Host { home: place("home"), state: place("state"), environment: env::vars_os().collect() };
    let yard = Yard::new(YardOptions { host, pool_size: 0, kernel: Kernel::judge(&KernelSays::now()) })?;
    let policy = Policy::load(&[Layer { name: LayerName::Builtin, file: "builtin", text: BUILTIN }], &shapes())?;
    let command = Command {
        program: "true".to_owned(),
        arguments: Vec::new(),
        directory: WorkspacePath::workspace(),
        environment: BTreeMap::new(),
    };
    let mut output = std::io::stdout().lock();
    for _ in 0..rounds {
        let Verdict::Allow(permit) = policy.judge(plan()) else { return Err("the builtin policy refuses".into()) };
        let begun = Instant::now();
        let mut sandbox = yard.open(permit, &session, &Cancel::new())?;
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

fn plan() -> Plan {
    Plan {
        tool: "run_tests".to_owned(),
        arguments: Arguments::new(),
        work: Work::Execute,
        reads: Vec::new(),
        hand_back: HandBack::Nothing,
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
    let names = names.into_iter().chain(["run_tests", "list_changes", "get_run", "cancel_run", "keep_changes"]);
    let arguments = ["path", "content", "old_string", "new_string", "pattern", "source", "destination", "run_id"];
    names
        .map(|name| ToolShape { name: name.to_owned(), arguments: arguments.into_iter().map(str::to_owned).collect() })
        .collect()
}
