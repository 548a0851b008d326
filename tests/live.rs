//! From an emulated 1-Wire tree with real scratchpads through three plugins to what a browser receives.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Live, Running, W1Tree, get, http, pipeline, weir};

const FREEZER: &str = "28-0316a2794dff";
const ROOM: &str = "28-0000052cbc93";

const PIPELINE: &str = r#"
[device]
name = "cold-room"

[[sensor]]
name = "freezer"
driver = "ds18b20"
id = "28-0316a2794dff"
interval = "100ms"

[[sensor]]
name = "room"
driver = "ds18b20"
id = "28-0000052cbc93"
interval = "100ms"

[[stage]]
name = "despike"
plugin = "filter-median"
[stage.config]
window = 3

[[stage]]
name = "calibrate"
plugin = "calibrate-linear"
[stage.config.sensor.freezer]
low = { measured = -20.5, reference = -20.0 }
high = { measured = 20.5, reference = 20.0 }
[stage.config.sensor.room]
offset = -0.5

[[stage]]
name = "too-warm"
plugin = "alert-limit"
sensors = ["freezer"]
[stage.config]
above = -10.0
deadband = 2.0
on_delay = "300ms"
severity = "critical"

[[output]]
gpio = 17
alarm = "too-warm"
simulate = true

[[output]]
gpio = 27
status = true
simulate = true

[dashboard]
listen = "127.0.0.1:0"
"#;

fn is(message: &Value, kind: &str, sensor: &str) -> bool {
    message["type"] == kind && message["sensor"] == sensor
}

#[test]
fn a_thermometer_is_seen_in_a_browser_through_three_plugins() {
    let tree = W1Tree::new();
    tree.measure(FREEZER, -20.5);
    tree.measure(ROOM, 21.0);
    let (_folder, file) = pipeline(PIPELINE);
    let mut run = Running::start(weir(&["run", &file, "--w1-root", tree.path()]));
    let address = run.dashboard();
    let mut live = Live::open(address);

    let reading = live.message(|m| is(m, "temperature", "freezer"));
    assert_eq!((&reading["value"], &reading["quality"]), (&json!(-20.0), &json!("good")));
    let reading = live.message(|m| is(m, "temperature", "room"));
    assert_eq!(reading["value"], 20.5);

    // A lone spike does not come through; a warm freezer does, and raises the alarm.
    tree.measure(FREEZER, 20.5);
    let alarm = live.message(|m| m["type"] == "alarm");
    assert_eq!(
        (
            &alarm["alarm"],
            &alarm["sensor"],
            &alarm["condition"],
            &alarm["state"],
            &alarm["severity"],
            &alarm["limit"]
        ),
        (
            &json!("too-warm"),
            &json!("freezer"),
            &json!("above"),
            &json!("active"),
            &json!("critical"),
            &json!(-10.0)
        )
    );
    assert_eq!(alarm["value"], 20.0);
    run.line("The simulated pin was switched. gpio=17 on=true");
    tree.measure(FREEZER, -20.5);
    assert_eq!(live.message(|m| m["type"] == "alarm")["state"], "cleared");
    run.line("The simulated pin was switched. gpio=17 on=false");

    // Faults come with their reasons, and the other sensor goes on.
    tree.answer(ROOM, "");
    assert_eq!(live.message(|m| is(m, "fault", "room"))["reason"], "no-answer");
    tree.answer(ROOM, "ff ff ff ff ff ff ff ff ff : crc=c9 NO\nff ff ff ff ff ff ff ff ff t=-62\n");
    live.message(|m| is(m, "fault", "room") && m["reason"] == "crc-mismatch");
    tree.remove(ROOM);
    live.message(|m| is(m, "fault", "room") && m["reason"] == "not-present");
    live.message(|m| is(m, "temperature", "freezer"));

    // What programs ask for.
    let devices: Value = serde_json::from_str(&get(address, "/api/devices")).unwrap();
    assert_eq!(devices[0]["device"], "cold-room");
    assert_eq!(devices[0]["connected"], true);
    assert_eq!(
        devices[0]["sensors"][0],
        json!({"sensor": "freezer", "id": FREEZER, "unit": "celsius"})
    );
    let alarms: Value = serde_json::from_str(&get(address, "/api/alarms")).unwrap();
    assert_eq!((&alarms[0]["alarm"], &alarms[0]["state"]), (&json!("too-warm"), &json!("cleared")));
    let readings =
        get(address, "/api/readings?device=cold-room&sensor=freezer&from=2020-01-01T00:00:00Z");
    let readings: Value = serde_json::from_str(&readings).unwrap();
    assert!(readings.as_array().unwrap().len() > 5, "{readings}");
    assert_eq!(
        get(address, "/api/readings?device=cold-room&sensor=freezer&to=2020-01-01T00:00:00Z"),
        "[]"
    );
    assert!(
        http(address, "HTTP/1.0", "GET /api/readings?device=x&sensor=y", "")
            .0
            .starts_with("HTTP/1.0 404")
    );
    assert!(
        http(address, "HTTP/1.0", "GET /api/readings?device=x&sensor=y&from=z", "")
            .0
            .starts_with("HTTP/1.0 400")
    );
    assert_eq!(get(address, "/healthz"), "ok\n");
    assert!(get(address, "/metrics").contains("weir_device_connected{device=\"cold-room\"} 1\n"));

    // Ctrl-C: within two seconds, every reading accounted for in the last line.
    let begun = Instant::now();
    run.signal("INT");
    let (status, lines) = run.end();
    let took = begun.elapsed();
    assert!(status.success());
    assert!(took < Duration::from_secs(2), "{took:?}");
    let last = lines.last().unwrap();
    assert!(last.contains("Stopped:"), "{last}");
    let count = |name: &str| -> u64 {
        let (_, rest) =
            last.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("no {name} in {last}"));
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    assert!(count("taken") > 20);
    assert_eq!(count("not_passed"), 0, "{last}");
    assert_eq!(count("not_delivered"), 0, "{last}");
}

#[test]
fn a_pin_that_is_not_there_is_refused_before_the_start() {
    if std::path::Path::new("/dev/gpiochip0").exists() {
        eprintln!("SKIPPED: this machine has GPIO");
        return;
    }
    let (_folder, file) = pipeline(&PIPELINE.replace("simulate = true", "simulate = false"));
    let (status, lines) = Running::start(weir(&["run", &file, "--w1-root", "/nowhere"])).end();
    assert_eq!(status.code(), Some(1));
    assert_eq!(lines.len(), 2, "one line a pin: {lines:?}");
    assert!(lines[0].starts_with("cannot use GPIO 17: is this a Raspberry Pi"), "{lines:?}");
    assert!(lines[0].contains("`simulate = true`"), "{lines:?}");
}

#[test]
fn the_demo_shows_sensors_a_fault_and_an_alarm_within_a_minute() {
    let mut demo = Running::start(weir(&["demo", "--listen", "127.0.0.1:0"]));
    let mut live = Live::open(demo.dashboard());
    for sensor in ["freezer", "boiler", "room"] {
        live.message(|m| is(m, "temperature", sensor));
    }
    live.message(|m| m["type"] == "fault");
    live.message(|m| m["type"] == "alarm" && m["state"] == "active");
    demo.signal("TERM");
    assert!(demo.end().0.success());
}

#[test]
fn a_recording_is_played_into_a_running_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("r.csv"),
        "timestamp,sensor,celsius\n2026-01-01T00:00:00Z,T0,1.5\n2026-01-01T00:00:00Z,T1,9\n2026-01-01T01:00:00Z,T0,-273.2\n",
    )
    .unwrap();
    let file = folder.path().join("p.toml");
    std::fs::write(
        &file,
        "[device]\nname = \"d\"\n[[sensor]]\nname = \"a\"\ndriver = \"replay\"\nfile = \"r.csv\"\ncolumn = \"T0\"\n\
         speed = 36000\n[dashboard]\nlisten = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let mut run = Running::start(weir(&["run", file]));
    let address = run.dashboard();
    // Whatever is seen first, the snapshot or a change, the entries are there after a few of them.
    let mut live = Live::open(address);
    let entries = loop {
        live.next();
        let (head, mut reader) =
            http(address, "HTTP/1.0", "GET /api/readings?device=d&sensor=a", "");
        let mut body = String::new();
        reader.read_to_string(&mut body).unwrap();
        let entries: Value = serde_json::from_str(&body).unwrap_or_default();
        if head.contains("200 OK") && entries.as_array().is_some_and(|entries| entries.len() == 2) {
            break entries;
        }
    };
    assert_eq!((&entries[0]["value"], &entries[1]["fault"]), (&json!(1.5), &json!("out-of-range")));
    // With a name that it does not have, and without the file, it is refused before the start.
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replace("T0", "T7")).unwrap();
    let (status, lines) = Running::start(weir(&["run", file])).end();
    assert_eq!(status.code(), Some(1));
    assert!(lines.last().unwrap().contains("has no sensor `T7` (it has: T0, T1)"), "{lines:?}");
}

#[test]
fn a_run_goes_on_when_nobody_reads_its_log_any_more() {
    use std::io::BufRead as _;
    let (_folder, file) = pipeline(&PIPELINE.replace("\"5s\"", "\"100ms\""));
    let mut run = weir(&["run", &file, "--w1-root", "/nowhere", "--duration", "2s"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let log = std::io::BufReader::new(run.stderr.take().unwrap());
    let is_running = |line: std::io::Result<String>| line.unwrap().contains("Running.");
    assert!(log.lines().any(is_running));
    // The pipe is closed now; the next line of log finds nobody.
    assert_eq!(run.wait().unwrap().code(), Some(0));
}
