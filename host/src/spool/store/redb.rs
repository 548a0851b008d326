//! A store in redb: one table, chunks by the number of their first message.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageBackend,
    StorageError, Table, TableDefinition, TableError,
};

use super::super::chunk::{Chunk, seal, unseal};
use super::{Commit, Committed, Found, Known, Medium, Store, StoreError};

/// The names of tables are in the file.
const CHUNKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("chunks");
/// Beside the newest chunk, so that both are in the one page that a commit writes.
const META: u64 = u64::MAX;
/// Rarely written, so away from it.
const GONE: u64 = 0;
/// What redb keeps of the file in memory. A commit touches about ten pages of 4 KiB, a read goes on where the last one ended.
const CACHE_BYTES: usize = 1 << 20;
/// Length of what every file of redb begins with.
const MAGIC: usize = 9;
/// What a new file has before its first commit is less than this.
const LARGEST_UNFINISHED: u64 = 128 << 10;
/// Most chunks that one commit removes, so that it does not take long: about 16 MB of messages.
const MOST_REMOVED: usize = 4_096;

/// Opens what is in a file, or makes a new store of an empty one.
pub(in crate::spool) fn open(
    medium: Arc<dyn Medium>,
) -> Result<(Box<dyn Store>, Known), StoreError> {
    contained(|| {
        remove_unfinished(medium.as_ref()).map_err(StoreError::Disk)?;
        let is_given_up = Arc::new(AtomicBool::new(false));
        let pages = Pages { medium, is_given_up: is_given_up.clone() };
        let database = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(pages);
        // From here on, whatever is dropped on the way out of an error leaves the file alone.
        let database = match database {
            Ok(database) => database,
            Err(error) => {
                is_given_up.store(true, Ordering::Relaxed);
                return Err(error.into());
            }
        };
        let store = Redb {
            database: Mutex::new(Some(Arc::new(database))),
            bytes: AtomicU64::new(0),
            is_given_up,
        };
        let known = match store.known() {
            Ok(known) => known,
            Err(error) => {
                store.is_given_up.store(true, Ordering::Relaxed);
                return Err(error);
            }
        };
        store.bytes.store(known.bytes, Ordering::Relaxed);
        Ok((Box::new(store) as Box<dyn Store>, known))
    })
}

/// redb writes a new file's first bytes last: where they are missing, the power went before there was anything to lose.
fn remove_unfinished(medium: &dyn Medium) -> io::Result<()> {
    let mut head = [0; MAGIC];
    if (head.len() as u64..=LARGEST_UNFINISHED).contains(&medium.len()?) {
        medium.read(0, &mut head)?;
        if head == [0; MAGIC] {
            tracing::warn!("The spool's file was never finished: it is begun anew.");
            medium.set_len(0)?;
        }
    }
    Ok(())
}

struct Redb {
    /// Gone when it failed: what a database does after an error is not worth a guess.
    database: Mutex<Option<Arc<Database>>>,
    bytes: AtomicU64,
    is_given_up: Arc<AtomicBool>,
}

/// redb checks what it reads, but not everything, and panics at some of what it does not expect. No file may end the
/// process, so a panic is damage.
fn contained<T>(call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        Err(StoreError::Damaged(format!("redb panicked: {what}")))
    })
}

impl Redb {
    fn call<T>(
        &self,
        call: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(database) = database else {
            return Err(StoreError::Disk(io::Error::other("it failed before")));
        };
        let called = contained(|| call(&database));
        if called.is_err() {
            // Nothing more is written through it, not even when it is dropped: another may have the file by then.
            self.is_given_up.store(true, Ordering::Relaxed);
            *self.database.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let dropped = contained(|| {
            drop(database);
            Ok(())
        });
        called.and_then(|value| dropped.map(|()| value))
    }

    fn known(&self) -> Result<Known, StoreError> {
        self.call(|database| {
            let transaction = database.begin_read().map_err(redb::Error::from)?;
            let table = match transaction.open_table(CHUNKS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Known::default()),
                table => table.map_err(redb::Error::from)?,
            };
            let sealed = |key| -> Result<Option<Vec<u8>>, StoreError> {
                let Some(value) = table.get(key).map_err(redb::Error::from)? else {
                    return Ok(None);
                };
                let bytes = unseal(value.value()).map(<[u8]>::to_vec);
                bytes.map(Some).ok_or_else(|| StoreError::Damaged("a checksum is wrong".to_owned()))
            };
            let Some(meta) = sealed(META)? else {
                return Err(StoreError::Damaged("it does not say what it holds".to_owned()));
            };
            let Some((bytes, meta)) = meta.split_first_chunk::<8>() else {
                return Err(StoreError::Damaged("it does not say what it holds".to_owned()));
            };
            let bytes = u64::from_le_bytes(*bytes);
            Ok(Known { meta: Some(meta.to_vec()), gone: sealed(GONE)?, bytes })
        })
    }
}

impl Drop for Redb {
    fn drop(&mut self) {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What it has to say of its last writes does not matter: each commit stands by itself.
        let _closed = contained(|| {
            drop(database);
            Ok(())
        });
    }
}

impl Store for Redb {
    fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        self.call(|database| {
            let mut transaction = database.begin_write().map_err(redb::Error::from)?;
            // Without it the start after a power cut reads the whole file, up to three times. It costs 8 bytes a reading.
            transaction.set_quick_repair(true);
            let mut bytes = self.bytes.load(Ordering::Relaxed);
            let has_delivered;
            {
                let mut table = transaction.open_table(CHUNKS).map_err(redb::Error::from)?;
                let delivered = delivered(&table, commit.delivered)?;
                has_delivered = delivered.len() >= MOST_REMOVED;
                for key in delivered {
                    bytes = bytes.saturating_sub(remove(&mut table, key)?);
                }
                for &key in &commit.change.remove {
                    bytes = bytes.saturating_sub(remove(&mut table, key)?);
                }
                for chunk in &commit.change.insert {
                    bytes += insert(&mut table, chunk)?;
                }
                if !commit.messages.is_empty() {
                    let last = newest(&table)?;
                    if let Some(last) = &last {
                        bytes = bytes.saturating_sub(remove(&mut table, last.first())?);
                    }
                    for chunk in Chunk::pack(last, &commit.messages, commit.stamp) {
                        bytes += insert(&mut table, &chunk)?;
                    }
                }
                if let Some(gone) = &commit.gone {
                    table.insert(GONE, seal(gone).as_slice())?;
                }
                let meta = [&bytes.to_le_bytes(), commit.meta.as_slice()].concat();
                table.insert(META, seal(&meta).as_slice())?;
            }
            transaction.commit().map_err(redb::Error::from)?;
            self.bytes.store(bytes, Ordering::Relaxed);
            Ok(Committed { bytes, has_delivered })
        })
    }

    fn chunks(&self, number: u64, most: u64) -> Result<Vec<Found>, StoreError> {
        self.call(|database| {
            let transaction = database.begin_read().map_err(redb::Error::from)?;
            let table = match transaction.open_table(CHUNKS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table.map_err(redb::Error::from)?,
            };
            let mut first = 1;
            if let Some(entry) = table.range(1..=number.clamp(1, META - 1))?.next_back() {
                first = entry?.0.value();
            }
            let mut found: Vec<Found> = Vec::new();
            let mut bytes = 0;
            for entry in table.range(first..META)? {
                let (key, value) = entry?;
                let key = key.value();
                if let Some(before) = found.last_mut() {
                    if before.chunk.is_none() {
                        before.end = key - 1;
                    }
                    if before.end < number {
                        bytes = 0;
                        found.clear();
                    } else if bytes >= most {
                        break;
                    }
                }
                let size = value.value().len() as u64;
                bytes += size;
                let chunk = Chunk::decode(key, value.value());
                let end = chunk.as_ref().map_or(META - 1, Chunk::last);
                found.push(Found { key, end, bytes: size, chunk });
            }
            found.retain(|found| found.end >= number);
            Ok(found)
        })
    }
}

type Chunks<'t> = Table<'t, u64, &'static [u8]>;

/// Keys of chunks that end before the number after this one.
fn delivered(table: &Chunks<'_>, upto: u64) -> Result<Vec<u64>, StoreError> {
    let mut keys = Vec::new();
    if upto == 0 {
        return Ok(keys);
    }
    let mut before = None;
    for entry in table.range(1..=upto.saturating_add(1).min(META - 1))? {
        let key = entry?.0.value();
        keys.extend(before);
        before = (key <= upto).then_some(key);
        if keys.len() >= MOST_REMOVED {
            return Ok(keys);
        }
    }
    // The last one may go on beyond.
    if let Some(key) = before
        && let Some(value) = table.get(key)?
        && Chunk::decode(key, value.value()).is_some_and(|chunk| chunk.last() <= upto)
    {
        keys.push(key);
    }
    Ok(keys)
}

/// The last chunk, if it can be read.
fn newest(table: &Chunks<'_>) -> Result<Option<Chunk>, StoreError> {
    let Some(entry) = table.range(1..META)?.next_back() else { return Ok(None) };
    let (key, value) = entry?;
    Ok(Chunk::decode(key.value(), value.value()))
}

fn remove(table: &mut Chunks<'_>, key: u64) -> Result<u64, StoreError> {
    Ok(table.remove(key)?.map_or(0, |value| value.value().len() as u64))
}

fn insert(table: &mut Chunks<'_>, chunk: &Chunk) -> Result<u64, StoreError> {
    let bytes = chunk.encode();
    table.insert(chunk.first(), bytes.as_slice())?;
    Ok(bytes.len() as u64)
}

/// What redb keeps its pages in.
#[derive(Debug)]
struct Pages {
    medium: Arc<dyn Medium>,
    is_given_up: Arc<AtomicBool>,
}

impl Pages {
    fn medium(&self) -> io::Result<&dyn Medium> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return Err(io::Error::other("given up"));
        }
        Ok(self.medium.as_ref())
    }
}

impl StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        self.medium()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.medium()?.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.medium()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.medium()?.sync()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.medium()?.write(offset, bytes)
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> StoreError {
        match error {
            redb::Error::Io(error)
                if !matches!(
                    error.kind(),
                    // What redb calls a file that is none of its own, and what a file says that is cut off.
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                StoreError::Disk(error)
            }
            redb::Error::PreviousIo => StoreError::Disk(io::Error::other("it failed before")),
            other => StoreError::Damaged(other.to_string()),
        }
    }
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> StoreError {
        redb::Error::from(error).into()
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> StoreError {
        redb::Error::from(error).into()
    }
}
