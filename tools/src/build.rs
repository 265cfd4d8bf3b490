//! `build`: builds the project with its own tool and tells which files came of it.
//!
//! What is built stays in the sandbox, unless the call exports it. Files of build folders that are caches of the sandbox
//! (`target/`) are copied to `exported/` first, since those folders themselves never come back.

use std::collections::{BTreeMap, BTreeSet};

use cofferdam_contract::{Command, HandBack, Plan, Sandbox, Work, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool, Written,
    arguments::{self, Form, Parsed},
    cargo_messages,
    checks::{
        self,
        changed::Mark,
        choice::{Chosen, Fit, Kind, PythonFiles, choose},
        read,
        report::{Artifact, Ending, Errand, Report, ReportOutput, Verdict},
    },
    place::Place,
    plain_text,
    project_signs::Signs,
    run_tests::checked_glob,
    schema,
    transcript::Transcript,
};

/// Builds a project.
pub(crate) struct BuildTool;

/// Where exports of build folders go that never come back themselves.
const EXPORTED: &str = "exported";

/// Build folders that are caches of the sandbox: of the scratch folders the one that a build fills. The others hold
/// packages, and nobody asks a build for those.
const CACHES: [&str; 1] = ["target"];

/// Files of such folders that one call copies at most.
const COPIES: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BuildForm {
    /// A project's folder, or a file or folder in it. Default: the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PathText>")]
    path: Option<WorkspacePath>,
    /// Default: found from the files, in this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<Builder>,
    /// For cargo: what is built for. Default: debug.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
    /// Globs of built files to bring to the workspace, such as `dist/**` or `target/release/app`; what lies below target/
    /// comes to exported/. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    export: Option<Vec<String>>,
    /// A folder that exports are copied to instead, without the part of their path that the glob spells out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PathText>")]
    export_to: Option<WorkspacePath>,
    /// Seconds it may take. Default 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: Option<u64>,
}

impl Form for BuildForm {
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("file_path", "path"), ("directory", "path"), ("keep", "export"), ("exports", "export"), ("builder", "tool")];
}

/// What cargo builds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Profile {
    /// Quick to build.
    Debug,
    /// Optimised.
    Release,
}

/// What builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Builder {
    /// `cargo build`.
    Cargo,
    /// The script `build` of `package.json`.
    Npm,
    /// `go build`.
    Go,
    /// The makefile: its target `build`, else what it does by itself.
    Make,
}

impl Kind for Builder {
    const ALL: &'static [Self] = &[Self::Cargo, Self::Npm, Self::Go, Self::Make];
    const ERRAND: &'static str = "build";

    fn name(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Npm => "npm",
            Self::Go => "go",
            Self::Make => "make",
        }
    }

    fn fit(self, signs: &Signs, _python: PythonFiles) -> Fit {
        let configured = match self {
            Self::Cargo => signs.has("Cargo.toml"),
            Self::Npm => signs.script("build").is_some(),
            Self::Go => signs.has("go.mod"),
            Self::Make => signs.has_targets(),
        };
        if configured { Fit::Configured } else { Fit::Not }
    }

    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Cargo => &["rs", "toml"],
            Self::Npm | Self::Make => &[],
            Self::Go => &["go", "mod"],
        }
    }

    fn program(self) -> &'static str {
        self.name()
    }

    fn looked_for(self) -> &'static str {
        match self {
            Self::Cargo => "Cargo.toml",
            Self::Npm => "a script `build` in package.json",
            Self::Go => "go.mod",
            Self::Make => "a makefile with a target",
        }
    }
}

impl Tool for BuildTool {
    fn name(&self) -> &str {
        "build"
    }

    fn title(&self) -> &str {
        "Build"
    }

    fn description(&self) -> &str {
        "Builds the project with its own tool and lists the files that came of it, or why it could not be built: file, \
         line, code and message of each error. The tool is found from the files: cargo build, the script `build` of \
         package.json, go build, make (its target `build`, else its first); `tool` chooses where several fit. What is \
         built is thrown away with the sandbox, unless `export` names it by globs relative to the workspace, such as \
         dist/**; exports pass the same gate as other changes. cargo's files below target/ come to exported/ instead: \
         target/release/app to exported/target/release/app, or with export_to \"bin\" to bin/app. To see whether code compiles, check_types is faster. Verdict: \
         passed, failed (errors are listed), timed_out, limit_reached. There is no network: dependencies must be \
         installed on the host. After 45 seconds it answers status \"running\" and a run_id for get_run."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: false, destructive: false, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<BuildForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<ReportOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = parse(arguments, project)?.form;
        let hand_back = form.export.clone().map_or(HandBack::Nothing, |globs| {
            if let Some(folder) = &form.export_to {
                return HandBack::Paths(vec![folder.clone()]);
            }
            // What is copied for a glob that names a cache is found below the folder of exports by the same words.
            let copied = globs.iter().filter(|glob| names_a_cache(glob)).map(|glob| format!("{EXPORTED}/{glob}"));
            let copied: Vec<String> = copied.collect();
            HandBack::Matching(globs.iter().filter(|glob| !names_a_cache(glob)).cloned().chain(copied).collect())
        });
        let limits = checks::limits(form.timeout_seconds);
        Ok(Plan { hand_back, ..arguments::routine(self.name(), &form, Work::Execute, limits) })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        parse(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form: BuildForm = arguments::recall(plan)?;
        let path = form.path.clone().unwrap_or_else(WorkspacePath::workspace);
        sandbox.progress("looking for what builds this");
        let chosen = choose(sandbox, &path, form.tool)?;
        if let Some(Profile::Release) = form.profile
            && chosen.tool != Builder::Cargo
        {
            let text = format!("profile is cargo's; `{}` builds as the project says. Leave it out", chosen.tool.name());
            return Err(Failure::new("invalid_arguments", text));
        }
        let mark = match chosen.tool {
            Builder::Cargo => None,
            Builder::Npm | Builder::Go | Builder::Make => Mark::set(sandbox)?,
        };
        let mut report = errand(sandbox, &chosen, form.profile.unwrap_or(Profile::Debug))?.run(sandbox)?;
        report.notes.extend(checks::others_note(&chosen, form.tool));
        report.notes.extend(chosen.whole_only());
        // A compiler that ends well has built what it was asked for, whatever lines look like errors.
        if report.verdict == Verdict::Found {
            report.verdict = Verdict::Passed;
        }
        if report.verdict != Verdict::Passed {
            return Ok(report.output(Written::ThrownAway));
        }
        let globs = form.export.unwrap_or_default();
        let built = match (chosen.tool, &mark) {
            (Builder::Cargo, _) => of_cargo(sandbox, &chosen, &report),
            (_, Some(mark)) => mark.changed(sandbox)?.map(of_files),
            (_, None) => None,
        };
        match built {
            Some(mut built) => {
                let idle = export(sandbox, &mut built, &globs, form.export_to.as_ref())?;
                report.notes.extend(idle.into_iter().map(|glob| nothing_matches(glob, &built)));
                report.artifacts = Some(built);
            }
            None => {
                report.notes.push("which files were built cannot be told here".to_owned());
                if !globs.is_empty() {
                    report.notes.push("nor can it be told whether `export` matches one of them".to_owned());
                }
            }
        }
        Ok(report.output(Written::HandedBack))
    }
}

/// Parses, and checks what a schema cannot say.
fn parse(arguments: &Map<String, Value>, project: &Project) -> Result<Parsed<BuildForm>, ArgumentError> {
    let mut parsed = arguments::parse::<BuildForm>(arguments, project)?;
    for glob in parsed.form.export.iter_mut().flatten() {
        *glob = checked_glob("export", glob)?;
    }
    let wrong = |text: &str| Err(ArgumentError::Combination(text.to_owned()));
    match &parsed.form {
        BuildForm { export_to: Some(_), export: None, .. } => {
            return wrong("export_to needs `export`, which names what is copied there");
        }
        BuildForm { export_to: Some(folder), .. } if folder.is_workspace() || is_in_cache(folder.as_str()) => {
            return wrong("export_to is a folder of the workspace, not the workspace itself and not below target/");
        }
        BuildForm { .. } => {}
    }
    Ok(parsed)
}

/// The command that builds.
fn errand<'a>(sandbox: &mut dyn Sandbox, chosen: &'a Chosen<Builder>, profile: Profile) -> Result<Errand<'a>, Failure> {
    let (command, read): (_, read::Reader) = match chosen.tool {
        Builder::Cargo => {
            let mut arguments = vec!["build", "--offline", "--message-format=json"];
            match profile {
                Profile::Debug => {}
                Profile::Release => arguments.push("--release"),
            }
            (checks::cargo_command(chosen, &arguments), read::cargo)
        }
        Builder::Npm => (checks::command(chosen, &["run", "--silent", "build"]), read::lines),
        Builder::Go => {
            // With a folder to write to, go keeps the programs; without a program it refuses to have one.
            let list = checks::command(chosen, &["list", "-f", "{{.Name}}", "./..."]);
            let packages = Transcript::execute(sandbox, &list)?.shown();
            let has_program = packages.lines().any(|name| name == "main");
            let arguments: &[&str] = if has_program { &["build", "-o", "bin/", "./..."] } else { &["build", "./..."] };
            (checks::command(chosen, arguments), read::lines)
        }
        Builder::Make => {
            let target = chosen.signs.first_target(&["build"]);
            (checks::command(chosen, &target.into_iter().collect::<Vec<_>>()), read::lines)
        }
    };
    let first = chosen.part.as_ref().map(|part| part.path());
    Ok(Errand { tool: chosen.tool.name(), command, read, first, ending: Ending::Make })
}

/// What cargo says that it built.
fn of_cargo(sandbox: &mut dyn Sandbox, chosen: &Chosen<Builder>, report: &Report) -> Option<Vec<Artifact>> {
    let workspace = sandbox.workspace().to_owned();
    let place = Place { workspace: &workspace, directory: &chosen.directory };
    let built = cargo_messages::built(&report.transcript, place).into_iter();
    Some(built.map(|built| Artifact { path: built.path, kind: built.kind, exported_as: None }).collect())
}

fn of_files(paths: Vec<String>) -> Vec<Artifact> {
    paths.into_iter().map(|path| Artifact { path, kind: "file".to_owned(), exported_as: None }).collect()
}

/// Marks what the globs choose as exported, and copies what lies in a cache, or all of it where the call says where to.
/// Gives the globs that choose nothing of what was built.
fn export<'a>(
    sandbox: &mut dyn Sandbox,
    built: &mut [Artifact],
    globs: &'a [String],
    folder: Option<&WorkspacePath>,
) -> Result<Vec<&'a str>, Failure> {
    let mut set = globset::GlobSetBuilder::new();
    for glob in globs {
        let glob = globset::GlobBuilder::new(glob).literal_separator(true).build();
        set.add(glob.map_err(|error| Failure::new("invalid", error.to_string()))?);
    }
    let set = set.build().map_err(|error| Failure::new("invalid", error.to_string()))?;
    let mut copied = BTreeSet::new();
    let mut used = BTreeSet::new();
    for artifact in built.iter_mut() {
        let matching = set.matches(&artifact.path);
        let Some(first) = matching.first().copied() else { continue };
        used.extend(matching);
        let to = match folder {
            Some(folder) => format!("{}/{}", folder.as_str(), below_the_plain_part(&artifact.path, &globs[first])),
            None if is_in_cache(&artifact.path) => format!("{EXPORTED}/{}", artifact.path),
            None => {
                artifact.exported_as = Some(artifact.path.clone());
                continue;
            }
        };
        if to == artifact.path {
            artifact.exported_as = Some(to);
        } else if copied.len() < COPIES {
            if !copied.insert(to.clone()) {
                let text =
                    format!("two files that were built would be `{to}`; name one of them, or leave out export_to");
                return Err(Failure::new("export_failed", text));
            }
            copy(sandbox, &artifact.path, &to)?;
            artifact.exported_as = Some(to);
        }
    }
    Ok(globs.iter().enumerate().filter(|(number, _)| !used.contains(number)).map(|(_, glob)| glob.as_str()).collect())
}

/// Built files that are named for a glob that chooses none.
const NEAREST: usize = 3;

/// That a glob chose nothing, with what it may have meant: built files with the same name, else those most like it.
fn nothing_matches(glob: &str, built: &[Artifact]) -> String {
    let mut scored: Vec<(u32, &str)> =
        built.iter().map(|artifact| (likeness(glob, &artifact.path), &*artifact.path)).collect();
    scored.sort_by(|left, right| right.0.cmp(&left.0).then(left.1.cmp(right.1)));
    let nearest: Vec<String> = scored.iter().take(NEAREST).map(|(_, path)| format!("`{path}`")).collect();
    let nearest = match nearest.as_slice() {
        [] => "nothing is listed as built".to_owned(),
        nearest => format!("nearest of what was built: {}", nearest.join(", ")),
    };
    format!("export `{}` matches none of the built files: {nearest}", plain_text::one_line(glob))
}

/// How much a path is like a glob, from 0 to 1000; the same last name counts most.
fn likeness(glob: &str, path: &str) -> u32 {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_lowercase();
    let whole = similar::TextDiff::from_chars(glob, path).ratio();
    let names = similar::TextDiff::from_chars(name(glob).as_str(), name(path).as_str()).ratio();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both are between 0 and 1")]
    let score = (whole.mul_add(400.0, names * 600.0)).round() as u32;
    score
}

/// What is left of a path without the folders that a glob spells out: of `dist/**` and `target/release/app`, all that is
/// below `dist`, and the program's name.
fn below_the_plain_part<'a>(path: &'a str, glob: &str) -> &'a str {
    let is_plain = |name: &&str| !name.contains(['*', '?', '[', ']', '{', '}', '\\', '!']);
    let names: Vec<&str> = glob.split('/').collect();
    let plain = names[..names.len() - 1].iter().take_while(|name| is_plain(name)).count();
    path.splitn(plain + 1, '/').last().unwrap_or(path)
}

/// Copies a file with its mode, and makes the folders above it. Paths are relative and begin with a plain name.
fn copy(sandbox: &mut dyn Sandbox, from: &str, to: &str) -> Result<(), Failure> {
    let command = Command {
        program: "install".to_owned(),
        arguments: ["-D", "-m", "755", "--", from, to].map(str::to_owned).into(),
        directory: WorkspacePath::workspace(),
        environment: BTreeMap::new(),
    };
    let copied = Transcript::execute(sandbox, &command)?;
    if copied.succeeded() {
        return Ok(());
    }
    let said = copied.shown();
    Err(Failure::new("export_failed", format!("`{from}` was built and could not be copied to `{to}`: {}", said.trim())))
}

fn is_in_cache(path: &str) -> bool {
    path.split('/').any(|name| CACHES.contains(&name))
}

/// Whether a glob names a cache by a plain name.
fn names_a_cache(glob: &str) -> bool {
    is_in_cache(glob)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(arguments: Value) -> Result<HandBack, String> {
        let Value::Object(arguments) = arguments else { unreachable!() };
        let planned = BuildTool.plan(&arguments, &Project { workspace: "/work".into() });
        planned.map(|plan| plan.hand_back).map_err(|error| error.to_string())
    }

    #[test]
    fn an_export_keeps_what_lies_below_the_part_that_its_glob_spells_out() {
        for (path, glob, left) in [
            ("target/release/app", "target/release/app", "app"),
            ("target/release/app", "target/release/*", "app"),
            ("target/release/app", "target/*/app", "release/app"),
            ("dist/js/a.js", "dist/**", "js/a.js"),
            ("target/debug/app", "**/app", "target/debug/app"),
            ("app", "app", "app"),
        ] {
            assert_eq!(below_the_plain_part(path, glob), left, "{path} {glob}");
        }
    }

    #[test]
    fn a_glob_that_chooses_nothing_is_told_with_what_it_may_have_meant() {
        let sandbox = crate::folder_sandbox::FolderSandbox::new(&[]);
        let paths = ["dist/app.js", "dist/app.css", "dist/deep/other.map"];
        let mut built = of_files(paths.map(str::to_owned).into());
        let globs = ["dist/*.js", "dist/ap.css", "bild/**"].map(str::to_owned);
        let idle = export(&mut &sandbox, &mut built, &globs, None).unwrap();
        assert_eq!(idle, ["dist/ap.css", "bild/**"]);
        assert_eq!(
            nothing_matches(idle[0], &built),
            "export `dist/ap.css` matches none of the built files: nearest of what was built: `dist/app.css`, `dist/app.js`, \
             `dist/deep/other.map`"
        );
        assert!(nothing_matches("x", &[]).ends_with("nothing is listed as built"));
    }

    #[test]
    fn only_exports_come_back_and_those_of_a_cache_by_another_name() {
        assert_eq!(plan(json!({})), Ok(HandBack::Nothing));
        let exported = vec!["dist/**".to_owned(), "exported/sub/target/release/*".to_owned()];
        let planned = plan(json!({"export": ["./dist/**", "sub/target/release/*"]}));
        assert_eq!(planned, Ok(HandBack::Matching(exported)));
        let to = |folder: &str| plan(json!({"export": ["target/release/app"], "export_to": folder}));
        assert_eq!(to("bin/x"), Ok(HandBack::Paths(vec![WorkspacePath::parse("bin/x", "/work").unwrap()])));
        for wrong in [to("."), to("target/out"), plan(json!({"export_to": "bin"}))] {
            assert!(wrong.unwrap_err().starts_with("export_to"));
        }
        for glob in ["[", "/etc/*", "../*", ""] {
            assert!(plan(json!({"export": [glob]})).unwrap_err().starts_with("argument `export`"));
        }
    }
}
