//! Alerts: readings in, alarms out.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::bindings::filter::weir::plugin::types::{Alarm, AlarmState, Severity};
use crate::sensors::{Sensors, parse_settings};
use crate::{Fault, Reading, Readings, SeriesInfo, Settings};

/// The alarms that a call raises or clears.
pub type Alarms = Vec<Alarm>;

/// A plugin that watches readings and raises alarms. The readings pass it untouched.
pub trait Alert: Sized {
    /// What `[stage.config]` holds.
    type Settings: Settings + DeserializeOwned;
    /// What is remembered of each sensor. It begins as its default and is saved and loaded by the SDK.
    type Sensor: Default + Serialize + DeserializeOwned;

    /// Called once. `series` lists what the stage is given; an error is the text that the user sees.
    fn new(settings: Self::Settings, series: &[SeriesInfo]) -> Result<Self, String>;

    /// Looks at one reading.
    fn apply(&mut self, sensor: &mut Self::Sensor, reading: Reading, alarms: &mut Alarms);

    /// Time passes for one series, possibly without readings. `now` is nanoseconds since the Unix epoch.
    #[expect(unused_variables, reason = "for who overrides it")]
    fn tick(&mut self, sensor: &mut Self::Sensor, series: u32, now: u64, alarms: &mut Alarms) {}

    /// A measurement of this sensor failed.
    #[expect(unused_variables, reason = "for who overrides it")]
    fn fault(&mut self, sensor: &mut Self::Sensor, fault: Fault) {}
}

/// A configured alert with its sensors: what the exported functions call, and what a test can call natively.
pub struct AlertStage<P: Alert> {
    plugin: P,
    sensors: Sensors<P::Sensor>,
}

impl<P: Alert> AlertStage<P> {
    /// See `configure` of the contract.
    pub fn configure(settings: &str, series: &[SeriesInfo]) -> Result<Self, String> {
        let plugin = P::new(parse_settings(settings)?, series)?;
        Ok(AlertStage { plugin, sensors: Sensors::new(series) })
    }

    /// See `apply` of the contract.
    pub fn apply(&mut self, batch: &Readings) -> Alarms {
        let mut alarms = Alarms::new();
        for reading in batch.iter() {
            self.plugin.apply(self.sensors.of(reading.series), reading, &mut alarms);
        }
        alarms
    }

    /// See `tick` of the contract.
    pub fn tick(&mut self, now: u64) -> Alarms {
        let mut alarms = Alarms::new();
        for (series, sensor) in self.sensors.each() {
            self.plugin.tick(sensor, series, now, &mut alarms);
        }
        alarms
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
