//! When a condition becomes an alarm and when it clears: on-delay, off-delay, repeat. Knows nothing of plugins.

use serde::{Deserialize, Serialize};

/// The delays of a condition, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// How long it must hold before the alarm becomes active.
    pub on: u64,
    /// How long it must be over before the alarm clears.
    pub off: u64,
    /// How often an active alarm is told again; `u64::MAX` is never.
    pub repeat: u64,
}

/// One condition of one sensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Watch {
    /// It does not hold.
    #[default]
    Normal,
    /// It holds since then, not yet long enough.
    Pending(u64),
    /// The alarm is active; told last at `told`, back to normal since `over`.
    Active {
        /// When it was told last.
        told: u64,
        /// Since when the condition does not hold.
        over: Option<u64>,
    },
}

/// What has to be told, and the time at which it became so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// The alarm became active.
    Active(u64),
    /// The alarm is still active: a repeat.
    StillActive(u64),
    /// The alarm cleared.
    Cleared(u64),
}

impl Watch {
    /// Whether the alarm is active.
    pub fn is_active(self) -> bool {
        matches!(self, Watch::Active { .. })
    }

    /// The condition was looked at: it holds or does not.
    #[inline]
    pub fn observe(&mut self, now: u64, holds: bool, delays: Delays) -> Option<Change> {
        match (&mut *self, holds) {
            (Watch::Normal, false) => return None,
            (Watch::Normal, true) => *self = Watch::Pending(now),
            (Watch::Pending(_), false) => *self = Watch::Normal,
            (Watch::Active { over, .. }, true) => *over = None,
            (Watch::Active { over, .. }, false) => {
                over.get_or_insert(now);
            }
            (Watch::Pending(_), true) => {}
        }
        self.pass_time(now, delays)
    }

    /// The condition holds since a moment in the past.
    pub fn observe_since(&mut self, since: u64) {
        if *self == Watch::Normal {
            *self = Watch::Pending(since);
        }
    }

    /// Nobody watches the condition any more: an alarm that is active clears.
    pub fn forget(&mut self, now: u64) -> Option<Change> {
        match std::mem::take(self) {
            Watch::Active { told, .. } => Some(Change::Cleared(now.max(told))),
            Watch::Normal | Watch::Pending(_) => None,
        }
    }

    /// Time passed without a new look. A change is dated to the moment at which its delay ended.
    #[inline]
    pub fn pass_time(&mut self, now: u64, delays: Delays) -> Option<Change> {
        match *self {
            Watch::Normal => None,
            Watch::Pending(since) => {
                let due = since.checked_add(delays.on).filter(|&due| due <= now)?;
                *self = Watch::Active { told: due, over: None };
                Some(Change::Active(due))
            }
            Watch::Active { told, over: Some(since) } => {
                let Some(due) = since.checked_add(delays.off).filter(|&due| due <= now) else {
                    return self.repeat(now, told, delays);
                };
                *self = Watch::Normal;
                // Not before it was told active: a tick may have told that while this reading was on its way.
                Some(Change::Cleared(due.max(told)))
            }
            Watch::Active { told, over: None } => self.repeat(now, told, delays),
        }
    }

    fn repeat(&mut self, now: u64, told_before: u64, delays: Delays) -> Option<Change> {
        told_before.checked_add(delays.repeat).filter(|&due| due <= now)?;
        if let Watch::Active { told, .. } = self {
            *told = now;
        }
        Some(Change::StillActive(now))
    }
}
