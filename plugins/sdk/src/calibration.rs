//! Calibrations: exactly one value for each reading.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sensors::{Sensors, parse_settings};
use crate::{Fault, Reading, Readings, SeriesInfo, Settings};

/// A plugin that corrects values.
pub trait Calibration: Sized {
    /// What `[stage.config]` holds.
    type Settings: Settings + DeserializeOwned;
    /// What is remembered of each sensor. It begins as its default and is saved and loaded by the SDK.
    /// Most calibrations remember nothing: `()`.
    type Sensor: Default + Serialize + DeserializeOwned;

    /// Called once. `series` lists what the stage is given; an error is the text that the user sees.
    fn new(settings: Self::Settings, series: &[SeriesInfo]) -> Result<Self, String>;

    /// The corrected value of one reading. It must be finite.
    fn apply(&mut self, sensor: &mut Self::Sensor, reading: Reading) -> f64;

    /// Time passes for one series, possibly without readings. `now` is nanoseconds since the Unix epoch.
    #[expect(unused_variables, reason = "for who overrides it")]
    fn tick(&mut self, sensor: &mut Self::Sensor, series: u32, now: u64) {}

    /// A measurement of this sensor failed.
    #[expect(unused_variables, reason = "for who overrides it")]
    fn fault(&mut self, sensor: &mut Self::Sensor, fault: Fault) {}
}

/// A configured calibration with its sensors: what the exported functions call, and what a test can call natively.
pub struct CalibrationStage<P: Calibration> {
    plugin: P,
    sensors: Sensors<P::Sensor>,
}

impl<P: Calibration> CalibrationStage<P> {
    /// See `configure` of the contract.
    pub fn configure(settings: &str, series: &[SeriesInfo]) -> Result<Self, String> {
        let plugin = P::new(parse_settings(settings)?, series)?;
        Ok(CalibrationStage { plugin, sensors: Sensors::new(series) })
    }

    /// See `apply` of the contract.
    pub fn apply(&mut self, batch: &Readings) -> Vec<f64> {
        let corrected =
            batch.iter().map(|reading| self.plugin.apply(self.sensors.of(reading.series), reading));
        corrected.collect()
    }

    /// See `tick` of the contract.
    pub fn tick(&mut self, now: u64) {
        for (series, sensor) in self.sensors.each() {
            self.plugin.tick(sensor, series, now);
        }
    }

    /// See `fault` of the contract.
    pub fn fault(&mut self, fault: Fault) {
        self.plugin.fault(self.sensors.of(fault.series), fault);
    }

    /// See `save` of the contract.
    pub fn save(&self) -> Vec<u8> {
        self.sensors.save()
    }

    /// See `load` of the contract.
    pub fn load(&mut self, state: &[u8]) -> Result<(), String> {
        self.sensors.load(state)
    }
}
