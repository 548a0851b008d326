//! Where messages wait until they are delivered. Each gets its number here.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::uplink::wire::{Body, Event, Message};

/// Interim.
pub const CAPACITY_BYTES: usize = 2 << 20;

/// Interim.
#[derive(Clone, Debug, PartialEq)]
pub struct SpoolSettings {
    /// Interim.
    pub commit_interval: Duration,
    /// Interim.
    pub most_bytes: u64,
    /// Interim.
    pub longest: Duration,
    /// Interim.
    pub when_full: WhenFull,
    /// Interim.
    pub memory_bytes: usize,
}

/// What gives way when a spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Interim.
    DropOldest,
    /// Interim.
    ThinOut {
        /// Interim.
        keep_one_in: u32,
    },
}

impl Default for SpoolSettings {
    fn default() -> Self {
        SpoolSettings {
            commit_interval: Duration::from_secs(10),
            most_bytes: 256 << 20,
            longest: Duration::from_secs(30 * 86_400),
            when_full: WhenFull::DropOldest,
            memory_bytes: CAPACITY_BYTES,
        }
    }
}

/// Interim.
pub struct Spool {
    stream: Uuid,
    queue: Mutex<Queue>,
    appended: watch::Sender<u64>,
}

struct Queue {
    messages: VecDeque<Stored>,
    bytes: usize,
    capacity: usize,
    last: u64,
    dropped: u64,
    places: Vec<(String, u64)>,
}

/// One uplink's place.
#[derive(Clone)]
pub struct Place {
    spool: Arc<Spool>,
    position: usize,
}

/// A message as it goes over the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its number in the stream.
    pub seq: u64,
    /// Its JSON text.
    pub json: Arc<str>,
}

/// A message that the spool made itself: a notice of numbers that will never come.
#[derive(Clone, Debug, PartialEq)]
pub struct Added {
    /// Its number in the stream.
    pub seq: u64,
    /// What it says.
    pub event: Event,
}

/// How a spool stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolState {
    /// The number given last.
    pub last: u64,
    /// How many wait, for the uplink that is furthest behind.
    pub queued: u64,
    /// How many were dropped undelivered.
    pub dropped: u64,
    /// How many were appended by this process.
    pub appended: u64,
    /// Why it is in memory only.
    pub in_memory: Option<String>,
    /// Interim.
    pub bytes_on_disk: u64,
}

/// How an uplink's place stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceState {
    /// Interim.
    pub acked: u64,
    /// Interim.
    pub queued: u64,
}

impl Spool {
    /// Interim.
    pub fn open(settings: SpoolSettings, _folder: Option<&Path>, places: &[&str]) -> Arc<Spool> {
        Spool::memory(settings.memory_bytes, places)
    }

    /// Interim.
    pub fn memory(capacity: usize, places: &[&str]) -> Arc<Spool> {
        let queue = Queue {
            messages: VecDeque::new(),
            bytes: 0,
            capacity,
            last: 0,
            dropped: 0,
            places: places.iter().map(|name| ((*name).to_owned(), 0)).collect(),
        };
        Arc::new(Spool {
            stream: Uuid::new_v4(),
            queue: Mutex::new(queue),
            appended: watch::Sender::new(0),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream that the numbers belong to.
    pub fn stream(&self) -> Uuid {
        self.stream
    }

    /// Numbers messages and keeps them. Gives those that it had to add of its own accord, which took numbers too.
    pub fn append(&self, messages: Vec<Body>) -> Vec<Added> {
        let mut added = Vec::new();
        if messages.is_empty() {
            return added;
        }
        let mut queue = self.queue();
        for body in messages {
            queue.number(body);
            if queue.bytes > queue.capacity {
                let (mut from, mut to) = (None, 0);
                while queue.bytes > queue.capacity / 16 * 15
                    && let Some(gone) = queue.messages.pop_front()
                {
                    queue.bytes -= gone.json.len();
                    queue.dropped += 1;
                    from.get_or_insert(gone.seq);
                    to = gone.seq;
                }
                if let Some(from) = from {
                    let event = Event::Dropped { from, to, reason: "spool-full".into() };
                    queue.number(event.clone().into());
                    added.push(Added { seq: queue.last, event });
                }
            }
        }
        let last = queue.last;
        drop(queue);
        self.appended.send_replace(last);
        added
    }

    /// One uplink's place, by its name.
    pub fn place(self: &Arc<Self>, name: &str) -> Option<Place> {
        let position = self.queue().places.iter().position(|(known, _)| known == name)?;
        Some(Place { spool: self.clone(), position })
    }

    /// How it stands.
    pub fn state(&self) -> SpoolState {
        let queue = self.queue();
        SpoolState {
            last: queue.last,
            appended: queue.last,
            queued: queue.messages.len() as u64,
            dropped: queue.dropped,
            in_memory: Some("interim".to_owned()),
            bytes_on_disk: 0,
        }
    }

    /// The number given last.
    pub fn last(&self) -> u64 {
        self.queue().last
    }

    /// Writes what is not written.
    pub fn close(&self) -> oneshot::Receiver<()> {
        let (ended, end) = oneshot::channel();
        let _told = ended.send(());
        end
    }
}

impl Queue {
    fn number(&mut self, body: Body) {
        self.last += 1;
        let json = Message { seq: Some(self.last), body }.to_json().into();
        let stored = Stored { seq: self.last, json };
        self.bytes += stored.json.len();
        self.messages.push_back(stored);
    }
}

impl Place {
    /// The stream that the numbers belong to.
    pub fn stream(&self) -> Uuid {
        self.spool.stream
    }

    /// The first messages after a number, at most so many.
    #[expect(clippy::unused_async, reason = "interim")]
    pub async fn read(&self, after: u64, most: usize) -> Vec<Stored> {
        let queue = self.spool.queue();
        let first = queue.messages.partition_point(|stored| stored.seq <= after);
        queue.messages.iter().skip(first).take(most).cloned().collect()
    }

    /// All messages up to this number are delivered over this uplink.
    pub fn ack(&self, upto: u64) {
        let mut queue = self.spool.queue();
        if let Some((_, acked)) = queue.places.get_mut(self.position) {
            *acked = upto.max(*acked);
        }
        let all = queue.places.iter().map(|(_, acked)| *acked).min().unwrap_or_default();
        while queue.messages.front().is_some_and(|stored| stored.seq <= all) {
            if let Some(gone) = queue.messages.pop_front() {
                queue.bytes -= gone.json.len();
            }
        }
    }

    /// Up to which number all is delivered over this uplink.
    pub fn acked(&self) -> u64 {
        self.state().acked
    }

    /// The number given last.
    pub fn last(&self) -> u64 {
        self.spool.last()
    }

    /// How it stands.
    pub fn state(&self) -> PlaceState {
        let queue = self.spool.queue();
        let acked = queue.places.get(self.position).map_or(0, |(_, acked)| *acked);
        let first = queue.messages.partition_point(|stored| stored.seq <= acked);
        PlaceState { acked, queued: (queue.messages.len() - first) as u64 }
    }

    /// Changes whenever something was appended.
    pub fn appended(&self) -> watch::Receiver<u64> {
        self.spool.appended.subscribe()
    }
}
