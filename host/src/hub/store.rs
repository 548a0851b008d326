//! The hub's memory on disk: every message that it took and all numbers, in one transaction a commit. Nothing is acked
//! before the transaction with it is on the disk.
//!
//! One thread writes. What comes while a commit runs goes into the next, so one device has its ack after one fsync and a
//! thousand devices share one. A disk that is full or fails is tried again until it takes what waits; meanwhile nothing
//! is acked, and devices keep their messages. A damaged file is set aside.

mod questions;
mod rows;
mod tables;

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redb::Database;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::clocks::Clocks;
use super::state::Hub;
use super::streams::Acked;
use crate::data_dir::{DataDir, DataDirError};
use crate::reading::Timestamp;

pub(super) use questions::{Asked, Found, Messages};
pub(super) use rows::Row;
pub(super) use tables::Restored;

/// The file in the data folder's `hub`.
const FILE: &str = "messages.redb";
/// How long a disk that failed is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// Most files that one process sets aside: beyond that the disk, or this program, is what is broken.
const SET_ASIDE: usize = 3;

/// What is kept, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Older messages are removed, by the hour.
    pub keep: Duration,
    /// So many bytes are kept, about; the oldest messages make room.
    pub most_bytes: u64,
}

impl Default for Limits {
    /// Thirty days, and 4 GiB: about 15 million readings.
    fn default() -> Limits {
        Limits { keep: Duration::from_secs(30 * 24 * 60 * 60), most_bytes: 4 << 30 }
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
    /// How many messages ever came.
    pub(super) arrived: u64,
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
    // Nothing of ours is changed in such a call, and a database that panicked is dropped.
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
        let text = error.to_string();
        if is_damaged { Trouble::Damaged(text) } else { Trouble::Disk(text) }
    }
}

/// Opens the store, gives the hub what is in it, and writes what the hub takes, until the hub is closed.
pub(super) fn write(store: &Store, hub: &Hub) {
    let mut writer = Writer { store, hub, is_restored: false, set_aside: 0 };
    let mut waiting = None;
    loop {
        if let Err(trouble) = writer.open() {
            if writer.recover(trouble) == Next::End {
                break;
            }
            continue;
        }
        let Some(batch) = waiting.take().or_else(|| hub.next_batch()) else { break };
        match writer.commit(&batch) {
            Ok(()) => {
                hub.set_trouble(None);
                hub.stored(batch);
            }
            Err(trouble) => {
                // It is whole in the file or not at all, and the same again changes nothing that is there.
                waiting = Some(batch);
                if writer.recover(trouble) == Next::End {
                    break;
                }
            }
        }
    }
    store.set_database(None);
}

struct Writer<'w> {
    store: &'w Store,
    hub: &'w Hub,
    is_restored: bool,
    set_aside: usize,
}

/// What a writer does after a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Again,
    End,
}

impl Writer<'_> {
    fn open(&mut self) -> Result<(), Trouble> {
        if self.store.database().is_some() {
            return Ok(());
        }
        let path = self.store.folder.join(FILE);
        let database = contained(|| tables::open(&path))?;
        if !self.is_restored {
            let restored = contained(|| tables::load(&database))??;
            self.hub.restore(restored);
            self.is_restored = true;
        }
        self.store.set_database(Some(database));
        Ok(())
    }

    fn commit(&self, batch: &Batch) -> Result<(), Trouble> {
        let closed = || Trouble::Disk("it is not open".to_owned());
        let database = self.store.database().ok_or_else(closed)?;
        contained(|| tables::commit(&database, batch, self.store.limits))
    }

    /// After an error the library wants its file closed and opened anew.
    fn recover(&mut self, trouble: Trouble) -> Next {
        self.store.set_database(None);
        let why = match trouble {
            Trouble::Disk(why) => why,
            Trouble::Damaged(why) if self.set_aside < SET_ASIDE => match self.put_aside(&why) {
                Ok(()) => return Next::Again,
                Err(error) => format!("{why}; it cannot be set aside: {error}"),
            },
            Trouble::Damaged(why) => why,
        };
        self.hub.set_trouble(Some(why));
        self.hub.pause(RETRY)
    }

    fn put_aside(&mut self, why: &str) -> io::Result<()> {
        let path = self.store.folder.join(FILE);
        let seconds = Timestamp::now().nanos / 1_000_000_000;
        let aside = self.store.folder.join(format!("{FILE}.bad-{seconds}-{}", self.set_aside));
        fs::rename(&path, &aside)?;
        self.set_aside += 1;
        tracing::error!(
            file = %aside.display(),
            "The store is damaged and set aside, the hub begins a new one: {why}."
        );
        // The new file knows nobody.
        self.hub.touch_all();
        Ok(())
    }
}
