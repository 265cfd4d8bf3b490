//! `mcp.json` starts this server: from the very file, as a client reads it.

use std::{fs, process::Command};

use serde_json::Value;

use crate::harness::{Era, Place, Server, repository};

#[test]
fn the_committed_client_entry_starts_a_server_that_lists_its_tools() {
    let place = Place::new();
    let file: Value =
        serde_json::from_str(&fs::read_to_string(repository::folder().join("mcp.json")).unwrap()).unwrap();
    let entry = &file["mcpServers"]["cofferdam"];
    let arguments: Vec<&str> = entry["args"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    // The first start builds, which may take longer than a client waits; a person meets that once.
    let options = arguments.iter().skip(1).take_while(|argument| **argument != "--");
    let mut build: Command = place.program(entry["command"].as_str().unwrap());
    assert!(build.current_dir(repository::folder()).arg("build").args(options).status().unwrap().success());
    let mut command: Command = place.program(entry["command"].as_str().unwrap());
    command.current_dir(repository::folder());
    command.args(&arguments);
    for (name, value) in entry["env"].as_object().into_iter().flatten() {
        command.env(name, value.as_str().unwrap());
    }
    let mut server = Server::from(command, Era::Handshake);
    server.open();
    let tools = server.ask("tools/list", serde_json::json!({}));
    assert!(tools["tools"].as_array().is_some_and(|tools| tools.len() >= 15), "{tools}");
    server.end();
}
