//! The last step of a call in this room: what its sandbox wrote goes through the gate, as its own permit says.

use std::time::{Duration, Instant};

use cofferdam_contract::{Ended, Work};
use cofferdam_policy::Permit;

use crate::{
    cancel::Cancel,
    open::Closed,
    workspace::{Admission, Bond, HandedBack, Keep, KeepError, Kept, Order, Origin, Patience, Session, SessionError},
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
        let bond = match closed.permit.plan().work {
            Work::WriteFiles => Bond::OneAct,
            Work::ReadFiles | Work::ReadRepository | Work::Commit | Work::Execute | Work::Session(_) => Bond::None,
        };
        let origin = Origin { bond, ..Origin::of_call(call) };
        let cancelled = || cancel.why() == Some(Ended::Cancelled);
        let patience = Patience { until: Instant::now() + PATIENCE, cancelled: &cancelled };
        let order = Order {
            changeset,
            admission: Admission::of(&closed.permit),
            masks: &closed.masks,
            on_top: closed.on_top,
            stamp: &closed.stamp,
            seen: None,
            masked_then: None,
            masks_then: None,
            origin: &origin,
        };
        self.hand_back(&order, &patience)
    }

    /// Brings back what `call` wrote and did not keep, as far as the permit's plan asks for it; `by` names the call that
    /// does so.
    ///
    /// # Errors
    /// [`KeepError`], as [`Session::keep`] says.
    pub fn keep_left(&self, call: &str, permit: &Permit, by: &str, cancel: &Cancel) -> Result<Kept, KeepError> {
        let cancelled = || cancel.why() == Some(Ended::Cancelled);
        let patience = Patience { until: Instant::now() + PATIENCE, cancelled: &cancelled };
        let keep =
            Keep { call, admission: Admission::of(permit), secrets: permit.secrets(), origin: &Origin::of_call(by) };
        self.keep(&keep, &patience)
    }
}
