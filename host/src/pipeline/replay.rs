//! A recording through a pipeline's stages, offline: the wire's lines, the same bytes every time.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::chain::{Chain, StartError};
use super::{Pipeline, Sensor, Stage};
use crate::plugin::{CompileError, Engine, Limits, OFFLINE_CALL_DEADLINE};
use crate::reading::{Batch, Input, Quantity, Series, Timestamp};
use crate::sensor::recording::{Recording, Row};
use crate::uplink::Scribe;
use crate::uplink::wire::Message;

/// How often plugins are told the time between two rows.
const TICK: Duration = Duration::from_secs(1);
/// A longer gap than so many ticks is told in larger steps: a clock that jumps by years must not take hours to replay.
const MOST_TICKS: u32 = 3_600;

/// How the recording's names become the pipeline's sensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// The recording's name, and the sensor that it is.
    pub map: Vec<(String, String)>,
    /// Every unknown name is one more sensor.
    pub adopt: bool,
}

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Names of the recording that the pipeline does not know.
    #[error(
        "the pipeline knows no sensor {}: its sensors are {}. Rename with --map NAME=SENSOR, or take every unknown \
         name as one more sensor with --adopt",
        quoted(unknown),
        quoted(known)
    )]
    Unknown {
        /// Which names.
        unknown: Vec<String>,
        /// What the pipeline has.
        known: Vec<String>,
    },
    /// `--map` names what is not there.
    #[error("--map {name}={sensor}: {why}")]
    Map {
        /// The recording's name.
        name: String,
        /// The sensor.
        sensor: String,
        /// What is wrong.
        why: String,
    },
    /// The engine did not start.
    #[error("the plugin engine does not start")]
    Engine(#[source] CompileError),
    /// Stages did not start.
    #[error("{}", lines(.0))]
    Start(Vec<StartError>),
    /// The lines cannot be written.
    #[error("cannot write the lines")]
    Write(#[source] io::Error),
}

fn lines(errors: &[StartError]) -> String {
    let with_cause = |error: &StartError| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    errors.iter().map(with_cause).collect::<Vec<_>>().join("\n")
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> =
        names.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
    quoted.join(", ")
}

/// Replays a recording and writes one JSON line a message. Sensors of the pipeline that the recording does not have
/// are left out, so that nobody reports them missing. Gives the number of lines.
pub fn replay(
    pipeline: &Pipeline,
    recording: &Recording,
    naming: &Naming,
    out: &mut impl Write,
) -> Result<u64, ReplayError> {
    let Cast { series, number_of_name, number_of_sensor } = cast(pipeline, recording, naming)?;
    let stages: Vec<Stage> = pipeline
        .stages
        .iter()
        .filter_map(|stage| for_recording(stage, &number_of_sensor, series.len()))
        .collect();
    let engine = Engine::start().map_err(ReplayError::Engine)?;
    let mut chain = Chain::start(&engine, &stages, &series).map_err(ReplayError::Start)?;
    let stage_names: Vec<Arc<str>> =
        stages.iter().map(|stage| stage.name.as_str().into()).collect();
    let scribe = Scribe::offline(series.as_slice().into());
    let mut seq = 0;
    let mut write = |outcome: super::Outcome| -> Result<(), ReplayError> {
        for body in outcome.to_bodies(&stage_names, &scribe) {
            seq += 1;
            let json = Message { seq: Some(seq), body }.to_json();
            writeln!(out, "{json}").map_err(ReplayError::Write)?;
        }
        Ok(())
    };
    // The time that the plugins were told last: it goes on from tick to tick, whatever the rows' distance.
    let mut told: Option<Timestamp> = None;
    for cycle in recording.rows.chunk_by(|a, b| a.time == b.time) {
        let Some(now) = cycle.first().map(|row| row.time) else { continue };
        for tick in ticks(*told.get_or_insert(now), now) {
            told = Some(tick);
            write(chain.pass(Input::Tick(tick)))?;
        }
        write(chain.pass(Input::Batch(batch(cycle, &number_of_name))))?;
    }
    out.flush().map_err(ReplayError::Write)?;
    Ok(seq)
}

/// The moments from one tick to a row at which plugins are told the time.
fn ticks(told: Timestamp, now: Timestamp) -> impl Iterator<Item = Timestamp> {
    let step = TICK.max(now.since(told) / MOST_TICKS);
    std::iter::successors(Some(told.plus(step)), move |tick| Some(tick.plus(step)))
        .take_while(move |tick| *tick <= now)
}

fn batch(cycle: &[Row], number_of_name: &[u32]) -> Batch {
    let mut batch = Batch::default();
    for row in cycle {
        let Some(&series) = number_of_name.get(row.name) else { continue };
        batch.put(series, row.time, row.measurement);
    }
    batch
}

/// Who plays: the series of this replay, and who they are in the recording and in the pipeline.
struct Cast {
    series: Vec<Series>,
    /// By the recording's number of a name.
    number_of_name: Vec<u32>,
    /// By the pipeline's number of a sensor; adopted sensors have none.
    number_of_sensor: BTreeMap<usize, usize>,
}

fn cast(pipeline: &Pipeline, recording: &Recording, naming: &Naming) -> Result<Cast, ReplayError> {
    let position =
        |name: &str| pipeline.sensors.iter().position(|sensor: &Sensor| &*sensor.name == name);
    for (name, sensor) in &naming.map {
        let wrong =
            |why: String| ReplayError::Map { name: name.clone(), sensor: sensor.clone(), why };
        if !recording.names.contains(name) {
            return Err(wrong(format!(
                "the recording has no sensor `{name}` (it has {})",
                quoted(&recording.names)
            )));
        }
        if position(sensor).is_none() {
            return Err(wrong(format!(
                "the pipeline has no sensor `{sensor}` (it has {})",
                quoted(&known(pipeline))
            )));
        }
    }
    for (position, (name, sensor)) in naming.map.iter().enumerate() {
        if naming.map.iter().skip(position + 1).any(|(other, _)| other == name) {
            let why = "the name is mapped more than once".to_owned();
            return Err(ReplayError::Map { name: name.clone(), sensor: sensor.clone(), why });
        }
    }
    // In the pipeline's order, then the adopted ones in the recording's: the order must not depend on anything else.
    let mut sensor_of_name = Vec::new();
    let mut unknown = Vec::new();
    for name in &recording.names {
        let mapped =
            naming.map.iter().find(|(from, _)| from == name).map_or(name, |(_, sensor)| sensor);
        let sensor = position(mapped);
        if sensor.is_some() && sensor_of_name.contains(&sensor) {
            let why = "another name of the recording is this sensor already".to_owned();
            return Err(ReplayError::Map { name: name.clone(), sensor: mapped.clone(), why });
        }
        if sensor.is_none() && !naming.adopt {
            unknown.push(name.clone());
        }
        sensor_of_name.push(sensor);
    }
    if !unknown.is_empty() {
        return Err(ReplayError::Unknown { unknown, known: known(pipeline) });
    }
    let all = pipeline.series();
    let mut present: Vec<usize> = sensor_of_name.iter().copied().flatten().collect();
    present.sort_unstable();
    let number_of_sensor: BTreeMap<usize, usize> = present.iter().copied().zip(0..).collect();
    let mut series: Vec<Series> =
        present.iter().filter_map(|&sensor| all.get(sensor).cloned()).collect();
    let mut number_of_name = Vec::new();
    for (name, sensor) in recording.names.iter().zip(&sensor_of_name) {
        let number = match sensor.and_then(|sensor| number_of_sensor.get(&sensor)) {
            Some(&number) => number,
            None => {
                series.push(Series {
                    sensor: name.as_str().into(),
                    id: None,
                    quantity: Quantity::Temperature,
                    interval: None,
                });
                series.len() - 1
            }
        };
        number_of_name.push(u32::try_from(number).unwrap_or(u32::MAX));
    }
    Ok(Cast { series, number_of_name, number_of_sensor })
}

fn known(pipeline: &Pipeline) -> Vec<String> {
    pipeline.sensors.iter().map(|sensor| sensor.name.to_string()).collect()
}

/// A stage as this replay needs it; `None` when none of its sensors plays. A stage for which the file names no sensors is for
/// adopted ones too.
fn for_recording(
    stage: &Stage,
    number_of_sensor: &BTreeMap<usize, usize>,
    series: usize,
) -> Option<Stage> {
    let mut sensors: Vec<usize> =
        stage.sensors.iter().filter_map(|sensor| number_of_sensor.get(sensor).copied()).collect();
    if stage.is_for_all {
        sensors.extend(number_of_sensor.len()..series);
    }
    if sensors.is_empty() {
        return None;
    }
    Some(Stage {
        sensors,
        limits: Limits { call_deadline: OFFLINE_CALL_DEADLINE, ..stage.limits },
        ..stage.clone()
    })
}
