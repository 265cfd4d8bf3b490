//! What a value says: whether it is given at all, and whether it looks like a secret.
//!
//! A value that only names a variable of the environment, or asks a program for itself, is not there. What is looked for in
//! output must be such that nothing else would have it.

use super::redact;

/// A value is looked for in output when it has at least this many characters. A shorter one may be any word.
const SHORTEST_VALUE: usize = 12;

/// A longer value is judged by its beginning, in bytes: what is read is not ours, and judging must not take long.
const JUDGED: usize = 512;

/// Signs of references in a value that need no closing, or have none. What follows on more is taken as it stands.
const MOST_UNCLOSED: usize = 16;

/// Values that are choices, not texts, and the password that Java's own key stores have.
const CHOICES: [&str; 13] =
    ["true", "false", "null", "none", "nil", "undefined", "yes", "no", "on", "off", "masked", "legacy", "changeit"];

/// Pieces of values that are there to be replaced by whoever copies them.
const PLACEHOLDERS: [&str; 17] = [
    "example",
    "sample",
    "change",
    "replace",
    "placeholder",
    "dummy",
    "insert",
    "your",
    "todo",
    "xxx",
    "fake",
    "test",
    "secret",
    "password",
    "1234",
    "abcd",
    "0000",
];

/// What a value gives without the environment: references are dropped, defaults of them stay. `real` for `"${X:-real}"`.
pub(super) fn given(value: &str) -> String {
    let (mut kept, mut rest) = (String::new(), beginning(value));
    let mut unclosed = 0;
    while let Some(at) = rest.find(['$', '{', '<', '%', '`']) {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        kept.push_str(before);
        let closed = [("${{", "}}"), ("{{", "}}"), ("<%", "%>"), ("${", "}"), ("$(", ")"), ("`", "`"), ("<", ">")]
            .iter()
            .find_map(|(open, close)| from.strip_prefix(open).and_then(|inner| to_close(inner, open, close)));
        if let Some((inner, after)) = closed {
            let is_variable = from.starts_with("${") && !from.starts_with("${{");
            // `:-` and its like: what stands behind is the value when there is no variable.
            if let Some((_, default)) = inner.split_once(['-', '=', '+', ':']).filter(|_| is_variable) {
                kept.push_str(&given(default.trim_start_matches(['-', '=', '+', '?'])));
            } else if !is_variable && pieces(inner).any(is_secret) {
                kept.push_str(inner);
            }
            rest = after;
        } else if unclosed == MOST_UNCLOSED {
            rest = from;
            break;
        } else if let Some(name) = from.strip_prefix('$') {
            unclosed += 1;
            rest = name.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
        } else {
            unclosed += 1;
            let first = from.chars().next().map_or(0, char::len_utf8);
            let (sign, after) = from.split_at_checked(first).unwrap_or((from, ""));
            kept.push_str(sign);
            rest = after;
        }
    }
    kept.push_str(rest);
    kept.trim().trim_matches(['"', '\'', '`', ',', ';']).trim().to_owned()
}

/// The part of a value that is judged.
pub(super) fn beginning(value: &str) -> &str {
    value.get(..value.floor_char_boundary(JUDGED)).unwrap_or(value)
}

/// The text until what was opened is closed, with what is nested in it, and the text behind.
fn to_close<'a>(inner: &'a str, open: &str, close: &str) -> Option<(&'a str, &'a str)> {
    let mut depth = 0_usize;
    for (at, _) in inner.char_indices() {
        let rest = inner.get(at..)?;
        if rest.starts_with(close) {
            if depth == 0 {
                return Some((inner.get(..at)?, rest.get(close.len()..)?));
            }
            depth -= 1;
        } else if rest.starts_with(open) && open != close {
            depth += 1;
        }
    }
    None
}

/// Whether a value that is given is one that may be a credential: no choice.
pub(super) fn is_text(value: &str) -> bool {
    !value.is_empty() && !CHOICES.contains(&value.to_ascii_lowercase().as_str())
}

/// Whether a value looks like a real credential, where examples of them are to be expected.
pub(super) fn is_real(value: &str) -> bool {
    value.len() >= 16 && is_no_example(value)
}

/// Whether an address holds a login that looks like a real one, where examples are to be expected.
pub(super) fn has_real_login(line: &str) -> bool {
    line.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', ' ', '"', '\'']).next().unwrap_or_default();
        let login = authority.rsplit_once('@').and_then(|(login, _)| login.split_once(':'));
        login.is_some_and(|(_, password)| is_no_example(&given(password)))
    })
}

fn is_no_example(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    is_secret(value)
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && !PLACEHOLDERS.iter().any(|piece| lower.contains(piece))
}

/// The words of a text: what stands between spaces, quotes and separators.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(|letter: char| {
        letter.is_whitespace()
            || matches!(
                letter,
                '"' | '\'' | '`' | ',' | ';' | '{' | '}' | '(' | ')' | '[' | ']' | '<' | '>' | '$' | '|'
            )
    })
}

/// Whether a value is one that nothing else would have: long, and neither words, numbers and versions (`python-3.11.4`,
/// `localhost:5432`) nor an address without a login. A pass phrase of plain words is not told from words.
pub(super) fn is_secret(value: &str) -> bool {
    let has_digit = value.bytes().any(|byte| byte.is_ascii_digit());
    let has_letter = value.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_words = value.split(['-', '_', '.', ':', '/', '=', '@', ',']).all(is_word);
    let is_address = value.contains("://") && !has_login(value);
    let is_path = value.starts_with(['/', '~', '.', '$']) && !value.contains('+');
    let is_marker = value.starts_with("-----") || value.contains("PRIVATE KEY");
    let is_long = value.chars().count() >= if has_digit && has_letter { SHORTEST_VALUE } else { 2 * SHORTEST_VALUE };
    is_long && !is_words && !is_address && !is_path && !is_marker && !is_digest(value)
}

/// Whether a value pins an image: `name@sha256:…`.
fn is_digest(value: &str) -> bool {
    value.rsplit_once("sha256:").is_some_and(|(name, digest)| {
        (name.is_empty() || name.ends_with('@'))
            && digest.len() == 64
            && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Whether a text is such as source code is full of: identifiers in camel case or snake case, with anything between them.
/// Letters at random have a new word every third letter.
pub(super) fn is_identifiers(text: &str) -> bool {
    let (mut letters, mut words) = (0, 0);
    let are_names = text.split(|letter: char| !letter.is_alphanumeric()).all(|piece| {
        let count = piece.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (name, number) = piece.split_at_checked(count).unwrap_or((piece, ""));
        let name = name.as_bytes();
        let begins = name.windows(2).filter(|pair| matches!(pair, [b'a'..=b'z', b'A'..=b'Z'])).count()
            + name.windows(3).filter(|three| matches!(three, [b'A'..=b'Z', b'A'..=b'Z', b'a'..=b'z'])).count();
        letters += name.len();
        words += begins + usize::from(!name.is_empty());
        number.len() <= 4 && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    are_names && letters >= 3 * words
}

/// Whether a text is a piece of source code by its signs.
pub(super) fn is_code(text: &str) -> bool {
    (text.contains(['(', ')', '{', '}', '<', '>', ';']) || text.contains("::")) && is_identifiers(text)
}

/// Whether a piece of a value is a word in one case or with a capital, a number of at most six digits, or a word with a
/// number of at most four, or such a number of at most three with three letters behind it.
fn is_word(piece: &str) -> bool {
    let letters = piece.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (word, number) = piece.split_at_checked(letters).unwrap_or((piece, ""));
    let rest = word.get(1..).unwrap_or_default();
    // `1a` of a region, `10th`.
    let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
    let unit = piece.get(digits..).unwrap_or_default();
    let has_unit = (1..=3).contains(&digits) && unit.len() <= 3 && unit.bytes().all(|byte| byte.is_ascii_lowercase());
    let has_one_case =
        rest.bytes().all(|byte| byte.is_ascii_lowercase()) || word.bytes().all(|byte| byte.is_ascii_uppercase());
    let most = if word.is_empty() { 6 } else { 4 };
    let is_numbered =
        has_one_case && word.len() <= 20 && number.len() <= most && number.bytes().all(|byte| byte.is_ascii_digit());
    is_numbered || has_unit
}

/// Whether a line holds an address with a login: `scheme://user:password@`, a token in the place of the user, or one of
/// conda's in the path (`/t/TOKEN/`). A variable of the environment is none.
pub(super) fn has_login(line: &str) -> bool {
    line.split("://").skip(1).any(|rest| {
        let address = rest.split([' ', '\t', '"', '\'', '<', '>', ',']).next().unwrap_or_default();
        let authority = address.split(['/', '?']).next().unwrap_or_default();
        let login = authority.rsplit_once('@').is_some_and(|(login, _)| match login.split_once(':') {
            Some((_, password)) => is_text(&given(password)),
            None => is_token(login),
        });
        let in_path = address.split_once("/t/").and_then(|(_, rest)| rest.split('/').next());
        login || in_path.is_some_and(is_token)
    })
}

/// Whether a piece of an address is a token and no name.
fn is_token(piece: &str) -> bool {
    let piece = given(piece);
    redact::holds_token(&piece) || (is_secret(&piece) && !piece.contains(['.', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_refers_gives_nothing_and_a_default_is_given() {
        for (value, expected) in [
            ("$TOKEN", ""),
            ("\"${TOKEN}\"", ""),
            ("${TOKEN:?must be set}", "must be set"),
            ("\"${X:-r3al-value}\"", "r3al-value"),
            ("${X:-${Y:-deep}}", "deep"),
            ("${X-}", ""),
            ("$(op read op://vault/item)", ""),
            ("$(echo s3cr3tV4lue99)", "echo s3cr3tV4lue99"),
            ("`pass show x`", ""),
            ("<%= ENV['KEY'] %>", ""),
            ("{{ .Values.token }}", ""),
            ("${{ secrets.TOKEN }}", ""),
            ("<your token>", ""),
            ("plain", "plain"),
            ("a$", "a"),
            ("50%", "50%"),
            ("é{", "é{"),
        ] {
            assert_eq!(given(value), expected, "{value}");
        }
    }

    #[test]
    fn plain_words_and_addresses_are_no_secrets() {
        for value in [
            "localhost:5432",
            "--max-old-space-size=4096",
            "v2024.11.28-rc1",
            "TRUE_OR_FALSE_1",
            "production-server-name",
            "https://api.example.com/v1",
            "/usr/share/some/path1",
            "true",
            "5432",
        ] {
            assert!(!is_secret(value), "{value}");
        }
        for value in ["s3cr3t-pass-word", "postgres://u:p4ssw0rd@db/x"] {
            assert!(is_secret(value), "{value}");
        }
    }

    #[test]
    fn identifiers_are_told_from_what_is_made_at_random() {
        for text in [
            "readTokenFile()",
            "compute_something_long(argument_of_it)",
            "KubeConfigWriter2",
            "self.values.iter().any(|x|",
            "HTTPServerError::NotFound",
            "MAX_TOKENS_PER_REQUEST",
            "struct Redacted {",
        ] {
            assert!(is_identifiers(text), "{text}");
        }
        for text in [
            "q7Zr2Lm9Xw4Tk8Vb3",
            "dXNlcjpwYXNzd29yZA==",
            "hunter2hunter2",
            "deadbeef00112233",
            "aKbTqZrPwLmXcVnQsYdHfGjR",
            "Tr0ub4dor&3",
            "postgres://u:pw-1234567890@db/x",
            "12345678901234567890abcd",
        ] {
            assert!(!is_identifiers(text), "{text}");
        }
        assert!(is_code("foo(bar_baz);") && !is_code("correct&horse&battery&staple"));
        assert!(!is_secret(&format!("r.example/app@sha256:{}", "a1b2c3d4".repeat(8))));
        assert!(is_secret(&format!("x@sha256:{}", "q7Zr2Lm9Xw4".repeat(8))));
    }

    #[test]
    fn logins_are_told_from_names_in_addresses() {
        for line in [
            "index-url = https://me:pw@r.example/simple",
            "index-url = https://p4ckAgeT0ken99x@r.example/simple",
            "- https://conda.example/t/ab-1234c5d6-7e8f-9a0b/channel",
        ] {
            assert!(has_login(line), "{line}");
        }
        assert!(has_real_login("DATABASE_URL=postgres://app:q7Zr2Lm9Xw4T@db/x"));
        for line in [
            "postgres://user:password@localhost/x",
            "postgres://app:change-me-1234567@db/x",
            "postgres://app:${PASSWORD}@db/x",
        ] {
            assert!(!has_real_login(line), "{line}");
        }
        for line in [
            "url = ssh://git@host.example/a/b",
            "index-url = https://__token__@r.example/simple",
            "index-url = https://${USER}:${TOKEN}@r.example/simple",
            "https://docs.example/t/introduction/1",
            "https://r.example/a@b",
        ] {
            assert!(!has_login(line), "{line}");
        }
    }
}
