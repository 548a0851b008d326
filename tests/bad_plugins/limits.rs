//! What exceeds a limit is told with what it wanted, what it may have, and the key that allows more.

use std::time::Duration;

use weir::plugin::PluginKind::{Alert, Filter};
use weir::plugin::{Bound, Engine, EngineSettings, HostLimits, Instance, Kept, Limits, PluginFile};
use weir::reading::{Quality, Quantity, Reading, Readings, Series};

use super::guests::{Guest, LOOP};
use super::{at, bombs};
use crate::support::{engine, engine_settings};

/// How the plugin's life ends, in the host's words: from its first call to a batch that is hot and its state.
fn end_of(engine: &Engine, bytes: Vec<u8>, limits: Limits) -> String {
    let file = PluginFile::check(bytes, &HostLimits::default()).unwrap();
    let plugin = engine.compile(&file).unwrap();
    let mut instance = match Instance::start(&plugin, "limits", limits, Kept::default()) {
        Ok(instance) => instance,
        Err(trap) => return trap.text,
    };
    let series = [Series {
        sensor: "a".into(),
        id: None,
        quantity: Quantity::Temperature,
        interval: Some(Duration::from_secs(1)),
    }];
    if let Err(trap) = instance.configure("{}", &series) {
        return trap.text;
    }
    let hot = Reading { series: 0, time: at(1), value: 60.0, quality: Quality::Good };
    let mut batch: Readings = [hot].into_iter().collect();
    if let Err(trap) = instance.apply(&mut batch) {
        return trap.text;
    }
    instance.save().map_or_else(|trap| trap.text, |state| format!("a state of {}", state.len()))
}

/// An answer of so many rows at address 0, for each of a filter's columns.
fn answer(rows: u32, columns: u32) -> String {
    let lengths: String = (0..columns)
        .map(|column| {
            let (address, length) = (48 + column * 8, 52 + column * 8);
            format!("(i32.store (i32.const {address}) (i32.const 65536)) (i32.store (i32.const {length}) (i32.const {rows}))")
        })
        .collect();
    format!("{lengths} (return (i32.const 48))")
}

#[test]
fn what_a_stage_may_not_is_told_with_the_key_that_allows_more() {
    let guest = || Guest::new(Filter);
    let state = |bytes: u32| {
        guest()
            .memory("200")
            .part("save", format!("(i32.store (i32.const 36) (i32.const {bytes})) (i32.const 32)"))
            .module()
    };
    let table = "(table $t 1 funcref)";
    let grow = "(drop (table.grow $t (ref.null func) (i32.const 10000))) (unreachable)";
    let good = guest().component();
    let engine = engine();
    for (key, asked, allowed, bytes) in [
        ("call_deadline", "longer", "100ms", guest().when_hot(LOOP).module()),
        ("memory_mib", "4294967296", "16777216", guest().memory("65536").module()),
        ("memories", "memories", "4", guest().fields(&"(memory 1)".repeat(8)).module()),
        ("tables", "tables", "16", guest().fields(&"(table 1 funcref)".repeat(64)).module()),
        ("table_entries", "1000000", "10000", guest().fields("(table 1000000 funcref)").module()),
        ("table_entries", "10001", "10000", guest().fields(table).when_hot(grow).module()),
        ("instances", "instances", "64", bombs::crowd(&good, 80)),
        ("handles", "handles", "64", bombs::handles(&good)),
        ("call_kib", "bytes in one call", "4194304", state(5 << 20)),
        (
            "extra_readings",
            "5000",
            "4097",
            guest().memory("16").when_hot(&answer(5_000, 4)).module(),
        ),
        (
            "extra_alarms",
            "5000",
            "260",
            Guest::new(Alert).memory("16").when_hot(&answer(5_000, 1)).module(),
        ),
        ("state_kib", "1048577", "1048576", state((1 << 20) + 1)),
    ] {
        let text = end_of(&engine, bytes, Limits::default());
        let told = text.lines().next().unwrap();
        println!("{told}");
        assert!(told.contains(&format!("`{key}` in [stage.limits]")), "{key}: {told}");
        assert!(told.contains(asked) && told.contains(allowed), "{key}: {told}");
    }
    // A key that is set holds, and lets the same plugin live.
    let wide = Limits { state_bytes: 2 << 20, ..Limits::default() };
    assert_eq!(end_of(&engine, state((1 << 20) + 1), wide), "a state of 1048577");
    let narrow = Limits { call_bytes: 64 << 10, ..Limits::default() };
    assert!(end_of(&engine, state(100 << 10), narrow).contains("65536"));
}

#[test]
fn the_backtrace_of_a_trap_is_short_however_long_the_names_in_it_are() {
    let name = "n".repeat(90_000);
    let guest = Guest::new(Filter)
        .fields(&format!("(func ${name} (unreachable))"))
        .when_hot(&format!("(call ${name})"));
    let text = end_of(&engine(), guest.module(), Limits::default());
    assert!(text.contains(&name[..200]) && text.contains('…'), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 301), "{text}");
}

#[test]
fn fuel_that_is_burnt_is_told_with_its_key() {
    let settings = EngineSettings { bound: Bound::Fuel, ..engine_settings() };
    let engine = Engine::start(settings, HostLimits::default()).unwrap();
    let limits = Limits { call_fuel: 123_456, ..Limits::default() };
    let text = end_of(&engine, Guest::new(Filter).when_hot(LOOP).module(), limits);
    assert!(text.contains("123456 (`call_fuel` in [stage.limits])"), "{text}");
}

#[test]
fn what_a_file_may_not_is_told_with_the_key_that_allows_more() {
    let good = Guest::new(Filter).component();
    for (key, asked, allowed, bytes) in [
        ("file_mib", "8388", "8388608", bombs::padded(&good, 8 << 20)),
        ("nesting", "9", "8", bombs::nested(50)),
        ("modules", "101", "100", bombs::wide(200)),
    ] {
        let text = PluginFile::check(bytes, &HostLimits::default()).err().unwrap().to_string();
        println!("{text}");
        assert!(text.contains(&format!("`{key}` in [plugins]")), "{key}: {text}");
        assert!(text.contains(asked) && text.contains(allowed), "{key}: {text}");
    }
}

#[test]
fn stack_and_compiling_are_told_with_the_keys_that_allow_more() {
    let deep = Guest::new(Filter)
        .fields("(func $deeper (param i64) (result i64) (i64.add (local.get 0) (call $deeper (local.get 0))))")
        .when_hot("(drop (call $deeper (i64.const 1)))");
    let text = end_of(&engine(), deep.module(), Limits::default());
    assert!(
        text.contains("than the 262144 bytes that it may have (`stack_kib` in [plugins])"),
        "{text}"
    );

    let bomb = bombs::with_module(&Guest::new(Filter).component(), &bombs::many_locals(2_000, 200));
    let file = PluginFile::check(bomb, &HostLimits::default()).unwrap();
    for (key, allowed, limits) in [
        (
            "compile_time",
            "1s",
            HostLimits { compile_time: Duration::from_secs(1), ..HostLimits::default() },
        ),
        (
            "compile_memory_mib",
            "64 MiB",
            HostLimits { compile_memory_bytes: 64 << 20, ..HostLimits::default() },
        ),
    ] {
        let engine = Engine::start(engine_settings(), limits).unwrap();
        let text = engine.compile(&file).err().unwrap().to_string();
        println!("{text}");
        assert!(text.contains(&format!("`{key}` in [plugins]")), "{key}: {text}");
        assert!(text.contains(allowed), "{key}: {text}");
    }
}
