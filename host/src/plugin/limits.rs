//! What a plugin may use. Each limit has a name and a reason.

use std::time::Duration;

/// The limits of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time that one call may take. A call of the standard plugins takes microseconds, and sampling has a
    /// queue of cycles: this is far from any honest plugin and cannot cost a cycle of a second.
    pub call_deadline: Duration,
    /// Most linear memory, in bytes. The standard plugins use 1.1 MiB; a Pi Zero has 512 MiB for everything.
    pub memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { call_deadline: Duration::from_millis(100), memory_bytes: 16 << 20 }
    }
}

/// Longest time that one call may take in a replay, where nobody waits for the next cycle: a loaded machine must not
/// change the result.
pub const OFFLINE_CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Largest plugin file. The standard plugins have about 0.2 MB; a plugin with a Python interpreter in it has 18 MB.
pub(super) const FILE_BYTES: u64 = 32 << 20;
/// Most tables of one component.
pub(super) const TABLES: usize = 16;
/// Most entries of one table.
pub(super) const TABLE_ENTRIES: usize = 10_000;
/// Most core instances in one component: one for the module, a few for its adapters.
pub(super) const INSTANCES: usize = 32;
/// Most linear memories in one component.
pub(super) const MEMORIES: usize = 4;
/// Deepest stack of wasm frames, in bytes. The chain thread has more than twice as much.
pub(super) const STACK_BYTES: usize = 256 << 10;
/// Most bytes that one call may hand to the host.
pub(super) const CALL_BYTES: usize = 4 << 20;
/// Most readings that a filter may give for one call, beside those that it was given.
pub(super) const EXTRA_READINGS: usize = 4_096;
/// Most alarms that one call may raise, beside two for each reading.
pub(super) const EXTRA_ALARMS: usize = 256;
/// Longest state that `save` may return, in bytes.
pub(super) const STATE_BYTES: usize = 1 << 20;
/// Longest word for an alarm's condition, in characters.
pub(super) const CONDITION_CHARS: usize = 64;
/// Longest line of log; the rest is cut off, in characters.
pub(super) const LOG_CHARS: usize = 512;
/// Most lines of log in a minute.
pub(super) const LOG_LINES_A_MINUTE: u32 = 60;
/// Most counters of one stage.
pub(super) const COUNTERS: usize = 32;
