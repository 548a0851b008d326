//! A recording through a pipeline's stages, offline: the wire's lines, the same bytes every time.

mod cast;
mod differences;
mod run;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

pub use run::{ReplayedRun, replay_run};

use self::cast::{Cast, cast};
use super::chain::{Chain, StartError};
use super::record::BadRecording;
use super::{Pipeline, Stage};
use crate::plugin::{Bound, CompileError, Engine, EngineSettings, HostLimits};
use crate::reading::{Batch, Input, Quantity, Series, Timestamp};
use crate::sensor::recording::{Recording, Row};
use crate::uplink::Scribe;
use crate::uplink::wire::{Body, Message};

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
    #[error("{}", StartError::lines(.0))]
    Start(Vec<StartError>),
    /// A recorded run cannot be read.
    #[error(transparent)]
    Recording(#[from] BadRecording),
    /// The lines cannot be written.
    #[error("cannot write the lines")]
    Write(#[source] io::Error),
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
    engine: EngineSettings,
    out: &mut impl Write,
) -> Result<u64, ReplayError> {
    let cast = cast(pipeline, &recording.names, naming)?;
    let series = csv_series(pipeline, recording, &cast);
    let number_of_name = cast.number_of_name();
    let stages = cast.stages(pipeline);
    let engine = start(engine, pipeline)?;
    let mut chain = Chain::start(&engine, &stages, &series).map_err(ReplayError::Start)?;
    let stage_names = names(&stages);
    let scribe = Scribe::offline(series.into());
    let mut lines = Lines { out, seq: 0 };
    let mut write = |outcome: super::Outcome| {
        outcome.to_bodies(&stage_names, &scribe).into_iter().try_for_each(|body| lines.write(body))
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
    lines.end()
}

/// How many times the stack of a run. Frames of one machine are larger than those of another: what fitted there fits here.
const MORE_STACK: usize = 4;

/// An engine whose plugins' calls end by fuel: a loaded machine must not change the result.
fn start(engine: EngineSettings, pipeline: &Pipeline) -> Result<Engine, ReplayError> {
    let settings = EngineSettings { bound: Bound::Fuel, stages: pipeline.stages.len(), ..engine };
    let stack_bytes = pipeline.host_limits.stack_bytes * MORE_STACK;
    let limits = HostLimits { stack_bytes, ..pipeline.host_limits };
    Engine::start(settings, limits).map_err(ReplayError::Engine)
}

/// Series of the pipeline's sensors, and of adopted ones: a CSV file says nothing of them.
fn csv_series(pipeline: &Pipeline, recording: &Recording, cast: &Cast) -> Vec<Series> {
    let known = pipeline.series();
    let series = cast.players.iter().map(|player| {
        player.sensor.and_then(|sensor| known.get(sensor).cloned()).unwrap_or_else(|| {
            let name = recording.names.get(player.name).map_or("", String::as_str);
            Series {
                sensor: name.into(),
                id: None,
                quantity: Quantity::Temperature,
                interval: None,
            }
        })
    });
    series.collect()
}

fn names(stages: &[Stage]) -> Vec<Arc<str>> {
    stages.iter().map(|stage| stage.name.as_str().into()).collect()
}

/// The numbered lines.
struct Lines<'o, W> {
    out: &'o mut W,
    /// The number given last.
    seq: u64,
}

impl<W: Write> Lines<'_, W> {
    fn write(&mut self, body: Body) -> Result<(), ReplayError> {
        self.seq += 1;
        let json = Message { seq: Some(self.seq), late: false, body }.to_json();
        writeln!(self.out, "{json}").map_err(ReplayError::Write)
    }

    /// Gives the number of the last line.
    fn end(self) -> Result<u64, ReplayError> {
        self.out.flush().map_err(ReplayError::Write)?;
        Ok(self.seq)
    }
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
