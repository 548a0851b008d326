//! Bulk conversions, and how mounts end.

use std::fs;
use std::io::Read;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::{ROM, errno, mount, path, quick, read, taken, write};
use emulated_kernel::{BusFail, Chip, EmulatedKernel, Errno, Fail, KernelOptions};

const OTHER: &str = "22-000000c8a1c3";
const EA00: &str = "42-000000c8a1c3";
const MASTER: &str = "w1_bus_master1";

fn state(kernel: &EmulatedKernel) -> String {
    read(kernel, MASTER, "therm_bulk_read")
}

fn trigger(kernel: &EmulatedKernel) {
    write(kernel, MASTER, "therm_bulk_read", "trigger\n").unwrap();
}

#[test]
fn a_trigger_converts_all_and_each_is_read_once() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    let sensors = [ROM, OTHER, EA00].map(|rom| kernel.plug(bus, rom, Chip::genuine(20.0)));
    assert_eq!(state(&kernel), "0\n");
    let ((), time) = taken(|| trigger(&kernel));
    assert!(time >= Duration::from_millis(15), "{time:?}");
    assert_eq!((kernel.triggers(bus), state(&kernel).as_str()), (1, "1\n"));
    assert_eq!(sensors.each_ref().map(|sensor| sensor.conversions()), [1, 1, 1]);
    for sensor in &sensors {
        // Not this one any more.
        sensor.set_celsius(30.0);
    }
    assert_eq!(read(&kernel, ROM, "temperature"), "20000\n");
    assert_eq!(state(&kernel), "1\n");
    assert!(read(&kernel, OTHER, "w1_slave").ends_with("t=20000\n"));
    assert_eq!(state(&kernel), "0\n");
    // Family 42 hears the command to all, and the kernel has it convert again all the same.
    assert_eq!(read(&kernel, EA00, "temperature"), "30000\n");
    assert_eq!(read(&kernel, ROM, "temperature"), "30000\n");
    assert_eq!(sensors.each_ref().map(|sensor| sensor.conversions()), [2, 1, 2]);
}

#[test]
fn only_the_eight_bytes_trigger() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    let sensor = kernel.plug(bus, ROM, Chip::genuine(20.0));
    for text in ["trigger", "trigger\n\n", "Trigger\n", "", "1"] {
        write(&kernel, MASTER, "therm_bulk_read", text).unwrap();
    }
    assert_eq!((kernel.triggers(bus), sensor.conversions()), (0, 0));
    write(&kernel, MASTER, "therm_bulk_read", "trigger\0").unwrap();
    assert_eq!((kernel.triggers(bus), sensor.conversions()), (1, 1));
}

#[test]
fn while_it_runs_reads_are_empty_and_the_bus_is_free() {
    let Some(kernel) = mount(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    kernel.plug(bus, ROM, Chip::genuine(20.0).resolution(10).seed(0));
    thread::scope(|scope| {
        let running = scope.spawn(|| trigger(&kernel));
        assert!(kernel.wait_until(Duration::from_secs(1), |kernel| state(kernel) == "-1\n"));
        assert_eq!(read(&kernel, ROM, "w1_slave"), "");
        assert_eq!(read(&kernel, ROM, "temperature"), "");
        // A readout needs the bus.
        assert_eq!(read(&kernel, ROM, "resolution"), "10\n");
        assert!(!running.is_finished());
    });
    assert_eq!(read(&kernel, ROM, "temperature"), "20000\n");
}

#[test]
fn parasite_power_holds_the_bus() {
    let options = KernelOptions { pull_up_waits_twice: false, ..KernelOptions::default() };
    let Some(kernel) = mount(options) else { return };
    let bus = kernel.add_bus();
    kernel.plug(bus, ROM, Chip::genuine(20.0).resolution(10).parasite());
    thread::scope(|scope| {
        let running = scope.spawn(|| trigger(&kernel));
        assert!(kernel.wait_until(Duration::from_secs(1), |kernel| state(kernel) == "-1\n"));
        let (_, time) = taken(|| read(&kernel, ROM, "resolution"));
        assert!(time >= Duration::from_millis(100), "{time:?}");
        running.join().unwrap();
    });
    let Some(kernel) = mount(KernelOptions::default()) else { return };
    kernel.plug(kernel.add_bus(), ROM, Chip::genuine(20.0).resolution(9).parasite());
    let ((), time) = taken(|| trigger(&kernel));
    assert!(time >= Duration::from_millis(190), "{time:?}");
}

#[test]
fn without_presence_old_values_wait() {
    let Some(kernel) = mount(KernelOptions::default()) else { return };
    let bus = kernel.add_bus();
    let sensor = kernel.plug(bus, ROM, Chip::genuine(20.0));
    assert_eq!(read(&kernel, ROM, "temperature"), "20000\n");
    sensor.set_celsius(30.0);
    kernel.set_connected(bus, false);
    let ((), time) = taken(|| trigger(&kernel));
    assert!(time < Duration::from_millis(500), "{time:?}");
    assert_eq!(state(&kernel), "1\n");
    kernel.set_connected(bus, true);
    assert_eq!(read(&kernel, ROM, "temperature"), "20000\n");
    assert_eq!((sensor.conversions(), sensor.stale_reads()), (1, 1));
}

#[test]
fn faults_of_conversions_come_with_the_trigger_before_their_read() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    let sensor = kernel.plug(bus, ROM, Chip::genuine(20.0));
    sensor.script([
        Fail::Nothing,
        Fail::LostConvert,
        Fail::PowerOn,
        Fail::InsufficientPower,
        Fail::Crc,
    ]);
    let read = || {
        trigger(&kernel);
        read(&kernel, ROM, "temperature")
    };
    let values: Vec<String> = (0..6).map(|_| read()).collect();
    assert_eq!(values, ["20000\n", "20000\n", "85000\n", "127937\n", "", "20000\n"]);
    kernel.script_triggers(bus, [BusFail::LostConvert]);
    sensor.set_celsius(30.0);
    assert_eq!(read(), "20000\n");
}

#[test]
fn triggers_fail_too() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    let sensor = kernel.plug(bus, ROM, Chip::genuine(20.0));
    kernel.script_triggers(
        bus,
        [BusFail::Ignored, BusFail::Errno(Errno::EIO), BusFail::HangUntilReleased],
    );
    trigger(&kernel);
    assert_eq!((state(&kernel).as_str(), sensor.conversions()), ("0\n", 0));
    assert_eq!(errno(write(&kernel, MASTER, "therm_bulk_read", "trigger\n")), Errno::EIO.code());
    thread::scope(|scope| {
        let hung = scope.spawn(|| trigger(&kernel));
        assert!(kernel.wait_until(Duration::from_secs(2), |kernel| kernel.triggers(bus) == 3));
        thread::sleep(Duration::from_millis(50));
        assert!(!hung.is_finished());
        kernel.release_bus(bus);
    });
    assert_eq!(sensor.conversions(), 1);
}

#[test]
fn a_ghost_makes_triggers_do_nothing() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    let sensor = kernel.plug(bus, ROM, Chip::genuine(20.0));
    kernel.add_ghost(bus, "00-800000000000");
    trigger(&kernel);
    assert_eq!((state(&kernel).as_str(), sensor.conversions()), ("0\n", 0));
}

#[test]
fn a_mount_ends_with_open_files_and_hanging_reads() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    let sensor = kernel.plug(bus, ROM, Chip::genuine(20.0));
    sensor.script([Fail::HangUntilReleased]);
    let mut hanging = fs::File::open(path(&kernel, ROM, "w1_slave")).unwrap();
    let hung = thread::spawn(move || hanging.read(&mut [0]).is_ok());
    assert!(kernel.wait_until(Duration::from_secs(2), |kernel| kernel.pending_reads(bus) == 1));
    let root = kernel.root().to_owned();
    let _open = fs::File::open(path(&kernel, ROM, "name")).unwrap();
    drop(kernel);
    let _either = hung.join().unwrap();
    assert!(!root.exists());
}

#[test]
fn a_killed_reader_ends_although_its_read_hangs() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    let sensor = kernel.plug(bus, ROM, Chip::genuine(20.0));
    sensor.script([Fail::HangUntilReleased, Fail::Nothing]);
    let mut reader = Command::new("cat").arg(path(&kernel, ROM, "w1_slave")).spawn().unwrap();
    assert!(kernel.wait_until(Duration::from_secs(5), |kernel| kernel.pending_reads(bus) == 1));
    reader.kill().unwrap();
    assert!(!reader.wait().unwrap().success());
    let held = kernel.hold_bus(bus).unwrap();
    let mut reader = Command::new("cat").arg(path(&kernel, ROM, "w1_slave")).spawn().unwrap();
    assert!(kernel.wait_until(Duration::from_secs(5), |kernel| kernel.pending_reads(bus) == 1));
    reader.kill().unwrap();
    assert!(!reader.wait().unwrap().success());
    drop(held);
    assert_eq!(read(&kernel, ROM, "temperature"), "20000\n");
}

#[test]
fn a_mount_ends_with_a_panic() {
    let Some(kernel) = mount(quick()) else { return };
    let root = kernel.root().to_owned();
    let panicked = thread::spawn(move || {
        let _kernel = kernel;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(!root.exists());
}
