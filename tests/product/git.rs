//! Git inside: an agent commits, a person takes it, and nothing of the repository runs on the host.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value, json};

use crate::harness::{Dice, Person, Place, Tree};

/// Git as the person runs it in `folder`.
fn git_in(place: &Place, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = place.program("git");
    command.args(arguments).current_dir(folder).env("GIT_CONFIG_NOSYSTEM", "1");
    command.output().unwrap()
}

/// The same in the workspace. It must succeed; gives what it prints.
pub(crate) fn git(place: &Place, arguments: &[&str]) -> String {
    let output = git_in(place, &place.workspace(), arguments);
    assert!(output.status.success(), "git {arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A person with a name, a repository and one commit.
pub(crate) fn repository(person: std::sync::Arc<Person>) -> Place {
    let place = named(Place::of(person).and(&[("a.txt", "one\n"), ("src/b.txt", "two\n"), (".gitignore", "*.log\n")]));
    begin(&place, &[]);
    place
}

/// With a name for the person, where they have no other.
fn named(place: Place) -> Place {
    let folder = place.all().join("config/git");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config"), "[user]\n\tname = Per Son\n\temail = per@son.example\n").unwrap();
    place
}

fn begin(place: &Place, options: &[&str]) {
    git(place, &[&["init", "--quiet", "--initial-branch=main"], options].concat());
    git(place, &["add", "."]);
    git(place, &["commit", "--quiet", "--message=First"]);
}

/// A call that must succeed: its structure.
pub(crate) fn ask(place: &Place, tool: &str, arguments: Value) -> Value {
    let (status, reply) = place.call(tool, &arguments);
    assert_eq!(status, 0, "{tool} {arguments}: {reply:#}");
    reply["structured"].clone()
}

/// A call that must fail: its code and its words.
pub(crate) fn refused(place: &Place, tool: &str, arguments: Value) -> (String, String) {
    let (status, reply) = place.call(tool, &arguments);
    assert_ne!(status, 0, "{tool} {arguments}: {reply:#}");
    let word = |name: &str| reply[name].as_str().unwrap_or_default().to_owned();
    let code = reply["structured"]["error"]["code"].as_str().map(str::to_owned);
    (code.unwrap_or_else(|| word("code")), format!("{reply}"))
}

pub(crate) fn commit(place: &Place, message: &str) -> String {
    ask(place, "git_commit", json!({ "message": message }))["commit"].as_str().unwrap().to_owned()
}

pub(crate) fn write(place: &Place, path: &str, content: &str) {
    ask(place, "write_file", json!({ "path": path, "content": content }));
}

pub(crate) fn take(place: &Place, arguments: &[&str]) -> (i32, String) {
    let output = place.run(&[&["changes", "commit-take"], arguments].concat());
    (output.status.code().unwrap(), text(&output))
}

/// Every file below `.git` of the host but what a commit adds: objects and the agents' refs.
fn git_folder(place: &Place) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Tree::of(&place.workspace().join(".git"))
        .paths()
        .filter(|path| !path.starts_with("objects") && !path.starts_with("refs/agents"))
        .map(Path::to_path_buf)
        .collect();
    paths.sort();
    paths
}

#[test]
fn an_agent_commits_and_a_person_takes_it() {
    for person in Person::everyone() {
        let place = repository(person);
        let first = git(&place, &["rev-parse", "HEAD"]);
        let index = fs::read(place.workspace().join(".git/index")).unwrap();
        write(&place, "a.txt", "one\nmore\n");
        write(&place, "new/file.txt", "new\n");
        let status = ask(&place, "git_status", json!({}));
        assert_eq!(
            status["entries"],
            json!([{ "path": "a.txt", "worktree": "modified" }, { "path": "new/", "worktree": "untracked" }])
        );
        assert_eq!(
            (&status["branch"], &status["commit"], &status["ahead_of_base"]),
            (&json!("main"), &json!(first), &json!(0))
        );
        let diff = ask(&place, "git_diff", json!({}));
        assert!(diff["diff"].as_str().unwrap().contains("+more"), "{diff:#}");

        let made = ask(&place, "git_commit", json!({ "message": "Say more\n\nBecause it was asked." }));
        let commit_id = made["commit"].as_str().unwrap();
        assert_eq!(
            (&made["ref"], &made["total"], &made["insertions"]),
            (&json!("refs/agents/default"), &json!(2), &json!(2))
        );
        assert_eq!(made["not_committed"], json!([]));
        assert_eq!(git(&place, &["rev-parse", "refs/agents/default"]), commit_id);
        assert_eq!(git(&place, &["rev-parse", "HEAD"]), first, "the person's branch does not move");
        assert_eq!(fs::read(place.workspace().join(".git/index")).unwrap(), index, "nor does their index");
        let who = git(&place, &["var", "GIT_AUTHOR_IDENT"]);
        let who = who.split(" <").next().unwrap();
        let told = git(&place, &["log", "-1", "--format=%an|%cn|%B", "refs/agents/default"]);
        assert_eq!(told, format!("{who}|{who}|Say more\n\nBecause it was asked.\n\nAgent-Session: default"));
        git(&place, &["fsck", "--strict", "--no-dangling"]);

        // Each call is a server of its own: the session's history outlives it.
        let log = ask(&place, "git_log", json!({}));
        assert_eq!(log["commits"][0]["id"], json!(commit_id));
        assert_eq!(log["commits"][1]["id"], json!(first));
        let status = ask(&place, "git_status", json!({}));
        assert_eq!(
            (&status["clean"], &status["ahead_of_base"], &status["base"]),
            (&json!(true), &json!(1), &json!(first))
        );
        write(&place, "src/b.txt", "three\n");
        let second = commit(&place, "Count");
        assert_eq!(git(&place, &["rev-list", "--count", "refs/agents/default"]), "3");
        let listed = text(&place.run(&["changes", "list"]));
        assert!(
            listed.contains("nothing is held") && listed.contains("the agent's commits: refs/agents/default"),
            "{listed}"
        );
        let shown = ask(&place, "git_show", json!({ "revision": "HEAD~1", "path": "a.txt" }));
        assert_eq!(shown["content"], json!("one\nmore\n"));

        let before = place.tree();
        let (status, said) = take(&place, &["--dry-run"]);
        assert!(status == 0 && said.contains("would move the branch main") && said.contains("new/file.txt"), "{said}");
        assert_eq!(place.tree(), before);
        // One of them, then the rest.
        let (status, said) = take(&place, &[&commit_id[..10]]);
        assert_eq!(status, 0, "{said}");
        assert_eq!(git(&place, &["rev-parse", "HEAD"]), commit_id);
        assert_eq!(git(&place, &["status", "--porcelain"]), " M src/b.txt");
        let status = ask(&place, "git_status", json!({}));
        assert_eq!((&status["ahead_of_base"], &status["base"]), (&json!(1), &json!(commit_id)));
        let (status, said) = take(&place, &[]);
        assert_eq!(status, 0, "{said}");
        assert_eq!(git(&place, &["rev-parse", "HEAD"]), second);
        assert_eq!(git(&place, &["status", "--porcelain"]), "");
        assert_eq!(git(&place, &["rev-parse", "HEAD@{2}"]), first, "the branch's log has it");
        git(&place, &["fsck", "--strict"]);
        assert_eq!(take(&place, &[]).0, 0, "a second time there is nothing to do");
        let status = ask(&place, "git_status", json!({}));
        assert_eq!(
            (&status["clean"], &status["ahead_of_base"], &status["commit"]),
            (&json!(true), &json!(0), &json!(second))
        );
        assert!(!text(&place.run(&["changes", "list"])).contains("agent's commits"));
        let log = text(&place.run(&["audit", "verify"]));
        assert!(place.run(&["audit", "verify"]).status.success(), "{log}");
        let records = fs::read_to_string(place.state().join("audit/log.jsonl")).unwrap();
        assert!(records.contains("commit_ordered") && records.contains("commit_taken"));
    }
}

/// Every setting that names a program which git would run, and hooks of every kind, each of which leaves a mark beside the
/// workspace when it runs on the host. Inside, that place does not exist.
fn plant(place: &Place) {
    let mark = |name: &str| format!("touch '{}/outside/{name}' 2>/dev/null", place.all().display());
    let program = |name: &str| format!("sh -c \"{}; cat\"", mark(name));
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "sequence.editor",
        "core.askPass",
        "diff.external",
        "gpg.program",
        "gpg.ssh.program",
        "credential.helper",
        "uploadpack.packObjectsHook",
        "core.alternateRefsCommand",
        "core.gitProxy",
        "diff.x.textconv",
        "diff.x.command",
        "merge.x.driver",
        "interactive.diffFilter",
        "browser.x.cmd",
        "remote.origin.vcs",
        "remote.origin.uploadpack",
        "trailer.x.command",
        "man.x.cmd",
        "difftool.x.cmd",
    ] {
        git(place, &["config", key, &program(key)]);
    }
    for key in ["alias.status", "alias.log", "alias.index-pack", "alias.pack-objects", "alias.read-tree"] {
        git(place, &["config", key, &format!("!{}", mark(key))]);
    }
    for key in ["filter.x.clean", "filter.x.smudge"] {
        git(place, &["config", key, &program(key)]);
    }
    git(place, &["config", "url.ext::sh.insteadOf", "https://"]);
    git(place, &["config", "transfer.credentialsInUrl", "allow"]);
    for hook in [
        "pre-commit",
        "prepare-commit-msg",
        "commit-msg",
        "post-commit",
        "reference-transaction",
        "post-index-change",
        "post-checkout",
        "post-merge",
        "pre-auto-gc",
        "pre-receive",
        "update",
        "post-receive",
        "post-update",
        "fsmonitor-watchman",
    ] {
        hook_is(place, hook, &format!("{}\ntrue", mark(hook)));
    }
}

fn hook_is(place: &Place, name: &str, script: &str) {
    place.write(&format!(".git/hooks/{name}"), &format!("#!/bin/sh\n{script}\n"));
    let path = place.workspace().join(".git/hooks").join(name);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn nothing_that_the_repository_names_runs_on_the_host() {
    for person in Person::everyone() {
        let place = Place::of(person).and(&[("a.txt", "one\n"), (".gitattributes", "* filter=x diff=x merge=x\n")]);
        let place = named(place);
        begin(&place, &[]);
        plant(&place);
        let outside = place.outside();
        write(&place, "a.txt", "one\ntwo\n");
        ask(&place, "git_status", json!({}));
        ask(&place, "git_diff", json!({}));
        ask(&place, "git_diff", json!({ "revision": "HEAD" }));
        commit(&place, "Change a.txt");
        ask(&place, "git_log", json!({}));
        ask(&place, "git_show", json!({ "revision": "HEAD" }));
        write(&place, "b.txt", "b\n");
        commit(&place, "Add b.txt");
        place.run(&["changes", "list"]);
        place.run(&["changes", "diff"]);
        assert_eq!(take(&place, &["--dry-run"]).0, 0);
        let (status, said) = take(&place, &[]);
        assert_eq!(status, 0, "{said}");
        assert_eq!(place.outside().differences(&outside), Vec::<PathBuf>::new(), "something ran on the host");
        // The traps are real: git itself, run by the person, springs some.
        fs::write(place.workspace().join("a.txt"), "three\n").unwrap();
        git_in(&place, &place.workspace(), &["add", "a.txt"]);
        assert_ne!(place.outside(), outside);
    }
}

#[test]
fn repositories_that_an_agent_plants_are_only_touched_inside() {
    let place = repository(Person::ordinary());
    let outside = place.outside();
    let program = format!("touch '{}/outside/ran'; cat", place.all().display());
    let config = format!("[core]\n\tfsmonitor = {program}\n\tworktree = ..\n[filter \"x\"]\n\tclean = {program}\n");
    // A repository in a folder, a bare one, a pointer, and attributes and a submodule that use them.
    for (path, text) in [
        ("sub/.git/config", config.as_str()),
        ("sub/.git/HEAD", "ref: refs/heads/main\n"),
        ("sub/.git/objects/x", "x"),
        ("sub/.git/refs/heads/x", "x"),
        ("bare/HEAD", "ref: refs/heads/main\n"),
        ("bare/config", config.as_str()),
        ("bare/objects/x", "x"),
        ("bare/refs/x", "x"),
        ("pointer/.git", "gitdir: ../bare\n"),
        (".gitmodules", "[submodule \"s\"]\n\tpath = pointer\n\turl = ./bare\n\tupdate = !touch ran\n"),
        ("sub/.gitattributes", "* filter=x\n"),
    ] {
        let (status, reply) = place.call("write_file", &json!({ "path": path, "content": text }));
        assert!([0, 3].contains(&status), "{path}: {reply:#}");
    }
    write(&place, "a.txt", "changed\n");
    for (tool, arguments) in [
        ("git_status", json!({})),
        ("git_diff", json!({ "revision": "HEAD" })),
        ("git_log", json!({ "path": "sub" })),
        ("git_show", json!({ "revision": "HEAD" })),
    ] {
        place.call(tool, &arguments);
    }
    let made = ask(&place, "git_commit", json!({ "message": "Change", "paths": ["a.txt"] }));
    assert_eq!(made["total"], json!(1));
    let (status, said) = take(&place, &[]);
    assert_eq!(status, 0, "{said}");
    assert_eq!(place.outside(), outside);
    let there = |path: &str| place.workspace().join(path).exists();
    assert!(!there("sub/.git") && !there("pointer/.git"));
    assert!(!["bare/HEAD", "bare/objects", "bare/refs"].into_iter().all(there), "no bare repository comes about");
    // With the submodule's command in it, a commit does not come out at all.
    let (code, told) = refused(&place, "git_commit", json!({ "message": "Trap", "paths": [".gitmodules"] }));
    assert!(told.contains("gitmodulesUpdate"), "{code}: {told}");
}

#[test]
fn a_refusing_hook_is_told_and_what_a_hook_does_to_git_stays_inside() {
    let place = repository(Person::ordinary());
    let before = git_folder(&place);
    write(&place, "a.txt", "changed\n");
    hook_is(&place, "pre-commit", "echo 'lint: a.txt is not tidy' >&2; exit 1");
    let (code, words) = refused(&place, "git_commit", json!({ "message": "No" }));
    assert!(code == "commit_refused" && words.contains("lint: a.txt is not tidy"), "{code}: {words}");
    assert!(!place.workspace().join(".git/refs/agents").exists());

    let script = "git config core.fsmonitor evil; echo evil > .git/hooks/post-checkout; mkdir -p .git/objects/info .git/worktrees/x\n\
                  echo /elsewhere > .git/info/attributes; echo evil > .git/worktrees/x/gitdir; mkdir -p sub/.git; echo x > sub/.git/HEAD\n\
                  echo changed > src/b.txt";
    hook_is(&place, "pre-commit", script);
    let made = ask(&place, "git_commit", json!({ "message": "Yes", "paths": ["a.txt"] }));
    assert_eq!(made["total"], json!(1));
    let left = made["workspace_changes"]["not_kept"]["paths"].as_array().unwrap();
    assert!(left.contains(&json!(".git/config")) && left.contains(&json!(".git/hooks/post-checkout")), "{made:#}");
    assert!(left.contains(&json!("src/b.txt")), "{made:#}");
    let mut now = git_folder(&place);
    now.retain(|path| path != Path::new("hooks/pre-commit"));
    assert_eq!(now, before);
    assert!(!place.read(".git/config").contains("evil") && !place.workspace().join("sub").exists());
    // Nor does the session see it later.
    hook_is(&place, "pre-commit", "grep -q evil .git/config && exit 1; test ! -e .git/worktrees/x");
    write(&place, "a.txt", "again\n");
    commit(&place, "Again");
}

#[test]
fn objects_that_lie_do_not_come_out() {
    let place = repository(Person::ordinary());
    write(&place, "a.txt", "changed\n");
    // After the commit: the branch is moved to a commit of the hook's own making.
    let forged = |tree: &str| {
        format!(
            "blob=$(echo evil | git hash-object -w --stdin)\n{tree}\n\
             commit=$(git commit-tree -p HEAD -m forged $tree)\ngit update-ref refs/heads/main $commit"
        )
    };
    let raw = |name: &str| {
        let bytes = "$(echo $blob | sed 's/../\\\\x&/g')";
        format!("tree=$(printf \"100644 {name}\\0{bytes}\" | git hash-object -t tree -w --stdin --literally)")
    };
    let evil_module = "m=$(printf '[submodule \"x\"]\\n path = x\\n url = -u./evil\\n' | git hash-object -w --stdin)\n\
                       tree=$(printf '100644 blob %s\\t.gitmodules\\n' $m | git mktree)";
    let nested = format!(
        "{}\ntree=$(printf '040000 tree %s\\t.git\\n' $tree | git mktree --missing 2>/dev/null || true)",
        raw("config")
    );
    let rows = [
        ("a tree with .git in it", forged(&raw(".git"))),
        ("a tree with .. in it", forged(&raw(".."))),
        ("a .git folder", forged(&nested)),
        ("an evil submodule", forged(evil_module)),
        ("a missing object", forged("tree=$(printf '100644 blob 1111111111111111111111111111111111111111\\tx\\n' | git mktree --missing)")),
        ("rewritten history", "git update-ref refs/heads/main $(git commit-tree -m other HEAD^{tree})".to_owned()),
        ("another branch", "git symbolic-ref HEAD refs/heads/other".to_owned()),
        ("a branch that is no commit", "echo nonsense > .git/refs/heads/main".to_owned()),
        (
            "an object under another's name",
            "c=$(git rev-parse HEAD); o=$(echo $c | sed 's,..,&/,'); b=$(echo evil | git hash-object -w --stdin | sed 's,..,&/,')\n\
             chmod u+w .git/objects/$o; cp .git/objects/$b .git/objects/$o"
                .to_owned(),
        ),
    ];
    let before = git_folder(&place);
    for (what, script) in rows {
        hook_is(&place, "post-commit", &script);
        let (code, words) = refused(&place, "git_commit", json!({ "message": "Trap" }));
        println!("{what}: {code}: {words}");
        assert!(
            ["commit_failed", "commit_refused", "git_failed", "not_found"].contains(&code.as_str()),
            "{what}: {code} {words}"
        );
        assert!(!place.workspace().join(".git/refs/agents/default").exists(), "{what}: {words}");
    }
    let mut now = git_folder(&place);
    now.retain(|path| path != Path::new("hooks/post-commit"));
    assert_eq!(now, before);
    git(&place, &["fsck", "--strict"]);
    fs::remove_file(place.workspace().join(".git/hooks/post-commit")).unwrap();
    commit(&place, "Honest");
}

#[test]
fn where_git_cannot_be_used_the_reason_is_said() {
    let bare = |place: &Place| git(place, &["init", "--quiet", "--bare"]);
    let place = named(Place::with(&[("sub/a.txt", "a\n")]));
    let says = |place: &Place, words: &str| {
        let (code, told) = refused(place, "git_status", json!({}));
        assert!(told.contains(words), "{code}: {told}");
        assert_ne!(code, "", "{told}");
    };
    says(&place, "`git init`");
    bare(&place);
    says(&place, "bare git repository");

    // What is said to do is done, and works.
    let place = repository(Person::invoker());
    let at = |folder: &Path| text(&place.run(&["call", "git_status", "--workspace", folder.to_str().unwrap()]));
    let told = at(&place.workspace().join("src"));
    let root = place.workspace();
    let root = root.to_str().unwrap();
    assert!(told.contains(&format!("below the root of its git repository, {root}")) && told.contains("as workspace"));
    assert!(at(Path::new(root)).contains("On branch main"));

    let linked = place.all().join("linked");
    git(&place, &["worktree", "add", "--quiet", "-b", "other", linked.to_str().unwrap()]);
    let told = at(&linked);
    assert!(told.contains(&format!("a linked worktree of the repository {root}/.git")), "{told}");
    assert!(told.contains("name the main worktree as workspace"), "{told}");

    let outer = place.all().join("outer");
    git(&place, &["init", "--quiet", outer.to_str().unwrap()]);
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", root, "sub"];
    assert!(git_in(&place, &outer, &add).status.success());
    let told = at(&outer.join("sub"));
    assert!(told.contains("is a submodule") && told.contains("the root of the repository around it"), "{told}");
    assert!(at(&outer).contains("sub"), "{}", at(&outer));

    let separate = place.all().join("separate");
    fs::create_dir(&separate).unwrap();
    let init = ["init", "--quiet", "--separate-git-dir=../separate.git", "."];
    assert!(git_in(&place, &separate, &init).status.success());
    let told = at(&separate);
    assert!(told.contains("separate.git, outside of what") && told.contains("move that folder"), "{told}");
    fs::remove_file(separate.join(".git")).unwrap();
    fs::rename(place.all().join("separate.git"), separate.join(".git")).unwrap();
    assert!(at(&separate).contains("without commits yet"), "{}", at(&separate));

    let tables = place.all().join("tables");
    git(&place, &["clone", "--quiet", "--ref-format=reftable", root, tables.to_str().unwrap()]);
    let told = at(&tables);
    assert!(told.contains("refs as reftable") && told.contains("git clone --ref-format=files"), "{told}");
    let files = place.all().join("files");
    git(&place, &["clone", "--quiet", "--ref-format=files", tables.to_str().unwrap(), files.to_str().unwrap()]);
    assert!(at(&files).contains("On branch main"), "{}", at(&files));

    let clone = place.all().join("shared");
    git(&place, &["clone", "--quiet", "--shared", ".", clone.to_str().unwrap()]);
    assert!(at(&clone).contains("git repack -a -d"), "{}", at(&clone));
    assert!(git_in(&place, &clone, &["repack", "-q", "-a", "-d"]).status.success());
    fs::remove_file(clone.join(".git/objects/info/alternates")).unwrap();
    assert!(at(&clone).contains("On branch main"), "{}", at(&clone));

    let linked = place.all().join("link");
    fs::create_dir(&linked).unwrap();
    symlink(place.workspace().join(".git"), linked.join(".git")).unwrap();
    let output = place.run(&["call", "git_log", "--workspace", linked.to_str().unwrap()]);
    assert!(text(&output).contains("not a folder but a link"), "{}", text(&output));

    fs::write(place.workspace().join(".git/MERGE_HEAD"), format!("{}\n", git(&place, &["rev-parse", "HEAD"]))).unwrap();
    write(&place, "a.txt", "x\n");
    let (_, told) = refused(&place, "git_commit", json!({ "message": "No" }));
    assert!(told.contains("a merge is under way"), "{told}");
    ask(&place, "git_status", json!({}));

    // Only root can give a repository away. It is read, and no commit can be kept in it.
    if rustix::process::geteuid().is_root() {
        let place = repository(Person::ordinary());
        let mut chown = std::process::Command::new("chown");
        assert!(chown.args(["-R", "0:0"]).arg(place.workspace().join(".git")).status().unwrap().success());
        assert_eq!(ask(&place, "git_status", json!({}))["branch"], json!("main"));
        write(&place, "a.txt", "x\n");
        let (_, told) = refused(&place, "git_commit", json!({ "message": "No" }));
        assert!(told.contains("belongs to user 0"), "{told}");
    }
}

#[test]
fn new_files_of_others_are_named_in_a_commit_and_what_sets_up_the_machine_is_left_out() {
    let place = repository(Person::invoker());
    for path in ["mine.txt", ".mcp.json", ".cofferdam.toml"] {
        place.write(path, if path == ".cofferdam.toml" { "version = 1\n" } else { "{}\n" });
    }
    ask(&place, "write_file", json!({"path": "of-agent.txt", "content": "x\n"}));
    let (status, value) = place.call("git_commit", &json!({"message": "Add"}));
    assert_eq!(status, 0, "{value:#}");
    let files: Vec<&str> =
        value["structured"]["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(files, ["mine.txt", "of-agent.txt"]);
    let told = value["text"].as_str().unwrap();
    assert!(told.contains("did not write are in the commit too: `mine.txt`. With `paths` they stay out."), "{told}");
    assert!(told.contains("Left out: `.cofferdam.toml` and `.mcp.json`"), "{told}");
    let (status, value) = place.call("git_commit", &json!({"message": "Again"}));
    assert!(status == 1 && value["text"].as_str().unwrap().contains("Left out: `.cofferdam.toml`"), "{value:#}");
    // Named, they are committed as any other.
    let named = ask(&place, "git_commit", json!({"message": "Set up", "paths": [".mcp.json"]}));
    assert_eq!(named["files"][0]["path"], ".mcp.json");
    // An agent's own is held, and is in its commit: the session made it.
    let (status, _) = place.call("write_file", &json!({"path": ".cofferdam.toml", "content": "version = 1\n# more\n"}));
    assert_eq!(status, 3);
    let own = ask(&place, "git_commit", json!({"message": "Narrow"}));
    assert_eq!(own["files"][0]["path"], ".cofferdam.toml");
}

#[test]
fn nobody_commits_without_a_name_and_the_agent_does_where_the_operator_says_so() {
    let place = Place::of(Person::ordinary()).and(&[("a.txt", "one\n")]);
    git(&place, &["init", "--quiet", "--initial-branch=main"]);
    // Whoever runs the tests themselves may have a name.
    if !place.home().join(".gitconfig").exists() {
        let (code, told) = refused(&place, "git_commit", json!({ "message": "No" }));
        assert!(code == "no_identity" && told.contains("git config --global user.name"), "{code}: {told}");
    }
    place.policy("version = 1\n[git]\nauthor = \"agent\"\n");
    commit(&place, "By the agent");
    let told = git(&place, &["log", "-1", "--format=%an <%ae> %cn", "refs/agents/default"]);
    assert_eq!(told, "Cofferdam agent <agent@cofferdam.invalid> Cofferdam agent");
    // The repository's own settings come before anybody's.
    place.policy("version = 1\n");
    git(&place, &["config", "user.name", "Pro Ject"]);
    git(&place, &["config", "user.email", "pro@ject.example"]);
    write(&place, "a.txt", "two\n");
    // Settings that an agent writes are held for a person, seen inside, and nobody's word about who commits.
    let config = "[core]\n\trepositoryformatversion = 0\n[user]\n\tname = Some Body\n\temail = some@body.example\n";
    assert_eq!(place.call("write_file", &json!({ "path": ".git/config", "content": config })).0, 3);
    commit(&place, "By the project's person");
    assert_eq!(git(&place, &["log", "-1", "--format=%an <%ae>", "refs/agents/default"]), "Pro Ject <pro@ject.example>");
}

/// Commits in `place`, whose repository has this shape, takes it, and looks whether git is content.
fn goes_round(place: &Place, what: &str) {
    write(place, "a.txt", &format!("{what}\n"));
    write(place, "added.txt", "added\n");
    let made = commit(place, what);
    assert_eq!(git(place, &["rev-parse", "refs/agents/default"]), made, "{what}");
    assert_eq!(ask(place, "git_log", json!({ "limit": 1 }))["commits"][0]["id"], json!(made), "{what}");
    let (status, said) = take(place, &[]);
    assert_eq!(status, 0, "{what}: {said}");
    assert_eq!(git(place, &["rev-parse", "HEAD"]), made, "{what}");
    assert_eq!(git(place, &["status", "--porcelain"]), "", "{what}");
    assert_eq!(ask(place, "git_status", json!({}))["clean"], json!(true), "{what}");
}

#[test]
fn repositories_of_other_shapes_work() {
    let place = |what: &str| {
        println!("{what}");
        named(Place::with(&[("a.txt", "one\n")]))
    };
    let sha256 = place("sha256");
    begin(&sha256, &["--object-format=sha256"]);
    goes_round(&sha256, "sha256");

    let unborn = place("without commits");
    git(&unborn, &["init", "--quiet", "--initial-branch=main"]);
    assert_eq!(ask(&unborn, "git_log", json!({}))["commits"], json!([]));
    goes_round(&unborn, "without commits");

    let detached = place("detached");
    begin(&detached, &[]);
    git(&detached, &["checkout", "--quiet", "--detach"]);
    goes_round(&detached, "detached");

    let packed = place("packed refs");
    begin(&packed, &[]);
    git(&packed, &["switch", "--quiet", "-c", "feature/deep"]);
    git(&packed, &["pack-refs", "--all", "--prune"]);
    git(&packed, &["gc", "--quiet"]);
    goes_round(&packed, "packed refs");

    let origin = place("a clone's origin");
    begin(&origin, &[]);
    for round in 0..5 {
        fs::write(origin.workspace().join("a.txt"), format!("{round}\n")).unwrap();
        git(&origin, &["commit", "--quiet", "--all", "--message=Next"]);
    }
    git(&origin, &["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", origin.workspace().display());
    for options in [&["--depth=2"][..], &["--filter=blob:none"]] {
        let clone = place(options[0]);
        fs::remove_file(clone.workspace().join("a.txt")).unwrap();
        git(&clone, &[&["clone", "--quiet"], options, &[&url, "."]].concat());
        goes_round(&clone, options[0]);
    }

    let outer = place("submodule");
    begin(&outer, &[]);
    git(&outer, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &url, "sub"]);
    git(&outer, &["commit", "--quiet", "--message=Submodule"]);
    goes_round(&outer, "submodule");
}

#[test]
fn sessions_have_refs_of_their_own() {
    let place = repository(Person::invoker());
    write(&place, "a.txt", "one agent\n");
    for (session, reference) in [("default", "default"), ("a.b/c", "a%2Eb%2Fc")] {
        let output = place.run(&["call", "git_commit", "{\"message\":\"Mine\"}", "--session", session]);
        assert!(output.status.success(), "{}", text(&output));
        let message = git(&place, &["log", "-1", "--format=%B", &format!("refs/agents/{reference}")]);
        assert_eq!(message, format!("Mine\n\nAgent-Session: {session}"));
    }
}

#[test]
fn files_of_a_filter_that_is_not_inside_are_not_committed_raw() {
    let place = repository(Person::ordinary());
    write(&place, "data.bin", "large\n");
    let (status, reply) =
        place.call("write_file", &json!({ "path": ".gitattributes", "content": "*.bin filter=lfs\n" }));
    assert!([0, 3].contains(&status), "{reply:#}");
    let (code, told) = refused(&place, "git_commit", json!({ "message": "No" }));
    assert!(code == "filter_missing" && told.contains("`data.bin` passes through the filter `lfs`"), "{code}: {told}");
    ask(&place, "git_commit", json!({ "message": "Yes", "paths": [".gitattributes"] }));
    // One that the repository brings along runs, inside.
    git(&place, &["config", "filter.lfs.clean", "echo pointer"]);
    ask(&place, "git_commit", json!({ "message": "Yes" }));
    assert_eq!(git(&place, &["cat-file", "blob", "refs/agents/default:data.bin"]), "pointer");
    // Whether the file is what the commit has is for the person's git, which knows the filter.
    let applied = place.run(&["changes", "apply", "--all"]);
    assert!(applied.status.success(), "{}", text(&applied));
    let before = place.tree();
    let (status, said) = take(&place, &[]);
    assert!(status == 3 && said.contains("data.bin passes through the filter `lfs`"), "{status}: {said}");
    assert!(said.contains("git reset"), "{said}");
    assert_eq!(place.tree(), before);
    git(&place, &["reset", "--quiet", "refs/agents/default"]);
    assert_eq!(git(&place, &["status", "--porcelain"]), "");
}

#[test]
fn arguments_cannot_become_options() {
    let place = repository(Person::ordinary());
    write(&place, "-x", "dash\n");
    write(&place, ":(glob)*", "magic\n");
    for (tool, arguments) in [
        ("git_show", json!({ "revision": "--output=stolen" })),
        ("git_show", json!({ "revision": "HEAD", "path": "../outside" })),
        ("git_diff", json!({ "revision": "-S" })),
        ("git_diff", json!({ "revision": "HEAD..--output=stolen" })),
        ("git_diff", json!({ "path": "/etc/passwd" })),
        ("git_show", json!({ "revision": ":/First" })),
    ] {
        let (status, reply) = place.call(tool, &arguments);
        assert_eq!(status, 2, "{tool} {arguments}: {reply:#}");
    }
    let made = ask(&place, "git_commit", json!({ "message": "--amend", "paths": ["-x", ":(glob)*"] }));
    let mut paths: Vec<&str> =
        made["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["-x", ":(glob)*"], "literal names: {made:#}");
    assert_eq!(git(&place, &["log", "-1", "--format=%s", "refs/agents/default"]), "--amend");
    assert!(!place.workspace().join("stolen").exists());
    let (code, _) = refused(&place, "git_commit", json!({ "message": "Nothing", "paths": ["a.txt"] }));
    assert_eq!(code, "nothing_to_commit");
}

#[test]
fn any_small_repository_comes_back_as_the_same_tree() {
    for seed in 0..6 {
        let mut dice = Dice::new(seed);
        let place = named(Place::new());
        let name = |dice: &mut Dice| {
            let folder = *dice.pick(&["", "a/", "a/b/", "ä/", "x y/"]);
            format!("{folder}{}", dice.pick(&["f", "g.txt", "h i", "-j", "é", "K", "[l]"]))
        };
        for _ in 0..dice.below(12) {
            let path = name(&mut dice);
            place.write(&path, &format!("{}\n", dice.bits()));
        }
        place.write("always", "1\n");
        begin(&place, &[]);
        for round in 0..3 {
            for _ in 0..=dice.below(6) {
                let path = name(&mut dice);
                let there = place.workspace().join(&path).exists();
                if there && dice.once_in(3) {
                    ask(&place, "delete_file", json!({ "path": path }));
                } else {
                    write(&place, &path, &format!("{}\n", dice.bits()));
                }
            }
            write(&place, "always", &format!("{round} {}\n", dice.bits()));
            commit(&place, "Next");
            // The same tree as git makes of the working tree itself, in an index of its own.
            let mut command = place.program("git");
            let index = place.all().join("index");
            command.env("GIT_INDEX_FILE", &index).args(["add", "--all"]);
            assert!(command.status().unwrap().success());
            let mut command = place.program("git");
            let output = command.env("GIT_INDEX_FILE", &index).arg("write-tree").output().unwrap();
            let tree = String::from_utf8(output.stdout).unwrap();
            assert_eq!(git(&place, &["rev-parse", "refs/agents/default^{tree}"]), tree.trim(), "seed {seed}");
            if dice.once_in(2) {
                let (status, said) = take(&place, &[]);
                assert_eq!(status, 0, "seed {seed}: {said}");
                assert_eq!(git(&place, &["status", "--porcelain"]), "", "seed {seed}");
            }
        }
        git(&place, &["fsck", "--strict"]);
    }
}

#[test]
fn a_tracked_file_that_is_masked_inside_is_no_change_and_is_never_committed_masked() {
    for person in Person::everyone() {
        let place = named(Place::of(person).and(&[("a.txt", "one\n"), (".env", "API_KEY=q8R7vLk2Zx91tY\n")]));
        begin(&place, &[]);
        let status = ask(&place, "git_status", json!({}));
        assert_eq!(status["total"], json!(0), "{status}");
        assert_eq!(ask(&place, "git_diff", json!({}))["total"], json!(0));
        write(&place, "a.txt", "two\n");
        let made = commit(&place, "Two");
        assert_eq!(git(&place, &["show", &format!("{made}:.env")]), "API_KEY=q8R7vLk2Zx91tY");
        let (code, words) = refused(&place, "git_commit", json!({ "message": "x", "paths": [".env"] }));
        assert_eq!(code, "nothing_to_commit", "{words}");
        let (status, taken) = take(&place, &[]);
        assert_eq!((status, git(&place, &["status", "--porcelain"]).as_str()), (0, ""), "{taken}");
        // A file that is masked since the commit: what a sandbox would see of it is not compared.
        write(&place, "a.txt", "two and a half\n");
        let masked_later = commit(&place, "Two and a half");
        place.policy("version = 1\n[secrets]\npaths = [\"a.txt\"]\n");
        let (status, taken) = take(&place, &[]);
        assert_eq!((status, git(&place, &["rev-parse", "HEAD"])), (0, masked_later.clone()), "{taken}");
        assert_eq!(git(&place, &["status", "--porcelain"]), "");
        place.policy("version = 1\n");
        // The repository's own hook does not know what is masked.
        let hook = place.workspace().join(".git/hooks/pre-commit");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::write(&hook, "#!/bin/sh\ngit add .env\n").unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        write(&place, "a.txt", "three\n");
        let (_, words) = refused(&place, "git_commit", json!({ "message": "Three" }));
        assert!(words.contains("masked"), "{words}");
        assert_eq!(git(&place, &["rev-parse", "refs/agents/default"]), masked_later);
    }
}
