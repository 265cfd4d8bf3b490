//! `cofferdam audit show|verify`: looks at the audit log.

use std::{
    collections::{HashMap, VecDeque},
    io::{BufRead, BufReader},
    num::NonZeroUsize,
    path::Path,
};

use clap::{Args, Subcommand};

use super::{
    exit::Exit,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::{
    audit::{self, Decision, End, Event, Intent, Outcome, Record},
    plain,
};

/// Looks at the audit log.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Shows the last calls: when, what, by which rule, with what result
    Show(Show),
    /// Checks that no line was changed, removed, added or reordered
    ///
    /// A chain of digests cannot show lines that were cut off at the end, nor a file that was rewritten as a whole.
    /// Keep a copy of the printed head elsewhere, and give it with --head the next time, to notice those.
    Verify(Verify),
}

/// What to compare with.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The head that an earlier check printed: a line with this digest must still be there
    #[arg(long, value_name = "SHA256")]
    head: Option<String>,
}

/// What to show.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// How many calls
    #[arg(long, default_value = "20")]
    last: NonZeroUsize,
    /// Prints the log's own lines
    #[arg(long)]
    json: bool,
}

/// Runs the command on the log below `state`.
#[must_use]
pub(super) fn run(command: &Audit, state: &Path, colour: Colour) -> Exit {
    let path = audit::path(state);
    match command {
        Audit::Show(show) if show.json => show_lines(&path, show.last.get()),
        Audit::Show(show) => show_calls(&path, show.last.get(), colour),
        Audit::Verify(Verify { head }) => verify(&path, head.as_deref(), colour),
    }
}

fn verify(path: &Path, kept: Option<&str>, colour: Colour) -> Exit {
    match audit::verify(path, kept) {
        Ok(found) => {
            print(format_args!("{} {}", colour.paint(Mark::Good, "whole"), path.display()));
            print(format_args!("records: {}, calls: {}", found.records, found.intents));
            print(format_args!("calls without an outcome: {}", found.intents_without_outcome));
            print(format_args!("calls lost with a killed server: {}", found.lost));
            print(format_args!("torn lines removed: {}", found.recovered));
            print(format_args!("head: {}", found.head));
            Exit::Success
        }
        Err(error @ audit::Broken::Read(_)) => {
            note(format_args!("cofferdam: failed to {}", causes(&error)));
            Exit::Usage
        }
        Err(error) => {
            print(format_args!("{} {}", colour.paint(Mark::Bad, "broken"), path.display()));
            print(error);
            Exit::Failed
        }
    }
}

fn show_lines(path: &Path, last: usize) -> Exit {
    let mut tail = VecDeque::new();
    let read = for_each_line(path, |line| {
        if tail.len() == last {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
    });
    finish(read, || tail.iter().for_each(print))
}

fn show_calls(path: &Path, last: usize, colour: Colour) -> Exit {
    let mut calls: VecDeque<(String, Box<Intent>)> = VecDeque::new();
    let mut ends: HashMap<audit::Call, Ending> = HashMap::new();
    let mut unreadable = 0;
    let read = for_each_line(path, |line| match serde_json::from_str::<Record>(line) {
        Ok(Record { time, event, .. }) => match event {
            Event::Intent(intent) => {
                if calls.len() == last
                    && let Some((_, dropped)) = calls.pop_front()
                {
                    ends.remove(&dropped.call);
                }
                calls.push_back((time, intent));
            }
            Event::Outcome(outcome) => {
                if calls.iter().any(|(_, intent)| intent.call == outcome.call) {
                    ends.insert(outcome.call.clone(), Ending::Outcome(outcome));
                }
            }
            Event::Lost(lost) => {
                if calls.iter().any(|(_, intent)| intent.call == lost.call) {
                    ends.entry(lost.call.clone()).or_insert(Ending::Lost);
                }
            }
            Event::ChangesOrdered(_)
            | Event::Changes(_)
            | Event::CommitOrdered(_)
            | Event::CommitTaken(_)
            | Event::ScratchOrdered(_)
            | Event::ScratchCleared(_)
            | Event::Recovered(_) => {}
        },
        Err(_) => unreadable += 1,
    });
    finish(read, || {
        for (time, intent) in &calls {
            print(call_line(time, intent, ends.get(&intent.call).unwrap_or(&Ending::Open), colour));
        }
        if unreadable > 0 {
            print(format_args!("{unreadable} lines cannot be read; see `cofferdam audit verify`"));
        }
    })
}

fn finish(read: std::io::Result<()>, show: impl FnOnce()) -> Exit {
    match read {
        Ok(()) => {
            show();
            Exit::Success
        }
        Err(error) => {
            note(format_args!("cofferdam: failed to read the audit log: {error}"));
            Exit::Usage
        }
    }
}

/// What the log says about a call after its intent.
enum Ending {
    /// Nothing: it runs, or nobody has looked since its server was killed.
    Open,
    /// Its server was killed.
    Lost,
    /// How it ended.
    Outcome(Box<Outcome>),
}

fn call_line(time: &str, intent: &Intent, ending: &Ending, colour: Colour) -> String {
    let (end, took) = match ending {
        Ending::Open | Ending::Lost => (None, String::new()),
        Ending::Outcome(outcome) => (Some(outcome.end), format!("{} ms", outcome.duration_ms)),
    };
    let place = ["path", "source", "filter", "pattern", "run_id"]
        .iter()
        .find_map(|name| intent.arguments.get(*name).and_then(|value| value.as_str()))
        .unwrap_or("");
    let (mark, end) = match (intent.decision, end) {
        (_, Some(End::Succeeded)) => (Mark::Good, "done"),
        (_, Some(End::Failed)) => (Mark::Warn, "failed"),
        (Decision::Denied, _) => (Mark::Bad, "denied"),
        (Decision::ApprovalRequired, _) => (Mark::Warn, "approval"),
        (Decision::InvalidArguments, _) => (Mark::Warn, "arguments"),
        (Decision::UnknownTool, _) => (Mark::Warn, "no tool"),
        (Decision::Allowed, Some(End::Refused)) => (Mark::Bad, "refused"),
        (Decision::Allowed, Some(End::Cancelled)) => (Mark::Warn, "cancelled"),
        (Decision::Allowed, Some(End::TimedOut)) => (Mark::Warn, "time out"),
        (Decision::Allowed, Some(End::LimitReached)) => (Mark::Warn, "limit"),
        (Decision::Allowed, None) if matches!(ending, Ending::Lost) => (Mark::Bad, "lost"),
        (Decision::Allowed, None) => (Mark::Warn, "no end"),
    };
    format!(
        "{}  {}  {:<13} {}  {}",
        colour.paint(Mark::Dim, time),
        colour.paint(mark, format_args!("{end:<9}")),
        plain::name(&intent.tool),
        plain::name(place),
        colour.paint(Mark::Dim, format_args!("{} {took}", intent.rule.as_deref().unwrap_or("-"))),
    )
}

fn for_each_line(path: &Path, mut each: impl FnMut(&str)) -> std::io::Result<()> {
    let mut log = BufReader::new(audit::open_between_batches(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if log.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        each(String::from_utf8_lossy(&line).trim_end());
    }
}
