//! A wall clock that jumps, as on a Raspberry Pi without a battery: delays, order and readings do not jump with it.

use std::path::Path;

use serde_json::{Value, json};

use tokio_tungstenite::tungstenite::{Message, connect};

use crate::support::{Live, Running, get, pipeline, weir};

/// Debian's faketime, which lets the wall clock of one process be set while it runs.
pub fn faketime() -> Option<&'static str> {
    let libraries = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    ];
    let found = libraries.into_iter().find(|library| Path::new(library).exists());
    if found.is_none() {
        eprintln!("SKIPPED: libfaketime is not here (Debian: apt-get install faketime)");
    }
    found
}

const PIPELINE: &str = r#"
[device]
name = "no-battery"

[[sensor]]
name = "room"
driver = "simulated"
interval = "200ms"

[[stage]]
name = "silent"
plugin = "alert-limit"
config = { above = 0.0, on_delay = "1h", on_missing = "10m" }

[dashboard]
listen = "127.0.0.1:0"
"#;

#[test]
fn a_clock_that_is_set_ends_no_delay_and_is_told() {
    let Some(library) = faketime() else { return };
    let (folder, file) = pipeline(PIPELINE);
    let offset = folder.path().join("offset");
    // Sixty days behind, as after a long time without power.
    std::fs::write(&offset, "-60d\n").unwrap();
    let mut command = weir(&["run", &file]);
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let mut run = Running::start(command);
    let address = run.dashboard();
    let mut live = Live::open(address);
    let is_reading = |message: &Value| message["type"] == "temperature";
    let before = live.message(is_reading);

    // A time server is reached. The file is changed in one step.
    std::fs::write(folder.path().join("next"), "+0\n").unwrap();
    std::fs::rename(folder.path().join("next"), &offset).unwrap();
    let clock = live.message(|message| message["type"] == "clock");
    let step = clock["step_secs"].as_f64().unwrap();
    assert!((step - 60.0 * 86_400.0).abs() < 5.0, "{clock}");
    let after = live.message(is_reading);
    let time =
        |message: &Value| humantime::parse_rfc3339(message["time"].as_str().unwrap()).unwrap();
    let now = std::time::SystemTime::now();
    assert!(now.duration_since(time(&after)).unwrap_or_default().as_secs() < 60, "{after}");
    assert!(now.duration_since(time(&before)).unwrap().as_secs() > 59 * 86_400, "{before}");
    assert!(after["seq"].as_u64() > clock["seq"].as_u64());
    assert!(clock["seq"].as_u64() > before["seq"].as_u64());
    let line = run.line("The clock was set.");
    assert!(line.contains("step_secs=518"), "{line}");

    // A message is marked when the system does not say that its clock is right, and only then.
    let is_marked = |message: &Value| match message.get("clock") {
        None => false,
        Some(word) => {
            assert_eq!(word, "unsynchronized", "{message}");
            true
        }
    };
    let is_synchronized = clock["synchronized"].as_bool().unwrap();
    assert_eq!([&before, &after].map(is_marked), [!is_synchronized; 2], "{clock}");
    let devices: Value = serde_json::from_str(&get(address, "/api/devices")).unwrap();
    assert_eq!(is_marked(&devices[0]), !is_synchronized, "{devices}");

    // Two months have not passed: nobody is missing, and it is not too warm for an hour yet.
    live.message(|message| is_reading(message) && message["seq"].as_u64() > after["seq"].as_u64());
    assert_eq!(get(address, "/api/alarms"), "[]");

    // Back again: readings go on at their interval.
    std::fs::write(folder.path().join("next"), "-1d\n").unwrap();
    std::fs::rename(folder.path().join("next"), &offset).unwrap();
    let clock = live.message(|message| message["type"] == "clock");
    assert!((clock["step_secs"].as_f64().unwrap() + 86_400.0).abs() < 5.0, "{clock}");
    live.message(is_reading);
    run.signal("INT");
    let (status, lines) = run.end();
    let last = lines.iter().find(|line| line.contains("Stopped:")).unwrap();
    assert!(status.success() && last.contains("missed_cycles=0"), "{last}");
}

#[test]
fn a_clock_that_is_set_later_puts_right_what_the_hub_has() {
    let mut hub = Running::start(weir(&["hub", "--listen", "127.0.0.1:0"]));
    let address = hub.dashboard();
    let mut live = Live::open(address);
    let (mut socket, _) = connect(format!("ws://{address}/uplink")).unwrap();
    let mut send = |message: Value| socket.send(Message::text(message.to_string())).unwrap();
    send(
        json!({"type": "connect", "device": "d", "stream": "00000000-0000-0000-0000-000000000001"}),
    );
    send(
        json!({"type": "sensor", "seq": 1, "id": "28-a", "state": "found", "time": "2026-01-01T00:00:00Z",
                "clock": "unsynchronized"}),
    );
    send(
        json!({"type": "humidity", "seq": 2, "sensor": "a", "time": "2026-01-01T00:00:01Z", "value": 50,
                "unit": "percent", "clock": "unsynchronized"}),
    );
    send(json!({"type": "clock", "seq": 3, "time": "2026-01-02T00:00:02Z", "synchronized": true,
                "step_secs": 86_400}));
    let mut told = |kind: &str| {
        loop {
            let (next, json) = live.next();
            if next == kind {
                break json;
            }
        }
    };
    // `device` once for the connection, once for the sensor that was found.
    told("device");
    assert_eq!(told("device")["found"][0]["id"], "28-a");
    let renewed = told("renewed");
    let entry = json!({"time": "2026-01-02T00:00:01.000Z", "value": 50.0, "quality": "good"});
    assert_eq!(renewed["sensors"][0]["recent"], json!([entry]));
    assert_eq!(renewed["sensors"][0]["unit"], "percent");
    let readings: Value =
        serde_json::from_str(&get(address, "/api/readings?device=d&sensor=a")).unwrap();
    let mut from = entry;
    from["stream"] = "00000000-0000-0000-0000-000000000001".into();
    from["seq"] = 2.into();
    assert_eq!(readings, json!([from]));
    let devices: Value = serde_json::from_str(&get(address, "/api/devices")).unwrap();
    assert_eq!(devices[0]["found"], json!([{"id": "28-a", "since": "2026-01-02T00:00:00.000Z"}]));
}

#[test]
fn a_clock_that_is_set_again_and_again_is_told_in_bounds_and_at_last() {
    const TIMES: usize = 300;
    let mut hub = Running::start(weir(&["hub", "--listen", "127.0.0.1:0"]));
    let address = hub.dashboard();
    let mut live = Live::open(address);
    let (mut socket, _) = connect(format!("ws://{address}/uplink")).unwrap();
    let mut send = |message: Value| socket.send(Message::text(message.to_string())).unwrap();
    send(json!({"type": "connect", "device": "d"}));
    for value in 0..TIMES {
        send(json!({"type": "temperature", "sensor": "a", "time": "2026-01-01T00:00:00Z",
                "value": value, "clock": "unsynchronized"}));
        send(json!({"type": "clock", "time": "2026-01-02T00:00:00Z", "synchronized": true,
                "step_secs": 86_400}));
    }
    // As the page does it: what is told is added, what is renewed is replaced.
    let mut entries: Vec<Value> = Vec::new();
    let mut renewals = 0;
    let begun = std::time::Instant::now();
    let is_right = |entry: &Value| entry["time"] == "2026-01-02T00:00:00.000Z";
    while entries.len() < TIMES || !entries.iter().all(is_right) {
        let (kind, json) = live.next();
        match kind.as_str() {
            "messages" => {
                let readings = json["messages"].as_array().unwrap().iter();
                entries.extend(readings.filter(|told| told["type"] == "temperature").cloned());
            }
            "renewed" => {
                renewals += 1;
                entries = json["sensors"][0]["recent"].as_array().unwrap().clone();
            }
            // This reader fell behind.
            "snapshot" => {
                let recent = &json["devices"][0]["sensors"][0]["recent"];
                entries = recent.as_array().cloned().unwrap_or_default();
            }
            _ => {}
        }
    }
    let values: Vec<f64> = entries.iter().map(|entry| entry["value"].as_f64().unwrap()).collect();
    assert_eq!(values, (0..TIMES).map(|value| value as f64).collect::<Vec<_>>());
    let most = begun.elapsed().as_secs() + 2;
    assert!(renewals <= most, "{renewals} within {:?}", begun.elapsed());
}
