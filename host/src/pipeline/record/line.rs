//! The lines of a recorded run, as JSON has them, and what they mean.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::file::hex;
use crate::pipeline::Stage;
use crate::plugin::{EndedCall, PluginFile};
use crate::reading::{
    Batch, Doubt, Doubted, Fault, FaultReason, Input, Observed, Quality, Quantity, Reading, Series,
    Sighting, Timestamp, WallClock,
};
use crate::uplink::wire::{Event, to_json};

/// The number of this format, which the first line bears.
pub(super) const FORMAT: u32 = 1;
/// Most series of a recording, as of a pipeline.
const MOST_SERIES: usize = 256;
/// Longest name of a sensor, in characters.
const LONGEST_NAME: usize = 64;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pipeline) struct Header {
    /// The format.
    pub(super) recording: u32,
    /// The version of the host that wrote it.
    weir: String,
    device: String,
    /// What the wall clock showed at the start, for people.
    started: String,
    /// The number of the last message before the recording.
    #[serde(default)]
    pub(in crate::pipeline) after: u64,
    /// How the wall clock stood to the steady one then.
    clock: ClockLine,
    series: Vec<SeriesLine>,
    /// The stages of the run.
    pub(in crate::pipeline) stages: Vec<StageLine>,
}

/// How the wall clock stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockLine {
    /// Nanoseconds that it is ahead of the steady clock.
    ahead: i64,
    synchronized: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeriesLine {
    sensor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    quantity: String,
    /// Nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval: Option<u64>,
}

/// One stage of the run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pipeline) struct StageLine {
    pub(in crate::pipeline) stage: String,
    pub(in crate::pipeline) plugin: String,
    /// The plugin's own version.
    pub(in crate::pipeline) version: String,
    /// Of the plugin's file, in hex digits.
    pub(in crate::pipeline) sha256: String,
    /// As the plugin was given them.
    pub(in crate::pipeline) settings: Box<RawValue>,
}

/// Any other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Line {
    State {
        stage: u32,
        /// Hex digits.
        part: String,
    },
    Batch {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        readings: Vec<(u32, u64, f64, Cow<'static, str>)>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        faults: Vec<(u32, u64, Cow<'static, str>)>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        doubts: Vec<(u32, u64, Cow<'static, str>)>,
    },
    Tick(u64),
    Sighting {
        id: String,
        time: u64,
        present: bool,
    },
    Clock {
        ahead: i64,
        synchronized: bool,
        time: u64,
    },
    Message(Event),
    Added {
        seq: u64,
        message: Event,
    },
    Ended {
        stage: u32,
        call: u64,
        reason: Cow<'static, str>,
    },
    End {
        seq: u64,
    },
}

/// What a line means, with numbers and words that are known to be good.
#[derive(Debug, PartialEq)]
pub(in crate::pipeline) enum Recorded {
    /// A part of the state that a stage began with.
    State {
        stage: usize,
        part: Vec<u8>,
    },
    Observed(Observed),
    /// A message that did not come from the chain.
    Message(Event),
    /// A message that the spool made itself, with its number.
    Added {
        seq: u64,
        event: Event,
    },
    /// A call that the machine ended while the next line's input was passed.
    Ended {
        stage: usize,
        call: EndedCall,
    },
    /// The run ended in order; the number of its last message.
    End {
        seq: u64,
    },
}

impl StageLine {
    /// Whether the stage ran this very file.
    pub(in crate::pipeline) fn is_of(&self, plugin: &PluginFile) -> bool {
        self.sha256 == hex(&plugin.sha256)
    }
}

impl Header {
    pub(in crate::pipeline) fn new(
        device: &str,
        after: u64,
        wall_clock: WallClock,
        series: &[Series],
        stages: &[Stage],
    ) -> Header {
        let series = series.iter().map(|series| SeriesLine {
            sensor: series.sensor.to_string(),
            id: series.id.as_deref().map(str::to_owned),
            quantity: series.quantity.as_str().to_owned(),
            interval: series.interval.and_then(|i| u64::try_from(i.as_nanos()).ok()),
        });
        let stages = stages.iter().map(|stage| StageLine {
            stage: stage.name.clone(),
            plugin: stage.plugin.manifest.name.clone(),
            version: stage.plugin.manifest.version.clone(),
            sha256: hex(&stage.plugin.sha256),
            // The settings are JSON: the host wrote them itself.
            settings: RawValue::from_string(stage.settings.clone()).unwrap_or_default(),
        });
        Header {
            recording: FORMAT,
            weir: env!("CARGO_PKG_VERSION").to_owned(),
            device: device.to_owned(),
            started: Timestamp::now().to_string(),
            after,
            clock: ClockLine {
                ahead: wall_clock.ahead_nanos,
                synchronized: wall_clock.synchronized,
            },
            series: series.collect(),
            stages: stages.collect(),
        }
    }

    pub(in crate::pipeline) fn wall_clock(&self) -> WallClock {
        WallClock { ahead_nanos: self.clock.ahead, synchronized: self.clock.synchronized }
    }

    /// The series of the run, or what is wrong with one of them.
    pub(in crate::pipeline) fn series(&self) -> Result<Vec<Series>, String> {
        if self.series.len() > MOST_SERIES {
            let count = self.series.len();
            return Err(format!("`series` has {count} entries: at most {MOST_SERIES} are allowed"));
        }
        let mut series: Vec<Series> = Vec::new();
        for line in &self.series {
            let name = &line.sensor;
            let fits = (1..=LONGEST_NAME).contains(&name.chars().count());
            if !fits || name.chars().any(char::is_control) {
                return Err(format!("`sensor` must be 1 to {LONGEST_NAME} printable characters"));
            }
            if series.iter().any(|other| *other.sensor == **name) {
                return Err(format!("the sensor `{name}` is there twice"));
            }
            series.push(Series {
                sensor: name.as_str().into(),
                id: line.id.as_deref().map(Into::into),
                quantity: word("quantity", &line.quantity, Quantity::ALL, |q| q.as_str())?,
                interval: line.interval.map(Duration::from_nanos),
            });
        }
        Ok(series)
    }

    /// What a line means in this recording, or what is wrong with it.
    pub(super) fn meaning(&self, line: Line) -> Result<Recorded, String> {
        let series = |number: u32| below("series", number, self.series.len()).map(|_| number);
        let stage = |number: u32| below("stage", number, self.stages.len());
        let at = |nanos| Timestamp { nanos };
        Ok(match line {
            Line::State { stage: number, part } => {
                Recorded::State { stage: stage(number)?, part: bytes(&part)? }
            }
            Line::Batch { readings, faults, doubts } => {
                let mut batch = Batch::default();
                for (number, time, value, quality) in readings {
                    let quality = word("quality", &quality, &QUALITIES, |q| q.as_str())?;
                    let (series, time) = (series(number)?, at(time));
                    batch.readings.push(Reading { series, time, value, quality });
                }
                for (number, time, reason) in faults {
                    let reason = word("fault", &reason, FaultReason::ALL, |r| r.as_str())?;
                    batch.faults.push(Fault { series: series(number)?, time: at(time), reason });
                }
                for (number, time, doubt) in doubts {
                    let doubt = word("doubt", &doubt, Doubt::ALL, |d| d.as_str())?;
                    batch.doubts.push(Doubted { series: series(number)?, time: at(time), doubt });
                }
                Recorded::Observed(Observed::Input(Input::Batch(batch)))
            }
            Line::Tick(time) => Recorded::Observed(Observed::Input(Input::Tick(at(time)))),
            Line::Sighting { id, time, present } => {
                Recorded::Observed(Observed::Sighting(Sighting {
                    id: id.into(),
                    time: at(time),
                    present,
                }))
            }
            Line::Clock { ahead, synchronized, time } => {
                let clock = WallClock { ahead_nanos: ahead, synchronized };
                Recorded::Observed(Observed::WallClock(clock, at(time)))
            }
            Line::Message(event) => Recorded::Message(event),
            Line::Added { seq, message } => Recorded::Added { seq, event: message },
            Line::Ended { stage: number, call, reason } => {
                let reason = word("reason", &reason, FaultReason::ALL, |r| r.as_str())?;
                Recorded::Ended { stage: stage(number)?, call: EndedCall { call, reason } }
            }
            Line::End { seq } => Recorded::End { seq },
        })
    }
}

const QUALITIES: [Quality; 2] = [Quality::Good, Quality::Uncertain];

/// The line of what the chain took.
pub(in crate::pipeline) fn observed_line(observed: &Observed) -> String {
    let line = match observed {
        Observed::Input(Input::Batch(batch)) => Line::Batch {
            readings: batch
                .readings
                .iter()
                .map(|r| (r.series, r.time.nanos, r.value, r.quality.as_str().into()))
                .collect(),
            faults: batch
                .faults
                .iter()
                .map(|f| (f.series, f.time.nanos, f.reason.as_str().into()))
                .collect(),
            doubts: batch
                .doubts
                .iter()
                .map(|d| (d.series, d.time.nanos, d.doubt.as_str().into()))
                .collect(),
        },
        Observed::Input(Input::Tick(now)) => Line::Tick(now.nanos),
        Observed::Sighting(sighting) => Line::Sighting {
            id: sighting.id.to_string(),
            time: sighting.time.nanos,
            present: sighting.present,
        },
        Observed::WallClock(clock, now) => Line::Clock {
            ahead: clock.ahead_nanos,
            synchronized: clock.synchronized,
            time: now.nanos,
        },
    };
    to_json(&line)
}

/// The line of a call that the machine ended.
pub(in crate::pipeline) fn ended_line(stage: usize, ended: EndedCall) -> String {
    let stage = u32::try_from(stage).unwrap_or(u32::MAX);
    let reason = ended.reason.as_str().into();
    to_json(&Line::Ended { stage, call: ended.call, reason })
}

fn below(what: &str, number: u32, count: usize) -> Result<usize, String> {
    match usize::try_from(number) {
        Ok(position) if position < count => Ok(position),
        _ => Err(format!("{what} {number}: the recording has {count}, counted from 0")),
    }
}

fn word<T: Copy>(
    what: &str,
    word: &str,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
) -> Result<T, String> {
    all.iter().copied().find(|&one| as_str(one) == word).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|&one| as_str(one)).collect();
        format!("{what} `{}`: must be one of {}", word.escape_debug(), known.join(", "))
    })
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.as_bytes().chunks(2).map(|pair| match *pair {
        [high, low] => Some((digit(high)? << 4) | digit(low)?),
        _ => None,
    });
    pairs.collect::<Option<_>>().ok_or_else(|| "`part` must be pairs of hex digits".to_owned())
}
