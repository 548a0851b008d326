//! The DS18B20 driver against an emulated kernel: what the tests share.

mod faults;
mod hour;
mod plugging;
mod together;

use std::sync::Arc;
use std::time::Duration;

use emulated_kernel::{BulkFile, BusId, Chip, EmulatedKernel, KernelOptions, Sensor};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weir::clock::Clock;
use weir::reading::{Batch, Doubt, FaultReason, Input, Observed, Sighting};
use weir::sensor::w1::{ChipSettings, W1, W1Sensor, sample_w1};
use weir::sensor::{Sampled, Sampling};
use weir::stop::{self, Stopper};

use crate::support::PATIENCE;

/// The emulated kernel, or a word of why there is none.
pub fn mounted(options: KernelOptions) -> Option<EmulatedKernel> {
    match EmulatedKernel::mount(options) {
        Ok(kernel) => Some(kernel),
        Err(error) => {
            eprintln!("SKIPPED: the emulated kernel cannot be mounted: {error}");
            None
        }
    }
}

pub fn each_bus() -> KernelOptions {
    KernelOptions { bulk_file: BulkFile::EachBus, ..KernelOptions::default() }
}

pub fn id(bus: usize, number: usize) -> String {
    format!("28-{bus:02x}{number:010x}")
}

/// A running driver.
pub struct Driver {
    pub observed: mpsc::Receiver<Observed>,
    pub counts: Arc<Sampled>,
    pub clock: Clock,
    pub stopper: Stopper,
    pub task: JoinHandle<()>,
}

impl Driver {
    pub fn start(kernel: &EmulatedKernel, sensors: Vec<W1Sensor>) -> Driver {
        let (out, observed) = mpsc::channel(64);
        let (stopper, stop) = stop::channel();
        let counts = Arc::new(Sampled::default());
        let clock = Clock::start();
        let to = Sampling { clock, out, counts: counts.clone(), stop };
        let task = tokio::spawn(sample_w1(W1::new(&kernel.w1_root(), sensors), to));
        Driver { observed, counts, clock, stopper, task }
    }

    pub async fn observed(&mut self) -> Observed {
        let next = tokio::time::timeout(PATIENCE, self.observed.recv()).await;
        next.expect("the driver falls silent").expect("the driver ended")
    }

    pub async fn batch(&mut self) -> Batch {
        loop {
            if let Observed::Input(Input::Batch(batch)) = self.observed().await {
                return batch;
            }
        }
    }

    pub async fn sighting(&mut self) -> Sighting {
        loop {
            if let Observed::Sighting(sighting) = self.observed().await {
                return sighting;
            }
        }
    }

    /// The one value or fault of a sensor alone on its bus.
    pub async fn one(&mut self) -> Result<(f64, Option<Doubt>), FaultReason> {
        let batch = self.batch().await;
        assert_eq!(batch.len(), 1, "{batch:?}");
        match batch.readings.iter().next() {
            Some(reading) => Ok((reading.value, batch.doubt(&reading))),
            None => Err(batch.faults[0].reason),
        }
    }

    pub async fn stop(self) -> Arc<Sampled> {
        self.stopper.stop();
        drop(self.observed);
        tokio::time::timeout(PATIENCE, self.task).await.expect("it does not stop").unwrap();
        self.counts
    }
}

pub fn sensor(series: u32, id: &str, interval: Duration) -> W1Sensor {
    let settings = ChipSettings::default();
    W1Sensor { series, name: format!("s{series}"), id: id.parse().ok(), interval, settings }
}

pub fn quick(kernel: &EmulatedKernel, bus: BusId, id: &str, celsius: f64) -> Sensor {
    kernel.plug(bus, id, Chip::genuine(celsius).resolution(9).seed(0))
}
