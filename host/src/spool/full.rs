//! What goes when the disk is full: the oldest chunks, or all but one in so many readings of old ones; pure.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::Stored;
use super::chunk::Chunk;
use super::queue::Surplus;
use super::store::{Change, Found};
use crate::reading::Quantity;

/// Messages that go, with the numbers that those declare which are notices.
pub(super) type Gone = Vec<(u64, Option<(u64, u64)>)>;

/// Most notices of one step: each is a message.
const MOST_NOTICES: usize = 256;

/// What is known of a message by its text.
#[derive(Deserialize)]
struct Head<'t> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'t, str>,
    #[serde(borrow, default)]
    sensor: Option<Cow<'t, str>>,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    to: u64,
}

/// The numbers that a message declares, if it is a notice.
fn notice(stored: &Stored) -> Option<(u64, u64)> {
    if !stored.json.starts_with("{\"type\":\"dropped\"") {
        return None;
    }
    let head: Head<'_> = serde_json::from_str(&stored.json).ok()?;
    Some((head.from, head.to))
}

/// Goes through chunks from the oldest on, until enough has gone.
pub(super) struct Relief {
    surplus: Surplus,
    freed: u64,
    /// What is to change on the disk.
    pub(super) change: Change,
    /// What goes for want of room.
    pub(super) gone: Gone,
    /// What goes for its age.
    pub(super) old: Gone,
    /// Numbers of chunks that could not be read.
    pub(super) damaged: Vec<(u64, u64)>,
}

impl Relief {
    pub(super) fn of(surplus: Surplus) -> Relief {
        let (change, gone, old, damaged) = Default::default();
        Relief { surplus, freed: 0, change, gone, old, damaged }
    }

    /// Whether something may have to go at all.
    pub(super) fn is_needed(&self) -> bool {
        self.surplus.bytes > 0 || self.surplus.older_than > 0
    }

    /// Nothing more goes for want of room: the next step sees whether there is enough.
    pub(super) fn wants_no_more(&mut self) {
        self.surplus.bytes = 0;
    }

    /// Takes the oldest chunks that are left, in order. Gives whether there was enough.
    pub(super) fn take_oldest(&mut self, found: &[Found]) -> bool {
        for found in found {
            if found.end <= self.surplus.delivered {
                // It goes by itself.
                self.freed += found.bytes;
                continue;
            }
            let is_old =
                found.chunk.as_ref().is_some_and(|chunk| chunk.stamp < self.surplus.older_than);
            if !is_old && self.freed >= self.surplus.bytes {
                return true;
            }
            if found.chunk.is_none() && found.end > self.surplus.on_disk {
                // Part of what it should hold is in memory as well, which is not to be lost.
                return true;
            }
            self.change.remove.push(found.key);
            self.freed += found.bytes;
            let Some(chunk) = &found.chunk else {
                // Nobody knows what it held: all numbers up to the next chunk, as far as they were not gone before.
                self.damaged.push((found.key, found.end));
                continue;
            };
            let gone = if is_old { &mut self.old } else { &mut self.gone };
            let undelivered =
                chunk.messages.iter().filter(|stored| stored.seq > self.surplus.delivered);
            gone.extend(undelivered.map(|stored| (stored.seq, notice(stored))));
        }
        self.freed >= self.surplus.bytes
    }

    /// Thins out chunks that were not yet, in order, without the newest one. Gives up to which number, and whether there
    /// was enough.
    pub(super) fn thin(&mut self, found: &[Found], keep_one_in: u32) -> (u64, bool) {
        let mut thinned = self.surplus.thinned;
        let mut counts: HashMap<String, u32> = HashMap::new();
        let mut kept = Vec::new();
        let mut stamp = 0;
        let (mut before, mut notices) = (u64::MAX, 0);
        let older = found.split_last().map_or(&[][..], |(_, older)| older);
        for found in older {
            if self.freed >= self.surplus.bytes || notices >= MOST_NOTICES {
                break;
            }
            let Some(chunk) = found.chunk.as_ref().filter(|_| found.key > thinned) else {
                continue;
            };
            for stored in &chunk.messages {
                if stored.seq <= self.surplus.delivered || keeps(stored, keep_one_in, &mut counts) {
                    kept.push(stored.clone());
                    continue;
                }
                notices += usize::from(before.saturating_add(1) != stored.seq);
                before = stored.seq;
                self.freed += stored.json.len() as u64;
                self.gone.push((stored.seq, None));
            }
            self.change.remove.push(found.key);
            stamp = chunk.stamp;
            thinned = found.end;
        }
        self.change.insert = Chunk::pack(None, &kept, stamp);
        (thinned, self.freed >= self.surplus.bytes)
    }
}

/// Readings and health messages are counted by their series; all else is kept.
fn keeps(stored: &Stored, keep_one_in: u32, counts: &mut HashMap<String, u32>) -> bool {
    let Ok(head) = serde_json::from_str::<Head<'_>>(&stored.json) else { return true };
    let is_reading = Quantity::ALL.iter().any(|quantity| quantity.as_str() == head.kind);
    if !is_reading && head.kind != "health" {
        return true;
    }
    let series = format!("{} {}", head.kind, head.sensor.unwrap_or_default());
    let count = counts.entry(series).or_default();
    *count += 1;
    (*count - 1).is_multiple_of(keep_one_in)
}
