//! The DS18B20 driver against an emulated kernel: one conversion time for all, every fault told apart, chips that come
//! and go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use emulated_kernel::{
    BulkFile, BusFail, Chip, EmulatedKernel, Errno, Fail, KernelOptions, Sensor, crc8,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weir::clock::Clock;
use weir::reading::{Batch, Doubt, FaultReason, Input, Observed, Quality, Sighting};
use weir::sensor::w1::{ChipSettings, ConversionTime, W1, W1Sensor, sample_w1};
use weir::sensor::{Sampled, Sampling};
use weir::stop::{self, Stopper};

use crate::support::PATIENCE;

/// What a conversion of a chip at 12 bit takes.
const CONVERSION: Duration = Duration::from_millis(750);

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

fn each_bus() -> KernelOptions {
    KernelOptions { bulk_file: BulkFile::EachBus, ..KernelOptions::default() }
}

fn id(bus: usize, number: usize) -> String {
    format!("28-{bus:02x}{number:010x}")
}

/// A running driver.
struct Driver {
    observed: mpsc::Receiver<Observed>,
    counts: Arc<Sampled>,
    stopper: Stopper,
    task: JoinHandle<()>,
}

impl Driver {
    fn start(kernel: &EmulatedKernel, sensors: Vec<W1Sensor>) -> Driver {
        let (out, observed) = mpsc::channel(64);
        let (stopper, stop) = stop::channel();
        let counts = Arc::new(Sampled::default());
        let to = Sampling { clock: Clock::start(), out, counts: counts.clone(), stop };
        let task = tokio::spawn(sample_w1(W1::new(&kernel.w1_root(), sensors), to));
        Driver { observed, counts, stopper, task }
    }

    async fn observed(&mut self) -> Observed {
        let next = tokio::time::timeout(PATIENCE, self.observed.recv()).await;
        next.expect("the driver falls silent").expect("the driver ended")
    }

    async fn batch(&mut self) -> Batch {
        loop {
            if let Observed::Input(Input::Batch(batch)) = self.observed().await {
                return batch;
            }
        }
    }

    async fn sighting(&mut self) -> Sighting {
        loop {
            if let Observed::Sighting(sighting) = self.observed().await {
                return sighting;
            }
        }
    }

    /// The one value or fault of a sensor alone on its bus.
    async fn one(&mut self) -> Result<(f64, Option<Doubt>), FaultReason> {
        let batch = self.batch().await;
        assert_eq!(batch.len(), 1, "{batch:?}");
        match batch.readings.iter().next() {
            Some(reading) => Ok((reading.value, batch.doubt(&reading))),
            None => Err(batch.faults[0].reason),
        }
    }

    async fn stop(self) -> Arc<Sampled> {
        self.stopper.stop();
        drop(self.observed);
        tokio::time::timeout(PATIENCE, self.task).await.expect("it does not stop").unwrap();
        self.counts
    }
}

fn sensor(series: u32, id: &str, interval: Duration) -> W1Sensor {
    let settings = ChipSettings::default();
    W1Sensor { series, name: format!("s{series}"), id: id.parse().ok(), interval, settings }
}

/// Buses with chips at 12 bit, and their sensors.
fn plug(kernel: &EmulatedKernel, buses: usize, chips: usize) -> (Vec<Sensor>, Vec<W1Sensor>) {
    let (mut plugged, mut sensors) = (Vec::new(), Vec::new());
    for bus in 0..buses {
        let master = kernel.add_bus();
        for number in 0..chips {
            let (series, id) = (u32::try_from(sensors.len()).unwrap(), id(bus, number));
            plugged.push(kernel.plug(master, &id, Chip::genuine(f64::from(series) / 4.0)));
            sensors.push(sensor(series, &id, Duration::from_secs(2)));
        }
    }
    (plugged, sensors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_chips_of_all_buses_take_one_conversion_time() {
    for buses in [1, 4] {
        let Some(kernel) = mounted(each_bus()) else { return };
        let (plugged, sensors) = plug(&kernel, buses, 20);
        let count = sensors.len();
        let mut driver = Driver::start(&kernel, sensors);
        for cycle in 1..=2 {
            let begun = Instant::now();
            let mut seen = 0;
            let mut last = Duration::ZERO;
            while seen < count {
                let batch = driver.batch().await;
                assert_eq!(batch.faults, [], "cycle {cycle}");
                for reading in batch.readings.iter() {
                    let expected = f64::from(reading.series) / 4.0;
                    assert_eq!((reading.value, reading.quality), (expected, Quality::Good));
                }
                seen += batch.len();
                last = begun.elapsed();
            }
            // The first cycle also asks each chip how it is set up; the second begins when its turn comes.
            let wait = if cycle == 1 { Duration::ZERO } else { Duration::from_secs(1) };
            eprintln!(
                "{buses} buses of 20, cycle {cycle}: {last:?} (with up to {wait:?} of waiting)"
            );
            assert!(last <= CONVERSION * 5 / 4 + wait + slowness(), "{buses} buses: {last:?}");
        }
        driver.stop().await;
        assert_eq!(plugged.iter().map(Sensor::stale_reads).sum::<u64>(), 0);
        assert!(plugged.iter().all(|sensor| sensor.eeprom_writes() == 0));
    }
}

/// On a machine that does other things meanwhile the limit means nothing. `WEIR_STRICT_TIMES=1` takes it at its word.
fn slowness() -> Duration {
    let strict = std::env::var_os("WEIR_STRICT_TIMES").is_some();
    if strict { Duration::ZERO } else { CONVERSION * 10 }
}

fn quick(kernel: &EmulatedKernel, bus: emulated_kernel::BusId, id: &str, celsius: f64) -> Sensor {
    kernel.plug(bus, id, Chip::genuine(celsius).resolution(9).seed(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_chip_is_told_apart() {
    const ID: &str = "28-0316a2794dff";
    let Some(kernel) = mounted(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    let chip = quick(&kernel, bus, ID, 21.5);
    // So short that a failed read is tried three times within it and not more.
    let mut driver = Driver::start(&kernel, vec![sensor(0, ID, Duration::from_secs(1))]);
    assert_eq!(driver.one().await, Ok((21.5, None)));
    use FaultReason::*;
    let mut too_hot = [0xf0, 0x07, 0x4b, 0x46, 0x1f, 0xff, 0x10, 0x10, 0];
    too_hot[8] = crc8(&too_hot[..8]);
    for (fail, reason) in [
        (Fail::Crc, NoAnswer),
        (Fail::Empty, NoAnswer),
        (Fail::AllOnes, NoAnswer),
        (Fail::AllZero, AllZero),
        (Fail::PowerOn, PowerOnValue),
        (Fail::InsufficientPower, InsufficientPower),
        (Fail::Errno(Errno::EIO), IoError),
        (Fail::Errno(Errno::EAGAIN), IoError),
        (Fail::Errno(Errno::ENODEV), NotPresent),
        (Fail::Text("nonsense\n".to_owned()), IoError),
        (Fail::Bytes(too_hot), OutOfRange),
    ] {
        chip.heal();
        chip.script([fail.clone(), fail.clone(), fail.clone()]);
        let told = driver.one().await;
        assert_eq!(told, Err(reason), "{fail:?}");
        chip.heal();
        // Once it fails and the read after it is good: that one is the reading.
        chip.script([fail.clone()]);
        let told = driver.one().await;
        let expected = if reason == NotPresent { Err(reason) } else { Ok((21.5, None)) };
        assert_eq!(told, expected, "{fail:?}, then nothing");
    }
    driver.stop().await;
}

/// Kernels before 5.8 have no command to all, tell nothing of a chip, and print what they could not check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_kernels_texts_are_read_too() {
    const ID: &str = "28-0316a2794dff";
    let Some(kernel) = mounted(KernelOptions::v5_4().times_faster(100)) else { return };
    let bus = kernel.add_bus();
    let chip = kernel.plug(bus, ID, Chip::genuine(-0.0625));
    let mut driver = Driver::start(&kernel, vec![sensor(0, ID, Duration::from_millis(500))]);
    assert_eq!(driver.one().await, Ok((-0.0625, None)));
    chip.script([Fail::Crc, Fail::Crc, Fail::Crc]);
    assert_eq!(driver.one().await, Err(FaultReason::CrcMismatch));
    driver.stop().await;
}

/// A foreign chip on the bus makes the kernel do nothing at a trigger, and say nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ghost_on_the_bus_costs_time_and_no_reading() {
    let Some(kernel) = mounted(each_bus()) else { return };
    let bus = kernel.add_bus();
    for number in 0..2 {
        quick(&kernel, bus, &id(0, number), 20.0);
    }
    kernel.add_ghost(bus, "00-400000000000");
    let sensors = (0..2).map(|n| sensor(n as u32, &id(0, n), Duration::from_secs(1))).collect();
    let mut driver = Driver::start(&kernel, sensors);
    for _cycle in 0..2 {
        assert_eq!(driver.batch().await.readings.value, [20.0, 20.0]);
    }
    driver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_hangs_is_a_timeout_and_not_begun_twice() {
    const ID: &str = "28-0316a2794dff";
    let Some(kernel) = mounted(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    let chip = quick(&kernel, bus, ID, 21.5);
    let mut driver = Driver::start(&kernel, vec![sensor(0, ID, Duration::from_millis(500))]);
    assert_eq!(driver.one().await, Ok((21.5, None)));
    chip.script([Fail::HangUntilReleased]);
    assert_eq!(driver.one().await, Err(FaultReason::Timeout));
    let reads = chip.reads();
    let begun = Instant::now();
    assert_eq!(driver.one().await, Err(FaultReason::Timeout));
    assert!(begun.elapsed() < Duration::from_secs(2), "the second did not wait for the first");
    assert_eq!((kernel.pending_reads(bus), chip.reads()), (1, reads), "one read hangs, no other");
    chip.release();
    let found = async { while driver.one().await != Ok((21.5, None)) {} };
    tokio::time::timeout(PATIENCE, found).await.expect("it never comes back");
    driver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_without_a_command_to_all_falls_back_and_comes_back() {
    let Some(kernel) = mounted(each_bus()) else { return };
    let bus = kernel.add_bus();
    let chips: Vec<Sensor> =
        (0..3).map(|n| quick(&kernel, bus, &id(0, n), 20.0 + n as f64)).collect();
    let sensors = (0..3).map(|n| sensor(n as u32, &id(0, n), Duration::from_secs(1))).collect();
    let mut driver = Driver::start(&kernel, sensors);
    let mut good = async |what: &str| {
        let batch = driver.batch().await;
        let values: Vec<f64> = batch.readings.value.clone();
        assert_eq!(values, [20.0, 21.0, 22.0], "{what}: {batch:?}");
    };
    good("by a trigger").await;
    assert_eq!(kernel.triggers(bus), 1);
    kernel.set_writable("therm_bulk_read", false);
    good("not writable").await;
    assert_eq!(kernel.triggers(bus), 1);
    kernel.set_writable("therm_bulk_read", true);
    for fail in [BusFail::Ignored, BusFail::Errno(Errno::EIO)] {
        kernel.script_triggers(bus, [fail.clone()]);
        good(&format!("{fail:?}")).await;
    }
    good("by a trigger again").await;
    // Somebody else triggers and reads nothing: what waits is not taken for new.
    chips[0].set_celsius(20.0);
    std::fs::write(kernel.w1_root().join("w1_bus_master1/therm_bulk_read"), "trigger\n").unwrap();
    good("after somebody else's trigger").await;
    driver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_does_not_come_back_holds_up_no_other() {
    let Some(kernel) = mounted(each_bus()) else { return };
    let (stuck, free) = (kernel.add_bus(), kernel.add_bus());
    let mut sensors = Vec::new();
    for (bus, master) in [stuck, free].into_iter().enumerate() {
        for number in 0..2 {
            quick(&kernel, master, &id(bus, number), 20.0);
            let series = u32::try_from(sensors.len()).unwrap();
            sensors.push(sensor(series, &id(bus, number), Duration::from_millis(500)));
        }
    }
    kernel.script_triggers(stuck, [BusFail::HangUntilReleased]);
    let mut driver = Driver::start(&kernel, sensors);
    let (mut good, mut timeouts) = (0, 0);
    let begun = Instant::now();
    while timeouts < 4 {
        let batch = driver.batch().await;
        good += batch.readings.iter().filter(|reading| reading.series >= 2).count();
        for fault in &batch.faults {
            assert_eq!((fault.series < 2, fault.reason), (true, FaultReason::Timeout));
            timeouts += 1;
        }
    }
    let cycles = begun.elapsed().as_millis() / 500;
    assert!(good as u128 >= cycles, "{good} readings of two sensors in {cycles} cycles");
    kernel.release_bus(stuck);
    let back =
        async { while !driver.batch().await.readings.iter().any(|reading| reading.series == 0) {} };
    tokio::time::timeout(PATIENCE, back).await.expect("the bus never comes back");
    driver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bystanders_are_read_too_so_that_they_give_no_old_value_later() {
    let Some(kernel) = mounted(each_bus()) else { return };
    let bus = kernel.add_bus();
    let chips: Vec<Sensor> = (0..4).map(|n| quick(&kernel, bus, &id(0, n), 20.0)).collect();
    // The third is read every other cycle, the fourth is in no pipeline.
    let mut sensors: Vec<W1Sensor> =
        (0..3).map(|n| sensor(n as u32, &id(0, n), Duration::from_secs(1))).collect();
    sensors[2].interval = Duration::from_secs(2);
    let mut driver = Driver::start(&kernel, sensors);
    for cycle in 0..4 {
        let celsius = 21.0 + f64::from(cycle);
        // All batches before are in: the next conversion has not begun.
        for chip in &chips {
            chip.set_celsius(celsius);
        }
        let batch = driver.batch().await;
        if cycle > 0 {
            assert_eq!(batch.len(), if cycle % 2 == 0 { 3 } else { 2 }, "cycle {cycle}");
            assert!(batch.readings.value.iter().all(|value| *value == celsius), "{batch:?}");
        }
    }
    let state = std::fs::read_to_string(kernel.w1_root().join("w1_bus_master1/therm_bulk_read"));
    driver.stop().await;
    assert_eq!(chips.iter().map(Sensor::stale_reads).collect::<Vec<_>>(), [0; 4]);
    assert_eq!(state.unwrap(), "0\n", "nothing is left unread");
    let rest = std::fs::read_to_string(kernel.w1_root().join(id(0, 3)).join("w1_slave"));
    assert!(rest.unwrap().contains("t=24000"), "a new conversion");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chips_come_and_go_and_what_is_not_in_the_pipeline_is_told() {
    let Some(kernel) = mounted(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    let (own, other) = (id(0, 1), id(0, 2));
    let chip = quick(&kernel, bus, &own, 20.5);
    let mut driver = Driver::start(&kernel, vec![sensor(0, &own, Duration::from_millis(500))]);
    assert_eq!(driver.one().await, Ok((20.5, None)));
    quick(&kernel, bus, &other, 20.0);
    let found = driver.sighting().await;
    assert_eq!((&*found.id, found.present), (other.as_str(), true));
    kernel.unplug(&own);
    let gone = async { while driver.one().await != Err(FaultReason::NotPresent) {} };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is never told to be gone");
    assert_eq!(driver.one().await, Err(FaultReason::NotPresent));
    chip.set_celsius(22.5);
    kernel.replug(bus, &chip);
    let back = async { while driver.one().await != Ok((22.5, None)) {} };
    tokio::time::timeout(PATIENCE, back).await.expect("it never comes back");
    kernel.unplug(&other);
    let gone = driver.sighting().await;
    assert_eq!((&*gone.id, gone.present), (other.as_str(), false));
    driver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn id_any_takes_the_chip_that_is_there_and_its_replacement() {
    let Some(kernel) = mounted(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    let any = W1Sensor { id: None, ..sensor(0, "any", Duration::from_millis(500)) };
    let mut driver = Driver::start(&kernel, vec![any]);
    assert_eq!(driver.one().await, Err(FaultReason::NotPresent));
    quick(&kernel, bus, &id(0, 1), 20.5);
    let found = async { while driver.one().await != Ok((20.5, None)) {} };
    tokio::time::timeout(PATIENCE, found).await.expect("it is never taken");
    kernel.unplug(&id(0, 1));
    quick(&kernel, bus, &id(0, 2), 22.5);
    let replaced = async { while driver.one().await != Ok((22.5, None)) {} };
    tokio::time::timeout(PATIENCE, replaced).await.expect("its replacement is never taken");
    driver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chips_are_set_up_and_nothing_goes_to_their_eeprom() {
    let Some(kernel) = mounted(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    let chip = kernel.plug(bus, &id(0, 1), Chip::genuine(20.4375));
    let fixed = kernel.plug(bus, &id(0, 2), Chip::clone_with_fixed_12_bit(20.4375));
    let settings = ChipSettings {
        resolution: Some(9),
        conversion_time: Some(ConversionTime::Fixed(Duration::from_millis(800))),
    };
    let sensors = (1..3)
        .map(|n| W1Sensor { settings, ..sensor(n as u32 - 1, &id(0, n), Duration::from_secs(2)) });
    let mut driver = Driver::start(&kernel, sensors.collect());
    let batch = driver.batch().await;
    assert_eq!(batch.readings.value, [20.0, 20.4375]);
    let read = |number, file: &str| {
        std::fs::read_to_string(kernel.w1_root().join(id(0, number)).join(file)).unwrap()
    };
    assert_eq!((read(1, "resolution"), read(1, "conv_time")), ("9\n".into(), "800\n".into()));
    assert_eq!(read(2, "resolution"), "12\n");
    // After a power cut in which the folder stayed it has 12 bit again, which its own bytes tell.
    chip.power_cycle();
    let again = async { while driver.batch().await.readings.value[0] != 20.0 {} };
    tokio::time::timeout(PATIENCE, again).await.expect("it is never set up again");
    driver.stop().await;
    assert_eq!((chip.eeprom_writes(), fixed.eeprom_writes()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clones_and_lost_commands_give_is_doubted_or_read_again() {
    let Some(kernel) = mounted(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    // A clone holds 25.00 until its first conversion, and its first command gets lost.
    let chip = kernel.plug(bus, &id(0, 1), Chip::clone_with_power_on_25(4.5).resolution(9).seed(0));
    chip.power_cycle();
    chip.script([Fail::LostConvert]);
    let mut driver = Driver::start(&kernel, vec![sensor(0, &id(0, 1), Duration::from_secs(1))]);
    assert_eq!(driver.one().await, Ok((4.5, None)), "read again");
    for celsius in [6.5, 8.5, 10.5] {
        chip.set_celsius(celsius);
        assert_eq!(driver.one().await, Ok((celsius, None)));
    }
    // It moves, and one command gets lost: the read after it tells.
    chip.set_celsius(12.5);
    chip.script([Fail::LostConvert]);
    assert_eq!(driver.one().await, Ok((12.5, None)), "read again");
    // Three get lost: the old value is doubted.
    chip.set_celsius(14.5);
    assert_eq!(driver.one().await, Ok((14.5, None)));
    chip.set_celsius(16.5);
    chip.script([Fail::LostConvert, Fail::LostConvert, Fail::LostConvert]);
    assert_eq!(driver.one().await, Ok((14.5, Some(Doubt::Stale))));
    let counts = driver.stop().await;
    assert_eq!(counts.missed_cycles.load(Ordering::Relaxed), 0);
}

/// A test that runs this process once more for itself alone, so that its memory is its own.
const HOUR: &str = "WEIR_TEST_HOUR";

#[test]
fn an_hour_of_plugging_loses_no_cycle_no_second_and_no_memory() {
    let name = "driver::the_hour_itself";
    let hour = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--ignored"])
        .env(HOUR, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&hour.stderr) + String::from_utf8_lossy(&hour.stdout);
    eprintln!("{text}");
    assert!(hour.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test(start_paused = true)]
#[ignore = "the test above runs it in a process of its own"]
async fn the_hour_itself() {
    const SECONDS: u32 = 3_600;
    const SENSORS: usize = 10;
    assert!(std::env::var_os(HOUR).is_some(), "run by the test above alone");
    let Some(kernel) = mounted(each_bus()) else { return };
    let bus = kernel.add_bus();
    let settings = ChipSettings {
        resolution: Some(9),
        conversion_time: Some(ConversionTime::Fixed(Duration::from_millis(2))),
    };
    let quick = |celsius: f64| {
        Chip::genuine(celsius).real_conversion(Duration::from_millis(1)).resolution(9).seed(0)
    };
    let chips: Vec<Sensor> =
        (0..SENSORS).map(|n| kernel.plug(bus, &id(0, n), quick(n as f64))).collect();
    let sensors = (0..SENSORS)
        .map(|n| W1Sensor { settings, ..sensor(n as u32, &id(0, n), Duration::from_secs(1)) });
    let mut driver = Driver::start(&kernel, sensors.collect());
    let begun = tokio::time::Instant::now();
    let mut told = [[0_u32; 2]; SENSORS];
    let (mut first, mut last) = ([None; SENSORS], [None; SENSORS]);
    let mut random = fastrand::Rng::with_seed(3);
    let mut is_plugged = [true; SENSORS];
    let mut early_memory = 0;
    while begun.elapsed() < Duration::from_secs(u64::from(SECONDS)) {
        let batch = driver.batch().await;
        for measured in batch.in_order() {
            let (series, time, kind) = match measured {
                Ok(reading) => {
                    assert_eq!(reading.value, f64::from(reading.series));
                    (reading.series as usize, reading.time, 0)
                }
                Err(fault) => (fault.series as usize, fault.time, 1),
            };
            told[series][kind] += 1;
            first[series].get_or_insert(time);
            last[series] = Some(time);
        }
        // About every other second a chip is plugged out or in.
        let number = random.usize(..2 * SENSORS);
        if let Some(plugged) = is_plugged.get_mut(number) {
            *plugged = !*plugged;
            match *plugged {
                true => kernel.replug(bus, &chips[number]),
                false => kernel.unplug(chips[number].rom()),
            }
        }
        if begun.elapsed() < Duration::from_secs(600) {
            early_memory = resident();
        }
    }
    let late_memory = resident();
    let counts = driver.stop().await;
    let missed = counts.missed_cycles.load(Ordering::Relaxed);
    let taken: u32 = told.iter().flatten().sum();
    let faults: u32 = told.iter().map(|[_, faults]| faults).sum();
    eprintln!(
        "{taken} measurements of {SENSORS} sensors in {SECONDS} s: {faults} faults, {missed} missed; \
         {early_memory} kB resident after ten minutes, {late_memory} kB after an hour"
    );
    // What is still in the queue was taken and is not told here: at most a cycle.
    let due = SECONDS * SENSORS as u32;
    assert!((due - SENSORS as u32..=due + SENSORS as u32).contains(&(taken + missed as u32)));
    assert!(missed < 100 && faults > due / 10 && faults < due * 9 / 10);
    for (first, last) in first.into_iter().zip(last) {
        let off = last.unwrap().since(first.unwrap()).as_nanos() % 1_000_000_000;
        let off = off.min(1_000_000_000 - off);
        assert!(off < 30_000_000, "after an hour the turns are off by {off} ns");
    }
    assert!(late_memory < early_memory + 2_048, "{early_memory} kB, then {late_memory} kB");
}

/// Resident memory of this process, in kB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
