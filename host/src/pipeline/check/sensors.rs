//! `[[sensor]]`: its driver and the driver's keys.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::DeTable;

use super::{Checker, NAME, Unique, parse_name, place};
use crate::pipeline::keys::{Keys, one_of, parse_duration};
use crate::pipeline::problems::Source;
use crate::pipeline::{AllThermometers, Driver, Sensor};
use crate::sensor::w1::{ChipSettings, ConversionTime};
use crate::sensor::{Class, RomId, SimulatedSettings};

/// How often a sensor may be read: a DS18B20 needs 0.75 s for a conversion, other drivers are quicker.
const INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);
/// Reading a DS18B20 more often warms it, and other values of the kernel's change slowly.
const USUAL_INTERVAL: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
/// What a conversion may be given: the quickest clones need 11 ms, a DS18B20 at most 750.
const CONVERSION_TIMES: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_millis(1_500);
const DRIVERS: [(&str, Word); 5] = [
    ("ds18b20", Word::Ds18b20),
    ("iio", Word::Attribute(Class::Iio)),
    ("hwmon", Word::Attribute(Class::Hwmon)),
    ("simulated", Word::Simulated),
    ("replay", Word::Replay),
];

/// What `driver` can be.
#[derive(Clone, Copy)]
enum Word {
    Ds18b20,
    Attribute(Class),
    Simulated,
    Replay,
}

/// What must differ between sensors.
struct Taken {
    names: Unique,
    ids: Unique,
    channels: Unique,
}

/// A table of the file with its place.
type Table<'t, 'a> = (&'t DeTable<'a>, Range<usize>);

/// The `id` that takes the one thermometer that is there.
const ANY: &str = "any";
/// The `id` that takes all that are there.
const ALL: &str = "all";

/// Whether a table stands for all thermometers, so that it is no sensor of its own.
pub(super) fn is_for_all((table, _): &Table<'_, '_>) -> bool {
    table.get("id").is_some_and(|id| id.get_ref().as_str() == Some(ALL))
}

impl<'a> Checker<'_, 'a, '_> {
    pub(super) fn sensors(&mut self, tables: &[&Table<'_, 'a>]) -> Vec<Option<Sensor>> {
        let mut taken = Taken {
            names: Unique::new("name"),
            ids: Unique::new("id"),
            channels: Unique::new("channel"),
        };
        let sensors = tables.iter().enumerate().map(|(position, (table, span))| {
            let keys = Keys::new(place("sensor", position, table), table, span.clone());
            self.sensor(keys, position, &mut taken)
        });
        sensors.collect()
    }

    /// `id = "all"`: each thermometer under its own ROM id.
    pub(super) fn all_thermometers(
        &mut self,
        tables: &[&Table<'_, 'a>],
    ) -> Option<AllThermometers> {
        for (_, span) in tables.iter().skip(1) {
            self.source.problem(span, "`id` is \"all\" in more than one [[sensor]]".to_owned());
        }
        let (table, span) = tables.first()?;
        let mut keys = Keys::new("sensor `all`", table, span.clone());
        if let Some(name) = keys.get("name") {
            let allowed = "left out: with `id = \"all\"` each sensor's name is its ROM id";
            keys.refuse(self.source, "name", &name.span(), allowed);
        }
        let only = [("ds18b20", ())];
        if keys.choice(self.source, "driver", &only).is_none() && keys.get("driver").is_none() {
            keys.missing(self.source, "driver", "\"ds18b20\"");
        }
        keys.get("id");
        let interval = keys.duration(self.source, "interval", INTERVALS, USUAL_INTERVAL);
        let settings = chip_settings(self.source, &mut keys);
        keys.finish(self.source);
        Some(AllThermometers { interval, settings })
    }

    fn sensor(
        &mut self,
        mut keys: Keys<'_, 'a>,
        position: usize,
        taken: &mut Taken,
    ) -> Option<Sensor> {
        let source = &mut *self.source;
        let name = keys.required(source, "name", NAME, parse_name);
        if let Some(name) = &name {
            taken.names.check(source, &keys, &name.value, &name.span);
        }
        let driver = match keys.choice(source, "driver", &DRIVERS) {
            Some(driver) => driver.value,
            None => {
                if keys.get("driver").is_none() {
                    let words = DRIVERS.iter().map(|(word, _)| *word);
                    keys.missing(source, "driver", &one_of(words));
                }
                // Which keys are known depends on the driver: without it, none can be called unknown.
                return None;
            }
        };
        let driver = match driver {
            Word::Ds18b20 => ds18b20(source, &mut keys, &mut taken.ids),
            Word::Attribute(class) => attribute(source, &mut keys, class, &mut taken.channels),
            Word::Simulated => Some(Driver::Simulated {
                settings: simulated(source, &mut keys, position),
                interval: keys.duration(source, "interval", INTERVALS, SECOND),
            }),
            Word::Replay => {
                let file = keys.required(source, "file", "the path of a CSV file", |text| {
                    Some(self.folder.join(text))
                });
                let column =
                    keys.parsed(source, "column", "the sensor's name in the file", |text| {
                        Some(text.to_owned())
                    });
                let speed = keys.number(source, "speed", 0.001..=100_000.0, 1.0);
                let named = name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
                let column = column.map_or(named, |column| column.value);
                file.map(|file| Driver::Replay { file: file.value, column, speed })
            }
        };
        keys.finish(source);
        Some(Sensor { name: name?.value.into(), driver: driver? })
    }
}

fn ds18b20(source: &mut Source<'_>, keys: &mut Keys<'_, '_>, ids: &mut Unique) -> Option<Driver> {
    let allowed = "a ROM id such as \"28-0316a2794dff\" (`weir sensors` lists them), \"any\" for the only thermometer \
                   there is, or \"all\"";
    let id = keys.required(source, "id", allowed, |text| match text {
        ANY => Some(None),
        id => id.parse::<RomId>().ok().map(Some),
    });
    if let Some(id) = &id {
        let written = id.value.map_or_else(|| ANY.to_owned(), |id| id.to_string());
        ids.check(source, keys, &written, &id.span);
    }
    let interval = keys.duration(source, "interval", INTERVALS, USUAL_INTERVAL);
    let settings = chip_settings(source, keys);
    id.map(|id| Driver::Ds18b20 { id: id.value, interval, settings })
}

fn attribute(
    source: &mut Source<'_>,
    keys: &mut Keys<'_, '_>,
    class: Class,
    channels: &mut Unique,
) -> Option<Driver> {
    let (devices, part, examples) = match class {
        Class::Iio => (
            "\"bme280\", or its folder, such as \"iio:device0\"",
            "between `in_` and `_input` or `_raw`",
            "\"temp\" or \"voltage0\"",
        ),
        Class::Hwmon => (
            "\"cpu_thermal\", or its folder, such as \"hwmon0\"",
            "before `_input`",
            "\"temp1\" or \"in0\"",
        ),
    };
    let allowed = format!("the text of the device's file `name`, such as {devices}");
    let mut device = keys.required(source, "device", &allowed, |text| {
        class.is_device(text).then(|| text.to_owned())
    });
    if let Some(at) = device.take_if(|at| class.is_w1(&at.value)) {
        let allowed = "another device: a thermometer on a 1-Wire bus is read by `driver = \"ds18b20\"`, and hwmon \
                       would start conversions of its own behind that driver's back";
        keys.refuse(source, "device", &at.span, allowed);
    }
    let kinds = one_of(class.kinds().iter().map(|kind| kind.word));
    let allowed =
        format!("what the name of its file has {part}, such as {examples}; it begins with {kinds}");
    let channel = keys.required(source, "channel", &allowed, |text| class.channel(text));
    let interval = keys.duration(source, "interval", INTERVALS, USUAL_INTERVAL);
    let (device, channel) = (device?.value, channel?);
    channels.check(source, keys, &channel.value.address(class, &device), &channel.span);
    Some(Driver::Attribute { class, device, channel: channel.value, interval })
}

fn chip_settings(source: &mut Source<'_>, keys: &mut Keys<'_, '_>) -> ChipSettings {
    let resolution = keys.integer(source, "resolution", 9..=12);
    let allowed = "\"measured\", or a duration from 10ms to 1s 500ms in whole milliseconds";
    let conversion_time = keys.parsed(source, "conversion_time", allowed, |text| match text {
        "measured" => Some(ConversionTime::Measured),
        text => {
            let is_whole = |time: &Duration| time.subsec_nanos().is_multiple_of(1_000_000);
            let time = parse_duration(text).filter(|time| CONVERSION_TIMES.contains(time));
            let time = time.filter(is_whole);
            time.map(ConversionTime::Fixed)
        }
    });
    ChipSettings {
        resolution: resolution.and_then(|at| u8::try_from(at.value).ok()),
        conversion_time: conversion_time.map(|at| at.value),
    }
}

fn simulated(
    source: &mut Source<'_>,
    keys: &mut Keys<'_, '_>,
    position: usize,
) -> SimulatedSettings {
    let periods = SECOND..=Duration::from_secs(7 * 86_400);
    let seed =
        keys.integer(source, "seed", 0..=i64::MAX).and_then(|at| u64::try_from(at.value).ok());
    let door_every = keys.duration(source, "door_every", periods.clone(), Duration::ZERO);
    SimulatedSettings {
        seed: seed.unwrap_or(position as u64),
        mean_celsius: keys.number(source, "mean_celsius", -50.0..=120.0, 20.0),
        swing_celsius: keys.number(source, "swing_celsius", 0.0..=50.0, 1.0),
        period: keys.duration(source, "period", periods, Duration::from_secs(600)),
        noise_celsius: keys.number(source, "noise_celsius", 0.0..=10.0, 0.05),
        door_every: (!door_every.is_zero()).then_some(door_every),
        door_celsius: keys.number(source, "door_celsius", -50.0..=50.0, 10.0),
        fault_percent: keys.number(source, "fault_percent", 0.0..=100.0, 0.0),
    }
}
