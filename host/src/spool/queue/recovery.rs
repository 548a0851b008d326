//! What a disk that fails and comes back means for the queue; pure.
//!
//! A process that starts while its disk fails has a stream of its own. When the disk comes back with another stream's messages,
//! these must not be lost, and a place has one stream: the disk is left alone until the next start, an ERROR says so, and each
//! health message does. That is rare, and a restart when the log asks for it delivers all; two streams at once would be in
//! every line of this module and of the uplinks.

use std::time::Duration;

use super::{Closing, DAMAGED, DISK_FAILED, DiskState, Meta, Queue};

/// When a disk that failed is tried again. The first time at once: some errors pass. Then after so long, and twice as long each
/// time: each try opens the file, which may read all of it.
const RETRY: Duration = Duration::from_secs(60);
/// But no later than this.
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// So few numbers that are reserved, and not given, are a reason to warn.
const NEARLY_OUT: u64 = 1 << 16;
/// After so many tries what is on a disk that cannot even be read is given up, so that the rest goes on.
const PATIENCE: u32 = 4;

impl Queue {
    /// The disk failed. Gives whether it did so twice in a row.
    pub(in crate::spool) fn failed(&mut self, why: &str, now: Duration) -> bool {
        self.in_flight = 0;
        self.disk.tries += 1;
        let is_first = self.disk.tries == 1;
        let pause = RETRY.saturating_mul(1 << self.disk.tries.saturating_sub(2).min(8));
        let retry = if is_first { now } else { now.saturating_add(pause.min(LONGEST_RETRY)) };
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
        if !self.is_own(found.stream) {
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
            Some(meta) if self.is_own(meta.stream) => {
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

    /// Whether the numbers that a later process knows of are nearly used up while the disk fails: told once.
    pub(in crate::spool) fn runs_out(&mut self) -> bool {
        let is_out = matches!(self.disk.state, DiskState::Failed { .. })
            // A stream that was never on the disk is not gone on with.
            && self.disk.reserved > 0
            && self.last.saturating_add(NEARLY_OUT) > self.disk.reserved;
        is_out && !std::mem::replace(&mut self.disk.is_running_out, true)
    }

    /// A file was put out of the way.
    pub(in crate::spool) fn was_set_aside(&mut self) {
        self.set_aside += 1;
    }
}
