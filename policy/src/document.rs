//! A policy file as it is written: TOML read into text types, each value with its place in the file.
//!
//! Nothing is decided here. An unknown key, a missing table or a wrong type ends the reading; everything with a
//! meaning is checked by the type it becomes.

use std::{collections::BTreeMap, fmt, ops::Range};

use cofferdam_contract::{Argument, Arguments, Isolation, Lane, Network};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use toml::Spanned;

use crate::{
    git::GitText,
    mode::Mode,
    problem::{LoadError, Place},
    secrets::SecretFiles,
    task::TaskText,
    wording,
};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) version: Spanned<i64>,
    #[serde(default)]
    pub(crate) require: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) limits: LimitsText,
    #[serde(default)]
    pub(crate) protect: ProtectText,
    #[serde(default)]
    pub(crate) secrets: SecretsText,
    #[serde(default)]
    pub(crate) env: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    pub(crate) git: GitText,
    #[serde(default)]
    pub(crate) task: Vec<Spanned<TaskText>>,
    #[serde(default)]
    pub(crate) rule: Vec<Spanned<RuleText>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsText {
    pub(crate) network: Option<Spanned<Network>>,
    pub(crate) registries: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) allow_hosts: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) isolation: Option<Spanned<Isolation>>,
    pub(crate) mode: Option<Spanned<Mode>>,
    pub(crate) write: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) wall_seconds: Option<Spanned<i64>>,
    pub(crate) cpu_seconds: Option<Spanned<i64>>,
    pub(crate) memory_mb: Option<Spanned<i64>>,
    pub(crate) disk_mb: Option<Spanned<i64>>,
    pub(crate) pids: Option<Spanned<i64>>,
    pub(crate) output_kb: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProtectText {
    pub(crate) paths: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretsText {
    pub(crate) files: Option<Spanned<SecretFiles>>,
    #[serde(default)]
    pub(crate) paths: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) allow: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleText {
    pub(crate) id: Option<Spanned<String>>,
    pub(crate) tools: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) decision: Option<Spanned<DecisionText>>,
    #[serde(default)]
    pub(crate) when: BTreeMap<Spanned<String>, Spanned<ConditionText>>,
    pub(crate) network: Option<Spanned<Network>>,
    pub(crate) isolation: Option<Spanned<Isolation>>,
    pub(crate) lane: Option<Spanned<Lane>>,
    pub(crate) approvers: Option<Spanned<ApproversText>>,
    pub(crate) expires: Option<Spanned<String>>,
    pub(crate) narrows: Option<Spanned<bool>>,
    pub(crate) credentials: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) why: Option<Spanned<String>>,
    #[serde(rename = "match")]
    pub(crate) matching: Option<Spanned<Vec<Spanned<ExampleText>>>>,
    #[serde(default)]
    pub(crate) not_match: Vec<Spanned<ExampleText>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DecisionText {
    Allow,
    Approve,
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApproversText {
    pub(crate) min: Spanned<i64>,
    pub(crate) from: Spanned<Vec<Spanned<String>>>,
    pub(crate) not_requester: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExampleText {
    pub(crate) tool: Spanned<String>,
    #[serde(default)]
    pub(crate) args: Arguments,
}

/// The right side of a `when`.
#[derive(Debug)]
pub(crate) enum ConditionText {
    /// A scalar, or the members of a list.
    OneOf(Vec<Argument>),
    /// `{ prefix = "…" }`.
    Prefix(String),
}

/// A read file.
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// Reads the file's TOML.
    ///
    /// # Errors
    /// [`LoadError`] with the line of the first thing that is not as the language has it.
    pub(crate) fn read(&self) -> Result<Document, LoadError> {
        let document: Document = toml::from_str(self.text).map_err(|error| {
            let place = self.place(&error.span().unwrap_or(0..0));
            let line = self.text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            LoadError::at(place, wording::explained(&message, line))
        })?;
        if *document.version.get_ref() != 1 {
            let message = format!("version {} is not known; write `version = 1`", document.version.get_ref());
            return Err(LoadError::at(self.place(&document.version.span()), message));
        }
        Ok(document)
    }

    /// The place of a span in this file.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        Place::of(self.file, self.text, span)
    }
}

impl<'de> Deserialize<'de> for ConditionText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConditionVisitor)
    }
}

struct ConditionVisitor;

impl<'de> Visitor<'de> for ConditionVisitor {
    type Value = ConditionText;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text, a whole number, true or false, a list of these, or { prefix = \"folder\" }")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<ConditionText, E> {
        Ok(ConditionText::OneOf(vec![Argument::Bool(value)]))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<ConditionText, E> {
        Ok(ConditionText::OneOf(vec![Argument::Integer(value)]))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<ConditionText, E> {
        Ok(ConditionText::OneOf(vec![Argument::Text(value.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<ConditionText, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = sequence.next_element::<Argument>()? {
            match member {
                Argument::Bool(_) | Argument::Integer(_) | Argument::Text(_) => members.push(member),
                Argument::List(_) | Argument::Map(_) => {
                    return Err(de::Error::custom("a list in `when` holds texts, whole numbers, true and false only"));
                }
            }
        }
        Ok(ConditionText::OneOf(members))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ConditionText, A::Error> {
        let only_prefix = || de::Error::custom("the only table in `when` is { prefix = \"folder\" }");
        let Some(key) = map.next_key::<String>()? else { return Err(only_prefix()) };
        if key != "prefix" {
            return Err(only_prefix());
        }
        let prefix = map.next_value()?;
        if map.next_key::<String>()?.is_some() {
            return Err(only_prefix());
        }
        Ok(ConditionText::Prefix(prefix))
    }
}
