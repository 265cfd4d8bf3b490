//! What an edit changed, as people and models read it.

use similar::TextDiff;

use crate::{excerpt, plain_text};

/// The largest diff in a result, in bytes.
const DIFF_BYTES: usize = 16_000;

/// A unified diff with three lines of context, cut when it is very long.
pub(crate) fn unified(path: &str, before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let text = diff.unified_diff().context_radius(3).header(&format!("a/{path}"), &format!("b/{path}")).to_string();
    // A `\r` at each line end says nothing in a diff, and would be escaped.
    let (shown, _) = plain_text::content(&text.replace("\r\n", "\n"));
    excerpt::head(&shown, DIFF_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_names_the_file_and_shows_context() {
        let diff = unified("a.txt", "1\r\n2\r\n3\r\n", "1\r\n\u{1b}x\r\n3\r\n");
        assert_eq!(diff, "--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,3 @@\n 1\n-2\n+\\u{1b}x\n 3\n");
    }
}
