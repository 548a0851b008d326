//! How a device's clock was set, and what that means for the times of its messages. Pure.
//!
//! A device that begins with a clock that was not set marks its times. When the clock is set it tells by how much, and
//! that holds for all messages of the same process before. Messages may come in any order, so what a time becomes is
//! worked out from all that is known, and again whenever more is known.

use serde::{Deserialize, Serialize};

/// Most starts and steps of a device's clock that are remembered: a year of one start a day.
const MARKS: usize = 512;
/// A clock is not set by more than two centuries. A device that says so is not turned away: what waits behind this in
/// its spool would never come.
const LONGEST_STEP_SECS: f64 = 200.0 * 365.25 * 86_400.0;

/// Where a message stands among those of its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    /// The number of its stream; 0 for messages without numbers.
    pub(super) stream: u32,
    /// Its number there, or how many messages came before it.
    pub(super) at: u64,
}

impl Place {
    /// Whether it is known to belong before the other: of different streams nothing is known.
    pub(super) fn is_before(self, other: Place) -> bool {
        self.stream == other.stream && self.at < other.at
    }
}

/// A device's clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClockStep {
    /// By so many nanoseconds, forward.
    nanos: i64,
    /// Whether it is right from now on.
    synchronized: bool,
}

impl ClockStep {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Event {
    /// A process began: what comes later says nothing of what was before.
    Start,
    Step(ClockStep),
}

/// What becomes of a time that is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Correction {
    pub(super) nanos: i64,
    /// Whether it is right then.
    pub(super) is_right: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Mark {
    place: Place,
    event: Event,
    /// For all times between the mark before and this one.
    #[serde(skip)]
    before: Correction,
}

/// The starts and steps of one device, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(super) struct Clocks {
    marks: Vec<Mark>,
    /// Up to here some are forgotten.
    forgotten: Place,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    marks: Vec<Mark>,
    forgotten: Place,
}

impl From<Saved> for Clocks {
    fn from(Saved { marks, forgotten }: Saved) -> Clocks {
        let mut clocks = Clocks { marks, forgotten };
        clocks.add_up();
        clocks
    }
}

impl From<Clocks> for Saved {
    fn from(Clocks { marks, forgotten }: Clocks) -> Saved {
        Saved { marks, forgotten }
    }
}

impl Clocks {
    /// A process began here.
    pub(super) fn start(&mut self, place: Place) {
        self.put(place, Event::Start);
    }

    /// The clock was set here.
    pub(super) fn step(&mut self, place: Place, step: ClockStep) {
        self.put(place, Event::Step(step));
    }

    fn put(&mut self, place: Place, event: Event) {
        let position = self.marks.partition_point(|mark| mark.place < place);
        self.marks.insert(position, Mark { place, event, before: Correction::default() });
        if self.marks.len() > MARKS {
            self.forgotten = self.forgotten.max(self.marks.remove(0).place);
        }
        self.add_up();
    }

    fn add_up(&mut self) {
        let mut after: Option<Mark> = None;
        for mark in self.marks.iter_mut().rev() {
            let later = after.filter(|after| after.place.stream == mark.place.stream);
            let later = later.map_or(Correction::default(), |after| after.before);
            mark.before = match mark.event {
                Event::Start => Correction::default(),
                Event::Step(ClockStep { nanos, synchronized: true }) => {
                    Correction { nanos, is_right: true }
                }
                Event::Step(ClockStep { nanos, synchronized: false }) => {
                    Correction { nanos: nanos.saturating_add(later.nanos), ..later }
                }
            };
            after = Some(*mark);
        }
    }

    /// What becomes of the marked time of a message; `None` when that is not known any more.
    pub(super) fn correction(&self, place: Place) -> Option<Correction> {
        if place <= self.forgotten && self.forgotten != Place::default() {
            return None;
        }
        let next = self.marks.partition_point(|mark| mark.place <= place);
        let next = self.marks.get(next).filter(|mark| mark.place.stream == place.stream);
        Some(next.map_or(Correction::default(), |mark| mark.before))
    }

    /// By how much marked times of a stream are put right: each amount once.
    pub(super) fn amounts(&self, stream: u32) -> Vec<i64> {
        let of_it = self.marks.iter().filter(|mark| mark.place.stream == stream);
        let mut amounts: Vec<i64> = of_it.map(|mark| mark.before.nanos).chain([0]).collect();
        amounts.sort_unstable();
        amounts.dedup();
        amounts
    }
}
