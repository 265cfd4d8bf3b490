//! `move_file`: moves or renames a file, a link or a folder.

use cofferdam_contract::{FileReply, FileRequest, HandBack, Limits, Plan, Sandbox, Work, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form},
    change, schema,
};

/// Moves a file, a link or a folder.
pub(crate) struct MoveFileTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MoveFileForm {
    /// What is moved.
    #[schemars(with = "schema::PathText")]
    source: WorkspacePath,
    /// The new path, its name included. It must not exist; missing folders are made.
    #[schemars(with = "schema::PathText")]
    destination: WorkspacePath,
}

impl Form for MoveFileForm {
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("from", "source"),
        ("old_path", "source"),
        ("source_path", "source"),
        ("path", "source"),
        ("to", "destination"),
        ("new_path", "destination"),
        ("destination_path", "destination"),
        ("target", "destination"),
    ];
}

#[derive(Serialize, JsonSchema)]
struct MoveFileOutput {
    /// The old path.
    source: String,
    /// The new path.
    destination: String,
    /// How many files, links and folders were moved.
    moved: u64,
}

impl Tool for MoveFileTool {
    fn name(&self) -> &str {
        "move_file"
    }

    fn title(&self) -> &str {
        "Move or rename"
    }

    fn description(&self) -> &str {
        "Moves or renames a file, a link, or a folder with all that is in it. `destination` is the complete new path, not \
         the folder to put it into; missing folders are made. Nothing is ever overwritten: when the destination exists, \
         the call fails and nothing moves. Uses of the old name are not changed: find them with search_files."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: false, destructive: false, idempotent: false, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<MoveFileForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<MoveFileOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = arguments::parse::<MoveFileForm>(arguments, project)?.form;
        change::refuse_workspace(&form.source, "source")?;
        change::refuse_workspace(&form.destination, "destination")?;
        if form.destination.is_within(&form.source) {
            let MoveFileForm { source, destination } = &form;
            let text = format!("`{source}` cannot be moved to `{destination}`: it is the same path, or lies in itself");
            return Err(ArgumentError::Combination(text));
        }
        let plan = arguments::routine(self.name(), &form, Work::WriteFiles, Limits::FILES);
        Ok(Plan {
            reads: vec![form.source.clone()],
            hand_back: HandBack::Paths(vec![form.source, form.destination]),
            ..plan
        })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        arguments::parse::<MoveFileForm>(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let MoveFileForm { source, destination } = arguments::recall(plan)?;
        change::refuse_links_on_the_way(sandbox, &source)?;
        change::refuse_links_on_the_way(sandbox, &destination)?;
        let request = FileRequest::Move { source: source.clone(), destination: destination.clone() };
        let FileReply::Moved(moved) = sandbox.file(request)? else {
            return Err(Failure::other_reply());
        };
        let text = format!("Moved `{source}` to `{destination}` ({moved} files, links and folders).");
        let structured = MoveFileOutput { source: source.to_string(), destination: destination.to_string(), moved };
        Ok(Output::new(text, &structured))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::folder_sandbox::{FolderSandbox, call, call_failing};

    #[test]
    fn a_file_moves_to_a_new_folder_and_nothing_is_overwritten() {
        let sandbox = FolderSandbox::new(&[("a", "1"), ("b", "2")]);
        let output = call(&sandbox, "move_file", json!({"source": "a", "destination": "new/c"}));
        assert_eq!(output.text, "Moved `a` to `new/c` (1 files, links and folders).");
        assert_eq!((sandbox.content("new/c"), sandbox.exists("a")), (b"1".to_vec(), false));
        assert_eq!(call_failing(&sandbox, "move_file", json!({"from": "b", "to": "new/c"})).code, "exists");
        assert_eq!(sandbox.content("b"), b"2");
    }

    #[test]
    fn a_folder_does_not_move_into_itself() {
        let Value::Object(arguments) = json!({"source": "a", "destination": "a/b"}) else { unreachable!() };
        let error = MoveFileTool.plan(&arguments, &Project { workspace: "/work".into() }).unwrap_err();
        assert_eq!(error.to_string(), "`a` cannot be moved to `a/b`: it is the same path, or lies in itself");
    }
}
