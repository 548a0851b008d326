//! Disks that fail at any call, for once or for long: no crash, and every number is accounted for.

use std::io::ErrorKind;

use super::disk::{Disk, Fault};
use super::*;

/// A disk that works for so long at least is through.
const SCENARIO: u64 = 600;

fn settings() -> SpoolSettings {
    SpoolSettings {
        commit_interval: Duration::from_secs(10),
        memory_bytes: 16_000,
        ..SpoolSettings::default()
    }
}

/// An uplink that is away for the first two thirds. Gives the calls that it took.
fn scenario(fault: Option<Fault>) -> (u64, u64) {
    let disk = Disk::new(1);
    disk.fail(fault);
    let keeper = Keeper::open(settings(), Some(Box::new(disk.clone())), &["hub"]);
    let mut hub = Hub::default();
    let mut now = Duration::ZERO;
    for second in 0..SCENARIO {
        now = Duration::from_secs(second);
        keeper.append(vec![reading(1, second)], now);
        keeper.step(now);
        if second > SCENARIO * 2 / 3 && second % 20 == 0 {
            drain(&keeper, &mut hub, now);
        }
    }
    let calls = disk.calls();
    // It works again.
    disk.fail(None);
    for _ in 0..4 {
        now += Duration::from_secs(601);
        keeper.append(vec![reading(1, 0)], now);
        keeper.step(now);
    }
    drain(&keeper, &mut hub, now);
    keeper.step(now);
    drain(&keeper, &mut hub, now);
    let state = keeper.queue().state();
    assert_eq!(state.memory_only, None, "{fault:?}");
    hub.account(state.last);
    assert_eq!(state.queued, 0);
    // A notice is a message that came.
    assert_eq!(hub.declared(), state.dropped);
    // A clean stop and another start.
    keeper.append(vec![reading(1, 1)], now);
    keeper.close(None);
    keeper.step(now);
    drop(keeper);
    let keeper = Keeper::open(settings(), Some(Box::new(disk)), &["hub"]);
    assert_eq!(keeper.queue().unused(), 0);
    drain(&keeper, &mut hub, now);
    hub.account(keeper.queue().last());
    (calls, state.dropped)
}

#[test]
fn every_call_may_fail_once_or_for_long() {
    let (calls, _) = scenario(None);
    let step = if std::env::var_os("WEIR_EVERY_FAULT").is_some() { 1 } else { 3 };
    let (mut runs, mut dropped) = (0, 0);
    // `Other` stands for EIO, and reads fail with it as well.
    for kind in [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::Other] {
        for count in [1, 40, u64::MAX] {
            for from in (1..=calls).step_by(step) {
                let (_, lost) = scenario(Some(Fault { kind, from, count }));
                runs += 1;
                dropped += lost;
            }
        }
    }
    println!(
        "{runs} runs of {calls} calls; {dropped} messages of {} were declared lost",
        runs * SCENARIO
    );
}

/// A spool with something on its disk, and nothing delivered.
fn filled(disk: &Disk, messages: u64) -> (Uuid, u64) {
    let keeper = Keeper::open(settings(), Some(Box::new(disk.clone())), &["hub"]);
    for second in 0..messages {
        let now = Duration::from_secs(second);
        keeper.append(vec![reading(1, second)], now);
        keeper.step(now);
    }
    keeper.close(None);
    keeper.step(Duration::from_secs(messages));
    let queue = keeper.queue();
    (queue.stream, queue.last())
}

#[test]
fn a_damaged_chunk_is_skipped_and_declared() {
    let disk = Disk::new(1);
    let (stream, last) = filled(&disk, 3_000);
    let places = disk.find("\"seq\":1200,");
    for at in places {
        disk.rot(at, 3);
    }
    let keeper = Keeper::open(settings(), Some(Box::new(disk.clone())), &["hub"]);
    assert_eq!(keeper.queue().stream, stream);
    let mut hub = Hub::default();
    let now = Duration::ZERO;
    drain(&keeper, &mut hub, now);
    keeper.step(now);
    drain(&keeper, &mut hub, now);
    hub.account(keeper.queue().last());
    assert!(hub.declared.contains(1_200) && hub.declared() < 100, "{:?}", hub.declared);
    assert!(hub.got.contains_key(&last));
    println!("one damaged chunk cost {} messages of {last}", hub.declared());
}

#[test]
fn a_file_that_makes_no_sense_is_set_aside() {
    let mut kinds = Vec::new();
    for rot in 0..40 {
        let disk = Disk::new(1);
        let (stream, _) = filled(&disk, 3_000);
        let len = usize::try_from(disk.len()).unwrap();
        match rot {
            0 => disk.rot(0, 64),
            1 => disk.rot(0, len),
            2 => disk.cut_off(len / 2),
            3 => disk.cut_off(100),
            _ => disk.rot(len * (rot - 4) / 36, len / 37),
        }
        let keeper = Keeper::open(settings(), Some(Box::new(disk.clone())), &["hub"]);
        keeper.append(vec![reading(1, 1)], Duration::ZERO);
        let mut hub = Hub::default();
        for second in 0..10 {
            let now = Duration::from_secs(61 * second);
            drain(&keeper, &mut hub, now);
            keeper.step(now);
        }
        let queue = keeper.queue();
        hub.account(queue.last());
        assert_eq!(queue.stream != stream, queue.state().set_aside > 0 && hub.got.len() < 10);
        kinds.push((disk.bad(), hub.got.len(), hub.declared()));
    }
    println!("set aside, got, declared: {kinds:?}");
    assert!(kinds.iter().take(4).all(|(bad, ..)| *bad == 1));
}
