//! `cofferdam policy test`: golden calls against the policy in force.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use cofferdam_policy::{Expected, Golden, Policy};
use serde_json::{Map, Value};

use super::{
    super::{
        exit::Exit,
        terminal::{Colour, Mark, print},
    },
    failed, is_missing, plan, project, wrong,
};
use crate::{
    plain,
    server::{Setup, load_policy},
};

/// What is looked for beside the policy file and in the workspace when no file is named.
const USUAL_NAME: &str = "policy-tests.toml";

/// Tries golden calls
///
/// Each call gets its decision and, if the file says so, its rule, network and lane. A rule of your files that no call
/// hits is a failure: nobody knows what it does. The builtin rules are not counted.
#[derive(Debug, Args)]
#[command(after_help = "\
A file of golden calls:
  [[call]]
  tool = \"delete_file\"
  args = { path = \"tests/a.rs\" }
  decision = \"deny\"
  rule = \"no-deleting-tests\"

The rule is optional, as are network = \"off\" and lane = \"routine\".")]
pub(in super::super) struct Test {
    /// The file; without it `policy-tests.toml` beside your policy file, else in the workspace
    file: Option<PathBuf>,
}

/// Tries them.
pub(super) fn run(test: &Test, setup: &Setup, colour: Colour) -> Exit {
    let (path, text) = match find(test, setup) {
        Ok(found) => found,
        Err(why) => return wrong(why),
    };
    let golden = match Golden::read(&path.display().to_string(), &text) {
        Ok(golden) => golden,
        Err(error) => return wrong(format_args!("failed to read golden calls\n{error}")),
    };
    let policy = match load_policy(setup, &setup.workspace) {
        Ok(policy) => policy,
        Err(error) => return failed(&error),
    };
    match attempt(&golden, &policy, &setup.workspace, colour) {
        Ok(Tried { failures: 0, missed }) if missed.is_empty() => Exit::Success,
        Ok(_) => Exit::Failed,
        Err(why) => wrong(why),
    }
}

/// What came of all calls.
struct Tried {
    failures: usize,
    missed: Vec<String>,
}

fn attempt(golden: &Golden, policy: &Policy, workspace: &Path, colour: Colour) -> Result<Tried, String> {
    let project = project(workspace);
    let mut hit = BTreeSet::new();
    let mut failures = 0;
    for call in &golden.calls {
        let plan =
            plan(policy, &call.tool, &arguments(call)?, &project).map_err(|why| format!("{}: {why}", call.place))?;
        let found = policy.explain(&plan);
        hit.extend(found.deciding().map(str::to_owned));
        let wrong = call.compare(&found);
        failures += usize::from(!wrong.is_empty());
        for what in &wrong {
            let what = plain::lines(what);
            print(format_args!("{} {}: {}: {what}", colour.paint(Mark::Bad, "differs"), call.place, call.tool));
        }
    }
    let rules = policy.written_rules();
    let missed: Vec<String> = rules
        .iter()
        .filter(|(id, _)| !hit.contains(*id))
        .map(|(id, place)| format!("{place}: no call hits the rule `{id}`"))
        .collect();
    missed.iter().for_each(|what| print(format_args!("{} {what}", colour.paint(Mark::Bad, "missed"))));
    print(format_args!(
        "{} of {} calls as wanted; {} of {} rules hit",
        golden.calls.len() - failures,
        golden.calls.len(),
        rules.len() - missed.len(),
        rules.len()
    ));
    Ok(Tried { failures, missed })
}

fn arguments(call: &Expected) -> Result<Map<String, Value>, String> {
    match serde_json::to_value(&call.arguments) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) | Err(_) => Err(format!("{}: its args are no arguments of a call", call.place)),
    }
}

fn find(test: &Test, setup: &Setup) -> Result<(PathBuf, String), String> {
    let beside = match &setup.policy {
        crate::config::PolicyChoice::File(path) => path.clone(),
        crate::config::PolicyChoice::Personal => setup.folders.policy(),
    };
    let places = match &test.file {
        Some(file) => vec![setup.environment.absolute_path(file)],
        None => vec![beside.with_file_name(USUAL_NAME), setup.workspace.join(USUAL_NAME)],
    };
    for path in &places {
        match fs::read_to_string(path) {
            Ok(text) => return Ok((path.clone(), text)),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(format!("failed to read {}: {error}", path.display())),
        }
    }
    let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    Err(format!("there is no file of golden calls at {}; see `cofferdam policy test --help`", places.join(" or ")))
}
