//! `weir sensors` over trees as the kernel shows them, and over real texts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir::reading::{FaultReason, Measured};
use weir::sensor::scratchpad::{genuine, print_w1_slave};
use weir::sensor::w1::{Track, Verdict};

use crate::support::{Running, W1Tree, recorded, weir};

fn sensors(tree: &W1Tree) -> Vec<Value> {
    // The machine's own sensors, if it has any, do not belong here.
    let arguments = ["sensors", "--json", "--w1-root", tree.path(), "--root", "/nowhere"];
    let output = weir(&arguments).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn each_sensor_gives_one_line_as_on_the_wire() {
    let tree = W1Tree::new();
    tree.measure("28-0316a2794dff", -18.0625);
    tree.answer("28-0000052cbc93", "");
    tree.answer("w1_bus_master1", "not a thermometer");
    tree.answer("00-400000000000", "a ghost");
    let lines = sensors(&tree);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(
        (lines[0]["type"].as_str(), lines[0]["reason"].as_str()),
        (Some("fault"), Some("no-answer"))
    );
    assert_eq!(lines[1]["sensor"], "28-0316a2794dff");
    assert_eq!(
        (lines[1]["type"].as_str(), lines[1]["value"].as_f64()),
        (Some("temperature"), Some(-18.0625))
    );
}

#[test]
fn a_person_without_thermometers_is_told_what_to_do() {
    let tree = W1Tree::new();
    let (status, lines) = Running::start(weir(&["sensors", "--w1-root", tree.path()])).end();
    assert!(status.success());
    assert!(lines.concat().contains("dtoverlay=w1-gpio"), "{lines:?}");
    let (status, lines) = Running::start(weir(&["sensors", "--w1-root", "/nowhere"])).end();
    assert_eq!(status.code(), Some(1));
    let text = lines.concat();
    assert!(text.contains("cannot list /nowhere") && text.contains("dtoverlay=w1-gpio"), "{text}");
}

/// What a text of the kernel's means for a chip that was never read before: computed here once more, from the bytes and by
/// other means than the driver's.
fn meaning(family: &str, text: &str) -> Value {
    let fault = |reason: &str| json!({ "type": "fault", "reason": reason });
    let line = text.lines().next().unwrap();
    if line.ends_with("NO") {
        return fault("crc-mismatch");
    }
    let bytes: Vec<i32> =
        line.split(' ').take(9).map(|hex| i32::from_str_radix(hex, 16).unwrap()).collect();
    if bytes.iter().sum::<i32>() == 0 {
        return fault("all-zero");
    }
    let raw = bytes[0] + 256 * bytes[1] - if bytes[1] > 127 { 65_536 } else { 0 };
    let unconverted = bytes[6] == 12;
    let is_thermocouple = family == "3b" && bytes[4] > 127;
    // In sixteenths of a degree.
    let sixteenths = match family {
        "10" => 16 * raw.div_euclid(2) - 4 + 16 * (bytes[7] - bytes[6]) / bytes[7],
        _ if is_thermocouple => raw.div_euclid(4) * 4,
        _ => {
            let unit = [8, 4, 2, 1][usize::try_from(bytes[4] / 32 % 4).unwrap()];
            raw.div_euclid(unit) * unit
        }
    };
    let most = if is_thermocouple { -4_320..=28_800 } else { -880..=2_000 };
    let factory = (bytes[2], bytes[3], bytes[5], bytes[7]) == (0x4b, 0x46, 0xff, 0x10);
    let doubt = match (family, raw) {
        ("10", 0x00aa) if unconverted => Some("power-on-value"),
        ("10", _) => None,
        (_, 0x0550) if unconverted && factory => return fault("power-on-value"),
        (_, 0x0550) if unconverted => Some("power-on-value"),
        (_, 0x07ff) if unconverted => return fault("insufficient-power"),
        _ => None,
    };
    if !most.contains(&sixteenths) {
        return fault("out-of-range");
    }
    let first = (sixteenths == 400 || sixteenths == 1_360).then_some("first-reading");
    let value = f64::from(sixteenths) / 16.0;
    match doubt.or(first) {
        None => json!({ "type": "temperature", "value": value, "quality": "good" }),
        Some(doubt) => {
            json!({ "type": "temperature", "value": value, "quality": "uncertain", "doubt": doubt })
        }
    }
}

#[test]
fn real_texts_are_read_as_their_bytes_say() {
    let Some(file) = recorded("w1/captures.jsonl") else { return };
    let captures: Vec<Value> = std::fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let tree = W1Tree::new();
    for (number, capture) in captures.iter().enumerate() {
        let family = capture["family"].as_str().unwrap();
        tree.answer(&format!("{family}-{number:012x}"), capture["text"].as_str().unwrap());
    }
    let lines = sensors(&tree);
    // Each of them, also those that somebody made by hand, is a reading or a fault.
    assert_eq!(lines.len(), captures.len());
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for line in &lines {
        let id = line["sensor"].as_str().unwrap();
        let capture = &captures[usize::from_str_radix(&id[3..], 16).unwrap()];
        if capture["driver_could_print_it"] != true {
            continue;
        }
        let text = capture["text"].as_str().unwrap();
        let mut told = line.clone();
        for key in ["seq", "sensor", "time"] {
            told.as_object_mut().unwrap().remove(key).unwrap();
        }
        assert_eq!(told, meaning(&id[..2], text), "{id}: {text}");
        let kind = ["reason", "doubt", "quality"].iter().find_map(|key| told[key].as_str());
        *kinds.entry(kind.unwrap().to_owned()).or_default() += 1;
    }
    eprintln!("{kinds:?}");
    assert!(kinds.values().sum::<usize>() > 80 && kinds.len() >= 4, "{kinds:?}");
}

/// A sensor on its way out: six of its eight answers are all ones, and the two others hold together.
#[test]
fn no_failed_read_of_a_failing_sensor_yields_a_reading() {
    let Some(file) = recorded("w1/failing-sensor-sequence.jsonl") else { return };
    let mut track = Track::new(0x28);
    let told: Vec<_> = std::fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = line["text"].as_str().unwrap();
            let measurement = track.judge(text).measurement();
            if measurement.is_ok() {
                track.remember(text);
            }
            measurement
        })
        .collect();
    let fault = Err(FaultReason::CrcMismatch);
    let good = |value| Ok(Measured { value, doubt: None });
    assert_eq!(
        told,
        [fault, fault, fault, good(22.0625), fault, good(22.125), fault, fault],
        "the two good ones are what their own bytes say"
    );
}

/// Doubts are for what is wrong: real readings of healthy sensors, as a DS18B20 would have given them, raise next to none.
#[test]
fn healthy_sensors_are_not_doubted() {
    for (name, most) in [
        ("room-and-fridge-2012", 10),
        ("boiler-room-2017", 10),
        ("cellar-2014", 10),
        ("fridge-2026", 10),
        // In its swings of several degrees a sample some values come twice: another read decides.
        ("pasteurizer-2025", 100),
    ] {
        let Some(file) = recorded(&format!("logs/{name}.csv")) else { return };
        let text = std::fs::read_to_string(&file).unwrap();
        let is_fine = |row: &str| {
            row.rsplit(',').next().unwrap().parse().is_ok_and(|v: f64| v.fract() != 0.0)
        };
        // One sensor of the recordings was written down in whole degrees: no DS18B20 measures so.
        let fine: BTreeSet<&str> = text
            .lines()
            .skip(1)
            .filter(|row| is_fine(row))
            .filter_map(|row| row.split(',').nth(1))
            .collect();
        let mut tracks: BTreeMap<String, Track> = BTreeMap::new();
        let (mut all, mut doubted) = (0, 0);
        for row in text.lines().skip(1) {
            let columns: Vec<&str> = row.split(',').collect();
            let Ok(celsius) = columns[2].parse::<f64>() else { continue };
            if !(-55.0..=125.0).contains(&celsius) || !fine.contains(columns[1]) {
                continue;
            }
            let text = print_w1_slave(genuine(celsius), None);
            let track = tracks.entry(columns[1].to_owned()).or_insert_with(|| Track::new(0x28));
            all += 1;
            doubted += usize::from(
                track.judge(&text)
                    != Verdict::Take(Ok(Measured::good((celsius * 16.0).round() / 16.0))),
            );
            track.remember(&text);
        }
        eprintln!("{name}: {doubted} of {all} readings read again or doubted");
        assert!(doubted <= most, "{name}: {doubted} of {all}");
    }
}
