//! What a trap costs in each of a plugin's calls, and what becomes of alarms that were active meanwhile.

use std::path::Path;
use std::time::Duration;

use weir::pipeline::{Beginning, Chain, Outcome, SavedAlarm, SavedState, SavedStates, check};
use weir::reading::{
    AlarmState, Batch, Fault, FaultReason, Input, Quality, Reading, Severity, Timestamp,
};

use crate::bad_plugins::guest;
use crate::support::engine;

/// A chain of one alert over sensor `a`.
fn chain(plugin: &Path, keys: &str, saved: &SavedStates) -> Chain {
    let text = format!(
        "[device]\nname = \"t\"\n[[sensor]]\nname = \"a\"\ndriver = \"simulated\"\n\
         [dashboard]\nlisten = \"127.0.0.1:0\"\n\
         [[stage]]\nname = \"warm\"\nplugin = \"{}\"\nlimits.call_deadline = \"10s\"\n{keys}\n",
        plugin.display()
    );
    let pipeline =
        check("t.toml", &text, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"));
    let beginning = Beginning { saved: saved.get("warm").cloned(), ..Beginning::default() };
    Chain::start_from(&engine(), &pipeline.stages, &pipeline.series(), vec![beginning]).unwrap()
}

fn touchy(traps_in: &str, saved: &SavedStates) -> Chain {
    chain(&guest("touchy"), &format!("config = {{ traps_in = \"{traps_in}\" }}"), saved)
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_epoch(Duration::from_secs(1_700_000_000 + second))
}

fn measured(second: u64, value: f64) -> Input {
    let reading = Reading { series: 0, time: at(second), value, quality: Quality::Good };
    Input::Batch(Batch { readings: [reading].into_iter().collect(), ..Batch::default() })
}

/// `second state` of each alarm.
fn told(outcome: &Outcome) -> Vec<String> {
    let alarms = outcome.alarms.iter().map(|(_, alarm)| {
        let state = match alarm.state {
            AlarmState::Active => "active",
            AlarmState::Cleared => "cleared",
        };
        format!("{} {} {state}", alarm.time.since(at(0)).as_secs(), alarm.condition)
    });
    alarms.collect()
}

/// As a process saved it that told `above` at second 1.
fn saved(plugin: &str, state: &str) -> SavedStates {
    let alarm = SavedAlarm {
        sensor: "a".to_owned(),
        quantity: "temperature".to_owned(),
        condition: "above".to_owned(),
        time: at(1).nanos,
        severity: Severity::Critical,
        value: Some(30.0),
        limit: Some(20.0),
    };
    let lost = SavedAlarm { sensor: "not-there".to_owned(), ..alarm.clone() };
    let saved = SavedState {
        stage: "warm".to_owned(),
        plugin: plugin.to_owned(),
        alarms: vec![alarm, lost],
        state: state.as_bytes().to_vec(),
        ..SavedState::default()
    };
    SavedStates::from([("warm".to_owned(), saved)])
}

#[test]
fn an_alarm_that_was_active_is_told_again_first_and_clears() {
    let saved = saved("touchy", r#"{"a/temperature":true}"#);
    let mut chain = touchy("nowhere", &saved);
    // With the time at which it became active.
    assert_eq!(told(&chain.pass(Input::Tick(at(100)))), ["1 above active"]);
    assert_eq!(told(&chain.pass(measured(101, 30.0))), [""; 0]);
    assert_eq!(told(&chain.pass(measured(102, 4.0))), ["102 above cleared"]);
}

#[test]
fn a_start_without_the_state_clears_what_was_active_and_raises_what_still_holds() {
    let good = r#"{"a/temperature":true}"#;
    for (traps_in, plugin, state) in [
        ("load", "touchy", good),
        ("nowhere", "touchy", "no state of this plugin"),
        ("nowhere", "another", good),
        // A plugin that remembers nothing.
        ("nowhere", "touchy", ""),
    ] {
        let mut chain = touchy(traps_in, &saved(plugin, state));
        let first = chain.pass(measured(100, 30.0));
        let case = format!("{traps_in}, {plugin}, {state}");
        assert_eq!(told(&first), ["100 above cleared", "100 above active"], "{case}");
        assert_eq!(first.batch.readings.len(), 1, "{case}");
        assert_eq!(chain.traps(), 0, "{case}");
    }
}

#[test]
fn a_trap_in_tick_or_fault_costs_no_reading() {
    let mut chain = touchy("tick", &SavedStates::new());
    for second in 0..5 {
        chain.pass(Input::Tick(at(10 * second)));
        let outcome = chain.pass(measured(10 * second + 5, 4.0));
        assert_eq!((outcome.batch.readings.len(), outcome.batch.faults.len()), (1, 0));
    }
    assert_eq!(chain.traps(), 5);

    let mut chain = touchy("fault", &SavedStates::new());
    let fault = Fault { series: 0, time: at(1), reason: FaultReason::NoAnswer };
    let faults = chain.pass(Input::Batch(Batch { faults: vec![fault; 3], ..Batch::default() }));
    assert_eq!((faults.batch.faults, chain.traps()), (vec![fault; 3], 1));
    assert_eq!(chain.pass(measured(2, 4.0)).batch.readings.len(), 1);
}

#[test]
fn an_alarm_whose_state_could_not_be_saved_is_told_as_it_is_known() {
    let mut chain = touchy("save", &SavedStates::new());
    assert_eq!(told(&chain.pass(measured(1, 30.0))), ["1 above active"]);
    // It trapped while it was to save that: the next instance knows of no alarm.
    assert_eq!(chain.traps(), 1);
    assert_eq!(told(&chain.pass(measured(2, 4.0))), ["2 above cleared"]);
}

#[test]
fn a_trap_in_each_save_rests_the_stage_instead_of_a_restart_each_minute() {
    let mut chain = touchy("save", &SavedStates::new());
    let mut faults = 0;
    for second in (0..7_200).step_by(5) {
        let outcome = chain.pass(measured(second, 4.0));
        faults += outcome.batch.faults.len();
        // An alert's readings pass in any case.
        assert_eq!(outcome.batch.readings.len(), 1);
    }
    // Ten in the first ten minutes, then one in each rest and the minute after it.
    assert!((18..=22).contains(&chain.traps()), "{}", chain.traps());
    assert!(faults > 800, "{faults}");
}

#[test]
fn a_stage_rests_after_as_many_traps_as_the_file_says_and_is_then_tried_once() {
    let keys = "trap_limit = 2\ntrap_window = \"1m\"\nconfig = { traps_in = \"tick\" }";
    let mut chain = chain(&guest("touchy"), keys, &SavedStates::new());
    let mut traps = Vec::new();
    for second in 0..200 {
        let before = chain.traps();
        let outcome = chain.pass(measured(second, 4.0));
        let is_served = outcome.batch.faults.is_empty();
        chain.pass(Input::Tick(at(second)));
        if chain.traps() > before {
            traps.push((second, is_served));
        }
    }
    // Served when it is tried, whose tick then traps; faults while it rests.
    assert_eq!(traps, [(0, true), (1, true), (61, true), (121, true), (181, true)]);
}

#[test]
fn a_trap_is_logged_with_the_names_of_the_plugins_own_functions() {
    let text = format!(
        "[device]\nname = \"t\"\n[[sensor]]\nname = \"a\"\ndriver = \"simulated\"\n\
         [dashboard]\nlisten = \"127.0.0.1:0\"\n\
         [[stage]]\nname = \"warm\"\nplugin = \"{}\"\nlimits.call_deadline = \"10s\"\n\
         trap_limit = 1\nconfig = {{ traps_in = \"tick\" }}\n",
        guest("touchy").display()
    );
    let (_folder, file) = crate::support::pipeline(&text);
    let run = crate::support::weir(&["run", &file, "--duration", "2s"]);
    let (status, lines) = crate::support::Running::start(run).end();
    assert!(status.success());
    let log = lines.join("\n");
    // Demangled, and without the hash.
    assert!(log.contains("touchy::reach") && !log.contains("_ZN"), "{log}");
    assert!(log.contains("The plugin trapped.") && log.contains("stage=\"warm\""), "{log}");
    let rests: Vec<&String> =
        lines.iter().filter(|line| line.contains("the stage rests")).collect();
    assert_eq!(rests.len(), 1, "{log}");
    for part in ["ERROR", "trap_limit=1", "trap_window=10m", "tried again in 10m"] {
        assert!(rests[0].contains(part), "{}", rests[0]);
    }
}
