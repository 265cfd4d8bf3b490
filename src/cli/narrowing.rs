//! Flags that take away from the policy for one server or one call: the last layer. None can add anything.

use std::collections::BTreeSet;

use clap::Args;

/// Takes away from the policy
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Narrowing the policy")]
pub(super) struct Narrowing {
    /// A lower limit of the policy's [limits]: `memory_mb=2048`, `network=off`, `mode=draft` (or `read_only`),
    /// `write='src/**,docs/**'` (`write=` for nothing). Repeatable
    #[arg(long = "limit", value_name = "KEY=VALUE", value_parser = limit)]
    limits: Vec<String>,
    /// A budget that this machine must hold: memory, cpu or disk. Repeatable
    #[arg(long = "require", value_name = "BUDGET")]
    require: Vec<String>,
    /// A glob of paths that are held for a person as well. Repeatable
    #[arg(long = "protect", value_name = "GLOB")]
    protect: Vec<String>,
    /// A tool of which every call is refused. Repeatable
    #[arg(long = "deny", value_name = "TOOL")]
    deny: Vec<String>,
}

/// The rule of `--deny`, as refusals and the log name it.
pub(super) const COMMAND_LINE_RULE: &str = "command-line";

/// Keys whose value is a whole number, a word, and a list of words.
const NUMBERS: [&str; 6] = ["wall_seconds", "cpu_seconds", "memory_mb", "disk_mb", "pids", "output_kb"];
const WORDS: [&str; 3] = ["network", "isolation", "mode"];
const LISTS: [&str; 3] = ["write", "registries", "allow_hosts"];

impl Narrowing {
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
    if NUMBERS.contains(&key) {
        let number: u64 = value.parse().map_err(|_| format!("{key} is a whole number"))?;
        Ok(format!("{key} = {number}"))
    } else if WORDS.contains(&key) {
        Ok(format!("{key} = {}", quoted(value)))
    } else if LISTS.contains(&key) {
        let items: Vec<&str> = value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
        Ok(format!("{key} = {}", list(items)))
    } else {
        Err(format!("there is no limit {key:?}; there are {}", [&NUMBERS[..], &WORDS, &LISTS].concat().join(", ")))
    }
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
        let table: toml::Table = toml::from_str(&text(&["--protect", hostile])).unwrap();
        assert_eq!(table["protect"]["paths"][0].as_str(), Some(hostile));
        assert!(!table.contains_key("env"));
    }

    #[test]
    fn what_is_no_limit_is_told_what_there_is() {
        for (given, told) in [("memory=1", "memory_mb"), ("pids", "KEY=VALUE"), ("pids=many", "whole number")] {
            assert!(limit(given).unwrap_err().contains(told), "{given}");
        }
    }
}
