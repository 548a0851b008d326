//! What the spool costs for each message, beside a plain vector and a plain file that is only appended to, in the same run.
//! `cargo bench --bench spool`; figures are medians of rounds taken in turn.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may fail loudly")]

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::spool::{Place, Spool, SpoolSettings};
use weir::uplink::wire::{Body, Measured, Message};

/// Messages of one round, and of one call: twenty sensors.
const ROUND: usize = 20_000;
const BATCH: usize = 20;
const ROUNDS: usize = 9;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let memory = Spool::memory(256 << 20, &["hub"]);
    // All is on the disk before it is read, in commits of the size that a full memory makes.
    let settings =
        SpoolSettings { commit_interval: Duration::from_millis(100), ..SpoolSettings::default() };
    let path = folder.path().join("spool");
    let disk = runtime.block_on(Spool::open(settings, Some(&path), &["hub"]));
    let mut file = File::create(folder.path().join("file")).unwrap();
    let mut plain = Vec::new();
    let mut rest = Vec::new();
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(timed(|| {
            plain.clear();
            for batch in batches() {
                plain.extend(batch.into_iter().map(to_json));
            }
            black_box(plain.iter().map(|json: &Arc<str>| json.len()).sum::<usize>());
        }));
        times[1].push(timed(|| {
            for batch in batches() {
                for body in batch {
                    file.write_all(to_json(body).as_bytes()).unwrap();
                }
            }
            file.sync_data().unwrap();
        }));
        times[2].push(timed(|| {
            append(&memory);
            runtime.block_on(deliver(&memory.place("hub").unwrap(), &mut rest));
        }));
        times[3].push(timed(|| {
            append(&disk);
            runtime.block_on(async {
                let place = disk.place("hub").unwrap();
                let mut appended = place.appended();
                while disk.state().bytes_in_memory > 1 << 20 {
                    appended.changed().await.unwrap();
                }
                deliver(&place, &mut rest).await;
            });
        }));
    }
    let medians = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!("A message, made, kept, read and forgotten; {ROUND} in a round:\n");
    let names = ["vector", "file, one sync a round", "spool in memory", "spool with a disk"];
    for (name, median) in names.iter().zip(medians) {
        println!("{name:>24}  {median:>8.0} ns  {:>6.2} x the vector", median / medians[0]);
    }
}

/// Nanoseconds a message.
fn timed(way: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    way();
    begun.elapsed().as_nanos() as f64 / ROUND as f64
}

fn batches() -> impl Iterator<Item = Vec<Body>> {
    (0..ROUND / BATCH).map(|second| {
        let reading = |sensor: usize| Measured {
            quantity: "temperature".into(),
            sensor: format!("sensor-{sensor}").into(),
            time: format!("2026-11-21T23:{:02}:{:02}.000Z", second / 60 % 60, second % 60).into(),
            value: (second % 320) as f64 / 16.0,
            unit: None,
            quality: "good".into(),
            doubt: None,
            clock: None,
        };
        (0..BATCH).map(|sensor| Body::Measured(reading(sensor))).collect()
    })
}

fn to_json(body: Body) -> Arc<str> {
    Message { seq: Some(1), late: false, body }.to_json().into()
}

fn append(spool: &Spool) {
    for batch in batches() {
        black_box(spool.append(batch));
    }
}

/// As an uplink does it, a frame at a time.
async fn deliver(place: &Place, rest: &mut Vec<u64>) {
    rest.clear();
    let last = place.last();
    let mut appended = place.appended();
    while place.acked() < last {
        let messages = place.read(place.acked(), 128).await;
        let Some(seq) = messages.last().map(|stored| stored.seq) else {
            appended.changed().await.unwrap();
            continue;
        };
        rest.push(messages.iter().map(|stored| stored.json.len() as u64).sum());
        place.ack(seq);
    }
}
