//! How the queue counts, with a disk that is only a plan.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::gone::NOTICE_BYTES;
use super::*;
use crate::spool::store::{Change, Committed};
use crate::uplink::DASHBOARD;

fn fault(sensor: &str) -> Body {
    Body::Event(Event::Fault {
        sensor: sensor.into(),
        time: "2026-11-21T23:00:00.000Z".into(),
        reason: "stale".into(),
        clock: None,
    })
}

fn alarm() -> Body {
    Body::Event(Event::Result { id: "1".into(), status: "failed".into(), reason: None })
}

fn queue(state: DiskState, places: &[&str]) -> Queue {
    let settings = SpoolSettings {
        memory_bytes: 10_000,
        commit_interval: Duration::from_secs(60),
        ..SpoolSettings::default()
    };
    Queue::new(settings, places, state)
}

fn numbers(queue: &Queue, after: u64) -> Vec<u64> {
    match queue.read(after, usize::MAX) {
        Reading::Memory(messages) => messages.iter().map(|stored| stored.seq).collect(),
        Reading::Disk(upto) => panic!("on the disk, up to {upto}"),
    }
}

const fn at(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn messages_are_numbered_from_one_and_kept_until_all_places_have_passed_them() {
    let mut queue = queue(DiskState::None, &["a", "b"]);
    queue.append(vec![fault("a"), fault("b")], at(0));
    queue.append(vec![fault("c")], at(0));
    assert_eq!(numbers(&queue, 0), [1, 2, 3]);
    assert_eq!(numbers(&queue, 2), [3]);
    queue.ack(0, 2, at(0));
    assert_eq!(numbers(&queue, 0), [1, 2, 3]);
    assert_eq!((queue.queued(queue.acked(0)), queue.queued(queue.acked(1))), (1, 3));
    queue.ack(1, 3, at(0));
    assert_eq!(numbers(&queue, 0), [3]);
    // Nobody acks what was never given.
    queue.ack(1, 99, at(0));
    assert_eq!(queue.acked(1), 3);
}

#[test]
fn without_places_nothing_is_kept() {
    let mut queue = queue(DiskState::None, &[]);
    queue.append(vec![fault("a")], at(0));
    assert_eq!((queue.last(), queue.state().bytes_in_memory, queue.state().queued), (1, 0, 0));
}

/// Carries out what is planned.
fn commit(queue: &mut Queue, now: Duration) -> Vec<u64> {
    let plan = queue.plan(Change::default(), now);
    let written: Vec<u64> = plan.commit.messages.iter().map(|stored| stored.seq).collect();
    let bytes = plan.commit.messages.iter().map(|stored| stored.json.len() as u64).sum::<u64>();
    let done = Committed { bytes: queue.disk.bytes + bytes, has_delivered: false };
    queue.committed(&plan, done, now);
    written
}

#[test]
fn what_is_acked_in_time_is_never_written() {
    let mut queue = queue(DiskState::Working, &["hub"]);
    assert_eq!(queue.due(), Some(at(0)), "numbers must be reserved");
    queue.append(vec![fault("a")], at(1));
    assert_eq!(numbers(&queue, 0), [0_u64; 0], "no number is sent before it is reserved");
    assert_eq!(commit(&mut queue, at(1)), [0_u64; 0], "numbers alone");
    assert_eq!(numbers(&queue, 0), [1]);
    queue.ack(0, 1, at(2));
    assert_eq!(queue.due(), None);
    let mut commits = 0;
    for second in (70..4_000_u64).step_by(10) {
        queue.append(vec![fault("a")], at(second));
        if queue.due().is_some_and(|due| due <= at(second)) {
            assert_eq!(commit(&mut queue, at(second)), [0_u64; 0]);
            commits += 1;
        }
        assert_eq!(numbers(&queue, queue.acked(0)), [queue.last()]);
        queue.ack(0, queue.last(), at(second));
    }
    assert!(commits <= 1, "{commits}");
    queue.append(vec![fault("a"), fault("a")], at(5_000));
    assert_eq!(queue.due(), Some(at(5_060)));
    queue.append(vec![alarm()], at(5_001));
    assert_eq!(queue.due(), Some(at(0)), "an alarm does not wait");
    assert_eq!(commit(&mut queue, at(5_001)).len(), 3);
    assert_eq!(queue.due(), None);
    // What was delivered may go from the disk.
    queue.ack(0, queue.last(), at(5_002));
    assert_eq!(queue.due(), Some(at(5_062)));
    assert_eq!(commit(&mut queue, at(5_062)), [0_u64; 0]);
}

#[test]
fn a_full_queue_drops_the_oldest_and_accounts_for_each() {
    let mut queue = queue(DiskState::None, &["hub"]);
    let mut added = 0;
    for _ in 0..10_000 {
        added += queue.append(vec![fault("a")], at(0)).len() as u64;
    }
    assert_eq!(queue.last(), 10_000 + added);
    account(&queue);
    assert!(queue.state().bytes_in_memory <= 10_000);
}

/// Every number is either here or declared, and none both. Two notices may declare the same.
fn account(queue: &Queue) {
    let Reading::Memory(kept) = queue.read(0, usize::MAX) else { panic!("all is in memory") };
    let mut declared = vec![];
    for stored in &kept {
        let json: serde_json::Value = serde_json::from_str(&stored.json).unwrap();
        if json["type"] == "dropped" {
            declared.extend(json["from"].as_u64().unwrap()..=json["to"].as_u64().unwrap());
        }
    }
    declared.sort_unstable();
    declared.dedup();
    declared.extend(kept.iter().map(|stored| stored.seq));
    declared.sort_unstable();
    assert_eq!(declared, (1..=queue.last()).collect::<Vec<u64>>());
    let state = queue.state();
    assert_eq!(state.dropped + state.queued, state.last);
    assert_eq!(state.queued, kept.len() as u64);
}

#[test]
fn messages_that_waited_for_too_long_are_given_up() {
    let mut queue = queue(DiskState::None, &["hub"]);
    queue.settings.longest = at(100);
    queue.append(vec![fault("a"), fault("b")], at(0));
    queue.append(vec![fault("c")], at(50));
    let added = queue.append(vec![fault("d")], at(101));
    let event = Event::Dropped { from: 1, to: 2, reason: "too-old".into() };
    assert_eq!(added, [Added { seq: 5, event }]);
    assert_eq!(numbers(&queue, 0), [3, 4, 5]);
    account(&queue);
}

#[test]
fn an_unclean_stop_declares_what_was_not_committed() {
    let mut first = queue(DiskState::Working, &["hub"]);
    first.append(vec![fault("a"); 3], at(0));
    let plan = first.plan(Change::default(), at(60));
    let known = crate::spool::store::Known { meta: Some(plan.commit.meta), gone: None, bytes: 300 };
    let (meta, gone) = Meta::of(&known).unwrap().unwrap();
    let mut second = queue(DiskState::Working, &["hub", "new"]);
    second.resume(meta.clone(), gone.clone(), 300, at(0));
    assert_eq!(second.stream, first.stream);
    let added = second.append(vec![fault("b")], at(0));
    let to = second.disk.reserved;
    let event = Event::Dropped { from: 4, to, reason: "unclean-stop".into() };
    assert_eq!(added, [Added { seq: to + 1, event }]);
    assert!(to >= 1_003, "{to}");
    assert_eq!(
        second.queued(second.acked(0)),
        5,
        "three of the first, the notice, one of the second"
    );
    assert_eq!(second.queued(second.acked(1)), 2, "the new place begins here");
    // A clean stop leaves nothing to declare.
    first.close();
    let plan = first.plan(Change::default(), at(60));
    let known = crate::spool::store::Known { meta: Some(plan.commit.meta), gone: None, bytes: 300 };
    let (meta, gone) = Meta::of(&known).unwrap().unwrap();
    let mut third = queue(DiskState::Working, &["hub"]);
    third.resume(meta, gone, 300, at(0));
    assert_eq!(third.append(vec![fault("b")], at(0)), []);
    assert_eq!(third.last(), 4);
}

#[test]
fn an_uplink_under_another_name_keeps_its_place_and_one_that_is_gone_is_told() {
    let mut first = queue(DiskState::Working, &["hub", "broker"]);
    first.append(vec![fault("a"); 3], at(0));
    first.ack(0, 2, at(0));
    first.close();
    let plan = first.plan(Change::default(), at(60));
    let known = crate::spool::store::Known { meta: Some(plan.commit.meta), gone: None, bytes: 300 };
    let resume = |places: &[&str]| {
        let (meta, gone) = Meta::of(&known).unwrap().unwrap();
        let mut queue = queue(DiskState::Working, places);
        queue.resume(meta.clone(), gone, 300, at(0));
        let acked: Vec<u64> = (0..places.len()).map(|place| queue.acked(place)).collect();
        (acked, queue.forsaken(&meta))
    };
    assert_eq!(resume(&["hub", "broker"]), (vec![2, 0], vec![]));
    assert_eq!(resume(&["headquarters", "broker"]), (vec![2, 0], vec![]));
    assert_eq!(resume(&["hub"]), (vec![2], vec![("broker".to_owned(), 3)]));
    // Which of the two it was cannot be told.
    assert_eq!(resume(&["one"]).0, [3]);
    assert_eq!(resume(&["hub", "broker", "third"]), (vec![2, 0, 3], vec![]));
    // A page has not what a broker was to have.
    let alone = vec![("broker".to_owned(), 3)];
    assert_eq!(resume(&["hub", DASHBOARD]), (vec![2, 3], alone));
}

/// One thing that happens to a queue.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Ack(usize, u64),
    Begin,
    Succeed,
    Fail,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_usize..40).prop_map(Step::Append),
        (0_usize..2, 0_u64..60).prop_map(|(place, count)| Step::Ack(place, count)),
        Just(Step::Begin),
        Just(Step::Succeed),
        Just(Step::Fail),
    ]
}

proptest! {
    /// Whatever comes between a plan and its end: what a place has not passed is in memory, on the disk, or declared.
    #[test]
    fn every_number_is_somewhere(steps in prop::collection::vec(step(), 1..120)) {
        let mut queue = queue(DiskState::Working, &["a", "b"]);
        let mut on_disk: BTreeSet<u64> = BTreeSet::new();
        let mut plan = None;
        for step in steps {
            match step {
                Step::Append(count) => {
                    queue.append(vec![fault("a"); count], at(0));
                }
                Step::Ack(place, count) => {
                    queue.ack(place, queue.acked(place) + count, at(0));
                }
                Step::Begin if plan.is_none() => plan = Some(queue.plan(Change::default(), at(60))),
                Step::Succeed => {
                    if let Some(plan) = plan.take() {
                        on_disk.extend(plan.commit.messages.iter().map(|stored| stored.seq));
                        queue.committed(&plan, Committed { bytes: 1, has_delivered: false }, at(0));
                    }
                }
                // It is tried again, as if the disk were as before.
                Step::Fail => {
                    plan = None;
                    queue.in_flight = 0;
                }
                Step::Begin => {}
            }
            let passed = queue.passed();
            for seq in passed + 1..=queue.last() {
                let in_memory = seq > queue.trimmed
                    && queue.memory.iter().any(|held| held.stored.seq == seq);
                let is_written = seq <= queue.written && on_disk.contains(&seq);
                let places = u32::from(in_memory || is_written) + u32::from(queue.gone.contains(seq));
                prop_assert_eq!(places, 1, "{} of {}", seq, queue.last());
            }
            prop_assert!(queue.bytes <= 10_000 + 4 * NOTICE_BYTES, "{}", queue.bytes);
            let bytes: usize = queue.memory.iter().map(|held| held.stored.json.len()).sum();
            prop_assert_eq!(queue.bytes, bytes);
            let unwritten = queue.memory.iter().filter(|held| held.stored.seq > queue.written);
            prop_assert_eq!(queue.unwritten_bytes, unwritten.map(|held| held.stored.json.len()).sum::<usize>());
        }
    }
}
