//! What the host's settings and links name is held: with the machine's git, on real repositories.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use cofferdam_contract::HandBack;

use super::super::{
    change::{HandedBack, Namer, Reason},
    playground::{Playground, Upper},
    tree_path::TreePath,
};
use super::{Far, MOST_THROUGH, NamedPath, Nature};

/// The machine's git, as a person runs it, with no settings but the repository's.
pub(super) fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("timeout");
    command
        .args(["20", "git"])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder.parent().unwrap().join("home"));
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.org");
    }
    // What it says does not matter: a command may fail for what its settings run.
    command.status().expect("git is here");
}

/// A workspace that is a repository.
pub(super) fn repository() -> Playground {
    let ground = Playground::new();
    git(ground.workspace.root(), &["init", "--quiet", "."]);
    ground
}

pub(super) fn set(ground: &Playground, text: &str) {
    let path = ground.host(".git/config");
    let before = fs::read_to_string(&path).unwrap_or_default();
    fs::write(path, format!("{before}{text}\n")).unwrap();
}

fn hand_back(ground: &Playground, upper: &Upper) -> HandedBack {
    ground.hand_back(&ground.session(), upper, &HandBack::Tree, &ground.stamp())
}

/// The paths of a call's changes that are held.
pub(super) fn held_names(ground: &Playground, upper: &Upper) -> Vec<String> {
    hand_back(ground, upper).held.iter().map(|held| held.change.path.to_string()).collect()
}

/// Why a new version of the file at `path` is held, if it is.
pub(super) fn why(ground: &Playground, path: &str) -> Option<Reason> {
    let upper = ground.upper();
    upper.write(path, "#!/bin/sh\n# an agent's\n");
    let back = hand_back(ground, &upper);
    back.held.into_iter().find(|held| held.change.path.to_string() == path).map(|held| held.reason)
}

pub(super) fn by_setting(setting: &str, file: &str) -> Reason {
    Reason::Named { by: Namer::Setting { setting: setting.into(), file: file.into() } }
}

pub(super) fn by_link(link: &str) -> Reason {
    Reason::Named { by: Namer::Link { link: link.into() } }
}

pub(super) fn by_hook(hook: &str) -> Reason {
    Reason::Named { by: Namer::Hook { hook: hook.into() } }
}

/// A program at `path` that makes the file `canary`.
pub(super) fn leaves_trace(path: &str, canary: &Path) -> String {
    match Path::new(path).extension().is_some_and(|extension| extension == "py") {
        true => format!("open({:?}, 'w')\n", canary.display().to_string()),
        false => format!("#!/bin/sh\ntouch {}\n", canary.display()),
    }
}

/// How git comes to run what a setting names.
#[derive(Clone, Copy)]
enum Shown {
    /// It runs it in these commands, one after another.
    By(&'static [&'static [&'static str]]),
    /// It would need a network, a key or a person.
    No,
}

#[test]
fn settings_behind_links_out_of_the_workspace_are_read() {
    let ground = repository();
    let outside = ground.folder.path().join("outside");
    fs::rename(ground.host(".git"), &outside).unwrap();
    symlink(&outside, ground.host(".git")).unwrap();
    fs::rename(outside.join("config"), ground.folder.path().join("settings")).unwrap();
    symlink("../settings", outside.join("config")).unwrap();
    set(&ground, "[core]\n\thooksPath = ci\n[include]\n\tpath = ../work/more.gitconfig");
    ground.write("more.gitconfig", "[alias]\n\tx = !scripts/x\n");
    symlink("../work/scripts/linked", outside.join("hooks/pre-push")).unwrap();
    for path in ["ci/pre-commit", "more.gitconfig", "scripts/x"] {
        assert!(matches!(why(&ground, path), Some(Reason::Named { by: Namer::Setting { .. } })), "{path}");
    }
    assert_eq!(why(&ground, "scripts/other"), None);
    symlink(ground.host("scripts/linked"), outside.join("hooks/post-merge")).unwrap();
    assert!(matches!(why(&ground, "scripts/linked"), Some(Reason::Named { by: Namer::Link { .. } })));
}

#[test]
fn what_git_runs_by_a_setting_is_held_and_the_setting_is_named() {
    use Shown::{By, No};
    const COMMIT: &[&[&str]] = &[&["add", "-A"], &["commit", "-m", "x"]];
    let rows: &[(&str, &str, &str, Shown)] = &[
        ("[core] hooksPath = tools/hooks", "tools/hooks/pre-commit", "core.hooksPath", By(COMMIT)),
        ("[CORE]\n\tHOOKSPATH = \"tools/hooks\" ; x", "tools/hooks/pre-commit", "CORE.HOOKSPATH", By(COMMIT)),
        ("[core] hooksPath = ./x/../tools", "tools/lib.sh", "core.hooksPath", No),
        ("[core] hooksPath = ./", "any/file", "core.hooksPath", No),
        ("[core] fsmonitor = scripts/fsm", "scripts/fsm", "core.fsmonitor", By(&[&["status"]])),
        ("[core] fsmonitor = \"sh scripts/fsm #\"", "scripts/fsm", "core.fsmonitor", By(&[&["status"]])),
        (
            "[core] sshCommand = scripts/ssh -4",
            "scripts/ssh",
            "core.sshCommand",
            By(&[&["fetch", "ssh://nowhere.invalid/a"]]),
        ),
        ("[core] editor = scripts/edit", "scripts/edit", "core.editor", By(&[&["add", "-A"], &["commit"]])),
        ("[sequence] editor = ./edit", "edit", "sequence.editor", No),
        ("[core] pager = scripts/pager", "scripts/pager", "core.pager", No),
        ("[pager] log = scripts/pager", "scripts/pager", "pager.log", No),
        ("[credential] helper = \"!./scripts/x\"", "scripts/x", "credential.helper", No),
        ("[credential \"https://a\"] helper = ./scripts/x", "scripts/x", "credential.https://a.helper", No),
        ("[filter \"f\"] clean = scripts/clean", "scripts/clean", "filter.f.clean", No),
        ("[filter \"f\"] smudge = sh scripts/clean %f", "scripts/clean", "filter.f.smudge", No),
        ("[filter \"f\"] process = 'scripts/my clean'", "scripts/my clean", "filter.f.process", No),
        ("[diff \"d\"] command = scripts/d", "scripts/d", "diff.d.command", No),
        ("[diff \"d\"] textconv = scripts/d", "scripts/d", "diff.d.textconv", No),
        ("[diff] external = scripts/d", "scripts/d", "diff.external", By(&[&["add", "-A"], &["diff", "--cached"]])),
        ("[merge \"m\"] driver = scripts/m %O %A", "scripts/m", "merge.m.driver", No),
        (
            "[gpg] program = scripts/gpg",
            "scripts/gpg",
            "gpg.program",
            By(&[&["add", "-A"], &["commit", "-S", "-m", "x"]]),
        ),
        ("[gpg \"ssh\"] program = scripts/gpg", "scripts/gpg", "gpg.ssh.program", No),
        ("[alias] x = !scripts/x", "scripts/x", "alias.x", By(&[&["x"]])),
        ("[alias] x = \"!f() { sh \\\"$GIT_PREFIX\\\"scripts/x; }; f\"", "scripts/x", "alias.x", By(&[&["x"]])),
        ("[alias] x = !\"$(git rev-parse --show-toplevel)\"/scripts/x", "scripts/x", "alias.x", By(&[&["x"]])),
        ("[alias] x = !cd tools && ../scripts/x", "scripts/x", "alias.x", No),
        ("[alias] x = !cd tools && ./x", "tools/x", "alias.x", No),
        ("[alias] x = !python3 -m tools.check", "tools/check.py", "alias.x", No),
        ("[alias] x = !sh x.sh", "x.sh", "alias.x", By(&[&["x"]])),
        ("[alias] x = rebase -x scripts/x main", "scripts/x", "alias.x", No),
        ("[alias] x = -c core.hooksPath=ci commit -m x", "ci/pre-commit", "alias.x", By(&[&["add", "-A"], &["x"]])),
        (
            "[alias] x = !git -c core.hooksPath=ci commit -m x",
            "ci/pre-commit",
            "alias.x",
            By(&[&["add", "-A"], &["x"]]),
        ),
        ("[alias] x = -c alias.y=!./y y", "y", "alias.x", By(&[&["x"]])),
        (
            "[alias] x = -c sequence.editor=true rebase -ix 'cd tools && ./run' --root",
            "tools/run",
            "alias.x",
            By(&[&["add", "-A"], &["commit", "-m", "x"], &["x"]]),
        ),
        ("[alias] x = submodule foreach 'cd tools && ./run'", "tools/run", "alias.x", No),
        ("[alias \"x\"] command = !scripts/x", "scripts/x", "alias.x.command", No),
        ("[filter \"x\"] clean = python3 -mtools.strip", "tools/strip.py", "filter.x.clean", No),
        ("[filter \"x\"] clean = python3 -Im tools.strip", "tools/strip.pyc", "filter.x.clean", No),
        ("[filter \"x\"] clean = python3 -uBmtools.strip", "tools/__init__.py", "filter.x.clean", No),
        (
            "[filter \"x\"] clean = python3 -m tools.strip",
            "tools.cpython-311-x86_64-linux-gnu.so",
            "filter.x.clean",
            No,
        ),
        ("[alias] x = !python3 -mstrip", "strip/__main__.py", "alias.x", By(&[&["x"]])),
        ("[alias] x = !cd -- tools && ./x", "tools/x", "alias.x", By(&[&["x"]])),
        ("[alias] x = !cd -P tools && ./x", "tools/x", "alias.x", By(&[&["x"]])),
        ("[alias] x = !python3 -u tools", "tools/__main__.py", "alias.x", By(&[&["x"]])),
        ("[alias] x = !python3 -W ignore tools", "tools/__main__.py", "alias.x", By(&[&["x"]])),
        ("[alias] x = !bash -o pipefail x.sh", "x.sh", "alias.x", By(&[&["x"]])),
        ("[alias] x = !env --chdir=tools ./run", "tools/run", "alias.x", By(&[&["x"]])),
        ("[alias] x = !env -Ctools ./run", "tools/run", "alias.x", By(&[&["x"]])),
        ("[alias] x = \"!d=tools; $d/run\"", "tools/run", "alias.x", By(&[&["x"]])),
        ("[alias] x = !./t?ols/run", "tools/run", "alias.x", By(&[&["x"]])),
        ("[alias] x = \"!cat tools/run | sh\"", "tools/run", "alias.x", By(&[&["x"]])),
        ("[alias] x = \"!sh -c \\\"$(cat tools/run)\\\"\"", "tools/run", "alias.x", By(&[&["x"]])),
        (
            "[branch \"main\"] remote = ext::./scripts/up %S\n[protocol \"ext\"] allow = always",
            "scripts/up",
            "branch.main.remote",
            By(&[&["symbolic-ref", "HEAD", "refs/heads/main"], &["fetch"]]),
        ),
        ("[core] hooksPath = ci/husky/_", "ci/husky/pre-commit", "core.hooksPath", No),
        ("[core] hooksPath = /proc/self/cwd/ci", "ci/pre-commit", "core.hooksPath", By(COMMIT)),
        ("[gitflow \"path\"] hooks = ci", "ci/pre-flow-feature-start", "gitflow.path.hooks", No),
        (
            "[alias] x = !git -C . -c sequence.editor=true rebase -ix 'cd tools && ./run' --root",
            "tools/run",
            "alias.x",
            By(&[&["add", "-A"], &["commit", "-m", "x"], &["x"]]),
        ),
        (
            "[alias] x = \"!GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.hooksPath GIT_CONFIG_VALUE_0=ci git commit -m x\"",
            "ci/pre-commit",
            "alias.x",
            By(&[&["add", "-A"], &["x"]]),
        ),
        ("[alias] x = \"!find tools -name run -exec sh {} ';'\"", "tools/run", "alias.x", By(&[&["x"]])),
        ("[alias] x = \"!ls tools/* | xargs -n1 sh\"", "tools/run", "alias.x", By(&[&["x"]])),
        ("[alias] x = \"!run-parts tools\"", "tools/run", "alias.x", By(&[&["x"]])),
        ("[alias] x = !node tools/x", "tools/x.js", "alias.x", No),
        ("[alias] x = clone --template=ci . ../copy", "ci/hooks/post-checkout", "alias.x", No),
        ("[alias] x = !git clone --template=ci . ../copy", "ci/hooks/post-checkout", "alias.x", No),
        ("[alias] x = clone --config=core.hooksPath=ci . ../copy", "ci/post-checkout", "alias.x", No),
        ("[core] attributesFile = ci/attributes", "ci/attributes", "core.attributesFile", No),
        ("[core] excludesFile = ci/ignore", "ci/ignore", "core.excludesFile", No),
        ("[init] templateDir = template", "template/hooks/post-checkout", "init.templateDir", No),
        ("[remote \"o\"] uploadpack = scripts/pack", "scripts/pack", "remote.o.uploadpack", No),
        ("[remote \"o\"] url = ext::scripts/t %S", "scripts/t", "remote.o.url", No),
        ("[url \"ext::scripts/t %S \"] insteadOf = t:", "scripts/t", "url.ext::scripts/t %S .insteadOf", No),
        ("[submodule \"s\"] update = !scripts/x", "scripts/x", "submodule.s.update", No),
        ("[uploadpack] packObjectsHook = scripts/x", "scripts/x", "uploadpack.packObjectsHook", No),
        ("[new \"one\"] thing = scripts/x", "scripts/x", "new.one.thing", No),
        ("[core] sshCommand = ~/../work/scripts/x", "scripts/x", "core.sshCommand", No),
        ("[core] sshCommand = $HOME/../work/scripts/x", "scripts/x", "core.sshCommand", No),
        ("[core] sshCommand = $GIT_DIR/../scripts/x", "scripts/x", "core.sshCommand", No),
        ("[core] hooksPath = %(prefix)/tools", "tools/pre-commit", "core.hooksPath", No),
        ("[core] hooksPath = :(optional)tools", "tools/pre-commit", "core.hooksPath", No),
        ("[core] hooksPath = tools\0junk", "tools/pre-commit", "core.hooksPath", No),
    ];
    for (settings, path, setting, shown) in rows {
        let ground = repository();
        fs::create_dir_all(ground.host("tools")).unwrap();
        set(&ground, settings);
        assert_eq!(why(&ground, path), Some(by_setting(setting, ".git/config")), "{settings}");
        assert_eq!(ground.read(path), None, "{settings}");
        // The control: were it not held, git would run it.
        if let By(commands) = shown {
            let canary = ground.folder.path().join("ran");
            ground.write(path, &leaves_trace(path, &canary));
            fs::set_permissions(ground.host(path), fs::Permissions::from_mode(0o755)).unwrap();
            commands.iter().for_each(|command| git(ground.workspace.root(), command));
            assert!(canary.exists(), "{settings}: git runs nothing of it, so the row shows nothing");
        }
    }
}

#[test]
fn absolute_paths_and_paths_through_other_names_of_the_workspace_are_found() {
    let ground = repository();
    let root = ground.workspace.root().to_owned();
    symlink(&root, ground.folder.path().join("other")).unwrap();
    let other = ground.folder.path().join("other");
    set(&ground, &format!("[core]\n\thooksPath = {}/hooks\n\teditor = {}/scripts/e", root.display(), other.display()));
    assert_eq!(why(&ground, "hooks/x"), Some(by_setting("core.hooksPath", ".git/config")));
    assert_eq!(why(&ground, "scripts/e"), Some(by_setting("core.editor", ".git/config")));
    assert_eq!(why(&ground, "Hooks/PRE-COMMIT"), Some(by_setting("core.hooksPath", ".git/config")), "in any case");
}

#[test]
fn ordinary_work_is_not_held_by_ordinary_settings() {
    let ground = repository();
    for folder in ["src", "test", "tests", "docs", "main", "build", "store", "origin", "libs/foo", "release", "support"]
    {
        ground.write(&format!("{folder}/old"), "x");
    }
    let root = ground.workspace.root().display();
    set(
        &ground,
        &format!(
            "[user]\n\tname = src main\n\tsigningKey = docs/key\n[remote \"origin\"]\n\turl = https://example.org/src/main\n\
             \tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n\
             [submodule \"libs/foo\"]\n\turl = ../foo\n\tactive = true\n[submodule]\n\tactive = .\n[safe]\n\tdirectory = {root}/src\n\
             [credential]\n\thelper = store\n[core]\n\teditor = vim\n\tpager = less -R\n[merge]\n\ttool = meld\n\
             [alias]\n\tst = status\n\tl = -c color.ui=false log src -- a\n\tri = rebase -i --autosquash main\n\t\
             co = checkout -b build\n\tup = submodule update --init libs/foo\n\tcl = clean -fdx docs/\n\tp = push origin main\n\td = log -- docs/\n\tt = !cargo test && make build\n\troot = !pwd -P .\n\
             [filter \"lfs\"]\n\tclean = git-lfs clean -- %f\n\tprocess = git-lfs filter-process\n\
             [init]\n\tdefaultBranch = trunk\n[gitflow \"prefix\"]\n\trelease = release/\n\tsupport = support/\n\
             [gitflow \"branch\"]\n\tmaster = trunk\n[core]\n\tbare = false\n\tfileMode = true\n\tcompression = 9\n\
             [alias]\n\tg = !git grep -n x README.md\n\tc = !cargo run -- src/c\n\te = !test -f src/e && echo src/e\n\
             \tm = !make docs/index.md\n[gui]\n\trecentrepo = {root}/tests\n[pull]\n\trebase = true\n"
        ),
    );
    let upper = ground.upper();
    ground.write(
        ".git/hooks/pre-commit",
        "#!/bin/sh\nif test -f src/h; then\n  clang-format -i src/main.c >/dev/null 2>&1\nfi\nmake docs/index.md\ngit add src/h\n",
    );
    ["src/h", "src/main.c", "docs/index.md", "src/c", "src/e"].iter().for_each(|path| ground.write(path, "old"));
    for path in [
        "src/a",
        "test/a",
        "tests/a",
        "docs/a",
        "main/a",
        "build/a",
        "store/a",
        "libs/foo/a",
        "a",
        "new/a",
        "status",
        "trunk",
        "false",
        "true",
        "9",
        "README.md",
        "src/c",
        "src/e",
        "src/h",
        "src/main.c",
        "docs/index.md",
        "release/a",
        "support/a",
    ] {
        upper.write(path, "x");
    }
    assert_eq!(hand_back(&ground, &upper).held, []);
}

#[test]
fn files_that_settings_include_are_obeyed_and_held_themselves() {
    let ground = repository();
    ground.write("shared.gitconfig", "[core]\n\thooksPath = tools/hooks\n[include]\n\tpath = deep/more.gitconfig\n");
    ground.write("deep/more.gitconfig", "[alias]\n\tx = !scripts/x\n[include]\n\tpath = ../shared.gitconfig\n");
    ground.write("branch.gitconfig", "[core]\n\teditor = scripts/edit\n");
    set(
        &ground,
        "[include]\n\tpath = ../shared.gitconfig\n\tpath = ../not-yet.gitconfig\n\tpath\n\
         [includeIf \"onbranch:never\"]\n\tpath = ../branch.gitconfig",
    );
    for (path, setting, file) in [
        ("shared.gitconfig", "include.path", ".git/config"),
        ("not-yet.gitconfig", "include.path", ".git/config"),
        ("branch.gitconfig", "includeIf.onbranch:never.path", ".git/config"),
        ("deep/more.gitconfig", "include.path", "shared.gitconfig"),
        ("tools/hooks/pre-push", "core.hooksPath", "shared.gitconfig"),
        ("scripts/edit", "core.editor", "branch.gitconfig"),
        ("scripts/x", "alias.x", "deep/more.gitconfig"),
    ] {
        assert_eq!(why(&ground, path), Some(by_setting(setting, file)), "{path}");
    }
}

#[test]
fn settings_of_the_person_count_in_every_repository() {
    let ground = Playground::new();
    fs::write(ground.folder.path().join("home/.gitconfig"), "[core]\n\thooksPath = my-hooks\n").unwrap();
    fs::create_dir_all(ground.folder.path().join("home/.config/git")).unwrap();
    fs::write(ground.folder.path().join("home/.config/git/config"), "[alias]\n\tx = !~/../work/scripts/x\n").unwrap();
    let file = |name: &str| ground.folder.path().canonicalize().unwrap().join("home").join(name).display().to_string();
    let held = why(&ground, "my-hooks/pre-commit");
    assert_eq!(held, Some(by_setting("core.hooksPath", &file(".gitconfig"))), "before there is a repository");
    assert_eq!(why(&ground, "scripts/x"), Some(by_setting("alias.x", &file(".config/git/config"))));
    fs::create_dir_all(ground.host("nested")).unwrap();
    git(&ground.host("nested"), &["init", "--quiet", "."]);
    assert_eq!(why(&ground, "nested/my-hooks/x"), Some(by_setting("core.hooksPath", &file(".gitconfig"))));
}

#[test]
fn a_link_that_is_in_the_way_of_a_named_path_is_not_made_a_folder() {
    let ground = repository();
    ground.write("real/x", "x");
    symlink("real", ground.host("tools")).unwrap();
    set(&ground, "[core]\n\thooksPath = tools");
    let upper = ground.upper();
    upper.opaque("tools").write("tools/pre-commit", "evil");
    let back = hand_back(&ground, &upper);
    assert_eq!(back.applied, []);
    let upper = ground.upper();
    upper.write("real/pre-commit", "evil");
    assert_eq!(hand_back(&ground, &upper).applied, []);
}

#[test]
fn what_would_take_a_named_path_with_it_is_held() {
    let ground = repository();
    ground.write("aux/hooks/pre-commit", "the person's");
    ground.write("aux/other", "x");
    ground.write("elsewhere/hooks/pre-commit", "evil");
    set(&ground, "[core]\n\thooksPath = aux/hooks");
    let by = || Namer::Setting { setting: "core.hooksPath".into(), file: ".git/config".into() };
    let reasons = |upper: &Upper| -> Vec<(String, Reason)> {
        let back = hand_back(&ground, upper);
        back.held.into_iter().map(|held| (held.change.path.to_string(), held.reason)).collect()
    };
    let path = "aux/hooks".to_owned();
    let gone = Reason::ContainsNamed { path: path.clone(), by: by() };
    assert_eq!(reasons(ground.upper().delete("aux")), [("aux".to_owned(), gone)]);
    let ground = &ground;
    ground.session().discard(&[TreePath::root()], &super::super::playground::patient(&|| false)).unwrap();
    assert_eq!(reasons(ground.upper().link("aux", "elsewhere")), [("aux".to_owned(), Reason::Named { by: by() })]);
    ground.session().discard(&[TreePath::root()], &super::super::playground::patient(&|| false)).unwrap();
    let leads = Reason::LeadsToNamed { path: "aux".into(), by: by() };
    assert_eq!(
        reasons(ground.upper().folder("elsewhere").link("elsewhere/to", "../aux")),
        [("elsewhere/to".to_owned(), leads)]
    );
    assert_eq!(ground.read("aux/hooks/pre-commit").as_deref(), Some("the person's"));
}

#[test]
fn settings_that_cannot_be_read_hold_everything_until_they_can() {
    let ground = repository();
    let config = ground.host(".git/config");
    let plain = fs::read_to_string(&config).unwrap();
    let unread = |file: &str, why: &str| Some(Reason::SettingsUnread { file: file.into(), why: why.into() });
    fs::write(&config, format!("{plain}[broken\n")).unwrap();
    let line = plain.lines().count() + 1;
    assert_eq!(why(&ground, "a"), unread(".git/config", &format!("git would refuse its line {line}")));
    fs::write(&config, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert_eq!(why(&ground, "b"), unread(".git/config", "it is larger than 1048576 bytes"));
    fs::write(&config, "[include]\n\tpath = ../folder\n").unwrap();
    fs::create_dir(ground.host("folder")).unwrap();
    assert_eq!(why(&ground, "c"), unread("folder", "it is not a regular file"));
    fs::write(&config, format!("[alias]\n\tx = !{}\n", (0..9000).map(|n| format!("w{n} ")).collect::<String>()))
        .unwrap();
    assert!(matches!(why(&ground, "d"), Some(Reason::SettingsUnread { .. })));
    // Each names a file: the bound is of settings, before any is looked for.
    ground.write("many.gitconfig", &format!("[include]\n{}", "path=a\n".repeat(100_000)));
    fs::write(&config, "[include]\n\tpath = ../many.gitconfig\n").unwrap();
    assert_eq!(why(&ground, "m"), unread("many.gitconfig", "more than 20000 settings are read with it"));
    ground.write("many.gitconfig", &format!("[branch \"a\"]\n{}", "merge=a\n".repeat(100_000)));
    assert_eq!(why(&ground, "n"), None);
    let words: String = (0..200).map(|number| format!("w{number} ")).collect();
    ground.write("many.gitconfig", &format!("[x]\n{}", format!("y={words}\n").repeat(1100)));
    assert!(matches!(why(&ground, "o"), Some(Reason::SettingsUnread { why, .. }) if why.contains("named")));
    let mut include = String::new();
    for number in 0..12 {
        ground.write(&format!("chain/{number}"), &format!("[include]\n\tpath = {}\n", number + 1));
        include = "[include]\n\tpath = ../chain/0\n".to_owned();
    }
    fs::write(&config, include).unwrap();
    assert!(matches!(why(&ground, "e"), Some(Reason::SettingsUnread { .. })));
    ground.write("broken/.git/config", "[broken");
    ground.write(".git/config.worktree", "[broken");
    fs::write(&config, "[include]\n\tpath = /dev/null\n\tpath = ../nowhere\n").unwrap();
    assert_eq!(why(&ground, "f"), None);
    assert_eq!(ground.read("f").as_deref(), Some("#!/bin/sh\n# an agent's\n"));
    assert!(matches!(why(&ground, "broken/f"), Some(Reason::SettingsUnread { .. })));
    set(&ground, "[extensions]\n\tworktreeConfig = true");
    assert!(matches!(why(&ground, "g"), Some(Reason::SettingsUnread { .. })), "now git reads that file too");
}

#[test]
fn what_the_host_says_counts_at_the_moment_of_the_hand_back_and_not_before() {
    let ground = repository();
    assert_eq!(why(&ground, "tools/one"), None);
    set(&ground, "[core]\n\thooksPath = tools");
    assert!(why(&ground, "tools/two").is_some());
    git(ground.workspace.root(), &["config", "core.hooksPath", "other"]);
    assert_eq!(why(&ground, "tools/three"), None);
    assert!(why(&ground, "other/x").is_some());
    // What a view says of the settings is held, and means nothing.
    let upper = ground.upper();
    upper.write(".git/config", "[core]\n").write("other/y", "x");
    assert_eq!(hand_back(&ground, &upper).applied, []);
}

#[test]
fn what_was_read_is_read_again_only_when_it_changed() {
    let ground = repository();
    ground.write("shared.gitconfig", "[core]\n\thooksPath = tools\n");
    set(&ground, "[include]\n\tpath = ../shared.gitconfig");
    // So late that what was read counts until it changes.
    let later = SystemTime::now() + Duration::from_secs(10);
    let is_named = |path: &str| {
        let path = TreePath::new(path).unwrap();
        let naming = ground.workspace.naming();
        let guard = naming.guard_at(&ground.workspace, &ground.protect, [&path].into_iter(), later);
        assert_eq!(guard.unread(), None);
        guard.contains(&path, Nature::Other).is_some()
    };
    assert!(is_named("tools/one"));
    let known = || {
        let state = ground.workspace.naming().state.lock().unwrap();
        let (looks, named) = &state.repositories[ground.workspace.root()];
        (looks.are_true(), named.len())
    };
    assert!(known().0);
    ground.write("plain", "x");
    assert!(!is_named("plain"));
    assert!(known().0, "an ordinary change of the workspace makes nothing untrue");
    ground.write("shared.gitconfig", "[core]\n\thooksPath = other\n");
    assert!(!known().0);
    assert!(is_named("other/one") && !is_named("tools/one"));
    ground.write("shared.gitconfig", "[core]\n\thooksPath = third\n");
    assert!(why(&ground, "third/one").is_some());
    assert!(!known().0, "what has just been written is read again");
}

#[test]
fn what_cannot_be_told_apart_from_nothing_holds_everything() {
    let ground = repository();
    fs::create_dir_all(ground.host(".husky")).unwrap();
    symlink("../scripts/check.sh", ground.host(".husky/pre-commit")).unwrap();
    let path = TreePath::new("scripts/check.sh").unwrap();
    let guard = || ground.workspace.naming().guard(&ground.workspace, &ground.protect, [&path].into_iter());
    assert_eq!(guard().unread(), None);
    // A thread with a table of its own, in which there is no room for one more file (EMFILE).
    let reason = std::thread::scope(|scope| {
        let alone = scope.spawn(|| {
            // SAFETY: The thread closes no file of the others' table, and opens none for them.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }.unwrap();
            let file = fs::File::open("/").unwrap();
            let all: Vec<fs::File> = std::iter::from_fn(|| file.try_clone().ok()).collect();
            let reason = guard().unread();
            drop(all);
            reason
        });
        alone.join().unwrap()
    });
    assert!(matches!(&reason, Some(Reason::SettingsUnread { why, .. }) if why.contains("os error 24")), "{reason:?}");
    assert_eq!(guard().unread(), None);
}

#[test]
fn every_repository_that_is_met_counts_and_one_that_git_may_obey_holds_what_it_hides() {
    let ground = repository();
    for number in 0..120 {
        ground.write(&format!("r{number:03}/.git/HEAD"), "ref: refs/heads/main\n");
        ground.write(&format!("r{number:03}/.git/config"), &format!("[core]\n\tpager = ../scripts/p{number}\n"));
    }
    for number in [0, 60, 119] {
        let reason = by_setting("core.pager", &format!("r{number:03}/.git/config"));
        assert_eq!(why(&ground, &format!("scripts/p{number}")), Some(reason));
    }
    // Git dies of the first in any case, of the second on one branch only, and obeys the third.
    ground.write("r000/.git/config", "[broken\n");
    assert_eq!(why(&ground, "a"), None);
    ground.write("r000/.git/more", "[broken\n");
    ground.write("r000/.git/config", "[include]\n\tpath = more\n");
    assert_eq!(why(&ground, "b"), None);
    ground.write("r000/.git/config", "[includeIf \"onbranch:x\"]\n\tpath = more\n");
    assert!(matches!(why(&ground, "c"), Some(Reason::SettingsUnread { file, .. }) if file == "r000/.git/more"));
    ground.write("r000/.git/config", &" ".repeat((1 << 20) + 1));
    assert!(matches!(why(&ground, "d"), Some(Reason::SettingsUnread { file, .. }) if file == "r000/.git/config"));
}

#[test]
fn nested_repositories_worktrees_and_submodules_are_read_too() {
    let ground = repository();
    let root = ground.workspace.root().to_owned();
    ground.write("README", "x");
    git(&root, &["add", "-A"]);
    git(&root, &["commit", "--quiet", "-m", "x"]);
    fs::create_dir_all(ground.host("vendor/lib")).unwrap();
    git(&ground.host("vendor/lib"), &["init", "--quiet", "."]);
    git(&ground.host("vendor/lib"), &["config", "core.hooksPath", "ci"]);
    git(&ground.host("vendor/lib"), &["config", "core.editor", "../../scripts/e"]);
    git(&root, &["worktree", "add", "--quiet", "tree"]);
    git(&root, &["config", "core.fsmonitor", "fsm"]);
    git(&root, &["config", "extensions.worktreeConfig", "true"]);
    git(&ground.host("tree"), &["config", "--worktree", "core.pager", "./page"]);
    for (name, text) in [
        ("HEAD", "ref: refs/heads/main\n"),
        ("config", "[core]\n\tworktree = ../../../../sub/module\n\thooksPath = hooks.d\n\teditor = ./e\n"),
    ] {
        ground.write(&format!(".git/modules/sub/module/{name}"), text);
    }
    for (path, setting) in [
        ("vendor/lib/ci/pre-commit", "core.hooksPath"),
        ("tree/fsm", "core.fsmonitor"),
        ("fsm", "core.fsmonitor"),
        ("tree/page", "core.pager"),
        ("sub/module/hooks.d/x", "core.hooksPath"),
        ("sub/module/e", "core.editor"),
    ] {
        let reason = why(&ground, path);
        let named = matches!(&reason, Some(Reason::Named { by: Namer::Setting { setting: by, .. } }) if by == setting);
        assert!(named, "{path}: {reason:?}");
    }
    assert!(why(&ground, "scripts/e").is_some(), "by a repository in which nothing changes");
    let upper = ground.upper();
    upper.write("vendor/lib/new", "x").write("scripts/e", "evil too");
    let back = hand_back(&ground, &upper);
    assert_eq!(back.held.len(), 1, "{:?}", back.held);
    ground.write("moved/.git", "gitdir: ../store\n");
    assert!(why(&ground, "store/config").is_some(), "by a file in a folder in which nothing changes");
    let upper = ground.upper();
    upper.write("moved/new", "x").write("store/hooks/pre-commit", "evil");
    assert_eq!(hand_back(&ground, &upper).held.len(), 2);
}

#[test]
fn a_repository_that_begins_above_the_workspace_is_read() {
    let ground = Playground::new();
    let above = ground.folder.path().to_owned();
    git(&above, &["init", "--quiet", "."]);
    git(&above, &["config", "core.hooksPath", "work/tools"]);
    git(&above, &["config", "alias.x", "!work/scripts/x"]);
    assert!(matches!(why(&ground, "tools/pre-commit"), Some(Reason::Named { .. })));
    assert!(matches!(why(&ground, "scripts/x"), Some(Reason::Named { .. })));
    assert_eq!(why(&ground, "other"), None);
}

#[test]
fn what_links_at_protected_names_lead_to_is_held() {
    let ground = Playground::new();
    for folder in ["scripts", "dev", "ci", "pkg/deep/.vscode", ".husky", ".vscode", ".github", "cargo", "a/b/c/.husky"]
    {
        fs::create_dir_all(ground.host(folder)).unwrap();
    }
    for (link, target) in [
        (".husky/pre-commit", "../scripts/pre.sh"),
        (".vscode/tasks.json", "../dev/tasks.json"),
        (".github/workflows", "../ci"),
        (".cargo", "cargo"),
        ("pkg/deep/.vscode/tasks.json", "../../../dev/deep.json"),
        ("Jenkinsfile", "dev/jenkins"),
        (".envrc", "one"),
        ("one", "two"),
        ("a/b/c/.husky/pre-push", "../push"),
        ("node_modules", "dev"),
    ] {
        symlink(target, ground.host(link)).unwrap();
    }
    for (path, link) in [
        ("scripts/pre.sh", ".husky/pre-commit"),
        ("dev/tasks.json", ".vscode/tasks.json"),
        ("ci/build.yml", ".github/workflows"),
        ("cargo/config.toml", ".cargo"),
        ("dev/deep.json", "pkg/deep/.vscode/tasks.json"),
        ("dev/jenkins", "Jenkinsfile"),
        ("one", ".envrc"),
        ("two", ".envrc"),
        ("a/b/c/push", "a/b/c/.husky/pre-push"),
    ] {
        assert_eq!(why(&ground, path), Some(by_link(link)), "{path}");
    }
    for path in ["scripts/other", "cargo/registry", "src/x", "a/b/c/other"] {
        assert_eq!(why(&ground, path), None, "{path}");
    }
}

#[test]
fn a_folder_at_the_end_of_a_link_at_a_protected_name_is_looked_through_under_that_name() {
    let ground = Playground::new();
    for (link, target) in [
        (".vscode", "ed"),
        ("ed/tasks.json", "../tasks/t.json"),
        (".github", "ci"),
        ("ci/workflows/w.yml", "../../shared/w.yml"),
        ("ci/notes", "../shared/notes"),
        (".claude/hooks", "../agentsrc/hooks"),
        ("agentsrc/hooks/h.sh", "../../scr/h.sh"),
        (".husky", "hk"),
        ("hk/pre-commit", "../real/pc"),
        ("hk/more", "../real/more"),
        ("real/more/deep", "../../real2"),
        ("hk/loop", "../hk"),
    ] {
        fs::create_dir_all(ground.host(link).parent().unwrap()).unwrap();
        symlink(target, ground.host(link)).unwrap();
    }
    for folder in ["tasks", "shared", "scr", "real", "real2"] {
        fs::create_dir_all(ground.host(folder)).unwrap();
    }
    for (path, link) in [
        ("tasks/t.json", "ed/tasks.json"),
        ("shared/w.yml", "ci/workflows/w.yml"),
        ("scr/h.sh", "agentsrc/hooks/h.sh"),
        ("real/pc", "hk/pre-commit"),
        ("real2/x", "real/more/deep"),
        ("ed/launch.json", ".vscode"),
    ] {
        assert_eq!(why(&ground, path), Some(by_link(link)), "{path}");
    }
    for path in ["tasks/other", "shared/notes", "ci/x", "real/other"] {
        assert_eq!(why(&ground, path), None, "{path}");
    }
}

#[test]
fn a_link_of_a_call_is_followed_over_those_of_the_host_of_what_is_held_and_of_the_call() {
    let to = |path: &str, pattern: &str| Reason::LeadsToProtected { path: path.into(), pattern: pattern.into() };
    let ground = Playground::new();
    fs::create_dir_all(ground.host(".git/hooks")).unwrap();
    fs::create_dir_all(ground.host("folder")).unwrap();
    for (link, target) in
        [("b", ".git/hooks"), ("d", ".github"), ("out", "/etc"), ("up", "folder/../.."), ("fine", "folder")]
    {
        symlink(target, ground.host(link)).unwrap();
    }
    let absolute = ground.host(".git").display().to_string();
    symlink(absolute, ground.host("absolute")).unwrap();
    let reason = |link: &str, target: &str| {
        let upper = ground.upper();
        upper.folder("new").link(link, target);
        let back = hand_back(&ground, &upper);
        back.held.into_iter().find(|held| held.change.path.to_string() == link).map(|held| held.reason)
    };
    let out = |target: &str| Some(Reason::LeadsOut { target: target.into() });
    assert_eq!(reason("a1", "b"), Some(to(".git/hooks", ".git")));
    assert_eq!(reason("a2", "b/pre-commit"), Some(to(".git/hooks/pre-commit", ".git")));
    assert_eq!(reason("new/a3", "../d/workflows"), Some(to(".github/workflows", ".github/workflows")));
    assert_eq!(reason("a4", "out/passwd"), out("out/passwd"));
    assert_eq!(reason("a5", "up"), out("up"));
    assert_eq!(reason("a6", "absolute/config"), Some(to(".git/config", ".git")));
    assert_eq!(reason("a7", "fine/x"), None);
    assert_eq!(reason("a8", "a8"), None, "a loop leads nowhere");
    // Held first, then led to.
    assert_eq!(reason("h", ".vscode"), Some(to(".vscode", ".vscode")));
    assert_eq!(reason("a9", "h"), Some(to(".vscode", ".vscode")));
    // Both in one call, in either order of names.
    let upper = ground.upper();
    upper.link("x", "y").link("y", ".idea/x").link("z", "x");
    let held = hand_back(&ground, &upper).held;
    assert_eq!(held.len(), 3, "{held:?}");
    // More links than are followed.
    let upper = ground.upper();
    (0..60).for_each(|number| _ = upper.link(&format!("n{number}"), &format!("n{}", number + 1)));
    upper.link("n60", ".git");
    let held = hand_back(&ground, &upper).held;
    assert!(held.len() >= 40, "those from which the kernel would get there: {}", held.len());
}

#[test]
fn folders_that_an_agent_makes_push_out_none_that_was_there_before() {
    let ground = Playground::new();
    fs::create_dir_all(ground.host("pkg/.husky")).unwrap();
    symlink("../../scripts/pre", ground.host("pkg/.husky/pre-commit")).unwrap();
    ground.settle();
    for number in 0..1500 {
        fs::create_dir(ground.host(&format!("a{number}"))).unwrap();
    }
    assert_eq!(why(&ground, "scripts/pre"), Some(by_link("pkg/.husky/pre-commit")));
}

#[test]
fn a_path_that_is_named_often_is_looked_at_as_fast_as_one_that_is_named_once() {
    let ground = Playground::new();
    let path = TreePath::new("src/a").unwrap();
    let mut guard = ground.workspace.naming().guard(&ground.workspace, &ground.protect, [&path].into_iter());
    let by = Namer::Link { link: "x".into() };
    let through = |number: usize| {
        let link = TreePath::new(format!("f{number}/.cargo")).unwrap();
        NamedPath { path: TreePath::new("src").unwrap(), far: Far::Through(link), by: by.clone() }
    };
    guard.add(&(0..MOST_THROUGH).map(through).collect::<Vec<_>>());
    assert!(guard.contains(&path, Nature::Other).is_none(), "a few are told apart");
    assert!(guard.contains(&TreePath::new("src/config.toml").unwrap(), Nature::Other).is_some());
    guard.add(&(0..5000).map(through).collect::<Vec<_>>());
    assert!(guard.contains(&path, Nature::Other).is_some(), "of more everything counts");
    assert_eq!(guard.named[&vec!["src".to_owned()]].through.len(), MOST_THROUGH);
}
