//! What is wrong with a policy file, and where: every problem names a file and a line.

use std::{error::Error, fmt, ops::Range};

/// A line of a policy file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as its layer named it.
    pub file: String,
    /// The line, counted from 1; 0 for what has no lines, as a flag.
    pub line: usize,
}

impl Place {
    /// The place of byte `span.start` of `text`.
    pub(crate) fn of(file: &str, text: &str, span: &Range<usize>) -> Self {
        let before = text.as_bytes().iter().take(span.start);
        Self { file: file.to_owned(), line: 1 + before.filter(|byte| **byte == b'\n').count() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => formatter.write_str(&self.file),
            line => write!(formatter, "{}:{line}", self.file),
        }
    }
}

/// One thing that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, in one line.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.message)
    }
}

/// A policy that cannot be used. There is no policy then: nothing falls back to a weaker reading.
///
/// Displays as one line per problem, `file:line: message`, in the order of the files and lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    problems: Vec<Problem>,
}

impl LoadError {
    /// The one problem that ended the reading.
    pub(crate) fn at(place: Place, message: String) -> Self {
        Self { problems: vec![Problem { place, message }] }
    }

    /// The same problems, each where `place` has it if it knows better: of a text that was made from flags, nobody has seen a
    /// line.
    #[must_use]
    pub fn placed(mut self, place: impl Fn(&Place) -> Option<Place>) -> Self {
        for problem in &mut self.problems {
            problem.place = place(&problem.place).unwrap_or_else(|| problem.place.clone());
        }
        self
    }

    /// Every problem found, at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl Error for LoadError {}

/// Collects problems, so that one run of `policy check` shows all of them.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
}

impl Problems {
    /// Notes a problem.
    pub(crate) fn add(&mut self, place: &Place, message: impl Into<String>) {
        self.found.push(Problem { place: place.clone(), message: message.into() });
    }

    /// Ends a step of loading.
    ///
    /// # Errors
    /// What was found, when anything was.
    pub(crate) fn end_step(&mut self) -> Result<(), LoadError> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut problems = std::mem::take(&mut self.found);
        problems.sort();
        problems.dedup();
        Err(LoadError { problems })
    }
}
