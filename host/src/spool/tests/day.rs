//! A day without a network: memory stays as it is, and all is delivered afterwards. `WEIR_SPOOL_DAY` runs all of it.

use std::time::Instant;

use super::disk::Disk;
use super::*;

const SENSORS: usize = 20;

/// KiB that this process has in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How long it takes to open what is on the disk now, unclosed.
fn after_a_crash(folder: &Path) -> Duration {
    let copy = tempfile::tempdir().unwrap();
    for name in ["spool.redb", "spool.journal"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    let begun = Instant::now();
    let disk = Box::new(DiskFolder::new(copy.path()));
    let keeper = Keeper::open(SpoolSettings::default(), Some(disk), &["hub"]);
    assert_eq!(keeper.queue().state().unclean_starts, 1);
    begun.elapsed()
}

#[test]
fn a_day_without_network_is_delivered_in_order() {
    let whole = std::env::var_os("WEIR_SPOOL_DAY").is_some();
    let seconds: u64 = if whole { 86_400 } else { 3_000 };
    let folder = tempfile::tempdir().unwrap();
    let disk = Box::new(DiskFolder::new(folder.path()));
    let keeper = Keeper::open(SpoolSettings::default(), Some(disk), &["hub"]);
    let (mut early, mut late) = (0, 0);
    let begun = Instant::now();
    for second in 0..seconds {
        let now = Duration::from_secs(second);
        let batch = (0..SENSORS).map(|sensor| reading(sensor, second)).collect();
        assert_eq!(keeper.append(batch, now), []);
        keeper.step(now);
        if second == seconds / 10 {
            early = resident();
        }
        late = resident().max(if second > seconds * 9 / 10 { late } else { 0 });
    }
    let written = begun.elapsed();
    let state = keeper.queue().state();
    let all = seconds * SENSORS as u64;
    assert_eq!((state.last, state.queued, state.dropped), (all, all, 0));
    let opened = after_a_crash(folder.path());
    let begun = Instant::now();
    let now = Duration::from_secs(seconds);
    let (mut after, mut most) = (0, 0);
    loop {
        let messages = keeper.read(after, 128, now);
        if messages.is_empty() {
            break;
        }
        for stored in &messages {
            after += 1;
            assert_eq!(stored.seq, after);
        }
        keeper.ack(0, after, now);
        keeper.step(now);
        most = most.max(resident());
    }
    let read = begun.elapsed();
    assert_eq!(after, all);
    println!("opened in {opened:.1?} as a crash left it");
    println!(
        "{all} messages, {} KiB on disk: written in {written:.1?}, read and acked in {read:.1?} ({:.0}/s); resident {early} KiB \
         after a tenth, {late} at the end, {most} while reading",
        state.bytes_on_disk >> 10,
        all as f64 / read.as_secs_f64()
    );
    assert!(late < early + (8 << 10) || !whole, "{early} KiB became {late} KiB");
    for minute in 1..100 {
        keeper.step(now + Duration::from_secs(60 * minute));
    }
    assert_eq!(keeper.queue().state().bytes_on_disk, 0);
}

fn filled(when_full: WhenFull) -> (Hub, SpoolState) {
    let settings = SpoolSettings { most_bytes: 1 << 20, when_full, ..SpoolSettings::default() };
    let keeper = Keeper::open(settings, Some(Box::new(Disk::new(1))), &["hub"]);
    let mut most_added = 0;
    for second in 0..20_000 {
        let now = Duration::from_secs(second);
        let mut batch: Vec<Body> = (0..3).map(|sensor| reading(sensor, second)).collect();
        if second % 1_000 == 0 {
            batch.push(alarm());
        }
        most_added = most_added.max(keeper.append(batch, now).len());
        keeper.step(now);
        assert!(keeper.queue().state().bytes_on_disk <= 1 << 20);
    }
    println!("{when_full:?}: at most {most_added} notices at once");
    assert!(most_added < 512, "{most_added}");
    let now = Duration::from_secs(20_000);
    let queued = keeper.queue().state().queued;
    let mut hub = Hub::default();
    drain(&keeper, &mut hub, now);
    assert_eq!(hub.got.len() as u64, queued);
    let state = keeper.queue().state();
    hub.account(state.last);
    (hub, state)
}

#[test]
fn a_full_disk_gives_up_the_oldest_or_thins_them_out_and_says_so() {
    let mut reach = Vec::new();
    for when_full in [WhenFull::DropOldest, WhenFull::ThinOut { keep_one_in: 10 }] {
        let (hub, state) = filled(when_full);
        let kept = |word: &str| hub.got.values().filter(|json| json.contains(word)).count();
        let sensors = [kept("sensor-0"), kept("sensor-1"), kept("sensor-2")];
        let first = *hub.got.keys().next().unwrap();
        println!(
            "{when_full:?}: of {} messages {} were kept, back to {first} ({} results, {sensors:?} readings, {} notices), {} given up",
            state.last,
            hub.got.len(),
            kept("\"type\":\"result\""),
            kept("\"type\":\"dropped\""),
            state.dropped
        );
        assert_eq!(hub.declared(), state.dropped);
        assert!(sensors.iter().max().unwrap() - sensors.iter().min().unwrap() < 100);
        reach.push(state.last - first);
    }
    assert!(reach[1] > 3 * reach[0], "{reach:?}");
}

/// Five sensors, each second of these minutes, with an alarm each minute, and no hub. Gives what a hub has afterwards, and the
/// numbers of the alarms.
fn minutes(settings: SpoolSettings, minutes: std::ops::Range<u64>) -> (Hub, SpoolState, Vec<u64>) {
    let keeper = Keeper::open(settings, Some(Box::new(Disk::new(1))), &["hub"]);
    let mut alarms = Vec::new();
    for second in minutes.start * 60..minutes.end * 60 {
        let now = Duration::from_secs(second);
        keeper.append((0..5).map(|sensor| reading(sensor, second)).collect(), now);
        if second % 60 == 0 {
            keeper.append(vec![alarm()], now);
            alarms.push(keeper.queue().last());
        }
        keeper.step(now);
    }
    let mut hub = Hub::default();
    drain(&keeper, &mut hub, Duration::from_secs(minutes.end * 60));
    let state = keeper.queue().state();
    hub.account(state.last);
    (hub, state, alarms)
}

#[test]
fn what_is_too_old_is_declared_and_not_sent_though_it_is_in_memory() {
    let longest = Duration::from_secs(60);
    let settings = SpoolSettings { longest, memory_bytes: 8 << 20, ..SpoolSettings::default() };
    let (hub, state, _) = minutes(settings, 0..10);
    assert!(hub.declared() > state.last / 2, "{} of {}", hub.declared(), state.last);
}

#[test]
fn thinning_out_keeps_alarms_though_it_frees_less_than_it_should() {
    let settings = SpoolSettings {
        most_bytes: 1 << 20,
        longest: Duration::from_secs(3_600),
        when_full: WhenFull::ThinOut { keep_one_in: 2 },
        ..SpoolSettings::default()
    };
    // It has lived for longer than messages are kept, so that their age is looked at in each step.
    let (hub, state, alarms) = minutes(settings, 120..155);
    println!("{} of {} messages are left", hub.got.len(), state.last);
    assert!(state.dropped > 1_000, "it was full");
    let lost = alarms.iter().filter(|seq| !hub.got.contains_key(seq)).count();
    assert_eq!(lost, 0, "of {} alarms", alarms.len());
}
