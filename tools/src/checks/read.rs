//! What each tool's output says: from its machine format, or from its lines, to diagnostics.
//!
//! The output comes from code that a repository controls, so it is read leniently: what is not understood is left out,
//! and the caller compares what is left with how the tool ended.

use std::collections::HashSet;

use cofferdam_contract::Stream;
use serde_json::Value;

use crate::{
    cargo_messages::{self, CompilerMessage},
    place::Place,
    plain_text,
    transcript::Transcript,
};

use super::diagnostic::{Diagnostic, Severity};

/// Reads a program's output.
pub(crate) type Reader = fn(&Transcript, Place<'_>, &str) -> Vec<Diagnostic>;

/// rustc's and clippy's, from cargo's JSON. What cargo itself says is wrong is one diagnostic without a place.
pub(crate) fn cargo(transcript: &Transcript, place: Place<'_>, tool: &str) -> Vec<Diagnostic> {
    let messages = cargo_messages::compiler_messages(transcript, place);
    let mut found: Vec<Diagnostic> = messages.into_iter().map(|message| of_compiler(message, tool)).collect();
    if !transcript.succeeded() && found.iter().all(|diagnostic| diagnostic.severity != Severity::Error) {
        let rendered = cargo_messages::own_error(transcript);
        if rendered.starts_with("error") {
            let first = rendered.lines().next().unwrap_or_default().to_owned();
            found.push(Diagnostic { detail: Some(rendered), ..Diagnostic::new(tool, Severity::Error, first) });
        }
    }
    found
}

fn of_compiler(message: CompilerMessage, tool: &str) -> Diagnostic {
    let severity = match message.level.as_str() {
        level if level.starts_with("error") => Severity::Error,
        "warning" => Severity::Warning,
        _ => Severity::Note,
    };
    let span = message.span;
    Diagnostic {
        file: message.file,
        line: span.map(|span| span.line),
        column: span.map(|span| span.column),
        end_line: span.map(|span| span.end_line),
        end_column: span.map(|span| span.end_column),
        code: message.code,
        detail: (!message.rendered.is_empty()).then_some(message.rendered),
        ..Diagnostic::new(tool, severity, message.message)
    }
}

/// `eslint --format json` (eslint.org, "Formatters reference"): files with messages, severity 2 an error, 1 a warning.
pub(crate) fn eslint(transcript: &Transcript, place: Place<'_>, tool: &str) -> Vec<Diagnostic> {
    let stdout = transcript.stream(Stream::Stdout);
    let Ok(Value::Array(files)) = serde_json::from_slice(&stdout) else { return Vec::new() };
    let mut found = Vec::new();
    for file in &files {
        let path = file["filePath"].as_str().map(|path| shown(path, place));
        for message in file["messages"].as_array().into_iter().flatten() {
            let severity = if message["severity"] == 2 { Severity::Error } else { Severity::Warning };
            found.push(Diagnostic {
                file: path.clone(),
                line: message["line"].as_u64(),
                column: message["column"].as_u64(),
                end_line: message["endLine"].as_u64(),
                end_column: message["endColumn"].as_u64(),
                code: message["ruleId"].as_str().map(plain_text::one_line),
                ..Diagnostic::new(tool, severity, sentence(&message["message"]))
            });
        }
    }
    found
}

/// `ruff check --output-format=json`. Until version 0.12 it named no severity, and all it reports makes it fail.
pub(crate) fn ruff(transcript: &Transcript, place: Place<'_>, tool: &str) -> Vec<Diagnostic> {
    let stdout = transcript.stream(Stream::Stdout);
    let Ok(Value::Array(messages)) = serde_json::from_slice(&stdout) else { return Vec::new() };
    let found = messages.iter().map(|message| {
        let severity = match message["severity"].as_str() {
            Some("warning") => Severity::Warning,
            Some("info") => Severity::Note,
            Some(_) | None => Severity::Error,
        };
        Diagnostic {
            file: message["filename"].as_str().map(|path| shown(path, place)),
            line: message["location"]["row"].as_u64(),
            column: message["location"]["column"].as_u64(),
            end_line: message["end_location"]["row"].as_u64(),
            end_column: message["end_location"]["column"].as_u64(),
            code: message["code"].as_str().map(plain_text::one_line),
            ..Diagnostic::new(tool, severity, sentence(&message["message"]))
        }
    });
    found.collect()
}

/// `pyright --outputjson`: lines and columns from 0.
pub(crate) fn pyright(transcript: &Transcript, place: Place<'_>, tool: &str) -> Vec<Diagnostic> {
    let stdout = transcript.stream(Stream::Stdout);
    // Its wrappers may say something first.
    let from = stdout.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let Ok(report) = serde_json::from_slice::<Value>(&stdout[from..]) else { return Vec::new() };
    let found = report["generalDiagnostics"].as_array().into_iter().flatten().map(|message| {
        let severity = match message["severity"].as_str() {
            Some("error") => Severity::Error,
            Some("warning") => Severity::Warning,
            Some(_) | None => Severity::Note,
        };
        let at = |end: &str, name: &str| message["range"][end][name].as_u64().map(|number| number + 1);
        Diagnostic {
            file: message["file"].as_str().map(|path| shown(path, place)),
            line: at("start", "line"),
            column: at("start", "character"),
            end_line: at("end", "line"),
            end_column: at("end", "character"),
            code: message["rule"].as_str().map(plain_text::one_line),
            ..Diagnostic::new(tool, severity, sentence(&message["message"]))
        }
    });
    found.collect()
}

/// `mypy --show-column-numbers --show-error-end`: `a.py:2:10:2:12: error: message  [code]`. A line that begins with
/// `note` explains the error before it and becomes its detail.
pub(crate) fn mypy(transcript: &Transcript, place: Place<'_>, tool: &str) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    for line in transcript.shown().lines() {
        let Some(Line { file, numbers, rest }) = Line::read(line) else { continue };
        let Some((word, message)) = rest.split_once(": ") else { continue };
        let Some(severity) = severity(word) else { continue };
        let (message, code) = match message.strip_suffix(']').and_then(|message| message.rsplit_once("  [")) {
            Some((message, code)) => (message, Some(code.to_owned())),
            None => (message, None),
        };
        let file = Some(shown(file, place));
        if severity == Severity::Note
            && let Some(before) = found.last_mut().filter(|before| before.file == file)
        {
            let detail = before.detail.get_or_insert_default();
            detail.push_str(&format!("note: {message}\n"));
            continue;
        }
        let number = |at: usize| numbers.get(at).copied();
        let message = Diagnostic::new(tool, severity, plain_text::one_line(message));
        found.push(Diagnostic {
            file,
            line: number(0),
            column: number(1),
            end_line: number(2),
            end_column: number(3),
            code,
            ..message
        });
    }
    found
}

/// `tsc --pretty false`: `a.ts(1,7): error TS2322: message`, and lines that belong to it, indented.
pub(crate) fn tsc(transcript: &Transcript, place: Place<'_>, tool: &str) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    for line in transcript.shown().lines() {
        if line.starts_with("  ")
            && let Some(before) = found.last_mut()
        {
            let detail = before.detail.get_or_insert_default();
            detail.push_str(&format!("{}\n", line.trim_end()));
            continue;
        }
        // `error TS5023: …` is about the settings and has no place.
        let (head, rest) = match line.split_once("): ") {
            Some((head, rest)) => (Some(head), rest),
            None => (None, line),
        };
        let Some((word, rest)) = rest.split_once(' ') else { continue };
        let (Some(severity), Some((code, message))) = (severity(word), rest.split_once(": ")) else { continue };
        if !code.starts_with("TS") {
            continue;
        }
        let position = head.and_then(|head| {
            let (file, numbers) = head.rsplit_once('(')?;
            let (line, column) = numbers.split_once(',')?;
            Some((file, line.parse().ok()?, column.parse().ok()?))
        });
        found.push(Diagnostic {
            file: position.map(|(file, _, _)| shown(file, place)),
            line: position.map(|(_, line, _)| line),
            column: position.map(|(_, _, column)| column),
            code: Some(code.to_owned()),
            ..Diagnostic::new(tool, severity, plain_text::one_line(message))
        });
    }
    found
}

/// `go vet -json`: on standard error, an object for each package among lines that begin with `#`; and, where a package
/// does not compile, the compiler's own lines. Without `-json` each would make it fail, so each is an error.
pub(crate) fn go_vet(transcript: &Transcript, place: Place<'_>, tool: &str) -> Vec<Diagnostic> {
    let stderr = transcript.stream(Stream::Stderr);
    let text = String::from_utf8_lossy(&stderr);
    // Newer versions print the objects on standard output.
    let stdout = transcript.stream(Stream::Stdout);
    let mut found = Vec::new();
    for text in [&*String::from_utf8_lossy(&stdout), &*text] {
        let objects: String =
            text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
        let begins = objects.find("{\n").or_else(|| objects.find("{}"));
        let Some(begins) = begins else { continue };
        for object in serde_json::Deserializer::from_str(&objects[begins..]).into_iter::<Value>() {
            let Ok(Value::Object(packages)) = object else { break };
            let analyzers = packages.values().filter_map(Value::as_object).flatten();
            for (analyzer, messages) in analyzers {
                for message in messages.as_array().into_iter().flatten() {
                    let line = format!("{}: -", message["posn"].as_str().unwrap_or_default());
                    let Some(Line { file, numbers, .. }) = Line::read(&line) else { continue };
                    found.push(Diagnostic {
                        file: Some(shown(file, place)),
                        line: numbers.first().copied(),
                        column: numbers.get(1).copied(),
                        code: Some(plain_text::one_line(analyzer)),
                        ..Diagnostic::new(tool, Severity::Error, sentence(&message["message"]))
                    });
                }
            }
        }
    }
    found.extend(lines(transcript, place, tool));
    found
}

/// Lines as most tools print them: `path:line:column: severity: message`, where the column and the severity may be
/// missing. For compilers, for linters behind `make` and `npm`.
pub(crate) fn lines(transcript: &Transcript, place: Place<'_>, tool: &str) -> Vec<Diagnostic> {
    lines_of(&transcript.shown(), place, tool)
}

/// What rustfmt says of a file that it cannot read, as rustc shows it: `error: message`, and below it `  --> path:line:column`
/// and an explanation until an empty line.
pub(crate) fn rustfmt(transcript: &Transcript, place: Place<'_>, tool: &str) -> Vec<Diagnostic> {
    let text = transcript.shown();
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut seen = HashSet::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(message) = line.strip_prefix("error: ") else { continue };
        let Some(at) = lines.peek().and_then(|next| next.trim_start().strip_prefix("--> ")) else { continue };
        let at = format!("{at}: -");
        let Some(Line { file, numbers, .. }) = Line::read(&at) else { continue };
        let mut detail = format!("{line}\n");
        while let Some(more) = lines.next_if(|more| !more.trim().is_empty()) {
            detail.push_str(&format!("{more}\n"));
        }
        let diagnostic = Diagnostic {
            file: Some(shown(file, place)),
            line: numbers.first().copied(),
            column: numbers.get(1).copied(),
            detail: Some(detail),
            ..Diagnostic::new(tool, Severity::Error, plain_text::one_line(message))
        };
        // A module that two targets have is read twice.
        if seen.insert(diagnostic.line()) {
            found.push(diagnostic);
        }
    }
    found
}

/// The same of a text that is safe to show.
pub(crate) fn lines_of(text: &str, place: Place<'_>, tool: &str) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut seen = HashSet::new();
    for line in text.lines() {
        let line = ["vet: ", "error: ", "[error] "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
        let Some(Line { file, numbers, rest }) = Line::read(line) else { continue };
        let (severity, message) = match rest.split_once(':').map(|(word, message)| (severity(word), message)) {
            Some((Some(severity), message)) => (severity, message.trim_start()),
            Some((None, _)) | None => (Severity::Error, rest),
        };
        let message = Diagnostic {
            file: Some(shown(file, place)),
            line: numbers.first().copied(),
            column: numbers.get(1).copied(),
            ..Diagnostic::new(tool, severity, plain_text::one_line(message))
        };
        if seen.insert(message.line()) {
            found.push(message);
        }
    }
    found
}

/// A line that begins with a place.
struct Line<'a> {
    file: &'a str,
    /// Line, column, end line, end column, as far as they are there.
    numbers: Vec<u64>,
    rest: &'a str,
}

impl<'a> Line<'a> {
    /// Reads `file:1:2: rest`. `None` where the file does not look like one: it has no ending, or a space.
    fn read(line: &'a str) -> Option<Self> {
        let (file, mut rest) = line.split_once(':')?;
        let name = file.rsplit('/').next()?;
        if file.is_empty() || file.contains(' ') || !name.trim_start_matches('.').contains('.') {
            return None;
        }
        let mut numbers = Vec::new();
        while let Some((number, after)) = rest.split_once(':') {
            let Ok(number) = number.parse() else { break };
            numbers.push(number);
            rest = after;
        }
        // `a.py:3 message` and times such as `12:30` are no places.
        (!numbers.is_empty()).then(|| Self { file, numbers, rest: rest.trim_start() })
    }
}

fn severity(word: &str) -> Option<Severity> {
    match word.trim().to_ascii_lowercase().as_str() {
        "error" | "fatal error" => Some(Severity::Error),
        "warning" | "warn" => Some(Severity::Warning),
        "note" | "info" | "information" | "message" | "suggestion" => Some(Severity::Note),
        _ => None,
    }
}

fn sentence(message: &Value) -> String {
    plain_text::output(message.as_str().unwrap_or_default()).trim().to_owned()
}

/// A path as a result shows it: relative to the workspace, or as the tool wrote it when it is not in it.
fn shown(path: &str, place: Place<'_>) -> String {
    place.relative(path).unwrap_or_else(|| plain_text::one_line(path))
}

#[cfg(test)]
mod tests {
    use cofferdam_contract::WorkspacePath;
    use proptest::prelude::*;

    use super::*;

    fn read(reader: Reader, stream: Stream, text: &str) -> Vec<String> {
        let directory = WorkspacePath::parse("sub", "/work").unwrap();
        let place = Place { workspace: "/work", directory: &directory };
        let found = reader(&Transcript::of(&[(stream, text)]), place, "t");
        found.iter().map(Diagnostic::line).collect()
    }

    #[test]
    fn lines_of_many_tools_are_read_and_others_are_not() {
        let text = "src/a.c:3:7: warning: unused variable\n/work/b.go:4: undefined: x\nvet: ./c.go:1:2: no\n\
                    12:30:01 begun\nhttp://x:80: y\nREADME:1: text\nsee a.c:x\nmake: *** [lint] Error 1\n";
        assert_eq!(
            read(lines, Stream::Stdout, text),
            ["sub/src/a.c:3:7: warning: unused variable", "b.go:4: error: undefined: x", "sub/c.go:1:2: error: no"]
        );
    }

    #[test]
    fn what_rustfmt_cannot_read_is_listed_with_its_place() {
        let text = "error: an inner attribute is not permitted\n  --> /work/sub/src/lib.rs:5:1\n   |\n 5 | / #![allow(\n\n\
                    error: an inner attribute is not permitted\n  --> /work/sub/src/lib.rs:5:1\n   |\n\n\
                    error: no such command\nError writing files: io error\n";
        let told = read(rustfmt, Stream::Stderr, text);
        assert_eq!(told, ["sub/src/lib.rs:5:1: error: an inner attribute is not permitted"]);
    }

    #[test]
    fn details_belong_to_the_error_before_them() {
        let directory = WorkspacePath::workspace();
        let place = Place { workspace: "/work", directory: &directory };
        let text =
            "a.ts(1,7): error TS2322: no\n  because\n    of that\nerror TS5023: unknown option\nFound 2 errors\n";
        let found = tsc(&Transcript::of(&[(Stream::Stdout, text)]), place, "tsc");
        assert_eq!(found[0].line(), "a.ts:1:7: error TS2322: no");
        assert_eq!(found[0].detail.as_deref(), Some("  because\n    of that\n"));
        assert_eq!((found[1].line(), found.len()), ("error TS5023: unknown option".to_owned(), 2));
        let text = "a.py:2:10:2:12: error: bad \"x\"  [assignment]\na.py:2:10:2:12: note: see\nFound 1 error\n";
        let found = mypy(&Transcript::of(&[(Stream::Stdout, text)]), place, "mypy");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line(), "a.py:2:10: error assignment: bad \"x\"");
        assert_eq!((found[0].end_column, found[0].detail.as_deref()), (Some(12), Some("note: see\n")));
    }

    #[test]
    fn vet_s_objects_and_the_compilers_lines_are_both_read() {
        let text = "# x\n{\n\t\"x\": {\"printf\": [{\"posn\": \"/work/c.go:6:3\", \"message\": \"wrong type\"}]}\n}\n\
                    # x/sub\nvet: b.go:3:25: cannot use\n";
        let expected = ["c.go:6:3: error printf: wrong type", "sub/b.go:3:25: error: cannot use"];
        assert_eq!(read(go_vet, Stream::Stderr, text), expected);
    }

    proptest! {
        #[test]
        fn any_output_can_be_read(text: String) {
            for reader in [cargo, eslint, ruff, pyright, mypy, tsc, go_vet, lines] as [Reader; 8] {
                read(reader, Stream::Stdout, &text);
                read(reader, Stream::Stderr, &text);
            }
        }
    }
}
