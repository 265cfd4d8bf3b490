//! A folder's content as a value, so that two moments can be compared whole.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Every entry below a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<PathBuf, Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Folder,
    File([u8; 32]),
    Link(PathBuf),
    Other,
}

impl Tree {
    /// What is below `folder` now.
    pub(crate) fn of(folder: &Path) -> Self {
        let mut entries = BTreeMap::new();
        walk(folder, Path::new(""), &mut entries);
        Self(entries)
    }

    /// Paths that are in one of both only, or differ.
    pub(crate) fn differences(&self, other: &Self) -> Vec<PathBuf> {
        let paths = self.0.keys().chain(other.0.keys());
        let mut paths: Vec<PathBuf> = paths.filter(|path| self.0.get(*path) != other.0.get(*path)).cloned().collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// Every path.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }
}

fn walk(root: &Path, below: &Path, entries: &mut BTreeMap<PathBuf, Entry>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let name = below.join(entry.unwrap().file_name());
        let path = root.join(&name);
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let content = if kind.is_dir() {
            Content::Folder
        } else if kind.is_symlink() {
            Content::Link(fs::read_link(&path).unwrap())
        } else if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
            Content::Other
        } else {
            Content::File(Sha256::digest(fs::read(&path).unwrap()).into())
        };
        let folder = content == Content::Folder;
        let owner = (metadata.uid(), metadata.gid());
        entries.insert(name.clone(), Entry { mode: metadata.mode(), owner, content });
        if folder {
            walk(root, &name, entries);
        }
    }
}
