//! A day without a network, quicker than it takes: twenty sensors at one reading a second, then the hub comes back. Memory
//! stays as it was, and every reading is delivered. `WEIR_OFFLINE_HOURS=24` emulates the whole day, in a quarter of an hour;
//! without it half an hour is emulated.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::support::{
    AFTER_AN_OUTAGE, PATIENCE, Running, counted, counter, deliver_the_rest, get, held_address,
    pipeline, weir,
};

const SENSORS: usize = 20;
/// A recording is played a hundred times as fast at most.
const SPEED: f64 = 100.0;
/// What an allocator keeps, a page cache of the store's and the like.
const MEMORY_SLACK_KIB: u64 = 8 << 10;

#[test]
fn what_was_measured_without_a_network_is_all_delivered_and_memory_stays_flat() {
    let hours: f64 =
        std::env::var("WEIR_OFFLINE_HOURS").map_or(0.5, |hours| hours.parse().unwrap());
    let cycles = (hours * 3_600.0) as usize;
    let expected = cycles * SENSORS;
    let mut csv = String::from("timestamp,sensor,celsius\n");
    for cycle in 0..cycles {
        let (hour, minute, second) = (cycle / 3_600, cycle / 60 % 60, cycle % 60);
        for sensor in 0..SENSORS {
            let celsius = (cycle + sensor) % 400;
            writeln!(
                csv,
                "2026-11-21T{hour:02}:{minute:02}:{second:02}Z,s{sensor},{}.{:04}",
                celsius / 16,
                celsius % 16 * 625
            )
            .unwrap();
        }
    }
    let listen = held_address().to_string();
    let device = format!(
        "[device]\nname = \"day\"\n[uplink]\nurl = \"ws://{listen}/uplink\"\norder = \"in-order\"\n"
    );
    let mut text = device.clone();
    for sensor in 0..SENSORS {
        write!(
            text,
            "[[sensor]]\nname = \"s{sensor}\"\ndriver = \"replay\"\nfile = \"day.csv\"\nspeed = {SPEED:?}\n"
        )
        .unwrap();
    }
    let (folder, file) = pipeline(&text);
    let (_one, one) =
        pipeline(&format!("{device}[[sensor]]\nname = \"s0\"\ndriver = \"simulated\"\n"));
    std::fs::write(folder.path().join("day.csv"), &csv).unwrap();
    drop(csv);
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let mut device = Running::start(weir(&["run", &file, "--data-dir", data]));
    device.line("Running.");
    let begun = Instant::now();
    let day = Duration::from_secs_f64(cycles as f64 / SPEED);
    // Past what memory holds before the disk takes it.
    std::thread::sleep(day / 4);
    let early = device.memory_kib();
    std::thread::sleep((day + Duration::from_secs(2)).saturating_sub(begun.elapsed()));
    let late = device.memory_kib();
    let hub_data = folder.path().join("hub");
    let mut hub = Running::start(weir(&[
        "hub",
        "--listen",
        &listen,
        "--data-dir",
        hub_data.to_str().unwrap(),
    ]));
    let address = hub.dashboard();
    device.line_within(AFTER_AN_OUTAGE, "Uplink connected.");
    let connected = Instant::now();
    let received = loop {
        let received = counter(&get(address, "/metrics"), "weir_device_readings_total");
        if received >= expected as u64 || connected.elapsed() > PATIENCE + day {
            break received;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let took = connected.elapsed();
    let after = device.memory_kib();
    eprintln!(
        "{hours} h of {SENSORS} sensors: {received} of {expected} readings delivered in {took:?}, {:.0} a second; \
         resident {early} kiB after a quarter, {late} kiB at the end, {after} kiB after the catch-up",
        received as f64 / took.as_secs_f64()
    );
    device.signal("TERM");
    let (status, lines) = device.end();
    assert!(status.success());
    // The last acks may come later than it waits for them: then the next process has them, or sends again.
    if counted(&lines, "not_delivered") > 0 {
        deliver_the_rest(data, &one);
    }
    let metrics = get(address, "/metrics");
    assert!(received >= expected as u64, "{received} of {expected}");
    assert_eq!(counter(&metrics, "weir_device_lost_total"), 0);
    assert!(late <= early + MEMORY_SLACK_KIB, "memory grew while there was no network");
    assert!(after <= late + MEMORY_SLACK_KIB, "memory grew while it caught up");
}
