//! When each sensor is due: on the monotonic clock, without drift, and what was missed is counted.

use std::time::Duration;

use tokio::time::Instant;

/// When the sensors of a task are due. All begin together, so those of equal intervals stay together.
#[derive(Debug)]
pub struct Schedule {
    begun: Instant,
    sensors: Vec<Turn>,
}

/// One sensor's turns: 0 at the beginning, then one an interval.
#[derive(Debug)]
struct Turn {
    interval: Duration,
    /// The number of the next one.
    next: u128,
}

/// Who is due, by position.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Positions of the sensors.
    pub sensors: Vec<usize>,
    /// How many turns of these and others went by without anybody asking.
    pub missed: u64,
}

impl Turn {
    fn at(&self, begun: Instant) -> Instant {
        let nanos = self.interval.as_nanos().saturating_mul(self.next);
        begun + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Schedule {
    /// The first turn of all is now.
    pub fn new(intervals: impl IntoIterator<Item = Duration>) -> Schedule {
        let turn =
            |interval: Duration| Turn { interval: interval.max(Duration::from_nanos(1)), next: 0 };
        Schedule { begun: Instant::now(), sensors: intervals.into_iter().map(turn).collect() }
    }

    /// The moment of the next turn; `None` without sensors.
    pub fn next(&self) -> Option<Instant> {
        self.sensors.iter().map(|turn| turn.at(self.begun)).min()
    }

    /// The moment of one sensor's next turn.
    pub fn next_of(&self, position: usize) -> Option<Instant> {
        self.sensors.get(position).map(|turn| turn.at(self.begun))
    }

    /// Whose turn it is. A sensor whose turn went by more than once is due once.
    pub fn take(&mut self, now: Instant) -> Due {
        let passed = now.saturating_duration_since(self.begun).as_nanos();
        let mut due = Due::default();
        for (position, turn) in self.sensors.iter_mut().enumerate() {
            let reached = passed / turn.interval.as_nanos();
            if reached < turn.next {
                continue;
            }
            let missed = u64::try_from(reached - turn.next).unwrap_or(u64::MAX);
            due.missed = due.missed.saturating_add(missed);
            due.sensors.push(position);
            turn.next = reached + 1;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_come_without_drift_and_missed_ones_are_counted_not_bunched() {
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new([second, 3 * second]);
        let begun = Instant::now();
        assert_eq!(schedule.take(begun).sensors, [0, 1]);
        assert_eq!(schedule.next(), Some(begun + second));
        // Late by a bit: the next turn is not late for it.
        let late = schedule.take(begun + Duration::from_millis(1_900));
        assert_eq!(late, Due { sensors: vec![0], missed: 0 });
        assert_eq!(schedule.next(), Some(begun + 2 * second));
        // At 7.5 s sensor 0 has missed 2..=6 and sensor 1 has missed 3.
        let after = schedule.take(begun + Duration::from_millis(7_500));
        assert_eq!(after, Due { sensors: vec![0, 1], missed: 5 + 1 });
        assert_eq!(schedule.take(begun + Duration::from_millis(7_600)), Due::default());
        assert_eq!(Schedule::new([]).next(), None);
    }
}
