//! The running chain: a batch goes through all stages by plain calls. Live and replay use the same one.

use std::sync::Arc;

use super::stage::RunningStage;
use super::state::{SavedState, StateWriter};
use super::{Driver, Pipeline, Stage};
use crate::causes::with_causes;
use crate::plugin::{Calls, CompileError, EndedCall, Engine, Plugin, PluginFile};
use crate::reading::{Alarm, Batch, Input, Quantity, Series, Timestamp};
use crate::uplink::Scribe;
use crate::uplink::wire::Body;

/// The stages of a pipeline, each with its plugin. Owned by one thread.
pub struct Chain {
    pub(super) stages: Vec<RunningStage>,
    /// Takes what the stages save; `None` when that stays in memory.
    pub(super) states: Option<StateWriter>,
    /// The time of the last input.
    pub(super) now: Timestamp,
    /// How far the wall clock is ahead of it, in nanoseconds.
    pub(super) ahead_nanos: i64,
    /// Traps of stages that are gone.
    pub(super) traps_before: u64,
}

/// What a batch or a tick comes to at the end of the chain.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// Readings and faults.
    pub batch: Batch,
    /// Alarms with the position of the stage that raised them.
    pub alarms: Vec<(usize, Alarm)>,
}

/// What a stage begins with, beside its settings.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// What it goes on from.
    pub saved: Option<SavedState>,
    /// Whether this process has told the alarms that are active already.
    pub is_told: bool,
    /// Counts its calls; a replay says here which of them end.
    pub calls: Calls,
}

/// Why a checked pipeline cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine does not start, or a plugin cannot be compiled.
    #[error("stage `{stage}`: plugin `{plugin}`")]
    Compile {
        /// Which stage.
        stage: String,
        /// Which plugin.
        plugin: String,
        /// Why.
        #[source]
        source: CompileError,
    },
    /// A plugin refused its settings, or trapped while it was given them.
    #[error("stage `{stage}`: plugin `{plugin}` does not start: {why}")]
    Refused {
        /// Which stage.
        stage: String,
        /// Which plugin.
        plugin: String,
        /// The plugin's own words.
        why: String,
    },
}

impl StartError {
    /// A line for each, with its cause.
    pub(super) fn lines(errors: &[StartError]) -> String {
        errors.iter().map(|error| with_causes(error)).collect::<Vec<_>>().join("\n")
    }
}

impl Outcome {
    /// As messages: readings and faults by time, then alarms.
    pub fn to_bodies(&self, stages: &[Arc<str>], scribe: &Scribe) -> Vec<Body> {
        let measured = self.batch.in_order().into_iter().map(|measured| match measured {
            Ok(reading) => scribe.reading(&reading, self.batch.doubt(&reading)),
            Err(fault) => scribe.fault(&fault),
        });
        let alarms = self
            .alarms
            .iter()
            .filter_map(|(stage, alarm)| Some(scribe.alarm(alarm, stages.get(*stage)?)));
        measured.chain(alarms).collect()
    }
}

impl Chain {
    /// Compiles every plugin once and starts every stage. All stages that do not start are told of together.
    pub fn start(
        engine: &Engine,
        stages: &[Stage],
        series: &[Series],
    ) -> Result<Chain, Vec<StartError>> {
        Chain::start_from(engine, stages, series, Vec::new())
    }

    /// As [`Chain::start`], each stage from its beginning; a stage for which there is none begins anew.
    pub fn start_from(
        engine: &Engine,
        stages: &[Stage],
        series: &[Series],
        beginnings: Vec<Beginning>,
    ) -> Result<Chain, Vec<StartError>> {
        let mut beginnings = beginnings.into_iter();
        let mut compiled = Compiled::new(engine);
        let mut running = Vec::new();
        let mut refused = Vec::new();
        for stage in stages {
            let beginning = beginnings.next().unwrap_or_default();
            match compiled.start(stage, series, beginning) {
                Ok(stage) => running.push(stage),
                Err(error) => refused.push(error),
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        Ok(Chain {
            stages: running,
            states: None,
            now: Timestamp::default(),
            ahead_nanos: 0,
            traps_before: 0,
        })
    }

    /// From now on what the stages save is written to the disk.
    pub(super) fn write_states(&mut self, to: StateWriter) {
        self.states = Some(to);
    }

    /// Passes one input through all stages.
    pub fn pass(&mut self, input: Input) -> Outcome {
        let outcome = match input {
            Input::Batch(batch) => self.batch(batch),
            Input::Tick(now) => self.tick(now),
        };
        self.write();
        outcome
    }

    /// Saves what every stage knows, for the last time.
    pub fn finish(&mut self) {
        let now = self.now;
        self.stages.iter_mut().for_each(|stage| stage.finish(now));
        self.write();
    }

    fn write(&mut self) {
        let Some(states) = &self.states else { return };
        for state in self.stages.iter_mut().filter_map(RunningStage::unwritten) {
            states.put(SavedState { ahead_nanos: self.ahead_nanos, ..state });
        }
    }

    fn batch(&mut self, batch: Batch) -> Outcome {
        let now = latest(&batch);
        self.now = now.max(self.now);
        let mut outcome = Outcome { batch, alarms: Vec::new() };
        self.from(0, now, &mut outcome);
        outcome
    }

    /// What a stage gives at a tick goes through the stages after it, as any reading.
    fn tick(&mut self, now: Timestamp) -> Outcome {
        self.now = now.max(self.now);
        let mut outcome = Outcome::default();
        for position in 0..self.stages.len() {
            let mut raised = Vec::new();
            let Some(stage) = self.stages.get_mut(position) else { break };
            let readings = stage.tick(now, &mut raised);
            outcome.alarms.extend(raised.into_iter().map(|alarm| (position, alarm)));
            if !readings.is_empty() {
                let batch = Batch { readings, ..Batch::default() };
                let mut given = Outcome { batch, alarms: Vec::new() };
                self.from(position + 1, now, &mut given);
                outcome.alarms.append(&mut given.alarms);
                outcome.batch.append(given.batch);
            }
        }
        outcome
    }

    fn from(&mut self, first: usize, now: Timestamp, outcome: &mut Outcome) {
        for (position, stage) in self.stages.iter_mut().enumerate().skip(first) {
            let mut raised = Vec::new();
            stage.apply(now, &mut outcome.batch, &mut raised);
            outcome.alarms.extend(raised.into_iter().map(|alarm| (position, alarm)));
        }
    }

    /// The stages' names, in their order.
    pub(super) fn stage_names(&self) -> Vec<Arc<str>> {
        self.stages.iter().map(|stage| stage.name.as_str().into()).collect()
    }

    /// How often plugins trapped.
    pub fn traps(&self) -> u64 {
        self.traps_before + self.stages.iter().map(|stage| stage.traps).sum::<u64>()
    }

    /// The calls that the machine ended since this was asked last, with the positions of their stages.
    pub fn take_ended(&self) -> Vec<(usize, EndedCall)> {
        let stages = self.stages.iter().enumerate();
        let ended = stages.map(|(position, stage)| (position, stage.calls.take_ended()));
        ended.flat_map(|(stage, calls)| calls.into_iter().map(move |call| (stage, call))).collect()
    }

    /// Writes what the plugins counted to the log.
    pub fn log_counters(&self) {
        self.stages.iter().for_each(RunningStage::log_counters);
    }
}

/// Each plugin is compiled once, whichever stages use it. One after the other: beside each other they would need the memory of
/// several compilers.
pub(super) struct Compiled<'e> {
    engine: &'e Engine,
    ready: Vec<([u8; 32], Result<Plugin, CompileError>)>,
}

impl Compiled<'_> {
    pub(super) fn new(engine: &Engine) -> Compiled<'_> {
        Compiled { engine, ready: Vec::new() }
    }

    fn plugin(&mut self, file: &PluginFile) -> Result<Plugin, CompileError> {
        if let Some((_, ready)) = self.ready.iter().find(|(sha256, _)| *sha256 == file.sha256) {
            return ready.clone();
        }
        let plugin = self.engine.compile(file);
        self.ready.push((file.sha256, plugin.clone()));
        plugin
    }

    /// A stage's plugin, compiled.
    pub(super) fn of(&mut self, stage: &Stage) -> Result<Plugin, StartError> {
        self.plugin(&stage.plugin).map_err(|source| StartError::Compile {
            stage: stage.name.clone(),
            plugin: stage.plugin.manifest.name.clone(),
            source,
        })
    }

    fn start(
        &mut self,
        stage: &Stage,
        series: &[Series],
        beginning: Beginning,
    ) -> Result<RunningStage, StartError> {
        start_stage(stage, self.of(stage)?, series, beginning)
    }
}

/// Starts a stage whose plugin is compiled.
pub(super) fn start_stage(
    stage: &Stage,
    plugin: Plugin,
    series: &[Series],
    beginning: Beginning,
) -> Result<RunningStage, StartError> {
    RunningStage::start(stage, plugin, series, beginning).map_err(|why| StartError::Refused {
        stage: stage.name.clone(),
        plugin: stage.plugin.manifest.name.clone(),
        why,
    })
}

impl Pipeline {
    /// The series of the pipeline's sensors, in their order.
    pub fn series(&self) -> Vec<Series> {
        let series = self.sensors.iter().map(|sensor| {
            let (id, interval) = match &sensor.driver {
                Driver::Ds18b20 { id, interval, .. } => {
                    (id.map(|id| id.to_string().into()), Some(*interval))
                }
                Driver::Attribute { class, device, channel, interval } => {
                    (Some(channel.address(*class, device).into()), Some(*interval))
                }
                Driver::Simulated { interval, .. } => (None, Some(*interval)),
                Driver::Replay { .. } => (None, None),
            };
            let quantity = match &sensor.driver {
                Driver::Attribute { channel, .. } => channel.quantity(),
                Driver::Ds18b20 { .. } | Driver::Simulated { .. } | Driver::Replay { .. } => {
                    Quantity::Temperature
                }
            };
            Series { sensor: sensor.name.clone(), id, quantity, interval }
        });
        series.collect()
    }
}

fn latest(batch: &Batch) -> Timestamp {
    let readings = batch.readings.time.iter().copied().max().unwrap_or_default();
    let faults = batch.faults.iter().map(|fault| fault.time.nanos).max().unwrap_or_default();
    Timestamp { nanos: readings.max(faults) }
}
