//! One line of a rule's `when`: equality, membership or path prefix, and nothing else.

use std::{collections::BTreeSet, fmt};

use cofferdam_contract::{Argument, WorkspacePath};

/// What an argument must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// One of these texts, numbers or truth values. Types count: `1` is not `"1"`.
    OneOf(BTreeSet<Argument>),
    /// A path that is this folder or lies below it, by whole names; for a rule that restricts, also a folder above it.
    Within(WorkspacePath),
}

/// For what kind of rule a condition is asked. Where a path is in doubt, [`Condition::Within`] decides against the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For a rule that grants: only what is surely within.
    Grants,
    /// For a rule that restricts: also what cannot be read as a path, and a folder above, since a tool that is given a
    /// folder acts on all below it.
    Restricts,
}

impl Condition {
    /// Whether `value` satisfies the condition. An absent argument satisfies none, nor does a list or a table: lists
    /// are judged element by element before they come here.
    pub(crate) fn holds(&self, value: Option<&Argument>, purpose: Purpose) -> bool {
        match (self, value) {
            (_, None) => false,
            (Self::OneOf(members), Some(value)) => members.contains(value),
            (Self::Within(folder), Some(Argument::Text(text))) => match WorkspacePath::try_from(text.clone()) {
                Ok(path) => match purpose {
                    Purpose::Grants => path.is_within(folder),
                    Purpose::Restricts => path.is_within(folder) || folder.is_within(&path),
                },
                Err(_) => purpose == Purpose::Restricts,
            },
            (
                Self::Within(_),
                Some(Argument::Bool(_) | Argument::Integer(_) | Argument::List(_) | Argument::Map(_)),
            ) => false,
        }
    }

    /// Values that this condition tells apart, without the ones that satisfy nothing: each member, or a path below the
    /// folder whose last name is `fresh`, and for a rule that restricts every folder above.
    pub(crate) fn samples(&self, fresh: &str, purpose: Purpose) -> Vec<Argument> {
        let folder = match self {
            Self::OneOf(members) => return members.iter().cloned().collect(),
            Self::Within(folder) if folder.is_workspace() => return vec![Argument::Text(fresh.to_owned())],
            Self::Within(folder) => folder.as_str(),
        };
        let mut samples = vec![Argument::Text(format!("{folder}/{fresh}"))];
        match purpose {
            Purpose::Grants => {}
            Purpose::Restricts => {
                let above = folder.match_indices('/').filter_map(|(end, _)| folder.get(..end));
                samples.extend(std::iter::once(".").chain(above).map(|above| Argument::Text(above.to_owned())));
            }
        }
        samples
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
            Self::Within(_) => self.holds(Some(value), Purpose::Grants),
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
            character if character.is_control() || hides(character) => {
                quoted.push_str(&format!("\\U{:08X}", u32::from(character)));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a character has no width, or turns the reading direction (Unicode TR 36 §2.10): who reads a policy reads all of it.
fn hides(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
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
        assert!(one.holds(Some(&Argument::Integer(1)), Purpose::Grants));
        for value in [Argument::Text("1".into()), Argument::Bool(true), Argument::List(vec![Argument::Integer(1)])] {
            assert!(!one.holds(Some(&value), Purpose::Restricts), "{value:?}");
        }
        assert!(!one.holds(None, Purpose::Restricts));
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
            let holds = within(folder).holds(Some(&value.into()), Purpose::Grants);
            assert_eq!(holds, expected, "{value} in {folder}");
        }
    }

    #[test]
    fn a_restriction_of_a_folder_speaks_of_the_folders_above_it_and_a_grant_does_not() {
        for (folder, value, expected) in [
            ("tests/unit", "tests", true),
            ("tests/unit", ".", true),
            ("tests/unit", "tests/../tests/", true),
            ("tests/unit", "tests/unit/a", true),
            ("tests/unit", "tests/units", false),
            ("tests/unit", "test", false),
            ("tests/unit", "unit", false),
        ] {
            let restricts = within(folder).holds(Some(&value.into()), Purpose::Restricts);
            assert_eq!(restricts, expected, "{value} restricted by {folder}");
        }
        for value in ["tests", "."] {
            assert!(!within("tests/unit").holds(Some(&value.into()), Purpose::Grants), "{value}");
        }
    }

    #[test]
    fn what_is_no_path_counts_against_the_call() {
        for value in ["/etc/passwd", "../x", "a\\b"] {
            assert!(!within("src").holds(Some(&value.into()), Purpose::Grants), "{value}");
            assert!(within("src").holds(Some(&value.into()), Purpose::Restricts), "{value}");
        }
        assert!(!within("src").holds(Some(&Argument::Integer(1)), Purpose::Restricts));
    }

    proptest! {
        #[test]
        fn a_quoted_text_reads_back(text in "\\PC{0,20}|[\\x00-\\x20\"\\\\\\x7f]{0,10}") {
            let table: toml::Table = toml::from_str(&format!("x = {}", quoted(&text))).unwrap();
            prop_assert_eq!(table["x"].as_str(), Some(text.as_str()));
        }
    }
}
