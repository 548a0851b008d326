//! The hub's memory on disk: every message that it took and all numbers, in one transaction a commit. Nothing is acked
//! before the transaction with it is on the disk.
//!
//! One thread writes. What comes while a commit runs, or before the next may begin, goes into the next: any number of devices
//! share one. On a full disk the oldest messages make room. A disk that is full all the same, or fails, is
//! tried again until it takes what waits; meanwhile nothing is acked, and devices keep their messages. A damaged file is
//! set aside.

mod questions;
mod rows;
mod tables;
mod writer;

use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redb::Database;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::clocks::Clocks;
use super::streams::Acked;
use crate::data_dir::{DataDir, DataDirError};

pub(super) use questions::{Asked, Found, Messages};
pub(super) use rows::Row;
pub(super) use tables::Restored;
pub(super) use writer::{Next, write};

/// What is kept, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Older messages are removed, by the hour.
    pub keep: Duration,
    /// So many bytes are kept, about, or what the disk has room for; the oldest messages make room.
    pub most_bytes: u64,
    /// A commit begins so long after the one before, or earlier when much waits or somebody asks for it. Each costs the disk
    /// the same, however little is in it; acks wait for it.
    pub commit_interval: Duration,
}

/// How long messages may be kept. Below an hour, of which all are kept together, there is nothing to choose.
pub const KEEP_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(3_600)..=Duration::from_secs(10 * 31_557_600);

/// How long commits may be apart. With the shortest many devices still share one, with the longest a device has its ack before it
/// writes what it sent to its own disk, which it does after 30 s.
pub const COMMIT_INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(20);

impl Default for Limits {
    /// Thirty days, 4 GiB, which is about 15 million readings, and acks at once.
    fn default() -> Limits {
        Limits {
            keep: Duration::from_secs(30 * 24 * 60 * 60),
            most_bytes: 4 << 30,
            commit_interval: *COMMIT_INTERVALS.start(),
        }
    }
}

/// Where a hub keeps what it took.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    limits: Limits,
    /// Locked as long as this lives.
    _dir: DataDir,
    database: Mutex<Option<Arc<Database>>>,
}

/// Why the store cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The disk has no room: the oldest messages may make some.
    Full(String),
    /// The disk does not take or give it: that may change.
    Disk(String),
    /// What is in the file is not what was written.
    Damaged(String),
}

/// What is written in one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) rows: Vec<Row>,
    /// Devices with their numbers, and with the rest where that has changed.
    pub(super) devices: Vec<(String, String, Option<String>)>,
    /// Devices that are not known any more, but for those that came back.
    pub(super) forgotten: Vec<String>,
    /// How many messages ever came.
    pub(super) arrived: u64,
    /// The number of the next device.
    pub(super) next_number: u32,
    /// What may be acked then.
    pub(super) acks: Vec<(Arc<watch::Sender<Acked>>, Acked)>,
    /// Which one it is, from 1.
    pub(super) turn: u64,
    /// The room that it takes, free again when it is dropped.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

impl Store {
    /// Takes a data folder for this hub. Its file is opened later, for that may take time.
    pub fn new(folder: &Path, limits: Limits) -> Result<Store, DataDirError> {
        let dir = DataDir::open(folder)?;
        let failed = |source| DataDirError::Open { folder: folder.to_path_buf(), source };
        let folder = dir.folder("hub").map_err(failed)?;
        Ok(Store { folder, limits, _dir: dir, database: Mutex::new(None) })
    }

    fn database(&self) -> Option<Arc<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_database(&self, database: Option<Database>) {
        *self.database.lock().unwrap_or_else(PoisonError::into_inner) = database.map(Arc::new);
    }

    /// Entries of one sensor; `None` while the store is not open.
    pub(super) fn readings(
        &self,
        asked: &Asked,
        clocks: &Clocks,
    ) -> Option<Result<Found, Trouble>> {
        let database = self.database()?;
        Some(contained(|| questions::readings(&database, asked, clocks)))
    }

    /// Messages of one device, in the order in which they came, as JSON objects; `None` while the store is not open.
    pub(super) fn messages(
        &self,
        device: u32,
        after: u64,
        most: usize,
    ) -> Option<Result<Messages, Trouble>> {
        let database = self.database()?;
        Some(contained(|| questions::messages(&database, device, after, most)))
    }
}

/// The library panics when it meets what cannot be in a file that it wrote.
fn contained<T>(call: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Trouble> {
    // Nothing of ours is changed in such a call. The writer drops a database that panicked; after a question its next commit finds out.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(Trouble::from),
        Err(_) => Err(Trouble::Damaged("its contents make no sense".to_owned())),
    }
}

impl From<serde_json::Error> for Trouble {
    fn from(error: serde_json::Error) -> Trouble {
        Trouble::Damaged(error.to_string())
    }
}

impl From<redb::Error> for Trouble {
    fn from(error: redb::Error) -> Trouble {
        use redb::Error;
        let is_damaged = match &error {
            Error::Io(io) => {
                matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
            }
            Error::Corrupted(_)
            | Error::UpgradeRequired(_)
            | Error::TableTypeMismatch { .. }
            | Error::TypeDefinitionChanged { .. } => true,
            _ => false,
        };
        let is_full = matches!(&error, Error::Io(io)
            if matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded));
        let text = error.to_string();
        match (is_damaged, is_full) {
            (true, _) => Trouble::Damaged(text),
            (false, true) => Trouble::Full(text),
            (false, false) => Trouble::Disk(text),
        }
    }
}
