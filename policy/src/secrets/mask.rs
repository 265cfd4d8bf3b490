//! What is seen of a file that holds credentials, and which values it holds.
//!
//! A copy keeps what is known to be harmless, and drops what is not understood: a comment may be an old password.

use std::path::Path;

/// What a masked variable has.
const MASKED: &str = "masked";

/// What stands in place of a file.
const NOTICE: &str = "masked by cofferdam: this file holds credentials";

/// A value is looked for in output when it has at least this many characters. A shorter one may be any word.
const SHORTEST_VALUE: usize = 12;

/// Values that are looked for, of one file.
const MOST_VALUES: usize = 1024;

/// Words in the name of a setting that say that it is a credential.
const TOKEN_WORDS: [&str; 11] = [
    "token",
    "auth",
    "password",
    "passwd",
    "secret",
    "credential",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "ident",
];

/// The keys of a secret in the JSON files of clouds.
const JSON_KEYS: [&str; 4] = ["\"private_key\"", "\"client_secret\"", "\"refresh_token\"", "\"secret_access_key\""];

/// What is seen of a file, and what is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// The content that a sandbox sees.
    pub shown: Vec<u8>,
    /// Values that must not be seen in output.
    pub values: Vec<String>,
}

/// Whether a file holds a private key.
pub(super) fn holds_private_key(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    // DER: a SEQUENCE of more than 255 bytes that begins with the INTEGER 0, 1 or 3 (PKCS#1, PKCS#8, PKCS#12).
    let is_der = matches!(content, [0x30, 0x82, _, _, 0x02, 0x01, 0 | 1 | 3, ..]);
    is_der || text.contains("PRIVATE KEY")
}

/// Whether a line of a file sets a token or password, or holds one in an address.
pub(super) fn holds_token(content: &[u8]) -> bool {
    String::from_utf8_lossy(content).lines().any(|line| setting(line).is_some() || has_login(line))
}

/// Whether a JSON file has a secret's usual key.
pub(super) fn holds_json_secret(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    JSON_KEYS.iter().any(|key| text.contains(key))
}

/// `NAME=value` lines with their names alone.
pub(super) fn names_only(content: &[u8]) -> Mask {
    let text = String::from_utf8_lossy(content);
    let (mut shown, mut values) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let plain = line.trim();
        let (export, assignment) = match plain.strip_prefix("export ") {
            Some(rest) => ("export ", rest.trim_start()),
            None => ("", plain),
        };
        if plain.is_empty() {
            shown.push('\n');
            continue;
        }
        let Some((name, value)) = assignment.split_once('=') else {
            add_values(&mut values, plain);
            // A key block in no quotes goes on over lines of which the last may look like an assignment.
            if plain.contains("-----BEGIN") {
                lines
                    .by_ref()
                    .take_while(|line| !line.contains("-----END"))
                    .for_each(|line| add_values(&mut values, line));
            }
            continue;
        };
        let (name, mut value) = (name.trim_end(), value.trim().to_owned());
        if let Some(quote) = value.chars().next().filter(|first| matches!(first, '"' | '\'' | '`')) {
            while !closes(&value, quote) {
                let Some(line) = lines.next() else { break };
                value.push('\n');
                value.push_str(line);
            }
        } else if value.contains("-----BEGIN") {
            for line in lines.by_ref() {
                value.push('\n');
                value.push_str(line);
                if line.contains("-----END") {
                    break;
                }
            }
        }
        value.lines().for_each(|line| add_values(&mut values, line));
        if is_name(name, &value) {
            shown.push_str(&format!("{export}{name}={MASKED}\n"));
        }
    }
    Mask { shown: shown.into_bytes(), values: bounded(values) }
}

/// Whether a value that begins with `quote` ends with one.
fn closes(value: &str, quote: char) -> bool {
    let mut escaped = false;
    value.chars().skip(1).any(|character| {
        let ends = character == quote && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    })
}

/// Whether this is a variable's name, and no piece of base64 before its padding.
fn is_name(name: &str, value: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let has = |kind: fn(&u8) -> bool| name.as_bytes().iter().any(kind);
    let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    let is_padding = value.bytes().all(|byte| byte == b'=');
    plain && starts && name.len() <= 64 && !(is_padding && is_mixed)
}

/// The lines of a settings file, those that set a token or password without it.
pub(super) fn without_tokens(path: &Path, content: &[u8]) -> Mask {
    let Ok(text) = std::str::from_utf8(content) else { return notice(path, content) };
    let (mut shown, mut values) = (String::new(), Vec::new());
    for line in text.lines() {
        match setting(line) {
            Some(start) => {
                let (kept, value) = line.split_at_checked(start).unwrap_or((line, ""));
                add_values(&mut values, value);
                shown.push_str(&format!("{kept}{MASKED}\n"));
            }
            None if has_login(line) => {
                add_values(&mut values, line);
                shown.push_str("# masked\n");
            }
            // What is not set on one line is not understood here.
            None if line.trim_start().starts_with(['#', ';']) => shown.push('\n'),
            None => shown.push_str(&format!("{line}\n")),
        }
    }
    Mask { shown: shown.into_bytes(), values: bounded(values) }
}

/// Where the value begins in a line that sets a token or password: after `=` or `:`, or after a space where the name is the
/// first word.
fn setting(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let word = TOKEN_WORDS.iter().filter_map(|word| lower.find(word)).min()?;
    let rest = lower.get(word..)?;
    // Inside of a scope such as `//host/:_authToken=` colons come before the word.
    let end = rest.find(['=', ':', ' ', '\t', '"']).filter(|end| rest.len() > end + 1)?;
    let after = rest.get(end..)?;
    let value = after.find(|character: char| !matches!(character, '=' | ':' | ' ' | '\t'))?;
    let found = after.get(value..)?.trim().trim_matches(['"', '\'', ',']);
    // A choice, or a variable of the environment, which is not here.
    let is_harmless = matches!(found, "true" | "false" | "null" | "none" | "") || found.starts_with('$');
    (!is_harmless).then_some(word + end + value)
}

/// Whether a line holds `scheme://user:password@`.
fn has_login(line: &str) -> bool {
    line.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', ' ', '"', '\'']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(login, _)| login.contains(':'))
    })
}

/// A line in place of the whole.
pub(super) fn notice(path: &Path, content: &[u8]) -> Mask {
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let shown = if is_json { format!("{{\"_\": \"{NOTICE}\"}}\n") } else { format!("# {NOTICE}\n") };
    let mut values = Vec::new();
    if let Ok(text) = std::str::from_utf8(content) {
        text.lines().for_each(|line| add_values(&mut values, line));
    }
    Mask { shown: shown.into_bytes(), values: bounded(values) }
}

/// Adds what of a line may be a secret: the words between quotes, separators and spaces that are long enough and no plain
/// words.
fn add_values(values: &mut Vec<String>, line: &str) {
    let whole = line.trim().trim_matches(['"', '\'', '`', ',', ';']);
    let parts =
        line.split(|character: char| character.is_whitespace() || matches!(character, '"' | '\'' | '`' | ',' | ';'));
    let after_sign = parts.clone().filter_map(|part| part.split_once(['=', ':']).map(|(_, value)| value));
    for value in [whole].into_iter().chain(parts).chain(after_sign) {
        if is_secret(value) && !values.iter().any(|known| known == value) {
            values.push(value.to_owned());
        }
    }
}

/// Whether a value is one that nothing else would have: long, and neither words nor an address without a login.
fn is_secret(value: &str) -> bool {
    let has_digit = value.bytes().any(|byte| byte.is_ascii_digit());
    let has_letter = value.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_word =
        value.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b':'));
    let is_address = value.contains("://") && !has_login(value);
    let is_path = value.starts_with(['/', '~', '.', '$']) && !value.contains('+');
    let is_marker = value.starts_with("-----") || value.contains("PRIVATE KEY");
    let is_long = value.chars().count() >= if has_digit && has_letter { SHORTEST_VALUE } else { 2 * SHORTEST_VALUE };
    is_long && !is_word && !is_address && !is_path && !is_marker
}

fn bounded(mut values: Vec<String>) -> Vec<String> {
    values.truncate(MOST_VALUES);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mask: &Mask) -> &str {
        std::str::from_utf8(&mask.shown).unwrap()
    }

    #[test]
    fn an_environment_file_keeps_its_names_and_nothing_else() {
        let mask = names_only(
            b"# old: hunter2hunter2\nDATABASE_URL=postgres://u:pw-1234567890@db/x\nexport API_KEY='abcdef1234567890'\n\n\
              EMPTY=\nKEY=\"-----BEGIN PRIVATE KEY-----\nMIIEabcdef1234567890\nZm9v==\n-----END PRIVATE KEY-----\"\n\
              LAST = 1\nnonsense\nMIIabc123Zm9vYmFy==\n",
        );
        assert_eq!(
            shown(&mask),
            "DATABASE_URL=masked\nexport API_KEY=masked\n\nEMPTY=masked\nKEY=masked\nLAST=masked\n"
        );
        for value in ["abcdef1234567890", "MIIEabcdef1234567890", "postgres://u:pw-1234567890@db/x"] {
            assert!(mask.values.iter().any(|known| known == value), "{value}: {:?}", mask.values);
        }
    }

    #[test]
    fn no_byte_of_a_value_stays() {
        for text in [
            "A=\"one\ntwo=three\nfour\"\nB=1\n",
            "A='it\\'s\nsecret=x'\n",
            "KEY=-----BEGIN RSA PRIVATE KEY-----\nabc=def\n-----END RSA PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nabc=def\n-----END RSA PRIVATE KEY-----\n",
        ] {
            let mask = names_only(text.as_bytes());
            for word in ["two", "three", "four", "secret", "abc", "def"] {
                assert!(!shown(&mask).contains(word), "{text}: {}", shown(&mask));
            }
        }
    }

    #[test]
    fn a_settings_file_loses_its_tokens_and_keeps_the_rest() {
        let text = "registry=https://r.example/\n//r.example/:_authToken=npm_abc123def456ghi\nsave-exact=true\n";
        assert!(holds_token(text.as_bytes()));
        let mask = without_tokens(Path::new(".npmrc"), text.as_bytes());
        assert_eq!(shown(&mask), "registry=https://r.example/\n//r.example/:_authToken=masked\nsave-exact=true\n");
        assert_eq!(mask.values, ["npm_abc123def456ghi"]);
        assert!(!holds_token(b"registry=https://r.example/\nsave-exact=true\n"));
        let yaml = without_tokens(Path::new(".yarnrc.yml"), b"yarnPath: .yarn/y.cjs\nnpmAuthToken: \"abc\"\n");
        assert_eq!(shown(&yaml), "yarnPath: .yarn/y.cjs\nnpmAuthToken: masked\n");
        let login = without_tokens(Path::new("pip.conf"), b"[global]\nindex-url = https://me:pw@r.example/simple\n");
        assert_eq!(shown(&login), "[global]\n# masked\n");
    }

    #[test]
    fn keys_are_told_from_certificates() {
        assert!(holds_private_key(b"-----BEGIN EC PRIVATE KEY-----\n"));
        assert!(holds_private_key(&[0x30, 0x82, 4, 0xa4, 2, 1, 0, 2]));
        assert!(!holds_private_key(b"-----BEGIN CERTIFICATE-----\nMIIB\n"));
    }

    #[test]
    fn a_notice_is_one_line_that_its_format_understands() {
        assert_eq!(shown(&notice(Path::new(".netrc"), b"x")).lines().count(), 1);
        let json = notice(Path::new("a.JSON"), b"{\"private_key\": \"abcdefghijk1234567890\"}");
        assert!(shown(&json).starts_with('{') && shown(&json).ends_with("}\n"));
        assert!(json.values.contains(&"abcdefghijk1234567890".to_owned()), "{:?}", json.values);
    }

    #[test]
    fn plain_words_and_addresses_are_no_secrets() {
        for value in ["production-server-name", "https://api.example.com/v1", "/usr/share/some/path1", "true", "5432"] {
            assert!(!is_secret(value), "{value}");
        }
        for value in ["s3cr3t-pass-word", "postgres://u:p4ssw0rd@db/x"] {
            assert!(is_secret(value), "{value}");
        }
    }
}
