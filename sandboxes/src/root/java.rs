//! Java: SDKMAN's candidates, mise and asdf, and the one that JAVA_HOME names. The system's own need no step.

use std::path::Path;

use super::{
    manager::{self, Language, Showing, VersionFolder},
    pins::Wish,
    read,
    survey::Survey,
};

/// SDKMAN's candidates besides Java, with the program of each.
const CANDIDATES: [(&str, &str); 5] =
    [("maven", "mvn"), ("gradle", "gradle"), ("kotlin", "kotlinc"), ("scala", "scala"), ("sbt", "sbt")];

pub(super) fn discover(survey: &mut Survey<'_>) {
    let sdkman = survey.host.tool_home("SDKMAN_DIR", ".sdkman").join("candidates");
    let mut java = candidate(&sdkman, "java", "java");
    java.folders.extend(manager::of_many_languages(survey, &["java"]));
    java.defaults.extend(manager::mise_default(survey, &["java"]));
    if let Some(home) = java.choose(survey).first() {
        name_home(survey, home);
    } else if let Some(home) = survey.host.named_home("JAVA_HOME") {
        // A Java of the system that the user prefers to the system's own.
        let real = home.canonicalize().ok();
        if real.is_some_and(|real| survey.places.is_shown(&real) && read::is_program(&real.join("bin/java"))) {
            name_home(survey, &home);
        }
    }
    for (name, program) in CANDIDATES {
        candidate(&sdkman, name, program).choose(survey);
    }
}

/// The version that an installation's `release` file states.
pub(super) fn version(installation: &Path) -> Option<String> {
    let text = read::text(&installation.join("release"))?;
    let value = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    Some(value.trim().trim_matches('"').to_owned())
}

fn candidate(sdkman: &Path, name: &str, program: &'static str) -> Language {
    let folder = sdkman.join(name);
    // The default is the link `current`; its target's last name is the version.
    let current = std::fs::read_link(folder.join("current")).ok();
    let wish = current.and_then(|target| Wish::parse(target.file_name()?.to_str()?));
    let install = format!("sdk install {name} ");
    Language {
        name: name.to_owned(),
        program,
        showing: Showing::Whole,
        folders: vec![VersionFolder { manager: "sdkman", folder, between: "", install }],
        defaults: wish.into_iter().map(|wish| (wish, "SDKMAN's current".to_owned())).collect(),
    }
}

fn name_home(survey: &mut Survey<'_>, home: &Path) {
    if let Some(home) = home.to_str() {
        survey.environment.insert("JAVA_HOME".to_owned(), home.to_owned());
    }
}
