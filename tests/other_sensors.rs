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
