//! What became of a call's changes, told to the agent.

use std::{collections::HashSet, path::Path};

use cofferdam_contract::{Argument, CACHE_FOLDERS, HandBack, Plan};
use cofferdam_sandboxes::{Change, HandedBack, Note, TreePath, What};
use cofferdam_tools::Output;
use globset::GlobBuilder;
use serde_json::{Map, Value, json};

use crate::{
    audit::ChangeCounts,
    orders::{NO_WORDS, Orders},
    reply::add,
};

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

/// Adds to `output` what the agent would not know: what came back of what `asked` only describes, what is held, dropped
/// or left behind by `call`, and what to notice. A path that was asked for by name and came back needs no words.
///
/// That a glob chose nothing is worth a word when the agent `wrote` it; of those that a tool sets by itself most do.
pub(crate) fn tell(
    output: &mut Output,
    handed: &HandedBack,
    (asked, wrote): (&HandBack, &[String]),
    call: &str,
    orders: &Orders,
) {
    let mut changes = Map::new();
    let mut text = Vec::new();
    // A file tool's own words say what it changed.
    let globs = match asked {
        HandBack::Matching(globs) => Some(globs.as_slice()),
        HandBack::Tree => Some([].as_slice()),
        HandBack::Paths(_) | HandBack::Nothing => None,
    };
    if let Some(globs) = globs {
        let kept = files(&handed.applied);
        let paths: Vec<String> = kept.iter().take(LISTED).map(|change| change.path.to_string()).collect();
        changes.insert("kept".into(), json!({ "count": kept.len(), "paths": paths }));
        text.push(match kept.len() {
            0 => "Kept: no files.".to_owned(),
            1 => "Kept: 1 file:".to_owned(),
            number => format!("Kept: {number} files:"),
        });
        text.extend(listed(kept.iter().map(|change| match &change.what {
            What::Deleted => format!("  {} (deleted)", change.path),
            What::File { .. } | What::Folder { .. } | What::Link { .. } | What::Special { .. } => {
                format!("  {}", change.path)
            }
        })));
        let idle: Vec<&String> =
            globs.iter().filter(|glob| wrote.contains(glob) && !matches_any(glob, handed)).collect();
        if !idle.is_empty() {
            changes.insert("keep_matched_nothing".into(), json!(idle));
            let quoted: Vec<String> = idle.iter().map(|glob| format!("`{glob}`")).collect();
            text.push(format!("Nothing that the run changed matches {}.", quoted.join(", ")));
        }
    }
    if !handed.held.is_empty() {
        let held: Vec<_> =
            handed.held.iter().map(|held| (held.change.path.to_string(), held.reason.to_string())).collect();
        changes.insert("held".into(), because(&held));
        text.push(format!(
            "Held for a person. You see these changes in this session; the workspace gets them when a person applies \
                 them with `{}`. Go on, and tell the person:",
            orders.changes("apply", &NO_WORDS),
        ));
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
        let marked = marked_caches(&handed.left);
        let (caches, others): (Vec<&Change>, Vec<&Change>) =
            handed.left.iter().partition(|change| is_cache(&change.path, &marked));
        let cache_files = caches.iter().filter(|change| !matches!(change.what, What::Folder { .. })).count();
        let paths: Vec<String> = others.iter().take(LISTED).map(|change| change.path.to_string()).collect();
        changes.insert(
            "not_kept".into(),
            json!({ "count": handed.left.len(), "paths": paths, "cache_files": cache_files, "call": call }),
        );
        let counted = if cache_files == 1 { "1 cache file".to_owned() } else { format!("{cache_files} cache files") };
        let is_gone = handed.notes.iter().any(|note| matches!(note, Note::LeftIsGone { .. }));
        if others.is_empty() {
            text.push(format!("Written in the sandbox and not kept: {counted}"));
        } else {
            text.push(match is_gone {
                true => "Written in the sandbox and not kept:".to_owned(),
                false => {
                    format!("Written in the sandbox and not kept (keep_changes with call \"{call}\" brings it back):")
                }
            });
            text.extend(listed(others.iter().map(|change| format!("  {}", change.path))));
            text.extend((cache_files > 0).then(|| format!("  and {counted}")));
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

/// The texts of the lists among a call's arguments: globs of `keep` and `export`, as the agent wrote them.
pub(crate) fn written_by_the_agent(plan: &Plan) -> Vec<String> {
    let lists = plan.arguments.values().filter_map(|argument| match argument {
        Argument::List(values) => Some(values),
        Argument::Bool(_) | Argument::Integer(_) | Argument::Text(_) | Argument::Map(_) => None,
    });
    let texts = lists.flatten().filter_map(|value| match value {
        Argument::Text(text) => Some(text.clone()),
        Argument::Bool(_) | Argument::Integer(_) | Argument::List(_) | Argument::Map(_) => None,
    });
    texts.collect()
}

/// Changes but for the folders that only hold another of them.
fn files(changes: &[Change]) -> Vec<&Change> {
    // There may be some 100,000 changes, so none is compared with all others.
    let holding: HashSet<&Path> = changes.iter().flat_map(|change| change.path.as_path().ancestors().skip(1)).collect();
    let holds = |folder: &Change| matches!(folder.what, What::Folder { .. }) && holding.contains(folder.path.as_path());
    changes.iter().filter(|change| !holds(change)).collect()
}

/// Adds what was asked for and is there already.
pub(crate) fn tell_already(output: &mut Output, there: &[String]) {
    output.structured.insert("already_there".into(), json!(&there[..there.len().min(LISTED)]));
    if !output.text.is_empty() && !output.text.ends_with('\n') {
        output.text.push('\n');
    }
    output.text.push_str("There already as the run wrote it, in the workspace or held (list_changes):\n");
    let lines = listed(there.iter().map(|path| format!("  {path}")));
    output.text.push_str(&lines.join("\n"));
}

/// The paths that a glob chooses, read as the gate reads it; none for one that it cannot read, which has failed the call
/// before.
pub(crate) fn chosen<'a>(glob: &str, paths: impl Iterator<Item = &'a TreePath>) -> Vec<&'a TreePath> {
    let glob = GlobBuilder::new(glob).literal_separator(true).build().map(|glob| glob.compile_matcher());
    glob.map_or_else(|_| Vec::new(), |glob| paths.filter(|path| glob.is_match(path)).collect())
}

/// Whether a glob chose any change, whatever became of that.
fn matches_any(glob: &str, handed: &HandedBack) -> bool {
    let HandedBack { applied, held, dropped, left, notes: _ } = handed;
    let paths = applied
        .iter()
        .chain(left)
        .chain(held.iter().map(|held| &held.change))
        .map(|change| &change.path)
        .chain(dropped.iter().map(|dropped| &dropped.path));
    !chosen(glob, paths).is_empty()
}

/// Folders that say by a file in them that they are caches (bford.info/cachedir).
fn marked_caches(changes: &[Change]) -> HashSet<&Path> {
    let marks = changes.iter().filter(|change| change.path.as_path().ends_with("CACHEDIR.TAG"));
    marks.filter_map(|change| change.path.as_path().parent()).filter(|folder| *folder != Path::new("")).collect()
}

/// Whether a path is what interpreters and tools write beside the work, and nobody asks for.
fn is_cache(path: &TreePath, marked: &HashSet<&Path>) -> bool {
    let path = path.as_path();
    let names: Vec<&str> = path.iter().filter_map(|name| name.to_str()).collect();
    let named = names.iter().any(|name| CACHE_FOLDERS.contains(name));
    let built = ["CACHEDIR.TAG", ".rustc_info.json", "debug", "release"];
    let below_target = names.windows(2).any(|pair| pair[0] == "target" && built.contains(&pair[1]));
    named
        || path.extension().is_some_and(|extension| extension == "pyc")
        || below_target
        || path.ancestors().any(|folder| marked.contains(folder))
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
        Note::RunsOnYourMachine { file } => {
            format!("{file} runs on your machine: ordinary work (a build, a test run, a check) executes it")
        }
        Note::OddName { file, oddity } => format!("the name of {file} {oddity}"),
        Note::NotKept { file } => {
            format!(
                "what was at {file} was too large to be kept, or could not be: `cofferdam changes undo` cannot bring it back"
            )
        }
        Note::LeftIsGone { error } => {
            format!(
                "keep_changes cannot bring back what this call wrote and did not keep, it could not be put by: {error}"
            )
        }
        Note::Steers { file, how } => format!("{file} {how}"),
        Note::Twin { file, other } => {
            format!("{file} and {other} are one name to file systems that fold names, as on macOS and Windows")
        }
        Note::NotRestored { file, what } => format!("{file} was not brought back: {what}; make it again"),
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
        tell(
            &mut output,
            &HandedBack { applied: vec![change("a")], ..HandedBack::default() },
            (&HandBack::Paths(Vec::new()), &[]),
            "c",
            &Orders::in_session("default"),
        );
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
        tell(&mut output, &handed, (&HandBack::Nothing, &[]), "c", &Orders::in_session("two"));
        let structured = Value::Object(output.structured).to_string();
        assert!(output.text.contains("`cofferdam changes apply --session two`"), "{}", output.text);
        for word in ["hook", "pipe", "left0", "build.rs runs on your machine"] {
            assert!(output.text.contains(word) && structured.contains(word), "{word}: {}", output.text);
        }
        assert!(output.text.contains("and 80 more") && structured.contains("\"count\":100"), "{}", output.text);
        assert_eq!(count(&handed), ChangeCounts { applied: 0, held: 1, dropped: 1, left: 100 });
    }

    fn folder(path: &str) -> Change {
        Change { path: TreePath::new(path).unwrap(), what: What::Folder { opaque: false, mode: 0o755 } }
    }

    #[test]
    fn what_globs_kept_is_confirmed_and_what_they_missed_is_named() {
        let asked = HandBack::Matching(vec!["snaps/**".into(), "*.snap".into(), "log".into()]);
        let deleted = Change { path: TreePath::new("snaps/old").unwrap(), what: What::Deleted };
        let applied = vec![folder("snaps"), change("snaps/a"), change("snaps/deep.txt"), deleted];
        let handed = HandedBack { applied, left: vec![change("log")], ..HandedBack::default() };
        let mut output = Output { text: "done".into(), ..Output::default() };
        let HandBack::Matching(wrote) = &asked else { unreachable!() };
        tell(&mut output, &handed, (&asked, wrote), "c", &Orders::in_session("two"));
        assert_eq!(
            output.text,
            "done\nKept: 3 files:\n  snaps/a\n  snaps/deep.txt\n  snaps/old (deleted)\nNothing that the run changed \
             matches `*.snap`.\nWritten in the sandbox and not kept (keep_changes with call \"c\" brings it back):\n  log"
        );
        assert_eq!(
            output.structured["workspace_changes"],
            json!({
                "kept": { "count": 3, "paths": ["snaps/a", "snaps/deep.txt", "snaps/old"] },
                "keep_matched_nothing": ["*.snap"],
                "not_kept": { "count": 1, "paths": ["log"], "cache_files": 0, "call": "c" },
            })
        );
        let mut output = Output { text: "done".into(), ..Output::default() };
        let asked = HandBack::Matching(vec!["x".into(), "y".into()]);
        tell(&mut output, &HandedBack::default(), (&asked, &["x".into()]), "c", &Orders::in_session("two"));
        assert_eq!(output.text, "done\nKept: no files.\nNothing that the run changed matches `x`.");
    }

    #[test]
    fn nothing_promises_what_could_not_be_put_by() {
        let notes = vec![Note::LeftIsGone { error: "No space left on device".into() }];
        let handed = HandedBack { left: vec![change("a")], notes, ..HandedBack::default() };
        let mut output = Output { text: "done".into(), ..Output::default() };
        tell(&mut output, &handed, (&HandBack::Nothing, &[]), "c", &Orders::in_session("two"));
        assert_eq!(
            output.text,
            "done\nWritten in the sandbox and not kept:\n  a\nNote: keep_changes cannot bring back what this call wrote and \
             did not keep, it could not be put by: No space left on device"
        );
    }

    #[test]
    fn caches_are_counted_after_what_matters() {
        let caches = [
            "__pycache__/a.pyc",
            "old.pyc",
            "a/.pytest_cache/README.md",
            ".mypy_cache/3.11/x.json",
            ".ruff_cache/x",
            "web/node_modules/.cache/x",
            "target/debug/x",
            "own/CACHEDIR.TAG",
            "own/x",
        ];
        let left = [folder("__pycache__")].into_iter().chain(caches.iter().map(|path| change(path)));
        let told = |left: Vec<Change>| {
            let mut output = Output { text: "done".into(), ..Output::default() };
            tell(
                &mut output,
                &HandedBack { left, ..HandedBack::default() },
                (&HandBack::Nothing, &[]),
                "c",
                &Orders::in_session("two"),
            );
            output
        };
        let output = told(left.clone().chain([change("zz.txt"), change("target.txt")]).collect());
        assert_eq!(
            output.text,
            "done\nWritten in the sandbox and not kept (keep_changes with call \"c\" brings it back):\n  zz.txt\n  target.txt\n  and 9 cache files"
        );
        assert_eq!(
            output.structured["workspace_changes"]["not_kept"],
            json!({ "count": 12, "paths": ["zz.txt", "target.txt"], "cache_files": 9, "call": "c" })
        );
        assert_eq!(told(left.collect()).text, "done\nWritten in the sandbox and not kept: 9 cache files");
    }
}
