//! How much a diff changes, file by file.

use schemars::JsonSchema;
use serde::Serialize;

/// Files that are listed; the rest is counted.
const LISTED: usize = 100;

/// One file of a diff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct ChangedFile {
    /// Its path.
    pub(crate) path: String,
    /// Where it was before, if it was renamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// Lines that were added; absent for a binary file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) insertions: Option<u64>,
    /// Lines that were deleted; absent for a binary file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deletions: Option<u64>,
}

/// All files of a diff together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) files: u64,
    pub(crate) insertions: u64,
    pub(crate) deletions: u64,
}

impl Totals {
    pub(crate) fn of(files: &[ChangedFile]) -> Self {
        let sum = |number: fn(&ChangedFile) -> Option<u64>| files.iter().filter_map(number).sum();
        Self {
            files: files.len() as u64,
            insertions: sum(|file| file.insertions),
            deletions: sum(|file| file.deletions),
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files = if self.files == 1 { "file" } else { "files" };
        write!(formatter, "{} {files}, +{} -{}", self.files, self.insertions, self.deletions)
    }
}

/// Reads what `--numstat -z` prints: `added TAB deleted TAB path NUL`, and for a rename `added TAB deleted TAB NUL from NUL
/// to NUL` (git-diff(1), "Other diff formats"). Lines that are not of that form are passed over.
pub(crate) fn changed_files(bytes: &[u8]) -> Vec<ChangedFile> {
    let mut files = Vec::new();
    let mut fields = bytes.split(|byte| *byte == 0);
    while let Some(field) = fields.next() {
        // `show --format=` leaves a line end before the first one.
        let field = field.strip_prefix(b"\n").unwrap_or(field);
        let mut parts = field.splitn(3, |byte| *byte == b'\t');
        let (Some(added), Some(deleted), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let number = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let (from, path) = if path.is_empty() {
            let (Some(from), Some(to)) = (fields.next(), fields.next()) else { break };
            (Some(super::shown(from)), to)
        } else {
            (None, path)
        };
        files.push(ChangedFile {
            path: super::shown(path),
            from,
            insertions: number(added),
            deletions: number(deleted),
        });
    }
    files
}

/// The first files as lines, the rest as a number, and the files that are listed.
pub(crate) fn listed(files: Vec<ChangedFile>) -> (String, Vec<ChangedFile>, u64) {
    let omitted = files.len().saturating_sub(LISTED);
    let mut text = String::new();
    let kept: Vec<ChangedFile> = files.into_iter().take(LISTED).collect();
    for file in &kept {
        let from = file.from.as_ref().map_or(String::new(), |from| format!("{from} -> "));
        let count = match (file.insertions, file.deletions) {
            (Some(added), Some(deleted)) => format!("+{added} -{deleted}"),
            (_, _) => "binary".to_owned(),
        };
        text.push_str(&format!("  {from}{} ({count})\n", file.path));
    }
    if omitted > 0 {
        text.push_str(&format!("  and {omitted} more files\n"));
    }
    (text, kept, omitted as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_renames_and_binaries_are_told_apart() {
        let files = changed_files(b"\n3\t1\tsrc/a b.rs\0-\t-\tlogo.png\x000\t2\t\0old\0new\0");
        assert_eq!(
            files,
            [
                ChangedFile { path: "src/a b.rs".into(), from: None, insertions: Some(3), deletions: Some(1) },
                ChangedFile { path: "logo.png".into(), from: None, insertions: None, deletions: None },
                ChangedFile { path: "new".into(), from: Some("old".into()), insertions: Some(0), deletions: Some(2) },
            ]
        );
        assert_eq!(Totals::of(&files).to_string(), "3 files, +3 -3");
        assert_eq!(changed_files(b"nonsense\0\0"), []);
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let file = ChangedFile { path: "a".into(), from: None, insertions: Some(1), deletions: Some(0) };
        let (text, kept, omitted) = listed(vec![file; 130]);
        assert_eq!((kept.len(), omitted), (100, 30));
        assert!(text.ends_with("  and 30 more files\n"), "{text}");
    }
}
