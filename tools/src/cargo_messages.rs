//! What cargo says with `--message-format=json`: a line of JSON each, stable ("External tools" of the cargo book).

use std::collections::HashSet;

use cofferdam_contract::Stream;
use serde_json::Value;

use crate::{place::Place, plain_text, transcript::Transcript};

/// A message of the compiler, with its place in the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CompilerMessage {
    /// `error`, `warning`, `note`, …, as rustc has them.
    pub(crate) level: String,
    /// `E0308`, or a lint's name.
    pub(crate) code: Option<String>,
    /// One sentence.
    pub(crate) message: String,
    /// The whole explanation, as a person would see it.
    pub(crate) rendered: String,
    pub(crate) file: Option<String>,
    pub(crate) span: Option<Span>,
}

/// Lines and columns of a message, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) end_line: u64,
    pub(crate) end_column: u64,
}

/// A file that was built: a program or a library of a package in the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Built {
    /// Relative to the workspace.
    pub(crate) path: String,
    /// `bin`, `lib`, `cdylib`, …
    pub(crate) kind: String,
}

/// The compiler's messages on standard output, each once: a library is compiled for itself and for its tests.
pub(crate) fn compiler_messages(transcript: &Transcript, place: Place<'_>) -> Vec<CompilerMessage> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for line in String::from_utf8_lossy(&transcript.stream(Stream::Stdout)).lines() {
        if let Some(message) = compiler_message(line, place)
            && seen.insert((message.file.clone(), message.rendered.clone(), message.message.clone()))
        {
            found.push(message);
        }
    }
    found
}

/// What a line of standard output says to a person, if it is one of cargo's messages or of nextest's events: what the
/// compiler would have printed, the output of a failed test, or nothing. One that a limit cut in the middle says nothing.
pub(crate) fn told(line: &str) -> Option<String> {
    // The first key of each ("External tools" of the cargo book; nexte.st, "Machine-readable output").
    const CARGO: [&str; 4] = ["compiler-message", "compiler-artifact", "build-script-executed", "build-finished"];
    const NEXTEST: [&str; 2] = ["suite", "test"];
    let is_one_of = |key: &str, words: &[&str]| {
        let rest = line.strip_prefix(&format!("{{\"{key}\":\"")).map(|rest| rest.split('"').next().unwrap_or_default());
        rest.is_some_and(|word| words.contains(&word))
    };
    if is_one_of("reason", &CARGO) {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        return Some(value["message"]["rendered"].as_str().unwrap_or_default().to_owned());
    }
    if is_one_of("type", &NEXTEST) && line.contains("\"event\":") {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        return Some(value["stdout"].as_str().unwrap_or_default().to_owned());
    }
    None
}

/// What cargo itself says is wrong (a manifest, a dependency that is not there): only on standard error, as text.
pub(crate) fn own_error(transcript: &Transcript) -> String {
    let stderr = transcript.stream(Stream::Stderr);
    let text = plain_text::output(&String::from_utf8_lossy(&stderr));
    let start = text.find("error").unwrap_or(0);
    text[start..].trim().to_owned()
}

/// Programs and libraries of packages that lie in the workspace.
pub(crate) fn built(transcript: &Transcript, place: Place<'_>) -> Vec<Built> {
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(&transcript.stream(Stream::Stdout)).lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        let is_ours = value["manifest_path"].as_str().is_some_and(|path| place.relative(path).is_some());
        let kind = value["target"]["kind"][0].as_str().unwrap_or_default();
        if value["reason"] != "compiler-artifact" || !is_ours || matches!(kind, "custom-build" | "proc-macro") {
            continue;
        }
        let executable = value["executable"].as_str();
        let files = value["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let final_files = files.filter(|file| !file.contains("/deps/") && !file.ends_with(".rmeta"));
        let paths: Vec<&str> = executable.map_or_else(|| final_files.collect(), |path| vec![path]);
        let paths = paths.into_iter().filter_map(|path| place.relative(path));
        found.extend(paths.map(|path| Built { path, kind: kind.to_owned() }));
    }
    found
}

fn compiler_message(line: &str, place: Place<'_>) -> Option<CompilerMessage> {
    let value: Value = serde_json::from_str(line).ok()?;
    let message = value.get("message").filter(|_| value["reason"] == "compiler-message")?;
    let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
    let spans = message["spans"].as_array()?;
    let span = spans.iter().find(|span| span["is_primary"] == true).or(spans.first());
    // "aborting due to 2 previous errors" and "3 warnings emitted" have no place and say nothing new.
    let is_sum = text("message").starts_with("aborting due to") || text("message").ends_with(" emitted");
    if span.is_none() && (is_sum || text("level") == "failure-note") {
        return None;
    }
    // Paths are relative to cargo's workspace, whose manifest is named by each message's package.
    let root = value["manifest_path"].as_str().and_then(|path| path.rsplit_once('/')).map_or("", |(folder, _)| folder);
    let file = span.and_then(|span| span["file_name"].as_str()).map(|file| {
        let beside = if file.starts_with('/') { file.to_owned() } else { format!("{root}/{file}") };
        place.relative(file).or_else(|| place.relative(&beside)).unwrap_or_else(|| file.to_owned())
    });
    let number = |span: &Value, name: &str| span[name].as_u64();
    Some(CompilerMessage {
        level: text("level").to_owned(),
        code: message["code"]["code"].as_str().map(plain_text::one_line),
        message: plain_text::one_line(text("message")),
        rendered: plain_text::output(text("rendered")).trim_end().to_owned(),
        file,
        span: span.and_then(|span| {
            Some(Span {
                line: number(span, "line_start")?,
                column: number(span, "column_start")?,
                end_line: number(span, "line_end")?,
                end_column: number(span, "column_end")?,
            })
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_the_compiler_would_have_printed_and_no_message_for_machines() {
        let stdout = concat!(
            r#"{"reason":"compiler-artifact","package_id":"a","filenames":["/x"]}"#,
            "\n",
            r#"{"reason":"compiler-message","message":{"rendered":"warning: unused\n --> src/lib.rs:1\n","level":"warning"}}"#,
            "\nrunning 1 test\n",
            r#"{"type":"test","event":"started","name":"a::b$c"}"#,
            "\n",
            r#"{"type":"test","event":"failed","name":"a::b$c","stdout":"left: 1\n"}"#,
            "\n",
            r#"{"reason":"mine","type":"test"}"#,
            "\n",
            r#"{"reason":"compiler-message","message":{"rend"#,
        );
        let transcript = Transcript::of(&[(Stream::Stdout, stdout), (Stream::Stderr, "   Compiling a\n")]);
        let shown = transcript.shown();
        let expected = "warning: unused\n --> src/lib.rs:1\nrunning 1 test\nleft: 1\n{\"reason\":\"mine\",\"type\":\"test\"}\n   Compiling a\n";
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(lines(&shown), lines(expected), "{shown}");
    }
}
