//! An alert that is active above 20, and traps in each call of the kind that its setting names.

use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weir_plugin::{
    Alarm, AlarmState, Alarms, Alert, Choice, Fault, Reading, SeriesInfo, Settings, Severity,
};

struct Touchy;

#[derive(Deserialize, Settings)]
struct TouchySettings {
    /// Where it traps.
    traps_in: Place,
}

#[derive(Clone, Copy, PartialEq, Deserialize, Choice)]
#[serde(rename_all = "kebab-case")]
enum Place {
    Nowhere,
    Save,
    Load,
    Tick,
    Fault,
}

/// Saving and loading know no settings.
static TRAPS_IN: OnceLock<Place> = OnceLock::new();

/// With a frame of its own, for the backtrace.
#[inline(never)]
fn reach(place: Place) {
    assert!(TRAPS_IN.get() != Some(&place), "as it was made to");
}

#[derive(Default)]
struct IsActive(bool);

impl Serialize for IsActive {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        reach(Place::Save);
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for IsActive {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        reach(Place::Load);
        bool::deserialize(from).map(IsActive)
    }
}

impl Alert for Touchy {
    type Settings = TouchySettings;
    type Sensor = IsActive;

    fn new(settings: TouchySettings, _series: &[SeriesInfo]) -> Result<Self, String> {
        TRAPS_IN.get_or_init(|| settings.traps_in);
        Ok(Touchy)
    }

    fn apply(&mut self, is_active: &mut IsActive, reading: Reading, alarms: &mut Alarms) {
        let holds = reading.value > 20.0;
        if holds == is_active.0 {
            return;
        }
        is_active.0 = holds;
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

    fn tick(&mut self, _sensor: &mut IsActive, _series: u32, _now: u64, _alarms: &mut Alarms) {
        reach(Place::Tick);
    }

    fn fault(&mut self, _sensor: &mut IsActive, _fault: Fault) {
        reach(Place::Fault);
    }
}

weir_plugin::export!(alert: Touchy);
