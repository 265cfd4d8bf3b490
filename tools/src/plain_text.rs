//! Text of unknown origin, made safe to show.
//!
//! A repository and its tests can print what moves a terminal's cursor, hides text or turns its direction
//! (CVE-2021-42574, "Trojan Source"). Output of programs loses such sequences; content of files keeps every character,
//! but those are shown escaped, so that what one reads is what is there.

/// Output of a program: escape sequences gone, redrawn parts of a line replaced, other control characters dropped,
/// invisible ones escaped.
pub(crate) fn output(text: &str) -> String {
    let text = without_sequences(text);
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        // A progress bar writes `10%\r20%\r`; what counts is what was written last.
        let last = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
        let mut previous = ' ';
        for character in last.chars() {
            if is_hidden(character, previous) {
                shown.extend(character.escape_unicode());
            } else if !character.is_control() || character == '\t' {
                shown.push(character);
            }
            previous = character;
        }
        shown.push_str(end);
    }
    shown
}

/// The same, on one line.
pub(crate) fn one_line(text: &str) -> String {
    output(text).replace('\n', " ")
}

/// A file's content: nothing is dropped, what could not be seen is escaped. Returns how many characters were.
pub(crate) fn content(text: &str) -> (String, u64) {
    // Almost every line of almost every file.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n')) {
        return (text.to_owned(), 0);
    }
    let mut shown = String::with_capacity(text.len());
    let mut escaped = 0;
    let mut previous = ' ';
    for character in text.chars() {
        let invisible = character.is_control() && !matches!(character, '\n' | '\t');
        if invisible || is_hidden(character, previous) {
            shown.extend(character.escape_unicode());
            escaped += 1;
        } else {
            shown.push(character);
        }
        previous = character;
    }
    (shown, escaped)
}

/// Whether a character has no width or turns the direction of text. The joiners are part of spelling in some scripts
/// and of emoji; they are hidden only where they join nothing, after ASCII.
fn is_hidden(character: char, previous: char) -> bool {
    match character {
        '\u{200c}' | '\u{200d}' => previous.is_ascii(),
        // Each chooses how the character before it looks; a row of them is a hidden text.
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => previous.is_ascii() || is_selector(previous),
        '\u{00ad}'
        | '\u{034f}'
        | '\u{061c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'
        | '\u{200e}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

fn is_selector(character: char) -> bool {
    matches!(character, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Removes escape sequences (ECMA-48): `ESC [ … final`, strings from `ESC ] P X ^ _` to BEL or ST, and short ones.
fn without_sequences(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let introducer = match character {
            '\u{1b}' => rest.next(),
            '\u{9b}' => Some('['),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => Some(']'),
            character => {
                kept.push(character);
                continue;
            }
        };
        match introducer {
            Some('[') => {
                // Parameters and intermediates, then one final byte. A line end ends a broken sequence, so that one
                // stray introducer does not swallow the output.
                while let Some(next) = rest.next_if(|next| !matches!(next, '\n')) {
                    if ('\u{40}'..='\u{7e}').contains(&next) {
                        break;
                    }
                }
            }
            Some(']' | 'P' | 'X' | '^' | '_') => {
                while let Some(next) = rest.next_if(|next| *next != '\n') {
                    if matches!(next, '\u{7}' | '\u{9c}') {
                        break;
                    }
                    if next == '\u{1b}' {
                        let _ = rest.next_if_eq(&'\\');
                        break;
                    }
                }
            }
            Some('(' | ')' | '*' | '+' | '#' | ' ') => {
                rest.next();
            }
            Some('\n') => kept.push('\n'),
            Some(_) | None => {}
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_titles_links_and_redrawn_parts_are_gone() {
        assert_eq!(output("\u{1b}[1;31mred\u{1b}[0m \u{1b}]8;;http://x\u{1b}\\link\u{1b}]0;t\u{7}\n"), "red link\n");
        assert_eq!(output("10%\r50%\rdone\r\nnext\r\n"), "done\nnext\n");
        assert_eq!(output("a\u{8}\0b\tc"), "ab\tc");
        assert_eq!(output("lost\u{1b}[\nkept"), "lost\nkept");
    }

    #[test]
    fn what_turns_direction_is_escaped_and_counted() {
        assert_eq!(content("a\u{202e}b\u{1b}c\td\n"), ("a\\u{202e}b\\u{1b}c\td\n".into(), 2));
        assert_eq!(output("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn joiners_of_scripts_and_emoji_stay() {
        let text = "👩\u{200d}💻 می\u{200c}خواهم";
        assert_eq!(content(text), (text.to_owned(), 0));
        assert_eq!(content("pass\u{200d}word").1, 1);
    }

    #[test]
    fn a_selector_stays_where_it_chooses_a_look_and_a_row_of_them_is_seen() {
        let text = "❤\u{fe0f} 葛\u{e0100}";
        assert_eq!(content(text), (text.to_owned(), 0));
        assert_eq!(content("a\u{fe00}\u{e0101}\u{fe02}").1, 3);
        assert_eq!(content("❤\u{fe0f}\u{fe00}\u{fe01}").1, 2);
        assert_eq!(content("\u{3164}x\u{115f}").1, 2);
    }

    proptest! {
        #[test]
        fn nothing_that_acts_on_a_terminal_gets_through(text: String) {
            for shown in [output(&text), content(&text).0] {
                prop_assert!(shown.chars().all(|character| !character.is_control() || "\n\t".contains(character)));
                prop_assert!(shown.find('\u{202e}').is_none(), "turned");
            }
        }
    }
}
