//! What programs ask of the store.

use std::ops::Bound;

use redb::{Database, Error, ReadableDatabase};
use serde::de::IgnoredAny;

use super::rows::{Row, arrived_of, index_key, message_key, of_index_key};
use super::tables::{INDEX, Index, IndexKey, Key, MESSAGES, entry, groups};
use crate::hub::clocks::Clocks;
use crate::reading::Timestamp;

/// Most entries of the index that one question looks at; the answer goes on where it ended.
const LOOKED_AT: usize = 1_000_000;
/// Most bytes of an answer: it is in memory as a whole, and whoever asks may take it slowly.
const ANSWER_BYTES: usize = 1 << 20;
/// Times are told in milliseconds.
const MILLI_NANOS: u64 = 1_000_000;

/// A question for the entries of one sensor.
#[derive(Clone, Copy, Debug)]
pub(in crate::hub) struct Asked {
    pub(in crate::hub) device: u32,
    pub(in crate::hub) sensor: u32,
    pub(in crate::hub) from: Timestamp,
    /// Of the entries at `from` those that arrived later than this.
    pub(in crate::hub) after: u64,
    pub(in crate::hub) to: Timestamp,
    pub(in crate::hub) limit: usize,
}

/// The answer.
#[derive(Debug, Default)]
pub(in crate::hub) struct Found {
    /// JSON objects, in order of time.
    pub(in crate::hub) entries: Vec<String>,
    /// Where the answer goes on: from this time, and at it after this number of arrival.
    pub(in crate::hub) next: Option<(Timestamp, u64)>,
}

/// Messages of one device, as JSON objects.
#[derive(Debug, Default)]
pub(in crate::hub) struct Messages {
    pub(in crate::hub) texts: Vec<String>,
    /// The number of the last one, if there are more.
    pub(in crate::hub) next: Option<u64>,
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
    // Beyond it some may be missing.
    let mut end: Option<(Timestamp, u64)> = None;
    let mut looks = Vec::new();
    for group in groups(&index, asked.device, asked.sensor)? {
        let amounts = match group.checked_sub(1) {
            Some(stream) => clocks.amounts(stream),
            None => vec![0],
        };
        looks.extend(amounts.into_iter().map(|amount| (group, amount)));
    }
    // Each goes on by one at least.
    let most = (LOOKED_AT / looks.len().max(1)).max(1);
    for (group, amount) in looks {
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
        let looked = look(&index, asked, (group, amount), most, of_it, &mut rows)?;
        end = [end, looked].into_iter().flatten().min();
        rows.sort_unstable();
        if let Some(beyond) = rows.get(asked.limit).copied() {
            rows.truncate(asked.limit);
            let last = rows.last().copied().unwrap_or(beyond);
            end = [end, Some(last)].into_iter().flatten().min();
        }
    }
    rows.retain(|row| end.is_none_or(|end| *row <= end));
    let mut found = Found { next: end, ..Found::default() };
    let mut bytes = 0;
    let mut before = None;
    for row in rows {
        let key = message_key(asked.device, row.1);
        let Some(stored) = messages.get(&key)? else { continue };
        let Some(stored) = Row::from_bytes(&key, stored.value()) else { continue };
        let Some(entry) = entry(&stored, clocks) else { continue };
        let shown = entry.show(stored.stream, stored.seq);
        bytes += shown.len();
        if bytes > ANSWER_BYTES && before.is_some() {
            found.next = before;
            break;
        }
        found.entries.push(shown);
        before = Some(row);
    }
    Ok(found)
}

/// Looks for entries whose times are put right by one amount, in order. Gives the last that was looked at, if there may be
/// more.
fn look(
    index: &Index,
    asked: &Asked,
    (group, amount): (u32, i64),
    most_looked_at: usize,
    is_of_it: impl Fn(u64) -> Result<bool, Error>,
    rows: &mut Vec<(Timestamp, u64)>,
) -> Result<Option<(Timestamp, u64)>, Error> {
    let back = amount.saturating_neg();
    let (from, to) = (asked.from.shifted(back), asked.to.shifted(back));
    let first = from.nanos.checked_next_multiple_of(MILLI_NANOS).unwrap_or(u64::MAX);
    let after = if asked.after == 0 { 0 } else { asked.after.saturating_add(1) };
    let begin = index_key(asked.device, asked.sensor, group, first, after);
    let end = index_key(asked.device, asked.sensor, group, to.nanos, u64::MAX);
    if begin > end {
        return Ok(None);
    }
    let most = rows.len() + asked.limit + 1;
    for (key, looked) in index.range::<&IndexKey>(&begin..=&end)?.zip(1_usize..) {
        let (key, _) = key?;
        let Some((_, time, arrived)) = of_index_key(key.value()) else { continue };
        let row = (Timestamp { nanos: time }.shifted(amount), arrived);
        if is_of_it(arrived)? {
            rows.push(row);
        }
        if looked >= most_looked_at {
            return Ok(Some(row));
        }
        if rows.len() >= most {
            break;
        }
    }
    Ok(None)
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
    let (mut bytes, mut last) = (0, None);
    for row in messages.range::<&Key>(range)? {
        let (key, value) = row?;
        let arrived = arrived_of(key.value());
        if found.texts.len() >= most || bytes > ANSWER_BYTES {
            found.next = last;
            break;
        }
        last = Some(arrived);
        let Some(row) = Row::from_bytes(key.value(), value.value()) else { continue };
        let stream = row.stream.map_or(String::new(), |stream| format!(r#""stream":"{stream}","#));
        // It was JSON when it was written. A disk may give back something else, which must not spoil the answer.
        let is_whole = serde_json::from_str::<IgnoredAny>(&row.text).is_ok();
        let message = if is_whole { &*row.text } else { "null" };
        let shown = format!(
            r#"{{"n":{arrived},{stream}"received":"{}","message":{message}}}"#,
            row.received
        );
        bytes += shown.len();
        found.texts.push(shown);
    }
    Ok(found)
}
