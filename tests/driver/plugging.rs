//! Chips that come and go, and how they are set up.

use std::time::Duration;

use emulated_kernel::{Chip, KernelOptions};
use weir::reading::FaultReason;
use weir::sensor::w1::{ChipSettings, ConversionTime, W1Sensor};

use super::{Driver, id, mounted, quick, sensor};
use crate::support::PATIENCE;

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
    // This one cannot follow in the one, and does in the other.
    assert_eq!((read(2, "resolution"), read(2, "conv_time")), ("12\n".into(), "800\n".into()));
    // After a power cut in which the folder stayed it has 12 bit again, which its own bytes tell.
    chip.power_cycle();
    let again = async { while driver.batch().await.readings.value[0] != 20.0 {} };
    tokio::time::timeout(PATIENCE, again).await.expect("it is never set up again");
    driver.stop().await;
    assert_eq!((chip.eeprom_writes(), fixed.eeprom_writes()), (0, 0));
}

/// The kernel keeps a chip's folder for a while. A chip that loses power within that time has 12 bit again, while the kernel
/// goes on to wait for 9: what it gives then is the conversion before, and must not pass as good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chip_that_lost_power_unseen_gives_no_old_value_as_good() {
    let drop_delay = Duration::from_secs(100);
    let Some(kernel) = mounted(KernelOptions { drop_delay, ..KernelOptions::default() }) else {
        return;
    };
    let bus = kernel.add_bus();
    let chip = kernel.plug(bus, &id(0, 1), Chip::genuine(20.0).seed(0));
    let settings = ChipSettings { resolution: Some(9), conversion_time: None };
    let sensor = W1Sensor { settings, ..sensor(0, &id(0, 1), Duration::from_secs(2)) };
    let mut driver = Driver::start(&kernel, vec![sensor]);
    assert_eq!(driver.one().await, Ok((20.0, None)));
    kernel.unplug(chip.rom());
    let gone = async { while driver.one().await != Err(FaultReason::NoAnswer) {} };
    tokio::time::timeout(PATIENCE, gone).await.expect("its absence is never noticed");
    chip.set_celsius(30.0);
    kernel.replug(bus, &chip);
    for celsius in [30.0, 35.0, 40.0] {
        let told = driver.one().await;
        if !matches!(told, Err(_) | Ok((_, Some(_)))) {
            assert_eq!(told, Ok((celsius, None)), "old, and told as good");
        }
        chip.set_celsius(celsius + 5.0);
    }
    driver.stop().await;
}
