//! A command as a person would type it.

/// Words as a shell would take them, for a person to copy.
pub(crate) fn command_line<'a>(words: impl Iterator<Item = &'a String>) -> String {
    let quoted = words.map(|word| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,+@%".contains(letter);
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_copied() {
        let words = ["node", "--test", "a b.js", "it's"].map(String::from);
        assert_eq!(command_line(words.iter()), "node --test 'a b.js' 'it'\\''s'");
    }
}
