//! What the disk must do and when, and what its answers mean for the queue; pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Closing, DAMAGED, DISK_FAILED, DiskState, GIVEN_UP, Queue, TAIL, UNCLEAN};
use crate::spool::WhenFull;
use crate::spool::ranges::Ranges;
use crate::spool::store::{Change, Commit, Known, StoreError};

/// Numbers are reserved for so long at once. A disk that fails while the process runs, and is seen again at the next start,
/// must not let numbers be given twice; cards that turn read-only are found after days. Numbers cost nothing.
const RESERVED_FOR: u64 = 7 * 86_400;
/// At least so many: a first start does not know yet how fast they go.
const LEAST_RESERVED: u64 = 1_000;
/// At most so many, whatever the rate of a short burst was.
const MOST_RESERVED: u64 = 1 << 24;
/// A rate is known after so long.
const RATE_AFTER: Duration = Duration::from_secs(60);
/// Memory is written when this part of it waits for the disk.
const EARLY: usize = 4;
/// One commit writes at most this part of the memory, so that the rest can give way while it lasts.
const AT_ONCE: usize = 2;
/// How often a disk that failed is tried again. The first time at once: some errors pass.
pub(in crate::spool) const RETRY: Duration = Duration::from_secs(60);
/// After so many tries what is on a disk that cannot even be read is given up, so that the rest goes on.
const PATIENCE: u32 = 4;

/// What the spool must know when it starts again. Its form is in the file: a change needs a new version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::spool) struct Meta {
    version: u32,
    pub(in crate::spool) stream: Uuid,
    /// All numbers up to here are on the disk, delivered, or gone.
    pub(in crate::spool) committed: u64,
    /// Numbers up to here may have been given.
    reserved: u64,
    /// How long the spool was at work, in seconds: the clock of all ages, since the wall clock may be wrong.
    lived: u64,
    /// How many numbers were reserved at once.
    block: u64,
    unclean_starts: u64,
    /// Chunks up to here were thinned out.
    thinned: u64,
    places: Vec<(String, u64)>,
}

const VERSION: u32 = 1;

/// Room that a commit needs beside its messages.
const SLACK: u64 = 128 << 10;
/// A full disk gives up so much at once, or a part of its capacity if that is less: each time, a notice is sent.
const STEP: u64 = 256 << 10;
/// Most ranges of numbers that are gone between those that are kept; beyond, the oldest go instead of being thinned out.
const MOST_RANGES: usize = 10_000;

/// What must leave the disk.
#[derive(Clone, Copy, Debug)]
pub(in crate::spool) struct Surplus {
    /// So many bytes.
    pub(in crate::spool) bytes: u64,
    /// All chunks from before this second of the spool's life.
    pub(in crate::spool) older_than: u64,
    /// Chunks up to here go by themselves.
    pub(in crate::spool) delivered: u64,
    /// One reading in so many is kept, if there is something to thin out.
    pub(in crate::spool) thin: Option<u32>,
    /// Chunks up to here are thinned out already.
    pub(in crate::spool) thinned: u64,
}

impl Meta {
    /// What a store knows; nothing in a new one.
    pub(in crate::spool) fn of(known: &Known) -> Result<Option<(Meta, Ranges)>, StoreError> {
        let Some(meta) = &known.meta else { return Ok(None) };
        let damaged = |error: serde_json::Error| StoreError::Damaged(error.to_string());
        let meta: Meta = serde_json::from_slice(meta).map_err(damaged)?;
        if meta.version != VERSION {
            return Err(StoreError::Damaged(format!("its version is {}", meta.version)));
        }
        let gone =
            known.gone.as_deref().map(serde_json::from_slice).transpose().map_err(damaged)?;
        Ok(Some((meta, gone.unwrap_or_default())))
    }
}

/// A commit, and what it means.
#[derive(Debug)]
pub(in crate::spool) struct Plan {
    pub(in crate::spool) commit: Commit,
    pub(in crate::spool) upto: u64,
    reserved: u64,
    acked: Vec<u64>,
    gone_changes: u64,
    is_last: bool,
}

impl Queue {
    /// Goes on where an earlier process stopped. It is the first thing that a queue does.
    pub(in crate::spool) fn resume(&mut self, meta: Meta, gone: Ranges, bytes: u64, now: Duration) {
        self.stream = meta.stream;
        self.last = meta.reserved.max(meta.committed);
        self.written = self.last;
        self.trimmed = if bytes > 0 { meta.committed } else { 0 };
        self.gone = gone;
        for place in &mut self.places {
            // One that is new has nothing to do with what others have not delivered yet: it begins here.
            let known = meta.places.iter().find(|(name, _)| *name == place.name);
            place.acked = known.map_or(self.last, |&(_, acked)| acked.min(self.last));
        }
        self.disk.bytes = bytes;
        self.disk.reserved = self.last;
        self.begun.lived = meta.lived;
        self.begun.block = meta.block;
        self.begun.unclean_starts = meta.unclean_starts;
        self.begun.last = self.last;
        self.thinned = meta.thinned;
        if meta.reserved > meta.committed {
            self.begun.unclean_starts += 1;
            self.begun.unused = meta.reserved - meta.committed;
            let mut rest = Ranges::default();
            rest.insert(meta.committed + 1, meta.reserved);
            self.gone.insert(meta.committed + 1, meta.reserved);
            self.declare(&rest, UNCLEAN, now);
        }
        self.forget_passed();
    }

    /// Numbers that an unclean stop left unused.
    pub(in crate::spool) fn unused(&self) -> u64 {
        self.begun.unused
    }

    /// When the disk has something to do next. Nothing: not before something changes.
    pub(in crate::spool) fn due(&self) -> Option<Duration> {
        match &self.disk.state {
            DiskState::None => None,
            _ if self.disk.closing == Closing::Closed => None,
            DiskState::Failed { retry, .. } => Some(*retry),
            DiskState::Working => self.commit_due(),
        }
    }

    fn commit_due(&self) -> Option<Duration> {
        let done = self.written.max(self.passed());
        let is_now = self.disk.closing == Closing::Wanted
            || self.disk.must_commit
            || self.urgent > done
            || self.unwritten_bytes >= self.settings.memory_bytes / EARLY
            || self.must_reserve(self.block(None));
        if is_now {
            return Some(Duration::ZERO);
        }
        let oldest = self.memory.get(self.first_after(done)).map(|held| held.at);
        let moved = self.disk.moved.filter(|_| self.disk.bytes > 0);
        let interval = self.settings.commit_interval;
        [oldest, moved].into_iter().flatten().map(|since| since.saturating_add(interval)).min()
    }

    /// Half of a block is used.
    fn must_reserve(&self, block: u64) -> bool {
        self.last.saturating_add(block / 2) > self.disk.reserved
    }

    /// How many numbers are reserved at once: by the rate so far, or as before.
    fn block(&self, now: Option<Duration>) -> u64 {
        let mut block = self.begun.block;
        if let Some(now) = now.filter(|now| *now >= RATE_AFTER) {
            let given = self.last - self.begun.last;
            block = given.saturating_mul(RESERVED_FOR) / now.as_secs().max(1);
        }
        block.clamp(LEAST_RESERVED, MOST_RESERVED)
    }

    /// Seconds of the spool's life.
    fn lived(&self, now: Duration) -> u64 {
        self.begun.lived.saturating_add(now.as_secs())
    }

    /// What must leave the disk before the next commit, with so many bytes of it free. Nothing: it is too full for that, and
    /// holds too little that could go.
    pub(in crate::spool) fn surplus(&self, free: u64, now: Duration) -> Option<Surplus> {
        let more = self.unwritten_bytes as u64;
        let mut most = self.settings.most_bytes;
        if free < 2 * more + SLACK {
            most = most.min(self.disk.bytes);
            if more > most {
                return None;
            }
        }
        let bytes = (self.disk.bytes + more).saturating_sub(most);
        let step = STEP.min(most / GIVEN_UP as u64);
        // What is young and whole is the larger part: half of the room at least is for that.
        let young = (self.last - self.thinned.min(self.last)).saturating_mul(self.mean_bytes());
        let thin = match self.settings.when_full {
            WhenFull::ThinOut { keep_one_in }
                if young > most / 2 && self.gone.len() < MOST_RANGES =>
            {
                Some(keep_one_in)
            }
            _ => None,
        };
        Some(Surplus {
            bytes: if bytes > 0 { bytes + step } else { 0 },
            older_than: self.lived(now).saturating_sub(self.settings.longest.as_secs()),
            delivered: self.passed(),
            thin,
            thinned: self.thinned,
        })
    }

    fn mean_bytes(&self) -> u64 {
        (self.bytes / self.memory.len().max(1)).max(64) as u64
    }

    /// Chunks up to a number were thinned out.
    pub(in crate::spool) fn was_thinned(&mut self, upto: u64) {
        self.thinned = upto;
    }

    /// All that is not on the disk yet, as far as one commit goes.
    pub(in crate::spool) fn plan(&mut self, change: Change, now: Duration) -> Plan {
        let mut bytes = 0;
        let mut upto = self.last;
        let mut messages = Vec::new();
        for held in self.memory.range(self.first_after(self.written.max(self.passed()))..) {
            bytes += held.stored.json.len();
            if bytes > self.settings.memory_bytes / AT_ONCE && !messages.is_empty() {
                upto = held.stored.seq - 1;
                break;
            }
            messages.push(held.stored.clone());
        }
        let is_last = self.disk.closing == Closing::Wanted && upto == self.last;
        let block = self.block(Some(now));
        let reserved = if is_last {
            self.last
        } else if self.must_reserve(block) {
            self.last.saturating_add(block)
        } else {
            self.disk.reserved
        };
        let lived = self.lived(now);
        let meta = Meta {
            version: VERSION,
            stream: self.stream,
            committed: upto,
            reserved: reserved.max(upto),
            lived,
            block,
            unclean_starts: self.begun.unclean_starts,
            thinned: self.thinned,
            places: self.places.iter().map(|at| (at.name.clone(), at.acked)).collect(),
        };
        let has_changed = self.gone_changes != self.gone_written;
        // Neither of them holds anything that serde_json refuses.
        let gone = has_changed.then(|| serde_json::to_vec(&self.gone).unwrap_or_default());
        let text = serde_json::to_vec(&meta).unwrap_or_default();
        let delivered = self.passed();
        let commit = Commit { messages, stamp: lived, delivered, change, meta: text, gone };
        self.in_flight = upto;
        self.begun.block = block;
        let acked = self.places.iter().map(|at| at.acked).collect();
        let gone_changes = self.gone_changes;
        Plan { commit, upto, reserved: meta.reserved, acked, gone_changes, is_last }
    }

    /// A plan was carried out; so many bytes are on the disk now.
    /// Gives whether the disk had failed before.
    pub(in crate::spool) fn committed(&mut self, plan: &Plan, bytes: u64, now: Duration) -> bool {
        self.in_flight = 0;
        self.written = self.written.max(plan.upto);
        self.disk.reserved = plan.reserved;
        self.disk.bytes = bytes;
        self.disk.must_commit = false;
        self.gone_written = plan.gone_changes;
        let has_moved = self.places.iter().zip(&plan.acked).any(|(at, acked)| at.acked > *acked);
        self.disk.moved = has_moved.then_some(now);
        self.count_unwritten();
        self.trim(self.settings.memory_bytes / TAIL);
        if plan.is_last {
            self.disk.closing = Closing::Closed;
        }
        let had_failed = self.disk.tries > 0;
        self.disk.tries = 0;
        had_failed
    }

    fn count_unwritten(&mut self) {
        let unwritten = self.memory.range(self.first_after(self.written)..);
        self.unwritten_bytes = unwritten.map(|held| held.stored.json.len()).sum();
    }

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

    /// The next commit is the last one.
    pub(in crate::spool) fn close(&mut self) {
        if self.disk.closing == Closing::Open {
            self.disk.closing = Closing::Wanted;
        }
        if let DiskState::Failed { retry, .. } = &mut self.disk.state {
            *retry = Duration::ZERO;
        }
    }

    pub(in crate::spool) fn is_closed(&self) -> bool {
        self.disk.closing == Closing::Closed || self.disk.state == DiskState::None
    }
}
