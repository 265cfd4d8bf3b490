//! What the probe said, and whether it is what a row expects.

use std::{fmt::Write as _, time::Duration};

use cofferdam_contract::{Ended, Exit, SandboxError};

/// The end of one run of the probe or of another program.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) outcome: Result<Exit, SandboxError>,
    pub(crate) took: Duration,
    /// What was tried, and what came of it.
    pub(crate) attempts: Vec<(String, String)>,
}

/// An expectation: a pattern of attempts (`*` at its end or its start stands for any rest), and the results that are
/// right, with `|` between them (`*` is the same there).
pub(crate) type Expected<'a> = (&'a str, &'a str);

impl Report {
    /// Takes the probe's record from the last line that is one.
    pub(crate) fn new(stdout: Vec<u8>, stderr: Vec<u8>, outcome: Result<Exit, SandboxError>, took: Duration) -> Self {
        let text = String::from_utf8_lossy(&stdout);
        let record = text.lines().rev().find_map(|line| {
            // The record may follow bytes without a line end.
            let start = line.find("{\"row\":")?;
            serde_json::from_str::<serde_json::Value>(line.get(start..)?).ok()
        });
        let attempts = record.as_ref().and_then(|record| record.get("attempts")?.as_array()).into_iter().flatten();
        let word = |attempt: &serde_json::Value, key: &str| attempt[key].as_str().unwrap_or_default().to_owned();
        let attempts = attempts.map(|attempt| (word(attempt, "what"), word(attempt, "result"))).collect();
        Self { stdout, stderr, outcome, took, attempts }
    }

    /// Checks that every attempt is expected and every expectation was tried.
    ///
    /// # Errors
    /// What is different, in words.
    pub(crate) fn expect(&self, expected: &[Expected<'_>]) -> Result<(), String> {
        let mut problems = self.unmet(expected);
        for (what, result) in &self.attempts {
            if !expected.iter().any(|(pattern, _)| fits(pattern, what)) {
                problems.push(format!("{what} was not expected: {result}"));
            }
        }
        self.verdict(problems)
    }

    /// Checks that every expectation was tried; other attempts are not looked at. For controls.
    ///
    /// # Errors
    /// What is different, in words.
    pub(crate) fn expect_among(&self, expected: &[Expected<'_>]) -> Result<(), String> {
        self.verdict(self.unmet(expected))
    }

    /// The result of one attempt.
    pub(crate) fn result(&self, what: &str) -> Option<&str> {
        self.attempts.iter().find(|(tried, _)| tried == what).map(|(_, result)| result.as_str())
    }

    /// Why the sandbox ended, if it did.
    pub(crate) fn ended(&self) -> Option<Ended> {
        match &self.outcome {
            Err(SandboxError::Ended(why)) => Some(*why),
            Err(SandboxError::File(_) | SandboxError::NotPlanned { .. }) | Ok(_) => None,
        }
    }

    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Checks that a program ended well and printed `text` and no more.
    ///
    /// # Errors
    /// What it printed instead.
    pub(crate) fn printed(&self, text: &str) -> Result<(), String> {
        if self.outcome == Ok(Exit::Code(0)) && self.text().trim() == text {
            return Ok(());
        }
        Err(self.seen())
    }

    /// All of it in a few lines.
    pub(crate) fn seen(&self) -> String {
        let cut = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let start = text.char_indices().rev().nth(600).map_or(0, |(place, _)| place);
            text.get(start..).unwrap_or_default().trim().to_owned()
        };
        let mut seen = format!("outcome {:?} after {:.1} s", self.outcome, self.took.as_secs_f32());
        for (name, bytes) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !bytes.is_empty() {
                let _ = write!(seen, ", {name}: {}", cut(bytes));
            }
        }
        seen
    }

    fn unmet(&self, expected: &[Expected<'_>]) -> Vec<String> {
        let mut problems = Vec::new();
        // The first pattern that fits an attempt is the one that speaks of it.
        for (number, (pattern, results)) in expected.iter().enumerate() {
            let mine: Vec<_> = self
                .attempts
                .iter()
                .filter(|(what, _)| expected.iter().position(|(pattern, _)| fits(pattern, what)) == Some(number))
                .collect();
            if mine.is_empty() {
                problems.push(format!("{pattern} was not tried"));
            }
            for (what, result) in mine {
                if !results.split('|').any(|right| fits(right, result)) {
                    problems.push(format!("{what}: {result} instead of {results}"));
                }
            }
        }
        problems
    }

    fn verdict(&self, problems: Vec<String>) -> Result<(), String> {
        if self.attempts.is_empty() {
            return Err(format!("the probe made no record; {}", self.seen()));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }
}

/// Whether `text` is `pattern`, or begins with it up to a closing `*`, or ends with it after an opening one.
fn fits(pattern: &str, text: &str) -> bool {
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(start), _) => text.starts_with(start),
        (None, Some(end)) => text.ends_with(end),
        (None, None) => pattern == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(record: &str) -> Report {
        Report::new(record.as_bytes().to_vec(), Vec::new(), Ok(Exit::Code(0)), Duration::ZERO)
    }

    const RECORD: &str =
        "{\"row\":\"X\",\"attempts\":[{\"what\":\"one\",\"result\":\"EPERM\"},{\"what\":\"two\",\"result\":\"ok\"}]}\n";

    #[test]
    fn a_result_that_is_not_expected_fails_a_row() {
        assert_eq!(report(RECORD).expect(&[("one", "EACCES|EPERM"), ("two", "ok")]), Ok(()));
        assert_eq!(report(RECORD).expect(&[("*", "EPERM")]), Err("two: ok instead of EPERM".into()));
    }

    #[test]
    fn an_attempt_that_nobody_expects_and_one_that_was_not_made_fail_a_row() {
        assert_eq!(report(RECORD).expect(&[("one", "*")]), Err("two was not expected: ok".into()));
        let missing = report(RECORD).expect(&[("*", "*"), ("three", "ok")]);
        assert_eq!(missing, Err("three was not tried".into()));
        assert!(report("").expect(&[]).is_err());
    }
}
