//! What goes and is declared: where there is no room, or what nobody can read any more; pure.

use std::time::Duration;

use super::{FULL, GIVEN_UP, Held, Queue, TOO_OLD};
use crate::ranges::Ranges;
use crate::spool::Added;
use crate::uplink::wire::Event;

/// A notice of dropped messages has at most so many bytes: three numbers of twenty digits, and the words.
pub(super) const NOTICE_BYTES: usize = 128;
/// Of old readings that were thinned out each one left would need a notice of its own when it goes. Beyond so many, one notice
/// declares those between them again: that costs a hub nothing, and frees what it should.
const MOST_NOTICES: usize = 16;

impl Queue {
    /// What is on the disk goes first, then what is oldest.
    pub(super) fn make_room(&mut self, now: Duration) {
        let goal = self.settings.memory_bytes - self.settings.memory_bytes / GIVEN_UP;
        self.trim(goal);
        if self.bytes <= self.settings.memory_bytes {
            return;
        }
        let begin = self.first_after(self.written.max(self.in_flight));
        let (mut left, mut notices, mut count) = (self.bytes, 1, 0);
        for held in self.memory.range(begin..) {
            if left + notices * NOTICE_BYTES <= goal {
                break;
            }
            left -= held.stored.json.len();
            notices += usize::from(held.notice.is_some());
            count += 1;
        }
        self.give_up_held(begin, count, FULL, now);
    }

    /// Messages that waited for too long where there is no disk.
    pub(super) fn give_up_old(&mut self, now: Duration) {
        let begin = self.first_after(self.written.max(self.in_flight));
        let is_old = |held: &&Held| held.at.saturating_add(self.settings.longest) < now;
        let count = self.memory.range(begin..).take_while(is_old).count();
        self.give_up_held(begin, count, TOO_OLD, now);
    }

    fn give_up_held(&mut self, begin: usize, count: usize, reason: &str, now: Duration) {
        let mut gone = Vec::new();
        for held in self.memory.drain(begin..begin + count) {
            self.bytes -= held.stored.json.len();
            self.unwritten_bytes = self.unwritten_bytes.saturating_sub(held.stored.json.len());
            gone.push((held.stored.seq, held.notice));
        }
        self.give_up(gone, reason, now);
    }

    /// These messages, and the numbers that those of them declare which are notices, are declared anew: each number by one
    /// notice and by no other, where that takes few of them.
    pub(in crate::spool) fn give_up(
        &mut self,
        gone: Vec<(u64, Option<(u64, u64)>)>,
        reason: &str,
        now: Duration,
    ) {
        let mut declared = Ranges::default();
        for (seq, notice) in gone {
            if self.gone.contains(seq) {
                continue;
            }
            self.dropped += 1;
            self.gone.insert(seq, seq);
            declared.insert(seq, seq);
            if let Some((from, to)) = notice {
                declared.insert(from, to);
            }
        }
        if declared.len() > MOST_NOTICES {
            declared = declared.bridged(&self.gone);
        }
        self.declare(&declared, reason, now);
    }

    /// Numbers whose messages nobody can read any more.
    pub(in crate::spool) fn lose(&mut self, from: u64, to: u64, reason: &str, now: Duration) {
        let from = from.max(self.passed().saturating_add(1));
        let lost = self.gone.without(from, to.min(self.last));
        for (from, to) in lost.iter() {
            self.dropped += to - from + 1;
            self.gone.insert(from, to);
        }
        self.declare(&lost, reason, now);
    }

    pub(super) fn declare(&mut self, numbers: &Ranges, reason: &str, now: Duration) {
        for (from, to) in numbers.iter() {
            self.gone_changes += 1;
            let event = Event::Dropped { from, to, reason: reason.into() };
            self.number(event.clone().into(), Some((from, to)), now);
            self.pending.push(Added { seq: self.last, event });
        }
    }
}
