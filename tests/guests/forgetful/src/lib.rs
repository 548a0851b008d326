//! An alert that is active above 20, remembers that it is, and traps when a value is 50 or more.

use serde::Deserialize;
use weir_plugin::{Alarm, AlarmState, Alarms, Alert, Reading, SeriesInfo, Settings, Severity};

struct Forgetful;

#[derive(Deserialize, Settings)]
struct NoSettings {}

impl Alert for Forgetful {
    type Settings = NoSettings;
    type Sensor = bool;

    fn new(_settings: NoSettings, _series: &[SeriesInfo]) -> Result<Self, String> {
        Ok(Forgetful)
    }

    fn apply(&mut self, is_active: &mut bool, reading: Reading, alarms: &mut Alarms) {
        assert!(reading.value < 50.0, "as it was made to");
        let holds = reading.value > 20.0;
        if holds == *is_active {
            return;
        }
        *is_active = holds;
        alarms.push(Alarm {
            series: reading.series,
            time: reading.time,
            condition: "above".to_owned(),
            state: if holds { AlarmState::Active } else { AlarmState::Cleared },
            severity: Severity::Critical,
            value: Some(reading.value),
            limit: Some(20.0),
        });
    }
}

weir_plugin::export!(alert: Forgetful);
