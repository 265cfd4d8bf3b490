//! Package stores: what the user's package managers fetched, as lower layers of scratch volumes.
//!
//! A store is shown at its own place and is readable; what a call writes to it goes to the workspace's own volume. The
//! folders above the stores hold credentials and are not shown: `CARGO_HOME` has `credentials.toml` beside `registry`.

use std::path::PathBuf;

use super::{go, read, survey::Survey};

/// Pythons whose user site is looked for, at most.
const MAX_PYTHONS: usize = 32;

/// One package store of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Where it is, on the host and inside: a real path, no component of which is a link.
    pub path: PathBuf,
    /// A short name for the scratch volume, one plain folder name: `cargo-registry`.
    pub name: String,
}

pub(super) fn discover(survey: &mut Survey<'_>) {
    let cargo = survey.host.tool_home("CARGO_HOME", ".cargo");
    let cargo_stores =
        [add(survey, cargo.join("registry"), "cargo-registry"), add(survey, cargo.join("git"), "cargo-git")];
    if cargo_stores.contains(&Added::Yes) {
        name_place(survey, "CARGO_HOME", &cargo);
    }
    let modules = survey.host.named_home("GOMODCACHE").unwrap_or_else(|| go::path_home(survey).join("pkg/mod"));
    if add(survey, modules.clone(), "go-modules") == Added::Yes {
        name_place(survey, "GOMODCACHE", &modules);
    }
    let base = survey.host.tool_home("PYTHONUSERBASE", ".local");
    let pythons = read::names(&base.join("lib")).into_iter().filter(|name| is_python(name)).take(MAX_PYTHONS);
    let sites: Vec<Added> = pythons
        .map(|name| add(survey, base.join("lib").join(&name).join("site-packages"), &format!("{name}-user-site")))
        .collect();
    if sites.contains(&Added::Yes) {
        name_place(survey, "PYTHONUSERBASE", &base);
    }
}

/// Whether a store was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Added {
    Yes,
    No,
}

fn add(survey: &mut Survey<'_>, path: PathBuf, name: &str) -> Added {
    match survey.places.lead_to_store(&path) {
        Ok(real) => {
            survey.stores.push(Store { path: real, name: name.to_owned() });
            Added::Yes
        }
        Err(hidden) => {
            survey.note_hidden(&path, &hidden);
            Added::No
        }
    }
}

fn name_place(survey: &mut Survey<'_>, variable: &str, place: &std::path::Path) {
    if let Some(place) = place.to_str() {
        survey.environment.insert(variable.to_owned(), place.to_owned());
    }
}

fn is_python(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit());
    let version = name.strip_prefix("python").and_then(|version| version.split_once('.'));
    version.is_some_and(|(major, minor)| number(major) && number(minor))
}
