//! What `git status --porcelain=v2 --branch -z` prints (git-status(1)).

use schemars::JsonSchema;
use serde::Serialize;

/// A status, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Status {
    /// The branch; `None` without one.
    pub(crate) branch: Option<String>,
    /// The checked-out commit; `None` before the first.
    pub(crate) commit: Option<String>,
    pub(crate) upstream: Option<String>,
    /// Commits ahead of and behind the upstream.
    pub(crate) ahead_behind: Option<(u64, u64)>,
    pub(crate) entries: Vec<Entry>,
}

/// One path that is not as the checked-out commit has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Entry {
    /// The path.
    pub(crate) path: String,
    /// What is staged: `modified`, `added`, `deleted`, `renamed`, `copied`, `type_changed`, `unmerged`; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<String>,
    /// What is in the working tree and not staged: the same words, or `untracked`; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worktree: Option<String>,
    /// Where it was before, if it was renamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// As `git status --short` writes the two.
    #[serde(skip)]
    pub(crate) code: String,
}

/// Reads a status. What is not of a known form is passed over.
pub(crate) fn read_status(bytes: &[u8]) -> Status {
    let mut status = Status::default();
    let mut fields = bytes.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    while let Some(field) = fields.next() {
        let text = super::shown(field);
        let Some((kind, rest)) = text.split_once(' ') else { continue };
        let after = |count: usize| rest.splitn(count + 1, ' ').nth(count).map(str::to_owned);
        let code = rest.split(' ').next().unwrap_or_default();
        match kind {
            "#" => header(rest, &mut status),
            "1" => status.entries.extend(after(7).map(|path| Entry::new(path, code, None))),
            "2" => {
                let from = fields.next().map(super::shown);
                status.entries.extend(after(8).map(|path| Entry::new(path, code, from)));
            }
            "u" => status.entries.extend(after(9).map(|path| Entry::new(path, code, None))),
            "?" => status.entries.push(Entry::new(rest.to_owned(), "??", None)),
            _ => {}
        }
    }
    status
}

fn header(text: &str, status: &mut Status) {
    match text.split_once(' ') {
        Some(("branch.oid", "(initial)")) | Some(("branch.head", "(detached)")) => {}
        Some(("branch.oid", commit)) => status.commit = Some(commit.to_owned()),
        Some(("branch.head", branch)) => status.branch = Some(branch.to_owned()),
        Some(("branch.upstream", upstream)) => status.upstream = Some(upstream.to_owned()),
        Some(("branch.ab", numbers)) => {
            let mut numbers = numbers.split(' ').map(|number| number.trim_start_matches(['+', '-']).parse().ok());
            if let (Some(Some(ahead)), Some(Some(behind))) = (numbers.next(), numbers.next()) {
                status.ahead_behind = Some((ahead, behind));
            }
        }
        Some(_) | None => {}
    }
}

impl Entry {
    fn new(path: String, code: &str, from: Option<String>) -> Self {
        let mut letters = code.chars();
        let (index, worktree) = (letters.next().unwrap_or('.'), letters.next().unwrap_or('.'));
        let code = code.replace('.', " ");
        if index == '?' {
            return Self { path, index: None, worktree: Some("untracked".to_owned()), from, code };
        }
        Self { path, index: word(index), worktree: word(worktree), from, code }
    }
}

fn word(letter: char) -> Option<String> {
    let word = match letter {
        'M' => "modified",
        'T' => "type_changed",
        'A' => "added",
        'D' => "deleted",
        'R' => "renamed",
        'C' => "copied",
        'U' => "unmerged",
        _ => return None,
    };
    Some(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_entry_is_read() {
        let id = "0".repeat(40);
        let printed = format!(
            "# branch.oid {id}\0# branch.head main\0# branch.upstream origin/main\0# branch.ab +2 -1\0\
             1 .M N... 100644 100644 100644 {id} {id} src/a b.rs\0\
             2 R. N... 100644 100644 100644 {id} {id} R100 new name\0old name\0\
             u UU N... 100644 100644 100644 100644 {id} {id} {id} both\0? left\n over\0! ignored\0nonsense\0"
        );
        let status = read_status(printed.as_bytes());
        assert_eq!((status.branch.as_deref(), status.commit.as_deref()), (Some("main"), Some(id.as_str())));
        assert_eq!((status.upstream.as_deref(), status.ahead_behind), (Some("origin/main"), Some((2, 1))));
        let told: Vec<_> = status
            .entries
            .iter()
            .map(|entry| {
                (
                    entry.code.as_str(),
                    entry.path.as_str(),
                    entry.index.as_deref(),
                    entry.worktree.as_deref(),
                    entry.from.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (" M", "src/a b.rs", None, Some("modified"), None),
                ("R ", "new name", Some("renamed"), None, Some("old name")),
                ("UU", "both", Some("unmerged"), Some("unmerged"), None),
                ("??", "left\n over", None, Some("untracked"), None),
            ]
        );
    }

    #[test]
    fn a_repository_without_commits_or_branch_has_neither() {
        let status = read_status(b"# branch.oid (initial)\0# branch.head (detached)\0");
        assert_eq!(status, Status::default());
    }
}
