//! Git's own grammar of settings, in memory-safe code: what a file sets, without conditions.
//!
//! A settings file of the host may be a file of the workspace that strangers wrote (`include.path`), so no program of the
//! server's user parses it but this. It follows `git_parse_source`, `get_base_var`, `get_value` and `parse_value` of
//! git's `config.c` (2.47) character by character, and is compared with the machine's git in its tests: a text that git
//! takes and this does not would hold everything, and one that is read otherwise would hide a program.

/// One `name = value` of a settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The section, in lower case.
    pub(super) section: String,
    /// The part between section and key, as git has it.
    pub(super) subsection: Vec<u8>,
    /// The key, in lower case.
    pub(super) key: String,
    /// The name as it is written, for people.
    pub(super) written: String,
    /// The value, up to a NUL as git's C strings; empty where there is none.
    pub(super) value: Vec<u8>,
}

/// Why a file's settings are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Git would refuse the file for this line, counted from 1.
    Malformed(usize),
    /// Each setting keeps its section's name, and they are too long for that.
    TooMuch,
}

/// Bytes of the names of sections that are kept, for each setting once more. The longest file with one name of 64 bytes has
/// as many.
const MOST_OF_SECTIONS: usize = 16 << 20;

/// Reads a file's text.
///
/// # Errors
/// [`Refused`], where git dies of "bad config line".
pub(super) fn parse(text: &[u8]) -> Result<Vec<Setting>, Refused> {
    let mut reader = Reader { rest: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text), line: 1, ended: false };
    let mut settings = Vec::new();
    let mut section = Vec::new();
    let (mut in_comment, mut kept) = (false, 0);
    loop {
        let line = reader.line;
        let malformed = |()| Refused::Malformed(line);
        match reader.next() {
            b'\n' if reader.ended => return Ok(settings),
            b'\n' => in_comment = false,
            _ if in_comment => {}
            c if is_space(c) => {}
            b'#' | b';' => in_comment = true,
            b'[' => section = reader.section().map_err(malformed)?,
            c if c.is_ascii_alphabetic() => {
                let (key, value) = reader.value(c).map_err(malformed)?;
                kept += section.len();
                if kept > MOST_OF_SECTIONS {
                    return Err(Refused::TooMuch);
                }
                settings.push(setting(&section, &key, value));
            }
            _ => return Err(Refused::Malformed(line)),
        }
    }
}

fn setting(section: &[u8], key: &str, mut value: Vec<u8>) -> Setting {
    if let Some(end) = value.iter().position(|byte| *byte == 0) {
        value.truncate(end);
    }
    let (name, subsection) = match section.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&section[..dot], section[dot + 1..].to_vec()),
        None => (section, Vec::new()),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let written = if section.is_empty() { key.to_owned() } else { format!("{}.{key}", text(section)) };
    Setting { section: text(name).to_ascii_lowercase(), subsection, key: key.to_ascii_lowercase(), written, value }
}

/// `isspace` of git's `sane_ctype`.
fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_key(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'-'
}

struct Reader<'a> {
    rest: &'a [u8],
    line: usize,
    ended: bool,
}

impl Reader<'_> {
    /// The next character. The end of the text is one more end of a line, as often as it is asked for.
    fn next(&mut self) -> u8 {
        if let [b'\r', rest @ ..] = self.rest
            && rest.first() == Some(&b'\n')
        {
            self.rest = rest;
        }
        let Some((first, rest)) = self.rest.split_first() else {
            self.ended = true;
            return b'\n';
        };
        self.rest = rest;
        self.line += usize::from(*first == b'\n');
        *first
    }

    /// The inside of `[section]`, `[section.sub]` or `[section "sub"]`, as `section.sub`. The case of a name stays.
    fn section(&mut self) -> Result<Vec<u8>, ()> {
        let mut name = Vec::new();
        loop {
            match self.next() {
                _ if self.ended => return Err(()),
                b']' => return Ok(name),
                c if is_space(c) => return self.subsection(name, c),
                c if is_key(c) || c == b'.' => name.push(c),
                _ => return Err(()),
            }
        }
    }

    fn subsection(&mut self, mut name: Vec<u8>, mut c: u8) -> Result<Vec<u8>, ()> {
        while is_space(c) {
            if c == b'\n' {
                return Err(());
            }
            c = self.next();
        }
        if c != b'"' {
            return Err(());
        }
        name.push(b'.');
        loop {
            match self.next() {
                b'\n' => return Err(()),
                b'"' => break,
                b'\\' => match self.next() {
                    b'\n' => return Err(()),
                    c => name.push(c),
                },
                c => name.push(c),
            }
        }
        if self.next() == b']' { Ok(name) } else { Err(()) }
    }

    /// The rest of a line that begins with a key's `first` character.
    fn value(&mut self, first: u8) -> Result<(String, Vec<u8>), ()> {
        let mut key = String::from(char::from(first));
        let mut c = self.next();
        while is_key(c) && !self.ended {
            key.push(char::from(c));
            c = self.next();
        }
        while c == b' ' || c == b'\t' {
            c = self.next();
        }
        match c {
            b'\n' => Ok((key, Vec::new())),
            b'=' => self.text().map(|value| (key, value)),
            _ => Err(()),
        }
    }

    fn text(&mut self) -> Result<Vec<u8>, ()> {
        let mut value = Vec::new();
        let (mut quoted, mut in_comment) = (false, false);
        // How long the value was before the spaces that it may end with.
        let mut trimmed = None;
        loop {
            match self.next() {
                b'\n' if quoted => return Err(()),
                b'\n' => {
                    value.truncate(trimmed.unwrap_or(value.len()));
                    return Ok(value);
                }
                _ if in_comment => {}
                c if is_space(c) && !quoted => {
                    trimmed = trimmed.or(Some(value.len()));
                    if !value.is_empty() {
                        value.push(c);
                    }
                }
                b';' | b'#' if !quoted => in_comment = true,
                c => {
                    trimmed = None;
                    match c {
                        b'\\' => match self.next() {
                            b'\n' => {}
                            b't' => value.push(b'\t'),
                            b'b' => value.push(8),
                            b'n' => value.push(b'\n'),
                            c @ (b'\\' | b'"') => value.push(c),
                            _ => return Err(()),
                        },
                        b'"' => quoted = !quoted,
                        c => value.push(c),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use proptest::prelude::*;

    use super::*;

    /// A git before 2.45 makes a space of each white character in a value.
    fn plain(value: &[u8]) -> Vec<u8> {
        value.iter().map(|byte| if byte.is_ascii_whitespace() { b' ' } else { *byte }).collect()
    }

    /// What the machine's git reads of the text: names and values, or that it refuses.
    fn git(text: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut command = Command::new("git");
        command.args(["config", "--file=-", "--null", "--no-includes", "--list"]).current_dir("/");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", "/nonexistent");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("git is here");
        // It may refuse before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(text);
        let output = child.wait_with_output().unwrap();
        let entry = |entry: &[u8]| match entry.iter().position(|byte| *byte == b'\n') {
            Some(end) => (entry[..end].to_vec(), plain(&entry[end + 1..])),
            None => (entry.to_vec(), Vec::new()),
        };
        let entries = output.stdout.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        output.status.success().then(|| entries.map(entry).collect())
    }

    fn ours(text: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let name = |setting: &Setting| {
            let mut name = setting.section.clone().into_bytes();
            // `[section.Sub]` is folded as a whole by git, and only shown otherwise here.
            if !setting.subsection.is_empty() {
                name.push(b'.');
                name.extend(&setting.subsection);
            }
            if setting.written.contains('.') {
                name.push(b'.');
            }
            name.extend(setting.key.as_bytes());
            name
        };
        let settings = parse(text).ok()?;
        Some(settings.iter().map(|setting| (name(setting), plain(&setting.value))).collect())
    }

    #[test]
    fn a_text_means_what_it_means_to_git() {
        for text in [
            "",
            "[core]\n\thooksPath = tools/hooks\n",
            "[core] hooksPath=a b  c   # comment\n[core]x\n",
            "[a \"b.c\"] d = \"e ; f\" ; g\n",
            "[a \"b \\\"c\\\\d\"]\n\te = \\tf\\\\g\\\"h\\\n  i\n",
            "\u{feff}[a]\r\nb = c\r\nd\r\n",
            "[A-1.b]C-d=e",
            "[a]\nb = \"unclosed\n",
            "[a]\nb = c\\q\n",
            "[a\nb = c\n",
            "[a \"b\" ]\nc = d\n",
            "[a \"b\"]c = d\n",
            "[a]1b = c\n",
            "[a]\nb c = d\n",
            "[a]\n = d\n",
            "[a]\nb == d\n",
            "; only\n# comments\n",
            "[a]\nb = c\rd\n",
            "[a] b = \"c\"d\"e  \"  f  \n",
            "garbage",
            "[a]\nb =   \n c = \\\n\n",
            "[a]\nb=c\\",
        ] {
            assert_eq!(ours(text.as_bytes()), git(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn a_nul_ends_a_value_and_nothing_makes_a_reader_fail() {
        let settings = parse(b"[core]\nhooksPath = tools\0/x\n").unwrap();
        assert_eq!(settings[0].value, b"tools");
        assert_eq!(parse(b"[a]\n\0"), Err(Refused::Malformed(2)));
        let line = [b"[a]\nb = ".as_slice(), &vec![b'x'; 1 << 20]].concat();
        assert_eq!(parse(&line).unwrap()[0].value.len(), 1 << 20);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]
        #[test]
        fn any_text_means_what_it_means_to_git(parts in proptest::collection::vec(prop_oneof![
            Just("[a]"), Just("[b \"c\"]"), Just("[b \"c"), Just("\n"), Just("\r\n"), Just(" "), Just("x"), Just("="),
            Just("\""), Just("\\"), Just("\\\n"), Just("#"), Just(";"), Just("\t"), Just("y-1"), Just("]"), Just("n"),
        ], 0..14)) {
            let text = parts.concat();
            prop_assert_eq!(ours(text.as_bytes()), git(text.as_bytes()), "{:?}", text);
        }
    }
}
