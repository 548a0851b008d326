//! A recording that is written, read again, and damaged.

mod damage;

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::pipeline::chain::Chain;
use crate::pipeline::{Naming, Pipeline, ReplayedRun, check, replay_run};
use crate::plugin::{Engine, EngineSettings, HostLimits};
use crate::reading::{
    Batch, Doubt, Fault, FaultReason, Input, Measured, Observed, Sighting, Timestamp, WallClock,
};
use crate::spool::Spool;
use crate::uplink::Scribe;
use crate::uplink::wire::Event;

const PIPELINE: &str = r#"
[device]
name = "test"
[[sensor]]
name = "a"
driver = "simulated"
[[sensor]]
name = "b"
driver = "simulated"
[[stage]]
name = "despike"
plugin = "filter-median"
sensors = ["a"]
config = { window = 3 }
[[stage]]
name = "warm"
plugin = "alert-limit"
config = { above = 50.0 }
[dashboard]
listen = "127.0.0.1:0"
"#;

fn pipeline() -> Pipeline {
    check("test.toml", PIPELINE, Path::new(".")).unwrap()
}

/// Without its stages: nothing is compiled for it.
fn bare() -> Pipeline {
    let (sensors, rest) = PIPELINE.split_once("[[stage]]").unwrap();
    let (_, dashboard) = rest.split_once("[dashboard]").unwrap();
    check("test.toml", &format!("{sensors}[dashboard]{dashboard}"), Path::new(".")).unwrap()
}

/// What was written to it.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp { nanos: 1_795_000_000_123_456_789 + second * 1_000_000_000 }
}

fn cycle(second: u64, value: f64) -> Observed {
    let mut batch = Batch::default();
    batch.put(0, at(second), Ok(Measured { value, doubt: None }));
    batch.put(1, at(second), Ok(Measured { value: -0.0625, doubt: Some(Doubt::Stale) }));
    batch.put(1, at(second), Err(FaultReason::CrcMismatch));
    Observed::Input(Input::Batch(batch))
}

/// All kinds of things that a chain takes.
fn day() -> Vec<Observed> {
    let mut day = Vec::new();
    for second in 0..60 {
        day.push(Observed::Input(Input::Tick(at(second))));
        // Digits that a careless writer or reader loses.
        let value =
            if second % 7 == 3 { 0.1 + 0.2 } else { f64::from(second as u32) * 1.000_000_1 };
        day.push(cycle(second, value));
    }
    day.insert(
        9,
        Observed::WallClock(WallClock { ahead_nanos: i64::MIN, synchronized: false }, at(4)),
    );
    day.insert(30, Observed::WallClock(WallClock { ahead_nanos: 5, synchronized: true }, at(15)));
    day.push(Observed::Sighting(Sighting { id: "28-\"é".into(), time: at(61), present: true }));
    day
}

/// Runs a pipeline without stages as it runs live, with a recorder over a spool of this size. The recording, and all messages.
fn record(pipeline: &Pipeline, capacity: usize, observed: Vec<Observed>) -> (String, Vec<String>) {
    let disk = Disk::default();
    let series: Arc<[_]> = pipeline.series().into();
    let wall_clock = WallClock { ahead_nanos: -7, synchronized: true };
    let mut scribe = Scribe { series: series.clone(), wall_clock };
    let header = Header::new("test", 0, wall_clock, &series, &pipeline.stages);
    let spool = Spool::memory(capacity, &["test"]);
    let (recorder, end) = Recorder::start(disk.clone(), &header, &[], spool.clone()).unwrap();
    let place = spool.place("test").unwrap();
    let block_on = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let block_on = |read| block_on.block_on(read);
    let engine = Engine::start(EngineSettings::default(), HostLimits::default()).unwrap();
    let mut chain = Chain::start(&engine, &pipeline.stages, &series).unwrap();
    let mut messages = Vec::new();
    let mut seen = 0;
    for (number, observed) in observed.into_iter().enumerate() {
        let line = observed_line(&observed);
        let bodies = match observed {
            Observed::Input(input) => chain.pass(input).to_bodies(&[], &scribe),
            Observed::Sighting(sighting) => vec![scribe.sighting(&sighting)],
            Observed::WallClock(clock, now) => vec![scribe.wall_clock(clock, now)],
        };
        recorder.append_taken(&[line], bodies);
        if number % 10 == 9 {
            let reason = Some("no \u{1f}\"".to_owned());
            let result = Event::Result { id: "x".into(), status: "failed".into(), reason };
            recorder.append(vec![result.into()]);
        }
        // A spool that gives up the oldest has the newest.
        let stored = block_on(place.read(seen, usize::MAX));
        seen = spool.last();
        messages.extend(stored.iter().map(|stored| stored.json.to_string()));
    }
    recorder.close();
    end.blocking_recv().unwrap();
    let text = String::from_utf8(disk.0.lock().unwrap().clone()).unwrap();
    (text, messages)
}

type Replayed = (Result<ReplayedRun, String>, Vec<String>, Vec<String>);

/// The result, the lines, and what was warned of.
fn replayed(pipeline: &Pipeline, recording: &[u8]) -> Replayed {
    let (mut out, mut warned) = (Vec::new(), Vec::new());
    let naming = Naming::default();
    let run =
        replay_run(pipeline, recording, &naming, EngineSettings::default(), &mut out, |what| {
            warned.push(what);
        });
    let lines = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
    (run.map_err(|error| error.to_string()), lines, warned)
}

#[test]
fn what_is_recorded_replays_to_the_same_messages() {
    let (recording, messages) = record(&bare(), 1 << 20, day());
    let (run, lines, warned) = replayed(&bare(), recording.as_bytes());
    assert_eq!((lines, warned.len()), (messages, 0));
    let run = run.unwrap();
    assert_eq!((run.inputs, run.sent), (day().len() as u64, Some(run.lines)));
}

#[test]
fn numbers_that_a_full_spool_took_for_its_own_notices_do_not_shift() {
    // Room for about twenty messages, and nobody takes any.
    let (recording, messages) = record(&bare(), 4_000, day());
    assert!(recording.matches(r#"{"added":{"seq":"#).count() > 10);
    let (run, lines, _) = replayed(&bare(), recording.as_bytes());
    assert_eq!(run.unwrap().sent, Some(lines.len() as u64));
    assert!(messages.iter().any(|message| message.contains(r#""type":"dropped""#)));
    // What the spool still had when it was looked at, at its number.
    assert!(messages.len() > 200, "{}", messages.len());
    for message in messages {
        let json: serde_json::Value = serde_json::from_str(&message).unwrap();
        let number = usize::try_from(json["seq"].as_u64().unwrap()).unwrap();
        assert_eq!(lines[number - 1], message);
    }
}

#[test]
fn series_are_known_by_their_names_whatever_their_order() {
    let (recording, messages) = record(&bare(), 1 << 20, day());
    // As if the pipeline file had named the sensors the other way round when it was recorded.
    let turned = recording
        .replace(r#""sensor":"a""#, r#""sensor":"?""#)
        .replace(r#""sensor":"b""#, r#""sensor":"a""#)
        .replace(r#""sensor":"?""#, r#""sensor":"b""#);
    let expected: Vec<String> = messages
        .iter()
        .map(|message| message.replace(r#""sensor":"a""#, r#""sensor":"?""#))
        .map(|message| message.replace(r#""sensor":"b""#, r#""sensor":"a""#))
        .map(|message| message.replace(r#""sensor":"?""#, r#""sensor":"b""#))
        .collect();
    assert_ne!(expected, messages);
    let (run, lines, warned) = replayed(&bare(), turned.as_bytes());
    assert_eq!((lines, warned.len()), (expected, 0));
    assert!(run.is_ok());
}

#[test]
fn what_is_another_run_is_told() {
    let pipeline = pipeline();
    let header = Header::new("d", 0, WallClock::default(), &pipeline.series(), &pipeline.stages);
    let header = to_json(&header) + "\n";
    assert_eq!(replayed(&pipeline, header.as_bytes()).2, [""; 0]);
    for (from, to, what) in [
        (
            r#""window":3"#,
            r#""window":5"#,
            "stage `despike`: its settings are others than the recorded ones",
        ),
        (
            r#""stage":"warm""#,
            r#""stage":"cold""#,
            "the recorded run had a stage `cold`, and this one has not",
        ),
        (r#""stage":"warm""#, r#""stage":"cold""#, "the recorded run had no stage `warm`"),
        (
            r#""sha256":""#,
            r#""sha256":"00"#,
            "stage `despike`: plugin `filter-median` 0.1.0 is another file than the recorded \
             `filter-median` 0.1.0",
        ),
        (
            r#"{"sensor":"b","quantity":"temperature","interval":1000000000}"#,
            r#"{"sensor":"a2","quantity":"temperature"}"#,
            "the pipeline knows no sensor `a2`",
        ),
        (
            r#",{"sensor":"b","quantity":"temperature","interval":1000000000}"#,
            "",
            "the recording has no sensor `b`: it is left out",
        ),
    ] {
        assert!(header.contains(from), "{from}");
        let (run, _, mut told) = replayed(&pipeline, header.replacen(from, to, 1).as_bytes());
        told.extend(run.err());
        assert!(told.iter().any(|told| told.starts_with(what)), "{what}: {told:?}");
    }
}

#[test]
fn a_disk_that_is_full_ends_the_recording_and_nothing_else() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let header = Header::new("test", 0, WallClock::default(), &[], &[]);
    let spool = Spool::memory(1 << 20, &["test"]);
    let (recorder, end) = Recorder::start(Full, &header, &[], spool).unwrap();
    end.blocking_recv().unwrap();
    let fault =
        Event::Fault { sensor: "a".into(), time: "".into(), reason: "stale".into(), clock: None };
    for _ in 0..1_000 {
        recorder.append_taken(&[observed_line(&cycle(1, 1.0))], vec![fault.clone().into()]);
        recorder.append(vec![fault.clone().into()]);
    }
    assert_eq!(recorder.spool.last(), 2_000);
    let lines = recorder.waiting.lines();
    assert!(lines.state == State::Failed && lines.text.is_empty());
}

#[test]
fn a_disk_that_hangs_ends_the_recording_before_it_takes_the_memory() {
    let lines = &mut Lines::default();
    let line = "x".repeat(1 << 20);
    for _ in 0..100 {
        lines.put(&line);
        assert!(lines.text.len() <= WAITING);
    }
    assert!(lines.state == State::Failed);
    // A line that no reader would take is not written.
    let lines = &mut Lines::default();
    lines.put(&"x".repeat(LONGEST_LINE + 1));
    assert!(lines.state == State::Failed);
}

#[test]
fn another_weir_s_recording_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let first = open(&path).unwrap();
    assert_eq!(open(&path).unwrap_err().to_string(), "another weir records to it");
    drop(first);
    let mut again = open(&path).unwrap();
    again.write_all(b"x").unwrap();
    drop(again);
    let refused = open(&path).unwrap_err().to_string();
    assert!(refused.starts_with("it is not empty"), "{refused}");
    assert!(open(Path::new("/dev/null")).unwrap_err().to_string().contains("not a regular file"));
}

proptest! {
    #[test]
    fn values_and_times_survive_to_the_bit(value: f64, nanos: u64, ahead: i64) {
        prop_assume!(value.is_finite());
        let header = Header::new("t", 0, WallClock::default(), &pipeline().series(), &[]);
        let mut batch = Batch::default();
        batch.put(1, Timestamp { nanos }, Ok(Measured { value, doubt: Some(Doubt::FirstReading) }));
        batch.faults.push(Fault { series: 0, time: at(0), reason: FaultReason::Timeout });
        let clock = WallClock { ahead_nanos: ahead, synchronized: false };
        for observed in [
            Observed::Input(Input::Batch(batch)),
            Observed::WallClock(clock, Timestamp { nanos }),
        ] {
            let text = observed_line(&observed);
            let line = serde_json::from_str(&text).unwrap();
            let Recorded::Observed(read) = header.meaning(line).unwrap() else { panic!("{text}") };
            prop_assert_eq!(format!("{read:?}"), format!("{observed:?}"));
        }
    }
}
