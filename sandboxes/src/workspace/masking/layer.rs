//! Builds the layer that lies over a workspace's files with credentials.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
};

use cofferdam_policy::{SecretFiles, Secrets};
use rustix::fs::{FileType, Mode, OFlags};

use super::{
    super::{
        beneath::{self, Found, Kind},
        tree_path::TreePath,
    },
    MaskError,
    find::Place,
};

/// A larger file is not read, in bytes: nothing of it stays then.
const LARGEST: u64 = 1 << 20;

/// A layer that is being built.
pub(super) struct Built<'a> {
    layer: BorrowedFd<'a>,
    workspace: BorrowedFd<'a>,
    secrets: &'a Secrets,
    folders: BTreeSet<TreePath>,
    /// The masked files, and the line of the list that each is on.
    pub(super) masked: BTreeMap<TreePath, String>,
    /// Values that they hold, and where.
    pub(super) values: Vec<(String, String)>,
}

impl<'a> Built<'a> {
    pub(super) fn new(layer: BorrowedFd<'a>, workspace: BorrowedFd<'a>, secrets: &'a Secrets) -> Self {
        Self { layer, workspace, secrets, folders: BTreeSet::new(), masked: BTreeMap::new(), values: Vec::new() }
    }

    /// Adds a file, if its content is one that counts.
    pub(super) fn add(&mut self, place: &Place) -> Result<(), MaskError> {
        let failed = |source| MaskError::Mask { path: place.target.clone(), source };
        let listed = place.listed.as_path();
        let Some(candidate) = self.secrets.candidate(listed) else { return Ok(()) };
        if self.masked.contains_key(&place.target) {
            return Ok(());
        }
        let mask = if place.size > LARGEST {
            candidate.unread(listed)
        } else {
            match self.content(&place.target) {
                Ok(content) => match candidate.mask(listed, &content) {
                    Some(mask) => mask,
                    None => return Ok(()),
                },
                // Not for the server to read: for an ordinary user not for the sandbox either.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => candidate.unread(listed),
                // Gone by now, or no file any more: the next look finds that.
                Err(error) if error.kind() == io::ErrorKind::NotFound => candidate.unread(listed),
                Err(error) => return Err(failed(error)),
            }
        };
        self.put(place, &mask.shown).map_err(failed)?;
        let file = place.target.to_string();
        self.values.extend(mask.values.into_iter().map(|value| (value, file.clone())));
        self.masked.insert(place.target.clone(), candidate.pattern().to_owned());
        Ok(())
    }

    fn content(&self, path: &TreePath) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        beneath::file(self.workspace, path.as_path())?.take(LARGEST).read_to_end(&mut content)?;
        Ok(content)
    }

    fn put(&mut self, place: &Place, shown: &[u8]) -> io::Result<()> {
        self.make_parents(&place.target)?;
        let parent = beneath::folder_of(self.layer, &place.target)?;
        let name = place.target.name();
        match self.secrets.files() {
            SecretFiles::Absent => {
                // As for a held deletion.
                rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), 0)?;
            }
            SecretFiles::Masked => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)?);
                file.write_all(shown)?;
                beneath::set_mode(file.as_fd(), place.mode | 0o400)?;
            }
        }
        Ok(())
    }

    /// In the view, the layer's modes hide those of what is below: they are the same.
    fn make_parents(&mut self, path: &TreePath) -> io::Result<()> {
        let mut missing: Vec<_> = path.folders_above().take_while(|above| !self.folders.contains(above)).collect();
        while let Some(folder) = missing.pop() {
            if folder == TreePath::root() {
                continue;
            }
            let mode = match beneath::find(self.workspace, &folder)? {
                Found::Entry(entry) if entry.kind == Kind::Folder => entry.permissions() | 0o700,
                Found::Entry(_) | Found::Absent { .. } | Found::Blocked(_) => 0o755,
            };
            let parent = beneath::folder_of(self.layer, &folder)?;
            rustix::fs::mkdirat(&parent, folder.name(), Mode::RWXU)?;
            beneath::set_mode(beneath::folder(self.layer, folder.as_path())?.as_fd(), mode)?;
            self.folders.insert(folder);
        }
        Ok(())
    }
}
