//! The domain: readings, faults, alarms and their time. No input, no output, nothing else of ours.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment in UTC, in nanoseconds since the Unix epoch: good from 1970 to 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Nanoseconds since the Unix epoch.
    pub nanos: u64,
}

const NANOS_PER_MILLI: u64 = 1_000_000;

impl Timestamp {
    /// What the wall clock shows.
    pub fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_epoch(since)
    }

    /// So long after the Unix epoch.
    pub fn from_epoch(since: Duration) -> Timestamp {
        Timestamp { nanos: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// So much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Timestamp {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Timestamp { nanos: self.nanos.saturating_add(nanos) }
    }

    /// How long it was since an earlier moment; nothing when that is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

/// As on the wire: `2026-11-21T23:00:00.000Z`, cut to milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = Duration::from_millis(self.nanos / NANOS_PER_MILLI);
        humantime::format_rfc3339_millis(UNIX_EPOCH + millis).fmt(f)
    }
}

/// `2026-11-21T23:00:00Z`, with or without fractions, zone letter, or `T` (a space will do). A text without a zone is UTC.
impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let time = humantime::parse_rfc3339_weak(text.trim()).map_err(|_| TimestampError)?;
        let since = time.duration_since(UNIX_EPOCH).map_err(|_| TimestampError)?;
        // All that prints can be read again: whatever fits the nanoseconds.
        let nanos = u64::try_from(since.as_nanos()).map_err(|_| TimestampError)?;
        Ok(Timestamp { nanos })
    }
}

/// A text that is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time in UTC from 1970 on, such as 2026-11-21T23:00:00Z")]
pub struct TimestampError;

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

/// Declares [`FaultReason`] once, with the word that stands for each on the wire.
macro_rules! fault_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// Why a measurement failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FaultReason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl FaultReason {
            /// All of them, in the order of the plugin contract.
            pub const ALL: &'static [FaultReason] = &[$(FaultReason::$name,)+];

            /// As on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(FaultReason::$name => $word,)+
                }
            }
        }
    };
}

fault_reasons! {
    /// The sensor is not on its bus.
    NotPresent = "not-present",
    /// The sensor answered, but the answer's checksum is wrong.
    CrcMismatch = "crc-mismatch",
    /// The read succeeded and was empty.
    NoAnswer = "no-answer",
    /// The chip reports its power-on value: no conversion was made.
    PowerOnValue = "power-on-value",
    /// The chip had too little power to make the conversion.
    InsufficientPower = "insufficient-power",
    /// All nine bytes of the scratchpad are zero.
    AllZero = "all-zero",
    /// The value is outside what the sensor can measure.
    OutOfRange = "out-of-range",
    /// The operating system reported an error, or text that is not a reading.
    IoError = "io-error",
    /// The read did not end in time.
    Timeout = "timeout",
    /// The value is an old one that was given again.
    Stale = "stale",
    /// A stage's plugin trapped while it held this reading.
    PluginTrap = "plugin-trap",
    /// A stage's plugin ran past its deadline.
    PluginDeadline = "plugin-deadline",
    /// A stage's plugin asked for more memory than it may have.
    PluginMemory = "plugin-memory",
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One series of measured values: one quantity of one sensor. Its number is its position in the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The sensor's name in the pipeline file.
    pub sensor: Arc<str>,
    /// The sensor's own address, such as a ROM id, where it has one.
    pub id: Option<Arc<str>>,
    /// The unit of the values.
    pub unit: &'static str,
    /// The time between two readings, where it is known beforehand.
    pub interval: Option<Duration>,
}

/// The unit of every thermometer.
pub const CELSIUS: &str = "celsius";
/// What a thermometer measures.
pub const TEMPERATURE: &str = "temperature";

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

/// What one sampling cycle gave: each sensor's reading or fault.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// What was measured.
    pub readings: Readings,
    /// What failed.
    pub faults: Vec<Fault>,
}

impl Batch {
    /// How many measurements were tried.
    pub fn len(&self) -> usize {
        self.readings.len() + self.faults.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

/// What a chain is fed, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// One sampling cycle.
    Batch(Batch),
    /// Time passes.
    Tick(Timestamp),
}

/// Whether an alarm's condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmState {
    /// It holds. Told when it begins, and again at each repeat.
    Active,
    /// It no longer holds.
    Cleared,
}

/// How urgent an alarm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it today.
    Warning,
    /// Act now.
    Critical,
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
    fn times_are_read_in_the_forms_that_recordings_have() {
        for (text, printed) in [
            ("2026-11-21T23:00:00Z", "2026-11-21T23:00:00.000Z"),
            ("2026-11-21T23:00:00.1239Z", "2026-11-21T23:00:00.123Z"),
            ("2017-11-04T21:53:16", "2017-11-04T21:53:16.000Z"),
            (" 2013-07-04 00:00:00 ", "2013-07-04T00:00:00.000Z"),
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.to_string(), printed);
        }
    }

    #[test]
    fn what_prints_can_be_read() {
        for nanos in [0, 1_000_000, u64::MAX / 1_000_000 * 1_000_000] {
            let time = Timestamp { nanos };
            assert_eq!(time.to_string().parse(), Ok(time));
        }
    }

    #[test]
    fn a_text_that_is_not_a_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "9999-01-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError), "{text}");
        }
    }

    #[test]
    fn faults_keep_their_place_in_time() {
        let at = |secs| Timestamp::from_epoch(Duration::from_secs(secs));
        let reading =
            |secs| Reading { series: 0, time: at(secs), value: 4.0, quality: Quality::Good };
        let fault = Fault { series: 0, time: at(2), reason: FaultReason::NoAnswer };
        let batch =
            Batch { readings: [reading(1), reading(3)].into_iter().collect(), faults: vec![fault] };
        assert_eq!(batch.in_order(), [Ok(reading(1)), Err(fault), Ok(reading(3))]);
    }
}
