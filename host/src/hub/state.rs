//! What the hub knows of its devices: who they are, what they sent lately, which alarms are active. In memory, bounded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::alarms::Alarm;
use super::known::{DEVICES, Device, Refused, SENSORS, Tell, check_name};
use super::receive::{Received, retell};
use crate::reading::Timestamp;
use crate::uplink::wire::{Connect, to_json};

/// Most updates that a slow browser may be behind before it is sent everything anew.
const UPDATES: usize = 1_024;

/// The hub's memory. Changes are short and never wait.
#[derive(Debug)]
pub(super) struct Hub {
    known: Mutex<Known>,
    updates: broadcast::Sender<Update>,
}

#[derive(Debug, Default)]
struct Known {
    devices: BTreeMap<String, Device>,
    /// How many entries all sensors of all devices have together.
    entries: usize,
}

/// A change, as browsers are sent it.
#[derive(Clone, Debug)]
pub(super) enum Update {
    /// `messages` or `device`, with its JSON.
    Told(&'static str, Arc<str>),
    /// All that was told of a device has changed: [`Hub::renewed`] gives it, when a browser can take it.
    Renewed(Arc<str>),
}

impl Hub {
    /// A hub that knows nobody.
    pub(super) fn new() -> Hub {
        Hub { known: Mutex::default(), updates: broadcast::Sender::new(UPDATES) }
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
        let snapshot = to_json(&Snapshot { time: Timestamp::now().to_string(), devices });
        (snapshot, self.updates.subscribe())
    }

    /// A device with all of its history, for a browser that has taken every update before it: nothing is in both.
    /// `None` when updates wait. Devices are never forgotten.
    pub(super) fn renewed(
        &self,
        name: &str,
        updates: &broadcast::Receiver<Update>,
    ) -> Option<Device> {
        // Changes are told while the lock is held. It is short: the copy becomes JSON outside.
        let known = self.known();
        if updates.is_empty() { known.devices.get(name).cloned() } else { None }
    }

    /// A device has connected. Gives the highest number of its stream that is taken already.
    pub(super) fn connect(&self, connect: Connect) -> Result<u64, Refused> {
        check_name("a device's name", &connect.device)?;
        if connect.sensors.len() > SENSORS {
            return Err(Refused::TooManySensors);
        }
        for sensor in &connect.sensors {
            check_name("a sensor's name", &sensor.sensor)?;
        }
        let mut known = self.known();
        let devices = &mut known.devices;
        if devices.len() >= DEVICES && !devices.contains_key(&connect.device) {
            return Err(Refused::TooManyDevices);
        }
        let device = devices
            .entry(connect.device.clone())
            .or_insert_with(|| Device::new(connect.device.clone()));
        let stream = connect.stream;
        device.connect(connect)?;
        self.tell_device(device);
        Ok(device.streams.taken(stream))
    }

    /// A connection of a device has ended.
    pub(super) fn disconnect(&self, name: &str, stream: Option<Uuid>) {
        let mut known = self.known();
        let devices = &mut known.devices;
        let Some(device) = devices.get_mut(name) else { return };
        device.streams.leave(stream);
        device.connections = device.connections.saturating_sub(1);
        if device.connections == 0 {
            device.connected = false;
            device.changed = Timestamp::now().to_string();
            self.tell_device(device);
        }
    }

    /// Takes the messages of one frame. Gives the number up to which all is taken.
    pub(super) fn take(
        &self,
        name: &str,
        stream: Option<Uuid>,
        messages: Vec<Received>,
    ) -> Result<u64, Refused> {
        let mut known = self.known();
        let Known { devices, entries } = &mut *known;
        let device = devices.get_mut(name).ok_or(Refused::NotConnected)?;
        let somebody_looks = self.updates.receiver_count() > 0;
        let mut new = Vec::new();
        let mut tell = Tell::Message;
        for Received { seq, body } in messages {
            if device.streams.has_seen(stream, seq) {
                device.counts.repeated += 1;
                continue;
            }
            let Some(body) = body else { continue };
            tell = tell.max(device.take(&body, stream, entries)?);
            if somebody_looks {
                new.push(retell(seq, body));
            }
        }
        tell = tell.max(device.settle_clock());
        device.behind.last_received = Some(Timestamp::now().to_string());
        if !new.is_empty() {
            let json = format!(r#"{{"device":{},"messages":[{}]}}"#, to_json(&name), new.join(","));
            self.tell(Update::Told("messages", json.into()));
        }
        match tell {
            Tell::Message => {}
            Tell::Device => self.tell_device(device),
            Tell::Everything => self.tell(Update::Renewed(name.into())),
        }
        Ok(device.streams.taken(stream))
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

    /// All devices without their history, as JSON.
    pub(super) fn devices_json(&self) -> String {
        let known = self.known();
        let devices = &known.devices;
        to_json(&devices.values().map(Device::without_recent).collect::<Vec<_>>())
    }

    /// All alarms, as JSON.
    pub(super) fn alarms_json(&self) -> String {
        #[derive(Serialize)]
        struct OfDevice<'d> {
            device: &'d str,
            #[serde(flatten)]
            alarm: &'d Alarm,
        }
        let known = self.known();
        let devices = &known.devices;
        let alarms = devices.values().flat_map(|device| {
            device.alarms.iter().map(|alarm| OfDevice { device: &device.device, alarm })
        });
        to_json(&alarms.collect::<Vec<_>>())
    }

    /// The recent entries of a sensor from one time to another, as JSON; `None` when there is no such sensor.
    pub(super) fn readings_json(
        &self,
        device: &str,
        sensor: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<String> {
        let known = self.known();
        let devices = &known.devices;
        let sensor = devices.get(device)?.sensors.iter().find(|known| known.sensor == sensor)?;
        let entries = sensor.recent.iter().filter(|entry| (from..=to).contains(&entry.when.time));
        Some(to_json(&entries.collect::<Vec<_>>()))
    }

    /// Counters in the Prometheus text form.
    pub(super) fn metrics(&self) -> String {
        let known = self.known();
        let devices = &known.devices;
        let mut text = String::new();
        type Value = fn(&Device) -> u64;
        let metrics: [(&str, &str, &str, Value); 7] = [
            ("weir_device_connected", "gauge", "Whether the device is connected.", |d| {
                d.connected.into()
            }),
            ("weir_device_queued", "gauge", "Messages that wait on the device.", |d| {
                d.behind.queued
            }),
            ("weir_device_readings_total", "counter", "Readings received.", |d| d.counts.readings),
            ("weir_device_faults_total", "counter", "Faults received.", |d| d.counts.faults),
            ("weir_device_lost_total", "counter", "Messages that will never come.", |d| d.lost),
            ("weir_device_repeated_total", "counter", "Messages that came again.", |d| {
                d.counts.repeated
            }),
            ("weir_device_alarms_active", "gauge", "Alarms that are active.", |d| {
                d.alarms.iter().filter(|alarm| alarm.is_active()).count() as u64
            }),
        ];
        for (name, kind, help, value) in metrics {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
            for device in devices.values() {
                let label =
                    device.device.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                text.push_str(&format!("{name}{{device=\"{label}\"}} {}\n", value(device)));
            }
        }
        text
    }
}

#[derive(Serialize)]
struct Snapshot<'h> {
    time: String,
    devices: Vec<&'h Device>,
}
