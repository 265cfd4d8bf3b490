//! P23, P23n, P25–P28, P26n, P30: puts content at paths in every way that a program has, for what runs later on the host.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Component, Path, PathBuf},
};

use crate::{kernel::said_io, record::Record};

/// Where things are made before they are moved or linked into place. All names in it are ordinary ones.
const ASIDE: &str = "aside";

/// Plants. Arguments: the way, then pairs of a path and its content. Each path is noted with what came of it, and as
/// `where PATH` how it was spelled.
pub(super) fn plant(record: &mut Record, arguments: &[String]) {
    let Some((way, pairs)) = arguments.split_first() else { return };
    let pairs: Vec<(&Path, &str)> =
        pairs.chunks_exact(2).filter_map(|pair| Some((Path::new(pair.first()?), pair.get(1)?.as_str()))).collect();
    let _ = fs::create_dir_all(ASIDE);
    if way == "folder" || way == "linked-folder" {
        return plant_by_folders(record, way, &pairs);
    }
    for (number, (path, content)) in pairs.into_iter().enumerate() {
        let spelled = match way.as_str() {
            "twin" => each_name(path, str::to_uppercase),
            "fold" => each_name(path, folded),
            _ => path.to_path_buf(),
        };
        let made = plant_one(way, number, &spelled, content);
        record.note(path.display().to_string(), said_io(made));
        record.note(format!("where {}", path.display()), spelled.display());
    }
}

fn plant_one(way: &str, number: usize, path: &Path, content: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let aside = Path::new(ASIDE).join(format!("f{number}"));
    match way {
        "write" | "twin" | "fold" => fs::write(path, content),
        "create" => {
            let _ = fs::remove_file(path);
            OpenOptions::new().write(true).create_new(true).open(path)?.write_all(content.as_bytes())
        }
        "rename" => fs::write(&aside, content).and_then(|()| fs::rename(&aside, path)),
        "link" => {
            fs::write(&aside, content)?;
            let _ = fs::remove_file(path);
            symlink(upwards(path).join(&aside), path)
        }
        "hard" => {
            fs::write(&aside, content)?;
            let _ = fs::remove_file(path);
            fs::hard_link(&aside, path)
        }
        "mkdir" => {
            let _ = fs::remove_file(path);
            fs::create_dir(path)?;
            fs::write(path.join("planted"), content)
        }
        other => Err(io::Error::other(format!("no way {other}"))),
    }
}

/// Builds the topmost folder of each path anew, with all that was in it and what is planted, and puts it in the old one's
/// place by renaming, or a link to it.
fn plant_by_folders(record: &mut Record, way: &str, pairs: &[(&Path, &str)]) {
    let mut tops: BTreeMap<&Path, Vec<(&Path, &str)>> = BTreeMap::new();
    for (path, content) in pairs {
        let Some(top) = path.components().next() else { continue };
        tops.entry(Path::new(top.as_os_str())).or_default().push((path, content));
    }
    for (number, (top, pairs)) in tops.into_iter().enumerate() {
        let made = replace_top(way, number, top, &pairs);
        let said = said_io(made);
        for (path, _) in pairs {
            record.note(path.display().to_string(), &said);
            record.note(format!("where {}", path.display()), path.display());
        }
    }
}

fn replace_top(way: &str, number: usize, top: &Path, pairs: &[(&Path, &str)]) -> io::Result<()> {
    let built = Path::new(ASIDE).join(format!("d{number}"));
    if top.is_dir() {
        copy_all(top, &built)?;
    }
    for (path, content) in pairs {
        let place = path.strip_prefix(top).ok().filter(|rest| !rest.as_os_str().is_empty());
        let place = place.map_or_else(|| built.clone(), |rest| built.join(rest));
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(place, content)?;
    }
    if fs::symlink_metadata(top).is_ok() {
        // A folder of the lower layer cannot be renamed (EXDEV): programs copy and delete instead, as `mv` does.
        let old = Path::new(ASIDE).join(format!("old{number}"));
        if fs::rename(top, old).is_err() {
            fs::remove_dir_all(top)?;
        }
    }
    if way == "linked-folder" { symlink(&built, top) } else { fs::rename(&built, top) }
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

/// As many `..` as lead from a path's folder to the workspace.
fn upwards(path: &Path) -> PathBuf {
    path.components().skip(1).map(|_| Component::ParentDir).collect()
}

fn each_name(path: &Path, change: impl Fn(&str) -> String) -> PathBuf {
    path.components().map(|name| change(&name.as_os_str().to_string_lossy())).collect()
}

/// A name that file systems which fold names take for this one: letters that fold to others, and one that nobody sees.
fn folded(name: &str) -> String {
    let letters = name.chars().map(|letter| match letter {
        'i' => '\u{131}',
        's' => '\u{17f}',
        'k' => '\u{212a}',
        other => other,
    });
    let mut folded: String = letters.collect();
    folded.push('\u{200c}');
    folded
}
