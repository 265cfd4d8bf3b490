//! What a person should notice about a change that is otherwise fine.

use super::{change::Note, tree_path::TreePath};

/// Files that ordinary work on the host executes: builds, test runs, installations. They come back as code does, and
/// are named in the result. Compared in lower case; probe P27.
const RUN_BY_ORDINARY_WORK: [&str; 21] = [
    "build.rs",
    "build.gradle",
    "build.gradle.kts",
    "cmakelists.txt",
    "conftest.py",
    "gemfile",
    "gnumakefile",
    "gruntfile.js",
    "gulpfile.js",
    "justfile",
    "makefile",
    "meson.build",
    "noxfile.py",
    "package.json",
    "pom.xml",
    "pyproject.toml",
    "rakefile",
    "setup.cfg",
    "setup.py",
    "sitecustomize.py",
    "tox.ini",
];

/// The notes that `path`'s name asks for.
pub(super) fn notes(path: &TreePath) -> Vec<Note> {
    let name = path.name().to_string_lossy();
    let mut notes = Vec::new();
    if RUN_BY_ORDINARY_WORK.contains(&name.to_lowercase().as_str()) {
        notes.push(Note::RunsOnYourMachine { file: path.clone() });
    }
    if let Some(oddity) = oddity(path) {
        notes.push(Note::OddName { file: path.clone(), oddity: oddity.to_owned() });
    }
    notes
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
    } else if name.chars().any(reorders) {
        Some("holds a character that changes the direction of text")
    } else if name.contains(['`', '$', ';', '|', '&', '<', '>', '*', '?', '\'', '"', '\\']) {
        Some("holds a character that a shell acts on")
    } else if name.starts_with(' ') || name.ends_with([' ', '.']) {
        Some("begins or ends with a space, or ends with a dot")
    } else {
        None
    }
}

/// Whether a character makes text show in another order or not at all (Unicode's bidirectional controls and
/// zero-width characters).
fn reorders(character: char) -> bool {
    matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{061c}' | '\u{feff}'
    )
}

/// Text with everything that a terminal would act on made visible. Tabs stay.
pub(super) fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        if (character.is_control() && character != '\t') || reorders(character) {
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
        for name in ["-rf", "`x`", "a\nb", "x ", "a;b", "\u{202e}txt.exe", "$(id)"] {
            assert!(oddity(&TreePath::new(format!("dir/{name}")).unwrap()).is_some(), "{name:?}");
        }
        for name in ["lib.rs", "a b", "été.txt", "[id].tsx", ".hidden", "a-b", "__init__.py", "(group)"] {
            assert_eq!(oddity(&TreePath::new(name).unwrap()), None, "{name:?}");
        }
    }

    #[test]
    fn build_scripts_are_said_to_run_on_the_host() {
        let file = TreePath::new("crates/a/build.rs").unwrap();
        assert_eq!(notes(&file), [Note::RunsOnYourMachine { file }]);
    }

    #[test]
    fn shown_text_cannot_drive_a_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb\tc\u{202e}d"), "a\\u{1b}[2Jb\tc\\u{202e}d");
    }
}
