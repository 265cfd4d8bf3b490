//! What the size of a workspace costs: searching it, beside ripgrep outside on the same files, and opening a view of it.
//!
//! The goals: a search inside takes at most 1.3 times what ripgrep takes, and a fresh sandbox on 100,000 files at most 1.2
//! times what one on 1,000 takes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{CALLS, Place, conversation::Conversation, table::Row, time, write};
use crate::step::{Error, error, program};

/// What is searched for: in one file of a thousand.
const NEEDLE: &str = "a needle in the hay";

/// The file that is masked.
const HIDDEN: &str = ".env";

/// Lines of each file.
const LINES: usize = 40;

/// Files in each folder.
const FILES_PER_FOLDER: usize = 100;

/// Folders in each folder of the top: 20 for 100,000 files, as a repository of that size has them.
const FOLDERS_PER_TOP: usize = 50;

/// Measures all of it. Each table's ratios are to its first row.
pub(super) fn measure(rounds: usize, place: &Place) -> Result<Vec<(String, Vec<Row>)>, Error> {
    let (small, large) = (tree(place, 1_000)?, tree(place, 100_000)?);
    let trees = [small.as_path(), large.as_path()];
    let mut tables = vec![("Searching 5,000 files".to_owned(), searches(rounds, place, &place.workspace())?)];
    let mut over = |what: &str, place: &Place| {
        tables.push((format!("Searching 100,000 files, {what}"), searches(rounds, place, &large)?));
        tables.push((format!("Fresh sandboxes, {what}"), views(rounds * CALLS, place, trees)?));
        Ok(())
    };
    over("nothing masked or held", place)?;
    for tree in trees {
        hide_one(tree)?;
    }
    over("another of which is masked", place)?;
    for tree in trees {
        let hidden = tree.join(HIDDEN);
        fs::remove_file(&hidden).map_err(|source| error(format!("remove {}: {source}", hidden.display())))?;
        hold_one(place, tree)?;
    }
    over("with one held change", place)?;
    Ok(tables)
}

/// Makes a tree of `files` files in the place's folder.
fn tree(place: &Place, files: usize) -> Result<PathBuf, Error> {
    let root = place.folder.join(format!("tree-{files}"));
    for number in 0..files {
        let part = number / FILES_PER_FOLDER;
        let folder = root.join(format!("area{}/part{part}", part / FOLDERS_PER_TOP));
        if number.is_multiple_of(FILES_PER_FOLDER) {
            fs::create_dir_all(&folder).map_err(|source| error(format!("make {}: {source}", folder.display())))?;
        }
        let line = format!("pub fn item_{number}(value: u64) -> u64 {{ value + {number} }}\n");
        let needle = if number % 1000 == 7 { format!("// {NEEDLE}\n") } else { String::new() };
        write(&folder.join(format!("file{number}.rs")), &(line.repeat(LINES) + &needle))?;
    }
    write(&root.join("read.txt"), &"a line of some length, to be read\n".repeat(100))?;
    // As in a repository: ripgrep honours ignore files in one only.
    fs::create_dir(root.join(".git")).map_err(|source| error(format!("make a .git: {source}")))?;
    write(&root.join(".gitignore"), "target/\n*.log\n")?;
    Ok(root)
}

/// Adds a file that views have a masked copy of. Then they are overlays, with the tree's own folders over them.
fn hide_one(tree: &Path) -> Result<(), Error> {
    write(&tree.join(HIDDEN), "API_KEY=x\n")
}

/// Has a change held, of a file that programs act on: then views are overlays too.
fn hold_one(place: &Place, tree: &Path) -> Result<(), Error> {
    let change = json!({ "path": ".envrc", "content": "export A=1\n" });
    Conversation::open(place.serve_on(tree, "0"))?.call("write_file", &change)
}

/// Searches of a tree, by ripgrep and by us, in turns.
fn searches(rounds: usize, place: &Place, tree: &Path) -> Result<Vec<Row>, Error> {
    let mut theirs = Row::new("ripgrep outside");
    let mut ours = Row::new("search_files");
    let mut conversation = Conversation::open(place.serve_on(tree, "2"))?;
    let arguments = json!({ "pattern": NEEDLE });
    let mut ripgrep = program("rg");
    ripgrep.args(["--files-with-matches", "--no-config", NEEDLE]).current_dir(tree).stdout(Stdio::null());
    for _ in 0..2 {
        time(&mut ripgrep)?;
        conversation.call("search_files", &arguments)?;
    }
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(20));
        theirs.times.push(time(&mut ripgrep)?);
        std::thread::sleep(Duration::from_millis(20));
        let begun = Instant::now();
        conversation.call("search_files", &arguments)?;
        ours.times.push(begun.elapsed());
    }
    Ok(vec![theirs, ours])
}

/// Reads in fresh sandboxes, on a small and on a large tree, in turns.
fn views(rounds: usize, place: &Place, trees: [&Path; 2]) -> Result<Vec<Row>, Error> {
    let read = json!({ "path": "read.txt" });
    let mut contestants = [
        (Row::new("read_file, 1,000 files"), Conversation::open(place.serve_on(trees[0], "0"))?),
        (Row::new("read_file, 100,000 files"), Conversation::open(place.serve_on(trees[1], "0"))?),
    ];
    for (_, conversation) in &mut contestants {
        // The first looks around, in the workspace too.
        conversation.call("read_file", &read)?;
    }
    for _ in 0..rounds {
        for (row, conversation) in &mut contestants {
            std::thread::sleep(Duration::from_millis(20));
            let begun = Instant::now();
            conversation.call("read_file", &read)?;
            row.times.push(begun.elapsed());
        }
    }
    Ok(contestants.into_iter().map(|(row, _)| row).collect())
}
