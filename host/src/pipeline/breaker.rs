//! When a plugin that trapped is started again: at once, after a wait, or after a long rest. Pure; it knows only times.

use std::collections::VecDeque;
use std::time::Duration;

use crate::reading::Timestamp;

/// A plugin that traps again and again is started again after 1, 2, 4 … seconds, at most after this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// How many traps within which time are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapLimit {
    /// So many.
    pub traps: u32,
    /// Within this.
    pub window: Duration,
}

impl Default for TrapLimit {
    /// A plugin that traps at one bad reading an hour goes on for years; one that traps at every start, with waits of
    /// at most a minute between them, rests within four minutes.
    fn default() -> Self {
        TrapLimit { traps: 10, window: Duration::from_secs(600) }
    }
}

/// The traps of one stage, as far as they decide when it is started again.
#[derive(Debug)]
pub(super) struct Breaker {
    limit: TrapLimit,
    /// When the plugin trapped, the oldest first; at most as many as the limit.
    traps: VecDeque<Timestamp>,
    in_a_row: u32,
    /// When the last rest ended: within a window of that, one trap is enough for the next.
    rested_until: Option<Timestamp>,
}

/// What becomes of a stage whose plugin trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is started again at this time.
    Start(Timestamp),
    /// It trapped too often: it rests until this time.
    Rest(Timestamp),
}

impl Breaker {
    pub(super) fn new(limit: TrapLimit) -> Breaker {
        Breaker { limit, traps: VecDeque::new(), in_a_row: 0, rested_until: None }
    }

    /// The plugin trapped.
    pub(super) fn trapped(&mut self, now: Timestamp) -> Next {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let limit = usize::try_from(self.limit.traps.max(1)).unwrap_or(usize::MAX);
        self.traps.push_back(now);
        while self.traps.len() > limit {
            self.traps.pop_front();
        }
        let lately = |since: &Timestamp| now.since(*since) <= self.limit.window;
        let is_full = self.traps.len() == limit;
        let too_many = is_full && self.traps.front().is_some_and(lately);
        if too_many || self.rested_until.as_ref().is_some_and(lately) {
            self.traps.clear();
            let until = now.plus(self.limit.window);
            self.rested_until = Some(until);
            return Next::Rest(until);
        }
        Next::Start(now.plus(self.backoff()))
    }

    /// After the first trap there is no wait: one bad reading must not cost the next one.
    fn backoff(&self) -> Duration {
        match self.in_a_row {
            0 | 1 => Duration::ZERO,
            more => Duration::from_secs(1 << (more - 2).min(16)).min(LONGEST_BACKOFF),
        }
    }

    /// The plugin did what it is for.
    pub(super) fn returned(&mut self) {
        self.in_a_row = 0;
    }

    /// Traps since the plugin last returned well.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    pub(super) fn limit(&self) -> TrapLimit {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_epoch(Duration::from_secs(1_700_000_000 + secs))
    }

    fn breaker(traps: u32, window_secs: u64) -> Breaker {
        Breaker::new(TrapLimit { traps, window: Duration::from_secs(window_secs) })
    }

    /// Traps whenever it may, from second 0 on; when the starts and the rests were.
    fn always_trapping(breaker: &mut Breaker, until: u64) -> (Vec<u64>, Vec<u64>) {
        let (mut now, mut starts, mut rests) = (0, Vec::new(), Vec::new());
        while now < until {
            starts.push(now);
            let (Next::Start(next) | Next::Rest(next)) = match breaker.trapped(at(now)) {
                next @ Next::Start(_) => next,
                next @ Next::Rest(_) => {
                    rests.push(now);
                    next
                }
            };
            now = next.since(at(0)).as_secs();
        }
        (starts, rests)
    }

    #[test]
    fn waits_double_up_to_a_minute() {
        let (starts, rests) = always_trapping(&mut breaker(1_000, 86_400), 300);
        assert_eq!(starts, [0, 0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
        assert!(rests.is_empty(), "{rests:?}");
    }

    #[test]
    fn one_that_always_traps_rests_for_a_window_and_is_then_tried_once_a_window() {
        let (starts, rests) = always_trapping(&mut Breaker::new(TrapLimit::default()), 3_600);
        assert_eq!(starts, [0, 0, 1, 3, 7, 15, 31, 63, 123, 183, 783, 1_383, 1_983, 2_583, 3_183]);
        assert_eq!(rests, starts[9..]);
    }

    #[test]
    fn one_that_works_between_its_traps_rests_when_they_are_too_many_within_the_window() {
        let mut breaker = breaker(3, 100);
        // Rare ones never add up.
        for secs in (0..1_000).step_by(60) {
            assert_eq!(breaker.trapped(at(secs)), Next::Start(at(secs)));
            breaker.returned();
        }
        // 900 and 960 were the last two.
        assert_eq!(breaker.trapped(at(1_010)), Next::Start(at(1_010)));
        breaker.returned();
        assert_eq!(breaker.trapped(at(1_060)), Next::Rest(at(1_160)));
    }

    #[test]
    fn a_trap_within_a_window_of_the_rest_is_the_next_rest_and_a_later_one_is_not() {
        let mut breaker = breaker(2, 100);
        breaker.trapped(at(0));
        assert_eq!(breaker.trapped(at(0)), Next::Rest(at(100)));
        breaker.returned();
        assert_eq!(breaker.trapped(at(200)), Next::Rest(at(300)));
        breaker.returned();
        assert_eq!(breaker.trapped(at(401)), Next::Start(at(401)));
    }

    #[test]
    fn a_limit_of_one_rests_at_once_and_the_end_of_time_does_not_overflow() {
        assert_eq!(breaker(1, 10).trapped(at(5)), Next::Rest(at(15)));
        let end = Timestamp { nanos: u64::MAX };
        let mut breaker = breaker(2, 10);
        assert_eq!(breaker.trapped(end), Next::Start(end));
        assert_eq!(breaker.trapped(end), Next::Rest(end));
    }

    #[test]
    fn no_more_times_are_kept_than_the_limit_asks_for() {
        let mut breaker = breaker(3, 1);
        for secs in (0..10_000).step_by(10) {
            breaker.trapped(at(secs));
            assert!(breaker.traps.len() <= 3);
        }
    }
}
