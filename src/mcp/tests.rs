//! One client and one server in one process, over pipes in memory.

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines as TextLines, ReadHalf, WriteHalf},
    task::JoinHandle,
};

use super::*;
use crate::{playground::Playground, server::Setup};

struct Connection {
    said: TextLines<BufReader<ReadHalf<DuplexStream>>>,
    say: WriteHalf<DuplexStream>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    playground: Playground,
}

impl Connection {
    fn new() -> Self {
        let playground = Playground::new();
        let setup = playground.setup();
        Self::with(setup, playground)
    }

    fn with(setup: Setup, playground: Playground) -> Self {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (input, output) = tokio::io::split(server);
        let (read, say) = tokio::io::split(client);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(Opening::begin(setup), Box::new(input), Box::new(output), stop.clone()));
        Self { said: BufReader::new(read).lines(), say, stop, serving, playground }
    }

    async fn send(&mut self, message: Value) {
        self.say.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        let line = self.said.next_line().await.unwrap().expect("the server is there");
        serde_json::from_str(&line).unwrap()
    }

    async fn request(&mut self, method: &str, params: Value) -> Value {
        self.send(json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params })).await;
        let answer = self.next().await;
        assert_eq!(answer["id"], method, "{answer}");
        answer
    }

    async fn initialized(mut self) -> Self {
        let client = json!({ "name": "test", "version": "1" });
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        self.request("initialize", params).await;
        self.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        self
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }
}

fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
    });
    params
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_eras_list_the_same_tools_and_only_the_new_one_says_who_may_cache() {
    let mut new = Connection::new();
    let discovered = new.request("server/discover", modern(json!({}))).await;
    assert_eq!(discovered["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "cofferdam");
    let new = new.request("tools/list", modern(json!({}))).await["result"].take();
    let mut old = Connection::new().initialized().await;
    let old = old.request("tools/list", json!({})).await["result"].take();
    assert_eq!((&new["cacheScope"], &old["cacheScope"]), (&json!("private"), &Value::Null));
    assert_eq!(new["tools"], old["tools"]);
    let names: Vec<_> = new["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted() && names.contains(&"read_file"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_tools_is_short_enough_for_every_agents_start() {
    let mut client = Connection::new().initialized().await;
    let list = client.request("tools/list", json!({})).await.to_string();
    assert!(list.len() < 35_000, "{} bytes", list.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_fits_its_published_schema() {
    let mut client = Connection::new().initialized().await;
    let list = client.request("tools/list", json!({})).await;
    for tool in list["result"]["tools"].as_array().unwrap() {
        let schema = &tool["outputSchema"];
        assert_eq!(schema["type"], "object", "{tool}");
        assert_eq!(schema.get("required"), None, "a running answer has none of the tool's fields: {tool}");
        assert_eq!(schema["properties"]["run_id"]["type"], "string", "{tool}");
        assert_eq!(schema.get("additionalProperties"), None, "the server adds fields of its own: {tool}");
        for hint in ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] {
            assert!(tool["annotations"][hint].is_boolean(), "{hint}: {tool}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_in_text_and_in_structure() {
    let mut client = Connection::new().initialized().await;
    let answer = client.call("read_file", json!({ "path": "a.txt" })).await;
    assert!(text(&answer).contains("alpha"), "{answer}");
    assert!(answer["result"]["structuredContent"].to_string().contains("alpha"), "{answer}");
    assert_eq!(answer["result"]["_meta"]["cofferdam/call"]["decision"], "allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_sent_as_a_text_are_understood() {
    let mut client = Connection::new().initialized().await;
    let answer = client.call("read_file", json!("{\"path\": \"a.txt\"}")).await;
    assert!(text(&answer).contains("alpha"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_are_results_that_say_so_in_text_only() {
    let mut client = Connection::new().initialized().await;
    for arguments in [json!("nonsense"), json!([1]), json!(7), json!({ "path": {} }), json!({ "surprise": true })] {
        let answer = client.call("read_file", arguments.clone()).await;
        assert_eq!(answer["result"]["isError"], true, "{arguments}: {answer}");
        assert!(text(&answer).starts_with("invalid_arguments: "), "{arguments}: {answer}");
        assert_eq!(answer["result"].get("structuredContent"), None, "{arguments}: {answer}");
    }
    assert_eq!(client.call("no_such_tool", json!({})).await["error"]["code"], -32602);
    let recorded = client.playground.verified();
    assert_eq!((recorded.intents, recorded.intents_without_outcome), (6, 0), "what is refused is recorded too");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_parameters_of_known_methods_are_invalid_parameters() {
    let mut client = Connection::new().initialized().await;
    assert_eq!(client.request("tools/call", json!({ "name": 7 })).await["error"]["code"], -32602);
    assert_eq!(client.request("no/such/method", json!({})).await["error"]["code"], -32601);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_workspace_is_explained_by_every_call() {
    let playground = Playground::new();
    let setup = Setup { workspace: "/".into(), ..playground.setup() };
    let mut client = Connection::with(setup, playground).initialized().await;
    let answer = client.call("read_file", json!({ "path": "etc/passwd" })).await;
    assert_eq!(answer["result"]["isError"], true);
    assert!(text(&answer).contains(r#""args":["serve","--workspace","/absolute/path/of/your/project"]"#), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_input_or_an_order_ends_serving_soon() {
    let client = Connection::new().initialized().await;
    let Connection { said, say, serving, .. } = client;
    drop((said, say));
    tokio::time::timeout(Duration::from_secs(3), serving).await.expect("in time").unwrap();

    let client = Connection::new().initialized().await;
    client.stop.cancel();
    tokio::time::timeout(Duration::from_secs(3), client.serving).await.expect("in time").unwrap();
}

#[test]
fn a_call_without_a_name_is_no_call() {
    assert!(misshapen_call(Some(&json!({ "arguments": "{}" }))).is_err());
    assert!(misshapen_call(None).is_err());
    let read = |arguments| misshapen_call(Some(&json!({ "name": "x", "arguments": arguments }))).unwrap().1;
    assert_eq!(read(json!(null)), Ok(Map::new()));
    assert_eq!(read(json!("{\"a\": 1}")), Ok(json!({ "a": 1 }).as_object().unwrap().clone()));
    assert_eq!(read(json!(true)), Err(NotAnObject));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_with_credentials_are_looked_for_before_the_first_call() {
    let playground = Playground::new();
    let value = ["s3cr3t", "0123456789", "value"].join("-");
    std::fs::write(playground.path("workspace/.env"), format!("A={value}\n")).unwrap();
    let opening = Opening::begin(playground.setup());
    let server = opening.wait().await.unwrap();
    let knows = || server.session.workspace().redactor().redact(&value).count == 1;
    for _ in 0..600 {
        if knows() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody looked");
}
