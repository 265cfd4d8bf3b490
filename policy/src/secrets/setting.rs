//! Which settings in a file are credentials, by their names and by their values.
//!
//! Files of many formats set a name to a value with `=`, `:` or a space. They are read by line, whatever the format: a parser of
//! each would be more code, and a file that is not quite of its format is read by its program all the same. What goes on over
//! more lines is told by its indentation, or said to be [`Value::Unclear`], so that nothing of the file is shown.

use super::{
    block::begins_key,
    redact,
    value::{beginning, given, has_login, is_secret, is_text, pieces},
};

/// Ends of a word that say that a setting is a credential.
const CREDENTIALS: [&str; 16] = [
    "token",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "passphrases",
    "pwd",
    "secret",
    "credential",
    "credentials",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "authkey",
    "storepass",
];

/// What a key is that is a credential.
const KEYS: [&str; 10] =
    ["api", "access", "secret", "private", "signing", "deploy", "encryption", "account", "master", "auth"];

/// Words that say that a setting may be a credential: its value decides.
const MAYBE: [&str; 25] = [
    "tokens",
    "apikeys",
    "auth",
    "authorization",
    "oauth",
    "bearer",
    "basic",
    "ident",
    "key",
    "keys",
    "pat",
    "pass",
    "pw",
    "dsn",
    "conn",
    "connstr",
    "connection",
    "login",
    "salt",
    "session",
    "cookie",
    "jwt",
    "seed",
    "webhook",
    "secrets",
];

/// Closing words that say that a setting is a credential: with other words behind them they may be anything.
const CLOSING: [&str; 2] = ["pass", "pw"];

/// What Bundler's names of settings begin with that are no hosts.
const NO_HOSTS: [&str; 4] = ["BUNDLE_BUILD__", "BUNDLE_LOCAL__", "BUNDLE_MIRROR__", "BUNDLE_PATH__"];

/// Closing words that say that it is something about a credential.
const ABOUT: [&str; 28] = [
    "file",
    "path",
    "dir",
    "name",
    "id",
    "url",
    "uri",
    "type",
    "length",
    "ttl",
    "expiry",
    "timeout",
    "env",
    "enabled",
    "required",
    "policy",
    "count",
    "limit",
    "header",
    "endpoint",
    "source",
    "process",
    "lifetime",
    "expiration",
    "issuer",
    "audience",
    "algorithm",
    "scheme",
];

/// Lines below a setting that are looked at for its value. More are dropped with it, where they are deeper.
const NEAR: usize = 100;

/// Signs and quotes between a name and the sign that sets it (`"a"::=`) that are passed over. More are no setting of any format,
/// and a line may hold nothing else.
const MOST_SIGNS: usize = 8;

/// What a setting's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Named {
    /// Nothing.
    Plainly,
    /// It is a credential if its value looks like one.
    Perhaps,
    /// It is a credential.
    Credential,
}

/// Where a setting's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// On the line, from `start` to `end` in bytes, without quotes.
    Here { start: usize, end: usize },
    /// On the lines below that are deeper to the right; on the line from here on nothing but how to read them.
    Below { start: usize },
    /// Somewhere on the line.
    Line,
    /// In brackets, or quotes that are not closed on the line.
    Unclear,
}

/// A setting that is a credential.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its line, from 0.
    pub(super) line: usize,
    pub(super) value: Value,
}

/// Whether a text has a setting with a value that looks like a secret, whatever the setting's name.
pub(super) fn has_secret_value(text: &str) -> bool {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).any(|line| {
        let pairs = pairs(line);
        // A pinned version is no secret.
        let (name, start) = pairs.first().copied().unwrap_or_default();
        let value = given(line.get(start..).unwrap_or_default());
        !matches!(name, "uses" | "image") && pieces(&value).any(is_secret)
    })
}

/// Whether a text is a Secret of Kubernetes that gives a value: whatever its name, it is one.
pub(super) fn is_secret_of_cluster(text: &str) -> bool {
    let is_secret = text.lines().any(|line| line.trim_end() == "kind: Secret");
    let mut lines = text.lines();
    is_secret
        && lines.any(|line| matches!(line.trim_end(), "data:" | "stringData:"))
        && lines.take_while(|line| is_below("", line)).any(|line| {
            let start = pairs(line).first().map(|(_, start)| *start);
            start.is_some_and(|start| is_text(&given(line.get(start..).unwrap_or_default())))
        })
}

/// What the name of a setting says.
pub(super) fn named(name: &str) -> Named {
    if name == "_auth" {
        // npm's name of a login in base64.
        return Named::Credential;
    }
    let words = words(name);
    let is_closing = words.last().is_some_and(|last| CLOSING.contains(&last.as_str()));
    let is_credential = is_closing || words.iter().any(|word| CREDENTIALS.iter().any(|known| word.ends_with(known)));
    let is_pair = words.windows(2).any(|pair| {
        pair.last().is_some_and(|last| last == "key") && pair.first().is_some_and(|kind| KEYS.contains(&kind.as_str()))
            || pair == ["auth", "ident"]
    });
    // Bundler's name of a source that has a login: the host, with `__` for its dots.
    let is_host =
        name.starts_with("BUNDLE_") && name.contains("__") && !NO_HOSTS.iter().any(|other| name.starts_with(other));
    // `Trusted_Connection=True` is a login without a password.
    if words.iter().any(|word| word == "public") || words == ["trusted", "connection"] {
        return Named::Plainly;
    }
    let is_about = words.last().is_some_and(|last| ABOUT.contains(&last.as_str()));
    if is_host || ((is_credential || is_pair) && !is_about) {
        Named::Credential
    } else if is_credential || is_pair || words.iter().any(|word| MAYBE.contains(&word.as_str())) {
        Named::Perhaps
    } else {
        Named::Plainly
    }
}

/// The words of a name, in lower case: `npm`, `auth`, `token` for `npmAuthToken`.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| letters.get(before)).copied().unwrap_or('_');
        let after = letters.get(at + 1).copied().unwrap_or('_');
        let begins =
            letter.is_uppercase() && (before.is_lowercase() || (before.is_uppercase() && after.is_lowercase()));
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (letter.is_alphanumeric(), words.last_mut()) {
            word.extend(letter.to_lowercase());
        }
    }
    // `password2` is one more.
    for word in &mut words {
        let length = word.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
        if length > 0 {
            word.truncate(length);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a value of a setting of such a name is a credential.
pub(super) fn is_credential(named: Named, value: &str) -> bool {
    let value = given(value);
    let looks_so = || has_login(&value) || redact::holds_token(&value) || pieces(&value).any(is_secret);
    match named {
        // `MAX_TOKENS=4096`, `token: 3`: a number that is too short to keep anything.
        Named::Credential => is_text(&value) && !(value.len() < 4 && value.bytes().all(|byte| byte.is_ascii_digit())),
        Named::Perhaps => looks_so() && !is_login_of_system(&value),
        Named::Plainly => false,
    }
}

/// Whether the name of a setting says that it names something, and no credential: `ClientId`.
pub(super) fn is_identity(name: &str) -> bool {
    named(name) == Named::Plainly && words(name).last().is_some_and(|last| last == "id")
}

/// Whether a value is a connection to a database that asks the system who it is, and holds no password.
fn is_login_of_system(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let has = |pieces: &[&str]| pieces.iter().any(|piece| lower.contains(piece));
    has(&["trusted_connection=", "integrated security="])
        && !has(&["password", "pwd", "pass", "key=", "secret", "token", "sig=", "credential"])
}

/// How many more settings of a file are judged. An ordinary file has a few with such a name; what has some hundreds is not
/// understood, and counts as a credential.
#[derive(Debug)]
pub(super) struct Effort(u32);

impl Effort {
    /// For a whole file.
    pub(super) fn new() -> Self {
        Self(256)
    }

    /// Takes one away, if there is one left.
    fn spend(&mut self) -> Spent {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Spent::One
            }
            None => Spent::All,
        }
    }
}

/// Whether there was effort left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spent {
    One,
    All,
}

/// The settings of a text that are credentials, each line once.
pub(super) fn credentials(text: &str, effort: &mut Effort) -> Vec<Setting> {
    let lines: Vec<Line<'_>> = text.split(['\n', '\0']).map(Line::of).collect();
    let mut found = Vec::new();
    for (number, Line { whole: line, said, .. }) in lines.iter().enumerate() {
        if said.is_empty() {
            continue;
        }
        let rest = lines.get(number + 1..).unwrap_or_default();
        let somewhere = if begins_key(line).is_some() {
            Some(Value::Unclear)
        } else {
            (has_login(line) || redact::holds_token(line)).then_some(Value::Line)
        };
        if let Some(value) = credential(line, rest, effort).or(somewhere) {
            found.push(Setting { line: number, value });
        }
    }
    found
}

/// A line of a text, which those above it look at, too.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    whole: &'a str,
    /// Without the spaces around it.
    said: &'a str,
    /// In bytes.
    indentation: usize,
}

impl<'a> Line<'a> {
    fn of(whole: &'a str) -> Self {
        Self { whole, said: whole.trim(), indentation: indentation(whole) }
    }

    /// As [`is_below`], for a line of such an indentation.
    fn is_below(&self, indentation: usize) -> bool {
        self.said.is_empty() || self.indentation > indentation
    }
}

/// Whether the next lines that say something go on with this one.
pub(super) fn is_below(line: &str, below: &str) -> bool {
    below.trim().is_empty() || indentation(below) > indentation(line)
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Where the credential is that a line sets, if it does.
fn credential(line: &str, below: &[Line<'_>], effort: &mut Effort) -> Option<Value> {
    // Once for all of its names: a long line has many.
    let line = line.trim_end();
    let indentation = indentation(line);
    let mut pairs = pairs(line);
    pairs.extend(attribute(line));
    for (name, start) in pairs {
        let name = named(name);
        if name == Named::Plainly {
            continue;
        }
        if effort.spend() == Spent::All {
            return Some(Value::Unclear);
        }
        match value(line, start) {
            Value::Here { start, end } => {
                if is_credential(name, line.get(start..end).unwrap_or_default()) {
                    // In a flow of YAML or JSON others may follow.
                    let is_flow = line.get(..start).is_some_and(|before| before.contains(['{', '[']));
                    return Some(if is_flow { Value::Unclear } else { Value::Here { start, end } });
                }
            }
            Value::Below { start } => {
                let mut text = below.iter().take(NEAR).take_while(|next| next.is_below(indentation));
                if text.any(|line| is_credential(name, line.said.trim_start_matches(['-', ' ', '\\']))) {
                    return Some(Value::Below { start });
                }
            }
            Value::Line => {}
            Value::Unclear => {
                let near = below.get(..below.len().min(NEAR)).unwrap_or_default();
                let near = near.iter().map(|line| line.said);
                let text = [line.get(start..).unwrap_or_default()].into_iter().chain(near);
                // No more than is judged of it.
                let text = text.map(beginning).fold(String::new(), |text, line| {
                    if beginning(&text).len() < text.len() { text } else { text + line + "\n" }
                });
                // What is in the brackets has names of its own; what is in the quotes has none.
                let opened = text.trim_start().starts_with(['{', '[']);
                let name = if opened { Named::Perhaps } else { name };
                let near: String = text.split(['}', ']']).next().unwrap_or_default().to_owned();
                if is_credential(name, &near) {
                    return Some(Value::Unclear);
                }
            }
        }
    }
    None
}

/// The names in a line that something is set to, and where what follows the sign begins.
fn pairs(line: &str) -> Vec<(&str, usize)> {
    let mut pairs = Vec::new();
    for (at, sign) in line.match_indices(['=', ':', '>']) {
        let after = at + sign.len();
        let (before, rest) = (line.get(..at).unwrap_or_default(), line.get(after..).unwrap_or_default());
        if rest.starts_with("//") {
            continue;
        }
        let mut before = before.trim_end();
        for _ in 0..MOST_SIGNS {
            before = before.strip_suffix(['"', '\'', ':', '+', '?']).unwrap_or(before);
        }
        let start = before
            .rfind(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '_' | '-' | '.'))
            .map_or(0, |last| last + before.get(last..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8));
        let name = before.get(start..).unwrap_or_default();
        // `>` ends a tag of XML: its name is set to the text up to the next.
        let is_tag = sign != ">" || line.get(..start).is_some_and(|before| before.ends_with('<'));
        if !name.is_empty() && is_tag {
            pairs.push((name, after));
        }
    }
    // `"//host/:_authToken" value`, as Yarn's first generation has it.
    let plain = line.trim_start();
    if let Some((name, rest)) = plain.split_once([' ', '\t'])
        && !rest.trim_start().starts_with(['=', ':'])
        && !rest.trim_end().ends_with(['{', '['])
        && rest.split_whitespace().count() == 1
    {
        let name = name.trim_matches(['"', '\'']);
        let name = name.rsplit([':', '/']).next().unwrap_or(name);
        if named(name) == Named::Credential {
            pairs.push((name, line.len() - rest.len()));
        }
    }
    pairs
}

/// `key="Name" value="text"` of XML: the name, and where the text begins.
fn attribute(line: &str) -> Option<(&str, usize)> {
    let quoted = |name: &str| {
        let start = line.find(&format!("{name}=\""))? + name.len() + 2;
        let length = line.get(start..)?.find('"')?;
        Some((line.get(start..start + length)?, start - 1))
    };
    let (name, _) = quoted(" key").or_else(|| quoted(" name"))?;
    let (_, start) = quoted(" value")?;
    Some((name, start))
}

/// What stands from `start` on.
fn value(line: &str, start: usize) -> Value {
    let rest = line.get(start..).unwrap_or_default();
    let start = start + (rest.len() - rest.trim_start().len());
    let rest = rest.trim_start();
    let is_block = rest.starts_with(['|', '>']) && rest.len() <= 4;
    if rest.is_empty() || is_block || rest == "\\" {
        return Value::Below { start };
    }
    if rest.starts_with(['{', '[', '&', '*', '!']) || rest.starts_with("<<") || rest.ends_with('\\') {
        return Value::Unclear;
    }
    // Quotes of TOML, and of Python, that go on over lines.
    if rest.starts_with("\"\"\"") || rest.starts_with("'''") {
        return Value::Unclear;
    }
    let Some(quote) = rest.chars().next().filter(|first| matches!(first, '"' | '\'' | '`')) else {
        let is_tag = line.get(..start).is_some_and(|before| before.trim_end().ends_with('>'));
        let end = if is_tag { rest.find('<') } else { None }.unwrap_or(rest.len());
        return Value::Here { start, end: start + end };
    };
    let mut escaped = false;
    let closing = rest.char_indices().skip(1).find(|(_, letter)| {
        let closes = *letter == quote && !escaped;
        escaped = *letter == '\\' && !escaped;
        closes
    });
    match closing {
        Some((end, _)) => Value::Here { start: start + 1, end: start + end },
        None => Value::Unclear,
    }
}
