//! Ordinary things that must work, by the programs that people use: compilers, interpreters, runners, debuggers.
//!
//! A program that this machine lacks fails its row: the set-up of the tests installs it, and nothing is skipped.

use std::fs;

use cofferdam_contract::Sandbox as _;
use cofferdam_sandboxes::OpenSandbox;

use super::{Row, ensure, row};
use crate::{
    report::Report,
    stage::{Ask, Stage, run},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("W20", "a C compiler, and what it makes", c_compiler),
    row("W21", "address sanitizer, with its leak check", address_sanitizer),
    row("W22", "thread and undefined-behaviour sanitizers", other_sanitizers),
    row("W23", "gdb on its own child", gdb),
    row("W24", "python: processes, semaphores, shared memory", python),
    row("W25", "python: sqlite, temporary files, sockets, a virtual environment", python_library),
    row("W26", "node: workers, WASM, child processes", node),
    row("W27", "node: a server, file watching, the test runner", node_server),
    row("W28", "cargo builds and tests a package", cargo),
    row("W29", "git: a repository of its own, and the workspace's", git),
    row("W30", "shell tools", shell_tools),
];

/// Enough for compilers and runners.
fn roomy() -> Ask {
    Ask::execute().with(|limits| {
        (limits.memory_mb, limits.disk_mb, limits.pids) = (2048, 1024, 256);
        (limits.wall_seconds, limits.cpu_seconds) = (60, 120);
    })
}

/// Runs a program that must end well, and gives what it printed.
fn well(open: &mut OpenSandbox, program: &str, arguments: &[&str]) -> Result<String, String> {
    let found = open.find_program(program).map_err(|error| error.to_string())?;
    ensure(found.is_some(), || format!("this machine has no {program}"))?;
    let report = run(open, program, arguments, |_, _| {});
    let ended_well = report.outcome == Ok(cofferdam_contract::Exit::Code(0));
    ensure(ended_well, || format!("{program}: {}", report.seen()))?;
    Ok(report.text().trim().to_owned())
}

/// The same for a program below the workspace.
fn own(open: &mut OpenSandbox, program: &str, arguments: &[&str]) -> Report {
    run(open, program, arguments, |_, _| {})
}

const HELLO: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";

fn c_compiler(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W20");
    site.write_on_host("hello.c", HELLO);
    site.write_on_host("hello.cc", "#include <iostream>\n#include <thread>\nint main() { std::thread t([] { std::cout << \"hello\\n\"; }); t.join(); }\n");
    let mut open = site.open(&roomy());
    well(&mut open, "cc", &["-O2", "-o", "hello", "hello.c"])?;
    own(&mut open, "./hello", &[]).printed("hello")?;
    well(&mut open, "gcc", &["-static", "-o", "hello-static", "hello.c"])?;
    own(&mut open, "./hello-static", &[]).printed("hello")?;
    well(&mut open, "g++", &["-pthread", "-o", "hello-cc", "hello.cc"])?;
    own(&mut open, "./hello-cc", &[]).printed("hello")?;
    site.write_on_host("Makefile", "all: hello\nhello: hello.c\n\t$(CC) -o $@ $<\n");
    well(&mut open, "make", &["-j2", "-B"])?;
    Ok(Cell::Holds)
}

const FAULTY: &str = "#include <stdlib.h>\nint main(int n, char **v) { char *p = malloc(8); if (n > 1) return p[8 + n]; if (n < 1) free(p); p = 0; return 0; }\n";

fn address_sanitizer(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W21");
    site.write_on_host("hello.c", HELLO);
    site.write_on_host("faulty.c", FAULTY);
    let mut open = site.open(&roomy());
    well(&mut open, "gcc", &["-fsanitize=address", "-g", "-o", "hello", "hello.c"])?;
    own(&mut open, "./hello", &[]).printed("hello")?;
    well(&mut open, "gcc", &["-fsanitize=address", "-O0", "-g", "-o", "faulty", "faulty.c"])?;
    let report = own(&mut open, "./faulty", &["x"]);
    let errors = String::from_utf8_lossy(&report.stderr).into_owned();
    ensure(errors.contains("heap-buffer-overflow") && errors.contains("faulty.c"), || report.seen())?;
    // The leak check stops the process by ptrace from a thread of its own.
    let report = own(&mut open, "./faulty", &[]);
    let errors = String::from_utf8_lossy(&report.stderr).into_owned();
    ensure(errors.contains("detected memory leaks"), || report.seen())?;
    Ok(Cell::Holds)
}

fn other_sanitizers(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W22");
    site.write_on_host("race.c", "#include <pthread.h>\n#include <stdio.h>\nint n; void *f(void *p) { n++; return p; }\nint main(void) { pthread_t t; pthread_create(&t, 0, f, 0); n++; pthread_join(t, 0); puts(\"done\"); return 0; }\n");
    site.write_on_host(
        "shift.c",
        "#include <stdio.h>\nint main(int n, char **v) { printf(\"%d\\n\", 1 << (n + 40)); return 0; }\n",
    );
    let mut open = site.open(&roomy());
    well(&mut open, "gcc", &["-fsanitize=thread", "-g", "-o", "race", "race.c"])?;
    let report = own(&mut open, "./race", &[]);
    ensure(report.text().contains("done"), || report.seen())?;
    well(&mut open, "gcc", &["-fsanitize=undefined", "-g", "-o", "shift", "shift.c"])?;
    let report = own(&mut open, "./shift", &[]);
    ensure(String::from_utf8_lossy(&report.stderr).contains("runtime error"), || report.seen())?;
    Ok(Cell::Holds)
}

fn gdb(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W23");
    site.write_on_host("hello.c", HELLO);
    let mut open = site.open(&roomy());
    well(&mut open, "gcc", &["-g", "-O0", "-o", "hello", "hello.c"])?;
    let commands = ["-batch", "-nx", "-ex", "break main", "-ex", "run", "-ex", "bt", "-ex", "continue", "./hello"];
    let report = run(&mut open, "gdb", &commands, |_, _| {});
    let text = report.text();
    ensure(text.contains("Breakpoint 1, main") && text.contains("hello") && text.contains("exited normally"), || {
        report.seen()
    })?;
    Ok(Cell::Holds)
}

const PROCESSES: &str = r#"
import multiprocessing, concurrent.futures, threading, os
from multiprocessing import shared_memory

def square(number):
    return number * number

def add(counter, lock):
    for _ in range(100):
        with lock:
            counter.value += 1

if __name__ == "__main__":
    for method in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context(method)
        with context.Pool(3) as pool:
            assert pool.map(square, range(10)) == [n * n for n in range(10)], method
        counter, lock = context.Value("i", 0), context.Lock()
        workers = [context.Process(target=add, args=(counter, lock)) for _ in range(4)]
        [worker.start() for worker in workers]
        [worker.join() for worker in workers]
        assert counter.value == 400, (method, counter.value)
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        assert list(pool.map(square, [3])) == [9]
    block = shared_memory.SharedMemory(create=True, size=4096)
    block.buf[0] = 7
    again = shared_memory.SharedMemory(name=block.name)
    assert again.buf[0] == 7
    again.close(); block.close(); block.unlink()
    manager = multiprocessing.Manager()
    shared = manager.dict(); shared["a"] = 1
    assert shared["a"] == 1
    manager.shutdown()
    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=barrier.wait) for _ in range(4)]
    [thread.start() for thread in threads]; [thread.join() for thread in threads]
    print("worked")
"#;

fn python(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W24");
    site.write_on_host("processes.py", PROCESSES);
    let mut open = site.open(&roomy());
    let printed = well(&mut open, "python3", &["processes.py"])?;
    ensure(printed == "worked", || printed.clone())?;
    Ok(Cell::Holds)
}

const LIBRARY: &str = r#"
import asyncio, ctypes, fcntl, os, pathlib, select, socket, sqlite3, ssl, subprocess, sys, tempfile, unittest
with sqlite3.connect("data.sqlite") as base:
    base.execute("pragma journal_mode = wal")
    base.execute("create table t (n)")
    base.executemany("insert into t values (?)", [(n,) for n in range(100)])
    assert base.execute("select sum(n) from t").fetchone() == (4950,)
with tempfile.NamedTemporaryFile() as file, tempfile.TemporaryDirectory() as folder:
    file.write(b"x"); file.flush()
    assert folder.startswith("/tmp/"), folder
async def echo():
    async def serve(reader, writer):
        writer.write(await reader.readline()); await writer.drain(); writer.close()
    server = await asyncio.start_server(serve, "localhost", 0)
    reader, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
asyncio.run(echo())
ssl.create_default_context()
assert ctypes.CDLL(None).getpid() == os.getpid()
assert subprocess.run(["sh", "-c", "exit 4"]).returncode == 4
assert os.path.expanduser("~") == "/home/agent"
pathlib.Path("~/.cache/x").expanduser().mkdir(parents=True)
print("worked")
"#;

const CASES: &str = "import unittest\nclass T(unittest.TestCase):\n    def test_one(self): self.assertEqual(1, 1)\n    def test_two(self): self.assertTrue(True)\n";

fn python_library(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W25");
    site.write_on_host("library.py", LIBRARY);
    site.write_on_host("test_cases.py", CASES);
    let mut open = site.open(&roomy());
    let printed = well(&mut open, "python3", &["library.py"])?;
    ensure(printed == "worked", || printed.clone())?;
    let report = run(&mut open, "python3", &["-m", "unittest", "-v"], |_, _| {});
    ensure(String::from_utf8_lossy(&report.stderr).contains("Ran 2 tests"), || report.seen())?;
    well(&mut open, "python3", &["-m", "venv", "--without-pip", "environment"])?;
    let report =
        own(&mut open, "./environment/bin/python", &["-c", "import sys; print(sys.prefix != sys.base_prefix)"]);
    report.printed("True")?;
    Ok(Cell::Holds)
}

const WORKERS: &str = r#"
const { Worker, isMainThread, parentPort } = require("node:worker_threads");
const { execFileSync, fork } = require("node:child_process");
if (!isMainThread) { parentPort.postMessage(6 * 7); }
else if (process.argv[2] === "child") { process.send("from a child"); process.disconnect(); }
else {
  const bytes = Uint8Array.from([0,97,115,109,1,0,0,0,1,7,1,96,2,127,127,1,127,3,2,1,0,7,7,1,3,97,100,100,0,0,10,9,1,7,0,32,0,32,1,106,11]);
  const add = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports.add;
  if (add(40, 2) !== 42) throw new Error("wasm");
  new WebAssembly.Memory({ initial: 1, maximum: 100, shared: true });
  if (execFileSync("echo", ["x"]).toString() !== "x\n") throw new Error("exec");
  const answers = [0, 1, 2, 3].map(() => new Promise((resolve, reject) => {
    const worker = new Worker(__filename); worker.on("message", resolve); worker.on("error", reject);
  }));
  answers.push(new Promise((resolve) => fork(__filename, ["child"]).on("message", resolve)));
  Promise.all(answers).then((all) => console.log(all.join(" ")));
}
"#;

fn node(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W26");
    site.write_on_host("workers.js", WORKERS);
    let mut open = site.open(&roomy());
    let printed = well(&mut open, "node", &["workers.js"])?;
    ensure(printed == "42 42 42 42 from a child", || printed.clone())?;
    Ok(Cell::Holds)
}

const SERVER: &str = r#"
const http = require("node:http"), fs = require("node:fs"), test = require("node:test"), assert = require("node:assert");
test("a server answers", async () => {
  const server = http.createServer((request, response) => response.end("hello"));
  await new Promise((resolve) => server.listen(0, "localhost", resolve));
  const answer = await fetch(`http://localhost:${server.address().port}`);
  assert.strictEqual(await answer.text(), "hello");
  server.close(); server.closeAllConnections();
});
test("a change is seen", async () => {
  fs.mkdirSync("watched");
  const seen = new Promise((resolve) => { const w = fs.watch("watched", () => { w.close(); resolve(true); }); });
  fs.writeFileSync("watched/file", "x");
  assert.ok(await seen);
});
"#;

fn node_server(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W27");
    site.write_on_host("server.test.js", SERVER);
    let mut open = site.open(&roomy());
    let printed = well(&mut open, "node", &["--test"])?;
    ensure(printed.contains("pass 2") && printed.contains("fail 0"), || printed.clone())?;
    Ok(Cell::Holds)
}

fn cargo(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W28");
    site.write_on_host(
        "Cargo.toml",
        "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\nbuild = \"build.rs\"\n",
    );
    // As a real project has it: a new one in every view would be a change that the build script is run again for.
    site.write_on_host("Cargo.lock", "# This file is automatically @generated by Cargo.\n# It is not intended for manual editing.\nversion = 4\n\n[[package]]\nname = \"sample\"\nversion = \"0.1.0\"\n");
    site.write_on_host("build.rs", "fn main() { println!(\"cargo:rustc-env=BUILT=yes\"); }\n");
    site.write_on_host("src/lib.rs", "#[cfg(test)]\nmod tests {\n    #[test]\n    fn built() { assert_eq!(env!(\"BUILT\"), \"yes\"); }\n    #[test]\n    #[should_panic]\n    fn panics() { panic!(\"as it should\"); }\n}\n");
    let home = stage.toolchain_home();
    let yard = stage.yard_with(&home, &[]);
    let mut open = site.open_in(&yard, &roomy());
    let report = run(&mut open, "cargo", &["test", "--offline", "--color=never"], |_, _| {});
    ensure(report.text().contains("2 passed; 0 failed"), || report.seen())?;
    // The second run builds nothing: what the first one made is a scratch volume's.
    drop(open);
    let mut open = site.open_in(&yard, &roomy());
    let report = run(&mut open, "cargo", &["test", "--offline", "--color=never"], |_, _| {});
    let errors = String::from_utf8_lossy(&report.stderr).into_owned();
    ensure(report.text().contains("2 passed; 0 failed") && !errors.contains("Compiling"), || report.seen())?;
    ensure(!site.workspace.join("target").exists(), || "target is on the host".into())?;
    Ok(Cell::Holds)
}

fn git(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W29");
    let status = std::process::Command::new("git").args(["init", "--quiet"]).current_dir(&site.workspace).status();
    ensure(status.is_ok_and(|status| status.success()), || "this machine has no git".into())?;
    let mut open = site.open(&roomy());
    let status = well(&mut open, "git", &["status", "--porcelain", "README"])?;
    ensure(status == "?? README", || status.clone())?;
    let name = ["-c", "user.name=agent", "-c", "user.email=agent@localhost"];
    well(&mut open, "git", &["add", "README", "folder"])?;
    well(&mut open, "git", &[name.as_slice(), &["commit", "--quiet", "-m", "first"]].concat())?;
    let log = well(&mut open, "git", &["log", "--oneline"])?;
    ensure(log.ends_with("first"), || log.clone())?;
    well(&mut open, "git", &["clone", "--quiet", ".", "/tmp/clone"])?;
    drop(open);
    let refs = fs::read_dir(site.workspace.join(".git/refs/heads")).into_iter().flatten().count();
    ensure(refs == 0, || "a commit is in the host's repository".into())?;
    Ok(Cell::Holds)
}

fn shell_tools(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("W30");
    let mut open = site.open(&roomy());
    let scripts = [
        ("find . -name one | xargs cat", "1"),
        ("tar cf /tmp/a.tar folder && mkdir /tmp/x && tar xf /tmp/a.tar -C /tmp/x && cat /tmp/x/folder/two", "2"),
        ("mkfifo /tmp/pipe && (echo through > /tmp/pipe &) && cat /tmp/pipe", "through"),
        ("flock /tmp/lock echo locked", "locked"),
        ("mktemp -d | cut -c1-5", "/tmp/"),
        ("sed -i s/readme/changed/ README && cat README", "changed"),
        ("cp -a folder copied && diff -r folder copied && echo same", "same"),
        ("timeout 1 sleep 5; echo $?", "124"),
        ("ulimit -c; nproc > /dev/null && echo counted", "0\ncounted|1\ncounted"),
        ("df . > /dev/null && free > /dev/null; ps -e | wc -l | tr -d ' ' > /dev/null && echo shown", "shown"),
        ("test -e /dev/tty || echo none", "none"),
    ];
    for (script, right) in scripts {
        let report = run(&mut open, "sh", &["-c", script], |_, _| {});
        let printed = report.text();
        ensure(right.split('|').any(|right| right == printed.trim()), || format!("{script}: {}", report.seen()))?;
    }
    Ok(Cell::Holds)
}
