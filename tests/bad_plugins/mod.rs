//! Plugins that loop, eat memory, trap or lie, and files that are no plugins. The host goes on.

mod bombs;
mod cases;
mod guests;
mod limits;
mod live;
mod mutations;
mod table;

use std::path::Path;
use std::time::{Duration, Instant};

use weir::pipeline::{Chain, Outcome, check};
use weir::plugin::{FileError, HostLimits, PluginFile, standard};
use weir::reading::{AlarmState, Batch, FaultReason, Input, Quality, Reading, Timestamp};

pub use self::guests::{guest, hostile};
use crate::support::{Running, engine, pipeline, weir};

/// A call may take 100 ms; the rest is for a machine that is busy with other tests.
const DEADLINE_AND_PATIENCE: Duration = Duration::from_millis(100 + 4_900);

/// A chain of three stages whose middle one is hostile and is given sensor `a` alone.
fn chain(does: &str, on_trap: &str) -> Chain {
    chain_of(does, "apply", on_trap)
}

/// The same, and it misbehaves in that call.
fn chain_of(does: &str, call: &str, on_trap: &str) -> Chain {
    // Only where the deadline is what is tested may a busy machine meet it.
    let deadline = if does == "loop" { "100ms" } else { "10s" };
    let text = format!(
        r#"
        [device]
        name = "test"
        [[sensor]]
        name = "a"
        driver = "simulated"
        [[sensor]]
        name = "b"
        driver = "simulated"
        [[stage]]
        name = "before"
        plugin = "calibrate-linear"
        config = {{ offset = 1.0 }}
        [[stage]]
        name = "hostile"
        plugin = "{}"
        sensors = ["a"]
        on_trap = "{on_trap}"
        limits.call_deadline = "{deadline}"
        config = {{ does = "{does}", in = "{call}", amount = 3000000 }}
        [[stage]]
        name = "after"
        plugin = "alert-limit"
        config = {{ above = 20.0 }}
        [dashboard]
        listen = "127.0.0.1:0"
        "#,
        hostile().display()
    );
    let pipeline =
        check("test.toml", &text, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"));
    Chain::start(&engine(), &pipeline.stages, &pipeline.series()).unwrap()
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_epoch(Duration::from_secs(1_700_000_000 + second))
}

/// One cycle: sensor `a` measures this, sensor `b` 5 °C.
fn cycle(second: u64, a: f64, quality: Quality) -> Input {
    let reading = |series, value, quality| Reading { series, time: at(second), value, quality };
    let readings = [reading(0, a, quality), reading(1, 5.0, Quality::Good)];
    Input::Batch(Batch { readings: readings.into_iter().collect(), ..Batch::default() })
}

/// What became of sensor `a`: its value and quality, or its fault.
fn of_a(outcome: &Outcome) -> Result<(f64, Quality), FaultReason> {
    let reading = outcome.batch.readings.iter().find(|reading| reading.series == 0);
    match reading {
        Some(reading) => Ok((reading.value, reading.quality)),
        None => Err(outcome.batch.faults.iter().find(|fault| fault.series == 0).unwrap().reason),
    }
}

fn of_b(outcome: &Outcome) -> Option<f64> {
    outcome.batch.readings.iter().find(|reading| reading.series == 1).map(|reading| reading.value)
}

#[test]
fn a_hostile_plugin_costs_its_own_reading_and_nothing_else() {
    println!("{:>24}  {:<16} {:>9}", "deed", "becomes", "took");
    for (does, reason) in [
        ("loop", FaultReason::PluginDeadline),
        ("eat-memory", FaultReason::PluginMemory),
        ("trap", FaultReason::PluginTrap),
        ("give-nan", FaultReason::PluginTrap),
        ("give-unequal-columns", FaultReason::PluginTrap),
        ("give-undeclared-series", FaultReason::PluginTrap),
        ("give-many", FaultReason::PluginMemory),
    ] {
        let mut chain = chain(does, "restart");
        let good = chain.pass(cycle(1, 4.0, Quality::Good));
        assert_eq!((of_a(&good), of_b(&good)), (Ok((5.0, Quality::Good)), Some(6.0)), "{does}");

        let begun = Instant::now();
        let bad = chain.pass(cycle(2, 60.0, Quality::Good));
        let took = begun.elapsed();
        println!("{does:>24}  {:<16} {took:>9.1?}", reason.as_str());
        assert_eq!((of_a(&bad), of_b(&bad)), (Err(reason), Some(6.0)), "{does}");
        assert!(took < DEADLINE_AND_PATIENCE, "{does}: {took:?}");

        // The next cycle is served by a fresh instance.
        let again = chain.pass(cycle(3, 4.0, Quality::Good));
        assert_eq!((of_a(&again), of_b(&again)), (Ok((5.0, Quality::Good)), Some(6.0)), "{does}");
        assert_eq!(chain.traps(), 1, "{does}");
    }
}

#[test]
fn a_plugin_that_traps_again_and_again_is_started_less_and_less_often() {
    let mut chain = chain("trap", "restart");
    for second in 0..100 {
        assert_eq!(
            of_a(&chain.pass(cycle(second, 60.0, Quality::Good))),
            Err(FaultReason::PluginTrap)
        );
    }
    // At 0 and 0, then after 1, 2, 4, 8, 16, 32 s.
    assert!((7..=9).contains(&chain.traps()), "{}", chain.traps());
}

#[test]
fn on_trap_bypass_lets_readings_pass_as_uncertain() {
    let mut chain = chain("trap", "bypass");
    for second in 0..3 {
        let outcome = chain.pass(cycle(second, 60.0, Quality::Good));
        assert_eq!((of_a(&outcome), of_b(&outcome)), (Ok((61.0, Quality::Uncertain)), Some(6.0)));
    }
    assert_eq!(chain.traps(), 1);
}

#[test]
fn on_trap_stop_turns_readings_into_faults() {
    let mut chain = chain("trap", "stop");
    chain.pass(cycle(1, 60.0, Quality::Good));
    let outcome = chain.pass(cycle(2, 4.0, Quality::Good));
    assert_eq!((of_a(&outcome), of_b(&outcome)), (Err(FaultReason::PluginTrap), Some(6.0)));
}

#[test]
fn a_plugin_cannot_make_good_of_uncertain() {
    let mut chain = chain("give-good-for-uncertain", "restart");
    let outcome = chain.pass(cycle(1, 60.0, Quality::Uncertain));
    assert_eq!(of_a(&outcome), Ok((61.0, Quality::Uncertain)));
    let outcome = chain.pass(cycle(2, 60.0, Quality::Good));
    assert_eq!(of_a(&outcome), Ok((61.0, Quality::Good)));
}

#[test]
fn a_flood_of_log_lines_is_cut_and_nothing_is_lost() {
    let text = format!(
        "[device]\nname = \"t\"\n[[sensor]]\nname = \"a\"\ndriver = \"simulated\"\nmean_celsius = 60.0\n\
         [dashboard]\nlisten = \"127.0.0.1:0\"\n[[stage]]\nname = \"h\"\nplugin = \"{}\"\nlimits.call_deadline = \"10s\"\n\
         config = {{ does = \"flood-the-log\", amount = 10000 }}\n",
        hostile().display()
    );
    let (_folder, file) = pipeline(&text);
    let (status, lines) = Running::start(weir(&["run", &file, "--duration", "3s"])).end();
    assert!(status.success());
    let flood = lines.iter().filter(|line| line.contains("and one more")).count();
    assert_eq!(flood, 60, "lines of one minute");
    let told = lines.iter().find(|line| line.contains("The plugin logs too much")).unwrap();
    assert!(told.contains("log_lines_a_minute=60"), "{told}");
    // Two lines of a plugin's are one of ours, and its terminal codes are text.
    assert!(
        !lines.iter().any(|line| line.starts_with("and one more") || line.contains("\u{1b}[31m"))
    );
    assert!(lines.last().unwrap().contains(" not_delivered=0"), "{lines:?}");
}

#[test]
fn an_alarm_clears_though_its_plugin_was_started_anew_meanwhile() {
    let text = format!(
        "[device]\nname = \"t\"\n[[sensor]]\nname = \"a\"\ndriver = \"simulated\"\n\
         [dashboard]\nlisten = \"127.0.0.1:0\"\n\
         [[stage]]\nname = \"warm\"\nplugin = \"{}\"\nlimits.call_deadline = \"10s\"\n",
        guest("forgetful").display()
    );
    let pipeline = check("t.toml", &text, Path::new(".")).unwrap();
    let mut chain = Chain::start(&engine(), &pipeline.stages, &pipeline.series()).unwrap();
    let mut pass = |second, value| {
        let reading = Reading { series: 0, time: at(second), value, quality: Quality::Good };
        let readings = [reading].into_iter().collect();
        chain.pass(Input::Batch(Batch { readings, ..Batch::default() }))
    };
    let states = |outcome: Outcome| -> Vec<AlarmState> {
        outcome.alarms.into_iter().map(|(_, alarm)| alarm.state).collect()
    };
    assert_eq!(states(pass(1, 30.0)), [AlarmState::Active]);
    // The reading passes beside the fault: it is good, only nobody watched.
    let trapped = pass(2, 60.0);
    assert_eq!((trapped.batch.readings.len(), trapped.batch.faults.len()), (1, 1));
    assert_eq!(trapped.batch.faults[0].reason, FaultReason::PluginTrap);
    assert_eq!(states(pass(3, 4.0)), [AlarmState::Cleared]);
}

#[test]
fn a_plugin_that_loops_while_it_is_configured_is_refused_before_the_start() {
    let text = format!(
        "[device]\nname = \"t\"\n[[sensor]]\nname = \"a\"\ndriver = \"simulated\"\n[dashboard]\nlisten = \"127.0.0.1:0\"\n\
         [[stage]]\nname = \"h\"\nplugin = \"{}\"\nconfig = {{ does = \"loop\", in = \"configure\" }}\n",
        hostile().display()
    );
    let pipeline = check("t.toml", &text, Path::new(".")).unwrap();
    let begun = Instant::now();
    let refused = Chain::start(&engine(), &pipeline.stages, &pipeline.series());
    let error = refused.err().unwrap()[0].to_string();
    assert!(error.contains("stage `h`") && error.contains("deadline of 100ms"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

fn refused(bytes: &[u8]) -> FileError {
    PluginFile::check(bytes.to_vec(), &HostLimits::default()).expect_err("it is no plugin")
}

#[test]
fn files_that_are_no_plugins_are_refused_with_the_reason() {
    let good = standard("filter-median").unwrap();
    let foreign = wat::parse_str(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (import "env" "secret" (func)))"#,
    )
    .unwrap();
    let no_manifest = wat::parse_str("(module)").unwrap();
    for (bytes, text) in [
        (
            &b"# a text file\n"[..],
            "it is not a WebAssembly file: it must begin with the bytes 00 61 73 6d, but begins with 23 20 61 20",
        ),
        (b"", "but begins with nothing"),
        (&good[..good.len() / 2], "it is damaged: "),
        (&no_manifest, "it has no manifest"),
        (
            &foreign,
            "it imports what no plugin may have: wasi_snapshot_preview1#fd_write, env#secret; neither WASI nor \
             functions of another host are given: build for wasm32-unknown-unknown",
        ),
    ] {
        let error = refused(bytes).to_string();
        assert!(error.contains(text), "{error}");
    }
    let missing =
        PluginFile::read(Path::new("/nowhere.wasm"), &HostLimits::default()).err().unwrap();
    assert_eq!(missing.to_string(), "cannot read /nowhere.wasm");
}

#[test]
fn no_truncation_and_no_flipped_byte_makes_the_check_panic() {
    let good = standard("filter-median").unwrap();
    for length in (0..good.len()).step_by(good.len() / 200) {
        refused(&good[..length]);
    }
    let mut random = 1_u64;
    for _ in 0..300 {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut bytes = good.to_vec();
        let place = (random >> 33) as usize % bytes.len();
        bytes[place] ^= 1 + (random >> 25) as u8 % 255;
        // It may still be a plugin; it may not panic.
        drop(PluginFile::check(bytes, &HostLimits::default()));
    }
}
