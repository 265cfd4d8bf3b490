//! What the settings of one repository name, and where the links in its own folder lead.
//!
//! All files that git could read are read, whatever their conditions (`includeIf "onbranch:…"`) say today: another
//! branch, and the person's git reads them. What a path is relative to depends on the command, so it is tried from each
//! folder that git runs programs in.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    super::{change::Namer, notice::visible, tree_path::TreePath},
    Cause, Far, NamedPath, Unread, alias,
    config::{self, Refused, Setting},
    look::{End, Looks, Way},
    words::{self, Meaning, Reach, Word, Words},
};

/// How deep files include one another, as git allows (`MAX_INCLUDE_DEPTH` of its `config.c`).
const MOST_INCLUDES: usize = 10;

/// Settings that are kept for one repository, of those that may matter. A person has tens.
const MOST_SETTINGS: usize = 20_000;

/// Characters of a setting's name that people are shown.
const LONGEST_NAME: usize = 200;

/// Times that a path is named in one repository. Each takes up to 30 µs of a core (optimised build, 1,000 values of hostile text
/// in a file of 1 MiB); an ordinary repository has hundreds.
const MOST_NAMED: usize = 50_000;

/// Settings files of a person and the machine: each repository of theirs obeys them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Personal {
    /// The home folder, for `~`.
    pub(crate) home: PathBuf,
    /// The files, which need not be there.
    pub(crate) files: Vec<PathBuf>,
}

impl Personal {
    /// The files that git reads for a user with this home, git-config(1), "FILES".
    pub(crate) fn of(home: &Path) -> Self {
        let files = vec![
            PathBuf::from("/etc/gitconfig"),
            PathBuf::from("/usr/local/etc/gitconfig"),
            home.join(".config/git/config"),
            home.join(".gitconfig"),
        ];
        Self { home: home.to_owned(), files }
    }
}

/// A repository that is being read.
pub(super) struct Repository<'a> {
    pub(super) looks: &'a mut Looks,
    pub(super) personal: &'a Personal,
    /// The workspace's own path.
    pub(super) workspace: &'a Path,
    /// Where its files lie.
    pub(super) top: PathBuf,
    /// Folders of the repository itself.
    own: Vec<PathBuf>,
    /// Where git runs what its settings name.
    pub(super) bases: Vec<PathBuf>,
    pub(super) named: Vec<NamedPath>,
    /// Settings that were kept.
    settings: usize,
    /// How often a path was named.
    pub(super) names: usize,
    /// Hooks that were read.
    pub(super) called: BTreeSet<PathBuf>,
}

/// A settings file.
pub(super) struct File {
    pub(super) path: PathBuf,
    /// What of it may matter here.
    pub(super) settings: Vec<Setting>,
}

impl<'a> Repository<'a> {
    /// Reads what belongs to the files at `top`, whether a repository is there or may come.
    ///
    /// # Errors
    /// The first thing that must be known and cannot be.
    pub(super) fn read(
        looks: &'a mut Looks,
        personal: &'a Personal,
        workspace: &'a Path,
        top: &Path,
    ) -> Result<Vec<NamedPath>, Unread> {
        let top = top.to_owned();
        let (bases, own, named) = (vec![top.clone()], Vec::new(), Vec::new());
        let called = BTreeSet::new();
        let mut repository = Self { looks, personal, workspace, top, own, bases, named, settings: 0, names: 0, called };
        repository.find_own()?;
        let mut files = Vec::new();
        for path in &personal.files {
            repository.add_file(path, &mut files, 0)?;
        }
        repository.add_files_of_own(&mut files)?;
        repository.obey(&files)?;
        repository.managers()?;
        for module in repository.modules()? {
            (repository.own, repository.bases, repository.called) = (vec![module], Vec::new(), BTreeSet::new());
            let mut files = Vec::new();
            repository.add_files_of_own(&mut files)?;
            repository.obey(&files)?;
            repository.links_of_own()?;
        }
        repository.check()?;
        Ok(repository.named)
    }

    /// # Errors
    /// When more was to be looked at than is, or something was not seen.
    pub(super) fn check(&self) -> Result<(), Unread> {
        if self.names > MOST_NAMED {
            return Err(self.unread("more paths are named than are looked at"));
        }
        self.looks.check(&self.top)
    }

    pub(super) fn unread(&self, why: &str) -> Unread {
        Unread::unknown(self.shown(&self.top), why.to_owned())
    }

    /// Finds the repository's own folders, `.git` first: gitrepository-layout(5).
    fn find_own(&mut self) -> Result<(), Unread> {
        let git = self.top.join(".git");
        let way = self.looks.way(&git);
        let mut own = Vec::new();
        match way.kind {
            End::Folder => own.push(git.clone()),
            End::File => {
                let text = self.looks.text(&git)?.unwrap_or_default();
                if let Some(target) = text.strip_prefix(b"gitdir:") {
                    let target = self.top.join(path_of(target.trim_ascii()));
                    let by = Namer::Setting { setting: "gitdir".to_owned(), file: self.shown(&git) };
                    self.name(&target, &by, Far::Tree)?;
                    own.push(target);
                }
            }
            End::Nothing | End::Loop => {}
        }
        let links = Namer::Link { link: self.shown(&git) };
        if !way.links.is_empty() {
            self.lead(way, &links);
        }
        if let Some(first) = own.first().cloned() {
            let pointer = first.join("commondir");
            self.looks.way(&pointer);
            if let Some(text) = self.looks.text(&pointer)? {
                let common = first.join(path_of(text.trim_ascii()));
                let by = Namer::Setting { setting: "commondir".to_owned(), file: self.shown(&first) };
                self.name(&common, &by, Far::Tree)?;
                own.push(common);
            }
        }
        self.own = own;
        self.links_of_own()
    }

    /// The folders of submodules, which have a `HEAD`; a submodule's name may have slashes.
    fn modules(&mut self) -> Result<Vec<PathBuf>, Unread> {
        let mut found = Vec::new();
        let mut pending: Vec<PathBuf> = self.own.iter().map(|own| own.join("modules")).collect();
        while let Some(folder) = pending.pop() {
            for name in self.looks.names(&folder)?.iter() {
                let below = folder.join(name);
                if self.looks.way(&below).kind != End::Folder {
                    continue;
                }
                if self.looks.way(&below.join("HEAD")).kind == End::Nothing {
                    pending.push(below);
                } else {
                    pending.push(below.join("modules"));
                    found.push(below);
                }
            }
        }
        Ok(found)
    }

    /// Reads the repository's own settings; those of one worktree only where git does, git-worktree(1), "CONFIGURATION FILE".
    fn add_files_of_own(&mut self, files: &mut Vec<File>) -> Result<(), Unread> {
        for own in self.own.clone() {
            self.add_file(&own.join("config"), files, 0)?;
        }
        let extends = |setting: &Setting| setting.section == "extensions" && setting.key == "worktreeconfig";
        if files.iter().flat_map(|file| &file.settings).any(extends) {
            for own in self.own.clone() {
                self.add_file(&own.join("config.worktree"), files, 0)?;
            }
        }
        Ok(())
    }

    /// Reads a settings file and what it includes. One that is there twice is read once.
    fn add_file(&mut self, path: &Path, files: &mut Vec<File>, depth: usize) -> Result<(), Unread> {
        let way = self.looks.way(path);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let path = &self.looks.way(folder).real.join(name);
        let shown = self.shown(path);
        if !way.links.is_empty() {
            self.lead(way, &Namer::Link { link: shown.clone() });
        }
        if files.iter().any(|file| file.path == *path) {
            return Ok(());
        }
        let text = match self.looks.text(path) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(()),
            // A git of the same user passes over these too (`ACCESS_EACCES_OK` of its `config.c`).
            Err(_) if self.personal.files.iter().any(|file| file == path) && self.looks.is_forbidden(path) => {
                return Ok(());
            }
            Err(unread) => return Err(Unread { file: shown, ..unread }),
        };
        if depth > MOST_INCLUDES {
            let why = format!("more than {MOST_INCLUDES} files include one another");
            return Err(Unread { file: shown, why, cause: Cause::Git });
        }
        let mut settings = config::parse(&text).map_err(|refused| match refused {
            Refused::Malformed(line) => {
                Unread { file: shown.clone(), why: format!("git would refuse its line {line}"), cause: Cause::Git }
            }
            Refused::TooMuch => Unread::unknown(shown.clone(), "its sections have names too long to keep".to_owned()),
        })?;
        let lines =
            settings.iter().filter(|setting| matches!(words::meaning(setting), Meaning::Command | Meaning::Words));
        let made: Vec<Setting> = lines.flat_map(|setting| alias::made_by(&setting.value, &setting.written)).collect();
        settings.extend(made);
        settings.retain(|setting| words::meaning(setting) != Meaning::None || setting.section == "extensions");
        self.settings += settings.len();
        if self.settings > MOST_SETTINGS {
            return Err(Unread::unknown(shown, format!("more than {MOST_SETTINGS} settings are read with it")));
        }
        let includes = settings.iter().filter(|setting| words::meaning(setting) == Meaning::Include);
        let includes: Vec<Setting> = includes.cloned().collect();
        files.push(File { path: path.to_owned(), settings });
        for setting in includes {
            let by = Namer::Setting { setting: written(&setting), file: shown.clone() };
            let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
            for text in words::of_path(&setting.value) {
                let homes = text.starts_with(b"~");
                for place in self.places(&text, std::slice::from_ref(&folder)) {
                    self.name(&place, &by, Far::Tree)?;
                    // Of the folders that may be somebody's home, others may write into some.
                    if !homes || place.starts_with(&self.personal.home) || self.looks.way(&place).end.is_some() {
                        let added = self.add_file(&place, files, depth + 1);
                        // Of a file that git reads only sometimes it dies only then.
                        let is_always = setting.written.eq_ignore_ascii_case("include.path");
                        let known = |unread: Unread| if is_always { unread } else { unread.of_unknown_cause() };
                        added.map_err(known)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Names what the settings name.
    pub(super) fn obey(&mut self, files: &[File]) -> Result<(), Unread> {
        let worktrees = files.iter().flat_map(|file| &file.settings);
        for setting in worktrees.filter(|setting| words::meaning(setting) == Meaning::WorkTree) {
            let bases = self.own.iter().map(|own| own.join(path_of(&setting.value)));
            let bases: Vec<PathBuf> = bases.collect();
            self.bases.extend(bases);
        }
        for file in files {
            let shown = self.shown(&file.path);
            for setting in &file.settings {
                let by = Namer::Setting { setting: written(setting), file: shown.clone() };
                let value = &setting.value;
                match words::meaning(setting) {
                    Meaning::None | Meaning::Include | Meaning::WorkTree => {}
                    Meaning::Path => {
                        for text in words::of_path(value) {
                            for place in self.places(&text, &self.bases) {
                                self.name(&place, &by, Far::Tree)?;
                                // A template's hooks are copied as they are, links as links.
                                self.hooks_in(&place.join("hooks"))?;
                            }
                        }
                    }
                    Meaning::Hooks => {
                        for text in words::of_path(value) {
                            for place in self.places(&text, &self.bases) {
                                self.name(&place, &by, Far::Whole)?;
                                self.hooks_in(&place)?;
                                // husky 9 (`husky.sh`): what is in `_` starts what has the same name in the folder above.
                                let above = place.parent().filter(|_| place.ends_with("_"));
                                if let Some(above) = above.filter(|above| self.bases.iter().all(|base| base != above)) {
                                    self.name(above, &by, Far::Tree)?;
                                    self.hooks_in(above)?;
                                }
                            }
                        }
                    }
                    Meaning::Command => self.name_parts(words::of_command(value), &by)?,
                    Meaning::Words => self.name_parts(alias::words_of(words::of_git(value).unwrap_or(value)), &by)?,
                    Meaning::Address => self.name_parts(words::of_command(&setting.subsection), &by)?,
                }
            }
        }
        Ok(())
    }

    fn name_parts(&mut self, words: Option<Words>, by: &Namer) -> Result<(), Unread> {
        let Some(words) = words else {
            return Err(self.unread(&format!("a value has too many words: {by}")));
        };
        self.name_words(&words, by)
    }

    fn name_words(&mut self, words: &Words, by: &Namer) -> Result<(), Unread> {
        let mut bases: BTreeSet<PathBuf> = self.bases.iter().cloned().collect();
        for entered in &words.entered {
            let places = self.places(entered, &self.bases);
            self.count(places.len())?;
            bases.extend(places);
        }
        let bases: Vec<PathBuf> = bases.into_iter().collect();
        for Word { text, reach } in &words.words {
            let far = match reach {
                Reach::Tree => Far::Tree,
                Reach::Name => Far::Name,
            };
            for place in self.places(text, &bases) {
                self.name(&place, by, far.clone())?;
                if *reach == Reach::Tree {
                    self.name_ends(&place, by)?;
                }
            }
        }
        self.name_modules(words, &bases, by)?;
        self.name_roots(words, &bases, by)?;
        for pattern in &words.patterns {
            self.name_pattern(pattern, &bases, (by, Far::Tree))?;
        }
        Ok(())
    }

    /// Counts that so many paths are about to be looked at.
    ///
    /// # Errors
    /// When they are more than are looked at.
    pub(super) fn count(&mut self, paths: usize) -> Result<(), Unread> {
        self.names += paths;
        self.check()
    }

    /// The absolute paths that a word may mean, from folders in which it may be read.
    pub(super) fn places(&self, text: &[u8], bases: &[PathBuf]) -> Vec<PathBuf> {
        let mut places = Vec::new();
        let mut from = |bases: &mut dyn Iterator<Item = &Path>, rest: &[u8]| {
            let rest = path_of(rest);
            let rest = rest.strip_prefix("/").unwrap_or(rest).to_owned();
            for base in bases {
                places.push(base.join(&rest));
            }
        };
        // Another user's home, or one that a variable names, can only matter if it is above the workspace.
        let mut above = self.workspace.ancestors();
        // The folder that the program is started in, proc(5).
        let text = text.strip_prefix(b"/proc/self/cwd/").unwrap_or(text);
        if let Some(rest) = text.strip_prefix(b"~") {
            let rest = rest.iter().position(|byte| *byte == b'/').map(|slash| &rest[slash..]).unwrap_or_default();
            from(&mut std::iter::once(self.personal.home.as_path()), rest);
            from(&mut above, rest);
        } else if text.starts_with(b"/") {
            // As it is, and as what stands behind a variable.
            from(&mut std::iter::once(Path::new("/")), text);
            from(&mut above, text);
            from(&mut bases.iter().chain(&self.own).map(PathBuf::as_path), text);
        } else {
            from(&mut bases.iter().map(PathBuf::as_path), text);
        }
        let places: BTreeSet<PathBuf> = places.into_iter().collect();
        places.into_iter().collect()
    }

    /// Notes a path that something names, with every link on its way.
    ///
    /// # Errors
    /// When more is named than is looked at.
    pub(super) fn name(&mut self, place: &Path, by: &Namer, far: Far) -> Result<(), Unread> {
        self.count(1)?;
        let way = self.looks.way(place);
        let far = match (far, way.kind) {
            // A bare word that is a folder is an argument far more often than a program.
            (Far::Name, End::Folder) => {
                self.note_links(&way, by);
                return Ok(());
            }
            (far, _) => far,
        };
        self.note_links(&way, by);
        match (way.end, &far) {
            (None, _) => {}
            // A command's `.` says where, not what.
            (Some(end), Far::Name | Far::Tree) if end == TreePath::root() => {}
            (Some(end), _) => self.named.push(NamedPath { path: end, far, by: by.clone() }),
        }
        Ok(())
    }

    fn note_links(&mut self, way: &Way, by: &Namer) {
        self.named.extend(way.links.iter().map(|link| NamedPath {
            path: link.clone(),
            far: Far::Tree,
            by: by.clone(),
        }));
    }

    /// Notes where a link leads.
    fn lead(&mut self, way: Way, by: &Namer) {
        self.note_links(&way, by);
        if let Some(path) = way.end.filter(|end| *end != TreePath::root()) {
            self.named.push(NamedPath { path, far: Far::Tree, by: by.clone() });
        }
    }

    /// The links of the repository's own folder: git reads through them.
    fn links_of_own(&mut self) -> Result<(), Unread> {
        for own in self.own.clone() {
            self.links_in(&own)?;
            self.links_in(&own.join("info"))?;
            self.hooks_in(&own.join("hooks"))?;
        }
        Ok(())
    }

    pub(super) fn links_in(&mut self, folder: &Path) -> Result<(), Unread> {
        self.looks.way(folder);
        for name in self.looks.names(folder)?.iter() {
            let path = folder.join(name);
            if self.looks.is_link(&path) {
                let way = self.looks.way(&path);
                let by = Namer::Link { link: self.shown(&path) };
                self.lead(way, &by);
            }
        }
        Ok(())
    }

    /// A path for people: relative to the workspace, where it lies in that.
    pub(super) fn shown(&self, path: &Path) -> String {
        let path = path.strip_prefix(self.workspace).unwrap_or(path);
        visible(&path.to_string_lossy())
    }
}

/// A setting's name for people.
fn written(setting: &Setting) -> String {
    let text = visible(&setting.written);
    match text.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
