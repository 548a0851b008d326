//! What the host keeps for an instance: what it may use, and what the host does for it.

use std::collections::BTreeMap;

use super::bindings::filter::weir::plugin::{host, types};
use super::{Limits, limits};
use crate::file::printable;

/// What the host keeps for one instance.
pub(super) struct HostState {
    stage: String,
    pub(super) limits: Limits,
    /// How much memory it has, in bytes.
    memory_bytes: usize,
    /// How much memory was asked for, in bytes, when it was refused.
    pub(super) memory_refused: Option<usize>,
    pub(super) kept: Kept,
}

/// What the host keeps of an instance for the one after it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What the plugin has counted.
    pub counters: BTreeMap<String, u64>,
    /// How many lines it may still log in this minute.
    pub(super) log_lines_left: u32,
}

impl Default for Kept {
    fn default() -> Self {
        Kept { counters: BTreeMap::new(), log_lines_left: limits::LOG_LINES_A_MINUTE }
    }
}

impl HostState {
    pub(super) fn new(stage: &str, limits: Limits, kept: Kept) -> Self {
        HostState { stage: stage.to_owned(), limits, memory_bytes: 0, memory_refused: None, kept }
    }
}

impl types::Host for HostState {}

impl host::Host for HostState {
    fn log(&mut self, level: host::Level, message: String) {
        let Some(left) = self.kept.log_lines_left.checked_sub(1) else { return };
        self.kept.log_lines_left = left;
        let cut: String = message.chars().take(limits::LOG_CHARS).collect();
        // A plugin's line breaks and terminal codes must not write lines of their own.
        let message = printable(&cut);
        let stage = &self.stage;
        match level {
            host::Level::Debug => tracing::debug!(stage, "{message}"),
            host::Level::Info => tracing::info!(stage, "{message}"),
            host::Level::Warn => tracing::warn!(stage, "{message}"),
            host::Level::Error => tracing::error!(stage, "{message}"),
        }
        if left == 0 {
            tracing::warn!(
                stage,
                "The plugin logs too much; its further lines of this minute are dropped."
            );
        }
    }

    fn count(&mut self, name: String, by: u64) {
        if let Some(counter) = self.kept.counters.get_mut(&name) {
            *counter = counter.saturating_add(by);
        } else if self.kept.counters.len() < limits::COUNTERS
            && name.len() <= limits::CONDITION_CHARS
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
            self.memory_refused = Some(wanted);
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
        Ok(wanted <= limits::TABLE_ENTRIES)
    }

    fn instances(&self) -> usize {
        limits::INSTANCES
    }

    fn tables(&self) -> usize {
        limits::TABLES
    }

    fn memories(&self) -> usize {
        limits::MEMORIES
    }
}
