//! From facts and readings to findings: each says what is seen and what to do. No I/O.

use std::collections::BTreeMap;

use super::{Bulk, Bus, Facts, Overlay};
use crate::reading::FaultReason;
use crate::sensor::RomId;
use crate::sensor::w1::{Look, Power};

/// A share of failed reads from which a sensor is not only worth a look, but of little use.
const MANY_FAILURES: f64 = 0.1;
/// On fewer reads than this a share says little.
const FEW_READS: u64 = 20;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Sensors give no readings, or will not for long.
    Problem,
    /// It works, and could be better.
    Advice,
    /// Good to know.
    Note,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// What is seen.
    pub seen: String,
    /// What to do.
    pub advice: String,
}

impl Finding {
    fn new(weight: Weight, seen: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { weight, seen: seen.into(), advice: advice.into() }
    }
}

/// All that is found, what matters most first.
pub fn findings(facts: &Facts, looks: &BTreeMap<RomId, Look>) -> Vec<Finding> {
    let mut found = Vec::new();
    system(facts, &mut found);
    for bus in &facts.buses {
        wiring(bus, facts, &mut found);
        rights(bus, &mut found);
        power(bus, &mut found);
        clones(bus, looks, &mut found);
        for id in bus.chips.keys() {
            if let Some(look) = looks.get(id) {
                faults(*id, look, &mut found);
            }
        }
    }
    found.sort_by_key(|finding| finding.weight);
    found
}

fn system(facts: &Facts, found: &mut Vec<Finding>) {
    use Weight::{Note, Problem};
    let is_pi_5 = facts.model.as_deref().is_some_and(|model| model.contains("Raspberry Pi 5"));
    if is_pi_5 {
        found.push(Finding::new(
            Note,
            "This is a Raspberry Pi 5: its 1-Wire driver is younger than that of other models.",
            "If sensors come and go or are never found, update the system (`sudo apt full-upgrade`) and read \
             https://github.com/raspberrypi/linux/issues/6917.",
        ));
    }
    if !facts.buses.is_empty() {
        return;
    }
    let (seen, advice) = match &facts.overlay {
        Overlay::Missing { file } => (
            format!("There is no 1-Wire bus, and {} has no line for one.", file.display()),
            format!("Add the line `dtoverlay=w1-gpio` to {} and restart.", file.display()),
        ),
        Overlay::Present { file, .. } if !facts.has_w1_gpio => (
            format!("There is no 1-Wire bus, though {} has the line for it.", file.display()),
            "If the line is new, restart. Else load the driver with `sudo modprobe w1-gpio`, and look at what \
             `sudo dmesg | grep -i w1` says."
                .to_owned(),
        ),
        Overlay::Present { gpio, .. } => (
            format!("The driver w1_gpio is loaded, but there is no bus on GPIO {gpio}."),
            "Another overlay may use the same pin: look at what `sudo dmesg | grep -i w1` says.".to_owned(),
        ),
        Overlay::NoConfig => (
            "There is no 1-Wire bus, and this does not look like a Raspberry Pi: it has no config.txt.".to_owned(),
            "On a Raspberry Pi the bus is switched on by the line `dtoverlay=w1-gpio` in \
             /boot/firmware/config.txt and a restart. Elsewhere a bus master has to be set up."
                .to_owned(),
        ),
    };
    found.push(Finding::new(Problem, seen, advice));
}

fn wiring(bus: &Bus, facts: &Facts, found: &mut Vec<Finding>) {
    use Weight::Problem;
    let name = &bus.name;
    if !bus.ghosts.is_empty() {
        let ghosts = bus.ghosts.join(", ");
        found.push(Finding::new(
            Problem,
            format!("{name}: ids that no chip has: {ghosts}. The data line does not go up to 3.3 V as it should."),
            "Put a resistor of 4.7 kΩ between data and 3.3 V, or look whether the one there has come loose. Then \
             restart: while such an id is there, the kernel does not measure all sensors of the bus at once.",
        ));
    }
    if bus.chips.is_empty() && bus.ghosts.is_empty() {
        let pin = match facts.overlay {
            Overlay::Present { gpio, .. } => format!("GPIO {gpio}"),
            _ => "the bus's GPIO (4 when none is named)".to_owned(),
        };
        found.push(Finding::new(
            Problem,
            format!("{name}: no sensor answers."),
            format!(
                "Check the three wires: VDD to 3.3 V, GND to GND, data to {pin}, and 4.7 kΩ between data and 3.3 V. A \
                 sensor that gets hot has VDD and GND swapped. The kernel looks again every 10 s."
            ),
        ));
    }
    if !bus.foreign.is_empty() && !bus.chips.is_empty() {
        let foreign = bus.foreign.join(", ");
        found.push(Finding::new(
            Weight::Note,
            format!("{name}: chips that are no thermometers: {foreign}."),
            "While one is there, some kernels do not measure all sensors of the bus at once. A bus of its own (another \
             line `dtoverlay=w1-gpio,gpiopin=…`) helps.",
        ));
    }
    if bus.chips.values().any(|chip| !chip.has_driver) {
        let seen = if facts.has_w1_therm {
            format!("{name}: the driver w1_therm is loaded, but has not taken all sensors.")
        } else {
            format!("{name}: sensors are there, but the driver w1_therm is not loaded.")
        };
        found.push(Finding::new(Problem, seen, "Load it with `sudo modprobe w1-therm`."));
    }
}

fn rights(bus: &Bus, found: &mut Vec<Finding>) {
    let Bus { name, chips, .. } = bus;
    let with_driver = chips.values().filter(|chip| chip.has_driver).count();
    match bus.bulk {
        Bulk::NotWritable => found.push(Finding::new(
            Weight::Advice,
            format!(
                "{name}: only root may tell all its sensors to measure at once, so they are measured one after the \
                 other."
            ),
            format!("{RIGHTS}\n{UDEV_RULE}"),
        )),
        _ if chips.values().any(|chip| !chip.writable) => found.push(Finding::new(
            Weight::Note,
            format!("{name}: only root may change the settings of its sensors, such as `resolution`."),
            format!("{RIGHTS}\n{UDEV_RULE}"),
        )),
        Bulk::Missing if with_driver > 1 => found.push(Finding::new(
            Weight::Note,
            format!(
                "{name}: the kernel does not offer to measure all its {with_driver} sensors at once, so they are \
                 measured one after the other."
            ),
            "Kernels before 5.8 cannot do it, and later ones may offer it on the first bus alone: put the sensors on \
             that one, or choose an `interval` of more than a second for each sensor.",
        )),
        _ => {}
    }
}

const RIGHTS: &str =
    "Let the group gpio do it: put this line into /etc/udev/rules.d/99-weir.rules and restart.";
/// Lets the group gpio write what Weir writes. A chip appears after its bus, and `therm_bulk_read` with the first chip.
const UDEV_RULE: &str = "SUBSYSTEM==\"w1\", ACTION==\"add\", KERNEL==\"[0-9a-f][0-9a-f]-*\", \
     RUN+=\"/bin/sh -c 'cd /sys%p && for f in resolution conv_time ../therm_bulk_read; do \
     [ -e $$f ] && chgrp gpio $$f && chmod g+w $$f; done'\"";

/// `one: …` or `one, two and 3 more: …`.
fn named(ids: &[RomId]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = ids.iter().take(SHOWN).map(RomId::to_string).collect();
    match ids.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn power(bus: &Bus, found: &mut Vec<Finding>) {
    let parasites = bus.chips.iter().filter(|(_, chip)| chip.power == Power::Parasite);
    let ids: Vec<RomId> = parasites.map(|(id, _)| *id).collect();
    if !ids.is_empty() {
        found.push(Finding::new(
            Weight::Advice,
            format!("{}: power comes from the data line (parasite power).", named(&ids)),
            "Connect the VDD pin to 3.3 V: conversions get safer and take half the time. With only two wires, use \
             `dtoverlay=w1-gpio,pullup=1`, short cables and few sensors.",
        ));
    }
}

fn faults(id: RomId, look: &Look, found: &mut Vec<Finding>) {
    if let Err(reason) = look.measurement {
        found.push(Finding::new(Weight::Problem, format!("{id}: fault {reason}."), advice(reason)));
        return;
    }
    let (all, failed) = (look.reads.all, look.reads.failed);
    if failed == 0 {
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "nobody waits for 2^53 reads")]
    let share = failed as f64 / all as f64;
    let weight = if share >= MANY_FAILURES { Weight::Problem } else { Weight::Advice };
    let more = if all < FEW_READS { " `weir sensors --reads 50` says more." } else { "" };
    found.push(Finding::new(
        weight,
        format!("{id}: {failed} of {all} reads failed ({:.0} %).", share * 100.0),
        format!(
            "The cable is too long, too near to others, or has a loose contact; or the resistor is too large: try \
             2.2 kΩ for long cables.{more}"
        ),
    ));
}

fn advice(reason: FaultReason) -> &'static str {
    match reason {
        FaultReason::NotPresent => "It went away: look at its plug and its cable.",
        FaultReason::CrcMismatch | FaultReason::NoAnswer => {
            "It does not answer, or what it says is disturbed: look at its plug, its cable and the resistor between \
             data and 3.3 V (4.7 kΩ; 2.2 kΩ for long cables)."
        }
        FaultReason::PowerOnValue | FaultReason::InsufficientPower => {
            "It starts anew whenever it is to measure: its power is too weak. Connect VDD to 3.3 V directly."
        }
        FaultReason::AllZero => "The data line lies at 0 V: look for a short between data and GND.",
        FaultReason::OutOfRange => {
            "It says what no such chip can measure: it is broken, or no DS18B20. Put another in its place."
        }
        FaultReason::Timeout => {
            "The kernel does not give its bus back: look at `sudo dmesg`, then unplug the bus and plug it in again."
        }
        _ => "The kernel cannot read it: look at what `sudo dmesg | grep -i w1` says.",
    }
}

fn clones(bus: &Bus, looks: &BTreeMap<RomId, Look>, found: &mut Vec<Finding>) {
    let by_bytes = |id: &RomId| looks.get(id).is_some_and(|look| look.is_clone);
    let (bytes, ids): (Vec<RomId>, Vec<RomId>) = bus
        .chips
        .keys()
        .filter(|id| by_bytes(id) || !id.is_of_maxim())
        .partition(|id| by_bytes(id));
    for (copies, why) in [
        (bytes, "the bytes are not those of a genuine chip, so its 85 °C is told as uncertain"),
        (ids, "the id is none of Maxim's"),
    ] {
        if !copies.is_empty() {
            found.push(Finding::new(
                Weight::Note,
                format!("{}: a copy of the DS18B20: {why}.", named(&copies)),
                "Copies work, but some are off by more than 0.5 °C: compare it in ice water (0 °C) and correct it with \
                 calibrate-linear.",
            ));
        }
    }
}

#[cfg(test)]
mod tests;
