//! What the layers of a policy say about files that hold credentials, put together.
//!
//! Every layer may add globs. What makes an agent see more is the operator's to say: which paths are let through, and that files
//! are masked where another layer wants them absent.

use toml::Spanned;

use super::{SecretFiles, Secrets};
use crate::{
    ceilings::Located,
    document::{SecretsText, Source},
    glob::{Glob, GlobError},
    layer::LayerName,
    problem::{Place, Problems},
};

/// What was said so far.
#[derive(Debug, Default)]
pub(crate) struct SecretsStated {
    files: Option<Located<SecretFiles>>,
    paths: Vec<String>,
    allow: Vec<String>,
    /// Where the first path is let through.
    allowed_at: Option<Place>,
}

impl SecretsText {
    /// Reads a layer's table.
    pub(crate) fn read(&self, source: &Source<'_>, problems: &mut Problems) -> SecretsStated {
        let texts = |list: &[Spanned<String>]| list.iter().map(|text| text.get_ref().clone()).collect();
        for (list, check) in
            [(&self.paths, (|text| Glob::parse(text).map(drop)) as fn(&str) -> _), (&self.allow, Glob::parse_plain)]
        {
            for text in list {
                if let Err(error) = check(text.get_ref()) {
                    problems.add(&source.place(&text.span()), error.to_string());
                }
            }
        }
        SecretsStated {
            files: self
                .files
                .as_ref()
                .map(|files| Located { value: *files.get_ref(), place: source.place(&files.span()) }),
            paths: texts(&self.paths),
            allow: texts(&self.allow),
            allowed_at: self.allow.first().map(|text| source.place(&text.span())),
        }
    }
}

impl SecretsStated {
    /// Adds what a later layer says.
    pub(crate) fn add(&mut self, later: Self, name: LayerName, problems: &mut Problems) {
        if let (Some(place), true) = (&later.allowed_at, name > LayerName::Operator) {
            problems.add(place, "[secrets] allow shows credentials to the agent: only the operator's file may say it");
        }
        if let (Some(earlier), Some(asked)) = (&self.files, &later.files)
            && name > LayerName::Operator
            && (earlier.value, asked.value) == (SecretFiles::Absent, SecretFiles::Masked)
        {
            let message = format!("[secrets] files asks for \"masked\", and {} says \"absent\"", earlier.place);
            problems.add(&asked.place, message);
        }
        self.files = later.files.or(self.files.take());
        self.paths.extend(later.paths);
        self.allow.extend(later.allow);
    }

    /// What is in force.
    ///
    /// # Errors
    /// [`GlobError`] for what is no glob or path.
    pub(crate) fn settle(self) -> Result<Secrets, GlobError> {
        Secrets::new(self.files.map_or(SecretFiles::default(), |files| files.value), &self.paths, &self.allow)
    }
}
