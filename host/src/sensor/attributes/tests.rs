//! Devices in temporary trees.

use super::*;
use crate::reading::Reading;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), files);
    root
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let file = root.join("sys").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
}

fn device(root: &Path, class: Class, name: &str, channel: &str) -> AttributeDevice {
    AttributeDevice::new(root, class, name, vec![(0, class.channel(channel).unwrap())])
}

async fn read(device: &mut AttributeDevice) -> Result<f64, FaultReason> {
    let mut batch = Batch::default();
    device.measure(&[0], &Clock::start(), &mut batch).await;
    assert_eq!(batch.len(), 1);
    match (batch.readings.iter().next(), batch.faults.first()) {
        (Some(Reading { value, .. }), None) => Ok(value),
        (None, Some(fault)) => Err(fault.reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_channels_name_says_what_it_measures() {
    use Quantity::{
        Concentration, Current, Humidity, Illuminance, Power, Pressure, Resistance, Speed,
        Temperature, Voltage,
    };
    for (class, channel, quantity) in [
        (Class::Iio, "temp", Some(Temperature)),
        (Class::Iio, "temp_ambient", Some(Temperature)),
        (Class::Iio, "humidityrelative", Some(Humidity)),
        (Class::Iio, "pressure0", Some(Pressure)),
        (Class::Iio, "illuminance", Some(Illuminance)),
        (Class::Iio, "voltage0", Some(Voltage)),
        (Class::Iio, "voltage0-voltage1", Some(Voltage)),
        (Class::Iio, "current1", Some(Current)),
        (Class::Iio, "power2", Some(Power)),
        (Class::Iio, "resistance", Some(Resistance)),
        (Class::Iio, "concentration_co2", Some(Concentration)),
        (Class::Hwmon, "temp1", Some(Temperature)),
        (Class::Hwmon, "in0", Some(Voltage)),
        (Class::Hwmon, "curr1", Some(Current)),
        (Class::Hwmon, "power1", Some(Power)),
        (Class::Hwmon, "humidity1", Some(Humidity)),
        (Class::Hwmon, "fan1", Some(Speed)),
        (Class::Iio, "", None),
        (Class::Iio, "in_temp_input", None),
        (Class::Iio, "temp_input", None),
        (Class::Iio, "temp_", None),
        (Class::Iio, "accel_x", None),
        (Class::Iio, "voltage-voltage", None),
        (Class::Iio, "voltage0-current1", None),
        (Class::Iio, "temp/../../x", None),
        (Class::Iio, "temp_../x", None),
        (Class::Hwmon, "temp", None),
        (Class::Hwmon, "temp1_input", None),
        (Class::Hwmon, "pwm1", None),
    ] {
        assert_eq!(class.channel(channel).map(|c| c.quantity()), quantity, "{class:?} {channel}");
    }
}

#[tokio::test]
async fn numbers_of_the_kernel_become_values_in_our_units() {
    let iio = "bus/iio/devices/iio:device0";
    let hwmon = "class/hwmon/hwmon0";
    for (class, channel, files, expected) in [
        // A BME280, which gives finished values.
        (Class::Iio, "temp", &[("in_temp_input", "21370\n")][..], Ok(21.37)),
        (Class::Iio, "humidityrelative", &[("in_humidityrelative_input", "48912\n")], Ok(48.912)),
        (Class::Iio, "pressure", &[("in_pressure_input", "101.325480468\n")], Ok(1013.25480468)),
        // An SHT3x or an HTU21: raw numbers, an offset before the scale.
        (
            Class::Iio,
            "temp",
            &[
                ("in_temp_raw", "26214\n"),
                ("in_temp_offset", "-16852\n"),
                ("in_temp_scale", "2.681274"),
            ],
            Ok(25.102087188),
        ),
        // Finished values go first.
        (Class::Iio, "temp", &[("in_temp_raw", "7"), ("in_temp_input", "5000")], Ok(5.0)),
        // An ADS1115: a scale for each input; an MCP3008: one for all.
        (
            Class::Iio,
            "voltage0",
            &[("in_voltage0_raw", "1000"), ("in_voltage0_scale", "3"), ("in_voltage_scale", "9")],
            Ok(3.0),
        ),
        (
            Class::Iio,
            "voltage1",
            &[("in_voltage1_raw", "512"), ("in_voltage_scale", "3.222656250")],
            Ok(1.65),
        ),
        (
            Class::Iio,
            "voltage0-voltage1",
            &[("in_voltage0-voltage1_raw", "-100"), ("in_voltage-voltage_scale", "2")],
            Ok(-0.2),
        ),
        // An SCD30: percent of CO₂.
        (
            Class::Iio,
            "concentration_co2",
            &[("in_concentration_co2_raw", "427"), ("in_concentration_co2_scale", "0.000100000")],
            Ok(427.0),
        ),
        (Class::Iio, "illuminance", &[("in_illuminance_input", "312.5")], Ok(312.5)),
        (Class::Iio, "current3", &[("in_current3_raw", "250"), ("in_current_scale", "2")], Ok(0.5)),
        (Class::Iio, "power0", &[("in_power0_raw", "250"), ("in_power_scale", "20")], Ok(5.0)),
        (Class::Iio, "resistance", &[("in_resistance_raw", "1108")], Ok(1108.0)),
        (Class::Hwmon, "temp1", &[("temp1_input", "-5500\n")], Ok(-5.5)),
        (Class::Hwmon, "in0", &[("in0_input", "4987")], Ok(4.987)),
        (Class::Hwmon, "curr1", &[("curr1_input", "1500")], Ok(1.5)),
        (Class::Hwmon, "power1", &[("power1_input", "7500000")], Ok(7.5)),
        (Class::Hwmon, "humidity1", &[("humidity1_input", "51000")], Ok(51.0)),
        (Class::Hwmon, "fan1", &[("fan1_input", "2150")], Ok(2150.0)),
        (Class::Hwmon, "temp1", &[("temp1_input", "1"), ("temp1_fault", "0")], Ok(0.001)),
        (
            Class::Hwmon,
            "temp1",
            &[("temp1_input", "127000"), ("temp1_fault", "1")],
            Err(FaultReason::NotPresent),
        ),
        (
            Class::Hwmon,
            "temp1",
            &[("temp1_input", "1"), ("temp1_enable", "0")],
            Err(FaultReason::NoAnswer),
        ),
        (Class::Hwmon, "temp1", &[("temp2_input", "1")], Err(FaultReason::NotPresent)),
        (Class::Iio, "temp", &[("in_temp_input", "warm")], Err(FaultReason::IoError)),
        (Class::Iio, "temp", &[("in_temp_input", "\n")], Err(FaultReason::NoAnswer)),
        (Class::Iio, "temp", &[("in_temp_input", "nan")], Err(FaultReason::OutOfRange)),
        (
            Class::Iio,
            "temp",
            &[("in_temp_raw", "1"), ("in_temp_scale", "x")],
            Err(FaultReason::IoError),
        ),
    ] {
        let folder = if class == Class::Iio { iio } else { hwmon };
        let root = tree(&[(&format!("{folder}/name"), "chip\n")]);
        for (file, text) in files {
            write(root.path(), &[(&format!("{folder}/{file}"), text)]);
        }
        let value = read(&mut device(root.path(), class, "chip", channel)).await;
        assert_eq!(value, expected, "{class:?} {channel} {files:?}");
    }
}

#[test]
fn the_kernels_errors_have_reasons() {
    for (number, reason) in [
        (libc::ENOENT, FaultReason::NotPresent),
        (libc::ENODEV, FaultReason::NotPresent),
        (libc::ENXIO, FaultReason::NotPresent),
        (libc::ETIMEDOUT, FaultReason::Timeout),
        (libc::ENODATA, FaultReason::NoAnswer),
        (libc::EIO, FaultReason::IoError),
        (libc::EAGAIN, FaultReason::IoError),
    ] {
        assert_eq!(fault_of(&io::Error::from_raw_os_error(number)), reason, "{number}");
    }
}

#[tokio::test]
async fn a_scale_that_cannot_be_read_is_a_fault_and_not_a_scale_that_is_not_there() {
    let folder = "bus/iio/devices/iio:device0";
    // The kernel answers ENXIO to who opens a socket, and EIO to who reads address 0.
    for file in ["in_temp_scale", "in_temp_offset"] {
        let root = tree(&[
            (&format!("{folder}/name"), "chip\n"),
            (&format!("{folder}/in_temp_raw"), "1000"),
        ]);
        let mut device = device(root.path(), Class::Iio, "chip", "temp");
        assert_eq!(read(&mut device).await, Ok(1.0));
        let file = root.path().join("sys").join(folder).join(file);
        let _socket = UnixListener::bind(&file).unwrap();
        assert_eq!(read(&mut device).await, Err(FaultReason::NotPresent), "{file:?}");
        assert_eq!(device.said, [None], "the device has the channel");
        fs::remove_file(&file).unwrap();
        symlink("/proc/self/mem", &file).unwrap();
        assert_eq!(read(&mut device).await, Err(FaultReason::IoError), "{file:?}");
    }
}

#[tokio::test]
async fn a_device_that_goes_while_it_is_read_gives_no_number_without_its_scale() {
    for (class, folder, channel, file) in [
        (Class::Iio, "bus/iio/devices/iio:device0", "temp", "in_temp_raw"),
        (Class::Hwmon, "class/hwmon/hwmon0", "temp1", "temp1_input"),
    ] {
        let root = tree(&[(&format!("{folder}/name"), "chip\n")]);
        let folder = root.path().join("sys").join(folder);
        let fifo = folder.join(file);
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        // The reader gets the number, and its end only after the device has gone.
        let kernel = std::thread::spawn(move || {
            let mut writer = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
            writer.write_all(b"1000").unwrap();
            fs::remove_dir_all(folder).unwrap();
        });
        let mut device = device(root.path(), class, "chip", channel);
        assert_eq!(read(&mut device).await, Err(FaultReason::NotPresent), "{class:?}");
        kernel.join().unwrap();
    }
}

#[tokio::test]
async fn a_device_is_found_by_its_name_wherever_it_is_and_keeps_its_place() {
    let root = tree(&[
        ("bus/iio/devices/iio:device10/name", "bme280\n"),
        ("bus/iio/devices/iio:device10/in_temp_input", "10000"),
        ("bus/iio/devices/iio:device2/name", "bme280\n"),
        ("bus/iio/devices/iio:device2/in_temp_input", "2000"),
        ("bus/iio/devices/iio:device3/name", "other\n"),
        ("bus/iio/devices/trigger0/name", "bme280\n"),
    ]);
    let folder = |number| root.path().join(format!("sys/bus/iio/devices/iio:device{number}"));
    let mut by_name = device(root.path(), Class::Iio, "bme280", "temp");
    assert_eq!(read(&mut by_name).await, Ok(2.0));
    assert!(by_name.is_choice_told);
    let mut by_folder = device(root.path(), Class::Iio, "iio:device10", "temp");
    assert_eq!(read(&mut by_folder).await, Ok(10.0));
    assert!(!by_folder.is_choice_told);
    // One with a lower number appears: the device does not become another.
    write(
        root.path(),
        &[
            ("bus/iio/devices/iio:device0/name", "bme280\n"),
            ("bus/iio/devices/iio:device0/in_temp_input", "0"),
        ],
    );
    assert_eq!(read(&mut by_name).await, Ok(2.0));
    // It goes, and all of its name go; another chip takes its folder; then it is back elsewhere.
    for number in [0, 2, 10] {
        fs::remove_dir_all(folder(number)).unwrap();
    }
    assert_eq!(read(&mut by_name).await, Err(FaultReason::NotPresent));
    assert_eq!(read(&mut by_folder).await, Err(FaultReason::NotPresent));
    write(root.path(), &[("bus/iio/devices/iio:device2/name", "other\n")]);
    assert_eq!(read(&mut by_name).await, Err(FaultReason::NotPresent));
    let why = by_name.said[0].clone().unwrap();
    assert!(why.contains("no iio device of this name (there are: other, other)"), "{why}");
    write(
        root.path(),
        &[
            ("bus/iio/devices/iio:device7/name", "bme280\n"),
            ("bus/iio/devices/iio:device7/in_temp_input", "7000"),
        ],
    );
    assert_eq!(read(&mut by_name).await, Ok(7.0));
    assert_eq!(by_name.said, [None]);
}

#[tokio::test]
async fn what_a_person_can_mend_is_said() {
    let root = tree(&[
        ("class/hwmon/hwmon0/name", "cpu_thermal\n"),
        ("class/hwmon/hwmon0/temp1_input", "51000"),
        ("class/hwmon/hwmon1/name", "w1_slave_temp\n"),
        ("class/hwmon/hwmon1/temp1_input", "21000"),
    ]);
    let mut wrong = device(root.path(), Class::Hwmon, "cpu_thermal", "in0");
    assert_eq!(read(&mut wrong).await, Err(FaultReason::NotPresent));
    assert_eq!(wrong.said[0].as_deref(), Some("The device has no channel `in0` (it has: temp1)."));
    let mut w1 = device(root.path(), Class::Hwmon, "hwmon1", "temp1");
    assert_eq!(read(&mut w1).await, Err(FaultReason::IoError));
    assert!(w1.said[0].as_ref().unwrap().contains("`driver = \"ds18b20\"`"), "{:?}", w1.said);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_is_given_up_and_no_other_is_begun_beside_it() {
    let root = tree(&[
        ("bus/iio/devices/iio:device0/name", "slow"),
        ("bus/iio/devices/iio:device0/in_pressure_input", "100"),
    ]);
    // Who opens a FIFO for reading waits for its writer.
    let fifo = root.path().join("sys/bus/iio/devices/iio:device0/in_temp_input");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let channels = ["temp", "pressure"].map(|name| Class::Iio.channel(name).unwrap());
    let channels = (0..).zip(channels).collect();
    let mut device = AttributeDevice::new(root.path(), Class::Iio, "slow", channels);
    let mut batch = Batch::default();
    let clock = Clock::start();
    // The paused time does not go on by itself while a thread is at work.
    tokio::join!(device.measure(&[0, 1], &clock, &mut batch), tokio::time::advance(DEADLINE));
    let reasons: Vec<_> = batch.faults.iter().map(|fault| fault.reason).collect();
    assert_eq!(reasons, [FaultReason::Timeout, FaultReason::Timeout]);
    // The kernel lets the reader go, and all is well again.
    fs::write(&fifo, "20000").unwrap();
    fs::remove_file(&fifo).unwrap();
    fs::write(&fifo, "21000").unwrap();
    let mut batch = Batch::default();
    while batch.readings.len() < 2 {
        batch = Batch::default();
        device.measure(&[0, 1], &Clock::start(), &mut batch).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(batch.readings.value, [21.0, 1000.0]);
}

#[tokio::test]
async fn another_device_of_the_same_name_is_never_taken_for_the_one_that_is_gone() {
    let root = tree(&[
        ("devices/i2c/1-0076/iio:device0/name", "bme280"),
        ("devices/i2c/1-0076/iio:device0/in_temp_input", "21500"),
        ("devices/i2c/1-0077/iio:device1/name", "bme280"),
        ("devices/i2c/1-0077/iio:device1/in_temp_input", "23500"),
    ]);
    let listed = root.path().join("sys/bus/iio/devices");
    fs::create_dir_all(&listed).unwrap();
    let link = |home: &str, folder: &str| {
        symlink(format!("../../../devices/i2c/{home}/{folder}"), listed.join(folder)).unwrap();
    };
    link("1-0076", "iio:device0");
    link("1-0077", "iio:device1");
    let mut device = device(root.path(), Class::Iio, "bme280", "temp");
    assert_eq!(read(&mut device).await, Ok(21.5));
    fs::remove_file(listed.join("iio:device0")).unwrap();
    assert_eq!(read(&mut device).await, Err(FaultReason::NotPresent));
    // Back again on the same place of its bus, under another number.
    let i2c = root.path().join("sys/devices/i2c/1-0076");
    fs::rename(i2c.join("iio:device0"), i2c.join("iio:device7")).unwrap();
    link("1-0076", "iio:device7");
    assert_eq!(read(&mut device).await, Ok(21.5));
}
