//! Orders as they are printed for a person, who copies them.
//!
//! An order that lost its session or its workspace on the way is about something else, which nobody looked at. So each that is
//! printed is made here, and each says what the place where it is typed would not.

use std::{fmt, path::Path, str::FromStr};

use cofferdam_sandboxes::Session;

/// The session of calls that name none.
pub(crate) const DEFAULT_SESSION: &str = "default";

/// Makes orders about one session of one workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orders {
    session: String,
    /// The workspace, where the folder in which the order is typed does not say it.
    elsewhere: Option<String>,
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
    /// For somebody who types them in `current_folder`.
    pub(crate) fn from(current_folder: &Path, session: &Session) -> Self {
        let root = session.workspace().root();
        let is_there = current_folder.canonicalize().is_ok_and(|current| current == root);
        let elsewhere = (!is_there).then(|| root.to_string_lossy().into_owned());
        Self { session: session.name().to_owned(), elsewhere }
    }

    /// For a person of whom nobody knows where they are, as an agent tells them: they are taken to be in the workspace.
    pub(crate) fn in_session(session: &str) -> Self {
        Self { session: session.to_owned(), elsewhere: None }
    }

    /// `cofferdam changes VERB` with `words`, which are for the shell as they are, each quoted if it must be.
    pub(crate) fn changes(&self, verb: &str, words: &[&str]) -> String {
        let mut order = vec!["cofferdam".to_owned(), "changes".to_owned(), verb.to_owned()];
        if let Some(workspace) = &self.elsewhere {
            order.extend(["--workspace".to_owned(), quoted(workspace)]);
        }
        if self.session != DEFAULT_SESSION {
            order.extend(["--session".to_owned(), quoted(&self.session)]);
        }
        order.extend(words.iter().map(|word| quoted(word)));
        order.join(" ")
    }

    /// As these, about another session of the workspace.
    pub(crate) fn of_session(&self, session: &str) -> Self {
        Self { session: session.to_owned(), elsewhere: self.elsewhere.clone() }
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

/// A word as a shell reads it.
pub(crate) fn quoted(text: &str) -> String {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:".contains(&byte));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_says_the_session_and_the_workspace_that_its_place_does_not() {
        let here = Orders { session: DEFAULT_SESSION.to_owned(), elsewhere: None };
        assert_eq!(here.changes("apply", &["--all"]), "cofferdam changes apply --all");
        let there = Orders { session: "two".to_owned(), elsewhere: Some("/my work".to_owned()) };
        let order = "cofferdam changes undo --workspace '/my work' --session two 'it'\\''s'";
        assert_eq!(there.changes("undo", &["it's"]), order);
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
