//! Each ill has its finding.

use super::*;
use crate::reading::{Measured, Timestamp};
use crate::sensor::doctor::Chip;
use crate::sensor::w1::Reads;
use std::path::PathBuf;
use std::time::Duration;

const GENUINE: &str = "28-0000052cbc93";

fn healthy() -> Facts {
    let chip = Chip {
        has_driver: true,
        writable: true,
        power: Power::External,
        resolution: Some(12),
        conversion_time: Some(Duration::from_millis(750)),
        measured: None,
    };
    let bus = Bus {
        name: "w1_bus_master1".to_owned(),
        folder: PathBuf::new(),
        bulk: Bulk::Writable,
        chips: BTreeMap::from([(GENUINE.parse().unwrap(), chip)]),
        ghosts: Vec::new(),
        foreign: Vec::new(),
    };
    Facts {
        model: Some("Raspberry Pi 4 Model B Rev 1.4".to_owned()),
        overlay: Overlay::Present { file: PathBuf::from("/boot/firmware/config.txt"), gpio: 4 },
        has_w1_gpio: true,
        has_w1_therm: true,
        buses: vec![bus],
    }
}

fn look(id: &str, change: impl FnOnce(&mut Look)) -> BTreeMap<RomId, Look> {
    let mut look = Look {
        time: Timestamp::default(),
        measurement: Ok(Measured::good(20.0)),
        reads: Reads { all: 1, failed: 0 },
        resolution: Some(12),
        is_clone: false,
        took: Duration::from_millis(760),
        at_once: true,
    };
    change(&mut look);
    BTreeMap::from([(id.parse().unwrap(), look)])
}

/// What is found first after a change of a healthy system: its beginning, and a word of its advice.
#[track_caller]
fn check(facts: impl FnOnce(&mut Facts), looks: BTreeMap<RomId, Look>, seen: &str, advice: &str) {
    let mut changed = healthy();
    facts(&mut changed);
    let found = findings(&changed, &looks);
    let first = found.first().unwrap_or_else(|| panic!("nothing is found: {seen}"));
    assert!(first.seen.contains(seen) && first.advice.contains(advice), "{first:#?}");
}

#[test]
fn a_healthy_bus_gives_nothing_to_do() {
    assert_eq!(findings(&healthy(), &look(GENUINE, |_| {})), []);
}

#[test]
fn each_ill_is_found_with_its_remedy() {
    let none = BTreeMap::new;
    let no_bus = |overlay: Overlay| {
        move |facts: &mut Facts| {
            facts.buses.clear();
            facts.has_w1_gpio = false;
            facts.overlay = overlay;
        }
    };
    let file = PathBuf::from("/boot/config.txt");
    check(no_bus(Overlay::NoConfig), none(), "no config.txt", "dtoverlay=w1-gpio");
    check(
        no_bus(Overlay::Missing { file: file.clone() }),
        none(),
        "/boot/config.txt has no line",
        "Add the line `dtoverlay=w1-gpio` to /boot/config.txt",
    );
    check(no_bus(Overlay::Present { file, gpio: 17 }), none(), "has the line", "modprobe w1-gpio");
    check(|facts| facts.buses.clear(), none(), "no bus on GPIO 4", "dmesg");
    check(|facts| facts.buses[0].chips.clear(), none(), "no sensor answers", "data to GPIO 4");
    check(
        |facts| facts.buses[0].ghosts.push("00-400000000000".to_owned()),
        none(),
        "00-400000000000",
        "4.7 kΩ",
    );
    check(
        |facts| facts.buses[0].foreign.push("1d-0000000f4240".to_owned()),
        none(),
        "no thermometers: 1d-",
        "bus of its own",
    );
    let chip = |facts: &mut Facts, change: fn(&mut Chip)| {
        facts.buses[0].chips.values_mut().for_each(change);
    };
    check(
        |facts| {
            facts.has_w1_therm = false;
            chip(facts, |chip| chip.has_driver = false);
        },
        none(),
        "w1_therm is not loaded",
        "modprobe w1-therm",
    );
    check(
        |facts| chip(facts, |chip| chip.power = Power::Parasite),
        none(),
        "from the data line",
        "VDD pin to 3.3 V",
    );
    check(|facts| facts.buses[0].bulk = Bulk::NotWritable, none(), "only root", "therm_bulk_read");
    check(
        |facts| chip(facts, |chip| chip.writable = false),
        none(),
        "only root may change the settings",
        "99-weir.rules",
    );
    check(
        |facts| facts.model = Some("Raspberry Pi 5 Model B Rev 1.0".to_owned()),
        none(),
        "Raspberry Pi 5",
        "6917",
    );
    let failing = |all, failed| look(GENUINE, |look| look.reads = Reads { all, failed });
    check(|_| {}, failing(3, 1), "1 of 3 reads failed (33 %)", "--reads 50");
    check(|_| {}, failing(50, 2), "2 of 50 reads failed (4 %)", "2.2 kΩ");
    let copy = "28-0316a2794dff";
    check(
        |facts| {
            let chips = &mut facts.buses[0].chips;
            let (_, chip) = chips.pop_first().unwrap();
            chips.insert(copy.parse().unwrap(), chip);
        },
        look(copy, |_| {}),
        "none of Maxim's",
        "calibrate-linear",
    );
    let is_clone = |look: &mut Look| look.is_clone = true;
    check(|_| {}, look(GENUINE, is_clone), "the bytes are not", "ice water");
}

#[test]
fn each_fault_has_an_advice() {
    for reason in FaultReason::ALL {
        let looks = look(GENUINE, |look| look.measurement = Err(*reason));
        check(|_| {}, looks, reason.as_str(), "");
        assert!(!advice(*reason).is_empty());
    }
}
