//! What a stage keeps for its next instance: the plugin's state, and which alarms are active.

use std::time::Duration;

use super::RunningStage;
use super::active::{ActiveAlarms, Change};
use crate::file::excerpt;
use crate::pipeline::state::{SavedState, sha256};
use crate::plugin::Instance;
use crate::reading::{Alarm, AlarmState, Timestamp};

/// How often a stage's state is saved at least, in the time of the readings.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How often a plugin is given another minute's worth of log lines.
const MINUTE: Duration = Duration::from_secs(60);
/// Most writes to the disk between two that are due, for alarms that came or went: one that flutters with every
/// reading must not wear a card out. Those beyond wait for the next that is due.
const WRITES_FOR_ALARMS: u32 = 30;

/// What was saved last.
#[derive(Default)]
pub(super) struct Saved {
    /// Empty when there is nothing to load.
    pub(super) state: Vec<u8>,
    /// The alarms that the plugin knew to be active.
    alarms: ActiveAlarms,
    /// When.
    pub(super) at: Timestamp,
}

/// When the state is saved, and when what was saved is written. The plugin is asked at moments that its inputs decide,
/// so that a recording asks it at the same ones.
pub(super) struct Schedule {
    save_every: Duration,
    write_every: Duration,
    /// When a minute began, and when it was saved and written last; each begins with the first input.
    times: Option<Times>,
    /// The plugin told an alarm: it must not be forgotten by a trap.
    save_now: bool,
    /// An alarm came or went that the disk does not know of.
    alarms_changed: bool,
    writes_for_alarms: u32,
    must_write: bool,
    said_too_many: bool,
}

#[derive(Clone, Copy)]
struct Times {
    minute_began: Timestamp,
    saved: Timestamp,
    written: Timestamp,
}

impl Schedule {
    pub(super) fn new(write_every: Duration) -> Schedule {
        Schedule {
            save_every: SAVE_EVERY.min(write_every),
            write_every,
            times: None,
            save_now: false,
            alarms_changed: false,
            writes_for_alarms: 0,
            must_write: false,
            said_too_many: false,
        }
    }

    /// Time went on: whether a minute is over, and whether it is time to save.
    fn look(&mut self, now: Timestamp) -> (bool, bool) {
        let began = Times { minute_began: now, saved: now, written: now };
        let times = self.times.get_or_insert(began);
        let is_minute_over = is_over(&mut times.minute_began, now, MINUTE);
        let is_due = is_over(&mut times.saved, now, self.save_every);
        (is_minute_over, std::mem::take(&mut self.save_now) || is_due)
    }

    /// It was saved: what is written now, and what only later.
    fn saved(&mut self, now: Timestamp) {
        let is_due = self
            .times
            .as_mut()
            .is_some_and(|times| is_over(&mut times.written, now, self.write_every));
        if is_due {
            self.writes_for_alarms = 0;
        } else if self.alarms_changed && self.writes_for_alarms < WRITES_FOR_ALARMS {
            self.writes_for_alarms += 1;
        } else {
            return;
        }
        self.alarms_changed = false;
        self.must_write = true;
    }
}

/// Whether so long has passed; then it begins again.
fn is_over(since: &mut Timestamp, now: Timestamp, every: Duration) -> bool {
    // Readings may be older than the tick before them, by as long as a conversion takes: nothing is over then.
    let is_over = now.since(*since) >= every;
    if is_over {
        *since = now;
    }
    is_over
}

impl RunningStage {
    /// Takes over what an earlier process saved.
    pub(super) fn remember(&mut self, saved: &SavedState) {
        let alarms = ActiveAlarms::from_saved(&saved.alarms, &self.declared);
        let stage = &self.name;
        let forgotten = saved.alarms.len() - alarms.len();
        if forgotten > 0 {
            tracing::info!(
                stage,
                forgotten,
                "Alarms of sensors that the stage does not have any more are forgotten."
            );
        }
        if saved.plugin == self.plugin_name {
            let (version, settings) = (&self.plugin_version, sha256(self.settings.as_bytes()));
            if saved.version != *version || saved.settings != settings {
                let was = excerpt(&saved.version);
                tracing::info!(
                    stage,
                    was,
                    version,
                    "The saved state is of another version or of other settings: the plugin decides whether it takes it."
                );
            }
            self.saved =
                Saved { state: saved.state.clone(), alarms: alarms.clone(), at: saved.saved_at };
        } else {
            let (was, is) = (excerpt(&saved.plugin), &self.plugin_name);
            tracing::warn!(
                stage,
                was,
                is,
                "The saved state is another plugin's, and the stage starts anew."
            );
        }
        self.told = alarms;
    }

    /// The plugin starts anew: what it saved is not offered to it again.
    pub(super) fn give_up_state(&mut self) {
        self.saved = Saved { at: self.saved.at, ..Saved::default() };
    }

    /// A fresh instance knows the alarms that were saved with its state, or none. Others that were told are cleared: it
    /// will not clear them. One that holds all the same is raised by it anew.
    pub(super) fn put_alarms_right(&mut self) {
        let known = self.saved.alarms.clone();
        let mut over = self.told.beside(&known);
        if !over.is_empty() {
            self.schedule.save_now = true;
            self.schedule.alarms_changed = true;
        }
        over.iter_mut().for_each(|alarm| alarm.state = AlarmState::Cleared);
        self.to_tell.append(&mut over);
        // A process begins a stream of its own, and its pins are off: it tells all that is active.
        let untold = if self.is_begun { known.beside(&self.told) } else { known.all() };
        self.to_tell.extend(untold);
        self.is_begun = true;
        self.told = known;
    }

    /// Tells what a fresh instance left to be told.
    pub(super) fn tell(&mut self, now: Timestamp, alarms: &mut Vec<Alarm>) {
        for alarm in std::mem::take(&mut self.to_tell) {
            let time = match alarm.state {
                AlarmState::Active => alarm.time,
                AlarmState::Cleared => alarm.time.max(now),
            };
            let series = self.to_chain_number(alarm.series);
            alarms.push(Alarm { series, time, ..alarm });
        }
    }

    /// What was told must not be forgotten by a trap, or an alarm would never clear: the state is saved at once.
    pub(super) fn raise(&mut self, raised: Vec<Alarm>, alarms: &mut Vec<Alarm>) {
        for alarm in raised {
            self.schedule.save_now = true;
            match self.told.take(&alarm) {
                Change::Nothing => {}
                Change::Told => self.schedule.alarms_changed = true,
                // One that is not known could never be cleared by anybody else.
                Change::TooMany => {
                    if !std::mem::replace(&mut self.schedule.said_too_many, true) {
                        let (stage, condition) = (&self.name, &alarm.condition);
                        tracing::error!(
                            stage,
                            condition,
                            "The plugin has too many alarms active: further ones are not told."
                        );
                    }
                    continue;
                }
            }
            let series = self.to_chain_number(alarm.series);
            alarms.push(Alarm { series, ..alarm });
        }
    }

    /// Saves the state if it is time to.
    pub(super) fn save(&mut self, now: Timestamp) {
        let (is_minute_over, is_time) = self.schedule.look(now);
        if is_minute_over {
            self.call(now, |instance| {
                instance.refill_log();
                Ok(())
            });
        }
        if is_time {
            self.save_state(now);
        }
    }

    fn save_state(&mut self, now: Timestamp) {
        let Some(state) = self.call(now, Instance::save) else { return };
        self.saved = Saved { state, alarms: self.told.clone(), at: now };
        self.schedule.saved(now);
    }

    /// Saves the state for the last time.
    pub(in crate::pipeline) fn finish(&mut self, now: Timestamp) {
        self.begin_pass();
        self.save_state(now);
        self.schedule.must_write = true;
    }

    /// What is to be written to the disk now.
    pub(in crate::pipeline) fn unwritten(&mut self) -> Option<SavedState> {
        std::mem::take(&mut self.schedule.must_write).then(|| self.saved_state())
    }

    /// What another instance in this one's place goes on from.
    pub(in crate::pipeline) fn hand_over(&mut self, now: Timestamp) -> SavedState {
        self.begin_pass();
        self.save_state(now);
        self.saved_state()
    }

    /// The alarms that are active, with the chain's numbers.
    pub(in crate::pipeline) fn active_alarms(&self) -> Vec<Alarm> {
        let mut alarms = self.told.all();
        alarms.iter_mut().for_each(|alarm| alarm.series = self.to_chain_number(alarm.series));
        alarms
    }

    fn saved_state(&self) -> SavedState {
        SavedState {
            stage: self.name.clone(),
            plugin: self.plugin_name.clone(),
            version: self.plugin_version.clone(),
            settings: sha256(self.settings.as_bytes()),
            saved_at: self.saved.at,
            // The chain knows.
            ahead_nanos: 0,
            alarms: self.saved.alarms.to_saved(&self.declared),
            state: self.saved.state.clone(),
        }
    }
}
