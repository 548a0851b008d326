//! A journal before the store: most commits are one short write into a file that never changes its size. A commit in the store
//! itself costs seven pages of 4 KiB whatever it holds, so that takes what many of these wrote, at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::super::Stored;
use super::super::chunk::{Chunk, seal};
use super::{Commit, Committed, Files, Found, Known, Medium, Store, StoreError};

/// About a thousand readings: the store's own pages are a small part of that.
const SIZE: u64 = 128 << 10;
/// Checksum and length of a record.
const HEAD: usize = 4 + 4;
/// Generation, number in it, stamp, delivered, length of the meta, first number of the messages.
const FIELDS: usize = 6;

/// A store with its journal.
pub(super) struct Journaled {
    store: Box<dyn Store>,
    journal: Arc<dyn Medium>,
    kept: Mutex<Kept>,
}

/// What is in the journal and not in the store.
#[derive(Debug, Default)]
struct Kept {
    /// Whose records count: the store says it, and each of its commits makes a new one. A new store begins anywhere, so
    /// that what another left in the file counts for nothing.
    generation: u64,
    /// Records, and where the next one goes.
    records: u64,
    end: u64,
    messages: Vec<Stored>,
    stamp: u64,
    delivered: u64,
    /// Bytes of the chunks in the store, and what of these it has removed.
    stored_bytes: u64,
    removed: u64,
    /// Nothing is in the store, not even that.
    is_new: bool,
}

/// Opens a store and takes from its journal what it does not know yet.
pub(in crate::spool) fn open(files: Files) -> Result<(Box<dyn Store>, Known), StoreError> {
    let (store, mut known) = super::redb::open(files.pages)?;
    let mut kept = Kept { stored_bytes: known.bytes, ..Kept::default() };
    match known.meta.take() {
        Some(meta) => {
            let damaged = || StoreError::Damaged("it does not say what it holds".to_owned());
            let (generation, rest) = meta.split_first_chunk::<8>().ok_or_else(damaged)?;
            kept.generation = u64::from_le_bytes(*generation);
            known.meta = Some(rest.to_vec());
        }
        None => {
            kept.generation = Uuid::new_v4().as_u64_pair().0;
            kept.is_new = true;
        }
    }
    let bytes = all(files.journal.as_ref()).map_err(StoreError::Disk)?;
    while !kept.is_new
        && let Some(next) = kept.next_in(&bytes)
    {
        if next.begin > kept.end {
            tracing::error!(
                from = kept.end,
                to = next.begin,
                "The spool's journal is damaged between these bytes: what was there is lost."
            );
        }
        known.meta = Some(next.record.meta.clone());
        kept.take(next);
    }
    known.bytes = kept.bytes();
    let store = Journaled { store, journal: files.journal, kept: Mutex::new(kept) };
    Ok((Box::new(store), known))
}

/// The whole file, made when it is not there: written once, so that its place on the disk never changes.
fn all(journal: &dyn Medium) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(SIZE).unwrap_or_default()];
    if journal.len()? == SIZE {
        journal.read(0, &mut bytes)?;
    } else {
        journal.set_len(SIZE)?;
        journal.write(0, &bytes)?;
        journal.sync()?;
    }
    Ok(bytes)
}

/// One commit in the journal.
#[derive(Debug, PartialEq)]
struct Record {
    generation: u64,
    number: u64,
    stamp: u64,
    delivered: u64,
    meta: Vec<u8>,
    messages: Vec<Stored>,
}

/// A record in the file.
struct Written {
    record: Record,
    begin: u64,
    len: u64,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let first = self.messages.first().map_or(0, |stored| stored.seq);
        let fields = [
            self.generation,
            self.number,
            self.stamp,
            self.delivered,
            self.meta.len() as u64,
            first,
        ];
        let mut body: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        body.extend_from_slice(&self.meta);
        if first > 0 {
            let chunk = Chunk { stamp: self.stamp, messages: self.messages.clone() };
            body.extend_from_slice(&chunk.encode());
        }
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        seal(&[&len.to_le_bytes(), body.as_slice()].concat())
    }

    /// The record at the beginning of these bytes, and its length; nothing when there is none, or one that is torn.
    fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
        let (checksum, rest) = bytes.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*rest.first_chunk::<4>()?)).ok()?;
        if len < FIELDS * size_of::<u64>() {
            return None;
        }
        let sealed = rest.get(..len.checked_add(4)?)?;
        if crc32fast::hash(sealed) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let mut body = sealed.get(4..)?;
        let mut fields = [0; FIELDS];
        for field in &mut fields {
            let (number, rest) = body.split_first_chunk::<8>()?;
            *field = u64::from_le_bytes(*number);
            body = rest;
        }
        let [generation, number, stamp, delivered, meta, first] = fields;
        let (meta, chunk) = body.split_at_checked(usize::try_from(meta).ok()?)?;
        let messages = if first > 0 { Chunk::decode(first, chunk)?.messages } else { Vec::new() };
        let record = Record { generation, number, stamp, delivered, meta: meta.to_vec(), messages };
        Some((record, HEAD + len))
    }
}

impl Kept {
    fn at(&self) -> usize {
        usize::try_from(self.end).unwrap_or(usize::MAX)
    }

    /// The next record. As a rule it is where the last one ends. Each was on the disk before the next was written, so that one
    /// further behind says that what is between is damaged, and not torn.
    fn next_in(&self, bytes: &[u8]) -> Option<Written> {
        (self.at()..bytes.len()).find_map(|begin| {
            let (record, len) = Record::decode(bytes.get(begin..)?)?;
            let is_next = record.generation == self.generation && record.number >= self.records;
            is_next.then_some(Written { record, begin: begin as u64, len: len as u64 })
        })
    }

    /// A record was written, or read.
    fn take(&mut self, Written { record, begin, len }: Written) {
        self.records = record.number + 1;
        self.end = begin + len;
        self.messages.extend_from_slice(&record.messages);
        self.stamp = record.stamp;
        self.delivered = self.delivered.max(record.delivered);
        if self.messages.last().is_some_and(|stored| stored.seq <= self.delivered) {
            self.messages.clear();
        }
    }

    /// As chunks of the store, which they will be.
    fn chunks(&self) -> Vec<Chunk> {
        Chunk::pack(None, &self.messages, self.stamp)
    }

    fn bytes(&self) -> u64 {
        let kept = self.messages.iter().map(|stored| stored.json.len() as u64);
        self.stored_bytes + kept.sum::<u64>()
    }

    /// Whether a commit can wait in the journal: it only adds, and there is room.
    fn fits(&self, commit: &Commit, len: usize) -> bool {
        let removes = self.stored_bytes > 0 && commit.delivered > self.removed;
        let change = &commit.change;
        let changes =
            !change.remove.is_empty() || !change.insert.is_empty() || commit.gone.is_some();
        !self.is_new && !removes && !changes && self.end + len as u64 <= SIZE
    }
}

impl Journaled {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is in the journal goes into the store, with a commit that does not fit there.
    fn commit_all(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let (generation, mut messages) = {
            let kept = self.kept();
            let mut chunks = kept.chunks();
            // Chunks that go may be of the journal.
            chunks.retain(|chunk| !commit.change.remove.contains(&chunk.first()));
            let messages: Vec<Stored> =
                chunks.into_iter().flat_map(|chunk| chunk.messages).collect();
            (kept.generation.wrapping_add(1), messages)
        };
        messages.extend_from_slice(&commit.messages);
        messages.retain(|stored| stored.seq > commit.delivered);
        let committed = self.store.commit(&Commit {
            messages,
            stamp: commit.stamp,
            delivered: commit.delivered,
            change: commit.change.clone(),
            meta: [&generation.to_le_bytes(), commit.meta.as_slice()].concat(),
            gone: commit.gone.clone(),
        })?;
        *self.kept() = Kept {
            generation,
            delivered: commit.delivered,
            removed: if committed.has_delivered { 0 } else { commit.delivered },
            stored_bytes: committed.bytes,
            ..Kept::default()
        };
        Ok(committed)
    }
}

impl Store for Journaled {
    fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let kept = self.kept();
        let record = Record {
            generation: kept.generation,
            number: kept.records,
            stamp: commit.stamp,
            delivered: commit.delivered,
            meta: commit.meta.clone(),
            messages: commit.messages.clone(),
        };
        let bytes = record.encode();
        let end = kept.end;
        let fits = kept.fits(commit, bytes.len());
        // A reader need not wait for the disk.
        drop(kept);
        if !fits {
            return self.commit_all(commit);
        }
        self.journal.write(end, &bytes).map_err(StoreError::Disk)?;
        self.journal.sync().map_err(StoreError::Disk)?;
        let mut kept = self.kept();
        kept.take(Written { record, begin: end, len: bytes.len() as u64 });
        Ok(Committed { bytes: kept.bytes(), has_delivered: false })
    }

    fn chunks(&self, number: u64, most: u64) -> Result<Vec<Found>, StoreError> {
        // Taken first: what goes into the store meanwhile is in both, and not in neither.
        let chunks = self.kept().chunks();
        let mut found = self.store.chunks(number, most)?;
        let mut bytes: u64 = found.iter().map(|found| found.bytes).sum();
        if bytes >= most && !found.is_empty() {
            return Ok(found);
        }
        let first = chunks.first().map_or(u64::MAX, Chunk::first);
        if let Some(last) = found.last_mut().filter(|last| last.chunk.is_none()) {
            last.end = last.end.min(first - 1);
        }
        let in_store = found.last().map_or(0, |found| found.end);
        for chunk in chunks {
            if chunk.last() < number || chunk.last() <= in_store {
                continue;
            }
            if bytes >= most && !found.is_empty() {
                break;
            }
            let size =
                chunk.messages.iter().map(|stored| Chunk::room_for(stored) as u64).sum::<u64>();
            bytes += size;
            found.push(Found {
                key: chunk.first(),
                end: chunk.last(),
                bytes: size,
                chunk: Some(chunk),
            });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written_and_torn_as_nothing() {
        let message = |seq| Stored { seq, json: format!("message {seq}").into() };
        for messages in [vec![], vec![message(7)], vec![message(7), message(9)]] {
            let record = Record {
                generation: 5,
                number: 3,
                stamp: 8,
                delivered: 2,
                meta: b"meta".to_vec(),
                messages,
            };
            let mut bytes = record.encode();
            let len = bytes.len();
            bytes.extend_from_slice(b"what was there before");
            assert_eq!(Record::decode(&bytes), Some((record, len)));
            for cut in 0..len {
                let mut torn = bytes.clone();
                torn[cut..len].fill(0);
                assert!(Record::decode(&torn).is_none() || torn == bytes, "{cut}");
            }
        }
    }

    #[test]
    fn what_is_behind_a_damaged_record_is_kept() {
        let record = |generation, number| Record {
            generation,
            number,
            stamp: 8,
            delivered: 0,
            meta: b"meta".to_vec(),
            messages: vec![Stored { seq: number + 1, json: format!("message {number}").into() }],
        };
        let records = [record(5, 0), record(5, 1), record(5, 2), record(4, 3)];
        let first = records[0].encode().len();
        let mut bytes = records.iter().flat_map(Record::encode).collect::<Vec<_>>();
        bytes[first + HEAD + 3] ^= 0x55;
        let mut kept = Kept { generation: 5, ..Kept::default() };
        while let Some(next) = kept.next_in(&bytes) {
            kept.take(next);
        }
        let numbers: Vec<u64> = kept.messages.iter().map(|stored| stored.seq).collect();
        assert_eq!((numbers, kept.records), (vec![1, 3], 3), "and none of an older generation");
    }
}
