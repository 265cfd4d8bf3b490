//! Which words of a text that a shell reads may be paths of something that it runs.
//!
//! A shell's grammar is not followed to the letter. A text is divided into lines, and these into commands. Words of a
//! command that is known to run nothing that they name (`grep x src`, `eslint src`) do not count, unless the line
//! hands on what such a command says to one that is not known so (`cat x | sh`), or the text runs what a variable
//! says. Expansions are kept as gaps in a word: `hooks/$name` may be any file of `hooks`. What is not understood
//! counts.
//!
//! All work is bounded by the length of the text.

/// What stands for an expansion: of a variable, of a command's output, of one of several words in braces.
pub(super) const GAP: u8 = 1;

/// Programs that run and change nothing that their arguments name, and write it nowhere but to their output, and words of a
/// shell that run nothing.
const READING: &[&str] = &[
    ":", "[", "[[", "basename", "break", "case", "cat", "cmp", "comm", "continue", "cut", "date", "diff", "dirname",
    "done", "du", "echo", "egrep", "esac", "exit", "expr", "false", "fgrep", "fi", "fold", "for", "grep", "head",
    "hostname", "id", "in", "join", "ls", "mkdir", "nl", "paste", "printf", "pwd", "read", "readlink", "realpath",
    "return", "rev", "rm", "rmdir", "seq", "set", "shift", "sleep", "sort", "stat", "tac", "[[", "tail", "test",
    "touch", "tr", "true", "type", "uname", "uniq", "unset", "wait", "wc", "which", "}",
];

/// Programs whose arguments are sources that they check or rewrite and do not run; values of their options may be programs.
const CHECKING: &[&str] = &[
    "biome",
    "black",
    "clang-format",
    "clang-tidy",
    "codespell",
    "cppcheck",
    "cpplint",
    "cspell",
    "dprint",
    "eslint",
    "eslint_d",
    "flake8",
    "gofmt",
    "gofumpt",
    "goimports",
    "golangci-lint",
    "hadolint",
    "isort",
    "ktlint",
    "luacheck",
    "markdownlint",
    "markdownlint-cli2",
    "mypy",
    "oxlint",
    "phpcs",
    "phpcbf",
    "prettier",
    "pycodestyle",
    "pyflakes",
    "pylint",
    "pyright",
    "rubocop",
    "ruff",
    "rustfmt",
    "shellcheck",
    "shfmt",
    "standard",
    "stylelint",
    "stylua",
    "swiftformat",
    "swiftlint",
    "taplo",
    "tsc",
    "typos",
    "xo",
    "yamllint",
    "yapf",
];

/// Their options without a value.
const FLAGS: &[&str] = &[
    "--",
    "--check",
    "--diff",
    "--fix",
    "--ignore-unknown",
    "--in-place",
    "--list-different",
    "--no-emit",
    "--noEmit",
    "--quiet",
    "--staged",
    "--write",
    "-d",
    "-i",
    "-l",
    "-q",
    "-u",
    "-w",
];

/// Commands of git's that start nothing that their words name.
const OF_GIT: &[&str] = &[
    "add",
    "branch",
    "checkout",
    "commit",
    "diff",
    "diff-files",
    "diff-index",
    "diff-tree",
    "log",
    "ls-files",
    "merge-base",
    "reset",
    "restore",
    "rev-list",
    "rev-parse",
    "show",
    "stash",
    "status",
    "symbolic-ref",
    "tag",
];

/// Words before a command.
const BEFORE: &[&str] = &[
    "!", "builtin", "bunx", "command", "do", "elif", "else", "exec", "if", "nice", "nohup", "npx", "then", "time",
    "until", "while", "{", "export", "local", "readonly", "declare", "typeset",
];

/// Pairs of words before a command.
const TWO_BEFORE: &[(&str, &str)] =
    &[("bundle", "exec"), ("npm", "exec"), ("pnpm", "exec"), ("poetry", "run"), ("uv", "run"), ("yarn", "run")];

/// Options of `xargs` that take the word that follows, xargs(1).
const OF_XARGS: &[&str] = &["-d", "-E", "-I", "-L", "-n", "-P", "-s"];

/// Programs that run the text, or the file, that they are given.
const INTERPRETERS: &[&str] = &[
    "sh", "bash", "dash", "zsh", "ksh", "node", "nodejs", "deno", "bun", "ruby", "perl", "php", "lua", "tsx", "ts-node",
];

/// A line, and the commands whose output it takes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flat {
    /// The line with a [`GAP`] for each expansion.
    text: Vec<u8>,
    /// The lines in `$(…)`, `` `…` `` and `<(…)`, with gaps too.
    inner: Vec<Vec<u8>>,
    /// What stands in `${…}`.
    values: Vec<Vec<u8>>,
}

/// What is being read of a line.
struct Level {
    opened: Opened,
    text: Vec<u8>,
    quote: Option<u8>,
    /// Open brackets that are only that.
    groups: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    Line,
    Command,
    Backtick,
    Braces,
}

impl Level {
    fn new(opened: Opened) -> Self {
        Self { opened, text: Vec::new(), quote: None, groups: 0 }
    }
}

/// A part of a text to be looked at for paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: Vec<u8>,
    /// Whether a name without a slash may be a folder whose files are run.
    pub(super) feeds: Feeds,
}

/// What becomes of the words of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feeds {
    /// What its command does with them.
    Nothing,
    /// They, or what is in them, are given to an interpreter.
    Interpreter,
    /// They are values of a variable that names a folder somewhere else in the text.
    Folder,
}

/// The parts of a text whose words count.
pub(super) fn parts(text: &[u8]) -> Vec<Part> {
    let whole = joined(text);
    // A comment does not go on, and where one begins is not told for certain.
    let mut parts = if whole == text { Vec::new() } else { parts_of_lines(text) };
    parts.extend(parts_of_lines(&whole));
    parts
}

fn parts_of_lines(text: &[u8]) -> Vec<Part> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    // The first may name an interpreter.
    let lines = lines.map(|line| line.strip_prefix(b"#!").unwrap_or(line));
    let lines = lines.filter(|line| !line.starts_with(b"#") && !line.is_empty());
    let lines: Vec<(&[u8], Flat)> = lines.map(|line| (line, flatten(line))).collect();
    let runs_words = lines.iter().any(|(_, flat)| flat.commands().any(|command| command.runs_a_gap()));
    let enters = lines.iter().any(|(_, flat)| flat.commands().any(|command| command.enters_a_gap()));
    let mut parts = Vec::new();
    for (line, flat) in &lines {
        let commands: Vec<Command<'_>> = flat.commands().collect();
        for listed in commands.iter().map(Command::listed).filter(|listed| enters && !listed.is_empty()) {
            let words: Vec<Vec<u8>> = listed.iter().map(|word| quoted(word)).collect();
            parts.push(Part { text: words.join(&b' '), feeds: Feeds::Folder });
        }
        let is_fed = commands.iter().any(Command::is_fed) || (runs_words && commands.iter().any(Command::lists));
        let feeds = if is_fed { Feeds::Interpreter } else { Feeds::Nothing };
        let is_known = commands.iter().all(|command| command.counting().is_some() || command.divided().1.is_empty());
        let counts = runs_words || is_fed || (!is_known && flat.hands_on());
        let mut text = Vec::new();
        let mut is_whole = true;
        for command in &commands {
            match command.counting().filter(|_| !counts) {
                None => text.extend(command.text),
                Some(words) => {
                    is_whole = false;
                    words.iter().for_each(|word| text.extend([quoted(word), vec![b' ']].concat()));
                }
            }
            text.extend(b" ; ");
        }
        if is_whole {
            parts.push(Part { text: line.to_vec(), feeds });
        }
        parts.push(Part { text, feeds });
        let values = flat.values.iter().filter(|value| value.contains(&b'/'));
        parts.extend(values.map(|value| Part { text: value.clone(), feeds }));
        let defaults =
            flat.values.iter().filter_map(|value| default_in(value).filter(|text| runs_words || text.contains(&b'/')));
        parts.extend(defaults.map(|text| Part { text: text.to_vec(), feeds }));
    }
    parts
}

/// What a variable without a value is taken for: `X:-lint.sh`, `X=lint.sh`.
fn default_in(value: &[u8]) -> Option<&[u8]> {
    let name = value.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let rest = value.get(name..)?;
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    rest.split_first().filter(|(sign, text)| b"-=+".contains(sign) && !text.is_empty()).map(|(_, text)| text)
}

/// A word as it stands in a line.
fn quoted(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_./=:*?[]@+-\x01".contains(byte);
    if word.iter().all(plain) {
        return word.to_vec();
    }
    let mut text = vec![b'"'];
    for byte in word {
        if b"\"\\".contains(byte) {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text.push(b'"');
    text
}

/// The text with lines that go on joined, and line ends as Unix has them.
fn joined(text: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'\\', [b'\n', after @ ..]) | (b'\\', [b'\r', b'\n', after @ ..]) => after,
            _ => {
                joined.push(*first);
                after
            }
        };
    }
    joined
}

fn flatten(line: &[u8]) -> Flat {
    let mut flat = Flat::default();
    let mut levels = vec![Level::new(Opened::Line)];
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        let next = line.get(at + 1).copied();
        at += 1;
        let Some(level) = levels.last_mut() else { break };
        if level.quote == Some(b'\'') {
            level.text.push(byte);
            level.quote = Some(b'\'').filter(|_| byte != b'\'');
            continue;
        }
        let is_quoted = level.quote.is_some();
        match (byte, next) {
            (b'\\', Some(next)) => {
                level.text.extend([byte, next]);
                at += 1;
            }
            (b'\'', _) if !is_quoted && level.opened != Opened::Braces => {
                level.quote = Some(byte);
                level.text.push(byte);
            }
            (b'"', _) if level.opened != Opened::Braces => {
                level.quote = if is_quoted { None } else { Some(byte) };
                level.text.push(byte);
            }
            (b'$', Some(b'(')) => {
                levels.push(Level::new(Opened::Command));
                at += 1;
            }
            (b'<' | b'>', Some(b'(')) if !is_quoted => {
                levels.push(Level::new(Opened::Command));
                at += 1;
            }
            (b'$', Some(b'{')) => {
                levels.push(Level::new(Opened::Braces));
                at += 1;
            }
            (b'$', Some(first)) if first.is_ascii_alphabetic() || first == b'_' => {
                let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
                let length = line.get(at..).unwrap_or_default().iter().take_while(is_name).count();
                let is_begin =
                    level.text.last().is_none_or(|last| last.is_ascii_whitespace() || b"\"=:".contains(last));
                let is_home = &line[at..at + length] == b"HOME" && is_begin;
                level.text.push(if is_home { b'~' } else { GAP });
                at += length;
            }
            (b'$', Some(first)) if first.is_ascii_digit() || b"@*#?!-".contains(&first) => {
                at += 1;
                level.text.push(GAP);
            }
            (b'`', _) if level.opened == Opened::Backtick => close(&mut levels, &mut flat),
            (b'`', _) => levels.push(Level::new(Opened::Backtick)),
            (b'(', _) if !is_quoted => {
                level.groups += 1;
                level.text.push(byte);
            }
            (b')', _) if !is_quoted && level.groups == 0 && level.opened == Opened::Command => {
                close(&mut levels, &mut flat)
            }
            (b')', _) if !is_quoted => {
                level.groups = level.groups.saturating_sub(1);
                level.text.push(byte);
            }
            (b'}', _) if level.opened == Opened::Braces => close(&mut levels, &mut flat),
            _ => level.text.push(byte),
        }
    }
    while levels.len() > 1 {
        close(&mut levels, &mut flat);
    }
    flat.text = levels.pop().map(|level| braced(&level.text)).unwrap_or_default();
    flat
}

/// Ends the last level: what is around it has a gap there.
fn close(levels: &mut Vec<Level>, flat: &mut Flat) {
    let Some(Level { opened, text, .. }) = levels.pop() else { return };
    match opened {
        Opened::Braces => flat.values.push(text),
        Opened::Command | Opened::Backtick | Opened::Line => flat.inner.push(braced(&text)),
    }
    if let Some(around) = levels.last_mut() {
        around.text.push(GAP);
    }
}

/// The line with a gap for each `{a,b}`.
fn braced(line: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, after)) = rest.split_first() {
        let end = (*first == b'{')
            .then(|| after.iter().position(|byte| byte.is_ascii_whitespace() || b"{}\"'".contains(byte)))
            .flatten()
            .filter(|end| after[*end] == b'}' && after[..*end].iter().any(|byte| b",.".contains(byte)));
        rest = match end {
            Some(end) => {
                text.push(GAP);
                &after[end + 1..]
            }
            None => {
                text.push(*first);
                after
            }
        };
    }
    text
}

/// A command of a line.
struct Command<'a> {
    text: &'a [u8],
    words: Vec<Vec<u8>>,
    /// Whether it reads what another one says.
    is_piped: bool,
}

impl Flat {
    fn commands(&self) -> impl Iterator<Item = Command<'_>> {
        [&self.text].into_iter().chain(&self.inner).flat_map(|line| commands(line))
    }

    /// Whether what a command says may go elsewhere than to the person.
    fn hands_on(&self) -> bool {
        !self.inner.is_empty() || self.commands().any(|command| command.is_piped || command.writes())
    }
}

/// The commands of a line with gaps.
fn commands(line: &[u8]) -> Vec<Command<'_>> {
    let (mut commands, mut begin, mut quote, mut is_piped) = (Vec::new(), 0, None, false);
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        let before = at.checked_sub(1).and_then(|before| line.get(before)).copied();
        let next = line.get(at + 1).copied();
        let is_redirection = byte == b'&' && (matches!(before, Some(b'>' | b'<')) || next == Some(b'>'));
        match (byte, quote) {
            (b'\\', None | Some(b'"')) => at += 1,
            (b'"' | b'\'', None) => quote = Some(byte),
            (_, Some(open)) if byte == open => quote = None,
            (b';' | b'&' | b'|' | b'(' | b')', None) if !is_redirection => {
                add(&mut commands, &line[begin..at], is_piped);
                is_piped = match (byte, next) {
                    (b'|', Some(b'|')) => {
                        at += 1;
                        false
                    }
                    // What it says of errors too.
                    (b'|', Some(b'&')) => {
                        at += 1;
                        true
                    }
                    (b'|', _) => true,
                    // `cat x | (sh)`, `a | { sh; }`.
                    (b'(', _) => is_piped,
                    _ => false,
                };
                begin = at + 1;
            }
            (_, None | Some(_)) => {}
        }
        at += 1;
    }
    add(&mut commands, line.get(begin..).unwrap_or_default(), is_piped);
    commands
}

fn add<'a>(commands: &mut Vec<Command<'a>>, text: &'a [u8], is_piped: bool) {
    let words = super::words::shell_words(text);
    if !words.is_empty() {
        commands.push(Command { text, words, is_piped });
    }
}

fn is_one_of(word: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| known.as_bytes() == word)
}

/// Whether it is what a variable says and no more than folders: `$x`, `./$x`, `$d/$x`.
fn is_any(word: &[u8]) -> bool {
    word.contains(&GAP) && word.iter().all(|byte| [GAP, b'.', b'/'].contains(byte))
}

fn is_assignment(word: &[u8]) -> bool {
    let name = word.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let rest = word.get(name..).unwrap_or_default();
    name > 0 && (rest.starts_with(b"=") || rest.starts_with(b"+="))
}

fn is_interpreter(word: &[u8]) -> bool {
    let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.starts_with(b"python") || name.starts_with(b"pypy") || is_one_of(name, INTERPRETERS)
}

/// Whether an option of `awk`, `jq` or `sed` says that the program is in a file: `-f x`, `-nf x`, `--file=x`.
fn takes_a_file(word: &[u8]) -> bool {
    word.starts_with(b"--f") || (word.starts_with(b"-") && !word.starts_with(b"--") && word.contains(&b'f'))
}

/// Whether a program for `awk` starts others: `system("x")`, `print | "x"`, `"x" | getline`.
fn starts_another(word: &[u8]) -> bool {
    word.windows(6).any(|part| part == b"system")
        || word
            .split(|byte| *byte == b'|')
            .skip(1)
            .any(|part| part.contains(&b'"') || part.windows(7).any(|part| part == b"getline"))
}

impl Command<'_> {
    /// The words of it that may be run; `None` when all may.
    fn counting(&self) -> Option<Vec<Vec<u8>>> {
        let (before, rest) = self.divided();
        let (first, arguments) = match rest.split_first() {
            Some((first, arguments)) => (first.as_slice(), arguments),
            // Only variables are given values, which others may use.
            None if before.iter().any(|word| is_assignment(word)) => return None,
            None => return Some(before),
        };
        let has = |known: &[&str]| arguments.iter().any(|word| is_one_of(word, known));
        let name = first.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let is_installed = first == name || first.windows(18).any(|part| part == b"node_modules/.bin/");
        let harmless = is_one_of(first, READING)
            || (first == b"git" && arguments.first().is_some_and(|word| is_one_of(word, OF_GIT)))
            || (first == b"find" && !has(&["-exec", "-execdir", "-ok", "-okdir", "-fprintf", "-fprint", "-fls"]))
            || (is_one_of(first, &["awk", "jq", "sed"])
                && !arguments.iter().any(|word| takes_a_file(word) || (first == b"awk" && starts_another(word))));
        if harmless {
            return Some(before);
        }
        if is_installed && is_one_of(name, CHECKING) {
            return Some([before, options(arguments)].concat());
        }
        if first == b"cargo" && arguments.first().is_some_and(|word| is_one_of(word, &["run", "r", "test", "t"])) {
            // What follows `--` are arguments of a program that is built from the sources.
            let end = arguments.iter().position(|word| word == b"--")?;
            return Some([before.as_slice(), &rest[..=end]].concat());
        }
        if first == b"make" && !arguments.iter().any(|word| word.starts_with(b"-") || word.contains(&b'=')) {
            // Targets: what they run is what its file of rules says.
            return Some([before, vec![first.to_vec()]].concat());
        }
        None
    }

    /// The words before the program that count, and the program with its arguments.
    fn divided(&self) -> (Vec<Vec<u8>>, &[Vec<u8>]) {
        let (mut before, mut rest) = (Vec::new(), self.words.as_slice());
        while let Some((first, after)) = rest.split_first() {
            if is_assignment(first) {
                before.push(first.clone());
                rest = after;
            } else if is_one_of(first, BEFORE) {
                rest = after;
                while let Some((option, after)) = rest.split_first().filter(|(word, _)| word.starts_with(b"-")) {
                    before.push(option.clone());
                    rest = after;
                }
            } else if let Some(second) = after.first()
                && TWO_BEFORE.iter().any(|two| (two.0.as_bytes(), two.1.as_bytes()) == (first, second))
            {
                rest = &after[1..];
            } else if is_interpreter(first)
                && after.first().is_some_and(|option| option == b"-m")
                && after.get(1).is_some_and(|module| is_one_of(module, CHECKING))
            {
                before.extend_from_slice(&rest[..3]);
                rest = &after[1..];
            } else if first == b"xargs" {
                rest = after;
                while let Some((option, after)) = rest.split_first().filter(|(word, _)| word.starts_with(b"-")) {
                    let takes_one = is_one_of(option, OF_XARGS);
                    // A list of words in a file.
                    if option.starts_with(b"-a") || option.starts_with(b"--") {
                        return (before, &self.words);
                    }
                    rest = if takes_one { after.get(1..).unwrap_or_default() } else { after };
                }
                if rest.is_empty() {
                    // `echo`, xargs(1).
                    return (before, &[]);
                }
            } else {
                break;
            }
        }
        (before, rest)
    }

    /// Whether it runs what a variable or another command says.
    fn runs_a_gap(&self) -> bool {
        let (_, rest) = self.divided();
        let Some((first, arguments)) = rest.split_first() else { return false };
        let mut arguments = arguments.iter().filter(|word| !word.starts_with(b"-") && !word.starts_with(b"+"));
        let takes_a_gap = is_interpreter(first) || is_one_of(first, &[".", "source", "eval"]);
        is_any(first) || (takes_a_gap && arguments.next().is_some_and(|word| is_any(word)))
    }

    /// Whether it goes into a folder that a variable says, or runs something there: `cd $d`, `$d/x`, `sh $d/x`.
    fn enters_a_gap(&self) -> bool {
        let (_, rest) = self.divided();
        let Some((first, arguments)) = rest.split_first() else { return false };
        let is_below = |word: &[u8]| word.starts_with(&[GAP, b'/']);
        let goes = is_one_of(first, &["cd", "pushd"]) && arguments.iter().any(|word| word.contains(&GAP));
        goes || is_below(first) || (is_interpreter(first) && arguments.iter().any(|word| is_below(word)))
    }

    /// What `for` goes through.
    fn listed(&self) -> &[Vec<u8>] {
        match self.words.as_slice() {
            [first, _, second, listed @ ..] if first == b"for" && second == b"in" => listed,
            _ => &[],
        }
    }

    /// Whether it is an interpreter that is given what other words of the line say.
    fn is_fed(&self) -> bool {
        let is_last = |at: usize| {
            self.words.get(at + 1..).unwrap_or_default().iter().all(|word| word.starts_with(b"-") || word == b"{}")
        };
        let of_find = self.words.iter().position(|word| is_one_of(word, &["-exec", "-execdir", "-ok", "-okdir"]));
        if let Some(run) = of_find.and_then(|at| self.words.get(at + 1)) {
            return is_interpreter(run) || run == b"{}";
        }
        let (_, rest) = self.divided();
        let Some(first) = rest.first() else { return false };
        let at = self.words.len() - rest.len();
        let is_of_xargs = self.words.iter().take(at).any(|word| word == b"xargs");
        first == b"run-parts"
            || (is_interpreter(first) && (is_of_xargs || (self.is_piped && is_last(at))))
            || (self.is_piped && first == b"eval")
    }

    /// Whether it says which files there are.
    fn lists(&self) -> bool {
        let (_, rest) = self.divided();
        let first = rest.first().map(Vec::as_slice).unwrap_or_default();
        is_one_of(first, &["find", "ls", "fd"])
            || (first == b"git" && rest.get(1).is_some_and(|word| word == b"ls-files"))
    }

    /// Whether it writes elsewhere than to the person or to nothing.
    fn writes(&self) -> bool {
        let mut quote = None;
        let mut rest = self.text;
        while let Some((&byte, after)) = rest.split_first() {
            match (byte, quote) {
                (b'"' | b'\'', None) => quote = Some(byte),
                (_, Some(open)) if byte == open => quote = None,
                (b'>', None) => {
                    let target = after.strip_prefix(b">").unwrap_or(after).trim_ascii_start();
                    let is = |name: &[u8]| {
                        let rest = target.strip_prefix(name);
                        rest.is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
                    };
                    let is_no_file = is(b"/dev/null") || is(b"/dev/stderr") || target.starts_with(b"&");
                    if !is_no_file {
                        return true;
                    }
                }
                (_, None | Some(_)) => {}
            }
            rest = after;
        }
        false
    }
}

/// The options of a program and the words that follow one and may be its value.
fn options(arguments: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    let mut is_value = false;
    for word in arguments {
        let is_option = word.starts_with(b"-");
        if is_option || is_value {
            kept.push(word.clone());
        }
        is_value = is_option && !word.contains(&b'=') && !is_one_of(word, FLAGS);
    }
    kept
}
