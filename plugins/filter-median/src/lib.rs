//! `filter-median`: a running median that removes lone spikes.

mod median;

use serde::Deserialize;
use weir_plugin::{Duration, Filter, Reading, Readings, SeriesInfo, Settings};

pub use median::Window;

/// The filter. Each reading keeps its time and quality and gets the median of the last `window` values.
pub struct Median {
    settings: MedianSettings,
}

/// The parameters.
#[derive(Deserialize, Settings)]
pub struct MedianSettings {
    /// How many readings of a sensor the median is taken over; a spike shorter than half of it disappears.
    #[setting(default = 5, min = 3, max = 99, step = 2, unit = "readings")]
    window: usize,
    /// After a gap as long as this the window starts anew, so that old values do not colour new ones.
    #[setting(default = "10m", min = 1)]
    reset_after: Duration,
}

impl Filter for Median {
    type Settings = MedianSettings;
    type Sensor = Window;

    fn new(settings: MedianSettings, _series: &[SeriesInfo]) -> Result<Self, String> {
        Ok(Median { settings })
    }

    fn apply(&mut self, window: &mut Window, reading: Reading, out: &mut Readings) {
        let MedianSettings { window: size, reset_after } = self.settings;
        let value = window.push(reading.time, reading.value, size, reset_after.nanos);
        out.push(Reading { value, ..reading });
    }
}

weir_plugin::export!(filter: Median);
