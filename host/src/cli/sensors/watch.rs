//! `weir sensors --watch`: a live table.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::report::{advice, told};
use super::{Doctor, Failure, say};
use crate::file::printable;
use crate::reading::Timestamp;
use crate::sensor::RomId;
use crate::sensor::doctor::{Facts, Weight, findings};
use crate::sensor::w1::{Look, Power, Survey};

/// From one read to the next at least: a conversion takes 0.75 s.
const SHORTEST: Duration = Duration::from_millis(100);
/// Most findings below the table: more would push it out of sight.
const FINDINGS: usize = 3;

/// Reads and shows all sensors again and again.
pub(super) async fn watch(
    doctor: Doctor,
    interval: Duration,
    reads: Option<u64>,
) -> Result<(), Failure> {
    let is_terminal = io::stdout().is_terminal();
    if is_terminal {
        // Clears the screen once; from then on lines are written over.
        say("\x1b[2J")?;
    }
    let mut ticks = tokio::time::interval(interval.max(SHORTEST));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut survey = Survey::default();
    // What each gave last, also of those that are gone.
    let mut looks: BTreeMap<RomId, Look> = BTreeMap::new();
    let mut known: Option<(Vec<RomId>, Facts)> = None;
    for _read in 0..reads.unwrap_or(u64::MAX) {
        ticks.tick().await;
        let seen = doctor.seen();
        looks.append(&mut survey.look(&doctor.system.w1, &seen, &doctor.clock).await);
        let ids: Vec<RomId> = seen.keys().copied().collect();
        // Asking each chip for its settings takes time: only when others are there than before.
        let facts = match known.take() {
            Some((before, facts)) if before == ids && !facts.buses.is_empty() => facts,
            _ => doctor.facts().await?,
        };
        let mut lines = table(&facts, &looks, &ids, doctor.clock.now());
        let mut found = findings(&facts, &looks);
        found.retain(|finding| finding.weight != Weight::Note);
        found.truncate(FINDINGS);
        lines.push(String::new());
        lines.extend(advice(&found));
        known = Some((ids, facts));
        show(&lines, is_terminal)?;
    }
    Ok(())
}

fn show(lines: &[String], is_terminal: bool) -> io::Result<()> {
    if !is_terminal {
        return say(format_args!("{}\n", lines.join("\n")));
    }
    // From the upper left, each line cleared to its end, and what is below.
    let text: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
    say(format_args!("\x1b[H{text}\x1b[J"))
}

fn table(
    facts: &Facts,
    looks: &BTreeMap<RomId, Look>,
    there: &[RomId],
    now: Timestamp,
) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<16} {:<15} {:>4} {:<8} {:>6} {:>13} {:>5}  {}",
        "sensor", "bus", "bits", "power", "reads", "failed", "age", "reading"
    )];
    for (id, look) in looks {
        let bus = facts.buses.iter().find(|bus| bus.chips.contains_key(id));
        let chip = bus.and_then(|bus| bus.chips.get(id));
        let power = match chip.map(|chip| chip.power) {
            Some(Power::External) => "own",
            Some(Power::Parasite) => "parasite",
            _ => "–",
        };
        let bits = look.resolution.or(chip.and_then(|chip| chip.resolution));
        #[expect(clippy::cast_precision_loss, reason = "nobody watches for 2^53 reads")]
        let share = look.reads.failed as f64 * 100.0 / look.reads.all.max(1) as f64;
        let reading =
            if there.contains(id) { told(look) } else { format!("gone; {}", told(look).trim()) };
        lines.push(format!(
            "{:<16} {:<15} {:>4} {power:<8} {:>6} {:>13} {:>4}s  {reading}",
            id.to_string(),
            bus.map_or_else(|| "–".to_owned(), |bus| printable(&bus.name)),
            bits.map_or_else(|| "–".to_owned(), |bits| bits.to_string()),
            look.reads.all,
            format!("{} ({share:.0} %)", look.reads.failed),
            now.since(look.time).as_secs(),
        ));
    }
    lines
}
