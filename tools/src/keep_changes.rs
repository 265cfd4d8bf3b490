//! `keep_changes`: brings back what a run wrote and did not keep. The server answers it from the session.

use cofferdam_contract::{HandBack, Limits, Plan, Sandbox, SessionRequest, Work};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form, Parsed},
    run_tests::checked_glob,
    schema,
};

/// Brings changes of an earlier run back.
pub(crate) struct KeepChangesTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeepChangesForm {
    /// The call whose result listed what was not kept, as that result names it.
    #[schemars(length(min = 1, max = 100))]
    call: String,
    /// Globs of the files to keep, relative to the workspace, such as `tests/snapshots/**`.
    #[schemars(length(min = 1, max = 64))]
    paths: Vec<String>,
}

impl Form for KeepChangesForm {
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("run_id", "call"), ("id", "call"), ("path", "paths"), ("keep", "paths"), ("globs", "paths")];
}

/// What the server answers; what came back stands in `workspace_changes`, as for the run itself.
#[derive(Serialize, JsonSchema)]
struct KeepChangesOutput {
    /// The call that had written it.
    call: String,
    /// What was asked for and is there already as the run wrote it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    already_there: Vec<String>,
}

impl Tool for KeepChangesTool {
    fn name(&self) -> &str {
        "keep_changes"
    }

    fn title(&self) -> &str {
        "Keep what a run wrote"
    }

    fn description(&self) -> &str {
        "Brings files into the workspace that an earlier run (run_tests, build, …) wrote in its sandbox and did not keep: \
         snapshots, reports, generated code. The run's result lists them under not_kept, with the `call` to name here. \
         It goes through the same gate as every change: protected paths and files that changed in the workspace since \
         the run are held for a person. The sandbox's files stay available for seven days, up to 64 MiB of one run and \
         50 runs; build folders and caches (target, node_modules, .venv) are never among them."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: false, destructive: true, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<KeepChangesForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<KeepChangesOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = parse(arguments, project)?.form;
        let request = SessionRequest::KeepChanges { call: form.call.clone() };
        let plan = arguments::routine(self.name(), &form, Work::Session(request), Limits::FILES);
        Ok(Plan { hand_back: HandBack::Matching(form.paths), ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        parse(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, _: &Plan, _: &mut dyn Sandbox) -> Result<Output, Failure> {
        Err(Failure::answered_by_the_server(self.name()))
    }
}

fn parse(arguments: &Map<String, Value>, project: &Project) -> Result<Parsed<KeepChangesForm>, ArgumentError> {
    let mut parsed = arguments::parse::<KeepChangesForm>(arguments, project)?;
    for glob in &mut parsed.form.paths {
        *glob = checked_glob("paths", glob)?;
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_asks_for_globs_of_one_call_and_for_nothing_else_to_come_back() {
        let plan = |arguments: Value| {
            let Value::Object(arguments) = arguments else { unreachable!() };
            KeepChangesTool.plan(&arguments, &Project { workspace: "/work".into() })
        };
        let kept = plan(json!({"call": "c", "paths": ["./snap/**", "*.out"]})).unwrap();
        assert_eq!(kept.work, Work::Session(SessionRequest::KeepChanges { call: "c".into() }));
        assert_eq!(kept.hand_back, HandBack::Matching(vec!["snap/**".into(), "*.out".into()]));
        for paths in [json!([]), json!(["../x"]), json!(["/x"]), json!(["["])] {
            let error = plan(json!({"call": "c", "paths": paths})).unwrap_err().to_string();
            assert!(error.contains("`paths`"), "{error}");
        }
    }
}
