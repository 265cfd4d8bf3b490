//! One thing that a linter, a type checker or a compiler says, the same for all of them.

use schemars::JsonSchema;
use serde::Serialize;

/// A diagnostic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Diagnostic {
    /// Where, relative to the workspace when it is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u64>,
    /// The column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<u64>,
    /// The line of the end, where the tool tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_line: Option<u64>,
    /// The column of the end, where the tool tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_column: Option<u64>,
    /// How bad it is, by the tool's own word.
    pub(crate) severity: Severity,
    /// What is wrong.
    pub(crate) message: String,
    /// The rule's or error's own name, such as F401, no-unused-vars or E0308.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    /// The tool that says so.
    pub(crate) tool: String,
    /// The tool's longer explanation, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// How bad a diagnostic is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// It must be mended.
    Error,
    /// It should be looked at.
    Warning,
    /// It explains another, or advises.
    Note,
}

/// Numbers of diagnostics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub(crate) struct Numbers {
    /// Errors.
    pub(crate) errors: u64,
    /// Warnings.
    pub(crate) warnings: u64,
    /// Notes.
    pub(crate) notes: u64,
}

impl Severity {
    /// Its word in lists.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl Numbers {
    /// Counts.
    pub(crate) fn of(diagnostics: &[Diagnostic]) -> Self {
        let mut numbers = Self::default();
        for diagnostic in diagnostics {
            match diagnostic.severity {
                Severity::Error => numbers.errors += 1,
                Severity::Warning => numbers.warnings += 1,
                Severity::Note => numbers.notes += 1,
            }
        }
        numbers
    }

    /// `2 errors, 1 warning`.
    pub(crate) fn told(self) -> String {
        let Self { errors, warnings, notes } = self;
        let parts = [(errors, "error"), (warnings, "warning"), (notes, "note")].into_iter();
        let parts = parts.filter(|(number, word)| *number > 0 || *word == "error");
        let told = parts.map(|(number, word)| format!("{number} {word}{}", if number == 1 { "" } else { "s" }));
        told.collect::<Vec<_>>().join(", ")
    }
}

impl Diagnostic {
    /// A diagnostic without a place.
    pub(crate) fn new(tool: &str, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            file: None,
            line: None,
            column: None,
            end_line: None,
            end_column: None,
            severity,
            message: message.into(),
            code: None,
            tool: tool.to_owned(),
            detail: None,
        }
    }

    /// `src/a.py:4:10: error F821: undefined name`, and nothing of its detail.
    pub(crate) fn line(&self) -> String {
        let mut text = String::new();
        if let Some(file) = &self.file {
            text.push_str(file);
            for number in [self.line, self.column].into_iter().flatten() {
                text.push_str(&format!(":{number}"));
            }
            text.push_str(": ");
        }
        text.push_str(self.severity.word());
        if let Some(code) = &self.code {
            text.push_str(&format!(" {code}"));
        }
        text.push_str(&format!(": {}", self.message));
        text
    }
}
