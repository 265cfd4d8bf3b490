//! Takes known secrets out of text that goes to an agent or a log.
//!
//! Two kinds are known: the values that masked files hold, byte for byte, and tokens whose shape says what they are. Each
//! shape is precise: a false match hides a piece of code from its author. What is encoded, cut in two or reversed is not
//! found: this is the last net, not the fence.

use std::{
    cmp::Ordering,
    sync::{Arc, OnceLock},
};

use super::{
    block::{End, begins_key, has_piece, lines_of_key},
    known::Known,
};

/// How every mark that stands for a secret begins. An argument that holds one is no text that the agent has seen.
pub const MARK: &str = "[cofferdam: redacted ";

/// Characters of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letters {
    /// `A`–`Z` and digits.
    Upper,
    /// Letters and digits.
    Plain,
    /// Letters, digits, `-` and `_`.
    Url,
    /// Letters, digits, `-`, `_` and `.`.
    Dotted,
    /// `0`–`9` and `a`–`f`.
    Hex,
}

/// A token that a prefix gives away: its prefix, characters, least length after the prefix, and what it is.
const TOKENS: &[(&str, Letters, usize, &str)] = &[
    ("AKIA", Letters::Upper, 16, "AWS access key"),
    ("ASIA", Letters::Upper, 16, "AWS access key"),
    ("ghp_", Letters::Plain, 36, "GitHub token"),
    ("gho_", Letters::Plain, 36, "GitHub token"),
    ("ghu_", Letters::Plain, 36, "GitHub token"),
    ("ghs_", Letters::Plain, 36, "GitHub token"),
    ("ghr_", Letters::Plain, 36, "GitHub token"),
    ("github_pat_", Letters::Url, 40, "GitHub token"),
    ("glpat-", Letters::Url, 20, "GitLab token"),
    ("gldt-", Letters::Url, 20, "GitLab token"),
    ("glrt-", Letters::Url, 20, "GitLab token"),
    ("glptt-", Letters::Url, 40, "GitLab token"),
    ("xoxb-", Letters::Url, 20, "Slack token"),
    ("xoxp-", Letters::Url, 20, "Slack token"),
    ("xoxa-", Letters::Url, 20, "Slack token"),
    ("xoxr-", Letters::Url, 20, "Slack token"),
    ("xoxs-", Letters::Url, 20, "Slack token"),
    ("xapp-", Letters::Url, 20, "Slack token"),
    ("npm_", Letters::Plain, 36, "npm token"),
    ("pypi-AgE", Letters::Url, 50, "PyPI token"),
    ("AIza", Letters::Url, 35, "Google API key"),
    ("sk_live_", Letters::Plain, 24, "Stripe key"),
    ("rk_live_", Letters::Plain, 24, "Stripe key"),
    ("sk-ant-", Letters::Url, 40, "Anthropic key"),
    ("sk-proj-", Letters::Url, 40, "OpenAI key"),
    ("sk-svcacct-", Letters::Url, 40, "OpenAI key"),
    ("sk-admin-", Letters::Url, 40, "OpenAI key"),
    ("sk-or-v1-", Letters::Hex, 64, "OpenRouter key"),
    ("sk-", Letters::Plain, 40, "OpenAI key"),
    ("AGE-SECRET-KEY-1", Letters::Upper, 58, "age identity"),
    ("glcbt-", Letters::Url, 20, "GitLab token"),
    ("gloas-", Letters::Url, 40, "GitLab token"),
    ("glagent-", Letters::Url, 40, "GitLab token"),
    ("xoxc-", Letters::Url, 20, "Slack token"),
    ("xoxd-", Letters::Url, 20, "Slack token"),
    ("xoxe-", Letters::Url, 20, "Slack token"),
    ("rubygems_", Letters::Hex, 48, "RubyGems key"),
    ("dckr_pat_", Letters::Url, 24, "Docker token"),
    ("hvs.", Letters::Url, 24, "Vault token"),
    ("hvb.", Letters::Url, 24, "Vault token"),
    ("hvr.", Letters::Url, 24, "Vault token"),
    ("dop_v1_", Letters::Hex, 64, "DigitalOcean token"),
    ("doo_v1_", Letters::Hex, 64, "DigitalOcean token"),
    ("dor_v1_", Letters::Hex, 64, "DigitalOcean token"),
    ("SG.", Letters::Dotted, 66, "SendGrid key"),
    ("GOCSPX-", Letters::Url, 28, "Google client secret"),
    ("ya29.", Letters::Url, 40, "Google token"),
    ("whsec_", Letters::Plain, 32, "webhook secret"),
    ("shpat_", Letters::Hex, 32, "Shopify token"),
    ("shpss_", Letters::Hex, 32, "Shopify secret"),
    ("shpca_", Letters::Hex, 32, "Shopify token"),
    ("shppa_", Letters::Hex, 32, "Shopify token"),
    ("hf_", Letters::Plain, 34, "Hugging Face token"),
    ("gsk_", Letters::Plain, 48, "Groq key"),
    ("glsa_", Letters::Url, 40, "Grafana token"),
    ("lin_api_", Letters::Plain, 40, "Linear key"),
    ("tskey-auth-", Letters::Url, 20, "Tailscale key"),
    ("tskey-api-", Letters::Url, 20, "Tailscale key"),
    ("sntrys_eyJ", Letters::Url, 40, "Sentry token"),
    ("sntryu_", Letters::Hex, 64, "Sentry token"),
    ("pul-", Letters::Hex, 40, "Pulumi token"),
    ("ATATT3", Letters::Url, 100, "Atlassian token"),
    ("dp.pt.", Letters::Plain, 40, "Doppler token"),
    ("dp.st.", Letters::Dotted, 40, "Doppler token"),
    ("PMAK-", Letters::Url, 50, "Postman key"),
    ("figd_", Letters::Url, 40, "Figma token"),
    ("sbp_", Letters::Hex, 40, "Supabase token"),
];

/// Passwords in addresses that are examples.
const EXAMPLES: [&str; 20] = [
    "password",
    "passwd",
    "pass",
    "secret",
    "changeme",
    "example",
    "masked",
    "postgres",
    "root",
    "admin",
    "guest",
    "test",
    "token",
    "hunter2",
    "mypassword",
    "my_password",
    "your_password",
    "your-password",
    "your_token",
    "your-token",
];

/// Pieces of tokens that are examples. By chance, not one of a thousand million has one.
const EXAMPLE_PIECES: [&str; 3] = ["example", "placeholder", "xxxxxx"];

/// A longer token is no example, in bytes: of what is one, each part could begin a token again.
const LONGEST_EXAMPLE: usize = 128;

/// The signature of the web token that documentation has, from jwt.io.
const EXAMPLE_SIGNATURE: &str = "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";

/// A value of a masked file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The value.
    pub value: Arc<str>,
    /// The file that holds it, as people read its path.
    pub file: Arc<str>,
}

/// Takes secrets out of text.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    values: Option<Arc<Values>>,
}

/// Values of masked files.
#[derive(Debug)]
struct Values {
    /// Sorted by value, each once.
    secrets: Vec<Secret>,
    /// How many of them are not looked for.
    left_out: u64,
    /// Made when it is needed first: not while somebody holds what others wait for.
    known: OnceLock<Option<Known>>,
}

/// A text without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// The text.
    pub text: String,
    /// How many secrets were taken out.
    pub count: u64,
    /// Where it ends.
    pub end: Within,
}

/// What a place in a text lies in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Within {
    /// Ordinary text.
    #[default]
    Text,
    /// A block of a private key.
    PrivateKey,
}

impl Redactor {
    /// A redactor that knows `secrets` beside the shapes: 2 MiB of them, the shorter first.
    #[must_use]
    pub fn new(mut secrets: Vec<Secret>) -> Self {
        secrets.sort_by(Secret::order);
        secrets.dedup_by(|one, other| one.value == other.value);
        if secrets.is_empty() {
            return Self { values: None };
        }
        let left_out = Known::left_out(secrets.iter().map(|secret| secret.value.as_ref()));
        Self { values: Some(Arc::new(Values { secrets, left_out, known: OnceLock::new() })) }
    }

    /// The same, knowing what `other` knows too.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (&self.values, &other.values) {
            (None, _) => other.clone(),
            (_, None) => self.clone(),
            (Some(values), Some(others)) if Arc::ptr_eq(values, others) || values.hold(others) => self.clone(),
            (Some(values), Some(others)) if others.hold(values) => other.clone(),
            (Some(values), Some(others)) => Self::new(values.secrets.iter().chain(&others.secrets).cloned().collect()),
        }
    }

    /// How many values it is not looking for: with them it had more than 2 MiB.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.values.as_ref().map_or(0, |values| values.left_out)
    }

    /// Takes secrets out of a text.
    #[must_use]
    pub fn redact(&self, text: &str) -> Redacted {
        self.redact_after(text, Within::Text)
    }

    /// As [`Redactor::redact`], for a text that follows one which ended within `end`.
    #[must_use]
    pub fn redact_after(&self, text: &str, end: Within) -> Redacted {
        let mut redacted = Redacted { text: text.to_owned(), count: 0, end };
        if end == Within::PrivateKey || text.contains("PRIVATE KEY") {
            redacted = Texts::new(&[text], end).without_keys().pop().unwrap_or(redacted);
        }
        self.finish(redacted)
    }

    /// As [`Redactor::redact`] for texts that follow each other, as the lines of a file do: a private key may go on from one to
    /// the next, and is known by what stands in all of them.
    #[must_use]
    pub fn redact_all(&self, texts: &[&str]) -> Vec<Redacted> {
        if !texts.iter().any(|text| text.contains("PRIVATE KEY")) {
            return texts.iter().map(|text| self.redact(text)).collect();
        }
        let texts = Texts::new(texts, Within::Text).without_keys();
        texts.into_iter().map(|text| self.finish(text)).collect()
    }

    /// What is left to be done behind the search for keys.
    fn finish(&self, mut redacted: Redacted) -> Redacted {
        if let Some(values) = &self.values {
            redacted.values(values);
        }
        redacted.tokens();
        redacted
    }
}

impl Secret {
    fn order(&self, other: &Self) -> Ordering {
        (&self.value, &self.file).cmp(&(&other.value, &other.file))
    }
}

impl Values {
    fn known(&self) -> Option<&Known> {
        let values = || self.secrets.iter().map(|secret| secret.value.as_ref());
        self.known.get_or_init(|| Known::new(values())).as_ref()
    }

    /// Whether each of these values is one of ours.
    fn hold(&self, others: &Self) -> bool {
        let mut ours = self.secrets.iter();
        others.secrets.iter().all(|other| {
            let first = ours.find(|secret| secret.value >= other.value);
            first.is_some_and(|secret| secret.value == other.value)
        })
    }
}

impl Redacted {
    /// Takes out values of masked files.
    fn values(&mut self, values: &Values) {
        let found = values.known().map(|known| known.find(&self.text)).unwrap_or_default();
        if found.is_empty() {
            return;
        }
        let (mut kept, mut from) = (String::with_capacity(self.text.len()), 0);
        for place in found {
            let file = values.secrets.get(place.value).map_or("a masked file", |secret| secret.file.as_ref());
            kept.push_str(self.text.get(from..place.bytes.start).unwrap_or_default());
            kept.push_str(&format!("{MARK}value of {file}]"));
            from = place.bytes.end;
            self.count += 1;
        }
        kept.push_str(self.text.get(from..).unwrap_or_default());
        self.text = kept;
    }

    /// Takes out tokens that their shape gives away.
    fn tokens(&mut self) {
        let text = std::mem::take(&mut self.text);
        let mut kept = String::with_capacity(text.len());
        let mut rest = text.as_str();
        let mut before = None;
        let mut web = WebTokens::default();
        while !rest.is_empty() {
            let starts = before.is_none_or(|before: char| !before.is_ascii_alphanumeric() && before != '_');
            let token = if starts { token(rest, &mut web) } else { None };
            let found = token.or_else(|| password(rest, before)).filter(|(length, _)| *length > 0);
            if let Some((length, what)) = found {
                self.count += 1;
                kept.push_str(&format!("{MARK}{what}]"));
                rest = rest.get(length..).unwrap_or_default();
                before = Some(']');
                continue;
            }
            let Some(character) = rest.chars().next() else { break };
            kept.push(character);
            before = Some(character);
            rest = rest.get(character.len_utf8()..).unwrap_or_default();
        }
        self.text = kept;
    }
}

/// Texts on their way through the search for private keys. A key may begin in one and end in another.
struct Texts<'a> {
    lines: Vec<&'a str>,
    /// The text that each line is of.
    of: Vec<usize>,
    kept: Vec<Redacted>,
    end: Within,
}

impl<'a> Texts<'a> {
    /// Texts, the first of which follows one that ended within `end`.
    fn new(texts: &[&'a str], end: Within) -> Self {
        let lines =
            || texts.iter().enumerate().flat_map(|(of, text)| text.split_inclusive('\n').map(move |line| (of, line)));
        let kept = texts.iter().map(|_| Redacted { text: String::new(), count: 0, end }).collect();
        Self { lines: lines().map(|(_, line)| line).collect(), of: lines().map(|(of, _)| of).collect(), kept, end }
    }

    /// Takes private keys out: from the line that begins one to the line that ends it, whatever stands in front of the lines.
    fn without_keys(mut self) -> Vec<Redacted> {
        let mut at = 0;
        // What is left of the line at `at`.
        let mut line = self.line(0);
        if self.end == Within::PrivateKey {
            (at, line) = self.after_key(0);
        }
        while at < self.lines.len() {
            let Some((before, key)) = begins_key(line).and_then(|start| line.split_at_checked(start)) else {
                self.keep(at, line);
                at += 1;
                line = self.line(at);
                continue;
            };
            self.keep(at, before);
            // All on one line, as in a quoted value.
            if let Some((inner, rest)) = key.split_once("-----END") {
                let after = rest.split_once("-----").map_or("", |(_, rest)| rest);
                let body = inner.splitn(3, "-----").nth(2).unwrap_or_default();
                if has_piece(body) {
                    self.mark(at);
                } else {
                    self.keep(at, key.get(..key.len() - after.len()).unwrap_or_default());
                }
                line = after;
                continue;
            }
            let body = key.splitn(3, "-----").nth(2).unwrap_or_default();
            let below = self.lines.get(at + 1..).unwrap_or_default();
            if !has_piece(body) && lines_of_key(below) == (0, End::Over) {
                // Only the name of one, as source code has it.
                self.keep(at, key);
                at += 1;
                line = self.line(at);
                continue;
            }
            self.mark(at);
            self.keep(at, if key.ends_with('\n') { "\n" } else { "" });
            (at, line) = self.after_key(at + 1);
        }
        self.kept.iter_mut().for_each(|kept| kept.end = self.end);
        self.kept
    }

    /// The line after a key whose next line is at `from`, and what is to be looked at of it.
    fn after_key(&mut self, from: usize) -> (usize, &'a str) {
        let (count, end) = lines_of_key(self.lines.get(from..).unwrap_or_default());
        let at = from + count;
        let line = self.line(at);
        self.end = if end == End::Open { Within::PrivateKey } else { Within::Text };
        if end == End::Closed {
            match line.rsplit_once("-----") {
                Some((_, rest)) => return (at, rest),
                None => self.keep(at, "\n"),
            }
        }
        (at, line)
    }

    fn line(&self, at: usize) -> &'a str {
        self.lines.get(at).copied().unwrap_or_default()
    }

    fn mark(&mut self, at: usize) {
        self.keep(at, &format!("{MARK}private key]"));
        if let Some(kept) = self.of.get(at).and_then(|of| self.kept.get_mut(*of)) {
            kept.count += 1;
        }
    }

    fn keep(&mut self, at: usize, text: &str) {
        if let Some(kept) = self.of.get(at).and_then(|of| self.kept.get_mut(*of)) {
            kept.text.push_str(text);
        }
    }
}

/// Whether a text holds a token of a listed shape.
pub(super) fn holds_token(text: &str) -> bool {
    let mut before = None;
    let mut web = WebTokens::default();
    text.char_indices().any(|(at, letter)| {
        let starts = before.is_none_or(|before: char| !before.is_ascii_alphanumeric() && before != '_');
        before = Some(letter);
        starts && text.get(at..).is_some_and(|rest| token(rest, &mut web).is_some())
    })
}

/// The length of a token at the start of `text`, in bytes, and what it is.
fn token(text: &str, web: &mut WebTokens) -> Option<(usize, &'static str)> {
    for (prefix, letters, least, what) in TOKENS {
        if let Some(rest) = text.strip_prefix(prefix) {
            let length = rest.bytes().take_while(|byte| letters.has(*byte)).count();
            // A longer run of capitals is another thing than a key of fixed length.
            let fits = if *letters == Letters::Upper { length == *least } else { length >= *least };
            if fits && !is_example(rest.get(..length).unwrap_or_default()) {
                return Some((prefix.len() + length, what));
            }
        }
    }
    web.at(text).filter(|(length, _)| !text.get(..*length).is_some_and(|token| token.ends_with(EXAMPLE_SIGNATURE)))
}

/// Whether what follows a prefix is there to be replaced, as documentation has it.
fn is_example(token: &str) -> bool {
    let lower = || token.to_ascii_lowercase();
    token.len() <= LONGEST_EXAMPLE && EXAMPLE_PIECES.iter().any(|piece| lower().contains(piece))
}

/// Finds JSON web tokens: three parts in base64, of which two begin as JSON objects do.
///
/// Where many could begin in one run of letters, what stands behind the run is looked at once.
#[derive(Debug, Default)]
struct WebTokens {
    last: Option<Head>,
}

/// A run of letters that a token may begin in.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// Where it ends, counted in bytes from the end of the text.
    end: usize,
    /// The bytes of the two other parts behind it, with their dots.
    rest: Option<usize>,
}

impl WebTokens {
    /// The token at the start of `text`, which is all that is left of one text and gets shorter with each call.
    fn at(&mut self, text: &str) -> Option<(usize, &'static str)> {
        if !text.starts_with("eyJ") {
            return None;
        }
        let head = match self.last.filter(|head| head.end < text.len()) {
            Some(head) => head,
            None => {
                let length = url_letters(text);
                let end = text.len() - length;
                let head = Head { end, rest: text.get(length..).and_then(behind_head) };
                *self.last.insert(head)
            }
        };
        let length = text.len() - head.end;
        let rest = head.rest.filter(|_| length >= 12)?;
        Some((length + rest, "JSON web token"))
    }
}

/// The bytes of a token's body and signature with their dots, at the start of `text`.
fn behind_head(text: &str) -> Option<usize> {
    let body = text.strip_prefix('.')?;
    let length = url_letters(body);
    let signature = url_letters(body.get(length..)?.strip_prefix('.')?);
    (body.starts_with("eyJ") && length >= 12 && signature >= 16).then_some(length + signature + 2)
}

fn url_letters(text: &str) -> usize {
    text.bytes().take_while(|byte| Letters::Url.has(*byte)).count()
}

/// The length of a password in an address, when `text` begins with it: `scheme://user:` is what came before.
///
/// Only asked where `before` is a colon; looks ahead for the `@` and at the example passwords.
fn password(text: &str, before: Option<char>) -> Option<(usize, &'static str)> {
    let rest = (before == Some(':')).then_some(text)?.strip_prefix("//")?;
    let authority = rest
        .split(|character: char| character.is_whitespace() || matches!(character, '/' | '"' | '\'' | '`' | '<' | '>'))
        .next()?;
    let (login, _) = authority.rsplit_once('@')?;
    let (user, password) = login.split_once(':')?;
    let lower = password.to_ascii_lowercase();
    let is_example = password.len() < 4
        || password == user
        || EXAMPLES.contains(&lower.as_str())
        || password.starts_with(['$', '{', '<', '*', '%', '['])
        || lower.bytes().all(|byte| byte == b'x');
    // With the user's name: what is replaced is one piece.
    (!is_example).then(|| ("//".len() + login.len(), "login of an address"))
}

impl Letters {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Plain => byte.is_ascii_alphanumeric(),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
            Self::Hex => byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(text: &str) -> (String, u64) {
        let redacted = Redactor::default().redact(text);
        (redacted.text, redacted.count)
    }

    /// A token's text, put together so that no scanner of repositories finds one here.
    fn long(prefix: &str, letters: usize) -> String {
        format!("{prefix}{}", "a1B2".repeat(letters.div_ceil(4)).get(..letters).unwrap())
    }

    #[test]
    fn values_of_two_full_sets_that_are_too_many_together_are_counted() {
        let full = |file: &str| {
            let value = |at| format!("{file}{at}-{}", "x1".repeat(400_000)).into();
            Redactor::new((0..2).map(|at| Secret { value: value(at), file: file.into() }).collect())
        };
        let (one, other) = (full("a"), full("b"));
        assert_eq!((one.left_out(), other.left_out(), one.and(&other).left_out()), (0, 0, 2));
    }

    #[test]
    fn each_listed_token_is_taken_out_and_what_is_around_it_stays() {
        for (prefix, letters, least, what) in TOKENS {
            let token = match letters {
                Letters::Upper => format!("{prefix}{}", "A".repeat(*least)),
                Letters::Plain | Letters::Url | Letters::Dotted => long(prefix, *least),
                Letters::Hex => format!("{prefix}{}", "a".repeat(*least)),
            };
            let expected = format!("key = \"{MARK}{what}]\"; more");
            assert_eq!(redact(&format!("key = \"{token}\"; more")), (expected, 1), "{prefix}");
            let short = token.get(..token.len() - 1).unwrap();
            for text in [format!("x{token}"), short.to_owned()] {
                assert_eq!(redact(&text), (text.clone(), 0), "{prefix}");
            }
        }
    }

    #[test]
    fn keys_go_whole_whatever_stands_in_front_of_their_lines() {
        let begin = ["-----BEGIN RSA PRIVATE", "KEY-----"].join(" ");
        let end = ["-----END RSA PRIVATE", "KEY-----"].join(" ");
        let body = "MIIEabcDEF123+/=";
        let text = format!("     1\tfirst\n     2\t{begin}\n     3\t{body}\n     4\t{end}\n     5\tlast line here\n");
        let expected = format!("     1\tfirst\n     2\t{MARK}private key]\n\n     5\tlast line here\n");
        assert_eq!(redact(&text), (expected, 1));
        let quoted = format!("KEY=\"{begin}\\n{body}\\n{end}\\n\" # after");
        assert_eq!(redact(&quoted), (format!("KEY=\"{MARK}private key]\\n\" # after"), 1));
        // Cut off, and gone on with in the next text.
        let cut = Redactor::default().redact(&format!("{begin}\n{body}\n"));
        assert!(cut.end == Within::PrivateKey && !cut.text.contains(body));
        let next = Redactor::default().redact_after(body, cut.end);
        assert!(next.end == Within::PrivateKey && next.text.is_empty());
        let over = Redactor::default().redact_after("let x = compute(1);", next.end);
        assert!(over.end == Within::Text && over.text == "let x = compute(1);");
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        assert_eq!(redact(certificate), (certificate.to_owned(), 0));
    }

    #[test]
    fn logins_in_addresses_and_web_tokens_are_taken_out_and_examples_are_not() {
        let (text, count) = redact("DB=postgres://app:s3cr3tpw@db:5432/x and git@host:a/b");
        assert_eq!(text, format!("DB=postgres:{MARK}login of an address]@db:5432/x and git@host:a/b"));
        assert_eq!(count, 1);
        let token = format!("eyJ{}.eyJ{}.{}", "a".repeat(20), "b".repeat(20), "c".repeat(30));
        assert_eq!(
            redact(&format!("eyJ.{token}-{token} eyJ")),
            (format!("eyJ.{MARK}JSON web token].{} eyJ", token.split_once('.').unwrap().1), 1)
        );
        assert_eq!(redact(&format!("Bearer {token}")), (format!("Bearer {MARK}JSON web token]"), 1));
        for text in [
            "postgres://postgres:postgres@localhost/x",
            "https://user:$TOKEN@host/x",
            "http://a:b@c",
            "https://username:hunter2@host/x",
            "https://oauth2:TOKEN@host/x",
            &["ghp", &"x".repeat(36)].join("_"),
            &["sk", &"x".repeat(48)].join("-"),
            &["AKIA", "IOSFODNN7EXAMPLE"].concat(),
            &format!("eyJ{}.eyJ{}.{EXAMPLE_SIGNATURE}", "a".repeat(20), "b".repeat(20)),
            "https://example.com/a:b@c",
            "eyJhbGciOi.eyJ.x",
        ] {
            assert_eq!(redact(text), (text.to_owned(), 0), "{text}");
        }
    }

    #[test]
    fn values_of_masked_files_are_taken_out_the_longer_first() {
        let secret = |value: &str| Secret { value: value.into(), file: ".env".into() };
        let redactor = Redactor::new(vec![secret("abc123def456"), secret("abc123def456-more")]);
        let redacted = redactor.redact("x=abc123def456-more y=abc123def456 z=abc123");
        let mark = format!("{MARK}value of .env]");
        assert_eq!((redacted.text, redacted.count), (format!("x={mark} y={mark} z=abc123"), 2));
    }

    #[test]
    fn what_two_know_is_put_together_once() {
        let redactor = |values: &[&str]| {
            Redactor::new(values.iter().map(|value| Secret { value: (*value).into(), file: ".env".into() }).collect())
        };
        let same = |one: &Redactor, other: &Redactor| match (&one.values, &other.values) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let (all, few, other) = (redactor(&["v1", "v2", "v3"]), redactor(&["v3", "v1"]), redactor(&["v0"]));
        assert!(same(&all.and(&all), &all) && same(&all.and(&few), &all) && same(&few.and(&all), &all));
        assert!(same(&all.and(&Redactor::default()), &all) && same(&Redactor::default().and(&all), &all));
        let both = all.and(&other);
        assert!(!same(&both, &all));
        assert_eq!(both.redact("v0 v1 v2 v3 v4").count, 4);
    }

    #[test]
    fn very_many_values_are_looked_for_at_once_and_put_together() {
        // One by one, each of these would take minutes: 50,000 values in a text of 1 MiB, and 2.5 thousand million pairs of them.
        let values = |file: &str| -> Vec<Secret> {
            let value = |number| Secret { value: format!("s3cr3t-{number:08}-v4lue").into(), file: file.into() };
            (0..50_000).map(value).collect()
        };
        let redactor = Redactor::new(values("a/.env"));
        let text = format!("{} s3cr3t-00049999-v4lue", "s3cr3t-000-v4lue\n".repeat(64 << 10));
        assert_eq!(redactor.redact(&text).count, 1);
        let other = Redactor::new(values("b/.env"));
        assert_eq!(redactor.and(&other).redact(&text).count, 1);
    }
}
