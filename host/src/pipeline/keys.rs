//! Reads the keys of one TOML table: each asked for by name and type, the rest refused.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::Source;

/// One table of the file while its keys are read.
pub(super) struct Keys<'t, 'a> {
    /// How messages call the table: ``sensor `evaporator` ``.
    pub(super) place: String,
    table: &'t DeTable<'a>,
    span: Range<usize>,
    asked: Vec<&'static str>,
}

/// A value with its place in the file.
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'t, 'a> Keys<'t, 'a> {
    pub(super) fn new(
        place: impl Into<String>,
        table: &'t DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        Keys { place: place.into(), table, span, asked: Vec::new() }
    }

    /// Where the table begins.
    pub(super) fn span(&self) -> &Range<usize> {
        &self.span
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'a>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table.get(key)
    }

    /// Says that a key must be there.
    pub(super) fn missing(&self, source: &mut Source<'_>, key: &str, allowed: &str) {
        source
            .problem(&self.span, format!("{}: `{key}` is missing: must be {allowed}", self.place));
    }

    /// Says that a value is not allowed.
    pub(super) fn refuse(
        &self,
        source: &mut Source<'_>,
        key: &str,
        span: &Range<usize>,
        allowed: impl Display,
    ) {
        let written = source.excerpt(span);
        source.problem(span, format!("{}: `{key}` is {written}: must be {allowed}", self.place));
    }

    /// A string that `parse` accepts.
    pub(super) fn parsed<T>(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<At<T>> {
        let value = self.get(key)?;
        match value.get_ref().as_str().and_then(parse) {
            Some(parsed) => Some(At { value: parsed, span: value.span() }),
            None => {
                self.refuse(source, key, &value.span(), allowed);
                None
            }
        }
    }

    /// As [`Keys::parsed`], and the key must be there.
    pub(super) fn required<T>(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<At<T>> {
        if self.get(key).is_none() {
            self.missing(source, key, allowed);
            return None;
        }
        self.parsed(source, key, allowed, parse)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<At<T>> {
        let allowed = one_of(choices.iter().map(|(word, _)| *word));
        self.parsed(source, key, &allowed, |given| {
            choices.iter().find(|(word, _)| *word == given).map(|(_, choice)| *choice)
        })
    }

    /// A duration in a range; `default` when the key is not there, or not right (which is then a problem already).
    pub(super) fn duration(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let [low, high] = [*range.start(), *range.end()].map(humantime::format_duration);
        let allowed = format!("a duration from {low} to {high}, such as \"10s\" or \"5m\"");
        let parse = |text: &str| parse_duration(text).filter(|duration| range.contains(duration));
        self.parsed(source, key, &allowed, parse).map_or(default, |at| at.value)
    }

    /// A number in a range; `default` when the key is not there, or not right (which is then a problem already).
    pub(super) fn number(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> f64 {
        let Some(value) = self.get(key) else { return default };
        match number(value.get_ref()).filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let allowed = format!("a number from {} to {}", range.start(), range.end());
                self.refuse(source, key, &value.span(), allowed);
                default
            }
        }
    }

    /// A whole number in a range.
    pub(super) fn integer(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<At<i64>> {
        let value = self.get(key)?;
        match integer(value.get_ref()).filter(|number| range.contains(number)) {
            Some(number) => Some(At { value: number, span: value.span() }),
            None => {
                let allowed = format!("a whole number from {} to {}", range.start(), range.end());
                self.refuse(source, key, &value.span(), allowed);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        default: bool,
    ) -> bool {
        let Some(value) = self.get(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.refuse(source, key, &value.span(), "true or false");
            default
        })
    }

    /// An address to listen on.
    pub(super) fn address(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
    ) -> Option<SocketAddr> {
        let allowed = "an address and a port, such as \"127.0.0.1:8080\"";
        self.required(source, key, allowed, |text| text.parse().ok()).map(|at| at.value)
    }

    /// Refuses every key that was not asked for.
    pub(super) fn finish(&self, source: &mut Source<'_>) {
        for (key, _) in self.table {
            if !self.asked.iter().any(|asked| asked == key.get_ref()) {
                let known = list(self.asked.iter().copied());
                let key_text = key.get_ref();
                source.problem(
                    &key.span(),
                    format!("{}: unknown key `{key_text}` (known: {known})", self.place),
                );
            }
        }
    }
}

/// A number, whole or not; never infinite or NaN.
pub(super) fn number(value: &DeValue<'_>) -> Option<f64> {
    let number = match value {
        DeValue::Float(float) => float.as_str().parse().ok()?,
        #[expect(clippy::cast_precision_loss, reason = "settings beyond 2^53 do not exist")]
        _ => integer(value)? as f64,
    };
    number.is_finite().then_some(number)
}

/// A whole number.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A duration such as `500ms`, `10s`, `5m` or `1h 30m`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// `"a", "b" or "c"`.
pub(super) fn one_of<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let mut words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    let last = words.pop().unwrap_or_default();
    if words.is_empty() { last } else { format!("{} or {last}", words.join(", ")) }
}

/// `a, b, c`.
pub(super) fn list<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
