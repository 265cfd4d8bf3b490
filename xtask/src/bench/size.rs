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

use super::{Place, conversation::Conversation, table::Row, time, write};
use crate::step::{Error, error, program};

/// What is searched for: in one file of a thousand.
const NEEDLE: &str = "a needle in the hay";

/// Lines of each file.
const LINES: usize = 40;

/// Folders for each hundred files.
const FILES_PER_FOLDER: usize = 100;

/// Makes a tree of `files` files in the place's folder.
pub(super) fn tree(place: &Place, files: usize) -> Result<PathBuf, Error> {
    let root = place.folder.join(format!("tree-{files}"));
    for number in 0..files {
        let folder = root.join(format!("part{}", number / FILES_PER_FOLDER));
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

/// Adds a file that views have a masked copy of. Then they are overlays, and each lookup in one costs more.
pub(super) fn hide_one(tree: &Path) -> Result<(), Error> {
    write(&tree.join(".env"), "API_KEY=x\n")
}

/// Searches of a tree, by ripgrep and by us, in turns.
pub(super) fn measure_searches(rounds: usize, place: &Place, tree: &Path) -> Result<Vec<Row>, Error> {
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
pub(super) fn measure_views(rounds: usize, place: &Place, trees: [&Path; 2]) -> Result<Vec<Row>, Error> {
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
