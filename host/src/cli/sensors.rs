//! `weir sensors`: finds every thermometer, reads it, and says what is wrong with the wiring.

mod report;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::system::System;
use super::{Failure, block_on, parse_duration, say};
use crate::clock::Clock;
use crate::reading::{Batch, Quantity, Series};
use crate::sensor::doctor::{Asking, Facts, facts, findings};
use crate::sensor::w1::{Look, Survey, save_to_eeprom, scan, set_resolution, toml_block};
use crate::sensor::{Found, RomId, SystemPaths, read_all};
use crate::uplink::Scribe;
use crate::uplink::wire::Message;

/// Most reads of one call: at one a second it takes a quarter of an hour.
const MOST_READS: i64 = 1_000;

/// How long a look at the system may take: a bus that hangs is what this command has to tell of.
const PATIENCE: Duration = Duration::from_secs(10);
/// What asking a chip for its settings, or for a measured conversion, may take of it.
const SETTINGS: Duration = Duration::from_millis(200);
const MEASUREMENT: Duration = Duration::from_secs(3);

/// Find every thermometer, read it, and say what is wrong with the wiring and what to do.
#[derive(Args)]
pub(super) struct Sensors {
    #[command(flatten)]
    system: System,
    /// One JSON line a sensor, as on the wire.
    #[arg(long, conflicts_with_all = ["watch", "toml"])]
    json: bool,
    /// Only the tables that take the sensors into a pipeline file.
    #[arg(long, conflicts_with = "watch")]
    toml: bool,
    /// How often each sensor is read; the share of failed reads is worth something from 20 on [default: 1, with --watch
    /// until Ctrl-C].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_READS as u64))]
    reads: Option<u64>,
    /// Show a live table.
    #[arg(long)]
    watch: bool,
    /// From one read to the next with --watch.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    interval: Duration,
    /// Let the kernel measure each sensor's conversion time (needs the right to write its settings).
    #[arg(long)]
    measure: bool,
    /// Only this sensor.
    #[arg(long, value_name = "ROM_ID")]
    id: Option<RomId>,
    /// Set the sensor's resolution, 9 to 12 bit, until it loses power.
    #[arg(long, value_name = "BITS", requires = "id", value_parser = clap::value_parser!(u8).range(9..=12))]
    resolution: Option<u8>,
    /// Keep the sensor's settings in its EEPROM, which bears few writes.
    #[arg(long, requires = "id")]
    save_to_eeprom: bool,
}

impl Sensors {
    pub(super) fn run(self) -> Result<(), Failure> {
        let system = self.system.paths();
        let listed = scan(&system.w1);
        if let (Some(id), Ok(there)) = (self.id, &listed)
            && !there.contains_key(&id)
        {
            let there: Vec<String> = there.keys().map(RomId::to_string).collect();
            return Err(format!("there is no sensor {id}; there are: {}", list(&there)).into());
        }
        if let Some(id) = self.id {
            set_up(&system, id, self.resolution, self.save_to_eeprom)?;
        }
        let folder = system.w1.display().to_string();
        let asking = if self.measure { Asking::ConversionTime } else { Asking::Settings };
        let doctor = Doctor { system, id: self.id, clock: Clock::start(), asking };
        if self.toml {
            block_on(print_toml(&doctor))??;
        } else if self.json {
            block_on(print_json(&doctor, self.reads.unwrap_or(1)))??;
        } else if self.watch {
            block_on(watch::watch(doctor, self.interval, self.reads))??;
            return Ok(());
        } else {
            block_on(print_report(&doctor, self.reads.unwrap_or(1)))??;
        }
        match listed {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("cannot list {folder}: {error}").into()),
        }
    }
}

/// Looks at sensors again and again.
struct Doctor {
    system: SystemPaths,
    id: Option<RomId>,
    clock: Clock,
    asking: Asking,
}

impl Doctor {
    /// The thermometers that are there. A folder that cannot be listed has none.
    fn seen(&self) -> BTreeMap<RomId, PathBuf> {
        let mut seen = scan(&self.system.w1).unwrap_or_default();
        seen.retain(|id, _| self.id.is_none_or(|only| only == *id));
        seen
    }

    /// What there is beside 1-Wire thermometers.
    async fn others(&self) -> Vec<Found> {
        if self.id.is_some() { Vec::new() } else { read_all(&self.system.root).await }
    }

    /// What the system shows. On a bus that hangs, its chips are not asked.
    async fn facts(&self) -> Result<Facts, Failure> {
        let look = |asking| {
            let system = self.system.clone();
            tokio::task::spawn_blocking(move || facts(&system, asking))
        };
        // Each chip is asked over its bus; a conversion that is measured takes most.
        let chips = u32::try_from(self.seen().len()).unwrap_or(u32::MAX);
        let each = match self.asking {
            Asking::ConversionTime => MEASUREMENT,
            Asking::Settings | Asking::Nothing => SETTINGS,
        };
        let patience = PATIENCE + each.saturating_mul(chips);
        let mut facts = match tokio::time::timeout(patience, look(self.asking)).await {
            Ok(facts) => facts?,
            Err(_) => tokio::time::timeout(PATIENCE, look(Asking::Nothing))
                .await
                .map_err(|_| format!("the system does not show its buses within {PATIENCE:?}"))??,
        };
        if let Some(id) = self.id {
            facts.buses.retain(|bus| bus.chips.contains_key(&id));
            facts.buses.iter_mut().for_each(|bus| bus.chips.retain(|other, _| *other == id));
        }
        Ok(facts)
    }

    /// Reads all sensors so often. What each gave last is told.
    async fn look(&self, reads: u64) -> BTreeMap<RomId, Look> {
        let mut survey = Survey::default();
        let mut looks = BTreeMap::new();
        for _read in 0..reads {
            looks.append(&mut survey.look(&self.system.w1, &self.seen(), &self.clock).await);
        }
        looks
    }
}

async fn print_report(doctor: &Doctor, reads: u64) -> Result<(), Failure> {
    let looks = doctor.look(reads).await;
    let (facts, others) = (doctor.facts().await?, doctor.others().await);
    for line in report::report(&facts, &looks).into_iter().chain(report::others(&others)) {
        say(line)?;
    }
    if !looks.is_empty() || !others.is_empty() {
        say("\n`weir sensors --toml` prints the tables that take them into a pipeline file.\n")?;
    }
    for line in report::advice(&findings(&facts, &looks)) {
        say(line)?;
    }
    Ok(())
}

async fn print_toml(doctor: &Doctor) -> Result<(), Failure> {
    let others = doctor.others().await;
    let others = others.iter().map(Found::toml_block);
    let blocks: Vec<String> = doctor.seen().into_keys().map(toml_block).chain(others).collect();
    Ok(say(blocks.join("\n\n"))?)
}

fn set_up(
    system: &SystemPaths,
    id: RomId,
    resolution: Option<u8>,
    save: bool,
) -> Result<(), Failure> {
    let folder = system.w1.join(id.to_string());
    let set = move || {
        if let Some(bits) = resolution {
            set_resolution(&folder, bits)
                .map_err(|e| format!("cannot set the resolution of {id} to {bits} bit: {e}"))?;
        }
        if save {
            save_to_eeprom(&folder)
                .map_err(|e| format!("cannot save the settings of {id} to its EEPROM: {e}"))?;
        }
        Ok(())
    };
    let done =
        block_on(async { tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(set)).await })?;
    let done: Result<(), String> = done.map_err(|_| format!("{id} does not answer"))??;
    Ok(done?)
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

async fn print_json(doctor: &Doctor, reads: u64) -> Result<(), Failure> {
    let (looks, others) = (doctor.look(reads).await, doctor.others().await);
    let now = doctor.clock.now();
    let looks = looks
        .iter()
        .map(|(id, look)| (id.to_string(), Quantity::Temperature, look.time, look.measurement));
    let others = others
        .iter()
        .map(|found| (found.address(), found.channel.quantity(), now, found.measurement));
    for ((address, quantity, time, measurement), seq) in looks.chain(others).zip(1..) {
        let (sensor, id) = (address.as_str().into(), Some(address.as_str().into()));
        let series = Series { sensor, id, quantity, interval: None };
        let scribe = Scribe::offline([series].into());
        let mut batch = Batch::default();
        batch.put(0, time, measurement);
        let body = match batch.readings.iter().next() {
            Some(reading) => Some(scribe.reading(&reading, batch.doubt(&reading))),
            None => batch.faults.first().map(|fault| scribe.fault(fault)),
        };
        if let Some(body) = body {
            say(Message { seq: Some(seq), late: false, body }.to_json())?;
        }
    }
    Ok(())
}
