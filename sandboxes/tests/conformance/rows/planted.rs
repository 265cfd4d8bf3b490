//! What is planted for the host to run later: inside, by every way that a program has, over what is there and where nothing
//! is; and what of it reaches the workspace.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path, process::Command};

use cofferdam_sandboxes::{HandedBack, Note, TreePath};

use super::{Row, ensure, row};
use crate::{
    report::Report,
    stage::{Ask, Site, Stage, run},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row(
        "P23",
        "no hook and no setting of git's reaches the repository, and git on the host runs none",
        git_is_untouched,
    ),
    row("P25", "nested repositories and pointers to others are held", nested_repositories_are_held),
    row("P26", "settings of editors, agents and shells are held", editor_settings_are_held),
    row("P27", "what ordinary work runs comes back and is named, and workflows are held", ordinary_work_is_named),
    row("P28", "settings of package managers are held", package_settings_are_held),
    row("P30", "a policy file edited or deleted inside changes nothing", policies_are_untouched),
    row("P31", "names that act on a shell come back and are named", odd_names_are_named),
];

/// The ways to put something into a place; see the probe's `plant`.
const WAYS: [&str; 10] =
    ["write", "create", "rename", "folder", "link", "linked-folder", "hard", "twin", "fold", "mkdir"];

/// What is at the paths before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Absent,
    Present,
}

/// The host's files of a workspace: what is at each path, and its content.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut tree = BTreeMap::new();
    let mut pending = vec![folder.to_path_buf()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let content = if metadata.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap_or_default().display())
            } else if metadata.is_dir() {
                pending.push(path);
                "folder".to_owned()
            } else {
                format!("{:o} {}", metadata.mode(), String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()))
            };
            tree.insert(name, content);
        }
    }
    tree
}

/// The plants' folders that have ordinary names. A link of such a name may come: what is protected where it leads is not
/// there.
const ORDINARY_FOLDERS: [&str; 3] = ["pkg", "sub", "module"];

/// Whether something new is of no consequence: an ordinary file of the probe's own folder, a folder, which is nothing
/// without what is in it, or an ordinary link to one. No repository is one without its `HEAD`.
fn is_harmless(path: &str, content: &str) -> bool {
    let plain = |name: &str| !name.starts_with('.') && !name.eq_ignore_ascii_case("HEAD");
    let aside = path.split('/').next() == Some("aside") && path.split('/').all(plain);
    let folder = content == "folder" && !path.split('/').any(|name| name.eq_ignore_ascii_case(".git"));
    let link = content.starts_with("link to aside/d") && ORDINARY_FOLDERS.contains(&path);
    aside || folder || link
}

/// Plants in one way and hands back.
fn planted(site: &Site<'_>, way: &str, plants: &[(&str, String)]) -> Result<(Report, HandedBack), String> {
    let mut arguments = vec!["plant", way];
    arguments.extend(plants.iter().flat_map(|(path, content)| [*path, content.as_str()]));
    let (report, handed) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &arguments);
    for (path, _) in plants {
        let result = report.result(path);
        ensure(result == Some("ok"), || format!("{path} by {way}: {result:?}; {}", report.seen()))?;
    }
    Ok((report, handed))
}

/// Plants in every way, over something and over nothing: all of it is held, and the host is as it was.
pub(super) fn nothing_arrives(
    stage: &Stage,
    id: &str,
    plants: &[(&str, String)],
    prepare: impl Fn(&Site<'_>, Before) -> Result<(), String>,
    after: impl Fn(&Site<'_>, Before) -> Result<(), String>,
) -> Result<Cell, String> {
    for before in [Before::Absent, Before::Present] {
        for way in WAYS {
            let site = stage.site(&format!("{id}-{before:?}-{way}"));
            prepare(&site, before)?;
            if before == Before::Present {
                for (path, _) in plants.iter().filter(|(path, _)| !site.workspace.join(path).exists()) {
                    site.write_on_host(path, "the host's\n");
                }
            }
            let was = tree(&site.workspace);
            let (report, handed) = planted(&site, way, plants)?;
            let mut is = tree(&site.workspace);
            is.retain(|path, content| was.contains_key(path) || !is_harmless(path, content));
            // A plain folder of the host may be deleted and a link made of its name: nothing is planted by that.
            let linked = is.get("sub").is_some_and(|content| content.starts_with("link to aside/d"));
            let deleted = |path: &str| linked && (path == "sub" || path.starts_with("sub/"));
            let paths = was.keys().chain(is.keys()).filter(|path| !deleted(path));
            let differing: Vec<&String> = paths.filter(|path| was.get(*path) != is.get(*path)).collect();
            ensure(differing.is_empty(), || format!("{before:?}, by {way}: the host differs at {differing:?}"))?;
            for (path, _) in plants {
                let spelled = TreePath::new(report.result(&format!("where {path}")).unwrap_or_default());
                let spelled = spelled.ok_or_else(|| format!("{path} was planted nowhere"))?;
                // Behind an ordinary link it is held where the link leads.
                let linked = spelled.as_path().iter().skip(1).collect::<std::path::PathBuf>();
                let is_linked =
                    way == "linked-folder" && ORDINARY_FOLDERS.iter().any(|top| spelled.as_path().starts_with(top));
                let held = handed.held.iter().map(|held| &held.change.path);
                let mut related = held.filter(|held| {
                    held.is_within(&spelled)
                        || spelled.is_within(held)
                        || (is_linked && held.as_path().ends_with(&linked))
                });
                ensure(related.next().is_some(), || {
                    format!("{before:?}, {path} by {way}: not among what is held, {:?}", handed.held)
                })?;
            }
            after(&site, before)?;
        }
    }
    Ok(Cell::Holds)
}

fn unprepared(_: &Site<'_>, _: Before) -> Result<(), String> {
    Ok(())
}

/// Content that says so.
fn evil(paths: &[&'static str]) -> Vec<(&'static str, String)> {
    paths.iter().map(|path| (*path, "planted\n".to_owned())).collect()
}

/// Settings that run `program` when git reads or writes anything: every key that the table names.
pub(super) fn settings(program: &str) -> String {
    let run = format!("\"touch {program} #\"");
    let through = format!("\"touch {program}; cat #\"");
    format!(
        "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = {run}\n\thooksPath = evil-hooks\n\tsshCommand = {run}\n\
         \tpager = {through}\n\teditor = {run}\n[alias]\n\tst = \"!touch {program}\"\n[include]\n\tpath = ../evil.config\n\
         [filter \"evil\"]\n\tclean = {through}\n\tsmudge = {through}\n\trequired = true\n\
         [diff]\n\texternal = {run}\n[diff \"evil\"]\n\ttextconv = {run}\n[gpg]\n\tprogram = {run}\n\
         [credential]\n\thelper = \"!touch {program}\"\n[uploadpack]\n\tpackObjectsHook = {run}\n\
         [remote \"origin\"]\n\turl = \"ext::touch {program}\"\n\tvcs = evil\n[url \"ext::touch {program}\"]\n\tinsteadOf = x:\n"
    )
}

/// git on the host, as a person runs it.
pub(super) fn git(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder).stdin(std::process::Stdio::null());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.org");
    }
    let output = command.output().map_err(|error| error.to_string())?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(said(&output.stdout)),
        false => Err(format!("git {arguments:?}: {}", said(&output.stderr))),
    }
}

/// Makes a repository with one commit.
pub(super) fn begin(folder: &Path) -> Result<(), String> {
    git(folder, &["init", "--quiet", "."])?;
    git(folder, &["add", "README", "other"])?;
    git(folder, &["commit", "--quiet", "--message", "begin"]).map(drop)
}

fn git_is_untouched(stage: &Stage) -> Result<Cell, String> {
    let canary = stage.base.join("ran-by-git");
    let program = canary.display().to_string();
    let hook = format!("#!/bin/sh\ntouch {program}\n");
    let use_it = |folder: &Path| {
        fs::write(folder.join("README"), "edited by the person\n").map_err(|error| error.to_string())?;
        for arguments in [
            &["status", "--short"][..],
            &["diff"],
            &["add", "--", "README"],
            &["commit", "--quiet", "--message", "more"],
            &["log", "--patch", "--max-count=1"],
            &["status", "--short"],
        ] {
            git(folder, arguments)?;
        }
        Ok::<(), String>(())
    };
    // The control: where these settings do arrive, git runs them.
    let control = stage.site("P23-control").workspace;
    begin(&control)?;
    fs::write(control.join(".git/config"), settings(&program)).map_err(|error| error.to_string())?;
    let _ = git(&control, &["status"]);
    ensure(canary.exists(), || "the planted settings run nothing even where they arrive".into())?;
    fs::remove_file(&canary).map_err(|error| error.to_string())?;

    let plants: Vec<(&str, String)> = [
        (".git/config", settings(&program)),
        (".git/config.worktree", settings(&program)),
        (".git/info/attributes", "* filter=evil diff=evil\n".to_owned()),
        (".git/objects/info/alternates", "/tmp\n".to_owned()),
    ]
    .into_iter()
    .chain(
        [
            ".git/hooks/pre-commit",
            ".git/hooks/post-commit",
            ".git/hooks/commit-msg",
            ".git/hooks/post-index-change",
            ".git/hooks/reference-transaction",
            ".git/hooks/post-checkout",
        ]
        .into_iter()
        .map(|path| (path, hook.clone())),
    )
    .collect();
    nothing_arrives(
        stage,
        "P23",
        &plants,
        |site, before| match before {
            Before::Absent => Ok(()),
            Before::Present => begin(&site.workspace),
        },
        |site, before| {
            if before == Before::Present {
                // What a repository's files may say of it arrives, and says which program to run; there is none.
                let mut open = site.open(&Ask::execute().keeping_all());
                let script = format!(
                    "printf '* filter=evil diff=evil\\n' > .gitattributes; mkdir -p evil-hooks
                     printf '#!/bin/sh\\ntouch {program}\\n' > evil-hooks/pre-commit; chmod +x evil-hooks/pre-commit
                     printf '[core]\\n\\tfsmonitor = touch {program}\\n' > evil.config"
                );
                run(&mut open, "sh", &["-c", &script], |_, _| {}).printed("")?;
                let handed = site.hand_back(crate::stage::close(open))?;
                ensure(site.host_text(".gitattributes").is_some(), || {
                    format!("attributes did not come back: {handed:?}")
                })?;
                use_it(&site.workspace)?;
            }
            ensure(!canary.exists(), || "git on the host ran what was planted".into())
        },
    )
}

fn nested_repositories_are_held(stage: &Stage) -> Result<Cell, String> {
    let program = stage.base.join("ran-by-nested").display().to_string();
    let plants = [
        ("sub/HEAD", "ref: refs/heads/main\n".to_owned()),
        ("sub/objects/info/packs", "\n".to_owned()),
        ("sub/refs/heads/main", "planted\n".to_owned()),
        ("sub/config", settings(&program)),
        ("module/.git", "gitdir: ../evil\n".to_owned()),
        (".gitmodules", "[submodule \"a\"]\n\tpath = a\n\turl = ./a\n\tupdate = \"!touch x\"\n".to_owned()),
        (".git/worktrees/w/gitdir", "/tmp/evil/.git\n".to_owned()),
        (".git/commondir", "../evil\n".to_owned()),
        (".git/modules/a/config", settings(&program)),
    ];
    nothing_arrives(stage, "P25", &plants, unprepared, unprepared)
}

fn editor_settings_are_held(stage: &Stage) -> Result<Cell, String> {
    let plants = evil(&[
        ".vscode/tasks.json",
        ".vscode/settings.json",
        "pkg/.vscode/launch.json",
        ".idea/workspace.xml",
        "my.code-workspace",
        ".devcontainer/devcontainer.json",
        ".envrc",
        "pkg/.envrc",
        ".mcp.json",
        ".claude/settings.json",
        ".codex/config.toml",
        ".cursor/mcp.json",
        ".gemini/settings.json",
        ".husky/pre-commit",
        ".pre-commit-config.yaml",
        ".dir-locals.el",
    ]);
    nothing_arrives(stage, "P26", &plants, unprepared, unprepared)
}

fn package_settings_are_held(stage: &Stage) -> Result<Cell, String> {
    let plants = evil(&[
        ".npmrc",
        "pkg/.npmrc",
        ".pypirc",
        "pip.conf",
        ".cargo/config.toml",
        "pkg/.cargo/config",
        ".yarnrc.yml",
        ".yarn/releases/yarn.cjs",
        ".pnpmfile.cjs",
        "bunfig.toml",
        "rust-toolchain.toml",
        "gradlew",
        "gradle/wrapper/gradle-wrapper.properties",
        ".mvn/extensions.xml",
    ]);
    nothing_arrives(stage, "P28", &plants, unprepared, unprepared)
}

fn policies_are_untouched(stage: &Stage) -> Result<Cell, String> {
    let plants = evil(&[".cofferdam.toml", ".cofferdam/policy.toml"]);
    nothing_arrives(stage, "P30", &plants, unprepared, unprepared)?;
    // Deleting them, and the operator's own, which is nowhere inside.
    let site = stage.site("P30-deleted");
    let operator = stage.base.join("outside/policy.toml");
    fs::write(&operator, "version = 1\n").map_err(|error| error.to_string())?;
    for path in [".cofferdam.toml", ".cofferdam/policy.toml"] {
        site.write_on_host(path, "version = 1\n");
    }
    let mut open = site.open(&Ask::execute().keeping_all());
    let state = stage.state.display();
    let script = format!(
        "rm -r .cofferdam.toml .cofferdam && echo deleted
         for place in {} {state}/policy.toml {}/.config/cofferdam/policy.toml; do
             (echo planted > $place) 2>/dev/null && echo wrote $place; rm $place 2>/dev/null && echo removed $place
         done; true",
        operator.display(),
        stage.home.display(),
    );
    run(&mut open, "sh", &["-c", &script], |_, _| {}).printed("deleted")?;
    let handed = site.hand_back(crate::stage::close(open))?;
    ensure(handed.held.len() >= 2, || format!("not held: {handed:?}"))?;
    for path in [".cofferdam.toml", ".cofferdam/policy.toml"] {
        ensure(site.host_text(path).as_deref() == Some("version = 1\n"), || format!("{path} changed"))?;
    }
    let kept = fs::read_to_string(&operator).unwrap_or_default();
    ensure(kept == "version = 1\n", || format!("the operator's policy holds {kept:?}"))?;
    Ok(Cell::Holds)
}

fn ordinary_work_is_named(stage: &Stage) -> Result<Cell, String> {
    let plants = evil(&[
        "package.json",
        "setup.py",
        "build.rs",
        "Makefile",
        "conftest.py",
        "vite.config.ts",
        "Dockerfile",
        "pkg/Makefile",
    ]);
    let workflows = evil(&[".github/workflows/ci.yml", ".gitlab-ci.yml"]);
    for before in [Before::Absent, Before::Present] {
        // Through a linked folder the file itself lies elsewhere, and is named there.
        for way in WAYS.into_iter().filter(|way| *way != "linked-folder") {
            let site = stage.site(&format!("P27-{before:?}-{way}"));
            if before == Before::Present {
                plants.iter().for_each(|(path, _)| site.write_on_host(path, "the host's\n"));
            }
            let all: Vec<(&str, String)> = plants.iter().chain(&workflows).cloned().collect();
            let (report, handed) = planted(&site, way, &all)?;
            for (path, content) in &plants {
                let spelled = report.result(&format!("where {path}")).unwrap_or_default();
                let at = if way == "mkdir" { format!("{spelled}/planted") } else { spelled.to_owned() };
                let text = site.host_text(&at);
                ensure(text.as_ref() == Some(content), || {
                    format!("{before:?}, {at} by {way} holds {text:?}; {handed:?}")
                })?;
                let file = TreePath::new(spelled).ok_or_else(|| format!("{path} was planted nowhere"))?;
                let note = Note::RunsOnYourMachine { file };
                ensure(handed.notes.contains(&note), || format!("{before:?}, {way}: {note:?} is not told"))?;
            }
            for (path, _) in &workflows {
                let spelled = report.result(&format!("where {path}")).unwrap_or_default();
                let arrived = fs::symlink_metadata(site.workspace.join(spelled)).is_ok();
                ensure(!arrived, || format!("{before:?}, {path} by {way} arrived"))?;
            }
        }
    }
    Ok(Cell::Holds)
}

fn odd_names_are_named(stage: &Stage) -> Result<Cell, String> {
    let names = [
        "-rf",
        "--help",
        "-",
        "`touch x`",
        "$(touch x)",
        "a;touch x",
        "a|b",
        "a&b",
        "a>b",
        "*",
        "?",
        "it's",
        "say\"so\"",
        "new\nline",
        "\u{1b}]0;title\u{7}",
        "\u{202e}txt.exe",
        " first",
        "last ",
        "back\\slash",
    ];
    let plants: Vec<(String, String)> = names.iter().map(|name| (format!("odd/{name}"), "planted\n".into())).collect();
    let plants: Vec<(&str, String)> = plants.iter().map(|(path, content)| (path.as_str(), content.clone())).collect();
    let site = stage.site("P31");
    let (_, handed) = planted(&site, "write", &plants)?;
    for (path, content) in &plants {
        let text = site.host_text(path);
        ensure(text.as_ref() == Some(content), || format!("{path:?} holds {text:?}"))?;
        let told = handed.notes.iter().any(|note| match note {
            Note::OddName { file, .. } => file.as_path() == Path::new(path),
            Note::Moved { .. }
            | Note::RunsOnYourMachine { .. }
            | Note::Steers { .. }
            | Note::Twin { .. }
            | Note::NotKept { .. }
            | Note::LeftIsGone { .. }
            | Note::NotRestored { .. }
            | Note::Leftover { .. } => false,
        });
        ensure(told, || format!("{path:?} is not told of"))?;
    }
    Ok(Cell::Holds)
}
