//! Each hostile plugin as the middle one of three stages, in a process of its own: what becomes of it, of the sensor that it is
//! given, of the other sensors, of time and of memory.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::pipeline::{Chain, Outcome, check};
use weir::plugin::{CodeCache, Engine, EngineSettings};
use weir::reading::{Batch, Fault, FaultReason, Input, Quality, Reading};

use super::at;
use super::cases::{Case, Fate, MEMORY_MIB, Origin, cases, rust_plugin};
use crate::support::engine_settings;

/// The deadline of a call in these tests, the usual one.
const DEADLINE: Duration = Duration::from_millis(100);
/// What a batch may take beyond the deadline: an epoch, and the patience with a machine that does other things.
const PATIENCE: Duration = Duration::from_millis(1_900);
/// How many batches a plugin is given, 30 s of the readings' time from one to the next: state is saved every minute.
const CYCLES: u64 = 24;
/// After so many traps within ten minutes a stage rests, and what it would hold becomes faults: the usual `trap_limit`.
const TRAP_LIMIT: u64 = 10;
/// In these cycles sensor `a` is hot: then plugins do what they do.
const HOT: [u64; 4] = [4, 10, 16, 22];
/// In this one sensor `a` has a fault in place of a reading.
const FAULT: u64 = 7;

/// Tells the child process which case is its.
const CASE: &str = "WEIR_TEST_CASE";
/// Tells it where compiled plugins are kept.
const CACHE: &str = "WEIR_TEST_CACHE";
/// With this its report begins.
const REPORT: &str = "report: ";

#[test]
fn no_plugin_hurts_the_gateway() {
    // Once for all, and not in the time of the first case.
    rust_plugin();
    let cases = cases();
    let cache = tempfile::tempdir().unwrap();
    // Its key is made once, for all processes.
    CodeCache::open(cache.path()).unwrap();
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = in_a_process(case, cache.path());
                    rows.lock().unwrap().push((case, row));
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap();
    assert_eq!(rows.len(), cases.len());
    println!(
        "{:<44} {:<15} {:>5} {:>5} {:>9} {:>9} {:>7}  text",
        "guest", "becomes", "traps", "lost", "start", "slowest", "memory"
    );
    let mut wrong = Vec::new();
    let (mut slowest, mut largest) = (0, 0);
    for case in &cases {
        let (_, row) = rows.iter().find(|(of, _)| of.name == case.name).unwrap();
        println!("{}", line(case, row));
        slowest = slowest.max(row["slowest_us"].as_u64().unwrap_or_default());
        largest = largest.max(row["memory_kib"].as_u64().unwrap_or_default());
        wrong.extend(judge(case, row).map(|why| format!("{}: {why}", case.name)));
    }
    println!(
        "slowest batch: {:.1} ms of {DEADLINE:?} and {PATIENCE:?} of patience; most memory: {} MiB",
        slowest as f64 / 1e3,
        largest >> 10
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with the outcome of a case.
fn judge(case: &Case, row: &Value) -> Option<String> {
    if let Some(died) = row["died"].as_str() {
        return Some(format!("the host's process died: {died}"));
    }
    if let Some(wrong) = row["wrong"].as_str() {
        return Some(wrong.to_owned());
    }
    let text = row["text"].as_str().unwrap_or_default();
    let (becomes, reason) = (row["becomes"].as_str().unwrap(), row["reason"].as_str());
    let (is_as_expected, expected) = match case.fate {
        Fate::Refused(part) => (becomes == "refused" && text.contains(part), part),
        Fate::NotStarted(part) => (becomes == "does not start" && text.contains(part), part),
        Fate::Loses(lost) => (becomes == "runs" && reason == Some(lost.as_str()), lost.as_str()),
        Fate::Traps => (
            becomes == "runs" && row["traps"].as_u64() > Some(0) && row["lost_early"] == 0,
            "traps that lose no reading until the stage rests",
        ),
        Fate::Harmless => (becomes == "runs" && row["traps"] == 0, "no trap"),
    };
    if !is_as_expected {
        return Some(format!("{:?} ({expected}) was expected: {row}", case.fate));
    }
    let slowest = Duration::from_micros(row["slowest_us"].as_u64().unwrap_or_default());
    if slowest > DEADLINE + PATIENCE {
        return Some(format!("a batch took {slowest:?}"));
    }
    let memory = row["memory_kib"].as_u64().unwrap();
    let memory_mib = memory >> 10;
    (memory_mib > MEMORY_MIB).then(|| format!("the process had {memory_mib} MiB"))
}

fn line(case: &Case, row: &Value) -> String {
    let becomes = match row["reason"].as_str() {
        Some(reason) => reason,
        None => row["becomes"].as_str().unwrap_or("DIED"),
    };
    let number = |key: &str| row[key].as_u64().map(|n| n.to_string()).unwrap_or_default();
    let millis = |key: &str| {
        row[key].as_u64().map(|us| format!("{:.1} ms", us as f64 / 1e3)).unwrap_or_default()
    };
    let text: String = row["text"].as_str().unwrap_or_default().chars().take(230).collect();
    format!(
        "{:<44} {becomes:<15} {:>5} {:>5} {:>9} {:>9} {:>4} MiB  {text}",
        case.name,
        number("traps"),
        number("lost"),
        millis("start_us"),
        millis("slowest_us"),
        row["memory_kib"].as_u64().unwrap_or_default() >> 10,
    )
}

/// Runs one case in a process of its own, which is this test binary again: what happens to it happens to nobody else, and its
/// memory is its own.
fn in_a_process(case: &Case, cache: &Path) -> Value {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "bad_plugins::table::one_case", "--ignored", "--nocapture"])
        .env(CASE, &case.name)
        .env(CACHE, cache)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    match out.lines().find_map(|line| line.split_once(REPORT)) {
        Some((_, report)) if output.status.success() => serde_json::from_str(report).unwrap(),
        _ => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            json!({ "died": format!("{}: {out} {complaint}", output.status) })
        }
    }
}

#[test]
#[ignore = "no_plugin_hurts_the_gateway runs it, in a process for each case"]
fn one_case() {
    let name = std::env::var(CASE).unwrap();
    let case = cases().into_iter().find(|case| case.name == name).unwrap();
    let cache = CodeCache::open(Path::new(&std::env::var(CACHE).unwrap())).unwrap();
    let settings = EngineSettings { cache: Some(cache.into()), ..engine_settings() };
    let mut row = run(&case, settings);
    row["memory_kib"] = json!(most_memory_kib());
    println!("\n{REPORT}{row}");
}

/// The case from its file to its last batch.
fn run(case: &Case, settings: EngineSettings) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("guest.wasm");
    let plugin = match &case.origin {
        Origin::Rust => rust_plugin(),
        Origin::File(bytes) => {
            fs::write(&plugin, bytes()).unwrap();
            plugin.display().to_string()
        }
        Origin::Sparse(length) => {
            fs::File::create(&plugin).unwrap().set_len(*length).unwrap();
            plugin.display().to_string()
        }
    };
    let text = pipeline_text(case, &plugin);
    let begun = Instant::now();
    let pipeline = match check("test.toml", &text, folder.path()) {
        Ok(pipeline) => pipeline,
        Err(problems) => {
            let text = problems.to_string().replace(&plugin, "guest.wasm");
            return json!({ "becomes": "refused", "text": text, "start_us": micros(begun.elapsed()) });
        }
    };
    let engine = Engine::start(settings, pipeline.host_limits).unwrap();
    match Chain::start(&engine, &pipeline.stages, &pipeline.series()) {
        Ok(chain) => cycles(chain, case, begun.elapsed()),
        Err(refused) => {
            let text: Vec<String> = refused.iter().map(whole_text).collect();
            json!({
                "becomes": "does not start",
                "text": text.join("\n"),
                "start_us": micros(begun.elapsed()),
            })
        }
    }
}

/// Three sensors, of which the hostile stage is given `a`, between two good stages that are given all.
fn pipeline_text(case: &Case, plugin: &str) -> String {
    let sensors: String = ["a", "b", "c"]
        .map(|name| format!("[[sensor]]\nname = \"{name}\"\ndriver = \"simulated\"\n"))
        .concat();
    let plugins = match case.host_limits {
        "" => String::new(),
        lines => format!("[plugins]\n{lines}"),
    };
    format!(
        "[device]\nname = \"test\"\n{plugins}{sensors}\
         [[stage]]\nname = \"before\"\nplugin = \"calibrate-linear\"\nconfig = {{ offset = 1.0 }}\n\
         [[stage]]\nname = \"hostile\"\nplugin = \"{plugin}\"\nsensors = [\"a\"]\n{}\
         [[stage]]\nname = \"after\"\nplugin = \"calibrate-linear\"\nconfig = {{ offset = 10.0 }}\n\
         [dashboard]\nlisten = \"127.0.0.1:0\"\n",
        case.stage
    )
}

/// All cycles, each with a tick after it.
fn cycles(mut chain: Chain, case: &Case, start: Duration) -> Value {
    let mut slowest = Duration::ZERO;
    let mut timed = |chain: &mut Chain, input| {
        let begun = Instant::now();
        let outcome = chain.pass(input);
        slowest = slowest.max(begun.elapsed());
        outcome
    };
    let (mut lost, mut lost_early, mut reason, mut wrong) = (0, 0, None, None);
    for cycle in 1..=CYCLES {
        let outcome = timed(&mut chain, batch(cycle));
        let plugin_faults = outcome.batch.faults.iter().filter(|fault| is_plugins(fault.reason));
        for fault in plugin_faults {
            lost += 1;
            lost_early += u64::from(chain.traps() < TRAP_LIMIT);
            reason.get_or_insert(fault.reason.as_str());
        }
        let ticked = timed(&mut chain, Input::Tick(at(cycle * 30 + 15)));
        let why = wrong_batch(case, cycle, &outcome).or_else(|| wrong_tick(&ticked));
        wrong = wrong.or(why.map(|why| format!("cycle {cycle}: {why}")));
    }
    json!({
        "becomes": "runs",
        "reason": reason,
        "lost": lost,
        "lost_early": lost_early,
        "traps": chain.traps(),
        "start_us": micros(start),
        "slowest_us": micros(slowest),
        "wrong": wrong,
    })
}

fn is_plugins(reason: FaultReason) -> bool {
    use FaultReason::{PluginDeadline, PluginMemory, PluginTrap};
    matches!(reason, PluginTrap | PluginDeadline | PluginMemory)
}

/// Sensor `a` as the cycle wants it, `b` 5 °C, `c` 7 °C, each half a second after the one before.
fn batch(cycle: u64) -> Input {
    let reading = |series: u32, value| Reading {
        series,
        time: at(cycle * 30),
        value,
        quality: Quality::Good,
    };
    let mut batch = Batch::default();
    if cycle == FAULT {
        let (time, reason) = (at(cycle * 30), FaultReason::CrcMismatch);
        batch.faults.push(Fault { series: 0, time, reason });
    } else {
        batch.readings.push(reading(0, if HOT.contains(&cycle) { 60.0 } else { 4.0 }));
    }
    batch.readings.push(reading(1, 5.0));
    batch.readings.push(reading(2, 7.0));
    Input::Batch(batch)
}

/// Nothing of the other sensors is missing or changed, and of sensor `a` something came out: a reading or a fault.
fn wrong_batch(case: &Case, cycle: u64, outcome: &Outcome) -> Option<String> {
    let readings = &outcome.batch.readings;
    if let Some(reading) = readings.iter().find(|reading| !reading.value.is_finite()) {
        return Some(format!("it let {reading:?} through"));
    }
    let values = |series| -> Vec<(f64, Quality)> {
        let of = readings.iter().filter(|reading| reading.series == series);
        of.map(|reading| (reading.value, reading.quality)).collect()
    };
    for (series, value) in [(1, 16.0), (2, 18.0)] {
        if values(series) != [(value, Quality::Good)] {
            return Some(format!("sensor {series} gave {:?}", values(series)));
        }
    }
    let faults =
        |of: &dyn Fn(&Fault) -> bool| outcome.batch.faults.iter().filter(|fault| of(fault)).count();
    let own = faults(&|fault| fault.series == 0 && is_plugins(fault.reason));
    let others = faults(&|fault| fault.series != 0);
    let measured = faults(&|fault| fault.reason == FaultReason::CrcMismatch);
    let out = values(0).len();
    let is_alert = case.name.contains("alarm") || case.name.contains("alert");
    let is_right = match (cycle == FAULT, is_alert) {
        (true, _) => out + own == 0,
        // An alert's readings pass beside the fault.
        (false, true) => out == 1 && own <= 1,
        (false, false) => out + own == 1,
    };
    let is_right = is_right && others == 0 && measured == usize::from(cycle == FAULT);
    (!is_right)
        .then(|| format!("of sensor a came {out} readings and {own} faults: {:?}", outcome.batch))
}

/// A tick brings readings of sensor `a` alone, if any, and only believable ones.
fn wrong_tick(outcome: &Outcome) -> Option<String> {
    let of_others = outcome.batch.readings.iter().find(|reading| reading.series != 0);
    let infinite = outcome.batch.readings.iter().find(|reading| !reading.value.is_finite());
    of_others.or(infinite).map(|reading| format!("a tick gave {reading:?}"))
}

/// An error with its causes.
fn whole_text(error: &weir::pipeline::StartError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap()
}

/// The most memory that this process ever had, in KiB.
fn most_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
