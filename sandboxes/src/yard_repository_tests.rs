//! Sandboxes for git: without scratch volumes, in every kind of view.

use super::*;

#[test]
fn a_commit_comes_out_of_every_kind_of_view_and_waits_for_no_run() {
    for mechanism in MECHANISMS {
        let house = House::with_view(0, mechanism);
        let host = |arguments: &[&str]| {
            let mut command = std::process::Command::new("git");
            command.args(["-c", "user.name=N", "-c", "user.email=e@x"]).args(arguments).current_dir(house.work());
            let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
        };
        fs::write(house.work().join("a.txt"), "one\n").unwrap();
        host(&["init", "--quiet", "--initial-branch=main"]);
        host(&["add", "."]);
        host(&["commit", "--quiet", "--message=First"]);
        let first = host(&["rev-parse", "HEAD"]);
        fs::write(house.work().join("a.txt"), "two\n").unwrap();
        // A run has the scratch volumes meanwhile.
        let running = house.open(Work::Execute, HandBack::Nothing);
        let mut sandbox = house.open(Work::Commit, HandBack::Nothing);
        assert_eq!(sandbox.repository().unwrap().base.as_deref(), Some(first.as_str()));
        let settings = ["-c", "safe.directory=*", "-c", "user.name=N", "-c", "user.email=e@x"];
        let arguments = [&settings[..], &["commit", "--quiet", "--all", "--message=Second"]].concat();
        let (exit, said) = execute(&mut sandbox, "git", &arguments).unwrap();
        assert_eq!(exit, Exit::Code(0), "{mechanism:?}: {said}");
        let closed = sandbox.close().unwrap();
        drop(running);
        let git = house.yard.host_git(&house.session).unwrap();
        let committed = house.session.take_commit(&closed, "call", &git, &Cancel::new()).unwrap().unwrap();
        assert_eq!(host(&["rev-parse", "refs/agents/default"]), committed.commit.as_str(), "{mechanism:?}");
        assert_eq!(host(&["show", "refs/agents/default:a.txt"]), "two");
        assert_eq!(host(&["rev-parse", "HEAD"]), first);
        // The session's later views have it, read-only ones too.
        for work in [Work::ReadRepository, Work::Execute] {
            let mut sandbox = house.open(work, HandBack::Nothing);
            let arguments = ["-c", "safe.directory=*", "rev-parse", "HEAD"];
            let (_, said) = execute(&mut sandbox, "git", &arguments).unwrap();
            assert_eq!(said.trim(), committed.commit.as_str(), "{mechanism:?}");
        }
    }
}

#[test]
fn a_sandbox_that_reads_a_repository_writes_nothing() {
    let house = House::new(0);
    fs::create_dir_all(house.work().join(".git/refs/heads")).unwrap();
    fs::write(house.work().join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    let mut sandbox = house.open(Work::ReadRepository, HandBack::Nothing);
    assert!(matches!(write(&mut sandbox, "x", "x"), Err(SandboxError::NotPlanned { .. })));
    let (exit, said) = execute(&mut sandbox, "sh", &["-c", "touch x || touch .git/x"]).unwrap();
    assert_ne!(exit, Exit::Code(0), "{said}");
    assert!(sandbox.close().unwrap().changeset.is_none());
}
