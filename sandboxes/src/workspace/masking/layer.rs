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
    shown::Shown,
};

/// A larger file is not read, in bytes: nothing of it stays then.
pub(super) const LARGEST: u64 = 1 << 20;

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
    /// What is seen of them.
    pub(super) shown: Shown,
}

impl<'a> Built<'a> {
    pub(super) fn new(layer: BorrowedFd<'a>, workspace: BorrowedFd<'a>, secrets: &'a Secrets) -> Self {
        let (folders, masked, shown) = (BTreeSet::new(), BTreeMap::new(), Shown::default());
        Self { layer, workspace, secrets, folders, masked, values: Vec::new(), shown }
    }

    /// Adds a file, if its content is one that counts.
    pub(super) fn add(&mut self, place: &Place) -> Result<(), MaskError> {
        let failed = |source| MaskError::Mask { path: place.target.clone(), source };
        let listed = place.listed.as_path();
        let Some(candidate) = self.secrets.candidate(listed) else { return Ok(()) };
        if self.masked.contains_key(&place.target) {
            return Ok(());
        }
        let (mask, content) = if place.size > LARGEST {
            (candidate.unread(listed), Vec::new())
        } else {
            match self.content(&place.target) {
                Ok(content) => match candidate.mask(listed, &content) {
                    Some(mask) => (mask, content),
                    None => return Ok(()),
                },
                // Not for the server to read. Whoever is inside could give themselves the right to read their copy.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => (candidate.unread(listed), Vec::new()),
                // Gone by now, or no file any more: the next look finds that.
                Err(error) if error.kind() == io::ErrorKind::NotFound => (candidate.unread(listed), Vec::new()),
                Err(error) => return Err(failed(error)),
            }
        };
        self.put(place, &mask.shown).map_err(failed)?;
        match self.secrets.files() {
            SecretFiles::Masked => self.shown.add(&place.target, &mask.shown, &content).map_err(failed)?,
            SecretFiles::Absent => {}
        }
        let file = place.target.to_string();
        self.values.extend(mask.values.into_iter().map(|value| (value, file.clone())));
        self.masked.insert(place.target.clone(), candidate.pattern().to_owned());
        Ok(())
    }

    /// Leaves a folder out.
    pub(super) fn seal(&mut self, folder: &TreePath) -> Result<(), MaskError> {
        let failed = |source| MaskError::Mask { path: folder.clone(), source };
        self.make_parents(folder).and_then(|()| self.leave_out(folder)).map_err(failed)
    }

    /// As for a held deletion.
    fn leave_out(&self, path: &TreePath) -> io::Result<()> {
        let parent = beneath::folder_of(self.layer, path)?;
        Ok(rustix::fs::mknodat(&parent, path.name(), FileType::CharacterDevice, Mode::empty(), 0)?)
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
            SecretFiles::Absent => self.leave_out(&place.target)?,
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
