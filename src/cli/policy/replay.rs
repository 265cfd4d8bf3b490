//! `cofferdam policy replay`: what another policy would have said to the calls that are on record.
//!
//! The log holds arguments that name a place, a choice or a number, and of all else a digest. So a call is planned anew
//! with what is there and with stand-ins for the rest, twice with different ones: what comes out differently depends on
//! what is not known. Where a rule asks about that, the answer may be `unknown`, and is said to be.

use std::{
    collections::BTreeMap,
    fmt,
    io::BufReader,
    path::{Path, PathBuf},
};

use clap::Args;
use cofferdam_contract::{Argument, Plan};
use cofferdam_policy::{Decided, InPart, Policy, Unknown};
use cofferdam_tools::{Project, Toolbox};
use serde_json::{Map, Value};

use super::{
    super::{
        exit::Exit,
        narrowing::COMMAND_LINE_RULE,
        terminal::{Colour, Mark, causes, print},
    },
    ReadAs, load_as, plan, read, wrong,
};
use crate::{
    audit::{self, Decision, Event, Intent, Lines, Record, preview::arguments_sha256},
    config::{self, PolicyFile},
    plain,
    policy_files::{self, PolicyFiles},
    server::Setup,
};

/// Judges the recorded calls by another policy file
///
/// The file is read as the operator's, over the builtin policy and below the `.cofferdam.toml` that each call's workspace
/// has now. A call whose answer depends on an argument that the log does not hold (contents of files) is listed as unknown,
/// and so is a refusal by no rule that your policy in force would not make either: a flag (`--limit`) may have made it.
/// A refusal by `--deny` says nothing about a file and is not judged.
#[derive(Debug, Args)]
pub(in super::super) struct Replay {
    /// The log, or the state folder that holds it; without it your own
    log: Option<PathBuf>,
    /// The policy file to judge by
    #[arg(long, value_name = "FILE")]
    candidate: PathBuf,
}

/// What became of a recorded call.
#[derive(Debug, PartialEq, Eq)]
enum Replayed {
    /// The same answer.
    Same,
    /// Another.
    Otherwise { now: Decided, by: By },
    /// It cannot be told, for this reason.
    Unknown(String),
    /// Policy was not asked.
    NotAsked,
}

/// What answers.
#[derive(Debug, PartialEq, Eq)]
enum By {
    /// A rule.
    Rule(String),
    /// That no rule allows it.
    NoRule,
    /// That there is no such tool: a `[[task]]` that the file does not have.
    NoTool,
}

impl fmt::Display for By {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(formatter, "rule {rule}"),
            Self::NoRule => formatter.write_str("no rule"),
            Self::NoTool => formatter.write_str("since there is no such tool"),
        }
    }
}

/// Replays the log.
pub(super) fn run(replay: &Replay, setup: &Setup, colour: Colour) -> Exit {
    // Alone first: what is wrong with it is said whatever the log holds.
    if let Err(why) = load_as(&replay.candidate, ReadAs::Operator, setup) {
        return wrong(why);
    }
    let candidate = match read(setup, &replay.candidate) {
        Ok(text) => PolicyFile { path: replay.candidate.clone(), text },
        Err(why) => return wrong(why),
    };
    let mut policies = Policies { candidate, setup, of_workspaces: BTreeMap::new() };
    let path = match &replay.log {
        None => audit::path(&setup.folders.state),
        Some(path) => {
            let path = setup.environment.absolute_path(path);
            if path.is_dir() { audit::path(&path) } else { path }
        }
    };
    match replay_log(&path, &mut policies, colour) {
        Ok(Counts { widened: 0, .. }) => Exit::Success,
        Ok(_) => Exit::Person,
        Err(error) => wrong(format_args!("failed to read {}: {error}", path.display())),
    }
}

/// The policies that the calls of each workspace are judged by.
struct Policies<'a> {
    candidate: PolicyFile,
    setup: &'a Setup,
    of_workspaces: BTreeMap<String, OfWorkspace>,
}

/// What judges the calls of one workspace.
struct OfWorkspace {
    /// The candidate with the workspace's own file, or why they do not load.
    candidate: Result<Policy, String>,
    /// What is in force there now, without flags. `None` where that does not load.
    in_force: Option<Policy>,
}

impl Policies<'_> {
    fn of(&mut self, workspace: &str) -> &OfWorkspace {
        let Self { candidate, setup, of_workspaces } = self;
        of_workspaces.entry(workspace.to_owned()).or_insert_with(|| {
            let place = Path::new(workspace);
            let load = |operator| {
                let repository = policy_files::read_repository(place).map_err(|error| causes(&error))?;
                let files = PolicyFiles { operator, repository, command_line: String::new() };
                files.load().map_err(|error| error.to_string())
            };
            let in_force = config::read_policy(&setup.policy, &setup.folders, place).ok();
            OfWorkspace {
                candidate: load(Some(candidate.clone())),
                in_force: in_force.and_then(|operator| load(operator).ok()),
            }
        })
    }
}

impl OfWorkspace {
    fn judge(&self, intent: &Intent) -> Replayed {
        if intent.rule.as_deref() == Some(COMMAND_LINE_RULE) {
            return Replayed::NotAsked;
        }
        let candidate = match &self.candidate {
            Ok(candidate) => candidate,
            Err(why) => return Replayed::Unknown(why.clone()),
        };
        let replayed = judge(intent, candidate);
        let is_refused_by_none = intent.decision == Decision::Denied && intent.rule.is_none();
        match (&replayed, &self.in_force) {
            (Replayed::Otherwise { now, .. }, Some(in_force)) if is_refused_by_none => match judge(intent, in_force) {
                Replayed::Otherwise { now: today, .. } if today == *now => Replayed::Unknown(
                    "no rule refused it, and your policy in force would not: a flag of that server may have".to_owned(),
                ),
                Replayed::Otherwise { .. } | Replayed::Same | Replayed::Unknown(_) | Replayed::NotAsked => replayed,
            },
            (_, Some(_) | None) => replayed,
        }
    }
}

#[derive(Default)]
struct Counts {
    calls: usize,
    same: usize,
    widened: usize,
    narrowed: usize,
    unknown: usize,
    not_asked: usize,
    unreadable: usize,
}

fn replay_log(path: &Path, policies: &mut Policies<'_>, colour: Colour) -> std::io::Result<Counts> {
    let mut lines = Lines::new(BufReader::new(audit::open_between_batches(path)?));
    let mut counts = Counts::default();
    while let Some(line) = lines.read()? {
        let (time, intent) = match line.record() {
            Some(Record { time, event: Event::Intent(intent), .. }) => (time, intent),
            Some(Record {
                event:
                    Event::Outcome(_)
                    | Event::Lost(_)
                    | Event::ChangesOrdered(_)
                    | Event::Changes(_)
                    | Event::CommitOrdered(_)
                    | Event::CommitTaken(_)
                    | Event::ScratchOrdered(_)
                    | Event::ScratchCleared(_)
                    | Event::PolicyAccepted(_)
                    | Event::Recovered(_),
                ..
            }) => continue,
            None => {
                counts.unreadable += 1;
                continue;
            }
        };
        counts.calls += 1;
        let before = decided(intent.decision);
        match policies.of(&intent.workspace).judge(&intent) {
            Replayed::Same => counts.same += 1,
            Replayed::NotAsked => counts.not_asked += 1,
            Replayed::Unknown(why) => {
                counts.unknown += 1;
                show(&time, &intent, colour.paint(Mark::Warn, "unknown"), &why, colour);
            }
            Replayed::Otherwise { now, by } => {
                let less = before.is_some_and(|before| now > before);
                *(if less { &mut counts.narrowed } else { &mut counts.widened }) += 1;
                let (mark, word) = if less { (Mark::Good, "narrowed") } else { (Mark::Bad, "widened") };
                let was = before.map_or_else(String::new, |before| before.to_string());
                show(&time, &intent, colour.paint(mark, word), &format!("{was} → {now}, {by}"), colour);
            }
        }
    }
    let Counts { calls, same, widened, narrowed, unknown, not_asked, unreadable } = counts;
    print(format_args!(
        "{calls} calls: {same} answered alike, {widened} widened, {narrowed} narrowed, {unknown} unknown, {not_asked} never judged"
    ));
    if unreadable > 0 {
        print(format_args!("{unreadable} lines cannot be read; see `cofferdam audit verify`"));
    }
    Ok(Counts { calls, same, widened, narrowed, unknown, not_asked, unreadable })
}

fn show(time: &str, intent: &Intent, word: String, what: &str, colour: Colour) {
    let shown: Vec<String> = intent
        .arguments
        .iter()
        .filter(|(_, value)| value.is_string())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let call = plain::name(&format!("{} {}", intent.tool, shown.join(" ")));
    print(format_args!("{} {word}  {call}  {}", colour.paint(Mark::Dim, time), plain::lines(what)));
}

fn decided(decision: Decision) -> Option<Decided> {
    match decision {
        Decision::Allowed => Some(Decided::Allow),
        Decision::ApprovalRequired => Some(Decided::Approve),
        Decision::Denied => Some(Decided::Deny),
        Decision::InvalidArguments | Decision::UnknownTool => None,
    }
}

/// Judges one recorded call.
fn judge(intent: &Intent, policy: &Policy) -> Replayed {
    let Some(before) = decided(intent.decision) else { return Replayed::NotAsked };
    if intent.policy_sha256.is_empty() {
        // It was refused because the policy was invalid.
        return Replayed::NotAsked;
    }
    if Toolbox::new(policy.tasks().cloned()).find(&intent.tool).is_none() {
        return match before {
            Decided::Deny => Replayed::Same,
            Decided::Allow | Decided::Approve => Replayed::Otherwise { now: Decided::Deny, by: By::NoTool },
        };
    }
    let (plan, unknown) = match rebuild(intent, policy) {
        Ok(rebuilt) => rebuilt,
        Err(why) => return Replayed::Unknown(why),
    };
    match policy.judge_in_part(&plan, &unknown) {
        InPart::Sure { decided, .. } if decided == before => Replayed::Same,
        InPart::Sure { decided, rule } => Replayed::Otherwise { now: decided, by: rule.map_or(By::NoRule, By::Rule) },
        InPart::Unknown { arguments } => {
            Replayed::Unknown(format!("it depends on {}, which the log does not hold", arguments.join(", ")))
        }
    }
}

/// A plan of the recorded call, and its arguments that are not known.
fn rebuild(intent: &Intent, policy: &Policy) -> Result<(Plan, BTreeMap<String, Unknown>), String> {
    let project = Project { workspace: intent.workspace.clone() };
    let missing: Vec<&String> =
        intent.arguments.iter().filter(|(_, value)| is_left_out(value)).map(|(n, _)| n).collect();
    if missing.is_empty() {
        let arguments: Map<String, Value> = intent.arguments.clone().into_iter().collect();
        if arguments_sha256(&arguments) != *intent.standard_sha256.as_ref().unwrap_or(&intent.arguments_sha256) {
            return Err("the log does not hold all its arguments".to_owned());
        }
        return Ok((plan(policy, &intent.tool, &arguments, &project)?, BTreeMap::new()));
    }
    let texts = |text: &str| stand_in(intent, &Value::from(text));
    let lists = |text: &str| stand_in(intent, &Value::from(vec![text]));
    let planned = |arguments: [Map<String, Value>; 2]| -> Result<[Plan; 2], String> {
        let [one, other] = arguments;
        Ok([plan(policy, &intent.tool, &one, &project)?, plan(policy, &intent.tool, &other, &project)?])
    };
    let [one, other] = planned([texts("stand-in-a"), texts("stand-in-b")])
        .or_else(|_| planned([lists("stand-in-a"), lists("stand-in-b")]))
        .map_err(|_| "arguments that the log does not hold shape the call".to_owned())?;
    let unknown: BTreeMap<String, Unknown> = one
        .arguments
        .iter()
        .filter(|(name, value)| other.arguments.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), what_is_known(name, value, intent)))
        .collect();
    let without = |plan: &Plan| {
        let mut plan = plan.clone();
        plan.arguments.retain(|name, _| !unknown.contains_key(name));
        plan
    };
    // Whatever else differs between the two stand-ins was made of what is not known.
    if without(&one) != without(&other) {
        return Err(format!("what it would change depends on {}, which the log does not hold", names(&missing)));
    }
    Ok((one, unknown))
}

fn names(names: &[&String]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// What the log holds of an argument that it does not show. An argument that was called by another name is only known to
/// be there.
fn what_is_known(name: &str, value: &Argument, intent: &Intent) -> Unknown {
    let digest = intent.arguments.get(name).filter(|value| is_replacement(value)).and_then(|value| {
        let text = value.get("sha256")?.as_str()?;
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        (text.len() == 64).then_some(bytes)
    });
    match (value, digest) {
        (Argument::Text(_), Some(sha256)) => Unknown::Text { sha256 },
        (Argument::Bool(_) | Argument::Integer(_) | Argument::Text(_) | Argument::List(_) | Argument::Map(_), _) => {
            Unknown::Anything
        }
    }
}

/// The recorded arguments with `text` for each that is not known.
fn stand_in(intent: &Intent, text: &Value) -> Map<String, Value> {
    let value = |at: usize, value: &Value| {
        // Each argument has its own: an edit whose two texts are the same is none.
        let own = |text: &Value| Value::from(format!("{}{at}", text.as_str().unwrap_or_default()));
        match (value, text) {
            (Value::Array(elements), text) if is_left_out(value) => {
                let text = own(if text.is_array() { &text[0] } else { text });
                let elements = elements.iter().map(|e| if is_replacement(e) { text.clone() } else { e.clone() });
                Value::Array(elements.collect())
            }
            (value, Value::Array(texts)) if is_left_out(value) => texts.iter().map(own).collect(),
            (value, text) if is_left_out(value) => own(text),
            (value, _) => value.clone(),
        }
    };
    let arguments = intent.arguments.iter().enumerate();
    arguments.map(|(at, (name, given))| (name.clone(), value(at, given))).collect()
}

/// Whether the log shows something else in the value's place, wholly or in an element.
fn is_left_out(value: &Value) -> bool {
    match value {
        Value::Array(elements) => elements.iter().any(is_replacement),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => is_replacement(value),
    }
}

fn is_replacement(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.len() == 2 && map.contains_key("bytes") && map.contains_key("sha256"))
}

#[cfg(test)]
mod tests {
    use cofferdam_policy::{Layer, LayerName};
    use serde_json::json;

    use super::*;
    use crate::audit::{Call, Client, preview::preview};

    fn intent(tool: &str, arguments: Value, decision: Decision) -> Intent {
        let arguments = arguments.as_object().unwrap();
        Intent {
            call: Call("c".into()),
            server: "s".into(),
            session: "default".into(),
            client: Client { name: "test".into(), version: "1".into() },
            workspace: "/work".into(),
            tool: tool.into(),
            plan_sha256: None,
            arguments_sha256: arguments_sha256(arguments),
            standard_sha256: None,
            arguments: preview(arguments),
            decision,
            rule: None,
            policy_sha256: "ab".into(),
        }
    }

    fn policy(when: &str, example: &str) -> Policy {
        let text = format!(
            "version = 1\n[limits]\nwrite = [\"src/**\"]\n[[rule]]\nid = \"no\"\ntools = [\"write_file\"]\ndecision = \"deny\"\n\
             when = {{ {when} }}\nwhy = \"x\"\nmatch = [{{ tool = \"write_file\", args = {{ {example} }} }}]\n"
        );
        crate::policy_files::load(std::iter::once(Layer {
            name: LayerName::Operator,
            file: "policy.toml",
            text: &text,
        }))
        .unwrap()
    }

    fn allowed(arguments: Value, policy: &Policy) -> Replayed {
        judge(&intent("write_file", arguments, Decision::Allowed), policy)
    }

    #[test]
    fn contents_that_no_rule_asks_about_do_not_matter() {
        let policy = policy("path = { prefix = \"src/gen\" }", "path = \"src/gen/a\"");
        assert_eq!(allowed(json!({ "path": "src/a", "content": "secret" }), &policy), Replayed::Same);
        let now = Replayed::Otherwise { now: Decided::Deny, by: By::Rule("no".into()) };
        assert_eq!(allowed(json!({ "path": "/work/src/gen/b", "content": "secret" }), &policy), now);
        // Outside of what may be written, and under another name of the argument.
        let now = Replayed::Otherwise { now: Decided::Deny, by: By::NoRule };
        assert_eq!(allowed(json!({ "file_path": "b", "content": "secret" }), &policy), now);
    }

    #[test]
    fn contents_that_a_rule_asks_about_are_known_by_their_digest_or_unknown() {
        let spelled_out = policy("content = \"secret\"", "content = \"secret\"");
        let call = |content: &str, policy: &Policy| allowed(json!({ "path": "src/a", "content": content }), policy);
        assert_eq!(call("other", &spelled_out), Replayed::Same);
        assert!(matches!(call("secret", &spelled_out), Replayed::Otherwise { now: Decided::Deny, .. }));
        let prefix = policy("content = { prefix = \"secret\" }", "content = \"secret/a\"");
        let Replayed::Unknown(why) = call("secret/b", &prefix) else { panic!("{:?}", call("secret/b", &prefix)) };
        assert!(why.contains("content"), "{why}");
    }

    #[test]
    fn an_edit_whose_texts_are_not_on_record_is_judged_by_its_path() {
        let policy = policy("path = { prefix = \"src/gen\" }", "path = \"src/gen/a\"");
        let edit = json!({ "path": "src/a", "old_string": "one", "new_string": "two" });
        assert_eq!(judge(&intent("edit_file", edit, Decision::Allowed), &policy), Replayed::Same);
    }

    #[test]
    fn a_path_that_is_not_on_record_leaves_the_answer_unknown() {
        let policy = policy("path = { prefix = \"src/gen\" }", "path = \"src/gen/a\"");
        let long = format!("src/{}", "a".repeat(300));
        assert!(matches!(allowed(json!({ "path": long, "content": "" }), &policy), Replayed::Unknown(_)));
    }

    #[test]
    fn a_call_of_a_task_that_is_gone_would_be_denied() {
        let policy = policy("path = \"x\"", "path = \"x\"");
        let call = |decision| judge(&intent("update_snapshots", json!({ "group": "parser" }), decision), &policy);
        assert_eq!(call(Decision::Allowed), Replayed::Otherwise { now: Decided::Deny, by: By::NoTool });
        assert_eq!(call(Decision::Denied), Replayed::Same);
        assert_eq!(call(Decision::UnknownTool), Replayed::NotAsked);
    }

    #[test]
    fn arguments_that_came_under_other_names_are_whole_by_their_own_digest() {
        let policy = policy("path = { prefix = \"src/gen\" }", "path = \"src/gen/a\"");
        let standard = json!({ "path": "src/a" });
        let mut intent = intent("read_file", json!({ "file_path": "src/a" }), Decision::Allowed);
        intent.arguments = preview(standard.as_object().unwrap());
        assert!(matches!(judge(&intent, &policy), Replayed::Unknown(_)));
        intent.standard_sha256 = Some(arguments_sha256(standard.as_object().unwrap()));
        assert_eq!(judge(&intent, &policy), Replayed::Same);
    }

    #[test]
    fn what_a_flag_may_have_refused_is_no_widening_by_the_file() {
        let refused = |rule: Option<&str>| Intent {
            rule: rule.map(str::to_owned),
            ..intent("write_file", json!({ "path": "src/a", "content": "x" }), Decision::Denied)
        };
        let load = || Ok(policy("path = \"x\"", "path = \"x\""));
        let with = |in_force: Option<Policy>| OfWorkspace { candidate: load(), in_force };
        let same = with(load().ok());
        assert_eq!(same.judge(&refused(Some(COMMAND_LINE_RULE))), Replayed::NotAsked);
        assert!(matches!(same.judge(&refused(None)), Replayed::Unknown(why) if why.contains("a flag")));
        // A rule of a file refused it, or the policy in force does: then the candidate allows more.
        let stricter = policy("path = { prefix = \"src\" }", "path = \"src/a\"");
        for (of_workspace, rule) in [(with(load().ok()), Some("no")), (with(Some(stricter)), None), (with(None), None)]
        {
            let replayed = of_workspace.judge(&refused(rule));
            assert!(matches!(replayed, Replayed::Otherwise { now: Decided::Allow, .. }), "{replayed:?}");
        }
        let broken = OfWorkspace { candidate: Err("line 3".to_owned()), in_force: None };
        assert_eq!(broken.judge(&refused(None)), Replayed::Unknown("line 3".to_owned()));
    }

    #[test]
    fn the_workspaces_own_file_judges_too() {
        let playground = crate::playground::Playground::with_policy("version = 1\n");
        let setup = playground.setup();
        let own = "version = 1\n[limits]\nwrite = [\"src/**\"]\n";
        std::fs::write(setup.workspace.join(policy_files::REPOSITORY_FILE), own).unwrap();
        let candidate = PolicyFile { path: "p".into(), text: "version = 1\n".to_owned() };
        let mut policies = Policies { candidate, setup: &setup, of_workspaces: BTreeMap::new() };
        let workspace = setup.workspace.to_string_lossy().into_owned();
        let call = Intent {
            workspace: workspace.clone(),
            ..intent("write_file", json!({ "path": "docs/a", "content": "x" }), Decision::Denied)
        };
        assert_eq!(policies.of(&workspace).judge(&call), Replayed::Same);
    }

    #[test]
    fn what_policy_was_never_asked_is_left_out() {
        let policy = policy("path = \"x\"", "path = \"x\"");
        for decision in [Decision::InvalidArguments, Decision::UnknownTool] {
            assert_eq!(judge(&intent("write_file", json!({}), decision), &policy), Replayed::NotAsked);
        }
        let mut invalid = intent("read_file", json!({ "path": "a" }), Decision::Denied);
        invalid.policy_sha256 = String::new();
        assert_eq!(judge(&invalid, &policy), Replayed::NotAsked);
    }
}
