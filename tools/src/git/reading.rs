//! The frame of a tool that reads the repository and changes nothing: such a tool says what it asks for and what it answers.

use cofferdam_contract::{Limits, Plan, Repository, Sandbox, Work, WorkspacePath};
use schemars::JsonSchema;
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form, Parsed},
    schema,
};

/// One that reads.
pub(crate) trait Reading: Send + Sync {
    /// Its arguments.
    type Form: Form;
    /// Its structured answer.
    type Answer: JsonSchema + 'static;

    const NAME: &'static str;
    const TITLE: &'static str;
    const DESCRIPTION: &'static str;

    /// The paths that it is about; none where it is about everything.
    fn paths(form: &Self::Form) -> Option<&WorkspacePath>;

    /// Refuses arguments that each fit by themselves.
    fn check(_: &Self::Form) -> Result<(), ArgumentError> {
        Ok(())
    }

    /// Reads and answers. What the server warns of is added.
    fn answer(form: Self::Form, repository: &Repository, sandbox: &mut dyn Sandbox) -> Result<Output, Failure>;
}

fn parse<T: Reading>(arguments: &Map<String, Value>, project: &Project) -> Result<Parsed<T::Form>, ArgumentError> {
    let parsed = arguments::parse::<T::Form>(arguments, project)?;
    T::check(&parsed.form)?;
    Ok(parsed)
}

impl<T: Reading> Tool for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn title(&self) -> &'static str {
        T::TITLE
    }

    fn description(&self) -> &'static str {
        T::DESCRIPTION
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: true, destructive: false, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<T::Form>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<T::Answer>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = parse::<T>(arguments, project)?.form;
        let plan = arguments::routine(T::NAME, &form, Work::ReadRepository, Limits::REPOSITORY);
        Ok(Plan { reads: T::paths(&form).cloned().into_iter().collect(), ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        parse::<T>(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form: T::Form = arguments::recall(plan)?;
        let repository = super::repository(sandbox)?;
        let mut output = T::answer(form, &repository, sandbox)?;
        output.add_notes(repository.warnings);
        Ok(output)
    }
}
