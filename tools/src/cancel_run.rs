//! `cancel_run`: ends a run and destroys its sandbox. The server answers it from the session.

use cofferdam_contract::{Limits, Plan, Sandbox, SessionRequest, Work};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form},
    schema,
};

/// Ends a run.
pub(crate) struct CancelRunTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CancelRunForm {
    /// The `run_id` that an earlier call answered.
    #[schemars(length(min = 1, max = 100))]
    run_id: String,
}

impl Form for CancelRunForm {
    const ALIASES: &'static [(&'static str, &'static str)] = &[("id", "run_id")];
}

/// What the server answers.
#[derive(Serialize, JsonSchema)]
struct CancelRunOutput {
    /// What became of the run: `cancelled`, `cancelling`, or `finished` when it was over already.
    status: String,
    /// The run.
    run_id: String,
}

impl Tool for CancelRunTool {
    fn name(&self) -> &str {
        "cancel_run"
    }

    fn title(&self) -> &str {
        "Cancel a run"
    }

    fn description(&self) -> &str {
        "Ends a call that answered status \"running\": all its processes are killed and its sandbox is destroyed within \
         two seconds. What it wrote is thrown away. A run that has already ended is not changed."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: false, destructive: true, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<CancelRunForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<CancelRunOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = arguments::parse::<CancelRunForm>(arguments, project)?.form;
        let request = SessionRequest::CancelRun { run_id: form.run_id.clone() };
        Ok(arguments::routine(self.name(), &form, Work::Session(request), Limits::FILES))
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        arguments::parse::<CancelRunForm>(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, _: &Plan, _: &mut dyn Sandbox) -> Result<Output, Failure> {
        Err(Failure::answered_by_the_server(self.name()))
    }
}
