//! Rust: rustup's toolchains, and the programs that cargo installed.
//!
//! The chosen toolchain's own `bin` comes first on PATH, so no rustup proxy runs. The proxies behind it work too: they
//! find the toolchains, and a settings file of ours that names the chosen one.

use std::path::{Path, PathBuf};

use super::{
    Missing, Toolchain, Written,
    pins::{self, RustPin},
    read,
    survey::Survey,
    version::VersionName,
};

/// Toolchains shown, at most.
const MAX_TOOLCHAINS: usize = 64;

/// What rustup's settings say that matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    default: Option<String>,
    /// The toolchain that the user set for the workspace itself.
    here: Option<String>,
    /// The one for the nearest folder above it.
    above: Option<String>,
}

pub(super) fn discover(survey: &mut Survey<'_>) {
    let cargo_bin = survey.host.tool_home("CARGO_HOME", ".cargo").join("bin");
    let rustup = survey.host.tool_home("RUSTUP_HOME", ".rustup");
    if rustup.join("toolchains").is_dir() {
        show_toolchains(survey, &rustup);
    }
    if cargo_bin.is_dir() {
        survey.show_on_path(&cargo_bin);
    }
}

fn show_toolchains(survey: &mut Survey<'_>, rustup: &Path) {
    let folder = rustup.join("toolchains");
    let mut shown: Vec<(String, PathBuf)> = Vec::new();
    for name in read::names(&folder).into_iter().take(MAX_TOOLCHAINS) {
        let toolchain = folder.join(&name);
        // A custom toolchain is a link to anywhere; what has no compiler is none.
        if VersionName::parse(&name).is_none() || !read::is_program(&toolchain.join("bin/rustc")) {
            continue;
        }
        match survey.places.show_folder(&toolchain) {
            Ok(real) => shown.push((name, real)),
            Err(hidden) => survey.note_hidden(&toolchain, &hidden),
        }
    }
    let settings = read::text(&rustup.join("settings.toml")).map(|text| settings(&text, survey.workspace));
    let settings = settings.unwrap_or_default();
    let Some((name, real, chosen_by)) = chosen(survey, &folder, &settings, &shown) else { return };
    survey.toolchains.push(Toolchain {
        name: "rust".to_owned(),
        version: Some(compiler_version(&real).unwrap_or_else(|| name.clone())),
        program: real.join("bin/rustc"),
        found_by: "rustup".to_owned(),
        chosen_by,
    });
    survey.put_on_path(real.join("bin"));
    // rustup writes its settings when it finds none, and fails where it cannot. The host's own list the folders of
    // other projects, so these are ours.
    let real_home = rustup.canonicalize().unwrap_or_else(|_| rustup.to_path_buf());
    survey.written.push(Written {
        path: real_home.join("settings.toml"),
        contents: format!("version = \"12\"\ndefault_toolchain = \"{name}\"\nprofile = \"minimal\"\n\n[overrides]\n"),
    });
    if let Some(rustup) = rustup.to_str() {
        survey.environment.insert("RUSTUP_HOME".to_owned(), rustup.to_owned());
    }
    // Build scripts and cargo itself see the same name as under a proxy.
    survey.environment.insert("RUSTUP_TOOLCHAIN".to_owned(), name);
    survey.environment.insert("RUSTUP_AUTO_INSTALL".to_owned(), "0".to_owned());
}

/// The toolchain that rustup would choose in the workspace (its book, "Overrides"): the user's override for it, its
/// toolchain file, an override of a folder above, the default; else the only or last one there is.
fn chosen(
    survey: &mut Survey<'_>,
    folder: &Path,
    settings: &Settings,
    shown: &[(String, PathBuf)],
) -> Option<(String, PathBuf, String)> {
    let set = |name: &Option<String>| name.as_deref().and_then(|name| installed(name, shown));
    let with = |found: Option<&(String, PathBuf)>, by: &str| {
        found.map(|(name, real)| (name.clone(), real.clone(), by.to_owned()))
    };
    if let Some(choice) = with(set(&settings.here), "rustup's override for the workspace") {
        return Some(choice);
    }
    if let Some(RustPin { file, channel }) = pins::rust(survey.workspace) {
        if let Some(choice) = with(installed(channel.as_str(), shown), file) {
            return Some(choice);
        }
        survey.missing.push(Missing {
            what: format!("rust {}, which {file} names", channel.as_str()),
            looked_in: vec![folder.to_path_buf()],
            mend: format!("rustup toolchain install {}", channel.as_str()),
        });
    }
    with(set(&settings.above), "rustup's override for a folder above the workspace")
        .or_else(|| with(set(&settings.default), "rustup's default"))
        .or_else(|| with(shown.last(), "the last that is installed"))
}

/// The toolchain of that name, or of that channel for this machine: `stable` is `stable-x86_64-unknown-linux-gnu`.
fn installed<'a>(name: &str, shown: &'a [(String, PathBuf)]) -> Option<&'a (String, PathBuf)> {
    let platform = format!("{}-", std::env::consts::ARCH);
    let of_channel = |entry: &str| entry.strip_prefix(name)?.strip_prefix('-')?.strip_prefix(&platform).map(drop);
    let named = shown.iter().find(|(entry, _)| entry == name);
    named.or_else(|| shown.iter().find(|(entry, _)| of_channel(entry).is_some()))
}

fn settings(text: &str, workspace: &Path) -> Settings {
    let Ok(table) = text.parse::<toml::Table>() else { return Settings::default() };
    let name = |value: &toml::Value| value.as_str().map(ToOwned::to_owned);
    let overrides = table.get("overrides").and_then(toml::Value::as_table);
    let of = |folder: &Path| overrides.and_then(|overrides| name(overrides.get(folder.to_str()?)?));
    Settings {
        default: table.get("default_toolchain").and_then(name),
        here: of(workspace),
        above: workspace.ancestors().skip(1).find_map(of),
    }
}

/// The version in the name of a library that every toolchain has: `libLLVM-22-rust-1.95.0-stable.so`.
fn compiler_version(toolchain: &Path) -> Option<String> {
    let names = read::names(&toolchain.join("lib"));
    names.iter().find_map(|name| {
        let (_, version) = name.strip_prefix("libLLVM")?.split_once("-rust-")?;
        Some(version.strip_suffix(".so").unwrap_or(version).trim_end_matches("-stable").to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_of_the_workspace_and_above_are_told_apart() {
        let text = "default_toolchain = \"stable\"\n[overrides]\n\"/w\" = \"nightly\"\n\"/w/a\" = \"beta\"\n";
        let settings = settings(text, Path::new("/w/a"));
        let expected =
            Settings { default: Some("stable".into()), here: Some("beta".into()), above: Some("nightly".into()) };
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_channel_means_its_toolchain_for_this_machine_and_no_dated_one() {
        let name = |channel: &str| format!("{channel}-{}-unknown-linux-gnu", std::env::consts::ARCH);
        let shown: Vec<(String, PathBuf)> =
            [name("nightly-2026-01-01"), name("nightly"), "mine".to_owned()].map(|name| (name, PathBuf::new())).into();
        assert_eq!(installed("nightly", &shown).unwrap().0, name("nightly"));
        assert_eq!(installed("mine", &shown).unwrap().0, "mine");
        assert_eq!(installed("stable", &shown), None);
    }
}
