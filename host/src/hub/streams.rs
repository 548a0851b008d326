//! The numbers of a device's messages: each is taken once a stream, in whatever order they come; those that never come
//! are counted. Pure.
//!
//! A device that says from which number on it has messages (`from` in `connect`) declares all that will never come, so
//! the ack stands before the first number that neither came nor was declared. One that does not say so sends in order:
//! what it leaves out is a gap at the end of the frame, and acked over. In both cases a number that comes after all is new.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use super::known::Refused;
use crate::ranges::Ranges;

/// Most streams of a device that are remembered. A device begins a new one when its spool is lost.
pub(super) const STREAMS: usize = 16;
/// Most ranges that one stream may be ahead in, and most gaps of it that are remembered.
pub(super) const RANGES: usize = 1_024;

/// What a device may forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Acked {
    /// All up to this number came, or will not come.
    pub(super) seq: u64,
    /// The highest range beyond.
    pub(super) ahead: Option<(u64, u64)>,
}

/// The streams of one device, the one that connected last at the end. A plain device has none: its messages are always new.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Streams {
    known: VecDeque<Stream>,
    /// How many there ever were: each has its number.
    ever: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stream {
    id: Uuid,
    number: u32,
    #[serde(skip)]
    connections: u32,
    /// Whether the device declares what will never come.
    declares: bool,
    /// Whether anything came yet.
    begun: bool,
    /// All up to it are settled: they came, were declared, or are gaps.
    settled: u64,
    /// Beyond it these came or were declared.
    ahead: Ranges,
    /// Numbers below that neither came nor were declared.
    gaps: Ranges,
    /// Gaps that are counted and not remembered, for there are too many.
    forgotten: u64,
    /// Numbers from before this hub knew the stream: nobody misses them here.
    before: Ranges,
    /// Whether something came since the last ack.
    #[serde(skip)]
    heard: bool,
    /// What is stored, for the connections.
    #[serde(skip)]
    acks: Arc<watch::Sender<Acked>>,
}

/// What became of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    New,
    Seen,
}

impl Streams {
    fn of(&mut self, stream: Option<Uuid>) -> Option<&mut Stream> {
        self.known.iter_mut().find(|known| Some(known.id) == stream)
    }

    /// A connection with this stream begins; the device has its numbers from `from` on. Gives whether the stream is new.
    pub(super) fn follow(
        &mut self,
        stream: Option<Uuid>,
        from: Option<u64>,
    ) -> Result<bool, Refused> {
        let Some(id) = stream else { return Ok(false) };
        let known = self.known.iter().position(|known| known.id == id);
        if let Some(mut known) = known.and_then(|position| self.known.remove(position)) {
            known.connections += 1;
            known.begin(from);
            self.known.push_back(known);
            return Ok(false);
        }
        if self.known.len() >= STREAMS {
            // The one that nobody speaks for any more, and did not for longest, is forgotten.
            let idle = self.known.iter().position(|known| known.connections == 0);
            self.known.remove(idle.ok_or(Refused::TooManyStreams)?);
        }
        self.ever = self.ever.saturating_add(1);
        let mut new = Stream {
            id,
            number: self.ever,
            connections: 1,
            declares: false,
            begun: false,
            settled: 0,
            ahead: Ranges::default(),
            gaps: Ranges::default(),
            forgotten: 0,
            before: Ranges::default(),
            heard: false,
            acks: Arc::default(),
        };
        new.begin(from);
        self.known.push_back(new);
        Ok(true)
    }

    /// A connection with this stream has ended.
    pub(super) fn leave(&mut self, stream: Option<Uuid>) {
        if let Some(known) = self.of(stream) {
            known.connections = known.connections.saturating_sub(1);
        }
    }

    /// Whether another stream than this one has a connection.
    pub(super) fn has_another(&self, stream: Uuid) -> bool {
        self.known.iter().any(|known| known.connections > 0 && known.id != stream)
    }

    /// The stream's own number, from 1; 0 for none.
    pub(super) fn number(&mut self, stream: Option<Uuid>) -> u32 {
        self.of(stream).map_or(0, |known| known.number)
    }

    /// The stream with this number, if it is remembered.
    pub(super) fn id(&self, number: u32) -> Option<Uuid> {
        self.known.iter().find(|known| known.number == number).map(|known| known.id)
    }

    /// Takes a number of a stream.
    pub(super) fn take(
        &mut self,
        stream: Option<Uuid>,
        seq: Option<u64>,
    ) -> Result<Number, Refused> {
        let (Some(seq), Some(known)) = (seq, self.of(stream)) else { return Ok(Number::New) };
        known.heard = true;
        known.take(seq)
    }

    /// Numbers before `seq` that will never come. Gives how many of them did not come before.
    pub(super) fn declare(
        &mut self,
        stream: Option<Uuid>,
        seq: Option<u64>,
        (from, to): (u64, u64),
    ) -> u64 {
        let Some(known) = self.of(stream) else { return 0 };
        // A message without a number may be all that a frame holds, and is acked like others.
        known.heard = true;
        // A device can know nothing of numbers that it has not given yet.
        let to = to.min(seq.unwrap_or(u64::MAX).saturating_sub(1));
        known.declare(from.max(1), to)
    }

    /// A frame has ended.
    pub(super) fn settle(&mut self, stream: Option<Uuid>) {
        if let Some(known) = self.of(stream).filter(|known| !known.declares) {
            known.settle();
        }
    }

    /// Where a connection hears what is stored.
    pub(super) fn acks(&mut self, stream: Option<Uuid>) -> Option<watch::Receiver<Acked>> {
        self.of(stream).map(|known| known.acks.subscribe())
    }

    /// What may be acked once all that was taken is stored, and whom it is told, of the streams that were heard.
    pub(super) fn due(&mut self) -> Vec<(Arc<watch::Sender<Acked>>, Acked)> {
        let heard = self.known.iter_mut().filter(|known| known.heard).map(|known| {
            known.heard = false;
            (known.acks.clone(), known.acked())
        });
        heard.collect()
    }

    /// All that was taken is stored: it was read from there.
    pub(super) fn all_stored(&mut self) {
        for known in &mut self.known {
            known.acks.send_replace(known.acked());
        }
    }

    /// Numbers that were left out and not declared.
    pub(super) fn gaps(&self) -> u64 {
        let all = self.known.iter().map(|known| known.gaps.count().saturating_add(known.forgotten));
        all.fold(0, u64::saturating_add)
    }

    /// Numbers before the highest that are still to come.
    pub(super) fn awaited(&self) -> u64 {
        let all = self.known.iter().filter_map(|known| {
            let (_, last) = known.ahead.last()?;
            Some((last - known.settled).saturating_sub(known.ahead.count()))
        });
        all.fold(0, u64::saturating_add)
    }
}

impl Stream {
    /// The device has its numbers from this one on.
    fn begin(&mut self, from: Option<u64>) {
        self.declares = from.is_some();
        self.heard = true;
        let Some(before) = from.and_then(|from| from.checked_sub(1)) else { return };
        while self.settled < before {
            // What is missing before it will not come; it may have been declared by a message that is still to come.
            let next = self.ahead.pop_from(before.saturating_add(1));
            let (first, last) = next.unwrap_or((before + 1, before));
            let missing = (self.settled + 1, first - 1);
            match self.begun {
                true => self.leave_out(missing),
                false => {
                    self.before.insert(missing.0, missing.1);
                }
            }
            self.settled = last.max(self.settled);
        }
        self.absorb();
    }

    fn take(&mut self, seq: u64) -> Result<Number, Refused> {
        if seq <= self.settled {
            // One that was thought to never come is new all the same.
            let missed = self.gaps.remove(seq, seq) + self.before.remove(seq, seq);
            self.forget_gaps();
            return Ok(if missed > 0 { Number::New } else { Number::Seen });
        }
        if self.ahead.contains(seq) {
            return Ok(Number::Seen);
        }
        if !self.begun && !self.declares {
            self.before.insert(self.settled + 1, seq - 1);
            self.settled = seq - 1;
        }
        if seq > self.settled + 1 && self.ahead.len() >= RANGES && !self.ahead.touches(seq) {
            return Err(Refused::TooManyGaps);
        }
        self.begun = true;
        self.ahead.insert(seq, seq);
        self.absorb();
        Ok(Number::New)
    }

    fn declare(&mut self, from: u64, to: u64) -> u64 {
        if from > to {
            return 0;
        }
        // Too far ahead of all that came: a device that gets there says it again.
        let is_far = from > self.settled.saturating_add(1) && !self.ahead.touches(from);
        if is_far && self.ahead.len() >= RANGES {
            return 0;
        }
        let missed = self.gaps.remove(from, to) + self.before.remove(from, to);
        self.forget_gaps();
        let beyond = self.ahead.insert(from.max(self.settled.saturating_add(1)), to);
        self.absorb();
        missed.saturating_add(beyond)
    }

    /// What follows without a gap is settled.
    fn absorb(&mut self) {
        while let Some((_, last)) = self.ahead.pop_from(self.settled.saturating_add(1)) {
            self.settled = last.max(self.settled);
        }
    }

    /// What did not come in order does not come.
    fn settle(&mut self) {
        while let Some((first, last)) = self.ahead.pop_from(u64::MAX) {
            self.leave_out((self.settled + 1, first - 1));
            self.settled = last;
        }
    }

    fn leave_out(&mut self, (from, to): (u64, u64)) {
        self.gaps.insert(from, to);
        self.forget_gaps();
    }

    /// Each number that comes after all may make two ranges of one.
    fn forget_gaps(&mut self) {
        if self.gaps.len() > RANGES
            && let Some((first, last)) = self.gaps.pop_from(u64::MAX)
        {
            self.forgotten = self.forgotten.saturating_add(last - first + 1);
        }
        if self.before.len() > RANGES {
            self.before.pop_from(u64::MAX);
        }
    }

    fn acked(&self) -> Acked {
        Acked { seq: self.settled, ahead: self.ahead.last() }
    }
}

#[cfg(test)]
mod tests;
