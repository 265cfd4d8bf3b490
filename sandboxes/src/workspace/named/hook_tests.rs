//! What hooks call, and what links in their folders lead to: with the machine's git, on real repositories.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use super::{
    super::change::Reason,
    tests::{by_hook, by_link, by_setting, git, leaves_trace, repository, set, why},
};

#[test]
fn links_in_folders_of_hooks_and_on_the_way_lead_to_what_is_held() {
    let ground = repository();
    for folder in ["scripts", "tools/hooks", "src"] {
        ground.write(&format!("{folder}/x"), "x");
    }
    fs::create_dir_all(ground.host(".git/hooks/pre-push.d")).unwrap();
    for (link, target) in [
        (".git/hooks/pre-commit", "../../scripts/check.sh"),
        (".git/hooks/pre-push.d/one", "../../../src/push"),
        (".git/info/attributes", "../../attributes"),
        ("scripts/check.sh", "../src/deep/check.sh"),
        ("tools/hooks/commit-msg", "../../src/message"),
        ("tools/loop", "loop"),
        ("tools/out", "/etc"),
    ] {
        fs::create_dir_all(ground.host(link).parent().unwrap()).unwrap();
        let _ = fs::remove_file(ground.host(link));
        symlink(target, ground.host(link)).unwrap();
    }
    set(&ground, "[core]\n\thooksPath = tools/hooks\n\teditor = tools/loop\n\tpager = tools/out/x");
    for (path, reason) in [
        ("src/deep/check.sh", by_link(".git/hooks/pre-commit")),
        ("scripts/check.sh", by_link(".git/hooks/pre-commit")),
        ("src/push", by_link(".git/hooks/pre-push.d/one")),
        ("attributes", by_link(".git/info/attributes")),
        ("src/message", by_link("tools/hooks/commit-msg")),
        ("tools/loop", by_setting("core.editor", ".git/config")),
        ("tools/out", by_setting("core.pager", ".git/config")),
    ] {
        assert_eq!(why(&ground, path), Some(reason), "{path}");
    }
    assert_eq!(why(&ground, "src/other"), None);
}

#[test]
fn files_that_a_hook_calls_by_a_path_are_held() {
    let ground = repository();
    for path in ["scripts/lint.sh", "scripts/data", "src/main.py", "ci/more", "tools/shell", "template/x", "push/part"]
    {
        ground.write(path, "x");
    }
    let hook = "#! ./tools/shell -e\n# see src/main.py\nset -e\ncargo fmt --check\n. \"$(git rev-parse --show-toplevel)/ci/more\"\n\
                exec scripts/lint.sh \"$@\" <scripts/absent\n";
    ground.write(".git/hooks/pre-commit", hook);
    ground.write(".git/hooks/pre-push", "\0scripts/data\n");
    ground.write(".git/hooks/other.sample", "scripts/data\n");
    set(&ground, "[init]\n\ttemplateDir = template");
    fs::create_dir_all(ground.host("template/hooks/pre-push.d")).unwrap();
    symlink("../../push/link", ground.host("template/hooks/pre-push")).unwrap();
    ground.write("template/hooks/pre-push.d/part", "sh push/part");
    for path in ["scripts/lint.sh", "ci/more", "tools/shell"] {
        assert_eq!(why(&ground, path), Some(by_hook(".git/hooks/pre-commit")), "{path}");
    }
    assert_eq!(why(&ground, "push/link"), Some(by_link("template/hooks/pre-push")));
    assert_eq!(why(&ground, "push/part"), Some(by_hook("template/hooks/pre-push.d/part")));
    assert_eq!(why(&ground, "scripts/absent"), Some(by_hook(".git/hooks/pre-commit")), "it may come");
    for path in ["scripts/data", "src/main.py", "scripts/other"] {
        assert_eq!(why(&ground, path), None, "{path}");
    }
}

#[test]
fn files_that_a_hook_calls_in_other_ways_are_held_and_git_would_run_them() {
    const STOCK: &str = "INSTALL_PYTHON=/usr/bin/python3\nARGS=(hook-impl --hook-type=pre-commit)\n\
                         if [ -x \"$INSTALL_PYTHON\" ]; then\n    exec \"$INSTALL_PYTHON\" -mpre_commit \"${ARGS[@]}\"\nfi";
    // What the hook says; the file; whether it is there before.
    let rows = [
        ("cd tools && ./lint.sh", "tools/lint.sh", true),
        ("cd tools\n./lint.sh", "tools/lint.sh", true),
        ("cd \"$(git rev-parse --show-toplevel)/tools\" || exit\nsh lint.sh", "tools/lint.sh", true),
        ("cd a\ncd b\n./lint.sh", "a/b/lint.sh", true),
        ("(cd scripts; sh b.sh)", "scripts/b.sh", true),
        ("ROOT=$(pwd)\nS=\"$ROOT/scripts\"; \"$S/lint.sh\"", "scripts/lint.sh", true),
        ("S=scripts\nsh $S/lint.sh", "scripts/lint.sh", true),
        ("S=lint.sh; sh \"$S\"", "lint.sh", true),
        ("for f in scripts/c*.sh; do sh $f; done", "scripts/check.sh", true),
        ("for f in c*.sh; do sh $f; done", "check.sh", true),
        ("sh lint.sh", "lint.sh", true),
        ("sh -e lint.sh", "lint.sh", true),
        (". ./lint.sh", "lint.sh", true),
        ("python3 check.py", "check.py", true),
        ("python3 tools", "tools/__main__.py", true),
        ("python3 -mcheck", "check.py", false),
        (STOCK, "pre_commit.py", false),
        (STOCK, "pre_commit/__main__.py", false),
    ];
    for (hook, path, is_there) in rows {
        let ground = repository();
        let canary = ground.folder.path().join("ran");
        let executable =
            |path: &str| fs::set_permissions(ground.host(path), fs::Permissions::from_mode(0o755)).unwrap();
        if is_there {
            ground.write(path, "old");
            executable(path);
        }
        ground.write(".git/hooks/pre-commit", &format!("#!/usr/bin/env bash\n{hook}\n"));
        executable(".git/hooks/pre-commit");
        assert_eq!(why(&ground, path), Some(by_hook(".git/hooks/pre-commit")), "{hook}");
        ground.write(path, &leaves_trace(path, &canary));
        executable(path);
        git(ground.workspace.root(), &["commit", "--allow-empty", "-m", "x"]);
        assert!(canary.exists(), "{hook}: git runs nothing of it, so the row shows nothing");
    }
}

#[test]
fn what_husky_starts_from_the_folder_above_its_hooks_is_held() {
    let ground = repository();
    set(&ground, "[core]\n\thooksPath = .husky/_");
    ground.write(
        ".husky/_/h",
        "#!/usr/bin/env sh\nn=$(basename \"$0\")\ns=$(dirname \"$(dirname \"$0\")\")/$n\nsh -e \"$s\" \"$@\"\n",
    );
    ground.write(".husky/_/pre-commit", "#!/usr/bin/env sh\n. \"$(dirname \"$0\")/h\"\n");
    ground.write(".husky/pre-commit", "./scripts/lint.sh\n");
    ground.write("scripts/lint.sh", "old");
    assert_eq!(why(&ground, "scripts/lint.sh"), Some(by_hook(".husky/pre-commit")));
    let canary = ground.folder.path().join("ran");
    ground.write("scripts/lint.sh", &format!("#!/bin/sh\ntouch {}\n", canary.display()));
    for path in ["scripts/lint.sh", ".husky/_/pre-commit"] {
        fs::set_permissions(ground.host(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    git(ground.workspace.root(), &["commit", "--allow-empty", "-m", "x"]);
    assert!(canary.exists());
}

#[test]
fn a_hook_with_a_line_of_too_many_words_holds_everything() {
    let ground = repository();
    let line: String = (0..9000).map(|number| format!("w{number} ")).collect();
    ground.write(".git/hooks/pre-commit", &format!("#!/bin/sh\nx {line}\n"));
    assert!(matches!(why(&ground, "a"), Some(Reason::SettingsUnread { why, .. }) if why.contains("too many words")));
}
