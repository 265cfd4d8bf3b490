//! What a policy file that cannot be read most likely meant, in the words of its language instead of its reader's.
//!
//! Only keys are repeated and never values: what is wrong with a policy is told to agents too.

/// Adds to a message of the TOML reader which key it is about, what to write, and what an unknown name was probably meant
/// to be. `line` is the file's line that it is about.
pub(crate) fn explained(message: &str, line: &str) -> String {
    let key = line.split_once('=').map(|(key, _)| key.trim()).filter(|key| {
        !key.is_empty()
            && key.len() <= 64
            && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.-\"".contains(letter))
    });
    let about = key.map(|key| format!(" (key `{key}`)")).unwrap_or_default();
    if let Some((_, rest)) = message.split_once("unknown variant `").or_else(|| message.split_once("unknown field `")) {
        // What is quoted is every second part.
        let mut quoted = rest.split('`').step_by(2);
        let written = quoted.next().unwrap_or_default();
        // A field that is unknown is the key.
        let about = if message.contains("unknown variant") { about } else { String::new() };
        return format!("{message}{about}{}", did_you_mean(written, quoted));
    }
    let write = if message.contains("expected i64") {
        let key = key.unwrap_or("memory_mb");
        format!("; write a whole number without quotes and unit, as in `{key} = 2048`")
    } else if message.contains("expected a sequence") {
        format!("; write a list, as in `{} = [\"…\"]`", key.unwrap_or("paths"))
    } else if message.contains("expected a string") {
        format!("; write a text in quotes, as in `{} = \"…\"`", key.unwrap_or("why"))
    } else if message.contains("expected a boolean") {
        format!("; write `{} = true` or `false`", key.unwrap_or("optional"))
    } else {
        return message.to_owned();
    };
    format!("{message}{about}{write}")
}

/// `; did you mean …?`, or nothing where no name is near.
pub(crate) fn did_you_mean<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> String {
    nearest(written, names).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// The name that differs from `written` in a third of its letters at most, or begins with it.
fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A name of this language is far shorter, and the comparison takes the product of both lengths.
    if written.len() > 64 {
        return None;
    }
    let plain = written.to_lowercase().replace('-', "_");
    let names: Vec<&str> = names.collect();
    if let Some(name) = names.iter().find(|name| plain.len() > 2 && name.starts_with(&plain)) {
        return Some(name);
    }
    let scored = names.into_iter().map(|name| (distance(&plain, name), name));
    let (score, name) = scored.min_by_key(|(score, _)| *score)?;
    (score <= (name.len() / 3).max(1) && score < name.len()).then_some(name)
}

/// Levenshtein's distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = (0..=right.len()).collect();
    for (number, from) in left.chars().enumerate() {
        let mut row = vec![number + 1];
        for ((to, diagonal), above) in right.iter().zip(&before).zip(before.iter().skip(1)) {
            let beside = row.last().copied().unwrap_or_default();
            row.push((diagonal + usize::from(from != *to)).min(beside + 1).min(above + 1));
        }
        before = row;
    }
    before.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reader_s_message_gets_the_key_what_to_write_and_what_was_meant() {
        let cases = [
            (
                "unknown variant `offline`, expected one of `off`, `registry`, `allowlist`",
                "network = \"offline\"",
                "unknown variant `offline`, expected one of `off`, `registry`, `allowlist` (key `network`)",
            ),
            (
                "unknown variant `drafts`, expected one of `apply`, `draft`, `read_only`",
                "mode = \"drafts\"",
                "unknown variant `drafts`, expected one of `apply`, `draft`, `read_only` (key `mode`); did you mean `draft`?",
            ),
            (
                "unknown field `memory`, expected one of `network`, `memory_mb`",
                "memory = 5",
                "unknown field `memory`, expected one of `network`, `memory_mb`; did you mean `memory_mb`?",
            ),
            (
                "invalid type: string \"2G\", expected i64",
                "memory_mb = \"2G\"",
                "invalid type: string \"2G\", expected i64 (key `memory_mb`); write a whole number without quotes and unit, as in `memory_mb = 2048`",
            ),
            ("missing field `version`", "", "missing field `version`"),
        ];
        for (message, line, expected) in cases {
            assert_eq!(explained(message, line), expected);
        }
    }

    proptest! {
        #[test]
        fn no_value_is_repeated_and_anything_can_be_explained(message in ".{0,80}", line in ".{0,80}") {
            let told = explained(&message, &line);
            prop_assert!(told.starts_with(&message));
            prop_assert!(!explained("invalid type: x, expected a string", "A_KEY = secret").contains("secret"));
        }
    }
}
