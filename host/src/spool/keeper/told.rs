//! What the log is told of messages that go.

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

/// In one line, however many notices there are of it.
pub(super) fn say_what_was_given_up(added: &[Added]) {
    let given_up = added.iter().filter_map(|added| match &added.event {
        Event::Dropped { from, to, reason } if reason.as_ref() != UNCLEAN => {
            Some((*from, *to, reason))
        }
        _ => None,
    });
    let (mut first, mut last) = (u64::MAX, 0);
    for (from, to, _) in given_up.clone() {
        (first, last) = (first.min(from), last.max(to));
    }
    let notices = given_up.clone().count();
    if let Some((_, _, reason)) = given_up.clone().next() {
        tracing::error!(from = first, to = last, notices, %reason, "Messages were given up.");
    }
}
