//! Paths below a workspace, byte for byte.
//!
//! A name on Linux is any bytes but `/` and NUL. What a sandbox wrote must come back under exactly its own name, so these
//! paths are never normalised or decoded; only their printed form is lossy, and it says so.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A path relative to the workspace, without `.`, `..` or a leading slash. Ordered name by name, so a folder comes
/// directly before what lies below it.
///
/// Serializes as `{"path": "…", "exact": true}`. When the bytes are not UTF-8, `exact` is false, `path` is a lossy
/// rendering and `bytes` holds the real bytes in hexadecimal, so the value reads back as it was.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(PathBuf);

impl TreePath {
    /// The workspace itself: the empty path.
    #[must_use]
    pub fn root() -> Self {
        Self(PathBuf::new())
    }

    /// Takes a relative path of plain names; `None` when it is anything else.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Option<Self> {
        let path = path.into();
        let plain = path.components().all(|component| matches!(component, Component::Normal(_)));
        // `a//b`, `a/./b` and `a/` name the same file as the plain spelling but are not equal to it byte by byte.
        plain.then(|| Self(path.components().collect()))
    }

    /// This path and one more name.
    #[must_use]
    pub fn join(&self, name: &OsStr) -> Self {
        Self(self.0.join(name))
    }

    /// This path and all names of another.
    #[must_use]
    pub fn join_all(&self, path: &Self) -> Self {
        // Collected, since `join` of an empty path ends with a separator.
        Self(self.0.components().chain(path.0.components()).collect())
    }

    /// As a path to hand to the kernel.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The last name; empty for the workspace itself.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.0.file_name().unwrap_or_default()
    }

    /// The folder that holds this path; `None` for the workspace itself.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.parent().map(|parent| Self(parent.to_owned()))
    }

    /// The folders above this path, nearest first, without the workspace itself.
    pub fn folders_above(&self) -> impl Iterator<Item = Self> + '_ {
        self.0
            .ancestors()
            .skip(1)
            .filter(|ancestor| !ancestor.as_os_str().is_empty())
            .map(|ancestor| Self(ancestor.to_owned()))
    }

    /// Whether this path is `folder` or lies below it.
    #[must_use]
    pub fn is_within(&self, folder: &Self) -> bool {
        self.0.starts_with(&folder.0)
    }

    /// Number of names in it.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.components().count()
    }
}

impl fmt::Display for TreePath {
    /// The path for a person: lossy, with control characters escaped so that a name cannot drive a terminal.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.as_os_str().is_empty() {
            return formatter.write_str(".");
        }
        formatter.write_str(&super::notice::visible(&self.0.to_string_lossy()))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl AsRef<Path> for TreePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

/// How bytes that should be text are written down: as text where they are, else as bytes too.
#[derive(Serialize, Deserialize)]
struct Written {
    path: String,
    exact: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    bytes: String,
}

impl Serialize for TreePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.as_os_str();
        let written = match bytes.to_str() {
            Some(text) => Written { path: text.to_owned(), exact: true, bytes: String::new() },
            None => Written {
                path: bytes.to_string_lossy().into_owned(),
                exact: false,
                bytes: hexadecimal(bytes.as_bytes()),
            },
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TreePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let bytes = if written.exact {
            written.path.into_bytes()
        } else {
            from_hexadecimal(&written.bytes).ok_or_else(|| de::Error::custom("a path's bytes are not hexadecimal"))?
        };
        Self::new(OsString::from_vec(bytes)).ok_or_else(|| de::Error::custom("a path is not relative and plain"))
    }
}

/// Bytes as lower-case hexadecimal.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// The reverse of [`hexadecimal`].
fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_plain_relative_paths_are_taken() {
        for text in ["/a", "../a", "a/../b", "./a"] {
            assert_eq!(TreePath::new(text), None, "{text}");
        }
        assert_eq!(TreePath::new("a//b/"), TreePath::new("a/b"));
    }

    #[test]
    fn a_folder_sorts_directly_before_what_is_below_it() {
        let mut paths: Vec<_> = ["a.b", "a/c", "a", "a-b", "a/c/d"].into_iter().filter_map(TreePath::new).collect();
        paths.sort();
        let shown: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a", "a/c", "a/c/d", "a-b", "a.b"]);
    }

    proptest! {
        #[test]
        fn every_name_survives_being_written_down(bytes in proptest::collection::vec(1u8..=255, 1..40)) {
            if let Some(path) = TreePath::new(OsString::from_vec(bytes)) {
                let text = serde_json::to_string(&path).unwrap();
                prop_assert_eq!(serde_json::from_str::<TreePath>(&text).unwrap(), path);
            }
        }
    }
}
