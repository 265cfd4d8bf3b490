//! What aliases of git say besides paths: the settings that they make (`-c name=value`), and the command lines that they
//! have git run (`rebase --exec`, `bisect run`). Git's own options, `git.c` and `Documentation/git-*` of 2.47.

use std::collections::BTreeSet;

use super::{
    config::Setting,
    words::{self, Reach, Word, Words},
};

/// How deep a quoted word may have words of its own.
const DEPTH: usize = 8;

/// Commands of git's that run and obey no file that their words name, but for their options of [`Runs`].
const HARMLESS_COMMANDS: &[&str] = &[
    "add",
    "blame",
    "branch",
    "checkout",
    "cherry-pick",
    "commit",
    "describe",
    "diff",
    "grep",
    "log",
    "ls-files",
    "ls-tree",
    "name-rev",
    "rebase",
    "reflog",
    "reset",
    "restore",
    "rev-list",
    "rev-parse",
    "revert",
    "shortlog",
    "show",
    "stash",
    "status",
    "switch",
    "tag",
];

/// Options of git's own that take the word that follows, `git.c`.
const TAKING_ONE: &[&str] =
    &["-C", "--attr-source", "--config-env", "--git-dir", "--namespace", "--super-prefix", "--work-tree"];

/// Which words of a command of git's are command lines.
#[derive(Debug, Clone, Copy)]
enum Runs {
    /// The value of these options: the long ones by any beginning of their names, as git takes them.
    Options { short: Option<u8>, long: &'static [&'static str] },
    /// All that follows this word.
    After(&'static str),
}

const RUNS: &[(&str, Runs)] = &[
    ("archive", Runs::Options { short: None, long: &["exec"] }),
    ("bisect", Runs::After("run")),
    ("clone", Runs::Options { short: Some(b'u'), long: &["upload-pack"] }),
    ("difftool", Runs::Options { short: Some(b'x'), long: &["extcmd"] }),
    ("fetch", Runs::Options { short: None, long: &["upload-pack"] }),
    ("fetch-pack", Runs::Options { short: None, long: &["exec", "upload-pack"] }),
    (
        "filter-branch",
        Runs::Options {
            short: None,
            long: &[
                "commit-filter",
                "env-filter",
                "index-filter",
                "msg-filter",
                "parent-filter",
                "setup",
                "tag-name-filter",
                "tree-filter",
            ],
        },
    ),
    ("grep", Runs::Options { short: Some(b'O'), long: &["open-files-in-pager"] }),
    ("ls-remote", Runs::Options { short: None, long: &["exec", "upload-pack"] }),
    ("pull", Runs::Options { short: None, long: &["upload-pack"] }),
    ("push", Runs::Options { short: None, long: &["exec", "receive-pack"] }),
    ("rebase", Runs::Options { short: Some(b'x'), long: &["exec"] }),
    (
        "send-email",
        Runs::Options { short: None, long: &["cc-cmd", "header-cmd", "sendmail-cmd", "smtp-server", "to-cmd"] },
    ),
    ("send-pack", Runs::Options { short: None, long: &["exec", "receive-pack"] }),
    ("submodule", Runs::After("foreach")),
];

/// The settings that a command line of git's makes for one command with `-c`, in whatever shell's words it is told. They are
/// written by the name of the setting that the line is the value of.
pub(super) fn made_by(line: &[u8], written: &str) -> Vec<Setting> {
    let mut made = Vec::new();
    let mut pending = vec![(line.to_vec(), 0)];
    while let Some((line, depth)) = pending.pop() {
        let mut before: Vec<u8> = Vec::new();
        for word in words::shell_words(line.strip_prefix(b"!").unwrap_or(&line)) {
            let own = [&b"-c"[..], b"--config="].iter().find_map(|option| word.strip_prefix(*option));
            let value = if before == b"-c" || before == b"--config" { Some(word.as_slice()) } else { own };
            made.extend(value.and_then(|value| setting(value, written)));
            // `-c alias.x='-c core.hooksPath=…'` and `sh -c 'git -c …'`.
            if depth < DEPTH && word.iter().any(u8::is_ascii_whitespace) {
                let name = word.iter().position(|byte| *byte == b'=' || byte.is_ascii_whitespace());
                let value = name.filter(|end| word[*end] == b'=').map(|equal| word[equal + 1..].to_vec());
                pending.push((value.unwrap_or_else(|| word.clone()), depth + 1));
            }
            before = word;
        }
    }
    made
}

/// `section.key=value` or `section.subsection.key=value`, as git takes it after `-c`.
fn setting(word: &[u8], written: &str) -> Option<Setting> {
    let equal = word.iter().position(|byte| *byte == b'=').unwrap_or(word.len());
    let (name, value) = (&word[..equal], word.get(equal + 1..).unwrap_or_default());
    let first = name.iter().position(|byte| *byte == b'.')?;
    let last = name.iter().rposition(|byte| *byte == b'.')?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_ascii_lowercase();
    Some(Setting {
        section: text(&name[..first]),
        subsection: name.get(first + 1..last).unwrap_or_default().to_vec(),
        key: text(&name[last + 1..]),
        written: written.to_owned(),
        value: value.to_vec(),
    })
}

/// The words of an alias that is git's own: the first that is no option is a command of git's. `None` when it has too many.
pub(super) fn words_of(line: &[u8]) -> Option<Words> {
    let mut spoken = words::shell_words(line).into_iter();
    let mut words = Words::default();
    let command = loop {
        let Some(word) = spoken.next() else { return Some(words) };
        if let Some(folder) = word.strip_prefix(b"--exec-path=") {
            words.words.insert(Word { text: folder.to_vec(), reach: Reach::Tree });
        }
        match word.as_slice() {
            // What it makes is a setting.
            b"-c" => _ = spoken.next(),
            option if TAKING_ONE.iter().any(|known| known.as_bytes() == option) => _ = spoken.next(),
            option if option.starts_with(b"-") => {}
            _ => break word,
        }
    };
    let rest: Vec<Vec<u8>> = spoken.collect();
    for (at, word) in rest.iter().enumerate() {
        // Its hooks are copied, and run.
        let folder = match value_of(word, None, &["template"]).filter(|_| word.starts_with(b"--t")) {
            Some(Value::Own(folder)) => Some(folder),
            Some(Value::Next) => rest.get(at + 1).map(Vec::as_slice),
            None => None,
        };
        words.words.extend(folder.map(|folder| Word { text: folder.to_vec(), reach: Reach::Tree }));
    }
    for (_, runs) in RUNS.iter().filter(|(name, _)| name.as_bytes() == command) {
        for line in runs.lines(&rest) {
            words.extend(words::of_command(&line)?);
        }
    }
    if !HARMLESS_COMMANDS.iter().any(|known| known.as_bytes() == command) {
        // Of what another command does with its words nothing is known, but that it is no shell: a folder counts not with
        // all below it.
        let joined = rest.join(&b' ');
        let lines: BTreeSet<&Vec<u8>> = rest.iter().chain([&joined]).collect();
        for line in lines {
            if !words.is_of_one_value() {
                return None;
            }
            let named = words::of_command(line)?.words;
            words.words.extend(named.into_iter().map(|word| Word { reach: Reach::Name, ..word }));
        }
    }
    words.is_of_one_value().then_some(words)
}

impl Runs {
    /// The command lines among the words that follow the command.
    fn lines(self, rest: &[Vec<u8>]) -> Vec<Vec<u8>> {
        match self {
            Self::After(name) => {
                let after = rest.iter().position(|word| word == name.as_bytes());
                after.map(|at| vec![rest[at + 1..].join(&b' ')]).unwrap_or_default()
            }
            Self::Options { short, long } => {
                let mut lines = Vec::new();
                for (at, word) in rest.iter().enumerate() {
                    match value_of(word, short, long) {
                        Some(Value::Own(value)) => lines.push(value.to_vec()),
                        Some(Value::Next) => lines.extend(rest.get(at + 1).cloned()),
                        None => {}
                    }
                }
                lines
            }
        }
    }
}

/// Where an option's value is.
enum Value<'a> {
    /// In the same word.
    Own(&'a [u8]),
    /// The next word.
    Next,
}

fn value_of<'a>(word: &'a [u8], short: Option<u8>, long: &[&str]) -> Option<Value<'a>> {
    let own_or_next = |value: Option<&'a [u8]>| value.map_or(Value::Next, Value::Own);
    if let Some(option) = word.strip_prefix(b"--") {
        let equal = option.iter().position(|byte| *byte == b'=');
        let name = &option[..equal.unwrap_or(option.len())];
        let is_one = !name.is_empty() && long.iter().any(|long| long.as_bytes().starts_with(name));
        return is_one.then(|| own_or_next(equal.map(|equal| &option[equal + 1..])));
    }
    // Options of one letter may stand together: `-ix 'make test'`.
    let letters = word.strip_prefix(b"-")?;
    let at = letters.iter().position(|letter| Some(*letter) == short)?;
    let is_cluster = letters[..at].iter().all(u8::is_ascii_alphabetic);
    is_cluster.then(|| own_or_next(Some(&letters[at + 1..]).filter(|value| !value.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<(String, Reach)> {
        let words = words_of(line.as_bytes()).unwrap();
        words.words.into_iter().map(|word| (String::from_utf8(word.text).unwrap(), word.reach)).collect()
    }

    #[test]
    fn settings_that_an_alias_makes_are_found() {
        for (line, section, subsection, key, value) in [
            ("-c core.hooksPath=tools commit", "core", "", "hookspath", "tools"),
            ("-c CORE.HooksPath=tools commit", "core", "", "hookspath", "tools"),
            ("-c 'filter.my f.clean=sh x' add", "filter", "my f", "clean", "sh x"),
            ("!git -C . -c core.fsmonitor=x status", "core", "", "fsmonitor", "x"),
            ("!sh -c 'git -c core.fsmonitor=x status'", "core", "", "fsmonitor", "x"),
            ("-c alias.y='-c core.fsmonitor=x status' y", "core", "", "fsmonitor", "x"),
            ("-c \"url.a=b.insteadOf=c\" fetch", "url", "", "a", "b.insteadOf=c"),
            ("-c core.bare log", "core", "", "bare", ""),
        ] {
            let expected = Setting {
                section: section.into(),
                subsection: subsection.into(),
                key: key.into(),
                written: "alias.x".into(),
                value: value.into(),
            };
            let made = made_by(line.as_bytes(), "alias.x");
            assert!(made.contains(&expected), "{line}: {made:?}");
        }
        for line in ["log -c", "commit -c HEAD", "", "-c", "!sh -c x", "-c =x", "-c a=b.c log"] {
            assert_eq!(made_by(line.as_bytes(), "alias.x"), [], "{line}");
        }
    }

    #[test]
    fn command_lines_in_gits_own_words_are_found() {
        for (line, path) in [
            ("rebase -x 'cd tools && ./run' main", "tools"),
            ("rebase -ix 'node tools' main", "tools"),
            ("rebase -x'node tools' main", "tools"),
            ("rebase --exec='node tools' main", "tools"),
            ("-p rebase --ex 'node tools'", "tools"),
            ("submodule --quiet foreach --recursive 'cd tools; ./x'", "tools"),
            ("bisect run sh tools", "tools"),
            ("difftool -x 'sh tools'", "tools"),
            ("grep -O'sh tools' word", "tools"),
            ("filter-branch --tree-filter 'sh tools' HEAD", "tools"),
            ("fetch --upload-pack 'sh tools' origin", "tools"),
            ("--exec-path=tools log", "tools"),
        ] {
            let found = texts(line);
            assert!(found.contains(&(path.into(), Reach::Tree)), "{line}: {found:?}");
        }
        assert!(words_of(b"rebase -x 'cd tools && ./run'").unwrap().entered.contains(b"tools".as_slice()));
        assert!(texts("mine 'tools/run it'").contains(&("tools/run it".into(), Reach::Name)));
    }

    #[test]
    fn ordinary_aliases_name_nothing() {
        for line in [
            "status -sb",
            "-c color.ui=false log",
            "-p -c color.ui=false log --oneline docs",
            "rebase -i",
            "rebase -i --autosquash --update-refs main",
            "log --graph --pretty=format:'%h %s <%an>' -- docs/ src/main.rs",
            "log -x",
            "commit --amend --no-edit -c docs",
            "checkout -b main",
            "grep -n word src",
            "diff --word-diff main -- src",
            "stash push -m docs/x",
            "",
            " ",
            "-c",
            "rebase -x",
        ] {
            assert_eq!(texts(line), [], "{line}");
        }
    }
}
