//! Which files of a workspace hold credentials, and what of them a sandbox sees.
//!
//! An agent needs to know that there is a `DATABASE_URL`, and never which. So such files appear inside with their values
//! replaced, or not at all, as the operator chooses. The list is compiled in; a policy adds globs, and only the operator's
//! lets exact paths through. Names are compared without regard to case, since a case-insensitive file system reads them so.
//!
//! A name alone decides for `.env`; for names that are as often harmless (`*.pem`, `.npmrc`, `.env.example`) the contents do too. Nothing
//! here opens a file: whoever does asks [`Secrets::candidate`] with its path, and then [`Candidate::mask`] with its bytes.

mod block;
#[cfg(test)]
mod form_tests;
#[cfg(test)]
mod hostile_tests;
mod known;
mod list;
#[cfg(test)]
mod list_tests;
mod mask;
mod redact;
mod setting;
mod stated;
mod value;

use std::{collections::BTreeSet, path::Path};

use self::list::{Holds, LISTED, Shape, copied, is_source, is_to_be_read, is_translation};
use crate::{
    glob::{Glob, GlobError, names},
    protect::fold_path,
};

pub use known::MOST_BYTES as MOST_VALUE_BYTES;
pub use mask::Mask;
pub use redact::{MARK, Redacted, Redactor, Secret, Within};
pub(crate) use stated::SecretsStated;

/// Names that a file may be a copy of, or a copy of a copy of, that are looked up. Editors and people make a few; a name that
/// can be read in more ways counts as listed.
const MOST_COPIED: usize = 64;

/// What a sandbox has in place of a file that holds credentials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretFiles {
    /// A copy without the values.
    #[default]
    Masked,
    /// Nothing.
    Absent,
}

/// The files that hold credentials: the compiled-in list, what policy adds, and what the operator lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    files: SecretFiles,
    rules: Vec<Rule>,
    /// What a name is on that can be read in too many ways.
    any: Rule,
    added: Vec<String>,
    /// Folded names of folders, and what a listed path goes on with below them.
    ways: Vec<(String, String)>,
    /// Folded.
    allowed: BTreeSet<String>,
    written: Vec<String>,
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    text: String,
    glob: Glob,
    last: Last,
    holds: Holds,
    shape: Shape,
    added: Added,
}

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Added {
    CompiledIn,
    ByPolicy,
}

/// What a path's last name must be for the glob to be worth asking. A workspace has very many names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Last {
    Name(String),
    /// It starts and ends with these.
    Around(String, String),
    Any,
    /// It is below a folder of this name.
    Below(String),
}

/// A file whose name is on the list.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// The lines that it is on, at least one; what policy adds comes first.
    rules: Vec<&'a Rule>,
    meant: Meant,
}

/// What a file's name says that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meant {
    /// To be used.
    ForUse,
    /// To be read by everybody: it counts only when it holds something of a real credential's shape.
    ToBeRead,
}

impl Secrets {
    /// The compiled-in list with the globs in `extra`, in the language of `[protect] paths`, of which each file counts; and
    /// with exact paths that the operator lets through in `allow`.
    ///
    /// # Errors
    /// [`GlobError`] for the first glob, or path, that is not one; a path holds no wildcard.
    pub fn new(files: SecretFiles, extra: &[String], allow: &[String]) -> Result<Self, GlobError> {
        let mut rules = Vec::new();
        let mut added = extra.to_vec();
        added.sort();
        added.dedup();
        for text in &added {
            Glob::parse(text)?;
            rules.push(Rule { added: Added::ByPolicy, ..Rule::new(text, text, Holds::Anything, Shape::Notice)? });
        }
        for (text, holds, shape) in LISTED {
            rules.push(Rule::new(text, &anywhere(text), *holds, *shape)?);
        }
        let mut written = allow.to_vec();
        written.sort();
        written.dedup();
        for path in &written {
            Glob::parse_plain(path)?;
        }
        let allowed = written.iter().map(|path| fold_path(path)).collect();
        let way = |rule: &Rule| {
            let (folder, rest) = rule.text.split_once('/')?;
            (!rest.contains('*') && !folder.contains('*')).then(|| (fold_path(folder), rest.to_owned()))
        };
        let ways = rules.iter().filter_map(way).collect();
        Ok(Self { files, rules, any: Rule::any(), added, ways, allowed, written })
    }

    /// What a sandbox has in place of such a file.
    #[must_use]
    pub fn files(&self) -> SecretFiles {
        self.files
    }

    /// The globs that policy added, sorted.
    #[must_use]
    pub fn added(&self) -> &[String] {
        &self.added
    }

    /// The exact paths that the operator lets through, sorted.
    #[must_use]
    pub fn allowed(&self) -> &[String] {
        &self.written
    }

    /// The compiled-in globs, in reading order.
    pub fn compiled_in() -> impl Iterator<Item = &'static str> {
        LISTED.iter().map(|(text, _, _)| *text)
    }

    /// What the list says of the file at `path`, relative to the workspace; `None` when its name is not on it, or the
    /// operator lets it through.
    #[must_use]
    pub fn candidate(&self, path: &Path) -> Option<Candidate<'_>> {
        let name = folded(&path.file_name()?.to_string_lossy());
        let mut rules = self.named(path, &name);
        let mut meant = is_to_be_read(&name);
        let mut copies = Copied::of(&name);
        while let (true, Some(next)) = (rules.is_empty(), copies.next()) {
            (rules, meant) = match next {
                Some(copied) => (self.named(&path.with_file_name(copied), copied), is_to_be_read(copied)),
                None => (vec![&self.any], false),
            };
        }
        let is_allowed = || !self.allowed.is_empty() && self.allowed.contains(&fold_path(&path.to_string_lossy()));
        let meant = if meant { Meant::ToBeRead } else { Meant::ForUse };
        (!rules.is_empty() && !is_allowed()).then_some(Candidate { rules, meant })
    }

    /// The lines that a path is on whose last name, folded, is `name`.
    fn named(&self, path: &Path, name: &str) -> Vec<&Rule> {
        let mut whole: Option<String> = None;
        let fits = |rule: &&Rule| {
            rule.last.fits(name) && rule.last.may_be_below(path) && {
                let whole = whole.get_or_insert_with(|| folded(&path.to_string_lossy()));
                rule.glob.matches(&names(whole))
            }
        };
        self.rules.iter().filter(fits).collect()
    }

    /// The rest of each listed path that goes on below a folder of the name `name`: `credentials` for `.aws`. A link of that
    /// name brings the file with it under another.
    pub fn below_named(&self, name: &str) -> impl Iterator<Item = &str> {
        let name = fold_path(name);
        self.ways.iter().filter(move |(folder, _)| *folder == name).map(|(_, rest)| rest.as_str())
    }
}

impl Default for Secrets {
    /// The compiled-in list, masked.
    fn default() -> Self {
        Self::new(SecretFiles::default(), &[], &[]).unwrap_or_else(|_| Self::everything())
    }
}

impl Secrets {
    /// Each file, absent. The list parses, which a test shows; without it nothing could be told from a secret.
    fn everything() -> Self {
        Self {
            files: SecretFiles::Absent,
            rules: vec![Rule::any()],
            any: Rule::any(),
            added: Vec::new(),
            ways: Vec::new(),
            allowed: BTreeSet::new(),
            written: Vec::new(),
        }
    }
}

/// The names that a file may be a copy of, each once; [`None`] in place of those beyond [`MOST_COPIED`].
#[derive(Debug)]
struct Copied<'a> {
    seen: BTreeSet<&'a str>,
    pending: Vec<&'a str>,
}

impl<'a> Copied<'a> {
    fn of(name: &'a str) -> Self {
        Self { seen: BTreeSet::new(), pending: copied(name) }
    }
}

impl<'a> Iterator for Copied<'a> {
    type Item = Option<&'a str>;

    fn next(&mut self) -> Option<Option<&'a str>> {
        let name = loop {
            let name = self.pending.pop()?;
            if self.seen.insert(name) {
                break name;
            }
        };
        if self.seen.len() > MOST_COPIED {
            self.pending.clear();
            return Some(None);
        }
        self.pending.extend(copied(name));
        Some(Some(name))
    }
}

impl Rule {
    fn new(text: &str, glob: &str, holds: Holds, shape: Shape) -> Result<Self, GlobError> {
        let folded = fold_path(glob);
        let last = folded.rsplit('/').next().unwrap_or_default();
        let folder = folded.strip_suffix("/**").and_then(|above| above.rsplit('/').next());
        let last = match (last.split_once('*'), last.rsplit_once('*')) {
            _ if let Some(folder) = folder.filter(|name| !name.contains(['*', '?'])) => Last::Below(folder.to_owned()),
            _ if last == "**" || last.contains('?') => Last::Any,
            (Some((start, _)), Some((_, end))) => Last::Around(start.to_owned(), end.to_owned()),
            (None, _) | (_, None) => Last::Name(last.to_owned()),
        };
        Ok(Self { text: text.to_owned(), glob: Glob::parse(&folded)?, last, holds, shape, added: Added::CompiledIn })
    }
}

impl Rule {
    /// Any file.
    fn any() -> Self {
        let (text, glob) = ("**".to_owned(), Glob::any());
        Self { text, glob, last: Last::Any, holds: Holds::Anything, shape: Shape::Notice, added: Added::ByPolicy }
    }
}

impl Last {
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Name(only) => only == name,
            Self::Around(start, end) => {
                // Nearly no name has both: asking for more of each cost a walk through 100,000 names two thirds of its time (measured).
                let (name, start, end) = (name.as_bytes(), start.as_bytes(), end.as_bytes());
                (start.is_empty() || name.first() == start.first())
                    && (end.is_empty() || name.last() == end.last())
                    && name.starts_with(start)
                    && name.ends_with(end)
            }
            Self::Any | Self::Below(_) => true,
        }
    }

    /// Whether the folders of a path may fit.
    fn may_be_below(&self, path: &Path) -> bool {
        match self {
            // What is not plain ASCII may fold to anything.
            Self::Below(folder) => path.iter().any(|name| {
                let name = name.as_encoded_bytes();
                !name.is_ascii()
                    || name.get(..folder.len()).is_some_and(|start| start.eq_ignore_ascii_case(folder.as_bytes()))
            }),
            Self::Name(_) | Self::Around(..) | Self::Any => true,
        }
    }
}

impl Candidate<'_> {
    /// The first line of the list that it is on.
    #[must_use]
    pub fn pattern(&self) -> &str {
        self.rules.first().map_or("", |rule| rule.text.as_str())
    }

    /// Whether its name says nothing of a file that is there to be read by everybody, as `.env.example` is.
    #[must_use]
    pub fn is_for_use(&self) -> bool {
        self.meant == Meant::ForUse
    }

    /// What is seen of a file with this content; `None` when it holds no credential.
    #[must_use]
    pub fn mask(&self, path: &Path, raw: &[u8]) -> Option<Mask> {
        let decoded = mask::decoded(raw);
        let content = decoded.as_ref();
        let counts = |rule: &&&Rule| match rule.holds {
            Holds::Anything => true,
            Holds::PrivateKey => mask::holds_private_key(content),
            Holds::Setting => mask::holds_credential(content),
            Holds::Value => mask::holds_value(content),
            Holds::JsonSecret => mask::holds_json_secret(content),
        };
        let folded = folded(&path.to_string_lossy());
        let (is_source, is_translation) = (is_source(&folded), is_translation(&folded));
        let counts = |rule: &&&Rule| match (rule.added, self.meant) {
            (Added::ByPolicy, _) => counts(rule),
            (Added::CompiledIn, Meant::ToBeRead) => mask::holds_real(content),
            (Added::CompiledIn, Meant::ForUse) => {
                let is_read = match (&rule.last, rule.holds) {
                    // What lies there is there to be used, whatever its name.
                    (Last::Below(_), _) => false,
                    (_, Holds::Anything) => is_source,
                    (_, Holds::PrivateKey | Holds::Setting | Holds::Value | Holds::JsonSecret) => {
                        is_source || is_translation
                    }
                };
                counts(rule) && (!is_read || mask::holds_real(content))
            }
        };
        let rule = self.rules.iter().find(counts)?;
        let mut mask = match rule.shape {
            Shape::Names => mask::names_only(content),
            Shape::Lines => mask::without_credentials(path, content),
            Shape::Json => mask::json_without_credentials(path, content),
            Shape::Notice => mask::notice(path, content),
        };
        if content != raw {
            mask.lines.clear();
        }
        Some(mask)
    }

    /// What is seen of a file that is not read: too large, or not to be read by the server.
    #[must_use]
    pub fn unread(&self, path: &Path) -> Mask {
        mask::notice(path, &[])
    }
}

/// As [`fold_path`], which takes each character through Unicode's tables: a workspace has very many names, most of them plain.
fn folded(path: &str) -> String {
    if !path.is_ascii() {
        return fold_path(path);
    }
    let mut folded = String::with_capacity(path.len());
    for (index, name) in path.split('/').enumerate() {
        if index > 0 {
            folded.push('/');
        }
        folded.push_str(name.trim_end_matches(['.', ' ']));
    }
    folded.make_ascii_lowercase();
    folded
}

fn anywhere(text: &str) -> String {
    if text.contains('/') { format!("**/{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(path: &str) -> Option<String> {
        Secrets::default().candidate(Path::new(path)).map(|candidate| candidate.pattern().to_owned())
    }

    #[test]
    fn every_line_of_the_list_is_found_at_any_depth_and_in_any_case() {
        for (text, _, _) in LISTED {
            let path = text.replace("**", "x").replace("y*ml", "yml").replace('*', "x");
            for path in [path.clone(), format!("a/b/{path}"), path.to_uppercase()] {
                assert!(listed(&path).is_some(), "{path}");
            }
        }
    }

    #[test]
    fn plain_names_are_folded_as_all_are() {
        for path in ["A/b. /C..", "", "/", "a//B", " .", "x/.ENV ", "\u{7f}/\t", "é/B."] {
            assert_eq!(folded(path), fold_path(path), "{path:?}");
        }
        for byte in 0..0x80_u8 {
            let path = format!("A{}b{}", char::from(byte), char::from(byte));
            assert_eq!(folded(&path), fold_path(&path), "{path:?}");
        }
        // A name that folds to a listed folder's is below it, whatever it is written in.
        for path in [".SSH/k", ".ssh./k", ".\u{200d}ssh/k", ".ſſh/k"] {
            assert_eq!(listed(path).as_deref(), Some(".ssh/**"), "{path:?}");
        }
    }

    #[test]
    fn a_name_fits_a_line_by_its_start_and_its_end_which_may_be_empty_or_overlap() {
        let around = |start: &str, end: &str| Last::Around(start.to_owned(), end.to_owned());
        for (start, end) in [("", ""), ("a", ""), ("", "a"), ("ab", "bc"), ("a", "a"), (".env.", "~"), ("é", "ü")] {
            for name in ["", "a", "b", "ab", "ba", "abc", "abbc", "aba", ".env.x~", ".env.~", "éxü", "é", "ü", "êxü"]
            {
                let fits = name.starts_with(start) && name.ends_with(end);
                assert_eq!(around(start, end).fits(name), fits, "{start:?} {end:?} {name:?}");
            }
        }
    }

    #[test]
    fn other_names_are_not_listed() {
        for path in
            ["environment", "src/env.rs", "credentials", "config.json", "src/gcloud/client.py", "a~", "notes.bak"]
        {
            assert_eq!(listed(path), None, "{path}");
        }
    }

    #[test]
    fn the_compiled_in_list_parses_and_without_one_every_file_is_absent() {
        assert_eq!(Secrets::new(SecretFiles::Masked, &[], &[]).as_ref(), Ok(&Secrets::default()));
        assert_eq!(Glob::parse("**"), Ok(Glob::any()));
        let everything = Secrets::everything();
        assert_eq!(everything.files(), SecretFiles::Absent);
        for path in ["a", "src/main.rs", ".env.example", "a/b/.x"] {
            let candidate = everything.candidate(Path::new(path)).unwrap();
            assert!(candidate.mask(Path::new(path), b"plain").is_some(), "{path}");
        }
    }

    #[test]
    fn a_name_that_can_be_read_in_very_many_ways_counts_as_listed() {
        for (start, end) in [(".", "~"), (".#", "~"), ("#.", "#~"), ("", ".swp"), (".", ".sw"), (".", ".~1~")] {
            let name = format!("{}x{}", start.repeat(60), end.repeat(60));
            let steps = Copied::of(&name).take(2 * MOST_COPIED).count();
            assert!(steps <= MOST_COPIED + 1, "{name}");
        }
        let name = format!("{}x{}", ".".repeat(120), "~".repeat(120));
        assert_eq!(listed(&name).as_deref(), Some("**"));
        // Fewer are looked up one by one.
        let name = |count: usize, of: &str| format!("{}{of}{}", ".".repeat(count), "~".repeat(count));
        assert_eq!(listed(&name(5, "npmrc")).as_deref(), Some(".npmrc"));
        assert_eq!(listed(&name(5, "x")), None);
    }

    #[test]
    fn policy_adds_globs_and_the_operator_lets_exact_paths_through() {
        let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let secrets =
            Secrets::new(SecretFiles::Masked, &text(&["deploy/*.yml"]), &text(&["tests/fixtures/.env"])).unwrap();
        let found = |path: &str| secrets.candidate(Path::new(path)).is_some();
        assert!(found("deploy/example.yml") && found(".env") && found("a/tests/fixtures/.env"));
        assert!(!found("tests/fixtures/.env") && !found("deploy/a/b.yml"));
        let key = Secrets::new(SecretFiles::Masked, &text(&["certs/*.pem"]), &[]).unwrap();
        for path in ["certs/a.pem", "config/master.key"] {
            let candidate = key.candidate(Path::new(path)).unwrap();
            assert!(candidate.mask(Path::new(path), b"no key of a known form").is_some(), "{path}");
        }
        for wrong in ["a/*.env", "/a", "../a", ""] {
            assert!(Secrets::new(SecretFiles::Masked, &[], &text(&[wrong])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_folder_that_a_path_goes_through_is_known() {
        assert_eq!(Secrets::default().below_named(".AWS").collect::<Vec<_>>(), ["credentials", "config"]);
        assert_eq!(Secrets::default().below_named("src").count(), 0);
    }
}
