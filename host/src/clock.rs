//! The steady clock that readings bear, and how the wall clock stands to it.
//!
//! A Raspberry Pi before the 5 has no clock of its own: it boots with a time of the past, which jumps when a time server
//! is reached. Intervals, delays and the order of readings must not jump with it.

use std::time::Duration;

use tokio::time::Instant;

use crate::reading::{Timestamp, WallClock};

/// A smaller difference is not taken for a step: time servers' programs slew what is less than about this.
const STEP: Duration = Duration::from_millis(100);
/// Between two looks at the steady clock the wall clock is read; a longer pause between them makes the pair useless.
const PAUSE: Duration = Duration::from_millis(5);

/// The wall clock as it stood when the process began, going on without jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    begun: Instant,
    wall_at_begin: Timestamp,
}

impl Clock {
    /// Begins to count.
    pub fn start() -> Clock {
        Clock { begun: Instant::now(), wall_at_begin: Timestamp::now() }
    }

    /// The steady time now.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The steady time of a moment.
    pub fn at(&self, moment: Instant) -> Timestamp {
        self.wall_at_begin.plus(moment.saturating_duration_since(self.begun))
    }

    /// How the wall clock stands, when it stood like `known` before.
    pub fn look(&self, known: WallClock) -> WallClock {
        let before = Instant::now();
        let wall = Timestamp::now();
        let is_pair = before.elapsed() < PAUSE;
        let ahead = ahead(wall, self.at(before));
        let stepped = ahead.abs_diff(known.ahead_nanos) >= STEP.as_nanos() as u64;
        let ahead_nanos = if stepped && is_pair { ahead } else { known.ahead_nanos };
        WallClock { ahead_nanos, synchronized: is_synchronized() }
    }
}

fn ahead(wall: Timestamp, steady: Timestamp) -> i64 {
    let difference = i128::from(wall.nanos) - i128::from(steady.nanos);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

/// Whether the kernel takes its clock for right: a time server set it, and the error that grows since then is below
/// 16 s (`adjtimex(2)`, `TIME_ERROR`).
#[expect(unsafe_code, reason = "no crate in the tree has a safe adjtimex")]
fn is_synchronized() -> bool {
    // SAFETY: all of `timex` are integers, for which zero is a value; with `modes` 0 the call only writes into it.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut timex)
    };
    (0..libc::TIME_ERROR).contains(&state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn steady_time_goes_on_and_a_wall_clock_that_differs_is_a_step() {
        let clock = Clock::start();
        let begun = clock.now();
        let known = clock.look(WallClock::default());
        assert_eq!(known.ahead_nanos, 0);
        // The paused clock of this test goes on by an hour, the wall clock does not: as if it were set back.
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(clock.now().since(begun), Duration::from_secs(3_600));
        let stepped = clock.look(known);
        let off = stepped.ahead_nanos + 3_600_000_000_000;
        assert!(off.abs() < 60_000_000_000, "{off} ns from an hour back");
        // What is known already is no further step.
        assert_eq!(clock.look(stepped).ahead_nanos, stepped.ahead_nanos);
    }
}
