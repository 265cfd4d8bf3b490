//! Paths below the workspace: parsed once, here, from what an agent wrote.
//!
//! Parsing is purely textual. It keeps plain mistakes and tricks out of plans, policy and audit; it is not what
//! confines a call: the guest resolves beneath the workspace with `openat2(2)`, and the mount namespace holds nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest path that is accepted, in bytes. Linux's `PATH_MAX` is 4096 with the closing NUL (`limits.h`).
pub const MAX_PATH_BYTES: usize = 4095;

/// The longest single name, in bytes (`NAME_MAX` of `limits.h`).
const MAX_NAME_BYTES: usize = 255;

/// A path relative to the workspace: no `.`, no `..`, no leading or doubled slash. The empty path is the workspace itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkspacePath(String);

/// Why a text is not a path below the workspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text is empty.
    #[error("the path is empty; write `.` for the workspace itself")]
    Empty,
    /// The text is longer than [`MAX_PATH_BYTES`], or one name in it is longer than 255 bytes.
    #[error("the path is too long (at most {MAX_PATH_BYTES} bytes, {MAX_NAME_BYTES} for one name)")]
    TooLong,
    /// The path leads out of the workspace.
    #[error(
        "the path is not below the workspace {workspace}; write it relative to the workspace, or absolute below it"
    )]
    Outside {
        /// The workspace's absolute path.
        workspace: String,
    },
    /// The path uses a form that means something to a shell, a browser or another system, but nothing here.
    #[error("the path {form}; write a plain path with `/` between names")]
    Form {
        /// What was found, as a clause: "starts with `~`".
        form: &'static str,
    },
}

impl WorkspacePath {
    /// The workspace itself.
    #[must_use]
    pub fn workspace() -> Self {
        Self(String::new())
    }

    /// Parses what an agent wrote: relative to the workspace, or absolute below it.
    ///
    /// `workspace` is the workspace's absolute path without a closing slash. `.` and `..` are resolved textually,
    /// so `a/../b` is `b`.
    ///
    /// # Errors
    /// A [`PathError`] that does not depend on what exists.
    pub fn parse(text: &str, workspace: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if let Some(form) = foreign_form(text) {
            return Err(PathError::Form { form });
        }
        let outside = || PathError::Outside { workspace: workspace.to_owned() };
        let relative = if text.starts_with('/') {
            // `/work` is no prefix of `/workx`: the rest must be empty or start with a slash.
            match text.strip_prefix(workspace) {
                Some("") => "",
                Some(rest) if rest.starts_with('/') => rest,
                Some(_) | None => return Err(outside()),
            }
        } else {
            text
        };
        let mut names: Vec<&str> = Vec::new();
        for name in relative.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop().ok_or_else(outside)?;
                }
                name if name.len() > MAX_NAME_BYTES => return Err(PathError::TooLong),
                name => names.push(name),
            }
        }
        Ok(Self(names.join("/")))
    }

    /// The path as text; empty for the workspace itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the workspace itself.
    #[must_use]
    pub fn is_workspace(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `self` is `ancestor` or lies below it.
    #[must_use]
    pub fn is_within(&self, ancestor: &Self) -> bool {
        ancestor.is_workspace()
            || self.0.strip_prefix(&ancestor.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}

impl TryFrom<String> for WorkspacePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        // A recorded path is already relative; an absolute one can be below no workspace here.
        if text.is_empty() { Ok(Self::workspace()) } else { Self::parse(&text, "\0") }
    }
}

impl From<WorkspacePath> for String {
    fn from(path: WorkspacePath) -> Self {
        path.0
    }
}

/// Finds a form that is a path elsewhere. These names could exist on Linux; an agent that writes one means something else.
fn foreign_form(text: &str) -> Option<&'static str> {
    let drive = matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if text.contains('\0') {
        Some("holds a NUL byte")
    } else if text.chars().any(char::is_control) {
        Some("holds a control character")
    } else if text.contains('\\') {
        Some("holds a backslash")
    } else if text == "~" || text.starts_with("~/") {
        Some("starts with `~`, which no shell expands here")
    } else if text.contains("://") || text.starts_with("file:") {
        Some("is a URL")
    } else if drive {
        Some("starts with a drive letter")
    } else if text.split('/').any(is_encoded_dots) {
        Some("holds percent-encoded dots")
    } else {
        None
    }
}

/// Whether `name` is `.` or `..` with at least one dot percent-encoded.
fn is_encoded_dots(name: &str) -> bool {
    let plain = name.to_ascii_lowercase().replace("%2e", ".");
    plain != name && (plain == "." || plain == "..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<String, PathError> {
        WorkspacePath::parse(text, "/work").map(String::from)
    }

    #[test]
    fn relative_and_absolute_spellings_are_one_path() {
        for text in ["src/lib.rs", "./src//lib.rs", "src/x/../lib.rs", "/work/src/lib.rs", "src/lib.rs/"] {
            assert_eq!(parse(text).as_deref(), Ok("src/lib.rs"), "{text}");
        }
        assert_eq!(parse("."), Ok(String::new()));
        assert_eq!(parse("/work"), Ok(String::new()));
    }

    #[test]
    fn what_leads_out_is_refused_whether_it_exists_or_not() {
        for text in ["..", "../x", "a/../../b", "/etc/passwd", "/workx", "/work/../etc", "/"] {
            assert_eq!(parse(text), Err(PathError::Outside { workspace: "/work".into() }), "{text}");
        }
    }

    #[test]
    fn forms_of_other_worlds_are_refused() {
        for text in ["~", "~/x", "file:///etc", "a\\b", "\\\\?\\C:", "C:x", "%2e%2e/x", "a/%2E./b", "a\0b", "a\nb"] {
            assert!(matches!(parse(text), Err(PathError::Form { .. })), "{text}");
        }
        assert_eq!(parse(""), Err(PathError::Empty));
        assert_eq!(parse(&"a/".repeat(2048)), Err(PathError::TooLong));
        assert_eq!(parse(&"a".repeat(256)), Err(PathError::TooLong));
    }

    #[test]
    fn within_compares_whole_names() {
        let path = |text| WorkspacePath::parse(text, "/work").unwrap();
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(path("a").is_within(&path(".")));
        assert!(!path("ab").is_within(&path("a")));
    }

    proptest! {
        #[test]
        fn an_accepted_path_never_climbs(text in "\\PC{0,40}|([./a~%2e]{0,12})") {
            if let Ok(path) = WorkspacePath::parse(&text, "/work") {
                prop_assert!(path.as_str().split('/').all(|name| name != ".." && name != "."));
                prop_assert!(!path.as_str().starts_with('/'));
                prop_assert_eq!(WorkspacePath::try_from(path.as_str().to_owned()), Ok(path));
            }
        }
    }
}
