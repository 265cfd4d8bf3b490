//! Brings lines that an agent added to the masked copy of a file into the real one.
//!
//! A merge of three: the mask is what both sides began with, the agent's version is one side, the file that holds the values the
//! other. It must be the mask that the agent saw: where another one is made of the file by now, nothing is merged
//! ([`Unmerged::SeenOtherwise`]). A line of the mask stands for one line of the file ([`cofferdam_policy::Mask::lines`]), so a line that the agent added
//! goes behind the line that stands for the one above it. Whatever else the agent did with a masked line is a conflict: then
//! nothing is merged, and nothing is lost. No text of the real file is in what is said of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use cofferdam_policy::{MARK, Mask};
use serde::{Deserialize, Serialize};
use similar::{Algorithm, DiffOp};

/// How long lines are compared. Beyond it the comparison is coarser, which refuses more.
const COMPARED: Duration = Duration::from_secs(1);

/// What stands for a value.
const MASKED: &str = "masked";

/// Why lines of an agent do not come into the real file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Unmerged {
    /// The mask does not show the file line by line.
    NotByLine,
    /// A masked line is gone or another: this one of the mask, from 1.
    MaskedLine {
        /// Which.
        line: usize,
    },
    /// An added line, this one of the agent's version, from 1, is masked text, or sets a name that is set already.
    SetAgain {
        /// Which.
        line: usize,
    },
    /// With the added lines, others would be read in another way.
    ReadOtherwise,
    /// What is seen of the file is not what was seen of it when the lines were added.
    SeenOtherwise,
}

impl fmt::Display for Unmerged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotByLine => formatter.write_str("the file is not masked line by line"),
            Self::MaskedLine { line } => {
                write!(formatter, "line {line} of what was seen stands for a value, and it was changed or removed")
            }
            Self::SetAgain { line } => {
                write!(formatter, "line {line} of the new version is masked text, or sets a name that is set already")
            }
            Self::ReadOtherwise => formatter.write_str("the new lines would change how others are read"),
            Self::SeenOtherwise => formatter.write_str(
                "a line that is seen of the file is another one since the new version was written, or it is not known what was seen",
            ),
        }
    }
}

/// The real file with what an agent added to its masked copy. `mask` makes the mask of a content.
pub(super) fn merge(real: &[u8], edited: &[u8], mask: impl Fn(&[u8]) -> Option<Mask>) -> Result<Vec<u8>, Unmerged> {
    let seen = mask(real).filter(|mask| !mask.lines.is_empty()).ok_or(Unmerged::NotByLine)?;
    let texts = (std::str::from_utf8(&seen.shown), std::str::from_utf8(real), std::str::from_utf8(edited));
    let (Ok(shown), Ok(real), Ok(edited)) = texts else { return Err(Unmerged::NotByLine) };
    if edited.contains(['\r', '\0']) {
        return Err(Unmerged::NotByLine);
    }
    let (shown, edited): (Vec<&str>, Vec<&str>) = (shown.lines().collect(), edited.lines().collect());
    let real: Vec<&str> = real.split('\n').collect();
    let is_masked = |line: usize| {
        let of = seen.lines.get(line).and_then(|of| real.get(*of));
        of.is_none_or(|of| shown.get(line) != Some(of))
    };
    let until = Instant::now() + COMPARED;
    let mut steps = similar::capture_diff_slices_deadline(Algorithm::Myers, &shown, &edited, Some(until));
    steps.retain(|step| !matches!(step, DiffOp::Equal { .. }));
    let gone: BTreeSet<usize> = steps.iter().flat_map(DiffOp::old_range).collect();
    if let Some(line) = gone.iter().copied().find(|line| is_masked(*line)) {
        return Err(Unmerged::MaskedLine { line: line + 1 });
    }
    let stays = shown.iter().enumerate().filter(|(line, _)| !gone.contains(line));
    let names: BTreeSet<&str> = stays.filter_map(|(_, line)| name(line)).collect();
    let removed = gone.iter().filter_map(|line| seen.lines.get(*line)).copied().collect();
    let mut changes = Changes { removed, added: BTreeMap::new() };
    for step in steps {
        for at in step.new_range() {
            let line = edited.get(at).copied().unwrap_or_default();
            let is_seen = line.to_ascii_lowercase().contains(MASKED) || line.contains(MARK);
            if is_seen || name(line).is_some_and(|name| names.contains(name)) {
                return Err(Unmerged::SetAgain { line: at + 1 });
            }
            let above = step.old_range().start.checked_sub(1).and_then(|above| seen.lines.get(above));
            changes.added.entry(above.map_or(0, |above| above + 1)).or_default().push(line);
        }
    }
    let merged = changes.made(&real);
    let again = mask(merged.text.as_bytes()).ok_or(Unmerged::ReadOtherwise)?;
    let lines = std::str::from_utf8(&again.shown).map_err(|_| Unmerged::ReadOtherwise)?.lines();
    let now: BTreeMap<usize, &str> = again.lines.iter().copied().zip(lines).collect();
    let is_as_before = |(of, before): (&usize, &&str)| {
        changes.removed.contains(of) || merged.places.get(of).and_then(|place| now.get(place)) == Some(before)
    };
    if seen.lines.iter().zip(&shown).all(is_as_before) {
        Ok(merged.text.into_bytes())
    } else {
        Err(Unmerged::ReadOtherwise)
    }
}

/// What becomes of the real file's lines.
#[derive(Debug)]
struct Changes<'a> {
    removed: BTreeSet<usize>,
    /// By the line that they come before.
    added: BTreeMap<usize, Vec<&'a str>>,
}

/// The real file with changes.
struct Placed {
    text: String,
    /// Where each of its lines went.
    places: BTreeMap<usize, usize>,
}

impl Changes<'_> {
    /// `real` is split at line ends: its last line is empty when the file ends with one.
    fn made(&self, real: &[&str]) -> Placed {
        let (mut lines, mut places) = (Vec::new(), BTreeMap::new());
        for (number, line) in real.iter().enumerate() {
            lines.extend(self.added.get(&number).into_iter().flatten().copied());
            if !self.removed.contains(&number) {
                places.insert(number, lines.len());
                lines.push(line);
            }
        }
        // Behind a last line that no line end follows.
        if let Some(added) = self.added.get(&real.len()) {
            lines.extend(added);
            lines.push("");
        }
        Placed { text: lines.join("\n"), places }
    }
}

/// The name that a line sets.
fn name(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(['=', ':'])?;
    let name = name.trim();
    Some(name.strip_prefix("export ").map_or(name, str::trim)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cofferdam_policy::Secrets;
    use proptest::{collection, prelude::*};

    use super::*;

    fn merged(path: &str, real: &str, edited: &str) -> Result<String, Unmerged> {
        let (secrets, path) = (Secrets::default(), Path::new(path));
        let mask = |content: &[u8]| secrets.candidate(path).and_then(|found| found.mask(path, content));
        merge(real.as_bytes(), edited.as_bytes(), mask).map(|text| String::from_utf8(text).unwrap())
    }

    const REAL: &str = "# staging\nA=s3cr3t-1234567890\n# the other\nB='x y'\n\nC=3\n";

    #[test]
    fn added_lines_come_behind_the_line_that_they_stand_below() {
        for (edited, expected) in [
            ("A=masked\nB=masked\n\nC=masked\nNEW=1\n", format!("{REAL}NEW=1\n")),
            ("# top\nA=masked\nB=masked\n\nC=masked\n", format!("# top\n{REAL}")),
            ("A=masked\nB=masked\nNEW=1\n\nC=masked\n", REAL.replace("'\n", "'\nNEW=1\n")),
            ("A=masked\nNEW=1\nB=masked\n\nC=masked", REAL.replace("# the", "NEW=1\n# the")),
            ("A=masked\nB=masked\nC=masked\n", REAL.replace("'\n\n", "'\n")),
            ("A=masked\nB=masked\n\nC=masked\n", REAL.to_owned()),
        ] {
            assert_eq!(merged(".env", REAL, edited), Ok(expected), "{edited}");
        }
        assert_eq!(merged(".env", "A=1", "A=masked\nB=2\n"), Ok("A=1\nB=2\n".to_owned()));
        let (real, edited) = ("; old\na=b\n_authToken=abcd\nc=d\n", "\na=e\n_authToken=masked\nc=d\nf=g\n");
        assert_eq!(merged(".npmrc", real, edited), Ok("; old\na=e\n_authToken=abcd\nc=d\nf=g\n".to_owned()));
    }

    #[test]
    fn whatever_else_is_done_with_masked_lines_is_refused() {
        let masked = |line| Err(Unmerged::MaskedLine { line });
        for (edited, expected) in [
            ("A=masked\n\nC=masked\n", masked(2)),
            ("A=mine\nB=masked\n\nC=masked\n", masked(1)),
            ("B=masked\n\nC=masked\nNEW=1\n", masked(1)),
            ("", masked(1)),
            ("A=masked\nA=masked\nB=masked\n\nC=masked\n", Err(Unmerged::SetAgain { line: 2 })),
            ("A=masked\nB=masked\n\nC=masked\nD=masked\n", Err(Unmerged::SetAgain { line: 5 })),
            ("A=masked\nB=masked\n\nC=masked\nA=mine\n", Err(Unmerged::SetAgain { line: 5 })),
            ("A=masked\nB=masked\n\nC=masked\nexport B = 1\n", Err(Unmerged::SetAgain { line: 5 })),
            ("A=masked\nNEW='\nB=masked\n\nC=masked\n", Err(Unmerged::ReadOtherwise)),
            ("A=masked\nNEW=1\\\nB=masked\n\nC=masked\n", Err(Unmerged::ReadOtherwise)),
            ("A=masked\nB=masked\n\nC=masked\nNEW=1\r\n", Err(Unmerged::NotByLine)),
        ] {
            assert_eq!(merged(".env", REAL, edited), expected, "{edited}");
        }
        let real = "npmAuthToken: abcd\n";
        let refused = merged(".yarnrc.yml", real, "npmAuthToken: masked\n  more\n");
        assert_eq!(refused, Err(Unmerged::ReadOtherwise));
        for (path, real) in [(".netrc", "machine x\n"), (".env", "A='x\ny'\n"), (".env", "A=1\nwords\n")] {
            assert_eq!(merged(path, real, "NEW=1\n"), Err(Unmerged::NotByLine), "{path}");
        }
    }

    proptest! {
        /// Whatever an agent makes of a mask: real lines that stand for values stay, in their order, or nothing is merged.
        #[test]
        fn no_line_with_a_value_is_lost_or_moved(
            real in collection::vec(prop::sample::select(vec!["A=s3cr3t", "B='x y'", "# note", "", "C = 3", "export D=4"]), 1..8),
            edits in collection::vec((0..12_usize, prop::sample::select(vec!["NEW=1", "", "# x", "E='", "A=masked", "F=1\\"]), any::<bool>()), 0..5),
        ) {
            let real = real.join("\n") + "\n";
            let (secrets, path) = (Secrets::default(), Path::new(".env"));
            let mask = secrets.candidate(path).unwrap().mask(path, real.as_bytes()).unwrap();
            let mut edited: Vec<String> = String::from_utf8(mask.shown).unwrap().lines().map(str::to_owned).collect();
            for (at, line, adds) in edits {
                let at = at.min(edited.len());
                if adds { edited.insert(at, line.to_owned()) } else if at < edited.len() { edited[at] = line.to_owned() }
            }
            if let Ok(merged) = merged(".env", &real, &(edited.join("\n") + "\n")) {
                let valued = |text: &str| text.lines().filter(|line| real.contains(*line) && line.contains('=')).map(str::to_owned).collect::<Vec<_>>();
                prop_assert_eq!(valued(&merged), valued(&real));
                prop_assert!(!merged.contains("masked"));
            }
        }
    }
}
