//! What examples that are measured begin with: an empty workspace, a yard, the builtin policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error,
    fs,
    path::Path,
    sync::Arc,
};

use cofferdam_contract::{Arguments, Command, HandBack, Isolation, Lane, Limits, Network, Plan, Work, WorkspacePath};
use cofferdam_policy::{BUILTIN, Layer, LayerName, Permit, Policy, ToolShape, Verdict};
use cofferdam_sandboxes::{Kernel, KernelSays, Session, Workspace, Yard, YardOptions, root::Host};

/// Everything that a call needs.
pub(crate) struct Measured {
    pub(crate) session: Arc<Session>,
    pub(crate) yard: Yard,
    policy: Policy,
}

impl Measured {
    /// Begins in `folder`, which is empty and the caller's own; the workspace is `work` in it.
    pub(crate) fn begin(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let place = |name: &str| folder.join(name);
        for name in ["work", "state", "home"] {
            fs::create_dir(place(name))?;
        }
        let workspace = Workspace::open(&place("work"), &place("state"), &place("home"))?;
        let session = Arc::new(Session::open(Arc::new(workspace), "default")?);
        let host = Host { home: place("home"), state: place("state"), environment: env::vars_os().collect() };
        let yard = Yard::new(YardOptions { host, pool_size: 0, kernel: Kernel::judge(&KernelSays::now()) })?;
        let builtin = Layer { name: LayerName::Builtin, file: "builtin", text: BUILTIN };
        let policy = Policy::load(&[builtin], &shapes()?)?;
        Ok(Self { session, yard, policy })
    }

    /// A permit for one run.
    pub(crate) fn permit(&self, hand_back: HandBack) -> Result<Permit, Box<dyn Error>> {
        match self.policy.judge(plan(hand_back)) {
            Verdict::Allow(permit) => Ok(permit),
            Verdict::Ask(_) | Verdict::Deny(_) => Err("the builtin policy refuses".into()),
        }
    }
}

/// A program to execute at the workspace's root.
pub(crate) fn command(program: &str, arguments: &[String]) -> Command {
    Command {
        program: program.to_owned(),
        arguments: arguments.to_vec(),
        directory: WorkspacePath::workspace(),
        environment: BTreeMap::new(),
    }
}

fn plan(hand_back: HandBack) -> Plan {
    Plan {
        tool: "run_tests".to_owned(),
        arguments: Arguments::new(),
        work: Work::Execute,
        reads: Vec::new(),
        hand_back,
        network: Network::Off,
        isolation: Isolation::Namespace,
        lane: Lane::Routine,
        limits: Limits::TESTS,
        credentials: BTreeSet::new(),
    }
}

/// The tools and arguments that the builtin policy speaks of, read from its own text: this room does not know the tools.
fn shapes() -> Result<Vec<ToolShape>, Box<dyn Error>> {
    let builtin: toml::Table = toml::from_str(BUILTIN)?;
    let mut names = BTreeSet::new();
    let mut arguments = BTreeSet::new();
    let mut pending: Vec<(&str, &toml::Value)> = builtin.iter().map(|(key, value)| (key.as_str(), value)).collect();
    while let Some((key, value)) = pending.pop() {
        match value {
            toml::Value::String(name) if ["tool", "tools"].contains(&key) => drop(names.insert(name.clone())),
            toml::Value::Array(values) => pending.extend(values.iter().map(|value| (key, value))),
            toml::Value::Table(table) => {
                if ["args", "when"].contains(&key) {
                    arguments.extend(table.keys().cloned());
                }
                pending.extend(table.iter().map(|(key, value)| (key.as_str(), value)));
            }
            _ => {}
        }
    }
    Ok(names
        .into_iter()
        .map(|name| ToolShape { name, arguments: arguments.iter().cloned().collect(), required: BTreeSet::new() })
        .collect())
}
