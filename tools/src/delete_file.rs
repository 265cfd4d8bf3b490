//! `delete_file`: deletes a file, a link, or a folder with all that is in it.

use cofferdam_contract::{FileReply, FileRequest, HandBack, Limits, Plan, Sandbox, Work, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form},
    change, schema,
};

/// Deletes a file, a link or a folder.
pub(crate) struct DeleteFileTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeleteFileForm {
    /// What is deleted.
    #[schemars(with = "schema::PathText")]
    path: WorkspacePath,
}

impl Form for DeleteFileForm {
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("file_path", "path"), ("filepath", "path"), ("filename", "path"), ("file", "path")];
}

#[derive(Serialize, JsonSchema)]
struct DeleteFileOutput {
    /// What was deleted.
    path: String,
    /// How many files, links and folders were deleted.
    deleted: u64,
}

impl Tool for DeleteFileTool {
    fn name(&self) -> &str {
        "delete_file"
    }

    fn title(&self) -> &str {
        "Delete"
    }

    fn description(&self) -> &str {
        "Deletes a file, a link (not what it points to), or a folder with all that is in it. Only a person can undo \
         it, so look with list_files first when you delete a folder."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: false, destructive: true, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<DeleteFileForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<DeleteFileOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = arguments::parse::<DeleteFileForm>(arguments, project)?.form;
        change::refuse_workspace(&form.path, "path")?;
        let plan = arguments::routine(self.name(), &form, Work::WriteFiles, Limits::FILES);
        Ok(Plan { reads: vec![form.path.clone()], hand_back: HandBack::Paths(vec![form.path]), ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        arguments::parse::<DeleteFileForm>(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let DeleteFileForm { path } = arguments::recall(plan)?;
        change::refuse_links_on_the_way(sandbox, &path)?;
        let FileReply::Deleted(deleted) = sandbox.file(FileRequest::Delete(path.clone()))? else {
            return Err(Failure::other_reply());
        };
        let text = format!("Deleted `{path}` ({deleted} files, links and folders).");
        Ok(Output::new(text, &DeleteFileOutput { path: path.to_string(), deleted }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::folder_sandbox::{FolderSandbox, call, call_failing};

    #[test]
    fn a_link_is_deleted_and_not_what_it_points_to() {
        let sandbox = FolderSandbox::new(&[("real/a", "1")]);
        sandbox.link("link", "real");
        assert_eq!(call_failing(&sandbox, "delete_file", json!({"path": "link/a"})).code, "link");
        call(&sandbox, "delete_file", json!({"path": "link"}));
        assert!(sandbox.exists("real/a") && !sandbox.exists("link"));
        let output = call(&sandbox, "delete_file", json!({"path": "real"}));
        assert_eq!(output.text, "Deleted `real` (2 files, links and folders).");
        assert_eq!(call_failing(&sandbox, "delete_file", json!({"path": "real"})).code, "not_found");
    }

    #[test]
    fn the_workspace_itself_is_never_deleted() {
        for path in [".", "/work", "a/.."] {
            let Value::Object(arguments) = json!({"path": path}) else { unreachable!() };
            let error = DeleteFileTool.plan(&arguments, &Project { workspace: "/work".into() }).unwrap_err();
            assert_eq!(error.to_string(), "argument `path` is the workspace itself; name something in it");
        }
    }
}
