//! `cofferdam serve`: one client over standard input and output.

use std::{io, time::Duration};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::{
    exit::Exit,
    narrowing::Narrowing,
    terminal::{Colour, note},
};
use crate::{
    config::Environment,
    mcp::{self, streams::Streams},
    opening::Opening,
    server::Setup,
};

/// How often to look whether the program that started us is still there.
const PARENT_EVERY: Duration = Duration::from_secs(1);

/// How to serve.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Sandboxes of one kind that are prepared ahead of need; 0 for none
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    pool: usize,
    #[command(flatten)]
    narrowing: Narrowing,
}

impl Serve {
    /// What the flags take away from the policy, as its last layer.
    pub(super) fn narrowing(&self) -> String {
        self.narrowing.text()
    }
}

/// Serves until the client goes away.
#[must_use]
pub(super) fn run(serve: &Serve, mut setup: Setup) -> Exit {
    log(&setup.environment);
    setup.pool = serve.pool;
    let started = Streams::claim().and_then(|streams| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok((streams, runtime))
    });
    let (streams, runtime) = match started {
        Ok(started) => started,
        Err(error) => {
            note(format_args!("cofferdam: failed to take over standard input and output: {error}"));
            return Exit::Usage;
        }
    };
    let served = runtime.block_on(async {
        let stop = CancellationToken::new();
        // Before the client can notice that we are here, and send a signal.
        let signals = until_signalled(stop.clone())?;
        let watching = [tokio::spawn(signals), tokio::spawn(until_parent_is_gone(stop.clone()))];
        let (input, output) = streams.open()?;
        mcp::serve(Opening::begin(setup), input, output, stop).await;
        watching.iter().for_each(tokio::task::JoinHandle::abort);
        io::Result::Ok(())
    });
    // A thread may still wait for a terminal's next line; nobody waits for that thread.
    runtime.shutdown_background();
    match served {
        Ok(()) => Exit::Success,
        Err(error) => {
            note(format_args!("cofferdam: failed to serve: {error}"));
            Exit::Usage
        }
    }
}

/// Asks to stop at the first signal; leaves at once at the second.
fn until_signalled(stop: CancellationToken) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(i32::from(Exit::Interrupted.status()));
            }
            stop.cancel();
        }
    })
}

/// Asks to stop when the process that started us is gone. The end of the input says so as a rule, but another process
/// may hold the pipe open. PR_SET_PDEATHSIG is no help: it fires when the parent's *thread* ends (prctl(2)).
async fn until_parent_is_gone(stop: CancellationToken) {
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        tokio::time::sleep(PARENT_EVERY).await;
    }
    tracing::info!("the program that started this server is gone");
    stop.cancel();
}

/// Log lines go to standard error. `COFFERDAM_LOG` says which, as in `debug` or `cofferdam=trace`.
fn log(environment: &Environment) {
    let wanted = environment.variable("COFFERDAM_LOG").and_then(|value| value.to_str()).unwrap_or("warn");
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(wanted);
    // Below this level rmcp writes whole requests and results: contents of files.
    let quiet_protocol =
        filter_fn(|metadata| !metadata.target().starts_with("rmcp") || *metadata.level() <= tracing::Level::WARN);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(Colour::of(&io::stderr(), environment) == Colour::On);
    // A second subscriber in one process is a test's; it keeps the first.
    let _ = tracing_subscriber::registry().with(layer.with_filter(quiet_protocol).with_filter(filter)).try_init();
}
