//! One stage at work: its plugin instance, what of a batch it is given, and what becomes of a trap.

use std::collections::BTreeMap;
use std::time::Duration;

use super::chain::Beginning;
use super::{OnTrap, Stage};
use crate::file::excerpt;
use crate::plugin::{Applied, Calls, Instance, Kept, Limits, Plugin, PluginKind, Trap};
use crate::reading::{
    Alarm, Batch, Fault, FaultReason, Quality, Reading, Readings, Series, Timestamp,
};

/// How often a stage's state is saved, in the time of the readings.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// After so many traps in a row the saved state is given up.
const POISONED: u32 = 3;
/// A plugin that traps again and again is started again after 1, 2, 4 … seconds, at most after this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// A stage with its plugin.
pub(super) struct RunningStage {
    pub(super) name: String,
    plugin: Plugin,
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
    saved: Vec<u8>,
    saved_at: Timestamp,
    save_now: bool,
    /// What the host keeps of an instance for the next: counters, and how much it may still log.
    kept: Kept,
    pub(super) calls: Calls, // of all instances, also of those that did not start
    /// Traps since the plugin last returned well.
    traps_in_a_row: u32,
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
    /// Starts and configures the plugin. An `Err` is the plugin's own refusal, or how it trapped.
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
        let mut running = RunningStage {
            name: stage.name.clone(),
            plugin,
            kind: stage.plugin.manifest.kind,
            on_trap: stage.on_trap,
            limits: stage.limits,
            settings: stage.settings.clone(),
            is_given_all: declared.len() == series.len(),
            was_good: vec![false; declared.len()],
            declared,
            chain_number,
            own_number,
            state: State::Bypassed,
            saved: beginning.state.unwrap_or_default(),
            saved_at: Timestamp::default(),
            save_now: false,
            kept: Kept::default(),
            calls: beginning.calls,
            traps_in_a_row: 0,
            traps: 0,
        };
        let instance =
            running.instance().map_err(|trap| trap.text)?.map_err(|why| excerpt(&why))?;
        running.state = State::Working(Box::new(instance));
        Ok(running)
    }

    /// A fresh instance, configured, with the last saved state.
    fn instance(&mut self) -> Result<Result<Instance, String>, Trap> {
        if self.traps_in_a_row >= POISONED {
            // It may be the state itself that the plugin cannot bear.
            self.saved.clear();
        }
        let mut kept = std::mem::take(&mut self.kept);
        kept.calls = self.calls.clone();
        let mut instance = Instance::start(&self.plugin, &self.name, self.limits, kept)?;
        if let Err(refused) = instance.configure(&self.settings, &self.declared)? {
            return Ok(Err(refused));
        }
        if self.saved.is_empty() {
            return Ok(Ok(instance));
        }
        let loaded = instance.load(&self.saved);
        if loaded.is_err() {
            self.saved.clear();
        }
        if let Err(refused) = loaded? {
            tracing::warn!(
                stage = self.name,
                "The plugin refused its saved state and starts anew: {refused}"
            );
        }
        Ok(Ok(instance))
    }

    /// Passes a batch through the stage. Its faults stay, in front of new ones; alarms are added to `alarms`.
    pub(super) fn apply(&mut self, now: Timestamp, batch: &mut Batch, alarms: &mut Vec<Alarm>) {
        self.start_again(now);
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

    /// Readings of the plugin's series under its own numbers, and the rest under the chain's.
    fn split(&self, readings: &Readings) -> (Readings, Readings) {
        let mut given = Readings::default();
        let mut rest = Readings::default();
        for reading in readings.iter() {
            match self.own_number.get(reading.series as usize).copied().flatten() {
                Some(series) => given.push(Reading { series, ..reading }),
                None => rest.push(reading),
            }
        }
        (given, rest)
    }

    fn own_fault(&self, fault: Fault) -> Option<Fault> {
        let series = self.own_number.get(fault.series as usize).copied().flatten()?;
        Some(Fault { series, ..fault })
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
                    self.traps_in_a_row = 0;
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

    /// Readings that a filter or a calibration should have seen and did not. An alert changes no reading, so without it
    /// they are what they were.
    fn doubt(&self, mut given: Readings) -> Readings {
        if self.kind != PluginKind::Alert {
            given.quality.fill(Quality::Uncertain.code());
        }
        given
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

    /// A plugin that was given only uncertain readings of a sensor cannot give good ones.
    fn keep_doubt(&mut self, given: &Readings, readings: &mut Readings) {
        let rows = || given.series.iter().zip(&given.quality);
        for (&series, _) in rows() {
            if let Some(was_good) = self.was_good.get_mut(series as usize) {
                *was_good = false;
            }
        }
        for (&series, &quality) in rows() {
            if let Some(was_good) = self.was_good.get_mut(series as usize) {
                *was_good |= quality == Quality::Good.code();
            }
        }
        for (&series, quality) in readings.series.iter().zip(&mut readings.quality) {
            if !self.was_good.get(series as usize).copied().unwrap_or(false) {
                *quality = Quality::Uncertain.code();
            }
        }
    }

    /// What was told must not be forgotten by a trap, or an alarm would never clear: the state is saved at once.
    fn raise(&mut self, raised: Vec<Alarm>, alarms: &mut Vec<Alarm>) {
        self.save_now |= !raised.is_empty();
        let chain_number = &self.chain_number;
        alarms.extend(raised.into_iter().map(|alarm| {
            let series = chain_number.get(alarm.series as usize).copied().unwrap_or_default();
            Alarm { series, ..alarm }
        }));
    }

    /// Each reading becomes a fault. An alert's readings pass beside the fault: they are good, only nobody watched.
    fn lose(&self, given: Readings, reason: FaultReason, faults: &mut Vec<Fault>) -> Readings {
        faults.extend(given.iter().map(|reading| Fault {
            series: self.chain_number.get(reading.series as usize).copied().unwrap_or_default(),
            time: reading.time,
            reason,
        }));
        let passes = self.kind == PluginKind::Alert && !matches!(self.state, State::Stopped(_));
        if passes { given } else { Readings::default() }
    }

    fn to_chain_numbers(&self, mut readings: Readings) -> Readings {
        if !self.is_given_all {
            for series in &mut readings.series {
                *series = self.chain_number.get(*series as usize).copied().unwrap_or_default();
            }
        }
        readings
    }

    /// Tells the plugin the time. What it gives of its own accord is returned.
    pub(super) fn tick(&mut self, now: Timestamp, alarms: &mut Vec<Alarm>) -> Readings {
        self.start_again(now);
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

    fn trapped(&mut self, now: Timestamp, trap: Trap) {
        self.traps += 1;
        self.traps_in_a_row = self.traps_in_a_row.saturating_add(1);
        let stage = &self.name;
        tracing::error!(stage, reason = %trap.reason, traps = self.traps, "The plugin trapped. {}", trap.text);
        let next = match self.on_trap {
            OnTrap::Bypass => State::Bypassed,
            OnTrap::Stop => State::Stopped(trap.reason),
            OnTrap::Restart => {
                State::Waiting { until: now.plus(self.backoff()), reason: trap.reason }
            }
        };
        if let State::Working(instance) = std::mem::replace(&mut self.state, next) {
            self.kept = instance.into_kept();
        }
    }

    /// After the first trap there is no wait: one bad reading must not cost the next one.
    fn backoff(&self) -> Duration {
        match self.traps_in_a_row {
            0 | 1 => Duration::ZERO,
            more => Duration::from_secs(1 << (more - 2).min(16)).min(LONGEST_BACKOFF),
        }
    }

    fn start_again(&mut self, now: Timestamp) {
        let State::Waiting { until, reason } = self.state else { return };
        if now < until {
            return;
        }
        match self.instance() {
            Ok(Ok(instance)) => {
                tracing::warn!(stage = self.name, "The plugin was started again.");
                self.state = State::Working(Box::new(instance));
            }
            Ok(Err(refused)) => {
                let trap = Trap {
                    reason,
                    text: format!("it refused its settings at the restart: {refused}"),
                };
                self.trapped(now, trap);
            }
            Err(trap) => self.trapped(now, trap),
        }
    }

    fn save(&mut self, now: Timestamp) {
        // Readings may be older than the tick before them, by as long as a conversion takes: nothing is due then.
        if self.saved_at == Timestamp::default() {
            self.saved_at = now;
        }
        let minute_is_over = now.since(self.saved_at) >= SAVE_EVERY;
        if minute_is_over {
            self.saved_at = now;
            self.call(now, |instance| {
                instance.refill_log();
                Ok(())
            });
        }
        if !minute_is_over && !self.save_now {
            return;
        }
        self.save_now = false;
        if let Some(state) = self.call(now, Instance::save) {
            self.saved = state;
        }
    }

    /// What the plugin has counted.
    pub(super) fn counters(&self) -> &BTreeMap<String, u64> {
        match &self.state {
            State::Working(instance) => &instance.kept().counters,
            _ => &self.kept.counters,
        }
    }
}
