//! What the workspace asks for: the versions that its version files name.
//!
//! These files are written by whoever writes the workspace. They choose among what is installed and can do nothing else:
//! everything in them becomes a [`VersionName`], an alias' name or nothing.

use std::path::Path;

use super::{read, version::VersionName};

/// Versions taken from one file, at most.
const MAX_VERSIONS: usize = 16;

/// Languages taken from one `.tool-versions`, at most.
const MAX_TOOLS: usize = 64;

/// One wished version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// A version of that name or with those first numbers.
    Version(VersionName),
    /// An environment inside a version (pyenv's `miniforge3-24.1/envs/work`).
    Nested(Vec<VersionName>),
    /// A version manager's alias: `lts/iron`, `lts/*`, `node`.
    Alias(String),
    /// The system's own.
    System,
}

impl Wish {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let alias = |name: &str| name == "*" || VersionName::parse(name).is_some();
        match text {
            "" => None,
            "system" => Some(Self::System),
            "node" | "stable" | "latest" | "unstable" => Some(Self::Alias(text.to_owned())),
            _ => match text.strip_prefix("lts/") {
                Some(name) if alias(name) => Some(Self::Alias(text.to_owned())),
                Some(_) => None,
                None if text.contains('/') => {
                    let parts: Option<Vec<VersionName>> = text.split('/').map(VersionName::parse).collect();
                    parts.filter(|parts| parts.len() <= 3).map(Self::Nested)
                }
                None => VersionName::parse(text).map(Self::Version),
            },
        }
    }
}

/// The text of a wish, as a person wrote it.
impl std::fmt::Display for Wish {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(version) => formatter.write_str(version.as_str()),
            Self::Nested(parts) => {
                let parts: Vec<&str> = parts.iter().map(VersionName::as_str).collect();
                formatter.write_str(&parts.join("/"))
            }
            Self::Alias(name) => formatter.write_str(name),
            Self::System => formatter.write_str("system"),
        }
    }
}

/// The versions of one language that one file wishes, the first being the most wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    /// The language by its common name: `python`, `nodejs` is `node`.
    pub(super) language: String,
    /// The file's name, for `doctor`.
    pub(super) file: String,
    pub(super) wishes: Vec<Wish>,
}

/// Which Rust toolchain the workspace's file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RustPin {
    pub(super) file: &'static str,
    pub(super) channel: VersionName,
}

/// Every pin of the workspace; a language's own file comes before `.tool-versions`.
pub(super) fn of_workspace(workspace: &Path) -> Vec<Pin> {
    let mut pins = Vec::new();
    for (file, language) in [(".python-version", "python"), (".nvmrc", "node"), (".node-version", "node")] {
        let wishes = read::workspace_text(workspace, file).map(|text| versions(&text)).unwrap_or_default();
        if !wishes.is_empty() {
            pins.push(Pin { language: language.to_owned(), file: file.to_owned(), wishes });
        }
    }
    let file = ".tool-versions";
    pins.extend(read::workspace_text(workspace, file).map(|text| tool_versions(file, &text)).unwrap_or_default());
    pins
}

/// The versions in a file that names one or more per line; `#` starts a comment.
pub(super) fn versions(text: &str) -> Vec<Wish> {
    let words = text.lines().flat_map(|line| without_comment(line).split([' ', '\t', ':']));
    words.filter_map(Wish::parse).take(MAX_VERSIONS).collect()
}

/// The pins of a `.tool-versions`: a language and its versions on each line. `path:` and `ref:` versions are left out:
/// the first could name any folder.
pub(super) fn tool_versions(file: &str, text: &str) -> Vec<Pin> {
    let mut pins = Vec::new();
    for line in text.lines().take(MAX_TOOLS) {
        let mut words = without_comment(line).split_ascii_whitespace();
        let Some(language) = words.next().and_then(VersionName::parse) else { continue };
        let wishes: Vec<Wish> =
            words.filter(|word| !word.contains(':')).filter_map(Wish::parse).take(MAX_VERSIONS).collect();
        if !wishes.is_empty() {
            pins.push(Pin { language: common_name(language.as_str()), file: file.to_owned(), wishes });
        }
    }
    pins
}

/// The toolchain that `rust-toolchain` or `rust-toolchain.toml` names; the first wins where both exist, as in rustup.
/// A `path` is ignored: it could name any folder.
pub(super) fn rust(workspace: &Path) -> Option<RustPin> {
    if let Some(text) = read::workspace_text(workspace, "rust-toolchain") {
        // The old form is the channel alone; the new one in the old file is TOML.
        let channel = VersionName::parse(text.trim()).or_else(|| rust_channel(&text));
        return channel.map(|channel| RustPin { file: "rust-toolchain", channel });
    }
    let channel = rust_channel(&read::workspace_text(workspace, "rust-toolchain.toml")?)?;
    Some(RustPin { file: "rust-toolchain.toml", channel })
}

fn rust_channel(text: &str) -> Option<VersionName> {
    let table: toml::Table = text.parse().ok()?;
    VersionName::parse(table.get("toolchain")?.get("channel")?.as_str()?)
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

/// asdf and mise have two names for some languages.
pub(super) fn common_name(language: &str) -> String {
    match language {
        "nodejs" => "node",
        "golang" => "go",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Wish {
        Wish::Version(VersionName::parse(text).unwrap())
    }

    #[test]
    fn a_version_file_may_name_several_versions_with_comments() {
        let wishes = versions("# ours\n3.11.7 # main\n\n3.12:3.10\nsystem\n../../etc\nbase/envs/work\n");
        let nested = ["base", "envs", "work"].map(|part| VersionName::parse(part).unwrap()).to_vec();
        assert_eq!(wishes, [version("3.11.7"), version("3.12"), version("3.10"), Wish::System, Wish::Nested(nested)]);
    }

    #[test]
    fn aliases_of_node_are_told_from_paths() {
        assert_eq!(Wish::parse("lts/*"), Some(Wish::Alias("lts/*".to_owned())));
        assert_eq!(Wish::parse("lts/iron"), Some(Wish::Alias("lts/iron".to_owned())));
        for text in ["lts/../../x", "lts/", "/abs", "a//b", "../v18", "a/b/c/d", "~/x"] {
            assert_eq!(Wish::parse(text), None, "{text}");
        }
    }

    #[test]
    fn tool_versions_name_a_language_a_line_and_paths_are_ignored() {
        let pins = tool_versions(".tool-versions", "nodejs 20.1.0 system\npython path:/etc 3.11\n# c\n../x 1\nruby\n");
        let pin = |language: &str, wishes| Pin { language: language.into(), file: ".tool-versions".into(), wishes };
        let python = pin("python", vec![version("3.11")]);
        assert_eq!(pins, [pin("node", vec![version("20.1.0"), Wish::System]), python]);
    }

    #[test]
    fn both_forms_of_a_rust_toolchain_file_are_read_and_its_path_is_not() {
        let workspace = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(workspace.path().join(name), text).unwrap();
        write("rust-toolchain.toml", "[toolchain]\nchannel = \"1.95.0\"\n");
        assert_eq!(rust(workspace.path()).unwrap().channel.as_str(), "1.95.0");
        write("rust-toolchain.toml", "[toolchain]\npath = \"/etc\"\n");
        assert_eq!(rust(workspace.path()), None);
        write("rust-toolchain", "nightly-2026-01-01\n");
        assert_eq!(rust(workspace.path()).unwrap().channel.as_str(), "nightly-2026-01-01");
    }
}
