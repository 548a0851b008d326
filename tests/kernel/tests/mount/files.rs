//! Which files there are, who may write them, and what is plugged where.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::support::{ROM, errno, mount, path, quick, read, write};
use emulated_kernel::{
    BulkFile, Chip, EmulatedKernel, Entry, Errno, Fail, KernelOptions, StrongPullUp,
};

const EACCES: i32 = 13;
const EINVAL: i32 = 22;
const EIO: i32 = 5;
const ENODEV: i32 = 19;
const ENOENT: i32 = 2;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_tree_is_that_of_a_pi() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    kernel.plug(bus, ROM, Chip::genuine(20.0));
    kernel.plug(bus, "10-000802b5a1c3", Chip::genuine(20.0));
    assert_eq!(names(&kernel.w1_root()), ["10-000802b5a1c3", ROM, "w1_bus_master1"]);
    let link = fs::read_link(kernel.w1_root().join(ROM)).unwrap();
    assert_eq!(link, Path::new("../../../devices/w1_bus_master1/28-0316a2794dff"));
    let all = [
        "alarms",
        "conv_time",
        "eeprom_cmd",
        "ext_power",
        "features",
        "id",
        "name",
        "resolution",
        "temperature",
        "w1_slave",
    ];
    assert_eq!(names(&kernel.w1_root().join(ROM)), all);
    let without: Vec<_> = all.into_iter().filter(|name| *name != "resolution").collect();
    assert_eq!(names(&kernel.w1_root().join("10-000802b5a1c3")), without);
    assert_eq!(read(&kernel, ROM, "name"), format!("{ROM}\n"));
    let id = fs::read(path(&kernel, ROM, "id")).unwrap();
    assert_eq!(id[..7], [0x28, 0xff, 0x4d, 0x79, 0xa2, 0x16, 0x03]);
    let master = |file| read(&kernel, "w1_bus_master1", file);
    assert_eq!(master("w1_master_name"), "w1_bus_master1\n");
    assert_eq!(master("w1_master_slave_count"), "2\n");
    assert_eq!(master("w1_master_slaves"), format!("{ROM}\n10-000802b5a1c3\n"));
    assert_eq!(master("w1_master_search"), "-1\n");
    let model = fs::read(kernel.root().join("proc/device-tree/model")).unwrap();
    assert_eq!(model, b"Raspberry Pi 4 Model B Rev 1.4\0");
    assert_eq!(mode(&path(&kernel, ROM, "w1_slave")), 0o644);
    assert_eq!(mode(&path(&kernel, ROM, "eeprom_cmd")), 0o200);
    assert_eq!(mode(&path(&kernel, ROM, "temperature")), 0o444);
    // Root too is refused what a file is not for.
    assert_eq!(errno(fs::read(path(&kernel, ROM, "eeprom_cmd"))), EACCES);
    assert_eq!(errno(write(&kernel, ROM, "temperature", "1")), EACCES);
}

#[test]
fn writes_can_be_refused() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    kernel.plug(bus, ROM, Chip::genuine(20.0));
    let trigger = || write(&kernel, "w1_bus_master1", "therm_bulk_read", "trigger\n");
    kernel.set_writable("therm_bulk_read", false);
    assert_eq!(mode(&path(&kernel, "w1_bus_master1", "therm_bulk_read")), 0o444);
    assert_eq!(errno(trigger()), EACCES);
    kernel.refuse_writes("therm_bulk_read", Errno::EPERM);
    assert_eq!(errno(trigger()), Errno::EPERM.code());
    kernel.set_writable("therm_bulk_read", true);
    kernel.set_all_writable(false);
    trigger().unwrap();
    assert_eq!(errno(write(&kernel, ROM, "resolution", "9")), EACCES);
    assert_eq!(kernel.triggers(bus), 1);
}

#[test]
fn settings_are_those_of_the_chip() {
    let Some(kernel) = mount(quick()) else { return };
    let sensor = kernel.plug(kernel.add_bus(), ROM, Chip::genuine(20.06));
    let set = |file, text| write(&kernel, ROM, file, text);
    set("resolution", "9\n").unwrap();
    assert_eq!(
        (read(&kernel, ROM, "resolution").as_str(), sensor.scratchpad().0[4]),
        ("9\n", 0x1f)
    );
    assert_eq!(read(&kernel, ROM, "conv_time"), "95\n");
    set("conv_time", "40").unwrap();
    assert_eq!(read(&kernel, ROM, "conv_time"), "40\n");
    set("w1_slave", "10").unwrap();
    assert_eq!(read(&kernel, ROM, "conv_time"), "190\n");
    assert_eq!(errno(set("resolution", "8")), EINVAL);
    assert_eq!(errno(set("resolution", "15")), EINVAL);
    assert_eq!(errno(set("conv_time", "-1")), EINVAL);
    assert_eq!(errno(set("features", "4")), EINVAL);
    set("resolution", "nonsense").unwrap();
    set("features", "3").unwrap();
    assert_eq!(read(&kernel, ROM, "features"), "3\n");
    set("alarms", "30 -5\n").unwrap();
    assert_eq!(read(&kernel, ROM, "alarms"), "-5 30\n");
    // 10 bit really take 150 ms, asked for every 32 ms, and a fifth to spare.
    set("conv_time", "1").unwrap();
    assert_eq!(read(&kernel, ROM, "conv_time"), "192\n");
    sensor.power_cycle();
    assert_eq!(read(&kernel, ROM, "resolution"), "12\n");
}

#[test]
fn eeprom_writes_are_counted() {
    let Some(kernel) = mount(quick()) else { return };
    let sensor = kernel.plug(kernel.add_bus(), ROM, Chip::genuine(20.0));
    let set = |file, text| write(&kernel, ROM, file, text).unwrap();
    set("resolution", "11");
    set("eeprom_cmd", "save");
    set("eeprom_cmd", "savee\n");
    assert_eq!(sensor.eeprom_writes(), 0);
    set("eeprom_cmd", "restore\n");
    assert_eq!(read(&kernel, ROM, "resolution"), "12\n");
    set("resolution", "11");
    set("eeprom_cmd", "save\n");
    set("w1_slave", "0");
    assert_eq!(sensor.eeprom_writes(), 2);
    sensor.power_cycle();
    assert_eq!(read(&kernel, ROM, "resolution"), "11\n");
}

#[test]
fn clones_differ() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    kernel.plug(bus, "28-000000000001", Chip::clone_with_constant_0c(85.0));
    assert!(read(&kernel, "28-000000000001", "w1_slave").starts_with("50 05 4b 46 7f ff 0c 10 1c"));
    let sensor = kernel.plug(bus, "28-000000000002", Chip::clone_with_power_on_25(20.0));
    assert_eq!(sensor.scratchpad().0[..2], [0x90, 0x01]);
    kernel.plug(bus, "28-000000000003", Chip::clone_with_fixed_12_bit(20.0));
    assert_eq!(errno(write(&kernel, "28-000000000003", "resolution", "9")), EIO);
    let Some(kernel) = mount(KernelOptions::v5_10().times_faster(50)) else { return };
    kernel.plug(kernel.add_bus(), ROM, Chip::clone_with_fixed_12_bit(20.0));
    write(&kernel, ROM, "resolution", "9").unwrap();
    assert_eq!(read(&kernel, ROM, "conv_time"), "95\n");
    assert_eq!(read(&kernel, ROM, "resolution"), "12\n");
}

#[test]
fn features_check_the_result_of_own_conversions() {
    let Some(kernel) = mount(quick()) else { return };
    kernel.plug(kernel.add_bus(), ROM, Chip::clone_with_constant_0c(85.0));
    write(&kernel, ROM, "features", "1").unwrap();
    assert_eq!(read(&kernel, ROM, "w1_slave"), "");
    write(&kernel, "w1_bus_master1", "therm_bulk_read", "trigger\n").unwrap();
    assert_eq!(read(&kernel, ROM, "temperature"), "85000\n");
}

#[test]
fn power_is_asked_of_the_chip() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    let sensor = kernel.plug(bus, ROM, Chip::genuine(20.0).parasite());
    assert_eq!(read(&kernel, ROM, "ext_power"), "0\n");
    assert_eq!(errno(write(&kernel, ROM, "conv_time", "1")), EIO);
    sensor.set_parasite(false);
    assert_eq!(read(&kernel, ROM, "ext_power"), "1\n");
    kernel.set_connected(bus, false);
    assert_eq!(read(&kernel, ROM, "ext_power"), "-19\n");
    let forced = KernelOptions { strong_pull_up: StrongPullUp::Forced, ..quick() };
    let Some(kernel) = mount(forced) else { return };
    kernel.plug(kernel.add_bus(), ROM, Chip::genuine(20.0));
    assert_eq!(errno(write(&kernel, ROM, "conv_time", "1")), EIO);
}

#[test]
fn chips_come_and_go() {
    let options = KernelOptions { drop_delay: Duration::from_millis(150), ..quick() };
    let Some(kernel) = mount(options) else { return };
    let bus = kernel.add_bus();
    let sensor = kernel.plug(bus, ROM, Chip::genuine(20.0));
    let mut open = fs::File::open(path(&kernel, ROM, "w1_slave")).unwrap();
    kernel.unplug(ROM);
    // Nobody answers any more, and the folder is still there.
    assert_eq!(read(&kernel, ROM, "w1_slave"), "");
    assert_eq!(read(&kernel, ROM, "temperature"), "");
    let gone = |kernel: &EmulatedKernel| !kernel.w1_root().join(ROM).exists();
    assert!(kernel.wait_until(Duration::from_secs(2), gone));
    assert_eq!(errno(fs::read(path(&kernel, ROM, "w1_slave"))), ENOENT);
    assert_eq!(errno(open.read(&mut [0])), ENODEV);
    let other = kernel.add_bus();
    kernel.replug(other, &sensor);
    let link = fs::read_link(kernel.w1_root().join(ROM)).unwrap();
    assert_eq!(link, Path::new("../../../devices/w1_bus_master2/28-0316a2794dff"));
    assert_eq!(read(&kernel, ROM, "temperature"), "20000\n");
    kernel.add_ghost(bus, "00-800000000000");
    assert_eq!(names(&kernel.w1_root().join("00-800000000000")), ["id", "name", "rw"]);
    kernel.forget("00-800000000000");
    assert!(!kernel.w1_root().join("00-800000000000").exists());
    kernel.remove_bus(other);
    assert_eq!(names(&kernel.w1_root()), ["w1_bus_master1"]);
}

#[test]
fn a_chip_that_is_back_in_time_has_lost_its_settings_unnoticed() {
    let options = KernelOptions { drop_delay: Duration::from_secs(60), ..quick() };
    let Some(kernel) = mount(options) else { return };
    let bus = kernel.add_bus();
    let sensor = kernel.plug(bus, ROM, Chip::genuine(20.0));
    write(&kernel, ROM, "resolution", "9").unwrap();
    kernel.unplug(ROM);
    kernel.replug(bus, &sensor);
    // The kernel waits for a conversion of 9 bit, and the chip makes one of 12.
    assert_eq!(read(&kernel, ROM, "temperature"), "85000\n");
    assert_eq!(read(&kernel, ROM, "resolution"), "12\n");
    assert_eq!(read(&kernel, ROM, "temperature"), "20000\n");
}

#[test]
fn devices_are_added_and_removed_by_hand() {
    let Some(kernel) = mount(quick()) else { return };
    let bus = kernel.add_bus();
    kernel.plug(bus, ROM, Chip::genuine(20.0));
    let master = |file, text: &str| write(&kernel, "w1_bus_master1", file, text);
    master("w1_master_remove", ROM).unwrap();
    assert_eq!(read(&kernel, "w1_bus_master1", "w1_master_slaves"), "not found.\n");
    master("w1_master_add", &format!("{ROM}\n")).unwrap();
    assert_eq!(read(&kernel, ROM, "temperature"), "20000\n");
    assert_eq!(errno(master("w1_master_add", ROM)), EINVAL);
    assert_eq!(errno(master("w1_master_remove", "28-00000000dead")), EINVAL);
}

#[test]
fn the_bulk_file_is_where_the_kernel_puts_it() {
    let Some(kernel) = mount(quick()) else { return };
    let there = |kernel: &EmulatedKernel| {
        [1, 2].map(|bus| {
            kernel.w1_root().join(format!("w1_bus_master{bus}/therm_bulk_read")).exists()
        })
    };
    let (first, second) = (kernel.add_bus(), kernel.add_bus());
    kernel.plug(first, "42-000000c8a1c3", Chip::genuine(20.0));
    assert_eq!(there(&kernel), [false, false]);
    kernel.plug(second, ROM, Chip::genuine(20.0));
    kernel.plug(first, "28-000000000001", Chip::genuine(20.0));
    assert_eq!(there(&kernel), [false, true]);
    let Some(kernel) = mount(KernelOptions { bulk_file: BulkFile::EachBus, ..quick() }) else {
        return;
    };
    let (first, second) = (kernel.add_bus(), kernel.add_bus());
    kernel.plug(first, "42-000000c8a1c3", Chip::genuine(20.0));
    kernel.plug(second, ROM, Chip::genuine(20.0));
    assert_eq!(there(&kernel), [false, true]);
    kernel.plug(first, "28-000000000001", Chip::genuine(20.0));
    assert_eq!(there(&kernel), [true, true]);
}

#[test]
fn other_files_can_be_put_and_removed() {
    let Some(kernel) = mount(quick()) else { return };
    kernel.plug(kernel.add_bus(), ROM, Chip::genuine(20.0));
    kernel.put("sys/class/hwmon/hwmon0/temp1_input", "48312\n");
    kernel.put("sys/class/hwmon/hwmon1", Entry::Link("hwmon0".to_owned()));
    kernel.put("sys/class/hwmon/hwmon0/temp2_input", Entry::Unreadable(Errno::ENODATA));
    let input = |path: &str| kernel.root().join("sys/class/hwmon").join(path);
    assert_eq!(fs::read_to_string(input("hwmon1/temp1_input")).unwrap(), "48312\n");
    assert_eq!(errno(fs::read(input("hwmon0/temp2_input"))), Errno::ENODATA.code());
    fs::write(input("hwmon0/temp1_input"), "1\n").unwrap();
    assert_eq!(fs::read_to_string(input("hwmon0/temp1_input")).unwrap(), "1\n");
    kernel.remove("sys/class");
    assert_eq!(names(&kernel.root().join("sys")), ["bus", "devices", "module"]);
    kernel.set_therm_loaded(false);
    assert!(!kernel.root().join("sys/module/w1_therm").exists());
    assert_eq!(names(&kernel.w1_root().join(ROM)), ["id", "name", "rw"]);
    kernel.set_therm_loaded(true);
    kernel.remove("sys/module/w1_gpio");
    kernel.remove("sys/bus/w1");
    assert_eq!(errno(fs::read_dir(kernel.w1_root()).map(|_| ())), ENOENT);
    kernel.put(&format!("sys/bus/w1/devices/{ROM}/w1_slave"), "put\n");
    assert_eq!(read(&kernel, ROM, "w1_slave"), "put\n");
}

#[test]
fn thermometers_are_hwmon_devices_too() {
    let Some(kernel) = mount(KernelOptions { hwmon: true, ..quick() }) else { return };
    let sensor = kernel.plug(kernel.add_bus(), ROM, Chip::genuine(20.0));
    let class = kernel.root().join("sys/class/hwmon");
    assert_eq!(names(&class), ["hwmon0"]);
    assert_eq!(names(&class.join("hwmon0")), ["device", "name", "temp1_input"]);
    let input = || fs::read_to_string(class.join("hwmon0/temp1_input"));
    assert_eq!(fs::read_to_string(class.join("hwmon0/name")).unwrap(), "w1_slave_temp\n");
    assert_eq!(input().unwrap(), "20000\n");
    assert_eq!(fs::read_to_string(class.join("hwmon0/device/name")).unwrap(), format!("{ROM}\n"));
    sensor.script([Fail::Crc]);
    assert_eq!(errno(input()), EIO);
    assert_eq!(
        fs::read_to_string(path(&kernel, ROM, "hwmon/hwmon0/temp1_input")).unwrap(),
        "20000\n"
    );
    kernel.set_therm_loaded(false);
    assert!(names(&class).is_empty());
}
