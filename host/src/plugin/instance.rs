//! One stage's plugin at work: its store, its calls, and what becomes of a call that fails.

use std::time::Duration;

use wasmtime::Store;

use super::bindings::alert::Alert;
use super::bindings::calibration::Calibration;
use super::bindings::filter::Filter;
use super::bindings::filter::weir::plugin::types;
use super::code::Bound;
use super::engine::{EPOCH, Plugin, World};
use super::host_state::{HostState, Kept, Refused};
use super::{Limits, check};
use crate::file::excerpt;
use crate::reading::{Alarm, Fault, FaultReason, Readings, Series, Timestamp};

/// A plugin instance with a store of its own. Owned by one thread.
pub struct Instance {
    store: Store<HostState>,
    exports: Exports,
    bound: Bound,
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
        $instance.begin_call(0)?;
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
        let state = HostState::new(stage, limits, plugin.stack_bytes, kept);
        let mut store = Store::new(&plugin.engine, state);
        store.limiter(|state| state);
        store.set_max_component_handles(limits.handles);
        bound_pass(&mut store, plugin.bound);
        store.data().kept.calls.begin().map_err(ended_before)?;
        let exports = match &plugin.world {
            World::Filter(pre) => pre.instantiate(&mut store).map(Exports::Filter),
            World::Calibration(pre) => pre.instantiate(&mut store).map(Exports::Calibration),
            World::Alert(pre) => pre.instantiate(&mut store).map(Exports::Alert),
        };
        let exports = exports.map_err(|e| trap(&e, store.data()))?;
        Ok(Instance { store, exports, bound: plugin.bound, series: 0 })
    }

    /// Gives the instance the time, or fuel, of another batch or tick: all calls until the next one share it.
    pub fn begin_pass(&mut self) {
        bound_pass(&mut self.store, self.bound);
    }

    /// Gives the plugin its settings and tells it which series it will see. An `Err` inside is the plugin's own
    /// message.
    pub fn configure(
        &mut self,
        settings: &str,
        series: &[Series],
    ) -> Result<Result<(), String>, Trap> {
        self.series = series.len();
        self.begin_pass();
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
        let most = self.limits().state_bytes;
        if state.len() > most {
            return Err(broken(format!(
                "its state has {} bytes: at most {most} are allowed (`state_kib` in [stage.limits])",
                state.len(),
            )));
        }
        Ok(state)
    }

    /// Goes on from a state that was saved. An `Err` inside is the plugin's own message.
    pub fn load(&mut self, state: &[u8]) -> Result<Result<(), String>, Trap> {
        self.begin_pass();
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
        self.begin_call(given)?;
        let limits = *self.limits();
        let applied = match &self.exports {
            Exports::Filter(plugin) => plugin
                .call_apply(&mut self.store, columns)
                .map(|out| check::readings(out, given, series, &limits).map(Applied::Filtered)),
            Exports::Calibration(plugin) => plugin
                .call_apply(&mut self.store, columns)
                .map(|out| check::values(out, given).map(Applied::Calibrated)),
            Exports::Alert(plugin) => plugin
                .call_apply(&mut self.store, columns)
                .map(|out| check::alarms(out, given, series, &limits).map(Applied::Alarms)),
        };
        applied.map_err(|e| self.trap(&e))?.map_err(broken)
    }

    /// Tells the plugin what time it is.
    pub fn tick(&mut self, now: Timestamp) -> Result<Applied, Trap> {
        let series = self.series;
        self.begin_call(0)?;
        let limits = *self.limits();
        let ticked = match &self.exports {
            Exports::Filter(plugin) => plugin
                .call_tick(&mut self.store, now.nanos)
                .map(|out| check::readings(out, 0, series, &limits).map(Applied::Filtered)),
            Exports::Calibration(plugin) => plugin
                .call_tick(&mut self.store, now.nanos)
                .map(|()| Ok(Applied::Calibrated(Vec::new()))),
            Exports::Alert(plugin) => plugin
                .call_tick(&mut self.store, now.nanos)
                .map(|out| check::alarms(out, 0, series, &limits).map(Applied::Alarms)),
        };
        ticked.map_err(|e| self.trap(&e))?.map_err(broken)
    }

    /// Each call has its own room for what it hands over, and its own reason to fail.
    fn begin_call(&mut self, readings: usize) -> Result<(), Trap> {
        let call_bytes = self.limits().call_bytes;
        self.store.set_hostcall_fuel(call_bytes.max(readings * BYTES_A_READING * 2));
        self.store.data_mut().refused = None;
        self.store.data().kept.calls.begin().map_err(ended_before)
    }

    fn limits(&self) -> &Limits {
        &self.store.data().limits
    }

    /// Gives the plugin another minute's worth of log lines.
    pub fn refill_log(&mut self) {
        self.store.data_mut().kept.log_lines = 0;
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

/// Most lines of a trap's text: wasmtime tells 20 frames.
const MOST_LINES: usize = 40;

/// Each batch or tick has a deadline, or fuel, of its own: a plugin that takes its time in each of many calls must not hold up a
/// batch either.
fn bound_pass(store: &mut Store<HostState>, bound: Bound) {
    let limits = store.data().limits;
    match bound {
        Bound::Time => store.set_epoch_deadline(epochs(limits.call_deadline)),
        Bound::Fuel => {
            // An engine that counts fuel takes it.
            let _set = store.set_fuel(limits.call_fuel);
        }
    }
}

/// A deadline in epochs; one more, since the current one has begun already.
fn epochs(deadline: Duration) -> u64 {
    let epochs = deadline.as_nanos().div_ceil(EPOCH.as_nanos());
    u64::try_from(epochs).unwrap_or(u64::MAX / 2).saturating_add(1)
}

/// The plugin returned, but broke the contract.
fn broken(what: String) -> Trap {
    Trap { reason: FaultReason::PluginTrap, text: format!("the plugin broke the contract: {what}") }
}

/// A replay ends the call that was ended in the run that it repeats.
fn ended_before(reason: FaultReason) -> Trap {
    Trap { reason, text: "the call was ended here in the run that was recorded".to_owned() }
}

fn trap(error: &wasmtime::Error, state: &HostState) -> Trap {
    use wasmtime::Trap as Cause;
    let cause = error.downcast_ref::<Cause>();
    let limits = &state.limits;
    let (reason, why) = match (cause, state.refused) {
        (Some(Cause::Interrupt), _) => (
            FaultReason::PluginDeadline,
            format!(
                "the plugin took longer than its deadline of {:?} (`call_deadline` in [stage.limits])",
                limits.call_deadline
            ),
        ),
        (Some(Cause::OutOfFuel), _) => (
            FaultReason::PluginDeadline,
            format!(
                "the plugin burnt more than its fuel of {} (`call_fuel` in [stage.limits])",
                limits.call_fuel
            ),
        ),
        // A guest that is refused memory ends itself; what counts is why.
        (_, Some(Refused::Memory(wanted))) => (
            FaultReason::PluginMemory,
            format!(
                "the plugin asked for {wanted} bytes of memory, and may have {} (`memory_mib` in [stage.limits])",
                limits.memory_bytes
            ),
        ),
        (_, Some(Refused::Table(wanted))) => (
            FaultReason::PluginMemory,
            format!(
                "the plugin asked for a table of {wanted} entries, and may have {} (`table_entries` in [stage.limits])",
                limits.table_entries
            ),
        ),
        (Some(Cause::StackOverflow), _) => (
            FaultReason::PluginTrap,
            format!(
                "the plugin needs more stack than the {} bytes that it may have (`stack_kib` in [plugins])",
                state.stack_bytes
            ),
        ),
        _ => (FaultReason::PluginTrap, counted(&format!("{error:#}"), limits)),
    };
    // How long a call takes, and how much stack its frames need, depends on the machine. The rest repeats by itself.
    if let Some(Cause::Interrupt | Cause::StackOverflow) = cause {
        state.kept.calls.ended(reason);
    }
    let text = if why.is_empty() { format!("{error:?}") } else { format!("{why}: {error:?}") };
    Trap { reason, text: bounded(&text) }
}

/// A backtrace has the plugin's own names in it, which may be as long as its file.
fn bounded(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().take(MOST_LINES).map(excerpt).collect();
    match text.lines().count() - lines.len() {
        0 => {}
        more => lines.push(format!("… and {more} lines more")),
    }
    lines.join("\n")
}

/// What wasmtime counts by itself and tells by a text alone, with the key that allows more; empty for anything else.
fn counted(error: &str, limits: &Limits) -> String {
    for (told, what, most, key) in [
        ("instance count too high", "instances", limits.instances, "instances"),
        ("table count too high", "tables", limits.tables, "tables"),
        ("memory count too high", "memories", limits.memories, "memories"),
        ("fuel allocated for hostcalls", "bytes in one call", limits.call_bytes, "call_kib"),
        ("store handle limit exceeded", "handles", limits.handles, "handles"),
    ] {
        if error.contains(told) {
            return format!(
                "the plugin wants more {what} than the {most} that it may have (`{key}` in [stage.limits])"
            );
        }
    }
    String::new()
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
