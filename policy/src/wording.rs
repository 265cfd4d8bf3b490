//! What a policy file that cannot be read most likely meant, in the words of its language instead of its reader's.
//!
//! Of what the reader refuses only keys are repeated and never values, not even those that its own message holds: what is
//! wrong with a policy is told to agents too, and a value that stands in a wrong place may be anything.

/// How serde's messages begin, and what stands in them before what would be right (`serde::de::Error`).
const UNKNOWN_FIELD: &str = "unknown field `";
const UNKNOWN_VARIANT: &str = "unknown variant `";
const EXPECTED: &str = ", expected ";

/// Adds to a message of the TOML reader which key it is about, what to write, and what an unknown name was probably meant
/// to be. `line` is the file's line that it is about.
pub(crate) fn explained(message: &str, line: &str) -> String {
    let key = line.split_once('=').map(|(key, _)| key.trim()).filter(|key| {
        !key.is_empty()
            && key.len() <= 64
            && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.-\"".contains(letter))
    });
    let about = key.map(|key| format!(" (key `{key}`)")).unwrap_or_default();
    if let Some(rest) = message.strip_prefix(UNKNOWN_FIELD) {
        // What is quoted is every second part. The field is the key.
        let mut quoted = rest.split('`').step_by(2);
        let written = quoted.next().unwrap_or_default();
        return format!("{message}{}", did_you_mean(written, quoted));
    }
    if let Some(rest) = message.strip_prefix(UNKNOWN_VARIANT) {
        let (written, names) = rest.rsplit_once(EXPECTED).unwrap_or((rest, ""));
        let quoted = names.split('`').skip(1).step_by(2);
        let meant = did_you_mean(written.trim_end_matches('`'), quoted);
        return format!("unknown variant{EXPECTED}{names}{about}{meant}");
    }
    let message = &without_value(message);
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
        return message.clone();
    };
    format!("{message}{about}{write}")
}

/// The message without the value that serde puts into it: of what is wrong, only what kind it is stays
/// (`serde::de::Unexpected`: its kind is in words, and what it holds follows in quotes or backticks).
fn without_value(message: &str) -> String {
    let of_value = ["invalid type: ", "invalid value: "].into_iter().find(|start| message.starts_with(start));
    // What was expected is our own text; the value before it may hold anything.
    let parts = of_value.and_then(|start| Some((start, message.strip_prefix(start)?.rsplit_once(EXPECTED)?)));
    let Some((start, (found, expected))) = parts else { return message.to_owned() };
    let kind = found.split(['`', '"']).next().unwrap_or_default().trim_end();
    format!("{start}{kind}{EXPECTED}{expected}")
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
    use serde::de::{Error as _, Unexpected};
    use toml::de::Error;

    use super::*;

    #[test]
    fn a_reader_s_message_gets_the_key_what_to_write_and_what_was_meant() {
        let cases = [
            (
                "unknown variant `offline`, expected one of `off`, `registry`, `allowlist`",
                "network = \"offline\"",
                "unknown variant, expected one of `off`, `registry`, `allowlist` (key `network`)",
            ),
            (
                "unknown variant `drafts`, expected one of `apply`, `draft`, `read_only`",
                "mode = \"drafts\"",
                "unknown variant, expected one of `apply`, `draft`, `read_only` (key `mode`); did you mean `draft`?",
            ),
            (
                "unknown field `memory`, expected one of `network`, `memory_mb`",
                "memory = 5",
                "unknown field `memory`, expected one of `network`, `memory_mb`; did you mean `memory_mb`?",
            ),
            (
                "invalid type: string \"2G\", expected i64",
                "memory_mb = \"2G\"",
                "invalid type: string, expected i64 (key `memory_mb`); write a whole number without quotes and unit, as in `memory_mb = 2048`",
            ),
            ("missing field `version`", "", "missing field `version`"),
        ];
        for (message, line, expected) in cases {
            assert_eq!(explained(message, line), expected);
        }
    }

    proptest! {
        #[test]
        fn no_value_is_repeated(value in "[ -~]{0,20}SECRET[ -~]{0,20}", number in 1_000_000_i64.., real in 1e6..1e9) {
            let line = format!("a_key = {value}");
            // As serde itself has a number that is too large for its own words.
            let large = format!("integer `{value}` as u128");
            let unexpected = [
                Unexpected::Str(&value),
                Unexpected::Other(&large),
                Unexpected::Signed(number),
                Unexpected::Float(real),
                Unexpected::Bytes(value.as_bytes()),
            ];
            let messages = unexpected.into_iter().flat_map(|unexpected| {
                [Error::invalid_type(unexpected, &"i64"), Error::invalid_value(unexpected, &"a string")]
            });
            for message in messages.chain([Error::unknown_variant(&value, &["off", "registry"])]) {
                let told = explained(message.message(), &line);
                let is_repeated = ["SECRET", &number.to_string(), &real.to_string()].iter().any(|held| told.contains(held));
                prop_assert!(!is_repeated, "{told}");
            }
        }

        #[test]
        fn anything_can_be_explained(
            start in prop::sample::select(vec!["", UNKNOWN_FIELD, UNKNOWN_VARIANT, "invalid type: ", "invalid value: "]),
            message in ".{0,80}",
            line in ".{0,80}",
        ) {
            let message = format!("{start}{message}");
            let told = explained(&message, &line);
            prop_assert!(message.is_empty() || !told.is_empty());
        }
    }
}
