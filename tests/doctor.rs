//! `weir sensors` on a healthy 1-Wire bus and on sick ones, as the emulated kernel shows them.

use emulated_kernel::{BulkFile, BusId, Chip, EmulatedKernel, Entry, Fail, KernelOptions, Sensor};

use crate::driver::mounted;
use crate::support::{Running, weir};

/// Ids as Maxim gives them.
const IDS: [&str; 3] = ["28-0000052cbc91", "28-0000052cbc92", "28-0000052cbc93"];

struct Patient {
    kernel: EmulatedKernel,
    bus: BusId,
    sensors: Vec<Sensor>,
}

fn patient(options: KernelOptions) -> Option<Patient> {
    let kernel = mounted(options)?;
    let bus = kernel.add_bus();
    let plug = |id: &&str| kernel.plug(bus, id, Chip::genuine(20.5).resolution(9).seed(0));
    let sensors = IDS.iter().map(plug).collect();
    Some(Patient { kernel, bus, sensors })
}

fn sensors(kernel: &EmulatedKernel, more: &[&str]) -> (bool, String) {
    let root = kernel.root().to_str().unwrap();
    let mut arguments = vec!["sensors", "--root", root];
    arguments.extend(more);
    let (status, lines) = Running::start(weir(&arguments)).end();
    (status.success(), lines.join("\n"))
}

#[track_caller]
fn check(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
    }
}

#[test]
fn a_healthy_bus_is_told_to_be_well() {
    let Some(Patient { kernel, sensors: chips, .. }) = patient(KernelOptions::default()) else {
        return;
    };
    let (good, text) = sensors(&kernel, &[]);
    check(
        &text,
        &[
            "w1_bus_master1: 3 sensors, measured at once in ",
            "20.5000 °C",
            "9 bit  95 ms  own power",
            "All is well.",
        ],
    );
    assert!(good && !text.contains("problem"), "{text}");
    let (_, text) = sensors(&kernel, &["--measure", "--id", IDS[0]]);
    check(&text, &["ms measured"]);
    assert!(!text.contains(IDS[1]), "{text}");
    // What was measured with is as before.
    let conv_time = kernel.w1_root().join(IDS[0]).join("conv_time");
    assert_eq!(std::fs::read_to_string(&conv_time).unwrap(), "95\n");
    // Also a time that is the kernel's own at another resolution.
    std::fs::write(&conv_time, "750\n").unwrap();
    check(&sensors(&kernel, &["--measure", "--id", IDS[0]]).1, &["ms measured"]);
    assert_eq!(std::fs::read_to_string(&conv_time).unwrap(), "750\n");
    kernel.put("sys/class/hwmon/hwmon0/name", "cpu_thermal\n");
    kernel.put("sys/class/hwmon/hwmon0/temp1_input", "48312\n");
    let (_, text) = sensors(&kernel, &["--toml"]);
    assert_eq!(text.matches("driver = \"ds18b20\"").count(), 3, "{text}");
    check(&text, &["driver = \"hwmon\"\ndevice = \"cpu_thermal\"\nchannel = \"temp1\""]);
    check(&sensors(&kernel, &[]).1, &["hwmon:cpu_thermal/temp1", "48.312 celsius"]);
    let (_, json) = sensors(&kernel, &["--json"]);
    assert_eq!(json.lines().count(), 4, "{json}");
    check(&json, &[r#""sensor":"hwmon:cpu_thermal/temp1""#, r#""value":48.312"#]);
    assert_eq!(chips.iter().map(Sensor::eeprom_writes).sum::<u64>(), 0);
}

#[test]
fn each_ill_of_the_system_is_told_with_its_remedy() {
    let Some(Patient { kernel, .. }) = patient(KernelOptions::default()) else { return };
    kernel.set_therm_loaded(false);
    let (_, text) = sensors(&kernel, &[]);
    check(&text, &["w1_therm is not loaded", "sudo modprobe w1-therm"]);
    kernel.set_therm_loaded(true);

    kernel.set_all_writable(false);
    let (_, text) = sensors(&kernel, &[]);
    check(
        &text,
        &["one after the other in", "only root may", "99-weir.rules", "SUBSYSTEM==\"w1\""],
    );
    kernel.set_all_writable(true);

    for id in IDS {
        kernel.unplug(id);
    }
    let (good, text) = sensors(&kernel, &[]);
    check(&text, &["w1_bus_master1: 0 sensors", "no sensor answers", "data to GPIO 4", "4.7 kΩ"]);
    assert!(good);

    kernel.remove("sys/bus/w1");
    kernel.remove("sys/module/w1_gpio");
    let (good, text) = sensors(&kernel, &[]);
    check(&text, &["config.txt has the line", "sudo modprobe w1-gpio", "cannot list"]);
    assert!(!good);
    kernel.put("boot/firmware/config.txt", "dtparam=audio=on\n");
    let (_, text) = sensors(&kernel, &[]);
    check(&text, &["has no line for one", "Add the line `dtoverlay=w1-gpio`"]);
    kernel.put("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0");
    let (_, text) = sensors(&kernel, &[]);
    check(&text, &["This is a Raspberry Pi 5"]);
}

#[test]
fn each_ill_of_the_wiring_is_told_with_its_remedy() {
    let Some(Patient { kernel, bus, sensors: chips }) = patient(KernelOptions::default()) else {
        return;
    };
    let [first, second, third] = &chips[..] else { panic!() };
    first.script(vec![Fail::Crc; 3]);
    second.script(vec![Fail::AllZero; 3]);
    third.script([Fail::Crc]);
    let (good, text) = sensors(&kernel, &[]);
    check(
        &text,
        &[
            "problem: 28-0000052cbc91: fault no-answer.",
            "its plug, its cable and the resistor",
            "problem: 28-0000052cbc92: fault all-zero.",
            "short between data and GND",
            "28-0000052cbc93: 1 of 2 reads failed (50 %).",
        ],
    );
    assert!(good);

    first.script(vec![Fail::InsufficientPower; 3]);
    second.set_parasite(true);
    kernel.plug(bus, "28-0316a2794dff", Chip::clone_with_constant_0c(20.5));
    kernel.put("sys/bus/w1/devices/README", Entry::Folder);
    let (_, text) = sensors(&kernel, &[]);
    check(
        &text,
        &[
            "fault insufficient-power",
            "Connect VDD",
            "28-0000052cbc92: power comes from the data line",
            "28-0316a2794dff: a copy of the DS18B20: the bytes",
            "ice water",
        ],
    );

    kernel.add_ghost(bus, "00-400000000000");
    let (_, text) = sensors(&kernel, &[]);
    check(&text, &["ids that no chip has: 00-400000000000", "4.7 kΩ between data and 3.3 V"]);
}

#[test]
fn the_share_of_failed_reads_is_counted() {
    let Some(Patient { kernel, sensors: chips, .. }) = patient(KernelOptions::default()) else {
        return;
    };
    chips[0].script([Fail::Nothing, Fail::Crc, Fail::Nothing, Fail::Nothing, Fail::Crc]);
    let (_, text) = sensors(&kernel, &["--reads", "20"]);
    check(&text, &["28-0000052cbc91: 2 of 22 reads failed (9 %)."]);
}

#[test]
fn the_watch_table_follows_sensors_that_come_and_go() {
    let Some(Patient { kernel, .. }) = patient(KernelOptions::default()) else { return };
    let root = kernel.root().to_str().unwrap();
    let mut watch = Running::start(weir(&[
        "sensors",
        "--root",
        root,
        "--watch",
        "--interval",
        "200ms",
        "--reads",
        "1000",
    ]));
    let line = watch.line(IDS[2]);
    check(&line, &["w1_bus_master1", " 9 own ", "0 (0 %)", "20.5000 °C"]);
    kernel.unplug(IDS[2]);
    watch.line("gone; 20.5000 °C");
    let line = watch.line(IDS[1]);
    assert!(!line.contains("gone"), "{line}");
    kernel.plug(kernel.add_bus(), "28-0000052cbc99", Chip::genuine(-3.5).resolution(9).seed(0));
    check(&watch.line("28-0000052cbc99"), &["w1_bus_master2", "-3.5000 °C"]);
}

#[test]
fn settings_are_saved_to_the_eeprom_when_asked_for_and_only_then() {
    let options = KernelOptions { bulk_file: BulkFile::Never, ..KernelOptions::default() };
    let Some(Patient { kernel, sensors: chips, .. }) = patient(options) else { return };
    let (good, text) = sensors(&kernel, &["--id", IDS[0], "--resolution", "10"]);
    check(&text, &["10 bit"]);
    assert!(good && chips[0].eeprom_writes() == 0);
    let (good, text) = sensors(&kernel, &["--id", IDS[0], "--save-to-eeprom"]);
    assert!(good && chips[0].eeprom_writes() == 1, "{text}");
    chips[0].power_cycle();
    let (_, text) = sensors(&kernel, &["--id", IDS[0]]);
    check(&text, &["10 bit"]);
    let (good, text) = sensors(&kernel, &["--id", "28-000000000001", "--resolution", "10"]);
    assert!(
        !good && text.contains("there is no sensor 28-000000000001; there are: 28-0000052cbc91"),
        "{text}"
    );
    let (good, text) = sensors(&kernel, &["--resolution", "10"]);
    assert!(!good && text.contains("--id"), "{text}");
}

#[test]
fn a_bus_that_hangs_is_told_and_does_not_hang_the_doctor() {
    let Some(Patient { kernel, bus, .. }) = patient(KernelOptions::default()) else { return };
    let held = kernel.hold_bus(bus);
    let (good, text) = sensors(&kernel, &[]);
    check(&text, &["28-0000052cbc91  fault: timeout", "does not give its bus back"]);
    assert!(good && held.is_some());
}
