//! What the log is told of messages that go.

use std::time::Duration;

use crate::spool::Added;
use crate::spool::queue::{Meta, Queue, UNCLEAN};
use crate::uplink::wire::Event;

/// Says what is given up with uplinks that are not in the file any more, and which one goes on under another name.
pub(super) fn tell_of_places(queue: &Queue, meta: &Meta) {
    if let Some((uplink, before)) = queue.heir(meta) {
        tracing::info!(%uplink, "This uplink goes on where `{before}` was, which is not in the file any more.");
    }
    for (uplink, queued) in queue.forsaken(meta) {
        if queued > 0 {
            tracing::warn!(%uplink, queued, "There is no uplink of this name any more: what waited for it alone is given up.");
        }
    }
}

/// What the log was told of messages that were given up: at once, then once a minute, however often some are.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// How many it was told of.
    told: u64,
    /// Why the last ones were.
    reason: Option<Box<str>>,
    next: Duration,
}

/// From one such line to the next.
const EVERY: Duration = Duration::from_secs(60);

impl GivenUp {
    /// So many were given up since the process began, the last of them with these notices.
    pub(super) fn tell(&mut self, dropped: u64, added: &[Added], now: Duration) {
        let mut reasons = added.iter().filter_map(|added| match &added.event {
            Event::Dropped { reason, .. } if reason.as_ref() != UNCLEAN => Some(reason),
            _ => None,
        });
        if let Some(reason) = reasons.next_back() {
            self.reason = Some(reason.as_ref().into());
        }
        let messages = dropped.saturating_sub(self.told);
        if messages == 0 || now < self.next {
            return;
        }
        tracing::error!(messages, reason = self.reason.as_deref(), "Messages were given up.");
        (self.told, self.next) = (dropped, now + EVERY);
    }
}
