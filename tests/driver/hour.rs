//! An hour of chips that are plugged in and out.

use std::sync::atomic::Ordering;
use std::time::Duration;

use emulated_kernel::{Chip, Sensor};
use weir::sensor::w1::{ChipSettings, ConversionTime, W1Sensor};

use super::{Driver, each_bus, id, mounted, sensor};

/// A test that runs this process once more for itself alone, so that its memory is its own.
const HOUR: &str = "WEIR_TEST_HOUR";

#[test]
fn an_hour_of_plugging_loses_no_cycle_no_second_and_no_memory() {
    let name = "driver::hour::the_hour_itself";
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
    for (series, told) in told.iter().enumerate() {
        let told: u32 = told.iter().sum();
        let told_or_missed = SECONDS.saturating_sub(missed as u32)..=SECONDS + 1;
        assert!(told_or_missed.contains(&told), "sensor {series}: {told}, {missed} missed in all");
    }
    let due = SECONDS * SENSORS as u32;
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
