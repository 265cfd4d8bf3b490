//! Node: nvm, fnm, volta, mise, asdf and n, with nvm's aliases.

use std::path::{Path, PathBuf};

use super::{
    Toolchain,
    manager::{self, Language, Showing, VersionFolder},
    pins::Wish,
    read,
    survey::Survey,
    version::{self, VersionName},
};

/// What of a version's folder is shown: not `etc`, where npm's global settings keep tokens.
const PARTS: [&str; 4] = ["bin", "include", "lib", "share"];

/// The major versions of Node's long-term lines by code name (the project's release schedule). nvm writes newer ones
/// down in its alias folder; this list serves the managers that do not.
const LINES: [(&str, &str); 11] = [
    ("argon", "4"),
    ("boron", "6"),
    ("carbon", "8"),
    ("dubnium", "10"),
    ("erbium", "12"),
    ("fermium", "14"),
    ("gallium", "16"),
    ("hydrogen", "18"),
    ("iron", "20"),
    ("jod", "22"),
    ("krypton", "24"),
];

/// Aliases that lead to aliases are followed so far; nvm's own go two steps (`default` → `lts/*` → `lts/iron`).
const MAX_ALIASES: usize = 8;

pub(super) fn discover(survey: &mut Survey<'_>) {
    let nvm = survey.host.tool_home("NVM_DIR", ".nvm");
    let folders = folders(survey, &nvm);
    let mut defaults = Vec::new();
    if let Some(text) = read::text(&nvm.join("alias/default")) {
        defaults.extend(Wish::parse(text.trim()).map(|wish| (wish, "nvm's default".to_owned())));
    }
    defaults.extend(fnm_default(survey));
    defaults.extend(volta_default(survey));
    defaults.extend(manager::mise_default(survey, &["node", "nodejs"]));
    for (wish, _) in &mut defaults {
        *wish = plain(wish, &nvm, &folders);
    }
    for pin in survey.pins.iter_mut().chain(&mut survey.defaults).filter(|pin| pin.language == "node") {
        for wish in &mut pin.wishes {
            *wish = plain(wish, &nvm, &folders);
        }
    }
    let language =
        Language { name: "node".to_owned(), program: "node", showing: Showing::Parts(&PARTS), folders, defaults };
    if language.choose(survey).is_empty() {
        show_n(survey);
    }
}

fn folders(survey: &Survey<'_>, nvm: &Path) -> Vec<VersionFolder> {
    let host = survey.host;
    let data = host.tool_home("XDG_DATA_HOME", ".local/share");
    let volta = host.tool_home("VOLTA_HOME", ".volta").join("tools/image/node");
    let folder = |manager, folder, between, install: &str| VersionFolder {
        manager,
        folder,
        between,
        install: install.to_owned(),
    };
    let mut folders = vec![folder("nvm", nvm.join("versions/node"), "", "nvm install ")];
    for home in fnm_homes(survey, &data) {
        folders.push(folder("fnm", home.join("node-versions"), "installation", "fnm install "));
    }
    folders.push(folder("volta", volta, "", "volta install node@"));
    folders.extend(manager::of_many_languages(survey, &["node", "nodejs"]));
    folders
}

fn fnm_homes(survey: &Survey<'_>, data: &Path) -> Vec<PathBuf> {
    match survey.host.named_home("FNM_DIR") {
        Some(named) => vec![named],
        None => vec![data.join("fnm"), survey.host.home.join(".fnm")],
    }
}

/// fnm's default is a link below `aliases` to a version's `installation`.
fn fnm_default(survey: &Survey<'_>) -> Option<(Wish, String)> {
    let data = survey.host.tool_home("XDG_DATA_HOME", ".local/share");
    let links = fnm_homes(survey, &data).into_iter().map(|home| home.join("aliases/default"));
    let installation = links.filter_map(|link| std::fs::read_link(link).ok()).next()?;
    let name = installation.parent()?.file_name()?.to_str()?;
    Some((Wish::parse(name)?, "fnm's default".to_owned()))
}

fn volta_default(survey: &Survey<'_>) -> Option<(Wish, String)> {
    let file = survey.host.tool_home("VOLTA_HOME", ".volta").join("tools/user/platform.json");
    let platform: serde_json::Value = serde_json::from_str(&read::text(&file)?).ok()?;
    let version = platform.get("node")?.get("runtime")?.as_str()?;
    Some((Wish::parse(version)?, "volta's default".to_owned()))
}

/// A wish without aliases: a version, or the wish as it is when nothing tells what it means.
fn plain(wish: &Wish, nvm: &Path, folders: &[VersionFolder]) -> Wish {
    let mut name = match wish {
        Wish::Alias(name) => name.clone(),
        // A name without numbers may be an alias of the user's own.
        Wish::Version(version) if !version.as_str().contains(|letter: char| letter.is_ascii_digit()) => {
            version.as_str().to_owned()
        }
        Wish::Version(_) | Wish::Nested(_) | Wish::System => return wish.clone(),
    };
    for _ in 0..MAX_ALIASES {
        // Every name here came through `Wish::parse`, so it is one or two plain components.
        let written = read::text(&nvm.join("alias").join(&name)).map(|text| text.trim().to_owned());
        let next = written.or_else(|| known_alias(&name, folders)).and_then(|text| Wish::parse(&text));
        match next {
            Some(Wish::Alias(next)) => name = next,
            Some(Wish::Version(version))
                if version.as_str().starts_with(|first: char| first.is_ascii_alphabetic() && first != 'v') =>
            {
                name = version.as_str().to_owned();
            }
            Some(Wish::Version(version)) => return nearest(&version, folders),
            Some(Wish::System) => return Wish::System,
            Some(Wish::Nested(_)) | None => return wish.clone(),
        }
    }
    wish.clone()
}

/// An alias' own version, or where that one is not installed the newest of the same major version: aliases move with
/// each release, and a sandbox cannot fetch one.
fn nearest(version: &VersionName, folders: &[VersionFolder]) -> Wish {
    let names = installed(folders);
    let major = version.as_str().trim_start_matches('v').split('.').next().and_then(VersionName::parse);
    let found = version::installed(version, &names);
    let found = found.or_else(|| version::installed(&major?, &names)).and_then(|name| VersionName::parse(&name));
    Wish::Version(found.unwrap_or_else(|| version.clone()))
}

/// What an alias means where nvm has not written it down.
fn known_alias(name: &str, folders: &[VersionFolder]) -> Option<String> {
    let names = installed(folders);
    match name.strip_prefix("lts/") {
        Some("*") => {
            let newest_first = LINES.iter().rev().filter_map(|(_, major)| VersionName::parse(major));
            newest_first.filter_map(|major| version::installed(&major, &names)).next()
        }
        Some(line) => LINES.iter().find(|(code, _)| *code == line).map(|(_, major)| (*major).to_owned()),
        None if matches!(name, "node" | "stable" | "latest") => version::newest(&names),
        None => None,
    }
}

fn installed(folders: &[VersionFolder]) -> Vec<String> {
    folders.iter().flat_map(|folder| read::names(&folder.folder)).collect()
}

/// n installs one version over another, into a prefix like `/usr/local`.
fn show_n(survey: &mut Survey<'_>) {
    let prefix = survey.host.tool_home("N_PREFIX", "n");
    if !read::is_program(&prefix.join("bin/node")) || !prefix.join("n/versions").is_dir() {
        return;
    }
    match survey.places.show_parts(&prefix, &PARTS) {
        Ok(real) => {
            survey.toolchains.push(Toolchain {
                name: "node".to_owned(),
                version: node_version(&real),
                program: real.join("bin/node"),
                found_by: "n".to_owned(),
                chosen_by: "the only version that n has active".to_owned(),
            });
            survey.put_on_path(real.join("bin"));
        }
        Err(hidden) => survey.note_hidden(&prefix, &hidden),
    }
}

/// The version that a prefix's headers state.
pub(super) fn node_version(prefix: &Path) -> Option<String> {
    let header = read::text(&prefix.join("include/node/node_version.h"))?;
    let number = |name: &str| {
        let mut lines = header.lines().filter_map(|line| line.strip_prefix("#define ")?.strip_prefix(name));
        lines.next().and_then(|rest| rest.trim().parse::<u32>().ok())
    };
    let [major, minor, patch] =
        [number("NODE_MAJOR_VERSION")?, number("NODE_MINOR_VERSION")?, number("NODE_PATCH_VERSION")?];
    Some(format!("{major}.{minor}.{patch}"))
}
