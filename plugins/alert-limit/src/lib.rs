//! `alert-limit`: alarms above and below limits, and when no good reading comes.

mod delay;

use serde::{Deserialize, Serialize};
use weir_plugin::{
    Alarm, AlarmState, Alarms, Alert, Choice, Duration, Quality, Reading, SeriesInfo, Settings,
    Severity,
};

pub use delay::{Change, Delays, Watch};

/// The alert.
pub struct Limit {
    settings: LimitSettings,
    severity: Severity,
    delays: Delays,
    missing_delays: Delays,
}

/// The parameters.
#[derive(Deserialize, Settings)]
pub struct LimitSettings {
    /// Alarm when the value is above this.
    #[setting(unit = "of the sensor")]
    above: Option<f64>,
    /// Alarm when the value is below this.
    #[setting(unit = "of the sensor")]
    below: Option<f64>,
    /// How far the value must come back from the limit before the alarm can clear, so that it does not flutter.
    #[setting(default = 0.0, min = 0.0, unit = "of the sensor")]
    deadband: f64,
    /// How long the value must stay beyond the limit before the alarm becomes active.
    #[setting(default = "0s")]
    on_delay: Duration,
    /// How long the value must stay back before the alarm clears.
    #[setting(default = "0s")]
    off_delay: Duration,
    /// How often an active alarm is sent again; never when not given.
    #[setting(min = 1)]
    repeat: Option<Duration>,
    /// How urgent the alarm is.
    #[setting(default = "warning")]
    severity: Urgency,
    /// Alarm when there was no good reading of a sensor for so long; never when not given.
    #[setting(min = 1)]
    on_missing: Option<Duration>,
}

/// How urgent an alarm is, as the pipeline file says it.
#[derive(Clone, Copy, Debug, Deserialize, Choice)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    /// Good to know.
    Info,
    /// Look at it today.
    Warning,
    /// Act now.
    Critical,
}

/// What is remembered of one sensor.
#[derive(Default, Serialize, Deserialize)]
pub struct SensorState {
    above: Watch,
    below: Watch,
    missing: Watch,
    last_value: Option<f64>,
    last_good: Option<u64>,
    /// Whether this instance was told the time.
    #[serde(skip)]
    is_awake: bool,
}

impl Alert for Limit {
    type Settings = LimitSettings;
    type Sensor = SensorState;

    fn new(settings: LimitSettings, series: &[SeriesInfo]) -> Result<Self, String> {
        if settings.above.is_none() && settings.below.is_none() && settings.on_missing.is_none() {
            return Err("nothing to watch: give at least one of `above`, `below` and `on_missing`"
                .to_owned());
        }
        if let (Some(above), Some(below)) = (settings.above, settings.below)
            && below >= above
        {
            return Err(format!(
                "`below` is {below} and `above` is {above}: `below` must be the smaller one, or every value is an alarm"
            ));
        }
        for series in series {
            let (missing, interval) = (settings.on_missing, series.interval);
            if let (Some(missing), Some(interval)) = (missing, interval)
                && missing.nanos <= interval
            {
                let (sensor, secs) = (&series.sensor, interval as f64 / 1e9);
                return Err(format!(
                    "`on_missing` must be longer than the {secs} s between two readings of `{sensor}`, or it is missing all the time"
                ));
            }
        }
        let repeat = settings.repeat.map_or(u64::MAX, |repeat| repeat.nanos);
        let severity = match settings.severity {
            Urgency::Info => Severity::Info,
            Urgency::Warning => Severity::Warning,
            Urgency::Critical => Severity::Critical,
        };
        let delays = Delays { on: settings.on_delay.nanos, off: settings.off_delay.nanos, repeat };
        let missing_delays =
            Delays { on: settings.on_missing.map_or(u64::MAX, |d| d.nanos), off: 0, repeat };
        Ok(Limit { settings, severity, delays, missing_delays })
    }

    fn apply(&mut self, sensor: &mut SensorState, reading: Reading, alarms: &mut Alarms) {
        let Reading { series, time, value, quality } = reading;
        sensor.last_value = Some(value);
        let deadband = self.settings.deadband;
        if let Some(limit) = self.settings.above {
            let back = if sensor.above.is_active() { limit - deadband } else { limit };
            let change = sensor.above.observe(time, value > back, self.delays);
            self.report(alarms, change, series, "above", Some(value), Some(limit));
        }
        if let Some(limit) = self.settings.below {
            let back = if sensor.below.is_active() { limit + deadband } else { limit };
            let change = sensor.below.observe(time, value < back, self.delays);
            self.report(alarms, change, series, "below", Some(value), Some(limit));
        }
        self.watch_missing(sensor, series, time, quality == Quality::Good, alarms);
    }

    fn tick(&mut self, sensor: &mut SensorState, series: u32, now: u64, alarms: &mut Alarms) {
        let LimitSettings { above, below, on_missing, .. } = self.settings;
        // What the settings do not name any more may be active in a state that was saved before.
        let change = match above {
            Some(_) => sensor.above.pass_time(now, self.delays),
            None => sensor.above.forget(now),
        };
        self.report(alarms, change, series, "above", sensor.last_value, above);
        let change = match below {
            Some(_) => sensor.below.pass_time(now, self.delays),
            None => sensor.below.forget(now),
        };
        self.report(alarms, change, series, "below", sensor.last_value, below);
        if on_missing.is_none() {
            let change = sensor.missing.forget(now);
            self.report(alarms, change, series, "missing", None, None);
        }
        self.watch_missing(sensor, series, now, false, alarms);
    }
}

impl Limit {
    /// The wait begins with the last good reading, or with the first sign of time when there was none yet. It begins anew in an
    /// instance that goes on from a saved state: nobody looked meanwhile.
    fn watch_missing(
        &self,
        sensor: &mut SensorState,
        series: u32,
        now: u64,
        good: bool,
        alarms: &mut Alarms,
    ) {
        if self.settings.on_missing.is_none() {
            return;
        }
        if !sensor.is_awake {
            sensor.is_awake = true;
            sensor.last_good = sensor.last_good.map(|_| now);
            if !sensor.missing.is_active() {
                sensor.missing = Watch::default();
            }
        }
        let since = *sensor.last_good.get_or_insert(now);
        sensor.missing.observe_since(since);
        let mut change = sensor.missing.pass_time(now, self.missing_delays);
        if good {
            sensor.last_good = Some(now);
            // A gap that was long enough is told even when its end is the first that is seen of it.
            self.report(alarms, change, series, "missing", None, None);
            change = sensor.missing.observe(now, false, self.missing_delays);
        }
        self.report(alarms, change, series, "missing", None, None);
    }

    fn report(
        &self,
        alarms: &mut Alarms,
        change: Option<Change>,
        series: u32,
        condition: &str,
        value: Option<f64>,
        limit: Option<f64>,
    ) {
        let Some(change) = change else { return };
        let (state, time) = match change {
            Change::Active(time) | Change::StillActive(time) => (AlarmState::Active, time),
            Change::Cleared(time) => (AlarmState::Cleared, time),
        };
        let severity = self.severity;
        alarms.push(Alarm {
            series,
            time,
            condition: condition.to_owned(),
            state,
            severity,
            value,
            limit,
        });
    }
}

weir_plugin::export!(alert: Limit);

#[cfg(test)]
mod tests;
