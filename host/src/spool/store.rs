//! What the spool wants of a place on disk: all or nothing at each commit. Behind it stands redb, and could stand another.

mod folder;
mod journal;
mod redb;

use std::io;
use std::sync::Arc;

use super::Stored;
use super::chunk::Chunk;

pub(super) use folder::DiskFolder;
pub(super) use journal::open;

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The disk refused.
    #[error("{0}")]
    Disk(io::Error),
    /// What is on it makes no sense.
    #[error("{0}")]
    Damaged(String),
}

/// A file that a store keeps its pages in.
pub(super) trait Medium: std::fmt::Debug + Send + Sync {
    /// In bytes.
    fn len(&self) -> io::Result<u64>;
    /// Reads all the bytes asked for.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Grows, with zeros, or shrinks.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// All that was written is on the disk when it returns.
    fn sync(&self) -> io::Result<()>;
    /// Writes all the bytes.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// The files of a spool.
#[derive(Debug)]
pub(super) struct Files {
    /// Of the store itself.
    pub(super) pages: Arc<dyn Medium>,
    /// Before it.
    pub(super) journal: Arc<dyn Medium>,
}

/// Where those lie.
pub(super) trait Folder: Send + Sync {
    /// Opens them, made where they are missing.
    fn open(&self) -> io::Result<Files>;
    /// Opens files that cannot be written: what is written goes into memory and is forgotten.
    fn open_to_read(&self) -> io::Result<Files>;
    /// Puts the store's file out of the way. Gives its new name.
    fn set_aside(&self) -> io::Result<String>;
    /// How much more it takes.
    fn room(&self) -> io::Result<Room>;
}

/// How much more a folder takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes that may still be written before the disk is too full for others.
    pub(super) free: u64,
    /// Bytes that the store's file has. It grows by as much again, never by less.
    pub(super) file: u64,
}

/// All that one commit changes, at once or not at all.
#[derive(Debug, Default)]
pub(super) struct Commit {
    /// New messages, after all that are there.
    pub(super) messages: Vec<Stored>,
    /// When, in seconds of the spool's life.
    pub(super) stamp: u64,
    /// All chunks up to this number go.
    pub(super) delivered: u64,
    /// What else goes and comes.
    pub(super) change: Change,
    /// What the spool must know when it starts again.
    pub(super) meta: Vec<u8>,
    /// The numbers that are gone, when they changed.
    pub(super) gone: Option<Vec<u8>>,
}

/// How a store stands after a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    /// Bytes of all chunks.
    pub(super) bytes: u64,
    /// Whether there are still chunks that are delivered: one commit does not take long.
    pub(super) has_delivered: bool,
}

/// Chunks that go, and those that take their place.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    /// Their keys.
    pub(super) remove: Vec<u64>,
    /// Where none is left.
    pub(super) insert: Vec<Chunk>,
}

/// A chunk as it was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Its key.
    pub(super) key: u64,
    /// The highest number that it may hold.
    pub(super) end: u64,
    /// Its bytes.
    pub(super) bytes: u64,
    /// What it holds; nothing when it is damaged.
    pub(super) chunk: Option<Chunk>,
}

/// What a store knew when it was opened.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// As in [`Commit`]; nothing in a new store.
    pub(super) meta: Option<Vec<u8>>,
    /// As in [`Commit`].
    pub(super) gone: Option<Vec<u8>>,
    /// Bytes of all chunks.
    pub(super) bytes: u64,
}

/// A place on disk for chunks.
pub(super) trait Store: Send + Sync {
    /// All of it is on the disk when it returns. After an error it may be, or nothing of it.
    fn commit(&self, commit: &Commit) -> Result<Committed, StoreError>;
    /// Chunks from the one that holds a number, or the next, until they have so many bytes; at least one, if there is one that
    /// ends there or later.
    fn chunks(&self, number: u64, bytes: u64) -> Result<Vec<Found>, StoreError>;
}
