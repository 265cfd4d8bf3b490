//! A plain client of one server, for measuring: one call at a time, nothing else.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};

use crate::step::{Error, error};

/// A server that is spoken to. Dropping it ends the server.
pub(super) struct Conversation {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    log: Option<JoinHandle<String>>,
    next: u64,
}

impl Conversation {
    /// Starts a server and shakes hands.
    pub(super) fn open(mut command: Command) -> Result<Self, Error> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| error(format!("start {command:?}: {source}")))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let log = Some(thread::spawn({
            let errors = child.stderr.take().expect("it is piped");
            move || read(errors)
        }));
        let mut conversation = Self { child, input, output, log, next: 0 };
        let client = json!({ "name": "bench", "version": "1" });
        let parameters = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        conversation.ask("initialize", &parameters)?;
        conversation.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(conversation)
    }

    /// Calls a tool, which must succeed.
    pub(super) fn call(&mut self, tool: &str, arguments: &Value) -> Result<(), Error> {
        let answer = self.ask("tools/call", &json!({ "name": tool, "arguments": arguments }))?;
        let failed = answer.get("error").is_some() || answer["result"]["isError"] == true;
        if failed { Err(error(format!("measure {tool}: {answer}"))) } else { Ok(()) }
    }

    /// Ends the server and returns its log.
    pub(super) fn close(mut self) -> Result<String, Error> {
        self.input = None;
        self.child.wait().map_err(|source| error(format!("wait for a server: {source}")))?;
        Ok(self.log.take().and_then(|log| log.join().ok()).unwrap_or_default())
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Result<Value, Error> {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters }))?;
        loop {
            let mut line = String::new();
            let count = self.output.read_line(&mut line).map_err(|source| error(format!("hear a server: {source}")))?;
            if count == 0 {
                return Err(error(format!("hear a server: it went away during {method}")));
            }
            let message: Value =
                serde_json::from_str(&line).map_err(|source| error(format!("understand {line:?}: {source}")))?;
            if message["id"] == id && message.get("method").is_none() {
                return Ok(message);
            }
        }
    }

    fn send(&mut self, message: &Value) -> Result<(), Error> {
        let input = self.input.as_mut().ok_or_else(|| error("speak to a server that was closed"))?;
        let line = format!("{message}\n");
        input.write_all(line.as_bytes()).map_err(|source| error(format!("speak to a server: {source}")))
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

fn read(mut errors: ChildStderr) -> String {
    let mut text = String::new();
    let _ = errors.read_to_string(&mut text);
    text
}
