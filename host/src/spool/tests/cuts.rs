//! Power cuts: what was committed is there afterwards, and no number is given twice. `WEIR_POWER_CUTS` says how many.

use std::collections::HashMap;
use std::time::Instant;

use super::disk::Disk;
use super::*;

/// Longest time for the cuts of an ordinary test run, when it has seen what it is there for.
const LONGEST_RUN: Duration = Duration::from_secs(20);
const CUTS: u64 = 2_000;
/// Cuts of one disk's life.
const LIFE: u64 = 12;

#[derive(Debug, Default)]
struct Counts {
    cuts: u64,
    clean_stops: u64,
    appended: u64,
    committed: u64,
    delivered: u64,
    /// With a disk that lies: committed messages that are gone, numbers that were given twice, files that were set aside.
    lost: u64,
    reused: u64,
    set_aside: u64,
    same_stream: u64,
}

/// All that a life of a disk is checked against.
#[derive(Default)]
struct Life {
    /// Every text ever given a number.
    texts: HashMap<(Uuid, u64), Vec<Arc<str>>>,
    hubs: HashMap<Uuid, Hub>,
    /// The stream and the highest number that was on the disk for sure.
    committed: Option<(Uuid, u64)>,
    acked: u64,
    count: u64,
}

#[test]
fn no_committed_message_is_lost_by_a_power_cut() {
    let counts = lives(None);
    println!("power cuts on an honest disk: {counts:?}");
    assert_eq!((counts.lost, counts.reused, counts.set_aside), (0, 0, 0));
    assert!(counts.committed > counts.cuts && counts.delivered > counts.cuts);
}

#[test]
fn a_disk_that_lies_about_its_syncs_ends_in_set_aside_and_report() {
    let counts = lives(Some(4));
    println!("power cuts on a disk that lies at one sync in four: {counts:?}");
    assert!(counts.set_aside > 0 && counts.lost > 0, "it did not lie");
}

fn lives(lies: Option<u32>) -> Counts {
    let asked = std::env::var("WEIR_POWER_CUTS").ok().map(|text| text.parse().unwrap());
    let wanted = asked.unwrap_or(CUTS);
    let begun = Instant::now();
    let mut counts = Counts::default();
    let mut seed = 0;
    let has_seen = |counts: &Counts| lies.is_none() || (counts.set_aside > 0 && counts.lost > 0);
    while counts.cuts < wanted
        && (asked.is_some() || begun.elapsed() < LONGEST_RUN || !has_seen(&counts))
    {
        seed += 1;
        life(seed, lies, &mut counts);
    }
    counts
}

fn life(seed: u64, lies: Option<u32>, counts: &mut Counts) {
    let mut random = fastrand::Rng::with_seed(seed);
    let disk = Disk::new(seed);
    if let Some(one_in) = lies {
        disk.lie(one_in);
    }
    let mut life = Life::default();
    for _ in 0..LIFE {
        if random.u8(0..10) > 0 {
            disk.cut_after(random.u64(1..160));
        }
        let was_bad = disk.bad();
        let keeper = open(&disk);
        if !disk.is_cut() {
            life.check_start(&keeper, &disk, lies.is_some(), counts);
        }
        counts.set_aside += u64::from(disk.bad() - was_bad);
        life.run(&keeper, &disk, &mut random, counts);
        drop(keeper);
        if disk.is_cut() {
            counts.cuts += 1;
            disk.boot();
        }
    }
}

fn open(disk: &Disk) -> Keeper {
    let settings =
        SpoolSettings { commit_interval: Duration::from_secs(30), ..SpoolSettings::default() };
    Keeper::open(settings, Some(Box::new(disk.clone())), &["hub"])
}

impl Life {
    fn run(
        &mut self,
        keeper: &Keeper,
        disk: &Disk,
        random: &mut fastrand::Rng,
        counts: &mut Counts,
    ) {
        let mut now = Duration::ZERO;
        let steps = random.u32(0..30);
        // Online, offline, or now and then.
        let online = random.u8(0..3);
        for _ in 0..steps {
            now += Duration::from_secs(random.u64(0..20));
            self.append(keeper, random, now, counts);
            keeper.step(now);
            if disk.is_cut() {
                return;
            }
            self.note_committed(keeper, counts);
            if online == 2 || (online == 1 && random.u8(0..4) == 0) {
                self.deliver(keeper, now, counts);
            }
        }
        if random.bool() {
            keeper.close(None);
            keeper.step(now);
            if !disk.is_cut() {
                counts.clean_stops += 1;
                self.note_committed(keeper, counts);
            }
        }
    }

    fn append(
        &mut self,
        keeper: &Keeper,
        random: &mut fastrand::Rng,
        now: Duration,
        counts: &mut Counts,
    ) {
        let mut bodies = Vec::new();
        for _ in 0..random.usize(1..12) {
            self.count += 1;
            bodies.push(reading(random.usize(0..3), self.count));
        }
        if random.u8(0..20) == 0 {
            bodies.push(alarm());
        }
        counts.appended += bodies.len() as u64;
        keeper.append(bodies, now);
        let queue = keeper.queue();
        let stream = queue.stream;
        for (seq, json) in queue.held() {
            let texts = self.texts.entry((stream, seq)).or_default();
            if !texts.contains(&json) {
                counts.reused += u64::from(!texts.is_empty());
                texts.push(json);
            }
        }
    }

    fn note_committed(&mut self, keeper: &Keeper, counts: &mut Counts) {
        let queue = keeper.queue();
        if queue.disk.state != DiskState::Working {
            return;
        }
        let before =
            self.committed.filter(|(stream, _)| *stream == queue.stream).map_or(0, |(_, n)| n);
        counts.committed +=
            queue.held().filter(|(seq, _)| *seq > before && *seq <= queue.written()).count() as u64;
        self.committed = Some((queue.stream, queue.written().max(before)));
        self.acked = queue.acked(0);
    }

    fn check_text(&self, stream: Uuid, seq: u64, json: &Arc<str>) {
        // The spool's own notices may be newer than what was noted.
        let is_known = self.texts.get(&(stream, seq)).is_some_and(|texts| texts.contains(json));
        let stored = Stored { seq, json: json.clone() };
        assert!(is_known || declared(&stored).is_some(), "a wrong message: {seq} {json}");
    }

    fn deliver(&mut self, keeper: &Keeper, now: Duration, counts: &mut Counts) {
        let stream = keeper.queue().stream;
        let mut fresh = Hub::default();
        drain(keeper, &mut fresh, now);
        counts.delivered += fresh.got.len() as u64;
        for (seq, json) in &fresh.got {
            self.check_text(stream, *seq, json);
        }
        self.acked = keeper.queue().acked(0);
        let hub = self.hubs.entry(stream).or_default();
        hub.got.extend(fresh.got);
        for (from, to) in fresh.declared.iter() {
            hub.declared.insert(from, to);
        }
    }

    /// What was committed before the power went is here.
    fn check_start(&mut self, keeper: &Keeper, disk: &Disk, lies: bool, counts: &mut Counts) {
        let queue = keeper.queue();
        let stream = queue.stream;
        let first_new = queue.last() - u64::from(queue.unused() > 0) + 1;
        for (seq, json) in queue.held() {
            self.texts.entry((stream, seq)).or_default().push(json);
        }
        let acked = queue.acked(0);
        drop(queue);
        let Some((old, upto)) = self.committed else { return };
        if old != stream {
            assert!(lies, "a new stream");
            counts.lost += upto.saturating_sub(self.acked);
            self.committed = None;
            return;
        }
        counts.same_stream += 1;
        let reused =
            self.hubs.get(&stream).is_some_and(|hub| hub.got.keys().any(|seq| *seq >= first_new));
        assert!(lies || !reused, "numbers that the hub has are given again");
        assert!(lies || acked <= self.acked);
        let mut after = self.acked;
        let mut here = Hub::default();
        loop {
            let messages = keeper.read(after, 1_000, Duration::ZERO);
            let Some(last) = messages.last() else { break };
            after = last.seq;
            here.take(&messages);
        }
        if disk.is_cut() {
            // While it was looked at.
            return;
        }
        // One that was declared before this start is as good as here.
        let mut found = here.declared.clone();
        if let Some(hub) = self.hubs.get(&stream) {
            for (from, to) in hub.declared.iter() {
                found.insert(from, to);
            }
        }
        for seq in here.got.keys() {
            found.insert(*seq, *seq);
        }
        let lost = found.without(self.acked + 1, upto);
        assert!(
            lies || lost.len() == 0,
            "committed messages up to {upto} are lost: {lost:?} (acked {})",
            self.acked
        );
        counts.lost += lost.count_in(1, u64::MAX);
        for (seq, json) in &here.got {
            self.check_text(stream, *seq, json);
        }
    }
}
