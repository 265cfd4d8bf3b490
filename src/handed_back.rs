//! What became of a call's changes, told to the agent.

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

/// Adds to `output` what the agent would not expect: what is held, dropped or left behind, and what to notice.
pub(crate) fn tell(output: &mut Output, handed: &HandedBack) {
    let mut changes = Map::new();
    let mut text = Vec::new();
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
        let paths: Vec<String> = handed.left.iter().map(|change| change.path.to_string()).collect();
        changes.insert("not_kept".into(), json!({ "count": paths.len(), "paths": &paths[..paths.len().min(LISTED)] }));
        text.push("Written in the sandbox and not kept:".to_owned());
        text.extend(listed(paths.iter().map(|path| format!("  {path}"))));
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
        tell(&mut output, &HandedBack { applied: vec![change("a")], ..HandedBack::default() });
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
        tell(&mut output, &handed);
        let structured = Value::Object(output.structured).to_string();
        for word in ["hook", "pipe", "left0", "build.rs"] {
            assert!(output.text.contains(word) && structured.contains(word), "{word}: {}", output.text);
        }
        assert!(output.text.contains("and 80 more") && structured.contains("\"count\":100"), "{}", output.text);
        assert_eq!(count(&handed), ChangeCounts { applied: 0, held: 1, dropped: 1, left: 100 });
    }
}
