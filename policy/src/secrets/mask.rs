//! What is seen of a file that holds credentials, and which values it holds.
//!
//! A copy keeps what is known to be harmless, and drops what is not understood: a comment may be an old password.

use std::{borrow::Cow, cell::Cell, collections::HashSet, iter::Peekable, path::Path};

use serde_json::{Map, Value};

use super::{
    block,
    known::Known,
    redact,
    setting::{self, Effort, Named, Setting, is_below, is_credential, is_identity, named},
    value::{given, has_real_login, is_code, is_identifiers, is_real, is_secret, pieces},
};

/// What a masked variable has.
const MASKED: &str = "masked";

/// What stands in place of a file.
const NOTICE: &str = "masked by cofferdam: this file holds credentials";

/// Values that are looked for, of one file.
const MOST_VALUES: usize = 1024;

/// Bytes of the values of a file that is shown in part. An ordinary file has a few; what has so many is not understood.
const MOST_CHECKED: usize = 128 << 10;

/// The keys of a secret in the JSON files of clouds.
const JSON_KEYS: [&str; 4] = ["\"private_key\"", "\"client_secret\"", "\"refresh_token\"", "\"secret_access_key\""];

/// What is seen of a file, and what is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// The content that a sandbox sees.
    pub shown: Vec<u8>,
    /// Values that must not be seen in output.
    pub values: Vec<String>,
    /// How many more there are, which are not looked for.
    pub left_out: u64,
    /// For each line that is seen the line of the file, from 0, that it stands for alone. Empty where a mask is not made line by
    /// line, and where the file has lines that are neither seen nor comments.
    pub lines: Vec<usize>,
}

/// A file's content as UTF-8 where it is a text in UTF-16, which Windows writes and what reads settings there takes; without a byte
/// order mark, which would be a part of the first name.
pub(super) fn decoded(content: &[u8]) -> Cow<'_, [u8]> {
    let (units, order): (_, fn([u8; 2]) -> u16) = match content {
        [0xef, 0xbb, 0xbf, rest @ ..] => return Cow::Borrowed(rest),
        [0xff, 0xfe, rest @ ..] => (rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => (rest, u16::from_be_bytes),
        // Without a mark: letters of ASCII.
        [1..0x80, 0, 1..0x80, 0, ..] => (content, u16::from_le_bytes),
        [0, 1..0x80, 0, 1..0x80, ..] => (content, u16::from_be_bytes),
        _ => return Cow::Borrowed(content),
    };
    let units =
        units.chunks(2).map(|unit| order([unit.first().copied().unwrap_or(0), unit.get(1).copied().unwrap_or(0)]));
    let text: String = char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Cow::Owned(text.into_bytes())
}

/// Whether a file holds a private key.
pub(super) fn holds_private_key(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    is_der_key(content) || text.lines().any(begins_key) || text.contains("AGE-SECRET-KEY-1")
}

/// Whether a line begins a private key: PEM's, OpenPGP's and that of SSH (RFC 4716).
fn begins_key(line: &str) -> bool {
    line.split_once("BEGIN ").is_some_and(|(_, label)| label.contains("PRIVATE KEY"))
}

/// Whether this is a private key in DER: RFC 8017 (PKCS#1), RFC 5915 (EC), RFC 5958 (PKCS#8, encrypted or not), RFC 7292
/// (PKCS#12, in BER too).
fn is_der_key(content: &[u8]) -> bool {
    // After the SEQUENCE's length, in any form: a version with the number that each of these has, and what follows it in a
    // key. A public key of PKCS#1 begins with a long number, a certificate and a public key with a SEQUENCE.
    match contents_of_sequence(content) {
        Some([0x02, 0x01, 0 | 1 | 3, 0x02 | 0x04 | 0x30, ..]) => true,
        // PBES1 and PBES2 (1.2.840.113549.1.5), and those of PKCS#12 (1.2.840.113549.1.12.1).
        Some(inner) => contents_of_sequence(inner)
            .is_some_and(|inner| matches!(inner, [0x06, _, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05 | 0x0c, ..])),
        None => false,
    }
}

/// What a SEQUENCE has in it, if the bytes begin with one.
fn contents_of_sequence(content: &[u8]) -> Option<&[u8]> {
    match content {
        [0x30, length, rest @ ..] => match length {
            // Of unknown length, as BER has it.
            0x80 => Some(rest),
            0x81..=0x84 => rest.get(usize::from(length & 0x7f)..),
            0x00..0x80 => Some(rest),
            0x85.. => None,
        },
        _ => None,
    }
}

/// Whether a setting in a file is a credential.
pub(super) fn holds_credential(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    match json(&text) {
        Some(value) => has_credential(&value, Named::Plainly, &mut Effort::new()),
        None => !setting::credentials(&text, &mut Effort::new()).is_empty(),
    }
}

/// Whether a setting in a file is a credential, or has a value that looks like a secret. What is encrypted is neither.
pub(super) fn holds_value(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    text.split("\n---").any(|document| {
        let has = |mark: &str| document.contains(mark);
        let is_encrypted = has("$ANSIBLE_VAULT") || has("ENC[AES256_GCM") || has("kind: SealedSecret");
        // These only say where a secret is.
        let refers = has("kind: ExternalSecret") || has("kind: SecretProviderClass");
        !is_encrypted
            && (holds_credential(document.as_bytes())
                || setting::has_secret_value(document)
                || setting::is_secret_of_cluster(document))
            && (!refers || holds_real(document.as_bytes()))
    })
}

/// Whether a JSON file has a secret's usual key, or a setting that is a credential.
pub(super) fn holds_json_secret(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    JSON_KEYS.iter().any(|key| text.contains(key)) || holds_credential(content)
}

/// Whether a file that is there to be read by everybody holds something of a real credential's shape.
pub(super) fn holds_real(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    redact::holds_token(&text)
        || is_der_key(content)
        || block::holds_key(&text)
        || text.contains("AGE-SECRET-KEY-1")
        || text.lines().any(|line| {
            let value = line.split_once(['=', ':']).filter(|(name, _)| named(name.trim()) != Named::Plainly);
            has_real_login(line) || value.is_some_and(|(_, value)| pieces(&given(value)).any(is_real))
        })
}

/// JSON with its byte order mark left out.
fn json(text: &str) -> Option<Value> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with(['{', '[']) { serde_json::from_str(text).ok() } else { None }
}

/// Whether a text in JSON is a credential by its name, or a name above it. Its depth is bounded by `serde_json` (128).
fn has_credential(value: &Value, name: Named, effort: &mut Effort) -> bool {
    match value {
        Value::String(text) => is_credential(name, text) || !setting::credentials(text, effort).is_empty(),
        Value::Number(number) => name == Named::Credential && is_credential(name, &number.to_string()),
        Value::Array(values) => values.iter().any(|value| has_credential(value, name, effort)),
        Value::Object(map) => {
            let pair = pair(map);
            map.iter().any(|(key, value)| has_credential(value, below(name, key).max(pair.of(key)), effort))
        }
        Value::Null | Value::Bool(_) => false,
    }
}

/// What the name of a setting says that lies below another: `{"github-oauth": {"host": …}}`.
fn below(above: Named, name: &str) -> Named {
    if is_identity(name) { Named::Plainly } else { named(name).max(above.min(Named::Perhaps)) }
}

/// What `{"name": "password", "value": …}` says of its value.
struct Pair(Named);

impl Pair {
    fn of(&self, key: &str) -> Named {
        if key.eq_ignore_ascii_case("value") { self.0 } else { Named::Plainly }
    }
}

/// An object that is a setting by two of its keys.
fn pair(map: &Map<String, Value>) -> Pair {
    let names = map.iter().filter(|(key, _)| ["name", "key"].iter().any(|name| key.eq_ignore_ascii_case(name)));
    Pair(names.filter_map(|(_, name)| name.as_str()).map(named).max().unwrap_or(Named::Plainly))
}

/// `NAME=value` lines with their names alone.
pub(super) fn names_only(content: &[u8]) -> Mask {
    let text = String::from_utf8_lossy(content);
    // What an editor keeps for itself has its own bytes around the lines.
    if text.contains(['\0', char::REPLACEMENT_CHARACTER]) {
        return notice(Path::new(""), content);
    }
    let (mut shown, mut values, mut places) = (String::new(), Values::default(), Places::default());
    let read = Cell::new(0_usize);
    let mut lines = text.lines().inspect(|_| read.set(read.get() + 1));
    while let Some(line) = lines.next() {
        let number = read.get();
        let plain = line.trim();
        let (export, assignment) = match plain.strip_prefix("export ") {
            Some(rest) => ("export ", rest.trim_start()),
            None => ("", plain),
        };
        if plain.is_empty() {
            shown.push('\n');
            places.add(number - 1);
            continue;
        }
        let Some((name, value)) = assignment.split_once('=') else {
            values.add_words(plain);
            // A key block in no quotes goes on over lines of which the last may look like an assignment.
            if plain.contains("-----BEGIN") {
                lines.by_ref().take_while(|line| !line.contains("-----END")).for_each(|line| values.add_words(line));
            }
            if !plain.starts_with('#') || read.get() != number {
                places.lose();
            }
            continue;
        };
        let (name, mut value) = (name.trim_end(), value.trim().to_owned());
        // What a shell joins.
        while value.ends_with('\\')
            && let Some(line) = lines.next()
        {
            value.pop();
            value.push('\n');
            value.push_str(line.trim_end());
        }
        if let Some(quote) = value.chars().next().filter(|first| matches!(first, '"' | '\'' | '`')) {
            let mut is_closed = closes(value.get(quote.len_utf8()..).unwrap_or_default(), quote);
            while !is_closed {
                let Some(line) = lines.next() else { break };
                is_closed = closes(line, quote);
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
        let is_named = is_name(name, &value);
        let (first, rest) = value.split_once('\n').unwrap_or((&value, ""));
        if is_named && is_set(assignment, name) {
            values.add(first)
        } else {
            values.add_words(first)
        }
        rest.lines().for_each(|line| values.add_line(line));
        if is_named {
            shown.push_str(&format!("{export}{name}={MASKED}\n"));
            places.add(number - 1);
        }
        if read.get() != number || (!is_named && !plain.starts_with('#')) {
            places.lose();
        }
    }
    values.mask(shown, places.of(&text))
}

/// Whether a line in quotes holds the one that closes them. What a line's last sign escapes is its end.
fn closes(line: &str, quote: char) -> bool {
    let mut escaped = false;
    line.chars().any(|character| {
        let ends = character == quote && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    })
}

/// Whether an assignment is one of a settings file: source code has small letters and spaces around its sign.
fn is_set(assignment: &str, name: &str) -> bool {
    let is_spaced =
        assignment.split_once('=').is_some_and(|(before, after)| before.ends_with(' ') && after.starts_with(' '));
    !is_spaced || named(name) != Named::Plainly || !name.bytes().any(|byte| byte.is_ascii_lowercase())
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

/// The lines of a settings file, those that set a credential without it.
pub(super) fn without_credentials(path: &Path, content: &[u8]) -> Mask {
    let Ok(text) = std::str::from_utf8(content) else { return notice(path, content) };
    let found = setting::credentials(text, &mut Effort::new());
    if text.contains(['\0', '\r']) || found.iter().any(|setting| setting.value == setting::Value::Unclear) {
        return notice(path, content);
    }
    let (mut shown, mut values, mut places) = (String::new(), Values::default(), Places::default());
    let mut found = found.iter().peekable();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        // Those of lines that were dropped with a setting above them.
        while found.next_if(|setting| setting.line < number).is_some() {}
        let setting = found.next_if(|Setting { line, .. }| *line == number);
        places.add(number);
        match setting.map(|setting| setting.value) {
            Some(setting::Value::Here { start, end }) => {
                let (kept, rest) = line.split_at_checked(start).unwrap_or((line, ""));
                let (value, rest) = rest.split_at_checked(end - start).unwrap_or((rest, ""));
                values.add(value);
                shown.push_str(&format!("{kept}{MASKED}{rest}\n"));
                // A value in no quotes goes on over the lines that are deeper, in YAML and INI files.
                while let Some((of_next, next)) = lines.next_if(|(_, next)| is_below(line, next)) {
                    values.add_below(next, of_next, &mut found);
                    if next.trim().is_empty() {
                        shown.push('\n');
                        places.add(of_next);
                    } else {
                        places.lose();
                    }
                }
            }
            Some(setting::Value::Below { start }) => {
                let kept = line.get(..start).unwrap_or(line).trim_end();
                shown.push_str(&format!("{kept} {MASKED}\n"));
                places.lose();
                while let Some((of_next, next)) = lines.next_if(|(_, next)| is_below(line, next)) {
                    values.add_below(next, of_next, &mut found);
                }
            }
            Some(setting::Value::Line | setting::Value::Unclear) => {
                values.add_words(line);
                shown.push_str("# masked\n");
            }
            None if line.trim_start().starts_with(['#', ';']) => shown.push('\n'),
            None => shown.push_str(&format!("{line}\n")),
        }
    }
    checked(values.mask(shown, places.of(text)), path, content)
}

/// JSON without its credentials. What is not quite JSON, as with comments, is read by line.
pub(super) fn json_without_credentials(path: &Path, content: &[u8]) -> Mask {
    let Some(value) = std::str::from_utf8(content).ok().and_then(json) else {
        return without_credentials(path, content);
    };
    let mut values = Values::default();
    let Ok(shown) = serde_json::to_string_pretty(&masked(value, Named::Plainly, &mut Effort::new(), &mut values))
    else {
        return notice(path, content);
    };
    checked(values.mask(shown + "\n", Vec::new()), path, content)
}

/// JSON without the texts that are credentials; these are added to `values`. Its depth is bounded as above.
fn masked(value: Value, name: Named, effort: &mut Effort, values: &mut Values) -> Value {
    match value {
        Value::String(text) if has_credential(&Value::String(text.clone()), name, effort) => {
            values.add(&text);
            Value::String(MASKED.to_owned())
        }
        Value::Number(number) if has_credential(&Value::Number(number.clone()), name, effort) => {
            Value::String(MASKED.to_owned())
        }
        Value::Array(list) => list.into_iter().map(|value| masked(value, name, effort, values)).collect(),
        Value::Object(map) => {
            let pair = pair(&map);
            let masked = map.into_iter().map(|(key, value)| {
                let name = below(name, &key).max(pair.of(&key));
                (key, masked(value, name, effort, values))
            });
            Value::Object(masked.collect::<Map<_, _>>())
        }
        other @ (Value::String(_) | Value::Number(_) | Value::Null | Value::Bool(_)) => other,
    }
}

/// A mask that shows none of its values; else a line in place of the whole.
fn checked(mask: Mask, path: &Path, content: &[u8]) -> Mask {
    let shown = String::from_utf8_lossy(&mask.shown);
    let is_known = mask.values.iter().map(String::len).sum::<usize>() <= MOST_CHECKED;
    let shows = || Known::new(mask.values.iter().map(String::as_str)).is_some_and(|known| known.is_in(&shown));
    let is_clean = is_known && !shows() && !redact::holds_token(&shown);
    if is_clean { mask } else { notice(path, content) }
}

/// A line in place of the whole.
pub(super) fn notice(path: &Path, content: &[u8]) -> Mask {
    let text = String::from_utf8_lossy(content);
    let is = |format: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(format));
    let shown = if is("json") {
        format!("{{\"_\": \"{NOTICE}\"}}\n")
    } else if is("xml") || is("config") {
        format!("<!-- {NOTICE} -->\n<{} />\n", outermost(&text).unwrap_or("masked"))
    } else {
        format!("# {NOTICE}\n")
    };
    let mut values = Values::default();
    // What is no text has none, and a text with a letter of another encoding has them around it.
    let pieces = text.split(|letter: char| letter.is_control() || letter == char::REPLACEMENT_CHARACTER);
    pieces.for_each(|piece| values.add_words(piece));
    values.mask(shown, Vec::new())
}

/// The name of the outermost element of XML: without it, what reads the file takes it for broken.
fn outermost(text: &str) -> Option<&str> {
    let start = text.match_indices('<').map(|(at, _)| at).find(|at| {
        text.get(at + 1..).is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphabetic()))
    })?;
    let rest = text.get(start + 1..)?;
    let name = rest.split(|letter: char| !letter.is_ascii_alphanumeric()).next()?;
    (name.len() <= 32 && !is_secret(name)).then_some(name)
}

/// The lines of a file that the lines of its mask stand for, as long as each stands for one.
#[derive(Debug, Default)]
struct Places {
    list: Vec<usize>,
    are_lost: bool,
}

impl Places {
    fn add(&mut self, line: usize) {
        self.list.push(line);
    }

    /// Something of the file is not seen as a line.
    fn lose(&mut self) {
        self.are_lost = true;
    }

    fn of(self, text: &str) -> Vec<usize> {
        if self.are_lost || text.contains('\r') { Vec::new() } else { self.list }
    }
}

/// Values that are looked for, each once.
#[derive(Debug, Default)]
struct Values {
    list: Vec<String>,
    known: HashSet<String>,
    /// How many are not among them, since there are more than [`MOST_VALUES`].
    left_out: u64,
}

impl Values {
    /// Adds a value that stands behind a name, and what of it may be a secret: the words between quotes, separators and spaces that
    /// are long enough and no plain words.
    fn add(&mut self, value: &str) {
        let whole = value.trim().trim_matches(['"', '\'', '`', ',', ';']);
        if is_secret(whole) && !is_code(whole) {
            self.insert(whole);
        }
        for part in parts(value) {
            // `DefaultEndpointsProtocol=https` of a connection is in every manual.
            let is_plain = part.contains('=') && is_identifiers(part);
            if is_secret(part) && !is_code(part) && !is_plain {
                self.insert(part);
            }
        }
    }

    /// Adds what of a line that is not understood has a credential's shape. It may be one of source code, which others are to
    /// read elsewhere: a sentence or an identifier is none.
    fn add_words(&mut self, line: &str) {
        for value in parts(line) {
            if is_secret(value) && !is_identifiers(value) {
                self.insert(value);
            }
        }
    }

    /// Adds what of a line has a credential's shape that goes on with a value: not all that reads such files joins lines where others
    /// do, and for those it is an assignment of its own.
    fn add_line(&mut self, line: &str) {
        let plain = line.trim();
        let assignment = plain.strip_prefix("export ").map_or(plain, str::trim_start);
        match assignment.split_once('=').map(|(name, value)| (name.trim_end(), value.trim())) {
            Some((name, value)) if is_name(name, value) && is_set(assignment, name) => self.add(value),
            Some(_) | None => self.add_words(line),
        }
    }

    /// Adds what of a line has a credential's shape that is dropped with a setting above it. It may be a setting itself, one of
    /// those `found` that are not passed yet.
    fn add_below<'a>(&mut self, line: &str, number: usize, found: &mut Peekable<impl Iterator<Item = &'a Setting>>) {
        while found.next_if(|setting| setting.line < number).is_some() {}
        match found.next_if(|setting| setting.line == number).map(|setting| setting.value) {
            Some(setting::Value::Here { start, end }) => self.add(line.get(start..end).unwrap_or(line)),
            Some(setting::Value::Below { .. } | setting::Value::Line | setting::Value::Unclear) | None => {
                self.add_words(line);
            }
        }
    }

    fn insert(&mut self, value: &str) {
        if self.known.insert(value.to_owned()) {
            if self.list.len() < MOST_VALUES {
                self.list.push(value.to_owned());
            } else {
                self.left_out += 1;
            }
        }
    }

    /// What is seen of a file that has these values.
    fn mask(self, shown: String, lines: Vec<usize>) -> Mask {
        Mask { shown: shown.into_bytes(), values: self.list, left_out: self.left_out, lines }
    }
}

/// The words of a line, with and without what stands in front of a sign.
fn parts(line: &str) -> impl Iterator<Item = &str> {
    let parts =
        line.split(|character: char| character.is_whitespace() || matches!(character, '"' | '\'' | '`' | ',' | ';'));
    let after_sign = parts.clone().filter_map(|part| part.split_once(['=', ':']).map(|(_, value)| value));
    // What `"${X:-value}"` and `{a: value}` have in their brackets.
    let bracketed = pieces(line).map(|piece| piece.trim_start_matches([':', '-', '=', '?', '+']));
    let behind = bracketed.clone().filter_map(|piece| piece.split_once(":-").map(|(_, value)| value));
    parts.chain(after_sign).chain(bracketed).chain(behind)
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
    fn a_line_that_goes_on_with_another_is_looked_at_as_a_setting_too() {
        // Words in one are in every source code: only a setting's name says that they are a value.
        const VALUE: &str = "correctHorseBatteryStaple";
        for mask in [
            names_only(format!("A=C:\\dir\\\nB={VALUE}\n").as_bytes()),
            names_only(format!("A=C:\\dir\\\nexport B = '{VALUE}'\n").as_bytes()),
            names_only(format!("A=\"\nB={VALUE}\n").as_bytes()),
            without_credentials(Path::new("a.yml"), format!("- password: x\n  token: {VALUE}\n").as_bytes()),
            without_credentials(Path::new("a.yml"), format!("password: |\n  x\n  token: {VALUE}\n").as_bytes()),
        ] {
            assert!(mask.values.iter().any(|value| value == VALUE), "{:?}: {}", mask.values, shown(&mask));
            assert!(!shown(&mask).contains(VALUE));
        }
        // Source code that goes on is none.
        let mask = names_only(format!("A=\"\nlet b = {VALUE}\nreturn {VALUE};\n\"\n").as_bytes());
        assert_eq!(mask.values, [""; 0]);
    }

    #[test]
    fn a_settings_file_loses_its_tokens_and_keeps_the_rest() {
        let text = "registry=https://r.example/\n//r.example/:_authToken=npm_abc123def456ghi\nsave-exact=true\n";
        assert!(holds_credential(text.as_bytes()));
        let mask = without_credentials(Path::new(".npmrc"), text.as_bytes());
        assert_eq!(shown(&mask), "registry=https://r.example/\n//r.example/:_authToken=masked\nsave-exact=true\n");
        assert_eq!(mask.values, ["npm_abc123def456ghi"]);
        assert!(!holds_credential(b"registry=https://r.example/\nsave-exact=true\n"));
        let yaml = without_credentials(Path::new(".yarnrc.yml"), b"yarnPath: .yarn/y.cjs\nnpmAuthToken: \"abc\"\n");
        assert_eq!(shown(&yaml), "yarnPath: .yarn/y.cjs\nnpmAuthToken: \"masked\"\n");
        let login =
            without_credentials(Path::new("pip.conf"), b"[global]\nindex-url = https://me:pw@r.example/simple\n");
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
}
