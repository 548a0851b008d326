//! Whether a chip is there, told once a change and not at every flutter. No I/O.

use std::time::Duration;

use tokio::time::Instant;

/// A change that does not last so long is a loose contact, not a change. The kernel searches its buses every 10 s, so
/// it hides shorter ones itself.
const DEBOUNCE: Duration = Duration::from_secs(5);

/// One chip's presence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Presence {
    told: Option<bool>,
    /// Since when it differs from what was told.
    differs: Option<Instant>,
    /// Changes that did not last, since the last one that was told.
    pub(super) flutters: u32,
}

impl Presence {
    /// Gives the presence when it is to be told: at the first look, and when a change has lasted.
    pub(super) fn look(&mut self, present: bool, now: Instant) -> Option<bool> {
        if self.told == Some(present) {
            self.flutters = self.flutters.saturating_add(u32::from(self.differs.take().is_some()));
            return None;
        }
        let since = *self.differs.get_or_insert(now);
        if self.told.is_some() && now.saturating_duration_since(since) < DEBOUNCE {
            return None;
        }
        self.told = Some(present);
        self.differs = None;
        Some(present)
    }

    /// Whether it was told to be gone.
    pub(super) fn is_told_gone(&self) -> bool {
        self.told == Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_when_it_lasts() {
        let begun = Instant::now();
        let at = |secs| begun + Duration::from_secs(secs);
        let mut presence = Presence::default();
        for (secs, present, told) in [
            (0, true, Some(true)),
            (1, false, None),
            (2, true, None),
            (3, false, None),
            (7, false, None),
            (8, false, Some(false)),
            (9, false, None),
            (10, true, None),
            (20, true, Some(true)),
        ] {
            assert_eq!(presence.look(present, at(secs)), told, "{secs} s");
        }
        assert_eq!(presence.flutters, 1);
    }
}
