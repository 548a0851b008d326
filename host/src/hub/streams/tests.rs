//! Numbers in any order, against a plain set.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const ONE: Option<Uuid> = Some(Uuid::from_u128(1));
const TWO: Option<Uuid> = Some(Uuid::from_u128(2));

/// Streams with one that is followed. One whose device has its numbers from somewhere declares what never comes.
fn follow(from: Option<u64>) -> Streams {
    let mut streams = Streams::default();
    assert_eq!(streams.follow(ONE, from), Ok(true));
    streams
}

impl Streams {
    /// A frame of one message.
    fn is_new(&mut self, stream: Option<Uuid>, seq: u64) -> bool {
        let number = self.take(stream, Some(seq)).unwrap();
        self.settle(stream);
        number == Number::New
    }

    fn lost(&mut self, from: u64, to: u64) -> u64 {
        let lost = self.declare(ONE, None, (from, to));
        self.settle(ONE);
        lost
    }

    fn acked(&mut self, stream: Option<Uuid>) -> (u64, Option<(u64, u64)>) {
        let acked = self.of(stream).unwrap().acked();
        (acked.seq, acked.ahead)
    }
}

#[test]
fn a_number_is_taken_once_a_stream_whichever_came_between() {
    let mut streams = follow(None);
    assert!(streams.is_new(ONE, 4));
    // A second device of the same name, or the same with a new spool.
    assert_eq!(streams.follow(TWO, None), Ok(true));
    assert!(streams.is_new(TWO, 1));
    assert!(!streams.is_new(ONE, 4) && streams.is_new(ONE, 5));
    assert_eq!(streams.follow(ONE, None), Ok(false));
    assert_eq!((streams.acked(ONE), streams.acked(TWO)), ((5, None), (1, None)));
    assert_eq!(streams.take(None, Some(1)), Ok(Number::New));
    assert_eq!(streams.take(None, Some(1)), Ok(Number::New));
}

#[test]
fn a_device_that_sends_in_order_is_acked_over_what_it_leaves_out() {
    let mut streams = follow(None);
    for seq in [1, 2, 3, 10, 11, 20] {
        assert!(streams.is_new(ONE, seq));
    }
    assert_eq!((streams.acked(ONE), streams.gaps()), ((20, None), 6 + 8));
    assert!(streams.is_new(ONE, 5) && !streams.is_new(ONE, 5), "late, and new all the same");
    assert_eq!(streams.lost(2, 6), 2, "4 and 6");
    assert_eq!(streams.lost(1, 19), 3 + 8);
    assert_eq!(streams.lost(1, u64::MAX), u64::MAX - 21, "what is ahead will never come");
    assert_eq!(streams.gaps(), 0);
}

#[test]
fn a_device_that_declares_is_acked_as_far_as_all_is_known() {
    let mut streams = follow(Some(101));
    assert_eq!((streams.acked(ONE), streams.gaps()), ((100, None), 0));
    for seq in [201, 202, 101, 102] {
        assert!(streams.is_new(ONE, seq));
    }
    assert_eq!((streams.acked(ONE), streams.gaps()), ((102, Some((201, 202))), 0));
    assert_eq!(streams.awaited(), 98);
    assert_eq!(streams.lost(103, 150), 48);
    assert_eq!(streams.lost(103, 150), 0);
    assert_eq!(streams.acked(ONE), (150, Some((201, 202))));
    // What was given up before this hub heard of the device is lost all the same.
    assert_eq!(streams.lost(1, 50), 50);
    for seq in 151..=200 {
        assert!(streams.is_new(ONE, seq) && !streams.is_new(ONE, seq));
    }
    assert_eq!((streams.acked(ONE), streams.awaited()), ((202, None), 0));
}

#[test]
fn a_device_that_has_not_what_is_missing_is_acked_on_and_the_gap_is_shown() {
    let mut streams = follow(Some(1));
    for seq in [1, 2, 5] {
        assert!(streams.is_new(ONE, seq));
    }
    assert_eq!(streams.follow(ONE, Some(8)), Ok(false));
    assert_eq!((streams.acked(ONE), streams.gaps()), ((7, None), 4), "3, 4, 6 and 7");
    assert_eq!(streams.lost(6, 6), 1);
    assert_eq!(streams.gaps(), 3);
}

#[test]
fn a_device_can_only_declare_what_is_before() {
    let mut streams = follow(Some(1));
    assert_eq!(streams.take(ONE, Some(5)), Ok(Number::New));
    assert_eq!(streams.declare(ONE, Some(5), (1, u64::MAX)), 4);
    assert_eq!(streams.acked(ONE), (5, None));
    assert_eq!(streams.declare(ONE, Some(5), (7, 3)), 0);
    assert_eq!(streams.declare(ONE, Some(0), (0, 0)), 0);
}

#[test]
fn the_ends_of_numbers_break_nothing() {
    for from in [None, Some(0), Some(1), Some(u64::MAX)] {
        let mut streams = follow(from);
        for seq in [0, u64::MAX, u64::MAX - 1, u64::MAX, 1] {
            streams.is_new(ONE, seq);
            streams.declare(ONE, Some(seq), (0, u64::MAX));
            streams.declare(ONE, None, (u64::MAX, u64::MAX));
            streams.follow(ONE, Some(u64::MAX)).unwrap();
            streams.follow(ONE, from).unwrap();
            // Neither overflows.
            let _numbers = (streams.gaps(), streams.awaited());
        }
    }
}

#[test]
fn too_many_ranges_are_refused_until_some_come_together() {
    let mut streams = follow(Some(1));
    for range in 1..=RANGES as u64 {
        assert!(streams.is_new(ONE, 2 * range));
    }
    let next = 2 * RANGES as u64 + 2;
    assert_eq!(streams.take(ONE, Some(next)), Err(Refused::TooManyGaps));
    // What is declared there is not remembered: the device says it again when it gets there.
    assert_eq!(streams.declare(ONE, None, (next, next)), 0);
    assert!(
        streams.is_new(ONE, next - 1) && streams.is_new(ONE, 1) && streams.is_new(ONE, next + 1)
    );
}

#[test]
fn a_stream_that_speaks_is_not_forgotten_for_others() {
    let mut streams = follow(None);
    assert!(streams.is_new(ONE, 7));
    for other in 2..100 {
        let other = Some(Uuid::from_u128(other));
        streams.follow(other, None).unwrap();
        streams.leave(other);
    }
    assert_eq!(streams.acked(ONE), (7, None));
    for other in 100..100 + STREAMS as u128 - 1 {
        streams.follow(Some(Uuid::from_u128(other)), None).unwrap();
    }
    let further = Some(Uuid::from_u128(200));
    assert_eq!(streams.follow(further, None), Err(Refused::TooManyStreams));
}

#[test]
fn the_stream_that_connected_last_is_forgotten_last() {
    let mut streams = follow(None);
    assert!(streams.is_new(ONE, 7));
    streams.leave(ONE);
    for other in 2..100 {
        let other = Some(Uuid::from_u128(other));
        streams.follow(other, None).unwrap();
        streams.leave(other);
        assert_eq!(streams.follow(ONE, None), Ok(false), "{other:?}");
        streams.leave(ONE);
    }
    assert_eq!(streams.acked(ONE), (7, None));
}

#[test]
fn a_frame_that_only_declares_is_acked() {
    let mut streams = follow(Some(1));
    assert_eq!(streams.due().len(), 1);
    assert_eq!(streams.due().len(), 0);
    assert_eq!(streams.lost(1, 9), 9);
    let acked: Vec<u64> = streams.due().iter().map(|(_, acked)| acked.seq).collect();
    assert_eq!(acked, [9]);
}

#[derive(Clone, Debug)]
enum Happens {
    Comes(u64),
    Declared(u64, u64),
    Reconnects(u64),
    Restarts,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        8 => (1..60_u64).prop_map(Happens::Comes),
        2 => (1..60_u64, 0..8_u64).prop_map(|(from, more)| Happens::Declared(from, from + more)),
        1 => (1..40_u64).prop_map(Happens::Reconnects),
        1 => Just(Happens::Restarts),
    ]
}

proptest! {
    /// What is said of a stream is what a set of all its numbers says.
    #[test]
    fn streams_count_as_a_set_does(all in prop::collection::vec(happens(), 0..120)) {
        let mut streams = follow(Some(1));
        let (mut came, mut declared, mut given_up) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for next in all {
            match next {
                Happens::Comes(seq) => {
                    let is_new = streams.is_new(ONE, seq);
                    // One that was declared and comes all the same is ignored; one that was given up is welcome.
                    prop_assert_eq!(is_new, !came.contains(&seq) && !declared.contains(&seq));
                    if is_new {
                        came.insert(seq);
                        given_up.remove(&seq);
                    }
                }
                Happens::Declared(from, to) => {
                    let missing: Vec<u64> =
                        (from..=to).filter(|n| !came.contains(n) && !declared.contains(n)).collect();
                    prop_assert_eq!(streams.lost(from, to), missing.len() as u64);
                    for number in missing {
                        declared.insert(number);
                        given_up.remove(&number);
                    }
                }
                Happens::Reconnects(from) => {
                    prop_assert_eq!(streams.follow(ONE, Some(from)), Ok(false));
                    let settled: u64 = (1..).find(|n| ![&came, &declared, &given_up].iter().any(|s| s.contains(n))).unwrap();
                    for number in settled..from {
                        if !came.contains(&number) && !declared.contains(&number) {
                            given_up.insert(number);
                        }
                    }
                }
                Happens::Restarts => {
                    let saved = serde_json::to_string(&streams).unwrap();
                    streams = serde_json::from_str(&saved).unwrap();
                }
            }
            let is_settled = |n: &u64| came.contains(n) || declared.contains(n) || given_up.contains(n);
            let (acked, ahead) = streams.acked(ONE);
            let settled: u64 = (1..).find(|n| !is_settled(n)).unwrap() - 1;
            prop_assert_eq!(acked, settled);
            let last = came.iter().chain(&declared).max().copied().filter(|last| *last > settled);
            prop_assert_eq!(ahead.map(|(_, to)| to), last);
            // Before anything came, what the device does not have any more is nobody's gap.
            let before = streams.of(ONE).unwrap().before.count();
            prop_assert_eq!(streams.gaps() + before, given_up.len() as u64);
        }
    }
}
