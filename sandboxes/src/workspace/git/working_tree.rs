//! Whether the working tree already is what a commit brings, found with our own eyes: each file beneath the pinned workspace is
//! compared with its object, byte for byte, and nothing that the repository names is run.
//!
//! So masks do not matter here, and no sandbox sees what they hide. What git may have changed between file and object is
//! answered for where the rule is plain (line ends), and named where a program or a table would be needed: filters,
//! `working-tree-encoding` and `ident` (gitattributes(5)). A file that is the object's bytes is as the commit has it whatever
//! its attributes are.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{self, BufReader, Read},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Component, Path},
};

use super::{
    ObjectId, TakeError,
    host::{in_git, name, small},
    program::{read_blobs, succeed},
    store::Store,
};
use crate::workspace::{
    TreePath, Workspace,
    beneath::{self, Blocked, Found, Kind},
};

/// The longest `.git` file of a submodule, and the longest `HEAD` of one, in bytes.
const POINTER_BYTES: u64 = 4200;

/// The longest `.git/info/attributes` that is read, in bytes.
const ATTRIBUTES_BYTES: u64 = 1 << 20;

/// The attributes that change what git makes of a file (gitattributes(5), "Checking-out and checking-in").
const ATTRIBUTES: [&str; 6] = ["text", "eol", "crlf", "filter", "ident", "working-tree-encoding"];

/// What settings say about files and objects (git-config(1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversions {
    /// `core.autocrlf`, for files without an attribute that says so.
    pub(super) line_ends: LineEnds,
    /// `core.fileMode`.
    pub(super) modes: Modes,
    /// `core.symlinks`.
    pub(super) links: Links,
}

/// What becomes of a file's line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnds {
    Kept,
    /// The object has LF for the file's CR LF where git takes the file for text (`core.autocrlf`, `text=auto`).
    ConvertedInText,
    /// The object has LF for the file's CR LF, whatever is in it (`text`).
    Converted,
}

/// Whether a file's mode says that it is executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modes {
    Compared,
    Ignored,
}

/// How the working tree has links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Links,
    /// As files with the target's name.
    Files,
}

/// What git knows of a file's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileMode {
    Plain,
    Executable,
}

/// What a commit brings at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Brings {
    /// It deletes what was there.
    Nothing,
    File {
        mode: FileMode,
        blob: ObjectId,
    },
    Link {
        blob: ObjectId,
    },
    /// A submodule at a commit.
    Submodule {
        commit: ObjectId,
    },
}

impl Brings {
    /// Of a mode and an object as `diff-tree --raw` prints them; `None` for a mode that git does not make.
    pub(super) fn of(mode: &str, object: ObjectId) -> Option<Self> {
        Some(match mode {
            "000000" => Self::Nothing,
            // Written before 2005; `git fsck` still takes it.
            "100644" | "100664" => Self::File { mode: FileMode::Plain, blob: object },
            "100755" => Self::File { mode: FileMode::Executable, blob: object },
            "120000" => Self::Link { blob: object },
            "160000" => Self::Submodule { commit: object },
            _ => return None,
        })
    }
}

impl FileMode {
    /// The owner's bit is the one that git looks at (`ce_permissions`, read-cache.c).
    fn of(mode: u32) -> Self {
        if mode & 0o100 == 0 { Self::Plain } else { Self::Executable }
    }
}

/// Refuses where the working tree is not yet what `changed` brings.
///
/// # Errors
/// [`TakeError::Differs`] names those that are not, [`TakeError::Converted`] those of which it cannot be told.
pub(super) fn compare(
    (workspace, store): (&Workspace, &Store),
    commit: &ObjectId,
    changed: &BTreeMap<TreePath, Brings>,
    conversions: Conversions,
) -> Result<(), TakeError> {
    let failed = |source| TakeError::Kernel { doing: "compare a file with the commit", source };
    let mut differ = Vec::new();
    let mut deleted = Vec::new();
    let mut untold = Vec::new();
    let mut blobs = Vec::new();
    for (path, brings) in changed {
        match brings {
            Brings::Nothing => match beneath::find(workspace.fd(), path).map_err(failed)? {
                Found::Entry(entry) if entry.kind != Kind::Folder => deleted.push(path.clone()),
                Found::Blocked(Blocked::Permission) => {
                    untold.push((path.clone(), "lies in a folder that cannot be looked into".to_owned()));
                }
                // What is behind a link or another file system is no file of the repository's.
                Found::Entry(_)
                | Found::Absent { .. }
                | Found::Blocked(Blocked::Link | Blocked::NotFolder | Blocked::Mount) => {}
            },
            Brings::Submodule { commit } => match submodule(workspace, path).map_err(failed)? {
                Submodule::Empty => {}
                Submodule::At(found) if found == *commit => {}
                // git takes one whose folder is gone for deleted.
                Submodule::Absent | Submodule::At(_) => differ.push(path.clone()),
                Submodule::Unknown => untold.push((path.clone(), "is a submodule on a branch".to_owned())),
            },
            Brings::File { blob, .. } | Brings::Link { blob } => blobs.push((path, brings, blob)),
        }
    }
    let mut others = Vec::new();
    let ids: Vec<&ObjectId> = blobs.iter().map(|(_, _, blob)| *blob).collect();
    read_blobs(store.in_trusted(), &ids, &mut |number, content| {
        let Some((path, brings, _)) = blobs.get(number) else { return Ok(()) };
        match look(workspace, path, brings, conversions)? {
            None => differ.push((*path).clone()),
            Some(ours) => {
                if !same(ours, content)? {
                    others.push(number);
                }
            }
        }
        Ok(())
    })?;
    // What is other bytes may still be what git made of the object, or would make of the file.
    let paths: Vec<&TreePath> = others.iter().filter_map(|number| blobs.get(*number)).map(|blob| blob.0).collect();
    let attributes = attributes((workspace, store), commit, &paths)?;
    let mut by_line_ends = Vec::new();
    for number in others {
        let Some((path, brings, _)) = blobs.get(number) else { continue };
        let known = attributes.get(*path);
        match known.and_then(converted) {
            _ if matches!(brings, Brings::Link { .. }) => differ.push((*path).clone()),
            Some(why) => untold.push(((*path).clone(), why)),
            None => match line_ends_of(known, conversions) {
                LineEnds::Kept => differ.push((*path).clone()),
                line_ends @ (LineEnds::Converted | LineEnds::ConvertedInText) => by_line_ends.push((number, line_ends)),
            },
        }
    }
    let ids: Vec<&ObjectId> =
        by_line_ends.iter().filter_map(|(number, _)| blobs.get(*number)).map(|(_, _, blob)| *blob).collect();
    read_blobs(store.in_trusted(), &ids, &mut |number, content| {
        let Some((number, line_ends)) = by_line_ends.get(number) else { return Ok(()) };
        let Some((path, brings, _)) = blobs.get(*number) else { return Ok(()) };
        let ours = || look(workspace, path, brings, conversions);
        let is_binary = *line_ends == LineEnds::ConvertedInText && ours()?.map(is_text).transpose()? == Some(false);
        let is_same = match ours()? {
            Some(_) if is_binary => false,
            None => false,
            Some(ours) => same(Box::new(OneLineEnd { inner: BufReader::new(ours), held: None }), content)?,
        };
        if !is_same {
            differ.push((*path).clone());
        }
        Ok(())
    })?;
    differ.extend(deleted.iter().cloned());
    differ.sort();
    if !differ.is_empty() {
        return Err(TakeError::Differs { commit: commit.clone(), paths: differ, deleted });
    }
    if !untold.is_empty() {
        return Err(TakeError::Converted { commit: commit.clone(), paths: untold });
    }
    Ok(())
}

/// The content of the workspace's file or link; `None` when something else is there, or it is executable and should not be.
fn look(
    workspace: &Workspace,
    path: &TreePath,
    brings: &Brings,
    conversions: Conversions,
) -> io::Result<Option<Box<dyn Read>>> {
    let found = match beneath::find(workspace.fd(), path)? {
        Found::Entry(found) => found,
        Found::Absent { .. } | Found::Blocked(_) => return Ok(None),
    };
    let is_link = match (brings, found.kind) {
        (Brings::Link { .. }, Kind::Link) => true,
        (Brings::Link { .. }, Kind::File) if conversions.links == Links::Files => false,
        (Brings::File { mode, .. }, Kind::File)
            if conversions.modes == Modes::Ignored || *mode == FileMode::of(found.mode) =>
        {
            false
        }
        (Brings::Nothing | Brings::File { .. } | Brings::Link { .. } | Brings::Submodule { .. }, _) => return Ok(None),
    };
    let read = || -> io::Result<Box<dyn Read>> {
        if !is_link {
            return Ok(Box::new(beneath::file(workspace.fd(), path.as_path())?));
        }
        let folder = beneath::folder_of(workspace.fd(), path)?;
        let target = beneath::link_target(folder.as_fd(), path.name())?;
        Ok(Box::new(io::Cursor::new(target.as_bytes().to_vec())))
    };
    match read() {
        Ok(content) => Ok(Some(content)),
        Err(error) if beneath::is_moved(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether two streams hold the same bytes. What is not read of them is left.
fn same(ours: Box<dyn Read>, object: &mut dyn Read) -> io::Result<bool> {
    let (mut ours, mut object) = (BufReader::with_capacity(1 << 16, ours), BufReader::with_capacity(1 << 16, object));
    loop {
        use io::BufRead as _;
        let (one, other) = (ours.fill_buf()?, object.fill_buf()?);
        let count = one.len().min(other.len());
        if count == 0 {
            return Ok(one.is_empty() && other.is_empty());
        }
        if one.get(..count) != other.get(..count) {
            return Ok(false);
        }
        ours.consume(count);
        object.consume(count);
    }
}

/// Whether git takes content for text where it is to find out (`gather_stats` and `convert_is_binary`, convert.c): no NUL, no
/// lone CR, and at most one control character to 128 others.
fn is_text(content: Box<dyn Read>) -> io::Result<bool> {
    let (mut shown, mut control) = (0_u64, 0_u64);
    let mut after_cr = false;
    let mut last = None;
    for byte in BufReader::with_capacity(1 << 16, content).bytes() {
        let byte = byte?;
        if byte == 0 || (after_cr && byte != b'\n') {
            return Ok(false);
        }
        after_cr = byte == b'\r';
        last = Some(byte);
        match byte {
            b'\r' | b'\n' => {}
            0x08 | b'\t' | 0x0c | 0x1b => shown += 1,
            0..0x20 | 0x7f => control += 1,
            _ => shown += 1,
        }
    }
    // An end-of-file mark of DOS is none.
    let control = if last == Some(0x1a) { control - 1 } else { control };
    Ok(!after_cr && shown >> 7 >= control)
}

/// A text with each CR LF as LF, which is what git keeps of it (`crlf_to_git`, convert.c).
struct OneLineEnd<R> {
    inner: BufReader<R>,
    /// A CR whose next byte has not been seen.
    held: Option<u8>,
}

impl<R: Read> Read for OneLineEnd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(slot) = buffer.get_mut(filled) {
            let mut byte = [0];
            let next = if self.inner.read(&mut byte)? == 0 { None } else { Some(byte[0]) };
            match (self.held.take(), next) {
                (Some(_), Some(b'\n')) => *slot = b'\n',
                (Some(held), next) => {
                    *slot = held;
                    self.held = next;
                }
                (None, Some(b'\r')) => {
                    self.held = Some(b'\r');
                    continue;
                }
                (None, Some(byte)) => *slot = byte,
                (None, None) => break,
            }
            filled += 1;
        }
        Ok(filled)
    }
}

/// A path's attributes, by their names, without those that are not set.
type Attributes = BTreeMap<String, String>;

/// What `.gitattributes` of the commit and `.git/info/attributes` say of these paths.
fn attributes(
    (workspace, store): (&Workspace, &Store),
    commit: &ObjectId,
    paths: &[&TreePath],
) -> Result<BTreeMap<TreePath, Attributes>, TakeError> {
    let mut found: BTreeMap<TreePath, Attributes> = BTreeMap::new();
    if paths.is_empty() {
        return Ok(found);
    }
    let failed = |source| TakeError::Kernel { doing: "read the repository's attributes", source };
    let own = small(workspace, &in_git(&name("info/attributes")), ATTRIBUTES_BYTES).map_err(failed)?;
    store.put("attributes".as_ref(), &own.unwrap_or_default()).map_err(failed)?;
    // An index of its own says which `.gitattributes` there are: `--source` is git 2.40's.
    let index = [("GIT_INDEX_FILE", "attributes.index")];
    let mut command = store.in_trusted();
    command.envs(index).args(["read-tree", commit.as_str()]);
    succeed(command, "read the commit's attributes", &[])?;
    let mut command = store.in_trusted();
    // As if they were the person's own: of attributes that change a file it is only asked whether there are any.
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "core.attributesFile");
    command.env("GIT_CONFIG_VALUE_0", "attributes").envs(index);
    command.args(["check-attr", "-z", "--stdin", "--cached"]).args(ATTRIBUTES);
    let asked: Vec<u8> =
        paths.iter().flat_map(|path| [path.as_path().as_os_str().as_bytes(), b"\0"].concat()).collect();
    let told = succeed(command, "read the commit's attributes", &asked)?;
    let mut fields = told.split(|byte| *byte == 0);
    while let (Some(path), Some(attribute), Some(value)) = (fields.next(), fields.next(), fields.next()) {
        let [attribute, value] = [attribute, value].map(|text| String::from_utf8_lossy(text).into_owned());
        if let Some(path) = TreePath::new(OsStr::from_bytes(path))
            && value != "unspecified"
        {
            found.entry(path).or_default().insert(attribute, value);
        }
    }
    Ok(found)
}

/// What stands between a file and its object that only git and its programs can undo.
fn converted(attributes: &Attributes) -> Option<String> {
    let value = |name: &str| attributes.get(name).map(String::as_str).filter(|value| *value != "unset");
    if let Some(filter) = value("filter").filter(|filter| *filter != "set") {
        let filter = crate::workspace::notice::visible(filter);
        return Some(format!("passes through the filter `{filter}`"));
    }
    if let Some(encoding) = value("working-tree-encoding") {
        return Some(format!("is kept in the encoding `{}`", crate::workspace::notice::visible(encoding)));
    }
    value("ident").map(|_| "has its `$Id$` expanded".to_owned())
}

/// What git does with a file's line ends (`convert_attrs`, convert.c).
fn line_ends_of(attributes: Option<&Attributes>, conversions: Conversions) -> LineEnds {
    let value = |name: &str| attributes.and_then(|attributes| attributes.get(name)).map(String::as_str);
    match (value("text").or(value("crlf")), value("eol")) {
        (Some("unset"), _) => LineEnds::Kept,
        (Some("auto"), _) => LineEnds::ConvertedInText,
        (Some(_), _) | (None, Some("lf" | "crlf")) => LineEnds::Converted,
        (None, _) => conversions.line_ends,
    }
}

/// How a submodule is checked out.
enum Submodule {
    /// Not at all: there is no folder.
    Absent,
    /// Not at all: an empty folder.
    Empty,
    At(ObjectId),
    /// Its repository is not one that `git submodule` made, or it is on a branch.
    Unknown,
}

/// Reads a submodule's commit: of the repository below `.git/modules` that its `.git` file points to, as `git submodule`
/// leaves it.
fn submodule(workspace: &Workspace, path: &TreePath) -> io::Result<Submodule> {
    match beneath::find(workspace.fd(), path)? {
        Found::Entry(entry) if entry.kind == Kind::Folder => {}
        Found::Absent { .. } => return Ok(Submodule::Absent),
        Found::Entry(_) | Found::Blocked(_) => return Ok(Submodule::Unknown),
    }
    let Some(text) = small(workspace, &path.join(".git".as_ref()), POINTER_BYTES)? else {
        let folder = beneath::folder(workspace.fd(), path.as_path())?;
        let is_empty = beneath::names(folder.as_fd())?.is_empty();
        return Ok(if is_empty { Submodule::Empty } else { Submodule::Unknown });
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let target = text.strip_prefix("gitdir:").map(str::trim).and_then(|target| resolved(path, Path::new(target)));
    let Some(target) = target.filter(|target| target.as_path().starts_with(".git/modules")) else {
        return Ok(Submodule::Unknown);
    };
    let head = small(workspace, &target.join("HEAD".as_ref()), POINTER_BYTES)?.unwrap_or_default();
    let head = ObjectId::new(String::from_utf8_lossy(&head).trim_end());
    Ok(head.map_or(Submodule::Unknown, Submodule::At))
}

/// A relative path as seen from `folder`; `None` where it leads out of the workspace.
fn resolved(folder: &TreePath, target: &Path) -> Option<TreePath> {
    let mut names: Vec<&OsStr> = folder.as_path().iter().collect();
    for component in target.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::ParentDir => drop(names.pop()?),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    TreePath::new(names.iter().collect::<std::path::PathBuf>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carriage_return_goes_only_where_a_line_feed_follows() {
        for (text, kept) in [
            ("", ""),
            ("a\r\nb\n", "a\nb\n"),
            ("\r", "\r"),
            ("a\r", "a\r"),
            ("\r\r\n", "\r\n"),
            ("\r\n\r\n", "\n\n"),
            ("\ra\r\r", "\ra\r\r"),
        ] {
            let mut found = String::new();
            let mut reader = OneLineEnd { inner: BufReader::new(text.as_bytes()), held: None };
            reader.read_to_string(&mut found).unwrap();
            assert_eq!(found, kept, "{text:?}");
        }
    }

    #[test]
    fn a_submodules_pointer_is_followed_within_the_workspace_only() {
        let from = |target: &str| resolved(&name("a/b"), Path::new(target)).map(|path| path.to_string());
        assert_eq!(from("../../.git/modules/b").as_deref(), Some(".git/modules/b"));
        assert_eq!(from("../../../.git"), None);
        assert_eq!(from("/etc"), None);
    }
}
