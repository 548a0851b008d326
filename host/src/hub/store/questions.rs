//! What programs ask of the store.

use std::ops::Bound;

use redb::{Database, Error, ReadableDatabase};
use serde::de::IgnoredAny;

use super::rows::{Row, index_key, message_key, of_index_key};
use super::tables::{INDEX, Index, IndexKey, Key, MESSAGES, entry, groups};
use crate::hub::clocks::Clocks;
use crate::reading::Timestamp;

/// Most entries of the index that one question looks at.
const LOOKED_AT: usize = 1_000_000;
const MILLI_NANOS: u64 = 1_000_000;

/// A question for the entries of one sensor.
#[derive(Clone, Copy, Debug)]
pub(in crate::hub) struct Asked {
    pub(in crate::hub) device: u32,
    pub(in crate::hub) sensor: u32,
    pub(in crate::hub) from: Timestamp,
    pub(in crate::hub) to: Timestamp,
    pub(in crate::hub) limit: usize,
}

/// The answer.
#[derive(Debug, Default)]
pub(in crate::hub) struct Found {
    /// JSON objects, in order of time.
    pub(in crate::hub) entries: Vec<String>,
    /// The time of the first that did not fit.
    pub(in crate::hub) next: Option<Timestamp>,
}

/// Messages of one device, as JSON objects.
#[derive(Debug, Default)]
pub(in crate::hub) struct Messages {
    pub(in crate::hub) texts: Vec<String>,
    /// By how many messages the last was preceded.
    pub(in crate::hub) last: Option<u64>,
}

/// Entries of one sensor in order of time, as their times are known to be now.
pub(super) fn readings(
    database: &Database,
    asked: &Asked,
    clocks: &Clocks,
) -> Result<Found, Error> {
    let read = database.begin_read()?;
    let index = read.open_table(INDEX)?;
    let messages = read.open_table(MESSAGES)?;
    let mut rows: Vec<(Timestamp, u64)> = Vec::new();
    for group in groups(&index, asked.device, asked.sensor)? {
        let amounts = match group.checked_sub(1) {
            Some(stream) => clocks.amounts(stream),
            None => vec![0],
        };
        for amount in amounts {
            let of_it = |arrived| -> Result<bool, Error> {
                if group == 0 {
                    return Ok(true);
                }
                let key = message_key(asked.device, arrived);
                let row = messages.get(&key)?;
                let row = row.and_then(|bytes| Row::from_bytes(&key, bytes.value()));
                let correction = row.map(|row| clocks.correction(row.place).unwrap_or_default());
                Ok(correction.is_some_and(|correction| correction.nanos == amount))
            };
            look(&index, asked, group, amount, of_it, &mut rows)?;
            rows.sort_unstable();
            rows.truncate(asked.limit + 1);
        }
    }
    let next = rows.get(asked.limit).map(|(time, _)| *time);
    let (rows, next) = whole_times(rows, next, asked.limit);
    let mut found = Found { next, ..Found::default() };
    for (_, arrived) in rows {
        let key = message_key(asked.device, arrived);
        let Some(bytes) = messages.get(&key)? else { continue };
        let Some(row) = Row::from_bytes(&key, bytes.value()) else { continue };
        let Some(entry) = entry(&row, clocks) else { continue };
        found.entries.push(entry.show(row.stream, row.seq));
    }
    Ok(found)
}

/// Looks for entries whose times are put right by one amount.
fn look(
    index: &Index,
    asked: &Asked,
    group: u32,
    amount: i64,
    is_of_it: impl Fn(u64) -> Result<bool, Error>,
    rows: &mut Vec<(Timestamp, u64)>,
) -> Result<(), Error> {
    let back = amount.saturating_neg();
    let (from, to) = (asked.from.shifted(back), asked.to.shifted(back));
    let begin = index_key(asked.device, asked.sensor, group, from.nanos, 0);
    let end = index_key(asked.device, asked.sensor, group, to.nanos, u64::MAX);
    if begin > end {
        return Ok(());
    }
    let most = rows.len() + asked.limit + 1;
    for key in index.range::<&IndexKey>(&begin..=&end)?.take(LOOKED_AT) {
        let (key, _) = key?;
        let Some((_, time, arrived)) = of_index_key(key.value()) else { continue };
        if is_of_it(arrived)? {
            rows.push((Timestamp { nanos: time }.shifted(amount), arrived));
        }
        if rows.len() >= most {
            break;
        }
    }
    Ok(())
}

/// The answer goes on at a time, so entries of one time are not divided, if they fit at all.
fn whole_times(
    mut rows: Vec<(Timestamp, u64)>,
    next: Option<Timestamp>,
    limit: usize,
) -> (Vec<(Timestamp, u64)>, Option<Timestamp>) {
    let Some(next) = next else { return (rows, None) };
    let fit = rows.partition_point(|(time, _)| *time < next);
    if fit > 0 {
        rows.truncate(fit);
        return (rows, Some(next));
    }
    rows.truncate(limit);
    (rows, Some(Timestamp { nanos: next.nanos.saturating_add(MILLI_NANOS) }))
}

/// Messages of one device by arrival, after this one.
pub(super) fn messages(
    database: &Database,
    device: u32,
    after: u64,
    most: usize,
) -> Result<Messages, Error> {
    let read = database.begin_read()?;
    let messages = read.open_table(MESSAGES)?;
    let range = (
        Bound::Excluded(&message_key(device, after)),
        Bound::Included(&message_key(device, u64::MAX)),
    );
    let mut found = Messages::default();
    for row in messages.range::<&Key>(range)?.take(most) {
        let (key, value) = row?;
        let Some(row) = Row::from_bytes(key.value(), value.value()) else { continue };
        let stream = row.stream.map_or(String::new(), |stream| format!(r#""stream":"{stream}","#));
        found.last = Some(row.arrived);
        // It was JSON when it was written. A disk may give back something else, which must not spoil the answer.
        let is_whole = serde_json::from_str::<IgnoredAny>(&row.text).is_ok();
        let message = if is_whole { &*row.text } else { "null" };
        found.texts.push(format!(
            r#"{{"n":{},{stream}"received":"{}","message":{}}}"#,
            row.arrived, row.received, message
        ));
    }
    Ok(found)
}
