//! Where messages get their numbers and wait until they are delivered: in memory for as long as a commit may wait, then on
//! the disk, until all uplinks have passed them.

mod chunk;
mod full;
mod keeper;
mod patience;
mod queue;
mod settings;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot, watch};
use uuid::Uuid;

use keeper::{Keeper, Shared};
use patience::DiskReads;
pub use settings::{
    COMMIT_INTERVAL, COMMIT_INTERVALS, KEEP_ONE_IN, KEEP_ONE_IN_RANGE, LONGEST, LONGEST_RANGE,
    MEMORY_BYTES, MEMORY_BYTES_RANGE, MOST_BYTES, MOST_BYTES_RANGE, SpoolSettings, WhenFull,
};
use store::{DiskFolder, Folder};

use crate::uplink::wire::{Body, Event};

/// Stack of the writer's thread: redb goes down its trees by calls. Only what is used becomes memory.
const WRITER_STACK: usize = 1 << 20;
/// The disk has so long to open what is on it, which reads little of it also after a power cut. What takes longer hangs, and a
/// gateway measures all the same.
const OPENING: Duration = Duration::from_secs(30);

/// One stream of numbered messages, and a place in it for each uplink.
///
/// Nothing here waits for the disk but [`Spool::open`], for 30 s at most, and a [`Place::read`] of what is on it, for a moment.
#[derive(Debug)]
pub struct Spool {
    keeper: Shared,
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
    /// How many messages wait for the uplink that is furthest behind.
    pub queued: u64,
    /// How many were given up since the process began.
    pub dropped: u64,
    /// Why nothing is written to the disk, when nothing is.
    pub memory_only: Option<Arc<str>>,
    /// Bytes of messages on the disk.
    pub bytes_on_disk: u64,
    /// Bytes of messages in memory.
    pub bytes_in_memory: u64,
    /// How often the stream went on after a stop that was none: a power cut, a crash.
    pub unclean_starts: u64,
    /// How many damaged files were set aside since the process began.
    pub set_aside: u64,
}

/// How one place stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceState {
    /// All up to this number is delivered.
    pub acked: u64,
    /// The number given last.
    pub last: u64,
    /// How many messages are kept after `acked`.
    pub queued: u64,
}

impl Spool {
    /// Opens the spool in a folder of its own, made where it is missing, or one in memory without. It never fails: what is
    /// wrong with the disk is logged, and the spool goes on in memory; so it does when the disk hangs.
    ///
    /// `places` are the names of all uplinks. A place that is not among them any more is forgotten; a new one begins with
    /// what comes from now on.
    pub async fn open(
        settings: SpoolSettings,
        folder: Option<&Path>,
        places: &[&str],
    ) -> Arc<Spool> {
        let Some(folder) = folder else { return Spool::in_memory(settings, places) };
        Spool::open_folder(settings, Box::new(DiskFolder::new(folder)), places).await
    }

    /// Opens on the writer's thread: a disk that hangs holds nobody else.
    async fn open_folder(
        settings: SpoolSettings,
        folder: Box<dyn Folder>,
        places: &[&str],
    ) -> Arc<Spool> {
        let (opened, opening) = oneshot::channel();
        let names: Vec<String> = places.iter().map(|&name| name.to_owned()).collect();
        let of_writer = settings.clone();
        let thread = std::thread::Builder::new().name("spool".to_owned()).stack_size(WRITER_STACK);
        let spawned = thread.spawn(move || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let keeper = Arc::new(Keeper::open(of_writer, Some(folder), &names));
            // Too late: nobody gives numbers in it, and the next start finds it as it is.
            if opened.send(keeper.clone()).is_ok() {
                keeper.run();
            }
        });
        let why = match spawned {
            Ok(_) => match tokio::time::timeout(OPENING, opening).await {
                Ok(Ok(keeper)) => return Arc::new(Spool { keeper }),
                Ok(Err(_)) => "its thread ended".to_owned(),
                Err(_) => format!("the disk did not open it within {OPENING:?}"),
            },
            Err(error) => format!("no thread for its disk: {error}"),
        };
        tracing::error!(
            "The spool is kept in memory, and what waits on the disk is not delivered before the next start: {why}."
        );
        let spool = Spool::in_memory(settings, places);
        spool.keeper.queue().leave_disk(&why);
        spool
    }

    fn in_memory(settings: SpoolSettings, places: &[&str]) -> Arc<Spool> {
        let keeper = Keeper::open(settings, None, places);
        keeper.end();
        Arc::new(Spool { keeper: Arc::new(keeper) })
    }

    /// A spool without a disk that holds so many bytes of JSON.
    pub fn memory(capacity_bytes: usize, places: &[&str]) -> Arc<Spool> {
        let settings = SpoolSettings { memory_bytes: capacity_bytes, ..SpoolSettings::default() };
        Spool::in_memory(settings, places)
    }

    /// The stream that the numbers belong to.
    pub fn stream(&self) -> Uuid {
        self.keeper.queue().stream
    }

    /// Numbers messages and keeps them. Gives those that the spool added of its own accord, which took numbers too: by this
    /// call, or since the one before.
    pub fn append(&self, messages: Vec<Body>) -> Vec<Added> {
        self.keeper.append(messages, self.keeper.now())
    }

    /// What the spool added of its own accord since the last append, and the number given last: both at the same moment.
    pub fn notices(&self) -> (Vec<Added>, u64) {
        self.keeper.notices(self.keeper.now())
    }

    /// The place of an uplink that [`Spool::open`] was told of.
    pub fn place(self: &Arc<Self>, name: &str) -> Option<Place> {
        let index = self.keeper.queue().place(name)?;
        Some(Place { keeper: self.keeper.clone(), index, disk: Arc::default() })
    }

    /// How it stands.
    pub fn state(&self) -> SpoolState {
        self.keeper.queue().state()
    }

    /// The number given last.
    pub fn last(&self) -> u64 {
        self.keeper.queue().last()
    }

    /// Writes what is not on the disk yet, and the exact number reached. The receiver is told when that is done; with a
    /// disk that hangs that may be never.
    pub fn close(&self) -> oneshot::Receiver<()> {
        let (told, done) = oneshot::channel();
        self.keeper.close(Some(told));
        done
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.keeper.close(None);
    }
}

/// One uplink's place in a spool.
#[derive(Clone, Debug)]
pub struct Place {
    keeper: Shared,
    index: usize,
    disk: Arc<Mutex<DiskReads>>,
}

impl Place {
    /// The stream that the numbers belong to.
    pub fn stream(&self) -> Uuid {
        self.keeper.queue().stream
    }

    /// The first messages after a number, at most so many and 256 KiB, or one that is larger. Empty when there are none, or
    /// none that may be sent yet, or the disk does not give them within a moment; [`Place::appended`] then changes when
    /// there are.
    pub async fn read(&self, after: u64, most: usize) -> Vec<Stored> {
        if let Some(messages) = self.keeper.read_memory(after, most) {
            return messages;
        }
        self.disk.lock().await.messages(&self.keeper, after, most).await
    }

    /// Somebody has numbers of this stream that were never given here, so they cannot be told from those to come: what
    /// waits and what comes goes on under another stream, with the numbers that it has.
    pub fn leave_stream(&self, stream: Uuid) {
        self.keeper.leave_stream(stream);
    }

    /// All messages up to this number are delivered over this uplink.
    pub fn ack(&self, upto: u64) {
        self.keeper.ack(self.index, upto, self.keeper.now());
    }

    /// All up to this number is delivered.
    pub fn acked(&self) -> u64 {
        self.keeper.queue().acked(self.index)
    }

    /// The number given last.
    pub fn last(&self) -> u64 {
        self.keeper.queue().last()
    }

    /// How it stands.
    pub fn state(&self) -> PlaceState {
        let queue = self.keeper.queue();
        let acked = queue.acked(self.index);
        PlaceState { acked, last: queue.last(), queued: queue.queued(acked) }
    }

    /// Changes whenever something was appended, or what was appended before may be sent.
    pub fn appended(&self) -> watch::Receiver<u64> {
        self.keeper.appended()
    }
}
