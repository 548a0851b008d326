//! What becomes of a trap: the stage starts again, is passed by, or is closed.

use super::{RunningStage, State};
use crate::file::excerpt;
use crate::pipeline::OnTrap;
use crate::pipeline::breaker::Next;
use crate::plugin::{Instance, Trap};
use crate::reading::{FaultReason, Timestamp};

/// How often a start is tried again that took too long.
const TRIES: u32 = 3;
/// After so many traps in a row the saved state is given up.
const POISONED: u32 = 3;

impl RunningStage {
    /// Starts the plugin at the start of the process. A state that it cannot bear never keeps a gateway from starting, nor does a
    /// machine that is busy while it boots.
    pub(super) fn start_first(&mut self) -> Result<(), String> {
        let mut had_state = !self.saved.state.is_empty();
        let mut started = self.instance();
        for tries in 1..=TRIES {
            let Err(trap) = &started else { break };
            let is_late = trap.reason == FaultReason::PluginDeadline;
            if !is_late && !had_state {
                break;
            }
            let (stage, text) = (&self.name, &trap.text);
            tracing::warn!(stage, reason = %trap.reason, had_state, "The plugin trapped at its start, and is started once more. {text}");
            if !is_late || tries == TRIES {
                self.give_up_state();
            }
            had_state = !self.saved.state.is_empty();
            started = self.instance();
        }
        let instance = started.map_err(|trap| trap.text)?.map_err(|why| excerpt(&why))?;
        self.state = State::Working(Box::new(instance));
        if !self.saved.state.is_empty() {
            let (stage, saved_at) = (&self.name, self.saved.at);
            tracing::info!(stage, %saved_at, "The plugin goes on from its saved state.");
        }
        Ok(())
    }

    /// A fresh instance, configured, with the last saved state. What was told of alarms that it does not know any more,
    /// and of those that it knows again, is put right.
    fn instance(&mut self) -> Result<Result<Instance, String>, Trap> {
        if self.breaker.in_a_row() >= POISONED {
            // It may be the state itself that the plugin cannot bear.
            self.give_up_state();
        }
        let mut kept = self.kept.clone();
        kept.calls = self.calls.clone();
        let mut instance = Instance::start(&self.plugin, &self.name, self.limits, kept)?;
        let refused = match self.begin(&mut instance) {
            Ok(Ok(())) => return Ok(Ok(instance)),
            Ok(Err(refused)) => Ok(Err(refused)),
            Err(trap) => Err(trap),
        };
        self.kept = instance.into_kept();
        refused
    }

    /// Gives an instance its settings and its state.
    fn begin(&mut self, instance: &mut Instance) -> Result<Result<(), String>, Trap> {
        if let Err(refused) = instance.configure(&self.settings, &self.declared)? {
            return Ok(Err(refused));
        }
        let loaded = if self.saved.state.is_empty() {
            Ok(Err(None))
        } else {
            instance.load(&self.saved.state).map(|loaded| loaded.map_err(Some))
        };
        // What took too long may do better next time.
        let is_late = matches!(&loaded, Err(trap) if trap.reason == FaultReason::PluginDeadline);
        if !matches!(loaded, Ok(Ok(()))) && !is_late {
            self.give_up_state();
        }
        if let Err(Some(refused)) = loaded? {
            let (stage, refused) = (&self.name, excerpt(&refused));
            tracing::warn!(stage, "The plugin refused its saved state and starts anew: {refused}");
        }
        self.put_alarms_right();
        Ok(Ok(()))
    }

    pub(super) fn trapped(&mut self, now: Timestamp, trap: Trap) {
        self.traps += 1;
        let stage = &self.name;
        tracing::error!(stage, reason = %trap.reason, traps = self.traps, "The plugin trapped. {}", trap.text);
        let next = match self.on_trap {
            OnTrap::Bypass => State::Bypassed,
            OnTrap::Stop => State::Stopped(trap.reason),
            OnTrap::Restart => {
                let (Next::Start(until) | Next::Rest(until)) = self.next_start(now);
                State::Waiting { until, reason: trap.reason }
            }
        };
        if let State::Working(instance) = std::mem::replace(&mut self.state, next) {
            self.kept = instance.into_kept();
        }
    }

    fn next_start(&mut self, now: Timestamp) -> Next {
        let next = self.breaker.trapped(now);
        if let Next::Rest(_) = next {
            let limit = self.breaker.limit();
            let window = humantime::format_duration(limit.window);
            tracing::error!(
                stage = self.name,
                trap_limit = limit.traps,
                trap_window = %window,
                "The plugin traps too often, and the stage rests: its readings become faults. It is tried again in {window}."
            );
        }
        next
    }

    pub(super) fn start_again(&mut self, now: Timestamp) {
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
                let text = format!("it refused its settings at the restart: {}", excerpt(&refused));
                self.trapped(now, Trap { reason, text });
            }
            Err(trap) => self.trapped(now, trap),
        }
    }
}
