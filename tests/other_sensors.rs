//! Sensors that are no thermometers on a 1-Wire bus: from the kernel's files to what a browser and a program receive.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Live, Running, get, pipeline, weir};

const PIPELINE: &str = r#"
[device]
name = "greenhouse"

[[sensor]]
name = "damp"
driver = "iio"
device = "bme280"
channel = "humidityrelative"
interval = "100ms"

[[sensor]]
name = "board"
driver = "hwmon"
device = "cpu_thermal"
channel = "temp1"
interval = "100ms"

[[stage]]
name = "too-damp"
plugin = "alert-limit"
sensors = ["damp"]
config = { above = 85.0 }

[dashboard]
listen = "127.0.0.1:0"
"#;

fn write(root: &Path, file: &str, text: &str) {
    let file = root.join("sys").join(file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

#[test]
fn humidity_and_the_boards_temperature_reach_the_hub() {
    let root = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| write(root.path(), file, text);
    write("class/hwmon/hwmon0/name", "cpu_thermal\n");
    write("class/hwmon/hwmon0/temp1_input", "48312\n");
    let (_folder, file) = pipeline(PIPELINE);
    let mut run = Running::start(weir(&["run", &file, "--root", root.path().to_str().unwrap()]));
    let address = run.dashboard();
    let mut live = Live::open(address);

    let board = live.message(|m| m["sensor"] == "board");
    assert_eq!((&board["type"], &board["value"]), (&json!("temperature"), &json!(48.312)));
    // The BME280 is not there yet, and then it is.
    let fault = live.message(|m| m["sensor"] == "damp");
    assert_eq!((&fault["type"], &fault["reason"]), (&json!("fault"), &json!("not-present")));
    write("bus/iio/devices/iio:device0/in_humidityrelative_input", "61250\n");
    write("bus/iio/devices/iio:device0/name", "bme280\n");
    let damp = live.message(|m| m["sensor"] == "damp" && m["type"] != "fault");
    assert_eq!(
        (&damp["type"], &damp["value"], &damp["unit"], &damp["quality"]),
        (&json!("humidity"), &json!(61.25), &json!("percent"), &json!("good"))
    );
    write("bus/iio/devices/iio:device0/in_humidityrelative_input", "90000\n");
    let alarm = live.message(|m| m["type"] == "alarm");
    assert_eq!((&alarm["state"], &alarm["value"]), (&json!("active"), &json!(90.0)));

    let devices: Value = serde_json::from_str(&get(address, "/api/devices")).unwrap();
    assert_eq!(
        devices[0]["sensors"],
        json!([
            {"sensor": "damp", "id": "iio:bme280/humidityrelative", "quantity": "humidity", "unit": "percent"},
            {"sensor": "board", "id": "hwmon:cpu_thermal/temp1", "unit": "celsius"},
        ])
    );
    run.signal("TERM");
    assert!(run.end().0.success());
}

#[test]
fn a_clock_that_is_set_later_puts_right_what_the_hub_has() {
    use tokio_tungstenite::tungstenite::{Message, connect};
    let mut hub = Running::start(weir(&["hub", "--listen", "127.0.0.1:0"]));
    let address = hub.dashboard();
    let mut live = Live::open(address);
    let (mut socket, _) = connect(format!("ws://{address}/uplink")).unwrap();
    let mut send = |message: Value| socket.send(Message::text(message.to_string())).unwrap();
    send(
        json!({"type": "connect", "device": "d", "stream": "00000000-0000-0000-0000-000000000001"}),
    );
    send(
        json!({"type": "sensor", "seq": 1, "id": "28-a", "state": "found", "time": "2026-01-01T00:00:00Z"}),
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
    assert_eq!(readings, json!([entry]));
    let devices: Value = serde_json::from_str(&get(address, "/api/devices")).unwrap();
    assert_eq!(devices[0]["found"][0]["id"], "28-a");
}
