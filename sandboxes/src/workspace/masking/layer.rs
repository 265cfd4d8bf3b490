//! Builds the layer that lies over a workspace's files with credentials.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::SystemTime,
};

use cofferdam_policy::{MOST_VALUE_BYTES, SecretFiles, Secrets};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::{
    super::{
        authored::Authored,
        beneath::{self, Entry, Found, Kind},
        tree_path::TreePath,
    },
    MaskError,
    find::Place,
    readings::{MOST_SHOWN, Made, One, Readings},
    shown::ShownFile,
};

/// A larger file is not read, in bytes: nothing of it stays then.
pub(super) const LARGEST: u64 = 1 << 20;

/// A layer that is being built.
pub(super) struct Built<'a> {
    layer: BorrowedFd<'a>,
    workspace: BorrowedFd<'a>,
    secrets: &'a Secrets,
    /// What was made before, and the layer that has it.
    before: (&'a Readings, Option<BorrowedFd<'a>>),
    authored: &'a Authored,
    folders: BTreeSet<TreePath>,
    shown_bytes: usize,
    /// As many as the values have, or more.
    value_bytes: usize,
    /// What was made of each file.
    pub(super) files: BTreeMap<TreePath, One>,
}

impl<'a> Built<'a> {
    pub(super) fn new(
        layer: BorrowedFd<'a>,
        workspace: BorrowedFd<'a>,
        secrets: &'a Secrets,
        before: (&'a Readings, Option<BorrowedFd<'a>>),
        authored: &'a Authored,
    ) -> Self {
        Self {
            layer,
            workspace,
            secrets,
            before,
            authored,
            folders: BTreeSet::new(),
            shown_bytes: 0,
            value_bytes: 0,
            files: BTreeMap::new(),
        }
    }

    /// Adds files, each if its content is one that counts. Those that are as they were first: there is room for them.
    pub(super) fn add_all(&mut self, places: &[Place]) -> Result<(), MaskError> {
        let mut others = Vec::new();
        for place in places {
            let failed = |source| MaskError::Mask { path: place.target.clone(), source };
            if self.is_made(place) {
                continue;
            }
            match self.before.0.of(place) {
                Some(one) if self.put_again(place, one).map_err(failed)? == Again::There => {
                    let seen = one.made.as_ref().and_then(|made| made.seen.as_ref());
                    self.shown_bytes += seen.map_or(0, |seen| seen.size);
                    self.files.insert(place.target.clone(), one.clone());
                }
                Some(_) | None => others.push(place),
            }
        }
        // An agent's files take no room from a person's.
        others.sort_by_key(|place| self.authored.has(&place.target));
        for place in others {
            self.add(place).map_err(|source| MaskError::Mask { path: place.target.clone(), source })?;
        }
        Ok(())
    }

    /// The other names of files that are masked by now, of which `names` has all that are known: what a file holds counts under
    /// each of them if it does under one.
    pub(super) fn others(&self, places: &[Place], mut names: BTreeMap<(u64, u64), BTreeSet<TreePath>>) -> Vec<Place> {
        let mut others = Vec::new();
        for place in places.iter().filter(|place| place.entry.links > 1 && self.is_made(place)) {
            let names = names.remove(&place.entry.identity()).unwrap_or_default();
            let other = |target| Place { listed: place.listed.clone(), target, links: Vec::new(), entry: place.entry };
            others.extend(names.into_iter().map(other));
        }
        others
    }

    /// Whether a file is masked by now. One whose content does not count under one listed name may count under another.
    fn is_made(&self, place: &Place) -> bool {
        self.files.get(&place.target).is_some_and(|one| one.made.is_some())
    }

    fn add(&mut self, place: &Place) -> io::Result<()> {
        let listed = place.listed.as_path();
        let Some(candidate) = self.secrets.candidate(listed) else { return Ok(()) };
        if self.is_made(place) {
            return Ok(());
        }
        let read = SystemTime::now();
        let mut one = One { listed: place.listed.clone(), entry: place.entry, read: Some(read), made: None };
        let (mut mask, content) = if place.entry.size > LARGEST {
            (candidate.unread(listed), Vec::new())
        } else {
            match self.content(&place.target) {
                Ok((content, entry)) => {
                    // Another one by now: the next look finds that, and what was made of it is for this layer alone.
                    one.read = one.read.filter(|_| entry == place.entry);
                    match candidate.mask(listed, &content) {
                        Some(mask) => (mask, content),
                        None => {
                            self.files.insert(place.target.clone(), one);
                            return Ok(());
                        }
                    }
                }
                // Not for the server to read. Whoever is inside could give themselves the right to read their copy. Or gone by
                // now, or no file any more: the next look finds that.
                Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) => {
                    one.read = None;
                    (candidate.unread(listed), Vec::new())
                }
                Err(error) => return Err(error),
            }
        };
        if self.shown_bytes + mask.shown.len() > MOST_SHOWN {
            mask.shown = candidate.unread(listed).shown;
            one.read = None;
        }
        self.shown_bytes += mask.shown.len();
        self.put(place, &mask.shown)?;
        let seen = match self.secrets.files() {
            SecretFiles::Masked => ShownFile::of(&mask.shown, &content)?.map(Arc::new),
            SecretFiles::Absent => None,
        };
        if self.authored.wrote(&place.target, &content) {
            mask.values.clear();
            mask.left_out = 0;
        }
        let values: Vec<Arc<str>> = mask.values.into_iter().map(Arc::from).collect();
        self.value_bytes += values.iter().map(|value| value.len()).sum::<usize>();
        one.made = Some(Made { pattern: candidate.pattern().to_owned(), seen, values, left_out: mask.left_out });
        self.files.insert(place.target.clone(), one);
        if self.value_bytes > 4 * MOST_VALUE_BYTES {
            // Not only at the end: very many files would fill the memory.
            self.files = Readings::new(std::mem::take(&mut self.files)).files();
            self.value_bytes = MOST_VALUE_BYTES;
        }
        Ok(())
    }

    /// Puts there what was there in the layer before. Files of layers never change.
    fn put_again(&mut self, place: &Place, one: &One) -> io::Result<Again> {
        if one.made.is_none() {
            return Ok(Again::There);
        }
        match self.secrets.files() {
            SecretFiles::Absent => {
                self.make_parents(&place.target)?;
                self.leave_out(&place.target)?;
                Ok(Again::There)
            }
            SecretFiles::Masked => {
                let Some(before) = self.before.1 else { return Ok(Again::Missing) };
                self.make_parents(&place.target)?;
                let (from, to) =
                    (beneath::folder_of(before, &place.target)?, beneath::folder_of(self.layer, &place.target)?);
                let name = place.target.name();
                // Where a file can have no more names it is made anew.
                let linked = rustix::fs::linkat(&from, name, &to, name, AtFlags::empty());
                Ok(linked.map_or(Again::Missing, |()| Again::There))
            }
        }
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

    /// What a file holds, and what it was then.
    fn content(&self, path: &TreePath) -> io::Result<(Vec<u8>, Entry)> {
        let file = beneath::file(self.workspace, path.as_path())?;
        let mut content = Vec::new();
        (&file).take(LARGEST).read_to_end(&mut content)?;
        Ok((content, beneath::entry_of(&file)?))
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
                beneath::set_mode(file.as_fd(), place.entry.permissions() | 0o400)?;
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

/// Whether a layer has what the one before had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    There,
    Missing,
}
