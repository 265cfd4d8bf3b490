//! Files with credentials, seen from inside in every way that a view is made.

use std::os::unix::fs::symlink;

use cofferdam_contract::{Ignoring, OutputMode, SearchFiles};
use cofferdam_policy::MARK;

use super::*;
use crate::{open::Appeared, workspace::Reason};

const SECRET: &str = "s3cr3t-1234567890";

fn with_secrets(mechanism: ViewMechanism) -> House {
    let house = House::with_view(2, mechanism);
    fs::create_dir_all(house.work().join("deploy/.aws")).unwrap();
    fs::write(house.work().join(".env"), format!("API_KEY={SECRET}\n")).unwrap();
    fs::write(house.work().join("deploy/.aws/credentials"), format!("[default]\naws_secret = {SECRET}\n")).unwrap();
    fs::write(house.work().join("deploy/main.tf"), "plain\n").unwrap();
    symlink(".env", house.work().join("link")).unwrap();
    fs::hard_link(house.work().join(".env"), house.work().join("twin.txt")).unwrap();
    house
}

fn files(operator: &str, house: &House, hand_back: HandBack) -> OpenSandbox {
    let permit = permit_under(operator, Work::WriteFiles, hand_back, Limits::FILES);
    house.yard.open(permit, &house.session, &Cancel::new()).unwrap()
}

fn held(house: &House, sandbox: OpenSandbox) -> Vec<(String, Reason)> {
    let closed = sandbox.close().unwrap();
    let handed = house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
    assert_eq!(handed.applied, []);
    handed.held.into_iter().map(|held| (held.change.path.to_string(), held.reason)).collect()
}

#[test]
fn no_way_of_looking_shows_a_value() {
    for mechanism in MECHANISMS {
        let house = with_secrets(mechanism);
        for work in [Work::ReadFiles, Work::WriteFiles] {
            let mut sandbox = house.open(work, HandBack::Nothing);
            for name in [".env", "link", "twin.txt"] {
                assert_eq!(read(&mut sandbox, name).unwrap(), "API_KEY=masked\n", "{mechanism:?} {name}");
            }
            assert!(read(&mut sandbox, "deploy/.aws/credentials").unwrap().starts_with("# masked"), "{mechanism:?}");
            assert_eq!(read(&mut sandbox, "deploy/main.tf").unwrap(), "plain\n");
            let request = SearchFiles {
                pattern: SECRET.into(),
                path: path("."),
                glob: None,
                file_type: None,
                mode: OutputMode::Content,
                context: 0,
                case_insensitive: false,
                multiline: false,
                offset: 0,
                head_limit: 10,
                max_line_bytes: 100,
                ignoring: Ignoring::Nowhere,
            };
            match sandbox.file(FileRequest::Search(request)).unwrap() {
                FileReply::Search(reply) => assert_eq!(reply.total_files, 0, "{mechanism:?}"),
                other => panic!("{other:?}"),
            }
        }
        let mut sandbox = house.open(Work::Execute, HandBack::Nothing);
        let script = "grep -r s3cr3t . ; ln .env copy; cat copy .env link; find . -name .env";
        let (_, text) = execute(&mut sandbox, "sh", &["-c", script]).unwrap();
        assert_eq!(text, "API_KEY=masked\nAPI_KEY=masked\nAPI_KEY=masked\n./.env\n", "{mechanism:?}");
        let closed = sandbox.close().unwrap();
        let redacted = closed.redactor.redact(&format!("x={SECRET}."));
        assert_eq!((redacted.count, redacted.text.contains(MARK)), (1, true), "what leaks otherwise is known");
    }
}

#[test]
fn absent_files_are_nowhere_and_cost_no_change() {
    for mechanism in MECHANISMS {
        let house = with_secrets(mechanism);
        let operator = "version = 1\n[secrets]\nfiles = \"absent\"";
        let mut sandbox = files(operator, &house, HandBack::Tree);
        for name in [".env", "link", "twin.txt", "deploy/.aws/credentials"] {
            assert!(read(&mut sandbox, name).is_err(), "{mechanism:?} {name}");
        }
        assert_eq!(held(&house, sandbox), [], "{mechanism:?}");
        let mut sandbox = files(operator, &house, HandBack::Tree);
        write(&mut sandbox, ".env", "API_KEY=mine\n").unwrap();
        let held = held(&house, sandbox);
        assert!(matches!(held.as_slice(), [(path, Reason::Secret { .. })] if path == ".env"), "{held:?}");
        assert!(fs::read_to_string(house.work().join(".env")).unwrap().contains(SECRET));
    }
}

#[test]
fn nothing_that_a_call_does_to_a_masked_file_reaches_the_real_one() {
    for mechanism in MECHANISMS {
        let house = with_secrets(mechanism);
        let real = || fs::read_to_string(house.work().join(".env")).unwrap();
        // Writing what it saw is no change.
        let mut sandbox = house.open(Work::WriteFiles, HandBack::Tree);
        write(&mut sandbox, ".env", "API_KEY=masked\n").unwrap();
        assert_eq!(held(&house, sandbox), [], "{mechanism:?}");

        for change in ["write", "delete", "move", "delete the folder", "chmod"] {
            let mut sandbox = house.open(Work::Execute, HandBack::Tree);
            let script = match change {
                "write" => "echo NEW=1 >> .env",
                "delete" => "rm .env",
                "move" => "mv .env elsewhere",
                "chmod" => "chmod 600 .env",
                _ => "rm -r deploy",
            };
            execute(&mut sandbox, "sh", &["-c", script]).unwrap();
            let closed = sandbox.close().unwrap();
            let handed = house.session.hand_back_closed(&closed, "call", &Cancel::new()).unwrap();
            let about = handed.held.iter().filter(|held| held.reason.is_about_secrets()).count();
            assert!(about >= 1, "{mechanism:?} {change}: {handed:?}");
            assert!(real().contains(SECRET), "{mechanism:?} {change}");
            assert!(house.work().join("deploy/.aws/credentials").exists(), "{mechanism:?} {change}");
            // A person who applies everything does not mean this.
            let released = house.session.apply(&[TreePath::root()], &Arc::default(), &patience()).unwrap();
            assert!(released.held.iter().any(|held| held.reason.is_about_secrets()), "{released:?}");
            assert!(real().contains(SECRET), "{mechanism:?} {change}");
            assert!(house.work().join("deploy/.aws/credentials").exists(), "{mechanism:?} {change}");
            let shown = house.session.differences(&house.session.layers().unwrap(), &TreePath::root()).unwrap();
            let shown: String = shown.iter().map(ToString::to_string).collect();
            assert!(!shown.contains("s3cr3t"), "{shown}");
            house.session.discard(&[TreePath::root()], &patience()).unwrap();
        }

        let mut sandbox = house.open(Work::WriteFiles, HandBack::Tree);
        write(&mut sandbox, ".env", "NEW=1\n").unwrap();
        assert_eq!(held(&house, sandbox).len(), 1);
        // Its own version is what the session sees, and who names the file means it.
        let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
        assert_eq!(read(&mut sandbox, ".env").unwrap(), "NEW=1\n");
        drop(sandbox);
        let released = house.session.apply(&[TreePath::new(".env").unwrap()], &Arc::default(), &patience()).unwrap();
        assert_eq!((released.held, real().as_str()), (vec![], "NEW=1\n"));
    }
}

#[test]
fn a_prepared_sandbox_is_not_used_when_the_list_has_changed() {
    let house = House::new(2);
    for round in 0..4 {
        let folder = house.work().join(format!("part{round}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(".env"), format!("A={SECRET}{round}\n")).unwrap();
        let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
        let name = format!("part{round}/.env");
        assert_eq!(read(&mut sandbox, &name).unwrap(), "A=masked\n", "{round}");
        drop(sandbox);
        // The values of a changed file are masked and known too.
        fs::write(folder.join(".env"), format!("B=an0ther-{SECRET}\n")).unwrap();
        let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
        assert_eq!(read(&mut sandbox, &name).unwrap(), "B=masked\n", "{round}");
        let closed = sandbox.close().unwrap();
        assert_eq!(closed.redactor.redact(&format!("an0ther-{SECRET}")).count, 1);
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[test]
fn a_file_that_appears_during_a_call_is_told_at_its_end() {
    let house = House::new(0);
    let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
    read(&mut sandbox, "hello.txt").unwrap();
    fs::write(house.work().join(".env"), format!("A={SECRET}\n")).unwrap();
    let closed = sandbox.close().unwrap();
    assert_eq!(closed.appeared.unwrap(), Appeared::Files(vec![TreePath::new(".env").unwrap()]));
    assert_eq!(closed.redactor.redact(SECRET).count, 1);
}

#[test]
fn a_file_that_was_elsewhere_for_a_moment_is_told_at_the_end_of_the_call() {
    let house = House::new(2);
    fs::write(house.work().join(".env"), format!("A={SECRET}\n")).unwrap();
    drop(house.open(Work::ReadFiles, HandBack::Nothing));
    let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
    fs::rename(house.work().join(".env"), house.work().join("notes")).unwrap();
    // What the host shows while it is there is seen, in a view that is no copy.
    assert!(read(&mut sandbox, "notes").unwrap().contains(SECRET));
    fs::rename(house.work().join("notes"), house.work().join(".env")).unwrap();
    assert_eq!(sandbox.close().unwrap().appeared.unwrap(), Appeared::Stirred);
    let sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
    fs::write(house.work().join("hello.txt"), "other\n").unwrap();
    assert!(sandbox.close().unwrap().appeared.unwrap().is_nothing());
}

#[test]
fn what_the_operator_lets_through_is_seen() {
    let house = House::new(0);
    fs::write(house.work().join(".env"), format!("A={SECRET}\n")).unwrap();
    fs::write(house.work().join("own.cfg"), SECRET).unwrap();
    let operator = "version = 1\n[secrets]\npaths = [\"*.cfg\"]\nallow = [\".env\"]";
    let mut sandbox = files(operator, &house, HandBack::Nothing);
    assert_eq!(read(&mut sandbox, ".env").unwrap(), format!("A={SECRET}\n"));
    assert!(read(&mut sandbox, "own.cfg").unwrap().starts_with("# masked"));
}

#[test]
fn scratch_volumes_show_no_value_either() {
    let yards: [fn() -> House; 4] = [
        || House::with_view(0, ViewMechanism::Overlay),
        || House::with_view(0, ViewMechanism::OverlayOnFolder),
        || House::with_view(0, ViewMechanism::Copy),
        || House::without_loop_devices(ViewMechanism::Overlay),
    ];
    for (number, house) in yards.into_iter().enumerate() {
        for absent in [false, true] {
            let house = house();
            let work = house.work();
            for folder in ["node_modules/package/deep", "sub/.venv/lib"] {
                fs::create_dir_all(work.join(folder)).unwrap();
            }
            fs::write(work.join(".env"), format!("API_KEY={SECRET}\n")).unwrap();
            fs::write(work.join("node_modules/package/index.js"), "plain\n").unwrap();
            let script = "cd node_modules; echo mine > own; cat package/index.js; cat .npmrc package/deep/copy 2>&1";
            let say = |script: &str| {
                let operator = if absent { "version = 1\n[secrets]\nfiles = \"absent\"" } else { "version = 1" };
                let permit = permit_under(operator, Work::Execute, HandBack::Nothing, Limits::FILES);
                let mut sandbox = house.yard.open(permit, &house.session, &Cancel::new()).unwrap();
                execute(&mut sandbox, "sh", &["-c", script]).unwrap().1
            };
            // Before there is anything to mask in there a run takes a copy of it up into its volume.
            fs::write(work.join("node_modules/.npmrc"), "save-exact=true\n").unwrap();
            assert!(say("echo >> node_modules/.npmrc; cat node_modules/.npmrc").starts_with("save-exact"), "{number}");
            fs::write(work.join("node_modules/.npmrc"), format!("//r.example/:_authToken={SECRET}\n")).unwrap();
            fs::hard_link(work.join(".env"), work.join("node_modules/package/deep/copy")).unwrap();
            let text = say(script);
            assert!(text.starts_with("plain\n") && !text.contains("s3cr3t"), "{number}: {text}");
            let masked = text.contains("authToken=masked") && text.contains("API_KEY=masked");
            assert_eq!(masked, !absent, "{number}: {text}");
            // What a run writes there stays, the masks too.
            assert_eq!(say("cat node_modules/own; grep -rs s3cr3t ."), "mine\n", "{number}");
            // A folder that the agent moves within the volume takes its masks along.
            let moved = say("mv node_modules/package node_modules/other; cat node_modules/other/deep/copy 2>&1");
            assert!(!moved.contains("s3cr3t"), "{number}: {moved}");
            assert_eq!(say("grep -rs s3cr3t ."), "", "{number}");
        }
    }
}

#[test]
fn what_is_listed_since_an_edit_of_it_was_held_is_masked_over_that_edit() {
    for mechanism in MECHANISMS {
        let house = House::with_view(0, mechanism);
        fs::write(house.work().join("own.cfg"), format!("key={SECRET}\n")).unwrap();
        fs::write(house.work().join(".env"), format!("A={SECRET}\n")).unwrap();
        let drafts = "version = 1\n[limits]\nmode = \"draft\"\n";
        let mut sandbox = files(drafts, &house, HandBack::Tree);
        let seen = read(&mut sandbox, "own.cfg").unwrap();
        write(&mut sandbox, "own.cfg", &format!("{seen}more=1\n")).unwrap();
        write(&mut sandbox, ".env", "MINE=1\n").unwrap();
        assert_eq!(held(&house, sandbox).len(), 2);
        // It is its own until the operator lists the file.
        assert_eq!(read(&mut files(drafts, &house, HandBack::Nothing), "own.cfg").unwrap(), format!("{seen}more=1\n"));
        assert_eq!(read(&mut files(drafts, &house, HandBack::Nothing), ".env").unwrap(), "MINE=1\n");
        let listed = format!("{drafts}[secrets]\npaths = [\"*.cfg\"]\n");
        for hand_back in [HandBack::Nothing, HandBack::Tree] {
            let mut sandbox = files(&listed, &house, hand_back);
            assert!(!read(&mut sandbox, "own.cfg").unwrap().contains(SECRET), "{mechanism:?}");
            // Nothing was written: nothing comes back.
            assert_eq!(held(&house, sandbox), [], "{mechanism:?}");
        }
        let permit = permit_under(&listed, Work::Execute, HandBack::Nothing, Limits::FILES);
        let mut sandbox = house.yard.open(permit, &house.session, &Cancel::new()).unwrap();
        let (_, text) = execute(&mut sandbox, "sh", &["-c", "grep -rs s3cr3t . || echo clean"]).unwrap();
        assert_eq!(text, "clean\n", "{mechanism:?}");
    }
}
