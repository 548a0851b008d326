//! What the hub knows of one device: who it is, what it sent lately, which alarms are active. Bounded.

mod saved;
mod taking;

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::alarms::Alarms;
use super::clocks::{Clocks, Place};
use super::history::Sensor;
use super::moment::{Moment, print};
use super::streams::{RANGES, STREAMS, Streams};
use crate::reading::Timestamp;
use crate::uplink::wire::{Connect, SpoolHealth, UplinkHealth};

pub(super) use saved::{SavedDevice, SavedNumbers};

/// Most sensors of a device.
pub(super) const SENSORS: usize = 256;
/// Most sensors that a device found beside those of its pipeline: on a bad cable ids appear that nobody has.
const FOUND: usize = 64;
/// Most connections of a device: those of plain clients on one machine share a name, and one that is cut leaves an old one behind
/// for half a minute.
const CONNECTIONS: u32 = 32;
/// Longest name of a device, a sensor or an alarm, in characters.
pub(super) const LONGEST_NAME: usize = 64;
/// Most devices: each takes some kilobytes beside its readings. When there are as many, those give way that are not connected
/// and of which nothing is kept.
pub(super) const DEVICES: usize = 10_000;

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
    #[error("a device may have {CONNECTIONS} connections")]
    TooManyConnections,
    #[error(
        "more than {RANGES} ranges of its numbers are missing: it must send or declare them first"
    )]
    TooManyGaps,
    #[error("the device has not sent `connect`")]
    NotConnected,
    #[error("the hub has not opened its store yet")]
    NotReady,
}

/// What pages have to be told of a change, beside the message itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tell {
    /// The message says it all.
    Message,
    /// How the device is.
    Device,
    /// The device with all of its history: what was told before has changed.
    Everything,
}

/// One device.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Device {
    pub(super) device: String,
    /// Its number in the store.
    #[serde(skip)]
    pub(super) number: u32,
    pub(super) connected: bool,
    pub(super) changed: String,
    pub(super) version: String,
    pub(super) behind: Behind,
    pub(super) lost: u64,
    /// Numbers that were left out and not declared.
    pub(super) gaps: u64,
    /// Ways out and spool, as the device told last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uplinks: Vec<UplinkHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spool: Option<SpoolHealth>,
    /// Whether its times are by a clock that was not set, as its latest message says.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<&'static str>,
    pub(super) sensors: Vec<Sensor>,
    #[serde(serialize_with = "print_present")]
    found: Vec<Found>,
    pub(super) alarms: Alarms,
    #[serde(skip)]
    pub(super) connections: u32,
    #[serde(skip)]
    pub(super) streams: Streams,
    #[serde(skip)]
    pub(super) clocks: Clocks,
    /// Whether more is known of its clock than times were put right by.
    #[serde(skip)]
    is_clock_new: bool,
    /// The newest message that says how the device's clock is, and the newest of its health.
    #[serde(skip)]
    newest: Place,
    #[serde(skip)]
    health_at: Place,
    #[serde(skip)]
    pub(super) counts: Counts,
    /// The sensor after the one that was told last.
    #[serde(skip)]
    next_sensor: usize,
    /// The place after the one that was given away last.
    #[serde(skip)]
    next_place: usize,
    /// Whether more has changed than its numbers since it was last saved.
    #[serde(skip)]
    pub(super) is_changed: bool,
}

/// A sensor that is not in the device's pipeline, and is there, or went.
#[derive(Clone, Debug, Serialize)]
struct Found {
    id: Box<str>,
    #[serde(serialize_with = "print")]
    since: Moment,
    #[serde(skip)]
    is_present: bool,
}

fn print_present<S: Serializer>(found: &[Found], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(found.iter().filter(|found| found.is_present))
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Behind {
    pub(super) queued: u64,
    pub(super) last_received: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    pub(super) readings: u64,
    pub(super) faults: u64,
    pub(super) repeated: u64,
    pub(super) unclean_stops: u64,
}

/// What became of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// The position of the sensor whose reading or fault it is, and when that was.
    pub(super) entry: Option<(usize, Moment)>,
    /// Whether it goes behind all that came before: pages are sent it as it is.
    pub(super) is_news: bool,
    /// What else pages have to be told.
    pub(super) tell: Tell,
}

impl Device {
    pub(super) fn new(device: String, number: u32) -> Self {
        Device {
            device,
            number,
            connected: false,
            changed: String::new(),
            version: String::new(),
            behind: Behind::default(),
            lost: 0,
            gaps: 0,
            uplinks: Vec::new(),
            spool: None,
            clock: None,
            sensors: Vec::new(),
            found: Vec::new(),
            alarms: Alarms::default(),
            connections: 0,
            streams: Streams::default(),
            clocks: Clocks::default(),
            is_clock_new: false,
            newest: Place::default(),
            health_at: Place::default(),
            counts: Counts::default(),
            next_sensor: 0,
            next_place: 0,
            is_changed: true,
        }
    }

    pub(super) fn without_recent(&self) -> Device {
        Device {
            device: self.device.clone(),
            changed: self.changed.clone(),
            version: self.version.clone(),
            behind: self.behind.clone(),
            uplinks: self.uplinks.clone(),
            spool: self.spool.clone(),
            sensors: self.sensors.iter().map(Sensor::without_recent).collect(),
            found: self.found.clone(),
            alarms: self.alarms.clone(),
            streams: Streams::default(),
            clocks: Clocks::default(),
            ..*self
        }
    }

    /// A connection begins.
    pub(super) fn connect(&mut self, connect: Connect) -> Result<(), Refused> {
        if self.connections >= CONNECTIONS {
            return Err(Refused::TooManyConnections);
        }
        let stream = connect.stream;
        self.follow(stream, connect.from)?;
        let described = self.describe(connect);
        if described.is_err() {
            self.streams.leave(stream);
            return described;
        }
        self.connections += 1;
        self.connected = true;
        self.changed = Timestamp::now().to_string();
        self.is_changed = true;
        Ok(())
    }

    /// What it says of itself.
    fn describe(&mut self, connect: Connect) -> Result<(), Refused> {
        self.version = connect.version.chars().take(LONGEST_NAME).collect();
        for mut told in connect.sensors {
            told.id = told.id.filter(|id| is_name(id));
            told.unit = told.unit.chars().take(LONGEST_NAME).collect();
            if let Some(id) = &told.id {
                self.found.retain(|found| *found.id != **id);
            }
            let (_, sensor) = self.sensor(&told.sensor)?;
            sensor.describe(told);
        }
        Ok(())
    }

    /// Whether nobody misses it: it is not connected, and nothing is kept of what it sent.
    pub(super) fn is_empty(&self) -> bool {
        let has_none = |sensor: &Sensor| sensor.recent.is_empty();
        self.connections == 0
            && self.sensors.iter().all(has_none)
            && self.alarms.iter().next().is_none()
    }

    /// With a new stream the device's process began anew.
    fn follow(&mut self, stream: Option<Uuid>, from: Option<u64>) -> Result<(), Refused> {
        let is_new = self.streams.follow(stream, from)?;
        self.gaps = self.streams.gaps();
        if is_new {
            let place = Place { stream: self.streams.number(stream), at: 0 };
            self.begin(Moment::right(Timestamp::now(), place));
        }
        Ok(())
    }

    /// Its process began: alarms that it does not tell again are over, and what it finds it will tell again.
    fn begin(&mut self, start: Moment) {
        self.clocks.start(start.place);
        self.alarms.begin(start);
        self.found.retain(|found| start.place.is_before(found.since.place));
        if self.is_newest(start.place) {
            self.clock = None;
        }
    }

    /// Whether a message here says how the device's clock is now: none newer came before it.
    fn is_newest(&mut self, place: Place) -> bool {
        let is_newest = !place.is_before(self.newest);
        if is_newest {
            self.newest = place;
        }
        is_newest
    }

    fn sensor(&mut self, name: &str) -> Result<(usize, &mut Sensor), Refused> {
        // Devices tell their sensors in turn, so it is the next one as a rule.
        let turn = self.next_sensor;
        let is_next = self.sensors.get(turn).is_some_and(|known| known.sensor == name);
        let known = || self.sensors.iter().position(|known| known.sensor == name);
        let position = match if is_next { Some(turn) } else { known() } {
            Some(position) => position,
            None => {
                check_name("a sensor's name", name)?;
                self.is_changed = true;
                self.place(name)?
            }
        };
        self.next_sensor = if position + 1 < self.sensors.len() { position + 1 } else { 0 };
        let sensor = self.sensors.get_mut(position).ok_or(Refused::TooManySensors)?;
        Ok((position, sensor))
    }

    /// A place for a new sensor: when all are taken, that of one which never sent anything, each in its turn.
    fn place(&mut self, name: &str) -> Result<usize, Refused> {
        if self.sensors.len() < SENSORS {
            self.sensors.push(Sensor::new(name));
            return Ok(self.sensors.len() - 1);
        }
        let empty = |position: &usize| {
            self.sensors.get(*position).is_some_and(|known| known.recent.is_empty())
        };
        let mut turns = (self.next_place..SENSORS).chain(0..self.next_place.min(SENSORS));
        let position = turns.find(empty).ok_or(Refused::TooManySensors)?;
        self.next_place = position + 1;
        if let Some(sensor) = self.sensors.get_mut(position) {
            *sensor = Sensor::new(name);
        }
        Ok(position)
    }
}

pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), Refused> {
    if is_name(name) { Ok(()) } else { Err(Refused::Name { what }) }
}

pub(super) fn is_name(name: &str) -> bool {
    if name.is_ascii() {
        // As below, and faster.
        return (1..=LONGEST_NAME).contains(&name.len())
            && !name.bytes().any(|b| b.is_ascii_control());
    }
    (1..=LONGEST_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
