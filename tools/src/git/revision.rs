//! A revision, as an agent may write it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ArgumentError;

/// The longest revision, in bytes.
const MAX_BYTES: usize = 250;

/// A revision in the small part of git's grammar (gitrevisions(7)) that names commits: names, `~`, `^`, `@{…}`. It cannot
/// be an option, a path or a search.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Revision(String);

impl JsonSchema for Revision {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Revision".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "minLength": 1, "maxLength": MAX_BYTES})
    }
}

impl Revision {
    /// As git takes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Refuses a range.
    pub(crate) fn refuse_range(&self) -> Result<(), ArgumentError> {
        if self.is_range() {
            let text = "argument `revision` is a range; name one commit, such as `HEAD~1`".to_owned();
            return Err(ArgumentError::Combination(text));
        }
        Ok(())
    }

    /// Whether it names two commits.
    pub(crate) fn is_range(&self) -> bool {
        self.0.contains("..")
    }
}

impl TryFrom<String> for Revision {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-+~^@{}#=%".contains(&byte);
        let wrong = if text.is_empty() || text.len() > MAX_BYTES {
            "is empty or too long"
        } else if !text.bytes().all(allowed) {
            "holds a character that names no commit"
        } else if text.split("..").any(|side| side.trim_start_matches('.').starts_with('-')) {
            "begins with a dash"
        } else if text.contains("....") || text.matches("..").count() > 1 {
            "has too many dots"
        } else {
            return Ok(Self(text));
        };
        Err(format!(
            "`{}` {wrong}; write a commit such as `HEAD~1`, a branch, a tag or a commit's name",
            crate::arguments::shortened(&text)
        ))
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parses(text: &str) -> bool {
        Revision::try_from(text.to_owned()).is_ok()
    }

    #[test]
    fn commits_are_named_in_their_usual_ways() {
        for text in [
            "HEAD",
            "HEAD~3^2",
            "main",
            "feature/x-1",
            "v1.0.2",
            "a1b2c3d",
            "stash@{0}",
            "main@{upstream}",
            "@",
            "A..B",
            "A...B",
            "refs/agents/a%20b",
        ] {
            assert!(parses(text), "{text}");
        }
        assert!(Revision::try_from("a..b".to_owned()).unwrap().is_range());
    }

    #[test]
    fn options_paths_and_searches_are_refused() {
        for text in [
            "",
            "-p",
            "--output=x",
            "HEAD:file",
            ":/fix",
            "HEAD^{/x y}",
            "a b",
            "a\n",
            "..-x",
            "...--y",
            "a..b..c",
            "a*",
            "a?",
            "\\x",
            "ä",
        ] {
            assert!(!parses(text), "{text}");
        }
    }
}
