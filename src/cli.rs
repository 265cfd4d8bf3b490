//! The command line: one file a command.

mod audit;
mod call;
mod changes;
mod commit_take;
mod doctor;
pub mod exit;
mod init;
mod install;
mod narrowing;
mod policy;
mod scratch;
mod serve;
pub mod terminal;

use std::{io, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use self::{
    exit::Exit,
    terminal::{Colour, causes, note},
};
use crate::{
    config::{ConfigError, Environment, Folders, PolicyChoice, prepare_state},
    orders::DEFAULT_SESSION,
    server::{Setup, Unusable, open_session},
};

const EXAMPLES: &str = "\
Examples:
  cofferdam doctor                  what this machine can enforce
  cofferdam install claude-desktop  makes Claude Desktop start it on this folder
  cofferdam call run_tests          runs this folder's tests in a sandbox
  cofferdam call read_file '{\"path\": \"README.md\"}'
                                    one call, as a client would make it
  cofferdam init                    writes a starting policy for this project
  cofferdam changes list            what waits for you, and why
  cofferdam audit show              what was asked and what came of it";

/// Gives a coding agent typed tools, each call in a disposable sandbox
///
/// An MCP client starts `cofferdam serve`; you look after it with the other commands. Every call is judged by policy,
/// runs in a sandbox of its own on a private view of the workspace, and is recorded. Changes come back through a gate
/// that holds what a person must see first.
#[derive(Debug, Parser)]
#[command(name = "cofferdam", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", exit::TABLE))]
pub struct CommandLine {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What all commands understand.
#[derive(Debug, Args)]
struct Common {
    /// The folder that calls may read and change
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    workspace: PathBuf,
    /// The session that calls belong to; two clients with the same name share held changes
    #[arg(long, global = true, value_name = "NAME", default_value = DEFAULT_SESSION)]
    session: String,
    /// The policy file; without it `cofferdam/policy.toml` in your configuration folder, if it is there
    #[arg(long, global = true, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where the audit log and held changes are kept; without it `cofferdam` in your state folder
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves one MCP client over standard input and output
    Serve(serve::Serve),
    /// Makes one call, through the same pipeline as a client's
    Call(call::Call),
    /// Shows and decides about changes that were held
    #[command(subcommand)]
    Changes(changes::Changes),
    /// Looks into scratch volumes (`target`, `node_modules`, package stores), takes files out, and empties them
    #[command(subcommand)]
    Scratch(scratch::Scratch),
    /// Shows what is enforced on this machine, and what is missing
    Doctor(doctor::Doctor),
    /// Checks, shows, explains, tests and compares the policy
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Writes a starting policy for the project at hand
    Init(init::Init),
    /// Looks at the audit log
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Makes a client start this server on the workspace
    Install(install::Install),
}

/// Runs the command line.
#[must_use]
pub fn run(line: CommandLine) -> Exit {
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(error) => return wrong(&error),
    };
    let folders = match folders(&line.common, &environment) {
        Ok(folders) => folders,
        Err(error) => return wrong(&error),
    };
    let setup = Setup {
        workspace: environment.absolute_path(&line.common.workspace),
        policy: match &line.common.policy {
            Some(file) => PolicyChoice::File(environment.absolute_path(file)),
            None => PolicyChoice::Personal,
        },
        command_line: match &line.command {
            Command::Serve(serve) => serve.narrowing(),
            Command::Call(call) => call.narrowing(),
            Command::Changes(_)
            | Command::Scratch(_)
            | Command::Doctor(_)
            | Command::Policy(_)
            | Command::Init(_)
            | Command::Audit(_)
            | Command::Install(_) => String::new(),
        },
        session: line.common.session.clone(),
        pool: 0,
        folders,
        environment,
    };
    let colour = Colour::of(&io::stdout(), &setup.environment);
    let carried = line.common.carried(&setup);
    match line.command {
        Command::Serve(serve) => serve::run(&serve, setup),
        Command::Call(call) => call::run(&call, setup),
        Command::Changes(changes) => changes::run(&changes, &setup, colour),
        Command::Scratch(scratch) => scratch::run(&scratch, &setup, colour),
        Command::Doctor(doctor) => doctor::run(&doctor, &setup, colour),
        Command::Policy(policy) => policy::run(&policy, &setup, colour),
        Command::Init(init) => init::run(&init, &setup, colour),
        Command::Audit(audit) => audit::run(&audit, &setup.folders.state, colour),
        Command::Install(install) => {
            // An entry for a folder that no server would take helps nobody.
            if install.is_dry_run() {
                return install::show_only(&install, &setup, &carried, colour);
            }
            let opened = prepare_state(&setup.folders.state)
                .map_err(Unusable::Config)
                .and_then(|state| open_session(&setup, &state));
            match opened {
                Ok(session) => {
                    let workspace = session.workspace().root();
                    install::run(&install, &setup, &carried, workspace, colour)
                }
                Err(error) => wrong(&error),
            }
        }
    }
}

impl Common {
    /// The options that were given, or that variables stand for, as an entry of a client gives them to `serve`, with absolute paths.
    fn carried(&self, setup: &Setup) -> Vec<(&'static str, String)> {
        let absolute = |path: &PathBuf| setup.environment.absolute_path(path).to_string_lossy().into_owned();
        let session = (self.session != DEFAULT_SESSION).then(|| ("--session", self.session.clone()));
        // A client may start the server without the variables that say where these are now.
        let home = &setup.folders.home;
        let is_usual = setup.folders.policy() == home.join(".config/cofferdam/policy.toml");
        let moved = (!is_usual).then(|| setup.folders.policy()).filter(|policy| policy.exists());
        let policy = self.policy.clone().or(moved).map(|path| ("--policy", absolute(&path)));
        let is_usual = setup.folders.state == home.join(".local/state/cofferdam");
        let is_said = self.state.is_some() || !is_usual;
        let state = is_said.then(|| ("--state", absolute(&setup.folders.state)));
        [session, policy, state].into_iter().flatten().collect()
    }
}

fn folders(common: &Common, environment: &Environment) -> Result<Folders, ConfigError> {
    let folders = environment.folders()?;
    Ok(match &common.state {
        Some(state) => Folders { state: environment.absolute_path(state), ..folders },
        None => folders,
    })
}

/// Says what is wrong with the command line, the configuration or the machine.
fn wrong(error: &dyn std::error::Error) -> Exit {
    note(format_args!("cofferdam: failed to {}", causes(error)));
    Exit::Usage
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    /// clap breaks what is longer, and leaves the rest of a line that was broken here already.
    #[test]
    fn texts_of_help_that_are_broken_by_hand_fit_a_terminal_of_80_columns() {
        let mut pending = vec![CommandLine::command()];
        let mut long = Vec::new();
        while let Some(command) = pending.pop() {
            let texts = [command.get_after_help(), command.get_after_long_help()].into_iter().flatten();
            for text in texts.map(ToString::to_string) {
                long.extend(text.lines().filter(|line| line.chars().count() > 80).map(str::to_owned));
            }
            pending.extend(command.get_subcommands().cloned());
        }
        assert_eq!(long, [] as [String; 0]);
    }

    #[test]
    fn help_teaches_with_examples_and_exit_statuses() {
        let help = CommandLine::command().render_long_help().to_string();
        assert!(help.contains("cofferdam call read_file") && help.contains("Exit status:"), "{help}");
    }
}
