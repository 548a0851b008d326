//! Which message goes to which topic. Pure.
//!
//! `weir/<device>/<sensor>` has what a sensor says. All else is one level deeper, where no sensor's name can meet it, but
//! for `weir/<device>/status`: a sensor of a pipeline with MQTT is not called so.

use std::borrow::Cow;

use serde::Deserialize;

/// What the status says while the uplink is connected.
pub(super) const ONLINE: &str = "online";
/// What it says otherwise; the broker itself says it for a device that is gone.
pub(super) const OFFLINE: &str = "offline";
/// The last part of the status's topic.
pub const STATUS: &str = "status";

/// What a message's place depends on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Head<'m> {
    /// Its type.
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'m, str>,
    /// About which sensor.
    #[serde(borrow, default)]
    pub(super) sensor: Option<Cow<'m, str>>,
    /// Which stage's alarm.
    #[serde(borrow, default)]
    pub(super) alarm: Option<Cow<'m, str>>,
    /// An alarm's condition.
    #[serde(borrow, default)]
    pub(super) condition: Option<Cow<'m, str>>,
    /// An alarm's state.
    #[serde(borrow, default)]
    pub(super) state: Option<Cow<'m, str>>,
}

/// Whether a broker keeps a message for those that come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The last one of its topic.
    Last,
    /// It is of its moment.
    No,
}

/// The topics of one device.
#[derive(Debug)]
pub(super) struct Topics {
    /// `weir/<device>`.
    root: String,
}

impl Topics {
    pub(super) fn new(prefix: &str, device: &str) -> Topics {
        Topics { root: format!("{prefix}/{device}") }
    }

    /// Whether the device is there.
    pub(super) fn status(&self) -> String {
        format!("{}/{STATUS}", self.root)
    }

    /// What the device is and measures.
    pub(super) fn connect(&self) -> String {
        format!("{}/device/connect", self.root)
    }

    /// Readings and faults of a sensor.
    pub(super) fn sensor(&self, sensor: &str) -> String {
        format!("{}/{sensor}", self.root)
    }

    /// Whether any alarm of a stage is active for a sensor.
    pub(super) fn alarm_state(&self, stage: &str, sensor: &str) -> String {
        format!("{}/alarm/{stage}/{sensor}", self.root)
    }

    /// Where a message goes, and whether it stays there. Messages go out in order, so that what stays is the newest.
    pub(super) fn of(&self, head: &Head<'_>) -> (String, Kept) {
        let root = &self.root;
        match (&*head.kind, &head.sensor, &head.alarm) {
            ("alarm", _, Some(stage)) => (format!("{root}/alarm/{stage}"), Kept::No),
            ("health", ..) => (format!("{root}/device/health"), Kept::Last),
            // A sighting's type is `sensor`, but it is about a chip that has no name here.
            ("sensor", ..) | (_, None, _) => (format!("{root}/device/{}", head.kind), Kept::No),
            (_, Some(sensor), _) => (self.sensor(sensor), Kept::Last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::wire::{Event, to_json};

    #[track_caller]
    fn check(json: &str, topic: &str, kept: Kept) {
        let topics = Topics::new("weir", "cold-room");
        let head: Head<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(topics.of(&head), (topic.to_owned(), kept), "{json}");
    }

    #[test]
    fn every_message_has_its_topic() {
        check(
            r#"{"type":"temperature","seq":7,"sensor":"evaporator","value":4.3}"#,
            "weir/cold-room/evaporator",
            Kept::Last,
        );
        check(
            r#"{"type":"fault","seq":8,"sensor":"evaporator","reason":"crc-mismatch"}"#,
            "weir/cold-room/evaporator",
            Kept::Last,
        );
        // A sensor called `alarm` is one level higher than alarms are.
        check(r#"{"type":"humidity","sensor":"alarm"}"#, "weir/cold-room/alarm", Kept::Last);
        check(
            r#"{"type":"alarm","alarm":"too-warm","sensor":"evaporator"}"#,
            "weir/cold-room/alarm/too-warm",
            Kept::No,
        );
        check(r#"{"type":"sensor","id":"28-0"}"#, "weir/cold-room/device/sensor", Kept::No);
        check(r#"{"type":"health","queued":0}"#, "weir/cold-room/device/health", Kept::Last);
        let dropped = Event::Dropped { from: 1, to: 2, reason: "spool-full".into() };
        check(&to_json(&dropped), "weir/cold-room/device/dropped", Kept::No);
        check(r#"{"type":"start","version":"1"}"#, "weir/cold-room/device/start", Kept::No);
        check(r#"{"type":"result","id":"1"}"#, "weir/cold-room/device/result", Kept::No);
    }
}
