//! A device as the store keeps it: its numbers, which change with every frame, and the rest.

use serde::{Deserialize, Serialize};

use super::{Behind, Counts, Device, Found};
use crate::hub::alarms::{Alarm, Alarms, What};
use crate::hub::clocks::{Clocks, Place};
use crate::hub::history::Sensor;
use crate::hub::moment::{By, Moment};
use crate::hub::streams::Streams;
use crate::reading::{Quantity, Timestamp};
use crate::uplink::wire::{SpoolHealth, UNSYNCHRONIZED, UplinkHealth};

/// What changes with every frame.
#[derive(Serialize, Deserialize)]
pub(in crate::hub) struct SavedNumbers {
    streams: Streams,
    counts: Counts,
    lost: u64,
    behind: Behind,
}

/// The rest.
#[derive(Serialize, Deserialize)]
pub(in crate::hub) struct SavedDevice {
    number: u32,
    connected: bool,
    changed: String,
    version: String,
    unset: bool,
    newest: Place,
    health_at: Place,
    clocks: Clocks,
    sensors: Vec<SavedSensor>,
    found: Vec<(Box<str>, SavedMoment, bool)>,
    alarms: Vec<(What, SavedMoment, SavedMoment)>,
    began: Option<SavedMoment>,
    latest: Place,
    #[serde(default)]
    uplinks: Vec<UplinkHealth>,
    #[serde(default)]
    spool: Option<SpoolHealth>,
}

#[derive(Serialize, Deserialize)]
struct SavedSensor {
    sensor: String,
    id: Option<String>,
    quantity: Option<String>,
    unit: String,
}

/// The time as it was told, whether it was marked, and where.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct SavedMoment(u64, bool, Place);

impl From<&Moment> for SavedMoment {
    fn from(moment: &Moment) -> SavedMoment {
        SavedMoment(moment.told.nanos, moment.is_marked, moment.place)
    }
}

impl SavedMoment {
    fn moment(self, clocks: &Clocks) -> Moment {
        let SavedMoment(nanos, is_marked, place) = self;
        let by = if is_marked { By::UnsetClock } else { By::RightClock };
        Moment::told(Timestamp { nanos }, by, place, clocks)
    }
}

impl From<&Device> for SavedNumbers {
    fn from(device: &Device) -> SavedNumbers {
        SavedNumbers {
            streams: device.streams.clone(),
            counts: device.counts,
            lost: device.lost,
            behind: device.behind.clone(),
        }
    }
}

impl From<&Device> for SavedDevice {
    fn from(device: &Device) -> SavedDevice {
        let sensors = device.sensors.iter().map(|sensor| SavedSensor {
            sensor: sensor.sensor.clone(),
            id: sensor.id.clone(),
            quantity: sensor.quantity.map(str::to_owned),
            unit: sensor.unit.clone(),
        });
        let found = device.found.iter().map(|f| (f.id.clone(), (&f.since).into(), f.is_present));
        let alarms = device.alarms.iter();
        let alarms = alarms.map(|a| (a.what().clone(), (&a.told).into(), (&a.since).into()));
        let (began, latest) = device.alarms.processes();
        SavedDevice {
            number: device.number,
            connected: device.connected,
            changed: device.changed.clone(),
            version: device.version.clone(),
            unset: device.clock.is_some(),
            newest: device.newest,
            health_at: device.health_at,
            clocks: device.clocks.clone(),
            sensors: sensors.collect(),
            found: found.collect(),
            alarms: alarms.collect(),
            began: began.as_ref().map(SavedMoment::from),
            latest,
            uplinks: device.uplinks.clone(),
            spool: device.spool.clone(),
        }
    }
}

impl SavedDevice {
    /// The device as it was, without its recent entries. Nobody is connected yet.
    pub(in crate::hub) fn restored(self, name: String, numbers: SavedNumbers) -> Device {
        let clocks = self.clocks;
        let sensors = self.sensors.into_iter().map(|saved| Sensor {
            id: saved.id,
            quantity: saved.quantity.and_then(|quantity| {
                Quantity::ALL.iter().map(|q| q.as_str()).find(|known| *known == quantity)
            }),
            unit: saved.unit,
            ..Sensor::new(&saved.sensor)
        });
        let found = self.found.into_iter().map(|(id, since, is_present)| Found {
            id,
            since: since.moment(&clocks),
            is_present,
        });
        let alarms = self.alarms.into_iter().map(|(what, told, since)| {
            Alarm::new(what, told.moment(&clocks), since.moment(&clocks))
        });
        let began = self.began.map(|began| began.moment(&clocks));
        let alarms = Alarms::restored(alarms.collect(), began, self.latest);
        let SavedNumbers { mut streams, counts, lost, behind } = numbers;
        streams.all_stored();
        // Who was connected when the hub ended was so until it was heard last.
        let heard = behind.last_received.clone().filter(|_| self.connected);
        Device {
            changed: heard.unwrap_or(self.changed),
            version: self.version,
            behind,
            lost,
            gaps: streams.gaps(),
            uplinks: self.uplinks,
            spool: self.spool,
            clock: self.unset.then_some(UNSYNCHRONIZED),
            sensors: sensors.collect(),
            found: found.collect(),
            alarms,
            streams,
            newest: self.newest,
            health_at: self.health_at,
            counts,
            is_changed: false,
            clocks,
            ..Device::new(name, self.number)
        }
    }
}
