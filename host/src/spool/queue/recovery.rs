//! What a disk that fails and comes back means for the queue; pure.

use std::time::Duration;

use super::{Closing, DAMAGED, DISK_FAILED, DiskState, Meta, Queue};

/// How often a disk that failed is tried again. The first time at once: some errors pass.
pub(in crate::spool) const RETRY: Duration = Duration::from_secs(60);
/// After so many tries what is on a disk that cannot even be read is given up, so that the rest goes on.
const PATIENCE: u32 = 4;

impl Queue {
    /// The disk failed. Gives whether it did so twice in a row.
    pub(in crate::spool) fn failed(&mut self, why: &str, now: Duration) -> bool {
        self.in_flight = 0;
        self.disk.tries += 1;
        let is_first = self.disk.tries == 1;
        let retry = if is_first { now } else { now.saturating_add(RETRY) };
        self.disk.state = DiskState::Failed { why: why.into(), retry };
        if self.disk.closing == Closing::Wanted && !is_first {
            // A stop does not wait for a disk that failed twice.
            self.disk.closing = Closing::Closed;
        }
        self.disk.tries == 2
    }

    /// What is on a disk that failed cannot be read either. After some patience it is given up.
    pub(in crate::spool) fn unreadable(&mut self, now: Duration) {
        if self.disk.tries >= PATIENCE {
            self.lose_disk(DISK_FAILED, now);
        }
    }

    /// Whether the disk is left alone for a while.
    pub(in crate::spool) fn is_waiting(&self, now: Duration) -> bool {
        matches!(self.disk.state, DiskState::Failed { retry, .. } if retry > now)
    }

    /// Whether messages are on the disk alone.
    pub(in crate::spool) fn needs_disk(&self) -> bool {
        self.trimmed > self.passed()
    }

    /// A disk that cannot be written can be read. Gives whether it holds what is looked for.
    pub(in crate::spool) fn readable(&mut self, found: &Meta, now: Duration) -> bool {
        if found.stream != self.stream {
            return false;
        }
        self.lose_after(found, now);
        true
    }

    /// What the disk should hold above this and does not is lost.
    fn lose_after(&mut self, found: &Meta, now: Duration) {
        if found.committed < self.trimmed {
            let on_disk = self.trimmed;
            self.trimmed = found.committed;
            self.lose(found.committed + 1, on_disk, DAMAGED, now);
        }
    }

    /// The disk is not touched again.
    pub(in crate::spool) fn leave_disk(&mut self, why: &str) {
        self.disk.state = DiskState::Failed { why: why.into(), retry: Duration::MAX };
        if self.disk.closing == Closing::Wanted {
            self.disk.closing = Closing::Closed;
        }
    }

    fn lose_disk(&mut self, reason: &str, now: Duration) {
        let on_disk = self.trimmed;
        self.trimmed = 0;
        self.lose(0, on_disk, reason, now);
    }

    /// The disk works again, with this on it. Gives whether the queue can go on with that: what another stream left
    /// undelivered waits for the next start.
    pub(in crate::spool) fn recovered(
        &mut self,
        found: Option<&Meta>,
        bytes: u64,
        now: Duration,
    ) -> bool {
        match found {
            Some(meta) if meta.stream == self.stream => {
                self.lose_after(meta, now);
                self.written = meta.committed.min(self.last);
                self.disk.reserved = meta.reserved;
            }
            Some(_) if bytes > 0 => return false,
            // A new file, or one with nothing in it.
            _ => {
                self.lose_disk(DAMAGED, now);
                self.written = 0;
                self.disk.reserved = 0;
            }
        }
        self.disk.bytes = bytes;
        self.disk.state = DiskState::Working;
        self.disk.must_commit = true;
        self.gone_changes += 1;
        self.count_unwritten();
        true
    }

    /// A file was put out of the way.
    pub(in crate::spool) fn was_set_aside(&mut self) {
        self.set_aside += 1;
    }
}
