//! `list_changes`: what is held for a person, and why. The server answers it from the session.

use cofferdam_contract::{Limits, Plan, Sandbox, SessionRequest, Work};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form},
    schema,
};

/// Lists held changes.
pub(crate) struct ListChangesTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListChangesForm {}

impl Form for ListChangesForm {
    const ALIASES: &'static [(&'static str, &'static str)] = &[];
}

/// What the server answers; it builds this shape from the session's state.
#[derive(Serialize, JsonSchema)]
struct ListChangesOutput {
    /// How many changes are held.
    total: u64,
    /// The held changes; when there are very many, the first of them.
    changes: Vec<HeldChange>,
}

#[derive(Serialize, JsonSchema)]
struct HeldChange {
    /// The path, relative to the workspace.
    path: String,
    /// What it is: `added`, `modified`, `deleted` and the like.
    change: String,
    /// Why it is held.
    reason: String,
}

impl Tool for ListChangesTool {
    fn name(&self) -> &str {
        "list_changes"
    }

    fn title(&self) -> &str {
        "List held changes"
    }

    fn description(&self) -> &str {
        "Lists the changes that are held for a person, and why each is held: the file is protected (it could run later on \
         the host or in CI), or it changed on the host meanwhile. You see held changes as if they were applied; the \
         repository does not have them yet. Only a person can apply or discard them, outside this server: tell the \
         person what is held instead of trying another way."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: true, destructive: false, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<ListChangesForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<ListChangesOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = arguments::parse::<ListChangesForm>(arguments, project)?.form;
        Ok(arguments::routine(self.name(), &form, Work::Session(SessionRequest::ListChanges), Limits::FILES))
    }

    fn notes(&self, _: &Map<String, Value>, _: &Project) -> Vec<String> {
        Vec::new()
    }

    fn run(&self, _: &Plan, _: &mut dyn Sandbox) -> Result<Output, Failure> {
        Err(Failure::answered_by_the_server(self.name()))
    }
}
