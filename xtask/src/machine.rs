//! `cargo xtask machine`: budgets by cgroup v2, on a real kernel with systemd, in a machine without a network.
//!
//! A developer's machine may have any mix of cgroups; this one has Debian's own kernel, cgroup v2 alone, a service
//! manager, and an ordinary user who logs in. It is built once below `target/machine` and booted from a snapshot, in
//! software emulation, so it needs no virtualisation. What is played there is `machine/check.sh`.
//!
//! It takes some minutes and downloads an operating system: `cargo xtask test` leaves it out.

mod root;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use crate::{
    setup::{self, Sign},
    step::{Error, cargo, error, execute, output, program, target},
};

/// What the machine is made with.
const NEEDED: [(Sign, &str, &str); 3] = [
    (Sign::Program("qemu-system-x86_64", "--version"), "qemu-system-x86", "the machine"),
    (Sign::Program("mmdebstrap", "--version"), "mmdebstrap", "the machine's system"),
    (Sign::Program("mke2fs", "-V"), "e2fsprogs", "the machine's disks"),
];

/// What is played.
const CHECK: &str = include_str!("machine/check.sh");

/// The probe fills memory byte by byte: not optimised and emulated, a deadline comes before the budget is used up.
const OPTIMISED: &[&str] = &["--config", "profile.dev.strip=true", "--config", "profile.dev.opt-level=1"];

/// How to play.
#[derive(Debug, Args)]
pub(crate) struct Machine {
    /// Seconds after which a machine that has not ended is stopped
    #[arg(long, default_value_t = 900)]
    seconds: u64,
}

/// Builds the machine if it is not there, boots it, and prints what held.
///
/// # Errors
/// When it cannot be made, does not end, or a row fails.
pub(crate) fn run(machine: &Machine) -> Result<(), Error> {
    setup::packages(&NEEDED)?;
    let folder = target().join("machine");
    let system = root::prepare(&folder)?;
    let check = check_disk(&folder)?;
    let console = folder.join("console.txt");
    boot(&system, &check, &console, Duration::from_secs(machine.seconds))?;
    let said = fs::read_to_string(&console).map_err(|why| error(format!("read the machine's console: {why}")))?;
    let rows = rows(&said);
    print(&rows);
    let failed: Vec<&Row> = rows.iter().filter(|row| !row.holds()).collect();
    for row in &failed {
        eprintln!("{} {}: {}", row.user, row.name, row.verdict);
    }
    // Every row of the script is there, or something ended it early.
    let (expected, played) = (CHECK.lines().filter(|line| line.trim_start().starts_with("row ")).count(), rows.len());
    match (failed.len(), played == expected) {
        (0, true) => Ok(()),
        (0, false) => Err(error(format!("play {expected} rows: {played} were; see {}", console.display()))),
        (failures, _) => Err(error(format!("see {failures} rows hold; see {}", console.display()))),
    }
}

/// One line of what the machine said.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    user: &'a str,
    name: &'a str,
    verdict: &'a str,
    claim: &'a str,
}

impl Row<'_> {
    fn holds(&self) -> bool {
        self.verdict == "holds"
    }
}

#[expect(clippy::print_stdout, reason = "the table is this chore's result")]
fn print(rows: &[Row<'_>]) {
    for row in rows {
        let verdict = if row.holds() { "holds" } else { "FAILS" };
        println!("{:<5} {:<10} {verdict:<6} {}", row.user, row.name, row.claim);
    }
}

/// Finds the rows among what the kernel and others wrote to the console. A message of the kernel's may stand before one.
fn rows(console: &str) -> Vec<Row<'_>> {
    let parts = console.lines().filter_map(|line| line.split_once("ROW|").map(|(_, rest)| rest.trim_end()));
    parts
        .filter_map(|rest| {
            let mut fields = rest.splitn(4, '|');
            Some(Row { user: fields.next()?, name: fields.next()?, verdict: fields.next()?, claim: fields.next()? })
        })
        .collect()
}

/// Builds what is played and puts it on a disk of its own.
fn check_disk(folder: &Path) -> Result<PathBuf, Error> {
    let content = folder.join("check");
    let bin = content.join("bin");
    root::fresh(&bin)?;
    let build = |arguments: &[&str]| -> Result<PathBuf, Error> {
        let printed = output(cargo().args(arguments).args(["--locked", "--message-format=json"]))?;
        let mut made = printed.lines().rev().filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            message["executable"].as_str().map(PathBuf::from)
        });
        made.next().ok_or_else(|| error(format!("find what `cargo {}` made", arguments.join(" "))))
    };
    // Where the conformance table's own build lies, so that it is built once.
    let probe = target().join("tmp/probe").display().to_string();
    for (name, made) in [
        ("cofferdam", build(&["build", "--package", "cofferdam", "--bin", "cofferdam"])?),
        ("conformance", build(&["test", "--no-run", "--package", "cofferdam-sandboxes", "--test", "conformance"])?),
        ("probe", build(&[&["build", "--package", "cofferdam-probe", "--target-dir", &probe], OPTIMISED].concat())?),
    ] {
        execute(program("strip").arg("-o").args([bin.join(name), made]))?;
    }
    root::write(&content.join("run"), CHECK)?;
    let disk = folder.join("check.img");
    root::disk(&content, &disk, "192M")?;
    fs::remove_dir_all(&content).map_err(|why| error(format!("remove {}: {why}", content.display())))?;
    Ok(disk)
}

/// Boots the machine and waits until it has switched itself off.
fn boot(system: &root::System, check: &Path, console: &Path, most: Duration) -> Result<(), Error> {
    let drive = |path: &Path, how: &str| format!("file={},format=raw,if=virtio,{how}", path.display());
    let mut qemu: Command = program("qemu-system-x86_64");
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536"])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-nic", "none"])
        .arg("-kernel")
        .arg(&system.kernel)
        .arg("-initrd")
        .arg(&system.start)
        .args([
            "-append",
            "console=ttyS0 quiet panic=-1 mitigations=off systemd.unit=check.service systemd.show_status=0",
        ])
        .args(["-drive", &drive(&system.disk, "snapshot=on"), "-drive", &drive(check, "readonly=on")])
        .args(["-serial", &format!("file:{}", console.display())])
        .stdout(Stdio::null());
    eprintln!("\n==> booting (at most {} s); console: {}", most.as_secs(), console.display());
    let begun = Instant::now();
    let mut machine = qemu.spawn().map_err(|source| Error::Start { line: "qemu-system-x86_64".into(), source })?;
    let ended = loop {
        match machine.try_wait() {
            Ok(Some(status)) if status.success() => break Ok(()),
            Ok(Some(status)) => break Err(error(format!("run the machine: it ended with {status}"))),
            Ok(None) if begun.elapsed() < most => thread::sleep(Duration::from_millis(200)),
            Ok(None) => break Err(error(format!("see the machine end within {} s", most.as_secs()))),
            Err(why) => break Err(error(format!("wait for the machine: {why}"))),
        }
    };
    // Ended already, unless it is being given up.
    let _ = machine.kill();
    let _ = machine.wait();
    eprintln!("<== {:.0} s", begun.elapsed().as_secs_f64());
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_between_other_lines() {
        let console =
            "[ 1.0] boot\r\nROW|root|kill|holds|nothing is left\r\n[ 2.0] oomROW|user|a|FAILS x y|b\r\nROW|x\r\n";
        let rows = rows(console);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0], Row { user: "root", name: "kill", verdict: "holds", claim: "nothing is left" });
        assert!(rows[0].holds());
        assert_eq!((rows[1].name, rows[1].holds()), ("a", false));
    }
}
