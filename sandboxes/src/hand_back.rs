//! The last step of a call in this room: what its sandbox wrote goes through the gate, as its own permit says.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cofferdam_contract::Ended;

use crate::{
    cancel::Cancel,
    open::Closed,
    workspace::{HandedBack, Order, Origin, Patience, Session, SessionError},
};

/// How long a call waits for others that hand back to the same workspace. One takes milliseconds, a large one seconds.
const PATIENCE: Duration = Duration::from_secs(30);

impl Session {
    /// Hands back what a closed sandbox wrote. What may come back, and what is protected, is in the permit that it was
    /// opened with; `call` names the call in what is held.
    ///
    /// # Errors
    /// [`SessionError`], as [`Session::hand_back`] says.
    pub fn hand_back_closed(&self, closed: &Closed, call: &str, cancel: &Cancel) -> Result<HandedBack, SessionError> {
        let Some(changeset) = &closed.changeset else { return Ok(HandedBack::default()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin = Origin { call: call.to_owned(), at_ms: now.as_millis().try_into().unwrap_or(u64::MAX) };
        let cancelled = || cancel.why() == Some(Ended::Cancelled);
        let patience = Patience { until: Instant::now() + PATIENCE, cancelled: &cancelled };
        let permit = &closed.permit;
        let order = Order {
            changeset,
            allowed: &permit.plan().hand_back,
            write: permit.write(),
            protect: permit.protect(),
            masks: &closed.masks,
            stamp: &closed.stamp,
            origin: &origin,
        };
        self.hand_back(&order, &patience)
    }
}
