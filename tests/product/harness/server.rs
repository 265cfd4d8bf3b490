//! A running server, spoken to in raw lines: nothing of the product's own protocol code is used.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use super::{Place, Process};

/// How long an answer may take before a test gives up on it. Calls answer within 45 s by themselves.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which of the protocol's two eras is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// 2026-07-28: no handshake; each request says what it needs.
    Stateless,
    /// 2025-11-25 and before: `initialize` first.
    Handshake,
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    log: Arc<Mutex<String>>,
    log_reader: JoinHandle<()>,
    era: Era,
    next: i64,
    answers: HashMap<i64, Value>,
    /// Notifications and requests from the server, as they came.
    pub(crate) told: Vec<Value>,
}

/// What a tool answered.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    pub(crate) is_error: bool,
    pub(crate) text: String,
    pub(crate) structured: Value,
    /// The whole result.
    pub(crate) whole: Value,
}

impl Server {
    /// Starts a server on the place's workspace and opens the conversation.
    pub(crate) fn start(place: &Place, era: Era) -> Self {
        Self::start_with(place, era, &[])
    }

    /// As [`Server::start`], with more arguments.
    pub(crate) fn start_with(place: &Place, era: Era, arguments: &[&str]) -> Self {
        let mut server = Self::spawn(place, era, arguments);
        server.open();
        server
    }

    /// Starts a server and says nothing to it.
    pub(crate) fn spawn(place: &Place, era: Era, arguments: &[&str]) -> Self {
        let mut command = place.cofferdam();
        command.arg("serve").args(arguments).arg("--workspace").arg(place.workspace());
        Self::from(command, era)
    }

    /// Starts `command` as a server.
    pub(crate) fn from(mut command: std::process::Command, era: Era) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let (log, log_reader) = read_log(child.stderr.take().unwrap());
        let input = child.stdin.take();
        Self { child, input, lines, log, log_reader, era, next: 1, answers: HashMap::new(), told: Vec::new() }
    }

    /// The first exchange of the era, and its answer.
    pub(crate) fn open(&mut self) -> Value {
        match self.era {
            Era::Stateless => self.ask("server/discover", json!({})),
            Era::Handshake => {
                let parameters = json!({
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": { "name": "product tests", "version": "1" },
                });
                let answer = self.ask("initialize", parameters);
                self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
                answer
            }
        }
    }

    /// Sends a request and returns its number.
    pub(crate) fn request(&mut self, method: &str, mut parameters: Value) -> i64 {
        if self.era == Era::Stateless {
            let meta = &mut parameters["_meta"];
            meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
            meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "product tests", "version": "1" });
        }
        let id = self.next;
        self.next += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters }));
        id
    }

    /// Sends a request and returns its result, or its error as `{"error": …}`.
    pub(crate) fn ask(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.request(method, parameters);
        self.answer(id)
    }

    /// Calls a tool and waits for its answer.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Called {
        let id = self.begin(tool, arguments);
        self.called(id)
    }

    /// Calls a tool and does not wait.
    pub(crate) fn begin(&mut self, tool: &str, arguments: Value) -> i64 {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// Calls a tool with a progress token and does not wait.
    pub(crate) fn begin_with_progress(&mut self, tool: &str, arguments: Value, token: &str) -> i64 {
        let parameters = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": token } });
        self.request("tools/call", parameters)
    }

    /// The answer of a tool that was called.
    pub(crate) fn called(&mut self, id: i64) -> Called {
        Called::from(self.answer(id))
    }

    /// Waits for the answer to a request.
    pub(crate) fn answer(&mut self, id: i64) -> Value {
        self.answer_within(id, PATIENCE).unwrap_or_else(|| panic!("no answer to request {id}; log:\n{}", self.log()))
    }

    /// Waits for the answer to a request, for at most `patience`.
    pub(crate) fn answer_within(&mut self, id: i64, patience: Duration) -> Option<Value> {
        let begun = Instant::now();
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return Some(answer);
            }
            if !self.listen(patience.checked_sub(begun.elapsed())?) {
                return None;
            }
        }
    }

    /// Takes in what the server says next; false when it says nothing for so long, or went away.
    pub(crate) fn listen(&mut self, patience: Duration) -> bool {
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                let message = parse(&line);
                match message["id"].as_i64() {
                    Some(id) if message.get("method").is_none() => {
                        let answer = match message.get("result") {
                            Some(result) => result.clone(),
                            None => json!({ "error": message["error"] }),
                        };
                        assert!(self.answers.insert(id, answer).is_none(), "two answers to request {id}");
                    }
                    Some(_) | None => self.told.push(message),
                }
                true
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
        }
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, message: &Value) {
        self.send_line(message.to_string().as_bytes());
    }

    /// Sends one line as it is.
    pub(crate) fn send_line(&mut self, line: &[u8]) {
        let input = self.input.as_mut().expect("the input is open");
        // A server that has gone away is found out by whoever waits for its answer.
        let _ = input.write_all(line).and_then(|()| input.write_all(b"\n")).and_then(|()| input.flush());
    }

    /// The server's process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Every process that the server has, itself not among them.
    pub(crate) fn processes(&self) -> Vec<Process> {
        Process::below(self.id())
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log says `text` for the given time, counted from 1; false when it does not in `patience`.
    pub(crate) fn logs(&self, text: &str, times: usize, patience: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if self.log.lock().unwrap().matches(text).count() >= times {
                return true;
            }
            thread::sleep(Duration::from_micros(100));
        }
        false
    }

    /// Kills it without a warning and returns everything it ever logged.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // The pipe ends with its last writer. A process that survived holds it open; the caller looks for those.
        let begun = Instant::now();
        while !self.log_reader.is_finished() && begun.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_micros(200));
        }
        self.log()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Closes the input: the client is gone.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Stops reading what the server says.
    pub(crate) fn close_output(&mut self) {
        let (_, nothing) = mpsc::channel();
        self.lines = nothing;
    }

    /// Waits for the end, for at most `patience`: how it ended and how long that took.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<(ExitStatus, Duration)> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some((status, begun.elapsed()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Ends the conversation as a client does and insists on a clean end.
    pub(crate) fn end(mut self) {
        self.close_input();
        // How soon is tested where it is promised; here a busy machine may take its time.
        let (status, _) = self.wait(Duration::from_secs(20)).expect("the server ends with its input");
        assert!(status.success(), "the server ended with {status}; log:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl From<Value> for Called {
    fn from(whole: Value) -> Self {
        assert!(whole.get("error").is_none(), "a tool's refusal is a result, never a protocol error: {whole}");
        let blocks = whole["content"].as_array().cloned().unwrap_or_default();
        let text = blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n");
        let is_error = whole["isError"].as_bool().unwrap_or(false);
        Self { is_error, text, structured: whole["structuredContent"].clone(), whole }
    }
}

/// Parses one line of standard output, which must be one JSON-RPC message and nothing else.
pub(crate) fn parse(line: &str) -> Value {
    let message: Map<String, Value> =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("standard output holds {line:?}: {error}"));
    assert_eq!(message.get("jsonrpc"), Some(&json!("2.0")), "{line}");
    Value::Object(message)
}

/// Reads lines on a thread of its own. The channel closes when the server closes its output; a test that drops the
/// receiver closes the pipe at the next line.
fn read_lines(output: ChildStdout) -> Receiver<String> {
    // Bounded by what a test asks for; a test that stops listening must not stop the server from writing.
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn read_log(mut errors: ChildStderr) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let log = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&log);
    let reader = thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = errors.read(&mut bytes) {
            shared.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
    (log, reader)
}
