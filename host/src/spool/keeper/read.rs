//! Reads what is in memory, and what is on the disk behind it.

use std::sync::PoisonError;
use std::time::Duration;

use super::Keeper;
use crate::spool::Stored;
use crate::spool::queue::{DAMAGED, READ_BYTES, Reading};

/// What a message takes on the disk at most, as a rule: so much is read for each that is asked for.
const USUAL_BYTES: usize = 256;

impl Keeper {
    /// The first messages after a number. It may wait for the disk.
    pub(in crate::spool) fn read(&self, after: u64, most: usize, now: Duration) -> Vec<Stored> {
        let mut after = after;
        loop {
            let reading = self.queue().read(after, most);
            let upto = match reading {
                Reading::Memory(messages) => return messages,
                Reading::Disk(upto) => upto,
            };
            match self.read_disk(after, most, upto, now) {
                Some(messages) if messages.is_empty() => after = upto,
                Some(messages) => return messages,
                // Not now.
                None => return Vec::new(),
            }
        }
    }

    /// What is here without waiting for the disk; nothing when it must be asked.
    pub(in crate::spool) fn read_memory(&self, after: u64, most: usize) -> Option<Vec<Stored>> {
        match self.queue().read(after, most) {
            Reading::Memory(messages) => Some(messages),
            Reading::Disk(_) => None,
        }
    }

    /// Of the chunks from a number on; empty: up to the other number there is nothing.
    fn read_disk(&self, after: u64, most: usize, upto: u64, now: Duration) -> Option<Vec<Stored>> {
        let mut next = after.saturating_add(1);
        let bytes = most.saturating_mul(USUAL_BYTES).min(READ_BYTES) as u64;
        while next <= upto {
            let slot = self.store.read().unwrap_or_else(PoisonError::into_inner);
            let found = slot.as_deref()?.chunks(next, bytes);
            drop(slot);
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    let _queue = self.queue();
                    self.wake.notify_one();
                    return None;
                }
            };
            let Some(last) = found.last() else { return Some(Vec::new()) };
            next = next.max(last.end.saturating_add(1));
            let mut messages = Vec::new();
            let mut bytes = 0;
            let mut queue = self.queue();
            for found in &found {
                let Some(chunk) = &found.chunk else {
                    tracing::error!(
                        from = found.key,
                        to = found.end.min(upto),
                        "A part of the spool is damaged and lost."
                    );
                    queue.lose(found.key, found.end.min(upto), DAMAGED, now);
                    continue;
                };
                for stored in &chunk.messages {
                    if stored.seq <= after || stored.seq > upto || !queue.is_kept(stored.seq) {
                        continue;
                    }
                    bytes += stored.json.len();
                    if messages.len() == most || (bytes > READ_BYTES && !messages.is_empty()) {
                        return Some(messages);
                    }
                    messages.push(stored.clone());
                }
            }
            if !messages.is_empty() {
                return Some(messages);
            }
        }
        Some(Vec::new())
    }
}
