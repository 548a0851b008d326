//! The domain: readings, faults, alarms and their time. No input, no output, nothing else of ours.

mod time;
mod words;

use std::sync::Arc;
use std::time::Duration;

pub use time::{Timestamp, TimestampError};
pub use words::{Doubt, FaultReason, Quantity, Severity};

/// How far a reading can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// As good as the sensor is.
    Good,
    /// There is a doubt about it, for instance a clone chip's 85 °C.
    Uncertain,
}

impl Quality {
    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Quality::Good => "good",
            Quality::Uncertain => "uncertain",
        }
    }

    /// The number in the `quality` column.
    pub const fn code(self) -> u8 {
        match self {
            Quality::Good => 0,
            Quality::Uncertain => 1,
        }
    }

    /// The quality behind a number of the `quality` column.
    pub const fn from_code(code: u8) -> Option<Quality> {
        match code {
            0 => Some(Quality::Good),
            1 => Some(Quality::Uncertain),
            _ => None,
        }
    }
}

/// One series of measured values: one quantity of one sensor. Its number is its position in the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The sensor's name in the pipeline file.
    pub sensor: Arc<str>,
    /// The sensor's own address, such as a ROM id, where it has one and it is known beforehand.
    pub id: Option<Arc<str>>,
    /// What is measured, which also says in which unit.
    pub quantity: Quantity,
    /// The time between two readings, where it is known beforehand.
    pub interval: Option<Duration>,
}

/// One measured value with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The number of its series.
    pub series: u32,
    /// When the conversion began.
    pub time: Timestamp,
    /// In the unit of its series; finite.
    pub value: f64,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// One measured value, before it has a series and a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// In the unit of the series.
    pub value: f64,
    /// Why it is uncertain; it is good when there is no doubt.
    pub doubt: Option<Doubt>,
}

impl Measured {
    /// A value without doubt.
    pub fn good(value: f64) -> Measured {
        Measured { value, doubt: None }
    }
}

/// What a driver makes of one sensor in one cycle.
pub type Measurement = Result<Measured, FaultReason>;

/// One measurement that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The number of the series that it was for.
    pub series: u32,
    /// When it failed.
    pub time: Timestamp,
    /// Why.
    pub reason: FaultReason,
}

/// Readings in columns of equal length, as they cross into plugins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// The number of the series.
    pub series: Vec<u32>,
    /// Nanoseconds since the Unix epoch.
    pub time: Vec<u64>,
    /// In the unit of the series; finite.
    pub value: Vec<f64>,
    /// [`Quality::code`].
    pub quality: Vec<u8>,
}

impl Readings {
    /// How many readings there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Adds one at the end.
    pub fn push(&mut self, reading: Reading) {
        self.series.push(reading.series);
        self.time.push(reading.time.nanos);
        self.value.push(reading.value);
        self.quality.push(reading.quality.code());
    }

    /// Row by row.
    pub fn iter(&self) -> impl Iterator<Item = Reading> + '_ {
        let rows = self.series.iter().zip(&self.time).zip(&self.value).zip(&self.quality);
        rows.map(|(((&series, &nanos), &value), &quality)| Reading {
            series,
            time: Timestamp { nanos },
            value,
            quality: Quality::from_code(quality).unwrap_or(Quality::Uncertain),
        })
    }
}

impl FromIterator<Reading> for Readings {
    fn from_iter<I: IntoIterator<Item = Reading>>(rows: I) -> Self {
        let mut readings = Readings::default();
        rows.into_iter().for_each(|reading| readings.push(reading));
        readings
    }
}

/// Why one reading is uncertain. It goes beside the readings, since plugins are told the quality alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubted {
    /// The number of the series.
    pub series: u32,
    /// The time of the reading.
    pub time: Timestamp,
    /// What the doubt is.
    pub doubt: Doubt,
}

/// What one sampling cycle gave: each sensor's reading or fault.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// What was measured.
    pub readings: Readings,
    /// What failed.
    pub faults: Vec<Fault>,
    /// Why readings of these are uncertain, where the driver knows.
    pub doubts: Vec<Doubted>,
}

impl Batch {
    /// Adds what a measurement gave.
    pub fn put(&mut self, series: u32, time: Timestamp, measurement: Measurement) {
        match measurement {
            Ok(Measured { value, doubt }) => {
                let quality = if doubt.is_some() { Quality::Uncertain } else { Quality::Good };
                self.readings.push(Reading { series, time, value, quality });
                self.doubts.extend(doubt.map(|doubt| Doubted { series, time, doubt }));
            }
            Err(reason) => self.faults.push(Fault { series, time, reason }),
        }
    }

    /// Adds another batch behind this one.
    pub fn append(&mut self, mut other: Batch) {
        other.readings.iter().for_each(|reading| self.readings.push(reading));
        self.faults.append(&mut other.faults);
        self.doubts.append(&mut other.doubts);
    }

    /// How many measurements were tried.
    pub fn len(&self) -> usize {
        self.readings.len() + self.faults.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the driver doubted in a reading, if that is still the reading that it was.
    pub fn doubt(&self, reading: &Reading) -> Option<Doubt> {
        if reading.quality == Quality::Good {
            return None;
        }
        let same = |d: &&Doubted| (d.series, d.time) == (reading.series, reading.time);
        self.doubts.iter().find(same).map(|doubted| doubted.doubt)
    }

    /// Readings and faults in one sequence by time, readings first among equals.
    pub fn in_order(&self) -> Vec<Result<Reading, Fault>> {
        let mut all: Vec<Result<Reading, Fault>> =
            self.readings.iter().map(Ok).chain(self.faults.iter().copied().map(Err)).collect();
        all.sort_by_key(|item| match item {
            Ok(reading) => reading.time,
            Err(fault) => fault.time,
        });
        all
    }
}

/// A sensor of a bus that was seen, or not seen any more, without being in the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its own address.
    pub id: Arc<str>,
    /// When.
    pub time: Timestamp,
    /// Whether it is there.
    pub present: bool,
}

/// How the wall clock stands to the steady one that readings bear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// How far the wall clock is ahead of the steady one, in nanoseconds. Changes when it is set.
    pub ahead_nanos: i64,
    /// Whether the system says that it was set by a time server, lately enough to be right.
    pub synchronized: bool,
}

impl WallClock {
    /// By how many seconds it was set forward since it stood like `before`, to the millisecond.
    pub fn step_secs_since(self, before: WallClock) -> f64 {
        let step = self.ahead_nanos.saturating_sub(before.ahead_nanos);
        #[expect(
            clippy::cast_precision_loss,
            reason = "it is exact for 285,000 years of milliseconds"
        )]
        let millis = (step / 1_000_000) as f64;
        millis / 1_000.0
    }
}

/// What a chain is fed, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// One sampling cycle.
    Batch(Batch),
    /// Time passes.
    Tick(Timestamp),
}

/// What sensors and clocks tell a running pipeline, in one sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// For the chain.
    Input(Input),
    /// A sensor came or went that is not in the pipeline.
    Sighting(Sighting),
    /// The wall clock was set, or is known to be right from now on, or not any more. Beside it the steady time.
    WallClock(WallClock, Timestamp),
}

/// Whether an alarm's condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmState {
    /// It holds. Told when it begins, and again at each repeat.
    Active,
    /// It no longer holds.
    Cleared,
}

/// A change of an alarm's state, or a reminder that it is still active.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// The number of the series that it is about.
    pub series: u32,
    /// When the state changed.
    pub time: Timestamp,
    /// What is watched: `above`, `below`, `missing`, or another word of the plugin's.
    pub condition: String,
    /// The state from now on.
    pub state: AlarmState,
    /// How urgent it is.
    pub severity: Severity,
    /// The value that decided, where there is one.
    pub value: Option<f64>,
    /// The limit that it was compared with, where there is one.
    pub limit: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_keep_their_place_in_time() {
        let at = |secs| Timestamp::from_epoch(Duration::from_secs(secs));
        let reading =
            |secs| Reading { series: 0, time: at(secs), value: 4.0, quality: Quality::Good };
        let fault = Fault { series: 0, time: at(2), reason: FaultReason::NoAnswer };
        let batch = Batch {
            readings: [reading(1), reading(3)].into_iter().collect(),
            faults: vec![fault],
            ..Batch::default()
        };
        assert_eq!(batch.in_order(), [Ok(reading(1)), Err(fault), Ok(reading(3))]);
    }
}
