//! What hooks call, and what patterns, modules and names without an end may be: files of the workspace.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use cofferdam_policy::fold_name;

use super::{
    super::{change::Namer, tree_path::TreePath},
    Far, NamedPath, Unread, alias,
    config::Setting,
    look::End,
    repository::{File, Repository},
    script::GAP,
    words::{self, Meaning, Words},
};

/// Rounds of folders that are entered from others: `cd a`, then `cd b`.
const MOST_ENTERED: usize = 8;

/// Ends of names that are data far more often than programs: named without a folder they do not count.
const DATA: &[&str] = &[
    ".cfg", ".css", ".csv", ".html", ".ini", ".json", ".lock", ".log", ".md", ".mod", ".sum", ".toml", ".txt", ".xml",
    ".yaml", ".yml",
];

impl Repository<'_> {
    /// Names what hooks lead to: links, and what a hook of many parts calls (`pre-commit.d`).
    pub(super) fn hooks_in(&mut self, folder: &Path) -> Result<(), Unread> {
        self.links_in(folder)?;
        self.calls_in(folder)?;
        for name in self.looks.names(folder)?.iter() {
            let part = folder.join(name);
            if self.looks.way(&part).kind == End::Folder {
                self.links_in(&part)?;
                self.calls_in(&part)?;
            }
        }
        Ok(())
    }

    /// Names the files of the workspace that hooks call. A hook is a program and may call more; what is not a text says
    /// nothing here.
    ///
    /// # Errors
    /// When a hook is a text and too large to be read, or says too much.
    fn calls_in(&mut self, folder: &Path) -> Result<(), Unread> {
        for name in self.looks.names(folder)?.iter() {
            let path = folder.join(name);
            let is_hook = !name.as_bytes().ends_with(b".sample") && self.looks.way(&path).kind == End::File;
            if !is_hook || !self.called.insert(path.clone()) {
                continue;
            }
            let mut text = match self.looks.text(&path) {
                Ok(text) => text.unwrap_or_default(),
                Err(unread) if self.looks.is_script(&path) => return Err(unread),
                Err(_) => continue,
            };
            // A shell passes over a NUL in a script.
            match text.starts_with(b"#!") {
                true => text.retain(|byte| *byte != 0),
                false if text.contains(&0) => continue,
                false => {}
            }
            let by = Namer::Hook { hook: self.shown(&path) };
            let called = words::of_hook(&text);
            let called = called.ok_or_else(|| self.unread(&format!("a line has too many words: {by}")))?;
            self.name_called(&called, folder, &by)?;
            self.obey(&[File { settings: made_by(&text), path }])?;
        }
        Ok(())
    }

    /// Names what a hook, or a text like it, in this folder calls.
    pub(super) fn name_called(&mut self, called: &Words, folder: &Path, by: &Namer) -> Result<(), Unread> {
        let mut bases: Vec<PathBuf> = self.bases.iter().cloned().chain([folder.to_owned()]).collect();
        let first = bases.len();
        for _ in 0..MOST_ENTERED {
            let before = bases.len();
            for text in called.entered.iter().chain(&called.walked) {
                let places = match is_wild(OsStr::from_bytes(text)) {
                    true => self.matching(text, &bases)?,
                    false => self.places(text, &bases),
                };
                for place in places {
                    self.count(1)?;
                    let way = self.looks.way(&place);
                    if way.kind == End::Folder && way.end.is_some() && !bases.contains(&way.real) {
                        bases.push(way.real);
                    }
                }
            }
            if bases.len() == before {
                break;
            }
        }
        for text in called.words.iter().map(|word| &word.text).chain(&called.entered) {
            let is_path = text.contains(&b'/') && !text.ends_with(b"/");
            for place in self.places(text, &bases) {
                self.count(1)?;
                let is_there = self.looks.way(&place).kind == End::File;
                if is_path || (is_there && !is_data(text)) {
                    self.name(&place, by, Far::Name)?;
                }
                if is_path {
                    self.name_ends(&place, by)?;
                }
            }
        }
        // An interpreter starts what is in a folder that it is given; what a module is, is not told by what is there.
        for text in &called.programs {
            for place in self.places(text, &bases) {
                match self.looks.way(&place).kind {
                    End::File => self.name(&place, by, Far::Name)?,
                    End::Folder | End::Nothing | End::Loop => self.name(&place, by, Far::Tree)?,
                }
                self.name_ends(&place, by)?;
            }
        }
        for text in called.modules.iter().filter(|text| !text.ends_with(b"__init__")) {
            for place in self.places(text, &bases) {
                self.name(&place.join("__main__.py"), by, Far::Name)?;
                self.name(&place.join("__init__.py"), by, Far::Name)?;
            }
        }
        self.name_modules(called, &bases, by)?;
        self.name_roots(called, &bases, by)?;
        for pattern in &called.patterns {
            // `$folder/$name` is a file of a folder that the hook names.
            let bases = if words::has_literal(pattern) { &bases } else { bases.get(first..).unwrap_or_default() };
            self.name_pattern(pattern, bases, (by, Far::Name))?;
        }
        Ok(())
    }

    /// Names what a path without an end may be to a program that looks for one: `node tools/x` runs `tools/x.js`.
    pub(super) fn name_ends(&mut self, place: &Path, by: &Namer) -> Result<(), Unread> {
        let Some(name) = place.file_name().filter(|name| !name.as_bytes().contains(&b'.')) else { return Ok(()) };
        self.count(1)?;
        if self.looks.way(place).kind == End::Nothing {
            self.name_between(place, (name.as_bytes(), b""), b".", by);
        }
        Ok(())
    }

    /// Names what is beside `place` with a name that begins and ends so.
    fn name_between(&mut self, place: &Path, (before, after): (&[u8], &[u8]), dot: &[u8], by: &Namer) {
        let Some(folder) = place.parent() else { return };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // An end that is folded away at the end of a name stays before others.
        let before = fold_name(&format!("{}{}x", text(before), text(dot)));
        let before = before.strip_suffix('x').unwrap_or(&before).to_owned();
        let after = fold_name(&text(after));
        let end = self.looks.way(folder).end;
        if let Some(path) = end.filter(|end| *end != TreePath::root() || !(before.is_empty() && after.is_empty())) {
            self.named.push(NamedPath { path, far: Far::Between(before, after), by: by.clone() });
        }
    }

    /// Names what a pattern means: what is there, and in a folder that it names what may come.
    pub(super) fn name_pattern(
        &mut self,
        pattern: &[u8],
        bases: &[PathBuf],
        (by, far): (&Namer, Far),
    ) -> Result<(), Unread> {
        for place in self.matching(pattern, bases)? {
            self.name(&place, by, far.clone())?;
        }
        for place in self.places(pattern, bases) {
            self.count(1)?;
            let is_literal = place.parent().is_some_and(|folder| !is_wild(folder.as_os_str()));
            if let Some(name) = place.file_name().filter(|name| is_literal && is_wild(name)) {
                let (before, after) = ends(name);
                self.name_between(&place, (before, after), b"", by);
            }
        }
        Ok(())
    }

    /// Names the files that a module of Python may be in.
    pub(super) fn name_modules(&mut self, words: &Words, bases: &[PathBuf], by: &Namer) -> Result<(), Unread> {
        for module in &words.modules {
            for place in self.places(module, bases) {
                let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else { continue };
                let name = name.to_string_lossy();
                self.name(&folder.join(format!("{name}.py")), by, Far::Name)?;
                if let Some(folder) = self.looks.way(folder).end {
                    let before = fold_name(&format!("{name}.x")).trim_end_matches('x').to_owned();
                    self.named.extend(words::MODULE_ENDS.map(|after| NamedPath {
                        path: folder.clone(),
                        far: Far::Between(before.clone(), after.to_owned()),
                        by: by.clone(),
                    }));
                }
            }
        }
        Ok(())
    }

    /// Names the folders in which programs and modules are looked for. One that begins with a slash is meant as it is.
    pub(super) fn name_roots(&mut self, words: &Words, bases: &[PathBuf], by: &Namer) -> Result<(), Unread> {
        for root in &words.roots {
            let behind: Vec<u8> = root.iter().copied().skip_while(|byte| *byte == GAP).collect();
            let is_behind = behind.len() < root.len();
            let rest = behind.strip_prefix(b"/").filter(|_| is_behind).unwrap_or(&behind);
            let home = rest.strip_prefix(b"~/").map(|rest| self.personal.home.join(OsStr::from_bytes(rest)));
            let places: Vec<PathBuf> = match home {
                Some(home) => vec![home],
                None => bases
                    .iter()
                    .map(|base| base.join(OsStr::from_bytes(rest)))
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
            };
            for place in places {
                self.name(&place, by, Far::Tree)?;
            }
        }
        Ok(())
    }

    /// What there is that a pattern of a shell means, in the workspace. `[…]` means any one name here.
    fn matching(&mut self, pattern: &[u8], bases: &[PathBuf]) -> Result<Vec<PathBuf>, Unread> {
        let mut found = Vec::new();
        for place in self.places(pattern, bases) {
            let mut places = vec![PathBuf::new()];
            for part in place.iter() {
                if !is_wild(part) {
                    places.iter_mut().for_each(|place| place.push(part));
                    continue;
                }
                let mut next = Vec::new();
                for place in places {
                    if self.looks.way(&place).end.is_none() {
                        continue;
                    }
                    let names = self.looks.names(&place)?;
                    // A name is compared in a hundredth of the time of a look.
                    self.count(1 + names.len() / 100)?;
                    let names = names.iter().filter(|name| is_between(name, part));
                    next.extend(names.map(|name| place.join(name)));
                }
                places = next;
                self.count(places.len())?;
            }
            found.extend(places);
        }
        Ok(found)
    }
}

/// The settings that the command lines of a hook make.
fn made_by(text: &[u8]) -> Vec<Setting> {
    let made = text.split(|byte| *byte == b'\n').flat_map(|line| alias::made_by(line, "-c"));
    made.filter(|setting| words::meaning(setting) != Meaning::None).collect()
}

fn is_data(text: &[u8]) -> bool {
    DATA.iter().any(|end| text.len() > end.len() && text[text.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes()))
}

fn is_wild(part: &OsStr) -> bool {
    part.as_bytes().iter().any(|byte| b"*?[".contains(byte))
}

/// What a pattern of a shell begins and ends with. A bracket without its other one is a letter.
fn ends(pattern: &OsStr) -> (&[u8], &[u8]) {
    let pattern = pattern.as_bytes();
    let opened = pattern.iter().position(|byte| *byte == b'[');
    let closed = pattern.iter().rposition(|byte| *byte == b']');
    let is_wild = |(at, byte): (usize, &u8)| match byte {
        b'*' | b'?' => true,
        b'[' => closed > Some(at),
        b']' => opened.is_some_and(|opened| opened < at),
        _ => false,
    };
    let first = pattern.iter().enumerate().position(is_wild).unwrap_or(pattern.len());
    let last = (first..pattern.len()).rev().find(|at| is_wild((*at, &pattern[*at]))).map_or(0, |last| last + 1);
    (&pattern[..first], &pattern[last..])
}

/// Whether a name begins and ends as a pattern of a shell does.
fn is_between(name: &OsStr, pattern: &OsStr) -> bool {
    let (name, (before, after)) = (name.as_bytes(), ends(pattern));
    let is_hidden = name.starts_with(b".") && !pattern.as_bytes().starts_with(b".");
    !is_hidden && name.starts_with(before) && name.ends_with(after)
}
