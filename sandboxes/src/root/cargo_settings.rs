//! cargo's settings inside: where the user's crates come from, and nothing else of the user's settings.
//!
//! The store is sorted by registry. Where the user has replaced a registry by a mirror, the crates lie under the
//! mirror's name, and cargo inside finds them only when it knows of the replacement. So the tables `source` and
//! `registries` of the user's `config.toml` are taken over, key by key, without tokens and passwords; the file itself,
//! with its aliases, wrappers and tokens, is never shown.

use super::{Written, read, survey::Survey};

/// Keys of a source and of a registry that say where something is. `token` and `credential-provider` are not here.
const KEYS: [&str; 9] =
    ["registry", "replace-with", "local-registry", "directory", "git", "branch", "tag", "rev", "index"];

pub(super) fn discover(survey: &mut Survey<'_>) {
    let home = survey.host.tool_home("CARGO_HOME", ".cargo");
    // `config` without an ending is the older name and wins where both exist (the cargo book, "Hierarchical structure").
    let text = read::text(&home.join("config")).or_else(|| read::text(&home.join("config.toml")));
    let Some(contents) = text.and_then(|text| sources(&text)) else { return };
    // By its real path, which is where the new root has the folder; a link on the way is a link there too.
    let Ok(real) = home.canonicalize() else { return };
    if survey.environment.contains_key("CARGO_HOME") {
        survey.written.push(Written { path: real.join("config.toml"), contents });
    }
}

/// The part of the settings that says where crates come from; `None` when it says nothing.
fn sources(settings: &str) -> Option<String> {
    let settings: toml::Table = settings.parse().ok()?;
    let mut kept = toml::Table::new();
    for table in ["source", "registries"] {
        let Some(entries) = settings.get(table).and_then(toml::Value::as_table) else { continue };
        let mut kept_entries = toml::Table::new();
        for (name, entry) in entries {
            let Some(entry) = entry.as_table() else { continue };
            let known = entry.iter().filter(|(key, _)| KEYS.contains(&key.as_str()));
            let keys: toml::Table = known
                .filter_map(|(key, value)| Some((key.clone(), toml::Value::String(without_password(value.as_str()?)))))
                .collect();
            if !keys.is_empty() {
                kept_entries.insert(name.clone(), toml::Value::Table(keys));
            }
        }
        if !kept_entries.is_empty() {
            kept.insert(table.to_owned(), toml::Value::Table(kept_entries));
        }
    }
    (!kept.is_empty()).then(|| kept.to_string())
}

/// An address without the user and password that may stand before its host.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_kept_and_everything_secret_or_executable_is_not() {
        let settings = r#"
            [source.crates-io]
            replace-with = "mirror"
            [source.mirror]
            registry = "sparse+https://user:secret@mirror.example/index/"
            [registries.company]
            index = "https://company.example/index"
            token = "secret"
            credential-provider = "cargo:token"
            [registry]
            token = "secret"
            [build]
            rustc-wrapper = "/home/me/wrapper"
            [alias]
            b = "build"
            [net]
            git-fetch-with-cli = true
        "#;
        let kept: toml::Table = sources(settings).unwrap().parse().unwrap();
        let expected: toml::Table = r#"
            [source.crates-io]
            replace-with = "mirror"
            [source.mirror]
            registry = "sparse+https://mirror.example/index/"
            [registries.company]
            index = "https://company.example/index"
        "#
        .parse()
        .unwrap();
        assert_eq!(kept, expected);
    }

    #[test]
    fn settings_without_sources_become_no_file() {
        for settings in ["", "[net]\noffline = true\n", "[registries.a]\ntoken = \"x\"\n", "not = toml = at all"] {
            assert_eq!(sources(settings), None, "{settings}");
        }
    }
}
