//! MCP over standard input and output, both eras of the protocol on one process.
//!
//! [`Adapter`] turns requests into calls of the pipeline and replies into results; it decides nothing itself.
//! rmcp is named here and in `mcp/transport.rs`, nowhere else. What rmcp does not do is done here: it never ends a
//! handler, so a call is ended by its own switch; after the client's end it would wait 5 s; it answers nothing that it
//! cannot read.

mod answer_schema;
mod request_id;
pub mod streams;
mod transport;

use std::{convert::Infallible, sync::Arc, time::Duration};

use cofferdam_contract::Ended;
use cofferdam_tools::{Failure, Output, Toolbox};
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest, CustomResult,
        DiscoverResult, Implementation, ListToolsResult, MetaObject, PaginatedRequestParams, ProgressNotificationParam,
        ProgressToken, ProtocolVersion, ServerCapabilities, ServerConfig, SubscriptionFilter, ToolAnnotations,
    },
    service::{Peer, RequestContext, SubscriptionContext},
};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::{
    streams::{Input, Output as OutputStream},
    transport::Lines,
};
use crate::{
    audit::Client,
    opening::Opening,
    policy_in_force,
    reply::{self, Facts, Reply},
    run::Run,
    server::{Given, NotAnObject, Request},
};

/// A call answers within this time, or says that it is still running. Common clients give up after 60 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);

/// The least time between two progress messages with news.
const NEWS_EVERY: Duration = Duration::from_secs(2);

/// The longest time without any progress message: some clients drop a connection that is silent.
const HEARTBEAT: Duration = Duration::from_secs(8);

/// Most calls are over before a progress message is worth sending.
const FIRST_NEWS: Duration = Duration::from_millis(150);

/// A client that does not read does not get progress messages; the call must not wait for it.
const PROGRESS_PATIENCE: Duration = Duration::from_secs(1);

/// What the server is does not change while it runs.
const DISCOVER_TTL_MS: u64 = 3_600_000;

/// A client that does not listen for changes asks for the tools again after this long: a person may change the tasks.
const LIST_TTL_MS: u64 = 300_000;

/// After the client's end, calls may take this long to end by themselves and still be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// After calls were ended, this long until their answers are written. A client that does not read must not keep us.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Serves one client until it goes away or `stop` is cancelled, then ends what is running.
///
/// Returns within 3 s after either.
pub async fn serve(opening: Opening, input: Input, output: OutputStream, stop: CancellationToken) {
    let gone = CancellationToken::new();
    let lines = Lines::new(input, output, gone.clone());
    let adapter = Adapter { opening: opening.clone(), gone: gone.clone() };
    let telling = adapter.clone();
    let protocol = CancellationToken::new();
    let serving = adapter.serve_with_ct(lines, protocol.clone());
    let mut service = tokio::spawn(async move {
        match serving.await {
            Ok(running) => {
                let peer = running.peer().clone();
                tokio::select! {
                    ended = running.waiting() => drop(ended),
                    never = telling.tell_of_tools(|| tell_legacy(&peer)) => match never {},
                }
            }
            // The client left before its first request.
            Err(error) => tracing::info!(error = &error as &dyn std::error::Error, "the client did not begin"),
        }
    });
    let ended = tokio::select! {
        // rmcp ends by itself when everything that was asked is answered; what takes longer is not waited for.
        () = gone.cancelled() => tokio::time::timeout(LAST_ANSWERS, &mut service).await.is_ok(),
        () = stop.cancelled() => false,
    };
    if let Some(server) = opening.opened() {
        server.close().await;
    }
    protocol.cancel();
    if !ended && tokio::time::timeout(LAST_WORDS, &mut service).await.is_err() {
        service.abort();
        // Until what it holds is dropped: the last owner of the sandboxes that are prepared cleans up after them.
        let _ = service.await;
    }
}

/// Requests in, results out.
#[derive(Debug, Clone)]
struct Adapter {
    opening: Opening,
    /// Cancelled when the client goes away.
    gone: CancellationToken,
}

impl Adapter {
    async fn call(
        &self,
        name: &str,
        arguments: Given,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let client = context.client_info().map_or_else(
            || Client { name: "unknown".into(), version: String::new() },
            |client| Client { name: client.name, version: client.version },
        );
        let opened = tokio::select! {
            opened = self.opening.wait() => opened,
            () = context.ct.cancelled() => Err("the call was cancelled before the server was ready".into()),
        };
        let server = match opened {
            Ok(server) => server,
            Err(text) => return Ok(failed(&Failure { code: "unusable", text: text.to_string() })),
        };
        let run = server.start(Request { tool: name.to_owned(), arguments, client });
        Ok(match wait(&run, context).await {
            Waited::Finished(reply) => match &reply.result {
                Err(Failure { code: "unknown_tool", text }) => {
                    return Err(ErrorData::invalid_params(text.clone(), None));
                }
                Ok(_) | Err(_) => result_of(&reply, context),
            },
            Waited::StillRunning => {
                run.share();
                stamp(succeeded(reply::running(&run)), context, &Facts::default())
            }
        })
    }
}

impl Adapter {
    /// Tells of each change of the tools, for as long as it is polled. Looks for one now and then, since nobody may call.
    async fn tell_of_tools<F: Future<Output = ()>>(&self, tell: impl Fn() -> F) -> Infallible {
        let Ok(server) = self.opening.wait().await else { return std::future::pending().await };
        let mut changes = server.policy.tool_changes();
        let mut looks = tokio::time::interval(policy_in_force::LOOKS_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Its sender is the server's, which is held here.
                _ = changes.changed() => tell().await,
                _ = looks.tick() => {
                    let server = Arc::clone(&server);
                    // A file of a network may take its time.
                    let _ = tokio::task::spawn_blocking(move || server.policy.look_between_calls()).await;
                }
            }
        }
    }
}

/// Tells a client of the era of sessions, which did not ask for it.
async fn tell_legacy(peer: &Peer<RoleServer>) {
    let is_legacy =
        peer.peer_info().is_some_and(|info| info.protocol_version.as_str() < ProtocolVersion::V_2026_07_28.as_str());
    if is_legacy {
        let _ = tokio::time::timeout(PROGRESS_PATIENCE, peer.notify_tool_list_changed()).await;
    }
}

impl ServerHandler for Adapter {
    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.intersection(&SubscriptionFilter::builder().tools_list_changed().build()))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let sink = context.sink();
        let tell = || async {
            // A client that asked for something else is not told, and that is no error.
            let _ = tokio::time::timeout(PROGRESS_PATIENCE, sink.notify_tool_list_changed()).await;
        };
        tokio::select! {
            // rmcp waits for what was asked when the client has gone.
            () = self.gone.cancelled() => Ok(()),
            () = context.cancelled() => Ok(()),
            never = self.tell_of_tools(tell) => match never {},
        }
    }

    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build())
            .with_server_info(implementation())
            .with_instructions(cofferdam_tools::INSTRUCTIONS)
    }

    async fn discover(&self, _context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let versions = self.supported_protocol_versions().into_owned();
        Ok(DiscoverResult::from_server_info(versions, self.get_info()).with_ttl_ms(DISCOVER_TTL_MS))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        // The tasks are in the policy, which is read while the server is put together; without a server every tool answers
        // why there is none.
        let opened = tokio::select! {
            opened = self.opening.wait() => opened.ok(),
            () = context.ct.cancelled() => None,
        };
        let list = ListToolsResult::with_all_items(match &opened {
            Some(server) => tools(policy_in_force::toolbox(&server.policy.now())),
            None => tools(&Toolbox::default()),
        });
        Ok(match era(&context) {
            Era::Modern => list.with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Private),
            Era::Legacy => list,
        })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        self.call(&request.name, Ok(arguments), &context).await.map(CallToolResponse::from)
    }

    /// Requests that rmcp knows by name, but whose parameters have a shape that it cannot read, come here.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        match request.method.as_str() {
            "tools/call" => {
                let (name, arguments) = misshapen_call(request.params.as_ref())?;
                let mut result = self.call(&name, arguments, &context).await?;
                if era(&context) == Era::Legacy {
                    result.result_type = None;
                }
                let result =
                    serde_json::to_value(result).map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
                Ok(CustomResult::new(result))
            }
            "tools/list" | "server/discover" | "initialize" | "ping" => {
                Err(ErrorData::invalid_params(format!("the parameters of {} are malformed", request.method), None))
            }
            method => {
                let text = format!("there is no method {method} here");
                Err(ErrorData::new(rmcp::model::ErrorCode::METHOD_NOT_FOUND, text, None))
            }
        }
    }
}

/// Reads a `tools/call` whose arguments are not an object. Some clients send the object as a text.
fn misshapen_call(params: Option<&Value>) -> Result<(String, Given), ErrorData> {
    let name = params
        .and_then(|params| params.get("name"))
        .and_then(Value::as_str)
        .ok_or_else(|| ErrorData::invalid_params("tools/call needs the name of a tool as a text", None))?;
    let arguments = match params.and_then(|params| params.get("arguments")) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(arguments)) => Ok(arguments.clone()),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| NotAnObject),
        Some(Value::Array(_) | Value::Bool(_) | Value::Number(_)) => Err(NotAnObject),
    };
    Ok((name.to_owned(), arguments))
}

/// How waiting for a run ended.
enum Waited {
    Finished(Arc<Reply>),
    StillRunning,
}

/// Waits for a run, and tells the client what it is doing if the client asked for that.
///
/// One thing at a time: a progress message is never under way while the result is being sent, since the specification
/// forbids the one after the other.
async fn wait(run: &Run, context: &RequestContext<RoleServer>) -> Waited {
    let deadline = run.started() + ANSWER_WITHIN;
    let token = context.meta.get_progress_token();
    let mut news = tokio::time::interval_at(Instant::now() + FIRST_NEWS, NEWS_EVERY);
    news.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent: Option<(u64, Instant)> = None;
    loop {
        tokio::select! {
            biased;
            reply = run.reply() => return Waited::Finished(reply),
            () = context.ct.cancelled(), if run.cancel().why().is_none() => run.stop(Ended::Cancelled),
            () = tokio::time::sleep_until(deadline) => return Waited::StillRunning,
            _ = news.tick(), if token.is_some() => {
                let (line, written) = run.progress().last_line();
                if sent.is_some_and(|(before, at)| before == written && at.elapsed() < HEARTBEAT) {
                    continue;
                }
                if let Some(token) = &token {
                    let text = if line.is_empty() { format!("{} is running", run.tool()) } else { line };
                    notify(&context.peer, token, run.started().elapsed(), text).await;
                }
                sent = Some((written, Instant::now()));
            }
        }
    }
}

async fn notify(peer: &Peer<RoleServer>, token: &ProgressToken, elapsed: Duration, text: String) {
    // The specification wants a value that always grows; there is no total to compare it with.
    let seconds = (elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
    let message = ProgressNotificationParam::new(token.clone(), seconds).with_message(text);
    // Not delivered is not worth a word: the client has gone, or does not read.
    let _ = tokio::time::timeout(PROGRESS_PATIENCE, peer.notify_progress(message)).await;
}

/// Which of the protocol's two eras a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Era {
    /// 2026-07-28 and later: no session, facts in every message.
    Modern,
    /// Up to 2025-11-25.
    Legacy,
}

fn era(context: &RequestContext<RoleServer>) -> Era {
    let modern =
        context.protocol_version().is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str());
    if modern { Era::Modern } else { Era::Legacy }
}

fn implementation() -> Implementation {
    Implementation::new("cofferdam", env!("CARGO_PKG_VERSION")).with_title("Cofferdam")
}

fn result_of(reply: &Reply, context: &RequestContext<RoleServer>) -> CallToolResult {
    let result = match &reply.result {
        Ok(output) => succeeded(output.clone()),
        Err(failure) => failed(failure),
    };
    stamp(result, context, &reply.facts)
}

fn succeeded(output: Output) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(output.text)]);
    result.structured_content = Some(Value::Object(output.structured));
    result
}

/// Text only: a client that sees structured content checks it against the schema of success.
fn failed(failure: &Failure) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(format!("{}: {}", failure.code, failure.text))])
}

/// Adds the facts for the client's program; the model sees none of it.
fn stamp(result: CallToolResult, context: &RequestContext<RoleServer>, facts: &Facts) -> CallToolResult {
    let mut meta = MetaObject::new();
    if !facts.call.is_empty() {
        meta.insert("cofferdam/call".to_owned(), Value::Object(facts.brief()));
    }
    if era(context) == Era::Modern {
        meta.insert("io.modelcontextprotocol/serverInfo".to_owned(), json!(implementation()));
    }
    let meta = (!meta.is_empty()).then_some(meta);
    result.with_meta(meta)
}

/// The tools as clients see them, sorted by name.
fn tools(toolbox: &Toolbox) -> Vec<rmcp::model::Tool> {
    let mut tools: Vec<_> = toolbox.all().map(describe).collect();
    tools.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    tools
}

fn describe(tool: &dyn cofferdam_tools::Tool) -> rmcp::model::Tool {
    let hints = tool.annotations();
    // The title stands here alone: older revisions know no other place, and newer ones look here too.
    let annotations = ToolAnnotations::with_title(tool.title())
        .read_only(hints.read_only)
        .destructive(hints.destructive)
        .idempotent(hints.idempotent)
        .open_world(hints.open_world);
    rmcp::model::Tool::new(tool.name().to_owned(), tool.description().to_owned(), Arc::new(tool.input_schema()))
        .with_raw_output_schema(Arc::new(answer_schema::outline(&tool.output_schema())))
        .with_annotations(annotations)
}

#[cfg(test)]
mod tests;
