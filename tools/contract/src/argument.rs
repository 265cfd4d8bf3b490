//! The arguments of a call, as policy sees them.
//!
//! A rule's `when` compares by equality, membership and path prefix; this type holds exactly what can be compared so.
//! It serializes as plain JSON or TOML, so that examples in a policy read like the calls they stand for.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

/// The arguments of one call by name, in a stable order.
pub type Arguments = BTreeMap<String, Argument>;

/// One argument's value. There are no floats and no null: an absent optional argument is simply not in the map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Argument {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
    /// A list of values.
    List(Vec<Argument>),
    /// Named values.
    Map(BTreeMap<String, Argument>),
}

impl From<bool> for Argument {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Argument {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Argument {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Argument {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(values) => values.serialize(serializer),
            Self::Map(values) => values.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ArgumentVisitor)
    }
}

struct ArgumentVisitor;

impl<'de> Visitor<'de> for ArgumentVisitor {
    type Value = Argument;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("true or false, a whole number, a text, a list or a table")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Argument, E> {
        Ok(Argument::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Argument, E> {
        Ok(Argument::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Argument, E> {
        i64::try_from(value)
            .map(Argument::Integer)
            .map_err(|_| E::custom(format_args!("the number {value} is too large")))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Argument, E> {
        Ok(Argument::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Argument, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Argument::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Argument, A::Error> {
        let mut values = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            values.insert(name, value);
        }
        Ok(Argument::Map(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_read_and_write_as_plain_json() {
        let text = r#"{"all":true,"env":"prod","files":["a","b"],"limit":3}"#;
        let arguments: Arguments = serde_json::from_str(text).unwrap();
        assert_eq!(arguments["limit"], Argument::Integer(3));
        assert_eq!(serde_json::to_string(&arguments).unwrap(), text);
    }

    #[test]
    fn floats_and_null_are_refused() {
        for text in ["1.5", "null", "18446744073709551615"] {
            assert!(serde_json::from_str::<Argument>(text).is_err(), "{text}");
        }
    }
}
