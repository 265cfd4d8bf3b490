//! A long text cut to what a model can use, with the exact size of what is missing.

/// The largest text of a result, in bytes: about 6 k tokens, well under the clients' caps (Claude Code: 25 k tokens).
pub(crate) const TEXT_BYTES: usize = 24_000;

/// The first `limit` bytes of `text` at most, whole characters.
pub(crate) fn prefix(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// The last `limit` bytes of `text` at most, whole characters.
pub(crate) fn suffix(text: &str, limit: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(limit))..]
}

/// The beginning of `text`, with a line that counts what is missing.
pub(crate) fn head(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let kept = prefix(text, limit);
    let kept = kept.rfind('\n').map_or(kept, |end| &kept[..=end]);
    let rest = &text[kept.len()..];
    let separator = if kept.ends_with('\n') { "" } else { "\n" };
    format!("{kept}{separator}[... {} left out ...]", size(rest))
}

/// The beginning and the end of `text`: a quarter and three quarters of `limit`, since logs tell most at their end.
pub(crate) fn head_and_tail(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let first = prefix(text, limit / 4);
    let first = first.rfind('\n').map_or(first, |end| &first[..=end]);
    let last = suffix(text, limit - limit / 4);
    let last = last.find('\n').filter(|end| *end + 1 < last.len()).map_or(last, |end| &last[end + 1..]);
    let middle = &text[first.len()..text.len() - last.len()];
    let separator = if first.is_empty() || first.ends_with('\n') { "" } else { "\n" };
    format!("{first}{separator}[... {} left out ...]\n{last}", size(middle))
}

fn size(text: &str) -> String {
    format!("{} bytes, {} lines", text.len(), text.lines().count())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_end_of_a_log_is_kept_and_the_rest_is_counted() {
        let log: String = (1..=100).map(|line| format!("line {line}\n")).collect();
        let cut = head_and_tail(&log, 80);
        assert_eq!(
            cut,
            "line 1\nline 2\n[... 721 bytes, 91 lines left out ...]\nline 94\nline 95\nline 96\nline 97\nline 98\nline 99\nline 100\n"
        );
        assert_eq!(head(&log, 20), "line 1\nline 2\n[... 778 bytes, 98 lines left out ...]");
    }

    proptest! {
        #[test]
        fn a_cut_text_is_hardly_longer_than_its_limit(text: String, limit in 0usize..64) {
            prop_assert!(head(&text, limit).len() <= limit.max(text.len().min(limit)) + 64);
            prop_assert!(head_and_tail(&text, limit).len() <= limit + 64);
        }
    }
}
