//! What is seen of files with credentials, to be known again where it comes back under another name.
//!
//! A sandbox that moves a masked file brings a masked copy, and one that adds a line to it brings masked lines. Neither is what
//! the file holds, and neither may take its place.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
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
    lines: BTreeSet<Vec<u8>>,
}

impl Shown {
    /// Adds what is seen of a file, beside what it holds.
    pub(super) fn add(&mut self, path: &TreePath, shown: &[u8], real: &[u8]) -> io::Result<()> {
        if shown == real {
            return Ok(());
        }
        self.files.entry((shown.len() as u64, digest(shown)?)).or_default().push(path.clone());
        let real: BTreeSet<&[u8]> = lines(real).collect();
        self.lines.extend(lines(shown).filter(|line| !real.contains(line)).map(<[u8]>::to_vec));
        Ok(())
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
