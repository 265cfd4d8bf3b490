//! What `scripts.test` of a `package.json` runs, as far as it can be told without a shell.

use serde_json::Value;

/// What the test script of a package comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Script {
    /// There is none.
    Missing,
    /// It runs node's own test runner.
    Node(NodeCommand),
    /// It runs something else, which is not known here.
    Other {
        /// The programs.
        program: String,
    },
}

/// An invocation of node's test runner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NodeCommand {
    /// Options before the files, without reporters.
    pub(super) options: Vec<String>,
    /// Files and globs; whether each was quoted, so that no shell would expand it.
    pub(super) files: Vec<(String, Quoting)>,
    /// What else the script runs, which is not done here.
    pub(super) besides: Vec<String>,
}

/// Whether a word of a script was quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// A shell would expand globs in it.
    Bare,
    /// A shell would hand it on as it is.
    Quoted,
}

/// Scripts that are followed from one to another at most.
const DEPTH: usize = 4;

/// Programs that only wrap node: coverage and environment.
const WRAPPERS: [&str; 5] = ["c8", "nyc", "cross-env", "env", "npx"];

/// Options of node that take their value as the next word.
const WITH_VALUE: [&str; 8] =
    ["-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions", "--test-concurrency"];

/// Reads the test script of a `package.json`.
pub(super) fn read(package: &Value) -> Script {
    let Some(scripts) = package.get("scripts") else { return Script::Missing };
    let Some(script) = scripts.get("test").and_then(Value::as_str) else { return Script::Missing };
    // `npm init` writes this one.
    if script.contains("no test specified") {
        return Script::Missing;
    }
    let mut besides = Vec::new();
    match follow(script, scripts, DEPTH, &mut besides) {
        Some(command) => Script::Node(NodeCommand { besides, ..command }),
        None => Script::Other { program: programs(script, scripts, DEPTH).join(", ") },
    }
}

/// The programs that a script comes to, for telling that none is known.
fn programs(script: &str, scripts: &Value, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for part in parts(script) {
        let words = words(part).unwrap_or_default();
        let words = unwrapped(&words);
        let next = script_name(words).and_then(|name| scripts.get(name)).and_then(Value::as_str);
        match next.filter(|_| depth > 0) {
            Some(next) => found.extend(programs(next, scripts, depth - 1)),
            None => {
                let first = words.first().map(|(word, _)| word.as_str()).or_else(|| part.split_whitespace().next());
                found.extend(first.map(str::to_owned));
            }
        }
    }
    found.truncate(8);
    found
}

/// The simple commands of a script.
pub(super) fn parts(script: &str) -> impl Iterator<Item = &str> {
    script.split("&&").flat_map(|part| part.split(';')).map(str::trim).filter(|part| !part.is_empty())
}

/// Finds the part of a script that runs node's tests; the other parts go to `besides`.
fn follow(script: &str, scripts: &Value, depth: usize, besides: &mut Vec<String>) -> Option<NodeCommand> {
    let mut found = None;
    for part in parts(script) {
        let before = besides.len();
        let command = words(part).and_then(|words| {
            let words = unwrapped(&words);
            node_command(words).or_else(|| {
                let name = script_name(words)?;
                let next = scripts.get(name).and_then(Value::as_str).filter(|_| depth > 0)?;
                follow(next, scripts, depth - 1, besides)
            })
        });
        match command {
            Some(command) if found.is_none() => found = Some(command),
            Some(_) | None => {
                // What a followed script would have run is in its one line here.
                besides.truncate(before);
                besides.push(part.to_owned());
            }
        }
    }
    found
}

/// The words of a simple command; `None` when a shell would do more than split it.
pub(crate) fn words(command: &str) -> Option<Vec<(String, Quoting)>> {
    let mut words = Vec::new();
    let mut characters = command.chars().peekable();
    loop {
        while characters.next_if(|character| character.is_whitespace()).is_some() {}
        let mut word = String::new();
        let mut quoting = Quoting::Bare;
        characters.peek()?;
        while let Some(character) = characters.next_if(|character| !character.is_whitespace()) {
            match character {
                '\'' | '"' => {
                    quoting = Quoting::Quoted;
                    loop {
                        match characters.next()? {
                            end if end == character => break,
                            '$' | '`' if character == '"' => return None,
                            '\\' => word.push(characters.next()?),
                            other => word.push(other),
                        }
                    }
                }
                '$' | '`' | '|' | '<' | '>' | '&' | '(' | ')' => return None,
                '\\' => word.push(characters.next()?),
                other => word.push(other),
            }
        }
        words.push((word, quoting));
        if characters.clone().all(char::is_whitespace) {
            return Some(words);
        }
    }
}

/// The command without variables and wrappers before it.
pub(crate) fn unwrapped(words: &[(String, Quoting)]) -> &[(String, Quoting)] {
    let mut rest = words;
    while let Some(((word, _), after)) = rest.split_first() {
        let is_variable = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_' || letter.is_ascii_digit())
        });
        let is_wrapper = WRAPPERS.contains(&word.as_str());
        if !is_variable && !is_wrapper {
            break;
        }
        // A wrapper's options may take values; what it wraps begins with one of these, if it is for us.
        let begins = |word: &str| matches!(word, "node" | "npm" | "pnpm" | "yarn");
        let wrapped = after.iter().position(|(word, _)| begins(word)).filter(|_| is_wrapper);
        rest = &after[wrapped.unwrap_or(0)..];
    }
    rest
}

/// `npm run NAME`, `yarn NAME`, `pnpm NAME`.
pub(super) fn script_name(words: &[(String, Quoting)]) -> Option<&str> {
    let words: Vec<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
    match words.as_slice() {
        ["npm" | "pnpm" | "yarn", "run" | "run-script", name] => Some(name),
        ["npm" | "pnpm" | "yarn", "-s" | "--silent", "run", name] => Some(name),
        ["pnpm" | "yarn", name] => Some(name),
        _ => None,
    }
}

/// Reads `node … --test … files`.
fn node_command(words: &[(String, Quoting)]) -> Option<NodeCommand> {
    let ((program, _), arguments) = words.split_first()?;
    if program != "node" || !arguments.iter().any(|(word, _)| word == "--test") {
        return None;
    }
    let mut command = NodeCommand::default();
    let mut arguments = arguments.iter();
    while let Some((word, quoting)) = arguments.next() {
        let option = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        match option {
            "--test" => {}
            // Reporters are ours; a watching run never ends.
            "--test-reporter" | "--test-reporter-destination" => {
                if !word.contains('=') {
                    arguments.next();
                }
            }
            "--watch" | "--experimental-test-coverage" => {}
            _ if word.starts_with('-') => {
                command.options.push(word.clone());
                if WITH_VALUE.contains(&word.as_str()) {
                    command.options.extend(arguments.next().map(|(value, _)| value.clone()));
                }
            }
            _ => command.files.push((word.clone(), *quoting)),
        }
    }
    Some(command)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn script(test: &str) -> Script {
        read(&serde_json::json!({"scripts": {"test": test, "unit": "c8 -r lcov node --test 'test/**/*.js'"}}))
    }

    fn node(test: &str) -> NodeCommand {
        match script(test) {
            Script::Node(command) => command,
            other => panic!("{test}: {other:?}"),
        }
    }

    #[test]
    fn options_and_files_of_a_plain_script_are_kept_and_reporters_are_not() {
        assert_eq!(
            node("NODE_ENV=test node --import tsx --test --test-reporter spec --test-timeout=5 test/*.js \"a b.js\""),
            NodeCommand {
                options: ["--import", "tsx", "--test-timeout=5"].map(String::from).into(),
                files: vec![("test/*.js".into(), Quoting::Bare), ("a b.js".into(), Quoting::Quoted)],
                besides: Vec::new(),
            }
        );
    }

    #[test]
    fn scripts_are_followed_and_what_else_they_run_is_told() {
        let command = node("eslint . && npm run unit");
        assert_eq!(command.files, [("test/**/*.js".to_owned(), Quoting::Quoted)]);
        assert_eq!(command.besides, ["eslint ."]);
    }

    #[test]
    fn other_runners_and_shell_programs_are_not_guessed() {
        assert_eq!(script("jest --ci"), Script::Other { program: "jest".into() });
        assert_eq!(script("npm run lint && vitest run"), Script::Other { program: "npm, vitest".into() });
        assert_eq!(script("node --test $(find . -name '*.js')"), Script::Other { program: "node".into() });
        assert_eq!(script("npm run test"), Script::Other { program: "npm".into() });
        assert_eq!(script("echo \"Error: no test specified\" && exit 1"), Script::Missing);
        assert_eq!(read(&Value::Null), Script::Missing);
    }

    proptest! {
        #[test]
        fn any_script_can_be_read(text: String) {
            script(&text);
        }
    }
}
