//! Hostile plugins in a running process, on real time: what a receiver sees of the sensors that are none of their business.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir::pipeline::{Chain, check};
use weir::reading::{Batch, Fault, FaultReason, Input, Quality};

use super::guests::hostile;
use crate::support::{Live, Running, engine, pipeline, weir};

/// From one reading of a sensor to its next.
const INTERVAL: Duration = Duration::from_millis(200);
/// How many readings of each other sensor are waited for.
const READINGS: usize = 15;
/// A call's deadline, and the patience with a machine that does other things.
const LATE: Duration = Duration::from_millis(100 + 1_900);

#[test]
fn sampling_keeps_its_cycle_while_a_hostile_plugin_runs() {
    println!("{:>16} {:>9} {:>9} {:>8}  sensor a", "deed", "readings", "latest", "memory");
    std::thread::scope(|scope| {
        for deeds in [
            [("loop", 1), ("give-many", 1_000_000), ("give-many", 4_000)],
            [("trap", 1), ("flood-the-log", 1_000), ("give-the-end-of-time", 1)],
        ] {
            scope.spawn(move || deeds.map(|(does, amount)| keeps_its_cycle(does, amount)));
        }
    });
}

fn keeps_its_cycle(does: &str, amount: u32) {
    let sensors: String = ["a", "b", "c"]
        .map(|name| {
            let mean = if name == "a" { 60.0 } else { 5.0 };
            format!(
                "[[sensor]]\nname = \"{name}\"\ndriver = \"simulated\"\ninterval = \"200ms\"\nmean_celsius = {mean:?}\n"
            )
        })
        .concat();
    let text = format!(
        "[device]\nname = \"t\"\n{sensors}[dashboard]\nlisten = \"127.0.0.1:0\"\n\
         [[stage]]\nname = \"before\"\nplugin = \"calibrate-linear\"\nconfig = {{ offset = 1.0 }}\n\
         [[stage]]\nname = \"hostile\"\nplugin = \"{}\"\nsensors = [\"a\"]\n\
         config = {{ does = \"{does}\", amount = {amount} }}\n\
         [[stage]]\nname = \"after\"\nplugin = \"calibrate-linear\"\nconfig = {{ offset = 40.0 }}\n",
        hostile().display()
    );
    let (_folder, file) = pipeline(&text);
    let mut running = Running::start(weir(&["run", &file]));
    let mut live = Live::open(running.dashboard());
    // When each reading of the others was measured, and when it was seen here.
    let mut seen: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    let mut of_a: BTreeMap<String, usize> = BTreeMap::new();
    let (mut last, mut latest) = (Instant::now(), Duration::ZERO);
    while ["b", "c"].iter().any(|name| seen.get(*name).is_none_or(|times| times.len() < READINGS)) {
        let (kind, json) = live.next();
        if kind != "messages" {
            continue;
        }
        if !seen.is_empty() {
            latest = latest.max(last.elapsed().saturating_sub(INTERVAL));
        }
        last = Instant::now();
        for message in json["messages"].as_array().unwrap() {
            let Some(sensor) = message["sensor"].as_str() else { continue };
            if sensor == "a" {
                let what = message["reason"].as_str().unwrap_or("temperature");
                *of_a.entry(what.to_owned()).or_default() += 1;
            } else {
                assert_eq!(message["type"], "temperature", "{message}");
                let value = message["value"].as_f64().unwrap();
                assert!((30.0..=70.0).contains(&value), "through all three stages: {message}");
                let time = message["time"].as_str().unwrap();
                seen.entry(sensor.to_owned()).or_default().push(time_of_day(time));
            }
        }
    }
    let memory = running.most_memory_kib();
    for (sensor, times) in &seen {
        for pair in times.windows(2) {
            let apart = pair[1].saturating_sub(pair[0]);
            assert!(apart < INTERVAL + LATE, "{does}: {sensor} was not read for {apart:?}");
        }
    }
    let readings: usize = seen.values().map(Vec::len).sum();
    println!("{does:>16} {readings:>9} {latest:>9.1?} {:>4} MiB  {of_a:?}", memory >> 10);
    assert!(latest < LATE, "{does}: nothing came for {latest:?} longer than it should");
    assert!(!of_a.is_empty(), "{does}: sensor a was lost silently");
    assert!(memory < 128 << 10, "{does}: {memory} KiB");
}

/// `…T23:00:01.200Z` as time since midnight.
fn time_of_day(text: &str) -> Duration {
    let clock = text.split('T').nth(1).unwrap().trim_end_matches('Z');
    let parts: Vec<f64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    Duration::from_secs_f64(parts[0] * 3_600.0 + parts[1] * 60.0 + parts[2])
}

#[test]
fn what_a_plugin_says_when_it_refuses_is_one_short_line() {
    let sensor = "[[sensor]]\nname = \"a\"\ndriver = \"simulated\"\ninterval = \"200ms\"\nmean_celsius = 60.0\n";
    let text = format!(
        "[device]\nname = \"t\"\n{sensor}[dashboard]\nlisten = \"127.0.0.1:0\"\n\
         [[stage]]\nname = \"h\"\nplugin = \"{}\"\n\
         config = {{ does = \"refuse-at-length\", in = \"configure\", amount = 3000000 }}\n",
        hostile().display()
    );
    let (_folder, file) = pipeline(&text);
    let (status, lines) = Running::start(weir(&["run", &file])).end();
    assert!(!status.success());
    assert!(lines.iter().any(|line| line.contains("does not start: no")), "{lines:?}");
    assert!(lines.iter().all(|line| line.len() < 2_000), "a line is long");
    assert!(!lines.iter().any(|line| line.starts_with("no")), "a line of the plugin's own");
}

/// What the log would be, in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_a_plugin_says_when_it_refuses_its_state_is_one_short_line() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let mut chain = super::chain_of("refuse-at-length", "load", "restart");
        // The state is saved after a minute of the readings' time; then a trap, and the next instance is given the state.
        for (second, value) in [(0, 4.0), (60, 4.0), (120, 4.0), (180, 60.0), (240, 4.0)] {
            chain.pass(super::cycle(second, value, Quality::Good));
        }
        assert_eq!(chain.traps(), 1);
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("refused its saved state"), "{log}");
    let longest = log.lines().map(str::len).max().unwrap();
    // A backtrace has long names in it.
    assert!(longest < 2_000, "a line has {longest} bytes");
    assert!(!log.lines().any(|line| line.starts_with("no")), "a line of the plugin's own");
}

#[test]
fn a_plugin_that_dawdles_in_every_call_delays_a_batch_by_one_deadline() {
    const SENSORS: u32 = 12;
    let sensors: String = (0..SENSORS)
        .map(|n| format!("[[sensor]]\nname = \"s{n}\"\ndriver = \"simulated\"\n"))
        .collect();
    let text = format!(
        "[device]\nname = \"t\"\n{sensors}[dashboard]\nlisten = \"127.0.0.1:0\"\n\
         [[stage]]\nname = \"h\"\nplugin = \"{}\"\nlimits.call_deadline = \"1s\"\n\
         config = {{ does = \"dawdle\", in = \"fault\", amount = 300000000 }}\n",
        hostile().display()
    );
    let pipeline =
        check("t.toml", &text, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"));
    let mut chain = Chain::start(&engine(), &pipeline.stages, &pipeline.series()).unwrap();
    // A cable breaks: all sensors of a bus fail at once, and the plugin is told of each.
    let faults = (0..SENSORS).map(|series| Fault {
        series,
        time: super::at(1),
        reason: FaultReason::NotPresent,
    });
    let begun = Instant::now();
    let batch = Batch { faults: faults.collect(), ..Batch::default() };
    assert_eq!(chain.pass(Input::Batch(batch)).batch.faults.len(), SENSORS as usize);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1) + LATE, "{took:?}, traps: {}", chain.traps());
}
