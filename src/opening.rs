//! A server that is being put together while its client already asks.
//!
//! Looking around on a machine takes longer than a client should wait for its first answer, and a server that cannot
//! be put together must still say why: desktop clients show a person what a tool answered, never what a server wrote
//! before it ended.

use std::sync::Arc;

use cofferdam_policy::Redactor;
use tokio::sync::watch;

use crate::server::{Server, Setup, Unusable};

/// A server, or why there is none, as soon as that is known. Clones wait for the same one.
#[derive(Debug, Clone)]
pub struct Opening {
    result: watch::Receiver<Option<Result<Arc<Server>, Arc<str>>>>,
}

impl Opening {
    /// Begins to put a server together. Needs a Tokio runtime.
    #[must_use]
    pub fn begin(setup: Setup) -> Self {
        let (sender, result) = watch::channel(None);
        tokio::task::spawn_blocking(move || {
            let opened = Server::open(&setup).map(Arc::new).map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "no call can be taken");
                advice(&error, &setup).into()
            });
            let look_ahead = opened.as_ref().ok().map(|server| server.look_ahead());
            sender.send_replace(Some(opened));
            if let Some(look) = look_ahead {
                look();
            }
        });
        Self { result }
    }

    /// Waits for the server.
    ///
    /// # Errors
    /// What to answer to every call, when there is none.
    pub async fn wait(&self) -> Result<Arc<Server>, Arc<str>> {
        let mut result = self.result.clone();
        match result.wait_for(Option::is_some).await {
            Ok(found) => found.clone().expect("waited for"),
            Err(_) => Err("the server failed while it was starting; see its log".into()),
        }
    }

    /// The server, if it is there by now.
    #[must_use]
    pub fn opened(&self) -> Option<Arc<Server>> {
        self.result.borrow().as_ref().and_then(|result| result.as_ref().ok().cloned())
    }
}

/// What a person must do, in words that a model can pass on.
fn advice(error: &Unusable, setup: &Setup) -> String {
    let causes = crate::cli::terminal::causes(error);
    let what = match error {
        Unusable::Workspace(_) => {
            let program = setup.environment.program.display();
            let entry = serde_json::json!({
                "mcpServers": {
                    "cofferdam": {
                        "command": program.to_string(),
                        "args": ["serve", "--workspace", "/absolute/path/of/your/project"],
                    }
                }
            });
            format!(
                "Ask the person to name the project's folder in the client's configuration file, and to start the \
                 client again:\n{entry}\nOr to run, in that folder: {program} install claude-desktop"
            )
        }
        Unusable::Policy(_) => "Ask the person to correct the policy file; `cofferdam policy check` checks it.".into(),
        Unusable::Yard(_) => "Ask the person to run `cofferdam doctor`, which says what is missing.".into(),
        Unusable::Config(_)
        | Unusable::Repository(_)
        | Unusable::Session(_)
        | Unusable::Recover(_)
        | Unusable::NothingToTry
        | Unusable::Audit(_)
        | Unusable::Record(_) => "Ask the person to correct this and to start the client again.".into(),
    };
    // A line of a policy file may be quoted in it.
    Redactor::default().redact(&format!("no call can be taken: failed to {causes}.\n{what}")).text
}
