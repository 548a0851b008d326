//! What the spool must know when it starts again, and how it goes on; pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Queue, UNCLEAN};
use crate::ranges::Ranges;
use crate::spool::store::{Known, StoreError};
use crate::uplink::DASHBOARD;

/// What the spool must know when it starts again. Its form is in the file: a change needs a new version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::spool) struct Meta {
    pub(super) version: u32,
    pub(in crate::spool) stream: Uuid,
    /// All numbers up to here are on the disk, delivered, or gone.
    pub(in crate::spool) committed: u64,
    /// Numbers up to here may have been given.
    pub(super) reserved: u64,
    /// How long the spool was at work, in seconds: the clock of all ages, since the wall clock may be wrong.
    pub(super) lived: u64,
    /// How many numbers were reserved at once.
    pub(super) block: u64,
    pub(super) unclean_starts: u64,
    /// Chunks up to here were thinned out.
    pub(super) thinned: u64,
    pub(super) places: Vec<(String, u64)>,
}

pub(super) const VERSION: u32 = 1;

impl Meta {
    /// What a store knows; nothing in a new one.
    pub(in crate::spool) fn of(known: &Known) -> Result<Option<(Meta, Ranges)>, StoreError> {
        let Some(meta) = &known.meta else { return Ok(None) };
        let damaged = |error: serde_json::Error| StoreError::Damaged(error.to_string());
        let meta: Meta = serde_json::from_slice(meta).map_err(damaged)?;
        if meta.version != VERSION {
            return Err(StoreError::Damaged(format!("its version is {}", meta.version)));
        }
        let gone =
            known.gone.as_deref().map(serde_json::from_slice).transpose().map_err(damaged)?;
        Ok(Some((meta, gone.unwrap_or_default())))
    }
}

impl Queue {
    /// Goes on where an earlier process stopped. It is the first thing that a queue does.
    pub(in crate::spool) fn resume(&mut self, meta: Meta, gone: Ranges, bytes: u64, now: Duration) {
        self.stream = meta.stream;
        self.last = meta.reserved.max(meta.committed);
        self.written = self.last;
        self.trimmed = if bytes > 0 { meta.committed } else { 0 };
        self.gone = gone;
        let heir = self.heir(&meta);
        let heir = heir.as_ref();
        for place in &mut self.places {
            // One that is new has nothing to do with what others have not delivered yet: it begins here.
            let name = heir.filter(|(heir, _)| *heir == place.name).map(|(_, of)| of);
            let name = name.unwrap_or(&place.name).clone();
            let known = meta.places.iter().find(|(known, _)| *known == name);
            place.acked = known.map_or(self.last, |&(_, acked)| acked.min(self.last));
        }
        self.disk.bytes = bytes;
        self.disk.reserved = self.last;
        self.begun.lived = meta.lived;
        self.begun.block = meta.block;
        self.begun.unclean_starts = meta.unclean_starts;
        self.begun.last = self.last;
        self.thinned = meta.thinned;
        if meta.reserved > meta.committed {
            self.begun.unclean_starts += 1;
            self.begun.unused = meta.reserved - meta.committed;
            let mut rest = Ranges::default();
            rest.insert(meta.committed + 1, meta.reserved);
            self.gone.insert(meta.committed + 1, meta.reserved);
            self.declare(&rest, UNCLEAN, now);
        }
        self.forget_passed();
    }

    /// The places that nobody has any more, with how much waits for each.
    pub(in crate::spool) fn forsaken(&self, meta: &Meta) -> Vec<(String, u64)> {
        let heir = self.heir(meta);
        let is_heirs = |name: &String| heir.as_ref().is_some_and(|(_, of)| of == name);
        let places = meta.places.iter().filter(|(name, _)| self.place(name).is_none());
        let places = places.filter(|(name, _)| !is_heirs(name));
        places.map(|(name, acked)| (name.clone(), self.queued(*acked))).collect()
    }

    /// Where one name is gone and one is new, the new one is the same uplink under another name: it and its old name. The hub
    /// inside this process is not: what it has, nobody else has.
    pub(in crate::spool) fn heir(&self, meta: &Meta) -> Option<(String, String)> {
        let is_new = |name: &str| meta.places.iter().all(|(known, _)| known != name);
        let is_gone = |name: &str| self.place(name).is_none();
        let new = self.places.iter().filter(|place| is_new(&place.name));
        let mut new = new.filter(|place| place.name != DASHBOARD);
        let old = meta.places.iter().filter(|(name, _)| is_gone(name));
        let mut old = old.filter(|(name, _)| name != DASHBOARD);
        match (new.next(), new.next(), old.next(), old.next()) {
            (Some(new), None, Some((old, _)), None) => Some((new.name.clone(), old.clone())),
            _ => None,
        }
    }

    /// Numbers that an unclean stop left unused.
    pub(in crate::spool) fn unused(&self) -> u64 {
        self.begun.unused
    }
}
