//! Sensors that the pipeline file does not name one by one, and those that it does not name at all.

use emulated_kernel::{Chip, EmulatedKernel, KernelOptions};

use crate::driver::mounted;
use crate::support::{Live, Running, get, pipeline, weir};

const ALL: &str = r#"
[device]
name = "cellar"

[[sensor]]
driver = "ds18b20"
id = "all"
interval = "500ms"
resolution = 9

[[stage]]
name = "too-warm"
plugin = "alert-limit"
config = { above = 30.0 }

[dashboard]
listen = "127.0.0.1:0"
"#;

fn run(kernel: &EmulatedKernel, text: &str) -> (tempfile::TempDir, Running) {
    let (folder, file) = pipeline(text);
    let root = kernel.root().to_str().unwrap();
    (folder, Running::start(weir(&["run", &file, "--root", root])))
}

#[test]
fn all_sensors_are_taken_in_under_their_ids_and_go_through_the_stages() {
    let Some(kernel) = mounted(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    let plug = |id, celsius| kernel.plug(bus, id, Chip::genuine(celsius).resolution(9).seed(0));
    plug("28-0000052cbc91", 20.5);
    plug("28-0000052cbc92", 40.5);
    let (_folder, mut run) = run(&kernel, ALL);
    let address = run.dashboard();
    let mut live = Live::open(address);
    for (id, value) in [("28-0000052cbc91", 20.5), ("28-0000052cbc92", 40.5)] {
        let reading = live.message(|m| m["type"] == "temperature" && m["sensor"] == id);
        assert_eq!(reading["value"], value);
    }
    assert!(get(address, "/api/devices").contains(r#""id":"28-0000052cbc92""#));
    assert!(get(address, "/api/alarms").contains(r#""sensor":"28-0000052cbc92""#));

    // One that comes later is told, with the table that takes it in.
    plug("28-0000052cbc93", 21.5);
    let found = live.message(|m| m["type"] == "sensor");
    assert_eq!((&found["id"], &found["state"]), (&"28-0000052cbc93".into(), &"found".into()));
    run.line("A thermometer is there that is not in the pipeline.");
    assert_eq!(run.line("name ="), "name = \"28-0000052cbc93\"");
    assert_eq!(run.line("id ="), "id = \"28-0000052cbc93\"");
}

#[test]
fn without_any_sensor_it_does_not_start() {
    let Some(kernel) = mounted(KernelOptions::default()) else { return };
    kernel.add_bus();
    let (_folder, run) = run(&kernel, ALL);
    let (status, lines) = run.end();
    assert_eq!(status.code(), Some(1));
    let text = lines.join("\n");
    assert!(
        text.contains("no thermometer in") && text.contains("`weir sensors` says why"),
        "{text}"
    );
}

#[test]
fn any_takes_the_one_that_is_there_and_tells_its_id() {
    let Some(kernel) = mounted(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    kernel.plug(bus, "28-0000052cbc91", Chip::genuine(20.5).resolution(9).seed(0));
    let text = ALL.replace("id = \"all\"", "name = \"cellar\"\nid = \"any\"");
    let (_folder, mut run) = run(&kernel, &text);
    let address = run.dashboard();
    let mut live = Live::open(address);
    let reading = live.message(|m| m["type"] == "temperature");
    assert_eq!((&reading["sensor"], &reading["value"]), (&"cellar".into(), &20.5.into()));
    assert!(get(address, "/api/devices").contains(r#""id":"28-0000052cbc91""#));
    // Without a chip it is a fault, not silence.
    kernel.unplug("28-0000052cbc91");
    live.message(|m| m["type"] == "fault" && m["reason"] == "not-present");
}
