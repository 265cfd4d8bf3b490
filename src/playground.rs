//! A workspace, a state folder and what a server is made from, for tests. Everything is real.

use std::{fs, path::PathBuf, sync::Arc};

use serde_json::Value;

use crate::{
    audit::{self, Client, Event, Record, Verified},
    config::{Environment, Folders, PolicyChoice},
    reply::Reply,
    server::{Request, Server, Setup},
};

/// Folders that go away with it.
pub(crate) struct Playground {
    folder: tempfile::TempDir,
}

impl Playground {
    /// A workspace that holds `a.txt`, and no policy file.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("workspace")).unwrap();
        fs::write(folder.path().join("workspace/a.txt"), "alpha\n").unwrap();
        Self { folder }
    }

    /// The same with an operator's policy.
    pub(crate) fn with_policy(text: &str) -> Self {
        let playground = Self::new();
        fs::create_dir_all(playground.path("config/cofferdam")).unwrap();
        fs::write(playground.path("config/cofferdam/policy.toml"), text).unwrap();
        playground
    }

    /// A path in it, resolved.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// What a server is made from.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            environment: Environment {
                variables: Vec::new(),
                current_folder: self.path("workspace"),
                program: "/bin/cofferdam".into(),
            },
            folders: Folders { home: self.path("home"), config: self.path("config"), state: self.path("state") },
            policy: PolicyChoice::Personal,
            command_line: String::new(),
            workspace: self.path("workspace"),
            session: "default".into(),
            pool: 0,
        }
    }

    /// A server.
    pub(crate) fn server(&self) -> Arc<Server> {
        Arc::new(Server::open(&self.setup()).unwrap())
    }

    /// Makes a call and waits for its end.
    pub(crate) async fn call(&self, server: &Arc<Server>, tool: &str, arguments: Value) -> Arc<Reply> {
        server.start(request(tool, arguments)).reply().await
    }

    /// The audit log, checked.
    pub(crate) fn verified(&self) -> Verified {
        audit::verify(&audit::path(&self.path("state")), None).unwrap()
    }

    /// What the audit log says.
    pub(crate) fn events(&self) -> Vec<Event> {
        let text = fs::read_to_string(audit::path(&self.path("state"))).unwrap();
        text.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().event).collect()
    }
}

/// A call as a client makes it.
pub(crate) fn request(tool: &str, arguments: Value) -> Request {
    Request {
        tool: tool.to_owned(),
        arguments: Ok(arguments.as_object().unwrap().clone()),
        client: Client { name: "test".into(), version: "1".into() },
    }
}
