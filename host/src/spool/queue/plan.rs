//! What the disk must do and when, and what its answers mean for the queue; pure.

use std::time::Duration;

use uuid::Uuid;

use super::meta::VERSION;
use super::{Closing, DiskState, GIVEN_UP, Meta, Queue, TAIL};
use crate::spool::WhenFull;
use crate::spool::store::{Change, Commit, Committed, Room};

/// Numbers are reserved for so long at once. A disk that fails while the process runs, and is seen again at the next start,
/// must not let numbers be given twice; cards that turn read-only are found after days. Numbers cost nothing.
const RESERVED_FOR: u64 = 7 * 86_400;
/// At least so many: a first start does not know yet how fast they go, and its disk may fail in the first hour.
const LEAST_RESERVED: u64 = 1 << 20;
/// At most so many, whatever the rate of a short burst was.
const MOST_RESERVED: u64 = 1 << 26;
/// A rate is known after so long.
const RATE_AFTER: Duration = Duration::from_secs(60);
/// Memory is written when this part of it waits for the disk.
const EARLY: usize = 4;
/// One commit writes at most this part of the memory, so that the rest can give way while it lasts.
const AT_ONCE: usize = 2;
/// What a chunk holds beside its messages' bytes: less than this part of them.
const PACKING: u64 = 16;
/// Room that a commit needs beside its messages.
const SLACK: u64 = 128 << 10;
/// This part of the store's file is not for messages: a commit writes beside what it replaces, and some pages are not full.
const UNUSABLE: u64 = 4;
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
    /// What is kept up to here is on the disk alone.
    pub(in crate::spool) on_disk: u64,
    /// One reading in so many is kept, if there is something to thin out.
    pub(in crate::spool) thin: Option<u32>,
    /// Chunks up to here are thinned out already.
    pub(in crate::spool) thinned: u64,
}

/// A commit, and what it means.
#[derive(Debug)]
pub(in crate::spool) struct Plan {
    pub(in crate::spool) commit: Commit,
    pub(in crate::spool) upto: u64,
    reserved: u64,
    acked: Vec<u64>,
    gone_changes: u64,
    stream: Uuid,
    is_last: bool,
}

impl Queue {
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
        if self.disk.closing == Closing::Wanted {
            return Some(Duration::ZERO);
        }
        if self.disk.must_commit || self.must_reserve(self.block(None)) {
            return Some(Duration::ZERO);
        }
        let moved = self.disk.moved.filter(|_| self.disk.bytes > 0);
        let moved = moved.map(|since| since.saturating_add(self.settings.commit_interval));
        [self.messages_due(done), moved].into_iter().flatten().min()
    }

    /// When messages must be written.
    fn messages_due(&self, done: u64) -> Option<Duration> {
        let oldest = self.memory.get(self.first_after(done))?.at;
        let is_now = self.disk.closing == Closing::Wanted
            || self.urgent > done
            || self.unwritten_bytes >= self.settings.memory_bytes / EARLY
            // Numbers are gone when those who declare it are on the disk.
            || self.gone_changes != self.gone_written;
        let due = oldest.saturating_add(self.settings.commit_interval);
        Some(if is_now { Duration::ZERO } else { due })
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

    /// What must leave the disk before the next commit, with so much room on it as far as that is known. Nothing: it is too
    /// full for that, and holds too little that could go.
    pub(in crate::spool) fn surplus(&self, room: Option<Room>, now: Duration) -> Option<Surplus> {
        let more = self.unwritten_bytes as u64 + self.unwritten_bytes as u64 / PACKING;
        let mut most = self.settings.most_bytes;
        if let Some(Room { free, file }) = room
            && free < file.max(2 * more + SLACK)
        {
            // The file cannot grow: what it can hold is all that there is.
            most = most.min((file - file / UNUSABLE).saturating_sub(2 * SLACK));
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
            on_disk: self.trimmed,
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

    /// What is to be written: all messages that are not on the disk yet, as far as one commit goes, when it is time for
    /// some. Else only numbers and places: an uplink that is a second behind is no reason to write.
    pub(in crate::spool) fn plan(&mut self, change: Change, now: Duration) -> Plan {
        let done = self.written.max(self.passed());
        let writes = self.messages_due(done).is_some_and(|due| due <= now);
        let mut bytes = 0;
        let mut upto = if writes { self.last } else { done };
        let mut messages = Vec::new();
        for held in self.memory.range(self.first_after(done)..).take_while(|_| writes) {
            bytes += held.stored.json.len();
            if bytes > self.settings.memory_bytes / AT_ONCE && !messages.is_empty() {
                upto = held.stored.seq - 1;
                break;
            }
            messages.push(held.stored.clone());
        }
        if self.disk.closing == Closing::Wanted && !writes {
            upto = self.last;
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
        let stream = self.stream;
        Plan { commit, upto, reserved: meta.reserved, acked, gone_changes, stream, is_last }
    }

    /// A plan was carried out. Gives whether the disk had failed before.
    pub(in crate::spool) fn committed(
        &mut self,
        plan: &Plan,
        done: Committed,
        now: Duration,
    ) -> bool {
        self.in_flight = 0;
        self.commits += 1;
        self.written = self.written.max(plan.upto);
        self.disk.reserved = plan.reserved;
        self.disk.bytes = done.bytes;
        self.disk.must_commit = false;
        self.left = (plan.stream != self.stream).then_some(plan.stream);
        self.gone_written = plan.gone_changes;
        let has_moved = self.places.iter().zip(&plan.acked).any(|(at, acked)| at.acked > *acked);
        self.disk.moved = (has_moved || done.has_delivered).then_some(now);
        self.count_unwritten();
        self.trim(self.settings.memory_bytes / TAIL);
        if plan.is_last {
            self.disk.closing = Closing::Closed;
        }
        let had_failed = self.disk.tries > 0;
        self.disk.tries = 0;
        self.disk.is_running_out = false;
        had_failed
    }

    pub(super) fn count_unwritten(&mut self) {
        let unwritten = self.memory.range(self.first_after(self.written)..);
        self.unwritten_bytes = unwritten.map(|held| held.stored.json.len()).sum();
    }

    /// The next commit is the last one.
    pub(in crate::spool) fn close(&mut self) {
        if self.disk.closing == Closing::Open {
            self.disk.closing = Closing::Wanted;
        }
        match &mut self.disk.state {
            // It is left alone.
            DiskState::Failed { retry: Duration::MAX, .. } => self.disk.closing = Closing::Closed,
            DiskState::Failed { retry, .. } => *retry = Duration::ZERO,
            _ => {}
        }
    }

    pub(in crate::spool) fn is_closed(&self) -> bool {
        self.disk.closing == Closing::Closed || self.disk.state == DiskState::None
    }
}
