//! The running chain: a batch goes through all stages by plain calls. Live and replay use the same one.

use std::sync::Arc;

use super::stage::RunningStage;
use super::state::{SavedStates, StateWriter};
use super::{Driver, Pipeline, Stage};
use crate::plugin::{CompileError, Engine, Plugin, PluginFile};
use crate::reading::{Alarm, Batch, Input, Quantity, Series, Timestamp};
use crate::uplink::Scribe;
use crate::uplink::wire::Body;

/// The stages of a pipeline, each with its plugin. Owned by one thread.
pub struct Chain {
    stages: Vec<RunningStage>,
    /// Takes what the stages save; `None` when that stays in memory.
    states: Option<StateWriter>,
    /// The time of the last input.
    now: Timestamp,
}

/// What a batch or a tick comes to at the end of the chain.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// Readings and faults.
    pub batch: Batch,
    /// Alarms with the position of the stage that raised them.
    pub alarms: Vec<(usize, Alarm)>,
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
        Chain::start_from(engine, stages, series, &SavedStates::new())
    }

    /// As [`Chain::start`]; stages go on from what an earlier process saved.
    pub fn start_from(
        engine: &Engine,
        stages: &[Stage],
        series: &[Series],
        saved: &SavedStates,
    ) -> Result<Chain, Vec<StartError>> {
        let compiled = compile(engine, stages);
        let mut running = Vec::new();
        let mut refused = Vec::new();
        for stage in stages {
            match start_stage(&compiled, stage, series, saved) {
                Ok(stage) => running.push(stage),
                Err(error) => refused.push(error),
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        Ok(Chain { stages: running, states: None, now: Timestamp::default() })
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
        self.stages.iter_mut().filter_map(RunningStage::unwritten).for_each(|s| states.put(s));
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

    /// How often plugins trapped.
    pub fn traps(&self) -> u64 {
        self.stages.iter().map(|stage| stage.traps).sum()
    }

    /// Writes what the plugins counted to the log.
    pub fn log_counters(&self) {
        for stage in &self.stages {
            for (counter, count) in stage.counters() {
                tracing::info!(stage = stage.name, counter, count, "The plugin counted.");
            }
        }
    }
}

/// A plugin's file and what compiling it gave.
type Compiled<'s> = (&'s Arc<PluginFile>, Result<Plugin, CompileError>);

/// One after the other: beside each other they would be ready in two thirds of the time, and leave 9 MB more behind for
/// as long as the process runs.
fn compile<'s>(engine: &Engine, stages: &'s [Stage]) -> Vec<Compiled<'s>> {
    let mut compiled: Vec<Compiled<'s>> = Vec::new();
    for stage in stages {
        if !compiled.iter().any(|(file, _)| Arc::ptr_eq(file, &stage.plugin)) {
            compiled.push((&stage.plugin, engine.compile(&stage.plugin)));
        }
    }
    compiled
}

fn start_stage(
    compiled: &[Compiled<'_>],
    stage: &Stage,
    series: &[Series],
    saved: &SavedStates,
) -> Result<RunningStage, StartError> {
    let (name, plugin) = (stage.name.clone(), stage.plugin.manifest.name.clone());
    let ready = compiled.iter().find(|(file, _)| Arc::ptr_eq(file, &stage.plugin));
    match ready.map_or_else(|| Err(CompileError::gave_up()), |(_, ready)| ready.clone()) {
        Ok(ready) => RunningStage::start(stage, ready, series, saved.get(&name))
            .map_err(|why| StartError::Refused { stage: name, plugin, why }),
        Err(source) => Err(StartError::Compile { stage: name, plugin, source }),
    }
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
