//! What the host keeps for an instance: what it may use, and what the host does for it.

use std::collections::BTreeMap;

use super::bindings::filter::weir::plugin::{host, types};
use super::{Calls, Limits, limits};
use crate::file::printable;

/// What the host keeps for one instance.
pub(super) struct HostState {
    stage: String,
    pub(super) limits: Limits,
    /// The stack that it may have, in bytes.
    pub(super) stack_bytes: usize,
    /// How much memory it has, in bytes.
    memory_bytes: usize,
    /// What was asked for, when it was refused.
    pub(super) refused: Option<Refused>,
    pub(super) kept: Kept,
}

/// What an instance asked for and did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// So many bytes of memory.
    Memory(usize),
    /// So many entries of a table.
    Table(usize),
}

/// What the host keeps of an instance for the one after it.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// What the plugin has counted.
    pub counters: BTreeMap<String, u64>,
    /// How many lines it has logged in this minute.
    pub(super) log_lines: u32,
    /// How many calls it had.
    pub calls: Calls,
}

impl HostState {
    pub(super) fn new(stage: &str, limits: Limits, stack_bytes: usize, kept: Kept) -> Self {
        let stage = stage.to_owned();
        HostState { stage, limits, stack_bytes, memory_bytes: 0, refused: None, kept }
    }
}

impl types::Host for HostState {}

impl host::Host for HostState {
    fn log(&mut self, level: host::Level, message: String) {
        let most = self.limits.log_lines_a_minute;
        if self.kept.log_lines >= most {
            return;
        }
        self.kept.log_lines += 1;
        let cut: String = message.chars().take(self.limits.log_chars).collect();
        // A plugin's line breaks and terminal codes must not write lines of their own.
        let message = printable(&cut);
        let stage = &self.stage;
        match level {
            host::Level::Debug => tracing::debug!(stage, "{message}"),
            host::Level::Info => tracing::info!(stage, "{message}"),
            host::Level::Warn => tracing::warn!(stage, "{message}"),
            host::Level::Error => tracing::error!(stage, "{message}"),
        }
        if self.kept.log_lines == most {
            tracing::warn!(
                stage,
                log_lines_a_minute = most,
                "The plugin logs too much; its further lines of this minute are dropped."
            );
        }
    }

    fn count(&mut self, name: String, by: u64) {
        if let Some(counter) = self.kept.counters.get_mut(&name) {
            *counter = counter.saturating_add(by);
        } else if self.kept.counters.len() < self.limits.counters
            && name.len() <= limits::WORD_CHARS
        {
            self.kept.counters.insert(name, by);
        }
    }
}

impl wasmtime::ResourceLimiter for HostState {
    fn memory_growing(
        &mut self,
        now: usize,
        wanted: usize,
        _most: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // All memories of the component count together.
        let wanted = self.memory_bytes.saturating_sub(now).saturating_add(wanted);
        if wanted > self.limits.memory_bytes {
            self.refused = Some(Refused::Memory(wanted));
            return Ok(false);
        }
        self.memory_bytes = wanted;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _now: usize,
        wanted: usize,
        _most: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if wanted > self.limits.table_entries {
            self.refused = Some(Refused::Table(wanted));
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}
