//! JSON-RPC messages, one a line, as rmcp takes them.
//!
//! rmcp's own line transport drops what it cannot read; a client then waits for an answer that never comes. This one
//! answers every request that it can identify, and notices the two ways in which a client goes away: its end of the
//! input closes, or a write fails.

use std::{io, sync::Arc};

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestMethod, ClientJsonRpcMessage, ClientRequest, ErrorCode, JsonRpcMessage, JsonRpcVersion2_0,
        RequestId,
    },
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::Mutex,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    request_id,
    streams::{Input, Output},
};

/// The longest message, bytes. `write_file` of a large file must fit; nothing sensible is larger.
pub(super) const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Bytes of a message that is too long which are kept to find its id.
const KEPT_BYTES: usize = 4096;

/// Answers to unreadable messages that may wait for the client to read. More are not given.
const ANSWERS: usize = 32;

/// The client's and our messages.
pub(super) struct Lines {
    input: BufReader<Input>,
    line: Vec<u8>,
    /// Set while the rest of a message that is too long is passed over.
    skipping: bool,
    output: SharedOutput,
    answers: JoinSet<()>,
    /// Whether the client has made its first real request.
    opened: bool,
    gone: CancellationToken,
}

type SharedOutput = Arc<Mutex<Option<Output>>>;

/// What was read.
enum Read {
    Line,
    TooLong,
    End,
}

impl Lines {
    /// Messages over these streams. `gone` is cancelled when the client goes away.
    pub(super) fn new(input: Input, output: Output, gone: CancellationToken) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 16, input),
            line: Vec::new(),
            skipping: false,
            output: Arc::new(Mutex::new(Some(output))),
            answers: JoinSet::new(),
            opened: false,
            gone,
        }
    }

    /// Reads one line into `self.line`. May be dropped at any point: no byte is taken without being kept.
    async fn read(&mut self) -> io::Result<Read> {
        loop {
            let available = self.input.fill_buf().await?;
            if available.is_empty() {
                return Ok(Read::End);
            }
            let newline = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..newline.unwrap_or(available.len())];
            let taken = part.len() + usize::from(newline.is_some());
            if self.skipping {
                self.line.extend(part.iter().take(KEPT_BYTES.saturating_sub(self.line.len())));
            } else if self.line.len() + part.len() > MAX_MESSAGE_BYTES {
                self.skipping = true;
                self.line.truncate(KEPT_BYTES);
                self.line.shrink_to_fit();
            } else {
                self.line.extend_from_slice(part);
            }
            self.input.consume(taken);
            if newline.is_some() {
                return Ok(if std::mem::take(&mut self.skipping) { Read::TooLong } else { Read::Line });
            }
        }
    }

    /// Answers a message that could not be read: under the id of its request, or under none where it is no JSON, so that
    /// whoever writes to the wrong stream learns of it (JSON-RPC 2.0, section 5.1).
    fn answer(&mut self, line: &[u8], code: ErrorCode, text: String) {
        while self.answers.try_join_next().is_some() {}
        let id = request_id::find(line).and_then(|id| serde_json::from_value::<RequestId>(id).ok());
        // Readable JSON without an id is a notification, or somebody's answer: answering that could start an endless
        // exchange of errors, and our own errors are readable. A batch (removed from the protocol in 2025-06-18) has its
        // ids inside.
        let batch = line.trim_ascii_start().starts_with(b"[");
        tracing::debug!(bytes = line.len(), %text, "a message could not be read");
        if (id.is_none() && !batch && code != ErrorCode::PARSE_ERROR) || self.answers.len() >= ANSWERS {
            return;
        }
        // Null and not left out, which is what rmcp does: JSON-RPC 2.0, section 5, wants it. The Python SDK reads a null id
        // and rejects a missing one (2.3.0, `mcp_types.jsonrpc.JSONRPCError`), the TypeScript SDK the reverse (1.32.2,
        // `JSONRPCErrorResponseSchema`); both go on either way.
        let message = Unread { jsonrpc: JsonRpcVersion2_0, id, error: ErrorData::new(code, text, None) };
        let (output, gone) = (Arc::clone(&self.output), self.gone.clone());
        self.answers.spawn(async move {
            // The client's absence is noticed by `gone`.
            let _ = write(&output, &message, &gone).await;
        });
    }

    /// Whether `message` may go on to rmcp. Before a lifecycle is chosen rmcp ends the connection at anything but a
    /// request, though a client may well cancel its first probe.
    fn admits(&mut self, message: &ClientJsonRpcMessage) -> bool {
        if let JsonRpcMessage::Request(request) = message {
            self.opened |=
                !matches!(request.request, ClientRequest::DiscoverRequest(_) | ClientRequest::PingRequest(_));
            return true;
        }
        self.opened
    }
}

impl Transport<RoleServer> for Lines {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let (output, gone) = (Arc::clone(&self.output), self.gone.clone());
        async move { write(&output, &message, &gone).await }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let read = self.read().await;
            match read {
                Ok(Read::Line) => {}
                Ok(Read::TooLong) => {
                    let line = std::mem::take(&mut self.line);
                    let text = format!("the message is longer than {MAX_MESSAGE_BYTES} bytes");
                    self.answer(&line, ErrorCode::INVALID_REQUEST, text);
                    continue;
                }
                Ok(Read::End) => {
                    self.gone.cancel();
                    return None;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the client's messages cannot be read");
                    self.gone.cancel();
                    return None;
                }
            }
            let mut line = std::mem::take(&mut self.line);
            let message = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
            if message.is_empty() {
                continue;
            }
            match parse(message) {
                Ok(message) => {
                    if line.capacity() <= 1 << 20 {
                        line.clear();
                        self.line = line;
                    }
                    if self.admits(&message) {
                        return Some(message);
                    }
                }
                Err(error) if error.is_data() => {
                    self.answer(message, ErrorCode::INVALID_REQUEST, "this is not a JSON-RPC request".to_owned());
                }
                Err(error) => {
                    self.answer(message, ErrorCode::PARSE_ERROR, format!("the message is not readable JSON: {error}"));
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.answers.shutdown().await;
        self.output.lock().await.take();
        Ok(())
    }
}

/// An error under the id of a request, or under null.
#[derive(Serialize)]
struct Unread {
    jsonrpc: JsonRpcVersion2_0,
    id: Option<RequestId>,
    error: ErrorData,
}

/// A call of a tool, with nothing beside it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    #[expect(dead_code, reason = "its presence is checked")]
    jsonrpc: JsonRpcVersion2_0,
    id: RequestId,
    #[expect(dead_code, reason = "its value is checked")]
    method: CallToolRequestMethod,
    #[expect(dead_code, reason = "read as a part of the whole")]
    params: IgnoredAny,
}

/// Reads a message. What almost all of them are is tried first: rmcp tries the kinds of requests one after the other, with
/// the call of a tool among the last, which takes a tenth of the time of reading a file.
fn parse(message: &[u8]) -> serde_json::Result<ClientJsonRpcMessage> {
    // A derived reader takes an array for an object.
    if message.first() == Some(&b'{')
        && let Ok(Call { id, .. }) = serde_json::from_slice(message)
        && let Ok(request) = serde_json::from_slice(message)
    {
        return Ok(JsonRpcMessage::request(ClientRequest::CallToolRequest(request), id));
    }
    serde_json::from_slice(message)
}

async fn write(output: &SharedOutput, message: &impl Serialize, gone: &CancellationToken) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    let mut output = output.lock().await;
    let Some(stream) = output.as_mut() else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    let written = match stream.write_all(&bytes).await {
        Ok(()) => stream.flush().await,
        Err(error) => Err(error),
    };
    if written.is_err() {
        // A half-written line can only be followed by nonsense.
        output.take();
        gone.cancel();
    }
    written
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;

    const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    fn lines() -> (Lines, DuplexStream, DuplexStream, CancellationToken) {
        let (client_out, input) = tokio::io::duplex(1 << 16);
        let (output, client_in) = tokio::io::duplex(1 << 16);
        let gone = CancellationToken::new();
        (Lines::new(Box::new(input), Box::new(output), gone.clone()), client_out, client_in, gone)
    }

    /// Sends `text`, then a ping; returns what is answered before the ping is received.
    async fn answer_to(text: &[u8]) -> Vec<Value> {
        let (mut lines, mut client_out, mut client_in, _gone) = lines();
        let bytes = [text, b"\n", PING.as_bytes(), b"\n"].concat();
        let sending = tokio::spawn(async move {
            client_out.write_all(&bytes).await.unwrap();
            client_out
        });
        assert!(lines.receive().await.is_some(), "the ping");
        while lines.answers.join_next().await.is_some() {}
        drop(sending.await.unwrap());
        lines.close().await.unwrap();
        drop(lines);
        let mut answers = String::new();
        client_in.read_to_string(&mut answers).await.unwrap();
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn codes(answers: &[Value]) -> Vec<(Value, Value)> {
        answers.iter().map(|answer| (answer["id"].clone(), answer["error"]["code"].clone())).collect()
    }

    #[tokio::test]
    async fn requests_that_cannot_be_read_are_answered_under_their_id() {
        let deep = format!(r#"{{"id":5,"method":"tools/call","params":{}{}}}"#, "[".repeat(300), "]".repeat(300));
        assert_eq!(codes(&answer_to(deep.as_bytes()).await), [(json!(5), json!(-32700))]);
        assert_eq!(codes(&answer_to(br#"{"id":6,"x":NaN}"#).await), [(json!(6), json!(-32700))]);
        assert_eq!(codes(&answer_to(b"{\"id\":7,\"x\":\"\xff\"}").await), [(json!(7), json!(-32700))]);
        assert_eq!(codes(&answer_to(br#"{"id":8}"#).await), [(json!(8), json!(-32600))]);
    }

    #[test]
    fn a_call_is_read_the_short_way_as_rmcp_reads_it() {
        let call =
            |rest: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x"{rest}}}}}"#);
        let read = [
            call(""),
            call(r#","arguments":{"path":"a","n":[1,2.5,null,{"deep":true}]}"#),
            call(
                r#","_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"arguments":{}"#,
            ),
            call(r#","unknown":1,"inputResponses":{},"requestState":"s""#),
            call("").replace(r#""id":1"#, r#""id":"one""#),
        ];
        for line in &read {
            assert!(serde_json::from_str::<Call>(line).is_ok(), "{line}");
            let ours = parse(line.as_bytes()).unwrap();
            let theirs: ClientJsonRpcMessage = serde_json::from_str(line).unwrap();
            assert_eq!((format!("{ours:?}"), json!(ours)), (format!("{theirs:?}"), json!(theirs)));
        }
        let left_to_rmcp = [
            call("").replace(r#""id":1"#, r#""id":1,"result":{}"#),
            call("").replace(r#""id":1"#, r#""id":1,"id":2"#),
            call("").replace(r#""id":1"#, r#""id":1.5"#),
            call("").replace(r#""id":1,"#, ""),
            call(r#","arguments":"{}""#),
            call("").replace(r#"{"name":"x"}"#, "[]"),
            call("").replace("2.0", "1.0"),
            call(r#","_meta":{"progressToken":1},"_meta":{}"#),
            call(r#","name":"y""#),
            r#"["2.0",1,"tools/call",{"name":"x"}]"#.to_owned(),
        ];
        for line in &left_to_rmcp {
            let theirs: serde_json::Result<ClientJsonRpcMessage> = serde_json::from_str(line);
            assert_eq!(format!("{:?}", parse(line.as_bytes())), format!("{theirs:?}"));
        }
    }

    #[tokio::test]
    async fn what_is_no_json_is_answered_under_no_id() {
        for noise in [&b"hello"[..], b"{\"id\":", b"{", b"\xff\xfe\0", b"Debugger attached."] {
            let answers = answer_to(noise).await;
            assert_eq!(codes(&answers), [(Value::Null, json!(-32700))], "{noise:?}");
            assert!(answers[0].as_object().unwrap().contains_key("id"), "null, and not left out");
        }
    }

    #[tokio::test]
    async fn broken_notifications_and_answers_are_not_answered() {
        let own = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#;
        for noise in [&b""[..], b"{\"method\":\"notifications/x\",\"params\":3}", b"3", own] {
            assert_eq!(answer_to(noise).await, [] as [Value; 0], "{noise:?}");
        }
    }

    #[tokio::test]
    async fn a_batch_is_answered_once() {
        assert_eq!(codes(&answer_to(format!("[{PING},{PING}]").as_bytes()).await), [(Value::Null, json!(-32600))]);
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_answered_and_not_held() {
        let long = format!(r#"{{"id":9,"x":"{}"}}"#, "x".repeat(MAX_MESSAGE_BYTES));
        assert_eq!(codes(&answer_to(long.as_bytes()).await), [(json!(9), json!(-32600))]);
    }

    #[tokio::test]
    async fn the_clients_end_is_noticed_on_either_stream() {
        let (mut lines, client_out, client_in, gone) = lines();
        drop(client_out);
        assert!(lines.receive().await.is_none());
        assert!(gone.is_cancelled());
        drop((lines, client_in));

        let (mut lines, _client_out, client_in, gone) = self::lines();
        drop(client_in);
        let message = rmcp::model::ServerJsonRpcMessage::error(ErrorData::internal_error("x", None), None);
        assert!(lines.send(message).await.is_err());
        assert!(gone.is_cancelled());
    }

    #[tokio::test]
    async fn notifications_before_the_first_request_are_passed_over() {
        let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        assert_eq!(answer_to(cancelled.as_bytes()).await, [] as [Value; 0]);
    }
}
