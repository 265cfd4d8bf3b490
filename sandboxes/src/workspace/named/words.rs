//! Which words of a setting could be paths that git, or a program that it starts, reads or runs.
//!
//! A setting counts unless it is listed as one whose value is executed nowhere: git learns new ones, and other programs
//! keep theirs in the same files. A value that is a command line is taken apart in more ways than a shell would, and
//! each part counts. A path too many costs a look.

use std::collections::BTreeSet;

use super::{
    config::Setting,
    script::{self, Feeds, GAP, Part},
};

/// Parts of one value that are looked at. A value with more holds everything.
const MOST_PARTS: usize = 4000;

/// Parts of one hook that are looked at. A hook with more holds everything.
const MOST_OF_HOOK: usize = 20_000;

/// The longest path that programs can ask Linux for, in bytes (`PATH_MAX` of `limits.h`).
const LONGEST: usize = 4096;

/// How deep the values that a line gives to variables may hold others, on the average of its letters.
const MOST_NESTED: usize = 8;

/// Variables that name folders from which programs or modules are taken, or files with more settings.
const TAKING: &[&str] = &[
    "BASH_ENV",
    "CDPATH",
    "ENV",
    "GEM_PATH",
    "GIT_EXEC_PATH",
    "GIT_TEMPLATE_DIR",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NODE_PATH",
    "PATH",
    "PERL5LIB",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "ZDOTDIR",
];

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
    "gitflow",
    "gui",
    "http",
    "index",
    "init",
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

/// Words after which a bare name is a folder that the words after it may be relative to.
const GOING: &[&str] = &["-C", "--chdir", "--directory", "--prefix", "--template", "cd", "pushd"];

/// Words after which a bare name is a program, or a folder with one, though a folder of that name is there.
const STARTING: &[&str] = &[
    "-m", ".", "source", "sh", "bash", "dash", "zsh", "ksh", "node", "nodejs", "deno", "bun", "ruby", "perl", "php",
    "lua",
];

/// Options of those that take the word that follows.
const VALUED: &[&str] = &["-o", "-O", "-W", "-X", "-r", "-I", "-M", "-u"];

/// What a module of Python may be stored as: its name, a dot, and what ends with one of these.
pub(super) const MODULE_ENDS: [&str; 4] = [".py", ".pyc", ".so", ".pyd"];

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
    /// Folders that it goes into or that a variable keeps, from which its other words may count.
    pub(super) entered: BTreeSet<Vec<u8>>,
    /// Folders, or patterns of them, that a loop may go into; nothing else is said of them.
    pub(super) walked: BTreeSet<Vec<u8>>,
    /// What an interpreter or a shell is given as its program.
    pub(super) programs: BTreeSet<Vec<u8>>,
    /// Modules of Python, as a path without an end.
    pub(super) modules: BTreeSet<Vec<u8>>,
    /// Patterns of a shell, for files that it does not itself name.
    pub(super) patterns: BTreeSet<Vec<u8>>,
    /// Folders and files of which everything counts: programs and modules are looked for in them.
    pub(super) roots: BTreeSet<Vec<u8>>,
    /// A pattern is longer than any path, and may mean a short one.
    is_overlong: bool,
}

pub(super) fn meaning(setting: &Setting) -> Meaning {
    let is_command = |value: &[u8]| value.windows(2).any(|two| two == b"::");
    match (setting.section.as_str(), setting.key.as_str()) {
        ("include" | "includeif", "path") => Meaning::Include,
        ("core", "hookspath") => Meaning::Hooks,
        // git-flow's own hooks.
        ("gitflow", "hooks") if setting.subsection == b"path" => Meaning::Hooks,
        ("core", "worktree") => Meaning::WorkTree,
        ("core", "attributesfile" | "excludesfile") | ("init", "templatedir") => Meaning::Path,
        ("alias", _) if !setting.value.starts_with(b"!") || of_git(&setting.value).is_some() => Meaning::Words,
        ("branch", "remote" | "pushremote") if is_command(&setting.value) => Meaning::Command,
        ("url", _) if is_command(&setting.subsection) => Meaning::Address,
        ("url", _) => Meaning::None,
        ("remote" | "submodule", "url" | "pushurl") if is_command(&setting.value) => Meaning::Command,
        ("remote" | "submodule", "url" | "pushurl") => Meaning::None,
        ("remote" | "submodule", key) if HARMLESS_OF_OTHERS.contains(&key) => Meaning::None,
        (section, _) if HARMLESS_SECTIONS.contains(&section) => Meaning::None,
        _ if is_plain(&setting.value) => Meaning::None,
        _ => Meaning::Command,
    }
}

/// Whether a value is one that git takes for a boolean or a number (git-config(1), "Values").
fn is_plain(value: &[u8]) -> bool {
    let is_boolean =
        ["true", "false", "yes", "no", "on", "off"].iter().any(|known| value.eq_ignore_ascii_case(known.as_bytes()));
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let digits =
        digits.strip_suffix(b"k").or(digits.strip_suffix(b"m")).or(digits.strip_suffix(b"g")).unwrap_or(digits);
    is_boolean || digits.iter().all(u8::is_ascii_digit)
}

/// The words of an alias that has a shell start git, and does nothing else.
pub(super) fn of_git(value: &[u8]) -> Option<&[u8]> {
    let words = value.strip_prefix(b"!")?.trim_ascii().strip_prefix(b"git ")?;
    (!words.iter().any(|byte| b";|&$`<>(){}\n".contains(byte))).then_some(words)
}

/// Takes a command line apart; `None` when it has too many parts.
pub(super) fn of_command(line: &[u8]) -> Option<Words> {
    let mut words = Words::default();
    // Not every program of a setting is started by a shell: then the whole is one path, with its spaces.
    for whole in of_path(line.trim_ascii()) {
        words.add(&whole, Reach::Name);
    }
    words.extend(of_text(line.trim_ascii().strip_prefix(b"!").unwrap_or(line), MOST_PARTS)?);
    words.is_bounded(MOST_PARTS).then_some(words)
}

/// Takes a hook's text apart; `None` when it has too many parts.
pub(super) fn of_hook(text: &[u8]) -> Option<Words> {
    of_text(text, MOST_OF_HOOK)
}

fn of_text(text: &[u8], most: usize) -> Option<Words> {
    let mut words = Words::default();
    for Part { text, feeds } in script::parts(text) {
        let mut part = Words::default();
        if feeds == Feeds::Folder {
            shell_words(&text).iter().for_each(|word| part.keep(|words| &mut words.walked, word));
            words.extend(part);
            continue;
        }
        for spoken in [shell_words(&text), pieces(&text)] {
            part.add_spoken(&spoken, feeds);
            if !part.is_bounded(MOST_PARTS) {
                return None;
            }
        }
        part.add_assigned(&text)?;
        words.extend(part);
        if !words.is_bounded(most) {
            return None;
        }
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
    /// Whether it has no more parts than `most`, and no pattern that is longer than what it may mean.
    fn is_bounded(&self, most: usize) -> bool {
        let sets = [&self.entered, &self.walked, &self.programs, &self.modules, &self.patterns, &self.roots];
        !self.is_overlong && self.words.len() + sets.iter().map(|set| set.len()).sum::<usize>() <= most
    }

    /// Bytes of all parts.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let sets = [&self.entered, &self.walked, &self.programs, &self.modules, &self.patterns, &self.roots];
        let of_sets = sets.iter().flat_map(|set| set.iter()).map(Vec::len).sum::<usize>();
        of_sets + self.words.iter().map(|word| word.text.len()).sum::<usize>()
    }

    /// Whether it has no more parts than are looked at for one value.
    pub(super) fn is_of_one_value(&self) -> bool {
        self.is_bounded(MOST_PARTS)
    }

    /// Adds what another part of the same value says.
    pub(super) fn extend(&mut self, other: Self) {
        self.words.extend(other.words);
        self.entered.extend(other.entered);
        self.walked.extend(other.walked);
        self.programs.extend(other.programs);
        self.modules.extend(other.modules);
        self.patterns.extend(other.patterns);
        self.roots.extend(other.roots);
        self.is_overlong |= other.is_overlong;
    }

    /// Adds the words of a line in turn.
    fn add_spoken(&mut self, spoken: &[Vec<u8>], feeds: Feeds) {
        // What the word before says of the next one, and how many words that may be.
        let mut enters: Option<(Enters, usize)> = None;
        let mut is_module = false;
        for word in spoken {
            if !self.is_bounded(MOST_PARTS) {
                return;
            }
            if feeds == Feeds::Interpreter && !word.starts_with(b"-") {
                self.keep(|words| &mut words.programs, word);
                self.add(word, Reach::Tree);
            }
            let entered = enters.filter(|_| !word.starts_with(b"-") && !word.starts_with(b"+"));
            self.add(word, if enters.is_some() { Reach::Tree } else { Reach::Name });
            if let Some((how, _)) = entered {
                self.keep(|words| &mut words.entered, word);
                // A path behind a variable or a command is a piece of the word.
                for piece in pieces(word).into_iter().filter(|piece| piece.starts_with(b"/")) {
                    self.keep(|words| &mut words.entered, &piece);
                }
                if how == Enters::Program {
                    self.keep(|words| &mut words.programs, word);
                }
            }
            if let Some(folder) = word.strip_prefix(b"-C").filter(|folder| !folder.is_empty()) {
                self.add(folder, Reach::Tree);
                self.keep(|words| &mut words.entered, folder);
            }
            if is_module {
                self.add_module(word);
            }
            let module = module_of(word);
            is_module = module.is_some_and(<[u8]>::is_empty);
            self.add_module(module.unwrap_or_default());
            enters = match (Enters::after(word), enters) {
                (Some(how), _) => Some((how, 1)),
                // `bash -c 'x'` and `perl -e 'x'` give a text, no file.
                (None, Some(_)) if is_text_next(word) => None,
                (None, Some((how, left))) if word.starts_with(b"-") || word.starts_with(b"+") => {
                    let takes_one = VALUED.iter().any(|option| option.as_bytes() == word);
                    // `bash -euo pipefail`.
                    let ends_with_one = !word.starts_with(b"--") && word.len() > 2 && word.ends_with(b"o");
                    Some((how, left + usize::from(takes_one || ends_with_one)))
                }
                (None, Some((how, left))) if left > 1 => Some((how, left - 1)),
                (None, _) => None,
            };
        }
    }

    /// Adds a module of Python: `python -m a.b` runs `a/b.py` or `a/b/__main__.py`, after `a/__init__.py`.
    fn add_module(&mut self, name: &[u8]) {
        let is_name = |part: &[u8]| {
            let begins =
                part.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_' || *first >= 0x80);
            begins && part.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)
        };
        if name.len() > LONGEST || !name.split(|byte| *byte == b'.').all(is_name) {
            return;
        }
        let mut path: Vec<u8> = Vec::new();
        for part in name.split(|byte| *byte == b'.') {
            if !path.is_empty() {
                self.modules.insert([&path, b"/__init__".as_slice()].concat());
                path.push(b'/');
            }
            path.extend(part);
            self.modules.insert(path.clone());
        }
        self.add(&[path.as_slice(), b".py"].concat(), Reach::Tree);
        self.add(&path, Reach::Tree);
        self.programs.insert(path);
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
        let is_wild = |byte: &u8| b"*?[".contains(byte) || *byte == GAP;
        if word.len() > LONGEST {
            self.is_overlong |= word.iter().any(is_wild);
            return;
        }
        if let Some(pattern) = pattern_of(word, reach) {
            self.patterns.insert(pattern);
        }
        // A pattern means any name in its folder.
        let text = match word.iter().position(is_wild) {
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

    /// Keeps a word, if it can be a path.
    fn keep(&mut self, set: impl FnOnce(&mut Self) -> &mut BTreeSet<Vec<u8>>, word: &[u8]) {
        if !word.is_empty() && word.len() <= LONGEST && !word.contains(&0) {
            set(self).insert(word.to_vec());
        }
    }

    /// Adds the values that variables are given in a line: `d=tools`, `D="$ROOT/tools"`. `None` when they are too many.
    fn add_assigned(&mut self, line: &[u8]) -> Option<()> {
        for (name, value) in assigned(line)? {
            if TAKING.iter().any(|taking| taking.as_bytes() == name) || name.starts_with(b"GIT_CONFIG_VALUE_") {
                for folder in shell_words(&value).iter().flat_map(|word| word.split(|byte| *byte == b':')) {
                    let is_gap = |word: &[u8]| word.iter().all(|byte| *byte == GAP || *byte == b'$');
                    // What it was before.
                    if !is_gap(folder) && !folder.starts_with(b"$") {
                        self.keep(|words| &mut words.roots, folder);
                    }
                }
            }
            for value in pieces(&value).iter().chain(&shell_words(&value)).filter(|value| !value.starts_with(b"-")) {
                self.keep(|words| &mut words.entered, value);
            }
        }
        Some(())
    }
}

/// The pattern that a word is, with its gaps; `None` for one that means any name anywhere.
fn pattern_of(word: &[u8], reach: Reach) -> Option<Vec<u8>> {
    let is_glob = word.iter().any(|byte| b"*?[".contains(byte));
    let has_gap = word.contains(&GAP);
    // A bare word with a gap is a text far more often than a path.
    let counts = is_glob || (has_gap && (word.contains(&b'/') || reach == Reach::Tree));
    let mut pattern: Vec<u8> = word.iter().map(|byte| if *byte == GAP { b'*' } else { *byte }).collect();
    pattern.dedup_by(|one, other| *one == b'*' && *other == b'*');
    // What stands behind a variable may be in any folder.
    let behind = pattern.strip_prefix(b"*").filter(|rest| has_gap && rest.starts_with(b"/"));
    let pattern = behind.map(<[u8]>::to_vec).unwrap_or(pattern);
    (counts && (pattern.contains(&b'/') || has_literal(&pattern)) && !pattern.contains(&0)).then_some(pattern)
}

/// Whether a pattern says anything of the names that it means. `[…]` stands for one letter, whatever is in it.
pub(super) fn has_literal(pattern: &[u8]) -> bool {
    let mut in_brackets = false;
    pattern.iter().any(|byte| {
        in_brackets = if in_brackets { *byte != b']' } else { *byte == b'[' };
        !in_brackets && !b"*?]./".contains(byte)
    })
}

/// What a word says of the one that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enters {
    /// It is a folder.
    Folder,
    /// It is a program.
    Program,
}

impl Enters {
    fn after(word: &[u8]) -> Option<Self> {
        let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let is_one_of = |known: &[&str]| known.iter().any(|known| known.as_bytes() == name);
        if is_one_of(GOING) {
            return Some(Self::Folder);
        }
        (name.starts_with(b"python") || name.starts_with(b"pypy") || is_one_of(STARTING)).then_some(Self::Program)
    }
}

/// Whether an option of an interpreter says that the next word is its text: `-c`, `-ec`, `-e` of perl.
fn is_text_next(word: &[u8]) -> bool {
    word.starts_with(b"-") && !word.starts_with(b"--") && (word.ends_with(b"c") || word == b"-E")
}

/// The module of Python that an option runs; empty when it is the next word. Before the `m` may stand flags without a value
/// (`python3 --help`).
fn module_of(word: &[u8]) -> Option<&[u8]> {
    let flags = word.strip_prefix(b"-")?;
    let at = flags.iter().position(|flag| *flag == b'm')?;
    flags[..at].iter().all(|flag| b"bBdEhiIOPqRsStuvVx?".contains(flag)).then(|| &flags[at + 1..])
}

/// The variables that are given a value in a line, and the values; `None` when there are too many.
fn assigned(line: &[u8]) -> Option<Vec<(&[u8], Vec<u8>)>> {
    let (mut values, mut kept) = (Vec::new(), 0);
    for (equal, _) in line.iter().enumerate().filter(|(_, byte)| **byte == b'=') {
        let before = line[..equal].strip_suffix(b"+").unwrap_or(&line[..equal]);
        let name = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        let begin = before.len() - name;
        let is_first =
            begin == 0 || line[begin - 1].is_ascii_whitespace() || b";&|(){}!'\"`".contains(&line[begin - 1]);
        if name == 0 || !is_first || line[begin].is_ascii_digit() {
            continue;
        }
        let (mut quote, mut depth) = (None, 0_usize);
        let ends = |byte: &u8| {
            match (*byte, quote) {
                (b'"' | b'\'', None) => quote = Some(*byte),
                (byte, Some(open)) if byte == open => quote = None,
                (b'(', _) => depth += 1,
                (b')', _) if depth > 0 => depth -= 1,
                (byte, None) if depth == 0 => return byte.is_ascii_whitespace() || b";&|)".contains(&byte),
                _ => {}
            }
            false
        };
        // A value may hold others: without these bounds the work would grow with the square of the line.
        let value = &line[equal + 1..line.len().min(equal + 1 + LONGEST)];
        let end = value.iter().position(ends).unwrap_or(value.len());
        values.push((&before[begin..], value[..end].to_vec()));
        kept += end;
        if values.len() > MOST_PARTS || kept > MOST_NESTED * line.len() {
            return None;
        }
    }
    Some(values)
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
    let divides = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`;|&()<>{}$=,:\\\x01".contains(byte);
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
