//! The messages on the wire: JSON text, the same for every uplink.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

use crate::reading::{Quantity, Series};

/// The subprotocol with acks, commands and arrays.
pub const PROTOCOL: &str = "weir.v1";
/// The subprotocol without them: what a server gets that chooses this one, or none.
pub const PLAIN_PROTOCOL: &str = "weir.plain";
/// What the `clock` of a message says when its time may be wrong.
pub const UNSYNCHRONIZED: &str = "unsynchronized";

/// The `reason` of numbers that were set aside for a process that ended without saying how many it used: most of them
/// never were a message.
pub const UNCLEAN_STOP: &str = "unclean-stop";
/// The reason of a `dropped` without a number: a device says so in the place of what it does not keep any more, whenever it
/// gets there. The numbered message that says why comes in its own turn.
pub const GIVEN_UP: &str = "given-up";

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
    /// The first number of the stream that the device still has, or will give next: it will not send any before it.
    ///
    /// A device that says this promises to declare (`dropped`) every number from here on that will never come, so
    /// the hub acks no further than it can prove; numbers may then come in any order. A device that does not say it
    /// sends in order: numbers that it leaves out are gaps, shown and acked over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
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
    /// What it measures; a thermometer does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<String>,
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
            quantity: (series.quantity != Quantity::Temperature)
                .then(|| series.quantity.as_str().to_owned()),
            unit: series.quantity.unit().to_owned(),
        });
        Connect {
            kind: ConnectType::Connect,
            device: device.to_owned(),
            stream: Some(stream),
            from: None,
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
    /// Whether it waited on the device while later ones were sent: it belongs before them.
    pub late: bool,
    /// What it says.
    pub body: Body,
}

/// What a message says. Times are texts as they print, so that a hub passes them on unchanged.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// A reading: its type is the word of its quantity.
    Measured(Measured),
    /// Anything else: its type is a word of the wire.
    Event(Event),
}

/// What a message says that is not a reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// A measurement that failed.
    Fault {
        /// Whose.
        sensor: Arc<str>,
        /// When.
        time: Box<str>,
        /// Why.
        reason: Box<str>,
        /// As [`Measured::clock`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock: Option<Box<str>>,
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
        /// As [`Measured::clock`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock: Option<Box<str>>,
    },
    /// A sensor that is not in the device's pipeline came or went.
    Sensor {
        /// Its own address.
        id: Box<str>,
        /// `found` or `gone`.
        state: Box<str>,
        /// When.
        time: Box<str>,
        /// As [`Measured::clock`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock: Option<Box<str>>,
    },
    /// The device's clock was set, or is known to be right from now on, or not any more.
    Clock {
        /// What it shows now.
        time: Box<str>,
        /// Whether a time server set it, lately enough to be right.
        synchronized: bool,
        /// By how much it was set forward, in seconds: the times of all messages of this process before this one are
        /// off by so much.
        #[serde(default)]
        step_secs: f64,
    },
    /// The device's process began. What comes after it in the stream is of this process; alarms that are still active
    /// are told again right after it, all others are over.
    Start {
        /// When.
        time: Box<str>,
        /// The host's version.
        #[serde(default)]
        version: Box<str>,
        /// As [`Measured::clock`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock: Option<Box<str>>,
    },
    /// Numbers before this one that will never come.
    Dropped {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
        /// Why, for instance `spool-full`, or [`UNCLEAN_STOP`].
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
        /// Each way out of the device.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        uplinks: Vec<UplinkHealth>,
        /// Where messages wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spool: Option<SpoolHealth>,
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

/// How one way out of a device is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UplinkHealth {
    /// Its name.
    pub uplink: Box<str>,
    /// `up` or `down`.
    pub state: Box<str>,
    /// Messages that wait for it.
    #[serde(default)]
    pub queued: u64,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Box<str>>,
    /// Why it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
}

/// Where a device's messages wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpoolHealth {
    /// Whether they outlive the process.
    pub on_disk: bool,
    /// Bytes that it takes.
    #[serde(default)]
    pub bytes: u64,
    /// Why it is in memory though it should be on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
    /// How many damaged files were set aside since the process began.
    #[serde(default, skip_serializing_if = "is_none")]
    pub set_aside: u64,
    /// How often its stream went on after a power cut or a crash.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unclean_starts: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl From<Event> for Body {
    fn from(event: Event) -> Self {
        Body::Event(event)
    }
}

/// A reading on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What was measured: `temperature`, `humidity`, …
    #[serde(rename = "type")]
    pub quantity: Box<str>,
    /// Whose.
    pub sensor: Arc<str>,
    /// When the conversion began.
    pub time: Box<str>,
    /// In the sensor's unit.
    pub value: f64,
    /// The unit; a temperature is in degrees Celsius and does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Box<str>>,
    /// `good` or `uncertain`.
    pub quality: Box<str>,
    /// Why it is uncertain, where the driver said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Box<str>>,
    /// `unsynchronized` when the device's clock may be wrong: what `time` says is corrected by the next `clock` message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Box<str>>,
}

/// What a hub sends to a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum HubMessage {
    /// All up to this number are stored, or will never come. The first of a connection answers `connect`.
    Ack {
        /// The number.
        seq: u64,
        /// The highest further range that is stored. Numbers between `seq` and its first did not all come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ahead: Option<(u64, u64)>,
    },
    /// Something to do.
    Command {
        /// Comes back in the result.
        id: String,
        /// What.
        command: String,
    },
}

impl Message {
    /// The JSON text: `type` first, then `seq`, then `late` where it is so, then the rest.
    pub fn to_json(&self) -> String {
        let body = to_json(&self.body);
        let Some(seq) = self.seq else { return body };
        // The tag is always first and its words hold no comma, so the number goes behind the first one.
        match body.split_once(',') {
            Some((kind, rest)) => {
                let late = if self.late { "\"late\":true," } else { "" };
                format!("{kind},\"seq\":{seq},{late}{rest}")
            }
            None => body,
        }
    }
}

/// The same message, marked as one that later ones overtook: `"late":true` comes right after the number.
pub fn as_late(json: &str) -> String {
    // Neither the type nor the number has a comma.
    let second = json.match_indices(',').nth(1).map_or(json.len(), |(position, _)| position);
    let (head, rest) = json.split_at(second);
    format!("{head},\"late\":true{rest}")
}

/// JSON of a message.
pub fn to_json(message: &impl Serialize) -> String {
    // The types here hold no map with other keys than texts, which is all that serde_json refuses.
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A thermometer and a hygrometer.
    pub(in crate::uplink) fn series() -> Vec<Series> {
        let id = Some("28-0316a2794dff".into());
        let series = |sensor: &str, id, quantity| Series {
            sensor: sensor.into(),
            id,
            quantity,
            interval: None,
        };
        vec![
            series("evaporator", id, Quantity::Temperature),
            series("air", None, Quantity::Humidity),
        ]
    }

    #[test]
    fn a_message_that_was_overtaken_says_so() {
        let event = Event::Fault {
            sensor: "a,b".into(),
            time: "t".into(),
            reason: "stale".into(),
            clock: None,
        };
        let json = Message { seq: Some(7), late: false, body: event.into() }.to_json();
        assert_eq!(
            as_late(&json),
            r#"{"type":"fault","seq":7,"late":true,"sensor":"a,b","time":"t","reason":"stale"}"#
        );
    }

    #[test]
    fn the_first_message_lists_the_sensors() {
        let json = to_json(&Connect::new("cold-room", Uuid::nil(), &series()));
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            json,
            format!(
                r#"{{"type":"connect","device":"cold-room","stream":"00000000-0000-0000-0000-000000000000","version":"{version}","sensors":[{{"sensor":"evaporator","id":"28-0316a2794dff","unit":"celsius"}},{{"sensor":"air","quantity":"humidity","unit":"percent"}}]}}"#
            )
        );
    }
}
