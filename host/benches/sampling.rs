//! What it takes to read many DS18B20 at 12 bit: the driver with one command to all chips of a bus, beside the plain way of
//! one chip after the other, against the emulated kernel in the same run. `cargo bench --bench sampling`.

#![expect(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use emulated_kernel::{BulkFile, Chip, EmulatedKernel, KernelOptions, Timing};
use weir::clock::Clock;
use weir::sensor::RomId;
use weir::sensor::scratchpad::parse_w1_slave;
use weir::sensor::w1::{Survey, scan};

/// Conversion time at 12 bit.
const CONVERSION: Duration = Duration::from_millis(750);
/// Chips on each bus.
const CHIPS: usize = 20;
const ROUNDS: usize = 5;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!(
        "{CHIPS} DS18B20 at 12 bit on each bus; 1.00 is a conversion time of {CONVERSION:?}.\n"
    );
    println!(
        "{:>6}  {:<22} {:>14} {:>20} {:>7}",
        "buses", "bus", "driver", "one after the other", "ratio"
    );
    for (name, timing) in
        [("takes no time", Timing::instant()), ("bit-banged by w1-gpio", Timing::bit_banged())]
    {
        for buses in [1, 4] {
            let options =
                KernelOptions { bulk_file: BulkFile::EachBus, timing, ..KernelOptions::default() };
            let kernel = match EmulatedKernel::mount(options) {
                Ok(kernel) => kernel,
                Err(error) => return println!("SKIPPED: the kernel cannot be emulated: {error}"),
            };
            for bus in 0..buses {
                let master = kernel.add_bus();
                for chip in 0..CHIPS {
                    kernel.plug(master, &format!("28-{bus:02x}{chip:010x}"), Chip::genuine(20.0));
                }
            }
            let driver = runtime.block_on(by_driver(&kernel.w1_root()));
            let plain = one_after_the_other(&kernel.w1_root());
            println!(
                "{buses:>6}  {name:<22} {:>14.2} {:>20.2} {:>6.1}x",
                in_conversions(driver),
                in_conversions(plain),
                plain.as_secs_f64() / driver.as_secs_f64()
            );
        }
    }
}

fn in_conversions(time: Duration) -> f64 {
    time.as_secs_f64() / CONVERSION.as_secs_f64()
}

/// The median time of a cycle of all buses.
async fn by_driver(root: &Path) -> Duration {
    let (clock, mut survey) = (Clock::start(), Survey::default());
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        let begun = Instant::now();
        let seen: BTreeMap<RomId, PathBuf> = scan(root).unwrap();
        let looks = survey.look(root, &seen, &clock).await;
        assert!(looks.len() == seen.len() && looks.values().all(|look| look.measurement.is_ok()));
        // In the first round each chip is asked how it is set up.
        if round > 0 {
            times.push(begun.elapsed());
        }
    }
    times.sort();
    times.get(ROUNDS / 2).copied().unwrap()
}

/// The time of one cycle: a thread for each bus reads `w1_slave` of its chips in turn.
fn one_after_the_other(root: &Path) -> Duration {
    let mut buses: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for (id, bus) in scan(root).unwrap() {
        buses.entry(bus).or_default().push(root.join(id.to_string()).join("w1_slave"));
    }
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for files in buses.values() {
            scope.spawn(move || {
                for file in files {
                    let text = std::fs::read_to_string(file).unwrap();
                    assert!(parse_w1_slave(&text).is_ok());
                }
            });
        }
    });
    begun.elapsed()
}
