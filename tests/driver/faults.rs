//! Every fault of a chip told apart, on its own and beside others.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use emulated_kernel::{Chip, Errno, Fail, KernelOptions, crc8};
use weir::reading::{Doubt, FaultReason};

use super::{Driver, each_bus, id, mounted, quick, sensor};
use crate::support::PATIENCE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_chip_is_told_apart() {
    const ID: &str = "28-0316a2794dff";
    let Some(kernel) = mounted(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    let chip = quick(&kernel, bus, ID, 21.5);
    // There is time for three reads, also on a machine that does other things meanwhile.
    let mut driver = Driver::start(&kernel, vec![sensor(0, ID, Duration::from_secs(2))]);
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

/// After a command to all a fault of one chip is its own, and it is read again by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_beside_healthy_chips_stay_their_own() {
    let Some(kernel) = mounted(each_bus()) else { return };
    let bus = kernel.add_bus();
    let chips: Vec<_> = (0..4).map(|n| quick(&kernel, bus, &id(0, n), 20.5)).collect();
    // Two healthy chips around one that stays ill and one that is well at its second read.
    chips[1].script(vec![Fail::PowerOn; 3]);
    chips[2].script([Fail::InsufficientPower]);
    let sensors = (0..4).map(|n| sensor(n as u32, &id(0, n), Duration::from_secs(3))).collect();
    let mut driver = Driver::start(&kernel, sensors);
    let batch = driver.batch().await;
    let good: Vec<(u32, f64)> = batch.readings.iter().map(|r| (r.series, r.value)).collect();
    let faults: Vec<_> = batch.faults.iter().map(|fault| (fault.series, fault.reason)).collect();
    assert_eq!(good, [(0, 20.5), (3, 20.5), (2, 20.5)], "in the order in which they were known");
    assert_eq!(faults, [(1, FaultReason::PowerOnValue)]);
    assert_eq!(kernel.triggers(bus), 1);
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
async fn what_clones_and_lost_commands_give_is_doubted_or_read_again() {
    let Some(kernel) = mounted(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    // A clone holds 25.00 until its first conversion, and its first command gets lost.
    let chip = kernel.plug(bus, &id(0, 1), Chip::clone_with_power_on_25(4.5).resolution(9).seed(0));
    chip.power_cycle();
    chip.script([Fail::LostConvert]);
    let mut driver = Driver::start(&kernel, vec![sensor(0, &id(0, 1), Duration::from_secs(2))]);
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
