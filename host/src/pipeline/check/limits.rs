//! `[plugins]` and `[stage.limits]`: what plugins may use.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Checker;
use crate::pipeline::keys::Keys;
use crate::plugin::{HostLimits, Limits};

/// How long a plugin's call may be allowed to take.
const CALL_DEADLINES: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(10);
/// How long compiling a plugin may be allowed to take.
const COMPILE_TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
/// How often states may be written to the disk.
const SAVE_INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);
/// How often they are when the file does not say it. Each write of a small state puts about 75 KB on an SD card, nearly all of it
/// the filesystem's own: with three stages that makes 700 KB a day, and with the spool less than 1 MB. Alarms are written at once
/// in any case.
const SAVE_INTERVAL: Duration = Duration::from_secs(8 * 3_600);

impl<'a> Checker<'_, 'a, '_> {
    /// What holds for all plugins. Gives how often their state is written.
    pub(super) fn plugins(&mut self, top: &mut Keys<'_, 'a>) -> Duration {
        let Some(mut keys) = self.table(top, "plugins") else { return SAVE_INTERVAL };
        let interval = keys.duration(self.source, "save_interval", SAVE_INTERVALS, SAVE_INTERVAL);
        self.host_limits = self.host_limits(&mut keys);
        keys.finish(self.source);
        interval
    }

    /// The limits of what comes before an instance.
    fn host_limits(&mut self, keys: &mut Keys<'_, 'a>) -> HostLimits {
        let usual = HostLimits::default();
        HostLimits {
            file_bytes: self.count(keys, "file_mib", 1..=256, 20, usual.file_bytes),
            nesting: self.count(keys, "nesting", 1..=64, 0, usual.nesting),
            modules: self.count(keys, "modules", 1..=1_000, 0, usual.modules),
            definitions: self.count(keys, "definitions", 1_000..=1_000_000, 0, usual.definitions),
            stack_bytes: self.count(keys, "stack_kib", 64..=1_024, 10, usual.stack_bytes),
            compile_time: keys.duration(
                self.source,
                "compile_time",
                COMPILE_TIMES,
                usual.compile_time,
            ),
            compile_memory_bytes: self.count(
                keys,
                "compile_memory_mib",
                64..=4_095,
                20,
                usual.compile_memory_bytes,
            ),
        }
    }

    /// The limits of a stage's instance.
    pub(super) fn limits(&mut self, stage: &mut Keys<'_, 'a>) -> Limits {
        let usual = Limits::default();
        let Some(value) = stage.get("limits") else { return usual };
        let Some(table) = value.get_ref().as_table() else {
            stage.refuse(self.source, "limits", &value.span(), "a table: [stage.limits]");
            return usual;
        };
        let mut keys = Keys::new(format!("{}: limits", stage.place), table, value.span());
        let keys = &mut keys;
        let limits = Limits {
            call_deadline: keys.duration(
                self.source,
                "call_deadline",
                CALL_DEADLINES,
                usual.call_deadline,
            ),
            call_fuel: self.count(
                keys,
                "call_fuel",
                10_000..=1_000_000_000_000,
                0,
                usual.call_fuel,
            ),
            memory_bytes: self.count(keys, "memory_mib", 1..=1_024, 20, usual.memory_bytes),
            memories: self.count(keys, "memories", 1..=16, 0, usual.memories),
            tables: self.count(keys, "tables", 1..=64, 0, usual.tables),
            table_entries: self.count(keys, "table_entries", 1..=1_000_000, 0, usual.table_entries),
            instances: self.count(keys, "instances", 1..=256, 0, usual.instances),
            handles: self.count(keys, "handles", 0..=100_000, 0, usual.handles),
            call_bytes: self.count(keys, "call_kib", 64..=65_536, 10, usual.call_bytes),
            extra_readings: self.count(
                keys,
                "extra_readings",
                0..=1_000_000,
                0,
                usual.extra_readings,
            ),
            extra_alarms: self.count(keys, "extra_alarms", 0..=100_000, 0, usual.extra_alarms),
            state_bytes: self.count(keys, "state_kib", 1..=65_536, 10, usual.state_bytes),
            log_lines_a_minute: self.count(
                keys,
                "log_lines_a_minute",
                0..=6_000,
                0,
                usual.log_lines_a_minute,
            ),
            log_chars: self.count(keys, "log_chars", 20..=10_000, 0, usual.log_chars),
            counters: self.count(keys, "counters", 0..=1_000, 0, usual.counters),
        };
        keys.finish(self.source);
        limits
    }

    /// A whole number of units of 2 to the power of `shift`.
    pub(super) fn count<T: TryFrom<i64>>(
        &mut self,
        keys: &mut Keys<'_, 'a>,
        key: &'static str,
        range: RangeInclusive<i64>,
        shift: u32,
        usual: T,
    ) -> T {
        let given = keys.integer(self.source, key, range);
        given.and_then(|at| T::try_from(at.value << shift).ok()).unwrap_or(usual)
    }
}
