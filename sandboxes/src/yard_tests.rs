//! The yard on the real kernel: whole calls, as tools make them.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use cofferdam_contract::{
    Arguments, Command, Ended, Exit, Expected, FileReply, FileRequest, Guarantee, HandBack, Isolation, Lane, Limits,
    Network, Plan, ReadFile, Sandbox, SandboxError, Strength, Window, Work, WorkspacePath, WriteFile,
};
use cofferdam_policy::{BUILTIN, Layer, LayerName, Permit, Policy, ToolShape, Verdict};

use super::*;
use crate::{
    kernel::KernelSays,
    scratch::ScratchNote,
    workspace::{Patience, TreePath, Workspace},
};

struct House {
    /// First, so that nothing is prepared any more while the folder is removed.
    yard: Yard,
    session: Arc<Session>,
    folder: tempfile::TempDir,
}

/// Every way to make a view.
const MECHANISMS: [ViewMechanism; 3] = [ViewMechanism::Overlay, ViewMechanism::OverlayOnFolder, ViewMechanism::Copy];

impl House {
    fn new(pool_size: usize) -> Self {
        Self::made(|options| Yard::new(YardOptions { pool_size, ..options }))
    }

    fn with_view(pool_size: usize, mechanism: ViewMechanism) -> Self {
        Self::made(|options| Yard::with_view(YardOptions { pool_size, ..options }, mechanism))
    }

    /// On a machine that has no loop devices.
    fn without_loop_devices(mechanism: ViewMechanism) -> Self {
        let means = Means { control: "/dev/absent/loop-control".into(), ..Means::default() };
        Self::made(|options| Yard::with_means(options, Views::ordered(mechanism), means))
    }

    fn made(yard: impl FnOnce(YardOptions) -> Result<Yard, YardError>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().canonicalize().unwrap().join(name);
        for name in ["work", "state", "home"] {
            fs::create_dir(place(name)).unwrap();
        }
        fs::write(place("work").join("hello.txt"), "hello\n").unwrap();
        let workspace = Workspace::open(&place("work"), &place("state"), &place("home")).unwrap();
        let session = Arc::new(Session::open(Arc::new(workspace), "default").unwrap());
        let environment = std::env::vars_os().collect();
        let host = Host { home: place("home"), state: place("state"), environment };
        let yard = yard(YardOptions { host, pool_size: 0, kernel: Kernel::judge(&KernelSays::now()) }).unwrap();
        Self { folder, session, yard }
    }

    fn work(&self) -> std::path::PathBuf {
        self.folder.path().join("work")
    }

    fn open(&self, work: Work, hand_back: HandBack) -> OpenSandbox {
        self.yard.open(permit(work, hand_back, Limits::FILES), &self.session, &Cancel::new()).unwrap()
    }

    /// What a shell says to a script.
    fn said(&self, script: String) -> String {
        let mut said = String::new();
        let command = Command {
            program: "sh".into(),
            arguments: vec!["-c".into(), script],
            directory: WorkspacePath::workspace(),
            environment: BTreeMap::new(),
        };
        let mut sandbox = self.open(Work::Execute, HandBack::Nothing);
        sandbox.execute(&command, &mut |_, bytes| said.push_str(&String::from_utf8_lossy(bytes))).unwrap();
        said
    }
}

#[test]
fn nothing_in_a_shown_folder_reaches_the_host() {
    let house = House::made(|mut options| {
        options.host.environment.remove(std::ffi::OsStr::new("CARGO_HOME"));
        let bin = options.host.home.join(".cargo/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("tool"), "").unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, bin.join("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        // The umask took its part.
        rustix::fs::chmod(bin.join("pipe"), mode).unwrap();
        Yard::new(options)
    });
    let bin = house.folder.path().canonicalize().unwrap().join("home/.cargo/bin");
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
    let reader = rustix::fs::open(bin.join("pipe"), flags, rustix::fs::Mode::empty()).unwrap();
    let tool = fs::File::open(bin.join("tool")).unwrap();
    rustix::fs::flock(&tool, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let bin = bin.display();
    let script = format!("flock -n {bin}/tool echo free; timeout 1 sh -c 'echo stolen > {bin}/pipe'; echo sent $?");
    // A pipe that nobody inside reads cannot be opened for writing; 124 is timeout(1)'s.
    assert_eq!(house.said(script), "free\nsent 124\n");
    assert_eq!(rustix::io::read(&reader, &mut [0; 8]), Ok(0), "nobody wrote to the host's pipe");
}

#[test]
fn what_the_kernel_lets_be_read_cannot_be_written() {
    let house = House::new(0);
    let files = "/proc/sys/kernel/hostname /proc/pressure/memory /proc/pressure/cpu";
    let script = format!("for f in {files}; do [ -e $f ] || continue; (exec 3<>$f) 2>/dev/null && echo $f; done");
    assert_eq!(house.said(script), "");
}

/// A house whose person has a toolchain of two folders, with a third beside them that is not shown.
fn house_with_node() -> (House, std::path::PathBuf) {
    let house = House::made(|mut options| {
        options.host.environment.remove(std::ffi::OsStr::new("NVM_DIR"));
        let nvm = options.host.home.join(".nvm");
        let version = nvm.join("versions/node/v20.1.0");
        for (file, text) in
            [("bin/node", ""), ("lib/module.js", "shown"), ("etc/npmrc", "//registry/:_authToken=secret")]
        {
            fs::create_dir_all(version.join(file).parent().unwrap()).unwrap();
            fs::write(version.join(file), text).unwrap();
        }
        fs::set_permissions(version.join("bin/node"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::create_dir(nvm.join("alias")).unwrap();
        fs::write(nvm.join("alias/default"), "20\n").unwrap();
        Yard::new(options)
    });
    let version = house.folder.path().canonicalize().unwrap().join("home/.nvm/versions/node/v20.1.0");
    (house, version)
}

#[test]
fn a_link_in_the_place_of_a_shown_folder_is_not_followed() {
    let (house, version) = house_with_node();
    let try_to_open = || {
        let permit = permit(Work::Execute, HandBack::Nothing, Limits::FILES);
        house.yard.open(permit, &house.session, &Cancel::new()).map(drop)
    };
    try_to_open().unwrap();
    // The one leads out of what is shown, the other to what lies beside it.
    for (folder, target) in [("lib", version.join("etc")), ("bin", "etc".into())] {
        let (place, aside) = (version.join(folder), version.join("aside"));
        fs::rename(&place, &aside).unwrap();
        std::os::unix::fs::symlink(target, &place).unwrap();
        let refused = try_to_open();
        assert!(matches!(&refused, Err(OpenError::Start(StartError::Show { .. }))), "{refused:?}");
        // What is there was looked up again since.
        try_to_open().unwrap();
        fs::remove_file(&place).unwrap();
        fs::rename(&aside, &place).unwrap();
        house.yard.ground.forget_host_root(house.session.workspace().root());
        try_to_open().unwrap();
    }
    // The whole of it swapped, so that what is cloned itself lies behind a link.
    let aside = version.with_file_name("aside");
    fs::rename(&version, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &version).unwrap();
    let refused = try_to_open();
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn folders_of_one_parent_share_an_overlay_and_their_neighbours_are_nowhere() {
    let (house, version) = house_with_node();
    let version = version.display();
    let script = format!(
        "cd {version} && ls && cat lib/module.js; echo; \
         [ \"$(stat -c %d bin)\" = \"$(stat -c %d lib)\" ] && echo one; \
         ls {version}/bin/../etc {version}/lib/../../v20.1.0/etc /.layers 2>/dev/null; \
         touch lib/x bin/node 2>/dev/null && echo writable; [ -e /etc/shadow ] && echo shadow; \
         grep ' {version}/' /proc/self/mountinfo | grep -c ' ro,nosuid,nodev'; grep -c ' {version}/' /proc/self/mountinfo"
    );
    assert_eq!(house.said(script), "bin\nlib\nshown\none\n2\n2\n");
}

/// A permit for a plan, minted by the builtin policy.
fn permit(work: Work, hand_back: HandBack, limits: Limits) -> Permit {
    permit_under("version = 1", work, hand_back, limits)
}

/// A permit for a plan, minted by the builtin policy below an operator's.
fn permit_under(operator: &str, work: Work, hand_back: HandBack, limits: Limits) -> Permit {
    permit_for("", operator, work, hand_back, limits)
}

/// The same for a plan that names a folder; the empty one is the workspace.
fn permit_for(folder: &str, operator: &str, work: Work, hand_back: HandBack, limits: Limits) -> Permit {
    let tool = match work {
        Work::ReadFiles => "read_file",
        Work::WriteFiles => "write_file",
        Work::Execute => "run_tests",
        Work::ReadRepository => "git_status",
        Work::Commit => "git_commit",
        Work::Session(_) => "list_changes",
    };
    let names = [
        "read_file",
        "write_file",
        "edit_file",
        "list_files",
        "search_files",
        "move_file",
        "delete_file",
        "run_tests",
        "list_changes",
        "get_run",
        "cancel_run",
        "keep_changes",
        "git_status",
        "git_diff",
        "git_log",
        "git_show",
        "git_commit",
        "lint",
        "format",
        "check_types",
        "build",
    ];
    let arguments = [
        "path",
        "offset",
        "limit",
        "content",
        "old_string",
        "new_string",
        "replace_all",
        "edits",
        "glob",
        "depth",
        "pattern",
        "type",
        "output_mode",
        "context",
        "case_insensitive",
        "multiline",
        "head_limit",
        "source",
        "destination",
        "filter",
        "runner",
        "keep",
        "timeout_seconds",
        "run_id",
        "wait_seconds",
    ];
    let shapes: Vec<ToolShape> = names
        .iter()
        .map(|name| ToolShape {
            name: (*name).to_owned(),
            arguments: arguments.iter().map(|name| (*name).to_owned()).collect(),
            required: std::collections::BTreeSet::new(),
        })
        .collect();
    let builtin = Layer { name: LayerName::Builtin, file: "builtin", text: BUILTIN };
    let operator = Layer { name: LayerName::Operator, file: "operator", text: operator };
    let policy = Policy::load(&[builtin, operator], &shapes).unwrap();
    let plan = Plan {
        tool: tool.to_owned(),
        arguments: Arguments::from_iter((!folder.is_empty()).then(|| ("path".to_owned(), folder.into()))),
        work,
        reads: Vec::new(),
        hand_back,
        network: Network::Off,
        isolation: Isolation::Namespace,
        lane: Lane::Routine,
        limits,
        credentials: std::collections::BTreeSet::new(),
    };
    match policy.judge(plan) {
        Verdict::Allow(permit) => permit,
        Verdict::Ask(question) => panic!("{question}"),
        Verdict::Deny(refusal) => panic!("{refusal}"),
    }
}

fn path(text: &str) -> WorkspacePath {
    WorkspacePath::parse(text, "/").unwrap()
}

fn read(sandbox: &mut OpenSandbox, name: &str) -> Result<String, SandboxError> {
    let request = ReadFile { path: path(name), window: Window::Bytes, max_bytes: 1000 };
    match sandbox.file(FileRequest::Read(request))? {
        FileReply::Read(content) => Ok(String::from_utf8(content.bytes).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn write(sandbox: &mut OpenSandbox, name: &str, text: &str) -> Result<FileReply, SandboxError> {
    let request = WriteFile { path: path(name), content: text.into(), expected: Expected::Anything };
    sandbox.file(FileRequest::Write(request))
}

fn execute(sandbox: &mut OpenSandbox, program: &str, arguments: &[&str]) -> Result<(Exit, String), SandboxError> {
    let command = Command {
        program: program.to_owned(),
        arguments: arguments.iter().map(ToString::to_string).collect(),
        directory: WorkspacePath::workspace(),
        environment: BTreeMap::new(),
    };
    let mut text = Vec::new();
    let exit = sandbox.execute(&command, &mut |_, bytes| text.extend_from_slice(bytes))?;
    Ok((exit, String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn a_file_is_read_with_and_without_the_pool() {
    for pool_size in [0, 2] {
        let house = House::new(pool_size);
        for round in 0..6 {
            fs::write(house.work().join("hello.txt"), format!("{round}")).unwrap();
            let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
            assert_eq!(read(&mut sandbox, "hello.txt").unwrap(), round.to_string());
            let closed = sandbox.close().unwrap();
            assert!(closed.changeset.is_none());
        }
    }
}

#[test]
fn a_read_only_sandbox_neither_writes_nor_executes() {
    let house = House::new(0);
    let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
    assert!(matches!(write(&mut sandbox, "x", "x"), Err(SandboxError::NotPlanned { .. })));
    assert!(matches!(execute(&mut sandbox, "true", &[]), Err(SandboxError::NotPlanned { .. })));
}

#[test]
fn a_written_file_comes_back_and_nothing_else_does() {
    for mechanism in MECHANISMS {
        let house = House::with_view(1, mechanism);
        let mut sandbox = house.open(Work::WriteFiles, HandBack::Paths(vec![path("new/file")]));
        write(&mut sandbox, "new/file", "1").unwrap();
        write(&mut sandbox, "other", "2").unwrap();
        let closed = sandbox.close().unwrap();
        assert!(!house.work().join("new").exists(), "nothing is written before the gate");
        let handed = house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
        assert_eq!(fs::read_to_string(house.work().join("new/file")).unwrap(), "1");
        assert!(!house.work().join("other").exists());
        assert_eq!(handed.left.len(), 1, "{handed:?}");
        assert!(!closed.changed_during_call);
    }
}

#[test]
fn nothing_comes_back_outside_of_where_the_policy_lets_changes_be() {
    let house = House::new(0);
    let operator = "version = 1\n[limits]\nwrite = [\"docs\", \"docs/*.md\"]";
    let hand_back = HandBack::Paths(vec![path("docs")]);
    let permit = permit_under(operator, Work::WriteFiles, hand_back, Limits::FILES);
    let mut sandbox = house.yard.open(permit, &house.session, &Cancel::new()).unwrap();
    write(&mut sandbox, "docs/a.md", "1").unwrap();
    write(&mut sandbox, "docs/b.sh", "2").unwrap();
    let closed = sandbox.close().unwrap();
    let handed = house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
    assert!(house.work().join("docs/a.md").exists(), "{handed:?}");
    assert!(!house.work().join("docs/b.sh").exists(), "{handed:?}");
    assert_eq!(handed.left.len(), 1, "{handed:?}");
}

#[test]
fn what_is_held_is_seen_by_the_next_call_of_the_session() {
    let house = House::new(1);
    let mut sandbox = house.open(Work::WriteFiles, HandBack::Tree);
    write(&mut sandbox, ".envrc", "export A=1").unwrap();
    let closed = sandbox.close().unwrap();
    let handed = house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
    assert_eq!(handed.held.len(), 1, "{handed:?}");
    assert!(!house.work().join(".envrc").exists());
    let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
    assert_eq!(read(&mut sandbox, ".envrc").unwrap(), "export A=1");
    let mut sandbox = house.open(Work::WriteFiles, HandBack::Nothing);
    assert_eq!(read(&mut sandbox, ".envrc").unwrap(), "export A=1");
    assert_eq!(read(&mut sandbox, "hello.txt").unwrap(), "hello\n");
}

#[test]
fn a_program_runs_and_what_it_enforces_is_said() {
    let house = House::new(0);
    let mut sandbox = house.open(Work::Execute, HandBack::Nothing);
    for guarantee in Guarantee::ALL.into_iter().filter(|guarantee| guarantee.kind() == Kind::Boundary) {
        assert_eq!(sandbox.enforced().strength(guarantee), Strength::Enforced, "{guarantee:?}");
    }
    let (exit, text) = execute(&mut sandbox, "sh", &["-c", "cat hello.txt; id -u; pwd; echo > made; exit 3"]).unwrap();
    assert_eq!(exit, Exit::Code(3));
    assert_eq!(text, format!("hello\n1000\n{}\n", house.work().display()));
    let closed = sandbox.close().unwrap();
    let handed = house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
    assert!(handed.applied.is_empty());
    assert!(!house.work().join("made").exists());
}

#[test]
fn scratch_volumes_keep_what_a_run_wrote_and_the_workspace_does_not_get_it() {
    for mechanism in MECHANISMS {
        let house = House::with_view(0, mechanism);
        fs::write(house.work().join("Cargo.toml"), "").unwrap();
        fs::create_dir(house.work().join("node_modules")).unwrap();
        fs::write(house.work().join("node_modules/seed"), "seed").unwrap();
        let script = "cat node_modules/seed; cat target/kept; echo kept > target/kept; echo more >> node_modules/seed";
        for expected in ["seedcat: target/kept: No such file or directory\n", "seedmore\nkept\n"] {
            let mut sandbox = house.open(Work::Execute, HandBack::Tree);
            assert_eq!(execute(&mut sandbox, "sh", &["-c", script]).unwrap(), (Exit::Code(0), expected.to_owned()));
            let closed = sandbox.close().unwrap();
            house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
        }
        assert!(!house.work().join("target").exists());
        assert_eq!(fs::read_to_string(house.work().join("node_modules/seed")).unwrap(), "seed");
    }
}

#[test]
fn a_project_in_a_subfolder_keeps_what_it_builds_too_and_nothing_of_it_is_a_change() {
    for mechanism in [ViewMechanism::Overlay, ViewMechanism::OverlayOnFolder] {
        let house = House::with_view(0, mechanism);
        let folder = "sub/odd, name:x";
        fs::create_dir_all(house.work().join(folder).join("node_modules")).unwrap();
        fs::write(house.work().join(folder).join("node_modules/seed"), "seed").unwrap();
        fs::write(house.work().join(folder).join("Cargo.toml"), "").unwrap();
        fs::write(house.work().join("sub/Cargo.toml"), "").unwrap();
        let run = |named: &str, script: &str| {
            let permit = permit_for(named, "version = 1", Work::Execute, HandBack::Tree, Limits::FILES);
            let mut sandbox = house.yard.open(permit, &house.session, &Cancel::new()).unwrap();
            let said = execute(&mut sandbox, "sh", &["-c", script]).unwrap();
            let closed = sandbox.close().unwrap();
            let handed = house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
            assert_eq!((handed.applied, handed.left, handed.held), (vec![], vec![], vec![]), "{mechanism:?}");
            (said, closed.changed_during_call)
        };
        let script = "cat node_modules/seed target/kept ../target/above; \
            echo kept > target/kept; echo above > ../target/above; echo more >> node_modules/seed";
        let script = format!("cd '{folder}' && ({script}) 2>&1");
        let missing = |name: &str| format!("cat: {name}: No such file or directory\n");
        let first = format!("seed{}{}", missing("target/kept"), missing("../target/above"));
        assert_eq!(run(folder, &script), ((Exit::Code(0), first), false), "{mechanism:?}");
        assert_eq!(run("", &format!("ls '{folder}'")).0.1, "Cargo.toml\nnode_modules\n");
        assert_eq!(run("sub", "cat sub/target/above").0, (Exit::Code(0), "above\n".to_owned()));
        let again = "seedmore\nkept\nabove\n".to_owned();
        assert_eq!(run(folder, &script), ((Exit::Code(0), again), false), "{mechanism:?}");
        assert!(!house.work().join(folder).join("target").exists() && !house.work().join("sub/target").exists());
        assert_eq!(fs::read_to_string(house.work().join(folder).join("node_modules/seed")).unwrap(), "seed");
    }
}

#[test]
fn a_volume_is_left_out_where_a_held_change_took_its_folder_away_and_no_link_is_followed_on_the_host() {
    for mechanism in [ViewMechanism::Overlay, ViewMechanism::OverlayOnFolder] {
        let outside = tempfile::tempdir().unwrap();
        fs::set_permissions(outside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let house = House::with_view(0, mechanism);
        fs::create_dir(house.work().join("sub")).unwrap();
        fs::write(house.work().join("sub/Cargo.toml"), "").unwrap();
        let run = |script: &str| {
            let permit = permit_for("sub", "version = 1", Work::Execute, HandBack::Tree, Limits::FILES);
            let mut sandbox = house.yard.open(permit, &house.session, &Cancel::new()).unwrap();
            let said = execute(&mut sandbox, "sh", &["-c", script]).unwrap();
            let closed = sandbox.close().unwrap();
            (said, house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap())
        };
        // The volume is mounted in the folder, so it cannot be removed; its name can be had by another call.
        let permit = permit(Work::Execute, HandBack::Tree, Limits::FILES);
        let mut sandbox = house.yard.open(permit, &house.session, &Cancel::new()).unwrap();
        let script = format!("rm -r sub && ln -s {} sub", outside.path().display());
        assert_eq!(execute(&mut sandbox, "sh", &["-c", &script]).unwrap().0, Exit::Code(0));
        let closed = sandbox.close().unwrap();
        let handed = house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
        assert!(!handed.held.is_empty(), "a link out of the workspace waits for a person: {handed:?}");
        assert!(house.work().join("sub/Cargo.toml").exists());
        let ((exit, text), _) = run("readlink sub; grep -c target /proc/self/mountinfo");
        assert_eq!((exit, text), (Exit::Code(1), format!("{}\n0\n", outside.path().display())), "{mechanism:?}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_call_that_waits_for_its_turn_says_so_and_has_all_of_its_time_when_it_has_it() {
    let house = House::new(0);
    let first = house.open(Work::Execute, HandBack::Nothing);
    let told = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let permit = permit(Work::Execute, HandBack::Nothing, Limits { wall_seconds: 2, ..Limits::FILES });
            let mut tell = |line: &str| told.lock().unwrap().push(line.to_owned());
            let mut sandbox =
                house.yard.open_and_tell(permit, &house.session, &Cancel::new(), &mut tell).expect("it has its turn");
            let said = execute(&mut sandbox, "echo", &["ran"]);
            (said, execute(&mut sandbox, "sleep", &["60"]))
        });
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(*told.lock().unwrap(), ["waiting for another run on this workspace to end"]);
        assert!(!second.is_finished());
        first.close().unwrap();
        let (said, late) = second.join().unwrap();
        assert_eq!(said, Ok((Exit::Code(0), "ran\n".to_owned())));
        assert_eq!(late, Err(SandboxError::Ended(Ended::Deadline)));
    });
}

#[test]
fn another_server_has_the_volumes_when_the_first_has_let_go_of_them() {
    let house = House::new(0);
    fs::write(house.work().join("Cargo.toml"), "").unwrap();
    let host = house.yard.ground.host.clone();
    let other = Yard::new(YardOptions { host, pool_size: 0, kernel: Kernel::judge(&KernelSays::now()) }).unwrap();
    let begun = Instant::now();
    for (round, yard) in [&house.yard, &other, &other, &house.yard].into_iter().enumerate() {
        let mut told = Vec::new();
        let permit = permit(Work::Execute, HandBack::Nothing, Limits::FILES);
        let mut tell = |line: &str| told.push(line.to_owned());
        let mut sandbox = yard.open_and_tell(permit, &house.session, &Cancel::new(), &mut tell).unwrap();
        let script = "cat target/rounds; echo on >> target/rounds";
        let (_, said) = execute(&mut sandbox, "sh", &["-c", script]).unwrap();
        assert_eq!(said.matches("on\n").count(), round);
        let closed = sandbox.close().unwrap();
        assert_eq!(closed.scratch, []);
        let waits = rustix::process::geteuid().is_root() && (round == 1 || round == 3);
        assert_eq!(told.len(), usize::from(waits), "{told:?} in round {round}");
    }
    assert!(begun.elapsed() < crate::scratch::LINGER * 2 + Duration::from_secs(20));
}

/// A call with a budget of 24 MiB that writes 64 MiB to a scratch volume.
fn overfill(house: &House) -> (OpenSandbox, Result<(Exit, String), SandboxError>) {
    fs::write(house.work().join("Cargo.toml"), "").unwrap();
    let limits = Limits { disk_mb: 24, ..Limits::FILES };
    let permit = permit(Work::Execute, HandBack::Nothing, limits);
    let mut sandbox = house.yard.open(permit, &house.session, &Cancel::new()).unwrap();
    let script =
        "for n in 1 2 3 4; do head -c 16777216 /dev/zero > target/$n; sync target/$n; sleep 0.6; done; echo on";
    let result = execute(&mut sandbox, "sh", &["-c", script]);
    (sandbox, result)
}

#[test]
fn what_does_not_fit_on_scratch_volumes_is_refused_where_there_is_an_image_and_ends_the_call_where_there_is_none() {
    let is_root = rustix::process::geteuid().is_root();
    for (mechanism, has_loop_devices) in MECHANISMS.into_iter().flat_map(|way| [(way, true), (way, false)]) {
        let house = match has_loop_devices {
            true => House::with_view(0, mechanism),
            false => House::without_loop_devices(mechanism),
        };
        let why = match mechanism {
            ViewMechanism::Copy => "a machine without overlays shows them as folders",
            ViewMechanism::Overlay | ViewMechanism::OverlayOnFolder if !is_root => "only root can mount one",
            ViewMechanism::Overlay | ViewMechanism::OverlayOnFolder => "/dev/absent/loop-control",
        };
        let has_image = is_root && has_loop_devices && mechanism != ViewMechanism::Copy;
        let (sandbox, result) = overfill(&house);
        let disk = sandbox.enforced().guarantees[&Guarantee::Disk].clone();
        let closed = sandbox.close().unwrap();
        let (strength, by) = match (has_image, mechanism) {
            (true, ViewMechanism::Overlay) => (Strength::Enforced, "size of a tmpfs and of the scratch volumes' image"),
            (true, _) => (
                Strength::Watched,
                "size of a tmpfs and of the scratch volumes' image; the view is measured by the server",
            ),
            (false, ViewMechanism::Overlay) => {
                (Strength::Watched, "size of a tmpfs; scratch volumes are measured by the server: ")
            }
            (false, _) => (
                Strength::Watched,
                "size of a tmpfs; the view and scratch volumes are measured by the server, the volumes since ",
            ),
        };
        assert_eq!(disk.strength, strength, "{disk:?}");
        if has_image {
            assert_eq!(disk.by, by);
            let (exit, text) = result.unwrap();
            assert_eq!(exit, Exit::Code(0));
            assert!(text.contains("No space left on device") && text.ends_with("on\n"), "{text}");
            assert_eq!(closed.scratch, [ScratchNote::Full]);
        } else {
            assert!(disk.by.starts_with(by) && disk.by.contains(why), "{disk:?}");
            assert_eq!(result, Err(SandboxError::Ended(Ended::DiskFull)), "{mechanism:?}");
            assert_eq!(closed.scratch, [ScratchNote::ThrownAway]);
        }
        drop(closed);
        // The next run begins with room.
        let limits = Limits { disk_mb: 24, ..Limits::FILES };
        let permit = permit(Work::Execute, HandBack::Nothing, limits);
        let mut sandbox = house.yard.open(permit, &house.session, &Cancel::new()).unwrap();
        let script = "ls target; head -c 16777216 /dev/zero > target/5 && echo fits";
        assert_eq!(execute(&mut sandbox, "sh", &["-c", script]).unwrap(), (Exit::Code(0), "fits\n".to_owned()));
    }
}

#[test]
fn a_call_that_requires_its_disk_budget_is_refused_where_it_would_be_watched() {
    let house = House::without_loop_devices(ViewMechanism::Overlay);
    fs::write(house.work().join("Cargo.toml"), "").unwrap();
    let operator = "version = 1\nrequire = [\"disk\"]";
    let permit = permit_under(operator, Work::Execute, HandBack::Nothing, Limits::FILES);
    let opened = house.yard.open(permit, &house.session, &Cancel::new());
    assert!(matches!(opened, Err(OpenError::Floor { guarantee: Guarantee::Disk, .. })), "{opened:?}");
}

#[test]
fn a_call_that_requires_a_fit_kernel_is_refused_where_the_kernel_is_not() {
    let says = |release: &str| KernelSays { release: release.into(), ..KernelSays::default() };
    for (release, refused) in [("4.19.0", true), ("6.18.0", false)] {
        let house = House::made(|options| Yard::new(YardOptions { kernel: Kernel::judge(&says(release)), ..options }));
        for work in [Work::Execute, Work::ReadFiles] {
            let under = |operator| permit_under(operator, work.clone(), HandBack::Nothing, Limits::FILES);
            let strict = under("version = 1\nrequire = [\"kernel\"]");
            let opened = house.yard.open(strict, &house.session, &Cancel::new());
            let floor = matches!(opened, Err(OpenError::Floor { guarantee: Guarantee::Kernel, .. }));
            assert_eq!((floor, opened.is_ok()), (refused, !refused), "{release} {work:?}: {opened:?}");
            drop(opened);
            // Without the word it is told and refuses nothing.
            let open = house.yard.open(under("version = 1"), &house.session, &Cancel::new()).unwrap();
            let expected = if refused { Strength::Absent } else { Strength::Enforced };
            assert_eq!(open.enforced().strength(Guarantee::Kernel), expected, "{release}");
        }
    }
}

#[test]
fn cancelling_ends_a_running_program_at_once() {
    let house = House::new(0);
    let cancel = Cancel::new();
    let permit = permit(Work::Execute, HandBack::Nothing, Limits::FILES);
    let mut sandbox = house.yard.open(permit, &house.session, &cancel).unwrap();
    let started = Instant::now();
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.cancel(Ended::Cancelled);
    });
    let ended = execute(&mut sandbox, "sleep", &["60"]);
    canceller.join().unwrap();
    assert_eq!(ended, Err(SandboxError::Ended(Ended::Cancelled)));
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(read(&mut sandbox, "hello.txt"), Err(SandboxError::Ended(Ended::Cancelled)));
}

#[test]
fn the_deadline_ends_a_program_that_does_not() {
    let house = House::new(0);
    let limits = Limits { wall_seconds: 1, ..Limits::FILES };
    let permit = permit(Work::Execute, HandBack::Nothing, limits);
    let mut sandbox = house.yard.open(permit, &house.session, &Cancel::new()).unwrap();
    assert_eq!(execute(&mut sandbox, "sleep", &["60"]), Err(SandboxError::Ended(Ended::Deadline)));
}

#[test]
fn a_workspace_that_was_replaced_is_refused() {
    let house = House::new(1);
    drop(house.open(Work::ReadFiles, HandBack::Nothing));
    fs::rename(house.work(), house.folder.path().join("old")).unwrap();
    fs::create_dir(house.work()).unwrap();
    let opened =
        house.yard.open(permit(Work::ReadFiles, HandBack::Nothing, Limits::FILES), &house.session, &Cancel::new());
    assert!(matches!(opened, Err(OpenError::Workspace(_))));
}

#[test]
fn nothing_of_a_yard_stays_when_it_is_gone() {
    let house = House::new(2);
    drop(house.open(Work::Execute, HandBack::Nothing));
    let folders: Vec<_> = house.yard.ground.namespaces.cgroups().folders().into_iter().map(Path::to_path_buf).collect();
    drop(house);
    // The preparing thread may hold the ground for a moment longer.
    let gone = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        folders.iter().all(|folder| !folder.exists())
    });
    assert!(gone, "{folders:?}");
}

fn patience() -> Patience<'static> {
    Patience { until: Instant::now() + Duration::from_secs(60), cancelled: &|| false }
}

/// Folders of calls that lie in the state of the workspace.
fn call_folders(house: &House) -> usize {
    fs::read_dir(house.session.workspace().state().join("calls")).map_or(0, Iterator::count)
}

#[test]
fn each_way_to_make_a_view_says_what_it_is_and_leaves_nothing() {
    for mechanism in MECHANISMS {
        let house = House::with_view(2, mechanism);
        fs::create_dir_all(house.work().join("old/deep")).unwrap();
        fs::write(house.work().join("old/deep/file"), "x").unwrap();
        let mut sandbox = house.open(Work::Execute, HandBack::Tree);
        let enforced = sandbox.enforced().clone();
        assert_eq!(enforced.guarantees[&Guarantee::WorkspaceView].by, mechanism.name());
        assert_eq!(enforced.strength(Guarantee::WorkspaceView), Strength::Enforced);
        let script = "id -u; rm -r old; mkdir old; echo new > old/new; mv hello.txt moved.txt; chmod 700 moved.txt; \
            rm -f pipe; mkfifo pipe; touch /usr/x 2>/dev/null && echo wrote; stat -c '%U %a' moved.txt";
        let (exit, text) = execute(&mut sandbox, "sh", &["-c", script]).unwrap();
        assert_eq!((exit, text.as_str()), (Exit::Code(0), "1000\nagent 700\n"), "{mechanism:?}");
        let closed = sandbox.close().unwrap();
        let handed = house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
        assert_eq!(handed.held, [], "{mechanism:?}");
        assert_eq!(handed.dropped.len(), 1, "the pipe: {:?}", handed.dropped);
        drop(closed);
        assert_eq!(fs::read_to_string(house.work().join("moved.txt")).unwrap(), "hello\n");
        assert_eq!(fs::read_to_string(house.work().join("old/new")).unwrap(), "new\n");
        assert!(!house.work().join("old/deep").exists() && !house.work().join("hello.txt").exists());
        let state = house.session.workspace().state().to_path_buf();
        let House { yard, folder: _folder, .. } = house;
        drop(yard);
        assert_eq!(fs::read_dir(state.join("calls")).map_or(0, Iterator::count), 0, "{mechanism:?}");
    }
}

#[test]
fn held_changes_are_seen_and_edited_in_each_way() {
    for mechanism in MECHANISMS {
        let house = House::with_view(1, mechanism);
        let file = ".github/workflows/ci.yml";
        for (round, text) in ["first", "second"].into_iter().enumerate() {
            let mut sandbox = house.open(Work::WriteFiles, HandBack::Paths(vec![path(file)]));
            if round > 0 {
                assert_eq!(read(&mut sandbox, file).unwrap(), "first", "{mechanism:?}");
            }
            write(&mut sandbox, file, text).unwrap();
            let closed = sandbox.close().unwrap();
            let handed = house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
            let held: Vec<_> = handed.held.iter().map(|held| held.change.path.to_string()).collect();
            assert_eq!((held, handed.applied, handed.left), (vec![file.to_owned()], vec![], vec![]), "{mechanism:?}");
        }
        let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
        assert_eq!(read(&mut sandbox, file).unwrap(), "second", "{mechanism:?}");
        assert_eq!(read(&mut sandbox, "hello.txt").unwrap(), "hello\n");
        drop(sandbox);
        assert!(!house.work().join(".github").exists());
        let released = house.session.apply(&[TreePath::new(file).unwrap()], &Arc::default(), &patience()).unwrap();
        assert_eq!(released.held, [], "{mechanism:?}");
        assert_eq!(fs::read_to_string(house.work().join(file)).unwrap(), "second");
        assert_eq!(house.session.held().unwrap(), []);
    }
}

#[test]
fn a_discarded_file_below_new_folders_is_gone_from_the_view_with_its_folders() {
    for mechanism in MECHANISMS {
        let house = House::with_view(1, mechanism);
        let file = ".github/workflows/ci.yml";
        let mut sandbox = house.open(Work::WriteFiles, HandBack::Paths(vec![path(file)]));
        write(&mut sandbox, file, "x").unwrap();
        let closed = sandbox.close().unwrap();
        house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
        house.session.discard(&[TreePath::new(file).unwrap()], &patience()).unwrap();
        let mut sandbox = house.open(Work::Execute, HandBack::Nothing);
        let (exit, text) = execute(&mut sandbox, "ls", &["-A"]).unwrap();
        assert_eq!((exit, text.as_str()), (Exit::Code(0), "hello.txt\n"), "{mechanism:?}");
        assert!(!house.work().join(".github").exists());
    }
}

#[test]
fn a_view_on_disk_is_bounded_by_the_watcher_and_says_so() {
    for mechanism in [ViewMechanism::OverlayOnFolder, ViewMechanism::Copy] {
        let house = House::with_view(0, mechanism);
        let limits = Limits { disk_mb: 16, ..Limits::FILES };
        let permit = permit(Work::Execute, HandBack::Tree, limits);
        let mut sandbox = house.yard.open(permit, &house.session, &Cancel::new()).unwrap();
        assert_eq!(sandbox.enforced().strength(Guarantee::Disk), Strength::Watched);
        // One file alone ends at RLIMIT_FSIZE.
        let script = "for i in 1 2 3 4 5 6; do head -c 6000000 /dev/zero > big$i; done; sleep 60";
        assert_eq!(execute(&mut sandbox, "sh", &["-c", script]), Err(SandboxError::Ended(Ended::DiskFull)));
        drop(sandbox);
        assert_eq!(call_folders(&house), 0, "{mechanism:?}");
    }
}

#[test]
fn a_workspace_that_is_too_large_to_be_copied_is_refused_in_words() {
    let house = House::with_view(0, ViewMechanism::Copy);
    fs::write(house.work().join("big"), vec![1; 3 << 20]).unwrap();
    let limits = Limits { disk_mb: 2, ..Limits::FILES };
    let refused = house.yard.open(permit(Work::WriteFiles, HandBack::Nothing, limits), &house.session, &Cancel::new());
    let Err(OpenError::Stage(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("more than the 2 MiB"), "{error}");
    assert_eq!(call_folders(&house), 0);
    let reads = house.yard.open(permit(Work::ReadFiles, HandBack::Nothing, limits), &house.session, &Cancel::new());
    reads.unwrap();
}

#[test]
fn a_copy_is_never_made_ahead_and_shows_the_workspace_as_it_is_when_the_call_begins() {
    let house = House::with_view(2, ViewMechanism::Copy);
    for round in 0..4 {
        fs::write(house.work().join("hello.txt"), format!("{round}")).unwrap();
        let mut sandbox = house.open(Work::WriteFiles, HandBack::Nothing);
        assert_eq!(read(&mut sandbox, "hello.txt").unwrap(), round.to_string());
    }
}

#[path = "yard_secrets_tests.rs"]
mod secrets;

#[path = "yard_plain_tests.rs"]
mod plain;

#[path = "yard_repository_tests.rs"]
mod repository;
