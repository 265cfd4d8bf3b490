//! Flags that take away from the policy for one server or one call: the last layer. None can add anything.

use std::collections::BTreeSet;

use clap::Args;
use cofferdam_policy::{Layer, LayerName};

use crate::policy_files::COMMAND_LINE;

/// Takes away from the policy
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Narrowing the policy")]
pub(super) struct Narrowing {
    /// A lower limit of the policy's `[limits]`: `memory_mb=2048`, `network=off`, `mode=draft` (or `read_only`),
    /// `write='src/**,docs/**'` (`write=` for nothing). Repeatable
    #[arg(long = "limit", value_name = "KEY=VALUE", value_parser = limit)]
    limits: Vec<String>,
    /// A budget that this machine must hold: memory, cpu or disk. Repeatable
    #[arg(long = "require", value_name = "BUDGET", value_parser = require)]
    require: Vec<String>,
    /// A glob of paths that are held for a person as well. Repeatable
    #[arg(long = "protect", value_name = "GLOB", value_parser = protect)]
    protect: Vec<String>,
    /// A tool of which every call is refused. Repeatable
    // A task of the operator's is denied as well, and is not known yet: what is no tool is found out with the policy.
    #[arg(long = "deny", value_name = "TOOL")]
    deny: Vec<String>,
}

/// The rule of `--deny`, as refusals and the log name it.
pub(super) const COMMAND_LINE_RULE: &str = "command-line";

/// Keys whose value is a whole number, with what it counts and an example; a word; and a list of words.
const NUMBERS: [(&str, &str, u64); 6] = [
    ("wall_seconds", " of seconds", 300),
    ("cpu_seconds", " of seconds", 600),
    ("memory_mb", " of MiB", 2048),
    ("disk_mb", " of MiB", 4096),
    ("pids", " of processes", 256),
    ("output_kb", " of KiB", 1024),
];
const WORDS: [&str; 3] = ["network", "isolation", "mode"];
const LISTS: [&str; 3] = ["write", "registries", "allow_hosts"];

impl Narrowing {
    /// Reads the flags as a layer over the builtin policy, so that what is wrong with one is told beside it.
    fn check(&self) -> Result<(), String> {
        let text = self.text();
        let layer = Layer { name: LayerName::CommandLine, file: COMMAND_LINE, text: &text };
        let error = match crate::policy_files::load(std::iter::once(layer)) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        // The line of a text that nobody sees helps nobody.
        let messages: Vec<&str> = error.problems().iter().map(|problem| problem.message.as_str()).collect();
        Err(messages.join("; "))
    }

    /// The flags as the text of the policy's last layer; empty without any.
    pub(super) fn text(&self) -> String {
        let Self { limits, require, protect, deny } = self;
        if limits.is_empty() && require.is_empty() && protect.is_empty() && deny.is_empty() {
            return String::new();
        }
        let mut text = String::from("version = 1\n");
        if !require.is_empty() {
            text.push_str(&format!("require = {}\n", list(require)));
        }
        text.push_str("[limits]\n");
        limits.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        if !protect.is_empty() {
            text.push_str(&format!("[protect]\npaths = {}\n", list(protect)));
        }
        let tools: BTreeSet<&String> = deny.iter().collect();
        if let Some(first) = tools.first() {
            text.push_str(&format!(
                "[[rule]]\nid = \"{COMMAND_LINE_RULE}\"\ntools = {}\ndecision = \"deny\"\n\
                 why = \"The server was started with --deny for this tool.\"\nmatch = [{{ tool = {} }}]\n",
                list(tools.iter().copied()),
                quoted(first)
            ));
        }
        text
    }
}

/// Reads `KEY=VALUE` into a line of `[limits]`.
fn limit(given: &str) -> Result<String, String> {
    let (key, value) = given.split_once('=').ok_or("write KEY=VALUE, as in memory_mb=2048")?;
    let (key, value) = (key.trim(), value.trim());
    let line = if let Some((_, unit, example)) = NUMBERS.iter().find(|(name, _, _)| *name == key) {
        let number: i64 =
            value.parse().map_err(|_| format!("{key} is a whole number{unit}, without a unit: {key}={example}"))?;
        format!("{key} = {number}")
    } else if WORDS.contains(&key) {
        format!("{key} = {}", quoted(value))
    } else if LISTS.contains(&key) {
        let items: Vec<&str> = value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
        format!("{key} = {}", list(items))
    } else {
        // The policy's own words for it: which keys there are, and which one is near.
        format!("{} = 0", quoted(key))
    };
    let narrowing = Narrowing { limits: vec![line.clone()], ..Narrowing::default() };
    narrowing.check().map(|()| line)
}

fn require(given: &str) -> Result<String, String> {
    Narrowing { require: vec![given.to_owned()], ..Narrowing::default() }.check().map(|()| given.to_owned())
}

fn protect(given: &str) -> Result<String, String> {
    Narrowing { protect: vec![given.to_owned()], ..Narrowing::default() }.check().map(|()| given.to_owned())
}

fn list(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// A text as TOML, on one line whatever it holds.
fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's, but for U+007F, which TOML wants escaped.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        narrowing: Narrowing,
    }

    fn text(flags: &[&str]) -> String {
        let line = Line::try_parse_from(std::iter::once(&"x").chain(flags)).unwrap();
        line.narrowing.text()
    }

    #[test]
    fn flags_are_one_layer_that_takes_away() {
        assert_eq!(text(&[]), "");
        let flags = [
            "--limit",
            "memory_mb=100",
            "--limit",
            "network=off",
            "--limit",
            "mode=draft",
            "--limit",
            "write=src/**, docs/**",
            "--require",
            "cpu",
            "--protect",
            "a/**",
            "--deny",
            "write_file",
            "--deny",
            "write_file",
        ];
        let policy = crate::policy_files::load(std::iter::once(cofferdam_policy::Layer {
            name: cofferdam_policy::LayerName::CommandLine,
            file: "command line",
            text: &text(&flags),
        }))
        .unwrap();
        assert_eq!(policy.limits().memory_mb, 100);
        let shown = policy.effective();
        for part in
            ["mode         = \"draft\"", "[\"docs/**\", \"src/**\"]", "require = [\"cpu\"]", "id = \"command-line\""]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[test]
    fn a_value_stays_a_value_whatever_it_holds() {
        let hostile = "a\"\n[env]\nX = \"\u{7f}\u{1}";
        let flags = Narrowing { protect: vec![hostile.to_owned()], ..Narrowing::default() };
        let table: toml::Table = toml::from_str(&flags.text()).unwrap();
        assert_eq!(table["protect"]["paths"][0].as_str(), Some(hostile));
        assert!(!table.contains_key("env"));
    }

    #[test]
    fn what_is_no_limit_is_told_what_there_is() {
        for (given, told) in [
            ("memory=1", "did you mean `memory_mb`?"),
            ("timeout=5", "expected one of `network`"),
            ("pids", "write KEY=VALUE, as in memory_mb=2048"),
            ("pids=many", "pids is a whole number of processes, without a unit: pids=256"),
            ("memory_mb=2G", "memory_mb is a whole number of MiB, without a unit: memory_mb=2048"),
            ("memory_mb=", "memory_mb=2048"),
            ("memory_mb=-1", "[limits] memory_mb is a whole number from 16 to 16777216"),
            ("memory_mb=0", "[limits] memory_mb is a whole number from 16 to 16777216"),
            ("network=offline", "expected one of `off`, `registry`, `allowlist` (key `network`)"),
            ("mode=drafts", "did you mean `draft`?"),
            ("isolation=vm", "`namespace`, `container`, `gvisor`, `microvm`"),
            ("write=/etc", "globs are relative to the workspace"),
            ("registries=npmx", "did you mean `npm`?"),
        ] {
            let error = limit(given).unwrap_err();
            assert!(error.contains(told) && !error.contains("command line"), "{given}: {error}");
        }
        assert!(require("mem").unwrap_err().contains("\"memory\", \"cpu\", \"disk\", \"kernel\""));
        assert!(protect("/abs").unwrap_err().contains("relative to the workspace"));
        let text = Narrowing { deny: vec!["run_test".into()], ..Narrowing::default() }.check().unwrap_err();
        assert!(text.contains("did you mean `run_tests`?"), "{text}");
    }
}
