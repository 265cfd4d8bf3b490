//! A task as a tool: a command that the machine's owner named, with a schema of its own.
//!
//! The values that an agent gives are checked against what the owner declared, each becomes one word (or the end of one)
//! and reaches the program as such. Nothing is ever put together to a line, and no shell reads it.

use std::collections::BTreeMap;

use cofferdam_contract::{
    Command, Exit, HandBack, Need, Parameter, ParameterKind, Plan, Sandbox, Task, Word, Work, WorkspacePath,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool, Written, arguments, change,
    command_line::command_line,
    excerpt::{self, TEXT_BYTES},
    plain_text,
    schema::{self, PATH_FORMAT},
    transcript::{End, Transcript},
};

/// A task's tool.
#[derive(Debug)]
pub(crate) struct TaskTool {
    task: Task,
    title: String,
    description: String,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Its program ended with status 0.
    Passed,
    /// Its program ended otherwise.
    Failed,
    /// The time limit passed.
    TimedOut,
    /// Another limit was reached.
    LimitReached,
}

/// What came of it.
#[derive(Serialize, JsonSchema)]
struct TaskOutput {
    /// How it ended: only `passed` means that the program ended with status 0.
    verdict: Verdict,
    /// The program and its arguments.
    argv: Vec<String>,
    /// The folder it ran in, relative to the workspace.
    directory: String,
    /// The program's exit status, when it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// The signal that ended the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_signal: Option<i32>,
    /// What it printed, the beginning and the end of it where it is long.
    output: String,
    /// What else is to be known, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl TaskTool {
    /// A tool for `task`.
    pub(crate) fn new(task: Task) -> Self {
        let words = task.words.iter().map(|word| match word {
            Word::Fixed(word) => word.clone(),
            Word::Filled { prefix, parameter } => format!("{prefix}{{{parameter}}}"),
            Word::Pair { option, parameter } => format!("[{option} {{{parameter}}}]"),
        });
        let argv: Vec<String> = std::iter::once(task.program.clone()).chain(words).collect();
        let argv = argv.join(" ");
        let comes_back = if task.write.is_empty() {
            "Nothing that it writes comes back.".to_owned()
        } else {
            let globs = task.write.join(", ");
            format!("When it succeeds, files that match {} come back.", excerpt::prefix(&globs, 200))
        };
        let description = format!(
            "{} (A task of this workspace's owner: runs `{}` in `{}`, in a sandbox without a network. {comes_back} After 45 seconds it answers status \"running\" and a run_id for get_run.)",
            task.description,
            excerpt::prefix(&argv, 300),
            task.directory,
        );
        let title = task.name.replace('_', " ");
        Self { title, description, task }
    }

    /// The schema that arguments are checked against, with path marks.
    fn checked(&self) -> Map<String, Value> {
        let properties = self.task.parameters.iter().map(|(name, parameter)| (name.clone(), property(parameter)));
        let properties: Map<String, Value> = properties.collect();
        let required = self.task.parameters.iter().filter(|(_, parameter)| parameter.need == Need::Required);
        let required: Vec<&String> = required.map(|(name, _)| name).collect();
        let schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        let Value::Object(mut schema) = schema else { unreachable!("it is written as an object above") };
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        schema
    }

    fn read(
        &self,
        given: &Map<String, Value>,
        project: &Project,
    ) -> Result<(Map<String, Value>, Vec<String>), ArgumentError> {
        let (read, notes) = arguments::read(given, &self.checked(), &[], project)?;
        for (name, value) in &read {
            let kind = self.task.parameters.get(name).map(|parameter| &parameter.kind);
            if let (Some(ParameterKind::Text { .. }), Value::String(text)) = (kind, value)
                && !is_plain(text)
            {
                return Err(ArgumentError::Value {
                    name: name.clone(),
                    expected:
                        "a plain name: letters, digits, `_`, `.`, `:` and `-`, not beginning with a dash or a point"
                            .to_owned(),
                    found: format!("the text \"{}\"", arguments::shortened(text)),
                });
            }
        }
        Ok((read, notes))
    }

    /// The words of the command for these values.
    fn words(&self, values: &Map<String, Value>, workspace: &str) -> Vec<String> {
        let value = |parameter: &String| {
            let kind = &self.task.parameters.get(parameter)?.kind;
            filled(kind, values.get(parameter)?, workspace)
        };
        let words = self.task.words.iter().flat_map(|word| match word {
            Word::Fixed(word) => vec![word.clone()],
            Word::Filled { prefix, parameter } => {
                value(parameter).map(|value| format!("{prefix}{value}")).into_iter().collect()
            }
            Word::Pair { option, parameter } => {
                value(parameter).map_or_else(Vec::new, |value| vec![option.clone(), value])
            }
        });
        words.collect()
    }
}

/// Whether a text is a plain name, which no program reads as an option or a path elsewhere.
fn is_plain(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.:-".contains(letter))
}

/// A value as a word; `None` when the word is left out.
fn filled(kind: &ParameterKind, value: &Value, workspace: &str) -> Option<String> {
    match (kind, value) {
        (ParameterKind::Flag { word }, Value::Bool(true)) => Some(word.clone()),
        (ParameterKind::Flag { .. }, _) => None,
        (ParameterKind::Path, Value::String(path)) if path.is_empty() => Some(workspace.to_owned()),
        (ParameterKind::Path, Value::String(path)) => Some(format!("{workspace}/{path}")),
        (ParameterKind::Integer { .. }, Value::Number(number)) => Some(number.to_string()),
        (ParameterKind::Choice(_) | ParameterKind::Text { .. }, Value::String(text)) => Some(text.clone()),
        (
            ParameterKind::Path | ParameterKind::Integer { .. } | ParameterKind::Choice(_) | ParameterKind::Text { .. },
            _,
        ) => None,
    }
}

fn property(parameter: &Parameter) -> Value {
    let description = &parameter.description;
    match &parameter.kind {
        ParameterKind::Choice(values) => json!({ "type": "string", "enum": values, "description": description }),
        ParameterKind::Integer { minimum, maximum } => {
            json!({ "type": "integer", "minimum": minimum, "maximum": maximum, "description": description })
        }
        ParameterKind::Flag { .. } => json!({ "type": "boolean", "description": description }),
        ParameterKind::Path => json!({
            "type": "string", "format": PATH_FORMAT, "minLength": 1, "maxLength": 4095, "description": description,
        }),
        ParameterKind::Text { max_length } => {
            json!({ "type": "string", "minLength": 1, "maxLength": max_length, "description": description })
        }
    }
}

impl Tool for TaskTool {
    fn name(&self) -> &str {
        &self.task.name
    }

    fn title(&self) -> &str {
        &self.title
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn annotations(&self) -> Annotations {
        let read_only = self.task.write.is_empty();
        Annotations { read_only, destructive: !read_only, idempotent: false, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::published(self.checked())
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<TaskOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let (values, _) = self.read(arguments, project)?;
        let plan = arguments::routine(self.name(), &values, Work::Execute, self.task.limits);
        let hand_back = match self.task.write.as_slice() {
            [] => HandBack::Nothing,
            globs => HandBack::Matching(globs.to_vec()),
        };
        Ok(Plan { hand_back, lane: self.task.lane, ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        self.read(arguments, project).map(|(_, notes)| notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let values = serde_json::to_value(&plan.arguments);
        let Ok(Value::Object(values)) = values else {
            return Err(Failure::new("not_planned", "the plan's arguments are not this task's"));
        };
        let command = Command {
            program: self.task.program.clone(),
            arguments: self.words(&values, sandbox.workspace()),
            directory: self.task.directory.clone(),
            environment: BTreeMap::new(),
        };
        self.find(sandbox)?;
        sandbox.progress(&format!("running {}", self.name()));
        let transcript = Transcript::execute(sandbox, &command)?;
        Ok(self.output(&command, &transcript))
    }
}

impl TaskTool {
    /// Refuses where the program is not there, before anything is run, with what the owner can do.
    fn find(&self, sandbox: &mut dyn Sandbox) -> Result<(), Failure> {
        let (name, program) = (&self.task.name, &self.task.program);
        let text = if let Some(below) = program.strip_prefix("./") {
            let path = WorkspacePath::try_from(below.to_owned());
            let path = path.map_err(|error| Failure::new("not_planned", error.to_string()))?;
            if change::status(sandbox, &path)?.is_some() {
                return Ok(());
            }
            format!(
                "the task `{name}` runs `{program}`, and there is no such file in the workspace as this session sees it. Make \
                 it, or ask the person to: the policy's [[task]] `{name}` names it in `argv`"
            )
        } else {
            if sandbox.find_program(program)?.is_some() {
                return Ok(());
            }
            let path = Command {
                program: "printenv".to_owned(),
                arguments: vec!["PATH".to_owned()],
                directory: WorkspacePath::workspace(),
                environment: BTreeMap::new(),
            };
            let path = match sandbox.find_program(&path.program)? {
                Some(_) => plain_text::one_line(Transcript::execute(sandbox, &path)?.shown().trim()),
                None => String::new(),
            };
            let path = if path.is_empty() { path } else { format!(" ({})", excerpt::prefix(&path, 1000)) };
            format!(
                "the task `{name}` runs `{program}`, and no folder of the sandbox's PATH has it{path}. Nothing can be \
                 installed here: ask the person to install it on the host where sandboxes see it (`cofferdam doctor` lists the \
                 folders), or to put it into the workspace and name it in the [[task]]'s `argv` by its path, \
                 \"./tools/{program}\". `[env]` cannot change the PATH"
            )
        };
        Err(Failure::new("no_program", text))
    }

    fn output(&self, command: &Command, transcript: &Transcript) -> Output {
        let mut notes = Vec::new();
        let (verdict, told) = match transcript.end {
            Some(End::Exited(Exit::Code(0))) => (Verdict::Passed, "PASSED: ended with status 0".to_owned()),
            Some(End::Exited(Exit::Code(code))) => (Verdict::Failed, format!("FAILED: ended with status {code}")),
            Some(End::Exited(Exit::Signal(signal))) => (Verdict::Failed, format!("FAILED: ended by signal {signal}")),
            Some(End::Cut(cofferdam_contract::Ended::Deadline)) => (Verdict::TimedOut, "TIMED OUT".to_owned()),
            Some(End::Cut(ended)) => {
                notes.push(ended.to_string());
                (Verdict::LimitReached, "LIMIT REACHED".to_owned())
            }
            None => (Verdict::Failed, "FAILED".to_owned()),
        };
        if transcript.omitted > 0 {
            notes.push(format!("{} bytes of output were beyond the limit", transcript.omitted));
        }
        let argv: Vec<String> = std::iter::once(&command.program).chain(&command.arguments).cloned().collect();
        let line = plain_text::one_line(&command_line(argv.iter()));
        let mut text = format!("{told}\nRan, in `{}`: {}\n", command.directory, excerpt::prefix(&line, 1000));
        for note in &notes {
            text.push_str(&format!("[{note}]\n"));
        }
        let shown = transcript.shown();
        let output = excerpt::head_and_tail(shown.trim_end(), TEXT_BYTES - 4_000);
        if !output.is_empty() {
            text.push_str(&format!("\nIt printed:\n{output}\n"));
        }
        let (exit_code, exit_signal) = match transcript.exit() {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let directory = command.directory.to_string();
        let structured = TaskOutput { verdict, argv, directory, exit_code, exit_signal, output, notes };
        let written = match verdict {
            Verdict::Passed => Written::HandedBack,
            Verdict::Failed | Verdict::TimedOut | Verdict::LimitReached => Written::ThrownAway,
        };
        Output { written, exit: transcript.exit(), ..Output::new(text, &structured) }
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_contract::{Lane, Limits};

    use super::*;
    use crate::{Toolbox, folder_sandbox::FolderSandbox, portability_tests::assert_portable};

    fn parameter(kind: ParameterKind, need: Need) -> Parameter {
        Parameter { description: "What for.".to_owned(), kind, need }
    }

    fn task() -> Task {
        let filled =
            |prefix: &str, parameter: &str| Word::Filled { prefix: prefix.into(), parameter: parameter.into() };
        let kinds = [
            ("direction", parameter(ParameterKind::Choice(vec!["up".into(), "down".into()]), Need::Required)),
            ("steps", parameter(ParameterKind::Integer { minimum: 1, maximum: 9 }, Need::Optional)),
            ("verbose", parameter(ParameterKind::Flag { word: "--verbose".into() }, Need::Optional)),
            ("file", parameter(ParameterKind::Path, Need::Optional)),
            ("label", parameter(ParameterKind::Text { max_length: 20 }, Need::Optional)),
            ("level", parameter(ParameterKind::Integer { minimum: 0, maximum: 9 }, Need::Optional)),
        ];
        Task {
            name: "migrate".to_owned(),
            description: "Moves the database to another version.".to_owned(),
            program: "./scripts/migrate".to_owned(),
            words: vec![
                Word::Fixed("run".into()),
                filled("", "direction"),
                filled("--steps=", "steps"),
                filled("", "verbose"),
                filled("--file=", "file"),
                filled("", "label"),
                Word::Pair { option: "--level".into(), parameter: "level".into() },
            ],
            directory: WorkspacePath::workspace(),
            parameters: kinds.map(|(name, parameter)| (name.to_owned(), parameter)).into(),
            write: vec!["db/**".to_owned()],
            lane: Lane::Routine,
            limits: Limits::TESTS,
        }
    }

    fn words(arguments: Value) -> Result<String, String> {
        let Value::Object(arguments) = arguments else { unreachable!() };
        let tool = TaskTool::new(task());
        let project = Project { workspace: "/work".into() };
        let plan = tool.plan(&arguments, &project).map_err(|error| error.to_string())?;
        assert_eq!(plan.hand_back, HandBack::Matching(vec!["db/**".into()]));
        let Value::Object(values) = serde_json::to_value(&plan.arguments).unwrap() else { unreachable!() };
        Ok(tool.words(&values, "/work").join(" "))
    }

    #[test]
    fn values_fill_their_words_and_what_is_left_out_leaves_none() {
        assert_eq!(words(json!({"direction": "up"})), Ok("run up".into()));
        let all = json!({"direction": "down", "steps": "3", "verbose": true, "file": "-x/a b", "label": "v1.2:a-b", "level": 2});
        assert_eq!(words(all), Ok("run down --steps=3 --verbose --file=/work/-x/a b v1.2:a-b --level 2".into()));
        assert_eq!(words(json!({"direction": "up", "verbose": false, "file": "."})), Ok("run up --file=/work".into()));
    }

    #[test]
    fn no_value_is_a_free_word() {
        for (name, value) in [
            ("direction", json!("sideways")),
            ("direction", json!("--help")),
            ("steps", json!(10)),
            ("steps", json!(-1)),
            ("file", json!("../../etc/passwd")),
            ("label", json!("-x")),
            ("label", json!(".hidden")),
            ("label", json!("a b")),
            ("label", json!("a/../../b")),
            ("label", json!("a;b")),
            ("label", json!("$(id)")),
            ("label", json!("a\nb")),
            ("label", json!("x".repeat(21))),
            ("argv", json!(["sh"])),
        ] {
            let mut arguments = json!({"direction": "up"});
            arguments[name] = value;
            words(arguments.clone()).expect_err(&arguments.to_string());
        }
        assert!(words(json!({})).unwrap_err().starts_with("missing argument `direction`"));
    }

    #[test]
    fn a_task_is_a_tool_like_any_other() {
        let toolbox = Toolbox::new([Task { name: "zeta".into(), ..task() }, task()]);
        let names: Vec<&str> = toolbox.all().map(|tool| tool.name()).collect();
        assert!(names.ends_with(&["cancel_run", "migrate", "zeta"]), "{names:?}");
        let tool = toolbox.find("migrate").unwrap();
        assert_portable(&tool.input_schema(), "migrate");
        assert_portable(&tool.output_schema(), "migrate output");
        assert_eq!(tool.arguments().len(), 6);
        assert!(
            tool.description().len() < 2000 && tool.description().contains("--steps={steps}"),
            "{}",
            tool.description()
        );
        assert!(!tool.annotations().read_only && tool.annotations().destructive);
        assert_eq!(tool.input_schema()["required"], json!(["direction"]));
    }

    #[test]
    fn the_longest_description_still_fits_its_readers() {
        let long = Task {
            description: "d".repeat(1000),
            words: vec![Word::Fixed("w".repeat(5000))],
            write: vec!["g".repeat(5000)],
            ..task()
        };
        let tool = TaskTool::new(long);
        assert!(tool.description().len() + tool.title().len() < 2000, "{}", tool.description().len());
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_where_it_was_looked_for_and_what_can_be_done() {
        let sandbox = FolderSandbox::new(&[("scripts/there", "")]);
        let find = |program: &str| TaskTool::new(Task { program: program.into(), ..task() }).find(&mut &sandbox);
        assert_eq!(find("./scripts/there"), Ok(()));
        let missing = find("./scripts/gone").unwrap_err();
        assert_eq!(missing.code, "no_program");
        assert!(
            missing.text.starts_with("the task `migrate` runs `./scripts/gone`, and there is no such file"),
            "{missing:?}"
        );
        let missing = find("frobnicate").unwrap_err();
        for part in
            ["the task `migrate` runs `frobnicate`", "the sandbox's PATH", "cofferdam doctor", "./tools/frobnicate"]
        {
            assert!(missing.text.contains(part), "{part}: {}", missing.text);
        }
    }

    #[test]
    fn what_a_task_wrote_counts_only_when_it_succeeded() {
        let tool = TaskTool::new(task());
        let command = Command {
            program: "x".into(),
            arguments: vec!["a b".into()],
            directory: WorkspacePath::workspace(),
            environment: BTreeMap::new(),
        };
        let mut transcript = Transcript::of(&[(cofferdam_contract::Stream::Stdout, "done\n")]);
        let passed = tool.output(&command, &transcript);
        assert_eq!((passed.written, &passed.structured["verdict"]), (Written::HandedBack, &json!("passed")));
        assert_eq!(passed.text, "PASSED: ended with status 0\nRan, in `.`: x 'a b'\n\nIt printed:\ndone\n");
        for end in [
            End::Exited(Exit::Code(3)),
            End::Exited(Exit::Signal(9)),
            End::Cut(cofferdam_contract::Ended::Deadline),
            End::Cut(cofferdam_contract::Ended::OutOfMemory),
        ] {
            transcript.end = Some(end);
            let failed = tool.output(&command, &transcript);
            assert_eq!(failed.written, Written::ThrownAway);
            assert_ne!(failed.structured["verdict"], "passed");
        }
    }
}
