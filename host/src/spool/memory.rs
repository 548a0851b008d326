//! A spool in memory: what it holds is lost when the process ends.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use super::{Added, Spool, SpoolState, Stored};
use crate::uplink::wire::{Body, Event, Message};

/// Most bytes of JSON that wait in memory: about five hours of one reading a second, and little beside the 512 MiB of a Pi Zero.
pub const CAPACITY_BYTES: usize = 2 << 20;
/// A notice of dropped messages has at most so many bytes: three numbers of twenty digits, and the words.
const NOTICE_BYTES: usize = 128;
/// A full spool gives up this part of its capacity at once, so that it says so once and not with every message.
const GIVEN_UP: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct MemorySpool {
    stream: Uuid,
    queue: Mutex<Queue>,
    appended: watch::Sender<u64>,
}

/// Numbers that will never come.
type Dropped = RangeInclusive<u64>;

#[derive(Debug)]
struct Queue {
    messages: VecDeque<Stored>,
    bytes: usize,
    capacity: usize,
    last: u64,
    dropped: u64,
    /// The notices in the queue: their number, and the numbers that they speak for.
    notices: VecDeque<(u64, Dropped)>,
}

impl MemorySpool {
    /// An empty spool with a new stream that holds at most so many bytes of JSON.
    pub fn new(capacity: usize) -> Self {
        let queue = Queue {
            messages: VecDeque::new(),
            bytes: 0,
            capacity,
            last: 0,
            dropped: 0,
            notices: VecDeque::new(),
        };
        MemorySpool {
            stream: Uuid::new_v4(),
            queue: Mutex::new(queue),
            appended: watch::Sender::new(0),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change leaves the queue whole, so a panic elsewhere has not broken it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool for MemorySpool {
    fn stream(&self) -> Uuid {
        self.stream
    }

    fn append(&self, messages: Vec<Body>) -> Vec<Added> {
        let mut added = Vec::new();
        if messages.is_empty() {
            return added;
        }
        let mut queue = self.queue();
        for body in messages {
            queue.put(body, &mut added);
        }
        let last = queue.last;
        drop(queue);
        self.appended.send_replace(last);
        added
    }

    fn read(&self, after: u64, most: usize) -> Vec<Stored> {
        let queue = self.queue();
        let first = queue.messages.partition_point(|stored| stored.seq <= after);
        queue.messages.iter().skip(first).take(most).cloned().collect()
    }

    fn ack(&self, upto: u64) {
        let mut queue = self.queue();
        while queue.messages.front().is_some_and(|stored| stored.seq <= upto) {
            queue.pop();
        }
    }

    fn state(&self) -> SpoolState {
        let queue = self.queue();
        SpoolState { last: queue.last, queued: queue.messages.len() as u64, dropped: queue.dropped }
    }

    fn appended(&self) -> watch::Receiver<u64> {
        self.appended.subscribe()
    }
}

impl Queue {
    fn put(&mut self, body: Body, added: &mut Vec<Added>) {
        self.number(body);
        if self.bytes > self.capacity {
            self.give_up_oldest(added);
        }
    }

    fn number(&mut self, body: Body) {
        self.last += 1;
        let json = Message { seq: Some(self.last), late: false, body }.to_json().into();
        let stored = Stored { seq: self.last, json };
        self.bytes += stored.json.len();
        self.messages.push_back(stored);
    }

    /// Notices of what goes are put at the end. A notice that goes itself is put there again, so that every number is
    /// declared by one notice and by no other.
    fn give_up_oldest(&mut self, added: &mut Vec<Added>) {
        let goal = self.capacity - self.capacity / GIVEN_UP;
        let mut gone: Vec<Dropped> = Vec::new();
        let mut notices = 1;
        while self.bytes + notices * NOTICE_BYTES > goal
            && let Some((stored, notice)) = self.pop()
        {
            self.dropped += 1;
            notices += usize::from(notice.is_some());
            gone.extend(notice);
            gone.push(stored.seq..=stored.seq);
        }
        gone.sort_by_key(|range| *range.start());
        let mut declared: Vec<Dropped> = Vec::new();
        for range in gone {
            match declared.last_mut() {
                Some(last) if *last.end() + 1 == *range.start() => {
                    *last = *last.start()..=*range.end()
                }
                _ => declared.push(range),
            }
        }
        for range in declared {
            let (from, to) = (*range.start(), *range.end());
            let event = Event::Dropped { from, to, reason: "spool-full".into() };
            self.number(event.clone().into());
            added.push(Added { seq: self.last, event });
            self.notices.push_back((self.last, range));
        }
    }

    fn pop(&mut self) -> Option<(Stored, Option<Dropped>)> {
        let stored = self.messages.pop_front()?;
        self.bytes -= stored.json.len();
        let is_notice = self.notices.front().is_some_and(|(seq, _)| *seq == stored.seq);
        let notice = if is_notice { self.notices.pop_front() } else { None };
        Some((stored, notice.map(|(_, range)| range)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(sensor: &str) -> Body {
        Body::Event(Event::Fault {
            sensor: sensor.into(),
            time: "2026-11-21T23:00:00.000Z".into(),
            reason: "stale".into(),
            clock: None,
        })
    }

    fn numbers(spool: &MemorySpool, after: u64) -> Vec<u64> {
        spool.read(after, usize::MAX).iter().map(|stored| stored.seq).collect()
    }

    #[test]
    fn messages_are_numbered_from_one_and_kept_until_acked() {
        let spool = MemorySpool::new(CAPACITY_BYTES);
        spool.append(vec![fault("a"), fault("b")]);
        spool.append(vec![fault("c")]);
        assert_eq!(numbers(&spool, 0), [1, 2, 3]);
        assert_eq!(numbers(&spool, 2), [3]);
        spool.ack(2);
        assert_eq!(numbers(&spool, 0), [3]);
        assert_eq!(spool.state(), SpoolState { last: 3, queued: 1, dropped: 0 });
        assert!(spool.read(0, 1)[0].json.contains(r#""seq":3,"sensor":"c""#));
    }

    #[test]
    fn a_full_spool_drops_the_oldest_and_accounts_for_each() {
        let spool = MemorySpool::new(10_000);
        for _ in 0..10_000 {
            spool.append(vec![fault("a")]);
        }
        let kept = spool.read(0, usize::MAX);
        assert!(kept.iter().map(|stored| stored.json.len()).sum::<usize>() <= 10_000);
        // Every number is either here or declared as dropped.
        let mut declared = vec![];
        for stored in &kept {
            let json: serde_json::Value = serde_json::from_str(&stored.json).unwrap();
            if json["type"] == "dropped" {
                declared.extend(json["from"].as_u64().unwrap()..=json["to"].as_u64().unwrap());
            }
        }
        declared.extend(kept.iter().map(|stored| stored.seq));
        // Once each: a notice that overlapped another would make the hub count twice.
        declared.sort_unstable();
        let all: Vec<u64> = (1..=spool.state().last).collect();
        assert_eq!(declared, all);
        assert_eq!(spool.state().dropped + spool.state().queued, spool.state().last);
    }
}
