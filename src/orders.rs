//! Orders as they are printed for a person, who copies them.
//!
//! An order that lost its session, its workspace, its state folder or its policy on the way is about something else, which
//! nobody looked at. So each that is to be copied is made here, and each says what the place where it is typed would not.

use std::{
    ffi::{OsStr, OsString},
    fmt::{self, Write as _},
    os::unix::ffi::OsStrExt,
    str::FromStr,
};

use cofferdam_sandboxes::Session;
use serde::{Serialize, Serializer};

use crate::{config::PolicyChoice, plain, server::Setup};

/// The session of calls that name none.
pub(crate) const DEFAULT_SESSION: &str = "default";

/// No words after an order's verb.
pub(crate) const NO_WORDS: [&str; 0] = [];

/// Makes orders about one session of one workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orders {
    session: String,
    /// The options that the place where the order is typed does not stand for, each with its value.
    options: Vec<(&'static str, OsString)>,
}

/// What was held when somebody looked, as `--generation` takes it: `7`, or `NAME:7` in another session than the default.
///
/// Every session counts from one: the number alone would fit what another session holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) session: String,
    pub(crate) generation: u64,
}

impl Orders {
    /// For somebody who types them where `setup` was read from, with its variables, and without the options it was given.
    pub(crate) fn from(setup: &Setup, session: &Session) -> Self {
        let root = session.workspace().root();
        let is_there = setup.environment.current_folder.canonicalize().is_ok_and(|current| current == root);
        let workspace = (!is_there).then(|| ("--workspace", root.as_os_str().to_owned()));
        let usual = setup.environment.folders().ok().map(|folders| folders.state);
        let state = (usual.as_ref() != Some(&setup.folders.state))
            .then(|| ("--state", setup.folders.state.as_os_str().to_owned()));
        let policy = match &setup.policy {
            PolicyChoice::File(file) => Some(("--policy", setup.environment.absolute_path(file).into_os_string())),
            PolicyChoice::Personal => None,
        };
        Self { session: session.name().to_owned(), options: [workspace, state, policy].into_iter().flatten().collect() }
    }

    /// For a person of whom nobody knows where they are, as an agent tells them: they are taken to be in the workspace, and to
    /// have the server's state folder and policy.
    pub(crate) fn in_session(session: &str) -> Self {
        Self { session: session.to_owned(), options: Vec::new() }
    }

    /// `cofferdam changes VERB` with `words`, each quoted for a shell where it must be.
    pub(crate) fn changes<W: AsRef<OsStr>>(&self, verb: &str, words: &[W]) -> String {
        let mut order = vec!["cofferdam".to_owned(), "changes".to_owned(), verb.to_owned()];
        for (option, value) in &self.options {
            order.extend([(*option).to_owned(), quoted(value)]);
        }
        if self.session != DEFAULT_SESSION {
            order.extend(["--session".to_owned(), quoted(&self.session)]);
        }
        order.extend(words.iter().map(quoted));
        order.join(" ")
    }

    /// As these, about another session of the workspace.
    pub(crate) fn of_session(&self, session: &str) -> Self {
        Self { session: session.to_owned(), options: self.options.clone() }
    }

    /// A generation of this session.
    pub(crate) fn seen(&self, generation: u64) -> Seen {
        Seen { session: self.session.clone(), generation }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.session.as_str() {
            DEFAULT_SESSION => write!(formatter, "{}", self.generation),
            session => write!(formatter, "{session}:{}", self.generation),
        }
    }
}

impl FromStr for Seen {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (session, generation) = text.rsplit_once(':').unwrap_or((DEFAULT_SESSION, text));
        Ok(Self { session: session.to_owned(), generation: generation.parse()? })
    }
}

/// As `--generation` takes it.
impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A word as a shell reads it, in letters that a terminal shows and does not act on.
///
/// What has none of its own is written in dollar-single-quotes (POSIX.1-2024, Shell Command Language, section 2.2.4).
pub(crate) fn quoted(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_bytes();
    let plain = !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:".contains(byte));
    match std::str::from_utf8(bytes) {
        Ok(text) if plain => text.to_owned(),
        Ok(text) if plain::name(text) == text => format!("'{}'", text.replace('\'', r"'\''")),
        Ok(_) | Err(_) => {
            let mut quoted = "$'".to_owned();
            for byte in bytes {
                match byte {
                    b'\'' | b'\\' => quoted.extend(['\\', char::from(*byte)]),
                    b' '..=b'~' => quoted.push(char::from(*byte)),
                    // Three digits, so that no digit after it is taken for one of them.
                    byte => write!(quoted, "\\{byte:03o}").expect("text takes all that is written"),
                }
            }
            quoted + "'"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_says_the_session_and_the_workspace_that_its_place_does_not() {
        let here = Orders { session: DEFAULT_SESSION.to_owned(), options: Vec::new() };
        assert_eq!(here.changes("apply", &["--all"]), "cofferdam changes apply --all");
        let there = Orders { session: "two".to_owned(), options: vec![("--workspace", "/my work".into())] };
        let order = "cofferdam changes undo --workspace '/my work' --session two 'it'\\''s'";
        assert_eq!(there.changes("undo", &["it's"]), order);
    }

    #[test]
    fn a_word_reaches_the_program_as_it_is_and_the_terminal_as_text() {
        for bytes in [&b"a\x1b]52;c;x\x07b"[..], b"not \xff utf-8", "a\u{ad}b".as_bytes(), b"it's", b"a\nb\\1", b""] {
            let word = quoted(OsStr::from_bytes(bytes));
            assert!(word.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{word}");
            let printed =
                std::process::Command::new("bash").args(["-c", &format!("printf %s {word}")]).output().unwrap();
            assert_eq!(printed.stdout, bytes, "{word}");
        }
        assert_eq!(quoted("caf\u{e9} x"), "'caf\u{e9} x'");
    }

    #[test]
    fn a_generation_says_whose_it_is() {
        let seen = |session: &str| Seen { session: session.to_owned(), generation: 7 };
        for (text, wanted) in [("7", seen(DEFAULT_SESSION)), ("two:7", seen("two"))] {
            assert_eq!((text.parse(), wanted.to_string().as_str()), (Ok(wanted), text));
        }
        assert!("two".parse::<Seen>().is_err());
    }
}
