//! Virtual environments in the workspace: the interpreters that they refer to are shown too.
//!
//! An environment is a folder of links to an interpreter elsewhere. What its settings and links say is the workspace's
//! word, so it only chooses: the interpreter's folder is shown if it is a version in a known place, and not otherwise.

use std::path::{Component, Path, PathBuf};

use super::{Missing, places::Hidden, python, read, survey::Survey};

/// Where environments are by custom: more than are scratch, since an interpreter is shown for any of them, and `.tox` and
/// `.nox` hold environments and are none.
const FOLDERS: [&str; 4] = [".venv", "venv", "env", ".env"];

/// The links of an environment that lead to its interpreter.
const INTERPRETERS: [&str; 2] = ["python", "python3"];

pub(super) fn discover(survey: &mut Survey<'_>) {
    for folder in FOLDERS {
        let Some(settings) = read::workspace_text(survey.workspace, &format!("{folder}/pyvenv.cfg")) else { continue };
        let links = INTERPRETERS.iter().map(|name| format!("{folder}/bin/{name}"));
        let targets = links.filter_map(|link| read::workspace_link(survey.workspace, &link));
        let mut wanted: Vec<PathBuf> = targets.chain(python::environment_home(&settings)).collect();
        wanted.retain(|path| is_elsewhere(survey.workspace, path));
        wanted.dedup();
        let hidden: Vec<Hidden> = wanted.iter().filter_map(|path| show_interpreter(survey, path).err()).collect();
        // One that works is enough: an environment's settings may name a folder of links, of which one is used.
        if hidden.len() == wanted.len() && !wanted.is_empty() {
            for (path, hidden) in wanted.iter().zip(&hidden) {
                survey.note_hidden(path, hidden);
            }
            survey.missing.push(Missing {
                what: format!("the interpreter of the workspace's {folder}"),
                looked_in: wanted,
                mend: format!("make {folder} again with a Python of the system, pyenv, uv, mise, asdf or conda"),
            });
        }
    }
}

/// Whether a path is plain and leads out of the workspace. What is in the workspace is in the view, and is not followed.
fn is_elsewhere(workspace: &Path, path: &Path) -> bool {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    path.is_absolute() && plain && !path.starts_with(workspace)
}

/// Makes sure that a path to an interpreter, or to its folder, works inside.
fn show_interpreter(survey: &mut Survey<'_>, path: &Path) -> Result<(), Hidden> {
    let language = python::language(survey);
    // By its own path, and by where its links end (`~/.local/bin/python3.12` of uv).
    let real = path.canonicalize().ok();
    for path in [Some(path), real.as_deref()].into_iter().flatten() {
        if language.show_containing(survey, path).is_none() {
            python::show_conda_containing(survey, path);
        }
    }
    survey.places.lead_to_shown(path).map(drop)
}
