//! `changes commit-take`: a person's branch moves to the agent's commit where nothing of theirs is lost, and nowhere else.

use std::fs;

use serde_json::json;

use crate::{
    git::{ask, commit, git, refused, repository, take, text, write},
    harness::Person,
};

#[test]
fn the_person_goes_on_meanwhile() {
    let place = repository(Person::ordinary());
    let first = git(&place, &["rev-parse", "HEAD"]);
    write(&place, "a.txt", "agent\n");
    write(&place, "new.txt", "agent's\n");
    let agents = commit(&place, "Agent");
    let listed = text(&place.run(&["changes", "list"]));
    assert!(listed.contains("`cofferdam changes commit-take` takes them"), "{listed}");
    // The person commits something else on the same branch.
    place.write("person.txt", "person\n");
    git(&place, &["add", "person.txt"]);
    git(&place, &["commit", "--quiet", "--message=Person"]);
    let persons = git(&place, &["rev-parse", "HEAD"]);
    let log = ask(&place, "git_log", json!({}));
    assert_eq!(log["commits"][0]["id"], json!(agents), "the session sees its own");
    let note = log["notes"][0].as_str().unwrap();
    for words in [&agents[..12], &first[..12], &persons[..12], "cofferdam changes discard .git"] {
        assert!(note.contains(words), "{words} is missing: {note}");
    }
    write(&place, "a.txt", "agent again\n");
    let (code, told) = refused(&place, "git_commit", json!({ "message": "No" }));
    assert!(code == "moved" && told.contains(&persons[..12]), "{code}: {told}");
    let (status, said) = take(&place, &[]);
    let way = "`git add -A && git merge --autostash refs/agents/default`";
    assert!(status == 3 && said.contains(way), "{said}");
    assert!(note.contains(way), "{note}");
    let listed = text(&place.run(&["changes", "list"]));
    assert!(listed.contains("tries to take them") && !listed.contains("` takes them"), "{listed}");
    // They merge it as they are told: then the session sees the workspace's own history again.
    place.write("mine.txt", "mine\n");
    git(&place, &["restore", "a.txt"]);
    place.write("a.txt", "agent\n");
    git(&place, &["add", "-A"]);
    git(&place, &["merge", "--autostash", "--quiet", "--message=Merge", "refs/agents/default"]);
    assert_eq!(git(&place, &["status", "--porcelain"]), "A  mine.txt");
    assert_eq!(git(&place, &["show", "HEAD:new.txt"]), "agent's");
    let log = ask(&place, "git_log", json!({}));
    assert_eq!(log["commits"][0]["subject"], json!("Merge"));
    assert_eq!(log.get("notes"), None, "{log:#}");
    write(&place, "a.txt", "onwards\n");
    commit(&place, "Onwards");
    // Or they want none of it.
    let output = place.run(&["changes", "discard", ".git"]);
    assert!(
        output.status.success()
            && text(&output).contains("discarded the session's commits; `refs/agents/default` still has them"),
        "{}",
        text(&output)
    );
    assert_eq!(ask(&place, "git_log", json!({}))["commits"][0]["subject"], json!("Merge"));
}

#[test]
fn changes_apply_never_puts_the_agents_git_into_the_persons() {
    let place = repository(Person::ordinary());
    write(&place, "a.txt", "agent\n");
    commit(&place, "Agent");
    let before = place.tree();
    let output = place.run(&["changes", "apply", "--all"]);
    assert!(text(&output).contains("nothing is held"), "{}", text(&output));
    let output = place.run(&["changes", "apply", ".git"]);
    assert!(!output.status.success(), "{}", text(&output));
    assert_eq!(place.tree(), before);
}

#[test]
fn a_commit_is_only_taken_where_nothing_of_the_persons_is_lost() {
    let place = repository(Person::ordinary());
    let says = |arguments: &[&str], status: i32, words: &str| {
        let before = place.tree();
        let (found, said) = take(&place, arguments);
        assert!(found == status && said.contains(words), "{arguments:?}: {found}: {said}");
        assert_eq!(place.tree(), before, "{arguments:?}: {said}");
    };
    says(&[], 1, "no commits to take");
    // A change that is held is in the commit, and not yet in the working tree.
    let (status, _) = place.call("write_file", &json!({ "path": ".github/workflows/ci.yml", "content": "on: push\n" }));
    assert_eq!(status, 3);
    write(&place, "a.txt", "agent\n");
    ask(&place, "delete_file", json!({ "path": "src/b.txt" }));
    let made = ask(&place, "git_commit", json!({ "message": "Agent" }));
    assert!(made["notes"].to_string().contains(".github/workflows/ci.yml"), "{made:#}");
    says(&[], 3, ".github/workflows/ci.yml");
    assert!(place.run(&["changes", "apply", "--all"]).status.success());
    says(&["--dry-run"], 0, "would move the branch main");
    says(&["0000000"], 2, "does not name one commit");
    says(&["HEAD"], 2, "does not name one commit");
    says(&["--", "--output=x"], 2, "does not name one commit");
    // The person has written to one of the files, and made again what the commit deletes.
    place.write("a.txt", "person\n");
    says(&[], 3, "a.txt");
    place.write("a.txt", "agent\n");
    place.write("src/b.txt", "two\n");
    says(&[], 3, "src/b.txt");
    fs::remove_file(place.workspace().join("src/b.txt")).unwrap();
    // They have staged something.
    place.write("mine.txt", "mine\n");
    git(&place, &["add", "mine.txt"]);
    says(&[], 3, "mine.txt");
    git(&place, &["restore", "--staged", "mine.txt"]);
    // Somebody is at work.
    place.write(".git/index.lock", "");
    says(&[], 1, ".git/index.lock exists");
    fs::remove_file(place.workspace().join(".git/index.lock")).unwrap();
    place.write(".git/REVERT_HEAD", "");
    says(&[], 1, "a revert is under way");
    fs::remove_file(place.workspace().join(".git/REVERT_HEAD")).unwrap();
    // What is staged as the commit has it is no obstacle, nor is an untracked file.
    git(&place, &["add", "a.txt"]);
    let (status, said) = take(&place, &["refs/agents/default"]);
    assert_eq!(status, 0, "{said}");
    assert_eq!(git(&place, &["status", "--porcelain"]), "?? mine.txt");
}

#[test]
fn protected_files_of_the_commits_are_told_and_those_that_only_a_commit_on_the_way_has() {
    let place = repository(Person::ordinary());
    let hook = json!({ "path": ".husky/pre-commit", "content": "true\n" });
    assert_eq!(place.call("write_file", &hook).0, 3);
    commit(&place, "With");
    ask(&place, "delete_file", json!({ "path": ".husky/pre-commit" }));
    write(&place, "a.txt", "agent\n");
    commit(&place, "Without");
    for arguments in [&["--dry-run"][..], &[]] {
        let (status, said) = take(&place, arguments);
        assert!(status == 0 && said.contains("commits on the way") && said.contains(".husky/pre-commit"), "{said}");
        assert!(!said.contains("of what the commits change"), "{said}");
    }
    assert_eq!(place.call("write_file", &hook).0, 3);
    assert!(place.run(&["changes", "apply", "--all"]).status.success());
    commit(&place, "With, for good");
    let (status, said) = take(&place, &[]);
    assert!(status == 0 && said.contains("of what the commits change") && said.contains(".husky/pre-commit"), "{said}");
    assert!(!said.contains("commits on the way"), "{said}");
}

#[test]
fn a_branch_of_two_worktrees_is_not_moved() {
    let place = repository(Person::invoker());
    let linked = place.all().join("linked");
    git(&place, &["worktree", "add", "--quiet", "--force", linked.to_str().unwrap(), "main"]);
    write(&place, "a.txt", "agent\n");
    commit(&place, "Agent");
    let (status, said) = take(&place, &[]);
    assert!(status == 3 && said.contains("another worktree"), "{said}");
}

#[test]
fn line_ends_that_the_persons_git_converts_are_no_difference() {
    let place = repository(Person::ordinary());
    git(&place, &["config", "core.autocrlf", "true"]);
    write(&place, "a.txt", "one\r\ntwo\r\n");
    commit(&place, "Windows");
    assert_eq!(git(&place, &["cat-file", "blob", "refs/agents/default:a.txt"]), "one\ntwo");
    let (status, said) = take(&place, &[]);
    assert_eq!(status, 0, "{said}");
    assert_eq!(git(&place, &["status", "--porcelain"]), "");
    // Where it converts none, they are one.
    git(&place, &["config", "core.autocrlf", "false"]);
    write(&place, "a.txt", "three\n");
    commit(&place, "Elsewhere");
    place.write("a.txt", "three\r\n");
    let (status, said) = take(&place, &[]);
    assert!(status == 3 && said.contains("a.txt"), "{status}: {said}");
}

#[test]
fn what_keeps_a_commit_from_being_taken_is_told_with_a_way_that_works() {
    for person in Person::everyone() {
        let place = repository(person);
        let hold = |path: &str| {
            let (status, _) = place.call("write_file", &json!({ "path": path, "content": "on: push\n" }));
            assert_eq!(status, 3);
        };
        hold(".github/workflows/one.yml");
        hold(".github/workflows/two.yml");
        ask(&place, "delete_file", json!({ "path": "src/b.txt" }));
        let made = commit(&place, "Agent");
        assert!(place.run(&["changes", "discard", ".github/workflows/one.yml"]).status.success());
        place.write("src/b.txt", "two\n");
        let (status, said) = take(&place, &[]);
        let way = format!("`git checkout {} -- FILE`", &made[..12]);
        for words in [
            ".github/workflows/one.yml is not in the working tree as the commit has it",
            ".github/workflows/two.yml is held for you",
            "src/b.txt is there, and the commit deletes it",
            "`cofferdam changes apply FILE`",
            "`rm FILE`",
            &way,
        ] {
            assert!(status == 3 && said.contains(words), "{words} is missing: {said}");
        }
        assert!(place.run(&["changes", "apply", ".github/workflows/two.yml"]).status.success());
        git(&place, &["checkout", &made[..12], "--", ".github/workflows/one.yml"]);
        fs::remove_file(place.workspace().join("src/b.txt")).unwrap();
        let (status, said) = take(&place, &[]);
        assert_eq!(status, 0, "{said}");
        assert_eq!(git(&place, &["status", "--porcelain"]), "");
    }
}

#[test]
fn a_commit_that_began_on_another_branch_moves_the_one_that_is_checked_out_and_says_so() {
    let place = repository(Person::ordinary());
    let first = git(&place, &["rev-parse", "main"]);
    write(&place, "a.txt", "agent\n");
    let made = commit(&place, "Agent");
    git(&place, &["switch", "--quiet", "--create", "feature"]);
    for arguments in [&["--dry-run"][..], &[]] {
        let (status, said) = take(&place, arguments);
        assert!(status == 0 && said.contains("began on main, which stays where it is"), "{said}");
    }
    assert_eq!(git(&place, &["rev-parse", "main", "feature"]), format!("{first}\n{made}"));
}
