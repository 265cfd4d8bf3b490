//! The programs that calls need most: which of them are found on the PATH inside, and what mends it when one is not.

use std::path::{Path, PathBuf};

use super::{Missing, Toolchain, go, java, node, read, survey::Survey};

/// A toolchain by its name, the programs that stand for it, and the command that installs it.
const WANTED: [(&str, &[&str], &str); 8] = [
    ("rust", &["rustc"], "apt-get install cargo rustc"),
    ("gcc", &["gcc", "cc", "clang"], "apt-get install gcc libc6-dev"),
    ("python", &["python3"], "apt-get install python3 python3-venv"),
    ("node", &["node", "nodejs"], "apt-get install nodejs npm"),
    ("git", &["git"], "apt-get install git"),
    ("go", &["go"], "apt-get install golang-go"),
    ("java", &["java"], "apt-get install default-jdk-headless"),
    ("make", &["make"], "apt-get install make"),
];

pub(super) fn discover(survey: &mut Survey<'_>) {
    let path = survey.whole_path();
    for (name, programs, mend) in WANTED {
        if survey.toolchains.iter().any(|toolchain| toolchain.name == name) {
            continue;
        }
        let found = programs.iter().find_map(|program| find(survey, &path, program));
        match found {
            Some(program) => {
                let real = program.canonicalize().unwrap_or_else(|_| program.clone());
                let toolchain = Toolchain {
                    name: name.to_owned(),
                    version: version(name, &real),
                    found_by: found_by(&real).to_owned(),
                    chosen_by: "the first on PATH".to_owned(),
                    program,
                };
                survey.toolchains.push(toolchain);
            }
            None => {
                survey.missing.push(Missing { what: name.to_owned(), looked_in: path.clone(), mend: mend.to_owned() })
            }
        }
    }
}

/// The first of that name on PATH that also exists inside: its links end in a place that is shown.
pub(super) fn find(survey: &Survey<'_>, path: &[PathBuf], program: &str) -> Option<PathBuf> {
    let shown = |real: PathBuf| survey.places.is_shown(&real);
    let mut candidates = path.iter().map(|folder| folder.join(program)).filter(|candidate| read::is_program(candidate));
    candidates.find(|candidate| candidate.canonicalize().is_ok_and(shown))
}

fn found_by(real: &Path) -> &'static str {
    let places = [("/nix/store", "nix"), ("/gnu/store", "guix"), ("/home/linuxbrew", "homebrew"), ("/usr", "system")];
    let place = places.iter().find(|(place, _)| real.starts_with(place));
    place.map_or("a folder of programs", |(_, name)| name)
}

/// A version as files or names tell it: a header, a release file, the number at the end of the program's real name.
pub(super) fn version(name: &str, real: &Path) -> Option<String> {
    let installation = real.parent()?.parent()?;
    match name {
        "node" => node::node_version(installation),
        "go" => go::version(installation),
        "java" => java::version(installation),
        _ => trailing_number(real.file_name()?.to_str()?),
    }
}

/// `python3.11` → `3.11`, `x86_64-linux-gnu-gcc-12` → `12`; a name whose number is part of the word has none.
fn trailing_number(name: &str) -> Option<String> {
    let start = name.rfind(|letter: char| !letter.is_ascii_digit() && letter != '.').map_or(0, |last| last + 1);
    let number = name.get(start..)?.trim_matches('.');
    (!number.is_empty() && start > 0).then(|| number.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_the_end_of_a_programs_name() {
        assert_eq!(trailing_number("python3.11").as_deref(), Some("3.11"));
        assert_eq!(trailing_number("x86_64-linux-gnu-gcc-12").as_deref(), Some("12"));
        assert_eq!(trailing_number("git"), None);
        assert_eq!(trailing_number("7"), None);
    }
}
