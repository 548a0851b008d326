//! Devices and their hub are killed at random points while the link between them fails and returns: every reading whose
//! number was committed arrives once, in order, and only those of the commit interval before a kill are missing.

mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir::reading::Timestamp;

use crate::support::{Running, deliver_the_rest, get, pipeline, stored, weir};
use proxy::Proxy;

const DEVICES: usize = 4;
/// How often each device is killed: two hundred times in all.
const DEVICE_KILLS: usize = 50;
const HUB_KILLS: usize = 50;
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// What a machine that is busy with other tests may add to it: the disk's part of a commit, and that of this process in
/// seeing a start and a kill. In one life, and in all but one of twenty.
const SLACK: Duration = Duration::from_secs(5);
const USUAL_SLACK: Duration = Duration::from_millis(1_500);
/// All the killing ends within this: it takes three minutes, and more than six on a machine that has twice as much to do.
const LONGEST: Duration = Duration::from_secs(1_000);

/// One life of a device's process, in the wall clock's time.
struct Life {
    began: Timestamp,
    killed: Timestamp,
}

fn text(number: usize, proxy: SocketAddr) -> String {
    let order = if number.is_multiple_of(2) { "live-first" } else { "in-order" };
    // The first has so many that more than a window waits when its link was away for two seconds: live ones overtake them.
    let count = if number == 0 { 60 } else { 3 };
    let sensors: String = (0..count)
        .map(|sensor| {
            format!("[[sensor]]\nname = \"s{sensor}\"\ndriver = \"simulated\"\ninterval = \"100ms\"\nnoise_celsius = 0.5\n")
        })
        .collect();
    // Its alarms are committed at once.
    let stage = "[[stage]]\nname = \"warm\"\nplugin = \"alert-limit\"\nsensors = [\"s0\"]\n[stage.config]\nabove = 20.2\n";
    let stage = if number == 3 { stage } else { "" };
    format!(
        "[device]\nname = \"chaos-{number}\"\n{sensors}{stage}[spool]\ncommit_interval = \"1s\"\n\
         [uplink]\nurl = \"ws://{proxy}/uplink\"\norder = \"{order}\"\n"
    )
}

#[test]
fn nothing_that_was_committed_is_lost_or_doubled_whoever_is_killed() {
    let begun = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let hub_folder = folder.path().join("hub");
    let start_hub = |listen: &str| {
        let arguments = ["hub", "--listen", listen, "--data-dir", hub_folder.to_str().unwrap()];
        let mut hub = Running::start(weir(&arguments));
        let address = hub.dashboard();
        (hub, address)
    };
    let (first_hub, address) = start_hub("127.0.0.1:0");
    let proxy = Proxy::start(address);
    let is_over = AtomicBool::new(false);
    let hub_kills = AtomicUsize::new(0);
    let (hub, lives): (Running, Vec<(tempfile::TempDir, String, Vec<Life>)>) =
        thread::scope(|scope| {
            let devices: Vec<_> = (0..DEVICES)
                .map(|number| {
                    scope.spawn(move || live_and_die(number, &text(number, proxy.address), begun))
                })
                .collect();
            let (is_over, hub_kills, start_hub) = (&is_over, &hub_kills, &start_hub);
            let killer = scope.spawn(move || {
                let mut hub = first_hub;
                let mut random = fastrand::Rng::with_seed(50);
                while !is_over.load(Ordering::Relaxed)
                    || hub_kills.load(Ordering::Relaxed) < HUB_KILLS
                {
                    assert!(begun.elapsed() < LONGEST, "it takes too long");
                    thread::sleep(Duration::from_millis(random.u64(100..1_500)));
                    hub.signal("KILL");
                    // Waits for its end: it holds its folder until then.
                    drop(hub);
                    hub = start_hub(&address.to_string()).0;
                    hub_kills.fetch_add(1, Ordering::Relaxed);
                }
                hub
            });
            let lives = devices.into_iter().map(|device| device.join().unwrap()).collect();
            is_over.store(true, Ordering::Relaxed);
            (killer.join().unwrap(), lives)
        });
    proxy.become_good();
    let mut sums = Sums::default();
    for (number, (folder, file, lives)) in lives.iter().enumerate() {
        deliver_the_rest(folder.path().join("data").to_str().unwrap(), file);
        check(&stored(address, &format!("chaos-{number}")), lives, &mut sums);
    }
    sums.losses.sort_unstable();
    let usual = sums.losses[sums.losses.len() * 95 / 100];
    let longest = sums.losses.last().unwrap();
    assert!(usual <= COMMIT_INTERVAL + USUAL_SLACK, "{usual:?} are lost in one life of twenty");
    let metrics = get(address, "/metrics");
    let repeated: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("weir_device_repeated_total{"))
        .map(|line| line.split(' ').nth(1).unwrap().parse::<f64>().unwrap())
        .sum();
    eprintln!(
        "{} kills of {DEVICES} devices and {} of the hub in {:?}; the links: {}.\n\
         {} messages arrived, {} of them late, each once; {repeated} came again to this hub's last process.\n\
         {} ranges were declared as unused or lost after kills; time without a reading before a kill: 95 % within {usual:?}, the longest {longest:?}",
        DEVICES * DEVICE_KILLS,
        hub_kills.load(Ordering::Relaxed),
        begun.elapsed(),
        proxy.report(),
        sums.messages,
        sums.late,
        sums.ranges,
    );
    drop(hub);
}

/// Runs a device again and again until it was killed often enough.
fn live_and_die(
    number: usize,
    text: &str,
    begun: Instant,
) -> (tempfile::TempDir, String, Vec<Life>) {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let (folder, file) = pipeline(text);
    let data = folder.path().join("data");
    let mut lives = Vec::new();
    for _ in 0..DEVICE_KILLS {
        assert!(begun.elapsed() < LONGEST, "it takes too long");
        let mut device =
            Running::start(weir(&["run", &file, "--data-dir", data.to_str().unwrap()]));
        device.line("Running.");
        let began = Timestamp::now();
        thread::sleep(Duration::from_millis(random.u64(..2_200)));
        let killed = Timestamp::now();
        device.signal("KILL");
        let (_, lines) = device.end();
        for line in &lines {
            assert!(!line.contains("panicked") && !line.contains("set aside"), "{line}");
        }
        lives.push(Life { began, killed });
    }
    (folder, file, lives)
}

#[derive(Default)]
struct Sums {
    messages: usize,
    late: usize,
    ranges: usize,
    /// Of each life, for how long before the kill there is no reading.
    losses: Vec<Duration>,
}

fn is_within_an_interval(time: Duration) {
    assert!(time <= COMMIT_INTERVAL + SLACK, "{time:?} before a kill are lost");
}

fn number(message: &Value, key: &str) -> u64 {
    message[key].as_u64().unwrap_or_else(|| panic!("no number `{key}`: {message}"))
}

/// All that a hub has of a device, against the lives that the device had.
fn check(messages: &[Value], lives: &[Life], sums: &mut Sums) {
    let streams: BTreeSet<&str> = messages.iter().filter_map(|m| m["stream"].as_str()).collect();
    assert_eq!(streams.len(), 1, "the spool goes on across restarts");
    let mut by_number = BTreeMap::new();
    for message in messages {
        let seq = number(message, "seq");
        assert!(by_number.insert(seq, message).is_none(), "{seq} is there twice");
    }
    // What is not there was declared, for the only reason that there is.
    let mut declared: Vec<(u64, u64)> = Vec::new();
    for message in messages.iter().filter(|message| message["type"] == "dropped") {
        assert_eq!(message["reason"], "unclean-stop", "{message}");
        declared.push((number(message, "from"), number(message, "to")));
    }
    let (&last, _) = by_number.last_key_value().unwrap();
    for seq in 1..=last {
        let is_declared = || declared.iter().any(|(from, to)| (*from..=*to).contains(&seq));
        assert!(by_number.contains_key(&seq) || is_declared(), "{seq} is missing and not declared");
    }
    // In order per sensor; and what is missing was taken within a commit interval before a kill.
    let mut latest: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let mut times: Vec<Timestamp> = Vec::new();
    let mut before = 0;
    for (seq, message) in &by_number {
        if let (true, Some(time)) = (*seq > before + 1, times.last()) {
            let life =
                lives.iter().find(|life| life.killed >= *time).expect("the last one lost nothing");
            is_within_an_interval(life.killed.since(*time));
        }
        before = *seq;
        let Some(sensor) = message["sensor"].as_str().filter(|_| message["type"] == "temperature")
        else {
            continue;
        };
        let time: Timestamp = message["time"].as_str().unwrap().parse().unwrap();
        if let Some(before) = latest.insert(sensor, time) {
            // Two may be of one millisecond; their numbers give the order.
            assert!(before <= time, "{seq} of {sensor} is older than the one before it");
        }
        times.push(time);
    }
    // A life of which nothing arrived was shorter than that.
    for Life { began, killed } in lives {
        let known = times.iter().filter(|time| **time > *began && **time <= *killed).max();
        let lost = killed.since(*known.unwrap_or(began));
        is_within_an_interval(lost);
        sums.losses.push(lost);
    }
    sums.messages += messages.len();
    sums.late += messages.iter().filter(|message| message["late"] == true).count();
    sums.ranges += declared.len();
}
