//! Version managers: folders with one folder per installed version, and the choice of one of them.
//!
//! Every manager of the known ones (pyenv, nvm, fnm, volta, asdf, mise, uv, SDKMAN) keeps versions so. They differ in
//! where, in how the default is written down, and in what is between a version's folder and its programs.

use std::path::{Path, PathBuf};

use super::{
    Missing, Toolchain,
    pins::{Pin, Wish},
    places::Hidden,
    programs, read,
    survey::Survey,
    version::{self, VersionName},
};

/// A manager's folder of versions.
#[derive(Debug, Clone)]
pub(super) struct VersionFolder {
    /// The manager's name: `pyenv`.
    pub(super) manager: &'static str,
    /// The folder whose entries are versions.
    pub(super) folder: PathBuf,
    /// What is between a version's folder and its `bin`: nothing, or fnm's `installation`.
    pub(super) between: &'static str,
    /// The command that installs a version, up to where the version stands.
    pub(super) install: String,
}

/// What of a version's folder is shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Showing {
    /// All of it.
    Whole,
    /// These entries: beside them the language's package manager keeps settings with tokens.
    Parts(&'static [&'static str]),
}

/// A language whose versions are managed.
#[derive(Debug, Clone)]
pub(super) struct Language {
    /// Its common name: `python`.
    pub(super) name: String,
    /// The program that tells a version's folder from another: `python3`. Empty when any program will do.
    pub(super) program: &'static str,
    pub(super) showing: Showing,
    /// Its managers, the most wished first.
    pub(super) folders: Vec<VersionFolder>,
    /// What the managers have as default, each with the file or setting that says so; the most wished first.
    pub(super) defaults: Vec<(Wish, String)>,
}

/// An installed version that was chosen.
#[derive(Debug, Clone)]
struct Choice {
    manager: &'static str,
    /// The version's own folder.
    folder: PathBuf,
    /// The folder of its programs' parent.
    prefix: PathBuf,
    version: String,
    chosen_by: String,
}

impl Language {
    /// Shows the versions that are wished, puts their programs on PATH and returns their prefixes, the first wished
    /// first.
    ///
    /// Wished is what the workspace's version file names; else what the server's PATH has active; else the managers'
    /// default; else, where the system has no such program, the newest installed.
    pub(super) fn choose(&self, survey: &mut Survey<'_>) -> Vec<PathBuf> {
        let pin = survey.pins.iter().find(|pin| pin.language == self.name).cloned();
        if let Some(pin) = pin {
            let choices = self.pinned(survey, &pin);
            if !choices.is_empty() || pin.wishes.iter().any(|wish| self.is_systems(survey, wish)) {
                return self.show(survey, choices);
            }
        }
        if let Some(choice) = self.active(survey) {
            return self.show(survey, vec![choice]);
        }
        let own = survey.defaults.iter().find(|pin| pin.language == self.name).cloned();
        let own = own.into_iter().flat_map(|pin| pin.wishes.into_iter().map(move |wish| (wish, pin.file.clone())));
        for (wish, chosen_by) in self.defaults.iter().cloned().chain(own) {
            if wish == Wish::System {
                return Vec::new();
            }
            if let Some(choice) = self.find(&wish, &chosen_by) {
                return self.show(survey, vec![choice]);
            }
        }
        let system = survey.whole_path().iter().any(|folder| read::is_program(&folder.join(self.program)));
        let newest = if system || self.program.is_empty() { None } else { self.newest() };
        self.show(survey, newest.into_iter().collect())
    }

    /// Whether some version is installed, chosen or not.
    pub(super) fn is_installed(&self) -> bool {
        self.newest().is_some()
    }

    /// Shows the version that a path leads into, without putting it on PATH; `None` when it leads into none.
    pub(super) fn show_containing(&self, survey: &mut Survey<'_>, path: &Path) -> Option<PathBuf> {
        let choice = self.containing(path, "")?;
        match self.show_one(survey, &choice) {
            Ok(prefix) => Some(prefix),
            Err(hidden) => {
                survey.note_hidden(&choice.folder, &hidden);
                None
            }
        }
    }

    fn pinned(&self, survey: &mut Survey<'_>, pin: &Pin) -> Vec<Choice> {
        let mut choices = Vec::new();
        for wish in &pin.wishes {
            match (wish, self.find(wish, &pin.file)) {
                (_, Some(choice)) => choices.push(choice),
                (wish, None) if self.is_systems(survey, wish) => {}
                (_, None) => {
                    let first = self.folders.iter().find(|folder| folder.folder.is_dir()).or(self.folders.first());
                    let Some(first) = first else { continue };
                    survey.missing.push(Missing {
                        what: format!("{} {wish}, which {} names", self.name, pin.file),
                        looked_in: self.folders.iter().map(|folder| folder.folder.clone()).collect(),
                        mend: format!("{}{wish}", first.install),
                    });
                }
            }
        }
        choices
    }

    /// Whether the system's own version is the wished one, as far as files and names tell it: `3.12` and `3.12.4` are
    /// both taken for a program whose name says no more than `3.12`.
    fn is_systems(&self, survey: &Survey<'_>, wish: &Wish) -> bool {
        let wished = match wish {
            Wish::System => return true,
            Wish::Version(version) => version,
            Wish::Nested(_) | Wish::Alias(_) => return false,
        };
        let path = survey.whole_path();
        let own = (!self.program.is_empty()).then(|| programs::find(survey, &path, self.program)).flatten();
        let own = own.and_then(|program| programs::version(&self.name, &program.canonicalize().ok()?));
        let own = own.and_then(|version| VersionName::parse(&version));
        own.is_some_and(|own| version::agree(wished, &own))
    }

    /// The version whose programs the server's own PATH has, which is the one that the user's shell has active.
    fn active(&self, survey: &Survey<'_>) -> Option<Choice> {
        let folders = survey.host.path_folders().into_iter();
        let real = folders.filter_map(|folder| folder.canonicalize().ok());
        real.filter(|folder| read::is_program(&folder.join(self.program)))
            .find_map(|folder| self.containing(&folder, "the server's PATH"))
    }

    /// The version that a path leads into. The path is compared as text, so it must be plain.
    fn containing(&self, path: &Path, chosen_by: &str) -> Option<Choice> {
        for folder in &self.folders {
            let real = folder.folder.canonicalize().ok();
            let rest = path.strip_prefix(&folder.folder).ok().or_else(|| path.strip_prefix(real?).ok());
            let Some(first) = rest.and_then(|rest| rest.components().next()) else { continue };
            let wish = first.as_os_str().to_str().and_then(VersionName::parse).map(Wish::Version);
            if let Some(choice) = wish.and_then(|wish| folder.exactly(self.program, &wish, chosen_by)) {
                return Some(choice);
            }
        }
        None
    }

    fn find(&self, wish: &Wish, chosen_by: &str) -> Option<Choice> {
        self.folders.iter().find_map(|folder| folder.find(self.program, wish, chosen_by))
    }

    fn newest(&self) -> Option<Choice> {
        self.folders.iter().find_map(|folder| {
            let newest = version::newest(&read::names(&folder.folder)).and_then(|name| VersionName::parse(&name))?;
            folder.exactly(self.program, &Wish::Version(newest), "the newest installed")
        })
    }

    fn show(&self, survey: &mut Survey<'_>, choices: Vec<Choice>) -> Vec<PathBuf> {
        let mut prefixes = Vec::new();
        for choice in choices {
            match self.show_one(survey, &choice) {
                Ok(prefix) => {
                    let bin = prefix.join("bin");
                    survey.toolchains.push(Toolchain {
                        name: self.name.clone(),
                        version: Some(choice.version.trim_start_matches('v').to_owned()),
                        program: if self.program.is_empty() { bin.clone() } else { bin.join(self.program) },
                        found_by: choice.manager.to_owned(),
                        chosen_by: choice.chosen_by,
                    });
                    survey.put_on_path(bin);
                    prefixes.push(prefix);
                }
                Err(hidden) => survey.note_hidden(&choice.folder, &hidden),
            }
        }
        prefixes
    }

    fn show_one(&self, survey: &mut Survey<'_>, choice: &Choice) -> Result<PathBuf, Hidden> {
        match self.showing {
            Showing::Whole => {
                survey.places.show_folder(&choice.folder)?;
                survey.places.lead_to_shown(&choice.prefix)
            }
            Showing::Parts(parts) => survey.places.show_parts(&choice.prefix, parts),
        }
    }
}

impl VersionFolder {
    fn find(&self, program: &str, wish: &Wish, chosen_by: &str) -> Option<Choice> {
        match wish {
            Wish::Version(version) => {
                let name = version::installed(version, &read::names(&self.folder))?;
                self.exactly(program, &Wish::Version(VersionName::parse(&name)?), chosen_by)
            }
            Wish::Nested(_) => self.exactly(program, wish, chosen_by),
            // Aliases are resolved by the language that has them.
            Wish::Alias(_) | Wish::System => None,
        }
    }

    fn exactly(&self, program: &str, wish: &Wish, chosen_by: &str) -> Option<Choice> {
        let folder = match wish {
            Wish::Version(version) => self.folder.join(version.as_str()),
            Wish::Nested(parts) => parts.iter().fold(self.folder.clone(), |folder, part| folder.join(part.as_str())),
            Wish::Alias(_) | Wish::System => return None,
        };
        let prefix = if self.between.is_empty() { folder.clone() } else { folder.join(self.between) };
        let bin = prefix.join("bin");
        let there = if program.is_empty() { bin.is_dir() } else { read::is_program(&bin.join(program)) };
        there.then(|| Choice {
            manager: self.manager,
            version: wish.to_string(),
            chosen_by: chosen_by.to_owned(),
            folder,
            prefix,
        })
    }
}

/// The folders in which asdf and mise keep the versions of a language, which may go by several names.
pub(super) fn of_many_languages(survey: &Survey<'_>, names: &[&str]) -> Vec<VersionFolder> {
    let host = survey.host;
    let data = host.tool_home("XDG_DATA_HOME", ".local/share");
    let mise = host.named_home("MISE_DATA_DIR").unwrap_or_else(|| data.join("mise"));
    let asdf = host.tool_home("ASDF_DATA_DIR", ".asdf");
    let mut folders = Vec::new();
    for (manager, home, between) in [("mise", mise, '@'), ("asdf", asdf, ' ')] {
        for name in names {
            let folder = home.join("installs").join(name);
            let install = format!("{manager} install {name}{between}");
            folders.push(VersionFolder { manager, folder, between: "", install });
        }
    }
    folders
}

/// What mise's own settings name as a language's version, where they name it plainly.
pub(super) fn mise_default(survey: &Survey<'_>, names: &[&str]) -> Option<(Wish, String)> {
    let config = survey.host.tool_home("XDG_CONFIG_HOME", ".config");
    let table: toml::Table = read::text(&config.join("mise/config.toml"))?.parse().ok()?;
    let tools = table.get("tools")?;
    let value = names.iter().find_map(|name| tools.get(name))?;
    let first = value.as_array().and_then(|versions| versions.first()).unwrap_or(value);
    let text = first.get("version").unwrap_or(first).as_str()?;
    Some((Wish::parse(text)?, "~/.config/mise/config.toml".to_owned()))
}
