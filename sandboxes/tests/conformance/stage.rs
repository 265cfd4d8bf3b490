//! Where rows are played: real sandboxes on real workspaces, opened the only way there is, from a permit.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam_contract::{
    Command, Enforced, Exit, FileReply, FileRequest, HandBack, Isolation, Lane, Limits, Network, Plan, ReadFile,
    Sandbox as _, SandboxError, Stream, Window, Work, WorkspacePath, WriteFile,
};
use cofferdam_policy::{Layer, LayerName, Permit, Policy, ToolShape, Verdict};
use cofferdam_sandboxes::{
    Cancel, Closed, HandedBack, Kernel, KernelSays, OpenSandbox, Patience, Session, TreePath, Workspace, Yard,
    YardOptions, root::Host,
};

use crate::{canaries::Canaries, report::Report};

/// The budgets of every row that names no others: small, so that bombs end soon and a broken budget does little.
pub(crate) const SMALL: Limits =
    Limits { wall_seconds: 20, cpu_seconds: 30, memory_mb: 256, disk_mb: 64, pids: 64, output_kb: 1024 };

/// The layer that stands in the place of the product's own: one tool, which may run.
const ONE_TOOL: &str = r#"
version = 1

[limits]
wall_seconds = 600
cpu_seconds = 600
memory_mb = 4096
disk_mb = 4096
pids = 1024
output_kb = 65536

[[rule]]
id = "probe"
tools = ["probe"]
decision = "allow"
why = "The probe tries what a sandbox must hold."
match = [{ tool = "probe" }]
"#;

/// An operator's layer. It asks for less than the first.
const OPERATOR: &str = "version = 1\n[limits]\nwall_seconds = 60\nmemory_mb = 2048\n";

/// Sandboxes that are prepared ahead: none, so that each row meets a fresh one with its own budgets.
const POOL: usize = 0;

/// Who the rows are played as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// The server is root.
    Root,
    /// The server is an ordinary user's.
    Ordinary,
}

/// What all rows share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) user: User,
    /// A folder of this user's alone, with everything below it.
    pub(crate) base: PathBuf,
    /// The host's home as the yard knows it; secrets lie in it.
    pub(crate) home: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) probe: PathBuf,
    pub(crate) canaries: Canaries,
    yard: Yard,
    policy: Policy,
}

/// One workspace with its session.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) workspace: PathBuf,
    pub(crate) session: Arc<Session>,
}

/// What a sandbox is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) work: Work,
    pub(crate) hand_back: HandBack,
    pub(crate) limits: Limits,
}

impl Stage {
    /// Makes everything below `base`, which is there and empty.
    pub(crate) fn build(user: User, base: &Path, probe: &Path) -> Self {
        let (home, state) = (base.join("home"), base.join("state"));
        fs::create_dir_all(&home).unwrap();
        let canaries = Canaries::set_out(base, &home, probe);
        let yard =
            Yard::new(YardOptions { host: host(&home, &state), pool_size: POOL, kernel: this_kernel() }).unwrap();
        Self {
            user,
            base: base.to_path_buf(),
            home,
            state,
            probe: probe.to_path_buf(),
            canaries,
            yard,
            policy: policy(OPERATOR),
        }
    }

    /// The yard that sandboxes are opened in.
    pub(crate) fn yard(&self) -> &Yard {
        &self.yard
    }

    /// A home with a Rust toolchain in it.
    pub(crate) fn toolchain_home(&self) -> PathBuf {
        PathBuf::from(std::env::var_os(crate::players::TOOLCHAIN_HOME).expect("players are told"))
    }

    /// A yard that knows other places: for rows about what is found on the host.
    pub(crate) fn yard_with(&self, home: &Path, environment: &[(&str, &str)]) -> Yard {
        let mut host = host(home, &self.state);
        host.environment.extend(environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
        Yard::new(YardOptions { host, pool_size: POOL, kernel: this_kernel() }).unwrap()
    }

    /// A yard that prepares sandboxes ahead.
    pub(crate) fn prepared_yard(&self) -> Yard {
        Yard::new(YardOptions { host: host(&self.home, &self.state), pool_size: 2, kernel: this_kernel() }).unwrap()
    }

    /// A yard on a machine whose kernel says something else of itself.
    pub(crate) fn yard_on(&self, kernel: Kernel) -> Yard {
        Yard::new(YardOptions { host: host(&self.home, &self.state), pool_size: POOL, kernel }).unwrap()
    }

    /// A fresh workspace: a few files, and the probe.
    pub(crate) fn site(&self, row: &str) -> Site<'_> {
        let workspace = self.base.join("sites").join(row);
        fs::create_dir_all(workspace.join("folder")).unwrap();
        for (name, content) in
            [("README", "readme\n"), ("other", "other\n"), ("folder/one", "1\n"), ("folder/two", "2\n")]
        {
            fs::write(workspace.join(name), content).unwrap();
        }
        fs::write(workspace.join("script"), "#!/bin/sh\necho scripted\n").unwrap();
        fs::set_permissions(workspace.join("script"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(&self.probe, workspace.join("probe")).unwrap();
        let session = self.session(&workspace).unwrap();
        Site { stage: self, workspace, session }
    }

    /// A session on a folder.
    pub(crate) fn session(&self, workspace: &Path) -> Result<Arc<Session>, String> {
        let workspace = Workspace::open(workspace, &self.state, &self.home).map_err(|error| format!("{error:?}"))?;
        Session::open(Arc::new(workspace), "default").map(Arc::new).map_err(|error| format!("{error:?}"))
    }

    /// A permit for what is asked.
    pub(crate) fn permit(&self, ask: &Ask) -> Permit {
        judged(&self.policy, ask)
    }

    /// A permit under another operator's layer.
    pub(crate) fn permit_under(&self, operator: &str, ask: &Ask) -> Permit {
        judged(&policy(operator), ask)
    }
    /// Runs the probe without any sandbox, as the control of a row. Rows that would do harm refuse to.
    pub(crate) fn outside(&self, arguments: &[&str]) -> Report {
        let folder = self.base.join("outside-control");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("folder")).unwrap();
        fs::write(folder.join("README"), "readme\n").unwrap();
        let output = std::process::Command::new(&self.probe)
            .args(arguments)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let exit = output.status.code().map_or(Exit::Signal(0), Exit::Code);
        Report::new(output.stdout, output.stderr, Ok(exit), Duration::ZERO)
    }
}

impl Ask {
    /// Executes programs; nothing comes back.
    pub(crate) fn execute() -> Self {
        Self { work: Work::Execute, hand_back: HandBack::Nothing, limits: SMALL }
    }

    /// Reads files.
    pub(crate) fn read() -> Self {
        Self { work: Work::ReadFiles, hand_back: HandBack::Nothing, limits: SMALL }
    }

    /// Writes files, all of which come back.
    pub(crate) fn write() -> Self {
        Self { work: Work::WriteFiles, hand_back: HandBack::Tree, limits: SMALL }
    }

    /// The whole tree comes back.
    pub(crate) fn keeping_all(mut self) -> Self {
        self.hand_back = HandBack::Tree;
        self
    }

    /// With other budgets.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }
}

impl Site<'_> {
    /// Opens a sandbox.
    pub(crate) fn open(&self, ask: &Ask) -> OpenSandbox {
        self.open_with(ask, &Cancel::new())
    }

    /// Opens a sandbox that a switch can end.
    pub(crate) fn open_with(&self, ask: &Ask, cancel: &Cancel) -> OpenSandbox {
        match self.stage.yard.open(self.stage.permit(ask), &self.session, cancel) {
            Ok(open) => open,
            Err(error) => panic!("the sandbox was not opened: {}", chain(&error)),
        }
    }

    /// Tries to open a sandbox.
    pub(crate) fn try_open(&self, ask: &Ask) -> Result<OpenSandbox, String> {
        self.stage.yard.open(self.stage.permit(ask), &self.session, &Cancel::new()).map_err(|error| chain(&error))
    }

    /// Opens a sandbox in another yard.
    pub(crate) fn open_in(&self, yard: &Yard, ask: &Ask) -> OpenSandbox {
        match yard.open(self.stage.permit(ask), &self.session, &Cancel::new()) {
            Ok(open) => open,
            Err(error) => panic!("the sandbox was not opened: {}", chain(&error)),
        }
    }

    /// Runs the probe in a sandbox of its own, and destroys that.
    pub(crate) fn probe(&self, arguments: &[&str]) -> Report {
        self.probe_asking(&Ask::execute(), arguments)
    }

    /// The same with other budgets.
    pub(crate) fn probe_asking(&self, ask: &Ask, arguments: &[&str]) -> Report {
        let mut open = self.open(ask);
        run(&mut open, "./probe", arguments, |_, _| {})
    }

    /// Runs the probe, and hands back what it wrote.
    pub(crate) fn probe_and_hand_back(&self, ask: &Ask, arguments: &[&str]) -> (Report, HandedBack) {
        let mut open = self.open(ask);
        let report = run(&mut open, "./probe", arguments, |_, _| {});
        let handed = self.hand_back(close(open));
        (report, handed.unwrap_or_else(|error| panic!("the changes were not handed back: {error}")))
    }

    /// Hands back what a sandbox wrote.
    pub(crate) fn hand_back(&self, closed: Closed) -> Result<HandedBack, String> {
        let call = format!("call-{}", self.workspace.file_name().unwrap_or_default().to_string_lossy());
        self.session.hand_back_closed(&closed, &call, &Cancel::new()).map_err(|error| chain(&error))
    }

    /// Puts everything that is held into the workspace, as far as an order about everything does.
    pub(crate) fn apply_held(&self) -> Result<(), String> {
        let patience = Patience { until: Instant::now() + Duration::from_secs(10), cancelled: &|| false };
        let applied = self.session.apply(&[TreePath::root()], &Arc::default(), &patience);
        applied.map(drop).map_err(|error| chain(&error))
    }

    /// Forgets what is held, as a person does.
    pub(crate) fn discard_held(&self) -> Result<(), String> {
        let patience = Patience { until: Instant::now() + Duration::from_secs(10), cancelled: &|| false };
        self.session.discard(&[TreePath::root()], &patience).map(drop).map_err(|error| chain(&error))
    }

    /// A file of the workspace as the host has it.
    pub(crate) fn host_text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.workspace.join(path)).ok()
    }

    /// Writes a file of the workspace, on the host.
    pub(crate) fn write_on_host(&self, path: &str, content: &str) {
        let path = self.workspace.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Makes a link in the workspace, on the host.
    pub(crate) fn link_on_host(&self, path: &str, target: impl AsRef<Path>) {
        symlink(target, self.workspace.join(path)).unwrap();
    }
}

/// Closes a sandbox.
pub(crate) fn close(open: OpenSandbox) -> Closed {
    match open.close() {
        Ok(closed) => closed,
        Err(error) => panic!("the sandbox was not closed in order: {}", chain(&error)),
    }
}

/// Executes a program and keeps what it printed; `heard` sees each chunk as it comes.
pub(crate) fn run(
    open: &mut OpenSandbox,
    program: &str,
    arguments: &[&str],
    mut heard: impl FnMut(Stream, &[u8]),
) -> Report {
    let command = Command {
        program: program.to_owned(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        directory: WorkspacePath::workspace(),
        environment: BTreeMap::new(),
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let before = Instant::now();
    let outcome = open.execute(&command, &mut |stream, bytes| {
        match stream {
            Stream::Stdout => stdout.extend_from_slice(bytes),
            Stream::Stderr => stderr.extend_from_slice(bytes),
        }
        heard(stream, bytes);
    });
    Report::new(stdout, stderr, outcome, before.elapsed())
}

/// What is enforced for a sandbox.
pub(crate) fn enforced(open: &OpenSandbox) -> Enforced {
    open.enforced().clone()
}

/// Reads a file of the view, at most 64 KiB of it.
pub(crate) fn read_file(open: &mut OpenSandbox, path: &str) -> Result<Vec<u8>, SandboxError> {
    let request = ReadFile { path: workspace_path(path), window: Window::Bytes, max_bytes: 64 << 10 };
    match open.file(FileRequest::Read(request))? {
        FileReply::Read(content) => Ok(content.bytes),
        other => panic!("a read was answered with {other:?}"),
    }
}

/// Writes a file of the view.
pub(crate) fn write_file(open: &mut OpenSandbox, path: &str, content: &str) -> Result<(), SandboxError> {
    let request = WriteFile {
        path: workspace_path(path),
        content: content.as_bytes().to_vec(),
        expected: cofferdam_contract::Expected::Anything,
    };
    open.file(FileRequest::Write(request)).map(drop)
}

/// A path that the harness writes.
pub(crate) fn workspace_path(path: &str) -> WorkspacePath {
    WorkspacePath::parse(path, "/nowhere").unwrap()
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn host(home: &Path, state: &Path) -> Host {
    let environment =
        std::env::vars_os().filter(|(name, _)| name != "HOME" && name != "CARGO_HOME" && name != "RUSTUP_HOME");
    Host { home: home.to_path_buf(), state: state.to_path_buf(), environment: environment.collect() }
}

fn this_kernel() -> Kernel {
    Kernel::judge(&KernelSays::now())
}

/// What a policy says to a plan of the one tool.
fn judged(policy: &Policy, ask: &Ask) -> Permit {
    let plan = Plan {
        tool: "probe".to_owned(),
        arguments: BTreeMap::new(),
        work: ask.work.clone(),
        reads: Vec::new(),
        hand_back: ask.hand_back.clone(),
        network: Network::Off,
        isolation: Isolation::Namespace,
        lane: Lane::Routine,
        limits: ask.limits,
        credentials: std::collections::BTreeSet::new(),
    };
    match policy.judge(plan) {
        Verdict::Allow(permit) => permit,
        other => panic!("the harness's policy does not allow its own tool: {other:?}"),
    }
}

fn policy(operator: &str) -> Policy {
    let layers = [
        Layer { name: LayerName::Builtin, file: "builtin", text: ONE_TOOL },
        Layer { name: LayerName::Operator, file: "operator", text: operator },
    ];
    let tools = [ToolShape {
        name: "probe".to_owned(),
        arguments: std::collections::BTreeSet::new(),
        required: std::collections::BTreeSet::new(),
    }];
    Policy::load(&layers, &tools).unwrap()
}
