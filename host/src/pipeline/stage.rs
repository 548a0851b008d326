//! One stage at work: its plugin instance, what of a batch it is given, and what becomes of a trap.

mod active;
mod given;
mod keep;
mod traps;

use self::active::ActiveAlarms;
use self::keep::{Saved, Schedule};
use super::breaker::Breaker;
use super::chain::Beginning;
use super::{OnTrap, Stage};
use crate::plugin::{Applied, Calls, Instance, Kept, Limits, Plugin, PluginKind, Trap};
use crate::reading::{Alarm, Batch, Fault, FaultReason, Reading, Readings, Series, Timestamp};

/// A stage with its plugin.
pub(super) struct RunningStage {
    pub(super) name: String,
    plugin: Plugin,
    plugin_name: String,
    plugin_version: String,
    kind: PluginKind,
    on_trap: OnTrap,
    limits: Limits,
    settings: String,
    /// What the plugin was told of; its own numbers are positions in here.
    declared: Vec<Series>,
    /// The chain's number of each declared series.
    chain_number: Vec<u32>,
    /// The plugin's number of each of the chain's series, where it has one.
    own_number: Vec<Option<u32>>,
    /// Whether the plugin is given every series under the chain's own number.
    is_given_all: bool,
    /// Whether each declared series had a good reading in the last batch that had any of it.
    was_good: Vec<bool>,
    state: State,
    /// Whether this process has told the alarms that are active already.
    is_begun: bool,
    /// What the next instance goes on from.
    saved: Saved,
    schedule: Schedule,
    /// The alarms that are active, as was told by this process or the one before.
    told: ActiveAlarms,
    /// What a fresh instance leaves to be told with the next input.
    to_tell: Vec<Alarm>,
    /// What the host keeps of an instance for the next: counters, and how much it may still log.
    kept: Kept,
    pub(super) calls: Calls, // of all instances, also of those that did not start
    breaker: Breaker,
    /// All traps.
    pub(super) traps: u64,
}

enum State {
    Working(Box<Instance>),
    /// A trapped plugin waits for its next start; what it would hold becomes faults.
    Waiting {
        until: Timestamp,
        reason: FaultReason,
    },
    /// `on_trap = "bypass"`: readings pass as uncertain.
    Bypassed,
    /// `on_trap = "stop"`: readings become faults.
    Stopped(FaultReason),
}

impl RunningStage {
    /// Starts and configures the plugin, which goes on from what was saved by an earlier process. An `Err` is the
    /// plugin's own refusal, or how it trapped.
    pub(super) fn start(
        stage: &Stage,
        plugin: Plugin,
        series: &[Series],
        beginning: Beginning,
    ) -> Result<Self, String> {
        let mut own_number = vec![None; series.len()];
        let mut chain_number = Vec::new();
        for &sensor in &stage.sensors {
            let (Some(own), Ok(number)) = (own_number.get_mut(sensor), u32::try_from(sensor))
            else {
                continue;
            };
            *own = u32::try_from(chain_number.len()).ok();
            chain_number.push(number);
        }
        let declared: Vec<Series> =
            stage.sensors.iter().filter_map(|&sensor| series.get(sensor).cloned()).collect();
        let manifest = &stage.plugin.manifest;
        let mut running = RunningStage {
            name: stage.name.clone(),
            plugin,
            plugin_name: manifest.name.clone(),
            plugin_version: manifest.version.clone(),
            kind: manifest.kind,
            on_trap: stage.on_trap,
            limits: stage.limits,
            settings: stage.settings.clone(),
            is_given_all: declared.len() == series.len(),
            was_good: vec![false; declared.len()],
            declared,
            chain_number,
            own_number,
            state: State::Bypassed,
            is_begun: beginning.is_told,
            saved: Saved::default(),
            schedule: Schedule::new(stage.save_interval),
            told: ActiveAlarms::default(),
            to_tell: Vec::new(),
            kept: Kept::default(),
            calls: beginning.calls,
            breaker: Breaker::new(stage.trap_limit),
            traps: 0,
        };
        if let Some(saved) = &beginning.saved {
            running.remember(saved);
        }
        running.start_first()?;
        Ok(running)
    }

    /// Passes a batch through the stage. Its faults stay, in front of new ones; alarms are added to `alarms`.
    pub(super) fn apply(&mut self, now: Timestamp, batch: &mut Batch, alarms: &mut Vec<Alarm>) {
        self.start_again(now);
        self.begin_pass();
        self.tell(now, alarms);
        let faults: Vec<Fault> =
            batch.faults.iter().filter_map(|&fault| self.own_fault(fault)).collect();
        for fault in &faults {
            // The sensor's last word is a fault: what the plugin gives of its own accord is not good any more.
            if let Some(was_good) = self.was_good.get_mut(fault.series as usize) {
                *was_good = false;
            }
        }
        if self.is_given_all {
            let given = std::mem::take(&mut batch.readings);
            batch.readings = self.apply_given(now, given, &mut batch.faults, alarms);
        } else {
            let (given, mut rest): (Readings, Readings) = self.split(&batch.readings);
            let passed = self.apply_given(now, given, &mut batch.faults, alarms);
            if !passed.is_empty() {
                let mut rows: Vec<Reading> = rest.iter().chain(passed.iter()).collect();
                rows.sort_by_key(|reading| reading.time);
                rest = rows.into_iter().collect();
            }
            batch.readings = rest;
        }
        for fault in faults {
            self.call(now, |instance| instance.fault(fault));
        }
        self.save(now);
    }

    /// What becomes of readings that the plugin is given, under the chain's numbers again.
    fn apply_given(
        &mut self,
        now: Timestamp,
        mut given: Readings,
        faults: &mut Vec<Fault>,
        alarms: &mut Vec<Alarm>,
    ) -> Readings {
        if given.is_empty() {
            return given;
        }
        let passed = match &mut self.state {
            State::Bypassed => self.doubt(given),
            State::Waiting { reason, .. } | State::Stopped(reason) => {
                let reason = *reason;
                self.lose(given, reason, faults)
            }
            State::Working(instance) => match instance.apply(&mut given) {
                Ok(applied) => {
                    self.breaker.returned();
                    self.take(applied, given, alarms)
                }
                Err(trap) => {
                    let reason = trap.reason;
                    self.trapped(now, trap);
                    match self.state {
                        State::Bypassed => self.doubt(given),
                        _ => self.lose(given, reason, faults),
                    }
                }
            },
        };
        self.to_chain_numbers(passed)
    }

    /// What the plugin made of the readings that it was given.
    fn take(&mut self, applied: Applied, mut given: Readings, alarms: &mut Vec<Alarm>) -> Readings {
        match applied {
            Applied::Filtered(mut readings) => {
                self.keep_doubt(&given, &mut readings);
                readings
            }
            Applied::Calibrated(value) => {
                given.value = value;
                given
            }
            Applied::Alarms(raised) => {
                self.raise(raised, alarms);
                given
            }
        }
    }

    /// Tells the plugin the time. What it gives of its own accord is returned.
    pub(super) fn tick(&mut self, now: Timestamp, alarms: &mut Vec<Alarm>) -> Readings {
        self.start_again(now);
        self.begin_pass();
        self.tell(now, alarms);
        let applied = self.call(now, |instance| instance.tick(now));
        let readings = applied.map(|applied| self.take(applied, Readings::default(), alarms));
        self.save(now);
        self.to_chain_numbers(readings.unwrap_or_default())
    }

    /// A call that holds no readings: a trap loses nothing but the plugin's state since it was saved.
    fn call<T>(
        &mut self,
        now: Timestamp,
        call: impl FnOnce(&mut Instance) -> Result<T, Trap>,
    ) -> Option<T> {
        let State::Working(instance) = &mut self.state else { return None };
        match call(instance) {
            Ok(done) => Some(done),
            Err(trap) => {
                self.trapped(now, trap);
                None
            }
        }
    }

    fn begin_pass(&mut self) {
        if let State::Working(instance) = &mut self.state {
            instance.begin_pass();
        }
    }

    /// Writes what the plugin has counted to the log.
    pub(super) fn log_counters(&self) {
        let counters = match &self.state {
            State::Working(instance) => &instance.kept().counters,
            _ => &self.kept.counters,
        };
        for (counter, count) in counters {
            tracing::info!(stage = self.name, counter, count, "The plugin counted.");
        }
    }
}
