//! The DS18B20 and its relatives through the kernel's `w1_therm` driver: chips that come and go on any number of buses.

mod bus;
mod chip;
mod open;
mod presence;
mod scan;
mod survey;
mod track;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

pub use bus::{BusTurn, Placed, W1Bus};
pub use chip::{
    Chip, ChipSettings, ConversionTime, Power, Reads, conversion_time, measure_conversion_time,
    power, resolution, save_to_eeprom, set_resolution,
};
pub use scan::{scan, toml_block};
pub use survey::{Look, Survey};
pub use track::{Track, Verdict};

use super::kernel::Blocking;
use super::sampling::Onward;
use super::{RomId, Sampling, Schedule};
use crate::reading::{Observed, Sighting};
use presence::Presence;

/// How often chips are looked for at least: as often as the kernel searches its buses.
const SCAN_EVERY: Duration = Duration::from_secs(10);
/// Longest that listing the folder may take; it asks no chip.
const SCAN_DEADLINE: Duration = Duration::from_secs(2);
/// Most chips beside the pipeline's own that are kept in mind: on a bad cable ids appear that nobody has.
const STRANGERS: usize = 256;

/// One sensor of the pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct W1Sensor {
    /// The number of its series.
    pub series: u32,
    /// Its name in the pipeline.
    pub name: String,
    /// Its chip's address; `None` takes the one that is there.
    pub id: Option<RomId>,
    /// From one reading to the next.
    pub interval: Duration,
    /// How its chip is set up.
    pub settings: ChipSettings,
}

/// All sensors under one folder.
#[derive(Debug)]
pub struct W1 {
    root: PathBuf,
    sensors: Vec<Slot>,
    /// Every bus that was seen; `None` while it is measuring.
    buses: BTreeMap<PathBuf, Option<W1Bus>>,
    strangers: BTreeMap<RomId, Presence>,
    /// What the last look saw.
    seen: BTreeMap<RomId, PathBuf>,
    /// Whether faults of sensors that are on no bus still wait to be handed on.
    absent_wait: bool,
    calls: Blocking,
}

#[derive(Debug)]
struct Slot {
    sensor: W1Sensor,
    chip: SlotChip,
    presence: Presence,
}

#[derive(Debug)]
enum SlotChip {
    /// The sensor takes any chip, and none was there yet.
    Unbound,
    Idle(Box<Placed>),
    /// It is being measured.
    Busy(RomId),
}

impl Slot {
    fn id(&self) -> Option<RomId> {
        match &self.chip {
            SlotChip::Unbound => None,
            SlotChip::Idle(placed) => Some(placed.chip.rom_id),
            SlotChip::Busy(id) => Some(*id),
        }
    }

    fn bind(&mut self, root: &Path, id: RomId) {
        let chip = Chip::new(root, id);
        let W1Sensor { series, settings, .. } = self.sensor;
        self.chip = SlotChip::Idle(Box::new(Placed { series, chip, settings }));
        self.presence = Presence::default();
    }

    /// Its chip, unless that is being measured.
    fn take(&mut self) -> Option<Placed> {
        let busy = SlotChip::Busy(self.id()?);
        match std::mem::replace(&mut self.chip, busy) {
            SlotChip::Idle(placed) => Some(*placed),
            SlotChip::Busy(_) | SlotChip::Unbound => None,
        }
    }
}

/// What a measurement gives back.
struct Done {
    turn: BusTurn,
    /// Which sensor each chip belongs to.
    slots: Vec<usize>,
    onward: Onward,
}

/// Samples all sensors under a folder until told to stop or until nobody takes the batches. Buses are measured beside each
/// other; one that is not done when its next turn comes misses it, and the others do not.
pub async fn sample_w1(mut w1: W1, mut to: Sampling) {
    let mut schedule = Schedule::new(w1.sensors.iter().map(|slot| slot.sensor.interval));
    let mut busy = FuturesUnordered::new();
    let mut scan_at = Instant::now();
    loop {
        let wake = schedule.next().map_or(scan_at, |next| next.min(scan_at));
        tokio::select! {
            biased;
            () = to.stop.wait() => break,
            Some(done) = busy.next(), if !busy.is_empty() => {
                if w1.take_back(done) == Onward::No {
                    break;
                }
                continue;
            }
            () = tokio::time::sleep_until(wake) => {}
        }
        w1.look().await;
        let now = Instant::now();
        scan_at = now + SCAN_EVERY;
        w1.bind_any();
        for sighting in w1.strangers(&to, now) {
            if to.out.send(Observed::Sighting(sighting)).await.is_err() {
                return;
            }
        }
        w1.own(now);
        let due = schedule.take(now);
        to.counts.miss(due.missed);
        for (turn, slots) in w1.turns(&due.sensors, &schedule, &to) {
            busy.push(measure(turn, slots, to.clone()));
        }
    }
    // Those under way have heard it too, and hand on what they have.
    while busy.next().await.is_some() {}
}

async fn measure(mut turn: BusTurn, slots: Vec<usize>, mut to: Sampling) -> Done {
    let all: Vec<usize> = (0..turn.chips.len()).collect();
    let onward = to.measure(&mut turn, &all).await;
    Done { turn, slots, onward }
}

impl W1 {
    /// Sensors whose chips are looked for under a folder. Those that take any chip are given one that is there now.
    pub fn new(root: &Path, sensors: Vec<W1Sensor>) -> W1 {
        let slot = |sensor: W1Sensor| {
            let mut slot = Slot { sensor, chip: SlotChip::Unbound, presence: Presence::default() };
            if let Some(id) = slot.sensor.id {
                slot.bind(root, id);
            }
            slot
        };
        let sensors = sensors.into_iter().map(slot).collect();
        let mut w1 = W1 {
            root: root.to_path_buf(),
            sensors,
            buses: BTreeMap::new(),
            strangers: BTreeMap::new(),
            seen: BTreeMap::new(),
            absent_wait: false,
            calls: Blocking::default(),
        };
        w1.seen = scan(root).unwrap_or_default();
        w1.bind_any();
        w1
    }

    /// The series and the address of each sensor that has one.
    pub fn addresses(&self) -> impl Iterator<Item = (u32, RomId)> + '_ {
        self.sensors.iter().filter_map(|slot| Some((slot.sensor.series, slot.id()?)))
    }

    /// Looks which chips are there. While the folder cannot be listed in time, what was there before still is; one that
    /// cannot be listed at all has none.
    async fn look(&mut self) {
        let root = self.root.clone();
        if let Ok(found) = self.calls.call(SCAN_DEADLINE, move || scan(&root)).await {
            self.seen = found.unwrap_or_default();
        }
    }

    fn is_own(&self, id: RomId) -> bool {
        self.sensors.iter().any(|slot| slot.id() == Some(id))
    }

    /// A sensor that takes any chip takes one that nobody has; when its own is gone, another if there is just one.
    fn bind_any(&mut self) {
        let free: Vec<RomId> = self.seen.keys().copied().filter(|id| !self.is_own(*id)).collect();
        let Some(first) = free.first().copied() else { return };
        for slot in self.sensors.iter_mut().filter(|slot| slot.sensor.id.is_none()) {
            let sensor = &slot.sensor.name;
            match (&slot.chip, free.len()) {
                (SlotChip::Unbound, 1) => {
                    tracing::info!(sensor, id = %first, "The sensor's chip is found.")
                }
                (SlotChip::Unbound, many) => tracing::warn!(
                    sensor,
                    id = %first,
                    "There are {many} thermometers and `id` is \"any\": the first is taken. Name it by its own id."
                ),
                (SlotChip::Idle(_), 1) if slot.presence.is_told_gone() => tracing::warn!(
                    sensor,
                    id = %first,
                    "The sensor's chip is gone and another is there: it is taken, since `id` is \"any\"."
                ),
                _ => continue,
            }
            slot.bind(&self.root, first);
            self.strangers.remove(&first);
            return;
        }
    }

    /// Chips that are not in the pipeline and came or went.
    fn strangers(&mut self, to: &Sampling, now: Instant) -> Vec<Sighting> {
        for id in self.seen.keys() {
            if self.strangers.len() >= STRANGERS {
                // On a bad cable ids appear for a moment: they make room.
                self.strangers.retain(|_, presence| !presence.is_told_gone());
            }
            if !self.is_own(*id) && self.strangers.len() < STRANGERS {
                self.strangers.entry(*id).or_default();
            }
        }
        let mut sightings = Vec::new();
        for (id, presence) in &mut self.strangers {
            if let Some(present) = presence.look(self.seen.contains_key(id), now) {
                report_stranger(*id, present);
                let time = to.clock.at(now);
                sightings.push(Sighting { id: id.to_string().into(), time, present });
            }
        }
        sightings
    }

    /// Tells of the pipeline's own sensors that came or went.
    fn own(&mut self, now: Instant) {
        for slot in &mut self.sensors {
            let Some(id) = slot.id() else {
                if slot.presence.look(false, now).is_some() {
                    let sensor = &slot.sensor.name;
                    tracing::warn!(
                        sensor,
                        "There is no thermometer: it gives faults until there is one."
                    );
                }
                continue;
            };
            let present = self.seen.contains_key(&id);
            if !present && let SlotChip::Idle(placed) = &mut slot.chip {
                placed.chip.appeared();
            }
            let Presence { flutters, .. } = slot.presence;
            let was_gone = slot.presence.is_told_gone();
            let sensor = &slot.sensor.name;
            match slot.presence.look(present, now) {
                Some(true) if was_gone => {
                    tracing::info!(sensor, %id, flutters, "The sensor is back on its bus.");
                }
                Some(false) => tracing::warn!(
                    sensor,
                    %id,
                    flutters,
                    "The sensor is not on its bus: it gives faults until it is back."
                ),
                _ => {}
            }
        }
    }

    /// The measurements that begin now: one for each bus, and one for sensors that are on none. What cannot begin, because
    /// the one before is not done, is missed.
    fn turns(
        &mut self,
        due: &[usize],
        schedule: &Schedule,
        to: &Sampling,
    ) -> Vec<(BusTurn, Vec<usize>)> {
        let mut of_bus: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        let mut absent = Vec::new();
        for &position in due {
            let Some(slot) = self.sensors.get(position) else { continue };
            match slot.id().and_then(|id| self.seen.get(&id)) {
                Some(bus) => of_bus.entry(bus.clone()).or_default().push(position),
                // Its last measurement comes first, from the bus that it was on.
                None if matches!(slot.chip, SlotChip::Busy(_)) => to.counts.miss(1),
                None => absent.push(slot.sensor.series),
            }
        }
        let mut turns = Vec::new();
        if !absent.is_empty() {
            if self.absent_wait {
                to.counts.miss(absent.len() as u64);
            } else {
                self.absent_wait = true;
                turns.push((BusTurn::nowhere(absent), Vec::new()));
            }
        }
        for (folder, positions) in of_bus {
            let bus = self
                .buses
                .entry(folder.clone())
                .or_insert_with(|| Some(W1Bus::new(folder.clone())));
            let Some(bus) = bus.take() else {
                to.counts.miss(positions.len() as u64);
                continue;
            };
            turns.push(self.turn(bus, positions, schedule, to));
        }
        turns
    }

    fn turn(
        &mut self,
        mut bus: W1Bus,
        positions: Vec<usize>,
        schedule: &Schedule,
        to: &Sampling,
    ) -> (BusTurn, Vec<usize>) {
        let (mut chips, mut slots) = (Vec::new(), Vec::new());
        for position in positions {
            match self.sensors.get_mut(position).and_then(Slot::take) {
                Some(placed) => {
                    chips.push(placed);
                    slots.push(position);
                }
                // It is still being measured on the bus that it was on before.
                None => to.counts.miss(1),
            }
        }
        let on_bus = |id: RomId| self.seen.get(&id).is_some_and(|folder| folder == bus.folder());
        let of_bus = self.sensors.iter().zip(0..).filter(|(slot, _)| slot.id().is_some_and(on_bus));
        let until = of_bus.filter_map(|(_, position)| schedule.next_of(position)).min();
        let is_in_turn = |id: RomId| chips.iter().any(|placed| placed.chip.rom_id == id);
        let others = self.seen.keys().copied().filter(|id| on_bus(*id) && !is_in_turn(*id));
        let others: Vec<RomId> = others.collect();
        bus.set_bystanders(&self.root, others);
        let until = until.unwrap_or_else(Instant::now);
        (BusTurn { bus: Some(bus), chips, absent: Vec::new(), until }, slots)
    }

    fn take_back(&mut self, done: Done) -> Onward {
        let Done { turn, slots, onward } = done;
        match turn.bus {
            Some(mut bus) => {
                bus.report(turn.until);
                self.buses.insert(bus.folder().to_path_buf(), Some(bus));
            }
            None => self.absent_wait = false,
        }
        for (placed, position) in turn.chips.into_iter().zip(slots) {
            if let Some(slot) = self.sensors.get_mut(position) {
                slot.chip = SlotChip::Idle(Box::new(placed));
            }
        }
        onward
    }
}

fn report_stranger(id: RomId, present: bool) {
    if present {
        tracing::info!(
            "A thermometer is there that is not in the pipeline. To take it in, add to the file:\n{}",
            toml_block(id)
        );
    } else {
        tracing::info!(%id, "A thermometer that is not in the pipeline is gone.");
    }
}
