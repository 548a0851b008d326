//! Looks at all thermometers without a pipeline, once or again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::chip::Reads;
use super::{BusTurn, Chip, ChipSettings, Placed, W1Bus};
use crate::clock::Clock;
use crate::reading::{Batch, Measured, Measurement, Timestamp};
use crate::sensor::{Driver, RomId};

/// Reads that failed are made again within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// All thermometers of all buses.
#[derive(Debug, Default)]
pub struct Survey {
    turns: BTreeMap<PathBuf, BusTurn>,
}

/// What one look gave of one thermometer.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// When the conversion began.
    pub time: Timestamp,
    /// Its reading or fault.
    pub measurement: Measurement,
    /// How all reads of it went.
    pub reads: Reads,
    /// Bits of its temperature, as its bytes say.
    pub resolution: Option<u8>,
    /// Whether its bytes are those of a clone.
    pub is_clone: bool,
    /// How long its bus took for all its chips.
    pub took: Duration,
    /// Whether they were measured by one command.
    pub at_once: bool,
}

impl Survey {
    /// Measures all that is there, all buses beside each other. What was there before and is not any more is forgotten.
    pub async fn look(
        &mut self,
        root: &Path,
        seen: &BTreeMap<RomId, PathBuf>,
        clock: &Clock,
    ) -> BTreeMap<RomId, Look> {
        self.follow(root, seen);
        let looks = self.turns.values_mut().map(|turn| look_at(turn, clock));
        join_all(looks).await.into_iter().flatten().collect()
    }

    fn follow(&mut self, root: &Path, seen: &BTreeMap<RomId, PathBuf>) {
        self.turns.retain(|bus, turn| {
            turn.chips.retain(|placed| seen.get(&placed.chip.rom_id) == Some(bus));
            !turn.chips.is_empty()
        });
        for (id, bus) in seen {
            let turn = self.turns.entry(bus.clone()).or_insert_with(|| BusTurn {
                bus: Some(W1Bus::new(bus.clone())),
                ..BusTurn::nowhere(Vec::new())
            });
            if !turn.chips.iter().any(|placed| placed.chip.rom_id == *id) {
                let (chip, settings) = (Chip::new(root, *id), ChipSettings::default());
                turn.chips.push(Placed { series: 0, chip, settings });
            }
        }
    }
}

async fn look_at(turn: &mut BusTurn, clock: &Clock) -> Vec<(RomId, Look)> {
    let begun = Instant::now();
    turn.until = begun + PATIENCE;
    for (placed, series) in turn.chips.iter_mut().zip(0..) {
        placed.series = series;
    }
    let (all, mut batch): (Vec<usize>, _) = ((0..turn.chips.len()).collect(), Batch::default());
    turn.measure(&all, clock, &mut batch).await;
    let took = begun.elapsed();
    let at_once = turn.bus.as_ref().is_some_and(W1Bus::measured_at_once);
    let looks = batch.in_order().into_iter().filter_map(|measured| {
        let (series, time, measurement) = match measured {
            Ok(reading) => {
                let doubt = batch.doubt(&reading);
                (reading.series, reading.time, Ok(Measured { value: reading.value, doubt }))
            }
            Err(fault) => (fault.series, fault.time, Err(fault.reason)),
        };
        let chip = &turn.chips.get(series as usize)?.chip;
        let resolution = measurement.is_ok().then(|| chip.track.resolution()).flatten();
        let is_clone = chip.track.is_clone();
        let look =
            Look { time, measurement, reads: chip.reads, resolution, is_clone, took, at_once };
        Some((chip.rom_id, look))
    });
    looks.collect()
}
