//! What an agent may ask for: a file a tool.
//!
//! A tool turns arguments into a [`Plan`] without looking at anything, and later does that plan through a
//! [`Sandbox`]. There is no file, network, environment or clock in this crate: `&mut dyn Sandbox` is all its power, and
//! that does not exist before policy has permitted the plan.
//!
//! A result is told twice, as text and as structure, since clients show a model one or the other; each stands alone.

mod arguments;
mod build;
mod cancel_run;
mod cargo_messages;
mod change;
mod check_types;
mod checks;
mod command_line;
mod delete_file;
mod diff;
mod edit_file;
mod excerpt;
mod failure;
mod folders;
mod format;
mod get_run;
mod git;
mod git_commit;
mod git_diff;
mod git_log;
mod git_show;
mod git_status;
mod keep_changes;
mod lint;
mod list_changes;
mod list_files;
mod matching;
mod move_file;
mod nearest;
mod part;
mod place;
mod plain_text;
mod project_files;
mod project_signs;
mod read_file;
pub mod run_tests;
mod schema;
mod search_files;
mod task;
mod text_file;
mod toolbox;
mod transcript;
mod whole;
mod write_file;

#[cfg(test)]
mod folder_sandbox;
#[cfg(test)]
mod portability_tests;

use std::collections::BTreeSet;

use cofferdam_contract::{Exit, Plan, Sandbox};
use serde_json::{Map, Value};

pub use arguments::ArgumentError;
pub use failure::Failure;
pub use toolbox::Toolbox;
pub use whole::Whole;

/// What a client tells its model about this server, in under 2000 bytes: clients cut what is longer at 2 KB.
pub const INSTRUCTIONS: &str = include_str!("instructions.txt");

/// One thing an agent may ask for.
pub trait Tool: Send + Sync {
    /// Its name: snake case, at most 30 bytes, since hosts put `mcp__server__` before it and cut at 64.
    fn name(&self) -> &str;

    /// Its name for people.
    fn title(&self) -> &str;

    /// What it does and how to use it, in under 2000 bytes.
    fn description(&self) -> &str;

    /// Hints for hosts that ask a person before a call.
    fn annotations(&self) -> Annotations;

    /// The portable JSON schema of its arguments.
    fn input_schema(&self) -> Map<String, Value>;

    /// The portable JSON schema of [`Output::structured`].
    fn output_schema(&self) -> Map<String, Value>;

    /// The standard names of all arguments that a plan of this tool may hold.
    fn arguments(&self) -> BTreeSet<String> {
        let schema = self.input_schema();
        schema.get("properties").and_then(Value::as_object).map(|map| map.keys().cloned().collect()).unwrap_or_default()
    }

    /// The standard names of the arguments that no call can be without.
    fn required_arguments(&self) -> BTreeSet<String> {
        let schema = self.input_schema();
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        required.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Parses `arguments` and says what the call wants. The same arguments give the same plan everywhere.
    ///
    /// # Errors
    /// An [`ArgumentError`] that tells what is expected.
    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError>;

    /// What in `arguments` was read otherwise than it was written (`"10"` as 10), a sentence each, for
    /// [`Output::add_notes`]. Empty when [`Tool::plan`] refuses them.
    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String>;

    /// Does what `plan` says. Never called for [`cofferdam_contract::Work::Session`]: the server answers those.
    ///
    /// # Errors
    /// A [`Failure`] whose text tells the agent what to do instead.
    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure>;
}

/// Hints about a tool (MCP's `ToolAnnotations`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotations {
    /// It changes nothing in the workspace.
    pub read_only: bool,
    /// What it changes may be lost.
    pub destructive: bool,
    /// Calling it twice is as calling it once.
    pub idempotent: bool,
    /// It reaches beyond the workspace. Nothing here does.
    pub open_world: bool,
}

/// What a plan may know about the place where it will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The workspace's absolute path, without a closing slash.
    pub workspace: String,
}

/// A tool's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// For readers of text.
    pub text: String,
    /// The same facts for readers of structure.
    pub structured: Map<String, Value>,
    /// What those two shorten, for programs that ask for it. Never for a model.
    pub whole: Option<Whole>,
    /// Whether what the call wrote is good enough to be handed back.
    pub written: Written,
    /// How the program that the answer is about ended, where others were executed after it.
    pub exit: Option<Exit>,
}

/// What becomes of what a call wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Written {
    /// It is handed back as the plan says.
    #[default]
    HandedBack,
    /// It is thrown away: the program did not do what it was started for, and half of a change is worth nothing.
    ThrownAway,
}

impl Output {
    /// An answer whose structure is `structured`.
    pub(crate) fn new(text: String, structured: &impl serde::Serialize) -> Self {
        let Ok(Value::Object(structured)) = serde_json::to_value(structured) else {
            unreachable!("outputs are structs of texts, numbers and lists");
        };
        Self { text, structured, ..Self::default() }
    }

    /// Adds sentences to both forms.
    pub fn add_notes(&mut self, notes: Vec<String>) {
        if notes.is_empty() {
            return;
        }
        for note in &notes {
            if !self.text.is_empty() && !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            self.text.push_str("Note: ");
            self.text.push_str(note);
            self.text.push('\n');
        }
        let list = self.structured.entry("notes").or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.extend(notes.into_iter().map(Value::String));
        }
    }
}

/// The tools that are there for every workspace.
#[must_use]
pub fn builtin() -> &'static [&'static dyn Tool] {
    &[
        &read_file::ReadFileTool,
        &write_file::WriteFileTool,
        &edit_file::EditFileTool,
        &list_files::ListFilesTool,
        &search_files::SearchFilesTool,
        &move_file::MoveFileTool,
        &delete_file::DeleteFileTool,
        &run_tests::RunTestsTool,
        &lint::LintTool,
        &format::FormatTool,
        &check_types::CheckTypesTool,
        &build::BuildTool,
        &git_status::GitStatusTool,
        &git_diff::GitDiffTool,
        &git_log::GitLogTool,
        &git_show::GitShowTool,
        &git_commit::GitCommitTool,
        &list_changes::ListChangesTool,
        &keep_changes::KeepChangesTool,
        &get_run::GetRunTool,
        &cancel_run::CancelRunTool,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_stand_in_both_forms() {
        let mut output = Output { text: "done".into(), ..Output::default() };
        output.add_notes(vec!["one".into()]);
        output.add_notes(vec!["two".into()]);
        assert_eq!(output.text, "done\nNote: one\nNote: two\n");
        assert_eq!(output.structured["notes"], serde_json::json!(["one", "two"]));
    }

    #[test]
    fn tools_are_found_by_their_names_only() {
        let toolbox = Toolbox::default();
        let found = |name: &str| toolbox.find(name).map(Tool::name);
        assert!(builtin().iter().all(|tool| found(tool.name()) == Some(tool.name())));
        assert_eq!(found("bash"), None);
    }
}
