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
/// How often such a pair is tried for at once.
const TRIES: usize = 5;

/// The latest time at which a clock begins, in 2262: beyond it there are times that wrap around elsewhere.
const LATEST_BEGIN: Timestamp = Timestamp { nanos: i64::MAX as u64 };

/// The wall clock as it stood when the process began, going on without jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    begun: Instant,
    at_begin: Timestamp,
}

impl Clock {
    /// Begins to count, from the time that the wall clock shows.
    pub fn start() -> Clock {
        Clock::start_after(None)
    }

    /// Goes on from the last time that an earlier process saw, by as much as the wall clock has gone on from where it stood
    /// then: so plugins see no jump when the clock was set while that process ran, and a Pi that boots in the past does not
    /// take them back there. A time that no clock of ours can have shown is left out of account.
    pub fn start_after(last_seen: Option<(Timestamp, i64)>) -> Clock {
        let wall = Timestamp::now();
        let at_begin = match last_seen {
            Some((last, ahead_nanos)) if last <= LATEST_BEGIN => {
                last.plus(wall.since(last.shifted(ahead_nanos))).min(LATEST_BEGIN)
            }
            _ => wall,
        };
        Clock { begun: Instant::now(), at_begin }
    }

    /// The steady time now.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The steady time of a moment.
    pub fn at(&self, moment: Instant) -> Timestamp {
        self.at_begin.plus(moment.saturating_duration_since(self.begun))
    }

    /// How the wall clock stands, when it stood like `known` before.
    pub fn look(&self, known: WallClock) -> WallClock {
        let stepped = |ahead: &i64| ahead.abs_diff(known.ahead_nanos) >= STEP.as_nanos() as u64;
        let ahead = (0..TRIES).find_map(|_| self.ahead());
        let ahead_nanos = ahead.filter(stepped).unwrap_or(known.ahead_nanos);
        WallClock { ahead_nanos, synchronized: is_synchronized() }
    }

    /// How far the wall clock is ahead, when nothing came between the looks at both.
    fn ahead(&self) -> Option<i64> {
        let before = Instant::now();
        let wall = Timestamp::now();
        (before.elapsed() < PAUSE).then(|| ahead(wall, self.at(before)))
    }
}

fn ahead(wall: Timestamp, steady: Timestamp) -> i64 {
    let difference = i128::from(wall.nanos) - i128::from(steady.nanos);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

/// Whether the kernel takes its clock for right: a time server set it, and the error that grows since then is below
/// 16 s (`adjtimex(2)`, `TIME_ERROR`).
#[expect(unsafe_code, reason = "no crate in the tree has a safe adjtimex")]
pub fn is_synchronized() -> bool {
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

    #[tokio::test]
    async fn steady_time_does_not_go_back_behind_what_an_earlier_process_saw() {
        let year = Duration::from_secs(365 * 86_400);
        let last_seen = Timestamp::now().plus(year);
        let clock = Clock::start_after(Some((last_seen, 0)));
        assert!((last_seen..last_seen.plus(STEP * 100)).contains(&clock.now()));
        // What leaves bears the wall clock's time all the same.
        let ahead = clock.look(WallClock::default()).ahead_nanos;
        let off = clock.now().shifted(ahead).nanos.abs_diff(Timestamp::now().nanos);
        assert!(off < 10_000_000_000, "{off} ns");
        // One that was seen in the past changes nothing.
        let clock = Clock::start_after(Some((Timestamp { nanos: 1 }, 0)));
        assert_eq!(clock.look(WallClock::default()).ahead_nanos, 0);
    }

    #[tokio::test]
    async fn a_clock_that_was_set_in_the_process_before_makes_no_jump() {
        let year = Duration::from_secs(365 * 86_400);
        let saved = Duration::from_secs(60);
        // A minute ago it was saved, by a process that began a year in the past and was put right meanwhile.
        let last_seen =
            Timestamp { nanos: Timestamp::now().nanos - (year + saved).as_nanos() as u64 };
        let clock = Clock::start_after(Some((last_seen, year.as_nanos() as i64)));
        let off = clock.now().nanos.abs_diff(last_seen.plus(saved).nanos);
        assert!(off < 10_000_000_000, "{off} ns");
        let ahead = clock.look(WallClock::default()).ahead_nanos;
        assert!(ahead.abs_diff(year.as_nanos() as i64) < 10_000_000_000, "{ahead}");
    }

    #[test]
    fn a_time_at_the_end_of_time_does_not_stop_the_clock() {
        for nanos in [u64::MAX, u64::MAX - 1, LATEST_BEGIN.nanos + 1] {
            let clock = Clock::start_after(Some((Timestamp { nanos }, 0)));
            assert!(clock.now() < LATEST_BEGIN, "{nanos}");
        }
        let clock = Clock::start_after(Some((LATEST_BEGIN, 0)));
        let later = clock.at(Instant::now() + Duration::from_secs(3_600));
        assert!(later > LATEST_BEGIN);
        assert!(clock.look(WallClock::default()).ahead_nanos < 0);
    }
}
