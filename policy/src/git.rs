//! `[git]`: whom an agent's commits are by.

use serde::Deserialize;
use toml::Spanned;

/// Whom a commit is by. Either way it carries a trailer that names the agent's session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorship {
    /// The person, by their own git settings: who takes the commit answers for it.
    #[default]
    Person,
    /// The agent, under a name of its own.
    Agent,
}

/// The table as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitText {
    pub(crate) author: Option<Spanned<Authorship>>,
}

/// The table of a policy in force.
pub(crate) fn write(text: &mut String, authorship: Authorship) {
    text.push_str(&format!("\n[git]\nauthor = \"{}\"\n", authorship.word()));
}

impl Authorship {
    /// The word of the policy language.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Agent => "agent",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Authorship, BUILTIN, Layer, LayerName, Policy, policy::tests::shapes};

    fn load(operator: &str) -> Result<Policy, String> {
        let builtin = Layer { name: LayerName::Builtin, file: "builtin", text: BUILTIN };
        let operator = Layer { name: LayerName::Operator, file: "policy.toml", text: operator };
        Policy::load(&[builtin, operator], &shapes()).map_err(|error| error.to_string())
    }

    #[test]
    fn commits_are_the_persons_unless_the_operator_says_otherwise() {
        assert_eq!(load("version = 1").unwrap().authorship(), Authorship::Person);
        let agents = load("version = 1\n[git]\nauthor = \"agent\"\n").unwrap();
        assert_eq!(agents.authorship(), Authorship::Agent);
        assert_eq!(load(&agents.effective()).unwrap().authorship(), Authorship::Agent, "it prints what it is");
    }

    #[test]
    fn another_word_or_key_is_an_error_with_its_line() {
        for text in ["version = 1\n[git]\nauthor = \"nobody\"\n", "version = 1\n[git]\nautor = \"agent\"\n"] {
            let error = load(text).unwrap_err();
            assert!(error.contains("policy.toml:3"), "{error}");
        }
    }
}
