//! Readings and faults as a plugin sees them.

pub use crate::bindings::filter::weir::plugin::types::{
    FaultReason, Readings, Series as SeriesInfo,
};

/// One measurement that failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// The series that the measurement was for.
    pub series: u32,
    /// When it failed: nanoseconds since the Unix epoch, UTC.
    pub time: u64,
    /// Why.
    pub reason: FaultReason,
}

/// How far a reading can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// As good as the sensor is.
    Good,
    /// There is a doubt about it, for instance a clone chip's 85 °C.
    Uncertain,
}

impl Quality {
    /// The number that stands for it in the `quality` column.
    pub const fn code(self) -> u8 {
        match self {
            Quality::Good => 0,
            Quality::Uncertain => 1,
        }
    }

    /// The quality behind a number of the `quality` column.
    pub const fn from_code(code: u8) -> Quality {
        if code == 0 { Quality::Good } else { Quality::Uncertain }
    }
}

/// One measured value with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The series that it belongs to: its position in the list given to `new`.
    pub series: u32,
    /// Nanoseconds since the Unix epoch, UTC.
    pub time: u64,
    /// In the unit of its series; finite.
    pub value: f64,
    /// How far it can be trusted.
    pub quality: Quality,
}

impl Readings {
    /// Empty columns with room for `rows` readings.
    pub fn with_capacity(rows: usize) -> Readings {
        Readings {
            series: Vec::with_capacity(rows),
            time: Vec::with_capacity(rows),
            value: Vec::with_capacity(rows),
            quality: Vec::with_capacity(rows),
        }
    }

    /// Adds one reading at the end.
    pub fn push(&mut self, reading: Reading) {
        self.series.push(reading.series);
        self.time.push(reading.time);
        self.value.push(reading.value);
        self.quality.push(reading.quality.code());
    }

    /// The readings, row by row.
    pub fn iter(&self) -> impl Iterator<Item = Reading> + '_ {
        let rows = self.series.iter().zip(&self.time).zip(&self.value).zip(&self.quality);
        rows.map(|(((&series, &time), &value), &quality)| Reading {
            series,
            time,
            value,
            quality: Quality::from_code(quality),
        })
    }
}
