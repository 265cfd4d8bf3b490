//! Which files of a workspace hold credentials, and what of them a sandbox sees.
//!
//! An agent needs to know that there is a `DATABASE_URL`, and never which. So such files appear inside with their values
//! replaced, or not at all, as the operator chooses. The list is compiled in; a policy adds globs, and only the operator's
//! lets exact paths through. Names are compared without regard to case, since a case-insensitive file system reads them so.
//!
//! A name alone decides for `.env`; for names that are as often harmless (`*.pem`, `.npmrc`) the contents do too. Nothing
//! here opens a file: whoever does asks [`Secrets::candidate`] with its path, and then [`Candidate::mask`] with its bytes.

mod mask;
mod redact;
mod stated;

use std::{collections::BTreeSet, path::Path};

use crate::{
    glob::{Glob, GlobError, names},
    protect::fold_path,
};

pub use mask::Mask;
pub use redact::{MARK, Redacted, Redactor, Secret};
pub(crate) use stated::SecretsStated;

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

/// When a file of a listed name counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Always.
    Anything,
    /// When it holds a private key: a PEM block, or DER's first bytes.
    PrivateKey,
    /// When a line of it sets a token or password.
    Token,
    /// When it is JSON with a secret's usual key.
    JsonSecret,
}

/// How a copy without the values is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `NAME=value` lines: names stay.
    Names,
    /// Lines that set a token or password lose its value, others stay.
    Lines,
    /// Nothing stays but a line that says so.
    Notice,
}

/// The compiled-in list: a glob in any folder, when a file of that name counts, and how it is masked.
const LISTED: &[(&str, Holds, Shape)] = &[
    // Environment files.
    (".env", Holds::Anything, Shape::Names),
    (".env.*", Holds::Anything, Shape::Names),
    ("*.env", Holds::Anything, Shape::Names),
    (".envrc", Holds::Anything, Shape::Names),
    (".dev.vars", Holds::Anything, Shape::Names),
    ("*.tfvars", Holds::Anything, Shape::Names),
    // Package managers.
    (".npmrc", Holds::Token, Shape::Lines),
    (".yarnrc", Holds::Token, Shape::Lines),
    (".yarnrc.yml", Holds::Token, Shape::Lines),
    (".pypirc", Holds::Token, Shape::Lines),
    ("pip.conf", Holds::Token, Shape::Lines),
    ("pip.ini", Holds::Token, Shape::Lines),
    (".condarc", Holds::Token, Shape::Lines),
    ("nuget.config", Holds::Token, Shape::Lines),
    (".cargo/credentials", Holds::Anything, Shape::Notice),
    (".cargo/credentials.toml", Holds::Anything, Shape::Notice),
    (".gem/credentials", Holds::Anything, Shape::Notice),
    // Private keys.
    ("*.pem", Holds::PrivateKey, Shape::Notice),
    ("*.key", Holds::PrivateKey, Shape::Notice),
    ("*.pk8", Holds::PrivateKey, Shape::Notice),
    ("id_*", Holds::PrivateKey, Shape::Notice),
    ("*_rsa", Holds::PrivateKey, Shape::Notice),
    ("*_ed25519", Holds::PrivateKey, Shape::Notice),
    (".ssh/**", Holds::PrivateKey, Shape::Notice),
    ("*.p12", Holds::Anything, Shape::Notice),
    ("*.pfx", Holds::Anything, Shape::Notice),
    ("*.jks", Holds::Anything, Shape::Notice),
    ("*.keystore", Holds::Anything, Shape::Notice),
    ("*.ppk", Holds::Anything, Shape::Notice),
    ("*.kdbx", Holds::Anything, Shape::Notice),
    ("master.key", Holds::Anything, Shape::Notice),
    // Logins.
    (".netrc", Holds::Anything, Shape::Notice),
    ("_netrc", Holds::Anything, Shape::Notice),
    (".git-credentials", Holds::Anything, Shape::Notice),
    (".pgpass", Holds::Anything, Shape::Notice),
    (".my.cnf", Holds::Anything, Shape::Notice),
    (".htpasswd", Holds::Anything, Shape::Notice),
    (".vault-token", Holds::Anything, Shape::Notice),
    // Clouds and clusters.
    (".aws/credentials", Holds::Anything, Shape::Notice),
    (".aws/config", Holds::Token, Shape::Lines),
    (".azure/**", Holds::Anything, Shape::Notice),
    (".config/gcloud/**", Holds::Anything, Shape::Notice),
    (".gcloud/**", Holds::Anything, Shape::Notice),
    ("application_default_credentials.json", Holds::Anything, Shape::Notice),
    ("*service*account*.json", Holds::JsonSecret, Shape::Notice),
    ("*firebase-adminsdk*.json", Holds::JsonSecret, Shape::Notice),
    ("client_secret*.json", Holds::JsonSecret, Shape::Notice),
    ("gha-creds-*.json", Holds::JsonSecret, Shape::Notice),
    ("credentials.json", Holds::JsonSecret, Shape::Notice),
    (".kube/config", Holds::Anything, Shape::Notice),
    ("kubeconfig", Holds::Anything, Shape::Notice),
    ("*.kubeconfig", Holds::Anything, Shape::Notice),
    ("kubeconfig.y*ml", Holds::Anything, Shape::Notice),
    (".docker/config.json", Holds::Anything, Shape::Notice),
    (".dockercfg", Holds::Anything, Shape::Notice),
    (".terraformrc", Holds::Token, Shape::Lines),
    ("credentials.tfrc.json", Holds::Anything, Shape::Notice),
    ("*.tfstate", Holds::Anything, Shape::Notice),
    ("*.tfstate.backup", Holds::Anything, Shape::Notice),
    (".s3cfg", Holds::Anything, Shape::Notice),
    (".boto", Holds::Anything, Shape::Notice),
    (".streamlit/secrets.toml", Holds::Anything, Shape::Notice),
];

/// Parts of a name that say that a file of a listed name is there to be read by everybody.
const PATTERNS_ONLY: [&str; 8] = ["example", "sample", "template", "tmpl", "dist", "defaults", "schema", "pub"];

/// The files that hold credentials: the compiled-in list, what policy adds, and what the operator lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    files: SecretFiles,
    rules: Vec<Rule>,
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
}

/// A file whose name is on the list.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// The lines that it is on, at least one; what policy adds comes first.
    rules: Vec<&'a Rule>,
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
        Ok(Self { files, rules, added, ways, allowed, written })
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
        let name = path.file_name()?.to_string_lossy();
        let name = fold_path(&name);
        let mut folded: Option<String> = None;
        let is_pattern = name.split(['.', '-', '_']).any(|part| PATTERNS_ONLY.contains(&part));
        let rules: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| match rule.added {
                Added::CompiledIn => !is_pattern,
                Added::ByPolicy => true,
            })
            .filter(|rule| {
                rule.last.fits(&name) && {
                    let folded = folded.get_or_insert_with(|| fold_path(&path.to_string_lossy()));
                    rule.glob.matches(&names(folded))
                }
            })
            .collect();
        let is_allowed = folded.is_some_and(|folded| self.allowed.contains(&folded));
        (!rules.is_empty() && !is_allowed).then_some(Candidate { rules })
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
        Self::new(SecretFiles::default(), &[], &[]).unwrap_or_else(|_| Self {
            // The list parses, which a test shows; without it nothing could be told from a secret.
            files: SecretFiles::Absent,
            rules: Vec::new(),
            added: Vec::new(),
            ways: Vec::new(),
            allowed: BTreeSet::new(),
            written: Vec::new(),
        })
    }
}

impl Rule {
    fn new(text: &str, glob: &str, holds: Holds, shape: Shape) -> Result<Self, GlobError> {
        let folded = fold_path(glob);
        let last = folded.rsplit('/').next().unwrap_or_default();
        let last = match (last.split_once('*'), last.rsplit_once('*')) {
            _ if last == "**" || last.contains('?') => Last::Any,
            (Some((start, _)), Some((_, end))) => Last::Around(start.to_owned(), end.to_owned()),
            (None, _) | (_, None) => Last::Name(last.to_owned()),
        };
        Ok(Self { text: text.to_owned(), glob: Glob::parse(&folded)?, last, holds, shape, added: Added::CompiledIn })
    }
}

impl Last {
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Name(only) => only == name,
            Self::Around(start, end) => name.starts_with(start.as_str()) && name.ends_with(end.as_str()),
            Self::Any => true,
        }
    }
}

impl Candidate<'_> {
    /// The first line of the list that it is on.
    #[must_use]
    pub fn pattern(&self) -> &str {
        self.rules.first().map_or("", |rule| rule.text.as_str())
    }

    /// What is seen of a file with this content; `None` when it holds no credential.
    #[must_use]
    pub fn mask(&self, path: &Path, content: &[u8]) -> Option<Mask> {
        let counts = |rule: &&&Rule| match rule.holds {
            Holds::Anything => true,
            Holds::PrivateKey => mask::holds_private_key(content),
            Holds::Token => mask::holds_token(content),
            Holds::JsonSecret => mask::holds_json_secret(content),
        };
        let rule = self.rules.iter().find(counts)?;
        Some(match rule.shape {
            Shape::Names => mask::names_only(content),
            Shape::Lines => mask::without_tokens(path, content),
            Shape::Notice => mask::notice(path, content),
        })
    }

    /// What is seen of a file that is not read: too large, or not to be read by the server.
    #[must_use]
    pub fn unread(&self, path: &Path) -> Mask {
        mask::notice(path, &[])
    }
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
    fn what_is_there_to_be_read_by_everybody_is_not_listed() {
        for path in [
            ".env.example",
            ".env.sample",
            ".env.template",
            "config/.env.local.example",
            "example.env",
            "id_rsa.pub",
            "environment",
            "src/env.rs",
            "credentials",
            "config.json",
            "src/gcloud/client.py",
        ] {
            assert_eq!(listed(path), None, "{path}");
        }
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
