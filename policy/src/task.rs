//! `[[task]]`: commands that the machine's owner names, each of which becomes a tool.
//!
//! A task is one program with its words. What an agent chooses fills a whole word, or what follows a fixed `prefix=`, and
//! every kind of value is bounded, so that none can be read as an option. A word goes with the value that it waits for; two
//! words go together only where the file says so, since nobody can see in `--dry-run {target}` whether they belong
//! together. A shell is refused as the program: a line for a shell would be a free command line, whatever fills it.
//!
//! Naming a task allows it: an implicit rule `task-NAME` grants it (for a sensitive one: asks its approvers). It is an
//! ordinary rule of the same file: an `allow` of the owner's own for the task replaces it, denials stand over it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use cofferdam_contract::{Isolation, Lane, Limits, Need, Network, Parameter, ParameterKind, Task, Word, WorkspacePath};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use toml::Spanned;

use crate::{
    ceilings::Stated,
    document::{ApproversText, Source},
    glob::Glob,
    layer::{LayerName, Shapes},
    problem::{Place, Problems},
    read_rule::RuleReader,
    rule::{Approval, Example, Grant, Role, Rule, Terms},
    write_scope::{Globs, WriteScope},
};

/// Most tasks of a file: some clients show a model no more than a hundred tools.
const MAX_TASKS: usize = 50;
/// Most parameters of a task, and most words.
const MAX_PARAMETERS: usize = 20;
const MAX_WORDS: usize = 100;
/// Longest name: hosts put `mcp__server__` before it and cut at 64.
const MAX_NAME_BYTES: usize = 30;
/// Longest description of a task and of a parameter, bytes: clients cut a tool's at 2 KB.
const MAX_DESCRIPTION_BYTES: usize = 1000;
const MAX_PARAMETER_BYTES: usize = 300;
/// Longest word, bytes.
const MAX_WORD_BYTES: usize = 4096;
/// Most values of an enumeration.
const MAX_VALUES: usize = 100;

/// Programs that read a command line from a word.
const SHELLS: [&str; 14] =
    ["sh", "bash", "dash", "zsh", "fish", "ksh", "mksh", "csh", "tcsh", "ash", "busybox", "env", "xargs", "eval"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskText {
    name: Spanned<String>,
    description: Spanned<String>,
    argv: Spanned<Vec<Spanned<WordText>>>,
    directory: Option<Spanned<String>>,
    #[serde(default)]
    parameters: BTreeMap<Spanned<String>, Spanned<ParameterText>>,
    #[serde(default)]
    write: Vec<Spanned<String>>,
    lane: Option<Spanned<Lane>>,
    approvers: Option<Spanned<ApproversText>>,
    expires: Option<Spanned<String>>,
    timeout_seconds: Option<Spanned<i64>>,
    memory_mb: Option<Spanned<i64>>,
    disk_mb: Option<Spanned<i64>>,
    pids: Option<Spanned<i64>>,
    output_kb: Option<Spanned<i64>>,
}

/// An entry of `argv`: a word, or words that are left out together.
#[derive(Debug)]
enum WordText {
    One(String),
    Together(Vec<String>),
}

impl<'de> Deserialize<'de> for WordText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = WordText;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a word, or a list of an option and its value: [\"--level\", \"{level}\"]")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WordText, E> {
                Ok(WordText::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<WordText, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(WordText::Together(words))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParameterText {
    #[serde(rename = "type")]
    kind: Spanned<KindText>,
    description: Spanned<String>,
    values: Option<Spanned<Vec<Spanned<String>>>>,
    minimum: Option<Spanned<i64>>,
    maximum: Option<Spanned<i64>>,
    word: Option<Spanned<String>>,
    max_length: Option<Spanned<i64>>,
    optional: Option<Spanned<bool>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindText {
    Enum,
    Integer,
    Flag,
    Path,
    Text,
}

/// A task of a policy, and who may approve it when it is sensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) task: Task,
    /// There for a sensitive task, and for no other.
    pub(crate) approval: Option<Approval>,
    pub(crate) place: Place,
}

impl Named {
    /// The names of its arguments.
    pub(crate) fn arguments(&self) -> BTreeSet<String> {
        self.task.parameters.keys().cloned().collect()
    }

    /// The names of those that no call can be without.
    pub(crate) fn needed_arguments(&self) -> BTreeSet<String> {
        let needed = self.task.parameters.iter().filter(|(_, parameter)| parameter.need == Need::Required);
        needed.map(|(name, _)| name.clone()).collect()
    }

    /// The id of the rule that comes with it.
    pub(crate) fn rule_id(&self) -> String {
        format!("task-{}", self.task.name.replace('_', "-"))
    }

    /// The rule that comes with it.
    fn rule(&self) -> Rule {
        let terms = Terms {
            network: Network::Off,
            isolation: Isolation::Namespace,
            lane: self.task.lane,
            credentials: BTreeSet::new(),
        };
        let grant = match &self.approval {
            Some(approval) => Grant::Approve(terms, approval.clone()),
            None => Grant::Allow(terms),
        };
        let tool = self.task.name.clone();
        let example = Example { tool: tool.clone(), arguments: BTreeMap::new(), place: self.place.clone() };
        Rule {
            id: self.rule_id(),
            place: self.place.clone(),
            tools: BTreeSet::from([tool]),
            when: BTreeMap::new(),
            grant,
            why: "The owner of this machine named it as a task.".to_owned(),
            matching: vec![example],
            not_match: Vec::new(),
            layer: LayerName::Operator,
            role: Role::Decides,
        }
    }
}

/// The rules that come with these tasks, but for those that the file states itself.
pub(crate) fn implicit_rules(tasks: &[Named], stated: &[Rule]) -> Vec<Rule> {
    let is_stated = |task: &&Named| stated.iter().any(|rule| rule.id == task.rule_id());
    tasks.iter().filter(|task| !is_stated(task)).map(Named::rule).collect()
}

/// Reads the tasks of one file.
pub(crate) struct TaskReader<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) layer: LayerName,
    /// The tools that are there without them.
    pub(crate) shapes: &'a Shapes,
    /// The limits in force for this file.
    pub(crate) limits: &'a Stated,
    pub(crate) problems: &'a mut Problems,
}

impl TaskReader<'_> {
    /// Reads the tasks, sorted by name; what is wrong is among the problems.
    pub(crate) fn read(&mut self, texts: &[Spanned<TaskText>]) -> Vec<Named> {
        let mut tasks: Vec<Named> = Vec::new();
        for (text, at) in texts.iter().zip(0..) {
            let place = self.source.place(&text.span());
            if self.layer != LayerName::Operator {
                self.problems
                    .add(&place, "a [[task]] belongs to the operator's file; no other layer may name commands");
            } else if at == MAX_TASKS {
                self.problems.add(&place, format!("a file names at most {MAX_TASKS} tasks"));
            } else if let Some(task) = self.task(text.get_ref(), place.clone()) {
                match tasks.iter().find(|other| other.task.name == task.task.name) {
                    Some(twin) => {
                        let message = format!("the task `{}` is already named at {}", task.task.name, twin.place);
                        self.problems.add(&place, message);
                    }
                    None => tasks.push(task),
                }
            }
        }
        tasks.sort_by(|left, right| left.task.name.cmp(&right.task.name));
        tasks
    }

    fn task(&mut self, text: &TaskText, place: Place) -> Option<Named> {
        let name = self.name(&text.name);
        let description = self.line(&text.description, "description", MAX_DESCRIPTION_BYTES);
        let parameters = self.parameters(text);
        let command = parameters.as_ref().and_then(|parameters| self.command(&text.argv, parameters));
        let directory = self.directory(text.directory.as_ref());
        let write = self.write(&text.write);
        let limits = self.task_limits(text);
        let lane = text.lane.as_ref().map_or(Lane::Routine, |lane| *lane.get_ref());
        let approval = self.approval(text, lane, &place);
        let (program, words) = command?;
        let task = Task {
            name: name?,
            description: description?,
            program,
            words,
            directory: directory?,
            parameters: parameters?,
            write: write?,
            lane,
            limits: limits?,
        };
        Some(Named { task, approval: approval?, place })
    }

    fn name(&mut self, text: &Spanned<String>) -> Option<String> {
        let name = text.get_ref();
        if !is_tool_name(name) {
            let message = "a task's `name` is 1 to 30 of a-z, 0-9 and `_`, and begins with a letter";
            return self.refuse(text, message);
        }
        if self.shapes.contains_key(name.as_str()) {
            return self.refuse(text, format!("`{name}` is a tool already; choose another name"));
        }
        Some(name.clone())
    }

    fn line(&mut self, text: &Spanned<String>, key: &str, most: usize) -> Option<String> {
        let trimmed = text.get_ref().trim();
        if trimmed.is_empty() || trimmed.len() > most || trimmed.chars().any(char::is_control) {
            return self.refuse(text, format!("a `{key}` is one line of 1 to {most} bytes, for the agent to read"));
        }
        Some(trimmed.to_owned())
    }

    fn parameters(&mut self, text: &TaskText) -> Option<BTreeMap<String, Parameter>> {
        let mut parameters = BTreeMap::new();
        let mut whole = true;
        for (name, parameter) in &text.parameters {
            if !is_tool_name(name.get_ref()) {
                self.refuse::<(), _>(
                    name,
                    "a parameter's name is 1 to 30 of a-z, 0-9 and `_`, and begins with a letter",
                );
                whole = false;
                continue;
            }
            match self.parameter(parameter) {
                Some(parameter) => {
                    parameters.insert(name.get_ref().clone(), parameter);
                }
                None => whole = false,
            }
        }
        if parameters.len() > MAX_PARAMETERS {
            return self.refuse(&text.name, format!("a task has at most {MAX_PARAMETERS} parameters"));
        }
        whole.then_some(parameters)
    }

    fn parameter(&mut self, spanned: &Spanned<ParameterText>) -> Option<Parameter> {
        let text = spanned.get_ref();
        let description = self.line(&text.description, "description", MAX_PARAMETER_BYTES)?;
        let own: &[&str] = match text.kind.get_ref() {
            KindText::Enum => &["values"],
            KindText::Integer => &["minimum", "maximum"],
            KindText::Flag => &["word"],
            KindText::Path => &[],
            KindText::Text => &["max_length"],
        };
        for (key, is_there) in [
            ("values", text.values.is_some()),
            ("minimum", text.minimum.is_some()),
            ("maximum", text.maximum.is_some()),
            ("word", text.word.is_some()),
            ("max_length", text.max_length.is_some()),
        ] {
            if is_there && !own.contains(&key) {
                return self.refuse(spanned, format!("`{key}` does not belong to a parameter of this type"));
            }
        }
        let kind = match text.kind.get_ref() {
            KindText::Enum => self.choice(spanned, text.values.as_ref())?,
            KindText::Integer => match (&text.minimum, &text.maximum) {
                (Some(minimum), Some(maximum)) if minimum.get_ref() <= maximum.get_ref() => {
                    ParameterKind::Integer { minimum: *minimum.get_ref(), maximum: *maximum.get_ref() }
                }
                _ => return self.refuse(spanned, "an integer needs a `minimum`, and a `maximum` that is not less"),
            },
            KindText::Flag => match &text.word {
                Some(word) if is_word(word.get_ref()) => ParameterKind::Flag { word: word.get_ref().clone() },
                _ => {
                    return self
                        .refuse(spanned, "a flag needs a `word`, such as \"--verbose\", which it puts in when true");
                }
            },
            KindText::Path => ParameterKind::Path,
            KindText::Text => {
                let length = text.max_length.as_ref().map_or(64, |length| *length.get_ref());
                match u64::try_from(length) {
                    Ok(max_length @ 1..=256) => ParameterKind::Text { max_length },
                    Ok(_) | Err(_) => return self.refuse(spanned, "`max_length` is 1 to 256 characters"),
                }
            }
        };
        let is_flag = matches!(kind, ParameterKind::Flag { .. });
        let need = match &text.optional {
            Some(optional) if is_flag => {
                return self.refuse(optional, "a flag may always be left out; remove `optional`");
            }
            Some(optional) if *optional.get_ref() => Need::Optional,
            Some(_) | None if is_flag => Need::Optional,
            Some(_) | None => Need::Required,
        };
        Some(Parameter { description, kind, need })
    }

    fn choice(
        &mut self,
        spanned: &Spanned<ParameterText>,
        values: Option<&Spanned<Vec<Spanned<String>>>>,
    ) -> Option<ParameterKind> {
        let values = values.map(Spanned::get_ref).filter(|values| (1..=MAX_VALUES).contains(&values.len()));
        let Some(values) = values else {
            return self.refuse(spanned, format!("an enum needs `values`: 1 to {MAX_VALUES} texts"));
        };
        let mut chosen: Vec<String> = Vec::new();
        for value in values {
            let is_new = !chosen.contains(value.get_ref());
            if !is_new || value.get_ref().is_empty() || value.get_ref().chars().any(char::is_control) {
                return self.refuse(value, "a value of an enum is a text on one line that is not there twice");
            }
            chosen.push(value.get_ref().clone());
        }
        Some(ParameterKind::Choice(chosen))
    }

    /// The program and its words, in which each parameter is used.
    fn command(
        &mut self,
        argv: &Spanned<Vec<Spanned<WordText>>>,
        parameters: &BTreeMap<String, Parameter>,
    ) -> Option<(String, Vec<Word>)> {
        let Some((program, rest)) = argv.get_ref().split_first().filter(|(_, rest)| rest.len() < MAX_WORDS) else {
            return self.refuse(argv, format!("`argv` is a program and its words, 1 to {MAX_WORDS} in all"));
        };
        let program_name = self.program(program)?;
        let mut words: Vec<Word> = Vec::new();
        let mut used = BTreeSet::new();
        for text in rest {
            let (option, word) = match text.get_ref() {
                WordText::One(word) => (None, word),
                WordText::Together(pair) => match pair.as_slice() {
                    [option, value] if is_option(option) && is_whole_placeholder(value) => (Some(option), value),
                    _ => {
                        let message = "a list in `argv` is an option and its value, which are left out together: \
                                       [\"--level\", \"{level}\"]";
                        return self.refuse(text, message);
                    }
                },
            };
            if !is_word(word) || !option.is_none_or(|option| is_word(option)) {
                return self
                    .refuse(text, format!("a word of `argv` is a text of at most {MAX_WORD_BYTES} bytes on one line"));
            }
            let placeholder = match word.split_once('{') {
                None if !word.contains('}') => {
                    words.push(Word::Fixed(word.clone()));
                    continue;
                }
                Some((prefix, rest)) if prefix.is_empty() || prefix.ends_with('=') => {
                    rest.strip_suffix('}').filter(|name| !name.contains(['{', '}'])).map(|name| (prefix, name))
                }
                Some(_) | None => None,
            };
            let Some((prefix, name)) = placeholder else {
                let message = "a placeholder is a whole word, \"{name}\", or all that follows a `=`, \"--level={name}\"; \
                               braces have no other use here. Put what needs more into a script of the workspace";
                return self.refuse(text, message);
            };
            let Some(parameter) = parameters.get(name) else {
                let known: Vec<&str> = parameters.keys().map(String::as_str).collect();
                let message = format!("there is no parameter `{name}`; there are [{}]", known.join(", "));
                return self.refuse(text, message);
            };
            match &parameter.kind {
                ParameterKind::Flag { .. } if !prefix.is_empty() || option.is_some() => {
                    return self.refuse(text, "a flag fills a whole word: \"{name}\"");
                }
                ParameterKind::Integer { minimum, .. } if prefix.is_empty() && *minimum < 0 => {
                    let message = "an integer that fills a whole word has a `minimum` of 0 or more: programs read a dash \
                                   as the beginning of an option";
                    return self.refuse(text, message);
                }
                ParameterKind::Flag { .. }
                | ParameterKind::Integer { .. }
                | ParameterKind::Choice(_)
                | ParameterKind::Path
                | ParameterKind::Text { .. } => {}
            }
            if let (Some(Word::Fixed(before)), None, "", Need::Optional) =
                (words.last(), option, prefix, parameter.need)
                && is_option(before)
                && !matches!(parameter.kind, ParameterKind::Flag { .. })
            {
                let message = format!(
                    "`{before}` stays when `{name}` is left out, and may then take the next word for its value. If it goes \
                     with it, write \"{before}={{{name}}}\", or [\"{before}\", \"{{{name}}}\"] as one entry; if it \
                     takes no value, put it somewhere else or write \"--\" after it"
                );
                return self.refuse(text, message);
            }
            used.insert(name.to_owned());
            let parameter = name.to_owned();
            words.push(match option {
                Some(option) => Word::Pair { option: option.clone(), parameter },
                None => Word::Filled { prefix: prefix.to_owned(), parameter },
            });
        }
        if let Some(idle) = parameters.keys().find(|name| !used.contains(*name)) {
            return self.refuse(argv, format!("the parameter `{idle}` is in no word of `argv`"));
        }
        Some((program_name, words))
    }

    fn program(&mut self, text: &Spanned<WordText>) -> Option<String> {
        let WordText::One(program) = text.get_ref() else {
            return self.refuse(text, "the first word of `argv` is a program, and no list");
        };
        let name = program.rsplit('/').next().unwrap_or(program);
        if SHELLS.contains(&name) {
            let message = format!(
                "a task runs one program and never a shell (`{name}`); put the script into a file of the workspace, make it \
                 executable, and name it as \"./path/of/script\""
            );
            return self.refuse(text, message);
        }
        let below = program.strip_prefix("./").map(|path| WorkspacePath::try_from(path.to_owned()));
        let is_plain = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.+".contains(letter))
        };
        let is_right = match &below {
            Some(path) => path.as_ref().is_ok_and(|path| !path.is_workspace()) && !program.contains(['{', '}']),
            None => is_plain(program),
        };
        if !is_right {
            let message = "the first word of `argv` is a program: a plain name, or a path below the workspace that begins \
                           with `./`; it holds no placeholder";
            return self.refuse(text, message);
        }
        Some(program.clone())
    }

    fn directory(&mut self, text: Option<&Spanned<String>>) -> Option<WorkspacePath> {
        let Some(text) = text.filter(|text| text.get_ref() != ".") else { return Some(WorkspacePath::workspace()) };
        match WorkspacePath::try_from(text.get_ref().clone()) {
            Ok(path) => Some(path),
            Err(error) => self.refuse(text, format!("a `directory` is relative to the workspace: {error}")),
        }
    }

    fn write(&mut self, texts: &[Spanned<String>]) -> Option<Vec<String>> {
        let mut globs = Globs::new();
        for text in texts {
            match Glob::parse(text.get_ref()) {
                Ok(glob) => {
                    if let Some(limit) = &self.limits.write
                        && !WriteScope::of(limit.value.clone()).allows_globs(&BTreeSet::from([glob.clone()]))
                    {
                        let message = format!("`write` asks for more than {} allows", limit.place);
                        return self.refuse(text, message);
                    }
                    globs.insert(glob);
                }
                Err(error) => return self.refuse(text, error.to_string()),
            }
        }
        Some(globs.iter().map(|glob| glob.as_str().to_owned()).collect())
    }

    fn task_limits(&mut self, text: &TaskText) -> Option<Limits> {
        let usual = Limits::TESTS;
        let wall_seconds =
            self.number(text.timeout_seconds.as_ref(), "timeout_seconds", 1, 7200, usual.wall_seconds)?;
        Some(Limits {
            wall_seconds,
            cpu_seconds: usual.cpu_seconds.max(wall_seconds.saturating_mul(3)),
            memory_mb: self.number(text.memory_mb.as_ref(), "memory_mb", 16, 16_777_216, usual.memory_mb)?,
            disk_mb: self.number(text.disk_mb.as_ref(), "disk_mb", 1, 16_777_216, usual.disk_mb)?,
            pids: self.number(text.pids.as_ref(), "pids", 4, 4_194_304, usual.pids)?,
            output_kb: self.number(text.output_kb.as_ref(), "output_kb", 1, 1_048_576, usual.output_kb)?,
        })
    }

    fn number(&mut self, text: Option<&Spanned<i64>>, key: &str, least: u64, most: u64, usual: u64) -> Option<u64> {
        let Some(text) = text else { return Some(usual) };
        match u64::try_from(*text.get_ref()) {
            Ok(value) if (least..=most).contains(&value) => Some(value),
            Ok(_) | Err(_) => self.refuse(text, format!("a task's `{key}` is a whole number from {least} to {most}")),
        }
    }

    /// `None` inside when the task is routine.
    fn approval(&mut self, text: &TaskText, lane: Lane, place: &Place) -> Option<Option<Approval>> {
        match (lane, &text.approvers) {
            (Lane::Routine, None) => match &text.expires {
                Some(expires) => self.refuse(expires, "`expires` belongs to a task of the sensitive lane"),
                None => Some(None),
            },
            (Lane::Routine, Some(approvers)) => self
                .refuse(approvers, "`approvers` belongs to a task of the sensitive lane; write lane = \"sensitive\""),
            (Lane::Sensitive, None) => {
                let message =
                    "a sensitive task needs `approvers = { min = 1, from = [\"group:…\"], not_requester = true }`";
                self.problems.add(place, message);
                None
            }
            (Lane::Sensitive, Some(approvers)) => {
                let shapes = self.shapes;
                let mut reader = RuleReader {
                    source: self.source,
                    layer: self.layer,
                    shapes,
                    limits: self.limits,
                    problems: self.problems,
                };
                reader.approval(approvers.get_ref(), text.expires.as_ref()).map(Some)
            }
        }
    }

    fn refuse<T, S>(&mut self, at: &Spanned<S>, message: impl Into<String>) -> Option<T> {
        self.problems.add(&self.source.place(&at.span()), message);
        None
    }
}

fn is_word(text: &str) -> bool {
    text.len() <= MAX_WORD_BYTES && !text.chars().any(char::is_control)
}

/// Whether a fixed word is an option that may take the word after it for its value.
fn is_option(word: &str) -> bool {
    word.starts_with('-') && !matches!(word, "-" | "--") && !word.contains(['=', '{', '}'])
}

fn is_whole_placeholder(word: &str) -> bool {
    word.starts_with('{') && word.ends_with('}')
}

/// Whether a text can name a tool or a parameter.
fn is_tool_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '_'))
}
