//! What a plugin may use. Each limit has a name, a reason, and a key in the pipeline file.

use std::time::Duration;

/// The limits of one instance: the keys of `[stage.limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time that the calls for one batch or tick may take together, as may the calls of a start. The standard plugins
    /// take microseconds, and sampling has a queue of cycles: this is far from any honest plugin and cannot cost a cycle of a
    /// second.
    pub call_deadline: Duration,
    /// Most units of fuel that these calls may burn, about one for each wasm instruction. It takes the deadline's place where
    /// time must not decide: in a replay. The standard plugins burn thousands; a loop burns this in about a second.
    pub call_fuel: u64,
    /// Most linear memory, in bytes. The standard plugins use 1.1 MiB; a Pi Zero has 512 MiB for everything.
    pub memory_bytes: usize,
    /// Most linear memories. Toolchains make one.
    pub memories: usize,
    /// Most tables: one for the module, one for each of its adapters.
    pub tables: usize,
    /// Most entries of one table: one for each function whose address is taken.
    pub table_entries: usize,
    /// Most core instances: one for the module, a few for its adapters. A plugin in Python has 38.
    pub instances: usize,
    /// Most handles of resources. The contract has no resource.
    pub handles: usize,
    /// Most bytes that one call may hand to the host, beside what its readings need.
    pub call_bytes: usize,
    /// Most readings that a filter may give for one call, beside those that it was given.
    pub extra_readings: usize,
    /// Most alarms that one call may raise, beside two for each reading and series.
    pub extra_alarms: usize,
    /// Longest state that `save` may return, in bytes.
    pub state_bytes: usize,
    /// Most lines of log in a minute.
    pub log_lines_a_minute: u32,
    /// Longest line of log, in characters; the rest is cut off.
    pub log_chars: usize,
    /// Most counters.
    pub counters: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            call_deadline: Duration::from_millis(100),
            call_fuel: 1_000_000_000,
            memory_bytes: 16 << 20,
            memories: 4,
            tables: 16,
            table_entries: 10_000,
            instances: 64,
            handles: 64,
            call_bytes: 4 << 20,
            extra_readings: 4_096,
            extra_alarms: 256,
            state_bytes: 1 << 20,
            log_lines_a_minute: 60,
            log_chars: 512,
            counters: 32,
        }
    }
}

/// The limits of what comes before an instance: the keys of `[plugins]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Largest plugin file, in bytes. The standard plugins have about 0.2 MB, one with a JavaScript interpreter in it 1.6 MB,
    /// one with Python 18 MB. Checking a file takes up to some ten times its size.
    pub file_bytes: usize,
    /// Deepest nesting of components in components. A Rust plugin has none, one in JavaScript three.
    pub nesting: usize,
    /// Most modules and components inside one file. A Rust plugin has none, one in JavaScript 34, one in Python 39.
    pub modules: usize,
    /// Most definitions in one file: types, imports, exports, and what is made of them, one at least for each eight bytes of
    /// types and instances. Checking one may take 500 bytes of memory. The standard plugins have some hundred, one in Python some ten thousand.
    pub definitions: usize,
    /// Deepest stack of wasm frames, in bytes.
    pub stack_bytes: usize,
    /// Longest processor time for compiling one plugin. The standard plugins take 0.05 s, one in Python 15 s on a computer
    /// and some times that on a Pi.
    pub compile_time: Duration,
    /// Most address space of the process that compiles, in bytes. The standard plugins need 60 MB, one in Python
    /// 400 MB.
    pub compile_memory_bytes: u64,
}

impl Default for HostLimits {
    fn default() -> Self {
        HostLimits {
            file_bytes: 8 << 20,
            nesting: 8,
            modules: 100,
            definitions: 50_000,
            stack_bytes: 256 << 10,
            compile_time: Duration::from_secs(120),
            compile_memory_bytes: 768 << 20,
        }
    }
}

impl HostLimits {
    /// As much as a pipeline file can allow: for whoever makes a plugin by hand. Whether it fits a gateway is asked there.
    pub const LARGEST: HostLimits = HostLimits {
        file_bytes: 256 << 20,
        nesting: 64,
        modules: 1_000,
        definitions: 1_000_000,
        stack_bytes: 1 << 20,
        compile_time: Duration::from_secs(3_600),
        compile_memory_bytes: 4_095 << 20,
    };
}

/// Longest word for an alarm's condition and for a counter, in characters: the contract's.
pub(super) const WORD_CHARS: usize = 64;
