//! A recorded run (`weir run --record`) through a pipeline's stages: with the same plugins the bytes that the run gave to
//! its uplinks, with others what they would have made of it.

use std::io::{BufRead, Write};
use std::sync::Arc;

use super::cast::{Cast, cast};
use super::differences::{Act, acts, tell_differences};
use super::{Lines, Naming, ReplayError, names, start};
use crate::pipeline::chain::{Beginning, Chain};
use crate::pipeline::record::{BadRecording, Header, Next, Reader, Recorded};
use crate::pipeline::state::SavedState;
use crate::pipeline::{Pipeline, Stage};
use crate::plugin::{Engine, EngineSettings, Limits};
use crate::reading::{Input, Observed, Series};
use crate::uplink::Scribe;
use crate::uplink::wire::{Body, Event};

/// Most bytes that the states of all stages have together.
const STATES: usize = 256 << 20;
/// Most messages of a spool's own between two lines. A commit on a full disk makes some hundreds at most, and there may be some
/// commits between two cycles; what a bad file names is bounded all the same.
const MOST_ADDED: usize = 16_384;

/// What became of a recorded run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayedRun {
    /// Batches, ticks and the rest that the chain took.
    pub inputs: u64,
    /// Lines written.
    pub lines: u64,
    /// How many messages the run gave; one that was killed did not record it.
    pub sent: Option<u64>,
}

/// Replays a recorded run and writes one JSON line a message. `warn` is told where this cannot be the same run, and
/// where the recording is cut off.
pub fn replay_run(
    pipeline: &Pipeline,
    input: impl BufRead,
    naming: &Naming,
    engine: EngineSettings,
    out: &mut impl Write,
    mut warn: impl FnMut(String),
) -> Result<ReplayedRun, ReplayError> {
    let mut recording = Reader::open(input)?;
    let engine = start(engine, pipeline)?;
    let mut play = Play::new(pipeline, &recording.header, naming, engine, out, &mut warn)?;
    loop {
        match recording.next()? {
            Next::Line(recorded) => play.take(recorded, recording.line)?,
            Next::Torn => {
                warn(format!("line {} is cut off: all before it was replayed", recording.line));
                break;
            }
            Next::End => break,
        }
    }
    play.end()
}

/// Fuel for whatever met its deadline in the run: no machine burns more than 20 units in a nanosecond.
fn with_time_to_spare(stage: Stage) -> Stage {
    let nanos = u64::try_from(stage.limits.call_deadline.as_nanos()).unwrap_or(u64::MAX);
    let call_fuel = stage.limits.call_fuel.max(nanos.saturating_mul(20));
    Stage { limits: Limits { call_fuel, ..stage.limits }, ..stage }
}

/// The series as they were recorded, under the pipeline's names.
fn series(pipeline: &Pipeline, recorded: &[Series], cast: &Cast) -> Vec<Series> {
    let series = cast.players.iter().filter_map(|player| {
        let series = recorded.get(player.name)?.clone();
        let sensor = player.sensor.and_then(|sensor| pipeline.sensors.get(sensor));
        Some(match sensor {
            Some(sensor) => Series { sensor: sensor.name.clone(), ..series },
            None => series,
        })
    });
    series.collect()
}

/// A replay at work.
struct Play<'o, W> {
    stages: Vec<Stage>,
    series: Vec<Series>,
    acts: Vec<Act>,
    /// The series' numbers in this replay, by the recording's.
    number_of_series: Vec<u32>,
    stage_names: Vec<Arc<str>>,
    scribe: Scribe,
    /// What each stage went on from, as far as it was read.
    saved: Vec<Vec<u8>>,
    /// Bytes of all of these.
    states: usize,
    engine: Engine,
    /// Begins with the first input, when all states are known.
    chain: Option<Chain>,
    /// Messages that the spool numbered among those of the next line.
    added: Vec<(u64, Event)>,
    lines: Lines<'o, W>,
    /// The number of the last message before the run.
    after: u64,
    replayed: ReplayedRun,
}

impl<'o, W: Write> Play<'o, W> {
    fn new(
        pipeline: &Pipeline,
        header: &Header,
        naming: &Naming,
        engine: Engine,
        out: &'o mut W,
        warn: &mut impl FnMut(String),
    ) -> Result<Self, ReplayError> {
        let recorded = header.series().map_err(|what| BadRecording::Line { line: 1, what })?;
        // With `id = "all"` the run took in what was there.
        let adopt = naming.adopt || pipeline.all.is_some();
        let naming = Naming { adopt, map: naming.map.clone() };
        let sensors: Vec<String> =
            recorded.iter().map(|series| series.sensor.to_string()).collect();
        let cast = cast(pipeline, &sensors, &naming)?;
        let stages: Vec<Stage> =
            cast.stages(pipeline).into_iter().map(with_time_to_spare).collect();
        let series = series(pipeline, &recorded, &cast);
        tell_differences(pipeline, header, &stages, &cast, warn);
        Ok(Play {
            acts: acts(header, &stages),
            number_of_series: cast.number_of_name(),
            stage_names: names(&stages),
            scribe: Scribe { series: series.as_slice().into(), wall_clock: header.wall_clock() },
            saved: vec![Vec::new(); stages.len()],
            states: 0,
            engine,
            chain: None,
            added: Vec::new(),
            lines: Lines { out, seq: header.after },
            after: header.after,
            replayed: ReplayedRun::default(),
            stages,
            series,
        })
    }

    fn take(&mut self, recorded: Recorded, line: u64) -> Result<(), ReplayError> {
        let bad = |what: String| Err(BadRecording::Line { line, what }.into());
        match recorded {
            Recorded::State { stage, part } => {
                self.states += part.len();
                if self.replayed.inputs > 0 || self.states > STATES {
                    return bad(format!(
                        "a state must come before the first input, and all together have at most {STATES} bytes"
                    ));
                }
                let act = self.acts.iter().position(|act| act.recorded == Some(stage));
                if let Some(saved) = act.and_then(|act| self.saved.get_mut(act)) {
                    saved.extend(part);
                }
            }
            Recorded::Ended { stage, call } => {
                let is_it = |act: &&Act| act.is_same && act.recorded == Some(stage);
                if let Some(act) = self.acts.iter().find(is_it) {
                    act.calls.end(call);
                }
            }
            Recorded::Observed(observed) => self.observed(observed)?,
            Recorded::Message(event) => self.write([event.into()])?,
            Recorded::Added { .. } if self.added.len() >= MOST_ADDED => {
                return bad(format!("more than {MOST_ADDED} lines `added` follow each other"));
            }
            Recorded::Added { seq, event } => self.added.push((seq, event)),
            Recorded::End { seq } => self.replayed.sent = Some(seq.saturating_sub(self.after)),
        }
        Ok(())
    }

    fn observed(&mut self, observed: Observed) -> Result<(), ReplayError> {
        self.replayed.inputs += 1;
        let bodies = match observed {
            Observed::Input(mut input) => {
                self.renumber(&mut input);
                let outcome = self.chain()?.pass(input);
                outcome.to_bodies(&self.stage_names, &self.scribe)
            }
            Observed::Sighting(sighting) => vec![self.scribe.sighting(&sighting)],
            Observed::WallClock(clock, now) => vec![self.scribe.wall_clock(clock, now)],
        };
        self.write(bodies)
    }

    fn chain(&mut self) -> Result<&mut Chain, ReplayError> {
        let chain = match self.chain.take() {
            Some(chain) => chain,
            None => {
                let beginnings = self.beginnings()?;
                Chain::start_from(&self.engine, &self.stages, &self.series, beginnings)
                    .map_err(ReplayError::Start)?
            }
        };
        Ok(self.chain.insert(chain))
    }

    fn beginnings(&mut self) -> Result<Vec<Beginning>, ReplayError> {
        let saved = std::mem::take(&mut self.saved);
        let beginnings = self.acts.iter().zip(&self.stages).zip(saved);
        let beginnings = beginnings.map(|((act, stage), saved)| {
            let damaged = |source| BadRecording::State { stage: stage.name.clone(), source };
            let saved = if saved.is_empty() { None } else { Some(SavedState::from_bytes(&saved)) };
            let saved = saved.transpose().map_err(damaged)?;
            Ok(Beginning { saved, calls: act.calls.clone(), ..Beginning::default() })
        });
        beginnings.collect()
    }

    fn end(mut self) -> Result<ReplayedRun, ReplayError> {
        self.write([])?;
        self.replayed.lines = self.lines.end()? - self.after;
        Ok(self.replayed)
    }

    /// From the recording's numbers of series to those of this replay.
    fn renumber(&self, input: &mut Input) {
        let Input::Batch(batch) = input else { return };
        let readings = batch.readings.series.iter_mut();
        let faults = batch.faults.iter_mut().map(|fault| &mut fault.series);
        let doubts = batch.doubts.iter_mut().map(|doubted| &mut doubted.series);
        for series in readings.chain(faults).chain(doubts) {
            *series = self.number_of_series.get(*series as usize).copied().unwrap_or_default();
        }
    }

    /// Messages of one line, and those that the spool made among them at their numbers. With other plugins these numbers
    /// may be taken already: then they come as soon as they can.
    fn write(&mut self, bodies: impl IntoIterator<Item = Body>) -> Result<(), ReplayError> {
        let mut added = std::mem::take(&mut self.added).into_iter().peekable();
        for body in bodies {
            while let Some((_, event)) = added.next_if(|(seq, _)| *seq <= self.lines.seq + 1) {
                self.lines.write(event.into())?;
            }
            self.lines.write(body)?;
        }
        added.try_for_each(|(_, event)| self.lines.write(event.into()))
    }
}
