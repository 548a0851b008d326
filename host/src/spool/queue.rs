//! The numbers, the messages in memory and the places of all uplinks. Pure: time is passed in, and what is to happen on the disk
//! is a plan (`queue/plan.rs`, `queue/recovery.rs`).

mod gone;
mod meta;
mod plan;
mod recovery;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{Added, SpoolSettings, SpoolState, Stored};
use crate::ranges::Ranges;
use crate::uplink::wire::{Body, Event, Message};

pub(super) use meta::Meta;
pub(super) use plan::Surplus;

/// What is full gives up this part of its capacity at once, so that it says so once and not with every message.
pub(super) const GIVEN_UP: usize = 16;
/// This part of the memory may hold messages that are on the disk already, for uplinks that are a little behind.
const TAIL: usize = 8;
/// Most bytes of JSON that are read at once: two frames of the largest messages.
pub(super) const READ_BYTES: usize = 256 << 10;

/// Reasons of `dropped` messages.
pub(super) const FULL: &str = "spool-full";
pub(super) const TOO_OLD: &str = "too-old";
pub(super) const DAMAGED: &str = "damaged";
pub(super) const DISK_FAILED: &str = "disk-failed";
pub(super) const UNCLEAN: &str = "unclean-stop";

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    settings: SpoolSettings,
    pub(super) stream: Uuid,
    /// The one that was left for it, until the disk knows of that.
    left: Option<Uuid>,
    /// The number given last.
    last: u64,
    /// What is kept above `trimmed`.
    memory: VecDeque<Held>,
    /// Bytes of these, and of those that are not on the disk.
    bytes: usize,
    unwritten_bytes: usize,
    /// What is kept up to here is on the disk alone.
    trimmed: u64,
    /// What is kept up to here is on the disk.
    written: u64,
    /// What is kept up to here is being written.
    in_flight: u64,
    /// The highest number that is to be written at once.
    urgent: u64,
    places: Vec<At>,
    /// Numbers that are given and kept no more; and how often that changed.
    gone: Ranges,
    gone_changes: u64,
    gone_written: u64,
    /// Messages of the queue's own accord, until somebody is told.
    pending: Vec<Added>,
    pub(super) disk: Disk,
    begun: Begun,
    dropped: u64,
    set_aside: u64,
    commits: u64,
    /// Chunks on the disk up to here were thinned out.
    thinned: u64,
    /// When the disk's writer looks again by itself.
    pub(super) waiting: Option<Duration>,
}

/// How it stood when the process began.
#[derive(Clone, Copy, Debug, Default)]
struct Begun {
    last: u64,
    /// Seconds that the spool lived before.
    lived: u64,
    /// How many numbers were reserved at once.
    block: u64,
    unclean_starts: u64,
    unused: u64,
}

/// One uplink's place.
#[derive(Clone, Debug)]
struct At {
    name: String,
    acked: u64,
}

#[derive(Debug)]
struct Held {
    stored: Stored,
    at: Duration,
    /// The numbers that it declares.
    notice: Option<(u64, u64)>,
}

/// What the queue knows of its disk.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) state: DiskState,
    /// Numbers up to here may be sent: after a crash none of them is given again.
    reserved: u64,
    /// Bytes of messages on it.
    pub(super) bytes: u64,
    /// Since when a place differs from what the disk knows.
    moved: Option<Duration>,
    /// Chunks are to be changed.
    pub(super) must_commit: bool,
    /// How often it failed without a commit between.
    tries: u32,
    closing: Closing,
    /// It was told that its numbers run out.
    is_running_out: bool,
}

/// Whether there is a disk.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum DiskState {
    /// There is none.
    None,
    /// And it works.
    Working,
    /// Not now.
    Failed {
        /// Why.
        why: Arc<str>,
        /// When to try again.
        retry: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    Open,
    Wanted,
    Closed,
}

/// Where what was asked for is.
#[derive(Debug, PartialEq)]
pub(super) enum Reading {
    /// Here.
    Memory(Vec<Stored>),
    /// On the disk, up to this number.
    Disk(u64),
}

impl Queue {
    /// A queue with a new stream.
    pub(super) fn new(settings: SpoolSettings, places: &[&str], state: DiskState) -> Queue {
        let places = places.iter().map(|&name| At { name: name.to_owned(), acked: 0 }).collect();
        let disk = Disk {
            state,
            reserved: 0,
            bytes: 0,
            moved: None,
            must_commit: true,
            tries: 0,
            closing: Closing::Open,
            is_running_out: false,
        };
        Queue {
            settings,
            stream: Uuid::new_v4(),
            left: None,
            last: 0,
            memory: VecDeque::new(),
            bytes: 0,
            unwritten_bytes: 0,
            trimmed: 0,
            written: 0,
            in_flight: 0,
            urgent: 0,
            places,
            gone: Ranges::default(),
            gone_changes: 0,
            gone_written: 0,
            pending: Vec::new(),
            disk,
            begun: Begun::default(),
            dropped: 0,
            set_aside: 0,
            commits: 0,
            thinned: 0,
            waiting: None,
        }
    }

    /// As at the beginning, but for what is known of the disk's state.
    pub(super) fn anew(&self, places: &[&str]) -> Queue {
        let mut queue = Queue::new(self.settings.clone(), places, self.disk.state.clone());
        queue.disk.tries = self.disk.tries;
        queue.set_aside = self.set_aside;
        queue
    }

    /// Takes another stream in the place of this one.
    pub(super) fn leave_stream(&mut self, stream: Uuid) {
        if self.stream == stream {
            self.stream = Uuid::new_v4();
            self.left.get_or_insert(stream);
            self.disk.must_commit = true;
        }
    }

    /// Whether a stream on the disk is this one, or the one before, as long as the disk does not know that it was left.
    fn is_own(&self, stream: Uuid) -> bool {
        stream == self.stream || self.left == Some(stream)
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.places.iter().position(|place| place.name == name)
    }

    pub(super) fn acked(&self, place: usize) -> u64 {
        self.places.get(place).map_or(self.last, |place| place.acked)
    }

    /// What all places have passed.
    fn passed(&self) -> u64 {
        self.places.iter().map(|place| place.acked).min().unwrap_or(self.last)
    }

    /// Messages that are kept above a number.
    pub(super) fn queued(&self, acked: u64) -> u64 {
        (self.last - acked).saturating_sub(self.gone.count_in(acked.saturating_add(1), self.last))
    }

    /// Numbers messages and keeps them. Gives those that were added of its own accord since the last call, and by this one.
    pub(super) fn append(&mut self, bodies: Vec<Body>, now: Duration) -> Vec<Added> {
        for body in bodies {
            self.number(body, None, now);
            if self.bytes > self.settings.memory_bytes {
                self.make_room(now);
            }
        }
        if self.disk.state != DiskState::Working {
            self.give_up_old(now);
        }
        self.forget_passed();
        std::mem::take(&mut self.pending)
    }

    fn number(&mut self, body: Body, notice: Option<(u64, u64)>, now: Duration) {
        self.last += 1;
        if matches!(body, Body::Event(Event::Alarm { .. } | Event::Result { .. })) {
            self.urgent = self.last;
        }
        let json = Message { seq: Some(self.last), late: false, body }.to_json().into();
        let stored = Stored { seq: self.last, json };
        self.bytes += stored.json.len();
        self.unwritten_bytes += stored.json.len();
        self.memory.push_back(Held { stored, at: now, notice });
    }

    /// Messages that are on the disk as well leave the memory, down to so many bytes.
    fn trim(&mut self, goal: usize) {
        while self.bytes > goal
            && let Some(held) = self.memory.front()
            && held.stored.seq <= self.written
        {
            self.trimmed = held.stored.seq;
            self.bytes -= held.stored.json.len();
            self.memory.pop_front();
        }
    }

    fn forget_passed(&mut self) {
        let passed = self.passed();
        while let Some(held) = self.memory.front()
            && held.stored.seq <= passed
        {
            let bytes = held.stored.json.len();
            self.bytes -= bytes;
            if held.stored.seq > self.written {
                self.unwritten_bytes -= bytes;
            }
            self.memory.pop_front();
        }
        self.gone.forget_upto(passed);
    }

    fn first_after(&self, number: u64) -> usize {
        self.memory.partition_point(|held| held.stored.seq <= number)
    }

    /// A place has passed all up to a number. Gives whether the disk's writer must hear of it.
    pub(super) fn ack(&mut self, place: usize, upto: u64, now: Duration) -> bool {
        let upto = upto.min(self.last);
        let Some(at) = self.places.get_mut(place).filter(|at| at.acked < upto) else {
            return false;
        };
        at.acked = upto;
        self.forget_passed();
        let is_first = self.disk.moved.is_none();
        self.disk.moved.get_or_insert(now);
        is_first && self.disk.bytes > 0
    }

    /// The first messages after a number, when they are here.
    pub(super) fn read(&self, after: u64, most: usize) -> Reading {
        if after < self.trimmed {
            return Reading::Disk(self.trimmed);
        }
        let limit = self.limit();
        let mut bytes = 0;
        let later = self.memory.range(self.first_after(after)..).map(|held| &held.stored);
        // What was given up on the disk may be here as well.
        let kept = later.filter(|stored| !self.gone.contains(stored.seq));
        let fitting = kept.take(most).take_while(|stored| {
            let is_first = bytes == 0;
            bytes += stored.json.len();
            stored.seq <= limit && (is_first || bytes <= READ_BYTES)
        });
        Reading::Memory(fitting.cloned().collect())
    }

    /// Whether a message that was read from the disk may be sent.
    pub(super) fn is_kept(&self, seq: u64) -> bool {
        seq <= self.limit() && !self.gone.contains(seq)
    }

    /// The highest number that may be sent. Without a disk all may: waiting for it would stop everything.
    fn limit(&self) -> u64 {
        if self.disk.state == DiskState::Working { self.disk.reserved } else { u64::MAX }
    }

    /// How many messages were given up since the process began.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn state(&self) -> SpoolState {
        let memory_only = match &self.disk.state {
            DiskState::None => Some("it has no folder".into()),
            DiskState::Working => None,
            DiskState::Failed { why, .. } => Some(why.clone()),
        };
        SpoolState {
            last: self.last,
            queued: self.queued(self.passed()),
            dropped: self.dropped,
            memory_only,
            bytes_on_disk: self.disk.bytes,
            bytes_in_memory: self.bytes as u64,
            unclean_starts: self.begun.unclean_starts,
            set_aside: self.set_aside,
        }
    }

    /// All messages in memory.
    #[cfg(test)]
    pub(super) fn held(&self) -> impl Iterator<Item = (u64, Arc<str>)> + '_ {
        self.memory.iter().map(|held| (held.stored.seq, held.stored.json.clone()))
    }

    /// How often something was written.
    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// What is kept up to this number is on the disk.
    #[cfg(test)]
    pub(super) fn written(&self) -> u64 {
        self.written
    }
}
