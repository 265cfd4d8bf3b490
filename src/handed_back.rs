//! What became of a call's changes, told to the agent.

use cofferdam_contract::HandBack;
use cofferdam_sandboxes::{HandedBack, Note, What};
use cofferdam_tools::Output;
use serde_json::{Map, Value, json};

use crate::{audit::ChangeCounts, reply::add};

/// Paths that are listed of each kind; the rest is counted.
const LISTED: usize = 20;

/// The numbers for the log.
pub(crate) fn count(handed: &HandedBack) -> ChangeCounts {
    ChangeCounts {
        applied: handed.applied.len() as u64,
        held: handed.held.len() as u64,
        dropped: handed.dropped.len() as u64,
        left: handed.left.len() as u64,
    }
}

/// Folders and endings of files that tools make for themselves and make again: nobody misses one.
const CACHES: [&str; 7] =
    ["__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".cache", ".nyc_output"];

/// Adds to `output` what the agent asked to keep, and what it would not expect: what is held, dropped or left behind, and
/// what to notice.
pub(crate) fn tell(output: &mut Output, handed: &HandedBack, asked: &HandBack) {
    let mut changes = Map::new();
    let mut text = Vec::new();
    match asked {
        HandBack::Matching(_) | HandBack::Tree => {
            let paths: Vec<String> = handed.applied.iter().map(|change| change.path.to_string()).collect();
            text.push(if paths.is_empty() {
                "Kept: nothing that was written and may be kept matches `keep`.".to_owned()
            } else {
                format!("Kept, {} in all:", paths.len())
            });
            text.extend(listed(paths.iter().map(|path| format!("  {path}"))));
            changes.insert("kept".into(), counted(&paths));
        }
        // A file tool's own words say what it changed.
        HandBack::Paths(_) | HandBack::Nothing => {}
    }
    if !handed.held.is_empty() {
        let held: Vec<_> =
            handed.held.iter().map(|held| (held.change.path.to_string(), held.reason.to_string())).collect();
        changes.insert("held".into(), because(&held));
        text.push(
            "Held for a person. You see these changes in this session; the workspace gets them when a person applies \
             them with `cofferdam changes apply`. Go on, and tell the person:"
                .to_owned(),
        );
        text.extend(listed(held.iter().map(|(path, reason)| format!("  {path}: {reason}"))));
    }
    if !handed.dropped.is_empty() {
        let dropped: Vec<_> =
            handed.dropped.iter().map(|dropped| (dropped.path.to_string(), dropped.reason.to_string())).collect();
        changes.insert("dropped".into(), because(&dropped));
        text.push("Not kept, and never will be:".to_owned());
        text.extend(listed(dropped.iter().map(|(path, reason)| format!("  {path}: {reason}"))));
    }
    if !handed.left.is_empty() {
        let (caches, paths): (Vec<String>, Vec<String>) =
            handed.left.iter().map(|change| change.path.to_string()).partition(|path| is_cache(path));
        let mut not_kept = counted(&paths);
        not_kept["cache_files"] = json!(caches.len());
        changes.insert("not_kept".into(), not_kept);
        if paths.is_empty() {
            text.push(format!("Written in the sandbox and not kept: {} cache files.", caches.len()));
        } else {
            text.push("Written in the sandbox and not kept:".to_owned());
            text.extend(listed(paths.iter().map(|path| format!("  {path}"))));
            if !caches.is_empty() {
                text.push(format!("  and {} cache files", caches.len()));
            }
        }
    }
    if !handed.notes.is_empty() {
        let notes: Vec<String> = handed.notes.iter().map(note).collect();
        changes.insert("notes".into(), json!(&notes[..notes.len().min(LISTED)]));
        text.extend(listed(notes.into_iter().map(|note| format!("Note: {note}"))));
    }
    if !changes.is_empty() {
        add(output, "workspace_changes", Value::Object(changes), &text.join("\n"));
    }
}

/// How many, and the first of them.
fn counted(paths: &[String]) -> Value {
    json!({ "count": paths.len(), "paths": &paths[..paths.len().min(LISTED)] })
}

fn is_cache(path: &str) -> bool {
    path.ends_with(".pyc") || path.split('/').any(|name| CACHES.contains(&name))
}

fn because(paths: &[(String, String)]) -> Value {
    paths.iter().take(LISTED).map(|(path, reason)| json!({ "path": path, "reason": reason })).collect()
}

fn listed(lines: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let omitted = lines.len().saturating_sub(LISTED);
    lines.take(LISTED).chain((omitted > 0).then(|| format!("  and {omitted} more"))).collect()
}

/// A note, in words.
pub(crate) fn note(note: &Note) -> String {
    match note {
        Note::Moved { from, to } => format!("the folder {from} was moved to {to}"),
        Note::RunsOnYourMachine { file } => format!("{file} is executed by ordinary work outside the sandbox"),
        Note::OddName { file, oddity } => format!("the name of {file} {oddity}"),
        Note::Leftover { file, error } => format!("what was replaced could not be removed wholly, see {file}: {error}"),
    }
}

/// What would happen to a path, in a word or two.
pub(crate) fn kind(what: &What) -> &'static str {
    match what {
        What::File { .. } => "file written",
        What::Folder { opaque: true, .. } => "folder replaced",
        What::Folder { opaque: false, .. } => "folder",
        What::Link { .. } => "link",
        What::Deleted => "deleted",
        What::Special { .. } => "special file",
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_sandboxes::{Change, DropReason, Dropped, Held, Reason, Special, TreePath};

    use super::*;

    fn change(path: &str) -> Change {
        Change { path: TreePath::new(path).unwrap(), what: What::File { size: 1, mode: 0o644 } }
    }

    #[test]
    fn what_came_back_as_asked_needs_no_words() {
        let mut output = Output { text: "done".into(), ..Output::default() };
        let paths = HandBack::Paths(Vec::new());
        tell(&mut output, &HandedBack { applied: vec![change("a")], ..HandedBack::default() }, &paths);
        assert_eq!(output, Output { text: "done".into(), ..Output::default() });
    }

    #[test]
    fn everything_else_is_told_in_both_forms_and_bounded() {
        let handed = HandedBack {
            applied: Vec::new(),
            held: vec![Held { change: change("hook"), reason: Reason::Conflict }],
            dropped: vec![Dropped {
                path: TreePath::new("pipe").unwrap(),
                reason: DropReason::Special { special: Special::Fifo },
            }],
            left: (0..100).map(|number| change(&format!("left{number}"))).collect(),
            notes: vec![Note::RunsOnYourMachine { file: TreePath::new("build.rs").unwrap() }],
        };
        let mut output = Output { text: "done".into(), ..Output::default() };
        tell(&mut output, &handed, &HandBack::Nothing);
        let structured = Value::Object(output.structured).to_string();
        for word in ["hook", "pipe", "left0", "build.rs"] {
            assert!(output.text.contains(word) && structured.contains(word), "{word}: {}", output.text);
        }
        assert!(output.text.contains("and 80 more") && structured.contains("\"count\":100"), "{}", output.text);
        assert_eq!(count(&handed), ChangeCounts { applied: 0, held: 1, dropped: 1, left: 100 });
    }

    #[test]
    fn what_is_kept_is_named_and_caches_are_only_counted() {
        let keep = HandBack::Matching(vec!["snaps/**".into()]);
        let mut output = Output::default();
        let handed = HandedBack {
            applied: vec![change("snaps/a")],
            left: ["a/__pycache__", "a/__pycache__/b.cpython-311.pyc", "out.log"].map(change).into(),
            ..HandedBack::default()
        };
        tell(&mut output, &handed, &keep);
        for line in ["Kept, 1 in all:", "  snaps/a", "  out.log", "  and 2 cache files"] {
            assert!(output.text.lines().any(|told| told == line), "{line}: {}", output.text);
        }
        assert!(!output.text.contains("__pycache__"));
        assert_eq!(output.structured["workspace_changes"]["kept"]["paths"], json!(["snaps/a"]));
        let mut output = Output::default();
        tell(&mut output, &HandedBack::default(), &keep);
        assert!(output.text.contains("Kept: nothing"), "{}", output.text);
    }
}
