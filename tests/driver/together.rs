//! One conversion time for all chips, and what becomes of buses where that is not to be had.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use emulated_kernel::{BusFail, Chip, EmulatedKernel, Errno, Sensor};
use weir::reading::{FaultReason, Quality};
use weir::sensor::w1::W1Sensor;

use super::{Driver, each_bus, id, mounted, quick, sensor};
use crate::support::PATIENCE;

/// What a conversion of a chip at 12 bit takes.
const CONVERSION: Duration = Duration::from_millis(750);

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
            // From the beginning of the conversion to the last reading, by the readings' own times.
            let (mut told, mut longest) = (BTreeSet::new(), Duration::ZERO);
            while told.len() < count {
                let batch = driver.batch().await;
                let now = driver.clock.now();
                assert_eq!(batch.faults, [], "cycle {cycle}");
                for reading in batch.readings.iter() {
                    let expected = f64::from(reading.series) / 4.0;
                    assert_eq!((reading.value, reading.quality), (expected, Quality::Good));
                    assert!(told.insert(reading.series), "twice in cycle {cycle}: {reading:?}");
                    longest = longest.max(now.since(reading.time));
                }
            }
            eprintln!("{buses} buses of 20, cycle {cycle}: {longest:?}");
            assert!(longest <= CONVERSION * 5 / 4 + SLOWNESS, "{buses} buses: {longest:?}");
        }
        driver.stop().await;
        assert_eq!(plugged.iter().map(Sensor::stale_reads).sum::<u64>(), 0);
        assert!(plugged.iter().all(|sensor| sensor.eeprom_writes() == 0));
    }
}

/// Other tests run meanwhile: what they may take. One after the other, twenty chips take fourteen seconds.
const SLOWNESS: Duration = Duration::from_secs(2);

/// When no chip answers the command to all, the kernel says at once that results are there: they are old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_nobody_answered_gives_no_old_value() {
    let Some(kernel) = mounted(each_bus()) else { return };
    let bus = kernel.add_bus();
    let chips: Vec<Sensor> = (0..2).map(|n| quick(&kernel, bus, &id(0, n), 20.0)).collect();
    let sensors = (0..2).map(|n| sensor(n as u32, &id(0, n), Duration::from_secs(2))).collect();
    let mut driver = Driver::start(&kernel, sensors);
    assert_eq!(driver.batch().await.readings.value, [20.0, 20.0]);
    kernel.script_triggers(bus, [BusFail::NoPresence]);
    for chip in &chips {
        chip.set_celsius(25.0);
    }
    assert_eq!(driver.batch().await.readings.value, [25.0, 25.0]);
    driver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_is_cut_off_gives_faults_until_it_is_back() {
    let Some(kernel) = mounted(each_bus()) else { return };
    let bus = kernel.add_bus();
    for number in 0..2 {
        quick(&kernel, bus, &id(0, number), 20.0);
    }
    let sensors = (0..2).map(|n| sensor(n as u32, &id(0, n), Duration::from_secs(1))).collect();
    let mut driver = Driver::start(&kernel, sensors);
    assert_eq!(driver.batch().await.readings.value, [20.0, 20.0]);
    kernel.set_connected(bus, false);
    let cut = async { while driver.batch().await.faults.len() < 2 {} };
    tokio::time::timeout(PATIENCE, cut).await.expect("it is never noticed");
    let faults = driver.batch().await.faults;
    assert!(faults.iter().all(|fault| fault.reason == FaultReason::NoAnswer), "{faults:?}");
    kernel.set_connected(bus, true);
    let back = async { while driver.batch().await.readings.len() < 2 {} };
    tokio::time::timeout(PATIENCE, back).await.expect("the bus never comes back");
    driver.stop().await;
}

/// All families on one bus, powered in both ways: each by its own rule, and those that cannot hear a command to all too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn families_and_powers_mix_on_a_bus() {
    let Some(kernel) = mounted(each_bus()) else { return };
    let bus = kernel.add_bus();
    let mut sensors = Vec::new();
    for (series, (id, chip, celsius)) in (0..).zip([
        ("10-000802b4abcd", Chip::genuine(21.25), 21.25),
        ("22-000802b4abcd", Chip::genuine(-0.5), -0.5),
        ("28-000802b4abcd", Chip::genuine(-10.125).parasite(), -10.125),
        ("3b-000802b4abcd", Chip::genuine(85.0), 85.0),
        ("3b-000802b4abce", Chip::max31850(1_050.25), 1_050.25),
        ("42-000802b4abcd", Chip::genuine(125.0), 125.0),
    ]) {
        kernel.plug(bus, id, chip);
        sensors.push((sensor(series, id, Duration::from_secs(10)), celsius));
    }
    let (sensors, expected): (Vec<W1Sensor>, Vec<f64>) = sensors.into_iter().unzip();
    let mut driver = Driver::start(&kernel, sensors);
    let batch = driver.batch().await;
    let mut values: Vec<(u32, f64)> = batch.readings.iter().map(|r| (r.series, r.value)).collect();
    values.sort_by_key(|(series, _)| *series);
    let values: Vec<f64> = values.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, expected, "{batch:?}");
    assert_eq!(kernel.triggers(bus), 1);
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
async fn a_bus_without_a_command_to_all_falls_back_and_comes_back() {
    let Some(kernel) = mounted(each_bus()) else { return };
    let bus = kernel.add_bus();
    for number in 0..3 {
        quick(&kernel, bus, &id(0, number), 20.0 + number as f64);
    }
    let sensors = (0..3).map(|n| sensor(n as u32, &id(0, n), Duration::from_secs(2))).collect();
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
    driver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_elses_command_left_is_not_taken_for_new() {
    let Some(kernel) = mounted(each_bus()) else { return };
    let bus = kernel.add_bus();
    let chip = quick(&kernel, bus, &id(0, 0), 20.0);
    quick(&kernel, bus, &id(0, 1), 20.0);
    // One of the two is in the pipeline, so it is asked by itself.
    let mut driver =
        Driver::start(&kernel, vec![sensor(0, &id(0, 0), Duration::from_millis(1_500))]);
    assert_eq!(driver.one().await, Ok((20.0, None)));
    std::fs::write(kernel.w1_root().join("w1_bus_master1/therm_bulk_read"), "trigger\n").unwrap();
    chip.set_celsius(25.0);
    assert_eq!(driver.one().await, Ok((25.0, None)));
    driver.stop().await;
    assert_eq!(kernel.triggers(bus), 1, "the driver itself has sent no command to all");
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
        (0..3).map(|n| sensor(n as u32, &id(0, n), Duration::from_secs(2))).collect();
    sensors[2].interval = Duration::from_secs(4);
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
