//! New stages for a running chain: prepared aside, then put in between two batches. Those that did not change go on as they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Stage;
use super::chain::{Beginning, Chain, Compiled, Outcome, StartError, start_stage};
use super::stage::RunningStage;
use super::state::SavedState;
use crate::plugin::{Engine, Plugin};
use crate::reading::{Alarm, AlarmState, Series};

/// Stages for a chain in place of those that it has.
pub(super) struct NewStages {
    stages: Vec<NewStage>,
    series: Arc<[Series]>,
}

enum NewStage {
    /// The one that is at this position goes on.
    Kept(usize),
    /// A new one, which goes on from the state of the one that is at this position, where there is one of its plugin.
    Fresh(Box<Stage>, Plugin, Option<usize>),
}

/// Compiles what is new, and starts it once to see that it starts. All that do not are told of together.
pub(super) fn prepare(
    engine: &Engine,
    before: &[Stage],
    after: &[Stage],
    series: &Arc<[Series]>,
) -> Result<NewStages, Vec<StartError>> {
    let mut compiled = Compiled::new(engine);
    let mut refused = Vec::new();
    let mut stages = Vec::new();
    for stage in after {
        if let Some(position) = before.iter().position(|running| running == stage) {
            stages.push(NewStage::Kept(position));
            continue;
        }
        let tried = compiled.of(stage).and_then(|plugin| {
            start_stage(stage, plugin.clone(), series, Beginning::default()).map(|_| plugin)
        });
        match tried {
            Ok(plugin) => {
                let is_kin = |running: &Stage| {
                    running.name == stage.name
                        && running.plugin.manifest.name == stage.plugin.manifest.name
                };
                let from = before.iter().position(is_kin);
                let stage = Box::new(stage.without_code());
                stages.push(NewStage::Fresh(stage, plugin, from));
            }
            Err(error) => refused.push(error),
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    Ok(NewStages { stages, series: series.clone() })
}

impl Chain {
    /// Puts new stages in place of those that there are, or, when one of them does not start, changes nothing. Alarms that nobody
    /// would clear any more are cleared.
    pub(super) fn swap(&mut self, new: NewStages) -> Result<Outcome, Vec<StartError>> {
        let mut fresh = Vec::new();
        let mut refused = Vec::new();
        for stage in &new.stages {
            let NewStage::Fresh(stage, plugin, from) = stage else { continue };
            let now = self.now;
            let running = from.and_then(|from| self.stages.get_mut(from));
            let saved = running.map(|running| running.hand_over(now));
            let beginning = Beginning { saved, is_told: from.is_some(), ..Beginning::default() };
            match start_stage(stage, plugin.clone(), &new.series, beginning) {
                Ok(stage) => fresh.push(stage),
                Err(error) => refused.push(error),
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        let mut before: Vec<Option<RunningStage>> =
            std::mem::take(&mut self.stages).into_iter().map(Some).collect();
        let mut fresh = fresh.into_iter();
        let stages = new.stages.iter().filter_map(|stage| match stage {
            NewStage::Kept(position) => before.get_mut(*position)?.take(),
            NewStage::Fresh(..) => fresh.next(),
        });
        self.stages = stages.collect();
        before.iter_mut().flatten().for_each(|gone| self.bury(gone));
        Ok(Outcome { alarms: self.left_active(&before), ..Outcome::default() })
    }

    /// A stage that is gone leaves what it counted, and, where no other has its name, a state without alarms: should it come
    /// back, these are over.
    fn bury(&mut self, gone: &mut RunningStage) {
        gone.log_counters();
        self.traps_before += gone.traps;
        let is_followed = self.stages.iter().any(|stage| stage.name == gone.name);
        if let Some(states) = &self.states
            && !is_followed
        {
            let saved = gone.hand_over(self.now);
            let ahead_nanos = self.ahead_nanos;
            states.put(SavedState { ahead_nanos, alarms: Vec::new(), ..saved });
        }
    }

    /// Alarms of stages that are gone, with their positions, that no stage of their name knows to be active: cleared.
    fn left_active(&self, gone: &[Option<RunningStage>]) -> Vec<(usize, Alarm)> {
        let mut cleared = Vec::new();
        for (position, gone) in gone.iter().enumerate() {
            let Some(gone) = gone else { continue };
            let successor = self.stages.iter().find(|stage| stage.name == gone.name);
            let known: BTreeSet<(u32, String)> = successor
                .iter()
                .flat_map(|stage| stage.active_alarms())
                .map(|alarm| (alarm.series, alarm.condition))
                .collect();
            for mut alarm in gone.active_alarms() {
                if !known.contains(&(alarm.series, alarm.condition.clone())) {
                    alarm.state = AlarmState::Cleared;
                    alarm.time = alarm.time.max(self.now);
                    cleared.push((position, alarm));
                }
            }
        }
        cleared
    }
}
