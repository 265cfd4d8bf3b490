//! Go: installations of Go's own tools in the home, mise and asdf, and the programs that `go install` made.

use std::path::PathBuf;

use super::{
    Toolchain,
    manager::{self, Language, Showing},
    pins::Wish,
    read,
    survey::Survey,
    version::VersionName,
};

pub(super) fn discover(survey: &mut Survey<'_>) {
    let folders = manager::of_many_languages(survey, &["go", "golang"]);
    let defaults = manager::mise_default(survey, &["go", "golang"]).into_iter().collect();
    let language = Language { name: "go".to_owned(), program: "go", showing: Showing::Whole, folders, defaults };
    if language.choose(survey).is_empty() {
        show_own(survey);
    }
    let installed = survey.host.named_home("GOBIN").unwrap_or_else(|| path_home(survey).join("bin"));
    if installed.is_dir() {
        survey.show_on_path(&installed);
    }
}

/// The first folder of GOPATH, where modules and installed programs are.
pub(super) fn path_home(survey: &Survey<'_>) -> PathBuf {
    let named = survey.host.variable("GOPATH").and_then(|paths| std::env::split_paths(paths).next());
    named.filter(|path| path.is_absolute()).unwrap_or_else(|| survey.host.home.join("go"))
}

/// An installation below the home, `~/sdk/go1.22.1` (the place of Go's download programs) or `~/.local/go`; the newest,
/// where the system has none.
fn show_own(survey: &mut Survey<'_>) {
    if survey.whole_path().iter().any(|folder| read::is_program(&folder.join("go"))) {
        return;
    }
    let home = &survey.host.home;
    let sdk = home.join("sdk");
    let versions: Vec<String> =
        read::names(&sdk).iter().filter_map(|name| name.strip_prefix("go").map(ToOwned::to_owned)).collect();
    let newest = super::version::newest(&versions).and_then(|version| VersionName::parse(&version));
    let newest = newest.map(|version| sdk.join(format!("go{}", version.as_str())));
    for folder in newest.into_iter().chain([home.join(".local/go"), home.join(".go")]) {
        if !read::is_program(&folder.join("bin/go")) {
            continue;
        }
        match survey.places.show_folder(&folder) {
            Ok(real) => {
                survey.toolchains.push(Toolchain {
                    name: "go".to_owned(),
                    version: version(&real),
                    program: real.join("bin/go"),
                    found_by: "home folder".to_owned(),
                    chosen_by: "the newest installed".to_owned(),
                });
                survey.put_on_path(real.join("bin"));
                return;
            }
            Err(hidden) => survey.note_hidden(&folder, &hidden),
        }
    }
}

/// The version that an installation's `VERSION` file states: `go1.22.1` on its first line.
pub(super) fn version(installation: &std::path::Path) -> Option<String> {
    let text = read::text(&installation.join("VERSION"))?;
    let version = text.lines().next()?.trim().strip_prefix("go")?;
    match Wish::parse(version)? {
        Wish::Version(version) => Some(version.as_str().to_owned()),
        Wish::Nested(_) | Wish::Alias(_) | Wish::System => None,
    }
}
