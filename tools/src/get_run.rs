//! `get_run`: waits for a run that outlived its call, and gives its result. The server answers it from the session.

use cofferdam_contract::{Limits, Plan, Sandbox, SessionRequest, Work};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form},
    schema,
};

/// Waits for a run.
pub(crate) struct GetRunTool;

/// Seconds that a call waits when it does not say: clients give up after 60 s.
const DEFAULT_WAIT_SECONDS: u64 = 30;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GetRunForm {
    /// The `run_id` that an earlier call answered.
    #[schemars(length(min = 1, max = 100))]
    run_id: String,
    /// How long to wait for the end, in seconds. Default 30; 0 answers at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 45))]
    wait_seconds: Option<u64>,
}

impl Form for GetRunForm {
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("id", "run_id"), ("wait", "wait_seconds"), ("timeout_seconds", "wait_seconds")];
}

/// What the server adds while the run goes on; afterwards it is the run's own result, whose shape its tool describes.
#[derive(Serialize, JsonSchema)]
struct GetRunOutput {
    /// `running` while it runs, `finished` with the tool's own result.
    status: String,
}

impl Tool for GetRunTool {
    fn name(&self) -> &str {
        "get_run"
    }

    fn title(&self) -> &str {
        "Wait for a run"
    }

    fn description(&self) -> &str {
        "Waits for a call that answered status \"running\" and gives its result when it has ended, exactly as the call \
         itself would have; else its last output. Waits 30 seconds unless wait_seconds (0 to 45) says otherwise. Call it \
         again until the run has ended; do not start the same run again. A result can be fetched more than once."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: true, destructive: false, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<GetRunForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<GetRunOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = arguments::parse::<GetRunForm>(arguments, project)?.form;
        let wait_seconds = form.wait_seconds.unwrap_or(DEFAULT_WAIT_SECONDS);
        let request = SessionRequest::GetRun { run_id: form.run_id.clone(), wait_seconds };
        Ok(arguments::routine(self.name(), &form, Work::Session(request), Limits::FILES))
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        arguments::parse::<GetRunForm>(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, _: &Plan, _: &mut dyn Sandbox) -> Result<Output, Failure> {
        Err(Failure::answered_by_the_server(self.name()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_waits_no_longer_than_clients_do() {
        let plan = |arguments: Value| {
            let Value::Object(arguments) = arguments else { unreachable!() };
            GetRunTool.plan(&arguments, &Project { workspace: "/work".into() }).map(|plan| plan.work)
        };
        let request = |wait_seconds| Work::Session(SessionRequest::GetRun { run_id: "r".into(), wait_seconds });
        assert_eq!(plan(json!({"run_id": "r"})), Ok(request(30)));
        assert_eq!(plan(json!({"run_id": "r", "wait_seconds": "45"})), Ok(request(45)));
        assert!(plan(json!({"run_id": "r", "wait_seconds": 46})).is_err());
    }
}
