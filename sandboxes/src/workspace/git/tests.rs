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
    CommitError, Committed, Conversions, GitError, HostGit, Purpose, RepositoryError, TakeError,
    host::{Head, HostRepository, name},
    object::ObjectId,
    store::Store,
    working_tree::{Brings, LineEnds, Links, Modes, compare},
};
use crate::{
    root::Host,
    workspace::{
        Reason, Session,
        playground::{Playground, Upper, patient},
    },
};

/// Settings that change nothing between files and objects.
pub(super) const PLAIN: Conversions =
    Conversions { line_ends: LineEnds::Kept, modes: Modes::Compared, links: Links::Links };

/// A workspace with a repository and one commit, and what a sandbox wrote over it.
pub(super) struct Bench {
    pub(super) ground: Playground,
    upper: Upper,
    pub(super) git: HostGit,
    pub(super) first: String,
}

impl Bench {
    pub(super) fn new() -> Self {
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
    pub(super) fn host(&self, arguments: &[&str]) -> String {
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

    pub(super) fn blob(&self, content: &str) -> String {
        self.inside(&["hash-object", "-w", "--stdin"], content.as_bytes())
    }

    /// A tree of one entry, whatever is in it.
    pub(super) fn tree(&self, mode: &str, name: &str, object: &str) -> String {
        let bytes = (0..object.len()).step_by(2).map(|at| u8::from_str_radix(&object[at..at + 2], 16).unwrap());
        let mut tree = format!("{mode} {name}\0").into_bytes();
        tree.extend(bytes);
        self.inside(&["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], &tree)
    }

    pub(super) fn commit(&self, parent: &str, tree: &str) -> String {
        let who = "N <e@x> 1700000000 +0000";
        let text = format!("tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nMessage\n");
        self.inside(&["hash-object", "-t", "commit", "-w", "--stdin", "--literally"], text.as_bytes())
    }

    /// Lets the sandbox's branch be at `commit`.
    fn branch(&self, commit: &str) {
        self.upper.write(".git/refs/heads/main", &format!("{commit}\n")).write(".git/index", "an index");
    }

    /// Lets the host's working tree hold `b` and nothing else.
    fn only_b(&self, content: &str) {
        fs::remove_file(self.ground.host("a.txt")).unwrap();
        self.ground.write("b", content);
    }

    pub(super) fn session(&self) -> Session {
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
    assert!(session.own_commits("take").unwrap().unwrap().contains("refs/agents/default"));
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
    bench.only_b("x");
    let session = bench.session();
    session.repository(&bench.git, Purpose::Read, &patient(&|| false)).unwrap();
    let taking = session.plan_taking(&bench.git, None, PLAIN).unwrap();
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
    bench.only_b("x");
    let session = bench.session();
    let taking = session.plan_taking(&bench.git, None, PLAIN).unwrap();
    bench.host(&["commit", "--quiet", "--allow-empty", "--message=Mine"]);
    let mine = bench.host(&["rev-parse", "HEAD"]);
    let index = fs::read(bench.ground.host(".git/index")).unwrap();
    assert!(matches!(session.take(&taking, &bench.git, None, &patient(&|| false)), Err(TakeError::Changed(_))));
    assert_eq!(bench.host(&["rev-parse", "HEAD"]), mine);
    assert_eq!(fs::read(bench.ground.host(".git/index")).unwrap(), index);
    for lock in [".git/index.lock", ".git/refs/heads/main.lock"] {
        assert!(bench.ground.read(lock).is_none(), "{lock} is left");
    }
    assert!(matches!(session.plan_taking(&bench.git, None, PLAIN), Err(TakeError::Diverged { .. })));
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

/// Takes the newest commit of `bench` as a person would.
fn taken(bench: &Bench, conversions: Conversions) -> Result<(), TakeError> {
    let session = bench.session();
    let taking = session.plan_taking(&bench.git, None, conversions)?;
    session.take(&taking, &bench.git, None, &patient(&|| false)).map(drop)
}

#[test]
fn the_working_tree_is_compared_as_git_would_but_for_what_only_git_can_tell() {
    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Same,
        Differs,
        Converted(&'static str),
    }
    type Make = fn(&Bench) -> (&'static str, String);
    let windows = Conversions { line_ends: LineEnds::ConvertedInText, ..PLAIN };
    let mode = |bench: &Bench, mode: u32| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(bench.ground.host("b"), permissions).unwrap();
    };
    // What it is, what the commit has at `b`, what the host has, the settings, and what is told.
    type Row = (&'static str, Make, Box<dyn Fn(&Bench)>, Conversions, Told);
    let rows: Vec<Row> = vec![
        ("the same", |b| ("100644", b.blob("x\n")), Box::new(|b| b.only_b("x\n")), PLAIN, Told::Same),
        ("a byte more", |b| ("100644", b.blob("x\n")), Box::new(|b| b.only_b("x\n\n")), PLAIN, Told::Differs),
        ("a byte less", |b| ("100644", b.blob("x\n")), Box::new(|b| b.only_b("x")), PLAIN, Told::Differs),
        ("empty", |b| ("100644", b.blob("")), Box::new(|b| b.only_b("")), PLAIN, Told::Same),
        (
            "large",
            |b| ("100644", b.blob(&"line\n".repeat(100_000))),
            Box::new(|b| b.only_b(&"line\n".repeat(100_000))),
            PLAIN,
            Told::Same,
        ),
        (
            "large, other at the end",
            |b| ("100644", b.blob(&"line\n".repeat(100_000))),
            Box::new(|b| b.only_b(&format!("{}x", "line\n".repeat(100_000)))),
            PLAIN,
            Told::Differs,
        ),
        (
            "not there",
            |b| ("100644", b.blob("x")),
            Box::new(|b| fs::remove_file(b.ground.host("a.txt")).unwrap()),
            PLAIN,
            Told::Differs,
        ),
        ("executable", |b| ("100755", b.blob("x")), Box::new(|b| b.only_b("x")), PLAIN, Told::Differs),
        (
            "executable in both",
            |b| ("100755", b.blob("x")),
            Box::new(move |b| {
                b.only_b("x");
                mode(b, 0o755);
            }),
            PLAIN,
            Told::Same,
        ),
        (
            "executable here only",
            |b| ("100644", b.blob("x")),
            Box::new(move |b| {
                b.only_b("x");
                mode(b, 0o755);
            }),
            PLAIN,
            Told::Differs,
        ),
        (
            "modes that mean nothing",
            |b| ("100755", b.blob("x")),
            Box::new(|b| b.only_b("x")),
            Conversions { modes: Modes::Ignored, ..PLAIN },
            Told::Same,
        ),
        (
            "a link",
            |b| ("120000", b.blob("target")),
            Box::new(|b| {
                fs::remove_file(b.ground.host("a.txt")).unwrap();
                symlink("target", b.ground.host("b")).unwrap();
            }),
            PLAIN,
            Told::Same,
        ),
        (
            "a link elsewhere",
            |b| ("120000", b.blob("target")),
            Box::new(|b| {
                fs::remove_file(b.ground.host("a.txt")).unwrap();
                symlink("/etc/passwd", b.ground.host("b")).unwrap();
            }),
            PLAIN,
            Told::Differs,
        ),
        (
            "a link to the same content",
            |b| ("100644", b.blob("one\n")),
            Box::new(|b| {
                fs::rename(b.ground.host("a.txt"), b.ground.host("c")).unwrap();
                symlink("c", b.ground.host("b")).unwrap();
            }),
            PLAIN,
            Told::Differs,
        ),
        ("a file for a link", |b| ("120000", b.blob("t")), Box::new(|b| b.only_b("t")), PLAIN, Told::Differs),
        (
            "a file for a link where there are none",
            |b| ("120000", b.blob("t")),
            Box::new(|b| b.only_b("t")),
            Conversions { links: Links::Files, ..PLAIN },
            Told::Same,
        ),
        ("line ends", |b| ("100644", b.blob("x\ny\n")), Box::new(|b| b.only_b("x\r\ny\r\n")), PLAIN, Told::Differs),
        (
            "line ends that git converts",
            |b| ("100644", b.blob("x\ny\n")),
            Box::new(|b| b.only_b("x\r\ny\r\n")),
            windows,
            Told::Same,
        ),
        (
            "more than line ends",
            |b| ("100644", b.blob("x\ny\n")),
            Box::new(|b| b.only_b("x\r\nz\r\n")),
            windows,
            Told::Differs,
        ),
        (
            "line ends of a binary file",
            |b| ("100644", b.blob("x\n")),
            Box::new(|b| {
                b.only_b("x\r\n");
                b.ground.write(".git/info/attributes", "b -text\n");
            }),
            windows,
            Told::Differs,
        ),
        (
            "line ends by attribute",
            |b| ("100644", b.blob("x\n")),
            Box::new(|b| {
                b.only_b("x\r\n");
                b.ground.write(".git/info/attributes", "b text eol=crlf\n");
            }),
            PLAIN,
            Told::Same,
        ),
        (
            "a filter, and the same bytes",
            |b| ("100644", b.blob("x")),
            Box::new(|b| {
                b.only_b("x");
                b.ground.write(".git/info/attributes", "* filter=lfs\n");
            }),
            PLAIN,
            Told::Same,
        ),
        (
            "a filter",
            |b| ("100644", b.blob("pointer")),
            Box::new(|b| {
                b.only_b("large");
                b.ground.write(".git/info/attributes", "* filter=lfs\n");
            }),
            PLAIN,
            Told::Converted("passes through the filter `lfs`"),
        ),
        (
            "an encoding",
            |b| ("100644", b.blob("x")),
            Box::new(|b| {
                b.only_b("y");
                b.ground.write(".git/info/attributes", "* working-tree-encoding=UTF-16\n");
            }),
            PLAIN,
            Told::Converted("is kept in the encoding `UTF-16`"),
        ),
        (
            "bytes that are no text",
            |b| ("100644", b.blob("x\n\u{1}y\n")),
            Box::new(|b| b.only_b("x\r\n\u{1}y\r\n")),
            windows,
            Told::Differs,
        ),
        (
            "a CR that ends no line",
            |b| ("100644", b.blob("x\ry\n")),
            Box::new(|b| b.only_b("x\ry\r\n")),
            windows,
            Told::Differs,
        ),
        (
            "bytes that an attribute calls text",
            |b| ("100644", b.blob("x\n\u{1}y\n")),
            Box::new(|b| {
                b.only_b("x\r\n\u{1}y\r\n");
                b.ground.write(".git/info/attributes", "b text\n");
            }),
            PLAIN,
            Told::Same,
        ),
        (
            "a submodule whose folder is gone",
            |b| ("160000", b.first.clone()),
            Box::new(|b| fs::remove_file(b.ground.host("a.txt")).unwrap()),
            PLAIN,
            Told::Differs,
        ),
        (
            "a submodule that is not there",
            |b| ("160000", b.first.clone()),
            Box::new(|b| {
                fs::remove_file(b.ground.host("a.txt")).unwrap();
                fs::create_dir(b.ground.host("b")).unwrap();
            }),
            PLAIN,
            Told::Same,
        ),
        (
            "a submodule at that commit",
            |b| ("160000", b.first.clone()),
            Box::new(|b| {
                fs::remove_file(b.ground.host("a.txt")).unwrap();
                b.ground.write("b/.git", "gitdir: ../.git/modules/b\n");
                b.ground.write(".git/modules/b/HEAD", &b.first);
            }),
            PLAIN,
            Told::Same,
        ),
        (
            "a submodule at another one",
            |b| ("160000", b.first.clone()),
            Box::new(|b| {
                fs::remove_file(b.ground.host("a.txt")).unwrap();
                b.ground.write("b/.git", "gitdir: ../.git/modules/b\n");
                b.ground.write(".git/modules/b/HEAD", &"1".repeat(40));
            }),
            PLAIN,
            Told::Differs,
        ),
        (
            "a submodule that leads out",
            |b| ("160000", b.first.clone()),
            Box::new(|b| {
                fs::remove_file(b.ground.host("a.txt")).unwrap();
                b.ground.write("b/.git", "gitdir: ../../../etc\n");
            }),
            PLAIN,
            Told::Converted("is a submodule on a branch"),
        ),
    ];
    for (what, make, arrange, conversions, told) in rows {
        let bench = Bench::new();
        let (mode, object) = make(&bench);
        let commit = bench.commit(&bench.first, &bench.tree(mode, "b", &object));
        bench.branch(&commit);
        bench.take().unwrap_or_else(|error| panic!("{what}: {error}")).unwrap();
        arrange(&bench);
        let found = match bench.session().plan_taking(&bench.git, None, conversions) {
            Ok(_) => Told::Same,
            Err(TakeError::Differs { paths, .. }) => {
                assert_eq!(paths.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b"], "{what}");
                Told::Differs
            }
            Err(TakeError::Converted { paths, .. }) => match &paths[..] {
                [(path, why)] if path.to_string() == "b" => {
                    assert!(matches!(told, Told::Converted(words) if words == why), "{what}: {why}");
                    continue;
                }
                _ => panic!("{what}: {paths:?}"),
            },
            Err(error) => panic!("{what}: {error}"),
        };
        assert_eq!(found, told, "{what}");
    }
}

#[test]
fn an_index_of_any_kind_moves_on() {
    type Arrange = fn(&Bench);
    let rows: [(&str, Arrange); 5] = [
        ("version 4", |b| drop(b.host(&["update-index", "--index-version", "4"]))),
        ("split", |b| drop(b.host(&["update-index", "--split-index"]))),
        ("with a monitor's marks", |b| {
            b.host(&["config", "core.fsmonitor", "/bin/true"]);
            b.host(&["update-index", "--fsmonitor", "--force-write-index"]);
            b.host(&["config", "--unset", "core.fsmonitor"]);
        }),
        ("with a cache of untracked files", |b| drop(b.host(&["update-index", "--force-untracked-cache"]))),
        ("sparse", |b| {
            b.host(&["sparse-checkout", "set", "--cone", "--sparse-index", "kept"]);
        }),
    ];
    for (what, arrange) in rows {
        let mut bench = Bench::new();
        for (path, text) in [("kept/a", "a\n"), ("away/b", "b\n")] {
            bench.ground.write(path, text);
        }
        bench.host(&["add", "."]);
        bench.host(&["commit", "--quiet", "--message=Folders"]);
        bench.first = bench.host(&["rev-parse", "HEAD"]);
        arrange(&bench);
        // The commit changes a.txt and leaves the rest as it is.
        let listed =
            bench.host(&["ls-tree", "HEAD"]).replace(&bench.host(&["rev-parse", "HEAD:a.txt"]), &bench.blob("two\n"));
        let tree = bench.inside(&["mktree"], format!("{listed}\n").as_bytes());
        let commit = bench.commit(&bench.first, &tree);
        bench.branch(&commit);
        bench.take().unwrap().unwrap();
        bench.ground.write("a.txt", "two\n");
        taken(&bench, PLAIN).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(bench.host(&["rev-parse", "HEAD"]), commit, "{what}");
        assert_eq!(bench.host(&["status", "--porcelain"]), "", "{what}");
        assert_eq!(bench.host(&["diff", "--cached", "--name-only"]), "", "{what}");
        bench.host(&["fsck", "--strict"]);
    }
}

#[test]
fn objects_that_claim_or_come_to_more_than_git_may_hold_end_the_commit() {
    let bench = Bench::new();
    // A tree that would be larger than what git may allocate at once, in some 1.5 MB.
    let name = "1".repeat(40);
    let path = bench.upper.path(&format!(".git/objects/11/{}", &name[2..]));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let script = "import sys, zlib\nsize = 3 << 29\ndeflate = zlib.compressobj(1)\n\
                  out = open(sys.argv[1], 'wb')\nout.write(deflate.compress(b'tree %d\\0' % size))\n\
                  for _ in range(size >> 20): out.write(deflate.compress(bytes(1 << 20)))\nout.write(deflate.flush())\n";
    let made = Command::new("python3").args(["-c", script]).arg(&path).status().unwrap();
    assert!(made.success());
    bench.branch(&bench.commit(&bench.first, &name));
    let before = std::time::Instant::now();
    match bench.take() {
        Err(CommitError::Git(_)) => {}
        other => panic!("{other:?}"),
    }
    assert!(before.elapsed() < std::time::Duration::from_secs(60), "{:?}", before.elapsed());
    assert_eq!((bench.reference(), bench.packs()), (None, 0));
}

#[test]
fn settings_that_git_refuses_are_no_settings_that_say_nothing() {
    let bench = Bench::new();
    let home = tempfile::tempdir().unwrap();
    let host = Host { home: home.path().into(), state: "/nonexistent".into(), environment: BTreeMap::new() };
    let session = bench.session();
    assert_eq!(bench.git.identity(&host, &session).unwrap(), None);
    assert_eq!(bench.git.conversions(&host, &session).unwrap(), PLAIN);
    // The person's own, over an include, and the repository's over those.
    let settings = home.path().join(".gitconfig");
    fs::write(&settings, "[include]\n\tpath = more\n[core]\n\tautocrlf\n").unwrap();
    fs::write(home.path().join("more"), "[user]\n\tname = Per Son\n\temail = per@son.example\n").unwrap();
    bench.host(&["config", "user.email", "other@son.example"]);
    let person = bench.git.identity(&host, &session).unwrap().unwrap();
    assert_eq!((person.name.as_str(), person.email.as_str()), ("Per Son", "other@son.example"));
    let conversions = bench.git.conversions(&host, &session).unwrap();
    assert_eq!(conversions, Conversions { line_ends: LineEnds::ConvertedInText, ..PLAIN });
    // One of the repository's that begins at its file is no error.
    bench.host(&["config", "include.path", "../shared.gitconfig"]);
    assert_eq!(bench.git.identity(&host, &session).unwrap(), Some(person));
    let refuses = |what: &str| {
        for error in
            [bench.git.identity(&host, &session).unwrap_err(), bench.git.conversions(&host, &session).unwrap_err()]
        {
            assert!(matches!(error, RepositoryError::Git(GitError::Refused { .. })), "{what}: {error}");
        }
    };
    fs::write(&settings, "[user\n").unwrap();
    refuses("the person's");
    fs::remove_file(&settings).unwrap();
    let own = bench.ground.read(".git/config").unwrap();
    bench.ground.write(".git/config", &format!("{own}[user\n"));
    refuses("the repository's");
}

#[test]
fn what_cannot_be_looked_at_is_not_taken_for_deleted() {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    let bench = Bench::new();
    bench.ground.write("closed/b", "x");
    let closed = bench.ground.host("closed");
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let host = HostRepository::look(&bench.ground.workspace).unwrap();
    let store = Store::make(&bench.git, &bench.ground.workspace, &host).unwrap();
    let changed = BTreeMap::from([(name("closed/b"), Brings::Nothing), (name("never/there"), Brings::Nothing)]);
    // A root server of a container may lack these.
    let ours = capabilities(None).unwrap();
    let effective = ours.effective - (CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, CapabilitySets { effective, ..ours }).unwrap();
    let commit = ObjectId::new(&bench.first).unwrap();
    let compared = compare((&bench.ground.workspace, &store), &commit, &changed, PLAIN);
    set_capabilities(None, ours).unwrap();
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    match compared {
        Err(TakeError::Converted { paths, .. }) => {
            assert_eq!(paths, [(name("closed/b"), "lies in a folder that cannot be looked into".to_owned())]);
        }
        other => panic!("{other:?}"),
    }
}
