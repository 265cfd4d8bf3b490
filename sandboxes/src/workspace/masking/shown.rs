//! What is seen of files with credentials, to be known again where it comes back under another name.
//!
//! A sandbox that moves a masked file brings a masked copy, and one that adds a line to it brings masked lines. Neither is what
//! the file holds, and neither may take its place.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use super::{
    super::{tree_path::TreePath, version::digest},
    layer::LARGEST,
};

/// What is seen of files, where that is not what they hold.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// By size in bytes and SHA-256.
    files: BTreeMap<(u64, String), Vec<TreePath>>,
    /// Lines, without spaces around them, that the real files do not have.
    lines: HashSet<Arc<[u8]>>,
}

/// What is seen of one file, where that is not what it holds.
#[derive(Debug)]
pub(super) struct ShownFile {
    /// In bytes.
    pub(super) size: usize,
    digest: String,
    lines: Vec<Arc<[u8]>>,
}

impl ShownFile {
    /// What is seen of a file, beside what it holds; `None` where that is the same.
    pub(super) fn of(shown: &[u8], real: &[u8]) -> io::Result<Option<Self>> {
        if shown == real {
            return Ok(None);
        }
        let known: HashSet<&[u8]> = lines(real).collect();
        let own: BTreeSet<&[u8]> = lines(shown).filter(|line| !known.contains(line)).collect();
        Ok(Some(Self { size: shown.len(), digest: digest(shown)?, lines: own.into_iter().map(Arc::from).collect() }))
    }
}

impl Shown {
    /// Adds what is seen of a file.
    pub(super) fn add(&mut self, path: &TreePath, seen: &ShownFile) {
        self.files.entry((seen.size as u64, seen.digest.clone())).or_default().push(path.clone());
        self.lines.extend(seen.lines.iter().cloned());
    }

    /// The files of which exactly this is seen. `digest` is asked only if the size (bytes) fits one.
    pub(super) fn files(&self, size: u64, digest: impl FnOnce() -> io::Result<String>) -> io::Result<&[TreePath]> {
        let mut of_size = self.files.range((size, String::new())..).take_while(|((other, _), _)| *other == size);
        if of_size.next().is_none() {
            return Ok(&[]);
        }
        Ok(self.files.get(&(size, digest()?)).map_or(&[], Vec::as_slice))
    }

    /// Whether a file of at most [`LARGEST`] bytes has one of the lines.
    pub(super) fn has_line_of(&self, file: File) -> io::Result<bool> {
        if self.lines.is_empty() || file.metadata()?.len() > LARGEST {
            return Ok(false);
        }
        let mut content = Vec::new();
        file.take(LARGEST).read_to_end(&mut content)?;
        Ok(lines(&content).any(|line| self.lines.contains(line)))
    }
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}
