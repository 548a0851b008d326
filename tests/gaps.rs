//! An outage in which the spool gave messages up: all that it kept is delivered all the same, and the hub knows of every
//! number that does not come.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::{
    AFTER_AN_OUTAGE, PATIENCE, Running, counted, counter, get, held_address, pipeline, stored, weir,
};

/// Two thousand messages a second.
const SENSORS: usize = 200;

struct Outage<'t> {
    /// Of the pipeline file, beside the sensors and the address.
    spool: &'t str,
    order: &'t str,
    is_on_disk: bool,
    lasts: Duration,
}

/// Gives how many messages were given up.
fn outlive(outage: &Outage<'_>) -> u64 {
    let port = held_address().port();
    let sensors: String = (0..SENSORS)
        .map(|number| {
            format!(
                "[[sensor]]\nname = \"s{number}\"\ndriver = \"simulated\"\ninterval = \"100ms\"\n"
            )
        })
        .collect();
    let (folder, file) = pipeline(&format!(
        "[device]\nname = \"d\"\n{sensors}[spool]\n{}\n[uplink]\nurl = \"ws://127.0.0.1:{port}/uplink\"\norder = \"{}\"\n",
        outage.spool, outage.order
    ));
    let data = folder.path().join("data");
    let mut arguments = vec!["run", &file];
    if outage.is_on_disk {
        arguments.extend(["--data-dir", data.to_str().unwrap()]);
    }
    let mut device = Running::start(weir(&arguments));
    device.line("Running.");
    std::thread::sleep(outage.lasts);
    let hub_data = folder.path().join("hub");
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["hub", "--listen", &listen, "--data-dir", hub_data.to_str().unwrap()];
    let mut hub = Running::start(weir(&arguments));
    let address = hub.dashboard();
    device.line_within(AFTER_AN_OUTAGE, "Uplink connected.");
    // All that waited is there when nothing that came is ahead of anything that did not, for as long as live ones come.
    let end = Instant::now() + PATIENCE;
    let mut steady = 0;
    while steady < 10 {
        let metrics = get(address, "/metrics");
        if counter(&metrics, "weir_device_lost_total") > 0
            && counter(&metrics, "weir_device_awaited") == 0
        {
            steady += 1;
        } else {
            steady = 0;
        }
        assert!(Instant::now() < end, "not all came within {PATIENCE:?}: {metrics}");
        std::thread::sleep(Duration::from_millis(50));
    }
    device.signal("TERM");
    let (status, lines) = device.end();
    assert!(status.success());
    let last = lines.last().unwrap();
    let not_delivered = counted(&lines, "not_delivered");
    let metrics = get(address, "/metrics");
    let lost = counter(&metrics, "weir_device_lost_total");
    // Each number came or was declared; and what the device gave up may have been on its way.
    let messages = stored(address, "d");
    let numbers: BTreeSet<u64> =
        messages.iter().filter_map(|message| message["seq"].as_u64()).collect();
    let highest = *numbers.last().unwrap();
    assert_eq!(numbers.len() as u64 + lost, highest, "{last}");
    assert!(lost <= not_delivered, "{lost}: {last}");
    for name in ["weir_device_awaited", "weir_device_gaps"] {
        assert_eq!(counter(&metrics, name), 0, "{name}");
    }
    lost
}

#[test]
fn what_a_full_memory_kept_is_delivered_behind_a_gap_of_thousands() {
    for order in ["in-order", "live-first"] {
        // Room for some four thousand messages; several times as many come, though not so many on a busy machine.
        let spool = "memory_kib = 512";
        let lasts = Duration::from_secs(15);
        let lost = outlive(&Outage { spool, order, is_on_disk: false, lasts });
        eprintln!("{order}: {lost} messages were given up");
        assert!(lost > 4_096, "{lost}: fewer than a window");
    }
}

#[test]
fn what_a_thinned_out_disk_kept_is_delivered_through_all_its_gaps() {
    for order in ["in-order", "live-first"] {
        let spool = "max_size_mib = 1\ncommit_interval = \"100ms\"\nwhen_full = \"thin-out\"\nkeep_one_in = 3";
        let lasts = Duration::from_secs(20);
        let lost = outlive(&Outage { spool, order, is_on_disk: true, lasts });
        eprintln!("{order}: {lost} messages were thinned out");
        assert!(lost > 2_000, "{lost}");
    }
}
