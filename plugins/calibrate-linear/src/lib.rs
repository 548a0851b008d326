//! `calibrate-linear`: gain and offset, or two reference points, a table by sensor.

mod line;

use std::collections::BTreeMap;

use serde::Deserialize;
use weir_plugin::{Calibration, Reading, SeriesInfo, Settings};

pub use line::Line;
use line::Point;

/// The calibration: one line a sensor.
pub struct Linear {
    lines: Vec<Line>,
}

/// The parameters.
#[derive(Deserialize, Settings)]
pub struct LinearSettings {
    /// What the value is multiplied with, for sensors that the table does not name.
    #[setting(default = 1.0, min = 0.5, max = 2.0)]
    gain: f64,
    /// What is then added, for sensors that the table does not name.
    #[setting(default = 0.0, min = -50.0, max = 50.0, unit = "celsius")]
    offset: f64,
    /// The lines of single sensors, by the sensor's name.
    #[serde(default)]
    sensor: BTreeMap<String, SensorLine>,
}

/// The line of one sensor: gain and offset, or two reference points.
#[derive(Deserialize, Settings)]
pub struct SensorLine {
    /// What the value is multiplied with; 1 when not given.
    #[setting(min = 0.5, max = 2.0)]
    gain: Option<f64>,
    /// What is then added; 0 when not given.
    #[setting(min = -50.0, max = 50.0, unit = "celsius")]
    offset: Option<f64>,
    /// The lower reference point, for instance ice water. Needs `high`.
    low: Option<ReferencePoint>,
    /// The upper reference point. Needs `low`.
    high: Option<ReferencePoint>,
}

/// One comparison with a trusted thermometer.
#[derive(Clone, Copy, Deserialize, Settings)]
pub struct ReferencePoint {
    /// What this sensor showed.
    #[setting(min = -55.0, max = 150.0, unit = "celsius")]
    measured: f64,
    /// What was true.
    #[setting(min = -55.0, max = 150.0, unit = "celsius")]
    reference: f64,
}

impl Calibration for Linear {
    type Settings = LinearSettings;
    type Sensor = ();

    fn new(settings: LinearSettings, series: &[SeriesInfo]) -> Result<Self, String> {
        let default = Line { gain: settings.gain, offset: settings.offset };
        let mut lines = settings.sensor;
        let of_series = series.iter().map(|series| match lines.remove(&series.sensor) {
            Some(line) => line.check().map_err(|why| format!("sensor.{}: {why}", series.sensor)),
            None => Ok(default),
        });
        // The host has checked that the table names sensors of this stage only.
        Ok(Linear { lines: of_series.collect::<Result<_, _>>()? })
    }

    fn apply(&mut self, _sensor: &mut (), reading: Reading) -> f64 {
        match self.lines.get(reading.series as usize) {
            Some(line) => line.at(reading.value),
            None => reading.value,
        }
    }
}

impl SensorLine {
    fn check(self) -> Result<Line, String> {
        match (self.low, self.high) {
            (None, None) => {
                Ok(Line { gain: self.gain.unwrap_or(1.0), offset: self.offset.unwrap_or(0.0) })
            }
            (Some(low), Some(high)) if self.gain.is_none() && self.offset.is_none() => {
                let point =
                    |p: ReferencePoint| Point { measured: p.measured, reference: p.reference };
                Line::through(point(low), point(high))
            }
            (Some(_), Some(_)) => {
                Err("`low` and `high` already say gain and offset: give the one pair or the other"
                    .to_owned())
            }
            _ => Err("`low` and `high` go together: two reference points make a line".to_owned()),
        }
    }
}

weir_plugin::export!(calibration: Linear);
