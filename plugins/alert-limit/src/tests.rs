//! The alert as the host calls it, by tables of time, input and expected alarms.

use super::*;
use weir_plugin::{AlertStage, Fault, FaultReason, Readings};

const SECOND: u64 = 1_000_000_000;

enum Input {
    Good(f64),
    Uncertain(f64),
    Fault,
    Tick,
}
use Input::{Good, Tick, Uncertain};

fn settings(given: &str) -> String {
    let mut settings = serde_json::json!({
        "deadband": 0.0, "on_delay": 0, "off_delay": 0, "severity": "critical",
    });
    let given: serde_json::Map<_, _> = serde_json::from_str(given).unwrap();
    settings.as_object_mut().unwrap().extend(given);
    settings.to_string()
}

fn one_sensor() -> Vec<SeriesInfo> {
    vec![SeriesInfo {
        sensor: "freezer".to_owned(),
        id: None,
        quantity: "temperature".to_owned(),
        unit: "celsius".to_owned(),
        interval: Some(5 * SECOND),
    }]
}

/// Runs inputs at whole seconds and compares `second condition state` of each alarm.
#[track_caller]
fn check(given: &str, inputs: &[(u64, Input)], expected: &[&str]) {
    let mut stage = AlertStage::<Limit>::configure(&settings(given), &one_sensor()).unwrap();
    let mut got = Vec::new();
    for (second, input) in inputs {
        let time = second * SECOND;
        let mut batch = Readings::with_capacity(1);
        let alarms = match *input {
            Good(value) => {
                batch.push(Reading { series: 0, time, value, quality: Quality::Good });
                stage.apply(&batch)
            }
            Uncertain(value) => {
                batch.push(Reading { series: 0, time, value, quality: Quality::Uncertain });
                stage.apply(&batch)
            }
            Input::Fault => {
                stage.fault(Fault { series: 0, time, reason: FaultReason::NoAnswer });
                Alarms::new()
            }
            Tick => stage.tick(time),
        };
        got.extend(alarms.iter().map(|alarm| {
            let state = match alarm.state {
                AlarmState::Active => "active",
                AlarmState::Cleared => "cleared",
            };
            format!("{} {} {state}", alarm.time / SECOND, alarm.condition)
        }));
        // A restart between any two inputs must change nothing, but for the wait of `missing`, which begins anew.
        if given.contains("on_missing") {
            continue;
        }
        let mut fresh = AlertStage::<Limit>::configure(&settings(given), &one_sensor()).unwrap();
        fresh.load(&stage.save()).unwrap();
        stage = fresh;
    }
    assert_eq!(got, expected);
}

#[test]
fn an_alarm_is_active_above_the_limit_and_clears_below_the_deadband() {
    check(
        r#"{"above": 8.0, "deadband": 0.5}"#,
        &[
            (1, Good(8.0)),
            (2, Good(8.1)),
            (3, Good(7.6)),
            (4, Good(7.5)),
            (5, Good(7.9)),
            (6, Good(8.2)),
        ],
        &["2 above active", "4 above cleared", "6 above active"],
    );
}

#[test]
fn below_works_the_other_way_round() {
    check(
        r#"{"below": 2.0, "deadband": 0.5}"#,
        &[(1, Good(2.0)), (2, Good(1.9)), (3, Good(2.4)), (4, Good(2.5))],
        &["2 below active", "4 below cleared"],
    );
}

#[test]
fn an_on_delay_must_pass_without_a_break() {
    let delay = r#"{"above": 8.0, "on_delay": 10000000000}"#;
    check(delay, &[(0, Good(9.0)), (9, Good(9.0)), (10, Good(9.0))], &["10 above active"]);
    check(delay, &[(0, Good(9.0)), (9, Good(7.0)), (10, Good(9.0)), (19, Good(9.0))], &[]);
    // Time alone ends the delay, and the alarm is dated to its end.
    check(delay, &[(0, Good(9.0)), (8, Tick), (13, Tick)], &["10 above active"]);
}

#[test]
fn an_off_delay_must_pass_without_a_break() {
    check(
        r#"{"above": 8.0, "off_delay": 10000000000}"#,
        &[(0, Good(9.0)), (1, Good(7.0)), (8, Good(9.0)), (9, Good(7.0)), (18, Tick), (25, Tick)],
        &["0 above active", "19 above cleared"],
    );
}

#[test]
fn an_active_alarm_is_repeated_until_it_clears() {
    check(
        r#"{"above": 8.0, "repeat": 60000000000}"#,
        &[
            (0, Good(9.0)),
            (59, Good(9.0)),
            (60, Tick),
            (61, Good(9.0)),
            (121, Good(9.0)),
            (122, Good(7.0)),
        ],
        &["0 above active", "60 above active", "121 above active", "122 above cleared"],
    );
}

#[test]
fn a_sensor_without_good_readings_is_missing() {
    check(
        r#"{"on_missing": 300000000000}"#,
        &[
            (0, Good(4.0)),
            (100, Input::Fault),
            (200, Uncertain(85.0)),
            (299, Tick),
            (301, Tick),
            (400, Good(4.0)),
        ],
        &["300 missing active", "400 missing cleared"],
    );
}

#[test]
fn a_sensor_that_never_gave_a_reading_is_missing_from_the_first_tick_on() {
    check(
        r#"{"on_missing": 60000000000}"#,
        &[(10, Tick), (69, Tick), (70, Tick)],
        &["70 missing active"],
    );
}

#[test]
fn an_outage_that_only_its_end_shows_is_told_all_the_same() {
    check(
        r#"{"on_missing": 60000000000}"#,
        &[(0, Good(4.0)), (1_000, Good(4.0))],
        &["60 missing active", "1000 missing cleared"],
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (given, expected) in [
        ("{}", "nothing to watch"),
        (r#"{"above": 2.0, "below": 8.0}"#, "`below` must be the smaller one"),
        (r#"{"on_missing": 5000000000}"#, "longer than the 5 s between two readings of `freezer`"),
    ] {
        let error = AlertStage::<Limit>::configure(&settings(given), &one_sensor()).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_alarm_clears_when_a_restart_takes_its_limit_away() {
    let good = |value| {
        let mut batch = Readings::with_capacity(1);
        batch.push(Reading { series: 0, time: SECOND, value, quality: Quality::Good });
        batch
    };
    let all = r#"{"above": 8.0, "below": -90.0, "on_missing": 10000000000}"#;
    let mut before = AlertStage::<Limit>::configure(&settings(all), &one_sensor()).unwrap();
    assert_eq!(before.apply(&good(9.0)).len(), 1);
    assert_eq!(before.tick(20 * SECOND).len(), 1);
    let mut after =
        AlertStage::<Limit>::configure(&settings(r#"{"below": 1.0}"#), &one_sensor()).unwrap();
    after.load(&before.save()).unwrap();
    let told: Vec<(String, AlarmState)> =
        after.tick(30 * SECOND).into_iter().map(|alarm| (alarm.condition, alarm.state)).collect();
    let cleared = |condition: &str| (condition.to_owned(), AlarmState::Cleared);
    assert_eq!(told, [cleared("above"), cleared("missing")]);
    assert!(after.tick(40 * SECOND).is_empty());
}

#[test]
fn a_sensor_is_not_missing_because_nobody_looked() {
    let given = r#"{"on_missing": 60000000000}"#;
    let new = || AlertStage::<Limit>::configure(&settings(given), &one_sensor()).unwrap();
    let good = |second: u64| {
        let mut batch = Readings::with_capacity(1);
        let time = second * SECOND;
        batch.push(Reading { series: 0, time, value: 1.0, quality: Quality::Good });
        batch
    };
    let mut before = new();
    assert!(before.apply(&good(1)).is_empty());
    assert!(before.tick(20 * SECOND).is_empty());
    // The gateway is off for an hour.
    let mut after = new();
    after.load(&before.save()).unwrap();
    assert!(after.tick(3_600 * SECOND).is_empty());
    assert!(after.apply(&good(3_601)).is_empty());
    assert!(after.tick(3_660 * SECOND).is_empty());
    assert_eq!(after.tick(3_662 * SECOND).len(), 1);
    // What was missing stays so until it is back.
    let mut later = new();
    later.load(&after.save()).unwrap();
    assert!(later.tick(7_200 * SECOND).is_empty());
    let back = later.apply(&good(7_201));
    assert_eq!(back.iter().map(|alarm| alarm.state).collect::<Vec<_>>(), [AlarmState::Cleared]);
}
