//! `cargo xtask bench`: what a call costs, beside what it is compared with, in one run on one machine.
//!
//! The contestants take turns in short rounds, so that whatever else the machine does meets all of them. Times are wall
//! clock, from the request's first byte to the answer's last. Steps are read from the server's own log, in rounds of
//! their own: writing that log costs time.

mod conversation;
mod hand_back;
mod size;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use serde_json::json;

use self::{conversation::Conversation, table::Row};
use crate::step::{Error, cargo, error, execute, output, program, target};

/// The unsandboxed server that is compared with.
const REFERENCE: &str = "@modelcontextprotocol/server-filesystem@2026.8.31";

/// Files of the tree that is searched, and lines of each.
const TREE: (usize, usize) = (5_000, 40);

/// How much to measure.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Rounds; each measures every contestant ten times
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// What to measure
    #[arg(long, value_enum, default_value_t = Part::All)]
    part: Part,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Everything
    All,
    /// What the size of a workspace costs, with nothing, a masked file or a held change over it
    Size,
}

/// Calls of each contestant in one round.
const CALLS: usize = 10;

/// Measures and prints the table.
///
/// # Errors
/// When a contestant cannot be built, installed or started: a table with a row missing compares nothing.
pub(crate) fn run(bench: &Bench) -> Result<(), Error> {
    execute(cargo().args(["build", "--release", "--locked", "--package", "cofferdam"]))?;
    let place = Place::make()?;
    match bench.part {
        Part::All => {}
        Part::Size => {
            let sizes = size::measure(bench.rounds, &place)?;
            table::print(&borrowed(&sizes), &[]);
            return Ok(());
        }
    }
    execute(cargo().args([
        "build",
        "--release",
        "--locked",
        "--package",
        "cofferdam-sandboxes",
        "--example",
        "exec_once",
        "--example",
        hand_back::EXAMPLE,
    ]))?;
    let reference = install_reference()?;
    let exec = measure_exec(bench.rounds, &place)?;
    let calls = measure_calls(bench.rounds, &place, &reference)?;
    let steps = measure_steps(&place)?;
    let handed_back = hand_back::measure(&place.folder)?;
    let sizes = size::measure(bench.rounds, &place)?;
    let first = [("Executing an empty program", exec.as_slice(), 1), ("Calls over stdio, end to end", &calls, 0)];
    table::print(&[&first[..], &borrowed(&sizes)].concat(), &steps);
    table::print_differences(&handed_back);
    Ok(())
}

fn borrowed(sizes: &[(String, Vec<Row>)]) -> Vec<(&str, &[Row], usize)> {
    sizes.iter().map(|(title, rows)| (title.as_str(), rows.as_slice(), 0)).collect()
}

/// A folder with everything that is measured on. Dropping it removes it.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn make() -> Result<Self, Error> {
        let folder = std::env::temp_dir().join(format!("cofferdam-bench-{}", std::process::id()));
        let place = Self { folder };
        let make = |path: PathBuf| {
            fs::create_dir_all(&path).map_err(|source| error(format!("make {}: {source}", path.display())))
        };
        make(place.folder.join("exec"))?;
        make(place.folder.join("state"))?;
        for number in 0..TREE.0 {
            let folder = place.workspace().join(format!("part{}", number % 100));
            make(folder.clone())?;
            let line = format!("pub fn item_{number}(value: u64) -> u64 {{ value + {number} }}\n");
            let needle = if number % 1000 == 7 { "// a needle in the hay\n" } else { "" };
            write(&folder.join(format!("file{number}.rs")), &(line.repeat(TREE.1) + needle))?;
        }
        write(&place.workspace().join("read.txt"), &"a line of some length, to be read\n".repeat(100))?;
        Ok(place)
    }

    fn workspace(&self) -> PathBuf {
        self.folder.join("work")
    }

    fn serve(&self, pool: &str) -> std::process::Command {
        self.serve_on(&self.workspace(), pool)
    }

    fn serve_on(&self, workspace: &Path, pool: &str) -> std::process::Command {
        let mut command = program(target().join("release/cofferdam"));
        command.args(["serve", "--pool", pool, "--workspace"]).arg(workspace);
        command.env("XDG_STATE_HOME", self.folder.join("state")).env("XDG_CONFIG_HOME", self.folder.join("config"));
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| error(format!("write {}: {source}", path.display())))
}

/// Installs the reference server and returns its script.
fn install_reference() -> Result<PathBuf, Error> {
    let folder = target().join("bench");
    let script = folder.join("node_modules/@modelcontextprotocol/server-filesystem/dist/index.js");
    if !script.exists() {
        fs::create_dir_all(&folder).map_err(|source| error(format!("make {}: {source}", folder.display())))?;
        write(&folder.join("package.json"), "{\"private\": true}\n")?;
        let mut npm = program("npm");
        execute(npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", REFERENCE]).current_dir(&folder))?;
    }
    Ok(script)
}

/// An empty program: plain, in bubblewrap, and in a fresh sandbox of ours.
fn measure_exec(rounds: usize, place: &Place) -> Result<Vec<Row>, Error> {
    let mut plain = Row::new("fork + exec");
    let mut bubblewrap = Row::new("bwrap --unshare-all");
    let mut ours = Row::new("cofferdam, fresh sandbox");
    let mut parts = [Row::new("  open"), Row::new("  execute"), Row::new("  close")];
    for round in 0..rounds {
        for _ in 0..CALLS {
            plain.times.push(time(&mut program("/bin/true"))?);
            let mut bwrap = program("bwrap");
            bwrap.args([
                "--unshare-all",
                "--die-with-parent",
                "--ro-bind",
                "/",
                "/",
                "--dev",
                "/dev",
                "--proc",
                "/proc",
            ]);
            bubblewrap.times.push(time(bwrap.arg("/bin/true"))?);
        }
        let folder = place.folder.join("exec").join(round.to_string());
        fs::create_dir(&folder).map_err(|source| error(format!("make {}: {source}", folder.display())))?;
        let mut example = program(target().join("release/examples/exec_once"));
        // One more than counts: the first looks around on the machine, as a server does at its start.
        let text = output(example.arg((CALLS + 1).to_string()).arg(&folder))?;
        for line in text.lines().skip(1) {
            let times: Vec<Duration> =
                line.split(' ').filter_map(|number| number.parse().ok()).map(Duration::from_nanos).collect();
            ours.times.push(times.iter().sum());
            for (part, time) in parts.iter_mut().zip(times) {
                part.times.push(time);
            }
        }
    }
    Ok([plain, bubblewrap, ours].into_iter().chain(parts).collect())
}

fn time(command: &mut std::process::Command) -> Result<Duration, Error> {
    let begun = Instant::now();
    let status = command.status().map_err(|source| error(format!("start {command:?}: {source}")))?;
    let took = begun.elapsed();
    if status.success() { Ok(took) } else { Err(error(format!("measure {command:?}: it ended with {status}"))) }
}

/// Whole calls over standard input and output.
fn measure_calls(rounds: usize, place: &Place, reference: &Path) -> Result<Vec<Row>, Error> {
    let mut node = program("node");
    node.arg(reference).arg(place.workspace());
    let file = place.workspace().join("read.txt");
    let read = json!({ "path": "read.txt" });
    let search = json!({ "pattern": "a needle in the hay" });
    let mut contestants = [
        (Row::new("read_file, Node reference"), Conversation::open(node)?, "read_text_file", json!({ "path": file })),
        (Row::new("read_file, pool on"), Conversation::open(place.serve("2"))?, "read_file", read.clone()),
        (Row::new("read_file, pool off"), Conversation::open(place.serve("0"))?, "read_file", read),
        (Row::new("search_files, pool on"), Conversation::open(place.serve("2"))?, "search_files", search.clone()),
        (Row::new("search_files, pool off"), Conversation::open(place.serve("0"))?, "search_files", search),
    ];
    for (_, conversation, tool, arguments) in &mut contestants {
        for _ in 0..CALLS {
            conversation.call(tool, arguments)?;
        }
    }
    for _ in 0..rounds {
        for (row, conversation, tool, arguments) in &mut contestants {
            for _ in 0..CALLS {
                // A person's agent thinks between calls; a pool needs that moment to be a pool.
                std::thread::sleep(Duration::from_millis(20));
                let begun = Instant::now();
                conversation.call(tool, arguments)?;
                row.times.push(begun.elapsed());
            }
        }
    }
    Ok(contestants.into_iter().map(|(row, ..)| row).collect())
}

/// The share of each step of a read, from the server's log.
fn measure_steps(place: &Place) -> Result<Vec<(String, Vec<Row>)>, Error> {
    let mut shares = Vec::new();
    for (title, pool) in [("read_file, pool on", "2"), ("read_file, pool off", "0")] {
        let mut command = place.serve(pool);
        command.env("COFFERDAM_LOG", "cofferdam::step=debug");
        let mut conversation = Conversation::open(command)?;
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(20));
            conversation.call("read_file", &json!({ "path": "read.txt" }))?;
        }
        shares.push((title.to_owned(), table::steps(&conversation.close()?)));
    }
    Ok(shares)
}
