//! What a person should notice about a change that is otherwise fine.

use cofferdam_policy::fold_name;

use super::{change::Note, tree_path::TreePath};

/// Files that ordinary work on the host executes: builds, test runs, checks, installations. They come back as code does,
/// and are named in the result; probe P27. Compared as [`fold_name`] folds; `*` stands for any rest of a name.
///
/// Here is what a person does not expect to be run by a command that is not about it: settings that are programs, and
/// settings that name programs. Sources and tests are not: everybody knows that they run.
const RUN_BY_ORDINARY_WORK: &[&str] = &[
    // Build systems and task runners.
    "makefile",
    "makefile.*",
    "gnumakefile",
    "*.mk",
    "justfile",
    ".justfile",
    "*.just",
    "taskfile*.y*ml",
    "magefile.go",
    "cmakelists.txt",
    "cmakepresets.json",
    "*.cmake",
    "meson.build",
    "sconstruct",
    "sconscript",
    "wscript",
    "configure",
    "configure.ac",
    "build.bazel",
    "module.bazel",
    "workspace.bazel",
    "*.bzl",
    "earthfile",
    "tiltfile",
    "vagrantfile",
    "dockerfile",
    "dockerfile.*",
    "*.dockerfile",
    "containerfile",
    "containerfile.*",
    "docker-compose*.y*ml",
    "compose*.y*ml",
    "docker-bake.*",
    "skaffold.y*ml",
    "procfile",
    "procfile.*",
    "terragrunt.hcl",
    "ansible.cfg",
    ".goreleaser.y*ml",
    // Rust, Zig, Swift, Haskell, Elixir.
    "build.rs",
    "nextest.toml",
    "build.zig",
    "package.swift",
    "setup.hs",
    "mix.exs",
    // The Java world and .NET.
    "*.gradle",
    "*.gradle.kts",
    "gradle.properties",
    "pom.xml",
    "build.xml",
    "build.sbt",
    "*.csproj",
    "*.fsproj",
    "*.vbproj",
    "*.targets",
    "*.props",
    "dotnet-tools.json",
    // Python.
    "conftest.py",
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "pytest.ini",
    ".pytest.ini",
    "tox.ini",
    "noxfile.py",
    "toxfile.py",
    "hatch_build.py",
    "tasks.py",
    "dodo.py",
    "fabfile.py",
    "manage.py",
    "sitecustomize.py",
    "usercustomize.py",
    ".pylintrc",
    "pylintrc",
    "mypy.ini",
    ".mypy.ini",
    ".flake8",
    // JavaScript. `*.config.*` is what Vite, Jest, webpack, ESLint, Next and their like read as a program.
    "package.json",
    "deno.json*",
    "*.config.js",
    "*.config.cjs",
    "*.config.mjs",
    "*.config.ts",
    "*.config.cts",
    "*.config.mts",
    "karma.conf.*",
    "gruntfile.*",
    "gulpfile.*",
    "jest.setup.*",
    "vitest.workspace.*",
    ".eslintrc*",
    ".prettierrc*",
    ".babelrc*",
    ".mocharc.*",
    ".stylelintrc*",
    ".commitlintrc*",
    ".lintstagedrc*",
    ".releaserc*",
    "lerna.json",
    "nx.json",
    "turbo.json",
    // Ruby, PHP, Perl.
    "gemfile",
    "*.gemspec",
    "rakefile",
    "rakefile.*",
    "*.rake",
    "guardfile",
    "capfile",
    "fastfile",
    "dangerfile",
    "podfile",
    ".rspec",
    ".rubocop.y*ml",
    "composer.json",
    "makefile.pl",
    "build.pl",
    // Shell environments that are entered on purpose.
    "shell.nix",
    "default.nix",
];

/// Folders in which every file is executed by ordinary work.
const FOLDERS_RUN_BY_ORDINARY_WORK: &[&str] =
    &["xtask", "buildsrc", "build-logic", "rakelib", "fastlane", ".storybook"];

/// Files that agents take as instructions, wherever they lie.
const READ_BY_AGENTS: &[&str] = &[
    "agents*.md",
    "agent.md",
    "claude*.md",
    "gemini.md",
    "qwen.md",
    "warp.md",
    "crush.md",
    "copilot-instructions.md",
    "*.instructions.md",
    "*.prompt.md",
    "*.chatmode.md",
    "skill.md",
    "*.mdc",
    ".cursorrules",
    ".windsurfrules",
    ".clinerules",
    ".roorules*",
    ".goosehints",
    ".aider*.md",
    ".github/instructions",
    ".github/prompts",
    ".github/chatmodes",
];

/// What else steers without being executed: names, and what they do.
const STEERING: &[(&str, &str)] = &[
    (".gitattributes", "selects programs that git runs on the files that it names"),
    ("codeowners", "says whose agreement a change needs"),
    ("dependabot.y*ml", "steers a service that changes your repository"),
    ("renovate.json*", "steers a service that changes your repository"),
    (".renovaterc*", "steers a service that changes your repository"),
    (".mergify.y*ml", "steers a service that changes your repository"),
    (".env", "is put into the environment of programs that run beside it"),
    (".env.*", "is put into the environment of programs that run beside it"),
];

/// The notes that `path`'s name asks for.
pub(super) fn notes(path: &TreePath) -> Vec<Note> {
    let names: Vec<String> = path.as_path().iter().map(|name| fold_name(&name.to_string_lossy())).collect();
    let Some((name, above)) = names.split_last() else { return Vec::new() };
    let listed = |patterns: &[&str]| patterns.iter().any(|pattern| fits(pattern, &names));
    let in_folder = FOLDERS_RUN_BY_ORDINARY_WORK.iter().any(|folder| fits(folder, above));
    let mut notes = Vec::new();
    if RUN_BY_ORDINARY_WORK.iter().any(|pattern| name_fits(pattern, name)) || in_folder {
        notes.push(Note::RunsOnYourMachine { file: path.clone() });
    }
    if listed(READ_BY_AGENTS) {
        notes.push(Note::Steers { file: path.clone(), how: "is read as instructions by agents".to_owned() });
    }
    if let Some((_, how)) = STEERING.iter().find(|(pattern, _)| name_fits(pattern, name)) {
        notes.push(Note::Steers { file: path.clone(), how: (*how).to_owned() });
    }
    if let Some(oddity) = oddity(path) {
        notes.push(Note::OddName { file: path.clone(), oddity: oddity.to_owned() });
    }
    notes
}

/// Whether the names of a pattern, which `/` separates, are somewhere among these, one after the other.
fn fits(pattern: &str, names: &[String]) -> bool {
    let wanted: Vec<&str> = pattern.split('/').collect();
    names.windows(wanted.len()).any(|names| wanted.iter().zip(names).all(|(wanted, name)| name_fits(wanted, name)))
}

/// Whether a folded name is what a pattern describes; each `*` of it stands for any characters.
fn name_fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| name_fits(rest, &name[at..]))
}

/// What is odd about a path's last name; probe P31.
fn oddity(path: &TreePath) -> Option<&'static str> {
    let Some(name) = path.name().to_str() else {
        return Some("is not UTF-8");
    };
    if name.starts_with('-') {
        Some("starts with a dash, as an option does")
    } else if name.chars().any(char::is_control) {
        Some("holds a control character")
    } else if name.chars().any(hides_or_reorders) {
        Some("holds a character that is not seen, or changes the direction of text")
    } else if name.contains(['`', '$', ';', '|', '&', '<', '>', '*', '?', '\'', '"', '\\']) {
        Some("holds a character that a shell acts on")
    } else if name.starts_with(' ') || name.ends_with([' ', '.']) {
        Some("begins or ends with a space, or ends with a dot")
    } else {
        None
    }
}

/// Whether a character makes text show in another order or is not seen itself: Unicode's `Default_Ignorable_Code_Point`
/// (DerivedCoreProperties.txt), and its two separators of lines.
fn hides_or_reorders(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// A name or a word with everything that a terminal would act on, or that is not seen, made visible. Tabs stay.
pub(super) fn visible(text: &str) -> String {
    escaped(text, hides_or_reorders)
}

/// A line of a file, in the same way. What only chooses how the letter before it is drawn (emoji) stays: no two lines are told
/// apart by their looks here.
pub(super) fn visible_line(line: &str) -> String {
    escaped(line, |character| hides_or_reorders(character) && !matches!(character, '\u{fe00}'..='\u{fe0f}'))
}

fn escaped(text: &str, is_unseen: impl Fn(char) -> bool) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        if (character.is_control() && character != '\t') || is_unseen(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_act_on_a_shell_are_pointed_out() {
        for name in
            ["-rf", "`x`", "a\nb", "x ", "a;b", "\u{202e}txt.exe", "a\u{ad}b", "a\u{e0041}b", "a\u{3164}b", "$(id)"]
        {
            assert!(oddity(&TreePath::new(format!("dir/{name}")).unwrap()).is_some(), "{name:?}");
        }
        for name in ["lib.rs", "a b", "été.txt", "[id].tsx", ".hidden", "a-b", "__init__.py", "(group)"] {
            assert_eq!(oddity(&TreePath::new(name).unwrap()), None, "{name:?}");
        }
    }

    #[test]
    fn what_ordinary_work_executes_is_said_to_run_on_the_host() {
        for file in [
            "crates/a/build.rs",
            "Makefile",
            "MAKEF\u{131}LE",
            "app/build.gradle.kts",
            "web/vite.config.mts",
            "jest.config.js",
            ".eslintrc.cjs",
            "eslint.config.mjs",
            "next.config.ts",
            "deploy/Dockerfile.dev",
            "docker-compose.override.yml",
            "Taskfile.yaml",
            "lib/tasks/a.rake",
            "xtask/src/main.rs",
            ".config/nextest.toml",
            ".storybook/main.ts",
        ] {
            let file = TreePath::new(file).unwrap();
            assert_eq!(notes(&file), [Note::RunsOnYourMachine { file }]);
        }
    }

    #[test]
    fn what_steers_agents_git_and_services_is_pointed_out() {
        for (file, how) in [
            ("AGENTS.md", "is read as instructions by agents"),
            ("sub/CLAUDE.local.md", "is read as instructions by agents"),
            (".github/copilot-instructions.md", "is read as instructions by agents"),
            (".github/prompts/fix.md", "is read as instructions by agents"),
            (".cursorrules", "is read as instructions by agents"),
            (".clinerules/style.md", "is read as instructions by agents"),
            (".GitAttributes", "selects programs that git runs on the files that it names"),
            (".github/CODEOWNERS", "says whose agreement a change needs"),
            (".env.local", "is put into the environment of programs that run beside it"),
        ] {
            let file = TreePath::new(file).unwrap();
            assert_eq!(notes(&file), [Note::Steers { file: file.clone(), how: how.to_owned() }]);
        }
    }

    #[test]
    fn ordinary_files_have_no_notes() {
        for file in [
            "src/lib.rs",
            "Cargo.toml",
            "README.md",
            ".gitignore",
            ".editorconfig",
            "src/config.rs",
            "tsconfig.json",
            "src/makefiles.rs",
            "docs/agents.txt",
            "tests/test_a.py",
            "xtask",
            "src/build.go",
        ] {
            assert_eq!(notes(&TreePath::new(file).unwrap()), [], "{file}");
        }
    }

    #[test]
    fn shown_text_cannot_drive_a_terminal() {
        assert_eq!(visible_line("\u{26a0}\u{fe0f}\u{ad}"), "\u{26a0}\u{fe0f}\\u{ad}");
        assert_eq!(visible("a\u{1b}[2Jb\tc\u{202e}d"), "a\\u{1b}[2Jb\tc\\u{202e}d");
    }
}
