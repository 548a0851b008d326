//! What Home Assistant is told so that sensors and alarms appear there by themselves. Pure.
//!
//! The format is that of its page "MQTT", section "MQTT discovery": one retained message for each of what it calls entities,
//! under `<prefix>/<component>/<node>/<object>/config`, whose last two names hold only letters, digits, `_` and `-`.

use serde_json::{Map, Value, json};

use super::alarms::Pair;
use super::topics::{OFFLINE, ONLINE, Topics};
use crate::reading::{Quantity, Series};
use crate::uplink::wire::Connect;

/// A fault comes to the same topic as readings and has no value. Nothing is given for it: Home Assistant then keeps the
/// last state, which the second availability hides until there is a reading again.
const VALUE: &str = "{{ value_json.value if value_json.value is defined else '' }}";
const IS_READING: &str = "{{ 'online' if value_json.value is defined else 'offline' }}";

/// A retained message to Home Assistant.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) topic: String,
    pub(super) json: String,
}

/// Where Home Assistant says that it is there, and what it says then.
pub(super) fn birth_topic(prefix: &str) -> String {
    format!("{prefix}/status")
}

pub(super) const BIRTH: &str = "online";

/// The sensor of one series.
///
/// There is no `expire_after`: a filter may hold readings back for as long as it likes, and whether the device is gone
/// is known from the status.
pub(super) fn sensor(prefix: &str, topics: &Topics, device: &Connect, series: &Series) -> Config {
    let (name, state_topic) = (&series.sensor, topics.sensor(&series.sensor));
    let (class, unit) = class_and_unit(series.quantity);
    let mut config = entity(device, name, name);
    config.insert("state_topic".into(), json!(state_topic));
    config.insert("value_template".into(), json!(VALUE));
    config.insert("unit_of_measurement".into(), json!(unit));
    config.insert("state_class".into(), json!("measurement"));
    if let Some(class) = class {
        config.insert("device_class".into(), json!(class));
    }
    let availability = json!([
        { "topic": topics.status(), "payload_available": ONLINE, "payload_not_available": OFFLINE },
        { "topic": state_topic, "value_template": IS_READING },
    ]);
    config.insert("availability".into(), availability);
    config.insert("availability_mode".into(), json!("all"));
    let (device, name) = (id(&device.device), id(name));
    let topic = format!("{prefix}/sensor/{device}/{name}/config");
    Config { topic, json: Value::Object(config).to_string() }
}

/// The alarm of one stage about one sensor.
pub(super) fn alarm(prefix: &str, topics: &Topics, device: &Connect, pair: &Pair) -> Config {
    let (stage, sensor) = pair;
    let mut config =
        entity(device, &format!("{stage} {sensor}"), &format!("alarm/{stage}/{sensor}"));
    config.insert("state_topic".into(), json!(topics.alarm_state(stage, sensor)));
    config.insert("device_class".into(), json!("problem"));
    config.insert("availability_topic".into(), json!(topics.status()));
    let (device, stage, sensor) = (id(&device.device), id(stage), id(sensor));
    // A sensor's own name may have a dash, and two of them in a row are rare enough.
    let topic = format!("{prefix}/binary_sensor/{device}/{stage}--{sensor}/config");
    Config { topic, json: Value::Object(config).to_string() }
}

fn entity(device: &Connect, name: &str, id: &str) -> Map<String, Value> {
    let origin = json!({ "name": "weir", "sw_version": device.version });
    let block = json!({
        "identifiers": [format!("weir/{}", device.device)],
        "name": device.device,
        "model": "Weir gateway",
        "sw_version": device.version,
    });
    let mut config = Map::new();
    config.insert("name".into(), json!(name));
    config.insert("unique_id".into(), json!(format!("weir/{}/{id}", device.device)));
    config.insert("qos".into(), json!(1));
    config.insert("origin".into(), origin);
    config.insert("device".into(), block);
    config
}

/// What Home Assistant calls a quantity, where it has a word for it, and the unit as it writes it.
fn class_and_unit(quantity: Quantity) -> (Option<&'static str>, &'static str) {
    match quantity {
        Quantity::Temperature => (Some("temperature"), "°C"),
        Quantity::Humidity => (Some("humidity"), "%"),
        Quantity::Pressure => (Some("pressure"), "hPa"),
        Quantity::Illuminance => (Some("illuminance"), "lx"),
        Quantity::Voltage => (Some("voltage"), "V"),
        Quantity::Current => (Some("current"), "A"),
        Quantity::Power => (Some("power"), "W"),
        Quantity::Resistance => (None, "Ω"),
        // Its classes of gases each mean one gas, and which one it is nobody knows here.
        Quantity::Concentration => (None, "ppm"),
        Quantity::Speed => (None, "rpm"),
    }
}

/// A name with only letters, digits, `_` and `-`: all else becomes its number between two `_`.
fn id(name: &str) -> String {
    let mut id = String::new();
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-') {
            id.push(letter);
        } else {
            id.push_str(&format!("_{:x}_", u32::from(letter)));
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::uplink::wire::tests::series;

    fn connect() -> Connect {
        Connect::new("cold.room", Uuid::nil(), &series())
    }

    #[test]
    fn a_sensor_is_told_with_all_that_home_assistant_needs() {
        let topics = Topics::new("weir", "cold.room");
        let config = sensor("homeassistant", &topics, &connect(), &series()[0]);
        assert_eq!(config.topic, "homeassistant/sensor/cold_2e_room/evaporator/config");
        let json: Value = serde_json::from_str(&config.json).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            json,
            json!({
                "name": "evaporator",
                "unique_id": "weir/cold.room/evaporator",
                "state_topic": "weir/cold.room/evaporator",
                "value_template": VALUE,
                "device_class": "temperature",
                "state_class": "measurement",
                "unit_of_measurement": "°C",
                "availability": [
                    {
                        "topic": "weir/cold.room/status",
                        "payload_available": "online",
                        "payload_not_available": "offline",
                    },
                    { "topic": "weir/cold.room/evaporator", "value_template": IS_READING },
                ],
                "availability_mode": "all",
                "qos": 1,
                "origin": { "name": "weir", "sw_version": version },
                "device": {
                    "identifiers": ["weir/cold.room"],
                    "name": "cold.room",
                    "model": "Weir gateway",
                    "sw_version": version,
                },
            })
        );
    }

    #[test]
    fn an_alarm_is_told_for_each_sensor_that_its_stage_watches() {
        let topics = Topics::new("weir", "cold-room");
        let device = Connect::new("cold-room", Uuid::nil(), &[]);
        let config =
            alarm("homeassistant", &topics, &device, &("too-warm".into(), "evaporator".into()));
        assert_eq!(
            config.topic,
            "homeassistant/binary_sensor/cold-room/too-warm--evaporator/config"
        );
        let json: Value = serde_json::from_str(&config.json).unwrap();
        assert_eq!(json["state_topic"], "weir/cold-room/alarm/too-warm/evaporator");
        assert_eq!(json["device_class"], "problem");
        assert_eq!(json["unique_id"], "weir/cold-room/alarm/too-warm/evaporator");
    }
}
