//! What is done between calls: used sandboxes are destroyed and new ones prepared, on a thread of its own.
//!
//! What a call's outcome depends on happens in the call: where a view was written, its processes are killed and waited for
//! there. The rest takes time and changes no outcome: the end of a sandbox that only read, the removal of cgroups, the
//! closing of what it held. The end of a process and the clone of this one, which every start needs, make all of our
//! threads slower for some milliseconds; so both wait until the answer is out.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use cofferdam_contract::Limits;
use cofferdam_policy::Secrets;

use crate::{pool::Access, ready::Ready, workspace::Session};

/// Jobs that may wait. Preparing for one order serves all of its kind, and who finds no room for a used sandbox destroys
/// it himself, so a few are enough.
const WAITING: usize = 24;

/// How long after a call its sandbox is destroyed and the next one started: a call's outcome is on the disk and its answer written some
/// two milliseconds after it.
const SETTLE: Duration = Duration::from_millis(8);

/// The thread. Dropping the last handle waits until all that was handed over is done.
#[derive(Debug)]
pub(crate) struct Worker {
    /// `None` only while it is dropped.
    jobs: Option<mpsc::SyncSender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What kind of sandbox to prepare.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) session: Arc<Session>,
    pub(crate) access: Access,
    pub(crate) limits: Limits,
    pub(crate) secrets: Arc<Secrets>,
}

#[derive(Debug)]
enum Job {
    Destroy(Box<Ready>),
    Prepare(Order),
}

impl Worker {
    /// Starts the thread; `prepare` carries out orders.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(prepare: impl Fn(&Order) + Send + 'static) -> io::Result<Self> {
        let (jobs, received) = mpsc::sync_channel(WAITING);
        let work = move || {
            while let Ok(job) = received.recv() {
                thread::sleep(SETTLE);
                // What has come meanwhile belongs to the same call, as a rule.
                let mut next = Some(job);
                while let Some(job) = next {
                    match job {
                        Job::Destroy(ready) => drop(ready),
                        Job::Prepare(order) => prepare(&order),
                    }
                    next = received.try_recv().ok();
                }
            }
        };
        let thread = thread::Builder::new().name("worker".into()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Orders prepared sandboxes. Nothing is lost when there is no room for the order: the next call starts its own.
    pub(crate) fn prepare(&self, order: Order) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.try_send(Job::Prepare(order));
        }
    }

    /// Has a sandbox destroyed between calls.
    pub(crate) fn destroy(&self, ready: Ready) {
        if let Some(jobs) = &self.jobs {
            // What finds no room comes back, and is destroyed here.
            let _ = jobs.try_send(Job::Destroy(Box::new(ready)));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Orders a sandbox like the one that a call has used when it is dropped: at the call's end, not at its beginning.
#[derive(Debug)]
pub(crate) struct Refill {
    pub(crate) worker: Arc<Worker>,
    pub(crate) order: Order,
}

impl Drop for Refill {
    fn drop(&mut self) {
        self.worker.prepare(self.order.clone());
    }
}
