//! `weir replay`: recordings through pipelines, the same bytes every time.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::Value;

use crate::support::{recorded, repository, weir};

fn replay(arguments: &[&str]) -> Output {
    let freezer = repository("pipelines/freezer.toml");
    let mut all = vec!["replay", freezer.to_str().unwrap()];
    all.extend(arguments);
    weir(&all).output().unwrap()
}

fn count(output: &Output) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        *counts.entry(message["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn unknown_names_are_an_error_that_can_be_answered_by_map_and_adopt() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.csv");
    let mut csv = "timestamp,sensor,celsius\n".to_owned();
    for minute in 0..30 {
        csv += &format!(
            "2026-01-01T00:{minute:02}:00Z,T0,-18.5\n2026-01-01T00:{minute:02}:00Z,T=1,{}\n",
            20 + minute
        );
    }
    std::fs::write(&file, &csv).unwrap();
    let file = file.to_str().unwrap();

    let refused = replay(&["--input", file]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        text.contains("the pipeline knows no sensor `T0`, `T=1`") && text.contains("--adopt"),
        "{text}"
    );

    let mapped = replay(&["--input", file, "--map", "T0=box", "--adopt"]);
    assert!(mapped.status.success(), "{}", String::from_utf8_lossy(&mapped.stderr));
    assert_eq!(count(&mapped)["temperature"], 60);
    // One cycle is one batch; its order is that of the readings' times, then of the stages' hands.
    let text = String::from_utf8_lossy(&mapped.stdout).into_owned();
    let first: Vec<&str> = text.lines().take(2).collect();
    assert!(
        first
            .iter()
            .any(|line| line.contains(r#""sensor":"box","time":"2026-01-01T00:00:00.000Z""#)),
        "{first:?}"
    );
    assert!(
        first.iter().any(|line| line
            .contains(r#""sensor":"T=1","time":"2026-01-01T00:00:00.000Z","value":20.0"#)),
        "{first:?}"
    );

    let wrong = replay(&["--input", file, "--map", "T0=nobody", "--adopt"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("the pipeline has no sensor `nobody`"));
    let twice = replay(&["--input", file, "--map", "T0=box", "--map", "T=1=box"]);
    assert!(
        String::from_utf8_lossy(&twice.stderr)
            .contains("another name of the recording is this sensor already")
    );
}

#[test]
fn a_replay_gives_the_same_bytes_every_time_and_alarms_at_their_exact_times() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("p.toml");
    std::fs::write(
        &pipeline,
        "[device]\nname = \"d\"\n[[sensor]]\nname = \"a\"\ndriver = \"simulated\"\n\
         [[stage]]\nname = \"warm\"\nplugin = \"alert-limit\"\n\
         config = { above = 8.0, on_delay = \"90s\", on_missing = \"30m\" }\n[dashboard]\nlisten = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let csv = folder.path().join("r.csv");
    std::fs::write(
        &csv,
        "timestamp,sensor,celsius\n2026-01-01T00:00:00Z,a,4\n2026-01-01T00:01:00Z,a,9\n2026-01-01T00:02:00Z,a,9\n\
         2026-01-01T00:03:00Z,a,-273.2\n2026-01-01T00:04:00Z,a,5\n2026-01-01T02:00:00Z,a,5\n",
    )
    .unwrap();
    let run = || {
        weir(&["replay", pipeline.to_str().unwrap(), "--input", csv.to_str().unwrap()])
            .output()
            .unwrap()
    };
    let first = run();
    assert_eq!(
        String::from_utf8_lossy(&first.stdout),
        r#"{"type":"temperature","seq":1,"sensor":"a","time":"2026-01-01T00:00:00.000Z","value":4.0,"quality":"good"}
{"type":"temperature","seq":2,"sensor":"a","time":"2026-01-01T00:01:00.000Z","value":9.0,"quality":"good"}
{"type":"temperature","seq":3,"sensor":"a","time":"2026-01-01T00:02:00.000Z","value":9.0,"quality":"good"}
{"type":"alarm","seq":4,"alarm":"warm","sensor":"a","condition":"above","state":"active","severity":"warning","value":9.0,"limit":8.0,"time":"2026-01-01T00:02:30.000Z"}
{"type":"fault","seq":5,"sensor":"a","time":"2026-01-01T00:03:00.000Z","reason":"out-of-range"}
{"type":"temperature","seq":6,"sensor":"a","time":"2026-01-01T00:04:00.000Z","value":5.0,"quality":"good"}
{"type":"alarm","seq":7,"alarm":"warm","sensor":"a","condition":"above","state":"cleared","severity":"warning","value":5.0,"limit":8.0,"time":"2026-01-01T00:04:00.000Z"}
{"type":"alarm","seq":8,"alarm":"warm","sensor":"a","condition":"missing","state":"active","severity":"warning","time":"2026-01-01T00:34:00.000Z"}
{"type":"temperature","seq":9,"sensor":"a","time":"2026-01-01T02:00:00.000Z","value":5.0,"quality":"good"}
{"type":"alarm","seq":10,"alarm":"warm","sensor":"a","condition":"missing","state":"cleared","severity":"warning","time":"2026-01-01T02:00:00.000Z"}
"#
    );
    let errors = String::from_utf8_lossy(&first.stderr);
    assert!(
        errors.contains("r.csv:5: `celsius` is -273.2, not from -55 to 125: fault out-of-range"),
        "{errors}"
    );
    assert_eq!(run().stdout, first.stdout);
}

#[test]
fn a_sensor_that_falls_silent_is_missing_whatever_the_pace_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("p.toml");
    std::fs::write(
        &pipeline,
        "[device]\nname = \"d\"\n[[sensor]]\nname = \"a\"\ndriver = \"simulated\"\n[[sensor]]\nname = \"b\"\n\
         driver = \"simulated\"\n[[stage]]\nname = \"gone\"\nplugin = \"alert-limit\"\n\
         config = { on_missing = \"60s\" }\n[dashboard]\nlisten = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    for pace in [1, 2] {
        let mut rows = "timestamp,sensor,celsius\n".to_owned();
        for second in (0..240).step_by(pace) {
            let time = format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
            rows += &format!("{time},a,4\n");
            if second <= 100 {
                rows += &format!("{time},b,4\n");
            }
        }
        let csv = folder.path().join("r.csv");
        std::fs::write(&csv, rows).unwrap();
        let output =
            weir(&["replay", pipeline.to_str().unwrap(), "--input", csv.to_str().unwrap()])
                .output()
                .unwrap();
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let alarms: Vec<&str> = lines.lines().filter(|line| line.contains("alarm")).collect();
        assert_eq!(alarms.len(), 1, "{pace}: {alarms:?}");
        assert!(
            alarms[0].contains(r#""sensor":"b","condition":"missing""#)
                && alarms[0].contains("T00:02:40.000Z")
        );
    }
}

/// Every recording gives one message for each row that is not skipped, and as many faults as it has impossible values.
#[test]
fn real_recordings_are_replayed_row_by_row() {
    for name in [
        "boiler-room-2017",
        "calibration-bath-2023",
        "cellar-2014",
        "pasteurizer-2025",
        "room-and-fridge-2012",
        "stuck-clocks-2023",
    ] {
        let Some(file) = recorded(&format!("logs/{name}.csv")) else { return };
        let output = replay(&["--adopt", "--input", file.to_str().unwrap()]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let mut last: BTreeMap<String, String> = BTreeMap::new();
        let (mut readings, mut faults, mut skipped) = (0, 0, 0);
        for row in std::fs::read_to_string(&file).unwrap().lines().skip(1) {
            let columns: Vec<&str> = row.split(',').collect();
            let [time, sensor, value] = columns[..] else { panic!("{name}: {row}") };
            // Times of one file have one form: they compare as their texts do.
            let last = last.entry(sensor.to_owned()).or_default();
            if time < last.as_str() {
                skipped += 1;
                continue;
            }
            *last = time.to_owned();
            match value.parse::<f64>() {
                Ok(celsius) if (-55.0..=125.0).contains(&celsius) => readings += 1,
                _ => faults += 1,
            }
        }
        let counts = count(&output);
        let of = |kind: &str| counts.get(kind).copied().unwrap_or(0);
        assert_eq!((of("temperature"), of("fault")), (readings, faults), "{name}");
        let problems = String::from_utf8_lossy(&output.stderr).lines().count() - 1;
        assert_eq!(problems, skipped + faults, "{name}");
    }
}
