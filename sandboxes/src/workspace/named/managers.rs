//! What the files of hook managers have run: pre-commit's, lefthook's, overcommit's. The files have protected names;
//! here are the files of the workspace that they name.
//!
//! They are read by their lines, in YAML, TOML and JSON alike: a line with a key that is known to say what runs counts
//! from there on, with the lines below it that are indented deeper.

use std::collections::BTreeMap;

use super::{super::change::Namer, Unread, repository::Repository, words};

/// The files, at the top of a repository.
const FILES: &[&str] = &[
    ".pre-commit-config.yaml",
    ".pre-commit-config.yml",
    "prek.toml",
    ".overcommit.yml",
    "lefthook.yml",
    "lefthook.yaml",
    "lefthook.toml",
    "lefthook.json",
    "lefthook-local.yml",
    "lefthook-local.yaml",
    "lefthook-local.toml",
    "lefthook-local.json",
    ".lefthook.yml",
    ".lefthook.yaml",
    ".lefthook.toml",
    ".lefthook.json",
    ".lefthook-local.yml",
    ".lefthook-local.yaml",
    ".lefthook-local.toml",
    ".lefthook-local.json",
    ".config/lefthook.yml",
    ".config/lefthook.yaml",
    ".config/lefthook.toml",
    ".config/lefthook.json",
];

/// Keys whose values are command lines or words of one.
const COMMANDS: &[&str] = &["additional_dependencies", "args", "command", "entry", "required_executable", "run"];

/// Keys whose values are files or folders that are read or run.
const PATHS: &[&str] = &["extends", "rc", "source_dir", "source_dir_local"];

impl Repository<'_> {
    /// Names what they have run.
    ///
    /// # Errors
    /// When one is there and cannot be read, or says too much.
    pub(super) fn managers(&mut self) -> Result<(), Unread> {
        let top = self.top.clone();
        for file in FILES {
            let path = top.join(file);
            self.looks.way(&path);
            let Some(text) = self.looks.text(&path)? else { continue };
            for (key, said) in said_by(&text) {
                let by = Namer::Setting { setting: key.to_owned(), file: self.shown(&path) };
                let called = words::of_hook(&said);
                let called = called.ok_or_else(|| self.unread(&format!("a line has too many words: {by}")))?;
                self.name_called(&called, &top, &by)?;
            }
        }
        Ok(())
    }
}

/// What a text says for each key, as lines for a shell.
fn said_by(text: &[u8]) -> BTreeMap<&'static str, Vec<u8>> {
    let mut said: BTreeMap<&'static str, Vec<u8>> = BTreeMap::new();
    let mut open: Option<(&'static str, usize)> = None;
    for line in text.split(|byte| *byte == b'\n') {
        let indent = line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if line.trim_ascii().is_empty() {
            continue;
        }
        let found = key_in(line);
        let (key, value) = match (found, open) {
            (Some((key, column, at)), _) => {
                open = Some((key, column));
                (key, &line[at..])
            }
            // The items of a list may stand as deep as its key.
            (None, Some((key, column))) if indent > column || (indent == column && line[indent] == b'-') => (key, line),
            (None, _) => {
                open = None;
                continue;
            }
        };
        let value = value.trim_ascii();
        let value = value.strip_prefix(b"- ").unwrap_or(value);
        let lines = said.entry(key).or_default();
        if PATHS.contains(&key) {
            lines.extend(b". ");
        }
        // A list in one line.
        lines.extend(value.iter().map(|byte| if b"[]".contains(byte) { b' ' } else { *byte }));
        lines.push(b'\n');
    }
    said
}

/// The first key of a line that says what runs, where it begins, and where its value does: `run: x`, `"run": "x"`, `run = "x"`, `{id: a, run: x}`.
fn key_in(line: &[u8]) -> Option<(&'static str, usize, usize)> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let mut begin = 0;
    for (at, byte) in line.iter().enumerate() {
        if !is_of_name(*byte) {
            let name = &line[begin..at];
            let column = std::mem::replace(&mut begin, at + 1);
            let rest = line[at..].strip_prefix(b"\"").unwrap_or(&line[at..]);
            let rest = rest.strip_prefix(b" ").unwrap_or(rest);
            let is_key = matches!(rest.first(), Some(b':' | b'='));
            let known = COMMANDS.iter().chain(PATHS).find(|known| known.as_bytes() == name);
            if let Some(known) = known.filter(|_| is_key) {
                return Some((known, column, line.len() - rest.len() + 1));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{
        super::change::{Namer, Reason},
        tests::{git, held_names, repository, why},
    };

    #[test]
    fn files_that_a_manager_of_hooks_is_told_to_run_are_held() {
        for (file, text, key, path) in [
            (
                ".pre-commit-config.yaml",
                "repos:\n- repo: local\n  hooks:\n  - id: a\n    entry: scripts/check.sh\n    language: script\n",
                "entry",
                "scripts/check.sh",
            ),
            (
                ".pre-commit-config.yaml",
                "  - {id: a, language: system, entry: python3 tools/x.py --fix}\n",
                "entry",
                "tools/x.py",
            ),
            (".pre-commit-config.yaml", "    entry: bash\n    args: [-e, scripts/x]\n", "args", "scripts/x"),
            (".pre-commit-config.yaml", "    args:\n    - --ok\n    - scripts/x\n", "args", "scripts/x"),
            (".pre-commit-config.yaml", "    entry: python -m tools.check\n", "entry", "tools/check.py"),
            ("lefthook.yml", "pre-commit:\n  jobs:\n    - run: ./tools/lint {staged_files}\n", "run", "tools/lint"),
            (
                "lefthook.yml",
                "pre-commit:\n  commands:\n    a:\n      run: |\n        cd tools\n        ./lint\n",
                "run",
                "tools/lint",
            ),
            ("lefthook.yml", "extends:\n  - shared.yml\nrc: ./rc\n", "extends", "shared.yml"),
            ("lefthook.yml", "source_dir: ci\n", "source_dir", "ci/pre-commit/x"),
            ("lefthook-local.toml", "[pre-commit.commands.a]\nrun = \"sh tools/lint\"\n", "run", "tools/lint"),
            (
                ".lefthook.json",
                "{\"pre-commit\": {\"commands\": {\"a\": {\"run\": \"tools/lint -x\"}}}}",
                "run",
                "tools/lint",
            ),
            (
                ".overcommit.yml",
                "PreCommit:\n  Mine:\n    required_executable: './tools/mine'\n",
                "required_executable",
                "tools/mine",
            ),
        ] {
            let ground = repository();
            fs::create_dir(ground.host("tools")).unwrap();
            ground.write(file, text);
            let by = Namer::Setting { setting: key.into(), file: file.into() };
            assert_eq!(why(&ground, path), Some(Reason::Named { by }), "{text}");
        }
    }

    #[test]
    fn what_a_manager_of_hooks_is_told_of_files_holds_no_work() {
        const FILES: &[&str] =
            &["src/a.ts", "src/gen/b.ts", "docs/x.md", "a.js", "tests/a.py", "README.md", "package.json"];
        for (file, text) in [
            (
                ".pre-commit-config.yaml",
                "exclude: ^docs/x\\.md$\nrepos:\n- repo: https://example.org/src/a.ts\n  rev: v1\n  hooks:\n  - id: black\n    \
                 files: |\n      (?x)^(\n        src/gen/b.ts|\n        tests/a.py\n      )$\n    args: [--line-length, '100']\n  \
                 - id: prettier\n    name: Rewrite src/a.ts\n    entry: npx prettier --write\n    types: [javascript]\n",
            ),
            (
                "lefthook.yml",
                "pre-commit:\n  parallel: true\n  commands:\n    lint:\n      glob:\n        - \"*.js\"\n        - src/*.ts\n      \
                 run: npx eslint {staged_files} && npm test\n      exclude: tests/a.py\n",
            ),
        ] {
            let ground = repository();
            FILES.iter().for_each(|path| ground.write(path, "old"));
            ground.write(file, text);
            let upper = ground.upper();
            FILES.iter().for_each(|path| _ = upper.write(path, "new"));
            assert_eq!(held_names(&ground, &upper), [""; 0], "{file}");
        }
        let ground = repository();
        git(ground.workspace.root(), &["status"]);
        fs::create_dir(ground.host("lefthook.yml")).unwrap();
        assert!(matches!(why(&ground, "a"), Some(Reason::SettingsUnread { .. })));
    }
}
