//! `search_files`: file contents by a regular expression, with ripgrep's syntax and defaults.

use cofferdam_contract::{
    FileReply, FileRequest, Ignoring, LeftOut, Limits, OutputMode, Plan, Sandbox, SearchFiles, SearchHit, SearchReply,
    Work, WorkspacePath,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form, Parsed},
    excerpt::TEXT_BYTES,
    plain_text, schema,
};

/// Searches file contents.
pub(crate) struct SearchFilesTool;

/// Results that are shown when the call does not say.
const DEFAULT_LIMIT: u64 = 250;

/// A longer line is cut by the guest, in bytes.
const LINE_BYTES: u32 = 500;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchFilesForm {
    /// The regular expression (ripgrep's syntax; escape literal `{`, `(` and `.`).
    #[schemars(length(min = 1, max = 10_000))]
    pattern: String,
    /// The folder or file to search. Default: the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PathText>")]
    path: Option<WorkspacePath>,
    /// Only files whose path matches, such as `*.ts` or `src/**/*.rs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    glob: Option<String>,
    /// Only files of this ripgrep type, such as `rust`, `py`, `js`, `md`.
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    #[schemars(length(min = 1, max = 40))]
    file_type: Option<String>,
    /// What to show: the matching files (default), their matching lines, or their counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_mode: Option<Mode>,
    /// Lines to show before and after each match, in mode `content`. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 50))]
    context: Option<u32>,
    /// Ignore letter case. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    case_insensitive: Option<bool>,
    /// Let matches span lines, and `.` match line ends. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    multiline: Option<bool>,
    /// How many results to show: files, lines (context included) or counts. Default 250.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    head_limit: Option<u64>,
    /// How many results to skip first. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    offset: Option<u64>,
    /// Also search hidden files and what .gitignore names. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    include_ignored: Option<bool>,
}

impl Form for SearchFilesForm {
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("query", "pattern"),
        ("regex", "pattern"),
        ("file_path", "path"),
        ("directory", "path"),
        ("include", "glob"),
        ("include_pattern", "glob"),
        ("file_pattern", "glob"),
        ("file_type", "type"),
        ("mode", "output_mode"),
        ("-C", "context"),
        ("-i", "case_insensitive"),
        ("ignore_case", "case_insensitive"),
        ("limit", "head_limit"),
        ("max_results", "head_limit"),
        ("no_ignore", "include_ignored"),
        ("cursor", "offset"),
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    FilesWithMatches,
    Content,
    Count,
}

#[derive(Serialize, JsonSchema)]
struct SearchFilesOutput {
    /// What is shown: `files_with_matches`, `content` or `count`.
    output_mode: Mode,
    /// The matching files, in order of their paths.
    files: Vec<FileHits>,
    /// Matching lines in all, shown or not.
    total_matches: u64,
    /// Matching files in all, shown or not.
    total_files: u64,
    /// The offset of the call that shows what follows, when something was left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
    /// What was not searched.
    #[serde(skip_serializing_if = "NotSearched::is_nothing")]
    not_searched: NotSearched,
    /// What else is to be known, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// What was not searched, by why. A folder counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
struct NotSearched {
    /// Files and folders that ignore files name.
    ignored: u64,
    /// Files and folders whose names start with a dot.
    hidden: u64,
    /// Binary files.
    binary: u64,
    /// Files and folders that could not be read.
    unreadable: u64,
    /// Files with a line, or with multiline files, of over 64 MiB.
    too_large: u64,
}

impl NotSearched {
    fn of(left_out: LeftOut) -> Self {
        let LeftOut { ignored, hidden, binary, unreadable, too_large } = left_out;
        Self { ignored, hidden, binary, unreadable, too_large }
    }

    fn is_nothing(&self) -> bool {
        *self == Self::of(LeftOut::default())
    }

    /// In words; `None` when there is nothing to tell.
    fn told(&self) -> Option<String> {
        let Self { ignored, hidden, binary, unreadable, too_large } = *self;
        let parts: Vec<String> = [
            (ignored, "ignored"),
            (hidden, "hidden"),
            (binary, "binary"),
            (unreadable, "unreadable"),
            (too_large, "too large"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
        let mends = if ignored + hidden > 0 { "; include_ignored searches ignored and hidden ones" } else { "" };
        (!parts.is_empty()).then(|| format!("not searched: {}{mends}", parts.join(", ")))
    }
}

#[derive(Serialize, JsonSchema)]
struct FileHits {
    /// The path, relative to the workspace.
    path: String,
    /// Matching lines in this file.
    matches: u64,
    /// The lines, in mode `content`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<Line>,
}

#[derive(Serialize, JsonSchema)]
struct Line {
    /// The line's number, from 1.
    number: u64,
    /// The line.
    text: String,
    /// Whether it matched; else it is context.
    matched: bool,
}

impl Tool for SearchFilesTool {
    fn name(&self) -> &str {
        "search_files"
    }

    fn title(&self) -> &str {
        "Search in files"
    }

    fn description(&self) -> &str {
        "Searches file contents with a regular expression (ripgrep's engine; binary files are passed over, and hidden \
         and ignored ones unless include_ignored is true). The default output_mode, files_with_matches, names the files; `content` shows matching lines with their \
         numbers (add context for lines around them); `count` counts per file. Narrow with path, glob (`*.ts`) or type \
         (`rust`, `py`). At most head_limit results (250) and about 24 kB are shown; the rest is counted, and offset \
         shows it. Escape regex signs in literal code: `foo\\(`. A pattern that should cross lines needs multiline."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: true, destructive: false, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<SearchFilesForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<SearchFilesOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = parse(arguments, project)?.form;
        let plan = arguments::routine(self.name(), &form, Work::ReadFiles, Limits::FILES);
        Ok(Plan { reads: form.path.into_iter().collect(), ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        parse(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form: SearchFilesForm = arguments::recall(plan)?;
        let mode = form.output_mode.unwrap_or(Mode::FilesWithMatches);
        let offset = form.offset.unwrap_or(0);
        let request = SearchFiles {
            pattern: form.pattern,
            path: form.path.unwrap_or_else(WorkspacePath::workspace),
            glob: form.glob,
            file_type: form.file_type,
            mode: match mode {
                Mode::FilesWithMatches => OutputMode::FilesWithMatches,
                Mode::Content => OutputMode::Content,
                Mode::Count => OutputMode::Count,
            },
            context: form.context.unwrap_or(0),
            case_insensitive: form.case_insensitive.unwrap_or(false),
            multiline: form.multiline.unwrap_or(false),
            offset,
            head_limit: form.head_limit.unwrap_or(DEFAULT_LIMIT),
            max_line_bytes: LINE_BYTES,
            ignoring: match form.include_ignored {
                Some(true) => Ignoring::Nowhere,
                Some(false) | None => Ignoring::Everywhere,
            },
        };
        Ok(Shown::of(search(sandbox, request)?, mode, offset))
    }
}

/// Searches, as the guest does.
pub(crate) fn search(sandbox: &mut dyn Sandbox, request: SearchFiles) -> Result<SearchReply, Failure> {
    let FileReply::Search(reply) = sandbox.file(FileRequest::Search(request))? else {
        return Err(Failure::other_reply());
    };
    Ok(reply)
}

/// Parses, with grep's options that have no argument of their own here.
fn parse(arguments: &Map<String, Value>, project: &Project) -> Result<Parsed<SearchFilesForm>, ArgumentError> {
    let mut arguments = arguments.clone();
    let mut notes = Vec::new();
    // Line numbers are always shown, so asking for them changes nothing.
    if ["-n", "line_numbers"].iter().filter_map(|name| arguments.remove(*name)).any(|asked| asked == false) {
        notes.push("line numbers are always shown".to_owned());
    }
    let sides: Vec<Value> = ["-A", "-B", "after_context", "before_context"]
        .iter()
        .filter_map(|name| arguments.remove(*name))
        .filter(|value| !value.is_null())
        .collect();
    let larger = sides.iter().max_by_key(|side| match side {
        Value::String(text) => text.trim().parse::<u64>().unwrap_or(u64::MAX),
        other => other.as_u64().unwrap_or(u64::MAX),
    });
    if let Some(larger) = larger {
        if !arguments.contains_key("context") && !arguments.contains_key("-C") {
            arguments.insert("context".to_owned(), larger.clone());
        }
        notes.push("context is shown on both sides of a match".to_owned());
    }
    let mut parsed = arguments::parse::<SearchFilesForm>(&arguments, project)?;
    parsed.notes.extend(notes);
    Ok(parsed)
}

/// A search's results as far as they fit.
struct Shown {
    text: String,
    files: Vec<FileHits>,
    /// Results shown, in the unit of the mode.
    results: u64,
    full: bool,
}

impl Shown {
    fn of(reply: SearchReply, mode: Mode, offset: u64) -> Output {
        let mut shown = Self { text: String::new(), files: Vec::new(), results: 0, full: false };
        for hit in &reply.hits {
            if shown.full {
                break;
            }
            match mode {
                Mode::Content => shown.add_lines(hit),
                Mode::FilesWithMatches => shown.add_file(hit, &format!("{}\n", path_of(hit))),
                Mode::Count => shown.add_file(hit, &format!("{}: {}\n", path_of(hit), hit.matches)),
            }
        }
        shown.finish(&reply, mode, offset)
    }

    fn add_file(&mut self, hit: &SearchHit, line: &str) {
        if self.text.len() + line.len() > TEXT_BYTES {
            self.full = true;
            return;
        }
        self.text.push_str(line);
        self.files.push(FileHits { path: path_of(hit), matches: hit.matches, lines: Vec::new() });
        self.results += 1;
    }

    /// Adds a file's lines: matches as `12: text`, context as `12- text`, gaps as `--`.
    fn add_lines(&mut self, hit: &SearchHit) {
        let mut block = format!("{}\n", path_of(hit));
        let mut lines: Vec<Line> = Vec::new();
        let mut results = 0;
        for line in &hit.lines {
            let (text, _) = plain_text::content(&line.text);
            let sign = if line.matched { ':' } else { '-' };
            let gap =
                lines.last().is_some_and(|last| last.number + 1 < line.number) && hit.lines.iter().any(|l| !l.matched);
            let gap = if gap { "--\n" } else { "" };
            let shown = format!("{gap}{:>6}{sign} {text}\n", line.number);
            if self.text.len() + block.len() + shown.len() > TEXT_BYTES {
                self.full = true;
                break;
            }
            block.push_str(&shown);
            results += 1;
            lines.push(Line { number: line.number, text, matched: line.matched });
        }
        if results > 0 {
            self.text.push_str(&block);
            self.results += results;
            self.files.push(FileHits { path: path_of(hit), matches: hit.matches, lines });
        }
    }

    fn finish(mut self, reply: &SearchReply, mode: Mode, offset: u64) -> Output {
        let mut notes = Vec::new();
        // In mode `content` each shown line is a result, context lines too: that is how the guest counts an offset.
        let unit = match mode {
            Mode::Content => "lines",
            Mode::FilesWithMatches | Mode::Count => "files",
        };
        let next = offset + self.results;
        let more = self.results > 0 && (self.full || reply.omitted > 0);
        if reply.total_files == 0 {
            notes.push("nothing matches".to_owned());
        } else if self.results == 0 {
            notes.push(format!("offset {offset} is after the last of the {unit}"));
        }
        let not_searched = NotSearched::of(reply.left_out);
        notes.extend(not_searched.told());
        if reply.guessed > 0 {
            notes
                .push(format!("{} matching files are not UTF-8 and were read as Windows-1252, a guess", reply.guessed));
        }
        let sums = format!("{} matching lines in {} files", reply.total_matches, reply.total_files);
        if more {
            self.text.push_str(&format!(
                "[{unit} {}-{next} shown of {sums}; offset {next} continues, or narrow the search]\n",
                offset + 1
            ));
        } else if self.results > 0 {
            self.text.push_str(&format!("[{sums}]\n"));
        }
        for note in &notes {
            self.text.push_str(&format!("[{note}]\n"));
        }
        let structured = SearchFilesOutput {
            output_mode: mode,
            files: self.files,
            total_matches: reply.total_matches,
            total_files: reply.total_files,
            next_offset: more.then_some(next),
            not_searched,
            notes,
        };
        Output::new(self.text, &structured)
    }
}

fn path_of(hit: &SearchHit) -> String {
    plain_text::content(&hit.path.replace('\n', "\\n")).0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::folder_sandbox::{FolderSandbox, call, call_failing};

    fn sandbox() -> FolderSandbox {
        FolderSandbox::new(&[
            ("a.rs", "fn one() {}\nfn two() {}\n"),
            ("b.py", "def one(): pass\n"),
            ("c.txt", "none\n"),
        ])
    }

    #[test]
    fn each_mode_shows_its_own() {
        let sandbox = sandbox();
        let text = |mode| call(&sandbox, "search_files", json!({"pattern": "one\\(", "output_mode": mode})).text;
        assert_eq!(text(Value::Null), "a.rs\nb.py\n[2 matching lines in 2 files]\n");
        assert_eq!(text(json!("count")), "a.rs: 1\nb.py: 1\n[2 matching lines in 2 files]\n");
        assert_eq!(
            text(json!("content")),
            "a.rs\n     1: fn one() {}\nb.py\n     1: def one(): pass\n[2 matching lines in 2 files]\n"
        );
    }

    #[test]
    fn what_does_not_fit_is_one_offset_away() {
        let sandbox = FolderSandbox::new(&[("a", &"needle in a line\n".repeat(3000))]);
        let mut arguments = json!({"pattern": "needle", "output_mode": "content", "head_limit": 5000});
        let first = call(&sandbox, "search_files", arguments.clone());
        let next = first.structured["next_offset"].as_u64().unwrap();
        assert!(first.text.len() < TEXT_BYTES + 200 && first.text.contains(&format!("offset {next} continues")));
        arguments["offset"] = next.into();
        let second = call(&sandbox, "search_files", arguments);
        assert_eq!(second.structured["files"][0]["lines"][0]["number"], next + 1);
    }

    #[test]
    fn grep_options_are_understood() {
        let sandbox = sandbox();
        let output =
            call(&sandbox, "search_files", json!({"pattern": "ONE", "-i": true, "-n": true, "-A": 1, "-B": "2"}));
        assert_eq!(output.structured["total_files"], 3);
        let Value::Object(arguments) = json!({"pattern": "x", "-A": 1, "-B": "2"}) else { unreachable!() };
        let project = Project { workspace: "/work".into() };
        let plan = SearchFilesTool.plan(&arguments, &project).unwrap();
        assert_eq!(plan.arguments["context"], cofferdam_contract::Argument::Integer(2));
        let notes = SearchFilesTool.notes(&arguments, &project);
        assert_eq!(notes[1], "context is shown on both sides of a match");
    }

    #[test]
    fn nothing_found_is_no_failure_and_a_bad_expression_is() {
        let sandbox = sandbox();
        let output = call(&sandbox, "search_files", json!({"pattern": "zebra"}));
        assert!(output.text.starts_with("[nothing matches]"), "{}", output.text);
        assert_eq!(call_failing(&sandbox, "search_files", json!({"pattern": "("})).code, "invalid");
    }
}
