//! The runs of this server that are not over, and those whose results somebody may still want.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cofferdam_contract::Ended;
use tokio::time::Instant;

use crate::run::Run;

/// Results that are kept; the oldest goes first.
const KEPT: usize = 64;

/// How long a result is kept.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// The runs.
#[derive(Debug, Default)]
pub struct Runs {
    runs: Mutex<Vec<Arc<Run>>>,
}

impl Runs {
    /// Adds a run.
    pub(crate) fn add(&self, run: &Arc<Run>) {
        self.lock().push(Arc::clone(run));
    }

    /// Lets go of results that nobody will ask for.
    pub(crate) fn sweep(&self) {
        sweep(&mut self.lock(), Instant::now());
    }

    /// The run that was handed out under `id`; `None` for one that never was, or is long over.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<Run>> {
        let mut runs = self.lock();
        sweep(&mut runs, Instant::now());
        runs.iter().find(|run| run.is_shared() && run.call().0 == id).cloned()
    }

    /// Ends all that are not over.
    pub fn stop_all(&self, why: Ended) {
        for run in self.lock().iter().filter(|run| run.finished().is_none()) {
            run.stop(why);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops results that nobody was told about, are too old or too many.
fn sweep(runs: &mut Vec<Arc<Run>>, now: Instant) {
    runs.retain(|run| match run.finished() {
        None => true,
        Some(finished) => run.is_shared() && now.duration_since(finished.at) < KEPT_FOR,
    });
    let mut surplus = runs.iter().filter(|run| run.finished().is_some()).count().saturating_sub(KEPT);
    runs.retain(|run| {
        let drop = surplus > 0 && run.finished().is_some();
        surplus -= usize::from(drop);
        !drop
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;

    fn run(runs: &Runs) -> Arc<Run> {
        let run = Run::new("run_tests");
        runs.add(&run);
        run
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_run_that_was_handed_out_is_found() {
        let runs = Runs::default();
        let run = run(&runs);
        assert!(runs.find(&run.call().0).is_none());
        run.share();
        assert!(runs.find(&run.call().0).is_some());
        assert!(runs.find("0").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn results_are_kept_for_an_hour_and_not_without_bound() {
        let runs = Runs::default();
        let running = run(&runs);
        running.share();
        let mut finished = Vec::new();
        for _ in 0..KEPT + 2 {
            let run = run(&runs);
            run.share();
            run.finish(Reply::failed("failed", "no"));
            finished.push(run);
        }
        let found = |run: &Arc<Run>| runs.find(&run.call().0).is_some();
        assert!(!found(&finished[0]) && !found(&finished[1]), "the oldest go first");
        assert!(found(&finished[2]) && found(&running));
        tokio::time::advance(KEPT_FOR).await;
        assert!(!found(&finished[2]));
        assert!(found(&running));
    }

    #[tokio::test]
    async fn stopping_all_reaches_what_is_not_over() {
        let runs = Runs::default();
        let run = run(&runs);
        runs.stop_all(Ended::Cancelled);
        run.stopped().await;
        assert_eq!(run.cancel().why(), Some(Ended::Cancelled));
    }
}
