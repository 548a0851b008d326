//! The messages on the wire: JSON text, the same for every uplink.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

use crate::reading::{Alarm, AlarmState, Fault, Reading, Series, Severity};

/// The subprotocol with acks, commands and arrays.
pub const PROTOCOL: &str = "weir.v1";
/// The subprotocol without them: what a server gets that chooses this one, or none.
pub const PLAIN_PROTOCOL: &str = "weir.plain";

/// The first message of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connect {
    /// Always `connect`.
    #[serde(rename = "type")]
    pub kind: ConnectType,
    /// The device's name.
    pub device: String,
    /// Made with the spool: numbers start anew with it.
    pub stream: Option<Uuid>,
    /// The host's version.
    #[serde(default)]
    pub version: String,
    /// What it measures.
    #[serde(default)]
    pub sensors: Vec<ConnectSensor>,
}

/// The word `connect`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectType {
    /// The only one.
    #[default]
    Connect,
}

/// A sensor as the first message lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectSensor {
    /// Its name.
    pub sensor: String,
    /// Its address, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The unit of its values.
    #[serde(default)]
    pub unit: String,
}

impl Connect {
    /// The first message of this device.
    pub fn new(device: &str, stream: Uuid, series: &[Series]) -> Self {
        let sensors = series.iter().map(|series| ConnectSensor {
            sensor: series.sensor.to_string(),
            id: series.id.as_deref().map(str::to_owned),
            unit: series.unit.to_owned(),
        });
        Connect {
            kind: ConnectType::Connect,
            device: device.to_owned(),
            stream: Some(stream),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sensors: sensors.collect(),
        }
    }
}

/// A numbered message of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its number in the stream; a server of few demands may get messages without.
    pub seq: Option<u64>,
    /// What it says.
    pub body: Body,
}

/// What a message says. Times are texts as they print, so that a hub passes them on unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Body {
    /// A reading.
    Temperature {
        /// Whose.
        sensor: Arc<str>,
        /// When the conversion began.
        time: Box<str>,
        /// In the sensor's unit.
        value: f64,
        /// `good` or `uncertain`.
        quality: Box<str>,
    },
    /// A measurement that failed.
    Fault {
        /// Whose.
        sensor: Arc<str>,
        /// When.
        time: Box<str>,
        /// Why.
        reason: Box<str>,
    },
    /// A change of an alarm.
    Alarm {
        /// The stage that raised it.
        alarm: Arc<str>,
        /// About which sensor.
        sensor: Arc<str>,
        /// `above`, `below`, `missing`, or a plugin's own word.
        #[serde(default)]
        condition: Box<str>,
        /// `active` or `cleared`.
        state: Box<str>,
        /// `info`, `warning` or `critical`.
        severity: Box<str>,
        /// The value that decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<f64>,
        /// The limit that it was compared with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<f64>,
        /// Since when.
        time: Box<str>,
    },
    /// Numbers that will never come.
    Dropped {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
        /// Why, for instance `spool-full`.
        reason: Box<str>,
    },
    /// How the device is.
    Health {
        /// When.
        time: Box<str>,
        /// Since the process began.
        uptime_secs: u64,
        /// Messages that wait.
        queued: u64,
        /// Messages that were dropped.
        dropped: u64,
        /// Sampling cycles that did not happen.
        missed_cycles: u64,
        /// How often plugins trapped.
        plugin_traps: u64,
    },
    /// The answer to a command.
    Result {
        /// The command's.
        id: String,
        /// `succeeded` or `failed`.
        status: Box<str>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// What a hub sends to a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum HubMessage {
    /// All up to this number are stored.
    Ack {
        /// The number.
        seq: u64,
    },
    /// Something to do.
    Command {
        /// Comes back in the result.
        id: String,
        /// What.
        command: String,
    },
}

impl Body {
    /// A reading's message.
    pub fn reading(reading: &Reading, series: &[Series]) -> Body {
        Body::Temperature {
            sensor: name_of(reading.series, series),
            time: reading.time.to_string().into(),
            value: reading.value,
            quality: reading.quality.as_str().into(),
        }
    }

    /// A fault's message.
    pub fn fault(fault: &Fault, series: &[Series]) -> Body {
        Body::Fault {
            sensor: name_of(fault.series, series),
            time: fault.time.to_string().into(),
            reason: fault.reason.as_str().into(),
        }
    }

    /// An alarm's message.
    pub fn alarm(alarm: &Alarm, stage: &Arc<str>, series: &[Series]) -> Body {
        let state = match alarm.state {
            AlarmState::Active => "active",
            AlarmState::Cleared => "cleared",
        };
        let severity = match alarm.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        };
        Body::Alarm {
            alarm: stage.clone(),
            sensor: name_of(alarm.series, series),
            condition: alarm.condition.as_str().into(),
            state: state.into(),
            severity: severity.into(),
            value: alarm.value,
            limit: alarm.limit,
            time: alarm.time.to_string().into(),
        }
    }
}

fn name_of(number: u32, series: &[Series]) -> Arc<str> {
    series.get(number as usize).map_or_else(|| "".into(), |series| series.sensor.clone())
}

impl Message {
    /// The JSON text: `type` first, then `seq`, then the rest.
    pub fn to_json(&self) -> String {
        let body = to_json(&self.body);
        let Some(seq) = self.seq else { return body };
        // The tag is always first and its words hold no comma, so the number goes behind the first one.
        match body.split_once(',') {
            Some((kind, rest)) => format!("{kind},\"seq\":{seq},{rest}"),
            None => body,
        }
    }
}

/// JSON of a message.
pub fn to_json(message: &impl Serialize) -> String {
    // The types here hold no map with other keys than texts, which is all that serde_json refuses.
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{CELSIUS, FaultReason, Quality, Timestamp};

    fn series() -> Vec<Series> {
        let id = Some("28-0316a2794dff".into());
        vec![Series { sensor: "evaporator".into(), id, unit: CELSIUS, interval: None }]
    }

    fn time() -> Timestamp {
        "2026-11-21T23:00:00Z".parse().unwrap()
    }

    #[track_caller]
    fn check(seq: u64, body: Body, json: &str) {
        assert_eq!(Message { seq: Some(seq), body: body.clone() }.to_json(), json);
        assert_eq!(serde_json::from_str::<Body>(json).unwrap(), body);
    }

    #[test]
    fn messages_are_the_ones_that_were_promised() {
        let reading = Reading { series: 0, time: time(), value: 4.312, quality: Quality::Good };
        check(
            7,
            Body::reading(&reading, &series()),
            r#"{"type":"temperature","seq":7,"sensor":"evaporator","time":"2026-11-21T23:00:00.000Z","value":4.312,"quality":"good"}"#,
        );
        let fault = Fault { series: 0, time: time(), reason: FaultReason::CrcMismatch };
        check(
            8,
            Body::fault(&fault, &series()),
            r#"{"type":"fault","seq":8,"sensor":"evaporator","time":"2026-11-21T23:00:00.000Z","reason":"crc-mismatch"}"#,
        );
        let alarm = Alarm {
            series: 0,
            time: time(),
            condition: "above".into(),
            state: AlarmState::Active,
            severity: Severity::Critical,
            value: Some(9.1),
            limit: Some(8.0),
        };
        check(
            9,
            Body::alarm(&alarm, &"too-warm".into(), &series()),
            r#"{"type":"alarm","seq":9,"alarm":"too-warm","sensor":"evaporator","condition":"above","state":"active","severity":"critical","value":9.1,"limit":8.0,"time":"2026-11-21T23:00:00.000Z"}"#,
        );
        check(
            12,
            Body::Dropped { from: 10, to: 11, reason: "spool-full".into() },
            r#"{"type":"dropped","seq":12,"from":10,"to":11,"reason":"spool-full"}"#,
        );
        let result =
            Body::Result { id: "a,b".into(), status: "failed".into(), reason: Some("no".into()) };
        check(
            13,
            result,
            r#"{"type":"result","seq":13,"id":"a,b","status":"failed","reason":"no"}"#,
        );
    }

    #[test]
    fn the_first_message_lists_the_sensors() {
        let json = to_json(&Connect::new("cold-room", Uuid::nil(), &series()));
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            json,
            format!(
                r#"{{"type":"connect","device":"cold-room","stream":"00000000-0000-0000-0000-000000000000","version":"{version}","sensors":[{{"sensor":"evaporator","id":"28-0316a2794dff","unit":"celsius"}}]}}"#
            )
        );
    }
}
