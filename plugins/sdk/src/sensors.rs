//! What a plugin remembers of each sensor, and how that is saved and loaded.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

use crate::SeriesInfo;

/// One state a series. Saved under the sensor's name and quantity, so that a changed order in the pipeline file
/// does not mix sensors up.
pub(crate) struct Sensors<S> {
    keys: Vec<String>,
    states: Vec<S>,
}

impl<S: Default + Serialize + DeserializeOwned> Sensors<S> {
    pub(crate) fn new(series: &[SeriesInfo]) -> Self {
        Sensors {
            keys: series.iter().map(|s| format!("{}/{}", s.sensor, s.quantity)).collect(),
            states: series.iter().map(|_| S::default()).collect(),
        }
    }

    /// The state of a series. The host never gives a number that it has not declared, so a foreign
    /// number is a broken contract and ends in a trap.
    #[inline]
    pub(crate) fn of(&mut self, series: u32) -> &mut S {
        #[expect(clippy::expect_used, reason = "a broken contract must trap")]
        self.states.get_mut(series as usize).expect("the host declared this series")
    }

    pub(crate) fn each(&mut self) -> impl Iterator<Item = (u32, &mut S)> {
        (0u32..).zip(self.states.iter_mut())
    }

    pub(crate) fn save(&self) -> Vec<u8> {
        let by_key: BTreeMap<&String, &S> = self.keys.iter().zip(&self.states).collect();
        // A state that JSON cannot hold, such as a map with struct keys, is the author's mistake: say so by a trap.
        #[expect(clippy::expect_used, reason = "the author's mistake must show itself")]
        serde_json::to_vec(&by_key).expect("the sensor state serialises to JSON")
    }

    pub(crate) fn load(&mut self, saved: &[u8]) -> Result<(), String> {
        let mut by_key: BTreeMap<String, S> = serde_json::from_slice(saved)
            .map_err(|e| format!("the saved state does not fit this version: {e}"))?;
        for (key, state) in self.keys.iter().zip(&mut self.states) {
            if let Some(saved) = by_key.remove(key) {
                *state = saved;
            }
        }
        Ok(())
    }
}

/// Reads the settings that the host has checked and completed.
pub(crate) fn parse_settings<T: DeserializeOwned>(settings: &str) -> Result<T, String> {
    serde_json::from_str(settings).map_err(|e| format!("settings: {e}"))
}
