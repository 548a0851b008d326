//! The keys of an `[uplink]` that speaks MQTT.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Checker;
use super::uplinks::Whole;
use crate::pipeline::Protocol;
use crate::pipeline::keys::Keys;
use crate::uplink::mqtt::{MqttSettings, STATUS};

/// How long a broker may be silent before it is asked for a sign of life.
const KEEP_ALIVES: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(600);
/// What it is when the file does not say it: a broker that is gone is noticed within twice as long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What topics begin with when the file does not say it.
const TOPIC: &str = "weir";
/// What Home Assistant listens to unless it is told otherwise.
const DISCOVERY_PREFIX: &str = "homeassistant";
/// Longest name of a user or client, and longest beginning of a topic, in characters.
const LONGEST: usize = 128;

const TOPIC_ALLOWED: &str = "1 to 128 characters without `+`, `#`, spaces, and `/` at an end or twice in a row, and not beginning with `$`";
const NAME_ALLOWED: &str = "1 to 128 printable characters";

/// The schemes of its addresses.
pub(super) const SCHEMES: [&str; 2] = ["mqtt", "mqtts"];
pub(super) const ADDRESS: &str = "a broker's address without a path such as \"mqtt://localhost:1883\" or \"mqtts://broker.example\"";

impl<'a> Checker<'_, 'a, '_> {
    pub(super) fn mqtt(
        &mut self,
        keys: &mut Keys<'_, 'a>,
        whole: &Whole<'_>,
    ) -> (Option<Protocol>, Option<PathBuf>) {
        for (key, why) in [
            ("token_file", "a broker wants `username` and `password_file`"),
            ("order", "over MQTT messages go in order"),
            ("catch_up_rate", "over MQTT messages go in order, as fast as the broker takes them"),
        ] {
            self.not_here(keys, key, why);
        }
        if whole.sensors.contains(&STATUS) {
            let text = format!(
                "{}: over MQTT `{STATUS}` is the device's own topic: give the sensor of this name another",
                keys.place
            );
            self.source.problem(keys.span(), text);
        }
        let client_id = keys.parsed(self.source, "client_id", NAME_ALLOWED, parse_name);
        let usual = || Some(format!("weir-{}", whole.device?));
        let client_id = client_id.map_or_else(usual, |at| Some(at.value));
        let username = keys.parsed(self.source, "username", NAME_ALLOWED, parse_name);
        let password_file =
            keys.parsed(self.source, "password_file", "the path of a file", |text| {
                Some(self.folder.join(text))
            });
        if let (None, Some(at)) = (keys.get("username"), &password_file) {
            let text = format!("{}: `password_file` goes with a `username`", keys.place);
            self.source.problem(&at.span, text);
        }
        let topic = keys.parsed(self.source, "topic", TOPIC_ALLOWED, parse_topic);
        let keep_alive = keys.duration(self.source, "keep_alive", KEEP_ALIVES, KEEP_ALIVE);
        let discovery = keys.boolean(self.source, "discovery", true);
        let prefix = keys.parsed(self.source, "discovery_prefix", TOPIC_ALLOWED, parse_topic);
        if let (false, Some(at)) = (discovery, &prefix) {
            let text = format!("{}: `discovery_prefix` is for `discovery = true`", keys.place);
            self.source.problem(&at.span, text);
        }
        let prefix = prefix.map_or_else(|| DISCOVERY_PREFIX.to_owned(), |at| at.value);
        let settings = client_id.map(|client_id| MqttSettings {
            client_id,
            username: username.map(|at| at.value),
            topic: topic.map_or_else(|| TOPIC.to_owned(), |at| at.value),
            keep_alive,
            discovery_prefix: discovery.then_some(prefix),
        });
        (settings.map(Protocol::Mqtt), password_file.map(|at| at.value))
    }
}

fn parse_name(text: &str) -> Option<String> {
    let fits = (1..=LONGEST).contains(&text.chars().count());
    (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn parse_topic(text: &str) -> Option<String> {
    let wrong = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '+' | '#');
    let fits = (1..=LONGEST).contains(&text.chars().count())
        && !text.starts_with('$')
        && text.split('/').all(|level| !level.is_empty() && !level.contains(wrong));
    fits.then(|| text.to_owned())
}
