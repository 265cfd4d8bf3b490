//! `cofferdam policy explain`: how a call is judged, and why.

use clap::Args;
use cofferdam_contract::{Lane, Network};
use cofferdam_policy::{Decided, Explanation, Grants, RuleView, Satisfied};
use serde_json::{Map, Value};

use super::{
    super::{
        exit::Exit,
        terminal::{Colour, Mark, print},
    },
    failed, plan, project, wrong,
};
use crate::{
    plain,
    server::{Setup, policy_of_calls},
};

/// Says how a call is judged
///
/// Ends with 0 if it is allowed, 1 if it is refused, and 3 if people would be asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cofferdam policy explain '{\"tool\": \"delete_file\", \"args\": {\"path\": \"a.rs\"}}'
  cofferdam policy explain '{\"tool\": \"run_tests\"}' --policy candidate.toml")]
pub(in super::super) struct Explain {
    /// The call: `{"tool": NAME, "args": {…}}`
    call: String,
}

/// Explains the call.
pub(super) fn run(explain: &Explain, setup: &Setup, colour: Colour) -> Exit {
    let (tool, arguments) = match call(&explain.call) {
        Ok(call) => call,
        Err(why) => return wrong(why),
    };
    let policy = match policy_of_calls(setup) {
        Ok(policy) => policy,
        Err(error) => return failed(&error),
    };
    let plan = match plan(&policy, &tool, &arguments, &project(&setup.workspace)) {
        Ok(plan) => plan,
        Err(why) => return wrong(why),
    };
    let found = policy.explain(&plan);
    show(&found, colour);
    match found.decided {
        Decided::Allow => Exit::Success,
        Decided::Approve => Exit::Person,
        Decided::Deny => Exit::Failed,
    }
}

/// Reads a call as people and as the protocol write it.
fn call(text: &str) -> Result<(String, Map<String, Value>), String> {
    let form = "a call is a JSON object: {\"tool\": \"read_file\", \"args\": {\"path\": \"src/lib.rs\"}}";
    let mut call: Map<String, Value> = serde_json::from_str(text).map_err(|error| format!("{form} ({error})"))?;
    let mut take = |names: [&str; 2]| names.iter().find_map(|name| call.remove(*name));
    let tool = match take(["tool", "name"]) {
        Some(Value::String(tool)) => tool,
        Some(_) | None => return Err(form.to_owned()),
    };
    let arguments = match take(["args", "arguments"]) {
        Some(Value::Object(arguments)) => arguments,
        None => Map::new(),
        Some(_) => return Err(form.to_owned()),
    };
    match call.keys().next() {
        Some(unknown) => Err(format!("{form}; it has no {unknown:?}")),
        None => Ok((tool, arguments)),
    }
}

fn show(found: &Explanation, colour: Colour) {
    let (mark, answer) = match found.decided {
        Decided::Allow => (Mark::Good, "allowed"),
        Decided::Approve => (Mark::Warn, "waits for approval"),
        Decided::Deny => (Mark::Bad, "refused"),
    };
    let by = match &found.rule {
        Some(rule) => format!("by the rule `{}`", plain::name(rule)),
        None => "by no rule".to_owned(),
    };
    print(format_args!("{} {by}: {}", colour.paint(mark, answer), plain::visible(&found.why)));
    if let Some(grants) = &found.grants {
        print(format_args!("grants: {}", granted(grants)));
    }
    print(format_args!("changes: {}", found.changes));
    match (found.decided, &found.nearest) {
        (Decided::Deny, Some(nearest)) => print(format_args!("allowed instead: {}", plain::visible(nearest))),
        (Decided::Deny, None) => print("allowed instead: no change of one or two arguments; only another policy"),
        (Decided::Allow | Decided::Approve, _) => {}
    }
    print(colour.paint(Mark::Bold, "Rules about this tool"));
    if found.rules.is_empty() {
        print("  none; what no rule allows is refused");
    }
    found.rules.iter().for_each(|rule| show_rule(rule, colour));
    print(colour.paint(Mark::Bold, "Limits"));
    for ceiling in &found.ceilings {
        let place = ceiling.place.as_ref().map(ToString::to_string).unwrap_or_default();
        let value = plain::name(&ceiling.value);
        print(format_args!("  {:<12} {value}  {}", ceiling.key, colour.paint(Mark::Dim, place)));
    }
}

fn granted(grants: &Grants) -> String {
    let Grants { network, isolation, lane, credentials, limits } = grants;
    let network = match network {
        Network::Off => "no network",
        Network::Registry => "registries",
        Network::Allowlist => "allowed hosts",
    };
    let lane = match lane {
        Lane::Routine => "routine lane",
        Lane::Sensitive => "sensitive lane",
    };
    let mut text = format!(
        "{network}, at least {isolation:?} isolation, {lane}; {} s, {} s of CPU, {} MB of memory, {} MB of disk, {} processes, \
         {} KB of output",
        limits.wall_seconds, limits.cpu_seconds, limits.memory_mb, limits.disk_mb, limits.pids, limits.output_kb
    );
    if !credentials.is_empty() {
        text.push_str(&format!("; credentials {}", credentials.iter().cloned().collect::<Vec<_>>().join(", ")));
    }
    text
}

fn show_rule(rule: &RuleView, colour: Colour) {
    let decides = if rule.decides { "decides" } else { "does not decide" };
    let mark = if rule.decides { Mark::Good } else { Mark::Dim };
    print(format_args!(
        "  {} {} `{}`  {}",
        colour.paint(mark, decides),
        rule.decision,
        plain::name(&rule.id),
        colour.paint(Mark::Dim, format_args!("{} {}", rule.layer, rule.place))
    ));
    if rule.conditions.is_empty() {
        print("      no conditions: it matches every call");
    }
    for condition in &rule.conditions {
        let satisfied = match condition.satisfied {
            Satisfied::Yes => "true",
            Satisfied::No => "false",
            Satisfied::ForSome => "true for some",
        };
        let given = condition.given.as_deref().map_or("left out".to_owned(), plain::name);
        let wanted = plain::name(&condition.wanted);
        print(format_args!("      {satisfied}: {} = {wanted}, and the call has {given}", condition.argument));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_as_people_and_as_the_protocol_write_it() {
        for text in [r#"{"tool":"a","args":{"b":1}}"#, r#"{"name":"a","arguments":{"b":1}}"#] {
            let (tool, arguments) = call(text).unwrap();
            assert_eq!((tool.as_str(), arguments["b"].as_i64()), ("a", Some(1)));
        }
        assert_eq!(call(r#"{"tool":"a"}"#).unwrap().1.len(), 0);
        for text in ["", "[]", r#"{"args":{}}"#, r#"{"tool":1}"#, r#"{"tool":"a","args":[]}"#, r#"{"tool":"a","x":1}"#]
        {
            assert!(call(text).is_err(), "{text}");
        }
    }
}
