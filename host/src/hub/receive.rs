//! From a device's text to messages that the hub can keep: every text in them short and printable, every time a time.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::known::{LONGEST_NAME, is_name};
use crate::reading::{Quality, Quantity, Timestamp};
use crate::uplink::wire::{self, Body, Event, Message, SpoolHealth, UplinkHealth};

/// Most ways out of a device that are shown.
const UPLINKS: usize = 16;
/// Longest answer to a command, or reason why something is down, that is passed on, in characters.
const LONGEST_REASON: usize = 256;

/// Longest text that is stored as it came, in bytes: readings have about 150. Of a longer one what this version knows is kept.
const LONGEST_TEXT: usize = 4 << 10;

/// A message as it came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Received<'t> {
    /// Its number, where the device numbers its messages.
    pub(super) seq: Option<u64>,
    /// Whether the device sent later ones before.
    pub(super) late: bool,
    /// What it says.
    pub(super) said: Said<'t>,
    /// Its text, where that says all of it and is short.
    text: Option<&'t str>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said<'t> {
    /// A reading.
    Measured(Measured<'t>),
    /// Another word of the wire.
    Event(Event),
    /// What this version does not know.
    Unknown,
}

/// A reading: most messages are one, so it is read without a copy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured<'t> {
    pub(super) quantity: Quantity,
    pub(super) sensor: Cow<'t, str>,
    pub(super) time: Timestamp,
    pub(super) value: f64,
    pub(super) unit: Option<Cow<'t, str>>,
    pub(super) quality: Quality,
    pub(super) doubt: Option<Cow<'t, str>>,
    pub(super) clock: Option<Cow<'t, str>>,
}

/// Whether the text of each message is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Texts {
    Needed,
    NotNeeded,
}

impl Received<'_> {
    /// How many numbers it settles: its own, and those that it declares.
    pub(super) fn numbers(&self) -> u64 {
        match &self.said {
            Said::Event(Event::Dropped { from, to, .. }) => {
                to.saturating_sub(*from).saturating_add(2)
            }
            _ => 1,
        }
    }

    /// As browsers are sent it, where its type is known.
    pub(super) fn retell(&self) -> Option<String> {
        let body = match &self.said {
            Said::Unknown => return None,
            Said::Event(event) => Body::Event(event.clone()),
            Said::Measured(measured) => Body::Measured(wire::Measured {
                quantity: measured.quantity.as_str().into(),
                sensor: (&*measured.sensor).into(),
                time: measured.time.to_string().into(),
                value: measured.value,
                unit: measured.unit.as_deref().map(Into::into),
                quality: measured.quality.as_str().into(),
                doubt: measured.doubt.as_deref().map(Into::into),
                clock: measured.clock.as_deref().map(Into::into),
            }),
        };
        Some(Message { seq: self.seq, late: self.late, body }.to_json())
    }

    /// As it is stored: read again, it says the same.
    pub(super) fn to_stored(&self) -> Box<str> {
        match self.text {
            Some(text) => text.into(),
            None => self.retell().unwrap_or_else(|| "null".to_owned()).into(),
        }
    }
}

/// The messages of one frame: one object, or an array of them. What messages of unknown types say is left out, as a later
/// version may send some; their numbers count all the same.
pub(super) fn receive(text: &str, texts: Texts) -> Result<Vec<Received<'_>>, String> {
    let is_array = text.trim_start().starts_with('[');
    if is_array
        && texts == Texts::NotNeeded
        && let Ok(lines) = serde_json::from_str::<Vec<Line>>(text)
        && lines.iter().all(|line| line.measures().is_some())
    {
        return lines.into_iter().map(|line| measured(line, None)).collect();
    }
    let texts: Vec<&RawValue> = if is_array {
        serde_json::from_str(text).map_err(not_of_the_wire)?
    } else {
        vec![serde_json::from_str(text).map_err(not_of_the_wire)?]
    };
    texts.into_iter().map(|text| message(text.get())).collect()
}

fn not_of_the_wire(error: serde_json::Error) -> String {
    format!("it sent what is not of the wire: {error}")
}

/// A text in a message, copied only where it is escaped.
#[derive(Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// A message, as far as it says what a reading says.
#[derive(Deserialize)]
struct Line<'t> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'t, str>,
    seq: Option<u64>,
    #[serde(default)]
    late: bool,
    value: Option<f64>,
    #[serde(borrow)]
    sensor: Option<Text<'t>>,
    #[serde(borrow)]
    time: Option<Text<'t>>,
    #[serde(borrow)]
    unit: Option<Text<'t>>,
    #[serde(borrow)]
    quality: Option<Text<'t>>,
    #[serde(borrow)]
    doubt: Option<Text<'t>>,
    #[serde(borrow)]
    clock: Option<Text<'t>>,
}

/// What can be seen of a message without knowing its type.
#[derive(Deserialize)]
struct Outline {
    seq: Option<u64>,
    #[serde(default)]
    late: bool,
    #[serde(rename = "type")]
    kind: Box<str>,
}

impl Line<'_> {
    /// What was measured, if it is a reading.
    fn measures(&self) -> Option<(Quantity, f64)> {
        Some((quantity(&self.kind)?, self.value?))
    }
}

fn quantity(kind: &str) -> Option<Quantity> {
    Quantity::ALL.iter().copied().find(|quantity| quantity.as_str() == kind)
}

fn message(text: &str) -> Result<Received<'_>, String> {
    let no_reading = match serde_json::from_str::<Line>(text) {
        Ok(line) if line.measures().is_some() => return measured(line, Some(text)),
        Ok(_) => "a reading has no `value`".to_owned(),
        Err(error) => error.to_string(),
    };
    let Outline { seq, late, kind } = serde_json::from_str(text).map_err(not_of_the_wire)?;
    let said = match &*kind {
        "fault" | "alarm" | "sensor" | "clock" | "dropped" | "health" | "result" | "start" => {
            let mut event = serde_json::from_str(text).map_err(not_of_the_wire)?;
            check_event(&mut event)?;
            Said::Event(event)
        }
        kind if quantity(kind).is_some() => {
            return Err(format!("it sent what is not of the wire: {no_reading}"));
        }
        _ => Said::Unknown,
    };
    Ok(Received { seq, late, said, text: short(text) })
}

/// A plain client sends a value and no more; what it leaves out is filled in, what it sends is taken as it is.
fn measured<'t>(line: Line<'t>, text: Option<&'t str>) -> Result<Received<'t>, String> {
    let (quantity, value) = line.measures().ok_or("a reading has no `value`")?;
    let Line { seq, late, sensor, time, unit, quality, doubt, clock, .. } = line;
    let quality = match quality.as_ref().map(|quality| &*quality.0) {
        None => Quality::Good,
        Some(word) => {
            one_of("quality", word, &["good", "uncertain"])?;
            if word == "good" { Quality::Good } else { Quality::Uncertain }
        }
    };
    let named = |key, text: Option<Text<'t>>| match text {
        Some(Text(text)) => name(key, &text).map(|()| Some(text)),
        None => Ok(None),
    };
    let usual = (quantity != Quantity::Temperature).then(|| quantity.unit().into());
    let said = Measured {
        quantity,
        // A plain client may name none.
        sensor: named("sensor", sensor)?.unwrap_or(Cow::Borrowed(quantity.as_str())),
        time: match &time {
            Some(Text(time)) => parsed(time)?,
            None => whole_millis(Timestamp::now()),
        },
        value,
        unit: named("unit", unit)?.or(usual),
        quality,
        doubt: named("doubt", doubt)?,
        clock: named("clock", clock)?,
    };
    // What says no time has that of its arrival.
    let text = text.filter(|_| time.is_some()).and_then(short);
    Ok(Received { seq, late, said: Said::Measured(said), text })
}

fn check_event(event: &mut Event) -> Result<(), String> {
    match event {
        Event::Fault { sensor, time, reason, clock } => {
            name("sensor", sensor)?;
            name("reason", reason)?;
            optional_name("clock", clock)?;
            reprint(time)
        }
        Event::Sensor { id, state, time, clock } => {
            name("id", id)?;
            one_of("state", state, &["found", "gone"])?;
            optional_name("clock", clock)?;
            reprint(time)
        }
        Event::Clock { time, .. } => reprint(time),
        Event::Health { time, uplinks, spool, .. } => {
            check_health(uplinks, spool)?;
            reprint(time)
        }
        Event::Start { time, version, clock } => {
            optional_name("clock", clock)?;
            *version = version.chars().take(LONGEST_NAME).collect();
            reprint(time)
        }
        Event::Alarm { alarm, sensor, condition, state, severity, time, clock, .. } => {
            name("alarm", alarm)?;
            name("sensor", sensor)?;
            if !condition.is_empty() {
                name("condition", condition)?;
            }
            one_of("state", state, &["active", "cleared"])?;
            one_of("severity", severity, &["info", "warning", "critical"])?;
            optional_name("clock", clock)?;
            reprint(time)
        }
        Event::Dropped { reason, .. } => name("reason", reason),
        Event::Result { id, status, reason } => {
            name("id", id)?;
            name("status", status)?;
            if let Some(reason) = reason {
                *reason = reason.chars().take(LONGEST_REASON).collect();
            }
            Ok(())
        }
    }
}

fn check_health(
    uplinks: &mut Vec<UplinkHealth>,
    spool: &mut Option<SpoolHealth>,
) -> Result<(), String> {
    uplinks.truncate(UPLINKS);
    for UplinkHealth { uplink, state, since, reason, .. } in uplinks {
        name("uplink", uplink)?;
        one_of("state", state, &["up", "down"])?;
        if let Some(since) = since {
            reprint(since)?;
        }
        shorten(reason);
    }
    if let Some(spool) = spool {
        shorten(&mut spool.reason);
    }
    Ok(())
}

fn shorten(reason: &mut Option<Box<str>>) {
    if let Some(reason) = reason {
        *reason = reason.chars().take(LONGEST_REASON).collect();
    }
}

fn optional_name(key: &str, text: &Option<Box<str>>) -> Result<(), String> {
    text.as_ref().map_or(Ok(()), |text| name(key, text))
}

fn name(key: &str, text: &str) -> Result<(), String> {
    if is_name(text) {
        Ok(())
    } else {
        Err(format!("its `{key}` must have 1 to 64 printable characters"))
    }
}

fn one_of(key: &str, text: &str, allowed: &[&str]) -> Result<(), String> {
    if allowed.contains(&text) {
        Ok(())
    } else {
        Err(format!("its `{key}` must be one of {}", allowed.join(", ")))
    }
}

fn reprint(time: &mut Box<str>) -> Result<(), String> {
    *time = parsed(time)?.to_string().into();
    Ok(())
}

fn parsed(time: &str) -> Result<Timestamp, String> {
    time.parse().map(whole_millis).map_err(|e| format!("its `time` {e}"))
}

/// To the millisecond, as times are told.
fn whole_millis(Timestamp { nanos }: Timestamp) -> Timestamp {
    Timestamp { nanos: nanos - nanos % 1_000_000 }
}

fn short(text: &str) -> Option<&str> {
    Some(text).filter(|text| text.len() <= LONGEST_TEXT)
}

#[cfg(test)]
mod tests;
