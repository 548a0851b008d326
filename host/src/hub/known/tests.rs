//! What becomes of a device's messages.

use super::*;
use crate::hub::history::{HISTORY, RECENT};
use crate::hub::receive::receive;
use serde_json::{Value, json};

const FIRST: Option<Uuid> = Some(Uuid::from_u128(1));

/// A device with the messages of some texts, and what pages had to be told of each.
fn device(texts: &[&str]) -> (Device, Vec<Tell>) {
    let mut device = Device::new("d".to_owned());
    device.follow(FIRST).unwrap();
    let tell = texts.iter().map(|text| take(&mut device, text)).collect();
    (device, tell)
}

fn take(device: &mut Device, text: &str) -> Tell {
    let body = receive(text).unwrap().remove(0).body.unwrap();
    let told = device.take(&body, FIRST, &mut 0).unwrap();
    told.max(device.settle_clock())
}

fn connect(device: &mut Device, stream: u128, sensors: Value) {
    let connect = json!({"type": "connect", "device": "d", "stream": Uuid::from_u128(stream), "sensors": sensors});
    device.connect(serde_json::from_value(connect).unwrap()).unwrap();
}

fn as_json(device: &Device) -> Value {
    serde_json::to_value(device).unwrap()
}

fn alarm(state: &str) -> String {
    format!(
        r#"{{"type":"alarm","alarm":"warm","sensor":"a","condition":"above","state":"{state}","severity":"critical","time":"2026-01-01T00:00:00.000Z"}}"#
    )
}

#[test]
fn a_new_stream_ends_the_alarms_of_the_one_before() {
    let (mut device, _) = device(&[&alarm("active")]);
    device.follow(FIRST).unwrap();
    assert!(device.alarms.iter().all(|alarm| alarm.is_active()), "only a connection was lost");
    device.follow(Some(Uuid::from_u128(2))).unwrap();
    assert!(!device.alarms.iter().any(|alarm| alarm.is_active()));
}

#[test]
fn history_is_bounded_a_sensor_and_in_all() {
    let mut device = Device::new("d".to_owned());
    let mut entries = 0;
    let fault = |sensor: &str| {
        Body::Event(Event::Fault {
            sensor: sensor.into(),
            time: "2026-01-01T00:00:00.000Z".into(),
            reason: "stale".into(),
            clock: None,
        })
    };
    for _ in 0..RECENT + 10 {
        device.take(&fault("a"), None, &mut entries).unwrap();
    }
    assert_eq!((device.sensors[0].recent.len(), entries), (RECENT, RECENT));
    entries = HISTORY;
    device.take(&fault("a"), None, &mut entries).unwrap();
    device.take(&fault("b"), None, &mut entries).unwrap();
    assert_eq!(
        (device.sensors[0].recent.len(), device.sensors[1].recent.len(), entries),
        (RECENT, 0, HISTORY)
    );
}

#[test]
fn a_sensors_quantity_and_unit_come_from_connect_or_from_its_first_reading() {
    let (mut device, _) = device(&[
        r#"{"type":"fault","sensor":"a","time":"2026-01-01T00:00:00Z","reason":"stale"}"#,
        r#"{"type":"fault","sensor":"b","time":"2026-01-01T00:00:00Z","reason":"stale"}"#,
    ]);
    let of = |device: &Device, sensor: usize| {
        let json = as_json(device)["sensors"][sensor].clone();
        (json["quantity"].as_str().map(str::to_owned), json["unit"].as_str().unwrap().to_owned())
    };
    assert_eq!(of(&device, 0), (None, String::new()));
    take(&mut device, r#"{"type":"humidity","sensor":"a","value":50,"unit":"percent"}"#);
    take(&mut device, r#"{"type":"temperature","sensor":"b","value":50}"#);
    take(&mut device, r#"{"type":"pressure","sensor":"c","value":1013,"unit":"bar"}"#);
    take(&mut device, r#"{"type":"pressure","sensor":"c","value":1013,"unit":"hectopascal"}"#);
    assert_eq!(of(&device, 0), (Some("humidity".to_owned()), "percent".to_owned()));
    assert_eq!(of(&device, 1), (None, "celsius".to_owned()));
    assert_eq!(of(&device, 2), (Some("pressure".to_owned()), "bar".to_owned()));
    connect(
        &mut device,
        1,
        json!([
            {"sensor": "a"},
            {"sensor": "b", "quantity": "voltage", "unit": "volt"},
            {"sensor": "c", "quantity": "colour", "unit": "red"},
        ]),
    );
    assert_eq!(of(&device, 0), (None, "celsius".to_owned()));
    assert_eq!(of(&device, 1), (Some("voltage".to_owned()), "volt".to_owned()));
    assert_eq!(of(&device, 2), (None, "red".to_owned()));
}

#[test]
fn a_doubt_stays_with_its_reading() {
    let (device, _) = device(&[
        r#"{"type":"temperature","sensor":"a","value":85,"quality":"uncertain","doubt":"power-on-value"}"#,
        r#"{"type":"temperature","sensor":"a","value":20}"#,
    ]);
    let recent = &as_json(&device)["sensors"][0]["recent"];
    assert_eq!(recent[0]["doubt"], "power-on-value");
    assert_eq!(recent[1].get("doubt"), None);
}

#[test]
fn found_sensors_are_kept_until_they_are_gone_or_taken_in() {
    let sensor = |id: &str, state: &str| {
        format!(
            r#"{{"type":"sensor","id":"{id}","state":"{state}","time":"2026-01-01T00:00:00.000Z"}}"#
        )
    };
    let [a, b, c] = ["28-a", "28-b", "28-c"].map(|id| sensor(id, "found"));
    let (mut device, tell) = device(&[&a, &b, &a, &c, &sensor("28-b", "gone")]);
    assert_eq!(tell, [Tell::Device; 5]);
    let found = |device: &Device| as_json(&device.without_recent())["found"].clone();
    let since = "2026-01-01T00:00:00.000Z";
    let [a, c] = ["28-a", "28-c"].map(|id| json!({"id": id, "since": since}));
    assert_eq!(found(&device), json!([a, c]));
    connect(&mut device, 1, json!([{"sensor": "new", "id": "28-a", "unit": "celsius"}]));
    assert_eq!(found(&device), json!([c]));
    connect(&mut device, 2, json!([]));
    assert_eq!(found(&device), json!([]));
    for ghost in 0..FOUND + 5 {
        take(&mut device, &sensor(&format!("28-{ghost}"), "found"));
    }
    assert_eq!(device.found.len(), FOUND);
    assert_eq!(&*device.found[0].id, "28-5");
}

/// The times of a sensor's entries and whether they are marked, in their order.
fn entries(device: &Device) -> Vec<(String, bool)> {
    let json = as_json(device);
    let recent = json["sensors"][0]["recent"].as_array().unwrap();
    recent
        .iter()
        .map(|entry| {
            (entry["time"].as_str().unwrap()[11..19].to_owned(), entry.get("clock").is_some())
        })
        .collect()
}

#[test]
fn when_the_clock_is_set_what_was_taken_before_is_put_right() {
    let reading = |time: &str, clock: &str| {
        format!(
            r#"{{"type":"temperature","sensor":"a","time":"2026-01-01T{time}Z","value":1,"quality":"good"{clock}}}"#
        )
    };
    let unset = r#","clock":"unsynchronized""#;
    let clock = |step: f64, synchronized: bool| {
        format!(
            r#"{{"type":"clock","time":"2026-01-01T12:00:00Z","synchronized":{synchronized},"step_secs":{step}}}"#
        )
    };
    let marked_alarm = alarm("active").replace('}', &format!("{unset}}}"));
    let (mut device, tell) = device(&[
        &reading("10:00:00", ""),
        &reading("00:00:01", unset),
        &marked_alarm,
        r#"{"type":"sensor","id":"28-a","state":"found","time":"2026-01-01T00:00:02Z","clock":"unsynchronized"}"#,
        &reading("00:00:03", unset),
    ]);
    assert_eq!(tell, [Tell::Message, Tell::Message, Tell::Message, Tell::Device, Tell::Message]);
    assert_eq!(as_json(&device)["clock"], "unsynchronized");
    // Set, but not by a time server yet: shifted, and still marked.
    assert_eq!(take(&mut device, &clock(36_000.0, false)), Tell::Everything);
    let all = |rows: &[(&str, bool)]| -> Vec<(String, bool)> {
        rows.iter().map(|(time, marked)| ((*time).to_owned(), *marked)).collect()
    };
    assert_eq!(
        entries(&device),
        all(&[("10:00:00", false), ("10:00:01", true), ("10:00:03", true)])
    );
    // A step back puts them before the one that was right all along; the order is that of time.
    assert_eq!(take(&mut device, &clock(-1.5, true)), Tell::Everything);
    assert_eq!(
        entries(&device),
        all(&[("09:59:59", false), ("10:00:00", false), ("10:00:01", false)])
    );
    let json = as_json(&device);
    assert_eq!(json.get("clock"), None);
    assert_eq!(json["alarms"][0]["since"], "2026-01-01T09:59:58.500Z");
    assert_eq!(json["alarms"][0]["time"], "2026-01-01T09:59:58.500Z");
    assert_eq!(json["alarms"][0].get("clock"), None);
    assert_eq!(json["found"][0]["since"], "2026-01-01T10:00:00.500Z");
    // What is right stays as it is.
    assert_eq!(take(&mut device, &clock(3_600.0, true)), Tell::Device);
    assert_eq!(entries(&device).len(), 3);
    assert_eq!(entries(&device)[0].0, "09:59:59");
}

#[test]
fn a_process_that_is_gone_does_not_say_any_more_how_its_clock_stood() {
    let (mut device, _) = device(&[
        r#"{"type":"temperature","sensor":"a","time":"2026-01-01T00:00:01Z","value":1,"clock":"unsynchronized"}"#,
    ]);
    connect(&mut device, 2, json!([]));
    assert_eq!(as_json(&device).get("clock"), None);
    let clock =
        r#"{"type":"clock","time":"2026-01-01T12:00:00Z","synchronized":true,"step_secs":60}"#;
    assert_eq!(take(&mut device, clock), Tell::Device);
    assert_eq!(entries(&device), [("00:00:01".to_owned(), true)]);
}

#[test]
fn a_sensor_that_was_found_is_put_right_though_nothing_was_told_before() {
    let (mut device, _) = device(&[
        r#"{"type":"sensor","id":"28-a","state":"found","time":"2026-01-01T00:00:00Z","clock":"unsynchronized"}"#,
    ]);
    assert_eq!(as_json(&device)["clock"], "unsynchronized");
    let clock =
        r#"{"type":"clock","time":"2026-01-01T12:00:00Z","synchronized":true,"step_secs":60}"#;
    assert_eq!(take(&mut device, clock), Tell::Everything);
    assert_eq!(as_json(&device)["found"][0]["since"], "2026-01-01T00:01:00.000Z");
}

#[test]
fn an_absurd_step_of_a_clock_breaks_nothing() {
    for (step, expected) in [
        ("1e308", "2226-01-03T12:00:00.000Z"),
        ("1e18", "2226-01-03T12:00:00.000Z"),
        ("-1e308", "1970-01-01T00:00:00.000Z"),
    ] {
        let (mut device, _) = device(&[
            r#"{"type":"temperature","sensor":"a","time":"2026-01-01T12:00:00Z","value":1,"clock":"unsynchronized"}"#,
        ]);
        for synchronized in [false, true] {
            let clock = format!(
                r#"{{"type":"clock","time":"2026-01-01T12:00:00Z","synchronized":{synchronized},"step_secs":{step}}}"#
            );
            assert_eq!(take(&mut device, &clock), Tell::Everything);
            let time = &as_json(&device)["sensors"][0]["recent"][0]["time"];
            if !synchronized {
                assert_eq!(time, expected, "{step}");
            }
        }
    }
}
