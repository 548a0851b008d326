//! `[[stage]]`: its plugin, its sensors, its settings.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::{Checker, NAME, Unique, parse_name, place};
use crate::pipeline::keys::{Keys, list};
use crate::pipeline::{OnTrap, Stage, TrapLimit, settings};
use crate::plugin::{PluginFile, STANDARD, standard};

/// Within how long traps may be counted.
const TRAP_WINDOWS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

impl<'a> Checker<'_, 'a, '_> {
    pub(super) fn stages(
        &mut self,
        tables: &[(&DeTable<'a>, std::ops::Range<usize>)],
        sensors: &[&str],
        save_interval: Duration,
    ) -> Vec<Option<Stage>> {
        let mut names = Unique::new("name");
        let stages = tables.iter().enumerate().map(|(position, (table, span))| {
            let keys = Keys::new(place("stage", position, table), table, span.clone());
            self.stage(keys, sensors, &mut names, save_interval)
        });
        stages.collect()
    }

    fn stage(
        &mut self,
        mut keys: Keys<'_, 'a>,
        all: &[&str],
        names: &mut Unique,
        save_interval: Duration,
    ) -> Option<Stage> {
        let name = keys.required(self.source, "name", NAME, parse_name);
        if let Some(name) = &name {
            names.check(self.source, &keys, &name.value, &name.span);
        }
        let plugin = self.plugin(&mut keys);
        let is_for_all = keys.get("sensors").is_none();
        let sensors = self.stage_sensors(&mut keys, all);
        let traps =
            [("restart", OnTrap::Restart), ("bypass", OnTrap::Bypass), ("stop", OnTrap::Stop)];
        let on_trap =
            keys.choice(self.source, "on_trap", &traps).map_or(OnTrap::Restart, |at| at.value);
        let trap_limit = self.trap_limit(&mut keys, on_trap);
        let limits = self.limits(&mut keys);
        let settings = self.stage_settings(&mut keys, plugin.as_deref(), &sensors, all);
        keys.finish(self.source);
        Some(Stage {
            name: name?.value,
            plugin: plugin?,
            sensors,
            is_for_all,
            on_trap,
            trap_limit,
            save_interval,
            limits,
            settings: settings?,
        })
    }

    fn trap_limit(&mut self, keys: &mut Keys<'_, 'a>, on_trap: OnTrap) -> TrapLimit {
        let usual = TrapLimit::default();
        let given = keys.get("trap_limit").or(keys.get("trap_window")).map(Spanned::span);
        if let Some(span) = given
            && on_trap != OnTrap::Restart
        {
            let text = format!(
                "{}: `trap_limit` and `trap_window` are for `on_trap = \"restart\"`: a stage that is not started again has \
                 no second trap",
                keys.place
            );
            self.source.problem(&span, text);
        }
        let traps = keys.integer(self.source, "trap_limit", 1..=1_000);
        TrapLimit {
            traps: traps.and_then(|at| u32::try_from(at.value).ok()).unwrap_or(usual.traps),
            window: keys.duration(self.source, "trap_window", TRAP_WINDOWS, usual.window),
        }
    }

    fn stage_settings(
        &mut self,
        keys: &mut Keys<'_, 'a>,
        plugin: Option<&PluginFile>,
        sensors: &[usize],
        all: &[&str],
    ) -> Option<String> {
        let empty = DeTable::new();
        let (table, span) = match keys.get("config") {
            None => (&empty, keys.span().clone()),
            Some(value) => match value.get_ref().as_table() {
                Some(table) => (table, value.span()),
                None => {
                    keys.refuse(self.source, "config", &value.span(), "a table: [stage.config]");
                    return None;
                }
            },
        };
        let stage = keys.place.clone();
        let given: Vec<&str> =
            sensors.iter().filter_map(|&sensor| all.get(sensor).copied()).collect();
        let parameters = &plugin?.manifest.parameters;
        Some(settings::check(self.source, &stage, table, &span, parameters, &given).to_string())
    }

    /// The positions of the sensors that a stage names; all when it names none.
    fn stage_sensors(&mut self, keys: &mut Keys<'_, 'a>, all: &[&str]) -> Vec<usize> {
        let Some(value) = keys.get("sensors") else { return (0..all.len()).collect() };
        let allowed = format!("a list of sensor names (known: {})", list(all.iter().copied()));
        let Some(array) = value.get_ref().as_array().filter(|array| !array.is_empty()) else {
            keys.refuse(self.source, "sensors", &value.span(), allowed);
            return Vec::new();
        };
        let mut positions = Vec::new();
        for item in array.iter() {
            let named = item.get_ref().as_str();
            match named.and_then(|name| all.iter().position(|sensor| *sensor == name)) {
                Some(position) if positions.contains(&position) => {
                    keys.refuse(self.source, "sensors", &item.span(), "different names, each once");
                }
                Some(position) => positions.push(position),
                None => keys.refuse(self.source, "sensors", &item.span(), &allowed),
            }
        }
        positions.sort_unstable();
        positions
    }

    fn plugin(&mut self, keys: &mut Keys<'_, 'a>) -> Option<Arc<PluginFile>> {
        let known = list(STANDARD.iter().map(|(name, _)| *name));
        let allowed =
            format!("the name of a standard plugin ({known}) or the path of a .wasm file");
        let named = keys.required(self.source, "plugin", &allowed, |text| Some(text.to_owned()))?;
        let name = named.value;
        if let Some(read) = self.files.get(&name) {
            return read.clone();
        }
        let is_path = name.contains('/') || name.ends_with(".wasm");
        let file = match standard(&name) {
            Some(bytes) => PluginFile::check(bytes, &self.host_limits),
            None if is_path => PluginFile::read(&self.folder.join(&name), &self.host_limits),
            None => {
                keys.refuse(self.source, "plugin", &named.span, &allowed);
                return self.files.entry(name).or_insert(None).clone();
            }
        };
        let file = file.map(Arc::new).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let text =
                format!("{}: plugin `{name}`: {error}{}", keys.place, cause.unwrap_or_default());
            self.source.problem(&named.span, text);
        });
        self.files.entry(name).or_insert(file.ok()).clone()
    }
}
