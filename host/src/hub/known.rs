//! What the hub knows of one device: who it is, what it sent lately, which alarms are active. Bounded.

use serde::Serialize;
use uuid::Uuid;

use super::alarms::Alarms;
use super::history::Sensor;
use super::moment::{ClockStep, Moment, is_unset, print};
use super::streams::{STREAMS, Streams};
use crate::reading::Timestamp;
use crate::uplink::wire::{Body, Connect, Event, Measured, UNSYNCHRONIZED};

/// Most sensors of a device.
pub(super) const SENSORS: usize = 256;
/// Most sensors that a device found beside those of its pipeline: on a bad cable ids appear that nobody has.
const FOUND: usize = 64;
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
    pub(super) connected: bool,
    pub(super) changed: String,
    pub(super) version: String,
    pub(super) behind: Behind,
    pub(super) lost: u64,
    /// Whether its times are by a clock that was not set, as its latest message says.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<&'static str>,
    /// A step of its clock that was told and is not carried out yet.
    #[serde(skip)]
    clock_step: Option<ClockStep>,
    pub(super) sensors: Vec<Sensor>,
    found: Vec<Found>,
    pub(super) alarms: Alarms,
    #[serde(skip)]
    pub(super) connections: u32,
    #[serde(skip)]
    pub(super) streams: Streams,
    #[serde(skip)]
    pub(super) counts: Counts,
}

/// A sensor that is there and not in the device's pipeline.
#[derive(Clone, Debug, Serialize)]
struct Found {
    id: Box<str>,
    #[serde(serialize_with = "print")]
    since: Moment,
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

impl Device {
    pub(super) fn new(device: String) -> Self {
        Device {
            device,
            connected: false,
            changed: String::new(),
            version: String::new(),
            behind: Behind::default(),
            lost: 0,
            clock: None,
            clock_step: None,
            sensors: Vec::new(),
            found: Vec::new(),
            alarms: Alarms::default(),
            connections: 0,
            streams: Streams::default(),
            counts: Counts::default(),
        }
    }

    pub(super) fn without_recent(&self) -> Device {
        Device {
            device: self.device.clone(),
            changed: self.changed.clone(),
            version: self.version.clone(),
            behind: self.behind.clone(),
            sensors: self.sensors.iter().map(Sensor::without_recent).collect(),
            found: self.found.clone(),
            alarms: self.alarms.clone(),
            streams: Streams::default(),
            ..*self
        }
    }

    /// A connection begins.
    pub(super) fn connect(&mut self, connect: Connect) -> Result<(), Refused> {
        self.follow(connect.stream)?;
        self.version = connect.version.chars().take(LONGEST_NAME).collect();
        for mut told in connect.sensors {
            told.id = told.id.filter(|id| is_name(id));
            told.unit = told.unit.chars().take(LONGEST_NAME).collect();
            if let Some(id) = &told.id {
                self.found.retain(|found| *found.id != **id);
            }
            self.sensor(&told.sensor)?.describe(told);
        }
        self.connections += 1;
        self.connected = true;
        self.changed = Timestamp::now().to_string();
        Ok(())
    }

    /// With a new stream the device's process began anew: what was active before is over, what waited for its clock waits
    /// no more, and what it finds it will tell again.
    fn follow(&mut self, stream: Option<Uuid>) -> Result<(), Refused> {
        if self.streams.follow(stream)? {
            self.begin();
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.alarms.end(Timestamp::now());
        self.sensors.iter_mut().for_each(Sensor::leave);
        self.found.clear();
        self.clock = None;
    }

    fn sensor(&mut self, name: &str) -> Result<&mut Sensor, Refused> {
        let position = match self.sensors.iter().position(|known| known.sensor == name) {
            Some(position) => position,
            None => {
                check_name("a sensor's name", name)?;
                if self.sensors.len() >= SENSORS {
                    return Err(Refused::TooManySensors);
                }
                self.sensors.push(Sensor::new(name));
                self.sensors.len() - 1
            }
        };
        self.sensors.get_mut(position).ok_or(Refused::TooManySensors)
    }

    /// Takes a message. `entries` counts those of all devices. Gives what pages have to be told.
    pub(super) fn take(
        &mut self,
        body: &Body,
        stream: Option<Uuid>,
        entries: &mut usize,
    ) -> Result<Tell, Refused> {
        if let Body::Event(Event::Clock { synchronized, step_secs, .. }) = body {
            return Ok(self.step(ClockStep::new(*step_secs, *synchronized)));
        }
        let corrected = self.settle_clock();
        Ok(corrected.max(self.take_other(body, stream, entries)?))
    }

    fn take_other(
        &mut self,
        body: &Body,
        stream: Option<Uuid>,
        entries: &mut usize,
    ) -> Result<Tell, Refused> {
        let event = match body {
            Body::Measured(Measured { sensor, clock, .. }) => {
                self.counts.readings += 1;
                self.hear_clock(clock.as_deref());
                self.sensor(sensor)?.take(body, entries);
                return Ok(Tell::Message);
            }
            Body::Event(event) => event,
        };
        match event {
            Event::Fault { sensor, clock, .. } => {
                self.counts.faults += 1;
                self.hear_clock(clock.as_deref());
                self.sensor(sensor)?.take(body, entries);
            }
            Event::Alarm { alarm, clock, .. } => {
                check_name("an alarm's name", alarm)?;
                self.hear_clock(clock.as_deref());
                self.alarms.take(event);
            }
            Event::Sensor { id, state, time, clock } => {
                self.hear_clock(clock.as_deref());
                self.sight(id, state, Moment::of_message(time, clock.as_deref()));
                return Ok(Tell::Device);
            }
            Event::Dropped { from, to, .. } => {
                let lost = self.streams.declare_lost(stream, *from, *to);
                self.lost = self.lost.saturating_add(lost);
                return Ok(if lost > 0 { Tell::Device } else { Tell::Message });
            }
            Event::Health { queued, .. } => self.behind.queued = *queued,
            Event::Start { .. } => {
                self.begin();
                return Ok(Tell::Device);
            }
            Event::Result { .. } | Event::Clock { .. } => {}
        }
        Ok(Tell::Message)
    }

    fn hear_clock(&mut self, clock: Option<&str>) {
        self.clock = is_unset(clock).then_some(UNSYNCHRONIZED);
    }

    /// A sensor came or went that is not in the pipeline.
    fn sight(&mut self, id: &str, state: &str, since: Moment) {
        self.found.retain(|found| &*found.id != id);
        if state == "found" {
            if self.found.len() >= FOUND {
                self.found.remove(0);
            }
            self.found.push(Found { id: id.into(), since });
        }
    }

    /// Its clock was set. What was taken by it before is put right with the next other message, or at the end of the
    /// frame: all of it is gone through for that, once for any number of steps in a row.
    fn step(&mut self, step: ClockStep) -> Tell {
        match self.clock_step.and_then(|before| before.and(step)) {
            Some(both) => {
                self.clock_step = Some(both);
                Tell::Message
            }
            None => {
                let corrected = self.settle_clock();
                self.clock_step = Some(step);
                corrected
            }
        }
    }

    /// Puts right what waits for it.
    pub(super) fn settle_clock(&mut self) -> Tell {
        self.clock_step.take().map_or(Tell::Message, |step| self.correct(step))
    }

    fn correct(&mut self, step: ClockStep) -> Tell {
        self.clock = (!step.synchronized).then_some(UNSYNCHRONIZED);
        let mut corrected = self.alarms.correct(step);
        for sensor in &mut self.sensors {
            corrected |= sensor.correct(step);
        }
        for found in &mut self.found {
            corrected |= found.since.correct(step);
        }
        if corrected { Tell::Everything } else { Tell::Device }
    }
}

pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), Refused> {
    if is_name(name) { Ok(()) } else { Err(Refused::Name { what }) }
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
