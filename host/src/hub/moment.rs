//! Times as devices tell them: right, or by a clock that was not set and is corrected later.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::clocks::{Clocks, Place};
use crate::reading::Timestamp;
use crate::uplink::wire::UNSYNCHRONIZED;

/// A device's time, and whether it can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// As far as it could be put right.
    pub(super) time: Timestamp,
    /// As it was told.
    pub(super) told: Timestamp,
    /// Where the message that told it stands.
    pub(super) place: Place,
    /// Whether the device marked it.
    pub(super) is_marked: bool,
    is_right: bool,
}

/// Whether a message's `clock` says that its time may be wrong.
pub(super) fn is_unset(clock: Option<&str>) -> bool {
    clock == Some(UNSYNCHRONIZED)
}

/// The clock by which a time was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    RightClock,
    /// Its times are marked.
    UnsetClock,
}

impl By {
    /// What a message's `clock` says.
    pub(super) fn of(clock: Option<&str>) -> By {
        if is_unset(clock) { By::UnsetClock } else { By::RightClock }
    }
}

impl Moment {
    /// A time that can be believed.
    pub(super) fn right(time: Timestamp, place: Place) -> Moment {
        Moment { time, told: time, place, is_marked: false, is_right: true }
    }

    /// The time of a message, with its `clock`.
    pub(super) fn of_message(
        time: &str,
        clock: Option<&str>,
        place: Place,
        clocks: &Clocks,
    ) -> Moment {
        // Every message's time was read and printed by us when it came in.
        Moment::told(time.parse().unwrap_or_default(), By::of(clock), place, clocks)
    }

    pub(super) fn told(time: Timestamp, by: By, place: Place, clocks: &Clocks) -> Moment {
        let is_marked = by == By::UnsetClock;
        let mut moment = Moment { is_marked, is_right: !is_marked, ..Moment::right(time, place) };
        moment.put_right(clocks);
        moment
    }

    /// Corrects it by what is known now. Gives whether that changed it.
    pub(super) fn put_right(&mut self, clocks: &Clocks) -> bool {
        if !self.is_marked {
            return false;
        }
        let Some(correction) = clocks.correction(self.place) else { return false };
        let after = (self.told.shifted(correction.nanos), correction.is_right);
        let is_changed = after != (self.time, self.is_right);
        (self.time, self.is_right) = after;
        is_changed
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Moment", 2)?;
        fields.serialize_field("time", &self.time.to_string())?;
        if !self.is_right {
            fields.serialize_field("clock", UNSYNCHRONIZED)?;
        }
        fields.end()
    }
}

/// Its time alone.
pub(super) fn print<S: Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&moment.time)
}
