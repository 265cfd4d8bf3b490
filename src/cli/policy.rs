//! `cofferdam policy …`: is the policy right, what does it say, what would another say.

mod accept;
mod compare;
mod explain;
mod golden;
mod replay;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use cofferdam_contract::Plan;
use cofferdam_policy::{Layer, LayerName, Policy};
use cofferdam_tools::{Project, Toolbox};
use serde_json::{Map, Value};

use super::{
    call::unusable,
    exit::Exit,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::{
    audit::record::hex,
    config::{self, ConfigError},
    plain,
    policy_files::{self, PolicyFiles, REPOSITORY_FILE},
    server::{Setup, Unusable, policy_of_calls},
};

/// Checks, shows, explains, tests and compares the policy.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Loads every layer of the policy and runs the examples in its rules; ends with 2 if anything is wrong
    Check,
    /// Shows the policy that is in force: every layer together
    ///
    /// Without a file of yours that is the builtin policy, as it is written.
    Show(Show),
    /// Says how a call is judged: each rule and condition, what it is granted, and what would be allowed instead
    Explain(explain::Explain),
    /// Tries golden calls: their decision, rule, network and lane; ends with 1 if one differs or a rule is never hit
    Test(golden::Test),
    /// Shows every call that two policy files answer otherwise; ends with 3 if the second allows anything more
    Diff(compare::Diff),
    /// Judges the recorded calls by another policy file; ends with 3 if one that was refused would be allowed
    Replay(replay::Replay),
    /// Accepts that the workspace's `.cofferdam.toml` is gone
    Accept,
}

/// What to show.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Shows the builtin policy alone, as it is written
    #[arg(long)]
    builtin: bool,
}

/// Which layer a file is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReadAs {
    /// The machine's owner's file
    Operator,
    /// A workspace's `.cofferdam.toml`, below your own policy
    Repository,
}

/// Runs the command.
#[must_use]
pub(super) fn run(command: &PolicyCommand, setup: &Setup, colour: Colour) -> Exit {
    match command {
        PolicyCommand::Check => check(setup, colour),
        PolicyCommand::Show(Show { builtin: true }) => {
            print(cofferdam_policy::BUILTIN.trim_end());
            Exit::Success
        }
        PolicyCommand::Show(Show { builtin: false }) => show(setup),
        PolicyCommand::Explain(explain) => explain::run(explain, setup, colour),
        PolicyCommand::Test(test) => golden::run(test, setup, colour),
        PolicyCommand::Diff(diff) => compare::run(diff, setup, colour),
        PolicyCommand::Replay(replay) => replay::run(replay, setup, colour),
        PolicyCommand::Accept => accept::run(setup, colour),
    }
}

fn check(setup: &Setup, colour: Colour) -> Exit {
    let loaded = match policy_of_calls(setup) {
        // What it says can be judged anywhere. Said of `/`, which can be no workspace and holds no file for that check.
        Err(Unusable::Config(place @ ConfigError::PolicyInWorkspace { .. })) => {
            note(format_args!("{} a server will refuse to {place}", colour.paint(Mark::Warn, "warning:")));
            config::read_policy(&setup.policy, &setup.folders, Path::new("/")).map_err(Unusable::Config).and_then(
                |operator| {
                    let files = PolicyFiles { operator, repository: None, command_line: String::new() };
                    files.load().map_err(Unusable::Policy)
                },
            )
        }
        loaded => loaded,
    };
    match loaded {
        Ok(policy) => {
            for warning in policy.warnings() {
                let warning = plain::lines(&warning.to_string());
                print(format_args!("{} {warning}", colour.paint(Mark::Warn, "warning:")));
            }
            print(format_args!("{} sha256 {}", colour.paint(Mark::Good, "right"), hex(&policy.sha256())));
            Exit::Success
        }
        Err(error) => failed(&error),
    }
}

fn show(setup: &Setup) -> Exit {
    let files = match PolicyFiles::read(setup, &setup.workspace) {
        Ok(files) => files,
        Err(error) => return failed(&error),
    };
    match files.load() {
        Ok(policy) => {
            // What a newcomer sees first is what people wrote, not what a program made of it.
            if files.operator.is_none() && files.repository.is_none() {
                print(cofferdam_policy::BUILTIN.trim_end());
            } else {
                print(plain::visible(policy.effective().trim_end()));
            }
            Exit::Success
        }
        Err(error) => failed(&Unusable::Policy(error)),
    }
}

/// Says why there is no policy to work with.
fn failed(error: &Unusable) -> Exit {
    // A repository's file comes from strangers, and messages quote it.
    note(format_args!("cofferdam: failed to {}", plain::lines(&causes(error))));
    unusable(error)
}

/// Says what is wrong with what was given.
fn wrong(what: impl std::fmt::Display) -> Exit {
    note(format_args!("cofferdam: {}", plain::lines(&what.to_string())));
    Exit::Usage
}

/// Reads a file that was named on the command line.
fn read(setup: &Setup, file: &Path) -> Result<String, String> {
    let path = setup.environment.absolute_path(file);
    fs::read_to_string(&path).map_err(|error| format!("failed to read {}: {error}", file.display()))
}

/// Loads a file as one layer, over what comes before it.
fn load_as(file: &Path, layer: ReadAs, setup: &Setup) -> Result<Policy, String> {
    let text = read(setup, file)?;
    let shown = file.display().to_string();
    let own;
    let own_path;
    let mut layers = Vec::new();
    match layer {
        ReadAs::Operator => layers.push(Layer { name: LayerName::Operator, file: &shown, text: &text }),
        ReadAs::Repository => {
            own = config::read_policy(&setup.policy, &setup.folders, &setup.workspace).map_err(|e| causes(&e))?;
            if let Some(own) = &own {
                own_path = own.path.display().to_string();
                layers.push(Layer { name: LayerName::Operator, file: &own_path, text: &own.text });
            }
            layers.push(Layer { name: LayerName::Repository, file: &shown, text: &text });
        }
    }
    policy_files::load(layers.into_iter()).map_err(|error| error.to_string())
}

/// The workspace's path as tools know it.
fn project(workspace: &Path) -> Project {
    let workspace: PathBuf = workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned());
    Project { workspace: workspace.to_string_lossy().into_owned() }
}

/// What a call wants, as the pipeline would plan it under this policy.
fn plan(policy: &Policy, tool: &str, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, String> {
    let toolbox = Toolbox::new(policy.tasks().cloned());
    let Some(found) = toolbox.find(tool) else {
        let names: Vec<&str> = toolbox.all().map(|tool| tool.name()).collect();
        return Err(format!("there is no tool `{}`; there are {}", crate::plain::name(tool), names.join(", ")));
    };
    found.plan(arguments, project).map_err(|error| format!("`{tool}` takes no such arguments: {error}"))
}

/// Whether nothing of that name is there.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
