//! What hooks come to run over variables, lists, pipes and files that are not there yet: with the machine's git and shells.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{
    super::change::Reason,
    look::Looks,
    tests::{by_hook, git, held_names, leaves_trace, repository, set, why},
    words,
};

/// Whether the file is there when the hook is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    There,
    Absent,
}
use Before::{Absent, There};

/// Each hook holds the file, and a `git commit` would run it.
fn are_held(rows: &[(&str, &str, Before)]) {
    for (hook, path, before) in rows {
        let ground = repository();
        let canary = ground.folder.path().join("ran");
        let place = |text: &str| {
            ground.write(path, text);
            fs::set_permissions(ground.host(path), fs::Permissions::from_mode(0o755)).unwrap();
        };
        fs::create_dir_all(ground.host(path).parent().unwrap()).unwrap();
        if *before == There {
            place("old");
        }
        ground.write(".git/hooks/pre-commit", &format!("#!/usr/bin/env bash\n{hook}\n"));
        fs::set_permissions(ground.host(".git/hooks/pre-commit"), fs::Permissions::from_mode(0o755)).unwrap();
        let reason = why(&ground, path);
        assert!(matches!(reason, Some(Reason::Named { .. })), "{hook}: {reason:?}");
        place(&leaves_trace(path, &canary));
        git(ground.workspace.root(), &["add", path]);
        git(ground.workspace.root(), &["commit", "--allow-empty", "-m", "x"]);
        assert!(canary.exists(), "{hook}: git runs nothing of it, so the row shows nothing");
    }
}

#[test]
fn names_that_a_variable_or_a_command_completes_are_held() {
    are_held(&[
        ("exec \"scripts/hooks/$(basename \"$0\")\" \"$@\"", "scripts/hooks/pre-commit", There),
        ("h=${0##*/}; exec scripts/hooks/$h", "scripts/hooks/pre-commit", Absent),
        ("R=$(git rev-parse --show-toplevel)\nexec \"$R/scripts/`basename $0`\"", "scripts/pre-commit", There),
        ("exec \"$(dirname \"$0\")/../../scripts/$(basename $0).sh\"", "scripts/pre-commit.sh", There),
        ("for n in a b; do scripts/$n.sh; done", "scripts/a.sh", Absent),
        ("for n in a b; do sh $n.sh; done", "a.sh", There),
        ("for n in a b; do ./$n.sh; done", "a.sh", Absent),
        ("for f in $(ls tools); do tools/$f; done", "tools/a", There),
        ("D=scr; sh ${D}ipts/a.sh", "scripts/a.sh", There),
        ("D=\"my scripts\"\n\"$D/a.sh\"", "my scripts/a.sh", There),
        ("scripts/{a,b}.sh", "scripts/a.sh", Absent),
        ("for f in scripts/c*.sh; do sh $f; done", "scripts/c-new.sh", Absent),
        ("PY=python3\n$PY check.py", "check.py", There),
        ("\"$BASH\" lint.sh", "lint.sh", There),
        ("run() { sh \"$1\"; }\nrun a.sh", "a.sh", There),
        ("set -- lint.sh; \"./$1\"", "lint.sh", There),
        ("x=${X:-lint.sh}; sh $x", "lint.sh", There),
        ("sh ${X:-lint.sh}", "lint.sh", There),
        ("sh \"${X-./lint.sh}\"", "lint.sh", There),
        ("for d in tools scripts; do (cd $d; sh lint.sh); done", "tools/lint.sh", There),
        ("for d in */; do (cd \"$d\"; sh lint.sh); done", "tools/lint.sh", There),
        ("for d in t*; do [ -d $d ] && sh $d/lint.sh; done", "tools/lint.sh", There),
    ]);
}

#[test]
fn files_that_other_programs_hand_to_an_interpreter_are_held() {
    are_held(&[
        ("find scripts -name '*.sh' -exec sh {} \\;", "scripts/a.sh", There),
        ("find scripts -type f | xargs -n1 sh", "scripts/a.sh", There),
        ("find scripts -type f | while read f; do sh $f; done", "scripts/a.sh", There),
        ("cat lint.sh | sh", "lint.sh", There),
        ("cat lint.sh |& bash", "lint.sh", There),
        ("awk 'BEGIN{system(\"sh lint.sh\")}'", "lint.sh", There),
        ("awk 'BEGIN{print | \"./lint.sh\"}'", "lint.sh", There),
        ("eval \"$(cat lint.sh)\"", "lint.sh", There),
        ("x=`cat lint.sh`; eval \"$x\"", "lint.sh", There),
        ("bash <(cat lint.sh)", "lint.sh", There),
        ("exec 3<lint.sh; sh <&3", "lint.sh", There),
        ("git show :a.sh | sh", "a.sh", There),
        ("cp a.sh \"$GIT_DIR/x\" && sh \"$GIT_DIR/x\"", "a.sh", There),
        ("run-parts tools", "tools/a", There),
        ("python3 - <<'E'\nexec(open('x.py').read())\nE", "x.py", There),
    ]);
}

#[test]
fn files_that_may_come_and_settings_that_a_hook_makes_are_held() {
    are_held(&[
        ("[ -x scripts/local ] && scripts/local", "scripts/local", Absent),
        ("if [ -f ./local.sh ]; then . ./local.sh; fi", "local.sh", Absent),
        ("test -x lint.sh && sh lint.sh", "lint.sh", Absent),
        ("sh \\\n  lint.sh", "lint.sh", There),
        ("#\\\n./lint.sh", "lint.sh", There),
        ("ls # \\\n./lint.sh", "lint.sh", There),
        ("bash -euo pipefail lint.sh", "lint.sh", Absent),
        ("sh +x lint.sh", "lint.sh", Absent),
        ("cd scripts && cd hooks && cd deep && ./x.sh", "scripts/hooks/deep/x.sh", There),
        ("PATH=\"$PWD/bin:$PATH\"\nmine", "bin/mine", There),
        ("export PATH=$(git rev-parse --show-toplevel)/bin:$PATH\nmine", "bin/mine", Absent),
        ("PATH+=:bin; mine", "bin/mine", There),
        ("PYTHONPATH=lib python3 -c 'import mine'", "lib/mine.py", There),
        ("git -c core.hooksPath=ci commit --allow-empty -m y", "ci/pre-commit", Absent),
    ]);
}

#[test]
fn a_hook_that_asks_an_interpreter_for_a_name_without_an_end_holds_what_it_finds() {
    for hook in ["node tools/x", "cd tools && node x", "node -r ./tools/x -e 1", "node -e 'require(\"./tools/x\")'"] {
        let ground = repository();
        ground.write(".git/hooks/pre-commit", &format!("#!/bin/sh\n{hook}\n"));
        ground.write("tools/x.js", "old");
        assert_eq!(why(&ground, "tools/x.js"), Some(by_hook(".git/hooks/pre-commit")), "{hook}");
        assert_eq!(why(&ground, "tools/y.js"), None, "{hook}");
    }
}

#[test]
fn ordinary_hooks_hold_no_ordinary_work() {
    const FILES: &[&str] = &[
        "src/main.ts",
        "src/lib/a.ts",
        "src/a.c",
        "README.md",
        "package.json",
        "package-lock.json",
        "Cargo.toml",
        "tests/a.py",
        "setup.py",
        "Makefile",
        "main.go",
        "lib/index.js",
        "index.js",
        "docs/x.md",
        "bin/tool",
        "test/a",
        "Dockerfile",
        "a/b",
    ];
    for hook in [
        "npx lint-staged",
        "npm test -- --silent",
        "npx --no -- commitlint --edit \"$1\"",
        "cargo fmt --all -- --check && cargo clippy --all-targets -- -D warnings\ncargo test --workspace",
        "changed=$(git diff --cached --name-only --diff-filter=ACMR | sed 's| |\\\\ |g')\n[ -z \"$changed\" ] && exit 0\n\
         echo \"$changed\" | xargs ./node_modules/.bin/prettier --ignore-unknown --write\necho \"$changed\" | xargs git add",
        "changed=$(git diff --cached --name-only -- '*.ts' 'src/**/*.ts')\n[ -n \"$changed\" ] && npx eslint $changed",
        "npx prettier --check \"src/**/*.ts\" README.md && npx eslint src/*.ts lib/index.js --fix",
        "black src tests setup.py && python3 -m flake8 tests/*.py && uv run mypy src/main.ts",
        "find src -name '*.c' | xargs clang-format -i\nfind . -name '*.py' -print0 | xargs -0 -n1 flake8",
        "git diff --name-only HEAD | grep -q '^src/.*\\.ts$' && npm run build",
        "for f in $(git diff --cached --name-only | grep '\\.sh$'); do\n  shellcheck \"$f\" || exit 1\ndone",
        "export PATH=\"/usr/local/bin:$PATH\"\nexport PATH=\"$HOME/bin:$PATH\"\nmake lint test",
        "cd \"$(git rev-parse --show-toplevel)\" || exit 1\n./gradlew check && go vet ./... && docker compose run --rm app npm test",
        "git stash push -q --keep-index -- src/main.ts\nnpm test\ngit stash pop -q",
        "if grep -rn 'console.log' src/*.ts src/lib/*.ts; then exit 1; fi",
        // Git's own `commit-msg.sample`.
        "test \"\" = \"$(grep '^Signed-off-by: ' \"$1\" |\n\t sort | uniq -c | sed -e '/^[ \t]*1[ \t]/d')\" || {\n\
         \techo >&2 Duplicate Signed-off-by lines.\n\texit 1\n}",
        "for f in src/*.ts; do npx eslint \"$f\"; done\nfor d in src tests; do (cd $d && npm test); done",
        "awk '/TODO/{print FILENAME; exit 1}' src/*.ts README.md",
        // A manager of hooks that looks for its own program.
        "if test -n \"$MANAGER\"; then\n  \"$MANAGER\" \"$@\"\nelse\n  top=\"$(git rev-parse --show-toplevel)\"\n  \
         kind=$(uname | tr '[:upper:]' '[:lower:]')\n  \"$top/node_modules/manager-${kind}/bin/manager\" \"$@\"\nfi",
    ] {
        let ground = repository();
        FILES.iter().for_each(|path| ground.write(path, "old"));
        ground.write(".git/hooks/pre-commit", &format!("#!/bin/sh\n{hook}\n"));
        let upper = ground.upper();
        FILES.iter().chain(&["src/new.ts", "new.go"]).for_each(|path| _ = upper.write(path, "new"));
        assert_eq!(held_names(&ground, &upper), [""; 0], "{hook}");
    }
}

#[test]
fn a_hook_that_may_not_be_told_holds_everything() {
    let unread = |text: &[u8], said: &str| {
        let ground = repository();
        fs::write(ground.host(".git/hooks/pre-commit"), text).unwrap();
        (0..300).for_each(|number| fs::create_dir_all(ground.host(&format!("d{number}"))).unwrap());
        let reason = why(&ground, "a");
        assert!(
            matches!(&reason, Some(Reason::SettingsUnread { why, .. }) if why.contains(said)),
            "{said}: {reason:?}"
        );
    };
    let lines = |line: &dyn Fn(usize) -> String, count| (0..count).map(line).collect::<String>();
    unread(&[b"#!/bin/sh\n".as_slice(), &vec![b'#'; 1 << 20]].concat(), "larger");
    unread(lines(&|number| format!("run w{number}\n"), 30_000).as_bytes(), "too many words");
    unread(lines(&|number| format!("D=d{}; run *w{number}\n", number % 300), 3000).as_bytes(), "named");
    unread(lines(&|number| format!("D=d{}; ./x{number}\n", number % 300), 3000).as_bytes(), "named");
    // A NUL does not make a script a program of another kind.
    let ground = repository();
    ground.write(".git/hooks/pre-commit", "#!/bin/bash\n:\0\nscripts/x\n");
    assert!(why(&ground, "scripts/x").is_some());
    // Text of no use is passed over.
    ground.write(".git/hooks/pre-commit", &"\0".repeat(1 << 21));
    assert_eq!(why(&ground, "b"), None);
}

#[test]
fn all_that_is_read_of_one_repository_is_bounded() {
    let ground = repository();
    (0..5).for_each(|number| ground.write(&format!(".git/hooks/h{number}"), &"#\n".repeat(1 << 19)));
    assert!(matches!(why(&ground, "a"), Some(Reason::SettingsUnread { why, .. }) if why.contains("with it more than")));
}

#[test]
fn a_folder_is_read_once() {
    let ground = repository();
    let mut looks = Looks::new(ground.workspace.device(), ground.workspace.inode(), std::time::SystemTime::now());
    let first = looks.names(ground.workspace.root()).unwrap();
    ground.write("new", "x");
    assert_eq!(looks.names(ground.workspace.root()).unwrap(), first);
}

/// Texts of which a shape repeats, in which work that is not bounded by the length would show.
const SHAPES: &[&str] = &[
    "'a=",
    "\"a=",
    "(a=",
    ";a=",
    "a=",
    "$(",
    "`",
    "${",
    "<(",
    "((",
    "{",
    "{,",
    "{a,b}",
    "a|",
    "2>&1",
    "> ",
    "sh -m a.",
    "a.",
    "$a/",
    "$",
    "*",
    "a*/",
    "* /",
    "\\\n",
    "\\",
    "'",
    "\"",
    "; ",
    "git ",
    "cargo run -- ;",
    "xargs ",
    "-exec ",
    "env ",
    "export ",
    "cd a;",
    "-C a ",
    "../",
    "@",
    ":",
    "\u{1}",
    "\u{1}/",
    "[",
    "a[",
    "do ",
    "A=$(a ",
    "sh $x;",
    "find a|sh;",
];

#[test]
fn what_is_taken_of_a_text_grows_no_faster_than_the_text() {
    const LENGTH: usize = 1 << 13;
    for shape in SHAPES {
        let text = shape.repeat(LENGTH / shape.len());
        for text in [text.clone(), format!("python3 -m {text}"), format!("x {text}")] {
            let parts: usize = super::script::parts(text.as_bytes()).iter().map(|part| part.text.len()).sum();
            assert!(parts <= 16 * LENGTH, "{shape:?}: {parts} bytes of {LENGTH}");
            // A text with more to it is not kept at all.
            if let Some(words) = words::of_hook(text.as_bytes()) {
                assert!(words.bytes() <= 64 * LENGTH, "{shape:?}: {} bytes of {LENGTH}", words.bytes());
            }
        }
    }
}

#[test]
fn a_section_whose_name_is_repeated_for_each_setting_is_bounded() {
    let ground = repository();
    set(&ground, &format!("[x{}]\n{}", "y".repeat(400_000), "k=1\n".repeat(1000)));
    assert!(matches!(why(&ground, "a"), Some(Reason::SettingsUnread { why, .. }) if why.contains("too long")));
    let ground = repository();
    set(&ground, &format!("[alias \"{}\"]\n\tcommand = !scripts/x", "y".repeat(100_000)));
    let Some(Reason::Named { by }) = why(&ground, "scripts/x") else { panic!("it is named") };
    assert!(by.to_string().len() < 400, "people are shown a name that they can read");
}
