//! Commits that come out of an upper layer, honest ones and others. Everything is real: git, objects, the host's `.git`.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{
    CommitError, Committed, HostGit, Purpose, RepositoryError, TakeError,
    host::{Head, HostRepository},
};
use crate::{
    root::Host,
    workspace::{
        Reason, Session,
        playground::{Playground, Upper, patient},
    },
};

/// A workspace with a repository and one commit, and what a sandbox wrote over it.
struct Bench {
    ground: Playground,
    upper: Upper,
    git: HostGit,
    first: String,
}

impl Bench {
    fn new() -> Self {
        let ground = Playground::new();
        ground.write("a.txt", "one\n");
        let upper = ground.upper();
        let host = Host { home: "/nonexistent".into(), state: "/nonexistent".into(), environment: BTreeMap::new() };
        let git = HostGit::find(&host, ground.workspace.root()).expect("tests of git need git");
        let mut bench = Self { ground, upper, git, first: String::new() };
        bench.host(&["init", "--quiet", "--initial-branch=main"]);
        bench.host(&["add", "."]);
        bench.host(&["commit", "--quiet", "--message=First"]);
        bench.first = bench.host(&["rev-parse", "HEAD"]);
        bench
    }

    fn run(&self, variables: &[(&str, PathBuf)], arguments: &[&str], input: &[u8]) -> Result<String, String> {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=N", "-c", "user.email=e@x"]).args(arguments);
        command.current_dir(self.ground.workspace.root()).envs(variables.iter().map(|(name, value)| (name, value)));
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Git as the person runs it.
    fn host(&self, arguments: &[&str]) -> String {
        self.run(&[], arguments, b"").unwrap_or_else(|error| panic!("git {arguments:?}: {error}"))
    }

    /// Git as it writes objects in the sandbox.
    fn inside(&self, arguments: &[&str], input: &[u8]) -> String {
        let objects = self.upper.path(".git/objects");
        fs::create_dir_all(&objects).unwrap();
        let variables =
            [("GIT_OBJECT_DIRECTORY", objects), ("GIT_ALTERNATE_OBJECT_DIRECTORIES", self.ground.host(".git/objects"))];
        self.run(&variables, arguments, input).unwrap_or_else(|error| panic!("git {arguments:?}: {error}"))
    }

    fn blob(&self, content: &str) -> String {
        self.inside(&["hash-object", "-w", "--stdin"], content.as_bytes())
    }

    /// A tree of one entry, whatever is in it.
    fn tree(&self, mode: &str, name: &str, object: &str) -> String {
        let bytes = (0..object.len()).step_by(2).map(|at| u8::from_str_radix(&object[at..at + 2], 16).unwrap());
        let mut tree = format!("{mode} {name}\0").into_bytes();
        tree.extend(bytes);
        self.inside(&["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], &tree)
    }

    fn commit(&self, parent: &str, tree: &str) -> String {
        let who = "N <e@x> 1700000000 +0000";
        let text = format!("tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nMessage\n");
        self.inside(&["hash-object", "-t", "commit", "-w", "--stdin", "--literally"], text.as_bytes())
    }

    /// Lets the sandbox's branch be at `commit`.
    fn branch(&self, commit: &str) {
        self.upper.write(".git/refs/heads/main", &format!("{commit}\n")).write(".git/index", "an index");
    }

    fn session(&self) -> Session {
        self.ground.session()
    }

    fn take(&self) -> Result<Option<Committed>, CommitError> {
        self.session().take_from(
            (&self.upper.changeset(), &crate::workspace::Masks::none(&crate::workspace::playground::listed())),
            "call",
            &self.git,
            &patient(&|| false),
        )
    }

    fn reference(&self) -> Option<String> {
        self.ground.read(".git/refs/agents/default").map(|text| text.trim().to_owned())
    }

    fn packs(&self) -> usize {
        fs::read_dir(self.ground.host(".git/objects/pack")).unwrap().count()
    }
}

#[test]
fn an_honest_commit_comes_out_as_a_pack_and_a_ref_and_is_held_for_the_session() {
    let bench = Bench::new();
    let tree = bench.tree("100644", "b.txt", &bench.blob("two\n"));
    let commit = bench.commit(&bench.first, &tree);
    bench.branch(&commit);
    bench.upper.write(".git/config", "[core]\n\tfsmonitor = evil\n").write(".git/COMMIT_EDITMSG", "x");
    bench.upper.write(".git/objects/info/alternates", "/elsewhere\n").write(".git/logs/HEAD", "a log");
    let committed = bench.take().unwrap().unwrap();
    assert_eq!((committed.commit.as_str(), committed.reference.as_str()), (commit.as_str(), "refs/agents/default"));
    assert_eq!(bench.reference().as_deref(), Some(commit.as_str()));
    assert_eq!(bench.host(&["show", "refs/agents/default:b.txt"]), "two");
    bench.host(&["fsck", "--strict"]);
    assert_eq!(bench.host(&["rev-parse", "HEAD"]), bench.first);
    assert!(!bench.ground.read(".git/config").unwrap().contains("evil"));
    let session = bench.session();
    assert_eq!(session.held().unwrap(), [], "a person is not asked about it");
    let stack = session.ledger().load().unwrap();
    let kept: Vec<String> = stack.held.keys().map(ToString::to_string).collect();
    assert_eq!(kept, [".git/index", ".git/logs/HEAD", ".git/refs/heads/main"]);
    assert!(stack.held.values().all(|held| held.reason == Reason::RepositoryState));
    assert!(session.own_commits().unwrap().unwrap().contains("refs/agents/default"));
    assert_eq!(bench.take().unwrap(), None, "there is nothing new in it");
}

#[test]
fn what_git_finds_wrong_comes_out_with_nothing() {
    type Make = fn(&Bench) -> String;
    let rows: [(&str, &str, Make); 13] = [
        ("a .git in a tree", "hasDotgit", |bench| {
            bench.commit(&bench.first, &bench.tree("100644", ".git", &bench.blob("x")))
        }),
        ("a .GIT in a tree", "hasDotgit", |bench| {
            bench.commit(&bench.first, &bench.tree("100644", ".GIT", &bench.blob("x")))
        }),
        ("a .. in a tree", "hasDotdot", |bench| {
            bench.commit(&bench.first, &bench.tree("100644", "..", &bench.blob("x")))
        }),
        ("a slash in a name", "fullPathname", |bench| {
            bench.commit(&bench.first, &bench.tree("100644", "a/b", &bench.blob("x")))
        }),
        ("a submodule whose address is an option", "gitmodulesUrl", |bench| {
            let text = "[submodule \"x\"]\n\tpath = x\n\turl = -u./evil\n";
            bench.commit(&bench.first, &bench.tree("100644", ".gitmodules", &bench.blob(text)))
        }),
        ("a submodule that updates by a command", "gitmodulesUpdate", |bench| {
            let text = "[submodule \"x\"]\n\tpath = x\n\turl = u\n\tupdate = !evil\n";
            bench.commit(&bench.first, &bench.tree("100644", ".gitmodules", &bench.blob(text)))
        }),
        (".gitmodules that is a link", "gitmodulesSymlink", |bench| {
            bench.commit(&bench.first, &bench.tree("120000", ".gitmodules", &bench.blob("x")))
        }),
        ("a missing blob", "", |bench| bench.commit(&bench.first, &bench.tree("100644", "b", &"1".repeat(40)))),
        ("a missing tree", "", |bench| bench.commit(&bench.first, &"2".repeat(40))),
        ("a missing parent", "", |bench| bench.commit(&"3".repeat(40), &bench.tree("100644", "b", &bench.blob("x")))),
        ("a tree in the place of a commit", "", |bench| bench.tree("100644", "b", &bench.blob("x"))),
        ("a commit without a committer", "missing", |bench| {
            let tree = bench.tree("100644", "b", &bench.blob("x"));
            let text = format!("tree {tree}\nparent {}\nauthor N <e@x> 1 +0000\n\nMessage\n", bench.first);
            bench.inside(&["hash-object", "-t", "commit", "-w", "--stdin", "--literally"], text.as_bytes())
        }),
        ("no commit at all", "", |_| "4".repeat(40)),
    ];
    for (what, words, make) in rows {
        let bench = Bench::new();
        let commit = make(&bench);
        bench.branch(&commit);
        match bench.take() {
            Err(CommitError::Git(error)) => assert!(error.to_string().contains(words), "{what}: {error}"),
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!((bench.reference(), bench.packs()), (None, 0), "{what}");
        assert!(bench.session().ledger().load().unwrap().held.is_empty(), "{what}");
        assert_eq!(fs::read_dir(bench.ground.workspace.state().join("calls")).unwrap().count(), 0, "{what}");
    }
}

#[test]
fn an_object_is_what_its_content_says_and_not_its_name() {
    let bench = Bench::new();
    let (good, evil) = (bench.blob("good\n"), bench.blob("evil\n"));
    let commit = bench.commit(&bench.first, &bench.tree("100644", "b", &good));
    let file = |id: &str| bench.upper.path(&format!(".git/objects/{}/{}", &id[..2], &id[2..]));
    let bytes = fs::read(file(&evil)).unwrap();
    fs::remove_file(file(&good)).unwrap();
    fs::write(file(&good), bytes).unwrap();
    bench.branch(&commit);
    assert!(matches!(bench.take(), Err(CommitError::Git(_))));
    fs::remove_file(file(&good)).unwrap();
    fs::write(file(&good), "no object").unwrap();
    assert!(matches!(bench.take(), Err(CommitError::Git(_))));
    assert_eq!((bench.reference(), bench.packs()), (None, 0));
}

#[test]
fn history_goes_on_and_is_not_rewritten() {
    let bench = Bench::new();
    let tree = bench.tree("100644", "b", &bench.blob("x"));
    let who = "N <e@x> 1700000000 +0000";
    let orphan = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nMessage\n");
    let orphan = bench.inside(&["hash-object", "-t", "commit", "-w", "--stdin"], orphan.as_bytes());
    bench.branch(&orphan);
    assert!(matches!(bench.take(), Err(CommitError::Rewritten { .. })));
    assert_eq!((bench.reference(), bench.packs()), (None, 0));
    let commit = bench.commit(&bench.first, &tree);
    bench.branch(&commit);
    bench.take().unwrap().unwrap();
    // Another call began before that one ended: its commit stands beside it.
    let other = bench.commit(&bench.first, &bench.tree("100644", "c", &bench.blob("y")));
    bench.branch(&other);
    assert!(matches!(bench.take(), Err(CommitError::Rewritten { current }) if commit.starts_with(&current)));
    assert_eq!(bench.reference().as_deref(), Some(commit.as_str()));
}

#[test]
fn a_branch_that_is_a_link_or_nonsense_is_no_commit() {
    let bench = Bench::new();
    bench.upper.folder(".git/refs/heads").link(".git/refs/heads/main", "/etc/hostname");
    assert_eq!(bench.take().unwrap(), None);
    fs::remove_file(bench.upper.path(".git/refs/heads/main")).unwrap();
    for text in ["ref: refs/heads/other", "", "0123", &"g".repeat(40), &"A".repeat(40)] {
        bench.upper.write(".git/refs/heads/main", text);
        assert!(matches!(bench.take(), Err(CommitError::Odd(_))), "{text}");
    }
    bench.upper.write(".git/refs/heads/main", &bench.first).write(".git/HEAD", "ref: refs/heads/other\n");
    assert!(matches!(bench.take(), Err(CommitError::Odd(_))));
    bench.upper.write(".git/HEAD", "ref: refs/heads/main\n");
    assert_eq!(bench.take().unwrap(), None);
}

#[test]
fn what_is_in_the_refs_way_is_named_and_stays() {
    let bench = Bench::new();
    bench.branch(&bench.commit(&bench.first, &bench.tree("100644", "b", &bench.blob("x"))));
    bench.ground.write(".git/refs/agents/default.lock", "");
    assert!(matches!(bench.take(), Err(CommitError::Locked { file }) if file == ".git/refs/agents/default.lock"));
    assert!(bench.ground.read(".git/refs/agents/default.lock").is_some(), "a lock is its owner's");
    fs::remove_dir_all(bench.ground.host(".git/refs/agents")).unwrap();
    bench.ground.write(".git/refs/agents", "a file");
    assert!(matches!(bench.take(), Err(CommitError::InTheWay { .. })));
    fs::remove_file(bench.ground.host(".git/refs/agents")).unwrap();
    bench.ground.write(".git/refs/agents/default/below", &bench.first);
    assert!(matches!(bench.take(), Err(CommitError::InTheWay { .. })));
    bench.host(&["pack-refs", "--all"]);
    assert!(matches!(bench.take(), Err(CommitError::InTheWay { .. })));
    bench.host(&["update-ref", "-d", "refs/agents/default/below"]);
    bench.take().unwrap().unwrap();
}

#[test]
fn nothing_is_written_through_a_link_in_the_hosts_repository() {
    let bench = Bench::new();
    bench.branch(&bench.commit(&bench.first, &bench.tree("100644", "b", &bench.blob("x"))));
    let elsewhere = bench.ground.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, bench.ground.host(".git/refs/agents")).unwrap();
    assert!(bench.take().is_err());
    fs::remove_file(bench.ground.host(".git/refs/agents")).unwrap();
    fs::remove_dir_all(bench.ground.host(".git/objects/pack")).unwrap();
    symlink(&elsewhere, bench.ground.host(".git/objects/pack")).unwrap();
    assert!(bench.take().is_err());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_eq!(bench.reference(), None);
}

#[test]
fn settings_of_the_hosts_repository_start_nothing() {
    let bench = Bench::new();
    let mark = bench.ground.folder.path().join("mark");
    let program = format!("touch {}; cat", mark.display());
    for key in [
        "core.fsmonitor",
        "core.alternateRefsCommand",
        "core.pager",
        "diff.external",
        "filter.x.clean",
        "core.sshCommand",
        "uploadpack.packObjectsHook",
    ] {
        bench.host(&["config", key, &program]);
    }
    bench.host(&["config", "alias.index-pack", &format!("!{program}")]);
    let hook = bench.ground.host(".git/hooks/reference-transaction");
    bench.ground.write(".git/hooks/reference-transaction", &format!("#!/bin/sh\n{program}\n"));
    fs::set_permissions(hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bench.branch(&bench.commit(&bench.first, &bench.tree("100644", "b", &bench.blob("x"))));
    bench.take().unwrap().unwrap();
    let session = bench.session();
    session.repository(&bench.git, Purpose::Read, &patient(&|| false)).unwrap();
    let taking = session.plan_taking(&bench.git, None).unwrap();
    session.take(&taking, &bench.git, None, &patient(&|| false)).unwrap();
    assert!(!mark.exists(), "the host's repository was obeyed");
    bench.host(&["update-ref", "refs/heads/x", "HEAD"]);
    assert!(mark.exists(), "the trap is one");
}

#[test]
fn a_branch_that_moves_while_it_is_taken_stays_where_it_went() {
    let bench = Bench::new();
    let commit = bench.commit(&bench.first, &bench.tree("100644", "b", &bench.blob("x")));
    bench.branch(&commit);
    bench.take().unwrap().unwrap();
    let session = bench.session();
    let taking = session.plan_taking(&bench.git, None).unwrap();
    bench.host(&["commit", "--quiet", "--allow-empty", "--message=Mine"]);
    let mine = bench.host(&["rev-parse", "HEAD"]);
    let index = fs::read(bench.ground.host(".git/index")).unwrap();
    assert!(matches!(session.take(&taking, &bench.git, None, &patient(&|| false)), Err(TakeError::Changed(_))));
    assert_eq!(bench.host(&["rev-parse", "HEAD"]), mine);
    assert_eq!(fs::read(bench.ground.host(".git/index")).unwrap(), index);
    for lock in [".git/index.lock", ".git/refs/heads/main.lock"] {
        assert!(bench.ground.read(lock).is_none(), "{lock} is left");
    }
    assert!(matches!(session.plan_taking(&bench.git, None), Err(TakeError::Diverged { .. })));
}

#[test]
fn what_is_checked_out_is_read_as_git_writes_it() {
    let bench = Bench::new();
    let look = || HostRepository::look(&bench.ground.workspace);
    let branch = |head: &Head| head.branch().map(ToString::to_string);
    let commit = |head: &Head| head.commit().map(ToString::to_string);
    let check = |name: Option<&str>, at: Option<&str>| {
        let head = look().unwrap().head;
        assert_eq!((branch(&head).as_deref(), commit(&head).as_deref()), (name, at));
    };
    check(Some("refs/heads/main"), Some(&bench.first));
    bench.host(&["pack-refs", "--all", "--prune"]);
    check(Some("refs/heads/main"), Some(&bench.first));
    bench.host(&["checkout", "--quiet", "--detach"]);
    check(None, Some(&bench.first));
    bench.host(&["checkout", "--quiet", "--orphan", "feature/x"]);
    check(Some("refs/heads/feature/x"), None);
    for text in ["", "ref: ../../etc/passwd", "ref: refs/heads/../../../x", "ref: /etc/passwd", "nonsense", "\u{ff}"] {
        bench.ground.write(".git/HEAD", text);
        assert!(matches!(look(), Err(RepositoryError::Odd { .. })), "{text:?}: {:?}", look());
    }
}
