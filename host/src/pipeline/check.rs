//! The pipeline file's language: every key, what it accepts, and what it means.

mod limits;
mod mqtt;
mod sensors;
mod socketio;
mod stages;
mod tls;
mod uplinks;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Keys, list};
use super::problems::{Problem, Problems, Source};
use super::{Driver, MOST_SENSORS, Output, Pipeline, Sensor, Shows, Stage};
use crate::file;
use crate::plugin::{HostLimits, PluginFile, PluginKind};

/// Longest pipeline file, in bytes: 256 sensors and 256 stages fit into a tenth of it.
const LONGEST_FILE: u64 = 1 << 20;
const TOP_LEVEL: &str = "the file";
/// Longest name of a device, sensor or stage, in characters.
const LONGEST_NAME: usize = 64;
const NAME: &str = "1 to 64 letters, digits, dashes, dots or underscores";
/// Most tables of a kind in one pipeline.
const MOST: usize = MOST_SENSORS;

/// Reads and checks a pipeline file.
pub fn load(path: &Path) -> Result<Pipeline, Problems> {
    let name = path.display().to_string();
    let text = file::read_text(path, LONGEST_FILE).map_err(|e| {
        let text = format!("cannot read it: {e}");
        Problems { file: name.clone(), list: vec![Problem { line: 1, column: 1, text }] }
    })?;
    check(&name, &text, path.parent().unwrap_or(Path::new(".")))
}

/// Checks a pipeline's text. Files that it names are looked up from `folder`. Nothing of a plugin is run.
pub fn check(file: &str, text: &str, folder: &Path) -> Result<Pipeline, Problems> {
    let mut source = Source::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        source.problem(&span, format!("not TOML: {}", error.message().replace('\n', ", ")));
    }
    // After an error of syntax the rest is guesswork, and so would be further problems.
    let pipeline = if errors.is_empty() {
        let top = Keys::new(TOP_LEVEL, table.get_ref(), 0..0);
        let checker = Checker {
            source: &mut source,
            folder,
            files: HashMap::new(),
            host_limits: HostLimits::default(),
        };
        checker.pipeline(top)
    } else {
        None
    };
    let list = source.into_problems();
    match pipeline {
        Some(pipeline) if list.is_empty() => Ok(pipeline),
        _ => Err(Problems { file: file.to_owned(), list }),
    }
}

struct Checker<'s, 'a, 'f> {
    source: &'s mut Source<'a>,
    folder: &'f Path,
    /// Plugin files that were read already, by what the pipeline calls them.
    files: HashMap<String, Option<Arc<PluginFile>>>,
    host_limits: HostLimits,
}

impl<'a> Checker<'_, 'a, '_> {
    fn pipeline(mut self, mut top: Keys<'_, 'a>) -> Option<Pipeline> {
        let device = self.device(&mut top);
        let sensor_tables = self.tables(&mut top, "sensor");
        let (for_all, named): (Vec<_>, Vec<_>) =
            sensor_tables.iter().partition(|table| sensors::is_for_all(table));
        let sensors = self.sensors(&named);
        let all = self.all_thermometers(&for_all);
        let is_any = |sensor: &Sensor| matches!(sensor.driver, Driver::Ds18b20 { id: None, .. });
        if all.is_some()
            && let Some(any) = sensors.iter().flatten().find(|sensor| is_any(sensor))
        {
            let text = format!(
                "sensor `{}`: `id` is \"any\", but another takes them all: name this one by its ROM id",
                any.name
            );
            self.source.problem(&(0..0), text);
        }
        // What a stage may name: also sensors that have a problem of their own.
        let names: Vec<&str> = named.iter().map(|(t, _)| name_of(t).unwrap_or_default()).collect();
        if sensor_tables.is_empty() {
            self.source
                .problem(&(0..0), "there is no sensor: add at least one [[sensor]]".to_owned());
        }
        let save_interval = self.plugins(&mut top);
        let stage_tables = self.tables(&mut top, "stage");
        let stages = self.stages(&stage_tables, &names, save_interval);
        let output_tables = self.tables(&mut top, "output");
        let outputs = self.outputs(&output_tables, &stage_tables, &stages);
        let whole = uplinks::Whole { device: device.as_deref(), sensors: &names };
        let (uplinks, is_uplinked) = self.uplinks(&mut top, &whole);
        let spool = self.spool(&mut top);
        let dashboard = self.table(&mut top, "dashboard").map(|keys| self.dashboard(keys));
        let is_linked = is_uplinked || dashboard.is_some();
        let has_alarm_output = output_tables.iter().any(|(table, _)| table.contains_key("alarm"));
        if !is_linked && !has_alarm_output {
            let text = "readings have no way out: add [uplink], [dashboard] or an [[output]] with an `alarm`";
            self.source.problem(&(0..0), text.to_owned());
        }
        let status = |output: &&Output| output.shows == Shows::Status;
        if !is_linked && let Some(output) = outputs.iter().flatten().find(status) {
            let text = format!(
                "output on GPIO {}: `status` shows a connection: add [uplink] or [dashboard]",
                output.gpio
            );
            self.source.problem(&(0..0), text);
        }
        top.finish(self.source);
        let all_of = |list: Vec<Option<_>>| list.into_iter().collect::<Option<Vec<_>>>();
        Some(Pipeline {
            device: device?,
            sensors: sensors.into_iter().collect::<Option<_>>()?,
            all,
            stages: all_of(stages)?,
            host_limits: self.host_limits,
            outputs: outputs.into_iter().collect::<Option<_>>()?,
            uplinks: uplinks.into_iter().collect::<Option<_>>()?,
            spool,
            dashboard: dashboard.map_or(Some(None), |dashboard| dashboard.map(Some))?,
        })
    }

    /// The table under a key, where there is one.
    fn table<'t>(&mut self, top: &mut Keys<'t, 'a>, key: &'static str) -> Option<Keys<'t, 'a>> {
        let value = top.get(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Keys::new(key, table, value.span())),
            None => {
                top.refuse(self.source, key, &value.span(), format!("a table: [{key}]"));
                None
            }
        }
    }

    /// The tables of an array of tables.
    fn tables<'t>(
        &mut self,
        top: &mut Keys<'t, 'a>,
        key: &'static str,
    ) -> Vec<(&'t DeTable<'a>, std::ops::Range<usize>)> {
        let Some(value) = top.get(key) else { return Vec::new() };
        let values: Option<Vec<_>> = value.get_ref().as_array().and_then(|array| {
            array.iter().map(|item| Some((item.get_ref().as_table()?, item.span()))).collect()
        });
        match values {
            Some(tables) if tables.len() <= MOST => tables,
            Some(tables) => {
                let text =
                    format!("there are {} [[{key}]]: at most {MOST} are allowed", tables.len());
                self.source.problem(&value.span(), text);
                Vec::new()
            }
            None => {
                let what = format!("tables, each headed [[{key}]] in double brackets");
                top.refuse(self.source, key, &value.span(), what);
                Vec::new()
            }
        }
    }

    fn device(&mut self, top: &mut Keys<'_, 'a>) -> Option<String> {
        let Some(mut keys) = self.table(top, "device") else {
            if top.get("device").is_none() {
                top.missing(self.source, "device", "a table: [device] with a `name`");
            }
            return None;
        };
        let name = keys.required(self.source, "name", NAME, parse_name);
        keys.finish(self.source);
        name.map(|at| at.value)
    }

    fn outputs(
        &mut self,
        tables: &[(&DeTable<'a>, std::ops::Range<usize>)],
        stage_tables: &[(&DeTable<'a>, std::ops::Range<usize>)],
        stages: &[Option<Stage>],
    ) -> Vec<Option<Output>> {
        // A stage that has a problem of its own may be an alert.
        let alerts: Vec<&str> = stage_tables
            .iter()
            .zip(stages)
            .filter(|(_, stage)| {
                stage.as_ref().is_none_or(|s| s.plugin.manifest.kind == PluginKind::Alert)
            })
            .filter_map(|((table, _), _)| name_of(table))
            .collect();
        let mut pins = Unique::new("gpio");
        let outputs = tables.iter().enumerate().map(|(position, (table, span))| {
            let place = format!("output {}", position + 1);
            self.output(Keys::new(place, table, span.clone()), &alerts, &mut pins)
        });
        outputs.collect()
    }

    fn output(
        &mut self,
        mut keys: Keys<'_, 'a>,
        alerts: &[&str],
        pins: &mut Unique,
    ) -> Option<Output> {
        let source = &mut *self.source;
        let gpio = keys.integer(source, "gpio", 0..=27);
        match &gpio {
            Some(gpio) => pins.check(source, &keys, &gpio.value.to_string(), &gpio.span),
            None if keys.get("gpio").is_none() => {
                keys.missing(source, "gpio", "a BCM number from 0 to 27")
            }
            None => {}
        }
        let allowed = format!(
            "the name of a stage that is an alert (known: {})",
            list(alerts.iter().copied())
        );
        let has_alarm = keys.get("alarm").is_some();
        let alarm = keys.parsed(source, "alarm", &allowed, |name| {
            alerts.contains(&name).then(|| name.to_owned())
        });
        let status = keys.boolean(source, "status", false);
        let shows = match (alarm, status) {
            (Some(alarm), false) => Some(Shows::Alarm(alarm.value)),
            (None, true) if !has_alarm => Some(Shows::Status),
            (None, false) if has_alarm => None,
            _ => {
                let text =
                    format!("{}: give either `alarm = \"…\"` or `status = true`", keys.place);
                source.problem(keys.span(), text);
                None
            }
        };
        let levels = [("high", false), ("low", true)];
        let active_low = keys.choice(source, "active", &levels).is_some_and(|at| at.value);
        let simulate = keys.boolean(source, "simulate", false);
        keys.finish(source);
        Some(Output { gpio: u8::try_from(gpio?.value).ok()?, shows: shows?, active_low, simulate })
    }
}

fn parse_name(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = (1..=LONGEST_NAME).contains(&text.chars().count());
    (fits && text.chars().all(allowed)).then(|| text.to_owned())
}

/// The name that a table gives itself, right or wrong.
fn name_of<'t>(table: &'t DeTable<'_>) -> Option<&'t str> {
    table.get("name").map(Spanned::get_ref).and_then(DeValue::as_str)
}

/// How messages call a table: by its name, or by its position where it has none.
fn place(kind: &str, position: usize, table: &DeTable<'_>) -> String {
    match name_of(table) {
        Some(name) => format!("{kind} `{}`", name),
        None => format!("{kind} {}", position + 1),
    }
}

/// Values that must differ between tables.
struct Unique {
    key: &'static str,
    seen: HashMap<String, String>,
}

impl Unique {
    fn new(key: &'static str) -> Self {
        Unique { key, seen: HashMap::new() }
    }

    fn check(
        &mut self,
        source: &mut Source<'_>,
        keys: &Keys<'_, '_>,
        value: &str,
        span: &std::ops::Range<usize>,
    ) {
        if let Some(first) = self.seen.get(value) {
            let text =
                format!("{}: `{}` is \"{value}\", which {first} has already", keys.place, self.key);
            source.problem(span, text);
        } else {
            self.seen.insert(value.to_owned(), keys.place.clone());
        }
    }
}
