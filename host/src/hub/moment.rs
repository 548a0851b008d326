//! Times as devices tell them: right, or by a clock that was not set and is corrected later.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::reading::Timestamp;
use crate::uplink::wire::UNSYNCHRONIZED;

/// A device's time, and whether it can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) time: Timestamp,
    trust: Trust,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    Right,
    /// By a clock that was not set: the device will say by how much it is off.
    Open,
    /// By a clock that was not set, of a process that is gone: nobody will say.
    Lost,
}

/// A device's clock was set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ClockStep {
    /// By so many nanoseconds, forward.
    pub(super) nanos: i64,
    /// Whether it is right from now on.
    pub(super) synchronized: bool,
}

/// A clock is not set by more than two centuries. A device that says so is not turned away: what waits behind this in
/// its spool would never come.
const LONGEST_STEP_SECS: f64 = 200.0 * 365.25 * 86_400.0;

impl ClockStep {
    /// Both steps in one, where nothing came between them; `None` when the first has put an end to the waiting.
    pub(super) fn and(self, next: ClockStep) -> Option<ClockStep> {
        let nanos = self.nanos.saturating_add(next.nanos);
        (!self.synchronized).then_some(ClockStep { nanos, ..next })
    }

    pub(super) fn new(step_secs: f64, synchronized: bool) -> ClockStep {
        let step_secs = step_secs.clamp(-LONGEST_STEP_SECS, LONGEST_STEP_SECS);
        // Told in milliseconds.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is bounded, and what is no number becomes 0"
        )]
        let millis = (step_secs * 1_000.0).round() as i64;
        ClockStep { nanos: millis.saturating_mul(1_000_000), synchronized }
    }
}

/// Whether a message's `clock` says that its time may be wrong.
pub(super) fn is_unset(clock: Option<&str>) -> bool {
    clock == Some(UNSYNCHRONIZED)
}

impl Moment {
    /// A time that can be believed.
    pub(super) fn right(time: Timestamp) -> Moment {
        Moment { time, trust: Trust::Right }
    }

    /// The time of a message, with its `clock`.
    pub(super) fn of_message(time: &str, clock: Option<&str>) -> Moment {
        // Every message's time was read and printed by us when it came in.
        let time = time.parse().unwrap_or_default();
        Moment { time, trust: if is_unset(clock) { Trust::Open } else { Trust::Right } }
    }

    /// Corrects it, if it waits for that. Gives whether it did.
    pub(super) fn correct(&mut self, step: ClockStep) -> bool {
        let is_open = self.trust == Trust::Open;
        if is_open {
            self.time = self.time.shifted(step.nanos);
            self.trust = if step.synchronized { Trust::Right } else { Trust::Open };
        }
        is_open
    }

    /// Its process is gone.
    pub(super) fn leave(&mut self) {
        if self.trust == Trust::Open {
            self.trust = Trust::Lost;
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Moment", 2)?;
        fields.serialize_field("time", &self.time.to_string())?;
        if self.trust != Trust::Right {
            fields.serialize_field("clock", UNSYNCHRONIZED)?;
        }
        fields.end()
    }
}

/// Its time alone.
pub(super) fn print<S: Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&moment.time)
}
