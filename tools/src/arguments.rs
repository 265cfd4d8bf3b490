//! Arguments: from what a model wrote to the type that a tool works with.
//!
//! Models know other tools and write their spellings (`file_path`, `old_str`), and some clients turn numbers into
//! texts on the way. What has one plain meaning is understood, and told in the result; all else is an error that says
//! what is expected. The published schema holds the standard names only. Nothing here depends on what exists.

use std::{
    any::TypeId,
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use cofferdam_contract::{Arguments, HandBack, Isolation, Lane, Limits, Network, PathError, Plan, Work, WorkspacePath};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{Failure, Project, plain_text, schema};

/// The arguments of one tool.
pub(crate) trait Form: DeserializeOwned + Serialize + JsonSchema + 'static {
    /// Other spellings that are understood, with the standard name of each.
    const ALIASES: &'static [(&'static str, &'static str)];
}

/// Parsed arguments, and what was read otherwise than written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed<T> {
    pub(crate) form: T,
    pub(crate) notes: Vec<String>,
}

/// Why arguments cannot be understood. The text tells what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// There is no argument of this name.
    #[error("unknown argument `{name}`; {hint}")]
    Unknown {
        /// As it was written, shortened.
        name: String,
        /// "did you mean `x`?" or the list of arguments.
        hint: String,
    },
    /// A required argument is not there.
    #[error("missing argument `{name}`: {description}")]
    Missing {
        /// Its name.
        name: String,
        /// What it is for.
        description: String,
    },
    /// A value is of another type, or beyond its bounds.
    #[error("argument `{name}` must be {expected}; it is {found}")]
    Value {
        /// Its name.
        name: String,
        /// What is expected, as a noun: "a whole number from 1 to 9".
        expected: String,
        /// What was given.
        found: String,
    },
    /// Two spellings of one argument disagree.
    #[error("argument `{name}` is given twice, once as `{alias}`, with different values; give it once")]
    Twice {
        /// The standard name.
        name: String,
        /// The other spelling.
        alias: String,
    },
    /// A path is not one below the workspace.
    #[error("argument `{name}`: {source}")]
    Path {
        /// Its name.
        name: String,
        /// Why.
        source: PathError,
    },
    /// Each argument is right by itself, but not together or not for this tool.
    #[error("{0}")]
    Combination(String),
}

/// Parses `given` into the form `T`.
pub(crate) fn parse<T: Form>(given: &Map<String, Value>, project: &Project) -> Result<Parsed<T>, ArgumentError> {
    let (object, notes) = read(given, schema_of::<T>(), T::ALIASES, project)?;
    let form = serde_json::from_value(Value::Object(object))
        .map_err(|error| ArgumentError::Combination(format!("the arguments do not fit together: {error}")))?;
    Ok(Parsed { form, notes })
}

/// Reads `given` by a schema as [`schema::checked`] makes them, for arguments that no type of ours describes.
pub(crate) fn read(
    given: &Map<String, Value>,
    schema: &Map<String, Value>,
    aliases: &'static [(&'static str, &'static str)],
    project: &Project,
) -> Result<(Map<String, Value>, Vec<String>), ArgumentError> {
    let mut reader = Reader { aliases, workspace: &project.workspace, notes: Vec::new() };
    let object = reader.object(given, schema, "")?;
    // In an order that does not depend on the map's.
    reader.notes.sort_unstable();
    Ok((object, reader.notes))
}

/// What [`schema::checked`] says of a form, made once for each: that takes longer than a file is read.
fn schema_of<T: Form>() -> &'static Map<String, Value> {
    static MADE: Mutex<BTreeMap<TypeId, &'static Map<String, Value>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(TypeId::of::<T>()).or_insert_with(|| Box::leak(Box::new(schema::checked::<T>())))
}

/// Recalls the form that a plan was made from.
pub(crate) fn recall<T: Form>(plan: &Plan) -> Result<T, Failure> {
    serde_json::to_value(&plan.arguments)
        .and_then(serde_json::from_value)
        .map_err(|error| Failure::new("not_planned", format!("the plan's arguments are not this tool's: {error}")))
}

/// A plan of the routine lane that reads all, writes nothing, and has no network.
pub(crate) fn routine(tool: &str, form: &impl Serialize, work: Work, limits: Limits) -> Plan {
    let arguments = serde_json::to_value(form)
        .and_then(serde_json::from_value::<Arguments>)
        .expect("forms hold texts, whole numbers below 2^63, booleans and lists of them");
    Plan {
        tool: tool.to_owned(),
        arguments,
        work,
        reads: Vec::new(),
        hand_back: HandBack::Nothing,
        network: Network::Off,
        isolation: Isolation::Namespace,
        lane: Lane::Routine,
        limits,
        credentials: std::collections::BTreeSet::new(),
    }
}

/// Reads values by a schema of [`schema::checked`].
struct Reader<'a> {
    aliases: &'static [(&'static str, &'static str)],
    workspace: &'a str,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn object(
        &mut self,
        given: &Map<String, Value>,
        schema: &Map<String, Value>,
        within: &str,
    ) -> Result<Map<String, Value>, ArgumentError> {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let mut named: Map<String, Value> = Map::new();
        // Standard names first, so that an alias is compared with them whatever the order was.
        for (written, value) in given.iter().filter(|(written, _)| properties.contains_key(*written)) {
            if !value.is_null() {
                named.insert(written.clone(), value.clone());
            }
        }
        for (written, value) in given.iter().filter(|(written, _)| !properties.contains_key(*written)) {
            let alias = self.aliases.iter().find(|(alias, name)| alias == written && properties.contains_key(*name));
            let Some((_, name)) = alias else {
                return Err(unknown(written, within, properties));
            };
            if value.is_null() {
                continue;
            }
            match named.get(*name) {
                Some(other) if other != value => {
                    return Err(ArgumentError::Twice { name: path_of(within, name), alias: (*written).clone() });
                }
                Some(_) => {}
                None => {
                    named.insert((*name).to_owned(), value.clone());
                }
            }
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !named.contains_key(name) {
                let description = properties.get(name).and_then(|property| property.get("description"));
                let description = description.and_then(Value::as_str).unwrap_or_default().to_owned();
                return Err(ArgumentError::Missing { name: path_of(within, name), description });
            }
        }
        let mut read = Map::new();
        for (name, value) in &named {
            let Some(Value::Object(property)) = properties.get(name) else { continue };
            read.insert(name.clone(), self.value(value, property, &path_of(within, name))?);
        }
        Ok(read)
    }

    fn value(&mut self, value: &Value, schema: &Map<String, Value>, name: &str) -> Result<Value, ArgumentError> {
        let wrong =
            || ArgumentError::Value { name: name.to_owned(), expected: expected(schema), found: described(value) };
        match schema.get("type").and_then(Value::as_str) {
            Some("integer") => self.integer(value, schema, name).ok_or_else(wrong),
            Some("boolean") => self.boolean(value, name).ok_or_else(wrong),
            Some("array") => self.array(value, schema, name, wrong),
            Some("object") => match value {
                Value::Object(object) => self.object(object, schema, name).map(Value::Object),
                _ => Err(wrong()),
            },
            Some(_) | None => self.text(value, schema, name).ok_or_else(wrong)?.map(Value::String),
        }
    }

    fn integer(&mut self, value: &Value, schema: &Map<String, Value>, name: &str) -> Option<Value> {
        let number = match value {
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?))?,
            Value::String(text) => {
                let number: i64 = text.trim().parse().ok()?;
                self.notes.push(format!("`{name}` was the text \"{number}\" and is read as the number {number}"));
                number
            }
            _ => return None,
        };
        let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
        let low = bound("minimum").is_none_or(|minimum| number >= minimum);
        let high = bound("maximum").is_none_or(|maximum| number <= maximum);
        (low && high).then(|| Value::from(number))
    }

    fn boolean(&mut self, value: &Value, name: &str) -> Option<Value> {
        match value {
            Value::Bool(_) => Some(value.clone()),
            Value::String(text) => {
                let told = match text.trim().to_ascii_lowercase().as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return None,
                };
                self.notes.push(format!("`{name}` was the text \"{told}\" and is read as {told}"));
                Some(Value::Bool(told))
            }
            _ => None,
        }
    }

    fn text(
        &mut self,
        value: &Value,
        schema: &Map<String, Value>,
        name: &str,
    ) -> Option<Result<String, ArgumentError>> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_i64() && !schema.contains_key("enum") => {
                self.notes.push(format!("`{name}` was the number {number} and is read as text"));
                number.to_string()
            }
            _ => return None,
        };
        if schema.get("format").and_then(Value::as_str) == Some(schema::PATH_FORMAT) {
            let path = WorkspacePath::parse(&text, self.workspace).map(String::from);
            return Some(path.map_err(|source| ArgumentError::Path { name: name.to_owned(), source }));
        }
        let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        let long_enough = bound("minLength").is_none_or(|minimum| length >= minimum);
        let short_enough = bound("maxLength").is_none_or(|maximum| length <= maximum);
        let known = schema.get("enum").and_then(Value::as_array);
        let known = known.is_none_or(|values| values.iter().any(|value| value.as_str() == Some(&text)));
        (long_enough && short_enough && known).then_some(Ok(text))
    }

    fn array(
        &mut self,
        value: &Value,
        schema: &Map<String, Value>,
        name: &str,
        wrong: impl Fn() -> ArgumentError,
    ) -> Result<Value, ArgumentError> {
        let items = schema.get("items").and_then(Value::as_object).cloned().unwrap_or_default();
        let given = match value {
            Value::Array(values) => values.clone(),
            // Some clients send a list as its JSON text, some models one text where a list of texts is expected.
            Value::String(text) => match serde_json::from_str(text) {
                Ok(Value::Array(values)) => {
                    self.notes.push(format!("`{name}` was a text that holds a list, and is read as that list"));
                    values
                }
                Ok(_) | Err(_) if items.get("type").is_some_and(|kind| kind == "string") => {
                    self.notes.push(format!("`{name}` was a text and is read as a list of one"));
                    vec![value.clone()]
                }
                Ok(_) | Err(_) => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        let length = u64::try_from(given.len()).unwrap_or(u64::MAX);
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        if bound("minItems").is_some_and(|minimum| length < minimum)
            || bound("maxItems").is_some_and(|maximum| length > maximum)
        {
            return Err(wrong());
        }
        let read = given.iter().enumerate().map(|(at, item)| self.value(item, &items, &format!("{name}[{at}]")));
        read.collect::<Result<Vec<Value>, ArgumentError>>().map(Value::Array)
    }
}

/// A whole number that was written with a fraction of zero, as some clients do.
fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked: 2^53 is exact in both types")]
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

fn path_of(within: &str, name: &str) -> String {
    if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") }
}

fn unknown(written: &str, within: &str, properties: &Map<String, Value>) -> ArgumentError {
    let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
    names.sort_unstable();
    let hint = match nearest(written, &names) {
        Some(name) => format!("did you mean `{name}`?"),
        None if names.is_empty() => "there are no arguments".to_owned(),
        None => format!("the arguments are {}", quoted(&names)),
    };
    ArgumentError::Unknown { name: path_of(within, &shortened(written)), hint }
}

/// The name that `written` most likely means: one begins with the other, or at most two letters, or a third of them,
/// are different.
fn nearest<'a>(written: &str, names: &[&'a str]) -> Option<&'a str> {
    if written.len() > 64 {
        return None;
    }
    let plain = written.trim_start_matches('-').to_lowercase().replace('-', "_");
    if let Some(name) =
        names.iter().find(|name| plain.len() > 2 && (name.starts_with(&plain) || plain.starts_with(*name)))
    {
        return Some(name);
    }
    let scored = names.iter().map(|name| (distance(&plain, name), *name));
    let (score, name) = scored.min_by_key(|(score, _)| *score)?;
    (score <= 2.max(name.len() / 3) && score < name.len()).then_some(name)
}

/// Levenshtein's distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let substitution = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = substitution.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What a schema expects, as a noun.
fn expected(schema: &Map<String, Value>) -> String {
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
    match schema.get("type").and_then(Value::as_str) {
        Some("integer") => match (bound("minimum"), bound("maximum")) {
            (Some(low), Some(high)) => format!("a whole number from {low} to {high}"),
            (Some(low), None) => format!("a whole number of at least {low}"),
            (None, Some(high)) => format!("a whole number of at most {high}"),
            (None, None) => "a whole number".to_owned(),
        },
        Some("boolean") => "true or false".to_owned(),
        Some("array") => match bound("maxItems") {
            Some(high) => format!("a list of {} to {high} items", bound("minItems").unwrap_or(0)),
            None => "a list".to_owned(),
        },
        Some("object") => "an object".to_owned(),
        Some(_) | None => {
            if let Some(values) = schema.get("enum").and_then(Value::as_array) {
                let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
                return format!("one of {}", quoted(&values));
            }
            match (bound("minLength"), bound("maxLength")) {
                (Some(1), None) => "a text that is not empty".to_owned(),
                (low, Some(high)) => format!("a text of {} to {high} characters", low.unwrap_or(0)),
                (_, None) => "a text".to_owned(),
            }
        }
    }
}

/// What was given, shortened.
fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => "an empty text".to_owned(),
        Value::String(text) => {
            format!("the text \"{}\" ({} characters)", shortened(text), text.chars().count())
        }
        Value::Array(values) => format!("a list of {} items", values.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// Something a model wrote, as an error may quote it.
pub(crate) fn shortened(text: &str) -> String {
    let shown = plain_text::one_line(crate::excerpt::prefix(text, 200));
    let short: String = shown.chars().take(60).collect();
    if short.len() < shown.len() || text.len() > 200 { format!("{short}…") } else { short }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        /// What to look for.
        #[schemars(length(min = 1))]
        pattern: String,
        /// Where.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<crate::schema::PathText>")]
        path: Option<WorkspacePath>,
        /// How many.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 9))]
        limit: Option<u64>,
        /// Whether.
        #[serde(skip_serializing_if = "Option::is_none")]
        flag: Option<bool>,
        /// Which.
        #[serde(skip_serializing_if = "Option::is_none")]
        list: Option<Vec<String>>,
    }

    impl Form for Sample {
        const ALIASES: &'static [(&'static str, &'static str)] = &[("file_path", "path"), ("-i", "flag")];
    }

    fn parse(value: Value) -> Result<Parsed<Sample>, String> {
        let Value::Object(map) = value else { panic!("an object") };
        super::parse(&map, &Project { workspace: "/work".into() }).map_err(|error| error.to_string())
    }

    #[test]
    fn unknown_arguments_are_errors_that_name_the_nearest() {
        assert_eq!(parse(json!({"patern": "x"})), Err("unknown argument `patern`; did you mean `pattern`?".into()));
        assert_eq!(
            parse(json!({"pattern": "x", "verbose": true})),
            Err("unknown argument `verbose`; the arguments are `flag`, `limit`, `list`, `path`, `pattern`".into())
        );
    }

    #[test]
    fn missing_wrong_and_unbounded_values_say_what_is_expected() {
        let errors = [
            (json!({}), "missing argument `pattern`: What to look for."),
            (json!({"pattern": null}), "missing argument `pattern`: What to look for."),
            (json!({"pattern": ""}), "argument `pattern` must be a text that is not empty; it is an empty text"),
            (json!({"pattern": "x", "limit": 10}), "argument `limit` must be a whole number from 1 to 9; it is 10"),
            (json!({"pattern": "x", "limit": 1.5}), "argument `limit` must be a whole number from 1 to 9; it is 1.5"),
            (
                json!({"pattern": "x", "flag": "yes"}),
                "argument `flag` must be true or false; it is the text \"yes\" (3 characters)",
            ),
            (json!({"pattern": ["x"]}), "argument `pattern` must be a text that is not empty; it is a list of 1 items"),
            (
                json!({"pattern": "x", "path": "../y"}),
                "argument `path`: the path is not below the workspace /work; write it relative to the workspace, or \
                 absolute below it",
            ),
        ];
        for (given, error) in errors {
            assert_eq!(parse(given), Err(error.to_owned()));
        }
    }

    #[test]
    fn texts_that_are_numbers_are_read_with_a_note() {
        let parsed = parse(json!({"pattern": 404, "limit": "3", "flag": "True", "list": "[\"a\"]"})).unwrap();
        assert_eq!(
            parsed.form,
            Sample {
                pattern: "404".into(),
                path: None,
                limit: Some(3),
                flag: Some(true),
                list: Some(vec!["a".into()])
            }
        );
        assert_eq!(
            parsed.notes,
            [
                "`flag` was the text \"true\" and is read as true",
                "`limit` was the text \"3\" and is read as the number 3",
                "`list` was a text that holds a list, and is read as that list",
                "`pattern` was the number 404 and is read as text",
            ]
        );
        assert_eq!(parse(json!({"pattern": "x", "limit": 3.0})).unwrap().notes, Vec::<String>::new());
    }

    #[test]
    fn aliases_mean_the_same_and_must_agree() {
        let parsed = parse(json!({"pattern": "x", "file_path": "/work/a//b", "-i": true})).unwrap();
        assert_eq!(parsed.form.path.unwrap().as_str(), "a/b");
        assert_eq!(parsed.form.flag, Some(true));
        assert!(parse(json!({"pattern": "x", "path": "a", "file_path": "a"})).is_ok());
        assert_eq!(
            parse(json!({"file_path": "b", "pattern": "x", "path": "a"})),
            Err("argument `path` is given twice, once as `file_path`, with different values; give it once".into())
        );
    }

    #[test]
    fn a_plan_recalls_the_form_it_was_made_from() {
        let form = parse(json!({"pattern": "x", "limit": 3, "path": "."})).unwrap().form;
        let plan = routine("sample", &form, Work::ReadFiles, Limits::FILES);
        assert_eq!(recall::<Sample>(&plan), Ok(form));
    }
}
