//! What the hub knows of its devices: who they are, what they sent lately, which alarms are active. In memory, bounded.

mod answers;
mod keeping;
mod metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use uuid::Uuid;

use super::known::{DEVICES, Device, Refused, SENSORS, Taken, Tell, check_name};
use super::receive::{Received, Said, Texts};
use super::store::Row;
use super::streams::Acked;
use crate::reading::Timestamp;
use crate::uplink::wire::{Connect, Event, to_json};

/// Most updates that a slow browser may be behind before it is sent everything anew.
const UPDATES: usize = 1_024;

/// Longest of them with messages, in bytes: they are kept for the slowest browser. Our own devices' frames make shorter ones.
const LONGEST_UPDATE: usize = 32 << 10;

/// Most bytes of frames that wait for the store. Beyond that devices wait.
const WAITING_BYTES: usize = 8 << 20;
/// So many of them, and so many numbers that came or were declared, are stored before their time: less than there is room for, and
/// than a device sends before it waits for an ack.
const MUCH_BYTES: usize = WAITING_BYTES / 2;
const MANY_NUMBERS: u64 = 2_048;

/// The hub's memory. Changes are short and never wait.
#[derive(Debug)]
pub(super) struct Hub {
    keeps: Keeps,
    known: Mutex<Known>,
    /// Something waits for the store, or the hub is closed.
    filled: Condvar,
    /// Room for frames that wait for the store.
    room: Arc<Semaphore>,
    /// The last batch that is stored.
    stored: watch::Sender<u64>,
    /// Whether what the hub knew before is here.
    ready: watch::Sender<bool>,
    updates: broadcast::Sender<Update>,
}

#[derive(Debug, Default)]
struct Known {
    devices: BTreeMap<String, Device>,
    /// The number that the next device is given in the store: no other ever had it.
    next_number: u32,
    /// How many entries all sensors of all devices have together.
    entries: usize,
    /// How many messages ever came.
    arrived: u64,
    /// What waits for the store; `None` without one.
    waiting: Option<Waiting>,
    /// Why nothing can be stored now.
    trouble: Option<Trouble>,
}

/// What waits for the store.
#[derive(Debug, Default)]
struct Waiting {
    rows: Vec<Row>,
    /// Devices whose numbers have changed.
    touched: BTreeSet<String>,
    /// Devices that gave way to others.
    forgotten: Vec<String>,
    room: Option<OwnedSemaphorePermit>,
    /// How many numbers came or were declared.
    numbers: u64,
    /// Which batch it will be.
    turn: u64,
    /// Somebody asks what is stored.
    is_asked_for: bool,
    is_closed: bool,
}

impl Waiting {
    /// Whether it is stored before its time: devices wait for acks with as much as they may send, or for room.
    fn is_urgent(&self) -> bool {
        let bytes = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        self.is_closed
            || (self.is_asked_for && !self.touched.is_empty())
            || self.numbers >= MANY_NUMBERS
            || bytes >= MUCH_BYTES
    }
}

/// Why nothing can be stored, and since when.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Trouble {
    pub(super) since: String,
    pub(super) reason: String,
}

/// Where a hub keeps what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeps {
    InMemory,
    OnDisk,
}

/// A change, as browsers are sent it.
#[derive(Clone, Debug)]
pub(super) enum Update {
    /// `messages`, `device` or `hub`, with its JSON.
    Told(&'static str, Arc<str>),
    /// All that was told of a device has changed: [`Hub::renewed`] gives it, when a browser can take it.
    Renewed(Arc<str>),
}

impl Hub {
    /// A hub that knows nobody. With a store it knows nothing before [`Hub::restore`].
    pub(super) fn new(keeps: Keeps) -> Hub {
        let waiting = (keeps == Keeps::OnDisk).then(|| Waiting { turn: 1, ..Waiting::default() });
        Hub {
            keeps,
            known: Mutex::new(Known { waiting, ..Known::default() }),
            filled: Condvar::new(),
            room: Arc::new(Semaphore::new(WAITING_BYTES)),
            stored: watch::Sender::new(0),
            ready: watch::Sender::new(keeps == Keeps::InMemory),
            updates: broadcast::Sender::new(UPDATES),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change leaves it whole, so a panic elsewhere has not broken it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything, for a browser that begins, and what changes from then on: nothing is in both, nothing in neither.
    pub(super) fn look(&self) -> (String, broadcast::Receiver<Update>) {
        // Changes are told while the lock is held.
        let known = self.known();
        let devices = known.devices.values().collect();
        let time = Timestamp::now().to_string();
        let snapshot = to_json(&Snapshot { time, trouble: known.trouble.as_ref(), devices });
        (snapshot, self.updates.subscribe())
    }

    /// A device with all of its history, for a browser that has taken every update before it: nothing is in both.
    /// `None` when updates wait; no device when it gave way to another.
    pub(super) fn renewed(
        &self,
        name: &str,
        updates: &broadcast::Receiver<Update>,
    ) -> Option<Option<Device>> {
        // Changes are told while the lock is held. It is short: the copy becomes JSON outside.
        let known = self.known();
        updates.is_empty().then(|| known.devices.get(name).cloned())
    }

    /// Waits until the hub knows what it knew before.
    pub(super) async fn ready(&self) {
        // The sender lives as long as the hub.
        let mut ready = self.ready.subscribe();
        let _ready = ready.wait_for(|ready| *ready).await;
    }

    /// A device has connected. Gives what is stored of its stream, now and from then on.
    pub(super) fn connect(
        &self,
        connect: Connect,
    ) -> Result<Option<watch::Receiver<Acked>>, Refused> {
        check_name("a device's name", &connect.device)?;
        if connect.sensors.len() > SENSORS {
            return Err(Refused::TooManySensors);
        }
        for sensor in &connect.sensors {
            check_name("a sensor's name", &sensor.sensor)?;
        }
        let mut known = self.known();
        if !*self.ready.borrow() {
            return Err(Refused::NotReady);
        }
        let name = connect.device.clone();
        let is_new = !known.devices.contains_key(&name);
        if is_new && known.devices.len() >= DEVICES {
            known.give_way()?;
        }
        let Known { devices, waiting, next_number, .. } = &mut *known;
        let number = *next_number;
        let device =
            devices.entry(name.clone()).or_insert_with(|| Device::new(name.clone(), number));
        let stream = connect.stream;
        if stream.is_some_and(|stream| device.streams.has_another(stream)) {
            tracing::warn!(
                device = %name.escape_debug(),
                "This device is connected already, under another stream: it was started anew a moment ago, or two devices have one name."
            );
        }
        if let Err(refused) = device.connect(connect) {
            if is_new {
                devices.remove(&name);
            }
            return Err(refused);
        }
        if is_new {
            *next_number = number.saturating_add(1);
        }
        self.tell_device(device);
        let acks = device.streams.acks(stream);
        self.keep(waiting, device);
        Ok(acks)
    }

    /// A connection of a device has ended.
    pub(super) fn disconnect(&self, name: &str, stream: Option<Uuid>) {
        let mut known = self.known();
        let Known { devices, waiting, .. } = &mut *known;
        let Some(device) = devices.get_mut(name) else { return };
        device.streams.leave(stream);
        device.connections = device.connections.saturating_sub(1);
        if device.connections == 0 {
            device.connected = false;
            device.changed = Timestamp::now().to_string();
            device.is_changed = true;
            self.tell_device(device);
            self.keep(waiting, device);
        }
    }

    /// Room for a frame that will wait for the store. While the disk takes nothing there may be none.
    pub(super) async fn room(&self, frame: &str) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(frame.len().min(WAITING_BYTES)).unwrap_or(u32::MAX);
        // It is never closed.
        self.room.clone().acquire_many_owned(bytes).await.ok()
    }

    /// Whether the texts of messages are needed: only the store keeps them.
    pub(super) fn texts(&self) -> Texts {
        match self.keeps {
            Keeps::InMemory => Texts::NotNeeded,
            Keeps::OnDisk => Texts::Needed,
        }
    }

    /// Takes the messages of one frame. They are acked when they are stored.
    pub(super) fn take(
        &self,
        name: &str,
        stream: Option<Uuid>,
        messages: &[Received],
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Refused> {
        let mut known = self.known();
        let Known { devices, entries, arrived, waiting, .. } = &mut *known;
        let device = devices.get_mut(name).ok_or(Refused::NotConnected)?;
        let somebody_looks = self.updates.receiver_count() > 0;
        let mut news = Vec::new();
        let mut tell = Tell::Message;
        let mut refused = Ok(());
        for message in messages {
            let place = match device.number(stream, message.seq, *arrived + 1) {
                Ok(Some(place)) => place,
                Ok(None) => continue,
                Err(error) => {
                    refused = Err(error);
                    break;
                }
            };
            *arrived += 1;
            let taken = device.take(message, stream, place, entries);
            if let Some(waiting) = waiting.as_mut().filter(|_| !is_known_gap(message, &taken)) {
                // Its number is taken, so it is stored, whatever pages can show of it.
                let taken = (place, taken.as_ref().ok());
                waiting.rows.push(Row::new(device.number, *arrived, stream, message, taken));
            }
            match taken {
                Ok(taken) => {
                    tell = tell.max(taken.tell);
                    if somebody_looks && taken.is_news {
                        news.extend(message.retell());
                    }
                }
                Err(error) => {
                    refused = Err(error);
                    break;
                }
            }
        }
        tell = tell.max(device.settle(stream));
        device.behind.last_received = Some(Timestamp::now().to_string());
        if let Some(waiting) = waiting.as_mut() {
            let numbers = messages.iter().map(Received::numbers);
            waiting.numbers = numbers.fold(waiting.numbers, u64::saturating_add);
        }
        self.keep(waiting, device);
        if let (Some(waiting), Some(room)) = (waiting, room) {
            match &mut waiting.room {
                Some(all) => all.merge(room),
                none => *none = Some(room),
            }
        }
        if news.iter().map(String::len).sum::<usize>() > LONGEST_UPDATE {
            tell = Tell::Everything;
        } else if !news.is_empty() {
            let json =
                format!(r#"{{"device":{},"messages":[{}]}}"#, to_json(&name), news.join(","));
            self.tell(Update::Told("messages", json.into()));
        }
        match tell {
            Tell::Message => {}
            Tell::Device => self.tell_device(device),
            Tell::Everything => self.tell(Update::Renewed(name.into())),
        }
        refused
    }

    /// What a device is now goes to the store; without one all is as good as stored.
    fn keep(&self, waiting: &mut Option<Waiting>, device: &mut Device) {
        match waiting {
            Some(waiting) => {
                if !waiting.touched.contains(&device.device) {
                    waiting.touched.insert(device.device.clone());
                }
                self.filled.notify_one();
            }
            None => {
                for (sender, acked) in device.streams.due() {
                    sender.send_replace(acked);
                }
            }
        }
    }

    fn tell_device(&self, device: &Device) {
        if self.updates.receiver_count() > 0 {
            self.tell(Update::Told("device", to_json(&device.without_recent()).into()));
        }
    }

    fn tell(&self, update: Update) {
        // Nobody listens: then nobody misses it.
        let _listeners = self.updates.send(update);
    }
}

impl Known {
    /// The device that nobody misses, and did not for longest, makes room for another.
    fn give_way(&mut self) -> Result<(), Refused> {
        let empty = self.devices.values().filter(|device| device.is_empty());
        let oldest = empty.min_by(|a, b| a.changed.cmp(&b.changed));
        let name = oldest.ok_or(Refused::TooManyDevices)?.device.clone();
        self.devices.remove(&name);
        if let Some(waiting) = &mut self.waiting {
            waiting.forgotten.push(name);
        }
        Ok(())
    }
}

/// A device says what it does not have any more each time it gets there: once is enough to store.
fn is_known_gap(message: &Received, taken: &Result<Taken, Refused>) -> bool {
    let is_gap =
        message.seq.is_none() && matches!(message.said, Said::Event(Event::Dropped { .. }));
    is_gap && taken.as_ref().is_ok_and(|taken| taken.tell == Tell::Message)
}

#[derive(Serialize)]
struct Snapshot<'h> {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'h Trouble>,
    devices: Vec<&'h Device>,
}

#[cfg(test)]
mod tests;
