//! `cofferdam changes commit-take`: a person's branch moves forward to the agent's commit, and no file is touched.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use clap::Args;
use cofferdam_sandboxes::{ObjectId, Patience, Session, TakeError, TreePath};

use super::{
    call::unusable,
    exit::Exit,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::{
    audit::{self, CommitMove, Event, Log},
    config,
    orders::Orders,
    plain,
    server::{Setup, Unusable, finish_hand_back, load_policy, open_session, open_yard, record_taken},
};

/// How long to wait for calls that are handing back to the same workspace.
const PATIENCE: Duration = Duration::from_secs(30);

/// Paths that are printed.
const PRINTED: usize = 20;

/// What to take.
#[derive(Debug, Args)]
#[command(after_help = "\
The branch that is checked out moves, whichever the agent's commits began on. It
only ever moves forward, and no file changes: where the working tree is not yet
what the commit has, the files are named, each with what you can do, and nothing
is done (status 3). Changes that you have staged, a merge under way, and a
branch that went elsewhere are named too. The agent's commits stay under
refs/agents/ until you delete that ref.")]
pub(super) struct CommitTake {
    /// One of the agent's commits, by the beginning of its name; the newest when not given
    commit: Option<String>,
    /// Says what would happen, and does nothing
    #[arg(long)]
    dry_run: bool,
}

/// Takes the commit.
#[must_use]
pub(super) fn run(take: &CommitTake, setup: &Setup, colour: Colour) -> Exit {
    match attempt(take, setup, colour) {
        Ok(exit) | Err(Refused::Told(exit)) => exit,
        Err(Refused::Unusable(error)) => {
            note(format_args!("cofferdam: failed to {}", causes(&error)));
            unusable(&error)
        }
        Err(Refused::Take(error)) => refused(&error),
    }
}

/// Why it was not done.
enum Refused {
    Unusable(Unusable),
    Take(TakeError),
    /// A person has been told.
    Told(Exit),
}

impl From<Unusable> for Refused {
    fn from(error: Unusable) -> Self {
        Self::Unusable(error)
    }
}

impl From<TakeError> for Refused {
    fn from(error: TakeError) -> Self {
        Self::Take(error)
    }
}

fn attempt(take: &CommitTake, setup: &Setup, colour: Colour) -> Result<Exit, Refused> {
    let state = config::prepare_state(&setup.folders.state).map_err(Unusable::Config)?;
    let session = open_session(setup, &state)?;
    let log = Log::open(&state, audit::time::system()).map_err(Unusable::Audit)?;
    let yard = open_yard(&Setup { pool: 0, ..setup.clone() }, &state)?;
    let git = yard.host_git(&session).map_err(TakeError::from)?;
    // A server that was killed in the middle of one may have left the branch half way.
    finish_hand_back(&session, &log)?;
    let conversions = yard.conversions(&git, &session).map_err(TakeError::from)?;
    let person = yard.identity(&git, &session).map_err(TakeError::from)?;
    let taking = match session.plan_taking(&git, take.commit.as_deref(), conversions) {
        Err(error @ TakeError::Differs { .. }) => {
            return differs(&error, &session, &Orders::from(setup, &session));
        }
        planned => planned?,
    };
    let old = taking.old.as_ref().map_or("no commit", ObjectId::short);
    let what = format!("{} from {old} to {}", taking.place(), taking.new.short());
    let policy = load_policy(setup, session.workspace().root())?;
    let protected = |paths: &[TreePath]| -> Vec<TreePath> {
        paths.iter().filter(|path| policy.protect().contains(path.as_path()).is_some()).cloned().collect()
    };
    let (brought, passed) = (protected(&taking.changed), protected(&taking.passed));
    let began =
        taking.began.as_ref().map(|began| format!("the agent's commits began on {began}, which stays where it is"));
    if take.dry_run {
        print(format_args!("would move {what}; files that differ between the two, all as the commit has them:"));
        listed(&taking.changed);
        tell_protected(&brought, &passed);
        began.iter().for_each(|began| print(format_args!("{began}")));
        return Ok(Exit::Success);
    }
    let event = CommitMove {
        session: session.name().to_owned(),
        workspace: session.workspace().root().to_string_lossy().into_owned(),
        branch: taking.branch.clone(),
        old: taking.old.clone().map(String::from),
        new: taking.new.to_string(),
        files: taking.changed.len() as u64,
    };
    log.append(vec![Event::CommitOrdered(event)]).map_err(|error| {
        note(format_args!("cofferdam: nothing was done: the order failed to be recorded: {}", causes(&error)));
        Refused::Told(Exit::NoAudit)
    })?;
    let patience = Patience { until: Instant::now() + PATIENCE, cancelled: &|| false };
    let taken = session.take(&taking, &git, person.as_ref(), &patience)?;
    print(format_args!("{} {what}", colour.paint(Mark::Good, "moved")));
    tell_protected(&brought, &passed);
    began.iter().for_each(|began| print(format_args!("{began}")));
    taken.warnings.iter().for_each(|warning| note(format_args!("cofferdam: {}", plain::lines(warning))));
    Ok(match taken.untold.iter().try_for_each(|untold| record_taken(&session, &log, untold)) {
        Ok(()) => Exit::Success,
        Err(error) => {
            note(format_args!("cofferdam: it was done, but failed to be recorded: {}", causes(&error)));
            Exit::NoAudit
        }
    })
}

/// Names the files on the list of protected paths that the commits bring, or that a commit on the way has.
fn tell_protected(brought: &[TreePath], passed: &[TreePath]) {
    if !brought.is_empty() {
        print(format_args!("of what the commits change, on the list of what is executed without being asked:"));
        listed(brought);
    }
    if !passed.is_empty() {
        print(format_args!(
            "on that list and in commits on the way, though not changed by all of them together: they come into the working tree \
             when such a commit is checked out"
        ));
        listed(passed);
    }
}

fn listed(paths: &[TreePath]) {
    paths.iter().take(PRINTED).for_each(|path| print(format_args!("  {path}")));
    let more = paths.len().saturating_sub(PRINTED);
    if more > 0 {
        print(format_args!("  and {more} more"));
    }
}

/// Tells of each file what keeps the commit from being taken, and what a person can do.
fn differs(error: &TakeError, session: &Session, orders: &Orders) -> Result<Exit, Refused> {
    let TakeError::Differs { commit, paths, deleted } = error else { return Ok(refused(error)) };
    let held = session.held().map_err(|error| {
        note(format_args!("cofferdam: nothing was done: failed to {}", causes(&error)));
        Refused::Told(Exit::Failed)
    })?;
    let is_held = |path: &TreePath| held.iter().any(|held| path.is_within(&held.change.path));
    note(format_args!("cofferdam: {}", causes(error)));
    let mut ways = BTreeSet::new();
    for path in paths.iter().take(PRINTED) {
        let (what, way) = if is_held(path) {
            ("is held for you", format!("`{}` applies what is held", orders.changes("apply", &["FILE"])))
        } else if deleted.contains(path) {
            ("is there, and the commit deletes it", "`rm FILE` deletes it as the commit does".to_owned())
        } else {
            let way = format!("`git checkout {} -- FILE` puts the commit's version there, over yours", commit.short());
            ("is not in the working tree as the commit has it", way)
        };
        note(format_args!("  {path} {what}"));
        ways.insert(way);
    }
    if paths.len() > PRINTED {
        note(format_args!("  and {} more", paths.len() - PRINTED));
    }
    let ways: Vec<String> = ways.into_iter().collect();
    note(format_args!(
        "nothing was done. {}. Or have the agent commit without such a file, and take that commit",
        ways.join("; ")
    ));
    Ok(Exit::Person)
}

/// Tells why nothing was done. What a person can decide differently waits for that person.
fn refused(error: &TakeError) -> Exit {
    note(format_args!("cofferdam: {}", causes(error)));
    let named = |paths: &[TreePath]| {
        paths.iter().take(PRINTED).for_each(|path| note(format_args!("  {path}")));
        if paths.len() > PRINTED {
            note(format_args!("  and {} more", paths.len() - PRINTED));
        }
    };
    match error {
        TakeError::Converted { paths, .. } => {
            paths.iter().take(PRINTED).for_each(|(path, why)| note(format_args!("  {path} {why}")));
            if paths.len() > PRINTED {
                note(format_args!("  and {} more", paths.len() - PRINTED));
            }
            Exit::Person
        }
        TakeError::Differs { paths, .. } | TakeError::Staged { paths } => {
            named(paths);
            Exit::Person
        }
        TakeError::Diverged { .. } | TakeError::Elsewhere(_) | TakeError::Changed(_) => Exit::Person,
        TakeError::Already { .. } => Exit::Success,
        TakeError::Unknown { .. } => Exit::Usage,
        TakeError::Repository(_)
        | TakeError::Nothing { .. }
        | TakeError::Locked { .. }
        | TakeError::Git(_)
        | TakeError::Kernel { .. }
        | TakeError::Session(_) => Exit::Failed,
    }
}
