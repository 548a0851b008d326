//! The hub and its store: what waits to be written, and what becomes of it.

use std::sync::PoisonError;
use std::time::Duration;

use serde::Serialize;

use super::{Hub, Known, Trouble, Update, Waiting};
use crate::hub::known::{SavedDevice, SavedNumbers};
use crate::hub::store::{Batch, Next, Restored};
use crate::reading::Timestamp;
use crate::uplink::wire::to_json;

impl Hub {
    /// What was stored before.
    pub(in crate::hub) fn restore(
        &self,
        Restored { devices, entries, arrived, next_number }: Restored,
    ) {
        let mut known = self.known();
        known.next_number = next_number;
        known.entries = entries;
        known.arrived = arrived;
        known.devices = devices.into_iter().map(|d| (d.device.clone(), d)).collect();
        drop(known);
        self.ready.send_replace(true);
    }

    /// All that waits for the store, as soon as something does; `None` when the hub is closed and nothing waits.
    pub(in crate::hub) fn next_batch(&self) -> Option<Batch> {
        let mut known = self.known();
        loop {
            let Known { devices, waiting, arrived, next_number, .. } = &mut *known;
            let waiting = waiting.as_mut()?;
            if !waiting.touched.is_empty() {
                let turn = waiting.turn;
                let next =
                    Waiting { turn: turn + 1, is_closed: waiting.is_closed, ..Waiting::default() };
                let Waiting { rows, touched, forgotten, room, .. } =
                    std::mem::replace(waiting, next);
                let mut batch = Batch {
                    rows,
                    turn,
                    forgotten,
                    _room: room,
                    arrived: *arrived,
                    next_number: *next_number,
                    ..Batch::default()
                };
                for name in touched {
                    let Some(device) = devices.get_mut(&name) else { continue };
                    batch.acks.extend(device.streams.due());
                    let numbers = to_json(&SavedNumbers::from(&*device));
                    let rest = std::mem::take(&mut device.is_changed)
                        .then(|| to_json(&SavedDevice::from(&*device)));
                    batch.devices.push((name, numbers, rest));
                }
                return Some(batch);
            }
            if waiting.is_closed {
                return None;
            }
            known = self.filled.wait(known).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A batch is stored.
    pub(in crate::hub) fn stored(&self, batch: Batch) {
        for (sender, acked) in &batch.acks {
            sender.send_replace(*acked);
        }
        self.stored.send_replace(batch.turn);
    }

    /// The devices of a batch are in it whole.
    pub(in crate::hub) fn describe(&self, batch: &mut Batch) {
        let known = self.known();
        for (name, _, rest) in &mut batch.devices {
            let device = known.devices.get(name);
            *rest = device.map(|device| to_json(&SavedDevice::from(device)));
        }
    }

    /// All devices go into the next batch, whole.
    pub(in crate::hub) fn touch_all(&self) {
        let mut known = self.known();
        let Known { devices, waiting, .. } = &mut *known;
        let Some(waiting) = waiting else { return };
        for (name, device) in devices {
            device.is_changed = true;
            waiting.touched.insert(name.clone());
        }
    }

    /// Waits until what was taken so far is stored, or for so long.
    pub(in crate::hub) async fn settled(&self, most: Duration) {
        let turn = match &mut self.known().waiting {
            Some(waiting) if waiting.touched.is_empty() => waiting.turn - 1,
            Some(waiting) => {
                waiting.is_asked_for = true;
                self.filled.notify_one();
                waiting.turn
            }
            None => return,
        };
        let mut stored = self.stored.subscribe();
        let wait = stored.wait_for(|stored| *stored >= turn);
        // Whoever asks is told what is there.
        let _in_time = tokio::time::timeout(most, wait).await;
    }

    /// Nothing comes any more: the writer writes what waits and ends.
    pub(in crate::hub) fn close(&self) {
        if let Some(waiting) = &mut self.known().waiting {
            waiting.is_closed = true;
        }
        self.filled.notify_all();
    }

    /// Waits a while, or until the hub is closed.
    pub(in crate::hub) fn pause(&self, pause: Duration) -> Next {
        let is_open = |known: &mut Known| known.waiting.as_ref().is_some_and(|w| !w.is_closed);
        let waited = self.filled.wait_timeout_while(self.known(), pause, is_open);
        let (known, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_closed = known.waiting.as_ref().is_none_or(|waiting| waiting.is_closed);
        if is_closed { Next::End } else { Next::Again }
    }

    /// Waits a while, or until what waits is to be stored before its time.
    pub(in crate::hub) fn rest(&self, pause: Duration) {
        let may_wait = |known: &mut Known| known.waiting.as_ref().is_some_and(|w| !w.is_urgent());
        let waited = self.filled.wait_timeout_while(self.known(), pause, may_wait);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Why nothing can be stored now, or that it can.
    pub(in crate::hub) fn set_trouble(&self, reason: Option<String>) {
        let mut known = self.known();
        match (&known.trouble, &reason) {
            (None, None) => return,
            (Some(before), Some(now)) if before.reason == *now => return,
            (_, Some(reason)) => tracing::warn!(
                "Nothing can be stored, and nothing is acked until it can: {reason}."
            ),
            (Some(before), None) => {
                tracing::info!("What waited since {} is stored.", before.since);
            }
        }
        let since = known.trouble.take().map(|before| before.since);
        known.trouble = reason.map(|reason| Trouble {
            since: since.unwrap_or_else(|| Timestamp::now().to_string()),
            reason,
        });
        if self.updates.receiver_count() > 0 {
            let json = to_json(&OfHub { trouble: known.trouble.as_ref() });
            self.tell(Update::Told("hub", json.into()));
        }
    }

    pub(in crate::hub) fn trouble(&self) -> Option<Trouble> {
        self.known().trouble.clone()
    }
}

#[derive(Serialize)]
struct OfHub<'h> {
    trouble: Option<&'h Trouble>,
}
