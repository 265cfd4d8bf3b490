//! `cofferdam call`: one call through the same pipeline as a client's.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use cofferdam_contract::Ended;
use cofferdam_tools::Output;
use serde_json::{Map, Value, json};

use super::{
    exit::Exit,
    narrowing::Narrowing,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::{
    audit::{ChangeCounts, Client},
    plain,
    reply::{Facts, Reply, enforced_line},
    run::Run,
    server::{Request, Server, Setup, Unusable},
};

/// How often news of a running call is shown.
const NEWS_EVERY: Duration = Duration::from_secs(2);

/// Makes one call
///
/// The tool's result goes to standard output; how it came to be, and what is happening meanwhile, to standard error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cofferdam call list_files
  cofferdam call read_file '{\"path\": \"a.rs\", \"limit\": 20}' --workspace ~/project
  echo '{\"filter\": \"parser\"}' | cofferdam call run_tests - --json

A script tells a run of tests, a check, a build or a task by the status: 0 it
passed, 6 it did not, anything else is no result. With --json, `whole` lists
what a result for an agent shortens: every single test, every diagnostic.")]
pub(super) struct Call {
    /// The tool's name
    tool: String,
    /// Its arguments as a JSON object; `-` reads them from standard input
    #[arg(default_value = "{}")]
    arguments: String,
    /// Prints the result and its facts as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    narrowing: Narrowing,
}

impl Call {
    /// What the flags take away from the policy, as its last layer.
    pub(super) fn narrowing(&self) -> String {
        self.narrowing.text()
    }
}

/// Makes the call and shows its result.
#[must_use]
pub(super) fn run(call: &Call, setup: Setup) -> Exit {
    let colour = Colour::of(&io::stderr(), &setup.environment);
    let arguments = match arguments(&call.arguments) {
        Ok(arguments) => Ok(arguments),
        Err(why) => {
            note(format_args!("cofferdam: the arguments are not a JSON object: {why}"));
            return Exit::Usage;
        }
    };
    let server = match Server::open(&setup) {
        Ok(server) => Arc::new(server),
        Err(error) => {
            note(format_args!("cofferdam: failed to {}", plain::lines(&causes(&error))));
            return unusable(&error);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            note(format_args!("cofferdam: failed to start threads: {error}"));
            return Exit::Failed;
        }
    };
    let client = Client { name: "cofferdam call".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let request = Request { tool: call.tool.clone(), arguments, client };
    let reply = runtime.block_on(async {
        let run = server.start(request);
        let reply = wait(&run, colour).await;
        server.close().await;
        reply
    });
    if call.json {
        show_json(&reply)
    } else {
        show(&reply, colour)
    }
    status(&reply)
}

fn arguments(text: &str) -> Result<Map<String, Value>, String> {
    let read;
    let text = if text == "-" {
        read = io::read_to_string(io::stdin().take(16 << 20)).map_err(|error| error.to_string())?;
        &read
    } else {
        text
    };
    serde_json::from_str(text).map_err(|error| error.to_string())
}

async fn wait(run: &Run, colour: Colour) -> Arc<Reply> {
    let mut news = tokio::time::interval(NEWS_EVERY);
    news.tick().await; // the first tick comes at once, and there is no news yet
    let mut shown = 0;
    loop {
        tokio::select! {
            reply = run.reply() => return reply,
            _ = tokio::signal::ctrl_c() => run.stop(Ended::Cancelled),
            _ = news.tick() => {
                let (line, written) = run.progress().last_line();
                if written != shown {
                    note(colour.paint(Mark::Dim, format_args!("… {line}")));
                    shown = written;
                }
            }
        }
    }
}

fn show(reply: &Reply, colour: Colour) {
    match &reply.result {
        // `print` ends the last line.
        Ok(output) => print(plain::lines(output.text.strip_suffix('\n').unwrap_or(&output.text))),
        Err(failure) => {
            note(format_args!("{} {}", colour.paint(Mark::Bad, failure.code), plain::lines(&failure.text)));
        }
    }
    note(colour.paint(Mark::Dim, footer(&reply.facts)));
}

/// How the reply came to be, on one line.
fn footer(facts: &Facts) -> String {
    let mut parts = vec![format!("rule {}", facts.rule.as_deref().unwrap_or("none"))];
    parts.extend(facts.enforced.as_ref().map(enforced_line));
    parts.extend(facts.changes.filter(|changes| *changes != ChangeCounts::default()).map(|changes| {
        format!(
            "{} applied, {} held, {} dropped, {} not kept",
            changes.applied, changes.held, changes.dropped, changes.left
        )
    }));
    parts.push(format!("{} ms", facts.took.as_millis()));
    format!("— {}", parts.join(" · "))
}

fn show_json(reply: &Reply) {
    let facts = Value::Object(reply.facts.whole());
    print(plain::json(&match &reply.result {
        Ok(output) => {
            let mut shown = json!({ "ok": true, "text": output.text, "structured": output.structured, "facts": facts });
            if let Some(whole) = &output.whole {
                shown["whole"] = whole.to_json();
            }
            shown
        }
        Err(failure) => json!({ "ok": false, "code": failure.code, "text": failure.text, "facts": facts }),
    }));
}

fn status(reply: &Reply) -> Exit {
    match &reply.result {
        Err(failure) => Exit::for_failure(failure.code),
        // First of all: what else is to be known stands in the output, and this is what was asked.
        Ok(output) if !passed(output) => Exit::NotPassed,
        Ok(_) if reply.facts.changes.is_some_and(|changes| changes.held > 0) => Exit::Person,
        Ok(_) => Exit::Success,
    }
}

/// Whether a result has no verdict, or a good one.
fn passed(output: &Output) -> bool {
    output.structured.get("verdict").is_none_or(|verdict| verdict == "passed")
}

/// The status for a server that cannot be put together.
pub(super) fn unusable(error: &Unusable) -> Exit {
    match error {
        Unusable::Config(_)
        | Unusable::Policy(_)
        | Unusable::Repository(_)
        | Unusable::Workspace(_)
        | Unusable::Session(_)
        | Unusable::Recover(_)
        | Unusable::NothingToTry => Exit::Usage,
        Unusable::Yard(_) => Exit::NoSandbox,
        Unusable::Audit(_) | Unusable::Record(_) => Exit::NoAudit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_footer_shows_rule_changes_and_time() {
        let facts = Facts {
            rule: Some("builtin-read".into()),
            changes: Some(ChangeCounts { applied: 1, ..ChangeCounts::default() }),
            took: Duration::from_millis(12),
            ..Facts::default()
        };
        assert_eq!(footer(&facts), "— rule builtin-read · 1 applied, 0 held, 0 dropped, 0 not kept · 12 ms");
    }

    #[test]
    fn held_changes_have_a_status_of_their_own() {
        let held = ChangeCounts { held: 1, ..ChangeCounts::default() };
        let mut reply = Reply { result: Ok(Output::default()), facts: Facts::default() };
        assert_eq!(status(&reply), Exit::Success);
        reply.facts.changes = Some(held);
        assert_eq!(status(&reply), Exit::Person);
        assert_eq!(status(&Reply::failed("denied", "no")), Exit::Failed);
    }

    #[test]
    fn tests_that_did_not_pass_have_a_status_of_their_own() {
        let with = |verdict: &str| {
            let mut output = Output::default();
            output.structured.insert("verdict".to_owned(), json!(verdict));
            Reply { result: Ok(output), facts: Facts::default() }
        };
        assert_eq!(status(&with("passed")), Exit::Success);
        for verdict in ["failed", "found", "build_failed", "no_tests", "unclear", "timed_out", "limit_reached"] {
            assert_eq!(status(&with(verdict)), Exit::NotPassed, "{verdict}");
        }
        let mut failed = with("failed");
        failed.facts.changes = Some(ChangeCounts { held: 1, ..ChangeCounts::default() });
        assert_eq!(status(&failed), Exit::NotPassed);
    }
}
