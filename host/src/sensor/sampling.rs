//! What a driver is, and the task that samples the sensors of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::Schedule;
use crate::clock::Clock;
use crate::reading::{Batch, Input, Observed};
use crate::stop::Stop;

/// Sensors that are measured together. Each knows its series.
pub trait Driver: Send {
    /// Measures the sensors at these positions. What each gave is added to the batch as soon as it is known, so that a
    /// measurement that is cut off keeps what it has.
    fn measure(
        &mut self,
        due: &[usize],
        clock: &Clock,
        batch: &mut Batch,
    ) -> impl Future<Output = ()> + Send;
}

/// What all sampling tasks count together.
#[derive(Debug, Default)]
pub struct Sampled {
    /// Readings and faults that were taken.
    pub taken: AtomicU64,
    /// Measurements that were due and did not happen, because the one before, or the chain, took too long.
    pub missed_cycles: AtomicU64,
}

impl Sampled {
    pub(super) fn miss(&self, cycles: u64) {
        self.missed_cycles.fetch_add(cycles, Ordering::Relaxed);
    }
}

/// Where a sampling task's batches go, and what ends it.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// The steady clock.
    pub clock: Clock,
    /// To the chain.
    pub out: mpsc::Sender<Observed>,
    /// What is counted.
    pub counts: Arc<Sampled>,
    /// Ends it.
    pub stop: Stop,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Onward {
    Yes,
    No,
}

impl Sampling {
    /// Measures once and hands on what came of it. When the chain's queue is full it waits for it. Of a measurement
    /// that is cut off, what was read goes on.
    pub(super) async fn measure(&mut self, driver: &mut impl Driver, due: &[usize]) -> Onward {
        let mut batch = Batch::default();
        let stopped = tokio::select! {
            () = self.stop.wait() => true,
            () = driver.measure(due, &self.clock, &mut batch) => false,
        };
        self.counts.taken.fetch_add(batch.len() as u64, Ordering::Relaxed);
        if !batch.is_empty() && self.out.send(Observed::Input(Input::Batch(batch))).await.is_err() {
            return Onward::No;
        }
        if stopped { Onward::No } else { Onward::Yes }
    }
}

/// Samples until told to stop or until nobody takes the batches. Turns that pass meanwhile are counted, not bunched.
pub async fn sample(mut driver: impl Driver, mut schedule: Schedule, mut to: Sampling) {
    while let Some(next) = schedule.next() {
        tokio::select! {
            () = to.stop.wait() => return,
            () = tokio::time::sleep_until(next) => {}
        }
        let due = schedule.take(tokio::time::Instant::now());
        to.counts.miss(due.missed);
        if to.measure(&mut driver, &due.sensors).await == Onward::No {
            return;
        }
    }
}
