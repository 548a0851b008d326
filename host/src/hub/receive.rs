//! From a device's text to messages that the hub can keep: every text in them short and printable, every time a time.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::known::{LONGEST_NAME, is_name};
use crate::reading::{Quantity, Timestamp};
use crate::uplink::wire::{Body, Event, Measured, Message, SpoolHealth, UplinkHealth};

/// Most ways out of a device that are shown.
const UPLINKS: usize = 16;
/// Longest answer to a command, or reason why something is down, that is passed on, in characters.
const LONGEST_REASON: usize = 256;

/// A message as it came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Received<'t> {
    /// Its number, where the device numbers its messages.
    pub(super) seq: Option<u64>,
    /// Whether the device sent later ones before.
    pub(super) late: bool,
    /// What it says, where its type is known.
    pub(super) body: Option<Body>,
    /// Its text, where that says all that is in `body`.
    text: Option<&'t str>,
}

impl Received<'_> {
    /// As browsers are sent it.
    pub(super) fn retell(&self) -> Option<String> {
        let body = self.body.clone()?;
        Some(Message { seq: self.seq, late: self.late, body }.to_json())
    }

    /// As it is stored: read again, it says the same.
    pub(super) fn to_stored(&self) -> Box<str> {
        match self.text {
            Some(text) => text.into(),
            None => self.retell().unwrap_or_default().into(),
        }
    }
}

/// The messages of one frame: one object, or an array of them. Messages of unknown types are left out, as a later
/// version may send some; their numbers count all the same.
pub(super) fn receive(text: &str) -> Result<Vec<Received<'_>>, String> {
    let not_of_the_wire = |e: serde_json::Error| format!("it sent what is not of the wire: {e}");
    let texts: Vec<&RawValue> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(not_of_the_wire)?
    } else {
        vec![serde_json::from_str(text).map_err(not_of_the_wire)?]
    };
    let mut messages = Vec::with_capacity(texts.len());
    for text in texts {
        let Outline { seq, late, kind, time } =
            serde_json::from_str(text.get()).map_err(not_of_the_wire)?;
        let body = match &*kind {
            "fault" | "alarm" | "sensor" | "clock" | "dropped" | "health" | "result" | "start" => {
                Some(Body::Event(serde_json::from_str(text.get()).map_err(not_of_the_wire)?))
            }
            kind => match Quantity::ALL.iter().find(|quantity| quantity.as_str() == kind) {
                Some(quantity) => Some(measured(*quantity, text.get()).map_err(not_of_the_wire)?),
                None => None,
            },
        };
        // A plain client's reading without a time has that of its arrival.
        let is_whole = time.is_some() || !matches!(body, Some(Body::Measured(_)));
        let body = body.map(checked).transpose()?;
        messages.push(Received { seq, late, body, text: is_whole.then_some(text.get()) });
    }
    Ok(messages)
}

/// What can be seen of a message without knowing its type.
#[derive(Deserialize)]
struct Outline {
    seq: Option<u64>,
    #[serde(default)]
    late: bool,
    #[serde(rename = "type")]
    kind: Box<str>,
    time: Option<IgnoredAny>,
}

/// A plain client sends a value and no more; what it leaves out is filled in, what it sends is taken as it is.
fn measured(quantity: Quantity, text: &str) -> Result<Body, serde_json::Error> {
    #[derive(Deserialize)]
    struct Plain {
        value: f64,
        sensor: Option<Box<str>>,
        time: Option<Box<str>>,
        unit: Option<Box<str>>,
        quality: Option<Box<str>>,
        doubt: Option<Box<str>>,
        clock: Option<Box<str>>,
    }
    let Plain { value, sensor, time, unit, quality, doubt, clock } = serde_json::from_str(text)?;
    let usual = (quantity != Quantity::Temperature).then(|| quantity.unit().into());
    let quantity = quantity.as_str();
    Ok(Body::Measured(Measured {
        quantity: quantity.into(),
        // A plain client may name none.
        sensor: sensor.as_deref().unwrap_or(quantity).into(),
        time: time.unwrap_or_else(|| Timestamp::now().to_string().into()),
        value,
        unit: unit.or(usual),
        quality: quality.unwrap_or_else(|| "good".into()),
        doubt,
        clock,
    }))
}

/// The same message with its time as we print it; an error when anything in it is not as the wire says.
fn checked(mut body: Body) -> Result<Body, String> {
    match &mut body {
        Body::Measured(Measured { sensor, time, unit, quality, doubt, clock, .. }) => {
            name("sensor", sensor)?;
            one_of("quality", quality, &["good", "uncertain"])?;
            reprint(time)?;
            optional_name("unit", unit)?;
            optional_name("doubt", doubt)?;
            optional_name("clock", clock)?;
        }
        Body::Event(event) => check_event(event)?,
    }
    Ok(body)
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
    let parsed: Timestamp = time.parse().map_err(|e| format!("its `time` {e}"))?;
    *time = parsed.to_string().into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_completed_or_refused() {
        for (text, expected) in [
            (
                r#"{"type":"temperature","sensor":"a","time":"2026-01-01T00:00:00.0009Z","value":1,"quality":"good"}"#,
                Ok(1),
            ),
            (r#"{"type":"temperature","value":20.5}"#, Ok(1)),
            (r#"[]"#, Ok(0)),
            (r#"{"type":"temperature","value":20.5,"time":5}"#, Err("not of the wire")),
            (
                r#"[{"type":"tomorrow","seq":3,"x":[1]},{"type":"dropped","seq":4,"from":1,"to":2,"reason":"spool-full"}]"#,
                Ok(2),
            ),
            (r#"{"type":"temperature"}"#, Err("not of the wire")),
            (r#"{"value":1}"#, Err("not of the wire")),
            ("[1]", Err("not of the wire")),
            ("{", Err("not of the wire")),
            (
                r#"{"type":"fault","sensor":"a","time":"noon","reason":"stale"}"#,
                Err("`time` must be a time"),
            ),
            (
                r#"{"type":"fault","sensor":"","time":"2026-01-01T00:00:00Z","reason":"stale"}"#,
                Err("`sensor` must have 1 to 64"),
            ),
            (
                r#"{"type":"temperature","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"fine"}"#,
                Err("one of good, uncertain"),
            ),
            (
                r#"{"type":"fault","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
                Err("missing field `reason`"),
            ),
            (
                r#"{"type":"alarm","alarm":"a","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good","severity":"info"}"#,
                Err("missing field `state`"),
            ),
            (
                r#"{"type":"sensor","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
                Err("missing field `id`"),
            ),
            (
                r#"{"type":"clock","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
                Err("missing field `synchronized`"),
            ),
            (
                r#"{"type":"clock","time":"2026-01-01T00:00:00Z","synchronized":true,"step_secs":1e999}"#,
                Err("number out of range"),
            ),
            (
                r#"{"type":"dropped","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
                Err("missing field `from`"),
            ),
            (
                r#"{"type":"health","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
                Err("missing field `uptime_secs`"),
            ),
            (
                r#"{"type":"result","sensor":"a","time":"2026-01-01T00:00:00Z","value":1,"quality":"good"}"#,
                Err("missing field `id`"),
            ),
            (
                r#"{"type":"sensor","id":"28-a","state":"found","time":"2026-01-01T00:00:00Z","clock":""}"#,
                Err("`clock` must have 1 to 64"),
            ),
        ] {
            match (receive(text), expected) {
                (Ok(messages), Ok(count)) => assert_eq!(messages.len(), count, "{text}"),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{text}: {why}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
        let doubted = receive(r#"{"type":"temperature","value":1,"quality":"uncertain"}"#).unwrap();
        assert!(
            matches!(&doubted[0].body, Some(Body::Measured(Measured { quality, .. })) if &**quality == "uncertain")
        );
        let [plain] = &receive(r#"{"type":"temperature","value":20.5}"#).unwrap()[..] else {
            panic!()
        };
        let told: serde_json::Value = serde_json::from_str(&plain.retell().unwrap()).unwrap();
        assert_eq!(
            (&told["sensor"], &told["value"], &told["quality"]),
            (&"temperature".into(), &20.5.into(), &"good".into())
        );
    }
}
