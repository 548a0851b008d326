//! One stage's plugin at work: its store, its calls, and what becomes of a call that fails.

use std::time::Duration;

use wasmtime::Store;

use super::bindings::alert::Alert;
use super::bindings::calibration::Calibration;
use super::bindings::filter::Filter;
use super::bindings::filter::weir::plugin::types;
use super::engine::{EPOCH, Plugin, World};
use super::host_state::{HostState, Kept};
use super::{Limits, check, limits};
use crate::file::printable;
use crate::reading::{Alarm, Fault, FaultReason, Readings, Series, Timestamp};

/// A plugin instance with a store of its own. Owned by one thread.
pub struct Instance {
    store: Store<HostState>,
    exports: Exports,
    deadline: u64,
    series: usize,
}

enum Exports {
    Filter(Filter),
    Calibration(Calibration),
    Alert(Alert),
}

/// A call that did not return as the contract says. The instance is of no more use.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Trap {
    /// What becomes of the readings that the call held.
    pub reason: FaultReason,
    /// What happened, with the plugin's own backtrace.
    pub text: String,
}

/// Calls an export of whichever world the plugin has.
macro_rules! call {
    ($instance:ident, $function:ident, $($argument:expr),*) => {{
        $instance.begin_call(0);
        let result = match &$instance.exports {
            Exports::Filter(plugin) => plugin.$function(&mut $instance.store, $($argument),*),
            Exports::Calibration(plugin) => plugin.$function(&mut $instance.store, $($argument),*),
            Exports::Alert(plugin) => plugin.$function(&mut $instance.store, $($argument),*),
        };
        result.map_err(|e| $instance.trap(&e))
    }};
}

impl Instance {
    /// Makes an instance. Its start function, if it has one, runs under the same limits as any call.
    pub fn start(
        plugin: &Plugin,
        stage: &str,
        limits: Limits,
        kept: Kept,
    ) -> Result<Instance, Trap> {
        let mut store = Store::new(&plugin.engine, HostState::new(stage, limits, kept));
        store.limiter(|state| state);
        let deadline = epochs(limits.call_deadline);
        store.set_epoch_deadline(deadline);
        let exports = match &plugin.world {
            World::Filter(pre) => pre.instantiate(&mut store).map(Exports::Filter),
            World::Calibration(pre) => pre.instantiate(&mut store).map(Exports::Calibration),
            World::Alert(pre) => pre.instantiate(&mut store).map(Exports::Alert),
        };
        let exports = exports.map_err(|e| trap(&e, store.data()))?;
        Ok(Instance { store, exports, deadline, series: 0 })
    }

    /// Gives the plugin its settings and tells it which series it will see. An `Err` inside is the plugin's own
    /// message.
    pub fn configure(
        &mut self,
        settings: &str,
        series: &[Series],
    ) -> Result<Result<(), String>, Trap> {
        self.series = series.len();
        let declared: Vec<types::Series> = series
            .iter()
            .map(|series| types::Series {
                sensor: series.sensor.to_string(),
                id: series.id.as_deref().map(str::to_owned),
                quantity: series.quantity.as_str().to_owned(),
                unit: series.quantity.unit().to_owned(),
                interval: series.interval.and_then(|i| u64::try_from(i.as_nanos()).ok()),
            })
            .collect();
        call!(self, call_configure, settings, &declared)
    }

    /// What the plugin must remember.
    pub fn save(&mut self) -> Result<Vec<u8>, Trap> {
        let state = call!(self, call_save,)?;
        if state.len() > limits::STATE_BYTES {
            return Err(broken(format!(
                "its state has {} bytes: at most {} are allowed",
                state.len(),
                limits::STATE_BYTES
            )));
        }
        Ok(state)
    }

    /// Goes on from a state that was saved. An `Err` inside is the plugin's own message.
    pub fn load(&mut self, state: &[u8]) -> Result<Result<(), String>, Trap> {
        call!(self, call_load, state)
    }

    /// Tells of a failed measurement.
    pub fn fault(&mut self, fault: Fault) -> Result<(), Trap> {
        call!(self, call_fault, fault.series, fault.time.nanos, reason(fault.reason))
    }

    /// Hands a batch to the plugin. The batch is lent: it is the same afterwards.
    pub fn apply(&mut self, batch: &mut Readings) -> Result<Applied, Trap> {
        // The columns move into the contract's type and back; nothing is copied but into the plugin's memory.
        let Readings { series, time, value, quality } = std::mem::take(batch);
        let columns = types::Readings { series, time, value, quality };
        let applied = self.apply_columns(&columns);
        let types::Readings { series, time, value, quality } = columns;
        *batch = Readings { series, time, value, quality };
        applied
    }

    fn apply_columns(&mut self, columns: &types::Readings) -> Result<Applied, Trap> {
        let (given, series) = (columns.series.len(), self.series);
        self.begin_call(given);
        let applied = match &self.exports {
            Exports::Filter(plugin) => plugin
                .call_apply(&mut self.store, columns)
                .map(|out| check::readings(out, given, series).map(Applied::Filtered)),
            Exports::Calibration(plugin) => plugin
                .call_apply(&mut self.store, columns)
                .map(|out| check::values(out, given).map(Applied::Calibrated)),
            Exports::Alert(plugin) => plugin
                .call_apply(&mut self.store, columns)
                .map(|out| check::alarms(out, given, series).map(Applied::Alarms)),
        };
        applied.map_err(|e| self.trap(&e))?.map_err(broken)
    }

    /// Tells the plugin what time it is.
    pub fn tick(&mut self, now: Timestamp) -> Result<Applied, Trap> {
        let series = self.series;
        self.begin_call(0);
        let ticked = match &self.exports {
            Exports::Filter(plugin) => plugin
                .call_tick(&mut self.store, now.nanos)
                .map(|out| check::readings(out, 0, series).map(Applied::Filtered)),
            Exports::Calibration(plugin) => plugin
                .call_tick(&mut self.store, now.nanos)
                .map(|()| Ok(Applied::Calibrated(Vec::new()))),
            Exports::Alert(plugin) => plugin
                .call_tick(&mut self.store, now.nanos)
                .map(|out| check::alarms(out, 0, series).map(Applied::Alarms)),
        };
        ticked.map_err(|e| self.trap(&e))?.map_err(broken)
    }

    /// Each call has its own deadline, its own room for what it hands over, and its own reason to fail.
    fn begin_call(&mut self, readings: usize) {
        self.store.set_epoch_deadline(self.deadline);
        self.store.set_hostcall_fuel(limits::CALL_BYTES.max(readings * BYTES_A_READING * 2));
        self.store.data_mut().memory_refused = None;
    }

    /// Gives the plugin another minute's worth of log lines.
    pub fn refill_log(&mut self) {
        self.store.data_mut().kept.log_lines_left = limits::LOG_LINES_A_MINUTE;
    }

    /// What outlives the instance.
    pub fn kept(&self) -> &Kept {
        &self.store.data().kept
    }

    /// What outlives the instance, at its end.
    pub fn into_kept(self) -> Kept {
        self.store.into_data().kept
    }

    fn trap(&self, error: &wasmtime::Error) -> Trap {
        trap(error, self.store.data())
    }
}

/// What a call with readings gave, by kind of plugin.
#[derive(Debug, PartialEq)]
pub enum Applied {
    /// The readings that remain.
    Filtered(Readings),
    /// One value for each reading.
    Calibrated(Vec<f64>),
    /// What was raised and cleared.
    Alarms(Vec<Alarm>),
}

/// Series 4, time 8, value 8, quality 1.
const BYTES_A_READING: usize = 21;

/// A deadline in epochs; one more, since the current one has begun already.
fn epochs(deadline: Duration) -> u64 {
    let epochs = deadline.as_nanos().div_ceil(EPOCH.as_nanos());
    u64::try_from(epochs).unwrap_or(u64::MAX / 2).saturating_add(1)
}

/// The plugin returned, but broke the contract.
fn broken(what: String) -> Trap {
    Trap { reason: FaultReason::PluginTrap, text: format!("the plugin broke the contract: {what}") }
}

fn trap(error: &wasmtime::Error, state: &HostState) -> Trap {
    let reason = match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) => FaultReason::PluginDeadline,
        // A guest that is refused memory ends itself; what counts is why.
        _ if state.memory_refused.is_some() => FaultReason::PluginMemory,
        _ => FaultReason::PluginTrap,
    };
    let text = match (reason, state.memory_refused) {
        (FaultReason::PluginDeadline, _) => {
            format!(
                "a call took longer than its deadline of {:?}: {error:?}",
                state.limits.call_deadline
            )
        }
        (FaultReason::PluginMemory, Some(wanted)) => format!(
            "the plugin asked for {wanted} bytes of memory, and may have {}: {error:?}",
            state.limits.memory_bytes
        ),
        _ => format!("{error:?}"),
    };
    // A backtrace has the plugin's own names in it.
    let lines: Vec<String> = text.lines().map(printable).collect();
    Trap { reason, text: lines.join("\n") }
}

fn reason(reason: FaultReason) -> types::FaultReason {
    match reason {
        FaultReason::NotPresent => types::FaultReason::NotPresent,
        FaultReason::CrcMismatch => types::FaultReason::CrcMismatch,
        FaultReason::NoAnswer => types::FaultReason::NoAnswer,
        FaultReason::PowerOnValue => types::FaultReason::PowerOnValue,
        FaultReason::InsufficientPower => types::FaultReason::InsufficientPower,
        FaultReason::AllZero => types::FaultReason::AllZero,
        FaultReason::OutOfRange => types::FaultReason::OutOfRange,
        FaultReason::IoError => types::FaultReason::IoError,
        FaultReason::Timeout => types::FaultReason::Timeout,
        FaultReason::Stale => types::FaultReason::Stale,
        FaultReason::PluginTrap => types::FaultReason::PluginTrap,
        FaultReason::PluginDeadline => types::FaultReason::PluginDeadline,
        FaultReason::PluginMemory => types::FaultReason::PluginMemory,
    }
}
