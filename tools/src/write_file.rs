//! `write_file`: creates a file, or replaces one as a whole.

use cofferdam_contract::{
    Expected, FileReply, FileRequest, HandBack, Limits, Plan, Sandbox, Work, WorkspacePath, WriteFile, Written,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form},
    change, schema,
};

/// Creates or replaces a file.
pub(crate) struct WriteFileTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WriteFileForm {
    /// The file, relative to the workspace or absolute below it. Missing folders are made.
    #[schemars(with = "schema::PathText")]
    path: WorkspacePath,
    /// The whole new content, written exactly as given (with its line ends, without adding a final newline).
    content: String,
}

impl Form for WriteFileForm {
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("file_path", "path"),
        ("filepath", "path"),
        ("filename", "path"),
        ("file", "path"),
        ("file_text", "content"),
        ("contents", "content"),
        ("text", "content"),
    ];
}

#[derive(Serialize, JsonSchema)]
struct WriteFileOutput {
    /// The file, relative to the workspace.
    path: String,
    /// Whether the file is new.
    created: bool,
    /// Size of the new content in bytes.
    bytes: u64,
    /// Lines of the new content.
    lines: u64,
    /// Size of the replaced content in bytes; 0 for a new file.
    previous_bytes: u64,
}

impl Tool for WriteFileTool {
    fn name(&self) -> &str {
        "write_file"
    }

    fn title(&self) -> &str {
        "Write a file"
    }

    fn description(&self) -> &str {
        "Creates a file, or replaces the whole content of an existing one, in one step; missing folders are made. The \
         content is written exactly as given: end it with a newline yourself. To change part of a file use edit_file: \
         it is shorter, checks what it replaces and keeps encoding and line ends. Writing through a link is refused; \
         name the real file. Protected files (git internals, CI, hooks, editor and package-manager configuration) are \
         written for you to see, and held until a person applies them."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: false, destructive: true, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<WriteFileForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<WriteFileOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = arguments::parse::<WriteFileForm>(arguments, project)?.form;
        change::refuse_workspace(&form.path, "path")?;
        let plan = arguments::routine(self.name(), &form, Work::WriteFiles, Limits::FILES);
        Ok(Plan { reads: vec![form.path.clone()], hand_back: HandBack::Paths(vec![form.path]), ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        arguments::parse::<WriteFileForm>(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form: WriteFileForm = arguments::recall(plan)?;
        change::refuse_links(sandbox, &form.path)?;
        let written = write(sandbox, &form.path, form.content.clone().into_bytes(), Expected::Anything)?;
        let structured = WriteFileOutput {
            path: form.path.to_string(),
            created: written.created,
            bytes: u64::try_from(form.content.len()).unwrap_or(u64::MAX),
            lines: u64::try_from(form.content.lines().count()).unwrap_or(u64::MAX),
            previous_bytes: written.previous_size,
        };
        let WriteFileOutput { path, bytes, lines, previous_bytes, .. } = &structured;
        let lines = if *lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") };
        let text = if structured.created {
            format!("Created `{path}`: {bytes} bytes, {lines}.")
        } else {
            format!("Replaced `{path}`: {bytes} bytes, {lines}; it had {previous_bytes} bytes before.")
        };
        Ok(Output::new(text, &structured))
    }
}

/// Writes `content` to `path`, which is no link.
pub(crate) fn write(
    sandbox: &mut dyn Sandbox,
    path: &WorkspacePath,
    content: Vec<u8>,
    expected: Expected,
) -> Result<Written, Failure> {
    let FileReply::Written(written) =
        sandbox.file(FileRequest::Write(WriteFile { path: path.clone(), content, expected }))?
    else {
        return Err(Failure::other_reply());
    };
    Ok(written)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::folder_sandbox::{FolderSandbox, call, call_failing};

    #[test]
    fn content_is_written_exactly_and_the_answer_tells_created_from_replaced() {
        let sandbox = FolderSandbox::new(&[]);
        let output = call(&sandbox, "write_file", json!({"path": "a/b.txt", "content": "x\r\ny"}));
        assert_eq!(output.text, "Created `a/b.txt`: 4 bytes, 2 lines.");
        assert_eq!(sandbox.content("a/b.txt"), b"x\r\ny");
        let output = call(&sandbox, "write_file", json!({"path": "a/b.txt", "content": ""}));
        assert_eq!(output.text, "Replaced `a/b.txt`: 0 bytes, 0 lines; it had 4 bytes before.");
        assert_eq!(
            Value::Object(output.structured),
            json!({"path": "a/b.txt", "created": false, "bytes": 0, "lines": 0, "previous_bytes": 4})
        );
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let sandbox = FolderSandbox::new(&[("real/a", "kept")]);
        sandbox.link("file", "real/a");
        sandbox.link("folder", "real");
        for path in ["file", "folder/a", "folder/new/x"] {
            let failure = call_failing(&sandbox, "write_file", json!({"path": path, "content": "x"}));
            assert_eq!(failure.code, "link", "{failure:?}");
        }
        assert_eq!(sandbox.content("real/a"), b"kept");
    }

    #[test]
    fn a_link_that_leads_out_is_told_from_one_whose_real_path_can_be_named() {
        let sandbox = FolderSandbox::new(&[("real/a", "kept")]);
        sandbox.link("inside", "real/a");
        sandbox.link("outside", "/etc/hostname");
        sandbox.link("folder", "/etc");
        let text = |path: &str| call_failing(&sandbox, "write_file", json!({"path": path, "content": "x"})).text;
        assert_eq!(text("inside"), "`inside` is a link to `real/a`; nothing was changed. Name the real path instead");
        for (path, link, target) in [("outside", "outside", "/etc/hostname"), ("folder/x", "folder", "/etc")] {
            assert_eq!(
                text(path),
                format!(
                    "`{link}` is a link to `{target}`, which leads out of the workspace; nothing can be changed there"
                )
            );
        }
    }

    #[test]
    fn a_plan_hands_back_that_file_and_no_other() {
        let Value::Object(arguments) = json!({"path": "/work/a.txt", "content": "x"}) else { unreachable!() };
        let plan = WriteFileTool.plan(&arguments, &Project { workspace: "/work".into() }).unwrap();
        let path = WorkspacePath::parse("a.txt", "/work").unwrap();
        assert_eq!(plan.hand_back, HandBack::Paths(vec![path]));
        assert_eq!(plan.work, Work::WriteFiles);
    }
}
