//! One line of a rule's `when`: equality, membership or path prefix, and nothing else.

use std::{collections::BTreeSet, fmt};

use cofferdam_contract::{Argument, WorkspacePath};

/// What an argument must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// One of these texts, numbers or truth values. Types count: `1` is not `"1"`.
    OneOf(BTreeSet<Argument>),
    /// A path that is this folder or lies below it, by whole names.
    Within(WorkspacePath),
}

/// How a value that cannot be read as a path counts for [`Condition::Within`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It does not hold: for a rule that grants.
    Fails,
    /// It holds: for a rule that restricts.
    Holds,
}

impl Condition {
    /// Whether `value` satisfies the condition. An absent argument satisfies none, nor does a list or a table: lists
    /// are judged element by element before they come here.
    pub(crate) fn holds(&self, value: Option<&Argument>, unreadable: Unreadable) -> bool {
        match (self, value) {
            (_, None) => false,
            (Self::OneOf(members), Some(value)) => members.contains(value),
            (Self::Within(folder), Some(Argument::Text(text))) => match WorkspacePath::try_from(text.clone()) {
                Ok(path) => path.is_within(folder),
                Err(_) => unreadable == Unreadable::Holds,
            },
            (
                Self::Within(_),
                Some(Argument::Bool(_) | Argument::Integer(_) | Argument::List(_) | Argument::Map(_)),
            ) => false,
        }
    }

    /// Values that this condition tells apart, without the ones that satisfy nothing: each member, or a path below the
    /// folder whose last name is `fresh`.
    pub(crate) fn samples(&self, fresh: &str) -> Vec<Argument> {
        match self {
            Self::OneOf(members) => members.iter().cloned().collect(),
            Self::Within(folder) if folder.is_workspace() => vec![Argument::Text(fresh.to_owned())],
            Self::Within(folder) => vec![Argument::Text(format!("{}/{fresh}", folder.as_str()))],
        }
    }

    /// Whether `value` is spelled out in the condition.
    pub(crate) fn has_member(&self, value: &Argument) -> bool {
        match self {
            Self::OneOf(members) => members.contains(value),
            Self::Within(_) => false,
        }
    }

    /// Whether this is a prefix condition and `value` lies in its folder.
    pub(crate) fn is_folder_of(&self, value: &Argument) -> bool {
        match self {
            Self::OneOf(_) => false,
            Self::Within(_) => self.holds(Some(value), Unreadable::Fails),
        }
    }

    /// Whether `text` occurs in the condition, as a member or as a name of its folder.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        match self {
            Self::OneOf(members) => members.iter().any(|member| match member {
                Argument::Text(member) => member.split('/').any(|name| name == text),
                Argument::Bool(_) | Argument::Integer(_) | Argument::List(_) | Argument::Map(_) => false,
            }),
            Self::Within(folder) => folder.as_str().split('/').any(|name| name == text),
        }
    }
}

impl fmt::Display for Condition {
    /// Writes the condition in the policy's language.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(members) => {
                let texts: Vec<String> = members.iter().map(written).collect();
                match texts.as_slice() {
                    [only] => formatter.write_str(only),
                    several => write!(formatter, "[{}]", several.join(", ")),
                }
            }
            Self::Within(folder) => write!(formatter, "{{ prefix = {} }}", quoted(&folder.to_string())),
        }
    }
}

/// Writes a value in TOML.
pub(crate) fn written(value: &Argument) -> String {
    match value {
        Argument::Bool(value) => value.to_string(),
        Argument::Integer(value) => value.to_string(),
        Argument::Text(text) => quoted(text),
        Argument::List(values) => {
            let texts: Vec<String> = values.iter().map(written).collect();
            format!("[{}]", texts.join(", "))
        }
        Argument::Map(values) => {
            let texts: Vec<String> =
                values.iter().map(|(name, value)| format!("{} = {}", quoted(name), written(value))).collect();
            format!("{{ {} }}", texts.join(", "))
        }
    }
}

/// Writes a text as a TOML basic string: one line, whatever it holds.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            character if character.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(character))),
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn within(folder: &str) -> Condition {
        Condition::Within(WorkspacePath::parse(folder, "/work").unwrap())
    }

    #[test]
    fn equality_counts_types() {
        let one = Condition::OneOf(BTreeSet::from([Argument::Integer(1)]));
        assert!(one.holds(Some(&Argument::Integer(1)), Unreadable::Fails));
        for value in [Argument::Text("1".into()), Argument::Bool(true), Argument::List(vec![Argument::Integer(1)])] {
            assert!(!one.holds(Some(&value), Unreadable::Holds), "{value:?}");
        }
        assert!(!one.holds(None, Unreadable::Holds));
    }

    #[test]
    fn prefixes_compare_whole_names_of_normal_paths() {
        for (folder, value, expected) in [
            ("src", "src", true),
            ("src", "src/a", true),
            ("src", "./src/../src/a", true),
            ("src", "srcx", false),
            ("src", "a/src", false),
            ("src", "src/../b", false),
            (".", "anything", true),
            (".", ".", true),
        ] {
            let holds = within(folder).holds(Some(&value.into()), Unreadable::Fails);
            assert_eq!(holds, expected, "{value} in {folder}");
        }
    }

    #[test]
    fn what_is_no_path_counts_against_the_call() {
        for value in ["/etc/passwd", "../x", "a\\b"] {
            assert!(!within("src").holds(Some(&value.into()), Unreadable::Fails), "{value}");
            assert!(within("src").holds(Some(&value.into()), Unreadable::Holds), "{value}");
        }
        assert!(!within("src").holds(Some(&Argument::Integer(1)), Unreadable::Holds));
    }

    proptest! {
        #[test]
        fn a_quoted_text_reads_back(text in "\\PC{0,20}|[\\x00-\\x20\"\\\\\\x7f]{0,10}") {
            let table: toml::Table = toml::from_str(&format!("x = {}", quoted(&text))).unwrap();
            prop_assert_eq!(table["x"].as_str(), Some(text.as_str()));
        }
    }
}
