//! Text of unknown origin as one may show it on a terminal or in a progress line.
//!
//! Programs colour their output, redraw lines and can, on purpose, move the cursor, set titles or turn the reading
//! direction. None of that gets through here.

use serde_json::Value;

/// One line of output as it would look after it was printed: escape sequences gone, redrawn parts replaced.
#[must_use]
pub fn line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // A progress bar writes `10%\r20%\r…`; what counts is what is written last.
    let last = text.trim_end_matches(['\r', '\n']).rsplit('\r').next().unwrap_or_default();
    without_sequences(last).chars().filter(|character| !is_invisible(*character)).collect()
}

/// Lines of output, each as [`line()`] shows it.
#[must_use]
pub fn lines(text: &str) -> String {
    text.split('\n').map(|text| line(text.as_bytes())).collect::<Vec<_>>().join("\n")
}

/// A name as one may print it: what would act on a terminal is escaped instead of dropped, so that two names never
/// look alike.
#[must_use]
pub fn name(text: &str) -> String {
    let escape = |character: char| {
        let is_seen =
            !(is_invisible(character) || character.is_control() || matches!(character, '\u{fe00}'..='\u{fe0f}'));
        let escaped: Box<dyn Iterator<Item = char>> =
            if !is_seen { Box::new(character.escape_default()) } else { Box::new(std::iter::once(character)) };
        escaped
    };
    text.chars().flat_map(escape).collect()
}

/// Lines as one may print them where every character counts: what would act on a terminal is escaped, as [`name`] does.
#[must_use]
pub fn visible(text: &str) -> String {
    text.split('\n').map(name).collect::<Vec<_>>().join("\n")
}

/// JSON as one may print it: what would act on a terminal or hide is an escape of JSON's own, so a program reads the same.
#[must_use]
pub fn json(value: &Value) -> String {
    json_text(&value.to_string())
}

/// A line of JSON, as [`json`] shows it.
#[must_use]
pub fn json_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        // JSON text without spaces has none of these outside of texts.
        if is_invisible(character) {
            let mut units = [0; 2];
            escaped.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Removes ECMA-48 escape sequences: `ESC [ … final`, `ESC ] … BEL|ST`, `ESC P|X|^|_ … ST`, and two-character ones.
fn without_sequences(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => match characters.next() {
                Some('[') => skip_control_sequence(&mut characters),
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut characters),
                Some('(' | ')' | '*' | '+') => {
                    characters.next();
                }
                Some(_) | None => {}
            },
            '\u{9b}' => skip_control_sequence(&mut characters),
            '\u{9d}' | '\u{90}' => skip_string(&mut characters),
            character => kept.push(character),
        }
    }
    kept
}

fn skip_control_sequence(characters: &mut std::str::Chars<'_>) {
    for character in characters.by_ref() {
        if ('\u{40}'..='\u{7e}').contains(&character) {
            return;
        }
    }
}

fn skip_string(characters: &mut std::str::Chars<'_>) {
    while let Some(character) = characters.next() {
        if character == '\u{7}' || character == '\u{9c}' {
            return;
        }
        if character == '\u{1b}' {
            // `ESC \` ends it; any other escape ends it as well on real terminals.
            characters.next();
            return;
        }
    }
}

/// Control characters but the tab, and characters that are not seen or that reorder what follows (Unicode TR 36 §2.10, "Trojan
/// Source" CVE-2021-42574): `Default_Ignorable_Code_Point` of DerivedCoreProperties.txt, and the two separators of lines. What
/// only chooses another look of the letter before it stays: signs in output have it.
fn is_invisible(character: char) -> bool {
    (character.is_control() && character != '\t')
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_titles_and_redrawn_parts_are_gone() {
        assert_eq!(line(b"\x1b[1;31merror\x1b[0m: no"), "error: no");
        assert_eq!(line(b"\x1b]0;owned\x07text\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\"), "textlink");
        assert_eq!(line(b"10%\r50%\r100%\r\n"), "100%");
        assert_eq!(line(b"a\tb\x08\x00c"), "a\tbc");
        assert_eq!(line("a\u{202e}b\u{200b}".as_bytes()), "ab");
        assert_eq!(line(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn json_is_the_same_to_a_program_and_harmless_to_a_terminal() {
        let value = serde_json::json!({ "a\u{202e}": ["\u{1b}[2J\u{9b}\u{7f}\u{e0041}", "ü\t\"\\"] });
        let text = json(&value);
        assert_eq!(text, r#"{"a\u202e":["\u001b[2J\u009b\u007f\udb40\udc41","ü\t\"\\"]}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn lines_stay_lines_where_every_character_counts() {
        assert_eq!(visible("a\u{202e}b\nc\u{1b}"), "a\\u{202e}b\nc\\u{1b}");
    }

    #[test]
    fn names_stay_different() {
        assert_eq!(name("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(name("pÿth/ü"), "pÿth/ü");
        for hidden in ["\u{ad}", "\u{2028}", "\u{3164}", "\u{180e}", "\u{fe0f}", "\u{e0041}", "\u{fffb}"] {
            assert!(name(&format!("a{hidden}b")).is_ascii(), "{hidden:?}");
        }
    }

    proptest! {
        #[test]
        fn no_control_character_gets_through(bytes: Vec<u8>) {
            prop_assert!(line(&bytes).chars().all(|character| character == '\t' || !character.is_control()));
        }
    }
}
