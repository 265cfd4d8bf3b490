//! A call while it runs, and for a while after.
//!
//! A run belongs to the server, not to the request that started it: whoever waits may go away and somebody else may
//! come back for the result. It ends with its work, its limits, an order to stop, or the server.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use cofferdam_contract::Ended;
use cofferdam_sandboxes::Cancel;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{audit::Call, progress::Progress, reply::Reply};

/// One call, from its arrival.
#[derive(Debug)]
pub struct Run {
    call: Call,
    tool: String,
    started: Instant,
    progress: Progress,
    cancel: Cancel,
    stopped: CancellationToken,
    finished: watch::Sender<Option<Finished>>,
    /// Whether somebody may come back for the result under this run's id.
    shared: AtomicBool,
}

/// A result, and since when it is there.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) reply: Arc<Reply>,
    pub(crate) at: Instant,
}

impl Run {
    /// A run that has just begun. Its id has 128 random bits: it cannot be guessed.
    #[must_use]
    pub fn new(tool: &str) -> Arc<Self> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("getrandom(2) without flags does not fail, it waits");
        Arc::new(Self {
            call: Call(crate::audit::record::hex(&id)),
            tool: tool.to_owned(),
            started: Instant::now(),
            progress: Progress::default(),
            cancel: Cancel::new(),
            stopped: CancellationToken::new(),
            finished: watch::Sender::new(None),
            shared: AtomicBool::new(false),
        })
    }

    /// Its id, which is also its call's identity in the audit log.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The tool's name as it was called.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// When it began.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// What it is doing.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The switch that ends its sandbox.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Ends it. A sandbox that is open is destroyed; one that is not is never opened.
    pub fn stop(&self, why: Ended) {
        self.cancel.cancel(why);
        self.stopped.cancel();
    }

    /// Returns when it was told to stop.
    pub(crate) async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Keeps the result for whoever waits.
    pub(crate) fn finish(&self, reply: Reply) {
        self.finished.send_replace(Some(Finished { reply: Arc::new(reply), at: Instant::now() }));
    }

    /// Waits for the result.
    pub async fn reply(&self) -> Arc<Reply> {
        let mut finished = self.finished.subscribe();
        let found = finished.wait_for(Option::is_some).await.expect("the sender lives as long as the run");
        Arc::clone(&found.as_ref().expect("waited for").reply)
    }

    pub(crate) fn finished(&self) -> Option<Finished> {
        self.finished.borrow().clone()
    }

    /// Whether it was left running and somebody may come back for it.
    pub(crate) fn share(&self) {
        self.shared.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }
}
