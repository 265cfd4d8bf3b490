//! Deno, Bun, Homebrew in the home, and every other language that `.tool-versions` names and asdf or mise has.

use super::{
    manager::{self, Language, Showing},
    survey::Survey,
};

/// Languages with a step of their own.
const OWN: [&str; 5] = ["python", "node", "go", "java", "rust"];

pub(super) fn discover(survey: &mut Survey<'_>) {
    for (variable, home) in [("DENO_INSTALL", ".deno"), ("BUN_INSTALL", ".bun")] {
        let programs = survey.host.tool_home(variable, home).join("bin");
        if programs.is_dir() {
            survey.show_on_path(&programs);
        }
    }
    let brew = survey.host.home.join(".linuxbrew");
    if brew.join("Cellar").is_dir() {
        match survey
            .places
            .show_parts(&brew, &["bin", "sbin", "lib", "include", "share", "opt", "Cellar", "Frameworks"])
        {
            Ok(real) => ["bin", "sbin"].into_iter().for_each(|part| survey.put_on_path(real.join(part))),
            Err(hidden) => survey.note_hidden(&brew, &hidden),
        }
    }
    let pins = survey.pins.iter().chain(&survey.defaults);
    let mut names: Vec<String> = pins.map(|pin| pin.language.clone()).collect();
    names.sort();
    names.dedup();
    for name in names.into_iter().filter(|name| !OWN.contains(&name.as_str())) {
        let folders = manager::of_many_languages(survey, &[name.as_str()]);
        let language = Language { name, program: "", showing: Showing::Whole, folders, defaults: Vec::new() };
        // One that no manager has may be the system's, and then nobody misses it.
        if language.is_installed() {
            language.choose(survey);
        }
    }
}
