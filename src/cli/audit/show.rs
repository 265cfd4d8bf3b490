//! `cofferdam audit show`: the last calls and orders, one line each, or all that is known of one.
//!
//! The log is read from its beginning and only what is shown is held. A call is its intent, and an outcome or the note
//! that it was lost; an order of a person's is what was ordered, and what was done.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, BufReader, IsTerminal},
    num::NonZeroUsize,
    path::Path,
    time::Duration,
};

use clap::Args;
use serde_json::Value;

use super::super::{
    exit::Exit,
    terminal::{Colour, Mark, note, print},
};
use crate::{
    audit::{
        self, Action, ChangesDecided, ChangesOrdered, CommitMove, Decision, End, Event, Intent, Line, Lines, Outcome,
        PolicyAccepted, Record, Recovered, ScratchCleared, ScratchOrdered,
    },
    plain,
};

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cofferdam audit show --since 2h
  cofferdam audit show --tool run_tests --last 5
  cofferdam audit show --call 5bd475a9    all that is known of a call, or of an
                                          order such as apply-1a36fab0")]
pub(in crate::cli) struct Show {
    /// How many calls and orders
    #[arg(long, default_value = "20", value_name = "N")]
    last: NonZeroUsize,
    /// The call or order of this name, or whose name begins so, in full
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Only calls of this tool
    #[arg(long, value_name = "TOOL")]
    tool: Option<String>,
    /// Only what came then or later: `30m`, `2h`, `7d`, or a time in UTC as the log has it, `2026-11-28` or longer
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,
    /// Prints the log's own lines about them
    #[arg(long)]
    json: bool,
}

/// From when on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Since {
    /// That long before now.
    Ago(Duration),
    /// A time as the log writes it, or its beginning: earlier ones sort before it.
    Moment(String),
}

/// How much of a name a line shows, characters.
const TOOL_WIDTH: usize = 24;
const PLACE_WIDTH: usize = 56;
const WORKSPACE_WIDTH: usize = 32;

/// How much of a call's name a line shows, characters: enough for `--call` and `changes undo`.
const CALL_WIDTH: usize = 8;

/// Orders that are looked at for a name that stands only where they were done.
const MOST_ORDERS: usize = 10_000;

/// A call or an order.
struct Entry {
    time: String,
    what: What,
    /// The lines that told of it; kept for `--json` alone.
    lines: Vec<String>,
}

enum What {
    Call(Box<Intent>, Ending),
    Changes(ChangesOrdered, Option<ChangesDecided>),
    Commit(CommitMove, Done),
    Scratch(ScratchOrdered, Option<ScratchCleared>),
    Policy(PolicyAccepted),
    Recovered(Recovered),
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

/// Whether the log says that an order was carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Yes,
    No,
}

/// Shows the log at `path`.
pub(super) fn run(show: &Show, path: &Path, colour: Colour) -> Exit {
    let found = match find(show, path) {
        Ok(found) => found,
        Err(error) => {
            note(format_args!("cofferdam: failed to read the audit log: {error}"));
            return Exit::Usage;
        }
    };
    let to_program = !io::stdout().is_terminal();
    for entry in &found.entries {
        match (show.json, &show.call) {
            // A program may want to compute the digests that stand in them.
            (true, _) if to_program => entry.lines.iter().for_each(print),
            (true, _) => entry.lines.iter().for_each(|line| print(plain::json_text(line))),
            (false, Some(_)) => entry.details().iter().for_each(|(key, value)| {
                print(format_args!("{} {}", colour.paint(Mark::Bold, format_args!("{key:<10}")), plain::name(value)));
            }),
            (false, None) => print(entry.line(colour)),
        }
    }
    if found.unreadable > 0 {
        note(format_args!("{} lines cannot be read; see `cofferdam audit verify`", found.unreadable));
    }
    match &show.call {
        Some(call) if found.entries.is_empty() => {
            note(format_args!("cofferdam: no call or order begins with {}", plain::name(call)));
            Exit::Failed
        }
        Some(_) | None => Exit::Success,
    }
}

#[derive(Default)]
struct Found {
    entries: VecDeque<Entry>,
    /// How many went before the first of them.
    gone: usize,
    /// Where a call is among all that there were, by its name.
    calls: HashMap<String, usize>,
    unreadable: u64,
}

fn find(show: &Show, path: &Path) -> io::Result<Found> {
    let since = show.since.as_ref().map(|since| match since {
        Since::Ago(ago) => {
            audit::time::rfc3339(audit::time::system()().checked_sub(*ago).unwrap_or(std::time::UNIX_EPOCH))
        }
        Since::Moment(text) => text.clone(),
    });
    let last = show.last.get();
    // What an order is called stands only where it was done.
    let most = if show.call.is_some() { last.max(MOST_ORDERS) } else { last };
    let mut found = Found::default();
    let mut lines = Lines::new(BufReader::new(audit::open_between_batches(path)?));
    while let Some(line) = lines.read()? {
        let Some(Record { time, event, .. }) = line.record() else {
            found.unreadable += 1;
            continue;
        };
        let kept = match line {
            Line::Whole(line) if show.json => String::from_utf8_lossy(line).into_owned(),
            Line::Whole(_) | Line::Torn(_) | Line::TooLong => String::new(),
        };
        let what = match found.told(event, &kept) {
            Some(what) if since.as_ref().is_none_or(|since| time >= *since) && show.may_want(&what) => what,
            Some(_) | None => continue,
        };
        found.add(Entry { time, what, lines: vec![kept] }, most);
    }
    if let Some(call) = &show.call {
        found.entries.retain(|entry| entry.what.is_called(call));
    }
    let more = found.entries.len().saturating_sub(last);
    found.entries.drain(..more);
    Ok(found)
}

impl Found {
    /// Adds one, and lets the oldest of `most` go.
    fn add(&mut self, entry: Entry, most: usize) {
        if self.entries.len() == most
            && let Some(oldest) = self.entries.pop_front()
        {
            if let What::Call(intent, _) = &oldest.what
                && self.calls.get(&*intent.call.0) == Some(&self.gone)
            {
                self.calls.remove(&*intent.call.0);
            }
            self.gone += 1;
        }
        if let What::Call(intent, _) = &entry.what {
            self.calls.insert(intent.call.0.to_string(), self.gone + self.entries.len());
        }
        self.entries.push_back(entry);
    }

    /// Gives the call of this name the line, and the ending that `ends` makes of the one that it has.
    fn call_goes_on(&mut self, call: &str, line: &str, ends: impl FnOnce(&Ending) -> Option<Ending>) -> Option<What> {
        let place = self.calls.get(call)?.checked_sub(self.gone)?;
        let entry = self.entries.get_mut(place)?;
        if let What::Call(_, ending) = &mut entry.what
            && let Some(next) = ends(ending)
        {
            *ending = next;
            entry.lines.push(line.to_owned());
        }
        None
    }

    /// What begins with this event; `None` for one that says how an entry went on.
    fn told(&mut self, event: Event, line: &str) -> Option<What> {
        match event {
            Event::Intent(intent) => Some(What::Call(intent, Ending::Open)),
            Event::ChangesOrdered(ordered) => Some(What::Changes(ordered, None)),
            Event::CommitOrdered(ordered) => Some(What::Commit(ordered, Done::No)),
            Event::ScratchOrdered(ordered) => Some(What::Scratch(ordered, None)),
            Event::PolicyAccepted(accepted) => Some(What::Policy(accepted)),
            Event::Recovered(recovered) => Some(What::Recovered(recovered)),
            Event::Outcome(outcome) => {
                self.call_goes_on(&outcome.call.0, line, |_| Some(Ending::Outcome(outcome.clone())))
            }
            Event::Lost(lost) => self.call_goes_on(&lost.call.0, line, |ending| match ending {
                Ending::Open => Some(Ending::Lost),
                Ending::Lost | Ending::Outcome(_) => None,
            }),
            Event::Changes(decided) => self.goes_on(line, |what| {
                let What::Changes(ordered, done @ None) = what else { return false };
                let is_it = (&ordered.workspace, &ordered.session, ordered.action)
                    == (&decided.workspace, &decided.session, decided.action);
                if is_it {
                    *done = Some(decided.clone());
                }
                is_it
            }),
            Event::CommitTaken(taken) => self.goes_on(line, |what| {
                let What::Commit(ordered, done) = what else { return false };
                let is_it = *ordered == taken;
                if is_it {
                    *done = Done::Yes;
                }
                is_it
            }),
            Event::ScratchCleared(cleared) => self.goes_on(line, |what| {
                let What::Scratch(ordered, done @ None) = what else { return false };
                let is_it = ordered.workspace == cleared.workspace;
                if is_it {
                    *done = Some(cleared.clone());
                }
                is_it
            }),
        }
    }

    /// Gives the newest entry that `is_it` takes this line.
    fn goes_on(&mut self, line: &str, mut is_it: impl FnMut(&mut What) -> bool) -> Option<What> {
        for entry in self.entries.iter_mut().rev() {
            if is_it(&mut entry.what) {
                entry.lines.push(line.to_owned());
                break;
            }
        }
        None
    }
}

impl Show {
    /// Whether it may be wanted, as far as its beginning tells.
    fn may_want(&self, what: &What) -> bool {
        match what {
            What::Call(intent, _) => {
                self.tool.as_ref().is_none_or(|tool| intent.tool == *tool)
                    && self.call.as_ref().is_none_or(|call| intent.call.0.starts_with(call))
            }
            What::Changes(..) | What::Commit(..) | What::Scratch(..) | What::Policy(_) | What::Recovered(_) => {
                self.tool.is_none()
            }
        }
    }
}

impl What {
    fn is_called(&self, name: &str) -> bool {
        match self {
            Self::Call(intent, _) => intent.call.0.starts_with(name),
            Self::Changes(ordered, done) => {
                let order = done.as_ref().and_then(|done| done.order.as_ref());
                // A call's own entry, and the order that took it back.
                let undone =
                    ordered.call.as_ref().is_some_and(|call| call.0.starts_with(name) || name.starts_with(&call.0));
                undone || order.is_some_and(|order| order.0.starts_with(name))
            }
            Self::Commit(..) | Self::Scratch(..) | Self::Policy(_) | Self::Recovered(_) => false,
        }
    }
}

impl Entry {
    /// On one line.
    fn line(&self, colour: Colour) -> String {
        let (mark, end) = self.end();
        let (what, place) = self.what_and_place();
        let (workspace, session) = self.workspace_and_session();
        let mut rest = self.rest();
        rest.push(end_of(workspace, WORKSPACE_WIDTH));
        rest.extend((!session.is_empty() && session != "default").then(|| format!("session {}", plain::name(session))));
        format!(
            "{}  {}  {:<13} {}  {}",
            colour.paint(Mark::Dim, &self.time),
            colour.paint(mark, format_args!("{end:<9}")),
            beginning_of(&what, TOOL_WIDTH),
            end_of(&place, PLACE_WIDTH),
            colour.paint(Mark::Dim, rest.join("  ")),
        )
    }

    fn end(&self) -> (Mark, &'static str) {
        let ordered = |done: bool| if done { (Mark::Good, "done") } else { (Mark::Warn, "ordered") };
        match &self.what {
            What::Call(intent, ending) => end_of_call(intent.decision, ending),
            What::Changes(_, done) => ordered(done.as_ref().is_some_and(|done| done.done > 0)),
            What::Commit(_, done) => ordered(*done == Done::Yes),
            What::Scratch(_, done) => ordered(done.is_some()),
            What::Policy(_) => (Mark::Good, "accepted"),
            What::Recovered(_) => (Mark::Warn, "recovered"),
        }
    }

    /// What was asked for, and about what.
    fn what_and_place(&self) -> (String, String) {
        match &self.what {
            What::Call(intent, _) => (intent.tool.clone(), place_of(intent).to_owned()),
            What::Changes(ordered, _) => {
                let what = match ordered.action {
                    Action::Apply => "you: apply",
                    Action::Discard => "you: discard",
                    Action::Undo => "you: undo",
                };
                let call = ordered.call.as_ref().map(|call| format!("of {} ", beginning_of(&call.0, CALL_WIDTH)));
                (what.to_owned(), call.unwrap_or_default() + &several(&ordered.paths, ordered.named))
            }
            What::Commit(CommitMove { branch, new, files, .. }, _) => {
                let branch = branch.as_deref().unwrap_or("no branch");
                ("you: take".to_owned(), format!("{branch} to {}, {files} files", beginning_of(new, 12)))
            }
            What::Scratch(ordered, _) => {
                let places =
                    if ordered.named == 0 { "all".to_owned() } else { several(&ordered.places, ordered.named) };
                ("you: clear".to_owned(), places)
            }
            What::Policy(_) => ("you: accept".to_owned(), "that .cofferdam.toml is gone".to_owned()),
            What::Recovered(Recovered { bytes, .. }) => ("log".to_owned(), format!("a torn line of {bytes} bytes")),
        }
    }

    fn workspace_and_session(&self) -> (&str, &str) {
        match &self.what {
            What::Call(intent, _) => (&intent.workspace, &intent.session),
            What::Changes(ordered, _) => (&ordered.workspace, &ordered.session),
            What::Commit(moved, _) => (&moved.workspace, &moved.session),
            What::Scratch(ordered, _) => (&ordered.workspace, ""),
            What::Policy(accepted) => (&accepted.workspace, &accepted.session),
            What::Recovered(_) => ("", ""),
        }
    }

    /// Rule, time and name of a call; name of an order.
    fn rest(&self) -> Vec<String> {
        match &self.what {
            What::Call(intent, ending) => {
                let mut rest =
                    vec![intent.rule.as_deref().map_or("-".to_owned(), |rule| beginning_of(rule, TOOL_WIDTH))];
                match ending {
                    Ending::Open | Ending::Lost => {}
                    Ending::Outcome(outcome) => rest.push(format!("{} ms", outcome.duration_ms)),
                }
                rest.push(intent.call.0.chars().take(CALL_WIDTH).map(plain_character).collect());
                rest
            }
            What::Changes(_, Some(ChangesDecided { order: Some(order), .. })) => vec![plain::name(&order.0)],
            What::Changes(..) | What::Commit(..) | What::Scratch(..) | What::Policy(_) | What::Recovered(_) => {
                Vec::new()
            }
        }
    }

    /// All that is known, a line each.
    fn details(&self) -> Vec<(&'static str, String)> {
        let (what, place) = self.what_and_place();
        let (workspace, session) = self.workspace_and_session();
        let mut told = vec![("when", self.time.clone()), ("what", what)];
        match &self.what {
            What::Call(intent, ending) => {
                told.insert(0, ("call", intent.call.0.clone()));
                told.extend(
                    intent.arguments.iter().map(|(name, value)| ("argument", format!("{name} = {}", shown(value)))),
                );
                let rule = intent.rule.as_ref().map_or("no rule".to_owned(), |rule| format!("rule {rule}"));
                told.push(("decision", format!("{} by {rule}", word(&intent.decision))));
                told.push(("policy", intent.policy_sha256.clone()));
                told.push(("client", format!("{} {}", intent.client.name, intent.client.version)));
                told.push(("result", end_of_call(intent.decision, ending).1.to_owned()));
                if let Ending::Outcome(outcome) = ending {
                    told.extend(details_of(outcome));
                }
            }
            What::Changes(_, done) => {
                told.push(("paths", place));
                told.extend(done.iter().flat_map(|done| {
                    let order = done.order.as_ref().map(|order| ("order", order.0.clone()));
                    [("done", several(&done.paths, done.done))].into_iter().chain(order)
                }));
            }
            What::Commit(..) | What::Scratch(..) | What::Policy(_) | What::Recovered(_) => told.push(("about", place)),
        }
        told.push(("session", session.to_owned()));
        told.push(("workspace", workspace.to_owned()));
        told
    }
}

fn details_of(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let mut told = vec![("took", format!("{} ms", outcome.duration_ms))];
    told.extend(outcome.code.iter().map(|code| ("code", code.clone())));
    told.extend(outcome.exit.map(|exit| ("status", exit.to_string())));
    told.extend(outcome.changes.map(|changes| {
        let audit::ChangeCounts { applied, held, dropped, left } = changes;
        ("changes", format!("{applied} applied, {held} held, {dropped} dropped, {left} not kept"))
    }));
    told.extend(outcome.sandbox.iter().map(|sandbox| {
        let mut text = format!("{}, {}", sandbox.backend, sandbox.isolation);
        for (word, list) in [("watched", &sandbox.watched), ("absent", &sandbox.absent)] {
            if !list.is_empty() {
                text.push_str(&format!("; {word}: {}", list.join(", ")));
            }
        }
        ("sandbox", text)
    }));
    told.push(("answer", format!("{} bytes, sha256 {}", outcome.output.bytes, outcome.output.sha256)));
    told
}

/// The argument that says best what a call is about.
fn place_of(intent: &Intent) -> &str {
    ["path", "source", "filter", "pattern", "revision", "run_id"]
        .iter()
        .find_map(|name| intent.arguments.get(*name).and_then(Value::as_str))
        .unwrap_or("")
}

fn end_of_call(decision: Decision, ending: &Ending) -> (Mark, &'static str) {
    let end = match ending {
        Ending::Open | Ending::Lost => None,
        Ending::Outcome(outcome) => Some(outcome.end),
    };
    match (decision, end) {
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
    }
}

/// The log's own word.
fn word(decision: &Decision) -> String {
    shown(&serde_json::json!(decision))
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The first of some names, and how many there are.
fn several(names: &[String], all: u64) -> String {
    match names.split_first() {
        None => "nothing".to_owned(),
        Some((first, [])) if all <= 1 && first == "." => "all".to_owned(),
        Some((first, [])) if all <= 1 => first.clone(),
        Some((first, _)) => format!("{first} and {} more", all.saturating_sub(1)),
    }
}

fn plain_character(character: char) -> char {
    if character.is_ascii_graphic() { character } else { '?' }
}

/// A name as a line shows it, cut after `width` characters.
fn beginning_of(text: &str, width: usize) -> String {
    let text = plain::name(text);
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width - 1).chain(std::iter::once('…')).collect()
}

/// A path as a line shows it: its end, which tells more, `width` characters of it.
fn end_of(text: &str, width: usize) -> String {
    let text = plain::name(text);
    let count = text.chars().count();
    if count <= width {
        return text;
    }
    std::iter::once('…').chain(text.chars().skip(count - (width - 1))).collect()
}

/// Reads a time, or how long ago.
fn since(given: &str) -> Result<Since, String> {
    let form = "write how long ago (`30m`, `2h`, `7d`) or a time in UTC (`2026-11-28`, `2026-11-28T18:16`)";
    if let Some((number, unit)) = given.split_at_checked(given.len().saturating_sub(1))
        && let Ok(number) = number.parse::<u64>()
    {
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(form.to_owned()),
        };
        let seconds = number.checked_mul(seconds).ok_or(form)?;
        return Ok(Since::Ago(Duration::from_secs(seconds)));
    }
    let text = given.strip_suffix('Z').unwrap_or(given).replace(' ', "T");
    // The log's own form, whose order is that of its letters: a beginning of it is earlier than all that begins with it.
    let fits = |(there, form): (u8, u8)| if form == b'0' { there.is_ascii_digit() } else { there == form };
    let whole = [10, 16, 19, 23].contains(&text.len());
    if whole && text.bytes().zip(*b"0000-00-00T00:00:00.000").all(fits) {
        Ok(Since::Moment(text))
    } else {
        Err(form.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_and_as_the_log_write_them() {
        assert_eq!(since("2h"), Ok(Since::Ago(Duration::from_secs(7_200))));
        for (given, text) in [
            ("2026-11-28", "2026-11-28"),
            ("2026-11-28 18:16", "2026-11-28T18:16"),
            ("2026-11-28T18:16:35.208Z", "2026-11-28T18:16:35.208"),
        ] {
            assert_eq!(since(given), Ok(Since::Moment(text.to_owned())));
            assert!("2026-11-28T18:16:35.208Z" >= text, "a moment counts itself");
        }
        for wrong in
            ["", "h", "2", "2w", "yesterday", "2026-11", "2026-11-28T18", "28.11.2026", "99999999999999999999d", "é"]
        {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_cut_where_they_tell_least_and_never_act() {
        assert_eq!(beginning_of("run_tests", 9), "run_tests");
        assert_eq!(beginning_of("run_tests", 5), "run_…");
        assert_eq!(end_of("/home/ana/project", 8), "…project");
        assert_eq!(end_of("a\u{202e}b", 20), "a\\u{202e}b");
        assert_eq!(several(&["a".into(), "b".into()], 7), "a and 6 more");
    }
}
