//! What `weir sensors` prints for people: a line a sensor, and what to do.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::file::printable;
use crate::reading::{Doubt, Measured};
use crate::sensor::doctor::{Bus, Facts, Finding, Weight};
use crate::sensor::w1::{Look, Power};
use crate::sensor::{Found, RomId};

/// A line for each bus, and below it one for each of its sensors.
pub(super) fn report(facts: &Facts, looks: &BTreeMap<RomId, Look>) -> Vec<String> {
    let mut lines = Vec::new();
    for bus in &facts.buses {
        lines.push(bus_line(bus, looks));
        for (id, chip) in &bus.chips {
            let measured = looks.get(id).map_or_else(|| "not read".to_owned(), told);
            let mut line = format!("  {id}  {measured:<24}");
            let bits = chip.resolution.map(|bits| format!("{bits} bit"));
            let time = chip.measured.or(chip.conversion_time).map(|time| {
                let how = if chip.measured.is_some() { " measured" } else { "" };
                format!("{} ms{how}", time.as_millis())
            });
            let power = match chip.power {
                Power::External => Some("own power".to_owned()),
                Power::Parasite => Some("parasite power".to_owned()),
                Power::Unknown => None,
            };
            for part in [bits, time, power].into_iter().flatten() {
                line.push_str("  ");
                line.push_str(&part);
            }
            lines.push(line.trim_end().to_owned());
        }
    }
    lines
}

fn bus_line(bus: &Bus, looks: &BTreeMap<RomId, Look>) -> String {
    let count = bus.chips.len();
    let name = printable(&bus.name);
    let looks: Vec<&Look> = bus.chips.keys().filter_map(|id| looks.get(id)).collect();
    let took = looks.iter().map(|look| look.took).max();
    let at_once = looks.iter().any(|look| look.at_once);
    let sensors = if count == 1 { "sensor" } else { "sensors" };
    match took {
        Some(took) if count > 1 => {
            let how = if at_once { "at once" } else { "one after the other" };
            format!("{name}: {count} {sensors}, measured {how} in {:.2} s", seconds(took))
        }
        Some(took) => format!("{name}: {count} {sensors}, measured in {:.2} s", seconds(took)),
        None => format!("{name}: {count} {sensors}"),
    }
}

/// A line for each sensor that is not on a 1-Wire bus.
pub(super) fn others(others: &[Found]) -> Vec<String> {
    let lines = others.iter().map(|found| {
        let unit = found.channel.quantity().unit();
        let measured = match found.measurement {
            Ok(Measured { value, .. }) => format!("{value:9.3} {unit}"),
            Err(reason) => format!("fault: {reason}"),
        };
        format!("  {:<30}  {measured}", printable(&found.address()))
    });
    let title = (!others.is_empty()).then(|| "Other sensors of this machine".to_owned());
    title.into_iter().chain(lines).collect()
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// A reading or a fault.
pub(super) fn told(look: &Look) -> String {
    match look.measurement {
        Ok(Measured { value, doubt: None }) => format!("{value:9.4} °C"),
        Ok(Measured { value, doubt: Some(doubt) }) => {
            format!("{value:9.4} °C  uncertain: {}", why(doubt))
        }
        Err(reason) => format!("fault: {reason}"),
    }
}

fn why(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::PowerOnValue => "may be what it holds before its first conversion",
        Doubt::FirstReading => "copies hold this before their first conversion",
        Doubt::Stale => "the same as before while it was moving",
    }
}

/// What was found, numbered, each with what to do about it.
pub(super) fn advice(findings: &[Finding]) -> Vec<String> {
    if findings.is_empty() {
        return vec!["All is well.".to_owned()];
    }
    let mut lines = Vec::new();
    for (finding, number) in findings.iter().zip(1..) {
        let weight = match finding.weight {
            Weight::Problem => "problem",
            Weight::Advice => "advice",
            Weight::Note => "note",
        };
        lines.push(format!("{number}. {weight}: {}", printable(&finding.seen)));
        for line in finding.advice.lines() {
            lines.push(format!("   → {line}"));
        }
    }
    lines
}
