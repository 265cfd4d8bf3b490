//! The policy that judges: reloaded when the operator's file changes, fixed for the session in all else.
//!
//! Each call looks at the file (one `stat`). A changed file that loads judges this call and those after it; one that does
//! not load, or is gone, refuses every call with its line until it is mended. There is no falling back to the policy
//! before: it is not what the machine's owner wants any more. A run that is under way keeps its permit. Clients that want
//! to know of changed tools have the file looked at between calls too.
//!
//! The repository's file and the command line are what they were when the session began.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cofferdam_policy::{LoadError, Policy};
use cofferdam_tools::Toolbox;
use tokio::sync::watch;

use crate::{
    cli::terminal::causes,
    config::{self, PolicyChoice},
    policy_files::PolicyFiles,
    server::Setup,
};

/// A file that was changed less than this before it was read may be changed again without its times showing it: a file
/// system's clock ticks every 10 ms at most (`CONFIG_HZ=100`), the rest is for clocks that differ.
const SETTLES_AFTER: Duration = Duration::from_millis(100);

/// How often the file is looked at while nobody calls and somebody wants to know of changed tools.
pub(crate) const LOOKS_EVERY: Duration = Duration::from_secs(2);

/// The policy that judges.
#[derive(Debug)]
pub(crate) struct PolicyInForce {
    setup: Setup,
    workspace: PathBuf,
    found: Mutex<Found>,
    /// How often the tools changed.
    tools: watch::Sender<u64>,
}

/// A policy, and the tools that there are under it.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) policy: Policy,
    /// The builtin tools, and those of the policy's tasks: a task that was changed is never run as it was.
    pub(crate) toolbox: Toolbox,
}

impl InForce {
    fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self { toolbox: Toolbox::new(policy.tasks().cloned()), policy })
    }
}

/// The policy, or why every call is refused, in words for an agent.
pub(crate) type Judging = Result<Arc<InForce>, Arc<str>>;

/// The tools of a call. Where no policy loads, these are the builtin ones, and each call of one is refused.
pub(crate) fn toolbox(judging: &Judging) -> &Toolbox {
    static BUILTIN: LazyLock<Toolbox> = LazyLock::new(Toolbox::default);
    judging.as_ref().map_or(&BUILTIN, |in_force| &in_force.toolbox)
}

/// What was found at the last look.
#[derive(Debug)]
struct Found {
    files: PolicyFiles,
    judging: Judging,
    /// What the operator's file was then; `None` when that is not settled, so that it is read again.
    stamp: Option<Stamp>,
    at: Instant,
}

/// A file's identity and state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    /// There was none.
    Absent,
    /// This one.
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
}

impl PolicyInForce {
    /// Begins with files that were just read, and the policy that they gave.
    pub(crate) fn new(setup: &Setup, workspace: PathBuf, files: PolicyFiles, policy: Policy) -> Self {
        // The first call looks again, since the file may have changed since it was read.
        let found = Mutex::new(Found { files, judging: Ok(InForce::new(policy)), stamp: None, at: Instant::now() });
        Self { setup: setup.clone(), workspace, found, tools: watch::Sender::new(0) }
    }

    /// The policy for a call that comes now.
    pub(crate) fn now(&self) -> Judging {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        self.look_if_changed(&mut found);
        found.judging.clone()
    }

    /// Looks at the file, unless somebody did within [`LOOKS_EVERY`]: for those who want to know of changed tools, however
    /// many they are.
    pub(crate) fn look_between_calls(&self) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        // A tick comes a little early or late; half of the time is late enough.
        if found.at.elapsed() >= LOOKS_EVERY / 2 {
            self.look_if_changed(&mut found);
        }
    }

    /// Changes from now on of what a list of tools shows.
    pub(crate) fn tool_changes(&self) -> watch::Receiver<u64> {
        self.tools.subscribe()
    }

    fn look_if_changed(&self, found: &mut Found) {
        let stamp = self.stamp();
        if stamp.is_none() || found.stamp != stamp {
            let before = found.judging.clone();
            self.look(found);
            found.stamp = stamp.filter(|stamp| stamp.is_settled(SystemTime::now()));
            if !toolbox(&before).is_listed_as(toolbox(&found.judging)) {
                self.tools.send_modify(|changes| *changes += 1);
            }
        }
        found.at = Instant::now();
    }

    /// Reads the operator's file. A file that changes between the stamp and the reading has another stamp at the next call.
    fn look(&self, found: &mut Found) {
        match config::read_policy(&self.setup.policy, &self.setup.folders, &self.workspace) {
            Ok(None) if found.files.operator.is_some() => {
                let path = self.setup.folders.policy();
                found.judging = Err(refused(&format!("{} was there and is gone", name(&path))));
            }
            Ok(operator) if operator == found.files.operator && found.judging.is_ok() => {}
            Ok(operator) => {
                found.files.operator = operator;
                found.judging = match found.files.load() {
                    Ok(policy) => Ok(InForce::new(policy)),
                    Err(error) => Err(refused(&self.for_agents(&error))),
                };
                match &found.judging {
                    Ok(_) => tracing::info!("the policy was changed and is in force"),
                    Err(_) => tracing::error!("the policy was changed and does not load; every call is refused"),
                }
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the policy file cannot be read");
                let why = causes(&error).replace(&*self.path().to_string_lossy(), &name(&self.path()));
                let workspace = self.workspace.to_string_lossy();
                found.judging = Err(refused(&format!("failed to {}", why.replace(&*workspace, "the workspace"))));
            }
        }
    }

    /// What is wrong, with lines and without places of the host.
    fn for_agents(&self, error: &LoadError) -> String {
        error.to_string().replace(&*self.path().to_string_lossy(), &name(&self.path()))
    }

    fn path(&self) -> PathBuf {
        match &self.setup.policy {
            PolicyChoice::File(path) => path.clone(),
            PolicyChoice::Personal => self.setup.folders.policy(),
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        match fs::metadata(self.path()) {
            Ok(file) => Some(Stamp::File {
                device: file.dev(),
                inode: file.ino(),
                size: file.size(),
                modified: (file.mtime(), file.mtime_nsec()),
                changed: (file.ctime(), file.ctime_nsec()),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(Stamp::Absent),
            Err(_) => None,
        }
    }
}

impl Stamp {
    /// Whether a change after `now` must show.
    fn is_settled(&self, now: SystemTime) -> bool {
        match self {
            Self::Absent => true,
            Self::File { changed: (seconds, nanoseconds), .. } => {
                let since = |seconds, nanoseconds| UNIX_EPOCH + Duration::new(seconds, nanoseconds);
                match (u64::try_from(*seconds), u32::try_from(*nanoseconds)) {
                    (Ok(seconds), Ok(nanoseconds)) => {
                        now.duration_since(since(seconds, nanoseconds)).is_ok_and(|age| age > SETTLES_AFTER)
                    }
                    (Err(_), _) | (_, Err(_)) => false,
                }
            }
        }
    }
}

fn refused(why: &str) -> Arc<str> {
    format!(
        "every call is refused, because the policy is invalid: {why}. Only a person can mend it; `cofferdam policy check` \
         tells them more"
    )
    .into()
}

/// A file's name without the place of it.
fn name(path: &std::path::Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playground::Playground;

    const TIGHT: &str = "version = 1\n[limits]\npids = 64\n";

    fn in_force(playground: &Playground) -> PolicyInForce {
        let setup = playground.setup();
        let files = PolicyFiles::read(&setup, &setup.workspace).unwrap();
        let policy = files.load().unwrap();
        PolicyInForce::new(&setup, setup.workspace.clone(), files, policy)
    }

    fn write(playground: &Playground, text: &str) {
        let path = playground.path("config/cofferdam/policy.toml");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn pids(policy: &PolicyInForce) -> u64 {
        policy.now().unwrap().policy.limits().pids
    }

    #[test]
    fn a_changed_file_judges_the_next_call_even_within_a_tick_of_the_clock() {
        let playground = Playground::with_policy(TIGHT);
        let policy = in_force(&playground);
        for pids_now in [64, 65, 66, 99, 64] {
            // The same size, as soon as can be.
            write(&playground, &TIGHT.replace("64", &pids_now.to_string()));
            assert_eq!(pids(&policy), pids_now);
            assert_eq!(pids(&policy), pids_now);
        }
    }

    #[test]
    fn an_invalid_file_refuses_with_its_line_until_it_is_mended_and_names_no_place() {
        let playground = Playground::with_policy(TIGHT);
        let policy = in_force(&playground);
        write(&playground, "version = 1\n[limits]\npids = 99999\n");
        for _ in 0..2 {
            let why = policy.now().unwrap_err();
            assert!(why.contains("policy.toml:3") && why.contains("builtin:"), "{why}");
            assert!(!why.contains(playground.path("").to_str().unwrap()), "{why}");
        }
        write(&playground, TIGHT);
        assert_eq!(pids(&policy), 64);
    }

    #[test]
    fn a_file_that_is_gone_refuses_and_one_that_appears_is_taken() {
        let playground = Playground::new();
        let policy = in_force(&playground);
        assert!(pids(&policy) > 64);
        write(&playground, TIGHT);
        assert_eq!(pids(&policy), 64);
        fs::remove_file(playground.path("config/cofferdam/policy.toml")).unwrap();
        for _ in 0..2 {
            assert!(policy.now().unwrap_err().contains("was there and is gone"));
        }
        write(&playground, TIGHT);
        assert_eq!(pids(&policy), 64);
    }

    #[test]
    fn the_repositorys_file_is_what_it_was_when_the_session_began() {
        // P30
        let playground = Playground::with_policy(TIGHT);
        let file = playground.path("workspace/.cofferdam.toml");
        fs::write(&file, "version = 1\n[limits]\npids = 32\n").unwrap();
        let policy = in_force(&playground);
        assert_eq!(pids(&policy), 32);
        fs::write(&file, "version = 1\n").unwrap();
        write(&playground, &TIGHT.replace("64", "60"));
        assert_eq!(pids(&policy), 32);
        fs::remove_file(&file).unwrap();
        write(&playground, &TIGHT.replace("64", "61"));
        assert_eq!(pids(&policy), 32);
        // What the session asks for is more than this allows.
        write(&playground, &TIGHT.replace("64", "16"));
        assert!(policy.now().unwrap_err().contains(".cofferdam.toml:3"));
    }

    #[test]
    fn only_what_a_list_of_tools_shows_is_a_change_of_the_tools() {
        let playground = Playground::with_policy(TIGHT);
        let policy = in_force(&playground);
        let mut changes = policy.tool_changes();
        let mut changed = |text: &str| {
            write(&playground, text);
            let _ = policy.now();
            let changed = changes.has_changed().unwrap();
            changes.mark_unchanged();
            changed
        };
        let task = |description: &str, memory_mb: u64| {
            format!(
                "version = 1\n[[task]]\nname = \"look\"\ndescription = \"{description}\"\nargv = [\"true\"]\n\
                 memory_mb = {memory_mb}\n"
            )
        };
        assert!(!changed(TIGHT) && !changed("version = 1\n"));
        assert!(changed(&task("Looks.", 100)));
        assert!(!changed(&task("Looks.", 200)), "its budgets are not listed");
        assert!(changed(&task("Looks on.", 200)));
        assert!(changed("version = 2\n"), "without a policy there are the builtin tools");
        assert!(!changed("version = 1\n"));
    }

    #[test]
    fn a_stamp_settles_with_time() {
        let stamp = Stamp::File { device: 1, inode: 1, size: 1, modified: (10, 0), changed: (10, 0) };
        let at = |milliseconds| UNIX_EPOCH + Duration::from_secs(10) + Duration::from_millis(milliseconds);
        assert!(!stamp.is_settled(at(0)) && !stamp.is_settled(at(100)) && stamp.is_settled(at(101)));
        assert!(!stamp.is_settled(UNIX_EPOCH), "a clock that went back settles nothing");
    }
}
