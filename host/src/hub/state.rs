//! What the hub knows of its devices: who they are, what they sent lately, which alarms are active. In memory, bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::reading::Timestamp;
use crate::uplink::wire::{Body, Connect, to_json};

/// Most entries that are kept of a sensor: half an hour at one a second, five hours at one in ten seconds.
const RECENT: usize = 1_800;
/// Most devices.
const DEVICES: usize = 1_000;
/// Most sensors of a device.
const SENSORS: usize = 256;
/// Most alarms of a device; cleared ones give way first.
const ALARMS: usize = 256;
/// Longest name of a device, a sensor or an alarm, in characters.
const LONGEST_NAME: usize = 64;
/// Most updates that a slow browser may be behind before it is sent everything anew.
const UPDATES: usize = 1_024;

/// The hub's memory. Changes are short and never wait.
#[derive(Debug)]
pub(super) struct Hub {
    devices: Mutex<BTreeMap<String, Device>>,
    updates: broadcast::Sender<Update>,
}

/// A change, as browsers are sent it.
#[derive(Clone, Debug)]
pub(super) struct Update {
    /// `messages` or `device`.
    pub(super) kind: &'static str,
    /// JSON.
    pub(super) json: Arc<str>,
}

/// Why a message is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("{what} must have 1 to 64 printable characters")]
    Name { what: &'static str },
    #[error("the hub has its {DEVICES} devices already")]
    TooManyDevices,
    #[error("a device may have {SENSORS} sensors")]
    TooManySensors,
    #[error("the device has not sent `connect`")]
    NotConnected,
}

/// One device.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Device {
    device: String,
    connected: bool,
    changed: String,
    version: String,
    behind: Behind,
    lost: u64,
    sensors: Vec<Sensor>,
    alarms: Vec<Alarm>,
    #[serde(skip)]
    connections: u32,
    #[serde(skip)]
    stream: Option<Uuid>,
    /// The highest number that was taken.
    #[serde(skip)]
    taken: u64,
    #[serde(skip)]
    counts: Counts,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Behind {
    queued: u64,
    last_received: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    readings: u64,
    faults: u64,
    repeated: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Sensor {
    sensor: String,
    id: Option<String>,
    unit: String,
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    recent: VecDeque<Entry>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Entry {
    Reading { time: Box<str>, value: f64, quality: Box<str> },
    Fault { time: Box<str>, fault: Box<str> },
}

#[derive(Clone, Debug, Serialize)]
struct Alarm {
    alarm: Arc<str>,
    sensor: Arc<str>,
    condition: Box<str>,
    state: Box<str>,
    severity: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    time: Box<str>,
    since: Box<str>,
}

/// A message as it came: its number, its meaning, and its own text for the browsers.
pub(super) struct Received<'t> {
    pub(super) seq: Option<u64>,
    pub(super) body: Option<Body>,
    pub(super) text: &'t RawValue,
}

impl Hub {
    /// A hub that knows nobody.
    pub(super) fn new() -> Hub {
        Hub { devices: Mutex::default(), updates: broadcast::Sender::new(UPDATES) }
    }

    fn devices(&self) -> MutexGuard<'_, BTreeMap<String, Device>> {
        // Every change leaves the map whole, so a panic elsewhere has not broken it.
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What will change from now on.
    pub(super) fn updates(&self) -> broadcast::Receiver<Update> {
        self.updates.subscribe()
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
        let mut devices = self.devices();
        if devices.len() >= DEVICES && !devices.contains_key(&connect.device) {
            return Err(Refused::TooManyDevices);
        }
        let device = devices
            .entry(connect.device.clone())
            .or_insert_with(|| Device::new(connect.device.clone()));
        if device.stream != connect.stream || connect.stream.is_none() {
            device.stream = connect.stream;
            device.taken = 0;
        }
        device.version = connect.version.chars().take(LONGEST_NAME).collect();
        for sensor in connect.sensors {
            let known = device.sensor(&sensor.sensor)?;
            known.id = sensor.id.filter(|id| is_name(id));
            known.unit = sensor.unit.chars().take(LONGEST_NAME).collect();
        }
        device.connections += 1;
        device.connected = true;
        device.changed = Timestamp::now().to_string();
        self.tell_device(device);
        Ok(device.taken)
    }

    /// A connection of a device has ended.
    pub(super) fn disconnect(&self, name: &str) {
        let mut devices = self.devices();
        let Some(device) = devices.get_mut(name) else { return };
        device.connections = device.connections.saturating_sub(1);
        if device.connections == 0 {
            device.connected = false;
            device.changed = Timestamp::now().to_string();
            self.tell_device(device);
        }
    }

    /// Takes the messages of one frame. Gives the number up to which all is taken.
    pub(super) fn take(&self, name: &str, messages: &[Received<'_>]) -> Result<u64, Refused> {
        let mut devices = self.devices();
        let device = devices.get_mut(name).ok_or(Refused::NotConnected)?;
        let mut new = Vec::with_capacity(messages.len());
        for message in messages {
            if device.has_seen(message.seq) {
                device.counts.repeated += 1;
                continue;
            }
            if let Some(body) = &message.body {
                device.take(body)?;
            }
            new.push(message.text);
        }
        device.behind.last_received = Some(Timestamp::now().to_string());
        if !new.is_empty() && self.updates.receiver_count() > 0 {
            let update = Messages { device: name, messages: &new };
            self.tell("messages", &update);
        }
        Ok(device.taken)
    }

    fn tell_device(&self, device: &Device) {
        if self.updates.receiver_count() > 0 {
            self.tell("device", &device.without_recent());
        }
    }

    fn tell(&self, kind: &'static str, update: &impl Serialize) {
        // Nobody listens: then nobody misses it.
        let _listeners = self.updates.send(Update { kind, json: to_json(update).into() });
    }

    /// Everything, for a browser that begins.
    pub(super) fn snapshot(&self) -> String {
        let devices = self.devices();
        to_json(&Snapshot {
            time: Timestamp::now().to_string(),
            devices: devices.values().collect(),
        })
    }

    /// All devices without their history, as JSON.
    pub(super) fn devices_json(&self) -> String {
        let devices = self.devices();
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
        let devices = self.devices();
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
        from: &str,
        to: &str,
    ) -> Option<String> {
        let devices = self.devices();
        let sensor = devices.get(device)?.sensors.iter().find(|known| known.sensor == sensor)?;
        // Times of equal form compare as their texts do.
        let entries = sensor.recent.iter().filter(|entry| (from..=to).contains(&entry.time()));
        Some(to_json(&entries.collect::<Vec<_>>()))
    }

    /// Counters in the Prometheus text form.
    pub(super) fn metrics(&self) -> String {
        let devices = self.devices();
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
                d.alarms.iter().filter(|alarm| &*alarm.state == "active").count() as u64
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

#[derive(Serialize)]
struct Messages<'m> {
    device: &'m str,
    messages: &'m [&'m RawValue],
}

impl Device {
    fn new(device: String) -> Self {
        Device {
            device,
            connected: false,
            changed: String::new(),
            version: String::new(),
            behind: Behind::default(),
            lost: 0,
            sensors: Vec::new(),
            alarms: Vec::new(),
            connections: 0,
            stream: None,
            taken: 0,
            counts: Counts::default(),
        }
    }

    fn without_recent(&self) -> Device {
        let sensors = self.sensors.iter().map(|sensor| Sensor {
            recent: VecDeque::new(),
            sensor: sensor.sensor.clone(),
            id: sensor.id.clone(),
            unit: sensor.unit.clone(),
        });
        Device { sensors: sensors.collect(), ..self.shallow() }
    }

    fn shallow(&self) -> Device {
        Device {
            device: self.device.clone(),
            changed: self.changed.clone(),
            version: self.version.clone(),
            behind: self.behind.clone(),
            sensors: Vec::new(),
            alarms: self.alarms.clone(),
            ..*self
        }
    }

    /// Whether a number was taken before; notes it when not. A message without a number is always new.
    fn has_seen(&mut self, seq: Option<u64>) -> bool {
        let Some(seq) = seq else { return false };
        if seq <= self.taken {
            return true;
        }
        self.taken = seq;
        false
    }

    fn sensor(&mut self, name: &str) -> Result<&mut Sensor, Refused> {
        let position = match self.sensors.iter().position(|known| known.sensor == name) {
            Some(position) => position,
            None => {
                check_name("a sensor's name", name)?;
                if self.sensors.len() >= SENSORS {
                    return Err(Refused::TooManySensors);
                }
                let recent = VecDeque::new();
                self.sensors.push(Sensor {
                    sensor: name.to_owned(),
                    id: None,
                    unit: "celsius".to_owned(),
                    recent,
                });
                self.sensors.len() - 1
            }
        };
        self.sensors.get_mut(position).ok_or(Refused::TooManySensors)
    }

    fn take(&mut self, body: &Body) -> Result<(), Refused> {
        match body {
            Body::Temperature { sensor, time, value, quality } => {
                self.counts.readings += 1;
                let entry =
                    Entry::Reading { time: time.clone(), value: *value, quality: quality.clone() };
                self.sensor(sensor)?.keep(entry);
            }
            Body::Fault { sensor, time, reason } => {
                self.counts.faults += 1;
                self.sensor(sensor)?
                    .keep(Entry::Fault { time: time.clone(), fault: reason.clone() });
            }
            Body::Alarm { .. } => self.take_alarm(body)?,
            Body::Dropped { from, to, .. } => {
                self.lost = self.lost.saturating_add(to.saturating_sub(*from).saturating_add(1));
            }
            Body::Health { queued, .. } => self.behind.queued = *queued,
            Body::Result { .. } => {}
        }
        Ok(())
    }

    fn take_alarm(&mut self, body: &Body) -> Result<(), Refused> {
        let Body::Alarm { alarm, sensor, condition, state, severity, value, limit, time } = body
        else {
            return Ok(());
        };
        check_name("an alarm's name", alarm)?;
        let mut taken = Alarm {
            alarm: alarm.clone(),
            sensor: sensor.clone(),
            condition: condition.clone(),
            state: state.clone(),
            severity: severity.clone(),
            value: *value,
            limit: *limit,
            time: time.clone(),
            since: time.clone(),
        };
        let same = |known: &Alarm| {
            (&known.alarm, &known.sensor, &known.condition)
                == (&taken.alarm, &taken.sensor, &taken.condition)
        };
        if let Some(position) = self.alarms.iter().position(same)
            && let Some(known) = self.alarms.get_mut(position)
        {
            if known.state == taken.state {
                // A repeat: it is active since it became so.
                taken.since = known.since.clone();
            }
            *known = taken;
            return Ok(());
        }
        if self.alarms.len() >= ALARMS {
            let cleared = self.alarms.iter().position(|alarm| &*alarm.state != "active");
            self.alarms.remove(cleared.unwrap_or(0));
        }
        self.alarms.push(taken);
        Ok(())
    }
}

impl Sensor {
    fn keep(&mut self, entry: Entry) {
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(entry);
    }
}

impl Entry {
    fn time(&self) -> &str {
        match self {
            Entry::Reading { time, .. } | Entry::Fault { time, .. } => time,
        }
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), Refused> {
    if is_name(name) { Ok(()) } else { Err(Refused::Name { what }) }
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}
