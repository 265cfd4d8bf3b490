//! `edit_file`: replaces an exact, unique piece of a text file, and keeps all else as it is.

use cofferdam_contract::{Expected, HandBack, Limits, Plan, Sandbox, Window, Work, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form, Parsed},
    change, diff,
    matching::{self, Closeness, Found, Normalised},
    nearest, read_file, schema,
    text_file::{self, Cut, Encoding, Kind, LineEnds},
    write_file,
};

/// Replaces pieces of a text file.
pub(crate) struct EditFileTool;

/// The largest file that is edited, in bytes.
const FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Places of a text that is there several times which are told.
const LINES_TOLD: usize = 20;

/// The published form: one replacement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EditFileForm {
    /// The file, relative to the workspace or absolute below it.
    #[schemars(with = "schema::PathText")]
    path: WorkspacePath,
    /// The text to replace, exactly as in the file, without line numbers, with enough lines around it to be unique.
    #[schemars(length(min = 1))]
    old_string: String,
    /// The text to put in its place. Empty deletes.
    new_string: String,
    /// Replace every occurrence instead of requiring exactly one. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    replace_all: Option<bool>,
}

/// The form that some models write: several replacements, all or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EditsForm {
    /// The file.
    #[schemars(with = "schema::PathText")]
    path: WorkspacePath,
    /// The replacements, done one after another.
    #[schemars(length(min = 1, max = 100))]
    edits: Vec<Edit>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// The text to replace.
    #[schemars(length(min = 1))]
    old_string: String,
    /// The text to put in its place.
    new_string: String,
    /// Replace every occurrence instead of requiring exactly one.
    #[serde(skip_serializing_if = "Option::is_none")]
    replace_all: Option<bool>,
}

const ALIASES: &[(&str, &str)] = &[
    ("file_path", "path"),
    ("filepath", "path"),
    ("filename", "path"),
    ("file", "path"),
    ("old_str", "old_string"),
    ("oldText", "old_string"),
    ("old_text", "old_string"),
    ("oldString", "old_string"),
    ("new_str", "new_string"),
    ("newText", "new_string"),
    ("new_text", "new_string"),
    ("newString", "new_string"),
    ("replaceAll", "replace_all"),
];

impl Form for EditFileForm {
    const ALIASES: &'static [(&'static str, &'static str)] = ALIASES;
}

impl Form for EditsForm {
    const ALIASES: &'static [(&'static str, &'static str)] = ALIASES;
}

#[derive(Serialize, JsonSchema)]
struct EditFileOutput {
    /// The file, relative to the workspace.
    path: String,
    /// How many places were replaced.
    replacements: u64,
    /// The line of the first changed place, in the new file.
    first_line: u64,
    /// What changed, as a unified diff.
    diff: String,
    /// How the match was made, when it was not exact.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Tool for EditFileTool {
    fn name(&self) -> &str {
        "edit_file"
    }

    fn title(&self) -> &str {
        "Edit a file"
    }

    fn description(&self) -> &str {
        "Replaces a piece of an existing text file and shows the diff. `old_string` must stand in the file exactly once: \
         copy it from read_file without the line numbers, with enough lines around it to be unique, or set replace_all. \
         When it does not match exactly, differences in CRLF, in spaces at line ends and in one common indentation are \
         bridged, and the result says so. When it is found several times, or not at all, nothing is changed and the \
         error gives the lines or the nearest place. Encoding, byte order mark, line ends and permissions are kept. If \
         the file changes between reading and writing, the edit is refused. Use write_file for new files."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: false, destructive: true, idempotent: false, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<EditFileForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<EditFileOutput>()
    }

    fn arguments(&self) -> std::collections::BTreeSet<String> {
        ["path", "old_string", "new_string", "replace_all", "edits"].map(String::from).into()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = parse(arguments, project)?.form;
        change::refuse_workspace(&form.path, "path")?;
        let plan = match <[Edit; 1]>::try_from(form.edits.clone()) {
            Ok([Edit { old_string, new_string, replace_all }]) => {
                let form = EditFileForm { path: form.path.clone(), old_string, new_string, replace_all };
                arguments::routine(self.name(), &form, Work::WriteFiles, Limits::FILES)
            }
            Err(_) => arguments::routine(self.name(), &form, Work::WriteFiles, Limits::FILES),
        };
        Ok(Plan { reads: vec![form.path.clone()], hand_back: HandBack::Paths(vec![form.path]), ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        parse(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form = if plan.arguments.contains_key("edits") {
            arguments::recall::<EditsForm>(plan)?
        } else {
            arguments::recall::<EditFileForm>(plan)?.into()
        };
        change::refuse_links(sandbox, &form.path)?;
        let (file, read) = open(sandbox, &form.path)?;
        let mut edited = Edited { text: file.text.clone(), replacements: 0, first_line: None, notes: Vec::new() };
        for (number, edit) in (1..).zip(&form.edits) {
            edited.replace(edit, file.line_ends).map_err(|failure| match form.edits.len() {
                1 => failure.told(&form.path),
                _ => failure.told_of_one(&form.path, number),
            })?;
        }
        let content = text_file::encode(&edited.text, file.encoding).ok_or_else(|| {
            let name = file.encoding.name();
            let text = format!(
                "`{}` is stored as {name}, which cannot hold the new text; use characters that it has, or write the \
                 whole file anew as UTF-8 with write_file",
                form.path
            );
            Failure::new("encoding", text)
        })?;
        write_file::write(sandbox, &form.path, content, read)?;
        Ok(edited.report(&form.path, &file.text))
    }
}

impl From<EditFileForm> for EditsForm {
    fn from(form: EditFileForm) -> Self {
        let EditFileForm { path, old_string, new_string, replace_all } = form;
        Self { path, edits: vec![Edit { old_string, new_string, replace_all }] }
    }
}

fn parse(arguments: &Map<String, Value>, project: &Project) -> Result<Parsed<EditsForm>, ArgumentError> {
    // The commonest wrong edit: models that want to create a file leave `old_string` empty.
    let empty = |name: &str| arguments.get(name).is_some_and(|old| old == "");
    if ["old_string", "old_str", "oldText", "old_text"].into_iter().any(empty) {
        let text = "argument `old_string` is empty; it names the text to replace. To create or replace a whole file use \
                    write_file";
        return Err(ArgumentError::Combination(text.to_owned()));
    }
    let parsed = if arguments.get("edits").is_some_and(|edits| !edits.is_null()) {
        arguments::parse::<EditsForm>(arguments, project)?
    } else {
        let mut arguments = arguments.clone();
        arguments.remove("edits");
        let Parsed { form, notes } = arguments::parse::<EditFileForm>(&arguments, project)?;
        Parsed { form: form.into(), notes }
    };
    if parsed.form.edits.iter().any(|edit| edit.old_string == edit.new_string) {
        return Err(ArgumentError::Combination(
            "`old_string` and `new_string` are the same; nothing would change".into(),
        ));
    }
    if parsed.form.edits.iter().any(|edit| edit.new_string.contains('\0')) {
        return Err(ArgumentError::Combination(
            "`new_string` holds a NUL character; the file would be no text any more".into(),
        ));
    }
    Ok(parsed)
}

/// A file that can be written back without losing anything.
struct TextFile {
    text: String,
    encoding: Encoding,
    line_ends: LineEnds,
}

/// Opens a text file for editing. The second value is what must still be there when it is written.
fn open(sandbox: &mut dyn Sandbox, path: &WorkspacePath) -> Result<(TextFile, Expected), Failure> {
    let read = read_file::read(sandbox, path, Window::Bytes, FILE_BYTES).map_err(|failure| match failure.code {
        "not_found" => Failure { text: format!("{}; write_file creates files", failure.text), ..failure },
        _ => failure,
    })?;
    let (false, Some(digest)) = (read.cut, read.digest) else {
        let text = format!(
            "`{path}` has {} bytes, and files of up to {FILE_BYTES} are edited; show the place with search_files and ask \
             the person to change it",
            read.size
        );
        return Err(Failure::new("too_large", text));
    };
    let encoding = match text_file::kind(&read.head) {
        Kind::Text(encoding) => encoding,
        Kind::Binary(kind) => {
            let text = format!(
                "`{path}` is a {kind}, not a text file; change what it is made from, or ask the person for a new one"
            );
            return Err(Failure::new("binary", text));
        }
    };
    let (text, encoding) = text_file::decode(&read.bytes, encoding, Cut::Whole);
    if text_file::encode(&text, encoding).as_deref() != Some(&read.bytes) {
        let name = encoding.name();
        let text = format!(
            "`{path}` is {name} and could not be written back as it is; write_file replaces the whole of it by UTF-8, \
             any smaller change is a person's"
        );
        return Err(Failure::new("encoding", text));
    }
    let line_ends = text_file::line_ends(&text);
    Ok((TextFile { text, encoding, line_ends }, Expected::Content(digest)))
}

/// A file's text while its pieces are replaced.
struct Edited {
    text: String,
    replacements: u64,
    first_line: Option<u64>,
    notes: Vec<String>,
}

/// Why a piece was not replaced.
enum NotReplaced {
    /// It is not there.
    NotFound { nearest: String },
    /// It is there several times.
    Ambiguous { times: usize, lines: Vec<usize>, closeness: Closeness },
    /// It is there with less indentation than the new text could be given.
    Indentation,
}

impl Edited {
    fn replace(&mut self, edit: &Edit, line_ends: LineEnds) -> Result<(), NotReplaced> {
        let file = Normalised::new(&self.text);
        let Some(Found { closeness, places, indentation }) = matching::find(&file, &edit.old_string) else {
            return Err(NotReplaced::NotFound { nearest: nearest::explain(&file.text, &edit.old_string) });
        };
        // Places that agree but for indentation may each need another one: then only one place is sure.
        let all = edit.replace_all == Some(true) && closeness != Closeness::Indentation;
        if places.len() > 1 && !all {
            // Only as many as are told: each is counted from the beginning.
            let lines = places.iter().take(LINES_TOLD).map(|place| file.line(place.start)).collect();
            return Err(NotReplaced::Ambiguous { times: places.len(), lines, closeness });
        }
        let new = Normalised::new(&edit.new_string).text;
        let new = indentation.apply(&new).ok_or(NotReplaced::Indentation)?;
        let new = match line_ends {
            LineEnds::Lf => new,
            LineEnds::CrLf => new.replace('\n', "\r\n"),
            // In a mixed file the replaced place decides, and where it has no line end, the line before it.
            LineEnds::Mixed if self.has_returns(&file, &places[0]) => new.replace('\n', "\r\n"),
            LineEnds::Mixed => new,
        };
        self.first_line.get_or_insert_with(|| u64::try_from(file.line(places[0].start)).unwrap_or(u64::MAX));
        self.replacements += u64::try_from(places.len()).unwrap_or(u64::MAX);
        self.text = file.with(&self.text, &places, &new);
        self.notes.extend(match closeness {
            Closeness::Exact | Closeness::LineEnds => None,
            Closeness::TrailingSpace => Some("matched after leaving spaces at line ends aside".to_owned()),
            Closeness::Indentation => {
                Some("matched with another indentation; new_string was indented in the same way".to_owned())
            }
        });
        Ok(())
    }

    fn has_returns(&self, file: &Normalised, place: &std::ops::Range<usize>) -> bool {
        let (start, end) = (file.raw(place.start), file.raw(place.end));
        match self.text[start..end].find('\n') {
            Some(at) => self.text[..start + at].ends_with('\r'),
            None => self.text[..start].rfind('\n').is_some_and(|at| self.text[..at].ends_with('\r')),
        }
    }

    fn report(self, path: &WorkspacePath, before: &str) -> Output {
        let structured = EditFileOutput {
            path: path.to_string(),
            replacements: self.replacements,
            first_line: self.first_line.unwrap_or(1),
            diff: diff::unified(path.as_str(), before, &self.text),
            notes: self.notes,
        };
        let EditFileOutput { replacements, first_line, diff, notes, .. } = &structured;
        let places = if *replacements == 1 { "1 place".to_owned() } else { format!("{replacements} places") };
        let mut text = format!("Edited `{path}`: {places}, first at line {first_line}.\n");
        for note in notes {
            text.push_str(&format!("[{note}]\n"));
        }
        text.push_str(diff);
        Output::new(text, &structured)
    }
}

impl NotReplaced {
    fn told(self, path: &WorkspacePath) -> Failure {
        match self {
            Self::NotFound { nearest } => {
                Failure::new("no_match", format!("old_string is not in `{path}`; nothing was changed; {nearest}"))
            }
            Self::Ambiguous { times, lines, closeness } => {
                let shown: Vec<String> = lines.iter().map(ToString::to_string).collect();
                let more = if times > shown.len() { ", …" } else { "" };
                let how = match closeness {
                    Closeness::Exact | Closeness::LineEnds => "",
                    Closeness::TrailingSpace => " (leaving spaces at line ends aside)",
                    Closeness::Indentation => " (leaving indentation aside)",
                };
                let text = format!(
                    "old_string is in `{path}` {times} times{how}, at lines {}{more}; nothing was changed. Add lines \
                     around it until it is unique, or set replace_all",
                    shown.join(", ")
                );
                Failure::new("ambiguous", text)
            }
            Self::Indentation => Failure::new(
                "no_match",
                format!(
                    "old_string is in `{path}` only with less indentation, and new_string has lines that cannot be \
                     moved as far left; nothing was changed. Copy old_string from read_file with its indentation"
                ),
            ),
        }
    }

    fn told_of_one(self, path: &WorkspacePath, number: usize) -> Failure {
        let failure = self.told(path);
        Failure { text: format!("edit {number}: {}. None of the edits was made", failure.text), ..failure }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::folder_sandbox::{FolderSandbox, call, call_failing};

    #[test]
    fn a_text_that_is_there_very_often_is_answered_at_once() {
        let many = "let x = 1;\n".repeat(200_000);
        let sandbox = FolderSandbox::new(&[("a.txt", &many)]);
        let failure =
            call_failing(&sandbox, "edit_file", json!({"path": "a.txt", "old_string": "x", "new_string": "y"}));
        assert!(failure.text.contains("200000 times, at lines 1, 2, 3"), "{}", failure.text);
        let all = json!({"path": "a.txt", "old_string": "x", "new_string": "y", "replace_all": true});
        assert_eq!(call(&sandbox, "edit_file", all).structured["replacements"], 200_000);
        let piece = "let y = 1; \n".repeat(100_000) + "let z = 1;";
        let lenient = json!({"path": "a.txt", "old_string": piece, "new_string": "y"});
        assert_eq!(call_failing(&sandbox, "edit_file", lenient).code, "no_match");
    }

    #[test]
    fn one_piece_is_replaced_and_shown_as_a_diff() {
        let sandbox = FolderSandbox::new(&[("a.txt", "one\ntwo\nthree\n")]);
        let output = call(&sandbox, "edit_file", json!({"path": "a.txt", "old_string": "two", "new_string": "2"}));
        let diff = "--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";
        assert_eq!(output.text, format!("Edited `a.txt`: 1 place, first at line 2.\n{diff}"));
        assert_eq!(
            Value::Object(output.structured),
            json!({"path": "a.txt", "replacements": 1, "first_line": 2, "diff": diff})
        );
        assert_eq!(sandbox.content("a.txt"), b"one\n2\nthree\n");
    }

    #[test]
    fn crlf_byte_order_mark_and_a_missing_final_newline_are_kept() {
        let sandbox = FolderSandbox::new(&[("a", "\u{feff}one\r\ntwo\r\nthree"), ("mixed", "a\r\nb\nc\n")]);
        call(&sandbox, "edit_file", json!({"path": "a", "old_string": "one\ntwo", "new_string": "1\n1.5\n2"}));
        assert_eq!(sandbox.content("a"), "\u{feff}1\r\n1.5\r\n2\r\nthree".as_bytes());
        call(&sandbox, "edit_file", json!({"path": "mixed", "old_string": "b\n", "new_string": "x\ny\n"}));
        assert_eq!(sandbox.content("mixed"), b"a\r\nx\ny\nc\n");
        call(&sandbox, "edit_file", json!({"path": "mixed", "old_string": "a\n", "new_string": "a\nb\n"}));
        assert_eq!(sandbox.content("mixed"), b"a\r\nb\r\nx\ny\nc\n");
    }

    #[test]
    fn other_encodings_come_back_byte_for_byte_or_are_refused() {
        let sandbox = FolderSandbox::new(&[]);
        sandbox.write("latin", b"caf\xe9 one\n");
        sandbox.write("wide", b"\xff\xfea\0\n\0b\0");
        sandbox.write("broken", b"\xc3\xa9 \xff one");
        sandbox.write("odd", b"\xff\xfea\0\n");
        call(&sandbox, "edit_file", json!({"path": "latin", "old_string": "one", "new_string": "ü"}));
        assert_eq!(sandbox.content("latin"), b"caf\xe9 \xfc\n");
        call(&sandbox, "edit_file", json!({"path": "wide", "old_string": "b", "new_string": "€"}));
        assert_eq!(sandbox.content("wide"), b"\xff\xfea\0\n\0\xac\x20");
        for (path, new, text) in [
            (
                "latin",
                "€",
                "`latin` is stored as latin-1, which cannot hold the new text; use characters that it has, or write the whole \
             file anew as UTF-8 with write_file",
            ),
            (
                "broken",
                "x",
                "`broken` is utf-8 with invalid bytes and could not be written back as it is; write_file replaces the \
                 whole of it by UTF-8, any smaller change is a person's",
            ),
            (
                "odd",
                "x",
                "`odd` is utf-16le and could not be written back as it is; write_file replaces the whole of it by \
                 UTF-8, any smaller change is a person's",
            ),
        ] {
            let old = if path == "latin" { "caf" } else { "a" };
            let failure =
                call_failing(&sandbox, "edit_file", json!({"path": path, "old_string": old, "new_string": new}));
            assert_eq!((failure.code, failure.text.as_str()), ("encoding", text));
        }
        assert_eq!(sandbox.content("latin"), b"caf\xe9 \xfc\n");
    }

    #[test]
    fn what_cannot_be_edited_is_refused_with_a_next_step() {
        let sandbox = FolderSandbox::new(&[]);
        sandbox.write("image", b"\x89PNG\r\n\x1a\nxx");
        sandbox.write("huge", &vec![b'a'; 9 << 20]);
        for (path, code, step) in [
            ("image", "binary", "change what it is made from, or ask the person for a new one"),
            ("huge", "too_large", "show the place with search_files and ask the person to change it"),
        ] {
            let arguments = json!({"path": path, "old_string": "a", "new_string": "b"});
            let failure = call_failing(&sandbox, "edit_file", arguments);
            assert_eq!(failure.code, code);
            assert!(failure.text.ends_with(step), "{}", failure.text);
        }
    }

    #[test]
    fn several_places_are_named_and_nothing_is_changed() {
        let sandbox = FolderSandbox::new(&[("a", "x\ny\nx\n")]);
        let failure = call_failing(&sandbox, "edit_file", json!({"path": "a", "old_string": "x", "new_string": "z"}));
        assert_eq!(
            failure.text,
            "old_string is in `a` 2 times, at lines 1, 3; nothing was changed. Add lines around it until it is unique, or \
             set replace_all"
        );
        assert_eq!(sandbox.content("a"), b"x\ny\nx\n");
        let all = json!({"path": "a", "old_string": "x", "new_string": "z", "replace_all": "true"});
        assert_eq!(call(&sandbox, "edit_file", all).structured["replacements"], 2);
        assert_eq!(sandbox.content("a"), b"z\ny\nz\n");
    }

    #[test]
    fn differences_in_space_are_bridged_and_told() {
        let sandbox = FolderSandbox::new(&[("a.py", "def f():\n    if x:  \n        y()\n    return\n")]);
        let edit = json!({"path": "a.py", "old_string": "if x:\n    y()", "new_string": "if z:\n    y()\n    w()"});
        let output = call(&sandbox, "edit_file", edit);
        assert!(output.text.contains("another indentation"), "{}", output.text);
        assert_eq!(sandbox.content("a.py"), b"def f():\n    if z:\n        y()\n        w()\n    return\n");
    }

    #[test]
    fn edits_are_all_made_or_none() {
        let sandbox = FolderSandbox::new(&[("a", "one\ntwo\n")]);
        let edits = json!({"file_path": "a", "edits": [
            {"oldText": "one", "newText": "1"}, {"old_str": "three", "new_str": "3"},
        ]});
        let failure = call_failing(&sandbox, "edit_file", edits);
        assert!(failure.text.starts_with("edit 2: old_string is not in `a`"), "{}", failure.text);
        assert_eq!(sandbox.content("a"), b"one\ntwo\n");
        let edits = json!({"path": "a", "edits": [
            {"old_string": "one", "new_string": "1"}, {"old_string": "1\ntwo", "new_string": "12"},
        ]});
        assert_eq!(call(&sandbox, "edit_file", edits).structured["replacements"], 2);
        assert_eq!(sandbox.content("a"), b"12\n");
    }

    #[test]
    fn senseless_edits_are_errors_before_anything_runs() {
        let error = |arguments: Value| {
            let Value::Object(arguments) = arguments else { unreachable!() };
            EditFileTool.plan(&arguments, &Project { workspace: "/work".into() }).unwrap_err().to_string()
        };
        assert_eq!(
            error(json!({"path": "a", "old_string": "x", "new_string": "x"})),
            "`old_string` and `new_string` are the same; nothing would change"
        );
        assert_eq!(
            error(json!({"path": "a", "old_string": "x", "new_string": "\0"})),
            "`new_string` holds a NUL character; the file would be no text any more"
        );
        assert_eq!(
            error(json!({"path": "a", "old_string": "", "new_string": "x"})),
            "argument `old_string` is empty; it names the text to replace. To create or replace a whole file use write_file"
        );
        assert_eq!(
            error(json!({"path": "a", "edits": []})),
            "argument `edits` must be a list of 1 to 100 items; it is a list of 0 items"
        );
        assert_eq!(
            error(json!({"path": "a", "edits": [{"before": "x", "new_string": "y"}]})),
            "unknown argument `edits[0].before`; the arguments are `new_string`, `old_string`, `replace_all`"
        );
        assert_eq!(
            error(json!({"path": "a", "old_string": "x", "edits": [{"old_string": "x", "new_string": "y"}]})),
            "unknown argument `old_string`; the arguments are `edits`, `path`"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_not_edited() {
        let sandbox = FolderSandbox::new(&[]);
        let failure = call_failing(&sandbox, "edit_file", json!({"path": "a", "old_string": "x", "new_string": "y"}));
        assert!(failure.text.ends_with("write_file creates files"), "{}", failure.text);
    }
}
