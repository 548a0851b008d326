//! How long to wait before the next try: exponential, with full jitter.

use std::time::Duration;

/// The first wait is at most this.
const BASE: Duration = Duration::from_secs(1);
/// No wait is longer than this.
const CAP: Duration = Duration::from_secs(60);
/// A connection that held this long was a good one: the next wait is short again.
pub(super) const STABLE: Duration = Duration::from_secs(60);

/// Counts the tries since the last good connection.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pub(super) attempt: u32,
}

impl Backoff {
    /// A random wait from nothing to the doubled bound of this attempt, so that a thousand devices that lost the same
    /// hub do not come back together.
    pub(super) fn next(&mut self) -> Duration {
        let bound = CAP.min(BASE.saturating_mul(1 << self.attempt.min(16)));
        self.attempt = self.attempt.saturating_add(1);
        // Whole milliseconds: nobody reads more of it in a log.
        Duration::from_millis(fastrand::u64(
            ..=u64::try_from(bound.as_millis()).unwrap_or(u64::MAX),
        ))
    }

    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_spread() {
        let mut longest = [Duration::ZERO; 10];
        for _ in 0..2_000 {
            let mut backoff = Backoff::default();
            for longest in &mut longest {
                *longest = backoff.next().max(*longest);
            }
        }
        for (attempt, longest) in longest.into_iter().enumerate() {
            let bound = CAP.min(BASE * 2_u32.pow(attempt as u32));
            assert!(
                longest <= bound && longest > bound.mul_f64(0.9),
                "{attempt}: {longest:?} of {bound:?}"
            );
        }
    }
}
