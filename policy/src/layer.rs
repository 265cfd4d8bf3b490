//! One layer: a file of the policy, read and checked by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use cofferdam_contract::Guarantee;
use toml::Spanned;

use crate::{
    ceilings::{Located, Stated},
    document::{Document, LimitsText, Source},
    environment,
    git::Authorship,
    glob::Glob,
    problem::{LoadError, Place, Problems},
    read_rule::RuleReader,
    rule::Rule,
    secrets::SecretsStated,
    task::{Named, TaskReader},
    wording,
};

/// A file of the policy.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// Which layer it is.
    pub name: LayerName,
    /// How errors name the file.
    pub file: &'a str,
    /// The file's text.
    pub text: &'a str,
}

/// The layers, from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerName {
    /// What comes with the product.
    Builtin,
    /// What the machine's owner wrote.
    Operator,
    /// What lies in the workspace as `.cofferdam.toml`.
    Repository,
    /// What the server was started with.
    CommandLine,
}

/// What a layer may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    /// All of it.
    Grants,
    /// Only what takes away from the layers before it.
    Narrows,
}

impl LayerName {
    /// What such a layer may say.
    pub(crate) fn power(self) -> Power {
        match self {
            Self::Builtin | Self::Operator => Power::Grants,
            Self::Repository | Self::CommandLine => Power::Narrows,
        }
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Builtin => "builtin",
            Self::Operator => "operator",
            Self::Repository => "repository",
            Self::CommandLine => "command line",
        })
    }
}

/// A tool as policy needs to know it, so that a rule about something that does not exist is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolShape {
    /// The tool's name.
    pub name: String,
    /// Its arguments' standard names.
    pub arguments: BTreeSet<String>,
    /// Those of them that no call can be without: a refusal does not advise it.
    pub required: BTreeSet<String>,
}

/// The tools by name, with their arguments.
pub(crate) type Shapes = BTreeMap<String, BTreeSet<String>>;

/// A layer, read.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) limits: Stated,
    pub(crate) require: BTreeSet<Guarantee>,
    pub(crate) protect: Vec<String>,
    pub(crate) secrets: SecretsStated,
    pub(crate) environment: BTreeMap<String, Located<String>>,
    pub(crate) authorship: Option<Authorship>,
    pub(crate) tasks: Vec<Named>,
    pub(crate) rules: Vec<Rule>,
}

/// The package ecosystems that `registries` may name. Their hosts come from elsewhere.
const REGISTRIES: [&str; 8] = ["crates", "debian", "go", "maven", "npm", "nuget", "pypi", "rubygems"];

impl Layer<'_> {
    /// Reads the layer, which comes after layers whose limits are `earlier`.
    ///
    /// # Errors
    /// [`LoadError`] with everything that is wrong in the file.
    pub(crate) fn read(&self, shapes: &Shapes, earlier: &Stated) -> Result<Content, LoadError> {
        let source = Source { file: self.file, text: self.text };
        let document = source.read()?;
        let mut reader = Reader { source: &source, problems: Problems::default() };
        let limits = reader.limits(&document.limits);
        let require = reader.require(&document);
        let protect = reader.protect(&document);
        let secrets = document.secrets.read(reader.source, &mut reader.problems);
        let environment = match self.name.power() {
            Power::Grants => reader.environment(&document),
            Power::Narrows => reader.no_environment(&document),
        };
        let authorship = match (self.name.power(), &document.git.author) {
            (_, None) => None,
            (Power::Grants, Some(author)) => Some(*author.get_ref()),
            (Power::Narrows, Some(author)) => {
                let message = "this layer only takes away, and whom commits are by is the operator's choice; remove it";
                reader.problems.add(&reader.source.place(&author.span()), message);
                None
            }
        };
        let mut problems = reader.problems;
        let in_force = limits.clone().over(earlier.clone());
        let tasks =
            TaskReader { source: &source, layer: self.name, shapes, limits: &in_force, problems: &mut problems }
                .read(&document.task);
        // The file's own rules may speak of its tasks.
        let mut shapes = shapes.clone();
        shapes.extend(tasks.iter().map(|named| (named.task.name.clone(), named.arguments())));
        let mut rules = Vec::new();
        for text in &document.rule {
            let mut reader = RuleReader {
                source: &source,
                layer: self.name,
                shapes: &shapes,
                limits: &in_force,
                problems: &mut problems,
            };
            rules.extend(reader.read(text));
        }
        problems.end_step()?;
        Ok(Content { limits, require, protect, secrets, environment, authorship, tasks, rules })
    }
}

struct Reader<'a> {
    source: &'a Source<'a>,
    problems: Problems,
}

impl Reader<'_> {
    fn limits(&mut self, text: &LimitsText) -> Stated {
        // The largest numbers are what a machine could have, not what is sensible.
        Stated {
            network: text.network.as_ref().map(|network| self.located(network)),
            registries: text.registries.as_ref().map(|list| self.names(list, Self::registry)),
            allow_hosts: text.allow_hosts.as_ref().map(|list| self.names(list, Self::host)),
            isolation: text.isolation.as_ref().map(|isolation| self.located(isolation)),
            mode: text.mode.as_ref().map(|mode| self.located(mode)),
            write: text.write.as_ref().map(|list| self.globs(list)),
            wall_seconds: self.number(text.wall_seconds.as_ref(), "wall_seconds", 1, 86_400),
            cpu_seconds: self.number(text.cpu_seconds.as_ref(), "cpu_seconds", 1, 8_640_000),
            memory_mb: self.number(text.memory_mb.as_ref(), "memory_mb", 16, 16_777_216),
            disk_mb: self.number(text.disk_mb.as_ref(), "disk_mb", 1, 16_777_216),
            pids: self.number(text.pids.as_ref(), "pids", 4, 4_194_304),
            output_kb: self.number(text.output_kb.as_ref(), "output_kb", 1, 1_048_576),
        }
    }

    fn number(&mut self, text: Option<&Spanned<i64>>, key: &str, least: u64, most: u64) -> Option<Located<u64>> {
        let text = text?;
        let place = self.source.place(&text.span());
        match u64::try_from(*text.get_ref()) {
            Ok(value) if (least..=most).contains(&value) => Some(Located { value, place }),
            Ok(_) | Err(_) => {
                self.problems.add(&place, format!("[limits] {key} is a whole number from {least} to {most}"));
                None
            }
        }
    }

    fn names(
        &mut self,
        list: &Spanned<Vec<Spanned<String>>>,
        refuse: fn(&str) -> Option<String>,
    ) -> Located<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for name in list.get_ref() {
            let place = self.source.place(&name.span());
            if let Some(message) = refuse(name.get_ref()) {
                self.problems.add(&place, message);
            } else if !names.insert(name.get_ref().clone()) {
                self.problems.add(&place, format!("{:?} is named twice", name.get_ref()));
            }
        }
        Located { value: names, place: self.source.place(&list.span()) }
    }

    fn registry(name: &str) -> Option<String> {
        let known = REGISTRIES.join(", ");
        let meant = wording::did_you_mean(name, REGISTRIES.into_iter());
        (!REGISTRIES.contains(&name))
            .then(|| format!("there is no registry {name:?}; the known ones are {known}{meant}"))
    }

    /// Hosts are exact: `a.example` or `a.example:8443`. A wildcard reaches whatever anybody registers below it.
    fn host(name: &str) -> Option<String> {
        let (host, port) = name.split_once(':').map_or((name, None), |(host, port)| (host, Some(port)));
        let port_is_fine =
            port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port));
        let label_is_fine = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|character| matches!(character, 'a'..='z' | '0'..='9' | '-'))
        };
        // A last label of digits would be read as an IPv4 address (WHATWG URL, "ends in a number").
        let is_address = host.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
        if name.contains('*') {
            Some(format!("{name:?} holds a wildcard; hosts are exact names, one by one"))
        } else if host.len() > 253 || !host.split('.').all(label_is_fine) || is_address || !port_is_fine {
            Some(format!(
                "{name:?} is not a host; write a name in lower case such as \"mirror.example\", with `:port` unless it is 443"
            ))
        } else {
            None
        }
    }

    fn globs(&mut self, list: &Spanned<Vec<Spanned<String>>>) -> Located<BTreeSet<Glob>> {
        let mut globs = BTreeSet::new();
        for text in list.get_ref() {
            match Glob::parse(text.get_ref()) {
                Ok(glob) => {
                    globs.insert(glob);
                }
                Err(error) => self.problems.add(&self.source.place(&text.span()), error.to_string()),
            }
        }
        Located { value: globs, place: self.source.place(&list.span()) }
    }

    fn require(&mut self, document: &Document) -> BTreeSet<Guarantee> {
        let mut required = BTreeSet::new();
        for word in &document.require {
            match REQUIRABLE.iter().find(|(name, _)| name == word.get_ref()) {
                Some((_, guarantee)) => {
                    required.insert(*guarantee);
                }
                None => {
                    let message = "`require` names what must not be absent: \"memory\", \"cpu\", \"disk\", \"kernel\"";
                    self.problems.add(&self.source.place(&word.span()), message);
                }
            }
        }
        required
    }

    fn protect(&mut self, document: &Document) -> Vec<String> {
        for text in &document.protect.paths {
            if let Err(error) = Glob::parse(text.get_ref()) {
                self.problems.add(&self.source.place(&text.span()), error.to_string());
            }
        }
        document.protect.paths.iter().map(|text| text.get_ref().clone()).collect()
    }

    fn environment(&mut self, document: &Document) -> BTreeMap<String, Located<String>> {
        let mut variables = BTreeMap::new();
        for (name, value) in &document.env {
            let place = self.source.place(&name.span());
            match environment::refuse(name.get_ref(), value.get_ref()) {
                Some(problem) => self.problems.add(&place, format!("[env] {} {problem}", name.get_ref())),
                None => {
                    variables.insert(name.get_ref().clone(), Located { value: value.get_ref().clone(), place });
                }
            }
        }
        variables
    }

    /// A variable is something more in a sandbox, never something less; and no list of names that are safe to take from
    /// a stranger's repository could be complete.
    fn no_environment(&mut self, document: &Document) -> BTreeMap<String, Located<String>> {
        for name in document.env.keys() {
            let message = format!(
                "[env] {} adds a variable, and this layer only narrows; set it in the operator's policy",
                name.get_ref()
            );
            self.problems.add(&self.source.place(&name.span()), message);
        }
        BTreeMap::new()
    }

    fn located<T: Copy>(&self, value: &Spanned<T>) -> Located<T> {
        Located { value: *value.get_ref(), place: self.source.place(&value.span()) }
    }
}

/// What a word of `require` names: a budget, or the fitness of the kernel.
pub(crate) const REQUIRABLE: [(&str, Guarantee); 4] =
    [("kernel", Guarantee::Kernel), ("memory", Guarantee::Memory), ("cpu", Guarantee::Cpu), ("disk", Guarantee::Disk)];

/// The words of `require` for these.
pub(crate) fn required_words(required: &BTreeSet<Guarantee>) -> impl Iterator<Item = &'static str> {
    REQUIRABLE.iter().filter(|(_, guarantee)| required.contains(guarantee)).map(|(word, _)| *word)
}

/// The start of a file, for a problem that no line of it shows.
pub(crate) fn start_of(layer: &Layer<'_>) -> Place {
    Place { file: layer.file.to_owned(), line: 1 }
}
