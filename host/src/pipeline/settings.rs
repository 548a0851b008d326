//! `[stage.config]` against the manifest of the stage's plugin. No plugin code runs.

use std::ops::Range;
use std::time::Duration;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{integer, list, number, one_of, parse_duration};
use super::problems::Source;
use crate::plugin::{Parameter, ParameterKind};

/// The settings as the plugin is given them: checked, with defaults filled in, durations in whole nanoseconds.
pub(super) fn check(
    source: &mut Source<'_>,
    stage: &str,
    table: &DeTable<'_>,
    span: &Range<usize>,
    parameters: &[Parameter],
    sensors: &[&str],
) -> Value {
    let place = Place { stage: stage.to_owned(), path: String::new() };
    Value::Object(check_table(source, &place, table, span, parameters, sensors))
}

/// Where in a stage's settings a value stands.
struct Place {
    stage: String,
    path: String,
}

impl Place {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    fn inside(&self, name: &str) -> Place {
        Place { stage: self.stage.clone(), path: format!("{}{name}.", self.path) }
    }

    fn refuse(&self, source: &mut Source<'_>, key: &str, span: &Range<usize>, allowed: &str) {
        let (key, written) = (self.key(key), source.excerpt(span));
        source.problem(span, format!("{}: `{key}` is {written}: must be {allowed}", self.stage));
    }
}

fn check_table(
    source: &mut Source<'_>,
    place: &Place,
    table: &DeTable<'_>,
    span: &Range<usize>,
    parameters: &[Parameter],
    sensors: &[&str],
) -> Map<String, Value> {
    let mut settings = Map::new();
    for parameter in parameters {
        let name = parameter.name.as_str();
        let value = match table.get(name) {
            Some(value) => check_value(source, place, value, parameter, sensors),
            None if parameter.required => {
                let (key, allowed) = (place.key(name), allowed(parameter));
                source.problem(
                    span,
                    format!("{}: `{key}` is missing: must be {allowed}", place.stage),
                );
                None
            }
            None => parameter.default.as_ref().map(|default| prepared(default, &parameter.kind)),
        };
        if let Some(value) = value {
            settings.insert(name.to_owned(), value);
        }
    }
    for (key, _) in table {
        if !parameters.iter().any(|parameter| parameter.name == *key.get_ref()) {
            let known = list(parameters.iter().map(|parameter| parameter.name.as_str()));
            let key_text = place.key(key.get_ref());
            source.problem(
                &key.span(),
                format!("{}: unknown setting `{key_text}` (known: {known})", place.stage),
            );
        }
    }
    settings
}

fn check_value(
    source: &mut Source<'_>,
    place: &Place,
    value: &Spanned<DeValue<'_>>,
    parameter: &Parameter,
    sensors: &[&str],
) -> Option<Value> {
    let span = value.span();
    let name = parameter.name.as_str();
    let checked = match (&parameter.kind, value.get_ref()) {
        (ParameterKind::Table { parameters }, DeValue::Table(table)) => {
            let inside = place.inside(name);
            return Some(check_table(source, &inside, table, &span, parameters, sensors).into());
        }
        (ParameterKind::PerSensor { parameters }, DeValue::Table(table)) => {
            let inside = place.inside(name);
            return Some(check_per_sensor(source, &inside, table, parameters, sensors).into());
        }
        (ParameterKind::Number, value) => {
            number(value).filter(|n| in_range(*n, parameter)).map(Value::from)
        }
        (ParameterKind::Integer, value) =>
        {
            #[expect(clippy::cast_precision_loss, reason = "ranges beyond 2^53 do not exist")]
            integer(value).filter(|n| in_range(*n as f64, parameter)).map(Value::from)
        }
        (ParameterKind::Boolean, DeValue::Boolean(flag)) => Some(Value::from(*flag)),
        (ParameterKind::Text, DeValue::String(text)) => Some(Value::from(text.as_ref())),
        (ParameterKind::Duration, DeValue::String(text)) => {
            let fits = |duration: &Duration| in_range(duration.as_secs_f64(), parameter);
            parse_duration(text).filter(fits).and_then(nanoseconds)
        }
        (ParameterKind::Choice { choices }, DeValue::String(word)) => {
            choices.iter().find(|choice| *choice == word).map(|choice| Value::from(choice.as_str()))
        }
        _ => None,
    };
    if checked.is_none() {
        place.refuse(source, name, &span, &allowed(parameter));
    }
    checked
}

fn check_per_sensor(
    source: &mut Source<'_>,
    place: &Place,
    table: &DeTable<'_>,
    parameters: &[Parameter],
    sensors: &[&str],
) -> Map<String, Value> {
    let mut settings = Map::new();
    for (sensor, value) in table {
        let name = sensor.get_ref();
        if !sensors.contains(&name.as_ref()) {
            let key = place.key(name);
            let known = list(sensors.iter().copied());
            source.problem(
                &sensor.span(),
                format!(
                    "{}: `{key}`: the stage is given no such sensor (given: {known})",
                    place.stage
                ),
            );
            continue;
        }
        let Some(inner) = value.get_ref().as_table() else {
            place.refuse(source, name, &value.span(), "a table");
            continue;
        };
        let inside = place.inside(name);
        let inner = check_table(source, &inside, inner, &value.span(), parameters, sensors);
        settings.insert(name.as_ref().to_owned(), inner.into());
    }
    settings
}

fn in_range(number: f64, parameter: &Parameter) -> bool {
    let low = parameter.min.unwrap_or(f64::MIN);
    let high = parameter.max.unwrap_or(f64::MAX);
    let on_step = parameter.step.is_none_or(|step| {
        let steps = (number - parameter.min.unwrap_or(0.0)) / step;
        // 0.3 is three steps of 0.1, though not to the last bit.
        (steps - steps.round()).abs() < 1e-9
    });
    (low..=high).contains(&number) && on_step
}

/// What a parameter accepts, as a message says it.
fn allowed(parameter: &Parameter) -> String {
    let what = match &parameter.kind {
        ParameterKind::Number => "a number",
        ParameterKind::Integer
            if parameter.step == Some(2.0) && parameter.min.is_some_and(|min| min % 2.0 != 0.0) =>
        {
            "an odd number"
        }
        ParameterKind::Integer => "a whole number",
        ParameterKind::Boolean => return "true or false".to_owned(),
        ParameterKind::Text => return "a text in quotes".to_owned(),
        ParameterKind::Duration => {
            let bound = |name, secs: Option<f64>| {
                secs.map_or(String::new(), |secs| format!(" {name} {secs}s"))
            };
            let (least, most) =
                (bound("of at least", parameter.min), bound("of at most", parameter.max));
            let short = if parameter.min.is_some() { "" } else { "\"500ms\", " };
            return format!("a duration{least}{most} such as {short}\"10s\" or \"5m\"");
        }
        ParameterKind::Choice { choices } => return one_of(choices.iter().map(String::as_str)),
        ParameterKind::Table { parameters } => {
            let keys = list(parameters.iter().map(|parameter| parameter.name.as_str()));
            return format!("a table with the keys {keys}");
        }
        ParameterKind::PerSensor { .. } => return "a table by sensor name".to_owned(),
    };
    match (parameter.min, parameter.max) {
        (Some(min), Some(max)) => format!("{what} from {min} to {max}"),
        (Some(min), None) => format!("{what}, at least {min}"),
        (None, Some(max)) => format!("{what}, at most {max}"),
        (None, None) => what.to_owned(),
    }
}

/// A manifest's default as the plugin is given it.
fn prepared(default: &Value, kind: &ParameterKind) -> Value {
    match (kind, default) {
        (ParameterKind::Duration, Value::String(text)) => {
            parse_duration(text).and_then(nanoseconds).unwrap_or(Value::Null)
        }
        _ => default.clone(),
    }
}

fn nanoseconds(duration: Duration) -> Option<Value> {
    u64::try_from(duration.as_nanos()).ok().map(Value::from)
}
