//! The task that samples the sensors of one bus, cycle by cycle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Measurement, Simulated, W1Sensor};
use crate::reading::{Batch, Fault, Input, Reading, Timestamp};
use crate::stop::Stop;

/// Sensors that are read one after the other, in one cycle.
#[derive(Debug)]
pub struct Bus {
    /// From the beginning of a cycle to the beginning of the next.
    pub interval: Duration,
    /// In the order in which they are read.
    pub sensors: Vec<BusSensor>,
}

/// One sensor of a bus.
#[derive(Debug)]
pub struct BusSensor {
    /// The number of its series.
    pub series: u32,
    /// What reads it.
    pub driver: BusDriver,
}

/// What reads a sensor of a bus.
#[derive(Debug)]
pub enum BusDriver {
    /// Through the kernel.
    W1(W1Sensor),
    /// A simulation.
    Simulated(Box<Simulated>),
}

/// What all sampling tasks count together.
#[derive(Debug, Default)]
pub struct Sampled {
    /// Readings and faults that were taken.
    pub taken: AtomicU64,
    /// Cycles that did not happen because the one before, or the chain, took too long.
    pub missed_cycles: AtomicU64,
}

/// Samples until told to stop or until nobody takes the batches. When the chain's queue is full the task waits for
/// it; the cycles that it cannot make meanwhile are counted, not bunched.
pub async fn sample(mut bus: Bus, out: mpsc::Sender<Input>, counts: Arc<Sampled>, mut stop: Stop) {
    let begun = Instant::now();
    let mut cycles = tokio::time::interval(bus.interval);
    cycles.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut last: Option<Instant> = None;
    loop {
        let mut batch = Batch::default();
        let cycle = async {
            let at = cycles.tick().await;
            if let Some(last) = last.replace(at) {
                let missed = (at - last).as_nanos() / bus.interval.as_nanos().max(1);
                let missed = u64::try_from(missed).unwrap_or(u64::MAX).saturating_sub(1);
                counts.missed_cycles.fetch_add(missed, Ordering::Relaxed);
            }
            read_all(&mut bus.sensors, at - begun, &mut batch).await;
        };
        let stopped = tokio::select! {
            () = stop.wait() => true,
            () = cycle => false,
        };
        // Of a cycle that is cut off, what was read goes on.
        counts.taken.fetch_add(batch.len() as u64, Ordering::Relaxed);
        if !batch.is_empty() && out.send(Input::Batch(batch)).await.is_err() {
            return;
        }
        if stopped {
            return;
        }
    }
}

async fn read_all(sensors: &mut [BusSensor], since_begun: Duration, batch: &mut Batch) {
    for sensor in sensors {
        let time = Timestamp::now();
        let measurement = match &mut sensor.driver {
            BusDriver::W1(sensor) => sensor.read().await,
            BusDriver::Simulated(sensor) => sensor.read(since_begun),
        };
        put(batch, sensor.series, time, measurement);
    }
}

/// Adds what a measurement gave to a batch.
pub(super) fn put(batch: &mut Batch, series: u32, time: Timestamp, measurement: Measurement) {
    match measurement {
        Ok(m) => batch.readings.push(Reading { series, time, value: m.value, quality: m.quality }),
        Err(reason) => batch.faults.push(Fault { series, time, reason }),
    }
}
