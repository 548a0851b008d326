//! What becomes of a device's messages.

use super::*;
use crate::hub::history::{HISTORY, RECENT};
use crate::hub::receive::{Texts, receive};
use serde_json::{Value, json};
use uuid::Uuid;

const FIRST: Option<Uuid> = Some(Uuid::from_u128(1));

/// A device with the messages of some texts, and what pages had to be told of each.
fn device(texts: &[&str]) -> (Device, Vec<Tell>) {
    let mut device = Device::new("d".to_owned(), 0);
    device.follow(FIRST, None).unwrap();
    let tell = texts.iter().map(|text| take(&mut device, text)).collect();
    (device, tell)
}

/// A frame of one message. One without a number gets the next.
fn take(device: &mut Device, text: &str) -> Tell {
    take_of(device, FIRST, text)
}

fn take_of(device: &mut Device, stream: Option<Uuid>, text: &str) -> Tell {
    let mut message = receive(text, Texts::Needed).unwrap().remove(0);
    let number = device.streams.number(stream);
    let last = if device.newest.stream == number { device.newest.at } else { 0 };
    message.seq = message.seq.or(Some(last + 1));
    let Some(place) = device.number(stream, message.seq, 1).unwrap() else { return Tell::Message };
    let taken = device.take(&message, stream, place, &mut 0).unwrap();
    taken.tell.max(device.settle(stream))
}

fn connect(device: &mut Device, stream: u128, sensors: Value) {
    let connect = json!({"type": "connect", "device": "d", "stream": Uuid::from_u128(stream), "sensors": sensors});
    device.connect(serde_json::from_value(connect).unwrap()).unwrap();
}

fn as_json(device: &Device) -> Value {
    serde_json::to_value(device).unwrap()
}

const READING: &str = r#"{"type":"temperature","sensor":"a","time":"2026-01-01T00:01:00.000Z","value":1,"quality":"good"}"#;

fn alarm(state: &str) -> String {
    format!(
        r#"{{"type":"alarm","alarm":"warm","sensor":"a","condition":"above","state":"{state}","severity":"critical","time":"2026-01-01T00:00:00.000Z"}}"#
    )
}

#[test]
fn a_new_stream_ends_the_alarms_of_the_one_before() {
    let (mut device, _) = device(&[&alarm("active")]);
    device.follow(FIRST, None).unwrap();
    take(&mut device, READING);
    assert!(device.alarms.iter().all(|alarm| alarm.is_active()), "only a connection was lost");
    let second = Some(Uuid::from_u128(2));
    device.follow(second, None).unwrap();
    take_of(&mut device, second, READING);
    assert!(!device.alarms.iter().any(|alarm| alarm.is_active()));
}

#[test]
fn history_is_bounded_a_sensor_and_in_all() {
    let mut device = Device::new("d".to_owned(), 0);
    let (mut entries, mut at) = (0, 0);
    let mut fault = |device: &mut Device, sensor: &str, entries: &mut usize| {
        let text = format!(
            r#"{{"type":"fault","sensor":"{sensor}","time":"2026-01-01T00:00:00.000Z","reason":"stale"}}"#
        );
        at += 1;
        let place = Place { stream: 0, at };
        device.take(&receive(&text, Texts::Needed).unwrap()[0], None, place, entries).unwrap();
    };
    for _ in 0..RECENT + 10 {
        fault(&mut device, "a", &mut entries);
    }
    assert_eq!((device.sensors[0].recent.len(), entries), (RECENT, RECENT));
    entries = HISTORY;
    fault(&mut device, "a", &mut entries);
    fault(&mut device, "b", &mut entries);
    assert_eq!(
        (device.sensors[0].recent.len(), device.sensors[1].recent.len(), entries),
        (RECENT, 1, HISTORY + 1),
        "the newest of each sensor is shown"
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
        take_of(&mut device, Some(Uuid::from_u128(2)), &sensor(&format!("28-{ghost}"), "found"));
    }
    let left = found(&device);
    assert_eq!((left.as_array().unwrap().len(), &left[0]["id"]), (FOUND, &json!("28-5")));
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
    assert_eq!(take_of(&mut device, Some(Uuid::from_u128(2)), clock), Tell::Device);
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

/// Everything that may come late comes in any order, and ends as it does in order.
#[test]
fn the_order_of_arrival_changes_nothing() {
    let unset = r#""clock":"unsynchronized""#;
    let texts = [
        format!(r#"{{"type":"start","seq":1,"time":"2026-01-01T00:00:00Z","version":"1",{unset}}}"#),
        format!(r#"{{"type":"temperature","seq":2,"sensor":"a","time":"2026-01-01T00:00:01Z","value":1,{unset}}}"#),
        format!(r#"{{"type":"alarm","seq":3,"alarm":"warm","sensor":"a","state":"active","severity":"info","time":"2026-01-01T00:00:02Z",{unset}}}"#),
        r#"{"type":"clock","seq":4,"time":"2026-01-01T00:00:00Z","synchronized":false,"step_secs":60}"#.to_owned(),
        format!(r#"{{"type":"temperature","seq":5,"sensor":"a","time":"2026-01-01T00:01:03Z","value":2,{unset}}}"#),
        format!(r#"{{"type":"sensor","seq":6,"id":"28-a","state":"found","time":"2026-01-01T00:01:04Z",{unset}}}"#),
        r#"{"type":"clock","seq":7,"time":"2026-01-01T12:00:00Z","synchronized":true,"step_secs":3600}"#.to_owned(),
        r#"{"type":"temperature","seq":8,"sensor":"a","time":"2026-01-01T01:01:05Z","value":3}"#.to_owned(),
        r#"{"type":"start","seq":9,"time":"2026-01-01T02:00:00Z","version":"2"}"#.to_owned(),
        r#"{"type":"alarm","seq":10,"alarm":"warm","sensor":"a","state":"active","severity":"info","time":"2026-01-01T00:00:02Z"}"#.to_owned(),
        format!(r#"{{"type":"temperature","seq":11,"sensor":"a","time":"2026-01-01T02:00:01Z","value":4,{unset}}}"#),
        r#"{"type":"health","seq":12,"time":"2026-01-01T02:00:02Z","uptime_secs":1,"queued":7,"dropped":0,"missed_cycles":0,"plugin_traps":0}"#.to_owned(),
        r#"{"type":"clock","seq":13,"time":"2026-01-01T03:00:00Z","synchronized":true,"step_secs":60}"#.to_owned(),
    ];
    let run = |order: &[usize]| {
        let mut device = Device::new("d".to_owned(), 0);
        device.follow(FIRST, Some(1)).unwrap();
        for position in order {
            take(&mut device, &texts[*position]);
            take(&mut device, &texts[*position]);
        }
        assert_eq!(device.counts.repeated, texts.len() as u64);
        let mut json = as_json(&device);
        // An alarm that was never seen active in the first process is so since it was told in the second.
        for time in ["time", "since"] {
            json["alarms"][0].as_object_mut().unwrap().remove(time);
        }
        json
    };
    let in_order: Vec<usize> = (0..texts.len()).collect();
    let expected = run(&in_order);
    let entries: Vec<&str> = expected["sensors"][0]["recent"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            assert_eq!(entry.get("clock"), None);
            &entry["time"].as_str().unwrap()[11..19]
        })
        .collect();
    assert_eq!(entries, ["01:01:01", "01:01:03", "01:01:05", "02:01:01"]);
    assert_eq!(
        (&expected["alarms"][0]["state"], &expected["behind"]["queued"]),
        (&json!("active"), &json!(7))
    );
    assert_eq!(
        (&expected["version"], &expected["found"], expected.get("clock")),
        (&json!("2"), &json!([]), None)
    );
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..2_000 {
        let mut order = in_order.clone();
        random.shuffle(&mut order);
        assert_eq!(run(&order), expected, "{order:?}");
    }
}

#[test]
fn an_alarm_that_goes_on_over_a_start_is_active_since_it_became_so() {
    let start = r#"{"type":"start","time":"2026-01-01T05:00:00Z","version":"1"}"#;
    let (mut device, _) = device(&[&alarm("active"), READING, start]);
    let shown = |device: &Device| {
        let alarm = as_json(device)["alarms"][0].clone();
        (
            alarm["state"].as_str().unwrap().to_owned(),
            alarm["since"].as_str().unwrap()[11..16].to_owned(),
        )
    };
    assert_eq!(shown(&device), ("active".to_owned(), "00:00".to_owned()), "it may be told again");
    take(&mut device, &alarm("active").replace("T00", "T04"));
    take(&mut device, READING);
    assert_eq!(shown(&device), ("active".to_owned(), "00:00".to_owned()));
    assert_eq!(take(&mut device, start), Tell::Device);
    assert_eq!(take(&mut device, READING), Tell::Device);
    assert_eq!(shown(&device), ("cleared".to_owned(), "05:00".to_owned()), "it was not told again");
}

#[test]
fn a_device_is_the_same_after_it_was_saved() {
    let unset = r#""clock":"unsynchronized""#;
    let (device, _) = device(&[
        &alarm("active"),
        r#"{"type":"sensor","id":"28-a","state":"found","time":"2026-01-01T00:00:00Z"}"#,
        r#"{"type":"start","time":"2026-01-01T05:00:00Z","version":"1"}"#,
        &format!(
            r#"{{"type":"humidity","sensor":"b","time":"2026-01-01T00:00:01Z","value":1,{unset}}}"#
        ),
        r#"{"type":"clock","time":"2026-01-01T12:00:00Z","synchronized":true,"step_secs":60}"#,
        r#"{"type":"dropped","from":1,"to":3,"reason":"unclean-stop"}"#,
        r#"{"type":"health","time":"2026-01-01T00:00:00Z","uptime_secs":1,"queued":7,"dropped":0,"missed_cycles":0,"plugin_traps":0,"uplinks":[{"uplink":"hub","state":"down","queued":3,"since":"2026-01-01T00:00:00Z"}],"spool":{"on_disk":false,"reason":"disk full"}}"#,
    ]);
    assert_eq!((device.counts.unclean_stops, device.lost), (1, 0));
    let numbers = serde_json::to_string(&SavedNumbers::from(&device)).unwrap();
    let rest = serde_json::to_string(&SavedDevice::from(&device)).unwrap();
    let restored: SavedDevice = serde_json::from_str(&rest).unwrap();
    let mut restored = restored.restored("d".to_owned(), serde_json::from_str(&numbers).unwrap());
    assert_eq!(as_json(&restored), as_json(&device.without_recent()));
    assert_eq!(restored.number(FIRST, Some(3), 1), Ok(None), "it was taken");
}
