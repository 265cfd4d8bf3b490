//! Python: pyenv, mise, asdf, uv and conda, and the environments that are active on the server's PATH.

use std::path::{Path, PathBuf};

use super::{
    manager::{self, Language, Showing, VersionFolder},
    pins, read,
    survey::Survey,
};

/// What of a version's folder is shown: not `etc` and `pip.conf`, where pip keeps index addresses with passwords, and
/// not conda's `.condarc`, `pkgs` and other environments.
const PARTS: [&str; 9] = ["bin", "lib", "lib64", "libexec", "include", "share", "ssl", "conda-meta", "pyvenv.cfg"];

/// Where conda and its relatives are installed by default, below the home and below `/opt` (which is shown anyway).
const CONDA: [&str; 7] =
    ["miniforge3", "mambaforge", "miniconda3", "anaconda3", ".conda", "micromamba", ".local/share/mamba"];

pub(super) fn discover(survey: &mut Survey<'_>) {
    let language = language(survey);
    let prefixes = language.choose(survey);
    for prefix in prefixes {
        show_base(survey, &language, &prefix);
    }
    if let Some(prefix) = active_conda(survey) {
        match survey.places.show_parts(&prefix, &PARTS) {
            Ok(real) => survey.put_on_path(real.join("bin")),
            Err(hidden) => survey.note_hidden(&prefix, &hidden),
        }
    }
}

/// Python and where its versions are.
pub(super) fn language(survey: &Survey<'_>) -> Language {
    let host = survey.host;
    let pyenv = host.tool_home("PYENV_ROOT", ".pyenv");
    let data = host.tool_home("XDG_DATA_HOME", ".local/share");
    let uv = host.named_home("UV_PYTHON_INSTALL_DIR").unwrap_or_else(|| data.join("uv/python"));
    let folder =
        |manager, folder, install: &str| VersionFolder { manager, folder, between: "", install: install.to_owned() };
    let mut folders = vec![folder("pyenv", pyenv.join("versions"), "pyenv install ")];
    folders.extend(manager::of_many_languages(survey, &["python"]));
    folders.push(folder("uv", uv, "uv python install "));
    let mut defaults = Vec::new();
    let file = pyenv.join("version");
    if let Some(wish) = read::text(&file).and_then(|text| pins::versions(&text).into_iter().next()) {
        defaults.push((wish, "pyenv's version file".to_owned()));
    }
    defaults.extend(manager::mise_default(survey, &["python"]));
    Language { name: "python".to_owned(), program: "python3", showing: Showing::Parts(&PARTS), folders, defaults }
}

/// Shows the interpreter that a path leads into, when it is a conda installation or one of its environments.
pub(super) fn show_conda_containing(survey: &mut Survey<'_>, path: &Path) -> Option<PathBuf> {
    let prefix = conda_prefix(survey, path)?;
    match survey.places.show_parts(&prefix, &PARTS) {
        Ok(real) => Some(real),
        Err(hidden) => {
            survey.note_hidden(&prefix, &hidden);
            None
        }
    }
}

/// The `home` of an environment's settings (PEP 405): the folder of the base interpreter.
pub(super) fn environment_home(settings: &str) -> Option<PathBuf> {
    let pairs = settings.lines().take(200).filter_map(|line| line.split_once('='));
    let mut homes = pairs.filter(|(key, _)| key.trim() == "home");
    homes.next().map(|(_, value)| PathBuf::from(value.trim())).filter(|home| home.is_absolute())
}

/// A chosen version may itself be an environment (pyenv-virtualenv): its base is shown too.
fn show_base(survey: &mut Survey<'_>, language: &Language, prefix: &Path) {
    let Some(home) = read::text(&prefix.join("pyvenv.cfg")).and_then(|text| environment_home(&text)) else { return };
    let shown = language.show_containing(survey, &home).or_else(|| show_conda_containing(survey, &home));
    if shown.is_none() && !survey.places.is_shown(&home) {
        survey.note(format!("{} needs {}, which is no known place for Pythons", prefix.display(), home.display()));
    }
}

/// The conda environment that was active when the server started, or whose programs are on its PATH.
fn active_conda(survey: &Survey<'_>) -> Option<PathBuf> {
    let active = survey.host.named_home("CONDA_PREFIX").into_iter();
    active.chain(survey.host.path_folders()).find_map(|path| conda_prefix(survey, &path))
}

/// The conda prefix that a path is or leads into: an installation, or one folder below its `envs`.
fn conda_prefix(survey: &Survey<'_>, path: &Path) -> Option<PathBuf> {
    for name in CONDA {
        let base = survey.host.home.join(name);
        let Ok(rest) = path.strip_prefix(&base) else { continue };
        let mut parts = rest.components().filter_map(|part| part.as_os_str().to_str());
        let prefix = match (parts.next(), parts.next().and_then(super::version::VersionName::parse)) {
            (Some("envs"), Some(environment)) => base.join("envs").join(environment.as_str()),
            (Some("envs"), None) => return None,
            (None | Some(_), _) => base,
        };
        return read::is_program(&prefix.join("bin/python")).then_some(prefix);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_of_an_environment_is_the_first_absolute_one() {
        let settings = "home = /usr/bin\nimplementation = CPython\nhome = /x\n";
        assert_eq!(environment_home(settings), Some(PathBuf::from("/usr/bin")));
        assert_eq!(environment_home("home = ../../x\n"), None);
        assert_eq!(environment_home("nothing here"), None);
    }
}
