//! A wall clock that jumps, as on a Raspberry Pi without a battery: delays, order and readings do not jump with it.

use std::path::Path;

use serde_json::Value;

use crate::support::{Live, Running, get, pipeline, weir};

/// Debian's faketime, which lets the wall clock of one process be set while it runs.
fn faketime() -> Option<&'static str> {
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
config = { above = 60.0, on_delay = "1h", on_missing = "10m" }

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

    // Two months have not passed: nobody is missing.
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
