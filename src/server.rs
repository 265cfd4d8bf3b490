//! The server's parts, put together once: policy, session, yard, log, slots, runs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam_contract::Ended;
use cofferdam_policy::{LoadError, Policy};
use cofferdam_sandboxes::{
    Kernel, KernelSays, Patience, RecoverError, Session, SessionError, Untold, Workspace, WorkspaceError, Yard,
    YardError, YardOptions, root::Host,
};
use cofferdam_tools::Project;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::{
    audit::{self, Attendance, Client, CommitMove, Event, Log},
    config::{self, ConfigError, Environment, Folders, PolicyChoice},
    policy_files::{PolicyFiles, RepositoryPolicyError, miss_repository, remember_repository},
    policy_in_force::PolicyInForce,
    reply::Reply,
    run::Run,
    runs::Runs,
    slots::Slots,
};

/// How long calls that were told to end are waited for.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// How long a start waits for another server that is handing back to the same workspace.
const OTHERS: Duration = Duration::from_secs(10);

/// What a server is made from.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What the process was started with.
    pub environment: Environment,
    /// The person's folders; `state` as it is to be used.
    pub folders: Folders,
    /// Which policy file is used.
    pub policy: PolicyChoice,
    /// What the command line takes away from the policy, as a policy file; empty when nothing.
    pub command_line: String,
    /// The workspace, absolute.
    pub workspace: PathBuf,
    /// The session's name.
    pub session: String,
    /// Sandboxes of one kind that are prepared ahead.
    pub pool: usize,
}

/// A server that can take calls.
#[derive(Debug)]
pub struct Server {
    pub(crate) policy: PolicyInForce,
    pub(crate) project: Project,
    pub(crate) session: Arc<Session>,
    pub(crate) session_name: String,
    pub(crate) yard: Arc<Yard>,
    pub(crate) log: Log,
    pub(crate) attendance: Attendance,
    pub(crate) slots: Slots,
    pub(crate) runs: Runs,
    tasks: TaskTracker,
}

/// One call, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    pub arguments: Given,
    /// Who calls.
    pub client: Client,
}

/// The arguments of a call, if they are an object.
pub type Given = Result<Map<String, Value>, NotAnObject>;

/// The arguments of a call were something else than a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the arguments must be a JSON object, for example {{\"path\": \"src/lib.rs\"}}")]
pub struct NotAnObject;

/// Why no call can be taken.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policy does not load.
    #[error("load the policy")]
    Policy(#[source] LoadError),
    /// The workspace's own policy file cannot be used, or is gone.
    #[error(transparent)]
    Repository(#[from] RepositoryPolicyError),
    /// The workspace cannot be used.
    #[error("use the workspace")]
    Workspace(#[source] WorkspaceError),
    /// The session's state cannot be opened.
    #[error("open the session")]
    Session(#[source] SessionError),
    /// A hand-back that was interrupted cannot be finished.
    #[error("finish what another server began")]
    Recover(#[source] RecoverError),
    /// This machine cannot give sandboxes.
    #[error("prepare sandboxes")]
    Yard(#[source] YardError),
    /// Policy lets no call execute anything, so there is no sandbox to try.
    #[error("try a sandbox: the policy does not allow run_tests without arguments, so none is opened")]
    NothingToTry,
    /// The audit log cannot be written.
    #[error("open the audit log")]
    Audit(#[source] audit::OpenError),
    /// What was found done of a person's order cannot be recorded.
    #[error("record an order that was carried out before")]
    Record(#[source] audit::AppendError),
}

impl Server {
    /// Puts a server together. Looks around on the machine; takes a while; not for an async thread.
    ///
    /// # Errors
    /// [`Unusable`] with the first part that cannot be had.
    pub fn open(setup: &Setup) -> Result<Self, Unusable> {
        let state = config::prepare_state(&setup.folders.state)?;
        let files = PolicyFiles::read(setup, &setup.workspace)?;
        let policy = files.load().map_err(Unusable::Policy)?;
        let session = open_session(setup, &state)?;
        let root = session.workspace().root().to_owned();
        remember_repository(&state, &root, files.repository.as_deref())?;
        let policy = PolicyInForce::new(setup, root, files, policy);
        let log = Log::open(&state, audit::time::system()).map_err(Unusable::Audit)?;
        finish_hand_back(&session, &log)?;
        let yard = open_yard(setup, &state)?;
        let attendance = Attendance::begin(&state, &log).map_err(Unusable::Audit)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            policy,
            project: Project { workspace: session.workspace().root().to_string_lossy().into_owned() },
            session,
            session_name: setup.session.clone(),
            yard: Arc::new(yard),
            log,
            attendance,
            slots: Slots::for_processors(processors),
            runs: Runs::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// What looks for files with credentials before the first call does: that takes as long as the workspace is large, and a
    /// call that comes meanwhile waits for this look instead of making its own. What it finds wrong the call will find again.
    ///
    /// It holds the session alone: what else the server owns must go with the server.
    pub(crate) fn look_ahead(&self) -> impl FnOnce() + Send + use<> {
        let session = Arc::clone(&self.session);
        let secrets = self.policy.now().ok().map(|in_force| Arc::clone(in_force.policy.secrets()));
        move || {
            if let Some(secrets) = secrets
                && let Err(error) = session.workspace().masks(&secrets)
            {
                tracing::info!(
                    error = &error as &dyn std::error::Error,
                    "looking ahead for files with credentials failed"
                );
            }
        }
    }

    /// Starts a call. It goes on whether somebody waits for it or not.
    #[must_use]
    pub fn start(self: &Arc<Self>, request: Request) -> Arc<Run> {
        let run = Run::new(&request.tool);
        self.runs.add(&run);
        let (server, task_run) = (Arc::clone(self), Arc::clone(&run));
        let runtime = Handle::current();
        self.tasks.spawn_blocking(move || {
            // So that whoever waits gets an answer even if one of our invariants breaks.
            let reply = catch_unwind(AssertUnwindSafe(|| server.call(&request, &task_run, &runtime)));
            task_run.finish(reply.unwrap_or_else(|_| {
                tracing::error!("a call ended unexpectedly");
                Reply::failed("internal", "the server failed inside; its log says more")
            }));
        });
        // While the call is on its way.
        self.runs.sweep();
        run
    }

    /// Ends what is running and waits until the sandboxes are gone, at most 2 s.
    pub async fn close(&self) {
        self.runs.stop_all(Ended::Cancelled);
        self.tasks.close();
        if tokio::time::timeout(LAST_CALLS, self.tasks.wait()).await.is_err() {
            // Their sandboxes die with this process all the same.
            tracing::warn!(calls = self.tasks.len(), "calls did not end in time");
        } else {
            self.attendance.leave();
        }
    }
}

/// Opens the session of a workspace, without anything that could run a call.
///
/// # Errors
/// [`Unusable::Workspace`] or [`Unusable::Session`].
pub fn open_session(setup: &Setup, state: &Path) -> Result<Arc<Session>, Unusable> {
    if let Some(home) = config::account_home() {
        Workspace::refuse_home(&setup.workspace, &home).map_err(Unusable::Workspace)?;
    }
    let opened = Workspace::open(&setup.workspace, state, &setup.folders.home).map_err(Unusable::Workspace)?;
    // git-config(1), "FILES" and "ENVIRONMENT".
    let named =
        ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"].map(|name| setup.environment.variable(name).map(PathBuf::from));
    let named = named.into_iter().flatten().filter(|file| file.is_absolute());
    let opened = opened.with_git_settings(named.chain([setup.folders.config.join("git/config")]));
    let session = Session::open(Arc::new(opened), &setup.session).map_err(Unusable::Session)?;
    Ok(Arc::new(session))
}

/// Finishes what a server that was killed in the middle of a hand-back left, and records the orders that are found carried out.
///
/// # Errors
/// [`Unusable::Recover`], [`Unusable::Record`].
pub(crate) fn finish_hand_back(session: &Session, log: &Log) -> Result<(), Unusable> {
    let patience = Patience { until: Instant::now() + OTHERS, cancelled: &|| false };
    let recovered = session.workspace().recover(&patience).map_err(Unusable::Recover)?;
    if let Some(call) = recovered.call {
        let (held, lost) = (recovered.held.len(), recovered.lost.len());
        tracing::warn!(call, held, lost, recovered.rolled_back, "finished a hand-back that was interrupted");
    }
    recovered.untold.iter().try_for_each(|untold| record_taken(session, log, untold)).map_err(Unusable::Record)
}

/// Records that a commit was taken, and forgets that it is to be recorded. A stop between the two has it recorded again.
///
/// # Errors
/// When it could not be recorded; the next start does.
pub(crate) fn record_taken(session: &Session, log: &Log, untold: &Untold) -> Result<(), audit::AppendError> {
    log.append(vec![Event::CommitTaken(CommitMove {
        session: untold.session.clone(),
        workspace: session.workspace().root().to_string_lossy().into_owned(),
        branch: untold.branch.clone(),
        old: untold.old.clone().map(String::from),
        new: untold.new.to_string(),
        files: untold.files,
    })])?;
    if let Err(error) = session.workspace().told(untold) {
        tracing::warn!(%error, "an order that was carried out is in the log, and will be recorded again");
    }
    Ok(())
}

/// Prepares sandboxes.
///
/// # Errors
/// [`Unusable::Yard`].
pub fn open_yard(setup: &Setup, state: &Path) -> Result<Yard, Unusable> {
    let host = Host {
        home: setup.folders.home.clone(),
        state: state.to_owned(),
        environment: setup.environment.variables.iter().cloned().collect(),
    };
    Yard::new(YardOptions { host, pool_size: setup.pool, kernel: Kernel::judge(&KernelSays::now()) })
        .map_err(Unusable::Yard)
}

/// Loads the policy that judges calls of the workspace; where no call is taken since its own file is gone, that is said.
///
/// # Errors
/// As [`load_policy`], and [`Unusable::Repository`] when the workspace had a file and has it no longer.
pub fn policy_of_calls(setup: &Setup) -> Result<Policy, Unusable> {
    let files = PolicyFiles::read(setup, &setup.workspace)?;
    miss_repository(&setup.folders.state, &setup.workspace, files.repository.as_deref())?;
    files.load().map_err(Unusable::Policy)
}

/// Loads the policy of a workspace, every layer of it.
///
/// # Errors
/// [`Unusable::Config`] or [`Unusable::Repository`] when a file cannot be read, [`Unusable::Policy`] when it is wrong.
pub fn load_policy(setup: &Setup, workspace: &Path) -> Result<Policy, Unusable> {
    PolicyFiles::read(setup, workspace)?.load().map_err(Unusable::Policy)
}
