//! Files with ordinary names that the host executes all the same: its git's settings name them, or a link at a protected
//! name leads there. Planted inside in every way, and then the host's git is used as a person uses it.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::{
    Row, ensure,
    planted::{Before, git, nothing_arrives, settings},
    row,
};
use crate::{
    stage::{Ask, Site, Stage, close, run},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P23n", "what the host's git settings and its hooks' links name is held", named_by_git_is_held),
    row("P26n", "what links at protected names lead to is held, and links that lead on to such", led_to_is_held),
];

/// The host's settings: each names a file of the workspace by an ordinary name.
const SETTINGS: &str = "[core]\n\thooksPath = ci/hooks\n\tfsmonitor = scripts/fsm\n[include]\n\tpath = ../shared.gitconfig\n\
                        [alias]\n\tx = !scripts/alias\n";

fn link(site: &Site<'_>, path: &str, target: &str) -> Result<(), String> {
    let place = site.workspace.join(path);
    fs::create_dir_all(place.parent().unwrap_or(Path::new("/"))).map_err(|error| error.to_string())?;
    symlink(target, place).map_err(|error| format!("{path}: {error}"))
}

/// A repository whose settings and links name ordinary files.
fn begin(site: &Site<'_>) -> Result<(), String> {
    git(&site.workspace, &["init", "--quiet", "."])?;
    let config = site.workspace.join(".git/config");
    let before = fs::read_to_string(&config).map_err(|error| error.to_string())?;
    fs::write(config, before + SETTINGS).map_err(|error| error.to_string())?;
    link(site, ".git/hooks/post-checkout", "../../scripts/linked")
}

/// What a person does. Whether it succeeds is not at issue: what is named may not be there.
fn use_it(site: &Site<'_>) {
    for arguments in [
        &["status"][..],
        &["x"],
        &["add", "--", "README"],
        &["commit", "--message", "begin"],
        &["-c", "core.hooksPath=.git/hooks", "checkout", "-b", "other"],
    ] {
        let _ = git(&site.workspace, arguments);
    }
}

fn named_by_git_is_held(stage: &Stage) -> Result<Cell, String> {
    let canary = stage.base.join("ran-by-named");
    let program = canary.display().to_string();
    let script = format!("#!/bin/sh\ntouch {program}\n");
    let plants: Vec<(&str, String)> = ["ci/hooks/pre-commit", "scripts/fsm", "scripts/alias", "scripts/linked"]
        .into_iter()
        .map(|path| (path, script.clone()))
        .chain([("shared.gitconfig", settings(&program))])
        .collect();
    // The control: where one of them does arrive, git runs it.
    for (number, (path, content)) in plants.iter().enumerate() {
        let control = stage.site(&format!("P23n-control-{number}"));
        begin(&control)?;
        control.write_on_host(path, content);
        let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(control.workspace.join(path), runs).map_err(|error| error.to_string())?;
        use_it(&control);
        ensure(canary.exists(), || format!("{path} is not run even where it arrives"))?;
        fs::remove_file(&canary).map_err(|error| error.to_string())?;
    }
    nothing_arrives(
        stage,
        "P23n",
        &plants,
        |site, before| {
            begin(site)?;
            if before == Before::Present {
                site.write_on_host("shared.gitconfig", "# the host's\n");
            }
            Ok(())
        },
        |site, _| {
            use_it(site);
            ensure(!canary.exists(), || "git on the host ran what was planted".into())
        },
    )
}

fn led_to_is_held(stage: &Stage) -> Result<Cell, String> {
    let plants = [("scripts/pre", "planted\n".to_owned()), ("dev/tasks.json", "{}\n".to_owned())];
    let links = [
        (".husky/pre-commit", "../scripts/pre"),
        (".vscode/tasks.json", "../dev/tasks.json"),
        (".github/workflows", "../pipelines"),
        ("lead", ".git/hooks"),
    ];
    let prepare = |site: &Site<'_>| links.iter().try_for_each(|(path, target)| link(site, path, target));
    nothing_arrives(stage, "P26n", &plants, |site, _| prepare(site), |_, _| Ok(()))?;
    // In two calls: what is held of the first is led to by the second, and a folder behind a link is written through.
    let site = stage.site("P26n-links");
    prepare(&site)?;
    let scripts = [
        "mkdir -p pipelines; ln -s lead two; ln -s .github three; ln -s .vscode four; echo x > pipelines/ci.yml",
        "ln -s two/pre-commit five; ln -s four/settings.json six; mkdir -p lead; echo x > lead/pre-commit;
         echo x > .github/workflows/more.yml",
    ];
    let mut held = Vec::new();
    for script in scripts {
        let mut open = site.open(&Ask::execute().keeping_all());
        run(&mut open, "sh", &["-c", script], |_, _| {});
        let handed = site.hand_back(close(open))?;
        held.extend(handed.held.into_iter().map(|held| held.change.path.to_string()));
    }
    for path in ["two", "three", "four", "five", "six", "pipelines/ci.yml"] {
        ensure(held.iter().any(|held| held == path), || format!("{path} is not held, but {held:?}"))?;
        let there = fs::symlink_metadata(site.workspace.join(path)).is_ok();
        ensure(!there, || format!("{path} arrived"))?;
    }
    for path in [".git/hooks/pre-commit", "pipelines/more.yml"] {
        ensure(!site.workspace.join(path).exists(), || format!("{path} arrived"))?;
    }
    Ok(Cell::Holds)
}
