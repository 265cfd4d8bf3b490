//! How many sandboxes run at one time.
//!
//! File operations and executions have slots of their own: four long test runs must not stop an agent from reading.
//! Who finds no slot waits in a bounded line, and for a bounded time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls that may wait for each kind of slot.
const WAITING: usize = 64;

/// How long a call waits; less than the 45 s within which it must answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Room for sandboxes.
#[derive(Debug)]
pub struct Slots {
    files: Lane,
    executions: Lane,
}

/// What a sandbox is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Reading or writing files: short.
    Files,
    /// Executing programs: as long as its limits allow.
    Execution,
}

/// A place for one sandbox. Dropping it frees the place.
#[derive(Debug)]
pub struct Slot {
    _place: OwnedSemaphorePermit,
}

/// No place was to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {places} places for sandboxes are taken and others wait; try again in a few seconds")]
pub struct Busy {
    /// How many places there are.
    places: usize,
}

#[derive(Debug)]
struct Lane {
    places: usize,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Slots {
    /// Room for this machine: two sandboxes a processor, at least four, of each kind.
    #[must_use]
    pub fn for_processors(processors: usize) -> Self {
        let places = (2 * processors).max(4);
        Self { files: Lane::new(places), executions: Lane::new(places) }
    }

    /// Takes a place, waiting for it if need be.
    ///
    /// # Errors
    /// [`Busy`] when too many wait already, or none became free in 30 s.
    pub async fn take(&self, what: Use) -> Result<Slot, Busy> {
        match what {
            Use::Files => self.files.take().await,
            Use::Execution => self.executions.take().await,
        }
    }
}

impl Lane {
    fn new(places: usize) -> Self {
        Self { places, free: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0) }
    }

    async fn take(&self) -> Result<Slot, Busy> {
        let busy = Busy { places: self.places };
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Slot { _place: place });
        }
        let _waiting = Waiting::join(&self.waiting).ok_or(busy)?;
        match tokio::time::timeout(PATIENCE, Arc::clone(&self.free).acquire_owned()).await {
            Ok(place) => Ok(Slot { _place: place.expect("the semaphore is never closed") }),
            Err(_elapsed) => Err(busy),
        }
    }
}

/// One place in the line of those who wait; dropping it leaves the line, also when the wait is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize) -> Option<Self> {
        let joined =
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < WAITING).then_some(count + 1));
        joined.ok().map(|_| Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn executions_do_not_take_the_place_of_file_operations() {
        let slots = Slots::for_processors(1);
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(slots.take(Use::Execution).await.unwrap());
        }
        assert_eq!(slots.take(Use::Execution).await.unwrap_err(), Busy { places: 4 });
        slots.take(Use::Files).await.unwrap();
        taken.pop();
        slots.take(Use::Execution).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_bounded_and_those_who_leave_free_their_place() {
        let slots = Arc::new(Slots::for_processors(1));
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(slots.take(Use::Files).await.unwrap());
        }
        let mut line = tokio::task::JoinSet::new();
        for _ in 0..WAITING {
            let slots = Arc::clone(&slots);
            line.spawn(async move { slots.take(Use::Files).await });
        }
        tokio::time::sleep(Duration::from_millis(1)).await; // until all stand in line
        let start = tokio::time::Instant::now();
        assert!(slots.take(Use::Files).await.is_err());
        assert_eq!(start.elapsed(), Duration::ZERO, "a full line answers at once");
        line.shutdown().await;
        drop(taken.pop());
        assert!(slots.take(Use::Files).await.is_ok());
    }
}
