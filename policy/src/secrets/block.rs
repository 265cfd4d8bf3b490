//! Private keys in PEM (RFC 7468): where one begins, and which lines are its own.
//!
//! Source code names the first line of a key as often as a file holds one, and its next lines are words that base64 could
//! hold, too (`nil`, `end`). So a key has a line of full length, or the line that ends it.

/// Letters of base64 in a line that is surely a key's. The full line of a key has 64 (RFC 7468), of OpenSSH 70, of OpenPGP 64 or 76.
const FULL: usize = 48;

/// Letters of base64 in a row that may be a piece of a key, and hardly a word.
const PIECE: usize = 16;

/// How the lines of a key end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The next line ends the key.
    Closed,
    /// The text ends, and the key may go on.
    Open,
    /// The next line is none of a key's.
    Over,
}

/// What a line may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Of a key: a full line, or one of its headers (RFC 1421, RFC 9580).
    OfKey,
    /// A piece of a key, and no word.
    Piece,
    /// A word that base64 could hold.
    Word,
    Empty,
    Other,
}

/// Where a private key begins in a line.
pub(super) fn begins_key(line: &str) -> Option<usize> {
    line.match_indices("-----BEGIN ")
        .find(|(at, _)| {
            line.get(*at..).is_some_and(|rest| {
                rest.split("-----")
                    .nth(1)
                    .is_some_and(|label| label.ends_with("PRIVATE KEY") || label.ends_with("PRIVATE KEY BLOCK"))
            })
        })
        .map(|(at, _)| at)
}

/// Whether a text on one line may have a key in it.
pub(super) fn has_piece(text: &str) -> bool {
    text.split(|letter: char| !is_base64(letter)).any(|piece| piece.len() >= PIECE)
}

/// Whether a text holds a private key, and not only the name of one.
pub(super) fn holds_key(text: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().enumerate().any(|(at, line)| {
        let key = begins_key(line).and_then(|start| line.get(start..));
        key.is_some_and(|key| {
            let body = key.splitn(3, "-----").nth(2).unwrap_or_default();
            has_piece(body) || lines_of_key(lines.get(at + 1..).unwrap_or_default()) != (0, End::Over)
        })
    })
}

/// How many of the lines that follow a key's first are the key's, and what comes then.
pub(super) fn lines_of_key(lines: &[&str]) -> (usize, End) {
    // Up to the last one that is surely a key's, and whether what follows may be.
    let (mut sure, mut has_piece, mut has_word) = (0, false, false);
    for (at, line) in lines.iter().enumerate() {
        if line.contains("-----END") {
            let is_key = sure > 0 || has_piece || has_word;
            return if is_key { (at, End::Closed) } else { (0, End::Over) };
        }
        match kind(line) {
            Line::OfKey => (sure, has_piece, has_word) = (at + 1, false, false),
            Line::Piece => has_piece = true,
            Line::Word => has_word = true,
            Line::Empty => {}
            Line::Other if has_piece => return (at, End::Over),
            Line::Other => return (sure, End::Over),
        }
    }
    // The last line of a key is short, and the text may be cut off behind it.
    if has_word && !has_piece && sure == 0 { (0, End::Over) } else { (lines.len(), End::Open) }
}

/// What a line may be, after a number or sign in front of it.
fn kind(line: &str) -> Line {
    if ["Proc-Type:", "DEK-Info:", "Comment:", "Version:"].iter().any(|header| line.contains(header)) {
        return Line::OfKey;
    }
    let mut words = line.split_whitespace();
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (word, other) = if first.len() > second.len() { (first, second) } else { (second, first) };
    let word = word.trim_end_matches(['"', '\'', ',', '\\', ';']).trim_start_matches(['"', '\'', '|', '>', '#']);
    let word = word.strip_suffix("\\n").unwrap_or(word);
    let is_alone = other.len() < PIECE && (word.len() >= FULL || !other.bytes().any(|byte| byte.is_ascii_alphabetic()));
    if words.next().is_some()
        || !is_alone
        || !word.chars().all(|letter| is_base64(letter) || matches!(letter, ':' | '-'))
    {
        return Line::Other;
    }
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'-'));
    let has = |kind: fn(&u8) -> bool| word.as_bytes().iter().any(kind);
    let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    match word.len() {
        _ if is_number => Line::Empty,
        FULL.. => Line::OfKey,
        PIECE.. if is_mixed => Line::Piece,
        _ if is_mixed && word.ends_with('=') => Line::Piece,
        _ => Line::Word,
    }
}

fn is_base64(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/' | '=')
}

#[cfg(test)]
mod tests {
    use super::super::redact::{MARK, Redactor, Within};

    /// A key's first and last line, put together so that no scanner of repositories finds one here.
    fn ends(kind: &str) -> (String, String) {
        let label = ["PRIVATE", "KEY"].join(" ");
        (format!("-----BEGIN {kind}{label}-----"), format!("-----END {kind}{label}-----"))
    }

    fn redact(text: &str) -> (String, u64) {
        let redacted = Redactor::default().redact(text);
        (redacted.text, redacted.count)
    }

    #[test]
    fn source_code_that_names_the_first_line_of_a_key_stays_whole() {
        let (begin, end) = ends("RSA ");
        for text in [
            format!("return true if s.include? \"{begin}\"\nnil\nend\n\nbegin\nrescue\nend\ndef x(y)\n  y\nend\n"),
            format!("BEGIN = \"{begin}\"\nEND = \"{end}\"\nx = 1\n"),
            format!("if x == '{begin}':\n    return\n"),
            format!("let pattern = /{begin}[^-]+{end}/;\nnext();\n"),
            format!("if x == '{begin}':\n    return parse(x)\n# the end\n"),
            format!("x = \"{begin}\"\n}}\n\n"),
        ] {
            assert_eq!(redact(&text), (text.clone(), 0));
        }
    }

    #[test]
    fn a_key_goes_from_its_first_line_to_its_last_however_it_is_laid_out() {
        let full = "a1B2c3D4".repeat(8);
        for kind in ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "] {
            let (begin, end) = ends(kind);
            for body in [
                format!("{full}\n{full}\na1B2=\n"),
                format!("{full}\r\n{full}\r\na1B2\r\n"),
                "a1B2c3D4\nc3D4a1B2\nxyz\n".to_owned(),
                format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0011\n\n{full}\nabc\n"),
                format!("   12\t{full}\n   13\ta1B2=\n"),
                format!("  \"{full}\\n\" +\n  \"a1B2=\\n\" +\n"),
            ] {
                let (text, count) = redact(&format!("before\n{begin}\n{body}{end}\nlast line here\n"));
                assert_eq!((text, count), (format!("before\n{MARK}private key]\n\nlast line here\n"), 1), "{body}");
            }
            // Cut off: what is surely a key's goes, and words behind another line stay.
            let (text, _) = redact(&format!("{begin}\n{full}\nlet x = f(1);\n"));
            assert_eq!(text, format!("{MARK}private key]\nlet x = f(1);\n"));
            let open = Redactor::default().redact(&format!("{begin}\n"));
            assert_eq!((open.count, open.end), (1, Within::PrivateKey));
        }
    }

    #[test]
    fn each_key_of_a_line_is_taken_out() {
        let ((begin, end), body) = (ends(""), "a1B2c3D4".repeat(4));
        let key = format!("{begin}\\n{body}\\n{end}");
        let (text, count) = redact(&format!("[\"{key}\", \"{key}\", \"{begin}{end}\"]\n"));
        assert_eq!((text, count), (format!("[\"{MARK}private key]\", \"{MARK}private key]\", \"{begin}{end}\"]\n"), 2));
        let (text, _) = redact(&format!("K=\"{begin}\\n{body}\n"));
        assert!(!text.contains(&body), "{text}");
        let label = ["PRIVATE", "KEY", "BLOCK"].join(" ");
        let (text, _) = redact(&format!("-----BEGIN PGP {label}-----\n\n{body}\n=a1B2\n-----END PGP {label}-----\n"));
        assert_eq!(text, format!("{MARK}private key]\n\n"));
    }
}
