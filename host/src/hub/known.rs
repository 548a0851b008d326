//! What the hub knows of one device: who it is, what it sent lately, which alarms are active. Bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::streams::{STREAMS, Streams};
use crate::reading::{Quality, Timestamp};
use crate::uplink::wire::{Body, Measured};

/// Most entries that are kept of a sensor: half an hour at one a second, five hours at one in ten seconds.
const RECENT: usize = 1_800;
/// Most sensors of a device.
pub(super) const SENSORS: usize = 256;
/// Most entries of all devices together, about 30 MB. At this bound a sensor gives its oldest entry for a new one.
const HISTORY: usize = 500_000;
/// Most alarms of a device; cleared ones give way first.
const ALARMS: usize = 256;
/// Longest name of a device, a sensor or an alarm, in characters.
pub(super) const LONGEST_NAME: usize = 64;
/// Most devices.
pub(super) const DEVICES: usize = 1_000;

/// Why a message is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("{what} must have 1 to 64 printable characters")]
    Name { what: &'static str },
    #[error("the hub has its {DEVICES} devices already")]
    TooManyDevices,
    #[error("a device may have {SENSORS} sensors")]
    TooManySensors,
    #[error("a device may have {STREAMS} connections with streams of their own")]
    TooManyStreams,
    #[error("the device has not sent `connect`")]
    NotConnected,
}

/// One device.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Device {
    pub(super) device: String,
    pub(super) connected: bool,
    pub(super) changed: String,
    pub(super) version: String,
    pub(super) behind: Behind,
    pub(super) lost: u64,
    pub(super) sensors: Vec<Sensor>,
    pub(super) alarms: Vec<Alarm>,
    #[serde(skip)]
    pub(super) connections: u32,
    #[serde(skip)]
    pub(super) streams: Streams,
    #[serde(skip)]
    pub(super) counts: Counts,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Behind {
    pub(super) queued: u64,
    pub(super) last_received: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) readings: u64,
    pub(super) faults: u64,
    pub(super) repeated: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Sensor {
    pub(super) sensor: String,
    pub(super) id: Option<String>,
    pub(super) unit: String,
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    pub(super) recent: VecDeque<Entry>,
}

/// A reading or a fault.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    #[serde(serialize_with = "print")]
    pub(super) time: Timestamp,
    #[serde(flatten)]
    what: What,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum What {
    Reading { value: f64, quality: &'static str },
    Fault { fault: Box<str> },
}

fn print<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Alarm {
    alarm: Arc<str>,
    pub(super) sensor: Arc<str>,
    condition: Box<str>,
    pub(super) state: Box<str>,
    severity: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    time: Box<str>,
    since: Box<str>,
}

impl Device {
    pub(super) fn new(device: String) -> Self {
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
            streams: Streams::default(),
            counts: Counts::default(),
        }
    }

    pub(super) fn without_recent(&self) -> Device {
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
            streams: Streams::default(),
            ..*self
        }
    }

    /// A connection with this stream begins. With a new one the device's alerts began anew, so what was active before is
    /// over.
    pub(super) fn follow(&mut self, stream: Option<Uuid>) -> Result<(), Refused> {
        if !self.streams.follow(stream)? {
            return Ok(());
        }
        let now: Box<str> = Timestamp::now().to_string().into();
        for alarm in self.alarms.iter_mut().filter(|alarm| &*alarm.state == "active") {
            alarm.state = "cleared".into();
            alarm.since = now.clone();
            alarm.time = now.clone();
        }
        Ok(())
    }

    pub(super) fn sensor(&mut self, name: &str) -> Result<&mut Sensor, Refused> {
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

    pub(super) fn take(&mut self, body: &Body, entries: &mut usize) -> Result<(), Refused> {
        match body {
            Body::Measured(Measured { sensor, time, value, quality, .. }) => {
                self.counts.readings += 1;
                let known = [Quality::Good, Quality::Uncertain].map(Quality::as_str);
                let quality =
                    known.into_iter().find(|known| *known == &**quality).unwrap_or("uncertain");
                let what = What::Reading { value: *value, quality };
                self.sensor(sensor)?.keep(time, what, entries);
            }
            Body::Fault { sensor, time, reason, .. } => {
                self.counts.faults += 1;
                self.sensor(sensor)?.keep(time, What::Fault { fault: reason.clone() }, entries);
            }
            Body::Alarm { .. } => self.take_alarm(body)?,
            Body::Health { queued, .. } => self.behind.queued = *queued,
            Body::Sensor { .. } | Body::Clock { .. } => {}
            Body::Dropped { .. } | Body::Result { .. } => {}
        }
        Ok(())
    }

    fn take_alarm(&mut self, body: &Body) -> Result<(), Refused> {
        let Body::Alarm { alarm, sensor, condition, state, severity, value, limit, time, .. } =
            body
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
    fn keep(&mut self, time: &str, what: What, entries: &mut usize) {
        // Every message's time was read and printed by us when it came in.
        let time = time.parse().unwrap_or_default();
        if self.recent.len() >= RECENT || *entries >= HISTORY {
            if self.recent.pop_front().is_none() {
                return;
            }
            *entries -= 1;
        }
        self.recent.push_back(Entry { time, what });
        *entries += 1;
    }
}

pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), Refused> {
    if is_name(name) { Ok(()) } else { Err(Refused::Name { what }) }
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(state: &str) -> Body {
        Body::Alarm {
            alarm: "warm".into(),
            sensor: "a".into(),
            condition: "above".into(),
            state: state.into(),
            severity: "critical".into(),
            value: None,
            limit: None,
            time: "2026-01-01T00:00:00.000Z".into(),
            clock: None,
        }
    }

    #[test]
    fn a_new_stream_ends_the_alarms_of_the_one_before() {
        let mut device = Device::new("d".to_owned());
        device.follow(Some(Uuid::from_u128(1))).unwrap();
        device.take(&alarm("active"), &mut 0).unwrap();
        device.follow(Some(Uuid::from_u128(1))).unwrap();
        assert_eq!(&*device.alarms[0].state, "active", "only a connection was lost");
        device.follow(Some(Uuid::from_u128(2))).unwrap();
        assert_eq!(&*device.alarms[0].state, "cleared");
    }

    #[test]
    fn history_is_bounded_a_sensor_and_in_all() {
        let mut device = Device::new("d".to_owned());
        let mut entries = 0;
        let fault = |sensor: &str| Body::Fault {
            sensor: sensor.into(),
            time: "2026-01-01T00:00:00.000Z".into(),
            reason: "stale".into(),
            clock: None,
        };
        for _ in 0..RECENT + 10 {
            device.take(&fault("a"), &mut entries).unwrap();
        }
        assert_eq!((device.sensors[0].recent.len(), entries), (RECENT, RECENT));
        entries = HISTORY;
        device.take(&fault("a"), &mut entries).unwrap();
        device.take(&fault("b"), &mut entries).unwrap();
        assert_eq!(
            (device.sensors[0].recent.len(), device.sensors[1].recent.len(), entries),
            (RECENT, 0, HISTORY)
        );
    }
}
