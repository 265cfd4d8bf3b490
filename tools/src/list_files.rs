//! `list_files`: the names in a folder.

use cofferdam_contract::{
    Entry, EntryKind, FileReply, FileRequest, Ignoring, LeftOut, Limits, ListFiles, Listing, MAX_CLOSED, Plan, Sandbox,
    Work, WorkspacePath,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form},
    change,
    excerpt::TEXT_BYTES,
    plain_text, schema,
};

/// Lists a folder.
pub(crate) struct ListFilesTool;

/// Folder levels that are shown when the call does not say.
const DEFAULT_DEPTH: u32 = 2;

/// Folder levels that a glob looks at when the call does not say.
const GLOB_DEPTH: u32 = 64;

/// Entries that are asked for at most; their names fill a result.
const ENTRIES: u64 = 2000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListFilesForm {
    /// The folder, relative to the workspace or absolute below it. Default: the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PathText>")]
    path: Option<WorkspacePath>,
    /// Only names that match, such as `*.rs` (anywhere below) or `src/**/*.test.ts` (below the folder).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    glob: Option<String>,
    /// How many folder levels to show; 1 shows the folder's own entries. Default 2, with a glob all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    depth: Option<u32>,
    /// Also list hidden files and what .gitignore names. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    include_ignored: Option<bool>,
    /// How many entries to skip first. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    offset: Option<u64>,
}

impl Form for ListFilesForm {
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("directory", "path"),
        ("dir", "path"),
        ("folder", "path"),
        ("dir_path", "path"),
        ("file_path", "path"),
        ("pattern", "glob"),
        ("include", "glob"),
        ("max_depth", "depth"),
        ("no_ignore", "include_ignored"),
        ("cursor", "offset"),
    ];
}

#[derive(Serialize, JsonSchema)]
struct ListFilesOutput {
    /// The folder, relative to the workspace.
    path: String,
    /// The entries, in order of their paths.
    entries: Vec<ListedEntry>,
    /// How many more entries there are after those listed here.
    omitted: u64,
    /// The offset of the call that lists what follows, when there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
    /// Entries that ignore files name and that are not listed; a folder counts once.
    #[serde(skip_serializing_if = "is_zero")]
    ignored: u64,
    /// Entries whose names start with a dot and that are not listed; a folder counts once.
    #[serde(skip_serializing_if = "is_zero")]
    hidden: u64,
    /// What else is to be known, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct ListedEntry {
    /// The path, relative to the workspace.
    path: String,
    /// What it is: file, folder, link or other.
    kind: Kind,
    /// A file's size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Where a link points.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    File,
    Folder,
    Link,
    Other,
}

impl Tool for ListFilesTool {
    fn name(&self) -> &str {
        "list_files"
    }

    fn title(&self) -> &str {
        "List files"
    }

    fn description(&self) -> &str {
        "Lists files and folders with sizes: a path per line, folders with a closing slash, links with their target. \
         Without arguments it shows the workspace two levels deep. Below the first level, hidden names and what \
         .gitignore names are left out, as ripgrep does, unless include_ignored is true. With glob it finds files by \
         name in the whole tree: `*.rs` matches anywhere, `src/**/mod.rs` below the folder. At most 2000 entries and \
         about 24 kB; what is left out is counted, and offset shows the rest. To search contents use search_files."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: true, destructive: false, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<ListFilesForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<ListFilesOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = arguments::parse::<ListFilesForm>(arguments, project)?.form;
        let plan = arguments::routine(self.name(), &form, Work::ReadFiles, Limits::FILES);
        Ok(Plan { reads: form.path.into_iter().collect(), ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        arguments::parse::<ListFilesForm>(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form: ListFilesForm = arguments::recall(plan)?;
        let path = form.path.unwrap_or_else(WorkspacePath::workspace);
        let request = ListFiles {
            path: path.clone(),
            depth: form.depth.unwrap_or(if form.glob.is_some() { GLOB_DEPTH } else { DEFAULT_DEPTH }),
            glob: form.glob,
            offset: form.offset.unwrap_or(0),
            max_entries: ENTRIES,
            ignoring: Ignoring::Nowhere,
        };
        let listing = if form.include_ignored == Some(true) {
            list(sandbox, request.clone()).map(Found::plain)
        } else {
            match &request.glob {
                Some(glob) => matching(sandbox, &request, glob),
                None => tree(sandbox, &request),
            }
        };
        match listing {
            Ok(found) => Ok(show(&request, found)),
            Err(failure) if failure.code == "wrong_kind" => Err(no_folder(sandbox, &path)?.unwrap_or(failure)),
            Err(failure) => Err(failure),
        }
    }
}

/// What is at a path that is no folder; `None` when nothing is.
fn no_folder(sandbox: &mut dyn Sandbox, path: &WorkspacePath) -> Result<Option<Failure>, Failure> {
    let text = match change::status(sandbox, path)?.map(|status| status.kind) {
        Some(EntryKind::File) => format!("`{path}` is a file, not a folder; read_file reads it"),
        Some(EntryKind::Link(_)) => format!("`{path}` is a link to a file, not to a folder; read_file reads it"),
        Some(EntryKind::Other) => format!("`{path}` is a pipe, socket or device; there is nothing to list or read"),
        Some(EntryKind::Folder) | None => return Ok(None),
    };
    Ok(Some(Failure::new("wrong_kind", text)))
}

/// A listing, and what is to be said about it.
struct Found {
    listing: Listing,
    notes: Vec<String>,
}

/// Lists entries, as the guest does.
pub(crate) fn list(sandbox: &mut dyn Sandbox, request: ListFiles) -> Result<Listing, Failure> {
    let FileReply::Listing(listing) = sandbox.file(FileRequest::List(request))? else {
        return Err(Failure::other_reply());
    };
    Ok(listing)
}

impl Found {
    fn plain(listing: Listing) -> Self {
        Self { listing, notes: Vec::new() }
    }
}

/// The folder's own entries in full, and below them what is neither hidden nor ignored.
fn tree(sandbox: &mut dyn Sandbox, request: &ListFiles) -> Result<Found, Failure> {
    let listing = list(sandbox, ListFiles { ignoring: Ignoring::BelowTheTop, ..request.clone() })?;
    let mut notes = Vec::new();
    if !listing.closed.is_empty() {
        let closed: Vec<String> =
            listing.closed.iter().map(|path| format!("`{}/`", plain_text::one_line(path))).collect();
        let more = if closed.len() == MAX_CLOSED { " and perhaps more" } else { "" };
        let closed = closed.join(", ");
        notes.push(format!("hidden or ignored, so not opened: {closed}{more}; name one as path to see into it"));
    }
    Ok(Found { listing, notes })
}

/// What matches a glob; with hidden and ignored files when nothing else matches or the glob names hidden ones.
fn matching(sandbox: &mut dyn Sandbox, request: &ListFiles, glob: &str) -> Result<Found, Failure> {
    let names_hidden = glob.split('/').any(|name| name.starts_with('.'));
    if !names_hidden {
        // From the first on: what is there decides, not what follows the offset.
        let first = ListFiles { ignoring: Ignoring::Everywhere, offset: 0, max_entries: 1, ..request.clone() };
        if !list(sandbox, first)?.entries.is_empty() {
            let listing = list(sandbox, ListFiles { ignoring: Ignoring::Everywhere, ..request.clone() })?;
            return Ok(Found::plain(listing));
        }
    }
    let listing = list(sandbox, request.clone())?;
    let mut notes = Vec::new();
    if !names_hidden && !listing.entries.is_empty() {
        notes.push("only hidden or ignored files match; they are shown".to_owned());
    }
    Ok(Found { listing, notes })
}

fn show(request: &ListFiles, found: Found) -> Output {
    let Found { listing, mut notes } = found;
    let LeftOut { ignored, hidden, unreadable, binary: _, too_large: _ } = listing.left_out;
    let passed_over: Vec<String> = [(ignored, "ignored"), (hidden, "hidden")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
    if !passed_over.is_empty() {
        notes.push(format!("not shown: {}; include_ignored shows them", passed_over.join(", ")));
    }
    if unreadable > 0 {
        notes.push(format!("{unreadable} folders could not be read"));
    }
    let inexact = listing.entries.iter().filter(|entry| !entry.exact).count();
    if inexact > 0 {
        notes.push(format!("{inexact} names are not UTF-8; they are shown with U+FFFD and cannot be named in a call"));
    }
    let rest = u64::try_from(listing.entries.len()).unwrap_or(u64::MAX).saturating_add(listing.omitted);
    let mut text = String::new();
    let mut entries = Vec::new();
    for entry in &listing.entries {
        let (line, listed) = describe(entry);
        if text.len() + line.len() > TEXT_BYTES {
            break;
        }
        text.push_str(&line);
        entries.push(listed);
    }
    let offset = request.offset;
    let shown = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    let omitted = rest - shown;
    let (next, total) = (offset.saturating_add(shown), offset.saturating_add(rest));
    if rest == 0 && offset > 0 {
        text.push_str(&format!("[nothing follows offset {offset}]\n"));
    } else if rest == 0 {
        text.push_str("[nothing is there, or nothing matches]\n");
    } else if omitted > 0 {
        text.push_str(&format!(
            "[entries {}-{next} of {total} shown; offset {next} continues, or narrow with path, glob or depth]\n",
            offset + 1
        ));
    } else {
        text.push_str(&format!("[{total} entries]\n"));
    }
    for note in &notes {
        text.push_str(&format!("[{note}]\n"));
    }
    let structured = ListFilesOutput {
        path: request.path.to_string(),
        entries,
        omitted,
        next_offset: (omitted > 0).then_some(next),
        ignored,
        hidden,
        notes,
    };
    Output::new(text, &structured)
}

/// For serde, which hands over a reference.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn describe(entry: &Entry) -> (String, ListedEntry) {
    let (path, _) = plain_text::content(&entry.path.replace('\n', "\\n"));
    let (line, kind, bytes, target) = match &entry.kind {
        EntryKind::File => (format!("{path}  {}\n", entry.size), Kind::File, Some(entry.size), None),
        EntryKind::Folder => (format!("{path}/\n"), Kind::Folder, None, None),
        EntryKind::Link(target) => {
            let target = plain_text::one_line(target);
            (format!("{path} -> {target}\n"), Kind::Link, None, Some(target))
        }
        EntryKind::Other => (format!("{path}  (device, socket or pipe)\n"), Kind::Other, None, None),
    };
    (line, ListedEntry { path, kind, bytes, target })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::folder_sandbox::{FolderSandbox, call, call_failing};

    fn sandbox() -> FolderSandbox {
        let sandbox = FolderSandbox::new(&[
            ("README.md", "hello"),
            (".github/ci.yml", "x"),
            ("src/lib.rs", "12"),
            ("src/deep/er/x.rs", ""),
            ("ignored/out.o", "1"),
        ]);
        sandbox.link("link", "src");
        sandbox
    }

    #[test]
    fn what_is_no_folder_is_told_with_the_tool_that_reads_it() {
        let sandbox = sandbox();
        sandbox.link("to_file", "README.md");
        for (path, told) in [("README.md", "a file, not a folder"), ("to_file", "a link to a file, not to a folder")] {
            for arguments in [json!({"path": path}), json!({"path": path, "glob": "*"})] {
                let failure = call_failing(&sandbox, "list_files", arguments);
                let text = format!("`{path}` is {told}; read_file reads it");
                assert_eq!((failure.code, failure.text), ("wrong_kind", text));
            }
        }
    }

    #[test]
    fn the_workspace_is_shown_two_levels_deep() {
        let output = call(&sandbox(), "list_files", json!({}));
        assert_eq!(
            output.text,
            ".github/\nREADME.md  5\nignored/\nlink -> src\nsrc/\nsrc/deep/\nsrc/lib.rs  2\n[7 entries]\n[hidden or \
             ignored, so not opened: `.github/`, `ignored/`; name one as path to see into it]\n"
        );
        assert_eq!(output.structured["entries"][1], json!({"path": "README.md", "kind": "file", "bytes": 5}));
        assert_eq!(output.structured["entries"][3], json!({"path": "link", "kind": "link", "target": "src"}));
    }

    #[test]
    fn a_glob_finds_names_anywhere_and_falls_back_to_ignored_ones() {
        let sandbox = sandbox();
        let text = |arguments| call(&sandbox, "list_files", arguments).text;
        assert_eq!(text(json!({"glob": "*.rs"})), "src/deep/er/x.rs  0\nsrc/lib.rs  2\n[2 entries]\n");
        assert_eq!(
            text(json!({"pattern": "*.o"})),
            "ignored/out.o  1\n[1 entries]\n[only hidden or ignored files match; they are shown]\n"
        );
        assert_eq!(text(json!({"glob": ".github/*"})), ".github/ci.yml  1\n[1 entries]\n");
        assert_eq!(text(json!({"path": "src", "glob": "*.py"})), "[nothing is there, or nothing matches]\n");
    }

    #[test]
    fn a_crowd_is_counted() {
        let sandbox = FolderSandbox::new(&[]);
        for number in 0..2100 {
            sandbox.write(&format!("a-rather-long-name-number-{number:04}.txt"), b"");
        }
        let output = call(&sandbox, "list_files", json!({"depth": 1}));
        assert!(output.text.len() < TEXT_BYTES + 200);
        let shown = output.structured["entries"].as_array().unwrap().len();
        assert_eq!(output.structured["omitted"], 2100 - shown);
        assert!(
            output.text.contains(&format!("[entries 1-{shown} of 2100 shown; offset {shown} continues")),
            "{shown}"
        );
        assert_eq!(output.structured["next_offset"], shown);
        let rest = call(&sandbox, "list_files", json!({"depth": 1, "offset": 2095}));
        assert_eq!(rest.structured["entries"].as_array().unwrap().len(), 5);
        assert!(rest.text.ends_with("-2099.txt  0\n[2100 entries]\n"), "{}", rest.text);
    }

    #[test]
    fn a_file_is_no_folder() {
        assert_eq!(call_failing(&sandbox(), "list_files", json!({"path": "README.md"})).code, "wrong_kind");
    }
}
