//! `weir sensors` over trees as the kernel shows them, and over real texts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
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

/// The values are computed here once more, from the bytes, by other means than the driver's.
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
    assert_eq!(lines.len(), captures.len());
    let mut checked = 0;
    for line in &lines {
        let id = line["sensor"].as_str().unwrap();
        let capture = &captures[usize::from_str_radix(&id[3..], 16).unwrap()];
        if capture["driver_could_print_it"] != true {
            continue;
        }
        let text = capture["text"].as_str().unwrap();
        let bytes: Vec<u8> = text
            .split_whitespace()
            .take(9)
            .map(|hex| u8::from_str_radix(hex, 16).unwrap())
            .collect();
        let milli: f64 = text.trim_end().rsplit("t=").next().unwrap().parse().unwrap();
        let verdict = text.lines().next().unwrap().ends_with("YES");
        match line["type"].as_str().unwrap() {
            "temperature" => {
                assert!(verdict, "{line} from {text}");
                // The kernel cuts to milli°C, and prints undefined low bits below 12 bit.
                let off = (line["value"].as_f64().unwrap() - milli / 1_000.0).abs();
                assert!(off < if bytes[4] == 0x7f { 0.001 } else { 0.5 }, "{line} from {text}");
            }
            "fault" => {
                let expected = match (verdict, bytes.iter().all(|byte| *byte == 0)) {
                    (false, _) => "crc-mismatch",
                    (true, true) => "all-zero",
                    (true, false) => "power-on-value",
                };
                assert_eq!(line["reason"], expected, "{text}");
                assert!(
                    expected != "power-on-value" || (milli == 85_000.0 && bytes[6] == 0x0c),
                    "{text}"
                );
            }
            other => panic!("{other}"),
        }
        checked += 1;
    }
    assert!(checked > 80, "{checked}");
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
