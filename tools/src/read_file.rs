//! `read_file`: lines of a text file, numbered.

use std::fmt::Write as _;

use cofferdam_contract::{
    FileContent, FileReply, FileRequest, Limits, Plan, ReadFile, Sandbox, Window, Work, WorkspacePath,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form},
    excerpt::TEXT_BYTES,
    plain_text, schema,
    text_file::{self, Cut, Encoding, Kind, LineEnds},
};

/// Reads lines of a text file.
pub(crate) struct ReadFileTool;

/// Lines that are shown when the call names no limit.
const DEFAULT_LINES: u64 = 2000;

/// A longer line is cut, in characters.
const LINE_CHARACTERS: usize = 2000;

/// Bytes of a window that are looked at: far more than is shown, so that long lines are skipped over in one call.
const WINDOW_BYTES: u64 = 1024 * 1024;

/// The largest file whose lines cannot be told by bytes (UTF-16), in bytes.
const WHOLE_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadFileForm {
    /// The file, relative to the workspace or absolute below it.
    #[schemars(with = "schema::PathText")]
    path: WorkspacePath,
    /// The first line to show, counted from 1. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_000_000_000_u64))]
    offset: Option<u64>,
    /// How many lines to show. Default 2000; about 24 kB are shown at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    limit: Option<u64>,
}

impl Form for ReadFileForm {
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("file_path", "path"),
        ("filepath", "path"),
        ("filename", "path"),
        ("file", "path"),
        ("start_line", "offset"),
        ("head", "limit"),
        ("max_lines", "limit"),
    ];
}

#[derive(Serialize, JsonSchema)]
struct ReadFileOutput {
    /// The file, relative to the workspace.
    path: String,
    /// The shown lines, without numbers. Control and invisible characters are written as `\u{…}`.
    content: String,
    /// The number of the first shown line.
    first_line: u64,
    /// How many lines are shown.
    lines: u64,
    /// Lines in the whole file, when it was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_lines: Option<u64>,
    /// Size of the whole file in bytes.
    size_bytes: u64,
    /// How the text is stored: utf-8, utf-8 with byte order mark, utf-16le, utf-16be, latin-1, utf-8 with invalid
    /// bytes; or `binary`.
    encoding: String,
    /// How the shown lines end: lf, crlf or mixed.
    line_ends: String,
    /// The offset of the call that shows what follows, when something was left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
    /// What is special about this file, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Tool for ReadFileTool {
    fn name(&self) -> &str {
        "read_file"
    }

    fn title(&self) -> &str {
        "Read a file"
    }

    fn description(&self) -> &str {
        "Shows a text file with line numbers (number, tab, line). Up to 2000 lines and about 24 kB at once; what is left \
         out is said exactly, with the offset that continues. Lines over 2000 characters are cut with a mark. Encoding, \
         CRLF line ends and a missing final newline are noted; binary files and images are named with their size, not \
         shown. To find where something is, use search_files first and read around it with offset and limit. When you \
         copy text into edit_file, leave out the line numbers and the tab."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: true, destructive: false, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<ReadFileForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<ReadFileOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = arguments::parse::<ReadFileForm>(arguments, project)?.form;
        let plan = arguments::routine(self.name(), &form, Work::ReadFiles, Limits::FILES);
        Ok(Plan { reads: vec![form.path], ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        arguments::parse::<ReadFileForm>(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form: ReadFileForm = arguments::recall(plan)?;
        let first = form.offset.unwrap_or(1).max(1);
        let count = form.limit.unwrap_or(DEFAULT_LINES);
        let file = read(sandbox, &form.path, Window::Lines { first, count }, WINDOW_BYTES)?;
        match text_file::kind(&file.head) {
            Kind::Binary(kind) => Ok(binary(&form.path, kind, &file)),
            Kind::Text(encoding) if encoding.has_byte_lines() => {
                let cut = if file.cut { Cut::AtAnyByte } else { Cut::Whole };
                let (text, encoding) = text_file::decode(&file.bytes, encoding, cut);
                let lines = Lines { text, encoding, first, total: file.total_lines, cut: file.cut };
                lines.show(&form.path, file.size)
            }
            Kind::Text(encoding) => {
                let whole = read(sandbox, &form.path, Window::Bytes, WHOLE_BYTES)?;
                if whole.cut {
                    return Err(Failure::new(
                        "too_large",
                        format!("`{}` is {} bytes of UTF-16; at most {WHOLE_BYTES} can be read", form.path, whole.size),
                    ));
                }
                let (text, encoding) = text_file::decode(&whole.bytes, encoding, Cut::Whole);
                let total = u64::try_from(text.lines().count()).unwrap_or(u64::MAX);
                let from = usize::try_from(first - 1).unwrap_or(usize::MAX);
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let text: String = text.split_inclusive('\n').skip(from).take(count).collect();
                Lines { text, encoding, first, total: Some(total), cut: false }.show(&form.path, whole.size)
            }
        }
    }
}

/// Reads a window of a file.
pub(crate) fn read(
    sandbox: &mut dyn Sandbox,
    path: &WorkspacePath,
    window: Window,
    max_bytes: u64,
) -> Result<FileContent, Failure> {
    let FileReply::Read(content) =
        sandbox.file(FileRequest::Read(ReadFile { path: path.clone(), window, max_bytes }))?
    else {
        return Err(Failure::other_reply());
    };
    Ok(content)
}

fn binary(path: &WorkspacePath, kind: &str, file: &FileContent) -> Output {
    let note = format!("`{path}` is a {kind} of {} bytes; its content is not shown.", file.size);
    let structured = ReadFileOutput {
        path: path.to_string(),
        content: String::new(),
        first_line: 1,
        lines: 0,
        total_lines: None,
        size_bytes: file.size,
        encoding: "binary".to_owned(),
        line_ends: LineEnds::Lf.name().to_owned(),
        next_offset: None,
        notes: vec![note.clone()],
    };
    Output::new(note, &structured)
}

/// Lines of a file, decoded.
struct Lines {
    text: String,
    encoding: Encoding,
    /// The number of the first line.
    first: u64,
    /// Lines in the whole file.
    total: Option<u64>,
    /// Whether the window ended before the lines asked for did.
    cut: bool,
}

/// What became of lines that are shown.
#[derive(Default)]
struct Shown {
    numbered: String,
    content: String,
    lines: u64,
    shortened: u64,
    escaped: u64,
}

impl Lines {
    fn show(&self, path: &WorkspacePath, size: u64) -> Result<Output, Failure> {
        let path = path.to_string();
        if self.text.is_empty() && self.first > 1 {
            let total = self.total.map_or_else(|| "fewer".to_owned(), |total| total.to_string());
            return Err(Failure::new(
                "past_the_end",
                format!("`{path}` has {total} lines; offset {} is after its end", self.first),
            ));
        }
        let shown = self.take();
        let next = self.first + shown.lines;
        let more = self.total.map_or(shown.lines > 0, |total| next <= total);
        let notes = self.notes(&shown, size);
        let mut text = shown.numbered;
        let last = next.saturating_sub(1);
        let total = self.total.map_or_else(|| "many".to_owned(), |total| total.to_string());
        if more {
            text.push_str(&format!(
                "[lines {}-{last} of {total} shown; continue with read_file {{\"path\": {}, \"offset\": {next}}}]\n",
                self.first,
                Value::from(path.as_str()),
            ));
        } else if self.first > 1 {
            text.push_str(&format!("[lines {}-{last} of {total} shown; this is the end]\n", self.first));
        }
        for note in &notes {
            text.push_str(&format!("[{note}]\n"));
        }
        let structured = ReadFileOutput {
            path,
            content: shown.content,
            first_line: self.first,
            lines: shown.lines,
            total_lines: self.total,
            size_bytes: size,
            encoding: self.encoding.name().to_owned(),
            line_ends: text_file::line_ends(&self.text).name().to_owned(),
            next_offset: more.then_some(next),
            notes,
        };
        Ok(Output::new(text, &structured))
    }

    /// As many lines as a result holds, at least one.
    fn take(&self) -> Shown {
        let mut shown = Shown::default();
        for (line, number) in self.text.split_inclusive('\n').zip(self.first..) {
            let incomplete = self.cut && !line.ends_with('\n');
            if incomplete && shown.lines > 0 {
                break;
            }
            let line = line.strip_suffix('\n').unwrap_or(line);
            let line = line.strip_suffix('\r').unwrap_or(line);
            let (mut plain, escaped) = plain_text::content(line);
            let characters = plain.chars().count();
            if characters > LINE_CHARACTERS {
                let at_least = if incomplete { "at least " } else { "" };
                let more = characters - LINE_CHARACTERS;
                let mut cut: String = plain.chars().take(LINE_CHARACTERS).collect();
                cut.push_str(&format!("[... {at_least}{more} more characters]"));
                plain = cut;
            }
            let before = shown.numbered.len();
            let _ = writeln!(shown.numbered, "{number:>6}\t{plain}");
            if shown.lines > 0 && shown.numbered.len() > TEXT_BYTES {
                shown.numbered.truncate(before);
                break;
            }
            shown.content.push_str(&plain);
            shown.content.push('\n');
            shown.lines += 1;
            shown.shortened += u64::from(characters > LINE_CHARACTERS);
            shown.escaped += escaped;
        }
        if !self.text.ends_with('\n') && shown.content.ends_with('\n') {
            shown.content.pop();
        }
        shown
    }

    fn notes(&self, shown: &Shown, size: u64) -> Vec<String> {
        let mut notes = Vec::new();
        if size == 0 {
            notes.push("the file is empty".to_owned());
        }
        match self.encoding {
            Encoding::Utf8 => {}
            Encoding::Utf8Marked => notes.push("the file begins with a byte order mark, which is not shown".to_owned()),
            Encoding::Utf16Little | Encoding::Utf16Big => {
                notes.push(format!("the file is stored as {}", self.encoding.name()));
            }
            Encoding::Latin1 => notes.push("the file is not UTF-8; it is shown as Latin-1".to_owned()),
            Encoding::BrokenUtf8 => {
                notes.push("some bytes are not UTF-8 and are shown as U+FFFD; edit_file refuses this file".to_owned());
            }
        }
        match text_file::line_ends(&self.text) {
            LineEnds::Lf => {}
            LineEnds::CrLf => notes.push("lines end with CRLF; edit_file keeps that".to_owned()),
            LineEnds::Mixed => notes.push("some lines end with CRLF and some with LF".to_owned()),
        }
        let at_the_end = self.total.is_some_and(|total| self.first + shown.lines > total) && !self.cut;
        if at_the_end && size > 0 && !self.text.ends_with('\n') {
            notes.push("the last line has no newline at its end".to_owned());
        }
        if shown.shortened > 0 {
            notes.push(format!("{} lines are cut at {LINE_CHARACTERS} characters", shown.shortened));
        }
        if shown.escaped > 0 {
            notes.push(format!(
                "{} control or invisible characters are shown as \\u{{…}}; the file holds the characters themselves",
                shown.escaped
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::folder_sandbox::{FolderSandbox, call, call_failing};

    #[test]
    fn lines_are_numbered_and_the_rest_is_one_call_away() {
        let sandbox = FolderSandbox::new(&[("a.txt", "one\ntwo\nthree\nfour\n")]);
        let output = call(&sandbox, "read_file", json!({"path": "a.txt", "offset": 2, "limit": 2}));
        assert_eq!(
            output.text,
            "     2\ttwo\n     3\tthree\n[lines 2-3 of 4 shown; continue with read_file {\"path\": \"a.txt\", \
             \"offset\": 4}]\n"
        );
        assert_eq!(
            Value::Object(output.structured),
            json!({
                "path": "a.txt", "content": "two\nthree\n", "first_line": 2, "lines": 2, "total_lines": 4,
                "size_bytes": 19, "encoding": "utf-8", "line_ends": "lf", "next_offset": 4,
            })
        );
    }

    #[test]
    fn a_long_file_stays_within_the_budget_and_can_be_walked_to_its_end() {
        let text: String = (1..=3000).map(|line| format!("this is line {line} of a long file\n")).collect();
        let sandbox = FolderSandbox::new(&[("long.txt", &text)]);
        let (mut offset, mut seen, mut calls) = (json!(1), String::new(), 0);
        while !offset.is_null() {
            let output = call(&sandbox, "read_file", json!({"path": "long.txt", "offset": offset}));
            assert!(output.text.len() < TEXT_BYTES + 200, "{}", output.text.len());
            seen.push_str(output.structured["content"].as_str().unwrap());
            offset = output.structured.get("next_offset").cloned().unwrap_or(Value::Null);
            calls += 1;
        }
        assert_eq!(seen, text);
        assert!((4..9).contains(&calls), "{calls}");
    }

    #[test]
    fn special_files_are_told() {
        let sandbox = FolderSandbox::new(&[("empty", ""), ("crlf", "a\r\nb"), ("mark", "\u{feff}x\n")]);
        sandbox.write("png", b"\x89PNG\r\n\x1a\n123");
        sandbox.write("latin", b"caf\xe9\n");
        sandbox.write("wide", b"\xff\xfea\0\n\0b\0\n\0");
        sandbox.write("hidden", "a\u{202e}b\u{1b}[2J\n".as_bytes());
        let text = |path: &str| call(&sandbox, "read_file", json!({"path": path})).text;
        assert_eq!(text("empty"), "[the file is empty]\n");
        assert_eq!(
            text("crlf"),
            "     1\ta\n     2\tb\n[lines end with CRLF; edit_file keeps that]\n[the last line has no newline at its \
             end]\n"
        );
        assert_eq!(text("mark"), "     1\tx\n[the file begins with a byte order mark, which is not shown]\n");
        assert_eq!(text("png"), "`png` is a PNG image of 11 bytes; its content is not shown.");
        assert_eq!(text("latin"), "     1\tcafé\n[the file is not UTF-8; it is shown as Latin-1]\n");
        assert_eq!(text("wide"), "     1\ta\n     2\tb\n[the file is stored as utf-16le]\n");
        assert_eq!(
            text("hidden"),
            "     1\ta\\u{202e}b\\u{1b}[2J\n[2 control or invisible characters are shown as \\u{…}; the file holds the \
             characters themselves]\n"
        );
    }

    #[test]
    fn a_line_of_megabytes_is_cut_and_passed() {
        let text = format!("{}\nnext\n", "x".repeat(3_000_000));
        let sandbox = FolderSandbox::new(&[("wide.txt", &text)]);
        let output = call(&sandbox, "read_file", json!({"path": "wide.txt"}));
        assert!(output.text.contains("more characters]") && output.text.contains("\"offset\": 2"), "{}", output.text);
        let output = call(&sandbox, "read_file", json!({"path": "wide.txt", "offset": 2}));
        assert!(output.text.starts_with("     2\tnext\n"), "{}", output.text);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let sandbox = FolderSandbox::new(&[("a", "x\n")]);
        assert_eq!(call_failing(&sandbox, "read_file", json!({"path": "b"})).code, "not_found");
        assert_eq!(
            call_failing(&sandbox, "read_file", json!({"path": "a", "offset": 5})).text,
            "`a` has 1 lines; offset 5 is after its end"
        );
    }
}
