//! Which words of a setting could be paths that git, or a program that it starts, reads or runs.
//!
//! A setting counts unless it is listed as one whose value is executed nowhere: git learns new ones, and other programs
//! keep theirs in the same files. A value that is a command line is taken apart in more ways than a shell would, and
//! each part counts. A path too many costs a look.

use std::collections::BTreeSet;

use super::config::Setting;

/// Parts of one value that are looked at. A value with more holds everything.
const MOST_PARTS: usize = 4000;

/// Sections whose values are executed nowhere, git-config(1). Some hold paths: those of repositories that a person uses
/// (`safe.directory`, `maintenance.repo`), of templates and lists.
const HARMLESS_SECTIONS: &[&str] = &[
    "advice",
    "author",
    "blame",
    "branch",
    "color",
    "column",
    "commit",
    "committer",
    "extensions",
    "feature",
    "fetch",
    "format",
    "fsck",
    "gui",
    "http",
    "index",
    "log",
    "mailmap",
    "maintenance",
    "notes",
    "pack",
    "pull",
    "push",
    "rebase",
    "receive",
    "safe",
    "scalar",
    "stash",
    "status",
    "tag",
    "transfer",
    "user",
    "versionsort",
    "worktree",
];

/// Keys of `remote` and `submodule` whose values are executed nowhere.
const HARMLESS_OF_OTHERS: &[&str] = &[
    "active",
    "branch",
    "fetch",
    "fetchrecursesubmodules",
    "ignore",
    "mirror",
    "path",
    "prune",
    "push",
    "shallow",
    "tagopt",
];

/// Words after which a bare name is a program or a folder with one, though a folder of that name is there.
const ENTERING: &[&str] = &[
    "-C",
    "-m",
    "--directory",
    "--prefix",
    ".",
    "cd",
    "pushd",
    "source",
    "sh",
    "bash",
    "dash",
    "zsh",
    "ksh",
    "node",
    "nodejs",
    "deno",
    "bun",
    "ruby",
    "perl",
    "php",
    "lua",
];

/// What a setting means for paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing.
    None,
    /// Another file of settings, relative to the folder of this one.
    Include,
    /// The folder of hooks.
    Hooks,
    /// The whole value is a file or folder.
    Path,
    /// The working tree, relative to the repository's own folder.
    WorkTree,
    /// The value is a command line, or may be.
    Command,
    /// The value are words of git's: a command and its arguments.
    Words,
    /// The subsection is an address that is a command line.
    Address,
}

/// How far a word reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Only what has this very name, and no folder.
    Name,
    /// It and all below it.
    Tree,
}

/// A part of a value that may be a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Word {
    pub(super) text: Vec<u8>,
    pub(super) reach: Reach,
}

/// What a value says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) words: BTreeSet<Word>,
    /// Folders that it goes into, from which its other words may count.
    pub(super) entered: BTreeSet<Vec<u8>>,
}

pub(super) fn meaning(setting: &Setting) -> Meaning {
    let is_command = |value: &[u8]| value.windows(2).any(|two| two == b"::");
    match (setting.section.as_str(), setting.key.as_str()) {
        ("include" | "includeif", "path") => Meaning::Include,
        ("core", "hookspath") => Meaning::Hooks,
        ("core", "worktree") => Meaning::WorkTree,
        ("core", "attributesfile" | "excludesfile") | ("init", "templatedir") => Meaning::Path,
        ("alias", _) if !setting.value.starts_with(b"!") => Meaning::Words,
        ("url", _) if is_command(&setting.subsection) => Meaning::Address,
        ("url", _) => Meaning::None,
        ("remote" | "submodule", "url" | "pushurl") if is_command(&setting.value) => Meaning::Command,
        ("remote" | "submodule", "url" | "pushurl") => Meaning::None,
        ("remote" | "submodule", key) if HARMLESS_OF_OTHERS.contains(&key) => Meaning::None,
        (section, _) if HARMLESS_SECTIONS.contains(&section) => Meaning::None,
        _ => Meaning::Command,
    }
}

/// Takes a command line apart; `None` when it has too many parts.
pub(super) fn of_command(line: &[u8]) -> Option<Words> {
    let mut words = Words::default();
    // Not every program of a setting is started by a shell: then the whole is one path, with its spaces.
    for whole in of_path(line.trim_ascii()) {
        words.add(&whole, Reach::Name);
    }
    let line = line.trim_ascii().strip_prefix(b"!").unwrap_or(line);
    let mut spoken = shell_words(line);
    spoken.extend(pieces(line));
    let mut before: Vec<u8> = Vec::new();
    for word in spoken {
        let enters = is_entering(&before);
        words.add(&word, if enters { Reach::Tree } else { Reach::Name });
        if enters && !word.starts_with(b"-") {
            words.entered.insert(word.clone());
        }
        if before == b"-m" {
            // `python -m a.b` runs a/b.py, or a/b/__main__.py.
            let module: Vec<u8> = word.iter().map(|byte| if *byte == b'.' { b'/' } else { *byte }).collect();
            words.add(&[module.as_slice(), b".py"].concat(), Reach::Tree);
            words.add(&module, Reach::Tree);
        }
        if !words.is_bounded() {
            return None;
        }
        before = word;
    }
    Some(words)
}

/// A whole value that is one path. What git puts before it is left out: `:(optional)` (git 2.52), and `%(prefix)`, which
/// is where git is installed. A git before 2.45 makes a space of each white character, so that counts too.
pub(super) fn of_path(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let value = value.strip_prefix(b":(optional)").unwrap_or(value);
    let value = value.strip_prefix(b"%(prefix)").unwrap_or(value);
    let spaced = value.iter().map(|byte| if byte.is_ascii_whitespace() { b' ' } else { *byte }).collect();
    BTreeSet::from([value.to_vec(), spaced]).into_iter().filter(|path| !path.is_empty()).collect()
}

impl Words {
    /// Whether it has no more parts than are looked at.
    pub(super) fn is_bounded(&self) -> bool {
        self.words.len() <= MOST_PARTS
    }

    /// Adds a word that reaches so far at least: one with a slash is a path.
    fn add(&mut self, word: &[u8], reach: Reach) {
        self.add_one(word, reach);
        let bare = word.iter().position(|byte| !b"!@+".contains(byte)).and_then(|from| word.get(from..));
        self.add_one(bare.unwrap_or_default(), reach);
        // `-Ctools`, `-I./x`.
        if word.first() == Some(&b'-') {
            self.add_one(word.get(2..).unwrap_or_default(), Reach::Name);
        }
    }

    fn add_one(&mut self, word: &[u8], reach: Reach) {
        // A pattern means any name in its folder.
        let text = match word.iter().position(|byte| b"*?[".contains(byte)) {
            Some(pattern) => match word[..pattern].iter().rposition(|byte| *byte == b'/') {
                Some(slash) => &word[..=slash],
                None => return,
            },
            None => word,
        };
        if text.is_empty() || text.contains(&0) {
            return;
        }
        let reach = if text.contains(&b'/') { Reach::Tree } else { reach };
        self.words.insert(Word { text: text.to_vec(), reach });
    }
}

fn is_entering(word: &[u8]) -> bool {
    let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.starts_with(b"python") || ENTERING.iter().any(|known| known.as_bytes() == name)
}

/// The words of a line as a shell divides it, quotes and backslashes taken away; an open quote ends with the line.
pub(super) fn shell_words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut quote = None;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', None | Some(b'"')) => word.extend(bytes.next()),
            (b'"' | b'\'', None) => quote = Some(byte),
            (_, Some(open)) if byte == open => quote = None,
            (_, None) if byte.is_ascii_whitespace() => words.push(std::mem::take(&mut word)),
            (_, None | Some(_)) => word.push(byte),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// The line, divided at everything that a shell gives a meaning to: what is in `sh -c '…'`, behind `$VARIABLE`, `--file=` or
/// a redirection. A path after a variable begins with its slash.
fn pieces(line: &[u8]) -> Vec<Vec<u8>> {
    let divides = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`;|&()<>{}$=,:\\".contains(byte);
    let mut pieces: Vec<Vec<u8>> = line.split(divides).filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec).collect();
    // `$HOME/x`: the variable's name is part of its piece.
    let behind: Vec<Vec<u8>> = line
        .split(|byte| *byte == b'$')
        .skip(1)
        .filter_map(|after| {
            let name = after.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
            let rest = after.get(name..)?;
            let end = rest.iter().position(divides).unwrap_or(rest.len());
            (rest.first() == Some(&b'/')).then(|| rest[..end].to_vec())
        })
        .collect();
    pieces.extend(behind);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<(String, Reach)> {
        let words = of_command(line.as_bytes()).unwrap();
        words.words.into_iter().map(|word| (String::from_utf8(word.text).unwrap(), word.reach)).collect()
    }

    #[test]
    fn every_part_of_a_command_line_that_may_be_a_path_is_found() {
        for (line, path) in [
            ("!scripts/x", "scripts/x"),
            ("!sh -c './scripts/x --flag'", "./scripts/x"),
            ("\"my tools/run me\" --now", "my tools/run me"),
            ("my\\ tools/run", "my tools/run"),
            ("!f() { scripts/x \"$@\"; }; f", "scripts/x"),
            ("!$(git rev-parse --show-toplevel)/scripts/x", "/scripts/x"),
            ("!\"$GIT_DIR/../scripts/x\"", "/../scripts/x"),
            ("!${GIT_PREFIX:-.}/x", "/x"),
            ("!`pwd`/scripts/x", "/scripts/x"),
            ("store --file=./secrets/x", "./secrets/x"),
            ("PATH=./bin:$PATH x", "./bin"),
            ("!cat<scripts/x", "scripts/x"),
            ("!for f in scripts/*.sh; do sh $f; done", "scripts/"),
            ("!make -Ctools/ci", "tools/ci"),
            ("ext::./scripts/x %S", "./scripts/x"),
            ("!python3 -m tools.check", "tools/check.py"),
            ("~/work/x", "~/work/x"),
            ("!\"unclosed/quote", "unclosed/quote"),
        ] {
            let found = texts(line);
            assert!(found.contains(&(path.to_owned(), Reach::Tree)), "{line}: {found:?}");
        }
    }

    #[test]
    fn a_bare_word_is_a_name_and_what_is_entered_is_a_folder() {
        let found = texts("!cargo test && cd tools && node entry");
        assert!(found.contains(&("test".into(), Reach::Name)) && !found.contains(&("test".into(), Reach::Tree)));
        assert!(found.contains(&("tools".into(), Reach::Tree)) && found.contains(&("entry".into(), Reach::Tree)));
        assert!(of_command(b"cd tools").unwrap().entered.contains(b"tools".as_slice()));
    }

    #[test]
    fn nothing_and_too_much_are_answered() {
        for line in ["", " ", "!", "\"\"", "''", "\\", "$", "-", "--", "=", "*", "\0"] {
            assert!(of_command(line.as_bytes()).is_some(), "{line:?}");
        }
        let long: String = (0..=MOST_PARTS).map(|number| format!("a{number} ")).collect();
        assert_eq!(of_command(long.as_bytes()), None);
    }

    #[test]
    fn a_setting_counts_unless_it_is_known_to_run_nothing() {
        let of = |text: &str| meaning(&super::super::config::parse(text.as_bytes()).unwrap()[0]);
        for (text, expected) in [
            ("[core] hooksPath = x", Meaning::Hooks),
            ("[CORE] HOOKSPATH = x", Meaning::Hooks),
            ("[includeIf \"onbranch:main\"] path = x", Meaning::Include),
            ("[alias] a = !x", Meaning::Command),
            ("[alias] a = log -- docs/", Meaning::Words),
            ("[something] new = x", Meaning::Command),
            ("[safe] directory = /work/a", Meaning::None),
            ("[remote \"o\"] url = https://example.org/a", Meaning::None),
            ("[remote \"o\"] url = ext::./x", Meaning::Command),
            ("[remote \"o\"] uploadpack = ./x", Meaning::Command),
            ("[submodule \"a\"] update = !./x", Meaning::Command),
            ("[url \"ext::./x\"] insteadOf = a:", Meaning::Address),
            ("[branch \"main\"] merge = refs/heads/main", Meaning::None),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }
}
