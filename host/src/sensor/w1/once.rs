//! One look at all thermometers, without a pipeline.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{BusTurn, Chip, ChipSettings, Placed, W1Bus};
use crate::clock::Clock;
use crate::reading::Batch;
use crate::sensor::{Driver, RomId};

/// Reads that failed are made again within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures every thermometer that is there once, all buses beside each other. Series are numbered in the order of the
/// addresses.
pub async fn measure_all(seen: &BTreeMap<RomId, PathBuf>, root: &Path, clock: &Clock) -> Batch {
    let mut turns: BTreeMap<&Path, BusTurn> = BTreeMap::new();
    for ((id, bus), series) in seen.iter().zip(0..) {
        let turn = turns.entry(bus).or_insert_with(|| BusTurn {
            bus: Some(W1Bus::new(bus.clone())),
            ..BusTurn::nowhere(Vec::new())
        });
        turn.until = Instant::now() + PATIENCE;
        let (chip, settings) = (Chip::new(root, *id), ChipSettings::default());
        turn.chips.push(Placed { series, chip, settings, is_new: true });
    }
    let measured = turns.into_values().map(|mut turn| async move {
        let (all, mut batch): (Vec<usize>, _) = ((0..turn.chips.len()).collect(), Batch::default());
        turn.measure(&all, clock, &mut batch).await;
        batch
    });
    let mut whole = Batch::default();
    for batch in join_all(measured).await {
        whole.append(batch);
    }
    whole
}
