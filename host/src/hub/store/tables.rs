//! The tables of the store: how they are made, filled, emptied, and read at a start.

use std::path::Path;

use super::rows::{Row, index_key, message_key, of_index_key};
use super::{Batch, Limits, Trouble};
use crate::clock::is_synchronized;
use crate::hub::clocks::Clocks;
use crate::hub::history::{Entry, HISTORY, RECENT};
use crate::hub::known::{Device, SavedDevice, SavedNumbers};
use crate::hub::receive::{Texts, receive};
use crate::reading::Timestamp;
use redb::{
    Builder, Database, Error, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError,
    WriteTransaction,
};

pub(super) type Key = [u8; 12];
pub(super) type IndexKey = [u8; 28];

/// Every message, by device and arrival.
pub(super) const MESSAGES: TableDefinition<&Key, &[u8]> = TableDefinition::new("messages");
/// Readings and faults, by device, sensor, group and time.
pub(super) const INDEX: TableDefinition<&IndexKey, ()> = TableDefinition::new("index");
/// Devices by name, as JSON.
const DEVICES: TableDefinition<&str, &str> = TableDefinition::new("devices");
/// Their numbers, as JSON.
const NUMBERS: TableDefinition<&str, &str> = TableDefinition::new("numbers");
/// For each hour since 1970 the first message that came in it.
const HOURS: TableDefinition<u64, u64> = TableDefinition::new("hours");
/// Single numbers.
const SINGLE: TableDefinition<&str, u64> = TableDefinition::new("single");
/// How many messages ever came.
const ARRIVED: &str = "arrived";
/// The number of the next device.
const NEXT_NUMBER: &str = "next_number";
/// The first that is kept.
const FIRST: &str = "first";
/// About what is kept, in bytes.
const BYTES: &str = "bytes";

/// Pages of the file that are kept in memory. The machine may have 1 GiB.
const CACHE_BYTES: usize = 32 << 20;
/// Most messages that one commit removes, if it does not bring more, and how many of them in one step.
const REMOVED_AT_ONCE: u64 = 10_000;
const REMOVED_STEP: u64 = 1_000;
const HOUR_NANOS: u64 = 3_600_000_000_000;

/// What a hub knew.
#[derive(Debug, Default)]
pub(in crate::hub) struct Restored {
    pub(in crate::hub) devices: Vec<Device>,
    pub(in crate::hub) entries: usize,
    pub(in crate::hub) arrived: u64,
    pub(in crate::hub) next_number: u32,
}

pub(super) fn open(path: &Path) -> Result<Database, Error> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_repair_callback(|session| {
        tracing::info!(
            "The hub did not end in order: its store is gone through, {:.0} % done.",
            session.progress() * 100.0
        );
    });
    let database = builder.create(path)?;
    match database.begin_read()?.open_table(SINGLE) {
        Ok(_) => return Ok(database),
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    // Readers find all tables from now on.
    let write = begin(&database)?;
    write.open_table(MESSAGES)?;
    write.open_table(INDEX)?;
    write.open_table(DEVICES)?;
    write.open_table(NUMBERS)?;
    write.open_table(HOURS)?;
    write.open_table(SINGLE)?;
    write.commit()?;
    Ok(database)
}

/// Everything that a restart needs.
pub(super) fn load(database: &Database) -> Result<Result<Restored, Trouble>, Error> {
    let read = database.begin_read()?;
    let numbers = read.open_table(NUMBERS)?;
    let single = read.open_table(SINGLE)?;
    let mut restored = Restored {
        arrived: single.get(ARRIVED)?.map_or(0, |arrived| arrived.value()),
        next_number: single
            .get(NEXT_NUMBER)?
            .and_then(|number| u32::try_from(number.value()).ok())
            .unwrap_or_default(),
        ..Restored::default()
    };
    for row in read.open_table(DEVICES)?.iter()? {
        let (name, device) = row?;
        let Some(numbers) = numbers.get(name.value())? else { continue };
        let device = match restore(name.value(), device.value(), numbers.value()) {
            Ok(device) => device,
            Err(error) => return Ok(Err(error.into())),
        };
        restored.next_number = restored.next_number.max(device.number.saturating_add(1));
        restored.devices.push(device);
    }
    let sensors: usize = restored.devices.iter().map(|device| device.sensors.len()).sum();
    let most = (HISTORY / sensors.max(1)).clamp(1, RECENT);
    let index = read.open_table(INDEX)?;
    let messages = read.open_table(MESSAGES)?;
    for device in &mut restored.devices {
        let (number, clocks) = (device.number, device.clocks.clone());
        for (position, sensor) in (0..).zip(&mut device.sensors) {
            let mut recent = Vec::new();
            for group in groups(&index, number, position)? {
                let begin = index_key(number, position, group, 0, 0);
                let end = index_key(number, position, group, u64::MAX, u64::MAX);
                for key in index.range::<&IndexKey>(&begin..=&end)?.rev().take(most) {
                    let (key, _) = key?;
                    let arrived = of_index_key(key.value()).map_or(0, |(_, _, arrived)| arrived);
                    let key = message_key(number, arrived);
                    let Some(bytes) = messages.get(&key)? else { continue };
                    recent.extend(
                        Row::from_bytes(&key, bytes.value()).and_then(|row| entry(&row, &clocks)),
                    );
                }
            }
            recent.sort_by_key(|entry| entry.when.place);
            recent.drain(..recent.len().saturating_sub(most));
            sensor.remember(recent, &mut restored.entries);
        }
    }
    Ok(Ok(restored))
}

fn restore(name: &str, device: &str, numbers: &str) -> Result<Device, serde_json::Error> {
    let numbers: SavedNumbers = serde_json::from_str(numbers)?;
    let device: SavedDevice = serde_json::from_str(device)?;
    Ok(device.restored(name.to_owned(), numbers))
}

/// What pages show of a row. It was checked when it came.
pub(super) fn entry(row: &Row, clocks: &Clocks) -> Option<Entry> {
    let received = receive(&row.text, Texts::NotNeeded).ok()?;
    Entry::of(&received.first()?.said, row.place, clocks)
}

/// Begins a transaction after which a hub that is killed opens its file at once: without that all of it would be read,
/// gigabytes from a card. It costs a second sync, and a sixth more bytes (143 KB a commit in place of 123, measured).
fn begin(database: &Database) -> Result<WriteTransaction, Error> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    Ok(write)
}

/// Writes all of a batch, and makes room. Gives about how many bytes are kept then.
pub(super) fn commit(database: &Database, batch: &Batch, limits: Limits) -> Result<u64, Error> {
    let write = begin(database)?;
    let mut bytes;
    {
        let mut messages = write.open_table(MESSAGES)?;
        let mut index = write.open_table(INDEX)?;
        let mut single = write.open_table(SINGLE)?;
        let mut hours = write.open_table(HOURS)?;
        bytes = single.get(BYTES)?.map_or(0, |bytes| bytes.value());
        for row in &batch.rows {
            messages.insert(&row.key(), row.to_bytes().as_slice())?;
            bytes = bytes.saturating_add(row.cost());
        }
        // In order, so that each page is looked for once.
        let mut keys: Vec<IndexKey> = batch.rows.iter().filter_map(Row::index_key).collect();
        keys.sort_unstable();
        for key in keys {
            index.insert(&key, ())?;
        }
        if let Some(first) = batch.rows.first() {
            let hour = first.received.nanos / HOUR_NANOS;
            if hours.last()?.is_none_or(|(last, _)| last.value() < hour) {
                hours.insert(hour, first.arrived)?;
            }
        }
        single.insert(ARRIVED, batch.arrived)?;
        single.insert(NEXT_NUMBER, u64::from(batch.next_number))?;
        let mut numbers = write.open_table(NUMBERS)?;
        let mut devices = write.open_table(DEVICES)?;
        for name in &batch.forgotten {
            numbers.remove(name.as_str())?;
            devices.remove(name.as_str())?;
        }
        for (name, its_numbers, device) in &batch.devices {
            numbers.insert(name.as_str(), its_numbers.as_str())?;
            if let Some(device) = device {
                devices.insert(name.as_str(), device.as_str())?;
            }
        }
        let first = match (single.get(FIRST)?.map(|first| first.value()), batch.rows.first()) {
            (Some(first), _) => first,
            (None, Some(row)) => row.arrived,
            (None, None) => 0,
        };
        if !batch.rows.is_empty() {
            single.insert(FIRST, first)?;
        }
        let too_old = first_to_keep(&mut hours, limits, batch.arrived)?;
        // A commit must not take long, and yet make more room than it takes.
        let most = REMOVED_AT_ONCE.max(2 * batch.rows.len() as u64);
        let (mut kept, last) = (first, first.saturating_add(most).min(batch.arrived));
        while kept < last && (kept < too_old || bytes > limits.most_bytes) {
            let end = kept.saturating_add(REMOVED_STEP).min(last);
            let end = if bytes > limits.most_bytes { end } else { end.min(too_old) };
            bytes = bytes.saturating_sub(remove(&mut messages, &mut index, kept, end)?);
            kept = end;
        }
        if kept > first {
            single.insert(FIRST, kept)?;
        }
        single.insert(BYTES, bytes)?;
    }
    write.commit()?;
    Ok(bytes)
}

/// Removes the oldest, a step at least and as many as a commit may, as long as more than `least` bytes are kept: the pages
/// that become free take what comes next, though the disk gives no more. Gives about how many bytes are kept before and after.
pub(super) fn make_room(database: &Database, least: u64) -> Result<(u64, u64), Error> {
    let write = begin(database)?;
    let (before, mut bytes);
    {
        let mut single = write.open_table(SINGLE)?;
        before = single.get(BYTES)?.map_or(0, |bytes| bytes.value());
        bytes = before;
        let first = single.get(FIRST)?.map_or(0, |first| first.value());
        let arrived = single.get(ARRIVED)?.map_or(0, |arrived| arrived.value());
        let mut messages = write.open_table(MESSAGES)?;
        let mut index = write.open_table(INDEX)?;
        let (mut kept, last) = (first, first.saturating_add(REMOVED_AT_ONCE).min(arrived));
        while kept < last && bytes > least {
            let end = kept.saturating_add(REMOVED_STEP).min(last);
            bytes = bytes.saturating_sub(remove(&mut messages, &mut index, kept, end)?);
            kept = end;
        }
        single.insert(FIRST, kept)?;
        single.insert(BYTES, bytes)?;
    }
    write.commit()?;
    Ok((before, bytes))
}

/// The first message that is not too old.
fn first_to_keep(hours: &mut Table<u64, u64>, limits: Limits, arrived: u64) -> Result<u64, Error> {
    // A clock that nobody set may show any year: all that is kept would be too old at once.
    if !is_synchronized() {
        return Ok(0);
    }
    let now = Timestamp::now().nanos;
    let keep = u64::try_from(limits.keep.as_nanos()).unwrap_or(u64::MAX);
    let Some(oldest) = now.checked_sub(keep) else { return Ok(0) };
    let oldest = oldest / HOUR_NANOS;
    // Of the hour in which it falls all are kept.
    let kept = hours.range(oldest..)?.next().transpose()?;
    let first = kept.map_or(arrived, |(_, first)| first.value());
    loop {
        let hour = hours.first()?.map(|(hour, _)| hour.value());
        let Some(past) = hour.filter(|hour| *hour < oldest) else { break };
        hours.remove(past)?;
    }
    Ok(first)
}

/// Removes messages by arrival. Gives about how many bytes they took.
fn remove(
    messages: &mut Table<&Key, &[u8]>,
    index: &mut Table<&IndexKey, ()>,
    first: u64,
    end: u64,
) -> Result<u64, Error> {
    let mut bytes = 0;
    let mut device = 0;
    // Each device has its own range of keys.
    loop {
        let next = messages.range::<&Key>(&message_key(device, 0)..)?.next().transpose()?;
        let of_device = next.and_then(|(key, _)| key.value().first_chunk::<4>().copied());
        let Some(of_device) = of_device else { break };
        device = u32::from_be_bytes(of_device);
        let mut gone = Vec::new();
        for row in messages.range::<&Key>(&message_key(device, first)..&message_key(device, end))? {
            let (key, value) = row?;
            if let Some(row) = Row::from_bytes(key.value(), value.value()) {
                bytes += row.cost();
                gone.push((*key.value(), row.index_key()));
            } else {
                gone.push((*key.value(), None));
            }
        }
        for (key, index_key) in gone {
            messages.remove(&key)?;
            if let Some(key) = index_key {
                index.remove(&key)?;
            }
        }
        let Some(next) = device.checked_add(1) else { break };
        device = next;
    }
    Ok(bytes)
}

pub(super) type Index = redb::ReadOnlyTable<&'static IndexKey, ()>;

/// The groups that a sensor has entries in.
pub(super) fn groups(index: &Index, device: u32, sensor: u32) -> Result<Vec<u32>, Error> {
    let mut groups = Vec::new();
    let mut next = Some(0);
    let end = index_key(device, sensor, u32::MAX, u64::MAX, u64::MAX);
    while let Some(group) = next {
        let begin = index_key(device, sensor, group, 0, 0);
        let Some(found) = index.range::<&IndexKey>(&begin..=&end)?.next().transpose()? else {
            break;
        };
        let Some((group, _, _)) = of_index_key(found.0.value()) else { break };
        groups.push(group);
        next = group.checked_add(1);
    }
    Ok(groups)
}
