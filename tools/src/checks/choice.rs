//! Which of its own tools a project is checked or built with: found from its files, the nearest project above a path.
//!
//! A tool that the project is set up for comes before one that merely is installed. What is set up and not installed is
//! an error that says so: another tool in its place would judge by other rules.

use cofferdam_contract::{Sandbox, WorkspacePath};

use crate::{Failure, change, folders, part::Part, project_files::names, project_signs::Signs};

/// Folder levels in which files of a language are looked for.
const DEPTH: u32 = 6;

/// A kind of tool: linters, formatters, type checkers, builders.
pub(crate) trait Kind: Copy + Eq + 'static {
    /// All of the kind, the preferred one first.
    const ALL: &'static [Self];
    /// What they do, as "nothing that can …" ends.
    const ERRAND: &'static str;

    /// Its name in arguments and results.
    fn name(self) -> &'static str;

    /// Whether a project with these signs uses it.
    fn fit(self, signs: &Signs, python: PythonFiles) -> Fit;

    /// The endings of the files that it is for; empty for any.
    fn extensions(self) -> &'static [&'static str];

    /// The program that must be there.
    fn program(self) -> &'static str;

    /// The signs, for the error of a place where nothing fits.
    fn looked_for(self) -> &'static str;
}

/// Whether a Python project can begin in a folder, and there are Python files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PythonFiles {
    Present,
    Absent,
}

impl PythonFiles {
    fn of(sandbox: &mut dyn Sandbox, directory: &WorkspacePath, signs: &Signs) -> Result<Self, Failure> {
        let begins = directory.is_workspace() || signs.has_python_mark();
        let found = begins && !names(sandbox, directory, Some("*.py"), DEPTH)?.is_empty();
        Ok(if found { Self::Present } else { Self::Absent })
    }
}

/// How well a tool fits a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// The project's files say so.
    Configured,
    /// Files of its language are there, and it is used if it is installed.
    IfInstalled,
    /// Not at all.
    Not,
}

/// A tool for a project.
#[derive(Debug)]
pub(crate) struct Chosen<T> {
    pub(crate) tool: T,
    /// The project's folder, in which it runs.
    pub(crate) directory: WorkspacePath,
    /// What to execute: a name on the PATH, or a path below the workspace that begins with `./`.
    pub(crate) program: String,
    /// What the call names, when it is less than the whole project.
    pub(crate) part: Option<Part>,
    /// Other tools that fit the same folder and are there.
    pub(crate) others: Vec<T>,
    pub(crate) signs: Signs,
}

impl<T: Kind> Chosen<T> {
    /// The part as an argument of a tool that takes files and folders: relative to the project's folder, `.` for all.
    pub(crate) fn target(&self) -> String {
        self.part.as_ref().map_or_else(|| ".".to_owned(), |part| folders::relative(part.path(), &self.directory))
    }

    /// The note of a tool that takes whole projects only.
    pub(crate) fn whole_only(&self) -> Option<String> {
        let path = self.part.as_ref()?.path();
        Some(format!("{} works on the whole project of `{path}`; what is there comes first", self.tool.name()))
    }
}

/// Finds the tool for `path`.
///
/// # Errors
/// `not_found` when nothing is at `path`, `no_program` when the project's tool is not installed, `no_tool` when no tool
/// fits, with what was looked for and what is there.
pub(crate) fn choose<T: Kind>(
    sandbox: &mut dyn Sandbox,
    path: &WorkspacePath,
    wanted: Option<T>,
) -> Result<Chosen<T>, Failure> {
    let part = Part::at(sandbox, path)?;
    let extension = match &part {
        Part::File(file) => file.as_str().rsplit_once('.').map(|(_, extension)| extension.to_owned()),
        Part::Folder(_) => None,
    };
    let is_for = |tool: T| match (&part, &extension) {
        (Part::Folder(_), _) => true,
        (Part::File(_), Some(extension)) => {
            tool.extensions().is_empty() || tool.extensions().contains(&extension.as_str())
        }
        (Part::File(_), None) => tool.extensions().is_empty(),
    };
    let mut there = Vec::new();
    let mut fitting_elsewhere = Vec::new();
    for directory in part.folders() {
        let signs = Signs::read(sandbox, &directory)?;
        let python = PythonFiles::of(sandbox, &directory, &signs)?;
        let mut found: Vec<(Fit, T, String)> = Vec::new();
        let mut missing = Vec::new();
        for tool in T::ALL.iter().copied() {
            let is_wanted = wanted == Some(tool);
            let fit = tool.fit(&signs, python);
            if fit == Fit::Not || !(is_for(tool) || is_wanted) {
                continue;
            }
            match program(sandbox, &directory, tool.program())? {
                Some(program) => found.push((fit, tool, program)),
                None if is_wanted || fit == Fit::Configured => missing.push(tool),
                None => {}
            }
        }
        found.sort_by_key(|(fit, _, _)| *fit);
        let taken = found.iter().position(|(_, tool, _)| wanted.is_none_or(|wanted| wanted == *tool));
        // A project that is set up for a tool is not checked by one that merely is installed.
        let set_up =
            missing.first().filter(|_| wanted.is_none() && taken.is_some_and(|at| found[at].0 == Fit::IfInstalled));
        if let (Some(at), None) = (taken, set_up) {
            let (_, tool, program) = found.remove(at);
            let is_whole = part.is_folder(&directory);
            let others = found.into_iter().map(|(_, tool, _)| tool).collect();
            return Ok(Chosen { tool, directory, program, part: (!is_whole).then_some(part), others, signs });
        }
        let lacking = wanted
            .filter(|wanted| missing.contains(wanted))
            .or_else(|| missing.first().copied().filter(|_| wanted.is_none()));
        if let Some(tool) = lacking {
            return Err(not_installed(tool, &directory));
        }
        fitting_elsewhere.extend(found.into_iter().map(|(_, tool, _)| (tool, directory.clone())));
        let told = signs.told();
        if !told.is_empty() {
            there.push(format!("`{directory}` has {}", told.join(", ")));
        }
    }
    Err(nothing_fits(path, wanted, &fitting_elsewhere, &there))
}

fn not_installed<T: Kind>(tool: T, directory: &WorkspacePath) -> Failure {
    let (name, program) = (tool.name(), tool.program());
    let text = format!(
        "the project in `{directory}` is set up for {name}, and `{program}` is not there: not in node_modules/.bin, \
         .venv/bin or venv/bin of the project or a folder above it, and not on the sandbox's PATH. Nothing can be \
         downloaded here: ask the person to install it on the host"
    );
    Failure::new("no_program", text)
}

fn nothing_fits<T: Kind>(
    path: &WorkspacePath,
    wanted: Option<T>,
    fitting: &[(T, WorkspacePath)],
    there: &[String],
) -> Failure {
    let there = if there.is_empty() {
        "There is no sign of a project there or above.".to_owned()
    } else {
        format!("What is there: {}.", there.join("; "))
    };
    let text = match wanted {
        Some(wanted) => {
            let fitting: Vec<String> =
                fitting.iter().map(|(tool, folder)| format!("{} (in `{folder}`)", tool.name())).collect();
            let instead = if fitting.is_empty() {
                String::new()
            } else {
                format!(" What fits: {}; name it as tool, or leave tool out.", fitting.join(", "))
            };
            let (name, looked_for) = (wanted.name(), wanted.looked_for());
            format!("`{name}` does not fit `{path}`: it needs {looked_for}. {there}{instead}")
        }
        None => {
            let signs: Vec<String> =
                T::ALL.iter().map(|tool| format!("{} ({})", tool.looked_for(), tool.name())).collect();
            format!("nothing that can {} was found for `{path}`; looked for: {}. {there}", T::ERRAND, signs.join("; "))
        }
    };
    Failure::new("no_tool", text)
}

/// Where a program is: the project's own, at or above its folder, else the PATH's.
fn program(sandbox: &mut dyn Sandbox, directory: &WorkspacePath, name: &str) -> Result<Option<String>, Failure> {
    for folder in folders::ancestors(directory) {
        for beside in ["node_modules/.bin", ".venv/bin", "venv/bin"] {
            let path = folders::join(&folder, &format!("{beside}/{name}"));
            if change::status(sandbox, &path)?.is_some() {
                return Ok(Some(format!("./{}", path.as_str())));
            }
        }
    }
    Ok(sandbox.find_program(name)?.map(|_| name.to_owned()))
}
