//! One bus: makes its chips measure together, and reads them.
//!
//! With one command to all chips and then a read each (`therm_bulk_read`), so that all of them take about one conversion
//! time. Where that is not to be had, one after the other: the kernel holds the bus for each conversion.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::chip::{Chip, ChipSettings, LONGEST_CONVERSION, conversion_time};
use super::open::{Open, longest_conversion, lose};
use crate::clock::Clock;
use crate::reading::{Batch, FaultReason, Timestamp};
use crate::sensor::kernel::{Blocking, Hangs, read_attribute, write_attribute};
use crate::sensor::{Driver, RomId};

/// What a trigger may take beside the conversion.
const TRIGGER_SLACK: Duration = Duration::from_millis(1_750);
/// How often the end of somebody else's conversion is looked for.
const POLL: Duration = Duration::from_millis(20);
/// A read again must be over so long before the next cycle.
const MARGIN: Duration = Duration::from_millis(100);

/// A bus master.
#[derive(Debug)]
pub struct W1Bus {
    folder: PathBuf,
    /// Why its chips are not measured by one command, if they are not.
    fallback: Option<Fallback>,
    /// What was said of it, so that each is said once.
    said: Vec<Option<Fallback>>,
    said_late: bool,
    /// Whether the last turn was by a command to all.
    measured_at_once: bool,
    /// Other thermometers of the bus than those whose turn it is. A command to all makes them measure too, and one that
    /// is not read then would give that old value at its next read.
    bystanders: BTreeMap<RomId, Chip>,
    calls: Blocking,
}

/// Why chips are not measured by one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fallback {
    Missing,
    NotWritable,
    Failed,
}

/// What a trigger came to.
enum Triggered {
    /// All chips have measured since this time.
    At(Timestamp),
    /// They have to be asked one by one.
    No(Fallback),
    /// The kernel does not give the bus back.
    Stuck,
}

/// One chip with its series.
#[derive(Debug)]
pub struct Placed {
    /// The number of its series.
    pub series: u32,
    /// The chip.
    pub chip: Chip,
    /// How it is to be set up.
    pub settings: ChipSettings,
}

/// The chips of one bus that are measured together.
#[derive(Debug)]
pub struct BusTurn {
    /// Their bus; `None` for sensors that are on none.
    pub bus: Option<W1Bus>,
    /// Those whose turn it is.
    pub chips: Vec<Placed>,
    /// Series of sensors that are on no bus.
    pub absent: Vec<u32>,
    /// When the next turn comes: reads again end before it.
    pub until: Instant,
}

impl Driver for BusTurn {
    async fn measure(&mut self, due: &[usize], clock: &Clock, batch: &mut Batch) {
        let BusTurn { bus, chips, absent, until } = self;
        for series in absent {
            batch.put(*series, clock.now(), Err(FaultReason::NotPresent));
        }
        let Some(bus) = bus else { return };
        let mut open: Vec<Open<'_>> = chips
            .iter_mut()
            .enumerate()
            .filter(|(position, _)| due.contains(position))
            .map(|(_, placed)| Open::new(placed))
            .collect();
        if bus.calls.hangs() {
            return lose(open, FaultReason::Timeout, clock, batch);
        }
        for Open { placed, .. } in open.iter_mut().filter(|open| !open.placed.chip.hangs()) {
            if placed.chip.prepare(placed.settings).await == Err(Hangs) {
                // The next would wait as long for the same bus.
                break;
            }
        }
        bus.measured_at_once = false;
        if open.iter().filter(|open| open.placed.chip.serves_bulk()).count() > 1 {
            match bus.trigger(&open, clock).await {
                Triggered::At(time) => {
                    bus.fallback = None;
                    bus.measured_at_once = true;
                    open = read_triggered(open, time, batch).await;
                    bus.drain_bystanders().await;
                }
                Triggered::No(why) => bus.fallback = Some(why),
                Triggered::Stuck => return lose(open, FaultReason::Timeout, clock, batch),
            }
        }
        bus.read_each(open, *until, clock, batch).await;
    }
}

impl BusTurn {
    /// The turn of sensors that are on no bus.
    pub fn nowhere(absent: Vec<u32>) -> BusTurn {
        let until = Instant::now();
        BusTurn { bus: None, chips: Vec::new(), absent, until }
    }
}

impl W1Bus {
    /// The bus whose master has this folder.
    pub fn new(folder: PathBuf) -> W1Bus {
        W1Bus {
            folder,
            fallback: None,
            said: vec![None],
            said_late: false,
            measured_at_once: false,
            bystanders: BTreeMap::new(),
            calls: Blocking::default(),
        }
    }

    /// Whether the last turn was by a command to all chips.
    pub fn measured_at_once(&self) -> bool {
        self.measured_at_once
    }

    /// The folder of its master.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells it which other thermometers it has.
    pub(super) fn set_bystanders(&mut self, w1_root: &Path, ids: Vec<RomId>) {
        let mut before = std::mem::take(&mut self.bystanders);
        let chip = |id| (id, before.remove(&id).unwrap_or_else(|| Chip::new(w1_root, id)));
        self.bystanders = ids.into_iter().map(chip).collect();
    }

    /// Makes all chips of the bus measure. The write itself takes the conversion time.
    async fn trigger(&mut self, open: &[Open<'_>], clock: &Clock) -> Triggered {
        let file = self.folder.join("therm_bulk_read");
        let longest = longest_conversion(open);
        let time = clock.now();
        // Exactly this text: the kernel takes any other for good and does nothing. It is timed where it is made, and not
        // by the runtime's clock, which tests stop.
        let trigger = move || {
            let begun = std::time::Instant::now();
            write_attribute(&file, "trigger\n").map(|()| begun.elapsed())
        };
        let took = match self.calls.call(longest + TRIGGER_SLACK, trigger).await {
            Err(Hangs) => return Triggered::Stuck,
            Ok(Ok(took)) => took,
            Ok(Err(error)) => {
                return Triggered::No(match error.kind() {
                    io::ErrorKind::NotFound => Fallback::Missing,
                    io::ErrorKind::PermissionDenied => Fallback::NotWritable,
                    _ => Fallback::Failed,
                });
            }
        };
        // The write succeeds whatever happened. Without an answer from the bus the kernel returns at once, and would
        // give old scratchpads for new ones.
        let was_made = took >= longest || took >= self.least_wait(open).await;
        if was_made && self.bulk_state().await == Some(1) {
            Triggered::At(time)
        } else {
            Triggered::No(Fallback::Failed)
        }
    }

    /// What the kernel says of the conversion of all chips: -1 it is running, 1 not all are read, 0 there is none.
    async fn bulk_state(&mut self) -> Option<i8> {
        let file = self.folder.join("therm_bulk_read");
        let read = self.calls.call(TRIGGER_SLACK, move || read_attribute(&file)).await;
        read.ok()?.ok()?.trim().parse().ok()
    }

    /// How long the kernel waits at least, asked anew: somebody may have changed it. A kernel that does not tell is not
    /// believed: more than anything it could take.
    async fn least_wait(&mut self, open: &[Open<'_>]) -> Duration {
        let bulk = open.iter().filter(|open| open.placed.chip.serves_bulk());
        let folders: Vec<PathBuf> = bulk.map(|open| open.placed.chip.folder.clone()).collect();
        let ask = move || folders.iter().filter_map(|folder| conversion_time(folder)).max();
        let least = self.calls.call(TRIGGER_SLACK, ask).await.ok().flatten();
        least.unwrap_or(Duration::MAX)
    }

    /// Waits while a conversion is running that somebody else began: meanwhile all reads are empty. Gives whether
    /// results of it may wait to be read.
    async fn settle(&mut self) -> bool {
        let until = Instant::now() + LONGEST_CONVERSION + TRIGGER_SLACK;
        loop {
            match self.bulk_state().await {
                Some(-1) if Instant::now() < until => tokio::time::sleep(POLL).await,
                state => return state == Some(1),
            }
        }
    }

    /// A conversion of each chip's own, and again for those that failed, as long as there is time.
    async fn read_each(
        &mut self,
        mut open: Vec<Open<'_>>,
        until: Instant,
        clock: &Clock,
        batch: &mut Batch,
    ) {
        let has_time =
            |open: &Open<'_>| Instant::now() + open.placed.chip.conversion() + MARGIN <= until;
        while !open.is_empty() {
            for open in open.iter_mut().filter(|open| open.reads > 0 && !has_time(open)) {
                open.decide(batch);
            }
            open.retain(Open::is_open);
            if !open.is_empty() && self.settle().await {
                // Results wait that nobody has read: of which chips is not told, so each is read for nothing.
                for Open { placed, .. } in open.iter_mut().filter(|open| !open.placed.chip.hangs())
                {
                    if placed.chip.read().await == Err(FaultReason::Timeout) {
                        break;
                    }
                }
                self.drain_bystanders().await;
            }
            let (mut again, mut stuck) = (Vec::new(), 0);
            for mut open in open {
                if open.reads > 0 {
                    if !has_time(&open) {
                        open.decide(batch);
                        continue;
                    }
                    let Placed { chip, settings, .. } = open.placed;
                    // Its own read tells of a chip that hangs.
                    let _hangs = chip.prepare(*settings).await;
                }
                let time = clock.now();
                let read = open.read(&mut stuck).await;
                if open.take(time, read, batch) {
                    again.push(open);
                }
            }
            open = again;
        }
    }

    /// Nobody waits for these: they are read so that they do not give an old value later.
    async fn drain_bystanders(&mut self) {
        let bystanders = self.bystanders.values_mut();
        for chip in bystanders.filter(|chip| chip.serves_bulk() && !chip.hangs()) {
            let hangs = chip.prepare(ChipSettings::default()).await == Err(Hangs);
            if hangs || chip.read().await == Err(FaultReason::Timeout) {
                return;
            }
        }
    }

    /// Says how the bus measures, each way once, and when that takes longer than until its next turn.
    pub fn report(&mut self, until: Instant) {
        let bus = self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if Instant::now() > until && !std::mem::replace(&mut self.said_late, true) {
            tracing::warn!(
                bus,
                "Measuring its sensors takes longer than their interval: cycles are missed. Choose a longer `interval`."
            );
        }
        if self.said.contains(&self.fallback) {
            return;
        }
        self.said.push(self.fallback);
        match self.fallback {
            None => {}
            Some(Fallback::Missing) => tracing::info!(
                bus,
                "The kernel has no therm_bulk_read for this bus: its sensors are measured one after the other."
            ),
            Some(Fallback::NotWritable) => tracing::warn!(
                bus,
                "therm_bulk_read may not be written: the bus's sensors are measured one after the other. `weir \
                 sensors` prints the udev rule that allows it."
            ),
            Some(Fallback::Failed) => tracing::warn!(
                bus,
                "The bus did not answer the command to all its sensors: they are measured one after the other."
            ),
        }
    }
}

/// After a command to all: each chip once, without a conversion. Gives those that have to be read again.
async fn read_triggered<'t>(
    open: Vec<Open<'t>>,
    time: Timestamp,
    batch: &mut Batch,
) -> Vec<Open<'t>> {
    let mut again = Vec::new();
    let mut stuck = 0;
    for mut open in open {
        if !open.placed.chip.serves_bulk() {
            again.push(open);
            continue;
        }
        let read = open.read(&mut stuck).await;
        if open.take(time, read, batch) {
            again.push(open);
        }
    }
    again
}
