//! Where sandboxes are opened: from a permit, on a session's workspace, with the cheapest backend that proves the floor.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cofferdam_contract::{
    Argument, Author, Ended, Enforced, Guarantee, Identity, Isolation, Kind, Limits, Network, Plan, Repository,
    Strength, Work, WorkspacePath,
};
use cofferdam_policy::{Authorship, Permit};
use serde::Serialize;

use crate::{
    budget::{Budget, Memory},
    call_folder,
    cancel::Cancel,
    guest_program::GuestProgram,
    kernel::{Kernel, KernelWarning},
    namespace::{Cgroups, Holding, Namespaces, Place, Root, StartError},
    open::{OpenSandbox, Parts},
    pool::{Access, Key, Pool},
    ready::Ready,
    reap,
    root::{self, Host, HostRoot},
    scratch::{Closer, LINGER, LONGEST_WAIT, Means, Request, ScratchError, Seeding, Volumes, Waiting},
    submount::Mounts,
    view::{self, Stage, StageError, ViewMechanism, Views},
    worker::{Order, Refill, Worker},
    workspace::{
        CopyError, HeldChange, LayersError, Look, MaskError, Masks, Patience, Reason, Session, SessionError, Stamp,
        TreePath, WorkspaceError,
        git::{Conversions, HostGit, Purpose, RepositoryError},
    },
};

/// How long what was found of the host holds. Discovery costs some milliseconds; a newly installed tool is seen after this.
const ROOT_HOLDS: Duration = Duration::from_secs(30);

/// How long a look at the repository waits for calls that hand back, where it has to change what the session keeps.
const OTHERS: Duration = Duration::from_secs(10);

/// What a yard needs to know.
#[derive(Debug, Clone)]
pub struct YardOptions {
    /// The host: home, state folder and environment.
    pub host: Host,
    /// Sandboxes of one kind that are prepared ahead; 0 prepares none.
    pub pool_size: usize,
    /// The kernel that sandboxes share with the host.
    pub kernel: Kernel,
}

/// Opens sandboxes. One per server. Dropping it destroys what is prepared.
#[derive(Debug)]
pub struct Yard {
    ground: Arc<Ground>,
    worker: Arc<Worker>,
}

/// When a call took its sandbox, and what it has in place of files with credentials.
type Looked = (Stamp, Look);

/// What calls and the worker share.
#[derive(Debug)]
struct Ground {
    host: Host,
    kernel: Kernel,
    namespaces: Namespaces,
    means: Means,
    closer: Arc<Closer>,
    pool: Pool,
    views: Views,
    roots: Mutex<BTreeMap<PathBuf, (Instant, Arc<HostRoot>)>>,
    next: AtomicU64,
    mounts: Mounts,
}

/// Why a yard was not made.
#[derive(Debug, thiserror::Error)]
pub enum YardError {
    /// The program that runs inside could not be put into memory.
    #[error("failed to load the guest program into memory")]
    Guest(#[source] std::io::Error),
    /// The backend could not be prepared.
    #[error(transparent)]
    Backend(#[from] StartError),
}

/// Why a sandbox was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The floor is above what this server has.
    #[error(
        "the call needs isolation of at least {floor:?}, and this server has {best:?}: lower the floor in the policy, or use a server with that backend"
    )]
    Isolation {
        /// What is asked.
        floor: Isolation,
        /// What there is.
        best: Isolation,
    },
    /// The plan wants a network.
    #[error("the call needs the network mode {0:?}, and this server has no gateway")]
    Network(Network),
    /// A guarantee that is required is not held.
    #[error("the policy requires {guarantee:?} to be enforced, and here it is {strength:?} ({by}): {remedy}")]
    Floor {
        /// Which guarantee.
        guarantee: Guarantee,
        /// How well it holds.
        strength: Strength,
        /// By what.
        by: String,
        /// How to get it.
        remedy: &'static str,
    },
    /// Another file system is mounted inside the workspace.
    #[error("another file system is mounted at {}, inside the workspace, and a view would miss it: unmount it, or name a workspace that does not contain it", .0.display())]
    Submount(PathBuf),
    /// The workspace is not what it was when the session began.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The session's held layers could not be read.
    #[error(transparent)]
    Layers(#[from] LayersError),
    /// What the session changed could not be read.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The mounts of this machine could not be read.
    #[error("failed to read this machine's mounts")]
    Mounts(#[source] io::Error),
    /// Files with credentials could not be kept out.
    #[error(transparent)]
    Masks(#[from] MaskError),
    /// No stamp could be taken.
    #[error("failed to read the workspace's clock")]
    Stamp(#[source] std::io::Error),
    /// Git cannot be used in the workspace.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Another run had the workspace for too long.
    #[error(transparent)]
    Busy(ScratchError),
    /// Scratch volumes could not be lent.
    #[error(transparent)]
    Scratch(ScratchError),
    /// The host's part of the view could not be prepared.
    #[error(transparent)]
    Stage(StageError),
    /// The sandbox could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The call ended before its sandbox was open.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// What this machine enforces, for `doctor`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What a sandbox that executes programs gets here; or why none can be opened.
    pub enforced: Result<Enforced, String>,
    /// Which cgroups are used, or why none.
    pub cgroups: String,
    /// Toolchains found: name, version, program, how found.
    pub toolchains: Vec<(String, Option<String>, PathBuf, String)>,
    /// What is missing, and what mends it.
    pub missing: Vec<(String, String)>,
    /// What of the kernel makes attacks on it easier.
    pub kernel: Vec<KernelWarning>,
    /// What is shown of the host.
    pub shown: Vec<PathBuf>,
    /// What was found and is not shown, and why.
    pub notes: Vec<String>,
}

impl From<StageError> for OpenError {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Copy(CopyError::Ended(ended)) => Self::Ended(ended),
            error @ (StageError::Copy(_) | StageError::Folder(_)) => Self::Stage(error),
        }
    }
}

impl Yard {
    /// Prepares the backend, and removes what a killed server left. Views are made in the first way that this machine
    /// gives, in the order of [`ViewMechanism`].
    ///
    /// # Errors
    /// [`YardError`]. Whether sandboxes can be opened shows only when one is; see [`Yard::doctor`].
    pub fn new(options: YardOptions) -> Result<Self, YardError> {
        Self::with_means(options, Views::tried(), Means::default())
    }

    /// As [`Yard::new`], with views made in one way and no other: calls are refused where the machine does not give it.
    ///
    /// # Errors
    /// [`YardError`].
    pub fn with_view(options: YardOptions, mechanism: ViewMechanism) -> Result<Self, YardError> {
        Self::with_means(options, Views::ordered(mechanism), Means::default())
    }

    fn with_means(options: YardOptions, views: Views, means: Means) -> Result<Self, YardError> {
        let guest = Arc::new(GuestProgram::load().map_err(YardError::Guest)?);
        let cgroups = Cgroups::find(&reap::owner(), &options.host.environment);
        let removed = reap::reap(&cgroups);
        if removed > 0 {
            tracing::info!(removed, "removed the cgroups of servers that are gone");
        }
        let removed = call_folder::reap(&options.host.state);
        if removed > 0 {
            tracing::info!(removed, "removed the folders of calls whose server is gone");
        }
        let closer = Closer::start(LINGER)
            .map_err(|source| StartError::Prepare { operation: "start the thread that unmounts", source })?;
        let ground = Arc::new(Ground {
            host: options.host,
            kernel: options.kernel,
            namespaces: Namespaces::new(guest, cgroups)?,
            means,
            closer: Arc::new(closer),
            pool: Pool::new(options.pool_size),
            views,
            roots: Mutex::default(),
            next: AtomicU64::new(0),
            mounts: Mounts::read()
                .map_err(|source| StartError::Prepare { operation: "read this machine's mounts", source })?,
        });
        let shared = Arc::clone(&ground);
        let worker = Worker::start(move |order| shared.fill(order))
            .map_err(|source| StartError::Prepare { operation: "start the worker thread", source })?;
        Ok(Self { ground, worker: Arc::new(worker) })
    }

    /// Opens a sandbox for the permit's plan. Blocks: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`OpenError`]; no sandbox is left behind, and none with less is tried.
    pub fn open(&self, permit: Permit, session: &Arc<Session>, cancel: &Cancel) -> Result<OpenSandbox, OpenError> {
        self.open_and_tell(permit, session, cancel, &mut |_| {})
    }

    /// As [`Yard::open`], with words for a person to `tell` when the call must wait for its turn. The wall-clock limit
    /// counts from when it has it.
    ///
    /// # Errors
    /// [`OpenError`], as [`Yard::open`].
    pub fn open_and_tell(
        &self,
        permit: Permit,
        session: &Arc<Session>,
        cancel: &Cancel,
        tell: &mut dyn FnMut(&str),
    ) -> Result<OpenSandbox, OpenError> {
        let deadline = deadline_from_now(&permit);
        let plan = permit.plan();
        if permit.isolation() > Isolation::Namespace {
            return Err(OpenError::Isolation { floor: permit.isolation(), best: Isolation::Namespace });
        }
        match plan.network {
            Network::Off => {}
            wanted @ (Network::Registry | Network::Allowlist) => return Err(OpenError::Network(wanted)),
        }
        let workspace = session.workspace();
        workspace.still_there()?;
        if let Some(mount) = self.ground.mounts.below(workspace.root()).map_err(OpenError::Mounts)? {
            return Err(OpenError::Submount(mount));
        }
        let repository = self.repository(&permit, session, cancel)?;
        let (mut ready, (stamp, look), volumes, refill, deadline) = match &plan.work {
            work @ (Work::ReadRepository | Work::Commit) => {
                let access = if *work == Work::Commit { Access::Write } else { Access::Read };
                let (ready, looked) = self.ready_for_repository(&permit, session, access, (deadline, cancel))?;
                (ready, looked, None, None, deadline)
            }
            Work::Execute => {
                let (ready, looked, volumes, deadline) = self.ready_to_execute(&permit, session, cancel, tell)?;
                (ready, looked, Some(volumes), None, deadline)
            }
            work @ (Work::WriteFiles | Work::ReadFiles | Work::Session(_)) => {
                let access = if *work == Work::WriteFiles { Access::Write } else { Access::Read };
                let (ready, looked, refill) = self.ready_for_files(session, access, &permit, (deadline, cancel))?;
                (ready, looked, None, Some(refill), deadline)
            }
        };
        ready.enforced.guarantees.insert(Guarantee::Kernel, self.ground.kernel.mechanism());
        require(&permit, &ready.enforced)?;
        let memory = match self.ground.namespaces.cgroups() {
            Cgroups::Version1 { .. } | Cgroups::Version2(_) => Memory::Cgroup,
            Cgroups::Absent(_) => Memory::Watched,
        };
        let budget = Budget::new(permit.limits(), memory, ready.stage.watched());
        let (workspace, cancel) = (Arc::clone(workspace), cancel.clone());
        let worker = Arc::clone(&self.worker);
        Ok(OpenSandbox::new(Parts {
            permit,
            workspace,
            ready,
            stamp,
            look,
            volumes,
            budget,
            deadline,
            cancel,
            worker,
            refill,
            repository,
        }))
    }

    /// When a call took its sandbox, and what of files with credentials it has in their place. The stamp is older: what comes
    /// between the two is a conflict, or masked.
    fn look(&self, permit: &Permit, session: &Session) -> Result<Looked, OpenError> {
        let stamp = Stamp::take(session.workspace()).map_err(OpenError::Stamp)?;
        Ok((stamp, session.workspace().look_for_secrets(permit.secrets())?))
    }

    /// What is known of the workspace's repository, for work on it. A permit for other work looks at none.
    fn repository(
        &self,
        permit: &Permit,
        session: &Arc<Session>,
        cancel: &Cancel,
    ) -> Result<Option<Repository>, OpenError> {
        let purpose = match permit.plan().work {
            Work::ReadRepository => Purpose::Read,
            Work::Commit => Purpose::Commit,
            Work::ReadFiles | Work::WriteFiles | Work::Execute | Work::Session(_) => return Ok(None),
        };
        let git = self.host_git(session)?;
        let cancelled = || cancel.why() == Some(Ended::Cancelled);
        let patience = Patience { until: Instant::now() + OTHERS, cancelled: &cancelled };
        let standing = session.repository(&git, purpose, &patience)?;
        let author = match (purpose, permit.authorship()) {
            // Nothing is written.
            (Purpose::Read, _) => Author::Unnamed,
            (Purpose::Commit, Authorship::Agent) => Author::Agent,
            (Purpose::Commit, Authorship::Person) => {
                self.identity(&git, session)?.map_or(Author::Unnamed, Author::Person)
            }
        };
        let masks = session.workspace().masks(permit.secrets())?;
        let spelled = |path: &TreePath| path.as_path().to_str().map(str::to_owned);
        let layers = session.layers()?;
        let is_masked = |held: &&HeldChange| matches!(held.reason, Reason::MaskedCopy { .. } | Reason::MaskedLines);
        let copies = layers.held().filter(is_masked).map(|held| &held.change.path);
        let named = |path: &TreePath| spelled(path).and_then(|path| WorkspacePath::try_from(path).ok());
        let masked = masks.paths().chain(copies).filter_map(named).collect();
        let changed = match purpose {
            Purpose::Read => BTreeSet::new(),
            Purpose::Commit => {
                let applied = session.undoable()?.into_iter().flat_map(|call| call.changes);
                let applied = applied.filter_map(|change| named(&change.path));
                applied.chain(layers.held().filter_map(|held| named(&held.change.path))).collect()
            }
        };
        Ok(Some(Repository {
            session: session.name().to_owned(),
            reference: standing.reference,
            base: standing.base.map(String::from),
            author,
            masked,
            changed,
            warnings: standing.warnings,
        }))
    }

    /// The host's git, for what is done with the session's commits outside of sandboxes.
    ///
    /// # Errors
    /// [`RepositoryError::NoGit`].
    pub fn host_git(&self, session: &Session) -> Result<HostGit, RepositoryError> {
        HostGit::find(&self.ground.host, session.workspace().root()).ok_or(RepositoryError::NoGit)
    }

    /// The person's name and address, as the host repository's git settings or their own have them.
    ///
    /// # Errors
    /// The settings could not be read, or git refuses them.
    pub fn identity(&self, git: &HostGit, session: &Session) -> Result<Option<Identity>, RepositoryError> {
        git.identity(&self.ground.host, session)
    }

    /// What git settings say about files and objects of the workspace, read in the same way.
    ///
    /// # Errors
    /// The settings could not be read, or git refuses them.
    pub fn conversions(&self, git: &HostGit, session: &Session) -> Result<Conversions, RepositoryError> {
        git.conversions(&self.ground.host, session)
    }

    /// A sandbox that executes what the host root has, on a view without scratch volumes: so it waits for no run.
    fn ready_for_repository(
        &self,
        permit: &Permit,
        session: &Arc<Session>,
        access: Access,
        (deadline, cancel): (Instant, &Cancel),
    ) -> Result<(Ready, Looked), OpenError> {
        self.on_the_host_root(session, |mechanism| {
            self.try_for_repository(mechanism, permit, session, access, (deadline, cancel))
        })
    }

    fn try_for_repository(
        &self,
        mechanism: ViewMechanism,
        permit: &Permit,
        session: &Arc<Session>,
        access: Access,
        (deadline, cancel): (Instant, &Cancel),
    ) -> Result<(Ready, Looked), OpenError> {
        let workspace = session.workspace();
        let host_root = self.ground.host_root(workspace.root());
        let layers = session.layers()?;
        let (stamp, look) = self.look(permit, session)?;
        let masks = Arc::clone(&look.masks);
        let held = view::between(&layers, &masks);
        let ended = || ended(deadline, cancel);
        let place = (&**workspace, &layers, &*masks);
        let stage = Stage::make(mechanism, place, access, permit.limits(), &[], &ended)?;
        let mut environment = host_root.environment.clone();
        environment.extend(permit.environment().iter().map(|(name, value)| (name.clone(), value.clone())));
        let place = Place {
            workspace: workspace.root(),
            workspace_id: workspace.id(),
            view: stage.view(access, &held),
            root: Root::Host { root: &host_root, mounts: &self.ground.mounts },
            scratch: &[],
            holding: Holding::Nothing,
            limits: permit.limits(),
            environment: &environment,
        };
        let started = self.ground.namespaces.start(&self.ground.next_name(), &place)?;
        let ready = Ready::new(started, layers, masks, stage).map_err(|_| Ended::Broken)?;
        Ok((ready, (stamp, look)))
    }

    fn ready_for_files(
        &self,
        session: &Arc<Session>,
        access: Access,
        permit: &Permit,
        (deadline, cancel): (Instant, &Cancel),
    ) -> Result<(Ready, Looked, Refill), OpenError> {
        let (limits, secrets) = (permit.limits(), permit.secrets());
        // The stamp is from before the view is first looked at, and a prepared sandbox has looked at nothing.
        let (stamp, look) = self.look(permit, session)?;
        let masks = &look.masks;
        let key = self.ground.key(session, session.layers()?.generation(), masks, access, limits);
        let ready = match self.ground.pool.take(&key, session.workspace()) {
            Some(ready) => ready,
            None => self.ground.prepare(session, masks, access, limits, &|| ended(deadline, cancel))?.1,
        };
        let order = Order { session: Arc::clone(session), access, limits, secrets: Arc::clone(secrets) };
        Ok((ready, (stamp, look), Refill { worker: Arc::clone(&self.worker), order }))
    }

    fn ready_to_execute(
        &self,
        permit: &Permit,
        session: &Arc<Session>,
        cancel: &Cancel,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(Ready, Looked, Volumes, Instant), OpenError> {
        self.on_the_host_root(session, |mechanism| self.try_to_execute(mechanism, permit, session, cancel, tell))
    }

    /// Starts a sandbox that shows what was found of the host, in the first kind of view that the kernel does not refuse.
    fn on_the_host_root<T>(
        &self,
        session: &Session,
        start: impl FnMut(ViewMechanism) -> Result<T, OpenError>,
    ) -> Result<T, OpenError> {
        let started = self.ground.in_a_view(start);
        if matches!(started, Err(OpenError::Start(_))) {
            // The host may not be any more what was found of it: the next call looks again.
            self.ground.forget_host_root(session.workspace().root());
        }
        started
    }

    fn try_to_execute(
        &self,
        mechanism: ViewMechanism,
        permit: &Permit,
        session: &Arc<Session>,
        cancel: &Cancel,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(Ready, Looked, Volumes, Instant), OpenError> {
        let workspace = session.workspace();
        let host_root = self.ground.host_root(workspace.root());
        let seeding = match mechanism {
            ViewMechanism::Overlay | ViewMechanism::OverlayOnFolder => Seeding::Layer,
            ViewMechanism::Copy => Seeding::Copy,
        };
        let folder = named_folder(permit.plan());
        let request = Request {
            workspace: workspace.root(),
            folder: folder.as_path(),
            workspace_id: workspace.id(),
            state: workspace.state(),
            root: &host_root,
            limits: permit.limits(),
            means: &self.ground.means,
            closer: &self.ground.closer,
            seeding,
        };
        let volumes = Volumes::take(request, Waiting { longest: LONGEST_WAIT, cancel, tell });
        let mut volumes = volumes.map_err(|error| match error {
            ScratchError::Ended(why) => OpenError::Ended(why),
            error @ ScratchError::Busy { .. } => OpenError::Busy(error),
            error @ ScratchError::Prepare { .. } => OpenError::Scratch(error),
        })?;
        let deadline = deadline_from_now(permit);
        // After the wait for the volumes, so that what another run handed back in that time is no conflict.
        let layers = session.layers()?;
        let (stamp, look) = self.look(permit, session)?;
        let masks = Arc::clone(&look.masks);
        let unmasked = |source| ScratchError::Prepare { path: workspace.root().to_owned(), source };
        volumes.mask(workspace.root(), &masks).map_err(unmasked).map_err(OpenError::Scratch)?;
        let held = view::between(&layers, &masks);
        let ended = || ended(deadline, cancel);
        let points = view::points(workspace.root(), volumes.scratch().iter().map(|scratch| scratch.at.as_path()));
        let place = (&**workspace, &layers, &*masks);
        let stage = Stage::make(mechanism, place, Access::Write, permit.limits(), &points, &ended)?;
        if seeding == Seeding::Copy {
            let bounds = view::copy_bounds(permit.limits());
            volumes.copy_seeds(workspace.root(), bounds, &ended).map_err(StageError::from)?;
        }
        let mut environment = host_root.environment.clone();
        environment.extend(permit.environment().iter().map(|(name, value)| (name.clone(), value.clone())));
        let place = Place {
            workspace: workspace.root(),
            workspace_id: workspace.id(),
            view: stage.view(Access::Write, &held),
            root: Root::Host { root: &host_root, mounts: &self.ground.mounts },
            scratch: volumes.scratch(),
            holding: volumes.holding(),
            limits: permit.limits(),
            environment: &environment,
        };
        let started = self.ground.namespaces.start(&self.ground.next_name(), &place)?;
        let ready = Ready::new(started, layers, masks, stage).map_err(|_| Ended::Broken)?;
        Ok((ready, (stamp, look), volumes, deadline))
    }

    /// What this machine enforces, found out by opening a sandbox on `permit`'s plan and closing it again.
    #[must_use]
    pub fn doctor(&self, permit: Permit, session: &Arc<Session>) -> Report {
        let host_root = self.ground.host_root(session.workspace().root());
        let enforced = self
            .open(permit, session, &Cancel::new())
            .map(|open| open.enforced().clone())
            .map_err(|error| chain(&error));
        let cgroups = self.ground.namespaces.cgroups().described();
        Report {
            enforced,
            cgroups,
            toolchains: host_root
                .toolchains
                .iter()
                .map(|tool| (tool.name.clone(), tool.version.clone(), tool.program.clone(), tool.found_by.clone()))
                .collect(),
            missing: host_root.missing.iter().map(|missing| (missing.what.clone(), missing.mend.clone())).collect(),
            kernel: self.ground.kernel.warnings().to_vec(),
            shown: host_root.shown.iter().map(|shown| shown.path.clone()).collect(),
            notes: host_root.notes.clone(),
        }
    }
}

impl Ground {
    /// Starts a sandbox for files, with nothing of the host but the workspace.
    fn prepare(
        &self,
        session: &Arc<Session>,
        masks: &Arc<Masks>,
        access: Access,
        limits: Limits,
        ended: &dyn Fn() -> Option<Ended>,
    ) -> Result<(Key, Ready), OpenError> {
        self.in_a_view(|mechanism| self.try_to_prepare(mechanism, session, masks, access, limits, ended))
    }

    /// Starts a sandbox in the first kind of view that the kernel does not refuse.
    fn in_a_view<T>(&self, mut start: impl FnMut(ViewMechanism) -> Result<T, OpenError>) -> Result<T, OpenError> {
        loop {
            let mechanism = self.views.mechanism();
            match start(mechanism) {
                Err(OpenError::Start(error)) if self.views.moves_on(mechanism, &error) => {}
                result => return result,
            }
        }
    }

    fn try_to_prepare(
        &self,
        mechanism: ViewMechanism,
        session: &Arc<Session>,
        masks: &Arc<Masks>,
        access: Access,
        limits: Limits,
        ended: &dyn Fn() -> Option<Ended>,
    ) -> Result<(Key, Ready), OpenError> {
        let workspace = session.workspace();
        let layers = session.layers()?;
        let key = self.key(session, layers.generation(), masks, access, limits);
        let held = view::between(&layers, masks);
        let mut stage = Stage::make(mechanism, (&**workspace, &layers, masks), access, limits, &[], ended)?;
        stage.show_plainly(access, workspace, &layers, masks);
        let place = Place {
            workspace: workspace.root(),
            workspace_id: workspace.id(),
            view: stage.view(access, &held),
            root: Root::Bare,
            scratch: &[],
            holding: Holding::Nothing,
            limits,
            environment: &BTreeMap::new(),
        };
        let started = self.namespaces.start(&self.next_name(), &place)?;
        let ready = Ready::new(started, layers, Arc::clone(masks), stage).map_err(|_| Ended::Broken)?;
        Ok((key, ready))
    }

    /// Prepares as many sandboxes as the pool wants of an order's kind.
    fn fill(&self, Order { session, access, limits, secrets }: &Order) {
        // The generation that counts is the one found now, not the one of the call that ordered.
        let Ok(layers) = session.layers() else { return };
        let Ok(masks) = session.workspace().masks(secrets) else { return };
        let mut key = self.key(session, layers.generation(), &masks, *access, *limits);
        while self.pool.wants(&key) {
            // A copy made ahead would be of a workspace that was.
            let copies = *access == Access::Write || layers.paths().next().is_some() || masks.layer_path().is_some();
            if self.views.mechanism() == ViewMechanism::Copy && copies {
                return;
            }
            tracing::debug!(target: "cofferdam::step", "prepare");
            match self.prepare(session, &masks, *access, *limits, &|| None) {
                // The first one may have found out that views are copies here.
                Ok((_, ready)) if ready.stage.is_copy() => return,
                Ok((made, ready)) => {
                    // A call may have held a change meanwhile: then nobody will ever ask for the older generation, and
                    // waiting until enough of it are kept would never end.
                    key = made.clone();
                    self.pool.put(made, ready);
                    tracing::debug!(target: "cofferdam::step", "prepared");
                }
                Err(error) => {
                    // The next call meets the same error and tells its caller.
                    tracing::debug!(error = &error as &dyn std::error::Error, "no sandbox was prepared");
                    return;
                }
            }
        }
    }

    fn key(&self, session: &Session, generation: u64, masks: &Masks, access: Access, limits: Limits) -> Key {
        let (workspace, session) = (session.workspace().id().to_owned(), session.name().to_owned());
        Key { workspace, session, generation, masks: masks.number(), access, limits }
    }

    fn next_name(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Has what of the host is shown looked up anew.
    fn forget_host_root(&self, workspace: &Path) {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).remove(workspace);
    }

    /// What of the host is shown, looked up anew from time to time.
    fn host_root(&self, workspace: &Path) -> Arc<HostRoot> {
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        match roots.get(workspace) {
            Some((found, root)) if found.elapsed() < ROOT_HOLDS => Arc::clone(root),
            _ => {
                let root = Arc::new(root::discover(&self.host, workspace));
                roots.insert(workspace.to_path_buf(), (Instant::now(), Arc::clone(&root)));
                root
            }
        }
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        // So that the worker, which is waited for next, starts nothing more.
        self.ground.pool.close();
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for folder in self.namespaces.cgroups().folders() {
            reap::remove_tree(folder);
        }
    }
}

fn deadline_from_now(permit: &Permit) -> Instant {
    Instant::now() + Duration::from_secs(permit.limits().wall_seconds)
}

/// The file or folder that a plan names, by the argument `path` that all tools call it by; else the workspace.
fn named_folder(plan: &Plan) -> TreePath {
    match plan.arguments.get("path") {
        Some(Argument::Text(path)) => TreePath::new(path.as_str()).unwrap_or_else(TreePath::root),
        Some(Argument::Bool(_) | Argument::Integer(_) | Argument::List(_) | Argument::Map(_)) | None => {
            TreePath::root()
        }
    }
}

/// Why a call is over, if it is.
fn ended(deadline: Instant, cancel: &Cancel) -> Option<Ended> {
    cancel.why().or_else(|| (Instant::now() >= deadline).then_some(Ended::Deadline))
}

/// Compares what is enforced with what the permit requires.
fn require(permit: &Permit, enforced: &Enforced) -> Result<(), OpenError> {
    for guarantee in permit.required() {
        let strength = enforced.strength(*guarantee);
        if strength < Strength::Enforced {
            let by = enforced.guarantees.get(guarantee).map_or("nothing", |mechanism| &mechanism.by);
            let remedy = match guarantee.kind() {
                Kind::Budget => {
                    "run the server as root, or in a delegated cgroup (systemd-run --user --scope -p Delegate=yes), \
                     or take it out of `require`; `cofferdam doctor` says why there is no cgroup"
                }
                Kind::Fence if *guarantee == Guarantee::Kernel => {
                    "`cofferdam doctor` says what mends it; or take \"kernel\" out of `require`"
                }
                Kind::Boundary | Kind::Fence => "see `cofferdam doctor`",
            };
            return Err(OpenError::Floor { guarantee: *guarantee, strength, by: by.to_owned(), remedy });
        }
    }
    Ok(())
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[path = "yard_tests.rs"]
mod tests;
