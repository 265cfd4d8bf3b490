//! Executing programs.

use std::{os::unix::fs::PermissionsExt, time::Instant};

use super::*;

fn make_program(guest: &Guest, path: &str, content: &str) {
    let path = guest.make(path, content);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn output_and_exit_status_arrive() {
    let mut guest = Guest::start();
    let ran = guest.sh("echo out; echo err >&2; exit 3");
    assert_eq!(ran, Ran { exit: Exit::Code(3), stdout: "out\n".into(), stderr: "err\n".into(), omitted: 0 });
    assert_eq!(guest.sh("kill -TERM $$").exit, Exit::Signal(15));
}

#[test]
fn each_argument_reaches_the_program_as_it_is() {
    let mut guest = Guest::start();
    let arguments = ["%s\n", "a b", "$HOME", "`id`", "*", "", "-x", "\"'\\", "\n", "é"];
    let ran = guest.run(command("printf", &arguments), 1 << 10).unwrap();
    assert_eq!(ran.stdout, "a b\n$HOME\n`id`\n*\n\n-x\n\"'\\\n\n\né\n");
}

#[test]
fn a_command_gets_a_clean_start() {
    let mut guest = Guest::start();
    // The listing's own descriptor is 3.
    assert_eq!(guest.sh("ls /proc/self/fd").stdout, "0\n1\n2\n3\n");
    assert_eq!(guest.sh("cat").stdout, "");
    let status = guest.run(command("cat", &["/proc/self/status"]), 1 << 20).unwrap().stdout;
    for set in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        assert_eq!(status.lines().find_map(|line| line.strip_prefix(set)), Some("\t0000000000000000"), "{set}");
    }
    let ran = guest.sh("cut -d' ' -f1,5,6 /proc/self/stat; echo $$");
    let numbers: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert_eq!(numbers[1..], [numbers[3]; 3], "leads its own group and session: {numbers:?}");
}

#[test]
fn variables_and_folder_are_as_asked() {
    let mut guest = Guest::start_with(&[("KEPT", "1"), ("REPLACED", "1")]);
    guest.make("sub/file", "");
    let mut asked = command("sh", &["-c", "echo $KEPT $REPLACED $NEW; pwd; echo $PWD; ls"]);
    asked.directory = path("sub");
    asked.environment = BTreeMap::from([("REPLACED".into(), "2".into()), ("NEW".into(), "3".into())]);
    let sub = guest.workspace().join("sub");
    let ran = guest.run(asked, 1 << 10).unwrap();
    assert_eq!(ran.stdout, format!("1 2 3\n{0}\n{0}\nfile\n", sub.display()));
}

#[test]
fn the_beginning_and_the_ending_of_long_output_arrive() {
    let mut guest = Guest::start();
    let ran = guest.run(command("seq", &["1", "1000000"]), 100_000).unwrap();
    assert_eq!((ran.exit, ran.stdout.len()), (Exit::Code(0), 100_000));
    assert!(ran.stdout.starts_with("1\n2\n3\n") && ran.stdout.ends_with("\n999999\n1000000\n"));
    let whole: u64 = (1..=1_000_000_u64).map(|number| number.to_string().len() as u64 + 1).sum();
    assert_eq!(ran.omitted, whole - 100_000);
    let silent = guest.run(command("seq", &["1", "1000"]), 0).unwrap();
    assert_eq!((silent.stdout.as_str(), silent.omitted), ("", 3893));
}

#[test]
fn a_slow_reader_stops_the_writer_and_loses_nothing() {
    let mut guest = Guest::start();
    guest.begin(command("sh", &["-c", "head -c 20000000 /dev/zero | tr '\\0' x; echo end >&2"]), 1 << 30);
    std::thread::sleep(Duration::from_millis(700));
    let status = std::fs::read_to_string(format!("/proc/{}/status", guest.process.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 8 << 10, "{kilobytes} kB are held while nobody reads");
    let ran = guest.finish().unwrap();
    assert_eq!((ran.stdout.len(), ran.stderr.as_str(), ran.omitted), (20_000_000, "end\n", 0));
}

#[test]
fn a_process_left_behind_does_not_hold_the_command_up() {
    let mut guest = Guest::start();
    let begun = Instant::now();
    let ran = guest.sh("(sleep 30; echo late) & echo done");
    assert_eq!((ran.exit, ran.stdout.as_str()), (Exit::Code(0), "done\n"));
    let took = begun.elapsed();
    assert!((Duration::from_millis(200)..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert_eq!(guest.sh("echo next").stdout, "next\n");
}

#[test]
fn last_words_arrive_though_a_process_left_behind_never_stops_talking() {
    let mut guest = Guest::start();
    // More than the limit, so the words are in the ending that is kept; the endless writer must not go on for ever.
    let ran = guest.run(command("sh", &["-c", "(while :; do echo x; done) & echo end >&2"]), 1 << 20).unwrap();
    assert_eq!((ran.exit, ran.stderr.as_str()), (Exit::Code(0), "end\n"));
}

#[test]
fn kill_ends_the_command_and_its_group() {
    let mut guest = Guest::start();
    guest.begin(command("sh", &["-c", "echo started; sleep 61 & sleep 62"]), 1 << 10);
    assert_eq!(guest.hear(), Some(Event::Output(Stream::Stdout, b"started\n".into())));
    let kill = guest.conversation.kill().unwrap();
    guest.socket.write_all(&kill).unwrap();
    guest.socket.write_all(&kill).unwrap();
    assert_eq!(guest.finish().unwrap().exit, Exit::Signal(9));
    // The second order came too late and is passed over.
    assert_eq!(guest.sh("echo next").stdout, "next\n");
}

#[test]
fn programs_are_found_on_the_path_but_never_in_the_workspace() {
    let mut guest = Guest::start();
    make_program(&guest, "bin/planted", "#!/bin/sh\necho planted\n");
    make_program(&guest, "relative/planted", "#!/bin/sh\necho planted\n");
    make_program(&guest, "bin/sh", "#!/bin/sh\necho planted\n");
    let mut found = |name: &str| {
        let frame = guest.conversation.find_program(name.into()).unwrap();
        guest.socket.write_all(&frame).unwrap();
        match guest.hear() {
            Some(Event::Program(path)) => path,
            other => panic!("{other:?}"),
        }
    };
    assert!(found("sh").unwrap().ends_with("/bin/sh") && !found("sh").unwrap().contains("work"));
    for name in ["planted", "no-such-program", "", "../bin/sh", "/bin/sh", "./bin/sh"] {
        assert_eq!(found(name), None, "{name}");
    }
    let refusal = guest.run(command("planted", &[]), 0).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NotFound);
    assert_eq!(refusal.message, "the program `planted` is not on the sandbox's PATH");
    assert_eq!(guest.run(command("/bin/sh", &[]), 0).unwrap_err().kind, RefusalKind::Invalid);
    assert_eq!(guest.run(command("bin/planted", &[]), 0).unwrap_err().kind, RefusalKind::Invalid);
    assert_eq!(guest.run(command("./bin/planted", &[]), 99).unwrap().stdout, "planted\n");
}

#[test]
fn the_interpreter_of_a_virtual_environment_may_be_a_link_to_the_systems() {
    let mut guest = Guest::start();
    guest.make("venv/bin/keep", "");
    guest.make_link("venv/bin/interpreter", "/bin/sh");
    guest.make_link("venv2", "/bin");
    let ran = guest.run(command("./venv/bin/interpreter", &["-c", "echo $0"]), 999).unwrap();
    assert_eq!(ran.stdout, format!("{}\n", guest.workspace().join("venv/bin/interpreter").display()));
    assert_eq!(guest.run(command("./venv2/sh", &[]), 0).unwrap_err().kind, RefusalKind::LeadsOut);
    assert_eq!(guest.run(command("./../../../bin/sh", &[]), 0).unwrap_err().kind, RefusalKind::Invalid);
}

#[test]
fn what_cannot_be_started_says_why() {
    let mut guest = Guest::start();
    guest.make("text", "echo no\n");
    make_program(&guest, "no-header", "echo a shell ran this\n");
    make_program(&guest, "no-interpreter", "#!/no/such/interpreter\n");
    let mut refused = |program: &str, directory: &str| {
        let mut command = command(program, &[]);
        command.directory = path(directory);
        guest.run(command, 0).unwrap_err()
    };
    assert_eq!(refused("./missing", ".").kind, RefusalKind::NotFound);
    assert_eq!(refused("./text", ".").kind, RefusalKind::Permission);
    assert_eq!(refused("./no-header", ".").message, "`./no-header` could not be started: exec format error");
    assert_eq!(refused("./no-interpreter", ".").kind, RefusalKind::NotFound);
    assert_eq!(refused("./", ".").kind, RefusalKind::Invalid);
    assert_eq!(refused("sh", "missing").kind, RefusalKind::NotFound);
    assert_eq!(refused("sh", "text").kind, RefusalKind::WrongKind);
    let mut nul = command("sh", &["a\0b"]);
    assert_eq!(guest.run(nul.clone(), 0).unwrap_err().kind, RefusalKind::Invalid);
    nul.arguments = vec!["x".repeat(200_000)];
    assert_eq!(guest.run(nul.clone(), 0).unwrap_err().kind, RefusalKind::TooLarge);
    nul.environment = BTreeMap::from([("A=B".into(), String::new())]);
    assert_eq!(guest.run(nul, 0).unwrap_err().kind, RefusalKind::Invalid);
}

#[test]
fn a_hundred_commands_leave_no_descriptor_and_no_zombie() {
    let mut guest = Guest::start();
    // Room for what one command needs, not for what a hundred would leave. Its descriptors cannot be looked at: the
    // program is not dumpable, so `/proc` shows them to root only.
    let pid = rustix::process::Pid::from_child(&guest.process);
    let few = rustix::process::Rlimit { current: Some(32), maximum: Some(32) };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, few).unwrap();
    for _ in 0..100 {
        assert_eq!(guest.sh("true & true").exit, Exit::Code(0));
    }
    let children = format!("/proc/{0}/task/{0}/children", guest.process.id());
    assert_eq!(std::fs::read_to_string(children).unwrap(), "");
}
