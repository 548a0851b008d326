//! Who is known, and who gives way to others.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::hub::receive::receive;

const STREAM: Option<Uuid> = Some(Uuid::from_u128(1));

fn connect(hub: &Hub, device: &str, sensors: &[&str]) -> Result<(), Refused> {
    let sensors: Vec<_> =
        sensors.iter().map(|sensor| json!({"sensor": sensor, "unit": "celsius"})).collect();
    let connect = json!({"type": "connect", "device": device, "stream": STREAM, "from": 1, "sensors": sensors});
    hub.connect(serde_json::from_value(connect).unwrap()).map(|_acks| ())
}

fn send(hub: &Hub, device: &str, sensor: &str) {
    let text = json!({"type": "temperature", "sensor": sensor, "value": 1}).to_string();
    let messages = receive(&text, hub.texts()).unwrap();
    hub.take(device, STREAM, &messages, None).unwrap();
}

#[test]
fn a_device_that_left_nothing_gives_way_when_there_are_enough() {
    let hub = Hub::new(Keeps::OnDisk);
    hub.ready.send_replace(true);
    // The others stay.
    const GONE: usize = 100;
    for device in 0..DEVICES {
        let name = device.to_string();
        connect(&hub, &name, &["a"]).unwrap();
        // One has sent something, and one is still there.
        if device == 3 {
            send(&hub, &name, "a");
        }
        if device != 4 && device < GONE {
            hub.disconnect(&name, STREAM);
        }
    }
    for device in 0..GONE - 2 {
        connect(&hub, &format!("new {device}"), &["a"]).unwrap();
    }
    assert_eq!(connect(&hub, "one more", &[]), Err(Refused::TooManyDevices));
    assert!(hub.find_device("3").is_some() && hub.find_device("4").is_some());
    assert!(hub.find_device("0").is_none() && hub.find_device("5").is_none());
    let numbers: BTreeSet<u32> = hub.known().devices.values().map(|device| device.number).collect();
    assert_eq!(numbers.len(), DEVICES, "each has its own");
    let batch = hub.next_batch().unwrap();
    assert_eq!(batch.forgotten.len(), GONE - 2);
    assert_eq!(batch.devices.len(), DEVICES);
    assert_eq!(batch.next_number, (DEVICES + GONE) as u32 - 2);
}

#[test]
fn a_sensor_that_never_sent_gives_way_and_one_that_did_stays() {
    let hub = Hub::new(Keeps::InMemory);
    let names: Vec<String> = (0..SENSORS).map(|sensor| format!("s{sensor}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    connect(&hub, "d", &names).unwrap();
    send(&hub, "d", "s7");
    let others: Vec<String> = (0..SENSORS - 1).map(|sensor| format!("t{sensor}")).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    connect(&hub, "d", &others).unwrap();
    let position = |sensor: &str| hub.find("d", sensor).map(|(_, position, _)| position);
    assert_eq!(position("s7"), Some(7));
    assert!(others.iter().all(|sensor| position(sensor).is_some()), "each has a place");
    assert_eq!(position("s8"), None);
    for sensor in &others {
        send(&hub, "d", sensor);
    }
    let refused = connect(&hub, "d", &["one more"]);
    assert_eq!(refused, Err(Refused::TooManySensors));
}

#[test]
fn a_connection_that_was_refused_is_not_counted() {
    let hub = Hub::new(Keeps::InMemory);
    let names: Vec<String> = (0..SENSORS).map(|sensor| format!("s{sensor}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    connect(&hub, "d", &names).unwrap();
    names.iter().for_each(|sensor| send(&hub, "d", sensor));
    hub.disconnect("d", STREAM);
    for stream in 2..100 {
        let connect = json!({"type": "connect", "device": "d", "stream": Uuid::from_u128(stream),
                             "sensors": [{"sensor": "one more", "unit": "celsius"}]});
        let refused = hub.connect(serde_json::from_value(connect).unwrap()).map(|_acks| ());
        assert_eq!(refused, Err(Refused::TooManySensors), "and not for its streams");
    }
    assert!(!hub.known().devices["d"].connected);
}

#[test]
fn a_device_has_only_so_many_connections() {
    let hub = Hub::new(Keeps::InMemory);
    let mut connections = 0;
    while connect(&hub, "d", &[]).is_ok() {
        connections += 1;
        assert!(connections < 100);
    }
    assert_eq!(connect(&hub, "d", &[]), Err(Refused::TooManyConnections));
    connect(&hub, "other", &[]).unwrap();
    hub.disconnect("d", STREAM);
    connect(&hub, "d", &[]).unwrap();
}

#[test]
fn what_is_kept_for_a_slow_page_is_bounded_in_bytes() {
    let hub = Hub::new(Keeps::InMemory);
    let mut updates = hub.look().1;
    let mut told = |readings: usize| {
        let text = vec![r#"{"type":"temperature","value":1}"#; readings].join(",");
        let text = format!("[{text}]");
        let messages = receive(&text, hub.texts()).unwrap();
        hub.take("d", STREAM, &messages, None).unwrap();
        std::iter::from_fn(|| updates.try_recv().ok()).collect::<Vec<_>>()
    };
    connect(&hub, "d", &[]).unwrap();
    told(1);
    let few = told(100);
    let has_messages = |updates: &[Update]| {
        updates.iter().any(|update| matches!(update, Update::Told("messages", _)))
    };
    assert!(has_messages(&few), "{few:?}");
    let many = told(5_000);
    let is_renewed = matches!(&many[..], [Update::Renewed(device)] if &**device == "d");
    assert!(is_renewed, "{} updates", many.len());
}
